"""How a cache judges itself: objectives and alerts."""

from __future__ import annotations

import datetime
import queue
import sys
import time
import weakref
from typing import Any

import pytest

import tierce

AnyCache = tierce.Cache[Any]

MISSES = """
alerts:
  - name: misses
    condition: miss_rate > 50%
    duration: 0s
    severity: warning
"""


def missing_until_told(cache: AnyCache, told: queue.Queue[Any]) -> Any:
    """Misses a key again and again: alerts are judged by what goes on."""
    for _ in range(3_000):
        cache.get("nobody")
        try:
            return told.get(timeout=0.01)
        except queue.Empty:
            pass
    raise AssertionError("no alert in half a minute")


def test_a_report_says_how_objectives_are_met() -> None:
    cache = AnyCache()
    assert cache.slo("1m", "production")["is_met"] is None
    cache["a"] = 1
    conditions = ["hit_rate > 80%", "hit_rate > 99%"]
    report = cache.slo(datetime.timedelta(minutes=1), conditions)
    for _ in range(3_000):
        for _ in range(9):
            cache.get("a")
        cache.get("b")
        time.sleep(0.01)
        report = cache.slo(datetime.timedelta(minutes=1), conditions)
        if report["is_met"] is not None:
            break
    assert report["objectives"] == "own"
    assert report["window_s"] == 60
    assert [line["is_met"] for line in report["lines"]] == [True, False]
    assert [round(line["value"], 1) for line in report["lines"]] == [0.9, 0.9]
    assert report["is_met"] is False


def test_what_are_no_objectives_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = AnyCache()
    with pytest.raises(tierce.ConfigError, match=r"perfection.*production"):
        cache.slo(60, "perfection")
    with pytest.raises(tierce.ConfigError, match="speed"):
        cache.slo(60, ["speed > 9"])
    bad: Any = 7
    with pytest.raises(TypeError, match="objectives must be a str or a list"):
        cache.slo(60, bad)
    for name in ("TIERCE_ENV", "CACHE_ENVIRONMENT", "NODE_ENV"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(tierce.ConfigError, match="no objectives"):
        cache.slo()
    monkeypatch.setenv("TIERCE_ENV", "production")
    assert cache.slo()["objectives"] == "production"


def test_an_alert_fires_and_is_told() -> None:
    cache = AnyCache(service="shop")
    told: queue.Queue[dict[str, Any]] = queue.Queue()
    cache.start_alerts(MISSES, told.put)
    assert cache.alerts() == [
        {
            "name": "misses",
            "condition": "miss_rate > 50%",
            "severity": "warning",
            "duration": 0.0,
            "state": cache.alerts()[0]["state"],
        }
    ]
    notice = missing_until_told(cache, told)
    assert (notice["alert"], notice["status"], notice["cache"]) == ("misses", "firing", "shop")
    assert isinstance(notice["started"], datetime.datetime)
    assert notice["ended"] is None
    for _ in range(3_000):
        if cache.alerts()[0]["state"] == "firing":
            break
        cache.get("nobody")
        time.sleep(0.01)
    assert cache.alerts()[0]["state"] == "firing"
    cache.stop_alerts()
    assert cache.alerts() == []


def test_what_are_no_alerts_is_refused_and_what_was_judged_goes_on() -> None:
    cache = AnyCache()
    cache.start_alerts(MISSES)
    with pytest.raises(tierce.ConfigError, match="few"):
        cache.start_alerts(MISSES.replace("misses", "few").replace("miss_rate", "speed"))
    bad: Any = 7
    with pytest.raises(TypeError, match="notify must be callable, not int"):
        cache.start_alerts(MISSES, bad)
    assert [alert["name"] for alert in cache.alerts()] == ["misses"]


def test_what_is_told_may_raise_and_is_let_go_with_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: queue.Queue[Any] = queue.Queue()
    monkeypatch.setattr(sys, "unraisablehook", lambda told: raised.put(told.exc_value))

    class Notify:
        def __call__(self, notice: dict[str, Any]) -> None:
            raise RuntimeError(notice["alert"])

    cache, notify = AnyCache(), Notify()
    gone = weakref.ref(notify)
    cache.start_alerts(MISSES, notify)
    del notify
    assert str(missing_until_told(cache, raised)) == "misses"
    cache.close()
    monkeypatch.undo()
    for _ in range(3_000):
        # What another thread lets go is gone when the module is called next.
        if cache.alerts() == [] and gone() is None:
            break
        time.sleep(0.01)
    assert gone() is None
    assert cache.alerts() == []
