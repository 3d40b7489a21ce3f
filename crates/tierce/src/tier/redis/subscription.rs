//! A connection on which the server tells of changes, by client tracking in broadcasting mode
//! (`CLIENT TRACKING ON BCAST`, Redis 6): it names every key that begins as ours do when anybody
//! changes it, when it expires and when it is evicted.
//!
//! A connection of its own, in RESP3, so that what is told comes on the connection that is asked
//! for a sign of life: while it answers, it tells too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError,
    Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::mpsc::UnboundedSender,
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    connect,
    link::Common,
    names::{self, Names},
    options::{Address, Place},
    refusal::{self, error},
    reign::{self, Reign},
    stream::Stream,
};
use crate::{
    codec::envelope,
    error::{Error, ErrorKind, Result},
};

/// Messages that wait to be dealt with; beyond that the connection is given up and all counts as
/// changed, which is less work.
const MOST_WAITING: usize = 1 << 16;

/// Records that are looked at in one pipeline.
const LOOKS_AT_ONCE: usize = 256;

/// What comes to who subscribed.
pub(super) enum Event {
    /// On the subscription of this number.
    Told { serial: u64, told: Told },
    /// The subscription of this number ended.
    Ended { serial: u64 },
    /// Whoever subscribed is to end.
    Stop,
}

/// What the server told.
pub(super) enum Told {
    /// These names were changed.
    Names(Vec<Vec<u8>>),
    /// All names were.
    Everything,
}

/// A connection that is told of changes until it is dropped.
pub(super) struct Subscription {
    connection: MultiplexedConnection,
    driver: AbortHandle,
    follower: Option<AbortHandle>,
    queue: Arc<Queue>,
    /// Where masters may change.
    reign: Option<Reign>,
}

/// What it took to have a server reign over all stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Nothing, or it had none before.
    Same,
    /// Another server had been the master.
    Other,
}

/// Messages that wait to be dealt with.
#[derive(Default)]
struct Queue {
    waiting: AtomicUsize,
    overflowed: AtomicBool,
}

impl Subscription {
    /// Connects and has the server tell of changes, as events of number `serial`.
    pub(super) async fn new(
        common: &Arc<Common>,
        events: &UnboundedSender<Event>,
        serial: u64,
    ) -> Result<Self> {
        let settings = &common.settings;
        let address = connect::address(common).await?;
        let stream =
            Stream::connect(&address, common.connector.as_ref(), Arc::clone(&common.counters))
                .await
                .map_err(|cause| refusal::from_connect(cause, &address))?;
        let mut info = RedisConnectionInfo::default()
            .set_db(settings.database)
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(username) = &settings.username {
            info = info.set_username(username);
        }
        if let Some(password) = &settings.password {
            info = info.set_password(password);
        }
        let queue = Arc::<Queue>::default();
        let sender = {
            let (events, queue) = (events.clone(), Arc::clone(&queue));
            move |info: PushInfo| {
                if queue.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
                    queue.overflowed.store(true, Ordering::Relaxed);
                    return Err(());
                }
                if let Some(told) = told(info) {
                    queue.waiting.fetch_add(1, Ordering::Relaxed);
                    _ = events.send(Event::Told { serial, told });
                }
                Ok(())
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_push_sender(sender);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|failure| of_library(&failure))?;
        let report = EndReport { events: events.clone(), serial };
        let driver = tokio::spawn(async move {
            let _report = report;
            driver.await;
        })
        .abort_handle();
        let follower = matches!(settings.place, Place::Sentinels(_)).then(|| {
            tokio::spawn(follow(Arc::clone(common), address, events.clone(), serial)).abort_handle()
        });
        let mut subscription = Self { connection, driver, follower, queue, reign: None };
        if settings.place.may_change() {
            let [role, info] = Reign::questions();
            let answers = (subscription.ask(&role).await?, subscription.ask(&info).await?);
            subscription.reign = Some(Reign::of(&answers.0, &answers.1)?);
        }
        subscription.track(&settings.prefix).await?;
        Ok(subscription)
    }

    /// The reign of the server, where masters may change.
    pub(super) fn reign(&self) -> Option<&Reign> {
        self.reign.as_ref()
    }

    /// Has the server reign over all stripes, what other ones left there being void.
    pub(super) async fn begin_reign(&mut self, prefix: &str) -> Result<Begin> {
        let Some(reign) = self.reign.clone() else { return Ok(Begin::Same) };
        let mut command = redis::cmd("MGET");
        for stripe in 0..names::STRIPES {
            command.arg(names::reign(prefix, stripe));
        }
        let Value::Array(found) = self.ask(&command).await? else {
            return Err(unexpected("MGET"));
        };
        let is_own =
            |found: &Value| matches!(found, Value::BulkString(name) if name == reign.name());
        let void = found.iter().enumerate().filter(|(_, found)| !is_own(found));
        let void: Vec<usize> = void.map(|(stripe, _)| stripe).collect();
        if void.is_empty() {
            return Ok(Begin::Same);
        }
        let pipeline = reign::begin_all(prefix, &void, &reign);
        let sent = self.connection.send_packed_commands(&pipeline, 0, void.len());
        for reply in sent.await.map_err(|failure| of_library(&failure))? {
            match reply {
                Value::Int(_) => {}
                Value::ServerError(reply) => return Err(refusal::from_reply(&reply)),
                _ => return Err(unexpected("EVAL")),
            }
        }
        let had_none = found.iter().all(|found| is_own(found) || *found == Value::Nil);
        Ok(if had_none { Begin::Same } else { Begin::Other })
    }

