//! What is noted is distrusted until a later change of the tier succeeded, and not a note longer.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::{
    error::{Error, ErrorKind},
    tier::Usage,
};

/// A tier that fails on demand and runs a hook inside its calls.
struct Fake<'a> {
    calls: AtomicUsize,
    fails_from: usize,
    hook: Box<dyn Fn(&str) + Send + Sync + 'a>,
}

impl<'a> Fake<'a> {
    fn new(hook: impl Fn(&str) + Send + Sync + 'a) -> Self {
        Self { calls: AtomicUsize::new(0), fails_from: usize::MAX, hook: Box::new(hook) }
    }

    fn call(&self, what: &str) -> Result<()> {
        (self.hook)(what);
        if self.calls.fetch_add(1, Ordering::Relaxed) >= self.fails_from {
            return Err(Error::new(ErrorKind::Network, "away"));
        }
        Ok(())
    }
}

impl Tier for Fake<'_> {
    fn remove(&self, key: &[u8]) -> Result<()> {
        self.call(std::str::from_utf8(key).unwrap())
    }
    fn clear(&self) -> Result<()> {
        self.call("clear")
    }
    fn usage(&self) -> Usage {
        Usage::default()
    }
    fn trouble(&self) -> Option<String> {
        None
    }
    fn close(&self) {}
}

#[test]
fn noted_key_is_distrusted_until_it_was_removed() {
    let ledger = Ledger::new(10);
    assert!(!ledger.distrusts(b"a") && ledger.is_empty());
    ledger.note(b"a");
    assert!(ledger.distrusts(b"a") && !ledger.distrusts(b"b"));

    let mut tier = Fake::new(|_| {});
    tier.fails_from = 0;
    assert_eq!(ledger.replay(&tier, 10).unwrap_err().kind(), ErrorKind::Network);
    assert!(ledger.distrusts(b"a") && ledger.len() == 1);

    ledger.replay(&Fake::new(|_| {}), 10).unwrap();
    assert!(!ledger.distrusts(b"a") && ledger.is_empty());
}

#[test]
fn replay_keeps_to_its_budget_and_ends_at_the_first_error() {
    let ledger = Ledger::new(100);
    for n in 0..10 {
        ledger.note(format!("{n}").as_bytes());
    }
    let tier = Fake::new(|_| {});
    ledger.replay(&tier, 4).unwrap();
    assert_eq!(ledger.len(), 6);
    assert_eq!(tier.calls.load(Ordering::Relaxed), 4);
    let mut tier = Fake::new(|_| {});
    tier.fails_from = 2;
    ledger.replay(&tier, 100).unwrap_err();
    assert_eq!(ledger.len(), 4);
    assert_eq!(tier.calls.load(Ordering::Relaxed), 3);
}

#[test]
fn change_that_fails_during_the_replay_is_kept() {
    let ledger = Ledger::new(10);
    ledger.note(b"a");
    ledger.replay(&Fake::new(|key| ledger.note(key.as_bytes())), 10).unwrap();
    assert!(ledger.distrusts(b"a") && ledger.len() == 1);

    ledger.note_everything();
    ledger.replay(&Fake::new(|_| ledger.note(b"b")), 10).unwrap();
    assert!(ledger.distrusts(b"b") && !ledger.distrusts(b"a"));
    ledger.note_everything();
    ledger.replay(&Fake::new(|_| ledger.note_everything()), 10).unwrap();
    assert!(ledger.distrusts(b"a"));
}

#[test]
fn success_settles_only_what_was_noted_before_it_began() {
    let ledger = Ledger::new(10);
    ledger.note(b"a");
    let mark = ledger.mark();
    ledger.settle(b"a", mark);
    assert!(!ledger.distrusts(b"a"));

    let mark = ledger.mark();
    ledger.note(b"a");
    ledger.settle(b"a", mark);
    assert!(ledger.distrusts(b"a"));
    ledger.settle_everything(mark);
    assert!(ledger.distrusts(b"a"));
    ledger.settle_everything(ledger.mark());
    assert!(ledger.is_empty());

    // A change of one key says nothing of the others.
    ledger.note_everything();
    ledger.settle(b"a", ledger.mark());
    assert!(ledger.distrusts(b"a"));
}

