//! Tags that entries bear by their keys, not because a caller names them: those of the keyspaces and
//! of the prefixes that a key belongs to. What is removed by them is removed as by any tag, by one
//! change, and is right against loads under way, over processes and over hosts.
//!
//! *Keyspaces*: an entry of a clearable one bears a tag for its pattern, and one for each pattern that
//! this continues.
//!
//! *Prefixes*: where a cache has a delimiter, the key `user/7/name` bears the tags of `user/` and
//! `user/7/`: of its first [`MAX_PREFIXES`] prefixes. They are not the tags of keyspaces: `user/`
//! stands for all keys that begin so, the keyspace `user/:id` for what its handles put there.
//!
//! Whoever reads must be able to rely on these tags. So all who share a store have the delimiter that
//! the first one of them gave it ([`DelimiterWord`]), and who reads from L3, where hosts may differ,
//! takes no record that lacks the tags of its key.

use crate::{
    error::{Error, ErrorKind, Result},
    tag_cells::{self, TagHash},
};

/// How many prefixes of its key an entry bears the tags of.
pub(crate) const MAX_PREFIXES: usize = 8;

/// What tags of prefixes begin with: as no text of a caller does.
const OF_PREFIXES: &[u8] = b"\0prefix/";

/// The hashes of the tags of a key's prefixes, as tags are kept.
pub(crate) fn of_key(key: &[u8], delimiter: u8) -> Vec<u32> {
    let mut hash = TagHash::of(OF_PREFIXES);
    let mut hashes = Vec::new();
    for byte in key {
        hash.push(*byte);
        if *byte == delimiter {
            hashes.push(hash.end());
            if hashes.len() == MAX_PREFIXES {
                break;
            }
        }
    }
    tag_cells::sorted(hashes)
}

/// The hash of the tag of a prefix.
///
/// # Errors
/// [`ErrorKind::Config`] where no entry can bear it.
pub(crate) fn of_prefix(prefix: &[u8], delimiter: Option<u8>) -> Result<u32> {
    let refuse = |rule: String| {
        let text = prefix.escape_ascii();
        Err(Error::new(ErrorKind::Config, format!("prefix \"{text}\": {rule}")))
    };
    let Some(delimiter) = delimiter else {
        return refuse("the cache must be built with a prefix_delimiter for that".to_owned());
    };
    let name = delimiter.escape_ascii();
    if prefix.last() != Some(&delimiter) {
        return refuse(format!("must end in the prefix_delimiter '{name}'"));
    }
    let count = prefix.iter().filter(|byte| **byte == delimiter).count();
    if count > MAX_PREFIXES {
        let rule =
            format!("has {count} delimiters '{name}': at most {MAX_PREFIXES} are kept of a key");
        return refuse(rule);
    }
    let mut hash = TagHash::of(OF_PREFIXES);
    prefix.iter().for_each(|byte| hash.push(*byte));
    Ok(hash.end())
}

/// The tag of the first segments of a keyspace's pattern; a place is a colon, whatever its name.
pub(crate) fn of_pattern<'a>(segments: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut tag = b"\0keyspace".to_vec();
    for segment in segments {
        tag.push(b'/');
        let is_place = segment.starts_with(':');
        tag.extend_from_slice(if is_place { b":" } else { segment.as_bytes() });
    }
    tag
}

/// The delimiter of all who share a store, as the store has it.
///
/// ```text
///   0         nobody named one
///   1, byte   it is in force, and what was stored without it is being cleared
///   2, byte   it is in force
/// ```
/// Who names the first one writes it, clears the store, and then says so. So what is looked for after
/// that clear bears the tags, whoever looks, and what was looked for before is void. Who is killed in
/// the midst leaves the rest to the next that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DelimiterWord(pub(crate) u32);

impl DelimiterWord {
    /// It is in force; `is_cleared` says whether what was there before is gone.
    #[cfg_attr(not(feature = "shared"), allow(dead_code))]
    pub(crate) fn of(delimiter: u8, is_cleared: bool) -> Self {
        Self(if is_cleared { 0x200 } else { 0x100 } | u32::from(delimiter))
    }

    /// The delimiter.
    #[cfg_attr(not(feature = "shared"), allow(dead_code))]
    #[inline]
    pub(crate) fn delimiter(self) -> Option<u8> {
        (self.0 != 0).then_some(self.0 as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_bears_the_tags_of_the_prefixes_that_may_be_named() {
        let tag = |prefix: &str| of_prefix(prefix.as_bytes(), Some(b'/')).unwrap();
        let sorted =
            |prefixes: &[&str]| tag_cells::sorted(prefixes.iter().map(|it| tag(it)).collect());
        assert_eq!(of_key(b"user/7/name", b'/'), sorted(&["user/", "user/7/"]));
        assert_eq!(of_key(b"user/7/", b'/'), sorted(&["user/", "user/7/"]));
        assert_eq!(of_key(b"//a", b'/'), sorted(&["/", "//"]));
        assert_eq!(of_key(b"user:7", b'/'), Vec::<u32>::new());
        assert_ne!(tag("user/"), tag_cells::hashes(["user/"])[0], "no tag of a caller");
        let deep = "x/".repeat(MAX_PREFIXES + 3);
        assert_eq!(of_key(deep.as_bytes(), b'/').len(), MAX_PREFIXES);
        assert!(of_key(deep.as_bytes(), b'/').contains(&tag(&deep[..2 * MAX_PREFIXES])));
    }

    #[test]
    fn a_prefix_that_no_entry_bears_is_refused_by_the_rule() {
        let deep = "x/".repeat(MAX_PREFIXES + 1);
        for (prefix, delimiter, rule) in [
            ("user/", None, "prefix \"user/\": the cache must be built with a prefix_delimiter"),
            ("user", Some(b'/'), "prefix \"user\": must end in the prefix_delimiter '/'"),
            ("", Some(b'/'), "prefix \"\": must end in"),
            ("user/", Some(b'\n'), "must end in the prefix_delimiter '\\n'"),
            (&deep, Some(b'/'), "has 9 delimiters '/': at most 8 are kept of a key"),
        ] {
            let error = of_prefix(prefix.as_bytes(), delimiter).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(rule), "{error}");
        }
    }
}
