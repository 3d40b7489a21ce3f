//! A read that a replica answers, if what it has is as new as it must be.

use std::{iter, sync::Arc, time::Instant};

use redis::Value;

use super::{
    RedisTier,
    call::Call,
    cluster::Redirect,
    counters::count,
    read::{self, pack},
    replicas::{Replica, Replicas, offset_of_replica},
    replies::Replies,
    reply,
    request::Work,
};
use crate::{
    codec::Format,
    error::Result,
    key,
    tier::{Reached, Record},
};

/// What a replica said that was asked.
enum Said {
    /// A value that is fresh.
    Value(Record),
    /// It has all that it must have, and no such value.
    Nothing,
}

impl RedisTier {
    /// See [`RemoteTier::read_replica`](crate::tier::RemoteTier::read_replica).
    pub(super) fn find_at_replica(&self, key: &[u8], least: Reached) -> Result<Option<Record>> {
        let counters = &self.common.counters;
        let call = self.read_call()?;
        let replicas = self.replicas.get_or_start(|| Replicas::start(&self.common))?;
        let Some(replica) = replicas.pick(key::group(key)) else { return Ok(None) };
        let mut record = match self.ask_replica(&call, replicas, &replica, key, least) {
            Some(Said::Value(record)) => Some(record),
            Some(Said::Nothing) => {
                count(&counters.replica_misses);
                return Ok(None);
            }
            None => {
                count(&counters.replica_turned_back);
                replica.rest();
                return Ok(None);
            }
        };
        // After the record, and by the master: what was changed until the read began is seen. Where
        // the master does not answer, it is asked for the record all the same.
        if self.judge_records(&call, iter::once(&mut record)).is_err() {
            return Ok(None);
        }
        let record = record.filter(is_fresh);
        count(if record.is_some() { &counters.replica_hits } else { &counters.replica_misses });
        Ok(record)
    }

    /// Asks a replica; `None` where it is behind, fails or is none of the present master.
    fn ask_replica(
        &self,
        call: &Call<'_>,
        replicas: &Replicas,
        replica: &Arc<Replica>,
        key: &[u8],
        least: Reached,
    ) -> Option<Said> {
        let may_change = self.common.settings.place.may_change();
        let reign = match may_change {
            // Of a master that was not asked yet nothing is known.
            true => Some(call.way.reign(key::group(key))?),
            false => None,
        };
        let names = self.names(key);
        let most = self.most_stored_bytes(key);
        let reign_name = self.reign_name(key::group(key));
        let (question, commands) = read::ask(&names, reign_name.as_deref(), most).pack();
        let mut bytes = Vec::with_capacity(question.len() + 16);
        pack(&mut bytes, &[b"ROLE"]);
        bytes.extend_from_slice(&question);
        // Its master has a whole one after it.
        let allowed = call.timeout / 2;
        let link = replica.link();
        let work = Work::Packed(bytes, 1 + commands);
        let replies: Replies = link.replies(work, Instant::now() + allowed, allowed).ok()?;
        if link.node().is_some_and(|node| Redirect::among(replies.iter(), node).is_some()) {
            replicas.miss();
            return None;
        }
        let role = reply::value(replies.get(0)?).ok()?;
        let Some(offset) = offset_of_replica(&role) else {
            if !matches!(role, Value::ServerError(_)) {
                replicas.miss();
            }
            return None;
        };
        let rest: Replies = replies.iter().skip(1).collect();
        let stored = read::answer(&self.common.counters, rest, most).ok()?;
        if reign.is_some_and(|reign| stored.reign.as_deref() != Some(reign.name())) {
            return None;
        }
        let stamp = stored.stamp?;
        let offset = offset & Reached::OFFSET_MASK;
        if !(Reached { stamp, offset }).is_at(least) {
            return None;
        }
        let opened = stored.data.and_then(|data| self.open(data.bytes(), key, stored.pttl));
        let record = opened.filter(|(epoch, _)| Some(*epoch) == stored.epoch);
        Some(match record.map(|(_, record)| record).filter(is_fresh) {
            Some(record) => Said::Value(record),
            None => Said::Nothing,
        })
    }
}

/// True for a value that may be served to anybody. Of anything else the master has the word: it may
/// have been loaded anew since.
fn is_fresh(record: &Record) -> bool {
    !matches!(record.format, Format::Oversized | Format::Absent)
        && record.ttl.is_none_or(|ttl| ttl > record.stale)
}
