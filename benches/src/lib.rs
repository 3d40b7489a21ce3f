//! What all benchmarks share: loads, interleaved rounds, and reports.
//!
//! | file | answers |
//! |---|---|
//! | `arguments` | what a program was asked for |
//! | `bars` | what a figure should be, and whether it is |
//! | `load` | which keys are asked for, in which order |
//! | `process` | how children are started, told and heard |
//! | `rounds` | how rivals take turns, and what is made of the times |
//! | `results` | how cells and rows become tables and JSON |
//! | `hitratio/` | traces, rivals and policies of the comparison of hit ratios |
//! | `report` | how a result becomes a file: Markdown to read, JSON to compare |
//!
//! Each program takes `--quick`, which shortens everything and writes no files: it shows that the
//! benchmark works, its figures mean nothing.

pub mod arguments;
pub mod bars;
pub mod hitratio;
pub mod load;
pub mod process;
pub mod report;
pub mod results;
pub mod rounds;
