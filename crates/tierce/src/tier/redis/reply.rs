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
//!
//! Who asks for many values at once cannot say how long they may be. While somebody does, a string
//! of an array that is too long, or for which the reply has no room, is left out: its bytes are
//! dropped as they come, and a word that no server says stands in its place ([`LEFT_OUT_LONG`],
//! [`LEFT_OUT_FULL`]).

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

/// Stands for a string that is longer than any may be. No longer than what announces a string
/// that is left out.
pub(super) const LEFT_OUT_LONG: &[u8] = b"+l\r\n";

/// Stands for a string for which there was no room in the reply.
pub(super) const LEFT_OUT_FULL: &[u8] = b"+f\r\n";

/// The longest string that is left out: what a server takes unless it is told otherwise.
const MOST_LEFT_OUT: usize = 512 << 20;

/// Bytes of a reply that no string takes which could be left out: room for what stands for the
/// others.
const RESERVED: usize = 64 << 10;

/// Free bytes that a read is given at least: many small replies, or one value of usual size.
const LEAST_ROOM: usize = 16 << 10;

/// The size of a buffer that was needed for small replies alone.
const FIRST_ROOM: usize = 64 << 10;

/// The most that an idle buffer has: that of a reply of a hundred values of usual size, whose
/// memory would else be fetched and given back with each.
pub(super) const USUAL_ROOM: usize = 256 << 10;

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
    /// True while strings may be left out.
    leaves_out: bool,
    /// Bytes that are left to be dropped behind what was looked at and what stands for them, end
    /// of line included.
    dropping: usize,
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
        Self {
            limits,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            scan: Scan::default(),
            leaves_out: false,
            dropping: 0,
        }
    }

    /// Whether strings of arrays may be left out from here on.
    pub(super) fn leave_out(&mut self, leaves_out: bool) {
        self.leaves_out = leaves_out;
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
                let size = (2 * self.buffer.len()).max(FIRST_ROOM);
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
        Ok(self.next_place()?.map(|place| self.at(place).to_vec()))
    }

    /// The bytes of a reply that was taken, until there is [`room`](Self::room) for more.
    pub(super) fn at(&self, place: Range<usize>) -> &[u8] {
        &self.buffer[place]
    }

    /// Takes the next reply as [`next`](Self::next) does, and leaves it where it is.
    pub(super) fn next_place(&mut self) -> Result<Option<Range<usize>>, Garbage> {
        loop {
            if self.dropping > 0 && !self.drop_bytes()? {
                return Ok(None);
            }
            let bytes = &self.buffer[self.start..self.end];
            if bytes.is_empty() {
                return Ok(None);
            }
            match self.scan.goes_through(bytes, &self.limits, self.leaves_out)? {
                Progress::Whole => break,
                Progress::Part => return Ok(None),
                Progress::LeaveOut { line, length, word } => self.begin_drop(line, length, word),
            }
        }
        let start = self.start;
        self.start += self.scan.done;
        self.scan = Scan::default();
        Ok(Some(start..self.start))
    }

    /// Puts `word` in the place of the line that announces a string, of which all that came is
    /// dropped next.
    fn begin_drop(&mut self, line: usize, length: usize, word: &[u8]) {
        let at = self.start + self.scan.done;
        self.buffer[at..at + word.len()].copy_from_slice(word);
        self.buffer.copy_within(at + line..self.end, at + word.len());
        self.end -= line - word.len();
        self.dropping = length + 2;
    }

    /// Drops bytes of the string that is left out; true once all are gone.
    fn drop_bytes(&mut self) -> Result<bool, Garbage> {
        let at = self.start + self.scan.done + LEFT_OUT_LONG.len();
        let come = (self.end - at).min(self.dropping);
        let end = at + come;
        if come == self.dropping && self.buffer[end - 2..end] != *b"\r\n" {
            return Err(Garbage::Form);
        }
        // The end of its line stays until it is whole.
        let gone = if come == self.dropping { come } else { come.min(self.dropping - 2) };
        self.buffer.copy_within(at + gone..self.end, at);
        self.end -= gone;
        self.dropping -= gone;
        Ok(self.dropping == 0)
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

/// An element of a reply to MGET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element<'a> {
    String(&'a [u8]),
    /// Nothing is there, or no string.
    Nil,
    /// Left out, being too long.
    Long,
    /// Left out for want of room.
    Full,
}

/// The elements of a whole reply, if it is an array of so many strings, each there or not.
pub(super) fn as_strings(reply: &[u8], count: usize) -> Option<Vec<Element<'_>>> {
    let line_end = find_line_end(reply).ok()??;
    if reply[0] != b'*' || length(&reply[1..line_end]).ok()?? != count {
        return None;
    }
    let mut at = line_end + 2;
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        let rest = reply.get(at..)?;
        let (element, size) = match rest.get(..2)? {
            b"$-" => (Element::Nil, b"$-1\r\n".len()),
            b"+l" => (Element::Long, LEFT_OUT_LONG.len()),
            b"+f" => (Element::Full, LEFT_OUT_FULL.len()),
            _ => {
                let (string, end) = string_at(reply, at)?;
                (Element::String(&reply[string]), end - at)
            }
        };
        elements.push(element);
        at += size;
    }
    (at == reply.len()).then_some(elements)
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

/// How far a scan came.
enum Progress {
    Whole,
    Part,
    /// The line that begins where the scan is announces a string that is to be left out.
    LeaveOut {
        /// Bytes of the line, its end included.
        line: usize,
        length: usize,
        /// What is to stand in its place.
        word: &'static [u8],
    },
}

impl Scan {
    /// Goes on with the scan.
    fn goes_through(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        leaves_out: bool,
    ) -> Result<Progress, Garbage> {
        if bytes.len() < self.wanted {
            return Ok(Progress::Part);
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
                        let word = if length > limits.string {
                            Some(LEFT_OUT_LONG)
                        } else if after + length + RESERVED > limits.reply {
                            Some(LEFT_OUT_FULL)
                        } else {
                            None
                        };
                        // As an element of the reply itself, and nowhere else.
                        let may_leave_out = leaves_out
                            && self.depth == 1
                            && rest[0] == b'$'
                            && length <= MOST_LEFT_OUT;
                        if let (true, Some(word)) = (may_leave_out, word) {
                            self.wanted = 0;
                            return Ok(Progress::LeaveOut { line: line_end + 2, length, word });
                        }
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
                return Ok(Progress::Whole);
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
    fn lacks(&mut self, wanted: usize, limits: &Limits) -> Result<Progress, Garbage> {
        if wanted > limits.reply {
            return Err(Garbage::Long);
        }
        self.wanted = wanted;
        Ok(Progress::Part)
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
    let plain = digits.strip_prefix(b"-").unwrap_or(digits);
    if plain.is_empty() {
        return Err(Garbage::Form);
    }
    let is_negative = plain.len() < digits.len();
    // Downwards, since there is one more number below zero than above.
    let below = plain.iter().try_fold(0_i64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_sub(digit)
    });
    let number =
        below.and_then(|below| if is_negative { Some(below) } else { below.checked_neg() });
    number.ok_or(Garbage::Form)
}
