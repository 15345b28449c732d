"""Metrics of a run as a table and as files. The Trainer has these functions as methods."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from notebook_kit.errors import InputError
from notebook_kit.files import read_json, write_text
from notebook_kit.training.run_folder import STATE
from notebook_kit.training.state import TrainerLike

__all__ = ["log_metrics", "metrics_format", "save_metrics", "save_state"]


def _checked(metrics: Any) -> Mapping[str, Any]:
    if not isinstance(metrics, Mapping):
        raise InputError(
            f"The metrics are {metrics!r:.80}; expected numbers by name.",
            next_step="Pass what evaluate() returned, or the field metrics of what train() or predict() returned.",
        )
    return metrics


def metrics_format(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics for people: run times as hours, minutes and seconds, operations in GF, other numbers with four digits.

    Example:
        >>> metrics_format({"train_runtime": 61.5, "train_loss": 0.693147})
        {'train_runtime': '0:01:01.50', 'train_loss': 0.6931}
    """
    result = dict(_checked(metrics))
    for name, value in metrics.items():
        if "_runtime" in name:
            result[name] = f"{timedelta(seconds=int(value))}.{int(value * 100) % 100:02}"
        elif name == "total_flos":
            result[name] = f"{int(value) >> 30}GF"
        elif isinstance(value, float):
            result[name] = round(value, 4)
    return result


def log_metrics(trainer: TrainerLike, split: str, metrics: Mapping[str, Any]) -> None:
    """Write a table of metrics to the standard output, on the first process.

    Args:
        trainer: The Trainer.
        split: Its heading: "train", "eval" or "test".
        metrics: What `train`, `evaluate` or `predict` returned.
    """
    if not trainer.is_world_process_zero():
        return
    texts = {str(name): str(value) for name, value in metrics_format(metrics).items()}
    names, values = max(map(len, texts), default=0), max(map(len, texts.values()), default=0)
    rows = [f"  {name:<{names}} = {texts[name]:>{values}}" for name in sorted(texts)]
    sys.stdout.write("\n".join([f"***** {split} metrics *****", *rows]) + "\n")


def save_metrics(trainer: TrainerLike, split: str, metrics: Mapping[str, Any], combined: bool = True) -> None:
    """Write metrics to `{split}_results.json` in the output folder, and add them to `all_results.json` there.

    Args:
        trainer: The Trainer.
        split: "train", "eval" or "test".
        metrics: What `train`, `evaluate` or `predict` returned.
        combined: Whether to add them to `all_results.json`.
    """
    if not trainer.is_world_process_zero():
        return
    _checked(metrics)
    folder = Path(trainer.args.output_dir or "")
    folder.mkdir(parents=True, exist_ok=True)
    together = folder / "all_results.json"
    files = {folder / f"{split}_results.json": dict(metrics)}
    if combined:
        files[together] = {**(read_json(together) if together.exists() else {}), **metrics}
    for path, values in files.items():
        write_text(path, json.dumps(values, indent=4, sort_keys=True, default=str) + "\n")


def save_state(trainer: TrainerLike) -> None:
    """Write `trainer_state.json` into the output folder."""
    if trainer.is_world_process_zero():
        folder = Path(trainer.args.output_dir or "")
        folder.mkdir(parents=True, exist_ok=True)
        trainer.state.save_to_json(folder / STATE)
