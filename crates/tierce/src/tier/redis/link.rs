//! The I/O thread of a cache: one connection, shared by all callers, made and remade off their
//! path.
//!
//! ```text
//!   callers --Request--> inbox --> loop: state --Up--> task per request --> connection --> server
//!      ^                             ^  |                 |   (many at a time: pipelined)
//!      |                             |  +-- connects, waits between attempts
//!      +------ Slot: outcome --------+------------------- lost, timed out, protocol error
//!
//!   Idle --first request--> Connecting --> Up --lost--> Connecting --failed--> Down --wait--+
//!                               ^                                                           |
//!                               +-----------------------------------------------------------+
//! ```
//!
//! - A connection on which anything went wrong (time-out, I/O, protocol) is dropped with all that
//!   waits on it, and never used again: a late answer must not reach another caller.
//! - While the last attempt failed, or the last connection timed out, callers fail at once with
//!   its error; else they wait for the attempt under way, until their deadline.
//! - The loop never waits: everything that takes time is a task that reports to the inbox.
//!
//! Locks: `down` only, held for a copy. No thread exists before [`Link::start`].

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, RedisError, Value,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::AbortHandle,
    time::{sleep, timeout, timeout_at},
};

use super::{
    counters::{Counters, count},
    options::Settings,
    refusal::{self, RedisRefusal, error},
    request::{Gate, Request, Work},
    scripts, secure,
    server_clock::ServerClock,
    stream::Stream,
};
use crate::{
    error::{Error, ErrorKind, Result},
    random,
    sync::Mutex,
};

/// First wait after a failed attempt; doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Longest wait between attempts: a server that is back is found soon, and one connection in two
/// seconds costs it nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The same where the server refused our credentials: repeated attempts fill its log and may lock
/// the account.
const LONGEST_WAIT_REFUSED: Duration = Duration::from_secs(30);

/// A connection lost sooner than this after it was made counts as a failed attempt, so that a
/// server that throws us out is not asked again without a pause.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// Tasks that resolve host names run on one thread, which ends soon after.
const RESOLVER_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// What the tier and its link, in whatever process, have in common.
pub(super) struct Common {
    pub(super) settings: Settings,
    pub(super) counters: Arc<Counters>,
    pub(super) connector: Option<secure::Connector>,
}

/// The I/O thread of this process and the way to it.
pub(super) struct Link {
    common: Arc<Common>,
    health: Arc<Health>,
    gate: Arc<Gate>,
    inbox: UnboundedSender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What callers see of the connection without asking the thread.
struct Health {
    is_down: AtomicBool,
    /// Why, while `is_down`.
    down: Mutex<Option<Error>>,
    clock: ServerClock,
}

impl Health {
    fn down(&self) -> Option<Error> {
        if !self.is_down.load(Ordering::Relaxed) {
            return None;
        }
        self.down.lock().clone()
    }

