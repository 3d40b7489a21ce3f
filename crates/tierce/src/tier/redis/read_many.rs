//! What a read of many keys asks the server, and what it makes of the answer.
//!
//! One command has all that must be of one moment: the server does an MGET alone.
//!
//! ```text
//!   1  MGET epochs [reigns] stamps data   of all stripes of the keys, each once; where the epochs are
//!                                         known, their edition in their stead (`epochs.rs`)
//!   2  PTTL data                 a command for each key
//!   3  MGET stamps               again
//! ```
//!
//! - A record counts if it was written under the epoch that its stripe had at the moment of 1.
//! - A stripe with the stamp of 1 in 3 had no change of a key between: the time to live of 2 is that
//!   of the record of 1. What may have been replaced meanwhile is kept for [`MOMENT`] at most; one
//!   with a stale part so counts as stale.
//! - Where nothing is to be kept, the stamps, 2 and 3 are left out: a PTTL costs the server more
//!   than the value itself. What is stale from some time on is then asked for once more, with its
//!   time.
//!
//! There is no token, since nothing is fetched from below; so a counter that is not there need not
//! be started, and what it guards is a miss.
//!
//! MGET takes no bound on the size of what it answers, so the reader of replies leaves out what is
//! too long or has no room (`reply.rs`). What had no room is asked for again, and fewer keys at
//! once from then on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    RedisTier,
    call::{Answer, Call, Under},
    counters::Counters,
    epochs::Edition,
    link::unexpected,
    names,
    read::{NO_SUCH_KEY, announce, doubt, pack, random_start},
    record::record_of,
    replies::{self, Replies},
    reply::{self, Element},
    request::Work,
};
use crate::{
    codec::{
        Format,
        envelope::{Doubt, Opened},
    },
    error::Result,
    key,
    tier::{Record, redis::names::STRIPES},
};

/// How many keys are asked for at once, where all that is found fits into a reply.
pub(super) const MOST_KEYS: usize = 1_000;

/// So many bytes of keys are asked for at once, or a key of any size.
const MOST_KEY_BYTES: usize = 1 << 20;

/// How long a record is kept of which the time to live may be another's.
const MOMENT: Duration = Duration::from_millis(1);

/// The stripes of some keys.
struct Stripes {
    /// In the order in which their counters are asked for.
    all: Vec<usize>,
    /// Where in `all` the stripe of each key is.
    of_keys: Vec<usize>,
}

impl Stripes {
    fn of(keys: &[&[u8]]) -> Self {
        let mut places = [usize::MAX; STRIPES];
        let mut all = Vec::new();
        let of_keys = keys.iter().map(|key| {
            let stripe = key::group(key);
            if places[stripe] == usize::MAX {
                places[stripe] = all.len();
                all.push(stripe);
            }
            places[stripe]
        });
        let of_keys = of_keys.collect();
        Self { all, of_keys }
    }
}

/// How the epochs of stripes are learnt.
enum AskEpochs {
    /// Those of the stripes of the keys are asked for.
    OfKeys,
    /// Their edition is asked for: they are known if it is this one.
    Edition(Arc<Edition>),
    /// The edition, which begins if there is none, and the epochs of all stripes.
    All,
}

impl AskEpochs {
    /// How many counters are asked for.
    fn counters(&self, stripes: &Stripes) -> usize {
        match self {
            Self::OfKeys => stripes.all.len(),
            Self::Edition(_) => 1,
            Self::All => 1 + STRIPES,
        }
    }

    /// Which of the replies has the records.
    fn first(&self) -> usize {
        usize::from(matches!(self, Self::All))
    }
}

/// What is asked about some keys.
struct Question<'a> {
    keys: &'a [&'a [u8]],
    stripes: &'a Stripes,
    epochs: AskEpochs,
    keeps: bool,
    has_reigns: bool,
}

/// What became of one key.
enum Outcome {
    /// Its record, or none that counts.
    Read(Option<Record>),
    /// There was no room for it.
    LeftOut,
    /// Its record is stale from some time on, and its time was not asked for.
    Untimed,
}

