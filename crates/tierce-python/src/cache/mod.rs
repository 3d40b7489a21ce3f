//! The class `tierce.Cache`: convert, call, convert back.
//!
//! | file | answers |
//! |---|---|
//! | `open.rs` | how a cache is made, and how it ends |
//! | `read.rs` | what the tiers have |
//! | `change.rs` | what becomes of keys |
//! | `tags.rs` | what is changed by its tags |
//! | `update.rs` | changes that depend on what is there |
//! | `load.rs` | what is loaded where no tier has it |
//! | `tasks.rs` | the same for asyncio tasks |
//! | `make.rs` | loaders, keyspaces and functions over a cache |
//! | `operate.rs` | what a running cache tells, and which tiers it uses |
//! | `watch.rs` | what a cache tells by itself |
//! | `mod.rs` | what all of these, keyspaces and functions do with a key once it is made |

mod change;
mod load;
mod make;
mod open;
mod operate;
mod read;
mod tags;
mod tasks;
mod update;
mod watch;

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use pyo3::{
    exceptions::PyKeyError,
    prelude::*,
    types::{PyDict, PyTuple},
};
use tierce::{
    Advice, Cache, Clock, LoadOptions, SetOptions, TierKind, Tiering, config::Config, guard::Guard,
};

use crate::{
    codec::ValueCodec,
    error::exception,
    guard::Held,
    held::{Value, Weighing, scope},
    load::{Callee, Came, Wanted, load, watchful},
    tasks::{Answers, PyOperation, PyReady, module},
    words::Words,
};

/// A cache in up to three tiers: this process, this host, Redis.
///
/// Every keyword is optional. What is not given here is taken from the environment, then from
/// `config_file`, then from the defaults.
///
/// Parameters
/// ----------
/// tiering : str, default "L1"
///     Which tiers are in force: "L1" (memory), "L2" (a store that all processes of this host
///     share), "L3" (Redis or Valkey), or "L1L2", "L1L3", "L2L3", "L1L2L3".
/// max_entries : int, optional
///     Most entries that L1 holds.
/// max_bytes : int or str, default 64 MiB unless `max_entries` is given
///     Most bytes that L1 holds, as a count or as text such as "64MB". The size of a value is
///     estimated when it is put in.
/// ttl : float, timedelta or str, optional
///     How long a value is fresh if the call does not say: seconds, a timedelta or "10m".
///     Without it, values stay until they are evicted.
/// name : str, optional
///     Name of the store of L2. Processes that name the same one share it.
/// shared_directory : str or path, optional
///     In place of `name`: absolute path of the folder that is the store.
/// shared_max_entries, shared_max_bytes : int, optional
///     Bounds of the store of L2.
/// redis : str, optional
///     Where L3 is: "redis://user:password@host:6379/0".
/// service : str, optional
///     Name in the health document and in metrics.
/// config_file : str or path, optional
///     A file of settings in YAML, TOML or JSON.
/// environ : bool or mapping, optional
///     False leaves the environment (`CACHE_TIERING`, `REDIS_URL` and so on) out; a mapping is
///     read in its place. Without it, the environment is read.
/// options : dict, optional
///     Further settings by their names in a file, such as {"redis.read_timeout": "20ms"}.
/// clock : ManualClock, optional
///     For tests: the clock by which values become stale.
/// ttl_jitter : float, default 0
///     By which part of it a `ttl` is shortened at most, from 0 to 1: each value by another, so
///     that what was stored together does not end together.
/// tags : iterable of str or bytes, optional
///     In a call: names by which the value can be removed or made stale (`remove_tag`,
///     `expire_tag`), beside its key; 128 at most.
/// tiers : str, optional
///     In a call: the tiers that it looks in and keeps values in, such as "L1L2", as far as they
///     are in force. A `set` removes the key from the others, so that nobody finds anything older
///     there; what removes a key or makes it stale does so in all tiers.
/// no_ttl : bool, default False
///     In a call: the value is fresh until it is evicted, whatever the cache's `ttl`. Not
///     together with `ttl`.
/// stale_if_error : float, timedelta or str, default 0
///     How long after its `ttl` a value is served where loading it anew fails.
/// stale_while_revalidate : float, timedelta or str, default 0
///     How long after its `ttl` a value is served while it is loaded anew behind the callers.
/// negative_ttl : float, timedelta or str, default 0
///     How long it is remembered that a loader found no value (`ABSENT`).
/// refresh_ahead : float, XFetch or False, default False
///     From which share of the `ttl` on a hit of `get_or_load` has its value loaded anew while
///     it is served, above 0 and below 1; or by lot (`XFetch`).
/// soft_timeout : float, timedelta or str, optional
///     How long a caller waits for a load before it takes a stale value, where one of the stale
///     windows allows it; the load goes on in a thread of the cache.
/// hard_timeout : float, timedelta or str, optional
///     How long a load may take: then its callers leave, with a stale value if they may have it,
///     the loader is told (`LoadContext.is_cancelled`), and the next caller loads anew.
/// failure_backoff : tuple of two spans, optional
///     For how long a key is not loaded after its loader failed: the first span, then twice as
///     long with each failure, at most the second. Until then callers get a stale value if they
///     may have it, else the exception again. Without it, failures are not remembered.
///
/// Raises
/// ------
/// ConfigError
///     A setting is unknown or out of its range, wherever it stands.
/// StorageError
///     `config_file` cannot be read.
///
/// Notes
/// -----
/// Keys are str or bytes; a str and its UTF-8 form are the same key.
///
/// L1 holds the object itself: a hit returns the very object that was put in, so who changes it
/// changes it for all. L2 and L3 hold None, bool, int, float, str, list and dict with str keys,
/// nested as one likes, and bytes by themselves; with L2 or L3 in force, `set` refuses any other
/// value. What comes back from there is a copy. No tier keeps what can be used only once: a
/// coroutine, a generator, a map, filter or zip.
///
/// A tier that fails costs a miss, never an exception; `health` tells.
///
/// A value is fresh for its `ttl`, then stale for its stale window (the longer one of
/// `stale_if_error` and `stale_while_revalidate`), then gone. `get` serves fresh values alone.
/// What a call does not say is as the cache has it. A loader that goes on in a thread of the
/// cache sees neither the caller's context variables nor its `threading.local`.
///
/// All methods may be called from any thread. The cache may be made before a fork and used in
/// the children.
///
/// The garbage collector does not see what L1 holds: a value that refers to its cache stays
/// until it is evicted, deleted, or the cache is cleared or closed.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache(max_entries=10_000, ttl="10m")
/// >>> cache.set("user:7", {"name": "Ada"})
/// >>> cache.get("user:7")
/// {'name': 'Ada'}
/// >>> cache.get("user:8", "nobody")
/// 'nobody'
#[pyclass(name = "Cache", module = "tierce", frozen, weakref, mapping, generic)]
pub(crate) struct PyCache {
    core: Cache<Value>,
    /// What every load begins with.
    load_options: LoadOptions,
    weighing: Weighing,
    /// True if hits of loads may have their value loaded anew.
    refreshes_ahead: bool,
    advice: Vec<Advice>,
    /// What it was made of, for its guards.
    config: Config,
    /// What judges its alerts. The interpreter is held while it is locked, and nothing waits.
    guard: Mutex<Option<Arc<Guard<Value>>>>,
    /// The guards that were made of it; locked as that one.
    guards: Mutex<Vec<Weak<Held>>>,
}

