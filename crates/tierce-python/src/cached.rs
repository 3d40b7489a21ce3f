//! `@cache.cached`: functions that remember their results.

use std::{cell::Cell, time::Duration};

use pyo3::{
    exceptions::{PyAttributeError, PyTypeError},
    prelude::*,
    types::{PyBytes, PyDict, PyTuple},
};

use crate::{
    arguments::KeyRule,
    cache::PyCache,
    key::type_name,
    load::{Callee, Wanted},
    tasks::PyReady,
    words::Words,
};

/// What `cache.cached(...)` returns before it has a function.
#[pyclass(name = "_Decorator", module = "tierce", frozen)]
pub(crate) struct PyDecorator {
    cache: Py<PyCache>,
    key: Option<Py<PyAny>>,
    words: Words,
}

impl PyDecorator {
    pub(crate) fn new(cache: Py<PyCache>, key: Option<Py<PyAny>>, words: Words) -> Self {
        Self { cache, key, words }
    }
}

#[pymethods]
impl PyDecorator {
    fn __call__<'py>(&self, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        PyCached::decorate(function, self)
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.cache)?;
        self.key.as_ref().map_or(Ok(()), |key| visit.call(key))
    }
}

/// A function that remembers its results in a cache: made by `Cache.cached`.
///
/// It is called as the function is, and is a method where the function would be one. The function
/// itself is `__wrapped__`. Where that is a coroutine function, a call, `refresh`, `expire` and
/// `delete` are to be awaited, and `inspect.iscoroutinefunction` says so from Python 3.12 on;
/// `asyncio.iscoroutinefunction` does in all.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache()
/// >>> @cache.cached
/// ... def square(number: int) -> int:
/// ...     return number * number
/// >>> square(7), square(7), square.key(number=7).endswith(b"square(7)")
/// (49, 49, True)
#[pyclass(name = "Cached", module = "tierce", frozen, dict, weakref, generic)]
pub(crate) struct PyCached {
    cache: Py<PyCache>,
    function: Py<PyAny>,
    rule: KeyRule,
    words: Words,
    /// True for a coroutine function.
    is_async: bool,
}

thread_local! {
    /// Room for a key, so that a hit allocates nothing.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Room above this is given back.
const MOST_ROOM: usize = 4 << 10;

impl PyCached {
    pub(crate) fn decorate<'py>(
        function: &Bound<'py, PyAny>,
        decorator: &PyDecorator,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = function.py();
        if !function.is_callable() {
            return Err(PyTypeError::new_err(format!(
                "cached needs a function, not {}",
                type_name(function)
            )));
        }
        let rule = KeyRule::new(function, decorator.key.as_ref().map(|key| key.bind(py)))?;
        let inspect = py.import("inspect")?;
        let is_async = inspect.call_method1("iscoroutinefunction", (function,))?.is_truthy()?;
        let cached = Self {
            is_async,
            cache: decorator.cache.clone_ref(py),
            function: function.clone().unbind(),
            rule,
            words: decorator.words.clone(),
        };
        let cached = Bound::new(py, cached)?.into_any();
        py.import("functools")?.call_method1("update_wrapper", (&cached, function))?;
        if is_async {
            mark_as_coroutine_function(&cached)?;
        }
        Ok(cached)
    }

    /// Runs with the key of a call.
    fn with_key<R>(
        &self,
        arguments: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
        run: impl FnOnce(&[u8]) -> PyResult<R>,
    ) -> PyResult<R> {
        // Taken out: making the key or running may come back to this thread's room.
        let mut room = ROOM.take();
        room.clear();
        let made = self.rule.append(&mut room, arguments, keywords);
        let outcome = made.and_then(|()| run(&room));
        if room.capacity() <= MOST_ROOM {
            ROOM.set(room);
        }
        outcome
    }

    fn came<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
        wanted: Wanted,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        let cache = self.cache.get();
        self.with_key(arguments, keywords, |name| {
            if wanted == Wanted::Any
                && let Some(object) = cache.near(py, name, &self.words)
            {
                return if self.is_async { PyReady::with(object) } else { Ok(object) };
            }
            if self.is_async {
                return self.awaited(name, arguments, keywords, wanted);
            }
            let callee = Callee::with(&self.function, arguments, keywords);
            let none = py.None().into_bound(py);
            cache.load(py, name, &self.words, callee, wanted)?.value(py, Some(&none))
        })
    }

    /// The coroutine of a call.
    fn awaited<'py>(
        &self,
        name: &[u8],
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
        wanted: Wanted,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        let mut words = self.words.clone();
        if wanted == Wanted::New {
            words.max_age = Some(Duration::ZERO);
        }
        let function = std::iter::once(self.function.bind(py).clone());
        let partial = PyTuple::new(py, function.chain(arguments.iter()).collect::<Vec<_>>())?;
        let load = py.import("functools")?.getattr("partial")?.call(partial, keywords)?;
        let none = py.None().into_bound(py);
        let operation = self.cache.get().operation(name, &words, false, Some(none));
        operation.driven(self.cache.bind(py).as_any(), &load, false)
    }

    /// Changes the key of a call, as the method of that name does.
    fn change<'py>(
        &self,
        method: &str,
        change: fn(&PyCache, Python<'py>, &[u8]) -> PyResult<()>,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        let cache = self.cache.bind(py);
        self.with_key(arguments, keywords, |name| {
            if self.is_async {
                let key = PyTuple::new(py, [PyBytes::new(py, name)])?;
                return cache.get().aside(cache, method, key, None);
            }
            change(cache.get(), py, name).map(|()| py.None().into_bound(py))
        })
    }
}

