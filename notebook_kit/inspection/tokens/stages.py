"""The stages of a tokenizer before the model, each run with the tokenizer's own part, and their intermediate results."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, NormalizedString, PreTokenizedString, Regex, Tokenizer, models

from notebook_kit.inspection.tokens.backend import Backend

__all__ = ["Chunk", "Piece", "Trace", "part_names"]


@dataclass(frozen=True)
class Chunk:
    """A few characters before and after normalisation.

    Args:
        start, end: The range of characters of the text; empty for an insertion.
        before: The characters before normalisation.
        after: The characters after normalisation; empty if they were removed.
    """

    start: int
    end: int
    before: str
    after: str


@dataclass(frozen=True)
class Piece:
    """A piece of the text after pre-tokenisation; the model tokenizes one piece at a time.

    Args:
        start, end: Its range of characters of the text.
        text: The piece as the model receives it.
        added: Whether it is an added token, which skips the other stages.
    """

    start: int
    end: int
    text: str
    added: bool = False


class Trace:
    """The stages of one text before the model.

    Args:
        backend: The tokenizer.
        text: The text.

    Example:
        >>> from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
        >>> tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        >>> tokenizer.normalizer = normalizers.Lowercase()
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> trace = Trace(Backend(tokenizer), "Hi you")
        >>> [piece.text for piece in trace.pieces], [(c.before, c.after) for c in trace.chunks if c.before != c.after]
        (['hi', 'you'], [('H', 'h')])
    """

    def __init__(self, backend: Backend, text: str) -> None:
        self.backend, self.text = backend, text
        self._tokenizer = backend.tokenizer

    @functools.cached_property
    def raw_added(self) -> list[tuple[int, int]]:
        """The spans of added tokens that were found in the text before normalisation."""
        return [span[:2] for span in _finder(self.backend, normalized=False).spans(self.text)]

    @functools.cached_property
    def segments(self) -> list[tuple[int, int]]:
        """The spans between them, which are normalised separately."""
        return _between(self.raw_added, len(self.text))

    @functools.cached_property
    def _normalized(self) -> tuple[list[str], list[list[tuple[int, int]]]]:
        """The normalised text of each segment, and the spans of added tokens that were found in it."""
        texts = [text for text, _, _ in self._normalize().get_splits()] if self.segments else []
        finder = _finder(self.backend, normalized=True)
        return texts, [[span[:2] for span in finder.spans(text)] for text in texts]

    def _normalize(self) -> PreTokenizedString:
        state = PreTokenizedString(self.text)
        segments = self.segments
        state.split(lambda _, whole: [whole[start:end] for start, end in segments])
        if self._tokenizer.normalizer is not None:
            state.normalize(self._tokenizer.normalizer.normalize)
        return state

    def _split_added(self, state: PreTokenizedString, keep: bool) -> PreTokenizedString:
        """Split at the added tokens that are found after normalisation; keep either these tokens or the text between."""
        texts, found = self._normalized
        rest = iter([(spans, len(text)) for text, spans in zip(texts, found, strict=True)])
        if not any(found):
            if keep:
                state.split(lambda _, part: [])
            return state

        def cut(_: int, part: NormalizedString) -> list[NormalizedString]:
            spans, size = next(rest)
            return [part[start:end] for start, end in (spans if keep else _between(spans, size))]  # type: ignore[misc]

        state.split(cut)
        return state

    @functools.cached_property
    def added(self) -> list[tuple[int, int]]:
        """The spans of all added tokens in the text, including those found after normalisation."""
        late: list[tuple[int, int]] = []
        if any(self._normalized[1]):
            splits = self._split_added(self._normalize(), keep=True).get_splits("original", "char")
            late = [span for _, span, _ in splits]
        return sorted([*self.raw_added, *late])

    @functools.cached_property
    def pieces(self) -> list[Piece]:
        """The pieces that the model receives, and the added tokens between them, in the order of the text."""
        found: list[Piece] = []
        if self.segments:
            state = self._split_added(self._normalize(), keep=False)
            if self._tokenizer.pre_tokenizer is not None:
                self._tokenizer.pre_tokenizer.pre_tokenize(state)
            found = [Piece(*span, text) for text, span, _ in state.get_splits("original", "char") if text]
        tokens = [Piece(start, end, self.text[start:end], added=True) for start, end in self.added]
        if not tokens:
            return found
        merged, waiting = [], iter(tokens)
        token = next(waiting, None)
        for piece in found:
            while token is not None and token.end <= piece.start:
                merged.append(token)
                token = next(waiting, None)
            merged.append(piece)
        return merged + ([token] if token else []) + list(waiting)

    @functools.cached_property
    def chunks(self) -> list[Chunk]:
        """The text before and after normalisation, character by character, as aligned by the backend."""
        if self._tokenizer.normalizer is None:
            return []
        state = self._normalize()
        state.split(lambda _, part: part.split(Regex(r"(?m:.)"), "isolated"))
        # Characters with overlapping spans (one became several, or several became one) form one chunk.
        groups: list[tuple[int, int, str]] = []
        for after, (start, end), _ in state.get_splits("original", "char"):
            if groups and start < groups[-1][1]:
                groups[-1] = (groups[-1][0], max(end, groups[-1][1]), groups[-1][2] + after)
            else:
                groups.append((start, end, after))
        chunks: list[Chunk] = []
        at, kept = 0, iter(self.raw_added)
        skip = next(kept, None)

        def removed(upto: int) -> None:
            nonlocal at, skip
            while at < upto:
                if skip is not None and skip[0] <= at:
                    at, skip = max(at, skip[1]), next(kept, None)
                    continue
                stop = min(upto, skip[0]) if skip is not None else upto
                chunks.append(Chunk(at, stop, self.text[at:stop], ""))
                at = stop

        for start, end, after in groups:
            removed(start)
            chunks.append(Chunk(start, end, self.text[start:end], after))
            at = max(at, end)
        removed(len(self.text))
        return chunks

    @functools.cached_property
    def normalizer_steps(self) -> list[tuple[str, bool]]:
        """The parts of the normaliser in order, each with whether it changed this text."""
        steps = []
        texts = [self.text[start:end] for start, end in self.segments]
        kept = self.backend.__dict__
        if "_normalizers" not in kept:
            kept["_normalizers"] = list(_parts_of(self.backend.parts["normalizer"]))
        for name, part in kept["_normalizers"]:
            after = [part.normalize_str(text) for text in texts]
            steps.append((name, after != texts))
            texts = after
        return steps


def part_names(part: Any) -> list[str]:
    """The kinds of the parts inside a part, in the order in which they run.

    Example:
        >>> part_names({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]})
        ['NFD', 'Lowercase']
    """
    if not part:
        return []
    for key in ("normalizers", "pretokenizers", "processors", "decoders"):
        if part.get("type") == "Sequence" and key in part:
            return [name for inner in part[key] for name in part_names(inner)]
    return [str(part.get("type", "?"))]


def _parts_of(state: Any) -> Iterable[tuple[str, Any]]:
    """The single normalisers in the state of a normaliser, each created by the backend."""
    if not state:
        return
    if state.get("type") == "Sequence":
        for inner in state["normalizers"]:
            yield from _parts_of(inner)
        return
    bare = json.loads(Tokenizer(models.WordLevel({"\0": 0}, unk_token="\0")).to_str())
    yield str(state.get("type", "?")), Tokenizer.from_str(json.dumps(bare | {"normalizer": state})).normalizer


class _Finder:
    """Finds added tokens exactly as the backend does, with a tokenizer that has only these tokens."""

    def __init__(self, tokens: Sequence[AddedToken], encode_special_tokens: bool) -> None:
        self._probe: Tokenizer | None = None
        if tokens:
            self._probe = Tokenizer(models.WordLevel({"\0": 0}, unk_token="\0"))
            self._probe.add_special_tokens([token for token in tokens if token.special])
            self._probe.add_tokens([token for token in tokens if not token.special])
            self._probe.encode_special_tokens = encode_special_tokens

    def spans(self, text: str) -> list[tuple[int, int]]:
        if self._probe is None or not text:
            return []
        encoding = self._probe.encode(text)
        return [span for id, span in zip(encoding.ids, encoding.offsets, strict=True) if id != 0]


def _finder(backend: Backend, normalized: bool) -> _Finder:
    """The finder for the added tokens that are searched before or after normalisation; cached in the backend."""
    kept: dict[bool, _Finder] = backend.__dict__.setdefault("_finders", {})
    if normalized not in kept:
        tokens = [token for token in backend.added.values() if token.normalized == normalized]
        normalizer = backend.tokenizer.normalizer
        if normalized and normalizer is not None:
            tokens = [_spelled(token, normalizer.normalize_str(token.content)) for token in tokens]
        tokens = [_spelled(token, token.content) for token in tokens]
        kept[normalized] = _Finder(tokens, backend.tokenizer.encode_special_tokens)
    return kept[normalized]


def _spelled(token: AddedToken, content: str) -> AddedToken:
    options = {name: getattr(token, name) for name in ("single_word", "lstrip", "rstrip", "special")}
    return AddedToken(content, normalized=False, **options)


def _between(spans: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The gaps between the spans, from 0 to size."""
    edges = [0, *(edge for span in spans for edge in span), size]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]
