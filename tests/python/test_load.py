"""`get_or_load`: one load for all who wait, and how exceptions travel."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tierce
from conftest import MakeShared, run_python

AnyCache = tierce.Cache[Any]


def test_fifty_threads_load_once(make_shared: MakeShared) -> None:
    for cache in (AnyCache(), make_shared()):
        calls: list[int] = []
        gate = threading.Barrier(50)
        value = ["loaded"]

        def load(calls: list[int] = calls, value: Any = value) -> Any:
            calls.append(threading.get_ident())
            time.sleep(0.2)
            return value

        def ask(cache: AnyCache = cache, gate: Any = gate, load: Any = load) -> Any:
            gate.wait()
            return cache.get_or_load("key", load)

        with ThreadPoolExecutor(50) as pool:
            answers = [future.result() for future in [pool.submit(ask) for _ in range(50)]]
        assert len(calls) == 1
        assert all(answer is value for answer in answers)


def test_what_the_loader_raises_comes_out_unchanged_and_is_not_kept(cache: AnyCache) -> None:
    class OwnError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(one)
            self.two = two

    for error in (OwnError(1, two=2), KeyError("x"), KeyboardInterrupt(), SystemExit(3)):

        def load(error: BaseException = error) -> Any:
            raise error

        with pytest.raises(type(error)) as raised:
            cache.get_or_load("key", load)
        assert raised.value is error
        assert [frame.name for frame in raised.traceback][-1] == "load"
    assert cache.get_or_load("key", lambda: 1) == 1


def test_who_waits_gets_the_same_exception(cache: AnyCache) -> None:
    began, go_on = threading.Event(), threading.Event()
    error = ValueError("from the loader")

    def load() -> Any:
        began.set()
        assert go_on.wait(30)
        raise error

    def must_not_load() -> Any:
        raise AssertionError("one load is enough")

    with ThreadPoolExecutor(4) as pool:
        leader = pool.submit(cache.get_or_load, "key", load)
        assert began.wait(30)
        waiters = [pool.submit(cache.get_or_load, "key", must_not_load) for _ in range(3)]
        wait_until_joined(cache, 3)
        go_on.set()
        for future in [leader, *waiters]:
            assert future.exception(30) is error


def test_who_waits_is_not_interrupted_by_the_interrupt_of_the_leader(cache: AnyCache) -> None:
    began, go_on = threading.Event(), threading.Event()

    def load() -> Any:
        began.set()
        assert go_on.wait(30)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(4) as pool:
        leader = pool.submit(cache.get_or_load, "key", load)
        assert began.wait(30)
        waiters = [pool.submit(cache.get_or_load, "key", lambda: "anew") for _ in range(3)]
        wait_until_joined(cache, 3)
        go_on.set()
        assert isinstance(leader.exception(30), KeyboardInterrupt)
        assert [waiter.result(30) for waiter in waiters] == ["anew"] * 3


def wait_until_joined(cache: AnyCache, count: int) -> None:
    deadline = time.monotonic() + 30
    while cache.stats()["load_waits"] < count:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_loader_may_use_the_cache_for_other_keys(cache: AnyCache) -> None:
    def fibonacci(number: int) -> int:
        if number < 2:
            return number
        return sum(
            cache.get_or_load(f"fib:{n}", lambda n=n: fibonacci(n))  # type: ignore[misc]
            for n in (number - 1, number - 2)
        )

    assert fibonacci(40) == 102334155


def test_a_loader_that_asks_for_its_own_key_is_told(cache: AnyCache) -> None:
    with pytest.raises(tierce.ReentrantLoadError) as raised:
        cache.get_or_load("key", lambda: cache.get_or_load("key", lambda: 1))
    assert isinstance(raised.value, RuntimeError)
    assert "key" not in cache
    cache.get_or_load("key", lambda: cache.get("key", "nothing yet"))
    assert cache["key"] == "nothing yet"


def test_a_change_during_the_load_wins(cache: AnyCache) -> None:
    def load() -> str:
        cache["key"] = "set"
        return "loaded"

    assert cache.get_or_load("key", load) == "loaded"
    assert cache["key"] == "set"

    def load_again() -> str:
        cache.delete("other")
        return "loaded"

    assert cache.get_or_load("other", load_again) == "loaded"
    assert "other" not in cache


def test_waiting_is_bounded() -> None:
    cache = AnyCache(options={"load.wait": "50ms"})
    began, go_on = threading.Event(), threading.Event()

    def load() -> Any:
        began.set()
        assert go_on.wait(30)
        return 1

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(cache.get_or_load, "key", load)
        assert began.wait(30)
        with pytest.raises(tierce.TimeoutError) as raised:
            cache.get_or_load("key", lambda: 2)
        assert isinstance(raised.value, TimeoutError)
        go_on.set()
        assert leader.result(30) == 1


def test_a_loader_must_be_callable(cache: AnyCache) -> None:
    with pytest.raises(TypeError, match="callable"):
        cache.get_or_load("key", 5)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        cache.get_or_load("key", lambda key: 1)  # type: ignore[misc, arg-type]


def test_other_threads_run_while_one_loads_or_waits(cache: AnyCache) -> None:
    began, go_on = threading.Event(), threading.Event()

    def load() -> Any:
        began.set()
        assert go_on.wait(30)
        return 1

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(cache.get_or_load, "key", load)
        assert began.wait(30)
        waiter = pool.submit(cache.get_or_load, "key", lambda: 2)
        wait_until_joined(cache, 1)
        cache["free"] = 1
        assert cache["free"] == 1
        go_on.set()
        assert (leader.result(30), waiter.result(30)) == (1, 1)


def test_control_c_reaches_a_thread_that_loads() -> None:
    out = run_python(
        """
        import os, signal, threading, time, tierce
        # Where tests run in the background it is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cache = tierce.Cache()
        def load():
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(60)
        try:
            cache.get_or_load("key", load)
        except KeyboardInterrupt:
            print("interrupted", cache.get("key"))
        print(cache.get_or_load("key", lambda: "next"))
        """
    )
    assert out.split() == ["interrupted", "None", "next"]


def test_control_c_reaches_a_thread_that_waits() -> None:
    out = run_python(
        """
        import os, signal, threading, time, tierce
        # Where tests run in the background it is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cache = tierce.Cache()
        began, go_on = threading.Event(), threading.Event()
        def load():
            began.set()
            go_on.wait(60)
            return "loaded"
        leader = threading.Thread(target=lambda: cache.get_or_load("key", load))
        leader.start()
        began.wait(60)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        begin = time.monotonic()
        try:
            cache.get_or_load("key", lambda: "mine")
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - begin < 5)
        # The load goes on, and who comes now still waits for it.
        threading.Timer(0.2, go_on.set).start()
        print(cache.get_or_load("key", lambda: "mine"))
        leader.join()
        """
    )
    assert out.split() == ["interrupted", "True", "loaded"]