impl PyCache {
    /// The cache of a configuration; `words` go before what it says of freshness.
    fn build(py: Python<'_>, config: Config, words: Option<Words>, clock: Clock) -> PyResult<Self> {
        let weighing = match config.memory.bound_bytes() {
            Some(_) => Weighing::Estimate,
            None => Weighing::LeaveOut,
        };
        let freshness = words.as_ref().map(|words| words.freshness.clone());
        let refreshes_ahead = words
            .and_then(|words| words.refreshes_ahead)
            .unwrap_or_else(|| config.freshness.refresh_ahead_percent.is_some());
        // Opening L2 makes and maps a file.
        let core = py.detach(|| {
            let mut builder = config.builder()?.clock(clock);
            if let Some(freshness) = freshness {
                builder = builder.freshness(freshness);
            }
            let advice = builder.advice();
            Ok((builder.build_with(ValueCodec(weighing))?, advice))
        });
        let (core, advice) = core.map_err(|error| exception(py, &error))?;
        let (load_options, guard, guards) = (watchful(), Mutex::default(), Mutex::default());
        Ok(Self { core, load_options, weighing, refreshes_ahead, advice, config, guard, guards })
    }

    pub(crate) fn core(&self) -> &Cache<Value> {
        &self.core
    }

    /// The options of a load.
    fn options(&self, words: &Words) -> LoadOptions {
        words.load_options(self.load_options.clone())
    }

