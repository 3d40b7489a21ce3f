//! The `tierce` command.

fn main() {}
