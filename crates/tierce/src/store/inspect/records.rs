//! Walking segments: every record from the first to the end of what is used.
//!
//! A record that is wrong ends what lengths can tell; the walk then goes on at the next place where
//! a whole record of the segment's generation begins, so that one bent length hides no other
//! fault. Behind the end of what is used lies what a killed writer left unfinished, or what the
//! segment held before: a record's own generation tells them apart.

use std::thread;

use super::{
    LOOK_AGAIN_AFTER, StoreContents, StoreFinding, StoreHistogram, StoreInspection, StorePlace,
    StoreSeverity,
    file::Bytes,
    table::{Entry, Moment},
};
use crate::{
    clock::Millis,
    error::Result,
    store::{
        extents,
        layout::{
            self, Kind, RECORD_ALIGN, RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader, record_bytes,
        },
        segment::State,
    },
};

/// Times that a segment is walked while others empty and fill it.
const MOST_LOOKS: u32 = 4;
const HEADER: u64 = RECORD_HEADER_BYTES;

/// What the walk of one segment found.
struct Walked {
    records: u64,
    live_entries: u64,
    live_bytes: u64,
    large_entries: u64,
    incomplete_entries: u64,
    value_bytes: StoreHistogram,
    writes_since: StoreHistogram,
    seconds_left: StoreHistogram,
    findings: Vec<StoreFinding>,
}

/// Walks all segments into `contents`.
pub(super) fn walk(
    inspection: &StoreInspection,
    moment: &Moment,
    contents: &mut StoreContents,
) -> Result<()> {
    let mut used = 0;
    for segment in 0..moment.entries.len() as u32 {
        let Some(walked) = look_until_sure(inspection, moment, segment, contents)? else {
            contents.restless_segments += 1;
            continue;
        };
        let wrong = walked.findings.iter().filter(|finding| {
            matches!(finding.place, StorePlace::Record { .. })
                && finding.severity == StoreSeverity::Damage
        });
        let wrong = wrong.count() as u64;
        contents.records += walked.records;
        contents.wrong += wrong;
        contents.right += walked.records.saturating_sub(wrong);
        contents.live_entries += walked.live_entries;
        contents.live_bytes += walked.live_bytes;
        contents.large_entries += walked.large_entries;
        contents.incomplete_entries += walked.incomplete_entries;
        contents.value_bytes.add(&walked.value_bytes);
        contents.writes_since.add(&walked.writes_since);
        contents.seconds_left.add(&walked.seconds_left);
        contents.note(walked.findings);
        let entry = moment.entries.get(segment as usize);
        used +=
            entry.map_or(0, |entry| u64::from(entry.used.min(inspection.geometry.segment_bytes)));
    }
    contents.dead_bytes = used.saturating_sub(contents.live_bytes);
    Ok(())
}

/// Walks one segment until nothing moved under the walk, and, in a store in use, until what is
/// wrong was seen twice.
fn look_until_sure(
    inspection: &StoreInspection,
    moment: &Moment,
    segment: u32,
    contents: &StoreContents,
) -> Result<Option<Walked>> {
    let mut suspected: Option<Vec<StoreFinding>> = None;
    for _ in 0..MOST_LOOKS {
        let entry = inspection.entry(segment)?;
        let walk = Walk { inspection, moment, segment, entry, verify: contents.is_verified };
        let mut walked = walk.run(contents)?;
        if inspection.entry(segment)?.generation != entry.generation {
            suspected = None;
            continue;
        }
        if let Some(suspected) = suspected {
            walked.findings.retain(|finding| suspected.contains(finding));
            return Ok(Some(walked));
        }
        if walked.findings.is_empty() || !moment.is_in_use {
            return Ok(Some(walked));
        }
        suspected = Some(walked.findings);
        thread::sleep(LOOK_AGAIN_AFTER);
    }
    Ok(None)
}

/// One walk of one segment.
struct Walk<'a> {
    inspection: &'a StoreInspection,
    moment: &'a Moment,
    segment: u32,
    entry: Entry,
    verify: bool,
}

