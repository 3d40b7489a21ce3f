"""How long values are fresh, stale after that, and what loaders say and are told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tierce
from conftest import MakeShared, run_python
from test_load import wait_until_joined

AnyCache = tierce.Cache[Any]


class OriginError(Exception):
    pass


def fail() -> Any:
    raise OriginError


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def made(**keywords: Any) -> tuple[AnyCache, tierce.ManualClock]:
    clock = tierce.ManualClock()
    return AnyCache(clock=clock, **keywords), clock


def test_a_value_is_fresh_then_stale_then_gone(make_shared: MakeShared) -> None:
    for tiering in ("L1", "L2", "L1L2"):
        clock = tierce.ManualClock()
        cache = make_shared(tiering, clock=clock, ttl=60, stale_if_error=600)
        key = f"key {tiering}"
        cache[key] = "value"
        clock.advance(59)
        entry = cache.get_entry(key)
        assert entry is not None
        assert (entry.value, entry.is_stale, entry.is_absent) == ("value", False, False)
        assert entry.age == 59
        clock.advance(1)
        assert cache.get(key) is None
        assert key not in cache
        assert cache.get_entry(key) is None
        assert cache.get(key, allow_stale=True) == "value"
        entry = cache.get_entry(key, allow_stale=True)
        assert entry is not None
        assert entry.is_stale
        assert entry.origin in tiering
        clock.advance(600)
        assert cache.get_entry(key, allow_stale=True) is None


def test_what_fails_to_load_is_served_stale_within_its_window() -> None:
    cache, clock = made(ttl=60)
    assert cache.get_or_load("a", lambda: "old", stale_if_error=600) == "old"
    clock.advance(61)
    assert cache.get_or_load("a", fail, stale_if_error=600) == "old"
    with pytest.raises(OriginError):
        cache.get_or_load("a", fail, stale_if_error=0)
    with pytest.raises(OriginError):
        cache.refresh("a", fail, stale_if_error=600)
    assert cache.get_or_load("a", lambda: "new", stale_if_error=600) == "new"
    clock.advance(661)
    with pytest.raises(OriginError):
        cache.get_or_load("a", fail, stale_if_error=600)


def test_an_interrupt_is_raised_though_something_stale_could_be_served() -> None:
    cache, clock = made(ttl=60, stale_if_error=600)
    cache["a"] = "old"
    clock.advance(61)
    for interrupt in (KeyboardInterrupt(), SystemExit(3)):

        def load(interrupt: BaseException = interrupt) -> Any:
            raise interrupt

        with pytest.raises(type(interrupt)) as raised:
            cache.get_or_load("a", load)
        assert raised.value is interrupt


def test_what_is_stale_is_served_while_it_is_loaded_in_the_background() -> None:
    cache, clock = made(ttl=60, stale_while_revalidate=600)
    cache["a"] = "old"
    clock.advance(61)
    go_on = threading.Event()
    threads: list[threading.Thread] = []

    def load() -> str:
        threads.append(threading.current_thread())
        assert go_on.wait(30)
        return "new"

    for _ in range(3):
        entry = cache.get_or_load_entry("a", load)
        assert (entry.value, entry.is_stale) == ("old", True)
    go_on.set()
    wait_for(lambda: cache.get("a") == "new")
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


def test_a_hit_shortly_before_the_end_loads_ahead() -> None:
    cache, clock = made(ttl=100, refresh_ahead=0.8)
    calls: list[str] = []

    def load(context: tierce.LoadContext) -> str:
        calls.append(context.reason)
        assert (context.key, context.text) == (b"a", "a")
        return f"value {len(calls)}"

    loading = cache.loading(load)
    assert loading.get("a") == "value 1"
    clock.advance(79)
    assert loading.get("a") == "value 1"
    clock.advance(2)
    assert loading.get("a") == "value 1"
    wait_for(lambda: cache.get("a") == "value 2")
    assert calls == ["miss", "ahead"]
    clock.advance(81)
    assert cache.get_or_load("a", lambda: "another", refresh_ahead=False) == "value 2"
    assert cache.get_or_load("a", lambda: "value 3") == "value 2"
    wait_for(lambda: cache.get("a") == "value 3")


def test_xfetch_draws_lots() -> None:
    cache, clock = made(ttl=100)
    loading = cache.loading(lambda context: context.reason, refresh_ahead=tierce.XFetch(beta=1000))
    assert loading.get("a") == "miss"
    clock.advance(99.9)
    wait_for(lambda: loading.get("a") == "ahead")
    assert tierce.XFetch(2.5).beta == 2.5


def test_a_slow_load_is_left_for_something_stale_and_goes_on() -> None:
    cache, clock = made(ttl=60, stale_if_error=600)
    cache["a"] = "old"
    clock.advance(61)
    go_on = threading.Event()

    def load() -> str:
        assert go_on.wait(30)
        return "new"

    entry = cache.get_or_load_entry("a", load, soft_timeout=0.02)
    assert (entry.value, entry.is_stale) == ("old", True)
    go_on.set()
    wait_for(lambda: cache.get("a") == "new")


def test_a_load_above_its_hard_timeout_is_left_and_told() -> None:
    cache = AnyCache()
    go_on, told = threading.Event(), threading.Event()

    def load(context: tierce.LoadContext) -> str:
        assert context.deadline is not None
        assert 0 < context.deadline - time.monotonic() < 5
        assert not context.is_cancelled()
        wait_for(context.is_cancelled)
        told.set()
        assert go_on.wait(30)
        return "too late"

    with pytest.raises(tierce.TimeoutError):
        cache.get_or_load("a", load, hard_timeout=0.05, with_context=True)
    assert told.wait(30)
    assert cache.get_or_load("a", lambda: "next") == "next"
    go_on.set()
    time.sleep(0.05)
    assert cache["a"] == "next"


def test_failures_are_remembered_with_a_back_off() -> None:
    cache = AnyCache()
    calls: list[int] = []
    error = OriginError("once")

    def load() -> str:
        calls.append(1)
        raise error

    depths = []
    for _ in range(5):
        with pytest.raises(OriginError) as raised:
            cache.get_or_load("a", load, failure_backoff=("10s", "30s"))
        assert raised.value is error
        depths.append(len(raised.traceback))
    assert len(calls) == 1
    assert len(set(depths)) == 1, "the traceback grows with each raise"
    with pytest.raises(OriginError):
        cache.refresh("a", load)
    assert len(calls) == 2


def test_a_remembered_interrupt_does_not_stop_others() -> None:
    cache = AnyCache()

    def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_load("a", interrupted, failure_backoff=(10, 30))
    assert cache.get_or_load("a", lambda: "loaded", failure_backoff=(10, 30)) == "loaded"


def test_fifty_waiters_of_a_failing_load_get_its_exception_after_one_call() -> None:
    cache = AnyCache()
    calls: list[int] = []
    gate = threading.Barrier(50)
    error = OriginError()

    def load() -> str:
        calls.append(1)
        wait_until_joined(cache, 49)
        raise error

    def ask() -> BaseException | None:
        gate.wait()
        with pytest.raises(OriginError) as raised:
            cache.get_or_load("a", load, failure_backoff=(10, 10))
        return raised.value

    with ThreadPoolExecutor(50) as pool:
        answers = [future.result(30) for future in [pool.submit(ask) for _ in range(50)]]
    assert len(calls) == 1
    assert all(answer is error for answer in answers)


def test_that_there_is_no_value_is_remembered(make_shared: MakeShared) -> None:
    for tiering in ("L1", "L1L2"):
        clock = tierce.ManualClock()
        cache = make_shared(tiering, clock=clock, negative_ttl=5)
        calls: list[int] = []

        def load(calls: list[int] = calls) -> Any:
            calls.append(1)
            return tierce.ABSENT

        for _ in range(3):
            with pytest.raises(tierce.AbsentError) as raised:
                cache.get_or_load("a", load)
            assert isinstance(raised.value, LookupError)
            assert cache.get_or_load("a", load, default=None) is None
            assert cache.get("a", "nothing") == "nothing"
            entry = cache.get_or_load_entry("a", load, default="none")
            assert (entry.value, entry.is_absent) == ("none", True)
        assert len(calls) == 1
        assert cache.stats()["negative_hits"] > 5
        assert cache.stats()["stale_served"] == 0
        clock.advance(5)
        assert cache.get_or_load("a", lambda: "now") == "now"
        assert cache.get_or_load("b", lambda: tierce.Loaded.absent(ttl=60), default=1) == 1
        clock.advance(59)
        assert cache.get_or_load("b", fail, default=2) == 2


def test_a_loader_says_how_long_its_value_is_fresh() -> None:
    cache, clock = made(ttl=60)
    assert cache.get_or_load("a", lambda: tierce.Loaded("short", ttl=5)) == "short"
    clock.advance(4)
    assert cache["a"] == "short"
    clock.advance(1)
    assert "a" not in cache
    assert cache.get_or_load("b", lambda: tierce.Loaded("once", ttl=0)) == "once"
    assert "b" not in cache


def test_a_value_is_asked_for_by_its_validator() -> None:
    cache, clock = made(ttl=60, stale_if_error=600)
    seen: list[tuple[Any, ...]] = []

    def load(context: tierce.LoadContext) -> Any:
        seen.append((context.reason, context.has_stale, context.stale, context.validator))
        if context.validator == b"v1":
            return tierce.Loaded.not_modified()
        return tierce.Loaded(["page"], validator="v1")

    pages = cache.loading(load)
    page = pages.get("/")
    clock.advance(61)
    assert pages.get("/") is page
    assert cache["/"] is page
    assert pages.refresh("/").value is page
    assert seen == [
        ("miss", False, None, b""),
        ("stale", True, ["page"], b"v1"),
        ("asked", True, ["page"], b"v1"),
    ]
    with pytest.raises(tierce.TierceError, match="not modified"):
        cache.get_or_load("other", tierce.Loaded.not_modified)


def test_a_read_may_ask_for_young_values() -> None:
    cache, clock = made()
    cache["a"] = "value"
    clock.advance(10)
    assert cache.get("a", max_age=11) == "value"
    assert cache.get("a", max_age=9) is None
    assert cache.get_or_load("a", lambda: "new", max_age=10) == "value"
    assert cache.get_or_load("a", lambda: "new", max_age=9) == "new"
    assert cache.get_or_load("a", lambda: "newer", max_age=0) == "newer"


def test_expire_makes_stale_or_gone(make_shared: MakeShared) -> None:
    for cache in (AnyCache(), make_shared()):
        cache.set("window", 1, ttl=60, stale_if_error=60)
        cache.set("none", 1, ttl=60)
        for key in ("window", "none", "missing"):
            cache.expire(key)
            assert key not in cache
        assert cache.get("window", allow_stale=True) == 1
        assert cache.get("none", allow_stale=True) is None
        assert cache.get_or_load("window", fail, stale_if_error=60) == 1

        def load(cache: AnyCache = cache) -> str:
            cache.expire("window")
            return "loaded"

        assert cache.get_or_load("window", load) == "loaded"
        assert "window" not in cache


def test_refresh_loads_whatever_there_is() -> None:
    cache = AnyCache()
    cache["a"] = 1
    assert cache.refresh("a", lambda: 2) == 2
    assert cache["a"] == 2
    assert cache.refresh("a", lambda context: context.stale, with_context=True) == 2


def test_jitter_shortens_and_never_prolongs() -> None:
    cache, clock = made(ttl=100, ttl_jitter=0.5)
    for number in range(200):
        cache[f"key {number}"] = number
    clock.advance(49)
    assert len([n for n in range(200) if f"key {n}" in cache]) == 200
    clock.advance(26)
    left = len([n for n in range(200) if f"key {n}" in cache])
    assert 40 < left < 160
    clock.advance(25)
    assert not any(f"key {n}" in cache for n in range(200))


def test_a_call_may_do_without_the_time_to_live_of_the_cache() -> None:
    cache, clock = made(ttl=60)
    cache.set("a", 1, no_ttl=True)
    cache.set("b", 1, no_ttl=False)
    clock.advance(10**6)
    assert "a" in cache
    assert "b" not in cache


def test_a_time_to_live_together_with_none_is_refused() -> None:
    cache = AnyCache()
    cache["kept"] = 1
    users = cache.keyspace("user/:id", ttl=60)
    load: Any = fail
    version = cache.get_versioned("a")[1]
    calls: list[Callable[..., Any]] = [
        lambda **both: cache.set("a", 1, **both),
        lambda **both: cache.set("a", 1, 60, no_ttl=True),
        lambda **both: cache.get_or_load("kept", load, **both),
        lambda **both: cache.get_or_load_entry("kept", load, **both),
        lambda **both: cache.get_or_load_many(["kept"], load, **both),
        lambda **both: cache.refresh("a", load, **both),
        lambda **both: cache.loading(load, **both),
        lambda **both: cache.cached(**both),
        lambda **both: cache.keyspace("other/:id", **both),
        lambda **both: cache.set_if_absent("a", 1, **both),
        lambda **both: cache.set_if_absent("a", 1, 60, no_ttl=True),
        lambda **both: cache.compare_and_set("a", version, 1, **both),
        lambda **both: cache.update("a", load, **both),
        lambda **both: cache.aget_or_load("kept", load, **both),
        lambda **both: asyncio.run(_result(cache.aset("a", 1, **both))),
        lambda **both: users.set(7, 1, **both),
        lambda **both: users.get_or_load(7, load, **both),
        lambda **both: AnyCache(**both),
    ]
    for call in calls:
        for both in ({"ttl": 60, "no_ttl": True}, {"no_ttl": True, "ttl": 60}):
            with pytest.raises(tierce.ConfigError, match=r"^ttl and no_ttl=True: "):
                call(**both)
    assert "a" not in cache
    cache.set("a", 1, ttl=None, no_ttl=True)
    cache.set("a", 1, ttl=60, no_ttl=False)
    users.set(7, 1, no_ttl=True)


def test_setdefault_sets_where_an_absence_is_remembered() -> None:
    cache = AnyCache(negative_ttl=600)
    assert cache.get_or_load("a", lambda: tierce.ABSENT, default=None) is None
    assert cache.setdefault("a", 1) == 1 == cache["a"]


def test_setdefault_sets_where_a_failure_is_remembered() -> None:
    cache = AnyCache(failure_backoff=(3600, 3600))
    with pytest.raises(OriginError):
        cache.get_or_load("a", fail)
    assert cache.setdefault("a", 1) == 1 == cache["a"]


def test_setdefault_sets_where_a_value_is_stale() -> None:
    cache, clock = made(ttl=60, stale_while_revalidate=600)
    cache["a"] = "old"
    clock.advance(61)
    assert "a" not in cache
    assert cache.setdefault("a", "new") == "new" == cache["a"]


def test_setdefault_counts_one_miss_and_no_load() -> None:
    cache = AnyCache()
    assert (cache.setdefault("a", 1), cache.setdefault("a", 2)) == (1, 1)
    stats = cache.stats()
    assert (stats["misses"], stats["hits"], stats["loads"]) == (1, 1, 0)


def test_all_who_set_a_default_get_the_same(make_shared: MakeShared) -> None:
    caches = (make_shared(), make_shared())
    for round_ in range(20):
        gate = threading.Barrier(8)

        def ask(number: int, key: str = f"key {round_}", gate: Any = gate) -> Any:
            gate.wait()
            return caches[number % 2].setdefault(key, number)

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(ask, range(8)))) == 1


async def _result(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def test_pop_and_del_end_what_is_stale(make_shared: MakeShared) -> None:
    def pop(cache: AnyCache) -> None:
        assert cache.pop("a", "none") == "none"

    def pop_bare(cache: AnyCache) -> None:
        with pytest.raises(KeyError):
            cache.pop("a")

    def delete(cache: AnyCache) -> None:
        with pytest.raises(KeyError):
            del cache["a"]

    for make in (AnyCache, make_shared):
        for end in (pop, pop_bare, delete):
            clock = tierce.ManualClock()
            cache = make(ttl=60, stale_if_error=600, clock=clock)
            cache["a"] = "old"
            clock.advance(61)
            assert cache.get_or_load("a", fail) == "old"
            end(cache)
            with pytest.raises(OriginError):
                cache.get_or_load("a", fail)
            assert cache.get("a", allow_stale=True) is None


def test_many_are_deleted_and_loaded_by_one_call(make_shared: MakeShared) -> None:
    for cache in (AnyCache(), make_shared()):
        cache["a"] = 1
        calls: list[list[Any]] = []

        def load(keys: list[Any], calls: list[list[Any]] = calls) -> dict[Any, Any]:
            calls.append(keys)
            return {key: tierce.Loaded(f"of {key!r}", ttl=60) for key in keys if key != "none"}

        keys: list[str | bytes] = ["a", "b", b"c", "none", "b"]
        found = cache.get_or_load_many(keys, load)
        assert found == {"a": 1, "b": "of 'b'", b"c": "of b'c'"}
        assert list(found) == ["a", "b", b"c"]
        assert calls == [["b", b"c", "none"]]
        assert cache.get_or_load_many([], load) == {}
        cache.delete_many(["a", b"b", "never"])
        assert [key in cache for key in ("a", "b", "c")] == [False, False, True]
        error = OriginError()

        def broken(keys: list[Any], error: Exception = error) -> dict[Any, Any]:
            raise error

        with pytest.raises(OriginError) as raised:
            cache.get_or_load_many(["c", "d"], broken)
        assert raised.value is error

        def interrupted(keys: list[Any]) -> dict[Any, Any]:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cache.get_or_load_many(["c", "d"], interrupted)
        with pytest.raises(TypeError, match="dict"):
            cache.get_or_load_many(["d"], lambda keys: [1])  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"no_such": 1}, TypeError),
        ({"ttl_jitter": "much"}, TypeError),
        ({"ttl_jitter": 2.0}, tierce.ConfigError),
        ({"stale_if_error": -1}, ValueError),
        ({"refresh_ahead": 1.5}, tierce.ConfigError),
        ({"refresh_ahead": True}, TypeError),
        ({"refresh_ahead": tierce.XFetch(-1)}, tierce.ConfigError),
        ({"hard_timeout": 0}, tierce.ConfigError),
        ({"soft_timeout": 2, "hard_timeout": 1}, tierce.ConfigError),
        ({"failure_backoff": 3}, TypeError),
        ({"failure_backoff": (1, 2, 3)}, ValueError),
        ({"failure_backoff": (3, 1)}, tierce.ConfigError),
    ],
)
def test_wrong_words_are_refused_everywhere(
    keywords: dict[str, Any], error: type[Exception]
) -> None:
    cache = AnyCache()
    for call in (
        lambda: AnyCache(ttl=60, **keywords),
        lambda: cache.get_or_load("a", lambda: 1, **keywords),
        lambda: cache.loading(lambda context: 1, **keywords).get("a"),
    ):
        with pytest.raises(error):
            call()
    assert "a" not in cache


def test_file_and_environment_say_the_same_words() -> None:
    environ = {"CACHE_DEFAULT_TTL": "60s", "CACHE_FRESHNESS_STALE_IF_ERROR": "600s"}
    clock = tierce.ManualClock()
    cache = AnyCache(environ=environ, clock=clock, ttl_jitter=0.0)
    cache["a"] = 1
    cache.set("b", 1, stale_if_error=0)
    clock.advance(61)
    assert cache.get("a", allow_stale=True) == 1
    assert cache.get("b", allow_stale=True) is None
    cache = AnyCache(environ=environ, clock=clock, stale_if_error=0)
    cache["a"] = 1
    clock.advance(61)
    assert cache.get("a", allow_stale=True) is None
    cache = AnyCache(clock=clock, ttl=100, options={"freshness.refresh_ahead_percent": 50})
    assert cache.get_or_load("a", lambda: "old") == "old"
    clock.advance(51)
    assert cache.get_or_load("a", lambda: "new") == "old"
    wait_for(lambda: cache["a"] == "new")


def test_words_of_other_calls_are_refused_by_name(cache: AnyCache) -> None:
    for call, word in (
        (lambda: cache.get("a", ttl=5), "ttl"),  # type: ignore[call-overload]
        (lambda: cache.get_entry("a", soft_timeout=5), "soft_timeout"),  # type: ignore[call-arg]
        (lambda: cache.set("a", 1, max_age=5), "max_age"),  # type: ignore[call-arg]
        (lambda: cache.set("a", 1, negative_ttl=5), "negative_ttl"),  # type: ignore[call-arg]
        (lambda: AnyCache(allow_stale=True), "allow_stale"),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{word}'"):
            call()


def test_a_process_ends_while_the_cache_loads_in_the_background() -> None:
    out = run_python(
        """
        import threading, time, tierce
        clock = tierce.ManualClock()
        cache = tierce.Cache(ttl=60, stale_while_revalidate=600, clock=clock)
        began = threading.Event()
        def load():
            began.set()
            while True:
                time.sleep(0.001)
        cache["a"] = "old"
        clock.advance(61)
        print(cache.get_or_load("a", load))
        assert began.wait(30)
        """
    )
    assert out.split() == ["old"]


def test_what_a_background_load_replaces_is_let_go_without_a_lock() -> None:
    out = run_python(
        """
        import threading, time, tierce
        clock = tierce.ManualClock()
        cache = tierce.Cache(ttl=60, stale_while_revalidate=600, clock=clock)
        gone = threading.Event()
        class Value:
            def __del__(self):
                cache["b"] = "written by __del__"
                cache.get_or_load("c", lambda: 1)
                gone.set()
        cache["a"] = Value()
        clock.advance(61)
        for _ in range(2000):
            cache.get_or_load("a", lambda: "new")
            if gone.is_set() and cache.get("a") == "new":
                break
            cache["other"] = 1
            time.sleep(0.001)
        cache.clear()
        print(gone.is_set())
        """
    )
    assert out.split() == ["True"]


def test_a_touched_value_has_another_time_to_live() -> None:
    clock = tierce.ManualClock()
    cache = tierce.Cache[Any](ttl=60, clock=clock)
    users = cache.keyspace("user/:id")
    cache["a"], cache["user/7"] = 1, 2
    clock.advance(30)
    assert cache.touch("a", "1m")
    assert users.touch(7, 60)
    assert users.touch(60, id=7)
    assert not cache.touch("b", 60)
    clock.advance(50)
    assert (cache.get("a"), users.get(7)) == (1, 2)
    assert asyncio.run(_touched(cache)) is True
    clock.advance(6)
    assert cache.get("a") is None
    with pytest.raises(tierce.ConfigError, match="ttl = 0"):
        cache.touch("a", 0)
    with pytest.raises(TypeError, match="ttl must be seconds"):
        users.touch(7, None)


async def _touched(cache: tierce.Cache[Any]) -> bool:
    return await cache.atouch("a", 5)
