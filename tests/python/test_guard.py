"""The guard: what a configuration says beside the tiers, rollouts, actions, and the listener."""

from __future__ import annotations

import gc
import json
import math
import os
import queue
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

import tierce
from conftest import run_python
from test_redis import PATIENT, Server, server

__all__ = ["server"]

AnyCache = tierce.Cache[Any]

PLAN = """
plan: steered
baseline: L1
phases:
  - name: all
    target: L1L2
    split: key
    steps: [{share: 25%, wait: 1h}, {share: 75%, wait: 1h}]
"""
MISSES = "alerts: [{name: misses, condition: miss_rate > 50%, severity: warning}]\n"


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """Waits until it is so, and returns what it was."""
    deadline = time.monotonic() + seconds
    while not (seen := what()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
    return seen


def page(guard: tierce.Guard, path: str, token: str | None = None) -> tuple[int, Any]:
    """What the listener answers: to a GET, or with a token to a POST."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{guard.port}{path}", method="GET" if token is None else "POST"
    )
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_all_that_a_file_says_is_started_and_ends_with_the_guard(tmp_path: Path) -> None:
    plan, journal, file = (tmp_path / name for name in ("plan.yaml", "journal", "cache.yaml"))
    plan.write_text(PLAN.replace("L1L2", "L1"))
    file.write_text(
        f"""
service: shop
environment: production
metrics_enabled: true
actions_journal: {tmp_path}/actions.jsonl
{MISSES}
serve: {{address: "127.0.0.1:0", token: secret}}
rollout: {{plan: {plan}, journal: {journal}, instance: web-1}}
"""
    )
    cache = AnyCache(config_file=file)
    guard = cache.guard()
    assert guard.cache is cache
    assert [alert["name"] for alert in guard.alerts()] == ["misses"]
    report = guard.slo("1m")
    assert report is not None
    assert (report["objectives"], report["window_s"]) == ("production", 60)
    assert 'tierce_alert_active{cache="shop"' in (guard.metrics_text() or "")
    assert guard.sinks() == []
    status = guard.rollout()
    assert status is not None
    assert (status["plan"], status["stage"]) == ("steered", "idle")
    assert page(guard, "/cache/health")[1]["service"] == "shop"
    assert page(guard, "/cache/rollout/start", "wrong")[0] == 401
    started = page(guard, "/cache/rollout/start?by=curl", "secret")
    assert started[1]["stage"] in ("waiting", "running")
    # The first step is taken by the next look.
    until(lambda: page(guard, "/cache/rollout")[1]["percent"] == 25.0)
    guard.pause(by="ada")
    with pytest.raises(tierce.ConfigError):
        guard.advance(by="ada")
    guard.resume(by="ada")
    guard.force(by="ada")
    assert page(guard, "/cache/rollout")[1]["percent"] == 75.0
    guard.rollback(by="eve")
    history = guard.history()
    assert [decision["kind"] for decision in history if decision["kind"] != "waiting"] == [
        "started", "step", "paused", "resumed", "step", "rollback_began", "rolled_back",
    ]  # fmt: skip
    assert "eve" in history[-1]["by"]
    assert "curl" in history[0]["by"]
    guard.block(by="ada")
    guard.lift(by="bob")
    lines = (tmp_path / "actions.jsonl").read_text().splitlines()
    assert [json.loads(line)["by"] for line in lines] == ["ada", "bob"]
    port = guard.port
    assert port is not None
    guard.close()

    def is_over() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) != 0

    until(is_over)
    assert "closed" in repr(guard)


def test_a_text_is_read_over_the_settings_of_the_cache() -> None:
    cache = AnyCache(service="shop", options={"serve.address": "127.0.0.1:0"})
    with cache.guard(MISSES) as guard:
        assert guard.port
        assert [alert["name"] for alert in guard.alerts()] == ["misses"]
        assert page(guard, "/cache/alerts")[1]["alerts"][0]["state"] == "inactive"
        assert guard.slo() is None
    # It left the settings as they were.
    assert cache.guard().alerts() == []


def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    cache = AnyCache()
    for text, error, part in [
        ("alert: []", tierce.ConfigError, "nearest"),
        ("alerts: [{name: A, condition: speed > 9, severity: info}]", tierce.ConfigError, "speed"),
        ("serve: {address: '192.0.2.1:1'}", tierce.StorageError, "192.0.2.1:1"),
        ("rollout: {of_store: true}", tierce.ConfigError, "rollout.instance"),
        (f"alerts_file: {tmp_path}/none.yaml", tierce.StorageError, "none.yaml"),
        ("automatic_rollback: {triggers: []}\nrollout: {plan: 7}", tierce.ConfigError, "plan"),
        ("[", tierce.ConfigError, "text"),
        ("memory: {max_entries: 5}", tierce.ConfigError, "memory.max_entries.*is of the cache"),
    ]:
        with pytest.raises(error, match=part):
            cache.guard(text)
    bad: Any = 7
    with pytest.raises(TypeError):
        cache.guard(bad)
    with pytest.raises(TypeError, match="notify must be callable, not int"):
        cache.guard(notify=bad)


def test_bad_arguments_are_refused_by_name(tmp_path: Path) -> None:
    cache = AnyCache()
    (tmp_path / "plan.yaml").write_text(PLAN.replace("L1L2", "L1"))
    rollout = f"rollout: {{plan: {tmp_path}/plan.yaml, journal: {tmp_path}/j, instance: a}}"
    guard = cache.guard(rollout)
    for wrong in (math.nan, 1.5, -0.1, math.inf, 70, "70", "170%", "nan%", ""):
        with pytest.raises(ValueError, match=r"to = .*must be from 0 to 1"):
            guard.shed(wrong)
    wrong_types: list[Any] = [None, True, [0.5]]
    for wrong_type in wrong_types:
        with pytest.raises(TypeError, match="to must be float or str"):
            guard.shed(wrong_type)
    never: Any = "never"
    with pytest.raises(ValueError, match='answer = "never"'):
        guard.shed(0.5, answer=never)
    for rate in (0, -1, 2**32):
        with pytest.raises(ValueError, match="per_second"):
            guard.refresh(per_second=rate)
    with pytest.raises(tierce.ConfigError, match=r'input "approval" = NaN: must be a number'):
        guard.push("approval", math.nan)
    with pytest.raises(TypeError, match="value must be float or bool, not str"):
        guard.push("approval", never)
    with pytest.raises(tierce.ConfigError, match="was given its plan"):
        guard.start(PLAN)
    with pytest.raises(tierce.ConfigError, match="reset"):
        guard.reset()
    with pytest.raises(ValueError, match="window"):
        guard.slo(math.nan)
    with pytest.raises(tierce.ConfigError, match="token"):
        guard.serve("127.0.0.1:0", token="")
    with pytest.raises(tierce.TierceError):
        guard.serve("no address")
    assert guard.port is None
    guard.push("approval", True)
    guard.push("incidents", 0)
    gate = guard.contingency()["gate"]
    assert (gate["passes"], gate["is_blocked"]) == (1.0, False)
    with pytest.raises(ValueError, match="window"):
        cache.window(-1)


def test_every_call_of_a_closed_guard_says_so() -> None:
    cache = AnyCache()
    by_itself, by_its_cache = cache.guard(), cache.guard()
    by_itself.close()
    cache.close()
    for guard in (by_itself, by_its_cache):
        for call in (
            guard.serve, guard.stop_serving, guard.slo, guard.alerts, guard.sinks,
            guard.metrics_text, guard.rollout, guard.history, guard.start, guard.advance,
            guard.force, guard.pause, guard.resume, guard.rollback, guard.block, guard.refresh,
            guard.reset, guard.lift, guard.contingency,
            lambda guard=guard: guard.push("a", 1), lambda guard=guard: guard.shed(0.5),
            lambda guard=guard: guard.port,
        ):  # fmt: skip
            with pytest.raises(tierce.ClosedError, match="the guard was closed"):
                call()
        guard.close()


def test_actions_are_in_force_at_once_and_undone_at_once() -> None:
    cache = AnyCache()
    events: queue.Queue[tierce.Event] = queue.Queue()
    cache.on_event(events.put)
    cache["a"] = 1
    guard = cache.guard()
    guard.shed(0.0, answer="error")
    assert cache.get_or_load("a", lambda: 2) == 1
    with pytest.raises(tierce.TierceError) as refused:
        cache.get_or_load("b", lambda: 2)
    assert refused.value.kind == "busy"
    assert guard.contingency()["gate"]["turned_away"] == 1
    guard.block()
    assert cache.get("a") is None
    with pytest.raises(tierce.StorageError):
        cache["c"] = 1
    guard.lift()
    assert cache.get_or_load("b", lambda: 2) == 2
    guard.refresh(per_second=100_000)
    until(lambda: guard.contingency()["refreshed"] is None)
    assert "a" not in cache
    while (event := events.get(timeout=30)).kind != "gate":
        pass
    assert "0 % pass" in event.details


def test_a_callback_may_take_the_rollout_back_and_ask_for_anything(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN.replace("L1L2", "L1"))
    cache = AnyCache()
    told: queue.Queue[Any] = queue.Queue()
    known: list[tierce.Guard] = []

    def alarm(notice: dict[str, Any]) -> None:
        guard = known[0]
        guard.rollback(by=notice["alert"])
        guard.shed("50%")
        cache.get("from the callback")
        told.put((notice["alert"], guard.rollout(), threading.current_thread().name))

    text = f"{MISSES}rollout: {{plan: {tmp_path}/plan.yaml, journal: {tmp_path}/j, instance: a}}"
    guard = cache.guard(text, notify=alarm)
    known.append(guard)
    guard.start(by="ada")

    def missed() -> Any:
        cache.get("nobody")
        return not told.empty()

    until(missed)
    alert, status, thread = told.get()
    assert (alert, status["stage"], status["percent"]) == ("misses", "rolled_back", 0.0)
    assert thread != threading.main_thread().name
    assert guard.history()[-1]["by"].endswith("misses")
    assert until(lambda: [sink for sink in guard.sinks() if sink["taken"]])[0]["sink"] == "callback"
    # It holds nobody up: the callback is let go with the guard.
    gone = weakref.ref(alarm)
    del alarm, missed
    known.clear()
    guard.close()
    until(lambda: (gc.collect(), cache.alerts(), gone() is None)[2])


def test_a_callback_that_raises_is_told_and_one_that_hangs_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raised: queue.Queue[Any] = queue.Queue()
    monkeypatch.setattr(sys, "unraisablehook", lambda told: raised.put(told.exc_value))
    cache = AnyCache()
    entered, go_on = threading.Event(), threading.Event()

    def hang(notice: dict[str, Any]) -> None:
        entered.set()
        go_on.wait(60)
        raise RuntimeError(notice["alert"])

    (tmp_path / "plan.yaml").write_text(PLAN.replace("L1L2", "L1"))
    text = f"{MISSES}rollout: {{plan: {tmp_path}/plan.yaml, journal: {tmp_path}/j, instance: a}}"
    with cache.guard(text, notify=hang) as guard:
        guard.start()

        def missed() -> bool:
            cache.get("nobody")
            return entered.is_set()

        until(missed)
        # Rounds go on, and so do commands: both would wait for a callback within a look.
        guard.rollback()
        assert guard.history()[-1]["stage"] == "rolled_back"
        go_on.set()
        assert str(raised.get(timeout=60)) == "misses"


def test_a_forked_child_has_no_guard_and_not_its_listener() -> None:
    out = run_python(
        """
        import os, signal, socket, sys, tierce
        cache = tierce.Cache(options={"serve.address": "127.0.0.1:0"})
        cache["a"] = 1
        guard = cache.guard("alerts: [{name: A, condition: error_rate > 1%, severity: info}]")
        port = guard.port
        theirs, ours = os.pipe()
        ready, says_ready = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(ours)
            status = 1
            try:
                for call in (guard.start, guard.rollback, guard.history):
                    try:
                        call()
                    except tierce.ConfigError as error:
                        assert "forked child" in str(error), error
                    else:
                        raise AssertionError("the child has a guard")
                # What concerns this process alone is done.
                guard.shed("50%"); guard.lift()
                with cache.guard(notify=print) as own:
                    assert own.port != port
                guard.close()
                assert cache["a"] == 1
                os.write(says_ready, b"x")
                os.read(theirs, 1)
                status = 0
            finally:
                os._exit(status)
        os.close(says_ready)
        assert os.read(ready, 1) == b"x", "the child gave up"
        assert socket.create_connection(("127.0.0.1", port), 10)
        guard.close()
        import time
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    again.bind(("127.0.0.1", port)); again.listen(); break
                except OSError:
                    assert time.monotonic() < deadline, "the child listens"
                    time.sleep(0.01)
        os.close(ours)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print("well")
        """
    )
    assert out.split() == ["well"]


def test_a_process_ends_while_guards_watch_and_tell() -> None:
    out = run_python(
        """
        import threading, time, tierce
        cache = tierce.Cache()
        told = threading.Event()
        guard = cache.guard(
            "alerts: [{name: A, condition: miss_rate > 50%, severity: info}]",
            notify=lambda notice: (told.set(), time.sleep(0.05)),
        )
        guard.serve("127.0.0.1:0")
        while not told.is_set():
            cache.get("nobody")
        print("ends")
        """
    )
    assert out.split() == ["ends"]


MEMBER = """
import sys, tierce
settings = dict(item.split("=", 1) for item in sys.argv[1:])
with tierce.Cache(tiering="L1", environ=False, options=settings) as cache, cache.guard() as guard:
    print("ready", flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        try:
            if verb == "status":
                status = guard.rollout()
                print(status["stage"], status["percent"], flush=True)
            elif verb == "rollback":
                guard.rollback(by=words[0]); print("done", flush=True)
            elif verb == "advance":
                guard.advance(by=words[0]); print("done", flush=True)
        except tierce.TierceError as error:
            print("refused", error, flush=True)
"""


class Member:
    """Another process with a guard."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(MEMBER), *map("=".join, settings.items())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "NODE_ENV"},
        )
        assert self.line() == "ready"

    def pipe(self, stream: IO[str] | None) -> IO[str]:
        assert stream is not None
        return stream

    def line(self) -> str:
        return self.pipe(self.process.stdout).readline().strip()

    def ask(self, words: str) -> str:
        stream = self.pipe(self.process.stdin)
        stream.write(words + "\n")
        stream.flush()
        return self.line()

    def end(self) -> None:
        self.pipe(self.process.stdin).close()
        assert self.process.wait(60) == 0
        self.pipe(self.process.stdout).close()


def member_of(folder: Path, name: str, **more: str) -> dict[str, str]:
    return {
        "shared.directory": str(folder),
        "shared.max_bytes": "8MB",
        "rollout.of_store": "true",
        "rollout.instance": name,
        **more,
    }


def test_processes_of_a_host_follow_a_rollout_that_one_of_them_starts(tmp_path: Path) -> None:
    other = Member(member_of(tmp_path / "store", "other"))
    cache = AnyCache(options=member_of(tmp_path / "store", "this"))
    guard = cache.guard()
    with pytest.raises(tierce.ConfigError, match="there was none whose plan"):
        guard.start(by="ada")
    with pytest.raises(tierce.ConfigError, match="phase"):
        guard.start("plan: p\nbaseline: L1\nphases: []", by="ada")
    guard.start(PLAN, by="ada")
    with pytest.raises(tierce.ConfigError):
        guard.start(PLAN, by="eve")
    until(lambda: (guard.rollout() or {})["percent"] == 25.0)
    until(lambda: other.ask("status") == "running 25.0")
    # The tiers of both sides are in force, and values are found on either.
    for number in range(100):
        cache[str(number)] = number
    assert all(cache[str(number)] == number for number in range(100))
    assert other.ask("rollback bob") == "done"
    until(lambda: (guard.rollout() or {})["stage"] == "rolled_back")
    asked = {step["kind"]: step["by"] for step in guard.history() if "operator" in step["by"]}
    assert asked["started"].endswith("ada")
    assert asked["rolled_back"].endswith("bob")
    # Anew, with the plan that the store has.
    guard.start(by="ada")
    until(lambda: other.ask("status") == "running 25.0")
    other.end()
    cache.close()


def test_hosts_that_share_a_redis_roll_out_together(tmp_path: Path, server: Server) -> None:
    shared = {"redis.url": server.url} | PATIENT
    other = Member(member_of(tmp_path / "two", "other", **shared))
    cache = AnyCache(options=member_of(tmp_path / "one", "this", **shared))
    guard = cache.guard()
    guard.start(PLAN.replace("L1L2", "L1L2L3"), by="ada")
    until(lambda: (guard.rollout() or {})["percent"] == 25.0)
    until(lambda: other.ask("status") == "running 25.0")
    hosts = (guard.rollout() or {})["hosts"]
    assert hosts["is_reachable"]
    assert other.ask("advance bob").startswith("refused")
    assert other.ask("rollback bob") == "done"
    until(lambda: (guard.rollout() or {})["stage"] == "rolled_back")
    assert any("bob" in step["by"] for step in guard.history())
    # The connections of this process are made anew, and it is told.
    cache.retier("L1L3")
    cache["a"] = 1
    guard.reset(by="ada")
    until(lambda: cache.get("a") == 1)
    other.end()
    cache.close()


def test_health_advice_surveys_and_windows_are_calls(cache: tierce.Cache[Any]) -> None:
    cache.begin_survey()
    for number in range(4_000):
        cache.get(f"org:{7 if number % 3 else number}:x")
    report = cache.survey()
    assert report is not None
    assert report["reads_sampled"] == 500
    assert report["prefixes"][0]["prefix"].startswith("org:")
    assert [code for code, _ in cache.advise()] == ["heavy_prefix"]
    cache.end_survey()
    assert cache.survey() is None
    assert cache.advise() == []
    assert cache.window("1m")["requests"] >= 0
    with cache.guard() as guard:
        guard.serve("127.0.0.1:0")
        assert page(guard, "/cache/advice")[1]["survey"] is None


@pytest.fixture
def receiver() -> Iterator[str]:
    """The address of a receiver of OpenTelemetry that is not ours."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(__file__).with_name("otlp_receiver.py")
    process = subprocess.Popen([sys.executable, program, str(port)])
    address = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        try:
            return bool(urllib.request.urlopen(address + "/ready", timeout=10).status == 200)
        except OSError:
            return False

    until(is_ready)
    yield address
    process.kill()
    process.wait(30)


def test_metrics_go_to_a_receiver_of_opentelemetry(receiver: str) -> None:
    settings = f"monitoring: {{otlp: {{endpoint: '{receiver}', headers: 'api-key=abc'}}}}"
    with AnyCache(service="users") as cache, cache.guard(settings) as guard:
        cache["a"] = "1"
        assert [cache["a"] for _ in range(3)] == ["1"] * 3
        guard.close()  # sends a last time

        def received() -> list[dict[str, Any]]:
            with urllib.request.urlopen(receiver + "/received", timeout=10) as answer:
                return [json.loads(line) for line in answer.read().splitlines()]

        until(received)
        request = received()[-1]
    assert (request["path"], request["headers"]["api-key"]) == ("/v1/metrics", "abc")
    told = request["message"]["resourceMetrics"][0]
    names = {it["key"]: it["value"] for it in told["resource"]["attributes"]}
    assert names["service.name"] == {"stringValue": "users"}
    metrics = {it["name"]: it for it in told["scopeMetrics"][0]["metrics"]}
    requests = metrics["tierce.requests"]["sum"]
    hits = [
        int(point["asInt"])
        for point in requests["dataPoints"]
        if {"key": "tierce.result", "value": {"stringValue": "hit"}} in point["attributes"]
    ]
    assert sum(hits) == 3
    assert requests["isMonotonic"]
