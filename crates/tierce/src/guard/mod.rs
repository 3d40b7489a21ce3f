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
//! | `slo` | objectives by environment, budgets, and how fast they are spent |
//!
//! Nothing here runs by itself: whoever asks brings the time along.

pub mod alert;
mod condition;
mod health;
mod hold;
mod measure;
mod slo;
mod window;
#[cfg(feature = "config")]
mod yaml;

pub use alert::{AlertChange, AlertRule, Alerts, Severity};
pub use condition::{Comparison, Condition};
pub use health::{Dependency, DependencyStats, Health, HealthStatus, TierMetrics};
pub use hold::HoldState;
pub use measure::{Measure, View};
pub use slo::{BurnRate, BurnSeverity, Objective, Objectives, SloLine, SloReport};
