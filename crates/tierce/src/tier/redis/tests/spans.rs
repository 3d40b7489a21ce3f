//! What a record says of its time: how old it is, how long it is stale, and who may replace it then.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{miss, record, server::Server, value};
use crate::{
    codec::{Compression, Format},
    tier::{
        Expected, Extras, Fill, Record, RemoteTier, Tier, Token, Touch, Written, redis::RedisTier,
    },
};

const HOUR: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

/// Fresh for an hour, then stale for a minute.
fn lasting(value: impl Into<Bytes>) -> Record {
    let extras = Extras { validator: Bytes::from_static(b"\"etag\""), ..Extras::default() };
    Record {
        ttl: Some(HOUR + MINUTE),
        stale: MINUTE,
        age: Some(Duration::ZERO),
        extras: Some(Arc::new(extras)),
        ..record(value)
    }
}

/// Stale from the beginning.
fn stale(value: impl Into<Bytes>) -> Record {
    Record { stale: HOUR + MINUTE, ..lasting(value) }
}

fn read(tier: &RedisTier, key: &[u8]) -> (Record, Token) {
    let found = tier.read(key).unwrap();
    (found.record.unwrap(), found.token.unwrap())
}

/// The record of `key` by each way to read it.
fn by_all_ways(tier: &RedisTier, key: &[u8]) -> [Record; 3] {
    let many = |keeps| tier.read_many(&[b"other", key], keeps).unwrap().remove(1).unwrap();
    [read(tier, key).0, many(true), many(false)]
}

fn is_stale(record: &Record) -> bool {
    record.ttl.is_some_and(|ttl| ttl <= record.stale)
}

/// What is sealed, and what is compressed, says the same.
fn tiers(server: &Server) -> Vec<RedisTier> {
    let mut options = vec![server.options()];
    if Compression::Lz4.is_built_in() {
        options.push(server.options().prefix("lz4").compression(Compression::Lz4));
    }
    #[cfg(feature = "seal")]
    options.push(server.options().prefix("sealed").seal_key("0123456789abcdef".repeat(4)));
    options.into_iter().map(|options| RedisTier::new(options).unwrap()).collect()
}

#[test]
fn a_record_says_its_age_its_stale_part_and_its_validator() {
    let server = Server::with(&[]);
    for tier in tiers(&server) {
        let token = miss(&tier, b"filled");
        tier.write(b"written", &lasting("v")).unwrap();
        assert_eq!(tier.fill(b"filled", &lasting("v"), token).unwrap(), Fill::Stored);
        for key in [&b"written"[..], b"filled"] {
            for found in by_all_ways(&tier, key) {
                assert_eq!((found.stale, &found.extras), (MINUTE, &lasting("v").extras));
                assert!(found.age.unwrap() < MINUTE && !is_stale(&found), "{found:?}");
            }
        }
        // Its time passes as the server sees it.
        let mut raw = server.raw();
        let names = tier.names(b"written");
        () = redis::cmd("PEXPIRE").arg(&names.data).arg(59_000).query(&mut raw).unwrap();
        for found in by_all_ways(&tier, b"written") {
            assert!(found.age.unwrap() >= HOUR + Duration::from_secs(1), "{found:?}");
            assert!(is_stale(&found));
        }
        // Copied from elsewhere: its life began before.
        tier.write(b"old", &Record { age: Some(HOUR), ..lasting("v") }).unwrap();
        assert!((HOUR..HOUR + MINUTE).contains(&read(&tier, b"old").0.age.unwrap()));
        for unknown in [Record { age: None, ..lasting("v") }, record("v")] {
            tier.write(b"unknown", &unknown).unwrap();
            let (found, _) = read(&tier, b"unknown");
            assert_eq!((found.age, found.stale), (None, unknown.stale));
        }
    }
}

