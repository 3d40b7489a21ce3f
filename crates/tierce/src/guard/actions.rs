//! What an operator does to a cache when things go wrong: the actions of contingency plans.
//!
//! | plan of the source | action |
//! |---|---|
//! | `immediate_cache_refresh` | [`Contingency::Refresh`]: all that L1 has is made stale, at a rate |
//! | `connection_pool_reset` | [`Contingency::Reset`] |
//! | `traffic_reduction_to_70%` | [`Contingency::Shed`] |
//! | `immediate_traffic_blocking` | [`Contingency::Block`] |
//! | undone by | [`Contingency::Lift`], all of it at once |
//!
//! Each is written to the journal of actions, if there is one, with who asked for it: what takes load
//! away is in force before it is written, so that a full disk keeps nobody from acting.

use std::{
    fmt::{self, Write as _},
    fs::OpenOptions,
    io::Write as _,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use super::keeper::Guard;
use crate::{
    cache::{Cache, GateState, Shedding},
    error::{Error, ErrorKind, Result},
    sync::Mutex,
    units::parse_percent,
};

/// Keys a second, where nothing else is said: what most origins bear beside their load.
const REFRESHES: u32 = 100;

/// What an operator may do to a cache.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Contingency {
    /// Makes all that L1 of this process has stale, in all tiers, so many keys a second; another one
    /// takes the place of one that is under way.
    Refresh {
        /// Keys a second.
        per_second: u32,
    },
    /// Drops the connections to L3 and has them made anew.
    Reset,
    /// Lets this share of calls pass, 0 to 1.
    Shed {
        /// The share that passes.
        share: f64,
        /// What the others get.
        shedding: Shedding,
    },
    /// Serves nothing and takes no new value.
    Block,
    /// Ends all of these.
    Lift,
}

impl Contingency {
    /// The action of this name with what was said of it: `refresh` (`per_second`), `reset`, `shed`
    /// (`to`, such as `70%`, and `answer`: `stale` or `error`), `block`, `lift`. `None` where there is
    /// no such action.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for what breaks its rule.
    pub fn parse<'a>(
        name: &str,
        parameter: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Self>> {
        let refuse = |what: &str, text: &str, rule: &str| {
            Error::new(ErrorKind::Config, format!("{what} = {text:?}: {rule}"))
        };
        Ok(Some(match name {
            "refresh" => {
                let text = parameter("per_second");
                let parsed = text.map_or(Some(REFRESHES), |text| u32::from_str(text).ok());
                let rule = || refuse("per_second", text.unwrap_or(""), "must be a number above 0");
                Self::Refresh { per_second: parsed.filter(|rate| *rate > 0).ok_or_else(rule)? }
            }
            "reset" => Self::Reset,
            "shed" => {
                let text = parameter("to").unwrap_or("");
                // As it is, and as it is written in a query.
                let plain = text.strip_suffix("25").filter(|text| text.ends_with('%'));
                let share = parse_percent(plain.unwrap_or(text))
                    .map_err(|rule| refuse("to", text, rule))?;
                let shedding = match parameter("answer") {
                    None | Some("stale") => Shedding::Stale,
                    Some("error") => Shedding::Error,
                    Some(other) => return Err(refuse("answer", other, "must be stale or error")),
                };
                Self::Shed { share, shedding }
            }
            "block" => Self::Block,
            "lift" => Self::Lift,
            _ => return Ok(None),
        }))
    }
}

impl fmt::Display for Contingency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refresh { per_second } => write!(out, "refresh, {per_second} keys a second"),
            Self::Reset => out.write_str("reset connections"),
            Self::Shed { share, shedding } => {
                write!(out, "shed to {} %, answer: {}", share * 100.0, shedding.as_str())
            }
            Self::Block => out.write_str("block"),
            Self::Lift => out.write_str("lift"),
        }
    }
}

/// What is in force of it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ContingencyState {
    /// Whom the cache turns away.
    pub gate: GateState,
    /// Keys that the refresh under way has made stale; `None` where there is none.
    pub refreshed: Option<u64>,
}

/// A refresh under way.
struct Refreshing {
    is_over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

/// What a guard keeps of this.
pub(super) struct Actions {
    journal: Option<PathBuf>,
    refreshing: Mutex<Option<Refreshing>>,
}

impl Actions {
    pub(super) fn with_journal(journal: Option<PathBuf>) -> Self {
        Self { journal, refreshing: Mutex::new(None) }
    }

    fn end_refresh(&self) {
        if let Some(before) = self.refreshing.lock().take() {
            before.is_over.store(true, Ordering::Release);
        }
    }