#[test]
fn overflow_distrusts_everything_until_a_clear() {
    let ledger = Ledger::new(3);
    for key in [b"a", b"b", b"c"] {
        ledger.note(key);
    }
    ledger.note(b"a");
    assert!(!ledger.distrusts(b"z"), "a key noted again takes no room");
    ledger.note(b"d");
    assert!(ledger.distrusts(b"z") && ledger.len() == 1);
    let seen = Mutex::new(Vec::new());
    ledger.replay(&Fake::new(|what| seen.lock().push(what.to_owned())), 1).unwrap();
    assert_eq!(*seen.lock(), ["clear"]);
    assert!(ledger.is_empty() && !ledger.distrusts(b"a"));
}

#[test]
fn long_keys_overflow_by_their_bytes() {
    let ledger = Ledger::new(1000);
    for n in 0..17_u8 {
        ledger.note(&vec![n; 1 << 20]);
    }
    assert!(ledger.distrusts(b"z") && ledger.len() == 1);
}

#[test]
fn second_replay_does_not_repeat_the_first() {
    let ledger = Ledger::new(10);
    ledger.note(b"a");
    let inner = Fake::new(|_| {});
    let outer = Fake::new(|_| {
        ledger.replay(&inner, 10).unwrap();
        assert_eq!(ledger.len(), 1);
    });
    ledger.replay(&outer, 10).unwrap();
    assert!(ledger.is_empty());
    assert_eq!(inner.calls.load(Ordering::Relaxed), 0);
    // A tier that panics does not block the ledger for ever.
    ledger.note(b"a");
    let panics = Fake::new(|_| panic!("on purpose"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ledger.replay(&panics, 1)))
        .unwrap_err();
    ledger.replay(&inner, 10).unwrap();
    assert!(ledger.is_empty());
}

#[test]
fn random_histories_agree_with_a_plain_model() {
    let seed = 0x1ed6;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..300 {
        let ledger = Ledger::new(6);
        // Per key the number of its last failed change; one for all keys.
        let (mut model, mut all) = (BTreeMap::<u8, u64>::new(), None::<u64>);
        let (mut time, mut marks) = (0_u64, Vec::new());
        for _ in 0..60 {
            let key = random.u8(0..10);
            match random.u8(0..6) {
                0 | 1 => {
                    ledger.note(&[key]);
                    if model.len() >= 6 && !model.contains_key(&key) {
                        model.clear();
                        all = Some(time);
                    } else {
                        model.insert(key, time);
                    }
                    time += 1;
                }
                2 => marks.push((ledger.mark(), time)),
                3 | 4 => {
                    if let Some((mark, at)) = marks.pop() {
                        ledger.settle(&[key], mark);
                        if model.get(&key).is_some_and(|noted| *noted < at) {
                            model.remove(&key);
                        }
                    }
                }
                _ => {
                    if let Some((mark, at)) = marks.pop() {
                        ledger.settle_everything(mark);
                        model.retain(|_, noted| *noted >= at);
                        all = all.filter(|noted| *noted >= at);
                    }
                }
            }
            for key in 0..10 {
                let expected = all.is_some() || model.contains_key(&key);
                assert_eq!(ledger.distrusts(&[key]), expected, "seed {seed:#x}, round {round}");
            }
            assert_eq!(ledger.is_empty(), all.is_none() && model.is_empty());
        }
    }
}

#[test]
#[cfg(unix)]
fn a_forked_child_replays_where_a_thread_it_does_not_have_was_at_it() {
    let ledger = Ledger::new(10);
    ledger.note(b"a");
    let inner = Fake::new(|_| {});
    let outer = Fake::new(|_| {
        assert!(crate::sync::testing::fork(|| {
            ledger.replay(&inner, 10).is_ok() && ledger.is_empty()
        }));
    });
    ledger.replay(&outer, 10).unwrap();
}
