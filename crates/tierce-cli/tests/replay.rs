//! `tierce replay`: its figures against an independent count, its files, and bad traces.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{collections::HashSet, fs, num::NonZeroUsize, path::Path};

mod support;
use serde_json::Value;
use support::{fail, holds, keys, raw_trace, succeed, tierce, trace};

/// Hits of exact LRU with `entries` entries, counted by the crate `lru`.
fn lru_hits(keys: &[u64], entries: usize) -> u64 {
    let mut cache = lru::LruCache::new(NonZeroUsize::new(entries).unwrap());
    let mut hits = 0;
    for key in keys {
        if cache.get(key).is_some() {
            hits += 1;
        } else {
            cache.put(*key, ());
        }
    }
    hits
}

/// Replays with these arguments and exact LRU, whose hits can be counted otherwise, and returns
/// the JSON and the text.
fn replay(trace: &Path, arguments: &[&str]) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figures.json");
    let mut command = tierce(["replay"]);
    command.arg(trace).args(arguments).arg("--json").arg(&path);
    command.args(["--memory-policy", "lru"]);
    let text = succeed(&mut command);
    (serde_json::from_slice(&fs::read(&path).unwrap()).unwrap(), text)
}

/// The figures of one row of `answers`.
fn answers<'a>(figures: &'a Value, by: &str) -> Option<&'a Value> {
    figures["answers"].as_array().unwrap().iter().find(|answer| answer["by"] == by)
}

/// The sum of one column of `slices`.
fn column(figures: &Value, number: usize) -> u64 {
    let rows = figures["slices"]["rows"].as_array().unwrap();
    rows.iter().map(|row| row[number].as_u64().unwrap()).sum()
}

#[test]
fn hits_of_l1_are_those_of_exact_lru() {
    for (name, entries) in [
        ("lirs-cpp", 20),
        ("lirs-cpp", 200),
        ("lirs-ps", 500),
        ("lirs-multi1", 700),
        ("lirs-multi3", 1000),
        ("lirs-sprite", 1000),
        ("cache2k-web07", 900),
    ] {
        let keys = keys(name);
        let wanted = lru_hits(&keys, entries);
        let memory = entries.to_string();
        let (figures, text) =
            replay(&trace(name), &["--memory-entries", &memory, "--value-bytes", "24"]);
        let case = format!("{name} with {entries}: {text}");
        assert!(wanted > 0 && wanted < keys.len() as u64, "{case}: decides nothing");
        assert_eq!(figures["requests"], keys.len() as u64, "{case}");
        assert_eq!(figures["hits"], wanted, "{case}");
        assert_eq!(figures["origin_calls"], keys.len() as u64 - wanted, "{case}");
        assert_eq!(figures["wrong_values"], 0, "{case}");
        let memory = answers(&figures, "L1-Memory").unwrap();
        assert_eq!(memory["requests"], wanted, "{case}");
        assert_eq!(memory["bytes"], wanted * 24, "{case}");
        assert_eq!(
            (column(&figures, 0), column(&figures, 4)),
            (wanted, keys.len() as u64 - wanted)
        );
    }
}

#[test]
fn a_loop_larger_than_the_cache_has_no_hits() {
    let (figures, _) = replay(
        &trace("lirs-loop"),
        &["--memory-entries", "1000", "--limit", "5000", "--value-bytes", "16"],
    );
    assert_eq!((figures["hits"].as_u64(), figures["requests"].as_u64()), (Some(0), Some(5000)));
}

#[test]
fn the_default_policy_keeps_most_of_a_loop_larger_than_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figures.json");
    let mut command = tierce(["replay"]);
    command.arg(trace("lirs-loop")).args(["--memory-entries", "1000", "--limit", "5000"]);
    succeed(command.arg("--json").arg(&path));
    let figures: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    // The loop has 1,011 keys, so its first turn is all misses.
    let hits = figures["hits"].as_u64().unwrap();
    assert!((3_000..5_000 - 1_011).contains(&hits), "{hits}");
}

