"""The tokens of a text: their kinds, the characters and bytes they cover, and totals."""

from __future__ import annotations

import bisect
import functools
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy

from notebook_kit.inspection.drawing.letters import clean
from notebook_kit.inspection.tokens.backend import Backend
from notebook_kit.inspection.tokens.graphemes import byte_starts, clusters, scripts
from notebook_kit.inspection.tokens.stages import Trace

__all__ = ["Analysis", "Group", "RoundTrip", "ScriptCount", "Truncation"]

SPECIAL, UNKNOWN, ADDED, INSERTED, PART, SECOND = 1, 2, 4, 8, 16, 32
"""Flags of a token: a special token; the unknown token; an added token found in the text; inserted by post-processing; a part
of a grapheme cluster; in the second text."""

NEAR = 12  # characters shown around a difference


@dataclass(frozen=True)
class Group:
    """Tokens that share a grapheme cluster, or a single token that does not share one.

    Args:
        first: The position of its first token.
        count: The number of tokens.
        start, end: Its range of characters, extended to whole clusters.
    """

    first: int
    count: int
    start: int
    end: int


@dataclass(frozen=True)
class ScriptCount:
    """The share of a script: its characters (code points), and the tokens whose first letter is in it."""

    name: str
    characters: int
    tokens: int


@dataclass(frozen=True)
class RoundTrip:
    """Whether decoding the tokens restores the text.

    Args:
        ok: Whether the decoded text is identical.
        text: 0 for the first text, 1 for the second.
        at: The index of the first different character; of "lost" ones, the first that is lost.
        before, after: A few characters from there on, of the text and of the decoded text.
        why: The kind of the difference: "spaces", "case" (capital letters, and perhaps spaces), "normalised" (what the
            tokenizer's normalisation changes, such as accents), or "lost" if more than that is different; empty without one.
    """

    ok: bool
    text: int = 0
    at: int = -1
    before: str = ""
    after: str = ""
    why: str = ""


@dataclass(frozen=True)
class Truncation:
    """The effect of `model_max_length`.

    Args:
        limit: `model_max_length`; None for no limit.
        over: The number of tokens that are cut off.
        cuts: Per text, the first and the last character (exclusive) that are kept.
    """

    limit: int | None
    over: int = 0
    cuts: list[tuple[int, int]] = field(default_factory=list)


