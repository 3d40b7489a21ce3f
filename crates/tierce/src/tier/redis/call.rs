//! One call of the tier: its round trips, which share one deadline, each by whoever has the stripe.
//!
//! In a cluster a node may say that another one has the slot (`cluster/redirect.rs`). Then the same
//! is asked there, so what is sent is made anew for each link: a write carries its deadline by the
//! clock of the server that it is sent to.

use std::{
    ops::Deref,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use redis::Value;

use super::{
    cluster::{Cluster, Redirect},
    counters::count,
    keeper::replaced,
    link::{Common, Link, unexpected},
    names::STRIPES,
    refusal::{RedisRefusal, error},
    reign::Reign,
    replies::Replies,
    reply,
    request::Work,
    scripts::Script,
};
use crate::error::{Error, ErrorKind, Result};

/// How often a call follows nodes that name others, or waits for a slot that is being moved.
const MOST_ATTEMPTS: u32 = 7;

/// The first wait for names that are being moved, a few at a time; doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(1);

/// The way of a process to the server, or to the masters of a cluster.
pub(super) enum Way {
    One(Link),
    Cluster(Cluster),
}

impl Way {
    /// # Errors
    /// [`ErrorKind::Io`] where the system has no thread or descriptor left.
    pub(super) fn start(common: &Arc<Common>) -> Result<Self> {
        if common.settings.place.is_cluster() {
            return Cluster::start(common).map(Self::Cluster);
        }
        Link::start(common).map(Self::One)
    }

    /// Why calls fail at once, or `None`.
    pub(super) fn down(&self) -> Option<Error> {
        match self {
            Self::One(link) => link.down(),
            Self::Cluster(cluster) => cluster.down(),
        }
    }

    /// The reign of the master of a stripe, where masters may change and it is known by now.
    pub(super) fn reign(&self, stripe: usize) -> Option<Reign> {
        match self {
            Self::One(link) => link.reign().1,
            Self::Cluster(cluster) => cluster.known_link(stripe)?.reign().1,
        }
    }

    /// Drops all connections; they are made anew at once.
    pub(super) fn reset(&self) {
        match self {
            Self::One(link) => link.reset(),
            Self::Cluster(cluster) => cluster.reset(),
        }
    }

    pub(super) fn stop(&self) {
        match self {
            Self::One(link) => link.stop(),
            Self::Cluster(cluster) => cluster.stop(),
        }
    }
}

/// A link while a call uses it.
#[derive(Clone)]
pub(super) enum Held<'a> {
    One(&'a Link),
    Node(Arc<Link>),
}

impl Deref for Held<'_> {
    type Target = Link;

    fn deref(&self) -> &Link {
        match self {
            Self::One(link) => link,
            Self::Node(link) => link,
        }
    }
}

/// Under which reign replies were given.
#[derive(Clone)]
pub(super) enum Under {
    /// Masters do not change here.
    Nobody,
    Reign(Reign),
    /// The first came from a node that is about to get the slot.
    Unknown,
}

/// Whole replies, and who gave them.
pub(super) struct Answer<'a> {
    pub(super) replies: Replies,
    pub(super) under: Under,
    pub(super) link: Held<'a>,
}

/// What is to be asked of a link.
pub(super) type Make<'m> = dyn Fn(&Link) -> Result<Work> + 'm;

/// What is to be asked about a stripe: appended as commands, of which it says the number. The last
/// argument is true for the first stripe of a link.
pub(super) type Append<'m> = dyn Fn(&Link, usize, &mut Vec<u8>, bool) -> usize + 'm;

/// All round trips of one call.
pub(super) struct Call<'a> {
    pub(super) common: &'a Common,
    pub(super) way: &'a Way,
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
}

