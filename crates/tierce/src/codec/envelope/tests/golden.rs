//! Records of each form and version in files, which every later version must read.
//!
//! `tests/golden/envelope/README.md` tells what is in them and how a new version adds its own:
//! `TIERCE_BLESS=1 cargo test -p tierce --features full --lib golden` makes the files that are
//! missing.

use std::{env, fs, path::PathBuf, sync::Once};

use super::*;

const EPOCH: u64 = 1234;
const NAME: &[u8] = b"user:7";

/// What each file holds, and the XXH3-64 of it: a file that was made is never made anew.
const FILES: [(&str, Compression, bool, u64); 8] = [
    ("v1-plain", Compression::None, false, 0x4c98f2c56538b5c1),
    ("v1-lz4", Compression::Lz4, false, 0x6592ddfcfef194dd),
    ("v1-zstd", Compression::Zstd, false, 0x9709d82dad62e6bf),
    ("v1-sealed", Compression::None, true, 0xbaa3891f50da6765),
    ("v1-sealed-lz4", Compression::Lz4, true, 0x415a2e6cc8cb827),
    ("v1-sealed-zstd", Compression::Zstd, true, 0x8657e5a4d9214050),
    ("v1-aside", Compression::None, false, 0xec83783146f93430),
    ("v1-aside-sealed", Compression::None, true, 0x9d614040531704d9),
];

fn path(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/envelope");
    PathBuf::from(folder).join(name).with_extension("bin")
}

/// What is in a file. Those that are missing are made before, if that is asked for.
fn file(name: &str) -> Vec<u8> {
    static MAKING: Once = Once::new();
    if env::var_os("TIERCE_BLESS").is_some() {
        MAKING.call_once(make_missing);
    }
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Makes the files that are missing, as far as this build can; those that are there stay.
fn make_missing() {
    for (name, compression, sealed, _) in FILES {
        let Some(envelope) = envelope(compression, sealed) else { continue };
        if !path(name).exists() && compression.is_built_in() {
            let packed = match compression {
                Compression::None => None,
                _ if sealed => packed(compression),
                _ => packing::pack(compression, &value(), BOUND),
            };
            fs::write(path(name), made(name, &envelope, packed.as_deref())).unwrap();
        }
    }
}

fn value() -> Vec<u8> {
    repeating_text(300)
}

fn envelope(compression: Compression, sealed: bool) -> Option<Envelope> {
    #[cfg(feature = "seal")]
    if sealed {
        return Some(Envelope { compression, ..seals::sealed() });
    }
    (!sealed).then(|| Envelope { compression, ..plain() })
}

/// The record of which the packed value is known, with a salt that is no secret.
fn made(name: &str, envelope: &Envelope, packed: Option<&[u8]>) -> Vec<u8> {
    let salt = envelope.seal_keys.as_ref().map(|keys| {
        let (id, _) = keys.draw().unwrap();
        (id, std::array::from_fn(|number| number as u8))
    });
    let value = value();
    let compressed = packed.map(|_| (envelope.compression, value.len() as u32));
    let value = packed.unwrap_or(&value);
    let aside = aside(name);
    let parts = Parts { key: NAME, value, format: Format::Json, change: CHANGE, aside: &aside };
    [head(EPOCH), envelope.assemble(b"", &parts, compressed, salt).unwrap()].concat()
}

/// What the file of this name says beside the value.
fn aside(name: &str) -> Aside {
    if name.contains("aside") { some_aside() } else { Aside::default() }
}

/// The value as the file of this compression has it.
fn packed(compression: Compression) -> Option<Vec<u8>> {
    let name = match compression {
        Compression::None => return None,
        Compression::Lz4 => "v1-lz4",
        Compression::Zstd => "v1-zstd",
    };
    let file = fs::read(path(name)).unwrap();
    Some(file[START_BYTES + INFLATED_BYTES + NAME.len()..file.len() - CHECKSUM_BYTES].to_vec())
}

#[test]
fn the_files_are_those_that_were_made_first() {
    for (name, .., sum) in FILES {
        let found = xxh3_64_with_seed(&file(name), 0);
        assert_eq!(found, sum, "{name}: {found:#x}");
    }
}

#[test]
fn records_are_laid_out_as_in_the_files() {
    for (name, compression, sealed, _) in FILES {
        let Some(envelope) = envelope(compression, sealed) else { continue };
        let file = file(name);
        let packed = packed(compression);
        assert_eq!(made(name, &envelope, packed.as_deref()), file, "{name}");
    }
}

#[test]
fn records_of_the_files_are_read_or_refused_for_what_this_build_lacks() {
    for (name, compression, sealed, _) in FILES {
        let reader = envelope(Compression::None, sealed).unwrap_or_else(plain);
        let found = reader.open(file(name), NAME);
        if !compression.is_built_in() {
            assert_eq!(found, Err(Doubt::Compression), "{name}");
        } else if sealed && !cfg!(feature = "seal") {
            assert_eq!(found, Err(Doubt::SealKey), "{name}");
        } else {
            let value = Bytes::from(value());
            let expected = Opened {
                is_touched: false,
                epoch: EPOCH,
                is_expired: false,
                format: Format::Json,
                change: CHANGE,
                value,
                aside: aside(name),
            };
            assert_eq!(found, Ok(expected), "{name}");
        }
    }
}

#[test]
fn the_plain_file_has_its_parts_where_the_table_says() {
    let mut expected = b"00000000000012340fb0eb23d83b7d07".to_vec();
    expected.extend(b"\x89tL3\x01\x02\x00\x00\x06\x00\x00\x00\x2c\x01\x00\x00");
    expected.extend(b"\x01\x02\x03\x04\x05\x06\x07\x08user:7");
    expected.extend(value());
    let file = file("v1-plain");
    assert_eq!(file[..file.len() - CHECKSUM_BYTES], expected);
}

#[test]
fn what_is_said_beside_the_value_lies_where_the_table_says() {
    let mut expected = b"\x60\xea\0\0\0\0\0\0\x80\xee\x36\0\0\0\0\0\x02".to_vec();
    expected.extend(b"\x01\x02\x03\x04\x05\x06\x07\x08\x39\x30\0\0\0\0\0\0");
    expected.extend(b"\xef\xbe\xad\xde\x07\0\0\0\"etag\"");
    let file = file("v1-aside");
    assert_eq!(file[HEAD_BYTES + 6..HEAD_BYTES + 8], [0x60, 0]);
    let begin = START_BYTES + ASIDE_LENGTH_BYTES;
    assert_eq!(file[START_BYTES..begin], (expected.len() as u32).to_le_bytes());
    assert_eq!(file[begin..begin + expected.len()], expected);
}