impl Walk<'_> {
    fn run(&self, contents: &StoreContents) -> Result<Walked> {
        let mut walked = Walked {
            records: 0,
            live_entries: 0,
            live_bytes: 0,
            large_entries: 0,
            incomplete_entries: 0,
            value_bytes: StoreHistogram::new(contents.value_bytes.bounds),
            writes_since: StoreHistogram::new(contents.writes_since.bounds),
            seconds_left: StoreHistogram::new(contents.seconds_left.bounds),
            findings: Vec::new(),
        };
        let entry = &self.entry;
        // A segment that is being emptied is as good as empty.
        if entry.generation & 1 == 1 || entry.status.state == State::Free {
            return Ok(walked);
        }
        let geometry = &self.inspection.geometry;
        let segment_bytes = u64::from(geometry.segment_bytes);
        let used = u64::from(entry.used).min(segment_bytes);
        let wanted = (used + HEADER).min(segment_bytes);
        let start = geometry.segment_at(self.segment);
        let (bytes, have) = self.inspection.data.read(start, wanted as usize)?;
        let have = have as u64;
        if have < used {
            let what = format!("the file has {have} of the {used} bytes that are used of it");
            walked.findings.push(self.of_segment(start + have, what));
        }
        let used = used.min(have);
        let mut offset = 0;
        while offset < used {
            walked.records += 1;
            match self.verified(&bytes, offset, used - offset) {
                Ok(header) => {
                    self.record(&mut walked, &bytes, offset, &header)?;
                    offset += header.record_bytes();
                }
                Err(what) => {
                    let next = self.resume(&bytes, offset, used);
                    let passed = next - offset;
                    let what = format!("{what}; the walk goes on {passed} bytes later");
                    walked.findings.push(self.of_record(offset, what));
                    offset = next;
                }
            }
        }
        if have >= used + HEADER {
            walked.findings.extend(self.torn(&bytes, used));
        }
        Ok(walked)
    }

    /// The header at `offset` if the walk can go on behind its record, else why not.
    fn header(&self, bytes: &Bytes, offset: u64, left: u64) -> Result<RecordHeader, String> {
        if left < HEADER {
            return Err(format!("{left} bytes are left: a record has at least {HEADER}"));
        }
        let words = bytes.words(offset as usize);
        let magic = words[0] as u16;
        if magic != RECORD_MAGIC {
            return Err(format!(
                "begins with {magic:#06x}: a record begins with {RECORD_MAGIC:#06x}"
            ));
        }
        let Some(header) = RecordHeader::from_words(&words) else {
            let kind = (words[0] >> 16) as u8;
            return Err(format!("kind {kind}: no record of this version"));
        };
        if header.generation != self.entry.generation {
            let (found, wanted) = (header.generation, self.entry.generation);
            return Err(format!("has generation {found}: its segment has {wanted}"));
        }
        if header.record_bytes() > left {
            let bytes = header.record_bytes();
            return Err(format!("is {bytes} bytes long: {left} are left of what is used"));
        }
        Ok(header)
    }

    /// The header at `offset` of a record in which nothing is wrong, as far as is looked.
    fn verified(&self, bytes: &Bytes, offset: u64, left: u64) -> Result<RecordHeader, String> {
        let header = self.header(bytes, offset, left)?;
        // A manifest is believed only once it is verified.
        if self.verify || header.kind == Kind::Manifest {
            // The length may be what is wrong with it, so it says nothing about the next one.
            self.fault(bytes, offset, &header).map_or(Ok(header), Err)
        } else {
            Ok(header)
        }
    }

    /// Where the walk goes on after a record that is wrong: at a whole one, or at the end.
    fn resume(&self, bytes: &Bytes, offset: u64, used: u64) -> u64 {
        let next = (offset / RECORD_ALIGN + 1) * RECORD_ALIGN;
        (next..used)
            .step_by(RECORD_ALIGN as usize)
            .find(|at| {
                let words = bytes.words(*at as usize);
                words[0] as u16 == RECORD_MAGIC
                    && RecordHeader::generation_of(&words) == self.entry.generation
                    && self
                        .header(bytes, *at, used - at)
                        .is_ok_and(|header| self.fault(bytes, *at, &header).is_none())
            })
            .unwrap_or(used)
    }

    /// What is wrong with the bytes of a record whose header can be read.
    fn fault(&self, bytes: &Bytes, offset: u64, header: &RecordHeader) -> Option<String> {
        let words = bytes.words(offset as usize);
        let made = layout::checksum(&words, layout::body_sum(body(bytes, offset, header)));
        if made != words[7] {
            return Some(format!(
                "its checksum is {:#018x}, its bytes make {made:#018x}",
                words[7]
            ));
        }
        if header.kind == Kind::Extent {
            let long = header.key_bytes;
            return (long > 0)
                .then(|| format!("a piece with a key of {long} bytes: must have none"));
        }
        let key_at = (offset + HEADER) as usize;
        let key = bytes.0.get(key_at..key_at + header.key_bytes as usize).unwrap_or_default();
        let hash = layout::key_hash(key, self.inspection.seed);
        (hash != header.hash)
            .then(|| format!("its hash is {:#018x}, its key makes {hash:#018x}", header.hash))
    }

    fn record(
        &self,
        walked: &mut Walked,
        bytes: &Bytes,
        offset: u64,
        header: &RecordHeader,
    ) -> Result<()> {
        let geometry = &self.inspection.geometry;
        let position = geometry.segment_at(self.segment) + offset;
        let shard = geometry.shard_of(header.hash);
        self.check_entry(walked, header, shard);
        if header.kind == Kind::Extent {
            return Ok(());
        }
        let mut value_bytes = u64::from(header.value_bytes);
        let mut record_bytes = header.record_bytes();
        if header.kind == Kind::Manifest {
            match self.pieces(header, value(bytes, offset, header))? {
                Pieces::Whole { total, records } => {
                    value_bytes = total;
                    record_bytes += records;
                }
                Pieces::Incomplete => {
                    let is_named = self.inspection.is_named(header.hash, position)?;
                    walked.incomplete_entries += u64::from(is_named);
                    return Ok(());
                }
                Pieces::Wrong(what) => {
                    // A manifest that nothing leads to outlives its pieces.
                    if self.inspection.is_named(header.hash, position)? {
                        walked.findings.push(self.of_record(offset, what));
                    }
                    return Ok(());
                }
            }
        }
        let is_live = self.moment.is_current(shard, header)
            && !self.inspection.has_expired(self.moment, header.expires_at)
            && self.inspection.is_named(header.hash, position)?;
        if !is_live {
            return Ok(());
        }
        walked.live_entries += 1;
        walked.live_bytes += record_bytes;
        walked.large_entries += u64::from(header.kind == Kind::Manifest);
        walked.value_bytes.count(value_bytes);
        let version = self.moment.shards.get(shard as usize).map_or(0, |shard| shard.version);
        // Written after the shard's state was read, if it is ahead of it.
        let since = version.wrapping_sub(header.version) as i32;
        walked.writes_since.count(u64::from(since.max(0).unsigned_abs()));
        walked.seconds_left.count(if header.expires_at == Millis::NEVER.0 {
            u64::MAX
        } else {
            header.expires_at.saturating_sub(self.moment.now) / 1000
        });
        Ok(())
    }

    /// Checks what the segment's entry says of all of its records; tells the first that differs.
    fn check_entry(&self, walked: &mut Walked, header: &RecordHeader, shard: u32) {
        let segment = StorePlace::Segment(self.segment);
        if walked.findings.iter().any(|finding| finding.place == segment) {
            return;
        }
        let start = self.inspection.geometry.segment_at(self.segment);
        let owner = u32::from(self.entry.status.owner);
        // The evictor carries over records of all shards.
        if owner < self.inspection.geometry.shards && owner != shard {
            let what = format!("is filled by shard {owner}, but has records of shard {shard}");
            walked.findings.push(self.of_segment(start, what));
        }
        let latest = u64::from(self.entry.max_expiry);
        let is_later = match header.expires_at {
            at if at == Millis::NEVER.0 => self.entry.max_expiry != u32::MAX,
            at => at.div_ceil(1000).min(u64::from(u32::MAX)) > latest,
        };
        if is_later {
            let what =
                format!("all of it is said to expire by second {latest}, but a record does later");
            walked.findings.push(self.of_segment(start, what));
        }
    }

    /// Follows a verified manifest.
    fn pieces(&self, manifest: &RecordHeader, value: &[u8]) -> Result<Pieces> {
        let wrong = |what: String| Ok(Pieces::Wrong(what));
        let Some((total, pieces)) = extents::parse(value) else {
            return wrong(format!("its {} bytes are no list of pieces", value.len()));
        };
        let (mut sum, mut records) = (0_u64, 0);
        for (number, piece) in pieces.enumerate() {
            let at = piece.position;
            let Some((segment, _)) = self.inspection.geometry.locate(at) else {
                return wrong(format!("piece {number} is at byte {at}: outside of all segments"));
            };
            let words = self.inspection.data.bytes(at, HEADER as usize)?.words(0);
            let is_it = RecordHeader::from_words(&words).is_some_and(|found| {
                found.kind == Kind::Extent
                    && found.generation == piece.generation
                    && found.hash == manifest.hash
                    && u64::from(found.value_bytes) == piece.bytes
            });
            if !is_it {
                // Looked at last: it may have been emptied, and filled anew, a moment ago.
                let known = self.inspection.entry(segment)?.generation;
                if known != piece.generation {
                    return Ok(Pieces::Incomplete);
                }
                return wrong(format!("piece {number} is not at byte {at}"));
            }
            sum = sum.saturating_add(piece.bytes);
            records += record_bytes(0, 0, piece.bytes);
        }
        if sum != total {
            return wrong(format!("its pieces have {sum} bytes, the value has {total}"));
        }
        Ok(Pieces::Whole { total, records })
    }

    /// What a killed writer left behind the end of what is used: a header of this generation,
    /// whose first word may be missing because it is written last.
    fn torn(&self, bytes: &Bytes, used: u64) -> Option<StoreFinding> {
        let words = bytes.words(used as usize);
        // Zeros are of generation 0; no header has a deadline of 0.
        let is_begun =
            RecordHeader::generation_of(&words) == self.entry.generation && words[5] != 0;
        is_begun.then(|| StoreFinding {
            severity: StoreSeverity::Torn,
            place: StorePlace::Record { segment: self.segment },
            position: self.inspection.geometry.segment_at(self.segment) + used,
            what: "was begun behind the end of what is used, and not finished".into(),
        })
    }

    fn of_record(&self, offset: u64, what: String) -> StoreFinding {
        StoreFinding {
            severity: StoreSeverity::Damage,
            place: StorePlace::Record { segment: self.segment },
            position: self.inspection.geometry.segment_at(self.segment) + offset,
            what,
        }
    }

    fn of_segment(&self, position: u64, what: String) -> StoreFinding {
        StoreFinding {
            severity: StoreSeverity::Damage,
            place: StorePlace::Segment(self.segment),
            position,
            what,
        }
    }
}

/// What the pieces of a large value are.
enum Pieces {
    Whole {
        total: u64,
        records: u64,
    },
    /// One was evicted: readers take the value for a miss.
    Incomplete,
    Wrong(String),
}

/// Head and value of a record that lies within `bytes`.
fn body<'a>(bytes: &'a Bytes, offset: u64, header: &RecordHeader) -> &'a [u8] {
    let at = (offset + header.head_offset()) as usize;
    bytes.0.get(at..at + header.body_bytes()).unwrap_or_default()
}

/// The value of a record that lies within `bytes`.
fn value<'a>(bytes: &'a Bytes, offset: u64, header: &RecordHeader) -> &'a [u8] {
    let at = (offset + header.value_offset()) as usize;
    bytes.0.get(at..at + header.value_bytes as usize).unwrap_or_default()
}
