//! S3-FIFO: a small queue for new keys, a main queue for those that were asked for again, and a
//! ghost queue of keys that left the small one.
//!
//! Yang, Zhang, Qiu, Yue, Rashmi: "FIFO Queues are All You Need for Cache Eviction", SOSP 2023.
//! The small queue takes a tenth (at least one key), the ghosts are as many as the main queue may
//! hold. A key moves from small to main if it was hit at least `threshold` times while it was
//! there: 2 in the paper's algorithm, 1 in several implementations. Its counter begins anew.

use super::{
    Key, Policy,
    queue::{Links, NONE, Queue},
};

/// Counters saturate here: two bits in the paper.
const MOST_HITS: u8 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Absent,
    Small,
    Main,
    Ghost,
}

/// S3-FIFO.
pub struct S3Fifo {
    place: Vec<Place>,
    hits: Vec<u8>,
    links: Links,
    small: Queue,
    main: Queue,
    ghosts: Queue,
    capacity: usize,
    small_capacity: usize,
    threshold: u8,
}

impl S3Fifo {
    /// An empty cache; the capacity must be above zero.
    pub fn new(universe: usize, capacity: usize, threshold: u8) -> Self {
        Self {
            place: vec![Place::Absent; universe],
            hits: vec![0; universe],
            links: Links::new(universe),
            small: Queue::new(),
            main: Queue::new(),
            ghosts: Queue::new(),
            capacity,
            small_capacity: (capacity / 10).max(1),
            threshold,
        }
    }

    fn evict(&mut self) {
        while self.small.len() + self.main.len() >= self.capacity {
            if self.small.len() >= self.small_capacity {
                self.evict_small();
            } else {
                self.evict_main();
            }
        }
    }

    /// Takes keys from the small queue until one became a ghost; those that were hit move on.
    fn evict_small(&mut self) {
        loop {
            let key = self.small.pop(&mut self.links);
            if key == NONE {
                return;
            }
            if self.hits[key as usize] < self.threshold {
                return self.remember(key);
            }
            self.put(key, Place::Main);
            if self.main.len() > self.capacity - self.small_capacity {
                self.evict_main();
            }
        }
    }

    fn evict_main(&mut self) {
        loop {
            let key = self.main.pop(&mut self.links);
            if key == NONE {
                return;
            }
            let hits = &mut self.hits[key as usize];
            if *hits == 0 {
                self.place[key as usize] = Place::Absent;
                return;
            }
            *hits -= 1;
            self.main.push(&mut self.links, key);
        }
    }

    fn remember(&mut self, key: Key) {
        self.ghosts.push(&mut self.links, key);
        self.place[key as usize] = Place::Ghost;
        if self.ghosts.len() > self.capacity - self.small_capacity {
            let forgotten = self.ghosts.pop(&mut self.links);
            self.place[forgotten as usize] = Place::Absent;
        }
    }

    fn put(&mut self, key: Key, place: Place) {
        let queue = if place == Place::Main { &mut self.main } else { &mut self.small };
        queue.push(&mut self.links, key);
        self.place[key as usize] = place;
        self.hits[key as usize] = 0;
    }
}

impl Policy for S3Fifo {
    fn request(&mut self, key: Key) -> bool {
        let place = match self.place[key as usize] {
            Place::Small | Place::Main => {
                let hits = &mut self.hits[key as usize];
                *hits = (*hits + 1).min(MOST_HITS);
                return true;
            }
            Place::Ghost => {
                self.ghosts.remove(&mut self.links, key);
                self.place[key as usize] = Place::Absent;
                Place::Main
            }
            Place::Absent => Place::Small,
        };
        self.evict();
        self.put(key, place);
        false
    }

    fn is_resident(&self, key: Key) -> bool {
        matches!(self.place[key as usize], Place::Small | Place::Main)
    }
}
