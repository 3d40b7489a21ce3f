//! The thread that makes the connection and remakes it, off the callers' path, and watches it
//! while nobody uses it.
//!
//! ```text
//!   first request ──> connecting ──> up ──lost──> connecting ──failed──> wait ──┐
//!                         ^                                                     │
//!                         └─────────────────────────────────────────────────────┘
//! ```
//!
//! The loop never waits: everything that takes time is a task that reports to the inbox.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time::{sleep, timeout},
};

use super::{
    connect::{self, Made, Role, as_error, connect},
    counters::count,
    exchange::{Activity, Exchange},
    link::Common,
    options::{Address, Place},
    refusal::error,
    wire::{Trouble, Wire},
};
use crate::{
    error::{Error, ErrorKind},
    random,
};

/// First wait after a failed attempt; doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Longest wait between attempts: a server that is back is found soon, and one connection in two
/// seconds costs it nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The same where another server may take over, which is done within a second or two.
const LONGEST_WAIT_TO_FOLLOW: Duration = Duration::from_millis(500);

/// The same where the server refused our credentials: repeated attempts fill its log and may lock
/// the account.
const LONGEST_WAIT_REFUSED: Duration = Duration::from_secs(30);

/// A connection lost sooner than this after it was made counts as a failed attempt, so that a
/// server that throws us out is not asked again without a pause.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// A connection that nobody used for so long is watched. While one is used, its users see what
/// happens to it, and this is all that the thread does.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the keeper is told.
pub(super) enum Message {
    /// The first request is there.
    Connect,
    Connected(Made),
    Refused(Error),
    Lost {
        age: Duration,
        error: Error,
    },
    Retry,
    Stop,
}

pub(super) struct Keeper {
    pub(super) common: Arc<Common>,
    /// Which node of a cluster it is, in one.
    pub(super) node: Option<Address>,
    pub(super) role: Role,
    pub(super) exchange: Arc<Exchange>,
    pub(super) inbox: UnboundedSender<Message>,
    /// Attempts that failed in a row.
    pub(super) failures: u32,
    pub(super) connected_before: bool,
}

impl Keeper {
    pub(super) async fn run(mut self, mut messages: UnboundedReceiver<Message>) {
        while let Some(message) = messages.recv().await {
            match message {
                Message::Connect | Message::Retry => self.connect(),
                Message::Connected(made) => self.connected(made),
                Message::Refused(error) => {
                    count(&self.common.counters.connect_failures);
                    self.pause(&error);
                }
                Message::Lost { age, error } if age < SHORT_LIFE => self.pause(&error),
                Message::Lost { .. } => {
                    self.failures = 0;
                    self.connect();
                }
                Message::Stop => break,
            }
        }
        // Dropping the runtime drops all tasks, and with them a connection that is being made.
    }

    fn connect(&self) {
        let (common, exchange, inbox) =
            (Arc::clone(&self.common), Arc::clone(&self.exchange), self.inbox.clone());
        let (node, role) = (self.node.clone(), self.role);
        tokio::spawn(async move {
            let allowed = common.settings.connect_timeout;
            let made = connect(&common, node.as_ref(), role, exchange.clock());
            let message = match timeout(allowed, made).await {
                Ok(Ok(made)) => Message::Connected(made),
                Ok(Err(error)) => Message::Refused(error),
                Err(_) => Message::Refused(error(
                    ErrorKind::Network,
                    match &node {
                        Some(node) => format!("no connection to {node} within {allowed:?}"),
                        None => {
                            let place = &common.settings.place;
                            format!("no connection to {place} within {allowed:?}")
                        }
                    },
                )),
            };
            // The loop is gone only when the cache is closed.
            _ = inbox.send(message);
        });
    }

    fn connected(&mut self, made: Made) {
        count(&self.common.counters.connects);
        if self.connected_before {
            count(&self.common.counters.reconnects);
        }
        self.connected_before = true;
        let Made { wire, address, reign } = made;
        if let Some(serial) = self.exchange.connected(&wire, reign) {
            let watch = watch(Arc::clone(&self.exchange), Arc::downgrade(&wire), serial);
            tokio::spawn(watch);
            let is_followed = matches!(self.common.settings.place, Place::Sentinels(_));
            if is_followed && self.role == Role::Master {
                let common = Arc::clone(&self.common);
                tokio::spawn(follow(common, Arc::clone(&self.exchange), address, serial));
            }
        }
    }

    /// Fails all callers with `error` until the next attempt has succeeded.
    fn pause(&mut self, error: &Error) {
        let longest = match error.kind() {
            ErrorKind::Auth => LONGEST_WAIT_REFUSED,
            _ if self.common.settings.place.may_change() => LONGEST_WAIT_TO_FOLLOW,
            _ => LONGEST_WAIT,
        };
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        self.exchange.fail(error);
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            sleep(random::jittered(wait)).await;
            _ = inbox.send(Message::Retry);
        });
    }
}

/// A connection as the system's events name it.
struct Watched(Arc<Wire>);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Loses the connection as soon as something happens on it while nothing is asked: the server
/// closed it, or says what nobody asked for. Ends with the connection.
async fn watch(exchange: Arc<Exchange>, wire: Weak<Wire>, serial: u64) {
    let mut before = None;
    loop {
        sleep(LOOK_EVERY).await;
        let activity = exchange.activity(serial);
        if before == activity
            && let Some(Activity { is_idle: true, .. }) = activity
        {
            let Some(wire) = wire.upgrade() else { return };
            if happens(wire).await.is_err() {
                // Without events, whoever asks next finds out.
                return;
            }
            // Its users may have been quicker: then it is in use again.
            if exchange.activity(serial) == activity {
                return exchange.lose(serial, as_error(Trouble::Closed));
            }
        }
        before = exchange.activity(serial);
        if before.is_none() {
            return;
        }
    }
}

/// Loses the connection when the sentinels name another server: the one before may go on to answer,
/// cut off from all others. Ends with the connection.
async fn follow(common: Arc<Common>, exchange: Arc<Exchange>, address: Address, serial: u64) {
    loop {
        sleep(common.settings.look_for_master_every()).await;
        if exchange.activity(serial).is_none() {
            return;
        }
        if connect::address(&common).await.is_ok_and(|named| named != address) {
            return exchange.lose(serial, replaced());
        }
    }
}

/// The error of a connection to a server that is the master no more.
pub(super) fn replaced() -> Error {
    error(ErrorKind::Network, "another server is the master now")
}

/// Waits until there is something to read, or an end.
#[allow(unsafe_code)]
async fn happens(wire: Arc<Wire>) -> io::Result<()> {
    // SAFETY: the descriptor is that of the wire's socket, which stays the same and open as long
    // as the wire is there; `Watched` owns a share of it and goes with the events.
    let events = unsafe { AsyncFd::register_with_interest(Watched(wire), Interest::READABLE) };
    events.map_err(|failed| failed.into_parts().1)?.readable().await.map(drop)
}
