//! What a host does when it is told to: this program as a child.
//!
//! | order | is to |
//! |---|---|
//! | `fill` | set all keys of this host once |
//! | `mix MILLIS SEED` | read and set keys as they are drawn |
//! | `change MILLIS` | set the watched keys of this host, one after the other |
//! | `watch MILLIS` | read those of the other host, and note what is new |
//!
//! Each writes a log and answers `done`. The clock is read before and after each call; drawing, making
//! values and noting come between them.

use std::{io::stdin, path::Path, time::Duration};

use fastrand::Rng;
use tierce_benches::{
    load::{Lottery, Skew},
    process::say_ready,
};

use super::{
    KEYS, READS, WATCHED,
    clients::{CacheAio, Client, Ours, TIERCE_BEHIND, runtime},
    log::{self, Done},
    value_bytes,
};
use crate::l3::rivals::OURS;

/// The first argument of a child; what follows is for this file alone.
pub(crate) const FLAG: &str = "--near-host";

/// Draws that are made before a run, and used again and again: more than two runs in the same order
/// could remember.
const DRAWS: usize = 1 << 17;

/// Longer than it takes to deal with all changes of a run.
const SETTLING: Duration = Duration::from_millis(20);

/// Between two changes of a host whose changes are watched: so few that nobody's queue grows, which
/// would be another question.
const PAUSE: Duration = Duration::from_micros(300);

/// Between two looks at all keys that are watched: a reader that never stops would take the processor
/// from those it waits for.
const BLINK: Duration = Duration::from_micros(50);

/// What a child does, with the arguments after [`FLAG`].
///
/// # Errors
/// If they are not what this program gives to its children, or the server cannot be reached.
pub(crate) fn main(arguments: &[String]) -> Result<(), String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [name, number, url, log] = arguments[..] else {
        return Err("not the arguments of a host".into());
    };
    let number = self::number(number)? as u32;
    let runtime = runtime(name).map_err(|error| error.to_string())?;
    let failed = |error: Box<dyn std::error::Error>| format!("{name}: {error}");
    runtime.block_on(async {
        if [OURS, TIERCE_BEHIND].contains(&name) {
            let client = Ours::open(name, url).map_err(failed)?;
            Host::new(client, name, number).obey(Path::new(log)).await
        } else {
            let client = CacheAio::open(url).await.map_err(failed)?;
            Host::new(client, name, number).obey(Path::new(log)).await
        }
    })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?}: no number"))
}

/// One of the two.
struct Host<C> {
    client: C,
    number: u32,
    names: Vec<String>,
    /// The last version that this host set of each key.
    versions: Vec<u32>,
    log: Vec<Done>,
}

impl<C: Client> Host<C> {
    fn new(client: C, name: &str, number: u32) -> Self {
        // Clients share a server, and no key.
        let names = (0..KEYS).map(|number| format!("{name}:user:{number:08}:profile")).collect();
        Self { client, number, names, versions: vec![0; KEYS as usize], log: vec![] }
    }

    async fn obey(mut self, log: &Path) -> Result<(), String> {
        say_ready();
        for order in stdin().lines() {
            let order = order.map_err(|error| error.to_string())?;
            let words: Vec<&str> = order.split(' ').collect();
            self.log.clear();
            // What came in while nothing was ordered is dealt with first, as it would be in a program
            // that does not wait on its thread for lines.
            tokio::time::sleep(SETTLING).await;
            match words[..] {
                ["fill"] => self.fill().await,
                ["mix", millis, seed] => self.mix(until(millis)?, number(seed)?).await,
                ["change", millis] => self.change(until(millis)?).await,
                ["watch", millis] => self.watch(until(millis)?).await,
                _ => return Err(format!("unknown order {order:?}")),
            }
            log::write(log, &self.log)?;
            answer();
        }
        Ok(())
    }

    async fn fill(&mut self) {
        for key in (self.number..KEYS).step_by(2) {
            self.set(key).await;
        }
    }

    async fn mix(&mut self, until: u64, seed: u64) {
        let mut random = Rng::with_seed(seed << 1 | u64::from(self.number));
        let lottery = Lottery::new(Skew::Zipf, KEYS as usize);
        let draws: Vec<(u32, bool)> =
            (0..DRAWS).map(|_| (lottery.draw(&mut random), random.u32(..100) < READS)).collect();
        for (key, reads) in draws.into_iter().cycle() {
            if reads {
                let read = self.get(key).await;
                self.log.push(read);
            } else {
                self.set(key & !1 | self.number).await;
            }
            if self.log.last().is_some_and(|done| done.end > until) {
                break;
            }
        }
    }

    async fn change(&mut self, until: u64) {
        for key in (self.number..WATCHED).step_by(2).cycle() {
            self.set(key).await;
            if self.log.last().is_some_and(|done| done.end > until) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }

    async fn watch(&mut self, until: u64) {
        let mut known = vec![None; WATCHED as usize];
        loop {
            for key in (1 - self.number..WATCHED).step_by(2) {
                let read = self.get(key).await;
                if known[key as usize].replace(read.version) != Some(read.version) {
                    self.log.push(read);
                }
                if read.end > until {
                    // The end of the watch.
                    self.log.push(read);
                    return;
                }
            }
            std::thread::sleep(BLINK);
            // Who only ever reads copies would leave the connection no time.
            tokio::task::yield_now().await;
        }
    }

    async fn get(&mut self, key: u32) -> Done {
        let name = &self.names[key as usize];
        let begin = log::now();
        let version = self.client.get(name).await;
        Done { key, is_set: false, version, begin, end: log::now() }
    }

    async fn set(&mut self, key: u32) {
        self.versions[key as usize] += 1;
        let version = self.versions[key as usize];
        let mut value = vec![key as u8; value_bytes(key)];
        value[..4].copy_from_slice(&version.to_le_bytes());
        let begin = log::now();
        self.client.set(&self.names[key as usize], value).await;
        self.log.push(Done { key, is_set: true, version, begin, end: log::now() });
    }
}

/// The time at which so many milliseconds will have passed.
fn until(millis: &str) -> Result<u64, String> {
    Ok(log::now() + Duration::from_millis(number(millis)?).as_nanos() as u64)
}

/// Says that what was ordered is done.
fn answer() {
    println!("done");
}
