from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from os import PathLike
from types import TracebackType
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    TypeAlias,
    TypeVar,
    final,
    overload,
    type_check_only,
)

from tierce._errors import TierceError

__all__ = [
    "ABSENT",
    "Cache",
    "Cached",
    "Entry",
    "Event",
    "Guard",
    "Keyspace",
    "LoadContext",
    "Loaded",
    "Loading",
    "ManualClock",
    "Version",
    "XFetch",
    "__version__",
]

_V = TypeVar("_V")
_V_co = TypeVar("_V_co", covariant=True)
_R_co = TypeVar("_R_co", covariant=True)
_T = TypeVar("_T")
_R = TypeVar("_R")
_S = TypeVar("_S")
_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_K = TypeVar("_K", bound=str | bytes)
_Key: TypeAlias = str | bytes
_Span: TypeAlias = float | timedelta | str
_Part: TypeAlias = str | int
_Path: TypeAlias = str | PathLike[str]
_Ahead: TypeAlias = float | XFetch | Literal[False]

__version__: Final[str]
ABSENT: Final[Loaded[Any]]

@final
class XFetch:
    def __new__(cls, beta: float = 1.0) -> XFetch: ...
    @property
    def beta(self) -> float: ...

@final
class ManualClock:
    def __new__(cls) -> ManualClock: ...
    def advance(self, span: _Span) -> None: ...

@final
class Entry(Generic[_V_co]):
    @property
    def value(self) -> _V_co: ...
    @property
    def origin(self) -> str: ...
    @property
    def is_stale(self) -> bool: ...
    @property
    def is_absent(self) -> bool: ...
    @property
    def age(self) -> float | None: ...

@final
class Version: ...

@final
class Event:
    @property
    def kind(self) -> str: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def tier(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def took(self) -> float | None: ...
    @property
    def error(self) -> TierceError | None: ...
    @property
    def count(self) -> int | None: ...
    @property
    def tags(self) -> tuple[bytes, ...] | None: ...
    @property
    def tiering(self) -> tuple[str, str] | None: ...
    @property
    def details(self) -> str: ...

@final
class Guard:
    @property
    def cache(self) -> Cache[Any]: ...
    @property
    def port(self) -> int | None: ...
    def serve(self, address: str = "127.0.0.1:9464", *, token: str | None = None) -> int: ...
    def stop_serving(self) -> None: ...
    def slo(self, window: _Span = "30m") -> dict[str, Any] | None: ...
    def alerts(self) -> list[dict[str, Any]]: ...
    def sinks(self) -> list[dict[str, Any]]: ...
    def metrics_text(self) -> str | None: ...
    def rollout(self) -> dict[str, Any] | None: ...
    def history(self) -> list[dict[str, Any]]: ...
    def start(self, plan: str | None = None, *, by: str = "python") -> None: ...
    def advance(self, *, by: str = "python") -> None: ...
    def force(self, *, by: str = "python") -> None: ...
    def pause(self, *, by: str = "python") -> None: ...
    def resume(self, *, by: str = "python") -> None: ...
    def rollback(self, *, gradual: bool = False, by: str = "python") -> None: ...
    def push(self, name: str, value: float | bool) -> None: ...
    def shed(
        self, to: float | str, *, answer: Literal["stale", "error"] = "stale", by: str = "python"
    ) -> None: ...
    def block(self, *, by: str = "python") -> None: ...
    def refresh(self, *, per_second: int = 100, by: str = "python") -> None: ...
    def reset(self, *, by: str = "python") -> None: ...
    def lift(self, *, by: str = "python") -> None: ...
    def contingency(self) -> dict[str, Any]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Guard: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Loaded(Generic[_V_co]):
    def __new__(
        cls,
        value: _V_co,
        *,
        ttl: _Span | None = None,
        weight: int | None = None,
        validator: bytes | str | None = None,
        tags: Iterable[_Key] | None = None,
    ) -> Loaded[_V_co]: ...
    @staticmethod
    def absent(*, ttl: _Span | None = None) -> Loaded[Any]: ...
    @staticmethod
    def not_modified(
        *, ttl: _Span | None = None, validator: bytes | str | None = None
    ) -> Loaded[Any]: ...

@final
class LoadContext:
    @property
    def key(self) -> bytes: ...
    @property
    def text(self) -> str: ...
    @property
    def has_stale(self) -> bool: ...
    @property
    def stale(self) -> Any: ...
    @property
    def validator(self) -> bytes: ...
    @property
    def reason(self) -> str: ...
    @property
    def deadline(self) -> float | None: ...
    def is_cancelled(self) -> bool: ...

@final
class Loading(Generic[_V]):
    @property
    def cache(self) -> Cache[_V]: ...
    @overload
    def get(self, key: _Key) -> _V: ...
    @overload
    def get(self, key: _Key, *, default: _T) -> _V | _T: ...
    @overload
    def get_entry(self, key: _Key) -> Entry[_V]: ...
    @overload
    def get_entry(self, key: _Key, *, default: _T) -> Entry[_V | _T]: ...
    def refresh(self, key: _Key) -> Entry[_V]: ...

@final
class Keyspace(Generic[_V]):
    @property
    def cache(self) -> Cache[_V]: ...
    @property
    def pattern(self) -> str: ...
    def key(self, *values: _Part, **named: _Part) -> bytes: ...
    def get(self, *values: _Part, **named: Any) -> _V | Any: ...
    def get_entry(self, *values: _Part, **named: Any) -> Entry[_V] | None: ...
    def set(self, *values: Any, **named: Any) -> None: ...
    def delete(self, *values: _Part, **named: _Part) -> None: ...
    def expire(self, *values: _Part, **named: _Part) -> None: ...
    def touch(self, *values: Any, **named: Any) -> bool: ...
    def get_or_load(self, *values: Any, **named: Any) -> _V: ...
    def refresh(self, *values: Any, **named: Any) -> _V: ...
    def aget_or_load(self, *values: Any, **named: Any) -> Coroutine[Any, Any, _V]: ...
    def clear(self) -> None: ...

@final
class Cached(Generic[_P, _R_co]):
    __name__: str
    __qualname__: str
    @property
    def __wrapped__(self) -> Callable[_P, _R_co]: ...
    @property
    def cache(self) -> Cache[Any]: ...
    def __call__(self, *arguments: _P.args, **keywords: _P.kwargs) -> _R_co: ...
    def refresh(self, *arguments: _P.args, **keywords: _P.kwargs) -> _R_co: ...
    def expire(self, *arguments: _P.args, **keywords: _P.kwargs) -> None: ...
    def delete(self, *arguments: _P.args, **keywords: _P.kwargs) -> None: ...
    def key(self, *arguments: _P.args, **keywords: _P.kwargs) -> bytes: ...
    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None, /) -> Cached[_P, _R_co]: ...
    @overload
    def __get__(
        self: Cached[Concatenate[_S, _Q], _R], instance: _S, owner: type[Any] | None = None, /
    ) -> _BoundCached[_Q, _R]: ...

