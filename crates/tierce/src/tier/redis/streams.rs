//! The subscriptions that tell of the changes of all stripes: one, or in a cluster one to each
//! master.
//!
//! They count together: what is told is complete while all of them live. In a cluster each stamp is
//! asked for where the stripe was when they were made, with its reign. A node that has it no more
//! says so, and then all are made anew, so nothing that a stripe's next master told nobody of stays
//! unnoticed for longer than a heartbeat; what came to another master has other stamps there.

use std::{sync::Arc, time::Duration};

use redis::Value;
use tokio::{sync::mpsc::UnboundedSender, time::timeout};

use super::{
    cluster::{self, Redirect},
    connect,
    link::Common,
    names::{self, Names, STRIPES},
    options::Address,
    refusal::{self, error},
    replicas,
    subscription::{Event, Queue, Subscription, no_answer, unexpected},
    tags,
};
use crate::{
    codec::envelope,
    error::{Error, ErrorKind, Result},
    key,
    tag_cells::KnownBelow,
    tier::TagsTold,
};

/// Records that are looked at in one pipeline.
const LOOKS_AT_ONCE: usize = 256;

/// What it took to have the servers reign over all stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Nothing, or they had no reign before.
    Same,
    /// Another server had been the master.
    Other,
}

/// Subscriptions that last until they are dropped.
pub(super) struct Streams {
    parts: Vec<Part>,
    /// Which of them has a stripe.
    of_stripe: Vec<usize>,
    queue: Arc<Queue>,
    is_cluster: bool,
}

struct Part {
    subscription: Subscription,
    stripes: Vec<usize>,
}

impl Streams {
    /// Connects and has the servers tell of changes, as events of number `serial`.
    pub(super) async fn new(
        common: &Arc<Common>,
        events: &UnboundedSender<Event>,
        serial: u64,
    ) -> Result<Self> {
        let is_cluster = common.settings.place.is_cluster();
        let servers: Vec<(Address, Vec<usize>)> = if is_cluster {
            let nodes = cluster::known_nodes(common, &[]);
            let heard = cluster::survey(common, nodes.clone()).await?;
            // Those of the options may be the ones that are cut off.
            let others = heard.nodes.iter().any(|node| !nodes.contains(node));
            let shares = match others {
                true => cluster::survey(common, cluster::known_nodes(common, &heard.nodes)).await?,
                false => heard,
            };
            shares.by_master()?
        } else {
            vec![(connect::address(common).await?, (0..STRIPES).collect())]
        };
        let queue = Arc::<Queue>::default();
        let (mut parts, mut of_stripe) = (Vec::new(), vec![0; STRIPES]);
        for (address, stripes) in servers {
            stripes.iter().for_each(|stripe| of_stripe[*stripe] = parts.len());
            let subscription =
                Subscription::new(common, address, &stripes, events, serial, &queue).await?;
            parts.push(Part { subscription, stripes });
        }
        Ok(Self { parts, of_stripe, queue, is_cluster })
    }

    /// The stripes of which changes are published: news of them may be missed.
    pub(super) fn published(&self) -> Vec<usize> {
        let parts = self.parts.iter().filter(|part| part.subscription.is_by_pubsub());
        parts.flat_map(|part| part.stripes.iter().copied()).collect()
    }

    /// Takes note that a message was dealt with.
    pub(super) fn took(&self) {
        self.queue.took();
    }

    /// True if messages were lost because too many waited.
    pub(super) fn overflowed(&self) -> bool {
        self.queue.overflowed()
    }

    /// The names of the reigns of all servers, where masters may change.
    pub(super) fn reigns(&self) -> Vec<Vec<u8>> {
        let reigns = self.parts.iter().filter_map(|part| part.subscription.reign());
        reigns.map(|reign| reign.name().to_vec()).collect()
    }

