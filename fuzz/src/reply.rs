//! Replies of a server that are known beforehand, encoded, at times damaged, and read in pieces.
//!
//! What must hold: whole replies come out as they were, in their order, however they are cut, those
//! before the damage too; after damage comes an error or some other reply, but never a panic, and
//! never more memory than the limits allow; after an error nothing more is read.

use redis::Value;

use crate::source::Source;

#[path = "../../crates/tierce/src/tier/redis/reply.rs"]
#[allow(dead_code, unreachable_pub)]
mod reader;

use reader::{Limits, ReplyReader, as_integer, as_string, as_two_strings, value as parse};

const LIMITS: Limits = Limits { string: 200_000, reply: 400_000 };

/// What the reader may take: a buffer that is doubled when it is too small for the longest reply.
const MOST_MEMORY: usize = 4 * LIMITS.reply;

/// Arrays within arrays, beside those that are meant to be too deep.
const DEPTH: u64 = 5;

pub(crate) fn run(source: &mut Source<'_>) -> u64 {
    let mut done = 0;
    'streams: while source.goes_on() {
        let mut reader = ReplyReader::new(LIMITS);
        loop {
            let count = 1 + source.below(20);
            done += count;
            let (mut stream, mut expected, mut ends) = (vec![], vec![], vec![]);
            for _ in 0..count {
                let value = value(source, DEPTH);
                encode(&value, &mut stream);
                expected.push(value);
                ends.push(stream.len());
            }
            let damaged = source.once_in(4).then(|| damage(source, &mut stream));
            let mut found = vec![];
            let failed = feed(source, &mut reader, &stream, &mut found);
            if let Some(first) = damaged {
                let whole = ends.iter().filter(|end| **end <= first).count();
                assert!(found.len() >= whole, "{} of {whole} before the damage", found.len());
                assert!(expected[..whole].iter().zip(&found).all(same), "before the damage");
                continue 'streams;
            }
            assert!(!failed, "whole replies are read");
            assert!(expected.len() == found.len() && expected.iter().zip(&found).all(same));
            assert!(!reader.has_bytes());
            for _ in 1..count {
                if !source.goes_on() {
                    break 'streams;
                }
            }
            if !source.goes_on() {
                break 'streams;
            }
        }
    }
    done
}

/// Gives the bytes to the reader in pieces; true if it refused them.
fn feed(
    source: &mut Source<'_>,
    reader: &mut ReplyReader,
    mut bytes: &[u8],
    found: &mut Vec<Value>,
) -> bool {
    let usual = source.one_of(&[1_u64, 7, 300, 5_000, 60_000]);
    while !bytes.is_empty() {
        let piece = 1 + source.below(usual) as usize;
        let (now, later) = bytes.split_at(piece.min(bytes.len()));
        bytes = later;
        reader.extend(now);
        loop {
            match reader.next() {
                Ok(Some(reply)) => match parse(&reply) {
                    Ok(value) => {
                        check_shortcuts(&reply, &value);
                        found.push(value);
                    }
                    Err(_) => return true,
                },
                Ok(None) => break,
                Err(garbage) => {
                    assert!(!garbage.to_string().is_empty());
                    return true;
                }
            }
        }
        assert!(reader.capacity() <= MOST_MEMORY, "{}", reader.capacity());
    }
    false
}

/// What is read where it lies is what the library reads.
fn check_shortcuts(reply: &[u8], value: &Value) {
    let integer = if let Value::Int(number) = value { Some(*number) } else { None };
    assert_eq!(as_integer(reply), integer);
    let string = if let Value::BulkString(bytes) = value { Some(&bytes[..]) } else { None };
    assert_eq!(as_string(reply).map(|range| &reply[range]), string);
    let two = match value {
        Value::Array(values) => match &values[..] {
            [Value::BulkString(first), Value::BulkString(second)] => {
                Some([&first[..], &second[..]])
            }
            _ => None,
        },
        _ => None,
    };
    // An array whose length has zeros in front is left to the library.
    let two = two.filter(|_| reply.starts_with(b"*2\r\n"));
    assert_eq!(as_two_strings(reply), two, "{}", reply.escape_ascii());
}

fn same((expected, found): (&Value, &Value)) -> bool {
    match (expected, found) {
        // A map is pairs to the library, whatever they hold.
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(same),
        (a, b) => a == b,
    }
}

