//! Loads that asyncio tasks wait for.
//!
//! A load is a future of the core ([`PyOperation`]), which the task that wants it polls. The
//! coroutine in `tierce/_tasks.py` does that, calls the loader when the future asks for it, and
//! sleeps in between. What the future waits for is done by threads of the core: they may hold locks
//! of it, so they must not wait for the interpreter. They ring a [`PyBell`] instead, a socket that
//! the event loop reads: once for all that is to be woken.

use std::{
    future::Future,
    io::{ErrorKind as IoErrorKind, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use pyo3::{
    exceptions::{PyRuntimeError, PyStopIteration},
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyTuple},
};
use tierce::{Cache, KeyspaceCounters, LoadContext, LoadOptions, Loaded};

use crate::{
    held::{Value, Weighing, scope},
    load::{Came, Raised, not_callable, of_load, raised},
    loaded::{PyLoadContext, loaded},
};

type Running = Pin<Box<dyn Future<Output = tierce::Result<Came>> + Send>>;

/// What the loader is asked and answers.
enum Exchange {
    Nothing,
    Asked(LoadContext<'static, Value>),
    /// It is at work.
    Begun,
    Told(Result<Loaded<Value>, Raised>),
}

/// A load under way, for the task that polls it.
#[pyclass(name = "_Operation", module = "tierce", frozen)]
pub(crate) struct PyOperation {
    running: Mutex<Option<Running>>,
    outcome: Mutex<Option<tierce::Result<Came>>>,
    exchange: Arc<Mutex<Exchange>>,
    key: Box<[u8]>,
    weighing: Weighing,
    /// True where polling may wait for locks of other processes.
    detaches: bool,
    wants_entry: bool,
    default: Option<Py<PyAny>>,
    counters: Option<KeyspaceCounters>,
    #[pyo3(get)]
    number: u64,
}

/// How a load is to answer.
pub(crate) struct Answers {
    pub(crate) weighing: Weighing,
    pub(crate) detaches: bool,
    pub(crate) wants_entry: bool,
    pub(crate) default: Option<Py<PyAny>>,
    pub(crate) counters: Option<KeyspaceCounters>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here is left half done by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PyOperation {
    pub(crate) fn new(
        cache: &Cache<Value>,
        key: &[u8],
        options: LoadOptions,
        answers: Answers,
    ) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let exchange = Arc::new(Mutex::new(Exchange::Nothing));
        let theirs = Arc::clone(&exchange);
        let (cache, name) = (cache.clone(), Box::<[u8]>::from(key));
        let running: Running = Box::pin(async move {
            let load = |context| Asking { context: Some(context), exchange: theirs };
            let came = cache.get_or_load_optional_async(&name, &options, load).await;
            came.map(Came::from)
        });
        let Answers { weighing, detaches, wants_entry, default, counters } = answers;
        Self {
            running: Mutex::new(Some(running)),
            outcome: Mutex::new(None),
            exchange,
            key: key.into(),
            weighing,
            detaches,
            wants_entry,
            default,
            counters,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The coroutine that a task awaits.
    pub(crate) fn driven<'py>(
        self,
        cache: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        with_context: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = load.py();
        if !load.is_callable() {
            return Err(not_callable(load));
        }
        let operation = Bound::new(py, self)?;
        module(py)?.getattr("drive")?.call1((operation, cache, load, with_context))
    }
}

/// The Python half.
pub(crate) fn module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static TASKS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    TASKS
        .get_or_try_init(py, || py.import("tierce._tasks").map(Bound::unbind))
        .map(|it| it.bind(py))
}

#[pymethods]
impl PyOperation {
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.key)
    }

    /// Go on as far as possible; the bell rings when more is.
    ///
    /// True when it has ended; a LoadContext when the loader is to be called; else False.
    fn poll<'py>(&self, py: Python<'py>, bell: &Bound<'py, PyBell>) -> PyResult<Bound<'py, PyAny>> {
        let Some(mut running) = lock(&self.running).take() else {
            return Err(PyRuntimeError::new_err("the load has ended"));
        };
        let waker = Ringer { bell: Arc::clone(&bell.get().0), number: self.number };
        let waker = Waker::from(Arc::new(waker));
        let mut poll = || running.as_mut().poll(&mut Context::from_waker(&waker));
        let polled = scope(py, || if self.detaches { py.detach(poll) } else { poll() });
        match polled {
            Poll::Ready(outcome) => {
                if let Some(counters) = &self.counters {
                    counters.read(outcome.as_ref().is_ok_and(Came::is_hit));
                }
                *lock(&self.outcome) = Some(outcome);
                self.let_go(py, running);
                Ok(true.into_pyobject(py)?.to_owned().into_any())
            }
            Poll::Pending => {
                *lock(&self.running) = Some(running);
                let mut exchange = lock(&self.exchange);
                if !matches!(*exchange, Exchange::Asked(_)) {
                    return Ok(false.into_pyobject(py)?.to_owned().into_any());
                }
                let asked = std::mem::replace(&mut *exchange, Exchange::Begun);
                drop(exchange);
                match asked {
                    Exchange::Asked(context) => {
                        if let Some(counters) = &self.counters {
                            counters.loads(1);
                        }
                        Ok(Bound::new(py, PyLoadContext::new(&context))?.into_any())
                    }
                    _ => Ok(py.None().into_bound(py)),
                }
            }
        }
    }

    /// Tell what the loader returned.
    fn loaded(&self, answer: Bound<'_, PyAny>) {
        let py = answer.py();
        let answer = loaded(answer, self.weighing).map_err(|error| raised(py, &error));
        *lock(&self.exchange) = Exchange::Told(answer);
    }

    /// Tell what the loader raised.
    fn failed(&self, error: Bound<'_, PyAny>) {
        let py = error.py();
        let told = Exchange::Told(Err(raised(py, &PyErr::from_value(error))));
        *lock(&self.exchange) = told;
    }

    /// What came of it, once it has ended.
    fn outcome(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let outcome = lock(&self.outcome).take();
        let came = match outcome {
            Some(Ok(came)) => came,
            Some(Err(error)) => return Err(of_load(py, &error)),
            None => return Err(PyRuntimeError::new_err("the load has not ended")),
        };
        let default = self.default.as_ref().map(|default| default.bind(py));
        if self.wants_entry {
            return Ok(Bound::new(py, came.entry(py, default)?)?.into_any().unbind());
        }
        came.value(py, default).map(Bound::unbind)
    }

    /// Leave it: another that waits for the key takes it over.
    fn close(&self, py: Python<'_>) {
        let running = lock(&self.running).take();
        if let Some(running) = running {
            self.let_go(py, running);
        }
    }
}

