//! OPT: evicts the key whose next request is farthest away, which takes knowledge of the future.
//!
//! Belady: "A Study of Replacement Algorithms for a Virtual-Storage Computer", IBM Systems
//! Journal 5(2), 1966; Mattson et al. 1970 for the proof. All keys are of one size. A cache that
//! may pass a newcomer by (moka does) can hit more often than one that must take it in, so the
//! bound for all is the optimum with that freedom: the newcomer is then one of the candidates for
//! eviction.

use std::collections::BinaryHeap;

use super::{Key, Policy};

/// What becomes of a key that was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newcomer {
    /// It is inserted: Belady's MIN.
    Enters,
    /// It is inserted if that pays.
    MayPass,
}

/// The next request of a key that is asked for no more.
const NEVER: u32 = u32::MAX;

/// Belady's optimum for one row of requests, which must then be asked in that order.
pub struct Opt {
    /// For each request, the number of the next one for its key.
    next: Vec<u32>,
    now: usize,
    resident: Vec<bool>,
    held: usize,
    /// Next requests of resident keys. Those that have come to pass are left in: they are below
    /// all others, so the top is never one of them.
    farthest: BinaryHeap<(u32, Key)>,
    capacity: usize,
    newcomer: Newcomer,
}

impl Opt {
    /// An empty cache; the capacity must be above zero, the requests fewer than 2^32 - 1.
    pub fn new(universe: usize, capacity: usize, requests: &[Key], newcomer: Newcomer) -> Self {
        let mut next = vec![NEVER; requests.len()];
        let mut seen = vec![NEVER; universe];
        for (at, key) in requests.iter().enumerate().rev() {
            next[at] = std::mem::replace(&mut seen[*key as usize], at as u32);
        }
        Self {
            next,
            now: 0,
            resident: vec![false; universe],
            held: 0,
            farthest: BinaryHeap::new(),
            capacity,
            newcomer,
        }
    }
}

impl Policy for Opt {
    fn request(&mut self, key: Key) -> bool {
        let next = self.next[self.now];
        self.now += 1;
        let hit = self.is_resident(key);
        if !hit {
            let worst = self.farthest.peek().map_or(0, |(next, _)| *next);
            if self.held < self.capacity {
                self.held += 1;
            } else if self.newcomer == Newcomer::MayPass && next >= worst {
                return false;
            } else if let Some((_, victim)) = self.farthest.pop() {
                self.resident[victim as usize] = false;
            }
            self.resident[key as usize] = true;
        }
        self.farthest.push((next, key));
        hit
    }

    fn is_resident(&self, key: Key) -> bool {
        self.resident[key as usize]
    }
}
