"""`@cache.cached`: functions that remember their results."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import math
import pickle
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import tierce
from conftest import MakeShared

AnyCache = tierce.Cache[Any]
CACHE = AnyCache()
CALLS: list[Any] = []


@CACHE.cached
def at_home(number: int) -> int:
    """Squares."""
    CALLS.append(number)
    return number * number


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    CACHE.clear()
    CALLS.clear()


def test_a_function_is_called_once_for_equal_arguments(make_shared: MakeShared) -> None:
    for cache in (AnyCache(), make_shared()):
        CALLS.clear()

        @cache.cached
        def add(one: int, other: int = 2, *, third: int = 3, calls: Any = None) -> int:
            return one + other + third

        @cache.cached()
        def note(one: Any, other: Any = 2, *more: Any, third: Any = 3, **named: Any) -> str:
            CALLS.append((one, other, more, third, named))
            return repr((one, other, more, third, named))

        assert add(1) == add(1, 2) == add(one=1) == add(other=2, one=1) == add(1, third=3) == 6
        assert len(cache) == 1
        for _ in range(2):
            assert note(1) == note(1, 2) == note(one=1, third=3)
            note(1, 2, 3)
            note(1, 2, 3, 4)
            note(1, x=5)
            note(1, x=5, y=6)
            assert note(1, y=6, x=5) == note(1, x=5, y=6)
        assert len(CALLS) == 5


def test_arguments_that_differ_never_share_a_key() -> None:
    @CACHE.cached
    def remember(*values: Any) -> Any:
        return values

    sly: list[Any] = [
        1, 1.0, True, "1", b"1", None, "None", "True", (), (1,), (1, 1), ((1,), 1), "", b"",
        "a,b", 'a","b', "a\\", '\\"', "(1,)", -1, 10**30, 0.1, float("inf"), "é", "1.0", ("1",),
    ]  # fmt: skip
    keys = {remember.key(one, other) for one in sly for other in sly}
    keys |= {remember.key(one) for one in sly} | {remember.key()}
    assert len(keys) == len(sly) ** 2 + len(sly) + 1
    for one in sly:
        assert remember(one) == (one,)
        assert type(remember(one)[0]) is type(one)


def test_what_no_key_can_be_made_of_is_refused() -> None:
    class Name(str):
        pass

    @CACHE.cached
    def remember(value: Any) -> Any:
        return value

    for value in ([1], {}, object(), {1}, Name("x"), (1, [2])):
        with pytest.raises(TypeError, match="key"):
            remember(value)
    with pytest.raises(UnicodeEncodeError):
        remember("\ud800")


def test_a_pattern_names_parameters() -> None:
    @CACHE.cached(key="user/:id/posts/:post", ttl=60)
    def post(session: object, id: int, post: str = "first") -> str:  # noqa: A002
        CALLS.append(id)
        return f"{id} {post}"

    assert post(object(), 7) == "7 first" == post([1], id=7)
    assert CACHE["user/7/posts/first"] == "7 first"
    assert post.key(None, 7, "a/b%") == b"user/7/posts/a%2Fb%25"
    assert CALLS == [7]
    for wrong in (1.5, None, b"x", True):
        with pytest.raises(TypeError, match="id must be str or int"):
            post(None, wrong)  # type: ignore[arg-type]
    for pattern, error in (
        ("user/:name", ValueError),
        ("user//:id", tierce.ConfigError),
        ("user/:id/:id", tierce.ConfigError),
        ("us%er/:id", tierce.ConfigError),
        ("user/:", tierce.ConfigError),
        (7, TypeError),
    ):
        with pytest.raises(error):
            CACHE.cached(key=pattern)(lambda id: id)  # type: ignore[arg-type]  # noqa: A006


def test_a_function_may_make_the_key() -> None:
    @CACHE.cached(key=lambda request, *, page=1: f"page {page} of {request['path']}")
    def render(request: dict[str, str], *, page: int = 1) -> str:
        return f"{request} {page}"

    text = render({"path": "/"})
    assert CACHE["page 1 of /"] is text
    assert render({"path": "/", "agent": "other"}) is text

    @CACHE.cached(key=lambda: 5)  # type: ignore[arg-type, return-value]
    def wrong() -> None: ...

    with pytest.raises(TypeError, match="a key must be str or bytes"):
        wrong()


def test_wrong_arguments_are_refused_as_the_function_would() -> None:
    for call in (
        lambda: at_home(),  # type: ignore[call-arg]
        lambda: at_home(1, 2),  # type: ignore[call-arg]
        lambda: at_home(1, number=2),  # type: ignore[misc]
        lambda: at_home(other=2),  # type: ignore[call-arg]
        lambda: at_home.delete(),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match="argument"):
            call()
    assert CALLS == []


def test_results_are_expired_deleted_and_refreshed_by_arguments() -> None:
    clock = tierce.ManualClock()
    cache = AnyCache(clock=clock, ttl=60, stale_if_error=600)
    results: list[Any] = ["one", "two", "three"]

    @cache.cached(key="result/:name")
    def pop(name: str) -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    assert pop("a") == "one"
    assert pop.refresh(name="a") == "two" == pop("a")
    pop.delete("a")
    assert pop("a") == "three"
    pop.expire("a")
    error = ValueError()
    results.append(error)
    assert pop("a") == "three"
    results.append(error)
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        pop.refresh("a")
    assert raised.value is error


def test_what_is_absent_is_none_and_remembered() -> None:
    cache = AnyCache(negative_ttl=60)

    @cache.cached
    def find(number: int) -> Any:
        CALLS.append(number)
        return tierce.ABSENT

    assert find(7) is None
    assert find(7) is None
    assert CALLS == [7]


def test_a_method_is_cached_for_each_key_and_keeps_no_object() -> None:
    class Table:
        def __init__(self, name: str) -> None:
            self.name = name

        @CACHE.cached(key=lambda self, row: f"{self.name}/{row}")
        def row(self, row: int) -> str:
            """Reads a row."""
            CALLS.append(row)
            return f"{self.name} {row}"

        @CACHE.cached
        def broken(self) -> None: ...

        @staticmethod
        @CACHE.cached
        def static(number: int) -> int:
            return number

        @classmethod
        @CACHE.cached(key=lambda cls, number: f"{cls.__name__} {number}")
        def of_class(cls, number: int) -> str:
            return f"{cls.__name__} {number}"

    one, other = Table("one"), Table("other")
    assert (one.row(1), other.row(1), one.row(row=1)) == ("one 1", "other 1", "one 1")
    assert CALLS == [1, 1]
    one.row.delete(1)
    assert "one/1" not in CACHE
    assert "other/1" in CACHE
    assert one.row.key(2) == b"one/2"
    assert one.row.refresh(1) == "one 1"
    one.row.expire(1)
    assert one.row.__name__ == "row"
    assert Table.row(one, 1) == "one 1"
    with pytest.raises(TypeError, match="Table"):
        one.broken()
    assert Table.static(5) == one.static(5) == 5  # type: ignore[call-arg]
    assert Table.of_class(5) == "Table 5"  # type: ignore[call-arg, arg-type]
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def test_it_looks_like_the_function() -> None:
    function: Callable[[int], int] = at_home
    assert function(7) == 49
    assert at_home.__name__ == "at_home"
    assert at_home.__doc__ == "Squares."
    assert at_home.__wrapped__(3) == 9
    assert list(inspect.signature(at_home).parameters) == ["number"]
    assert at_home.cache is CACHE
    assert "at_home" in repr(at_home)
    assert pickle.loads(pickle.dumps(at_home)) is at_home
    assert copy.copy(at_home) is at_home
    assert functools.partial(at_home, 4)() == 16
    assert at_home.key(7) == f"{__name__}.at_home(7)".encode()


def test_all_threads_share_a_call_and_its_exception() -> None:
    gate = threading.Barrier(20)
    error = ValueError()

    @CACHE.cached(key="fail/:name")
    def fail(name: str) -> None:
        CALLS.append(name)
        while CACHE.stats()["load_waits"] < waits + 19:
            pass
        raise error

    waits = CACHE.stats()["load_waits"]

    def ask() -> BaseException | None:
        gate.wait()
        with pytest.raises(ValueError) as raised:  # noqa: PT011
            fail("a")
        return raised.value

    with ThreadPoolExecutor(20) as pool:
        answers = [future.result(30) for future in [pool.submit(ask) for _ in range(20)]]
    assert all(answer is error for answer in answers)
    assert CALLS == ["a"]


def test_a_function_may_call_itself_with_other_arguments() -> None:
    @CACHE.cached
    def fibonacci(number: int) -> int:
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    assert fibonacci(60) == 1548008755920

    @CACHE.cached
    def circle(number: int) -> int:
        return circle(number)

    with pytest.raises(tierce.ReentrantLoadError):
        circle(1)


def test_a_key_function_may_use_the_cache_and_other_functions() -> None:
    def make(name: str) -> str:
        return f"{at_home(len(name))}/{name}"

    @CACHE.cached(key=make)
    def length(name: str) -> int:
        return at_home(len(name))

    assert length("abc") == 9
    assert CACHE["9/abc"] == 9


def test_only_functions_are_cached() -> None:
    with pytest.raises(TypeError, match="needs a function"):
        CACHE.cached(5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="unexpected keyword argument 'tll'"):
        CACHE.cached(tll=5)  # type: ignore[call-overload]


def test_functions_that_a_name_does_not_tell_apart_need_a_key() -> None:
    class Table:
        def row(self, number: int) -> int:
            return number

        @classmethod
        def of_class(cls, number: int) -> int:
            return number

        @CACHE.cached(key=lambda self, number: f"row/{number}")
        def kept(self, number: int) -> int:
            return number

    def reader(table: dict[int, str]) -> Callable[[int], str]:
        def read(number: int) -> str:
            return table[number]

        return read

    def bare(function: Callable[[int], int]) -> Callable[[int], int]:
        def wrapper(number: int) -> int:
            return function(number)

        return wrapper

    own: Any = Table().kept
    for function, names in (
        (lambda number: number, ["<lambda>", "a lambda"]),
        (Table().row, ["Table.row", "bound to one Table"]),
        (Table.of_class, ["Table.of_class", "bound to one type"]),
        (own, ["Table.kept", "bound to one Table"]),
        ("a".upper, ["upper", "bound to one str"]),
        (reader({7: "Ada"}), ["reader.<locals>.read", "it uses table"]),
        (bare(_square), ["bare.<locals>.wrapper", "it uses function"]),
    ):
        with pytest.raises(TypeError, match="give it a key of its own") as raised:
            CACHE.cached(function)
        assert all(name in str(raised.value) for name in names)
        with pytest.raises(TypeError, match="give it a key of its own"):
            CACHE.cached(ttl=60)(function)
    one = CACHE.cached(key="one/:number")(reader({7: "Ada"}))
    other = CACHE.cached(key="other/:number")(reader({7: "Grace"}))
    assert (one(7), other(7)) == ("Ada", "Grace")


def test_a_wrapper_with_the_name_of_its_function_needs_no_key() -> None:
    @CACHE.cached
    def local(number: int) -> int:
        return number

    @functools.wraps(_square)
    def wrapper(number: int) -> int:
        return _square(number)

    assert local(7) == 7
    assert CACHE.cached(wrapper)(7) == 49
    assert CACHE.cached(math.sqrt)(4.0) == 2.0


def _square(number: int) -> int:
    return number * number


def test_a_function_that_is_defined_again_finds_what_the_first_one_left() -> None:
    space: dict[str, Any] = {"cache": CACHE, "__name__": "notebook"}
    source = "@cache.cached\ndef answer():\n    return {}"
    exec(source.format(1), space)
    assert space["answer"]() == 1
    exec(source.format(2), space)
    assert space["answer"]() == 1
    assert space["answer"].refresh() == 2


def test_no_mark_in_an_argument_makes_two_calls_alike() -> None:
    """At each place, short and long: marks are looked for eight letters at a time."""
    cache = AnyCache()

    @cache.cached
    def pair(one: str, other: str = "") -> tuple[str, str]:
        return (one, other)

    keys: dict[bytes, tuple[str, str]] = {}
    for length in range(20):
        for place in range(length + 1):
            for mark in ('"', "\\", '","', '\\"'):
                text = "x" * place + mark + "y" * (length - place)
                for call in ((text, ""), (text[:place], text[place:]), (text, text)):
                    keys.setdefault(pair.key(*call), call)
                    assert keys[pair.key(*call)] == call
                    assert pair(*call) == call


def test_no_name_of_an_argument_makes_two_calls_alike() -> None:
    cache = AnyCache()

    @cache.cached
    def search(*more: Any, **named: Any) -> Any:
        return (more, named)

    sly: list[dict[str, Any]] = [
        {"a": 1, "b": 2},
        {"a=1,b": 2},
        {'"a=1,b"': 2},
        {"a": 1, "b=2": 3},
        {"a=1": 1},
        {'a\\"': 1},
        {"a)": 1},
        {"1": 1},
        {"": 1},
        {"größe": 1},
    ]
    assert len({search.key(**named) for named in sly}) == len(sly)
    for named in sly:
        assert search(**named) == ((), named)
    assert search.key(a=1, größe=2).endswith("search(a=1,größe=2)".encode())
    assert search.key(**{"a=1,b": 2}).endswith(b'search("a=1,b"=2)')


def test_marks_are_written_with_a_backslash() -> None:
    cache = AnyCache()
    name = cache.cached(key=None)(_named)
    for text, written in (
        ("a", '"a"'),
        ('12345678"', '"12345678\\""'),
        ("\\2345678", '"\\\\2345678"'),
    ):
        assert name.key(text).endswith(f"_named({written})".encode())


def _named(text: str) -> str:
    return text
