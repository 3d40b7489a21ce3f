//! Where the server is and how long we wait for it: [`RedisOptions`], checked into [`Settings`].
//!
//! | file | has |
//! |---|---|
//! | `place` | where the server is: one, one of several, or a cluster |
//! | `settings` | the check, and what passed it |
//! | `url` | what a URL says |
//!
//! Setters only store; [`RedisOptions::check`] finds what is wrong and names it by its path
//! (`redis.port`). Neither type ever shows a user name, a password or a URL that holds one.

mod place;
mod settings;
#[cfg(test)]
mod tests;
mod url;

use std::{fmt, path::PathBuf, time::Duration};

pub(super) use self::{
    place::{Address, Place, Sentinels},
    settings::Settings,
};
use crate::{
    codec::Compression,
    tier::{Behind, Coherence, Invalidation, OnLoss, WritePolicy},
};

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
    sentinels: Option<String>,
    sentinel_master: Option<String>,
    sentinel_username: Option<String>,
    sentinel_password: Option<String>,
    cluster: bool,
    nodes: Option<String>,
    replica_reads: bool,
    replicas: Option<String>,
    tls: Option<bool>,
    tls_ca_file: Option<PathBuf>,
    tls_certificate: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    prefix: String,
    connect_timeout: Duration,
    read_timeout: Duration,
    write_timeout: Duration,
    queue: usize,
    max_value_bytes: usize,
    compression: Compression,
    compress_above: usize,
    load_lease: Duration,
    write: WritePolicy,
    write_delay: Duration,
    flush_timeout: Duration,
    seal_key: Option<String>,
    older_seal_keys: Option<String>,
    ledger_keys: usize,
    coherence: Coherence,
    invalidation: Invalidation,
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
            sentinels: None,
            sentinel_master: None,
            sentinel_username: None,
            sentinel_password: None,
            cluster: false,
            nodes: None,
            replica_reads: false,
            replicas: None,
            tls: None,
            tls_ca_file: None,
            tls_certificate: None,
            tls_key: None,
            prefix: "tierce".to_owned(),
            connect_timeout: Duration::from_millis(500),
            read_timeout: Duration::from_millis(50),
            write_timeout: Duration::from_millis(100),
            queue: 1024,
            max_value_bytes: 16 << 20,
            compression: Compression::None,
            compress_above: COMPRESS_ABOVE,
            load_lease: Duration::ZERO,
            write: WritePolicy::Through,
            write_delay: Duration::from_millis(100),
            flush_timeout: Duration::from_secs(5),
            seal_key: None,
            older_seal_keys: None,
            ledger_keys: 65_536,
            coherence: COHERENCE,
            invalidation: Invalidation::Auto,
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

    /// Finds the server by these sentinels, in place of host and port: `host:port`, apart by commas;
    /// a port that is left out is 26379. 1 to 32. Default: none. Needs a
    /// [`sentinel_master`](Self::sentinel_master).
    ///
    /// They are asked together whenever a connection is made, and the master that most of them name
    /// is used, once it says that it is one. [`tls`](Self::tls) holds for them too. The ACL user
    /// needs the rights to `ROLE` and `INFO`.
    ///
    /// A master that takes over may lack changes that the one before had confirmed. So whatever L3
    /// held under the one before is void then, and so are all copies: the cache is cold.
    #[must_use]
    pub fn sentinels(mut self, addresses: impl Into<String>) -> Self {
        self.sentinels = Some(addresses.into());
        self
    }

    /// Sets the name that the sentinels know the master by. Needs [`sentinels`](Self::sentinels).
    /// 1 to 255 bytes, printable ASCII without blanks.
    #[must_use]
    pub fn sentinel_master(mut self, name: impl Into<String>) -> Self {
        self.sentinel_master = Some(name.into());
        self
    }

    /// Sets the ACL user at the sentinels. Default: none, which is their `default` user. Needs a
    /// [`sentinel_password`](Self::sentinel_password).
    #[must_use]
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel_username = Some(username.into());
        self
    }

    /// Sets the password at the sentinels. Default: none; that of the server is not sent to them.
    /// Needs [`sentinels`](Self::sentinels).
    #[must_use]
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_password = Some(password.into());
        self
    }

    /// Takes the server for a node of a cluster, and asks the masters of that cluster. Default:
    /// false. Not over a unix socket, and in database 0 alone.
    ///
    /// There is a connection to each master. The ACL user needs the rights to `CLUSTER SLOTS`,
    /// `CLUSTER INFO`, `ASKING`, `ROLE` and `INFO`. A group of keys (there are 256) whose slot came
    /// to another master, after a failover or by resharding, is cold there.
    #[must_use]
    pub fn cluster(mut self, cluster: bool) -> Self {
        self.cluster = cluster;
        self
    }

    /// Sets nodes of the cluster, in place of host and port: `host:port`, apart by commas; a port
    /// that is left out is 6379. 1 to 32. Default: none. Needs [`cluster`](Self::cluster).
    ///
    /// One that can be reached is enough: it knows the others.
    #[must_use]
    pub fn nodes(mut self, addresses: impl Into<String>) -> Self {
        self.nodes = Some(addresses.into());
        self
    }

    /// Has replicas answer reads of single keys in their master's stead, where what they say is as new as
    /// all that this host knows. Default: false. Needs [`replicas`](Self::replicas), sentinels or a
    /// cluster, which name them, and [`coherence`](Self::coherence).
    ///
    /// The answer of a replica counts if it is a fresh value, if the host is told of the changes of
    /// others, and if the replica has all that its master had at the last look at that, a quarter of a
    /// [`heartbeat`](Self::heartbeat) ago as a rule. For all else the master is asked, and no caller sees
    /// an error for it: about a key of which a change or a load, by any host, was heard of since that
    /// look, where no replica is there or has a link to its master, before anything is loaded, and
    /// which tags of a value were changed. What this host has set or removed is never read older; what
    /// another host changed, for the [`staleness_bound`](Self::staleness_bound) at most, as from a copy.
    ///
    /// [`get_many`](crate::Cache::get_many), calls with a `max_age` and changes ask the master; so does
    /// a cache whose only tier is L3, which is not told of changes. A replica has half of
    /// [`read_timeout`](Self::read_timeout) for its answer, before its master is asked. The ACL user needs the right to `ROLE`, in a
    /// cluster to `READONLY` too. A value ends by the clock of the server that is asked.
    /// docs/l3-replicas.md.
    #[must_use]
    pub fn replica_reads(mut self, reads: bool) -> Self {
        self.replica_reads = reads;
        self
    }

    /// Sets the replicas of the one server: `host:port`, apart by commas; a port that is left out is
    /// 6379. 1 to 32. Default: none; those of a master of sentinels and of a cluster are asked for
    /// there. Needs [`replica_reads`](Self::replica_reads). User, password, database and TLS are those
    /// of the server.
    #[must_use]
    pub fn replicas(mut self, addresses: impl Into<String>) -> Self {
        self.replicas = Some(addresses.into());
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

    /// Shows the server this certificate, for one that asks for it (`tls-auth-clients`): a PEM file,
    /// first our own certificate, then those between it and the authority. Default: none. Needs a
    /// [`tls_key`](Self::tls_key). The file is read when the tier is made.
    #[must_use]
    pub fn tls_certificate(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls_certificate = Some(path.into());
        self
    }

    /// Sets the PEM file of the private key of the [`tls_certificate`](Self::tls_certificate). Not
    /// encrypted. Default: none.
    #[must_use]
    pub fn tls_key(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls_key = Some(path.into());
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
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy). Default: 1024. 1 to 2^20.
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
    /// Off, a copy is served until its time to live ends, whatever became of its key in L3: `build`
    /// tells the host's `tracing` subscriber so, as `coherence_off`. On, it takes one more connection
    /// for each host (for each process without L2), a server that speaks RESP3 (6.0 or later) and the
    /// right to `CLIENT TRACKING`.
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

    /// Sets how the host is told of the changes of others. Default: [`Invalidation::Auto`].
    ///
    /// Client tracking needs the rights to `HELLO` and `CLIENT TRACKING`. Pub/sub needs that to
    /// `SUBSCRIBE`, who changes something those to `PUBSUB NUMSUB` and `PUBLISH`, both for the channels
    /// `PREFIX:s:*` and `PREFIX:t:*`; without the latter changes are seen with the next heartbeat.
    #[must_use]
    pub fn invalidation(mut self, way: Invalidation) -> Self {
        self.invalidation = way;
        self
    }

    /// Has all hosts load a key one at a time: the one that does holds a lease in the server, which it
    /// renews while its load is waited for, and the others look in the server for what it brings. One
    /// that ends without a word costs them this time at most. Default: zero, each host loads by itself.
    /// Else 100 ms to an hour.
    ///
    /// A load then takes one round trip more. Where the server does not answer nobody waits.
    #[must_use]
    pub fn load_lease(mut self, lease: Duration) -> Self {
        self.load_lease = lease;
        self
    }

    /// What [`load_lease`](Self::load_lease) set.
    pub(crate) fn lease(&self) -> Duration {
        self.load_lease
    }

    /// Sets which values reach the server. Default: [`WritePolicy::Through`], all of them.
    ///
    /// [`WritePolicy::Around`] is for values that are set more often than other hosts read them: those
    /// are not sent. In the stead of each the server has a word of some 100 bytes, by which other hosts
    /// are told. What loads bring goes there as ever, so who sets a value writes it to the source
    /// of the loads first.
    ///
    /// [`WritePolicy::Behind`] is for values that are set more often than they have to reach other hosts:
    /// `set` does not wait for the server, which is sent the newest value of each key after
    /// [`write_delay`](Self::write_delay).
    ///
    /// A call or a keyspace that names its tiers ([`SetOptions::tiers`](crate::SetOptions::tiers)) goes
    /// by those instead. Changes that depend on what is there
    /// ([`Cache::update`](crate::Cache::update) and its like) are decided by the server and go there: a
    /// value that was set around it is found by the host that set it. With tags it is judged by what
    /// that host was told of them.
    #[must_use]
    pub fn write(mut self, policy: WritePolicy) -> Self {
        self.write = policy;
        self
    }

    /// Sets how long a value waits at most that is set behind the server ([`WritePolicy::Behind`]), as long
    /// as the server takes what is sent. Default: 100 ms; 1 ms to a minute.
    #[must_use]
    pub fn write_delay(mut self, delay: Duration) -> Self {
        self.write_delay = delay;
        self
    }

    /// Sets for how long [`Cache::flush`](crate::Cache::flush), and who closes the cache or drops the last
    /// handle of it, sends values that wait. Default: 5 s; at most 10 minutes. After that
    /// nobody of the host reads from the server what is older than those that still wait.
    #[must_use]
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout;
        self
    }

    /// When values are sent that are set behind the server.
    pub(crate) fn how_behind(&self) -> Behind {
        Behind { delay: self.write_delay, flush_timeout: self.flush_timeout }
    }

    /// What [`write`](Self::write) set.
    pub(crate) fn how_written(&self) -> WritePolicy {
        self.write
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
            .field("sentinels", &self.sentinels)
            .field("sentinel_master", &self.sentinel_master)
            .field("sentinel_username", &self.sentinel_username.as_ref().map(|_| "(hidden)"))
            .field("sentinel_password", &self.sentinel_password.as_ref().map(|_| "(hidden)"))
            .field("cluster", &self.cluster)
            .field("nodes", &self.nodes)
            .field("replica_reads", &self.replica_reads)
            .field("replicas", &self.replicas)
            .field("tls", &self.tls)
            .field("tls_ca_file", &self.tls_ca_file)
            .field("tls_certificate", &self.tls_certificate)
            .field("tls_key", &self.tls_key)
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
            .field("load_lease", &self.load_lease)
            .field("write", &self.write)
            .field("write_delay", &self.write_delay)
            .field("flush_timeout", &self.flush_timeout)
            .finish()
    }
}
