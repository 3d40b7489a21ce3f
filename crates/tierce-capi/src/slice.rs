//! Pointers of the caller, checked as far as they can be.
//!
//! What cannot be checked, that a pointer which is not NULL points to as many bytes as its length
//! says and that nobody writes to them meanwhile, is the `# Safety` of each function here and the
//! promise of the caller in the header.
#![allow(unsafe_code)] // The one place where the caller's pointers become slices and references.

use std::{
    ffi::{CStr, c_char, c_void},
    mem::{MaybeUninit, size_of},
    slice,
};

use crate::{
    failure::Failure,
    status::{TIERCE_E_CONFIG, TIERCE_E_VERSION},
};

/// A struct of the caller that says it is larger than this is not filled in at all: its first
/// field is no size.
const MAX_STRUCT_BYTES: usize = 4096;

/// Borrows `len` bytes at `data`; NULL is fine where `len` is 0.
///
/// # Safety
/// A `data` that is not NULL points to `len` bytes that are initialised and not written to while
/// the slice lives.
pub(crate) unsafe fn bytes<'a>(
    data: *const c_void,
    len: usize,
    name: &str,
) -> Result<&'a [u8], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    check(data, len, name)?;
    // SAFETY:
    // 1. Not NULL, and `u8` is aligned anywhere.
    // 2. `len` initialised bytes, unchanging while the slice lives: the caller's promise.
    // 3. At most `isize::MAX` bytes: checked.
    Ok(unsafe { slice::from_raw_parts(data.cast(), len) })
}

/// Borrows `len` bytes at `data` for writing; NULL is fine where `len` is 0.
///
/// # Safety
/// A `data` that is not NULL points to `len` bytes that nobody else uses while the slice lives.
pub(crate) unsafe fn buffer<'a>(
    data: *mut c_void,
    len: usize,
    name: &str,
) -> Result<&'a mut [MaybeUninit<u8>], Failure> {
    if len == 0 {
        return Ok(&mut []);
    }
    check(data, len, name)?;
    // SAFETY:
    // 1. Not NULL, and `u8` is aligned anywhere.
    // 2. `len` bytes, ours alone while the slice lives: the caller's promise. They need not be
    //    initialised: `MaybeUninit`.
    // 3. At most `isize::MAX` bytes: checked.
    Ok(unsafe { slice::from_raw_parts_mut(data.cast(), len) })
}

/// Borrows `count` items at `items`; NULL is fine where `count` is 0.
///
/// # Safety
/// An `items` that is not NULL points to `count` items that are initialised and not written to
/// while the slice lives.
pub(crate) unsafe fn items<'a, T: Copy>(
    items: *const T,
    count: usize,
    name: &str,
) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    check_items(items, count, name)?;
    // SAFETY:
    // 1. Not NULL and aligned: checked.
    // 2. `count` initialised items, unchanging while the slice lives: the caller's promise.
    // 3. At most `isize::MAX` bytes: checked.
    Ok(unsafe { slice::from_raw_parts(items, count) })
}

/// Borrows the places of `count` results; NULL is fine where `count` is 0. Nothing is written yet.
///
/// # Safety
/// A `places` that is not NULL has room for `count` results that nobody else uses while the slice
/// lives.
pub(crate) unsafe fn places<'a, T>(
    places: *mut T,
    count: usize,
    name: &str,
) -> Result<&'a mut [MaybeUninit<T>], Failure> {
    if count == 0 {
        return Ok(&mut []);
    }
    check_items(places, count, name)?;
    // SAFETY:
    // 1. Not NULL and aligned: checked.
    // 2. Room for `count` results, ours alone while the slice lives: the caller's promise. They
    //    need not be initialised: `MaybeUninit`.
    // 3. At most `isize::MAX` bytes: checked.
    Ok(unsafe { slice::from_raw_parts_mut(places.cast(), count) })
}

fn check_items<T>(items: *const T, count: usize, name: &str) -> Result<(), Failure> {
    if !items.is_aligned() {
        return Err(Failure::argument(format!("{name} is {items:p}: not aligned")));
    }
    let bytes = count.saturating_mul(size_of::<T>());
    check(items.cast(), bytes, name)
}

fn check(data: *const c_void, len: usize, name: &str) -> Result<(), Failure> {
    if data.is_null() {
        return Err(Failure::argument(format!("{name} is NULL, but its length is {len}")));
    }
    if isize::try_from(len).is_err() {
        return Err(Failure::argument(format!(
            "{name} has {len} bytes: more than memory can hold"
        )));
    }
    Ok(())
}

