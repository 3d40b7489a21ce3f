//! The way to one server: one connection, shared by all callers, and served by them.
//!
//! ```text
//!   callers ──> unsent ──writer──> sent ─────────────────> server
//!      ^                            │                         │
//!      └───────── slot: answer <────┴──reader── replies <─────┘
//!
//!   writer, reader: roles of the callers themselves     keeper: a thread that connects, and
//!                                                       watches while nobody is there
//! ```
//!
//! **No hop.** A thread that does the I/O for others costs each request two changes of thread,
//! which take longer than the server does. So callers do it themselves ("leaders and followers",
//! "flat combining"): who comes when little is under way writes its request itself, and who
//! finds nobody reading reads. A lone caller makes the two system calls that a private
//! connection would make, and no other.
//!
//! **Pipelining by itself.** Where several requests are under way, those that come gather until
//! as many are together as are under way, for a quarter of a millisecond at most; then they leave
//! in one write. The more callers, the more requests in a write. Who has company lets others run
//! before it writes, and before it goes to sleep: among many callers, to sleep and be woken costs
//! more than all else that a request does here. Roles are apart so that a request need not wait
//! for the reply of another before it is sent.
//!
//! **Handing on.** A reader reads until its own answer is there. Then it sends what has gathered
//! and calls one of those who wait, who reads on. Who was answered goes its way; there is no
//! thread that must be scheduled for others to have their answers but the one reader.
//!
//! **Doubt.** A connection on which anything went wrong (a caller's time is over, I/O, protocol)
//! is dropped with all that waits on it, and never used again: a late answer must not reach
//! another caller. Each caller waits by its own clock, so a reader or writer that is held up (or
//! whose thread is stopped) keeps nobody past its deadline: the first whose time is over drops
//! the connection, which tells all others at once, and the next one is served by others. While
//! the last attempt to connect failed, or the last connection timed out, callers fail at once
//! with its error; else they wait for the attempt under way, until their deadline.
//!
//! | file | holds |
//! |---|---|
//! | `exchange` | the queues and the roles |
//! | `request` | one request, and the slot where its caller waits |
//! | `wire`, `reply` | the socket, and replies within limits |
//! | `replies` | those of one request, in memory that its thread uses again |
//! | `keeper`, `connect`, `stream` | how a connection is made and remade |

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use redis::ServerError;
use tokio::{
    runtime::{Handle, Runtime},
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
};

pub(super) use super::exchange::closed;
use super::{
    connect::Role,
    counters::{Counters, count},
    exchange::Exchange,
    keeper::{Keeper, Message, replaced},
    options::{Address, Settings},
    refusal::{self, RedisRefusal, error},
    reign::Present,
    replies::Replies,
    request::{Gate, Request, Work},
    secure,
    server_clock::ServerClock,
};
use crate::{
    error::{Error, ErrorKind, Result},
    sync::Mutex,
};

/// The error of a reply that is none to what was asked.
pub(super) fn unexpected() -> Error {
    error(ErrorKind::Network, "reply has an unexpected form")
}

/// Tasks that resolve host names run on one thread, which ends soon after.
const RESOLVER_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// What the tier and its link, in whatever process, have in common.
pub(super) struct Common {
    pub(super) settings: Settings,
    pub(super) counters: Arc<Counters>,
    pub(super) connector: Option<secure::Connector>,
}

/// The connection of this process to one server, and its keeper.
pub(super) struct Link {
    common: Arc<Common>,
    node: Option<Address>,
    exchange: Arc<Exchange>,
    gate: Arc<Gate>,
    keeper: UnboundedSender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a thread that does I/O runs.
///
/// # Errors
/// [`ErrorKind::Io`] where the system has no descriptor left.
pub(super) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_keep_alive(RESOLVER_KEEP_ALIVE)
        .thread_name("tierce-l3-names")
        .build()
        .map_err(no_thread)
}

fn no_thread(cause: io::Error) -> Error {
    error(ErrorKind::Io, "no thread for L3").caused_by(cause)
}

