//! [`Expiry`] against a plain map of deadlines, and its bounds on work and memory.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use super::*;

/// A shard reduced to its deadlines.
#[derive(Default)]
struct Model {
    expiry: Expiry,
    deadlines: BTreeMap<u32, Millis>,
    slots: usize,
    /// What may make a block be read: deadlines noted or put off.
    causes: usize,
    /// Blocks read, and deadlines asked for.
    steps: usize,
    asked: Cell<usize>,
}

impl Model {
    fn with_slots(slots: usize) -> Self {
        let mut model = Self::default();
        model.reserve(slots);
        model
    }

    fn reserve(&mut self, slots: usize) {
        self.expiry.reserve(slots).unwrap();
        self.slots = self.slots.max(slots);
    }

    fn put(&mut self, slot: u32, deadline: u64) {
        self.expiry.note(slot, Millis(deadline));
        self.deadlines.insert(slot, Millis(deadline));
        self.causes += 1;
    }

    fn put_off(&mut self, slot: u32, by: u64) {
        if let Some(deadline) = self.deadlines.get_mut(&slot) {
            deadline.0 = deadline.0.saturating_add(by);
            self.causes += 1;
        }
    }

    fn truncate(&mut self, slots: usize) {
        self.expiry.truncate(slots);
        self.deadlines.retain(|slot, _| (*slot as usize) < slots);
        self.slots = self.slots.min(slots);
    }

    fn deadline_of(&self, slot: u32) -> Millis {
        assert!((slot as usize) < self.slots, "asked for slot {slot} of {}", self.slots);
        self.asked.set(self.asked.get() + 1);
        self.deadlines.get(&slot).copied().unwrap_or(Millis::NEVER)
    }

    fn poll(&mut self, now: u64, steps: &mut usize) -> Option<u32> {
        let mut expiry = std::mem::take(&mut self.expiry);
        let (before, asked) = (*steps, self.asked.get());
        let slot = expiry.poll(Millis(now), steps, |slot| self.deadline_of(slot));
        self.expiry = expiry;
        let taken = before - *steps;
        assert!(
            self.asked.get() - asked <= (2 * taken + 1) * BLOCK,
            "more work than {taken} steps"
        );
        self.steps += taken;
        self.assert_work_is_amortised();
        if let Some(slot) = slot {
            let deadline = self.deadlines.get(&slot).expect("a reported slot has an entry");
            assert!(deadline.0 <= now, "slot {slot} is reported at {now}, before {deadline:?}");
            assert_ne!(*deadline, Millis::NEVER, "slot {slot} never expires");
        }
        slot
    }

    /// Takes out up to `most` slots; true if the polls said that nothing is left.
    fn take_out(&mut self, now: u64, most: usize, mut steps: usize) -> bool {
        for _ in 0..most {
            let Some(slot) = self.poll(now, &mut steps) else {
                return steps > 0;
            };
            self.deadlines.remove(&slot);
        }
        false
    }

    /// Takes out all that is due, `steps` at a time, and says how many slots that were.
    fn drain(&mut self, now: u64, steps: usize) -> usize {
        let before = self.deadlines.len();
        while !self.take_out(now, usize::MAX, steps) {}
        self.assert_nothing_is_due(now);
        before - self.deadlines.len()
    }

    fn assert_nothing_is_due(&self, now: u64) {
        let due = self.deadlines.iter().find(|(_, at)| at.0 <= now && **at != Millis::NEVER);
        assert_eq!(due, None, "left behind at {now}");
        assert!(self.expiry.earliest().0 > now || self.expiry.earliest() == Millis::NEVER);
    }

    fn validate(&self) {
        self.expiry.validate(
            |slot| self.deadlines.get(&slot).copied().unwrap_or(Millis::NEVER),
            self.slots,
        );
    }

    fn assert_work_is_amortised(&self) {
        assert!(self.steps <= self.causes, "{} steps for {} deadlines", self.steps, self.causes);
    }
}

