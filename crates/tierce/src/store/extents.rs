//! Large values: cut into extents that fill what is left of segments, and named by a manifest.
//!
//! A value whose record would be above a quarter segment would leave up to a quarter of every
//! segment unused. Its pieces are records of their own, without slots; the manifest lists them
//! with the generations of their segments, and is the only one that the index knows. A piece that
//! was evicted makes the whole value a miss. The mutex is released between pieces, so a large put
//! never holds it for longer than the copy of one segment.

use std::{
    io,
    sync::atomic::{Ordering, fence},
};

use crate::store::{
    Dropped, Store,
    layout::{
        self, Kind, MIN_EXTENT_BYTES, PIECE_BYTES, RECORD_HEADER_BYTES, RecordHeader, record_bytes,
    },
    lock::Wait,
    read::Death,
    write::Draft,
};

/// One piece of a large value, as its manifest names it.
pub(super) struct Piece {
    pub(super) position: u64,
    pub(super) generation: u64,
    pub(super) bytes: u64,
}

/// The pieces that a manifest names, and the bytes they make; `None` where it is none.
pub(super) fn parse(manifest: &[u8]) -> Option<(u64, impl Iterator<Item = Piece>)> {
    let (total, pieces) = manifest.split_first_chunk::<8>()?;
    if pieces.len() % PIECE_BYTES != 0 {
        return None;
    }
    let number = |bytes: &[u8], at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    };
    let pieces = pieces.chunks_exact(PIECE_BYTES).map(move |piece| Piece {
        position: number(piece, 0),
        generation: number(piece, 8),
        bytes: number(piece, 16),
    });
    Some((u64::from_ne_bytes(*total), pieces))
}

impl Store {
    /// Reads the value that a verified manifest names.
    pub(super) fn assemble(
        &self,
        header: &RecordHeader,
        manifest: &[u8],
    ) -> io::Result<Result<Vec<u8>, Death>> {
        let broken = Ok(Err(Death::Broken(header.record_bytes())));
        let Some((total, pieces)) = parse(manifest) else { return broken };
        let mut value = Vec::new();
        let fits = total <= self.geometry.data_bytes();
        if !fits || value.try_reserve_exact(total as usize).is_err() {
            return broken;
        }
        for piece in pieces {
            let Some((segment, left)) = self.geometry.locate(piece.position) else { return broken };
            let entry = self.segment(segment);
            if entry.generation.load(Ordering::Acquire) != piece.generation {
                return broken;
            }
            let mut scratch = None;
            let opened = self.media().open(piece.position, left, &mut scratch)?;
            let Some(found) = RecordHeader::from_words(&opened.words) else { return broken };
            let start = value.len();
            let fits = found.record_bytes() <= left && start as u64 + piece.bytes <= total;
            let is_ours = found.kind == Kind::Extent
                && found.generation == piece.generation
                && found.hash == header.hash
                && (found.key_bytes, found.head_words) == (0, 0)
                && u64::from(found.value_bytes) == piece.bytes;
            if !fits || !is_ours {
                return broken;
            }
            let sum = opened.append(found.value_offset(), piece.bytes as usize, &mut value)?;
            fence(Ordering::Acquire);
            if entry.generation.load(Ordering::Relaxed) != piece.generation {
                return broken;
            }
            if layout::checksum(&opened.words, sum) != opened.words[7] {
                return Ok(Err(Death::Corrupt));
            }
        }
        Ok(if value.len() as u64 == total {
            Ok(value)
        } else {
            Err(Death::Broken(header.record_bytes()))
        })
    }

    /// Writes the pieces of a large value and returns their manifest.
    pub(super) fn write_extents(
        &self,
        wait: &Wait,
        shard: u32,
        class: u32,
        draft: &Draft<'_>,
    ) -> Result<Vec<u8>, Dropped> {
        let total = draft.value.len() as u64;
        let mut manifest = total.to_ne_bytes().to_vec();
        let most = self.geometry.largest_record();
        let mut rest = draft.value;
        while !rest.is_empty() {
            let manifest_bytes = (manifest.len() + PIECE_BYTES) as u64;
            let next = record_bytes(draft.key.len(), draft.head.len(), manifest_bytes);
            if next > most {
                self.abandon(&manifest);
                return Err(Dropped::TooLarge);
            }
            match self.write_extent(wait, shard, class, draft, rest, &manifest) {
                Ok(piece) => {
                    rest = &rest[piece.bytes as usize..];
                    manifest.extend_from_slice(&piece.position.to_ne_bytes());
                    manifest.extend_from_slice(&piece.generation.to_ne_bytes());
                    manifest.extend_from_slice(&piece.bytes.to_ne_bytes());
                }
                Err(why) => {
                    self.abandon(&manifest);
                    return Err(why);
                }
            }
        }
        Ok(manifest)
    }

    /// Writes as much of `rest` as the active segment takes; `manifest` names what came before it.
    fn write_extent(
        &self,
        wait: &Wait,
        shard: u32,
        class: u32,
        draft: &Draft<'_>,
        rest: &[u8],
        manifest: &[u8],
    ) -> Result<Piece, Dropped> {
        self.with_room(wait, shard, manifest, || {
            // At least this much, or all that is left; else the segment is sealed.
            let least = record_bytes(0, 0, MIN_EXTENT_BYTES.min(rest.len() as u64));
            let (segment, room) = self.active_segment(shard, class, least)?;
            let bytes = (room - RECORD_HEADER_BYTES).min(rest.len() as u64);
            let value = &rest[..bytes as usize];
            let extent = Draft {
                kind: Kind::Extent,
                key: &[],
                head: &[],
                value,
                body_sum: layout::body_sum(value),
                ..*draft
            };
            let position = self.append(shard, segment, &extent)?;
            let generation = self.segment(segment).generation.load(Ordering::Relaxed);
            Ok(Piece { position, generation, bytes })
        })
    }

    /// Counts the pieces of a manifest that is not used (any more) as dead.
    pub(super) fn abandon(&self, manifest: &[u8]) {
        for piece in parse(manifest).into_iter().flat_map(|(_, pieces)| pieces) {
            if let Some((segment, _)) = self.geometry.locate(piece.position) {
                let entry = self.segment(segment);
                if entry.generation.load(Ordering::Relaxed) == piece.generation {
                    entry.bury(record_bytes(0, 0, piece.bytes.min(u64::from(u32::MAX))));
                }
            }
        }
    }
}
