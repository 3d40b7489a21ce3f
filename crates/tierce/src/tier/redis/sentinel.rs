//! Which server the sentinels say is the master.
//!
//! All are asked at once, each on a connection of its own that is dropped after its answer. The
//! server that more than half of them name is the one; where there is none by the end of the time,
//! it is the one that most of those name who answered. So one that is cut off, or lies, is outvoted
//! as long as the others can be reached, and one alone is enough where they cannot. Whoever is
//! named must say itself that it is a master (`reign.rs`).

use std::{sync::Arc, time::Duration};

use redis::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    connect::{as_error, limits},
    link::{Common, unexpected},
    options::{Address, Sentinels},
    refusal::{self, error},
    stream::Stream,
};
use crate::error::{Error, ErrorKind, Result};

/// The part of the time for a connection that sentinels may take.
pub(super) fn patience(connect_timeout: Duration) -> Duration {
    connect_timeout / 2
}

/// The address of the master.
///
/// # Errors
/// That of a sentinel, where none has an answer.
pub(super) async fn master(common: &Arc<Common>, sentinels: &Sentinels) -> Result<Address> {
    let until = Instant::now() + patience(common.settings.connect_timeout);
    let mut asked = JoinSet::new();
    for address in &sentinels.addresses {
        let (common, sentinels, address) = (Arc::clone(common), sentinels.clone(), address.clone());
        asked.spawn(async move { ask(&common, &sentinels, &address).await });
    }
    let mut votes = Votes::default();
    let mut failure = None;
    while let Ok(Some(answer)) = timeout_at(until, asked.join_next()).await {
        match answer.map_err(|_| unexpected()).flatten() {
            Ok(named) => {
                if votes.add(named) > sentinels.addresses.len() / 2 {
                    break;
                }
            }
            Err(error) => failure = Some(error),
        }
    }
    votes.winner().ok_or_else(|| {
        let none = || error(ErrorKind::Network, "no sentinel answered in time");
        failure.unwrap_or_else(none)
    })
}

/// The replicas of the master that the first of them to answer knows, but for those that it takes for
/// dead.
///
/// # Errors
/// That of a sentinel, where none has an answer.
pub(super) async fn replicas(common: &Arc<Common>, sentinels: &Sentinels) -> Result<Vec<Address>> {
    let until = Instant::now() + patience(common.settings.connect_timeout);
    let mut asked = JoinSet::new();
    for address in &sentinels.addresses {
        let (common, sentinels, address) = (Arc::clone(common), sentinels.clone(), address.clone());
        asked.spawn(async move {
            listed(say(&common, &sentinels, &address, "replicas").await?, &sentinels.master)
        });
    }
    let mut failure = None;
    while let Ok(Some(answer)) = timeout_at(until, asked.join_next()).await {
        match answer.map_err(|_| unexpected()).flatten() {
            Ok(listed) => return Ok(listed),
            Err(error) => failure = Some(error),
        }
    }
    let none = || error(ErrorKind::Network, "no sentinel answered in time");
    Err(failure.unwrap_or_else(none))
}

#[derive(Default)]
struct Votes(Vec<(Address, usize)>);

impl Votes {
    /// How many this one has by now.
    fn add(&mut self, named: Address) -> usize {
        if let Some((_, votes)) = self.0.iter_mut().find(|(address, _)| *address == named) {
            *votes += 1;
            return *votes;
        }
        self.0.push((named, 1));
        1
    }

    fn winner(self) -> Option<Address> {
        self.0.into_iter().max_by_key(|(_, votes)| *votes).map(|(address, _)| address)
    }
}

async fn ask(common: &Common, sentinels: &Sentinels, address: &Address) -> Result<Address> {
    let answer = say(common, sentinels, address, "get-master-addr-by-name").await?;
    named(answer, &sentinels.master)
}

/// What a sentinel says of the master.
async fn say(
    common: &Common,
    sentinels: &Sentinels,
    address: &Address,
    question: &str,
) -> Result<Value> {
    let counters = Arc::clone(&common.counters);
    let mut stream = Stream::connect(address, common.connector.as_ref(), counters)
        .await
        .map_err(|cause| refusal::from_connect(cause, address))?;
    let (mut bytes, mut commands) = (Vec::new(), 1);
    if let Some(password) = &sentinels.password {
        commands += 1;
        redis::cmd("AUTH")
            .arg(sentinels.username.as_deref())
            .arg(password)
            .write_packed_command(&mut bytes);
    }
    redis::cmd("SENTINEL").arg(question).arg(&sentinels.master).write_packed_command(&mut bytes);
    let asked = stream.ask(&bytes, commands, limits(&common.settings));
    let mut replies = asked.await.map_err(as_error)?;
    let answer = replies.pop().ok_or_else(unexpected)?;
    if let Some(Value::ServerError(_)) = replies.first() {
        return Err(error(ErrorKind::Auth, "a sentinel refused our credentials"));
    }
    Ok(answer)
}

