//! `cache.keyspace("user/:id")`: keys of one shape, with defaults of their own.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBytes, PyDict, PyTuple},
};
use tierce::{Error, ErrorKind, Freshness, KeyPattern, KeyspaceCounters, Tiering};

use crate::{
    cache::PyCache,
    entry::PyEntry,
    error::exception,
    load::{Came, Wanted},
    options::duration,
    pattern,
    words::{Takes, Words},
};

/// Keys of one shape in a cache, with defaults of their own: made by `Cache.keyspace`.
///
/// What stands in the places of the pattern, str or int, is given to each call in their order or
/// by name; no value can leave its place. What else a call takes by place comes after them.
///
/// It is a view: the same key used on the cache is the same entry.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache()
/// >>> posts = cache.keyspace("user/:id/posts/:post", ttl="10m")
/// >>> posts.set(7, "hello", "world")
/// >>> posts.get(7, "hello"), posts.get(post="hello", id=7), cache["user/7/posts/hello"]
/// ('world', 'world', 'world')
#[pyclass(name = "Keyspace", module = "tierce", frozen, weakref, generic)]
pub(crate) struct PyKeyspace {
    /// The cache.
    #[pyo3(get)]
    cache: Py<PyCache>,
    pattern: KeyPattern,
    counters: KeyspaceCounters,
    tiers: Option<Tiering>,
    freshness: Freshness,
    refreshes_ahead: Option<bool>,
    /// Of all its entries, where it is clearable: its own last.
    tags: Vec<Box<[u8]>>,
}

/// What the arguments of a call say.
struct Said<'py> {
    name: Vec<u8>,
    /// What was given by place after the places of the pattern.
    more: Vec<Bound<'py, PyAny>>,
    words: Option<Bound<'py, PyDict>>,
}

/// What the arguments of a load say.
struct LoadSaid<'py> {
    name: Vec<u8>,
    load: Bound<'py, PyAny>,
    words: Words,
    default: Option<Bound<'py, PyAny>>,
}

impl PyKeyspace {
    pub(crate) fn new(
        py: Python<'_>,
        cache: Py<PyCache>,
        pattern: &str,
        label: Option<&str>,
        is_clearable: bool,
        words: Words,
    ) -> PyResult<Self> {
        let pattern = pattern::parse(py, pattern)?;
        let refuse = |rule: String| {
            let message = format!("key pattern {:?}: {rule}", pattern.text());
            Err(exception(py, &Error::new(ErrorKind::Config, message)))
        };
        if pattern.names().len() == 0 {
            return refuse("has no place; write it like user/:id".to_owned());
        }
        if let Some(name) = pattern.names().find(|name| Words::is_word(name)) {
            return refuse(format!("a place must not be called {name}, as a keyword is"));
        }
        let label = label.unwrap_or_else(|| pattern.text());
        let counters = cache.get().core().keyspace_counters(label);
        let counters = counters.map_err(|error| exception(py, &error))?;
        let tags = if is_clearable { pattern.clear_tags() } else { Vec::new() };
        Ok(Self {
            cache,
            pattern,
            counters,
            tags: tags.into_iter().map(Into::into).collect(),
            tiers: words.tiers,
            freshness: words.freshness,
            refreshes_ahead: words.refreshes_ahead,
        })
    }

