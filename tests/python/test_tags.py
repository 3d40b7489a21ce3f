"""Tags: what is removed or made stale together, whatever its keys are."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

import tierce
from conftest import MakeShared

AnyCache = tierce.Cache[Any]


def test_what_bears_a_tag_is_removed_and_nothing_else() -> None:
    cache = AnyCache()
    cache.set("name:7", "Ada", tags=["user:7", b"people"])
    cache.set("name:8", "Eve", ttl=60, tags=("user:8", "people"))
    cache["name:9"] = "Bob"
    cache.remove_tag("user:7")
    assert list(cache.get_many(["name:7", "name:8", "name:9"])) == ["name:8", "name:9"]
    names: list[str | bytes] = ["nothing", b"people"]
    cache.remove_tags(iter(names))
    assert list(cache.get_many(["name:7", "name:8", "name:9"])) == ["name:9"]


def test_what_bears_an_expired_tag_is_stale() -> None:
    cache = AnyCache(ttl=60, stale_if_error=600)
    cache.set("a", 1, tags=["t"])
    cache.set("b", 2, tags=["t"], stale_if_error=0)
    cache.expire_tag(b"t")
    assert (cache.get("a"), cache.get("a", allow_stale=True)) == (None, 1)
    assert cache.get("b", allow_stale=True) is None
    cache.set("a", 3, tags=["t"])
    cache.expire_tags(["t"])
    assert (cache.get("a"), cache.get("a", allow_stale=True)) == (None, 3)


def test_loads_bear_the_tags_of_the_call_and_of_what_is_loaded() -> None:
    cache = AnyCache()
    users = cache.keyspace("user/:id")

    @cache.cached(tags=["squares"])
    def square(number: int) -> int:
        return number * number

    async def load() -> Any:
        return tierce.Loaded("async", tags=["own"])

    def loaded() -> Any:
        return tierce.Loaded("loaded", tags=["own"])

    def fill() -> list[str]:
        square(7)
        cache.get_or_load("a", loaded, tags=["call"])
        cache.get_or_load_many(["b"], lambda keys: {"b": loaded()}, tags=["call"])
        cache.loading(lambda context: loaded(), tags=["call"]).get("c")
        users.get_or_load(7, loaded, tags=["call"])
        users.set(8, "set", tags=["call", "own"])
        asyncio.run(_awaited(cache.aget_or_load("d", load, tags=["call"])))
        asyncio.run(_awaited(cache.aset("e", 1, tags=["call", "own"])))
        return ["a", "b", "c", "user/7", "user/8", "d", "e"]

    keys = fill()
    assert list(cache.get_many(keys)) == keys
    cache.remove_tag("own")
    assert list(cache.get_many(keys)) == []
    assert list(cache.get_many(fill())) == keys
    asyncio.run(_awaited(cache.aremove_tags(["call"])))
    assert list(cache.get_many(keys)) == []
    assert square.key(7) in cache
    asyncio.run(_awaited(cache.aexpire_tags(["squares"])))
    assert square.key(7) not in cache


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


def test_a_tag_removed_during_a_load_counts_though_the_loader_names_it_later() -> None:
    cache = AnyCache()

    def load() -> Any:
        cache.remove_tag("user:7")
        return tierce.Loaded("old", tags=["user:7"])

    assert cache.get_or_load("name:7", load) == "old"
    assert "name:7" not in cache


@pytest.mark.parametrize("tags", ["user:7", b"user:7", 7, [7], [["user:7"]], {"a": 1}.values()])
def test_what_names_no_tags_is_refused(tags: Any) -> None:
    cache = AnyCache()
    for call in (
        lambda: cache.set("a", 1, tags=tags),
        lambda: cache.get_or_load("a", lambda: 1, tags=tags),
        lambda: tierce.Loaded(1, tags=tags),
        lambda: cache.remove_tags(tags),
        lambda: cache.expire_tags(tags),
    ):
        with pytest.raises(TypeError, match="tag"):
            call()
    assert "a" not in cache


def test_too_many_tags_are_refused_and_a_keyspace_takes_none() -> None:
    cache = AnyCache()
    with pytest.raises(tierce.ConfigError, match="129 tags"):
        cache.set("a", 1, tags=[str(number) for number in range(129)])
    with pytest.raises(TypeError, match="unexpected keyword argument 'tags'"):
        cache.keyspace("user/:id", tags=["t"])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="a tag must be str or bytes, not int"):
        cache.remove_tag(7)  # type: ignore[arg-type]
    cache.close()
    with pytest.raises(tierce.ClosedError):
        cache.remove_tag("t")


def test_no_thread_sees_what_was_removed_by_its_tag() -> None:
    """Two threads set and load values of the current era; one ends eras by removing the tag."""
    cache = AnyCache()
    era = ended = 0
    wrong: list[tuple[int, int]] = []
    stop = threading.Event()

    def load() -> Any:
        return tierce.Loaded(era, tags=["era"])

    def read(key: str) -> None:
        while not stop.is_set():
            least = ended
            found = cache.get_or_load(key, load)
            if found < least:
                wrong.append((found, least))

    threads = [threading.Thread(target=read, args=(key,)) for key in ("a", "b", "a")]
    for thread in threads:
        thread.start()
    for number in range(1, 2_000):
        era = number
        if number % 2:
            cache.remove_tag("era")
        else:
            cache.expire_tag("era")
        # Whoever asks from now on is to see this era or a later one.
        ended = number
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong[:3]


OTHER = """
import sys, tierce
cache = tierce.Cache(tiering="L1L2", shared_directory=sys.argv[1],
    shared_max_bytes="8MB", shared_max_entries=1000, environ=False)
