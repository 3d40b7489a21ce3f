//! Stands for the seal where the feature `seal` is off: there are no keys.

use super::{Doubt, KEY_ID_BYTES, SALT_BYTES, TAG_BYTES};
use crate::error::{Error, ErrorKind, Result};

/// Keys that cannot exist.
#[derive(Debug)]
pub(crate) enum SealKeys {}

impl SealKeys {
    pub(crate) fn parse(_first: &str, _older: &str) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "redis.seal_key: this build lacks the feature seal"))
    }

    pub(super) fn draw(&self) -> Result<([u8; KEY_ID_BYTES], [u8; SALT_BYTES])> {
        match *self {}
    }

    pub(super) fn seal(
        &self,
        _salt: &[u8; SALT_BYTES],
        _bound: &[u8],
        _value: &mut [u8],
    ) -> Result<[u8; TAG_BYTES]> {
        match *self {}
    }

    pub(super) fn open(
        &self,
        _id: [u8; KEY_ID_BYTES],
        _salt: &[u8; SALT_BYTES],
        _bound: &[u8],
        _value_and_tag: &mut [u8],
    ) -> Result<(), Doubt> {
        match *self {}
    }
}
