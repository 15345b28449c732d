"""A range test of learning rates: the loss while the rate rises, and the rate at which it falls fastest."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import ConfigurationError, InputError, NonFiniteLossError
from notebook_kit.training.display import ProgressCallback
from notebook_kit.training.loop import TrainingLoop
from notebook_kit.training.state import TrainerLike
from notebook_kit.training.trials import preserved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LearningRateCurve", "find_lr"]

DIVERGED = 4.0
"""The test ends when the mean of the last losses is this many times as large as the lowest such mean."""


@dataclass(frozen=True, repr=False)
class LearningRateCurve:
    """The loss at each learning rate of a range test.

    Attributes:
        rates: The learning rates, rising.
        losses: The loss of the update at each.
        smoothed: The same as a centred moving average, which does not lag behind the rates.
        suggestion: The rate at which the smoothed loss falls fastest; None if it never falls.

    Example:
        >>> curve = LearningRateCurve.of([1e-5, 1e-4, 1e-3, 1e-2], [0.7, 0.69, 0.4, 0.9])
        >>> curve.suggestion
        0.001
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None

    @classmethod
    def of(cls, rates: Sequence[float], losses: Sequence[float], window: int = 1) -> LearningRateCurve:
        """The curve of the losses.

        Args:
            rates: The rates, rising.
            losses: The loss of the update at each.
            window: The number of losses in an average, odd.
        """
        smoothed = _centred_means(losses, window)
        lowest = min(range(len(smoothed)), key=smoothed.__getitem__)
        falls = [smoothed[i - 1] - smoothed[i] for i in range(1, lowest + 1)]  # rates rise by a constant factor
        steepest = 1 + falls.index(max(falls)) if falls and max(falls) > 0 else None
        suggestion = None if steepest is None else rates[steepest]
        return cls(tuple(rates), tuple(losses), tuple(smoothed), suggestion)

    def plot(self) -> Figure:
        """The losses over the rates as a matplotlib figure, with the suggestion marked."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, color="0.75", linewidth=1, label="loss")
        axes.plot(self.rates, self.smoothed, color="#0072b2", label="smoothed")
        if self.suggestion is not None:
            axes.axvline(
                self.suggestion, color="#d55e00", linestyle="--", label=f"falls fastest: {self.suggestion:.2g}"
            )
        low, first = min(self.smoothed), self.smoothed[0]
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.set_ylim(low - 0.1 * abs(first - low) - 1e-6, max(first, low) + 1.5 * abs(first - low) + 1e-6)
        axes.legend(frameon=False)
        return figure

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.plot().savefig(file, format="png", dpi=100)
        return file.getvalue()

    def __repr__(self) -> str:
        found = "the loss never falls" if self.suggestion is None else f"suggestion={self.suggestion:.2g}"
        return f"LearningRateCurve({len(self.rates)} rates from {self.rates[0]:.1g} to {self.rates[-1]:.1g}, {found})"


def find_lr(
    trainer: TrainerLike, start: float = 1e-7, end: float = 1.0, steps: int = 100, window: int = 7
) -> LearningRateCurve:
    """Train for a few steps while the learning rate rises from `start` to `end`, and return the loss at each rate.

    A rate somewhat below the one at which the loss falls fastest, up to it, is a good `learning_rate`. Afterwards the model,
    the optimizer and the random number generators are as before, and no file is written. The test ends early once the loss
    diverges.

    Args:
        trainer: The Trainer.
        start, end: The first and the last rate.
        steps: The number of rates, one update each, at equal ratios.
        window: The number of losses in a moving average, odd.

    Raises:
        ConfigurationError: For rates or steps that do not make a rising series, and while a run is in progress.
        NonFiniteLossError, InputError: If the first loss is already NaN or infinite.

    Example:
        >>> import tempfile
        >>> from notebook_kit import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
        >>> tiny = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
        >>> args = TrainingArguments(tempfile.mkdtemp(), use_cpu=True, disable_tqdm=True)
        >>> data = [{"input_ids": [5, 6, 7], "labels": 1}] * 8
        >>> trainer = Trainer(BertForSequenceClassification(tiny), args, train_dataset=data)
        >>> trainer.find_lr(start=1e-5, end=1e-2, steps=9)  # in a notebook, a plot
        LearningRateCurve(9 rates from 1e-05 to 0.01, suggestion=...)

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3.
    """
    rates_are_numbers = all(isinstance(value, Real) for value in (start, end))
    counts = all(isinstance(value, Integral) for value in (steps, window))
    if not (rates_are_numbers and counts) or not 0 < start < end or steps < 2 or window < 1 or window % 2 == 0:
        raise ConfigurationError(
            f"find_lr got start={start!r}, end={end!r}, steps={steps!r} and window={window!r}.",
            next_step="Pass 0 < start < end, steps of at least 2, and an odd window.",
        )
    displays = [] if trainer.args.disable_tqdm else [ProgressCallback()]
    rates: list[float] = []
    losses: list[float] = []
    lowest = math.inf
    with preserved(trainer, displays), TrainingLoop(trainer, max_steps=steps) as loop:
        trainer.emit("on_train_begin")
        largest = max(group["lr"] for group in trainer.optimizer.param_groups) or 1.0
        shares = [group["lr"] / largest or 1.0 for group in trainer.optimizer.param_groups]
        for step, batches in enumerate(loop.updates()):
            rate = start * (end / start) ** (step / (steps - 1))
            for group, share in zip(trainer.optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share  # groups keep their ratios
            try:
                loss: Any = loop.update(batches).loss
            except NonFiniteLossError:
                if not losses:
                    raise
                break
            value = trainer.distributed.mean(float(loss))
            if not math.isfinite(value):
                break
            rates.append(rate)
            losses.append(value)
            recent = sum(losses[-window:]) / len(losses[-window:])
            lowest = min(lowest, recent)
            if recent > DIVERGED * lowest:
                break
        trainer.emit("on_train_end")
    if not losses:
        raise InputError(
            f"The loss of the first update is {value}, at a learning rate of {start:g}.",
            next_step="Check the data for NaN and for wrong labels, and pass a smaller start.",
        )
    return LearningRateCurve.of(rates, losses, window)


def _centred_means(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and its neighbours; near the ends, of fewer on both sides."""
    means = []
    for i in range(len(values)):
        half = min(window // 2, i, len(values) - 1 - i)
        means.append(sum(values[i - half : i + half + 1]) / (2 * half + 1))
    return means
