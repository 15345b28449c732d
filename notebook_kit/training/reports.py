"""Reports of a run: metrics as a table and as files, and a model card. The Trainer has these functions as methods."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from notebook_kit.files import read_json, write_text
from notebook_kit.training.state import TrainerLike
from notebook_kit.training.values import as_list

__all__ = ["create_model_card", "log_metrics", "metrics_format", "save_metrics"]

_CARD_SETTINGS = """
    learning_rate per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps num_train_epochs
    max_steps lr_scheduler_type warmup_steps optim weight_decay seed
"""


def metrics_format(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics for people: run times as hours, minutes and seconds, operations in GF, other numbers with four digits.

    Example:
        >>> metrics_format({"train_runtime": 61.5, "train_loss": 0.693147})
        {'train_runtime': '0:01:01.50', 'train_loss': 0.6931}
    """
    result = dict(metrics)
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
    folder = Path(trainer.args.output_dir or "")
    folder.mkdir(parents=True, exist_ok=True)
    together = folder / "all_results.json"
    files = {folder / f"{split}_results.json": dict(metrics)}
    if combined:
        files[together] = {**(read_json(together) if together.exists() else {}), **metrics}
    for path, values in files.items():
        write_text(path, json.dumps(values, indent=4, sort_keys=True, default=str) + "\n")


def create_model_card(
    trainer: TrainerLike,
    language: str | None = None,
    license: str | None = None,
    tags: str | list[str] | None = None,
    model_name: str | None = None,
    finetuned_from: str | None = None,
    tasks: str | list[str] | None = None,
    dataset_tags: str | list[str] | None = None,
    dataset: str | list[str] | None = None,
    dataset_args: str | list[str] | None = None,
) -> None:
    """Write a draft of a model card, `README.md` in the output folder: settings, losses and metrics of the run.

    Args:
        trainer: The Trainer.
        language, license, tags, tasks, dataset_tags: Metadata of the card.
        model_name: The title; by default the name of the output folder.
        finetuned_from: The model that was fine-tuned; by default the name with which it was loaded.
        dataset, dataset_args: Names of the datasets, and of their parts.
    """
    if not trainer.is_world_process_zero():
        return
    folder, config = Path(trainer.args.output_dir or ""), getattr(trainer.model, "config", None)
    base = finetuned_from or getattr(config, "_name_or_path", "")
    names = as_list(dataset)
    metadata = {
        "library_name": "transformers",
        "language": as_list(language),
        "license": as_list(license)[:1],
        "base_model": as_list(base or None),
        "tags": [
            *as_list(tags),
            *as_list(tasks),
            *(getattr(trainer.model, "model_tags", None) or ()),
            "generated_from_trainer",
        ],
        "datasets": as_list(dataset_tags) or names,
    }
    header = "\n".join(f"{key}: {json.dumps(value)}" for key, value in metadata.items() if value)
    trained = f"It was fine-tuned from `{base}`" if base else "It was trained from random weights"
    source = f" on {', '.join([*names, *as_list(dataset_args)])}" if names else ""
    settings = "\n".join(f"- {name}: {getattr(trainer.args, name)}" for name in _CARD_SETTINGS.split())
    card = f"---\n{header}\n---\n\n# {model_name or folder.resolve().name}\n\n{trained}{source}.\n"
    card += f"\n{_results(trainer.state.log_history)}\n## Training\n\n{settings}\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "README.md", card)


def _results(history: list[dict[str, Any]]) -> str:
    """The evaluations of a run as a table, each with the last loss logged before it."""
    loss: Any = None
    rows: list[dict[str, Any]] = []
    for entry in history:
        loss = entry.get("loss", loss)
        metrics = {name: value for name, value in entry.items() if name.startswith("eval_")}
        metrics = {name: value for name, value in metrics.items() if not name.endswith(("_runtime", "_per_second"))}
        if metrics:
            rows.append({"epoch": round(entry["epoch"], 4), "step": entry["step"], "loss": loss, **metrics})
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, ["---"] * len(names), *([metrics_format(row).get(name, "") for name in names] for row in rows)]
    return "## Results\n\n" + "\n".join(f"| {' | '.join(map(str, row))} |" for row in cells) + "\n"
