//! The layout is fixed by golden bytes; damage of any kind never passes.

use super::*;

/// What the server's script puts before a body.
fn head(epoch: u64) -> Vec<u8> {
    let digits = format!("{epoch:016}");
    let check = sha1_smol::Sha1::from(&digits).digest().to_string();
    (digits + &check[..16]).into_bytes()
}

const CHANGE: u64 = 0x0807_0605_0403_0201;

fn stored(epoch: u64, key: &[u8], value: &[u8], format: Format) -> Vec<u8> {
    let mut stored = head(epoch);
    stored.extend(seal(key, value, format, CHANGE).unwrap());
    stored
}

#[test]
fn layout_is_what_other_versions_and_hosts_read() {
    let mut golden = b"00000000000012340fb0eb23d83b7d07".to_vec();
    golden.extend(b"\x89tL3\x01\x02\x00\x00\x06\x00\x00\x00\x02\x00\x00\x00");
    golden.extend(b"\x01\x02\x03\x04\x05\x06\x07\x08user:7{}");
    golden.extend([140, 2, 194, 236, 251, 201, 121, 31]);
    assert_eq!(stored(1234, b"user:7", b"{}", Format::Json), golden);
    let opened = open(&golden, b"user:7").unwrap();
    assert_eq!((opened.epoch, opened.format, opened.change), (1234, Format::Json, CHANGE));
    assert_eq!(&golden[opened.value], b"{}");
}

#[test]
fn the_start_of_a_record_tells_which_change_made_it() {
    let record = stored(7, b"key", b"value", Format::Raw);
    assert_eq!(change_of(&record[..START_BYTES]), Some(CHANGE));
    assert_eq!(change_of(&record), Some(CHANGE));
    assert_eq!(change_of(&record[..START_BYTES - 1]), None);
    assert_eq!(change_of(b""), None);
    for at in [32, 36] {
        let mut other = record.clone();
        other[at] ^= 1;
        assert_eq!(change_of(&other), None, "byte {at}");
    }
}

#[test]
fn every_shape_of_key_and_value_comes_back() {
    let long = vec![0xff; 70_000];
    for key in [&b""[..], b"k", b"\0\r\n$9", &long] {
        for value in [&b""[..], b"v", b"\0\r\n", &long] {
            for format in [Format::Raw, Format::Text, Format::Json] {
                let stored = stored(281_474_976_710_655, key, value, format);
                let opened = open(&stored, key).unwrap();
                assert_eq!((opened.epoch, opened.format), (281_474_976_710_655, format));
                assert_eq!(&stored[opened.value], value);
            }
        }
    }
}

#[test]
fn another_keys_record_never_passes() {
    let record = stored(7, b"ab", b"cd", Format::Raw);
    for other in [&b""[..], b"a", b"abc", b"ac", b"AB"] {
        assert_eq!(open(&record, other), Err(Doubt::Key));
    }
}

#[test]
fn each_doubt_has_its_reason() {
    let good = stored(7, b"key", b"value", Format::Text);
    let spoilt = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        open(&bytes, b"key")
    };
    assert_eq!(open(b"", b"key"), Err(Doubt::Short));
    assert_eq!(spoilt(15, b'8'), Err(Doubt::Head));
    assert_eq!(spoilt(0, b'x'), Err(Doubt::Head));
    assert_eq!(spoilt(33, b'T'), Err(Doubt::Magic));
    assert_eq!(spoilt(36, 2), Err(Doubt::Version));
    assert_eq!(spoilt(37, 200), Err(Doubt::Format));
    assert_eq!(spoilt(38, 1), Err(Doubt::Flags));
    assert_eq!(spoilt(43, 255), Err(Doubt::Length));
    assert_eq!(spoilt(47, 255), Err(Doubt::Length));
    assert_eq!(spoilt(52, b'!'), Err(Doubt::Checksum));
    assert_eq!(spoilt(60, b'!'), Err(Doubt::Checksum));
    // The format is under the checksum too: a text must not turn into JSON.
    assert_eq!(spoilt(37, Format::Json as u8), Err(Doubt::Checksum));
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let good = stored(7, b"key", &[9; 300], Format::Raw);
    for length in 0..good.len() {
        assert!(open(&good[..length], b"key").is_err(), "{length} bytes");
        assert!(open(&good[good.len() - length..], b"key").is_err(), "last {length} bytes");
    }
    for extra in 1..40 {
        let mut longer = good.clone();
        longer.resize(good.len() + extra, 0);
        assert_eq!(open(&longer, b"key"), Err(Doubt::Length));
    }
}

#[test]
fn a_hundred_thousand_random_flips_never_pass() {
    let seed = 0x1e57;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..100_000_u32 {
        let mut value = vec![0; random.usize(0..100)];
        random.fill(&mut value);
        let good = stored(random.u64(1..1 << 48), b"a key", &value, Format::Raw);
        let mut bad = good.clone();
        for _ in 0..random.usize(1..=4) {
            let bit = random.usize(0..bad.len() * 8);
            bad[bit / 8] ^= 1 << (bit % 8);
        }
        if bad != good {
            let found = open(&bad, b"a key");
            assert!(found.is_err(), "seed {seed:#x}, round {round}: {bad:?} gave {found:?}");
        }
    }
}

#[test]
fn random_bytes_never_panic_and_never_pass() {
    let seed = 0xfee1;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..20_000_u32 {
        let mut bytes = vec![0; random.usize(0..200)];
        random.fill(&mut bytes);
        if random.bool() {
            // Past the first checks, so that lengths are reached.
            let start = [&head(random.u64(1..1 << 48))[..], b"\x89tL3\x01\x00\x00\x00"].concat();
            bytes.splice(..bytes.len().min(start.len()), start);
        }
        assert!(open(&bytes, b"key").is_err(), "seed {seed:#x}, round {round}");
    }
}
