//! What a loader is told, and what it may return in place of a bare value.

use std::time::Instant;

use pyo3::{
    exceptions::PyOverflowError,
    prelude::*,
    types::{PyBytes, PyInt, PyString},
};
use tierce::{CancelToken, LoadContext, Loaded};

use crate::{
    held::{Value, Weighing},
    key::wrong_type,
    options::duration,
    tags::tag_bytes,
};

enum Content {
    Value(Py<PyAny>),
    Absent,
    NotModified,
}

/// What a loader may return in place of a bare value.
///
/// Parameters
/// ----------
/// value : object
/// ttl : float, timedelta or str, optional
///     How long this value is fresh, in place of the `ttl` of the call. Zero hands it to those
///     who wait and keeps nothing.
/// weight : int, optional
///     The bytes that the value counts for in L1, in place of an estimate.
/// validator : bytes or str, optional
///     What the next load of the key is told to know this value by (`LoadContext.validator`): an
///     ETag, a version. Up to 1,024 bytes.
/// tags : iterable of str or bytes, optional
///     Names by which the value can be removed or made stale (`Cache.remove_tag`), beside those of
///     the call. A removal while the loader runs counts, though it did not yet name the tag.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache()
/// >>> cache.get_or_load("token", lambda: tierce.Loaded("s3cret", ttl="5m"))
/// 's3cret'
#[pyclass(name = "Loaded", module = "tierce", frozen, generic)]
pub(crate) struct PyLoaded {
    content: Content,
    ttl: Option<std::time::Duration>,
    weight: Option<usize>,
    validator: Option<Vec<u8>>,
    tags: Vec<Box<[u8]>>,
}

#[pymethods]
impl PyLoaded {
    #[new]
    #[pyo3(signature = (value, *, ttl=None, weight=None, validator=None, tags=None))]
    fn new(
        value: Py<PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        weight: Option<&Bound<'_, PyAny>>,
        validator: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let weight = weight.map(weight_bytes).transpose()?;
        let tags = tags.map(tag_bytes).transpose()?.unwrap_or_default();
        Ok(Self { tags, ..Self::of(Content::Value(value), ttl, weight, validator)? })
    }

    /// Say that the key has no value.
    ///
    /// That is remembered for `negative_ttl`; a stale value is not served any more. `ABSENT` is
    /// the same, made once.
    ///
    /// Parameters
    /// ----------
    /// ttl : float, timedelta or str, optional
    ///     How long it is remembered, in place of `negative_ttl`.
    ///
    /// Returns
    /// -------
    /// Loaded
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.get_or_load("user:9", lambda: tierce.Loaded.absent(ttl=5), default="nobody")
    /// 'nobody'
    #[staticmethod]
    #[pyo3(signature = (*, ttl=None))]
    fn absent(ttl: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Self::of(Content::Absent, ttl, None, None)
    }

    /// Say that the value is the one that the loader was told of: it is fresh again.
    ///
    /// An error where it was told of none (`LoadContext.has_stale`).
    ///
    /// Parameters
    /// ----------
    /// ttl : float, timedelta or str, optional
    ///     As for a new value.
    /// validator : bytes or str, optional
    ///     A new one, in place of that which the value has.
    ///
    /// Returns
    /// -------
    /// Loaded
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> def load(context):
    /// ...     if context.validator == b"v1":
    /// ...         return tierce.Loaded.not_modified()
    /// ...     return tierce.Loaded("page", validator="v1")
    /// >>> pages = cache.loading(load)
    /// >>> pages.get("/"), pages.refresh("/").value
    /// ('page', 'page')
    #[staticmethod]
    #[pyo3(signature = (*, ttl=None, validator=None))]
    fn not_modified(
        ttl: Option<&Bound<'_, PyAny>>,
        validator: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Self::of(Content::NotModified, ttl, None, validator)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(match &self.content {
            Content::Value(value) => format!("Loaded({})", value.bind(py).repr()?),
            Content::Absent => "Loaded.absent()".to_owned(),
            Content::NotModified => "Loaded.not_modified()".to_owned(),
        })
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        match &self.content {
            Content::Value(value) => visit.call(value),
            Content::Absent | Content::NotModified => Ok(()),
        }
    }
}

impl PyLoaded {
    /// `ABSENT`.
    pub(crate) const ABSENT: Self = Self {
        content: Content::Absent,
        ttl: None,
        weight: None,
        validator: None,
        tags: Vec::new(),
    };

    fn of(
        content: Content,
        ttl: Option<&Bound<'_, PyAny>>,
        weight: Option<usize>,
        validator: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let ttl = ttl.map(|ttl| duration(ttl, "ttl")).transpose()?;
        let validator = validator.map(validator_bytes).transpose()?;
        Ok(Self { content, ttl, weight, validator, tags: Vec::new() })
    }
}

