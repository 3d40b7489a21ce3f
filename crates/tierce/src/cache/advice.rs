//! What is allowed and yet unsafe, or of no use: told to whoever asks, refused to nobody.

use std::{fmt, time::Duration};

use super::Builder;
use crate::{event, tiering::TierKind};

/// Advice that a host is told of though it did not ask: what is served may be stale, and nothing
/// says for how long. The rest is a matter of taste, and would fill its log.
const UNBIDDEN: [&str; 2] = ["coherence_off", "serve_on_loss_without_ttl"];

/// A combination of options that is known to be unsafe or useless.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// The same for the same combination in all versions: for lists of what is to be ignored.
    pub code: &'static str,
    /// What is wrong with it and what to do, in a sentence.
    pub message: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code, self.message)
    }
}

impl Builder {
    /// What in these options is allowed and yet unsafe, or of no use; nothing where all is well.
    ///
    /// | code | says |
    /// |---|---|
    /// | `no_ttl` | what is shared lives until it is evicted |
    /// | `coherence_off` | copies above L3 that are not told of the changes of other hosts |
    /// | `serve_on_loss_without_ttl` | copies that may be stale without a bound |
    /// | `no_stale_if_error` | L3 is there, and yet an origin that is down shows |
    /// | `no_failure_backoff` | each read of a stale value asks the origin that is down |
    /// | `backoff_above_stale_if_error` | the origin is left alone for longer than stale values last |
    /// | `stale_if_error_below_revalidate` | a value that serves during a load but not when it fails |
    /// | `soft_timeout_without_stale` | there is nothing to leave with |
    /// | `hard_timeout_above_load_wait` | callers leave before the load is told to stop |
    /// | `hard_timeout_above_lease` | a second process begins a load that is still allowed to run |
    /// | `refresh_ahead_without_ttl` | what has no end has no time before it |
    /// | `jitter_without_ttl` | the same |
    /// | `background_without_threads` | nobody is there to refresh ahead |
    /// | `negative_ttl_above_ttl` | absence is remembered for longer than values |
    ///
    /// ```
    /// use std::time::Duration;
    /// use tierce::{Cache, Freshness};
    ///
    /// let builder = Cache::builder()
    ///     .freshness(Freshness::new().soft_timeout(Duration::from_millis(100)));
    /// assert_eq!(builder.advice()[0].code, "soft_timeout_without_stale");
    /// ```
    pub fn advice(&self) -> Vec<Advice> {
        let rules = self.rules();
        let stale = rules.stale_window();
        let (sharing, remote) =
            (self.tiering.has(TierKind::Shared), self.tiering.has(TierKind::Redis));
        let coherence = self.coherence();
        let backoff = rules.failure_backoff.map(|backoff| backoff.first());
        let lease = self.load_lease().filter(|lease| sharing && !lease.is_zero());
        let mut advice = Vec::new();
        let mut add = |is_so: bool, code: &'static str, message: &str| {
            if is_so {
                advice.push(Advice { code, message: message.to_owned() });
            }
        };
        add(
            rules.ttl.is_none() && (sharing || remote),
            "no_ttl",
            "values in shared tiers live until they are evicted: set a ttl, or each call its own",
        );
        let has_copies = self.tiering.has(TierKind::Memory) || sharing;
        add(
            remote && has_copies && coherence.is_some_and(|coherence| !coherence.enabled),
            "coherence_off",
            "L1 and L2 do not follow what other hosts change in L3: stale until their ttl ends",
        );
        add(
            remote
                && has_copies
                && rules.ttl.is_none()
                && coherence.is_some_and(|it| it.enabled && it.on_loss == crate::OnLoss::Serve),
            "serve_on_loss_without_ttl",
            "when the stream of changes is lost, copies are served on, and nothing ends them",
        );
        add(
            remote && rules.stale_if_error.is_zero(),
            "no_stale_if_error",
            "an origin that is down shows as soon as a ttl ends: set stale_if_error",
        );
        add(
            !rules.stale_if_error.is_zero() && backoff.is_none(),
            "no_failure_backoff",
            "each read of a stale value asks the origin that is down again: set failure_backoff",
        );
        add(
            !rules.stale_if_error.is_zero()
                && backoff.is_some_and(|first| first >= rules.stale_if_error),
            "backoff_above_stale_if_error",
            "after a failure nobody loads until the stale value is gone: shorten failure_backoff",
        );
        add(
            !stale.is_zero() && rules.stale_if_error < rules.stale_while_revalidate,
            "stale_if_error_below_revalidate",
            "a value that is served while it is loaded is an error when that load fails: make \
             stale_if_error at least as long",
        );
        add(
            rules.soft_timeout.is_some() && stale.is_zero(),
            "soft_timeout_without_stale",
            "there is no stale value to leave with: set stale_if_error or stale_while_revalidate",
        );
        add(
            rules.hard_timeout.is_some_and(|hard| hard > self.load_wait),
            "hard_timeout_above_load_wait",
            "who waits for a load leaves before the load is told to stop: raise load_wait",
        );
        add(
            rules.hard_timeout.zip(lease).is_some_and(|(hard, lease)| hard > lease),
            "hard_timeout_above_lease",
            "a second process begins a load that is still allowed to run: raise L2's load_lease",
        );
        add(
            rules.refresh_ahead.is_some() && rules.ttl.is_none(),
            "refresh_ahead_without_ttl",
            "what has no time to live is never loaded ahead of its end: set a ttl",
        );
        add(
            rules.ttl_jitter > 0.0 && rules.ttl.is_none(),
            "jitter_without_ttl",
            "there is no time to live to shorten: set a ttl",
        );
        add(
            rules.refresh_ahead.is_some() && self.load_threads == 0,
            "background_without_threads",
            "nobody is there to load ahead: allow load_threads",
        );
        add(
            rules.ttl.is_some_and(|ttl: Duration| rules.negative_ttl > ttl),
            "negative_ttl_above_ttl",
            "that there is no value is remembered for longer than values are: new ones show late",
        );
        advice
    }

    /// Tells the host's `tracing` subscriber what it has to know though it did not ask.
    pub(super) fn tell_unbidden(&self) {
        let advice = self.advice();
        for Advice { code, message } in advice.iter().filter(|it| UNBIDDEN.contains(&it.code)) {
            event::tell_advice(code, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::{Cache, Freshness},
        load::RefreshAhead,
        tiering::Tiering,
    };

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn ttl() -> Freshness {
        Freshness::new().ttl(secs(60))
    }

    fn of(freshness: Freshness) -> Builder {
        Cache::builder().freshness(freshness)
    }

    #[test]
    fn what_is_well_is_not_spoken_of() {
        assert_eq!(Cache::builder().advice(), []);
        let all = ttl()
            .ttl_jitter(0.05)
            .stale_while_revalidate(secs(10))
            .stale_if_error(secs(3600))
            .negative_ttl(secs(5))
            .refresh_ahead(RefreshAhead::After(0.8))
            .soft_timeout(Duration::from_millis(100))
            .hard_timeout(secs(5))
            .failure_backoff(secs(1), secs(30));
        for tiering in Tiering::ALL {
            let builder = of(all.clone()).tiering(tiering);
            assert_eq!(builder.advice(), [], "{tiering}");
        }
    }

    #[test]
    fn each_combination_has_its_code() {
        let ahead = RefreshAhead::After(0.8);
        let window = |span| ttl().stale_if_error(span);
        #[allow(unused_mut)]
        let mut bad = vec![
            ("no_ttl", of(Freshness::new()).tiering(Tiering::L1L2)),
            ("no_stale_if_error", of(ttl()).tiering(Tiering::L1L3)),
            ("no_failure_backoff", of(window(secs(60)))),
            (
                "backoff_above_stale_if_error",
                of(window(secs(5)).failure_backoff(secs(5), secs(30))),
            ),
            ("stale_if_error_below_revalidate", of(ttl().stale_while_revalidate(secs(5)))),
            ("soft_timeout_without_stale", of(ttl().soft_timeout(secs(1)))),
            ("hard_timeout_above_load_wait", of(ttl().hard_timeout(secs(5))).load_wait(secs(4))),
            ("refresh_ahead_without_ttl", of(Freshness::new().refresh_ahead(ahead))),
            ("jitter_without_ttl", of(Freshness::new().ttl_jitter(0.1))),
            ("background_without_threads", of(ttl().refresh_ahead(ahead)).load_threads(0)),
            ("negative_ttl_above_ttl", of(ttl().negative_ttl(secs(61)))),
        ];
        #[cfg(feature = "shared")]
        bad.push((
            "hard_timeout_above_lease",
            of(ttl().hard_timeout(secs(11))).tiering(Tiering::L1L2),
        ));
        #[cfg(feature = "redis")]
        {
            let rules = window(secs(60)).failure_backoff(secs(1), secs(30));
            let options = crate::RedisOptions::new();
            bad.push((
                "coherence_off",
                of(rules).tiering(Tiering::L1L3).redis(options.clone().coherence(false)),
            ));
            bad.push((
                "serve_on_loss_without_ttl",
                of(Freshness::new())
                    .tiering(Tiering::L1L3)
                    .redis(options.on_loss(crate::OnLoss::Serve)),
            ));
        }
        for (code, builder) in bad {
            let advice = builder.advice();
            let said = advice.iter().filter(|advice| advice.code == code).count();
            assert_eq!(said, 1, "{code}: {advice:?}");
        }
    }

    /// Writes the codes down that it is told.
    #[cfg(all(feature = "tracing", feature = "redis"))]
    #[derive(Clone, Default)]
    struct Listener(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

    #[cfg(all(feature = "tracing", feature = "redis"))]
    impl tracing::Subscriber for Listener {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target() == "tierce::options" && *metadata.level() == tracing::Level::WARN
        }
        fn event(&self, event: &tracing::Event<'_>) {
            struct Code(String);
            impl tracing::field::Visit for Code {
                fn record_debug(&mut self, field: &tracing::field::Field, it: &dyn fmt::Debug) {
                    if field.name() == "code" {
                        self.0 = format!("{it:?}");
                    }
                }
            }
            let mut code = Code(String::new());
            event.record(&mut code);
            self.0.lock().unwrap().push(code.0);
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[cfg(all(feature = "tracing", feature = "redis"))]
    #[test]
    fn a_host_is_told_once_that_its_copies_follow_nobody() {
        let told = |coherence, tiering| {
            let listener = Listener::default();
            // Beside a single subscriber an event that another thread is the first to tell would
            // count as wanted by nobody.
            let _other = tracing::Dispatch::new(Listener::default());
            let redis = crate::RedisOptions::new().unix_path("/nowhere").coherence(coherence);
            tracing::subscriber::with_default(listener.clone(), || {
                let cache = of(Freshness::new()).tiering(tiering).redis(redis).build().unwrap();
                drop(cache);
            });
            std::mem::take(&mut *listener.0.lock().unwrap())
        };
        assert_eq!(told(false, Tiering::L1L3), ["\"coherence_off\""]);
        // What is merely unwise is not spoken of, nor where there are no copies.
        assert_eq!(told(true, Tiering::L1L3), [""; 0]);
        assert_eq!(told(false, Tiering::L3), [""; 0]);
    }
}
