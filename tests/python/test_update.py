"""Changes that depend on what is there: versions, set_if_absent, update, increment."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from typing import Any

import pytest

import tierce
from conftest import MakeShared

AnyCache = tierce.Cache[Any]


def test_a_version_holds_until_the_key_is_changed() -> None:
    cache = AnyCache()
    assert cache.get_versioned("a")[0] is None
    value, version = cache.get_versioned("a", "none")
    assert value == "none"
    assert repr(version) == "<tierce.Version>"
    assert cache.compare_and_set("a", version, 1, tags=["t"], ttl=60)
    assert not cache.compare_and_set("a", version, 2)
    value, version = cache.get_versioned("a")
    assert value == 1
    assert not cache.compare_and_set("b", version, 2)
    cache.remove_tag("t")
    assert not cache.compare_and_set("a", version, 2)
    assert "a" not in cache


def test_a_key_is_set_once_if_absent() -> None:
    clock = tierce.ManualClock()
    cache = AnyCache(clock=clock)
    assert cache.set_if_absent("lock", None, 30, stale_if_error=600)
    assert not cache.set_if_absent("lock", "theirs", ttl=30)
    clock.advance(31)
    assert cache.get_entry("lock") is None
    assert cache.get_entry("lock", allow_stale=True) is not None
    assert cache.set_if_absent("lock", "theirs", ttl="30s")
    assert cache["lock"] == "theirs"
    assert asyncio.run(_awaited(cache.aset_if_absent("other", 1, 30)))
    with pytest.raises(tierce.ConfigError, match="ttl = 0"):
        cache.set_if_absent("other", 1, ttl=0)


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


def test_an_update_makes_the_new_value_of_the_old_one() -> None:
    clock = tierce.ManualClock()
    cache = AnyCache(clock=clock)
    assert cache.update("a", lambda value: value + 1, 0, ttl=60) == 1
    clock.advance(30)
    assert cache.update("a", lambda value: value + 1, default=0) == 2
    assert cache.update("a", lambda value: tierce.Loaded.not_modified()) == 2
    clock.advance(31)
    assert cache.update("a", lambda value: tierce.Loaded.not_modified(), "none") == "none"
    assert cache.update("a", lambda value: tierce.Loaded.not_modified()) is None
    assert "a" not in cache


def test_what_an_update_raises_reaches_its_caller_and_changes_nothing() -> None:
    cache = AnyCache()
    cache["a"] = 1
    with pytest.raises(ZeroDivisionError):
        cache.update("a", _divided)
    with pytest.raises(TypeError, match="Loaded"):
        cache.update("a", lambda value: tierce.Loaded(2))
    with pytest.raises(TypeError, match="change must be callable, not int"):
        cache.update("a", 7)  # type: ignore[call-overload]
    with pytest.raises(KeyboardInterrupt):
        cache.update("a", _interrupted)
    assert cache["a"] == 1


def _divided(value: Any) -> Any:
    return value / 0


def _interrupted(value: Any) -> Any:
    raise KeyboardInterrupt


def test_an_update_may_use_the_cache() -> None:
    cache = AnyCache()
    cache["b"] = 40
    assert cache.update("a", lambda value: cache["b"] + cache.increment("c", 2)) == 42


def test_numbers_are_counted_and_nothing_else_is() -> None:
    cache = AnyCache()
    assert [cache.increment("n"), cache.increment("n", -3), cache.increment(b"n", 0)] == [1, -2, -2]
    assert asyncio.run(_awaited(cache.aincrement("n", delta=2))) == 0
    cache["digits"] = b"41"
    assert cache.increment("digits") == 42
    values: list[Any] = ["41", 4.0, True, None, [1], 2**63, b"x"]
    for value in values:
        cache["n"] = value
        with pytest.raises(tierce.CodecError):
            cache.increment("n")
        assert cache["n"] == value
    cache["n"] = 2**63 - 1
    with pytest.raises(tierce.CodecError, match="beyond 64 bits"):
        cache.increment("n")
    with pytest.raises(OverflowError):
        cache.increment("n", 2**63)


def test_threads_lose_no_step() -> None:
    cache = AnyCache()
    steps = 2_000

    def count() -> None:
        for _ in range(steps):
            cache.increment("n")
            cache.update("list", lambda value: value + 1, 0)
            while True:
                value, version = cache.get_versioned("cas", 0)
                if cache.compare_and_set("cas", version, value + 1):
                    break

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [cache["n"], cache["list"], cache["cas"]] == [3 * steps] * 3


def _count(directory: str, steps: int) -> None:
    cache = AnyCache(
        tiering="L1L2",
        shared_directory=directory,
        shared_max_bytes="8MB",
        shared_max_entries=1000,
        environ=False,
    )
    for _ in range(steps):
        cache.increment("n")
        cache.update("u", lambda value: value + 1, 0)


def test_processes_lose_no_step(make_shared: MakeShared, tmp_path: Any) -> None:
    cache, steps = make_shared(), 500
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=_count, args=(str(tmp_path), steps)) for _ in range(2)]
    for other in others:
        other.start()
    for _ in range(steps):
        cache.increment("n")
        cache.update("u", lambda value: value + 1, 0)
    for other in others:
        other.join()
        assert other.exitcode == 0
    assert [cache["n"], cache["u"]] == [3 * steps] * 2


def test_a_closed_cache_changes_nothing() -> None:
    cache = AnyCache()
    _, version = cache.get_versioned("a")
    cache.close()
    for call in (
        lambda: cache.get_versioned("a"),
        lambda: cache.compare_and_set("a", version, 1),
        lambda: cache.set_if_absent("a", 1),
        lambda: cache.update("a", lambda value: 1),
        lambda: cache.increment("a"),
    ):
        with pytest.raises(tierce.ClosedError):
            call()
