//! One typed value of the configuration, and the kinds of value with their rules.
//!
//! A [`Kind`] turns text into a [`Value`] and tells whether a value is in range; the same check
//! holds for text from a file and for what code wrote into a public field.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    codec::Compression,
    config::{
        Environment,
        secret::{self, Secret, UrlParts},
        units,
    },
    guard::{Objectives, are_pairs},
    policy::PolicyKind,
    split::Share,
    tier::{Invalidation, OnLoss, WritePolicy},
    tiering::Tiering,
};

/// A value of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Count(u64),
    Size(u64),
    Span(Duration),
    Flag(bool),
    Text(String),
    Path(PathBuf),
    Secret(Secret),
    Url(Secret),
    Tiering(Tiering),
    Environment(Environment),
    Policy(PolicyKind),
    OnLoss(OnLoss),
    Invalidation(Invalidation),
    Write(WritePolicy),
    Compression(Compression),
    Share(Share),
}

impl fmt::Display for Value {
    /// Writes the value as `config show` does: readable back, secrets blanked.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(out, "{count}"),
            Self::Size(bytes) => out.write_str(&units::write_size(*bytes)),
            Self::Span(span) => out.write_str(&units::write_span(*span)),
            Self::Flag(flag) => write!(out, "{flag}"),
            Self::Text(text) => out.write_str(text),
            Self::Path(path) => write!(out, "{}", path.display()),
            Self::Secret(_) => out.write_str(secret::BLANKED),
            Self::Url(url) => out.write_str(&secret::blank_url(url)),
            Self::Tiering(tiering) => write!(out, "{tiering}"),
            Self::Environment(environment) => write!(out, "{environment}"),
            Self::Policy(policy) => write!(out, "{policy}"),
            Self::OnLoss(what) => out.write_str(what.as_str()),
            Self::Invalidation(way) => out.write_str(way.as_str()),
            Self::Write(policy) => out.write_str(policy.as_str()),
            Self::Share(share) => write!(out, "{share}"),
            Self::Compression(kind) => out.write_str(kind.as_str()),
        }
    }
}

/// What values a key takes; both ends of a range belong to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Count {
        least: u64,
        most: u64,
    },
    PowerOfTwo {
        most: u64,
    },
    Size {
        least: u64,
        most: u64,
    },
    Span {
        least: Duration,
        most: Duration,
    },
    Flag,
    Text {
        most_bytes: usize,
    },
    /// A name that becomes part of a file name.
    Name {
        most_bytes: usize,
    },
    /// What names of keys in a server begin with.
    Prefix {
        most_bytes: usize,
    },
    /// An absolute path.
    Path,
    Secret,
    Url,
    Tiering,
    Environment,
    Policy,
    OnLoss,
    Invalidation,
    Write,
    Compression,
    /// A share of all.
    Share,
    /// Host and port.
    Address,
    /// A place that is reached over HTTP.
    Endpoint,
    /// A list of names and values, which may be secret.
    Pairs,
    /// The name of a table of objectives.
    Objectives,
    /// Keys of 64 hex digits, apart by commas or blanks, up to so many.
    Keys {
        most: usize,
    },
}

