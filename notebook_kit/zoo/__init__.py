"""The zoo: small checkpoints that come with notebook_kit, so that everything works with no network.

Each is trained by this project. Its folder holds a checkpoint in the Hub's file formats and a model card with what
was measured; its recipe in `notebook_kit/recipes/` rebuilds it: `python -m notebook_kit.recipes build tiny-sentiment`.

To add one: write `notebook_kit/recipes/<name>.py` with a function `build(output, quick=False)`, run it, and add one line to `ZOO`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from notebook_kit.errors import InputError
from notebook_kit.registry.tasks import ALIASES

__all__ = ["ZOO", "Checkpoint", "default_for", "folder", "names", "sample"]

PREFIX = "notebook-kit/"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One line of the registry.

    Attributes:
        tasks: The pipeline tasks (without aliases) that it is the default of.
        summary: What it is, in a few words.
    """

    tasks: tuple[str, ...]
    summary: str


ZOO: dict[str, Checkpoint] = {
    "tiny-sentiment": Checkpoint(("text-classification",), "POSITIVE or NEGATIVE, for English sentences"),
    "tiny-gpt2": Checkpoint(("text-generation",), "goes on with a text in the manner of three old English books"),
    "tiny-summarizer": Checkpoint(("summarization",), "sums the description of a piece of software up in one line"),
}
"""Name -> checkpoint. The folder beside this file and the recipe carry the name too (with underscores: the recipe)."""


def names() -> list[str]:
    """The full names of the embedded checkpoints, as `from_pretrained` takes them.

    Example:
        >>> "notebook-kit/tiny-sentiment" in names()
        True
    """
    return [PREFIX + name for name in ZOO]


def folder(name: str) -> Path | None:
    """Where an embedded checkpoint lies on disk, or None if there is none of that name.

    Args:
        name: With or without the prefix: "notebook-kit/tiny-sentiment" or "tiny-sentiment".

    Example:
        >>> folder("tiny-sentiment").name
        'tiny-sentiment'
        >>> folder("bert-base-uncased") is None
        True
    """
    short = name.removeprefix(PREFIX)
    return Path(__file__).parent / short if short in ZOO else None


def default_for(task: str) -> str | None:
    """The full name of the embedded checkpoint for a pipeline task, or None if the zoo has none for it.

    Example:
        >>> default_for("sentiment-analysis")
        'notebook-kit/tiny-sentiment'
        >>> default_for("image-classification") is None
        True
    """
    task = ALIASES.get(task, task)
    return next((PREFIX + name for name, checkpoint in ZOO.items() if task in checkpoint.tasks), None)


def sample(filename: str) -> Path:
    """Where a small file of sample inputs lies on disk: inputs to try things on, written for this project.

    Args:
        filename: "support_messages.jsonl": 96 short messages to a shop (`text`) in three kinds (`topic`).
            "parallel_sentences.jsonl": 24 everyday sentences (`text`, `number` from 0) in each of eight languages (`language`:
            ar, de, en, es, hi, ru, te, zh), the same sentence under the same number.

    Raises:
        InputError: There is no such sample.

    Example:
        >>> len(sample("support_messages.jsonl").read_text(encoding="utf-8").splitlines())
        96
    """
    folder = Path(__file__).parent / "samples"
    if not (folder / filename).is_file():
        there = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise InputError(f"There is no sample {filename!r}.", next_step=f"There is {there}.")
    return folder / filename
