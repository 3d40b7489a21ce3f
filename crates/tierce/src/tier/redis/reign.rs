//! Under which master something was said, where masters may change.
//!
//! Replication is not waited for, so a master that takes over may lack changes that the one before
//! had confirmed, and nobody can tell which: its stamps may be those of before, though a change was
//! lost, and the next change gives a stamp that the lost one had. So nothing that the server holds
//! counts under another master than the one it was made under. Each stripe has a *reign*, a name
//! beside its stamp and epoch, with the run id of the server:
//!
//! ```text
//!   reign of a stripe = run id of the master we speak to      all as with one server
//!                     = another one, or none                  stamp and epoch begin anew at
//!                                                             random, then it has this one
//! ```
//!
//! That is one step of the server, so it happens once for each stripe and change of master, by
//! whoever comes first: who reads a key or writes one, or begins to listen. It voids all records and
//! tokens of before, the notice has all hosts that listen void their copies, and the stamps tell those
//! that listen later. A server that was started anew has another run id too, so what it brings back
//! from its disk is void as well.

use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, Value};

use super::{
    link::unexpected,
    read::random_start,
    refusal::{self, RedisRefusal, error},
};
use crate::error::{ErrorKind, Result};

/// The run id of the master at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Reign(Arc<[u8]>);

/// How many connections there were, and the reign at the end of the last while it lasts.
pub(super) type Present = (u64, Option<Reign>);

impl Reign {
    /// What tells it, to be asked as a connection is made.
    pub(super) fn questions() -> [Cmd; 2] {
        let mut info = redis::cmd("INFO");
        info.arg("server");
        [redis::cmd("ROLE"), info]
    }

    /// Reads the answers.
    ///
    /// # Errors
    /// For a server that is no master.
    pub(super) fn of(role: &Value, info: &Value) -> Result<Self> {
        let role = match role {
            Value::Array(parts) => parts.first().and_then(text),
            Value::ServerError(reply) => return Err(refusal::from_reply(reply)),
            _ => None,
        };
        match role.ok_or_else(unexpected)? {
            b"master" => {}
            role => {
                let role = role.escape_ascii();
                return Err(error(ErrorKind::Denied, format!("server is no master but a {role}"))
                    .caused_by(RedisRefusal::ReadOnly));
            }
        }
        if let Value::ServerError(reply) = info {
            return Err(refusal::from_reply(reply));
        }
        let lines = text(info).ok_or_else(unexpected)?.split(|byte| *byte == b'\n');
        let run_id = lines.filter_map(|line| line.trim_ascii_end().strip_prefix(b"run_id:")).next();
        match run_id {
            Some(run_id) if !run_id.is_empty() => Ok(Self(run_id.into())),
            _ => Err(unexpected()),
        }
    }

    /// As a stripe has it.
    pub(super) fn name(&self) -> &[u8] {
        &self.0
    }

    /// The reign under which a reply was given, by what was present before the request and after
    /// the reply; `None` where there was more than one connection meanwhile.
    pub(super) fn of_reply(before: Present, after: Present) -> Option<Self> {
        let first = before.0 + u64::from(before.1.is_none());
        after.1.filter(|_| after.0 == first)
    }
}

/// What the script that begins a reign is given: the reign, and starts of stamp and epoch.
pub(super) fn arguments(reign: &Reign) -> [Bytes; 3] {
    [Bytes::copy_from_slice(reign.name()), random_start(), random_start()]
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> Value {
        Value::Array(vec![Value::BulkString(name.into()), Value::Int(7)])
    }

    #[test]
    fn a_master_says_its_run_id_and_nobody_else_is_taken_for_one() {
        let info = Value::BulkString(b"# Server\r\nrun_id:abc123\r\ntcp_port:1\r\n".to_vec());
        let reign = Reign::of(&role("master"), &info).unwrap();
        assert_eq!(reign.name(), b"abc123");
        for name in ["slave", "sentinel", ""] {
            let error = Reign::of(&role(name), &info).unwrap_err();
            assert_eq!(error.cause::<RedisRefusal>(), Some(&RedisRefusal::ReadOnly), "{name}");
        }
        for garbage in [Value::Nil, Value::BulkString(b"run_id:\r\n".to_vec()), Value::Int(1)] {
            assert!(Reign::of(&role("master"), &garbage).is_err(), "{garbage:?}");
            assert!(Reign::of(&garbage, &info).is_err(), "{garbage:?}");
        }
    }

    #[test]
    fn a_reply_has_a_reign_if_one_connection_alone_can_have_brought_it() {
        let reign = || Some(Reign(Arc::from(&b"abc"[..])));
        let known = |before, after| Reign::of_reply(before, after).is_some();
        assert!(known((1, reign()), (1, reign())));
        assert!(known((1, None), (2, reign())), "the request waited for the connection");
        assert!(!known((1, reign()), (2, reign())));
        assert!(!known((1, None), (3, reign())));
        assert!(!known((1, reign()), (1, None)), "lost, and the next one not there yet");
    }
}
