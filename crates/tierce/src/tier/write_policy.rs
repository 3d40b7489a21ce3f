//! When what is set reaches L3.

use std::time::Duration;

/// Which values reach L3, for calls that name no tiers of their own.
///
/// Whatever it says, nobody of this host reads anything older there once the call has returned. Except
/// behind it, each change is told to L3 before that, and so to other hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WritePolicy {
    /// What is set and what is loaded. The default.
    #[default]
    Through,
    /// What is loaded. A value that is set stays in the tiers above, and other hosts load theirs. Where
    /// L3 is the only tier in force, what is set goes there all the same.
    Around,
    /// What is set and what is loaded. A value that is set is in the tiers above when the call returns, and
    /// goes to L3 a while after: the newest one of each key alone. Other hosts see it then. Where L3 is the
    /// only tier in force, or its changes by other hosts are not told, what is set goes there at once.
    Behind,
}

impl WritePolicy {
    /// `through`, `around` or `behind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Through => "through",
            Self::Around => "around",
            Self::Behind => "behind",
        }
    }

    /// The one of this name.
    #[cfg(feature = "config")]
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Through, Self::Around, Self::Behind]
            .into_iter()
            .find(|policy| policy.as_str() == name)
    }
}

/// When values are sent that are set behind L3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// How long they wait.
    pub(crate) delay: Duration,
    /// How long who closes the cache waits for them.
    pub(crate) flush_timeout: Duration,
}
