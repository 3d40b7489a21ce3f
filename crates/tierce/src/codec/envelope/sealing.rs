//! Values sealed under a key: nobody without it can read one, make one, or move one to another
//! key of the cache.
//!
//! AES-256-GCM of ring. A nonce of its 96 bits, drawn at random, would repeat with a chance that
//! counts after 2^32 records; so each record draws 192 random bits, the salt, and has a key of its
//! own, which HKDF-SHA256 expands from the configured key and the salt (RFC 5869, section 2.3; the
//! configured key is random, so there is nothing to extract). The last 96 bits are the nonce.
//!
//! Which of several keys sealed a record is told by four bytes that HKDF makes of the key.

use std::fmt;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Prk},
    rand::{SecureRandom, SystemRandom},
};

use super::{Doubt, KEY_ID_BYTES, SALT_BYTES, TAG_BYTES};
use crate::error::{Error, ErrorKind, Result};

/// Separates what is expanded from a key for records from all else.
const RECORD_LABEL: &[u8] = b"tierce L3 v1 record";

/// The same for the four bytes that name a key.
const ID_LABEL: &[u8] = b"tierce L3 v1 key id";

/// Bytes of a nonce of AES-GCM.
const NONCE_BYTES: usize = 12;

/// Bytes of a key.
const SECRET_BYTES: usize = 32;

/// The keys that open records. The first one seals.
pub(crate) struct SealKeys {
    first: SealKey,
    older: Vec<SealKey>,
}

struct SealKey {
    id: [u8; KEY_ID_BYTES],
    secret: Prk,
}

/// The length of the name of a key, for HKDF.
struct IdLength;

impl KeyType for IdLength {
    fn len(&self) -> usize {
        KEY_ID_BYTES
    }
}

impl SealKeys {
    /// Reads keys, each of 64 hex digits; `older` has any number of them, apart by blanks or
    /// commas.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], and never a part of a key in its message.
    pub(crate) fn parse(first: &str, older: &str) -> Result<Self> {
        let apart = |letter: char| letter.is_whitespace() || letter == ',';
        let older = older.split(apart).filter(|word| !word.is_empty());
        Ok(Self {
            first: SealKey::parse(first.trim()).ok_or_else(|| wrong("seal_key"))?,
            older: older
                .map(|word| SealKey::parse(word).ok_or_else(|| wrong("older_seal_keys")))
                .collect::<Result<_>>()?,
        })
    }

    /// The name of the key that seals, and a new salt.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the system gives no random bytes.
    pub(super) fn draw(&self) -> Result<([u8; KEY_ID_BYTES], [u8; SALT_BYTES])> {
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| Error::new(ErrorKind::Io, "system gives no random bytes"))?;
        Ok((self.first.id, salt))
    }

    /// Encrypts the value in its place and returns the tag over it and what is `bound` to it.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] beyond what one nonce may encrypt, 64 GiB.
    pub(super) fn seal(
        &self,
        salt: &[u8; SALT_BYTES],
        bound: &[u8],
        value: &mut [u8],
    ) -> Result<[u8; TAG_BYTES]> {
        let too_large = || Error::new(ErrorKind::TooLarge, "value cannot be sealed");
        let (key, nonce) = self.first.of_record(salt).ok_or_else(too_large)?;
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(bound), value)
            .map_err(|_| too_large())?;
        tag.as_ref().try_into().map_err(|_| too_large())
    }

    /// Decrypts the value, in its place, that is followed by its tag.
    pub(super) fn open(
        &self,
        id: [u8; KEY_ID_BYTES],
        salt: &[u8; SALT_BYTES],
        bound: &[u8],
        value_and_tag: &mut [u8],
    ) -> Result<(), Doubt> {
        // Two of them may have one name, for one in 2^32 pairs of keys; the first is asked then.
        let mut keys = std::iter::once(&self.first).chain(&self.older);
        let key = keys.find(|key| key.id == id).ok_or(Doubt::SealKey)?;
        let (key, nonce) = key.of_record(salt).ok_or(Doubt::Seal)?;
        match key.open_in_place(nonce, Aad::from(bound), value_and_tag) {
            Ok(_) => Ok(()),
            Err(_) => Err(Doubt::Seal),
        }
    }
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SealKeys(hidden, {} older)", self.older.len())
    }
}

impl SealKey {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * SECRET_BYTES {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let mut secret = [0; SECRET_BYTES];
        for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
        }
        let secret = Prk::new_less_safe(HKDF_SHA256, &secret);
        let mut id = [0; KEY_ID_BYTES];
        secret.expand(&[ID_LABEL], IdLength).ok()?.fill(&mut id).ok()?;
        Some(Self { id, secret })
    }

    /// The key and the nonce of the record with this salt.
    fn of_record(&self, salt: &[u8; SALT_BYTES]) -> Option<(LessSafeKey, Nonce)> {
        let info = [RECORD_LABEL, salt];
        let key = UnboundKey::from(self.secret.expand(&info, &AES_256_GCM).ok()?);
        let nonce = Nonce::try_assume_unique_for_key(&salt[SALT_BYTES - NONCE_BYTES..]).ok()?;
        Some((LessSafeKey::new(key), nonce))
    }
}

fn wrong(option: &str) -> Error {
    let rule = "must be 64 hex digits, as `openssl rand -hex 32` prints them";
    Error::new(ErrorKind::Config, format!("redis.{option}: {rule}"))
}