    /// The value, where L1 has one that needs no more looks at it.
    #[inline]
    pub(crate) fn near<'py>(
        &self,
        py: Python<'py>,
        name: &[u8],
        words: &Words,
    ) -> Option<Bound<'py, PyAny>> {
        let looks_on = words.max_age.is_some() || words.tiers.is_some();
        if looks_on || words.refreshes_ahead.unwrap_or(self.refreshes_ahead) {
            return None;
        }
        let value = self.core.get_near(name)?;
        if let Some(counters) = &words.counters {
            counters.hits(1);
        }
        Some(value.object(py))
    }

    /// Loads, where no tier has what the words accept.
    pub(crate) fn load(
        &self,
        py: Python<'_>,
        name: &[u8],
        words: &Words,
        callee: Callee,
        wanted: Wanted,
    ) -> PyResult<Came> {
        let callee = callee.counted(words.counters.as_ref());
        let came = load(py, &self.core, name, &self.options(words), callee, self.weighing, wanted);
        if let Some(counters) = &words.counters {
            counters.read(came.as_ref().is_ok_and(Came::is_hit));
        }
        came
    }

    /// The value, loaded by a function of the caller's where no tier has what the words accept.
    pub(crate) fn value<'py>(
        &self,
        py: Python<'py>,
        name: &[u8],
        words: &Words,
        load: &Bound<'py, PyAny>,
        default: Option<&Bound<'py, PyAny>>,
        wanted: Wanted,
    ) -> PyResult<Bound<'py, PyAny>> {
        if wanted == Wanted::Any
            && let Some(object) = self.near(py, name, words)
        {
            return Ok(object);
        }
        let callee = Callee::new(load, words.with_context)?;
        self.load(py, name, words, callee, wanted)?.value(py, default)
    }

    /// The same for a task.
    pub(crate) fn awaited<'py>(
        slf: &Bound<'py, Self>,
        name: &[u8],
        mut words: Words,
        load: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // Nobody would wait for the coroutine of a refresh.
        words.refreshes_ahead = Some(false);
        if let Some(object) = slf.get().near(load.py(), name, &words) {
            return PyReady::with(object);
        }
        let operation = slf.get().operation(name, &words, false, default);
        operation.driven(slf.as_any(), load, words.with_context)
    }

    /// A load for a task.
    pub(crate) fn operation(
        &self,
        name: &[u8],
        words: &Words,
        wants_entry: bool,
        default: Option<Bound<'_, PyAny>>,
    ) -> PyOperation {
        let (weighing, detaches) = (self.weighing, !self.is_memory_only());
        let default = default.map(Bound::unbind);
        let counters = words.counters.clone();
        let answers = Answers { weighing, detaches, wants_entry, default, counters };
        PyOperation::new(&self.core, name, self.options(words), answers)
    }

    /// Another method of this class, as a coroutine: in a thread where L3 is in force.
    pub(crate) fn aside<'py>(
        &self,
        slf: &Bound<'py, Self>,
        method: &str,
        arguments: Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let is_far = self.core.tiering().has(TierKind::Redis);
        let call = slf.getattr(method)?;
        module(slf.py())?.getattr("aside")?.call1((is_far, call, arguments, keywords))
    }

    /// What a read that says what it accepts finds.
    pub(crate) fn came(&self, py: Python<'_>, name: &[u8], words: &Words) -> Option<Came> {
        let options = words.read_options();
        self.ask(py, || self.core.get_with(name, &options)).map(Came::from)
    }

    /// The value from the fastest tier that has it.
    #[inline]
    pub(crate) fn find<'py>(&self, py: Python<'py>, name: &[u8]) -> Option<Bound<'py, PyAny>> {
        if let Some(value) = self.core.get_near(name) {
            return Some(value.object(py));
        }
        self.ask(py, || self.core.get(name)).map(|value| value.object(py))
    }

    pub(crate) fn put(
        &self,
        name: &[u8],
        value: Bound<'_, PyAny>,
        options: &SetOptions,
    ) -> PyResult<()> {
        let py = value.py();
        let value = Value::given(value, self.weighing)?;
        self.change(py, || self.core.set_with(name, value, options))
    }

    pub(crate) fn remove(&self, py: Python<'_>, name: &[u8]) -> PyResult<()> {
        self.change(py, || self.core.delete(name))
    }

    pub(crate) fn make_stale(&self, py: Python<'_>, name: &[u8]) -> PyResult<()> {
        self.change(py, || self.core.expire(name))
    }

    pub(crate) fn prolong(&self, py: Python<'_>, name: &[u8], ttl: Duration) -> PyResult<bool> {
        self.change(py, || self.core.touch(name, ttl))
    }

    /// Runs a change: attached where it cannot wait, else detached.
    #[inline]
    fn change<R: Send>(
        &self,
        py: Python<'_>,
        change: impl FnOnce() -> tierce::Result<R> + Send,
    ) -> PyResult<R> {
        self.ask(py, change).map_err(|error| exception(py, &error))
    }

    /// Calls the core: attached where that cannot wait, else detached.
    #[inline]
    fn ask<R: Send>(&self, py: Python<'_>, call: impl FnOnce() -> R + Send) -> R {
        if self.is_memory_only() { scope(py, call) } else { scope(py, || py.detach(call)) }
    }

    #[inline]
    fn is_memory_only(&self) -> bool {
        self.core.tiering() == Tiering::L1
    }
}

/// The keywords of these names that are given, of methods that are called too often for
/// `**keywords`: those make a tuple of the arguments of each call. Without any it is a row of
/// compares.
macro_rules! said {
    ($py:expr, $($word:ident),+) => {
        if $($word.is_none())&&+ {
            Ok(None)
        } else {
            $crate::cache::gathered($py, &[$((stringify!($word), $word)),+]).map(Some)
        }
    };
}
use said;

#[cold]
fn gathered<'py>(
    py: Python<'py>,
    words: &[(&'static str, Option<&Bound<'py, PyAny>>)],
) -> PyResult<Bound<'py, PyDict>> {
    let said = PyDict::new(py);
    for (name, value) in words {
        if let Some(value) = value {
            said.set_item(name, value)?;
        }
    }
    Ok(said)
}

#[cold]
fn missing(key: &Bound<'_, PyAny>) -> PyErr {
    PyKeyError::new_err(key.clone().unbind())
}
