"""Keyspaces: keys of one shape, with defaults of their own."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import tierce
from conftest import MakeShared

AnyCache = tierce.Cache[Any]


def test_values_stand_in_their_places_by_order_or_name() -> None:
    cache = AnyCache()
    posts = cache.keyspace("user/:id/posts/:post/end")
    assert posts.pattern == "user/:id/posts/:post/end"
    assert posts.cache is cache
    posts.set(7, "hello", "one")
    assert cache["user/7/posts/hello/end"] == "one"
    posts.set(7, "two", post="hello")
    posts.set("three", post="bye", id=-7)
    assert posts.get(7, "hello") == posts.get(7, post="hello") == posts.get(post="hello", id=7)
    assert posts.get(id="-7", post="bye") == "three"
    assert posts.key(10**30, "") == b"user/1000000000000000000000000000000/posts//end"
    entry = posts.get_entry(7, "hello", max_age=60)
    assert entry is not None
    assert entry.value == "two"
    posts.delete(7, post="hello")
    assert posts.get(7, "hello") is None
    assert posts.get(7, "hello", default="none") == "none"


def test_no_value_leaves_its_place() -> None:
    pairs = AnyCache().keyspace(":x/:y")
    sly = ["a/b", "a%2Fb", "a%b", "a", "", "%", "/", "a/", "../a", "%25", "é", "1"]
    keys = {pairs.key(one, other) for one, other in itertools.product(sly, sly)}
    assert len(keys) == len(sly) ** 2
    assert all(key.count(b"/") == 1 for key in keys)


def test_its_defaults_go_before_those_of_the_cache_and_after_those_of_a_call(
    make_shared: MakeShared,
) -> None:
    for tiering in ("L1", "L1L2"):
        clock = tierce.ManualClock()
        cache = make_shared(tiering, clock=clock, ttl=10, stale_if_error=100)
        users = cache.keyspace("user/:id", ttl=60, negative_ttl=20)

        def fail() -> Any:
            raise OSError

        users.set(1, "set")
        users.set(2, "short", ttl=5)
        assert users.get_or_load(3, lambda: "loaded") == "loaded"
        assert users.get_or_load(4, lambda: "short", ttl=5) == "short"
        assert users.get_or_load(lambda: tierce.ABSENT, id=5, default=None) is None
        cache["user/6"] = "of the cache"
        clock.advance(11)
        assert [users.get(id=n) for n in range(1, 7)] == ["set", None, "loaded", None, None, None]
        assert users.get_or_load(5, fail, default="still absent") == "still absent"
        clock.advance(50)
        assert users.get(1) is None
        assert users.get(1, allow_stale=True) == "set"
        assert users.get_or_load(1, fail) == "set"
        assert users.refresh(1, lambda: "new") == "new"
        users.expire(1)
        assert users.get(1) is None
        told = users.get_or_load(9, lambda context: context.text, with_context=True)
        assert told == "user/9"


def test_hits_of_a_keyspace_are_loaded_ahead() -> None:
    clock = tierce.ManualClock()
    cache = AnyCache(clock=clock)
    users = cache.keyspace("user/:id", ttl=100, refresh_ahead=0.5)
    assert users.get_or_load(1, lambda: "old") == "old"
    clock.advance(51)
    while users.get_or_load(1, lambda: "new") == "old":
        pass
    assert cache["user/1"] == "new"


def test_tasks_use_it_too() -> None:
    users = AnyCache().keyspace("user/:id", ttl=60)
    calls: list[int] = []

    async def load() -> str:
        calls.append(1)
        await asyncio.sleep(0)
        return "Ada"

    async def main() -> None:
        answers = await asyncio.gather(*(users.aget_or_load(7, load) for _ in range(20)))
        assert answers == ["Ada"] * 20
        assert await users.aget_or_load(load, id=7) == "Ada"

    asyncio.run(main())
    assert calls == [1]


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        ("", "empty"),
        ("user//:id", "empty"),
        ("user/:id/", "empty"),
        ("us%er/:id", "percent"),
        ("user/:", "name of a place"),
        ("user/:i-d", "name of a place"),
        ("user/id", "no place"),
        ("user/:id/:id", "two places have the name id"),
        ("user/:ttl", "must not be called ttl"),
        ("user/:default", "must not be called default"),
    ],
)
def test_a_wrong_pattern_is_refused_by_name_and_rule(pattern: str, rule: str) -> None:
    with pytest.raises(tierce.ConfigError, match=rule) as raised:
        AnyCache().keyspace(pattern)
    assert f'"{pattern}"' in str(raised.value)


def test_wrong_arguments_are_refused() -> None:
    users = AnyCache().keyspace("user/:id")
    for call, message in (
        (lambda: users.get(), "missing a required argument: 'id'"),
        (lambda: users.get(1, 2), "takes 1 values"),
        (lambda: users.get(1, id=2), "multiple values"),
        (lambda: users.get(1.5), "id must be str or int"),  # type: ignore[arg-type]
        (lambda: users.get(True), "id must be str or int"),
        (lambda: users.get(b"x"), "id must be str or int"),  # type: ignore[arg-type]
        (lambda: users.get(1, name=2), "unexpected keyword argument 'name'"),
        (lambda: users.delete(1, ttl=2), "unexpected keyword argument 'ttl'"),
        (lambda: users.set(), "takes 1 values and 1 more"),
        (lambda: users.set(1), "missing a required argument: 'id'"),
        (lambda: users.get_or_load(1, 5), "load must be callable"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_what_is_done_is_counted_by_label() -> None:
    cache = AnyCache()
    users = cache.keyspace("user/:id", label="people")
    guests = cache.keyspace("guest/:name", label="people")
    cache.keyspace("order/:id")

    async def load() -> str:
        return "Eve"

    assert users.get(7) is None
    assert users.get_or_load(7, lambda: "Ada") == "Ada"
    assert users.get_or_load(7, lambda: "Ada") == "Ada"
    assert users.get(7) == "Ada"
    assert users.get(7, default=None, allow_stale=True) == "Ada"
    assert users.get_entry(7) is not None
    assert users.refresh(7, lambda: "Bob") == "Bob"
    assert asyncio.run(_awaited(guests.aget_or_load("Eve", load))) == "Eve"
    assert asyncio.run(_awaited(guests.aget_or_load("Eve", load))) == "Eve"
    users.set(8, "Eve")
    users.expire(8)
    users.delete(8)
    counted = cache.stats()["keyspaces"]
    assert counted["people"] == {"hits": 5, "misses": 4, "loads": 3, "changes": 3}
    assert counted["order/:id"] == {"hits": 0, "misses": 0, "loads": 0, "changes": 0}


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


def test_a_cache_counts_a_thousand_labels_at_most() -> None:
    cache = AnyCache()
    for number in range(1_000):
        cache.keyspace("user/:id", label=str(number))
    with pytest.raises(tierce.ConfigError, match="one too many"):
        cache.keyspace("user/:id", label="one too many")
    cache.keyspace("user/:id", label="7")


def test_a_keyspace_or_a_call_is_kept_to_its_tiers(make_shared: MakeShared) -> None:
    cache, other = make_shared("L1L2"), make_shared("L1L2")
    drafts = cache.keyspace("draft/:id", tiers="L1")
    drafts.set(7, "mine")
    assert (drafts.get(7), cache["draft/7"], other.get("draft/7")) == ("mine", "mine", None)
    cache["draft/7"] = "of all"
    assert other["draft/7"] == "of all"
    drafts.set(7, "mine again")
    assert other.get("draft/7") is None
    assert drafts.get_or_load(8, lambda: "loaded") == "loaded"
    assert drafts.get(8, default="none", max_age=60) == "loaded"
    assert other.get("draft/8") is None

    cache.set("a", 1, tiers="L2")
    assert cache.get("a", tiers="L1") is None
    assert cache.get_entry("a", tiers="L1") is None
    assert cache.get("a", tiers="L2") == 1
    assert cache.get("a", tiers="L1") is None
    assert cache.get("a") == 1
    assert cache.get("a", tiers="L1") == 1
    assert cache.get_or_load("b", lambda: 2, tiers="L1") == 2
    assert other.get("b") is None
    users = cache.cached(key="plain/:number", tiers="L1")(lambda number: number)
    assert users(7) == 7
    assert users.key(7) not in other


def test_what_names_no_tiers_is_refused() -> None:
    cache = AnyCache()
    with pytest.raises(tierce.ConfigError, match="L4"):
        cache.get("a", tiers="L4")
    with pytest.raises(tierce.ConfigError, match="L4"):
        cache.keyspace("user/:id", tiers="L4")
    bad: Any = 1
    with pytest.raises(TypeError, match="tiers must be a str"):
        cache.set("a", 1, tiers=bad)
    with pytest.raises(TypeError, match="unexpected keyword argument 'tiers'"):
        cache.set_if_absent("a", 1, tiers="L1")  # type: ignore[call-arg]


def test_a_clearable_keyspace_is_cleared_with_those_below(make_shared: MakeShared) -> None:
    for tiering in ("L1", "L1L2"):
        cache = make_shared(tiering)
        users = cache.keyspace("user/:id", clearable=True)
        posts = cache.keyspace("user/:user/posts/:post", clearable=True)
        plain = cache.keyspace("user/:id/plain/:x")
        users.set(7, "Ada", tags=["people"])
        posts.set(7, "hello", "world")
        assert posts.get_or_load(7, "bye", lambda: "loaded") == "loaded"
        plain.set(7, 1, "stays")
        posts.clear()
        assert posts.get(7, "hello") is None
        assert posts.get(7, "bye") is None
        assert users.get(7) == "Ada"
        posts.set(7, "hello", "again")
        users.clear()
        assert (users.get(7), posts.get(7, "hello")) == (None, None)
        assert plain.get(7, 1) == "stays"
        with pytest.raises(tierce.ConfigError, match="clearable=True"):
            plain.clear()
