//! Random replies of a server: `fuzz-reply [replies] [first seed]`.

/// Replies on one stream: enough for the buffer to grow, to wrap and to shrink.
const REPLIES_PER_SEED: u64 = 1_000;

fn main() {
    tierce_fuzz::drive("fuzz-reply", 5_000_000, "streams", |seed| {
        tierce_fuzz::run_reply_seed(seed, REPLIES_PER_SEED)
    });
}
