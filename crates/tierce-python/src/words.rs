//! The keywords of calls: how long values are fresh, and what a read accepts.
//!
//! Every call that takes them has the same ones under the same names as the Rust core; what a
//! keyword means is said once, in the documentation of `Cache`. A keyword that is None says
//! nothing.

use std::time::Duration;

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyTuple},
};
use tierce::{
    Error, ErrorKind, Freshness, KeyspaceCounters, LoadOptions, ReadOptions, RefreshAhead,
    SetOptions, Tiering,
};

use crate::{error::exception, key::wrong_type, options::duration, tags::tag_bytes};

/// Which keywords a call takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// What becomes of a value that is put in.
    Set,
    /// The same, where the tier that decides about the key is asked: in all tiers.
    Update,
    /// That, and how it is loaded.
    Load,
    /// What a read accepts.
    Read,
    /// None of them.
    Nothing,
    /// What holds for all calls of a cache or keyspace.
    Defaults,
}

/// What the keywords of one call say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    pub(crate) freshness: Freshness,
    pub(crate) max_age: Option<Duration>,
    pub(crate) allow_stale: bool,
    pub(crate) with_context: bool,
    /// True or false where `refresh_ahead` is said.
    pub(crate) refreshes_ahead: Option<bool>,
    pub(crate) tags: Vec<Box<[u8]>>,
    /// The tiers of the call; `None` for all.
    pub(crate) tiers: Option<Tiering>,
    says_ttl: bool,
    says_no_ttl: bool,
    /// Where reads and loads are counted beside the cache itself.
    pub(crate) counters: Option<KeyspaceCounters>,
}

/// The keywords that say how long values are fresh.
const FRESHNESS: [&str; 10] = [
    "ttl",
    "no_ttl",
    "ttl_jitter",
    "stale_if_error",
    "stale_while_revalidate",
    "negative_ttl",
    "refresh_ahead",
    "soft_timeout",
    "hard_timeout",
    "failure_backoff",
];

impl Words {
    /// Those of `base`, and over them what the keywords say.
    ///
    /// # Errors
    /// TypeError for a keyword that the call does not take and for values of a wrong type,
    /// ValueError for those out of their range, ConfigError for two that contradict each other.
    pub(crate) fn read(
        call: &str,
        takes: Takes,
        base: &Freshness,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let mut words = Self { freshness: base.clone(), ..Self::default() };
        for (name, value) in keywords.into_iter().flatten() {
            words.take_or_refuse(call, takes, name.cast::<PyString>()?.to_str()?, &value)?;
        }
        Ok(words)
    }

