use redis::Value;

use super::reply::{
    Element, Garbage, Limits, MAX_LINE, ReplyReader, USUAL_ROOM, as_integer, as_string, as_strings,
    as_two_strings, value,
};

const LIMITS: Limits = Limits { string: 1 << 20, reply: 2 << 20 };

fn reader(bytes: &[u8]) -> ReplyReader {
    let mut reader = ReplyReader::new(LIMITS);
    reader.extend(bytes);
    reader
}

fn next(bytes: &[u8]) -> Result<Option<Value>, Garbage> {
    reader(bytes).next().map(|reply| reply.map(|reply| value(&reply).unwrap()))
}

fn string(text: &str) -> Value {
    Value::BulkString(text.into())
}

#[test]
fn replies_come_whole_and_in_their_order_however_they_are_cut() {
    let stream =
        b"+OK\r\n$5\r\nhello\r\n*3\r\n:7\r\n$-1\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n:-12\r\n*0\r\n\
        *-1\r\n-ERR no\r\n%1\r\n+a\r\n#t\r\n$2\r\n\r\n\r\n";
    let nested = Value::Array(vec![string("a"), string("")]);
    let wanted = [
        Value::Okay,
        string("hello"),
        Value::Array(vec![Value::Int(7), Value::Nil, nested]),
        Value::Int(-12),
        Value::Array(vec![]),
        Value::Nil,
    ];
    for piece in 1..=stream.len() {
        let mut reader = ReplyReader::new(LIMITS);
        let mut values = vec![];
        for piece in stream.chunks(piece) {
            reader.extend(piece);
            while let Some(reply) = reader.next().unwrap() {
                values.push(value(&reply).unwrap());
            }
        }
        assert_eq!(values[..wanted.len()], wanted, "in pieces of {piece}");
        let Value::ServerError(error) = &values[wanted.len()] else { panic!("{values:?}") };
        assert_eq!(error.details(), Some("no"));
        assert_eq!(values.last(), Some(&string("\r\n")), "in pieces of {piece}");
        assert!(!reader.has_bytes());
    }
}

#[test]
fn no_prefix_of_a_reply_is_taken_for_one() {
    let reply = b"*2\r\n$3\r\nabc\r\n*2\r\n:1\r\n+x\r\n";
    for end in 0..reply.len() {
        assert_eq!(next(&reply[..end]), Ok(None), "{end}");
    }
    assert!(next(reply).unwrap().is_some());
}

