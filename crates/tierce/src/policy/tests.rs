//! One table of tests for every policy, over a shard made of plain vectors.

mod behaviour;
mod rules;

use std::{cell::Cell, collections::HashMap, ptr};

use super::{Chosen, Entries, Entry, MOST_READS, Policy, PolicyKind, Slot};

const ALL: [PolicyKind; 2] = [PolicyKind::Adaptive, PolicyKind::Lru];

/// A slot of the plain shard.
#[derive(Default)]
struct Place {
    key: Option<u64>,
    cost: u64,
    reads: Cell<u8>,
    mark: Cell<u8>,
}

thread_local! {
    /// How often marks were asked for.
    static LOOKS: Cell<u32> = const { Cell::new(0) };
}

struct Places(Vec<Place>);

impl Places {
    fn live(&self) -> Vec<bool> {
        self.0.iter().map(|place| place.key.is_some()).collect()
    }
}

impl Entry for Place {
    fn reads(&self) -> u8 {
        self.reads.get()
    }
    fn set_reads(&self, reads: u8) {
        self.reads.set(reads);
    }
    fn mark(&self) -> u8 {
        LOOKS.set(LOOKS.get() + 1);
        self.mark.get()
    }
    fn set_mark(&self, mark: u8) {
        self.mark.set(mark);
    }
    fn hash(&self) -> u32 {
        let key = self.key.expect("a policy asks only about entries");
        (mixed(key) >> 32) as u32
    }
}

impl Entries for Places {
    type Entry = Place;

    fn entry(&self, slot: Slot) -> &Place {
        &self.0[slot as usize]
    }
    fn place(&self, slot: Slot) -> Option<&Place> {
        Some(&self.0[slot as usize])
    }
    fn cost(&self, place: &Place) -> u64 {
        assert!(place.key.is_some(), "a policy asks only about entries");
        place.cost
    }
    fn prefetch(&self, slot: Slot, _ahead: usize) {
        assert!((slot as usize) < self.0.len(), "prefetch of a slot that was never reserved");
    }
    fn lines_of(&self, slot: Slot, _hash: u32) -> [*const u8; 2] {
        assert!((slot as usize) < self.0.len(), "a hint at a slot that was never reserved");
        [ptr::null(); 2]
    }
    fn after(&self, slot: Slot) -> Slot {
        if slot as usize + 1 < self.0.len() { slot + 1 } else { 0 }
    }
    fn number(&self, slot: Slot) -> usize {
        slot as usize
    }
    fn numbered(&self, number: usize) -> Slot {
        number as Slot
    }
}

/// The finaliser of splitmix64.
fn mixed(key: u64) -> u64 {
    let mut bits = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// A shard in its plainest form: bounds in cost and in entries, slots reused last freed first.
struct Shard {
    policy: Chosen,
    places: Places,
    index: HashMap<u64, Slot>,
    free: Vec<Slot>,
    cost: u64,
    most_cost: u64,
    most_entries: usize,
}

impl Shard {
    fn new(kind: PolicyKind, most_entries: usize, most_cost: u64) -> Self {
        let policy = Chosen::new(kind);
        Self {
            policy,
            places: Places(Vec::new()),
            index: HashMap::new(),
            free: Vec::new(),
            cost: 0,
            most_cost,
            most_entries,
        }
    }

    fn get(&mut self, key: u64) -> bool {
        let Some(&slot) = self.index.get(&key) else { return false };
        let reads = &self.places.0[slot as usize].reads;
        reads.set((reads.get() + 1).min(MOST_READS));
        if self.policy.view().kind.wants_hits() {
            self.policy.on_hit(slot, &self.places);
        }
        true
    }

    fn remove(&mut self, key: u64) {
        if let Some(slot) = self.index.remove(&key) {
            self.policy.on_remove(slot, self.places.entry(slot), &self.places);
            self.clear(slot);
        }
    }

    /// Has the policy take out one entry; gives its key.
    fn evict(&mut self) -> Option<u64> {
        let (slot, place) = self.policy.evict(&self.places)?;
        let key = place.key.expect("a victim holds an entry");
        assert_eq!(place.mark.get(), 0, "a victim keeps no mark");
        self.index.remove(&key);
        self.clear(slot);
        Some(key)
    }

    fn clear(&mut self, slot: Slot) {
        let place = &mut self.places.0[slot as usize];
        self.cost -= place.cost;
        place.key = None;
        place.mark.set(0);
        self.free.push(slot);
    }

    /// Evicts until one more entry of this cost fits; gives the victims' keys.
    fn make_room(&mut self, entries: usize, cost: u64) -> Vec<u64> {
        let mut victims = Vec::new();
        while self.index.len() + entries > self.most_entries || self.cost + cost > self.most_cost {
            let Some(key) = self.evict() else { break };
            victims.push(key);
        }
        victims
    }

    fn fill(&mut self, key: u64, cost: u64) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slots = (self.places.0.len() * 9 / 8 + 4).min(self.most_entries + 1);
            assert!(self.policy.reserve(slots, slots));
            let first = self.places.0.len() as Slot;
            self.places.0.resize_with(slots, Place::default);
            self.free.extend((first..slots as Slot).rev());
            self.free.pop().expect("a fresh slot")
        });
        self.cost += cost;
        self.places.0[slot as usize] = Place { key: Some(key), cost, ..Place::default() };
        slot
    }

    /// Inserts or replaces; gives the keys that were evicted.
    fn set(&mut self, key: u64, cost: u64) -> Vec<u64> {
        if let Some(&old) = self.index.get(&key) {
            let new = self.fill(key, cost);
            let places = &self.places;
            let (old_place, new_place) = (places.entry(old), places.entry(new));
            self.policy.on_replace((old, old_place), (new, new_place), places);
            self.clear(old);
            self.index.insert(key, new);
            return self.make_room(0, 0);
        }
        let victims = self.make_room(1, cost);
        let slot = self.fill(key, cost);
        self.index.insert(key, slot);
        self.policy.on_insert(slot, self.places.entry(slot), &self.places);
        victims
    }

    /// Reads, and inserts after a miss.
    fn access(&mut self, key: u64) -> bool {
        let hit = self.get(key);
        if !hit {
            self.set(key, 1);
        }
        hit
    }

    fn validate(&self) {
        assert!(self.index.len() <= self.most_entries, "too many entries");
        assert!(self.cost <= self.most_cost, "too much cost");
        let live = self.places.live();
        assert_eq!(live.iter().filter(|live| **live).count(), self.index.len());
        self.policy.validate(&live, &self.places);
    }
}
