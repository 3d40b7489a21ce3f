//! Request traces: the file format, and reading it without trusting it.
//!
//! ```text
//!   one zstd frame (or its content as it is):
//!   0      4        8        16
//!   | TRC1 | flags  | count  | count records: key u64 [, size u32 if flags bit 0] |
//! ```
//!
//! Little endian. The count is compared with what is there: a file that ends early or goes on is
//! refused, and so is one whose zstd checksum does not fit. Memory grows with what was read,
//! never with what a header claims.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use ruzstd::decoding::StreamingDecoder;

const MAGIC: &[u8; 4] = b"TRC1";
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// Records carry a size.
const FLAG_SIZES: u32 = 1;
/// The windows that `zstd --long=31` makes; the decoder keeps only what it decoded of it.
const MOST_WINDOW_BYTES: u64 = 1 << 31;
/// Records to make room for before any was read.
const FIRST_ROOM: u64 = 1 << 20;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub key: u64,
    /// The size of its value in bytes, where the trace tells.
    pub size: Option<u32>,
}

/// The requests of a trace, in their order.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Those that were asked for.
    pub requests: Vec<Request>,
    /// Requests that the file holds, of which fewer may have been asked for.
    pub count: u64,
}

impl Trace {
    /// Reads the first `limit` requests of a file, or all.
    ///
    /// # Errors
    /// If the file cannot be read or is no whole trace; the text names the file and the reason.
    pub fn read(path: &Path, limit: Option<u64>) -> Result<Self, String> {
        let refuse = |what: String| format!("trace {}: {what}", path.display());
        let file =
            File::open(path).map_err(|error| refuse(format!("cannot be opened: {error}")))?;
        let mut reader = BufReader::new(file);
        let mut start = [0; 4];
        let got = read_up_to(&mut reader, &mut start)
            .map_err(|error| refuse(format!("cannot be read: {error}")))?;
        let whole = io::Cursor::new(start).take(got as u64).chain(reader);
        let parsed = if start == ZSTD_MAGIC {
            parse_zstd(whole, limit)
        } else if start == *MAGIC {
            parse(whole, limit)
        } else {
            Err("is no trace: it begins neither with a zstd frame nor with TRC1".to_owned())
        };
        parsed.map_err(refuse)
    }
}

fn parse_zstd(compressed: impl Read, limit: Option<u64>) -> Result<Trace, String> {
    let mut decoder = StreamingDecoder::new_with_max_window_size(compressed, MOST_WINDOW_BYTES)
        .map_err(|error| format!("is no legal zstd frame: {error}"))?;
    let trace = parse(BufReader::new(&mut decoder), limit)?;
    if limit.is_some_and(|limit| limit < trace.count) {
        return Ok(trace);
    }
    let (mut rest, decoder) = decoder.into_parts();
    match (decoder.get_checksum_from_data(), decoder.get_calculated_checksum()) {
        (Some(told), Some(found)) if told != found => {
            return Err("is damaged: the checksum of the zstd frame does not fit".to_owned());
        }
        _ => {}
    }
    if read_up_to(&mut rest, &mut [0]).map_err(damaged)? != 0 {
        return Err("goes on after its zstd frame".to_owned());
    }
    Ok(trace)
}

fn parse(mut content: impl Read, limit: Option<u64>) -> Result<Trace, String> {
    let mut head = [0; 16];
    let got = read_up_to(&mut content, &mut head).map_err(damaged)?;
    if got < head.len() {
        return Err(format!("is truncated: {got} bytes where the head takes 16"));
    }
    let [magic, flags, low, high] = [0, 4, 8, 12].map(|at| word(&head, at));
    if magic != u32::from_le_bytes(*MAGIC) {
        return Err("is no trace: its content does not begin with TRC1".to_owned());
    }
    if flags & !FLAG_SIZES != 0 {
        return Err(format!("has flags {flags:#x}: only bit 0 is known"));
    }
    let count = u64::from(low) | u64::from(high) << 32;
    let record_bytes = if flags & FLAG_SIZES == 0 { 8 } else { 12 };
    let wanted = limit.unwrap_or(u64::MAX).min(count);
    let mut requests = Vec::with_capacity(wanted.min(FIRST_ROOM) as usize);
    let mut record = [0; 12];
    for number in 0..wanted {
        let record = &mut record[..record_bytes];
        if read_up_to(&mut content, record).map_err(damaged)? < record_bytes {
            return Err(format!("is truncated: {number} whole requests of {count}"));
        }
        let key = u64::from(word(record, 0)) | u64::from(word(record, 4)) << 32;
        requests.push(Request { key, size: (record_bytes == 12).then(|| word(record, 8)) });
    }
    if wanted == count && read_up_to(&mut content, &mut record[..1]).map_err(damaged)? != 0 {
        return Err(format!("is longer than its {count} requests"));
    }
    Ok(Trace { requests, count })
}

/// Words lie inside the array whose length the callers chose.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.iter().skip(at).take(4).rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Fills `buffer` as far as the content reaches.
fn read_up_to(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn damaged(error: io::Error) -> String {
    format!("is damaged or truncated: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(flags: u32, count: u64, records: &[u8]) -> Vec<u8> {
        [MAGIC, &flags.to_le_bytes()[..], &count.to_le_bytes()[..], records].concat()
    }

    #[test]
    fn records_with_and_without_sizes_are_read() {
        let keys = [5u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat();
        let trace = parse(&raw(0, 2, &keys)[..], None).unwrap();
        let requests = [Request { key: 5, size: None }, Request { key: u64::MAX, size: None }];
        assert_eq!(trace.requests, requests);
        let sized = [&5u64.to_le_bytes()[..], &512u32.to_le_bytes()[..]].concat();
        let trace = parse(&raw(1, 1, &sized)[..], None).unwrap();
        assert_eq!(trace.requests, [Request { key: 5, size: Some(512) }]);
        assert_eq!(parse(&raw(0, 2, &keys)[..], Some(1)).unwrap().requests.len(), 1);
        assert_eq!(parse(&raw(0, 0, &[])[..], None).unwrap().requests.len(), 0);
    }

    #[test]
    fn a_count_that_does_not_fit_the_content_is_refused() {
        let keys = [0; 24];
        for (bytes, part) in [
            (raw(0, 4, &keys), "3 whole requests of 4"),
            (raw(0, u64::MAX, &keys), "3 whole requests"),
            (raw(0, 2, &keys), "longer than its 2"),
            (raw(0, 3, &keys[..23]), "2 whole requests of 3"),
            (raw(2, 3, &keys), "flags 0x2"),
            (raw(0, 3, &keys)[..10].to_vec(), "10 bytes"),
            (b"TRC2".iter().chain(&[0; 12]).copied().collect(), "TRC1"),
        ] {
            let message = parse(&bytes[..], None).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
