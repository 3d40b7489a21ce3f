//! What the server says of itself: version, memory and eviction, clock, latency, our names.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::{Cmd, Value};

use super::{Asked, PINGS, PLACE, said};
use crate::{diagnosis::Diagnosis, error::Result, tier::redis::names};

const VERSION: &str = "redis.version";
const MEMORY: &str = "redis.memory";
const EVICTIONS: &str = "redis.evictions";
const TRACKING: &str = "redis.tracking_table";
const LATENCY: &str = "redis.latency";
const CLOCK: &str = "redis.clock";
const KEYS: &str = "redis.keys";

/// Scripts, `UNLINK` and hashes of several fields.
const LEAST_VERSION: (u32, u32) = (4, 0);
/// Client tracking.
const TRACKING_VERSION: (u32, u32) = (6, 0);
/// Clocks that are further apart make the logs of two hosts hard to read together.
const SKEW: Duration = Duration::from_secs(1);
/// A sample of the names in the server: rounds of so many.
const SCANS: usize = 10;
const SCAN_COUNT: u32 = 500;

/// The sections of INFO that were had.
struct Info(String);

impl Info {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }
}

pub(super) async fn examine(asked: &mut Asked, out: &mut Vec<Diagnosis>) {
    match info(asked).await {
        Ok(info) => {
            out.push(version(&info));
            out.extend(mode(&info, asked.settings().place.is_cluster()));
            out.push(memory(&info));
            out.extend(evictions(&info));
            let table = setting(asked, "tracking-table-max-keys").await;
            out.push(tracking(&info, table.as_deref()));
        }
        Err(error) => out.push(Diagnosis::doubtful(
            VERSION,
            format!("{}: version, memory and eviction are unknown", said(&error)),
            "ACL SETUSER ... +info",
        )),
    }
    out.extend(latency(asked).await);
    out.extend(clock(asked).await);
    out.extend(keys(asked).await);
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

async fn info(asked: &mut Asked) -> Result<Info> {
    let mut all = String::new();
    for section in ["server", "memory", "stats"] {
        let mut command = redis::cmd("INFO");
        command.arg(section);
        all.push_str(&text(&asked.one(command).await?).unwrap_or_default());
    }
    Ok(Info(all))
}

/// A setting of the server, where the user may ask for it.
async fn setting(asked: &mut Asked, name: &str) -> Option<String> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg(name);
    match asked.one(command).await.ok()? {
        Value::Array(parts) => parts.get(1).and_then(text),
        _ => None,
    }
}

fn version(info: &Info) -> Diagnosis {
    let name = if info.field("valkey_version").is_some() { "Valkey" } else { "Redis" };
    let field = info.field("valkey_version").or(info.field("redis_version"));
    let mut numbers = field.unwrap_or_default().split('.').map_while(|part| part.parse().ok());
    let (Some(major), minor) = (numbers.next(), numbers.next().unwrap_or(0)) else {
        let found = "the server does not say its version";
        return Diagnosis::doubtful(VERSION, found, "have it be Redis 6 or Valkey");
    };
    let found = format!("{name} {}", field.unwrap_or_default());
    match (major, minor) {
        version if version < LEAST_VERSION => Diagnosis::unfit(
            VERSION,
            format!("{found}: too old"),
            "use Redis 6 or later, or Valkey",
        ),
        version if version < TRACKING_VERSION => Diagnosis::doubtful(
            VERSION,
            format!("{found}: cannot tell of changes, so copies live for the staleness bound"),
            "use Redis 6 or later, or Valkey",
        ),
        _ => Diagnosis::fit(VERSION, found),
    }
}

/// What is wrong with what the server is, where it is not what the settings say.
fn mode(info: &Info, is_cluster: bool) -> Option<Diagnosis> {
    match info.field("redis_mode").or(info.field("server_mode"))? {
        "cluster" if !is_cluster => Some(Diagnosis::unfit(
            PLACE,
            "the server is a node of a cluster, which the settings do not say: it refuses what other \
             nodes have",
            "set redis.cluster and redis.nodes",
        )),
        "sentinel" => Some(Diagnosis::unfit(
            PLACE,
            "the server is a sentinel, which holds no values",
            "set redis.sentinels and redis.sentinel_master instead",
        )),
        _ => None,
    }
}

fn memory(info: &Info) -> Diagnosis {
    let used = info.number("used_memory").unwrap_or(0) >> 20;
    let policy = info.field("maxmemory_policy").unwrap_or("unknown");
    match info.number("maxmemory") {
        None => Diagnosis::doubtful(MEMORY, "the server does not say its bound", "set maxmemory"),
        Some(0) => Diagnosis::doubtful(
            MEMORY,
            format!("{used} MiB used, no bound: the server grows until the machine ends it"),
            "set maxmemory and maxmemory-policy allkeys-lfu",
        ),
        Some(bound) => {
            let found = format!("{used} of {} MiB used, maxmemory-policy {policy}", bound >> 20);
            match policy {
                "noeviction" => Diagnosis::doubtful(
                    MEMORY,
                    format!(
                        "{found}: once it is full, changes are removed from L3 instead of kept"
                    ),
                    "set maxmemory-policy allkeys-lfu or allkeys-lru",
                ),
                policy if policy.starts_with("volatile") => Diagnosis::doubtful(
                    MEMORY,
                    format!("{found}: what has no time to live is never evicted"),
                    "set maxmemory-policy allkeys-lfu, or a default_ttl",
                ),
                _ => Diagnosis::fit(MEMORY, found),
            }
        }
    }
}

