"""Tensors on disk: safetensors (one file or sharded) and torch's `.bin`, read lazily and written atomically.

Opening a checkpoint checks that every shard exists and is inside the folder, that each header is well formed and matches
its file (which detects truncated files and damaged headers), that the index and the shards agree, and that no name occurs
twice. Damage inside a tensor's data cannot be detected without a checksum: downloads are compared with the Hub's checksum,
local files are not.
"""

from __future__ import annotations

import json
import os
import pickle
import pickletools
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from notebook_kit.checkpoints.tensorflow_weights import H5Weights, TensorFlowWeights
from notebook_kit.errors import CheckpointError, InputError, NotebookKitError, UnsafeFileError, a_kind
from notebook_kit.fields import shown
from notebook_kit.files import damaged, flush_file, flush_folder, read_json, temporary_name, write_text
from notebook_kit.hub import Source, locate
from notebook_kit.registry.weight_files import (
    SAFETENSORS,
    SAFETENSORS_INDEX,
    TENSORFLOW,
    TENSORFLOW_INDEX,
    TORCH,
    WEIGHTS,
)

__all__ = ["GivenWeights", "Weights", "check_state_dict", "open_file", "open_weights", "save_weights", "unsafe_pickle"]

ALIGNMENT, SMALL = 64, 64 << 20  # bytes
_DTYPES = {
    "BOOL": torch.bool,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
} | {
    f"{letter}{bits}": getattr(torch, f"{kind}{bits}")
    for letter, kind, sizes in (
        ("U", "uint", (8, 16, 32, 64)),
        ("I", "int", (8, 16, 32, 64)),
        ("F", "float", (16, 32, 64)),
    )
    for bits in sizes
}


def open_weights(
    source: Source | str | os.PathLike[str], prefer_tensorflow: bool = False
) -> Weights | TensorFlowWeights:
    """Open the weights of a checkpoint without reading them.

    The first available form is used: `model.safetensors`, its shards, `pytorch_model.bin`, its shards, `tf_model.h5`, or its
    shards; only this one is fetched. Opening takes milliseconds regardless of size (of a `.bin` only the table is read).

    Args:
        source: A `Source` from `notebook_kit.hub.locate`, or any argument of that function.
        prefer_tensorflow: Look for `tf_model.h5` first.

    Raises:
        CheckpointError: The weights or a shard are missing, or a file is damaged.
        UnsafeFileError: A `.bin` contains code, or an index names a file outside the checkpoint. Nothing was run.
        HubError: The weights exist but could not be fetched.
        MissingDependencyError: The weights are in `tf_model.h5`, and h5py is not installed.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> _ = save_weights({"bias": torch.zeros(3)}, folder)
        >>> with open_weights(folder) as weights:
        ...     weights.keys(), weights.shape("bias"), weights.dtype("bias"), weights["bias"]
        (['bias'], (3,), torch.float32, tensor([0., 0., 0.]))
    """
    source = locate(source)
    names = sorted(WEIGHTS, key=lambda name: not name.startswith("tf_")) if prefer_tensorflow else list(WEIGHTS)
    path = source.find_first(*names)
    if path is None:
        raise _no_weights(source)
    if path.name == TENSORFLOW:
        return TensorFlowWeights(H5Weights([path]))
    if path.name in (SAFETENSORS, TORCH):
        return _in_torch_layout(Weights({path.name: path}, None, source))
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
    shards = {name: shard for name, shard in found.items() if shard is not None}
    if path.name == TENSORFLOW_INDEX:
        return TensorFlowWeights(H5Weights(list(shards.values())))
    return _in_torch_layout(Weights(shards, index, source))


def _in_torch_layout(weights: Weights) -> Weights | TensorFlowWeights:
    """The weights; those that a TensorFlow model wrote as safetensors under torch's names."""
    return TensorFlowWeights(weights) if weights.metadata.get("format") == "tf" else weights


def open_file(source: Source, *filenames: str, why: str = "") -> Weights:
    """Open the first of these files of a checkpoint that exists, as `open_weights` opens its weights.

    Args:
        source: The checkpoint.
        filenames: Files of tensors, `.safetensors` or `.bin`.
        why: What they are needed for, for the message.

    Raises:
        CheckpointError: If there is none of them, or the file is damaged.
        UnsafeFileError, HubError: As for `open_weights`.
    """
    path = source.find_first(*filenames)
    if path is None:
        raise source.missing(*filenames, why=why)
    return Weights({path.name: path}, None, source)


