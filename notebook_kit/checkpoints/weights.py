"""Tensors on disk: safetensors (one file or sharded) and torch's `.bin`, read lazily and written without risk.

What is checked when a checkpoint is opened: that every shard is there and stays inside the folder, that each header is
well formed and fits its file (so a truncated file or a flipped bit in the header is found), that the index and the
shards agree, and that no name occurs twice. A bit flipped inside a tensor's data cannot be seen without a checksum:
downloads are compared with the Hub's when they arrive, files that are already on this machine are not.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from notebook_kit.errors import CheckpointError, InputError, NotebookKitError, UnsafeFileError
from notebook_kit.files import flush_file, flush_folder, read_json, temporary_name, write_text
from notebook_kit.hub import Source, locate
from notebook_kit.registry.weight_files import SAFETENSORS, SAFETENSORS_INDEX, TORCH, WEIGHTS

__all__ = ["Weights", "open_weights", "save_weights", "write_text"]

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}


def open_weights(source: Source | str | os.PathLike[str]) -> Weights:
    """Open the weights of a checkpoint without reading them.

    The first there is of `model.safetensors`, its sharded form, `pytorch_model.bin` and its sharded form is taken, so
    that two kinds are never fetched. Opening costs milliseconds whatever the size (a `.bin`'s table is read as well).

    Args:
        source: What `notebook_kit.hub.locate` gave, or anything it takes.

    Raises:
        CheckpointError: There are no weights, a shard is missing, or a file is damaged.
        UnsafeFileError: A `.bin` holds code, or an index names a file outside the checkpoint. Nothing was run.
        HubError: The weights exist but could not be fetched.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> _ = save_weights({"bias": torch.zeros(3)}, folder)
        >>> with open_weights(folder) as weights:
        ...     weights.keys(), weights.shape("bias"), weights.dtype("bias"), weights["bias"]
        (['bias'], (3,), torch.float32, tensor([0., 0., 0.]))
    """
    source = locate(source)
    path = source.find_first(*WEIGHTS)
    if path is None:
        raise _no_weights(source)
    if path.name in (SAFETENSORS, TORCH):
        return Weights({path.name: path}, None, source)
    index = _read_index(path)
    names = sorted(set(index.values()))
    found = {name: source.find(name) for name in names}
    absent = [name for name in names if found[name] is None]
    if absent:
        error = source.missing(*absent[:3])
        raise type(error)(
            f"{path.name} of {source.name!r} names {len(names)} shards, of which {len(absent)} cannot be found: "
            f"{', '.join(absent[:5])}. {error.what}",
            next_step=error.next_step,
        )
    return Weights({name: shard for name, shard in found.items() if shard is not None}, index, source)


class Weights(Mapping[str, torch.Tensor]):
    """The tensors of an open checkpoint, by name. A tensor is read when it is asked for.

    Tensors from safetensors share the file's pages (memory-mapped, private): they take no memory until they are used,
    writing into one never changes the file, and they stay valid after `close` and after the file is replaced, which is
    what `save_weights` does. A program that cuts the file short in place takes their pages away; since that is how
    `torch.save` writes, tensors from a `.bin` are copied when they are asked for.

    Attributes:
        paths: The files.
        metadata: What the first safetensors file says of itself, such as `{"format": "pt"}`.
    """

    def __init__(self, files: dict[str, Path], index: dict[str, str] | None, source: Source) -> None:
        self.paths = list(files.values())
        self.metadata: dict[str, str] = {}
        self._source = source
        self._tensors: dict[str, torch.Tensor] = {}  # of .bin files, memory-mapped if torch can
        self._readers: dict[str, Any] = {}  # of safetensors files: name -> the reader of its file
        self._slices: dict[str, Any] = {}
        owner: dict[str, str] = {}
        for file, path in files.items():
            for name in self._open(path):
                if name in owner:
                    raise CheckpointError(
                        f"The tensor {name!r} is both in {owner[name]} and in {file} of {source.name!r}.",
                        next_step="Which is meant cannot be known; save the checkpoint anew where it was made.",
                    )
                owner[name] = file
        self._names = list(owner)
        if index is not None:
            lost = [name for name, file in index.items() if owner.get(name) != file]
            if lost:
                raise CheckpointError(
                    f"The index of {source.name!r} places {lost[0]!r} in {index[lost[0]]}, which does not hold it "
                    f"({len(lost)} such tensors).",
                    next_step=_refetch(source, self.paths[0]),
                )

    def keys(self) -> list[str]:  # type: ignore[override]
        """The names of all tensors."""
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        self._check(name)
        return tuple(self._tensors[name].shape if name in self._tensors else self._slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor, without reading it."""
        self._check(name)
        if name in self._tensors:
            return self._tensors[name].dtype
        stored = self._slice(name).get_dtype()
        if stored not in _DTYPES:
            raise CheckpointError(
                f"The tensor {name!r} of {self._source.name!r} has the dtype {stored}, which torch does not have here.",
                next_step="Choose a checkpoint with float32, float16 or bfloat16 weights.",
            )
        return _DTYPES[stored]

    def __getitem__(self, name: str) -> torch.Tensor:
        self._check(name)
        if name in self._tensors:
            return self._tensors[name].clone()
        try:
            return self._readers[name].get_tensor(name)
        except Exception as error:  # a dtype that torch does not have
            self.dtype(name)
            raise CheckpointError(
                f"The tensor {name!r} of {self._source.name!r} cannot be read: {error}.",
                next_step=_refetch(self._source, self.paths[0]),
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors or name in self._readers

    def __repr__(self) -> str:
        return f"Weights({len(self)} tensors of {', '.join(path.name for path in self.paths)})"

    def close(self) -> None:
        """Let go of the files. Tensors that were read stay valid."""
        self._readers, self._slices, self._tensors = {}, {}, {}

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)

    def _slice(self, name: str) -> Any:
        if name not in self._slices:
            self._slices[name] = self._readers[name].get_slice(name)
        return self._slices[name]

    def _open(self, path: Path) -> list[str]:
        if path.name.endswith(".safetensors"):
            reader = _open_safetensors(path, self._source)
            names = list(reader.keys())
            self._readers.update(dict.fromkeys(names, reader))
            self.metadata = self.metadata or dict(reader.metadata() or {})
            return names
        tensors = _read_torch(path, self._source)
        self._tensors.update(tensors)
        return list(tensors)


def _open_safetensors(path: Path, source: Source) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError, MemoryError) as error:
        raise _damaged(path, source, str(error)) from error


