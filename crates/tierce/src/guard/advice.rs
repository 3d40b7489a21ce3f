//! What a running cache shows to be unwise, with the numbers that show it.
//!
//! | code | rule |
//! |---|---|
//! | `evictions_of_memory`, `evictions_of_shared` | more than 10 % of what came in had to make room |
//! | `heavy_prefix` | keys that begin alike have a fifth of all reads, and twice those of the next |
//! | `ttl_too_long` | half of what expired was never asked for |
//! | `ttl_too_short` | half of what expired had been of use and was loaded again |
//!
//! The first is judged by the counts since the survey began or, without one, since the cache was
//! made. The others need a survey ([`Cache::begin_survey`]).

use std::time::Duration;

use crate::{
    cache::{Advice, Cache},
    metrics::{PrefixShare, Stats, SurveyReport, TierStats, TtlUse},
    tiering::{TierKind, Tiering},
    units::write_span,
};

/// The rule of the rollout guide for L3.
const EVICTIONS: f64 = 0.10;
/// What came in until a share of it means anything.
const LEAST_ENTRIES: u64 = 100;
const HEAVY: f64 = 0.20;
const HEAVIER: f64 = 2.0;
const LEAST_READS: u64 = 100;
/// Followed entries that expired: one in sixteen of all.
const LEAST_EXPIRED: u64 = 20;
const WASTE: f64 = 0.5;

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// What the numbers of this cache show to be unwise, each in a sentence with those numbers;
    /// nothing where all is well. [`begin_survey`](Self::begin_survey) some minutes before, for what
    /// needs to look at keys.
    ///
    /// ```
    /// use tierce::{Bytes, Cache, MemoryOptions};
    ///
    /// let memory = MemoryOptions::new().max_entries(100);
    /// let cache = Cache::builder().memory(memory).build()?;
    /// for number in 0..1000_u32 {
    ///     cache.set(number.to_le_bytes(), Bytes::from("1"))?;
    /// }
    /// assert_eq!(cache.advise()[0].code, "evictions_of_memory");
    /// # Ok::<(), tierce::Error>(())
    /// ```
    pub fn advise(&self) -> Vec<Advice> {
        let survey = self.survey_in_force();
        let now = self.stats();
        let before = survey.as_ref().map(|survey| survey.before().clone()).unwrap_or_default();
        let report = self.survey();
        let span = report.as_ref().map(|report| report.observed);
        let tiering = self.tiering();
        let mut advice: Vec<Advice> = [TierKind::Memory, TierKind::Shared]
            .into_iter()
            .filter_map(|tier| evictions(tier, tiering, &now, &before, span))
            .collect();
        if let Some(report) = &report {
            advice.extend(heavy(report, tiering));
            advice.extend(waste(&report.ttl));
        }
        advice
    }
}

