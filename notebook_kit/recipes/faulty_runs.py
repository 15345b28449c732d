"""Five recorded runs with a fault each, for the chapter "Training for real": `python -m notebook_kit.recipes.faulty_runs FOLDER`.

Each trains the same small vision transformer on handwritten digits for 200 steps; only the fault differs. What is kept are the
losses, the norms of the gradients and the evaluations, as the Trainer logs them, and not the settings, which would give the fault
away.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from notebook_kit.data import load_digits
from notebook_kit.models.vit import ViTConfig, ViTForImageClassification
from notebook_kit.processing.image.classes import ViTImageProcessor
from notebook_kit.training import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from notebook_kit.training.seeding import set_seed

STEPS = 200
FAULTS = {
    "run_1": "the learning rate is too high",
    "run_2": "the training data is sorted by its label and not shuffled",
    "run_3": "the evaluation pictures are normalized differently",
    "run_4": "200 pictures are too few",
    "run_5": "half of the training labels are random",
}
"""The name of a run, which is that of its file without the ending, and its fault."""
_KEPT = ("loss", "grad_norm", "eval_loss", "eval_accuracy", "epoch", "step")


def record(name: str, steps: int = STEPS) -> list[dict[str, float]]:
    """The log of one of the runs, up to a step.

    Raises:
        KeyError: if there is no such run.
    """
    digits, fault = load_digits(), FAULTS[name]
    train, test = _prepared(digits["train"]), _prepared(digits["test"])
    options: dict[str, Any] = {}
    if "rate" in fault:
        options = {"learning_rate": 0.1, "warmup_steps": 0}
    elif "sorted" in fault:
        train.sort(key=lambda row: row["labels"])
        options = {"train_sampling_strategy": "sequential"}
    elif "normalized" in fault:
        test = _prepared(digits["test"], mean=0.5, deviation=0.5)
    elif "few" in fault:
        train = train[:200]
    else:
        chance = random.Random(0)
        for row in train:
            if chance.random() < 0.5:
                row["labels"] = chance.randrange(10)
    trainer = _trainer(train, test, **options)
    trainer.pop_callback(PrinterCallback)
    trainer.add_callback(_StopAfter(steps))
    trainer.train()
    history = trainer.state.log_history[:-1]  # the last is the summary
    return [{key: round(entry[key], 4) for key in _KEPT if key in entry} for entry in history]


class _StopAfter(TrainerCallback):
    """Ends a run early, without changing its schedule."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop |= state.global_step >= self.steps


def _prepared(part: Any, mean: float = 0.13, deviation: float = 0.31) -> list[dict[str, Any]]:
    process = ViTImageProcessor(do_resize=False, image_mean=[mean], image_std=[deviation])
    pixels = process([np.array(image)[..., None] for image in part["image"]], return_tensors="pt")["pixel_values"]
    return [{"pixel_values": one, "labels": label} for one, label in zip(pixels, part["label"], strict=True)]


def _trainer(train: list[dict[str, Any]], evaluation: list[dict[str, Any]], **options: Any) -> Trainer:
    set_seed(0)
    names: dict[str, Any] = {"id2label": {digit: str(digit) for digit in range(10)}}
    config = ViTConfig(
        image_size=28,
        patch_size=7,
        num_channels=1,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        initializer_range=0.1,  # so narrow a model starts better with larger weights
        **names,
    )
    settings = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 64,
        "per_device_eval_batch_size": 500,
        "learning_rate": 3e-3,
        "warmup_steps": 20,
        "logging_steps": 5,
        "eval_strategy": "steps",
        "eval_steps": 20,
        "save_strategy": "no",
        "seed": 0,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return Trainer(
        ViTForImageClassification(config),
        TrainingArguments(tempfile.mkdtemp(), **{**settings, **options}),
        train_dataset=train,
        eval_dataset=evaluation,
        compute_metrics=lambda given: {"accuracy": float((given.predictions.argmax(-1) == given.label_ids).mean())},
    )


def write_samples(folder: Path) -> None:
    """Write the five records, in the form of a `trainer_state.json`."""
    for name in FAULTS:
        lines = ",\n".join(json.dumps(entry) for entry in record(name))
        head = json.dumps({"max_steps": STEPS, "global_step": STEPS})[:-1]
        (folder / f"{name}.json").write_text(f'{head}, "log_history": [\n{lines}\n]}}\n', "utf-8")


def main(arguments: Sequence[str]) -> None:
    folder = Path(*arguments)
    folder.mkdir(parents=True, exist_ok=True)
    write_samples(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
