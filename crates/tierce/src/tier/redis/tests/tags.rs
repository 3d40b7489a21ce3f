//! Records with tags: who judges them, and what that costs.

use std::sync::Arc;

use bytes::Bytes;

use super::{miss, record, server::Server, value};
use crate::{
    tag_cells::{self, CellChange, KnownBelow, TagChange, Tags, Verdict},
    tier::{Extras, Fill, Record, RemoteTier, redis::RedisTier},
};

fn tagged(value: &'static str, below: Option<KnownBelow>) -> Record {
    let hashes = tag_cells::hashes(["red", "green"]).into();
    let tags = Tags { hashes, below, ..Tags::default() };
    let extras = Extras::new(Bytes::new(), Some(tags)).map(Arc::new);
    Record { extras, ..record(value) }
}

fn raise(tier: &RedisTier, tag: &str, change: TagChange) {
    tier.raise_tags(&CellChange::of(&tag_cells::hashes([tag]), change)).unwrap();
}

#[test]
fn what_is_void_by_its_tags_is_in_no_fills_way() {
    let server = Server::with(&[]);
    let (one, other) = (server.tier(), server.tier());
    let token = miss(&one, b"k");
    let known = other.tags_known().unwrap();
    // A fill raises no stamp.
    let filled = other.fill(b"k", &tagged("old", Some(known)), miss(&other, b"k"));
    assert_eq!(filled.unwrap(), Fill::Stored);
    let Ok(Fill::Adopted(live)) = one.fill(b"k", &record("new"), token) else { panic!("adopted") };
    assert_eq!(live.value, "old");
    raise(&other, "red", TagChange::Remove);
    assert_eq!(one.fill(b"k", &record("new"), token).unwrap(), Fill::Stored);
    assert_eq!(value(&other, b"k").unwrap(), "new");
}

#[test]
fn a_fill_that_knows_no_number_is_dropped_and_a_write_asks_for_one() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let token = miss(&tier, b"k");
    assert_eq!(tier.fill(b"k", &tagged("1", None), token).unwrap(), Fill::Dropped);
    assert_eq!(value(&tier, b"k"), None);
    raise(&tier, "red", TagChange::Remove);
    tier.write(b"k", &tagged("2", None)).unwrap();
    assert_eq!(value(&tier, b"k").unwrap(), "2");
}

#[test]
fn records_say_their_tags_in_every_form_and_are_judged_by_each_of_them() {
    let server = Server::with(&[]);
    let mut tiers = vec![server.tier()];
    if cfg!(feature = "seal") {
        let sealed = server.options().prefix("sealed").seal_key("7".repeat(64));
        tiers.push(RedisTier::new(sealed).unwrap());
    }
    for tier in tiers {
        for (tag, change, left) in [
            ("blue", TagChange::Remove, Verdict::Current),
            ("red", TagChange::Remove, Verdict::Removed),
            ("green", TagChange::Remove, Verdict::Removed),
            ("green", TagChange::Expire, Verdict::Expired),
        ] {
            tier.write(b"k", &tagged("1", None)).unwrap();
            let found = tier.read(b"k").unwrap().record.unwrap();
            let tags = found.extras.unwrap().tags.clone().unwrap();
            assert_eq!(*tags.hashes, *tag_cells::hashes(["red", "green"]));
            raise(&tier, tag, change);
            assert_eq!(tier.judge(&tags).unwrap(), left, "{tag} {change:?}");
            // It has no stale window.
            let is_left = left == Verdict::Current;
            assert_eq!(value(&tier, b"k").is_some(), is_left, "{tag} {change:?}");
            let many = tier.read_many(&[b"k", b"l"], true).unwrap();
            assert_eq!(many[0].is_some(), is_left, "{tag} {change:?}");
        }
    }
}

#[test]
fn records_with_tags_cost_their_reader_one_round_trip_more_and_others_none() {
    let server = Server::with(&[]);
    let tier = server.tier();
    tier.write(b"plain", &record("1")).unwrap();
    let keys: Vec<Vec<u8>> = (0..20).map(|key| format!("tagged {key}").into()).collect();
    for key in &keys {
        tier.write(key, &tagged("1", None)).unwrap();
    }
    let cost = |act: &dyn Fn()| {
        let before = tier.statistics().round_trips;
        act();
        tier.statistics().round_trips - before
    };
    assert_eq!(cost(&|| assert!(value(&tier, b"plain").is_some())), 1);
    assert_eq!(cost(&|| assert!(value(&tier, &keys[0]).is_some())), 2);
    let names: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let many = || assert!(tier.read_many(&names, true).unwrap().iter().all(Option::is_some));
    assert_eq!(cost(&many), 2);
    assert_eq!(cost(&|| raise(&tier, "red", TagChange::Remove)), 1);
}

#[test]
fn a_server_without_memory_for_a_removal_loses_what_bears_tags() {
    let server = Server::with(&[]);
    let tier = server.tier();
    tier.write(b"k", &tagged("1", None)).unwrap();
    let set = |bytes: &str| {
        let mut raw = server.raw();
        () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", bytes]).query(&mut raw).unwrap();
    };
    set("1");
    raise(&tier, "blue", TagChange::Remove);
    assert_eq!(value(&tier, b"k"), None);
    set("0");
    assert_eq!(value(&tier, b"k"), None, "the next numbering is another one");
    tier.write(b"k", &tagged("2", None)).unwrap();
    assert_eq!(value(&tier, b"k").unwrap(), "2");
}