/// Reads what one says of replicas.
fn listed(answer: Value, master: &str) -> Result<Vec<Address>> {
    let all = match answer {
        Value::Array(all) => all,
        Value::Nil => return Err(unknown(master)),
        Value::ServerError(reply) => return Err(refusal::from_reply(&reply)),
        _ => return Err(unexpected()),
    };
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    };
    let mut addresses = Vec::new();
    for replica in &all {
        let Value::Array(fields) = replica else { return Err(unexpected()) };
        let field = |name: &str| {
            let mut pairs = fields.chunks_exact(2);
            pairs.find(|pair| text(&pair[0]).as_deref() == Some(name)).and_then(|it| text(&it[1]))
        };
        let flags = field("flags").unwrap_or_default();
        let is_dead = |flag| ["s_down", "o_down", "disconnected"].contains(&flag);
        let port = field("port").and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        let host = field("ip").filter(|host| !host.is_empty());
        let (host, port) = host.zip(port).ok_or_else(unexpected)?;
        if !flags.split(',').any(is_dead) {
            addresses.push(Address::Tcp(host, port));
        }
    }
    Ok(addresses)
}

/// Reads the answer of one.
fn named(answer: Value, master: &str) -> Result<Address> {
    let parts = match answer {
        Value::Array(parts) => parts,
        Value::Nil => return Err(unknown(master)),
        Value::ServerError(reply) => return Err(refusal::from_reply(&reply)),
        _ => return Err(unexpected()),
    };
    let [Value::BulkString(host), Value::BulkString(port)] = &parts[..] else {
        return Err(unexpected());
    };
    let host = std::str::from_utf8(host).ok().filter(|host| !host.is_empty());
    let port = std::str::from_utf8(port).ok().and_then(|port| port.parse().ok());
    let (host, port) = host.zip(port).filter(|(_, port)| *port != 0).ok_or_else(unexpected)?;
    Ok(Address::Tcp(host.to_owned(), port))
}

fn unknown(master: &str) -> Error {
    error(ErrorKind::Network, format!("a sentinel knows no master of the name {master}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Address {
        Address::Tcp("10.0.0.1".to_owned(), port)
    }

    #[test]
    fn the_server_that_most_name_is_the_master() {
        let mut votes = Votes::default();
        assert_eq!(votes.add(at(1)), 1);
        assert_eq!((votes.add(at(2)), votes.add(at(2))), (1, 2));
        assert_eq!(votes.winner(), Some(at(2)));
        assert_eq!(Votes::default().winner(), None);
    }

    #[test]
    fn replicas_that_are_taken_for_dead_are_left_out() {
        let string = |text: &str| Value::BulkString(text.into());
        let replica = |port: &str, flags: &str| {
            let fields = ["name", "x", "ip", "10.0.0.1", "port", port, "flags", flags];
            Value::Array(fields.into_iter().map(string).collect())
        };
        let all = ["slave", "s_down,slave,disconnected", "slave,o_down", "slave"];
        let all = all.iter().zip(["1", "2", "3", "4"]).map(|(flags, port)| replica(port, flags));
        assert_eq!(listed(Value::Array(all.collect()), "m").unwrap(), [at(1), at(4)]);
        assert_eq!(listed(Value::Array(vec![]), "m").unwrap(), []);
        assert!(listed(Value::Array(vec![replica("0", "slave")]), "m").is_err());
        assert!(listed(Value::Nil, "shop").unwrap_err().to_string().contains("shop"));
    }

    #[test]
    fn an_answer_is_an_address_or_an_error() {
        let string = |text: &str| Value::BulkString(text.into());
        let pair = |host, port| Value::Array(vec![string(host), string(port)]);
        assert_eq!(named(pair("10.0.0.1", "7"), "m").unwrap(), at(7));
        for (host, port) in [("", "7"), ("h", "0"), ("h", "65536"), ("h", "-1"), ("h", "")] {
            assert!(named(pair(host, port), "m").is_err(), "{host}:{port}");
        }
        assert!(named(Value::Nil, "shop").unwrap_err().to_string().contains("shop"));
        assert!(named(Value::Array(vec![string("h")]), "m").is_err());
    }
}
