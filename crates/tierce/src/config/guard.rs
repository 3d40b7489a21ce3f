//! From a configuration to what watches the cache.

use std::{net::SocketAddr, sync::Arc};

use super::{Config, Environment, Source, watching::SinkType};
use crate::{
    cache::{Cache, Split},
    error::{Error, ErrorKind, Result},
    guard::{
        Alerts, Guard, GuardBuilder, Objectives,
        alert::{LogSink, Notifier},
    },
};

/// A guard that was started as a configuration says, and its listener. All ends when it is dropped.
#[must_use = "what is dropped ends"]
pub struct Watching<V: Clone + Send + Sync + 'static> {
    guard: Arc<Guard<V>>,
    #[cfg(feature = "serve")]
    served: Option<crate::guard::Served>,
}

impl<V: Clone + Send + Sync + 'static> Watching<V> {
    /// The guard.
    pub fn guard(&self) -> &Arc<Guard<V>> {
        &self.guard
    }

    /// Where it listens; `None` where the configuration names no address.
    pub fn address(&self) -> Option<SocketAddr> {
        #[cfg(feature = "serve")]
        return self.served.as_ref().map(crate::guard::Served::address);
        #[cfg(not(feature = "serve"))]
        None
    }
}

impl Config {
    /// Whether anything is set that [`Guard::from_config`] starts.
    pub fn asks_for_guard(&self) -> bool {
        const KEYS: [&str; 7] = [
            "alerts",
            "notify.",
            "serve.",
            "monitoring.otlp.",
            "slo.",
            "rollout.",
            "traffic_split.",
        ];
        self.show().iter().any(|shown| {
            let is_guard = |key: &str| shown.key.starts_with(key);
            shown.source != Source::Default && KEYS.iter().any(|key| is_guard(key))
        })
    }
}

impl<V: Clone + Send + Sync + 'static> Guard<V> {
    /// Starts what a configuration says of this cache beside its tiers: the split of `traffic_split`,
    /// `alerts`, `notify`, `slo`, `rollout`, the listener of `serve`, and what `monitoring.otlp` sends.
    /// Without any of them it starts a guard that keeps windows.
    ///
    /// ```
    /// use tierce::{Config, guard::Guard};
    ///
    /// let config = Config::from_text("
    /// alerts:
    ///   - {name: HighErrorRate, condition: error_rate > 1%, duration: 3m, severity: critical}
    /// notify:
    ///   sinks: [{type: log}]
    /// ")?;
    /// let cache: tierce::Cache = config.builder()?.build()?;
    /// let watching = Guard::from_config(&cache, &config)?;
    /// assert_eq!(watching.guard().alerts().len(), 1);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Config::check`], [`GuardBuilder::start`] and [`Cache::split`]; [`ErrorKind::Unsupported`]
    /// for what this build lacks; what keeps a file from being read, or the address from being
    /// listened at.
    pub fn from_config(cache: &Cache<V>, config: &Config) -> Result<Watching<V>> {
        config.check()?;
        let mut builder = Self::of(cache).alerts(config.all_alerts()?).notifier(config.notifier()?);
        if let Some(objectives) = Objectives::named(config.objectives_name()) {
            builder = builder.objectives(objectives);
        }
        builder = config.with_rollout(builder)?;
        if config.otlp.is_on() {
            #[cfg(feature = "otel")]
            {
                builder = builder.otlp(config.otlp_options()?);
            }
            #[cfg(not(feature = "otel"))]
            return Err(lacks("monitoring.otlp", "otel"));
        }
        if let Some(share) = config.traffic_split.new_system {
            let split = Split::new(config.traffic_split.old_tiering, config.tiering);
            cache.split(&split.name(&config.service).share(share))?;
        }
        let guard = Arc::new(builder.start()?);
        #[cfg(feature = "serve")]
        return Ok(Watching { served: config.serve(&guard)?, guard });
        #[cfg(not(feature = "serve"))]
        match config.serve.address {
            None => Ok(Watching { guard }),
            Some(_) => Err(lacks("serve.address", "serve")),
        }
    }
}

/// The error for a key that needs a feature which this build lacks.
#[allow(dead_code)]
fn lacks(key: &str, feature: &str) -> Error {
    let message = format!("{key}: this build lacks it: enable the feature {feature:?}");
    Error::new(ErrorKind::Unsupported, message)
}

/// A file of the guard.
fn read(key: &str, path: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let kind = Error::from(std::io::Error::from(error.kind())).kind();
        Error::new(kind, format!("{key} = {}: cannot be read", path.display())).caused_by(error)
    })
}

impl Config {
    /// The alerts of the configuration, then those of its file.
    fn all_alerts(&self) -> Result<Alerts> {
        let mut rules = self.alerts.rules.clone();
        if let Some(path) = &self.alerts.file {
            let in_file = |error: Error| {
                Error::new(error.kind(), format!("alerts_file = {}: {error}", path.display()))
            };
            let alerts = Alerts::from_yaml(&read("alerts_file", path)?).map_err(in_file)?;
            for (rule, _) in alerts.states() {
                if rules.iter().any(|known| known.name == rule.name) {
                    let message =
                        format!("alert {:?}: stands also in the configuration", rule.name);
                    return Err(in_file(Error::new(ErrorKind::Config, message)));
                }
                rules.push(rule.clone());
            }
        }
        Ok(Alerts::new(rules))
    }

