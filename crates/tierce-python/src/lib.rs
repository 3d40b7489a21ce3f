//! The extension module `tierce._tierce`: the Rust cache with Python objects as values.
//!
//! | file | answers |
//! |---|---|
//! | `cache/` | the class: convert, call, convert back |
//! | `held.rs` | how objects live in L1, and when they are let go |
//! | `words.rs` | what keywords of calls say: how long values are fresh, what a read accepts |
//! | `load.rs` | `get_or_load`, and how a loader's exception travels |
//! | `loaded.rs` | what a loader is told, and what it may return in place of a value |
//! | `loading.rs` | a cache with its loader |
//! | `call.rs` | how a loader is called in a thread that may be ended |
//! | `entry.rs` | a value with where it came from |
//! | `cached.rs`, `arguments.rs` | functions that remember their results, and the keys of calls |
//! | `tasks.rs` | what asyncio tasks wait for |
//! | `keyspace.rs`, `pattern.rs` | keys of one shape |
//! | `tags.rs` | which objects name tags |
//! | `version.rs` | what a key had when it was looked at |
//! | `event.rs` | what listeners are told |
//! | `watch.rs` | how a cache judges itself |
//! | `guard.rs` | what judges it, drives its rollout and answers over HTTP, as its configuration says |
//! | `clock.rs` | the clock of tests |
//! | `key.rs` | which objects are keys |
//! | `options.rs` | how keyword arguments become a configuration |
//! | `codec.rs`, `json/` | how a value becomes bytes for L2 and L3 |
//! | `once.rs` | values that no cache can keep |
//! | `weight.rs` | how many bytes a value is taken to hold in memory |
//! | `report.rs` | how statistics and health become dicts |
//! | `error.rs` | which exception stands for which error |
//!
//! The rules that all of it keeps:
//!
//! 1. **A hit in L1 stays attached**: no release of the interpreter, no serialisation.
//! 2. **What may wait is detached**: L2, L3, and waiting for the load of another thread.
//! 3. **No Python code runs under a lock of the core.** Cloning a value takes a reference count
//!    of ours, not of Python (`held.rs`); weights are computed beforehand; objects that the core
//!    lets go are parked until its call has returned.
//! 4. Importing starts no thread, opens no file and reads no variable.
#![deny(unsafe_code)]

use pyo3::prelude::*;

mod arguments;
mod cache;
mod cached;
mod call;
mod clock;
mod codec;
mod entry;
mod error;
mod event;
mod guard;
mod held;
mod json;
mod key;
mod keyspace;
mod load;
mod loaded;
mod loading;
mod once;
mod options;
mod pattern;
mod report;
mod tags;
mod tasks;
mod version;
mod watch;
mod weight;
mod words;

/// The binary part of the package `tierce`; import that.
#[pymodule(gil_used = true)]
mod _tierce {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::{
        cache::PyCache,
        cached::{PyBoundCached, PyCached, PyDecorator},
        clock::PyManualClock,
        entry::PyEntry,
        event::PyEvent,
        guard::PyGuard,
        keyspace::PyKeyspace,
        loaded::{PyLoadContext, PyLoaded},
        loading::PyLoading,
        tasks::{PyBell, PyOperation, PyReady},
        version::PyVersion,
        words::PyXFetch,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("ABSENT", PyLoaded::ABSENT)
    }

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
