"""What the README says works: its code runs, and the files that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "tutorials" / "pictures"
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
    for picture in PICTURES.iterdir():
        limit = 1_500_000 if picture.suffix == ".webp" else 200 * 1024
        assert picture.stat().st_size <= limit, picture.name


def test_a_picture_is_on_the_first_screen():
    first = "\n".join(README.splitlines()[:12])
    assert "](tutorials/pictures/film.webp)" in first
    with Image.open(PICTURES / "film.webp") as film:
        assert film.n_frames > 30 and film.width < 1000


def test_each_chapter_is_linked_with_a_picture():
    chapters = sorted((ROOT / "tutorials").glob("[0-9]*.ipynb"))
    assert len(chapters) >= 8
    for path in chapters:
        name = f"tutorials/{path.name}"
        assert f"(tutorials/pictures/chapter_{path.stem}.png)]({name})" in README, name
        assert re.search(rf"\*\*\[[^]]+\]\({re.escape(name)}\)\*\*", README), name
        assert (PICTURES / f"chapter_{path.stem}.png").stat().st_size < 20_000


def test_code_fits_the_width_of_a_page():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for block in re.findall(r"```\w*\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S):
            assert max(map(len, block.splitlines())) <= 88, page.name
