//! Text that no output may show: passwords, and URLs that may carry one.
//!
//! `Debug` prints stars, there is no `Display`, and only [`Secret::expose`] hands the text out.

use std::fmt;

/// What stands in output in place of a secret.
pub(super) const BLANKED: &str = "***";

/// A password or token. Its `Debug` never shows it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Callers must not print or log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(BLANKED)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// The parts of a Redis URL that the rules of the configuration speak of.
///
/// The URL is not decoded here: whoever connects parses it in full.
pub(super) struct UrlParts<'a> {
    pub(super) scheme: &'a str,
    pub(super) has_password: bool,
    pub(super) has_username: bool,
    /// Host and port as written, or the path of a socket.
    pub(super) place: &'a str,
    path: &'a str,
}

impl<'a> UrlParts<'a> {
    /// Splits the URL, or `None` where it has no known scheme or no host.
    pub(super) fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let before_query = rest.split(['?', '#']).next().unwrap_or("");
        let query = rest.get(before_query.len()..).unwrap_or("");
        let has = |name: &str| {
            query.split(['?', '&', '#']).any(|part| part.split('=').next() == Some(name))
        };
        match scheme {
            "redis" | "rediss" => {
                // A password may hold an unescaped `/` or `@`: all up to the last `@` is blanked.
                let (user, after) = before_query.rsplit_once('@').unwrap_or(("", before_query));
                let (place, path) = after.split_once('/').unwrap_or((after, ""));
                (!place.is_empty() && !place.starts_with(':')).then_some(Self {
                    scheme,
                    has_password: user.contains(':'),
                    has_username: user.split(':').next().is_some_and(|name| !name.is_empty()),
                    place,
                    path,
                })
            }
            "unix" => before_query.starts_with('/').then(|| Self {
                scheme,
                has_password: has("pass"),
                has_username: has("user"),
                place: before_query,
                path: "",
            }),
            _ => None,
        }
    }

    /// The URL without names, passwords and parameters.
    pub(super) fn blanked(&self, url: &str) -> String {
        let user = if self.has_password || self.has_username { "***@" } else { "" };
        let user = if self.scheme == "unix" { "" } else { user };
        let slash = if self.path.is_empty() { "" } else { "/" };
        let query = if url.contains(['?', '#']) { "?***" } else { "" };
        format!("{}://{user}{}{slash}{}{query}", self.scheme, self.place, self.path)
    }
}

/// `url` without what may be secret in it; stars alone where it cannot be split.
pub(super) fn blank_url(url: &Secret) -> String {
    UrlParts::of(url.expose()).map_or_else(|| BLANKED.to_owned(), |parts| parts.blanked(&url.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_no_readable_form() {
        assert_eq!(
            format!("{:?} {:#?}", Secret::new("hunter2"), Some(Secret::new("hunter2")))
                .matches("hunter2")
                .count(),
            0
        );
    }

    #[test]
    fn urls_are_shown_without_what_may_be_secret() {
        for (url, shown) in [
            ("redis://cache:6379/2", "redis://cache:6379/2"),
            ("rediss://user:hunter2@cache/0", "rediss://***@cache/0"),
            ("redis://:hunter2@cache", "redis://***@cache"),
            ("redis://hunter2@cache", "redis://***@cache"),
            ("redis://:hun/ter2@x@cache:1", "redis://***@cache:1"),
            ("redis://cache?password=hunter2", "redis://cache?***"),
            ("unix:///run/redis.sock?pass=hunter2&db=1", "unix:///run/redis.sock?***"),
            ("redis:hunter2@cache", "***"),
            ("http://hunter2@cache", "***"),
            ("redis://:hunter2@", "***"),
        ] {
            let text = blank_url(&Secret::new(url));
            assert_eq!(text, shown, "{url}");
            assert!(!text.contains("ter2"));
        }
    }
}