#[test]
fn a_fill_takes_the_place_of_what_its_reader_saw_and_of_nothing_else() {
    let server = Server::with(&[]);
    let (ours, theirs) = (server.tier(), server.tier());
    ours.write(b"k", &stale("old")).unwrap();
    let (old, token) = read(&ours, b"k");
    let other = read(&theirs, b"k").1;
    assert!(is_stale(&old) && token.seen == old.change && old.change != 0);
    // Who saw nothing adopts what there is.
    let blind = ours.fill(b"k", &lasting("blind"), Token { seen: 0, ..token }).unwrap();
    assert!(matches!(blind, Fill::Adopted(live) if live.value == "old"));
    assert_eq!(ours.fill(b"k", &lasting("new"), token).unwrap(), Fill::Stored);
    // The one that the second one saw is gone: it adopts what took its place.
    let second = theirs.fill(b"k", &lasting("late"), other).unwrap();
    assert!(matches!(second, Fill::Adopted(live) if live.value == "new"));
    // No record is like another, also where their makers gave them no number.
    let token = read(&ours, b"k").1;
    ours.remove(b"k").unwrap();
    assert_eq!(ours.fill(b"k", &lasting("removed"), token).unwrap(), Fill::Refused);
}

#[test]
fn what_expires_is_stale_where_it_may_be_and_gone_where_not() {
    let server = Server::with(&[]);
    for tier in tiers(&server) {
        let text = Bytes::from(b"again and again; ".repeat(200));
        tier.write(b"k", &lasting(text.clone())).unwrap();
        let (before, token) = read(&tier, b"k");
        let stamp = tier.expire(b"k").unwrap();
        assert_eq!(stamp, Some(token.words[0] + 1));
        for _ in 0..2 {
            for found in by_all_ways(&tier, b"k") {
                assert!(is_stale(&found) && found.value == text, "{found:?}");
                assert!(found.ttl.unwrap() > HOUR, "its end is where it was: {found:?}");
                assert_eq!((found.extras, found.change), (before.extras.clone(), before.change));
                assert!(found.age.unwrap() < MINUTE);
            }
            // Again: it is stale already.
            tier.expire(b"k").unwrap();
        }
        let late = tier.fill(b"k", &lasting("late"), token).unwrap();
        assert_eq!(late, Fill::Refused, "begun before");
        // Begun after, whatever it saw.
        let token = Token { seen: 0, ..read(&tier, b"k").1 };
        assert_eq!(tier.fill(b"k", &lasting("new"), token).unwrap(), Fill::Stored);
        assert!(!is_stale(&read(&tier, b"k").0));

        for gone in [record("v"), Record { stale: Duration::ZERO, ..lasting("v") }] {
            tier.write(b"k", &gone).unwrap();
            tier.expire(b"k").unwrap();
            assert_eq!(value(&tier, b"k"), None);
        }
        let token = miss(&tier, b"k");
        tier.expire(b"k").unwrap();
        let late = tier.fill(b"k", &lasting("late"), token).unwrap();
        assert_eq!(late, Fill::Refused, "nothing was there");
    }
}

#[test]
fn what_expires_and_is_no_record_of_now_is_removed() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    let names = tier.names(b"k");
    let exists = |raw: &mut redis::Connection| -> bool {
        redis::cmd("EXISTS").arg(&names.data).query(raw).unwrap()
    };
    tier.write(b"k", &lasting("v")).unwrap();
    let kept: Vec<u8> = redis::cmd("GET").arg(&names.data).query(&mut raw).unwrap();
    // Of an epoch that is over, and of a head that is none.
    tier.clear().unwrap();
    tier.expire(b"k").unwrap();
    assert!(!exists(&mut raw));
    tier.write(b"other", &lasting("v")).unwrap();
    for at in [0, 20, 33, 36] {
        let mut damaged = kept.clone();
        damaged[at] ^= 1;
        () = redis::cmd("SET").arg(&names.data).arg(&damaged).query(&mut raw).unwrap();
        tier.expire(b"k").unwrap();
        assert!(!exists(&mut raw), "byte {at}");
    }
    () = redis::cmd("LPUSH").arg(&names.data).arg("x").query(&mut raw).unwrap();
    tier.expire(b"k").unwrap();
    assert!(!exists(&mut raw));
}

