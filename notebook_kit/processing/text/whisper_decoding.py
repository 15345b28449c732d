"""From Whisper's tokens to a transcript: segments and words with their times, and pieces of a recording put together.

The tokens of an output are text, or mark a time (in steps of 20 ms from the beginning of the piece), a language or a task. Pieces
overlap by their strides: times in a stride are left to the neighbouring piece, and the tokens of both are merged where most
of them agree.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from notebook_kit.errors import notice
from notebook_kit.registry.languages import LANGUAGES

__all__ = ["Clock", "Transcript", "WhisperTokens", "merged", "words_of_tokens"]

_WITHOUT_SPACES = ("chinese", "japanese", "thai", "lao", "myanmar", "cantonese")
_BEFORE_WORDS = "\"'“¡¿([{-"
_AFTER_WORDS = "\"'.。,，!！?？:：”)]}、"
_UNFINISHED = "\ufffd"  # the beginning of a letter whose bytes are in several tokens
FRAMES = 1500
"""Steps of a segment of 30 seconds."""

Span = tuple[float, float]


class WhisperTokens(Protocol):
    """The part of a tokenizer that this module uses."""

    @property
    def eos_token_id(self) -> Any: ...

    @property
    def language(self) -> str | None: ...

    @property
    def timestamp_begin(self) -> int: ...

    @property
    def special_ids(self) -> frozenset[int]: ...

    def text_of(self, ids: Sequence[int]) -> str: ...

    def without_prompt(self, ids: list[int]) -> list[int]: ...


class Clock:
    """The time of each time token of one output, which may hold several segments of 30 seconds one after the other.

    A time before the latest one belongs to a further segment. That begins where the last pair of times ended; or 30 seconds
    after, if the segment before it ended with a single time.
    """

    def __init__(self, begin: int, precision: float) -> None:
        self.begin, self.precision = begin, precision
        self.start = 0.0
        self.joins = False
        """Whether the last token read begins a segment where a pair of times ended, which repeats that time."""
        self._latest = self._before = 0.0

    def read(self, ids: Sequence[int], place: int) -> float:
        """The time of the token at a place, in seconds from the beginning of the output."""
        time = (ids[place] - self.begin) * self.precision
        has_wrapped = time < self._latest
        is_single = place >= 2 and not (ids[place - 1] >= self.begin and ids[place - 2] >= self.begin)
        self.joins = has_wrapped and not is_single
        if self.joins:
            self._latest = self._before
            self.start += self._before
        elif has_wrapped:
            self.start += self.precision * FRAMES
        self._before, self._latest = self._latest, time
        return time + self.start


class Transcript:
    """Reads the outputs for the pieces of one recording, in order.

    Args:
        tokenizer: A Whisper tokenizer.
        return_timestamps: False, True for segments, or "word".
        return_language: Whether chunks have a language.
        precision: Seconds of a step of time.
    """

    def __init__(
        self,
        tokenizer: WhisperTokens,
        return_timestamps: bool | str | None,
        return_language: bool | None,
        precision: float,
    ) -> None:
        self.tokenizer = tokenizer
        self.return_timestamps, self.return_language = return_timestamps, bool(return_language)
        self.precision = precision
        self.chunks: list[dict[str, Any]] = []
        self._special = tokenizer.special_ids
        self._begin = tokenizer.timestamp_begin
        self._language: str | None = None
        self._chunk = self._new_chunk()
        self._offset = 0.0
        self._tokens: list[list[int]] = []  # of the pieces that the current chunk is in
        self._times: list[list[Span]] = []
        self._skips = False

    @property
    def _by_word(self) -> bool:
        return self.return_timestamps == "word"

    def _new_chunk(self) -> dict[str, Any]:
        return {"language": self._language, "timestamp": [None, None], "text": ""}

    def read(self, ids: Iterable[int], stride: tuple[float, float, float] | None, times: Sequence[float] = ()) -> None:
        """Read one output.

        Args:
            ids: Its tokens.
            stride: The length of the piece, and how much of it at its beginning and at its end is in a neighbour, in seconds.
            times: The end of each token, in seconds from the beginning of the piece, for "word".
        """
        begin = self._begin
        row = self.tokenizer.without_prompt(list(ids))
        first, last = float(begin), None
        if stride is not None:
            length, left, right = stride
            self._offset -= left
            if left:
                first = left / self.precision + begin
            if right:
                last = self._first_in_right_stride(row, length - right)
        clock, tokens, spans = Clock(begin, self.precision), list[int](), list[Span]()
        for place, token in enumerate(row):
            if token in self._special:
                tokens = self._read_special(token, tokens)
            elif token >= begin:
                time = round(clock.read(row, place) + self._offset, 2)
                if last is not None and token >= last:
                    self._skips = True  # it comes with a second one, the beginning of what the next piece has
                elif self._skips or (self._tokens and token < first):
                    self._skips = False
                elif self._chunk["timestamp"][0] is None:
                    self._chunk["timestamp"][0] = time
                elif time != self._chunk["timestamp"][0]:  # else the end of nothing, which is the beginning of the next
                    self._chunk["timestamp"][1] = time
                    self._add(tokens, spans)
                    self._close()
                    tokens, spans = [], []
            else:
                tokens.append(token)
                if self._by_word:
                    start = times[place - 1] if place else 0.0
                    spans.append((round(start + self._offset, 2), round(times[place] + self._offset, 2)))
        if stride is not None:
            self._offset += stride[0] - stride[2]
        if tokens:
            self._add(tokens, spans)
        elif not any(self._tokens):
            self._chunk = self._new_chunk()
            self._tokens, self._times = [], []

    def _first_in_right_stride(self, row: list[int], start: float) -> int | None:
        """The first time token in the right stride, where at least the last one of all is taken to be."""
        found = None
        for token in reversed(row):
            if token >= self._begin:
                if found is not None and (token - self._begin) * self.precision < start:
                    break
                found = token
        return found

    def _read_special(self, token: int, tokens: list[int]) -> list[int]:
        """Note the language if the token names one; the text so far belongs to the one before."""
        language = LANGUAGES.get(self.tokenizer.text_of([token])[2:-2])
        if language is None:
            return tokens
        if self._language and language != self._language and not self.return_timestamps:
            self._add(tokens, [])
            self._close()
            tokens = []
        self._chunk["language"] = self._language = language
        return tokens

    def _add(self, tokens: list[int], spans: list[Span]) -> None:
        self._tokens.append(tokens)
        self._times.append(spans)

    def _close(self) -> None:
        """Finish the current chunk."""
        tokens, spans = merged(self._tokens, self._times if self._by_word else ())
        self._chunk["text"] = self.tokenizer.text_of(tokens)
        if self._by_word:
            language = {"language": self._language} if self.return_language else {}
            self._chunk["words"] = [
                {"text": word, "timestamp": (spans[places[0]][0], spans[places[-1]][1]), **language}
                for word, places in words_of_tokens(self.tokenizer, tokens, self._language)
            ]
        self.chunks.append(self._chunk)
        self._tokens, self._times = [], []
        self._chunk = self._new_chunk()

    def finish(self) -> tuple[str, dict[str, Any]]:
        """The whole text, and `{"chunks": [...]}` if times or languages were requested, else `{}`."""
        if self._tokens:
            if self.return_timestamps:
                notice(
                    "Whisper wrote no time at the end of a recording, as happens where one is cut off within a word: the last chunk "
                    "may have no end."
                )
            self._close()
        text = "".join(chunk["text"] for chunk in self.chunks)
        if not self.return_timestamps and not self.return_language:
            return text, {}
        if self._by_word:
            return text, {"chunks": [word for chunk in self.chunks for word in chunk["words"]]}
        names = [
            name
            for name, wanted in (("language", self.return_language), ("timestamp", self.return_timestamps))
            if wanted
        ]
        return text, {"chunks": [self._result(chunk, [*names, "text"]) for chunk in self.chunks]}

    @staticmethod
    def _result(chunk: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
        return {name: tuple(chunk[name]) if name == "timestamp" else chunk[name] for name in names}


def merged(sequences: Sequence[Sequence[int]], times: Sequence[Sequence[Span]] = ()) -> tuple[list[int], list[Span]]:
    """Overlapping pieces as one sequence. Of what two pieces share, the first half is taken from the left one, and the second
    half from the right one, since both understand their own edges worst.

    Args:
        sequences: The tokens of each piece.
        times: Their times, if known: then tokens only agree if the right one is not earlier.

    Example:
        >>> merged([[1, 2, 3, 4, 5], [4, 5, 6]])
        ([1, 2, 3, 4, 5, 6], [])
    """
    left, left_times = list(sequences[0]), list(times[0]) if times else []
    tokens: list[int] = []
    spans: list[Span] = []
    for i, piece in enumerate(sequences[1:], 1):
        right, right_times = list(piece), list(times[i]) if times else []
        start, stop, other_start, other_stop = _overlap(left, right, left_times, right_times)
        middle, other_middle = (start + stop) // 2, (other_start + other_stop) // 2
        tokens += left[:middle]
        spans += left_times[:middle]
        left, left_times = right[other_middle:], right_times[other_middle:]
    return tokens + left, spans + left_times


def _overlap(
    left: list[int], right: list[int], left_times: list[Span], right_times: list[Span]
) -> tuple[int, int, int, int]:
    """The span of the left sequence and that of the right one that agree best when one is slid over the other: the largest
    share of equal tokens, and of equal shares the longest. Two at least have to be equal."""
    a, b = np.array(left), np.array(right)
    L, R = len(left), len(right)
    best, found = 0.0, (L, L, 0, 0)
    for size in range(1, L + R):
        start, stop = max(0, L - size), min(L, L + R - size)
        other_start, other_stop = max(0, size - L), min(R, size)
        equal = a[start:stop] == b[other_start:other_stop]
        if left_times:
            pairs = zip(left_times[start:stop], right_times[other_start:other_stop], strict=True)
            equal = equal & np.fromiter((mine <= theirs for mine, theirs in pairs), bool, len(equal))
        matches = int(equal.sum())
        score = matches / size + size / 10_000
        if matches > 1 and score > best:
            best, found = score, (start, stop, other_start, other_stop)
    return found


def words_of_tokens(
    tokenizer: WhisperTokens, tokens: Sequence[int], language: str | None = None
) -> list[tuple[str, list[int]]]:
    """The words in tokens, each with the places of its tokens. Punctuation belongs to the word beside it; in languages without
    spaces, a word is what the fewest whole letters are.

    Args:
        tokenizer: A Whisper tokenizer.
        tokens: Text tokens.
        language: The English name of the language; by default the tokenizer's, else English.
    """
    pieces = _whole_letters(tokenizer.text_of, tokens)
    if (language or tokenizer.language or "english") not in _WITHOUT_SPACES:
        pieces = _joined_at_spaces(tokenizer, tokens, pieces)
    return _with_punctuation(pieces)


def _whole_letters(text_of: Callable[[Sequence[int]], str], tokens: Sequence[int]) -> list[tuple[str, list[int]]]:
    whole = text_of(tokens)
    pieces: list[tuple[str, list[int]]] = []
    places: list[int] = []
    offset = 0
    for place in range(len(tokens)):
        places.append(place)
        text = text_of([tokens[at] for at in places])
        at = offset + text.find(_UNFINISHED)
        # a replacement character may also be what the text really has there
        if _UNFINISHED not in text or at >= len(whole) or whole[at] == _UNFINISHED:
            pieces.append((text, places))
            places = []
            offset += len(text)
    return pieces


def _joined_at_spaces(
    tokenizer: WhisperTokens, tokens: Sequence[int], pieces: list[tuple[str, list[int]]]
) -> list[tuple[str, list[int]]]:
    words: list[tuple[str, list[int]]] = []
    for text, places in pieces:
        is_special = tokens[places[0]] >= tokenizer.eos_token_id
        if not words or is_special or text.startswith(" ") or text.strip() in string.punctuation:
            words.append((text, places))
        else:
            words[-1] = (words[-1][0] + text, words[-1][1] + places)
    return words


def _with_punctuation(words: list[tuple[str, list[int]]]) -> list[tuple[str, list[int]]]:
    """Words with opening marks joined to the word after them, and closing marks to the word before."""
    opened: list[tuple[str, list[int]]] = []
    for text, places in reversed(words):
        if opened and text.startswith(" ") and text.strip() in _BEFORE_WORDS:
            opened[-1] = (text + opened[-1][0], places + opened[-1][1])
        else:
            opened.append((text, places))
    closed: list[tuple[str, list[int]]] = []
    for text, places in reversed(opened):
        if closed and not closed[-1][0].endswith(" ") and text in _AFTER_WORDS:
            closed[-1] = (closed[-1][0] + text, closed[-1][1] + places)
        else:
            closed.append((text, places))
    return [(text, places) for text, places in closed if text]
