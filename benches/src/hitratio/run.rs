//! Plays every trace at every capacity through every contestant: ours on one core, others on all.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    contestants::Contestant,
    workload::{Share, Workload},
};

/// One trace at one capacity.
pub struct Cell {
    /// The name of the trace.
    pub trace: String,
    /// False if the trace was drawn.
    pub recorded: bool,
    /// The capacity as a share of the unique keys.
    pub share: Share,
    /// The capacity in entries.
    pub capacity: usize,
    /// The hit ratio of each contestant in percent, in their order.
    pub ratios: Vec<f64>,
}

/// Plays all; cells come in the order of the workloads, then of the capacities.
///
/// Each play is the work of one thread from beginning to end. Those of ours come first, one after
/// the other, and no other thread reads a cache of ours meanwhile (but the reader of a play that is
/// disturbed): what they evict depends a little on such readers. No other contestant has anything
/// that threads share, so these are played on all cores, long plays first, so that the cores finish
/// together. `progress` is told after each play how many are left.
pub fn run(
    workloads: &[Workload],
    contestants: &[Contestant],
    progress: impl Fn(usize) + Sync,
) -> Vec<Cell> {
    let mut plays = Vec::new();
    for trace in 0..workloads.len() {
        for share in 0..Share::ALL.len() {
            plays.extend((0..contestants.len()).map(|contestant| (trace, share, contestant)));
        }
    }
    let of = |trace, share, contestant| {
        (trace * Share::ALL.len() + share) * contestants.len() + contestant
    };
    let results: Vec<OnceLock<f64>> = plays.iter().map(|_| OnceLock::new()).collect();
    plays.sort_by_key(|(trace, ..)| std::cmp::Reverse(workloads[*trace].keys.len()));
    let left = AtomicUsize::new(plays.len());
    let (ours, others): (Vec<_>, Vec<_>) =
        plays.into_iter().partition(|&(.., contestant)| contestants[contestant].role.is_of_ours());
    let work = |plays: &[(usize, usize, usize)], next: &AtomicUsize| {
        while let Some(&(trace, share, contestant)) =
            plays.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let workload = &workloads[trace];
            let capacity = workload.capacity(Share::ALL[share]);
            let hits = (contestants[contestant].play)(workload, capacity);
            let ratio = 100.0 * hits as f64 / workload.keys.len().max(1) as f64;
            // Each play is taken by one thread, so it is set once.
            let _ = results[of(trace, share, contestant)].set(ratio);
            progress(left.fetch_sub(1, Ordering::Relaxed) - 1);
        }
    };
    work(&ours, &AtomicUsize::new(0));
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| work(&others, &next));
        }
    });
    let mut cells = Vec::new();
    for (trace, workload) in workloads.iter().enumerate() {
        for (index, share) in Share::ALL.into_iter().enumerate() {
            let ratio = |contestant| results[of(trace, index, contestant)].get().copied();
            cells.push(Cell {
                trace: workload.name.clone(),
                recorded: workload.recorded,
                share,
                capacity: workload.capacity(share),
                ratios: (0..contestants.len()).filter_map(ratio).collect(),
            });
        }
    }
    cells
}
