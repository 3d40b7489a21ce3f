//! What a read may not get, as it was changed before.

use super::{Facts, Read, told};
use crate::{
    TierKind, hidden_tags, key,
    sim::{
        listen::LOOK,
        schedule::At,
        server::{Effect, EffectOf},
        tale::{self, Call, Made, Outcome},
        verb::{DELIMITER, KEYS, PREFIX, TAG, Verb, has_prefix, key_number},
        world::BOUND,
    },
    tag_cells::{self, CELLS_BELOW, TagChange},
};

/// True where a call changes what this key has, for who takes what is stale or not.
fn changes(call: &Call, key: usize, takes_stale: bool) -> bool {
    match &call.verb {
        Verb::Expire(_)
        | Verb::ChangeTag { removes: false }
        | Verb::ChangePrefix { removes: false }
            if takes_stale =>
        {
            false
        }
        Verb::Set(of, _) | Verb::Delete(of) | Verb::Expire(of) => *of == key,
        Verb::SetIfAbsent(of, _) | Verb::Update(of, _) | Verb::CompareAndSet(of) => {
            *of == key && matches!(call.outcome, Outcome::Changed { to: Some(_), .. })
        }
        Verb::Clear | Verb::ChangeTag { .. } => true,
        Verb::ChangePrefix { .. } => has_prefix(key),
        _ => false,
    }
}

