//! The tiers that a simulation has a cache use in place of those that it would open (feature
//! `sim`): what is opened on a thread while they are set there is these.

use std::{cell::RefCell, sync::Arc};

use super::{RemoteTier, SharedTier};

/// Tiers that stand ready.
#[derive(Clone)]
pub(crate) struct Injected {
    pub(crate) shared: Arc<SharedTier>,
    pub(crate) redis: Arc<dyn RemoteTier>,
}

thread_local! {
    static INJECTED: RefCell<Option<Injected>> = const { RefCell::new(None) };
}

/// Runs `work`, in which tiers that are opened are these.
pub(crate) fn with<R>(injected: Injected, work: impl FnOnce() -> R) -> R {
    INJECTED.set(Some(injected));
    let done = work();
    INJECTED.take();
    done
}

pub(super) fn shared() -> Option<Arc<SharedTier>> {
    INJECTED.with_borrow(|injected| Some(Arc::clone(&injected.as_ref()?.shared)))
}

pub(super) fn redis() -> Option<Arc<dyn RemoteTier>> {
    INJECTED.with_borrow(|injected| Some(Arc::clone(&injected.as_ref()?.redis)))
}
