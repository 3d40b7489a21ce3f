//! `include/tierce.h` is what this crate says: generated here and compared.
//!
//! `TIERCE_BLESS=1 cargo test -p tierce-capi --test header` writes it anew.

use std::{fs, path::Path};

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

/// The files with exported items, in the order of the header.
const FILES: [&str; 22] = [
    "version.rs",
    "status.rs",
    "failure.rs",
    "open.rs",
    "view.rs",
    "read.rs",
    "options.rs",
    "change.rs",
    "tags.rs",
    "prefixes.rs",
    "update.rs",
    "sink.rs",
    "load.rs",
    "user.rs",
    "loading.rs",
    "event.rs",
    "report.rs",
    "watch.rs",
    "watching.rs",
    "rollout.rs",
    "actions.rs",
    "operate.rs",
];

fn opening() -> String {
    include_str!("../src/header_opening.h").replace("@VERSION@", env!("CARGO_PKG_VERSION"))
}

/// The macros that name the version: nowhere typed by hand but in Cargo.toml.
fn version_macros() -> String {
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    let minor = env!("CARGO_PKG_VERSION_MINOR");
    let patch = env!("CARGO_PKG_VERSION_PATCH");
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "
/** The version that this header was made for, as tierce_version() tells it. */
#define TIERCE_VERSION \"{version}\"
#define TIERCE_VERSION_MAJOR {major}
#define TIERCE_VERSION_MINOR {minor}
#define TIERCE_VERSION_PATCH {patch}

/** What tierce_abi_version() of a library that fits this header returns: the number in its soname. */
#define TIERCE_ABI_VERSION {major}
"
    )
}

fn generate() -> String {
    let config = Config {
        language: Language::C,
        header: Some(opening()),
        include_guard: Some("TIERCE_H".to_owned()),
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        no_includes: true,
        after_includes: Some(version_macros()),
        cpp_compat: true,
        usize_is_size_t: true,
        style: Style::Type,
        documentation: true,
        documentation_style: DocumentationStyle::Doxy,
        line_length: 100,
        tab_width: 4,
        ..Config::default()
    };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut builder = Builder::new().with_config(config);
    for file in FILES {
        builder = builder.with_src(sources.join(file));
    }
    let mut header = Vec::new();
    builder.generate().expect("cbindgen understands the crate").write(&mut header);
    let header = String::from_utf8(header).expect("the sources are UTF-8");
    header.lines().map(|line| parenthesize(line) + "\n").collect()
}

/// `#define X -1` becomes `#define X (-1)`: a macro must hold together in any expression.
fn parenthesize(line: &str) -> String {
    match line.rsplit_once(' ') {
        Some((define, value)) if define.starts_with("#define ") && value.starts_with('-') => {
            format!("{define} ({value})")
        }
        _ => line.trim_end().to_owned(),
    }
}

#[test]
fn the_committed_header_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include/tierce.h");
    let fresh = generate();
    if std::env::var_os("TIERCE_BLESS").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if let Some((number, (fresh, committed))) =
        (1..).zip(fresh.lines().zip(committed.lines())).find(|(_, (left, right))| left != right)
    {
        panic!(
            "include/tierce.h:{number} is\n  {committed}\nand should be\n  {fresh}\n(make header)"
        );
    }
    assert_eq!(fresh.len(), committed.len(), "include/tierce.h has another end (make header)");
}

#[test]
fn the_header_names_the_version_of_the_library() {
    let header = generate();
    let abi = tierce_c::tierce_abi_version();
    assert!(header.contains(&format!("#define TIERCE_ABI_VERSION {abi}\n")));
    // SAFETY: static text that ends with a NUL.
    #[allow(unsafe_code)]
    let version = unsafe { std::ffi::CStr::from_ptr(tierce_c::tierce_version()) };
    let version = version.to_str().unwrap();
    assert!(header.contains(&format!("#define TIERCE_VERSION \"{version}\"\n")));
}

#[test]
fn every_exported_function_is_documented_and_in_the_header() {
    let header = generate();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut count = 0;
    for entry in fs::read_dir(sources).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let parts: Vec<_> = text.split("#[unsafe(no_mangle)]").collect();
        for (before, item) in parts.iter().zip(&parts[1..]) {
            let name = item.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            let is_doc = |line: &&str| line.starts_with("///");
            let docs: Vec<_> = before.lines().rev().take_while(is_doc).collect();
            let docs = docs.join("\n");
            for word in ["Threads: ", "\\since 0."] {
                assert!(docs.contains(word), "{name} has no {word:?}");
            }
            assert!(header.contains(&format!("{name}(")), "{name} is not in the header");
            count += 1;
        }
    }
    assert!(count > 20, "{count} functions were found");
}
