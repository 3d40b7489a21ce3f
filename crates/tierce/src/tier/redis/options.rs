//! Where the server is and how long we wait for it: [`RedisOptions`], checked into [`Settings`].
//!
//! Setters only store; [`RedisOptions::check`] finds what is wrong and names it by its path
//! (`redis.port`). Neither type ever shows a user name, a password or a URL that holds one.

use std::{fmt, path::PathBuf, time::Duration};

use redis::{ConnectionAddr, IntoConnectionInfo};

use crate::{
    codec::{
        Compression,
        envelope::{Envelope, SealKeys},
    },
    error::{Error, ErrorKind, Result},
    tier::{Coherence, OnLoss},
    tiering::TierKind,
};

/// The port that Redis and Valkey listen on by default.
const DEFAULT_PORT: u16 = 6379;

/// Longer prefixes only waste memory of the server: the prefix is part of every name.
const MAX_PREFIX_BYTES: usize = 64;

/// The server's own bound on a value is 512 MiB (`proto-max-bulk-len`), ours included.
const MAX_VALUE_BYTES: usize = 511 << 20;

/// A bound above this would make a queue that no deadline can drain.
const MAX_QUEUE: usize = 1 << 20;

/// Waits above this are taken for a mistaken unit.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// More of them would be work without a gain.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);

/// A link that may be lost for longer unnoticed is no promise.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(60);

const COHERENCE: Coherence = Coherence {
    enabled: true,
    heartbeat: Duration::from_secs(2),
    staleness_bound: Duration::from_secs(5),
    on_loss: OnLoss::Miss,
};

/// From here on lz4 halves usual text for some microseconds; what a smaller value saves is less than
/// a packet.
const COMPRESS_ABOVE: usize = 1024;

/// Options of the Redis tier.
///
/// ```
/// use std::time::Duration;
/// let options = tierce::RedisOptions::new()
///     .url("redis://cache.example:6380/2")
///     .prefix("shop")
///     .read_timeout(Duration::from_millis(20));
/// ```
#[derive(Clone)]
pub struct RedisOptions {
    host: Option<String>,
    port: Option<u16>,
    unix_path: Option<PathBuf>,
    url: Option<String>,
    username: Option<String>,
    password: Option<String>,
    database: Option<i64>,
    tls: Option<bool>,
    tls_ca_file: Option<PathBuf>,
    prefix: String,
    connect_timeout: Duration,
    read_timeout: Duration,
    write_timeout: Duration,
    queue: usize,
    max_value_bytes: usize,
    compression: Compression,
    compress_above: usize,
    seal_key: Option<String>,
    older_seal_keys: Option<String>,
    ledger_keys: usize,
    coherence: Coherence,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            unix_path: None,
            url: None,
            username: None,
            password: None,
            database: None,
            tls: None,
            tls_ca_file: None,
            prefix: "tierce".to_owned(),
            connect_timeout: Duration::from_millis(500),
            read_timeout: Duration::from_millis(50),
            write_timeout: Duration::from_millis(100),
            queue: 1024,
            max_value_bytes: 16 << 20,
            compression: Compression::None,
            compress_above: COMPRESS_ABOVE,
            seal_key: None,
            older_seal_keys: None,
            ledger_keys: 65_536,
            coherence: COHERENCE,
        }
    }
}

