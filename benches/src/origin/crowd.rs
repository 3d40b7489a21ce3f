//! Many callers of one key whose loader fails.

use std::{
    fmt::Write as _,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tierce_benches::rounds::median;

use super::{rivals::Rival, run::joined};

/// How long the loader takes to fail.
pub(super) const LATENCY: Duration = Duration::from_millis(50);
const CALLERS: usize = 20;
const ROUNDS: u64 = 7;

/// What the rounds of one cache were like.
pub(super) struct Crowd {
    /// Milliseconds until all had their error, in the middle round.
    pub(super) answered: f64,
    /// Calls of the loader in the worst round.
    pub(super) most_loads: u64,
}

impl Crowd {
    pub(super) fn json(&self, name: &str) -> Value {
        json!({ "name": name, "answered_ms": self.answered, "most_loads": self.most_loads })
    }
}

/// Lets all ask for a key at once, a few times, each time for another key.
pub(super) fn run(cache: &dyn Rival) -> Crowd {
    let (mut answered, mut most_loads) = (vec![], 0);
    for key in 0..ROUNDS {
        let (before, _) = cache.source().counts();
        let barrier = Barrier::new(CALLERS);
        let slowest = thread::scope(|scope| {
            let ask = || {
                barrier.wait();
                let begin = Instant::now();
                assert!(cache.get(key).is_none(), "a value from a loader that fails");
                begin.elapsed()
            };
            let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(ask)).collect();
            callers.into_iter().map(joined).max()
        });
        answered.push(slowest.unwrap_or_default().as_secs_f64() * 1e3);
        most_loads = most_loads.max(cache.source().counts().0 - before);
    }
    Crowd { answered: median(&mut answered), most_loads }
}

/// A line for each cache.
pub(super) fn table(crowds: &[(&'static str, Crowd)]) -> String {
    let mut text = String::from(
        "\n## Twenty callers of a failing loader\n\n| | loader calls, worst round | answered ms |\n\
         |---|---|---|\n",
    );
    for (name, Crowd { answered, most_loads }) in crowds {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {name} | {most_loads} | {answered:.1} |");
    }
    text
}
