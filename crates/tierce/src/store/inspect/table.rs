//! The state region and the segment table, as they are at one moment.

use std::{mem::offset_of, os::unix::fs::MetadataExt, time::Duration};

use super::{
    LOOK_AGAIN_AFTER, StoreDoubts, StoreFinding, StoreInspection, StoreLook, StorePlace,
    StoreSegment, StoreSegmentState, StoreSeverity, file::Bytes,
};
use crate::{
    error::Result,
    key::GROUPS,
    store::{
        doubts::{self, DOUBTS_AT, Doubts},
        layout::{RECORD_ALIGN, RecordHeader, SEGMENT_TABLE_AT, STATE_AT},
        segment::{SegmentEntry, State, Status},
        stamps::{SHARDS_AT, ShardState, StateHead},
    },
};

/// Bytes of the state region that hold something: head, shards, doubts.
const STATE_BYTES: usize = (DOUBTS_AT - STATE_AT) as usize + size_of::<Doubts>();

/// One entry of the segment table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) generation: u64,
    pub(super) status_word: u64,
    pub(super) status: Status,
    pub(super) used: u32,
    pub(super) live: u32,
    pub(super) max_expiry: u32,
    pub(super) clear_epoch: u32,
}

impl Entry {
    fn from_bytes(bytes: &Bytes, at: usize) -> Self {
        let status_word = bytes.u64(at + offset_of!(SegmentEntry, status));
        Self {
            generation: bytes.u64(at + offset_of!(SegmentEntry, generation)),
            status_word,
            status: Status::from_word(status_word),
            used: bytes.u32(at + offset_of!(SegmentEntry, used)),
            live: bytes.u32(at + offset_of!(SegmentEntry, live)),
            max_expiry: bytes.u32(at + offset_of!(SegmentEntry, max_expiry)),
            clear_epoch: bytes.u32(at + offset_of!(SegmentEntry, clear_epoch)),
        }
    }
}

/// What all parts of an inspection judge by.
pub(super) struct Moment {
    pub(super) now: u64,
    pub(super) clear_epoch: u32,
    pub(super) shards: Vec<Shard>,
    /// Those that the file has: fewer than segments, where it was cut.
    pub(super) entries: Vec<Entry>,
    pub(super) is_of_this_boot: bool,
    pub(super) is_in_use: bool,
    state: Bytes,
    about: std::fs::Metadata,
}

/// The state of a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shard {
    pub(super) epoch: u32,
    pub(super) version: u32,
    entries: u64,
}

impl Moment {
    pub(super) fn take(
        inspection: &StoreInspection,
        boot_id: Option<u128>,
        now: u64,
    ) -> Result<Self> {
        let about = inspection.data.about()?;
        let state = inspection.data.bytes(STATE_AT, STATE_BYTES)?;
        let shards = (0..inspection.geometry.shards as usize).map(|shard| {
            let at = (SHARDS_AT - STATE_AT) as usize + shard * size_of::<ShardState>();
            Shard {
                epoch: state.u32(at + offset_of!(ShardState, epoch)),
                version: state.u32(at + offset_of!(ShardState, version)),
                entries: state.u64(at + offset_of!(ShardState, entries)),
            }
        });
        let shards = shards.collect();
        let size = size_of::<SegmentEntry>();
        let whole = inspection.geometry.segments as usize * size;
        let (table, have) = inspection.data.read(SEGMENT_TABLE_AT, whole)?;
        let segments = have.div_ceil(size);
        Ok(Self {
            now,
            clear_epoch: state.u32(offset_of!(StateHead, clear_epoch)),
            shards,
            entries: (0..segments)
                .map(|segment| Entry::from_bytes(&table, segment * size))
                .collect(),
            is_of_this_boot: boot_id == Some(state.u128(offset_of!(StateHead, boot_id))),
            is_in_use: inspection.users()?.is_in_use,
            state,
            about,
        })
    }

    /// True where a reader would take the epochs of the record for those of now.
    pub(super) fn is_current(&self, shard: u32, header: &RecordHeader) -> bool {
        header.clear_epoch == self.clear_epoch
            && self.shards.get(shard as usize).is_some_and(|now| now.epoch == header.shard_epoch)
    }
}

impl StoreInspection {
    /// The entry of a segment as it is now.
    pub(super) fn entry(&self, segment: u32) -> Result<Entry> {
        let bytes = self.data.bytes(entry_at(segment), size_of::<SegmentEntry>())?;
        Ok(Entry::from_bytes(&bytes, 0))
    }
}

fn entry_at(segment: u32) -> u64 {
    SEGMENT_TABLE_AT + u64::from(segment) * size_of::<SegmentEntry>() as u64
}

