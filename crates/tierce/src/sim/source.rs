//! Where loaders read: each read gives a value of its own, so that the check knows which read a
//! value came from, and when that was.

use bytes::Bytes;

use super::{schedule::lock, script, tale, world::World};
use crate::simulated;

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
        simulated::point();
        let settings = &self.world.settings;
        let (fails, before, after) = self.world.schedule.draw(|draws| {
            let most = settings.load_time;
            // Now and then one that takes longer than anybody waits for.
            let most = if most > 1000 && draws.chance(100) { 3 * most } else { most };
            let time = draws.within(0, most);
            (draws.chance(settings.load_failures), time / 2, time - time / 2)
        });
        self.world.sleep(before);
        let key = script::key_number(key).unwrap_or(usize::MAX);
        let value = lock(&self.world.tale).read(key, self.call, self.world.schedule.moment());
        self.world.sleep(after);
        simulated::point();
        if fails { Err(SourceFailed) } else { Ok(tale::bytes(value)) }
    }
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Source").field("call", &self.call).finish_non_exhaustive()
    }
}
