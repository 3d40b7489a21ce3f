//! Values that must go together, and the ranges of values that code wrote into public fields.
//!
//! A rule that speaks of two keys names both with where they came from, so that the reader knows
//! which of the two to change.

use crate::{
    config::{
        Config, Source,
        fields::{Field, fields},
        secret::UrlParts,
    },
    error::{Error, ErrorKind, Result},
};

/// Checks everything; the first broken rule is the error.
pub(super) fn check(config: &Config) -> Result<()> {
    for field in fields() {
        let value = (field.read)(config);
        if let Some(value) = value.filter(|value| !field.kind.allows(value)) {
            let place = config.source(field).to_string();
            return Err(field.refuse(&value.to_string(), &place, &field.kind.rule()));
        }
    }
    check_freshness(config)?;
    check_shared(config)?;
    check_coherence(config)?;
    check_seal(config)?;
    check_url(config)?;
    check_unix(config)?;
    check_sentinels(config)?;
    check_cluster(config)?;
    check_replicas(config)?;
    check_certificate(config)?;
    check_user(config)?;
    check_serve(config)?;
    check_otlp(config)?;
    check_split(config)?;
    check_rollout(config)
}

fn check_serve(config: &Config) -> Result<()> {
    if config.serve.token.is_some() && config.serve.address.is_none() {
        let rule = "without an address nobody can bear the token";
        return Err(conflict(config, "serve.token", "serve.address", rule));
    }
    Ok(())
}

fn check_otlp(config: &Config) -> Result<()> {
    let (on, endpoint) = ("monitoring.otlp.enabled", "monitoring.otlp.endpoint");
    if config.otlp.is_on() {
        if config.metrics_enabled == Some(false) {
            let key = if is_given(config, on) { on } else { endpoint };
            let rule = "metrics that are switched off are not sent";
            return Err(conflict(config, key, "metrics_enabled", rule));
        }
        return Ok(());
    }
    for name in ["headers", "period", "timeout", "ca_file"] {
        let key = format!("monitoring.otlp.{name}");
        if is_given(config, &key) && config.otlp.enabled.is_none() {
            return Err(conflict(config, &key, on, "without it, or an endpoint, nothing is sent"));
        }
    }
    Ok(())
}

fn check_split(config: &Config) -> Result<()> {
    let split = &config.traffic_split;
    let (new, old) = ("traffic_split.new_system", "traffic_split.old_system");
    match (split.new_system, split.old_system) {
        (Some(one), Some(other)) if (one.fraction() + other.fraction() - 1.0).abs() > 1e-9 => {
            Err(conflict(config, new, old, "both must add up to 100%"))
        }
        (None, Some(_)) => Err(conflict(config, old, new, "both are needed")),
        (None, None) if is_given(config, "traffic_split.old_tiering") => {
            let rule = "without a share there is no split";
            Err(conflict(config, "traffic_split.old_tiering", new, rule))
        }
        (Some(_), _) if is_given(config, "rollout.plan") || config.rollout.of_store => {
            let other = if config.rollout.of_store { "rollout.of_store" } else { "rollout.plan" };
            Err(conflict(config, new, other, "a rollout says the share: only one may be given"))
        }
        _ => Ok(()),
    }
}

fn check_rollout(config: &Config) -> Result<()> {
    let rollout = &config.rollout;
    let (plan, journal) = ("rollout.plan", "rollout.journal");
    let (instance, of_store) = ("rollout.instance", "rollout.of_store");
    let needs = |key, other| Err(conflict(config, key, other, "both are needed"));
    match (rollout.plan.is_some(), rollout.journal.is_some()) {
        (true, _) if rollout.of_store => {
            Err(conflict(config, plan, of_store, "only one of the two may be given"))
        }
        (true, false) => needs(plan, journal),
        (false, true) => needs(journal, plan),
        (true, true) if rollout.instance.is_none() => needs(plan, instance),
        (false, false) if rollout.of_store && rollout.instance.is_none() => {
            needs(of_store, instance)
        }
        (false, false) if !rollout.of_store && rollout.instance.is_some() => {
            Err(conflict(config, instance, plan, "without a rollout it names nothing"))
        }
        (has_plan, _) if !has_plan && !rollout.triggers.is_empty() => {
            let rule = "what an operator starts in the store has the triggers of its own plan: put \
                        them there";
            let (other, rule) = match rollout.of_store {
                true => (of_store, rule),
                false => (plan, "there is nothing to take back: both are needed"),
            };
            Err(conflict(config, "automatic_rollback.triggers", other, rule))
        }
        _ => Ok(()),
    }
}