class Analysis:
    """The tokens of a text or of a pair of texts, as the tokenizer's backend returns them.

    Args:
        backend: The tokenizer.
        text: The text; lone surrogates are replaced by U+FFFD.
        pair: The second text; None or empty for none.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> backend = Backend(Tokenizer(models.BPE({"<0xE2>": 0, "<0x82>": 1, "<0xAC>": 2}, [], byte_fallback=True)))
        >>> analysis = Analysis(backend, "€")
        >>> analysis.tokens, [analysis.byte_span(i) for i in range(3)], len(analysis.groups)
        (['<0xE2>', '<0x82>', '<0xAC>'], [(0, 1), (1, 2), (2, 3)], 1)
    """

    def __init__(self, backend: Backend, text: str, pair: str | None = None) -> None:
        self.backend = backend
        self.texts: list[str] = [clean(one) for one in (text, pair or "")][: 2 if pair else 1]
        self.encoding = backend.encode(*self.texts)
        self.ids: list[int] = self.encoding.ids
        self.tokens: list[str] = self.encoding.tokens
        self.offsets: list[tuple[int, int]] = self.encoding.offsets
        self.sequences: list[int | None] = self.encoding.sequence_ids
        self._exact: dict[int, dict[int, tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    # Characters and bytes

    @functools.cached_property
    def _clusters(self) -> list[Any]:
        return [clusters(text) for text in self.texts]

    @functools.cached_property
    def _byte_starts(self) -> list[Any]:
        return [byte_starts(text) for text in self.texts]

    @functools.cached_property
    def traces(self) -> list[Trace]:
        """The stages of each text."""
        return [Trace(self.backend, text) for text in self.texts]

    def covered(self, position: int) -> str:
        """The characters that a token covers; empty for an inserted token."""
        sequence = self.sequences[position]
        if sequence is None:
            return ""
        start, end = self.offsets[position]
        return self.texts[sequence][start:end]

    @functools.cached_property
    def flags(self) -> list[int]:
        """What each token is, as a sum of the flags of this module."""
        known = set(self.backend.added)
        special, unk_id = self.backend.special_ids, self.backend.unk_id
        flags = []
        for id, sequence, offset in zip(self.ids, self.sequences, self.offsets, strict=True):
            flag = SPECIAL if id in special else 0
            if sequence is None:
                flags.append(flag | INSERTED)
                continue
            if id in known and self._is_added(sequence, offset):
                flag |= ADDED
            elif id == unk_id:
                flag |= UNKNOWN  # produced by the model, not typed in the text
            flags.append(flag | (SECOND if sequence else 0))
        for group in self.groups:
            if group.count > 1:
                for position in range(group.first, group.first + group.count):
                    flags[position] |= PART
        return flags

    def _is_added(self, sequence: int, offset: tuple[int, int]) -> bool:
        start, end = offset
        return any(a <= start < b or a < end <= b for a, b in self._near_added(sequence, start))

    def _near_added(self, sequence: int, start: int) -> list[tuple[int, int]]:
        spans = self.traces[sequence].added
        at = bisect.bisect_right(spans, (start, start))
        return spans[max(0, at - 1) : at + 1]

    @functools.cached_property
    def groups(self) -> list[Group]:
        """The tokens, grouped if they share a grapheme cluster."""
        groups: list[Group] = []
        ends = [self._cluster_ends(sequence) for sequence in range(len(self.texts))]
        last = None  # sequence, end of the open group, in characters
        for position, (sequence, (start, end)) in enumerate(zip(self.sequences, self.offsets, strict=True)):
            if sequence is None or start >= end:
                groups.append(Group(position, 1, 0, 0) if sequence is None else Group(position, 1, start, end))
                last = None
                continue
            numbers = self._clusters[sequence]
            open_ = last is not None and last[0] == sequence
            if open_ and (start < last[1] or numbers[start] == numbers[last[1] - 1]):  # type: ignore[index]
                group = groups[-1]
                end = max(end, last[1])  # type: ignore[index]
                groups[-1] = Group(group.first, group.count + 1, group.start, int(ends[sequence][end - 1]))
            else:
                groups.append(Group(position, 1, start, int(ends[sequence][end - 1])))
            last = (sequence, end)
        return groups

    def _cluster_ends(self, sequence: int) -> Any:
        """The end of each character's cluster."""
        numbers = self._clusters[sequence]
        if not len(numbers):
            return numbers
        borders = numpy.flatnonzero(numpy.diff(numbers)) + 1
        stops = numpy.append(borders, len(numbers))
        return stops[numbers]

    @functools.cached_property
    def group_of(self) -> list[int]:
        """Position of a token -> the number of its group."""
        return [number for number, group in enumerate(self.groups) for _ in range(group.count)]

    def bytes_of(self, position: int) -> bytes | None:
        """The bytes that a token stands for: its own if the tokenizer works on bytes, else those of its characters.

        None for an inserted token.
        """
        if self.sequences[position] is None:
            return None
        own = self.backend.bytes_of(self.tokens[position], self.covered(position))
        return own if own is not None else self.covered(position).encode()

    def byte_span(self, position: int) -> tuple[int, int]:
        """The start and end of a token in the UTF-8 of its text.

        For a part of a character these are its own bytes, if they are known: if the tokenizer works on bytes and normalisation
        did not change them. Otherwise they are the bytes of the characters that it covers.
        """
        sequence = self.sequences[position]
        if sequence is None:
            return (0, 0)
        number = self.group_of[position]
        if self.groups[number].count > 1:
            if number not in self._exact:
                self._exact[number] = self._exact_bytes(self.groups[number], sequence)
            if position in self._exact[number]:
                return self._exact[number][position]
        start, end = self.offsets[position]
        at = self._byte_starts[sequence]
        return int(at[start]), int(at[end])

    def _exact_bytes(self, group: Group, sequence: int) -> dict[int, tuple[int, int]]:
        """Position -> the span of the token's bytes in the text, for those tokens of a group where it is known."""
        found: dict[int, tuple[int, int]] = {}
        run: list[tuple[int, bytes]] = []  # consecutive tokens that stand for bytes

        def finish_run() -> None:
            if not run:
                return
            spans = [self.offsets[position] for position, _ in run]
            start, end = min(start for start, _ in spans), max(end for _, end in spans)
            whole, text = b"".join(own for _, own in run), self.texts[sequence][start:end].encode()
            extra = len(whole) - len(text)  # leading spaces that the tokenizer inserted, or whose offsets it trimmed
            if extra >= 0 and not whole[:extra].strip(b" ") and whole[extra:] == text:
                low = int(self._byte_starts[sequence][start])
                at = low - extra
                for position, own in run:
                    found[position] = (max(at, low), max(at + len(own), low))
                    at += len(own)
            run.clear()

        for position in range(group.first, group.first + group.count):
            own = self.backend.bytes_of(self.tokens[position], self.covered(position))
            if own is None or self.flags[position] & (ADDED | UNKNOWN):
                finish_run()
            else:
                run.append((position, own))
        finish_run()
        return found

    # Totals

    @functools.cached_property
    def characters(self) -> int:
        """The number of code points of the texts."""
        return sum(map(len, self.texts))

    @functools.cached_property
    def graphemes(self) -> int:
        """The number of grapheme clusters: characters as people see them."""
        return sum(int(numbers[-1]) + 1 if len(numbers) else 0 for numbers in self._clusters)

    @functools.cached_property
    def words(self) -> int:
        """The number of words, separated by white space."""
        return sum(len(text.split()) for text in self.texts)

    @functools.cached_property
    def inserted(self) -> int:
        """The number of tokens that post-processing inserted."""
        return sum(sequence is None for sequence in self.sequences)

    @functools.cached_property
    def unknown(self) -> int:
        """The number of unknown tokens."""
        return sum(bool(flag & UNKNOWN) for flag in self.flags)

    @functools.cached_property
    def scripts(self) -> list[ScriptCount]:
        """The scripts of the texts, the most frequent first."""
        characters: dict[str, int] = {}
        tokens: dict[str, int] = {}
        for sequence, text in enumerate(self.texts):
            names, index = scripts(text)
            for name, count in zip(names, numpy.bincount(index, minlength=len(names)), strict=True):
                characters[name] = characters.get(name, 0) + int(count)
            spans = numpy.array(
                [
                    span
                    for span, owner in zip(self.offsets, self.sequences, strict=True)
                    if owner == sequence and span[0] < span[1]
                ],
                dtype=numpy.int64,
            ).reshape(-1, 2)
            neutral = [number for number, name in enumerate(names) if name in ("Common", "Inherited")]
            letters = numpy.flatnonzero(~numpy.isin(index, neutral))
            after = numpy.append(letters, len(text))
            following = after[numpy.searchsorted(letters, spans[:, 0])] if len(spans) else spans[:, 0]
            has_letter = following < spans[:, 1]
            for number, count in enumerate(numpy.bincount(index[following[has_letter]], minlength=len(names))):
                tokens[names[number]] = tokens.get(names[number], 0) + int(count)
            if not has_letter.all():
                tokens["Common"] = tokens.get("Common", 0) + int((~has_letter).sum())
        ordered = sorted(characters, key=lambda name: -characters[name])
        return [ScriptCount(name, characters[name], tokens.get(name, 0)) for name in ordered]

    @functools.cached_property
    def round_trip(self) -> RoundTrip:
        """Whether decode(encode(text)) is the text, without inserting or skipping special tokens."""
        for number, text in enumerate(self.texts):
            ids = [id for id, sequence in zip(self.ids, self.sequences, strict=True) if sequence == number]
            back = self.backend.tokenizer.decode(ids, skip_special_tokens=False)
            if back != text:
                why = self._why(text, back)
                at = there = _first_difference(text, back)
                if why == "lost":
                    at, there = self._first_loss(text, back) or (at, there)
                return RoundTrip(False, number, at, text[at : at + NEAR], back[there : there + NEAR], why)
        return RoundTrip(True)

    def _first_loss(self, text: str, back: str) -> tuple[int, int] | None:
        """Where, in both, the decoded text differs by more than spaces, capital letters and what normalisation changes."""
        normalizer = self.backend.tokenizer.normalizer
        decoded = [(place, character) for place, character in enumerate(back) if not character.isspace()]
        reached = 0
        for at, character in enumerate(text):
            for letter in character if normalizer is None else normalizer.normalize_str(character):
                if letter.isspace():
                    continue
                there, other = decoded[reached] if reached < len(decoded) else (len(back), "")
                if letter.casefold() != other.casefold():
                    return at, there
                reached += 1
        return None

    def _why(self, text: str, back: str) -> str:
        bare, decoded = "".join(text.split()), "".join(back.split())
        if bare == decoded:
            return "spaces"
        if bare.casefold() == decoded.casefold():
            return "case"
        normalizer = self.backend.tokenizer.normalizer
        normalised = text if normalizer is None else normalizer.normalize_str(text)
        return "normalised" if "".join(normalised.split()) == decoded else "lost"

    @functools.cached_property
    def truncation(self) -> Truncation:
        """Where the backend would truncate the text at `model_max_length`."""
        limit = self.backend.limit
        if limit is None or len(self) <= limit:
            return Truncation(limit)
        if limit <= self.inserted:
            return Truncation(limit, len(self) - limit, [(0, 0) for _ in self.texts])
        kept = self.backend.encode_cut(limit, *self.texts)
        cuts = []
        for number in range(len(self.texts)):
            spans = [span for span, owner in zip(kept.offsets, kept.sequence_ids, strict=True) if owner == number]
            cuts.append((min(s for s, _ in spans), max(e for _, e in spans)) if spans else (0, 0))
        return Truncation(limit, len(self) - len(kept.ids), cuts)

    def totals(self) -> dict[str, Any]:
        """All totals as JSON values."""
        own = len(self) - self.inserted
        return {
            "tokens": len(self),
            "own": own,
            "inserted": self.inserted,
            "unknown": self.unknown,
            "parts": sum(bool(flag & PART) for flag in self.flags),
            "characters": self.characters,
            "graphemes": self.graphemes,
            "bytes": sum(int(starts[-1]) for starts in self._byte_starts),
            "words": self.words,
            "per_word": round(own / self.words, 2) if self.words else None,
            "scripts": [asdict(script) for script in self.scripts],
            "round_trip": asdict(self.round_trip),
            "truncation": asdict(self.truncation),
        }

    def records(self) -> list[dict[str, Any]]:
        """One record per token, with the columns of `TokenInspector.table`."""
        records = []
        for position, (id, token, flag) in enumerate(zip(self.ids, self.tokens, self.flags, strict=True)):
            start, end = self.offsets[position]
            sequence = self.sequences[position]
            byte_start, byte_end = self.byte_span(position)
            bytes_ = self.bytes_of(position)
            records.append(
                {
                    "token": token,
                    "id": id,
                    "text": self.covered(position),
                    "sequence": sequence,
                    "start": start if sequence is not None else None,
                    "end": end if sequence is not None else None,
                    "byte_start": byte_start if sequence is not None else None,
                    "byte_end": byte_end if sequence is not None else None,
                    "bytes": bytes_,
                    "part_of": self._whole(position) if flag & PART else None,
                    "rank": self.backend.rank(id),
                    "score": self.backend.score(id),
                    "special": bool(flag & SPECIAL),
                    "unknown": bool(flag & UNKNOWN),
                    "added": bool(flag & ADDED),
                    "inserted": bool(flag & INSERTED),
                }
            )
        return records

    def _whole(self, position: int) -> str:
        group = self.groups[self.group_of[position]]
        sequence = self.sequences[position]
        return self.texts[sequence][group.start : group.end] if sequence is not None else ""

    def detail(self, position: int) -> dict[str, Any]:
        """The facts about one token, as JSON values."""
        id, flag, sequence = self.ids[position], self.flags[position], self.sequences[position]
        own = self.bytes_of(position)
        return {
            "position": position,
            "token": self.tokens[position],
            "id": id,
            "flags": flag,
            "text": self.covered(position),
            "span": list(self.offsets[position]) if sequence is not None else None,
            "byte_span": list(self.byte_span(position)) if sequence is not None else None,
            "bytes": own.hex(" ").upper() if own is not None else None,
            "whole": self._whole(position) if flag & PART else None,
            "rank": self.backend.rank(id),
            "score": self.backend.score(id),
            "sequence": sequence,
            "type_id": self.encoding.type_ids[position],
        }


def _first_difference(a: str, b: str) -> int:
    low, high = 0, min(len(a), len(b))
    while low < high:  # binary search with slices, which is fast for long texts
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
