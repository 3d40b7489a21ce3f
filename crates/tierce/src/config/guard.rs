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
    served: crate::sync::Mutex<Option<crate::guard::Served>>,
}

impl<V: Clone + Send + Sync + 'static> Watching<V> {
    /// The guard.
    pub fn guard(&self) -> &Arc<Guard<V>> {
        &self.guard
    }

    /// Where it listens; `None` where it does not: the configuration names no address, or that was
    /// ended.
    pub fn address(&self) -> Option<SocketAddr> {
        #[cfg(feature = "serve")]
        return self.served.lock().as_ref().map(crate::guard::Served::address);
        #[cfg(not(feature = "serve"))]
        None
    }

    /// Answers over HTTP from now on, in place of where it did before, and says where.
    ///
    /// # Errors
    /// As [`Guard::serve`]; what was before goes on then.
    #[cfg(feature = "serve")]
    pub fn serve(&self, options: &crate::guard::ServeOptions) -> Result<SocketAddr> {
        let served = self.guard.serve(options)?;
        let address = served.address();
        let before = self.served.lock().replace(served);
        drop(before);
        Ok(address)
    }

    /// Answers over HTTP no more; nothing to end is fine.
    #[cfg(feature = "serve")]
    pub fn stop_serving(&self) {
        let before = self.served.lock().take();
        drop(before);
    }
}

impl Config {
    /// Whether anything is set that [`Guard::from_config`] starts.
    pub fn asks_for_guard(&self) -> bool {
        self.show().iter().any(|shown| shown.source != Source::Default && is_of_guard(shown.key))
    }

    /// The same settings with those of a text over them, which must be of the guard: what
    /// [`Guard::from_config`] takes of a cache that is open already.
    ///
    /// ```
    /// use tierce::Config;
    ///
    /// let config = Config::from_text("service: users")?;
    /// let with_listener = config.with_guard_text("serve: {address: '127.0.0.1:0'}")?;
    /// assert_eq!(with_listener.service, "users");
    /// assert!(config.with_guard_text("memory: {max_entries: 5}").is_err());
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_text`](Self::from_text), and [`ErrorKind::Config`] for a key of the cache.
    pub fn with_guard_text(&self, text: &str) -> Result<Self> {
        let mut next = self.clone();
        if !text.trim().is_empty() {
            next.read_text(text)?;
        }
        for (before, now) in self.show().iter().zip(next.show()) {
            // Some defaults change with the environment.
            let is_said = now.source != Source::Default && *before != now;
            if is_said && !is_of_guard(now.key) && now.key != "environment" {
                let message = format!(
                    "{} = {} ({}): is of the cache, which is open: give it where that is opened",
                    now.key, now.value, now.source
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(next)
    }
}

/// True for the name of a key or a list that is of the guard.
fn is_of_guard(key: &str) -> bool {
    const KEYS: [&str; 9] = [
        "actions_journal",
        "alerts",
        "automatic_rollback",
        "monitoring.otlp.",
        "notify.",
        "serve.",
        "slo.",
        "rollout.",
        "traffic_split.",
    ];
    KEYS.iter().any(|start| key.starts_with(start))
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
        Self::from_config_with(cache, config, |builder| builder)
    }

    /// The same, where `add` says to the builder what no configuration can: sinks of the caller's own.
    ///
    /// # Errors
    /// As [`from_config`](Self::from_config).
    pub fn from_config_with(
        cache: &Cache<V>,
        config: &Config,
        add: impl FnOnce(GuardBuilder<V>) -> GuardBuilder<V>,
    ) -> Result<Watching<V>> {
        config.check()?;
        let mut builder = Self::of(cache).alerts(config.all_alerts()?).notifier(config.notifier()?);
        if let Some(objectives) = Objectives::named(config.objectives_name()) {
            builder = builder.objectives(objectives);
        }
        if let Some(path) = &config.actions_journal {
            builder = builder.actions_journal(path);
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
        builder = add(builder);
        if let Some(share) = config.traffic_split.new_system {
            let split = Split::new(config.traffic_split.old_tiering, config.tiering);
            cache.split(&split.name(&config.service).share(share))?;
        }
        let guard = Arc::new(builder.start()?);
        #[cfg(feature = "serve")]
        return Ok(Watching { served: crate::sync::Mutex::new(config.serve(&guard)?), guard });
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
        // Those of the plan first: of several that fire at once the order decides.
        let mut plan = plan;
        for trigger in &section.triggers {
            if !plan.triggers.contains(trigger) {
                plan.triggers.push(trigger.clone());
            }
        }
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
