//! What a trace is played against, as the player sees it: one call that tells where a value came
//! from.
//!
//! The trait is a seam for tests: a target that lies must be caught by the player.

use std::convert::Infallible;

use bytes::Bytes;
use tierce::{Cache, Dependency, LoadOptions, Origin, TierKind};

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A tier had it.
    Tier(TierKind),
    /// Another worker was loading it, and this one waited.
    Joined,
    /// The origin made it.
    Origin,
}

impl Place {
    /// All places, in the order of reports.
    pub(crate) const ALL: [Self; 5] = [
        Self::Tier(TierKind::Memory),
        Self::Tier(TierKind::Shared),
        Self::Tier(TierKind::Redis),
        Self::Joined,
        Self::Origin,
    ];

    /// The position in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Tier(tier) => tier.index(),
            Self::Joined => 3,
            Self::Origin => 4,
        }
    }

    /// The name in tables and legends.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Tier(tier) => tier.label(),
            Self::Joined => "joined",
            Self::Origin => "origin",
        }
    }
}

/// A cache that answers every request, from a tier or by loading.
pub(crate) trait Target: Sync {
    /// The value of `key`, made by `load` where no tier has it.
    fn get_or_load(
        &self,
        key: &[u8],
        load: impl FnOnce() -> Bytes,
    ) -> Result<(Bytes, Place), tierce::Error>;
}

impl Target for Cache {
    fn get_or_load(
        &self,
        key: &[u8],
        load: impl FnOnce() -> Bytes,
    ) -> Result<(Bytes, Place), tierce::Error> {
        let options = LoadOptions::default();
        let answer = self.get_or_load_with(key, &options, |_| Ok::<_, Infallible>(load()))?;
        let place = match answer.origin {
            Origin::Tier(tier) => Place::Tier(tier),
            Origin::Joined => Place::Joined,
            Origin::Loaded => Place::Origin,
        };
        Ok((answer.value, place))
    }
}

/// The tiers of the cache that do not serve now, and why.
pub(crate) fn absent(cache: &Cache) -> Vec<String> {
    let troubled = |tier: Dependency| {
        tier.reason.map(|reason| format!("{} does not serve: {reason}", tier.name))
    };
    cache.health().dependencies.into_iter().filter_map(troubled).collect()
}