def _read_torch(path: Path, source: Source) -> dict[str, torch.Tensor]:
    def load(mmap: bool) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on oddities of files that are then refused
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)

    try:
        try:
            content = load(mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            content = load(mmap=False)  # torch wrote no zip archives before version 1.6
    except pickle.UnpicklingError as error:
        text = str(error)
        if forbidden := re.search(r"GLOBAL (\S+)|[Tt]rying to call reduce for (?:unrecognized )?function (\S+)", text):
            raise UnsafeFileError(
                f"{path} is a pickle that asks for {forbidden[1] or forbidden[2]}, which weights have no need of and "
                "which could run code. It was not read and nothing of it was run.",
                next_step="Use a checkpoint with safetensors weights, or one from somebody whom you trust.",
            ) from None  # torch's own text explains how to switch the check off
        raise _damaged(path, source, "it is not a pickle of tensors") from error
    except Exception as error:  # damaged bytes make torch's reader fail in any way
        if "weights_only" in str(error):
            raise UnsafeFileError(
                f"{path} is a TorchScript or tar archive, which cannot be read without running what is in it. "
                "It was not read and nothing of it was run.",
                next_step="Use a checkpoint with safetensors weights.",
            ) from None
        raise _damaged(path, source, str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(
            f"{path} holds {type(content).__name__} with more than named tensors in it; weights were expected.",
            next_step="Save model.state_dict() alone, or use save_pretrained.",
        )
    return {str(name): tensor.detach() for name, tensor in content.items()}


def _read_index(path: Path) -> dict[str, str]:
    with suppress(CheckpointError):
        index = read_json(path).get("weight_map")
        if isinstance(index, dict) and index and all(isinstance(shard, str) for shard in index.values()):
            return index
    raise CheckpointError(
        f"{path} is not the index of a sharded checkpoint: its 'weight_map' from tensor to file is missing or damaged.",
        next_step="Fetch it anew, with force_download=True if it came from the Hub.",
    )


def _damaged(path: Path, source: Source, detail: str) -> CheckpointError:
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(64).lstrip()
    except OSError as error:
        return CheckpointError(
            f"{path} cannot be read: {error.strerror}.", next_step="Check its permissions and that the disk is sound."
        )
    if head.startswith(b"version https://git-lfs"):
        return CheckpointError(
            f"{path} is not the weights but a Git LFS pointer to them ({size} bytes).",
            next_step="Run `git lfs pull` in that folder, or load the checkpoint by its name.",
        )
    if head[:1] == b"<":
        return CheckpointError(
            f"{path} is not the weights but a web page ({size:,} bytes), perhaps of a proxy or a sign-in page.",
            next_step=_refetch(source, path),
        )
    return CheckpointError(
        f"{path} is damaged or was cut short ({size:,} bytes): {detail.rstrip('.')}.", next_step=_refetch(source, path)
    )


def _refetch(source: Source, path: Path) -> str:
    if source.kind in ("cache", "hub"):
        return "Pass force_download=True to fetch it anew."
    if source.kind == "zoo":
        return "Reinstall notebook_kit: its embedded checkpoint is damaged."
    return f"Copy {path.name} into the folder again, or save the model anew."


def _no_weights(source: Source) -> NotebookKitError:
    error = source.missing(*WEIGHTS, why="weights")
    names = {name.rpartition("/")[2] for name in source.filenames()} if isinstance(error, CheckpointError) else set()
    others = {
        "tf_model.h5": "TensorFlow weights (tf_model.h5)",
        "flax_model.msgpack": "Flax weights (flax_model.msgpack)",
        "adapter_model.safetensors": "an adapter (adapter_model.safetensors), which needs its base model and `peft`",
        "adapter_model.bin": "an adapter (adapter_model.bin), which needs its base model and `peft`",
        "model_index.json": "a diffusion pipeline (model_index.json), which needs `diffusers`",
    }
    held = next((text for name, text in others.items() if name in names), None)
    held = held or ("GGUF weights" if any(name.endswith(".gguf") for name in names) else None)
    if any(re.fullmatch(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)", name) for name in names):
        return CheckpointError(
            f"{source.name!r} has shards but no {SAFETENSORS_INDEX} that says what is in them; a copy or a save of it "
            "was interrupted.",
            next_step="Copy it again with all its files, or save the model anew.",
        )
    if held is None:
        return error
    return CheckpointError(
        f"{source.name!r} has no weights that can be read here ({', '.join(WEIGHTS)}): it holds {held}.",
        next_step="Choose a checkpoint with safetensors weights.",
    )


def save_weights(
    tensors: Mapping[str, torch.Tensor],
    folder: str | os.PathLike[str],
    max_shard_size: str | int = "5GB",
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write tensors as `model.safetensors`, or as shards with an index if they are larger than `max_shard_size`.

    Everything is written under temporary names, flushed to the disk, and only then renamed, so that an error or a kill
    leaves the weights that were there; a model that was loaded from this very folder keeps its pages. Files of an
    earlier save that the new one does not replace are removed at the end. Tensors that share memory are each written
    in full (a model leaves out its tied weights before).

    Args:
        tensors: Name -> tensor, on any device.
        folder: Made if there is none.
        max_shard_size: The largest file, as bytes or as "200MB" (1 MB = 10^6 bytes). A tensor is never split.
        metadata: Kept in each file's header; `{"format": "pt"}` by default, which other libraries look for.

    Returns:
        The files: one, or the shards and then the index.

    Raises:
        InputError: A value is not a tensor with data, or `max_shard_size` cannot be understood.
        CheckpointError: The disk refused.

    Example:
        >>> import tempfile
        >>> tensors = {"a": torch.zeros(250), "b": torch.ones(250)}
        >>> [path.name for path in save_weights(tensors, tempfile.mkdtemp(), max_shard_size="1KB")]
        ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'model.safetensors.index.json']
    """
    folder = Path(folder).expanduser()
    shards = _split(tensors, _bytes(max_shard_size))
    header = {"format": "pt"} if metadata is None else {str(key): str(value) for key, value in metadata.items()}
    count = len(shards)
    names = [SAFETENSORS] if count == 1 else [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    moves: list[tuple[Path, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, shard in zip(names, shards, strict=True):
            moves.append((temporary_name(folder / name), folder / name))
            _write_safetensors(shard, moves[-1][0], header)
        if count > 1:
            index = {
                "metadata": {"total_size": sum(t.nbytes for t in tensors.values())},
                "weight_map": {key: name for name, shard in zip(names, shards, strict=True) for key in shard},
            }
            moves.append((temporary_name(folder / SAFETENSORS_INDEX), folder / SAFETENSORS_INDEX))
            write_text(moves[-1][0], json.dumps(index, indent=2, sort_keys=True) + "\n")
            if (folder / names[0]).exists():
                # The new shards take the names of old ones, one after the other. A kill between two of them must leave
                # a checkpoint that refuses to load rather than one of mixed weights.
                (folder / SAFETENSORS_INDEX).unlink(missing_ok=True)
        for temporary, path in moves:
            os.replace(temporary, path)
        written = [path for _, path in moves]
        for old in _earlier_files(folder):
            if old not in written:
                old.unlink(missing_ok=True)
        flush_folder(folder)
    except OSError as error:
        raise CheckpointError(
            f"The weights could not be written to {folder}: {error.strerror or error}.",
            next_step="Free some space or choose another folder. What was there before is still there.",
        ) from error
    finally:
        for temporary, _ in moves:
            temporary.unlink(missing_ok=True)
    return written


def _write_safetensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        path.touch()
        # As the user's umask has it: the writer itself leaves a file that only its owner can read.
        mode = path.stat().st_mode
        save_file(tensors, path, metadata=metadata)
        path.chmod(mode)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    flush_file(path)


def _split(tensors: Mapping[str, torch.Tensor], most: int) -> list[dict[str, torch.Tensor]]:
    """Fill shards in order, each up to `most` bytes, with tensors that are dense, contiguous and share no memory."""
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or tensor.is_meta or tensor.layout != torch.strided:
            is_tensor = isinstance(tensor, torch.Tensor)
            kind = "a tensor on the meta device or a sparse one" if is_tensor else type(tensor).__name__
            raise InputError(
                f"{name!r} cannot be saved: it is {kind}, and a dense tensor with data was expected.",
                next_step="Pass named dense tensors, such as model.state_dict().",
            )
        if shards[-1] and size + tensor.nbytes > most:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.detach().contiguous()
        size += tensor.nbytes
    for shard in shards:
        ends: dict[torch.device, int] = {}
        for name, tensor in sorted(shard.items(), key=lambda item: item[1].data_ptr()):
            if tensor.nbytes and tensor.data_ptr() < ends.get(tensor.device, 0):
                shard[name] = tensor.clone()
            else:
                ends[tensor.device] = tensor.data_ptr() + tensor.nbytes
    return shards


def _bytes(size: str | int) -> int:
    if isinstance(size, int) and size > 0:
        return size
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", str(size).upper())
    if match is None or float(match[1]) == 0:
        raise InputError(
            f"max_shard_size={size!r} is not a size.", next_step="Pass bytes as an integer, or a string such as '5GB'."
        )
    return int(float(match[1]) * units[match[2] or ""])


def _earlier_files(folder: Path) -> list[Path]:
    """The files in a folder that `open_weights` would look at, their parts, and what killed saves left there."""
    pattern = re.compile(r"\.?(model|pytorch_model)(-\d{5}-of-\d{5})?\.(safetensors|bin)(\.index\.json)?(\.tmp-.*)?")
    found = [path for path in folder.iterdir() if pattern.fullmatch(path.name)]
    # A young temporary file may belong to a save that goes on in another process.
    return [path for path in found if ".tmp-" not in path.name or path.stat().st_mtime < time.time() - 3600]
