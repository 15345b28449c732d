"""The text of single tokens outside a text, such as generated tokens and their alternatives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from notebook_kit.inspection.tokens.backend import byte_alphabet, mentions

__all__ = ["NORMAL", "PART", "SPECIAL", "Spelling", "visible"]

NORMAL, SPECIAL, PART = 0, 1, 2
"""Kinds of tokens: text, a special token, bytes that are not whole characters."""

_VISIBLE = str.maketrans({" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"})


def visible(text: str) -> str:
    """A text with its white space made visible.

    Example:
        >>> visible(" the")
        '·the'
    """
    return text.translate(_VISIBLE)


class Spelling:
    """Converts entries of a tokenizer's vocabulary to the text that they stand for.

    Args:
        tokenizer: Of notebook_kit or `transformers`, or a `tokenizers.Tokenizer`.

    Example:
        >>> from tokenizers import Tokenizer, decoders, models
        >>> backend = Tokenizer(models.BPE({"Ġthe": 0, "ð": 1}, []))
        >>> backend.decoder = decoders.ByteLevel()
        >>> spelling = Spelling(backend)
        >>> spelling.of(0), spelling.of(1)
        ((' the', 0), ('F0', 2))
    """

    def __init__(self, tokenizer: Any) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        self._name = getattr(tokenizer, "convert_ids_to_tokens", None) or getattr(tokenizer, "id_to_token", None)
        self._special = set(getattr(tokenizer, "all_special_ids", None) or ())
        if not self._special and hasattr(backend, "get_added_tokens_decoder"):
            self._special = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
        decoder = getattr(backend, "decoder", None)
        state = json.loads(decoder.__getstate__()) if hasattr(decoder, "__getstate__") and decoder is not None else {}
        self._byte_level = mentions(state, "ByteLevel")
        # Tokenizers without a backend are SentencePiece's, which writes a space as "▁".
        self._low_block = not self._byte_level and (not state or "▁" in json.dumps(state, ensure_ascii=False))
        self._fallback = mentions(state, "ByteFallback") or not state
        self._wordpiece = mentions(state, "WordPiece")

    def bytes_of(self, token: int) -> bytes | None:
        """The bytes that an entry stands for, if the vocabulary spells it in bytes; else None."""
        name = self.name(token)
        if self._byte_level:
            alphabet = byte_alphabet()
            return bytes(alphabet[c] for c in name) if name and all(c in alphabet for c in name) else None
        if self._fallback and len(name) == 6 and name[:3] == "<0x" and name[5] == ">":
            try:
                return bytes([int(name[3:5], 16)])
            except ValueError:
                return None
        return None

    def name(self, token: int) -> str:
        """The entry as the vocabulary spells it."""
        name = self._name(token) if self._name is not None else None
        return f"[{token}]" if name is None else str(name)  # a model may have more entries than its tokenizer

    def of(self, token: int) -> tuple[str, int]:
        """The text of an entry, or for a part of a character, its bytes as hexadecimal digits; and its kind."""
        name = self.name(token)
        if token in self._special:
            return name, SPECIAL
        own = self.bytes_of(token)
        if own is not None:
            try:
                return own.decode("utf-8"), NORMAL
            except UnicodeDecodeError:
                return own.hex(" ").upper(), PART
        if self._low_block:
            return name.replace("▁", " "), NORMAL
        if self._wordpiece:
            return (name[2:] if name.startswith("##") and len(name) > 2 else f" {name}"), NORMAL
        return name, NORMAL

    def line(self, tokens: Sequence[int]) -> list[list[Any]]:
        """A sequence of tokens as `[text, id, kind]` each, with the characters that a part completes as a fourth entry.

        Example:
            >>> from tokenizers import Tokenizer, decoders, models
            >>> backend = Tokenizer(models.BPE({"Ã": 0, "©": 1}, []))
            >>> backend.decoder = decoders.ByteLevel()
            >>> Spelling(backend).line([0, 1])
            [['C3', 0, 2], ['A9', 1, 2, 'é']]
        """
        row: list[list[Any]] = []
        pending = b""
        for token in tokens:
            text, kind = self.of(token)
            entry: list[Any] = [text, token, kind]
            pending = pending + (self.bytes_of(token) or b"") if kind == PART else b""
            if pending:
                try:
                    entry.append(pending.decode("utf-8"))
                    pending = b""
                except UnicodeDecodeError as error:
                    if error.reason != "unexpected end of data":  # further bytes cannot make it a character
                        pending = b""
            row.append(entry)
        return row
