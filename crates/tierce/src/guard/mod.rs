//! What judges a running cache from outside: the health document.

mod health;

pub use health::{Dependency, DependencyStats, Health, HealthStatus, TierMetrics};