    fn refresh<V: Clone + Send + Sync + 'static>(
        &self,
        cache: &Cache<V>,
        per_second: u32,
    ) -> Result<()> {
        let (is_over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let next = Refreshing { is_over: Arc::clone(&is_over), done: Arc::clone(&done) };
        let cache = cache.clone();
        self.end_refresh();
        thread::Builder::new().name("tierce-refresh".into()).spawn(move || {
            let goes_on = || {
                let goes_on = !is_over.load(Ordering::Acquire);
                if goes_on {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                goes_on
            };
            // It ends early where the cache is closed.
            let _ = cache.expire_all(per_second, goes_on);
            is_over.store(true, Ordering::Release);
        })?;
        *self.refreshing.lock() = Some(next);
        Ok(())
    }

    fn state<V: Clone + Send + Sync + 'static>(&self, cache: &Cache<V>) -> ContingencyState {
        let refreshing = self.refreshing.lock();
        let under_way = refreshing.as_ref().filter(|it| !it.is_over.load(Ordering::Acquire));
        ContingencyState {
            gate: cache.gate(),
            refreshed: under_way.map(|it| it.done.load(Ordering::Relaxed)),
        }
    }

    fn write(&self, by: &str, action: Contingency, outcome: &Result<()>) -> Result<()> {
        let Some(path) = &self.journal else { return Ok(()) };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_millis());
        let outcome = match outcome {
            Ok(()) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        let [by, action, outcome] = [by, &action.to_string(), &outcome].map(json_text);
        let line =
            format!("{{\"at_ms\":{at},\"by\":{by},\"action\":{action},\"outcome\":{outcome}}}\n");
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(line.as_bytes())?;
        Ok(file.sync_data()?)
    }
}

/// A text as JSON has it.
fn json_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

impl Drop for Actions {
    fn drop(&mut self) {
        self.end_refresh();
    }
}

impl<V: Clone + Send + Sync + 'static> Guard<V> {
    /// Does what an operator of this name asks for. It is in force when this returns; a refresh has
    /// begun.
    ///
    /// # Errors
    /// Those of the call of [`Cache`] behind it; [`ErrorKind::Unsupported`] for a reset where there is
    /// no connection; or what the system says of the journal, where the action is in force all the
    /// same.
    pub fn act(&self, by: &str, action: Contingency) -> Result<()> {
        let (cache, actions) = (self.cache(), self.kept_actions());
        let outcome = match action {
            Contingency::Refresh { per_second } => actions.refresh(cache, per_second),
            Contingency::Reset if cache.reset_connections() => Ok(()),
            Contingency::Reset => {
                Err(Error::new(ErrorKind::Unsupported, "reset: there is no connection to L3"))
            }
            Contingency::Shed { share, shedding } => cache.shed_to(share, shedding),
            Contingency::Block => cache.block(),
            Contingency::Lift => {
                actions.end_refresh();
                cache.lift()
            }
        };
        let written = actions.write(by, action, &outcome);
        outcome.and(written)
    }

    /// What is in force of what operators did.
    pub fn contingency(&self) -> ContingencyState {
        self.kept_actions().state(self.cache())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, Freshness};

    #[test]
    fn actions_are_read_by_their_names_and_refused_by_their_rules() {
        let parse = |name: &str, pairs: &[(&str, &'static str)]| {
            let of = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, it)| *it);
            Contingency::parse(name, of)
        };
        let shed = parse("shed", &[("to", "70%")]).unwrap().unwrap();
        assert_eq!(shed, Contingency::Shed { share: 0.7, shedding: Shedding::Stale });
        assert_eq!(shed.to_string(), "shed to 70 %, answer: stale");
        assert_eq!(parse("shed", &[("to", "70%25")]).unwrap(), Some(shed));
        assert_eq!(parse("melt", &[]).unwrap(), None);
        for (name, pairs, part) in [
            ("shed", vec![], "to = \"\": must be a percentage"),
            ("shed", vec![("to", "70%"), ("answer", "no")], "answer = \"no\": must be stale or"),
            ("refresh", vec![("per_second", "0")], "per_second = \"0\": must be a number"),
        ] {
            let error = parse(name, &pairs).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_was_done_is_in_the_journal_with_who_asked_and_is_undone_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("actions.jsonl");
        let freshness = Freshness::new().ttl(std::time::Duration::from_secs(60));
        let cache = Cache::builder().freshness(freshness).build().unwrap();
        (0..1000_u32).for_each(|key| cache.set(key.to_le_bytes(), Bytes::from("1")).unwrap());
        let guard = Guard::of(&cache).actions_journal(&path).build().unwrap();
        guard.act("Zoë's \"x\"\n", Contingency::Block).unwrap();
        guard.act("ada", Contingency::Refresh { per_second: 50 }).unwrap();
        let state = guard.contingency();
        assert!(state.gate.is_blocked && state.refreshed.is_some(), "{state:?}");
        guard.act("bob", Contingency::Lift).unwrap();
        let state = guard.contingency();
        assert_eq!((state.gate.is_blocked, state.refreshed), (false, None));
        assert!(cache.stats().tiers[0].entries > 900, "it ended long before its end");
        assert_eq!(
            guard.act("bob", Contingency::Reset).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        #[cfg(feature = "serde")]
        {
            let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
            assert_eq!((&line["by"], &line["action"]), (&"Zoë's \"x\"\n".into(), &"block".into()));
        }
        assert!(lines[2].contains("\"by\":\"bob\",\"action\":\"lift\",\"outcome\":\"done\""));
        assert!(lines[3].contains("there is no connection"));
        // It is in force, and the error tells that nobody can read of it.
        let lost = Guard::of(&cache).actions_journal(folder.path()).build().unwrap();
        assert!(lost.act("ada", Contingency::Block).is_err());
        assert!(cache.gate().is_blocked);
    }

    #[test]
    fn a_refresh_makes_stale_what_l1_has() {
        let freshness = Freshness::new().ttl(std::time::Duration::from_secs(60));
        let cache = Cache::builder().freshness(freshness).build().unwrap();
        (0..100_u32).for_each(|key| cache.set(key.to_le_bytes(), Bytes::from("1")).unwrap());
        let guard = Guard::of(&cache).build().unwrap();
        guard.act("ada", Contingency::Refresh { per_second: 100_000 }).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while guard.contingency().refreshed.is_some() {
            assert!(std::time::Instant::now() < until);
            thread::yield_now();
        }
        assert!((0..100_u32).all(|key| cache.get(key.to_le_bytes()).is_none()));
    }
}
