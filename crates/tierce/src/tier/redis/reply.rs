//! Replies cut out of a stream of bytes, within limits.
//!
//! Whoever reads for all only cuts: what a reply says is for its own caller to find out, on its own
//! thread ([`value`], by the client library). A whole reply is found by a scan that looks at every
//! length before anything is made of it:
//!
//! ```text
//!   bytes ──> [ taken | whole reply | part of one | free ] ──scan──> reply
//!                      ^ start                    ^ end
//! ```
//!
//! A server (or what answers in its place) that announces a longer string than we ever store, more
//! elements, deeper nesting or anything that is not of the protocol is refused as soon as that is
//! seen. The buffer grows with the bytes that came, not with those that were announced, so its
//! size is bounded by the limit of a reply. The scan goes on where it stopped: a large reply that
//! comes in small pieces costs no more than one that comes at once.

use std::{fmt, ops::Range};

use redis::Value;

/// What one reply may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of one string.
    pub(super) string: usize,
    /// Bytes of the whole reply.
    pub(super) reply: usize,
}

/// Strings, numbers and arrays in one reply. Each takes some 50 bytes as a value, and as few as
/// three on the wire.
const MAX_ELEMENTS: usize = 65_536;

/// Arrays within arrays. What we ask for has two levels; the library's own bound is 100, by
/// recursion.
const MAX_DEPTH: usize = 8;

/// Bytes of a line: error messages are the longest there are.
pub(super) const MAX_LINE: usize = 16 << 10;

/// Digits of a number with its sign: those of the smallest 64-bit number.
const MAX_DIGITS: usize = 20;

/// Free bytes that a read is given at least: many small replies, or one value of usual size.
const LEAST_ROOM: usize = 16 << 10;

/// The size of an idle buffer.
pub(super) const USUAL_ROOM: usize = 64 << 10;

/// Why bytes are no reply that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Garbage {
    /// Not of the protocol.
    Form,
    /// A string, or the whole reply, is longer than allowed.
    Long,
    /// More elements than allowed.
    Many,
    /// Arrays within arrays within arrays.
    Deep,
}

impl fmt::Display for Garbage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Form => "reply is not of the Redis protocol",
            Self::Long => "reply is longer than any that was asked for",
            Self::Many => "reply has more elements than any that was asked for",
            Self::Deep => "reply is nested deeper than any that was asked for",
        })
    }
}

/// Bytes that came and were not taken yet.
pub(super) struct ReplyReader {
    limits: Limits,
    buffer: Vec<u8>,
    /// Where the first reply begins that was not taken.
    start: usize,
    /// Where the bytes end that came.
    end: usize,
    scan: Scan,
}

/// How far into the reply at `start` the scan is.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    /// Bytes of the reply that were looked at.
    done: usize,
    /// How many bytes of the reply there must be before looking again makes sense.
    wanted: usize,
    /// Arrays that are not complete.
    depth: usize,
    /// Elements that each of them lacks.
    left: [usize; MAX_DEPTH],
    elements: usize,
}

impl ReplyReader {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, buffer: Vec::new(), start: 0, end: 0, scan: Scan::default() }
    }

    /// Where the next bytes are to be put; never empty. Say how many came by
    /// [`filled`](Self::filled).
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > USUAL_ROOM {
                // The memory of a large reply is given back.
                self.buffer = Vec::new();
            }
        }
        if self.buffer.len() - self.end < LEAST_ROOM {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < LEAST_ROOM {
                let size = (2 * self.buffer.len()).max(USUAL_ROOM);
                self.buffer.resize(size, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put into the room.
    pub(super) fn filled(&mut self, bytes: usize) {
        self.end = self.buffer.len().min(self.end + bytes);
    }

    /// Adds bytes that came.
    pub(super) fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let some = room.len().min(bytes.len());
            room[..some].copy_from_slice(&bytes[..some]);
            self.filled(some);
            bytes = &bytes[some..];
        }
    }

    /// Takes the next reply, or `None` while it is not whole.
    ///
    /// # Errors
    /// For what is no reply within the limits. The stream is of no use from there on.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Garbage> {
        let bytes = &self.buffer[self.start..self.end];
        if bytes.is_empty() || !self.scan.goes_through(bytes, &self.limits)? {
            return Ok(None);
        }
        let size = self.scan.done;
        let reply = bytes[..size].to_vec();
        self.start += size;
        self.scan = Scan::default();
        Ok(Some(reply))
    }

    /// True if part of a reply is there, or more.
    pub(super) fn has_bytes(&self) -> bool {
        self.start < self.end
    }

    /// Bytes that the buffer takes.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

/// What a whole reply says.
///
/// # Errors
/// For what the client library does not take.
pub(super) fn value(reply: &[u8]) -> Result<Value, Garbage> {
    redis::parse_redis_value(reply).map_err(|_| Garbage::Form)
}

/// The number that a whole reply is, if it is one.
pub(super) fn as_integer(reply: &[u8]) -> Option<i64> {
    number(reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?).ok()
}

/// Where in a whole reply the string is, if it is one.
pub(super) fn as_string(reply: &[u8]) -> Option<Range<usize>> {
    let (string, end) = string_at(reply, 0)?;
    (end == reply.len()).then_some(string)
}

