"""Which values go down to L2, and that they come back equal and of the same type."""

from __future__ import annotations

import asyncio
import collections
import datetime
import decimal
import enum
import math
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tierce
from conftest import MakeShared


def same(left: Any, right: Any) -> bool:
    """Equal in value, type and order, also for zero and its sign."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**700), max_value=10**700)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
    max_leaves=30,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values | st.binary())
def test_every_value_that_is_taken_comes_back_the_same(make_shared: MakeShared, value: Any) -> None:
    cache = make_shared("L2")
    cache["key"] = value
    back = cache["key"]
    assert same(back, value)
    cache.close()


@pytest.mark.parametrize(
    "value",
    [
        0,
        -0.0,
        1.0,
        1e16,
        1e308,
        5e-324,
        0.1,
        2**63 - 1,
        2**63,
        -(2**63),
        -(2**63) - 1,
        10**600,
        10**600 - 1,
        -(10**1200),
        7 * 10**4299,
        3**20_000,
        "",
        b"",
        '\x00\x1f"\\/\u2028\U0001f600',
        b"\x00\xff" * 1000,
        [],
        {},
        [[]],
        {"": {"": []}},
        {"b": 1, "a": 2},
        [True, 1, 1.0, None],
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_edges_come_back_the_same(make_shared: MakeShared, value: Any) -> None:
    cache = make_shared("L2")
    cache["key"] = value
    assert same(cache["key"], value)


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


class Members(dict):  # type: ignore[type-arg]
    pass


Point = collections.namedtuple("Point", "x y")

REFUSED = [
    ((1, 2), "tuple"),
    (Point(1, 2), "Point"),
    ({1, 2}, "set"),
    (frozenset(), "frozenset"),
    (bytearray(b"x"), "bytearray"),
    (memoryview(b"x"), "memoryview"),
    (1j, "complex"),
    (object(), "object"),
    (Colour.RED, "Colour"),
    (Name("x"), "Name"),
    (Members(), "Members"),
    (collections.OrderedDict(), "OrderedDict"),
    (datetime.date(2024, 1, 1), "date"),
    (decimal.Decimal(1), "Decimal"),
    (float("nan"), "NaN"),
    (float("inf"), "inf"),
    ("\ud800", "surrogates"),
    (len, "builtin_function_or_method"),
]


@pytest.mark.parametrize(("value", "names"), REFUSED)
def test_other_values_are_refused_by_type_and_nothing_is_stored(
    make_shared: MakeShared, value: Any, names: str
) -> None:
    cache = make_shared()
    cache["key"] = "before"
    for call in (
        lambda: cache.set("key", value),
        lambda: cache.set("other", value),
        lambda: cache.get_or_load("other", lambda: value),
        lambda: cache.setdefault("other", value),
    ):
        with pytest.raises(tierce.CodecError, match=names) as raised:
            call()
        assert isinstance(raised.value, TypeError)
    assert cache["key"] == "before"
    assert "other" not in cache


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([1, (2,)], "value[1]: tuple"),
        ({"users": [{}, {"tags": {1}}]}, 'value["users"][1]["tags"]: set'),
        ({"a": {1: 2}}, 'value["a"]: a dict key that is int'),
        ({"a": b"nested"}, 'value["a"]: bytes'),
        ([float("nan")], "value[0]: the float NaN"),
        ({"a": "\ud800"}, 'value["a"]: a str with lone surrogates'),
        ({"\ud800": 1}, "value: a str with lone surrogates"),
        ({True: 1}, "value: a dict key that is bool"),
        ({Name("x"): 1}, "value: a dict key that is Name"),
    ],
)
def test_the_message_says_where(make_shared: MakeShared, value: Any, path: str) -> None:
    with pytest.raises(tierce.CodecError) as raised:
        make_shared().set("key", value)
    assert str(raised.value).startswith(path)


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_depth_is_bounded_and_cycles_end(make_shared: MakeShared) -> None:
    cache = make_shared("L2")
    cache["key"] = nested(128)
    assert cache["key"] == nested(128)
    endless: list[Any] = []
    endless.append(endless)
    circle: dict[str, Any] = {}
    circle["self"] = circle
    for value in (nested(129), nested(100_000), endless, circle):
        with pytest.raises(tierce.CodecError, match="nested deeper than 128 levels"):
            cache["key"] = value
    assert cache["key"] == nested(128)


def test_no_code_of_the_value_runs(make_shared: MakeShared) -> None:
    class Trap:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

        def __reduce__(self) -> Any:
            raise AssertionError

        def __repr__(self) -> str:
            raise AssertionError

        def __sizeof__(self) -> int:
            raise AssertionError

        def __eq__(self, other: object) -> bool:
            raise AssertionError

        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(tierce.CodecError, match="Trap"):
        make_shared().set("key", [Trap()])


def test_a_copy_comes_from_below_and_the_object_from_memory(make_shared: MakeShared) -> None:
    ours, theirs = make_shared(), make_shared()
    value = {"name": "Ada"}
    ours["key"] = value
    assert ours["key"] is value
    copy = theirs["key"]
    assert copy == value
    assert copy is not value
    assert theirs["key"] is copy


def test_a_value_survives_a_change_of_tiering(tmp_path: Path) -> None:
    cache = tierce.Cache[Any](
        shared_directory=tmp_path, shared_max_bytes="8MB", shared_max_entries=1000
    )
    cache["tuple"] = (1, 2)
    cache.retier("L1L2")
    assert cache.tiering == "L1L2"
    with pytest.raises(tierce.CodecError):
        cache["tuple"] = (1, 2)
    cache["list"] = [1, 2]
    with pytest.raises(tierce.ConfigError, match="L9"):
        cache.retier("L9")
    cache.retier("L2")
    assert cache["list"] == [1, 2]
    cache.close()


async def _wait() -> int:
    return 7


async def _count_slowly() -> AsyncIterator[int]:
    yield 7


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (_wait, "coroutine"),
        (_count_slowly, "async_generator"),
        (lambda: (number for number in (1, 2)), "generator"),
        (lambda: map(str, (1, 2)), "map"),
        (lambda: filter(None, (1, 2)), "filter"),
        (lambda: zip((1, 2), (3, 4), strict=True), "zip"),
    ],
)
def test_what_can_be_used_only_once_is_refused_in_all_tiers(
    make_shared: MakeShared, make: Any, names: str
) -> None:
    made: list[Any] = []

    def once(*_: Any) -> Any:
        made.append(make())
        return made[-1]

    async def awaited() -> Any:
        return once()

    def check(cache: tierce.Cache[Any]) -> None:
        cache["kept"] = 1
        users = cache.keyspace("user/:id")
        function = cache.cached(key="key")(once)
        version = cache.get_versioned("key")[1]
        for call in (
            lambda: cache.set("key", once()),
            lambda: cache.__setitem__("key", once()),
            lambda: users.set(7, once()),
            lambda: cache.setdefault("key", once()),
            lambda: cache.set_if_absent("key", once()),
            lambda: cache.compare_and_set("key", version, once()),
            lambda: cache.update("kept", once),
            lambda: cache.get_or_load("key", once),
            lambda: cache.get_or_load("key", lambda: tierce.Loaded(once())),
            lambda: cache.get_or_load_many(["key"], lambda keys: {"key": once()}),
            lambda: cache.loading(once).get("key"),
            lambda: users.get_or_load(7, once),
            lambda: asyncio.run(_result(cache.aset("key", once()))),
            lambda: asyncio.run(_result(cache.aget_or_load("key", awaited))),
            function,
        ):
            with pytest.raises(tierce.CodecError, match=f"^{names}: .* used only once"):
                call()
            if names == "coroutine":
                made[-1].close()
        assert cache.get_many(["key", "user/7", "kept"]) == {"kept": 1}

    check(tierce.Cache[Any]())
    check(make_shared())


async def _result(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def test_iterators_of_other_classes_are_kept() -> None:
    cache = tierce.Cache[Any]()
    numbers = iter([1, 2])
    cache["a"] = numbers
    assert cache["a"] is numbers