/// Has frameworks that ask `iscoroutinefunction` await it: `inspect`'s from Python 3.12 on, and
/// before that the one of `asyncio`, which alone knew such a mark.
fn mark_as_coroutine_function(cached: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = cached.py();
    if let Ok(mark) = py.import("inspect")?.getattr("markcoroutinefunction") {
        return mark.call1((cached,)).map(|_| ());
    }
    match py.import("asyncio.coroutines")?.getattr("_is_coroutine") {
        Ok(mark) => cached.setattr("_is_coroutine", mark),
        // A name of its own: an interpreter may lack it.
        Err(_) => Ok(()),
    }
}

#[pymethods]
impl PyCached {
    /// The cache.
    #[getter]
    fn cache(&self, py: Python<'_>) -> Py<PyCache> {
        self.cache.clone_ref(py)
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.came(arguments, keywords, Wanted::Any)
    }

    /// Call the function, and remember its result in the place of what there is.
    ///
    /// Takes the arguments of the function.
    ///
    /// Returns
    /// -------
    /// object
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As the function does; nothing stale is served.
    ///
    /// Examples
    /// --------
    /// >>> import itertools, tierce
    /// >>> cache, numbers = tierce.Cache(), itertools.count()
    /// >>> @cache.cached
    /// ... def ticket(queue: str) -> int:
    /// ...     return next(numbers)
    /// >>> ticket("a"), ticket("a"), ticket.refresh("a"), ticket("a")
    /// (0, 0, 1, 1)
    #[pyo3(signature = (*arguments, **keywords))]
    fn refresh<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.came(arguments, keywords, Wanted::New)
    }

    /// End the time to live of the result for these arguments, as `Cache.expire` does.
    ///
    /// Takes the arguments of the function.
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> @cache.cached(ttl=60)
    /// ... def square(number: int) -> int:
    /// ...     return number * number
    /// >>> square(7)
    /// 49
    /// >>> square.expire(7)
    /// >>> len(cache)
    /// 0
    #[pyo3(signature = (*arguments, **keywords))]
    fn expire<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.change("expire", PyCache::make_stale, arguments, keywords)
    }

    /// Forget the result for these arguments, as `Cache.delete` does.
    ///
    /// Takes the arguments of the function.
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> @cache.cached
    /// ... def square(number: int) -> int:
    /// ...     return number * number
    /// >>> square(7)
    /// 49
    /// >>> square.delete(number=7)
    /// >>> len(cache)
    /// 0
    #[pyo3(signature = (*arguments, **keywords))]
    fn delete<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.change("delete", PyCache::remove, arguments, keywords)
    }

    /// Return the key of the result for these arguments.
    ///
    /// Takes the arguments of the function.
    ///
    /// Returns
    /// -------
    /// bytes
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> @tierce.Cache().cached(key="user/:id")
    /// ... def user(id: int) -> str:
    /// ...     return f"user {id}"
    /// >>> user.key(7)
    /// b'user/7'
    #[pyo3(signature = (*arguments, **keywords))]
    fn key<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let py = arguments.py();
        self.with_key(arguments, keywords, |name| Ok(PyBytes::new(py, name)))
    }

    fn __get__<'py>(
        slf: Bound<'py, Self>,
        instance: &Bound<'py, PyAny>,
        owner: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = owner;
        if instance.is_none() {
            return Ok(slf.into_any());
        }
        let py = slf.py();
        let bound = PyBoundCached { cached: slf.unbind(), instance: instance.clone().unbind() };
        Ok(Bound::new(py, bound)?.into_any())
    }

    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        // As functions are pickled: by name.
        Ok(slf.getattr("__qualname__")?.unbind())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<tierce.Cached {}>", self.function.bind(py).repr()?))
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.cache)?;
        visit.call(&self.function)?;
        self.rule.traverse(&visit)
    }
}

/// A cached method of one object: called without that.
#[pyclass(name = "_BoundCached", module = "tierce", frozen, generic)]
pub(crate) struct PyBoundCached {
    cached: Py<PyCached>,
    instance: Py<PyAny>,
}

impl PyBoundCached {
    fn arguments<'py>(&self, others: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyTuple>> {
        let py = others.py();
        let instance = std::iter::once(self.instance.bind(py).clone());
        PyTuple::new(py, instance.chain(others.iter()).collect::<Vec<_>>())
    }
}

#[pymethods]
impl PyBoundCached {
    #[pyo3(signature = (*arguments, **keywords))]
    fn __call__<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.cached.get().came(&self.arguments(arguments)?, keywords, Wanted::Any)
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn refresh<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.cached.get().refresh(&self.arguments(arguments)?, keywords)
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn expire<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.cached.get().expire(&self.arguments(arguments)?, keywords)
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn delete<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.cached.get().delete(&self.arguments(arguments)?, keywords)
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn key<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.cached.get().key(&self.arguments(arguments)?, keywords)
    }

    /// The object.
    #[getter]
    fn __self__(&self, py: Python<'_>) -> Py<PyAny> {
        self.instance.clone_ref(py)
    }

    /// What the function has: its name, and what it was given.
    fn __getattr__<'py>(&self, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let cached = self.cached.bind(name.py());
        cached.getattr(name.cast::<pyo3::types::PyString>()?).map_err(|_| {
            PyAttributeError::new_err(format!("a cached method has no attribute {name}"))
        })
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.cached)?;
        visit.call(&self.instance)
    }
}
