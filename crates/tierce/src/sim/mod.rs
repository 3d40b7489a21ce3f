//! Histories of the cache under one seed: hosts, tiers, links, loaders, faults and time, all
//! simulated but the cache itself, and each history checked against what its verbs promise.
//!
//! A bug of a cache of several tiers and processes shows in one order of events in a million, and
//! never again when it is looked for. Here the order is drawn from a seed, so it comes again.
//!
//! ```
//! use tierce::sim::{self, SimOptions};
//!
//! let report = sim::run(&SimOptions::new().histories(50));
//! assert!(report.failure.is_none(), "{report}");
//! ```
//!
//! **A loader of your own** takes part as the cache's callers would use it. It reads from a
//! [`Source`], in which others go on, and may fail; what is checked is that nobody gets what the
//! loader read before the key was changed.
//!
//! ```
//! use std::sync::Arc;
//! use tierce::{Loaded, sim::{self, SimOptions, Source}};
//!
//! let options = SimOptions::new().histories(20).loader(Arc::new(|source: &Source<'_>, key: &[u8]| {
//!     let row = source.read(key)?;
//!     Ok(Loaded::new(row))
//! }));
//! assert!(sim::run(&options).failure.is_none());
//! ```
//!
//! # What is real and what is not
//!
//! | part | is |
//! |---|---|
//! | the cache: L1, chain, marks, stamps, loads, breakers, doubts, coherence, retiering | the crate's own, untouched |
//! | L2 | a real store file for each host, mapped by the processes of the host |
//! | a process | a cache of its own; one process of the system has them all |
//! | L3 | simulated (`server.rs`): what the scripts of the redis tier do, its stamps, epochs and stream |
//! | the way there | simulated (`remote.rs`, `listen.rs`): delays, refusals, lost requests and replies, changes that land late, streams that are cut, noticed or not |
//! | threads | real, one runs at a time (`schedule.rs`); who goes on is drawn at each point: around each call of a tier, before each change of L1, in loaders and waits |
//! | background threads of a cache | simulated: an actor does their work, also of who sends what was set behind L3, or the caller where none is free |
//! | time | virtual; it moves when nobody can go on, and by a draw |
//!
//! What is simulated of L3 is its contract as [`tier`](crate) has it, not its protocol: that has
//! tests of its own with a real server.
//!
//! # What is drawn
//!
//! | of | is drawn |
//! |---|---|
//! | reads | `get`, `get_many`, `get_with` that takes what is stale |
//! | loads | `get_or_load_optional`, and `Cache::loading`, whose loads go on without their callers; loaders that bring a value, fail, find none, find the stale one right, take long |
//! | changes | `set`, `delete`, `expire`, `touch`, `clear`, `remove_tag`, `expire_tag`, `remove_prefix`, `expire_prefix` |
//! | changes that depend on what is there | `set_if_absent`, `update`, `get_versioned` with `compare_and_set`, `increment` |
//! | freshness | times to live, `stale_if_error`, `stale_while_revalidate`, `soft_timeout`, `hard_timeout`, `failure_backoff`, `negative_ttl`, `refresh_ahead` by a share |
//! | writing | sets through L3 and behind it, by some processes of a host or all, with delays; `flush`; loads anew (`max_age` of zero, `refresh`), also such as keep nothing |
//! | processes | their tierings, `retier`, `close`, an end without a word, also while values wait behind L3 |
//! | what befalls them | lost requests, replies and connections, cut streams, evictions in L2 and L3, a flushed server |
//!
//! Not every history has all of it: each is of some of these (`script.rs`, `vary.rs`). What is checked
//! stands at the head of `check/mod.rs`.
//!
//! Left out are sets around L3, calls that await, a `max_age` above zero, `get_or_load_many`, calls that name tiers,
//! keyspaces, splits and rollouts, gates, jitter of times to live, leases of loads over hosts
//! (`redis.load_lease`), other masters and clusters, and several threads that send what waits of one process. Of a touch that comes between the look and the
//! write of an `update` in L3 it is not checked which of them names the end; nor, where tags are
//! used with L3, whether there was anything for a touch.
//!
//! | file | answers |
//! |---|---|
//! | `schedule.rs` | who goes on, and when it is |
//! | `verb.rs` | what is done, and to which keys |
//! | `script.rs`, `vary.rs`, `draws.rs` | what a history is to be, and what some have beside; the numbers of a seed |
//! | `world.rs` | hosts, processes, links |
//! | `server.rs`, `remote.rs`, `listen.rs` | L3, the way to it, its stream of changes |
//! | `source.rs` | where loaders read |
//! | `history.rs`, `condition.rs` | running one; its changes that depend on what is there |
//! | `tale.rs`, `check` | what happened, and whether it may |
//! | `run.rs` | many of them, and making a failing one shorter |
//!
//! # A seed that fails
//!
//! The report names it, what is wrong, and lists the history, made shorter where that is possible.
//! [`SimOptions::seed`] of that number with [`SimOptions::histories`] of 1 runs it again, step by
//! step the same.
//!
//! # Faults that are planted
//!
//! [`Fault`] names mistakes that the simulation can have the crate make
//! ([`SimOptions::plant`]): a check that finds none of them would say nothing.

use std::sync::Arc;

use crate::{Bytes, Loaded};

mod check;
mod condition;
mod draws;
mod history;
mod listen;
mod options;
mod remote;
mod report;
mod run;
mod schedule;
mod script;
mod server;
mod source;
mod tale;
#[cfg(test)]
mod tests;
mod vary;
mod verb;
mod world;

pub use self::{
    options::SimOptions,
    report::{SimFailure, SimReport},
    run::run,
    source::{Source, SourceFailed},
};
pub use crate::simulated::Fault;

/// A loader that takes part in histories: it reads the key from the source.
pub type LoaderUnderTest = Arc<
    dyn Fn(&Source<'_>, &[u8]) -> Result<Loaded<Bytes>, Box<dyn std::error::Error + Send + Sync>>
        + Send
        + Sync,
>;