#[test]
fn the_table_tells_the_same_as_the_json() {
    let (figures, text) =
        replay(&trace("lirs-ps"), &["--memory-entries", "500", "--value-bytes", "1KB"]);
    let hits = figures["hits"].as_u64().unwrap();
    let requests = figures["requests"].as_u64().unwrap();
    let row = text.lines().find(|line| line.starts_with("L1-Memory")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        cells[1..5],
        [
            &hits.to_string(),
            &format!("{:.2}", 100.0 * hits as f64 / requests as f64),
            "%",
            &(hits * 1024).to_string()
        ]
    );
    holds(
        &text,
        &[
            "lirs-ps.trc.zst: tiering L1, memory.max_entries 500",
            "wrong values  0",
            "errors        0",
        ],
    );
    holds(&text, &[&format!("origin calls  {}", requests - hits)]);
    let memory = answers(&figures, "L1-Memory").unwrap();
    let quantiles = ["p50_ns", "p95_ns", "p99_ns"].map(|name| memory[name].as_u64().unwrap());
    assert!(quantiles[0] > 0 && quantiles.is_sorted(), "{quantiles:?}");
}

#[test]
fn a_byte_bound_holds_fewer_than_all() {
    let keys = keys("lirs-cpp");
    let unique = keys.iter().collect::<HashSet<_>>().len() as u64;
    let all = keys.len() as u64 - unique;
    let hits = |bytes| {
        let (figures, _) =
            replay(&trace("lirs-cpp"), &["--memory-bytes", bytes, "--value-bytes", "1000"]);
        figures["hits"].as_u64().unwrap()
    };
    assert_eq!(hits("64MiB"), all);
    assert!(hits("256KiB") < all);
}

#[test]
fn entries_expire_after_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.trc");
    // One key, asked for until well after its time.
    fs::write(&path, raw_trace(&vec![7; 400_000])).unwrap();
    let (figures, _) = replay(&path, &["--ttl", "20ms", "--value-bytes", "16"]);
    let seconds = figures["elapsed_seconds"].as_f64().unwrap();
    let loads = figures["origin_calls"].as_f64().unwrap();
    assert!(seconds < 0.06 || loads > 1.0, "{loads} loads in {seconds} s");
    // The clock of L1 stands for up to 4 ms (10 on some kernels): a little slack.
    assert!(loads <= 2.0 + seconds / 0.010, "{loads} loads in {seconds} s");
    let (figures, _) = replay(&path, &["--limit", "1000", "--value-bytes", "16"]);
    assert_eq!(figures["origin_calls"], 1);
}

#[test]
fn many_workers_answer_every_request_once() {
    let (figures, _) = replay(
        &trace("lirs-multi3"),
        &["--workers", "4", "--memory-entries", "1000", "--value-bytes", "32"],
    );
    assert_eq!(
        (&figures["requests"], &figures["wrong_values"], &figures["errors"]),
        (&30241.into(), &0.into(), &0.into())
    );
    let answered: u64 = figures["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["requests"].as_u64().unwrap())
        .sum();
    assert_eq!(answered, 30241);
}

#[test]
fn traces_that_are_not_compressed_are_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.trc");
    fs::write(&path, raw_trace(&[1, 2, 1, 3, 1])).unwrap();
    let (figures, _) = replay(&path, &["--memory-entries", "2"]);
    assert_eq!((figures["hits"].as_u64(), figures["requests"].as_u64()), (Some(2), Some(5)));
    assert_eq!(answers(&figures, "origin").unwrap()["bytes"], 3 * 256);
}

