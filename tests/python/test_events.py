"""Events: what listeners are told of a cache."""

from __future__ import annotations

import queue
import sys
import threading
import weakref
from typing import Any

import pytest

import tierce

AnyCache = tierce.Cache[Any]


def listened(cache: AnyCache) -> queue.Queue[tierce.Event]:
    events: queue.Queue[tierce.Event] = queue.Queue()
    cache.on_event(events.put)
    return events


def next_of(events: queue.Queue[tierce.Event]) -> tierce.Event:
    return events.get(timeout=30)


def test_a_listener_is_told_of_each_thing_in_its_order() -> None:
    clock = tierce.ManualClock()
    cache = AnyCache(ttl=60, stale_if_error=600, clock=clock)
    events = listened(cache)
    cache.get("a")
    cache["a"] = 1
    cache.get("a")
    clock.advance(61)
    cache.get("a", allow_stale=True)
    cache.expire("a")
    cache.delete("a")
    cache.get_or_load("b", lambda: 2)
    cache.clear()
    told = [next_of(events) for _ in range(9)]
    assert [(event.kind, event.key, event.tier, event.reason) for event in told] == [
        ("miss", b"a", None, None),
        ("set", b"a", None, None),
        ("hit", b"a", "L1", None),
        ("stale", b"a", "L1", None),
        ("expire", b"a", None, None),
        ("delete", b"a", None, None),
        ("load", b"b", None, "miss"),
        ("miss", b"b", None, None),
        ("clear", None, None, None),
    ]
    assert told[6].took is not None
    assert told[6].took >= 0
    assert (told[0].took, told[0].error, told[0].tiering) == (None, None, None)
    assert repr(told[0]) == '<tierce.Event miss b"a">'
    assert repr(told[8]) == "<tierce.Event clear>"
    assert told[0].details.startswith("Miss")


def test_a_load_that_failed_is_told_with_what_its_loader_raised() -> None:
    cache = AnyCache()
    events = listened(cache)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_load("a", lambda: 1 / 0)
    event = next_of(events)
    assert event.kind == "load"
    assert isinstance(event.error, tierce.TierceError)
    assert isinstance(event.error.__cause__, ZeroDivisionError)


def test_retiering_and_evictions_are_told() -> None:
    cache = AnyCache(max_entries=8)
    events = listened(cache)
    cache.retier("L1")
    for number in range(100):
        cache[str(number)] = number
    cache.on_event(lambda event: None)
    kinds = {}
    while "evict" not in kinds:
        event = next_of(events)
        kinds[event.kind] = event
    assert kinds["evict"].reason == "size"
    assert kinds["evict"].tier == "L1"


def test_what_a_listener_raises_is_told_and_it_is_called_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: queue.Queue[Any] = queue.Queue()
    monkeypatch.setattr(sys, "unraisablehook", lambda told: raised.put(told.exc_value))
    cache = AnyCache()

    def listener(event: tierce.Event) -> None:
        raise RuntimeError(event.kind)

    cache.on_event(listener)
    cache.get("a")
    cache["a"] = 1
    assert str(raised.get(timeout=30)) == "miss"
    assert str(raised.get(timeout=30)) == "set"


def test_a_listener_may_use_the_cache_and_is_in_another_thread() -> None:
    cache = AnyCache()
    found: queue.Queue[Any] = queue.Queue()

    def listener(event: tierce.Event) -> None:
        if event.kind == "set" and event.key == b"a":
            found.put((cache.get("a"), threading.get_ident()))

    cache.on_event(listener)
    cache["a"] = 1
    assert found.get(timeout=30) != (1, threading.get_ident())


def test_callers_do_not_wait_for_a_listener_that_hangs() -> None:
    cache = AnyCache()
    go_on = threading.Event()
    cache.on_event(lambda event: _ignore(go_on.wait(30)))
    for number in range(40_000):
        cache.get(str(number))
    assert cache.events_dropped() > 10_000
    go_on.set()


def _ignore(_: object) -> None:
    pass


def test_a_closed_cache_lets_its_listeners_go() -> None:
    class Listener:
        def __call__(self, event: tierce.Event) -> None:
            pass

    cache, listener = AnyCache(), Listener()
    gone = weakref.ref(listener)
    cache.on_event(listener)
    del listener
    assert gone() is not None
    cache.close()
    assert gone() is None
    with pytest.raises(TypeError, match="listener must be callable, not int"):
        cache.on_event(7)  # type: ignore[arg-type]


def test_changes_by_tags_and_touches_are_told() -> None:
    cache = AnyCache(ttl=60)
    events = listened(cache)
    cache.set("a", 1, tags=["t"])
    assert cache.touch("a", 90)
    cache.expire_tag("t")
    cache.remove_tags(["t", b"u"])
    told = [next_of(events) for _ in range(4)]
    assert [(event.kind, event.key, event.tags) for event in told] == [
        ("set", b"a", None),
        ("touch", b"a", None),
        ("expire_tags", None, (b"t",)),
        ("remove_tags", None, (b"t", b"u")),
    ]
    assert told[0].count is None
