//! Options checked, each by its rule.

use std::{fmt, path::PathBuf, time::Duration};

use super::{
    RedisOptions,
    place::{Address, Place},
};
use crate::{
    codec::envelope::{Envelope, SealKeys},
    error::{Error, ErrorKind, Result},
    tier::{Behind, Coherence, Invalidation},
    tiering::TierKind,
};

/// Longer prefixes only waste memory of the server: the prefix is part of every name.
const MAX_PREFIX_BYTES: usize = 64;

/// The server's own bound on a value is 512 MiB (`proto-max-bulk-len`), ours included.
const MAX_VALUE_BYTES: usize = 511 << 20;

/// A bound above this would make a queue that no deadline can drain.
const MAX_QUEUE: usize = 1 << 20;

/// Waits above this are taken for a mistaken unit.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// As the clocks count.
const SHORTEST_DELAY: Duration = Duration::from_millis(1);

/// What waits is known to other hosts only then.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// More of them would be work without a gain.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);

/// Some times that of an answer: it is renewed three times in that.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);
const LONGEST_LEASE: Duration = Duration::from_secs(3600);

/// A link that may be lost for longer unnoticed is no promise.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(60);

impl RedisOptions {
    /// Checks everything; does no I/O but reading the CA file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names the first option that is wrong; [`ErrorKind::Unsupported`]
    /// where TLS is asked for and not built in.
    pub(in super::super) fn check(self) -> Result<Settings> {
        let wait = |name: &str, wait: Duration| {
            if wait < Duration::from_millis(1) || wait > MAX_WAIT {
                return Err(wrong(format!("{name} = {wait:?}: must be 1 ms to 10 minutes")));
            }
            Ok(())
        };
        wait("connect_timeout", self.connect_timeout)?;
        wait("read_timeout", self.read_timeout)?;
        wait("write_timeout", self.write_timeout)?;
        check_prefix(&self.prefix)?;
        check_range("queue", self.queue, MAX_QUEUE)?;
        check_range("max_value_bytes", self.max_value_bytes, MAX_VALUE_BYTES)?;
        if self.compress_above > MAX_VALUE_BYTES {
            let found = self.compress_above;
            return Err(wrong(format!(
                "compress_above = {found}: must be at most {MAX_VALUE_BYTES}"
            )));
        }
        check_range("ledger_keys", self.ledger_keys, 1 << 24)?;
        check_coherence(&self.coherence)?;
        check_lease(self.load_lease)?;
        if self.replica_reads && !self.coherence.enabled {
            return Err(wrong("replica_reads = true: needs coherence = true"));
        }
        check_behind(&self.how_behind())?;

        let envelope = self.envelope()?;
        let mut named = self.named()?;
        let replicas = self.checked_replicas(&named.place)?;
        named.username = self.username.or(named.username);
        named.password = self.password.or(named.password);
        named.database = self.database.unwrap_or(named.database);
        if named.database < 0 {
            return Err(wrong(format!("database = {}: must not be negative", named.database)));
        }
        if named.username.is_some() && named.password.is_none() {
            return Err(wrong("username: needs a password"));
        }
        if self.tls == Some(false) && named.tls {
            return Err(wrong("tls = false: contradicts the scheme rediss:// of the url"));
        }
        let tls = self.tls.unwrap_or(named.tls);
        if tls && matches!(named.place, Place::One(Address::Unix(_))) {
            return Err(wrong("tls = true: not over a unix socket"));
        }
        if self.tls_ca_file.is_some() && !tls {
            return Err(wrong("tls_ca_file: set, but tls is off"));
        }
        let tls_identity = match (self.tls_certificate, self.tls_key) {
            (None, None) => None,
            (Some(_), None) => return Err(wrong("tls_certificate: needs a tls_key")),
            (None, Some(_)) => return Err(wrong("tls_key: needs a tls_certificate")),
            (Some(_), Some(_)) if !tls => {
                return Err(wrong("tls_certificate: set, but tls is off"));
            }
            (Some(certificate), Some(key)) => Some((certificate, key)),
        };
        if tls && !cfg!(feature = "tls") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "redis.tls = true: this build lacks the feature tls",
            )
            .in_tier(TierKind::Redis));
        }
        Ok(Settings {
            place: named.place,
            username: named.username,
            password: named.password,
            database: named.database,
            replica_reads: self.replica_reads,
            replicas,
            tls,
            tls_ca_file: self.tls_ca_file,
            tls_identity,
            prefix: self.prefix,
            connect_timeout: self.connect_timeout,
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
            queue: self.queue,
            envelope,
            heartbeat: self.coherence.heartbeat,
            invalidation: self.invalidation,
        })
    }

    /// How records are written and read.
    fn envelope(&self) -> Result<Envelope> {
        if !self.compression.is_built_in() {
            let name = self.compression.as_str();
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("redis.compression = {name}: this build lacks the feature {name}"),
            )
            .in_tier(TierKind::Redis));
        }
        let older = self.older_seal_keys.as_deref();
        let seal_keys = match &self.seal_key {
            None if older.is_some() => return Err(wrong("older_seal_keys: needs a seal_key")),
            None => None,
            Some(first) => Some(
                SealKeys::parse(first, older.unwrap_or_default())
                    .map_err(|error| error.in_tier(TierKind::Redis))?,
            ),
        };
        Ok(Envelope {
            compression: self.compression,
            compress_above: self.compress_above,
            max_value_bytes: self.max_value_bytes,
            seal_keys,
        })
    }
}

