"""Makes the pictures and the film that the README shows, from the real thing.

    pytest -m browser tests/browser/test_pictures_in_lab.py tests/browser/test_model_picker_in_lab.py       # the panels
    python tutorials/make_pictures.py

The thumbnails of the chapters are outputs stored in the notebooks (`tutorials/execute.py`). Needs `rich` and `pillow`, which
the extra "test" brings.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from pathlib import Path

import nbformat
from PIL import Image

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # as in an activated environment

FOLDER = Path(__file__).parent
PICTURES = FOLDER / "pictures"
SCREENSHOTS = FOLDER.parent / "tests" / "artifacts"
PANELS = {
    "attention": "readme_attention_light",
    "dashboard": "readme_dashboard_light",
    "generation": "readme_generation_light",
    "picker": "picker_light",
    "tokens": "readme_tokens_light",
}
CHAPTERS = {
    "00_quick_tour": "board = TrainingDashboard(",
    "00_quick_tour_te": "[english_bpe, telugu_bpe]",
    "01_pipelines": "The delivery never arrived.",
    "02_tokenization": "trained on all eight",
    "03_attention": "rollout=True",
    "04_training": "def curves(",
    "05_a_model_from_scratch": "AttentionView(",
    "06_text_generation": "places = {tuple(start)",
    "07_pictures": "axes = plt.subplots(rows, columns",
    "08_sound": "axis.axvspan(start, end",
    "09_words_and_pictures": "axes[1, 0].set_ylabel(",
    "10_tensorflow": "callbacks=[board]",
    "11_training_for_real": "run_2",
    "12_beyond_one_machine": "Three ways",
}
"""Chapter -> a text of the cell whose picture is its thumbnail."""
THUMBNAIL = (260, 180)

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
    """Some sections of `notebook-kit tour`, as they look in a terminal.

    They run twice, so that the times are not those of reading PyTorch from the disk.
    """
    from rich.console import Console
    from rich.text import Text

    from notebook_kit.tour.guide import show
    from notebook_kit.tour.sections import SECTIONS

    shown = [section for section in SECTIONS if section.name in names]
    show(shown, io.StringIO())
    stream = io.StringIO()
    show(shown, stream, colour=True)
    console = Console(record=True, width=104, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(stream.getvalue().strip("\n")))
    return console.export_svg(title="notebook-kit tour", code_format=FRAME, unique_id="tour")


def panel(name: str, screenshot: str) -> None:
    """A screenshot of a panel from the browser tests, in 128 colours, so that it is small enough for a README."""
    with Image.open(SCREENSHOTS / f"{screenshot}.png") as image:
        image.convert("RGB").quantize(128).save(PICTURES / f"{name}.png", optimize=True)


def thumbnail(chapter: str, text: str) -> None:
    """A stored output of a chapter, small and on a white card, so that all thumbnails have one size."""
    notebook = nbformat.read(FOLDER / f"{chapter}.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and text in cell.source)
    kinds = ("image/png", "image/jpeg")
    stored = next(output.data[kind] for output in cell.outputs for kind in kinds if kind in output.get("data", {}))
    card = Image.new("RGB", THUMBNAIL, "white")
    with Image.open(io.BytesIO(base64.b64decode(stored))) as image:
        drawing = image.convert("RGB")
    drawing.thumbnail((THUMBNAIL[0] - 12, THUMBNAIL[1] - 12), Image.Resampling.LANCZOS)
    card.paste(drawing, tuple((of - part) // 2 for of, part in zip(THUMBNAIL, drawing.size, strict=True)))
    card.quantize(64).save(PICTURES / f"chapter_{chapter}.png", optimize=True)


def film() -> None:
    """The frames of the browser test as one moving picture."""
    durations = json.loads((SCREENSHOTS / "film" / "milliseconds.json").read_text("utf-8"))
    frames = []
    for path in sorted((SCREENSHOTS / "film").glob("*.png")):
        with Image.open(path) as image:
            frames.append(image.convert("RGB"))
    frames[0].save(
        PICTURES / "film.webp",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        quality=70,
    )


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, screenshot in PANELS.items():
        panel(name, screenshot)
    for chapter, text in CHAPTERS.items():
        thumbnail(chapter, text)
    film()
    (PICTURES / "tour.svg").write_text(tour(["classify", "tokenize"]), encoding="utf-8")