#[test]
fn bad_traces_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read(trace("lirs-cpp")).unwrap();
    let raw = raw_trace(&[1, 2, 3]);
    let mut flipped = good.clone();
    let at = flipped.len() - 2;
    flipped[at] ^= 0xff;
    let mut claims = raw.clone();
    claims[8..16].fill(0xff);
    let mut flags = raw.clone();
    flags[4] = 6;
    for (name, bytes, part) in [
        ("empty", &[][..], "is no trace"),
        ("text", b"hello, world", "is no trace"),
        ("magic", b"TRC2\0\0\0\0\0\0\0\0\0\0\0\0", "is no trace"),
        ("head", &raw[..12], "truncated: 12 bytes"),
        ("cut", &raw[..raw.len() - 1], "truncated: 2 whole requests of 3"),
        ("long", &[&raw[..], b"x"].concat(), "longer than its 3 requests"),
        ("claims", &claims, "truncated: 3 whole requests of 18446744073709551615"),
        ("flags", &flags, "flags 0x6"),
        ("zstd-cut", &good[..good.len() / 2], "truncated"),
        ("zstd-no-end", &good[..good.len() - 4], "truncated"),
        ("zstd-head", &good[..5], "zstd"),
        ("zstd-flipped", &flipped, "checksum"),
        ("zstd-more", &[&good[..], b"x"].concat(), "goes on"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let message = fail(tierce(["replay"]).arg(&path), 1);
        holds(&message, &["tierce: trace ", name, part]);
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    holds(&fail(&mut tierce(["replay", "/nonexistent.trc"]), 1), &["/nonexistent.trc"]);
    holds(&fail(tierce(["replay"]).arg(folder.path()), 1), &["cannot be read"]);
}

#[test]
fn options_that_would_have_no_effect_are_refused() {
    let path = trace("lirs-cpp");
    for (arguments, code, part) in [
        (&["--redis", "redis://localhost"][..], 1, "redis.url"),
        (&["--shared-entries", "5"], 1, "shared.max_entries"),
        (&["--tiering", "L2", "--memory-entries", "5"], 1, "memory.max_entries"),
        (&["--tiering", "L1L3"], 1, "--redis"),
        (&["--memory-entries", "5", "--memory-bytes", "1MB"], 2, "--memory-bytes"),
        (&["--memory-entries", "0"], 1, "from 1"),
        (&["--memory-bytes", "5"], 1, "unit"),
        (&["--ttl", "5"], 1, "unit"),
        (&["--value-bytes", "8"], 2, "from 16"),
        (&["--workers", "0"], 2, "--workers"),
        (&["--tiering", "L4"], 2, "L1L2L3"),
        (&["--plot", "a.gif"], 1, ".png or .svg"),
        (&["--plot", "/nonexistent/a.png"], 1, "/nonexistent/a.png"),
        (&["--json", "/nonexistent/a.json"], 1, "/nonexistent/a.json"),
    ] {
        let mut command = tierce(["replay"]);
        command.arg(&path).args(["--limit", "10"]).args(arguments);
        holds(&fail(&mut command, code), &[part]);
    }
}

#[test]
fn plots_are_pictures_with_text() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |name: &str| {
        let path = folder.path().join(name);
        let mut command = tierce(["replay"]);
        // No fonts to be found anywhere: the program brings its own.
        command.env("HOME", folder.path()).env("FONTCONFIG_FILE", "/nonexistent");
        command.arg(trace("lirs-multi1")).args(["--memory-entries", "500", "--value-bytes", "16"]);
        succeed(command.arg("--plot").arg(&path));
        fs::read(path).unwrap()
    };
    let svg = String::from_utf8(draw("a.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    holds(&svg, &["lirs-multi1.trc.zst", "share of requests (%)", "requests played (thousands)"]);
    holds(&svg, &["L1-Memory hits", "loaded from the origin", "width=\"1200\"", "height=\"600\""]);
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());

    let bytes = draw("a.PNG");
    let mut reader = png::Decoder::new(&bytes[..]).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height, info.color_type), (1200, 600, png::ColorType::Rgb));
    let count = |rows: std::ops::Range<usize>, wanted: &dyn Fn(&[u8]) -> bool| {
        pixels[rows.start * 3600..rows.end * 3600].chunks(3).filter(|pixel| wanted(pixel)).count()
    };
    let is_dark = |pixel: &[u8]| pixel.iter().all(|part| *part < 90);
    let has_text = |rows| count(rows, &is_dark) > 300;
    assert!(has_text(10..40), "no title");
    assert!(has_text(560..600), "no name of the axis");
    // The colours of L1 and of the origin cover the areas.
    assert!(count(76..600, &|pixel| pixel == [0, 114, 178]) > 20_000);
    assert!(count(76..600, &|pixel| pixel == [205, 205, 205]) > 20_000);
}
