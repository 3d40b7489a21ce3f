//! Who listens to the changes of the server for a process: the loop of `tier/redis/subscriber.rs`,
//! with the same looks, patience and order of calls.

use std::sync::Weak;

use super::{
    schedule::lock,
    server::Told,
    world::{HEARTBEAT, World},
};
use crate::{
    Error, ErrorKind, Millis, simulated,
    tier::{ChangeListener, Post, TagsTold},
};

/// How often the listener is asked for its post.
pub(super) const LOOK: u64 = HEARTBEAT / 4;
/// When a change of our own that is not done is looked at again, and when for the last time.
const SECOND_LOOK: u64 = 2;
const LAST_LOOK: u64 = 100;
const FIRST_PAUSE: u64 = 50;
const LONGEST_PAUSE: u64 = 500;
/// How long a subscription may take.
const CONNECT_TIMEOUT: u64 = 300;

enum End {
    Stopped,
    Relieved,
    Lost,
}

/// What the server said at a heartbeat, as in `subscriber.rs`.
struct Beat {
    until: Millis,
    stamps: Vec<Option<u64>>,
    dealt_with: Option<u64>,
}

struct Listening<'a> {
    world: &'a World,
    number: usize,
    host: usize,
    listener: &'a Weak<dyn ChangeListener>,
    /// Keys of changes of our own that are not done, and when they are looked at for the last time.
    under_way: Vec<(Vec<u8>, u64)>,
    /// Of this subscription, while it does not count yet.
    last_beat: Option<Beat>,
}

/// Listens until the history or the process ends.
pub(super) fn run(world: &World, number: usize, host: usize, listener: &Weak<dyn ChangeListener>) {
    let mut me =
        Listening { world, number, host, listener, under_way: Vec::new(), last_beat: None };
    me.run();
    lock(&world.server).unsubscribe(number);
}

