//! What judges a running cache: health, windows, objectives, alerts.
//!
//! | file | answers |
//! |---|---|
//! | `health` | the health document |
//! | `window` | [`Cache::window`](crate::Cache::window) |
//! | `measure` | what can be judged, under which names and in which units |
//! | `condition` | `error_rate > 1%`: how conditions are written and when they hold |
//! | `hold` | when a condition has held for long enough |
//! | `alert` | alerts, who is told of them, and the same as rules of Prometheus |
//! | `rollout` | a change of tiering by shares, watched, and taken back by itself |
//! | `actions` | what an operator does when things go wrong |
//! | `advice` | what the numbers show to be unwise |
//! | `slo` | objectives by environment, budgets, and how fast they are spent |
//! | `exposition` | what it adds to the metrics |
//! | `serve` | health, metrics and the guard over HTTP |
//! | `otlp` | metrics and traces sent to a receiver of OpenTelemetry |
//! | `post`, `retry`, `pairs` | what those share who send: the sending, when again, and lists of the environment |
//! | `keeper` | [`Guard`], which looks once a second and does what the parts decide |
//! | `steering` | what is asked of the rollout that it takes part in |
//! | `documents` | what it knows as JSON: the pages of `serve`, and what other languages get |
//!
//! Nothing but a started [`Guard`] runs by itself: whoever asks brings the time along.

mod actions;
mod advice;
pub mod alert;
mod condition;
#[cfg(feature = "serde")]
mod documents;
mod exposition;
mod health;
mod hold;
mod keeper;
mod measure;
#[cfg(feature = "otel")]
pub mod otlp;
#[cfg(any(feature = "config", feature = "otel"))]
mod pairs;
#[cfg(any(feature = "webhooks", feature = "otel"))]
mod post;
mod retry;
pub mod rollout;
#[cfg(feature = "serve")]
mod serve;
mod slo;
#[cfg(feature = "serde")]
mod steering;
mod window;
#[cfg(feature = "config")]
mod yaml;

pub use actions::{Contingency, ContingencyState};
#[cfg(all(feature = "shared", target_os = "linux"))]
pub use advice::advise_store;
pub use alert::{AlertChange, AlertRule, Alerts, Severity};
pub use condition::{Comparison, Condition};
pub use health::{Dependency, DependencyStats, Health, HealthStatus, TierMetrics};
pub use hold::HoldState;
pub use keeper::{Guard, GuardBuilder};
pub use measure::{Measure, View};
#[cfg(feature = "config")]
pub(crate) use pairs::are_pairs;
#[cfg(feature = "serve")]
pub use serve::{ServeOptions, Served};
pub use slo::{BurnRate, BurnSeverity, Objective, Objectives, SloLine, SloReport};
