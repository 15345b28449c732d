"""How time and memory grow with the number of inputs, the batch and the length: per input, both should stay flat.

Each cell runs in a separate process. Its memory is the peak above what it had before the work, after a first answer. Inputs are a
stream, as for a large data set; the answers are read one by one and dropped.

Run: `python benchmarks/growth.py [--most 100000] [--threads N]`
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from measure import processor, table

MODEL = "notebook-kit/tiny-sentiment"
TEXT = "a warm and funny film about nothing much that still finds its own quiet way to the end"


def peak() -> float:
    """The largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sentences(count: int) -> Iterator[str]:
    """As many different texts, of 3 to 17 words."""
    words = TEXT.split()
    for number in range(count):
        yield " ".join(words[(number * 7 + i) % len(words)] for i in range(3 + number % 15)) + f" {number}"


def inputs(count: int) -> Any:
    from notebook_kit import pipeline

    pipe = pipeline("sentiment-analysis", model=MODEL, device="cpu")
    list(pipe(sentences(64), batch_size=32))
    return lambda: sum(1 for _ in pipe(sentences(count), batch_size=32))


def model_call(batch: int, length: int) -> Any:
    import torch

    from notebook_kit import DistilBertConfig, DistilBertForSequenceClassification

    model = DistilBertForSequenceClassification(DistilBertConfig(n_layers=2)).eval()
    ids = torch.randint(5, 30_000, (batch, length))

    def call() -> None:
        with torch.inference_mode():
            model(input_ids=ids)

    with torch.inference_mode():
        model(input_ids=ids[:1, :8])
    return call


def measure_here(kind: str, first: int, second: int, threads: int) -> None:
    """In the process of one cell: print its seconds of CPU time and MiB."""
    import torch

    torch.set_num_threads(threads)
    call = inputs(first) if kind == "inputs" else model_call(first, second)
    before = peak()
    times = []
    for _ in range(1 if kind == "inputs" else 3):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    print(json.dumps([min(times), peak() - before]))


def cell(kind: str, first: int, second: int, threads: int) -> list[float]:
    command = [sys.executable, "-W", "ignore", __file__, "--cell", kind, str(first), str(second)]
    done = subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=100_000, help="the largest number of inputs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        kind, first, second = given.cell
        measure_here(kind, int(first), int(second), given.threads)
        return
    rows = []
    for count in [10**power for power in range(6) if 10**power <= given.most]:
        seconds, memory = cell("inputs", count, 0, given.threads)
        rows.append(
            [f"{count:,} texts through a pipeline", f"{seconds * 1e3 / count:.2f} ms per text", f"{memory:.0f}"]
        )
    for batch in (1, 4, 16, 64, 256):
        seconds, memory = cell("model", batch, 32, given.threads)
        rows.append([f"batch of {batch} x 32 tokens", f"{seconds * 1e3 / batch:.2f} ms per text", f"{memory:.0f}"])
    for length in (16, 64, 128, 256, 512):
        seconds, memory = cell("model", 8, length, given.threads)
        rows.append([f"8 texts of {length} tokens", f"{seconds * 1e3 / 8 / length:.3f} ms per token", f"{memory:.0f}"])
    table(["work", "CPU time", "memory, MiB"], rows, 1)
    print(f"{processor()}; {given.threads} thread(s).")


if __name__ == "__main__":
    main()
