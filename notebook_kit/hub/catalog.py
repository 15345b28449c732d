"""What is known about a model before it is loaded: its size, whether it fits into memory, whether it can be loaded."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
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
"""A model needs the memory of its weights times this, for activations and for copies during loading."""

Obstacle = Literal["", "architecture", "remote_code", "no_weights", "task", "unsaid"]
_WHY = {
    "architecture": "notebook_kit has no architecture {model_type!r}.",
    "remote_code": "Its architecture is defined by Python files in the repository, which are never run.",
    "no_weights": "It has neither model.safetensors nor pytorch_model.bin.",
    "task": "notebook_kit has no pipeline for {task!r}.",
    "unsaid": "Its config.json does not name the architecture.",
}


@dataclass(frozen=True)
class FoundModel:
    """One model found by a search.

    Attributes:
        id: Its name, as `from_pretrained` takes it.
        source: Where it is: "zoo" (part of notebook_kit), "cache" or "hub".
        task: Its task, from its card; "" if unknown.
        model_type: The architecture's name in config.json; "" if unknown.
        parameters: Number of weights; None if unknown.
        fetch_bytes: Bytes that loading it would download; None if unknown.
        is_exact: Whether `fetch_bytes` is the sum of the files' sizes rather than an estimate from the weights.
        cached_bytes: Bytes of it that are already on this machine.
        licence: From its card; "" if unknown.
        languages: Language codes, from its card.
        downloads, likes: As the Hub counts them (downloads of the last 30 days); None if unknown.
        date: The day of its last change, as "2026-01-31"; "" if unknown.
        gated: Whether the Hub requires accepting its terms first.
        obstacle: "" if it can be loaded, otherwise the reason why not: "architecture" (unknown to notebook_kit),
            "remote_code", "no_weights", "task" (no pipeline for it) or "unsaid" (no architecture named). `why` is the
            reason as a sentence.

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
        """Why it cannot be loaded, as a sentence; "" if it can."""
        return _WHY[self.obstacle].format(model_type=self.model_type, task=self.task) if self.obstacle else ""

    @property
    def size(self) -> int | None:
        """Bytes of its files, on this machine or on the Hub; None if unknown."""
        return self.cached_bytes + (self.fetch_bytes or 0) or None

    def memory(self, width: int) -> int | None:
        """Bytes of its weights in memory, at `width` bytes per weight: 4 for float32, 2 for bfloat16; None if unknown."""
        return None if self.parameters is None else self.parameters * width

    def fits(self, free: int | None, width: int = 4) -> bool | None:
        """Whether it fits into `free` bytes of memory, with some headroom; None if unknown."""
        needed = self.memory(width)
        return None if needed is None or free is None else needed * HEADROOM <= free

    def runs(self, free: int | None) -> bool:
        """Whether it can be loaded and is not known to need more than `free` bytes of memory."""
        return self.is_supported and self.fits(free) is not False


