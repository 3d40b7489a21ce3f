//! News of changes by pub/sub, and whether some were missed.
//!
//! The script that changes a record publishes it in the same step, if anybody is subscribed at that
//! server: on the channel of the stripe, which has the name of its stamp, with the stamp that the change
//! made and the name that it changed.
//!
//! ```text
//!   1 STAMP NAME       1       the version of this form
//!                      STAMP   as the change raised it; `-`: it raised none, as what is filled;
//!                              0: it is lost, the server had no memory for it
//!                      NAME    a record, the notice of a stripe, or the changes of tags (`names.rs`)
//! ```
//!
//! **Nothing is promised of messages**: who changes something may lack the right to publish, or be a
//! tierce that knows nothing of this. So they are quick, and the stamps are right. Each stripe has a
//! *sequence*: the stamp up to which news were heard.
//!
//! ```text
//!   heard + 1         the next one             its key was changed
//!   at most heard     repeated, or of before   its key was changed, whatever was heard of it before
//!   any other one     some were missed         all keys of the stripe may have been
//! ```
//!
//! Each heartbeat compares what was heard with the stamp that the server has: the last message may be
//! the one that was missed. Who subscribes does so first, and compares the stamps then: a change whose
//! script found nobody subscribed raised a stamp that is compared afterwards. So nothing has to be kept
//! in the server that says who listens, and there is nothing to expire.
//!
//! A message that somebody else publishes costs copies, and hides nothing: news of a number that was
//! heard already are news of their key all the same, and a sequence that is ahead of the server's stamp
//! counts as one that missed something. (But for a change whose own message is lost, and whose number
//! the foreign message had.) Databases of a server share their channels, so caches that have one prefix
//! in two of them cost each other copies.
//!
//! In a cluster `PUBLISH` goes to all nodes, so any would do; but only at the master of a stripe messages
//! come in the order of its changes, and are all told once it answers. So each master is subscribed to
//! for its own stripes. Sharded channels would spare the other nodes, but need Redis 7 and a right more.
//! A stripe that is at another master is noticed with the next heartbeat, as it is by client tracking.

use super::names::{self, STRIPES, Told, parse_counter};

/// The version that is written, and the only one that is read.
const VERSION: &[u8] = b"1 ";

/// How a message numbers its change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// The stripe has this one from it on.
    Raised(u64),
    /// The change raised none: whatever was there may stay.
    Same,
    /// The stripe has none any more.
    Lost,
}

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) stamp: Stamp,
    /// What was changed, a name that [`Told::of`] reads.
    pub(super) name: Vec<u8>,
}

impl News {
    /// Reads what was published on a channel; `None` where it is no news of ours.
    pub(super) fn of(prefix: &str, channel: &[u8], message: &[u8]) -> Option<Self> {
        let rest = message.strip_prefix(VERSION)?;
        let (stamp, name) = rest.split_at(rest.iter().position(|byte| *byte == b' ')?);
        let name = &name[1..];
        let stamp = match stamp {
            b"-" => Stamp::Same,
            b"0" => Stamp::Lost,
            digits => Stamp::Raised(parse_counter(digits)?),
        };
        let is_of_channel = Told::of(prefix, name)?.channel(prefix) == channel;
        is_of_channel.then(|| Self { stamp, name: name.to_vec() })
    }

    /// The stripe whose sequence it belongs to, if it has a number.
    pub(super) fn stripe(&self, prefix: &str) -> Option<usize> {
        match Told::of(prefix, &self.name)? {
            _ if self.stamp == Stamp::Same => None,
            Told::Key(key) => Some(crate::key::group(key)),
            Told::Stripe(stripe) => Some(stripe),
            Told::Tags => None,
        }
    }
}

/// Up to which stamp news of each stripe were heard; `None` where it had none.
pub(super) struct Sequences(Vec<Option<u64>>);

impl Sequences {
    /// Those of who begins to listen, who knows that these are the stamps.
    pub(super) fn begin(stamps: &[Option<u64>]) -> Self {
        let stamp = |stripe: usize| stamps.get(stripe).copied().flatten();
        Self((0..STRIPES).map(stamp).collect())
    }

    /// What was heard by now, to be compared with stamps that are asked for next.
    pub(super) fn now(&self) -> Vec<Option<u64>> {
        self.0.clone()
    }

    /// Takes a message; false if some were missed before it.
    pub(super) fn hear(&mut self, stripe: usize, stamp: Stamp) -> bool {
        let Some(heard) = self.0.get_mut(stripe) else { return true };
        match (*heard, stamp) {
            (_, Stamp::Same) => true,
            (Some(before), Stamp::Raised(stamp)) if stamp <= before => true,
            (Some(before), Stamp::Raised(stamp)) if stamp == before + 1 => {
                *heard = Some(stamp);
                true
            }
            (_, Stamp::Raised(stamp)) => {
                *heard = Some(stamp);
                false
            }
            (_, Stamp::Lost) => {
                *heard = None;
                false
            }
        }
    }

