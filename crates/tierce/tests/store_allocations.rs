//! A hit allocates the value's buffer and nothing else; a miss and an L1 judgement allocate
//! nothing.

#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)]

mod store_support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use store_support::*;

/// The system's allocator, counting what the calling thread asks for.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn note(bytes: usize) {
    // Fails only while the thread ends.
    let _ = ALLOCATED.try_with(|allocated| {
        let (calls, sum) = allocated.get();
        allocated.set((calls + 1, sum + bytes));
    });
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator and bytes asked for by `run`.
fn allocated<T>(run: impl FnOnce() -> T) -> (T, (usize, usize)) {
    ALLOCATED.with(|allocated| allocated.set((0, 0)));
    let done = run();
    (done, ALLOCATED.with(Cell::get))
}

#[test]
fn a_get_allocates_its_value_once_and_a_miss_nothing() {
    for medium in MEDIA {
        let (_folder, options) = small_store(medium);
        let store = open(&options);
        for (number, bytes) in [24, 100, 1000, 5000, 20_000].into_iter().enumerate() {
            let (hash, key) = hash_of(&store, number as u64);
            put(&store, &key, &describing_value(number as u64, 0, bytes));
            let (found, calls) = allocated(|| store.get(hash, &key).unwrap());
            assert_eq!(found.unwrap().value.len(), bytes);
            assert_eq!(calls, (1, bytes), "{medium:?}");
        }
        put(&store, b"empty", b"");
        let hash = store.hash(b"empty");
        assert_eq!(allocated(|| store.get(hash, b"empty").unwrap().is_some()), (true, (0, 0)));
        for number in 100..200 {
            let (hash, key) = hash_of(&store, number);
            let (found, calls) = allocated(|| store.get(hash, &key).unwrap());
            assert_eq!((found, calls), (None, (0, 0)));
            let (_, calls) = allocated(|| {
                let token = store.token(hash);
                store.stamp_at(token.stamp_index) == token.stamp
                    && store.clear_epoch() == token.clear_epoch
            });
            assert_eq!(calls, (0, 0));
        }
    }
}
