"""The words on a page with their boxes, read by Tesseract."""

from __future__ import annotations

from typing import Any

from PIL import Image

from notebook_kit.errors import InputError

__all__ = ["read_words"]

Box = list[int]

_INSTALL = (
    "Install it: pip install pytesseract, and the program itself with `apt install tesseract-ocr` (Debian, Ubuntu, Colab), "
    "`brew install tesseract` (macOS) or from https://tesseract-ocr.github.io. Or pass word_boxes=, the words with their "
    "boxes, from any other source."
)


def read_words(image: Image.Image, lang: str | None = None, config: str = "") -> list[tuple[str, Box]]:
    """Read the words on a page.

    Args:
        image: The page.
        lang: The languages as Tesseract names them, such as `"eng"` or `"eng+tel"`; English by default.
        config: Further arguments of the program, such as `"--psm 6"` for a single block of text.

    Returns:
        Each word with its box `[left, top, right, bottom]`, in thousandths of the page's width and height.

    Raises:
        InputError: If Tesseract or `pytesseract` is not installed, or Tesseract fails, for example because it does not know the
            language.
    """
    try:
        import pytesseract
    except ImportError:
        raise InputError("Reading the words of a page needs pytesseract.", next_step=_INSTALL) from None
    try:
        read = pytesseract.image_to_data(image, lang=lang, config=config, output_type=pytesseract.Output.DICT)
    except pytesseract.TesseractNotFoundError:
        raise InputError("Reading the words of a page needs the program tesseract.", next_step=_INSTALL) from None
    except pytesseract.TesseractError as error:
        raise InputError(
            f"Tesseract failed: {str(error)[:300]}",
            next_step="Check lang= (`tesseract --list-langs` lists the languages; `apt install tesseract-ocr-tel` adds one) "
            "and tesseract_config=.",
        ) from error
    sides: Any = zip(*(read[name] for name in ("text", "left", "top", "width", "height")), strict=True)
    return [
        (word, _in_thousandths((left, top, left + width, top + height), image.size))
        for word, left, top, width, height in sides
        if word.strip()
    ]


def _in_thousandths(box: tuple[int, int, int, int], size: tuple[int, int]) -> Box:
    """A box in pixels, scaled to a page of 1000 by 1000."""
    return [min(max(1000 * side // full, 0), 1000) for side, full in zip(box, (*size, *size), strict=True)]
