//! How many bytes a value is taken to hold in memory, for the byte bound of L1.
//!
//! An estimate with a bounded cost, made once when the value is put in. It runs no code of the
//! caller's classes: `__sizeof__` is called only where a type that is written in C defines it,
//! and what an instance refers to is learnt from the collector (`gc.get_referents`), as the
//! collector sees it. Of a large container a sample is weighed and the rest taken to be like it.
//! Classes, functions and modules count nothing: they are not the cache's.

use pyo3::{
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{
        PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyNone, PySet,
        PyString, PyTuple, PyType,
    },
};

/// Objects that one estimate looks at: some ten microseconds.
const MOST_OBJECTS: usize = 256;
/// Members of one container that are looked at before the rest is taken to be like them.
const SAMPLE: usize = 32;
/// Containers inside containers that are looked into.
const MOST_DEPTH: usize = 8;
/// Header of an object with nothing in it, for what cannot be asked.
const BARE_BYTES: usize = 48;
/// Header of a str of ASCII, and of bytes.
const TEXT_HEADER_BYTES: usize = 49;
const BYTES_HEADER_BYTES: usize = 33;
/// float, and int below 2^60.
const NUMBER_BYTES: usize = 32;
/// Headers of containers, the collector's part included, and what a member adds: a pointer, and
/// in a dict three words in a table that is two thirds full, with its index.
const LIST_HEADER_BYTES: usize = 72;
const TUPLE_HEADER_BYTES: usize = 56;
const SLOT_BYTES: usize = 8;
const DICT_HEADER_BYTES: usize = 120;
const DICT_MEMBER_BYTES: usize = 40;
/// Longer texts are asked for their size: below, a wider alphabet is not worth the call.
const SHORT_TEXT: usize = 256;

/// The estimate for `object`, in bytes.
pub(crate) fn weigh(object: &Bound<'_, PyAny>) -> usize {
    let mut budget = MOST_OBJECTS;
    weigh_within(object, MOST_DEPTH, &mut budget)
}

fn weigh_within(object: &Bound<'_, PyAny>, depth: usize, budget: &mut usize) -> usize {
    *budget = budget.saturating_sub(1);
    if let Ok(text) = object.cast_exact::<PyString>() {
        return match text.len() {
            Ok(length) if length <= SHORT_TEXT => TEXT_HEADER_BYTES + length,
            _ => own_size(object),
        };
    }
    if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        return BYTES_HEADER_BYTES + bytes.as_bytes().len();
    }
    if object.is_exact_instance_of::<PyFloat>() {
        return NUMBER_BYTES;
    }
    if object.is_exact_instance_of::<PyBool>() || object.is_exact_instance_of::<PyNone>() {
        return 0;
    }
    if object.is_exact_instance_of::<PyInt>() {
        let small = object.extract::<i64>().is_ok();
        return if small { NUMBER_BYTES } else { own_size(object) };
    }
    let deep = depth > 0 && *budget > 0;
    if let Ok(list) = object.cast_exact::<PyList>() {
        let own = LIST_HEADER_BYTES + SLOT_BYTES * list.len();
        return own + if deep { sample(list.len(), list.iter(), depth, budget) } else { 0 };
    }
    if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        let own = TUPLE_HEADER_BYTES + SLOT_BYTES * tuple.len();
        return own + if deep { sample(tuple.len(), tuple.iter(), depth, budget) } else { 0 };
    }
    if let Ok(dict) = object.cast_exact::<PyDict>() {
        let own = DICT_HEADER_BYTES + DICT_MEMBER_BYTES * dict.len();
        if !deep {
            return own;
        }
        // Collected first: weighing a member may let the collector run, and that somebody's code,
        // and the iterator must not meet a dict that has changed.
        let members: Vec<_> = dict.iter().take(SAMPLE).collect();
        let members = members.into_iter().flat_map(|(key, value)| [key, value]);
        return own + sample(2 * dict.len(), members, depth, budget);
    }
    let own = own_size(object);
    if !deep || object.is_exact_instance_of::<PyByteArray>() {
        return own;
    }
    if let Ok(set) = object.cast_exact::<PySet>() {
        let members: Vec<_> = set.iter().take(SAMPLE).collect();
        return own + sample(set.len(), members.into_iter(), depth, budget);
    }
    if let Ok(set) = object.cast_exact::<PyFrozenSet>() {
        let members: Vec<_> = set.iter().take(SAMPLE).collect();
        return own + sample(set.len(), members.into_iter(), depth, budget);
    }
    if is_not_ours(object) {
        return 0;
    }
    own + referents(object).map_or(0, |list| {
        let members: Vec<_> = list.iter().filter(|it| !is_not_ours(it)).collect();
        sample(members.len(), members.into_iter(), depth, budget)
    })
}

