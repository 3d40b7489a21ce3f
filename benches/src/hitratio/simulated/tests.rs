//! Sequences worked by hand, and rules that hold for every policy on every sequence.

use fastrand::Rng;

use super::*;

const SEED: u64 = 7;
const BELADY: [Key; 20] = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1];

fn all(universe: usize, capacity: usize) -> Vec<(&'static str, Box<dyn Policy>)> {
    vec![
        ("FIFO", Box::new(Fifo::new(universe, capacity))),
        ("LRU", Box::new(Lru::new(universe, capacity))),
        ("SIEVE", Box::new(Sieve::new(universe, capacity))),
        ("S3-FIFO 1", Box::new(S3Fifo::new(universe, capacity, 1))),
        ("S3-FIFO 2", Box::new(S3Fifo::new(universe, capacity, 2))),
        ("W-TinyLFU 1 %", Box::new(TinyLfu::new(universe, capacity, 1))),
        ("W-TinyLFU 10 %", Box::new(TinyLfu::new(universe, capacity, 10))),
        ("ARC", Box::new(Arc::new(universe, capacity))),
        ("LIRS", Box::new(Lirs::new(universe, capacity))),
    ]
}

/// Plays the requests; which of them hit, and what is resident in the end.
fn play(mut policy: impl Policy, universe: Key, requests: &[Key]) -> (Vec<usize>, Vec<Key>) {
    let hit = |(at, key): (usize, &Key)| policy.request(*key).then_some(at);
    let hits = requests.iter().enumerate().filter_map(hit).collect();
    (hits, (0..universe).filter(|key| policy.is_resident(*key)).collect())
}

/// A mix of skewed draws, a loop and fresh keys.
fn mixed(universe: usize, length: usize, random: &mut Rng) -> Vec<Key> {
    let request = |at: usize| match random.u8(0..4) {
        0 => random.usize(0..universe),
        1 => at % (universe / 2).max(1),
        _ => (random.f64().powi(3) * universe as f64) as usize,
    };
    (0..length).map(request).map(|key| key as Key).collect()
}

#[test]
fn textbook_sequence_misses_15_times_by_fifo_12_by_lru_and_9_by_min() {
    let misses = |hits: u64| BELADY.len() as u64 - hits;
    assert_eq!(misses(hits(Fifo::new(8, 3), &BELADY)), 15);
    assert_eq!(misses(hits(Lru::new(8, 3), &BELADY)), 12);
    assert_eq!(misses(hits(Opt::new(8, 3, &BELADY, Newcomer::Enters), &BELADY)), 9);
}

#[test]
fn a_newcomer_that_may_pass_leaves_a_better_one_in() {
    let requests = [0, 1, 0, 2, 0, 3, 0];
    assert_eq!(hits(Opt::new(4, 1, &requests, Newcomer::Enters), &requests), 0);
    assert_eq!(hits(Opt::new(4, 1, &requests, Newcomer::MayPass), &requests), 3);
}

#[test]
fn sieve_passes_over_visited_keys_and_goes_on_where_it_stopped() {
    // 3 evicts 1 (0 was visited), 4 evicts 2, 5 evicts 4 (3 was visited), 6 evicts 0.
    let requests = [0, 1, 2, 0, 3, 4, 3, 5, 6];
    let after = |count| play(Sieve::new(7, 3), 7, &requests[..count]);
    assert_eq!(after(6), (vec![3], vec![0, 3, 4]));
    assert_eq!(after(8), (vec![3, 6], vec![0, 3, 5]));
    assert_eq!(after(9), (vec![3, 6], vec![3, 5, 6]));
}

#[test]
fn s3_fifo_moves_keys_that_were_hit_and_returns_ghosts_to_main() {
    // 4 moves 0 on and makes 1 a ghost; 1, 2, 3 and 4 come back from the ghosts into main, the
    // last of which evicts 0; then 0 is new and evicts 1.
    let requests = [0, 1, 2, 3, 0, 0, 4, 1, 2, 3, 4, 0];
    let (hits, resident) = play(S3Fifo::new(5, 4, 2), 5, &requests);
    assert_eq!((hits, resident), (vec![4, 5], vec![0, 2, 3, 4]));
}

#[test]
fn s3_fifo_moves_a_key_of_one_hit_only_at_threshold_one() {
    let resident = |threshold| play(S3Fifo::new(5, 4, threshold), 5, &[0, 1, 2, 3, 0, 4]).1;
    assert_eq!(resident(1), [0, 2, 3, 4]);
    assert_eq!(resident(2), [1, 2, 3, 4]);
}

#[test]
fn tiny_lfu_admits_only_what_is_asked_for_more_often_than_the_victim() {
    // Two keys, one of them in the window. 1 (asked once) loses against 0 (once, then twice); 2,
    // asked three times, wins.
    assert_eq!(play(TinyLfu::new(4, 2, 1), 4, &[0, 1, 2]).1, [0, 2]);
    let (hits, resident) = play(TinyLfu::new(4, 2, 1), 4, &[0, 1, 0, 2]);
    assert_eq!((hits, resident), (vec![2], vec![0, 2]));
    let (hits, resident) = play(TinyLfu::new(4, 2, 1), 4, &[0, 1, 0, 2, 2, 2, 3]);
    assert_eq!((hits, resident), (vec![2, 4, 5], vec![2, 3]));
}

