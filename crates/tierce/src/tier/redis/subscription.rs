//! A connection on which the server tells of changes, by client tracking in broadcasting mode
//! (`CLIENT TRACKING ON BCAST`, Redis 6): it names every key that begins as ours do when anybody
//! changes it, when it expires and when it is evicted.
//!
//! A connection of its own, in RESP3, so that what is told comes on the connection that is asked
//! for a sign of life: while it answers, it tells too.
//!
//! The other way is pub/sub (`news.rs`): a connection in RESP2 that is asked, and one more that is
//! subscribed (`channel.rs`), as one that is may ask for nothing else. The second has told all that was
//! published before an answer of the first once it has answered a later question itself.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo,
    RedisError, Value, aio::MultiplexedConnection,
};
use tokio::{sync::mpsc::UnboundedSender, task::AbortHandle, time::sleep};

use super::{
    channel::Channel,
    connect,
    link::Common,
    names,
    news::News,
    options::{Address, Place},
    refusal::{self, RedisRefusal, error},
    reign::{self, Reign},
    scripts,
    stream::Stream,
};
use crate::{
    error::{Error, ErrorKind, Result},
    tier::Invalidation,
};

/// Messages that wait to be dealt with; beyond that the connection is given up and all counts as
/// changed, which is less work.
const MOST_WAITING: usize = 1 << 16;

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
    /// This was published.
    News(News),
}

/// A connection that is told of changes until it is dropped.
pub(super) struct Subscription {
    address: Address,
    connection: MultiplexedConnection,
    driver: AbortHandle,
    follower: Option<AbortHandle>,
    /// Where masters may change.
    reign: Option<Reign>,
    /// Where changes are published.
    channel: Option<Channel>,
    /// What is dropped with it is reported to nobody.
    _lives: Arc<()>,
}

/// Messages that wait to be dealt with.
#[derive(Default)]
pub(super) struct Queue {
    waiting: AtomicUsize,
    overflowed: AtomicBool,
}

impl Queue {
    /// Has a message wait.
    ///
    /// # Errors
    /// Where too many do.
    pub(super) fn put(
        &self,
        events: &UnboundedSender<Event>,
        serial: u64,
        told: Told,
    ) -> Result<(), ()> {
        if self.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
            self.overflowed.store(true, Ordering::Relaxed);
            return Err(());
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        _ = events.send(Event::Told { serial, told });
        Ok(())
    }

    /// Takes note that a message was dealt with.
    pub(super) fn took(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// True if messages were lost because too many waited.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }
}

impl Subscription {
    /// Connects to this server and has it tell of changes of these stripes at least, as events of number
    /// `serial`, which wait in this queue.
    pub(super) async fn new(
        common: &Arc<Common>,
        address: Address,
        stripes: &[usize],
        events: &UnboundedSender<Event>,
        serial: u64,
        queue: &Arc<Queue>,
    ) -> Result<Self> {
        let tell = Tell { common, events, serial, queue };
        if common.settings.invalidation != Invalidation::Pubsub {
            match Self::tracking(&tell, address.clone()).await {
                Err(error)
                    if common.settings.invalidation == Invalidation::Auto && is_refusal(&error) => {
                }
                outcome => return outcome,
            }
        }
        let mut subscription = Self::connect(&tell, address.clone(), false).await?;
        let channel = Channel::subscribe(common, &address, stripes, events, serial, queue).await?;
        subscription.channel = Some(channel);
        Ok(subscription)
    }

    async fn tracking(tell: &Tell<'_>, address: Address) -> Result<Self> {
        let mut subscription = Self::connect(tell, address, true).await?;
        subscription.track(&tell.common.settings.prefix).await?;
        Ok(subscription)
    }

