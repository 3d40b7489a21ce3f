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

/// The tiering in force, its era, whether the cache is open, and what one call may look in.
///
/// An **era** ends when private L1 entries ([`Filed::Private`](crate::invalidation::Filed)) may
/// have missed changes: when L2 enters the tiering (other processes have their say from now on),
/// when L3 enters it and other hosts are followed, or L1 leaves it.
///
/// ```text
///   63    32   11     10       9       8     7 6    5      3 2       0
///  +--------+------+-------+----------+------+-----+----------+---------+
///  |  era   | shed | gated | is split | open | side| barred   | tiering |
///  +--------+------+-------+----------+------+-----+----------+---------+
/// ```
/// A tier that the call may not look in is *barred*: so a plan that was just loaded bars none, and
/// one comparison says whether a tier is within reach.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan(u64);

/// Tiers that one call may look in and put something into, whether or not they are in force, and the
/// side of a split that it fell on: the bits of a plan that are the call's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reach(u16);

const BARRED_AT: u32 = 3;
const BARRED: u16 = 0b111 << BARRED_AT;
const OLD: u16 = 1 << 6;
const NEW: u16 = 1 << 7;
const SHED: u16 = 1 << 11;
const OF_CALL: u64 = (BARRED | OLD | NEW | SHED) as u64;
const OPEN: u64 = 1 << 8;
const SPLIT: u64 = 1 << 9;
const GATED: u64 = 1 << 10;

impl Reach {
    /// All that are in force.
    pub(crate) const ALL: Self = Self(0);

    /// Of a call that is turned away at once.
    pub(crate) const NOTHING: Self = Self(BARRED | SHED);

    /// These tiers and no others.
    pub(crate) const fn of(tiers: Tiering) -> Self {
        Self((!tiers.bits() as u16) << BARRED_AT & BARRED)
    }

    /// The same for a call that is turned away where these tiers do not answer it.
    pub(crate) const fn shed(self) -> Self {
        Self(self.0 | SHED)
    }

    /// These tiers, for a call that falls on one side of a split.
    pub(crate) const fn of_side(tiers: Tiering, side: Side) -> Self {
        Self(Self::of(tiers).0 | if matches!(side, Side::Old) { OLD } else { NEW })
    }

    /// What is within both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The side that the call fell on, if the cache is split.
    #[inline]
    pub(crate) const fn side(self) -> Option<Side> {
        match self.0 & (OLD | NEW) {
            OLD => Some(Side::Old),
            NEW => Some(Side::New),
            _ => None,
        }
    }
}

impl Plan {
    /// The tiers in force.
    #[inline]
    pub(crate) fn tiering(self) -> Tiering {
        Tiering::from_bits(self.0 as u8)
    }

