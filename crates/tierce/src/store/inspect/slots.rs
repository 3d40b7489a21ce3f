//! Following the index: where each slot leads.
//!
//! A slot that leads to nothing is no fault: who empties a segment leaves some behind, and readers
//! refuse them. So a slot is called wrong only where chance cannot have made it what it is.

use std::thread;

use super::{
    LOOK_AGAIN_AFTER, StoreContents, StoreFinding, StoreInspection, StorePlace, StoreSeverity,
    file::Bytes, table::Moment,
};
use crate::{
    error::Result,
    store::layout::{Kind, RECORD_HEADER_BYTES, RecordHeader, SET_SLOTS, Slot},
};

const SET_BYTES: usize = SET_SLOTS * 8;
/// Sets that are read at a time: 64 KiB.
const SETS_PER_READ: u64 = 512;

/// Where a slot leads.
enum Judged {
    /// To a record that a reader of this hash would take.
    Live(u64),
    Dead,
    Stale,
    Wrong(String),
}

/// Follows all slots into `contents`.
pub(super) fn walk(
    inspection: &StoreInspection,
    moment: &Moment,
    contents: &mut StoreContents,
) -> Result<()> {
    let sets = inspection.geometry.sets;
    for first in (0..sets).step_by(SETS_PER_READ as usize) {
        let count = SETS_PER_READ.min(sets - first);
        let at = set_at(inspection, first);
        let (bytes, have) = inspection.data.read(at, count as usize * SET_BYTES)?;
        if have == 0 {
            // The file was cut: what is wrong with that is told elsewhere.
            break;
        }
        for number in 0..count {
            let slots = slots_of(&bytes, number as usize * SET_BYTES);
            look_at_set(inspection, moment, first + number, &slots, contents)?;
        }
    }
    Ok(())
}

fn look_at_set(
    inspection: &StoreInspection,
    moment: &Moment,
    set: u64,
    slots: &[Slot; SET_SLOTS],
    contents: &mut StoreContents,
) -> Result<()> {
    let mut wrong = faults(inspection, moment, set, slots, &mut contents.slots)?;
    if !wrong.is_empty() && moment.is_in_use {
        // Perhaps the slot or its record moved between the looks at both.
        thread::sleep(LOOK_AGAIN_AFTER);
        let slots = inspection.set(set)?;
        let again = faults(inspection, moment, set, &slots, &mut Default::default())?;
        wrong.retain(|finding| again.contains(finding));
    }
    contents.slots.wrong += wrong.len() as u64;
    contents.note(wrong);
    Ok(())
}

fn faults(
    inspection: &StoreInspection,
    moment: &Moment,
    set: u64,
    slots: &[Slot; SET_SLOTS],
    counted: &mut super::StoreSlots,
) -> Result<Vec<StoreFinding>> {
    let mut wrong = Vec::new();
    let mut seen: Vec<(u64, usize)> = Vec::new();
    let taken = slots.iter().enumerate().filter(|(_, slot)| !slot.is_empty());
    for (number, slot) in taken {
        counted.used += 1;
        let what = match judge(inspection, moment, set, *slot)? {
            Judged::Dead => {
                counted.dead += 1;
                continue;
            }
            Judged::Stale => {
                counted.stale += 1;
                continue;
            }
            Judged::Live(hash) => match seen.iter().find(|(other, _)| *other == hash) {
                Some((_, first)) => {
                    format!("leads to a record of hash {hash:#018x}, and so does slot {first}")
                }
                None => {
                    seen.push((hash, number));
                    counted.live += 1;
                    continue;
                }
            },
            Judged::Wrong(what) => what,
        };
        wrong.push(StoreFinding {
            severity: StoreSeverity::Damage,
            place: StorePlace::Slot { set, slot: number as u32 },
            position: set_at(inspection, set) + number as u64 * 8,
            what,
        });
    }
    counted.full_sets += u64::from(slots.iter().all(|slot| !slot.is_empty()));
    Ok(wrong)
}

fn judge(inspection: &StoreInspection, moment: &Moment, set: u64, slot: Slot) -> Result<Judged> {
    let geometry = &inspection.geometry;
    let position = slot.position();
    let Some((segment, _)) = geometry.locate(position) else {
        let (from, to) = (geometry.data_at(), geometry.file_bytes());
        let what = format!("leads to byte {position}: records are at bytes {from} to {to}");
        return Ok(Judged::Wrong(what));
    };
    let words = inspection.data.bytes(position, RECORD_HEADER_BYTES as usize)?.words(0);
    let Some(header) = RecordHeader::from_words(&words) else { return Ok(Judged::Stale) };
    let offset = position - geometry.segment_at(segment);
    let fits = |entry: &super::table::Entry| {
        let end = offset + header.record_bytes();
        (header.generation == entry.generation, end <= u64::from(entry.used))
    };
    let mut found = moment.entries.get(segment as usize).map_or((false, false), fits);
    if found != (true, true) && moment.is_in_use {
        found = fits(&inspection.entry(segment)?);
    }
    let (is_of_now, is_within) = found;
    if !is_of_now || header.generation & 1 == 1 || header.kind == Kind::Extent {
        return Ok(Judged::Stale);
    }
    let own = geometry.set_of(header.hash);
    let has_tag = slot.has_tag_of(header.hash);
    if own != set {
        // By chance one of four million stale slots has the tag of what is there now.
        if has_tag && !inspection.is_named(header.hash, position)? {
            let what = format!("leads to a record of set {own}, byte {position}");
            return Ok(Judged::Wrong(what));
        }
        return Ok(Judged::Stale);
    }
    if !has_tag {
        let wanted = Slot::new(header.hash, slot.hits(), position);
        if is_bent(slot, wanted) && !inspection.is_named(header.hash, position)? {
            let what = format!(
                "is {:#018x}: the record that it leads to makes {:#018x}",
                slot.0, wanted.0
            );
            return Ok(Judged::Wrong(what));
        }
        return Ok(Judged::Stale);
    }
    if !is_within {
        let what = format!("leads behind the end of what is used of segment {segment}");
        return Ok(Judged::Wrong(what));
    }
    let is_current = moment.is_current(geometry.shard_of(header.hash), &header);
    let is_live = is_current && !inspection.has_expired(moment, header.expires_at);
    Ok(if is_live { Judged::Live(header.hash) } else { Judged::Dead })
}

/// True where the two differ in one byte alone: too near for chance.
fn is_bent(slot: Slot, wanted: Slot) -> bool {
    let differs = (slot.0 ^ wanted.0).to_ne_bytes();
    differs.iter().filter(|byte| **byte != 0).count() == 1
}

impl StoreInspection {
    /// True where a slot of the key's set leads to its record at `position`.
    pub(super) fn is_named(&self, hash: u64, position: u64) -> Result<bool> {
        let slots = self.set(self.geometry.set_of(hash))?;
        Ok(slots.iter().any(|slot| slot.has_tag_of(hash) && slot.position() == position))
    }

    fn set(&self, set: u64) -> Result<[Slot; SET_SLOTS]> {
        Ok(slots_of(&self.data.bytes(set_at(self, set), SET_BYTES)?, 0))
    }
}

fn set_at(inspection: &StoreInspection, set: u64) -> u64 {
    inspection.geometry.index_at() + set * SET_BYTES as u64
}

fn slots_of(bytes: &Bytes, at: usize) -> [Slot; SET_SLOTS] {
    std::array::from_fn(|slot| Slot(bytes.u64(at + slot * 8)))
}
