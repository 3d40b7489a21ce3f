//! The health document: `service`, `status`, `tierMetrics` and `dependencies`, with the names and
//! the order of the rollout guide that this project makes real.
//!
//! | status | when |
//! |---|---|
//! | `healthy` | every tier of the tiering answers |
//! | `degraded` | a tier does not answer; the others serve |
//! | `unhealthy` | no tier answers, or the cache is closed |

use crate::{
    cache::Cache,
    tiering::{TierKind, Tiering},
};

/// How a cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum HealthStatus {
    /// Every tier answers.
    Healthy,
    /// A tier does not answer; the others serve.
    Degraded,
    /// Nothing can be served.
    Unhealthy,
}

impl HealthStatus {
    /// The status as the document spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The health document of one cache.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct Health {
    /// The name given to the builder.
    pub service: String,
    /// The verdict.
    pub status: HealthStatus,
    /// Hits, misses and latency of the whole cache.
    pub tier_metrics: TierMetrics,
    /// One element for each tier in force, fastest first.
    pub dependencies: Vec<Dependency>,
}

/// The `tierMetrics` object.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "camelCase"))]
pub struct TierMetrics {
    /// Reads that any tier answered.
    pub hits: u64,
    /// Reads that no tier answered.
    pub misses: u64,
    /// `L1-Memory`, `L2-Shared` or `L3-Redis`; `None` (null) before the first hit.
    pub last_hit_tier: Option<&'static str>,
    /// Median latency of a hit in milliseconds, over all tiers.
    #[cfg_attr(feature = "serde", serde(rename = "latencyP50"))]
    pub latency_p50: f64,
    /// 95th percentile of the same.
    #[cfg_attr(feature = "serde", serde(rename = "latencyP95"))]
    pub latency_p95: f64,
}

/// One tier in the `dependencies` array.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Dependency {
    /// `L1-Memory`, `L2-Shared` or `L3-Redis`.
    pub name: &'static str,
    /// Whether it answers.
    pub status: HealthStatus,
    /// Why it does not; absent while it does.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub reason: Option<String>,
    /// What kind of tier it is.
    pub stats: DependencyStats,
}

/// The `stats` object of a tier.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DependencyStats {
    /// `memory`, `shared` or `redis`.
    #[cfg_attr(feature = "serde", serde(rename = "type"))]
    pub kind: &'static str,
}

impl Health {
    /// The document as JSON.
    #[cfg(feature = "serde")]
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists of our own: nothing here that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// The health document: which tiers answer, and how well the cache serves.
    ///
    /// Looks only at what is known already; asks no tier.
    pub fn health(&self) -> Health {
        let stats = self.stats();
        let tiering: Tiering = self.tiering();
        let dependencies: Vec<_> = tiering.tiers().map(|tier| self.dependency(tier)).collect();
        let troubled = dependencies.iter().filter(|it| it.reason.is_some()).count();
        let status = match troubled {
            _ if self.is_closed() => HealthStatus::Unhealthy,
            0 => HealthStatus::Healthy,
            all if all == dependencies.len() => HealthStatus::Unhealthy,
            _ => HealthStatus::Degraded,
        };
        Health {
            service: self.service().to_owned(),
            status,
            tier_metrics: TierMetrics {
                hits: stats.hits,
                misses: stats.misses,
                last_hit_tier: stats.last_hit_tier.map(TierKind::label),
                latency_p50: millis(stats.latency.p50),
                latency_p95: millis(stats.latency.p95),
            },
            dependencies,
        }
    }

    fn dependency(&self, tier: TierKind) -> Dependency {
        let reason = self.trouble(tier);
        Dependency {
            name: tier.label(),
            status: match reason {
                None => HealthStatus::Healthy,
                Some(_) => HealthStatus::Unhealthy,
            },
            reason,
            stats: DependencyStats { kind: tier.type_name() },
        }
    }
}

fn millis(span: std::time::Duration) -> f64 {
    span.as_nanos() as f64 / 1e6
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use crate::{Bytes, Cache};

    #[test]
    fn the_document_has_the_names_of_the_guide() {
        let cache = Cache::builder().build().unwrap();
        let json = || serde_json::from_str::<serde_json::Value>(&cache.health().to_json()).unwrap();
        assert_eq!(
            json(),
            serde_json::json!({
                "service": "CacheService",
                "status": "healthy",
                "tierMetrics": {
                    "hits": 0, "misses": 0, "lastHitTier": null,
                    "latencyP50": 0.0, "latencyP95": 0.0,
                },
                "dependencies": [
                    {"name": "L1-Memory", "status": "healthy", "stats": {"type": "memory"}},
                ],
            })
        );
        cache.set("a", Bytes::from("1")).unwrap();
        for _ in 0..1000 {
            cache.get("a");
        }
        cache.get("b");
        let metrics = &json()["tierMetrics"];
        assert_eq!((&metrics["hits"], &metrics["misses"]), (&1000.into(), &1.into()));
        assert_eq!(metrics["lastHitTier"], "L1-Memory");
        assert!(metrics["latencyP50"].as_f64() > Some(0.0), "some of 1,000 hits are sampled");
        cache.close();
        assert_eq!(json()["status"], "unhealthy");
    }
}
