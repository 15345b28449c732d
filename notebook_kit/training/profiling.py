"""Where the time of a training step goes, and what a whole run will take: from a few trial steps."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from notebook_kit.errors import ConfigurationError
from notebook_kit.training import model_files
from notebook_kit.training.callbacks import TrainerCallback
from notebook_kit.training.data import example_lengths, has_length
from notebook_kit.training.loop import TrainingLoop
from notebook_kit.training.state import TrainerLike
from notebook_kit.training.trials import preserved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RunEstimate", "StepProfile", "estimate", "profile"]

WARM_UP = 2
"""The first updates, which allocate memory, are not counted."""
PARTS = {
    "data": "loading and collating batches",
    "forward": "the forward pass and the loss",
    "backward": "the backward pass",
    "optimizer": "the optimizer",
    "rest": "moving data, clipping gradients, the schedule, counting and callbacks",
}
_ADVICE = {
    "data": "Set dataloader_num_workers, or prepare the dataset once with map().",
    "optimizer": 'A fused optimizer (optim="adamw_torch_fused") may be faster.',
    "rest": "Look at callbacks and at overrides of the Trainer's methods.",
}
_COLOURS = dict(zip(PARTS, ("#e69f00", "#0072b2", "#56b4e9", "#009e73", "#999999"), strict=True))


@dataclass(frozen=True, repr=False)
class StepProfile:
    """The mean time of one update by its parts.

    Attributes:
        seconds: Part -> seconds per update: "data", "forward", "backward", "optimizer", "rest".
        steps: The number of updates measured.

    Example:
        >>> profile = StepProfile({"data": 0.03, "forward": 0.02, "backward": 0.04, "optimizer": 0.01, "rest": 0.0}, steps=20)
        >>> print(profile)
        An update takes 100.0 ms, the mean of 20.
          40 %   40.0 ms  backward: the backward pass
          30 %   30.0 ms  data: loading and collating batches
          20 %   20.0 ms  forward: the forward pass and the loss
          10 %   10.0 ms  optimizer: the optimizer
           0 %    0.0 ms  rest: moving data, clipping gradients, the schedule, counting and callbacks
        → 30 % of the time goes into data. Set dataloader_num_workers, or prepare the dataset once with map().
    """

    seconds: dict[str, float]
    steps: int

    @property
    def total(self) -> float:
        """Seconds per update."""
        return sum(self.seconds.values())

    def share(self, part: str) -> float:
        """The share of a part in the time, from 0 to 1."""
        return self.seconds[part] / self.total if self.total else 0.0

    def __str__(self) -> str:
        lines = [f"An update takes {1e3 * self.total:.1f} ms, the mean of {self.steps}."]
        for part in sorted(self.seconds, key=self.seconds.__getitem__, reverse=True):
            spent = f"{self.share(part):4.0%} {1e3 * self.seconds[part]:6.1f} ms"
            lines.append(f" {spent.replace('%', ' %')}  {part}: {PARTS[part]}")
        largest = max(_ADVICE, key=self.share)
        if self.share(largest) >= 0.2:
            share = f"{self.share(largest):.0%}".replace("%", " %")
            lines.append(f"→ {share} of the time goes into {largest}. {_ADVICE[largest]}")
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self) -> Figure:
        """One bar, divided by parts, as a matplotlib figure."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 1.3), layout="constrained")
        axes, left = figure.add_subplot(), 0.0
        for part, seconds in self.seconds.items():
            axes.barh([0], [1e3 * seconds], left=left, color=_COLOURS[part], label=f"{part} {self.share(part):.0%}")
            left += 1e3 * seconds
        axes.set(yticks=[], xlabel="ms per update", xlim=(0, left or 1.0))
        axes.legend(ncols=len(self.seconds), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8)
        return figure


@dataclass(frozen=True, repr=False)
class RunEstimate:
    """What a run will take.

    Attributes:
        seconds: In all.
        steps: Updates.
        training, evaluation, saving: Seconds of each.
        memory: The highest memory of the process, or of the GPU, in bytes; None where it cannot be measured.

    Example:
        >>> print(RunEstimate(steps=900, training=1800.0, evaluation=60.0, saving=12.0, memory=2 * 2**30))
        About 31 minutes for 900 updates: 30 minutes of training, 60 seconds of evaluation, 12 seconds of saving. At most 2.0 GiB of memory.
    """

    steps: int
    training: float
    evaluation: float
    saving: float
    memory: int | None

    @property
    def seconds(self) -> float:
        return self.training + self.evaluation + self.saving

    def __str__(self) -> str:
        parts = {"training": self.training, "evaluation": self.evaluation, "saving": self.saving}
        named = ", ".join(f"{_in_words(value)} of {name}" for name, value in parts.items() if value)
        memory = "" if self.memory is None else f" At most {self.memory / 2**30:.1f} GiB of memory."
        return f"About {_in_words(self.seconds)} for {self.steps:,} updates: {named}.{memory}"

    __repr__ = __str__