impl Facts<'_> {
    pub(super) fn change(&self, read: &Read<'_>) -> Option<String> {
        let made = self.made(read.value)?;
        self.tale.calls.iter().enumerate().find_map(|(number, call)| {
            let end = call.end?;
            let is_its_own = self.tale.values[read.value].made == Made::Set(number);
            let made = self.told_below(read.value, read.end, call).unwrap_or(made);
            let is_older = made.step < call.begin.step && end.step < read.since.step;
            let failed = matches!(call.outcome, Outcome::Failed(_));
            let is_change = changes(call, read.key, read.is_stale);
            let counts = is_change && !is_its_own && is_older && !failed;
            (counts && self.sees(read, call)).then(|| {
                let Call { verb, .. } = call;
                format!(
                    "change: {} got v{}, older than {verb}, which returned at {} before it began",
                    told(read),
                    read.value,
                    end.step
                )
            })
        })
    }

    /// True where a read is to see a change by somebody of its host as soon as it has returned.
    pub(super) fn sees(&self, read: &Read<'_>, change: &Call) -> bool {
        let Some((process, host)) = change.process else { return false };
        process == read.process
            || host == read.host
                && change.end.is_some_and(|end| self.had_since(read, TierKind::Shared, end))
                && self.opened(process, TierKind::Shared, change.begin)
    }

    /// True where the reader had a tier at a moment after `since` and before it read: what it kept
    /// until then was judged by that tier.
    fn had_since(&self, read: &Read<'_>, tier: TierKind, since: At) -> bool {
        let eras: Vec<_> =
            self.tale.eras.iter().filter(|era| era.process == read.process).collect();
        eras.iter().enumerate().any(|(number, era)| {
            let over = eras.get(number + 1).map_or(u64::MAX, |next| next.from.step);
            era.tiering.has(tier) && era.done.step < read.call.begin.step && since.step < over
        })
    }

    /// True where a process ever had a tier until then.
    pub(super) fn opened(&self, process: usize, tier: TierKind, until: At) -> bool {
        let mut eras = self.tale.eras.iter().filter(|era| era.process == process);
        eras.any(|era| era.done.step <= until.step && era.tiering.has(tier))
    }

    pub(super) fn hosts(&self, read: &Read<'_>) -> Option<String> {
        let made = self.made(read.value)?;
        let bytes = tale::bytes(read.value);
        let concerns = |effect: &&Effect| self.concerns(effect, read.key, read.is_stale);
        let mine = |effect: &&Effect| matches!(&effect.what, EffectOf::Wrote { value, .. } if *value == bytes);
        let began = self.began(read);
        let effects = || self.effects.iter().filter(concerns);
        let last = effects().filter(mine).map(|effect| effect.at.step).max();
        let since = made.step.max(last.unwrap_or(0));
        let over = effects().find(|effect| {
            let is_fill = matches!(effect.what, EffectOf::Wrote { is_fill: true, .. });
            !is_fill
                && effect.at.step > since
                && (effect.at.millis.max(began) + BOUND <= read.call.begin.millis
                    || read.decides && effect.at.step < read.call.begin.step)
        })?;
        if !self.had(read.process, TierKind::Redis, over.at, read.end) {
            return None;
        }
        if !read.decides && self.was_stalled(read) {
            return None;
        }
        let At { step, millis } = over.at;
        Some(format!(
            "hosts: {} got v{}, which L3 gave up at {step} ({millis} ms), {}",
            told(read),
            read.value,
            if read.decides { "and looked there" } else { "longer ago than the staleness bound" }
        ))
    }

    /// True where nobody could tell the reader's host of anything for longer than a moment before it read, for
    /// they stood still.
    fn was_stalled(&self, read: &Read<'_>) -> bool {
        self.tale.calls.iter().any(|call| match call.verb {
            Verb::Stall { host, millis } if host == read.host => {
                let began = call.begin.millis;
                (began..=began + millis + LOOK).contains(&read.call.begin.millis)
            }
            _ => false,
        })
    }

    /// Since when a reader has the tiers that it has: who has L3 anew follows it from then on.
    pub(super) fn began(&self, read: &Read<'_>) -> u64 {
        let is_before = |at: At| at.step < read.call.begin.step;
        let eras = self.tale.eras.iter();
        let mut eras = eras.filter(|era| era.process == read.process && is_before(era.done));
        eras.next_back().map_or(0, |era| era.done.millis)
    }

    /// True where something in the server changed what this key has, for who takes what is stale or
    /// not.
    pub(super) fn concerns(&self, effect: &Effect, key: usize, takes_stale: bool) -> bool {
        match &effect.what {
            EffectOf::Expired { .. } if takes_stale => false,
            EffectOf::Wrote { key: of, .. }
            | EffectOf::Removed { key: of }
            | EffectOf::Expired { key: of } => key_number(of) == Some(key),
            EffectOf::Touched { .. } => false,
            EffectOf::TagsChanged { cells } => {
                let borne = self.cells_of(key);
                cells.iter().any(|changed| {
                    let counts = !takes_stale || changed.change == TagChange::Remove;
                    counts && borne.contains(&changed.cell)
                })
            }
            EffectOf::Cleared { group } => *group == key::group(&KEYS[key]),
        }
    }

    /// The cells of the tags that what this key has bears in L3.
    fn cells_of(&self, key: usize) -> Vec<usize> {
        let mut hashes = Vec::new();
        if self.settings.has_tags {
            hashes.extend(tag_cells::hashes([TAG]));
        }
        if self.settings.has_prefixes && has_prefix(key) {
            hashes.extend(hidden_tags::of_prefix(PREFIX, Some(DELIMITER)));
        }
        hashes.into_iter().map(|hash| hash as usize % CELLS_BELOW).collect()
    }

    /// A call says that a key has a value where it can have none.
    pub(super) fn presence(&self, number: usize) -> Option<String> {
        let call = &self.tale.calls[number];
        let (Outcome::Touched(true), Some((process, host)), Some(end)) =
            (&call.outcome, call.process, call.end)
        else {
            return None;
        };
        let (Verb::Touch(key, _) | Verb::SetIfAbsent(key, _)) = call.verb else { return None };
        // Where an answer about tags is lost nobody can say.
        let has_tags = self.settings.has_tags || self.settings.has_prefixes;
        if has_tags && !self.settings.is_calm {
            return None;
        }
        // A process that never met a tag does not ask L3 about any before it touches what is there.
        let has_remote = self.tale.eras.iter().any(|era| era.tiering.has(TierKind::Redis));
        if self.settings.has_tags && has_remote {
            return None;
        }
        let may_be = |value: &usize| {
            let (value, maker) = (*value, self.maker(*value));
            let is_made = self.tale.calls[maker].begin.step < end.step && maker != number;
            let (is_stale, decides, since) = (false, false, call.begin);
            let read = Read { call, process, host, end, key, value, is_stale, decides, since };
            // Who has asked L3 about tags does not ask about what comes there after that.
            let is_new = has_tags && self.made_until(value).is_none_or(|made| made > call.begin);
            let may_last = || {
                !self.tale.values[value].is_void
                    && self.change(&read).is_none()
                    && self.hosts(&read).is_none()
                    && self.life(&read).is_none()
            };
            is_made && (is_new || may_last())
        };
        let mut of_key =
            (0..self.tale.values.len()).filter(|value| self.tale.values[*value].key == key);
        (!of_key.any(|value| may_be(&value))).then(|| {
            format!(
                "presence: {} by process {process} at {} says that there is a value, and there can be none",
                call.verb, call.begin.step
            )
        })
    }
}
