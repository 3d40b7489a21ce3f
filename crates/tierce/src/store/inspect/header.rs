//! The header page: what a file says it is, or why it is no store that can be looked at.

use xxhash_rust::xxh3::xxh3_128;

use super::{StoreHeader, file::LookedAt};
use crate::{
    error::{Error, ErrorKind, Result},
    store::{
        layout::{ENDIAN_PROBE, HEADER_BYTES, Header, HeaderPage, MAGIC, MAJOR, SET_SLOTS},
        lock,
    },
};

/// Reads the header, or says what stands in its place.
pub(super) fn read(data: &LookedAt) -> Result<(Header, StoreHeader)> {
    let path = data.path.display();
    let refuse = |kind, text: String| Err(Error::new(kind, format!("{path}: {text}")));
    let (bytes, have) = data.read(0, HEADER_BYTES)?;
    let magic = bytes.u64(0);
    if magic == lock::MAGIC {
        let text = "is the lock file of a store: give l2.data, or the folder of both";
        return refuse(ErrorKind::Corrupt, text.into());
    }
    if have < HEADER_BYTES {
        let text = format!("has {have} bytes: a store begins with a header of {HEADER_BYTES}");
        return refuse(ErrorKind::Corrupt, text);
    }
    if magic != MAGIC {
        let (found, wanted) = (magic.to_ne_bytes(), MAGIC.to_ne_bytes());
        let text = format!(
            "begins with \"{}\": a store begins with \"{}\"",
            found.escape_ascii(),
            wanted.escape_ascii()
        );
        return refuse(ErrorKind::Corrupt, text);
    }
    let probe = bytes.u64(16);
    let (major, minor) = (bytes.u32(8), bytes.u32(12));
    let library_version: String = bytes.0[104..120]
        .iter()
        .take_while(|byte| byte.is_ascii_graphic())
        .map(|byte| char::from(*byte))
        .collect();
    if probe == ENDIAN_PROBE && major != MAJOR {
        let by = if library_version.is_empty() { "an unknown version" } else { &library_version };
        let text = format!(
            "has format version {major}.{minor}, made by tierce {by}: this one reads version \
             {MAJOR} only"
        );
        return refuse(ErrorKind::Version, text);
    }
    let mut page = [0; HEADER_BYTES];
    page.copy_from_slice(&bytes.0);
    let header = match Header::from_page(&page) {
        HeaderPage::Sound(header) => header,
        HeaderPage::Newer(major) => {
            let text = format!("has format version {major}: this one reads version {MAJOR} only");
            return refuse(ErrorKind::Version, text);
        }
        HeaderPage::Foreign => {
            let text = "was made by a machine of the other byte order: it is of use only there";
            return refuse(ErrorKind::Unsupported, text.into());
        }
        HeaderPage::Unusable(why) => {
            let (found, made) =
                (bytes.u128(HEADER_BYTES - 16), xxh3_128(&page[..HEADER_BYTES - 16]));
            let rule = if found == made {
                "its checksum is right".to_owned()
            } else {
                format!("its checksum is {found:#034x}, its bytes make {made:#034x}")
            };
            return refuse(ErrorKind::Corrupt, format!("has {why}: {rule}"));
        }
    };
    let geometry = &header.geometry;
    let facts = StoreHeader {
        format_major: major,
        format_minor: minor,
        library_version,
        schema: header.schema,
        uuid: header.uuid,
        on_disk: header.on_disk,
        segment_bytes: geometry.segment_bytes,
        segments: geometry.segments,
        sets: geometry.sets,
        slots: geometry.sets * SET_SLOTS as u64,
        stamps: geometry.stamps,
        shards: geometry.shards,
        classes: geometry.classes,
        max_entries: geometry.max_entries,
        max_key_bytes: geometry.max_key_bytes() as u64,
        max_value_bytes: geometry.max_value_bytes,
        data_at: geometry.data_at(),
        data_bytes: geometry.data_bytes(),
        file_bytes: geometry.file_bytes(),
    };
    Ok((header, facts))
}