def profile(trainer: TrainerLike, steps: int = 20) -> StepProfile:
    """Train for a few updates, and return where their time goes.

    Afterwards the model and the random number generators are as before, and no file is written. The Trainer's own callbacks
    are not called.

    Args:
        trainer: The Trainer.
        steps: The number of updates to measure, after two that are not counted.

    Raises:
        ConfigurationError: For fewer than one step, and while a run is in progress.

    Example:
        >>> import tempfile
        >>> from notebook_kit import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
        >>> tiny = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
        >>> args = TrainingArguments(tempfile.mkdtemp(), use_cpu=True, disable_tqdm=True)
        >>> data = [{"input_ids": [5, 6, 7], "labels": 1}] * 8
        >>> trainer = Trainer(BertForSequenceClassification(tiny), args, train_dataset=data)
        >>> sorted(trainer.profile(steps=3).seconds)
        ['backward', 'data', 'forward', 'optimizer', 'rest']
    """
    if not isinstance(steps, int) or steps < 1:
        raise ConfigurationError(f"profile got steps={steps!r}.", next_step="Pass at least 1.")
    clock = _Clock(trainer.distributed.device)
    with (
        preserved(trainer, [_Marks(clock)]),
        TrainingLoop(trainer, max_steps=WARM_UP + steps) as loop,
        clock.around(trainer),
    ):
        _run(loop, clock)
    measured = clock.updates[WARM_UP:] or clock.updates
    return StepProfile({part: sum(one[part] for one in measured) / len(measured) for part in PARTS}, len(measured))


def estimate(trainer: TrainerLike, steps: int = 20) -> RunEstimate:
    """What a run of this Trainer will take in time and memory, from `steps` trial updates, an evaluation and a checkpoint.

    The trial begins with the longest examples where their lengths are known, since these determine the highest memory.
    Afterwards the model and the random number generators are as before, and no file is left.

    Args:
        trainer: The Trainer.
        steps: The number of trial updates.

    Raises:
        ConfigurationError: For fewer than one step, for a stream without `max_steps`, whose run has no known length, and while
            a run is in progress.

    Example:
        >>> import tempfile
        >>> from notebook_kit import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
        >>> tiny = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
        >>> args = TrainingArguments(tempfile.mkdtemp(), num_train_epochs=5, use_cpu=True, disable_tqdm=True)
        >>> data = [{"input_ids": [5, 6, 7], "labels": 1}] * 8
        >>> trainer = Trainer(BertForSequenceClassification(tiny), args, train_dataset=data)
        >>> print(trainer.estimate(steps=2))
        About ... for 5 updates: ... of training... GiB of memory.
    """
    if not isinstance(steps, int) or steps < 1:
        raise ConfigurationError(f"estimate got steps={steps!r}.", next_step="Pass at least 1.")
    args, clock = trainer.args, _Clock(trainer.distributed.device)
    memory = _Memory(trainer.distributed.device)
    with preserved(trainer, [_Marks(clock)]):
        with TrainingLoop(trainer) as loop:
            total = loop.length.max_steps
            per_epoch = loop.length.updates_per_epoch
            longest = _longest_batch(trainer)
            if longest is not None:
                loop.update([longest] * args.gradient_accumulation_steps)
            with clock.around(trainer):
                _run(loop, clock, most=WARM_UP + steps)
            measured = clock.updates[WARM_UP:] or clock.updates
            update = sum(sum(one.values()) for one in measured) / len(measured)
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                if args.save_strategy != "no":
                    model_files.save_model_files(trainer.model, Path(folder))
                    torch.save(trainer.optimizer.state_dict(), Path(folder, "optimizer.pt"))
                saving = time.perf_counter() - start
        evaluation = _evaluation_seconds(trainer) if args.eval_strategy != "no" else 0.0
    evaluations = _times(args.eval_strategy, args.eval_steps, total, per_epoch)
    saves = (
        evaluations if args.save_strategy == "best" else _times(args.save_strategy, args.save_steps, total, per_epoch)
    )
    return RunEstimate(total, update * total, evaluation * evaluations, saving * saves, memory.highest())


