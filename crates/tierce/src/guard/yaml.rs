//! What all YAML files of the guard have in common.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::{
    error::{Error, ErrorKind, Result},
    units::parse_span,
};

/// Larger files are neither alerts nor plans; the parser's memory is a multiple of it.
const MOST_BYTES: usize = 1 << 20;

/// Reads a document.
///
/// # Errors
/// [`ErrorKind::Config`]: the parser's message, which names line and column.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    if text.len() > MOST_BYTES {
        return Err(Error::new(ErrorKind::Config, "the file must be of at most 1 MiB"));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // The parser ends some messages with a line break or puts them on several lines.
        let message = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Error::new(ErrorKind::Config, format!("not legal YAML: {message}"))
    })
}

/// Reads a span such as `5m`.
///
/// # Errors
/// [`ErrorKind::Config`] with the key, the value and the rule.
pub(super) fn span(key: &str, text: &str) -> Result<Duration> {
    parse_span(text)
        .map_err(|rule| Error::new(ErrorKind::Config, format!("{key} = {text:?}: {rule}")))
}