    /// Has the servers reign over all stripes, what other ones left there being void.
    pub(super) async fn begin_reigns(&mut self, prefix: &str) -> Result<Begin> {
        let mut begin = Begin::Same;
        for place in 0..self.parts.len() {
            let Part { subscription, stripes } = &self.parts[place];
            let Some(reign) = subscription.reign().cloned() else { continue };
            let stripes = stripes.clone();
            let found = self.values(place, &stripes, |stripe| names::reign(prefix, stripe)).await?;
            let is_own = |found: &Value| match found {
                Value::BulkString(name) => name == reign.name(),
                _ => false,
            };
            let others = stripes.iter().zip(&found).filter(|(_, found)| !is_own(found));
            let others: Vec<usize> = others.map(|(stripe, _)| *stripe).collect();
            if others.is_empty() {
                continue;
            }
            if !found.iter().all(|found| is_own(found) || *found == Value::Nil) {
                begin = Begin::Other;
            }
            self.parts[place].subscription.begin_reigns(prefix, &others, &reign).await?;
        }
        Ok(begin)
    }

    /// The stamps of all stripes, each `None` where its server has none; within `limit`. What was
    /// changed up to these stamps has been told when this returns.
    ///
    /// # Errors
    /// Where a stripe is another server's by now.
    pub(super) async fn stamps(
        &mut self,
        prefix: &str,
        limit: Duration,
    ) -> Result<Vec<Option<u64>>> {
        let asked = async {
            let mut stamps = vec![None; STRIPES];
            for place in 0..self.parts.len() {
                let stripes = self.parts[place].stripes.clone();
                let stamp = |stripe| names::stamp(prefix, stripe);
                let found = self.values(place, &stripes, stamp).await?;
                for (stripe, found) in stripes.iter().zip(&found) {
                    if let Value::BulkString(digits) = found {
                        stamps[*stripe] = names::parse_counter(digits);
                    }
                }
                if self.is_cluster {
                    self.check_reigns(place, &stripes, prefix).await?;
                }
            }
            for part in &mut self.parts {
                part.subscription.settle().await?;
            }
            Ok::<_, Error>(stamps)
        };
        timeout(limit, asked).await.map_err(|_| no_answer(limit))?
    }

    /// How far the masters of all stripes have come, each `None` where that is not said; within `limit`.
    pub(super) async fn offsets(&mut self, limit: Duration) -> Result<Vec<Option<u64>>> {
        let asked = async {
            let mut offsets = vec![None; STRIPES];
            for part in &mut self.parts {
                let offset = replicas::offset_of_master(&part.say(&redis::cmd("ROLE")).await?);
                part.stripes.iter().for_each(|stripe| offsets[*stripe] = offset);
            }
            Ok(offsets)
        };
        timeout(limit, asked).await.map_err(|_| no_answer(limit))?
    }

    /// What became of tags since `before`, by the server that has their hash, which begins a
    /// numbering where there is none; within `limit`.
    ///
    /// # Errors
    /// Where the hash is another server's by now. What the server does not say may have been
    /// anything.
    pub(super) async fn tags(
        &mut self,
        prefix: &str,
        before: Option<KnownBelow>,
        limit: Duration,
    ) -> Result<TagsTold> {
        let part = &mut self.parts[self.of_stripe[tags::STRIPE]];
        let reign = part.subscription.reign().map(|reign| reign.name().to_vec());
        let reign = reign.as_deref();
        let asked = async {
            for is_begun in [false, true] {
                let (told, is_gap) =
                    tags::told(&part.say(&tags::news(prefix)).await?, reign, before);
                if is_gap {
                    let mut all = redis::cmd("HGETALL");
                    all.arg(names::tags(prefix));
                    return Ok(tags::told_by_all(&part.say(&all).await?, reign, before));
                }
                if told.known.is_some() || is_begun {
                    return Ok(told);
                }
                part.say(&tags::begin(prefix, reign)).await?;
            }
            Ok(TagsTold::default())
        };
        timeout(limit, asked).await.map_err(|_| no_answer(limit))?
    }

    /// An error where a stripe is under another reign: it was elsewhere since they began.
    async fn check_reigns(&mut self, place: usize, stripes: &[usize], prefix: &str) -> Result<()> {
        let Some(reign) = self.parts[place].subscription.reign().cloned() else { return Ok(()) };
        let found = self.values(place, stripes, |stripe| names::reign(prefix, stripe)).await?;
        let is_own = |found: &Value| match found {
            Value::BulkString(name) => name == reign.name(),
            _ => false,
        };
        if found.iter().all(is_own) { Ok(()) } else { Err(moved()) }
    }