    fn set(&self, down: Option<Error>) {
        let mut held = self.down.lock();
        self.is_down.store(down.is_some(), Ordering::Relaxed);
        *held = down;
    }
}

enum Message {
    Request(Request),
    Connected { serial: u64, made: Made },
    Refused { serial: u64, error: Error },
    Lost { serial: u64, error: Option<Error> },
    Retry,
    Stop,
}

struct Made {
    connection: MultiplexedConnection,
    driver: AbortHandle,
}

impl Link {
    /// Starts the thread; it connects when the first request comes.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the system has no thread or descriptor left.
    pub(super) fn start(common: &Arc<Common>) -> Result<Self> {
        let failed = |cause: io::Error| error(ErrorKind::Io, "no thread for L3").caused_by(cause);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_keep_alive(RESOLVER_KEEP_ALIVE)
            .thread_name("tierce-l3-names")
            .build()
            .map_err(failed)?;
        let (inbox, messages) = mpsc::unbounded_channel();
        let health = Arc::new(Health {
            is_down: AtomicBool::new(false),
            down: Mutex::new(None),
            clock: ServerClock::new(),
        });
        let event_loop = Loop {
            common: Arc::clone(common),
            health: Arc::clone(&health),
            inbox: inbox.clone(),
            state: State::Idle,
            serial: 0,
            failures: 0,
            connected_before: false,
            waiting: Vec::new(),
        };
        let thread = thread::Builder::new()
            .name("tierce-l3".to_owned())
            .spawn(move || {
                runtime.block_on(event_loop.run(messages));
                // Does not wait for a name that is just being resolved.
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Self {
            common: Arc::clone(common),
            health,
            gate: Gate::new(common.settings.queue),
            inbox,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Sends `work` and waits for its reply until `deadline`, which is `timeout` after the caller
    /// began. An error reply is an error.
    pub(super) fn perform(
        &self,
        work: Work,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Value> {
        let counters = &self.common.counters;
        if let Some(down) = self.health.down() {
            count(&counters.disconnected);
            return Err(down);
        }
        let Some(place) = self.gate.enter() else {
            count(&counters.busy);
            let bound = self.common.settings.queue;
            return Err(error(ErrorKind::Busy, format!("{bound} requests are under way already")));
        };
        let (request, slot) = Request::new(work, deadline, timeout, place);
        self.inbox.send(Message::Request(request)).map_err(|_| closed())?;
        let outcome = slot.wait(deadline, timeout);
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout) {
            count(&counters.timeouts);
        }
        outcome
    }

    /// Why callers fail at once, or `None`.
    pub(super) fn down(&self) -> Option<Error> {
        self.health.down()
    }

    /// The estimate of the server's clock.
    pub(super) fn clock(&self) -> &ServerClock {
        &self.health.clock
    }

    /// Ends the thread and the connection; waiting callers are told at once.
    pub(super) fn stop(&self) {
        // A thread that has ended already reads no message.
        _ = self.inbox.send(Message::Stop);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A panic of the thread was told to those who waited when it dropped their requests.
            _ = thread.join();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(super) fn closed() -> Error {
    error(ErrorKind::Closed, "tier was closed")
}

enum State {
    /// Nobody asked yet.
    Idle,
    /// An attempt is under way.
    Connecting,
    /// The last attempt failed; the next one has its time.
    Down,
    /// Requests can be sent.
    Up { made: Made, since: Instant },
}

struct Loop {
    common: Arc<Common>,
    health: Arc<Health>,
    inbox: UnboundedSender<Message>,
    state: State,
    /// Tells connections and attempts apart: what an old one reports is not about the new one.
    serial: u64,
    /// Attempts that failed in a row.
    failures: u32,
    connected_before: bool,
    /// Requests that wait for the attempt under way.
    waiting: Vec<Request>,
}

impl Loop {
    async fn run(mut self, mut messages: UnboundedReceiver<Message>) {
        while let Some(message) = messages.recv().await {
            match message {
                Message::Request(request) => self.request(request),
                Message::Connected { serial, made } => self.connected(serial, made),
                Message::Refused { serial, error } if serial == self.serial => self.refused(error),
                Message::Lost { serial, error } if serial == self.serial => self.lost(error),
                Message::Refused { .. } | Message::Lost { .. } => {}
                Message::Retry if matches!(self.state, State::Down) => self.connect(),
                Message::Retry => {}
                Message::Stop => break,
            }
        }
        // Dropping the runtime drops all tasks and with them the connection; what is left in the
        // inbox is answered by its drop.
    }

    fn request(&mut self, request: Request) {
        match &self.state {
            State::Up { made, .. } => self.send(made.connection.clone(), request),
            State::Idle => {
                self.waiting.push(request);
                self.connect();
            }
            State::Connecting | State::Down => match self.health.down() {
                Some(down) => {
                    count(&self.common.counters.disconnected);
                    request.answer(Err(down));
                }
                None => self.waiting.push(request),
            },
        }
    }

    fn send(&self, connection: MultiplexedConnection, request: Request) {
        if request.is_abandoned() {
            // Its caller counts this as any other deadline that passed.
            request.expire();
            return;
        }
        let (common, inbox, serial) = (Arc::clone(&self.common), self.inbox.clone(), self.serial);
        tokio::spawn(async move {
            if let Err(error) = exchange(connection, request, &common.counters).await {
                // The loop is gone only when the cache is closed.
                _ = inbox.send(Message::Lost { serial, error: Some(error) });
            }
        });
    }

    fn connect(&mut self) {
        self.state = State::Connecting;
        self.serial += 1;
        let (common, health, inbox, serial) =
            (Arc::clone(&self.common), Arc::clone(&self.health), self.inbox.clone(), self.serial);
        tokio::spawn(async move {
            let allowed = common.settings.connect_timeout;
            let message = match timeout(allowed, connect(&common, &health, &inbox, serial)).await {
                Ok(Ok(made)) => Message::Connected { serial, made },
                Ok(Err(error)) => Message::Refused { serial, error },
                Err(_) => Message::Refused {
                    serial,
                    error: error(
                        ErrorKind::Network,
                        format!("no connection to {} within {allowed:?}", common.settings.address),
                    ),
                },
            };
            _ = inbox.send(message);
        });
    }

    fn connected(&mut self, serial: u64, made: Made) {
        if serial != self.serial || !matches!(self.state, State::Connecting) {
            made.driver.abort();
            return;
        }
        if made.driver.is_finished() {
            return self.refused(lost_error());
        }
        count(&self.common.counters.connects);
        if self.connected_before {
            count(&self.common.counters.reconnects);
        }
        self.connected_before = true;
        self.health.set(None);
        for request in std::mem::take(&mut self.waiting) {
            self.send(made.connection.clone(), request);
        }
        self.state = State::Up { made, since: Instant::now() };
    }

    fn refused(&mut self, error: Error) {
        count(&self.common.counters.connect_failures);
        self.pause(error);
    }

    fn lost(&mut self, error: Option<Error>) {
        // An attempt that fails says so itself, and `connected` sees a driver that ended meanwhile.
        let State::Up { made, since } = &self.state else { return };
        // Ends the connection now, and with it all that waits on it.
        made.driver.abort();
        if since.elapsed() < SHORT_LIFE {
            return self.pause(error.unwrap_or_else(lost_error));
        }
        self.failures = 0;
        // A server that does not answer will hardly answer a new connection: nobody waits for it.
        self.health.set(error.filter(|error| error.kind() == ErrorKind::Timeout));
        self.connect();
    }

    /// Fails all callers with `error` until the next attempt has succeeded.
    fn pause(&mut self, error: Error) {
        let longest = match error.kind() {
            ErrorKind::Auth => LONGEST_WAIT_REFUSED,
            _ => LONGEST_WAIT,
        };
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        self.health.set(Some(error.clone()));
        self.state = State::Down;
        for request in self.waiting.drain(..) {
            request.answer(Err(error.clone()));
        }
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            sleep(random::jittered(wait)).await;
            _ = inbox.send(Message::Retry);
        });
    }
}

fn lost_error() -> Error {
    error(ErrorKind::Network, "connection was lost")
}

/// Sends a request and answers its caller. An error means that the connection is in doubt.
async fn exchange(
    mut connection: MultiplexedConnection,
    request: Request,
    counters: &Counters,
) -> Result<()> {
    let sent = async {
        match request.work() {
            Work::One(command) => connection.send_packed_command(command).await,
            Work::Many(pipeline) => {
                connection.send_packed_commands(pipeline, 0, pipeline.len()).await.map(Value::Array)
            }
        }
    };
    let Ok(outcome) = timeout_at(request.deadline().into(), sent).await else {
        return Err(request.expire());
    };
    let (outcome, doubt) = judge(outcome);
    if doubt.is_none() {
        count(&counters.round_trips);
    }
    if outcome.as_ref().is_err_and(|error| error.cause::<RedisRefusal>().is_some()) {
        count(&counters.refusals);
    }
    request.answer(outcome);
    doubt.map_or(Ok(()), Err)
}

/// Splits what the library returned into the caller's outcome and the connection's.
fn judge(outcome: Result<Value, RedisError>) -> (Result<Value>, Option<Error>) {
    match outcome {
        Ok(Value::ServerError(reply)) => (Err(refusal::from_reply(&reply)), None),
        Ok(value) => (Ok(value), None),
        Err(failure) => {
            let (error, in_doubt) = refusal::from_library(&failure);
            (Err(error.clone()), in_doubt.then_some(error))
        }
    }
}

/// Makes a connection and sees that the server answers on it.
async fn connect(
    common: &Common,
    health: &Health,
    inbox: &UnboundedSender<Message>,
    serial: u64,
) -> Result<Made> {
    let settings = &common.settings;
    let stream =
        Stream::connect(&settings.address, common.connector.as_ref(), Arc::clone(&common.counters))
            .await
            .map_err(|cause| refusal::from_connect(cause, &settings.address))?;
    // Naming ourselves to the server is left out: it would be one more round trip before the
    // credentials are known to be good, and needs version 7.2.
    let mut info = RedisConnectionInfo::default()
        .set_db(settings.database)
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name();
    if let Some(username) = &settings.username {
        info = info.set_username(username);
    }
    if let Some(password) = &settings.password {
        info = info.set_password(password);
    }
    // Deadlines are ours: the library's would leave the connection in use.
    let config =
        AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let (mut connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
        .await
        .map_err(|failure| refusal::from_library(&failure).0)?;
    let report = LostReport { inbox: inbox.clone(), serial };
    let driver = tokio::spawn(async move {
        let _report = report;
        driver.await;
    })
    .abort_handle();
    let greeted = greet(&mut connection, health).await;
    if let Err(error) = greeted {
        driver.abort();
        return Err(error);
    }
    Ok(Made { connection, driver })
}

/// Tells the loop that a driver ended, by a panic too.
struct LostReport {
    inbox: UnboundedSender<Message>,
    serial: u64,
}

impl Drop for LostReport {
    fn drop(&mut self) {
        _ = self.inbox.send(Message::Lost { serial: self.serial, error: None });
    }
}

/// Asks whether the server serves us, what time it has, and gives it our scripts.
async fn greet(connection: &mut MultiplexedConnection, health: &Health) -> Result<()> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("PING").cmd("TIME");
    for load in scripts::load_all() {
        pipeline.add_command(load);
    }
    let replies = connection
        .send_packed_commands(&pipeline, 0, pipeline.len())
        .await
        .map_err(|failure| refusal::from_library(&failure).0)?;
    if let Some(Value::ServerError(reply)) = replies.first() {
        let error = refusal::from_reply(reply);
        // An ACL user without PING is known to the server all the same.
        if error.cause() != Some(&RedisRefusal::Permission) {
            return Err(error);
        }
    }
    health.clock.forget();
    if let Some(millis) = replies.get(1).and_then(server_millis) {
        health.clock.heard(millis);
    }
    // A script that could not be loaded is sent as text when it is needed.
    Ok(())
}

/// The milliseconds of a reply to TIME.
fn server_millis(reply: &Value) -> Option<i64> {
    let Value::Array(parts) = reply else { return None };
    let number = |part: &Value| match part {
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse::<i64>().ok(),
        _ => None,
    };
    let [seconds, micros] = &parts[..] else { return None };
    number(seconds)?.checked_mul(1000)?.checked_add(number(micros)? / 1000)
}
