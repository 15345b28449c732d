"""A comparison of two tokenizers on one text: where their boundaries agree."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from notebook_kit.inspection.tokens.analysis import Analysis

__all__ = ["Comparison", "Region", "compare"]


@dataclass(frozen=True)
class Region:
    """The shortest stretch of the text between two boundaries that both tokenizers have.

    Args:
        text: 0 for the first text, 1 for the second.
        start, end: Its range of characters.
        left, right: The positions of the first and the second tokenizer's tokens in it.
    """

    text: int
    start: int
    end: int
    left: tuple[int, ...]
    right: tuple[int, ...]

    @property
    def same(self) -> bool:
        """Whether it is a single token for both."""
        return len(self.left) == len(self.right) == 1


@dataclass(frozen=True)
class Comparison:
    """How two tokenizers split one text.

    Args:
        regions: The whole text in regions.
        shared: The number of boundaries inside the text that both have.
        left_only, right_only: The number of boundaries that only one has.
    """

    regions: list[Region]
    shared: int
    left_only: int
    right_only: int

    @property
    def agreement(self) -> float:
        """The share of common boundaries, from 0 to 1; 1 if there are no boundaries."""
        total = self.shared + self.left_only + self.right_only
        return self.shared / total if total else 1.0


def compare(left: Analysis, right: Analysis) -> Comparison:
    """Align the tokens of two tokenizers over the same text by the characters that they cover.

    A boundary is the start of a token, so white space between tokens makes no difference.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from notebook_kit.inspection.tokens.backend import Backend
        >>> words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
        >>> letters = Tokenizer(models.BPE({letter: id for id, letter in enumerate("abcd")}, []))
        >>> for tokenizer in (words, letters):
        ...     tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> result = compare(Analysis(Backend(words), "ab c"), Analysis(Backend(letters), "ab c"))
        >>> [(region.start, region.end, region.left, region.right) for region in result.regions]
        [(0, 3, (0,), (0, 1)), (3, 4, (1,), (2,))]
        >>> result.shared, result.left_only, result.right_only
        (1, 0, 1)
    """
    regions: list[Region] = []
    shared = left_only = right_only = 0
    for number, text in enumerate(left.texts):
        mine, theirs = _starts(left, number), _starts(right, number)
        both = sorted((set(mine) & set(theirs)) - {0})
        inner = set(mine) - {0}, set(theirs) - {0}
        shared += len(both)
        left_only += len(inner[0] - inner[1])
        right_only += len(inner[1] - inner[0])
        edges = [0, *both, len(text)]
        left_at, right_at = iter(sorted(mine.items())), iter(sorted(theirs.items()))
        next_left, next_right = next(left_at, None), next(right_at, None)
        for start, end in pairwise(edges):
            inside: tuple[list[int], list[int]] = ([], [])
            while next_left is not None and next_left[0] < end:
                inside[0].extend(next_left[1])
                next_left = next(left_at, None)
            while next_right is not None and next_right[0] < end:
                inside[1].extend(next_right[1])
                next_right = next(right_at, None)
            if end > start:
                regions.append(Region(number, start, end, tuple(inside[0]), tuple(inside[1])))
    return Comparison(regions, shared, left_only, right_only)


def _starts(analysis: Analysis, text: int) -> dict[int, list[int]]:
    """Start of tokens -> their positions. Leading spaces of a token are skipped, because other tokenizers drop them."""
    whole = analysis.texts[text]
    starts: dict[int, list[int]] = {}
    for position, (sequence, (start, end)) in enumerate(zip(analysis.sequences, analysis.offsets, strict=True)):
        if sequence != text or start >= end:
            continue
        while start < end - 1 and whole[start].isspace():
            start += 1
        starts.setdefault(start, []).append(position)
    return starts
