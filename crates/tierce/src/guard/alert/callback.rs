//! [`CallbackSink`]: tells a function of the host, by a thread of its own.

use super::{
    AlertSink, Notice, SinkStats,
    courier::{Courier, Outcome},
};
use crate::error::Result;

/// The name in statistics and metrics.
const NAME: &str = "callback";

/// Tells a function by a thread that is there for that alone, while there is something to tell.
///
/// A plain function as a sink runs within the look of the guard, so it must be quick and may ask the
/// guard for nothing. Behind this one it may take its time, and may do all that others may, asking the
/// guard for a rollback included. What a function panics with is counted as refused, and an alert that
/// has waited for its turn is told as it is by then: the latest notice takes the place of an earlier
/// one. In a forked child nobody is told.
pub struct CallbackSink {
    courier: Courier,
}

impl CallbackSink {
    /// Tells `call` of each notice, one after another.
    pub fn new(call: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        let send = move |notices: &[Notice]| {
            notices.iter().for_each(&call);
            Outcome::Taken
        };
        Self { courier: Courier::new(NAME.to_owned(), 1, None, Box::new(send)) }
    }
}

impl AlertSink for CallbackSink {
    fn notify(&self, notice: &Notice) -> Result<()> {
        Ok(self.courier.take(notice.clone())?)
    }

    fn stats(&self) -> Option<SinkStats> {
        Some(self.courier.stats())
    }
}