/// What the counts of a store show to be unwise: the rule of evictions, over all its processes and
/// since it was made.
#[cfg(all(feature = "shared", target_os = "linux"))]
pub fn advise_store(counted: &crate::StoreStatistics) -> Option<Advice> {
    let came = counted.puts + counted.fills;
    let forced = counted.evicted_size;
    let rate = forced as f64 / came.max(1) as f64;
    (came >= LEAST_ENTRIES && rate > EVICTIONS).then(|| Advice {
        code: "evictions_of_shared",
        message: format!(
            "{} evicted {forced} entries while {came} came in since it was made ({}, above 10 %): \
             raise shared.max_bytes or shared.max_entries, or enable L3",
            TierKind::Shared.label(),
            percent(rate)
        ),
    })
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// What came into a tier, and what of it had to make room.
fn flow(stats: &Stats, tier: TierKind) -> Option<(u64, u64)> {
    let TierStats { evictions, entries, .. } = stats.tier(tier)?;
    let forced = evictions.size + evictions.bytes;
    Some((forced + evictions.expired + evictions.replaced + evictions.removed + entries, forced))
}

fn evictions(
    tier: TierKind,
    tiering: Tiering,
    now: &Stats,
    before: &Stats,
    span: Option<Duration>,
) -> Option<Advice> {
    let (came, forced) = flow(now, tier)?;
    let (came_before, forced_before) = flow(before, tier).unwrap_or((0, 0));
    let (came, forced) = (came.saturating_sub(came_before), forced.saturating_sub(forced_before));
    let rate = forced as f64 / came.max(1) as f64;
    if came < LEAST_ENTRIES || rate <= EVICTIONS {
        return None;
    }
    let (code, room, below, has_below) = match tier {
        TierKind::Memory => (
            "evictions_of_memory",
            "raise memory.max_bytes or memory.max_entries",
            "L2",
            tiering.has(TierKind::Shared) || tiering.has(TierKind::Redis),
        ),
        _ => (
            "evictions_of_shared",
            "raise shared.max_bytes or shared.max_entries",
            "L3",
            tiering.has(TierKind::Redis),
        ),
    };
    // What leaves L1 is found again below it.
    if tier == TierKind::Memory && has_below {
        return None;
    }
    let or = if has_below { String::new() } else { format!(", or enable {below}") };
    let since = match span {
        Some(span) => format!("in {}", write_span(span)),
        None => "since the cache was made".to_owned(),
    };
    let label = tier.label();
    let share = percent(rate);
    Some(Advice {
        code,
        message: format!(
            "{label} evicted {forced} of {came} entries that came in {since} ({share}, above 10 %): \
             {room}{or}"
        ),
    })
}

/// The heaviest beginning of each depth that stands out; the longer one where both are the same keys.
fn heavy(report: &SurveyReport, tiering: Tiering) -> Option<Advice> {
    if report.reads_sampled < LEAST_READS {
        return None;
    }
    let of_depth = |depth| {
        let mut all = report.prefixes.iter().filter(move |prefix| prefix.depth == depth);
        let first: &PrefixShare = all.next()?;
        let next = all.next().map_or(0.0, |next| next.share);
        (first.share >= HEAVY && first.share >= next * HEAVIER).then_some((first, next))
    };
    // Where all keys begin alike the first depth says nothing.
    let first = of_depth(1).filter(|(prefix, _)| prefix.share < 1.0 - HEAVY);
    let (prefix, next) = of_depth(2).or(first)?;
    let own = match tiering.has(TierKind::Redis) {
        true => "give them a keyspace of their own, with bounds and times to live of its own",
        false => "give them a keyspace of their own, with L3 for it alone",
    };
    Some(Advice {
        code: "heavy_prefix",
        message: format!(
            "{} of {} reads that were looked at are of keys that begin with {:?} (the next beginning \
             has {}): {own}",
            percent(prefix.share),
            report.reads_sampled,
            prefix.prefix,
            percent(next)
        ),
    })
}

fn waste(ttl: &TtlUse) -> Option<Advice> {
    if ttl.expired < LEAST_EXPIRED {
        return None;
    }
    let share = |part: u64| part as f64 / ttl.expired as f64;
    let age = write_span(ttl.expired_age_p50);
    if share(ttl.expired_unused) >= WASTE {
        let used = match ttl.hits {
            0 => "no entry was hit".to_owned(),
            _ => format!("95 % of hits are of entries below {}", write_span(ttl.hit_age_p95)),
        };
        return Some(Advice {
            code: "ttl_too_long",
            message: format!(
                "{} of {} entries that expired were never asked for, and lay for {age}; {used}: \
                 shorten their time to live, or do not keep them",
                percent(share(ttl.expired_unused)),
                ttl.expired
            ),
        });
    }
    (share(ttl.reloaded) >= WASTE).then(|| Advice {
        code: "ttl_too_short",
        message: format!(
            "{} of {} entries that expired, after {age}, had been of use and were loaded again: \
             lengthen their time to live, or set refresh_ahead",
            percent(share(ttl.reloaded)),
            ttl.expired
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, Clock, Freshness, MemoryOptions};

    fn codes(cache: &Cache) -> Vec<&'static str> {
        cache.advise().iter().map(|advice| advice.code).collect()
    }

    fn load(cache: &Cache, key: &str) {
        cache.get_or_load(key, |_| std::io::Result::Ok(Bytes::from("1"))).unwrap();
    }

    #[test]
    fn what_makes_room_too_often_is_named_with_its_rate() {
        let memory = MemoryOptions::new().max_entries(64);
        let cache = Cache::builder().memory(memory).build().unwrap();
        (0..60).for_each(|number| load(&cache, &format!("k{number}")));
        assert!(codes(&cache).is_empty(), "they fit");
        (0..940).for_each(|number| load(&cache, &format!("o{number}")));
        let advice = cache.advise();
        assert_eq!(advice.len(), 1);
        let text = advice[0].to_string();
        assert!(text.contains("evicted 936 of 1000 entries") && text.contains("93.6 %"), "{text}");
        assert!(text.contains("or enable L2"), "{text}");
        // From now on, nothing.
        cache.begin_survey();
        assert!(codes(&cache).is_empty());
    }

    #[test]
    fn keys_that_begin_alike_and_have_most_reads_are_named() {
        let cache = Cache::builder().build().unwrap();
        cache.begin_survey();
        let mut random = fastrand::Rng::with_seed(3);
        for number in 0..20_000 {
            let org = if random.f64() < 0.4 { 7 } else { 10 + random.u32(..200) };
            load(&cache, &format!("org:{org}:{}", number % 50));
        }
        let text = cache.advise()[0].to_string();
        assert!(text.starts_with("heavy_prefix: ") && text.contains("\"org:7:\""), "{text}");
        assert!(text.contains("of 2500 reads"), "{text}");
        // Evenly spread, nobody is named.
        cache.begin_survey();
        (0..20_000).for_each(|number| load(&cache, &format!("org:{}:x", number % 200)));
        assert!(codes(&cache).is_empty());
        cache.end_survey();
        assert_eq!(cache.survey(), None);
    }

    #[test]
    fn a_time_to_live_that_is_too_long_or_too_short_is_told_by_what_expired() {
        let (clock, time) = Clock::manual();
        let freshness = Freshness::new().ttl(Duration::from_secs(60));
        let cache = Cache::builder().clock(clock).freshness(freshness).build().unwrap();
        cache.begin_survey();
        let keys: Vec<String> = (0..2000).map(|number| format!("k{number}")).collect();
        // Each is asked for once.
        keys.iter().for_each(|key| load(&cache, key));
        time.advance(Duration::from_secs(61));
        keys.iter().for_each(|key| drop(cache.get(key)));
        assert_eq!(codes(&cache), ["ttl_too_long"], "{:?}", cache.survey());
        let text = cache.advise()[0].to_string();
        assert!(text.contains("100.0 %") && text.contains("no entry was hit"), "{text}");
        // Each is asked for all the time.
        cache.begin_survey();
        for _ in 0..3 {
            keys.iter().for_each(|key| load(&cache, key));
            time.advance(Duration::from_secs(30));
            keys.iter().for_each(|key| load(&cache, key));
            time.advance(Duration::from_secs(31));
        }
        assert_eq!(codes(&cache), ["ttl_too_short"], "{:?}", cache.survey());
    }
}
