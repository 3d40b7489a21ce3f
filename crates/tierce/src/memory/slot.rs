//! How the places of a shard are named.
//!
//! ```text
//!   slot:      [ segment (7 bits) | place in it (25 bits) ]      the name of a place, everywhere
//!   segments:  16 16 16 16 | 32 32 32 32 | 64 64 64 64 | ...     four to each doubling
//! ```
//! From a slot to its place it is a shift, a load and a multiplication. Places are also numbered
//! without gaps, segment by segment; the tree of deadlines and exact LRU go by numbers.

use crate::policy::Slot;

/// Segments to a doubling: with four, at most a fifth of the places is not in use.
const STEPS_PER_DOUBLING_BITS: u32 = 2;

/// The first doubling has this many places before it, so that the smallest segment has 16.
const OFFSET_BITS: u32 = 6;

/// The bits of a slot that number the places of a segment.
const PLACE_BITS: u32 = 25;

/// As many segments as a slot can name, so that none has to be compared with a bound.
pub(super) const NAMED_SEGMENTS: usize = 1 << (32 - PLACE_BITS);

/// Enough segments for [`MAX_SLOTS`].
pub(super) const SEGMENTS: usize = ((27 - OFFSET_BITS) << STEPS_PER_DOUBLING_BITS) as usize;

/// So many that the largest segment's places can be told apart: 134 million, less what the first
/// doubling lacks.
pub(super) const MAX_SLOTS: u32 = (1 << 27) - (1 << OFFSET_BITS);

/// The number of the first place of each segment that there may be.
static FIRST_OF: [u32; NAMED_SEGMENTS] = {
    let mut first = [0; NAMED_SEGMENTS];
    let mut segment = 1;
    while segment < SEGMENTS {
        first[segment] = first[segment - 1] + places(segment - 1) as u32;
        segment += 1;
    }
    first
};

/// How many places a segment has.
pub(super) const fn places(segment: usize) -> usize {
    1 << (OFFSET_BITS - STEPS_PER_DOUBLING_BITS + (segment as u32 >> STEPS_PER_DOUBLING_BITS))
}

#[inline]
pub(super) fn segment_of(slot: Slot) -> usize {
    (slot >> PLACE_BITS) as usize
}

/// The place of a slot in its segment.
#[inline]
pub(super) fn place_of(slot: Slot) -> usize {
    (slot & ((1 << PLACE_BITS) - 1)) as usize
}

/// The number of a slot.
#[inline]
pub(super) fn number_of(slot: Slot) -> u32 {
    FIRST_OF[segment_of(slot)] + place_of(slot) as u32
}

/// The slot of a number, which is at most [`MAX_SLOTS`].
#[inline]
pub(super) fn numbered(number: u32) -> Slot {
    let place = u64::from(number) + (1 << OFFSET_BITS);
    let doubling = place.ilog2();
    let shift = doubling - STEPS_PER_DOUBLING_BITS;
    let segment = ((doubling - OFFSET_BITS) << STEPS_PER_DOUBLING_BITS)
        + ((place >> shift) as u32 & ((1 << STEPS_PER_DOUBLING_BITS) - 1));
    segment << PLACE_BITS | (place & ((1 << shift) - 1)) as u32
}

/// How many places there are in the segments that so many entries need, which are at least one.
pub(super) fn allocated_for(entries: u64) -> u32 {
    let last = entries.clamp(1, MAX_SLOTS.into()) as u32 - 1;
    let segment = segment_of(numbered(last));
    FIRST_OF[segment] + places(segment) as u32
}

/// The slot that follows in the order of numbers.
#[inline]
pub(super) fn after(slot: Slot) -> Slot {
    let segment = segment_of(slot);
    if place_of(slot) + 1 < places(segment) {
        slot + 1
    } else {
        (segment as Slot + 1) << PLACE_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_slot_of_its_own() {
        let mut number = 0_u32;
        for (segment, first) in FIRST_OF[..SEGMENTS].iter().enumerate() {
            assert_eq!(*first, number);
            for place in [0, 1, places(segment) - 1] {
                let number = number + place as u32;
                let slot = numbered(number);
                assert_eq!((segment_of(slot), place_of(slot)), (segment, place), "{number}");
                assert_eq!(number_of(slot), number);
                assert_eq!(after(slot), numbered(number + 1));
                let allocated = first + places(segment) as u32;
                assert_eq!(allocated_for(u64::from(number) + 1), allocated);
            }
            number += places(segment) as u32;
        }
        assert_eq!(number, MAX_SLOTS);
    }
}
