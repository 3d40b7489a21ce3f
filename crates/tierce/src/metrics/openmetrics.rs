//! The same text as OpenMetrics 1.0, which Prometheus asks for by its Accept.
//!
//! What differs: a counter is introduced without the ending of its samples, limits of histograms are
//! written as floats, and the text has an end, so that one that was cut is seen.

use std::fmt::Write as _;

/// Text in the format of Prometheus, such as [`to_prometheus`](crate::to_prometheus) writes, as
/// OpenMetrics.
///
/// ```
/// let stats = tierce::Stats::default();
/// let text = tierce::to_openmetrics(&stats.to_prometheus("users"));
/// assert!(text.contains("# TYPE tierce_requests counter\n") && text.ends_with("# EOF\n"));
/// ```
pub fn to_openmetrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut help = None;
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
        } else if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.rsplit_once(' ').unwrap_or((head, "unknown"));
            let family = if kind == "counter" { name.strip_suffix("_total") } else { None };
            let family = family.unwrap_or(name);
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# TYPE {family} {kind}");
            if let Some((_, said)) = help.take().and_then(|line| line[7..].split_once(' ')) {
                let _ = writeln!(out, "# HELP {family} {said}");
            }
        } else if let Some((begin, rest)) = line.split_once(",le=\"")
            && let Some((limit, end)) = rest.split_once('"')
            && limit.bytes().all(|byte| byte.is_ascii_digit())
        {
            let _ = writeln!(out, "{begin},le=\"{limit}.0\"{end}");
        } else {
            let _ = writeln!(out, "{line}");
        }
    }
    out.push_str("# EOF\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_limits_and_the_end_are_written_as_the_newer_format_wants_them() {
        let text = "# HELP a_total Things, a_total.\n# TYPE a_total counter\na_total{x=\"1\"} 5\n\
                    # HELP b Size.\n# TYPE b gauge\nb 2\n\
                    # HELP c Time.\n# TYPE c histogram\nc_bucket{x=\"y\",le=\"0.5\"} 1\n\
                    c_bucket{x=\"y\",le=\"10\"} 1\nc_bucket{x=\"y\",le=\"+Inf\"} 1\n";
        let newer = "# TYPE a counter\n# HELP a Things, a_total.\na_total{x=\"1\"} 5\n\
                     # TYPE b gauge\n# HELP b Size.\nb 2\n\
                     # TYPE c histogram\n# HELP c Time.\nc_bucket{x=\"y\",le=\"0.5\"} 1\n\
                     c_bucket{x=\"y\",le=\"10.0\"} 1\nc_bucket{x=\"y\",le=\"+Inf\"} 1\n# EOF\n";
        assert_eq!(to_openmetrics(text), newer);
    }
}
