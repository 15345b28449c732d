"""Makes the pictures that the README shows, from the real thing.

    pytest -m browser              # takes the screenshots of the panels
    python tutorials/make_pictures.py

Needs `rich` and `pillow`, which the extra "test" brings.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

PICTURES = Path(__file__).parent / "pictures"
SCREENSHOTS = Path(__file__).parents[1] / "tests" / "artifacts"
PANELS = {
    "attention": "attention_lines_light",
    "dashboard": "dashboard_light",
    "generation": "generation_light",
    "picker": "picker_light",
    "tokens": "tokens_wordpiece_light",
}

# rich's own frame, without the web fonts that a picture in a README could not load anyway.
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; \
line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def tour(names: list[str]) -> str:
    """Some sections of `notebook-kit tour`, as they look in a terminal."""
    from rich.console import Console
    from rich.text import Text

    from notebook_kit.tour.guide import show
    from notebook_kit.tour.sections import SECTIONS

    stream = io.StringIO()
    show([section for section in SECTIONS if section.name in names], stream, colour=True)
    console = Console(record=True, width=104, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(stream.getvalue().strip("\n")))
    return console.export_svg(title="notebook-kit tour", code_format=FRAME, unique_id="tour")


def panel(name: str, screenshot: str) -> None:
    """A screenshot of a panel from the browser tests, in 128 colours, so that it is small enough for a README."""
    from PIL import Image

    with Image.open(SCREENSHOTS / f"{screenshot}.png") as image:
        image.convert("RGB").quantize(128).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, screenshot in PANELS.items():
        panel(name, screenshot)
    (PICTURES / "tour.svg").write_text(tour(["classify", "tokenize"]), encoding="utf-8")
