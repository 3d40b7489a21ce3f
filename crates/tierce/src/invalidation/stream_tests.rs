use super::*;
use crate::invalidation::Change;

const PATIENCE: Duration = Duration::from_millis(100);

#[test]
fn one_listens_and_is_replaced_when_it_is_silent_or_left() {
    let own = OwnStream::new();
    let stream = own.stream();
    let at = |now, mine| stream.subscribe(mine, Millis(now), PATIENCE);
    let first = at(1000, None).unwrap();
    assert_eq!((at(1050, None), at(1099, Some(first))), (None, Some(first)));
    stream.begin(first, Millis(1099), &[], false, false);
    assert_eq!(at(1198, None), None);
    assert!(stream.is_live(Millis(1198), PATIENCE));
    assert!(!stream.is_live(Millis(1199), PATIENCE), "silent");

    let second = at(1199, None).unwrap();
    assert!(!stream.is_live(Millis(1199), PATIENCE), "not told of anything yet");
    assert_eq!(at(1200, Some(first)), None, "stopped, and late");
    stream.leave(first);
    assert_eq!(at(1201, None), None, "not the late one's to leave");
    stream.begin(second, Millis(1201), &[], false, false);
    assert!(stream.is_live(Millis(1201), PATIENCE));
    stream.leave(second);
    assert!(!stream.is_live(Millis(1202), PATIENCE));
    let third = at(1202, None).unwrap();
    assert!(third != second && at(7, None).is_some(), "of an earlier boot");
}

#[test]
fn who_is_told_of_changes_is_live_whoever_said_otherwise() {
    let own = OwnStream::new();
    let stream = own.stream();
    let at = |now, mine| stream.subscribe(mine, Millis(now), PATIENCE);
    let term = at(1000, None).unwrap();
    stream.begin(term, Millis(1000), &[], false, false);
    stream.leave(term);
    assert!(!stream.is_live(Millis(1010), PATIENCE));
    assert_eq!(at(1010, Some(term)), Some(term));
    stream.told_until(term, Millis(1010), &[], &[]);
    assert!(stream.is_live(Millis(1010), PATIENCE));

    let next = at(2000, None).unwrap();
    stream.set_lost(term);
    stream.told_until(term, Millis(2000), &[], &[]);
    stream.told_until(next - 1, Millis(2000), &[], &[]);
    assert!(!stream.is_live(Millis(2000), PATIENCE), "that term is over");
}

#[test]
fn who_begins_to_listen_voids_the_groups_that_missed_changes_and_no_others() {
    let own = OwnStream::new();
    let stream = own.stream();
    let (ours, other) = (b"user:7", b"user:8");
    assert_ne!(key::group(ours), key::group(other));
    let mut stamps = vec![Some(100); GROUPS];
    stream.begin(1, Millis(10), &stamps, false, false);
    let words = || [ours, other].map(|key| stream.word(key));
    let current = |words: [GroupWord; 2]| words.map(|word| own.is_current(word));
    let begun = words();
    assert_eq!(current(begun), [true, true]);

    // Changes of this host, and one that was told.
    stream.made(ours, 101);
    stream.made(ours, 102);
    stamps[key::group(ours)] = Some(102);
    stamps[key::group(other)] = Some(101);
    stream.told_until(1, Millis(20), &stamps, &[]);
    stream.begin(2, Millis(30), &stamps, false, false);
    assert_eq!(current(begun), [true, true], "nothing was missed");

    // One of another host that nobody was told of, and one of this host after it.
    stream.made(ours, 104);
    stamps[key::group(ours)] = Some(104);
    stream.begin(3, Millis(40), &stamps, false, false);
    assert_eq!(current(begun), [false, true]);
    // A server that lost its stamps.
    let begun = words();
    stamps[key::group(other)] = None;
    stream.begin(4, Millis(50), &stamps, false, false);
    assert_eq!(current(begun), [true, false]);
}

#[test]
fn stamps_that_this_host_raised_meanwhile_stay_known() {
    let own = OwnStream::new();
    let stream = own.stream();
    stream.begin(1, Millis(10), &vec![Some(100); GROUPS], false, false);
    let word = stream.word(b"a");
    stream.made(b"a", 101);
    stream.told_until(1, Millis(20), &vec![Some(100); GROUPS], &[]);
    let mut stamps = vec![Some(100); GROUPS];
    stamps[key::group(b"a")] = Some(101);
    stream.begin(2, Millis(30), &stamps, false, false);
    assert!(own.is_current(word));
}