impl RedisOptions {
    /// The defaults: `127.0.0.1:6379`, database 0, no password, no TLS.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the server's name or address. Default: `127.0.0.1`. Not together with a URL or a
    /// socket path.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Sets the server's port. Default: 6379. Not 0, and not together with a URL or a socket
    /// path.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets the path of the server's unix socket, in place of host and port.
    #[must_use]
    pub fn unix_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.unix_path = Some(path.into());
        self
    }

    /// Sets host, port, user, password and database by a URL, one of
    /// `redis://[user[:password]@]host[:port][/database]`, the same with `rediss://` for TLS, and
    /// `unix:///path?db=1&user=..&pass=..`.
    ///
    /// [`username`](Self::username), [`password`](Self::password) and
    /// [`database`](Self::database) set beside it win over what it says.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Sets the ACL user. Default: none, which is the server's `default` user. Needs a password.
    #[must_use]
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Sets the password. Default: none.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Sets the number of the server's database. Default: 0. Not negative.
    #[must_use]
    pub fn database(mut self, database: i64) -> Self {
        self.database = Some(database);
        self
    }

    /// Speaks TLS. Default: false, or what the URL says. Needs the feature `tls`, and a host: a
    /// connection that was to be encrypted is never made in the clear.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Trusts the certificates of this PEM file, and no others. Default: the roots of Mozilla.
    /// The file is read when the tier is made.
    #[must_use]
    pub fn tls_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls_ca_file = Some(path.into());
        self
    }

    /// Sets what all our names in the server begin with. Default: `tierce`. Caches with one
    /// prefix (and one database) share their records; others never touch.
    ///
    /// 1 to 64 bytes, printable ASCII without blanks and braces.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long making a connection may take, handshakes and the server's first answer
    /// included. Default: 500 ms. 1 ms to 10 minutes. No caller waits for it.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the deadline of a read. Default: 50 ms. 1 ms to 10 minutes.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Sets the deadline of a write, fill, remove or clear. Default: 100 ms. 1 ms to 10 minutes.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Sets how many requests may be under way at once; more fail at once with
    /// [`ErrorKind::Busy`]. Default: 1024. 1 to 2^20.
    #[must_use]
    pub fn queue(mut self, requests: usize) -> Self {
        self.queue = requests;
        self
    }

    /// Sets the bound on a value; a larger one is refused before anything is sent, and taken for
    /// a miss when found. Default: 16 MiB. 1 byte to 511 MiB.
    #[must_use]
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// Sets how values are made smaller on their way to the server. Default:
    /// [`Compression::None`]. Needs the feature of its name, in every process that is to read
    /// them: for others they are misses.
    ///
    /// A value that would shrink by less than an eighth goes as it is. Who sees how long a value
    /// is learns something of what is in it, also where it is sealed.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets from how many bytes on values are made smaller. Default: 1 KiB. At most 511 MiB.
    #[must_use]
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.compress_above = bytes;
        self
    }

    /// Sets the key under which values are sealed: encrypted, and bound to their key of the cache.
    /// 64 hex digits, drawn at random (`openssl rand -hex 32`). Default: none. Needs the feature
    /// `seal`.
    ///
    /// Records that are not sealed, or under another key, are misses then. Names of keys, lengths
    /// of values and times to live stay readable, and who may write to the server can bring back
    /// an earlier record of a key, or remove it.
    #[must_use]
    pub fn seal_key(mut self, key: impl Into<String>) -> Self {
        self.seal_key = Some(key.into());
        self
    }

    /// Sets keys that sealed records before and still open them, apart by commas or blanks.
    /// Default: none. Needs a [`seal_key`](Self::seal_key).
    ///
    /// To change the key without misses, first give the new one to all processes here, then make
    /// it their `seal_key` and put the one of before here.
    #[must_use]
    pub fn older_seal_keys(mut self, keys: impl Into<String>) -> Self {
        self.older_seal_keys = Some(keys.into());
        self
    }

    /// Sets how many keys whose change the server did not take are remembered one by one; beyond
    /// that everything in the tier is distrusted until it was cleared. Default: 65,536. 1 to 2^24.
    #[must_use]
    pub fn ledger_keys(mut self, keys: usize) -> Self {
        self.ledger_keys = keys;
        self
    }

    /// Sets whether copies in L1 and L2 follow the changes that other hosts make. Default: true.
    ///
    /// Off, a copy is served until its time to live ends, whatever became of its key in L3. It
    /// takes one more connection for each host (for each process without L2), a server that speaks
    /// RESP3 (6.0 or later) and the right to `CLIENT TRACKING`.
    #[must_use]
    pub fn coherence(mut self, enabled: bool) -> Self {
        self.coherence.enabled = enabled;
        self
    }

    /// Sets how often the stream of changes is asked for a sign of life. Default: 2 s. 10 ms to a
    /// minute; it has half as long for its answer.
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.coherence.heartbeat = heartbeat;
        self
    }

    /// Sets how long after the loss of the stream of changes nothing is served any more that may be
    /// stale. Default: 5 s. At least two heartbeats, at most 10 minutes.
    #[must_use]
    pub fn staleness_bound(mut self, bound: Duration) -> Self {
        self.coherence.staleness_bound = bound;
        self
    }

    /// Sets what becomes of copies in L1 and L2 when the stream of changes is lost. Default:
    /// [`OnLoss::Miss`].
    #[must_use]
    pub fn on_loss(mut self, what: OnLoss) -> Self {
        self.coherence.on_loss = what;
        self
    }

    /// How the cache follows other hosts.
    pub(crate) fn how_coherent(&self) -> Coherence {
        self.coherence
    }

    /// How long until a write that failed can land no more: its deadline by the server's clock,
    /// and as much again and more for what the two clocks differ.
    pub(crate) fn rest(&self) -> Duration {
        self.write_timeout.saturating_mul(2).saturating_add(Duration::from_secs(2))
    }

    /// The bound on keys of the ledger that the cache keeps beside the tier.
    pub(crate) fn ledger_bound(&self) -> usize {
        self.ledger_keys
    }

    /// Checks everything; does no I/O but reading the CA file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names the first option that is wrong; [`ErrorKind::Unsupported`]
    /// where TLS is asked for and not built in.
    pub(super) fn check(self) -> Result<Settings> {
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

        let envelope = self.envelope()?;
        let mut named = self.named()?;
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
        if tls && matches!(named.address, Address::Unix(_)) {
            return Err(wrong("tls = true: not over a unix socket"));
        }
        if self.tls_ca_file.is_some() && !tls {
            return Err(wrong("tls_ca_file: set, but tls is off"));
        }
        if tls && !cfg!(feature = "tls") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "redis.tls = true: this build lacks the feature tls",
            )
            .in_tier(TierKind::Redis));
        }
        Ok(Settings {
            address: named.address,
            username: named.username,
            password: named.password,
            database: named.database,
            tls,
            tls_ca_file: self.tls_ca_file,
            prefix: self.prefix,
            connect_timeout: self.connect_timeout,
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
            queue: self.queue,
            envelope,
            heartbeat: self.coherence.heartbeat,
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

    /// What URL, path, or host and port say.
    fn named(&self) -> Result<Named> {
        let plain = self.host.is_some() || self.port.is_some();
        if let Some(url) = &self.url {
            if plain || self.unix_path.is_some() {
                return Err(wrong("url: not together with host, port or unix_path"));
            }
            return parse_url(url);
        }
        let address = match &self.unix_path {
            Some(_) if plain => return Err(wrong("unix_path: not together with host or port")),
            Some(path) if path.as_os_str().is_empty() => {
                return Err(wrong("unix_path = \"\": must name a socket"));
            }
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp(
                self.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned()),
                self.port.unwrap_or(DEFAULT_PORT),
            ),
        };
        check_address(&address)?;
        Ok(Named { address, username: None, password: None, database: 0, tls: false })
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a password, so nothing of it is shown.
        out.debug_struct("RedisOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("unix_path", &self.unix_path)
            .field("url", &self.url.as_ref().map(|_| "(hidden)"))
            .field("username", &self.username.as_ref().map(|_| "(hidden)"))
            .field("password", &self.password.as_ref().map(|_| "(hidden)"))
            .field("database", &self.database)
            .field("tls", &self.tls)
            .field("tls_ca_file", &self.tls_ca_file)
            .field("prefix", &self.prefix)
            .field("connect_timeout", &self.connect_timeout)
            .field("read_timeout", &self.read_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("queue", &self.queue)
            .field("max_value_bytes", &self.max_value_bytes)
            .field("compression", &self.compression)
            .field("compress_above", &self.compress_above)
            .field("seal_key", &self.seal_key.as_ref().map(|_| "(hidden)"))
            .field("older_seal_keys", &self.older_seal_keys.as_ref().map(|_| "(hidden)"))
            .field("ledger_keys", &self.ledger_keys)
            .field("coherence", &self.coherence)
            .finish()
    }
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(out, "{host}:{port}"),
            Self::Unix(path) => write!(out, "{}", path.display()),
        }
    }
}

