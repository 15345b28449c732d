"""Grapheme clusters (characters as people see them) and scripts, as defined by Unicode (UAX #29 and UAX #24)."""

from __future__ import annotations

import functools
from typing import Any

import numpy
import regex

__all__ = ["byte_starts", "clusters", "scripts"]

_CLUSTER = regex.compile(r"\X")

# The most common first.
_SCRIPTS = tuple(
    """Latin Common Inherited Telugu Devanagari Han Cyrillic Arabic Hiragana Katakana Hangul Greek Hebrew Thai Bengali Tamil
Kannada Malayalam Gujarati Gurmukhi Oriya Sinhala Armenian Georgian Ethiopic Khmer Lao Myanmar Tibetan Mongolian Bopomofo
Cherokee Syriac Thaana Nko Adlam Canadian_Aboriginal Ogham Runic Braille Yi Javanese Balinese Sundanese Tifinagh Vai Coptic
Gothic Cuneiform Egyptian_Hieroglyphs Linear_B Phoenician Avestan Brahmi Kharoshthi Grantha Meetei_Mayek Ol_Chiki Limbu Lisu
Tai_Le New_Tai_Lue Tai_Tham Tai_Viet Cham Batak Buginese Tagalog Hanunoo Buhid Tagbanwa Lepcha Saurashtra Rejang Kayah_Li
Chakma Newa Tirhuta Modi Siddham Sharada Takri Khojki Khudawadi Mahajani Warang_Citi Osage Deseret Shavian Osmanya Bamum
Glagolitic Old_Italic Old_Persian Ugaritic Cypriot Imperial_Aramaic Nushu Tangut Hatran Wancho Nyiakeng_Puachue_Hmong""".split()  # noqa: SIM905 - a list of 130 literals is harder to read
)


def clusters(text: str) -> Any:
    """The number of each character's grapheme cluster.

    Args:
        text: Any text.

    Returns:
        A NumPy array of int32, one entry per character (code point).

    Example:
        >>> clusters("aక్షb").tolist()
        [0, 1, 1, 1, 2]
    """
    if text.isascii() and "\r" not in text:
        return numpy.arange(len(text), dtype=numpy.int32)
    numbers = numpy.zeros(len(text), dtype=numpy.int32)
    starts = [match.start() for match in _CLUSTER.finditer(text)]
    numbers[starts[1:]] = 1
    return numpy.cumsum(numbers, dtype=numpy.int32)


def scripts(text: str) -> tuple[list[str], Any]:
    """The script of each character.

    Returns:
        The names of the scripts, and a NumPy array of int32 with the index of each character's script among them. "Common"
        (digits, spaces, symbols, emoji) and "Inherited" (combining marks) are scripts in Unicode; all others are "Unknown".

    Example:
        >>> names, index = scripts("aక!")
        >>> [names[i] for i in index]
        ['Latin', 'Telugu', 'Common']
    """
    codes = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=numpy.uint32)
    unique, inverse = numpy.unique(codes, return_inverse=True)
    found = [_script(chr(code)) for code in unique]
    names = sorted(set(found), key=found.index)
    numbers = numpy.array([names.index(name) for name in found], dtype=numpy.int32)
    return names, numbers[inverse] if len(text) else numpy.zeros(0, dtype=numpy.int32)


@functools.lru_cache(maxsize=20_000)
def _script(character: str) -> str:
    for name in _SCRIPTS:
        pattern = _pattern(name)
        if pattern is not None and pattern.match(character):
            return name.replace("_", " ")
    return "Unknown"


@functools.cache
def _pattern(script: str) -> Any:
    try:
        return regex.compile(rf"\p{{Script={script}}}")
    except regex.error:  # a script newer than the installed `regex`
        return None


def byte_starts(text: str) -> Any:
    """The byte offset of each character in UTF-8, with one more entry for the end.

    Example:
        >>> byte_starts("aక!").tolist()
        [0, 1, 4, 5]
    """
    codes = numpy.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=numpy.uint32)
    lengths = 1 + (codes >= 0x80).astype(numpy.int32) + (codes >= 0x800) + (codes >= 0x10000)
    return numpy.concatenate([numpy.zeros(1, dtype=numpy.int64), numpy.cumsum(lengths)])
