"""What is known of a model before it is loaded: how big it is, whether it runs here, and what speaks against it."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from notebook_kit import zoo
from notebook_kit.errors import CheckpointError
from notebook_kit.files import read_json
from notebook_kit.hub.cache import CachedRepo, cached_models
from notebook_kit.hub.card import read_card
from notebook_kit.registry.families import FAMILIES
from notebook_kit.registry.tasks import ALIASES, TASKS, task_of
from notebook_kit.registry.weight_files import BYTES_OF, SMALL_FILES, VOCABULARIES, WEIGHTS

__all__ = ["FoundModel", "free_memory", "local_models", "planned_files"]

HEADROOM = 1.2
"""Memory for the weights times this is what a model needs: activations, and copies while it is loaded."""

Obstacle = Literal["", "architecture", "remote_code", "no_weights", "task", "unsaid"]
_WHY = {
    "architecture": "notebook_kit has no architecture {model_type!r}.",
    "remote_code": "Its architecture comes as Python files of the repository, which are never run.",
    "no_weights": "It has neither model.safetensors nor pytorch_model.bin.",
    "task": "There is no pipeline here for {task!r}.",
    "unsaid": "It does not say which architecture it is.",
}


@dataclass(frozen=True)
class FoundModel:
    """One model that a search found.

    Attributes:
        id: Its name, as `from_pretrained` takes it.
        source: Where it is: "zoo" (it comes with notebook_kit), "cache" or "hub".
        task: What it is for, as its card says; "" if it does not say.
        model_type: The architecture's name in config.json; "" if unknown.
        parameters: Number of weights; None if unknown.
        fetch_bytes: What loading it would bring over the network; None if unknown.
        is_exact: Whether `fetch_bytes` is the sum of the files' sizes rather than an estimate from the weights.
        cached_bytes: What of it is on this machine already.
        licence: As its card says; "" if it does not say.
        languages: Codes of languages, as its card says.
        downloads, likes: As the Hub counts them (downloads of the last 30 days); None if unknown.
        date: The day of its last change, as "2026-01-31"; "" if unknown.
        gated: Whether the Hub wants its terms accepted first.
        obstacle: "" if it can be loaded, else why not: "architecture" (one that notebook_kit does not have), "remote_code",
            "no_weights", "task" (no pipeline here) or "unsaid". `why` says it in a sentence.

    Example:
        >>> model = FoundModel("owner/name", "hub", model_type="mamba", parameters=1000, obstacle="architecture")
        >>> model.is_supported, model.why, model.memory(4)
        (False, "notebook_kit has no architecture 'mamba'.", 4000)
    """

    id: str
    source: Literal["zoo", "cache", "hub"]
    task: str = ""
    model_type: str = ""
    parameters: int | None = None
    fetch_bytes: int | None = None
    is_exact: bool = False
    cached_bytes: int = 0
    licence: str = ""
    languages: tuple[str, ...] = ()
    downloads: int | None = None
    likes: int | None = None
    date: str = ""
    gated: bool = False
    obstacle: Obstacle = ""

    @property
    def is_supported(self) -> bool:
        """Whether notebook_kit can load it."""
        return not self.obstacle

    @property
    def why(self) -> str:
        """What speaks against loading it, as a sentence; "" if nothing does."""
        return _WHY[self.obstacle].format(model_type=self.model_type, task=self.task) if self.obstacle else ""

    @property
    def size(self) -> int | None:
        """Bytes of its files, here or on the Hub; None if unknown."""
        return self.cached_bytes + (self.fetch_bytes or 0) or None

    def memory(self, width: int) -> int | None:
        """Bytes that its weights take in memory, with `width` bytes each: 4 for float32, 2 for bfloat16."""
        return None if self.parameters is None else self.parameters * width

    def fits(self, free: int | None, width: int = 4) -> bool | None:
        """Whether it fits into `free` bytes of memory, with some headroom; None if that cannot be told."""
        needed = self.memory(width)
        return None if needed is None or free is None else needed * HEADROOM <= free

    def runs(self, free: int | None) -> bool:
        """Whether nothing speaks against running it in `free` bytes of memory."""
        return self.is_supported and self.fits(free) is not False


def free_memory() -> dict[str, int]:
    """Bytes of memory that are free: "cpu", and "cuda" where there is a GPU and torch is loaded. Unknown ones are left out.

    Example:
        >>> all(count > 0 for count in free_memory().values())
        True
    """
    free: dict[str, int] = {}
    with suppress(OSError, ValueError):
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free["cpu"] = int(fields["MemAvailable"].split()[0]) * 1024
    if "cpu" not in free:
        with suppress(ImportError, OSError):
            import psutil  # type: ignore[import-untyped, unused-ignore]

            free["cpu"] = psutil.virtual_memory().available
    for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"):  # a container's limit, as on Binder
        for most, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with suppress(OSError, ValueError):
                left = int(Path(folder, most).read_text()) - int(Path(folder, used).read_text())
                free["cpu"] = min(max(left, 0), free.get("cpu", left))
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        with suppress(RuntimeError):
            free["cuda"] = torch.cuda.mem_get_info()[0]
    return free


def planned_files(names: Iterable[str]) -> list[str]:
    """The files of a repository that loading it would fetch: one kind of weights, one kind of vocabulary, the small files.

    Args:
        names: All its files.

    Example:
        >>> planned_files(["config.json", "model.safetensors", "pytorch_model.bin", "vocab.txt", "tokenizer.json", "a.onnx"])
        ['config.json', 'tokenizer.json', 'model.safetensors']
    """
    there = set(names)
    planned = [name for name in SMALL_FILES if name in there]
    pieces = sorted(name for name in there if name.endswith(".model") and "/" not in name)[:1]
    vocabulary = next((list(group) for group in VOCABULARIES if there.issuperset(group)), pieces)
    planned += [*vocabulary, *(["added_tokens.json"] if "added_tokens.json" in there else [])]
    for first, shards in WEIGHTS.items():
        if first in there:
            return [*planned, first, *sorted(name for name in there if shards and shards.fullmatch(name))]
    return planned


def obstacle_of(
    task: str, model_type: str, has_weights: bool, has_code: bool = False, architectures: Iterable[str] = ()
) -> tuple[str, Obstacle]:
    """The task by which a model is known here, and what speaks against loading it.

    Args:
        task: What its card says, or "".
        model_type: Its architecture, or "".
        has_weights: Whether there is a file of weights that can be read.
        has_code: Whether it brings Python files of its own.
        architectures: Names of model classes, which tell the task if the card does not.
    """
    task = ALIASES.get(task, task) or task_of("", architectures) or ""
    if not model_type:
        return task, "no_weights" if not has_weights else "unsaid"
    if model_type not in FAMILIES:
        return task, "remote_code" if has_code else "architecture"
    if not has_weights:
        return task, "no_weights"
    return task, "task" if task and task not in TASKS else ""


# From the Hub ------------------------------------------------------------------------------------------------------

EXPAND = ("config", "safetensors", "tags", "pipeline_tag", "downloads", "likes", "lastModified", "gated", "cardData")
"""What a listing is asked for. Names of files would be the largest part of it and have no sizes there."""


def from_hub(info: Any, cached_bytes: int = 0) -> FoundModel:
    """A model as the Hub's listing, or its full answer about one repository, describes it.

    Args:
        info: A `huggingface_hub.ModelInfo`.
        cached_bytes: What of it is on this machine.
    """
    tags = _texts(info.tags)
    card = info.card_data.to_dict() if hasattr(info.card_data, "to_dict") else {}
    config = info.config if isinstance(info.config, dict) else {}
    model_type, architectures = _text(config.get("model_type")), _texts(config.get("architectures"))
    total, stored = _weights(getattr(info, "safetensors", None))
    sizes = {file.rfilename: file.size for file in info.siblings or () if file.size is not None}
    names = [file.rfilename for file in info.siblings or ()]
    files = planned_files(names)
    exact = bool(sizes) and all(name in sizes for name in files)
    has_weights = (
        any(name in WEIGHTS for name in files)
        if names
        else bool(total) or not {"safetensors", "pytorch"}.isdisjoint(tags)
    )
    task, obstacle = obstacle_of(
        _text(info.pipeline_tag), model_type, has_weights, "auto_map" in config or "custom_code" in tags, architectures
    )
    to_fetch = sum(sizes[name] for name in files) if exact else stored
    changed = info.last_modified
    return FoundModel(
        id=_text(info.id),
        source="cache" if cached_bytes else "hub",
        task=task,
        model_type=model_type,
        parameters=total,
        fetch_bytes=None if to_fetch is None else max(0, to_fetch - cached_bytes),
        is_exact=exact,
        cached_bytes=cached_bytes,
        licence=_text(card.get("license")) or next((tag[8:] for tag in tags if tag.startswith("license:")), ""),
        languages=_languages(card.get("language")),
        downloads=_count(info.downloads),
        likes=_count(info.likes),
        date=changed.date().isoformat() if isinstance(changed, datetime) else "",
        gated=bool(info.gated),
        obstacle=obstacle,
    )


def _weights(info: Any) -> tuple[int | None, int | None]:
    """Number of weights and their bytes, from the Hub's summary of the safetensors files."""
    total = _count(getattr(info, "total", None))
    parameters = getattr(info, "parameters", None)
    if not total or not isinstance(parameters, dict):
        return total or None, None
    return total, sum(BYTES_OF.get(str(kind), 1) * (_count(count) or 0) for kind, count in parameters.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list | tuple) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _languages(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    # YAML reads "no", the code of Norwegian, as false.
    return tuple(_texts(["no" if one is False else one for one in values]))[:100]


# On this machine -----------------------------------------------------------------------------------------------------


def local_models(cache_dir: str | os.PathLike[str] | None = None) -> list[FoundModel]:
    """The models on this machine: those of the zoo, then those of the cache. No network.

    Example:
        >>> import tempfile
        >>> [(model.id, model.source, model.task, model.parameters) for model in local_models(tempfile.mkdtemp())][0]
        ('notebook-kit/tiny-sentiment', 'zoo', 'text-classification', 3942146)
    """
    embedded = [
        replace(from_folder(name, folder), source="zoo", date="")
        for name in zoo.names()
        if (folder := zoo.folder(name))
    ]
    return [*embedded, *(found for name in cached_models(cache_dir) if (found := cached(name, cache_dir)))]


def cached(name: str, cache_dir: str | os.PathLike[str] | None = None) -> FoundModel | None:
    """A model of the cache, or None if nothing of it is there."""
    repo = CachedRepo(name, cache_dir)
    commits = repo.commits()
    if not commits:
        return None
    commit = repo.commit("main") or max(commits, key=lambda one: (repo.folder / "snapshots" / one).stat().st_mtime)
    return replace(from_folder(name, repo.folder / "snapshots" / commit), cached_bytes=cached_bytes(repo))


def cached_bytes(repo: CachedRepo) -> int:
    """What a repository takes in the cache, over all its revisions; a file that two of them share counts once."""
    files = {
        os.path.realpath(repo.folder / "snapshots" / commit / name)
        for commit in repo.commits()
        for name in repo.files(commit)
    }
    return sum(os.path.getsize(file) for file in files if os.path.exists(file))


def from_folder(name: str, folder: Path) -> FoundModel:
    """A model as its files in a folder describe it."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    config = read_config(folder / "config.json")
    card = read_card(folder / "README.md").values
    files = planned_files(names)
    has_weights = any(name in WEIGHTS for name in files)
    parameters = [_stored_weights(folder / file) for file in files if file.endswith(".safetensors")]
    model_type = _text(config.get("model_type"))
    task, obstacle = obstacle_of(
        _text(card.get("pipeline_tag")),
        model_type,
        has_weights=True,  # what the cache lacks, the Hub may have
        has_code="auto_map" in config,
        architectures=_texts(config.get("architectures")),
    )
    sizes = [(folder / file).stat() for file in names]
    newest = max((stat.st_mtime for stat in sizes), default=0)
    return FoundModel(
        id=name,
        source="cache",
        task=task,
        model_type=model_type,
        parameters=sum(count for count in parameters if count) or None,
        fetch_bytes=0 if has_weights else None,
        is_exact=has_weights,
        cached_bytes=sum(stat.st_size for stat in sizes),
        licence=_text(card.get("license")),
        languages=_languages(card.get("language")),
        date=datetime.fromtimestamp(newest, UTC).date().isoformat() if newest else "",
        obstacle=obstacle,
    )


def read_config(path: Path) -> dict[str, Any]:
    """A config.json; empty if it is missing or damaged, since models are also listed that cannot be loaded."""
    try:
        return read_json(path)
    except CheckpointError:
        return {}


def _stored_weights(path: Path) -> int | None:
    """How many numbers a safetensors file holds, from its header alone."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: Mapping[str, Any] = json.loads(file.read(min(length, 100_000_000)))
        count = 0
        for name, tensor in header.items():
            if name != "__metadata__":
                numbers = 1
                for extent in tensor["shape"]:
                    numbers *= int(extent)
                count += numbers
        return count
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error, RecursionError):
        return None