@final
class _BoundCached(Generic[_P, _R_co]):
    @property
    def __self__(self) -> object: ...
    def __call__(self, *arguments: _P.args, **keywords: _P.kwargs) -> _R_co: ...
    def refresh(self, *arguments: _P.args, **keywords: _P.kwargs) -> _R_co: ...
    def expire(self, *arguments: _P.args, **keywords: _P.kwargs) -> None: ...
    def delete(self, *arguments: _P.args, **keywords: _P.kwargs) -> None: ...
    def key(self, *arguments: _P.args, **keywords: _P.kwargs) -> bytes: ...
    def __getattr__(self, name: str, /) -> Any: ...

@type_check_only
class _AsyncCached(Generic[_P, _R_co]):
    __name__: str
    __qualname__: str
    @property
    def __wrapped__(self) -> Callable[_P, Coroutine[Any, Any, _R_co]]: ...
    @property
    def cache(self) -> Cache[Any]: ...
    def __call__(
        self, *arguments: _P.args, **keywords: _P.kwargs
    ) -> Coroutine[Any, Any, _R_co]: ...
    def refresh(self, *arguments: _P.args, **keywords: _P.kwargs) -> Coroutine[Any, Any, _R_co]: ...
    def expire(self, *arguments: _P.args, **keywords: _P.kwargs) -> Coroutine[Any, Any, None]: ...
    def delete(self, *arguments: _P.args, **keywords: _P.kwargs) -> Coroutine[Any, Any, None]: ...
    def key(self, *arguments: _P.args, **keywords: _P.kwargs) -> bytes: ...
    @overload
    def __get__(
        self, instance: None, owner: type[Any] | None = None, /
    ) -> _AsyncCached[_P, _R_co]: ...
    @overload
    def __get__(
        self: _AsyncCached[Concatenate[_S, _Q], _R], instance: _S, owner: type[Any] | None = None, /
    ) -> _AsyncCached[_Q, _R]: ...

