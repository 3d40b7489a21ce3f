//! How Python objects live in L1, and when they are let go.
//!
//! The core clones and drops values at moments of its own: in threads that are detached from the
//! interpreter, and while it holds a lock that keeps changes apart from a change of tiering. So
//!
//! - a [`Value`] is cloned by a count of ours: that needs no interpreter;
//! - a dropped object is **parked** on its thread while a call into the core is under way
//!   ([`scope`]), and let go when the core has returned. Letting go may run a `__del__` that comes
//!   back to this very cache; by then nothing is held.

use std::{cell::RefCell, sync::Arc};

use pyo3::prelude::*;

use crate::{once::refuse_once_used, weight::weigh};

/// Whether values are weighed: fixed for the life of a cache.
#[derive(Clone, Copy)]
pub(crate) enum Weighing {
    /// L1 has a bound on bytes.
    Estimate,
    /// It has none.
    LeaveOut,
}

/// A value of the cache.
#[derive(Clone)]
pub(crate) struct Value(Arc<Kept>);

struct Kept {
    object: Parked,
    weight_bytes: usize,
}

impl Value {
    /// Takes the object in. Its weight is that of now: what is put into it later does not count.
    /// Without a bound on bytes nobody asks for it, and it is left out.
    pub(crate) fn new(object: Bound<'_, PyAny>, weighing: Weighing) -> Self {
        let weight_bytes = match weighing {
            Weighing::Estimate => weigh(&object),
            Weighing::LeaveOut => 0,
        };
        Self(Arc::new(Kept { object: Parked::new(object.unbind()), weight_bytes }))
    }

    /// Takes in what a caller gave.
    ///
    /// # Errors
    /// CodecError for what can be used only once.
    pub(crate) fn given(object: Bound<'_, PyAny>, weighing: Weighing) -> PyResult<Self> {
        refuse_once_used(&object)?;
        Ok(Self::new(object, weighing))
    }

    /// The object itself, never a copy.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.0.object.get().bind(py).clone()
    }

    pub(crate) fn weight_bytes(&self) -> usize {
        self.0.weight_bytes
    }
}

/// An object that is parked when it is dropped during a call into the core.
pub(crate) struct Parked(Option<Py<PyAny>>);

impl Parked {
    pub(crate) fn new(object: Py<PyAny>) -> Self {
        Self(Some(object))
    }

    pub(crate) fn get(&self) -> &Py<PyAny> {
        self.0.as_ref().expect("the object is there until the drop")
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            park(object);
        }
    }
}

/// What one thread has to let go.
struct Parking {
    /// Calls into the core that are under way on this thread, one inside the loader of the other.
    calls: usize,
    objects: Vec<Py<PyAny>>,
}

thread_local! {
    static PARKING: RefCell<Parking> =
        const { RefCell::new(Parking { calls: 0, objects: Vec::new() }) };
}

fn park(object: Py<PyAny>) {
    let mut object = Some(object);
    // A thread that is ending has no parking left, and is in no call.
    let _ = PARKING.try_with(|parking| {
        let mut parking = parking.borrow_mut();
        if parking.calls > 0 {
            parking.objects.extend(object.take());
        }
    });
    // Outside of a call the object goes at once, or, detached, when PyO3 attaches next.
    drop(object);
}

/// Calls into the core; what it lets go meanwhile on this thread is let go at the end.
pub(crate) fn scope<'py, R>(_py: Python<'py>, call: impl FnOnce() -> R) -> R {
    let under_way = UnderWay::begin();
    let answer = call();
    drop(under_way);
    answer
}

/// True on a thread that Python called from; false on those of the cache.
pub(crate) fn is_in_call() -> bool {
    PARKING.try_with(|parking| parking.borrow().calls > 0).unwrap_or(false)
}

struct UnderWay;

impl UnderWay {
    #[inline]
    fn begin() -> Self {
        let _ = PARKING.try_with(|parking| parking.borrow_mut().calls += 1);
        Self
    }
}

impl Drop for UnderWay {
    #[inline]
    fn drop(&mut self) {
        let parked = PARKING.try_with(|parking| {
            let mut parking = parking.borrow_mut();
            parking.calls -= 1;
            if parking.objects.is_empty() {
                Vec::new()
            } else {
                std::mem::take(&mut parking.objects)
            }
        });
        // Outside of the borrow: each may run Python code that calls the cache.
        drop(parked);
    }
}
