//! How the arguments of a call become a key.
//!
//! The same arguments make the same key however they are given: by place, by name, or left to
//! their defaults. The parameters are read off the function once, when it is decorated.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyModule, PyString, PyTuple},
};

use tierce::KeyPattern;

use crate::{
    key::{key_bytes, type_name},
    pattern::{self, append_int},
};

/// The parameters of a function.
pub(crate) struct Parameters {
    /// Those that can be named or have a place, in their order; the ones that have none come last.
    named: Vec<Parameter>,
    /// How many of them have a place.
    placed: usize,
    takes_more_places: bool,
    takes_more_names: bool,
}

struct Parameter {
    name: String,
    default: Option<Py<PyAny>>,
    has_name: bool,
}

/// The arguments of one call, in the order of the parameters.
struct Given<'py> {
    values: Vec<Bound<'py, PyAny>>,
    more_places: Vec<Bound<'py, PyAny>>,
    more_names: Vec<(String, Bound<'py, PyAny>)>,
}

impl Parameters {
    /// Reads them off.
    ///
    /// # Errors
    /// What `inspect.signature` raises.
    pub(crate) fn of(function: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = function.py();
        let inspect = py.import("inspect")?;
        let signature = inspect.call_method1("signature", (function,))?;
        let empty = inspect.getattr("Parameter")?.getattr("empty")?;
        let mut these = Self {
            named: Vec::new(),
            placed: 0,
            takes_more_places: false,
            takes_more_names: false,
        };
        for parameter in signature.getattr("parameters")?.call_method0("values")?.try_iter()? {
            let parameter = parameter?;
            let kind: String = parameter.getattr("kind")?.getattr("name")?.extract()?;
            match kind.as_str() {
                "VAR_POSITIONAL" => these.takes_more_places = true,
                "VAR_KEYWORD" => these.takes_more_names = true,
                kind => {
                    let default = parameter.getattr("default")?;
                    these.named.push(Parameter {
                        name: parameter.getattr("name")?.extract()?,
                        default: (!default.is(&empty)).then(|| default.unbind()),
                        has_name: kind != "POSITIONAL_ONLY",
                    });
                    these.placed += usize::from(kind != "KEYWORD_ONLY");
                }
            }
        }
        Ok(these)
    }

    /// The number of a parameter.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.named.iter().position(|parameter| parameter.name == name)
    }

    fn bind<'py>(
        &self,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Given<'py>> {
        let py = arguments.py();
        let mut values: Vec<Option<Bound<'py, PyAny>>> = vec![None; self.named.len()];
        let mut more_places = Vec::new();
        for (number, argument) in arguments.iter().enumerate() {
            if number < self.placed {
                values[number] = Some(argument);
            } else if self.takes_more_places {
                more_places.push(argument);
            } else {
                return wrong(format!(
                    "takes {} positional arguments but {} were given",
                    self.placed,
                    arguments.len()
                ));
            }
        }
        let mut more_names = Vec::new();
        for (name, value) in keywords.into_iter().flatten() {
            let name: String = name.extract()?;
            let at = self.position(&name).filter(|at| self.named[*at].has_name);
            match at {
                Some(at) if values[at].is_some() => {
                    return wrong(format!("got multiple values for argument '{name}'"));
                }
                Some(at) => values[at] = Some(value),
                None if self.takes_more_names => more_names.push((name, value)),
                None => return wrong(format!("got an unexpected keyword argument '{name}'")),
            }
        }
        more_names.sort_by(|(one, _), (other, _)| one.cmp(other));
        let filled = values.into_iter().zip(&self.named).map(|(value, parameter)| {
            let default = || parameter.default.as_ref().map(|it| it.bind(py).clone());
            match value.or_else(default) {
                Some(value) => Ok(value),
                None => wrong(format!("missing a required argument: '{}'", parameter.name)),
            }
        });
        let values = filled.collect::<PyResult<Vec<_>>>()?;
        Ok(Given { values, more_places, more_names })
    }
}

fn wrong<T>(what: String) -> PyResult<T> {
    Err(PyTypeError::new_err(what))
}

