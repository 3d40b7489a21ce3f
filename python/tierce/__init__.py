"""tierce: a cache in up to three tiers.

L1 is the memory of this process, L2 a store file that all processes of this host share without a
daemon, L3 Redis or Valkey.

>>> import tierce
>>> cache = tierce.Cache(max_entries=10_000, ttl="10m")
>>> cache.get_or_load("user:7", lambda: {"name": "Ada"})
{'name': 'Ada'}
>>> "user:7" in cache
True
"""

from tierce._errors import (
    AbsentError,
    ClosedError,
    CodecError,
    ConfigError,
    ReentrantLoadError,
    StorageError,
    TierceError,
    TimeoutError,
    TooLargeError,
)
from tierce._tierce import (
    ABSENT,
    Cache,
    Cached,
    Entry,
    Event,
    Guard,
    Keyspace,
    LoadContext,
    Loaded,
    Loading,
    ManualClock,
    Version,
    XFetch,
    __version__,
)

__all__ = [
    "ABSENT",
    "AbsentError",
    "Cache",
    "Cached",
    "ClosedError",
    "CodecError",
    "ConfigError",
    "Entry",
    "Event",
    "Guard",
    "Keyspace",
    "LoadContext",
    "Loaded",
    "Loading",
    "ManualClock",
    "ReentrantLoadError",
    "StorageError",
    "TierceError",
    "TimeoutError",
    "TooLargeError",
    "Version",
    "XFetch",
    "__version__",
]
