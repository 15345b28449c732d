"""How one piece of a text went through a tokenizer's stages, with the model's steps re-played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from notebook_kit.inspection.tokens.analysis import Analysis
from notebook_kit.inspection.tokens.bpe import BPE
from notebook_kit.inspection.tokens.stages import Piece, part_names
from notebook_kit.inspection.tokens.unigram import Unigram
from notebook_kit.inspection.tokens.wordpiece import WordPiece

__all__ = ["Story", "story"]

MERGES_SHOWN = 200
EDGES_SHOWN = 400
LONG_PIECE = 60
"""Of a piece with more characters only what is near the token is shown."""
AROUND = 40
"""Characters, and tokens, that are near."""


@dataclass(frozen=True)
class Story:
    """How one piece of the text became tokens.

    Args:
        stages: JSON values per stage: "added", "normalizer", "pre_tokenizer", "model", "post_processor".
        exact: The re-played model ended in the very tokens of `encode`.
    """

    stages: dict[str, Any]
    exact: bool


def story(analysis: Analysis, position: int) -> Story:
    """How the piece of the text around a token went through the stages.

    Returns:
        JSON values per stage: "added", "normalizer", "pre_tokenizer", "model", "post_processor"; and whether the
        re-played model ended in the very tokens of `encode`.
    """
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
    given = [analysis.tokens[i] for i in members]
    stages["model"], exact = _model_story(analysis, piece.text, given, members.index(position))
    return Story(stages, exact)


def _short(text: str) -> str:
    return text if len(text) <= LONG_PIECE else text[: LONG_PIECE - 1] + "…"


def _source(analysis: Analysis, piece: Piece, sequence: int) -> list[str]:
    """The text of a piece whose spelling in bytes cannot be read."""
    text = analysis.texts[sequence][piece.start : piece.end]
    return [_short(text)] if analysis.backend.byte_level and not text.isascii() else []


def _fits(analysis: Analysis, piece: Any, position: int) -> bool:
    start, end = analysis.offsets[position]
    # Post-processing may trim offsets, so a token lies within its piece.
    return (piece.start <= start and end <= piece.end) or start == end


def _model_story(analysis: Analysis, piece: str, given: list[str], mine: int) -> tuple[dict[str, Any], bool]:
    """The model's steps on one piece, and whether they end in what `encode` gave."""
    backend = analysis.backend
    model = backend.replayer
    first = max(0, mine - AROUND)
    story: dict[str, Any] = {
        "type": backend.model_type,
        "made": len(given),
        "tokens": given[first : first + 2 * AROUND],
        "first": first,
        "at": mine - first,
    }
    if model is None:
        real = [token.value for token in backend.tokenizer.model.tokenize(piece)]
        return {
            **story,
            "known": [token.id != backend.unk_id for token in backend.tokenizer.model.tokenize(piece)][:400],
        }, real == given
    replay: Any = model.replay(piece)
    exact = [token for token, _, _ in replay.tokens] == given
    if isinstance(model, BPE):
        merges = replay.merges
        start, end = replay.tokens[mine][1:] if exact else (0, len(piece))
        whole = len(merges) <= MERGES_SHOWN and len(replay.symbols) <= 64
        if not whole:
            merges = [merge for merge in merges if start <= merge.start and merge.end <= end]
        story |= {
            "symbols": replay.symbols[:64] if whole else [],
            "merges": [[m.rank, m.left, m.right, m.result, m.at] for m in merges[:MERGES_SHOWN]],
            "count": len(replay.merges),
            "whole": replay.whole,
            "replayable": whole,
        }
    elif isinstance(model, WordPiece):
        story |= {
            "matches": [[m.start, m.tried[:100], m.token, m.end] for m in replay.matches],
            "too_long": replay.too_long,
            "longest": model.longest,
            "prefix": model.prefix,
        }
    elif isinstance(model, Unigram):
        best = {(edge.start, edge.end) for edge in replay.best}
        start, end = replay.tokens[mine][1:] if exact else (0, len(piece))
        edges = replay.edges
        if len(edges) > EDGES_SHOWN or len(piece) > LONG_PIECE:
            edges = [edge for edge in edges if edge.start < end and edge.end > start][:EDGES_SHOWN]
        near = [edge for edge in replay.best if edge.end > start - AROUND and edge.start < end + AROUND]
        rivals = replay.rivals if len(piece) <= LONG_PIECE else []
        story |= {
            "piece": piece if len(piece) <= LONG_PIECE else "",
            "edges": [[e.start, e.end, e.token, e.score, e.known, (e.start, e.end) in best] for e in edges],
            "score": replay.score,
            "best": [[e.token, e.score] for e in near],
            "rivals": [[path.tokens, path.score] for path in rivals],
            "count": len(replay.edges),
        }
    return story, exact
