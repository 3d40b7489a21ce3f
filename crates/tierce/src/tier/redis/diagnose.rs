//! What a cache would find at its server, asked by the ways of the cache itself.
//!
//! The connection is made as the tier makes its own (address, TLS, credentials, database), and the
//! stream of changes as the listener subscribes. Each command that tierce sends, itself or from a
//! script, is sent once on a name that nobody is told of and that ends by itself; names of records
//! are only named, in a script that does nothing, which is enough for the server to judge them.
//!
//! | file | has |
//! |---|---|
//! | `commands` | which commands there are, each in a form that does no harm |
//! | `server` | what the server says of itself |
//! | `replicas` | which replicas there are, and how far they are behind |

mod commands;
mod replicas;
mod server;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{Cmd, Value};
use tokio::time::timeout;

use super::{
    RedisOptions, RedisTier, cluster,
    connect::{self, as_error, limits},
    link::{Common, runtime},
    names,
    options::{Address, Place, Settings},
    refusal::{self, RedisRefusal},
    sentinel,
    stream::Stream,
    subscription::{Queue, Subscription},
};
use crate::{
    diagnosis::Diagnosis,
    error::{Error, ErrorKind, Result},
    tier::{Coherence, Invalidation},
    tiering::TierKind,
};

const OPTIONS: &str = "redis.options";
const REACHED: &str = "redis.reached";
const STREAM: &str = "redis.stream";
const PLACE: &str = "redis.place";

/// Round trips of which the latency is told.
const PINGS: usize = 100;
/// A single question to a server that hangs is given up after this.
const PATIENCE: Duration = Duration::from_secs(2);

impl RedisOptions {
    /// Whether a cache with these options can use the server, and what it would find there:
    /// reach, rights (each command that is used), the stream of changes, memory, latency, clocks.
    ///
    /// Takes some hundred round trips. Leaves one name in the server for ten seconds at most, where
    /// it is not allowed to remove it.
    pub fn diagnose(&self) -> Vec<Diagnosis> {
        let tier = match RedisTier::new(self.clone()) {
            Ok(tier) => tier,
            Err(error) => return vec![Diagnosis::unfit(OPTIONS, said(&error), "set it so")],
        };
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => return vec![Diagnosis::unfit(REACHED, said(&error), "raise ulimit -n")],
        };
        let all = runtime.block_on(examine(&tier.common, self.how_coherent()));
        runtime.shutdown_background();
        all
    }
}

async fn examine(common: &Arc<Common>, coherence: Coherence) -> Vec<Diagnosis> {
    let mut all = Vec::new();
    let Some(address) = place(common, &mut all).await else { return all };
    let begin = Instant::now();
    let mut asked = match Asked::reach(common, &address).await {
        Ok(asked) => asked,
        Err(error) => {
            all.push(Diagnosis::unfit(REACHED, said(&error), remedy_of(&error)));
            return all;
        }
    };
    let tls = if common.settings.tls { ", TLS, certificate checked" } else { "" };
    let found = format!("{address} answers, after {:.1?} to connect{tls}", begin.elapsed());
    all.push(match &address {
        Address::Tcp(host, _) if !common.settings.tls && !is_near(host) => Diagnosis::doubtful(
            REACHED,
            format!("{found}; nothing is encrypted on the way"),
            "set redis.tls, unless the network is trusted",
        ),
        _ => Diagnosis::fit(REACHED, found),
    });
    server::examine(&mut asked, &mut all).await;
    commands::examine(&mut asked, &mut all).await;
    replicas::examine(&mut asked, &mut all).await;
    all.push(stream(common, &mut asked, address, coherence).await);
    all
}

fn is_near(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|it: std::net::IpAddr| it.is_loopback())
}

