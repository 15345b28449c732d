"""Byte-pair encoding, merge by merge (Sennrich et al., 2016), in the order in which the `tokenizers` backend merges."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["BPE", "Merge", "Replay"]


@dataclass(frozen=True)
class Merge:
    """One merge of two neighbours.

    Args:
        rank: Its rank in the list of merges, from 0; the lowest is applied first.
        left, right, result: The spellings.
        at: The index of `left` among the symbols at that step.
        start, end: The range of characters of the piece that `result` covers.
    """

    rank: int
    left: str
    right: str
    result: str
    at: int
    start: int
    end: int


@dataclass(frozen=True)
class Replay:
    """How a piece became tokens.

    Args:
        symbols: The initial symbols of the piece.
        merges: The merges, in order.
        tokens: The resulting tokens, each with the range of characters of the piece that it covers.
        whole: Whether the whole piece is an entry of the vocabulary, used without merging.
    """

    symbols: list[str]
    merges: list[Merge]
    tokens: list[tuple[str, int, int]]
    whole: bool = False


class BPE:
    """A BPE model from a tokenizer.json.

    Args:
        state: The "model" of a tokenizer.json.

    Example:
        >>> model = BPE({"vocab": {"h": 0, "u": 1, "g": 2, "ug": 3, "hug": 4}, "merges": [["u", "g"], ["h", "ug"]]})
        >>> replay = model.replay("hug")
        >>> [(merge.left, merge.right) for merge in replay.merges]
        [('u', 'g'), ('h', 'ug')]
        >>> replay.tokens
        [('hug', 0, 3)]
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.vocab: dict[str, int] = dict(state["vocab"])
        self.spelling = {id: token for token, id in self.vocab.items()}
        self.prefix: str = state.get("continuing_subword_prefix") or ""
        self.suffix: str = state.get("end_of_word_suffix") or ""
        self.unk_token: str | None = state.get("unk_token")
        self.fuse_unk = bool(state.get("fuse_unk"))
        self.byte_fallback = bool(state.get("byte_fallback"))
        self.ignore_merges = bool(state.get("ignore_merges"))
        self.merges: dict[tuple[int, int], tuple[int, int]] = {}
        self.rank: dict[int, int] = {}
        """Id of a token -> the rank of the first merge that creates it."""
        for rank, pair in enumerate(state["merges"]):
            left, right = pair.split(" ") if isinstance(pair, str) else pair
            merged = self.vocab[left + right[len(self.prefix) :]]
            self.merges[self.vocab[left], self.vocab[right]] = (rank, merged)
            self.rank.setdefault(merged, rank)

    def replay(self, piece: str) -> Replay:
        """Tokenize one piece and record the steps."""
        if self.ignore_merges and piece in self.vocab:
            return Replay([piece], [], [(piece, 0, len(piece))], whole=True)
        symbols = self._symbols(piece)
        ids = [id for id, _, _ in symbols]
        starts, ends = [start for _, start, _ in symbols], [end for _, _, end in symbols]
        last = len(ids) - 1
        before, after = list(range(-1, last)), [*range(1, last + 1), -1]
        alive = [True] * len(ids)
        queue: list[tuple[int, int, int]] = []

        def propose(at: int) -> None:
            if at >= 0 and after[at] >= 0:
                found = self.merges.get((ids[at], ids[after[at]]))
                if found:
                    heapq.heappush(queue, (found[0], at, found[1]))

        for at in range(len(ids)):
            propose(at)
        done: list[tuple[int, int, int, int, int]] = []
        while queue:
            _, at, merged = heapq.heappop(queue)
            if not alive[at] or after[at] < 0:
                continue
            other = after[at]
            found = self.merges.get((ids[at], ids[other]))
            if found is None or found[1] != merged:  # one of the two was part of another merge in the meantime
                continue
            done.append((found[0], ids[at], ids[other], merged, at))
            alive[other] = False
            ids[at], ends[at], after[at] = merged, ends[other], after[other]
            if after[at] >= 0:
                before[after[at]] = at
            propose(before[at])
            propose(at)
        tokens = [(self.spelling[ids[at]], starts[at], ends[at]) for at in range(len(ids)) if alive[at]]
        first = [self.spelling[id] for id, _, _ in symbols]
        return Replay(first, self._placed(done, symbols), tokens)

    def _placed(self, done: list[tuple[int, int, int, int, int]], symbols: list[tuple[int, int, int]]) -> list[Merge]:
        """The merges with their indices among the symbols at their step."""
        # A Fenwick tree counts the symbols that were merged away before a place, which is fast for long pieces.
        size = len(symbols)
        gone = [0] * (size + 1)
        end_of, next_of = [end for _, _, end in symbols], list(range(1, size + 1))
        merges = []
        for rank, left, right, merged, at in done:
            other = next_of[at]
            count, place = 0, at
            while place > 0:
                count += gone[place]
                place -= place & -place
            end_of[at], next_of[at] = end_of[other], next_of[other]
            merges.append(
                Merge(
                    rank,
                    self.spelling[left],
                    self.spelling[right],
                    self.spelling[merged],
                    at - count,
                    symbols[at][1],
                    end_of[at],
                )
            )
            place = other + 1
            while place <= size:
                gone[place] += 1
                place += place & -place
        return merges

    def _symbols(self, piece: str) -> list[tuple[int, int, int]]:
        """The initial symbols as (id, start, end)."""
        found: list[tuple[int, int, int]] = []
        unknown: tuple[int, int] | None = None  # the span of pending unknown characters
        unk_id = self.vocab.get(self.unk_token) if self.unk_token is not None else None

        def add_unknown() -> None:
            nonlocal unknown
            if unknown is not None and unk_id is not None:
                found.append((unk_id, *unknown))
            unknown = None

        for at, character in enumerate(piece):
            symbol = (self.prefix if at else "") + character + (self.suffix if at == len(piece) - 1 else "")
            id = self.vocab.get(symbol)
            if id is not None:
                add_unknown()
                found.append((id, at, at + 1))
                continue
            if self.byte_fallback:
                ids = [self.vocab.get(f"<0x{byte:02X}>") for byte in symbol.encode()]
                if None not in ids:
                    # As in the backend, pending unknown characters come after these bytes.
                    found.extend((id, at, at + 1) for id in ids if id is not None)
                    continue
            if unk_id is None:
                continue  # the backend drops the character
            if unknown is not None and self.fuse_unk:
                unknown = (unknown[0], at + 1)
            else:
                add_unknown()
                unknown = (at, at + 1)
        add_unknown()
        return found
