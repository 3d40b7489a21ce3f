//! Spans for the host's `tracing` subscriber: what of a call takes time.
//!
//! | span | target, level | of |
//! |---|---|---|
//! | `tierce.get_or_load` | `tierce::load`, debug | a call that L1 does not answer, on its thread |
//! | `tierce.load` | `tierce::load`, debug | the caller's loader, in whose tasks it is entered for each poll |
//! | `tierce.l2` | `tierce::l2`, trace | a call of L2 |
//! | `tierce.l3` | `tierce::l3`, debug | a call of L3, with the names of OpenTelemetry for a client of a database |
//! | `tierce.retier` | `tierce::tiering`, info | a change of tiering |
//!
//! `error.type` is the kind of the error, where there was one. No span has a key or a value: these are
//! the caller's. A hit of L1 has none. While nobody listens a span costs one load; without the feature
//! `tracing`, nothing.

use crate::{error::Error, tiering::TierKind};

/// A span of the host's subscriber, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

/// While it lives, what this thread does is done in the span.
pub(crate) struct Entered<'a> {
    #[cfg(feature = "tracing")]
    _entered: tracing::span::Entered<'a>,
    #[cfg(not(feature = "tracing"))]
    _span: std::marker::PhantomData<&'a Span>,
}

#[cfg(feature = "tracing")]
impl Span {
    pub(crate) fn get_or_load() -> Self {
        let span = tracing::debug_span!(target: "tierce::load", "tierce.get_or_load", "error.type" = tracing::field::Empty);
        Self { span }
    }

    /// A loader that is called for this reason.
    pub(crate) fn load(reason: &'static str) -> Self {
        let span = tracing::debug_span!(target: "tierce::load", "tierce.load", reason, "error.type" = tracing::field::Empty);
        Self { span }
    }

    /// A call of a tier below L1.
    pub(crate) fn tier(tier: TierKind) -> Self {
        let span = match tier {
            TierKind::Redis => tracing::debug_span!(
                target: "tierce::l3",
                "tierce.l3",
                otel.kind = "client",
                db.system.name = "redis",
                "error.type" = tracing::field::Empty
            ),
            _ => {
                tracing::trace_span!(target: "tierce::l2", "tierce.l2", "error.type" = tracing::field::Empty)
            }
        };
        Self { span }
    }

    /// A change from these tiers to those.
    pub(crate) fn retier(from: &'static str, to: &'static str) -> Self {
        Self { span: tracing::info_span!(target: "tierce::tiering", "tierce.retier", from, to) }
    }

    pub(crate) fn enter(&self) -> Entered<'_> {
        Entered { _entered: self.span.enter() }
    }

    /// Takes note of how it ended.
    pub(crate) fn ended(&self, error: Option<&Error>) {
        if let Some(error) = error {
            self.span.record("error.type", error.kind().as_str());
        }
    }
}

#[cfg(not(feature = "tracing"))]
impl Span {
    pub(crate) fn get_or_load() -> Self {
        Self {}
    }

    pub(crate) fn load(_reason: &'static str) -> Self {
        Self {}
    }

    pub(crate) fn tier(_tier: TierKind) -> Self {
        Self {}
    }

    pub(crate) fn retier(_from: &'static str, _to: &'static str) -> Self {
        Self {}
    }

    pub(crate) fn enter(&self) -> Entered<'_> {
        Entered { _span: std::marker::PhantomData }
    }

    pub(crate) fn ended(&self, _error: Option<&Error>) {}
}
