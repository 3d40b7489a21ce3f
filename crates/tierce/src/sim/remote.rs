//! L3 as one process reaches it: the way to the simulated server, on which requests and replies
//! take time and are lost.

use std::{
    fmt, panic,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    draws::Draws,
    schedule::{At, Gone, is_worker, lock},
    server::{Change, Done, Server, tags_of},
    tale,
    world::{READ_TIMEOUT, WRITE_TIMEOUT, World},
};
use crate::{
    Error, ErrorKind, RedisStatistics, Result, TierKind,
    codec::Format,
    simulated::{self, Fault},
    tag_cells::{CellChange, KnownBelow, Tags, Verdict},
    tier::{
        ChangeListener, Expected, Fill, Found, Record, RemoteTier, TagsRaised, Tier, Token, Touch,
        Usage, Written,
    },
};

/// The simulated server as a tier of one process.
pub(super) struct SimulatedRemote {
    world: Weak<World>,
    number: usize,
    host: usize,
    is_closed: AtomicBool,
    /// The process was killed.
    is_gone: AtomicBool,
}

/// What becomes of a call, by the draws.
#[derive(Debug)]
enum Fate {
    /// The answer comes after so many milliseconds on the way there and back.
    Answered { there: u64, back: u64 },
    /// The request is lost; a change may lie in a buffer until so long after it was sent.
    Lost { late: Option<u64> },
    /// The change takes effect, and nobody says so.
    AnswerLost { there: u64 },
    /// No connection.
    Refused,
    /// The server does not take it.
    Full,
}

impl SimulatedRemote {
    pub(super) fn new(world: &Arc<World>, number: usize, host: usize) -> Self {
        let [is_closed, is_gone] = [(); 2].map(|()| AtomicBool::new(false));
        Self { world: Arc::downgrade(world), number, host, is_closed, is_gone }
    }

