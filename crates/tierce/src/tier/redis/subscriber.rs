//! The thread that listens to the server's stream of changes for a [`ChangeListener`].
//!
//! ```text
//!   off duty --post--> subscribing --begins--> told of changes --ends--> subscribing ...
//!      ^                   |  failed: ends, a pause                         |
//!      +------ no post ----+-------------------- no post -------------------+
//! ```
//!
//! Where several processes share their copies, the listener says whose turn it is: it is asked
//! four times in each heartbeat, also while a subscription is made or waited for. The thread is a
//! process's own and is begun by the first call there; in a forked child that is the child's.
//!
//! **Missed news.** By pub/sub messages may be missed (`news.rs`): groups of which some were are void as
//! soon as that shows, with the next message or the next heartbeat.
//!
//! **Loss.** The stream counts as lost when the connection ends, when it does not answer a
//! heartbeat within half of one, or when more was told than could be dealt with. So a loss is
//! noticed within one and a half heartbeats. Where replicas are read, the heart beats with each look. The listener hears of it at once, and of the next
//! subscription only once the server tells on it.

use std::{
    io,
    ops::RangeInclusive,
    pin::pin,
    sync::{Arc, Weak, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::{Instant, timeout, timeout_at},
};

use super::{
    counters::count,
    link::Common,
    names,
    news::{News, Sequences, Stamp},
    refusal::error,
    sentinel,
    streams::{Begin, Streams},
    subscription::{Event, Told},
};
use crate::{
    clock::Millis,
    error::{Error, ErrorKind, Result},
    random,
    sync::Mutex,
    tier::{ChangeListener, Invalidation, Post, TagsTold},
};

/// First pause after a subscription failed; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause. A server that is back is found soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The same where another server may take over, which is done within a second or two.
const LONGEST_PAUSE_TO_FOLLOW: Duration = Duration::from_millis(500);

/// The same where the server refused our credentials: repeated attempts fill its log and may lock
/// the account.
const LONGEST_PAUSE_REFUSED: Duration = Duration::from_secs(30);

/// How long after its message a change of our own that is not done yet is looked at again, and when
/// it is given up: as long as a thread may be kept from running on a busy machine, within half a heartbeat, which
/// waits for it.
const SECOND_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// How often a listener is asked for its post in each heartbeat.
const LOOKS_PER_HEARTBEAT: u32 = 4;

/// The thread of this process and the way to it.
pub(super) struct Subscriber {
    events: UnboundedSender<Event>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Subscriber {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the system has no thread or descriptor left.
    pub(super) fn start(common: &Arc<Common>, listener: Weak<dyn ChangeListener>) -> Result<Self> {
        let failed = |cause: io::Error| {
            error(ErrorKind::Io, "no thread for the changes in L3").caused_by(cause)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name("tierce-l3-names")
            .build()
            .map_err(failed)?;
        let (events, received) = mpsc::unbounded_channel();
        let listening = Listening {
            common: Arc::clone(common),
            listener,
            sender: events.clone(),
            events: received,
            serial: 0,
            under_way: Vec::new(),
            last_beat: None,
            reigns: Vec::new(),
            sequences: Sequences::begin(&[]),
        };
        let thread = thread::Builder::new()
            .name("tierce-l3-changes".to_owned())
            .spawn(move || {
                runtime.block_on(listening.run());
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        Ok(Self { events, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread and its connection.
    pub(super) fn stop(&self) {
        _ = self.events.send(Event::Stop);
        let Some(thread) = self.thread.lock().take() else { return };
        // The listener may be dropped by its own thread, which drops this too.
        if thread.thread().id() != thread::current().id() {
            _ = thread.join();
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Why nothing is told any more.
enum End {
    /// The thread is to end.
    Stopped,
    /// The listener wants another post, or none.
    Relieved,
    /// The stream was lost.
    Lost(Error),
}

/// A subscription on which the server tells.
struct Begun {
    streams: Streams,
    /// A time before it was asked for the stamps, and since when it tells.
    since: Millis,
    /// The stamps of all stripes.
    stamps: Vec<Option<u64>>,
    /// What became of tags while nobody was told.
    tags: TagsTold,
}

/// Does `work`, which may take long, and asks the listener for its post meanwhile: only so does it
/// suspend the copies in time. `None`, with the work dropped, where the post is another one.
async fn looked_after<T>(
    listener: &Weak<dyn ChangeListener>,
    post: Post,
    pause: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    loop {
        if let Ok(done) = timeout(pause, &mut work).await {
            return Some(done);
        }
        if listener.upgrade()?.post(Some(post)) != Some(post) {
            return None;
        }
    }
}

/// What the server said at a heartbeat, which counts when the changes that were under way then are dealt with.
struct Beat {
    until: Millis,
    stamps: Vec<Option<u64>>,
    offsets: Vec<Option<u64>>,
    /// When the last of them is.
    dealt_with: Option<Instant>,
}

struct Listening {
    common: Arc<Common>,
    listener: Weak<dyn ChangeListener>,
    sender: UnboundedSender<Event>,
    events: UnboundedReceiver<Event>,
    /// Tells subscriptions apart.
    serial: u64,
    /// Keys that changed by changes of our own that are not done yet, and when they are looked at
    /// for the last time.
    under_way: Vec<(Vec<u8>, Instant)>,
    /// Of this subscription, while it does not count yet.
    last_beat: Option<Beat>,
    /// Of the latest subscription, where masters may change.
    reigns: Vec<Vec<u8>>,
    /// What was heard of what is published.
    sequences: Sequences,
}

fn lost() -> Error {
    error(ErrorKind::Network, "connection was lost")
}

impl Listening {
    async fn run(mut self) {
        let (mut post, mut failures) = (None, 0_u32);
        loop {
            let Some(listener) = self.listener.upgrade() else { return };
            post = listener.post(post);
            drop(listener);
            let Some(now) = post else {
                if self.rest(self.look_pause()).await {
                    return;
                }
                continue;
            };
            self.serial += 1;
            let (listener, pause) = (Weak::clone(&self.listener), self.look_pause());
            let end = match looked_after(&listener, now, pause, self.subscribe(now)).await {
                None => End::Relieved,
                Some(Ok(begun)) => {
                    failures = 0;
                    self.serve(begun, now).await
                }
                Some(Err(end)) => end,
            };
            match end {
                End::Stopped => return,
                End::Relieved => {}
                End::Lost(error) => {
                    count(&self.common.counters.subscriptions_lost);
                    let Some(listener) = self.listener.upgrade() else { return };
                    listener.ends(now, &error);
                    drop(listener);
                    let longest = match error.kind() {
                        ErrorKind::Auth => LONGEST_PAUSE_REFUSED,
                        _ if self.common.settings.place.may_change() => LONGEST_PAUSE_TO_FOLLOW,
                        _ => LONGEST_PAUSE,
                    };
                    let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(longest);
                    failures += 1;
                    let (listener, look_pause) = (Weak::clone(&self.listener), self.look_pause());
                    let rest = self.rest(random::jittered(pause));
                    if looked_after(&listener, now, look_pause, rest).await == Some(true) {
                        return;
                    }
                }
            }
        }
    }

    fn look_pause(&self) -> Duration {
        self.common.settings.heartbeat / LOOKS_PER_HEARTBEAT
    }

    /// Waits so long; true if the thread is to end.
    async fn rest(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            match timeout_at(until, self.events.recv()).await {
                Err(_) => return false,
                Ok(None | Some(Event::Stop)) => return true,
                // Of a subscription that is over.
                Ok(Some(_)) => {}
            }
        }
    }

    async fn subscribe(&mut self, post: Post) -> Result<Begun, End> {
        let common = Arc::clone(&self.common);
        let settings = &common.settings;
        let allowed = settings.connect_timeout;
        let made = timeout(allowed, async {
            let mut streams = Streams::new(&common, &self.sender, self.serial).await?;
            let begin = streams.begin_reigns(&settings.prefix).await?;
            Ok((streams, begin))
        });
        let (mut streams, begin) = match made.await {
            Ok(made) => made.map_err(End::Lost)?,
            Err(_) => {
                let place = &settings.place;
                let message = format!("no subscription at {place} within {allowed:?}");
                return Err(End::Lost(error(ErrorKind::Network, message)));
            }
        };
        let before = std::mem::replace(&mut self.reigns, streams.reigns());
        if begin == Begin::Other || !before.is_empty() && before != self.reigns {
            self.wait_for_links(&streams).await?;
        }
        let (since, known) = {
            let listener = self.listener.upgrade().ok_or(End::Stopped)?;
            (listener.now(), listener.tags_known(post))
        };
        let stamps = streams.stamps(&settings.prefix, allowed).await.map_err(End::Lost)?;
        let tags = streams.tags(&settings.prefix, known, allowed).await.map_err(End::Lost)?;
        Ok(Begun { streams, since, stamps, tags })
    }

    /// Waits until no process of the host asks the master of before any more: what it reads there
    /// would be kept, though the new one told of later changes. While nobody is told, what is kept
    /// lives for the staleness bound at most.
    ///
    /// What is told meanwhile is in the stamps that are asked for next.
    async fn wait_for_links(&mut self, streams: &Streams) -> Result<(), End> {
        let settings = &self.common.settings;
        let until = Instant::now()
            + settings.look_for_master_every()
            + sentinel::patience(settings.connect_timeout);
        loop {
            match timeout_at(until, self.events.recv()).await {
                Err(_) => return Ok(()),
                Ok(None | Some(Event::Stop)) => return Err(End::Stopped),
                Ok(Some(Event::Told { serial, .. })) if serial == self.serial => {
                    streams.took();
                }
                Ok(Some(Event::Ended { serial })) if serial == self.serial => {
                    return Err(End::Lost(lost()));
                }
                Ok(Some(_)) => {}
            }
        }
    }

    async fn serve(&mut self, begun: Begun, post: Post) -> End {
        let Begun { mut streams, since, stamps, tags } = begun;
        // Of the subscription before: nobody looks at them again.
        let left = std::mem::take(&mut self.under_way);
        self.last_beat = None;
        self.sequences = Sequences::begin(&stamps);
        let is_by_pubsub = !streams.published().is_empty();
        let bounds = is_by_pubsub && self.common.settings.invalidation == Invalidation::Auto;
        {
            let Some(listener) = self.listener.upgrade() else { return End::Stopped };
            // First: what `begins` brings back is judged by its tags then.
            listener.tags_changed(post, &tags);
            listener.begins(post, since, &stamps, bounds);
            for (key, _) in left {
                listener.changed(post, &key, None);
            }
        }
        // From here on what was missed is dealt with.
        count(&self.common.counters.subscriptions);
        // What a replica is asked for must be from before the last beat.
        let heartbeat = match self.common.settings.replica_reads {
            true => self.look_pause(),
            false => self.common.settings.heartbeat,
        };
        let mut next_look = Instant::now() + self.look_pause();
        let mut next_heartbeat = Instant::now() + heartbeat;
        loop {
            let until = match self.under_way.is_empty() {
                true => next_look,
                false => next_look.min(Instant::now() + SECOND_LOOK),
            };
            let event = match timeout_at(until, self.events.recv()).await {
                Ok(None | Some(Event::Stop)) => return End::Stopped,
                Ok(event) => event,
                Err(_) => None,
            };
            if (event.is_some() || !self.under_way.is_empty())
                && let Err(end) = self.deal_with(event, &mut streams, post).await
            {
                return end;
            }
            if streams.overflowed() {
                let message = "more changes were told than could be dealt with";
                return End::Lost(error(ErrorKind::Full, message));
            }
            self.count_beat(post);
            let now = Instant::now();
            if now < next_look {
                continue;
            }
            next_look = now + self.look_pause();
            let Some(listener) = self.listener.upgrade() else { return End::Stopped };
            if listener.post(Some(post)) != Some(post) {
                return End::Relieved;
            }
            drop(listener);
            if now >= next_heartbeat {
                next_heartbeat = now + heartbeat;
                if let Err(end) = self.beat(&mut streams, post).await {
                    return end;
                }
            }
        }
    }

    /// Asks for a sign of life, and what was told until then.
    async fn beat(&mut self, streams: &mut Streams, post: Post) -> Result<(), End> {
        let until = self.listener.upgrade().ok_or(End::Stopped)?.now();
        let heard = self.sequences.now();
        let common = Arc::clone(&self.common);
        let settings = &common.settings;
        let asked = streams.stamps(&settings.prefix, settings.heartbeat / 2);
        let stamps = asked.await.map_err(End::Lost)?;
        let offsets = match settings.replica_reads {
            true => streams.offsets(settings.heartbeat / 2).await.map_err(End::Lost)?,
            false => Vec::new(),
        };
        let event = self.events.try_recv().ok();
        self.deal_with(event, streams, post).await?;
        let published = streams.published();
        if !published.is_empty() {
            // The last message may be the one that was missed.
            let missed = self.sequences.compare(&published, &heard, &stamps);
            let listener = self.listener.upgrade().ok_or(End::Stopped)?;
            for stripe in missed {
                count(&common.counters.news_missed);
                listener.group_changed(post, stripe);
            }
            drop(listener);
            self.deal_with_tags(streams, post).await?;
        }
        // What is under way is not dealt with. It will be, though more may come all the time.
        let dealt_with = self.under_way.iter().map(|(_, last)| *last).max();
        self.last_beat = Some(Beat { until, stamps, offsets, dealt_with });
        if !streams.overflowed() {
            self.count_beat(post);
        }
        Ok(())
    }

    /// The stripe of which news were missed before this.
    fn missed_before(&mut self, news: &News) -> Option<usize> {
        let stripe = news.stripe(&self.common.settings.prefix)?;
        let is_missed = !self.sequences.hear(stripe, news.stamp);
        (is_missed || news.stamp == Stamp::Lost).then_some(stripe)
    }

    /// Has the latest heartbeat count, if all is dealt with that was told before it.
    fn count_beat(&mut self, post: Post) {
        let first = self.under_way.iter().map(|(_, last)| *last).min();
        let counts =
            |beat: &mut Beat| first.zip(beat.dealt_with).is_none_or(|(first, dealt)| first > dealt);
        let Some(beat) = self.last_beat.take_if(counts) else { return };
        if let Some(listener) = self.listener.upgrade() {
            listener.told_until(post, beat.until, &beat.stamps, &beat.offsets);
        }
    }

    /// Asks what became of tags.
    async fn deal_with_tags(&self, streams: &mut Streams, post: Post) -> Result<(), End> {
        let settings = &self.common.settings;
        let known = self.listener.upgrade().ok_or(End::Stopped)?.tags_known(post);
        let asked = streams.tags(&settings.prefix, known, settings.heartbeat / 2);
        let told = asked.await.map_err(End::Lost)?;
        self.listener.upgrade().ok_or(End::Stopped)?.tags_changed(post, &told);
        Ok(())
    }

    /// Deals with an event, and with all that came after it by now.
    async fn deal_with(
        &mut self,
        mut next: Option<Event>,
        streams: &mut Streams,
        post: Post,
    ) -> Result<(), End> {
        let (mut changed, mut everything, mut end) = (Vec::new(), false, None);
        let mut missed = Vec::new();
        while let Some(event) = next {
            match event {
                Event::Told { serial, told } if serial == self.serial => {
                    streams.took();
                    match told {
                        Told::Names(names) => changed.extend(names),
                        Told::Everything => everything = true,
                        Told::News(news) => {
                            missed.extend(self.missed_before(&news));
                            changed.push(news.name);
                        }
                    }
                }
                Event::Ended { serial } if serial == self.serial => {
                    end = Some(End::Lost(lost()));
                }
                Event::Stop => return Err(End::Stopped),
                Event::Told { .. } | Event::Ended { .. } => {}
            }
            next = self.events.try_recv().ok();
        }
        if let Some(end) = end {
            // All counts as changed now.
            return Err(end);
        }
        let Some(listener) = self.listener.upgrade() else { return Err(End::Stopped) };
        let prefix = &self.common.settings.prefix;
        let counters = &self.common.counters;
        let (mut keys, mut stripes) = (Vec::with_capacity(changed.len()), Vec::new());
        let mut are_tags_changed = everything;
        for name in &changed {
            match names::Told::of(prefix, name) {
                Some(names::Told::Key(key)) => keys.push(key),
                Some(names::Told::Stripe(stripe)) => stripes.push(stripe),
                Some(names::Told::Tags) => are_tags_changed = true,
                None => {}
            }
        }
        counters.changes_told.fetch_add(keys.len() as u64, Ordering::Relaxed);
        if everything {
            count(&counters.all_changes_told);
            listener.all_changed(post);
            drop(listener);
            return self.deal_with_tags(streams, post).await;
        }
        missed.iter().for_each(|_| count(&counters.news_missed));
        stripes.extend(missed);
        stripes.sort_unstable();
        stripes.dedup();
        for stripe in stripes {
            listener.group_changed(post, stripe);
        }
        // Those that are told once more are looked at as new.
        let now = Instant::now();
        let last_look =
            (self.common.settings.heartbeat / 2).clamp(*LAST_LOOK.start(), *LAST_LOOK.end());
        let again = std::mem::take(&mut self.under_way);
        let late = |key: &[u8]| {
            let known = again.iter().find(|(known, _)| known == key);
            known.map_or(now + last_look, |(_, last)| *last)
        };
        keys.extend(again.iter().map(|(key, _)| &key[..]));
        keys.sort_unstable();
        keys.dedup();
        let (mut own, mut changes) = (Vec::new(), Vec::new());
        for key in keys {
            match listener.own_change(post, key) {
                Some(change) => {
                    own.push(key);
                    changes.push(change);
                }
                None => listener.changed(post, key, None),
            }
        }
        drop(listener);
        if are_tags_changed {
            self.deal_with_tags(streams, post).await?;
        }
        if own.is_empty() {
            return Ok(());
        }
        let limit = self.common.settings.heartbeat / 2;
        let present = streams.look(prefix, &own, limit).await.map_err(End::Lost)?;
        let Some(listener) = self.listener.upgrade() else { return Err(End::Stopped) };
        for ((key, before), present) in own.into_iter().zip(changes).zip(present) {
            if now < late(key) && listener.is_under_way(post, key, before, present) {
                self.under_way.push((key.to_vec(), late(key)));
            } else {
                listener.changed(post, key, present);
            }
        }
        Ok(())
    }
}
