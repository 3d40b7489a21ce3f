//! The masters of a cluster: a link to each, and which of them has which stripe.
//!
//! ```text
//!   stripe ──map──> link to its master ──reply──> done
//!              ^                          │ MOVED: the map changes, asked again
//!   surveyor ──┘ <── wanted: MOVED, CLUSTERDOWN, a call that failed
//! ```
//!
//! A stripe is the hash tag of all its names, so it lies in one slot, and what a call does to a key
//! is done by one node. One thread has the keepers of all links, and the *surveyor*, which asks the
//! nodes who serves what when somebody finds that it has changed. Nobody waits for it but callers
//! that come before there was a first answer.
//!
//! | file | has |
//! |---|---|
//! | `slots` | which slot a stripe has, and what nodes say of slots |
//! | `survey` | how nodes are asked |
//! | `redirect` | what nodes say instead of an answer |

mod redirect;
mod slots;
mod survey;

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::Notify, time::sleep};

use self::slots::Shares;
pub(super) use self::{redirect::Redirect, survey::survey};
use super::{
    link::{self, Common, Link},
    options::Address,
    refusal::error,
    request::no_answer,
};
use crate::{
    error::{Error, ErrorKind, Result},
    random,
    sync::Mutex,
    tier::redis::{names::STRIPES, options::Place},
};

/// The shortest time from one survey to the next: in a failover many callers want one.
const REST: Duration = Duration::from_millis(100);

/// The longest, while masters are away: whoever takes over is found within that.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// How often callers look whether there is a first map.
const LOOK: Duration = Duration::from_millis(1);

/// The links of this process to the masters of a cluster.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    common: Arc<Common>,
    handle: Handle,
    state: Mutex<State>,
    /// Somebody wants a survey.
    wanted: Notify,
    /// The thread is to end.
    stopped: Notify,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    /// All links that are in use, by where they lead.
    links: BTreeMap<Address, Arc<Link>>,
    /// The link of each stripe, once it is known.
    map: Option<Vec<Option<Arc<Link>>>>,
    /// All nodes that were heard of.
    nodes: Vec<Address>,
    /// Why the latest survey failed.
    down: Option<Error>,
}

