//! What left and still takes room as long as readers may look at it. In a process of its own:
//! readers of other tests would hold it up.

#![allow(clippy::unwrap_used)]

use tierce::{Inserted, MemoryCache, MemoryOptions};

/// What is sifted out of a large cache leaves all at once, and the one who sifts is a reader.
#[test]
fn nothing_is_refused_after_much_left_and_no_reader_is_there() {
    for listens in [false, true] {
        for sift in [false, true] {
            let options = MemoryOptions::new().max_entries(50_000).shards(1);
            let builder = MemoryCache::<u64, String>::builder(options);
            let builder = if listens { builder.listener(|_, _, _| ()) } else { builder };
            let cache = builder.build().unwrap();
            for key in 0..50_000 {
                cache.insert(key, String::new());
            }
            if sift {
                cache.retain(|_, _| false);
            } else {
                // Within a read, so that nothing can be given back yet.
                let lower = |_: &String| cache.set_capacity(Some(10), None).unwrap();
                cache.get_with(&49_999, lower).unwrap();
            }
            for key in 0..100 {
                assert_eq!(cache.insert(key, String::new()), Inserted::Stored, "key {key}");
            }
            cache.validate();
        }
    }
}