cache.set("c", 3, tags=["t"])
print(cache.get("a"), cache.get("b"), flush=True)
sys.stdin.readline()
print(cache.get("a"), cache.get("b"), cache.get("c"), flush=True)
sys.stdin.readline()
cache.remove_tag("u")
"""


def test_a_tag_is_removed_for_all_processes_of_the_host(
    make_shared: MakeShared, tmp_path: Any
) -> None:
    cache = make_shared()
    cache.set("a", 1, tags=["t"])
    cache.set("b", 2, tags=["u"])
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "1 2\n"
        assert cache.get("c") == 3
        cache.remove_tag("t")
        print(file=other.stdin, flush=True)
        assert other.stdout.readline() == "None 2 None\n"
        assert cache.get("c") is None
        print(file=other.stdin, flush=True)
        other.wait(30)
        assert cache.get("b") is None


def test_all_whose_keys_begin_so_are_removed_or_stale(make_shared: MakeShared) -> None:
    for tiering in ("L1", "L1L2"):
        options = {"invalidation.prefix_delimiter": "/"}
        cache = make_shared(tiering, ttl=60, stale_if_error=600, options=options)
        for key in ("user/7/name", "user/7/posts/1", "user/8/name", "user"):
            cache[key] = key
        cache.remove_prefix("user/7/")
        assert "user/7/name" not in cache
        assert "user/7/posts/1" not in cache
        assert cache["user/8/name"] == "user/8/name"
        cache.expire_prefix(b"user/")
        assert cache.get("user/8/name") is None
        assert cache.get("user/8/name", allow_stale=True) == "user/8/name"
        assert cache["user"] == "user"
        assert cache.get_or_load("user/8/name", lambda: "new") == "new"
        asyncio.run(_awaited(cache.aexpire_prefix("user/8/")))
        assert cache.get("user/8/name", allow_stale=True) == "new"
        asyncio.run(_awaited(cache.aremove_prefix("user/8/")))
        assert cache.get("user/8/name", allow_stale=True) is None
        for wrong, rule in (("user", "must end in the prefix_delimiter"), ("a/" * 9, "at most 8")):
            with pytest.raises(tierce.ConfigError, match=rule):
                cache.remove_prefix(wrong)
    with pytest.raises(tierce.ConfigError, match="must be built with a prefix_delimiter"):
        AnyCache().expire_prefix("user/")
