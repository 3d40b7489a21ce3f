//! The form of a value in L3: who it belongs to, how to read it, and proof that it is whole.
//!
//! A stored value is a head that the server wrote and a body that the client wrote:
//!
//! ```text
//!   0   epoch: 16 decimal digits, padded with zeros    the head, written by the script that
//!  16   SHA-1 of these, first 16 hex digits            stores the record (tier/redis/scripts.rs);
//!                                                      of these and "expired" once it is stale
//!                                                      before its time, and of these and "touched"
//!                                                      once it has another time to live
//!  ---------------------------------------------------------------------------------------------
//!  32   magic 89 74 4c 33 ("\x89tL3")                  the body
//!  36   version u8 = 1
//!  37   format u8                                      see `Format`
//!  38   flags u16                                      bits 0-3 compression, bit 4 sealed, bit 5
//!                                                      aside, bit 6 has a stale part
//!  40   key length u32
//!  44   length u32 of the value as it is stored
//!  48   change u64                                     drawn at random by who wrote the record
//!  56   length u32 of the value inflated               only of a compressed one
//!       length u32 of the aside                        only of one that has it
//!       key id [4], salt [24]                          only of a sealed one
//!       aside                                          what it says beside its value (`aside`)
//!       key
//!       value                                          compressed, then encrypted
//!       tag [16]                                       only of a sealed one
//!  end-8  XXH3-64 u64 of the body before it            seed `CHECKSUM_SEED`
//! ```
//!
//! Numbers are little endian. A reader refuses flags that it does not know. The epoch stands
//! outside the checksum because only the server knows it at the moment of the write. It has a
//! check of its own, by the one hash that the server's scripts can compute, because a flipped bit
//! can make an old epoch the current one.
//!
//! [`Envelope::open`] reads any bytes: it never panics, compares every length with what is there,
//! and with the bound on values, before using it, and names the first reason for doubt. The whole
//! key is compared, so that another key's value never passes.
//!
//! Who makes a record stale before its time cannot seal it anew: that is a script in the server. So
//! it is said by the head, in which the check of the epoch is another one. A reader of before takes
//! such a record for a miss. Only a record with a stale part may be marked so, which the script
//! reads from its flags; the others are removed. A record that was given another time to live is
//! marked in the same way, as what is left of that no longer tells its age.
//!
//! A seal covers all of the body before the tag, so nobody without the key of the seal can change
//! a record or move it to another key of the cache. The head is the server's own: who may write
//! there can bring an earlier record of the same key back, or remove it.
//!
//! | file | answers |
//! |---|---|
//! | `aside` | what a record says beside its value |
//! | `doubt` | why bytes are no record |
//! | `head` | what the server wrote before the body |
//! | `packing` | how values are made smaller |
//! | `sealing` | how they are sealed |

mod aside;
mod doubt;
pub(crate) mod head;
mod packing;
#[cfg_attr(not(feature = "seal"), path = "sealing_absent.rs")]
mod sealing;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::head::Head;
pub(crate) use self::{aside::Aside, doubt::Doubt, sealing::SealKeys};
use crate::{
    codec::{Compression, Format},
    error::{Error, ErrorKind, Result},
};

/// Begins every body. The first byte is not ASCII, so that text is never taken for a record.
const MAGIC: [u8; 4] = [0x89, b't', b'L', b'3'];

/// The layout above. A reader takes any other for a miss.
const VERSION: u8 = 1;

/// Decimal digits of an epoch. Sixteen hold every integer that a double of the server's scripts
/// holds exactly.
const EPOCH_DIGITS: usize = 16;

/// Hex digits of the check of the epoch: 64 bits, as the checksum has.
const CHECK_DIGITS: usize = 16;

/// Bytes before the body.
pub(crate) const HEAD_BYTES: usize = EPOCH_DIGITS + CHECK_DIGITS;

/// Bytes of the body that every record has before the key.
const FIXED_BYTES: usize = 24;

/// How many bytes from the start of a stored value tell which change made it ([`change_of`]).
pub(crate) const START_BYTES: usize = HEAD_BYTES + FIXED_BYTES;

