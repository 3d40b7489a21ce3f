"""What ordinary Python does to caches. Each case has a process of its own: a hang is a failure."""

from __future__ import annotations

import pytest

from conftest import run_python

PROLOGUE = """
import faulthandler, gc, sys, threading, time
faulthandler.dump_traceback_later(45, exit=True)
import tierce
"""

CASES = {
    "a finaliser of an evicted value uses the cache": """
        cache = tierce.Cache(max_entries=10)
        finalised = []
        class Own:
            def __del__(self):
                finalised.append(cache.get("key:1"))
                cache["from finaliser"] = 1
                cache.delete("key:2")
                cache.get_or_load("loaded", lambda: 1)
                len(cache); cache.stats()
        for number in range(1000):
            cache[f"key:{number}"] = Own()
        assert len(finalised) > 900, len(finalised)
        """,
    "a finaliser of an overwritten, deleted or cleared value uses the cache": """
        cache = tierce.Cache()
        finalised = []
        class Own:
            def __del__(self):
                finalised.append(1)
                cache["again"] = 1
                cache.clear()
        cache["a"] = Own(); cache["a"] = 1
        cache["a"] = Own(); del cache["a"]
        cache["a"] = Own(); cache.pop("a")
        cache["a"] = Own(); cache.clear()
        cache["a"] = Own(); cache.set("a", 1, ttl=0)
        assert len(finalised) == 5, finalised
        cache["a"] = Own(); cache.close()
        """,
    "a finaliser of an expired value uses the cache": """
        cache = tierce.Cache()
        finalised = []
        class Own:
            def __del__(self):
                finalised.append(cache.get("b")); cache.delete("b"); cache.get("a")
        for number in range(50):
            cache.set("a", Own(), ttl=0.01)
            time.sleep(0.02)
            assert cache.get("a") is None
            cache["b"] = 1
        del number
        cache.clear()
        assert len(finalised) == 50, len(finalised)
        """,
    "a finaliser starts a change of tiering": """
        cache = tierce.Cache(max_entries=8)
        class Own:
            def __del__(self):
                cache.retier("L1")
        for number in range(100):
            cache[f"{number}"] = Own()
        """,
    "a finaliser runs while another thread changes the tiering": """
        # A change holds a lock against changes of tiering; the finaliser comes back for it.
        cache = tierce.Cache(max_entries=8)
        stop = threading.Event()
        def retier():
            while not stop.is_set():
                cache.retier("L1")
        class Own:
            def __del__(self):
                time.sleep(0)
                cache["from finaliser"] = 1
        thread = threading.Thread(target=retier); thread.start()
        for number in range(3000):
            cache[f"{number}"] = Own()
        stop.set(); thread.join()
        """,
    "a finaliser collects": """
        cache = tierce.Cache(max_entries=8)
        class Own:
            def __init__(self): self.self = self
            def __del__(self): gc.collect()
        for number in range(200):
            cache[f"{number}"] = Own()
        """,
    "a finaliser raises": """
        sys.unraisablehook = lambda unraisable: None
        cache = tierce.Cache(max_entries=8)
        class Own:
            def __del__(self): raise ValueError
        for number in range(200):
            cache[f"{number}"] = Own()
        """,
    "the collector runs at every allocation": """
        gc.set_threshold(1)
        cache = tierce.Cache(max_entries=50)
        class Own:
            def __init__(self): self.self = self
            def __del__(self): cache["x"] = cache.get("y")
        for number in range(2000):
            cache[f"{number}"] = {"own": Own(), "list": [number]}
            cache.get_or_load(f"load {number % 70}", lambda: [Own()])
        """,
    "a deep value is dropped": """
        cache = tierce.Cache()
        value = []
        for _ in range(200_000):
            value = [value]
        cache["a"] = value
        del value
        cache["a"] = 1
        """,
    "threads mix everything": """
        sys.setswitchinterval(1e-5)
        cache = tierce.Cache(max_entries=100)
        class Own:
            def __del__(self): cache.get("key:1")
        errors = []
        def work(seed):
            try:
                for number in range(4000):
                    key = f"key:{(number * 7919 + seed) % 300}"
                    step = number % 7
                    if step == 0: cache[key] = Own()
                    elif step == 1: cache.get(key)
                    elif step == 2: cache.get_or_load(key, Own)
                    elif step == 3: cache.delete(key)
                    elif step == 4: cache.pop(key, None)
                    elif step == 5: cache.setdefault(key, Own())
                    elif number % 1000 == 6: cache.clear()
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not errors, errors
        assert len(cache) <= 100
        """,
    "threads mix everything over two tiers": """
        import tempfile
        sys.setswitchinterval(1e-5)
        with tempfile.TemporaryDirectory() as folder:
            caches = [tierce.Cache(tiering="L1L2", shared_directory=folder,
                                   max_entries=100, shared_max_bytes="8MB",
                                   shared_max_entries=1000) for _ in range(2)]
            errors = []
            def work(seed):
                cache = caches[seed % 2]
                try:
                    for number in range(3000):
                        key = f"key:{(number * 7919 + seed) % 300}"
                        step = number % 6
                        if step == 0: cache[key] = [key, number]
                        elif step == 1: assert (cache.get(key) or [key])[0] == key
                        elif step == 2: assert cache.get_or_load(key, lambda: [key, -1])[0] == key
                        elif step == 3: cache.delete(key)
                        elif step == 4: cache.pop(key, None)
                        elif number % 1000 == 5: cache.retier("L1L2")
                except BaseException as error:
                    errors.append(error)
            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert not errors, errors
            for cache in caches: cache.close()
        """,
    "the cache is closed while threads use it": """
        for _ in range(20):
            cache = tierce.Cache(max_entries=100)
            def work(cache=cache):
                for number in range(2000):
                    try:
                        cache[f"{number}"] = [number]
                        cache.get_or_load(f"x{number}", list)
                    except tierce.ClosedError:
                        return
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads: thread.start()
            time.sleep(0.005)
            cache.close()
            for thread in threads: thread.join()
            # A load that ended after the close may have left its value, which nobody can read.
            assert len(cache) <= 4, len(cache)
            assert cache.get("x1") is None
        """,
    "the process ends while threads use the cache": """
        import tempfile
        folder = tempfile.mkdtemp()
        cache = tierce.Cache(tiering="L1L2", shared_directory=folder,
                             shared_max_bytes="8MB", shared_max_entries=1000)
        def work():
            number = 0
            while True:
                number += 1
                cache[f"{number % 500}"] = [number]
                cache.get_or_load(f"x{number % 900}", lambda: time.sleep(0.0001))
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        import shutil; shutil.rmtree(folder)
        """,
    "the process ends while a thread waits for a load": """
        cache = tierce.Cache()
        began = threading.Event()
        def load():
            began.set()
            time.sleep(3600)
        threading.Thread(target=cache.get_or_load, args=("a", load), daemon=True).start()
        began.wait()
        threading.Thread(target=cache.get_or_load, args=("a", load), daemon=True).start()
        time.sleep(0.1)
        """,
    "caches and values live until the interpreter ends": """
        import atexit
        class Own:
            def __del__(self):
                cache.get("a")
        cache = tierce.Cache()
        cache["a"] = Own()
        cache["self"] = cache
        atexit.register(lambda: cache.set("late", Own()))
        """,
    "an exception holds frames that hold the cache": """
        import weakref
        class Own: pass
        def run():
            cache = tierce.Cache()
            own = Own()
            def load(): raise ValueError(own)
            try:
                cache.get_or_load("a", load)
            except ValueError:
                pass
            return weakref.ref(own), weakref.ref(cache)
        refs = run()
        gc.collect()
        assert [ref() for ref in refs] == [None, None], [ref() for ref in refs]
        """,
    "a subinterpreter is refused or works, and nothing crashes": """
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            sys.exit()
        other = interpreters.create()
        try:
            interpreters.run_string(other, "import tierce; tierce.Cache()")
        except Exception as error:
            assert "ImportError" in repr(error), error
        """,
    "importing does no work": """
        import os
        assert threading.active_count() == 1
        assert len(os.listdir("/proc/self/task")) <= 2   # faulthandler has one
        """,
}


@pytest.mark.parametrize("name", list(CASES))
def test_hazard(name: str) -> None:
    import textwrap

    run_python(PROLOGUE + textwrap.dedent(CASES[name]))
