//! tierce: an embedded tiered cache.
#![deny(unsafe_code)]

mod clock;
mod codec;
mod error;
mod metrics;
mod sync;
mod tier;
mod tiering;

pub use clock::{Clock, ManualClock, Millis};
pub use codec::{BytesCodec, Codec, Format};
pub use error::{Error, ErrorKind, Result};
pub use tier::{Fill, Found, Record, Token, Usage};
pub use tiering::{TierKind, Tiering};
