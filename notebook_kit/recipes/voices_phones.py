"""How texts are pronounced, in the letters of the phonetic alphabet."""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from notebook_kit.errors import MissingDependencyError
from notebook_kit.recipes.voices_programs import written

__all__ = ["phone_table", "phones"]


def phones(texts: Sequence[str], language: str = "en-us") -> list[str]:
    """How espeak-ng pronounces texts: letters of the phonetic alphabet, without stress, length and other marks.

    Args:
        texts: What is said; a capital letter alone is the name of the letter in English.
        language: espeak-ng's code.

    Raises:
        MissingDependencyError: If espeak-ng is not installed.

    Example:
        >>> phones(["turn on the light"])  # doctest: +SKIP
        ['tɜnɔnðəlaɪt']
    """
    if shutil.which("espeak-ng") is None:
        raise MissingDependencyError(
            "The program espeak-ng, which knows how texts are pronounced, is not installed.",
            next_step="Install it: `apt-get install espeak-ng`.",
        )
    lines = [written(text, "espeak") for text in texts]
    found = _pronounced(lines, language)
    if len(found) != len(lines):  # a line was said in several parts
        found = ["".join(_pronounced([line], language)) for line in lines]
    return [_bare(each) for each in found]


def _pronounced(lines: Sequence[str], language: str) -> list[str]:
    command = ["espeak-ng", "-v", language, "-q", "--ipa"]
    said = subprocess.run(command, input="\n".join(lines).encode(), capture_output=True, check=True).stdout.decode()
    return said.removesuffix("\n").split("\n")


def _bare(said: str) -> str:
    """Only letters: `(en)`, which announces another language, stress, length, ties and accents are left out.

    Example:
        >>> _bare("lə- ljˈɔ̃ (en)kˈiː(fr)")
        'ləljɔki'
    """
    letters = unicodedata.normalize("NFD", re.sub(r"\(.*?\)", "", said))
    return "".join(letter for letter in letters if unicodedata.category(letter) in ("Ll", "Lo"))


def phone_table(said: Iterable[str], commonest: int) -> dict[str, int]:
    """Sound -> its number, from 1, of the sounds that occur at least so often; 0 is CTC's blank.

    Example:
        >>> phone_table(["aba", "ab", "x"], commonest=2)
        {'a': 1, 'b': 2}
    """
    counts: Mapping[str, int] = Counter("".join(said))
    return {sound: number for number, sound in enumerate(sorted(s for s, n in counts.items() if n >= commonest), 1)}
