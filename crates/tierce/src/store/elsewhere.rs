//! The store on platforms that cannot carry one: the same names, and an `open` that refuses.
//!
//! It needs robust mutexes that processes share, open-file-description locks and real allocation
//! of files, which only Linux has together.

mod current;
#[allow(dead_code)]
mod layout;
mod named;
mod options;
#[allow(dead_code)]
mod sum;
#[allow(dead_code)]
mod types;

use std::{
    convert::Infallible,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub(crate) use self::{
    current::{Current, Look},
    named::{NamedStore, View},
};
pub use self::{
    options::{Medium, StoreOptions},
    types::{
        Dropped, KeyHash, NewRecord, Put, StoreCheck, StoreFill, StoreRecord, StoreStatistics,
        StoreToken, StoreUsage,
    },
};
use crate::{
    clock::Clock,
    diagnosis::Diagnosis,
    error::{Error, ErrorKind, Result},
};

impl StoreOptions {
    /// Whether a store of these options can be opened: not on this platform.
    pub fn diagnose(&self) -> Vec<Diagnosis> {
        vec![Diagnosis::unfit("store.platform", "a shared store needs Linux", "leave L2 out")]
    }
}

/// An open store; on this platform there is none.
#[derive(Debug)]
pub struct Store(Infallible);

#[allow(missing_docs)]
impl Store {
    /// Checks the options and refuses.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for options out of range, else always
    /// [`Unsupported`](ErrorKind::Unsupported).
    pub fn open(options: &StoreOptions, _clock: Clock) -> Result<Self> {
        options.geometry()?;
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{}: a shared store needs Linux", options.directory.display()),
        ))
    }

    pub fn hash(&self, _key: &[u8]) -> KeyHash {
        match self.0 {}
    }

    pub fn token(&self, _hash: KeyHash) -> StoreToken {
        match self.0 {}
    }

    pub fn stamp_at(&self, _stamp_index: u32) -> u32 {
        match self.0 {}
    }

    pub fn clear_epoch(&self) -> u32 {
        match self.0 {}
    }

    pub fn get(&self, _hash: KeyHash, _key: &[u8]) -> Result<Option<StoreRecord>> {
        match self.0 {}
    }

    pub fn put(
        &self,
        _hash: KeyHash,
        _key: &[u8],
        _record: NewRecord<'_>,
        _expect: Option<StoreToken>,
    ) -> Put {
        match self.0 {}
    }

    pub fn fill(
        &self,
        _hash: KeyHash,
        _key: &[u8],
        _record: NewRecord<'_>,
        _token: StoreToken,
    ) -> StoreFill {
        match self.0 {}
    }

    pub fn delete(&self, _hash: KeyHash, _key: &[u8]) -> u32 {
        match self.0 {}
    }

    pub fn expire(&self, _hash: KeyHash, _key: &[u8]) -> u32 {
        match self.0 {}
    }

    pub(crate) fn touch(
        &self,
        _hash: KeyHash,
        _key: &[u8],
        _fresh: Option<Duration>,
        _is_live: impl Fn(&StoreRecord) -> bool,
        _before: impl Fn(),
    ) -> Option<u32> {
        match self.0 {}
    }

    pub fn clear(&self) {
        match self.0 {}
    }

    pub fn usage(&self) -> StoreUsage {
        match self.0 {}
    }

    pub fn statistics(&self) -> StoreStatistics {
        match self.0 {}
    }

    pub fn trouble(&self) -> Option<String> {
        match self.0 {}
    }

    pub fn path(&self) -> &Path {
        match self.0 {}
    }

    pub fn validate(&self) -> Result<StoreCheck> {
        match self.0 {}
    }
}

/// What became of the name of an open store; on this platform there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Sound,
    Removed,
    Superseded,
}

/// A doubt about the tier below; on this platform there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt {
    pub(crate) group: usize,
}

