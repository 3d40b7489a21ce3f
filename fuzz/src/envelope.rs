//! Records of L3, sound, damaged and made up, for [`Envelope::open`].
//!
//! What must hold: it never panics; a sound record comes back as it was; one that somebody else
//! changed is a doubt, also where he made a new checksum, if it was sealed; and where he could (the
//! checksum is no secret), no value comes out that is larger than the bound.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    codec::{
        Compression, Format,
        envelope::{Aside, Envelope, HEAD_BYTES, Opened, START_BYTES, SealKeys, change_of},
    },
    source::Source,
};

/// The bound on values here.
const BOUND: usize = 8 << 10;

/// A record of the largest value with all that belongs to it, twice as room for a vector that
/// grows, which is what fills the head and the body here.
pub const MOST_ALLOCATED: usize = 64 << 10;

/// As the envelope has it.
const CHECKSUM_SEED: u64 = 0x7469_6572_6365_4c33;

const SEAL_KEYS: [&str; 2] = [
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
];

fn envelopes() -> Vec<Envelope> {
    let keys = [None, Some(SEAL_KEYS[0]), Some(SEAL_KEYS[1])];
    let kinds = [Compression::None, Compression::Lz4, Compression::Zstd];
    let with = |compression, key: Option<&str>| Envelope {
        compression,
        compress_above: 0,
        max_value_bytes: BOUND,
        seal_keys: key.map(|key| {
            // The second one also opens what the first one sealed.
            let older = if key == SEAL_KEYS[1] { SEAL_KEYS[0] } else { "" };
            SealKeys::parse(key, older).unwrap_or_else(|error| panic!("{error}"))
        }),
    };
    keys.into_iter().flat_map(|key| kinds.map(|kind| with(kind, key))).collect()
}

fn head() -> Vec<u8> {
    let digits = format!("{:016}", 1234);
    let check = sha1_smol::Sha1::from(&digits).digest().to_string();
    [digits.as_bytes(), &check.as_bytes()[..16]].concat()
}

pub(crate) fn run(source: &mut Source<'_>) -> u64 {
    let (envelopes, head) = (envelopes(), head());
    let mut done = 0;
    while source.goes_on() {
        one(source, &envelopes, &head);
        done += 1;
    }
    done
}

/// Makes a record, perhaps changes it, and reads it by any of the envelopes.
fn one(source: &mut Source<'_>, envelopes: &[Envelope], head: &[u8]) {
    let writer = source.below(envelopes.len() as u64) as usize;
    let key = bytes(source, 20);
    let value = value(source);
    let format = source.one_of(&[Format::Raw, Format::Text, Format::Json, Format::Absent]);
    let change = source.below(1 << 16);
    let aside = aside(source);
    let body = envelopes[writer]
        .seal(b"", &key, &value, format, change, &aside)
        .unwrap_or_else(|error| panic!("{error}"));
    let sound = [head, &body].concat();
    assert_eq!(change_of(&sound[..START_BYTES]), Some(change));
    assert!(sound.len() <= envelopes[writer].most_stored_bytes(key.len()));

    let mut record = sound.clone();
    let knows_checksum = source.below(4) < 3;
    for _ in 0..source.below(4) {
        damage(source, &mut record);
    }
    if knows_checksum {
        make_checksum(&mut record);
    }
    let reader = source.below(envelopes.len() as u64) as usize;
    let is_sound = record == sound;
    let found = envelopes[reader].open(record, &key);
    // Three envelopes for each of: no key, the first key, the second one that also knows it.
    let (wrote, reads) = (writer / 3, reader / 3);
    let may_open = wrote == reads || (wrote, reads) == (1, 2);
    match found {
        Ok(opened) if is_sound => {
            assert!(may_open, "opened without its key");
            let value = value.into();
            let (is_expired, is_touched) = (false, false);
            let expected =
                Opened { epoch: 1234, is_expired, is_touched, format, change, value, aside };
            assert_eq!(opened, expected);
        }
        Ok(opened) => {
            assert!(opened.value.len() <= BOUND, "{} bytes", opened.value.len());
            let aside = &opened.aside;
            assert!(aside.tags.len() <= 128 && aside.validator.len() <= 1024);
            assert!(knows_checksum, "damage passed: {opened:?}");
            assert!(reads == 0, "a forged record passed: {opened:?}");
        }
        Err(doubt) => assert!(!is_sound || !may_open, "{doubt} about a sound record"),
    }
}

fn bytes(source: &mut Source<'_>, most: u64) -> Vec<u8> {
    (0..source.below(most + 1)).map(|_| source.below(256) as u8).collect()
}

/// What the record says beside its value: mostly nothing.
fn aside(source: &mut Source<'_>) -> Aside {
    let mut aside = Aside::default();
    if source.once_in(2) {
        aside.life_millis = source.below(1 << 16);
        aside.stale_millis = source.one_of(&[0, 1, 1 << 40]);
    }
    if source.once_in(4) {
        aside.tags = (0..=source.below(4)).map(|_| source.below(1 << 32) as u32).collect();
        aside.known = [source.below(9), source.below(9)];
    }
    if source.once_in(4) {
        aside.validator = bytes(source, 30).into();
    }
    aside
}

/// A value of noise, of repetition, or of both.
fn value(source: &mut Source<'_>) -> Vec<u8> {
    let mut value = bytes(source, 60);
    if source.once_in(2) {
        let length = value.len() as u64 + source.below(2_000);
        let seed = bytes(source, 20);
        value.extend(seed.iter().cycle().take(length as usize));
    }
    if source.once_in(16) {
        value.resize(BOUND, 7);
    }
    value
}

/// Changes a few bytes, of any place, or of those that say how the others are to be read.
fn damage(source: &mut Source<'_>, record: &mut Vec<u8>) {
    let length = record.len() as u64;
    match source.below(8) {
        0 => record.truncate(source.below(length + 1) as usize),
        1 => record.extend(bytes(source, 30)),
        2 => {
            let at = source.below(length + 1) as usize;
            record.splice(at..at, bytes(source, 8));
        }
        3 => {
            let at = source.below(length + 1) as usize;
            let end = (at + source.below(8) as usize).min(record.len());
            record.drain(at..end);
        }
        4 | 5 => {
            // Version, format, flags, lengths, and the length of the inflated value.
            let at = HEAD_BYTES + 4 + source.below(24) as usize;
            if let Some(byte) = record.get_mut(at) {
                *byte = source.one_of(&[
                    0, 1, 2, 3, 0x10, 0x11, 0x12, 0x20, 0x30, 0x60, 0x70, 0x7f, 0x80, 0xff,
                ]);
            }
        }
        6 => {
            // Lengths that add up, so that what comes after them is reached.
            let Some(place) = record.get_mut(HEAD_BYTES + 8..HEAD_BYTES + 16) else { return };
            let shift = source.below(64) as u8;
            place[0] = place[0].wrapping_add(shift);
            place[4] = place[4].wrapping_sub(shift);
        }
        _ => {
            let at = source.below(length) as usize;
            if let Some(byte) = record.get_mut(at) {
                *byte ^= 1 << source.below(8);
            }
        }
    }
}

fn make_checksum(record: &mut [u8]) {
    if let Some(end) = record.len().checked_sub(8).filter(|end| *end >= HEAD_BYTES) {
        let sum = xxh3_64_with_seed(&record[HEAD_BYTES..end], CHECKSUM_SEED);
        record[end..].copy_from_slice(&sum.to_le_bytes());
    }
}
