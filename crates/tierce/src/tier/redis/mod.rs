//! L3: Redis or Valkey, reached through one connection per cache and process.
//!
//! | file | answers |
//! |---|---|
//! | `options` | where the server is, how long we wait |
//! | `names` | what our keys are called there, which stripe they belong to |
//! | `epochs` | what a process knows of the epochs of stripes |
//! | `read`, `read_many` | what a read asks the server, of one key and of many |
//! | `write`, `fill` | what is set, and what was loaded, on its way there |
//! | `record` | what a record says beside its value |
//! | `scripts` | what runs inside the server |
//! | `touch` | another time to live for a record |
//! | `lease` | which host loads a key |
//! | `call` | one call: its round trips until one deadline, by whoever has the stripe |
//! | `cluster` | the masters of a cluster, and which has which stripe |
//! | `replicas`, `read_replica` | servers that are asked in a master's stead, and what counts of it |
//! | `link` | the way to one server, and which files it is made of |
//! | `tags` | what was changed by its tags, by whichever host |
//! | `rollout` | what hosts agree on while they move their caches together |
//! | `sentinel`, `reign` | which server is the master; what holds when it changes |
//! | `secure` | TLS |
//! | `subscriber`, `streams`, `subscription` | what other hosts change: the thread that hears of it, its connections, one of them |
//! | `news`, `channel` | the same by pub/sub: what is published and what was missed, and who hears it |
//! | `home` | which process a thread belongs to |
//! | `refusal`, `counters` | errors and numbers |
//! | `diagnose` | what a cache would find at its server |
//!
//! **No resurrection, for all hosts.** Each stripe of keys has a stamp and an epoch in the server.
//! A read returns both as the token, never younger than the record; every write and remove raises the
//! stamp, `clear` raises the epochs, each in one step with its change; a fill is refused unless
//! both are what they were. A record carries the epoch it was written under and is a miss under
//! any other, so `clear` need not find the records. Counters that the server lost (FLUSHALL,
//! eviction) start again at random 48-bit numbers, so old tokens and records stay invalid.
//!
//! Where masters may change, what the one before held is void (`reign.rs`). What is not covered: one
//! server that comes back with older data (restart from a snapshot, a replica promoted by hand)
//! brings back counters and records of that time together.

mod call;
mod channel;
mod cluster;
mod connect;
mod counters;
mod diagnose;
mod epochs;
mod exchange;
mod fill;
mod home;
mod keeper;
mod lease;
mod link;
mod names;
mod news;
mod options;
mod read;
mod read_many;
mod read_replica;
mod record;
mod refusal;
mod reign;
mod replicas;
mod replies;
mod reply;
#[cfg(test)]
mod reply_tests;
mod request;
#[cfg_attr(not(feature = "config"), allow(dead_code))]
mod rollout;
mod scripts;
#[cfg_attr(not(feature = "tls"), path = "secure_absent.rs")]
mod secure;
mod sentinel;
mod server_clock;
mod stream;
mod streams;
mod subscriber;
mod subscription;
mod tags;
#[cfg(test)]
mod tests;
mod touch;
mod turns;
mod wire;
mod write;

