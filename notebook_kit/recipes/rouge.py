"""ROUGE (Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004): the overlap of words in two texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

__all__ = ["KINDS", "mean_rouge", "rouge"]

KINDS = ("rouge1", "rouge2", "rougeL")


def rouge(written: str, wanted: str) -> dict[str, float]:
    """F1 of shared words, of shared pairs of words, and of the longest common subsequence, each from 0 to 1.

    Words are runs of the letters a to z and digits, in lower case and not stemmed, as in Google's `rouge_score`.

    Example:
        >>> {kind: round(value, 3) for kind, value in rouge("a small tool", "Small command-line tool").items()}
        {'rouge1': 0.571, 'rouge2': 0.0, 'rougeL': 0.571}
    """
    a, b = _words(written), _words(wanted)
    return {
        "rouge1": _f1(_shared(a, b), len(a), len(b)),
        "rouge2": _f1(_shared(_pairs(a), _pairs(b)), len(a) - 1, len(b) - 1),
        "rougeL": _f1(_common_subsequence(a, b), len(a), len(b)),
    }


def mean_rouge(written: Iterable[str], wanted: Iterable[str]) -> dict[str, float]:
    """The means of `rouge` over pairs of texts.

    Example:
        >>> mean_rouge(["one", "two"], ["one", "three"])["rouge1"]
        0.5
    """
    scores = [rouge(a, b) for a, b in zip(written, wanted, strict=True)]
    return {kind: sum(score[kind] for score in scores) / len(scores) for kind in KINDS}


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(pairwise(words))


def _shared(a: Sequence[object], b: Sequence[object]) -> int:
    return (Counter(a) & Counter(b)).total()


def _f1(shared: int, a: int, b: int) -> float:
    return 2 * shared / (a + b) if shared else 0.0


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    longest = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for place, other in enumerate(b, start=1):
            above = longest[place]
            longest[place] = before + 1 if word == other else max(above, longest[place - 1])
            before = above
    return longest[-1]
