//! What few records have beside their value: the validator of a conditional refresh.

use bytes::Bytes;

/// What few records have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// What the loader wants to see again when the value is to be refreshed: an `ETag`, a version.
    /// Empty for none.
    pub validator: Bytes,
}
