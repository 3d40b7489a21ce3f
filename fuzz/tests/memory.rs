//! Some hundred thousand random operations; `make fuzz` does ten million.

#[test]
fn random_operations_agree_with_a_plain_model() {
    for seed in 1_000_000..1_000_200 {
        // Shown if the test fails.
        println!("seed {seed}");
        tierce_fuzz::run_seed(seed, 1_000);
    }
}

#[test]
fn bytes_of_any_kind_are_operations() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..300 {
        let bytes: Vec<u8> = (0..random.usize(0..2_000)).map(|_| random.u8(..)).collect();
        println!("round {round} of seed 3");
        tierce_fuzz::run(&bytes);
    }
}
