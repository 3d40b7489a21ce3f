//! The wall clock jumps by hours and years, and every entry ends when it should: ends are counted
//! on the boot clock.
//!
//! This program has a `clock_gettime` and a `time` of its own, which the standard library and tierce
//! then call: they shift the wall clock by as much as the test says, and no other clock.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)]

mod store_support;

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use store_support::*;
use tierce::{Cache, Clock, NewRecord, Store, Tiering};

/// Seconds that the wall clock is ahead of the system's.
static AHEAD: AtomicI64 = AtomicI64::new(0);

// SAFETY: of the type that the C library declares; the arguments go on as they came.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, now: *mut libc::timespec) -> i32 {
    // SAFETY: as promised by the caller.
    let done = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, now) } as i32;
    let is_wall = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
    if done == 0 && is_wall {
        // SAFETY: filled by the call above.
        unsafe { (*now).tv_sec += AHEAD.load(Ordering::SeqCst) };
    }
    done
}

// SAFETY: of the type that the C library declares; the argument goes on as it came.
#[unsafe(no_mangle)]
unsafe extern "C" fn time(at: *mut libc::time_t) -> libc::time_t {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: valid for the answer; then as promised by the caller.
    unsafe {
        clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now);
        if !at.is_null() {
            *at = now.tv_sec;
        }
    }
    now.tv_sec
}

const HOUR: i64 = 3600;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;
/// Time to live of what is to end while the test waits.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(600);

fn put_for(store: &Store, clock: &Clock, key: &[u8], lifetime: Duration) {
    let record = NewRecord::new(key, 0, clock.boot().after(lifetime));
    let put = store.put(store.hash(key), key, record, None);
    assert!(matches!(put, tierce::Put::Stored { .. }), "{put:?}");
}

#[test]
fn no_jump_of_the_wall_clock_moves_the_end_of_an_entry() {
    for jump in [-HOUR, HOUR, -TEN_YEARS, TEN_YEARS] {
        for medium in MEDIA {
            let (_folder, options) = small_store(medium);
            let clock = Clock::system();
            let store = Store::open(&options, clock.clone()).unwrap();
            let builder = Cache::builder().tiering(Tiering::L1L2).shared(options.clone());
            let cache = builder.default_ttl(SHORT).build().unwrap();
            let begin = Instant::now();
            put_for(&store, &clock, b"short", SHORT);
            put_for(&store, &clock, b"long", LONG);
            cache.set("short too", "v".into()).unwrap();

            let before = SystemTime::now();
            AHEAD.fetch_add(jump, Ordering::SeqCst);
            let is_later = SystemTime::now() > before + Duration::from_secs(HOUR as u64 / 2);
            assert_eq!(is_later, jump > 0, "the clock jumped");

            let tale = format!("{jump} s, {medium:?}");
            if begin.elapsed() < SHORT / 2 {
                assert!(get(&store, b"short").is_some(), "{tale}: it ended early");
                assert!(cache.get("short too").is_some(), "{tale}: it ended early");
            }
            assert!(get(&store, b"long").is_some(), "{tale}: it ended early");
            // A process that begins after the jump sees the same ends.
            let other = open(&options);
            std::thread::sleep(SHORT + Duration::from_millis(20));
            for store in [&store, &other] {
                assert_eq!(get(store, b"short"), None, "{tale}: it did not end");
                assert!(get(store, b"long").is_some(), "{tale}: it ended early");
            }
            assert_eq!(cache.get("short too"), None, "{tale}: it did not end");
        }
    }
}
