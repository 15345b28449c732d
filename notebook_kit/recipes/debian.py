"""Texts and pictures from Debian packages, fetched with apt and never committed.

There are two kinds of text. Package descriptions are part of Debian's package index: a one-line synopsis and a longer text for each of
about sixty thousand packages. Books are packages themselves: `bible-kjv-text` contains the King James Bible and `jargon-text`
the Jargon File, a dictionary of hacker slang; neither is protected by copyright. apt uses a separate folder inside the cache, so it
needs no root rights and installs nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from notebook_kit.errors import CheckpointError, HubUnreachableError, MissingDependencyError
from notebook_kit.recipes.data import default_cache

__all__ = ["Description", "bible", "descriptions", "jargon", "package_files", "parse_descriptions"]

_BOOKS = {
    "bible-kjv.txt": "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d",
    "jargon.txt": "40dfb4b98191a670a09a183d5798d50f243d23fdbd1495dcc0aca2ce5895ba97",
}
"""File name -> SHA-256 of the text. The packages may be rebuilt; the texts do not change."""

_FRESH = "Delete the file and call again to fetch a fresh copy."


@dataclass(frozen=True, slots=True)
class Description:
    """Debian's description of one package.

    Attributes:
        package: The name of the package.
        source: The name of the source package that it is built from, usually together with others.
        synopsis: One line.
        text: The longer description on one line, its paragraphs joined by spaces.

    Example:
        >>> Description("sl", "sl", "Correct you if you type `sl' by mistake", "Sl is a program ...").source
        'sl'
    """

    package: str
    source: str
    synopsis: str
    text: str


def bible(cache_dir: str | os.PathLike[str] | None = None) -> str:
    """The King James Bible, one verse per line, each after its reference (`Ge1:1 In the beginning ...`).

    The first call fetches 2.5 MB with apt; later calls read the cache.

    Args:
        cache_dir: As in `notebook_kit.recipes.data.movie_snippets`.

    Raises:
        MissingDependencyError: There is no apt, because this system is not Debian.
        HubUnreachableError: The text is not in the cache and apt could not fetch it.
        CheckpointError: The text is not the expected one.

    Example:
        >>> bible().splitlines()[0]  # doctest: +SKIP
        'Ge1:1 In the beginning God created the heaven and the earth.'
    """
    return _book("bible-kjv.txt", _print_bible, cache_dir)


def jargon(cache_dir: str | os.PathLike[str] | None = None) -> str:
    """The plain-text version of the Jargon File 4.4.7. For arguments and errors see `bible`.

    Example:
        >>> jargon().split()[:3]  # doctest: +SKIP
        ['The', 'Jargon', 'File']
    """
    return _book("jargon.txt", _unpack_jargon, cache_dir)


def descriptions(cache_dir: str | os.PathLike[str] | None = None) -> tuple[str, list[Description]]:
    """The code name of the Debian release that apt is configured for, and the description of each package in `main`.

    The first call fetches an index of about 30 MB with apt. A release still changes a little after its publication, so numbers
    measured on its descriptions may change in the last digit.

    For arguments and errors see `bible`.

    Example:
        >>> release, found = descriptions()  # doctest: +SKIP
        >>> release, len(found)  # doctest: +SKIP
        ('bookworm', 63460)
    """
    folder = _apt_folder(cache_dir)
    wanted = "$(CREATED_BY)|$(LABEL)|$(CODENAME)|$(COMPONENT)|$(LANGUAGE)|$(FILENAME)"
    lines = _apt(folder, "apt-get", "indextargets", "--format", wanted).splitlines()
    rows = [row for row in (line.split("|") for line in lines) if row[1] == "Debian" and row[3] == "main"]
    texts = [row for row in rows if row[0] == "Translations" and row[4] == "en"]
    if not texts:
        raise HubUnreachableError(
            "apt has no English descriptions of Debian's packages.",
            next_step="Run this on Debian with its `main` packages among apt's sources, for example in the container debian:bookworm.",
        )
    release = texts[0][2]
    packages = [row for row in rows if row[0] == "Packages" and row[2] == release]
    return release, parse_descriptions(_index(folder, texts[0][5]), _index(folder, packages[0][5]))


def parse_descriptions(translations: str, packages: str) -> list[Description]:
    """Parse Debian's indexes `Translation-en` and `Packages` into one description per package, sorted by name.

    Example:
        >>> text = "Package: sl\\nDescription-en: Correct you\\n Sl is a program\\n that corrects.\\n .\\n It does.\\n"
        >>> parse_descriptions(text, "Package: sl\\nSource: steam (5.02)\\n")
        [Description(package='sl', source='steam', synopsis='Correct you', text='Sl is a program that corrects. It does.')]
    """
    source_of = {}
    for paragraph in packages.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Source): (\S+)", paragraph, flags=re.MULTILINE))
        if "Package" in fields:
            source_of[fields["Package"]] = fields.get("Source", fields["Package"])
    found = {}
    for paragraph in translations.split("\n\n"):
        match = re.search(r"^Package: (\S+)$", paragraph, flags=re.MULTILINE)
        description = re.search(r"^Description-en: (.*)\n((?: .*\n)*)", paragraph + "\n", flags=re.MULTILINE)
        if match is None or description is None:
            continue
        name, synopsis, body = str(match[1]), description[1], description[2]
        text = " ".join(" ".join("" if line == " ." else line for line in body.split("\n")).split())
        found[name] = Description(name, str(source_of.get(name, name)), " ".join(synopsis.split()), text)
    return [found[name] for name in sorted(found)]


def package_files(package: str, names: Iterable[str], cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder with some files of a package, fetched with apt if they are not in the cache.

    Args:
        package: The name of the package.
        names: Paths in the package, such as `usr/share/backgrounds/mate/nature/Storm.jpg`, or patterns, such as
            `usr/share/backgrounds/**/*.jpg`. Only these files are kept.
        cache_dir: As in `notebook_kit.recipes.data.movie_snippets`.

    Raises:
        MissingDependencyError, HubUnreachableError: As in `bible`.
        CheckpointError: The package lacks a file.
    """
    base = Path(cache_dir) if cache_dir is not None else default_cache()
    folder, wanted = base / "debian" / package, sorted(set(names))
    complete = completion_mark(base, package, wanted)
    if complete.exists() or all((folder / name).is_file() for name in wanted):
        return folder
    with _unpacked(_apt_folder(cache_dir), package) as root:
        for name in wanted:
            found = [path for path in sorted(root.glob(name)) if path.is_file()]
            if not found:
                raise CheckpointError(
                    f"The Debian package {package} does not contain {name}.",
                    next_step="Use the release of Debian that the recipe was written on, for example the container "
                    "debian:bookworm.",
                )
            for path in found:
                kept = folder / path.relative_to(root)
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, kept)
    complete.touch()
    return folder


