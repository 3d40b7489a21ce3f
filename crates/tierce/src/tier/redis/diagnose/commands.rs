//! Whether the user may do what tierce does: each command is sent once, in a form that does no harm.
//!
//! A server looks at the number of arguments, then at the rights, then at the values. So each
//! command has as many arguments as it needs, on a name of our own (that of a lease, of which nobody
//! is told), and only an error about rights, or about a command that there is not, counts.

use redis::{Cmd, Value};

use super::{Asked, said};
use crate::{
    diagnosis::{Diagnosis, Fitness},
    random,
    tier::redis::{
        names,
        refusal::{self, RedisRefusal},
    },
};

const COMMANDS: &str = "redis.commands";
const COMMAND: &str = "redis.command";
const NAMES: &str = "redis.names";
const ROLLOUT_NAMES: &str = "redis.rollout_names";

/// How long the name that is tried lasts, should it not be removed.
const LASTS_MILLIS: u64 = 10_000;
/// The group of keys that all names are of: in a cluster they lie at one master.
const STRIPE: usize = 0;
/// What is lost where a rollout cannot be agreed upon.
const LONE_ROLLOUTS: &str = "rollouts are those of each host";

/// What is lost without a command: `None` where nothing works.
type Loss = Option<&'static str>;

/// What is asked of a server beside what all are asked.
#[derive(Clone, Copy)]
pub(super) struct Asks {
    may_change: bool,
    replica_reads: bool,
    is_cluster: bool,
}

/// The commands that are sent, in an order in which each meets what it needs.
pub(super) fn all(name: &[u8], asks: Asks, database: i64) -> Vec<(&'static str, Cmd, Loss)> {
    let tags = Some("tags do not work in L3");
    let expire = Some("`expire` removes from L3 instead of making stale");
    let rollout = Some(LONE_ROLLOUTS);
    let touch = Some("another time to live is not told to L3");
    let mut commands = Vec::new();
    let mut add = |words: &'static str, arguments: &[&[u8]], loss: Loss| {
        let mut command = Cmd::new();
        words.split(' ').for_each(|word| _ = command.arg(word));
        arguments.iter().for_each(|argument| _ = command.arg(*argument));
        commands.push((words, command, loss));
    };
    let lasts = LASTS_MILLIS.to_string();
    let lasts = lasts.as_bytes();
    add("PING", &[], Some("nobody sees at once that the server is back"));
    add("TIME", &[], None);
    add("SET", &[name, b"1", b"PX", lasts], None);
    add("GET", &[name], None);
    add("MGET", &[name, name], None);
    add("GETRANGE", &[name, b"0", b"1"], None);
    add("STRLEN", &[name], None);
    add("PTTL", &[name], None);
    add("INCR", &[name], None);
    add("EXISTS", &[name], Some("redis.load_lease does not work"));
    add("SETRANGE", &[name, b"0", b"1"], expire);
    add("PERSIST", &[name], touch);
    add("PEXPIRE", &[name, lasts], touch);
    add("DEL", &[name], None);
    add("HSET", &[name, b"a", b"1"], tags);
    add("HMGET", &[name, b"a"], tags);
    add("HGETALL", &[name], tags);
    add("HGET", &[name, b"a"], rollout);
    add("UNLINK", &[name], None);
    add("RPUSH", &[name, b"1"], rollout);
    add("LRANGE", &[name, b"0", b"-1"], rollout);
    add("LTRIM", &[name, b"0", b"-1"], rollout);
    // Once more, of what is there now.
    add("UNLINK", &[name], None);
    add("SCRIPT LOAD", &[b"return 1"], Some("scripts are sent whole each time"));
    add("EVAL", &[b"return 1", b"0"], None);
    // Of no script: the server looks for it after it looked at the rights.
    add("EVALSHA", &[b"0000000000000000000000000000000000000000", b"0"], None);
    let replicas = Some("replicas are not read");
    if asks.may_change {
        add("ROLE", &[], None);
        add("INFO", &[b"server"], None);
    } else if asks.replica_reads {
        add("ROLE", &[], replicas);
    }
    if asks.replica_reads && asks.is_cluster {
        add("READONLY", &[], replicas);
        add("READWRITE", &[], replicas);
    }
    if database != 0 {
        add("SELECT", &[database.to_string().as_bytes()], None);
    }
    commands
}

