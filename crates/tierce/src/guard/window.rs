//! Windows of time of a running cache: [`Cache::window`].

use std::time::Duration;

use super::measure::View;
use crate::{
    cache::Cache,
    metrics::{WindowStats, windows::LONGEST_WINDOW},
};

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// What the cache did in the last `span`, from a second to an hour.
    ///
    /// Windows begin with the first call and are fed by each: a call takes a reading of all
    /// counters (some 50 us), and no thread takes any in between. So look once a second for
    /// windows that are exact to the second, or let a [`Guard`](super::Guard) do it.
    /// [`WindowStats::covered`] says how much of the window is known.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tierce::Cache::builder().build()?;
    /// cache.window(Duration::from_secs(60)); // begins
    /// cache.get("user:7");
    /// # std::thread::sleep(Duration::from_millis(20));
    /// assert_eq!(cache.window(Duration::from_secs(60)).requests, 1);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    pub fn window(&self, span: Duration) -> WindowStats {
        WindowStats::of(&self.windows().window(span))
    }

    /// What conditions are judged by, with rates and percentiles of the last `span`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tierce::guard::Condition;
    /// let cache = tierce::Cache::builder().build()?;
    /// let condition: Condition = "backend_available == true".parse()?;
    /// let view = cache.view(Duration::from_secs(60));
    /// assert_eq!(condition.holds(&view, Duration::ZERO), Some(true));
    /// # Ok::<(), tierce::Error>(())
    /// ```
    pub fn view(&self, span: Duration) -> View {
        let windows = self.windows();
        let memory = windows.states(LONGEST_WINDOW).map(|(at, state)| (at, state.resident));
        View::of(WindowStats::of(&windows.window(span))).with_memory(memory.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, Clock, Freshness};

    #[test]
    fn a_window_of_a_cache_has_what_came_in_it() {
        let (clock, time) = Clock::manual();
        let cache = Cache::builder().clock(clock).build().unwrap();
        let second = Duration::from_secs(1);
        cache.get("before");
        assert_eq!(cache.window(second).covered, Duration::ZERO);
        cache.set("a", Bytes::from("1")).unwrap();
        (0..1000).for_each(|_| assert!(cache.get("a").is_some()));
        let failed = cache.get_or_load("b", |_| Err::<Bytes, _>(std::io::Error::other("no")));
        assert!(failed.is_err());
        time.advance(second);
        let window = cache.window(second);
        assert_eq!((window.requests, window.hits, window.failures), (1001, 1000, 1));
        assert_eq!((window.covered, window.loads, window.available), (second, 1, true));
        assert!(window.latency.count > 0 && window.bytes > 0 && window.resident_bytes > 0);
        time.advance(second);
        assert_eq!(cache.window(second).requests, 0);
        assert_eq!(cache.window(2 * second).requests, 1001);
    }

    #[test]
    fn a_failed_load_is_a_failure_only_for_who_gets_no_stale_value() {
        let (clock, time) = Clock::manual();
        let second = Duration::from_secs(1);
        let freshness = Freshness::new().ttl(second).stale_if_error(60 * second);
        let cache = Cache::builder().clock(clock).freshness(freshness).build().unwrap();
        cache.window(second);
        cache.set("a", Bytes::from("1")).unwrap();
        time.advance(2 * second);
        let load = |key| cache.get_or_load(key, |_| Err::<Bytes, _>(std::io::Error::other("no")));
        assert_eq!(load("a").unwrap(), "1");
        time.advance(second);
        assert_eq!(cache.window(second).failures, 0);
        assert!(load("b").is_err());
        time.advance(second);
        let window = cache.window(second);
        assert_eq!((window.failures, window.loads), (1, 1));
        assert_eq!(cache.stats().load_failures, 2);
    }
}