impl Cluster {
    /// Starts the thread; it asks for the slots at the first call.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the system has no thread or descriptor left.
    pub(super) fn start(common: &Arc<Common>) -> Result<Self> {
        let runtime = link::runtime()?;
        let shared = Arc::new(Shared {
            common: Arc::clone(common),
            handle: runtime.handle().clone(),
            state: Mutex::new(State::default()),
            wanted: Notify::new(),
            stopped: Notify::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("tierce-l3".to_owned())
            .spawn(move || {
                let of_surveyor = Arc::clone(&of_thread);
                runtime.spawn(async move { of_surveyor.survey_when_wanted().await });
                runtime.block_on(of_thread.stopped.notified());
                // With the surveyor, whatever it waits for.
                runtime.shutdown_background();
            })
            .map_err(|cause| error(ErrorKind::Io, "no thread for L3").caused_by(cause))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// The link to the master of a stripe. Waits for the first map until `deadline`, which is
    /// `timeout` after its caller began.
    pub(super) fn link(
        &self,
        stripe: usize,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Arc<Link>> {
        loop {
            let found = {
                let state = self.shared.state.lock();
                match (&state.map, &state.down) {
                    _ if state.is_closed => return Err(link::closed()),
                    (Some(map), _) => Some(map[stripe].clone()),
                    (None, Some(down)) => return Err(down.clone()),
                    (None, None) => None,
                }
            };
            match found {
                Some(Some(link)) => return Ok(link),
                Some(None) => {
                    self.want_survey();
                    return Err(slots::unserved(stripe));
                }
                None => self.want_survey(),
            }
            if Instant::now() >= deadline {
                return Err(no_answer(timeout));
            }
            thread::sleep(LOOK);
        }
    }

    /// The link to the master of a stripe, if that is known by now.
    pub(super) fn known_link(&self, stripe: usize) -> Option<Arc<Link>> {
        self.shared.state.lock().map.as_ref()?[stripe].clone()
    }

    /// The link to a node, whatever slots it has.
    pub(super) fn link_to(&self, address: &Address) -> Result<Arc<Link>> {
        let mut state = self.shared.state.lock();
        if state.is_closed {
            return Err(link::closed());
        }
        Ok(self.shared.link_to(&mut state, address))
    }

    /// A node said that this one has the slot of a stripe.
    pub(super) fn moved(&self, stripe: usize, address: &Address) {
        {
            let mut state = self.shared.state.lock();
            if state.is_closed {
                return;
            }
            let link = self.shared.link_to(&mut state, address);
            if let Some(map) = &mut state.map {
                map[stripe] = Some(link);
            }
        }
        self.want_survey();
    }

    /// Has the nodes asked who serves what.
    pub(super) fn want_survey(&self) {
        self.shared.wanted.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.state.lock().is_closed
    }

    /// Why some calls fail at once, or `None`.
    pub(super) fn down(&self) -> Option<Error> {
        let state = self.shared.state.lock();
        let of_links = || state.map.as_ref()?.iter().flatten().find_map(|link| link.down());
        match &state.map {
            None => state.down.clone(),
            Some(_) => of_links(),
        }
    }

    /// Drops all connections, which are made anew at once.
    pub(super) fn reset(&self) {
        let links: Vec<_> = self.shared.state.lock().links.values().cloned().collect();
        links.iter().for_each(|link| link.reset());
    }

    /// Ends all connections and the thread; waiting callers are told at once.
    pub(super) fn stop(&self) {
        let links = {
            let mut state = self.shared.state.lock();
            state.is_closed = true;
            state.map = None;
            std::mem::take(&mut state.links)
        };
        links.values().for_each(|link| link.stop());
        self.shared.stopped.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // Nobody waits for what it does, so a panic of it concerns nobody here.
            _ = thread.join();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    fn has_link_down(&self) -> bool {
        self.links.values().any(|link| link.down().is_some())
    }
}

impl Shared {
    fn link_to(&self, state: &mut State, address: &Address) -> Arc<Link> {
        let start = || Arc::new(Link::at(&self.common, address, &self.handle));
        Arc::clone(state.links.entry(address.clone()).or_insert_with(start))
    }

    async fn survey_when_wanted(&self) {
        loop {
            self.wanted.notified().await;
            let mut rest = REST;
            loop {
                let nodes = known_nodes(&self.common, &self.state.lock().nodes);
                let outcome = survey(&self.common, nodes).await;
                let is_sound = outcome.as_ref().is_ok_and(Shares::is_sound);
                match outcome {
                    Ok(shares) => self.take(&shares),
                    Err(error) => self.state.lock().down = Some(error),
                }
                // Who wants the next one meanwhile is heard after it.
                sleep(random::jittered(rest)).await;
                rest = (2 * rest).min(LONGEST_REST);
                let mut state = self.state.lock();
                if state.map.is_none() {
                    // The next caller has it tried again.
                    state.down = None;
                    break;
                }
                // While a master is away nobody may ask, so nobody would find the next one.
                if is_sound && !state.has_link_down() {
                    break;
                }
            }
        }
    }

    /// Takes a new map into use, and gives up the links to those that are masters no more.
    fn take(&self, shares: &Shares) {
        let mut left = Vec::new();
        {
            let mut state = self.state.lock();
            if state.is_closed {
                return;
            }
            let mut map = Vec::with_capacity(STRIPES);
            for master in &shares.masters {
                map.push(master.as_ref().map(|address| self.link_to(&mut state, address)));
            }
            state.map = Some(map);
            state.down = None;
            state.nodes.clone_from(&shares.nodes);
            state.links.retain(|address, link| {
                let stays = shares.masters.iter().any(|master| master.as_ref() == Some(address));
                if !stays {
                    left.push(Arc::clone(link));
                }
                stays
            });
        }
        left.iter().for_each(|link| link.stop());
    }
}

/// The nodes to be asked: those that were heard of, and those of the options.
pub(super) fn known_nodes(common: &Common, heard_of: &[Address]) -> Vec<Address> {
    let mut nodes = heard_of.to_vec();
    if let Place::Cluster(first) = &common.settings.place {
        for address in first {
            if !nodes.contains(address) {
                nodes.push(address.clone());
            }
        }
    }
    nodes
}
