//! Counts what calls look at, buckets and slots, for tests of how much work keys can make.

use std::cell::Cell;

thread_local! {
    static LOOKS: Cell<u64> = const { Cell::new(0) };
}

/// This thread looks at a bucket, or at a slot that one names.
#[inline]
pub(super) fn look() {
    LOOKS.set(LOOKS.get() + 1);
}

/// At how many buckets and slots `call` looks.
pub(super) fn looks_of<R>(call: impl FnOnce() -> R) -> (R, u64) {
    let before = LOOKS.get();
    let result = call();
    (result, LOOKS.get() - before)
}
