//! The layout is fixed by golden files; damage and forgery of any kind never pass.

mod golden;
#[cfg(feature = "seal")]
mod seals;

use super::{
    aside::{MAX_TAGS, MAX_VALIDATOR_BYTES},
    *,
};

const CHANGE: u64 = 0x0807_0605_0403_0201;
const BOUND: usize = 1 << 20;

fn plain() -> Envelope {
    Envelope {
        compression: Compression::None,
        compress_above: 0,
        max_value_bytes: BOUND,
        seal_keys: None,
    }
}

/// One of each that this build can write.
fn forms() -> Vec<Envelope> {
    let kinds = [Compression::None, Compression::Lz4, Compression::Zstd];
    let kinds = kinds.into_iter().filter(|kind| kind.is_built_in());
    let with = |compression| Envelope { compression, ..plain() };
    #[cfg(feature = "seal")]
    let sealed = kinds.clone().map(|compression| Envelope { compression, ..seals::sealed() });
    #[cfg(not(feature = "seal"))]
    let sealed = std::iter::empty();
    kinds.map(with).chain(sealed).collect()
}

/// What the server's script puts before a body.
fn head(epoch: u64) -> Vec<u8> {
    let digits = format!("{epoch:016}");
    let check = sha1_smol::Sha1::from(&digits).digest().to_string();
    (digits + &check[..16]).into_bytes()
}

fn stored_by(envelope: &Envelope, epoch: u64, key: &[u8], value: &[u8], format: Format) -> Vec<u8> {
    let mut stored = head(epoch);
    stored.extend(envelope.seal(b"", key, value, format, CHANGE, &Aside::default()).unwrap());
    stored
}

fn some_aside() -> Aside {
    Aside {
        stale_millis: 60_000,
        life_millis: 3_600_000,
        known: [CHANGE, 12_345],
        tags: vec![0xdead_beef, 7],
        validator: Bytes::from_static(b"\"etag\""),
    }
}

/// A few, of every form, the longest among them.
fn asides() -> Vec<Aside> {
    let nothing = Aside::default();
    let tags: Vec<u32> = (0..MAX_TAGS as u32).collect();
    let validator = Bytes::from(vec![7; MAX_VALIDATOR_BYTES]);
    let longest = Aside { tags, validator: validator.clone(), ..some_aside() };
    vec![
        nothing.clone(),
        Aside { life_millis: 1, ..nothing.clone() },
        Aside { stale_millis: 1, life_millis: u64::MAX, ..nothing.clone() },
        Aside { validator, ..nothing.clone() },
        Aside { tags: vec![1], known: [2, 3], ..nothing },
        some_aside(),
        longest,
    ]
}

fn stored(epoch: u64, key: &[u8], value: &[u8], format: Format) -> Vec<u8> {
    stored_by(&plain(), epoch, key, value, format)
}

fn open(stored: &[u8], key: &[u8]) -> Result<Opened, Doubt> {
    plain().open(stored, key)
}

/// A record that states of its value what it likes.
fn claimed(how: Compression, stated: u32, packed: &[u8]) -> Vec<u8> {
    let aside = Aside::default();
    let (key, format) = (&b"key"[..], Format::Raw);
    let parts = Parts { key, value: packed, format, change: CHANGE, aside: &aside };
    let body = plain().assemble(b"", &parts, Some((how, stated)), None).unwrap();
    [head(7), body].concat()
}

/// The record with the checksum that its bytes have by now, as whoever changed them would write.
fn with_checksum(mut stored: Vec<u8>) -> Vec<u8> {
    let end = stored.len() - CHECKSUM_BYTES;
    let checksum = xxh3_64_with_seed(&stored[HEAD_BYTES..end], CHECKSUM_SEED);
    stored[end..].copy_from_slice(&checksum.to_le_bytes());
    stored
}

fn repeating_text(length: usize) -> Vec<u8> {
    let line = br#"{"id":7,"name":"Ann","tags":["a","b"],"at":"2024-05-06T07:08:09Z"},"#;
    line.iter().copied().cycle().take(length).collect()
}

#[test]
fn the_start_of_a_record_tells_which_change_made_it() {
    for envelope in forms() {
        let record = stored_by(&envelope, 7, b"key", &repeating_text(900), Format::Raw);
        assert_eq!(change_of(&record[..START_BYTES]), Some(CHANGE), "{envelope:?}");
        assert_eq!(change_of(&record), Some(CHANGE));
        assert_eq!(change_of(&record[..START_BYTES - 1]), None);
        assert_eq!(change_of(b""), None);
        for at in [32, 36] {
            let mut other = record.clone();
            other[at] ^= 1;
            assert_eq!(change_of(&other), None, "byte {at}");
        }
    }
}