/// Options that passed the check. No `Debug`, because of the password.
pub(in super::super) struct Settings {
    pub(in super::super) place: Place,
    pub(in super::super) username: Option<String>,
    pub(in super::super) password: Option<String>,
    pub(in super::super) database: i64,
    pub(in super::super) replica_reads: bool,
    /// Those of the one server.
    pub(in super::super) replicas: Vec<Address>,
    pub(in super::super) tls: bool,
    pub(in super::super) tls_ca_file: Option<PathBuf>,
    /// The files of our certificate and of its key.
    pub(in super::super) tls_identity: Option<(PathBuf, PathBuf)>,
    pub(in super::super) prefix: String,
    pub(in super::super) connect_timeout: Duration,
    pub(in super::super) read_timeout: Duration,
    pub(in super::super) write_timeout: Duration,
    pub(in super::super) queue: usize,
    pub(in super::super) envelope: Envelope,
    pub(in super::super) heartbeat: Duration,
    pub(in super::super) invalidation: Invalidation,
}

impl Settings {
    /// How often those who watch over the servers are asked who the master is.
    pub(in super::super) fn look_for_master_every(&self) -> Duration {
        self.heartbeat / 2
    }
}

pub(super) fn wrong(what: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("redis.{what}")).in_tier(TierKind::Redis)
}

fn check_range(name: &str, value: usize, max: usize) -> Result<()> {
    if value == 0 || value > max {
        return Err(wrong(format!("{name} = {value}: must be 1 to {max}")));
    }
    Ok(())
}

fn check_behind(behind: &Behind) -> Result<()> {
    let Behind { delay, flush_timeout } = *behind;
    if delay < SHORTEST_DELAY || delay > LONGEST_DELAY {
        return Err(wrong(format!("write_delay = {delay:?}: must be 1 ms to a minute")));
    }
    if flush_timeout > MAX_WAIT {
        return Err(wrong(format!(
            "flush_timeout = {flush_timeout:?}: must be at most 10 minutes"
        )));
    }
    Ok(())
}

fn check_coherence(coherence: &Coherence) -> Result<()> {
    let Coherence { heartbeat, staleness_bound, .. } = *coherence;
    if heartbeat < SHORTEST_HEARTBEAT || heartbeat > LONGEST_HEARTBEAT {
        return Err(wrong(format!("heartbeat = {heartbeat:?}: must be 10 ms to a minute")));
    }
    if staleness_bound < heartbeat.saturating_mul(2) || staleness_bound > MAX_WAIT {
        return Err(wrong(format!(
            "staleness_bound = {staleness_bound:?}: must be at least two heartbeats ({:?}) and at \
             most 10 minutes",
            heartbeat.saturating_mul(2)
        )));
    }
    Ok(())
}

fn check_lease(lease: Duration) -> Result<()> {
    if !lease.is_zero() && !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease) {
        return Err(wrong(format!("load_lease = {lease:?}: must be 0, or 100 ms to an hour")));
    }
    Ok(())
}

/// Braces would take part in the hash tag that keeps the names of a stripe in one slot, and could
/// make a name under one prefix look like a name under another.
fn check_prefix(prefix: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
    if prefix.is_empty() || prefix.len() > MAX_PREFIX_BYTES || !prefix.bytes().all(plain) {
        return Err(wrong(format!(
            "prefix = {prefix:?}: must be 1 to {MAX_PREFIX_BYTES} bytes of printable ASCII without \
             blanks and braces"
        )));
    }
    Ok(())
}
