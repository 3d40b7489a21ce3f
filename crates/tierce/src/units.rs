//! Values with units as the environment and files spell them: spans, sizes, percentages, flags.
//!
//! Every parser takes text and returns the typed value or the rule that the text breaks; the
//! caller adds the key, the value and where it came from. A number without a unit is refused
//! wherever a unit is needed: `ttl = 10` has been read as seconds, minutes and milliseconds.
//! Every writer makes text that its parser reads back to the same value.

use std::time::Duration;

/// Units of spans, longest first, in milliseconds.
const SPAN_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of sizes as they are written, largest first. `MB` is 1,048,576 bytes, as the source's
/// `max_memory_mb` counts: a cache bound that is 5 % smaller than meant surprises nobody less
/// than two readings of one letter. The first name of each size is the one that is written.
const SIZE_UNITS: [(&str, u64); 13] = [
    ("TiB", 1 << 40),
    ("TB", 1 << 40),
    ("T", 1 << 40),
    ("GiB", 1 << 30),
    ("GB", 1 << 30),
    ("G", 1 << 30),
    ("MiB", 1 << 20),
    ("MB", 1 << 20),
    ("M", 1 << 20),
    ("KiB", 1 << 10),
    ("KB", 1 << 10),
    ("K", 1 << 10),
    ("B", 1),
];

/// What a span must look like.
pub(crate) const SPAN_RULE: &str =
    "must be a whole number and a unit: ms, s, m, h or d, such as 90s or 10m";
/// What a size must look like.
pub(crate) const SIZE_RULE: &str = "must be a whole number and a unit: B, KB, MB, GB or TB, such as 10MB (1 MB = 1 MiB = 1048576 B)";
/// What a flag must look like.
pub(crate) const FLAG_RULE: &str = "must be true or false (or 1, 0, yes, no)";
/// What a percentage must look like.
pub(crate) const PERCENT_RULE: &str = "must be a percentage from 0% to 100%, such as 70% or 0.5%";

/// Reads a span: `10ms`, `90s`, `10m`, `1h`, `2d`. One number, one unit, lower case.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_span(text: &str) -> Result<Duration, &'static str> {
    let (number, unit) = split(text).ok_or(SPAN_RULE)?;
    let (_, millis) = SPAN_UNITS.iter().find(|(name, _)| *name == unit).ok_or(SPAN_RULE)?;
    number.checked_mul(*millis).map(Duration::from_millis).ok_or("is too long to be counted")
}

/// Reads a size in bytes: `512B`, `10MB`, `64MiB`, `1GB`. Any case; `KB`, `MB`, `GB`, `TB` are
/// powers of 1024, the same as `KiB`, `MiB`, `GiB`, `TiB`.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_size(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = split(text).ok_or(SIZE_RULE)?;
    let (_, bytes) =
        SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(SIZE_RULE)?;
    number.checked_mul(*bytes).ok_or("is too large to be counted")
}

/// Reads a flag: `true`, `false`, `1`, `0`, `yes`, `no`, in any case.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_flag(text: &str) -> Result<bool, &'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(FLAG_RULE),
    }
}

/// Reads a percentage as a fraction: `70%` is 0.7. The sign is needed.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_percent(text: &str) -> Result<f64, &'static str> {
    let number = text.trim().strip_suffix('%').ok_or(PERCENT_RULE)?.trim_end();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(PERCENT_RULE);
    }
    let percent: f64 = number.parse().map_err(|_| PERCENT_RULE)?;
    if percent <= 100.0 { Ok(percent / 100.0) } else { Err(PERCENT_RULE) }
}

