use super::*;
use crate::metrics::Histogram;

const START: u64 = 1_000_000;

/// A cache that is driven by a script: what it counted, and every event with its time.
#[derive(Default)]
struct Driven {
    windows: Windows,
    histogram: Histogram,
    requests: u64,
    /// Time and latency of each request.
    log: Vec<(u64, u64)>,
}

impl Driven {
    fn request(&mut self, at: u64, nanoseconds: u64) {
        self.requests += 1;
        self.histogram.record(nanoseconds);
        self.log.push((at, nanoseconds));
    }

    fn tick(&mut self, at: u64) {
        let reading = Reading {
            counts: Counts::default().with(Event::Requests, self.requests),
            latency: self.histogram.snapshot(),
            state: State { bytes: at, available: true, ..State::default() },
        };
        self.windows.tick(Millis(START + at), reading);
    }

    /// Latencies of the requests in the last `span` before `now`, sorted.
    fn exact(&self, now: u64, span: u64) -> Vec<u64> {
        let begin = now.saturating_sub(span);
        let within = self.log.iter().filter(|(at, _)| *at > begin && *at <= now);
        let mut found: Vec<u64> = within.map(|(_, latency)| *latency).collect();
        found.sort_unstable();
        found
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A minute and more of traffic whose rate and latency change by the second.
fn driven_for(last: u64, seed: u64) -> Driven {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut driven = Driven::default();
    driven.tick(0);
    for second in 1..=last {
        for _ in 0..random.u64(0..8) {
            let at = (second - 1) * 1000 + random.u64(1..=1000);
            let slow = second % 97 < 20;
            let nanoseconds = random.u64(1..1 << if slow { 27 } else { 20 });
            driven.request(at, nanoseconds);
        }
        driven.tick(second * 1000);
    }
    driven
}

#[test]
fn a_window_of_up_to_a_minute_is_exact_and_longer_ones_to_half_a_slot() {
    for (seed, last) in [(1, 50), (2, 700), (3, 4000)] {
        let driven = driven_for(last, seed);
        for span in [1, 2, 10, 30, 59, 60, 61, 120, 300, 600, 900, 1800, 3600] {
            let window = driven.windows.window(seconds(span));
            // The slots on the edge are a second, ten seconds or a minute long.
            let slack = match span {
                0..=60 => 0,
                61..=600 => 5_000,
                _ => 30_000,
            };
            let now = last * 1000;
            let least = driven.exact(now, (span * 1000).saturating_sub(slack)).len() as u64;
            let most = driven.exact(now, span * 1000 + slack).len() as u64;
            let counted = window.counts.of(Event::Requests);
            assert!(
                (least..=most).contains(&counted),
                "seed {seed}, {last} s, window {span}: {counted} is not in {least}..={most}"
            );
            assert_eq!(window.latencies().count, counted, "seed {seed}, window {span}");
        }
    }
}

#[test]
fn percentiles_of_a_window_are_within_one_percent_of_the_exact_ones() {
    for seed in 0..5 {
        let last = 1200 + seed * 7;
        let driven = driven_for(last, seed);
        for span in [5, 60, 300, 600] {
            let window = driven.windows.window(seconds(span));
            // Of the very stretch that the window covers, so that no slack of the edge is in it.
            let exact = driven.exact(last * 1000, window.covered.as_millis() as u64);
            let latencies = window.latencies();
            for (share, found) in [(50, latencies.p50), (95, latencies.p95), (99, latencies.p99)] {
                let rank = (share * exact.len()).div_ceil(100).max(1);
                let (exact, found) = (exact[rank - 1] as f64, found.as_nanos() as f64);
                let error = (exact - found).abs() / exact;
                assert!(error < 0.01, "seed {seed}, {span} s, p{share}: {found} for {exact}");
            }
        }
    }
}

#[test]
fn what_left_a_window_is_forgotten() {
    let mut driven = Driven::default();
    driven.tick(0);
    driven.request(500, 7);
    driven.tick(1000);
    assert_eq!(driven.windows.window(seconds(1)).counts.of(Event::Requests), 1);
    driven.tick(2000);
    assert_eq!(driven.windows.window(seconds(1)).counts.of(Event::Requests), 0);
    assert_eq!(driven.windows.window(seconds(60)).counts.of(Event::Requests), 1);
    (3..3 * 86_400 + 2000).step_by(30).for_each(|second| driven.tick(second * 1000));
    assert_eq!(driven.windows.window(seconds(3600)).counts.of(Event::Requests), 0);
    assert_eq!(driven.windows.long_window(LONGEST_COUNTS).counts.of(Event::Requests), 0);
}

#[test]
fn no_event_is_lost_or_doubled_while_slots_are_joined() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut driven = Driven::default();
    driven.tick(0);
    let mut now = 0;
    // Readings come as they like: many in a second, none for minutes.
    while now < 3_000_000 {
        let bits = random.u32(1..18);
        now += random.u64(1..1 << bits);
        driven.request(now, 1_500_000);
        driven.tick(now);
        let window = driven.windows.long_window(LONGEST_COUNTS);
        assert_eq!(window.counts.of(Event::Requests), driven.requests, "at {now}");
        assert_eq!(
            window.slower_than(Duration::from_millis(1)),
            (driven.requests, driven.requests)
        );
        assert_eq!(window.slower_than(Duration::from_millis(2)), (driven.requests, 0));
    }
}

#[test]
fn readings_within_a_second_share_a_slot_that_ends_with_it() {
    let mut driven = Driven::default();
    driven.tick(0);
    for quarter in 1..=400 {
        driven.request(quarter * 250, 1);
        driven.tick(quarter * 250);
        if quarter % 4 == 0 && quarter > 4 {
            let window = driven.windows.window(seconds(1));
            let counted = window.counts.of(Event::Requests);
            assert_eq!((window.covered, counted), (seconds(1), 4), "at {quarter}");
        }
    }
}

#[test]
fn windows_of_days_count_to_half_a_slot() {
    let mut driven = Driven::default();
    driven.tick(0);
    for minute in 1..=5 * 1440 + 100 {
        driven.request(minute * 60_000 - 1, 1);
        driven.tick(minute * 60_000);
    }
    assert!(driven.windows.long.len() <= 434, "three days are kept, not five");
    for hours in [1, 2, 6, 24, 72] {
        let counted = driven.windows.long_window(seconds(hours * 3600)).counts.of(Event::Requests);
        assert!(counted.abs_diff(hours * 60) <= 5, "{hours} h: {counted}");
    }
}

#[test]
fn what_is_known_of_a_window_is_said() {
    let mut driven = Driven::default();
    let window = driven.windows.window(seconds(60));
    assert_eq!((window.asked, window.covered), (seconds(60), Duration::ZERO));
    driven.tick(0);
    driven.tick(7_000);
    assert_eq!(driven.windows.window(seconds(60)).covered, seconds(7));
    assert_eq!(driven.windows.window(seconds(90_000)).asked, LONGEST_WINDOW);
    // Silence of a minute is one slot; half of it does not lie in the last 20 s.
    driven.request(8_000, 1);
    driven.tick(67_000);
    assert_eq!(driven.windows.window(seconds(20)).covered, Duration::ZERO);
    assert_eq!(driven.windows.window(seconds(60)).counts.of(Event::Requests), 1);
}

#[test]
fn a_clock_or_a_counter_that_goes_back_does_no_harm() {
    let mut driven = Driven::default();
    driven.tick(5_000);
    driven.request(6_000, 1);
    driven.tick(6_000);
    driven.tick(4_000);
    assert_eq!(driven.windows.latest(), Some(Millis(START + 6_000)));
    driven.requests = 0;
    driven.tick(7_000);
    assert_eq!(driven.windows.window(seconds(60)).counts.of(Event::Requests), 1);
}

#[test]
fn the_stated_bound_of_memory_holds() {
    let mut random = fastrand::Rng::with_seed(9);
    let mut driven = Driven::default();
    driven.tick(0);
    let mut most = 0;
    for second in 1..=3 * 86_400_u64 {
        // Every reading of the first two hours has values of all magnitudes.
        if second <= 7200 {
            for _ in 0..200 {
                let bits = random.u32(1..42);
                driven.histogram.record(random.u64(1..1 << bits));
            }
            driven.tick(second * 1000);
        } else if second % 60 == 0 {
            driven.tick(second * 1000);
        }
        if second % 600 == 0 {
            most = most.max(driven.windows.bytes());
        }
    }
    assert!(most <= MOST_BYTES && MOST_BYTES < 4_000_000, "{most} of {MOST_BYTES}");
    let slots = driven.windows.levels.each_ref().map(VecDeque::len);
    assert!(slots.iter().all(|slots| *slots <= 62) && driven.windows.long.len() <= 434);
}

/// Every threshold of latency that the two source documents name.
#[test]
fn every_threshold_of_the_sources_is_an_edge_of_the_histogram() {
    for millis in [1, 2, 5, 10, 50, 100, 150, 200, 464] {
        assert!(THRESHOLDS.contains(&(millis * 1_000_000)), "{millis} ms");
    }
}
