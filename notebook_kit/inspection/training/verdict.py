"""A one-word verdict on a run, with reasons: learning, overfitting, flat, rising."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from notebook_kit.inspection.training.thinning import Thinned

__all__ = ["verdict"]

ENOUGH = 12
"""The minimum number of buckets of the loss for a verdict."""

CLEARLY = 2.5
"""The number of standard errors from which a difference of two means counts."""


def verdict(series: Mapping[str, Thinned], facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Judge a run by its losses.

    The rules, in order; quarters are those of the buckets of the training loss:

    1. "not_finite": the latest loss is NaN or infinite.
    2. "rising": the mean of the last quarter is higher than that of the quarter before it and that of the first tenth.
    3. "overfitting": of at least three validation losses, the best is at least two evaluations ago, the latest is more than 1%
       worse, and the training loss has fallen since the best.
    4. "learning": the mean of the last quarter is lower than that of the quarter before it.
    5. "flat": none of the above; with the number of steps, and the loss at the start and now.

    "Higher" and "lower" mean by at least 2.5 standard errors of the difference.

    Args:
        series: The series of the run.
        facts: Facts about the run; not used.

    Returns:
        `kind`, one of the above, "early" (not enough data) or "no_loss", and the numbers for it.

    Example:
        >>> loss = Thinned()
        >>> loss.extend(range(100), [1 / (1 + step) for step in range(100)], range(100))
        >>> verdict({"loss": loss})["kind"]
        'learning'
    """
    loss, checks = series.get("loss"), series.get("eval_loss")
    if loss is None or not loss.count:
        return (
            {"kind": "no_loss"} if checks is None or not checks.count else _checked(None, checks) or {"kind": "early"}
        )
    packed = loss.packed()
    steps, numbers = packed[0], packed[1:].view(np.float32)
    mean, bad = numbers[2].astype(np.float64), numbers[4]
    if bad[-1] and not np.isfinite(mean[-1]):
        first = len(bad) - 1
        while first and bad[first - 1] and not np.isfinite(mean[first - 1]):
            first -= 1
        return {"kind": "not_finite", "step": int(steps[first])}
    fine = np.isfinite(mean)
    steps, mean = steps[fine], mean[fine]
    if len(mean) < ENOUGH:
        return _checked(loss, checks) or {"kind": "early"}
    quarter = max(3, len(mean) // 4)
    late, before, start = mean[-quarter:], mean[-2 * quarter : -quarter], mean[: max(3, len(mean) // 10)]
    change = _difference(late, before)
    if change > CLEARLY and _difference(late, start) > CLEARLY:
        return {
            "kind": "rising",
            "step": int(steps[-2 * quarter]),
            "from": float(before.mean()),
            "to": float(late.mean()),
        }
    if over := _checked(loss, checks):
        return over
    if change < -CLEARLY:
        return {"kind": "learning", "from": float(start.mean()), "to": float(late.mean())}
    return {
        "kind": "flat",
        "steps": int(steps[-1] - steps[-2 * quarter]),
        "from": float(start.mean()),
        "to": float(late.mean()),
    }


def _checked(loss: Thinned | None, checks: Thinned | None) -> dict[str, Any] | None:
    """The verdict "overfitting", if the validation losses show it."""
    if checks is None or checks.least is None or checks.last is None or checks.count < 3:
        return None
    packed = checks.packed()
    values = packed[1:].view(np.float32)[2]
    best, step = checks.least
    since = int((packed[0] > step).sum())
    if since < 2 or not checks.last[0] > best + 0.01 * abs(best) or not np.isfinite(values[-1]):
        return None
    if loss is not None:
        own, means = loss.packed()[0], loss.packed()[1:].view(np.float32)[2]
        around, late = means[(own <= step)][-10:], means[-10:]
        if not len(around) or not np.nanmean(late) < np.nanmean(around):
            return None
    return {"kind": "overfitting", "step": int(step), "best": best, "last": checks.last[0]}


def _difference(late: np.ndarray, before: np.ndarray) -> float:
    """The number of standard errors by which the mean of `late` exceeds that of `before`."""
    error = np.sqrt(late.var(ddof=1) / len(late) + before.var(ddof=1) / len(before))
    gap = float(late.mean() - before.mean())
    return gap / float(error) if error > 0 else float(np.sign(gap)) * np.inf if gap else 0.0
