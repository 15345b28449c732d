"""What watching a run costs: `python benchmarks/training_dashboard.py` (needs the `test` extra; about six minutes).

1. Cost per step of a 5 ms step. Rivals take turns: no callback, `RunMonitor` (the record alone, on disk), `TrainingDashboard` (with a
   page that takes what is sent), and in the Trainer of `transformers` also its `NotebookProgressCallback` (what it displays is taken
   too). The cost is the CPU time that a callback's events take on the training thread, and that of all other threads of the
   process (which bare runs hardly have): on one core everything that another thread does delays the step as well. Torch computes on
   one thread. Epochs have eight steps, so what is recorded per epoch weighs much; and threads that wake up a few times per second
   cost more per step on a busy machine, whose steps take longer. The difference between whole runs is shown as well; it measures
   the same with more noise.
2. Bytes to the page: the last minute of a run of 100,000 steps at 5 ms per step, eight series, and all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import comm
import torch
import transformers
from comm.base_comm import BaseComm
from measure import ROUNDS, table
from transformers.utils import notebook as rival

from notebook_kit.panels import TrainingDashboard
from notebook_kit.training import RunMonitor, Trainer, TrainerCallback, TrainingArguments

STEP = 0.005
TOKENS, BATCH = 64, 8


class CountingComm(BaseComm):
    """Stands for the page: takes what is sent, as a kernel would pack it, and counts its bytes."""

    count = 0

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        CountingComm.count += len(json.dumps({"data": data, "metadata": metadata, **keys}, default=str))
        CountingComm.count += sum(memoryview(part).nbytes for part in buffers or ())


class CountingDisplay:
    """Stands for IPython's display functions under the rival."""

    count = 0

    @classmethod
    def HTML(cls, text: str) -> str:  # the name is IPython's
        return text

    @classmethod
    def display(cls, shown: Any, display_id: Any = None) -> CountingDisplay:
        cls.count += len(str(shown))
        return cls()

    def update(self, shown: Any) -> None:
        CountingDisplay.count += len(str(shown))


BASES = {"TrainerCallback"}
EVERY = (*(name for name in vars(TrainerCallback) if name.startswith("on_")), "on_push_begin")


class Nothing:
    """Does nothing at each event: what it takes is what the clock takes."""


for _name in EVERY:
    setattr(Nothing, _name, lambda self, *given, **more: None)


class Timed:
    """Passes a Trainer's events on to a callback and sums up the CPU time that they take on their thread, less that of the clock."""

    def __init__(self, callback: Any) -> None:
        self.callback, self.seconds = callback, 0.0
        # Events that it does not write cost it nothing.
        owners = {name: next((kind for kind in type(callback).__mro__ if name in vars(kind)), None) for name in EVERY}
        self.listens = {name for name, kind in owners.items() if kind is not None and kind.__name__ not in BASES}


def _event(name: str) -> Any:
    def call(self: Timed, *given: Any, **more: Any) -> Any:
        if name not in self.listens:
            return None
        method, nothing = getattr(self.callback, name), getattr(NOTHING, name)
        start = time.thread_time()
        nothing(*given, **more)
        clock = time.thread_time()
        try:
            return method(*given, **more)
        finally:
            self.seconds += time.thread_time() - clock - (clock - start)

    return call


NOTHING = Nothing()
for _name in EVERY:
    setattr(Timed, _name, _event(_name))


class Work(torch.nn.Module):
    """A model whose steps take a given time, spent on matrix multiplications."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(100, 64)
        self.layer = torch.nn.Linear(64, 64)
        self.rounds = rounds
        self.config = None

    def forward(self, input_ids: Any, attention_mask: Any = None, labels: Any = None) -> dict[str, Any]:
        hidden = self.embedding(input_ids)
        for _ in range(self.rounds):
            hidden = torch.tanh(self.layer(hidden))
        logits = hidden.mean((1, 2))
        return {"loss": ((logits - labels) ** 2).mean(), "logits": logits}


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "input_ids": torch.full((TOKENS,), i % 100),
            "attention_mask": torch.ones(TOKENS).long(),
            "labels": float(i % 3),
        }
        for i in range(count)
    ]


def train(kind: str, callback: Any, work: int, steps: int, logging_steps: int) -> dict[str, float]:
    """One run; CPU seconds per step: of the whole process, of the callback's events, of other threads."""
    library = {
        "notebook_kit": (Trainer, TrainingArguments),
        "transformers": (transformers.Trainer, transformers.TrainingArguments),
    }
    make, arguments = library[kind]
    folder = tempfile.mkdtemp()
    options = {"per_device_train_batch_size": BATCH, "max_steps": steps, "logging_steps": logging_steps}
    quiet = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    run = make(Work(work), arguments(folder, **options, **quiet), train_dataset=rows(64))
    printer = (
        run.pop_callback(transformers.PrinterCallback)
        if kind == "transformers"
        else run.pop_callback(run.callbacks[-1])
    )
    assert printer is not None
    timed = Timed(callback(folder)) if callback is not None else None
    if timed is not None:
        run.add_callback(timed)
    whole, own = time.process_time(), time.thread_time()
    run.train()
    own = time.thread_time() - own
    others = time.process_time() - whole - own
    if isinstance(getattr(timed, "callback", None), TrainingDashboard):
        timed.callback.close()
    return {
        "whole": (own + others) / steps,
        "events": timed.seconds / steps if timed is not None else 0.0,
        "others": others / steps,
    }


