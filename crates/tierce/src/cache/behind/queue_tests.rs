//! What waits, in which order and until when.

use bytes::Bytes;

use super::*;
use crate::{clock::ManualClock, codec::Format, invalidation::StampTable};

const DELAY: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_secs(2);

struct Set {
    queue: Queue,
    stamps: StampTable,
    time: ManualClock,
}

impl Set {
    fn new() -> Self {
        let (clock, time) = Clock::manual();
        Self { queue: Queue::new(DELAY, REST, &clock), stamps: StampTable::new(), time }
    }

    /// Sets a value as a cache does; whether it took the place of another, and whether a thread is needed.
    fn set(&self, key: &[u8], value: &'static str) -> (bool, bool) {
        let place = self.queue.claim(None, key, value.len()).unwrap();
        self.queue.enqueue(None, place, self.entry(value))
    }

    /// The entry of a value whose set raised the stamp.
    fn entry(&self, value: &'static str) -> Entry {
        let mark = self.stamps.mark(0);
        self.stamps.raise(mark);
        Entry {
            record: Record::new(Bytes::from(value), Format::Raw, None),
            basis: Basis::Private(mark.raised(), GroupWord::NONE),
            before: None,
            set_at: Millis(0),
        }
    }

    fn due(&self) -> Option<Vec<Vec<u8>>> {
        let due = self.queue.due(None)?;
        Some(due.iter().map(|key| key.to_vec()).collect())
    }

    fn take(&self, key: &[u8]) -> Option<Taken> {
        match self.queue.take(key) {
            Take::Taken(taken) => Some(taken),
            Take::Busy | Take::Nothing => None,
        }
    }

    fn send(&self, key: &[u8]) -> Option<Bytes> {
        let taken = self.take(key)?;
        self.queue.done(None, &taken.key, taken.cell);
        Some(taken.entry.record.value)
    }
}

#[test]
fn a_key_counts_from_the_claim_on_until_it_was_sent_or_given_back() {
    let set = Set::new();
    let knows = || (set.queue.has(b"a"), set.queue.has_newer(b"a"), set.queue.is_coming(b"a"));
    assert_eq!(knows(), (false, false, false));
    let place = set.queue.claim(None, b"a", 1).unwrap();
    let other = set.queue.claim(None, b"a", 1).unwrap();
    assert_eq!(knows(), (true, true, true), "the tiers above may have it by now");
    set.queue.enqueue(None, place, set.entry("1"));
    assert_eq!(knows(), (true, true, true), "of two");
    set.queue.give_back(None, other);
    assert_eq!(knows(), (true, true, false));
    let taken = set.take(b"a").unwrap();
    assert_eq!(knows(), (true, false, false), "on its way");
    set.queue.done(None, &taken.key, taken.cell);
    assert_eq!(knows(), (false, false, false));
    assert!(set.queue.is_empty());
}

#[test]
fn the_newest_value_of_a_key_is_sent_when_the_first_was_due() {
    let set = Set::new();
    assert_eq!(set.set(b"a", "1"), (false, true), "a thread is needed");
    set.time.advance(DELAY / 2);
    assert_eq!(set.set(b"a", "2"), (true, false));
    assert_eq!(set.set(b"b", "3"), (false, false));
    assert_eq!(set.due(), Some(Vec::new()));
    set.time.advance(DELAY / 2);
    assert_eq!(set.due(), Some(vec![b"a".to_vec()]));
    assert_eq!(set.send(b"a").as_deref(), Some(&b"2"[..]));
    assert_eq!(set.send(b"a"), None);
    set.time.advance(DELAY);
    assert_eq!(set.due(), Some(vec![b"b".to_vec()]));
    assert_eq!(set.queue.len(), (1, 2));
    set.send(b"b");
    assert!(set.queue.is_empty());
    assert_eq!(set.due(), None, "the thread ends");
    assert_eq!(set.set(b"c", "4"), (false, true), "another one is needed");
}

#[test]
fn of_two_sets_that_come_in_the_wrong_order_the_later_one_stays() {
    let set = Set::new();
    let places = [(); 2].map(|()| set.queue.claim(None, b"a", 1).unwrap());
    let [first, second] = [set.entry("1"), set.entry("2")];
    let [here, there] = places;
    set.queue.enqueue(None, here, second);
    assert!(set.queue.enqueue(None, there, first).0);
    assert_eq!(set.send(b"a").as_deref(), Some(&b"2"[..]));
    assert_eq!(set.queue.len(), (0, 0), "no room is lost");
}

#[test]
fn a_key_is_sent_by_one_thread_at_a_time_and_is_known_until_it_is_done() {
    let set = Set::new();
    set.set(b"a", "1");
    let taken = set.take(b"a").unwrap();
    assert!(set.queue.has(b"a") && !set.queue.has_newer(b"a"));
    set.set(b"a", "2");
    assert!(set.queue.has_newer(b"a"));
    assert!(matches!(set.queue.take(b"a"), Take::Busy), "the older one may come after it");
    assert!(set.queue.first(u64::MAX).is_none());
    set.queue.done(None, &taken.key, taken.cell);
    assert_eq!(set.send(b"a").as_deref(), Some(&b"2"[..]));
    assert!(!set.queue.has(b"a"));
}

#[test]
fn what_is_withdrawn_is_not_sent_and_is_known_until_the_change_is_done() {
    let set = Set::new();
    set.set(b"a", "1");
    let (key, cell) = set.queue.withdraw(b"a").unwrap();
    assert!(set.queue.has(b"a") && set.queue.withdraw(b"a").is_none());
    assert_eq!(set.send(b"a"), None);
    set.queue.done(None, &key, cell);
    assert!(set.queue.is_empty());
}

#[test]
fn who_sends_naps_though_what_waits_cannot_be_sent_while_the_cache_closes() {
    let set = Set::new();
    set.set(b"a", "1");
    set.queue.close();
    let begin = Instant::now();
    (0..10).for_each(|_| set.queue.nap());
    // A nap may end for no reason, not most of them.
    assert!(begin.elapsed() >= 5 * TICK, "{:?}", begin.elapsed());
}

#[test]
fn a_queue_takes_no_more_than_its_bounds_and_nothing_when_it_is_closed() {
    let set = Set::new();
    assert!(set.queue.claim(None, b"a", MOST_BYTES).is_none());
    let place = set.queue.claim(None, b"a", MOST_BYTES - 1).unwrap();
    assert!(set.queue.claim(None, b"b", 0).is_none(), "room is taken by who is to fill it");
    set.queue.give_back(None, place);
    for number in 0..MOST_KEYS {
        set.set(&number.to_le_bytes(), "");
    }
    assert!(set.queue.claim(None, b"one more", 0).is_none());
    assert!(set.queue.claim(None, &0_usize.to_le_bytes(), 0).is_some(), "it takes no place");
    set.send(&1_usize.to_le_bytes());
    assert!(set.queue.claim(None, b"one more", 0).is_some());
    set.queue.close();
    assert!(set.queue.claim(None, b"late", 0).is_none());
}
