//! What a read asks the server, and what it makes of the answer.
//!
//! Plain commands, sent together: a script that does the same keeps the server busy twenty times
//! as long. The server may do something for others between any two of them, so their order
//! matters:
//!
//! ```text
//!   1  MGET stamp epoch [reign]  the token is never younger than the record
//!   2  PTTL data              \
//!   3  GETRANGE data 0 most    the time to live of a record that is replaced between two of
//!   4  PTTL data              /  these is the shorter of the two records': never too long
//! ```
//!
//! - A change after 1 makes the token stale, whatever 3 finds: a fill under it is refused.
//! - A `clear` after 1: what 3 finds was written under the epoch that 1 saw, so before the clear
//!   and while this read was under way; or under a later one, which is a miss.
//! - Two changes of one key between 2 and 4, of which the middle one is found, could give it the
//!   time of another. The commands arrive in one piece, and the server does the commands of a
//!   piece one after the other.
//!
//! A counter that is not there must be started, which only the script does. Under another reign than
//! that of the server nothing counts (`reign.rs`).

use std::ops::Range;

use bytes::Bytes;
use redis::Value;

use super::{
    counters::{Counters, count},
    link::unexpected,
    names, refusal,
    replies::{self, Replies},
    reply,
    request::Work,
};
use crate::error::{Error, Result};

/// Which of the replies has the data.
const DATA: usize = 2;

/// What PTTL says of a name that is not there.
pub(super) const NO_SUCH_KEY: i64 = -2;

/// What PTTL says of a name that lives until it is evicted.
pub(super) const NO_TTL: i64 = -1;

/// What the server has of a key.
pub(super) struct Stored {
    /// Data of a type and size that may be a record.
    pub(super) data: Option<Data>,
    /// Milliseconds, or as PTTL says.
    pub(super) pttl: i64,
    pub(super) stamp: Option<u64>,
    pub(super) epoch: Option<u64>,
    /// Where it was asked for.
    pub(super) reign: Option<Vec<u8>>,
}

/// Data as the server has it.
pub(super) enum Data {
    /// A part of the third reply.
    Within(Replies, Range<usize>),
    Whole(Vec<u8>),
}

impl Data {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Within(replies, place) => {
                replies.get(DATA).and_then(|reply| reply.get(place.clone())).unwrap_or_default()
            }
            Self::Whole(bytes) => bytes,
        }
    }
}

/// Asks for the data under a name, if that is at most so many bytes, for its counters, and for the
/// reign of this name if there is one.
pub(super) fn ask(names: &names::Names, reign: Option<&[u8]>, most_bytes: usize) -> Work {
    // Packed by hand: the library makes a dozen allocations of it.
    let mut bytes = replies::room();
    match reign {
        None => pack(&mut bytes, &[b"MGET", &names.stamp, &names.epoch]),
        Some(reign) => pack(&mut bytes, &[b"MGET", &names.stamp, &names.epoch, reign]),
    }
    pack(&mut bytes, &[b"PTTL", &names.data]);
    // One byte more than allowed shows that there are more.
    pack(&mut bytes, &[b"GETRANGE", &names.data, b"0", most_bytes.to_string().as_bytes()]);
    pack(&mut bytes, &[b"PTTL", &names.data]);
    Work::Packed(bytes, 4)
}