    /// The same, and the keyword `default`, which may be None.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn and_default<'py>(
        call: &str,
        takes: Takes,
        base: &Freshness,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Self, Option<Bound<'py, PyAny>>)> {
        let mut words = Self { freshness: base.clone(), ..Self::default() };
        let mut default = None;
        for (name, value) in keywords.into_iter().flatten() {
            match name.cast::<PyString>()?.to_str()? {
                "default" => default = Some(value),
                name => words.take_or_refuse(call, takes, name, &value)?,
            }
        }
        Ok((words, default))
    }

    fn take_or_refuse(
        &mut self,
        call: &str,
        takes: Takes,
        name: &str,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if self.take(takes, name, value)? {
            return self.agree(value.py());
        }
        let message = format!("{call}() got an unexpected keyword argument '{name}'");
        Err(PyTypeError::new_err(message))
    }

    /// Says the keyword `ttl`, given by place.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn set_ttl(&mut self, ttl: &Bound<'_, PyAny>) -> PyResult<()> {
        self.take(Takes::Update, "ttl", ttl)?;
        self.agree(ttl.py())
    }

    /// Refuses a `ttl` beside `no_ttl`: which one wins would be a matter of their order.
    fn agree(&self, py: Python<'_>) -> PyResult<()> {
        if !(self.says_ttl && self.says_no_ttl) {
            return Ok(());
        }
        let message = "ttl and no_ttl=True: one call takes one of the two";
        Err(exception(py, &Error::new(ErrorKind::Config, message)))
    }

    /// The keyword `ttl` of a cache, which is one of its settings.
    ///
    /// # Errors
    /// ConfigError where `no_ttl` is said as well.
    pub(crate) fn and_ttl(mut self, ttl: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        if let Some(ttl) = ttl {
            self.says_ttl = true;
            self.agree(ttl.py())?;
        }
        Ok(self)
    }

    /// What becomes of a value that is put in.
    pub(crate) fn set_options(self) -> SetOptions {
        let options = SetOptions::new().freshness(self.freshness).tags(self.tags);
        match self.tiers {
            Some(tiers) => options.tiers(tiers),
            None => options,
        }
    }

    /// How a value is loaded, over what `options` say.
    pub(crate) fn load_options(&self, options: LoadOptions) -> LoadOptions {
        let mut options = options.freshness(self.freshness.clone()).tags(&self.tags);
        if let Some(tiers) = self.tiers {
            options = options.tiers(tiers);
        }
        match self.max_age {
            Some(age) => options.max_age(age),
            None => options,
        }
    }

    /// What a read accepts.
    pub(crate) fn read_options(&self) -> ReadOptions {
        let mut options = ReadOptions::new().allow_stale(self.allow_stale);
        if let Some(tiers) = self.tiers {
            options = options.tiers(tiers);
        }
        match self.max_age {
            Some(age) => options.max_age(age),
            None => options,
        }
    }

    /// True for a name that some call takes as a keyword.
    pub(crate) fn is_word(name: &str) -> bool {
        const OTHERS: [&str; 6] =
            ["default", "max_age", "with_context", "allow_stale", "tags", "tiers"];
        OTHERS.contains(&name) || FRESHNESS.contains(&name)
    }

    /// Takes one keyword; false if there is none of that name.
    fn take(&mut self, takes: Takes, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let loads = matches!(takes, Takes::Load | Takes::Defaults);
        let keeps = loads || matches!(takes, Takes::Set | Takes::Update);
        let is_taken = match name {
            "ttl" | "no_ttl" | "ttl_jitter" | "stale_if_error" | "stale_while_revalidate" => keeps,
            "tags" => keeps && takes != Takes::Defaults,
            "tiers" => matches!(takes, Takes::Set | Takes::Load | Takes::Read),
            name if FRESHNESS.contains(&name) => loads,
            "max_age" => matches!(takes, Takes::Load | Takes::Read),
            "with_context" => takes == Takes::Load,
            "allow_stale" => takes == Takes::Read,
            _ => false,
        };
        if !is_taken || value.is_none() {
            return Ok(is_taken);
        }
        let span = || duration(value, name);
        let freshness = std::mem::take(&mut self.freshness);
        self.freshness = match name {
            "ttl" => freshness.ttl(span()?),
            "no_ttl" if flag(value, name)? => freshness.no_ttl(),
            "ttl_jitter" => freshness.ttl_jitter(share(value, name)?),
            "stale_if_error" => freshness.stale_if_error(span()?),
            "stale_while_revalidate" => freshness.stale_while_revalidate(span()?),
            "negative_ttl" => freshness.negative_ttl(span()?),
            "soft_timeout" => freshness.soft_timeout(span()?),
            "hard_timeout" => freshness.hard_timeout(span()?),
            "refresh_ahead" => match ahead(value)? {
                Some(rule) => {
                    self.refreshes_ahead = Some(true);
                    freshness.refresh_ahead(rule)
                }
                None => {
                    self.refreshes_ahead = Some(false);
                    freshness.no_refresh_ahead()
                }
            },
            "failure_backoff" => {
                let (first, most) = backoff(value)?;
                freshness.failure_backoff(first, most)
            }
            _ => freshness,
        };
        match name {
            "ttl" => self.says_ttl = true,
            "no_ttl" => self.says_no_ttl |= flag(value, name)?,
            "max_age" => self.max_age = Some(span()?),
            "tags" => self.tags = tag_bytes(value)?,
            "tiers" => self.tiers = Some(tiers(value)?),
            "allow_stale" => self.allow_stale = flag(value, name)?,
            "with_context" => self.with_context = flag(value, name)?,
            _ => {}
        }
        Ok(true)
    }
}