/// Puts into words what was read.
pub(super) fn look(inspection: &StoreInspection, moment: &Moment) -> Result<StoreLook> {
    let (state, about) = (&moment.state, &moment.about);
    let clear_epoch = moment.clear_epoch;
    let mut findings = Vec::new();
    findings.extend(length(inspection, about.len()));
    let mut segments = Vec::with_capacity(moment.entries.len());
    for (entry, number) in moment.entries.iter().zip(0..) {
        segments.push(segment(entry, number, moment));
        let mut faults = faults(inspection, number, entry);
        if !faults.is_empty() && moment.is_in_use {
            // Perhaps it was being emptied, or claimed, while its words were copied.
            std::thread::sleep(LOOK_AGAIN_AFTER);
            let again = self::faults(inspection, number, &inspection.entry(number)?);
            faults.retain(|fault| again.contains(fault));
        }
        findings.extend(faults);
    }
    let counted = moment.shards.iter().filter(|shard| (shard.entries >> 32) as u32 == clear_epoch);
    Ok(StoreLook {
        file_bytes: about.len(),
        allocated_bytes: about.blocks().saturating_mul(512),
        made: about.created().ok(),
        is_of_this_boot: moment.is_of_this_boot,
        clear_epoch,
        coherence_epoch: state.u32(offset_of!(StateHead, coherence_epoch)),
        shard_epochs: moment.shards.iter().map(|shard| shard.epoch).collect(),
        claims: state.u32(offset_of!(StateHead, sequence)),
        writes: moment.shards.iter().map(|shard| u64::from(shard.version)).sum(),
        entries: counted.map(|shard| shard.entries & u64::from(u32::MAX)).sum(),
        live_bytes: segments.iter().map(|segment| u64::from(segment.live_bytes)).sum(),
        segments,
        doubts: doubts(state, moment.now),
        findings,
    })
}

fn segment(entry: &Entry, number: u32, moment: &Moment) -> StoreSegment {
    let is_current = entry.clear_epoch == moment.clear_epoch;
    let deadline = Duration::from_secs(u64::from(entry.max_expiry));
    StoreSegment {
        number,
        state: match entry.status.state {
            State::Free => StoreSegmentState::Free,
            State::Active => StoreSegmentState::Active,
            State::Sealed => StoreSegmentState::Sealed,
            State::Evicting => StoreSegmentState::Evicting,
        },
        owner: u32::from(entry.status.owner),
        class: u32::from(entry.status.class),
        generation: entry.generation,
        claim: entry.status.created,
        used_bytes: entry.used,
        live_bytes: if is_current { entry.live.min(entry.used) } else { 0 },
        expires_in: (entry.max_expiry != u32::MAX)
            .then(|| deadline.saturating_sub(Duration::from_millis(moment.now))),
    }
}

fn doubts(state: &Bytes, now: u64) -> StoreDoubts {
    let at = (DOUBTS_AT - STATE_AT) as usize;
    let below = state.u64(at + offset_of!(Doubts, below));
    let groups = (0..GROUPS).map(|group| state.u64(at + offset_of!(Doubts, groups) + group * 8));
    let had: Vec<u64> = groups.filter(|since| *since != 0).collect();
    StoreDoubts {
        is_below_in_use: below & doubts::IN_USE != 0,
        changed_alone: below & doubts::CHANGED_ALONE != 0,
        groups: had.len() as u32,
        of_groups: GROUPS as u32,
        oldest: had.iter().min().map(|since| Duration::from_millis(now.saturating_sub(*since))),
    }
}

fn length(inspection: &StoreInspection, have: u64) -> Option<StoreFinding> {
    let wanted = inspection.facts.file_bytes;
    (have != wanted).then(|| StoreFinding {
        severity: StoreSeverity::Damage,
        place: StorePlace::File,
        position: have.min(wanted),
        what: format!("the file has {have} bytes, its header says {wanted}"),
    })
}

/// What no process leaves in an entry, whenever it is killed.
fn faults(inspection: &StoreInspection, number: u32, entry: &Entry) -> Vec<StoreFinding> {
    let geometry = &inspection.geometry;
    let mut found = Vec::new();
    let mut fault = |severity, field: usize, what: String| {
        found.push(StoreFinding {
            severity,
            place: StorePlace::Segment(number),
            position: entry_at(number) + field as u64,
            what,
        });
    };
    let status_at = offset_of!(SegmentEntry, status);
    let Entry { generation, used, status, .. } = *entry;
    let word = entry.status_word as u8;
    if word > State::Evicting as u8 {
        fault(StoreSeverity::Damage, status_at, format!("state {word}: must be 0 to 3"));
    }
    if status.state != State::Free {
        let (owner, class) = (u32::from(status.owner), u32::from(status.class));
        if owner > geometry.shards {
            let what = format!("owner {owner}: must be 0 to {}", geometry.shards);
            fault(StoreSeverity::Damage, status_at + 2, what);
        }
        if class >= geometry.classes {
            let what = format!("class {class}: must be 0 to {}", geometry.classes - 1);
            fault(StoreSeverity::Damage, status_at + 1, what);
        }
    }
    if used > geometry.segment_bytes || !u64::from(used).is_multiple_of(RECORD_ALIGN) {
        let what = format!(
            "{used} bytes used: must be a multiple of {RECORD_ALIGN} up to {}",
            geometry.segment_bytes
        );
        fault(StoreSeverity::Damage, offset_of!(SegmentEntry, used), what);
    }
    // Emptied in the order: generation odd, used 0, generation even, free.
    let is_odd = generation & 1 == 1;
    if status.state == State::Free && used > 0 && !is_odd {
        let what = format!("is free, but {used} bytes of it are used");
        fault(StoreSeverity::Damage, status_at, what);
    } else if is_odd {
        let what = format!("half emptied: generation {generation} is odd");
        // Only a segment that is being emptied has an odd one.
        let severity = match status.state {
            State::Evicting => StoreSeverity::Torn,
            _ => StoreSeverity::Damage,
        };
        fault(severity, offset_of!(SegmentEntry, generation), what);
    }
    found
}
