//! Stands for L2 where the feature `shared` is off: no value of these types can exist, so the
//! cache needs no other word of the feature than the line that chooses this file.

use std::{marker::PhantomData, time::Duration};

use super::{Fill, Record, Tier, TouchSpan, Usage};
use crate::{
    clock::{Clock, Millis},
    error::Result,
    metrics::EvictionStats,
    shared_stamp::SharedStamp,
    tag_cells::{CellChange, Known, TagChange, Tags, Verdict},
};

/// Options of a tier that is not built in.
#[derive(Clone, Debug)]
pub(crate) enum SharedOptions {}

impl SharedOptions {
    pub(crate) fn lease(&self) -> Duration {
        match *self {}
    }
}

/// A tier that is not built in.
#[derive(Debug)]
pub(crate) enum SharedTier {}

/// A mark of a tier that is not built in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SharedMark {}

/// A doubt about a tier below one that is not built in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedDoubt {
    pub(crate) group: usize,
}

/// Where a store says that a value is on its way; without a store there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SharedCell;

/// What it says there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimWord;

impl ClaimWord {
    pub(crate) const FREE: Self = Self;

    pub(crate) fn is_free(self) -> bool {
        true
    }

    pub(crate) fn is_wanted(self) -> bool {
        false
    }

    pub(crate) fn claim(self) -> Self {
        self
    }

    pub(crate) fn until(self) -> crate::clock::Millis {
        crate::clock::Millis(0)
    }
}

/// A call's way to its turn to load a key, in a tier that is not built in.
#[derive(Debug)]
pub(crate) enum Turns {}

/// What a caller is to do now.
#[allow(dead_code)]
pub(crate) enum Turn<'a> {
    Mine(PhantomData<&'a ()>),
    Over,
    Alone,
}

impl Turns {
    pub(crate) fn ask(&self, _check: impl Fn() -> Result<()>) -> Result<Turn<'_>> {
        match *self {}
    }

    pub(crate) fn take(&self) -> Option<Turn<'_>> {
        match *self {}
    }

    pub(crate) fn has_waited(&self) -> bool {
        match *self {}
    }
}

/// What a change did to a tier that is not built in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed {
    pub(crate) stamp: u32,
    pub(crate) keep: bool,
}

impl SharedMark {
    pub(crate) fn known(&self) -> Known {
        match *self {}
    }

    pub(crate) fn delimiter(&self) -> Option<u8> {
        match *self {}
    }

    pub(crate) fn stamp(&self) -> SharedStamp {
        match *self {}
    }
}

pub(super) fn default_options() -> Option<SharedOptions> {
    None
}

impl SharedTier {
    pub(crate) fn open(options: &SharedOptions, _clock: Clock) -> Result<Self> {
        match *options {}
    }

    pub(crate) fn name_delimiter(&self, _: u8) -> Result<()> {
        match *self {}
    }

    pub(crate) fn delimiter(&self) -> Option<u8> {
        match *self {}
    }

    pub(crate) fn mark(&self, _key: &[u8]) -> SharedMark {
        match *self {}
    }

    pub(crate) fn turns(&self, _key: &[u8], _patience: Duration) -> Option<Turns> {
        match *self {}
    }

    pub(crate) fn is_current(&self, _: SharedStamp) -> bool {
        match *self {}
    }

    pub(crate) fn judge(&self, _: &Tags) -> Verdict {
        match *self {}
    }

    pub(crate) fn is_unraised(&self, _: Known) -> bool {
        match *self {}
    }

    pub(crate) fn raise_tags(&self, _: &[u32], _: TagChange) {
        match *self {}
    }

    #[cfg(feature = "redis")]
    pub(crate) fn raise_all_tags(&self) {
        match *self {}
    }

    pub(crate) fn raise_tags_unsent(&self, _: &[u32], _: TagChange) {
        match *self {}
    }

    pub(crate) fn unsent_tags(&self) -> Option<(u64, Vec<CellChange>)> {
        match *self {}
    }

    pub(crate) fn has_unsent_tags(&self) -> bool {
        match *self {}
    }

    pub(crate) fn settle_tags(&self, _: u64) {
        match *self {}
    }

    pub(crate) fn raise_tag_cells(&self, _: &[(usize, usize, TagChange)]) {
        match *self {}
    }

    pub(crate) fn raise_tag_cells_unsent(&self, _: &[(usize, usize, TagChange)]) {
        match *self {}
    }

    pub(crate) fn read_marked(&self, _mark: SharedMark, _key: &[u8]) -> Result<Option<Record>> {
        match *self {}
    }