/// While it lives, strings may be left out of replies.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn begin(counter: &'a AtomicUsize) -> Self {
        // Before the question leaves, and so before any answer to it comes.
        counter.fetch_add(1, Ordering::AcqRel);
        Self(counter)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl RedisTier {
    /// See [`RemoteTier::read_many`](crate::tier::RemoteTier::read_many).
    pub(super) fn find_many(&self, keys: &[&[u8]], keeps: bool) -> Result<Vec<Option<Record>>> {
        let call = self.read_call()?;
        let mut records = self.stored_many(&call, keys, keeps)?;
        // After all records.
        self.judge_records(&call, records.iter_mut())?;
        Ok(records)
    }

    fn stored_many(
        &self,
        call: &Call<'_>,
        keys: &[&[u8]],
        keeps: bool,
    ) -> Result<Vec<Option<Record>>> {
        let mut records = vec![None; keys.len()];
        let mut left: Vec<usize> = (0..keys.len()).collect();
        let mut untimed = Vec::new();
        let (mut was_full, mut was_too_much) = (false, false);
        while !left.is_empty() {
            let at_once = self.keys_at_once.load(Ordering::Relaxed);
            let mut bytes = 0;
            let fits = left.iter().take(at_once).take_while(|index| {
                bytes += keys[**index].len();
                bytes <= MOST_KEY_BYTES
            });
            let fits = fits.count().max(1);
            let rest = left.split_off(fits);
            let asked: Vec<&[u8]> = left.iter().map(|index| keys[*index]).collect();
            let mut left_out = Vec::new();
            for (index, outcome) in left.iter().zip(self.ask_many(call, &asked, keeps)?) {
                match outcome {
                    Outcome::Read(record) => records[*index] = record,
                    Outcome::LeftOut => left_out.push(*index),
                    Outcome::Untimed => untimed.push(*index),
                }
            }
            let read = fits - left_out.len();
            if read == 0 {
                // There is room for one of any size that is allowed.
                return Err(unexpected());
            }
            if read < fits {
                self.keys_at_once.store(read, Ordering::Relaxed);
                was_too_much = true;
            }
            was_full |= fits == at_once;
            left = left_out;
            left.extend(rest);
        }
        if was_full && !was_too_much {
            // The values of the next call may be smaller.
            let at_once = self.keys_at_once.load(Ordering::Relaxed);
            self.keys_at_once.store((2 * at_once).min(MOST_KEYS), Ordering::Relaxed);
        }
        if !untimed.is_empty() {
            let asked: Vec<&[u8]> = untimed.iter().map(|index| keys[*index]).collect();
            for (index, record) in untimed.iter().zip(self.stored_many(call, &asked, true)?) {
                records[*index] = record;
            }
        }
        Ok(records)
    }

    /// One round trip; in a cluster one to each node.
    fn ask_many(&self, call: &Call<'_>, keys: &[&[u8]], keeps: bool) -> Result<Vec<Outcome>> {
        let stripes = Stripes::of(keys);
        let mut void = Vec::new();
        let place = &self.common.settings.place;
        let outcomes = if place.is_cluster() {
            self.ask_by_stripe(call, keys, &stripes, keeps, &mut void)?
        } else if place.may_change() {
            let question = self.question(keys, &stripes, AskEpochs::OfKeys, keeps);
            self.ask_server(call, &question, &mut void)?.ok_or_else(unexpected)?
        } else {
            let known = self.epochs.edition().map(AskEpochs::Edition);
            let question = |epochs| self.question(keys, &stripes, epochs, keeps);
            let first = question(known.unwrap_or(AskEpochs::All));
            match self.ask_server(call, &first, &mut void)? {
                Some(outcomes) => outcomes,
                // An epoch was changed since.
                None => {
                    let all = question(AskEpochs::All);
                    self.ask_server(call, &all, &mut void)?.ok_or_else(unexpected)?
                }
            }
        };
        if !void.is_empty() {
            // Those are misses here in any case; who reads next tries again.
            _ = self.begin_reigns(call, &void);
        }
        Ok(outcomes)
    }

    /// Asks the one server; `None` where the edition is not the one that is known.
    fn ask_server(
        &self,
        call: &Call<'_>,
        question: &Question<'_>,
        void: &mut Vec<usize>,
    ) -> Result<Option<Vec<Outcome>>> {
        let answer = {
            let _under_way = UnderWay::begin(&self.common.counters.many_under_way);
            let stripe = question.stripes.all.first().copied().unwrap_or(0);
            call.answer(stripe, &|_| Ok(question.pack(&self.common.settings.prefix)))?
        };
        self.outcomes(&answer, question, void)
    }

    /// The names of one command must lie in one slot of a cluster. What a node does not answer is a
    /// miss, as long as another one does.
    fn ask_by_stripe(
        &self,
        call: &Call<'_>,
        keys: &[&[u8]],
        stripes: &Stripes,
        keeps: bool,
        void: &mut Vec<usize>,
    ) -> Result<Vec<Outcome>> {
        let mut places = vec![Vec::new(); stripes.all.len()];
        for (index, place) in stripes.of_keys.iter().enumerate() {
            places[*place].push(index);
        }
        let parts: Vec<(Vec<&[u8]>, Stripes)> = places
            .iter()
            .map(|indices| {
                let keys: Vec<&[u8]> = indices.iter().map(|index| keys[*index]).collect();
                let stripes = Stripes::of(&keys);
                (keys, stripes)
            })
            .collect();
        let answers = {
            let _under_way = UnderWay::begin(&self.common.counters.many_under_way);
            call.answers(&stripes.all, &|_, stripe, bytes, _| {
                let place = stripes.all.iter().position(|other| *other == stripe).unwrap_or(0);
                let (keys, stripes) = &parts[place];
                let question = self.question(keys, stripes, AskEpochs::OfKeys, keeps);
                let (question, commands) = question.pack(&self.common.settings.prefix).pack();
                bytes.extend_from_slice(&question);
                commands
            })
        };
        let mut all: Vec<Outcome> = keys.iter().map(|_| Outcome::Read(None)).collect();
        let (mut failure, mut has_answer) = (None, false);
        for ((answer, indices), (keys, stripes)) in answers.into_iter().zip(&places).zip(&parts) {
            let question = self.question(keys, stripes, AskEpochs::OfKeys, keeps);
            let outcomes = answer
                .and_then(|answer| self.outcomes(&answer, &question, void)?.ok_or_else(unexpected));
            match outcomes {
                Err(error) => failure = Some(error),
                Ok(outcomes) => {
                    has_answer = true;
                    for (index, outcome) in indices.iter().zip(outcomes) {
                        all[*index] = outcome;
                    }
                }
            }
        }
        match failure {
            Some(error) if !has_answer => Err(error),
            _ => Ok(all),
        }
    }

    fn question<'a>(
        &self,
        keys: &'a [&'a [u8]],
        stripes: &'a Stripes,
        epochs: AskEpochs,
        keeps: bool,
    ) -> Question<'a> {
        let has_reigns = self.common.settings.place.may_change();
        Question { keys, stripes, epochs, keeps, has_reigns }
    }

    /// What became of keys by the answer to a question; adds the stripes that are under another
    /// reign to `void`. `None` where the edition is not the one that is known.
    fn outcomes(
        &self,
        answer: &Answer<'_>,
        question: &Question<'_>,
        void: &mut Vec<usize>,
    ) -> Result<Option<Vec<Outcome>>> {
        let Question { keys, stripes, epochs: asked, keeps, has_reigns } = question;
        let place = asked.first();
        let first = answer.replies.get(place).ok_or_else(unexpected)?;
        let count_of_stripes = stripes.all.len();
        let of_epochs = asked.counters(stripes);
        let kinds = usize::from(*has_reigns) + usize::from(*keeps);
        let counters = of_epochs + kinds * count_of_stripes;
        let tallies = &self.common.counters;
        let found = reply::as_strings(first, counters + keys.len());
        let found = found.ok_or_else(|| doubt(tallies, first))?;
        let (counters, data) = found.split_at(counters);
        let (epochs, counters) = counters.split_at(of_epochs);
        let Some(epochs) = self.epochs_of(asked, stripes, epochs) else { return Ok(None) };
        let (reigns, stamps) = counters.split_at(if *has_reigns { count_of_stripes } else { 0 });
        // What lies under another reign is void.
        let is_void: Vec<bool> = match &answer.under {
            Under::Nobody => vec![false; count_of_stripes],
            Under::Unknown => vec![true; count_of_stripes],
            Under::Reign(reign) => {
                let is_own = |found: &Element<'_>| match found {
                    Element::String(name) => *name == reign.name(),
                    _ => false,
                };
                let others = reigns.iter().map(|found| !is_own(found));
                let is_void: Vec<bool> = others.collect();
                let all = stripes.all.iter().zip(&is_void);
                void.extend(all.filter(|(_, is_void)| **is_void).map(|(stripe, _)| *stripe));
                is_void
            }
        };
        let times = match keeps {
            true => Some(Times::read(tallies, &answer.replies, place, stamps, keys.len())?),
            false => None,
        };
        let outcomes = data.iter().enumerate().map(|(index, data)| {
            let stripe = stripes.of_keys[index];
            if is_void[stripe] {
                return Outcome::Read(None);
            }
            let stored = match data {
                Element::String(stored) => *stored,
                Element::Nil => return Outcome::Read(None),
                Element::Full => return Outcome::LeftOut,
                Element::Long => {
                    self.common.counters.count_doubt(Doubt::Size);
                    return Outcome::Read(None);
                }
            };
            let ttl = times.as_ref().map_or(Some(None), |times| times.of(index, stripe));
            let opened = self.opened(stored, keys[index]);
            if times.is_none() && opened.as_ref().is_some_and(may_be_stale) {
                return Outcome::Untimed;
            }
            let record = opened.and_then(|opened| {
                let epoch = opened.epoch;
                // Without a time it is gone by now.
                if opened.format == Format::Oversized {
                    return None;
                }
                let record = record_of(opened, ttl?);
                let is_live = record.ttl != Some(Duration::ZERO);
                (is_live && Some(epoch) == epochs[stripe]).then_some(record)
            });
            Outcome::Read(record)
        });
        Ok(Some(outcomes.collect()))
    }

    /// The epochs of the stripes of the keys; `None` where the edition is not the one that is known.
    fn epochs_of(
        &self,
        asked: &AskEpochs,
        stripes: &Stripes,
        found: &[Element<'_>],
    ) -> Option<Vec<Option<u64>>> {
        let of_keys = |all: &[Option<u64>]| stripes.all.iter().map(|stripe| all[*stripe]).collect();
        match asked {
            AskEpochs::OfKeys => Some(found.iter().map(counter).collect()),
            AskEpochs::Edition(known) => {
                (counter(&found[0]) == Some(known.number)).then(|| of_keys(&known.epochs))
            }
            AskEpochs::All => {
                let all: Vec<_> = found[1..].iter().map(counter).collect();
                self.epochs.learn(counter(&found[0]), &all);
                Some(of_keys(&all))
            }
        }
    }
}

