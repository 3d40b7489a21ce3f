//! Where a loader writes its value.
//!
//! Each thread has a stack of the loads it runs; a sink is a number that names one of them, never
//! used twice in the process. So a sink that is kept beyond its load, or taken to another thread,
//! is found nowhere and refused.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::{
    cell::RefCell,
    ffi::c_void,
    mem::ManuallyDrop,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::{
    failure::Failure,
    guard::guard,
    options, slice,
    status::{TIERCE_OK, tierce_status_t},
};

/// Where a loader writes: valid during its call, on its thread.
pub struct tierce_sink_t {
    _opaque: (),
}

/// Odd, and no other kind of handle has it; the top bit as in `handle.rs`.
const TAG: usize = 0b0111;
const TAG_BITS: u32 = 4;
const TOP: usize = 1 << (usize::BITS - 1);

static LOADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Never dropped, so it outlives every other value of the thread: a destructor may load, too. It has no
    // memory of its own while the thread is in no load.
    static RUNNING: ManuallyDrop<RefCell<Vec<Running>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// A load that its thread is in.
struct Running {
    number: usize,
    written: Written,
}

/// What a loader says that the key has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Says {
    /// What was written.
    #[default]
    Value,
    /// No value.
    Absent,
    /// The value that there was.
    NotModified,
}

/// What a loader has left behind.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) value: Vec<u8>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) weight: Option<usize>,
    pub(crate) says: Says,
    pub(crate) validator: Option<Vec<u8>>,
    pub(crate) tags: Vec<Vec<u8>>,
    /// The first failure of a sink function: a loader that overlooks it must not have a value
    /// with a hole filed.
    pub(crate) failed: Option<tierce_status_t>,
}

/// The sink of one load; its end, by return or by unwinding, is the end of the sink.
pub(crate) struct Sink {
    number: usize,
}

impl Sink {
    pub(crate) fn new() -> Self {
        let number = TOP | (LOADS.fetch_add(1, Ordering::Relaxed) << TAG_BITS) | TAG;
        let load = Running { number, written: Written::default() };
        RUNNING.with(|running| running.borrow_mut().push(load));
        Self { number }
    }

    pub(crate) fn handle(&self) -> *mut tierce_sink_t {
        ptr::without_provenance_mut(self.number)
    }

    /// Ends the sink and returns what was written.
    pub(crate) fn finish(self) -> Written {
        self.take().unwrap_or_default()
    }

    fn take(&self) -> Option<Written> {
        RUNNING.with(|running| {
            let running = &mut *running.borrow_mut();
            let at = running.iter().rposition(|load| load.number == self.number)?;
            // Above it lie only loads that a jump out of a loader has left behind.
            let written = running.drain(at..).next().map(|load| load.written);
            if running.is_empty() {
                *running = Vec::new();
            }
            written
        })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.take();
    }
}

fn with(
    sink: *mut tierce_sink_t,
    act: impl FnOnce(&mut Written) -> Result<(), Failure>,
) -> tierce_status_t {
    guard(|| {
        RUNNING.with(|running| {
            let mut running = running.borrow_mut();
            let load = running.iter_mut().rev().find(|load| load.number == sink.addr());
            let Some(Running { written, .. }) = load else {
                return Err(Failure::argument(format!(
                    "sink is {sink:p}: no sink of a load that this thread is in"
                )));
            };
            act(written).inspect_err(|failure| {
                written.failed.get_or_insert(failure.status);
            })
        })?;
        Ok(TIERCE_OK)
    })
}

/// Adds zeros to the value.
fn grow(value: &mut Vec<u8>, len: usize) -> Result<&mut [u8], Failure> {
    value.try_reserve(len).map_err(|_| Failure::no_memory(len))?;
    let begin = value.len();
    value.resize(begin + len, 0);
    Ok(&mut value[begin..])
}