fn check_freshness(config: &Config) -> Result<()> {
    let freshness = &config.freshness;
    if config.default_ttl.is_none() {
        for (key, is_set) in [
            ("freshness.stale_if_error", freshness.stale_if_error.is_some()),
            ("freshness.stale_while_revalidate", freshness.stale_while_revalidate.is_some()),
        ] {
            if is_set {
                let rule = "what has no time to live is never stale: both are needed";
                return Err(conflict(config, key, "default_ttl", rule));
            }
        }
    }
    if let (Some(soft), Some(hard)) = (freshness.soft_timeout, freshness.hard_timeout)
        && soft >= hard
    {
        let rule = "callers must leave before the load is told to stop";
        return Err(conflict(config, "freshness.soft_timeout", "freshness.hard_timeout", rule));
    }
    let (first, most) = ("freshness.failure_backoff", "freshness.failure_backoff_most");
    match (freshness.failure_backoff, freshness.failure_backoff_most) {
        (Some(begin), Some(end)) if begin > end => {
            Err(conflict(config, first, most, "the longest pause must not be below the first"))
        }
        (None, Some(_)) => {
            Err(conflict(config, most, first, "without a first pause there is none"))
        }
        _ => Ok(()),
    }
}

fn check_shared(config: &Config) -> Result<()> {
    if config.shared.directory.is_some() && is_given(config, "shared.name") {
        return Err(conflict(
            config,
            "shared.directory",
            "shared.name",
            "the folder is the store: only one of the two may be given",
        ));
    }
    match config.shared.max_value_bytes {
        Some(largest) if largest > config.shared.max_bytes => Err(conflict(
            config,
            "shared.max_value_bytes",
            "shared.max_bytes",
            "a value must fit into the store",
        )),
        _ => Ok(()),
    }
}

fn check_coherence(config: &Config) -> Result<()> {
    if config.redis.staleness_bound < config.redis.heartbeat.saturating_mul(2) {
        return Err(conflict(
            config,
            "redis.staleness_bound",
            "redis.heartbeat",
            "the bound must be at least two heartbeats",
        ));
    }
    Ok(())
}

fn check_seal(config: &Config) -> Result<()> {
    if config.redis.older_seal_keys.is_some() && config.redis.seal_key.is_none() {
        let rule = "older keys need one that seals";
        return Err(conflict(config, "redis.older_seal_keys", "redis.seal_key", rule));
    }
    Ok(())
}

/// A URL says where the server is; no other key may say it again.
fn check_url(config: &Config) -> Result<()> {
    let Some(url) = &config.redis.url else { return Ok(()) };
    let Some(parts) = UrlParts::of(url.expose()) else { return Ok(()) };
    for key in ["redis.host", "redis.port", "redis.unix", "redis.database"] {
        if is_given(config, key) {
            return Err(conflict(config, "redis.url", key, "only one of the two may be given"));
        }
    }
    let encrypts = parts.scheme == "rediss";
    if is_given(config, "redis.tls") && config.redis.tls != encrypts {
        return Err(conflict(
            config,
            "redis.url",
            "redis.tls",
            "must agree: rediss:// is TLS, other schemes are not",
        ));
    }
    for (key, in_url) in
        [("redis.password", parts.has_password), ("redis.username", parts.has_username)]
    {
        if in_url && is_given(config, key) {
            return Err(conflict(config, "redis.url", key, "both say it; only one of them may"));
        }
    }
    Ok(())
}

fn check_unix(config: &Config) -> Result<()> {
    if config.redis.unix.is_none() {
        return Ok(());
    }
    if config.redis.tls {
        return Err(conflict(
            config,
            "redis.unix",
            "redis.tls",
            "a local socket has no TLS: only one of the two may be given",
        ));
    }
    for key in ["redis.host", "redis.port"] {
        if is_given(config, key) {
            return Err(conflict(config, "redis.unix", key, "only one of the two may be given"));
        }
    }
    Ok(())
}

