//! Calls a Python function from inside the core, in a thread that the interpreter may end.
//!
//! Before 3.14, CPython ends a daemon thread that wants the interpreter back while it shuts down
//! by unwinding the thread's stack. From a loader that would run through the core and through
//! PyO3, give back an interpreter that the thread does not hold, and abort the process. The
//! thread waits for the process to end instead, as it does from 3.14 on, and as PyO3 does where
//! it attaches.
#![allow(unsafe_code)]

use std::{mem, ptr, thread};

use pyo3::{
    ffi::{self, PyObject},
    prelude::*,
    types::{PyDict, PyTuple},
};

type CallNoArgs = unsafe extern "C-unwind" fn(*mut PyObject) -> *mut PyObject;
type Call =
    unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject, *mut PyObject) -> *mut PyObject;

// PyO3 declares them as functions that do not unwind, and the compiler believes the first
// declaration of a name that it meets: no destructor need run then, and a frame that has some ends
// the process. So they are called by pointers that the compiler cannot see through.

// SAFETY: the types differ in that the second may unwind, which allows more.
static CALL_NO_ARGS: CallNoArgs = unsafe {
    mem::transmute::<unsafe extern "C" fn(*mut PyObject) -> *mut PyObject, CallNoArgs>(
        ffi::PyObject_CallNoArgs,
    )
};
// SAFETY: as above.
static CALL: Call = unsafe {
    mem::transmute::<
        unsafe extern "C" fn(*mut PyObject, *mut PyObject, *mut PyObject) -> *mut PyObject,
        Call,
    >(ffi::PyObject_Call)
};

/// Calls `callable()`.
pub(crate) fn call_without_arguments<'py>(
    callable: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let hang = HangIfUnwound;
    // SAFETY: the thread is attached, which `callable` proves, and the pointer is that of a living
    // object for as long as it is borrowed. The static is initialised.
    let answer = unsafe { ptr::read_volatile(&raw const CALL_NO_ARGS)(callable.as_ptr()) };
    mem::forget(hang);
    // SAFETY: the call returns a reference of our own, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), answer) }
}

/// Calls `callable(*arguments, **keywords)`.
pub(crate) fn call<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let hang = HangIfUnwound;
    let keywords = keywords.map_or(ptr::null_mut(), |keywords| keywords.as_ptr());
    // SAFETY:
    // 1. Attached: `callable` proves it.
    // 2. The pointers are those of living objects, borrowed for the call, the second that of a
    //    tuple; the third is that of a dict, or null, which stands for none.
    // 3. The static is initialised.
    let answer = unsafe {
        ptr::read_volatile(&raw const CALL)(callable.as_ptr(), arguments.as_ptr(), keywords)
    };
    mem::forget(hang);
    // SAFETY: the call returns a reference of our own, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), answer) }
}

struct HangIfUnwound;

impl Drop for HangIfUnwound {
    fn drop(&mut self) {
        // Not a panic of ours: those end at the edge of the function that Python called.
        loop {
            thread::park();
        }
    }
}
