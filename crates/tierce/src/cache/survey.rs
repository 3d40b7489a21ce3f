//! What keys are asked for and how long entries are of use, observed while somebody wants to know.
//!
//! A survey is told of what happens in the way of a listener of events ([`events`](super::events)), but
//! at once and by the thread that causes it. So it costs nothing while there is none, and some tens of
//! nanoseconds a read while there is one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{Cache, Event};
use crate::{
    clock::Clock,
    memory::RemovalCause,
    metrics::{Survey, SurveyReport},
    sync::Mutex,
    tiering::TierKind,
};

/// The survey of a cache, if there is one.
#[derive(Default)]
pub(super) struct Surveyed {
    is_on: AtomicBool,
    survey: Mutex<Option<(Arc<Survey>, Clock)>>,
}

impl Surveyed {
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, survey: Option<(Arc<Survey>, Clock)>) {
        self.is_on.store(survey.is_some(), Ordering::Relaxed);
        let before = std::mem::replace(&mut *self.survey.lock(), survey);
        drop(before);
    }

    fn get(&self) -> Option<(Arc<Survey>, Clock)> {
        if self.is_on() { self.survey.lock().clone() } else { None }
    }

    /// Takes note of what happened.
    pub(super) fn observe(&self, event: &Event) {
        let Some((survey, clock)) = self.get() else { return };
        let now = clock.coarse();
        match event {
            Event::Hit { key, tier } => {
                // What came from below begins another life in L1.
                if *tier != TierKind::Memory {
                    survey.filled(key, now);
                }
                survey.read(key, *tier == TierKind::Memory, now);
            }
            Event::Stale { key, .. } | Event::Miss { key } => survey.read(key, false, now),
            Event::Load { key, error: None, .. } | Event::Set { key } => survey.filled(key, now),
            Event::Evict { key, cause: RemovalCause::Expired } => survey.expired(key, now),
            Event::Evict { key, .. } | Event::Delete { key } | Event::Invalidate { key } => {
                survey.left(key);
            }
            _ => {}
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// Begins to observe which keys are asked for and how long entries of L1 are of use, for
    /// [`advise`](Self::advise); one that is under way begins anew. Reads cost some tens of
    /// nanoseconds more until [`end_survey`](Self::end_survey), and it keeps some megabytes at most.
    pub fn begin_survey(&self) {
        let inner = &self.inner;
        if inner.plan.load().is_open() {
            let survey = Survey::new(inner.clock.coarse(), inner.stats());
            inner.events.shared.survey.set(Some((Arc::new(survey), inner.clock.clone())));
            inner.hear();
        }
    }

    /// Ends the survey; what it saw is gone.
    pub fn end_survey(&self) {
        self.inner.events.shared.survey.set(None);
        self.inner.hear();
    }

    /// What the survey under way has seen; `None` where there is none.
    pub fn survey(&self) -> Option<SurveyReport> {
        let (survey, clock) = self.inner.events.shared.survey.get()?;
        Some(survey.report(clock.coarse()))
    }

    /// The survey under way.
    pub(crate) fn survey_in_force(&self) -> Option<Arc<Survey>> {
        self.inner.events.shared.survey.get().map(|(survey, _)| survey)
    }
}
