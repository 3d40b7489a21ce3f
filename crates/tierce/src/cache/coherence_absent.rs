//! Stands for the following of other hosts where L3 is not built in: there are none.

use super::{Inner, freshness::Life, marks::Marks, plan::Plan};
use crate::{
    clock::Clock,
    group_word::GroupWord,
    tag_cells::KnownBelow,
    tier::{Reached, SharedTier, TagsRaised, Token},
    tiering::Tiering,
};

pub(super) struct Coherence;

/// A change that no other host hears of.
#[derive(Clone, Copy)]
pub(super) struct Change;

impl Coherence {
    pub(super) fn new(_options: Option<crate::tier::Coherence>, _clock: &Clock) -> Self {
        Self
    }

    #[inline]
    pub(super) fn is_current(&self, _word: GroupWord) -> bool {
        true
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    #[inline]
    pub(super) fn follows(&self, _tiering: Tiering) -> bool {
        false
    }

    #[inline]
    pub(super) fn listen(&self, _plan: Plan) {}

    pub(super) fn own_word(&self, _plan: Plan, _key: &[u8]) -> GroupWord {
        GroupWord::NONE
    }

    pub(super) fn begin_change(&self, _plan: Plan, _key: &[u8]) -> Option<Change> {
        None
    }

    pub(super) fn begin_touch(&self, _plan: Plan, _key: &[u8]) -> Option<Change> {
        None
    }

    pub(super) fn end_touch(
        &self,
        _plan: Plan,
        _key: &[u8],
        _touching: Option<Change>,
        _made: Option<u64>,
    ) {
    }

    pub(super) fn number_of(_change: Option<Change>) -> u64 {
        0
    }

    pub(super) fn end_change(&self, _plan: Plan, _key: &[u8], _change: Option<Change>) {}

    pub(super) fn undo_change(&self, _plan: Plan, _key: &[u8], _change: Option<Change>) {}

    pub(super) fn abandon_change(&self, _plan: Plan, _key: &[u8], _change: Option<Change>) {}

    pub(super) fn latest_change(&self, _plan: Plan, _key: &[u8]) -> Option<u64> {
        None
    }

    pub(super) fn has_done(&self, _plan: Plan, _key: &[u8], _number: u64) -> bool {
        false
    }

    pub(super) fn has_dealt_with(&self, _plan: Plan, _key: &[u8], _token: Token) -> bool {
        true
    }

    pub(super) fn made(&self, _plan: Plan, _key: &[u8], _stamp: Option<u64>) {}

    pub(super) fn hear_of(&self, _plan: Plan, _key: &[u8]) {}

    pub(super) fn hear_of_all(&self, _plan: Plan) {}

    pub(super) fn replica_of(&self, _plan: Plan, _key: &[u8]) -> Option<Reached> {
        None
    }

    pub(super) fn tags_told(&self, _plan: Plan) -> Option<KnownBelow> {
        None
    }

    pub(super) fn tags_made(&self, _plan: Plan, _raised: TagsRaised) {}

    #[inline]
    pub(super) fn is_told(&self, _plan: Plan) -> bool {
        true
    }

    pub(super) fn is_suspended(&self, _plan: Plan, _key: &[u8], _word: GroupWord) -> bool {
        false
    }

    pub(super) fn life_above(&self, _plan: Plan, life: Life, marks: &Marks) -> Life {
        _ = marks.is_told();
        life
    }

    pub(super) fn may_prolong(&self, _plan: Plan, _marks: &Marks) -> bool {
        true
    }

    pub(super) fn may_prolong_in(&self, _shared: &SharedTier) -> bool {
        true
    }

    pub(super) fn deafness(&self) -> Option<String> {
        None
    }

    pub(super) fn leave_post(&self) {}
}
