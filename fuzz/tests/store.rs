//! Some ten thousand random operations on store files; `make fuzz-store` does two million.
#![cfg(target_os = "linux")]

#[test]
fn random_operations_and_damage_are_right_values_or_misses() {
    for seed in 1_000_000..1_000_030 {
        // Shown if the test fails.
        println!("seed {seed}");
        tierce_fuzz::run_store_seed(seed, 1_000);
    }
}

#[test]
fn bytes_of_any_kind_are_operations_on_a_store() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..30 {
        let bytes: Vec<u8> = (0..random.usize(0..2_000)).map(|_| random.u8(..)).collect();
        println!("round {round} of seed 3");
        tierce_fuzz::run_store(&bytes);
    }
}
