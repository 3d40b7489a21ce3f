//! Records that are compressed or sealed, in a real server.

use bytes::Bytes;

use super::{miss, record, server::Server, value};
use crate::{
    codec::Compression,
    tier::{Fill, RemoteTier, redis::RedisTier},
};

/// What the server has under the name of `key`.
fn kept(server: &Server, tier: &RedisTier, key: &[u8]) -> Vec<u8> {
    redis::cmd("GET").arg(tier.names(key).data).query(&mut server.raw()).unwrap()
}

/// How often each reason was counted, without those that never were.
fn doubts(tier: &RedisTier) -> Vec<(&'static str, u64)> {
    let statistics = tier.statistics();
    let doubts: Vec<_> = statistics.doubts().filter(|(_, times)| *times > 0).collect();
    assert_eq!(doubts.iter().map(|(_, times)| times).sum::<u64>(), statistics.corrupt);
    doubts
}

#[test]
fn compressed_records_take_less_and_are_read_by_whoever_has_the_feature() {
    let server = Server::with(&[]);
    let text = Bytes::from(b"a line of text, again and again; ".repeat(300));
    let reader = server.tier();
    for kind in [Compression::Lz4, Compression::Zstd].into_iter().filter(|kind| kind.is_built_in())
    {
        let writer = RedisTier::new(server.options().compression(kind)).unwrap();
        writer.write(b"written", &record(text.clone())).unwrap();
        let token = miss(&writer, kind.as_str().as_bytes());
        let filled = writer.fill(kind.as_str().as_bytes(), &record(text.clone()), token);
        assert_eq!(filled.unwrap(), Fill::Stored);
        for key in [b"written", kind.as_str().as_bytes()] {
            assert!(kept(&server, &writer, key).len() < text.len() / 10, "{kind:?}");
            assert_eq!(value(&writer, key), Some(text.clone()));
            assert_eq!(value(&reader, key), Some(text.clone()));
        }
        // Inflated it is above the bound of this one, though what is stored is far below.
        let small = RedisTier::new(server.options().max_value_bytes(text.len() - 1)).unwrap();
        assert_eq!(value(&small, b"written"), None);
        assert_eq!(doubts(&small), [("size", 1)]);
    }
    assert_eq!(doubts(&reader), []);
}

#[cfg(feature = "seal")]
#[test]
fn sealed_records_are_misses_without_their_key_and_counted_by_reason() {
    let (old, new) = ("0123456789abcdef".repeat(4), "fedcba9876543210".repeat(4));
    let server = Server::with(&[]);
    let plain = server.tier();
    let before = RedisTier::new(server.options().seal_key(&old)).unwrap();
    let rotated = server.options().seal_key(&new).older_seal_keys(&old);
    let rotated = RedisTier::new(rotated).unwrap();
    let after = RedisTier::new(server.options().seal_key(&new)).unwrap();
    let secret = Bytes::from_static(b"nobody else's business");

    before.write(b"k", &record(secret.clone())).unwrap();
    assert!(!kept(&server, &before, b"k").windows(6).any(|part| part == b"nobody"));
    for (tier, found) in [(&before, true), (&rotated, true), (&plain, false), (&after, false)] {
        assert_eq!(value(tier, b"k"), found.then(|| secret.clone()));
    }
    assert_eq!((doubts(&plain), doubts(&after)), (vec![("seal_key", 1)], vec![("seal_key", 1)]));

    // Of the same epoch, but written for another key: the server's own head and all.
    let mut raw = server.raw();
    let mut moved = kept(&server, &before, b"k");
    moved[56 + 28] = b'm';
    let end = moved.len() - 8;
    let sum = xxhash_rust::xxh3::xxh3_64_with_seed(&moved[32..end], 0x7469_6572_6365_4c33);
    moved[end..].copy_from_slice(&sum.to_le_bytes());
    () = redis::cmd("SET").arg(before.names(b"m").data).arg(&moved).query(&mut raw).unwrap();
    assert_eq!(value(&before, b"m"), None);
    assert_eq!(doubts(&before), [("seal", 1)]);

    plain.write(b"k", &record("forged")).unwrap();
    let token = miss(&after, b"k");
    assert_eq!(doubts(&after), [("plain", 1), ("seal_key", 1)]);
    // What cannot be read does not stand in the way of what can.
    assert_eq!(after.fill(b"k", &record("fresh"), token).unwrap(), Fill::Stored);
    assert_eq!(value(&rotated, b"k"), Some(Bytes::from_static(b"fresh")));
    () = redis::cmd("LPUSH").arg(after.names(b"list").data).arg("x").query(&mut raw).unwrap();
    assert_eq!(value(&after, b"list"), None);
    assert!(doubts(&after).contains(&("type", 1)));
}
