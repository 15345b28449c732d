"""Tokens as chips, drawn with matplotlib."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Any

from notebook_kit.inspection.drawing.fonts import families
from notebook_kit.inspection.drawing.letters import clean, printable
from notebook_kit.inspection.tokens.spelling import visible

__all__ = ["Chip", "draw", "png"]

WIDTH = 9.0  # inches
SIZE = 10.0  # points
COLOURS = {
    "one": ("#dbe9f6", "#6f9cc4"),
    "other": ("#f3ead3", "#b59a55"),
    "special": ("#ececec", "#555555"),
    "unknown": ("#fbdad7", "#b3261e"),
}


@dataclass(frozen=True)
class Chip:
    """One chip.

    Args:
        text: The text on it.
        kind: "one" or "other" (alternating colours), "special", "unknown".
        chosen: Whether it is framed.
        parts: The number of tokens it stands for, shown below; 0 for a single token.
        id: The token's id, shown below; None to leave it out.
        below: A text to show below instead of those.
        back: A background colour instead of the kind's, as "#rrggbb".
    """

    text: str
    kind: str
    chosen: bool = False
    parts: int = 0
    id: int | None = None
    below: str | None = None
    back: str | None = None


def draw(rows: list[tuple[str, list[Chip], int]]) -> Any:
    """Rows of chips as a matplotlib `Figure`.

    Args:
        rows: Title, chips and number of omitted chips of each row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    found = families()
    figure = Figure(figsize=(WIDTH, 1.0), dpi=110, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    renderer: Any = canvas.get_renderer()
    from matplotlib.font_manager import FontProperties

    font, small = FontProperties(family=found, size=SIZE), FontProperties(family=found, size=SIZE * 0.65)
    large = FontProperties(family=found, size=SIZE * 1.1)

    def width(text: str, properties: Any) -> float:
        return renderer.get_text_width_height_descent(text, properties, False)[0] * 72 / figure.dpi

    points, line = WIDTH * 72, 31.0
    placed: list[tuple[str, Any]] = []
    y = 4.0
    for title, chips, more in rows:
        placed.append(("title", (8.0, y + 12, _title(clean(title)[:110]))))
        y += 19
        x = 8.0
        for chip in chips:
            text = _shown(chip.text)
            below = f"{chip.parts} tokens" if chip.parts else "" if chip.id is None else str(chip.id)
            below = below if chip.below is None else chip.below
            wide = max(width(text, font), width(below, small), 5.0) + 7
            if x + wide > points - 8:
                x, y = 8.0, y + line
            placed.append(("chip", (x, y, wide, text, below, chip)))
            x += wide + 3
        if more:
            placed.append(("more", (x + 2, y + 12, f"… {more:,} more")))
        y += line + 6
    height = max(y, 40.0)
    figure.set_size_inches(WIDTH, height / 72)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, points), ylim=(height, 0))
    axes.axis("off")
    for kind, item in placed:
        if kind != "chip":
            x, y, text = item
            axes.text(
                x,
                y,
                text,
                fontproperties=large if kind == "title" else font,
                va="baseline",
                color="#1b1f24",
                parse_math=False,
            )
            continue
        x, y, wide, text, below, chip = item
        back, edge = COLOURS[chip.kind]
        ink, faint = "#1b1f24", "#4a515a"
        if chip.back:
            back = chip.back
            ink = faint = "#000000" if sum(bytes.fromhex(back[1:])) > 350 else "#ffffff"
        axes.add_patch(
            FancyBboxPatch(
                (x + 1, y + 1),
                wide - 2,
                line - 5,
                boxstyle="round,pad=0,rounding_size=2.5",
                facecolor=back,
                edgecolor="#0b5cad" if chip.chosen else edge,
                linewidth=2.2 if chip.chosen else 0.8,
                linestyle="--" if chip.kind == "special" and not chip.chosen else "-",
            )
        )
        centre = x + wide / 2
        axes.text(centre, y + 12.5, text, fontproperties=font, ha="center", va="baseline", color=ink, parse_math=False)
        axes.text(
            centre, y + 23.5, below, fontproperties=small, ha="center", va="baseline", color=faint, parse_math=False
        )
    return figure


def png(figure: Any) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _shown(text: str) -> str:
    """White space made visible, and code points instead of characters that no installed font can draw."""
    text = clean(text)
    return _drawn(visible(text if len(text) <= 48 else text[:47] + "…"))


def _title(text: str) -> str:
    """A title without the parts that no installed font can draw; the page around the picture has them."""
    parts = [part for part in text.split(" · ") if all(_drawable(character) for character in part)]
    return " · ".join(parts) or _drawn(text)


def _drawn(text: str) -> str:
    if printable(text) == text and all(_drawable(character) for character in text):
        return text
    return " ".join(f"U+{ord(character):04X}" for character in text[:4]) + ("…" if len(text) > 4 else "")


@functools.lru_cache(maxsize=20_000)
def _drawable(character: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return any(
        get_font(findfont(FontProperties(family=family))).get_char_index(ord(character)) for family in families()
    )
