"""What the benchmarks share: two rivals timed in turns within one run, medians of several rounds, a table at the end.

Times on a shared machine say little; the ratio of two things that took turns on it says a lot. So every table ends in
ratios, and nothing here passes or fails.
"""

from __future__ import annotations

import functools
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

ROUNDS = 5


def alternate(
    rivals: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Call the rivals in turns; a turn's seconds are the float that the callable returns, or else how long it took.

    Args:
        rivals: Name -> what to time.
        rounds: How many turns count.
        warm_up: How many turns are thrown away before.
        clock: The clock; `time.process_time` counts CPU seconds, for machines that are busy with other things.
    """
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(warm_up + rounds):
        order = list(rivals) if turn % 2 == 0 else list(reversed(rivals))  # nobody always goes first
        for name in order:
            start = clock()
            own = rivals[name]()
            elapsed = own if isinstance(own, float) else clock() - start
            if turn >= warm_up:
                times[name].append(elapsed)
    return times


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each rival's turns."""
    return {name: statistics.median(values) for name, values in times.items()}


def process(code: str, **environment: str) -> float:
    """CPU seconds that a fresh interpreter takes to run `code` and end; those of all its threads together.

    Every package is read from compiled files, as after an installation by pip: the first turn writes them to a temporary folder,
    even for a package in a source tree and where PYTHONDONTWRITEBYTECODE is set.
    """
    variables = {**os.environ, "PYTHONPYCACHEPREFIX": _compiled_files().name, **environment}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env=variables, stdout=subprocess.DEVNULL)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime


@functools.cache
def _compiled_files() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()


def processor() -> str:
    """The processor's name, and those of its instructions on which the speed of products depends."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    try:
        with open("/proc/cpuinfo") as file:
            pairs = [line.split(":", 1) for line in file if ":" in line]
        lines = {name.strip(): value.strip() for name, value in pairs}
        name, flags = lines.get("model name", name), set(lines.get("flags", "").split())
    except OSError:  # not Linux
        pass
    known = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")
    return f"{name} ({', '.join(flag for flag in known if flag in flags) or 'instructions unknown'})"


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], rounds: int = ROUNDS, file: TextIO | None = None
) -> None:
    """Print a Markdown table and the machine it was measured on, or write them to a file."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    for number, row in enumerate([header, *rows]):
        cells = " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {cells} |", file=file)
        if number == 0:
            print("| " + " | ".join("-" * width for width in widths) + " |", file=file)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"\n{machine}, medians of {rounds} turns each, alternating.", file=file)
