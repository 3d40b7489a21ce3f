//! What is stored comes back, and nothing older than a change ever does.

use std::time::Duration;

use bytes::Bytes;

use super::{
    lasting, miss, record,
    server::{Server, wait_until},
    value,
};
use crate::{
    codec::Format,
    error::ErrorKind,
    tier::{Fill, Record, RemoteTier, Tier, redis::RedisTier},
};

#[test]
fn values_of_every_shape_come_back() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let big: Bytes = (0..10 << 20).map(|n: u32| (n * 31) as u8).collect();
    let long_key = vec![b'k'; 70_000];
    for key in [&b""[..], b"k", b"\0\r\n$5\xff", b"user:{7}", &long_key] {
        assert!(value(&tier, key).is_none());
        for bytes in [Bytes::new(), Bytes::from_static(b"v"), Bytes::from_static(b"\0\r\n*3\r\n")] {
            tier.write(key, &record(bytes.clone())).unwrap();
            assert_eq!(value(&tier, key), Some(bytes));
        }
    }
    for format in [Format::Raw, Format::Text, Format::Json] {
        tier.write(b"f", &Record { format, ..record("1") }).unwrap();
        assert_eq!(tier.read(b"f").unwrap().record.unwrap().format, format);
    }
    tier.write(b"big", &record(big.clone())).unwrap();
    assert!(value(&tier, b"big") == Some(big), "10 MiB came back changed");
    tier.remove(b"big").unwrap();
    assert_eq!(value(&tier, b"big"), None);
    tier.remove(b"big").unwrap();
    let statistics = tier.statistics();
    assert_eq!((statistics.connects, statistics.reconnects, statistics.corrupt), (1, 0, 0));
    assert!(statistics.bytes_sent > 10 << 20 && statistics.bytes_received > 10 << 20);
    assert!(statistics.round_trips > 20 && statistics.timeouts == 0);
}

#[test]
fn value_above_the_bound_is_refused_before_it_is_sent() {
    let server = Server::with(&[]);
    let tier = RedisTier::new(server.options().max_value_bytes(100)).unwrap();
    tier.write(b"k", &record(vec![1; 100])).unwrap();
    let token = miss(&tier, b"other");
    let sent = tier.statistics().bytes_sent;
    let large = record(vec![1; 101]);
    assert_eq!(tier.write(b"k", &large).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(tier.fill(b"other", &large, token).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(tier.statistics().bytes_sent, sent);
    // Larger ones that another client with another bound put there are misses.
    server.tier().write(b"k", &record(vec![1; 1 << 20])).unwrap();
    let received = tier.statistics().bytes_received;
    assert_eq!(value(&tier, b"k"), None);
    assert!(tier.statistics().bytes_received < received + 5000, "it was not even sent");
    assert_eq!(tier.statistics().corrupt, 1);
    let token = miss(&tier, b"k");
    assert_eq!(tier.fill(b"k", &record("small"), token).unwrap(), Fill::Stored);
}

#[test]
fn a_stamp_that_was_lost_begins_anew_at_random_whoever_raises_it() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    let name = crate::tier::redis::names::Names::of("tierce", b"k").stamp;
    let mut stamps = vec![];
    for round in 0..6 {
        () = match round % 3 {
            0 => redis::cmd("DEL").arg(&name).query(&mut raw).unwrap(),
            // What the server takes for a number and we for none, and what nobody takes for one.
            1 => redis::cmd("SET").arg(&name).arg(0).query(&mut raw).unwrap(),
            _ => redis::cmd("SET").arg(&name).arg("x").query(&mut raw).unwrap(),
        };
        let told = if round < 3 { tier.write(b"k", &record("v")) } else { tier.delete(b"k") };
        let stamp: u64 = redis::cmd("GET").arg(&name).query(&mut raw).unwrap();
        assert_eq!(told.unwrap(), Some(stamp));
        stamps.push(stamp);
        assert_eq!(tier.write(b"k", &record("v")).unwrap(), Some(stamp + 1), "then it is raised");
    }
    let before = stamps.len();
    stamps.sort_unstable();
    stamps.dedup();
    assert_eq!(stamps.len(), before, "none comes twice");
}

#[test]
fn a_write_under_an_epoch_that_was_changed_meanwhile_is_found() {
    let server = Server::with(&[]);
    let (tier, other) = (server.tier(), server.tier());
    let stripe = crate::key::group(b"k");
    let is_known = |tier: &RedisTier| Some(tier.epochs.guess(stripe)) == epoch(&server, b"k");
    assert_eq!(tier.epochs.guess(stripe), 0, "nothing is known");
    tier.write(b"k", &record("1")).unwrap();
    assert!(is_known(&tier), "the write was told of the epoch that it began");
    assert_eq!(value(&other, b"k"), Some("1".into()));
    assert!(is_known(&other), "a read is told of it");
    for round in 2..4 {
        other.clear_group(stripe).unwrap();
        assert_eq!(value(&tier, b"k"), None);
        other.clear_group(stripe).unwrap();
        assert!(!is_known(&tier));
        tier.write(b"k", &record(round.to_string())).unwrap();
        assert!(is_known(&tier));
        assert_eq!(value(&other, b"k"), Some(round.to_string().into()));
    }
    // What it takes for the epoch is judged by the server, whatever it is.
    tier.epochs.heard(stripe, Some(7));
    tier.write(b"k", &record("last")).unwrap();
    assert_eq!(value(&other, b"k"), Some("last".into()));
    assert_eq!(other.statistics().corrupt, 0);
}

/// The epoch of the stripe of a key.
fn epoch(server: &Server, key: &[u8]) -> Option<u64> {
    let name = crate::tier::redis::names::Names::of("tierce", key).epoch;
    redis::cmd("GET").arg(name).query(&mut server.raw()).unwrap()
}

#[test]
fn record_lives_for_its_ttl() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let hour = Duration::from_secs(3600);
    tier.write(b"hour", &lasting("v", hour)).unwrap();
    let left = tier.read(b"hour").unwrap().record.unwrap().ttl.unwrap();
    assert!(left <= hour && left > hour - Duration::from_secs(60), "{left:?}");

    tier.write(b"for ever", &record("v")).unwrap();
    assert_eq!(tier.read(b"for ever").unwrap().record.unwrap().ttl, None);
    tier.write(b"long", &lasting("v", Duration::MAX)).unwrap();
    assert_eq!(tier.read(b"long").unwrap().record.unwrap().ttl, None);

    // Rounded up: half a millisecond is not "at once" and not "for ever".
    tier.write(b"short", &lasting("v", Duration::from_micros(500))).unwrap();
    wait_until("expiry", || value(&tier, b"short").is_none());

    tier.write(b"zero", &record("old")).unwrap();
    tier.write(b"zero", &lasting("v", Duration::ZERO)).unwrap();
    assert_eq!(value(&tier, b"zero"), None);

    let token = miss(&tier, b"filled");
    assert_eq!(tier.fill(b"filled", &lasting("v", Duration::ZERO), token).unwrap(), Fill::Dropped);
    assert_eq!(tier.fill(b"filled", &lasting("v", hour), token).unwrap(), Fill::Stored);
    assert!(tier.read(b"filled").unwrap().record.unwrap().ttl.unwrap() <= hour);
}

