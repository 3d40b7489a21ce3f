//! ARC: one list of keys asked for once and one of keys asked for again, each with ghosts whose
//! hits move the border between them.
//!
//! Megiddo, Modha: "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003, figure 4. The
//! names T1, B1, T2, B2 and the cases are the paper's; the target is a real number, as there.

use super::{
    Key, Policy,
    queue::{Links, Queue},
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Absent,
    T1,
    B1,
    T2,
    B2,
}

/// Adaptive replacement cache.
pub struct Arc {
    place: Vec<Place>,
    links: Links,
    t1: Queue,
    b1: Queue,
    t2: Queue,
    b2: Queue,
    /// What T1 should hold: the paper's p.
    target: f64,
    capacity: usize,
}

impl Arc {
    /// An empty cache; the capacity must be above zero.
    pub fn new(universe: usize, capacity: usize) -> Self {
        Self {
            place: vec![Place::Absent; universe],
            links: Links::new(universe),
            t1: Queue::new(),
            b1: Queue::new(),
            t2: Queue::new(),
            b2: Queue::new(),
            target: 0.0,
            capacity,
        }
    }

    fn replace(&mut self, asked_in: Place) {
        let held = self.t1.len() as f64;
        let above = held > self.target || (asked_in == Place::B2 && held == self.target);
        if self.t1.len() > 0 && above {
            let victim = self.t1.pop(&mut self.links);
            self.b1.push(&mut self.links, victim);
            self.place[victim as usize] = Place::B1;
        } else {
            let victim = self.t2.pop(&mut self.links);
            self.b2.push(&mut self.links, victim);
            self.place[victim as usize] = Place::B2;
        }
    }

    /// Case IV: makes room for a key that is in no list.
    fn make_room(&mut self) {
        let (t1, b1) = (self.t1.len(), self.b1.len());
        let all = t1 + b1 + self.t2.len() + self.b2.len();
        if t1 + b1 == self.capacity {
            let list = if t1 < self.capacity { &mut self.b1 } else { &mut self.t1 };
            let forgotten = list.pop(&mut self.links);
            self.place[forgotten as usize] = Place::Absent;
            if t1 < self.capacity {
                self.replace(Place::Absent);
            }
        } else if all >= self.capacity {
            if all == 2 * self.capacity {
                let forgotten = self.b2.pop(&mut self.links);
                self.place[forgotten as usize] = Place::Absent;
            }
            self.replace(Place::Absent);
        }
    }
}

impl Policy for Arc {
    fn request(&mut self, key: Key) -> bool {
        let place = self.place[key as usize];
        let (b1, b2) = (self.b1.len() as f64, self.b2.len() as f64);
        match place {
            Place::T1 => self.t1.remove(&mut self.links, key),
            Place::T2 => self.t2.remove(&mut self.links, key),
            Place::B1 => {
                self.target = (self.target + (b2 / b1).max(1.0)).min(self.capacity as f64);
                self.replace(place);
                self.b1.remove(&mut self.links, key);
            }
            Place::B2 => {
                self.target = (self.target - (b1 / b2).max(1.0)).max(0.0);
                self.replace(place);
                self.b2.remove(&mut self.links, key);
            }
            Place::Absent => {
                self.make_room();
                self.t1.push(&mut self.links, key);
                self.place[key as usize] = Place::T1;
                return false;
            }
        }
        self.t2.push(&mut self.links, key);
        self.place[key as usize] = Place::T2;
        matches!(place, Place::T1 | Place::T2)
    }

    fn is_resident(&self, key: Key) -> bool {
        matches!(self.place[key as usize], Place::T1 | Place::T2)
    }
}