#[test]
fn what_is_touched_has_another_end_and_nothing_else() {
    let server = Server::with(&[]);
    for tier in tiers(&server) {
        let text = Bytes::from(b"again and again; ".repeat(200));
        tier.write(b"k", &lasting(text.clone())).unwrap();
        let (before, token) = read(&tier, b"k");
        for (stamp, fresh) in [(1, HOUR * 5), (2, MINUTE), (3, HOUR * 2)] {
            let touched = tier.touch(b"k", Some(fresh)).unwrap();
            assert_eq!(touched, Touch::Done(Some(token.words[0] + stamp)));
            for found in by_all_ways(&tier, b"k") {
                assert!(!is_stale(&found) && found.value == text, "{found:?}");
                let left = found.ttl.unwrap();
                assert!(left <= fresh + MINUTE && left > fresh, "{found:?}");
                assert_eq!((found.stale, &found.extras), (MINUTE, &before.extras));
                // What is left no longer tells.
                assert_eq!((found.age, found.change), (None, before.change));
            }
        }
        let late = tier.fill(b"k", &lasting("late"), token).unwrap();
        assert_eq!(late, Fill::Refused, "begun before");
        let blind = Token { seen: 0, ..read(&tier, b"k").1 };
        let adopted = tier.fill(b"k", &lasting("blind"), blind).unwrap();
        assert!(matches!(adopted, Fill::Adopted(live) if live.value == text));
        let seen = read(&tier, b"k").1;
        assert_eq!(tier.fill(b"k", &lasting("new"), seen).unwrap(), Fill::Stored);
        assert!(read(&tier, b"k").0.age.is_some());

        // For ever, and then stale all the same.
        assert!(matches!(tier.touch(b"k", None).unwrap(), Touch::Done(_)));
        assert_eq!(read(&tier, b"k").0.ttl, None);
        assert!(matches!(tier.touch(b"k", Some(HOUR)).unwrap(), Touch::Done(_)));
        tier.expire(b"k").unwrap();
        let (found, _) = read(&tier, b"k");
        assert!(is_stale(&found) && found.age.is_none(), "{found:?}");
        assert_eq!(tier.touch(b"k", Some(HOUR)).unwrap(), Touch::Absent);

        // One without an end, and without a stale part.
        tier.write(b"bare", &record("v")).unwrap();
        assert!(matches!(tier.touch(b"bare", Some(HOUR)).unwrap(), Touch::Done(_)));
        let (found, _) = read(&tier, b"bare");
        assert!(found.ttl.unwrap() <= HOUR && found.stale.is_zero(), "{found:?}");
        // Replaced by who compares.
        let expected = Expected { change: found.change, is_fresh: true };
        let written = tier.write_if(b"bare", &lasting("w"), Some(expected)).unwrap();
        assert!(matches!(written, Written::Done(_)));
        // Not what was made stale since it was found; who found that may.
        let (found, _) = read(&tier, b"bare");
        let expected = Expected { change: found.change, is_fresh: true };
        tier.expire(b"bare").unwrap();
        let written = |expected| tier.write_if(b"bare", &lasting("x"), Some(expected)).unwrap();
        assert_eq!(written(expected), Written::Otherwise);
        assert!(is_stale(&read(&tier, b"bare").0));
        assert!(matches!(written(Expected { is_fresh: false, ..expected }), Written::Done(_)));
        assert!(!is_stale(&read(&tier, b"bare").0));
    }
}

