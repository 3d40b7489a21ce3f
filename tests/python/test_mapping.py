"""The cache as a mapping, and the methods beside it."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import tierce

AnyCache = tierce.Cache[Any]


def test_what_was_set_is_got_as_the_very_object(cache: AnyCache) -> None:
    value = {"name": "Ada", "tags": [1, 2]}
    cache.set("user:7", value)
    assert cache.get("user:7") is value
    assert cache["user:7"] is value
    assert cache.get_or_load("user:7", lambda: None) is value


def test_any_object_lives_in_memory(cache: AnyCache) -> None:
    class Own:
        __slots__ = ()

    for value in (Own(), Own, (1, {2}), {3: b"4"}, float("nan"), lambda: 1, "\ud800", iter(())):
        cache["key"] = value
        assert cache["key"] is value


def test_missing_keys(cache: AnyCache) -> None:
    marker = object()
    assert cache.get("no") is None
    assert cache.get("no", marker) is marker
    assert cache.get("no", default=marker) is marker
    assert "no" not in cache
    with pytest.raises(KeyError) as raised:
        cache["no"]
    assert raised.value.args == ("no",)
    with pytest.raises(KeyError, match="no"):
        del cache["no"]
    with pytest.raises(KeyError, match="no"):
        cache.pop("no")
    cache.delete("no")


def test_many_keys_at_once(cache: AnyCache) -> None:
    value = {"name": "Ada"}
    cache.set("user:7", value)
    cache.set("none", None)
    keys: list[str | bytes] = ["user:7", "no", b"user:7", "none", "user:7"]
    found = cache.get_many(keys)
    assert list(found) == ["user:7", b"user:7", "none"]
    assert found["user:7"] is value
    assert found[b"user:7"] is value
    assert found["none"] is None
    assert cache.get_many(key for key in ("user:7",)) == {"user:7": value}
    assert cache.get_many([]) == {}
    assert cache.get_many(["k" * 70_000]) == {}
    wrong: Any
    for wrong in ([7], ["user:7", None], 7):
        with pytest.raises(TypeError):
            cache.get_many(wrong)
    cache.close()
    assert cache.get_many(["user:7"]) == {}


def test_none_is_a_value(cache: AnyCache) -> None:
    cache["none"] = None
    assert "none" in cache
    assert cache.get("none", 1) is None
    assert cache["none"] is None
    assert cache.get_or_load("none", lambda: 1) is None
    assert cache.pop("none", 1) is None
    assert "none" not in cache


def test_delete_pop_setdefault_clear_and_len(cache: AnyCache) -> None:
    cache["a"], cache["b"], cache["c"] = 1, 2, 3
    assert len(cache) == 3
    del cache["a"]
    assert cache.pop("b") == 2
    assert len(cache) == 1
    assert cache.pop("b", 5) == 5
    assert cache.setdefault("c", 9) == 3
    assert cache.setdefault("d", 9) == 9
    assert cache.setdefault("e") is None
    assert cache.get("d") == 9
    cache.clear()
    assert len(cache) == 0
    assert not cache
    with pytest.raises(TypeError, match="at most 2"):
        cache.pop("a", 1, 2)  # type: ignore[call-overload]


@pytest.mark.parametrize("keys", ["ab", b"ab", "", 7, None])
def test_one_key_in_the_place_of_many_is_refused(cache: AnyCache, keys: Any) -> None:
    cache["a"], cache["b"] = 1, 2
    calls: list[Callable[[], Any]] = [
        lambda: cache.get_many(keys),
        lambda: cache.delete_many(keys),
        lambda: cache.get_or_load_many(keys, lambda missing: dict.fromkeys(missing, 3)),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=f"^keys must be .*, not {type(keys).__name__}$"):
            call()
    assert cache.get_many(iter(["a", "b"])) == {"a": 1, "b": 2}
    cache.delete_many({"a": 0, "b": 0})
    assert len(cache) == 0


def test_text_and_its_utf8_bytes_are_one_key(cache: AnyCache) -> None:
    for text in ("a", "", "grüße", "日本語", "\U0001f600", "a\0b"):
        cache[text] = text
        assert cache[text.encode()] == text
        cache[text.encode()] = 1
        assert cache[text] == 1
    cache[b"\xff\xfe"] = "not text"
    assert cache[b"\xff\xfe"] == "not text"


def test_subclasses_of_str_and_bytes_are_keys_by_their_content(cache: AnyCache) -> None:
    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            raise AssertionError("keys are compared by their bytes")

        __hash__ = None  # type: ignore[assignment]

    cache["x"] = 1
    assert cache[Name("x")] == 1


@pytest.mark.parametrize("key", [1, None, 1.5, ("a",), ["a"], bytearray(b"a"), memoryview(b"a")])
def test_other_keys_are_refused_by_name(cache: AnyCache, key: Any) -> None:
    name = type(key).__name__
    calls: list[Callable[[], Any]] = [
        lambda: cache.get(key),
        lambda: cache.set(key, 1),
        lambda: cache[key],
        lambda: cache.__setitem__(key, 1),
        lambda: cache.__delitem__(key),
        lambda: key in cache,
        lambda: cache.delete(key),
        lambda: cache.pop(key, None),
        lambda: cache.setdefault(key, 1),
        lambda: cache.get_or_load(key, lambda: 1),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=f"a key must be str or bytes, not {name}"):
            call()


def test_a_key_without_utf8_form_is_refused(cache: AnyCache) -> None:
    with pytest.raises(UnicodeEncodeError):
        cache["\ud800"] = 1
    with pytest.raises(UnicodeEncodeError):
        cache.get("\ud800")


def test_a_key_above_64_kib_is_refused_by_changes_and_missed_by_reads(cache: AnyCache) -> None:
    key = "k" * (64 * 1024)
    cache[key] = 1
    assert cache[key] == 1
    with pytest.raises(tierce.TooLargeError, match="65537"):
        cache[key + "k"] = 1
    assert cache.get(key + "k") is None
    with pytest.raises(tierce.TooLargeError):
        cache.get_or_load(key + "k", lambda: 1)


def test_iteration_is_refused(cache: AnyCache) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        iter(cache)  # type: ignore[call-overload]


def test_close_and_context_manager() -> None:
    with AnyCache() as cache:
        cache["a"] = 1
    assert cache.get("a") is None
    assert len(cache) == 0
    with pytest.raises(tierce.ClosedError) as raised:
        cache["a"] = 1
    assert raised.value.kind == "closed"
    assert raised.value.tier is None
    with pytest.raises(tierce.ClosedError):
        cache.get_or_load("a", lambda: 1)
    cache.close()
    assert cache.health()["status"] == "unhealthy"


def test_an_exception_passes_through_the_context_manager() -> None:
    with pytest.raises(ZeroDivisionError), tierce.Cache[Any]():
        raise ZeroDivisionError


def test_values_are_released_by_overwrite_delete_clear_and_close() -> None:
    class Own:
        pass

    def put(cache: AnyCache) -> weakref.ref[Own]:
        value = Own()
        cache["key"] = value
        return weakref.ref(value)

    cache = AnyCache()
    kept = put(cache)
    gc.collect()
    assert kept() is not None
    cache["key"] = 1
    assert kept() is None
    for release in (lambda: cache.delete("key"), cache.clear, lambda: cache.pop("key")):
        kept = put(cache)
        release()
        assert kept() is None
    kept = put(cache)
    cache.close()
    assert kept() is None


def test_values_are_released_with_the_cache() -> None:
    class Own:
        pass

    cache, value = AnyCache(), Own()
    cache["key"] = value
    kept = weakref.ref(value)
    del cache, value
    assert kept() is None


def test_a_cycle_through_the_cache_lasts_until_clear_or_close() -> None:
    class Own:
        cache: AnyCache

    for release in (AnyCache.clear, AnyCache.close):
        cache = AnyCache()
        value = Own()
        value.cache = cache
        cache["own"] = value
        kept, whole = weakref.ref(value), weakref.ref(cache)
        del value
        gc.collect()
        assert kept() is not None
        release(cache)
        del cache
        gc.collect()
        assert kept() is None
        assert whole() is None


def test_it_cannot_be_copied_or_pickled(cache: AnyCache) -> None:
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"cannot pickle or copy 'tierce\.Cache' object"):
            call(cache)


def test_it_is_referable_hashable_and_says_what_it_is(cache: AnyCache) -> None:
    cache["a"] = 1
    assert weakref.ref(cache)() is cache
    assert hash(cache) == hash(cache)
    assert repr(cache) == "<tierce.Cache tiering=L1 entries=1>"
    assert tierce.Cache.__module__ == "tierce"
    with pytest.raises(AttributeError):
        cache.tiering = "L2"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        cache.other = 1  # type: ignore[attr-defined]


def test_statistics_and_health_are_plain_documents(cache: AnyCache) -> None:
    cache["a"] = 1
    cache.get("a")
    cache.get("b")
    stats = cache.stats()
    assert (stats["hits"], stats["misses"]) == (1, 1)
    health = cache.health()
    assert health["status"] == "healthy"
    assert health["tierMetrics"]["hits"] == 1
    assert health["tierMetrics"]["lastHitTier"] == "L1-Memory"
    assert health["dependencies"][0]["name"] == "L1-Memory"


def test_every_read_counts_one_hit_or_one_miss(cache: AnyCache) -> None:
    """The short way to L1 must not count twice."""
    cache["a"] = 1
    for read in (
        lambda: cache.get("a"),
        lambda: cache["a"],
        lambda: "a" in cache,
        lambda: cache.get_or_load("a", lambda: 2),
    ):
        before = cache.stats()
        read()
        after = cache.stats()
        assert (after["hits"] - before["hits"], after["misses"] - before["misses"]) == (1, 0)
    for read in (
        lambda: cache.get("b"),
        lambda: "b" in cache,
        lambda: cache.get_or_load("b", lambda: 2, ttl=0),
    ):
        before = cache.stats()
        read()
        after = cache.stats()
        assert (after["hits"] - before["hits"], after["misses"] - before["misses"]) == (0, 1)
