//! The README tells of each feature of the crate, and of no other.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path};

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The features of the manifest, each with what it turns on.
fn features(manifest: &str) -> BTreeMap<&str, &str> {
    let section = manifest.split("\n[features]\n").nth(1).unwrap();
    let lines = section.split("\n[").next().unwrap().lines();
    lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = ")).collect()
}

#[test]
fn the_table_of_features_is_that_of_the_manifest() {
    let (manifest, readme) = (read("Cargo.toml"), read("../../README.md"));
    let mut features = features(&manifest);
    let default = features.remove("default").unwrap();
    let rows = readme.split("\n| feature |").nth(1).expect("the table of features").lines().skip(2);
    let rows: Vec<Vec<&str>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut named: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    named.sort_unstable();
    assert_eq!(named, features.keys().copied().collect::<Vec<_>>());
    for row in rows {
        let name = row[0].trim_matches('`');
        let is_default = default.contains(&format!("\"{name}\""));
        assert_eq!(row[3], if is_default { "yes" } else { "no" }, "{name}");
        // What a feature turns on besides its crates is told, but for those of `full`.
        for other in features.keys().filter(|_| name != "full") {
            let turns_on = features[name].contains(&format!("\"{other}\""));
            assert_eq!(row[2].contains(&format!("`{other}`")), turns_on, "{name}: {other}");
        }
    }
}
