//! Builds without a store have no rollout of several hosts.

use super::{
    decision::{Command, Decision, HostsStatus},
    drive::Drive,
    machine::Rollout,
};
use crate::{cache::Cache, error::Result};

/// There is none.
pub(crate) enum Fleet {}

impl Fleet {
    pub(super) fn accepted(&mut self, _: &Decision) -> Option<Rollout> {
        match *self {}
    }

    pub(super) fn note(&mut self, _: &Decision) {
        match *self {}
    }

    pub(super) fn leads(&self) -> bool {
        match *self {}
    }

    pub(super) fn is_proposing(&self) -> bool {
        match *self {}
    }

    pub(super) fn is_envoy(&self) -> bool {
        match *self {}
    }

    pub(super) fn is_heard(&self) -> bool {
        match *self {}
    }

    pub(super) fn propose(&mut self, _: &[Decision], _: Rollout) -> Result<bool> {
        match *self {}
    }
}

/// Nobody is asked.
pub(crate) enum AskHosts {}

impl AskHosts {
    pub(crate) fn run(&self, _: &str, _: Command) -> Result<Vec<Decision>> {
        match *self {}
    }
}

#[allow(clippy::unused_self)]
impl Drive {
    pub(crate) fn use_thread(&mut self) {}

    pub(crate) fn ask_hosts(&self, _: Command) -> Option<AskHosts> {
        None
    }

    pub(crate) fn has_heard_of<V>(&mut self, _: &Cache<V>, _: &[Decision]) -> Result<bool> {
        Ok(true)
    }

    pub(super) fn hosts_status(&self) -> Option<HostsStatus> {
        None
    }

    pub(super) fn hear_hosts<V>(&mut self, _: &Cache<V>) -> Result<()> {
        Ok(())
    }

    pub(super) fn exchange<V>(&mut self, _: &Cache<V>) -> Result<()> {
        Ok(())
    }
}
