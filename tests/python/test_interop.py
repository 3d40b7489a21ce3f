"""One store, three languages: what one sets or deletes, the others read, each in its process.

The Rust program is `tests/src/bin/worker.rs`, the C program `tests/c/interop.c`, linked with the
library as `install.sh` installs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import pytest

import tierce

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

# The bounds that the Rust program opens its store with; who shares a store agrees on them.
MAX_BYTES = 32 << 20
MAX_ENTRIES = 20_000

Verb = Callable[..., "bytes | None"]


def run(*command: str | Path, **variables: str) -> bytes | None:
    """The output of a program, or None where it reports a miss."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        timeout=600,
        cwd=ROOT,
        env={**os.environ, **variables},
        check=False,
    )
    if done.returncode == 3:
        return None
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="session")
def worker() -> Path:
    run("cargo", "build", "--quiet", "-p", "tierce-tests", "--bin", "worker")
    return TARGET / "debug" / "worker"


@pytest.fixture(scope="session")
def interop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("c")
    run("crates/tierce-capi/install.sh", prefix, "dev")
    program = prefix / "interop"
    libraries = prefix / "lib"
    run(
        *("cc", "-std=c99", "-D_POSIX_C_SOURCE=200809L", "-I", prefix / "include"),
        *("tests/c/interop.c", "-o", program, "-L", libraries, "-ltierce"),
        f"-Wl,-rpath,{libraries}",
    )
    return program


@pytest.fixture
def languages(worker: Path, interop: Path, tmp_path: Path) -> Iterator[dict[str, Verb]]:
    store = tmp_path / "store"
    bounds = f"shared.max_bytes: {MAX_BYTES}B\nshared.max_entries: {MAX_ENTRIES}"
    with tierce.Cache[bytes | str](
        tiering="L1L2",
        shared_directory=store,
        shared_max_bytes=MAX_BYTES,
        shared_max_entries=MAX_ENTRIES,
    ) as cache:

        def python(verb: str, key: str, value: str | None = None) -> bytes | None:
            if verb == "set":
                assert value is not None
                cache.set(key, value)
                return b""
            if verb == "delete":
                cache.delete(key)
                return b""
            found = cache.get(key)
            return found.encode() if isinstance(found, str) else found

        def rust(verb: str, *arguments: str) -> bytes | None:
            return run(worker, verb, store, *arguments)

        def c(verb: str, *arguments: str) -> bytes | None:
            return run(interop, verb, store, *arguments, TIERCE_INTEROP_CONFIG=bounds)

        yield {"python": python, "rust": rust, "c": c}
        assert cache.health()["status"] == "healthy"


def test_the_tools_that_build_the_programs_are_here() -> None:
    assert shutil.which("cargo")
    assert shutil.which("cc")


@pytest.mark.parametrize(("writer", "reader"), list(permutations(["python", "rust", "c"], 2)))
def test_what_one_language_sets_and_deletes_another_sees(
    languages: dict[str, Verb], writer: str, reader: str
) -> None:
    write, read = languages[writer], languages[reader]
    assert read("get", "user:7") is None
    write("set", "user:7", "Ada")
    assert read("get", "user:7") == b"Ada"
    # The reader's copy in its L1, where it has one by now, is void at once.
    write("set", "user:7", "Größe")
    assert read("get", "user:7") == "Größe".encode()
    write("delete", "user:7")
    assert read("get", "user:7") is None
