//! Python values as JSON text and back, exactly: what comes back is equal and of the same type,
//! or it is refused on the way down.
//!
//! | Python | JSON |
//! |---|---|
//! | None, bool, str | null, true and false, string |
//! | int, of any size | number without fraction and exponent |
//! | float, finite | number with a fraction or an exponent |
//! | list, dict with str keys | array, object in the dict's order |
//!
//! Not JSON's own rules, but those of this cache: an int stays an int and a float a float (`1`
//! and `1.0` differ), nan and the infinities are refused since JSON cannot say them, and nothing
//! is nested deeper than [`MOST_DEPTH`].

mod decode;
mod encode;

pub(crate) use decode::{Fault, decode};
pub(crate) use encode::{Refusal, encode};

/// Levels of lists and dicts inside each other: the limit that other readers of JSON have
/// (serde_json: 128), and small beside any thread's stack. A value that contains itself ends here.
pub(crate) const MOST_DEPTH: usize = 128;

/// Digits that CPython turns into an int, or back, whatever `sys.set_int_max_str_digits` says: it
/// takes no limit below 640. Longer numbers go in pieces of this length.
const PIECE_DIGITS: usize = 600;