#[test]
fn garbage_is_refused_as_soon_as_it_is_seen() {
    for (bytes, why) in [
        (&b"HTTP/1.1 400"[..], Garbage::Form),
        (b"\x15\x03\x01", Garbage::Form),
        (b"\0", Garbage::Form),
        (b"$abc\r\n", Garbage::Form),
        (b"$-2\r\n", Garbage::Form),
        (b"$+1\r\n", Garbage::Form),
        (b"$\r\n", Garbage::Form),
        (b"$?\r\n", Garbage::Form),
        (b"$99999999999999999999999", Garbage::Form),
        (b"$9223372036854775807\r\n", Garbage::Long),
        (b"$536870912\r\n", Garbage::Long),
        (b"$1048577\r\n", Garbage::Long),
        (b"*2\r\n$1048576\r\n", Garbage::Form),
        (b"$3\r\nabcde", Garbage::Form),
        (b":1x\r\n", Garbage::Form),
        (b":\r\n", Garbage::Form),
        (b"+a\rb", Garbage::Form),
        (b"*9223372036854775807\r\n", Garbage::Many),
        (b"*65537\r\n", Garbage::Many),
        (b"%40000\r\n", Garbage::Many),
        (b"%9223372036854775807\r\n", Garbage::Many),
        (b"|9223372036854775807\r\n", Garbage::Many),
        (b"%-1\r\n", Garbage::Form),
        (b"=-1\r\n", Garbage::Form),
        (b"_x\r\n", Garbage::Form),
        (b"#x\r\n", Garbage::Form),
    ] {
        let found = next(bytes);
        if bytes.starts_with(b"*2\r\n$1048576") {
            // Within the limits: the rest is waited for.
            assert_eq!(found, Ok(None));
        } else {
            assert_eq!(found, Err(why), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
    assert_eq!(next(&b"*1\r\n".repeat(8)), Ok(None));
    assert_eq!(next(&b"*1\r\n".repeat(9)), Err(Garbage::Deep));
    let endless = [&b"+"[..], &b"x".repeat(MAX_LINE + 10)].concat();
    assert_eq!(next(&endless), Err(Garbage::Form));
    // Many elements in small arrays count as many in one.
    let mut many = b"*40\r\n".to_vec();
    many.extend([&b"*2000\r\n"[..], &b":1\r\n".repeat(2000)].concat().repeat(40));
    assert_eq!(next(&many), Err(Garbage::Many));
}

#[test]
fn a_reply_of_allowed_strings_is_bounded_as_a_whole() {
    let part = [&b"$1000000\r\n"[..], &[7; 1_000_000], b"\r\n"].concat();
    let two = [&b"*2\r\n"[..], &part, &part].concat();
    assert!(next(&two).unwrap().is_some());
    let three = [&b"*3\r\n"[..], &part, &part, &part].concat();
    assert_eq!(next(&three), Err(Garbage::Long));
}

#[test]
fn memory_follows_what_came_and_not_what_was_announced() {
    let mut reader = reader(b"*50000\r\n$1048576\r\nabc");
    assert_eq!(reader.next(), Ok(None));
    assert!(reader.capacity() <= USUAL_ROOM, "{}", reader.capacity());
    let mut reader = ReplyReader::new(LIMITS);
    reader.extend(b"$1000000\r\n");
    reader.extend(&[7; 1_000_002]);
    reader.filled(0);
    assert_eq!(reader.next(), Err(Garbage::Form), "its end is no end of line");
    let mut reader = ReplyReader::new(LIMITS);
    reader.extend(&[&b"$1000000\r\n"[..], &[7; 1_000_000], b"\r\n"].concat());
    assert!(reader.next().unwrap().is_some());
    assert!(reader.capacity() > USUAL_ROOM);
    _ = reader.room();
    assert!(reader.capacity() <= USUAL_ROOM, "given back");
}

#[test]
fn plain_replies_are_read_where_they_lie() {
    assert_eq!(as_integer(b":-12\r\n"), Some(-12));
    assert_eq!(as_string(b"$3\r\na\r\n\r\n"), Some(4..7));
    assert_eq!(as_string(b"$0\r\n\r\n"), Some(4..4));
    let two = as_two_strings(b"*2\r\n$1\r\na\r\n$2\r\nbc\r\n");
    assert_eq!(two, Some([&b"a"[..], b"bc"]));
    for other in
        [&b"-ERR\r\n"[..], b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"+1\r\n", b"*2\r\n$-1\r\n:1\r\n"]
    {
        assert_eq!(
            (as_integer(other), as_string(other), as_two_strings(other)),
            (None, None, None)
        );
    }
    assert_eq!(as_two_strings(b"*2\r\n$1\r\na\r\n$-1\r\n"), None);
}

#[test]
fn strings_of_an_array_that_are_too_long_are_left_out_on_request() {
    let string = |length: usize| {
        [format!("${length}\r\n").as_bytes(), &vec![b'7'; length], b"\r\n"].concat()
    };
    let kept = 1_000_000;
    let parts = [
        b"*7\r\n".to_vec(),
        string(kept),
        string(2_000_000),
        b"$-1\r\n".to_vec(),
        string(kept),
        string(900_000),
        string(1),
        string(0),
        b":5\r\n".to_vec(),
    ];
    let bytes = parts.concat();
    for piece in [1_000, 65_536, 1_000_003, bytes.len()] {
        let mut reader = ReplyReader::new(LIMITS);
        reader.leave_out(true);
        let mut replies = vec![];
        for some in bytes.chunks(piece) {
            reader.extend(some);
            while let Some(reply) = reader.next().unwrap() {
                replies.push(reply);
            }
        }
        let [first, second] = &replies[..] else { panic!("{} replies", replies.len()) };
        assert_eq!(as_integer(second), Some(5));
        let elements = as_strings(first, 7).unwrap();
        let lengths = elements.iter().map(|element| match element {
            Element::String(string) => string.len().to_string(),
            other => format!("{other:?}"),
        });
        let lengths: Vec<_> = lengths.collect();
        assert_eq!(lengths, ["1000000", "Long", "Nil", "1000000", "Full", "1", "0"], "{piece}");
        assert_eq!(as_strings(first, 6), None);
        // Pieces that are dropped do not gather.
        assert!(piece > 1_000 || reader.capacity() <= 4 << 20, "{}", reader.capacity());
    }
}

#[test]
fn nothing_but_strings_of_arrays_is_left_out_and_damage_is_seen() {
    let asked = |bytes: &[u8]| {
        let mut reader = reader(bytes);
        reader.leave_out(true);
        reader.next()
    };
    assert_eq!(asked(b"$2000000\r\n"), Err(Garbage::Long));
    assert_eq!(asked(b"*1\r\n*1\r\n$2000000\r\n"), Err(Garbage::Long));
    assert_eq!(asked(b"*1\r\n=2000000\r\n"), Err(Garbage::Long));
    assert_eq!(asked(b"*1\r\n$536870913\r\n"), Err(Garbage::Long), "than any that is dropped");
    assert_eq!(asked(b"*1\r\n$2000000\r\nabc"), Ok(None));
    let end = [&b"*1\r\n$2000000\r\n"[..], &[b'7'; 2_000_000], b"\rx"].concat();
    assert_eq!(asked(&end), Err(Garbage::Form));
    assert_eq!(next(b"*1\r\n$2000000\r\n"), Err(Garbage::Long), "unless it was asked for");
}