/// How keys of calls are made.
pub(crate) enum KeyRule {
    /// Of the function's name, which `opening` ends with a parenthesis, and all arguments.
    All { opening: String, parameters: Parameters },
    /// By a pattern that names parameters; the number of each.
    Pattern { pattern: KeyPattern, places: Vec<usize>, parameters: Parameters },
    /// By a function of the same arguments.
    Function(Py<PyAny>),
}

impl KeyRule {
    /// The rule for `function`; `key` is a pattern or a callable.
    ///
    /// # Errors
    /// TypeError for another `key`, and where there is none and the function needs one; ConfigError
    /// for a wrong pattern, ValueError for one that names what is no parameter.
    pub(crate) fn new(
        function: &Bound<'_, PyAny>,
        key: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = function.py();
        let Some(key) = key.filter(|key| !key.is_none()) else {
            let opening = name_of(function)? + "(";
            return Ok(Self::All { opening, parameters: Parameters::of(function)? });
        };
        if let Ok(text) = key.cast::<PyString>() {
            let pattern = pattern::parse(py, text.to_str()?)?;
            let parameters = Parameters::of(function)?;
            let place = |name: &str| {
                parameters.position(name).ok_or_else(|| {
                    pyo3::exceptions::PyValueError::new_err(format!(
                        "key pattern {:?}: the function has no parameter {name}",
                        pattern.text()
                    ))
                })
            };
            let places = pattern.names().map(place).collect::<PyResult<Vec<_>>>()?;
            return Ok(Self::Pattern { pattern, places, parameters });
        }
        if key.is_callable() {
            return Ok(Self::Function(key.clone().unbind()));
        }
        Err(PyTypeError::new_err(format!(
            "key must be a pattern or a callable, not {}",
            type_name(key)
        )))
    }

    /// Appends the key of a call.
    ///
    /// # Errors
    /// TypeError for arguments that do not fit the parameters, or of which no key can be made.
    pub(crate) fn append<'py>(
        &self,
        out: &mut Vec<u8>,
        arguments: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<()> {
        match self {
            Self::All { opening, parameters } => {
                out.extend_from_slice(opening.as_bytes());
                if keywords.is_none()
                    && arguments.len() == parameters.named.len()
                    && arguments.len() == parameters.placed
                {
                    // As most calls are: nothing to put in order.
                    for argument in arguments.iter_borrowed() {
                        append_argument(out, &argument)?;
                        out.push(b',');
                    }
                } else {
                    let bound = parameters.bind(arguments, keywords)?;
                    for value in bound.values.iter().chain(&bound.more_places) {
                        append_argument(out, value)?;
                        out.push(b',');
                    }
                    for (name, value) in &bound.more_names {
                        append_name(out, name);
                        out.push(b'=');
                        append_argument(out, value)?;
                        out.push(b',');
                    }
                }
                if out.last() == Some(&b',') {
                    out.pop();
                }
                out.push(b')');
                Ok(())
            }
            Self::Pattern { pattern, places, parameters } => {
                if keywords.is_none()
                    && arguments.len() == parameters.named.len()
                    && arguments.len() == parameters.placed
                {
                    let value = |number: usize, _: &str| arguments.get_item(places[number]);
                    return pattern::append(pattern, out, value);
                }
                let bound = parameters.bind(arguments, keywords)?;
                let value = |number: usize, _: &str| Ok(bound.values[places[number]].clone());
                pattern::append(pattern, out, value)
            }
            Self::Function(function) => {
                let key = function.bind(arguments.py()).call(arguments, keywords)?;
                out.extend_from_slice(key_bytes(&key)?);
                Ok(())
            }
        }
    }

    /// What the collector has to know.
    pub(crate) fn traverse(&self, visit: &pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        match self {
            Self::Function(function) => visit.call(function),
            Self::All { parameters, .. } | Self::Pattern { parameters, .. } => {
                let defaults = parameters.named.iter().filter_map(|it| it.default.as_ref());
                defaults.into_iter().try_for_each(|default| visit.call(default))
            }
        }
    }
}