use std::{
    iter,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use redis::Value;

use self::{
    call::{Answer, Call, Under, Way},
    counters::Counters,
    epochs::Epochs,
    home::Home,
    link::{Common, Link, unexpected},
    names::Names,
    read::{NO_SUCH_KEY, Stored, random_start},
    record::{aside_of, record_of},
    replicas::Replicas,
    subscriber::Subscriber,
};
pub use self::{counters::RedisStatistics, options::RedisOptions, refusal::RedisRefusal};
use crate::{
    codec::{
        Format,
        envelope::{Doubt, Opened, head},
    },
    error::Result,
    key, random,
    tag_cells::{CellChange, KnownBelow, Tags, Verdict},
    tier::{
        ChangeListener, Expected, Fill, Found, LeaseStep, Leased, Reached, Record, RemoteTier,
        RolloutAsk, RolloutNews, TagsRaised, Tier, Token, Touch, Usage, Written,
    },
    tiering::TierKind,
};

/// How often a read asks again for a stripe under another reign before it is a miss: once to begin
/// the reign, once to start a counter that was lost, and once more for who does the same.
const READS_UNTIL_REIGN: usize = 4;

/// The Redis tier of one cache.
///
/// Making it does no I/O; its connection is made with the first call, and in a forked child with
/// the child's first call.
pub(crate) struct RedisTier {
    common: Arc<Common>,
    home: Home<Way>,
    replicas: Home<Replicas>,
    subscriber: Home<Subscriber>,
    is_closed: AtomicBool,
    /// How many keys a read of many asks for at once.
    keys_at_once: AtomicUsize,
    epochs: Epochs,
}

/// The options where none were given: the server at `127.0.0.1:6379`.
pub(super) fn default_options() -> Option<RedisOptions> {
    Some(RedisOptions::new())
}

/// The tier behind its trait; see [`RedisTier::new`].
pub(super) fn open(options: RedisOptions) -> Result<Arc<dyn RemoteTier>> {
    Ok(Arc::new(RedisTier::new(options)?))
}

impl RedisTier {
    /// Checks the options.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names what is wrong; [`ErrorKind::Unsupported`] where TLS is asked for
    /// and not built in. The server need not be there.
    pub(crate) fn new(options: RedisOptions) -> Result<Self> {
        let settings = options.check()?;
        let connector = match settings.tls {
            true => Some(secure::connector(
                settings.tls_ca_file.as_deref(),
                settings.tls_identity.as_ref(),
            )?),
            false => None,
        };
        let common = Common { settings, counters: Arc::new(Counters::default()), connector };
        Ok(Self {
            common: Arc::new(common),
            home: Home::new(),
            replicas: Home::new(),
            subscriber: Home::new(),
            is_closed: AtomicBool::new(false),
            keys_at_once: AtomicUsize::new(read_many::MOST_KEYS),
            epochs: Epochs::unknown(),
        })
    }

    fn way(&self) -> Result<&Way> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(link::closed());
        }
        let way = self.home.get_or_start(|| Way::start(&self.common))?;
        if self.is_closed.load(Ordering::Acquire) {
            // Closed while the thread started: nobody else would end it before the drop.
            way.stop();
            return Err(link::closed());
        }
        Ok(way)
    }

    fn call(&self, timeout: Duration) -> Result<Call<'_>> {
        let way = self.way()?;
        Ok(Call { common: &self.common, way, deadline: Instant::now() + timeout, timeout })
    }

    fn read_call(&self) -> Result<Call<'_>> {
        self.call(self.common.settings.read_timeout)
    }

    fn write_call(&self) -> Result<Call<'_>> {
        self.call(self.common.settings.write_timeout)
    }

    fn names(&self, key: &[u8]) -> Names {
        Names::of(&self.common.settings.prefix, key)
    }

    /// What a record of `key` takes in the server at most, so that nothing larger is ever sent.
    fn most_stored_bytes(&self, key: &[u8]) -> usize {
        self.common.settings.envelope.most_stored_bytes(key.len())
    }

    /// What the server has of a key under its present reign; `None` where that does not come to be.
    fn stored(&self, call: &Call<'_>, key: &[u8]) -> Result<Option<Stored>> {
        let names = self.names(key);
        let most = self.most_stored_bytes(key);
        let stripe = key::group(key);
        let reign_name = self.reign_name(stripe);
        for _ in 0..READS_UNTIL_REIGN {
            let Answer { replies, under, .. } =
                call.answer(stripe, &|_| Ok(read::ask(&names, reign_name.as_deref(), most)))?;
            let stored = read::answer(&self.common.counters, replies, most)?;
            match &under {
                Under::Unknown => return Ok(None),
                Under::Reign(reign) if stored.reign.as_deref() != Some(reign.name()) => {
                    self.begin_reigns(call, &[stripe])?;
                    continue;
                }
                Under::Reign(_) | Under::Nobody => {}
            }
            self.epochs.heard(stripe, stored.epoch);
            if stored.stamp.is_some() && stored.epoch.is_some() {
                return Ok(Some(stored));
            }
            let arguments = [random_start(), random_start(), Bytes::from(most.to_string())];
            let mut all: Vec<&[u8]> = vec![&names.data, &names.stamp, &names.epoch];
            let edition = self.edition_name();
            all.extend(edition.as_deref());
            let arguments = |_: &Link| Ok(arguments.to_vec());
            let (reply, _) = call.run(stripe, &scripts::READ, &all, &arguments)?;
            if matches!(under, Under::Nobody) {
                return read::answer_of_script(reply).map(Some);
            }
        }
        Ok(None)
    }

    /// The name of the reign of a stripe, where there are reigns.
    fn reign_name(&self, stripe: usize) -> Option<Vec<u8>> {
        let settings = &self.common.settings;
        settings.place.may_change().then(|| names::reign(&settings.prefix, stripe))
    }

    /// The name of the edition of the epochs, where they have one.
    fn edition_name(&self) -> Option<Vec<u8>> {
        let settings = &self.common.settings;
        (!settings.place.may_change()).then(|| names::edition(&settings.prefix))
    }

    /// Has the servers reign over these stripes, all that they hold being void.
    fn begin_reigns(&self, call: &Call<'_>, stripes: &[usize]) -> Result<()> {
        let prefix = &self.common.settings.prefix;
        let names = |stripe| names::of_reign(prefix, stripe).to_vec();
        let arguments = |link: &Link| match link.reign() {
            (_, Some(reign)) => reign::arguments(&reign).to_vec(),
            // Not connected: nobody has this one.
            (_, None) => vec![random_start(), random_start(), random_start()],
        };
        call.run_for(stripes, &scripts::BEGIN_REIGN, &names, &arguments)
    }

    fn clear_groups(&self, stripes: &[usize]) -> Result<()> {
        let prefix = &self.common.settings.prefix;
        let edition = self.edition_name();
        let names = |stripe| {
            let mut names = names::of_clear(prefix, stripe).to_vec();
            names.extend(edition.clone());
            names
        };
        let starts = |_: &Link| vec![random_start(), random_start()];
        self.write_call()?.run_for(stripes, &scripts::CLEAR, &names, &starts)
    }

    /// The record with the head that it has under this epoch.
    fn seal(&self, key: &[u8], record: &Record, epoch: u64) -> Result<Bytes> {
        let envelope = &self.common.settings.envelope;
        // Each record is told from every other by a number.
        let change = if record.change == 0 { random::random().max(1) } else { record.change };
        let aside = aside_of(record);
        let sealed =
            envelope.seal(&head::of(epoch), key, &record.value, record.format, change, &aside);
        sealed.map(Bytes::from).map_err(|error| error.in_tier(TierKind::Redis))
    }

    /// What bytes found under the name of `key` say, or `None` and a count.
    fn opened(&self, stored: &[u8], key: &[u8]) -> Option<Opened> {
        let opened = self.common.settings.envelope.open(stored, key);
        opened.map_err(|doubt| self.common.counters.count_doubt(doubt)).ok()
    }

    /// The record in bytes found under the name of `key`, and its epoch; or `None` and a count.
    fn open(&self, stored: &[u8], key: &[u8], pttl_millis: i64) -> Option<(u64, Record)> {
        let opened = self.opened(stored, key)?;
        let ttl = u64::try_from(pttl_millis).ok().map(Duration::from_millis);
        Some((opened.epoch, record_of(opened, ttl)))
    }
}

