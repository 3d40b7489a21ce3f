//! What a reader that stays where it is does to a cache, once it has gone on.

use super::*;

/// A cache that a closure may read, so that its thread keeps a pin meanwhile.
fn other() -> Numbers {
    let other = Numbers::new(MemoryOptions::new().max_entries(1)).unwrap();
    other.insert(0, 0);
    other
}

/// Keys of a hundred and of ten thousand in turn, as of an index and of records: who keeps records
/// hits half as often.
fn requests(count: usize) -> Vec<u64> {
    const SEED: u64 = 0x2_9001;
    println!("seed {SEED}");
    let mut random = fastrand::Rng::with_seed(SEED);
    (0..count)
        .map(|number| if number % 2 == 0 { random.u64(..100) } else { 100 + random.u64(..10_000) })
        .collect()
}

fn hits(cache: &Numbers, keys: &[u64]) -> u32 {
    let request = |key: &u64| {
        let hit = cache.get(key).is_some();
        if !hit {
            cache.insert(*key, *key);
        }
        u32::from(hit)
    };
    keys.iter().map(request).sum()
}

#[test]
fn a_small_cache_hits_as_often_after_a_reader_had_stayed_as_before() {
    const REQUESTS: usize = 40_000;
    let keys = requests(REQUESTS);
    let (held, after) = keys.split_at(5_000);
    let per_mille = |stays: bool| {
        let cache = Numbers::new(MemoryOptions::new().max_entries(50).shards(1)).unwrap();
        if stays {
            other().get_with(&0, |_| hits(&cache, held));
        } else {
            hits(&cache, held);
        }
        let ratio = hits(&cache, after) * 1_000 / after.len() as u32;
        cache.validate();
        ratio
    };
    let (undisturbed, disturbed) = (per_mille(false), per_mille(true));
    assert!(undisturbed > 210, "{undisturbed} of 1,000 hit");
    assert!(disturbed + 15 > undisturbed, "{disturbed} of 1,000 hit, else {undisturbed}");
}

#[test]
fn the_policy_remembers_as_much_as_its_entries_need_however_many_places_there_are() {
    let bytes = |cache: &Numbers| cache.policy()[0].bytes;
    let options = MemoryOptions::new().max_entries(3_500).shards(1);
    let (cache, plain) = (Numbers::new(options.clone()).unwrap(), Numbers::new(options).unwrap());
    (0..50).for_each(|key| _ = plain.insert(key, key));
    other().get_with(&0, |_| (0..3_000).for_each(|key| _ = cache.insert(key % 50, key)));
    assert_eq!(bytes(&cache), bytes(&plain), "of 50 entries");
    for key in 0..3_500 {
        cache.insert(key, key);
        plain.insert(key, key);
    }
    assert_eq!(bytes(&cache), bytes(&plain), "of 3,500 entries");
    cache.validate();
}