#[test]
fn tiny_lfu_keeps_what_is_asked_for_often_through_a_scan() {
    let often = (0..250).map(|at| at % 50);
    let requests: Vec<Key> = often.chain(1_000..1_500).collect();
    let kept = |window| {
        let resident = play(TinyLfu::new(1_500, 100, window), 1_500, &requests).1;
        resident.into_iter().filter(|key| *key < 50).count()
    };
    assert!(kept(1) >= 48 && kept(10) >= 48, "{} {}", kept(1), kept(10));
}

#[test]
fn arc_moves_its_target_by_hits_of_ghosts() {
    // 3 makes 2 a ghost of T1; 2 raises the target to 1, so that 1 leaves T2; 1 lowers it to 0,
    // so that 3 leaves T1; 4 evicts 2 from T2.
    let (hits, resident) = play(Arc::new(5, 2), 5, &[1, 1, 2, 3, 2, 1, 4]);
    assert_eq!((hits, resident), (vec![1], vec![1, 4]));
}

#[test]
fn lirs_promotes_ghosts_in_the_stack_and_demotes_its_bottom() {
    // 0 and 1 are LIR; 2 and 3 pass through Q, come back from the ghosts and demote both. 1, then
    // HIR, is hit outside of the stack, hit again in it, and demotes 2, which 0 evicts.
    let (hits, resident) = play(Lirs::new(4, 3), 4, &[0, 1, 2, 3, 2, 3]);
    assert_eq!((hits, resident), (vec![], vec![1, 2, 3]));
    let (hits, resident) = play(Lirs::new(4, 3), 4, &[0, 1, 2, 3, 2, 3, 1, 1, 0]);
    assert_eq!((hits, resident), (vec![6, 7], vec![0, 1, 3]));
}

#[test]
fn a_loop_that_is_a_little_too_long_defeats_lru_but_not_lirs() {
    let requests: Vec<Key> = (0..10_000).map(|at| at % 101).collect();
    assert_eq!(hits(Lru::new(101, 100), &requests), 0);
    assert!(hits(Lirs::new(101, 100), &requests) > 9_500);
}

#[test]
fn no_policy_exceeds_its_capacity_or_misjudges_a_hit() {
    println!("seed {SEED}");
    let mut random = Rng::with_seed(SEED);
    for capacity in [1, 2, 3, 7, 20, 40, 60] {
        let requests = mixed(50, 2_000, &mut random);
        for newcomer in [Newcomer::Enters, Newcomer::MayPass] {
            let opt = Opt::new(50, capacity, &requests, newcomer);
            check("OPT", Box::new(opt), capacity, &requests);
        }
        for (name, policy) in all(50, capacity) {
            check(name, policy, capacity, &requests);
        }
    }
}

fn check(name: &str, mut policy: Box<dyn Policy>, capacity: usize, requests: &[Key]) {
    let mut asked = [false; 50];
    for key in requests {
        let resident = policy.is_resident(*key);
        assert!(asked[*key as usize] || !resident, "{name}: {key} came from nowhere");
        asked[*key as usize] = true;
        assert_eq!(policy.request(*key), resident, "{name} of {capacity}");
        let held = (0..50).filter(|key| policy.is_resident(*key)).count();
        assert!(held <= capacity, "{name} of {capacity} holds {held}");
        let all = asked.iter().filter(|asked| **asked).count();
        assert!(held >= capacity.min(all).min(1), "{name} of {capacity} holds nothing");
        if capacity >= 50 && name != "OPT" {
            assert_eq!(held, all, "{name} evicts where nothing need go");
        }
    }
}

#[test]
fn opt_is_at_least_as_good_as_every_policy() {
    println!("seed {SEED}");
    let mut random = Rng::with_seed(SEED);
    for _ in 0..40 {
        let (universe, capacity) = (random.usize(2..200), random.usize(1..60));
        let requests = mixed(universe, 3_000, &mut random);
        let opt = |newcomer| hits(Opt::new(universe, capacity, &requests, newcomer), &requests);
        let (bound, min) = (opt(Newcomer::MayPass), opt(Newcomer::Enters));
        assert!(bound >= min);
        for (name, mut policy) in all(universe, capacity) {
            let hits = requests.iter().filter(|key| policy.request(**key)).count() as u64;
            assert!(hits <= min, "{name} of {capacity}: {hits} hits, MIN {min}");
        }
    }
}

/// The most hits that any choice of victims gives, by trying all.
fn most_hits(requests: &[Key], held: u32, capacity: u32, newcomer: Newcomer) -> u64 {
    let Some((key, rest)) = requests.split_first() else { return 0 };
    let with = held | 1 << key;
    if held == with {
        return 1 + most_hits(rest, held, capacity, newcomer);
    }
    if held.count_ones() < capacity {
        return most_hits(rest, with, capacity, newcomer);
    }
    let candidates = if newcomer == Newcomer::MayPass { with } else { held };
    let victims = (0..u32::BITS).filter(|victim| candidates >> victim & 1 == 1);
    let hits = victims.map(|victim| most_hits(rest, with & !(1 << victim), capacity, newcomer));
    hits.max().unwrap_or(0)
}

#[test]
fn opt_is_what_trying_every_victim_finds() {
    println!("seed {SEED}");
    let mut random = Rng::with_seed(SEED);
    for _ in 0..300 {
        let requests: Vec<Key> = (0..11).map(|_| random.u32(0..5)).collect();
        for capacity in 1..=3 {
            for newcomer in [Newcomer::Enters, Newcomer::MayPass] {
                let opt = hits(Opt::new(5, capacity, &requests, newcomer), &requests);
                let most = most_hits(&requests, 0, capacity as u32, newcomer);
                assert_eq!(opt, most, "{requests:?}, {newcomer:?}, capacity {capacity}");
            }
        }
    }
}
