//! Hints to the processor.
#![allow(unsafe_code)]

/// Tells the processor that this will be read soon. A hint: the address may be anything.
#[inline]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Tells the processor that these will be written soon, so that it takes their lines from others now,
/// once, and not first to read and then to write. A hint: the addresses may be anything.
#[inline(always)]
pub(crate) fn prefetch_all_to_write<const N: usize>(addresses: [*const u8; N]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if writing::is_known() {
        for address in addresses {
            // SAFETY:
            // 1. The processor has the instruction, as just asked.
            // 2. A prefetch changes nothing and faults on no address.
            unsafe {
                std::arch::asm!("prefetchw [{}]", in(reg) address,
                                options(nostack, preserves_flags, readonly));
            }
        }
        return;
    }
    addresses.into_iter().for_each(prefetch);
}

/// As [`prefetch_all_to_write`], of one.
#[inline(always)]
#[cfg_attr(not(feature = "shared"), allow(dead_code))]
pub(crate) fn prefetch_to_write<T>(address: *const T) {
    prefetch_all_to_write([address.cast()]);
}

/// Words of a value that are looked at for pointers: those of a `Bytes` and a `String` together, and a line.
const WORDS: usize = 8;

/// Tells the processor that what the words of this value point to will be read soon, as far as they look like
/// pointers: without knowing its type, so a number may be taken for one. For values that own something.
///
/// # Safety
/// `value` is valid for reads. Others may change it meanwhile as far as its type has them.
#[inline(always)]
pub(crate) unsafe fn prefetch_pointees<T>(value: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if align_of::<T>() >= align_of::<usize>() {
        /// No system maps memory below this, nor has programs use what is above that.
        const ADDRESSES: std::ops::Range<usize> = 1 << 16..1 << 47;
        for number in 0..(size_of::<T>() / size_of::<usize>()).min(WORDS) {
            let word: usize;
            // SAFETY:
            // 1. Inside of `T`, which is valid for reads, and aligned as `T` is.
            // 2. A word of assembler: it may be padding, and others may store to it, each word as a whole.
            unsafe {
                let address = value.cast::<usize>().add(number);
                std::arch::asm!("mov {}, qword ptr [{}]", out(reg) word, in(reg) address,
                                options(nostack, preserves_flags, readonly));
            }
            if ADDRESSES.contains(&word) {
                prefetch(word as *const u8);
            }
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}

/// Whether the processor knows `prefetchw`. Not every x86-64 does, and the compiler makes another
/// prefetch of the intrinsic where it was not told.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod writing {
    use std::sync::atomic::{AtomicU8, Ordering};

    const UNASKED: u8 = 0;
    const UNKNOWN: u8 = 1;
    const KNOWN: u8 = 2;

    static ANSWER: AtomicU8 = AtomicU8::new(UNASKED);

    #[inline(always)]
    pub(super) fn is_known() -> bool {
        match ANSWER.load(Ordering::Relaxed) {
            KNOWN => true,
            UNKNOWN => false,
            _ => ask(),
        }
    }

    #[cold]
    fn ask() -> bool {
        // As the manuals of AMD and Intel have it: leaf 8000_0001, bit 8 of ECX.
        const LEAF: u32 = 0x8000_0001;
        let most = std::arch::x86_64::__cpuid(0x8000_0000).eax;
        let known = most >= LEAF && std::arch::x86_64::__cpuid(LEAF).ecx >> 8 & 1 == 1;
        ANSWER.store(if known { KNOWN } else { UNKNOWN }, Ordering::Relaxed);
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_may_be_prefetched() {
        let here = 7_u8;
        let addresses = [std::ptr::null(), &raw const here, usize::MAX as *const u8];
        prefetch_all_to_write(addresses);
        // The second time the answer is remembered.
        addresses.into_iter().for_each(prefetch_to_write);
        addresses.into_iter().for_each(prefetch);
    }

    #[test]
    fn any_value_may_be_looked_at_for_pointers() {
        let padded = (7_u8, 7_u64, String::from("text"));
        // SAFETY: references are valid for reads.
        unsafe {
            prefetch_pointees(&padded);
            prefetch_pointees(&[usize::MAX; 100]);
            prefetch_pointees(&());
            prefetch_pointees(&1_u8);
        }
        assert_eq!(padded.2, "text");
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn what_the_processor_says_of_prefetchw_is_what_the_system_read() {
        let Ok(processors) = std::fs::read_to_string("/proc/cpuinfo") else { return };
        let Some(flags) = processors.lines().find(|line| line.starts_with("flags")) else { return };
        let has_it = flags.split_whitespace().any(|flag| flag == "3dnowprefetch");
        assert_eq!((writing::is_known(), writing::is_known()), (has_it, has_it));
    }
}
