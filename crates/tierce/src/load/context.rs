//! What a loader is told: for what it is called, what is there already, and until when its value
//! is of use.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::simulated;

/// Why a loader is called. More reasons may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadReason {
    /// No tier has a value that may be served.
    Miss,
    /// The value is stale.
    Stale,
    /// The value is fresh and will soon be stale.
    Ahead,
    /// The value is older than the caller accepts.
    MaxAge,
    /// Somebody asked for a new value.
    Asked,
}

impl LoadReason {
    /// The reason in lower case, as it appears in metrics labels and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Ahead => "ahead",
            Self::MaxAge => "max_age",
            Self::Asked => "asked",
        }
    }
}

/// Says whether anybody still wants what a load will return.
///
/// Clones are the same token; it may be handed to the threads that a loader uses.
#[derive(Clone)]
pub struct CancelToken {
    cancelled: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl CancelToken {
    /// A token without a deadline, for a load that begins.
    pub(crate) fn new() -> Self {
        Self { cancelled: Arc::default(), deadline: None }
    }

    /// The same token for a load that is to have ended after `span`. A deadline too far to
    /// express is none.
    pub(crate) fn until(&self, span: Option<Duration>) -> Self {
        let deadline = span.and_then(|span| simulated::now().checked_add(span));
        Self { cancelled: Arc::clone(&self.cancelled), deadline }
    }

    /// Tells the loader that its value is of no use any more.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// True once the value is of no use any more: the deadline has passed, somebody overtook the
    /// load, or the cache was closed. What the loader returns then is kept nowhere.
    ///
    /// One load, and a look at the clock where there is a deadline.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
            || self.deadline.is_some_and(|deadline| simulated::now() >= deadline)
    }

    /// When the load is to have ended; `None` for never.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CancelToken")
            .field("is_cancelled", &self.is_cancelled())
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// What a loader is told about the load it is called for.
///
/// A load that has a stale value and its validator can ask its origin whether the value has
/// changed (an HTTP request with `If-None-Match`, say) instead of fetching it again.
#[derive(Clone)]
pub struct LoadContext<'a, V: Clone> {
    key: Cow<'a, [u8]>,
    stale: Option<Cow<'a, V>>,
    validator: Bytes,
    reason: LoadReason,
    token: CancelToken,
}

impl<'a, V: Clone> LoadContext<'a, V> {
    pub(crate) fn new(key: &'a [u8], reason: LoadReason, token: CancelToken) -> Self {
        Self { key: Cow::Borrowed(key), stale: None, validator: Bytes::new(), reason, token }
    }

    /// Adds the value that is there, and what its loader said to know it by.
    #[must_use]
    pub(crate) fn with_stale(mut self, stale: &'a V, validator: Bytes) -> Self {
        self.stale = Some(Cow::Borrowed(stale));
        self.validator = validator;
        self
    }

    /// The context as one that borrows nothing, for a loader that goes on elsewhere. Copies the
    /// key and clones the stale value.
    pub fn into_owned(self) -> LoadContext<'static, V> {
        LoadContext {
            key: Cow::Owned(self.key.into_owned()),
            stale: self.stale.map(|stale| Cow::Owned(stale.into_owned())),
            validator: self.validator,
            reason: self.reason,
            token: self.token,
        }
    }

    /// The key that is asked for.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value that the cache has and that is to be replaced: stale, or fresh where the load is
    /// ahead of time or asked for.
    pub fn stale(&self) -> Option<&V> {
        self.stale.as_deref()
    }

    /// What the load of [`stale`](Self::stale) gave as its validator; empty if there is none.
    pub fn validator(&self) -> &[u8] {
        &self.validator
    }

    /// Why the loader is called.
    pub fn reason(&self) -> LoadReason {
        self.reason
    }

    /// When the load is to have ended; `None` for never.
    pub fn deadline(&self) -> Option<Instant> {
        self.token.deadline()
    }

    /// As [`CancelToken::is_cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The token by which threads that the loader uses learn whether to go on.
    pub fn token(&self) -> &CancelToken {
        &self.token
    }
}

impl<V: Clone> fmt::Debug for LoadContext<'_, V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LoadContext")
            .field("key", &self.key.escape_ascii().to_string())
            .field("has_stale", &self.stale.is_some())
            .field("reason", &self.reason)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_cancelled_for_all_its_clones_at_once() {
        let token = CancelToken::new();
        let theirs = token.until(None).clone();
        assert!(!theirs.is_cancelled());
        token.cancel();
        assert!(theirs.is_cancelled());
    }

    #[test]
    fn a_token_is_cancelled_when_its_deadline_has_passed() {
        let token = CancelToken::new();
        assert!(token.until(Some(Duration::ZERO)).is_cancelled());
        assert!(!token.until(Some(Duration::from_secs(3600))).is_cancelled());
        assert!(!token.is_cancelled(), "the deadline of one use is not that of another");
    }

    #[test]
    fn a_deadline_too_far_to_express_is_none() {
        assert_eq!(CancelToken::new().until(Some(Duration::MAX)).deadline(), None);
    }

    #[test]
    fn an_owned_context_says_the_same_and_is_cancelled_with_its_origin() {
        let (token, stale) = (CancelToken::new(), "old".to_owned());
        let context = LoadContext::new(b"a", LoadReason::Stale, token.clone())
            .with_stale(&stale, Bytes::from_static(b"etag"));
        let owned: LoadContext<'static, String> = context.into_owned();
        drop(stale);
        assert_eq!(owned.key(), b"a");
        assert_eq!(owned.stale().map(String::as_str), Some("old"));
        assert_eq!((owned.validator(), owned.reason()), (&b"etag"[..], LoadReason::Stale));
        assert!(!owned.is_cancelled());
        token.cancel();
        assert!(owned.is_cancelled());
    }
}
