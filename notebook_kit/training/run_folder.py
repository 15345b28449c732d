"""The folder of a run: its checkpoints, which run wrote each and whether its files are undamaged, and a lock against a
second run.

Each checkpoint has a manifest, `checkpoint.json`: the id of its run, and the size and the CRC-32 of each file. A run deletes
only its own checkpoints, and resumes from the last one written whose files match their manifest.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from notebook_kit.errors import CheckpointError, ConfigurationError
from notebook_kit.files import flush_file, flush_folder, read_json

__all__ = ["get_last_checkpoint"]

PREFIX = "checkpoint"
STATE = "trainer_state.json"
MANIFEST = "checkpoint.json"
LOCK = ".run.lock"
# Suffixes of a folder that is being written, that was just replaced, and that is being deleted.
_PARTIAL, _REPLACED, _DELETED = ".partial", ".replaced", ".deleted"
_CHUNK = 1 << 22  # bytes read at once for a checksum


# ------------------------------------------------------------------------------------------------------- which there are


def checkpoints(output_dir: str | Path) -> list[Path]:
    """The complete checkpoints in a folder, in the order of their steps."""
    folder = Path(output_dir)
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = re.fullmatch(rf"{PREFIX}-(\d+)", path.name)
        if match and path.is_dir():
            found.append((int(match[1]), path))
    return [path for _, path in sorted(found)]


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(checkpoint.name.rpartition("-")[2])


def in_order_written(output_dir: str | Path) -> list[Path]:
    """The complete checkpoints in a folder, the last one written at the end. Several runs may have written them."""
    return sorted(checkpoints(output_dir), key=lambda path: (Manifest.of(path).written, step_of(path)))


def get_last_checkpoint(folder: str | Path) -> str | None:
    """The last checkpoint written to a run's `output_dir`, or None. Within one run, it is that with the highest step.

    Example:
        >>> import tempfile
        >>> print(get_last_checkpoint(tempfile.mkdtemp()))
        None
    """
    if any(Path(folder).glob(f".{PREFIX}-*")):
        with suppress(ConfigurationError), only_run(folder, create=False):
            recover(folder)  # not while a run is writing there
    found = in_order_written(folder)
    return str(found[-1]) if found else None


# --------------------------------------------------------------------------------------------------------- whole or not


@dataclass
class Manifest:
    """What a checkpoint should contain.

    Attributes:
        run: The id of the run that wrote it; "" if unknown: an older version or `transformers` wrote it.
        written: When, in seconds since 1970; later than all others in the folder at that time.
        processes: How many processes trained together.
        finite: Whether all weights are finite.
        files: The size in bytes and the CRC-32 of each file, by its path in the checkpoint.
    """

    run: str = ""
    written: float = 0.0
    processes: int = 1
    finite: bool = True
    files: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Path) -> Manifest:
        """The manifest of a checkpoint. If it has none, or an unreadable one, only `written` is known."""
        try:
            values = read_json(checkpoint / MANIFEST)
            return cls(**{name: values[name] for name in cls.__dataclass_fields__})
        except (CheckpointError, KeyError, TypeError):
            with suppress(OSError):
                return cls(written=(checkpoint / STATE).stat().st_mtime)
            return cls()

    def write(self, folder: Path) -> None:
        """Add the files in `folder`, and write the manifest there."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): (path.stat().st_size, _checksum(path)) for path in paths}
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")


def damage(checkpoint: Path) -> str:
    """What is wrong with the files of a checkpoint; "" if nothing is.

    Without a manifest, only what the formats themselves can show: incomplete files, and flipped bits in those of torch.
    """
    if (checkpoint / MANIFEST).exists():
        manifest = Manifest.of(checkpoint)
        if not manifest.files:
            return f"{MANIFEST} is damaged"
        for name, (size, checksum) in manifest.files.items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
            if _checksum(path) != checksum:
                return f"{name} was changed after it was written (its checksum differs)"
        return ""
    if not (checkpoint / STATE).is_file():
        return f"{STATE} is missing"
    return next((f"{path.name} is damaged" for path in sorted(checkpoint.iterdir()) if not _seems_whole(path)), "")


