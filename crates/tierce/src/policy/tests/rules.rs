//! What every policy must keep to, whatever is asked of it.

use super::{ALL, Chosen, Entries, Entry, LOOKS, MOST_READS, Place, Places, Policy, Shard};

const SEED: u64 = 0x7135_CE00;

/// Random calls of every kind; gives a digest of all victims in their order.
fn storm(shard: &mut Shard, seed: u64, calls: usize, keys: u64, most_cost: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut digest = 0_u64;
    for call in 0..calls {
        let key = random.u64(0..keys).min(random.u64(0..keys));
        match random.u8(0..16) {
            0 => shard.remove(key),
            1..=3 => {
                for victim in shard.set(key, random.u64(0..=most_cost)) {
                    digest = digest.rotate_left(7) ^ victim;
                }
            }
            4..=9 => {
                shard.access(key);
            }
            _ => {
                shard.get(key);
            }
        }
        if call % 7 == 0 {
            shard.validate();
        }
    }
    digest
}

#[test]
fn every_policy_keeps_its_invariants_in_a_storm() {
    println!("seed {SEED}");
    for kind in ALL {
        for (entries, cost) in [(1, u64::MAX), (2, 9), (7, 30), (64, u64::MAX), (300, 500)] {
            let mut shard = Shard::new(kind, entries, cost);
            storm(&mut shard, SEED, 6000, entries as u64 * 3, 9);
            shard.validate();
        }
    }
}

#[test]
fn every_policy_gives_the_same_victims_for_the_same_calls() {
    for kind in ALL {
        let run = || storm(&mut Shard::new(kind, 50, 300), SEED, 5000, 200, 9);
        assert_eq!(run(), run(), "{kind:?}");
    }
}

#[test]
fn every_policy_gives_out_each_entry_once_when_drained() {
    for kind in ALL {
        for count in [0, 1, 2, 3, 17, 200] {
            let mut shard = Shard::new(kind, count, u64::MAX);
            for key in 0..count as u64 {
                shard.set(key, 1);
                if key % 3 == 0 {
                    shard.get(key);
                }
            }
            shard.most_entries = 0;
            let mut victims = shard.make_room(0, 0);
            victims.sort_unstable();
            assert_eq!(victims, (0..count as u64).collect::<Vec<_>>(), "{kind:?}");
            shard.validate();
            assert_eq!(shard.evict(), None);
        }
    }
}

#[test]
fn every_policy_forgets_any_slot_that_is_removed() {
    for kind in ALL {
        for gone in 0..40 {
            let mut shard = Shard::new(kind, 40, u64::MAX);
            for key in 0..60 {
                shard.access(key % 45);
            }
            let key = shard.places.0[gone].key.expect("full");
            shard.remove(key);
            shard.validate();
            shard.most_entries = 0;
            assert!(!shard.make_room(0, 0).contains(&key), "{kind:?}");
        }
    }
}

#[test]
fn every_policy_follows_a_smaller_and_a_larger_bound() {
    for kind in ALL {
        let mut shard = Shard::new(kind, 400, 3000);
        storm(&mut shard, SEED, 4000, 900, 9);
        for (entries, cost) in [(100, 900), (3, 20), (500, 5000), (0, 0), (200, u64::MAX)] {
            (shard.most_entries, shard.most_cost) = (entries, cost);
            shard.make_room(0, 0);
            shard.validate();
            if entries > 0 {
                storm(&mut shard, SEED + 1, 3000, 900, 9);
            }
        }
    }
}

#[test]
fn every_policy_works_with_costs_of_nothing_and_of_all() {
    for kind in ALL {
        let mut shard = Shard::new(kind, 20, u64::MAX);
        for key in 0..100 {
            shard.set(key, if key % 2 == 0 { 0 } else { u64::MAX / 64 });
            shard.get(key / 2);
            shard.validate();
        }
    }
}

#[test]
fn every_policy_names_an_entry_though_all_were_read() {
    for kind in ALL {
        let mut shard = Shard::new(kind, 600, u64::MAX);
        for key in 0..600 {
            shard.set(key, 1);
        }
        for round in 0..20 {
            for key in 0..600 + round {
                for _ in 0..MOST_READS {
                    shard.get(key);
                }
            }
            shard.set(600 + round, 1);
        }
        shard.validate();
    }
}

#[test]
fn no_policy_loses_what_it_holds_when_slots_are_added() {
    for kind in ALL {
        let mut policy = Chosen::new(kind);
        let mut places = Places(Vec::new());
        for slot in 0..500 {
            assert!(policy.reserve(slot + 1, slot + 1));
            places.0.push(Place { key: Some(slot as u64), cost: 1, ..Place::default() });
            policy.on_insert(slot as u32, &places.0[slot], &places);
            policy.validate(&places.live(), &places);
        }
        assert_eq!(policy.view().entries, 500);
    }
}

#[test]
fn replacing_counts_as_a_read_and_keeps_the_place() {
    let mut shard = Shard::new(super::PolicyKind::Adaptive, 100, u64::MAX);
    for key in 0..100 {
        shard.set(key, 1);
    }
    for key in 0..100 {
        let old = shard.places.entry(shard.index[&key]).mark();
        shard.set(key, 1);
        let slot = shard.index[&key];
        assert_eq!(shard.places.entry(slot).reads(), 1);
        assert_eq!(shard.places.entry(slot).mark() & 0x80, old & 0x80);
    }
    shard.validate();
}

#[test]
fn no_policy_looks_at_many_entries_in_one_call() {
    for kind in ALL {
        let mut shard = Shard::new(kind, 1000, u64::MAX);
        let mut most = 0;
        for round in 0..1500 {
            for key in 0..if round % 50 == 0 { 1000 } else { 0 } {
                for _ in 0..MOST_READS {
                    shard.get(key + round / 3);
                }
            }
            LOOKS.set(0);
            shard.set(round, 1);
            most = most.max(LOOKS.get());
            if round >= 1250 {
                // One more must go: in the end the window has no more than its share.
                shard.most_entries -= 1;
                LOOKS.set(0);
                shard.make_room(0, 0);
                most = most.max(LOOKS.get());
            }
        }
        assert!(most <= 300, "{kind:?}: {most} marks in one call");
    }
}
