"""What the tests share."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tierce


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the variables of who runs it."""
    for name in list(os.environ):
        if name.startswith(("CACHE_", "REDIS_", "TIERCE_")) or name == "NODE_ENV":
            monkeypatch.delenv(name)


@pytest.fixture
def cache() -> Iterator[tierce.Cache[Any]]:
    with tierce.Cache[Any]() as cache:
        yield cache


MakeShared = Callable[..., "tierce.Cache[Any]"]


@pytest.fixture
def make_shared(tmp_path: Path) -> Iterator[MakeShared]:
    """Makes caches that share one small store."""
    made: list[tierce.Cache[Any]] = []

    def make(tiering: str = "L1L2", **keywords: Any) -> tierce.Cache[Any]:
        cache = tierce.Cache[Any](
            tiering=tiering,
            shared_directory=tmp_path,
            shared_max_bytes="8MB",
            shared_max_entries=1000,
            **keywords,
        )
        made.append(cache)
        return cache

    yield make
    for cache in made:
        cache.close()


def run_python(code: str, *arguments: str, timeout: float = 60) -> str:
    """Runs code in a process of its own and returns what it printed; a hang is a failure."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CACHE_", "REDIS_", "TIERCE_"))
    }
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
