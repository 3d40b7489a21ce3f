//! Changes that depend on what is there.

use std::collections::BTreeMap;

use super::Facts;
use crate::{
    TierKind, Tiering,
    sim::{
        schedule::At,
        server::{Effect, EffectOf},
        tale::{self, Call, Outcome},
        verb::{Verb, key_number},
    },
};

/// What decides about a key, for all who share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decider {
    Remote,
    /// The store of this host.
    Shared(usize),
    /// L1 of this process.
    Near(usize),
}

/// A change that was made in the place of what it found.
struct Made<'a> {
    call: &'a Call,
    decider: Decider,
    key: usize,
    from: Option<usize>,
    to: usize,
    end: At,
}

impl Facts<'_> {
    /// What decided in a call; `None` where that changed meanwhile.
    fn decider(&self, call: &Call) -> Option<Decider> {
        let ((process, host), end) = (call.process?, call.end?);
        let had = |tier| self.had(process, tier, call.begin, end);
        let lacked = |tier| self.lacked(process, tier, call.begin, end);
        match () {
            () if had(TierKind::Redis) => Some(Decider::Remote),
            () if !lacked(TierKind::Redis) => None,
            () if had(TierKind::Shared) => Some(Decider::Shared(host)),
            () if lacked(TierKind::Shared) => Some(Decider::Near(process)),
            () => None,
        }
    }

    fn made_in_place(&self) -> Vec<Made<'_>> {
        let calls = self.tale.calls.iter();
        let made = calls.filter_map(|call| {
            let Outcome::Changed { from, to: Some(to) } = call.outcome else { return None };
            let (decider, end) = (self.decider(call)?, call.end?);
            Some(Made { call, decider, key: self.tale.values[to].key, from, to, end })
        });
        made.collect()
    }

    pub(super) fn atomic(&self) -> Option<String> {
        let made = self.made_in_place();
        let told = |it: &Made<'_>| format!("{} at {}", it.call.verb, it.call.begin.step);
        for (number, one) in made.iter().enumerate() {
            for other in &made[..number] {
                let is_lost = one.decider == other.decider
                    && one.key == other.key
                    && one.from == other.from
                    && match one.from {
                        // A loader that finds it right brings it back.
                        Some(from) => self.renewals(from).next().is_none(),
                        None => self.none_ends(one, other),
                    };
                if is_lost {
                    let found = one.from.map_or("nothing".to_owned(), |from| format!("v{from}"));
                    return Some(format!(
                        "atomic: {} and {} both took the place of {found}",
                        told(other),
                        told(one)
                    ));
                }
            }
            if one.decider == Decider::Remote
                && let Some(wrong) = self.between(one)
            {
                return Some(format!("atomic: {}: {wrong}", told(one)));
            }
        }
        None
    }

    /// True where nothing may have ended what one of two changes wrote before the other found nothing.
    fn none_ends(&self, one: &Made<'_>, other: &Made<'_>) -> bool {
        let begin = one.call.begin.min(other.call.begin);
        let end = one.end.max(other.end);
        let lasts = |made: &Made<'_>| self.tale.values[made.to].ttl.is_none();
        // Between those with L3 and those without, a store loses what L3 may not know of, and L3 what
        // the store has from others.
        let remote = |tiering: &Tiering| tiering.has(TierKind::Redis);
        let first = remote(&self.settings.tierings[0]);
        let are_alike = self.settings.tierings.iter().all(|tiering| remote(tiering) == first)
            && !self.tale.calls.iter().any(|call| matches!(call.verb, Verb::Retier(_)));
        let is_quiet = self.settings.is_calm && !matches!(one.decider, Decider::Near(_));
        let is_harmless = |call: &Call| {
            let is_apart =
                call.begin.step > end.step || call.end.is_some_and(|ended| ended.step < begin.step);
            let reads = matches!(
                call.verb,
                Verb::Get(_) | Verb::GetMany(_) | Verb::Load(..) | Verb::Sleep(_) | Verb::Increment
            );
            let adds = matches!(
                call.verb,
                Verb::SetIfAbsent(_, None) | Verb::Update(_, None) | Verb::CompareAndSet(_)
            );
            is_apart || reads || adds
        };
        is_quiet
            && are_alike
            && lasts(one)
            && lasts(other)
            && self.tale.calls.iter().all(is_harmless)
            && !self.gave_way_between(one.to, other.to)
    }

    /// True where something else came to L3 between two values of a key: of a value that waited and gave way a
    /// word goes there after its call.
    fn gave_way_between(&self, one: usize, other: usize) -> bool {
        if self.settings.behind.is_none() {
            return false;
        }
        let wrote = |to: usize| {
            let bytes = tale::bytes(to);
            move |effect: &Effect| matches!(&effect.what, EffectOf::Wrote { value, .. } if *value == bytes)
        };
        let at = |to: usize| self.effects.iter().position(wrote(to));
        let (Some(one), Some(other)) = (at(one), at(other)) else { return false };
        let (first, last) = (one.min(other), one.max(other));
        let of_key = |effect: &Effect| match &effect.what {
            EffectOf::Wrote { key, .. } | EffectOf::Removed { key } => key_number(key),
            _ => None,
        };
        let key = of_key(&self.effects[first]);
        self.effects[first + 1..last].iter().any(|effect| of_key(effect) == key)
    }

    /// What came in L3 between what a change found there and the change itself.
    fn between(&self, made: &Made<'_>) -> Option<String> {
        let of_key = |effect: &&Effect| match &effect.what {
            EffectOf::Wrote { key, .. } | EffectOf::Removed { key } | EffectOf::Expired { key } => {
                key_number(key) == Some(made.key)
            }
            EffectOf::Cleared { .. } => self.concerns(effect, made.key, false),
            // A tag is not the key's: what is set while one is changed is gone by its number.
            EffectOf::TagsChanged { .. } | EffectOf::Touched { .. } => false,
        };
        let effects: Vec<&Effect> = self.effects.iter().filter(of_key).collect();
        let wrote = |effect: &Effect| match &effect.what {
            EffectOf::Wrote { value, .. } => tale::number(value),
            _ => None,
        };
        let Some(at) = effects.iter().position(|effect| wrote(effect) == Some(made.to)) else {
            return Some("L3 never had what was set".to_owned());
        };
        let from = made.from?;
        match at.checked_sub(1).map(|before| effects[before]) {
            Some(before) if wrote(before) == Some(from) => None,
            before => Some(format!(
                "it found v{from}, and took the place of {:?}",
                before.map(|it| &it.what)
            )),
        }
    }

    /// Nobody else counts the same number where nothing fails.
    pub(super) fn count(&self) -> Option<String> {
        let same = self.settings.tierings[0];
        let decides = same.has(TierKind::Redis) || same.has(TierKind::Shared);
        let undoes = |call: &Call| matches!(call.verb, Verb::Clear | Verb::Retier(_));
        let is_alike = self.settings.tierings.iter().all(|tiering| *tiering == same);
        // Where values have an end the counter may begin anew.
        let has_end = self.settings.stale.is_some();
        if has_end
            || !self.settings.is_calm
            || !is_alike
            || !decides
            || self.tale.calls.iter().any(undoes)
        {
            return None;
        }
        let mut counted = BTreeMap::new();
        for call in &self.tale.calls {
            let (Outcome::Counted(number), Some((_, host))) = (&call.outcome, call.process) else {
                continue;
            };
            let place = if same.has(TierKind::Redis) { 0 } else { host };
            let before: Option<&Call> = counted.insert((place, *number), call);
            if let Some(before) = before {
                let (one, other) = (before.begin.step, call.begin.step);
                return Some(format!("count: those at {one} and {other} both counted {number}"));
            }
        }
        None
    }
}