#[test]
fn copies_are_suspended_after_the_bound_and_come_back() {
    let own = OwnStream::new();
    let stream = own.stream();
    let stamps = vec![Some(100); GROUPS];
    assert_eq!(stream.suspend_after(Millis(999), PATIENCE), None, "nobody was told yet");
    stream.begin(1, Millis(1000), &stamps, false, false);
    let word = stream.word(b"a");
    stream.set_lost(1);
    assert_eq!(stream.suspend_after(Millis(1099), PATIENCE), None);
    assert!(own.is_current(word));
    assert_eq!(stream.suspend_after(Millis(1100), PATIENCE), Some(true));
    assert_eq!(stream.suspend_after(Millis(1101), PATIENCE), Some(false));
    let meanwhile = stream.word(b"a");
    assert!(!own.is_current(word) && own.is_current(meanwhile));
    stream.begin(1, Millis(1200), &stamps, false, false);
    assert!(own.is_current(word), "nothing was changed");
    assert!(!own.is_current(meanwhile), "filed while nobody was told");
}

#[test]
fn a_subscriber_that_was_late_and_missed_nothing_brings_copies_back() {
    let own = OwnStream::new();
    let stream = own.stream();
    let stamps = vec![Some(100); GROUPS];
    let term = stream.subscribe(None, Millis(1000), PATIENCE).unwrap();
    stream.begin(term, Millis(1000), &stamps, false, false);
    let word = stream.word(b"a");
    assert_eq!(stream.suspend_after(Millis(1100), PATIENCE), Some(true));
    let meanwhile = stream.word(b"a");
    let told = |until, now| {
        stream.told_until(term, Millis(until), &stamps, &[]);
        stream.resume(term, Millis(now), PATIENCE);
    };
    told(1010, 1110);
    assert!(!own.is_current(word), "it says what was so a bound ago");
    told(1105, 1110);
    assert!(own.is_current(word));
    assert!(!own.is_current(meanwhile), "filed while nobody knew");
    // Else these would not be suspended the next time.
    assert_eq!(stream.suspend_after(Millis(1205), PATIENCE), Some(true));
    assert!(!own.is_current(word) && own.is_current(meanwhile));
    let successor = stream.subscribe(None, Millis(1300), PATIENCE).unwrap();
    assert!(successor != term);
    told(1300, 1301);
    assert!(!own.is_current(word), "the next one says what was missed");
}

#[test]
fn only_the_latest_change_that_is_done_and_lies_in_l3_is_an_own_one() {
    let own = OwnStream::new();
    let stream = own.stream();
    assert!(stream.own_change(b"a").is_none() && !stream.is_own(b"a", Some(0)));
    let change = stream.begin_change(b"a");
    let number = Some(change.number());
    let under_way = |in_l3| stream.is_under_way(b"a", change.number(), in_l3);
    assert!(stream.own_change(b"a") == number && !stream.is_own(b"a", number), "not done");
    assert!(under_way(number) && !under_way(None));
    stream.end_change(b"a", change);
    assert!(stream.is_own(b"a", number) && !under_way(number));
    assert!(!stream.is_own(b"b", number) || stream.own_change(b"b").is_none());
    // Removed, or changed by another host: the slot is of no use any more.
    assert!(!stream.is_own(b"a", None) && stream.own_change(b"a").is_none());
    assert!(!stream.is_own(b"a", number));

    let (older, newer) = (stream.begin_change(b"a"), stream.begin_change(b"a"));
    assert_ne!(older, newer);
    stream.end_change(b"a", older);
    assert!(!stream.is_own(b"a", Some(older.number())));
    stream.end_change(b"a", newer);
    assert!(stream.is_own(b"a", Some(newer.number())));
}

#[test]
fn a_look_into_l3_from_before_another_own_change_decides_nothing() {
    let own = OwnStream::new();
    let stream = own.stream();
    let (older, newer) = (stream.begin_change(b"a"), stream.begin_change(b"a"));
    stream.end_change(b"a", newer);
    let is_looked_at_again =
        |before: Change, in_l3| stream.is_under_way(b"a", before.number(), in_l3);
    assert!(is_looked_at_again(older, Some(older.number())));
    assert!(is_looked_at_again(older, None));
    assert!(!is_looked_at_again(older, Some(newer.number())), "that is the latest");
    assert!(!is_looked_at_again(newer, Some(older.number())), "there is none since");
}