def calibrate() -> int:
    """How many rounds of work a step of 5 ms takes."""
    rounds = 20
    for _ in range(3):
        measured = statistics.median(train("notebook_kit", None, rounds, 60, 1000)["whole"] for _ in range(3))
        rounds = max(1, round(rounds * STEP / measured))
    return rounds


def cost(steps: int, library: str | None = None) -> None:
    monitor = lambda folder: RunMonitor(run_dir=Path(folder) / "run")  # noqa: E731
    board = lambda folder: TrainingDashboard(run_dir=Path(folder) / "run")  # noqa: E731
    table_of_rival = lambda folder: rival.NotebookProgressCallback()  # noqa: E731
    runs = {
        ("notebook_kit", "no callback", 10): None,
        ("notebook_kit", "RunMonitor", 10): monitor,
        ("notebook_kit", "TrainingDashboard", 10): board,
        ("transformers", "no callback", 10): None,
        ("transformers", "NotebookProgressCallback", 10): table_of_rival,
        ("transformers", "RunMonitor", 10): monitor,
        ("transformers", "TrainingDashboard", 10): board,
        ("transformers", "no callback", 1): None,
        ("transformers", "NotebookProgressCallback", 1): table_of_rival,
        ("transformers", "TrainingDashboard", 1): board,
    }
    runs = {key: callback for key, callback in runs.items() if library in (None, key[0])}
    work = calibrate()
    measured: dict[Any, list[dict[str, float]]] = {key: [] for key in runs}
    sent: dict[Any, int] = {}
    for turn in range(ROUNDS + 1):
        for key in list(runs) if turn % 2 == 0 else list(reversed(runs)):
            CountingComm.count = CountingDisplay.count = 0
            result = train(key[0], runs[key], work, steps, key[2])
            sent[key] = CountingComm.count + CountingDisplay.count
            if turn:
                measured[key].append(result)

    def middle(key: Any, part: str) -> float:
        return statistics.median(result[part] for result in measured[key])

    lines = []
    for key in runs:
        bare = (key[0], "no callback", key[2])
        step = middle(bare, "whole")
        added = middle(key, "events") + middle(key, "others") - middle(bare, "others")
        lines.append(
            [
                f"{key[0]} Trainer, a log every {key[2]} steps",
                key[1],
                f"{1e3 * middle(key, 'whole'):.3f} ms",
                f"{1e6 * middle(key, 'events'):.0f} µs" if key != bare else "",
                f"{1e6 * (middle(key, 'others') - middle(bare, 'others')):.0f} µs" if key != bare else "",
                f"{added / step:.2%}" if key != bare else "",
                f"{middle(key, 'whole') / step - 1:+.1%}" if key != bare else "",
                f"{sent[key] / 1e3:.0f} kB" if sent[key] else "",
            ]
        )
    header = [
        "run",
        "callback",
        "CPU per step",
        "its events",
        "other threads",
        "cost",
        "whole runs",
        f"sent in {steps} steps",
    ]
    table(header, lines)


def page(seconds: float) -> None:
    total, pace = 100_000, STEP
    board = TrainingDashboard()
    record = board.record

    def values(step: int) -> dict[str, float]:
        loss = 1 / (1 + step / 500) + 0.05 * torch.rand(()).item()
        names = ("grad_norm", "learning_rate", "step_time", "samples_per_second", "tokens_per_second", "epoch")
        return {"loss": loss, **{name: loss * number for number, name in enumerate(names, 1)}}

    rest = int(seconds / pace)
    CountingComm.count = 0
    board.begin(max_steps=total)
    start = time.time() - (total - rest) * pace
    for step in range(1, total - rest + 1):  # what came before this minute, at once
        record.log(step, values(step), start + step * pace)
    time.sleep(2)
    before, began = CountingComm.count, time.perf_counter()
    for step in range(total - rest + 1, total + 1):
        board.log(step, **values(step))
        time.sleep(max(0.0, began + (step - total + rest) * pace - time.perf_counter()))
    minute = (CountingComm.count - before) / (time.perf_counter() - began) * 60
    board.monitor.finish()
    time.sleep(2)
    size = len(json.dumps(board.get_state(), default=str))
    frame = board.get_state().get("_frame", {})
    size += sum(memoryview(part).nbytes for part in frame.values() if isinstance(part, (bytes, memoryview)))
    print(f"\nAt {total:,} steps of {1e3 * pace:g} ms with 8 series: {minute / 1e6:.2f} MB a minute to the page;")
    print(
        f"the page's whole state is {size / 1e6:.2f} MB. {len(record.series)} series, {len(record.series['loss']):,} points."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="steps a run")
    parser.add_argument("--seconds", type=float, default=60, help="how long the bytes to the page are counted")
    parser.add_argument("--only", choices=["cost", "page"])
    parser.add_argument("--library", choices=["notebook_kit", "transformers"], help="the Trainer of this one alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    comm.create_comm = CountingComm
    rival.disp = CountingDisplay
    if given.only != "page":
        cost(given.steps, given.library)
    if given.only != "cost":
        page(given.seconds)


if __name__ == "__main__":
    sys.exit(main())
