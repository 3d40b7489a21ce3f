//! W-TinyLFU with a fixed window: an LRU window, a segmented LRU behind it, and a frequency
//! sketch that decides between what leaves the window and what the main part would evict.
//!
//! Einziger, Friedman, Manes: "TinyLFU", ACM TOS 13(4), 2017, as in Caffeine: four fifths of the
//! main part are protected; the newcomer must be strictly more frequent than the victim, except
//! that one in 128 lost comparisons of a newcomer with a frequency above 5 is won, against
//! attacks by collisions. The seed of that draw is fixed. Caffeine moves its window's size while it
//! runs; here it is what is asked for, and at least one key.

use fastrand::Rng;

use super::{
    Key, Policy,
    queue::{Links, NONE, Queue},
    sketch::Sketch,
};

/// Newcomers of this frequency may win a comparison that they lost.
const WARM: u64 = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Absent,
    Window,
    Probation,
    Protected,
}

/// W-TinyLFU.
pub struct TinyLfu {
    place: Vec<Place>,
    links: Links,
    window: Queue,
    probation: Queue,
    protected: Queue,
    sketch: Sketch,
    random: Rng,
    capacity: usize,
    window_capacity: usize,
    protected_capacity: usize,
}

impl TinyLfu {
    /// An empty cache; the capacity must be above zero.
    pub fn new(universe: usize, capacity: usize, window_percent: usize) -> Self {
        let main_capacity = capacity * (100 - window_percent) / 100;
        Self {
            place: vec![Place::Absent; universe],
            links: Links::new(universe),
            window: Queue::new(),
            probation: Queue::new(),
            protected: Queue::new(),
            sketch: Sketch::new(capacity),
            random: Rng::with_seed(7),
            capacity,
            window_capacity: capacity - main_capacity,
            protected_capacity: main_capacity * 4 / 5,
        }
    }

    /// The key has left the window: into the main part, if it has room or a worse key.
    fn admit(&mut self, newcomer: Key) {
        let held = self.window.len() + self.probation.len() + self.protected.len();
        if held == self.capacity {
            let victim = self.probation.oldest();
            if victim == NONE || !self.wins(newcomer, victim) {
                self.place[newcomer as usize] = Place::Absent;
                return;
            }
            self.probation.remove(&mut self.links, victim);
            self.place[victim as usize] = Place::Absent;
        }
        self.probation.push(&mut self.links, newcomer);
        self.place[newcomer as usize] = Place::Probation;
    }

    fn wins(&mut self, newcomer: Key, victim: Key) -> bool {
        let frequency = self.sketch.frequency(newcomer);
        frequency > self.sketch.frequency(victim)
            || (frequency >= WARM && self.random.u32(..) & 127 == 0)
    }

    fn protect(&mut self, key: Key) {
        self.probation.remove(&mut self.links, key);
        self.protected.push(&mut self.links, key);
        self.place[key as usize] = Place::Protected;
        if self.protected.len() > self.protected_capacity {
            let demoted = self.protected.pop(&mut self.links);
            self.probation.push(&mut self.links, demoted);
            self.place[demoted as usize] = Place::Probation;
        }
    }
}

impl Policy for TinyLfu {
    fn request(&mut self, key: Key) -> bool {
        self.sketch.count(key);
        match self.place[key as usize] {
            Place::Window => self.window.renew(&mut self.links, key),
            Place::Probation => self.protect(key),
            Place::Protected => self.protected.renew(&mut self.links, key),
            Place::Absent => {
                self.window.push(&mut self.links, key);
                self.place[key as usize] = Place::Window;
                if self.window.len() > self.window_capacity {
                    let leaver = self.window.pop(&mut self.links);
                    self.admit(leaver);
                }
                return false;
            }
        }
        true
    }

    fn is_resident(&self, key: Key) -> bool {
        self.place[key as usize] != Place::Absent
    }
}