#[test]
fn caches_with_other_prefixes_or_databases_do_not_meet() {
    let server = Server::with(&[]);
    let tiers = ["t", "t:", "t2", "t:k"]
        .map(|prefix| RedisTier::new(server.options().prefix(prefix)).unwrap());
    let other_database = RedisTier::new(server.options().prefix("t").database(3)).unwrap();
    let keys = [&b"k"[..], b":k", b"2:k", b"k:k"];
    for (number, tier) in tiers.iter().enumerate() {
        for key in keys {
            tier.write(key, &record(format!("{number}"))).unwrap();
        }
    }
    for key in keys {
        assert_eq!(value(&other_database, key), None);
    }
    tiers[1].clear().unwrap();
    tiers[2].remove(b"k").unwrap();
    for (number, tier) in tiers.iter().enumerate() {
        for key in keys {
            let expected = match number {
                1 => None,
                2 if key == b"k" => None,
                _ => Some(Bytes::from(format!("{number}"))),
            };
            assert_eq!(value(tier, key), expected, "prefix {number}, key {key:?}");
        }
    }
}

#[test]
fn fill_is_refused_after_any_change_by_another_client() {
    let server = Server::with(&[]);
    let (ours, theirs) = (server.tier(), server.tier());
    type Change = (&'static str, fn(&RedisTier));
    let changes: [Change; 3] = [
        ("write", |tier| _ = tier.write(b"k", &record("new")).unwrap()),
        ("remove", |tier| tier.remove(b"k").unwrap()),
        ("clear", |tier| tier.clear().unwrap()),
    ];
    for (name, change) in changes {
        ours.remove(b"k").unwrap();
        let token = miss(&ours, b"k");
        change(&theirs);
        let outcome = ours.fill(b"k", &record("old"), token).unwrap();
        assert_eq!(outcome, Fill::Refused, "after {name}");
        assert_ne!(value(&ours, b"k"), Some(Bytes::from_static(b"old")), "after {name}");
        // A token taken after the change is good again.
        ours.remove(b"k").unwrap();
        let token = miss(&ours, b"k");
        assert_eq!(ours.fill(b"k", &record("fresh"), token).unwrap(), Fill::Stored);
    }
}

#[test]
fn fill_adopts_a_live_record() {
    let server = Server::with(&[]);
    let (first, second) = (server.tier(), server.tier());
    let (token, other) = (miss(&first, b"k"), miss(&second, b"k"));
    assert_eq!(token, other);
    let hour = Duration::from_secs(3600);
    let stored = Record { format: Format::Json, ..lasting("1", hour) };
    assert_eq!(first.fill(b"k", &stored, token).unwrap(), Fill::Stored);
    match second.fill(b"k", &record("2"), other).unwrap() {
        Fill::Adopted(live) => {
            assert_eq!((live.value, live.format), (Bytes::from_static(b"1"), Format::Json));
            assert!(live.ttl.unwrap() <= hour);
        }
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!(value(&second, b"k"), Some(Bytes::from_static(b"1")));
}

#[test]
fn clear_takes_every_stripe_and_survivors_stay_dead() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let key = |n: u32| n.to_le_bytes();
    for n in 0..1000 {
        tier.write(&key(n), &record("v")).unwrap();
    }
    tier.clear().unwrap();
    assert!((0..1000).all(|n| value(&tier, &key(n)).is_none()));
    // A record of the new epoch is unharmed by what is left of the old one.
    tier.write(&key(1), &record("new")).unwrap();
    assert_eq!(value(&tier, &key(1)), Some(Bytes::from_static(b"new")));
    assert!(value(&tier, &key(2)).is_none());
}

#[test]
fn flushall_kills_records_and_tokens() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    tier.write(b"k", &record("v")).unwrap();
    let token = miss(&tier, b"other");
    // What somebody kept of our names and puts back after the flush.
    let names = tier.names(b"k");
    let kept: Vec<u8> = redis::cmd("GET").arg(&names.data).query(&mut raw).unwrap();
    () = redis::cmd("FLUSHALL").query(&mut raw).unwrap();
    assert_eq!(tier.fill(b"other", &record("old"), token).unwrap(), Fill::Refused);
    () = redis::cmd("SET").arg(&names.data).arg(&kept).query(&mut raw).unwrap();
    assert_eq!(value(&tier, b"k"), None);
    tier.write(b"k", &record("new")).unwrap();
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"new")));
    () = redis::cmd("SET").arg(&names.data).arg(&kept).query(&mut raw).unwrap();
    assert_eq!(value(&tier, b"k"), None);
}