/// Adds a copy of `data` to the end of the value that a loader makes.
///
/// \param sink  the loader's, not NULL.
/// \param data  borrowed for the call; NULL only when `len` is 0.
/// \param len   bytes of `data`.
/// \return TIERCE_OK, TIERCE_E_NOMEM, TIERCE_E_ARG. Any but the first makes the load fail,
///         whatever the loader returns. Threads: own, that of the loader.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_sink_write(
    sink: *mut tierce_sink_t,
    data: *const c_void,
    len: usize,
) -> tierce_status_t {
    with(sink, |written| {
        // SAFETY: `len` bytes at `data`, by the words of the header. That is not this value: only
        // the pointer of a reserve leads there, which this call ends.
        let data = unsafe { slice::bytes(data, len, "data") }?;
        written.value.try_reserve(len).map_err(|_| Failure::no_memory(len))?;
        written.value.extend_from_slice(data);
        Ok(())
    })
}

/// Adds `len` bytes of zero to the end of the value, for the loader to write to: a read() straight
/// into the cache. What was not needed is cut off by tierce_sink_truncate().
///
/// \param sink  the loader's, not NULL.
/// \param len   how many bytes.
/// \param out   receives a pointer to them on TIERCE_OK; it is good until the next call with this
///              sink, and no part of what it points to may be passed to tierce_sink_write().
/// \return TIERCE_OK, TIERCE_E_NOMEM, TIERCE_E_ARG. Any but the first makes the load fail,
///         whatever the loader returns. Threads: own, that of the loader.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_sink_reserve(
    sink: *mut tierce_sink_t,
    len: usize,
    out: *mut *mut c_void,
) -> tierce_status_t {
    with(sink, |written| {
        // SAFETY: a place for a pointer, by the words of the header.
        let out = unsafe { slice::out(out, "out") }?;
        out.write(grow(&mut written.value, len)?.as_mut_ptr().cast());
        Ok(())
    })
}

/// Cuts the value off after its first `len` bytes.
///
/// \param sink  the loader's, not NULL.
/// \param len   how many bytes stay: at most as many as there are.
/// \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
///         returns. Threads: own, that of the loader.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_sink_truncate(sink: *mut tierce_sink_t, len: usize) -> tierce_status_t {
    with(sink, |written| {
        let there = written.value.len();
        if len > there {
            return Err(Failure::argument(format!("len = {len}: the value has {there} bytes")));
        }
        written.value.truncate(len);
        Ok(())
    })
}

/// Sets how long the value may be kept, over what the call and the cache say.
///
/// \param sink    the loader's, not NULL.
/// \param ttl_ms  milliseconds, or one of the TIERCE_TTL_ numbers.
/// \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
///         returns. Threads: own, that of the loader.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_sink_ttl(sink: *mut tierce_sink_t, ttl_ms: i64) -> tierce_status_t {
    with(sink, |written| {
        written.ttl = options::ttl(ttl_ms)?;
        Ok(())
    })
}

/// Sets the bytes that the value counts for in L1, in place of its length.
///
/// \param sink    the loader's, not NULL.
/// \param weight  bytes.
/// \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
///         returns. Threads: own, that of the loader.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_sink_weight(sink: *mut tierce_sink_t, weight: usize) -> tierce_status_t {
    with(sink, |written| {
        written.weight = Some(weight);
        Ok(())
    })
}

/// Says that the key has no value: what was written does not count, and the call of
/// tierce_get_or_load() answers TIERCE_ABSENT. That is remembered for `negative_ttl_ms`, or for what
/// tierce_sink_ttl() says; a stale value is not served any more.
///
/// \param sink  the loader's, not NULL.
/// \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
///         returns. Threads: own, that of the loader.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_sink_absent(sink: *mut tierce_sink_t) -> tierce_status_t {
    with(sink, |written| {
        written.says = Says::Absent;
        Ok(())
    })
}

/// Says that the value is the one that the loader was told of (`stale` of tierce_load_context_t):
/// it is fresh again, and what was written does not count. Where there is none, the load fails.
///
/// \param sink  the loader's, not NULL.
/// \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
///         returns. Threads: own, that of the loader.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_sink_not_modified(sink: *mut tierce_sink_t) -> tierce_status_t {
    with(sink, |written| {
        written.says = Says::NotModified;
        Ok(())
    })
}