/// The tiers that `value` names, such as "L1L2".
///
/// # Errors
/// TypeError for what is no str, ConfigError for a name that is none.
pub(crate) fn tiers(value: &Bound<'_, PyAny>) -> PyResult<Tiering> {
    let Ok(name) = value.cast::<PyString>() else {
        return Err(wrong_type("tiers", "a str such as \"L1L2\"", value));
    };
    let name = name.to_str()?;
    name.parse().map_err(|_| {
        let names = Tiering::ALL.map(Tiering::name).join(", ");
        let message = format!("tiers = {name:?}: must be one of {names}");
        exception(value.py(), &Error::new(ErrorKind::Config, message))
    })
}

fn flag(value: &Bound<'_, PyAny>, name: &str) -> PyResult<bool> {
    match value.cast::<PyBool>() {
        Ok(flag) => Ok(flag.is_true()),
        Err(_) => Err(wrong_type(name, "a bool", value)),
    }
}

fn share(value: &Bound<'_, PyAny>, name: &str) -> PyResult<f64> {
    let is_number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
    if is_number && !value.is_instance_of::<PyBool>() {
        value.extract()
    } else {
        Err(wrong_type(name, "a number from 0 to 1", value))
    }
}

fn ahead(value: &Bound<'_, PyAny>) -> PyResult<Option<RefreshAhead>> {
    if let Ok(rule) = value.cast::<PyXFetch>() {
        return Ok(Some(RefreshAhead::XFetch { beta: rule.get().beta }));
    }
    if value.cast::<PyBool>().is_ok_and(|flag| !flag.is_true()) {
        return Ok(None);
    }
    match share(value, "refresh_ahead") {
        Ok(part) => Ok(Some(RefreshAhead::After(part))),
        Err(_) => {
            let what = "a number between 0 and 1, an XFetch or False";
            Err(wrong_type("refresh_ahead", what, value))
        }
    }
}

fn backoff(value: &Bound<'_, PyAny>) -> PyResult<(Duration, Duration)> {
    let name = "failure_backoff";
    let Ok(pair) = value.cast::<PyTuple>() else {
        return Err(wrong_type(name, "a pair of spans (first, most)", value));
    };
    if pair.len() != 2 {
        return Err(PyValueError::new_err(format!("{name} = {value}: must be (first, most)")));
    }
    Ok((duration(&pair.get_item(0)?, name)?, duration(&pair.get_item(1)?, name)?))
}

/// A rule for `refresh_ahead`: by lot, the likelier the nearer the end of the time to live is.
///
/// The chance begins to rise the earlier, the longer the last load took, so that the processes
/// and hosts that share a key do not all load it at the same moment.
///
/// Parameters
/// ----------
/// beta : float, default 1.0
///     Above 1 refreshes earlier, below 1 later. Above 0, at most 1000.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache(ttl="10m", refresh_ahead=tierce.XFetch())
#[pyclass(name = "XFetch", module = "tierce", frozen)]
pub(crate) struct PyXFetch {
    /// The factor.
    #[pyo3(get)]
    beta: f64,
}

#[pymethods]
impl PyXFetch {
    #[new]
    #[pyo3(signature = (beta=1.0))]
    fn new(beta: f64) -> Self {
        Self { beta }
    }

    fn __repr__(&self) -> String {
        format!("XFetch(beta={})", self.beta)
    }
}
