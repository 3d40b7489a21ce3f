"""How asyncio tasks wait for loads. The binary module calls it; nobody imports it."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from tierce._errors import ReentrantLoadError
from tierce._tierce import LoadContext, _Bell, _Operation

_LoadKey = tuple[int, bytes]

# What is being loaded around here: by this task, and by those that wait for it.
_loading: contextvars.ContextVar[tuple[_LoadKey, ...]] = contextvars.ContextVar(
    "tierce.loading", default=()
)


class _Doorkeeper:
    """Wakes the tasks of one event loop that wait for threads of the core."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bell = _Bell()
        self.waiting: dict[int, asyncio.Future[None]] = {}
        loop.add_reader(self.bell.fileno(), self.answer)

    def answer(self) -> None:
        # Who rings before its task waits is not heard too early: this runs in the same thread,
        # and only when that task has given it up.
        for number in self.bell.take():
            self.wake(number)

    def wake(self, number: int) -> None:
        sleeper = self.waiting.get(number)
        if sleeper is not None and not sleeper.done():
            sleeper.set_result(None)


_doorkeepers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Doorkeeper] = (
    weakref.WeakKeyDictionary()
)


async def drive(
    operation: _Operation, cache: object, load: Callable[..., Awaitable[Any]], with_context: bool
) -> Any:
    """Polls a load until it ends, and calls its loader when it asks for that."""
    loop = asyncio.get_running_loop()
    keeper = _doorkeepers.get(loop)
    if keeper is None:
        keeper = _doorkeepers[loop] = _Doorkeeper(loop)
    number = operation.number
    this = (id(cache), operation.key)
    if this in _loading.get():
        raise _reentrant()
    loading: asyncio.Task[Any] | None = None
    try:
        while (asked := operation.poll(keeper.bell)) is not True:
            if isinstance(asked, LoadContext):
                loading = loop.create_task(_call(this, load, (asked,) if with_context else ()))
                loading.add_done_callback(lambda _: keeper.wake(number))
            sleeper = keeper.waiting[number] = loop.create_future()
            try:
                await sleeper
            finally:
                del keeper.waiting[number]
            if loading is not None and loading.done():
                if not loading.cancelled() and isinstance(error := loading.exception(), Exception):
                    operation.failed(error)
                else:
                    # Who was cancelled, and not by us, has no answer for those who wait.
                    operation.loaded(loading.result())
                loading = None
        return operation.outcome()
    finally:
        operation.close()
        if loading is not None:
            loading.cancel()


async def _call(this: _LoadKey, load: Callable[..., Awaitable[Any]], arguments: Any) -> Any:
    _loading.set((*_loading.get(), this))
    return await load(*arguments)


def _reentrant() -> ReentrantLoadError:
    error = ReentrantLoadError("a loader asks for the key that it is loading")
    error.kind = "reentrant"
    return error


async def aside(
    is_far: bool, call: Callable[..., Any], arguments: tuple[Any, ...], keywords: Any
) -> Any:
    """Calls what may wait for L3 in the executor of the event loop, and what may not at once."""
    keywords = keywords or {}
    if not is_far:
        return call(*arguments, **keywords)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: call(*arguments, **keywords))
