//! Why bytes found in L3 are not a record of the key that was asked for.

use std::fmt;

/// The first thing that was wrong with bytes found in L3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Doubt {
    /// Of another type than bytes, or longer than any record: not even fetched.
    Type,
    /// Fewer bytes than the smallest record has.
    Short,
    /// The epoch is no number or its check differs.
    Head,
    /// Not written by tierce.
    Magic,
    /// Written by another version.
    Version,
    /// Has flags that this version does not know.
    Flags,
    /// Has a format that this version does not know.
    Format,
    /// Compressed in a way that this build cannot read.
    Compression,
    /// Not sealed, where a key is set.
    Plain,
    /// Sealed, where no key is set, or under none of the keys that are.
    SealKey,
    /// The lengths do not add up to the bytes that are there.
    Length,
    /// The value is larger than the bound.
    Size,
    /// The checksum differs.
    Checksum,
    /// Belongs to another key of the cache.
    Key,
    /// The seal is not the one that its key makes.
    Seal,
    /// What was compressed does not come to the length that the record states.
    Inflate,
    /// What it says beside its value has no form that this version knows.
    Aside,
}

impl Doubt {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 17] = [
        Self::Type,
        Self::Short,
        Self::Head,
        Self::Magic,
        Self::Version,
        Self::Flags,
        Self::Format,
        Self::Compression,
        Self::Plain,
        Self::SealKey,
        Self::Length,
        Self::Size,
        Self::Checksum,
        Self::Key,
        Self::Seal,
        Self::Inflate,
        Self::Aside,
    ];

    /// The reason in lower case, for messages and metrics labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Short => "short",
            Self::Head => "head",
            Self::Magic => "magic",
            Self::Version => "version",
            Self::Flags => "flags",
            Self::Format => "format",
            Self::Compression => "compression",
            Self::Plain => "plain",
            Self::SealKey => "seal_key",
            Self::Length => "length",
            Self::Size => "size",
            Self::Checksum => "checksum",
            Self::Key => "key",
            Self::Seal => "seal",
            Self::Inflate => "inflate",
            Self::Aside => "aside",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
