"""L3 from Python, against a server of our own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tierce
from conftest import run_python


class Server:
    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(30)


# A busy machine must not look like a slow server.
PATIENT = {"redis.read_timeout": "5s", "redis.write_timeout": "5s", "redis.connect_timeout": "5s"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


def test_values_go_through_redis_and_come_back(server: Server) -> None:
    first = tierce.Cache[Any](tiering="L1L3", redis=server.url, options=PATIENT)
    second = tierce.Cache[Any](tiering="L3", redis=server.url, options=PATIENT)
    for value in ({"name": "Ada", "n": [1, 2.5, None]}, "text", b"\x00bytes", 10**40, None):
        first["key"] = value
        assert second["key"] == value
        assert type(second["key"]) is type(value)
    assert second.get_or_load("other", lambda: [1]) == [1]
    assert first["other"] == [1]
    first.delete("key")
    assert "key" not in second
    assert first.health()["status"] == "healthy"
    assert first.stats()["tiers"]["L3"]["hits"] == 1
    first.close()
    second.close()


def test_what_is_set_goes_around_redis_and_what_is_loaded_does_not(server: Server) -> None:
    options = {**PATIENT, "redis.write": "around"}
    cache = tierce.Cache[Any](tiering="L1L3", redis=server.url, options=options)
    other = tierce.Cache[Any](tiering="L3", redis=server.url, options=PATIENT)
    assert cache.get_or_load("key", lambda: "loaded") == "loaded"
    assert other["key"] == "loaded"
    cache["key"] = "set"
    assert "key" not in other
    cache.set("key", "everywhere", tiers="L1L3")
    assert other["key"] == "everywhere"
    with pytest.raises(tierce.ConfigError, match="must be through, around or behind"):
        tierce.Cache[Any](tiering="L1L3", options={"redis.write": "beside"})
    cache.close()
    other.close()


def test_what_is_set_behind_redis_is_there_once_it_is_flushed(server: Server) -> None:
    options = {**PATIENT, "redis.write": "behind", "redis.write_delay": "10s"}
    cache = tierce.Cache[Any](tiering="L1L3", redis=server.url, options=options)
    other = tierce.Cache[Any](tiering="L3", redis=server.url, options=PATIENT)
    # Until the changes of others are told, what is set goes through.
    cache["key"] = "first"
    deadline = time.monotonic() + 30
    while (behind := put_behind(cache, other)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert cache["key"] == behind
    assert cache.flush()
    assert other["key"] == behind
    assert cache.flush(), "nothing waits"
    cache["key"] = "at the end"
    cache.close()
    assert other["key"] == "at the end"
    with pytest.raises(tierce.ClosedError):
        cache.flush()
    other.close()


def put_behind(cache: tierce.Cache[Any], other: tierce.Cache[Any]) -> str | None:
    """Set a value; return it where Redis did not get it."""
    value = f"set at {time.monotonic()}"
    cache["key"] = value
    return None if other.get("key") == value else value


def ask(server: Server, *words: bytes) -> bytes:
    """One command by hand, answered in one packet."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        connection.sendall(b"*%d\r\n%s" % (len(words), parts))
        return connection.recv(1 << 16)


def test_many_values_come_at_once_and_stay_above(server: Server) -> None:
    first = tierce.Cache[Any](tiering="L3", redis=server.url, options=PATIENT)
    names = [f"user:{number}" for number in range(100)]
    for number, name in enumerate(names):
        first[name] = {"number": number}
    # Copies made before the stream of changes begins live for the staleness bound.
    lasting = PATIENT | {"redis.staleness_bound": "60s"}
    second = tierce.Cache[Any](tiering="L1L3", redis=server.url, options=lasting)
    found = second.get_many([*names, "none"])
    assert found == {name: {"number": number} for number, name in enumerate(names)}
    assert second.stats()["tiers"]["L3"]["hits"] == 100
    assert second.get_many(names)["user:7"] is second["user:7"]
    assert second.stats()["tiers"]["L3"]["hits"] == 100


def test_what_lies_in_redis_is_plain_json_text_or_bytes(server: Server) -> None:
    cache = tierce.Cache[Any](tiering="L3", redis=server.url, options=PATIENT)
    values: list[Any] = [
        {"name": "Grüße \U0001f600", "quote": '"\\\n', "list": [1, -2, 2.5, True, None, [], {}]},
        [10**40, -(2**63), 0.1, 1e-7],
        "plain text",
        b"\x00\xffbytes",
    ]
    for value in values:
        cache["only"] = value
        (key,) = (
            word for word in ask(server, b"KEYS", b"*only*").split(b"\r\n") if b"only" in word
        )
        raw = ask(server, b"GET", key)
        if isinstance(value, bytes):
            assert value in raw
        elif isinstance(value, str):
            assert value.encode() in raw
        else:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            assert text.replace("e-07", "e-7").encode() in raw
    cache.close()


def test_a_server_that_stalls_costs_a_deadline_and_holds_no_other_thread(server: Server) -> None:
    cache = tierce.Cache[Any](
        tiering="L1L3",
        redis=server.url,
        # Nothing is told by a stopped server: copies are in use until the staleness bound.
        options=PATIENT
        | {
            "redis.read_timeout": "500ms",
            "redis.write_timeout": "500ms",
            "redis.staleness_bound": "60s",
        },
    )
    cache["before"] = 1
    server.process.send_signal(signal.SIGSTOP)
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.001):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.monotonic()
    assert cache.get("cold") is None
    took = time.monotonic() - begin
    stop.set()
    thread.join()
    during = [at for at in ticks if begin <= at <= begin + took]
    assert took < 10
    # Detached while it waited: the other thread ran on.
    assert len(during) > 20, (took, len(during))
    assert cache["before"] == 1
    assert cache.get_or_load("cold", lambda: "loaded") == "loaded"
    cache.close()


def test_a_server_that_is_not_there_costs_nothing_but_health() -> None:
    cache = tierce.Cache[Any](tiering="L1L3", redis="redis://127.0.0.1:1")
    cache["key"] = 1
    assert cache["key"] == 1
    assert cache.get("other") is None
    health = cache.health()
    assert health["status"] == "degraded"
    assert health["dependencies"][1]["reason"]
    cache.close()


def test_a_connection_made_before_a_fork_is_not_shared_with_children(server: Server) -> None:
    out = run_python(
        """
        import os, sys, tierce
        patient = {"redis.read_timeout": "5s", "redis.write_timeout": "5s"}
        cache = tierce.Cache(tiering="L3", redis=sys.argv[1], options=patient)
        cache["before"] = 1
        children = []
        for number in range(4):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    for step in range(100):
                        cache[f"{number}:{step}"] = [number, step]
                        assert cache[f"{number}:{step}"] == [number, step]
                    assert cache["before"] == 1
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        for step in range(100):
            assert cache["before"] == 1
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert all(cache[f"{number}:99"] == [number, 99] for number in range(4))
        print("served")
        """,
        server.url,
    )
    assert out.split() == ["served"]
