//! Python value to JSON text.
//!
//! Only exact built-in types pass, so no code of the caller's classes runs here. Nothing is
//! allocated that the garbage collector tracks, so no finaliser runs either, and no list or dict
//! can change under the walk.

use std::{fmt, fmt::Write as _};

use pyo3::{
    intern,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyNone, PyString},
};

use super::{MOST_DEPTH, PIECE_DIGITS};
use crate::key::type_name;

/// Why a value has no JSON form, and where in it.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// From the innermost step outwards.
    steps: Vec<Step>,
    reason: String,
}

#[derive(Debug)]
enum Step {
    Index(usize),
    Key(String),
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { steps: Vec::new(), reason: reason.into() }
    }

    fn within(mut self, step: Step) -> Self {
        // The steps of a value that contains itself say nothing new after the first few.
        self.steps.push(step);
        self
    }
}

impl fmt::Display for Refusal {
    /// `value["users"][3]: a tuple would not come back as it is`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Steps that a message shows.
        const MOST_STEPS: usize = 12;
        out.write_str("value")?;
        for step in self.steps.iter().rev().take(MOST_STEPS) {
            match step {
                Step::Index(index) => write!(out, "[{index}]")?,
                Step::Key(key) => write!(out, "[{key:?}]")?,
            }
        }
        if self.steps.len() > MOST_STEPS {
            out.write_str("...")?;
        }
        write!(out, ": {}", self.reason)
    }
}

/// The JSON text of a value.
pub(crate) fn encode(value: &Bound<'_, PyAny>) -> Result<String, Refusal> {
    let mut out = String::with_capacity(128);
    write_value(&mut out, value, 0)?;
    Ok(out)
}

fn write_value(out: &mut String, value: &Bound<'_, PyAny>, depth: usize) -> Result<(), Refusal> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return write_text(out, text);
    }
    if value.is_exact_instance_of::<PyInt>() {
        return write_int(out, value);
    }
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return write_float(out, number.value());
    }
    if let Ok(flag) = value.cast_exact::<PyBool>() {
        out.push_str(if flag.is_true() { "true" } else { "false" });
        return Ok(());
    }
    if value.is_exact_instance_of::<PyNone>() {
        out.push_str("null");
        return Ok(());
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return write_list(out, list, inside(depth)?);
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return write_dict(out, dict, inside(depth)?);
    }
    Err(Refusal::new(format!(
        "{} would not come back from L2 or L3 as it is: only None, bool, int, float, str, list \
         and dict with str keys do, and bytes by themselves",
        type_name(value)
    )))
}

fn inside(depth: usize) -> Result<usize, Refusal> {
    if depth == MOST_DEPTH {
        return Err(Refusal::new(format!(
            "nested deeper than {MOST_DEPTH} levels, or it contains itself"
        )));
    }
    Ok(depth + 1)
}

fn write_list(out: &mut String, list: &Bound<'_, PyList>, depth: usize) -> Result<(), Refusal> {
    out.push('[');
    for (index, member) in list.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_value(out, &member, depth).map_err(|refusal| refusal.within(Step::Index(index)))?;
    }
    out.push(']');
    Ok(())
}

fn write_dict(out: &mut String, dict: &Bound<'_, PyDict>, depth: usize) -> Result<(), Refusal> {
    out.push('{');
    for (index, (key, member)) in dict.iter().enumerate() {
        let Ok(name) = key.cast_exact::<PyString>() else {
            return Err(Refusal::new(format!(
                "a dict key that is {} would not come back from L2 or L3 as it is: only str does",
                type_name(&key)
            )));
        };
        if index > 0 {
            out.push(',');
        }
        write_text(out, name)?;
        out.push(':');
        write_value(out, &member, depth)
            .map_err(|refusal| refusal.within(Step::Key(name.to_string_lossy().into_owned())))?;
    }
    out.push('}');
    Ok(())
}

fn write_text(out: &mut String, text: &Bound<'_, PyString>) -> Result<(), Refusal> {
    let text =
        text.to_str().map_err(|_| Refusal::new("a str with lone surrogates has no UTF-8 form"))?;
    out.push('"');
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            // A String takes whatever is written to it.
            _ => drop(write!(out, "\\u{byte:04x}")),
        }
    }
    out.push_str(&text[written..]);
    out.push('"');
    Ok(())
}

fn write_float(out: &mut String, number: f64) -> Result<(), Refusal> {
    if !number.is_finite() {
        return Err(Refusal::new(format!("the float {number} has no JSON form")));
    }
    // Debug, not Display: the shortest text that reads back the same, never without a point or
    // an exponent.
    let _ = write!(out, "{number:?}");
    Ok(())
}

fn write_int(out: &mut String, number: &Bound<'_, PyAny>) -> Result<(), Refusal> {
    if let Ok(small) = number.extract::<i64>() {
        let _ = write!(out, "{small}");
        return Ok(());
    }
    write_long(out, number).map_err(|error| Refusal::new(format!("an int has no text: {error}")))
}

/// An int beyond 64 bits: its digits from the end, a piece at a time.
fn write_long(out: &mut String, number: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = number.py();
    let zero = 0_u8.into_pyobject(py)?;
    if number.lt(&zero)? {
        out.push('-');
    }
    let mut rest = number.abs()?;
    let piece = 10_u8.into_pyobject(py)?.pow(PIECE_DIGITS, py.None())?;
    let mut pieces = Vec::new();
    while rest.gt(&zero)? {
        // Not `divmod`: it makes a tuple, which the collector tracks.
        pieces.push(rest.rem(&piece)?.call_method0(intern!(py, "__repr__"))?);
        rest = rest.floor_div(&piece)?;
    }
    for (index, piece) in pieces.iter().rev().enumerate() {
        let digits = piece.cast::<PyString>()?.to_str()?;
        let missing = if index == 0 { 0 } else { PIECE_DIGITS - digits.len() };
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(digits);
    }
    Ok(())
}
