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
        rank: Its place in the list of merges, from 0; the lowest goes first.
        left, right, result: The spellings.
        at: Where `left` stands among the symbols of that moment.
        start, end: The characters of the piece that `result` covers.
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
        symbols: What the piece falls into at first.
        merges: What was merged, in order.
        tokens: What is left, each with the characters of the piece that it covers.
        whole: The whole piece is an entry of the vocabulary and is taken without merging.
    """

    symbols: list[str]
    merges: list[Merge]
    tokens: list[tuple[str, int, int]]
    whole: bool = False


class BPE:
    """A BPE model as its tokenizer.json states it.

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
        """Id of a token -> the rank of the first merge that makes it."""
        for rank, pair in enumerate(state["merges"]):
            left, right = pair.split(" ") if isinstance(pair, str) else pair
            made = self.vocab[left + right[len(self.prefix) :]]
            self.merges[self.vocab[left], self.vocab[right]] = (rank, made)
            self.rank.setdefault(made, rank)

    def replay(self, piece: str) -> Replay:
        """Tokenize one piece, and keep what happened."""
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
            _, at, made = heapq.heappop(queue)
            if not alive[at] or after[at] < 0:
                continue
            other = after[at]
            found = self.merges.get((ids[at], ids[other]))
            if found is None or found[1] != made:  # one of the two has merged otherwise meanwhile
                continue
            done.append((found[0], ids[at], ids[other], made, at))
            alive[other] = False
            ids[at], ends[at], after[at] = made, ends[other], after[other]
            if after[at] >= 0:
                before[after[at]] = at
            propose(before[at])
            propose(at)
        tokens = [(self.spelling[ids[at]], starts[at], ends[at]) for at in range(len(ids)) if alive[at]]
        first = [self.spelling[id] for id, _, _ in symbols]
        return Replay(first, self._placed(done, symbols), tokens)

    def _placed(self, done: list[tuple[int, int, int, int, int]], symbols: list[tuple[int, int, int]]) -> list[Merge]:
        """Say where each merge stood among the symbols of its moment."""
        # A Fenwick tree counts the symbols that are gone before a place, so that long pieces stay quick.
        size = len(symbols)
        gone = [0] * (size + 1)
        end_of, next_of = [end for _, _, end in symbols], list(range(1, size + 1))
        merges = []
        for rank, left, right, made, at in done:
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
                    self.spelling[made],
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
        """The first symbols as (id, start, end)."""
        found: list[tuple[int, int, int]] = []
        unknown: tuple[int, int] | None = None  # the characters that wait to become the unknown token
        unk_id = self.vocab.get(self.unk_token) if self.unk_token is not None else None

        def settle() -> None:
            nonlocal unknown
            if unknown is not None and unk_id is not None:
                found.append((unk_id, *unknown))
            unknown = None

        for at, character in enumerate(piece):
            symbol = (self.prefix if at else "") + character + (self.suffix if at == len(piece) - 1 else "")
            id = self.vocab.get(symbol)
            if id is not None:
                settle()
                found.append((id, at, at + 1))
                continue
            if self.byte_fallback:
                ids = [self.vocab.get(f"<0x{byte:02X}>") for byte in symbol.encode()]
                if None not in ids:
                    # As in the backend, waiting unknown characters stay behind these bytes.
                    found.extend((id, at, at + 1) for id in ids if id is not None)
                    continue
            if unk_id is None:
                continue  # the backend drops the character
            if unknown is not None and self.fuse_unk:
                unknown = (unknown[0], at + 1)
            else:
                settle()
                unknown = (at, at + 1)
        settle()
        return found
