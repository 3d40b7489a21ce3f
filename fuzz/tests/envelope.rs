//! Some hundred thousand records of L3; `make fuzz-envelope` reads twenty million.

#[test]
fn random_damage_and_forgery_are_doubts_and_never_panics() {
    for seed in 1_000_000..1_000_050 {
        // Shown if the test fails.
        println!("seed {seed}");
        tierce_fuzz::run_envelope_seed(seed, 2_000);
    }
}

#[test]
fn bytes_of_any_kind_are_records() {
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..100 {
        let bytes: Vec<u8> = (0..random.usize(0..2_000)).map(|_| random.u8(..)).collect();
        println!("round {round} of seed 5");
        tierce_fuzz::run_envelope(&bytes);
    }
}