pub(super) async fn examine(asked: &mut Asked, out: &mut Vec<Diagnosis>) {
    let settings = asked.settings();
    let prefix = settings.prefix.clone();
    let word = format!("diagnosis {:016x}", random::random());
    let name = names::lease(&prefix, STRIPE, word.as_bytes());
    let is_cluster = settings.place.is_cluster();
    let (may_change, replica_reads) = (settings.place.may_change(), settings.replica_reads);
    let asks = Asks { may_change, replica_reads, is_cluster };
    let commands = all(&name, asks, settings.database);
    let sent: Vec<Cmd> = commands.iter().map(|(_, command, _)| command.clone()).collect();
    let replies = match asked.all(&sent).await {
        Ok(replies) => replies,
        Err(error) => {
            let remedy = "see that the server is not overloaded";
            out.push(Diagnosis::unfit(COMMANDS, said(&error), remedy));
            return;
        }
    };
    let mut refused = 0;
    for ((words, _, loss), reply) in commands.iter().zip(&replies) {
        let Value::ServerError(reply) = reply else { continue };
        let (code, text) = (reply.code(), reply.details().unwrap_or_default());
        let error = refusal::from_reply(reply);
        let is_of_names = text.contains("key");
        let is_refused = match error.cause() {
            // On a name that it may not use: told below, once.
            Some(RedisRefusal::Permission) => !is_of_names,
            Some(RedisRefusal::Other) => text.starts_with("unknown command"),
            _ => false,
        };
        if is_refused {
            refused += 1;
            let right = words.to_ascii_lowercase().replace(' ', "|");
            let found = format!("the server said {code} {text}");
            let check = |it: Diagnosis| it.of(words);
            let remedy = format!("ACL SETUSER ... +{right}");
            out.push(check(match loss {
                None => Diagnosis::unfit(COMMAND, format!("{found}: L3 does not work"), remedy),
                Some(loss) => Diagnosis::doubtful(COMMAND, format!("{found}: {loss}"), remedy),
            }));
        } else if matches!(
            error.cause(),
            Some(
                RedisRefusal::OutOfMemory
                    | RedisRefusal::ReadOnly
                    | RedisRefusal::CannotPersist
                    | RedisRefusal::Cluster
                    | RedisRefusal::Down
            )
        ) {
            refused += 1;
            let remedy =
                "have the server take writes (maxmemory, replica-of, its disk, its cluster)";
            out.push(Diagnosis::unfit(COMMAND, said(&error), remedy).of(words));
        }
    }
    if refused == 0 {
        let found = format!("all {} that tierce sends are allowed", commands.len());
        out.push(Diagnosis::fit(COMMANDS, found));
    }
    let names = names_of(asked, &prefix, is_cluster).await;
    let can_tell = names.verdict != Fitness::Doubtful;
    out.push(names);
    if can_tell {
        out.extend(rollout_names(asked, &prefix).await);
    }
}

/// A script that names these and does nothing: enough for the server to judge them.
fn naming(names: &[Vec<u8>]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg("return 1").arg(names.len());
    names.iter().for_each(|name| _ = command.arg(&name[..]));
    command
}

/// Whether the user may use the names by which hosts agree on a rollout. They lie in a slot of their
/// own: a node of a cluster that has others says so after it has judged the rights.
async fn rollout_names(asked: &mut Asked, prefix: &str) -> Option<Diagnosis> {
    let all = names::rollout(prefix, super::super::rollout::STRIPE);
    match asked.one(naming(&all)).await {
        Err(error) if error.cause() == Some(&RedisRefusal::Permission) => {
            let found = format!("{}: {LONE_ROLLOUTS}", said(&error));
            let remedy = format!("ACL SETUSER ... ~{prefix}:o:*");
            Some(Diagnosis::doubtful(ROLLOUT_NAMES, found, remedy))
        }
        Err(error) if error.cause() != Some(&RedisRefusal::Cluster) => None,
        _ => {
            let found = format!("{prefix}:o:* may be read and written");
            Some(Diagnosis::fit(ROLLOUT_NAMES, found))
        }
    }
}

/// Whether the user may use the names of a cache with this prefix, for reading and writing: a script
/// that names one of each and does nothing.
async fn names_of(asked: &mut Asked, prefix: &str, is_cluster: bool) -> Diagnosis {
    let [reign, stamp, epoch, notice] = names::of_reign(prefix, STRIPE);
    let (lease, data) = (names::lease(prefix, STRIPE, b""), names::data(prefix, STRIPE, b""));
    let edition = names::edition(prefix);
    let all = [reign, stamp, epoch, notice, lease, data, names::tags(prefix), edition];
    match asked.one(naming(&all)).await {
        Ok(_) => Diagnosis::fit(NAMES, format!("{prefix}:* may be read and written")),
        // Without EVAL nobody can tell; that it lacks has been told.
        Err(error) if !error.to_string().contains("key") => {
            Diagnosis::doubtful(NAMES, said(&error), "allow +eval to have the names examined")
        }
        Err(error) => Diagnosis::unfit(
            NAMES,
            format!("{}: L3 does not work with the prefix {prefix:?}", said(&error)),
            match is_cluster {
                true => format!("ACL SETUSER ... ~{prefix}:* on all masters"),
                false => format!("ACL SETUSER ... ~{prefix}:*"),
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// The words in quotes after each `start` in a text.
    fn quoted<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(start).skip(1).filter_map(|rest| rest.split(['"', '\'']).next())
    }

    fn sources(folder: &Path, out: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" && name != "diagnose" {
                sources(&path, out);
            } else if name.ends_with(".rs") && !name.contains("tests") && name != "diagnose.rs" {
                let text = fs::read_to_string(&path).unwrap();
                out.push(text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_command_that_the_tier_sends_is_tried() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tier/redis");
        let mut texts = Vec::new();
        sources(&folder, &mut texts);
        let mut used = BTreeSet::new();
        for text in &texts {
            for start in ["cmd(\"", "redis.call('", "redis.pcall('"] {
                used.extend(quoted(text, start).map(str::to_owned));
            }
        }
        assert!(used.len() > 20, "{used:?}");
        // Of the way to the server: tried as it is taken, or where a slot moves.
        for elsewhere in ["AUTH", "CLIENT", "CLUSTER", "SENTINEL", "ASKING", "ECHO"] {
            used.remove(elsewhere);
        }
        // Of the stream: tried where it is by pub/sub.
        for of_stream in ["SUBSCRIBE", "PUBSUB", "PUBLISH"] {
            used.remove(of_stream);
        }
        let asks = Asks { may_change: true, replica_reads: true, is_cluster: true };
        let tried: BTreeSet<String> = all(b"", asks, 1)
            .iter()
            .filter_map(|(words, ..)| words.split(' ').next().map(str::to_owned))
            .collect();
        let missing: Vec<_> = used.difference(&tried).collect();
        assert!(missing.is_empty(), "not tried: {missing:?}");
    }
}
