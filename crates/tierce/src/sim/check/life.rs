//! Until when a value may be served.

use super::{Facts, Read, told};
use crate::{
    TierKind,
    sim::{
        schedule::{At, Errand},
        script::Stale,
        server::EffectOf,
        tale::{Call, Outcome, Seen},
        verb::{KEYS, Verb, key_number},
        world::{BOUND, LOAD_WAIT},
    },
};

/// What has no end.
const NEVER: u64 = u64::MAX;

/// A touch of a key.
struct Touch<'a> {
    call: &'a Call,
    begin: At,
    end: At,
    /// When what it touched is over.
    over: u64,
}

/// What gives a value another end.
struct Renewed {
    begin: At,
    end: At,
    over: u64,
    /// Also one that was over.
    revives: bool,
}

impl Facts<'_> {
    pub(super) fn life(&self, read: &Read<'_>) -> Option<String> {
        let window = self.settings.stale.filter(|_| read.is_stale).map_or(0, Stale::window);
        let ends = self.ends(read, read.value, read.call.begin).saturating_add(window);
        (read.call.begin.millis > ends).then(|| {
            format!("life: {} got v{}, whose life ended at {ends} ms", told(read), read.value)
        })
    }

    /// When a value is over for this reader, by what ended it until then.
    fn ends(&self, read: &Read<'_>, of: usize, until: At) -> u64 {
        let value = &self.tale.values[of];
        let Some(made) = self.made_until(of) else { return NEVER };
        let own = match (value.ttl, value.keeps) {
            (Some(ttl), _) => made.millis + ttl,
            // A touch that comes between the look and the write in L3 is lost.
            (None, Some(before)) => {
                let until = until.min(self.tale.calls[self.maker(of)].begin);
                self.ends(read, before, until)
            }
            (None, None) => NEVER,
        };
        let touches: Vec<Touch<'_>> = self.touches(read.key).collect();
        let touched = touches.iter().map(|&Touch { begin, end, over, .. }| {
            let revives = false;
            Renewed { begin, end, over, revives }
        });
        let renewed: Vec<Renewed> = touched.chain(self.found_right(of)).collect();
        let carried = self.carried[of];
        let last = |least: u64, from: &dyn Fn(&Renewed) -> bool| {
            let mut ends = least;
            loop {
                // What is over is not touched any more.
                let is_there =
                    |it: &&Renewed| it.revives || it.begin.millis <= ends.saturating_add(carried);
                let longest = renewed.iter().filter(is_there).filter(|it| from(it));
                let longest = longest.map(|it| it.over).max().unwrap_or(0);
                if longest <= ends {
                    break ends;
                }
                ends = longest;
            }
        };
        let begun = self.tale.calls[self.maker(of)].begin;
        let mut ends = last(own, &|it| it.end.step > begun.step);
        // A touch that came after it was there for certain may also have brought its end forward.
        for (since, least) in self.shortened(read, of, &touches, made, until) {
            ends = ends.min(last(least, &|it| it.end.step > since));
        }
        ends.saturating_add(carried)
    }

    /// Touches of what was made until then that hold for this reader: from which step on others may
    /// have come after it, and its end.
    fn shortened(
        &self,
        read: &Read<'_>,
        of: usize,
        touches: &[Touch<'_>],
        made: At,
        until: At,
    ) -> Vec<(u64, u64)> {
        let is_between = |made: At, at: At| made.step < at.step && at.step < until.step;
        let here = touches.iter().filter(|touch| {
            let is_done = touch.call.outcome == Outcome::Touched(true);
            let made = self.told_below(of, read.end, touch.call).unwrap_or(made);
            let is_after = |at| is_between(made, at);
            is_done && is_after(touch.begin) && is_after(touch.end) && self.sees(read, touch.call)
        });
        let mut shortened: Vec<_> = here.map(|touch| (touch.begin.step, touch.over)).collect();
        let began = self.began(read);
        // What was set behind L3 may have come there after that.
        let there = self.settings.behind.and_then(|_| self.last_below(of, read.end));
        let since = made.max(there.unwrap_or(made));
        for effect in self.effects {
            let EffectOf::Touched { key, fresh: Some(fresh) } = &effect.what else { continue };
            let is_told = effect.at.millis.max(began) + BOUND <= read.call.begin.millis;
            if key_number(key) == Some(read.key)
                && is_between(since, effect.at)
                && is_told
                && self.had(read.process, TierKind::Redis, effect.at, read.end)
            {
                shortened.push((effect.at.step, effect.at.millis + fresh));
            }
        }
        shortened
    }

    /// Loads that found a value right, which is as fresh then as one that was loaded.
    fn found_right(&self, value: usize) -> impl Iterator<Item = Renewed> {
        self.renewals(value).map(|look| {
            let end = self.landed(look).unwrap_or(At { step: NEVER, millis: NEVER });
            let ttl = self.tale.or_default(self.tale.ttl_of(look.call));
            let over = end.millis.saturating_add(ttl.unwrap_or(NEVER));
            Renewed { begin: look.begin, end, over, revives: true }
        })
    }

    /// Counts, for the values of a key, how long calls took that may have carried one and returned
    /// another or none: what is stale is brought up before it is loaded anew.
    pub(super) fn carry_aside(&mut self) {
        for (value, took) in &self.tale.sends {
            self.carried[*value] += took;
        }
        // Threads that stand still hold what they send for longer than that.
        let stands_still = self.settings.behind.is_some() && self.settings.pace.advances > 0;
        if self.settings.stale.is_none() && !stands_still {
            return;
        }
        let looked = |actor: usize, begin: At, end: At| -> u64 {
            let looks = self.tale.looks.iter().filter(|look| {
                look.actor == actor && begin.step <= look.begin.step && look.end.step <= end.step
            });
            looks.map(|look| look.end.millis - look.begin.millis).sum()
        };
        let mut by_key = vec![0; KEYS.len()];
        for call in &self.tale.calls {
            let (Some(key), Some(end)) = (call.verb.loads(), call.end) else { continue };
            let took = end.millis - call.begin.millis;
            by_key[key] += took - looked(call.actor, call.begin, end).min(took);
        }
        for Errand { actor, begin, end } in self.errands {
            let Some(end) = end else { continue };
            let took = end.millis - begin.millis;
            let carries = took - looked(*actor, *begin, *end).min(took);
            by_key.iter_mut().for_each(|carried| *carried += carries);
        }
        for (value, carried) in self.tale.values.iter().zip(&mut self.carried) {
            *carried += by_key.get(value.key).copied().unwrap_or(0);
        }
    }

    /// A stale value of before a load of this process found that there is none.
    pub(super) fn absence(&self, read: &Read<'_>) -> Option<String> {
        // With L3 the news of other changes, also of those of this host, may keep anything out.
        let lacks = |tier| self.tale.eras.iter().all(|era| !era.tiering.has(tier));
        if !read.is_stale || !self.settings.is_calm || !lacks(TierKind::Redis) {
            return None;
        }
        // What another load brought meanwhile, that one did not know of.
        let is_before = |at: At| {
            let mut kept = self.renewals(read.value).map(|look| self.landed(look));
            let made = self.made_until(read.value);
            made.is_some_and(|made| made < at) && kept.all(|kept| kept.is_some_and(|it| it < at))
        };
        // A tier that enters later has what it had.
        let stays = |from: At| {
            let begins = self.tale.eras.iter().filter(|era| era.process == read.process);
            begins.filter(|era| from.step < era.from.step).all(|era| read.end.step < era.from.step)
        };
        let look = self.tale.looks.iter().find(|look| {
            let call = &self.tale.calls[look.call];
            look.found == Seen::Absent
                && stays(call.begin)
                && call.verb.is_load_of(read.key)
                && call.process == Some((read.process, read.host))
                && call.outcome == Outcome::Found(vec![None])
                && is_before(call.begin)
                && call.end.is_some_and(|end| end.step < read.call.begin.step)
                && self.is_undisturbed(call)
        })?;
        Some(format!(
            "absence: {} got v{}, stale, and a load had found nothing at {}",
            told(read),
            read.value,
            look.at.step
        ))
    }

    /// True where no change was under way while a call was made, by whose word it might not be kept.
    fn is_undisturbed(&self, call: &Call) -> bool {
        let Some(end) = call.end else { return false };
        let hard = self.settings.stale.and_then(|stale| stale.hard);
        // Who waits for a load that takes so long has another one begin.
        if end.millis - call.begin.millis >= LOAD_WAIT {
            return false;
        }
        let is_harmless = |other: &Call| {
            let ended = other.end.map_or(NEVER, |end| end.step);
            let reads = matches!(
                other.verb,
                Verb::Get(_)
                    | Verb::GetStale(_)
                    | Verb::GetMany(_)
                    | Verb::Load(..)
                    | Verb::LoadAway(..)
                    | Verb::Sleep(_)
            );
            reads || ended < call.begin.step || other.begin.step > end.step
        };
        hard.is_none() && self.tale.calls.iter().all(is_harmless)
    }

    /// Touches of a key, also those of which nobody knows whether they were made.
    fn touches(&self, key: usize) -> impl Iterator<Item = Touch<'_>> {
        self.tale.calls.iter().filter_map(move |call| match (&call.verb, call.end) {
            (Verb::Touch(of, ttl), Some(end)) if *of == key => {
                Some(Touch { call, begin: call.begin, end, over: end.millis + ttl })
            }
            _ => None,
        })
    }
}