fn may_be_stale(opened: &Opened) -> bool {
    opened.is_expired || opened.aside.stale_millis > 0
}

/// Times to live, and whether they are those of what was found.
struct Times {
    of_keys: Vec<i64>,
    /// Whether a stripe had no change while they were asked for.
    are_sure: Vec<bool>,
}

impl Times {
    fn read(
        tallies: &Counters,
        replies: &Replies,
        place: usize,
        stamps: &[Element<'_>],
        keys: usize,
    ) -> Result<Self> {
        // Behind that with the records.
        let first = place + 1;
        if replies.len() != first + keys + 1 {
            return Err(unexpected());
        }
        let last = replies.get(first + keys).ok_or_else(unexpected)?;
        let time = |reply: &[u8]| reply::as_integer(reply).ok_or_else(|| doubt(tallies, reply));
        let of_keys = replies.iter().skip(first).take(keys).map(time).collect::<Result<_>>()?;
        let again = reply::as_strings(last, stamps.len()).ok_or_else(|| doubt(tallies, last))?;
        let are_sure = stamps.iter().zip(&again).map(|(before, after)| {
            let before = counter(before);
            before.is_some() && before == counter(after)
        });
        Ok(Self { of_keys, are_sure: are_sure.collect() })
    }

    /// The time to live of what was found for a key of a stripe; `None` where it is over.
    fn of(&self, index: usize, stripe: usize) -> Option<Option<Duration>> {
        let pttl = self.of_keys[index];
        if matches!(pttl, NO_SUCH_KEY | 0) {
            return None;
        }
        let ttl = u64::try_from(pttl).ok().map(Duration::from_millis);
        if self.are_sure[stripe] { Some(ttl) } else { Some(Some(MOMENT)) }
    }
}

fn counter(element: &Element<'_>) -> Option<u64> {
    match element {
        Element::String(digits) => names::parse_counter(digits),
        _ => None,
    }
}

impl Question<'_> {
    /// Written at once, without a name of its own for each of them.
    fn pack(&self, prefix: &str) -> Work {
        let Self { keys, stripes, epochs, keeps, has_reigns } = self;
        let mut bytes = replies::room();
        let name_bytes = names::length(prefix);
        let name = |bytes: &mut Vec<u8>, letter, stripe| {
            announce(bytes, b'$', name_bytes);
            names::push(bytes, prefix, letter, stripe);
            bytes.extend_from_slice(b"\r\n");
        };
        let data = |bytes: &mut Vec<u8>, index: usize| {
            let key = keys[index];
            announce(bytes, b'$', name_bytes + 1 + key.len());
            names::push(bytes, prefix, b'k', stripes.all[stripes.of_keys[index]]);
            bytes.push(b':');
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(b"\r\n");
        };
        let begin = |bytes: &mut Vec<u8>, words: usize, command: &[u8]| {
            announce(bytes, b'*', words);
            announce(bytes, b'$', command.len());
            bytes.extend_from_slice(command);
            bytes.extend_from_slice(b"\r\n");
        };
        let each = |bytes: &mut Vec<u8>, letter| {
            stripes.all.iter().for_each(|stripe| name(bytes, letter, *stripe));
        };
        if matches!(epochs, AskEpochs::All) {
            pack(&mut bytes, &[b"SET", &names::edition(prefix), &random_start(), b"NX"]);
        }
        let kinds = usize::from(*has_reigns) + usize::from(*keeps);
        let of_epochs = epochs.counters(stripes);
        begin(&mut bytes, 1 + of_epochs + kinds * stripes.all.len() + keys.len(), b"MGET");
        match epochs {
            AskEpochs::OfKeys => each(&mut bytes, b'e'),
            AskEpochs::Edition(_) => name(&mut bytes, b'v', super::epochs::STRIPE),
            AskEpochs::All => {
                name(&mut bytes, b'v', super::epochs::STRIPE);
                (0..STRIPES).for_each(|stripe| name(&mut bytes, b'e', stripe));
            }
        }
        if *has_reigns {
            each(&mut bytes, b'r');
        }
        if *keeps {
            each(&mut bytes, b's');
        }
        (0..keys.len()).for_each(|index| data(&mut bytes, index));
        if !*keeps {
            return Work::Packed(bytes, epochs.first() + 1);
        }
        for index in 0..keys.len() {
            begin(&mut bytes, 2, b"PTTL");
            data(&mut bytes, index);
        }
        begin(&mut bytes, 1 + stripes.all.len(), b"MGET");
        each(&mut bytes, b's');
        Work::Packed(bytes, epochs.first() + 1 + keys.len() + 1)
    }
}

#[cfg(test)]
#[path = "read_many_tests.rs"]
mod tests;