impl Link {
    /// Starts the keeper on a thread of its own; it connects when the first request comes.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the system has no thread or descriptor left.
    pub(super) fn start(common: &Arc<Common>) -> Result<Self> {
        let runtime = runtime()?;
        let (link, keeper, messages) = Self::new(common, None);
        let thread = thread::Builder::new()
            .name("tierce-l3".to_owned())
            .spawn(move || {
                runtime.block_on(keeper.run(messages));
                // Does not wait for a name that is just being resolved.
                runtime.shutdown_background();
            })
            .map_err(no_thread)?;
        *link.thread.lock() = Some(thread);
        Ok(link)
    }

    /// A link to a node of a cluster, with its keeper on a thread that is there already.
    pub(super) fn at(common: &Arc<Common>, address: &Address, thread: &Handle) -> Self {
        let (link, keeper, messages) = Self::new(common, Some(address.clone()));
        thread.spawn(keeper.run(messages));
        link
    }

    /// The same to a server that is read alone and may be any master's; connects at once.
    pub(super) fn at_replica(common: &Arc<Common>, address: &Address, thread: &Handle) -> Self {
        let (link, mut keeper, messages) = Self::new(common, Some(address.clone()));
        keeper.role = Role::Replica;
        thread.spawn(keeper.run(messages));
        link.exchange.begin();
        link
    }

    fn new(
        common: &Arc<Common>,
        node: Option<Address>,
    ) -> (Self, Keeper, UnboundedReceiver<Message>) {
        let (inbox, messages) = mpsc::unbounded_channel();
        let exchange = Exchange::new(Arc::clone(&common.counters), inbox.clone());
        let keeper = Keeper {
            common: Arc::clone(common),
            node: node.clone(),
            role: Role::Master,
            exchange: Arc::clone(&exchange),
            inbox: inbox.clone(),
            failures: 0,
            connected_before: false,
        };
        let link = Self {
            common: Arc::clone(common),
            node,
            exchange,
            gate: Gate::new(common.settings.queue),
            keeper: inbox,
            thread: Mutex::new(None),
        };
        (link, keeper, messages)
    }

    /// Which node of a cluster it leads to.
    pub(super) fn node(&self) -> Option<&Address> {
        self.node.as_ref()
    }

    /// True while there is a connection.
    pub(super) fn is_up(&self) -> bool {
        self.exchange.is_up()
    }

    /// Sends `work` and waits for its replies until `deadline`, which is `timeout` after the caller
    /// began: whole, but what they say is unknown.
    pub(super) fn replies(
        &self,
        work: Work,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Replies> {
        let counters = &self.common.counters;
        if let Some(down) = self.down() {
            count(&counters.disconnected);
            return Err(down);
        }
        let Some(place) = self.gate.enter() else {
            count(&counters.busy);
            let bound = self.common.settings.queue;
            return Err(error(ErrorKind::Busy, format!("{bound} requests are under way already")));
        };
        let (request, slot) = Request::new(work, deadline, timeout, place);
        let outcome = self.exchange.carry_out(request, &slot, deadline, timeout);
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout) {
            count(&counters.timeouts);
        }
        outcome
    }

    /// The error of an error reply, counted.
    pub(super) fn refused(&self, reply: &ServerError) -> Error {
        count(&self.common.counters.refusals);
        let error = refusal::from_reply(reply);
        if self.may_change() && error.cause() == Some(&RedisRefusal::ReadOnly) {
            self.exchange.lose_present(replaced());
        }
        error
    }

    /// True where another server may take over: then connections have reigns.
    pub(super) fn may_change(&self) -> bool {
        self.common.settings.place.may_change()
    }

    /// How many connections there were, and the reign of the present one.
    pub(super) fn reign(&self) -> Present {
        self.exchange.reign()
    }

    /// Why callers fail at once, or `None`.
    pub(super) fn down(&self) -> Option<Error> {
        self.exchange.down()
    }

    /// The estimate of the server's clock.
    pub(super) fn clock(&self) -> &ServerClock {
        self.exchange.clock()
    }

    /// Drops the connection, which is made anew at once; who waits for an answer on it is told.
    pub(super) fn reset(&self) {
        self.exchange.lose_present(error(ErrorKind::Network, "connection was reset"));
    }

    /// Ends the connection and the thread; waiting callers are told at once.
    pub(super) fn stop(&self) {
        self.exchange.close();
        // A thread that has ended already reads no message.
        _ = self.keeper.send(Message::Stop);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // Nobody waits for what it does, so a panic of it concerns nobody here.
            _ = thread.join();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop();
    }
}
