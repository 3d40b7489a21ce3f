//! What few records have beside their value: the validator of a conditional refresh.
//!
//! ```text
//! head of a record of L2:   validator bytes u16 | 0 u48 | validator | zeros to a multiple of 8
//! ```
//! Numbers are in the byte order of the host.

use bytes::Bytes;

/// The longest validator. A longer one is not kept: the next refresh is not conditional.
const MAX_VALIDATOR_BYTES: usize = 1024;

/// What few records have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// What the loader wants to see again when the value is to be refreshed: an `ETag`, a version.
    /// Empty for none.
    pub validator: Bytes,
}

#[cfg(any(feature = "shared", feature = "redis"))]
impl Extras {
    /// `None` where there is nothing.
    pub(super) fn of(validator: Bytes) -> Option<Self> {
        (!validator.is_empty()).then_some(Self { validator })
    }

    /// The validator as it is kept.
    pub(super) fn kept_validator(&self) -> Bytes {
        if self.validator.len() > MAX_VALIDATOR_BYTES {
            return Bytes::new();
        }
        self.validator.clone()
    }
}

#[cfg(feature = "shared")]
impl Extras {
    /// The head of a record of L2.
    pub(super) fn to_head(&self) -> Vec<u8> {
        let validator = self.kept_validator();
        if validator.is_empty() {
            return Vec::new();
        }
        let mut head = vec![0; 8];
        head[..2].copy_from_slice(&(validator.len() as u16).to_ne_bytes());
        head.extend_from_slice(&validator);
        head.resize(head.len().next_multiple_of(8), 0);
        head
    }

    /// What a head says; `None` where it says nothing, or nothing that can be read.
    pub(super) fn from_head(head: &[u8]) -> Option<Self> {
        let bytes = usize::from(u16::from_ne_bytes(head.get(..2)?.try_into().ok()?));
        let validator = Bytes::copy_from_slice(head.get(8..8 + bytes)?);
        Self::of(validator)
    }
}
