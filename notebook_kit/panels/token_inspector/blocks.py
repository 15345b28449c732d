"""What is sent to the page of an analysis: blocks of token groups, and the regions where two tokenizers differ."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy

from notebook_kit.inspection.tokens.analysis import INSERTED, PART, Analysis
from notebook_kit.inspection.tokens.compare import Comparison

__all__ = ["BLOCK", "CUT", "DIFFERS", "block_count", "block_of", "differing", "group_text", "regions_of", "suggested"]

BLOCK = 300
"""Groups of tokens sent to the page at a time."""

DIFFERS, CUT = 64, 128
"""Flags that the page gets in addition to those of the analysis: tokenizers disagree here; lost at `model_max_length`."""

REGIONS_SHOWN = 200
REGION_CHARACTERS = 200
REGION_TOKENS = 40


def block_count(analysis: Analysis) -> int:
    """The number of blocks of an analysis."""
    return -(-len(analysis.groups) // BLOCK)


def block_of(analysis: Analysis, number: int, differs: Collection[int]) -> tuple[dict[str, Any], numpy.ndarray]:
    """One block of token groups.

    Args:
        analysis: The analysis of a text.
        number: Index of the block.
        differs: Positions of the tokens on which the tokenizers disagree.

    Returns:
        The texts of the groups and the spellings of the tokens, as JSON values; and an array `(6, tokens)`, int32: ids,
        starts and ends in characters, starts and ends in bytes, flags.
    """
    groups = analysis.groups[number * BLOCK : (number + 1) * BLOCK]
    first = groups[0].first if groups else 0
    last = groups[-1].first + groups[-1].count if groups else 0
    columns = numpy.zeros((6, last - first), dtype=numpy.int32)
    for place, position in enumerate(range(first, last)):
        flag = analysis.flags[position]
        if position in differs:
            flag |= DIFFERS
        if _is_cut(analysis, position):
            flag |= CUT
        span = (*analysis.offsets[position], *analysis.byte_span(position))
        columns[:, place] = (analysis.ids[position], *span, flag)
    values = {
        "number": number,
        "first": first,
        "cut": first > 0 and _is_cut(analysis, first - 1),
        "tokens": analysis.tokens[first:last],
        "groups": [[group_text(analysis, group), group.count] for group in groups],
        "bytes": {
            str(position): own for position in range(first, last) if (own := _own_bytes(analysis, position)) is not None
        },
    }
    return values, columns


def differing(comparison: Comparison | None, side: str) -> set[int]:
    """Positions of the tokens on which two tokenizers disagree, on the "left" or the "right" side."""
    regions = comparison.regions if comparison is not None else ()
    return {position for region in regions if not region.same for position in getattr(region, side)}


def regions_of(comparison: Comparison | None, left: Analysis, right: Analysis) -> dict[str, Any]:
    """The first 200 regions of a text that two tokenizers split differently, and the number of all of them."""
    regions = [region for region in comparison.regions if not region.same] if comparison else []
    shown = [
        [
            region.text,
            region.start,
            left.texts[region.text][region.start : region.end][:REGION_CHARACTERS],
            [_spelled(left, position) for position in region.left[:REGION_TOKENS]],
            [_spelled(right, position) for position in region.right[:REGION_TOKENS]],
        ]
        for region in regions[:REGIONS_SHOWN]
    ]
    return {"regions": shown, "count": len(regions)}


def group_text(analysis: Analysis, group: Any) -> str:
    """The text that a group covers, or the spelling of its token if it covers none."""
    sequence = analysis.sequences[group.first]
    if sequence is None or group.start >= group.end or analysis.flags[group.first] & INSERTED:
        return analysis.tokens[group.first]
    return analysis.texts[sequence][group.start : group.end]


def suggested(analysis: Analysis) -> list[int]:
    """The position of a token worth a look: the last piece of the word with the most pieces; [] without any word."""
    words: dict[tuple[int | None, int | None], list[int]] = {}
    for position, place in enumerate(zip(analysis.sequences, analysis.encoding.word_ids, strict=True)):
        if None not in place:
            words.setdefault(place, []).append(position)
    pieces = max(words.values(), key=len, default=[])  # of several, the first
    return pieces[-1:]


def _is_cut(analysis: Analysis, position: int) -> bool:
    """Whether a token is lost at `model_max_length`."""
    sequence, cuts = analysis.sequences[position], analysis.truncation.cuts
    if sequence is None or not cuts:
        return False
    start, end = analysis.offsets[position]
    return start < cuts[sequence][0] or end > cuts[sequence][1]


def _own_bytes(analysis: Analysis, position: int) -> str | None:
    """The bytes of a token that is part of a character, in hexadecimal; None for other tokens."""
    if not analysis.flags[position] & PART:
        return None
    own = analysis.backend.bytes_of(analysis.tokens[position], analysis.covered(position))
    return None if own is None else own.hex(" ").upper()


def _spelled(analysis: Analysis, position: int) -> str:
    """A token as its vocabulary spells it, or its bytes if it is part of a character."""
    own = _own_bytes(analysis, position)
    return analysis.tokens[position] if own is None else own
