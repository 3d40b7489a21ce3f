//! Walking a whole store and counting what is there.

use std::sync::atomic::Ordering;

use crate::{
    error::{Error, ErrorKind, Result},
    store::{
        Store, StoreCheck,
        layout::{self, Kind, RECORD_HEADER_BYTES, RecordHeader, Slot},
        segment::State,
    },
    tiering::TierKind,
};

pub(super) fn walk(store: &Store) -> Result<StoreCheck> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, "the store's file could not be read")
            .in_tier(TierKind::Shared)
            .caused_by(error)
    };
    let mut check = StoreCheck { segments: store.geometry.segments, ..StoreCheck::default() };
    for set in 0..store.geometry.sets {
        let mut hashes = [0_u64; layout::SET_SLOTS];
        let mut live = 0;
        for slot in store.set(set) {
            let slot = Slot(slot.load(Ordering::Acquire));
            if slot.is_empty() {
                continue;
            }
            check.slots += 1;
            match judge(store, set, slot).map_err(failed)? {
                Judged::Live(hash) => {
                    check.live += 1;
                    check.doubled += u64::from(hashes[..live].contains(&hash));
                    hashes[live] = hash;
                    live += 1;
                }
                Judged::Dead => check.dead += 1,
                Judged::Corrupt => check.corrupt += 1,
            }
        }
    }
    for segment in 0..store.geometry.segments {
        match store.segment(segment).status().state {
            State::Free => check.free_segments += 1,
            State::Active => check.active_segments += 1,
            State::Sealed | State::Evicting => {}
        }
        let (records, is_whole) = walk_segment(store, segment).map_err(failed)?;
        check.records += records;
        check.broken_segments += u32::from(!is_whole);
    }
    Ok(check)
}

enum Judged {
    Live(u64),
    Dead,
    Corrupt,
}

fn judge(store: &Store, set: u64, slot: Slot) -> std::io::Result<Judged> {
    let Some((segment, left)) = store.geometry.locate(slot.position()) else {
        return Ok(Judged::Corrupt);
    };
    let mut scratch = None;
    let opened = store.media().open(slot.position(), left, &mut scratch)?;
    let Some(header) = RecordHeader::from_words(&opened.words) else { return Ok(Judged::Dead) };
    let generation = store.segment(segment).generation.load(Ordering::Acquire);
    if header.generation != generation || header.record_bytes() > left {
        return Ok(Judged::Dead);
    }
    let shard = store.shard(store.geometry.shard_of(header.hash));
    let is_current = shard.is_current(&header, store.state.clear_epoch());
    if !is_current || store.has_expired(&header) {
        return Ok(Judged::Dead);
    }
    // The segment was filled anew, and another key's record begins where the old one did.
    if store.geometry.set_of(header.hash) != set || !slot.has_tag_of(header.hash) {
        return Ok(Judged::Dead);
    }
    let mut key = Vec::with_capacity(header.key_bytes as usize);
    opened.append(RECORD_HEADER_BYTES, header.key_bytes as usize, &mut key)?;
    let Some((_, sum)) = opened.body(&header)? else { return Ok(Judged::Dead) };
    let is_whole = layout::key_hash(&key, store.seed) == header.hash
        && layout::checksum(&opened.words, sum) == opened.words[7]
        && header.kind != Kind::Extent;
    Ok(if is_whole { Judged::Live(header.hash) } else { Judged::Corrupt })
}

/// Counts the records of a segment; false where the walk ended before what is used.
fn walk_segment(store: &Store, segment: u32) -> std::io::Result<(u64, bool)> {
    let entry = store.segment(segment);
    let generation = entry.generation.load(Ordering::Acquire);
    let used = u64::from(entry.used.load(Ordering::Acquire).min(store.geometry.segment_bytes));
    let (mut records, mut offset) = (0, 0);
    while offset + RECORD_HEADER_BYTES <= used {
        let words = store.media().header(store.geometry.segment_at(segment) + offset)?;
        match RecordHeader::from_words(&words) {
            Some(header)
                if header.generation == generation && header.record_bytes() <= used - offset =>
            {
                offset += header.record_bytes();
                records += 1;
            }
            _ => return Ok((records, false)),
        }
    }
    Ok((records, offset == used))
}
