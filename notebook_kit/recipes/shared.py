"""Helpers shared by the recipes: a work folder, a clock, training that can be resumed, a tokenizer, checkpoint sizes."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset, SequentialSampler

from notebook_kit.files import read_json
from notebook_kit.processing.text.auto import PreTrainedTokenizerFast
from notebook_kit.recipes.muon import MuonWithAdamW
from notebook_kit.training import Trainer, TrainingArguments, get_last_checkpoint

__all__ = [
    "QUICK_WARNING",
    "SEEDS",
    "Clock",
    "best_temperature",
    "byte_level_bpe",
    "checkpoint_bytes",
    "for_each_seed",
    "minutes_of",
    "train",
    "train_in_order",
    "work_folder",
]

QUICK_WARNING = "**Made by `--quick`: only useful for checking that the recipe works.**\n\n"


SEEDS = (17, 18, 19)
"""The seeds with which a checkpoint is trained; that of the first is the embedded one, the others measure how much chance decides."""

T = TypeVar("T")


@contextmanager
def work_folder(work: Path | None) -> Iterator[Path]:
    """The folder for intermediate results: `work`, created if missing, or a temporary folder deleted after the block."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
    else:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)


class Clock:
    """Measures seconds by stage, stored in a file; a stage whose result is reused keeps the time of the earlier run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = read_json(path) if path.exists() else {}

    @contextmanager
    def __call__(self, stage: str, kept: Path | None = None) -> Iterator[None]:
        reused, start = kept is not None and kept.exists(), time.perf_counter()
        yield
        if not reused:
            self.seconds[stage] = time.perf_counter() - start
            self.path.write_text(json.dumps(self.seconds), encoding="utf-8")


def minutes_of(seconds: Mapping[str, float], beginning: str) -> float:
    """The mean of the stages whose names begin so, in minutes.

    Example:
        >>> minutes_of({"seed 1": 60.0, "seed 2": 180.0, "voices": 5.0}, "seed")
        2.0
    """
    chosen = [value for stage, value in seconds.items() if stage.startswith(beginning)]
    return sum(chosen) / len(chosen) / 60 if chosen else 0.0


def train(trainer: Trainer) -> None:
    """Train, resuming from the last checkpoint if an earlier call was interrupted."""
    output = trainer.args.output_dir
    trainer.train(resume_from_checkpoint=True if output and get_last_checkpoint(output) else None)


class _InOrder(Trainer):
    """Takes the batches in their order."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)


def train_in_order(model: nn.Module, batches: Dataset[Any], rate: float, folder: Path, seed: int) -> None:
    """Train a model once through ready-made batches in their order, by Muon and AdamW.

    Args:
        model: The model, with its initial weights.
        batches: The batches, each an element of a dataset that has a length.
        rate: The highest learning rate; it falls to 0 along a cosine.
        folder: Of checkpoints, from which an interrupted training continues.
        seed: Of the Trainer.
    """
    arguments = TrainingArguments(
        str(folder),
        max_steps=len(batches),  # type: ignore[arg-type]
        per_device_train_batch_size=1,  # a batch of the dataset is one of the Trainer's examples
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        save_steps=0.25,
        save_total_limit=1,
        logging_steps=50,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        use_cpu=True,
        seed=seed,
    )
    trainer = _InOrder(
        model,
        arguments,
        data_collator=lambda examples: examples[0],
        train_dataset=batches,
        optimizers=(MuonWithAdamW(model, rate, weight_decay=0.05), None),
    )
    train(trainer)


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """What to divide logits `(examples, classes)` by so that their cross-entropy is smallest.

    Scores are then calibrated probabilities (Guo et al., On Calibration of Modern Neural Networks, 2017).

    Example:
        >>> logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [4.0, 0.0]])
        >>> round(best_temperature(logits, torch.tensor([0, 0, 0, 1])), 1)  # 3 of 4: the logarithm of the odds is 1.1
        3.6
    """
    candidates = torch.logspace(-1, 1, 401)
    losses = torch.stack([F.cross_entropy(logits / each, labels) for each in candidates])
    return float(candidates[losses.argmin()])


def for_each_seed(
    seeds: Sequence[int], output: Path, work: Path, quick: bool, one: Callable[[int, Path], T]
) -> list[T]:
    """What `one(seed, folder)`, which trains, saves and measures a checkpoint, returns for each seed.

    Args:
        seeds: The seeds; with `quick` only the first counts.
        output: The folder of the first seed's checkpoint. The others are saved in folders of `work`.
        work: The folder of intermediate results.
        quick: Whether the build only checks that the recipe works.
        one: Called with each seed and the folder for its checkpoint.

    Example:
        >>> for_each_seed((17, 18), Path("out"), Path("work"), False, lambda seed, folder: folder.as_posix())
        ['out', 'work/checkpoint-18']
    """
    return [
        one(seed, work / f"checkpoint-{seed}" if place else output)
        for place, seed in enumerate(seeds[: 1 if quick else None])
    ]


def byte_level_bpe(texts: list[str], size: int, special: dict[str, str], **options: Any) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE, which can encode any text.

    Args:
        texts: Training texts for the merges.
        size: Number of tokens, including the 256 bytes and the special tokens.
        special: Role -> token (`{"eos_token": "</s>"}`); their ids start at 0 in this order.
        **options: Options of the tokenizer. With `ends_with_eos=True`, the end token is appended to each text, and the first word
            is split as if preceded by a space.
    """
    ends_with_eos = options.pop("ends_with_eos", False)
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=ends_with_eos)
    backend.decoder = decoders.ByteLevel()
    names = list(dict.fromkeys(special.values()))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=names, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    backend.train_from_iterator(texts, trainer)
    if ends_with_eos:
        end = special["eos_token"]
        # Remove the space added by `add_prefix_space`.
        backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
        backend.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, backend.token_to_id(end))]
        )
    else:
        backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(backend, **special, **options)


def checkpoint_bytes(folder: Path) -> int:
    """The total size of weights and tokenizer in bytes."""
    return sum((folder / name).stat().st_size for name in ("model.safetensors", "tokenizer.json"))