    /// Tells apart what is in the places, `more` arguments behind them, and the other keywords.
    fn said<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
        more: usize,
    ) -> PyResult<Said<'py>> {
        let places = self.pattern.names().len();
        let Some(placed) = arguments.len().checked_sub(more).filter(|placed| *placed <= places)
        else {
            return Err(PyTypeError::new_err(format!(
                "{:?} takes {places} values and {more} more arguments but {} were given",
                self.pattern.text(),
                arguments.len()
            )));
        };
        let mut key = Vec::with_capacity(64);
        pattern::append(&self.pattern, &mut key, |number, name| {
            let named = match keywords {
                Some(keywords) => keywords.get_item(name)?,
                None => None,
            };
            match named {
                Some(_) if number < placed => {
                    Err(PyTypeError::new_err(format!("got multiple values for argument '{name}'")))
                }
                Some(value) => {
                    keywords.map_or(Ok(()), |keywords| keywords.del_item(name))?;
                    Ok(value)
                }
                None if number < placed => arguments.get_item(number),
                None => Err(PyTypeError::new_err(format!("missing a required argument: '{name}'"))),
            }
        })?;
        let more = arguments.iter().skip(placed).collect();
        let words = keywords.filter(|keywords| !keywords.is_empty()).cloned();
        Ok(Said { name: key, more, words })
    }

    /// The key, of a call that takes nothing else.
    fn only_key(
        &self,
        call: &str,
        arguments: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<u8>> {
        let said = self.said(arguments, keywords, 0)?;
        Words::read(call, Takes::Nothing, &self.freshness, said.words.as_ref())?;
        Ok(said.name)
    }

    /// What the arguments of a load say.
    fn load_said<'py>(
        &self,
        call: &str,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<LoadSaid<'py>> {
        let Said { name, more, words } = self.said(arguments, keywords, 1)?;
        let (mut words, default) =
            Words::and_default(call, Takes::Load, &self.freshness, words.as_ref())?;
        words.refreshes_ahead = words.refreshes_ahead.or(self.refreshes_ahead);
        words.counters = Some(self.counters.clone());
        words.tiers = words.tiers.or(self.tiers);
        words.tags.extend_from_slice(&self.tags);
        Ok(LoadSaid { name, load: more[0].clone(), words, default })
    }

    /// What a read finds, counted.
    fn came<'py>(
        &self,
        call: &str,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Option<Came>, Option<Bound<'py, PyAny>>)> {
        let Said { name, words, .. } = self.said(arguments, keywords, 0)?;
        let (mut words, default) =
            Words::and_default(call, Takes::Read, &Freshness::new(), words.as_ref())?;
        words.tiers = words.tiers.or(self.tiers);
        let came = self.cache.get().came(arguments.py(), &name, &words);
        self.counters.read(came.is_some());
        Ok((came, default))
    }
}

#[pymethods]
impl PyKeyspace {
    /// The pattern.
    #[getter]
    fn pattern(&self) -> &str {
        self.pattern.text()
    }