/// Sets what the next load of the key is told to know this value by (`validator` of
/// tierce_load_context_t): an ETag, a version.
///
/// \param sink  the loader's, not NULL.
/// \param data  borrowed for the call; NULL only when `len` is 0.
/// \param len   bytes of `data`, at most 1,024; more make the load fail.
/// \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
///         returns. Threads: own, that of the loader.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_sink_validator(
    sink: *mut tierce_sink_t,
    data: *const c_void,
    len: usize,
) -> tierce_status_t {
    with(sink, |written| {
        // SAFETY: `len` bytes at `data`, by the words of the header.
        written.validator = Some(unsafe { slice::bytes(data, len, "data") }?.to_vec());
        Ok(())
    })
}

/// Adds a tag to those of the value (see tierce_remove_tags()), beside those of the call. Removing
/// it while the loader runs counts, though the loader has not yet named it.
///
/// \param sink     the loader's, not NULL.
/// \param tag      borrowed for the call; NULL only when `tag_len` is 0.
/// \param tag_len  bytes of `tag`.
/// \return TIERCE_OK, TIERCE_E_ARG. Any but the first makes the load fail, whatever the loader
///         returns. Threads: own, that of the loader.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_sink_tag(
    sink: *mut tierce_sink_t,
    tag: *const c_void,
    tag_len: usize,
) -> tierce_status_t {
    with(sink, |written| {
        // SAFETY: `tag_len` bytes at `tag`, by the words of the header.
        written.tags.push(unsafe { slice::bytes(tag, tag_len, "tag") }?.to_vec());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::TIERCE_E_ARG;

    fn write(sink: *mut tierce_sink_t, text: &str) -> tierce_status_t {
        // SAFETY: the text is as long as it says.
        unsafe { tierce_sink_write(sink, text.as_ptr().cast(), text.len()) }
    }

    #[test]
    fn nested_loads_have_sinks_of_their_own() {
        let outer = Sink::new();
        assert_eq!(write(outer.handle(), "out"), TIERCE_OK);
        let inner = Sink::new();
        assert_eq!(write(inner.handle(), "in"), TIERCE_OK);
        assert_eq!(write(outer.handle(), "er"), TIERCE_OK);
        assert_eq!(inner.finish().value, b"in");
        assert_eq!(outer.finish().value, b"outer");
    }

    #[test]
    fn a_sink_is_refused_after_its_load_and_in_another_thread() {
        let sink = Sink::new();
        let number = sink.handle().addr();
        let elsewhere =
            std::thread::spawn(move || write(ptr::without_provenance_mut(number), "x")).join();
        assert_eq!(elsewhere.unwrap(), TIERCE_E_ARG);
        let written = sink.finish();
        assert!(written.failed.is_none() && written.value.is_empty());
        assert_eq!(write(ptr::without_provenance_mut(number), "x"), TIERCE_E_ARG);
        assert_eq!(write(ptr::null_mut(), "x"), TIERCE_E_ARG);
        assert_eq!(RUNNING.with(|running| running.borrow().len()), 0);
    }

    #[test]
    fn a_load_left_by_unwinding_or_a_jump_is_forgotten() {
        let outer = Sink::new();
        std::mem::forget(Sink::new());
        let unwound = std::panic::catch_unwind(|| {
            let _inner = Sink::new();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(unwound.is_err());
        assert_eq!(write(outer.handle(), "whole"), TIERCE_OK);
        assert_eq!(outer.finish().value, b"whole");
        assert_eq!(RUNNING.with(|running| running.borrow().len()), 0);
    }

    #[test]
    fn a_failure_that_the_loader_overlooks_is_kept() {
        let sink = Sink::new();
        assert_eq!(write(sink.handle(), "abc"), TIERCE_OK);
        assert_eq!(tierce_sink_truncate(sink.handle(), 4), TIERCE_E_ARG);
        assert_eq!(tierce_sink_truncate(sink.handle(), 2), TIERCE_OK);
        assert_eq!(tierce_sink_ttl(sink.handle(), -3), TIERCE_E_ARG);
        let written = sink.finish();
        assert_eq!((written.value, written.failed), (b"ab".to_vec(), Some(TIERCE_E_ARG)));
    }
}