    pub(crate) fn fill_marked(
        &self,
        _: SharedMark,
        _: &[u8],
        _: &Record,
        _: Option<Duration>,
        _: bool,
    ) -> Result<Fill> {
        match *self {}
    }

    pub(crate) fn change(&self, _: SharedMark, _: &[u8], _: &Record, _: bool) -> Changed {
        match *self {}
    }

    pub(crate) fn made_void(&self, _: SharedMark, _: &[u8]) -> Millis {
        match *self {}
    }

    pub(crate) fn made_before(&self, _: Duration) -> Millis {
        match *self {}
    }

    pub(crate) fn made(&self, _: &Record) -> Millis {
        match *self {}
    }

    pub(crate) fn change_if(
        &self,
        _: SharedMark,
        _: &[u8],
        _: &Record,
        _: Millis,
    ) -> Result<Option<u32>> {
        match *self {}
    }

    pub(crate) fn remove_if(&self, _: SharedMark, _: &[u8], _: Millis) -> Result<Option<u32>> {
        match *self {}
    }

    pub(crate) fn remove_marked(&self, _: SharedMark, _: &[u8]) -> Changed {
        match *self {}
    }

    pub(crate) fn delete(&self, _: &[u8]) {
        match *self {}
    }

    pub(crate) fn expire(&self, _: &[u8]) {
        match *self {}
    }

    pub(crate) fn rollout(&self) -> crate::split::ShareWord {
        match *self {}
    }

    pub(crate) fn change_rollout(
        &self,
        _: impl Fn(crate::split::ShareWord) -> Option<crate::split::ShareWord>,
    ) -> bool {
        match *self {}
    }

    pub(crate) fn directory(&self) -> std::path::PathBuf {
        match *self {}
    }

    pub(crate) fn touch(
        &self,
        _: Option<SharedMark>,
        _: &[u8],
        _: TouchSpan,
        _: bool,
        _: bool,
    ) -> (bool, Changed) {
        match *self {}
    }

    pub(crate) fn has_below(&self) -> bool {
        match *self {}
    }

    pub(crate) fn join_below(&self) {
        match *self {}
    }

    pub(crate) fn doubt_below(&self, _: &[u8]) {
        match *self {}
    }

    pub(crate) fn is_written_behind(&self) -> bool {
        match *self {}
    }

    pub(crate) fn cell_below(&self, _: &[u8]) -> SharedCell {
        match *self {}
    }

    pub(crate) fn claim_below(&self, _: SharedCell, _: ClaimWord) -> ClaimWord {
        match *self {}
    }

    pub(crate) fn hold_below(
        &self,
        _: SharedCell,
        _: ClaimWord,
        _: u32,
        _: crate::clock::Millis,
    ) -> Option<ClaimWord> {
        match *self {}
    }

    pub(crate) fn free_below(&self, _: SharedCell, _: ClaimWord) {
        match *self {}
    }

    pub(crate) fn want_below(&self, _: SharedCell) {
        match *self {}
    }

    #[cfg(feature = "redis")]
    pub(crate) fn give_up_overdue(&self) {
        match *self {}
    }

    pub(crate) fn delete_before(&self, _: Option<SharedMark>, _: &[u8]) -> Option<SharedMark> {
        match *self {}
    }

    pub(crate) fn doubt_all_below(&self) {
        match *self {}
    }

    pub(crate) fn doubts_below(&self, _: &[u8]) -> bool {
        match *self {}
    }

    pub(crate) fn doubt_to_settle(&self, _: &[u8], _: Duration) -> Option<SharedDoubt> {
        match *self {}
    }

    #[cfg(feature = "redis")]
    pub(crate) fn doubts_to_settle(&self, _: Duration, _: usize) -> Vec<SharedDoubt> {
        match *self {}
    }

    pub(crate) fn settle_below(&self, _: SharedDoubt) {
        match *self {}
    }

    pub(crate) fn evictions(&self) -> EvictionStats {
        match *self {}
    }

    #[cfg(feature = "redis")]
    pub(crate) fn stream<R>(
        &self,
        _: impl FnOnce(u32, &[std::sync::atomic::AtomicU64], &[std::sync::atomic::AtomicU32]) -> R,
    ) -> R {
        match *self {}
    }

    pub(crate) fn clear_all(&self) {
        match *self {}
    }
}

impl Tier for SharedTier {
    fn remove(&self, _: &[u8]) -> Result<()> {
        match *self {}
    }
    fn clear(&self) -> Result<()> {
        match *self {}
    }
    fn usage(&self) -> Usage {
        match *self {}
    }
    fn trouble(&self) -> Option<String> {
        match *self {}
    }
    fn close(&self) {
        match *self {}
    }
}