impl Kind {
    /// True where output must not show the text.
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Url | Self::Keys { .. } | Self::Pairs)
    }

    /// True where a file must write the value as text: a bare 007 would lose its zeros.
    pub(super) fn is_text(self) -> bool {
        matches!(
            self,
            Self::Text { .. }
                | Self::Name { .. }
                | Self::Prefix { .. }
                | Self::Path
                | Self::Address
                | Self::Endpoint
                | Self::Pairs
                | Self::Objectives
                | Self::Secret
                | Self::Url
                | Self::Keys { .. }
        )
    }

    /// The rule, as it stands in messages and in the reference table.
    pub(super) fn rule(self) -> String {
        match self {
            Self::Count { least, most } if least == 0 && most == u64::MAX => {
                format!("must be a whole number up to {most}")
            }
            Self::Count { least, most } => {
                format!("must be a whole number from {least} to {most}")
            }
            Self::PowerOfTwo { most } => format!("must be a power of two from 1 to {most}"),
            Self::Size { least, most } => format!(
                "{}, from {} to {}",
                units::SIZE_RULE,
                units::write_size(least),
                units::write_size(most)
            ),
            Self::Span { least, most } => format!(
                "{}, from {} to {}",
                units::SPAN_RULE,
                units::write_span(least),
                units::write_span(most)
            ),
            Self::Flag => units::FLAG_RULE.to_owned(),
            Self::Text { most_bytes: 1 } => {
                "must be one character of ASCII, and no control character".to_owned()
            }
            Self::Text { most_bytes } => {
                format!("must be 1 to {most_bytes} bytes of text without control characters")
            }
            Self::Name { most_bytes } => format!(
                "must be 1 to {most_bytes} letters, digits, hyphens, underscores or dots, \
                 and not begin with a dot"
            ),
            Self::Prefix { most_bytes } => format!(
                "must be 1 to {most_bytes} bytes of printable ASCII without blanks and braces"
            ),
            Self::Path => "must be an absolute path".to_owned(),
            Self::Secret => "must not be empty".to_owned(),
            Self::Url => "must be a URL such as redis://host:6379/0, rediss://host or \
                          unix:///run/redis.sock"
                .to_owned(),
            Self::Tiering => "must be one of L1, L2, L3, L1L2, L1L3, L2L3, L1L2L3".to_owned(),
            Self::Environment => "must be development, staging or production".to_owned(),
            Self::Policy => "must be adaptive or lru".to_owned(),
            Self::OnLoss => "must be miss or serve".to_owned(),
            Self::Invalidation => "must be auto, tracking or pubsub".to_owned(),
            Self::Write => "must be through, around or behind".to_owned(),
            Self::Compression => "must be none, lz4 or zstd".to_owned(),
            Self::Share => units::PERCENT_RULE.to_owned(),
            Self::Address => "must be host:port, such as 127.0.0.1:9464 or [::1]:9464".to_owned(),
            Self::Endpoint => {
                "must be such as http://host:4318 or https://host, without a user".to_owned()
            }
            Self::Pairs => {
                "must be pairs such as name=value, apart by commas, values as in URLs".to_owned()
            }
            Self::Objectives => {
                format!("must be one of {}", Objectives::names().collect::<Vec<_>>().join(", "))
            }
            Self::Keys { most: 1 } => "must be 64 hex digits".to_owned(),
            Self::Keys { most } => {
                format!("must be 1 to {most} keys of 64 hex digits, apart by commas or blanks")
            }
        }
    }

    /// Reads a value from text, and checks its range; `None` where it breaks the rule.
    pub(super) fn parse(self, text: &str) -> Option<Value> {
        let value = match self {
            Self::Count { .. } | Self::PowerOfTwo { .. } => Value::Count(units::parse_count(text)?),
            Self::Size { .. } => Value::Size(units::parse_size(text).ok()?),
            Self::Span { .. } => Value::Span(units::parse_span(text).ok()?),
            Self::Flag => Value::Flag(units::parse_flag(text).ok()?),
            Self::Text { .. } | Self::Name { .. } | Self::Prefix { .. } => {
                Value::Text(text.to_owned())
            }
            Self::Address | Self::Endpoint | Self::Objectives => {
                Value::Text(text.trim().to_owned())
            }
            Self::Share => Value::Share(Share::of(units::parse_percent(text).ok()?)?),
            Self::Path => Value::Path(PathBuf::from(text)),
            Self::Secret => Value::Secret(Secret::new(text)),
            Self::Keys { .. } | Self::Pairs => Value::Secret(Secret::new(text.trim())),
            Self::Url => Value::Url(Secret::new(text.trim())),
            Self::Tiering => Value::Tiering(text.parse().ok()?),
            Self::Environment => Value::Environment(Environment::parse(text)?),
            Self::Policy => Value::Policy(PolicyKind::parse(text)?),
            Self::OnLoss => Value::OnLoss(OnLoss::parse(text)?),
            Self::Invalidation => Value::Invalidation(Invalidation::parse(text)?),
            Self::Write => Value::Write(WritePolicy::parse(text)?),
            Self::Compression => Value::Compression(Compression::parse(text)?),
        };
        self.allows(&value).then_some(value)
    }

    /// True if the value is of this kind and in its range.
    pub(super) fn allows(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Count { least, most }, Value::Count(count)) => (least..=most).contains(count),
            (Self::PowerOfTwo { most }, Value::Count(count)) => {
                count.is_power_of_two() && *count <= most
            }
            (Self::Size { least, most }, Value::Size(bytes)) => (least..=most).contains(bytes),
            (Self::Span { least, most }, Value::Span(span)) => (least..=most).contains(span),
            (Self::Text { most_bytes }, Value::Text(text)) => {
                (1..=most_bytes).contains(&text.len()) && !text.chars().any(char::is_control)
            }
            (Self::Name { most_bytes }, Value::Text(text)) => {
                let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                (1..=most_bytes).contains(&text.len())
                    && !text.starts_with('.')
                    && text.bytes().all(legal)
            }
            (Self::Prefix { most_bytes }, Value::Text(text)) => {
                let legal = |byte: u8| byte.is_ascii_graphic() && !b"{}".contains(&byte);
                (1..=most_bytes).contains(&text.len()) && text.bytes().all(legal)
            }
            (Self::Address, Value::Text(text)) => is_address(text),
            (Self::Endpoint, Value::Text(text)) => is_endpoint(text),
            (Self::Pairs, Value::Secret(pairs)) => are_pairs(pairs.expose()),
            (Self::Objectives, Value::Text(text)) => Objectives::named(text).is_some(),
            (Self::Path, Value::Path(path)) => is_absolute_path(path),
            (Self::Secret, Value::Secret(secret)) => !secret.expose().is_empty(),
            (Self::Keys { most }, Value::Secret(secret)) => {
                let apart = |letter: char| letter.is_whitespace() || letter == ',';
                let keys = secret.expose().split(apart).filter(|key| !key.is_empty());
                let is_key =
                    |key: &str| key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
                (1..=most).contains(&keys.clone().count()) && keys.clone().all(is_key)
            }
            (Self::Url, Value::Url(url)) => UrlParts::of(url.expose()).is_some(),
            (Self::Flag, Value::Flag(_))
            | (Self::Tiering, Value::Tiering(_))
            | (Self::Environment, Value::Environment(_))
            | (Self::Policy, Value::Policy(_))
            | (Self::OnLoss, Value::OnLoss(_))
            | (Self::Invalidation, Value::Invalidation(_))
            | (Self::Write, Value::Write(_))
            | (Self::Compression, Value::Compression(_))
            | (Self::Share, Value::Share(_)) => true,
            _ => false,
        }
    }
}

