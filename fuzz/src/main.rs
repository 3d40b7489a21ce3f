//! Random operations on L1: `fuzz [operations] [first seed]`.

/// Operations on one cache: enough for it to fill, grow and shrink several times.
const OPERATIONS_PER_SEED: u64 = 2_000;

fn main() {
    tierce_fuzz::drive("fuzz", 10_000_000, "caches", |seed| {
        tierce_fuzz::run_seed(seed, OPERATIONS_PER_SEED)
    });
}