/// Reads a whole number in decimal digits.
pub(crate) fn parse_count(text: &str) -> Option<u64> {
    let text = text.trim();
    // `u64::from_str` also takes a plus sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Writes a span in the largest unit that divides it; parts of a millisecond are rounded up.
pub fn write_span(span: Duration) -> String {
    let millis = u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let unit = SPAN_UNITS.iter().find(|(_, size)| millis >= *size && millis.is_multiple_of(*size));
    match unit {
        Some((name, size)) => format!("{}{name}", millis / size),
        None => "0ms".to_owned(),
    }
}

/// Writes a size in the largest unit that divides it.
pub fn write_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    match unit {
        Some((name, size)) => format!("{}{name}", bytes / size),
        None => "0B".to_owned(),
    }
}

/// Splits `10 MB` into 10 and `MB`; `None` without digits, without a unit, or when the number
/// itself does not fit.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    (!unit.is_empty()).then_some(())?;
    Some((parse_count(number)?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, millis) in [
            ("10ms", 10),
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            (" 5 s ", 5000),
            ("0s", 0),
            ("007s", 7000),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in [
            "",
            " ",
            "10",
            "0",
            "s",
            "ms",
            "10 ",
            "10  s",
            "10S",
            "10M",
            "1.5h",
            "-1s",
            "+1s",
            "1h30m",
            "10sec",
            "10mb",
            "ten s",
            "1_000s",
            "99999999999999999999s",
            "0x1s",
            "１０s",
        ] {
            assert_eq!(parse_span(wrong), Err(SPAN_RULE), "{wrong}");
        }
        assert!(parse_span("18446744073709551615d").is_err());
    }

    #[test]
    fn sizes_are_a_number_and_a_unit_and_a_megabyte_is_a_mebibyte() {
        for (text, bytes) in [
            ("512B", 512),
            ("0B", 0),
            ("10MB", 10 << 20),
            ("64MiB", 64 << 20),
            ("1GB", 1 << 30),
            ("1gib", 1 << 30),
            ("3 KB", 3 << 10),
            ("2k", 2 << 10),
            ("1TB", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_size("1MB"), Ok(1_048_576));
        for wrong in ["", "10", "MB", "1.5GB", "-1MB", "10MB/hour", "10Mb s", "10 bytes", "1PB"] {
            assert_eq!(parse_size(wrong), Err(SIZE_RULE), "{wrong}");
        }
        assert!(parse_size("99999999TB").is_err());
    }

    #[test]
    fn flags_are_six_words() {
        for text in ["true", "TRUE", "1", "yes", " Yes "] {
            assert_eq!(parse_flag(text), Ok(true), "{text}");
        }
        for text in ["false", "0", "no", "No"] {
            assert_eq!(parse_flag(text), Ok(false), "{text}");
        }
        for wrong in ["", "on", "off", "2", "y", "truee", "enabled"] {
            assert_eq!(parse_flag(wrong), Err(FLAG_RULE), "{wrong}");
        }
    }

    #[test]
    fn percentages_need_their_sign() {
        for (text, share) in [("70%", 0.7), ("0%", 0.0), ("100%", 1.0), ("0.5 %", 0.005)] {
            let parsed = parse_percent(text).unwrap();
            assert!((parsed - share).abs() < 1e-12, "{text}");
        }
        for wrong in ["", "%", "70", "0.7", "101%", "-1%", "1e1%", "nan%", "inf%", "1.2.3%"] {
            assert_eq!(parse_percent(wrong), Err(PERCENT_RULE), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let seed = 7;
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..2000 {
            let number = random.u64(..) >> random.u32(14..64);
            let size = number << random.u32(0..14);
            assert_eq!(parse_size(&write_size(size)), Ok(size), "seed {seed} round {round}");
            let span = Duration::from_millis(number);
            assert_eq!(parse_span(&write_span(span)), Ok(span), "seed {seed} round {round}");
        }
        assert_eq!(write_span(Duration::from_secs(600)), "10m");
        assert_eq!(write_span(Duration::from_millis(1500)), "1500ms");
        assert_eq!(write_size(64 << 20), "64MiB");
        assert_eq!((write_size(0), write_span(Duration::ZERO)), ("0B".into(), "0ms".into()));
    }
}
