//! Stands for L3 where the feature `redis` is off: options of it cannot exist.

use std::{sync::Arc, time::Duration};

use super::RemoteTier;
use crate::error::Result;

/// Options of a tier that is not built in.
#[derive(Clone, Debug)]
pub(crate) enum RedisOptions {}

/// What a tier that is not built in counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RedisStatistics {}

impl RedisOptions {
    pub(crate) fn rest(&self) -> Duration {
        match *self {}
    }

    pub(crate) fn how_coherent(&self) -> super::Coherence {
        match *self {}
    }

    pub(crate) fn lease(&self) -> Duration {
        match *self {}
    }

    pub(crate) fn how_written(&self) -> super::WritePolicy {
        match *self {}
    }

    pub(crate) fn how_behind(&self) -> super::Behind {
        match *self {}
    }

    pub(crate) fn ledger_bound(&self) -> usize {
        match *self {}
    }
}

pub(super) fn default_options() -> Option<RedisOptions> {
    None
}

pub(super) fn open(options: RedisOptions) -> Result<Arc<dyn RemoteTier>> {
    match options {}
}
