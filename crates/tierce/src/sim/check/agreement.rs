//! What all have when all is quiet.

use super::{Facts, Read, reads_of, told};
use crate::{
    TierKind,
    sim::{
        tale::{Call, Made},
        verb::Verb,
    },
};

impl Facts<'_> {
    /// True where the store of a host ever lost a key's record.
    fn lost_shared(&self, host: usize, key: usize) -> bool {
        let of_host = |call: &&Call| call.process.is_some_and(|(_, its)| its == host);
        let mut calls = self.tale.calls.iter().filter(of_host);
        calls.any(|call| call.verb == Verb::EvictShared(key))
    }

    /// True where nobody ever made a change without L3.
    fn all_have_remote(&self) -> bool {
        self.tale.eras.iter().all(|era| era.tiering.has(TierKind::Redis))
    }

    pub(super) fn agreement(&self, quiet: usize) -> Option<String> {
        let looks = quiet.min(self.tale.calls.len())..self.tale.calls.len();
        let looks = looks.take_while(|call| matches!(self.tale.calls[*call].verb, Verb::Get(_)));
        let reads: Vec<Read<'_>> = looks.flat_map(|call| reads_of(self.tale, call)).collect();
        reads.iter().enumerate().find_map(|(number, one)| {
            reads[..number].iter().find_map(|other| {
                let both = |tier| {
                    [one, other].iter().all(|it| self.had(it.process, tier, it.call.begin, it.end))
                };
                // What is loaded without L3, while it does not answer, or while nobody is told, is kept by its host alone.
                let is_loaded =
                    |it: &Read<'_>| matches!(self.tale.values[it.value].made, Made::Read(..));
                let is_set = || !is_loaded(one) && !is_loaded(other);
                let is_agreed = match self.settings.is_calm {
                    true => self.all_have_remote() && (self.tale.losses == 0 || is_set()),
                    false => self.settings.recovers && is_set(),
                };
                // What a store lost is loaded anew, while who had a copy still has it.
                let is_kept =
                    || !self.lost_shared(one.host, one.key) || !is_loaded(one) && !is_loaded(other);
                // Who has L3 beside a process without looks there, and tells it by filling L2.
                let are_alike = || {
                    let has = |it: &Read<'_>| {
                        self.had(it.process, TierKind::Redis, it.call.begin, it.end)
                    };
                    has(one) == has(other)
                };
                let shares = is_agreed && both(TierKind::Redis)
                    || one.host == other.host && both(TierKind::Shared) && is_kept() && are_alike();
                let differs = one.key == other.key && one.value != other.value;
                (differs && shares).then(|| {
                    format!(
                        "agreement: when all was quiet {} got v{}, and process {} had v{}",
                        told(one),
                        one.value,
                        other.process,
                        other.value
                    )
                })
            })
        })
    }
}