/// Borrows `len` bytes of a document at `text`, which must be UTF-8; NULL is fine where `len` is 0.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn utf8<'a>(
    text: *const c_void,
    len: usize,
    name: &str,
) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise is the same.
    let text = unsafe { bytes(text, len, name) }?;
    str::from_utf8(text).map_err(|error| {
        let message = format!("{name}: byte {} is not UTF-8", error.valid_up_to());
        Failure::new(TIERCE_E_CONFIG, message)
    })
}

/// Borrows a text that ends with a NUL.
///
/// # Safety
/// A `text` that is not NULL points to bytes with a NUL among them that are not written to while
/// the text lives.
pub(crate) unsafe fn c_text<'a>(text: *const c_char, name: &str) -> Result<&'a CStr, Failure> {
    if text.is_null() {
        return Err(Failure::argument(format!("{name} is NULL")));
    }
    // SAFETY: not NULL; a NUL at the end and no writes meanwhile are the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// Borrows the place of a result. Nothing is written yet.
///
/// # Safety
/// A `place` that is not NULL has room for a `T` that nobody else uses while the reference lives.
pub(crate) unsafe fn out<'a, T>(
    place: *mut T,
    name: &str,
) -> Result<&'a mut MaybeUninit<T>, Failure> {
    if place.is_null() || !place.is_aligned() {
        return Err(Failure::argument(format!("{name} is {place:p}: no place for a result")));
    }
    // SAFETY:
    // 1. Not NULL and aligned: checked.
    // 2. Room for a `T`, ours alone while the reference lives: the caller's promise. It need not
    //    be initialised: `MaybeUninit`.
    Ok(unsafe { &mut *place.cast::<MaybeUninit<T>>() })
}

/// A struct of the header that begins with `struct_size` and may have grown since the caller was
/// compiled, or may yet grow: reading and filling it in copies what both sides know.
///
/// # Safety
/// `#[repr(C)]`, the first field is `struct_size: usize`, every pattern of bits is a value and
/// there is no padding.
pub(crate) unsafe trait Versioned: Copy + Default {
    /// The size that the first release with this struct gave it.
    const FIRST_SIZE: usize;
}

