//! What was set behind L3 gets there.

use super::Facts;
use crate::{
    TierKind,
    sim::{
        schedule::At,
        server::{Effect, EffectOf},
        tale::{self, Call, Made, Outcome},
        verb::Verb,
    },
};

/// How long a value takes that is due, and those that are sent before it: some round trips each.
const MOMENT: u64 = 1000;

impl Facts<'_> {
    /// When a value last came to L3 until then, where it may have been set behind L3 and a change was made by
    /// another host than its own: hosts are ordered by that.
    pub(super) fn told_below(&self, value: usize, until: At, change: &Call) -> Option<At> {
        self.settings.behind?;
        let Made::Set(maker) = self.tale.values[value].made else { return None };
        let maker = &self.tale.calls[maker];
        let ((process, host), (its, its_host)) = (maker.process?, change.process?);
        let shares = || {
            let opened = |process| self.opened(process, TierKind::Shared, until);
            host == its_host && opened(process) && opened(its)
        };
        if process == its || shares() {
            return None;
        }
        self.last_below(value, until).max(maker.end)
    }

    /// When L3 was given a value for the last time until then.
    pub(super) fn last_below(&self, value: usize, until: At) -> Option<At> {
        let bytes = tale::bytes(value);
        let is_it = |effect: &&Effect| match &effect.what {
            EffectOf::Wrote { value, .. } => *value == bytes && effect.at.step < until.step,
            _ => false,
        };
        self.effects.iter().filter(is_it).map(|effect| effect.at).max()
    }

    /// A set that did not get to L3 in time, where nothing fails.
    pub(super) fn sent(&self) -> Option<String> {
        let behind = self.settings.behind?;
        let retiers = |call: &Call| matches!(call.verb, Verb::Retier(_));
        if !self.settings.is_calm || self.tale.calls.iter().any(retiers) {
            return None;
        }
        let last =
            self.tale.calls.iter().filter_map(|call| call.end).map(|end| end.millis).max()?;
        self.tale.calls.iter().find_map(|call| {
            let (Verb::Set(key, _), Outcome::Wrote(value)) = (&call.verb, &call.outcome) else {
                return None;
            };
            let ((process, _), end) = (call.process?, call.end?);
            if !self.had(process, TierKind::Redis, call.begin, end) {
                return None;
            }
            let due = end.millis + behind.delay + MOMENT;
            let gets_there = |by: &dyn Fn(At) -> bool| {
                let counts = |effect: &Effect| {
                    let is_fill = matches!(effect.what, EffectOf::Wrote { is_fill: true, .. });
                    !is_fill && self.concerns(effect, *key, false)
                };
                let mut effects = self.effects.iter().filter(|effect| counts(effect));
                effects.any(|effect| effect.at.step > call.begin.step && by(effect.at))
            };
            // A touch that finds it waiting after all has L3 doubted, and it ends.
            let touches = |other: &Call| {
                matches!(other.verb, Verb::Touch(its, _) if its == *key)
                    && other.begin.step < end.step
                    && other.end.is_none_or(|it| call.begin.step < it.step)
            };
            if self.tale.calls.iter().any(touches) {
                return None;
            }
            if due < last && !gets_there(&|at| at.millis <= due) {
                return Some(format!(
                    "sent: v{value} of process {process} is not in L3 by {due} ms"
                ));
            }
            let flush = self.flushes(process).find(|flush| {
                let done = flush.end.map_or(0, |end| end.step);
                end.step < flush.begin.step && !gets_there(&|at| at.step < done)
            })?;
            let at = flush.begin.step;
            Some(format!(
                "sent: v{value} of process {process} is not in L3 after the flush at {at}"
            ))
        })
    }

    /// Flushes of a process that sent all.
    fn flushes(&self, process: usize) -> impl Iterator<Item = &Call> {
        let is_one = move |call: &&Call| {
            let is_its = call.process.is_some_and(|(its, _)| its == process);
            is_its && call.verb == Verb::SendWaiting && call.outcome == Outcome::Touched(true)
        };
        self.tale.calls.iter().filter(is_one)
    }
}
