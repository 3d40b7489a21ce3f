//! Values made smaller, and back to exactly the length that their record states.
//!
//! Whoever inflates gives the room, of the stated length, and neither library writes past it. So
//! a value of a few bytes that would inflate to gigabytes costs what an honest one of the stated
//! length costs.

use super::Doubt;
use crate::codec::Compression;

/// Zstandard's level: the next ones up take longer than they save on values of a cache.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;

// To make the library's state anew for each value takes several times as long as a small value
// itself. A thread that never compresses, or never inflates, has none.
#[cfg(feature = "zstd")]
thread_local! {
    static COMPRESSOR: State<zstd::bulk::Compressor<'static>> = const { State::new(None) };
    static DECOMPRESSOR: State<zstd::bulk::Decompressor<'static>> = const { State::new(None) };
}

#[cfg(feature = "zstd")]
type State<T> = std::cell::RefCell<Option<T>>;

/// Does `work` with the state of this thread, or with one of its own where the thread is ending.
#[cfg(feature = "zstd")]
fn with_state<T: 'static>(
    state: &'static std::thread::LocalKey<State<T>>,
    make: impl Fn() -> std::io::Result<T>,
    work: impl FnOnce(&mut T) -> std::io::Result<usize>,
) -> Option<usize> {
    let mut taken = match state.try_with(std::cell::RefCell::take).ok().flatten() {
        Some(taken) => taken,
        None => make().ok()?,
    };
    let done = work(&mut taken).ok();
    // Where the thread has none any more, this one ends here.
    let _ = state.try_with(|state| state.replace(Some(taken)));
    done
}

/// The value made smaller, or `None` where it would take more than `most` bytes.
#[cfg_attr(not(any(feature = "lz4", feature = "zstd")), allow(unused_variables))]
pub(super) fn pack(how: Compression, value: &[u8], most: usize) -> Option<Vec<u8>> {
    match how {
        Compression::None => None,
        #[cfg(feature = "lz4")]
        Compression::Lz4 => {
            let packed = lz4_flex::block::compress(value);
            (packed.len() <= most).then_some(packed)
        }
        #[cfg(feature = "zstd")]
        Compression::Zstd => {
            // The library stops where the room ends, so what does not shrink costs less.
            let mut packed = vec![0; most];
            let make = || zstd::bulk::Compressor::new(ZSTD_LEVEL);
            let work = |zstd: &mut zstd::bulk::Compressor<'_>| {
                zstd.compress_to_buffer(value, &mut packed[..])
            };
            let length = with_state(&COMPRESSOR, make, work)?;
            packed.truncate(length);
            Some(packed)
        }
        #[allow(unreachable_patterns)]
        _ => None,
    }
}

/// What [`pack`] made smaller, which must come to `length` bytes.
///
/// The caller has compared `length` with its bound; no more than that is allocated or written.
#[cfg_attr(not(any(feature = "lz4", feature = "zstd")), allow(unused_mut, unused_variables))]
pub(super) fn unpack(how: Compression, packed: &[u8], length: usize) -> Result<Vec<u8>, Doubt> {
    let mut value = vec![0; length];
    let written = match how {
        Compression::None => None,
        #[cfg(feature = "lz4")]
        Compression::Lz4 => lz4_flex::block::decompress_into(packed, &mut value).ok(),
        #[cfg(feature = "zstd")]
        Compression::Zstd => {
            let work = |zstd: &mut zstd::bulk::Decompressor<'_>| {
                zstd.decompress_to_buffer(packed, &mut value[..])
            };
            with_state(&DECOMPRESSOR, zstd::bulk::Decompressor::new, work)
        }
        #[allow(unreachable_patterns)]
        _ => return Err(Doubt::Compression),
    };
    if written != Some(length) {
        return Err(Doubt::Inflate);
    }
    Ok(value)
}
