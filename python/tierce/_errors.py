"""The exceptions of tierce. The binary module raises them; import them from `tierce`."""

from __future__ import annotations

import builtins

__all__ = [
    "AbsentError",
    "ClosedError",
    "CodecError",
    "ConfigError",
    "ReentrantLoadError",
    "StorageError",
    "TierceError",
    "TimeoutError",
    "TooLargeError",
]


class TierceError(Exception):
    """The root of all exceptions of this package.

    Attributes
    ----------
    kind : str
        What went wrong, in the words of the metrics, such as "closed".
    tier : str or None
        "L1", "L2" or "L3" where one tier is to blame.
    """

    kind: str = "unknown"
    tier: str | None = None


class ConfigError(TierceError, ValueError):
    """A setting is unknown or out of its range. The message names it and where it stands."""


class CodecError(TierceError, TypeError):
    """A value would not come back from L2 or L3 as it is, or can be used only once."""


class TooLargeError(TierceError, ValueError):
    """A key is longer than 64 KiB."""


class StorageError(TierceError, OSError):
    """The operating system refused a file operation; `errno` says which way."""


class TimeoutError(TierceError, builtins.TimeoutError):
    """Another thread's load took longer than `load.wait`."""


class AbsentError(TierceError, LookupError):
    """A loader says that the key has no value."""


class ClosedError(TierceError, RuntimeError):
    """The cache was closed."""


class ReentrantLoadError(TierceError, RuntimeError):
    """A loader asked for the key that it is loading."""


for _name in __all__:
    globals()[_name].__module__ = "tierce"
