//! Which clients, and how each is set up.

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fred::{
    interfaces::{ClientLike, KeysInterface},
    prelude::{Client as FredClient, Config as FredConfig, Server as FredServer, ServerConfig},
};
use redis::{AsyncCommands, Commands, aio::MultiplexedConnection};
use tierce::{Bytes, Cache, RedisOptions, Tiering};
use tokio::runtime::Runtime;

use super::{
    data::{KEYS, MANY, VALUE_BYTES, key, many_keys, value},
    near,
    server::Place,
    timing::{self, Caller, Run, Verb, first_key},
};

pub(super) const OURS: &str = "tierce";
pub(super) const MULTIPLEXED: &str = "redis-rs-multiplexed";
pub(super) const TASKS: &str = "redis-rs-multiplexed-tasks";
pub(super) const SYNC: &str = "redis-rs-connections";
pub(super) const FRED: &str = "fred";
pub(super) const HIREDIS: &str = "hiredis-connections";

/// Those that ask the server each time, ours first.
pub(super) const ASKING: [&str; 6] = [OURS, MULTIPLEXED, TASKS, SYNC, FRED, HIREDIS];

/// All of them, those that keep copies near included.
pub(super) const NAMES: [&str; 11] = [
    OURS,
    MULTIPLEXED,
    TASKS,
    SYNC,
    FRED,
    HIREDIS,
    near::CACHE_AIO,
    near::CACHE_AIO_WORKERS,
    near::TIERCE_BEHIND,
    near::TIERCE_PYTHON,
    near::REDIS_PY,
];

/// Deadlines that a busy machine keeps: a run with errors would say nothing.
const RELAXED: Duration = Duration::from_secs(10);

type Fault = Box<dyn std::error::Error>;

/// A client of the server.
pub(super) trait Rival {
    /// A caller on a thread of its own.
    fn caller(&self) -> Result<Box<dyn Caller>, Fault>;

    /// So many callers at once.
    fn many(&self, callers: usize, verb: Verb, limit: Duration) -> Result<Run, Fault> {
        let callers = (0..callers).map(|_| self.caller()).collect::<Result<Vec<_>, _>>()?;
        Ok(timing::many(callers, verb, limit))
    }

    /// The middle call of one caller, in microseconds.
    fn one(&self, verb: Verb, limit: Duration) -> Result<f64, Fault> {
        Ok(timing::one(self.caller()?, verb, limit))
    }
}

/// Puts the values that the clients other than ours read.
pub(super) fn fill(place: &Place) -> Result<(), Fault> {
    let mut connection = redis::Client::open(place.url())?.get_connection()?;
    let value = value();
    for number in 0..KEYS {
        () = connection.set(key(number), &value)?;
    }
    Ok(())
}

/// Makes the rival of this name, or says why it cannot take part.
pub(super) fn open(name: &str, place: &Place, folder: &Path) -> Result<Box<dyn Rival>, Fault> {
    Ok(match name {
        OURS => Box::new(Ours::new(place)?),
        MULTIPLEXED => Box::new(Multiplexed::new(place, false)?),
        TASKS => Box::new(Multiplexed::new(place, true)?),
        SYNC => Box::new(Sync { client: redis::Client::open(place.url())? }),
        FRED => Box::new(Fred::new(place)?),
        _ => Box::new(Hiredis::new(place, folder)?),
    })
}

/// tierce, L3 alone, through the cache.
struct Ours(Arc<Cache<Bytes>>);

impl Ours {
    fn new(place: &Place) -> Result<Self, Fault> {
        let options = RedisOptions::new()
            .url(place.url())
            .connect_timeout(RELAXED)
            .read_timeout(RELAXED)
            .write_timeout(RELAXED);
        let cache = Cache::<Bytes>::builder().tiering(Tiering::L3).redis(options).build()?;
        for number in 0..KEYS {
            cache.set(key(number), Bytes::from(value()))?;
        }
        Ok(Self(Arc::new(cache)))
    }
}

impl Rival for Ours {
    fn caller(&self) -> Result<Box<dyn Caller>, Fault> {
        Ok(Box::new(OurCaller(Arc::clone(&self.0), Bytes::from(value()))))
    }
}

struct OurCaller(Arc<Cache<Bytes>>, Bytes);

impl Caller for OurCaller {
    fn get(&mut self, number: usize) {
        let found = self.0.get(key(number));
        assert_eq!(found.map(|value| value.len()), Some(VALUE_BYTES), "key {number}");
    }