/// The name of a function, where keys that begin with it can tell the function from others.
///
/// # Errors
/// TypeError where they cannot: two functions that share keys would return each other's results.
fn name_of(function: &Bound<'_, PyAny>) -> PyResult<String> {
    let Ok(name) = function.getattr("__qualname__") else {
        return wrong(format!(
            "a {} has no name to make keys of: give it a key of its own",
            type_name(function)
        ));
    };
    let name = match function.getattr("__module__").ok().filter(|it| !it.is_none()) {
        Some(module) => format!("{module}.{name}"),
        None => name.to_string(),
    };
    let Some(why) = what_tells_it_apart(function, &name)? else { return Ok(name) };
    wrong(format!(
        "no key of its name and arguments tells {name} from others, as {why}: give it a key of \
         its own, as in cached(key=\"user/:id\")"
    ))
}

/// What tells a function from others of its name beside its arguments; `None` for nothing.
fn what_tells_it_apart(function: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<String>> {
    if name.ends_with("<lambda>") {
        return Ok(Some("it is a lambda".to_owned()));
    }
    // That of a built-in function is its module.
    let object = function.getattr("__self__").ok();
    if let Some(object) = object.filter(|it| !it.is_none() && !it.is_instance_of::<PyModule>()) {
        return Ok(Some(format!("it is bound to one {}", type_name(&object))));
    }
    let Ok(code) = function.getattr("__code__") else { return Ok(None) };
    if !name.contains("<locals>") {
        return Ok(None);
    }
    // One that calls itself closes over its own name, which says nothing more.
    let own = code.getattr("co_name")?;
    for variable in code.getattr("co_freevars")?.try_iter()? {
        let variable = variable?;
        if !variable.eq(&own)? {
            return Ok(Some(format!("it uses {variable} of the function that it is made in")));
        }
    }
    Ok(None)
}

/// Appends one argument so that no two that differ look alike, as Python would write it.
fn append_argument(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        append_quoted(out, text.to_str()?.as_bytes());
    } else if value.is_exact_instance_of::<PyInt>() {
        append_int(out, value)?;
    } else if value.is_none() || value.is_exact_instance_of::<PyBool>() {
        out.extend_from_slice(value.str()?.to_str()?.as_bytes());
    } else if value.is_exact_instance_of::<PyFloat>() {
        out.extend_from_slice(value.repr()?.to_str()?.as_bytes());
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        out.push(b'b');
        append_quoted(out, bytes.as_bytes());
    } else if let Ok(parts) = value.cast_exact::<PyTuple>() {
        out.push(b'(');
        for part in parts.iter_borrowed() {
            append_argument(out, &part)?;
            out.push(b',');
        }
        out.push(b')');
    } else {
        return Err(PyTypeError::new_err(format!(
            "no key can be made of a {}: give the function a key of its own, as in \
             cached(key=\"user/:id\")",
            type_name(value)
        )));
    }
    Ok(())
}

/// Appends the name of an argument: within quotation marks where it has a mark that keys are
/// written with, which `f(**{"a=1,b": 2})` may and no identifier does.
fn append_name(out: &mut Vec<u8>, name: &str) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
    if name.bytes().all(is_plain) {
        out.extend_from_slice(name.as_bytes());
    } else {
        append_quoted(out, name.as_bytes());
    }
}

fn append_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    if has_marks(text) {
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
    } else {
        out.extend_from_slice(text);
    }
    out.push(b'"');
}

/// True if a quotation mark or a backslash is among the bytes. Eight are looked at in one: the
/// arguments of most calls are short.
fn has_marks(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    // A byte of zero borrows from its top bit, and is the lowest that does.
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let among = |word: u64| {
        has_zero(word ^ u64::from_ne_bytes([b'"'; 8]))
            | has_zero(word ^ u64::from_ne_bytes([b'\\'; 8]))
    };
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let found = words.iter().fold(0, |found, word| found | among(u64::from_ne_bytes(*word)));
    (found | among(u64::from_ne_bytes(last))) != 0
}
