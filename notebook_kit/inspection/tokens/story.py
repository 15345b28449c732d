"""The way of one piece of a text through the stages of a tokenizer, with the steps of the model replayed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from notebook_kit.inspection.tokens import bpe, unigram
from notebook_kit.inspection.tokens.analysis import Analysis
from notebook_kit.inspection.tokens.bpe import BPE
from notebook_kit.inspection.tokens.stages import Piece, part_names
from notebook_kit.inspection.tokens.unigram import Unigram
from notebook_kit.inspection.tokens.wordpiece import WordPiece

__all__ = ["Story", "story"]

MERGES_SHOWN = 200
EDGES_SHOWN = 400
LONG_PIECE = 60
"""For a piece with more characters, only the neighbourhood of the token is shown."""
AROUND = 40
"""The number of characters, and of tokens, on each side in that neighbourhood."""


@dataclass(frozen=True)
class Story:
    """How one piece of the text became tokens.

    Args:
        stages: JSON values per stage: "added", "normalizer", "pre_tokenizer", "model", "post_processor".
        exact: Whether the replayed model produced exactly the tokens of `encode`.
    """

    stages: dict[str, Any]
    exact: bool


def story(analysis: Analysis, position: int) -> Story:
    """The story of the piece of the text that contains the token at a position."""
    backend, sequence = analysis.backend, analysis.sequences[position]
    inserted = [i for i, owner in enumerate(analysis.sequences) if owner is None]
    post = {
        "parts": part_names(backend.parts["post_processor"]),
        "inserted": [[i, analysis.tokens[i]] for i in inserted[:8]],
        "count": len(inserted),
    }
    if sequence is None:
        return Story({"post_processor": post, "inserted": True}, True)
    trace = analysis.traces[sequence]
    word_ids = analysis.encoding.word_ids
    number = word_ids[position]
    pieces = trace.pieces
    stages: dict[str, Any] = {
        "added": {"known": len(backend.added), "count": len(trace.added), "matched": False},
        "normalizer": {"parts": [list(step) for step in trace.normalizer_steps]},
        "pre_tokenizer": {"parts": part_names(backend.parts["pre_tokenizer"]), "count": len(pieces)},
        "post_processor": post,
    }
    if number is None or number >= len(pieces) or not _fits(analysis, pieces[number], position):
        return Story({**stages, "lost": True}, False)
    piece = pieces[number]
    if piece.added:
        token = backend.added.get(analysis.ids[position])
        stages["added"] |= {"matched": True, "text": analysis.texts[sequence][piece.start : piece.end]}
        if token is not None:
            stages["added"] |= {
                name: getattr(token, name)
                for name in ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
            }
        return Story({**stages, "is_added": True}, True)
    start, end = piece.start, piece.end
    if end - start > LONG_PIECE:
        start, end = (
            max(start, analysis.offsets[position][0] - AROUND),
            min(end, analysis.offsets[position][1] + AROUND),
        )
    near = [c for c in trace.chunks if (c.start < end and c.end > start) or start <= c.start == c.end < end]
    stages["normalizer"]["chunks"] = [[c.before, c.after] for c in near]
    low = max(0, number - 3)
    stages["pre_tokenizer"] |= {
        "around": [
            [_short(p.text), low + i == number, *_source(analysis, p, sequence)]
            for i, p in enumerate(pieces[low : number + 4])
        ],
        "before": low,
        "after": max(0, len(pieces) - number - 4),
    }
    members = [
        i
        for i, (word, owner) in enumerate(zip(word_ids, analysis.sequences, strict=True))
        if word == number and owner == sequence
    ]
    tokens = [analysis.tokens[i] for i in members]
    stages["model"], exact = _model_story(analysis, piece.text, tokens, members.index(position))
    return Story(stages, exact)


def _short(text: str) -> str:
    return text if len(text) <= LONG_PIECE else text[: LONG_PIECE - 1] + "…"


def _source(analysis: Analysis, piece: Piece, sequence: int) -> list[str]:
    """The text of a piece whose byte-level spelling is unreadable."""
    text = analysis.texts[sequence][piece.start : piece.end]
    return [_short(text)] if analysis.backend.byte_level and not text.isascii() else []


def _fits(analysis: Analysis, piece: Any, position: int) -> bool:
    start, end = analysis.offsets[position]
    # Post-processing may trim offsets, so a token may be shorter than its piece.
    return (piece.start <= start and end <= piece.end) or start == end


def _model_story(analysis: Analysis, piece: str, expected: list[str], place: int) -> tuple[dict[str, Any], bool]:
    """The steps of the model on one piece, and whether they result in the `expected` tokens, those of `encode`.

    `place` is the index of the token in question among them.
    """
    backend = analysis.backend
    model = backend.replayer
    first = max(0, place - AROUND)
    story: dict[str, Any] = {
        "type": backend.model_type,
        "made": len(expected),
        "tokens": expected[first : first + 2 * AROUND],
        "first": first,
        "at": place - first,
    }
    if model is None:
        tokens = backend.tokenizer.model.tokenize(piece)
        story["known"] = [token.id != backend.unk_id for token in tokens][:400]
        return story, [token.value for token in tokens] == expected
    replay: Any = model.replay(piece)
    exact = [token for token, _, _ in replay.tokens] == expected
    span = replay.tokens[place][1:] if exact else (0, len(piece))
    if isinstance(model, BPE):
        story |= _bpe_steps(replay, span)
    elif isinstance(model, WordPiece):
        story |= {
            "matches": [[m.start, m.tried[:100], m.token, m.end] for m in replay.matches],
            "too_long": replay.too_long,
            "longest": model.longest,
            "prefix": model.prefix,
        }
    elif isinstance(model, Unigram):
        story |= _unigram_steps(replay, span, piece)
    return story, exact


def _bpe_steps(replay: bpe.Replay, span: tuple[int, int]) -> dict[str, Any]:
    """The merges of a piece; if there are too many, those within the span."""
    merges, (start, end) = replay.merges, span
    is_short = len(merges) <= MERGES_SHOWN and len(replay.symbols) <= 64
    if not is_short:
        merges = [merge for merge in merges if start <= merge.start and merge.end <= end]
    return {
        "symbols": replay.symbols[:64] if is_short else [],
        "merges": [[m.rank, m.left, m.right, m.result, m.at] for m in merges[:MERGES_SHOWN]],
        "count": len(replay.merges),
        "whole": replay.whole,
        "replayable": is_short,
    }


def _unigram_steps(replay: unigram.Replay, span: tuple[int, int], piece: str) -> dict[str, Any]:
    """The edges and the best paths of a piece; if it is long, those near the span."""
    edges, (start, end) = replay.edges, span
    if len(edges) > EDGES_SHOWN or len(piece) > LONG_PIECE:
        edges = [edge for edge in edges if edge.start < end and edge.end > start][:EDGES_SHOWN]
    best = {(edge.start, edge.end) for edge in replay.best}
    near = [edge for edge in replay.best if edge.end > start - AROUND and edge.start < end + AROUND]
    is_short = len(piece) <= LONG_PIECE
    return {
        "piece": piece if is_short else "",
        "edges": [[e.start, e.end, e.token, e.score, e.known, (e.start, e.end) in best] for e in edges],
        "score": replay.score,
        "best": [[e.token, e.score] for e in near],
        "rivals": [[path.tokens, path.score] for path in replay.rivals] if is_short else [],
        "count": len(replay.edges),
    }
