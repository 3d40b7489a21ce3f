//! How a value becomes bytes for L2 and L3, and how it comes back.
//!
//! L1 holds values as they are; a codec runs only when a value goes down or comes up, on the
//! caller's thread and with no lock held.

#[cfg(feature = "redis")]
pub(crate) mod envelope;
#[cfg(feature = "serde")]
mod finite;
#[cfg(feature = "serde")]
mod typed;

#[cfg(feature = "serde")]
pub use typed::JsonCodec;
#[cfg(feature = "msgpack")]
pub use typed::MessagePackCodec;

use bytes::Bytes;

use crate::error::Result;

/// How the bytes of a value are to be read, kept beside them in L2 and L3, so that Rust, C and
/// Python agree on what they find there.
///
/// Numbers are part of the stored format: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Format {
    /// Bytes as the caller gave them.
    Raw = 0,
    /// UTF-8 text.
    Text = 1,
    /// One JSON value in UTF-8.
    Json = 2,
    /// No value: a loader said that there is none. The cache keeps this word itself; no codec
    /// makes it or is given it.
    Absent = 3,
    /// One MessagePack value.
    MessagePack = 4,
    /// No value: one that is too large for the tier was set. The cache keeps this word itself, in
    /// L3, so that other hosts are told of that and of what comes after it.
    Oversized = 5,
}

impl Format {
    /// The format of a stored number, or `None` for one that this version does not know.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Text),
            2 => Some(Self::Json),
            3 => Some(Self::Absent),
            4 => Some(Self::MessagePack),
            5 => Some(Self::Oversized),
            _ => None,
        }
    }
}

/// How values are made smaller on their way to L3.
///
/// Numbers are part of the stored format: never reuse one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Compression {
    /// Values go as they are.
    #[default]
    None = 0,
    /// LZ4, its block format: fast, and saves about half of text.
    Lz4 = 1,
    /// Zstandard: saves more, and costs more.
    Zstd = 2,
}

impl Compression {
    /// The compression of a stored number, or `None` for one that this version does not know.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// `none`, `lz4` or `zstd`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The one of this name, in any case.
    #[cfg(feature = "config")]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        [Self::None, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|kind| text.eq_ignore_ascii_case(kind.as_str()))
    }

    /// True if this build can write and read it.
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::None => true,
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }
}

/// Turns values into bytes and back.
pub trait Codec<V>: Send + Sync + 'static {
    /// The bytes of `value` and how to read them.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) where the value has no such form; nothing is
    /// stored then.
    fn encode(&self, value: &V) -> Result<(Bytes, Format)>;

    /// The value of bytes that an [`encode`](Self::encode), perhaps of another process or
    /// language, made.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) where the bytes are no such value; a read
    /// counts that and reports a miss.
    fn decode(&self, bytes: Bytes, format: Format) -> Result<V>;

    /// The bytes that `value` takes in memory, for byte bounds of L1. Need not be exact.
    fn weight(&self, value: &V) -> usize;
}

/// The codec of [`Bytes`]: the bytes themselves, whatever their format.
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesCodec;

impl Codec<Bytes> for BytesCodec {
    fn encode(&self, value: &Bytes) -> Result<(Bytes, Format)> {
        Ok((value.clone(), Format::Raw))
    }

    fn decode(&self, bytes: Bytes, _format: Format) -> Result<Bytes> {
        Ok(bytes)
    }

    fn weight(&self, value: &Bytes) -> usize {
        value.len()
    }
}