fn evictions(info: &Info) -> Option<Diagnosis> {
    let evicted = info.number("evicted_keys")?;
    let up = Duration::from_secs(info.number("uptime_in_seconds")?);
    let rate = evicted as f64 / up.as_secs_f64().max(1.0);
    let found = format!("{evicted} names evicted since its start, {rate:.1} a second");
    Some(match rate {
        rate if rate > 1.0 => {
            Diagnosis::doubtful(EVICTIONS, found, "raise maxmemory, or shorten times to live")
        }
        _ => Diagnosis::fit(EVICTIONS, found),
    })
}

/// The table that broadcasting mode does without.
fn tracking(info: &Info, most: Option<&str>) -> Diagnosis {
    let prefixes = info.number("tracking_total_prefixes").unwrap_or(0);
    let keys = info.number("tracking_total_keys").unwrap_or(0);
    let most = most.unwrap_or("unknown");
    Diagnosis::fit(
        TRACKING,
        format!(
            "{prefixes} prefixes are told of; tracking-table-max-keys {most} does not matter, as \
             broadcasting keeps no table ({keys} names of other clients are in it)"
        ),
    )
}

async fn latency(asked: &mut Asked) -> Option<Diagnosis> {
    let mut spans = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let begin = Instant::now();
        // A refusal takes as long as an answer.
        asked.all(&[redis::cmd("PING")]).await.ok()?;
        spans.push(begin.elapsed());
    }
    spans.sort_unstable();
    let [half, most] = [spans[PINGS / 2], spans[PINGS - 1 - PINGS / 100]];
    let allowed = asked.settings().read_timeout;
    let found =
        format!("{PINGS} PINGs: p50 {half:.1?}, p99 {most:.1?}; a read may take {allowed:?}");
    Some(match () {
        () if half >= allowed => {
            Diagnosis::unfit(LATENCY, found, "raise redis.read_timeout, or use a server nearby")
        }
        () if most >= allowed / 2 => {
            Diagnosis::doubtful(LATENCY, found, "raise redis.read_timeout, or use a server nearby")
        }
        () => Diagnosis::fit(LATENCY, found),
    })
}

async fn clock(asked: &mut Asked) -> Option<Diagnosis> {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let Value::Array(parts) = asked.one(redis::cmd("TIME")).await.ok()? else { return None };
    let after = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let part = |number: usize| parts.get(number).and_then(text)?.parse::<u64>().ok();
    let theirs = Duration::from_secs(part(0)?) + Duration::from_micros(part(1)?);
    let ours = before + after.saturating_sub(before) / 2;
    let skew = theirs.abs_diff(ours);
    let found = format!("the server's clock is {skew:.1?} off ours; writes go by the server's");
    Some(match skew > SKEW {
        true => {
            Diagnosis::doubtful(CLOCK, found, "have both follow NTP, for logs that fit together")
        }
        false => Diagnosis::fit(CLOCK, found),
    })
}

/// How many names of ours a sample of the server's has. Rights that this needs are not missed.
async fn keys(asked: &mut Asked) -> Option<Diagnosis> {
    let Ok(Value::Int(all)) = asked.one(redis::cmd("DBSIZE")).await else { return None };
    let prefix = asked.settings().prefix.clone();
    let [records, ..] = names::told(&prefix);
    let (mut cursor, mut seen, mut ours) = ("0".to_owned(), 0_u64, 0_u64);
    for _ in 0..SCANS {
        let mut scan: Cmd = redis::cmd("SCAN");
        scan.arg(&cursor).arg("COUNT").arg(SCAN_COUNT);
        let Ok(Value::Array(parts)) = asked.one(scan).await else { return None };
        let [next, Value::Array(found)] = &parts[..] else { return None };
        cursor = text(next)?;
        seen += found.len() as u64;
        let is_ours =
            |name: &&Value| matches!(name, Value::BulkString(it) if it.starts_with(&records));
        ours += found.iter().filter(is_ours).count() as u64;
        if cursor == "0" {
            let found = format!("{ours} records of the prefix {prefix:?} among {seen} names");
            return Some(Diagnosis::fit(KEYS, found));
        }
    }
    let about = all as f64 * ours as f64 / seen.max(1) as f64;
    let found = format!(
        "about {about:.0} records of the prefix {prefix:?} among {all} names ({ours} of {seen} looked at)"
    );
    Some(Diagnosis::fit(KEYS, found))
}
