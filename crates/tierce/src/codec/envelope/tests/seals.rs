//! What a seal keeps out, also from those who can make checksums.

use super::*;

pub(super) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
const OTHER: &str = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

pub(super) fn sealed() -> Envelope {
    under(KEY, "")
}

fn under(first: &str, older: &str) -> Envelope {
    Envelope { seal_keys: Some(SealKeys::parse(first, older).unwrap()), ..plain() }
}

#[test]
fn a_sealed_value_is_not_to_be_read() {
    let value = repeating_text(500);
    let first = stored_by(&sealed(), 7, b"key", &value, Format::Raw);
    assert!(!first.windows(8).any(|window| value.windows(8).any(|part| part == window)));
    // Each record has a salt of its own, so equal values do not look equal.
    let second = stored_by(&sealed(), 7, b"key", &value, Format::Raw);
    assert_ne!(first[START_BYTES + 4..], second[START_BYTES + 4..]);
    assert_eq!(&sealed().open(first, b"key").unwrap().value[..], &value[..]);
}

#[test]
fn whoever_lacks_the_key_can_change_nothing() {
    for envelope in forms().into_iter().filter(|envelope| envelope.seal_keys.is_some()) {
        let good = stored_by(&envelope, 7, b"key", &repeating_text(300), Format::Raw);
        let key_at = good.len()
            - CHECKSUM_BYTES
            - TAG_BYTES
            - u32::from_le_bytes(good[44..48].try_into().unwrap()) as usize
            - 3;
        for at in HEAD_BYTES..good.len() - CHECKSUM_BYTES {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let bad = with_checksum(bad);
                // Asked for by the key that it says it belongs to.
                let key = bad[key_at..key_at + 3].to_vec();
                let found = envelope.open(bad, &key);
                assert!(found.is_err(), "byte {at}, bit {bit}: {found:?}");
            }
        }
    }
}

#[test]
fn a_sealed_record_moved_to_another_key_change_or_format_is_refused() {
    let good = stored_by(&sealed(), 7, b"key", b"value", Format::Raw);
    let key_at = START_BYTES + KEY_ID_BYTES + SALT_BYTES;
    assert_eq!(&good[key_at..key_at + 3], b"key");
    let moved = |at: usize, to: &[u8], key: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + to.len()].copy_from_slice(to);
        sealed().open(with_checksum(bad), key)
    };
    assert!(moved(key_at, b"key", b"key").is_ok());
    assert_eq!(moved(key_at, b"kez", b"kez"), Err(Doubt::Seal));
    assert_eq!(moved(48, &[7; 8], b"key"), Err(Doubt::Seal));
    assert_eq!(moved(37, &[Format::Json as u8], b"key"), Err(Doubt::Seal));
    // The first letter of the key becomes a part of the value, or the other way round.
    assert_eq!(moved(40, &[2, 0, 0, 0, 6, 0, 0, 0], b"ke"), Err(Doubt::Seal));
    assert_eq!(moved(40, &[4, 0, 0, 0, 4, 0, 0, 0], &good[key_at..key_at + 4]), Err(Doubt::Seal));
}

#[test]
fn plain_records_and_those_of_other_keys_are_refused() {
    let unsealed = stored(7, b"key", b"value", Format::Raw);
    let ours = stored_by(&sealed(), 7, b"key", b"value", Format::Raw);
    let theirs = stored_by(&under(OTHER, ""), 7, b"key", b"value", Format::Raw);
    assert_eq!(sealed().open(unsealed.clone(), b"key"), Err(Doubt::Plain));
    assert_eq!(sealed().open(theirs.clone(), b"key"), Err(Doubt::SealKey));
    assert_eq!(open(&ours, b"key"), Err(Doubt::SealKey));
    // That another key is named is no proof that it sealed.
    let mut renamed = theirs;
    renamed[START_BYTES..START_BYTES + KEY_ID_BYTES]
        .copy_from_slice(&ours[START_BYTES..START_BYTES + KEY_ID_BYTES]);
    assert_eq!(sealed().open(with_checksum(renamed), b"key"), Err(Doubt::Seal));
}

#[test]
fn older_keys_open_and_the_first_one_seals() {
    let old = stored_by(&under(OTHER, ""), 7, b"key", b"old", Format::Raw);
    let rotated = under(KEY, &format!("{},{OTHER}", "ab".repeat(32)));
    assert_eq!(&rotated.open(old.clone(), b"key").unwrap().value[..], b"old");
    let new = stored_by(&rotated, 7, b"key", b"new", Format::Raw);
    assert_eq!(&sealed().open(new.clone(), b"key").unwrap().value[..], b"new");
    assert_eq!(under(OTHER, "").open(new, b"key"), Err(Doubt::SealKey));
    assert_eq!(sealed().open(old, b"key"), Err(Doubt::SealKey));
    assert!(!format!("{rotated:?}").contains("abab"));
}
