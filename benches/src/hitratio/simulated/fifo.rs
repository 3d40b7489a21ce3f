//! FIFO: the key that was inserted first goes first.

use super::{Key, Policy};

/// First in, first out.
pub struct Fifo {
    resident: Vec<bool>,
    ring: Vec<Key>,
    oldest: usize,
    capacity: usize,
}

impl Fifo {
    /// An empty cache; the capacity must be above zero.
    pub fn new(universe: usize, capacity: usize) -> Self {
        Self { resident: vec![false; universe], ring: Vec::new(), oldest: 0, capacity }
    }
}

impl Policy for Fifo {
    fn request(&mut self, key: Key) -> bool {
        if self.is_resident(key) {
            return true;
        }
        self.resident[key as usize] = true;
        if self.ring.len() < self.capacity {
            self.ring.push(key);
        } else {
            let victim = std::mem::replace(&mut self.ring[self.oldest], key);
            self.resident[victim as usize] = false;
            self.oldest = (self.oldest + 1) % self.capacity;
        }
        false
    }

    fn is_resident(&self, key: Key) -> bool {
        self.resident[key as usize]
    }
}