    fn get_many(&mut self, number: usize) {
        let found = self.0.get_many(&many_keys(number));
        check_many(found.iter().map(|value| value.as_ref().map_or(0, Bytes::len)));
    }

    fn put(&mut self, number: usize) {
        // A set returns once the server has the value; that it has it is checked by the gets.
        self.0.set(key(number), self.1.clone()).expect("the value is small enough");
    }
}

/// One multiplexed connection of redis-rs for all, from threads or from tasks.
struct Multiplexed {
    runtime: Arc<Runtime>,
    connection: MultiplexedConnection,
    by_tasks: bool,
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

impl Multiplexed {
    fn new(place: &Place, by_tasks: bool) -> Result<Self, Fault> {
        let runtime = runtime()?;
        let client = redis::Client::open(place.url())?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(RELAXED));
        let connection =
            runtime.block_on(client.get_multiplexed_async_connection_with_config(&config))?;
        Ok(Self { runtime: Arc::new(runtime), connection, by_tasks })
    }
}

impl Rival for Multiplexed {
    fn caller(&self) -> Result<Box<dyn Caller>, Fault> {
        Ok(Box::new(MultiplexedCaller {
            runtime: Arc::clone(&self.runtime),
            connection: self.connection.clone(),
            value: value(),
        }))
    }

    fn many(&self, callers: usize, verb: Verb, limit: Duration) -> Result<Run, Fault> {
        if !self.by_tasks {
            let callers = (0..callers).map(|_| self.caller()).collect::<Result<Vec<_>, _>>()?;
            return Ok(timing::many(callers, verb, limit));
        }
        Ok(tasks(&self.runtime, callers, limit, |number| {
            let (connection, value) = (self.connection.clone(), value());
            let mut next = first_key(number);
            move || {
                let key = key(next);
                next = (next + 1) % KEYS;
                let (mut connection, value) = (connection.clone(), value.clone());
                async move {
                    match verb {
                        Verb::Get => check(connection.get(key).await),
                        Verb::GetMany => unreachable!("is measured with one caller"),
                        Verb::Put => connection.set(key, value).await.expect("the server takes it"),
                    }
                }
            }
        }))
    }

    fn one(&self, verb: Verb, limit: Duration) -> Result<f64, Fault> {
        Ok(timing::one(self.caller()?, verb, limit))
    }
}

fn check(found: redis::RedisResult<Vec<u8>>) {
    assert_eq!(found.expect("the server answers").len(), VALUE_BYTES);
}

fn check_many(lengths: impl Iterator<Item = usize>) {
    assert_eq!(lengths.filter(|length| *length == VALUE_BYTES).count(), MANY);
}

