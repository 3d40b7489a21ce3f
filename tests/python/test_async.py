"""asyncio: one load for all tasks, and a loop that is never blocked."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tierce
from conftest import MakeShared, run_python
from test_load import wait_until_joined

AnyCache = tierce.Cache[Any]


class OriginError(Exception):
    pass


async def fail() -> Any:
    raise OriginError


async def never() -> Any:
    raise AssertionError("one load is enough")


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 60))


async def until_joined(cache: AnyCache, count: int) -> None:
    while cache.stats()["load_waits"] < count:
        await asyncio.sleep(0.001)


def test_a_thousand_tasks_load_once(make_shared: MakeShared) -> None:
    for cache in (AnyCache(), make_shared()):
        calls: list[int] = []

        async def load(calls: list[int] = calls) -> list[str]:
            calls.append(1)
            await asyncio.sleep(0.05)
            return ["loaded"]

        async def main(cache: AnyCache = cache, load: Any = load) -> Any:
            return await asyncio.gather(*(cache.aget_or_load("key", load) for _ in range(1000)))

        answers = run(main())
        assert len(calls) == 1
        assert len(answers) == 1000
        assert all(answer is answers[0] for answer in answers)
        assert cache["key"] == ["loaded"]


def test_tasks_and_threads_share_loads_in_several_loops() -> None:
    cache = AnyCache()
    calls: list[str] = []
    gate = threading.Barrier(6)

    async def load() -> str:
        calls.append("task")
        while cache.stats()["load_waits"] < 29:
            await asyncio.sleep(0.001)
        return "value"

    def load_here() -> str:
        calls.append("thread")
        wait_until_joined(cache, 29)
        return "value"

    def of_loop() -> list[str]:
        async def main() -> list[str]:
            gate.wait()
            return list(await asyncio.gather(*(cache.aget_or_load("a", load) for _ in range(9))))

        return list(run(main()))

    def of_thread() -> list[str]:
        gate.wait()
        return [cache.get_or_load("a", load_here)]

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(of) for of in (of_loop, of_thread) for _ in range(3)]
        answers = [answer for future in futures for answer in future.result(30)]
    assert len(calls) == 1
    assert answers == ["value"] * 30


def test_a_hit_needs_no_round_of_the_loop() -> None:
    cache = AnyCache()
    cache["a"] = value = ("a", "tuple")
    ready = cache.aget_or_load("a", never)
    assert isinstance(ready, collections.abc.Coroutine)
    with pytest.raises(StopIteration) as stopped:
        ready.send(None)
    assert stopped.value.value is value

    async def main() -> None:
        rounds: list[int] = []
        asyncio.get_running_loop().call_soon(rounds.append, 1)
        assert await cache.aget_or_load("a", never) is value
        assert await cache.aget("a") is value
        assert rounds == []
        task = asyncio.create_task(cache.aget_or_load("a", never))
        assert await task is value
        assert await asyncio.wait_for(cache.aget_or_load("a", never), 5) is value
        assert await asyncio.gather(cache.aget("a"), cache.aget("b", 5)) == [value, 5]
        with pytest.raises(OriginError):
            cache.aget("a").throw(OriginError())
        cache.aget("a").close()

    run(main())


def test_other_tasks_run_while_one_loads_or_waits() -> None:
    cache = AnyCache()

    async def main() -> None:
        go_on = asyncio.Event()

        async def load() -> int:
            await go_on.wait()
            return 1

        leader = asyncio.create_task(cache.aget_or_load("a", load))
        waiter = asyncio.create_task(cache.aget_or_load("a", never))
        await until_joined(cache, 1)
        assert await cache.aget_or_load("b", lambda: asyncio.sleep(0, "other")) == "other"
        go_on.set()
        assert list(await asyncio.gather(leader, waiter)) == [1, 1]

    run(main())


def test_all_tasks_get_the_exception_of_the_loader() -> None:
    cache = AnyCache()
    error = OriginError()
    calls: list[int] = []

    async def load() -> Any:
        calls.append(1)
        await until_joined(cache, 19)
        raise error

    async def main() -> None:
        asked = [cache.aget_or_load("a", load, failure_backoff=(10, 10)) for _ in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(answer is error for answer in answers)
        with pytest.raises(OriginError):
            await cache.aget_or_load("a", never, failure_backoff=(10, 10))

    run(main())
    assert calls == [1]


def test_a_cancelled_task_hands_its_load_over() -> None:
    cache = AnyCache()

    async def main() -> None:
        cancelled: list[str] = []

        async def hang() -> Any:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append("loader")
                raise

        leader = asyncio.create_task(cache.aget_or_load("a", hang))
        await asyncio.sleep(0.01)
        waiters = [
            asyncio.create_task(cache.aget_or_load("a", lambda: asyncio.sleep(0.01, "next")))
            for _ in range(3)
        ]
        await until_joined(cache, 3)
        waiters[0].cancel()
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        assert await asyncio.gather(*waiters[1:]) == ["next", "next"]
        assert cancelled == ["loader"]

    run(main())


def test_a_waiter_that_is_cancelled_leaves_the_others_alone() -> None:
    cache = AnyCache()

    async def main() -> None:
        leader = asyncio.create_task(cache.aget_or_load("a", lambda: asyncio.sleep(0.05, "value")))
        await asyncio.sleep(0.01)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(cache.aget_or_load("a", never), 0.01)
        assert await leader == "value"

    run(main())


def test_a_loader_cancelled_by_others_cancels_its_caller_alone() -> None:
    cache = AnyCache()

    async def main() -> None:
        async def load() -> Any:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_later(0.02, task.cancel)
            await asyncio.sleep(3600)

        leader = asyncio.create_task(cache.aget_or_load("a", load))
        await asyncio.sleep(0.001)
        waiter = asyncio.create_task(cache.aget_or_load("a", lambda: asyncio.sleep(0, "mine")))
        with pytest.raises(asyncio.CancelledError):
            await leader
        assert await waiter == "mine"

    run(main())


def test_a_loop_that_ends_leaves_its_load_to_threads() -> None:
    cache = AnyCache()
    began = threading.Event()

    def first() -> None:
        async def hang() -> Any:
            began.set()
            while cache.stats()["load_waits"] < 1:
                await asyncio.sleep(0.001)
            raise SystemExit

        with pytest.raises(SystemExit):
            asyncio.run(cache.aget_or_load("a", hang))

    thread = threading.Thread(target=first)
    thread.start()
    assert began.wait(30)
    assert cache.get_or_load("a", lambda: "of a thread") == "of a thread"
    thread.join(30)


def test_a_loader_that_asks_for_its_own_key_is_told() -> None:
    cache, other = AnyCache(), AnyCache()

    async def main() -> None:
        with pytest.raises(tierce.ReentrantLoadError):
            await cache.aget_or_load("a", lambda: cache.aget_or_load(b"a", never))

        async def through_tasks() -> Any:
            return await asyncio.gather(
                cache.aget_or_load("b", lambda: cache.aget_or_load("a", never))
            )

        with pytest.raises(tierce.ReentrantLoadError):
            await cache.aget_or_load("a", through_tasks)
        loaded = await cache.aget_or_load(
            "a", lambda: other.aget_or_load("a", lambda: asyncio.sleep(0, "other cache"))
        )
        assert loaded == "other cache"

    run(main())


def test_a_change_during_the_load_wins() -> None:
    cache = AnyCache()

    async def main() -> None:
        async def load() -> str:
            await asyncio.sleep(0)
            await cache.aset("a", "set", ttl=60)
            await asyncio.sleep(0)
            return "loaded"

        assert await cache.aget_or_load("a", load) == "loaded"
        assert cache["a"] == "set"
        await cache.aexpire("a")
        assert await cache.aget("a") is None
        cache["a"] = 1
        await cache.adelete("a")
        assert "a" not in cache

    run(main())


def test_freshness_holds_for_tasks_too() -> None:
    clock = tierce.ManualClock()
    cache = AnyCache(clock=clock, ttl=60, stale_if_error=600, negative_ttl=5)

    async def main() -> None:
        async def absent() -> Any:
            return tierce.ABSENT

        async def told(context: tierce.LoadContext) -> Any:
            return tierce.Loaded((context.text, context.reason), ttl=5)

        assert await cache.aget_or_load("a", told, with_context=True) == ("a", "miss")
        clock.advance(6)
        assert await cache.aget("a") is None
        assert await cache.aget("a", allow_stale=True) == ("a", "miss")
        entry = await cache.aget_or_load_entry("a", fail)
        assert (entry.value, entry.is_stale, entry.origin) == (("a", "miss"), True, "L1")
        with pytest.raises(OriginError):
            await cache.aget_or_load("a", fail, stale_if_error=0)
        assert await cache.aget_or_load("b", absent, default=3) == 3
        with pytest.raises(tierce.AbsentError):
            await cache.aget_or_load("b", never)
        begin = time.monotonic()
        with pytest.raises(tierce.TimeoutError):
            await cache.aget_or_load("c", lambda: asyncio.sleep(3600), hard_timeout=0.05)
        assert time.monotonic() - begin < 10
        assert await cache.aget_or_load("c", lambda: asyncio.sleep(0, 1)) == 1

    run(main())


def test_a_cached_coroutine_function_is_taken_for_one() -> None:
    class Table:
        @tierce.Cache[Any]().cached(key="row/:number")
        async def row(self, number: int) -> int:
            return number

    @tierce.Cache[Any]().cached
    async def user(number: int) -> int:
        return number

    @tierce.Cache[Any]().cached
    def plain(number: int) -> int:
        return number

    questions: list[Callable[[Any], bool]] = [asyncio.iscoroutinefunction]
    if sys.version_info >= (3, 12):
        questions = [inspect.iscoroutinefunction]
    for is_one in questions:
        assert is_one(user)
        assert is_one(Table.row)
        assert is_one(Table().row)
        assert not is_one(plain)
    assert run(user(7)) == 7


def test_a_coroutine_function_is_cached() -> None:
    cache = AnyCache()
    calls: list[int] = []

    @cache.cached(key="user/:number", ttl=60)
    async def user(number: int, wait: float = 0.01) -> str:
        """Loads."""
        calls.append(number)
        await asyncio.sleep(wait)
        return f"user {number} {len(calls)}"

    class Table:
        @cache.cached(key="row/:number")
        async def row(self, number: int) -> int:
            return number

    async def main() -> None:
        answers = await asyncio.gather(user(7), user(number=7), user(7, wait=0.0))
        assert list(answers) == ["user 7 1"] * 3
        assert await user(7) == "user 7 1"
        assert cache["user/7"] == "user 7 1"
        assert await user.refresh(7) == "user 7 2" == await user(7)
        await user.delete(7)
        assert await user(7) == "user 7 3"
        await user.expire(7)
        assert "user/7" not in cache
        assert await Table().row(5) == 5
        await Table().row.delete(5)
        assert "row/5" not in cache

    run(main())
    assert user.__doc__ == "Loads."
    assert user.key(7) == b"user/7"


def test_wrong_loaders_are_refused() -> None:
    cache = AnyCache()
    with pytest.raises(TypeError, match="callable"):
        cache.aget_or_load("a", 5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="unexpected keyword argument 'tll'"):
        cache.aget_or_load("a", never, tll=5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="key"):
        cache.aget_or_load(5, never)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="await"):
        run(cache.aget_or_load("a", lambda: 5))  # type: ignore[arg-type, return-value]
    assert run(cache.aget_or_load("a", lambda: asyncio.sleep(0, 5))) == 5


def test_nothing_is_left_when_the_loop_is_gone() -> None:
    out = run_python(
        """
        import asyncio, gc, os, tierce
        cache = tierce.Cache()
        def descriptors():
            return len(os.listdir("/proc/self/fd"))
        async def main(number):
            await asyncio.gather(*(
                cache.aget_or_load(f"{number} {n % 7}", lambda: asyncio.sleep(0.001, n))
                for n in range(50)
            ))
        asyncio.run(main(0))
        gc.collect()
        before = descriptors()
        for number in range(1, 20):
            asyncio.run(main(number))
        gc.collect()
        print(descriptors() - before)
        """
    )
    assert out.split() == ["0"]


def test_an_unawaited_call_holds_nothing() -> None:
    cache = AnyCache()
    with pytest.warns(RuntimeWarning, match="never awaited"):  # noqa: PT031
        unused = cache.aget_or_load("a", never)
        del unused
        gc.collect()
    assert cache.get_or_load("a", lambda: 1) == 1
