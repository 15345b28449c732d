"""Fonts for pictures with text in any script."""

from __future__ import annotations

import functools
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["families", "families_for", "in_any_script"]

OWN = "DejaVu Sans"
# Common fonts for scripts that matplotlib's own font lacks.
FAMILIES = (
    "Noto-Sans-Telugu Lohit-Telugu Gautami Nirmala-UI Noto-Sans-Devanagari Noto-Sans-Tamil Noto-Sans-Kannada "
    "Noto-Sans-Malayalam Noto-Sans-Bengali Noto-Sans-CJK-SC Noto-Sans-CJK-JP WenQuanYi-Micro-Hei PingFang-SC "
    "Microsoft-YaHei Noto-Sans-Arabic Noto-Sans-Thai Noto-Emoji Noto-Sans-Symbols2 Symbola Arial-Unicode-MS"
)


@functools.cache
def families() -> list[str]:
    """The font families for text in any script, as matplotlib tries them: its own, then those installed here.

    Example:
        >>> families()[0]
        'DejaVu Sans'
    """
    from matplotlib.font_manager import findSystemFonts, fontManager

    wanted = [name.replace("-", " ") for name in FAMILIES.split()]
    listed = {entry.name for entry in fontManager.ttflist}
    missing = {name.replace(" ", ""): name for name in wanted if name not in listed}
    for path in findSystemFonts():  # matplotlib's list may be older than the fonts
        if Path(path).stem.removesuffix("-Regular") in missing:
            with suppress(RuntimeError, OSError):  # a damaged file
                fontManager.addfont(path)
    listed |= {entry.name for entry in fontManager.ttflist}
    return [OWN, *(name for name in wanted if name in listed)]


def families_for(text: str, own: list[str]) -> list[str]:
    """The font families for a text: its own, and those installed that have what they lack.

    Args:
        text: The text.
        own: Its font families, which may be generic, such as "serif".

    Example:
        >>> families_for("−3 °C", ["serif"])
        ['serif']
    """
    if text.isascii():
        return own
    missing = {letter for letter in text if letter.isprintable()}.difference(*map(_characters, map(_file, own)))
    found = list(own)
    for name in families():
        if not missing:
            break
        if not missing.isdisjoint(characters := _characters(_file(name))):
            found.append(name)
            missing -= characters
    return found


def _file(family: str) -> str:
    """The file of a font family; none if it is not installed."""
    from matplotlib.font_manager import FontProperties, findfont

    try:
        return str(findfont(FontProperties(family=[family]), fallback_to_default=False))
    except ValueError:
        return ""


@functools.cache
def _characters(file: str) -> frozenset[str]:
    """The characters that a font has."""
    from matplotlib.font_manager import get_font

    return frozenset(map(chr, get_font(file).get_charmap())) if file else frozenset()


def in_any_script(figure: Any) -> Any:
    """Give the texts of a figure, after their own fonts, others that have what those lack, where such are installed.

    Args:
        figure: A matplotlib `Figure` that is complete; it is changed.

    Returns:
        The figure.

    Example:
        >>> from matplotlib.figure import Figure
        >>> figure = Figure()
        >>> title = figure.suptitle("పిల్లి", family="serif")
        >>> in_any_script(figure) is figure, title.get_fontfamily()[0]
        (True, 'serif')
    """
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_ticklabels()  # which have no text before
    for text in figure.findobj(Text):
        own = text.get_fontfamily()
        if (found := families_for(text.get_text(), own)) != own:
            text.set_fontfamily(found)
    return figure
