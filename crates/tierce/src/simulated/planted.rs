//! Faults that a simulation can plant, each at one place of the crate: mistakes that caches of
//! several tiers are known for.

/// A mistake that a simulation makes the cache make, to see whether it is found.
///
/// ```
/// # #[cfg(feature = "sim")]
/// # fn show() {
/// use tierce::sim::{self, Fault, SimOptions};
///
/// let report = sim::run(&SimOptions::new().plant(Fault::DeleteSkipsStamp));
/// assert!(report.failure.is_some());
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Fault {
    /// The marks of a load are taken after the loader has returned.
    StampAfterLoad,
    /// A fill of L2 replaces a live record in place of adopting it.
    FillOverwritesLive,
    /// A delete does not raise the stamps of its key in L2 and L1.
    DeleteSkipsStamp,
    /// What was fetched from a lower tier is filed under marks that are taken after the fetch.
    BackfillWithNewMark,
    /// A change to which L3 gave no answer is taken for one that it made.
    NoDoubtAfterLostReply,
    /// `clear` leaves L3 as it is, where a miss above finds it again.
    StaleAfterClear,
    /// A change raises the stamps first, and changes the lower tiers then.
    StampBeforeChange,
    /// A change lets callers join a load that began before it.
    JoinAfterChange,
    /// Changes of other hosts are taken note of, and the copies stay.
    ForeignChangeIgnored,
    /// Whoever subscribes takes it that nothing was missed.
    GapIgnored,
    /// Copies are served however long nobody was told of changes.
    NeverSuspended,
    /// Copies that were suspended because the subscriber was late stay so, and so do later ones.
    NeverResumed,
    /// Two sets that overlap both keep their copies.
    RacedSetKept,
    /// What is copied from L2 lives for ever in L1.
    LifeForgotten,
    /// Entries of this process alone are served on when L2 enters the tiering.
    EraKept,
    /// L3 tells other hosts of a delete only if it had the record.
    AbsentUntold,
    /// Records of L3 are taken whatever became of their tags.
    TagsUnjudgedBelow,
    /// A change that depends on what is there takes the place of whatever is there.
    VersionIgnored,
    /// A touch gives what L3 has another end, and leaves the copies above as they are.
    TouchBelowAlone,
    /// Entries do not bear the tags of their keys' prefixes.
    PrefixesUnborne,
    /// Who takes a stale value as its load has failed takes the one that it knew of before.
    StaleUnlooked,
    /// What is copied from L2 is fresh until it is gone.
    WindowForgotten,
    /// That there is no value takes the place of no stale one.
    AbsenceUnkept,
    /// Who sent what was set behind L3 does not look whether the key was changed meanwhile.
    SentUnlooked,
    /// L3 is asked for keys whose values are on their way there.
    ClaimsIgnored,
    /// The word for a value that gave way behind L3 is taken for what the tiers above have, and any record whose
    /// group has a known stamp for one of this host.
    GivenWayKept,
    /// What was claimed by a process that was killed is asked for in L3 again once the claim is over.
    OverdueUndoubted,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::StampAfterLoad,
        Self::FillOverwritesLive,
        Self::DeleteSkipsStamp,
        Self::BackfillWithNewMark,
        Self::NoDoubtAfterLostReply,
        Self::StaleAfterClear,
        Self::StampBeforeChange,
        Self::JoinAfterChange,
        Self::ForeignChangeIgnored,
        Self::GapIgnored,
        Self::NeverSuspended,
        Self::NeverResumed,
        Self::RacedSetKept,
        Self::LifeForgotten,
        Self::EraKept,
        Self::AbsentUntold,
        Self::TagsUnjudgedBelow,
        Self::VersionIgnored,
        Self::TouchBelowAlone,
        Self::PrefixesUnborne,
        Self::StaleUnlooked,
        Self::WindowForgotten,
        Self::AbsenceUnkept,
        Self::SentUnlooked,
        Self::ClaimsIgnored,
        Self::GivenWayKept,
        Self::OverdueUndoubted,
    ];

    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }
}
