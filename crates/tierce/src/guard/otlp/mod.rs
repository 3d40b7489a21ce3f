//! Metrics and traces sent to a receiver of OpenTelemetry (OTLP over HTTP, as protobuf), such as a
//! Collector.
//!
//! | file | answers |
//! |---|---|
//! | `options` | [`OtlpOptions`]: where, by whom, how often |
//! | `environment` | what the variables of OpenTelemetry say |
//! | `names` | how metrics are called there, and in which units they are |
//! | `points` | how they become a message |
//! | `pusher` | when it is sent |
//! | `spans`, `batch` | what spans become, and when they are sent |
//! | `export` | one message, and what became of it |
//! | `resource` | who sends |
//! | `wire` | the encoding |
//!
//! Metrics are those of the text of Prometheus. A guard sends them
//! ([`GuardBuilder::otlp`](super::GuardBuilder::otlp)); traces are a layer for the host's `tracing`
//! subscriber ([`OtlpOptions::traces`]). Threads send, callers never wait.

mod batch;
mod environment;
mod export;
mod names;
mod options;
mod points;
mod pusher;
mod resource;
mod spans;
mod wire;

pub use export::OtlpStats;
pub use options::OtlpOptions;
pub(super) use pusher::Pusher;
pub use spans::{OtlpLayer, OtlpTraces};
