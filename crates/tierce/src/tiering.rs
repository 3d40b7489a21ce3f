//! Which tiers exist, and sets of them as `CACHE_TIERING` spells them.

use std::{fmt, str::FromStr};

use crate::error::{Error, ErrorKind, Result};

/// One tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TierKind {
    /// L1: memory of this process.
    Memory,
    /// L2: the store file that all processes of this host share.
    Shared,
    /// L3: Redis or Valkey.
    Redis,
}

impl TierKind {
    /// All tiers, fastest first.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Shared, Self::Redis];

    /// `L1-Memory`, `L2-Shared` or `L3-Redis`, as the health document names tiers.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Memory => "L1-Memory",
            Self::Shared => "L2-Shared",
            Self::Redis => "L3-Redis",
        }
    }

    /// `L1`, `L2` or `L3`, as metrics labels and `CACHE_TIERING` name tiers.
    pub const fn short(self) -> &'static str {
        match self {
            Self::Memory => "L1",
            Self::Shared => "L2",
            Self::Redis => "L3",
        }
    }

    /// `memory`, `shared` or `redis`: `dependencies[].stats.type` of the health document.
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Shared => "shared",
            Self::Redis => "redis",
        }
    }

    /// 0 for L1, 1 for L2, 2 for L3.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for TierKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.label())
    }
}

/// A set of tiers, never empty: `L1`, `L2`, `L3`, `L1L2`, `L1L3`, `L2L3` or `L1L2L3`.
///
/// ```
/// use tierce::Tiering;
/// assert_eq!("l1l2".parse::<Tiering>()?, Tiering::L1L2);
/// assert!("L2L1".parse::<Tiering>().is_err());
/// # Ok::<(), tierce::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tiering(u8);

impl Tiering {
    /// Memory only.
    pub const L1: Self = Self(0b001);
    /// The shared store only.
    pub const L2: Self = Self(0b010);
    /// Redis only.
    pub const L3: Self = Self(0b100);
    /// Memory above the shared store.
    pub const L1L2: Self = Self(0b011);
    /// Memory above Redis.
    pub const L1L3: Self = Self(0b101);
    /// The shared store above Redis.
    pub const L2L3: Self = Self(0b110);
    /// All three.
    pub const L1L2L3: Self = Self(0b111);

    /// All legal sets, in the order in which messages list them.
    pub const ALL: [Self; 7] =
        [Self::L1, Self::L2, Self::L3, Self::L1L2, Self::L1L3, Self::L2L3, Self::L1L2L3];

    /// True if the set has this tier.
    #[inline]
    pub const fn has(self, tier: TierKind) -> bool {
        self.0 & (1 << tier as u8) != 0
    }

    /// The tiers of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The tiers of the set, fastest first.
    pub fn tiers(self) -> impl Iterator<Item = TierKind> {
        TierKind::ALL.into_iter().filter(move |tier| self.has(*tier))
    }

    /// The name as `CACHE_TIERING` spells it.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0b001 => "L1",
            0b010 => "L2",
            0b100 => "L3",
            0b011 => "L1L2",
            0b101 => "L1L3",
            0b110 => "L2L3",
            _ => "L1L2L3",
        }
    }

    /// The set as three bits, L1 lowest.
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// The set of these bits; other bits are ignored and an empty set becomes `L1`.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits & 0b111 {
            0 => Self::L1,
            bits => Self(bits),
        }
    }
}

impl fmt::Display for Tiering {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl fmt::Debug for Tiering {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Tiering {
    type Err = Error;

    /// Parses a name, ignoring the case of letters and blanks around it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for anything that is not one of the seven names; the message lists
    /// them.
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|set| set.name().eq_ignore_ascii_case(text.trim())).ok_or_else(
            || {
                Error::new(
                    ErrorKind::Config,
                    format!(
                        "tiering = {text:?}: must be one of L1, L2, L3, L1L2, L1L3, L2L3, L1L2L3"
                    ),
                )
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back_and_others_are_refused() {
        for set in Tiering::ALL {
            assert_eq!(set.name().to_lowercase().parse::<Tiering>().unwrap(), set);
            assert_eq!(Tiering::from_bits(set.bits()), set);
        }
        for wrong in ["", "L0", "L4", "L2L1", "L1L1", "memory", "L1,L2"] {
            let message = wrong.parse::<Tiering>().unwrap_err().to_string();
            assert!(message.contains("L1L2L3") && message.contains(wrong), "{message}");
        }
    }
}
