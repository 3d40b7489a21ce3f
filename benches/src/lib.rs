//! Benchmarks: loads, rivals and reports.
