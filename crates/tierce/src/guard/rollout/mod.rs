//! A rollout: a cache is moved from one tiering to another by shares, watched, and moved back.
//!
//! | file | answers |
//! |---|---|
//! | `plan` | which phases, steps, gates and triggers there are |
//! | `file` | how a plan is read from YAML |
//! | `compare` | whether the new one is worse than the old, or whether that is chance |
//! | `decision` | what a rollout is shown, asked for and decides |
//! | `machine` | what is decided, and when |
//! | `gate` | when a step has gone well for long enough |
//! | `drive` | the same for one running cache, and the journal |
//! | `place` | the rollout of a store: plan, journal and a word that all processes go by |
//! | `journal` | what was decided, on disk |
//! | `fleet`, `fleet_drive` | the same for several hosts, by L3: who leads, what each knows of the others |
//! | `operator`, `hosts` | what is asked of all hosts by L3, from a process of theirs and from outside |
//!
//! ```text
//!                       requires hold            green for long enough
//!   idle ──start──> waiting ────────> running ───────────────────────> next step, phase, complete
//!                                      │  ^ pause / resume
//!                     trigger fires,   │
//!                     or operator      v
//!                                rolling back (step by step, or at once) ──> rolled back
//! ```
//! Who is on the new tiering, by key, by instance or by request, is said in `crate::split`.
//!
//! The machine is told the time and shown the cache; it neither reads a clock nor touches a tier.
//! Whoever drives it puts the share that it says in force. It says 0 from the moment on in which a
//! trigger fires, and whatever happens afterwards only an operator starts it again.

mod compare;
mod decision;
#[cfg(feature = "serde")]
mod drive;
#[cfg(feature = "config")]
mod file;
#[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
mod fleet;
#[cfg(all(
    feature = "serde",
    not(all(feature = "config", feature = "shared", target_os = "linux"))
))]
mod fleet_absent;
#[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
mod fleet_drive;
mod gate;
#[cfg(all(feature = "redis", feature = "config", feature = "shared", target_os = "linux"))]
mod hosts;
#[cfg(feature = "serde")]
mod journal;
mod machine;
#[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
mod operator;
#[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
mod place;
mod plan;

pub use compare::{Comparison, compare_shares};
pub use decision::{Command, Decision, DecisionKind, Evidence, HostsStatus, Stage, Status};
pub use decision::{Compared, SideStatus, Sides};
#[cfg(feature = "serde")]
pub(crate) use drive::Drive;
#[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
pub(crate) use fleet_drive::Starts;
#[cfg(all(feature = "redis", feature = "config", feature = "shared", target_os = "linux"))]
pub use hosts::RedisRollout;
#[cfg(feature = "serde")]
pub use journal::Journal;
pub use machine::Rollout;
#[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
pub use place::StoreRollout;
pub use plan::{Action, Check, Phase, Plan, Step, Trigger};

pub use crate::split::{Share, SplitBy, Splitter, key_position};

#[cfg(all(feature = "sim", feature = "config", feature = "shared", target_os = "linux"))]
#[cfg(test)]
mod detection_tests;
#[cfg(feature = "config")]
#[cfg(test)]
mod tests;
