//! How long a value is fresh, and what happens after that: the options of docs/freshness.md, one
//! after the other, under a clock that the example moves itself.
//!
//! ```text
//! cargo run -p tierce --example freshness
//! ```

// An example speaks to whoever runs it, and stops at what it does not expect.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use tierce::{
    Answer, Bytes, Cache, Clock, ErrorKind, Freshness, LoadContext, LoadOptions, Loaded, Loading,
    ManualClock, ReadOptions, RefreshAhead, Result,
};

const SECOND: Duration = Duration::from_secs(1);

/// Where values come from. It counts its answers, and can be down.
#[derive(Clone, Default)]
struct Origin {
    version: Arc<AtomicU32>,
    is_down: Arc<std::sync::atomic::AtomicBool>,
}

impl Origin {
    fn load(&self, context: &LoadContext<'_, Bytes>) -> io::Result<Loaded<Bytes>> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(io::Error::other("the origin is down"));
        }
        if context.key() == b"user:none" {
            return Ok(Loaded::absent());
        }
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Loaded::new(Bytes::from(format!("version {version}"))))
    }

    fn fail(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }
}

/// A cache with these rules, its loader, and the hand of its clock.
fn set_up(freshness: Freshness) -> Result<(Loading<Bytes>, Origin, ManualClock)> {
    let (clock, time) = Clock::manual();
    let cache = Cache::builder().clock(clock).freshness(freshness).build()?;
    let origin = Origin::default();
    let theirs = origin.clone();
    let load = move |context: &LoadContext<'_, Bytes>| theirs.load(context);
    Ok((cache.loading(load, LoadOptions::new())?, origin, time))
}

fn tell(what: &str, answer: &Answer<Bytes>) {
    let value = String::from_utf8_lossy(&answer.value);
    let state = if answer.is_stale { "stale" } else { "fresh" };
    println!("  {what:<44} {value}, {state}, {} s old", answer.age.unwrap_or_default().as_secs());
}

/// Waits for what a thread of the cache is about to do.
fn wait_for(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

fn main() -> Result<()> {
    println!("ttl 60 s, stale_if_error 1 h");
    let rules = Freshness::new().ttl(60 * SECOND).stale_if_error(3600 * SECOND);
    let (users, origin, time) = set_up(rules)?;
    tell("loaded", &users.get_entry("user:7")?);
    time.advance(59 * SECOND);
    tell("a hit", &users.get_entry("user:7")?);
    time.advance(SECOND);
    origin.fail(true);
    tell("its time is over, and the origin is down", &users.get_entry("user:7")?);
    assert_eq!(users.cache().get("user:7"), None, "get is for fresh values alone");
    let allowing = ReadOptions::new().allow_stale(true);
    assert!(users.cache().get_with("user:7", &allowing).is_some());
    origin.fail(false);
    tell("the origin is back", &users.get_entry("user:7")?);

    println!("failure_backoff 1 s to 30 s");
    let rules = Freshness::new().ttl(60 * SECOND).failure_backoff(SECOND, 30 * SECOND);
    let (users, origin, time) = set_up(rules)?;
    origin.fail(true);
    println!("  {}", users.get("user:7").unwrap_err());
    println!("  {}", users.get("user:7").unwrap_err());
    origin.fail(false);
    time.advance(2 * SECOND);
    tell("after the pause", &users.get_entry("user:7")?);

    println!("stale_while_revalidate 10 s");
    let rules = Freshness::new().ttl(60 * SECOND).stale_while_revalidate(10 * SECOND);
    let (users, _origin, time) = set_up(rules)?;
    users.get("user:7")?;
    time.advance(61 * SECOND);
    tell("at once, while it is loaded", &users.get_entry("user:7")?);
    wait_for(|| users.cache().get("user:7").is_some());
    tell("a moment later", &users.get_entry("user:7")?);

    println!("refresh_ahead after 80 % of the time to live");
    let rules = Freshness::new().ttl(60 * SECOND).refresh_ahead(RefreshAhead::After(0.8));
    let (users, _origin, time) = set_up(rules)?;
    users.get("user:7")?;
    time.advance(50 * SECOND);
    tell("a hit late in its time", &users.get_entry("user:7")?);
    wait_for(|| users.cache().get("user:7").as_deref() == Some(b"version 2"));
    tell("a moment later", &users.get_entry("user:7")?);

    println!("negative_ttl 5 s");
    let (users, _origin, _time) =
        set_up(Freshness::new().ttl(60 * SECOND).negative_ttl(5 * SECOND))?;
    assert_eq!(users.get("user:none").unwrap_err().kind(), ErrorKind::Absent);
    assert_eq!(users.get_optional("user:none")?.value, None);
    println!("  loaded {} time, remembered {}", users.cache().stats().loads, {
        users.cache().stats().negative_hits
    });

    println!("max_age 0 s, then expire");
    let (users, _origin, _time) =
        set_up(Freshness::new().ttl(60 * SECOND).stale_if_error(60 * SECOND))?;
    users.get("user:7")?;
    tell("asked for anew", &users.refresh("user:7")?);
    users.cache().expire("user:7")?;
    tell("expired, so loaded", &users.get_entry("user:7")?);
    Ok(())
}