#[test]
fn every_shape_of_key_and_value_comes_back() {
    let long = vec![0xff; 70_000];
    for envelope in forms() {
        for key in [&b""[..], b"k", b"\0\r\n$9", &long] {
            for value in [&b""[..], b"v", b"\0\r\n", &long] {
                for format in [Format::Raw, Format::Text, Format::Json] {
                    let stored = stored_by(&envelope, 281_474_976_710_655, key, value, format);
                    assert!(stored.len() <= stored_bytes(key.len(), value.len()));
                    let opened = envelope.open(stored, key).unwrap();
                    assert_eq!((opened.epoch, opened.format), (281_474_976_710_655, format));
                    assert_eq!((opened.change, &opened.value[..]), (CHANGE, value));
                }
            }
        }
    }
}

#[test]
fn what_is_said_beside_the_value_comes_back() {
    let text = repeating_text(900);
    for envelope in forms() {
        for aside in asides() {
            let body = envelope.seal(b"", b"key", &text, Format::Text, CHANGE, &aside).unwrap();
            let stored = [head(7), body].concat();
            assert!(stored.len() <= stored_bytes(3, 900));
            assert_eq!(change_of(&stored), Some(CHANGE));
            let opened = envelope.open(stored, b"key").unwrap();
            assert_eq!((opened.aside, &opened.value[..]), (aside, &text[..]));
        }
    }
}

#[test]
fn a_record_without_end_stale_part_tags_and_validator_has_no_byte_more() {
    let with =
        |aside: &Aside| plain().seal(b"", b"key", b"value", Format::Raw, 1, aside).unwrap().len();
    let (none, life) = (with(&Aside::default()), Aside { life_millis: 7, ..Aside::default() });
    assert_eq!(none, FIXED_BYTES + 3 + 5 + CHECKSUM_BYTES);
    assert_eq!(with(&life), none + 20);
}

#[test]
fn a_head_of_its_own_says_that_a_record_was_made_stale_or_touched() {
    let digits = format!("{:016}", 7);
    let marked = |mark: &str| {
        let check = sha1_smol::Sha1::from(format!("{digits}{mark}")).digest().to_string();
        (digits.clone() + &check[..16]).into_bytes()
    };
    for envelope in forms() {
        let body =
            envelope.seal(b"", b"key", b"value", Format::Raw, CHANGE, &some_aside()).unwrap();
        let open = |head: &[u8]| {
            let opened = envelope.open([head, &body].concat(), b"key")?;
            assert_eq!((opened.epoch, &opened.value[..]), (7, &b"value"[..]));
            Ok((opened.is_expired, opened.is_touched))
        };
        assert_eq!(open(&head(7)), Ok((false, false)));
        assert_eq!(open(&marked("expired")), Ok((true, false)));
        assert_eq!(open(&marked("touched")), Ok((false, true)));
        assert_eq!(open(&marked("touched expired")), Ok((true, true)));
        assert_eq!(open(&marked("expired touched")), Err(Doubt::Head));
        for mark in ["expired", "touched", "touched expired"] {
            // Whoever made it, this is a change of somebody else.
            assert_eq!(change_of(&[&marked(mark)[..], &body].concat()), None);
        }
    }
}

#[test]
fn what_is_said_beside_the_value_is_bounded_and_of_one_form() {
    let body = plain().seal(b"", b"key", b"value", Format::Raw, CHANGE, &some_aside()).unwrap();
    let good = [head(7), body].concat();
    let changed = |at: usize, bytes: &[u8]| {
        let mut record = good.clone();
        record[at..at + bytes.len()].copy_from_slice(bytes);
        open(&with_checksum(record), b"key")
    };
    assert!(changed(0, b"").is_ok());
    let at = START_BYTES + ASIDE_LENGTH_BYTES;
    let most = aside::MOST_BYTES as u32;
    assert_eq!(changed(START_BYTES, &(most + 1).to_le_bytes()), Err(Doubt::Aside));
    assert_eq!(changed(START_BYTES, &most.to_le_bytes()), Err(Doubt::Length));
    assert_eq!(changed(START_BYTES, &u32::MAX.to_le_bytes()), Err(Doubt::Aside));
    // More tags than there may be, and than there are.
    assert_eq!(changed(at + 16, &[MAX_TAGS as u8 + 1]), Err(Doubt::Aside));
    assert_eq!(changed(at + 16, &[5]), Err(Doubt::Aside));
    // The flags say that it has a stale part, which the server goes by.
    assert_eq!(changed(at, &[0; 8]), Err(Doubt::Aside));
    assert_eq!(changed(HEAD_BYTES + 6, &[0x20]), Err(Doubt::Aside));
}

