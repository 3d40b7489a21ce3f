//! Which slots of a set have a tag: all sixteen at once.
//!
//! A slot's tag is the upper 22 bits of its upper half. On x86-64 four upper halves are compared
//! at a time, by assembly, of which the language knows only that it reads memory that others may
//! write; elsewhere slot by slot. Neither has a branch that depends on where the tag is: the
//! processor could not foretell it, and would wait for the slots instead of going on to what is
//! asked for next.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::layout::{SET_SLOTS, Slot};

/// The slots that have the tag of `hash`, or are empty and seem to have it, as bits.
///
/// Each slot is read once, with the order of an acquire.
#[inline(always)]
pub(super) fn tagged(set: &[AtomicU64; SET_SLOTS], hash: u64) -> u32 {
    if cfg!(all(target_arch = "x86_64", not(miri))) {
        at_once(set, hash)
    } else {
        one_by_one(set, hash)
    }
}

#[inline(always)]
fn one_by_one(set: &[AtomicU64; SET_SLOTS], hash: u64) -> u32 {
    set.iter().enumerate().fold(0, |bits, (number, slot)| {
        let is_tagged = Slot(slot.load(Ordering::Acquire)).seems_tagged(hash);
        bits | u32::from(is_tagged) << number
    })
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn at_once(set: &[AtomicU64; SET_SLOTS], hash: u64) -> u32 {
    use crate::store::layout::TAG_SHIFT;

    /// What is left of the upper half of a slot below its tag.
    const BELOW: u32 = TAG_SHIFT - u32::BITS;
    let tag = (hash << TAG_SHIFT >> TAG_SHIFT) as u32;
    let bits: u32;
    // SAFETY: reads the 128 bytes of the set, which are atomics, and nothing else; the registers
    // named are the only ones it changes. The processor reads each aligned half of 8 bytes in one,
    // and loads come before later loads and stores, as an acquire demands.
    unsafe {
        std::arch::asm!(
            "movd {tag}, {number:e}",
            "pshufd {tag}, {tag}, 0",
            "movups {a}, [{set}]",
            "movups {b}, [{set} + 16]",
            "movups {c}, [{set} + 32]",
            "movups {d}, [{set} + 48]",
            // The upper halves of four slots.
            "shufps {a}, {b}, 0xDD",
            "shufps {c}, {d}, 0xDD",
            "psrld {a}, {below}",
            "psrld {c}, {below}",
            "pcmpeqd {a}, {tag}",
            "pcmpeqd {c}, {tag}",
            // Eight answers of 16 bits each.
            "packssdw {a}, {c}",
            "movups {b}, [{set} + 64]",
            "movups {c}, [{set} + 80]",
            "movups {d}, [{set} + 96]",
            "movups {e}, [{set} + 112]",
            "shufps {b}, {c}, 0xDD",
            "shufps {d}, {e}, 0xDD",
            "psrld {b}, {below}",
            "psrld {d}, {below}",
            "pcmpeqd {b}, {tag}",
            "pcmpeqd {d}, {tag}",
            "packssdw {b}, {d}",
            "packsswb {a}, {b}",
            "pmovmskb {bits:e}, {a}",
            set = in(reg) set.as_ptr(),
            number = in(reg) tag,
            below = const BELOW,
            bits = lateout(reg) bits,
            tag = out(xmm_reg) _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            e = out(xmm_reg) _,
            options(nostack, readonly),
        );
    }
    bits
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn at_once(set: &[AtomicU64; SET_SLOTS], hash: u64) -> u32 {
    one_by_one(set, hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_slots_with_the_tag_are_found_at_once_and_one_by_one() {
        const SEED: u64 = 11;
        println!("seed {SEED}");
        let mut random = fastrand::Rng::with_seed(SEED);
        for round in 0..20_000 {
            let hash = random.u64(..);
            let mut expected = 0;
            let set: [AtomicU64; SET_SLOTS] = std::array::from_fn(|number| {
                let (hits, position) = (random.u64(..4), random.u64(1..1 << 40) * 16);
                let of = match random.u32(..4) {
                    // Other bits of the hash are none of the tag's.
                    0 => hash ^ random.u64(..) << 22,
                    1 => hash ^ 1 << random.u32(..22),
                    2 => return AtomicU64::new(0),
                    _ => random.u64(..),
                };
                let slot = Slot::new(of, hits, position);
                expected |= u32::from(slot.has_tag_of(hash)) << number;
                AtomicU64::new(slot.0)
            });
            assert_eq!(tagged(&set, hash), expected, "round {round}, hash {hash:#x}");
            assert_eq!(one_by_one(&set, hash), expected, "round {round}, hash {hash:#x}");
        }
    }

    #[test]
    fn empty_slots_seem_to_have_the_tag_zero() {
        let set: [AtomicU64; SET_SLOTS] = std::array::from_fn(|_| AtomicU64::new(0));
        assert_eq!(tagged(&set, 5 << 22), 0xffff);
        assert_eq!(tagged(&set, 1), 0);
    }
}
