//! Configuration files: YAML, TOML and JSON, all read into one flat list of entries.
//!
//! The three parsers feed the same visitor, so that nesting, repeated keys and numbers mean the
//! same in each. An entry keeps its dotted path, its text, and the line it stands on where the
//! parser tells (YAML and TOML; serde_json does not). Depth and aliases are bounded by the
//! parsers, the size by [`MOST_BYTES`].

use std::{fmt, marker::PhantomData, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use crate::error::{Error, ErrorKind, Result};

/// Larger files are no configuration; the parsers' memory is a multiple of it.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// The syntax of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Yaml,
    Toml,
    Json,
}

impl Syntax {
    /// By the ending of the name, or `None` for another ending.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// By the first line that is neither blank nor a comment: a brace opens JSON, a bracket or
    /// an equals sign before any colon is TOML, all else YAML.
    pub(super) fn of_text(text: &str) -> Self {
        let line = text
            .lines()
            .map(|line| line.trim_start_matches('\u{feff}').trim())
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .unwrap_or("");
        let (equals, colon) = (line.find('='), line.find(':'));
        match line.as_bytes().first() {
            Some(b'{') => Self::Json,
            Some(b'[') => Self::Toml,
            _ if equals.is_some_and(|at| colon.is_none_or(|colon| at < colon)) => Self::Toml,
            _ => Self::Yaml,
        }
    }
}

/// What stands at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A value; `is_text` is false for a bare number or boolean.
    Scalar { text: String, is_text: bool },
    /// A key without a value.
    Nothing,
    /// A list.
    List,
}

/// One entry of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Names from the top, joined by dots.
    pub(super) path: String,
    pub(super) content: Content,
    pub(super) line: Option<u64>,
}

/// Reads a document into its entries, in their order.
///
/// # Errors
/// [`ErrorKind::Config`]: the parser's message, which names line and column.
pub(super) fn parse(text: &str, syntax: Syntax) -> Result<Vec<Entry>> {
    let text = text.trim_start_matches('\u{feff}');
    if text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    match syntax {
        Syntax::Yaml => {
            let options = serde_saphyr::options! { with_snippet: false };
            let node: YamlNode = serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| refuse("YAML", &error))?;
            flatten(node, "", &mut entries, &|node: YamlNode| {
                let line = node.0.referenced.line();
                (node.0.value, (line > 0).then_some(line))
            })?;
        }
        Syntax::Toml => {
            let node: TomlNode = toml::from_str(text).map_err(|error| {
                let line = error.span().map(|span| line_at(text, span.start));
                let line = line.map_or_else(String::new, |line| format!("line {line}: "));
                refuse("TOML", &format_args!("{line}{}", error.message()))
            })?;
            flatten(node, "", &mut entries, &|node: TomlNode| {
                let line = line_at(text, node.0.span().start);
                (node.0.into_inner(), Some(line))
            })?;
        }
        Syntax::Json => {
            let node: JsonNode =
                serde_json::from_str(text).map_err(|error| refuse("JSON", &error))?;
            flatten(node, "", &mut entries, &|node: JsonNode| (node.0, None))?;
        }
    }
    Ok(entries)
}

/// Reads a document as it stands, for blocks that hold lists.
///
/// # Errors
/// As [`parse`].
pub(super) fn value(text: &str, syntax: Syntax) -> Result<serde_json::Value> {
    let text = text.trim_start_matches('\u{feff}');
    match syntax {
        Syntax::Yaml => {
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| refuse("YAML", &error))
        }
        Syntax::Toml => toml::from_str(text).map_err(|error| refuse("TOML", &error.message())),
        Syntax::Json => serde_json::from_str(text).map_err(|error| refuse("JSON", &error)),
    }
}

fn refuse(syntax: &str, error: &dyn fmt::Display) -> Error {
    // Parsers end some messages with a line break or put them on several lines.
    let message = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::new(ErrorKind::Config, format!("not legal {syntax}: {message}"))
}

/// The line, from 1, of the byte at `offset`.
fn line_at(text: &str, offset: usize) -> u64 {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Splits a node into its content and its line.
type Split<'a, Node> = &'a dyn Fn(Node) -> (Raw<Node>, Option<u64>);

fn flatten<Node>(
    node: Node,
    path: &str,
    entries: &mut Vec<Entry>,
    split: Split<'_, Node>,
) -> Result<()> {
    let (raw, line) = split(node);
    let content = match raw {
        Raw::Table(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                flatten(member, &path, entries, split)?;
            }
            return Ok(());
        }
        // A YAML document of nothing but its marker.
        Raw::Nothing if path.is_empty() => return Ok(()),
        _ if path.is_empty() => {
            return Err(Error::new(ErrorKind::Config, "the document must be a table of keys"));
        }
        Raw::Scalar { text, is_text } => Content::Scalar { text, is_text },
        Raw::Nothing => Content::Nothing,
        Raw::List => Content::List,
    };
    entries.push(Entry { path: path.to_owned(), content, line });
    Ok(())
}

/// What a parser hands over; `Node` is a `Raw` with whatever the parser knows of its place.
enum Raw<Node> {
    Nothing,
    Scalar { text: String, is_text: bool },
    List,
    Table(Vec<(String, Node)>),
}

struct YamlNode(serde_saphyr::Spanned<Raw<YamlNode>>);
struct TomlNode(toml::Spanned<Raw<TomlNode>>);
struct JsonNode(Raw<JsonNode>);

macro_rules! transparent {
    ($($node:ident),+) => {$(
        impl<'de> Deserialize<'de> for $node {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Deserialize::deserialize(deserializer).map(Self)
            }
        }
    )+};
}
transparent!(YamlNode, TomlNode, JsonNode);

impl<'de, Node: Deserialize<'de>> Deserialize<'de> for Raw<Node> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor(PhantomData))
    }
}

struct RawVisitor<Node>(PhantomData<Node>);

impl<Node> RawVisitor<Node> {
    fn bare(value: impl fmt::Display) -> Raw<Node> {
        Raw::Scalar { text: value.to_string(), is_text: false }
    }
}

impl<'de, Node: Deserialize<'de>> Visitor<'de> for RawVisitor<Node> {
    type Value = Raw<Node>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a table, a list or a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Raw::Nothing)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Raw::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        Deserialize::deserialize(value)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Self::bare(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Self::bare(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Self::bare(value))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Self::Value, E> {
        Ok(Self::bare(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Self::Value, E> {
        Ok(Self::bare(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        // `{:?}` keeps the point of 5.0, so that a fraction is never taken for a count.
        Ok(Self::bare(format_args!("{value:?}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Raw::Scalar { text: value.to_owned(), is_text: true })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Raw::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut table: Vec<(String, Node)> = Vec::new();
        while let Some((name, member)) = members.next_entry::<String, Node>()? {
            if table.iter().any(|(known, _)| *known == name) {
                return Err(de::Error::custom(format_args!("key {name:?} stands twice")));
            }
            table.push((name, member));
        }
        Ok(Raw::Table(table))
    }
}
