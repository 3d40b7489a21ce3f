//! A thread that ends may use the cache: what it drops last may hold one.

use std::{cell::RefCell, io, thread};

use super::{Host, bytes};
use crate::{Bytes, Cache, tiering::Tiering};

/// Does something with a cache as it is dropped.
struct AtEnd(Cache, fn(&Cache));

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.1(&self.0);
    }
}

thread_local! {
    static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
}

#[test]
fn a_thread_that_ends_may_change_the_cache() {
    let verbs: [fn(&Cache); 7] = [
        |cache| cache.set("at the end", bytes("new")).unwrap(),
        |cache| cache.delete("at the end").unwrap(),
        |cache| _ = cache.increment("count", 1).unwrap(),
        |cache| _ = cache.touch("at the end", std::time::Duration::from_secs(60)).unwrap(),
        |cache| cache.expire("at the end").unwrap(),
        |cache| cache.clear().unwrap(),
        |cache| {
            let loaded = cache.get_or_load("loaded", |_| io::Result::Ok(Bytes::from("it")));
            assert_eq!(loaded.unwrap(), "it");
        },
    ];
    for tiering in [Tiering::L1, Tiering::L2, Tiering::L1L2] {
        let host = Host::new();
        let cache = host.cache(tiering);
        for verb in verbs {
            cache.set("at the end", bytes("old")).unwrap();
            let used = cache.clone();
            let thread = thread::spawn(move || {
                // Before the thread first uses the cache, so dropped after all that this leaves to it.
                AT_END.set(Some(AtEnd(used.clone(), verb)));
                used.set("begun", bytes("yes")).unwrap();
                used.get("begun")
            });
            assert!(thread.join().unwrap().is_some());
        }
        cache.set("a", bytes("1")).unwrap();
        assert_eq!(cache.get("a"), Some(bytes("1")), "{tiering}");
    }
}
