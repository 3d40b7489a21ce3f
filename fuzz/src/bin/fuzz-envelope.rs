//! Random records of L3: `fuzz-envelope [operations] [first seed]`.
//!
//! No allocation of this process may be larger than what the bound on values allows.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    process::abort,
};

/// Records of one seed: each of the forms some hundred times.
const OPERATIONS_PER_SEED: u64 = 2_000;

/// Ends the process where somebody asks for more than any honest record needs.
struct Bounded;

// SAFETY:
// 1. Every call is handed on to `System` as it is, which keeps the contract of an allocator.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > tierce_fuzz::MOST_ALLOCATED {
            abort();
        }
        // SAFETY: 1. The caller keeps the contract of this very call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > tierce_fuzz::MOST_ALLOCATED {
            abort();
        }
        // SAFETY: 1. The caller keeps the contract of this very call.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: 1. The caller keeps the contract of this very call.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

fn main() {
    tierce_fuzz::drive("fuzz-envelope", 20_000_000, "seeds", |seed| {
        tierce_fuzz::run_envelope_seed(seed, OPERATIONS_PER_SEED)
    });
}