/// The server that is asked: the one there is, the master of the sentinels, or a master of the cluster.
async fn place(common: &Arc<Common>, all: &mut Vec<Diagnosis>) -> Option<Address> {
    let settings = &common.settings;
    let unfit = |error: &Error| Diagnosis::unfit(PLACE, said(error), remedy_of(error));
    match &settings.place {
        Place::One(address) => Some(address.clone()),
        Place::Sentinels(sentinels) => match sentinel::master(common, sentinels).await {
            Ok(address) => {
                let (count, name) = (sentinels.addresses.len(), &sentinels.master);
                let found = format!("of {count} sentinels the most name {address} for {name}");
                all.push(match count {
                    0..3 => Diagnosis::doubtful(
                        PLACE,
                        format!("{found}; fewer than three cannot outvote one that is cut off"),
                        "name at least three sentinels",
                    ),
                    _ => Diagnosis::fit(PLACE, found),
                });
                Some(address)
            }
            Err(error) => {
                all.push(unfit(&error));
                None
            }
        },
        Place::Cluster(nodes) => match cluster::survey(common, nodes.clone()).await {
            Ok(shares) => {
                let missing = shares.masters.iter().filter(|master| master.is_none()).count();
                let mut masters: Vec<&Address> = shares.masters.iter().flatten().collect();
                masters.sort();
                masters.dedup();
                let found =
                    format!("a cluster of {} nodes, {} masters", shares.nodes.len(), masters.len());
                all.push(match (shares.is_ok, missing) {
                    (true, 0) => Diagnosis::fit(PLACE, found),
                    _ => Diagnosis::unfit(
                        PLACE,
                        format!("{found}: {missing} of 256 groups of keys have no master"),
                        "mend the cluster (redis-cli --cluster check)",
                    ),
                });
                // The one that has the names that are tried.
                shares.masters.into_iter().next().flatten()
            }
            Err(error) => {
                all.push(unfit(&error));
                None
            }
        },
    }
}

/// A connection on which questions are asked, one at a time or many at once.
struct Asked {
    common: Arc<Common>,
    stream: Stream,
}

impl Asked {
    /// Connects and is let in.
    async fn reach(common: &Arc<Common>, address: &Address) -> Result<Self> {
        let settings = &common.settings;
        let counters = Arc::clone(&common.counters);
        let late =
            |_| refusal::error(ErrorKind::Network, format!("no connection to {address} in time"));
        let made = Stream::connect(address, common.connector.as_ref(), counters);
        let stream = timeout(settings.connect_timeout, made).await.map_err(late)?;
        let stream = stream.map_err(|cause| refusal::from_connect(cause, address))?;
        let mut asked = Self { common: Arc::clone(common), stream };
        let mut greeting = connect::opening(settings);
        greeting.push(redis::cmd("PING"));
        for reply in asked.all(&greeting).await? {
            let Value::ServerError(reply) = reply else { continue };
            let error = refusal::from_reply(&reply);
            match error.cause() {
                // The server's own words may name the user.
                Some(RedisRefusal::Credentials) => {
                    return Err(refusal::error(ErrorKind::Auth, "server refused our credentials"));
                }
                // A right that is missing is told with the other ones.
                Some(RedisRefusal::Permission) => {}
                _ => return Err(error),
            }
        }
        Ok(asked)
    }

    fn settings(&self) -> &Settings {
        &self.common.settings
    }

    async fn all(&mut self, commands: &[Cmd]) -> Result<Vec<Value>> {
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| command.write_packed_command(&mut bytes));
        let limits = limits(&self.common.settings);
        let asked = self.stream.ask(&bytes, commands.len(), limits);
        let late = |_| refusal::error(ErrorKind::Timeout, format!("no answer within {PATIENCE:?}"));
        timeout(PATIENCE, asked).await.map_err(late)?.map_err(as_error)
    }

    async fn one(&mut self, command: Cmd) -> Result<Value> {
        let mut replies = self.all(&[command]).await?;
        match replies.pop() {
            Some(Value::ServerError(reply)) => Err(refusal::from_reply(&reply)),
            Some(reply) => Ok(reply),
            None => Err(super::link::unexpected()),
        }
    }
}