@final
class _Decorator:
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[_P, Coroutine[Any, Any, _R]], /
    ) -> _AsyncCached[_P, _R]: ...
    @overload
    def __call__(self, function: Callable[_P, _R], /) -> Cached[_P, _R]: ...

@final
class _Bell:
    def __new__(cls) -> _Bell: ...
    def fileno(self) -> int: ...
    def take(self) -> list[int]: ...

@final
class _Operation:
    @property
    def number(self) -> int: ...
    @property
    def key(self) -> bytes: ...
    def poll(self, bell: _Bell) -> bool | LoadContext: ...
    def loaded(self, answer: Any) -> None: ...
    def failed(self, error: BaseException) -> None: ...
    def outcome(self) -> Any: ...
    def close(self) -> None: ...

@final
class _Ready:
    def __await__(self) -> _Ready: ...
    def __iter__(self) -> _Ready: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, *error: Any) -> Any: ...
    def close(self) -> None: ...

@final
class Cache(Generic[_V]):
    def __new__(
        cls,
        *,
        tiering: str | None = None,
        max_entries: int | None = None,
        max_bytes: int | str | None = None,
        ttl: _Span | None = None,
        name: str | None = None,
        shared_directory: _Path | None = None,
        shared_max_entries: int | None = None,
        shared_max_bytes: int | str | None = None,
        redis: str | None = None,
        service: str | None = None,
        config_file: _Path | None = None,
        environ: bool | Mapping[str, str] | None = None,
        options: dict[str, Any] | None = None,
        clock: ManualClock | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
    ) -> Cache[_V]: ...
    @classmethod
    def from_env(cls) -> Cache[Any]: ...
    @classmethod
    def from_file(
        cls, path: _Path, *, environ: bool | Mapping[str, str] | None = None
    ) -> Cache[Any]: ...
    @overload
    def get(
        self,
        key: _Key,
        default: None = None,
        *,
        allow_stale: bool | None = None,
        max_age: _Span | None = None,
        tiers: str | None = None,
    ) -> _V | None: ...
    @overload
    def get(
        self,
        key: _Key,
        default: _V | _T,
        *,
        allow_stale: bool | None = None,
        max_age: _Span | None = None,
        tiers: str | None = None,
    ) -> _V | _T: ...
    def get_entry(
        self,
        key: _Key,
        *,
        allow_stale: bool | None = None,
        max_age: _Span | None = None,
        tiers: str | None = None,
    ) -> Entry[_V] | None: ...
    def get_many(self, keys: Iterable[_K]) -> dict[_K, _V]: ...
    def set(
        self,
        key: _Key,
        value: _V,
        ttl: _Span | None = None,
        *,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        tiers: str | None = None,
    ) -> None: ...
    def delete(self, key: _Key) -> None: ...
    def delete_many(self, keys: Iterable[_Key]) -> None: ...
    def expire(self, key: _Key) -> None: ...
    def touch(self, key: _Key, ttl: _Span) -> bool: ...
    def clear(self) -> None: ...
    def flush(self) -> bool: ...
    def remove_tag(self, tag: _Key) -> None: ...
    def remove_tags(self, tags: Iterable[_Key]) -> None: ...
    def expire_tag(self, tag: _Key) -> None: ...
    def expire_tags(self, tags: Iterable[_Key]) -> None: ...
    def remove_prefix(self, prefix: _Key) -> None: ...
    def expire_prefix(self, prefix: _Key) -> None: ...
    @overload
    def get_versioned(self, key: _Key, default: None = None) -> tuple[_V | None, Version]: ...
    @overload
    def get_versioned(self, key: _Key, default: _V | _T) -> tuple[_V | _T, Version]: ...
    def compare_and_set(
        self,
        key: _Key,
        version: Version,
        value: _V,
        ttl: _Span | None = None,
        *,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
    ) -> bool: ...
    def set_if_absent(
        self,
        key: _Key,
        value: _V,
        ttl: _Span | None = None,
        *,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
    ) -> bool: ...
    @overload
    def update(
        self,
        key: _Key,
        change: Callable[[_V | None], _V | Loaded[Any]],
        default: None = None,
        ttl: _Span | None = None,
        *,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
    ) -> _V | None: ...
    @overload
    def update(
        self,
        key: _Key,
        change: Callable[[_V | _T], _V | Loaded[Any]],
        default: _V | _T,
        ttl: _Span | None = None,
        *,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
    ) -> _V | _T: ...
    def increment(self, key: _Key, delta: int = 1) -> int: ...
    def on_event(self, listener: Callable[[Event], object]) -> None: ...
    def events_dropped(self) -> int: ...
    def slo(
        self, window: _Span | None = None, objectives: str | Iterable[str] | None = None
    ) -> dict[str, Any]: ...
    def window(self, window: _Span) -> dict[str, Any]: ...
    def advise(self) -> list[tuple[str, str]]: ...
    def begin_survey(self) -> None: ...
    def end_survey(self) -> None: ...
    def survey(self) -> dict[str, Any] | None: ...
    def guard(
        self,
        text: str | None = None,
        *,
        notify: Callable[[dict[str, Any]], object] | None = None,
    ) -> Guard: ...
    def start_alerts(
        self, text: str, notify: Callable[[dict[str, Any]], object] | None = None
    ) -> None: ...
    def alerts(self) -> list[dict[str, Any]]: ...
    def stop_alerts(self) -> None: ...
    @overload
    def get_or_load(
        self,
        key: _Key,
        load: Callable[[], _V | Loaded[_V]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[False] | None = None,
        tiers: str | None = None,
    ) -> _V: ...
    @overload
    def get_or_load(
        self,
        key: _Key,
        load: Callable[[], _V | Loaded[_V]],
        *,
        default: _T,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[False] | None = None,
        tiers: str | None = None,
    ) -> _V | _T: ...
    @overload
    def get_or_load(
        self,
        key: _Key,
        load: Callable[[LoadContext], _V | Loaded[_V]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[True],
        tiers: str | None = None,
    ) -> _V: ...
    @overload
    def get_or_load(
        self,
        key: _Key,
        load: Callable[[LoadContext], _V | Loaded[_V]],
        *,
        default: _T,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[True],
        tiers: str | None = None,
    ) -> _V | _T: ...
    @overload
    def get_or_load_entry(
        self,
        key: _Key,
        load: Callable[[], _V | Loaded[_V]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[False] | None = None,
        tiers: str | None = None,
    ) -> Entry[_V]: ...
    @overload
    def get_or_load_entry(
        self,
        key: _Key,
        load: Callable[[], _V | Loaded[_V]],
        *,
        default: _T,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[False] | None = None,
        tiers: str | None = None,
    ) -> Entry[_V | _T]: ...
    @overload
    def get_or_load_entry(
        self,
        key: _Key,
        load: Callable[[LoadContext], _V | Loaded[_V]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[True],
        tiers: str | None = None,
    ) -> Entry[_V]: ...
    @overload
    def get_or_load_entry(
        self,
        key: _Key,
        load: Callable[[LoadContext], _V | Loaded[_V]],
        *,
        default: _T,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[True],
        tiers: str | None = None,
    ) -> Entry[_V | _T]: ...
    @overload
    def refresh(
        self,
        key: _Key,
        load: Callable[[], _V | Loaded[_V]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[False] | None = None,
        tiers: str | None = None,
    ) -> _V: ...
    @overload
    def refresh(
        self,
        key: _Key,
        load: Callable[[], _V | Loaded[_V]],
        *,
        default: _T,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[False] | None = None,
        tiers: str | None = None,
    ) -> _V | _T: ...
    @overload
    def refresh(
        self,
        key: _Key,
        load: Callable[[LoadContext], _V | Loaded[_V]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[True],
        tiers: str | None = None,
    ) -> _V: ...
    @overload
    def refresh(
        self,
        key: _Key,
        load: Callable[[LoadContext], _V | Loaded[_V]],
        *,
        default: _T,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[True],
        tiers: str | None = None,
    ) -> _V | _T: ...
    def get_or_load_many(
        self,
        keys: Iterable[_K],
        load: Callable[[list[_K]], Mapping[_K, _V | Loaded[_V]]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        tiers: str | None = None,
    ) -> dict[_K, _V]: ...
    @overload
    def aget_or_load(
        self,
        key: _Key,
        load: Callable[[], Awaitable[_V | Loaded[_V]]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[False] | None = None,
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, _V]: ...
    @overload
    def aget_or_load(
        self,
        key: _Key,
        load: Callable[[], Awaitable[_V | Loaded[_V]]],
        *,
        default: _T,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[False] | None = None,
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, _V | _T]: ...
    @overload
    def aget_or_load(
        self,
        key: _Key,
        load: Callable[[LoadContext], Awaitable[_V | Loaded[_V]]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[True],
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, _V]: ...
    @overload
    def aget_or_load(
        self,
        key: _Key,
        load: Callable[[LoadContext], Awaitable[_V | Loaded[_V]]],
        *,
        default: _T,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[True],
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, _V | _T]: ...
    @overload
    def aget_or_load_entry(
        self,
        key: _Key,
        load: Callable[[], Awaitable[_V | Loaded[_V]]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[False] | None = None,
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, Entry[_V]]: ...
    @overload
    def aget_or_load_entry(
        self,
        key: _Key,
        load: Callable[[], Awaitable[_V | Loaded[_V]]],
        *,
        default: _T,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[False] | None = None,
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, Entry[_V | _T]]: ...
    @overload
    def aget_or_load_entry(
        self,
        key: _Key,
        load: Callable[[LoadContext], Awaitable[_V | Loaded[_V]]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[True],
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, Entry[_V]]: ...
    @overload
    def aget_or_load_entry(
        self,
        key: _Key,
        load: Callable[[LoadContext], Awaitable[_V | Loaded[_V]]],
        *,
        default: _T,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        with_context: Literal[True],
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, Entry[_V | _T]]: ...
    @overload
    def aget(
        self,
        key: _Key,
        default: None = None,
        *,
        allow_stale: bool | None = None,
        max_age: _Span | None = None,
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, _V | None]: ...
    @overload
    def aget(
        self,
        key: _Key,
        default: _V | _T,
        *,
        allow_stale: bool | None = None,
        max_age: _Span | None = None,
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, _V | _T]: ...
    def aset(
        self,
        key: _Key,
        value: _V,
        ttl: _Span | None = None,
        *,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        tiers: str | None = None,
    ) -> Coroutine[Any, Any, None]: ...
    def adelete(self, key: _Key) -> Coroutine[Any, Any, None]: ...
    def atouch(self, key: _Key, ttl: _Span) -> Coroutine[Any, Any, bool]: ...
    def aremove_tags(self, tags: Iterable[_Key]) -> Coroutine[Any, Any, None]: ...
    def aexpire_tags(self, tags: Iterable[_Key]) -> Coroutine[Any, Any, None]: ...
    def aremove_prefix(self, prefix: _Key) -> Coroutine[Any, Any, None]: ...
    def aexpire_prefix(self, prefix: _Key) -> Coroutine[Any, Any, None]: ...
    def aincrement(self, key: _Key, delta: int = 1) -> Coroutine[Any, Any, int]: ...
    def aset_if_absent(
        self,
        key: _Key,
        value: _V,
        ttl: _Span | None = None,
        *,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
    ) -> Coroutine[Any, Any, bool]: ...
    def aexpire(self, key: _Key) -> Coroutine[Any, Any, None]: ...
    def loading(
        self,
        load: Callable[[LoadContext], _V | Loaded[_V]],
        *,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        tiers: str | None = None,
    ) -> Loading[_V]: ...
    def keyspace(
        self,
        pattern: str,
        *,
        label: str | None = None,
        tiers: str | None = None,
        clearable: bool = False,
        ttl: _Span | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
    ) -> Keyspace[_V]: ...
    @overload
    def cached(  # type: ignore[overload-overlap]
        self, function: Callable[_P, Coroutine[Any, Any, _R]], /
    ) -> _AsyncCached[_P, _R]: ...
    @overload
    def cached(self, function: Callable[_P, _R], /) -> Cached[_P, _R]: ...
    @overload
    def cached(
        self,
        function: None = None,
        /,
        *,
        key: str | Callable[..., _Key] | None = None,
        ttl: _Span | None = None,
        tags: Iterable[_Key] | None = None,
        no_ttl: bool | None = None,
        ttl_jitter: float | None = None,
        stale_if_error: _Span | None = None,
        stale_while_revalidate: _Span | None = None,
        negative_ttl: _Span | None = None,
        max_age: _Span | None = None,
        refresh_ahead: _Ahead | None = None,
        soft_timeout: _Span | None = None,
        hard_timeout: _Span | None = None,
        failure_backoff: tuple[_Span, _Span] | None = None,
        tiers: str | None = None,
    ) -> _Decorator: ...
    @overload
    def pop(self, key: _Key) -> _V: ...
    @overload
    def pop(self, key: _Key, default: _V | _T, /) -> _V | _T: ...
    def setdefault(self, key: _Key, default: _V = ...) -> _V: ...
    def __getitem__(self, key: _Key, /) -> _V: ...
    def __setitem__(self, key: _Key, value: _V, /) -> None: ...
    def __delitem__(self, key: _Key, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __len__(self) -> int: ...
    @property
    def tiering(self) -> str: ...
    def advice(self) -> list[tuple[str, str]]: ...
    def retier(self, tiering: str) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    def health(self) -> dict[str, Any]: ...
    def metrics_text(self) -> str | None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Cache[_V]: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
