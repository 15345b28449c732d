"""Texts as they are compared for error rates: without case, punctuation and fillers; English also with numbers as digits,
contractions written out and American spelling.

Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, appendix C.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import regex

from notebook_kit.processing.text.number_words import digits_of

__all__ = ["BasicTextNormalizer", "EnglishTextNormalizer"]

# Letters that Unicode does not decompose into a plain letter and a mark.
_LETTERS = dict(
    zip(
        "œŒøØæÆßẞđĐðÐþÞłŁ",
        ["oe", "OE", "o", "O", "ae", "AE", "ss", "SS", "d", "D", "d", "D", "th", "th", "l", "L"],
        strict=True,
    )
)
_FILLERS = r"\b(hmm|mm|mhm|mmm|uh|um)\b"
_CONTRACTIONS = {
    r"\bwon't\b": "will not",
    r"\bcan't\b": "can not",
    r"\blet's\b": "let us",
    r"\bain't\b": "aint",
    r"\by'all\b": "you all",
    r"\bwanna\b": "want to",
    r"\bgotta\b": "got to",
    r"\bgonna\b": "going to",
    r"\bi'ma\b": "i am going to",
    r"\bimma\b": "i am going to",
    r"\bwoulda\b": "would have",
    r"\bcoulda\b": "could have",
    r"\bshoulda\b": "should have",
    r"\bma'am\b": "madam",
}
_TITLES = (
    "mr mister, mrs missus, st saint, dr doctor, prof professor, capt captain, gov governor, ald alderman, gen general, "
    "sen senator, rep representative, pres president, rev reverend, hon honorable, asst assistant, assoc associate, "
    "lt lieutenant, col colonel, jr junior, sr senior, esq esquire"
)
_ENDINGS = {
    r"'d been\b": " had been",
    r"'s been\b": " has been",
    r"'d gone\b": " had gone",
    r"'s gone\b": " has gone",
    r"'d done\b": " had done",
    r"'s got\b": " has got",
    r"n't\b": " not",
    r"'re\b": " are",
    r"'s\b": " is",
    r"'d\b": " would",
    r"'ll\b": " will",
    r"'t\b": " not",
    r"'ve\b": " have",
    r"'m\b": " am",
}
_REPLACEMENTS = {
    **_CONTRACTIONS,
    **{rf"\b{short}\b": f"{full} " for short, full in (entry.split() for entry in _TITLES.split(", "))},
    **_ENDINGS,
}


def _without_marks(text: str, keep: str = "") -> str:
    """The text with spaces for symbols, and letters without their accents."""

    def plain(letter: str) -> str:
        if letter in keep:
            return letter
        if letter in _LETTERS:
            return _LETTERS[letter]
        category = unicodedata.category(letter)
        return "" if category == "Mn" else " " if category[0] in "MSP" else letter

    return "".join(map(plain, unicodedata.normalize("NFKD", text)))


def _without_symbols(text: str) -> str:
    """The text with spaces for symbols and for marks that are letters of their own."""
    return "".join(" " if unicodedata.category(c)[0] in "MSP" else c for c in unicodedata.normalize("NFKC", text))


class BasicTextNormalizer:
    """Text of any language in lower case, without what is in brackets, and with spaces for symbols.

    Args:
        remove_diacritics: Also remove accents. This can make different words equal.
        split_letters: Put spaces between letters, for languages that are compared by letter.

    Example:
        >>> from notebook_kit.processing.text.normalizers import BasicTextNormalizer
        >>> BasicTextNormalizer()("Où est-il? [rires]"), BasicTextNormalizer(remove_diacritics=True)("Où")
        ('où est il ', 'ou')
    """

    def __init__(self, remove_diacritics: bool = False, split_letters: bool = False) -> None:
        self.remove_diacritics, self.split_letters = remove_diacritics, split_letters

    def __call__(self, text: str) -> str:
        """The normalized text."""
        text = re.sub(r"[<\[][^>\]]*[>\]]", "", text.lower())
        text = re.sub(r"\(([^)]+?)\)", "", text)
        text = (_without_marks if self.remove_diacritics else _without_symbols)(text).lower()
        if self.split_letters:
            text = " ".join(regex.findall(r"\X", text))
        return re.sub(r"\s+", " ", text)


class EnglishTextNormalizer:
    """English text in lower case without punctuation, fillers and what is in brackets; numbers as digits, contractions written
    out, American spelling.

    Args:
        spellings: British spelling -> American spelling, from a checkpoint's normalizer.json.

    Example:
        >>> from notebook_kit.processing.text.normalizers import EnglishTextNormalizer
        >>> EnglishTextNormalizer({"colour": "color"})("Um, Mr. Brown's got twenty-one COLOURs -- won't you?")
        'mister brown has got 21 colours will not you'
    """

    def __init__(self, spellings: Mapping[str, str] | None = None) -> None:
        self.spellings = dict(spellings or {})

    def __call__(self, text: str) -> str:
        """The normalized text."""
        text = re.sub(r"[<\[][^>\]]*[>\]]", "", text.lower())
        text = re.sub(r"\(([^)]+?)\)", "", text)
        text = re.sub(_FILLERS, "", text)
        text = re.sub(r"\s+'", "'", text)
        for pattern, replacement in _REPLACEMENTS.items():
            text = re.sub(pattern, replacement, text)
        text = re.sub(r"(\d),(\d)", r"\1\2", text)
        text = re.sub(r"\.([^0-9]|$)", r" \1", text)
        text = _without_marks(text, keep=".%$¢€£")
        text = digits_of(text)
        text = " ".join(self.spellings.get(word, word) for word in text.split())
        text = re.sub(r"[.$¢€£]([^0-9])", r" \1", text)
        text = re.sub(r"([^0-9])%", r"\1 ", text)
        return re.sub(r"\s+", " ", text)
