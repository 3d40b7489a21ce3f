//! Replicas that are asked in their master's stead, where that is wanted.
//!
//! ```text
//!   read ──> a replica that is there ──> ROLE, then what is asked of a master (`read.rs`)
//!                     │
//!                     ├ as far as it must be: its fresh value is the answer
//!                     └ else the master is asked, and this one rests for a moment
//! ```
//!
//! How far it must be is said by who asks ([`Reached`]): a replica is never trusted, each answer shows
//! by itself how new it is. `ROLE` comes first, so what is found is not older than the offset; stamp and
//! reign come with the epoch, as of a master.
//!
//! | place | who the replicas are |
//! |---|---|
//! | one server | those of the options |
//! | sentinels | those that the first sentinel to answer knows, and does not take for dead |
//! | a cluster | those of each slot, as the nodes say |
//!
//! One thread has the keepers of all links, and the *scout*, which asks who they are: from time to time,
//! and when one is missed. Nobody waits for a connection to a replica that is not there, nor for longer
//! than half of a read's time for its answer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use redis::Value;
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    cluster,
    counters::count,
    link::{self, Common, Link},
    names::STRIPES,
    options::{Address, Place},
    refusal::error,
    sentinel,
};
use crate::{
    error::{ErrorKind, Result},
    random,
    sync::Mutex,
};

/// How long a replica is not asked that was behind, or not what it should be: a pause that a master
/// hardly notices, and ten questions for nothing in a second at most.
const REST: Duration = Duration::from_millis(100);

/// Heartbeats from one look at who the replicas are to the next, while none is missed.
const HEARTBEATS_BETWEEN_LOOKS: u32 = 5;

/// The links of this process to replicas.
pub(super) struct Replicas {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    common: Arc<Common>,
    handle: Handle,
    state: Mutex<State>,
    /// Whose turn it is.
    turns: AtomicUsize,
    /// Somebody misses one.
    wanted: Notify,
    /// The thread is to end.
    stopped: Notify,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    all: BTreeMap<Address, Arc<Replica>>,
    of_stripes: OfStripes,
}

/// Which replicas have which stripes.
#[derive(Default)]
enum OfStripes {
    #[default]
    Unknown,
    /// All have all.
    Same(Vec<Arc<Replica>>),
    Each(Vec<Vec<Arc<Replica>>>),
}

/// One of them.
pub(super) struct Replica {
    link: Arc<Link>,
    begun: Instant,
    /// Until when it is not asked, milliseconds since `begun`.
    rests_until: AtomicU64,
}

impl Replica {
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Leaves it alone for a moment.
    pub(super) fn rest(&self) {
        self.rests_until.store(self.millis() + REST.as_millis() as u64, Ordering::Relaxed);
    }