/// So many tasks on a runtime of as many threads as there are cores.
fn tasks<C, F>(
    runtime: &Runtime,
    callers: usize,
    limit: Duration,
    mut make: impl FnMut(usize) -> C,
) -> Run
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let ends = Arc::new(AtomicBool::new(false));
    let operations = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..callers)
        .map(|number| {
            let (ends, operations) = (Arc::clone(&ends), Arc::clone(&operations));
            let mut call = make(number);
            runtime.spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    call().await;
                    operations.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let (begin, before) = (Instant::now(), operations.load(Ordering::Relaxed));
    std::thread::sleep(limit);
    let counted = operations.load(Ordering::Relaxed) - before;
    let seconds = begin.elapsed().as_secs_f64();
    ends.store(true, Ordering::Relaxed);
    for task in tasks {
        runtime.block_on(task).expect("a task ends by its flag");
    }
    Run { operations: counted, seconds }
}

struct MultiplexedCaller {
    runtime: Arc<Runtime>,
    connection: MultiplexedConnection,
    value: Vec<u8>,
}

impl Caller for MultiplexedCaller {
    fn get(&mut self, number: usize) {
        check(self.runtime.block_on(self.connection.get(key(number))));
    }

    fn get_many(&mut self, number: usize) {
        let found: redis::RedisResult<Vec<Vec<u8>>> =
            self.runtime.block_on(self.connection.mget(many_keys(number)));
        check_many(found.expect("the server answers").iter().map(Vec::len));
    }

    fn put(&mut self, number: usize) {
        let done: redis::RedisResult<()> =
            self.runtime.block_on(self.connection.set(key(number), &self.value));
        done.expect("the server takes it");
    }
}

/// A blocking connection of redis-rs for each caller.
struct Sync {
    client: redis::Client,
}

impl Rival for Sync {
    fn caller(&self) -> Result<Box<dyn Caller>, Fault> {
        Ok(Box::new(SyncCaller { connection: self.client.get_connection()?, value: value() }))
    }
}

struct SyncCaller {
    connection: redis::Connection,
    value: Vec<u8>,
}

impl Caller for SyncCaller {
    fn get(&mut self, number: usize) {
        check(self.connection.get(key(number)));
    }

    fn get_many(&mut self, number: usize) {
        let found: redis::RedisResult<Vec<Vec<u8>>> = self.connection.mget(many_keys(number));
        check_many(found.expect("the server answers").iter().map(Vec::len));
    }

    fn put(&mut self, number: usize) {
        let done: redis::RedisResult<()> = self.connection.set(key(number), &self.value);
        done.expect("the server takes it");
    }
}

/// One client of fred for all, from threads.
struct Fred {
    runtime: Arc<Runtime>,
    client: FredClient,
}

impl Fred {
    fn new(place: &Place) -> Result<Self, Fault> {
        let Place::Tcp(port) = place else { return Err("no unix sockets in this build".into()) };
        let server = ServerConfig::Centralized { server: FredServer::new("127.0.0.1", *port) };
        let config = FredConfig { server, ..FredConfig::default() };
        let runtime = runtime()?;
        let client = runtime.block_on(async {
            let client = FredClient::new(config, None, None, None);
            client.init().await?;
            Ok::<_, fred::error::Error>(client)
        })?;
        Ok(Self { runtime: Arc::new(runtime), client })
    }
}

impl Rival for Fred {
    fn caller(&self) -> Result<Box<dyn Caller>, Fault> {
        Ok(Box::new(FredCaller {
            runtime: Arc::clone(&self.runtime),
            client: self.client.clone(),
            value: value().into(),
        }))
    }
}

struct FredCaller {
    runtime: Arc<Runtime>,
    client: FredClient,
    value: Bytes,
}

impl Caller for FredCaller {
    fn get(&mut self, number: usize) {
        let found: Result<Bytes, _> = self.runtime.block_on(self.client.get(key(number)));
        assert_eq!(found.expect("the server answers").len(), VALUE_BYTES);
    }

    fn get_many(&mut self, number: usize) {
        let found: Result<Vec<Bytes>, _> =
            self.runtime.block_on(self.client.mget(many_keys(number)));
        check_many(found.expect("the server answers").iter().map(Bytes::len));
    }

    fn put(&mut self, number: usize) {
        let value = self.value.clone();
        let set = self.client.set(key(number), value, None, None, false);
        let done: Result<(), _> = self.runtime.block_on(set);
        done.expect("the server takes it");
    }
}

/// A connection of hiredis for each caller, in a C program of its own.
struct Hiredis {
    program: PathBuf,
    place: String,
}

impl Hiredis {
    fn new(place: &Place, folder: &Path) -> Result<Self, Fault> {
        let program = folder.join("hiredis");
        if !program.exists() {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/l3/hiredis.c");
            let built = Command::new("cc")
                .args(["-O2", "-pthread", "-o"])
                .arg(&program)
                .arg(source)
                .arg("-lhiredis")
                .output()?;
            if !built.status.success() {
                return Err("libhiredis-dev is not installed".into());
            }
        }
        let place = match place {
            Place::Tcp(port) => port.to_string(),
            Place::Unix(path) => path.display().to_string(),
        };
        Ok(Self { program, place })
    }

    fn run(&self, callers: usize, verb: Verb, limit: Duration) -> Result<Vec<f64>, Fault> {
        let verb = match verb {
            Verb::Get => "get",
            Verb::GetMany => "get-many",
            Verb::Put => "put",
        };
        let output = Command::new(&self.program)
            .args([&self.place, verb, &callers.to_string(), &limit.as_millis().to_string()])
            .output()?;
        if !output.status.success() {
            return Err(format!("hiredis ended with {}", output.status).into());
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
    }
}

impl Rival for Hiredis {
    fn caller(&self) -> Result<Box<dyn Caller>, Fault> {
        Err("its callers are in another program".into())
    }

    fn many(&self, callers: usize, verb: Verb, limit: Duration) -> Result<Run, Fault> {
        let [operations, seconds] = self.run(callers, verb, limit)?[..] else {
            return Err("hiredis printed something else".into());
        };
        Ok(Run { operations: operations as u64, seconds })
    }

    fn one(&self, verb: Verb, limit: Duration) -> Result<f64, Fault> {
        self.run(1, verb, limit)?.first().copied().ok_or("hiredis printed nothing".into())
    }
}