impl Listening<'_> {
    fn run(&mut self) {
        let (mut post, mut failures) = (None, 0_u32);
        loop {
            if self.is_over() {
                return;
            }
            let Some(listener) = self.listener.upgrade() else { return };
            post = listener.post(post);
            drop(listener);
            let Some(now) = post else {
                self.world.sleep(LOOK);
                continue;
            };
            let end = match self.subscribe(now) {
                Ok((since, stamps, tags)) => {
                    failures = 0;
                    self.serve(now, since, &stamps, &tags)
                }
                Err(end) => end,
            };
            lock(&self.world.server).unsubscribe(self.number);
            match end {
                End::Stopped => return,
                End::Relieved => {}
                End::Lost => {
                    let Some(listener) = self.listener.upgrade() else { return };
                    self.world.note(self.number, || "lost the stream of changes".to_owned());
                    lock(&self.world.tale).losses += 1;
                    listener.ends(now, &Error::new(ErrorKind::Network, "connection was lost"));
                    drop(listener);
                    let pause = (FIRST_PAUSE << failures.min(8)).min(LONGEST_PAUSE);
                    failures += 1;
                    let pause = self.world.schedule.draw(|draws| draws.within(pause / 2, pause));
                    let until = self.world.now().millis + pause;
                    if matches!(self.rest(until, now), Err(End::Stopped)) {
                        return;
                    }
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.world.is_stopped(self.number)
    }

    /// Sleeps until then, and asks for the post meanwhile.
    fn rest(&self, until: u64, post: Post) -> Result<(), End> {
        loop {
            let now = self.world.now().millis;
            if self.is_over() {
                return Err(End::Stopped);
            }
            if now >= until {
                return Ok(());
            }
            self.world.sleep_until(until.min(now + LOOK));
            let listener = self.listener.upgrade().ok_or(End::Stopped)?;
            if self.world.now().millis < until && listener.post(Some(post)) != Some(post) {
                return Err(End::Relieved);
            }
        }
    }

    /// A way to the server and back; the milliseconds of the way back.
    fn way(&self, post: Post, patience: u64) -> Result<u64, End> {
        let now = self.world.now().millis;
        let link = lock(&self.world.links)[self.host];
        let slowness = self.world.slowness();
        let is_lost = self.world.schedule.draw(|draws| draws.chance(self.world.faults() / 4));
        if link.down_until > now || is_lost {
            if !link.refuses {
                self.rest(now + patience, post)?;
            }
            return Err(End::Lost);
        }
        let (there, back) = self.world.schedule.draw(|draws| {
            let way = |draws: &mut super::draws::Draws| match draws.below(4) {
                0 => draws.within(0, slowness),
                _ => 0,
            };
            (way(draws), way(draws))
        });
        self.rest(now + there, post)?;
        Ok(back)
    }

    fn subscribe(&mut self, post: Post) -> Result<(Millis, Vec<Option<u64>>, TagsTold), End> {
        let back = self.way(post, CONNECT_TIMEOUT)?;
        self.world.at_server(|server, now, draws| {
            server.subscribe(self.number);
            server.tags_known(now, draws);
        });
        self.rest(self.world.now().millis + back, post)?;
        let since = self.listener.upgrade().ok_or(End::Stopped)?.now();
        let stamps = self.stamps(post, CONNECT_TIMEOUT)?;
        let tags = self.tags(post, CONNECT_TIMEOUT)?;
        Ok((since, stamps, tags))
    }

    /// What became of tags since what is known.
    fn tags(&self, post: Post, patience: u64) -> Result<TagsTold, End> {
        let known = self.listener.upgrade().ok_or(End::Stopped)?.tags_known(post);
        self.ask(post, patience, |server, _| server.tags_told(known))
    }

    fn deal_with_tags(&self, post: Post) -> Result<(), End> {
        let told = self.tags(post, HEARTBEAT / 2)?;
        self.listener.upgrade().ok_or(End::Stopped)?.tags_changed(post, &told);
        Ok(())
    }

    /// Asks the server something on the connection of the subscription.
    fn ask<R>(
        &self,
        post: Post,
        patience: u64,
        ask: impl FnOnce(&super::server::Server, super::schedule::At) -> R,
    ) -> Result<R, End> {
        let begin = self.world.now().millis;
        let back = self.way(post, patience)?;
        let (answer, arrives) = self.world.at_server(|server, now, _| {
            let arrives = server.reply_at(self.number, now);
            (server.is_answered(self.number).then(|| ask(server, now)), arrives)
        });
        let Some(answer) = answer else {
            self.rest(begin + patience, post)?;
            return Err(End::Lost);
        };
        let arrives = arrives.max(self.world.now().millis + back);
        if arrives > begin + patience {
            self.rest(begin + patience, post)?;
            return Err(End::Lost);
        }
        self.rest(arrives, post)?;
        simulated::point();
        // What was on its way when the connection was cut never arrives, as what was told does not: an
        // answer that came without what was told before it would be no answer.
        let is_cut = !lock(&self.world.server).is_answered(self.number);
        if is_cut {
            self.rest(begin + patience, post)?;
            return Err(End::Lost);
        }
        Ok(answer)
    }

    fn stamps(&self, post: Post, patience: u64) -> Result<Vec<Option<u64>>, End> {
        self.ask(post, patience, |server, _| server.stamps())
    }

    fn serve(&mut self, post: Post, since: Millis, stamps: &[Option<u64>], tags: &TagsTold) -> End {
        let left = std::mem::take(&mut self.under_way);
        self.last_beat = None;
        {
            let Some(listener) = self.listener.upgrade() else { return End::Stopped };
            self.world.note(self.number, || format!("is told of changes, in term {}", post.term));
            listener.tags_changed(post, tags);
            listener.begins(post, since, stamps, false);
            for (key, _) in left {
                listener.changed(post, &key, None);
            }
        }
        let mut next_look = self.world.now().millis + LOOK;
        let mut next_heartbeat = self.world.now().millis + HEARTBEAT;
        loop {
            let now = self.world.now().millis;
            let mut until = next_look;
            if !self.under_way.is_empty() {
                until = until.min(now + SECOND_LOOK);
            }
            let told = lock(&self.world.server).next_for(self.number);
            if let Some(told) = told {
                until = until.min(told);
            }
            let stalled = self.world.stalled_until(self.host);
            if until.max(stalled) > now {
                self.world.sleep_until(until.max(stalled));
            } else {
                simulated::point();
            }
            if self.is_over() {
                return End::Stopped;
            }
            if let Err(end) = self.deal_with_told(post) {
                return end;
            }
            self.count_beat(post);
            let now = self.world.now().millis;
            if now < next_look {
                continue;
            }
            next_look = now + LOOK;
            let Some(listener) = self.listener.upgrade() else { return End::Stopped };
            if listener.post(Some(post)) != Some(post) {
                return End::Relieved;
            }
            drop(listener);
            if now >= next_heartbeat {
                next_heartbeat = now + HEARTBEAT;
                if let Err(end) = self.beat(post) {
                    return end;
                }
            }
        }
    }

    fn beat(&mut self, post: Post) -> Result<(), End> {
        let until = self.listener.upgrade().ok_or(End::Stopped)?.now();
        let stamps = self.stamps(post, HEARTBEAT / 2)?;
        self.deal_with_told(post)?;
        let dealt_with = self.under_way.iter().map(|(_, last)| *last).max();
        self.last_beat = Some(Beat { until, stamps, dealt_with });
        self.count_beat(post);
        Ok(())
    }

    fn count_beat(&mut self, post: Post) {
        let first = self.under_way.iter().map(|(_, last)| *last).min();
        let counts =
            |beat: &mut Beat| first.zip(beat.dealt_with).is_none_or(|(first, dealt)| first > dealt);
        let Some(beat) = self.last_beat.take_if(counts) else { return };
        if let Some(listener) = self.listener.upgrade() {
            listener.told_until(post, beat.until, &beat.stamps, &[]);
            self.world.note(self.number, || format!("was told all until {}", beat.until.0));
        }
    }

    fn deal_with_told(&mut self, post: Post) -> Result<(), End> {
        let (told, is_subscribed) = self.world.at_server(|server, now, _| {
            (server.take_told(self.number, now), server.is_subscribed(self.number, now))
        });
        if !is_subscribed {
            return Err(End::Lost);
        }
        if told.is_empty() && self.under_way.is_empty() {
            return Ok(());
        }
        let listener = self.listener.upgrade().ok_or(End::Stopped)?;
        if !told.is_empty() {
            self.world.note(self.number, || format!("hears of {told:?}"));
        }
        if told.contains(&Told::Everything) {
            listener.all_changed(post);
            drop(listener);
            return self.deal_with_tags(post);
        }
        let (mut keys, mut are_tags_changed) = (Vec::new(), false);
        for told in told {
            match told {
                Told::Key(key) => keys.push(key),
                Told::Group(group) => listener.group_changed(post, group),
                Told::Tags => are_tags_changed = true,
                Told::Everything => {}
            }
        }
        let now = self.world.now().millis;
        let again = std::mem::take(&mut self.under_way);
        let late = |key: &[u8]| {
            let known = again.iter().find(|(known, _)| known == key);
            known.map_or(now + LAST_LOOK, |(_, last)| *last)
        };
        keys.extend(again.iter().map(|(key, _)| key.clone()));
        keys.sort_unstable();
        keys.dedup();
        let (mut own, mut changes) = (Vec::new(), Vec::new());
        for key in keys {
            match listener.own_change(post, &key) {
                Some(change) => {
                    own.push(key);
                    changes.push(change);
                }
                None => listener.changed(post, &key, None),
            }
        }
        drop(listener);
        if are_tags_changed {
            self.deal_with_tags(post)?;
        }
        if own.is_empty() {
            return Ok(());
        }
        let present: Vec<_> = self.ask(post, HEARTBEAT / 2, |server, now| {
            own.iter().map(|key| server.present(key, now)).collect()
        })?;
        let listener = self.listener.upgrade().ok_or(End::Stopped)?;
        for ((key, before), present) in own.into_iter().zip(changes).zip(present) {
            if now < late(&key) && listener.is_under_way(post, &key, before, present) {
                let last = late(&key);
                self.under_way.push((key, last));
            } else {
                listener.changed(post, &key, present);
            }
        }
        Ok(())
    }
}
