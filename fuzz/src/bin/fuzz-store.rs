//! Random operations on store files: `fuzz-store [operations] [first seed]`.

/// Operations on one store: enough for it to be filled and emptied, and not all of it damaged.
const OPERATIONS_PER_SEED: u64 = 3_000;

fn main() {
    tierce_fuzz::drive("fuzz-store", 2_000_000, "stores", |seed| {
        tierce_fuzz::run_store_seed(seed, OPERATIONS_PER_SEED)
    });
}
