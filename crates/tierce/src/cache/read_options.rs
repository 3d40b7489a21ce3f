//! What a read accepts.

use std::time::Duration;

use super::plan::Reach;
use crate::tiering::Tiering;

/// Options of one read that loads nothing. The default: any fresh value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    pub(super) allow_stale: bool,
    pub(super) max_age: Option<Duration>,
    tiers: Option<Tiering>,
}

impl ReadOptions {
    /// Any fresh value.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether a value may be served in its stale window, where no tier has a fresh one.
    /// Default: false.
    #[must_use]
    pub fn allow_stale(mut self, allow: bool) -> Self {
        self.allow_stale = allow;
        self
    }

    /// Sets how long ago the value may have been set, or its load begun, at most. A value whose age
    /// is not known is too old; zero is satisfied by no tier. Default: no bound.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Looks in these tiers alone, as far as they are in the tiering, and copies what is found into
    /// no others. Default: all tiers.
    #[must_use]
    pub fn tiers(mut self, tiers: Tiering) -> Self {
        self.tiers = Some(tiers);
        self
    }

    /// These options, and `tiers` if they name none.
    pub(crate) fn or_tiers(mut self, tiers: Option<Tiering>) -> Self {
        self.tiers = self.tiers.or(tiers);
        self
    }

    /// Where to look.
    #[inline]
    pub(super) fn reach(&self) -> Reach {
        self.tiers.map_or(Reach::ALL, Reach::of)
    }
}
