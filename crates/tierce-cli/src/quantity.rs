//! Bytes, spans and shares as people read them: three digits or so and a unit.

use std::time::Duration;

/// Bytes in the largest unit that leaves a whole digit: `512 B`, `1.5 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut rest = number as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if rest < 1024.0 {
            break;
        }
        rest /= 1024.0;
        unit = larger;
    }
    let decimals = usize::from(rest < 100.0 && rest.fract() >= 0.05);
    format!("{rest:.decimals$} {unit}")
}

/// A span in its largest unit: `40 s`, `3 h`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A part of a whole in per cent; `-` of nothing.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".into() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

/// A number of events each second: `0`, `7.5`, `1234`.
pub(crate) fn rate(number: f64) -> String {
    let decimals = usize::from(number > 0.0 && number < 100.0);
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_keep_their_leading_digits() {
        let sizes = [0, 1023, 1024, 1536, 1 << 20, 100 << 20, 3 << 40, u64::MAX];
        let texts = ["0 B", "1023 B", "1 KiB", "1.5 KiB", "1 MiB", "100 MiB", "3 TiB", "16384 PiB"];
        assert_eq!(sizes.map(bytes), texts);
        let spans = [0, 999, 1_000, 119_999, 120_000, 7_200_000, 200_000_000];
        let texts = ["0 ms", "999 ms", "1 s", "119 s", "2 min", "2 h", "2 d"];
        assert_eq!(spans.map(|millis| span(Duration::from_millis(millis))), texts);
        assert_eq!(
            [(1, 3), (0, 5), (0, 0)].map(|(part, of)| share(part, of)),
            ["33.3 %", "0.0 %", "-"]
        );
        assert_eq!([0.0, 7.54, 1234.5].map(rate), ["0", "7.5", "1234"]);
    }
}