impl<'a> Call<'a> {
    fn link(&self, stripe: usize) -> Result<Held<'a>> {
        match self.way {
            Way::One(link) => Ok(Held::One(link)),
            Way::Cluster(cluster) => {
                cluster.link(stripe, self.deadline, self.timeout).map(Held::Node)
            }
        }
    }

    /// Sends commands about a stripe and waits for their replies, whole as they came.
    pub(super) fn answer(&self, stripe: usize, make: &Make<'_>) -> Result<Answer<'a>> {
        match self.way {
            Way::One(_) => self.ask(self.link(stripe)?, make),
            Way::Cluster(cluster) => self.follow(cluster, stripe, make),
        }
    }

    /// The same for one command: its reply, and who gave it. An error reply is an error.
    pub(super) fn value(&self, stripe: usize, make: &Make<'_>) -> Result<(Value, Held<'a>)> {
        let Answer { replies, link, .. } = self.answer(stripe, make)?;
        let reply = replies.one().ok_or_else(unexpected)?;
        match reply::value(reply).map_err(|_| unexpected())? {
            Value::ServerError(reply) => Err(link.refused(&reply)),
            value => Ok((value, link)),
        }
    }

    /// Runs a script by its hash, or by its text where the server lacks it.
    pub(super) fn run(
        &self,
        stripe: usize,
        script: &Script,
        names: &[&[u8]],
        arguments: &dyn Fn(&Link) -> Result<Vec<Bytes>>,
    ) -> Result<(Value, Held<'a>)> {
        let run = |whole| {
            self.value(stripe, &|link| {
                Ok(Work::One(script.command(names, &arguments(link)?, whole)))
            })
        };
        match run(false) {
            Err(error) if error.cause() == Some(&RedisRefusal::NoScript) => run(true),
            outcome => outcome,
        }
    }

    /// The deadline as the clock of a server shows it, in milliseconds.
    pub(super) fn server_deadline(&self, link: &Link) -> Result<i64> {
        if let Some(deadline) = link.clock().at(self.deadline)
            && (!link.may_change() || link.reign().1.is_some())
        {
            return Ok(deadline);
        }
        // Its clock and its reign are asked for when the connection is made.
        link.replies(Work::One(redis::cmd("PING")), self.deadline, self.timeout)?;
        link.clock().at(self.deadline).ok_or_else(unexpected)
    }

    fn ask(&self, link: Held<'a>, make: &Make<'_>) -> Result<Answer<'a>> {
        let work = make(&link)?;
        let ask = |work| link.replies(work, self.deadline, self.timeout);
        if !self.common.settings.place.may_change() {
            let replies = ask(work)?;
            return Ok(Answer { replies, under: Under::Nobody, link });
        }
        let before = link.reign();
        let replies = ask(work)?;
        // Else it is not known which of two connections had the request.
        let reign = Reign::of_reply(before, link.reign()).ok_or_else(replaced)?;
        Ok(Answer { replies, under: Under::Reign(reign), link })
    }

    /// Asks the node that has the stripe, wherever it has gone.
    fn follow(&self, cluster: &'a Cluster, stripe: usize, make: &Make<'_>) -> Result<Answer<'a>> {
        let mut wait = FIRST_WAIT;
        for attempt in 0..MOST_ATTEMPTS {
            let link = self.link(stripe)?;
            let answer = self.ask_node(cluster, link, make)?;
            let redirect = match answer.link.node() {
                Some(node) => Redirect::among(answer.replies.iter(), node),
                None => None,
            };
            match redirect {
                None => return Ok(answer),
                Some(Redirect::Down) => {
                    cluster.want_survey();
                    return Ok(answer);
                }
                Some(Redirect::Moved(address)) => {
                    cluster.moved(stripe, &address);
                    if attempt == 0 {
                        continue;
                    }
                }
                Some(Redirect::Ask(address)) => {
                    let target = cluster.link_to(&address)?;
                    if let Some(answer) = self.ask_next(cluster, target, answer, make)? {
                        return Ok(answer);
                    }
                }
                Some(Redirect::TryAgain) => {}
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left < wait {
                break;
            }
            thread::sleep(wait);
            wait *= 2;
        }
        count(&self.common.counters.refusals);
        Err(error(ErrorKind::Network, "slot is being moved").caused_by(RedisRefusal::Down))
    }

    /// [`ask`](Self::ask), and has the nodes asked who serves what where it fails.
    fn ask_node(&self, cluster: &Cluster, link: Held<'a>, make: &Make<'_>) -> Result<Answer<'a>> {
        self.ask(link, make).map_err(|failure| match failure.kind() {
            // Given up while we asked: it is a master no more.
            ErrorKind::Closed if !cluster.is_closed() => replaced(),
            ErrorKind::Network | ErrorKind::Timeout | ErrorKind::Denied => {
                cluster.want_survey();
                failure
            }
            _ => failure,
        })
    }

    /// Asks the node that is about to get the slot for what the present one does not have (any more);
    /// `None` where that has no answer yet.
    fn ask_next(
        &self,
        cluster: &Cluster,
        target: Arc<Link>,
        first: Answer<'a>,
        make: &Make<'_>,
    ) -> Result<Option<Answer<'a>>> {
        let Some(node) = first.link.node() else { return Ok(None) };
        let is_elsewhere =
            |reply: &[u8]| matches!(Redirect::of(reply, node), Some(Redirect::Ask(_)));
        let elsewhere: Vec<bool> = first.replies.iter().map(is_elsewhere).collect();
        let (bytes, commands) = make(&target)?.pack();
        let parts = split(&bytes).filter(|parts| parts.len() == commands);
        let parts = parts.filter(|parts| parts.len() == elsewhere.len()).ok_or_else(unexpected)?;
        let mut asking = Vec::new();
        let mut count_of_commands = 0;
        for (part, _) in parts.iter().zip(&elsewhere).filter(|(_, is_elsewhere)| **is_elsewhere) {
            asking.extend_from_slice(b"*1\r\n$6\r\nASKING\r\n");
            asking.extend_from_slice(part);
            count_of_commands += 2;
        }
        let answer = self.ask_node(cluster, Held::Node(target), &|_| {
            Ok(Work::Packed(asking.clone(), count_of_commands))
        })?;
        let mut others = answer.replies.iter().skip(1).step_by(2);
        let of_either = first.replies.iter().zip(&elsewhere);
        let of_either = of_either
            .map(|(reply, is_elsewhere)| if *is_elsewhere { others.next() } else { Some(reply) });
        let replies = of_either.collect::<Option<Replies>>().ok_or_else(unexpected)?;
        if Redirect::among(replies.iter(), node).is_some() {
            return Ok(None);
        }
        let is_first = elsewhere.first() == Some(&true);
        let under = if is_first { Under::Unknown } else { first.under };
        let link = if is_first { answer.link } else { first.link };
        Ok(Some(Answer { replies, under, link }))
    }

    /// Asks about several stripes, all of a link in one round trip; an answer for each, in their
    /// order.
    pub(super) fn answers(
        &self,
        stripes: &[usize],
        append: &Append<'_>,
    ) -> Vec<Result<Answer<'a>>> {
        let mut outcomes: Vec<Option<Result<Answer<'a>>>> = stripes.iter().map(|_| None).collect();
        let mut groups: Vec<(Held<'a>, Vec<usize>)> = Vec::new();
        for (index, stripe) in stripes.iter().enumerate() {
            match self.link(*stripe) {
                Err(error) => outcomes[index] = Some(Err(error)),
                Ok(link) => {
                    match groups.iter_mut().find(|(other, _)| std::ptr::eq(&**other, &*link)) {
                        Some((_, group)) => group.push(index),
                        None => groups.push((link, vec![index])),
                    }
                }
            }
        }
        for (link, group) in groups {
            let group_stripes: Vec<usize> = group.iter().map(|index| stripes[*index]).collect();
            for (index, outcome) in group.iter().zip(self.answers_of(link, &group_stripes, append))
            {
                outcomes[*index] = Some(outcome);
            }
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(unexpected()))).collect()
    }

    fn answers_of(
        &self,
        link: Held<'a>,
        stripes: &[usize],
        append: &Append<'_>,
    ) -> Vec<Result<Answer<'a>>> {
        let (mut bytes, mut counts) = (Vec::new(), Vec::with_capacity(stripes.len()));
        for (number, stripe) in stripes.iter().enumerate() {
            counts.push(append(&link, *stripe, &mut bytes, number == 0));
        }
        let commands = counts.iter().sum();
        let asked_link = link.clone();
        let make = |_: &Link| Ok(Work::Packed(bytes.clone(), commands));
        let asked = match self.way {
            Way::One(_) => self.ask(link, &make),
            Way::Cluster(cluster) => self.ask_node(cluster, link, &make),
        };
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => return stripes.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut replies = answer.replies.iter();
        let each = stripes.iter().zip(counts).map(|(stripe, count)| {
            let replies: Replies = replies.by_ref().take(count).collect();
            let redirected = asked_link
                .node()
                .is_some_and(|node| Redirect::among(replies.iter(), node).is_some());
            if redirected {
                // It alone, wherever it has gone.
                return self.answer(*stripe, &|link| {
                    let mut bytes = Vec::new();
                    let commands = append(link, *stripe, &mut bytes, true);
                    Ok(Work::Packed(bytes, commands))
                });
            }
            Ok(Answer { replies, under: answer.under.clone(), link: asked_link.clone() })
        });
        each.collect()
    }

    /// Runs a script for each of some stripes; an error if one of them was not done.
    pub(super) fn run_for(
        &self,
        stripes: &[usize],
        script: &Script,
        names: &dyn Fn(usize) -> Vec<Vec<u8>>,
        arguments: &dyn Fn(&Link) -> Vec<Bytes>,
    ) -> Result<()> {
        let command = |link: &Link, stripe, whole| {
            let names = names(stripe);
            let names: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
            script.command(&names, &arguments(link), whole)
        };
        // The first brings the script's text, so the server has it for the others.
        let answers = self.answers(stripes, &|link, stripe, bytes, is_first| {
            command(link, stripe, is_first).write_packed_command(bytes);
            1
        });
        for answer in answers {
            let answer = answer?;
            let reply = answer.replies.one().ok_or_else(unexpected)?;
            match reply::value(reply).map_err(|_| unexpected())? {
                Value::Int(_) => {}
                Value::ServerError(reply) => return Err(answer.link.refused(&reply)),
                _ => return Err(unexpected()),
            }
        }
        Ok(())
    }
}

