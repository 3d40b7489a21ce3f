//! The hit ratios of caches and of policies on real traces.
//!
//! | file | answers |
//! |---|---|
//! | `workload` | which traces there are, and how large a cache for them is |
//! | `contestants` | who is compared |
//! | `peers` | how a real cache is configured and played |
//! | `simulated/` | the policies, as their papers have them |
//! | `run` | how all is played on all cores |
//! | `summary` | means, and regrets against the best rival |
//! | `document` | the Markdown and the JSON of a result |
//! | `plot` | the picture |

pub mod contestants;
pub mod document;
pub mod peers;
pub mod plot;
pub mod run;
pub mod simulated;
pub mod summary;
pub mod workload;
