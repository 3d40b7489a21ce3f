//! What a cache is doing right now, in one word that every call loads once.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tiering::{TierKind, Tiering};

/// The tiering in force, its era, and whether the cache is open.
///
/// An **era** ends when private L1 entries ([`Filed::Private`](crate::invalidation::Filed)) may
/// have missed changes: when L2 enters the tiering (other processes have their say from now on),
/// when L3 enters it and other hosts are followed, or L1 leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) tiering: Tiering,
    pub(crate) era: u32,
    pub(crate) open: bool,
}

impl Plan {
    /// True if the cache is open and its tiering has the tier.
    #[inline]
    pub(crate) fn has(self, tier: TierKind) -> bool {
        self.open && self.tiering.has(tier)
    }
}

/// A [`Plan`] that changes while calls are under way.
#[derive(Debug)]
pub(crate) struct PlanWord(AtomicU64);

const OPEN: u64 = 1 << 8;

impl PlanWord {
    pub(crate) fn new(tiering: Tiering) -> Self {
        Self(AtomicU64::new(pack(Plan { tiering, era: 0, open: true })))
    }

    #[inline]
    pub(crate) fn load(&self) -> Plan {
        let word = self.0.load(Ordering::Acquire);
        Plan {
            tiering: Tiering::from_bits(word as u8),
            era: (word >> 32) as u32,
            open: word & OPEN != 0,
        }
    }

    /// Puts another plan in force; writers exclude each other by a lock of theirs.
    pub(crate) fn store(&self, plan: Plan) {
        self.0.store(pack(plan), Ordering::Release);
    }
}

fn pack(plan: Plan) -> u64 {
    u64::from(plan.era) << 32 | if plan.open { OPEN } else { 0 } | u64::from(plan.tiering.bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_as_it_was_stored() {
        let word = PlanWord::new(Tiering::L1);
        for tiering in Tiering::ALL {
            for (era, open) in [(0, true), (7, false), (u32::MAX, true)] {
                let plan = Plan { tiering, era, open };
                word.store(plan);
                assert_eq!(word.load(), plan);
                assert_eq!(plan.has(TierKind::Memory), open && tiering.has(TierKind::Memory));
            }
        }
    }
}