class Weights(Mapping[str, torch.Tensor]):
    """The tensors of an open checkpoint, by name. A tensor is read when it is accessed.

    Tensors from safetensors share the file's pages (memory-mapped, private): they take no memory until they are used,
    writing to one never changes the file, and they stay valid after `close` and after the file is replaced, as
    `save_weights` does. They become invalid if a program truncates the file in place; since `torch.save` writes that way,
    tensors from a `.bin` are copied when they are accessed.

    Tensors of small checkpoints are copied too, if they do not begin at a multiple of 64 bytes, as all memory of torch does: processors
    with vectors of 64 bytes would multiply them in another order, so that a model that was saved and loaded would differ in the last
    digit.

    Attributes:
        paths: The files.
        metadata: The metadata of the first safetensors file, such as `{"format": "pt"}`.
    """

    def __init__(self, files: dict[str, Path], index: dict[str, str] | None, source: Source) -> None:
        self.paths = list(files.values())
        self.metadata: dict[str, str] = {}
        self._source = source
        self._tensors: dict[str, torch.Tensor] = {}  # of .bin files, memory-mapped if possible
        self._readers: dict[str, Any] = {}  # of safetensors files: name -> the reader of its file
        owner: dict[str, str] = {}
        for file, path in files.items():
            for name in self._open(path):
                if name in owner:
                    raise CheckpointError(
                        f"The tensor {name!r} is both in {owner[name]} and in {file} of {source.name!r}.",
                        next_step="It is unclear which one is correct; save the checkpoint again where it was created.",
                    )
                owner[name] = file
        self._names = list(owner)
        self._is_small = sum(path.stat().st_size for path in self.paths) <= SMALL
        lost = [(name, file) for name, file in (index or {}).items() if owner.get(name) != file]
        if lost:
            raise CheckpointError(
                f"The index of {source.name!r} places {lost[0][0]!r} in {lost[0][1]}, which does not hold it "
                f"({len(lost)} such tensors).",
                next_step=_refetch(source, self.paths[0]),
            )

    def keys(self) -> list[str]:  # type: ignore[override]
        """The names of all tensors."""
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        if name in self._tensors:
            return tuple(self._tensors[name].shape)
        return tuple(self._readers[name].get_slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor, without reading it."""
        if name in self._tensors:
            return self._tensors[name].dtype
        stored = self._readers[name].get_slice(name).get_dtype()
        if stored not in _DTYPES:
            raise CheckpointError(
                f"The tensor {name!r} of {self._source.name!r} has the dtype {stored}, which this torch does not have.",
                next_step="Choose a checkpoint with float32, float16 or bfloat16 weights.",
            )
        return _DTYPES[stored]

    def __getitem__(self, name: str) -> torch.Tensor:
        if name in self._tensors:
            return self._tensors[name].clone()
        reader = self._readers[name]
        try:
            tensor = reader.get_tensor(name)
            return tensor.clone() if self._is_small and tensor.data_ptr() % ALIGNMENT else tensor
        except Exception as error:
            self.dtype(name)  # raises if torch does not have the dtype
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
        """Close the files. Tensors that were read stay valid."""
        self._readers, self._tensors = {}, {}

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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


def check_state_dict(state_dict: Any, saved: bool = False) -> Mapping[str, torch.Tensor]:
    """Return `state_dict` if it holds tensors by name; None stands for an empty one.

    Args:
        state_dict: What a caller passed, or the tensors of a model.
        saved: It will be written as a checkpoint, whose weights are floating-point numbers.

    Raises:
        InputError: If it does not, or has the weights of layers with 8 bits where it will be saved.
    """
    given = {} if state_dict is None else state_dict
    wrong = {"state_dict": given}
    if isinstance(given, Mapping):
        wrong = {
            f"state_dict[{name!r}]": value
            for name, value in given.items()
            if not isinstance(name, str) or not isinstance(value, torch.Tensor)
        }
    for what, value in wrong.items():
        raise InputError(f"{what} is {shown(value)}; expected tensors by name.", next_step="Pass model.state_dict().")
    if saved and any(name.endswith(".weight") and tensor.dtype == torch.int8 for name, tensor in given.items()):
        raise InputError(
            "The weights of this model are quantized (int8), so they cannot be saved as a checkpoint.",
            next_step="Save the model before it is quantized; or save dequantized(model), with the rounded weights in float32.",
        )
    return given


class GivenWeights(dict[str, torch.Tensor]):
    """Tensors in memory, with the interface of `Weights`."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor."""
        return self[name].dtype

    def __getitem__(self, name: str) -> torch.Tensor:
        return super().__getitem__(name).detach().clone()  # the caller's tensors are not changed by training


def _open_safetensors(path: Path, source: Source) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError, MemoryError) as error:
        raise _damaged(path, source, str(error)) from error


