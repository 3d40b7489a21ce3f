//! [`OtlpLayer`]: what the spans of tierce become in OTLP.
//!
//! A layer, and not a subscriber: the host has one, decides what it lets through, and may have other
//! layers. And not a recorder beside `tracing`, which would have to be one for the whole process. A host
//! whose own spans are exported by `tracing-opentelemetry` needs none of this: tierce's are among them.
//! Here they have traces of their own, as nothing is known of the host's.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime},
};

use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    batch::{Batch, Held, Span},
    export::OtlpStats,
};
use crate::random::random;

/// What the targets of tierce begin with.
const TARGET: &str = "tierce::";
/// The field that says what a span is in OpenTelemetry; no attribute.
const KIND: &str = "otel.kind";
/// The field that says that a span failed, and how.
const ERROR: &str = "error.type";

/// Sends the spans of tierce that the subscriber lets through to a receiver of OTLP: see
/// [`OtlpOptions::traces`](super::OtlpOptions::traces).
///
/// Spans of others are left alone, and events. One of them a subscriber. Ending a span takes a short
/// lock; nothing is sent by the thread that ends it.
pub struct OtlpLayer {
    batch: Batch,
    /// Of the numbers of 56 bits, those from this one on are sent.
    threshold: u64,
}

/// Numbers that decide whether a trace is sent: the last 56 bits of its name, which are random.
const NUMBERS: u64 = 1 << 56;

impl OtlpLayer {
    pub(super) fn new(batch: Batch, sampled: f64) -> Self {
        // Exact for 0 and 1.
        Self { batch, threshold: ((1.0 - sampled) * NUMBERS as f64) as u64 }
    }

    fn is_sampled(&self, trace: u128) -> bool {
        trace as u64 % NUMBERS >= self.threshold
    }
}

impl fmt::Debug for OtlpLayer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OtlpLayer").finish_non_exhaustive()
    }
}

/// Has the spans of its layer be sent while it lives. When it is dropped, those that wait are sent a last
/// time, which nobody waits for; who wants to calls [`flush`](Self::flush) before.
#[must_use = "spans are sent while it lives"]
pub struct OtlpTraces {
    batch: Batch,
}

impl OtlpTraces {
    pub(super) fn new(batch: Batch) -> Self {
        Self { batch }
    }

    /// What became of the messages so far.
    pub fn stats(&self) -> OtlpStats {
        self.batch.stats()
    }

    /// Sends the spans that have ended, and waits for that at most so long. False where they were not all
    /// taken by then.
    pub fn flush(&self, patience: Duration) -> bool {
        self.batch.flush(patience)
    }
}

impl fmt::Debug for OtlpTraces {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("OtlpTraces").field(&self.stats()).finish()
    }
}

impl Drop for OtlpTraces {
    fn drop(&mut self) {
        self.batch.end();
    }
}

/// A span that has not ended.
struct Open {
    begun: Instant,
    is_sampled: bool,
    span: Span,
}

impl Visit for Open {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.hold(field, Held::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == KIND {
            self.span.is_client = value == "client";
        } else {
            self.hold(field, Held::Text(value.to_owned()));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.hold(field, Held::Whole(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let whole = i64::try_from(value).map(Held::Whole);
        self.hold(field, whole.unwrap_or_else(|_| Held::Text(value.to_string())));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.hold(field, Held::Fraction(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.hold(field, Held::Truth(value));
    }
}

impl Open {
    fn hold(&mut self, field: &Field, held: Held) {
        self.span.has_failed |= field.name() == ERROR;
        self.span.attributes.retain(|(known, _)| *known != field.name());
        self.span.attributes.push((field.name(), held));
    }
}

impl<S> Layer<S> for OtlpLayer
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let metadata = attributes.metadata();
        let Some(span) = context.span(id).filter(|_| metadata.target().starts_with(TARGET)) else {
            return;
        };
        let above = span.scope().skip(1).find_map(|above| {
            let extensions = above.extensions();
            let open = extensions.get::<Open>()?;
            Some((open.span.trace, open.span.id, open.is_sampled))
        });
        let (trace, parent, is_sampled) = match above {
            Some((trace, parent, is_sampled)) => (trace, Some(parent), is_sampled),
            None => {
                // Neither is ever 0, which is no name.
                let trace = u128::from(random()) << 64 | u128::from(random().max(1));
                (trace, None, self.is_sampled(trace))
            }
        };
        let mut open = Open {
            begun: Instant::now(),
            is_sampled,
            span: Span {
                trace,
                id: random().max(1),
                parent,
                name: metadata.name(),
                is_client: false,
                has_failed: false,
                start: SystemTime::now(),
                lasted: Duration::ZERO,
                attributes: Vec::new(),
            },
        };
        if is_sampled {
            attributes.record(&mut open);
        }
        span.extensions_mut().replace(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(open) = extensions.get_mut::<Open>().filter(|open| open.is_sampled) {
            values.record(open);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let open = span.extensions_mut().remove::<Open>();
        if let Some(mut open) = open.filter(|open| open.is_sampled) {
            open.span.lasted = open.begun.elapsed();
            self.batch.put(open.span);
        }
    }
}