    /// The process is gone, without a word.
    pub(super) fn vanish(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
        self.is_closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn world(&self) -> Result<Arc<World>> {
        match self.world.upgrade() {
            Some(world) if !self.is_closed() => Ok(world),
            _ => Err(failed(ErrorKind::Closed, "the tier was closed")),
        }
    }

    /// Sends what has no effect, and returns what the server answers.
    fn ask<R>(&self, ask: impl FnOnce(&mut Server, At, &mut Draws) -> R) -> Result<R> {
        self.send(READ_TIMEOUT, None, |server, now, draws, _| ask(server, now, draws))
    }

    fn write_over(
        &self,
        key: &[u8],
        record: &Record,
        over: Option<Option<Expected>>,
    ) -> Result<Written> {
        let not_after = self.world()?.now().millis + WRITE_TIMEOUT;
        let (key, mut record) = (key.to_vec(), record.clone());
        if tags_of(&record).is_some_and(|tags| tags.below.is_none()) {
            let known = self.tags_known()?;
            let extras = record.extras.as_mut().map(Arc::make_mut);
            if let Some(tags) = extras.and_then(|extras| extras.tags.as_mut()) {
                tags.below = Some(known);
            }
        }
        match self.change(Change::Write { key, record, not_after, over })? {
            Done::Changed(stamp) => Ok(Written::Done(stamp)),
            Done::Otherwise => Ok(Written::Otherwise),
            _ => Err(failed(ErrorKind::Timeout, "write came to the server after its deadline")),
        }
    }

    /// What its tags leave of a record that was read, as they are from then on; and up to which change
    /// of tags that is.
    fn judged(&self, record: Record) -> Result<(Option<Record>, Option<KnownBelow>)> {
        let Some(tags) = tags_of(&record) else { return Ok((Some(record), None)) };
        let (verdict, known) =
            self.ask(|server, _, _| (server.verdict(tags), server.tags_now()))?;
        let record = match verdict {
            _ if simulated::is_planted(Fault::TagsUnjudgedBelow) => Some(record),
            Verdict::Current => Some(record),
            Verdict::Removed => None,
            Verdict::Expired => {
                let ttl = record.ttl.filter(|_| !record.stale.is_zero());
                ttl.map(|ttl| Record { stale: ttl, ..record })
            }
        };
        Ok((record, known))
    }

    fn change(&self, change: Change) -> Result<Done> {
        self.send(WRITE_TIMEOUT, Some(change), |server, now, draws, change| {
            change.map_or(Done::Late, |change| server.apply(change, now, draws))
        })
    }

    fn send<R>(
        &self,
        timeout: u64,
        change: Option<Change>,
        ask: impl FnOnce(&mut Server, At, &mut Draws, Option<Change>) -> R,
    ) -> Result<R> {
        simulated::point();
        let world = self.world()?;
        let begin = world.now().millis;
        let deadline = begin + timeout;
        let link = lock(&world.links)[self.host];
        let rate = world.faults();
        let is_write = matches!(change, Some(Change::Write { .. }));
        let slowness = world.settings.slowness;
        // What comes to a key while its value is sent is what histories behind L3 are about.
        let ways = if world.settings.behind.is_some() { 3 } else { 8 };
        let fate = world.schedule.draw(|draws| {
            if link.down_until > begin {
                return if link.refuses { Fate::Refused } else { Fate::Lost { late: None } };
            }
            if draws.chance(rate) {
                return match draws.below(6) {
                    0 => Fate::Lost { late: None },
                    1 | 2 => Fate::Lost { late: Some(draws.within(0, timeout)) },
                    3 => Fate::Refused,
                    4 if change.is_some() => Fate::Full,
                    _ => Fate::AnswerLost { there: draws.within(0, 3) },
                };
            }
            let way = |draws: &mut Draws| match draws.below(ways) {
                0 => draws.within(0, 2),
                1 => draws.within(0, slowness.min(30)),
                _ => 0,
            };
            Fate::Answered { there: way(draws), back: way(draws) }
        });
        if !matches!(fate, Fate::Answered { .. }) {
            let what = change.as_ref();
            world.note(self.number, || {
                let what = what.map_or("a question".to_owned(), |what| format!("{what:?}"));
                format!("asks the server: {fate:?}: {what}")
            });
        }
        let no_answer = || failed(ErrorKind::Timeout, "no answer in time");
        match fate {
            Fate::Refused => Err(failed(ErrorKind::Network, "connection refused")),
            Fate::Lost { late } => {
                if let (Some(late), Some(change)) = (late, change) {
                    lock(&world.server).buffer(begin + late, change);
                }
                world.sleep_until(deadline);
                Err(no_answer())
            }
            Fate::Full => {
                if let (true, Some(Change::Write { key, .. })) = (is_write, &change) {
                    world.at_server(|server, now, draws| server.refuse(key, now, draws));
                }
                simulated::point();
                Err(failed(ErrorKind::Full, "the server has no room"))
            }
            Fate::AnswerLost { there } => {
                world.sleep(there);
                world.at_server(|server, now, draws| ask(server, now, draws, change));
                world.sleep_until(deadline);
                Err(no_answer())
            }
            Fate::Answered { there, back } => {
                if there > 0 {
                    world.sleep(there);
                }
                let answer = world.at_server(|server, now, draws| ask(server, now, draws, change));
                if back > 0 {
                    world.sleep(back);
                }
                simulated::point();
                // A thread that stood still finds the answer, and that it came in time.
                Ok(answer)
            }
        }
    }
}

fn failed(kind: ErrorKind, what: &'static str) -> Error {
    Error::new(kind, what).in_tier(TierKind::Redis)
}

impl RemoteTier for SimulatedRemote {
    fn read(&self, key: &[u8]) -> Result<Found> {
        // The commands of one piece: the server may do something for others between any two.
        let token = self.ask(|server, _, draws| server.token(key, draws))?;
        simulated::point();
        let world = self.world()?;
        let record =
            world.at_server(|server, now, _| server.record_under(key, token.words[1], now));
        let seen = record.as_ref().map_or(0, |record| record.change);
        let token = Token { seen, ..token };
        let record = record.filter(|record| record.format != Format::Oversized);
        simulated::point();
        let (record, tags) = record.map_or(Ok((None, None)), |record| self.judged(record))?;
        Ok(Found { record, token: Some(token), tags, word_ttl: None })
    }