    #[inline]
    pub(crate) const fn era(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(crate) const fn is_open(self) -> bool {
        self.0 & OPEN != 0
    }

    /// True while calls fall on two sides, each with tiers of its own.
    #[inline]
    pub(crate) const fn is_split(self) -> bool {
        self.0 & SPLIT != 0
    }

    /// True while calls are looked at before they are let through.
    #[inline]
    pub(crate) const fn is_gated(self) -> bool {
        self.0 & GATED != 0
    }

    /// True while a call has to ask which plan is its own.
    #[inline]
    pub(crate) const fn is_special(self) -> bool {
        self.0 & (SPLIT | GATED) != 0
    }

    /// True if the call may look in L1, and need not ask which plan is its own: one comparison.
    #[inline]
    pub(crate) const fn is_plain(self) -> bool {
        let (l1, barred) =
            (1 << TierKind::Memory as u8, 1 << (BARRED_AT + TierKind::Memory as u32));
        self.0 & (SPLIT | GATED | OPEN | l1 | barred) == OPEN | l1
    }

    /// True for a call that neither loads nor waits for a load.
    #[inline]
    pub(crate) const fn is_shed(self) -> bool {
        self.0 & SHED as u64 != 0
    }

    /// True if the cache is open and its tiering has the tier.
    #[inline]
    pub(crate) const fn has(self, tier: TierKind) -> bool {
        let both = OPEN | 1 << tier as u8;
        self.0 & both == both
    }

    /// True if the cache is open, the tier is in force and this call may look there.
    #[inline]
    pub(crate) const fn reaches(self, tier: TierKind) -> bool {
        let both = OPEN | 1 << tier as u8;
        self.0 & (both | 1 << (BARRED_AT + tier as u32)) == both
    }

    /// True if there is a tier below L1 that this call may look in.
    #[inline]
    pub(crate) const fn reaches_below(self) -> bool {
        self.reaches(TierKind::Shared) || self.reaches(TierKind::Redis)
    }

    /// The same plan for a call with this reach, and the one that it had. The side of either is that
    /// of both.
    #[must_use]
    #[inline]
    pub(crate) const fn within(self, reach: Reach) -> Self {
        Self(self.0 | reach.0 as u64)
    }

    /// What the call may look in.
    #[inline]
    pub(crate) const fn reach(self) -> Reach {
        Reach((self.0 & OF_CALL) as u16)
    }

    /// The same cache with other tiers.
    #[must_use]
    pub(crate) fn with(self, tiering: Tiering, era: u32, is_split: bool) -> Self {
        let split = if is_split { SPLIT } else { 0 };
        Self(u64::from(era) << 32 | self.0 & (OPEN | GATED) | split | u64::from(tiering.bits()))
    }

    /// The same cache, looking at its calls or not.
    #[must_use]
    pub(crate) const fn gated(self, is_gated: bool) -> Self {
        Self(if is_gated { self.0 | GATED } else { self.0 & !GATED })
    }

    /// The same cache when it is closed.
    #[must_use]
    pub(crate) const fn closed(self) -> Self {
        Self(self.0 & !OPEN)
    }
}

/// A [`Plan`] that changes while calls are under way.
#[derive(Debug)]
pub(crate) struct PlanWord(AtomicU64);

impl PlanWord {
    pub(crate) fn new(tiering: Tiering) -> Self {
        Self(AtomicU64::new(Plan(OPEN).with(tiering, 0, false).0))
    }

    #[inline]
    pub(crate) fn load(&self) -> Plan {
        Plan(self.0.load(Ordering::Acquire))
    }

    /// Puts another plan in force; writers exclude each other by a lock of theirs.
    pub(crate) fn store(&self, plan: Plan) {
        self.0.store(plan.0 & !OF_CALL, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_as_it_was_stored() {
        let word = PlanWord::new(Tiering::L1);
        for tiering in Tiering::ALL {
            for (era, open) in [(0, true), (7, false), (u32::MAX, true)] {
                let plan = word.load().with(tiering, era, !open);
                word.store(if open { plan } else { plan.closed() });
                let plan = word.load();
                assert_eq!((plan.tiering(), plan.era()), (tiering, era));
                assert_eq!((plan.is_open(), plan.is_split()), (open, !open));
                assert_eq!(plan.has(TierKind::Memory), open && tiering.has(TierKind::Memory));
                assert_eq!(plan.reach(), Reach::ALL);
                word.store(PlanWord::new(tiering).load());
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

    #[test]
    fn a_plain_plan_is_one_that_reaches_l1_and_is_not_special() {
        for (tiering, is_split) in Tiering::ALL.into_iter().zip([false, true].into_iter().cycle()) {
            for is_gated in [false, true] {
                let open = PlanWord::new(tiering).load().with(tiering, 7, is_split).gated(is_gated);
                for plan in [open, open.closed(), open.within(Reach::of(Tiering::L2L3))] {
                    let is_plain = plan.reaches(TierKind::Memory) && !plan.is_special();
                    assert_eq!(plan.is_plain(), is_plain);
                }
            }
        }
        assert!(PlanWord::new(Tiering::L1L2).load().is_plain());
    }
}
