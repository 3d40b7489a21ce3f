//! Names inside the crate point one way; see ARCHITECTURE.md. This reads every `crate::ROOM` of
//! the sources, so that a name that points upward fails here and not in a review.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Rooms by layer, lowest first. A room may name its own layer and those before it.
const LAYERS: [&[&str]; 11] = [
    &[
        "error",
        "clock",
        "diagnosis",
        "event",
        "key",
        "group_word",
        "shared_stamp",
        "tag_cells",
        "hidden_tags",
        "tiering",
        "split",
        "sync",
        "prefetch",
        "pages",
        "random",
        "units",
        "simulated",
    ],
    &["policy"],
    &["memory", "store"],
    &["codec", "metrics"],
    &["tier"],
    &["invalidation"],
    &["load", "resilience"],
    &["cache"],
    &["keyspace", "sim"],
    &["guard"],
    &["config"],
];

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The rooms named after `crate::` in a line of code, `crate::{a, b::c}` included. The names that
/// the root re-exports (`crate::Error`) begin with a capital and belong to no room.
fn named(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            rooms.push(word(rest));
            continue;
        };
        let (mut depth, mut expect_name) = (0, true);
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => expect_name = true,
                letter if expect_name && !letter.is_whitespace() => {
                    rooms.push(word(&group[at..]));
                    expect_name = false;
                }
                _ => {}
            }
        }
    }
    rooms.retain(|room| room.starts_with(char::is_lowercase));
    rooms
}

fn word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// Lines that are no code: comments and documentation.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn names_point_downward_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap();
        let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = first.trim_end_matches(".rs");
        // The root names every room, by definition; tests may use what they test with.
        if room == "lib" || path.to_str().unwrap().contains("tests") {
            continue;
        }
        let mine = layer(room).unwrap_or_else(|| panic!("{room} has no layer: add it above"));
        for other in named(&code(&fs::read_to_string(&file).unwrap())) {
            match layer(&other) {
                Some(theirs) if theirs <= mine => {}
                Some(_) => wrong.push(format!("{}: names {other}, which is above", path.display())),
                None => wrong.push(format!("{}: names unknown {other}", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_names_sees_what_it_should() {
    let text =
        "use crate::{error::Result, store::{a, b}, Cache,\n clock};\nlet x = crate::tier::X;";
    assert_eq!(named(text), ["error", "store", "clock", "tier"]);
    assert_eq!(named(&code("// use crate::guard;\nuse crate::memory;")), ["memory"]);
}
