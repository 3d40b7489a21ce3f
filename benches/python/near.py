"""One of the two hosts of the near-cache cells of bench-l3, with a Python client.

near.py CLIENT HOST URL LOG, started by bench-l3. It reads orders from standard input, a line each,
does what they say, writes a log and answers `done`:

    fill              set all keys of this host once
    mix MILLIS SEED   read and set keys as they are drawn

What it does, and the log, are those of `benches/src/l3/near/host.rs` and `log.rs`: the clock is
read before and after each call; drawing, making values and noting come between them.

Clients: `tierce-python`, a `tierce.Cache` of L1 above L3; `redis-py-client-cache`, a `redis.Redis`
with its client-side cache and the parser of hiredis. Both have room for every key.
"""

from __future__ import annotations

import itertools
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns
from typing import Any

# As in benches/src/l3/near/mod.rs.
KEYS = 10_000
READS = 0.95
SKEW = 0.99
# Draws that are made before a run, and used again and again.
DRAWS = 1 << 16
SET = 1 << 31

# A deadline that a busy machine keeps, in seconds: a run with errors would say nothing.
RELAXED = 10

Get = Callable[[str], Any]
Set = Callable[[str, bytes], Any]


def value_bytes(number: int) -> int:
    return 100 + number * 7_919 % 925


def tierce_python(url: str) -> tuple[Get, Set]:
    import tierce

    deadlines = ("redis.connect_timeout", "redis.read_timeout", "redis.write_timeout")
    cache = tierce.Cache[bytes](
        tiering="L1L3",
        max_entries=2 * KEYS,
        redis=url,
        environ=False,
        options=dict.fromkeys(deadlines, f"{RELAXED}s"),
    )
    return cache.get, cache.set


def redis_py_client_cache(url: str) -> tuple[Get, Set]:
    import redis
    from redis.cache import CacheConfig
    from redis.connection import CacheProxyConnection

    # It refuses servers before 7.4, also those that can do what it asks of them, which is
    # CLIENT TRACKING of Redis 6.
    CacheProxyConnection.MIN_ALLOWED_VERSION = "6.0.0"
    client = redis.Redis.from_url(
        url,
        protocol=3,
        cache_config=CacheConfig(max_size=2 * KEYS),
        socket_timeout=RELAXED,
    )
    return client.get, client.set


CLIENTS = {"tierce-python": tierce_python, "redis-py-client-cache": redis_py_client_cache}


class Host:
    def __init__(self, name: str, number: int, url: str, log: Path) -> None:
        self.get, self.set = CLIENTS[name](url)
        self.number = number
        self.log = log
        # Clients share a server, and no key.
        self.names = [f"{name}:user:{key:08}:profile" for key in range(KEYS)]
        self.versions = [0] * KEYS
        self.done: list[tuple[int, int, int, int]] = []

    def set_key(self, key: int) -> int:
        self.versions[key] += 1
        version = self.versions[key]
        value = struct.pack("<I", version) + bytes([key & 0xFF]) * (value_bytes(key) - 4)
        name = self.names[key]
        begin = monotonic_ns()
        self.set(name, value)
        end = monotonic_ns()
        self.done.append((key | SET, version, begin, end))
        return end

    def fill(self) -> None:
        for key in range(self.number, KEYS, 2):
            self.set_key(key)

    def mix(self, millis: int, seed: int) -> None:
        draw = random.Random(seed << 1 | self.number)
        weights = list(itertools.accumulate((rank + 1) ** -SKEW for rank in range(KEYS)))
        keys = draw.choices(range(KEYS), cum_weights=weights, k=DRAWS)
        reads = [draw.random() < READS for _ in range(DRAWS)]
        get, names, done = self.get, self.names, self.done
        until = monotonic_ns() + millis * 1_000_000
        for key, is_read in itertools.cycle(zip(keys, reads, strict=True)):
            if is_read:
                name = names[key]
                begin = monotonic_ns()
                value = get(name)
                end = monotonic_ns()
                version = 0 if value is None else int.from_bytes(value[:4], "little")
                done.append((key, version, begin, end))
            else:
                end = self.set_key(key & ~1 | self.number)
            if end > until:
                break

    def obey(self, order: str) -> None:
        match order.split():
            case ["fill"]:
                self.fill()
            case ["mix", millis, seed]:
                self.mix(int(millis), int(seed))
            case _:
                raise ValueError(f"unknown order {order!r}")
        record = struct.Struct("<IIQQ")
        self.log.write_bytes(b"".join(record.pack(*done) for done in self.done))
        self.done.clear()


def main(name: str, number: str, url: str, log: str) -> None:
    host = Host(name, int(number), url, Path(log))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for order in sys.stdin:
        host.obey(order)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
