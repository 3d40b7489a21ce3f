//! Loaders that may run on threads of the cache.

use std::error::Error as StdError;

use super::Loaded;
use crate::{
    error::{Error, ErrorKind, Result},
    load::LoadContext,
};

/// Fetches values from where they come from.
///
/// A loader lives as long as the cache may call it, on any of its threads, for several keys at
/// once: for background refreshes and for loads that outlive their callers. Closures are loaders:
///
/// ```
/// use tierce::{Bytes, LoadContext, Loader};
///
/// fn is_loader<V: Clone>(_: &impl Loader<V>) {}
///
/// let loader = |context: &LoadContext<'_, Bytes>| {
///     std::io::Result::Ok(Bytes::copy_from_slice(context.key()))
/// };
/// is_loader::<Bytes>(&loader);
/// ```
pub trait Loader<V: Clone>: Send + Sync + 'static {
    /// Loads the value of [`LoadContext::key`].
    ///
    /// Called with no lock held. A load that takes long should look at
    /// [`LoadContext::is_cancelled`] from time to time and end when it is.
    ///
    /// # Errors
    /// Whatever the origin's failure is, of the kind [`ErrorKind::Loader`].
    fn load(&self, context: &LoadContext<'_, V>) -> Result<Loaded<V>>;
}

impl<V, F, L, E> Loader<V> for F
where
    V: Clone,
    F: Fn(&LoadContext<'_, V>) -> Result<L, E> + Send + Sync + 'static,
    L: Into<Loaded<V>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn load(&self, context: &LoadContext<'_, V>) -> Result<Loaded<V>> {
        self(context).map(Into::into).map_err(failed)
    }
}

/// The error of a call whose loader failed with `cause`.
pub(super) fn failed(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Loader, "the loader failed").caused_by(cause)
}