fn value(source: &mut Source<'_>, depth: u64) -> Value {
    match source.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::Nil,
        1 => Value::Int(number(source)),
        2 => Value::Okay,
        3 => Value::SimpleString(text(source)),
        4 | 5 => Value::BulkString(string(source)),
        6 => {
            let count = source.below(6);
            Value::Map((0..count).map(|_| (short(source, depth - 1), short(source, 0))).collect())
        }
        _ => {
            let count = if source.once_in(50) { 300 } else { source.below(6) };
            let below = if count > 10 { 0 } else { depth - 1 };
            Value::Array((0..count).map(|_| short(source, below)).collect())
        }
    }
}

/// As [`value`], but no long strings, of which several would be too much for one reply.
fn short(source: &mut Source<'_>, depth: u64) -> Value {
    match value(source, depth) {
        Value::BulkString(mut bytes) => {
            bytes.truncate(200);
            Value::BulkString(bytes)
        }
        other => other,
    }
}

fn number(source: &mut Source<'_>) -> i64 {
    match source.below(4) {
        0 => source.one_of(&[i64::MIN, i64::MAX, 0, -1]),
        _ => source.below(65_536) as i64 - 30_000,
    }
}

fn text(source: &mut Source<'_>) -> String {
    let count = source.below(30);
    // Not "OK", which is a value of its own.
    let letter = |source: &mut Source<'_>| char::from(b'a' + source.below(26) as u8);
    (0..count).map(|_| letter(source)).collect()
}

fn string(source: &mut Source<'_>) -> Vec<u8> {
    let most = source.one_of(&[1, 40, 40, 40, 3_000, 65_536]);
    let length = source.below(most) as usize;
    // Bytes that look like the protocol, where it is cheap.
    let palette = *b"\r\n$*:0123456789-+_%\0\xff";
    let mut bytes: Vec<u8> = (0..length.min(64)).map(|_| source.one_of(&palette)).collect();
    let last = bytes.last().copied().unwrap_or(0);
    bytes.resize(length, last);
    bytes
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    let line = |out: &mut Vec<u8>, kind: char, rest: &str| {
        out.extend_from_slice(format!("{kind}{rest}\r\n").as_bytes());
    };
    match value {
        Value::Nil => line(out, '$', "-1"),
        Value::Int(number) => line(out, ':', &number.to_string()),
        Value::Okay => line(out, '+', "OK"),
        Value::SimpleString(text) => line(out, '+', text),
        Value::BulkString(bytes) => {
            line(out, '$', &bytes.len().to_string());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Value::Array(values) => {
            line(out, '*', &values.len().to_string());
            values.iter().for_each(|value| encode(value, out));
        }
        Value::Map(pairs) => {
            line(out, '%', &pairs.len().to_string());
            for (key, value) in pairs {
                encode(key, out);
                encode(value, out);
            }
        }
        other => unreachable!("not made here: {other:?}"),
    }
}

/// Changes, drops or adds bytes, or puts something hostile in; where the first of it begins.
fn damage(source: &mut Source<'_>, stream: &mut Vec<u8>) -> usize {
    let mut first = stream.len();
    let deep = b"*1\r\n".repeat(200);
    let hostile: [&[u8]; 12] = [
        b"$536870912\r\n",
        b"$9223372036854775807\r\n",
        b"$99999999999999999999\r\n",
        b"$-2\r\n",
        b"*2147483647\r\n",
        b"*65536\r\n",
        b"%9223372036854775807\r\n",
        b"|1\r\n+a\r\n+b\r\n",
        b">2\r\n$10\r\ninvalidate\r\n_\r\n",
        b"=15\r\ntxt:some string\r\n(3492890328409238509324850943850943825024385\r\n,1.5\r\n",
        b"-ERR no\r\n!5\r\nERR x\r\n#t\r\n",
        &deep,
    ];
    for _ in 0..1 + source.below(3) {
        let at = source.below(stream.len() as u64 + 1) as usize;
        let at = at.min(stream.len());
        first = first.min(at);
        match source.below(4) {
            0 => {
                if let Some(byte) = stream.get_mut(at) {
                    *byte ^= 1 << source.below(8);
                }
            }
            1 => {
                let end = stream.len().min(at + 1 + source.below(10) as usize);
                stream.drain(at..end);
            }
            2 => {
                let piece = source.one_of(&hostile).to_vec();
                stream.splice(at..at, piece);
            }
            _ => {
                let noise: Vec<u8> =
                    (0..1 + source.below(20)).map(|_| source.below(256) as u8).collect();
                stream.splice(at..at, noise);
            }
        }
    }
    first
}
