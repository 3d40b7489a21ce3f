//! What a cache is doing right now, in one word that every call loads once.
//!
//! **Tiers in force and tiers within reach.** A call may be kept to some of the tiers: by its options
//! (a keyspace that has no L3), or as it falls on one side of a rollout
//! ([`split.rs`](super::split)). The other tiers are in force all the same, and every change reaches
//! them:
//!
//! | to all tiers in force | to the tiers within reach |
//! |---|---|
//! | marks, stamps, what judges entries, listening to other hosts | look-ups, backfills, fills |
//! | `delete`, `expire`, `clear`, removals by tag | what a load keeps |
//! | a `set`: beyond its reach it is a removal | the value of a `set` |
//!
//! So what lies in a tier is never older than the last change of its key, whoever made it and
//! whatever was within reach of it: any mixture of reaches, by any calls at the same time, serves
//! nothing old.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    split::Side,
    tiering::{TierKind, Tiering},
};

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
    /// True while calls fall on two sides, each with tiers of its own.
    pub(crate) is_split: bool,
    /// Where the call that loaded it may look.
    pub(super) reach: Reach,
}

/// Tiers that one call may look in and put something into, whether or not they are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach(u8);

impl Reach {
    /// All that are in force.
    pub(crate) const ALL: Self = Self(TIERS);

    /// These tiers, for a call that falls on one side of a split.
    pub(crate) const fn of_side(tiers: Tiering, side: Side) -> Self {
        Self(tiers.bits() | if matches!(side, Side::Old) { OLD } else { NEW })
    }

    /// The side that the call fell on, if the cache is split.
    pub(crate) const fn side(self) -> Option<Side> {
        match self.0 & (OLD | NEW) {
            OLD => Some(Side::Old),
            NEW => Some(Side::New),
            _ => None,
        }
    }

    /// These and no others.
    pub(crate) const fn of(tiers: Tiering) -> Self {
        Self(tiers.bits())
    }

    /// What both allow; it may be nothing. The side of either is that of both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0 & TIERS | (self.0 | other.0) & (OLD | NEW))
    }
}

const TIERS: u8 = 0b111;
const OLD: u8 = 1 << 3;
const NEW: u8 = 1 << 4;

impl Plan {
    /// True if the cache is open and its tiering has the tier.
    #[inline]
    pub(crate) fn has(self, tier: TierKind) -> bool {
        self.open && self.tiering.has(tier)
    }

    /// True if the cache is open, the tier is in force and this call may look there.
    #[inline]
    pub(crate) fn reaches(self, tier: TierKind) -> bool {
        self.has(tier) && self.reach.0 & (1 << tier as u8) != 0
    }

    /// True if there is a tier below L1 that this call may look in.
    #[inline]
    pub(crate) fn reaches_below(self) -> bool {
        self.reaches(TierKind::Shared) || self.reaches(TierKind::Redis)
    }

    /// The same plan for a call with this reach.
    #[must_use]
    pub(crate) const fn within(self, reach: Reach) -> Self {
        Self { reach: self.reach.and(reach), ..self }
    }

    /// What the call may look in.
    pub(crate) const fn reach(self) -> Reach {
        self.reach
    }
}

/// A [`Plan`] that changes while calls are under way.
#[derive(Debug)]
pub(crate) struct PlanWord(AtomicU64);

const OPEN: u64 = 1 << 8;
const SPLIT: u64 = 1 << 9;

impl PlanWord {
    pub(crate) fn new(tiering: Tiering) -> Self {
        let (era, open, is_split, reach) = (0, true, false, Reach::ALL);
        Self(AtomicU64::new(pack(Plan { tiering, era, open, is_split, reach })))
    }

    #[inline]
    pub(crate) fn load(&self) -> Plan {
        let word = self.0.load(Ordering::Acquire);
        Plan {
            tiering: Tiering::from_bits(word as u8),
            era: (word >> 32) as u32,
            open: word & OPEN != 0,
            is_split: word & SPLIT != 0,
            reach: Reach::ALL,
        }
    }

    /// Puts another plan in force; writers exclude each other by a lock of theirs.
    pub(crate) fn store(&self, plan: Plan) {
        self.0.store(pack(plan), Ordering::Release);
    }
}

fn pack(plan: Plan) -> u64 {
    let flags = if plan.open { OPEN } else { 0 } | if plan.is_split { SPLIT } else { 0 };
    u64::from(plan.era) << 32 | flags | u64::from(plan.tiering.bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_as_it_was_stored() {
        let word = PlanWord::new(Tiering::L1);
        for tiering in Tiering::ALL {
            for (era, open) in [(0, true), (7, false), (u32::MAX, true)] {
                let plan = Plan { tiering, era, open, is_split: !open, reach: Reach::ALL };
                word.store(plan);
                assert_eq!(word.load(), plan);
                assert_eq!(plan.has(TierKind::Memory), open && tiering.has(TierKind::Memory));
            }
        }
    }

    #[test]
    fn a_call_reaches_what_is_in_force_and_allowed() {
        let plan = PlanWord::new(Tiering::L1L2).load();
        let near = plan.within(Reach::of(Tiering::L1L3));
        let reached = TierKind::ALL.map(|tier| (near.has(tier), near.reaches(tier)));
        assert_eq!(reached, [(true, true), (true, false), (false, false)]);
        assert!(plan.reaches_below() && !near.reaches_below());
        assert!(!near.within(Reach::of(Tiering::L2)).reaches(TierKind::Memory), "nothing is left");
    }
}