/// The weight of `count` members, judged by the first of them.
fn sample<'py>(
    count: usize,
    members: impl Iterator<Item = Bound<'py, PyAny>>,
    depth: usize,
    budget: &mut usize,
) -> usize {
    let (mut looked_at, mut weight) = (0, 0);
    for member in members.take(SAMPLE) {
        if *budget == 0 {
            break;
        }
        weight += weigh_within(&member, depth - 1, budget);
        looked_at += 1;
    }
    match looked_at {
        0 => 0,
        some if some == count => weight,
        some => {
            usize::try_from(weight as u128 * count as u128 / some as u128).unwrap_or(usize::MAX)
        }
    }
}

/// What the object's own memory takes, by `__sizeof__` of the nearest type written in C.
fn own_size(object: &Bound<'_, PyAny>) -> usize {
    size_by_type(object).unwrap_or(BARE_BYTES)
}

fn size_by_type(object: &Bound<'_, PyAny>) -> PyResult<usize> {
    let py = object.py();
    let own_type = object.get_type();
    let asked = if is_static(&own_type) { own_type.as_any() } else { &py.get_type::<PyAny>() };
    asked.call_method1(intern!(py, "__sizeof__"), (object,))?.extract()
}

/// True for a type written in C whose attributes nobody can have replaced.
fn is_static(own_type: &Bound<'_, PyType>) -> bool {
    /// Py_TPFLAGS_HEAPTYPE: the type was made at run time, as every `class` statement does.
    const MADE_AT_RUN_TIME: u64 = 1 << 9;
    let py = own_type.py();
    // With a metaclass of its own, reading the flags could run its code.
    own_type.get_type().is(py.get_type::<PyType>())
        && own_type
            .getattr(intern!(py, "__flags__"))
            .and_then(|flags| flags.extract::<u64>())
            .is_ok_and(|flags| flags & MADE_AT_RUN_TIME == 0)
}

/// True for what a value refers to without owning it.
fn is_not_ours(object: &Bound<'_, PyAny>) -> bool {
    static CODE_AND_MODULES: PyOnceLock<Vec<Py<PyType>>> = PyOnceLock::new();
    let py = object.py();
    let known = CODE_AND_MODULES.get_or_try_init(py, || {
        let types = py.import("types")?;
        ["FunctionType", "BuiltinFunctionType", "ModuleType", "CodeType", "FrameType"]
            .iter()
            .map(|name| Ok(types.getattr(*name)?.cast_into::<PyType>()?.unbind()))
            .collect::<PyResult<Vec<_>>>()
    });
    object.is_instance_of::<PyType>()
        || known.is_ok_and(|known| known.iter().any(|it| object.get_type().is(it)))
}

/// What the object refers to, as the collector sees it.
fn referents<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyList>> {
    static GET_REFERENTS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    let get_referents = GET_REFERENTS
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("gc")?.getattr("get_referents")?.unbind()))
        .ok()?;
    get_referents.bind(py).call1((object,)).ok()?.cast_into().ok()
}