impl Store {
    pub(crate) fn is_superseded(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn is_same(&self, _other: &Self) -> bool {
        match self.0 {}
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.0 {}
    }

    pub(crate) fn remove_names(&self) {
        match self.0 {}
    }

    pub(crate) fn supersede_by(&self, _new: &Self) {
        match self.0 {}
    }

    pub(crate) fn rollout(&self) -> crate::split::ShareWord {
        match *self {}
    }

    pub(crate) fn change_rollout(
        &self,
        _change: impl Fn(crate::split::ShareWord) -> Option<crate::split::ShareWord>,
    ) -> bool {
        match *self {}
    }

    pub(crate) fn delimiter(&self) -> Option<u8> {
        match self.0 {}
    }

    pub(crate) fn name_delimiter(&self, _delimiter: u8) -> crate::error::Result<()> {
        match self.0 {}
    }

    pub(crate) fn adopt_delimiter_of(&self, _old: &Self) {
        match self.0 {}
    }

    pub(crate) fn adopt_tags_of(&self, _old: &Self) {
        match self.0 {}
    }

    pub(crate) fn tag_raises(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn has_below(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn is_below_in_use(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn unsent_tags(&self) -> crate::tag_cells::Unsent<'_> {
        match self.0 {}
    }

    pub(crate) fn tag_cells(&self) -> crate::tag_cells::TagCells<'_> {
        match self.0 {}
    }

    pub(crate) fn raise_tag_cell(&self, _: usize, _: usize, _: crate::tag_cells::TagChange) {
        match self.0 {}
    }

    pub(crate) fn adopt_doubts_of(&self, _old: &Self) {
        match self.0 {}
    }

    #[cfg(feature = "redis")]
    pub(crate) fn stream_words(&self) -> &[std::sync::atomic::AtomicU64] {
        match self.0 {}
    }

    pub(crate) fn join_below(&self) {
        match self.0 {}
    }

    pub(crate) fn doubt(&self, _key: &[u8]) {
        match self.0 {}
    }

    pub(crate) fn doubt_everything(&self) {
        match self.0 {}
    }

    pub(crate) fn is_doubted(&self, _key: &[u8]) -> bool {
        match self.0 {}
    }

    pub(crate) fn rested_doubt(&self, _key: &[u8], _rest: std::time::Duration) -> Option<Doubt> {
        match self.0 {}
    }

    #[cfg(feature = "redis")]
    pub(crate) fn rested_doubts(&self, _rest: std::time::Duration) -> impl Iterator<Item = Doubt> {
        std::iter::empty()
    }

    pub(crate) fn settle(&self, _doubt: Doubt) {
        match self.0 {}
    }

    pub(crate) fn is_written_behind(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn pending_cell(&self, _key: &[u8]) -> u32 {
        match self.0 {}
    }

    pub(crate) fn pending_word(&self, _cell: u32, _mine: ClaimWord) -> ClaimWord {
        match self.0 {}
    }

    pub(crate) fn claim_cell(
        &self,
        _cell: u32,
        _mine: ClaimWord,
        _owner: u32,
        _until: crate::clock::Millis,
    ) -> Option<ClaimWord> {
        match self.0 {}
    }

    pub(crate) fn free_cell(&self, _cell: u32, _mine: ClaimWord) {
        match self.0 {}
    }

    pub(crate) fn want_cell(&self, _cell: u32) {
        match self.0 {}
    }

    pub(crate) fn give_up_overdue(&self) {
        match self.0 {}
    }
}

/// What a cell of values on their way says; on this platform there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimWord(());

impl ClaimWord {
    pub(crate) const FREE: Self = Self(());

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

/// A call's way to its turn to load a key; on this platform there is none.
pub(crate) struct Turns(Infallible);

/// What a caller is to do now.
#[allow(dead_code)]
pub(crate) enum Turn<'a> {
    Mine(PhantomData<&'a ()>),
    Over,
    Alone,
}

impl Turns {
    pub(crate) fn new(store: Arc<Store>, _hash: KeyHash, _patience: Duration) -> Option<Self> {
        match store.0 {}
    }

    pub(crate) fn ask(&self, _check: impl Fn() -> Result<()>) -> Result<Turn<'_>> {
        match self.0 {}
    }

    pub(crate) fn has_waited(&self) -> bool {
        match self.0 {}
    }
}

/// Where the store of this `name` would belong.
pub fn default_directory(name: &str) -> PathBuf {
    std::env::temp_dir().join("tierce").join(name)
}