/// The flags that tell the compression.
const COMPRESSION_FLAGS: u16 = 0x000f;

/// The flag of a sealed record.
const SEALED_FLAG: u16 = 0x0010;

/// The flag of a record that says something beside its value.
const ASIDE_FLAG: u16 = 0x0020;

/// The flag of a record that is stale in the last part of its time.
const STALE_FLAG: u16 = 0x0040;

/// Bytes of the length of what is said beside the value.
const ASIDE_LENGTH_BYTES: usize = 4;

/// Bytes of the length of an inflated value.
const INFLATED_BYTES: usize = 4;

/// Bytes that tell which key sealed a record: enough to tell a few keys apart.
const KEY_ID_BYTES: usize = 4;

/// Random bytes of each sealed record; why so many is told in `sealing`.
const SALT_BYTES: usize = 24;

/// Bytes of the proof that a sealed record is what its key sealed.
const TAG_BYTES: usize = 16;

/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 8;

/// Separates our checksums from plain XXH3 of the same bytes made by somebody else.
const CHECKSUM_SEED: u64 = 0x7469_6572_6365_4c33;

/// A compressed value is kept where it saves at least one byte in so many: inflating it costs
/// every reader time, and a few bytes less buy none back.
const LEAST_SAVING: usize = 8;

/// How records are written, and which are taken.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// How values are made smaller; records of each kind that is built in can be read.
    pub(crate) compression: Compression,
    /// Values of fewer bytes are left as they are.
    pub(crate) compress_above: usize,
    /// The bound on values, before they are made smaller and after they are inflated.
    pub(crate) max_value_bytes: usize,
    /// Where there are keys, every record is sealed, and none is taken that is not.
    pub(crate) seal_keys: Option<SealKeys>,
}

/// What a whole record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The epoch under which the server took the record.
    pub(crate) epoch: u64,
    /// True where it was made stale before its time.
    pub(crate) is_expired: bool,
    /// True where its time to live is not the one that it was made with.
    pub(crate) is_touched: bool,
    /// How to read the value.
    pub(crate) format: Format,
    /// Which change made the record.
    pub(crate) change: u64,
    /// The value, in memory of its own.
    pub(crate) value: Bytes,
    /// What it says beside its value.
    pub(crate) aside: Aside,
}

impl Envelope {
    /// Makes the body of a record, behind the `head` that it has under some epoch ([`head::of`]), or behind
    /// nothing. `change` tells it from every other record of the key.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] where the key or the value has 2^32 bytes or more;
    /// [`ErrorKind::Io`] where a seal needs random bytes and the system gives none.
    pub(crate) fn seal(
        &self,
        head: &[u8],
        key: &[u8],
        value: &[u8],
        format: Format,
        change: u64,
        aside: &Aside,
    ) -> Result<Vec<u8>> {
        let inflated = length_of("value", value)?;
        let packed = self.packed(value);
        let compressed = packed.as_ref().map(|_| (self.compression, inflated));
        let salt = self.seal_keys.as_ref().map(SealKeys::draw).transpose()?;
        let value = packed.as_deref().unwrap_or(value);
        let parts = Parts { key, value, format, change, aside };
        self.assemble(head, &parts, compressed, salt)
    }

    /// The value made smaller, where that is asked for and pays.
    fn packed(&self, value: &[u8]) -> Option<Vec<u8>> {
        if self.compression == Compression::None || value.len() < self.compress_above {
            return None;
        }
        // What a compressed record has more than another is part of what it must save.
        let most = (value.len() - value.len() / LEAST_SAVING).checked_sub(INFLATED_BYTES)?;
        packing::pack(self.compression, value, most)
    }

