//! What makes a copy in L1 void: stamps, eras, the clear epoch and changes of tags.
//!
//! The rule, for every reader and changer (ARCHITECTURE.md, "Stamps"):
//!
//! 1. A reader takes the key's mark first, then looks down the tiers, and files what it brings up
//!    under the mark it took.
//! 2. A changer changes the tiers below first, then raises the stamp, and only then returns.
//!
//! So whatever a reader fetched before a change carries a mark from before it, and is void.

mod filed;
#[cfg(feature = "redis")]
mod own_changes;
mod stamps;
#[cfg(feature = "redis")]
mod stream;
mod tags;

pub(crate) use filed::{Began, Filed};
#[cfg(feature = "redis")]
pub(crate) use own_changes::Change;
pub(crate) use stamps::{LocalMark, StampTable};
#[cfg(feature = "redis")]
pub(crate) use stream::{OwnStream, Stream};
pub(crate) use tags::OwnTags;
