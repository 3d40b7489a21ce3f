"""The stubs say what a strict type checker should know. `mypy` reads this file; pytest runs it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import tierce


def test_a_cache_of_one_type() -> None:
    cache: tierce.Cache[dict[str, int]] = tierce.Cache(max_entries=10, ttl=timedelta(minutes=1))
    cache["a"] = {"x": 1}
    found: dict[str, int] | None = cache.get("a")
    assert found == {"x": 1}
    sure: dict[str, int] = cache["a"]
    loaded: dict[str, int] = cache.get_or_load(b"b", lambda: {"y": 2}, ttl="10m")
    either: dict[str, int] | int = cache.get("c", 5)
    popped: dict[str, int] | None = cache.pop("a", None)
    assert (sure, loaded, either, popped) == ({"x": 1}, {"y": 2}, 5, {"x": 1})
    cache["a"] = 5  # type: ignore[assignment]


def test_the_class_takes_its_type_at_run_time() -> None:
    with tierce.Cache[int](tiering="L1") as cache:
        cache["a"] = 1
        number: int = cache.setdefault("a", 2)
        assert number == 1
        tiering: str = cache.tiering
        assert tiering == "L1"
        assert isinstance(cache.stats()["hits"], int)


def test_paths_and_text_name_files(tmp_path: Path) -> None:
    path = tmp_path / "cache.json"
    path.write_text('{"service": "x"}')
    for named in (path, str(path)):
        assert tierce.Cache.from_file(named).health()["service"] == "x"
