//! How a connection is made: reached, let in, and known to answer.

use std::sync::Arc;

use redis::{Cmd, Value};

use super::{
    counters::Counters,
    link::{Common, unexpected},
    options::{Address, Place, Settings},
    refusal::{self, RedisRefusal, error},
    reign::Reign,
    reply::Limits,
    scripts, sentinel,
    server_clock::ServerClock,
    stream::Stream,
    wire::{Trouble, Wire},
};
use crate::error::{Error, ErrorKind, Result};

/// Longest key that a cache takes, and room for the names and numbers beside a value.
const BESIDE_VALUE: usize = 128 << 10;

/// What a server may answer: a value of the largest size that is allowed, and as much again for a
/// reply of several.
pub(super) fn limits(settings: &Settings) -> Limits {
    let string = settings.envelope.most_stored_bytes(BESIDE_VALUE);
    Limits { string, reply: 2 * string }
}

/// What the server at the other end is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Master,
    /// Is asked for what it has, and says with each answer whose replica it is.
    Replica,
}

/// A connection that is ready for use.
pub(super) struct Made {
    pub(super) wire: Arc<Wire>,
    pub(super) address: Address,
    /// Where masters may change.
    pub(super) reign: Option<Reign>,
}

/// Where a connection is to go now. In a cluster each connection has its own address.
pub(super) async fn address(common: &Arc<Common>) -> Result<Address> {
    match &common.settings.place {
        Place::One(address) => Ok(address.clone()),
        Place::Sentinels(sentinels) => sentinel::master(common, sentinels).await,
        Place::Cluster(_) => Err(error(ErrorKind::Network, "a cluster has many addresses")),
    }
}

/// Makes a connection, to this node or where it is to go now, and sees that the server answers on
/// it.
pub(super) async fn connect(
    common: &Arc<Common>,
    node: Option<&Address>,
    role: Role,
    clock: &ServerClock,
) -> Result<Made> {
    let settings = &common.settings;
    let address = match node {
        Some(node) => node.clone(),
        None => address(common).await?,
    };
    let counters: Arc<Counters> = Arc::clone(&common.counters);
    let unreachable = |cause| refusal::from_connect(cause, &address);
    let mut stream = Stream::connect(&address, common.connector.as_ref(), counters)
        .await
        .map_err(unreachable)?;
    let limits = limits(settings);
    let greeting = Greeting::of(settings, role);
    let replies = stream.ask(&greeting.bytes, greeting.commands, limits).await.map_err(as_error)?;
    let reign = greeting.judge(&replies, clock)?;
    let usual = settings.read_timeout.min(settings.write_timeout);
    let wire = Arc::new(stream.into_wire(limits, usual).map_err(unreachable)?);
    Ok(Made { wire, address, reign })
}

/// Who we are, and which database is ours.
pub(super) fn opening(settings: &Settings) -> Vec<Cmd> {
    let mut commands = Vec::new();
    if let Some(password) = &settings.password {
        let mut command = redis::cmd("AUTH");
        command.arg(settings.username.as_deref()).arg(password);
        commands.push(command);
    }
    if settings.database != 0 {
        let mut command = redis::cmd("SELECT");
        command.arg(settings.database);
        commands.push(command);
    }
    commands
}

/// The error of a connection that is of no use any more.
pub(super) fn as_error(trouble: Trouble) -> Error {
    match trouble {
        Trouble::Late => error(ErrorKind::Timeout, "no answer in time"),
        Trouble::Closed => error(ErrorKind::Network, "connection was lost"),
        Trouble::Io(cause) => error(ErrorKind::Network, "connection failed").caused_by(cause),
        Trouble::Garbage(garbage) => error(ErrorKind::Network, garbage.to_string()),
        Trouble::Unasked => error(ErrorKind::Network, "server said what nobody asked for"),
    }
}

/// Who we are, whether the server serves us, what time it has, and our scripts: in one round trip.
///
/// Naming ourselves to the server is left out: it needs version 7.2.
struct Greeting {
    bytes: Vec<u8>,
    commands: usize,
    authenticates: bool,
    selects: bool,
    asks_for_reign: bool,
}

impl Greeting {
    fn of(settings: &Settings, role: Role) -> Self {
        let asks_for_reign = settings.place.may_change() && role == Role::Master;
        let mut greeting = Self {
            bytes: Vec::new(),
            commands: 0,
            authenticates: false,
            selects: false,
            asks_for_reign,
        };
        greeting.authenticates = settings.password.is_some();
        greeting.selects = settings.database != 0;
        opening(settings).iter().for_each(|command| greeting.add(command));
        greeting.add(&redis::cmd("PING"));
        greeting.add(&redis::cmd("TIME"));
        if asks_for_reign {
            Reign::questions().iter().for_each(|question| greeting.add(question));
        }
        match role {
            Role::Master => {
                let loads = scripts::load_all(asks_for_reign);
                loads.iter().for_each(|load| greeting.add(load));
            }
            // Else it sends those who ask to its master.
            Role::Replica if settings.place.is_cluster() => greeting.add(&redis::cmd("READONLY")),
            Role::Replica => {}
        }
        greeting
    }

    fn add(&mut self, command: &Cmd) {
        command.write_packed_command(&mut self.bytes);
        self.commands += 1;
    }

    fn judge(&self, replies: &[Value], clock: &ServerClock) -> Result<Option<Reign>> {
        let mut replies = replies.iter();
        if self.authenticates
            && let Some(Value::ServerError(_)) = replies.next()
        {
            // The server's own words may name the user.
            return Err(error(ErrorKind::Auth, "server refused our credentials"));
        }
        if self.selects
            && let Some(Value::ServerError(reply)) = replies.next()
        {
            return Err(refusal::from_reply(reply));
        }
        if let Some(Value::ServerError(reply)) = replies.next() {
            let error = refusal::from_reply(reply);
            // An ACL user without PING is known to the server all the same.
            if error.cause() != Some(&RedisRefusal::Permission) {
                return Err(error);
            }
        }
        clock.forget();
        if let Some(millis) = replies.next().and_then(server_millis) {
            clock.heard(millis);
        }
        // A script that could not be loaded is sent as text when it is needed.
        if !self.asks_for_reign {
            return Ok(None);
        }
        let (role, info) = replies.next().zip(replies.next()).ok_or_else(unexpected)?;
        Reign::of(role, info).map(Some)
    }
}

/// The milliseconds of a reply to TIME.
fn server_millis(reply: &Value) -> Option<i64> {
    let Value::Array(parts) = reply else { return None };
    let number = |part: &Value| match part {
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse::<i64>().ok(),
        _ => None,
    };
    let [seconds, micros] = &parts[..] else { return None };
    number(seconds)?.checked_mul(1000)?.checked_add(number(micros)? / 1000)
}