#[test]
fn lost_counters_revive_neither_tokens_nor_records() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    let names = tier.names(b"k");
    for lost in [&names.stamp, &names.epoch] {
        tier.remove(b"k").unwrap();
        let token = miss(&tier, b"k");
        // Evicted, and started again by another client's change.
        () = redis::cmd("DEL").arg(lost).query(&mut raw).unwrap();
        assert_eq!(tier.fill(b"k", &record("old"), token).unwrap(), Fill::Refused);
        server.tier().write(b"k", &record("new")).unwrap();
        server.tier().remove(b"k").unwrap();
        assert_eq!(tier.fill(b"k", &record("old"), token).unwrap(), Fill::Refused);
        // Lost and started in the same way both times: by a removal the stamp, by a read the epoch.
        let mut lose = || () = redis::cmd("DEL").arg(lost).query(&mut raw).unwrap();
        lose();
        tier.remove(b"k").unwrap();
        let token = miss(&tier, b"k");
        lose();
        if *lost == names.stamp {
            server.tier().remove(b"k").unwrap();
        } else {
            miss(&server.tier(), b"k");
        }
        assert_eq!(tier.fill(b"k", &record("old"), token).unwrap(), Fill::Refused);
    }
    tier.write(b"k", &record("v")).unwrap();
    () = redis::cmd("DEL").arg(&names.stamp).query(&mut raw).unwrap();
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"v")), "a stamp guards fills only");
    () = redis::cmd("DEL").arg(&names.epoch).query(&mut raw).unwrap();
    assert_eq!(value(&tier, b"k"), None);
    // Garbage in their place is as good as nothing.
    for garbage in ["x", "", "-5", "007", "99999999999999999999"] {
        for counter in [&names.stamp, &names.epoch] {
            () = redis::cmd("SET").arg(counter).arg(garbage).query(&mut raw).unwrap();
            tier.write(b"k", &record("v")).unwrap();
            assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"v")), "{garbage:?}");
            tier.clear().unwrap();
            assert_eq!(value(&tier, b"k"), None, "{garbage:?}");
        }
    }
    () = redis::cmd("DEL").arg(&names.epoch).query(&mut raw).unwrap();
    () = redis::cmd("LPUSH").arg(&names.epoch).arg(1).query(&mut raw).unwrap();
    let token = miss(&tier, b"k");
    assert_eq!(tier.fill(b"k", &record("v"), token).unwrap(), Fill::Stored);
}
