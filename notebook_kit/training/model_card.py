"""Model cards: `README.md` with the settings and the results of a run. The Trainer has `create_model_card` as a method."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from notebook_kit.files import write_text
from notebook_kit.nn.inputs import unwrap
from notebook_kit.training.reports import metrics_format
from notebook_kit.training.state import TrainerLike
from notebook_kit.training.values import as_list

__all__ = ["create_model_card", "update_model_card"]

CARD = "README.md"
_CARD_SETTINGS = """
    learning_rate per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps num_train_epochs
    max_steps lr_scheduler_type warmup_steps optim weight_decay seed
"""


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

    Saving the model writes such a card too, unless there is one that was written by hand or by a call of this method.

    Args:
        trainer: The Trainer.
        language, license, tags, tasks, dataset_tags: Metadata of the card.
        model_name: The title; by default the name of the output folder.
        finetuned_from: The model that was fine-tuned; by default the name with which it was loaded.
        dataset, dataset_args: Names of the datasets, and of their parts.
    """
    if not trainer.is_world_process_zero():
        return
    folder = Path(trainer.args.output_dir or "")
    metadata = {
        "language": as_list(language),
        "license": as_list(license)[:1],
        "tags": [*as_list(tags), *as_list(tasks)],
        "datasets": as_list(dataset_tags) or as_list(dataset),
    }
    trained_on = [*as_list(dataset), *as_list(dataset_args)]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CARD, _card(trainer, metadata, finetuned_from, model_name, trained_on))


def update_model_card(trainer: TrainerLike, folder: str | Path) -> None:
    """Write a model card to a folder into which the model was saved.

    Args:
        trainer: The Trainer; on the first process only.
        folder: The folder. If it, or else the output folder, has a card that this function did not write, that one is kept.
    """
    if not trainer.is_world_process_zero():
        return
    target = Path(folder) / CARD
    for kept in (target, Path(trainer.args.output_dir or "") / CARD):
        if kept.is_file() and not _is_update(kept.read_text("utf-8")):
            if kept.resolve() != target.resolve():
                write_text(target, kept.read_text("utf-8"))
            return
    card = _card(trainer, {}, None, None, [])
    write_text(target, card + _mark(card))


def _mark(card: str) -> str:
    """The last line of a card that may be replaced: unless it was edited, since then it has another checksum."""
    return (
        f"\n<!-- Written by notebook_kit ({zlib.crc32(card.encode()):08x}); to keep your changes, just edit it. -->\n"
    )


def _is_update(card: str) -> bool:
    text, _, _ = card.rpartition("\n<!-- ")
    return card == text + _mark(text)


def _card(
    trainer: TrainerLike, metadata: dict[str, Any], base: str | None, title: str | None, trained_on: list[str]
) -> str:
    model = unwrap(trainer.model)
    base = base or getattr(getattr(model, "config", None), "_name_or_path", "")
    tags = [*metadata.get("tags", ()), *(getattr(model, "model_tags", None) or ()), "generated_from_trainer"]
    metadata = {"library_name": "transformers", "base_model": as_list(base or None), **metadata, "tags": tags}
    header = "\n".join(f"{key}: {json.dumps(value)}" for key, value in metadata.items() if value)
    origin = f"It was fine-tuned from `{base}` with notebook_kit" if base else "It was trained with notebook_kit"
    source = f" on {', '.join(trained_on)}" if trained_on else ""
    settings = "\n".join(f"- {name}: {getattr(trainer.args, name)}" for name in _CARD_SETTINGS.split())
    name = title or Path(trainer.args.output_dir or "").resolve().name
    card = f"---\n{header}\n---\n\n# {name}\n\n{origin}{source}.\n"
    return f"{card}\n{_results(trainer.state.log_history)}\n## Training\n\n{settings}\n"


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
