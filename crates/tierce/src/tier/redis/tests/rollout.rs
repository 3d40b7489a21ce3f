//! What the server makes of what hosts ask it about a rollout.

use std::{thread, time::Duration};

use super::server::Server;
use crate::tier::{
    RemoteTier, RolloutAsk, RolloutMark, RolloutNews, RolloutNext, RolloutState, redis::RedisTier,
};

const LEASE: Duration = Duration::from_millis(300);

fn next(epoch: u64, is_back: bool, parts: u16, number: u64, lines: &[&str]) -> RolloutNext {
    let mark = RolloutMark { epoch, number, id: crate::random::random() };
    RolloutNext {
        state: RolloutState { mark, is_back, parts },
        plan: Some(format!("plan of {epoch}")),
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
    }
}

fn look(tier: &RedisTier, known: Option<RolloutMark>, leader: Option<&str>) -> RolloutNews {
    let lead = leader.map(|leader| (leader, LEASE));
    tier.rollout(&RolloutAsk::Look { known, lead }).unwrap()
}

fn propose(
    tier: &RedisTier,
    expected: RolloutMark,
    leader: Option<&str>,
    next: &RolloutNext,
) -> RolloutNews {
    tier.rollout(&RolloutAsk::Propose { expected, leader, next }).unwrap()
}

fn join(tier: &RedisTier, next: &RolloutNext) -> RolloutNews {
    tier.rollout(&RolloutAsk::Join { next, quiet: LEASE }).unwrap()
}

/// Epoch, whether it is back, share and number of what the server has.
fn has(tier: &RedisTier) -> (u64, bool, u16, u64) {
    let RolloutState { mark, is_back, parts } = look(tier, None, None).state.unwrap();
    (mark.epoch, is_back, parts, mark.number)
}

#[test]
fn a_proposal_is_accepted_once_on_the_state_that_it_names_and_by_who_leads() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let nothing = RolloutMark::default();
    assert!(look(&tier, None, Some("one")).state.is_none(), "and nobody leads nothing");
    let first = next(1, false, 0, 0, &["started"]);
    assert!(propose(&tier, nothing, None, &first).is_done);
    assert!(!propose(&tier, nothing, None, &next(2, false, 0, 0, &["again"])).is_done);
    let news = look(&tier, None, Some("one"));
    assert_eq!(
        (news.plan.as_deref(), &news.lines[..]),
        (Some("plan of 1"), &["started".to_owned()][..])
    );
    assert!(news.leads.is_some());
    let seen = news.state.unwrap().mark;
    assert!(look(&tier, Some(seen), Some("two")).leads.is_none());
    let step = next(1, false, 2500, 0, &["step"]);
    assert!(!propose(&tier, seen, Some("two"), &step).is_done, "it does not lead");
    assert!(propose(&tier, seen, Some("one"), &step).is_done);
    assert!(!propose(&tier, seen, Some("one"), &step).is_done, "that was another state");
    assert_eq!(has(&tier), (1, false, 2500, 2));
    let news = look(&tier, Some(seen), None);
    assert_eq!((news.plan, news.lines), (None, vec!["step".to_owned()]));
    let mark = news.state.unwrap().mark;
    assert!(look(&tier, Some(mark), None).lines.is_empty());
    // Once its lease is over another leads, and what it decided before does not count.
    thread::sleep(LEASE + Duration::from_millis(100));
    assert!(look(&tier, Some(mark), Some("two")).leads.is_some());
    assert!(!propose(&tier, mark, Some("one"), &next(1, false, 5000, 0, &["late"])).is_done);
    tier.rollout(&RolloutAsk::Resign { leader: "one" }).unwrap();
    assert_eq!(look(&tier, None, None).leader.as_deref(), Some("two"));
    tier.rollout(&RolloutAsk::Resign { leader: "two" }).unwrap();
    assert_eq!(look(&tier, None, None).leader, None);
}

#[test]
fn what_is_joined_takes_the_place_of_what_it_beats_and_of_nothing_else() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let all = ["started", "step"];
    assert!(join(&tier, &next(5, false, 2500, 2, &all)).is_done);
    assert_eq!(has(&tier), (5, false, 2500, 2));
    assert!(look(&tier, None, Some("one")).leads.is_none(), "somebody may know more");
    // Less, as much, more.
    join(&tier, &next(5, false, 100, 1, &all[..1]));
    join(&tier, &next(4, true, 0, 9, &["of an earlier start"]));
    assert_eq!(has(&tier), (5, false, 2500, 2));
    join(&tier, &next(5, false, 5000, 3, &["started", "step", "step two"]));
    assert_eq!(has(&tier), (5, false, 5000, 3));
    // A rollback of the same start, from who knew of the first step alone; then its steps down.
    let back = ["started", "step", "back"];
    assert!(join(&tier, &next(5, true, 1000, 2, &back)).is_done);
    assert_eq!(has(&tier), (5, true, 1000, 4));
    join(&tier, &next(5, true, 1000, 2, &back));
    join(&tier, &next(5, false, 10_000, 99, &["a step that came too late"]));
    assert_eq!(has(&tier), (5, true, 1000, 4), "as often as one likes");
    join(&tier, &next(5, true, 0, 2, &["back", "down"]));
    join(&tier, &next(5, true, 5000, 2, &["another's rollback"]));
    assert_eq!(has(&tier), (5, true, 0, 6));
    let lines = look(&tier, None, None).lines;
    assert_eq!(lines, ["started", "step", "step two", "back", "down", "another's rollback"]);
    let mark = look(&tier, None, None).state.unwrap().mark;
    assert!(propose(&tier, mark, None, &next(6, false, 0, 0, &["started anew"])).is_done);
    assert_eq!(has(&tier), (6, false, 0, 7));
}

#[test]
fn the_log_keeps_the_last_thousand_lines_and_other_types_are_no_state() {
    let server = Server::with(&[]);
    let tier = server.tier();
    let lines: Vec<String> = (0..1500).map(|line| line.to_string()).collect();
    let many = RolloutNext { lines, ..next(1, false, 0, 0, &[]) };
    assert!(propose(&tier, RolloutMark::default(), None, &many).is_done);
    let news = look(&tier, None, None);
    assert_eq!((news.lines.len(), news.lines[0].as_str()), (1000, "500"));
    assert_eq!(news.state.unwrap().mark.number, 1500);
    let mut raw = server.raw();
    for name in ["tierce:o:{01}", "tierce:o:{01}:log", "tierce:o:{01}:lead"] {
        let _: () = redis::cmd("DEL").arg(name).query(&mut raw).unwrap();
        let _: () = redis::cmd("SADD").arg(name).arg("x").query(&mut raw).unwrap();
    }
    assert!(look(&tier, None, Some("one")).state.is_none());
    assert!(join(&tier, &next(1, false, 100, 1, &["started"])).is_done);
    assert_eq!(has(&tier), (1, false, 100, 1));
}