/// The two strings that a whole reply is an array of, if it is one.
pub(super) fn as_two_strings(reply: &[u8]) -> Option<[&[u8]; 2]> {
    let start = reply.starts_with(b"*2\r\n").then_some(4)?;
    let (first, middle) = string_at(reply, start)?;
    let (second, end) = string_at(reply, middle)?;
    (end == reply.len()).then(|| [&reply[first], &reply[second]])
}

/// The string that begins here, and where it ends with all that belongs to it.
fn string_at(reply: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let rest = reply.get(at..).filter(|rest| rest.first() == Some(&b'$'))?;
    let line_end = find_line_end(rest).ok()??;
    let length = length(&rest[1..line_end]).ok()??;
    let start = at + line_end + 2;
    let end = start.checked_add(length)?;
    (end + 2 <= reply.len()).then_some((start..end, end + 2))
}

impl Scan {
    /// Goes on with the scan; true once the reply is whole.
    fn goes_through(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Garbage> {
        if bytes.len() < self.wanted {
            return Ok(false);
        }
        loop {
            let rest = &bytes[self.done..];
            let Some(line_end) = find_line_end(rest)? else {
                return self.lacks(bytes.len() + 1, limits);
            };
            let line = &rest[1..line_end];
            let after = self.done + line_end + 2;
            let mut children = 0;
            match rest[0] {
                b'+' | b'-' => {}
                b':' => _ = number(line)?,
                b'_' if line.is_empty() => {}
                b'#' if line == b"t" || line == b"f" => {}
                b',' | b'(' if !line.is_empty() => {}
                b'$' | b'=' | b'!' => {
                    if let Some(length) = length(line)? {
                        if length > limits.string {
                            return Err(Garbage::Long);
                        }
                        let end = after + length + 2;
                        if bytes.len() < end {
                            return self.lacks(end, limits);
                        }
                        if bytes[end - 2..end] != *b"\r\n" {
                            return Err(Garbage::Form);
                        }
                        self.done = end;
                    } else if rest[0] != b'$' {
                        return Err(Garbage::Form);
                    }
                }
                b'*' => children = length(line)?.unwrap_or(0),
                b'~' | b'>' => children = length(line)?.ok_or(Garbage::Form)?,
                b'%' => children = length(line)?.ok_or(Garbage::Form)?.saturating_mul(2),
                // Attributes stand before the value that they belong to.
                b'|' => {
                    let pairs = length(line)?.ok_or(Garbage::Form)?;
                    children = pairs.saturating_mul(2).saturating_add(1);
                }
                _ => return Err(Garbage::Form),
            }
            self.done = self.done.max(after);
            if self.done > limits.reply {
                return Err(Garbage::Long);
            }
            if self.ended_element(children)? {
                return Ok(true);
            }
            if self.done >= bytes.len() {
                return self.lacks(self.done + 1, limits);
            }
        }
    }

    /// Counts an element that was seen; true if it ends the reply.
    fn ended_element(&mut self, children: usize) -> Result<bool, Garbage> {
        self.elements = self.elements.saturating_add(children).max(1);
        if self.elements > MAX_ELEMENTS {
            return Err(Garbage::Many);
        }
        if children > 0 {
            if self.depth == MAX_DEPTH {
                return Err(Garbage::Deep);
            }
            self.left[self.depth] = children;
            self.depth += 1;
            return Ok(false);
        }
        while self.depth > 0 {
            let left = &mut self.left[self.depth - 1];
            *left -= 1;
            if *left > 0 {
                return Ok(false);
            }
            self.depth -= 1;
        }
        Ok(true)
    }

    /// Waits until so many bytes of the reply are there.
    fn lacks(&mut self, wanted: usize, limits: &Limits) -> Result<bool, Garbage> {
        if wanted > limits.reply {
            return Err(Garbage::Long);
        }
        self.wanted = wanted;
        Ok(false)
    }
}

/// Where the line ends that begins here, or `None` while its end is not there.
fn find_line_end(bytes: &[u8]) -> Result<Option<usize>, Garbage> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    // A length is short: what has no end soon is none, and is not waited for.
    let longest = match kind {
        b'+' | b'-' | b',' | b'(' => MAX_LINE,
        b':' | b'$' | b'=' | b'!' | b'*' | b'~' | b'>' | b'%' | b'|' => 1 + MAX_DIGITS,
        b'_' | b'#' => 2,
        _ => return Err(Garbage::Form),
    };
    let looked_at = &bytes[..bytes.len().min(longest + 2)];
    match looked_at.iter().position(|byte| *byte == b'\r') {
        Some(end) if end > longest => Err(Garbage::Form),
        Some(end) => match bytes.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => Ok(Some(end)),
            Some(_) => Err(Garbage::Form),
        },
        None if looked_at.len() > longest => Err(Garbage::Form),
        None => Ok(None),
    }
}

/// A length, or `None` for the -1 of what is not there.
fn length(digits: &[u8]) -> Result<Option<usize>, Garbage> {
    match number(digits)? {
        -1 => Ok(None),
        number => usize::try_from(number).map(Some).map_err(|_| Garbage::Form),
    }
}

fn number(digits: &[u8]) -> Result<i64, Garbage> {
    let plain = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if !plain(digits.strip_prefix(b"-").unwrap_or(digits)) {
        return Err(Garbage::Form);
    }
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Garbage::Form)
}