def unsafe_pickle(path: Path, error: pickle.UnpicklingError) -> UnsafeFileError | None:
    """The error to raise if torch did not read a file because that could run code; None if the file is only damaged."""
    found = re.search(r"GLOBAL (\S+)|[Tt]rying to call reduce for (?:unrecognized )?function (\S+)", str(error))
    # Torch reads no pickles of protocol 4 and later, and does not look at what they import.
    forbidden = found[1] or found[2] if found else _first_import(path)
    if not forbidden:
        return None
    return UnsafeFileError(
        f"{path} is a pickle that imports {forbidden}, which a checkpoint does not need and which could "
        "run code. It was not read and nothing of it was run.",
        next_step="Use a checkpoint with safetensors weights, or one from a source that you trust.",
    )


def _first_import(path: Path) -> str:
    """The first name that a file which is a pickle, not an archive of one, imports; "" if none. Nothing is run."""
    texts: list[str] = []
    try:
        with open(path, "rb") as file:
            for operation, value, _ in pickletools.genops(file):
                if operation.name in ("GLOBAL", "INST"):
                    return str(value).replace(" ", ".")
                if operation.name == "STACK_GLOBAL":
                    return ".".join(texts[-2:])
                if isinstance(value, str):
                    texts.append(value)
    except Exception:  # pickletools raises anything for damaged bytes
        return ""
    return ""