# Measuring -----------------------------------------------------------------------------------------------------------


class _Clock:
    """Divides the time of updates by the moments at which parts begin."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.updates: list[dict[str, float]] = []
        self.current = dict.fromkeys(PARTS, 0.0)
        self.part, self.since = "data", time.perf_counter()

    def begin(self, part: str) -> None:
        """End the part in progress, once the device has done its work, and begin another."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.current[self.part] += now - self.since
        self.part, self.since = part, now

    def end_update(self) -> None:
        self.begin("data")
        self.updates.append(self.current)
        self.current = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def around(self, trainer: TrainerLike) -> Iterator[None]:
        """Mark where the forward and the backward pass of each batch begin and end."""
        accelerator, compute_loss = trainer.distributed.accelerator, trainer.compute_loss
        backward = accelerator.backward
        own = "compute_loss" in vars(trainer)
        trainer.compute_loss = self._timed("forward", compute_loss)  # type: ignore[misc]
        accelerator.backward = self._timed("backward", backward)
        try:
            yield
        finally:
            if own:
                trainer.compute_loss = compute_loss  # type: ignore[misc]
            else:
                del trainer.compute_loss
            del accelerator.backward

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.begin(part)
            try:
                return call(*args, **kwargs)
            finally:
                self.begin("rest")

        return timed


class _Marks(TrainerCallback):
    """Marks where the optimizer begins and ends."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.begin("optimizer")

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.begin("rest")


def _run(loop: TrainingLoop, clock: _Clock, most: int | None = None) -> None:
    """The updates of a loop, at most `most`."""
    clock.begin("data")
    clock.current = dict.fromkeys(PARTS, 0.0)
    for batches in islice(loop.updates(), most):
        clock.begin("rest")
        loop.update(batches)
        clock.end_update()


def _longest_batch(trainer: TrainerLike) -> Any:
    """A batch of the longest examples, or None if their lengths are not known."""
    loader = trainer.train_dataloader
    dataset: Any = getattr(loader, "dataset", None)
    collate = getattr(loader, "collate_fn", None)
    if collate is None or not (has_length(dataset) and hasattr(dataset, "__getitem__")):
        return None
    name = getattr(trainer.model, "main_input_name", "input_ids")
    lengths = example_lengths(dataset, name, trainer.args.length_column_name)
    if lengths is None:
        return None
    longest = np.argsort(-np.asarray(lengths), kind="stable")[: trainer.args.train_batch_size]
    return collate([dataset[int(i)] for i in longest])


def _evaluation_seconds(trainer: Any, batches: int = 5) -> float:
    """The time of an evaluation, from its first batches."""
    if not trainer.can_evaluate():
        return 0.0
    datasets = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else {"": None}
    total = 0.0
    for name in datasets:
        loader = trainer.get_eval_dataloader(name or None)
        model = trainer.prepared_model(training=False).eval()
        loss_only = trainer.compute_metrics is None
        times = [time.perf_counter()]
        for batch in islice(loader, batches + 1):
            trainer.prediction_step(model, batch, loss_only, None)
            times.append(time.perf_counter())
        rounds = [after - before for before, after in pairwise(times)]
        if rounds:
            steady = rounds[1:] or rounds  # the first one waits for the loader's start
            count = len(loader) if has_length(loader) else len(rounds)
            total += rounds[0] + sum(steady) / len(steady) * (count - 1)
    return total


def _times(strategy: Any, every: float | None, total: int, per_epoch: int) -> int:
    """How often something happens in a run, by its strategy."""
    name = str(getattr(strategy, "value", strategy))
    if name == "no":
        return 0
    if name == "epoch":
        return math.ceil(total / per_epoch)
    every = every or total
    return int(total // (every if every >= 1 else max(1, math.ceil(every * total))))


class _Memory:
    """The highest memory since creation: of the GPU in use, or of the process on Linux."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # begins a new maximum

    def highest(self) -> int | None:
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        with suppress(OSError, StopIteration):
            status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
        return None


def _in_words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds" if seconds >= 10 else f"{seconds:.1f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