    fn assemble(
        &self,
        head: &[u8],
        parts: &Parts<'_>,
        compressed: Option<(Compression, u32)>,
        salt: Option<([u8; KEY_ID_BYTES], [u8; SALT_BYTES])>,
    ) -> Result<Vec<u8>> {
        let compression = compressed.map_or(Compression::None, |(how, _)| how);
        let aside = parts.aside.to_bytes();
        let flag = |is_set: bool, flag: u16| if is_set { flag } else { 0 };
        let flags = u16::from(compression as u8)
            | flag(salt.is_some(), SEALED_FLAG)
            | flag(!aside.is_empty(), ASIDE_FLAG)
            | flag(parts.aside.stale_millis > 0, STALE_FLAG);
        let mut body = Vec::with_capacity(stored_bytes(parts.key.len(), parts.value.len()));
        body.extend_from_slice(head);
        body.extend_from_slice(&MAGIC);
        body.extend_from_slice(&[VERSION, parts.format as u8]);
        body.extend_from_slice(&flags.to_le_bytes());
        body.extend_from_slice(&length_of("key", parts.key)?.to_le_bytes());
        body.extend_from_slice(&length_of("value", parts.value)?.to_le_bytes());
        body.extend_from_slice(&parts.change.to_le_bytes());
        if let Some((_, inflated)) = compressed {
            body.extend_from_slice(&inflated.to_le_bytes());
        }
        if !aside.is_empty() {
            body.extend_from_slice(&length_of("aside", &aside)?.to_le_bytes());
        }
        if let Some((id, salt)) = &salt {
            body.extend_from_slice(id);
            body.extend_from_slice(salt);
        }
        body.extend_from_slice(&aside);
        body.extend_from_slice(parts.key);
        let value_at = body.len();
        body.extend_from_slice(parts.value);
        if let (Some(keys), Some((_, salt))) = (&self.seal_keys, &salt) {
            let (bound, value) = body.split_at_mut(value_at);
            let tag = keys.seal(salt, &bound[head.len()..], value)?;
            body.extend_from_slice(&tag);
        }
        let checksum = xxh3_64_with_seed(&body[head.len()..], CHECKSUM_SEED);
        body.extend_from_slice(&checksum.to_le_bytes());
        Ok(body)
    }

    /// The most bytes that a record of such a key takes in the server, its name not counted.
    pub(crate) fn most_stored_bytes(&self, key_bytes: usize) -> usize {
        stored_bytes(key_bytes, self.max_value_bytes)
    }

