"""What the README says works: its code runs, and the files that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_code_runs_from_top_to_bottom():
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.S):
        exec(compile(block, "README.md", "exec"), names)
    assert names["record"][0].shape[-1] == len(names["batch"]["input_ids"][0])
    assert names["view"].text == names["inspector"].text


def test_files_that_are_named_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
    tree = README[README.index("## The tree") : README.index("## How to add")]
    for line in tree.splitlines():
        if found := re.match(r"(  )?([\w./]+?)/?\s{2,}\S", line):
            folder = ROOT / "notebook_kit" if found[1] else ROOT
            assert (folder / found[2]).exists(), found[2]


def test_pictures_are_small():
    for picture in (ROOT / "tutorials" / "pictures").iterdir():
        assert picture.stat().st_size <= 200 * 1024, picture.name