    fn read_many(&self, keys: &[&[u8]], _keeps: bool) -> Result<Vec<Option<Record>>> {
        let found: Vec<Option<Record>> =
            self.ask(|server, now, _| keys.iter().map(|key| server.record(key, now)).collect())?;
        let judged = |record: Option<Record>| {
            let record = record.filter(|record| record.format != Format::Oversized);
            let judged = record.map_or(Ok((None, None)), |record| self.judged(record));
            judged.map(|(record, _)| record)
        };
        found.into_iter().map(judged).collect()
    }

    fn tags_known(&self) -> Result<KnownBelow> {
        self.ask(|server, now, draws| server.tags_known(now, draws))
    }

    fn raise_tags(&self, cells: &[CellChange]) -> Result<TagsRaised> {
        match self.change(Change::RaiseTags { cells: cells.to_vec() })? {
            Done::Raised(raised) => Ok(raised),
            _ => Err(failed(ErrorKind::Corrupt, "an answer that fits no raise")),
        }
    }

    fn judge(&self, tags: &Tags) -> Result<Verdict> {
        self.ask(|server, _, _| server.verdict(tags))
    }

    fn fill(&self, key: &[u8], record: &Record, token: Token) -> Result<Fill> {
        if tags_of(record).is_some_and(|tags| tags.below.is_none()) {
            return Ok(Fill::Dropped);
        }
        let change = Change::Fill { key: key.to_vec(), record: record.clone(), token };
        match self.change(change) {
            Ok(Done::Filled(fill)) => Ok(fill),
            Ok(_) => Ok(Fill::Dropped),
            Err(error) if error.kind() == ErrorKind::Full => Ok(Fill::Dropped),
            Err(error) => Err(error),
        }
    }

    fn delete(&self, key: &[u8]) -> Result<Option<u64>> {
        match self.change(Change::Delete { key: key.to_vec(), is_verb: true })? {
            Done::Changed(stamp) => Ok(stamp),
            _ => Ok(None),
        }
    }

    fn write(&self, key: &[u8], record: &Record) -> Result<Option<u64>> {
        let world = self.world()?;
        let begin = world.now().millis;
        let written = self.write_over(key, record, None);
        if let Some(value) = tale::number(&record.value).filter(|_| world.settings.behind.is_some())
        {
            lock(&world.tale).sends.push((value, world.now().millis - begin));
        }
        if self.is_gone.load(Ordering::Relaxed) && is_worker() {
            // Whoever sends what waits does nothing more, not even with an answer.
            panic::resume_unwind(Box::new(Gone));
        }
        match written? {
            Written::Done(stamp) => Ok(stamp),
            Written::Otherwise => Err(failed(ErrorKind::Corrupt, "an answer that fits no write")),
        }
    }

    fn write_if(&self, key: &[u8], record: &Record, expected: Option<Expected>) -> Result<Written> {
        self.write_over(key, record, Some(expected))
    }

    fn expire(&self, key: &[u8]) -> Result<Option<u64>> {
        match self.change(Change::Expire { key: key.to_vec() })? {
            Done::Changed(stamp) => Ok(stamp),
            _ => Ok(None),
        }
    }

    fn touch(&self, key: &[u8], fresh: Option<Duration>) -> Result<Touch> {
        match self.change(Change::Touch { key: key.to_vec(), fresh })? {
            Done::Changed(stamp) => Ok(Touch::Done(stamp)),
            Done::ChangedWord(stamp) => Ok(Touch::Oversized(stamp)),
            _ => Ok(Touch::Absent),
        }
    }

    fn clear_group(&self, group: usize) -> Result<()> {
        self.change(Change::Clear { group: Some(group) }).map(|_| ())
    }

    fn statistics(&self) -> RedisStatistics {
        RedisStatistics::default()
    }

    fn listen(&self, listener: Weak<dyn ChangeListener>) -> Result<()> {
        self.world()?.listen(self.number, self.host, listener);
        Ok(())
    }
}

impl Tier for SimulatedRemote {
    fn remove(&self, key: &[u8]) -> Result<()> {
        self.change(Change::Delete { key: key.to_vec(), is_verb: false }).map(|_| ())
    }

    fn clear(&self) -> Result<()> {
        self.change(Change::Clear { group: None }).map(|_| ())
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        if let Some(world) = self.world.upgrade() {
            world.stop_listening(self.number);
        }
    }
}

impl fmt::Debug for SimulatedRemote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimulatedRemote").field("process", &self.number).finish_non_exhaustive()
    }
}
