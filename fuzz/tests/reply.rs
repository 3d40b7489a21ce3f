//! Some ten thousand replies of a server; `make fuzz-reply` reads five million.

#[test]
fn whole_replies_are_as_they_were_up_to_random_damage() {
    for seed in 1_000_000..1_000_030 {
        // Shown if the test fails.
        println!("seed {seed}");
        tierce_fuzz::run_reply_seed(seed, 1_000);
    }
}

#[test]
fn bytes_of_any_kind_are_replies() {
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..100 {
        let bytes: Vec<u8> = (0..random.usize(0..2_000)).map(|_| random.u8(..)).collect();
        println!("round {round} of seed 5");
        tierce_fuzz::run_reply(&bytes);
    }
}
