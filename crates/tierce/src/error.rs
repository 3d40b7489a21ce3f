//! The one error type of the crate.
//!
//! [`Error`] is opaque and cheap to clone (waiters of one load share the leader's error). Branch
//! on [`Error::kind`]; the message names the thing, the value and the rule.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

use crate::tiering::TierKind;

/// What went wrong, for callers that branch on it. More kinds may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option, key of a file or environment variable is unknown or out of its range.
    Config,
    /// The operating system refused a file operation.
    Io,
    /// Bytes read from a tier are not what was written there.
    Corrupt,
    /// A deadline passed.
    Timeout,
    /// A connection could not be made or broke.
    Network,
    /// A server refused our credentials.
    Auth,
    /// A key or value is above a stated bound.
    TooLarge,
    /// There is no room and none can be made.
    Full,
    /// The caller's loader failed; [`StdError::source`] is its error.
    Loader,
    /// The caller's loader panicked in another thread that loaded the same key.
    LoaderPanicked,
    /// A loader asked for the key that it is loading.
    Reentrant,
    /// The cache was closed.
    Closed,
    /// A lock or a queue was not free in time.
    Busy,
    /// A feature is not built in, or the platform or a tier in force lacks it.
    Unsupported,
    /// A store file was written by another version or for another layout.
    Version,
    /// A path or server refused access.
    Denied,
    /// A value could not be turned into bytes, or bytes into a value.
    Codec,
    /// The caller's loader says that the key has no value.
    Absent,
}

impl ErrorKind {
    /// The kind in lower case, as it appears in metrics labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Io => "io",
            Self::Corrupt => "corrupt",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Auth => "auth",
            Self::TooLarge => "too_large",
            Self::Full => "full",
            Self::Loader => "loader",
            Self::LoaderPanicked => "loader_panicked",
            Self::Reentrant => "reentrant",
            Self::Closed => "closed",
            Self::Busy => "busy",
            Self::Unsupported => "unsupported",
            Self::Version => "version",
            Self::Denied => "denied",
            Self::Codec => "codec",
            Self::Absent => "absent",
        }
    }
}

/// The error of every fallible call of this crate.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    tier: Option<TierKind>,
    message: Cow<'static, str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error; `message` names the thing, the value and the rule, in lower case and
    /// without a period.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, tier: None, message: message.into(), source: None }
    }

    /// Names the tier that the error came from.
    #[must_use]
    pub fn in_tier(mut self, tier: TierKind) -> Self {
        self.tier = Some(tier);
        self
    }

    /// The same error in other words: kind, tier and cause stay.
    #[must_use]
    pub(crate) fn reworded(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = message.into();
        self
    }

    /// Attaches the error that caused this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The tier that the error came from, if it came from one.
    pub fn tier(&self) -> Option<TierKind> {
        self.tier
    }

    /// The cause, as the type `T` that the caller's own code raised (a loader's error).
    pub fn cause<T: StdError + 'static>(&self) -> Option<&T> {
        self.source.as_deref().and_then(|source| source.downcast_ref::<T>())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tier) = self.tier {
            write!(out, "{}: ", tier.label())?;
        }
        out.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(out, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Error({:?}: {self})", self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => ErrorKind::Timeout,
            std::io::ErrorKind::ConnectionRefused
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::NotConnected
            | std::io::ErrorKind::BrokenPipe => ErrorKind::Network,
            _ => ErrorKind::Io,
        };
        Self::new(kind, "system call failed").caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_tier_rule_and_cause() {
        let error = Error::new(ErrorKind::Timeout, "no answer to GET within 50 ms")
            .in_tier(TierKind::Redis)
            .caused_by(std::io::Error::other("reset"));
        assert_eq!(error.to_string(), "L3-Redis: no answer to GET within 50 ms: reset");
        assert!(error.cause::<std::io::Error>().is_some());
    }
}
