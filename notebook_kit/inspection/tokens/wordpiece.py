"""WordPiece: repeatedly the longest matching entry of the vocabulary (Devlin et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Match", "Replay", "WordPiece"]


@dataclass(frozen=True)
class Match:
    """One step: the spellings tried from a place on, the longest first.

    Args:
        start: The place in the piece.
        tried: The spellings that are not in the vocabulary.
        token: The first spelling that is; None if there is none.
        end: The end of `token` in the piece.
    """

    start: int
    tried: list[str]
    token: str | None
    end: int


@dataclass(frozen=True)
class Replay:
    """How a piece became tokens.

    Args:
        matches: The steps.
        tokens: The resulting tokens, each with the range of characters of the piece that it covers.
        too_long: Whether the piece has more characters than the model accepts.
    """

    matches: list[Match]
    tokens: list[tuple[str, int, int]]
    too_long: bool = False


class WordPiece:
    """A WordPiece model from a tokenizer.json.

    Args:
        state: The "model" of a tokenizer.json.

    Example:
        >>> model = WordPiece({"vocab": {"[UNK]": 0, "hug": 1, "##s": 2}, "unk_token": "[UNK]"})
        >>> [(match.tried, match.token) for match in model.replay("hugs").matches]
        [(['hugs'], 'hug'), ([], '##s')]
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.vocab: dict[str, int] = dict(state["vocab"])
        self.unk_token: str = state["unk_token"]
        self.prefix: str = state.get("continuing_subword_prefix", "##")
        self.longest: int = state.get("max_input_chars_per_word", 100)

    def replay(self, piece: str) -> Replay:
        """Tokenize one piece and record the steps."""
        unknown = [(self.unk_token, 0, len(piece))]
        if len(piece) > self.longest:
            return Replay([], unknown, too_long=True)
        matches: list[Match] = []
        start = 0
        while start < len(piece):
            tried: list[str] = []
            for end in range(len(piece), start, -1):
                spelling = (self.prefix if start else "") + piece[start:end]
                if spelling in self.vocab:
                    matches.append(Match(start, tried, spelling, end))
                    break
                tried.append(spelling)
            else:
                matches.append(Match(start, tried, None, start))
                return Replay(matches, unknown)
            start = end
        return Replay(matches, [(match.token or "", match.start, match.end) for match in matches])