/// Random calls on a model that begins with `slots`; `check` says how often all is asserted.
fn run(seed: u64, slots: usize, calls: usize, check: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::with_slots(slots);
    let mut now = random.u64(..) >> random.u32(0..64);
    for call in 0..calls {
        let slot = random.u32(0..model.slots as u32);
        let ahead = random.u64(..) >> random.u32(0..64);
        match random.u32(0..100) {
            0..40 => model.put(slot, now.saturating_add(ahead)),
            // A burst of equal deadlines next to one another, as a filled cache has them.
            40..45 => {
                for slot in (slot..model.slots as u32).take(random.usize(1..80)) {
                    model.put(slot, now.saturating_add(ahead % 100));
                }
            }
            45..55 => model.put_off(slot, ahead),
            55..65 => drop(model.deadlines.remove(&slot)),
            65..70 => now = now.saturating_add(ahead),
            70..85 => {
                let done = model.take_out(now, random.usize(1..20), random.usize(0..5));
                if done {
                    model.assert_nothing_is_due(now);
                }
            }
            85..93 => drop(model.drain(now, random.usize(1..5))),
            // A caller that leaves what was reported where it is.
            93..96 => drop(model.poll(now, &mut 2)),
            96 => model.reserve(model.slots + random.usize(0..=slots)),
            97 => model.truncate((slot as usize).max(1)),
            _ => now = now.saturating_sub(ahead % 10),
        }
        if call % check == 0 {
            model.validate();
        }
    }
    let never = model.deadlines.values().filter(|at| **at == Millis::NEVER).count();
    let due = model.deadlines.len() - never;
    assert_eq!(model.drain(u64::MAX, 3), due);
    model.validate();
    assert_eq!(model.expiry.earliest(), Millis::NEVER);
}

#[test]
fn random_calls_agree_with_a_plain_map() {
    let first = 0x1987_u64;
    for seed in first..first + 2_000 {
        let slots = 1 + (seed as usize * 37) % if seed % 32 == 0 { 1_500 } else { 100 };
        let result = std::panic::catch_unwind(|| run(seed, slots, 80, 1));
        assert!(result.is_ok(), "seed {seed:#x}, {slots} slots");
    }
}

#[test]
fn random_calls_agree_with_a_plain_map_at_four_levels() {
    for seed in 0..3 {
        let result = std::panic::catch_unwind(|| run(seed, 150_000, 3_000, 1_000));
        assert!(result.is_ok(), "seed {seed:#x}");
    }
}

#[test]
fn all_due_at_once_come_out_in_as_many_steps_as_there_are_blocks() {
    let mut model = Model::with_slots(20_000);
    for slot in 0..20_000 {
        model.put(slot, 500);
    }
    assert_eq!(model.drain(499, 100), 0);
    assert_eq!(model.steps, 0, "nothing was due");
    model.asked.set(0);
    assert_eq!(model.drain(500, 7), 20_000);
    assert_eq!(model.steps, 20_000 / BLOCK);
    // Once when the block is read, once before the report, once to see that it was taken out.
    assert_eq!(model.asked.get(), 3 * 20_000);
}

#[test]
fn no_poll_reads_more_blocks_than_its_steps() {
    let mut model = Model::with_slots(1_000 * BLOCK);
    for block in 0..1_000 {
        model.put(block * BLOCK as u32, 10);
    }
    // All bounds are too low now.
    for block in 0..1_000 {
        model.put_off(block * BLOCK as u32, 1_000);
    }
    for polls in 1..=250 {
        model.asked.set(0);
        let mut steps = 4;
        assert_eq!(model.poll(20, &mut steps), None);
        assert_eq!((steps, model.steps), (0, 4 * polls));
        if polls % 16 == 1 {
            model.validate();
        }
    }
    assert_eq!(model.poll(20, &mut 4), None);
    assert_eq!(model.steps, 1_000, "every bound was set right");
    assert_eq!(model.expiry.earliest(), Millis(1_010));
}

