"""Files are either the old ones or the new ones."""

from __future__ import annotations

import os
import stat

import pytest

from notebook_kit.errors import CheckpointError
from notebook_kit.files import read_json, replacing, write_text


def test_write_text(tmp_path):
    text = "ఒకటి\n一\n"
    path = write_text(tmp_path / "vocab.txt", text)
    assert path.read_bytes() == text.encode()
    assert os.listdir(tmp_path) == ["vocab.txt"]


def test_an_error_leaves_the_old_content(tmp_path):
    path = write_text(tmp_path / "config.json", "old")
    with pytest.raises(RuntimeError, match="on the way"), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("on the way")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["config.json"]
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "lone surrogate \ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["config.json"]


@pytest.mark.skipif(os.name != "posix", reason="Unix permissions")
def test_others_may_read_it_as_the_umask_says(tmp_path):
    path = write_text(tmp_path / "a", "a")
    plain = tmp_path / "b"
    plain.write_text("b")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"not valid JSON: Expecting property name"),
        (b'{"a": "\xff"}', r"not valid JSON: 'utf-8' codec"),
        (b"[" * 100_000, r"nested too deeply"),
        (b"[1]", r"holds a JSON list instead of an object\."),
        (None, r"No such file or directory\.\n→ Make it\."),
    ],
)
def test_a_damaged_json_file_is_named(tmp_path, content, message):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"config\.json cannot be read: .*{message}"):
        read_json(path, next_step="Make it.")


@pytest.mark.skipif(os.name != "posix", reason="Unix permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o400])
def test_a_rewritten_file_keeps_its_permissions(tmp_path, mode):
    path = write_text(tmp_path / "a", "old")
    path.chmod(mode)
    write_text(path, "new")
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == mode
