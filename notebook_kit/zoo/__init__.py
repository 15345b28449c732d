"""The zoo: small checkpoints that are part of notebook_kit, so that it works without a network.

All were trained by this project. The folder of each contains a checkpoint in the Hub's file formats and a model card with
its evaluation. Its recipe in `notebook_kit/recipes/` rebuilds it: `python -m notebook_kit.recipes build tiny-sentiment`.

To add one, write `notebook_kit/recipes/<name>.py` with a function `build(output, quick=False)`, run it, and add a line to
`ZOO`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notebook_kit.errors import InputError, near_matches
from notebook_kit.registry.tasks import ALIASES

__all__ = [
    "ZOO",
    "Checkpoint",
    "default_for",
    "folder",
    "loading_options",
    "names",
    "sample",
    "sample_pages",
    "sample_pictures",
    "sample_sounds",
]

PREFIX = "notebook-kit/"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint in the zoo.

    Attributes:
        tasks: Its pipeline tasks (without aliases); the first checkpoint of a task is the default for it.
        summary: What it does, in a few words.
        loading: Task -> arguments of `from_pretrained` for it, such as those that leave out layers without trained weights.
    """

    tasks: tuple[str, ...]
    summary: str
    loading: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


ZOO: dict[str, Checkpoint] = {
    "tiny-sentiment": Checkpoint(("text-classification",), "labels English sentences POSITIVE or NEGATIVE"),
    "tiny-gpt2": Checkpoint(("text-generation",), "continues a text in the style of three old English books"),
    "tiny-summarizer": Checkpoint(("summarization",), "summarizes a software description in one line"),
    "tiny-things": Checkpoint(
        ("image-classification", "image-feature-extraction"),
        "names the thing in a picture, one of 40 that children know",
        {"image-feature-extraction": {"add_pooling_layer": False}},
    ),
    "tiny-detection": Checkpoint(("object-detection",), "finds things of ten kinds in a picture, each with its box"),
    "tiny-segmentation": Checkpoint(
        ("image-segmentation",), "names the class of each pixel of a picture, of ten kinds"
    ),
    "tiny-clip": Checkpoint(
        ("zero-shot-image-classification",), "says which text, in English or Telugu, fits a picture of a thing"
    ),
    "tiny-vqa": Checkpoint(("visual-question-answering",), "answers questions about pictures of a few things"),
    "tiny-captions": Checkpoint(("image-to-text",), "says which things a picture shows, and how they are arranged"),
    "tiny-captions-telugu": Checkpoint(("image-to-text",), "says the same in Telugu"),
    "tiny-documents": Checkpoint(
        ("document-question-answering",),
        "answers questions about receipts, invoices and forms with words of the page",
    ),
    "tiny-commands": Checkpoint(("audio-classification",), "says which of 24 English words a recording contains"),
    "tiny-speech": Checkpoint(
        ("automatic-speech-recognition",), "writes down English words, digits, letters and short sentences"
    ),
}
"""Name -> checkpoint. Its folder beside this file has the same name, and so has its recipe, with underscores."""


def names() -> list[str]:
    """The full names of the embedded checkpoints, as `from_pretrained` takes them.

    Example:
        >>> "notebook-kit/tiny-sentiment" in names()
        True
    """
    return [PREFIX + name for name in ZOO]