    fn millis(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    fn is_at_rest(&self) -> bool {
        self.millis() < self.rests_until.load(Ordering::Relaxed)
    }
}

/// Who the replicas are.
pub(super) enum Known {
    Same(Vec<Address>),
    Each(Vec<Vec<Address>>),
}

impl Replicas {
    /// Starts the thread, which connects to all there are.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the system has no thread or descriptor left.
    pub(super) fn start(common: &Arc<Common>) -> Result<Self> {
        let runtime = link::runtime()?;
        let shared = Arc::new(Shared {
            common: Arc::clone(common),
            handle: runtime.handle().clone(),
            state: Mutex::new(State::default()),
            turns: AtomicUsize::new(random::random() as usize),
            wanted: Notify::new(),
            stopped: Notify::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("tierce-l3-replicas".to_owned())
            .spawn(move || {
                let of_scout = Arc::clone(&of_thread);
                runtime.spawn(async move { of_scout.look_from_time_to_time().await });
                runtime.block_on(of_thread.stopped.notified());
                // With the scout, whatever it waits for.
                runtime.shutdown_background();
            })
            .map_err(|cause| {
                error(ErrorKind::Io, "no thread for replicas of L3").caused_by(cause)
            })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A replica of the master of a stripe, connected and not at rest; each in its turn.
    pub(super) fn pick(&self, stripe: usize) -> Option<Arc<Replica>> {
        let state = self.shared.state.lock();
        let all = match &state.of_stripes {
            OfStripes::Unknown => return None,
            OfStripes::Same(all) => all,
            OfStripes::Each(each) => &each[stripe],
        };
        let turn = self.shared.turns.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..all.len()).map(|step| &all[turn.wrapping_add(step) % all.len()]);
        let found = in_turn.filter(|it| !it.is_at_rest()).find(|it| it.link.is_up()).cloned();
        drop(state);
        if found.is_none() {
            self.miss();
        }
        found
    }

    /// Has the scout look who the replicas are.
    pub(super) fn miss(&self) {
        self.shared.wanted.notify_one();
    }

    /// Drops all connections, which are made anew at once.
    pub(super) fn reset(&self) {
        let all: Vec<_> = self.shared.state.lock().all.values().cloned().collect();
        all.iter().for_each(|replica| replica.link.reset());
    }

    /// Ends all connections and the thread; waiting callers are told at once.
    pub(super) fn stop(&self) {
        let all = {
            let mut state = self.shared.state.lock();
            state.is_closed = true;
            state.of_stripes = OfStripes::Unknown;
            std::mem::take(&mut state.all)
        };
        all.values().for_each(|replica| replica.link.stop());
        self.shared.stopped.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // Nobody waits for what it does, so a panic of it concerns nobody here.
            _ = thread.join();
        }
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    async fn look_from_time_to_time(&self) {
        let heartbeat = self.common.settings.heartbeat;
        loop {
            let allowed = self.common.settings.connect_timeout;
            match timeout(allowed, known(&self.common)).await {
                Ok(Ok(known)) => self.take(&known),
                // Those that were known stay: each answer says by itself whether it counts.
                Ok(Err(_)) | Err(_) => count(&self.common.counters.connect_failures),
            }
            if matches!(self.common.settings.place, Place::One(_)) {
                return;
            }
            // Who misses one meanwhile is heard after it.
            sleep(random::jittered(self.common.settings.look_for_master_every())).await;
            _ = timeout(heartbeat * HEARTBEATS_BETWEEN_LOOKS, self.wanted.notified()).await;
        }
    }

    /// Connects to those that are new, and gives up the others.
    fn take(&self, known: &Known) {
        let mut left = Vec::new();
        {
            let mut state = self.state.lock();
            if state.is_closed {
                return;
            }
            let mut of = |addresses: &[Address]| -> Vec<Arc<Replica>> {
                addresses.iter().map(|address| self.replica(&mut state.all, address)).collect()
            };
            state.of_stripes = match known {
                Known::Same(all) => OfStripes::Same(of(all)),
                Known::Each(each) => OfStripes::Each(each.iter().map(|all| of(all)).collect()),
            };
            let stays = |address: &Address| match known {
                Known::Same(all) => all.contains(address),
                Known::Each(each) => each.iter().any(|all| all.contains(address)),
            };
            state.all.retain(|address, replica| {
                let stays = stays(address);
                if !stays {
                    left.push(Arc::clone(replica));
                }
                stays
            });
        }
        left.iter().for_each(|replica| replica.link.stop());
    }

    fn replica(
        &self,
        all: &mut BTreeMap<Address, Arc<Replica>>,
        address: &Address,
    ) -> Arc<Replica> {
        let start = || {
            let link = Link::at_replica(&self.common, address, &self.handle);
            let (link, begun) = (Arc::new(link), Instant::now());
            Arc::new(Replica { link, begun, rests_until: AtomicU64::new(0) })
        };
        Arc::clone(all.entry(address.clone()).or_insert_with(start))
    }
}

/// Who the replicas are now.
///
/// # Errors
/// Where nobody says.
pub(super) async fn known(common: &Arc<Common>) -> Result<Known> {
    match &common.settings.place {
        Place::One(_) => Ok(Known::Same(common.settings.replicas.clone())),
        Place::Sentinels(sentinels) => sentinel::replicas(common, sentinels).await.map(Known::Same),
        Place::Cluster(_) => {
            let shares = cluster::survey(common, cluster::known_nodes(common, &[])).await?;
            debug_assert_eq!(shares.replicas.len(), STRIPES, "replicas of all stripes");
            Ok(Known::Each(shares.replicas))
        }
    }
}

/// How much of what its master did a replica has done too, by its answer to ROLE; `None` for one that
/// is none, or has no link to its master.
pub(super) fn offset_of_replica(role: &Value) -> Option<u64> {
    let Value::Array(parts) = role else { return None };
    match &parts[..] {
        [name, _, _, state, Value::Int(offset)] if is(name, "slave") && is(state, "connected") => {
            u64::try_from(*offset).ok()
        }
        _ => None,
    }
}

/// How much a master has done for its replicas to do too, by its answer to ROLE.
pub(super) fn offset_of_master(role: &Value) -> Option<u64> {
    let Value::Array(parts) = role else { return None };
    match &parts[..] {
        [name, Value::Int(offset), ..] if is(name, "master") => u64::try_from(*offset).ok(),
        _ => None,
    }
}

fn is(value: &Value, word: &str) -> bool {
    match value {
        Value::BulkString(bytes) => bytes == word.as_bytes(),
        Value::SimpleString(text) => text == word,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_without_a_link_to_its_master_has_no_offset() {
        let text = |text: &str| Value::BulkString(text.into());
        let role = |name: &str, state: &str, offset| {
            Value::Array(vec![
                text(name),
                text("10.0.0.1"),
                Value::Int(6379),
                text(state),
                Value::Int(offset),
            ])
        };
        assert_eq!(offset_of_replica(&role("slave", "connected", 7)), Some(7));
        for state in ["connect", "connecting", "sync", "none"] {
            assert_eq!(offset_of_replica(&role("slave", state, 7)), None, "{state}");
        }
        assert_eq!(offset_of_replica(&role("slave", "connected", -1)), None);
        let master = Value::Array(vec![text("master"), Value::Int(9), Value::Array(Vec::new())]);
        assert_eq!((offset_of_master(&master), offset_of_replica(&master)), (Some(9), None));
        assert_eq!(offset_of_master(&role("slave", "connected", 7)), None);
        assert_eq!((offset_of_master(&Value::Nil), offset_of_replica(&Value::Nil)), (None, None));
    }
}