impl PyOperation {
    fn let_go(&self, py: Python<'_>, running: Running) {
        scope(py, || if self.detaches { py.detach(|| drop(running)) } else { drop(running) });
    }
}

/// The loader's future: asks the task to call it, and waits for what it says.
struct Asking {
    context: Option<LoadContext<'static, Value>>,
    exchange: Arc<Mutex<Exchange>>,
}

impl Future for Asking {
    type Output = Result<Loaded<Value>, Raised>;

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        // No waker: who tells polls.
        if let Some(context) = self.context.take() {
            *lock(&self.exchange) = Exchange::Asked(context);
            return Poll::Pending;
        }
        let mut exchange = lock(&self.exchange);
        if !matches!(*exchange, Exchange::Told(_)) {
            return Poll::Pending;
        }
        match std::mem::replace(&mut *exchange, Exchange::Nothing) {
            Exchange::Told(told) => Poll::Ready(told),
            _ => Poll::Pending,
        }
    }
}

/// Which operations of one event loop are to be polled.
struct Rung {
    numbers: Mutex<Vec<u64>>,
    ring: UnixStream,
}

struct Ringer {
    bell: Arc<(Rung, UnixStream)>,
    number: u64,
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let rung = &self.bell.0;
        let mut numbers = lock(&rung.numbers);
        numbers.push(self.number);
        if numbers.len() == 1 {
            // A socket that is full rings already; one that is closed belongs to no loop any more.
            let _ = (&rung.ring).write(&[1]);
        }
    }
}

/// What threads of the core ring to wake the tasks of one event loop.
#[pyclass(name = "_Bell", module = "tierce", frozen)]
pub(crate) struct PyBell(Arc<(Rung, UnixStream)>);

#[pymethods]
impl PyBell {
    #[new]
    fn new() -> PyResult<Self> {
        let (ring, ear) = UnixStream::pair()?;
        ring.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Self(Arc::new((Rung { numbers: Mutex::default(), ring }, ear))))
    }

    /// What the event loop waits for.
    fn fileno(&self) -> i32 {
        self.0.1.as_raw_fd()
    }

    /// The numbers of the operations that are to be polled.
    fn take(&self) -> PyResult<Vec<u64>> {
        let (rung, ear) = &*self.0;
        let mut numbers = lock(&rung.numbers);
        match (&mut &*ear).read(&mut [0; 64]) {
            Err(error) if error.kind() != IoErrorKind::WouldBlock => return Err(error.into()),
            _ => {}
        }
        Ok(std::mem::take(&mut *numbers))
    }
}

/// Something to await that is there already: a hit costs no round of the event loop.
#[pyclass(name = "_Ready", module = "tierce", frozen)]
pub(crate) struct PyReady(Py<PyAny>);

impl PyReady {
    pub(crate) fn with(object: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
        let py = object.py();
        Ok(Bound::new(py, Self(object.unbind()))?.into_any())
    }

    fn stop(&self, py: Python<'_>) -> PyErr {
        PyStopIteration::new_err((self.0.clone_ref(py),))
    }
}

#[pymethods]
impl PyReady {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Err(self.stop(py))
    }

    fn send(&self, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(self.stop(value.py()))
    }

    #[pyo3(signature = (*error))]
    fn throw(&self, error: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
        let first = error.get_item(0)?;
        // A class stands for an object of it.
        let error = if first.is_callable() { first.call0()? } else { first };
        Err(PyErr::from_value(error))
    }

    fn close(&self) {}
}
