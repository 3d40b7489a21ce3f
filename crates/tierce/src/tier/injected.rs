//! The tiers that a simulation has a cache use in place of those that it would open (feature
//! `sim`): what is opened on a thread while they are set there is these.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{RemoteTier, SharedTier};

/// Tiers that stand ready.
#[derive(Clone)]
pub(crate) struct Injected {
    pub(crate) shared: Arc<SharedTier>,
    pub(crate) redis: Arc<dyn RemoteTier>,
}

thread_local! {
    static INJECTED: RefCell<Option<Injected>> = const { RefCell::new(None) };
    static SHARED_DELAY: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Runs `work`, in which tiers that are opened are these.
pub(crate) fn with<R>(injected: Injected, work: impl FnOnce() -> R) -> R {
    INJECTED.set(Some(injected));
    let done = work();
    INJECTED.take();
    done
}

/// Makes every look of this thread into a store take so much longer.
#[cfg(all(test, feature = "config"))]
pub(crate) fn slow_shared(delay: Duration) {
    SHARED_DELAY.set(delay);
}

/// A look into a store begins.
#[cfg_attr(not(feature = "shared"), allow(dead_code))]
pub(super) fn hold_up_shared() {
    let delay = SHARED_DELAY.get();
    if !delay.is_zero() {
        thread::sleep(delay);
    }
}

pub(super) fn shared() -> Option<Arc<SharedTier>> {
    INJECTED.with_borrow(|injected| Some(Arc::clone(&injected.as_ref()?.shared)))
}

pub(super) fn redis() -> Option<Arc<dyn RemoteTier>> {
    INJECTED.with_borrow(|injected| Some(Arc::clone(&injected.as_ref()?.redis)))
}
