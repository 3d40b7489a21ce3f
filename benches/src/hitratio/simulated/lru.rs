//! LRU: the key that was not asked for the longest time goes first.

use super::{
    Key, Policy,
    queue::{Links, Queue},
};

/// Least recently used.
pub struct Lru {
    resident: Vec<bool>,
    links: Links,
    queue: Queue,
    capacity: usize,
}

impl Lru {
    /// An empty cache; the capacity must be above zero.
    pub fn new(universe: usize, capacity: usize) -> Self {
        Self {
            resident: vec![false; universe],
            links: Links::new(universe),
            queue: Queue::new(),
            capacity,
        }
    }
}

impl Policy for Lru {
    fn request(&mut self, key: Key) -> bool {
        if self.is_resident(key) {
            self.queue.renew(&mut self.links, key);
            return true;
        }
        if self.queue.len() == self.capacity {
            let victim = self.queue.pop(&mut self.links);
            self.resident[victim as usize] = false;
        }
        self.queue.push(&mut self.links, key);
        self.resident[key as usize] = true;
        false
    }

    fn is_resident(&self, key: Key) -> bool {
        self.resident[key as usize]
    }
}