impl RemoteTier for RedisTier {
    fn reset(&self) -> bool {
        if let Some(replicas) = self.replicas.existing() {
            replicas.reset();
        }
        let way = self.home.existing();
        way.inspect(|way| way.reset()).is_some()
    }

    fn read(&self, key: &[u8]) -> Result<Found> {
        let call = self.read_call()?;
        let Some(Stored { data, pttl, stamp, epoch, .. }) = self.stored(&call, key)? else {
            return Ok(Found { record: None, token: None, tags: None, word_ttl: None });
        };
        let found = match data {
            Some(stored) => self.open(stored.bytes(), key, pttl),
            None => {
                // There, but of a type or size that is none of ours.
                if pttl != NO_SUCH_KEY {
                    self.common.counters.count_doubt(Doubt::Type);
                }
                None
            }
        };
        let record = found
            .filter(|(written_under, record)| {
                Some(*written_under) == epoch && record.ttl != Some(Duration::ZERO)
            })
            .map(|(_, record)| record);
        let seen = record.as_ref().map_or(0, |record| record.change);
        let word = record.as_ref().filter(|record| record.format == Format::Oversized);
        let word_ttl = word.and_then(|word| word.ttl);
        let mut record = record.filter(|record| record.format != Format::Oversized);
        // After the record: what was changed until the read began is seen.
        let tags = self.judge_records(&call, iter::once(&mut record))?;
        // A server that is only unwilling to write leaves a missing counter missing: no fills.
        let token = stamp.zip(epoch).map(|(stamp, epoch)| Token { words: [stamp, epoch], seen });
        Ok(Found { record, token, tags, word_ttl })
    }

    fn check_size(&self, record: &Record) -> Result<()> {
        self.check_value(record)
    }

    fn has_replicas(&self) -> bool {
        self.common.settings.replica_reads
    }

