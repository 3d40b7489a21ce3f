"""Several processes on one store, made by spawn and by fork."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import tierce
from conftest import MakeShared, run_python


def open_cache(directory: str) -> tierce.Cache[Any]:
    return tierce.Cache(
        tiering="L1L2",
        shared_directory=directory,
        shared_max_bytes="8MB",
        shared_max_entries=1000,
    )


def answer(directory: str, requests: Any, replies: Any) -> None:
    """A process that does as it is told."""
    with open_cache(directory) as cache:
        replies.put("ready")
        for verb, *arguments in iter(requests.get, ("end",)):
            replies.put(getattr(cache, verb)(*arguments))


def test_two_processes_see_each_others_changes_at_once(
    tmp_path: Path, make_shared: MakeShared
) -> None:
    context = multiprocessing.get_context("spawn")
    requests, replies = context.Queue(), context.Queue()
    other = context.Process(target=answer, args=(str(tmp_path), requests, replies), daemon=True)
    other.start()

    def ask(*request: Any) -> Any:
        requests.put(request)
        return replies.get(timeout=60)

    assert replies.get(timeout=60) == "ready"
    cache = make_shared()
    cache["key"] = {"name": "Ada"}
    assert ask("get", "key") == {"name": "Ada"}
    ask("set", "key", ["theirs"])
    assert cache["key"] == ["theirs"]
    for number in range(200):
        cache["key"] = number
        assert ask("get", b"key") == number
        ask("set", "key", -number)
        assert cache["key"] == -number
    ask("delete", "key")
    assert "key" not in cache
    cache["key"] = 1
    assert ask("get", "key") == 1
    ask("clear")
    assert "key" not in cache
    requests.put(("end",))
    other.join(60)
    assert other.exitcode == 0


FORK = """
import os, sys, tierce
folder = sys.argv[1]
def make():
    return tierce.Cache(tiering="L1L2", shared_directory=folder,
                        shared_max_bytes="8MB", shared_max_entries=1000)
"""


def test_a_cache_made_and_used_before_a_fork_serves_parent_and_children(tmp_path: Path) -> None:
    out = run_python(
        FORK
        + """
cache = make()
cache["before"] = ["fork"]
assert cache.get_or_load("loaded", lambda: 1) == 1
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert cache["before"] == ["fork"]
            for step in range(200):
                cache[f"{number}:{step}"] = [number, step]
                assert cache[f"{number}:{step}"] == [number, step]
                assert cache.get_or_load(f"load:{step}", lambda: step) == step
            cache["last"] = number
            status = 0
        finally:
            os._exit(status)
    children.append(child)
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert cache["last"] in range(4)
assert all(cache[f"{number}:199"] == [number, 199] for number in range(4))
cache["after"] = 1
print(len(cache) > 0)
""",
        str(tmp_path),
    )
    assert out.split() == ["True"]


def test_workers_preloaded_as_gunicorn_does_share_one_cache(tmp_path: Path) -> None:
    """The application is loaded, cache and all, then four workers are forked and serve.

    Each request loads on a miss; over all workers each key may be loaded once for each worker
    that missed it at the same moment, and never again once it is in the store.
    """
    out = run_python(
        FORK
        + """
import json, threading
from concurrent.futures import ThreadPoolExecutor
cache = make()                      # --preload: in the master, not used yet
def serve(key, loads):
    def load():
        loads.append(key)
        return {"page": key}
    assert cache.get_or_load(key, load) == {"page": key}
readers = []
for worker in range(4):
    read, write = os.pipe()
    if os.fork() == 0:
        status = 1
        try:
            loads = []
            with ThreadPoolExecutor(4) as pool:
                for future in [pool.submit(serve, f"/{n % 50}", loads) for n in range(2000)]:
                    future.result()
            os.write(write, json.dumps(len(loads)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    readers.append(read)
counts = [json.loads(os.read(read, 100)) for read in readers]
for _ in readers:
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
assert 50 <= sum(counts) <= 4 * 50, counts
assert all(cache[f"/{n}"] == {"page": f"/{n}"} for n in range(50))
print("served", file=sys.stdout)
""",
        str(tmp_path),
    )
    assert out.split() == ["served"]
    assert sys.executable
