//! One call of the tier: its round trips, which share one deadline.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::Value;

use super::{
    keeper::replaced,
    link::Link,
    refusal::RedisRefusal,
    reign::Reign,
    request::{Replies, Work},
    scripts::Script,
};
use crate::error::Result;

/// Whole replies, and under which reign they were given where masters may change.
pub(super) struct Answer {
    pub(super) replies: Replies,
    pub(super) reign: Option<Reign>,
}

/// All round trips of one call.
pub(super) struct Call<'a> {
    pub(super) link: &'a Link,
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
}

impl Call<'_> {
    /// Sends commands and waits for their replies. An error reply to a single command is an error;
    /// those of several are among their replies.
    pub(super) fn perform(&self, work: Work) -> Result<Value> {
        self.link.perform(work, self.deadline, self.timeout)
    }

    /// The same with the replies as they came.
    pub(super) fn answer(&self, work: Work) -> Result<Answer> {
        if !self.link.may_change() {
            let replies = self.link.replies(work, self.deadline, self.timeout)?;
            return Ok(Answer { replies, reign: None });
        }
        let before = self.link.reign();
        let replies = self.link.replies(work, self.deadline, self.timeout)?;
        let after = self.link.reign();
        // Else it is not known which of two connections had the request.
        match Reign::of_reply(before, after) {
            Some(reign) => Ok(Answer { replies, reign: Some(reign) }),
            None => Err(replaced()),
        }
    }

    /// Runs a script by its hash, or by its text where the server lacks it.
    pub(super) fn run(
        &self,
        script: &Script,
        names: &[&[u8]],
        arguments: &[Bytes],
    ) -> Result<Value> {
        let by_hash = Work::One(script.command(names, arguments, false));
        match self.perform(by_hash) {
            Err(error) if error.cause() == Some(&RedisRefusal::NoScript) => {
                self.perform(Work::One(script.command(names, arguments, true)))
            }
            outcome => outcome,
        }
    }

    /// The deadline as the server's clock shows it, in milliseconds.
    pub(super) fn server_deadline(&self) -> Option<i64> {
        self.link.clock().at(self.deadline)
    }
}