def folder(name: str) -> Path | None:
    """The folder of an embedded checkpoint, or None if there is none of this name.

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
    """The full name of the embedded checkpoint for a pipeline task, or None if there is none.

    Example:
        >>> default_for("sentiment-analysis")
        'notebook-kit/tiny-sentiment'
        >>> default_for("fill-mask") is None
        True
    """
    task = ALIASES.get(task, task)
    return next((PREFIX + name for name, checkpoint in ZOO.items() if task in checkpoint.tasks), None)


def loading_options(name: str, task: str) -> Mapping[str, Any]:
    """The arguments with which `from_pretrained` loads an embedded checkpoint for a pipeline task.

    Example:
        >>> loading_options("notebook-kit/tiny-things", "image-feature-extraction")
        {'add_pooling_layer': False}
    """
    checkpoint = ZOO.get(name.removeprefix(PREFIX))
    return {} if checkpoint is None else checkpoint.loading.get(task, {})


def sample_pictures() -> list[Path]:
    """The sample pictures: of single things ("cat.jpg"), and of scenes with several ("scene_1.webp"). Pages are not among them.

    Example:
        >>> [path.name for path in sample_pictures()][:3]
        ['airplane.jpg', 'bus.jpg', 'cat.jpg']
    """
    folder = Path(__file__).parent / "samples"
    return sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".jpeg", ".webp"))


def sample_pages() -> list[Path]:
    """The pictures of the sample pages; beside each is a file with its words and their boxes, see `sample`.

    Example:
        >>> [path.name for path in sample_pages()]
        ['invoice.png', 'receipt.png']
    """
    folder = Path(__file__).parent / "samples"
    return sorted(path for path in folder.glob("*.png") if path.with_suffix(".json").exists())


def sample_sounds() -> list[Path]:
    """The sample recordings.

    Example:
        >>> all(path.suffix in (".wav", ".flac", ".ogg", ".opus") for path in sample_sounds())
        True
    """
    folder = Path(__file__).parent / "samples"
    return sorted(path for path in folder.iterdir() if path.suffix in (".wav", ".flac", ".ogg", ".opus"))


def sample(filename: str) -> Path:
    """The path of a small file with sample inputs.

    Args:
        filename: "airplane.jpg", "bus.jpg", "cat.jpg", "lion.jpg", "strawberry.jpg": pictures of 256 x 256 pixels with one of the
            things that the embedded classifier knows. SOURCES.md beside them names authors and licences.
            "support_messages.jsonl": 96 short messages to a shop (`text`) on three topics (`topic`).
            "parallel_sentences.jsonl": 24 everyday sentences (`text`, `number` from 0) in each of eight languages
            (`language`: ar, de, en, es, hi, ru, te, zh). Translations of a sentence have the same number.
            "scene_1.webp", "scene_2.webp", "scene_3.webp": pictures of 256 x 256 pixels with three things each that the
            embedded detector and segmenter know: emoji of Twemoji (Copyright Twitter, Inc. and other contributors) on
            photographs by Aitzol Berasategi and, the third, Trevor; all of them CC-BY-4.0, combined and scaled.
            "invoice.png" and "invoice.json", "receipt.png" and "receipt.json": an invented invoice and receipt, and their words
            with their boxes, `[word, [left, top, right, bottom]]`, in thousandths of the width and height.
            "seven.ogg", "hello.ogg", "stop.ogg": words that the embedded classifier of sound knows. "sentence_1.ogg", "sentence_2.ogg",
            "sentence_3.ogg": short sentences. "colours.ogg": "red", "green" and "blue", said by 20 voices each, one
            after the other. All are spoken by programs, 16,000 samples per second. "sounds.json": the text of each, and for
            "colours.ogg" a list of `{"text", "voice", "start", "end"}` in seconds.
            "run_1.json" to "run_5.json": the states of five training runs, each with a fault, to be found by its curves.

    Raises:
        InputError: If there is no such sample.

    Example:
        >>> len(sample("support_messages.jsonl").read_text(encoding="utf-8").splitlines())
        96
        >>> from PIL import Image
        >>> Image.open(sample("cat.jpg")).size
        (256, 256)
    """
    folder = Path(__file__).parent / "samples"
    names = sorted(path.name for path in folder.iterdir())
    if filename not in names:
        raise InputError(
            f"There is no sample {filename!r}. {near_matches(str(filename), names)}".rstrip(),
            next_step=f"The samples are {', '.join(names)}.",
        )
    return folder / filename
