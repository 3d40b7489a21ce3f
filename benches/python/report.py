"""Writes benches/results/python-DATE.md from the JSON of a run of pytest-benchmark.

python benches/python/report.py target/bench-python.json
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "results"
# Who a question is asked about first: the ratio in brackets is to this one.
REFERENCE = {"memoized": "functools.lru_cache"}


def main(path: str) -> None:
    run = json.loads(Path(path).read_text())
    cells: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for benchmark in run["benchmarks"]:
        info = benchmark["extra_info"]
        question = cells.setdefault(info["question"], {})
        question.setdefault(info["rival"], []).append(benchmark)
    date = run["datetime"][:10]
    lines = [
        f"# Python: the cost of a hit, {date}",
        "",
        "Nanoseconds per operation: median over all rounds and passes (fastest round; slowest "
        "median of a pass), and the ratio of medians and of fastest rounds. The empty loop is "
        "part of every number. Where other work shared the machine (see the load average), the "
        "fastest rounds are the ones to compare. The load is described in "
        "benches/python/test_hits.py; `make bench-python` repeats it.",
        "",
        *machine(run),
        "",
    ]
    for question, rivals in cells.items():
        lines += table(question, rivals)
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"python-{date}.md"
    target.write_text("\n".join(lines))
    sys.stdout.write(f"{target.relative_to(RESULTS.parent.parent)}\n")


def machine(run: dict[str, Any]) -> list[str]:
    about = run["machine_info"]
    cpu = about.get("cpu", {})
    commit = run["commit_info"]
    changed = " and changes" if commit.get("dirty") else ""
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("tierce", "cachebox", "pytest-benchmark")
    ]
    return [
        f"- machine: {cpu.get('brand_raw', about['machine'])}, {cpu.get('count')} processors, "
        f"{about['system']}, "
        f"load average {os.getloadavg()[0]:.1f}",
        f"- {platform.python_implementation()} {about['python_version']}, {', '.join(versions)}",
        f"- commit {str(commit.get('id'))[:12]}{changed}",
    ]


def table(question: str, rivals: dict[str, list[dict[str, Any]]]) -> list[str]:
    rows = []
    for rival, passes in rivals.items():
        operations = passes[0]["extra_info"]["operations"]

        def ns(seconds: float, operations: int = operations) -> float:
            return seconds * 1e9 / operations

        data = [value for one in passes for value in one["stats"].get("data", [])]
        medians = [one["stats"]["median"] for one in passes]
        median = statistics.median(data or medians)
        rows.append(
            (
                rival,
                ns(median),
                ns(min(one["stats"]["min"] for one in passes)),
                ns(max(medians)),
                sum(one["stats"]["rounds"] for one in passes),
            )
        )
    first = REFERENCE.get(question, rows[0][0])
    base, fastest_base = next(row[1:3] for row in rows if row[0] == first)
    lines = [
        f"## {question}",
        "",
        f"| | median | fastest | slowest pass | rounds | median to {first} | fastest to it |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for rival, median, fastest, slowest, rounds in sorted(rows, key=lambda row: row[1]):
        lines.append(
            f"| {rival} | {median:.1f} | {fastest:.1f} | {slowest:.1f} | {rounds} "
            f"| {median / base:.2f}x | {fastest / fastest_base:.2f}x |"
        )
    return [*lines, ""]


if __name__ == "__main__":
    main(*sys.argv[1:])
