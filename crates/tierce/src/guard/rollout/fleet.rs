//! A rollout of several hosts: how the guard of one keeps in step with the others by L3.
//!
//! ```text
//!   host A                                 L3                                  host B
//!   word, journal <── guard <── courier ── look, join, propose ── courier ──> guard ──> word, journal
//!                                          state, log, leader
//! ```
//! What holds in L3 is said in `tier::rollout`: one state, which only a later one replaces; a rollback
//! beats all of its start. Each host has its word and its journal as if it were alone, and one process
//! of it, its **envoy** (who has the lock of a file beside it), sees to it that they say the same as L3:
//!
//! - It looks there every [`POLL`]. Decisions that are new it writes into the journal, and their share
//!   into the word. So `history` of any host has the decisions of all.
//! - What L3 does not know or has lost it puts there ([`RolloutAsk::Join`]): a rollback that was decided
//!   on this host, and after a FLUSHALL the whole state. Of several hosts the one that knows most wins.
//! - One envoy **leads**: it has the lease in L3. It alone judges gates. A step is proposed there
//!   first, and the share rises when the proposal comes back as news; it names the version that it
//!   was decided upon, so no step is taken twice and none is taken after a rollback.
//!
//! **Who never waits for L3.** All that talks to it is a thread of its own, the courier: what the guard
//! does and what an operator asks for goes on while the server hangs. A rollback is in the word before
//! anything else is done with it.
//!
//! **Hosts that are split** from L3 keep their share. The leader's lease runs out; with it or without,
//! no proposal arrives, so no share rises and no green time is counted. Triggers take it back where
//! they fire, and operators where they ask; it is for all as soon as one host of them that knows of it
//! reaches L3. A rollback by steps goes down step by step on each host meanwhile. A host that was
//! away is told of all of that at its first look, or of a later start, which makes what it missed void.