/// Sentinels say where the server is; no other key may say it too.
fn check_sentinels(config: &Config) -> Result<()> {
    let redis = &config.redis;
    if redis.sentinels.is_none() {
        for (key, is_set) in [
            ("redis.sentinel_master", redis.sentinel_master.is_some()),
            ("redis.sentinel_username", redis.sentinel_username.is_some()),
            ("redis.sentinel_password", redis.sentinel_password.is_some()),
        ] {
            if is_set {
                return Err(conflict(config, key, "redis.sentinels", "there are no sentinels"));
            }
        }
        return Ok(());
    }
    if redis.sentinel_master.is_none() {
        let rule = "sentinels need the name of a master";
        return Err(conflict(config, "redis.sentinels", "redis.sentinel_master", rule));
    }
    if redis.sentinel_username.is_some() && redis.sentinel_password.is_none() {
        let (name, password) = ("redis.sentinel_username", "redis.sentinel_password");
        return Err(conflict(config, name, password, "both are needed"));
    }
    for key in ["redis.url", "redis.unix", "redis.host", "redis.port"] {
        if is_given(config, key) {
            let rule = "only one of the two may be given";
            return Err(conflict(config, "redis.sentinels", key, rule));
        }
    }
    Ok(())
}

/// The nodes of a cluster say where it is; no other key may say it too.
fn check_cluster(config: &Config) -> Result<()> {
    let redis = &config.redis;
    if redis.nodes.is_some() {
        if !redis.cluster {
            let rule = "nodes are those of a cluster";
            return Err(conflict(config, "redis.nodes", "redis.cluster", rule));
        }
        for key in ["redis.url", "redis.unix", "redis.host", "redis.port"] {
            if is_given(config, key) {
                let rule = "only one of the two may be given";
                return Err(conflict(config, "redis.nodes", key, rule));
            }
        }
    }
    if !redis.cluster {
        return Ok(());
    }
    for (key, is_set, rule) in [
        ("redis.sentinels", redis.sentinels.is_some(), "only one of the two may be given"),
        ("redis.unix", redis.unix.is_some(), "a cluster has no socket"),
        ("redis.database", redis.database != 0, "a cluster has database 0 alone"),
    ] {
        if is_set {
            return Err(conflict(config, "redis.cluster", key, rule));
        }
    }
    Ok(())
}

/// Replicas that are read are named by somebody, and a host that reads them follows the others.
fn check_replicas(config: &Config) -> Result<()> {
    let redis = &config.redis;
    let (reads, replicas) = ("redis.replica_reads", "redis.replicas");
    match (redis.replica_reads, &redis.replicas) {
        (false, Some(_)) => {
            return Err(conflict(config, replicas, reads, "replicas are named to be read"));
        }
        (false, None) => return Ok(()),
        (true, Some(_)) => {
            for (key, is_set) in
                [("redis.sentinels", redis.sentinels.is_some()), ("redis.cluster", redis.cluster)]
            {
                if is_set {
                    return Err(conflict(config, replicas, key, "these name theirs"));
                }
            }
        }
        (true, None) if redis.sentinels.is_none() && !redis.cluster => {
            let rule = "those of one server must be named";
            return Err(conflict(config, reads, replicas, rule));
        }
        (true, None) => {}
    }
    if !redis.coherence {
        let rule = "a host that is told of no changes reads no replica";
        return Err(conflict(config, reads, "redis.coherence", rule));
    }
    Ok(())
}

/// A certificate is of no use without its key.
fn check_certificate(config: &Config) -> Result<()> {
    let redis = &config.redis;
    if redis.tls_certificate.is_some() != redis.tls_key.is_some() {
        return Err(conflict(config, "redis.tls_certificate", "redis.tls_key", "both are needed"));
    }
    Ok(())
}

/// A user name alone logs nobody in.
fn check_user(config: &Config) -> Result<()> {
    let url = config.redis.url.as_ref();
    let in_url = url.and_then(|url| UrlParts::of(url.expose())).is_some_and(|url| url.has_password);
    if config.redis.username.is_some() && config.redis.password.is_none() && !in_url {
        return Err(conflict(config, "redis.username", "redis.password", "both are needed"));
    }
    Ok(())
}

/// True if somebody set this key.
fn is_given(config: &Config, key: &str) -> bool {
    Field::named(key).is_ok_and(|field| config.source(field) != Source::Default)
}

fn conflict(config: &Config, key: &str, other: &str, rule: &str) -> Error {
    let place = |key: &str| {
        config.get(key).map_or_else(
            |_| key.to_owned(),
            |shown| format!("{key} = {} ({})", shown.value, shown.source),
        )
    };
    Error::new(ErrorKind::Config, format!("{} and {}: {rule}", place(key), place(other)))
}
