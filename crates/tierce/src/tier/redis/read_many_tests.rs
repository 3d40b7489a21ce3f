use bytes::Bytes;

use super::{super::tests::server::Server, *};
use crate::{codec::Format, tier::RemoteTier};

fn record(value: impl Into<Bytes>) -> Record {
    Record { age: None, ..Record::new(value.into(), Format::Raw, None) }
}

/// The values that one question finds.
fn values(tier: &RedisTier, keys: &[&[u8]]) -> Vec<Option<Bytes>> {
    let found = tier.read_many(keys, true).unwrap();
    found.into_iter().map(|record| record.map(|record| record.value)).collect()
}

#[test]
fn many_keys_of_all_stripes_take_one_round_trip() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let keys: Vec<Vec<u8>> = (0..500_u32).map(|n| format!("key:{n}").into_bytes()).collect();
    for key in keys.iter().step_by(2) {
        tier.write(key, &Record { ttl: Some(Duration::from_secs(600)), ..record(key.clone()) })
            .unwrap();
    }
    let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    for keeps in [false, true] {
        let before = tier.statistics().round_trips;
        let found = tier.read_many(&asked, keeps).unwrap();
        assert_eq!(tier.statistics().round_trips - before, 1);
        assert_eq!(found.len(), keys.len());
        for (index, (key, found)) in keys.iter().zip(found).enumerate() {
            assert_eq!(found.is_some(), index % 2 == 0);
            let Some(found) = found else { continue };
            assert_eq!(found.value, key);
            assert_eq!(found.ttl.is_some(), keeps);
            let ttl = found.ttl.unwrap_or(Duration::from_secs(599));
            assert!(ttl > Duration::from_secs(500) && ttl <= Duration::from_secs(600), "{ttl:?}");
        }
    }
    assert_eq!(tier.statistics().corrupt, 0);
    assert!(tier.read_many(&[], true).unwrap().is_empty());
}

#[test]
fn what_one_read_would_not_find_many_do_not() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    let names = |key: &[u8]| names::Names::of("tierce", key);
    for key in [&b"good"[..], b"cleared", b"damaged", b"no epoch", b"no stamp", b"expires"] {
        tier.write(key, &record("v")).unwrap();
    }
    tier.clear_group(key::group(b"cleared")).unwrap();
    () = redis::cmd("SET").arg(names(b"damaged").data).arg("x").query(&mut raw).unwrap();
    () = redis::cmd("RPUSH").arg(names(b"list").data).arg("x").query(&mut raw).unwrap();
    () = redis::cmd("DEL").arg(names(b"no epoch").epoch).query(&mut raw).unwrap();
    () = redis::cmd("DEL").arg(names(b"no stamp").stamp).query(&mut raw).unwrap();
    () = redis::cmd("PEXPIRE").arg(names(b"expires").data).arg(1).query(&mut raw).unwrap();
    while tier.read(b"expires").unwrap().record.is_some() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let keys = [&b"good"[..], b"cleared", b"damaged", b"list", b"no epoch", b"expires", b"none"];
    let corrupt = tier.statistics().corrupt;
    let found = values(&tier, &keys);
    assert_eq!(found[0].as_deref(), Some(&b"v"[..]));
    assert_eq!(found[1..], vec![None; keys.len() - 1]);
    assert_eq!(tier.statistics().corrupt - corrupt, 1, "the damaged one");
    // Without its stamp nobody can tell whether the time to live is its own.
    let kept = tier.read_many(&[b"no stamp", b"good"], true).unwrap();
    let ttls: Vec<_> = kept.into_iter().map(|record| record.map(|record| record.ttl)).collect();
    assert_eq!(ttls, [Some(Some(MOMENT)), Some(None)]);
}

