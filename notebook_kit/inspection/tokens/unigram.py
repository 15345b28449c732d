"""Unigram: the likeliest of all segmentations of a piece (Kudo, 2018), found with the Viterbi algorithm as in the backend."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Edge", "Path", "Replay", "Unigram"]

UNKNOWN_PENALTY = 10.0
"""The score of an unknown character is this far below the lowest score of the vocabulary, in nats."""


@dataclass(frozen=True)
class Edge:
    """An entry of the vocabulary that matches a part of the piece.

    Args:
        start, end: The range of characters of the piece.
        token: The spelling.
        score: The natural logarithm of its probability.
        known: False for a character that is not in the vocabulary.
    """

    start: int
    end: int
    token: str
    score: float
    known: bool = True


@dataclass(frozen=True)
class Path:
    """One segmentation of the piece.

    Args:
        tokens: The tokens.
        score: The sum of their scores.
    """

    tokens: list[str]
    score: float


@dataclass(frozen=True)
class Replay:
    """How a piece became tokens.

    Args:
        edges: All entries that match a part of the piece.
        best: The edges of the best path, in order.
        score: The sum of their scores.
        rivals: The best paths, the winner first.
        tokens: The resulting tokens, each with the range of characters of the piece that it covers.
    """

    edges: list[Edge]
    best: list[Edge]
    score: float
    rivals: list[Path]
    tokens: list[tuple[str, int, int]]


class Unigram:
    """A Unigram model from a tokenizer.json.

    Args:
        state: The "model" of a tokenizer.json.

    Example:
        >>> vocab = [["<unk>", 0.0], ["h", -3.0], ["u", -3.0], ["g", -3.0], ["ug", -4.0], ["hug", -8.0]]
        >>> replay = Unigram({"vocab": vocab, "unk_id": 0}).replay("hug")
        >>> [edge.token for edge in replay.best], replay.score
        (['h', 'ug'], -7.0)
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        entries: list[tuple[str, float]] = [(token, score) for token, score in state["vocab"]]
        self.vocab = {token: id for id, (token, _) in enumerate(entries)}
        self.scores = [score for _, score in entries]
        self.unk_id: int | None = state.get("unk_id")
        self.byte_fallback = bool(state.get("byte_fallback"))
        self.fuse_unk = True
        self.unknown_score = min(self.scores, default=0.0) - UNKNOWN_PENALTY
        self._sorted = sorted(token for token in self.vocab if token)
        best_first = sorted(range(len(self.scores)), key=lambda id: -self.scores[id])
        self.rank = {id: place for place, id in enumerate(best_first)}
        """Id -> its rank among all entries by score, from 0."""

    def edges_from(self, piece: str, start: int) -> Iterator[Edge]:
        """The entries that match at a place, the shortest first."""
        low, high = 0, len(self._sorted)
        single = False
        for end in range(start + 1, len(piece) + 1):
            prefix = piece[start:end]
            low = bisect.bisect_left(self._sorted, prefix, low, high)
            # No character sorts after U+10FFFF, so this is the end of the entries that start with the prefix.
            high = bisect.bisect_right(self._sorted, prefix + "\U0010ffff", low, high)
            if low == high:
                break
            if self._sorted[low] == prefix:
                single = single or end == start + 1
                yield Edge(start, end, prefix, self.scores[self.vocab[prefix]])
        if not single:
            yield Edge(start, start + 1, piece[start], self.unknown_score, known=False)

    def replay(self, piece: str, rivals: int = 3) -> Replay:
        """Tokenize one piece and record the steps.

        Args:
            piece: The text after pre-tokenisation.
            rivals: The number of best paths to return.
        """
        size = len(piece)
        best: list[tuple[float, Edge | None]] = [(0.0, None) for _ in range(size + 1)]
        ways: list[list[tuple[float, int, Edge | None]]] = [[] for _ in range(size + 1)]
        ways[0] = [(0.0, -1, None)]
        edges: list[Edge] = []
        for start in range(size):
            for edge in self.edges_from(piece, start):
                edges.append(edge)
                offers: list[tuple[float, int, Edge | None]]
                score = edge.score + best[start][0]
                if best[edge.end][1] is None or score > best[edge.end][0]:
                    best[edge.end] = (score, edge)
                offers = [(so_far + edge.score, way, edge) for way, (so_far, _, _) in enumerate(ways[start])]
                ways[edge.end] = sorted(ways[edge.end] + offers, key=lambda offer: -offer[0])[:rivals]
        path: list[Edge] = []
        at = size
        while at > 0:
            edge = best[at][1]  # type: ignore[assignment]
            path.append(edge)
            at = edge.start
        path.reverse()
        return Replay(edges, path, best[size][0], self._rivals(ways, size), self._tokens(piece, path))

    def _rivals(self, ways: list[list[tuple[float, int, Edge | None]]], size: int) -> list[Path]:
        paths = []
        for score, way, edge in ways[size]:
            tokens: list[str] = []
            while edge is not None:
                tokens.append(edge.token)
                _, way, edge = ways[edge.start][way]
            paths.append(Path(tokens[::-1], score))
        return paths

    def _tokens(self, piece: str, path: list[Edge]) -> list[tuple[str, int, int]]:
        spans: list[tuple[int, int, bool]] = []
        for edge in path:
            unknown = not edge.known or self.vocab[edge.token] == self.unk_id
            if unknown and self.fuse_unk and spans and spans[-1][2]:
                spans[-1] = (spans[-1][0], edge.end, True)
            else:
                spans.append((edge.start, edge.end, unknown))
        tokens: list[tuple[str, int, int]] = []
        for start, end, _ in spans:
            spelling = piece[start:end]
            pieces = [f"<0x{byte:02X}>" for byte in spelling.encode()]
            if spelling not in self.vocab and self.byte_fallback and all(name in self.vocab for name in pieces):
                tokens += [(name, start, end) for name in pieces]
            else:
                tokens.append((spelling, start, end))
        return tokens