    /// Reads a stored value, head included, that was found under `key`.
    ///
    /// # Errors
    /// The first [`Doubt`]; then the bytes are no value of this key.
    pub(crate) fn open(&self, stored: impl AsRef<[u8]>, key: &[u8]) -> Result<Opened, Doubt> {
        let stored = stored.as_ref();
        if stored.len() < HEAD_BYTES + FIXED_BYTES + CHECKSUM_BYTES {
            return Err(Doubt::Short);
        }
        let (head, body) = stored.split_at(HEAD_BYTES);
        let Head { epoch, is_expired, is_touched } = Head::read(head).ok_or(Doubt::Head)?;
        if body[..4] != MAGIC {
            return Err(Doubt::Magic);
        }
        if body[4] != VERSION {
            return Err(Doubt::Version);
        }
        let format = Format::from_u8(body[5]).ok_or(Doubt::Format)?;
        let flags = u16::from_le_bytes([body[6], body[7]]);
        if flags & !(COMPRESSION_FLAGS | SEALED_FLAG | ASIDE_FLAG | STALE_FLAG) != 0 {
            return Err(Doubt::Flags);
        }
        let compression = u8::try_from(flags & COMPRESSION_FLAGS).ok();
        let compression = compression
            .and_then(Compression::from_u8)
            .filter(|compression| compression.is_built_in())
            .ok_or(Doubt::Compression)?;
        let keys = match (&self.seal_keys, flags & SEALED_FLAG != 0) {
            (Some(_), false) => return Err(Doubt::Plain),
            (None, true) => return Err(Doubt::SealKey),
            (keys, _) => keys.as_ref(),
        };

        let is_compressed = compression != Compression::None;
        let has_aside = flags & ASIDE_FLAG != 0;
        let aside_length_at = FIXED_BYTES + if is_compressed { INFLATED_BYTES } else { 0 };
        let salt_at = aside_length_at + if has_aside { ASIDE_LENGTH_BYTES } else { 0 };
        let aside_at = salt_at + if keys.is_some() { KEY_ID_BYTES + SALT_BYTES } else { 0 };
        let end_bytes = CHECKSUM_BYTES + if keys.is_some() { TAG_BYTES } else { 0 };
        let length = |at: usize| {
            u64::from(u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]))
        };
        // What is read here is there: the shortest body has room for both lengths.
        let aside_bytes = if has_aside { length(aside_length_at) } else { 0 };
        if aside_bytes > aside::MOST_BYTES as u64 {
            return Err(Doubt::Aside);
        }
        let key_at = aside_at + aside_bytes as usize;
        let (key_bytes, value_bytes, change) =
            (length(8), length(12), length(16) | length(20) << 32);
        // In u64 the sum of two u32, small constants and the bounded length cannot wrap.
        if (key_at + end_bytes) as u64 + key_bytes + value_bytes != body.len() as u64 {
            return Err(Doubt::Length);
        }
        // Now all of the parts are there, each of them as long as stated.
        let inflated = if is_compressed { length(FIXED_BYTES) } else { value_bytes };
        if inflated > self.max_value_bytes as u64 {
            return Err(Doubt::Size);
        }
        let (covered, checksum) = body.split_at(body.len() - CHECKSUM_BYTES);
        if xxh3_64_with_seed(covered, CHECKSUM_SEED).to_le_bytes() != checksum {
            return Err(Doubt::Checksum);
        }
        let value_at = key_at + key_bytes as usize;
        if &covered[key_at..value_at] != key {
            return Err(Doubt::Key);
        }
        let aside = Aside::from_bytes(&covered[aside_at..key_at]).ok_or(Doubt::Aside)?;
        if (aside.stale_millis > 0) != (flags & STALE_FLAG != 0) {
            return Err(Doubt::Aside);
        }
        let (bound, value_and_tag) = covered.split_at(value_at);
        let value_bytes = value_bytes as usize;
        let value = match keys {
            None => {
                let at = HEAD_BYTES + value_at;
                Bytes::copy_from_slice(&stored[at..at + value_bytes])
            }
            Some(keys) => {
                let (id, salt) = bound[salt_at..aside_at].split_at(KEY_ID_BYTES);
                let id = id.try_into().map_err(|_| Doubt::Length)?;
                let salt = salt.try_into().map_err(|_| Doubt::Length)?;
                let mut value = value_and_tag.to_vec();
                keys.open(id, salt, bound, &mut value)?;
                value.truncate(value_bytes);
                Bytes::from(value)
            }
        };
        let value = if is_compressed {
            Bytes::from(packing::unpack(compression, &value, inflated as usize)?)
        } else {
            value
        };
        Ok(Opened { epoch, is_expired, is_touched, format, change, value, aside })
    }
}

/// What a record is made of.
struct Parts<'a> {
    key: &'a [u8],
    /// As it is stored.
    value: &'a [u8],
    format: Format,
    change: u64,
    aside: &'a Aside,
}

/// The bytes that the longest form of a record takes, head included.
const fn stored_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    let seal = KEY_ID_BYTES + SALT_BYTES + TAG_BYTES;
    let sometimes = INFLATED_BYTES + ASIDE_LENGTH_BYTES + aside::MOST_BYTES + seal;
    HEAD_BYTES + FIXED_BYTES + sometimes + key_bytes + value_bytes + CHECKSUM_BYTES
}

fn length_of(what: &str, bytes: &[u8]) -> Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| {
        Error::new(
            ErrorKind::TooLarge,
            format!("{what} of {} bytes: must be below 4 GiB", bytes.len()),
        )
    })
}

/// Which change made the stored value that begins with these bytes; `None` where they are too few
/// or not the start of a record of this version, or where that was made stale or touched since, which
/// is a change of its own. Nothing else of it is checked.
pub(crate) fn change_of(start: &[u8]) -> Option<u64> {
    let (head, body) = start.get(..START_BYTES)?.split_at(HEAD_BYTES);
    let head = Head::read(head)?;
    if head.is_expired || head.is_touched {
        return None;
    }
    let change = body[FIXED_BYTES - 8..].try_into().ok()?;
    (body[..4] == MAGIC && body[4] == VERSION).then_some(u64::from_le_bytes(change))
}

#[cfg(test)]
mod tests;
