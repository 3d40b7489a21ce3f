//! What few records have beside their value: tags, the validator of a conditional refresh, and for
//! which word of L3 they stand.
//!
//! ```text
//! head of a record of L2:   validator bytes u16 | number of tags u16 | 1 with a change, else 0 u32
//!                           changes of tags that are known u64      only with tags
//!                           hashes of tags u32 each | validator | zeros to a multiple of 8
//!                           change u64 | stale milliseconds u64     only with a change
//! ```
//! Numbers are in the byte order of the host. Older versions pass over the change.

use std::time::Duration;

use bytes::Bytes;

use crate::tag_cells::Tags;
#[cfg(feature = "shared")]
use crate::tag_cells::{Known, MOST_TAGS};

/// The longest validator. A longer one is not kept: the next refresh is not conditional.
const MAX_VALIDATOR_BYTES: usize = 1024;

/// What few records have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// What the loader wants to see again when the value is to be refreshed: an `ETag`, a version.
    /// Empty for none.
    pub validator: Bytes,
    /// By which of them it may be removed or made stale.
    pub tags: Option<Tags>,
    /// Where it was set around L3: for which word it stands there.
    pub around: Option<Around>,
}

/// What a value that was set around L3 bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Around {
    /// The change that set it, and that made the word.
    pub change: u64,
    /// How long it is stale before the word ends. What the value itself says of its end may be less:
    /// copies live for the staleness bound while nobody is told of changes.
    pub stale: Duration,
}

impl Extras {
    /// `None` where there is nothing.
    pub(crate) fn new(validator: Bytes, tags: Option<Tags>) -> Option<Self> {
        let tags = tags.filter(|tags| !tags.hashes.is_empty());
        let extras = Self { validator, tags, around: None };
        (!extras.validator.is_empty() || extras.tags.is_some()).then_some(extras)
    }
}

#[cfg(any(feature = "shared", feature = "redis"))]
impl Extras {
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
        let hashes = self.tags.as_ref().map_or(&[][..], |tags| &tags.hashes[..]);
        if validator.is_empty() && hashes.is_empty() && self.around.is_none() {
            return Vec::new();
        }
        let mut head = vec![0; 8];
        head[..2].copy_from_slice(&(validator.len() as u16).to_ne_bytes());
        head[2..4].copy_from_slice(&(hashes.len() as u16).to_ne_bytes());
        head[4..].copy_from_slice(&u32::from(self.around.is_some()).to_ne_bytes());
        if let Some(tags) = self.tags.as_ref().filter(|_| !hashes.is_empty()) {
            head.extend_from_slice(&tags.known.raises.to_ne_bytes());
            tags.hashes.iter().for_each(|hash| head.extend_from_slice(&hash.to_ne_bytes()));
        }
        head.extend_from_slice(&validator);
        head.resize(head.len().next_multiple_of(8), 0);
        if let Some(Around { change, stale }) = self.around {
            head.extend_from_slice(&change.to_ne_bytes());
            let stale = u64::try_from(stale.as_millis()).unwrap_or(u64::MAX);
            head.extend_from_slice(&stale.to_ne_bytes());
        }
        head
    }

    /// What a head says in the numbering of this place, `None` where it says nothing.
    ///
    /// # Errors
    /// For a head that cannot be read: nobody knows the tags of its record.
    pub(super) fn from_head(head: &[u8], place: u32) -> Result<Option<Self>, Unreadable> {
        fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], Unreadable> {
            let (taken, after) = rest.split_at_checked(bytes).ok_or(Unreadable)?;
            *rest = after;
            Ok(taken)
        }
        let mut rest = head;
        if rest.is_empty() {
            return Ok(None);
        }
        let counts = take(&mut rest, 8)?;
        let validator_bytes = usize::from(u16::from_ne_bytes([counts[0], counts[1]]));
        let count = usize::from(u16::from_ne_bytes([counts[2], counts[3]]));
        let has_change = u32::from_ne_bytes([counts[4], counts[5], counts[6], counts[7]]) == 1;
        if count > MOST_TAGS {
            return Err(Unreadable);
        }
        let tags = if count > 0 {
            let raises = take(&mut rest, 8)?.try_into().map_err(|_| Unreadable)?;
            let raises = u64::from_ne_bytes(raises);
            let hashes = take(&mut rest, count * 4)?.as_chunks().0;
            let hashes = hashes.iter().map(|hash| u32::from_ne_bytes(*hash)).collect();
            Some(Tags { hashes, known: Known { place, raises }, below: None })
        } else {
            None
        };
        let validator = Bytes::copy_from_slice(take(&mut rest, validator_bytes)?);
        if !has_change {
            return Ok(Self::new(validator, tags));
        }
        // Before them the zeros, fewer than a word.
        let (_, words) = rest.as_rchunks();
        let [change, stale] = words else { return Err(Unreadable) };
        let stale = Duration::from_millis(u64::from_ne_bytes(*stale));
        let around = Some(Around { change: u64::from_ne_bytes(*change), stale });
        Ok(Some(Self { validator, tags, around }))
    }
}

/// A head that says nothing that can be read.
#[cfg(feature = "shared")]
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

#[cfg(all(test, feature = "shared"))]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_it_was_made_of_and_a_part_of_it_says_nothing() {
        let hashes = (0..MOST_TAGS as u32).collect();
        let most = Tags { hashes, known: Known { place: 3, raises: 9 }, below: None };
        let one = Tags { hashes: [7].into(), ..most.clone() };
        for tags in [None, Some(one), Some(most)] {
            for validator in [Bytes::new(), Bytes::from_static(b"\"etag\""), vec![1; 1024].into()] {
                let Some(extras) = Extras::new(validator, tags.clone()) else { continue };
                let word = Around { change: u64::MAX, stale: Duration::from_millis(7) };
                for around in [None, Some(word)] {
                    let extras = Extras { around, ..extras.clone() };
                    let head = extras.to_head();
                    assert!(head.len().is_multiple_of(8) && head.len() <= 255 * 8);
                    assert_eq!(Extras::from_head(&head[..head.len() - 8], 3), Err(Unreadable));
                    assert_eq!(Extras::from_head(&head, 3), Ok(Some(extras)));
                }
            }
        }
        let around = Some(Around { change: 7, stale: Duration::ZERO });
        let alone = Extras { around, ..Extras::default() };
        assert_eq!(alone.to_head().len(), 24);
        assert_eq!(Extras::from_head(&alone.to_head(), 3), Ok(Some(alone.clone())));
        assert_eq!(Extras::from_head(&alone.to_head()[..16], 3), Err(Unreadable));
        assert_eq!(Extras::from_head(&[], 3), Ok(None));
    }
}