#[test]
fn another_keys_record_never_passes() {
    for envelope in forms() {
        let record = stored_by(&envelope, 7, b"ab", b"cd", Format::Raw);
        for other in [&b""[..], b"a", b"abc", b"ac", b"AB"] {
            assert_eq!(envelope.open(record.clone(), other), Err(Doubt::Key));
        }
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
    assert_eq!(spoilt(38, 128), Err(Doubt::Flags));
    // Its first bytes would be the length of what it does not have.
    assert_eq!(spoilt(38, 32), Err(Doubt::Aside));
    assert_eq!(spoilt(39, 1), Err(Doubt::Flags));
    assert_eq!(spoilt(38, 15), Err(Doubt::Compression));
    assert_eq!(spoilt(38, 16), Err(Doubt::SealKey));
    assert_eq!(spoilt(43, 255), Err(Doubt::Length));
    assert_eq!(spoilt(47, 255), Err(Doubt::Length));
    assert_eq!(spoilt(52, b'!'), Err(Doubt::Checksum));
    assert_eq!(spoilt(60, b'!'), Err(Doubt::Checksum));
    // The format is under the checksum too: a text must not turn into JSON.
    assert_eq!(spoilt(37, Format::Json as u8), Err(Doubt::Checksum));
    // Each of them is counted under a name and a number of its own.
    for (number, doubt) in Doubt::ALL.into_iter().enumerate() {
        assert_eq!(doubt as usize, number);
        let twins = Doubt::ALL.iter().filter(|other| other.as_str() == doubt.as_str());
        assert_eq!(twins.count(), 1, "{doubt}");
    }
}

#[test]
fn a_value_above_the_bound_is_refused() {
    let record = stored(7, b"key", &[1; 101], Format::Raw);
    let reader = |max_value_bytes| Envelope { max_value_bytes, ..plain() };
    assert!(reader(101).open(record.clone(), b"key").is_ok());
    assert_eq!(reader(100).open(record, b"key"), Err(Doubt::Size));
}

#[test]
fn values_are_compressed_from_the_threshold_on_and_where_it_saves() {
    let text = repeating_text(4096);
    let mut noise = vec![0; 4096];
    fastrand::Rng::with_seed(9).fill(&mut noise);
    for envelope in forms() {
        let envelope = Envelope { compress_above: 2048, ..envelope };
        let is_compressed = |value: &[u8]| {
            let body =
                envelope.seal(b"", b"key", value, Format::Raw, 1, &Aside::default()).unwrap();
            body[6] & 0x0f == envelope.compression as u8 && body[6] & 0x0f != 0
        };
        let compresses = envelope.compression != Compression::None;
        assert_eq!(is_compressed(&text), compresses);
        assert_eq!(is_compressed(&text[..2048]), compresses);
        assert!(!is_compressed(&text[..2047]));
        assert!(!is_compressed(&noise));
        // Saves a sixteenth, which is less than an eighth.
        let mostly_noise = [&noise[..3840], &[0; 256]].concat();
        assert!(!is_compressed(&mostly_noise));
        let half_noise = [&noise[..2048], &[0; 2048]].concat();
        assert_eq!(is_compressed(&half_noise), compresses);
    }
}

#[test]
fn what_inflates_to_more_than_the_bound_is_refused_before() {
    for how in [Compression::Lz4, Compression::Zstd].into_iter().filter(|how| how.is_built_in()) {
        let bomb = packing::pack(how, &vec![0; 64 << 20], 64 << 20).unwrap();
        assert!(bomb.len() < 300_000, "{} bytes", bomb.len());
        let whole = claimed(how, 64 << 20, &bomb);
        assert_eq!(open(&whole, b"key"), Err(Doubt::Size), "{how:?}");
        let generous = Envelope { max_value_bytes: 64 << 20, ..plain() };
        assert!(generous.open(whole, b"key").is_ok(), "it is a value where the bound allows it");
        assert_eq!(open(&claimed(how, u32::MAX, &bomb), b"key"), Err(Doubt::Size));
        // Says that it is small, and is not: nothing is written past what it says.
        for stated in [0, 1, 100, BOUND as u32] {
            let lies = claimed(how, stated, &bomb);
            assert_eq!(open(&lies, b"key"), Err(Doubt::Inflate), "{how:?} states {stated}");
        }
    }
}

#[test]
fn what_does_not_inflate_to_the_stated_length_is_refused() {
    for how in [Compression::Lz4, Compression::Zstd].into_iter().filter(|how| how.is_built_in()) {
        let text = repeating_text(5000);
        let packed = packing::pack(how, &text, 5000).unwrap();
        assert_eq!(&open(&claimed(how, 5000, &packed), b"key").unwrap().value[..], &text[..]);
        for stated in [0, 1, 4999, 5001, 6000, BOUND as u32] {
            let found = open(&claimed(how, stated, &packed), b"key");
            assert_eq!(found, Err(Doubt::Inflate), "{how:?} states {stated}");
        }
        for length in 0..packed.len() {
            let found = open(&claimed(how, 5000, &packed[..length]), b"key");
            assert_eq!(found, Err(Doubt::Inflate), "{how:?}, {length} bytes of {}", packed.len());
        }
        assert_eq!(open(&claimed(how, 5000, b"not packed"), b"key"), Err(Doubt::Inflate));
    }
}

#[test]
fn what_this_build_cannot_inflate_has_a_reason_of_its_own() {
    for number in 0..16 {
        let mut record = claimed(Compression::Lz4, 5, b"xxxxx");
        record[HEAD_BYTES + 6] = number;
        let can_read = Compression::from_u8(number).is_some_and(Compression::is_built_in);
        let found = open(&with_checksum(record), b"key");
        assert_eq!(found != Err(Doubt::Compression), can_read, "{number}: {found:?}");
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    for envelope in forms() {
        let body =
            envelope.seal(b"", b"key", &[9; 300], Format::Raw, CHANGE, &some_aside()).unwrap();
        let good = [head(7), body].concat();
        for length in 0..good.len() {
            assert!(envelope.open(&good[..length], b"key").is_err(), "{length} bytes");
            let last = good[good.len() - length..].to_vec();
            assert!(envelope.open(last, b"key").is_err(), "last {length} bytes");
        }
        for extra in 1..40 {
            let mut longer = good.clone();
            longer.resize(good.len() + extra, 0);
            assert_eq!(envelope.open(longer, b"key"), Err(Doubt::Length));
        }
    }
}

#[test]
fn a_hundred_thousand_random_flips_never_pass() {
    let seed = 0x1e57;
    let mut random = fastrand::Rng::with_seed(seed);
    let forms = forms();
    for round in 0..100_000_usize {
        let envelope = &forms[round % forms.len()];
        let mut value = vec![0; random.usize(0..100)];
        random.fill(&mut value);
        value.resize(value.len() + random.usize(0..100), b'0');
        let aside = if random.bool() { some_aside() } else { Aside::default() };
        let body = envelope.seal(b"", b"a key", &value, Format::Raw, CHANGE, &aside).unwrap();
        let good = [head(random.u64(1..1 << 48)), body].concat();
        let mut bad = good.clone();
        for _ in 0..random.usize(1..=4) {
            let bit = random.usize(0..bad.len() * 8);
            bad[bit / 8] ^= 1 << (bit % 8);
        }
        if bad != good {
            let found = envelope.open(bad.clone(), b"a key");
            assert!(found.is_err(), "seed {seed:#x}, round {round}: {bad:?} gave {found:?}");
        }
    }
}

#[test]
fn random_bytes_never_panic_and_never_pass() {
    let seed = 0xfee1;
    let mut random = fastrand::Rng::with_seed(seed);
    let forms = forms();
    for round in 0..20_000_usize {
        let mut bytes = vec![0; random.usize(0..200)];
        random.fill(&mut bytes);
        if random.bool() {
            // Past the first checks, so that lengths are reached.
            let mut start = [&head(random.u64(1..1 << 48))[..], b"\x89tL3\x01\0\0\0"].concat();
            start[HEAD_BYTES + 6] = random.u8(..0x80);
            bytes.splice(..bytes.len().min(start.len()), start);
        }
        let found = forms[round % forms.len()].open(bytes, b"key");
        assert!(found.is_err(), "seed {seed:#x}, round {round}");
    }
}