#[test]
fn without_steps_nothing_new_is_looked_for_and_nothing_is_lost() {
    let mut model = Model::with_slots(100);
    for slot in [3, 5, 70] {
        model.put(slot, 1);
    }
    assert_eq!(model.poll(1, &mut 0), None);
    assert_eq!(model.poll(1, &mut 1), Some(3));
    // The rest of a block that was read needs no step.
    model.deadlines.remove(&3);
    assert_eq!(model.poll(1, &mut 0), Some(5));
    model.deadlines.remove(&5);
    assert_eq!(model.poll(1, &mut 0), None);
    assert_eq!(model.drain(1, 1), 1);
}

#[test]
fn a_slot_noted_in_the_block_that_is_being_reported_is_found() {
    let mut model = Model::with_slots(64);
    for slot in 0..32 {
        model.put(slot, 5);
    }
    let mut steps = 10;
    for expected in 0..10 {
        assert_eq!(model.poll(5, &mut steps), Some(expected));
        model.deadlines.remove(&expected);
    }
    // Behind, at and ahead of the place that the reports have reached; due and not yet due.
    for slot in [2, 3, 9, 10, 20, 31] {
        model.put(slot, if slot % 2 == 0 { 4 } else { 6 });
    }
    model.validate();
    // Slot 2 and those from 10 on, apart from 31.
    assert_eq!(model.drain(5, 10), 22);
    model.validate();
    assert_eq!(model.drain(6, 10), 3);
    assert!(model.deadlines.is_empty());
}

#[test]
fn a_deadline_put_off_after_its_block_was_read_is_kept() {
    let mut model = Model::with_slots(32);
    model.put(1, 5);
    model.put(2, 5);
    assert_eq!(model.poll(5, &mut 1), Some(1));
    model.put_off(2, 100);
    model.put_off(1, 50);
    assert_eq!(model.poll(5, &mut 1), None);
    model.validate();
    assert_eq!(model.expiry.earliest(), Millis(55));
    assert_eq!(model.drain(104, 2), 1);
    assert_eq!(model.drain(105, 2), 1);
}

#[test]
fn a_reported_slot_that_is_not_taken_out_is_reported_again() {
    let mut model = Model::with_slots(32);
    model.put(7, 5);
    let mut steps = 3;
    for _ in 0..100 {
        assert_eq!(model.poll(5, &mut steps), Some(7));
    }
    assert_eq!(steps, 2);
}

#[test]
fn the_block_with_the_lowest_bound_is_read_first() {
    let mut model = Model::with_slots(10_000);
    for slot in (0..10_000).step_by(100) {
        model.put(slot, u64::from(20_000 - slot));
    }
    for slot in (0..10_000).step_by(100).rev() {
        assert_eq!(model.poll(1 << 20, &mut 1), Some(slot));
        model.deadlines.remove(&slot);
    }
}

#[test]
fn one_slot_noted_a_million_times_costs_one_step() {
    let mut model = Model::with_slots(1_000);
    for round in 0..1_000_000 {
        model.put(77, 1_000 + round);
    }
    model.validate();
    assert_eq!(model.expiry.earliest(), Millis(1_000));
    assert_eq!(model.drain(1_001_000 - 2, 100), 0);
    assert_eq!(model.steps, 1);
    assert_eq!(model.drain(1_001_000 - 1, 100), 1);
    for round in (0..1_000_000).rev() {
        model.put(77, 1_000 + round);
    }
    assert_eq!(model.drain(1_000, 100), 1);
    assert_eq!(model.steps, 3);
}

#[test]
fn the_first_and_the_last_deadline_pass_and_never_does_not() {
    let mut model = Model::with_slots(200);
    model.put(0, 0);
    model.put(100, u64::MAX - 1);
    model.put(150, u64::MAX);
    model.put(101, u64::MAX);
    model.validate();
    assert_eq!(model.expiry.earliest(), Millis(0));
    assert_eq!(model.drain(0, 5), 1);
    assert_eq!(model.drain(u64::MAX - 2, 5), 0);
    assert_eq!(model.expiry.earliest(), Millis(u64::MAX - 1));
    assert_eq!(model.drain(u64::MAX, 5), 1);
    assert_eq!(model.expiry.earliest(), Millis::NEVER);
    assert_eq!(model.poll(u64::MAX, &mut 5), None);
    let left: BTreeSet<_> = model.deadlines.keys().copied().collect();
    assert_eq!(left, BTreeSet::from([101, 150]));
}

