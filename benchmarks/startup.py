"""What it costs until something happens: imports, and the first answer of a new process. In CPU time, which other work on the
machine changes less than the time by the clock.

python benchmarks/startup.py
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence

from measure import alternate, medians, process, processor, table

NAMES = (
    "pipeline, AutoTokenizer, AutoModel, AutoModelForSequenceClassification, AutoConfig, Trainer, TrainingArguments, "
    "DataCollatorWithPadding, TrainerCallback"
)
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
ROUNDS = 9


def spread(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The median ratio of the turns, and between which ratios the middle half of them lies."""
    low, middle, high = statistics.quantiles((a / b for a, b in zip(ours, theirs, strict=True)), n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def imports() -> list[list[str]]:
    """The two rows on imports."""
    light = medians(
        alternate(
            {
                "bare": lambda: process("pass"),
                "ours": lambda: process("import notebook_kit"),
                "rival": lambda: process("import transformers", **OFFLINE),
            },
            rounds=ROUNDS,
        )
    )
    turns = alternate(
        {
            "torch": lambda: process("import torch"),
            "ours": lambda: process(f"from notebook_kit import {NAMES}"),
            "rival": lambda: process(f"from transformers import {NAMES}", **OFFLINE),
        },
        rounds=ROUNDS,
    )
    full = medians(turns)
    return [
        [
            "`import` of the package, over a bare interpreter",
            f"{light['ours'] - light['bare']:.3f} s",
            f"{light['rival'] - light['bare']:.3f} s",
            f"{(light['ours'] - light['bare']) / (light['rival'] - light['bare']):.3f}",
            "ours at most 0.1 s",
        ],
        [
            f"all quick-tour names (`import torch`: {full['torch']:.2f} s)",
            f"{full['ours']:.2f} s = {spread(turns['ours'], turns['torch'])} x torch",
            f"{full['rival']:.2f} s = {spread(turns['rival'], turns['torch'])} x torch",
            spread(turns["ours"], turns["rival"]),
            "ours at most 1.15 x torch",
        ],
    ]


def first_answer(folder: str) -> list[str]:
    """A new process loads a local checkpoint of DistilBERT's size and answers once."""
    code = "from {} import pipeline\nprint(pipeline('sentiment-analysis', model={!r})('We are very happy.'))"
    turns = alternate(
        {
            "ours": lambda: process(code.format("notebook_kit", folder), **OFFLINE),
            "rival": lambda: process(code.format("transformers", folder), **OFFLINE),
        },
        rounds=ROUNDS,
    )
    times = medians(turns)
    return [
        "new process, local checkpoint of 67 M weights, first answer",
        f"{times['ours']:.2f} s",
        f"{times['rival']:.2f} s",
        spread(turns["ours"], turns["rival"]),
        "at most 0.5",
    ]


def make_checkpoint(folder: str) -> None:
    """A checkpoint of DistilBERT's size with random weights and the embedded checkpoint's tokenizer."""
    from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer, DistilBertConfig

    AutoModelForSequenceClassification.from_config(DistilBertConfig()).save_pretrained(folder)
    AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment").save_pretrained(folder)


if __name__ == "__main__":
    os.environ.update(OFFLINE)
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(folder)
        rows = [*imports(), first_answer(folder)]
    table(["what", "notebook_kit", "transformers", "ratio", "to reach"], rows, ROUNDS)
    print(processor())
