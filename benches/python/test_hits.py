"""What does a hit cost from Python?

Load: 10,000 resident keys of 24 characters, capacity 200,000, a dict of five fields as value,
one thread, every key once a round in a shuffled order (seed 7). Rivals: a dict (unbounded, no
lock, no expiry: the floor), `functools.lru_cache`, `cachebox.LRUCache`. All are called through a
bound method held in a local, as a tight loop would. The loop itself is measured too and is part
of every number.

Each question is asked in several passes, one after the other over all rivals, so that a change of
the clock speed during the run meets all of them.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable
from typing import Any

import cachebox
import pytest

import tierce

RESIDENT_KEYS = 10_000
CAPACITY = 200_000
SEED = 7
PASSES = 3
ROUNDS = 60

NAMES = [f"user:profile:{number:011d}" for number in range(RESIDENT_KEYS)]
random.Random(SEED).shuffle(NAMES)
MISSING = [f"nobody:here:{number:012d}" for number in range(RESIDENT_KEYS)]
VALUE = {"id": 7, "name": "Ada", "mail": "ada@example.org", "age": 36, "tags": ["a", "b"]}


def fresh(keys: list[str]) -> list[str]:
    """Equal keys that nobody has looked up before, so that no hash is known."""
    return ["".join((key[:5], key[5:])) for key in keys]


def filled_dict() -> dict[str, Any]:
    return {name: dict(VALUE) for name in NAMES}


def filled_cachebox() -> Any:
    return cachebox.LRUCache(CAPACITY, filled_dict())


def filled_tierce() -> Any:
    cache = tierce.Cache[Any](max_entries=CAPACITY, environ=False)
    for name, value in filled_dict().items():
        cache[name] = value
    return cache


def filled_tierce_by_bytes() -> Any:
    """The default: a bound on bytes, so that each value is weighed when it is put in."""
    cache = tierce.Cache[Any](max_bytes="256MB", environ=False)
    for name, value in filled_dict().items():
        cache[name] = value
    return cache


def load(key: str) -> Any:
    return dict(VALUE)


def lru_memo() -> Callable[[str], Any]:
    memo = functools.lru_cache(CAPACITY)(load)
    for name in NAMES:
        memo(name)
    return memo


def cachebox_memo() -> Callable[[str], Any]:
    memo = cachebox.cached(cachebox.LRUCache(CAPACITY), postprocess=None)(load)
    for name in NAMES:
        memo(name)
    return memo


FILLED = {"dict": filled_dict, "cachebox.LRUCache": filled_cachebox, "tierce.Cache": filled_tierce}


def each_call(call: Callable[[str], Any]) -> Callable[[Iterable[str]], None]:
    def run(keys: Iterable[str]) -> None:
        for key in keys:
            call(key)

    return run


def each_subscript(cache: Any) -> Callable[[Iterable[str]], None]:
    def run(keys: Iterable[str]) -> None:
        for key in keys:
            cache[key]

    return run


def each_store(cache: Any) -> Callable[[Iterable[str]], None]:
    def run(keys: Iterable[str]) -> None:
        value = VALUE
        for key in keys:
            cache[key] = value

    return run


def each_load(cache: Any) -> Callable[[Iterable[str]], None]:
    def run(keys: Iterable[str]) -> None:
        get_or_load = cache.get_or_load
        loader = list
        for key in keys:
            get_or_load(key, loader)

    return run


def nothing(keys: Iterable[str]) -> None:
    for _key in keys:
        pass


def cases() -> list[Any]:
    found: list[tuple[str, str, Callable[[], Callable[[Iterable[str]], None]], list[str], bool]] = [
        ("loop", "(empty loop)", lambda: nothing, NAMES, False)
    ]
    for name, make in FILLED.items():
        found += [
            ("get", name, lambda make=make: each_call(make().get), NAMES, False),
            ("get, fresh str", name, lambda make=make: each_call(make().get), NAMES, True),
            ("get, miss", name, lambda make=make: each_call(make().get), MISSING, False),
            ("subscript", name, lambda make=make: each_subscript(make()), NAMES, False),
            ("set over", name, lambda make=make: each_store(make()), NAMES, False),
        ]
    bounded = filled_tierce_by_bytes
    found += [
        ("set over", "tierce.Cache by bytes", lambda: each_store(bounded()), NAMES, False),
        ("memoized", "functools.lru_cache", lambda: each_call(lru_memo()), NAMES, False),
        ("memoized", "cachebox.cached", lambda: each_call(cachebox_memo()), NAMES, False),
        ("memoized", "tierce get_or_load", lambda: each_load(filled_tierce()), NAMES, False),
    ]
    return [
        pytest.param(*case, number, id=f"{case[0]}/{case[1]}/pass-{number}")
        for number in range(PASSES)
        for case in found
    ]


@pytest.mark.parametrize(("question", "rival", "make", "keys", "renew", "number"), cases())
def test_hit(
    benchmark: Any,
    question: str,
    rival: str,
    make: Callable[[], Callable[[Iterable[str]], None]],
    keys: list[str],
    renew: bool,
    number: int,
) -> None:
    run = make()
    benchmark.group = question
    benchmark.extra_info.update(question=question, rival=rival, operations=len(keys))
    benchmark.extra_info["pass"] = number

    def setup() -> tuple[tuple[list[str]], dict[str, Any]]:
        return (fresh(keys) if renew else keys,), {}

    benchmark.pedantic(run, setup=setup, rounds=ROUNDS, warmup_rounds=3)