fn weight_bytes(weight: &Bound<'_, PyAny>) -> PyResult<usize> {
    if !weight.is_instance_of::<PyInt>() {
        return Err(wrong_type("weight", "int", weight));
    }
    weight.extract().map_err(|_| {
        let rule = format!("from 0 to {} bytes", usize::MAX);
        PyOverflowError::new_err(format!("weight = {weight}: must be {rule}"))
    })
}

fn validator_bytes(validator: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(text) = validator.cast::<PyString>() {
        return Ok(text.to_str()?.as_bytes().to_vec());
    }
    match validator.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
        Err(_) => Err(wrong_type("validator", "str or bytes", validator)),
    }
}

/// What a loader's answer says.
///
/// # Errors
/// CodecError for a value that can be used only once.
pub(crate) fn loaded(answer: Bound<'_, PyAny>, weighing: Weighing) -> PyResult<Loaded<Value>> {
    let Ok(said) = answer.cast::<PyLoaded>() else {
        return Ok(Loaded::new(Value::given(answer, weighing)?));
    };
    let PyLoaded { content, ttl, weight, validator, tags } = said.get();
    let mut loaded = match content {
        Content::Value(value) => {
            Loaded::new(Value::given(value.bind(answer.py()).clone(), weighing)?)
        }
        Content::Absent => Loaded::absent(),
        Content::NotModified => Loaded::not_modified(),
    };
    if let Some(ttl) = ttl {
        loaded = loaded.ttl(*ttl);
    }
    if let Some(weight) = weight {
        loaded = loaded.weight(*weight);
    }
    if let Some(validator) = validator {
        loaded = loaded.validator(validator.clone());
    }
    if !tags.is_empty() {
        loaded = loaded.tags(tags);
    }
    Ok(loaded)
}

/// True for a `Loaded` of whatever kind.
pub(crate) fn is_said(answer: &Bound<'_, PyAny>) -> bool {
    answer.is_instance_of::<PyLoaded>()
}

/// True for `Loaded.not_modified()`.
pub(crate) fn is_not_modified(answer: &Bound<'_, PyAny>) -> bool {
    let said = answer.cast::<PyLoaded>();
    said.is_ok_and(|said| matches!(said.get().content, Content::NotModified))
}

/// What a loader is told about the load that it is called for.
///
/// Attributes
/// ----------
/// key : bytes
///     The key that is asked for; of a str, its UTF-8 form.
/// text : str
///     The same as a str.
/// has_stale : bool
///     True if the cache has a value that is to be replaced.
/// stale : object
///     That value: stale, or fresh where the load is ahead of time or asked for. None without one.
/// validator : bytes
///     What the load of `stale` gave as its validator; empty if there is none.
/// reason : str
///     "miss", "stale", "ahead" (of the end of the time to live), "max_age" or "asked".
/// deadline : float or None
///     When the load is to have ended, in the terms of `time.monotonic()`; None for never.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache()
/// >>> users = cache.loading(lambda context: f"{context.text} ({context.reason})")
/// >>> users.get("user:7")
/// 'user:7 (miss)'
#[pyclass(name = "LoadContext", module = "tierce", frozen)]
pub(crate) struct PyLoadContext {
    key: Box<[u8]>,
    stale: Option<Value>,
    validator: Box<[u8]>,
    #[pyo3(get)]
    reason: &'static str,
    token: CancelToken,
}

impl PyLoadContext {
    pub(crate) fn new(context: &LoadContext<'_, Value>) -> Self {
        Self {
            key: context.key().into(),
            stale: context.stale().cloned(),
            validator: context.validator().into(),
            reason: context.reason().as_str(),
            token: context.token().clone(),
        }
    }
}

#[pymethods]
impl PyLoadContext {
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.key)
    }

    #[getter]
    fn text<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.key(py).call_method0("decode")
    }

    #[getter]
    fn has_stale(&self) -> bool {
        self.stale.is_some()
    }

    #[getter]
    fn stale<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.stale.as_ref().map(|stale| stale.object(py))
    }

    #[getter]
    fn validator<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.validator)
    }

    #[getter]
    fn deadline(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let Some(deadline) = self.token.deadline() else { return Ok(None) };
        let now: f64 = py.import("time")?.call_method0("monotonic")?.extract()?;
        let passed = Instant::now();
        let left = deadline.saturating_duration_since(passed).as_secs_f64();
        let over = passed.saturating_duration_since(deadline).as_secs_f64();
        Ok(Some(now + left - over))
    }

    /// Tell whether what the loader returns is of no use any more.
    ///
    /// A load that takes long should look from time to time, and end when it is.
    ///
    /// Returns
    /// -------
    /// bool
    ///     True once the deadline has passed, somebody overtook the load, or the cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.loading(lambda context: context.is_cancelled()).get("user:7")
    /// False
    fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    fn __repr__(&self) -> String {
        format!("<tierce.LoadContext key=b\"{}\" reason={}>", self.key.escape_ascii(), self.reason)
    }
}
