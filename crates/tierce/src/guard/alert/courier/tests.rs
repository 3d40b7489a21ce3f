use std::time::SystemTime;

use super::{super::Severity, *};
use crate::guard::retry::LONGEST_ASKED;

fn notice(alert: &str, status: NoticeStatus) -> Notice {
    Notice {
        alert: alert.into(),
        status,
        severity: Severity::Critical,
        condition: "error_rate > 1%".into(),
        value: None,
        cache: "users".into(),
        started: SystemTime::UNIX_EPOCH,
        ended: None,
    }
}

fn firing(alert: &str) -> Notice {
    notice(alert, NoticeStatus::Firing)
}

fn names(notices: &[Notice]) -> Vec<&str> {
    notices.iter().map(|notice| notice.alert.as_str()).collect()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Fails once, and says after how long it may be tried again.
fn fail(queue: &mut Queue, now: Instant, asked: Option<Duration>) -> Duration {
    let taken = queue.take(now, MOST_WAITING);
    assert!(!taken.is_empty());
    queue.sent(now, taken, Outcome::Failed("status 503".into(), asked));
    queue.due(now).unwrap() - now
}

#[test]
fn distances_double_up_to_a_minute_each_less_up_to_its_half() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.put(firing("A"));
    for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        let distance = fail(&mut queue, now, None);
        let range = seconds(expected) / 2..=seconds(expected);
        assert!(range.contains(&distance), "{distance:?} is not within {range:?}");
    }
    let taken = queue.take(now, 1);
    queue.sent(now, taken, Outcome::Taken);
    assert_eq!((queue.due(now), queue.stats.failed, queue.stats.taken), (None, 9, 1));
    queue.put(firing("A"));
    assert_eq!(queue.due(now), Some(now), "a success begins anew");
}

#[test]
fn the_wish_of_the_place_is_obeyed_within_reason() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.put(firing("A"));
    assert_eq!(fail(&mut queue, now, Some(seconds(90))), seconds(90));
    assert_eq!(fail(&mut queue, now, Some(seconds(999_999))), LONGEST_ASKED);
    // What is put meanwhile waits for that too.
    queue.put(firing("B"));
    assert_eq!(queue.due(now), Some(now + LONGEST_ASKED));
}

#[test]
fn what_is_true_takes_the_place_of_what_was() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.put(firing("A"));
    queue.put(firing("B"));
    let under_way = queue.take(now, 1);
    queue.put(notice("A", NoticeStatus::Resolved));
    queue.sent(now, under_way, Outcome::Failed(String::new(), None));
    let told = queue.take(now, MOST_WAITING);
    assert_eq!(names(&told), ["B", "A"]);
    assert_eq!(told[1].status, NoticeStatus::Resolved);
    queue.put(firing("C"));
    queue.put(notice("C", NoticeStatus::Resolved));
    let told = queue.take(now, MOST_WAITING);
    assert_eq!((names(&told), told[0].status), (vec!["C"], NoticeStatus::Resolved));
}

#[test]
fn a_refused_notice_is_not_sent_again() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.put(firing("A"));
    let taken = queue.take(now, 1);
    queue.sent(now, taken, Outcome::Refused("status 400".into()));
    assert_eq!((queue.due(now), queue.stats.refused), (None, 1));
    assert_eq!(queue.stats.last_error.as_deref(), Some("status 400"));
}

#[test]
fn more_than_may_wait_are_dropped_and_counted() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for number in 0..MOST_WAITING + 3 {
        queue.put(firing(&number.to_string()));
    }
    assert_eq!((queue.waiting.len(), queue.stats.dropped), (MOST_WAITING, 3));
    let taken = queue.take(now, 2);
    assert_eq!(names(&taken), ["3", "4"], "the oldest went");
    queue.put(firing("one"));
    queue.put(firing("two"));
    queue.sent(now, taken, Outcome::Failed(String::new(), None));
    assert_eq!((queue.waiting.len(), queue.stats.dropped), (MOST_WAITING, 5));
}

#[test]
fn what_fires_is_said_again_until_it_is_over() {
    let mut queue = Queue { refresh: Some(seconds(60)), ..Queue::default() };
    let mut now = Instant::now();
    queue.put(firing("A"));
    for _ in 0..3 {
        assert_eq!(queue.due(now), Some(now));
        let taken = queue.take(now, MOST_WAITING);
        assert_eq!(names(&taken), ["A"]);
        queue.sent(now, taken, Outcome::Taken);
        assert_eq!(queue.due(now), Some(now + seconds(60)));
        now += seconds(60);
    }
    queue.put(notice("A", NoticeStatus::Resolved));
    let taken = queue.take(now, MOST_WAITING);
    assert_eq!((taken.len(), taken[0].status), (1, NoticeStatus::Resolved));
    queue.sent(now, taken, Outcome::Taken);
    assert_eq!(queue.due(now), None);
}

#[test]
fn a_place_that_is_away_is_not_asked_more_often_for_what_stands() {
    let mut queue = Queue { refresh: Some(seconds(1)), ..Queue::default() };
    let now = Instant::now();
    queue.put(firing("A"));
    let taken = queue.take(now, MOST_WAITING);
    queue.sent(now, taken, Outcome::Taken);
    let later = now + seconds(1);
    let taken = queue.take(later, MOST_WAITING);
    queue.sent(later, taken, Outcome::Failed(String::new(), Some(seconds(30))));
    assert_eq!(queue.due(later), Some(later + seconds(30)));
}