#[test]
fn what_is_stale_or_no_value_or_no_record_of_now_cannot_be_touched() {
    let server = Server::with(&[]);
    for tier in tiers(&server) {
        let touch = |key: &[u8]| tier.touch(key, Some(HOUR)).unwrap();
        assert_eq!(touch(b"k"), Touch::Absent);
        tier.write(b"k", &stale("v")).unwrap();
        assert_eq!(touch(b"k"), Touch::Absent);
        tier.write(b"k", &Record { format: Format::Absent, ..lasting("") }).unwrap();
        assert_eq!(touch(b"k"), Touch::Absent);
        tier.write(b"k", &record("v").oversized()).unwrap();
        assert!(matches!(touch(b"k"), Touch::Oversized(_)));
        tier.write(b"k", &lasting("v")).unwrap();
        let names = tier.names(b"k");
        let mut raw = server.raw();
        let kept: Vec<u8> = redis::cmd("GET").arg(&names.data).query(&mut raw).unwrap();
        tier.clear().unwrap();
        assert_eq!(touch(b"k"), Touch::Absent);
        tier.write(b"k", &lasting("v")).unwrap();
        for at in [0, 20, 33, 36] {
            let mut damaged = kept.clone();
            damaged[at] ^= 1;
            () = redis::cmd("SET").arg(&names.data).arg(&damaged).query(&mut raw).unwrap();
            assert_eq!(touch(b"k"), Touch::Absent, "byte {at}");
        }
        // Its stale part is all that is left.
        tier.write(b"k", &lasting("v")).unwrap();
        () = redis::cmd("PEXPIRE").arg(&names.data).arg(59_000).query(&mut raw).unwrap();
        assert_eq!(touch(b"k"), Touch::Absent);
        () = redis::cmd("PEXPIRE").arg(&names.data).arg(65_000).query(&mut raw).unwrap();
        assert!(matches!(touch(b"k"), Touch::Done(_)));
        () = redis::cmd("DEL").arg(&names.data).query(&mut raw).unwrap();
        () = redis::cmd("LPUSH").arg(&names.data).arg("x").query(&mut raw).unwrap();
        assert_eq!(touch(b"k"), Touch::Absent);
    }
}

#[test]
fn what_was_touched_to_live_for_ever_is_gone_once_it_expires() {
    let server = Server::with(&[]);
    for tier in tiers(&server) {
        for fresh in [None, Some(LONGEST * 2)] {
            tier.write(b"k", &lasting("v")).unwrap();
            assert!(matches!(tier.touch(b"k", fresh).unwrap(), Touch::Done(_)));
            assert_eq!(read(&tier, b"k").0.ttl, None);
            tier.expire(b"k").unwrap();
            assert!(tier.read(b"k").unwrap().record.is_none(), "touched for {fresh:?}");
            for keeps in [true, false] {
                let found = tier.read_many(&[b"other", b"k"], keeps).unwrap();
                assert!(found.iter().all(Option::is_none), "touched for {fresh:?}: {found:?}");
            }
            // As a build of before made it: over, and of no end.
            tier.write(b"k", &lasting("v")).unwrap();
            tier.expire(b"k").unwrap();
            let names = tier.names(b"k");
            () = redis::cmd("PERSIST").arg(&names.data).query(&mut server.raw()).unwrap();
            assert!(tier.read(b"k").unwrap().record.is_none());
            let found = tier.read_many(&[b"other", b"k"], true).unwrap();
            assert!(found.iter().all(Option::is_none), "{found:?}");
        }
    }
}

#[test]
fn a_window_beyond_all_times_leaves_its_end_to_what_is_fresh() {
    let server = Server::with(&[]);
    for tier in tiers(&server) {
        for window in [LONGEST, LONGEST * 2, Duration::from_millis(i64::MAX as u64)] {
            let record = Record { ttl: Some(HOUR + window), stale: window, ..lasting("v") };
            let token = miss(&tier, b"filled");
            tier.write(b"written", &record).unwrap();
            assert_eq!(tier.fill(b"filled", &record, token).unwrap(), Fill::Stored);
            for key in [&b"written"[..], b"filled"] {
                for found in by_all_ways(&tier, key) {
                    let fresh = found.ttl.unwrap() - found.stale;
                    assert!(MINUTE < fresh && fresh <= HOUR, "{found:?}");
                    assert_eq!(found.stale, LONGEST);
                }
            }
            tier.clear().unwrap();
        }
        let record = Record { ttl: Some(LONGEST * 2 + MINUTE), ..lasting("v") };
        tier.write(b"k", &record).unwrap();
        assert_eq!(read(&tier, b"k").0.ttl, None, "fresh for longer than anything lives");
    }
}