def _checksum(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def _seems_whole(path: Path) -> bool:
    try:
        if path.suffix == ".json":
            json.loads(path.read_text("utf-8"))
        elif path.suffix == ".safetensors":
            with open(path, "rb") as file:
                header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
                ends = [value["data_offsets"][1] for name, value in header.items() if name != "__metadata__"]
                return path.stat().st_size == file.tell() + max(ends, default=0)
        elif path.suffix in (".pt", ".pth"):
            with open(path, "rb") as file:
                if file.read(1) == pickle.PROTO:
                    return True  # not an archive: reading it shows what it is
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
    except (OSError, ValueError, KeyError, TypeError, struct.error, zipfile.BadZipFile, MemoryError):
        return False
    return True


# ---------------------------------------------------------------------------------------------------- writing, deleting


def partial(target: Path) -> Path:
    """The temporary name of a folder that is being written."""
    return target.with_name(f".{target.name}{_PARTIAL}")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder to write into, renamed to `target` once all its files are on disk.

    Args:
        target: The final path; an existing folder is replaced.
    """
    written = partial(target)
    replaced = target.with_name(f".{target.name}{_REPLACED}")
    shutil.rmtree(written, ignore_errors=True)
    written.mkdir(parents=True)
    try:
        yield written
        for path in [*written.rglob("*"), written]:
            flush_folder(path) if path.is_dir() else flush_file(path)
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            target.rename(replaced)
        written.rename(target)
    except BaseException:
        shutil.rmtree(written, ignore_errors=True)
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        raise
    flush_folder(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint. A kill never leaves a partial one under its name."""
    doomed = checkpoint.with_name(f".{checkpoint.name}{_DELETED}")
    shutil.rmtree(doomed, ignore_errors=True)
    checkpoint.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def recover(output_dir: str | Path) -> None:
    """Clean up after a killed run: restore a checkpoint that was being replaced, delete partly written or deleted ones."""
    folder = Path(output_dir)
    for path in list(folder.glob(f".{PREFIX}-*")) if folder.is_dir() else []:
        ours = re.fullmatch(rf"\.({PREFIX}-\d+)({_PARTIAL}|{_REPLACED}|{_DELETED})", path.name)
        if ours is None:
            continue
        if ours[2] == _REPLACED and not (folder / ours[1]).exists():
            path.rename(folder / ours[1])
        else:
            shutil.rmtree(path, ignore_errors=True)


def rotate(output_dir: str | Path, run: str, keep: int | None, best: str | None) -> None:
    """Delete the oldest checkpoints of a run until `keep` are left, but never the best one or the last one.

    Checkpoints of other runs stay. If the last one has weights that are not finite, nothing is deleted.
    """
    if not keep or keep < 1:
        return
    manifests = {path: Manifest.of(path) for path in in_order_written(output_dir)}
    found = [path for path, manifest in manifests.items() if manifest.run == run]
    if not found or not manifests[found[-1]].finite:
        return
    kept = [path for path in found if best and path.resolve() == Path(best).resolve()]
    # A killed run resumes from the last checkpoint, so it is kept in addition to the best one even if `keep` is 1.
    for path in reversed(found):
        if path not in kept and (len(kept) < keep or path == found[-1]):
            kept.append(path)
    for path in found:
        if path not in kept:
            delete(path)


def keep_only(best: Path, run: str) -> None:
    """Delete all checkpoints of a run but the best one."""
    for path in checkpoints(best.parent):
        if path.resolve() != best.resolve() and Manifest.of(path).run == run:
            delete(path)


# ------------------------------------------------------------------------------------------------------ one run at a time


def new_run_id() -> str:
    """An id for a new run."""
    return os.urandom(6).hex()


def later_than_all(output_dir: str | Path) -> float:
    """The current time in seconds since 1970, or somewhat later if the clock was set back since the last checkpoint."""
    latest = max((Manifest.of(path).written for path in checkpoints(output_dir)), default=0.0)
    return max(time.time(), latest + 1e-3)


@contextmanager
def only_run(output_dir: str | Path, create: bool = True) -> Iterator[None]:
    """Within this block no other run, in this process or another one, enters such a block for the same folder. The lock of
    a killed process is released by the operating system.

    Args:
        output_dir: The folder.
        create: Whether to create it if it does not exist; otherwise there is nothing to lock.

    Raises:
        ConfigurationError: if another run is in progress in the folder.
    """
    folder, lock = Path(output_dir), None
    if create or folder.is_dir():
        with suppress(OSError, NotImplementedError):  # a folder that is read-only, or whose file system has no locks
            folder.mkdir(parents=True, exist_ok=True)
            lock = _acquired(folder)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _acquired(folder: Path) -> Any:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigurationError(
            f"Another run is in progress in the folder {folder}; two runs would replace each other's checkpoints.",
            next_step="Set another output_dir, or wait until that run has ended.",
        ) from None
    return lock
