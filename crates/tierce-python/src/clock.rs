//! A clock that tests move.

use pyo3::prelude::*;
use tierce::{Clock, ManualClock};

use crate::options::duration;

/// A clock for tests: it stands still until it is told to move.
///
/// Give it to a cache (`Cache(clock=...)`), and times to live, stale windows and ages there go by
/// it; several caches may share one. Timeouts and back-offs go by the system's clock all the same.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> clock = tierce.ManualClock()
/// >>> cache = tierce.Cache(ttl="10m", clock=clock)
/// >>> cache["user:7"] = "Ada"
/// >>> clock.advance("9m")
/// >>> "user:7" in cache
/// True
/// >>> clock.advance("1m")
/// >>> "user:7" in cache
/// False
#[pyclass(name = "ManualClock", module = "tierce", frozen)]
pub(crate) struct PyManualClock {
    clock: Clock,
    hand: ManualClock,
}

impl PyManualClock {
    /// What a cache reads.
    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }
}

#[pymethods]
impl PyManualClock {
    #[new]
    fn new() -> Self {
        let (clock, hand) = Clock::manual();
        Self { clock, hand }
    }

    /// Move the clock forward.
    ///
    /// Parameters
    /// ----------
    /// span : float, timedelta or str
    ///     Seconds, a timedelta or "10m"; whole milliseconds of it count.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.ManualClock().advance(60)
    fn advance(&self, span: &Bound<'_, PyAny>) -> PyResult<()> {
        self.hand.advance(duration(span, "span")?);
        Ok(())
    }
}
