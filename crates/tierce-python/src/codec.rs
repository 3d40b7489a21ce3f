//! How a value becomes bytes for L2 and L3: bytes as they are, str as UTF-8, the rest as JSON.
//! No pickle: what lies in a store or on a server never runs code here.

use pyo3::{
    prelude::*,
    types::{PyBytes, PyString},
};
use tierce::{Bytes, Codec, Error, ErrorKind, Format};

use crate::{
    held::{Value, Weighing},
    json::{self, Fault, Refusal},
};

/// The codec of Python values.
pub(crate) struct ValueCodec(pub(crate) Weighing);

impl Codec<Value> for ValueCodec {
    fn encode(&self, value: &Value) -> tierce::Result<(Bytes, Format)> {
        attached(|py| encode(&value.object(py)).map_err(|refusal| codec_error(refusal.to_string())))
    }

    fn decode(&self, bytes: Bytes, format: Format) -> tierce::Result<Value> {
        attached(|py| decode(py, &bytes, format).map(|it| Value::new(it, self.0)))
    }

    fn weight(&self, value: &Value) -> usize {
        value.weight_bytes()
    }
}

fn encode(object: &Bound<'_, PyAny>) -> Result<(Bytes, Format), Refusal> {
    if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        return Ok((Bytes::copy_from_slice(bytes.as_bytes()), Format::Raw));
    }
    if let Ok(text) = object.cast_exact::<PyString>() {
        return match text.to_str() {
            Ok(text) => Ok((Bytes::copy_from_slice(text.as_bytes()), Format::Text)),
            Err(_) => Err(Refusal::new("a str with lone surrogates has no UTF-8 form")),
        };
    }
    Ok((Bytes::from(json::encode(object)?), Format::Json))
}

fn decode<'py>(py: Python<'py>, bytes: &[u8], format: Format) -> tierce::Result<Bound<'py, PyAny>> {
    let text = || std::str::from_utf8(bytes).map_err(|_| codec_error("the text is not UTF-8"));
    match format {
        Format::Raw => Ok(PyBytes::new(py, bytes).into_any()),
        Format::Text => Ok(PyString::new(py, text()?).into_any()),
        Format::Json => json::decode(py, text()?).map_err(|fault| match fault {
            Fault::Text(what, at) => {
                codec_error(format!("not a value in JSON: {what} at byte {at}"))
            }
            Fault::Python(error) => codec_error(error.to_string()),
        }),
        _ => Err(codec_error("the value is in a form that this version does not know")),
    }
}

fn codec_error(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Codec, message)
}

/// Runs with the interpreter, from a thread that may be detached from it.
///
/// # Errors
/// [`ErrorKind::Closed`] while the interpreter shuts down.
pub(crate) fn attached<R>(
    run: impl for<'py> FnOnce(Python<'py>) -> tierce::Result<R>,
) -> tierce::Result<R> {
    Python::try_attach(run)
        .unwrap_or_else(|| Err(Error::new(ErrorKind::Closed, "the interpreter is shutting down")))
}