/// An idle time to live: each read puts the deadline off, and nobody notes it.
#[test]
fn entries_that_are_read_before_they_expire_cost_at_most_a_step_for_each_read() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut model = Model::with_slots(640);
    for slot in 0..640 {
        model.put(slot, 1_000);
    }
    let mut now = 0;
    for _ in 0..100 {
        now += 100;
        for _ in 0..600 {
            let slot = random.u32(0..640);
            if let Some(deadline) = model.deadlines.get(&slot).copied() {
                model.put_off(slot, now + 1_000 - deadline.0);
            }
        }
        model.drain(now, 5);
        model.validate();
    }
    // Each block is read once in each tenth of the time to live at most, not for each entry.
    assert!(model.steps <= 100 * 20, "{} steps", model.steps);
}

#[test]
fn an_empty_one_has_no_memory_and_a_large_one_a_third_of_a_byte_per_slot() {
    let mut expiry = Expiry::default();
    assert_eq!((expiry.bytes(), expiry.earliest()), (0, Millis::NEVER));
    assert_eq!(expiry.poll(Millis(u64::MAX), &mut 1, |_| Millis(0)), None);
    expiry.reserve(0).unwrap();
    assert_eq!(expiry.bytes(), 0);
    expiry.reserve(1).unwrap();
    assert_eq!(expiry.bytes(), 128);

    expiry.reserve(1 << 20).unwrap();
    let full = expiry.bytes();
    assert!(full as f64 <= 0.27 * f64::from(1 << 20), "{full} bytes");
    let (mut growths, mut bytes) = (0, full);
    for slots in 1 << 20..4 << 20 {
        expiry.reserve(slots).unwrap();
        growths += usize::from(expiry.bytes() != bytes);
        bytes = expiry.bytes();
        assert!(bytes as f64 <= 0.34 * slots as f64, "{bytes} bytes for {slots} slots");
    }
    assert!(growths <= 7, "grown {growths} times on the way to four times the size");
}

#[test]
fn shrinking_gives_memory_back_and_growing_again_remembers_nothing() {
    let mut model = Model::with_slots(100_000);
    for slot in 0..100_000 {
        model.put(slot, u64::from(200_000 - slot));
    }
    let full = model.expiry.bytes();
    for slots in [99_999, 70_000, 50_001, 4_097, 513, 31] {
        model.truncate(slots);
        model.validate();
        assert_eq!(model.expiry.earliest().0, 200_001 - slots.next_multiple_of(BLOCK) as u64);
        assert!(model.expiry.bytes() <= full * 2 * (slots + 512) / 100_000, "{slots} slots");
    }
    model.reserve(100_000);
    model.validate();
    model.truncate(0);
    assert_eq!((model.expiry.bytes(), model.expiry.earliest()), (0, Millis::NEVER));
    model.reserve(40);
    model.put(39, 9);
    assert_eq!(model.drain(9, 2), 1);
}

#[test]
fn truncating_between_two_reports_forgets_the_slots_that_are_gone() {
    for kept in [0, 1, 2, 9, 10, 31, 32, 40, 64] {
        let mut model = Model::with_slots(64);
        for slot in [1, 9, 31, 32, 40] {
            model.put(slot, 1);
        }
        assert_eq!(model.poll(1, &mut 1), Some(1));
        model.truncate(kept);
        model.validate();
        let left = model.deadlines.len();
        assert_eq!(model.drain(1, 3), left, "{kept} slots kept");
    }
}

#[test]
fn memory_that_cannot_be_had_leaves_everything_as_it_was() {
    let mut model = Model::with_slots(1_000);
    model.put(500, 5);
    let bytes = model.expiry.bytes();
    assert!(model.expiry.reserve(usize::MAX / 2).is_err());
    model.validate();
    assert_eq!(model.expiry.bytes(), bytes);
    assert_eq!(model.drain(5, 2), 1);
}
