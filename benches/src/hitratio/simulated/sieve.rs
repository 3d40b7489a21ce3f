//! SIEVE: a FIFO queue whose hand passes over the keys that were asked for since it last came by.
//!
//! Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is Simpler than LRU", NSDI 2024. The hand moves
//! from the oldest key to the newest and stays where it evicted; keys that it passed over keep
//! their place.

use super::{
    Key, Policy,
    queue::{Links, NONE, Queue},
};

/// SIEVE.
pub struct Sieve {
    resident: Vec<bool>,
    visited: Vec<bool>,
    links: Links,
    queue: Queue,
    hand: Key,
    capacity: usize,
}

impl Sieve {
    /// An empty cache; the capacity must be above zero.
    pub fn new(universe: usize, capacity: usize) -> Self {
        Self {
            resident: vec![false; universe],
            visited: vec![false; universe],
            links: Links::new(universe),
            queue: Queue::new(),
            hand: NONE,
            capacity,
        }
    }

    /// `hand`, or the oldest key where it has run past the newest.
    fn at(&self, hand: Key) -> Key {
        if hand == NONE { self.queue.oldest() } else { hand }
    }

    fn evict(&mut self) {
        let mut victim = self.at(self.hand);
        while std::mem::take(&mut self.visited[victim as usize]) {
            victim = self.at(self.links.newer(victim));
        }
        self.hand = self.links.newer(victim);
        self.queue.remove(&mut self.links, victim);
        self.resident[victim as usize] = false;
    }
}

impl Policy for Sieve {
    fn request(&mut self, key: Key) -> bool {
        if self.is_resident(key) {
            self.visited[key as usize] = true;
            return true;
        }
        if self.queue.len() == self.capacity {
            self.evict();
        }
        self.queue.push(&mut self.links, key);
        self.resident[key as usize] = true;
        false
    }

    fn is_resident(&self, key: Key) -> bool {
        self.resident[key as usize]
    }
}
