//! What the server's error replies mean to us.

use std::{error::Error as StdError, fmt, io};

use redis::ServerError;

use super::options::Address;
use crate::{
    error::{Error, ErrorKind},
    tiering::TierKind,
};

/// Why a server refused a command, by the first word of its error reply. More may be added.
///
/// The source of an [`Error`] of the Redis tier: `error.cause::<RedisRefusal>()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedisRefusal {
    /// `OOM`: the server is at its `maxmemory` and must not evict.
    OutOfMemory,
    /// `READONLY`: the server is a replica.
    ReadOnly,
    /// `LOADING`: the server still reads its data from disk.
    Loading,
    /// `BUSY`: a script blocks the server.
    Busy,
    /// `MISCONF`, `NOREPLICAS`: the server takes no writes because it cannot keep them.
    CannotPersist,
    /// `CLUSTERDOWN`, `MASTERDOWN`, `TRYAGAIN`: parts of the server are away.
    Down,
    /// `MOVED`, `ASK`, `CROSSSLOT`: the server is a node of a cluster, which the options do not say.
    Cluster,
    /// `NOAUTH`, `WRONGPASS` and others: the server wants other credentials.
    Credentials,
    /// `NOPERM`: the ACL user may not do this.
    Permission,
    /// `NOSCRIPT`: the server does not have the script.
    NoScript,
    /// `WRONGTYPE`: the name holds something else than a string.
    WrongType,
    /// Any other error reply.
    Other,
}

impl RedisRefusal {
    /// The reason in lower case, for messages and metrics labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out_of_memory",
            Self::ReadOnly => "read_only",
            Self::Loading => "loading",
            Self::Busy => "busy",
            Self::CannotPersist => "cannot_persist",
            Self::Down => "down",
            Self::Cluster => "cluster",
            Self::Credentials => "credentials",
            Self::Permission => "permission",
            Self::NoScript => "no_script",
            Self::WrongType => "wrong_type",
            Self::Other => "other",
        }
    }

    /// The kind of error that callers see.
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::OutOfMemory => ErrorKind::Full,
            Self::ReadOnly | Self::Permission => ErrorKind::Denied,
            Self::Loading | Self::Busy => ErrorKind::Busy,
            Self::CannotPersist | Self::NoScript | Self::WrongType | Self::Other => ErrorKind::Io,
            Self::Down => ErrorKind::Network,
            Self::Cluster => ErrorKind::Unsupported,
            Self::Credentials => ErrorKind::Auth,
        }
    }

    /// Reads the first word of an error reply, and the text where Redis up to version 6, and Valkey,
    /// hide the word of a command that failed inside a script.
    fn of(code: &str, text: &str) -> Self {
        match code {
            "OOM" => Self::OutOfMemory,
            "READONLY" => Self::ReadOnly,
            "LOADING" => Self::Loading,
            "BUSY" => Self::Busy,
            "MISCONF" | "NOREPLICAS" => Self::CannotPersist,
            "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" => Self::Down,
            "MOVED" | "ASK" | "CROSSSLOT" => Self::Cluster,
            "NOAUTH" | "WRONGPASS" => Self::Credentials,
            "NOPERM" => Self::Permission,
            "NOSCRIPT" => Self::NoScript,
            "WRONGTYPE" => Self::WrongType,
            "ERR" if text.contains("user executing the script can't") => Self::Permission,
            "ERR" if text.contains("ACL failure in script") => Self::Permission,
            "ERR" if text.contains("-OOM ") => Self::OutOfMemory,
            "ERR" if text.contains("-READONLY ") => Self::ReadOnly,
            "ERR" if text.contains("-MISCONF ") => Self::CannotPersist,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for RedisRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl StdError for RedisRefusal {}

/// The error of an error reply.
pub(super) fn from_reply(reply: &ServerError) -> Error {
    refused(reply.code(), reply.details().unwrap_or_default())
}

/// An error of this tier.
pub(super) fn error(kind: ErrorKind, message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(kind, message).in_tier(TierKind::Redis)
}

/// The error of an error reply with this first word and this text.
pub(super) fn refused(code: &str, text: &str) -> Error {
    let refusal = RedisRefusal::of(code, text);
    let advice = match refusal {
        RedisRefusal::Cluster => " (a cluster is asked with redis.cluster = true)",
        _ => "",
    };
    error(refusal.kind(), format!("server said {code} {text}{advice}")).caused_by(refusal)
}

/// The error of a connection that could not be made.
pub(super) fn from_connect(failure: io::Error, address: &Address) -> Error {
    let kind = match failure.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Network,
    };
    error(kind, format!("no connection to {address}")).caused_by(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_replies_have_a_reason_and_a_kind() {
        for (code, text, refusal, kind) in [
            ("OOM", "command not allowed", RedisRefusal::OutOfMemory, ErrorKind::Full),
            ("READONLY", "replica", RedisRefusal::ReadOnly, ErrorKind::Denied),
            ("LOADING", "loading", RedisRefusal::Loading, ErrorKind::Busy),
            ("BUSY", "script", RedisRefusal::Busy, ErrorKind::Busy),
            ("MISCONF", "disk", RedisRefusal::CannotPersist, ErrorKind::Io),
            ("CLUSTERDOWN", "", RedisRefusal::Down, ErrorKind::Network),
            ("MASTERDOWN", "", RedisRefusal::Down, ErrorKind::Network),
            ("MOVED", "1 a:1", RedisRefusal::Cluster, ErrorKind::Unsupported),
            ("NOAUTH", "", RedisRefusal::Credentials, ErrorKind::Auth),
            ("NOPERM", "", RedisRefusal::Permission, ErrorKind::Denied),
            ("ERR", "in script: -OOM command", RedisRefusal::OutOfMemory, ErrorKind::Full),
            ("ERR", "ACL failure in script: User", RedisRefusal::Permission, ErrorKind::Denied),
            ("ERR", "unknown command", RedisRefusal::Other, ErrorKind::Io),
            ("SOMETHING", "", RedisRefusal::Other, ErrorKind::Io),
        ] {
            let error = refused(code, text);
            assert_eq!(error.cause::<RedisRefusal>(), Some(&refusal), "{code}");
            assert_eq!((error.kind(), error.tier()), (kind, Some(TierKind::Redis)), "{code}");
        }
    }
}
