"""Spelled-out English numbers as digits: "twenty-first" and "two million dollars" as "21st" and "$2000000".

Digits of a number that is read one by one are put side by side ("one oh one" is 101), as are tens after a complete number
("nineteen eighty" is 1980).
"""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["digits_of"]

_ZEROS = {"o", "oh", "zero"}
_ONES = {
    name: value
    for value, name in enumerate(
        [
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ],
        1,
    )
}
_TENS = {
    name: 10 * value
    for value, name in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_SCALES = {"hundred": 100} | {
    name: 1000**power
    for power, name in enumerate(
        [
            "thousand",
            "million",
            "billion",
            "trillion",
            "quadrillion",
            "quintillion",
            "sextillion",
            "septillion",
            "octillion",
            "nonillion",
            "decillion",
        ],
        1,
    )
}
_IRREGULAR = {"first": (1, "st"), "second": (2, "nd"), "third": (3, "rd"), "fifth": (5, "th"), "twelfth": (12, "th")}
_ONES_ENDED = (
    {"sixes" if name == "six" else f"{name}s": (value, "s") for name, value in _ONES.items()}
    | {"zeroth": (0, "th"), **_IRREGULAR}
    | {
        name + ("h" if name.endswith("t") else "th"): (value, "th")
        for name, value in _ONES.items()
        if value > 3 and value not in (5, 12)
    }
)
_TENS_ENDED = {name.replace("y", "ies"): (value, "s") for name, value in _TENS.items()} | {
    name.replace("y", "ieth"): (value, "th") for name, value in _TENS.items()
}
_SCALES_ENDED = {f"{name}s": (value, "s") for name, value in _SCALES.items()} | {
    f"{name}th": (value, "th") for name, value in _SCALES.items()
}
_SIGNS = {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
_CURRENCIES = {
    **dict.fromkeys(("pound", "pounds"), "£"),
    **dict.fromkeys(("euro", "euros"), "€"),
    **dict.fromkeys(("dollar", "dollars"), "$"),
    **dict.fromkeys(("cent", "cents"), "¢"),
}
_PREFIXES = {*_SIGNS.values(), *_CURRENCIES.values()}
_DIGITS = {*_ONES, *_TENS, *_ZEROS}
_WORDS = {
    *_DIGITS,
    *_ONES_ENDED,
    *_TENS_ENDED,
    *_SCALES,
    *_SCALES_ENDED,
    *_SIGNS,
    *_CURRENCIES,
    *("per", "percent", "and", "double", "triple", "point"),
}
_NUMBER = re.compile(r"^\d+(\.\d+)?$")


def digits_of(text: str) -> str:
    """The text with its numbers as digits. Words are separated by spaces and in lower case.

    Example:
        >>> digits_of("two and a half million dollars in nineteen eighty four")
        '$2500000 in 1984'
    """
    text = _halves(text)
    text = re.sub(r"([a-z])([0-9])", r"\1 \2", text)
    text = re.sub(r"([0-9])([a-z])", r"\1 \2", text)
    text = re.sub(r"([0-9])\s+(st|nd|rd|th|s)\b", r"\1\2", text)
    text = " ".join(_Reader(text.split()).read())
    text = re.sub(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b", lambda m: f"{m[1]}{m[2]}.{int(m[3]):02d}", text)
    text = re.sub(r"[€£$]0.([0-9]{1,2})\b", lambda m: f"¢{int(m[1])}", text)
    return re.sub(r"\b1(s?)\b", r"one\1", text)


def _halves(text: str) -> str:
    """ "two and a half" as "two point five", after a number."""
    parts: list[str] = []
    segments = re.split(r"\band\s+a\s+half\b", text)
    for i, segment in enumerate(segments):
        if not segment.strip():
            continue
        parts.append(segment)
        if i < len(segments) - 1:
            last = segment.rsplit(maxsplit=2)[-1]
            parts.append("point five" if last in _DIGITS or last in _SCALES else "and a half")
    return " ".join(parts)


class _Reader:
    """Reads words one by one; `value` is the number so far: an int that can still grow, or digits as text."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.result: list[str] = []
        self.value: int | str | None = None
        self.prefix = ""

    def read(self) -> list[str]:
        i = 0
        while i < len(self.words):
            before = self.words[i - 1] if i else ""
            after = self.words[i + 1] if i + 1 < len(self.words) else ""
            i += 1 + self._word(self.words[i], before, after)
        self._finish()
        return self.result

    def _put(self, text: str) -> None:
        self.result.append(self.prefix + text)
        self.value, self.prefix = None, ""

    def _finish(self) -> None:
        if self.value is not None:
            self._put(str(self.value))

    def _word(self, word: str, before: str, after: str) -> bool:
        """Read a word; returns whether the one after it is read with it."""
        number = word[1:] if word[0] in _PREFIXES else word
        if _NUMBER.match(number):
            self._digits(word, number)
        elif word in _ZEROS:
            self.value = f"{self.value or ''}0"
        elif word in _ONES or word in _TENS:
            self.value = self._joined(_ONES[word] if word in _ONES else _TENS[word], word in _ONES, before)
        elif word in _ONES_ENDED or word in _TENS_ENDED:
            value, ending = _ONES_ENDED[word] if word in _ONES_ENDED else _TENS_ENDED[word]
            self._put(f"{self._joined(value, word in _ONES_ENDED, before)}{ending}")
        elif word in _SCALES:
            self.value = self._scaled(_SCALES[word])
        elif word in _SCALES_ENDED:
            value, ending = _SCALES_ENDED[word]
            self._put(f"{self._scaled(value)}{ending}")
        else:
            return self._other(word, before, after)
        return False

    def _digits(self, word: str, number: str) -> None:
        """Digits, perhaps with a sign or a currency before them."""
        if self.value is not None:
            if isinstance(self.value, str) and self.value.endswith("."):
                self.value += word
                return
            self._finish()
        if number != word:
            self.prefix = word[0]
        self.value = int(number) if Fraction(number).denominator == 1 else number

    def _joined(self, value: int, is_ones: bool, before: str) -> int | str:
        """The number so far with a further one: added where it has zeros for it, else put beside it."""
        so_far = self.value
        if so_far is None:
            return value
        if isinstance(so_far, str) or (is_ones and before in _ONES):
            if is_ones and before in _TENS and value < 10:
                return f"{str(so_far)[:-1]}{value}"
            return f"{so_far}{value}"
        room = 10 if value < 10 else 100
        return so_far + value if so_far % room == 0 else f"{so_far}{value}"

    def _scaled(self, scale: int) -> int:
        """The number so far times a scale, which applies to what follows its thousands."""
        so_far = self.value
        if so_far is None:
            return scale
        if isinstance(so_far, int) and so_far != 0:
            return so_far // 1000 * 1000 + so_far % 1000 * scale
        try:
            product = Fraction(so_far) * scale
        except ValueError:
            product = Fraction(1, 2)
        if product.denominator == 1:
            return product.numerator
        self._put(str(so_far))
        return scale

    def _other(self, word: str, before: str, after: str) -> bool:
        """A word that is no number: a sign, a currency, percent, ..., or any other."""
        is_followed = after in _WORDS or bool(_NUMBER.match(after))
        if word in _SIGNS and is_followed:
            self._finish()
            self.prefix = _SIGNS[word]
        elif word in _CURRENCIES and self.value is not None:
            self.prefix = _CURRENCIES[word]
            self._finish()
        elif word == "percent" and self.value is not None:
            self._put(f"{self.value}%")
        elif word == "per" and self.value is not None and after == "cent":
            self._put(f"{self.value}%")
            return True
        elif word == "and" and is_followed and before in _SCALES:
            pass  # "two hundred and one"
        elif word in ("double", "triple") and (after in _ONES or after in _ZEROS):
            self.value = f"{self.value or ''}{str(_ONES.get(after, 0)) * (2 if word == 'double' else 3)}"
            return True
        elif word == "point" and is_followed:
            if after in _DIGITS or _NUMBER.match(after):
                self.value = f"{self.value or ''}."
        else:
            self._finish()
            self._put(word)
        return False
