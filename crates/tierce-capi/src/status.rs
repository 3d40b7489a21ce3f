//! The codes: 0 is done, above 0 are answers, below 0 are errors. Numbered by hand, never reused;
//! new ones go to the end.

use std::ffi::CStr;

use tierce::ErrorKind;

/// What a call answers: 0 done, above 0 an answer that is not an error, below 0 an error.
pub type tierce_status_t = i32;

/// Done.
pub const TIERCE_OK: tierce_status_t = 0;
/// No tier has the key, or what was asked for does not exist. Not an error.
pub const TIERCE_MISS: tierce_status_t = 1;
/// The buffer was too small: it holds the beginning, the length tells the whole. Not an error.
pub const TIERCE_TRUNCATED: tierce_status_t = 3;
/// The loader says that the key has no value. Not an error.
pub const TIERCE_ABSENT: tierce_status_t = 4;
/// What the key has is not what was expected: nothing was changed. Not an error.
pub const TIERCE_OTHERWISE: tierce_status_t = 5;

/// An argument is NULL, out of its range, or no handle of this library.
pub const TIERCE_E_ARG: tierce_status_t = -1;
/// A key of the configuration is unknown or its value breaks a rule.
pub const TIERCE_E_CONFIG: tierce_status_t = -2;
/// The operating system refused a file operation.
pub const TIERCE_E_IO: tierce_status_t = -3;
/// Bytes read from a tier are not what was written there.
pub const TIERCE_E_CORRUPT: tierce_status_t = -4;
/// A deadline passed.
pub const TIERCE_E_TIMEOUT: tierce_status_t = -5;
/// A connection could not be made or broke.
pub const TIERCE_E_NETWORK: tierce_status_t = -6;
/// A server refused the credentials.
pub const TIERCE_E_AUTH: tierce_status_t = -7;
/// A key or value is above a stated bound.
pub const TIERCE_E_TOO_LARGE: tierce_status_t = -8;
/// There is no room and none can be made.
pub const TIERCE_E_FULL: tierce_status_t = -9;
/// The loader did not return 0; see tierce_last_loader_code().
pub const TIERCE_E_LOADER: tierce_status_t = -10;
/// A loader asked for the key that it is loading.
pub const TIERCE_E_REENTRANT: tierce_status_t = -11;
/// The cache was closed.
pub const TIERCE_E_CLOSED: tierce_status_t = -12;
/// A lock or a queue was not free in time.
pub const TIERCE_E_BUSY: tierce_status_t = -14;
/// A feature is not built in, or the platform lacks it.
pub const TIERCE_E_UNSUPPORTED: tierce_status_t = -15;
/// A store file, or a struct of the caller, is of a version that this library does not know.
pub const TIERCE_E_VERSION: tierce_status_t = -16;
/// Memory ran out.
pub const TIERCE_E_NOMEM: tierce_status_t = -17;
/// The library has a bug and caught it; the message says where.
pub const TIERCE_E_PANIC: tierce_status_t = -18;
/// A path or server refused access.
pub const TIERCE_E_DENIED: tierce_status_t = -19;
/// Bytes could not be turned into a value.
pub const TIERCE_E_CODEC: tierce_status_t = -20;
/// An error that none of the other codes fits.
pub const TIERCE_E_OTHER: tierce_status_t = -21;

/// The code of an error of the core.
pub(crate) fn of_kind(kind: ErrorKind) -> tierce_status_t {
    match kind {
        ErrorKind::Config => TIERCE_E_CONFIG,
        ErrorKind::Io => TIERCE_E_IO,
        ErrorKind::Corrupt => TIERCE_E_CORRUPT,
        ErrorKind::Timeout => TIERCE_E_TIMEOUT,
        ErrorKind::Network => TIERCE_E_NETWORK,
        ErrorKind::Auth => TIERCE_E_AUTH,
        ErrorKind::TooLarge => TIERCE_E_TOO_LARGE,
        ErrorKind::Full => TIERCE_E_FULL,
        ErrorKind::Loader => TIERCE_E_LOADER,
        // A loader in C cannot panic: the library did, between the loader and those who wait.
        ErrorKind::LoaderPanicked => TIERCE_E_PANIC,
        ErrorKind::Reentrant => TIERCE_E_REENTRANT,
        ErrorKind::Closed => TIERCE_E_CLOSED,
        ErrorKind::Busy => TIERCE_E_BUSY,
        ErrorKind::Unsupported => TIERCE_E_UNSUPPORTED,
        ErrorKind::Version => TIERCE_E_VERSION,
        ErrorKind::Denied => TIERCE_E_DENIED,
        ErrorKind::Codec => TIERCE_E_CODEC,
        ErrorKind::Absent => TIERCE_ABSENT,
        _ => TIERCE_E_OTHER,
    }
}

/// The name of a code as the header spells it.
pub(crate) const fn name(status: tierce_status_t) -> &'static CStr {
    match status {
        TIERCE_OK => c"TIERCE_OK",
        TIERCE_MISS => c"TIERCE_MISS",
        TIERCE_TRUNCATED => c"TIERCE_TRUNCATED",
        TIERCE_ABSENT => c"TIERCE_ABSENT",
        TIERCE_OTHERWISE => c"TIERCE_OTHERWISE",
        TIERCE_E_ARG => c"TIERCE_E_ARG",
        TIERCE_E_CONFIG => c"TIERCE_E_CONFIG",
        TIERCE_E_IO => c"TIERCE_E_IO",
        TIERCE_E_CORRUPT => c"TIERCE_E_CORRUPT",
        TIERCE_E_TIMEOUT => c"TIERCE_E_TIMEOUT",
        TIERCE_E_NETWORK => c"TIERCE_E_NETWORK",
        TIERCE_E_AUTH => c"TIERCE_E_AUTH",
        TIERCE_E_TOO_LARGE => c"TIERCE_E_TOO_LARGE",
        TIERCE_E_FULL => c"TIERCE_E_FULL",
        TIERCE_E_LOADER => c"TIERCE_E_LOADER",
        TIERCE_E_REENTRANT => c"TIERCE_E_REENTRANT",
        TIERCE_E_CLOSED => c"TIERCE_E_CLOSED",
        TIERCE_E_BUSY => c"TIERCE_E_BUSY",
        TIERCE_E_UNSUPPORTED => c"TIERCE_E_UNSUPPORTED",
        TIERCE_E_VERSION => c"TIERCE_E_VERSION",
        TIERCE_E_NOMEM => c"TIERCE_E_NOMEM",
        TIERCE_E_PANIC => c"TIERCE_E_PANIC",
        TIERCE_E_DENIED => c"TIERCE_E_DENIED",
        TIERCE_E_CODEC => c"TIERCE_E_CODEC",
        TIERCE_E_OTHER => c"TIERCE_E_OTHER",
        _ => c"unknown status",
    }
}
