//! Where loaders read: each read gives a value of its own, so that the check knows which read a
//! value came from, and when that was.

use bytes::Bytes;

use super::{
    history::tags,
    schedule::{lock, me},
    tale::{self, Look, Seen},
    verb,
    world::World,
};
use crate::{Loaded, simulated};

/// What the source answers where it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceFailed;

impl std::fmt::Display for SourceFailed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("the source failed")
    }
}

impl std::error::Error for SourceFailed {}

/// The source of truth of a history, as a loader sees it.
pub struct Source<'a> {
    pub(super) world: &'a World,
    /// The call that loads.
    pub(super) call: usize,
}

impl Source<'_> {
    /// What the source has of a key now. Takes a while, in which others go on, and fails at times.
    ///
    /// # Errors
    /// [`SourceFailed`].
    pub fn read(&self, key: &[u8]) -> Result<Bytes, SourceFailed> {
        match self.look(key, None) {
            Seen::Value(value) => Ok(tale::bytes(value)),
            _ => Err(SourceFailed),
        }
    }

    /// What the loader of the simulation answers, which is told what value there is.
    pub(super) fn load(
        &self,
        key: &[u8],
        present: Option<&Bytes>,
    ) -> Result<Loaded<Bytes>, SourceFailed> {
        let settings = &self.world.settings;
        let present = present.and_then(|bytes| tale::number(bytes));
        let other = self.world.schedule.draw(|draws| {
            let is_absent = draws.chance(settings.absences);
            let is_unmodified = present.is_some() && draws.chance(settings.renewals);
            let unmodified = present.filter(|_| is_unmodified).map(Seen::Unmodified);
            if is_absent { Some(Seen::Absent) } else { unmodified }
        });
        match self.look(key, other) {
            Seen::Value(value) => Ok(Loaded::new(tale::bytes(value)).tags(tags(self.world))),
            Seen::Absent => Ok(Loaded::absent()),
            Seen::Unmodified(_) => Ok(Loaded::not_modified()),
            Seen::Failed => Err(SourceFailed),
        }
    }

    /// Looks, and finds a value of its own unless it is to find something else.
    fn look(&self, key: &[u8], other: Option<Seen>) -> Seen {
        simulated::point();
        let settings = &self.world.settings;
        let begin = self.world.now();
        let (fails, before, after) = self.world.schedule.draw(|draws| {
            let most = settings.load_time;
            // Now and then one that takes longer than anybody waits for.
            let most = if most > 1000 && draws.chance(100) { 3 * most } else { most };
            let time = draws.within(0, most);
            (draws.chance(settings.load_failures), time / 2, time - time / 2)
        });
        self.world.sleep(before);
        let key = verb::key_number(key).unwrap_or(usize::MAX);
        let at = self.world.schedule.moment();
        let value = lock(&self.world.tale).read(key, self.call, at);
        self.world.sleep(after);
        simulated::point();
        let found = match other {
            _ if fails => Seen::Failed,
            None => Seen::Value(value),
            Some(other) => other,
        };
        let end = self.world.schedule.moment();
        let look = Look { call: self.call, actor: me(), begin, end, at, found };
        lock(&self.world.tale).looked(look, value);
        found
    }
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Source").field("call", &self.call).finish_non_exhaustive()
    }
}