/// Options that passed the check. No `Debug`, because of the password.
pub(super) struct Settings {
    pub(super) address: Address,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
    pub(super) tls: bool,
    pub(super) tls_ca_file: Option<PathBuf>,
    pub(super) prefix: String,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) queue: usize,
    pub(super) envelope: Envelope,
    pub(super) heartbeat: Duration,
}

/// What names the server and who we are there.
struct Named {
    address: Address,
    username: Option<String>,
    password: Option<String>,
    database: i64,
    tls: bool,
}

fn wrong(what: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("redis.{what}")).in_tier(TierKind::Redis)
}

fn check_range(name: &str, value: usize, max: usize) -> Result<()> {
    if value == 0 || value > max {
        return Err(wrong(format!("{name} = {value}: must be 1 to {max}")));
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

fn check_address(address: &Address) -> Result<()> {
    match address {
        Address::Tcp(host, _) if host.trim().is_empty() || host.contains(char::is_whitespace) => {
            Err(wrong(format!("host = {host:?}: must be a name or an address")))
        }
        Address::Tcp(_, 0) => Err(wrong("port = 0: must be 1 to 65535")),
        _ => Ok(()),
    }
}

/// Reads a URL; no error repeats any part of it beyond the scheme.
fn parse_url(url: &str) -> Result<Named> {
    let rule = "must be redis://, rediss:// or unix:// with a host or a path";
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong(format!("url: {rule}")))?;
    let (tls, scheme) = match scheme {
        "redis" => (false, "redis"),
        "rediss" => (true, "redis"),
        "unix" => (false, "unix"),
        _ => return Err(wrong(format!("url with this scheme: {rule}"))),
    };
    if rest.contains('#') {
        return Err(wrong("url: must have no fragment (certificates are always verified)"));
    }
    // The parser's own message is dropped: it may quote the user or the password.
    let info = format!("{scheme}://{rest}")
        .into_connection_info()
        .map_err(|_| wrong(format!("url: {rule}")))?;
    let address = match info.addr() {
        ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
        ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
        _ => return Err(wrong(format!("url: {rule}"))),
    };
    check_address(&address)?;
    let redis = info.redis_settings();
    Ok(Named {
        address,
        username: redis.username().filter(|name| !name.is_empty()).map(str::to_owned),
        password: redis.password().map(str::to_owned),
        database: redis.db(),
        tls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    fn message(options: RedisOptions) -> String {
        match options.check() {
            Ok(_) => panic!("was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_wrong_option_is_named_with_its_rule() {
        let new = RedisOptions::new;
        for (options, part) in [
            (new().port(0), "redis.port = 0"),
            (new().host(""), "redis.host"),
            (new().host("a b"), "redis.host"),
            (new().prefix(""), "redis.prefix"),
            (new().prefix("a{b"), "braces"),
            (new().prefix("a b"), "blanks"),
            (new().prefix("x".repeat(65)), "64 bytes"),
            (new().queue(0), "redis.queue = 0"),
            (new().max_value_bytes(0), "redis.max_value_bytes = 0"),
            (new().max_value_bytes(512 << 20), "redis.max_value_bytes"),
            (new().compress_above(512 << 20), "redis.compress_above"),
            (new().older_seal_keys(KEY), "needs a seal_key"),
            (new().ledger_keys(0), "redis.ledger_keys = 0"),
            (new().read_timeout(Duration::ZERO), "redis.read_timeout"),
            (new().write_timeout(Duration::MAX), "redis.write_timeout"),
            (new().connect_timeout(Duration::from_nanos(1)), "redis.connect_timeout"),
            (new().heartbeat(Duration::ZERO), "redis.heartbeat"),
            (new().heartbeat(Duration::from_secs(61)), "redis.heartbeat"),
            (new().staleness_bound(Duration::from_secs(3)), "two heartbeats (4s)"),
            (new().staleness_bound(Duration::MAX), "redis.staleness_bound"),
            (new().database(-1), "redis.database = -1"),
            (new().username("u"), "needs a password"),
            (new().unix_path(""), "redis.unix_path"),
            (new().unix_path("/s").port(1), "not together"),
            (new().url("redis://h").host("h"), "not together"),
            (new().url("http://h"), "redis.url"),
            (new().url("h:6379"), "redis.url"),
            (new().url("redis://"), "redis.url"),
            (new().url("redis://h:99999"), "redis.url"),
            (new().url("rediss://h/#insecure"), "fragment"),
            (new().url("rediss://h").tls(false), "contradicts"),
            (new().tls_ca_file("/ca"), "tls is off"),
        ] {
            let message = message(options);
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }

    #[test]
    fn urls_say_where_and_who() {
        let check =
            |url: &str| RedisOptions::new().url(url).check().unwrap_or_else(|e| panic!("{e}"));
        let full = check("redis://ann:s%40crt@cache.example:6380/3");
        assert_eq!(full.address, Address::Tcp("cache.example".to_owned(), 6380));
        assert_eq!(full.username.as_deref(), Some("ann"));
        assert_eq!(full.password.as_deref(), Some("s@crt"));
        assert_eq!((full.database, full.tls), (3, false));
        assert_eq!(check("redis://[::1]").address, Address::Tcp("::1".to_owned(), 6379));
        assert_eq!(check("unix:///run/r.sock?db=2").address, Address::Unix("/run/r.sock".into()));
        let won = RedisOptions::new().url("redis://h/1").database(5).password("p").check();
        let won = won.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((won.database, won.password.as_deref()), (5, Some("p")));
    }

    #[test]
    fn tls_is_spoken_or_refused_but_never_dropped() {
        for options in
            [RedisOptions::new().tls(true), RedisOptions::new().url("rediss://cache.example")]
        {
            let outcome = options.check();
            let spoken = outcome.as_ref().is_ok_and(|settings| settings.tls);
            let refused = outcome.is_err_and(|error| error.kind() == ErrorKind::Unsupported);
            assert_eq!((spoken, refused), (cfg!(feature = "tls"), !cfg!(feature = "tls")));
        }
        assert!(message(RedisOptions::new().unix_path("/s").tls(true)).contains("unix socket"));
    }

    #[test]
    fn what_a_build_lacks_is_refused_and_never_left_out() {
        for kind in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let outcome = RedisOptions::new().compression(kind).check();
            match outcome {
                Ok(settings) => assert_eq!(settings.envelope.compression, kind),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
            }
        }
        let outcome = RedisOptions::new().seal_key(KEY).check();
        let sealed = outcome.as_ref().is_ok_and(|settings| settings.envelope.seal_keys.is_some());
        let refused = outcome.is_err_and(|error| error.kind() == ErrorKind::Unsupported);
        assert_eq!((sealed, refused), (cfg!(feature = "seal"), !cfg!(feature = "seal")));
    }

    #[cfg(feature = "seal")]
    #[test]
    fn a_seal_key_is_64_hex_digits_and_no_message_repeats_it() {
        for wrong in ["", "abc", &KEY[1..], &KEY.replace('e', "g"), &format!("{KEY}00")] {
            let new = RedisOptions::new();
            for (options, name) in [
                (new.clone().seal_key(wrong), "redis.seal_key"),
                (
                    new.seal_key(KEY).older_seal_keys(format!("{KEY},{wrong}")),
                    "redis.older_seal_keys",
                ),
            ] {
                if wrong.is_empty() && name.contains("older") {
                    assert!(options.check().is_ok(), "a comma at the end is no key");
                    continue;
                }
                assert!(!format!("{options:?}").contains("00010203"), "{options:?}");
                let message = message(options);
                assert!(message.contains(name) && message.contains("64 hex"), "{message}");
                assert!(!message.contains("00010203"), "{message}");
            }
        }
        let spaced = RedisOptions::new().seal_key(format!(" {KEY}\n"));
        assert!(spaced.older_seal_keys(format!("{KEY}, {KEY}\n{KEY}")).check().is_ok());
    }

    #[test]
    fn secrets_are_in_no_text() {
        let options = RedisOptions::new().username("ann").password("hush");
        assert!(!format!("{options:?}").contains("hush"));
        for url in ["redis://ann:hush@h:notaport", "redis://ann:hush@", "hush://ann:hush@h"] {
            let options = RedisOptions::new().url(url);
            assert!(!format!("{options:?}").contains("hush"));
            assert!(!message(options).contains("hush"), "{url}");
        }
    }
}