    fn read_replica(&self, key: &[u8], least: Reached) -> Result<Option<Record>> {
        self.find_at_replica(key, least)
    }

    fn read_many(&self, keys: &[&[u8]], keeps: bool) -> Result<Vec<Option<Record>>> {
        self.find_many(keys, keeps)
    }

    fn fill(&self, key: &[u8], record: &Record, token: Token) -> Result<Fill> {
        self.fill_record(key, record, token)
    }

    fn delete(&self, key: &[u8]) -> Result<Option<u64>> {
        let call = self.write_call()?;
        let names = self.names(key);
        let (reply, _) =
            call.run(key::group(key), &scripts::REMOVE, &[&names.data, &names.stamp], &|_| {
                Ok(vec![random_start()])
            })?;
        Ok(stamp_of(&reply))
    }

    fn expire(&self, key: &[u8]) -> Result<Option<u64>> {
        let call = self.write_call()?;
        let names = self.names(key);
        let all: [&[u8]; 3] = [&names.data, &names.stamp, &names.epoch];
        let arguments = |_: &Link| Ok(vec![random_start()]);
        let (reply, _) = call.run(key::group(key), &scripts::EXPIRE, &all, &arguments)?;
        Ok(stamp_of(&reply))
    }

    fn touch(&self, key: &[u8], fresh: Option<Duration>) -> Result<Touch> {
        self.touch_record(key, fresh)
    }

    fn write(&self, key: &[u8], record: &Record) -> Result<Option<u64>> {
        match self.write_over(key, record, Bytes::new())? {
            Written::Done(stamp) => Ok(stamp),
            Written::Otherwise => Err(unexpected()),
        }
    }

    fn write_if(&self, key: &[u8], record: &Record, expected: Option<Expected>) -> Result<Written> {
        let expected = match expected {
            Some(Expected { change, is_fresh }) => {
                let mut bytes = change.to_le_bytes().to_vec();
                bytes.extend(is_fresh.then_some(b'f'));
                Bytes::from(bytes)
            }
            None => Bytes::from_static(b"-"),
        };
        self.write_over(key, record, expected)
    }

    fn lease(&self, key: &[u8], owner: u64, step: LeaseStep) -> Result<Leased> {
        self.step_lease(key, owner, step)
    }

    fn rollout(&self, ask: &RolloutAsk<'_>) -> Result<RolloutNews> {
        self.ask_rollout(ask)
    }

    fn clear_group(&self, group: usize) -> Result<()> {
        self.clear_groups(&[group])
    }

    fn tags_known(&self) -> Result<KnownBelow> {
        self.numbering(&self.read_call()?)
    }

    fn raise_tags(&self, raised: &[CellChange]) -> Result<TagsRaised> {
        self.raise_cells(raised)
    }

    fn judge(&self, tags: &Tags) -> Result<Verdict> {
        let verdict = self.verdicts(&self.read_call()?, &[tags])?.1.pop();
        Ok(verdict.unwrap_or(Verdict::Removed))
    }

    fn statistics(&self) -> RedisStatistics {
        self.common.counters.snapshot()
    }

    fn listen(&self, listener: Weak<dyn ChangeListener>) -> Result<()> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(link::closed());
        }
        let started = self.subscriber.get_or_start(|| Subscriber::start(&self.common, listener))?;
        if self.is_closed.load(Ordering::Acquire) {
            started.stop();
        }
        Ok(())
    }
}

impl Tier for RedisTier {
    fn remove(&self, key: &[u8]) -> Result<()> {
        self.delete(key).map(|_| ())
    }

    fn clear(&self) -> Result<()> {
        self.clear_groups(&call::all_stripes())
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn trouble(&self) -> Option<String> {
        if self.is_closed.load(Ordering::Acquire) {
            return Some(link::closed().to_string());
        }
        self.home.existing().and_then(Way::down).map(|error| error.to_string())
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        if let Some(way) = self.home.existing() {
            way.stop();
        }
        if let Some(replicas) = self.replicas.existing() {
            replicas.stop();
        }
        if let Some(subscriber) = self.subscriber.existing() {
            subscriber.stop();
        }
    }
}

/// The stamp that a script made, or `None` where it could make none.
fn stamp_of(reply: &Value) -> Option<u64> {
    match reply {
        Value::Int(stamp) => u64::try_from(*stamp).ok(),
        Value::BulkString(digits) => names::parse_counter(digits),
        _ => None,
    }
}