    fn notifier(&self) -> Result<Notifier> {
        let section = &self.notify;
        let per_minute = usize::try_from(section.per_minute).unwrap_or(usize::MAX);
        let mut notifier =
            Notifier::new(&self.service).repeat(section.repeat).per_minute(per_minute);
        for sink in &section.sinks {
            if sink.kind == SinkType::Log {
                notifier = notifier.sink_at_least(sink.severity, LogSink);
                continue;
            }
            #[cfg(feature = "webhooks")]
            {
                notifier = notifier.sink_at_least(sink.severity, sink.options().open()?);
            }
            #[cfg(not(feature = "webhooks"))]
            return Err(lacks("notify.sinks", "webhooks"));
        }
        Ok(notifier)
    }

    fn with_rollout<V: Clone + Send + Sync + 'static>(
        &self,
        builder: GuardBuilder<V>,
    ) -> Result<GuardBuilder<V>> {
        let section = &self.rollout;
        // `check` has seen to it that these come together.
        let Some(instance) = &section.instance else { return Ok(builder) };
        if section.of_store {
            #[cfg(all(feature = "shared", target_os = "linux"))]
            return Ok(builder.rollout_of_store(instance));
            #[cfg(not(all(feature = "shared", target_os = "linux")))]
            return Err(lacks("rollout.of_store", "shared"));
        }
        let (Some(path), Some(journal)) = (&section.plan, &section.journal) else {
            return Ok(builder);
        };
        let plan = crate::guard::rollout::Plan::from_yaml(&read("rollout.plan", path)?).map_err(
            |error| Error::new(error.kind(), format!("rollout.plan = {}: {error}", path.display())),
        )?;
        // Where nobody said where this is, the plan is for all places.
        let plan = match self.environment {
            Environment::Development => plan,
            environment => plan.for_environment(environment.name()),
        };
        Ok(builder.rollout(plan, journal, instance))
    }

    /// What `monitoring.otlp` says, over the variables of OpenTelemetry: for traces, which a layer of the
    /// host's subscriber sends ([`OtlpOptions::traces`](crate::guard::otlp::OtlpOptions::traces)).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for headers that are no list of pairs.
    #[cfg(feature = "otel")]
    pub fn otlp_options(&self) -> Result<crate::guard::otlp::OtlpOptions> {
        let section = &self.otlp;
        let mut options = crate::guard::otlp::OtlpOptions::new();
        if let Some(endpoint) = &section.endpoint {
            options = options.endpoint(endpoint);
        }
        if let Some(headers) = &section.headers {
            options = options.headers(headers.expose())?;
        }
        if let Some(period) = section.period {
            options = options.period(period);
        }
        if let Some(timeout) = section.timeout {
            options = options.timeout(timeout);
        }
        if let Some(path) = &section.ca_file {
            options = options.ca_file(path);
        }
        Ok(options)
    }

    #[cfg(feature = "serve")]
    fn serve<V: Clone + Send + Sync + 'static>(
        &self,
        guard: &Arc<Guard<V>>,
    ) -> Result<Option<crate::guard::Served>> {
        let Some(address) = &self.serve.address else { return Ok(None) };
        let mut options = crate::guard::ServeOptions::new().address(address);
        if let Some(token) = &self.serve.token {
            options = options.token(token.expose());
        }
        let served = guard.serve(&options).map_err(|error| {
            Error::new(error.kind(), format!("serve.address = {address:?}: {error}"))
        })?;
        Ok(Some(served))
    }
}

#[cfg(feature = "webhooks")]
impl super::watching::SinkSection {
    fn options(&self) -> crate::guard::alert::WebhookOptions {
        use crate::guard::alert::WebhookOptions;
        let url = self.url.as_ref().map(super::Secret::expose).unwrap_or_default();
        let routing_key = self.routing_key.as_ref().map(super::Secret::expose).unwrap_or_default();
        let mut options = match self.kind {
            SinkType::Alertmanager => WebhookOptions::alertmanager(url),
            SinkType::PagerDuty if url.is_empty() => WebhookOptions::pagerduty(routing_key),
            SinkType::PagerDuty => WebhookOptions::pagerduty(routing_key).url(url),
            SinkType::Slack => WebhookOptions::slack(url),
            SinkType::Webhook | SinkType::Log => WebhookOptions::webhook(url),
        };
        if let Some(token) = &self.token {
            options = options.token(token.expose());
        }
        if let Some(timeout) = self.timeout {
            options = options.timeout(timeout);
        }
        if let Some(refresh) = self.refresh {
            options = options.refresh(refresh);
        }
        if let Some(path) = &self.ca_file {
            options = options.ca_file(path);
        }
        options
    }
}
