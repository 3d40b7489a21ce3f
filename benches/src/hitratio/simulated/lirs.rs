//! LIRS: keeps the keys whose last two requests lay close together (LIR), and passes the others
//! (HIR) through a small queue.
//!
//! Jiang, Zhang: "LIRS", SIGMETRICS 2002. Stack S and queue Q are the paper's. One hundredth of
//! the capacity (at least one key) is for resident HIR keys. The paper leaves the ghosts in S
//! without a bound; here they are at most twice the capacity, as in Caffeine's simulator, and the
//! oldest goes first.

use super::{
    Key, Policy,
    queue::{Links, NONE, Queue},
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Absent,
    /// Resident, in S.
    Lir,
    /// Resident, in Q, perhaps in S.
    Hir,
    /// Not resident, in S and in the ghosts.
    Ghost,
}

/// Low inter-reference recency set.
pub struct Lirs {
    kind: Vec<Kind>,
    in_stack: Vec<bool>,
    stack_links: Links,
    stack: Queue,
    /// Of Q and of the ghosts.
    links: Links,
    queue: Queue,
    ghosts: Queue,
    lirs: usize,
    capacity: usize,
    lir_capacity: usize,
}

impl Lirs {
    /// An empty cache; the capacity must be above zero.
    pub fn new(universe: usize, capacity: usize) -> Self {
        Self {
            kind: vec![Kind::Absent; universe],
            in_stack: vec![false; universe],
            stack_links: Links::new(universe),
            stack: Queue::new(),
            links: Links::new(universe),
            queue: Queue::new(),
            ghosts: Queue::new(),
            lirs: 0,
            capacity,
            lir_capacity: capacity - (capacity / 100).max(1),
        }
    }

    /// Puts a key on top of S.
    fn stack_up(&mut self, key: Key) {
        if std::mem::replace(&mut self.in_stack[key as usize], true) {
            self.stack.renew(&mut self.stack_links, key);
        } else {
            self.stack.push(&mut self.stack_links, key);
        }
    }

    fn unstack(&mut self, key: Key) {
        self.stack.remove(&mut self.stack_links, key);
        self.in_stack[key as usize] = false;
        if self.kind[key as usize] == Kind::Ghost {
            self.ghosts.remove(&mut self.links, key);
            self.kind[key as usize] = Kind::Absent;
        }
    }

    /// Takes keys from the bottom of S until a LIR key is there.
    fn prune(&mut self) {
        loop {
            let bottom = self.stack.oldest();
            if bottom == NONE || self.kind[bottom as usize] == Kind::Lir {
                return;
            }
            self.unstack(bottom);
        }
    }

    /// Makes a key LIR; the one at the bottom of S gives way if there are too many.
    fn promote(&mut self, key: Key) {
        self.kind[key as usize] = Kind::Lir;
        self.lirs += 1;
        self.stack_up(key);
        if self.lirs > self.lir_capacity {
            let bottom = self.stack.oldest();
            self.kind[bottom as usize] = Kind::Hir;
            self.lirs -= 1;
            self.queue.push(&mut self.links, bottom);
        }
        self.prune();
    }

    fn evict(&mut self) {
        let victim = self.queue.pop(&mut self.links);
        if !self.in_stack[victim as usize] {
            self.kind[victim as usize] = Kind::Absent;
            return;
        }
        self.kind[victim as usize] = Kind::Ghost;
        self.ghosts.push(&mut self.links, victim);
        if self.ghosts.len() > 2 * self.capacity {
            self.unstack(self.ghosts.oldest());
        }
    }

    fn miss(&mut self, key: Key) {
        if self.lirs < self.lir_capacity {
            return self.promote(key);
        }
        if self.lirs + self.queue.len() == self.capacity {
            self.evict();
        }
        // The eviction may have forgotten this very ghost.
        if self.kind[key as usize] == Kind::Ghost {
            self.ghosts.remove(&mut self.links, key);
            return self.promote(key);
        }
        self.kind[key as usize] = Kind::Hir;
        self.queue.push(&mut self.links, key);
        self.stack_up(key);
        self.prune();
    }
}

impl Policy for Lirs {
    fn request(&mut self, key: Key) -> bool {
        match self.kind[key as usize] {
            Kind::Lir => {
                self.stack_up(key);
                self.prune();
            }
            Kind::Hir if self.in_stack[key as usize] => {
                self.queue.remove(&mut self.links, key);
                self.promote(key);
            }
            Kind::Hir => {
                self.stack_up(key);
                self.queue.renew(&mut self.links, key);
            }
            Kind::Ghost | Kind::Absent => {
                self.miss(key);
                return false;
            }
        }
        true
    }

    fn is_resident(&self, key: Key) -> bool {
        matches!(self.kind[key as usize], Kind::Lir | Kind::Hir)
    }
}
