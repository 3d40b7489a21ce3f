//! Messages in the encoding of protobuf, as far as OTLP over HTTP needs it: a writer, and a reader for
//! the answers.
//!
//! The messages of OTLP are stable: numbers of fields do not change within version 1. So a writer of a
//! hundred lines stands here in place of generated ones, which would bring the SDK of OpenTelemetry
//! along. A test decodes what it writes with the official messages.
//!
//! Fields that hold their default (zero, nothing) are left out, as the encoding wants it, but where
//! the callers say that they are set.

/// How a field is written, in the low bits of its tag.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// A message under way.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    fn tag(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number, a truth or a word of an enumeration.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.set_number(field, value);
        }
    }

    /// The same, written though it may be 0: one of several fields, of which this one is set.
    pub(super) fn set_number(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    /// A `fixed64`, `sfixed64` or `double` by its bits, written though it may be 0.
    pub(super) fn set_fixed(&mut self, field: u32, bits: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&bits.to_le_bytes());
    }

    /// A `fixed32`.
    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Text or bytes.
    pub(super) fn bytes(&mut self, field: u32, bytes: impl AsRef<[u8]>) {
        if !bytes.as_ref().is_empty() {
            self.set_bytes(field, bytes);
        }
    }

    /// The same, written though it may be empty.
    pub(super) fn set_bytes(&mut self, field: u32, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.tag(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A message in this one.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.set_bytes(field, inner.0);
    }

    /// Several `fixed64` or `double` as one field.
    pub(super) fn packed(&mut self, field: u32, bits: impl IntoIterator<Item = u64>) {
        let bytes: Vec<u8> = bits.into_iter().flat_map(u64::to_le_bytes).collect();
        self.bytes(field, bytes);
    }

    /// What was written.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A field of a message that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers, up to the first that makes no sense.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The last field of this number.
    pub(super) fn last(message: &'a [u8], field: u32) -> Option<Value<'a>> {
        Fields(message).filter(|(number, _)| *number == field).last().map(|(_, value)| value)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = u32::try_from(self.varint()?).ok()?;
        let value = match tag & 7 {
            VARINT => Value::Number(self.varint()?),
            FIXED64 => Value::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            FIXED32 => Value::Number(u32::from_le_bytes(self.take(4)?.try_into().ok()?).into()),
            LENGTH => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_defaults_are_left_out() {
        let mut message = Message::default();
        message.number(1, 300);
        message.number(2, 0);
        message.bytes(3, "");
        message.message(4, |inner| inner.bytes(1, "text"));
        message.set_fixed(5, 7);
        message.fixed32(16, 257);
        message.packed(6, [1, 2]);
        message.set_number(7, u64::MAX);
        let bytes = message.finish();
        // As `protoc --decode_raw` has it.
        assert_eq!(bytes[..3], [0x08, 0xac, 0x02]);
        let fields: Vec<_> = Fields(&bytes).collect();
        let numbers: Vec<u32> = fields.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 4, 5, 16, 6, 7]);
        assert_eq!(fields[0].1, Value::Number(300));
        let Value::Bytes(inner) = fields[1].1 else { panic!("{fields:?}") };
        assert_eq!(Fields::last(inner, 1), Some(Value::Bytes(b"text")));
        assert_eq!((fields[2].1, fields[3].1), (Value::Number(7), Value::Number(257)));
        assert_eq!(fields[5].1, Value::Number(u64::MAX));
    }

    #[test]
    fn bytes_that_are_no_message_are_read_up_to_there() {
        for bytes in [
            &b""[..],
            b"\xff",
            b"\x0a\x05ab",
            b"\x0b",
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        ] {
            assert_eq!(Fields(bytes).count(), 0, "{bytes:?}");
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            assert!(Fields(&bytes).count() <= bytes.len());
        }
    }
}
