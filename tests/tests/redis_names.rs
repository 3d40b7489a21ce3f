//! A server whose name takes very long to resolve, as it does where the servers of names are gone: callers
//! have their deadlines, and nobody waits for the resolver as the cache is dropped.
//!
//! The system's function is replaced for the whole process, which therefore has no other test.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    ffi::{c_char, c_int},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tierce::{Bytes, Cache, RedisOptions, Tiering};
use tierce_tests::waiting::wait_within;

/// Longer than anything here takes.
const RESOLVED_AFTER: Duration = Duration::from_secs(20);

const ALLOWED: Duration = Duration::from_millis(200);

/// What a call may take beyond its deadline on a loaded machine.
const GENEROUS: Duration = Duration::from_millis(1500);

static ASKED: AtomicU64 = AtomicU64::new(0);

/// What the standard library asks for the addresses of a name, in the place of the system's.
///
/// # Safety
/// Touches none of what is given.
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    _name: *const c_char,
    _service: *const c_char,
    _hints: *const libc::addrinfo,
    _found: *mut *mut libc::addrinfo,
) -> c_int {
    ASKED.fetch_add(1, Ordering::Relaxed);
    thread::sleep(RESOLVED_AFTER);
    libc::EAI_AGAIN
}

#[test]
fn a_name_that_takes_long_to_resolve_is_waited_for_by_nobody() {
    let cache = Cache::builder()
        .tiering(Tiering::L1L3)
        .redis(
            RedisOptions::new()
                .host("slow.invalid")
                // So long that callers would be seen to wait for it.
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(ALLOWED)
                .write_timeout(ALLOWED),
        )
        .build()
        .unwrap();
    let mut round = 0;
    wait_within(RESOLVED_AFTER * 3 / 4, "an attempt that failed", || {
        round += 1;
        let begin = Instant::now();
        let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("loaded"));
        assert_eq!(cache.get_or_load(format!("key {round}"), load).unwrap(), "loaded");
        // A load asks L3, and then gives it the value.
        assert!(begin.elapsed() < 2 * ALLOWED + GENEROUS, "{:?}", begin.elapsed());
        cache.redis_statistics().unwrap().connect_failures > 0
    });
    assert!(ASKED.load(Ordering::Relaxed) > 0);
    let begin = Instant::now();
    drop(cache);
    assert!(begin.elapsed() < GENEROUS, "{:?}", begin.elapsed());
}