/// Whether the server tells of changes: by RESP3 and `CLIENT TRACKING` in broadcasting mode, or by
/// pub/sub, as the listener asks for them.
async fn stream(
    common: &Arc<Common>,
    asked: &mut Asked,
    address: Address,
    coherence: Coherence,
) -> Diagnosis {
    if !coherence.enabled {
        let found = "redis.coherence is off: copies here do not follow the changes of other hosts";
        return Diagnosis::doubtful(STREAM, found, "set redis.coherence, unless one host is all");
    }
    let (events, _inbox) = tokio::sync::mpsc::unbounded_channel();
    let queue = Arc::new(Queue::default());
    let stripes: Vec<usize> = (0..names::STRIPES).collect();
    let subscribed = Subscription::new(common, address, &stripes, &events, 0, &queue);
    let outcome = match timeout(PATIENCE, subscribed).await {
        Ok(outcome) => outcome,
        Err(_) => Err(refusal::error(ErrorKind::Timeout, format!("no answer within {PATIENCE:?}"))),
    };
    match outcome {
        Ok(subscription) if subscription.is_by_pubsub() => {
            published(common, asked, coherence).await
        }
        Ok(_) => {
            Diagnosis::fit(STREAM, "RESP3 and CLIENT TRACKING in broadcasting mode are allowed")
        }
        Err(error) => Diagnosis::unfit(
            STREAM,
            format!(
                "the server does not tell of changes: {}; what other hosts change is seen here \
                 after {:?} at the latest",
                said(&error),
                coherence.staleness_bound
            ),
            match common.settings.invalidation {
                Invalidation::Tracking => {
                    "allow the user +hello and +client|tracking, or set redis.invalidation = auto; a \
                     server before Redis 6 cannot"
                }
                _ => {
                    "allow the user +hello and +client|tracking, or +subscribe and the channels \
                      &PREFIX:s:* and &PREFIX:t:*"
                }
            },
        ),
    }
}

/// What it is worth that changes are told by pub/sub, and whether those of this user are.
async fn published(common: &Arc<Common>, asked: &mut Asked, coherence: Coherence) -> Diagnosis {
    let prefix = &common.settings.prefix;
    let mut look = redis::cmd("PUBSUB");
    look.arg("NUMSUB").arg(names::stamp(prefix, 0));
    let mut publish = redis::cmd("PUBLISH");
    // Of no version: nobody takes it for news.
    publish.arg(names::stamp(prefix, 0)).arg("diagnosis");
    for command in [look, publish] {
        if let Err(error) = asked.one(command).await {
            let found = format!(
                "{}: what is changed here, other hosts that are told by pub/sub see with their next \
                 heartbeat",
                said(&error)
            );
            let remedy =
                format!("ACL SETUSER ... +pubsub|numsub +publish &{prefix}:s:* &{prefix}:t:*");
            return Diagnosis::doubtful(STREAM, found, remedy);
        }
    }
    match common.settings.invalidation {
        Invalidation::Pubsub => Diagnosis::fit(
            STREAM,
            "pub/sub is allowed; what clients change that are no tierce is not told",
        ),
        _ => Diagnosis::doubtful(
            STREAM,
            format!(
                "client tracking is refused: changes by tierce are told by pub/sub, those by others are \
                 seen after {:?}, for which copies live",
                coherence.staleness_bound
            ),
            "allow the user +hello and +client|tracking, or set redis.invalidation = pubsub if nobody \
             else writes",
        ),
    }
}

/// An error without the tier, of which all of this speaks, and without the word for a refusal.
fn said(error: &Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix(TierKind::Redis.label()).unwrap_or(&text);
    let text = text.strip_prefix(": ").unwrap_or(text);
    match error.cause::<RedisRefusal>() {
        Some(refusal) => text.strip_suffix(&format!(": {refusal}")).unwrap_or(text).to_owned(),
        None => text.to_owned(),
    }
}

fn remedy_of(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Auth => "set redis.username and redis.password to what the server knows",
        ErrorKind::Unsupported => "set redis.cluster where the server is a node of one",
        ErrorKind::Denied => "allow the user what is missing (ACL SETUSER)",
        _ => "see that the server runs, and that redis.url, host, port and tls are right",
    }
}