    /// Return the key with these values in its places.
    ///
    /// Returns
    /// -------
    /// bytes
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().keyspace("user/:id").key(id="a/b")
    /// b'user/a%2Fb'
    #[pyo3(signature = (*values, **named))]
    fn key<'py>(
        &self,
        values: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(values.py(), &self.only_key("key", values, named)?))
    }

    /// Return the value, as `Cache.get` does; `default` and the other keywords are by name.
    ///
    /// Returns
    /// -------
    /// object
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> users = tierce.Cache().keyspace("user/:id")
    /// >>> users.get(7, default="nobody")
    /// 'nobody'
    #[pyo3(signature = (*values, **named))]
    fn get<'py>(
        &self,
        values: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = values.py();
        if named.is_none() && self.tiers.is_none() {
            // As most calls are.
            let found = self.cache.get().find(py, &self.said(values, None, 0)?.name);
            self.counters.read(found.is_some());
            return Ok(found.unwrap_or_else(|| py.None().into_bound(py)));
        }
        let (came, default) = self.came("get", values, named)?;
        let found = came.map(|came| came.value(py, None)).transpose()?;
        Ok(found.or(default).unwrap_or_else(|| py.None().into_bound(py)))
    }

    /// Return the value with where it came from, as `Cache.get_entry` does.
    ///
    /// Returns
    /// -------
    /// Entry or None
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> users = tierce.Cache().keyspace("user/:id")
    /// >>> users.set(7, "Ada")
    /// >>> users.get_entry(7, max_age=60).value
    /// 'Ada'
    #[pyo3(signature = (*values, **named))]
    fn get_entry(
        &self,
        values: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Option<PyEntry>> {
        let (came, _) = self.came("get_entry", values, named)?;
        came.map(|came| came.entry(values.py(), None)).transpose()
    }

    /// Put a value, the last argument by place; the keywords are those of `Cache.set`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> users = tierce.Cache().keyspace("user/:id", ttl="10m")
    /// >>> users.set(7, "Ada")
    /// >>> users.set("Grace", id=8, ttl=60)
    /// >>> users.get(8)
    /// 'Grace'
    #[pyo3(signature = (*values, **named))]
    fn set(&self, values: &Bound<'_, PyTuple>, named: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let Said { name, mut more, words } = self.said(values, named, 1)?;
        let mut words = Words::read("set", Takes::Set, &self.freshness, words.as_ref())?;
        words.tiers = words.tiers.or(self.tiers);
        words.tags.extend_from_slice(&self.tags);
        self.counters.changes(1);
        match more.pop() {
            Some(value) => self.cache.get().put(&name, value, &words.set_options()),
            None => Ok(()),
        }
    }

    /// Remove the key, as `Cache.delete` does.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> users = tierce.Cache().keyspace("user/:id")
    /// >>> users.delete(7)
    #[pyo3(signature = (*values, **named))]
    fn delete(
        &self,
        values: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let name = self.only_key("delete", values, named)?;
        self.counters.changes(1);
        self.cache.get().remove(values.py(), &name)
    }

    /// Make what the key has stale, as `Cache.expire` does.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> users = tierce.Cache().keyspace("user/:id")
    /// >>> users.expire(id=7)
    #[pyo3(signature = (*values, **named))]
    fn expire(
        &self,
        values: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let name = self.only_key("expire", values, named)?;
        self.counters.changes(1);
        self.cache.get().make_stale(values.py(), &name)
    }

    /// Give what the key has another time to live, the last argument by place, as `Cache.touch`.
    ///
    /// Returns
    /// -------
    /// bool
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> users = tierce.Cache().keyspace("user/:id", ttl=60)
    /// >>> users.set(7, "Ada")
    /// >>> users.touch(7, "10m")
    /// True
    #[pyo3(signature = (*values, **named))]
    fn touch(
        &self,
        values: &Bound<'_, PyTuple>,
        named: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<bool> {
        let Said { name, more, words } = self.said(values, named, 1)?;
        Words::read("touch", Takes::Nothing, &self.freshness, words.as_ref())?;
        let ttl = duration(&more[0], "ttl")?;
        self.counters.changes(1);
        self.cache.get().prolong(values.py(), &name, ttl)
    }

    /// Return the value, loaded if need be, as `Cache.get_or_load` does.
    ///
    /// The loader is the last argument by place; the keywords are those of `Cache.get_or_load`.
    ///
    /// Returns
    /// -------
    /// object
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> users = tierce.Cache().keyspace("user/:id", ttl="10m")
    /// >>> users.get_or_load(7, lambda: "Ada"), users.get_or_load(lambda: "Grace", id=7)
    /// ('Ada', 'Ada')
    #[pyo3(signature = (*values, **named))]
    fn get_or_load<'py>(
        &self,
        values: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.loaded("get_or_load", values, named, Wanted::Any)
    }

    /// Load the value whatever there is, as `Cache.refresh` does.
    ///
    /// Returns
    /// -------
    /// object
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> users = tierce.Cache().keyspace("user/:id")
    /// >>> users.refresh(7, lambda: "Ada")
    /// 'Ada'
    #[pyo3(signature = (*values, **named))]
    fn refresh<'py>(
        &self,
        values: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.loaded("refresh", values, named, Wanted::New)
    }

    /// Return the value, loaded if need be, as `Cache.aget_or_load` does.
    ///
    /// The loader is the last argument by place; the keywords are those of `Cache.aget_or_load`.
    ///
    /// Returns
    /// -------
    /// coroutine
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> users = tierce.Cache().keyspace("user/:id")
    /// >>> async def load():
    /// ...     return "Ada"
    /// >>> async def main():
    /// ...     return await users.aget_or_load(7, load)
    /// >>> asyncio.run(main())
    /// 'Ada'
    #[pyo3(signature = (*values, **named))]
    fn aget_or_load<'py>(
        &self,
        values: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let LoadSaid { name, load, words, default } =
            self.load_said("aget_or_load", values, named)?;
        PyCache::awaited(self.cache.bind(values.py()), &name, words, &load, default)
    }

    /// Remove all of this keyspace, and of clearable ones whose patterns continue its own.
    ///
    /// It costs as much as one `delete`, whatever the number of keys. What was looked for or loaded
    /// before is not served any more. What was put there otherwise stays: by the cache itself, or
    /// by a keyspace that is not clearable.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     The keyspace was made without `clearable=True`.
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> users = tierce.Cache().keyspace("user/:id", clearable=True)
    /// >>> users.set(7, "Ada")
    /// >>> users.clear()
    /// >>> users.get(7, default="nobody")
    /// 'nobody'
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let Some(own) = self.tags.last() else {
            let text = self.pattern.text();
            let message =
                format!("keyspace {text:?}: make it with clearable=True before values are set");
            return Err(exception(py, &Error::new(ErrorKind::Config, message)));
        };
        self.counters.changes(1);
        self.cache.get().remove_by_tag(py, own)
    }

    fn __repr__(&self) -> String {
        format!("<tierce.Keyspace {}>", self.pattern.text())
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.cache)
    }
}

impl PyKeyspace {
    fn loaded<'py>(
        &self,
        call: &str,
        values: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
        wanted: Wanted,
    ) -> PyResult<Bound<'py, PyAny>> {
        let LoadSaid { name, load, words, default } = self.load_said(call, values, named)?;
        self.cache.get().value(values.py(), &name, &words, &load, default.as_ref(), wanted)
    }
}