def free_memory() -> dict[str, int]:
    """Bytes of free memory: "cpu", and "cuda" if there is a GPU and torch is loaded. Unknown values are left out.

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
    for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"):  # the limit of a container, for instance on Binder
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with suppress(OSError, ValueError):
                left = int(Path(folder, limit).read_text()) - int(Path(folder, used).read_text())
                free["cpu"] = min(max(left, 0), free.get("cpu", left))
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        with suppress(RuntimeError):
            free["cuda"] = torch.cuda.mem_get_info()[0]
    return free


def planned_files(names: Iterable[str]) -> list[str]:
    """The files of a repository that loading reads: one format of weights, one of vocabulary, and the small files.

    Args:
        names: All files of the repository.

    Example:
        >>> planned_files(["config.json", "model.safetensors", "pytorch_model.bin", "vocab.txt", "tokenizer.json", "a.onnx"])
        ['config.json', 'tokenizer.json', 'model.safetensors']
    """
    available = set(names)
    sentencepiece = sorted(name for name in available if name.endswith(".model") and "/" not in name)[:1]
    vocabulary = next((list(group) for group in VOCABULARIES if available.issuperset(group)), sentencepiece)
    planned = [name for name in SMALL_FILES if name in available] + vocabulary
    planned += available & {"added_tokens.json"}
    for first, shards in WEIGHTS.items():
        if first in available:
            return [*planned, first, *sorted(name for name in available if shards and shards.fullmatch(name))]
    return planned


def _described(
    card: Mapping[str, Any], config: Mapping[str, Any], tag: Any, tags: Sequence[str] = (), has_weights: bool = True
) -> dict[str, Any]:
    """The fields of a `FoundModel` that follow from its card and its config.json.

    Args:
        card: The front matter of the card.
        config: The content of config.json.
        tag: The `pipeline_tag`.
        tags: The Hub's tags.
        has_weights: Whether there is a file of weights in a known format.
    """
    model_type = _text(config.get("model_type"))
    task = ALIASES.get(_text(tag), _text(tag)) or task_of("", _texts(config.get("architectures"))) or ""
    obstacle: Obstacle = ""
    if model_type and model_type not in FAMILIES:
        obstacle = "remote_code" if "auto_map" in config or "custom_code" in tags else "architecture"
    elif not has_weights:
        obstacle = "no_weights"
    elif not model_type:
        obstacle = "unsaid"
    elif task and task not in TASKS:
        obstacle = "task"
    licence = _text(card.get("license")) or next((tag[8:] for tag in tags if tag.startswith("license:")), "")
    languages = card.get("language")
    if not isinstance(languages, list | tuple):
        languages = [languages]
    # YAML reads "no", the code of Norwegian, as false.
    languages = _texts(["no" if code is False else code for code in languages])[:100]
    return {
        "task": task,
        "model_type": model_type,
        "licence": licence,
        "languages": tuple(languages),
        "obstacle": obstacle,
    }


# From the Hub ------------------------------------------------------------------------------------------------------

EXPAND = ("config", "safetensors", "tags", "pipeline_tag", "downloads", "likes", "lastModified", "gated", "cardData")
"""Properties to request in a listing. Names of files would be the largest part of it, and have no sizes there."""


def from_hub(info: Any) -> FoundModel:
    """A model as the Hub describes it, in a listing or in full.

    Args:
        info: A `huggingface_hub.ModelInfo`.
    """
    tags = _texts(info.tags)
    card = info.card_data.to_dict() if hasattr(info.card_data, "to_dict") else {}
    config = info.config if isinstance(info.config, dict) else {}
    total, stored = _weights(getattr(info, "safetensors", None))
    sizes = {file.rfilename: file.size for file in info.siblings or ()}
    files = planned_files(sizes)
    has_weights = bool(total) or not {"safetensors", "pytorch"}.isdisjoint(tags)
    if sizes:
        has_weights = any(name in WEIGHTS for name in files)
    is_exact = bool(sizes) and None not in sizes.values()
    return FoundModel(
        id=_text(info.id),
        source="hub",
        parameters=total,
        fetch_bytes=sum(sizes[name] for name in files) if is_exact else stored,
        is_exact=is_exact,
        downloads=_count(info.downloads),
        likes=_count(info.likes),
        date=info.last_modified.date().isoformat() if isinstance(info.last_modified, datetime) else "",
        gated=bool(info.gated),
        **_described(card, config, info.pipeline_tag, tags, has_weights),
    )


def with_counts(local: FoundModel, listed: FoundModel) -> FoundModel:
    """A cached model, completed by what only the Hub knows about it."""
    return replace(
        local,
        task=listed.task or local.task,
        parameters=local.parameters or listed.parameters,
        licence=local.licence or listed.licence,
        languages=local.languages or listed.languages,
        downloads=listed.downloads,
        likes=listed.likes,
        date=listed.date or local.date,
        gated=listed.gated,
        obstacle=listed.obstacle,
    )


def _weights(info: Any) -> tuple[int | None, int | None]:
    """Number of weights and their bytes, from the Hub's summary of the safetensors files; None if unknown."""
    total = _count(getattr(info, "total", None))
    parameters = getattr(info, "parameters", None)
    if not total or not isinstance(parameters, dict):
        return total or None, None
    return total, sum(BYTES_OF.get(str(kind), 1) * (_count(count) or 0) for kind, count in parameters.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


# On this machine -----------------------------------------------------------------------------------------------------


def local_models(cache_dir: str | os.PathLike[str] | None = None) -> list[FoundModel]:
    """The models on this machine: those in the zoo, then those in the cache. Does not need the network.

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
    """A model in the cache, or None if none of its files is there."""
    repo = CachedRepo(name, cache_dir)
    snapshot = repo.newest_snapshot()
    return None if snapshot is None else replace(from_folder(name, snapshot), cached_bytes=cached_bytes(repo))


def cached_bytes(repo: CachedRepo) -> int:
    """Bytes of a repository in the cache, over all revisions; a file that revisions share counts once."""
    links = (repo.snapshot(commit) / name for commit in repo.commits() for name in repo.files(commit))
    return sum(os.path.getsize(file) for file in {os.path.realpath(link) for link in links})


def files_in(folder: Path) -> dict[str, os.stat_result]:
    """Name -> size and date of each file in a folder and its subfolders."""
    return {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*") if path.is_file()}


def from_folder(name: str, folder: Path) -> FoundModel:
    """A model as its files in a folder describe it."""
    card = read_card(folder / "README.md").values
    stored = files_in(folder)
    files = planned_files(stored)
    has_weights = any(file in WEIGHTS for file in files)
    parameters = [_stored_weights(folder / file) for file in files if file.endswith(".safetensors")]
    newest = max((stat.st_mtime for stat in stored.values()), default=0)
    return FoundModel(
        id=name,
        source="cache",
        parameters=sum(count for count in parameters if count) or None,
        fetch_bytes=0 if has_weights else None,
        is_exact=has_weights,
        cached_bytes=sum(stat.st_size for stat in stored.values()),
        date=datetime.fromtimestamp(newest, UTC).date().isoformat() if newest else "",
        # Weights that are not in the cache may be on the Hub.
        **_described(card, read_config(folder), card.get("pipeline_tag"), has_weights=True),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json; empty if it is missing or damaged, since models that cannot be loaded are listed too."""
    try:
        return read_json(folder / "config.json")
    except CheckpointError:
        return {}


def _stored_weights(path: Path) -> int | None:
    """How many numbers a safetensors file contains, from its header alone; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: Mapping[str, Any] = json.loads(file.read(min(length, 100_000_000)))
        return sum(math.prod(map(int, header[name]["shape"])) for name in header if name != "__metadata__")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error, RecursionError):
        return None
