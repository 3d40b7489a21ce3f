//! Runs the real binary, without the environment of whoever runs the tests.
#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod server;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A command `tierce` with these arguments and no environment at all.
pub(crate) fn tierce<Argument: AsRef<std::ffi::OsStr>>(
    arguments: impl IntoIterator<Item = Argument>,
) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tierce"));
    command.env_clear().args(arguments);
    command
}

/// Runs the command and returns its exit code, stdout and stderr.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = status.code().unwrap_or_else(|| panic!("{status}"));
    (code, text(stdout), text(stderr))
}

/// Runs the command, which must succeed, and returns stdout.
pub(crate) fn succeed(command: &mut Command) -> String {
    let (code, out, err) = run(command);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

/// Runs the command, which must fail with this exit code, and returns stderr.
pub(crate) fn fail(command: &mut Command, wanted: i32) -> String {
    let (code, out, err) = run(command);
    assert_eq!(code, wanted, "{out}{err}");
    assert!(!err.contains("panicked"), "{err}");
    err
}

/// Asserts that the text holds every part.
pub(crate) fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// The path of a small trace of the repository.
pub(crate) fn trace(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/traces").join(format!("{name}.trc.zst"))
}

/// The content of a trace without sizes: the keys, decoded here by the shortest code there is.
pub(crate) fn keys(name: &str) -> Vec<u64> {
    let file = std::fs::File::open(trace(name)).unwrap();
    let mut content = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(file).unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content[..8], *b"TRC1\0\0\0\0");
    content[16..].chunks(8).map(|key| u64::from_le_bytes(key.try_into().unwrap())).collect()
}

/// The file of a trace with these keys, not compressed.
pub(crate) fn raw_trace(keys: &[u64]) -> Vec<u8> {
    let count = (keys.len() as u64).to_le_bytes();
    let keys = keys.iter().flat_map(|key| key.to_le_bytes());
    b"TRC1\0\0\0\0".iter().copied().chain(count).chain(keys).collect()
}