/// Appends a command.
pub(super) fn pack(bytes: &mut Vec<u8>, words: &[&[u8]]) {
    announce(bytes, b'*', words.len());
    for word in words {
        announce(bytes, b'$', word.len());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// Appends a line that announces how many or how long. By hand: a question for a hundred keys has
/// hundreds of them.
pub(super) fn announce(bytes: &mut Vec<u8>, kind: u8, number: usize) {
    let mut line = [b'\n'; 24];
    line[22] = b'\r';
    let (mut at, mut left) = (22, number);
    loop {
        at -= 1;
        line[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    line[at - 1] = kind;
    bytes.extend_from_slice(&line[at - 1..]);
}

/// Reads the answer to [`ask`].
///
/// # Errors
/// The first error reply but one for data of another type; anything that has another form.
pub(super) fn answer(tallies: &Counters, replies: Replies, most_bytes: usize) -> Result<Stored> {
    let [counters, before, data, after] = replies.all().ok_or_else(unexpected)?;
    let [before, after] =
        [before, after].map(|reply| reply::as_integer(reply).ok_or_else(|| doubt(tallies, reply)));
    let (before, after) = (before?, after?);
    let mut reign = None;
    let [stamp, epoch] = match reply::as_two_strings(counters) {
        Some(counters) => counters.map(names::parse_counter),
        None => match reply::value(counters) {
            Ok(Value::Array(mut counters)) => {
                if counters.len() == 3
                    && let Some(Value::BulkString(name)) = counters.pop()
                {
                    reign = Some(name);
                }
                <[Value; 2]>::try_from(counters).map_err(|_| unexpected())?.map(counter)
            }
            _ => return Err(doubt(tallies, counters)),
        },
    };
    let data_place = match reply::as_string(data) {
        // What is not there is the empty string to GETRANGE.
        Some(string) if string.is_empty() || string.len() > most_bytes => None,
        Some(string) => Some(string),
        None if data.starts_with(b"-WRONGTYPE") => None,
        None => return Err(doubt(tallies, data)),
    };
    let data = data_place.map(|string| Data::Within(replies, string));
    Ok(Stored { data, pttl: shorter(before, after), stamp, epoch, reign })
}

/// The error of a reply that is not what was asked for.
pub(super) fn doubt(tallies: &Counters, reply: &[u8]) -> Error {
    match reply::value(reply) {
        Ok(Value::ServerError(reply)) => {
            count(&tallies.refusals);
            refusal::from_reply(&reply)
        }
        _ => unexpected(),
    }
}

/// Reads the answer of the script.
pub(super) fn answer_of_script(reply: Value) -> Result<Stored> {
    let Value::Array(parts) = reply else { return Err(unexpected()) };
    let Ok([data, pttl, stamp, epoch]) = <[Value; 4]>::try_from(parts) else {
        return Err(unexpected());
    };
    let data = match data {
        Value::BulkString(bytes) => Some(Data::Whole(bytes)),
        Value::Nil => None,
        _ => return Err(unexpected()),
    };
    let (stamp, epoch) = (counter(stamp), counter(epoch));
    Ok(Stored { data, pttl: integer(pttl)?, stamp, epoch, reign: None })
}

fn integer(value: Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(number),
        _ => Err(unexpected()),
    }
}

fn counter(value: Value) -> Option<u64> {
    match value {
        Value::BulkString(digits) => names::parse_counter(&digits),
        _ => None,
    }
}

/// The time to live of data that was found between the two.
fn shorter(before: i64, after: i64) -> i64 {
    match (before, after) {
        // It came after the first, or went before the second: then it has no time left.
        (NO_SUCH_KEY, NO_SUCH_KEY) => NO_SUCH_KEY,
        (NO_SUCH_KEY, after) => after,
        (_, NO_SUCH_KEY) => 0,
        (NO_TTL, ttl) | (ttl, NO_TTL) => ttl,
        (before, after) => before.min(after),
    }
}

/// A start for a counter that may be missing.
pub(super) fn random_start() -> Bytes {
    Bytes::from(crate::random::counter_start().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(data: &[u8], ttls: [i64; 2]) -> Vec<Vec<u8>> {
        let mut string = format!("${}\r\n", data.len()).into_bytes();
        string.extend_from_slice(data);
        string.extend_from_slice(b"\r\n");
        let [before, after] = ttls.map(|ttl| format!(":{ttl}\r\n").into_bytes());
        vec![b"*2\r\n$2\r\n12\r\n$2\r\n34\r\n".to_vec(), before, string, after]
    }

    #[test]
    fn the_shorter_of_two_times_to_live_counts() {
        for (before, after, counts) in [
            (50, 49, 49),
            (9, 1000, 9),
            (1000, 9, 9),
            (-1, -1, -1),
            (-1, 5, 5),
            (5, -1, 5),
            (-2, 5, 5),
            (-2, -1, -1),
            (-2, -2, -2),
            (5, -2, 0),
            (-1, -2, 0),
        ] {
            assert_eq!(shorter(before, after), counts, "{before}, {after}");
        }
    }

    #[test]
    fn data_of_another_size_or_type_is_none_and_other_errors_are_errors() {
        let tallies = Counters::default();
        let read = |replies: Vec<Vec<u8>>| {
            let replies = replies.iter().map(|reply| &reply[..]).collect();
            answer(&tallies, replies, 10)
        };
        let stored = read(replies(b"0123456789", [7, 8])).unwrap();
        assert_eq!(stored.data.as_ref().map(Data::bytes), Some(&b"0123456789"[..]));
        assert_eq!((stored.stamp, stored.epoch, stored.pttl), (Some(12), Some(34), 7));
        assert!(read(replies(b"0123456789x", [-1, -1])).unwrap().data.is_none());
        assert!(read(replies(b"", [-2, -2])).unwrap().data.is_none());
        for at in 0..4 {
            let mut busy = replies(b"data", [-1, -1]);
            busy[at] = b"-BUSY script\r\n".to_vec();
            assert!(read(busy).is_err(), "{at}");
            let mut other = replies(b"data", [-1, -1]);
            other[at] = b"*1\r\n:1\r\n".to_vec();
            assert!(read(other).is_err(), "{at}");
        }
        let mut list = replies(b"data", [-1, -1]);
        list[2] = b"-WRONGTYPE list\r\n".to_vec();
        assert!(read(list).unwrap().data.is_none());
        let mut gone = replies(b"data", [-1, -1]);
        gone[0] = b"*2\r\n$-1\r\n$2\r\n34\r\n".to_vec();
        let stored = read(gone).unwrap();
        assert_eq!((stored.stamp, stored.epoch), (None, Some(34)));
        for (last, reign) in [("$3\r\nabc\r\n", Some(b"abc".to_vec())), ("$-1\r\n", None)] {
            let mut three = replies(b"data", [-1, -1]);
            three[0] = format!("*3\r\n$2\r\n12\r\n$2\r\n34\r\n{last}").into_bytes();
            let stored = read(three).unwrap();
            assert_eq!((stored.stamp, stored.epoch, stored.reign), (Some(12), Some(34), reign));
        }
    }

    #[test]
    fn the_question_is_what_the_library_would_send() {
        let names = names::Names::of("p", b"a key");
        let Work::Packed(bytes, 4) = ask(&names, None, 100) else { panic!("packed") };
        let mut pipeline = redis::pipe();
        pipeline.cmd("MGET").arg(&names.stamp).arg(&names.epoch);
        pipeline.cmd("PTTL").arg(&names.data);
        pipeline.cmd("GETRANGE").arg(&names.data).arg(0).arg(100);
        pipeline.cmd("PTTL").arg(&names.data);
        assert_eq!(bytes, pipeline.get_packed_pipeline());
    }
}
