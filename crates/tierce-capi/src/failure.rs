//! What went wrong last in this thread.
//!
//! The text lies in a buffer of fixed size and place: C evaluates arguments in any order, so the
//! pointer of `tierce_last_error()` may be taken before the failing call of the same expression. A
//! buffer that grew would then be freed memory.
#![allow(unsafe_code)] // Exported names; one write through a checked pointer.

use std::{
    borrow::Cow,
    cell::Cell,
    ffi::{c_char, c_void},
    fmt::{self, Write},
};

use crate::{
    load::LoaderRefused,
    slice,
    status::{self, TIERCE_E_ARG, TIERCE_E_LOADER, TIERCE_E_NOMEM, tierce_status_t},
};

/// Room for one message and its NUL: a path and a rule fit, a screenful does not.
const TEXT_BYTES: usize = 512;

thread_local! {
    // Neither has a destructor, so both outlive every other thread-local of the thread.
    static TEXT: [Cell<u8>; TEXT_BYTES] = const { [const { Cell::new(0) }; TEXT_BYTES] };
    static LOADER_CODE: Cell<i32> = const { Cell::new(0) };
}

/// Why a call ends with a code below zero.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: tierce_status_t,
    message: Cow<'static, str>,
    loader_code: Option<i32>,
}

impl Failure {
    pub(crate) fn new(status: tierce_status_t, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), loader_code: None }
    }

    pub(crate) fn argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(TIERCE_E_ARG, message)
    }

    pub(crate) fn no_memory(bytes: usize) -> Self {
        Self::new(TIERCE_E_NOMEM, format!("no memory for {bytes} bytes"))
    }

    /// Makes this the last failure of the thread; returns its code.
    pub(crate) fn report(&self) -> tierce_status_t {
        record(format_args!("{}", self.message));
        if let Some(code) = self.loader_code {
            LOADER_CODE.set(code);
        }
        self.status
    }
}

impl From<tierce::Error> for Failure {
    fn from(error: tierce::Error) -> Self {
        let status = status::of_kind(error.kind());
        let loader_code = (status == TIERCE_E_LOADER)
            .then(|| error.cause::<LoaderRefused>().map(|refused| refused.code))
            .flatten();
        Self { status, message: error.to_string().into(), loader_code }
    }
}

/// Writes the thread's text: cut at a whole character where it is too long, NUL at its end.
pub(crate) fn record(message: fmt::Arguments<'_>) {
    TEXT.with(|text| {
        let mut writer = Writer { text, end: 0 };
        // The writer takes what fits and refuses the rest, which is what is wanted.
        let _ = writer.write_fmt(message);
        text[writer.end].set(0);
    });
}

struct Writer<'a> {
    text: &'a [Cell<u8>; TEXT_BYTES],
    end: usize,
}

impl Write for Writer<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = TEXT_BYTES - 1 - self.end;
        let fits = &part[..part.floor_char_boundary(room)];
        for byte in fits.bytes() {
            // A NUL would end the text for C.
            self.text[self.end].set(if byte == 0 { b'?' } else { byte });
            self.end += 1;
        }
        if fits.len() < part.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Tells what the last failing call of this thread complained about; "" before the first.
///
/// \return this thread's text, never NULL. The pointer stays the same for the life of the thread;
///         the text changes with the next call that fails in it, and not with one that does not.
///         Threads: any, each its own.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_last_error() -> *const c_char {
    TEXT.with(|text| text.as_ptr().cast())
}

/// Copies the text of tierce_last_error(), as much as fits, always ended by a NUL.
///
/// \param buffer    owned by the caller; NULL only when `capacity` is 0.
/// \param capacity  bytes that fit into `buffer`, the NUL counted.
/// \return the length of the whole text without its NUL: at or above `capacity` where it was cut.
///         0 for a bad argument. Threads: any, each its own.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_error_copy(buffer: *mut c_char, capacity: usize) -> usize {
    TEXT.with(|text| {
        let len = text.iter().position(|byte| byte.get() == 0).unwrap_or(TEXT_BYTES - 1);
        // SAFETY: the caller vouches for `capacity` bytes at `buffer` that nobody else uses.
        let Ok(buffer) = (unsafe { slice::buffer(buffer.cast::<c_void>(), capacity, "buffer") })
        else {
            return 0;
        };
        let Some(room) = buffer.len().checked_sub(1) else {
            return len;
        };
        let copied = len.min(room);
        for (to, from) in buffer.iter_mut().zip(&text[..copied]) {
            to.write(from.get());
        }
        buffer[copied].write(0);
        len
    })
}

/// Tells what the loader returned in the last call of this thread that ended with
/// TIERCE_E_LOADER; 0 before the first.
///
/// The loader may have run in another thread, whose load this one waited for. Where a sink
/// function failed and the loader returned 0 all the same, it is the code of the sink function.
///
/// \return the loader's own code. Threads: any, each its own.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_last_loader_code() -> i32 {
    LOADER_CODE.get()
}

/// Tells the name of a code, such as "TIERCE_E_CONFIG".
///
/// \param status  any number.
/// \return static text, never NULL: "unknown status" for a number that is no code. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_status_name(status: tierce_status_t) -> *const c_char {
    status::name(status).as_ptr()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn last() -> String {
        // SAFETY: the text is NUL-terminated and belongs to this thread, which does not fail
        // while it is read.
        unsafe { CStr::from_ptr(tierce_last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_text_is_cut_at_a_whole_character_and_never_moves() {
        let before = tierce_last_error();
        assert_eq!(last(), "");
        for padding in 0..4 {
            let long = format!("{}{}", "x".repeat(padding), "€".repeat(300));
            assert_eq!(Failure::argument(long.clone()).report(), TIERCE_E_ARG);
            let text = last();
            assert!(long.starts_with(&text) && (508..=511).contains(&text.len()), "{}", text.len());
        }
        Failure::argument("a\0b").report();
        assert_eq!(last(), "a?b");
        assert_eq!(before, tierce_last_error());
    }

    #[test]
    fn a_copy_is_always_ended_and_tells_the_whole_length() {
        Failure::argument("12345").report();
        for capacity in 0..8_usize {
            let mut buffer = [0x7f_u8; 8];
            // SAFETY: the buffer is 8 bytes long.
            let len = unsafe { tierce_error_copy(buffer.as_mut_ptr().cast(), capacity) };
            assert_eq!(len, 5);
            let copied = capacity.saturating_sub(1).min(5);
            assert_eq!(&buffer[..copied], &b"12345"[..copied]);
            if capacity > 0 {
                assert_eq!(buffer[copied], 0);
            }
            assert!(buffer[capacity.min(6)..].iter().all(|byte| *byte == 0x7f));
        }
        // SAFETY: NULL is refused before use.
        assert_eq!(unsafe { tierce_error_copy(std::ptr::null_mut(), 3) }, 0);
    }

    #[test]
    fn threads_have_texts_of_their_own() {
        Failure::argument("mine").report();
        std::thread::spawn(|| assert_eq!(last(), "")).join().unwrap();
        assert_eq!(last(), "mine");
    }
}