/// True for a host and a port; whether there is such a host is found by who listens.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let legal = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(legal),
    };
    is_host && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// True for a scheme of HTTP and a place, which no user may stand before: he may have a password.
fn is_endpoint(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let place = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains('@');
    is_plain && place.is_some_and(|place| !place.is_empty() && !place.starts_with(':'))
}

/// True for an absolute path that a system call can take and a line of output can show.
fn is_absolute_path(path: &Path) -> bool {
    path.is_absolute() && !path.to_string_lossy().chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_ranges_are_legal_and_what_lies_past_them_is_not() {
        let count = Kind::Count { least: 1, most: 10 };
        assert!(count.parse("1").is_some() && count.parse("10").is_some());
        for wrong in ["0", "11", "", "-1", "+1", "1.0", "1e1", "ten", "0x1", "18446744073709551616"]
        {
            assert!(count.parse(wrong).is_none(), "{wrong}");
        }
        let power = Kind::PowerOfTwo { most: 8 };
        assert!(power.parse("1").is_some() && power.parse("8").is_some());
        assert!(["0", "3", "16"].iter().all(|wrong| power.parse(wrong).is_none()));
        let size = Kind::Size { least: 1024, most: 1 << 20 };
        assert!(size.parse("1KB").is_some() && size.parse("1MB").is_some());
        assert!(["1023B", "1048577B", "5000"].iter().all(|wrong| size.parse(wrong).is_none()));
        let span = Kind::Span { least: Duration::from_millis(1), most: Duration::from_secs(60) };
        assert!(span.parse("1ms").is_some() && span.parse("1m").is_some());
        assert!(["0ms", "61s", "5"].iter().all(|wrong| span.parse(wrong).is_none()));
    }

    #[test]
    fn names_stay_inside_their_folder_and_text_on_its_line() {
        let name = Kind::Name { most_bytes: 8 };
        assert!(name.parse("a-b_c.1").is_some());
        for wrong in ["", ".", "..", "../x", "a/b", "a b", "ninechars", "é"] {
            assert!(name.parse(wrong).is_none(), "{wrong}");
        }
        let prefix = Kind::Prefix { most_bytes: 8 };
        assert!(prefix.parse("shop:v1").is_some());
        assert!(["", "a b", "{a}", "é", "ninechars"].iter().all(|p| prefix.parse(p).is_none()));
        assert!(Kind::Text { most_bytes: 9 }.parse("two\nlines").is_none());
        assert!(Kind::Path.parse("/run/a").is_some());
        assert!(
            ["", "run/a", "~/a", "/a\nb"].iter().all(|wrong| Kind::Path.parse(wrong).is_none())
        );
    }

    #[test]
    fn endpoints_have_a_scheme_of_http_and_no_user() {
        for text in ["http://localhost:4318", " https://[::1]:4318/otlp ", "http://a"] {
            assert!(Kind::Endpoint.parse(text).is_some(), "{text}");
        }
        for text in
            ["", "localhost:4318", "grpc://a", "http://", "http://:1", "http://u:p@a", "http://a b"]
        {
            assert!(Kind::Endpoint.parse(text).is_none(), "{text}");
        }
        assert!(Kind::Pairs.parse("a=1,b=two%20words").is_some() && Kind::Pairs.is_secret());
        assert!(["", ",", "a", "=1", "a=%"].iter().all(|text| Kind::Pairs.parse(text).is_none()));
    }

    #[test]
    fn keys_are_of_64_hex_digits_and_as_many_as_told() {
        let key = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
        let (one, two) = (Kind::Keys { most: 1 }, Kind::Keys { most: 2 });
        assert!(one.parse(&format!(" {key}\n")).is_some() && one.is_secret());
        assert!(two.parse(&format!("{key}, {key}\n")).is_some());
        for wrong in ["", ",", &key[1..], &format!("{key}0"), &key.replace('c', "g")] {
            assert!(one.parse(wrong).is_none() && two.parse(wrong).is_none(), "{wrong}");
        }
        assert!(one.parse(&format!("{key} {key}")).is_none());
        assert!(two.parse(&format!("{key} {key} {key}")).is_none());
    }

    #[test]
    fn a_value_of_another_kind_is_never_allowed() {
        assert!(!Kind::Flag.allows(&Value::Count(1)));
        assert!(!Kind::Size { least: 0, most: 9 }.allows(&Value::Count(1)));
    }
}