    async fn track(&mut self, prefix: &str) -> Result<()> {
        let mut command = redis::cmd("CLIENT");
        command.arg("TRACKING").arg("ON").arg("BCAST");
        for start in names::told(prefix) {
            command.arg("PREFIX").arg(start);
        }
        match self.ask(&command).await? {
            Value::Okay => Ok(()),
            _ => Err(unexpected("CLIENT TRACKING")),
        }
    }

    /// The stamps of all stripes, each `None` where the server has none; within `limit`. What was
    /// changed up to these stamps has been told when this returns.
    pub(super) async fn stamps(
        &mut self,
        prefix: &str,
        limit: Duration,
    ) -> Result<Vec<Option<u64>>> {
        let mut command = redis::cmd("MGET");
        for stripe in 0..names::STRIPES {
            command.arg(names::stamp(prefix, stripe));
        }
        let asked = async {
            let reply = self.ask(&command).await?;
            // The server tells what it changed in one turn after its replies of that turn. The
            // answer to a later question comes after both.
            self.ask(&redis::cmd("PING")).await?;
            Ok::<_, Error>(reply)
        };
        let Value::Array(parts) = timeout(limit, asked).await.map_err(|_| no_answer(limit))??
        else {
            return Err(unexpected("MGET"));
        };
        if parts.len() != names::STRIPES {
            return Err(unexpected("MGET"));
        }
        let number = |part: &Value| match part {
            Value::BulkString(digits) => names::parse_counter(digits),
            _ => None,
        };
        Ok(parts.iter().map(number).collect())
    }

    /// Takes note that a message was dealt with.
    pub(super) fn took(&self) {
        self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// True if messages were lost because too many waited.
    pub(super) fn overflowed(&self) -> bool {
        self.queue.overflowed.load(Ordering::Relaxed)
    }

    /// Which changes made the records of these keys that the server has now, each `None` where it
    /// has none.
    pub(super) async fn look(
        &mut self,
        prefix: &str,
        keys: &[&[u8]],
        limit: Duration,
    ) -> Result<Vec<Option<u64>>> {
        let mut changes = Vec::with_capacity(keys.len());
        for keys in keys.chunks(LOOKS_AT_ONCE) {
            let mut pipeline = redis::pipe();
            for key in keys {
                let names = Names::of(prefix, key);
                pipeline.cmd("GETRANGE").arg(names.data).arg(0).arg(envelope::START_BYTES - 1);
            }
            let sent = self.connection.send_packed_commands(&pipeline, 0, keys.len());
            let replies = timeout(limit, sent)
                .await
                .map_err(|_| no_answer(limit))?
                .map_err(|failure| of_library(&failure))?;
            changes.extend(replies.iter().map(|reply| match reply {
                Value::BulkString(start) => envelope::change_of(start),
                // Of another type, or refused: it is none of ours.
                _ => None,
            }));
        }
        Ok(changes)
    }

    async fn ask(&mut self, command: &redis::Cmd) -> Result<Value> {
        match self.connection.send_packed_command(command).await {
            Ok(Value::ServerError(reply)) => Err(refusal::from_reply(&reply)),
            Ok(value) => Ok(value),
            Err(failure) => Err(of_library(&failure)),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.driver.abort();
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

/// Ends the subscription of this number when the sentinels name another server.
async fn follow(
    common: Arc<Common>,
    address: Address,
    events: UnboundedSender<Event>,
    serial: u64,
) {
    loop {
        sleep(common.settings.look_for_master_every()).await;
        if connect::address(&common).await.is_ok_and(|named| named != address) {
            _ = events.send(Event::Ended { serial });
            return;
        }
    }
}

/// Tells that a driver ended, by a panic too.
struct EndReport {
    events: UnboundedSender<Event>,
    serial: u64,
}

impl Drop for EndReport {
    fn drop(&mut self) {
        _ = self.events.send(Event::Ended { serial: self.serial });
    }
}

/// What a message of the server says, if it is about changes.
fn told(info: PushInfo) -> Option<Told> {
    if info.kind != PushKind::Invalidate {
        return None;
    }
    let mut names = Vec::new();
    for part in info.data {
        match part {
            Value::Array(parts) => names.extend(parts.into_iter().filter_map(|part| match part {
                Value::BulkString(name) => Some(name),
                _ => None,
            })),
            // A flush; and whatever else it may mean, it is no list of names.
            _ => return Some(Told::Everything),
        }
    }
    Some(Told::Names(names))
}

/// The error of the client library.
fn of_library(failure: &RedisError) -> Error {
    if failure.kind() == redis::ErrorKind::AuthenticationFailed {
        return error(ErrorKind::Auth, "server refused our credentials");
    }
    if let Some(code) = failure.code() {
        return refusal::refused(code, failure.detail().unwrap_or_default());
    }
    if failure.kind() == redis::ErrorKind::Parse {
        return error(ErrorKind::Network, "reply is not of the Redis protocol");
    }
    error(ErrorKind::Network, "connection failed").caused_by(failure.clone())
}

fn unexpected(command: &str) -> Error {
    error(ErrorKind::Network, format!("reply to {command} has an unexpected form"))
}

fn no_answer(within: Duration) -> Error {
    error(ErrorKind::Timeout, format!("no sign of life within {within:?}"))
}