/// Copies the caller's options; NULL are the defaults.
///
/// Fields that the caller does not know are zero, which for every option means its default.
/// Fields that this library does not know must be zero.
///
/// # Safety
/// A `from` that is not NULL points to a size and, in all, to as many initialised bytes as it
/// says; nobody writes to them during the call.
pub(crate) unsafe fn options<T: Versioned>(from: *const T, name: &str) -> Result<T, Failure> {
    let mut options = T::default();
    if from.is_null() {
        return Ok(options);
    }
    // SAFETY: that a size is there is the caller's promise.
    let size = unsafe { check_struct(from, name) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: `size` initialised bytes are there and stay as they are: the caller's promise.
    let (ours, newer) = unsafe { slice::from_raw_parts(from.cast::<u8>(), size) }.split_at(known);
    if newer.iter().any(|byte| *byte != 0) {
        return Err(Failure::new(
            TIERCE_E_VERSION,
            format!("{name} has {size} bytes and sets options that this library does not know"),
        ));
    }
    // SAFETY: `known` bytes fit into `options`, which is a struct of its own; any bits are a value
    // of `T` (the trait's promise).
    unsafe { (&raw mut options).cast::<u8>().copy_from_nonoverlapping(ours.as_ptr(), known) };
    Ok(options)
}

/// Fills the caller's struct in as far as it has room; what this library does not know becomes
/// zero and `struct_size` stays.
///
/// # Safety
/// A `to` that is not NULL points to a size and has room for as many bytes as it says, which
/// nobody else uses during the call.
pub(crate) unsafe fn fill<T: Versioned>(to: *mut T, from: &T, name: &str) -> Result<(), Failure> {
    // SAFETY: that a size is there is the caller's promise.
    let size = unsafe { check_struct(to, name) }?;
    let known = size.min(size_of::<T>());
    let skipped = size_of::<usize>();
    let to = to.cast::<u8>();
    // SAFETY: `size` bytes at `to` are ours for the call (the caller's promise) and do not overlap
    // `from`, which this library made; `known` is within both and, as `struct_size` has checked,
    // above `skipped`.
    unsafe {
        let begin = (&raw const *from).cast::<u8>().add(skipped);
        to.add(skipped).copy_from_nonoverlapping(begin, known - skipped);
        to.add(known).write_bytes(0, size - known);
    }
    Ok(())
}

/// Reads and checks `struct_size`.
///
/// # Safety
/// A `from` that is not NULL points to an initialised `usize`.
pub(crate) unsafe fn check_struct<T: Versioned>(
    from: *const T,
    name: &str,
) -> Result<usize, Failure> {
    if from.is_null() || !from.is_aligned() {
        return Err(Failure::argument(format!("{name} is {from:p}: no struct of the caller")));
    }
    // SAFETY: aligned for `T`, whose first field it is; initialised by the caller's promise.
    let size = unsafe { from.cast::<usize>().read() };
    if (T::FIRST_SIZE..=MAX_STRUCT_BYTES).contains(&size) {
        return Ok(size);
    }
    Err(Failure::argument(format!(
        "{name}: struct_size = {size}: set it to the sizeof of the struct, at least {}",
        T::FIRST_SIZE
    )))
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;
    use crate::status::TIERCE_E_ARG;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Old {
        struct_size: usize,
        first: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct New {
        struct_size: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: `repr(C)`, size first, integers without padding.
    unsafe impl Versioned for Old {
        const FIRST_SIZE: usize = 16;
    }
    // SAFETY: `repr(C)`, size first, integers without padding.
    unsafe impl Versioned for New {
        const FIRST_SIZE: usize = 16;
    }

    #[test]
    fn null_and_impossible_lengths_are_refused() {
        let data = [1_u8, 2];
        let at: *const c_void = data.as_ptr().cast();
        // SAFETY: the lengths that are not refused are within `data`.
        unsafe {
            assert_eq!(bytes(ptr::null(), 0, "key").unwrap(), b"");
            assert_eq!(bytes(at, 2, "key").unwrap(), &data);
            assert_eq!(bytes(ptr::null(), 1, "key").unwrap_err().status, TIERCE_E_ARG);
            assert_eq!(bytes(at, usize::MAX, "key").unwrap_err().status, TIERCE_E_ARG);
            assert_eq!(out::<u64>(ptr::null_mut(), "out").unwrap_err().status, TIERCE_E_ARG);
            let odd = ptr::without_provenance_mut::<u64>(0x1001);
            assert_eq!(out::<u64>(odd, "out").unwrap_err().status, TIERCE_E_ARG);
        }
    }

    #[test]
    fn an_older_caller_is_understood() {
        let old = Old { struct_size: 16, first: 7 };
        // SAFETY: `Old` has the 16 bytes that it says.
        let read = unsafe { options::<New>((&raw const old).cast(), "opts") }.unwrap();
        assert_eq!(read, New { struct_size: 16, first: 7, second: 0 });
        let mut filled = Old { struct_size: 16, first: 0 };
        let new = New { struct_size: 24, first: 8, second: 9 };
        // SAFETY: as above.
        unsafe { fill::<New>((&raw mut filled).cast(), &new, "stats") }.unwrap();
        assert_eq!(filled, Old { struct_size: 16, first: 8 });
    }

    #[test]
    fn a_newer_caller_is_understood_unless_it_asks_for_something_new() {
        let mut new = New { struct_size: 24, first: 7, second: 0 };
        // SAFETY: `New` has the 24 bytes that it says.
        unsafe {
            assert_eq!(options::<Old>((&raw const new).cast(), "opts").unwrap().first, 7);
            new.second = 1;
            let error = options::<Old>((&raw const new).cast(), "opts").unwrap_err();
            assert_eq!(error.status, TIERCE_E_VERSION);
            fill::<Old>((&raw mut new).cast(), &Old { struct_size: 0, first: 5 }, "stats").unwrap();
        }
        assert_eq!(new, New { struct_size: 24, first: 5, second: 0 });
    }

    #[test]
    fn a_size_that_is_none_is_refused() {
        for size in [0, 15, MAX_STRUCT_BYTES + 1, usize::MAX] {
            let mut old = Old { struct_size: size, first: 0 };
            // SAFETY: a refused size is not acted upon.
            unsafe {
                assert_eq!(options::<Old>(&raw const old, "o").unwrap_err().status, TIERCE_E_ARG);
                let error = fill(&raw mut old, &Old::default(), "o").unwrap_err();
                assert_eq!(error.status, TIERCE_E_ARG);
            }
        }
    }
}