#[test]
fn epochs_are_asked_for_once_and_again_when_one_was_changed() {
    let server = Server::with(&[]);
    let (tier, other) = (server.tier(), server.tier());
    let mut raw = server.raw();
    let names = |key: &[u8]| names::Names::of("tierce", key);
    let keys = [&b"a"[..], b"b", b"c"];
    let [a, b, c] = keys;
    assert!(key::group(a) != key::group(b) && key::group(b) != key::group(c));
    keys.iter().for_each(|key| _ = other.write(key, &record("v")).unwrap());
    let asked = |what: &str| {
        let before = tier.statistics();
        let found = values(&tier, &keys);
        let after = tier.statistics();
        let epochs = (after.bytes_received - before.bytes_received) > 3_000;
        let is_there: Vec<_> = found.iter().map(Option::is_some).collect();
        (is_there, after.round_trips - before.round_trips, epochs, what.to_owned())
    };
    let expect = |is_there: [bool; 3], trips, epochs, what: &str| {
        assert_eq!(asked(what), (is_there.to_vec(), trips, epochs, what.to_owned()));
    };
    for stripe in 0..STRIPES {
        // So that the epochs of all stripes are there, and are seen in the bytes.
        other.clear_group(stripe).unwrap();
    }
    keys.iter().for_each(|key| _ = other.write(key, &record("v")).unwrap());
    expect([true; 3], 1, true, "first");
    expect([true; 3], 1, false, "known");
    other.clear_group(key::group(a)).unwrap();
    expect([false, true, true], 2, true, "cleared by another");
    expect([false, true, true], 1, false, "known again");

    // An epoch that was lost goes on until somebody begins it anew, by a write or a read.
    () = redis::cmd("DEL").arg(names(b).epoch).arg(names(c).epoch).query(&mut raw).unwrap();
    let same_stripe =
        (0..).map(|n| format!("{n}")).find(|it| key::group(it.as_bytes()) == key::group(b));
    other.write(same_stripe.unwrap().as_bytes(), &record("v")).unwrap();
    expect([false, false, false], 2, true, "begun by a write; c is not there");
    other.write(c, &record("v")).unwrap();
    expect([false, false, true], 2, true, "begun by a write");
    () = redis::cmd("DEL").arg(names(c).epoch).query(&mut raw).unwrap();
    assert!(other.read(c).unwrap().record.is_none());
    expect([false, false, false], 2, true, "begun by a read");

    other.write(c, &record("v")).unwrap();
    () = redis::cmd("FLUSHALL").query(&mut raw).unwrap();
    assert_eq!(asked("lost with all else").0, [false; 3]);
}

#[test]
fn without_an_edition_the_epochs_are_asked_for_each_time() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let mut raw = server.raw();
    tier.write(b"k", &record("v")).unwrap();
    () = redis::cmd("RPUSH").arg(names::edition("tierce")).arg("x").query(&mut raw).unwrap();
    for _ in 0..2 {
        let before = tier.statistics().round_trips;
        assert_eq!(values(&tier, &[b"k"]), [Some("v".into())]);
        assert_eq!(tier.statistics().round_trips - before, 1);
    }
    tier.clear_group(key::group(b"k")).unwrap();
    assert_eq!(values(&tier, &[b"k"]), [None]);
}

#[test]
fn a_value_above_the_bound_is_a_miss_and_costs_no_connection() {
    let server = Server::with(&[]);
    let tier = RedisTier::new(server.options().max_value_bytes(100)).unwrap();
    tier.write(b"a", &record("1")).unwrap();
    tier.write(b"z", &record("2")).unwrap();
    for bytes in [101, 1000, 100_000, 200_000, 10 << 20] {
        server.tier().write(b"large", &record(vec![7; bytes])).unwrap();
        let corrupt = tier.statistics().corrupt;
        let found = values(&tier, &[b"a", b"large", b"z", b"large"]);
        assert_eq!(found, [Some("1".into()), None, Some("2".into()), None], "{bytes}");
        assert_eq!(tier.statistics().corrupt - corrupt, 2, "{bytes}");
    }
    assert_eq!(tier.statistics().connects, 1);
}