    /// What is under the names of some stripes of a server.
    async fn values(
        &mut self,
        place: usize,
        stripes: &[usize],
        name: impl Fn(usize) -> Vec<u8>,
    ) -> Result<Vec<Value>> {
        if !self.is_cluster {
            let mut command = redis::cmd("MGET");
            stripes.iter().for_each(|stripe| {
                command.arg(name(*stripe));
            });
            return match self.parts[place].subscription.ask(&command).await? {
                Value::Array(found) if found.len() == stripes.len() => Ok(found),
                _ => Err(unexpected("MGET")),
            };
        }
        let mut pipeline = redis::pipe();
        for stripe in stripes {
            pipeline.cmd("GET").arg(name(*stripe));
        }
        let mut found = self.parts[place].subscription.all(&pipeline).await?;
        if found.len() != stripes.len() {
            return Err(unexpected("GET"));
        }
        for (stripe, found) in stripes.iter().zip(&mut found) {
            let Value::ServerError(reply) = found else { continue };
            let line = format!("-{} {}", reply.code(), reply.details().unwrap_or_default());
            let asked = self.parts[place].subscription.address();
            *found = match Redirect::of(line.as_bytes(), asked) {
                Some(Redirect::Ask(next)) => self.ask_next(&next, &name(*stripe)).await?,
                Some(Redirect::Moved(_)) => return Err(moved()),
                _ => return Err(refusal::from_reply(reply)),
            };
        }
        Ok(found)
    }

    /// What is under a name that the present server of its slot has no more, or never had.
    async fn ask_next(&mut self, next: &Address, name: &[u8]) -> Result<Value> {
        let part = self.parts.iter_mut().find(|part| part.subscription.address() == next);
        // One that tells us of nothing.
        let Some(part) = part else { return Err(moved()) };
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").cmd("GET").arg(name);
        match part.subscription.all(&pipeline).await?.pop() {
            Some(Value::ServerError(reply)) => Err(refusal::from_reply(&reply)),
            Some(value) => Ok(value),
            None => Err(unexpected("GET")),
        }
    }

    /// Which changes made the records of these keys that the servers have now, each `None` where
    /// there is none.
    pub(super) async fn look(
        &mut self,
        prefix: &str,
        keys: &[&[u8]],
        limit: Duration,
    ) -> Result<Vec<Option<u64>>> {
        let mut changes = vec![None; keys.len()];
        for (place, part) in self.parts.iter_mut().enumerate() {
            let of_part = |key: &&[u8]| self.of_stripe[key::group(key)] == place;
            let indices: Vec<usize> =
                (0..keys.len()).filter(|index| of_part(&keys[*index])).collect();
            for indices in indices.chunks(LOOKS_AT_ONCE) {
                let mut pipeline = redis::pipe();
                for index in indices {
                    let names = Names::of(prefix, keys[*index]);
                    pipeline.cmd("GETRANGE").arg(names.data).arg(0).arg(envelope::START_BYTES - 1);
                }
                let sent = timeout(limit, part.subscription.all(&pipeline));
                let replies = sent.await.map_err(|_| no_answer(limit))??;
                for (index, reply) in indices.iter().zip(replies) {
                    changes[*index] = match reply {
                        Value::BulkString(start) => envelope::change_of(&start),
                        // Of another type, refused, or elsewhere: it is none of ours.
                        _ => None,
                    };
                }
            }
        }
        Ok(changes)
    }
}

impl Part {
    /// The answer to a command; nothing where the server refuses it.
    async fn say(&mut self, command: &redis::Cmd) -> Result<Value> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(command.clone());
        match self.subscription.all(&pipeline).await?.pop() {
            Some(Value::ServerError(reply)) => {
                let line = format!("-{} {}", reply.code(), reply.details().unwrap_or_default());
                match Redirect::of(line.as_bytes(), self.subscription.address()) {
                    Some(_) => Err(moved()),
                    None => Ok(Value::Nil),
                }
            }
            Some(value) => Ok(value),
            None => Err(unexpected("HMGET")),
        }
    }
}

fn moved() -> Error {
    error(ErrorKind::Network, "a slot of the cluster has moved")
}
