//! Helpers of the tests that cross crates, processes or languages.