def completion_mark(cache: Path, package: str, names: Iterable[str]) -> Path:
    """The empty file that says that all files of these names or patterns are in the cache."""
    digest = hashlib.sha256(repr(sorted(set(names))).encode()).hexdigest()
    return cache / "debian" / f".{package}-{digest[:16]}"


# Books ---------------------------------------------------------------------------------------------------------------


def _book(filename: str, make: Callable[[Path], bytes], cache_dir: str | os.PathLike[str] | None) -> str:
    folder = Path(cache_dir) if cache_dir is not None else default_cache()
    path = folder / filename
    if not path.is_file():
        text = make(_apt_folder(cache_dir))
        scratch = path.with_name(f".{filename}.{os.getpid()}")
        scratch.write_bytes(text)
        os.replace(scratch, path)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != _BOOKS[filename]:
        raise CheckpointError(
            f"{path} is not the expected text: its SHA-256 is {digest}, not {_BOOKS[filename]}.",
            next_step=_FRESH,
        )
    return content.decode("utf-8")


def _print_bible(folder: Path) -> bytes:
    """The text, compressed in a format that only the package's own program can read."""
    with _unpacked(folder, "bible-kjv", "bible-kjv-text") as root:
        command = [str(root / "usr/bin/bible"), "-p", str(root / "usr/lib"), "-f", "gen1:1-rev22:21"]
        return _run(command, "Printing the Bible")


def _unpack_jargon(folder: Path) -> bytes:
    with _unpacked(folder, "jargon-text") as root:
        return gzip.decompress((root / "usr/share/doc/jargon-text/jargon.txt.gz").read_bytes())


@contextmanager
def _unpacked(folder: Path, *names: str) -> Iterator[Path]:
    """The files of packages, unpacked into a temporary folder that is deleted after the block."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        _apt(folder, "apt-get", "download", *names, cwd=root)
        for archive in sorted(root.glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(archive), str(root)], f"Unpacking {archive.name}")
        yield root


# apt -----------------------------------------------------------------------------------------------------------------


def _apt_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    """The folder for apt inside the cache, with the package index fetched."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise MissingDependencyError(
            "This data is in Debian packages, and there is no apt here to fetch them.",
            next_step="Run this on Debian, for example in the container debian:bookworm.",
        )
    base = Path(cache_dir) if cache_dir is not None else default_cache()
    folder = base / "apt"
    if not (folder / "updated").is_file():
        # In a temporary folder: concurrent fetches would delete each other's partial lists.
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base, ignore_cleanup_errors=True) as scratch:
            fetched = Path(scratch) / "apt"
            for inner in ("lists/partial", "cache/archives/partial"):
                (fetched / inner).mkdir(parents=True)
            _apt(fetched, "apt-get", "update", "--error-on=any")
            (fetched / "updated").touch()
            if not (folder / "updated").is_file():
                shutil.rmtree(folder, ignore_errors=True)
                fetched.rename(folder)
    return folder


def _apt(folder: Path, *command: str, cwd: Path | None = None) -> str:
    program, *arguments = command
    options = {
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "en",  # container images disable descriptions
        "APT::Sandbox::User": "root",  # so that the folder need not be accessible to apt's own user
        "Debug::NoLocking": 1,
    }
    settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return _run([program, *settings, *arguments], f"Running `{' '.join(command[:2])}`", cwd).decode("utf-8", "replace")


def _index(folder: Path, path: str) -> str:
    helper = "/usr/lib/apt/apt-helper"  # decompresses an index in any format
    return _apt(folder, helper, "cat-file", path)


def _run(command: Sequence[str], what: str, cwd: Path | None = None) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, cwd=cwd, stdin=subprocess.DEVNULL)
        output = done.stderr.decode("utf-8", "replace").strip()
        failed = done.returncode != 0
    except OSError as error:
        failed, output = True, str(error)
    if failed:
        raise HubUnreachableError(
            f"{what} failed: {output[-300:]}",
            next_step="Check the network and apt's sources, and call again.",
        )
    return done.stdout
