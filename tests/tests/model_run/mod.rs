//! How the models of threads are run by loom.
// Each model uses what it needs.
#![allow(dead_code)]

use std::sync::Arc;

use loom::{model::Builder, thread};

/// Steps of one interleaving at most: far more than any of a model that ends.
const MOST_STEPS: usize = 20_000;

/// Runs `body` in every interleaving with at most so many preemptions.
pub(crate) fn in_every_interleaving(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = MOST_STEPS;
    builder.check(body);
}

/// Runs some threads beside this one, and returns what each came to.
pub(crate) fn threads<W: Send + Sync + 'static, R: Send + 'static>(
    world: &Arc<W>,
    count: usize,
    run: impl Fn(&W) -> R + Copy + Send + 'static,
) -> Vec<thread::JoinHandle<R>> {
    let start = |_| {
        let world = Arc::clone(world);
        thread::spawn(move || run(&world))
    };
    (0..count).map(start).collect()
}
