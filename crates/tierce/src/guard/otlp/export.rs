//! One message of OTLP over HTTP, and what became of it, as the specification judges answers.

use std::time::Duration;

use ureq::{
    Agent,
    http::{HeaderName, HeaderValue},
};

use super::wire::{Fields, Value};
use crate::{
    guard::post::{asked, told},
    sync::{self, Mutex},
};

/// Longer answers hold nothing that is looked at.
const MOST_ANSWER: u64 = 64 << 10;
/// Of what a receiver says, enough to know what it means.
const MOST_SAID: usize = 200;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken, but for so many of its points or spans; what the receiver says of it.
    Taken(u64, Option<String>),
    /// It was refused, and would be again.
    Refused(String),
    /// It may be taken later; not before so long, if the receiver says that.
    Failed(String, Option<Duration>),
}

/// What became of messages. Those of metrics hold all that was counted, so one that failed loses
/// nothing that the next does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtlpStats {
    /// Messages that were taken.
    pub taken: u64,
    /// Messages that were refused, and not sent again.
    pub refused: u64,
    /// Attempts that failed, and were made again later.
    pub failed: u64,
    /// Points or spans that a receiver refused of messages that it took.
    pub rejected: u64,
    /// Spans that were not sent: too many waited, their message was refused, or nobody was left to
    /// send them. 0 for metrics.
    pub dropped: u64,
    /// What went wrong last; `None` once a message was taken without a word.
    pub last_error: Option<String>,
}

impl OtlpStats {
    pub(super) fn count(&mut self, outcome: &Outcome) {
        self.last_error = match outcome {
            Outcome::Taken(rejected, said) => {
                self.taken += 1;
                self.rejected += rejected;
                said.clone()
            }
            Outcome::Refused(why) => {
                self.refused += 1;
                Some(why.clone())
            }
            Outcome::Failed(why, _) => {
                self.failed += 1;
                Some(why.clone())
            }
        };
    }

    /// Writes them as families of metrics.
    pub(in crate::guard) fn write(&self, out: &mut dyn crate::metrics::Families, cache: &str) {
        let help = "Messages of metrics to a receiver of OTLP by what became of them.";
        out.head("tierce_otlp_exports_total", "counter", help);
        let counts = [("taken", self.taken), ("refused", self.refused), ("failed", self.failed)];
        for (result, count) in counts {
            out.sample(&[("cache", cache), ("result", result)], count as f64);
        }
        let help = "Points that a receiver of OTLP refused of messages that it took.";
        out.head("tierce_otlp_rejected_points_total", "counter", help);
        out.sample(&[("cache", cache)], self.rejected as f64);
    }
}

/// Sends messages to one address.
pub(super) struct Exporter {
    /// Who posts, and the process that it is of: a thread of the parent may have held a lock of it when
    /// this process was forked.
    agent: Mutex<(u32, Agent)>,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Exporter {
    pub(super) fn new(agent: Agent, url: String, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { agent: Mutex::new((sync::generation(), agent)), url, headers }
    }

    /// Sends one message.
    pub(super) fn send(&self, message: &[u8]) -> Outcome {
        let mut request = self.agent().post(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.header("Content-Type", "application/x-protobuf");
        let mut answer = match request.send(message) {
            Ok(answer) => answer,
            Err(error) => return Outcome::Failed(told(&error), None),
        };
        let (status, asked) = (answer.status().as_u16(), asked(&answer));
        let body = answer.body_mut().with_config().limit(MOST_ANSWER).read_to_vec();
        // The status says whether it was taken; the body only what else there is to say.
        judge(status, asked, &body.unwrap_or_default())
    }

    fn agent(&self) -> Agent {
        let generation = sync::generation();
        let mut known = self.agent.lock();
        if known.0 != generation {
            let own = known.1.config().clone().new_agent();
            // Its connections are the parent's, and to give them up may take the lock.
            std::mem::forget(std::mem::replace(&mut *known, (generation, own)));
        }
        known.1.clone()
    }
}

/// What an answer means.
fn judge(status: u16, asked: Option<Duration>, body: &[u8]) -> Outcome {
    match status {
        200..=299 => {
            let Some(Value::Bytes(partly)) = Fields::last(body, 1) else {
                return Outcome::Taken(0, None);
            };
            let rejected = match Fields::last(partly, 1) {
                Some(Value::Number(count)) => count,
                _ => 0,
            };
            let said = said(partly);
            let all = || (rejected > 0).then(|| format!("{rejected} were rejected"));
            Outcome::Taken(rejected, said.or_else(all))
        }
        429 | 502 | 503 | 504 => Outcome::Failed(with(status, body), asked),
        _ => Outcome::Refused(with(status, body)),
    }
}

/// The text in field 2, as both a partial success and a `Status` have it.
fn said(message: &[u8]) -> Option<String> {
    let Some(Value::Bytes(text)) = Fields::last(message, 2) else { return None };
    let text = std::str::from_utf8(text).ok()?;
    let shown: String =
        text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let shown: String = shown.trim().chars().take(MOST_SAID).collect();
    (!shown.is_empty()).then_some(shown)
}

fn with(status: u16, body: &[u8]) -> String {
    match said(body) {
        Some(said) => format!("status {status}: {said}"),
        None => format!("status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::wire::Message, *};

    #[test]
    fn answers_are_judged_as_the_specification_says() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(judge(200, None, b""), Outcome::Taken(0, None));
        for status in [429, 502, 503, 504] {
            let told = format!("status {status}");
            assert_eq!(judge(status, second, b""), Outcome::Failed(told, second));
        }
        for status in [301, 400, 401, 404, 408, 413, 500, 501, 505] {
            let told = format!("status {status}");
            assert_eq!(judge(status, second, b""), Outcome::Refused(told));
        }
    }

    #[test]
    fn what_a_receiver_says_of_a_message_is_kept_short_and_on_its_line() {
        let mut partly = Message::default();
        partly.message(1, |partly| {
            partly.number(1, 3);
            partly.bytes(2, "no room\nfor more");
        });
        let told = Some("no room for more".to_owned());
        assert_eq!(judge(200, None, &partly.finish()), Outcome::Taken(3, told));
        let mut silent = Message::default();
        silent.message(1, |partly| partly.number(1, 3));
        let told = Some("3 were rejected".to_owned());
        assert_eq!(judge(200, None, &silent.finish()), Outcome::Taken(3, told));
        let mut status = Message::default();
        status.bytes(2, "x".repeat(1000));
        let Outcome::Refused(told) = judge(400, None, &status.finish()) else { panic!() };
        assert_eq!(told.len(), "status 400: ".len() + MOST_SAID);
        // An answer that is no message is none.
        assert_eq!(judge(400, None, b"<html>"), Outcome::Refused("status 400".into()));
    }
}