/// The commands in packed bytes, each an array of strings.
fn split(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut parts, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let begin = rest;
        let words = take_number(&mut rest, b'*')?;
        for _ in 0..words {
            let length = take_number(&mut rest, b'$')?;
            rest = rest.get(length.checked_add(2)?..)?;
        }
        parts.push(&begin[..begin.len() - rest.len()]);
    }
    Some(parts)
}

fn take_number(rest: &mut &[u8], kind: u8) -> Option<usize> {
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    let (line, after) = rest.split_at(end);
    let digits = line.strip_prefix(&[kind])?;
    *rest = after.strip_prefix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// All stripes.
pub(super) fn all_stripes() -> Vec<usize> {
    (0..STRIPES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_commands_are_told_apart_whatever_is_in_them() {
        let mut bytes = Vec::new();
        let mut parts = Vec::new();
        for word in [&b"PING"[..], b"", b"*1\r\n$4\r\nPING\r\n", b"\r\n"] {
            let part = redis::cmd("ECHO").arg(word).get_packed_command();
            bytes.extend_from_slice(&part);
            parts.push(part);
        }
        assert_eq!(split(&bytes).unwrap(), parts);
        assert_eq!(split(b""), Some(vec![]));
        for wrong in [&b"PING\r\n"[..], b"*1\r\n$9\r\nPING\r\n", b"*1\r\n", b"*x\r\n"] {
            assert_eq!(split(wrong), None);
        }
    }
}
