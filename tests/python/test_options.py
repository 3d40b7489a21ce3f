"""How a cache is set up, and how spans of time are said."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import tierce


def test_the_default_is_memory_alone() -> None:
    cache = tierce.Cache[Any]()
    assert cache.tiering == "L1"
    assert cache.metrics_text() is None


def test_code_wins_over_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache.yaml"
    path.write_text("service: from-file\ntiering: L1\n")
    cache = tierce.Cache[Any](config_file=path)
    assert cache.health()["service"] == "from-file"
    monkeypatch.setenv("CACHE_SERVICE", "from-environment")
    assert tierce.Cache.from_file(path).health()["service"] == "from-environment"
    assert tierce.Cache.from_env().health()["service"] == "from-environment"
    assert tierce.Cache[Any]().health()["service"] == "from-environment"
    cache = tierce.Cache[Any](config_file=str(path), environ=False)
    assert cache.health()["service"] == "from-file"
    cache = tierce.Cache.from_file(path, environ={"CACHE_SERVICE": "from-mapping"})
    assert cache.health()["service"] == "from-mapping"
    cache = tierce.Cache[Any](service="from-code", config_file=path)
    assert cache.health()["service"] == "from-code"


def test_the_bound_on_entries_holds() -> None:
    cache = tierce.Cache[int](max_entries=100)
    for number in range(1000):
        cache[f"key:{number}"] = number
    assert 0 < len(cache) <= 100


@pytest.mark.parametrize(
    "make",
    [
        lambda: "x" * 10_000,
        lambda: b"x" * 10_000,
        lambda: "ü" * 10_000,
        lambda: [float(n) for n in range(250)],
        lambda: {f"key {n}": "x" * 60 for n in range(60)},
        lambda: {"deep": [{"er": ("x" * 9_000, [1])}]},
        lambda: {str(n) for n in range(100)},
        lambda: bytearray(10_000),
        lambda: 1 << 80_000,
        lambda: own(),
    ],
)
def test_the_bound_on_bytes_holds_for_values_of_every_shape(make: Any) -> None:
    """Each value takes some 10 kB: about a hundred fit."""
    cache = tierce.Cache[Any](max_bytes=1_000_000, options={"memory.shards": 1})
    for number in range(300):
        cache[f"key:{number}"] = make()
    assert 40 <= len(cache) <= 130


def own() -> object:
    class Own:
        def __init__(self) -> None:
            self.text = "x" * 10_000

        def __sizeof__(self) -> int:
            raise AssertionError("the caller's code must not be asked")

    return Own()


@pytest.mark.parametrize("ttl", [0.05, timedelta(milliseconds=50), "50ms"])
def test_time_to_live_of_a_call(ttl: Any) -> None:
    cache = tierce.Cache[Any]()
    cache.set("set", 1, ttl=ttl)
    cache.set("positional", 1, ttl)
    cache.get_or_load("loaded", lambda: 1, ttl=ttl)
    cache.set("stays", 1)
    assert "set" in cache
    time.sleep(0.2)
    assert [key for key in ("set", "positional", "loaded", "stays") if key in cache] == ["stays"]


def test_default_time_to_live() -> None:
    for ttl in (0.05, timedelta(milliseconds=50), "50ms"):
        cache = tierce.Cache[Any](ttl=ttl)
        cache["a"] = 1
        cache.set("long", 1, ttl=60)
        time.sleep(0.2)
        assert "a" not in cache
        assert "long" in cache


def test_a_time_to_live_of_zero_keeps_nothing(cache: tierce.Cache[Any]) -> None:
    cache["a"] = 1
    cache.set("a", 2, ttl=0)
    assert "a" not in cache
    assert cache.get_or_load("a", lambda: 3, ttl=0) == 3
    assert "a" not in cache


@pytest.mark.parametrize(
    ("ttl", "error"),
    [
        (-1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (timedelta(seconds=-1), ValueError),
        ("10", ValueError),
        ("soon", ValueError),
        (True, TypeError),
        ([], TypeError),
        (b"10m", TypeError),
    ],
)
def test_wrong_spans_are_refused(
    cache: tierce.Cache[Any], ttl: Any, error: type[Exception]
) -> None:
    for call in (
        lambda: cache.set("a", 1, ttl=ttl),
        lambda: cache.get_or_load("a", lambda: 1, ttl=ttl),
    ):
        with pytest.raises(error, match="ttl"):
            call()
    assert "a" not in cache


@pytest.mark.parametrize(
    ("keywords", "names"),
    [
        ({"tiering": "L2L1"}, ["tiering", "L2L1", "L1L2L3"]),
        ({"max_entries": 0}, ["memory.max_entries", "0"]),
        ({"max_entries": -1}, ["memory.max_entries", "-1"]),
        ({"max_bytes": "lots"}, ["memory.max_bytes", "lots"]),
        ({"ttl": 0}, ["default_ttl"]),
        ({"ttl": "10"}, ["default_ttl", "10"]),
        ({"name": "a/b"}, ["shared.name", "a/b"]),
        ({"redis": "http://x"}, ["redis.url"]),
        ({"options": {"memory.max_entris": 5}}, ["memory.max_entris", "memory.max_entries"]),
        ({"options": {"redis.port": 70000}}, ["redis.port", "70000"]),
        ({"environ": {"CACHE_TIERNG": "L1"}}, ["CACHE_TIERNG", "CACHE_TIERING"]),
        ({"environ": {"CACHE_MEMORY_MAX_ENTRIES": "many"}}, ["CACHE_MEMORY_MAX_ENTRIES", "many"]),
    ],
)
def test_wrong_settings_are_refused_by_name(keywords: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(tierce.ConfigError) as raised:
        tierce.Cache[Any](**keywords)
    for name in names:
        assert name in str(raised.value)
    assert isinstance(raised.value, ValueError)
    assert raised.value.kind == "config"


@pytest.mark.parametrize(
    "keywords",
    [
        {"max_entries": 1.5},
        {"max_entries": []},
        {"tiering": b"L1"},
        {"environ": 3},
        {"environ": {1: "x"}},
        {"options": {1: "x"}},
        {"options": {"service": b"x"}},
        {"config_file": 7},
        {"no_such_keyword": 1},
    ],
)
def test_wrong_types_are_refused(keywords: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        tierce.Cache[Any](**keywords)


def test_every_span_may_be_seconds_or_a_timedelta() -> None:
    spans = [
        "redis.write_delay",
        "redis.staleness_bound",
        "redis.heartbeat",
        "redis.flush_timeout",
        "redis.read_timeout",
        "freshness.negative_ttl",
        "notify.repeat",
        "load.wait",
        "default_ttl",
    ]
    for key in spans:
        for hours in (0.5, 1, 24, 0.25 / 3600):
            refused = []
            for span in (hours * 3600, timedelta(hours=hours), f"{round(hours * 3_600_000)}ms"):
                try:
                    tierce.Cache[Any](options={key: span})
                except tierce.ConfigError as error:
                    refused.append(str(error))
            # Out of the range of the key for all three, or for none.
            assert len(refused) in (0, 3), refused


def test_arguments_of_a_wrong_type_are_named() -> None:
    cache = tierce.Cache[Any]()
    wrong: Any
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: tierce.Cache(max_entries=wrong), "max_entries must be str, int, bool or a path, "),
        (lambda: tierce.Cache(options=wrong), "options must be a dict, "),
        (lambda: tierce.Cache(clock=wrong), "clock must be a ManualClock, "),
        (lambda: tierce.Cache(environ={"A": wrong}), "environ['A'] must be str, "),
        (lambda: tierce.Cache(environ={wrong: "A"}), "a name in environ must be str, "),
        (lambda: tierce.Cache(environ=wrong), "environ must be a bool or a mapping of str to"),
        (lambda: cache.retier(wrong), "tiering must be str, "),
        (lambda: cache.keyspace(wrong), "pattern must be str, "),
        (lambda: cache.keyspace("user/:id", label=wrong), "label must be str, "),
        (lambda: cache.increment("a", wrong), "delta must be int, "),
        (lambda: cache.aincrement("a", wrong), "delta must be int, "),
        (lambda: tierce.Loaded(1, weight=wrong), "weight must be int, "),
    ]
    wrong = 1.5
    for call, message in calls:
        with pytest.raises(TypeError, match=f"^{re.escape(message)}.*not float"):
            call()


def test_numbers_out_of_range_are_named() -> None:
    cache = tierce.Cache[Any]()
    for number in (10**30, -(10**30)):
        with pytest.raises(OverflowError, match=f"^delta = {number}: must be from "):
            cache.increment("a", number)
    for number in (10**30, -1):
        with pytest.raises(OverflowError, match=f"^weight = {number}: must be from 0 to "):
            tierce.Loaded(1, weight=number)
    with pytest.raises(tierce.ConfigError, match=r'^tiers = "L5": must be one of L1, .*L1L2L3$'):
        cache.get("a", tiers="L5")
    with pytest.raises(tierce.ConfigError, match=r'^tiering = "L5": '):
        cache.retier("L5")


def test_arguments_are_by_keyword_only() -> None:
    with pytest.raises(TypeError):
        tierce.Cache("L1")  # type: ignore[call-arg]


def test_a_file_that_is_not_there_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(tierce.StorageError) as missing:
        tierce.Cache.from_file(tmp_path / "no.yaml")
    assert isinstance(missing.value, OSError)
    assert missing.value.errno == 2
    assert "no.yaml" in str(missing.value)
    path = tmp_path / "cache.toml"
    path.write_text("tiering = 'L9'\n")
    with pytest.raises(tierce.ConfigError, match=r"cache\.toml:1"):
        tierce.Cache.from_file(path)


def test_a_password_shows_nowhere() -> None:
    with pytest.raises(tierce.ConfigError) as raised:
        tierce.Cache[Any](redis="redis://user:s3cret@host", options={"redis.password": "s3cret"})
    assert "s3cret" not in str(raised.value)


def test_numbers_mean_bytes_and_seconds_where_a_file_needs_a_unit() -> None:
    cache = tierce.Cache[Any](
        max_bytes=1 << 20,
        ttl=1.5,
        options={"redis.read_timeout": timedelta(milliseconds=20), "load.wait": 2},
    )
    assert cache.tiering == "L1"


def test_metrics_are_text_for_prometheus() -> None:
    cache = tierce.Cache[Any](service="shop", options={"metrics_enabled": True})
    cache["a"] = 1
    text = cache.metrics_text()
    assert text is not None
    assert 'cache="shop"' in text
    assert text.endswith("\n")