    /// A connection, in RESP3 if it is to tell.
    async fn connect(tell: &Tell<'_>, address: Address, tells: bool) -> Result<Self> {
        let Tell { common, events, serial, .. } = *tell;
        let settings = &common.settings;
        let stream =
            Stream::connect(&address, common.connector.as_ref(), Arc::clone(&common.counters))
                .await
                .map_err(|cause| refusal::from_connect(cause, &address))?;
        let protocol = if tells { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 };
        let mut info = RedisConnectionInfo::default()
            .set_db(settings.database)
            .set_protocol(protocol)
            .set_skip_set_lib_name();
        if let Some(username) = &settings.username {
            info = info.set_username(username);
        }
        if let Some(password) = &settings.password {
            info = info.set_password(password);
        }
        let mut config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        if tells {
            let (events, queue) = (events.clone(), Arc::clone(tell.queue));
            config = config.set_push_sender(move |info: PushInfo| match told(info) {
                Some(told) => queue.put(&events, serial, told),
                None => Ok(()),
            });
        }
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|failure| of_library(&failure))?;
        let lives = Arc::new(());
        let report = EndReport { events: events.clone(), serial, lives: Arc::downgrade(&lives) };
        let driver = tokio::spawn(async move {
            let _report = report;
            driver.await;
        })
        .abort_handle();
        let follower = matches!(settings.place, Place::Sentinels(_)).then(|| {
            let (common, address) = (Arc::clone(common), address.clone());
            tokio::spawn(follow(common, address, events.clone(), serial)).abort_handle()
        });
        let mut subscription = Self {
            address,
            connection,
            driver,
            follower,
            reign: None,
            channel: None,
            _lives: lives,
        };
        if settings.place.may_change() {
            let [role, info] = Reign::questions();
            let answers = (subscription.ask(&role).await?, subscription.ask(&info).await?);
            subscription.reign = Some(Reign::of(&answers.0, &answers.1)?);
        }
        Ok(subscription)
    }

    /// True if it tells what is published.
    pub(super) fn is_by_pubsub(&self) -> bool {
        self.channel.is_some()
    }

    /// Returns when all has been told that was changed before the last answer.
    pub(super) async fn settle(&mut self) -> Result<()> {
        match &self.channel {
            // A server tells what it changed in one turn after its replies of that turn. The answer
            // to a later question comes after both.
            None => self.ask(&redis::cmd("PING")).await.map(drop),
            Some(channel) => channel.settle().await,
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The reign of the server, where masters may change.
    pub(super) fn reign(&self) -> Option<&Reign> {
        self.reign.as_ref()
    }

    /// Runs the script that has the server reign over these stripes.
    pub(super) async fn begin_reigns(
        &mut self,
        prefix: &str,
        stripes: &[usize],
        reign: &Reign,
    ) -> Result<()> {
        let mut pipeline = redis::pipe();
        for (number, stripe) in stripes.iter().enumerate() {
            let names = names::of_reign(prefix, *stripe);
            let names = names.each_ref().map(|name| &name[..]);
            // The first brings the script's text, so the server has it for the others.
            let arguments = reign::arguments(reign);
            pipeline.add_command(scripts::BEGIN_REIGN.command(&names, &arguments, number == 0));
        }
        for reply in self.all(&pipeline).await? {
            match reply {
                Value::Int(_) => {}
                Value::ServerError(reply) => return Err(refusal::from_reply(&reply)),
                _ => return Err(unexpected("EVAL")),
            }
        }
        Ok(())
    }

    /// Sends commands; their replies, errors among them.
    pub(super) async fn all(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let sent = self.connection.send_packed_commands(pipeline, 0, pipeline.len());
        sent.await.map_err(|failure| of_library(&failure))
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

    pub(super) async fn ask(&mut self, command: &redis::Cmd) -> Result<Value> {
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

/// Who is told, and how what is told is numbered.
struct Tell<'a> {
    common: &'a Arc<Common>,
    events: &'a UnboundedSender<Event>,
    serial: u64,
    queue: &'a Arc<Queue>,
}

/// True where the server lacks client tracking, or the user the right to it.
fn is_refusal(error: &Error) -> bool {
    matches!(error.cause(), Some(RedisRefusal::Permission | RedisRefusal::Other))
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
pub(super) struct EndReport {
    pub(super) events: UnboundedSender<Event>,
    pub(super) serial: u64,
    /// Gone where nobody wants to know any more: the next one may have the same number.
    pub(super) lives: Weak<()>,
}

impl Drop for EndReport {
    fn drop(&mut self) {
        if self.lives.strong_count() == 0 {
            return;
        }
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
    if failure.kind() == redis::ErrorKind::RESP3NotSupported {
        return refusal::refused("ERR", "unknown command HELLO");
    }
    if let Some(code) = failure.code() {
        return refusal::refused(code, failure.detail().unwrap_or_default());
    }
    if failure.kind() == redis::ErrorKind::Parse {
        return error(ErrorKind::Network, "reply is not of the Redis protocol");
    }
    error(ErrorKind::Network, "connection failed").caused_by(failure.clone())
}

pub(super) fn unexpected(command: &str) -> Error {
    error(ErrorKind::Network, format!("reply to {command} has an unexpected form"))
}

pub(super) fn no_answer(within: Duration) -> Error {
    error(ErrorKind::Timeout, format!("no sign of life within {within:?}"))
}