use std::{
    collections::HashSet,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{decision::Decision, journal::Journal, machine::Rollout};
use crate::{
    error::Result,
    random,
    split::Share,
    sync::{Condvar, Mutex},
    tier::{RemoteTier, RolloutAsk, RolloutMark, RolloutNews, RolloutNext, RolloutState},
};

/// How often L3 is asked what became of the rollout: with a look of each other process at its own
/// host every 40 ms, all hosts follow within 300 ms.
const POLL: Duration = Duration::from_millis(200);

/// For how long a leader leads that says nothing: long enough for a pause of its machine, and short
/// against the waits of plans.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// The file that the envoy of a host locks, in the folder of its store.
const ENVOY: &str = "rollout.envoy";

/// How many decisions are put back where L3 lost them: as many as it keeps.
const TAIL: usize = 1000;

/// What the envoy of a host knows of the others.
pub(super) struct Fleet {
    shared: Arc<Shared>,
    /// Locked by the envoy while it lives.
    envoy: File,
    is_envoy: bool,
    /// Decisions that are in the journal.
    seen: HashSet<u64>,
    /// This host has a rollback that L3 may not know.
    has_unsent: bool,
    /// What is proposed, and the machine that it led to.
    proposed: Option<(Decision, Rollout)>,
    is_threaded: bool,
    has_thread: bool,
}

struct Shared {
    remote: Arc<dyn RemoteTier>,
    /// Names this process among all.
    owner: String,
    is_over: AtomicBool,
    mail: Mutex<Mail>,
    wake: Condvar,
}

/// What the guard and the courier hand each other.
#[derive(Default)]
struct Mail {
    is_called: bool,
    // To L3.
    join: Option<Arc<RolloutNext>>,
    proposal: Option<(RolloutMark, RolloutNext)>,
    /// There was no exchange since it was handed over.
    is_proposed: bool,
    // From L3.
    /// Up to where the guard has written all down.
    known: Option<RolloutMark>,
    news: Option<RolloutNews>,
    /// What it has; `None` before it ever answered.
    server: Option<Option<RolloutState>>,
    heard: Option<Instant>,
    leads_until: Option<Instant>,
    leader: Option<String>,
}

/// A decision as L3 keeps it: the same on all hosts.
pub(super) fn line_of(decision: &Decision) -> Result<String> {
    let plain = Decision { number: None, ..decision.clone() };
    Ok(serde_json::to_string(&plain).map_err(std::io::Error::from)?)
}

/// The decisions of lines, of which the last has this number. What is none is of a later version and
/// left out.
pub(super) fn decisions_of(lines: &[String], last: u64) -> Vec<Decision> {
    let number = |at: usize| last.saturating_sub((lines.len() - 1 - at) as u64);
    let parse = |(at, line): (usize, &String)| {
        let decision: Decision = serde_json::from_str(line).ok()?;
        Some(Decision { number: Some(number(at)), ..decision })
    };
    lines.iter().enumerate().filter_map(parse).collect()
}

/// The state that a decision led to, as the change of this number.
pub(super) fn state_of(decision: &Decision, number: u64) -> Option<RolloutState> {
    let mark = RolloutMark { epoch: decision.epoch?, number, id: random::random() };
    let parts = Share::of(decision.percent / 100.0)?.parts();
    Some(RolloutState { mark, is_back: decision.is_back(), parts })
}

fn hash_of(decision: &Decision) -> u64 {
    let mut hasher = DefaultHasher::new();
    line_of(decision).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

impl Fleet {
    /// # Errors
    /// What the system says of the file in the folder of the store by which a host has one envoy.
    pub(super) fn new(remote: Arc<dyn RemoteTier>, instance: &str, folder: &Path) -> Result<Self> {
        let shared = Shared {
            remote,
            owner: format!("{instance} {:016x}", random::random()),
            is_over: AtomicBool::new(false),
            mail: Mutex::default(),
            wake: Condvar::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            envoy: File::create(folder.join(ENVOY))?,
            is_envoy: false,
            seen: HashSet::new(),
            has_unsent: false,
            proposed: None,
            is_threaded: false,
            has_thread: false,
        })
    }

    /// The tier, for what an operator asks of it.
    pub(super) fn remote(&self) -> Arc<dyn RemoteTier> {
        Arc::clone(&self.shared.remote)
    }

    /// From now on a thread talks to L3 while this process is its host's envoy.
    pub(super) fn use_thread(&mut self) {
        self.is_threaded = true;
    }

    /// Remembers a decision that is in the journal.
    pub(super) fn note(&mut self, decision: &Decision) {
        self.seen.insert(hash_of(decision));
        if decision.number.is_none() && decision.epoch.is_some() && decision.is_back() {
            self.has_unsent = true;
        }
    }

    /// True if a decision is in the journal.
    pub(super) fn has_seen(&self, decision: &Decision) -> bool {
        self.seen.contains(&hash_of(decision))
    }

    /// True if this process speaks for its host.
    pub(super) fn is_envoy(&self) -> bool {
        self.is_envoy
    }

    /// Speaks for its host from now on, if nobody else does.
    pub(super) fn become_envoy(&mut self) {
        self.is_envoy = self.is_envoy || self.envoy.try_lock().is_ok();
        if self.is_envoy && self.is_threaded && !self.has_thread {
            let shared = Arc::clone(&self.shared);
            let courier = thread::Builder::new().name("tierce-rollout".into());
            // Without a thread the next round tries again.
            self.has_thread = courier.spawn(move || run(&shared)).is_ok();
        }
    }

    /// True where no thread talks to L3.
    pub(super) fn is_inline(&self) -> bool {
        !self.is_threaded
    }

    /// Talks to L3, where no thread does.
    pub(super) fn exchange(&self) {
        if !self.is_threaded {
            self.shared.exchange();
        }
    }

    /// Has L3 asked now.
    pub(super) fn call(&self) {
        self.shared.mail.lock().is_called = true;
        self.shared.wake.notify_all();
    }

    /// What L3 told and is not written down yet.
    pub(super) fn news(&self) -> Option<RolloutNews> {
        self.shared.mail.lock().news.clone()
    }

    /// All of these news are in the journal.
    pub(super) fn wrote_down(&self, news: &RolloutNews) {
        let mut mail = self.shared.mail.lock();
        let mark = news.state.map(|state| state.mark);
        mail.known = mark;
        if mail.news.as_ref().and_then(|news| news.state).map(|state| state.mark) == mark {
            mail.news = None;
        }
    }

    /// True if this process leads the rollout of all hosts.
    pub(super) fn leads(&self) -> bool {
        let mail = self.shared.mail.lock();
        mail.leads_until.is_some_and(|until| Instant::now() < until)
    }

    /// True if L3 answered within the time of a lease.
    pub(super) fn is_heard(&self) -> bool {
        self.shared.mail.lock().heard.is_some_and(|heard| heard.elapsed() < LEASE)
    }

    /// Who leads, as far as L3 told; without the part that tells processes of one name apart.
    pub(super) fn leader(&self) -> Option<String> {
        let leader = self.shared.mail.lock().leader.clone()?;
        Some(leader.rsplit_once(' ').map_or(leader.clone(), |(name, _)| name.to_owned()))
    }

    /// Hands over what led to `next`, to take effect when L3 has accepted it. False where something
    /// else is under way, or L3 has another state than this host.
    pub(super) fn propose(&mut self, decisions: &[Decision], next: Rollout) -> Result<bool> {
        let Some(last) = decisions.last() else { return Ok(false) };
        let mut mail = self.shared.mail.lock();
        let Some(known) = mail.known else { return Ok(false) };
        let Some(state) = state_of(last, 0) else { return Ok(false) };
        let is_current = mail.server.flatten().is_some_and(|server| server.mark == known);
        if mail.is_proposed || !is_current || state.mark.epoch != known.epoch {
            return Ok(false);
        }
        let lines: Result<Vec<String>> = decisions.iter().map(line_of).collect();
        mail.proposal = Some((known, RolloutNext { state, plan: None, lines: lines? }));
        mail.is_proposed = true;
        mail.is_called = true;
        drop(mail);
        self.shared.wake.notify_all();
        self.proposed = Some((last.clone(), next));
        Ok(true)
    }

    /// True while it is not known what became of a proposal.
    pub(super) fn is_proposing(&self) -> bool {
        self.shared.mail.lock().is_proposed
    }

    /// Forgets a proposal of which it is known and was written down what became of it.
    pub(super) fn forget_proposal(&mut self) {
        if !self.is_proposing() {
            self.proposed = None;
        }
    }

    /// The machine that was proposed, if this decision is the last that it led to.
    pub(super) fn accepted(&mut self, latest: &Decision) -> Option<Rollout> {
        let (last, _) = self.proposed.as_ref()?;
        let is_ours = Decision { number: None, ..latest.clone() } == *last;
        if is_ours { self.proposed.take().map(|(_, next)| next) } else { None }
    }

    /// Puts into L3 what this host has and L3 does not: a rollback, or a state that was lost.
    pub(super) fn join(
        &mut self,
        journal: &Journal,
        plan: impl FnOnce() -> Option<String>,
    ) -> Result<()> {
        let Some(latest) = journal.latest() else { return Ok(()) };
        let Some(mine) = state_of(latest, journal.number()) else { return Ok(()) };
        let mut mail = self.shared.mail.lock();
        let is_missing = match mail.server {
            None => false,
            Some(None) => true,
            Some(Some(theirs)) => mine.beats(&theirs),
        };
        let is_handed = mail.join.as_ref().is_some_and(|join| {
            let there = join.state;
            (there.mark.epoch, there.is_back, there.parts)
                == (mine.mark.epoch, mine.is_back, mine.parts)
        });
        if !(self.has_unsent || is_missing && !is_handed) {
            return Ok(());
        }
        drop(mail);
        // Read anew, as it is rare and the journal keeps none but the last.
        let (_, all) = Journal::open(journal.path())?;
        let tail = all[all.len().saturating_sub(TAIL)..].iter();
        let (lines, plan) = (tail.map(line_of).collect::<Result<Vec<String>>>()?, plan());
        mail = self.shared.mail.lock();
        mail.join = Some(Arc::new(RolloutNext { state: mine, plan, lines }));
        mail.is_called = true;
        drop(mail);
        self.has_unsent = false;
        self.shared.wake.notify_all();
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.shared.wake.notify_all();
    }
}

/// What the courier does.
fn run(shared: &Shared) {
    let mut next_look = Instant::now();
    loop {
        let mut mail = shared.mail.lock();
        while !mail.is_called && !shared.is_over() && Instant::now() < next_look {
            shared.wake.wait_until(&mut mail, next_look);
        }
        mail.is_called = false;
        drop(mail);
        if shared.is_over() {
            break;
        }
        shared.exchange();
        next_look = Instant::now() + POLL;
    }
    if shared.mail.lock().leads_until.is_some() {
        // Else the others wait for the end of the lease.
        _ = shared.remote.rollout(&RolloutAsk::Resign { leader: &shared.owner });
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Brings what there is to bring, and asks for news.
    fn exchange(&self) {
        let mut mail = self.mail.lock();
        let (join, proposal, known) = (mail.join.clone(), mail.proposal.take(), mail.known);
        drop(mail);
        let looked = self.bring(join.as_deref(), proposal.as_ref()).and_then(|()| {
            let begin = Instant::now();
            let lead = Some((&self.owner[..], LEASE));
            Ok((begin, self.remote.rollout(&RolloutAsk::Look { known, lead })?))
        });
        mail = self.mail.lock();
        mail.is_proposed &= mail.proposal.is_some();
        let Ok((begin, news)) = looked else { return };
        if let (Some(brought), Some(there)) = (&join, &mail.join)
            && Arc::ptr_eq(brought, there)
        {
            mail.join = None;
        }
        mail.heard = Some(begin);
        mail.leads_until = news.leads.map(|span| begin + span);
        mail.leader.clone_from(&news.leader);
        mail.server = Some(news.state);
        let is_new = news.state.map(|state| state.mark) != known;
        mail.news = (is_new && news.state.is_some()).then_some(news);
    }

    fn bring(
        &self,
        join: Option<&RolloutNext>,
        proposal: Option<&(RolloutMark, RolloutNext)>,
    ) -> Result<()> {
        if let Some(next) = join {
            self.remote.rollout(&RolloutAsk::Join { next, quiet: LEASE })?;
        }
        if let Some((expected, next)) = proposal {
            let (expected, leader) = (*expected, Some(&self.owner[..]));
            // Refused or lost: the look says what holds.
            _ = self.remote.rollout(&RolloutAsk::Propose { expected, leader, next })?;
        }
        Ok(())
    }
}