#[test]
fn more_than_a_reply_may_have_comes_in_several() {
    let server = Server::with(&[]);
    let tier = RedisTier::new(server.options().max_value_bytes(1 << 20)).unwrap();
    let keys: Vec<Vec<u8>> = (0..9_u8).map(|n| vec![n]).collect();
    for key in &keys {
        tier.write(key, &record(vec![key[0]; 1 << 20])).unwrap();
    }
    let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let mut trips = vec![];
    for _ in 0..2 {
        let before = tier.statistics();
        for (key, found) in keys.iter().zip(values(&tier, &asked)) {
            let found = found.unwrap();
            assert!(found.len() == 1 << 20 && found.iter().all(|byte| *byte == key[0]));
        }
        let after = tier.statistics();
        trips.push(after.round_trips - before.round_trips);
        let received = after.bytes_received - before.bytes_received;
        assert!(trips.len() == 1 || received < 12 << 20, "left out no more than once: {received}");
    }
    assert!(trips.iter().all(|trips| (4..=9).contains(trips)), "{trips:?}");
    assert_eq!(tier.statistics().connects, 1);
    // Small ones are asked for together again, after some calls.
    let small: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![b's', n]).collect();
    let asked: Vec<&[u8]> = small.iter().map(Vec::as_slice).collect();
    for _ in 0..9 {
        _ = values(&tier, &asked);
    }
    let before = tier.statistics().round_trips;
    _ = values(&tier, &asked);
    assert_eq!(tier.statistics().round_trips - before, 1);
}

#[test]
fn a_time_to_live_that_may_be_anothers_is_a_moment() {
    let times = Times { of_keys: vec![5000, -1, NO_SUCH_KEY, 0], are_sure: vec![true, false] };
    let of = |index, stripe| times.of(index, stripe);
    assert_eq!([of(0, 0), of(1, 0)], [Some(Some(Duration::from_secs(5))), Some(None)]);
    assert_eq!([of(0, 1), of(1, 1)], [Some(Some(MOMENT)); 2]);
    assert_eq!([of(2, 0), of(3, 0), of(2, 1)], [None; 3]);
}

#[test]
fn the_question_is_what_the_library_would_send() {
    let keys = [&b"a key"[..], b"another", b"a key"];
    let names: Vec<_> = keys.iter().map(|key| names::Names::of("p", key)).collect();
    let stripes = Stripes::of(&keys);
    assert_eq!(stripes.of_keys, [0, 1, 0]);
    let mut plain = redis::pipe();
    plain.cmd("MGET").arg(&names[0].epoch).arg(&names[1].epoch);
    for name in &names {
        plain.arg(&name.data);
    }
    let ask = |epochs, keeps| {
        let stripes = &stripes;
        Question { keys: &keys, stripes, epochs, keeps, has_reigns: false }.pack("p")
    };
    let Work::Packed(bytes, 1) = ask(AskEpochs::OfKeys, false) else { panic!("packed") };
    assert_eq!(bytes, plain.get_packed_pipeline());
    let mut full = redis::pipe();
    full.cmd("MGET").arg(&names[0].epoch).arg(&names[1].epoch);
    full.arg(&names[0].stamp).arg(&names[1].stamp);
    for name in &names {
        full.arg(&name.data);
    }
    for name in &names {
        full.cmd("PTTL").arg(&name.data);
    }
    full.cmd("MGET").arg(&names[0].stamp).arg(&names[1].stamp);
    let Work::Packed(bytes, 5) = ask(AskEpochs::OfKeys, true) else { panic!("packed") };
    assert_eq!(bytes, full.get_packed_pipeline());
    let known = Edition { number: 7, epochs: vec![None; STRIPES] };
    let mut short = redis::pipe();
    short.cmd("MGET").arg(names::edition("p"));
    let mut all = redis::pipe();
    all.cmd("MGET").arg(names::edition("p"));
    (0..STRIPES).for_each(|stripe| _ = all.arg(names::epoch("p", stripe)));
    for name in &names {
        short.arg(&name.data);
        all.arg(&name.data);
    }
    let Work::Packed(bytes, 1) = ask(AskEpochs::Edition(Arc::new(known)), false) else {
        panic!("packed")
    };
    assert_eq!(bytes, short.get_packed_pipeline());
    let Work::Packed(bytes, 2) = ask(AskEpochs::All, false) else { panic!("packed") };
    let begin = b"*4\r\n$3\r\nSET\r\n";
    assert!(bytes.starts_with(begin) && bytes.ends_with(&all.get_packed_pipeline()));
}

#[test]
fn a_server_that_answers_with_an_error_is_an_error() {
    let mut server = Server::with(&[]);
    let tier = server.tier();
    tier.write(b"k", &record("v")).unwrap();
    assert_eq!(values(&tier, &[b"k"]), [Some("v".into())]);
    server.kill();
    assert!(tier.read_many(&[b"k"], true).is_err());
}