def _read_torch(path: Path, source: Source) -> dict[str, torch.Tensor]:
    def load(mmap: bool) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about files that are rejected below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)

    try:
        try:
            content = load(mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            content = load(mmap=False)  # a file from torch before 1.6, which is not a zip archive
    except pickle.UnpicklingError as error:
        if unsafe := unsafe_pickle(path, error):
            raise unsafe from None  # torch's own message explains how to disable the check
        raise _damaged(path, source, "it is not a pickle of tensors") from error
    except Exception as error:  # torch's reader can raise anything for damaged bytes
        if "weights_only" in str(error):
            raise UnsafeFileError(
                f"{path} is a TorchScript or tar archive, which cannot be read without running its code. "
                "It was not read and nothing of it was run.",
                next_step="Use a checkpoint with safetensors weights.",
            ) from None
        raise _damaged(path, source, str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(
            f"{path} holds {a_kind(content)} of more than named tensors; weights were expected.",
            next_step="Save model.state_dict() alone, or use save_pretrained.",
        )
    return {str(name): tensor.detach() for name, tensor in content.items()}


def _read_index(path: Path) -> dict[str, str]:
    index = read_json(path, types={"weight_map": dict[str, str]}).get("weight_map")
    if not index:
        raise damaged(path, "weight_map, which names the file of each tensor, is missing or empty")
    return index


def _damaged(path: Path, source: Source, detail: str) -> CheckpointError:
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(64).lstrip()
    except OSError as error:
        return CheckpointError(
            f"{path} cannot be read: {error.strerror}.", next_step="Check its permissions and the disk."
        )
    if head.startswith(b"version https://git-lfs"):
        return CheckpointError(
            f"{path} is a Git LFS pointer ({size} bytes) instead of the weights.",
            next_step="Run `git lfs pull` in that folder, or load the checkpoint by its name.",
        )
    if head[:1] == b"<":
        return CheckpointError(
            f"{path} is a web page ({size:,} bytes) instead of the weights, perhaps from a proxy or a sign-in page.",
            next_step=_refetch(source, path),
        )
    return CheckpointError(
        f"{path} is damaged or was cut short ({size:,} bytes): {detail.rstrip('.')}.", next_step=_refetch(source, path)
    )


def _refetch(source: Source, path: Path) -> str:
    if source.kind in ("cache", "hub"):
        return "Pass force_download=True to fetch it again."
    if source.kind == "zoo":
        return "Reinstall notebook_kit: its embedded checkpoint is damaged."
    return f"Copy {path.name} into the folder again, or save the model again."


def _no_weights(source: Source) -> NotebookKitError:
    error = source.missing(*WEIGHTS, why="weights")
    names = {name.rpartition("/")[2] for name in source.filenames()} if isinstance(error, CheckpointError) else set()
    others = {
        "flax_model.msgpack": "Flax weights (flax_model.msgpack)",
        "adapter_model.safetensors": "an adapter (adapter_model.safetensors), which needs its base model and `peft`",
        "adapter_model.bin": "an adapter (adapter_model.bin), which needs its base model and `peft`",
        "model_index.json": "a diffusion pipeline (model_index.json), which needs `diffusers`",
    }
    if any(re.fullmatch(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)", name) for name in names):
        return CheckpointError(
            f"{source.name!r} has shards but no {SAFETENSORS_INDEX}: copying or saving it was interrupted.",
            next_step="Copy it again with all its files, or save the model again.",
        )
    if "weight_names.json" in names:
        return CheckpointError(
            f"{source.name!r} is a checkpoint in slices, one for each process of a sharded run.",
            next_step="Join them: notebook_kit.training.gather_checkpoint(checkpoint, folder). Then load that folder.",
        )
    found = [text for name, text in others.items() if name in names]
    found += ["GGUF weights"] if any(name.endswith(".gguf") for name in names) else []
    if not found:
        return error
    return CheckpointError(
        f"{source.name!r} has no weights in a supported format ({', '.join(WEIGHTS)}): it holds {found[0]}.",
        next_step="Choose a checkpoint with safetensors weights.",
    )


def save_weights(
    tensors: Mapping[str, torch.Tensor],
    folder: str | os.PathLike[str],
    max_shard_size: str | int = "5GB",
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write tensors as `model.safetensors`, or as shards with an index if they are larger than `max_shard_size`.

    All files are written under temporary names, flushed to the disk, and only then renamed, so that an error or a kill
    preserves the previous weights; a model that was loaded from the same folder stays valid. Remaining files of an earlier
    save are removed at the end. Tensors that share memory are each written in full (models omit their tied weights).

    Args:
        tensors: Name -> tensor, on any device.
        folder: The folder to write to; created if necessary.
        max_shard_size: The maximum file size, in bytes or as "200MB" (1 MB = 10^6 bytes). A tensor is never split.
        metadata: Stored in the header of each file; `{"format": "pt"}` by default, which other libraries require.

    Returns:
        The files: one, or the shards and then the index.

    Raises:
        InputError: A value is not a dense tensor with data, or `max_shard_size` is not a size.
        CheckpointError: The files could not be written.

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
        for temporary, path in moves:
            with suppress(OSError):  # there is no such file yet
                shutil.copymode(path, temporary)
        if count > 1 and (folder / names[0]).exists():
            # The new shards replace old ones of the same names one by one. A kill in between must leave a checkpoint
            # that does not load rather than one with mixed weights.
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
            next_step="Free some space or choose another folder. The previous files are still there.",
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
        mode = path.stat().st_mode  # that of the user's umask
        save_file(tensors, path, metadata=metadata)  # creates files that only their owner can read
        path.chmod(mode)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    flush_file(path)


def _split(tensors: Mapping[str, torch.Tensor], max_bytes: int) -> list[dict[str, torch.Tensor]]:
    """Shards of at most `max_bytes`, filled in order, with contiguous tensors that do not share memory."""
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
        if shards[-1] and size + tensor.nbytes > max_bytes:
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
    """The files in a folder that `open_weights` may read, and the temporary files of killed saves."""
    weights = r"(model(-\d{5}-of-\d{5})?\.safetensors|pytorch_model(-\d{5}-of-\d{5})?\.bin)(\.index\.json)?"
    pattern = re.compile(rf"{weights}|\.{weights}\.tmp-\d+-[0-9a-f]{{8}}")  # no other name: it could be the user's
    found = [path for path in folder.iterdir() if pattern.fullmatch(path.name) and path.is_file()]
    # A recent temporary file may belong to a save in progress in another process.
    return [path for path in found if ".tmp-" not in path.name or path.stat().st_mtime < time.time() - 3600]