    /// Compares what was heard of these stripes with their stamps, of a moment after `before` was taken,
    /// when all that was published until then has been heard: those of which some was missed.
    pub(super) fn compare(
        &mut self,
        stripes: &[usize],
        before: &[Option<u64>],
        stamps: &[Option<u64>],
    ) -> Vec<usize> {
        let mut missed = Vec::new();
        for stripe in stripes.iter().copied() {
            let (heard, stamp) = (self.0[stripe], stamps[stripe]);
            let is_passed = match (before[stripe], stamp, heard) {
                (Some(before), Some(stamp), Some(heard)) => before <= stamp && stamp <= heard,
                _ => false,
            };
            if heard != stamp && !is_passed {
                self.0[stripe] = stamp;
                missed.push(stripe);
            }
        }
        missed
    }
}

/// The commands that subscribe to the channels of these stripes; how many answers there will be.
pub(super) fn subscribe(prefix: &str, stripes: &[usize]) -> (redis::Cmd, usize) {
    let mut command = redis::cmd("SUBSCRIBE");
    let channels = names::channels(prefix, stripes);
    channels.iter().for_each(|channel| _ = command.arg(&channel[..]));
    (command, channels.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_on_its_own_channel_alone_and_garbage_never() {
        let record = b"t:k:{b4}:user:7";
        let read = |channel: &[u8], message: &[u8]| News::of("t", channel, message);
        let news = |stamp, name: &[u8]| Some(News { stamp, name: name.to_vec() });
        assert_eq!(read(b"t:s:{b4}", b"1 17 t:k:{b4}:user:7"), news(Stamp::Raised(17), record));
        assert_eq!(read(b"t:s:{b4}", b"1 - t:k:{b4}:user:7"), news(Stamp::Same, record));
        assert_eq!(read(b"t:s:{b4}", b"1 0 t:n:{b4}"), news(Stamp::Lost, b"t:n:{b4}"));
        assert_eq!(read(b"t:t:{00}", b"1 - t:t:{00}"), news(Stamp::Same, b"t:t:{00}"));
        for (channel, message) in [
            (&b"t:s:{b5}"[..], &b"1 17 t:k:{b4}:user:7"[..]),
            (b"t:s:{b4}", b"2 17 t:k:{b4}:user:7"),
            (b"t:s:{b4}", b"1 -1 t:k:{b4}:user:7"),
            (b"t:s:{b4}", b"1 99999999999999999999 t:k:{b4}:user:7"),
            (b"t:s:{b4}", b"1 17 u:k:{b4}:user:7"),
            (b"t:s:{b4}", b"1 17"),
            (b"t:s:{b4}", b"1 "),
            (b"t:s:{b4}", b""),
            (b"t:s:{b4}", b"\xff\0 \x80"),
        ] {
            assert_eq!(read(channel, message), None, "{}", message.escape_ascii());
        }
        assert_eq!(read(b"t:s:{b4}", b"1 17 t:k:{b4}:user:7").unwrap().stripe("t"), Some(0xb4));
        assert_eq!(read(b"t:s:{b4}", b"1 - t:k:{b4}:user:7").unwrap().stripe("t"), None);
    }

    #[test]
    fn what_is_missed_between_two_messages_is_noticed_and_what_is_repeated_is_not() {
        let mut heard = Sequences::begin(&[Some(100); STRIPES]);
        assert!(heard.hear(7, Stamp::Raised(101)) && heard.hear(7, Stamp::Raised(102)));
        assert!(heard.hear(7, Stamp::Raised(102)) && heard.hear(7, Stamp::Raised(3)), "repeated");
        assert!(heard.hear(7, Stamp::Same));
        assert!(heard.hear(7, Stamp::Raised(103)), "what was repeated changes nothing");
        assert!(!heard.hear(7, Stamp::Raised(105)), "one is missed");
        assert!(heard.hear(7, Stamp::Raised(106)));
        assert!(heard.hear(8, Stamp::Raised(101)), "each stripe has its own");
        assert!(!heard.hear(7, Stamp::Lost) && !heard.hear(7, Stamp::Raised(107)));
        assert!(heard.hear(STRIPES, Stamp::Raised(1)), "of no stripe");
    }

    #[test]
    fn the_stamps_tell_whether_the_last_message_came() {
        let stripes = [3, 4];
        let mut stamps = vec![Some(100); STRIPES];
        let mut heard = Sequences::begin(&stamps);
        let before = heard.now();
        assert_eq!(heard.compare(&stripes, &before, &stamps), [0_usize; 0]);
        stamps[3] = Some(101);
        stamps[9] = Some(101);
        assert_eq!(heard.compare(&stripes, &before, &stamps), [3], "nobody told of it");
        let before = heard.now();
        assert_eq!(heard.compare(&stripes, &before, &stamps), [0_usize; 0], "and then it is known");

        heard.hear(3, Stamp::Raised(102));
        heard.hear(3, Stamp::Raised(103));
        stamps[3] = Some(102);
        assert_eq!(heard.compare(&stripes, &before, &stamps), [0_usize; 0], "more came since");
        let before = heard.now();
        assert_eq!(
            heard.compare(&stripes, &before, &stamps),
            [3],
            "a message that nobody had cause for"
        );
        for lost in [None, Some(7)] {
            stamps[4] = lost;
            let before = heard.now();
            assert_eq!(heard.compare(&stripes, &before, &stamps), [4], "lost, and begun anew");
        }
    }
}