#[test]
fn changes_of_tags_are_known_that_were_told_or_that_this_host_made_next() {
    let own = OwnStream::new();
    let stream = own.stream();
    let at = |raises| KnownBelow { era: 7, raises };
    assert_eq!((stream.tags_known(), stream.tags_seen()), (None, None));
    stream.tags_made(at(1), 2);
    assert_eq!(stream.tags_known(), None, "nobody was told of others");
    stream.tags_told(Some(at(2)));
    stream.tags_made(at(2), 4);
    assert_eq!(stream.tags_known(), Some(at(4)));
    stream.tags_made(at(5), 6);
    assert_eq!((stream.tags_known(), stream.tags_seen()), (Some(at(4)), Some(at(6))));
    stream.tags_told(Some(at(5)));
    stream.tags_heard(at(5));
    assert_eq!((stream.tags_known(), stream.tags_seen()), (Some(at(5)), Some(at(6))));
    // Of another numbering.
    stream.tags_told(Some(KnownBelow { era: 8, raises: 1 }));
    stream.tags_made(at(6), 7);
    let now = Some(KnownBelow { era: 8, raises: 1 });
    assert_eq!((stream.tags_known(), stream.tags_seen()), (now, now));
    stream.tags_told(None);
    assert_eq!((stream.tags_known(), stream.tags_seen()), (None, None));
}

#[test]
fn a_change_that_is_not_above_is_taken_for_a_foreign_one() {
    let own = OwnStream::new();
    let stream = own.stream();
    let change = stream.begin_change(b"k");
    let in_l3 = Some(change.number());
    let under_way = || stream.is_under_way(b"k", change.number(), in_l3);
    assert!(stream.own_change(b"k").is_some() && under_way());
    stream.abandon_change(b"k", change);
    assert!(stream.own_change(b"k").is_none() && !under_way());
    assert!(!stream.is_own(b"k", in_l3));
    // One that came later to the slot stays.
    let later = stream.begin_change(b"k");
    stream.abandon_change(b"k", change);
    stream.end_change(b"k", later);
    assert!(stream.is_own(b"k", Some(later.number())));
}

#[test]
fn a_replica_is_asked_of_what_was_not_heard_of_since_the_last_look_at_the_master() {
    let own = OwnStream::new();
    let stream = own.stream();
    let (stamps, offsets) = (vec![Some(100); GROUPS], vec![Some(7); GROUPS]);
    let ask =
        |key: &[u8], now, unheard| stream.replica_of(key, Millis(now), PATIENCE, Millis(unheard));
    let term = stream.subscribe(None, Millis(1000), PATIENCE).unwrap();
    stream.begin(term, Millis(1000), &stamps, false, false);
    assert_eq!(ask(b"a", 1001, 0), None, "the master was not looked at");
    stream.told_until(term, Millis(1010), &stamps, &offsets);
    let least = Some(Reached { stamp: 100, offset: 7 });
    assert_eq!(ask(b"a", 1011, 0), least);
    assert_eq!(ask(b"a", 1110, 0), None, "too long ago");
    assert_eq!(ask(b"a", 1009, 0), None, "of an earlier boot");

    stream.hear(b"a", Millis(1010));
    assert_ne!(heard_slot(b"a"), heard_slot(b"b"));
    assert_eq!((ask(b"a", 1011, 0), ask(b"b", 1011, 0)), (None, least));
    assert_eq!(ask(b"b", 1011, 1010), None, "what was made without being heard of");
    stream.made(b"a", 101);
    let offsets = vec![Some(9); GROUPS];
    stream.told_until(term, Millis(1011), &stamps, &offsets);
    assert_eq!(ask(b"a", 1012, 0), Some(Reached { stamp: 101, offset: 9 }));
    stream.hear_all(Millis(1012));
    assert_eq!((ask(b"a", 1012, 0), ask(b"b", 1012, 0)), (None, None));

    // One that was replaced and wakes up says what was.
    stream.told_until(term, Millis(1013), &stamps, &offsets);
    let next = stream.subscribe(None, Millis(1100), PATIENCE).unwrap();
    stream.begin(next, Millis(1100), &stamps, false, false);
    assert_eq!(ask(b"b", 1101, 0), None);
    stream.told_until(term, Millis(1050), &stamps, &offsets);
    assert_eq!(ask(b"b", 1101, 0), None, "of a term that is over");
    stream.told_until(next, Millis(1101), &stamps, &offsets);
    assert!(ask(b"b", 1102, 0).is_some());
    stream.set_lost(next);
    assert_eq!(ask(b"b", 1102, 0), None, "nobody is told");
    stream.told_until(next, Millis(1103), &stamps, &[]);
    assert_eq!(ask(b"b", 1104, 0), None, "nobody asked how far the master is");
}

#[test]
fn a_replica_has_come_as_far_as_it_must_by_both_numbers() {
    let least = Reached { stamp: 1000, offset: Reached::OFFSET_MASK - 1 };
    let is_at = |stamp, offset| Reached { stamp, offset }.is_at(least);
    assert!(is_at(1000, least.offset) && is_at(1001, least.offset + 1));
    assert!(is_at(1000, 5), "the low bits of a larger number");
    assert!(!is_at(999, least.offset) && !is_at(1000, least.offset - 1));
    assert!(!is_at(1000 + (1 << 30), least.offset), "of another server");
}
