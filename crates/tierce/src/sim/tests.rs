use super::*;

#[test]
fn some_histories_are_as_promised() {
    let options = SimOptions::new().from_environment();
    let report = run(&options);
    println!("{report}");
    if let Some(failure) = report.failure {
        panic!("{}", failure.list);
    }
}
