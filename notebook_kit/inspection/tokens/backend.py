"""Any tokenizer in the form that the analysis needs: a copy of its backend without truncation and padding, and its parts."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Encoding, Tokenizer

from notebook_kit.errors import InputError, a_kind
from notebook_kit.inspection.tokens.bpe import BPE
from notebook_kit.inspection.tokens.unigram import Unigram
from notebook_kit.inspection.tokens.wordpiece import WordPiece
from notebook_kit.processing.text.lengths import NO_LIMIT

__all__ = ["Backend", "byte_alphabet", "mentions"]


class Backend:
    """A copy of a tokenizer, with access to its parts.

    Later changes to the original have no effect.

    Args:
        tokenizer: A tokenizer of notebook_kit, a fast one of `transformers`, a `tokenizers.Tokenizer`, an object with such a
            `.tokenizer` (a pipeline), or the name or folder of a checkpoint.

    Raises:
        InputError: If it is not one of these, or has a part written in Python, which cannot be copied.
        HubError, CheckpointError: As `AutoTokenizer.from_pretrained`.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> backend = Backend(Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1}, unk_token="[UNK]")))
        >>> backend.model_type, backend.unk_id
        ('WordLevel', 0)
    """

    def __init__(self, tokenizer: Any) -> None:
        owner, original = _with_backend(tokenizer)
        self._lock = threading.RLock()
        try:
            state = json.loads(original.to_str())
        except Exception as error:  # the backend raises bare Exceptions
            raise InputError(
                f"The tokenizer cannot be inspected: {error}",
                next_step="Parts written in Python cannot be inspected; replace them with parts of the tokenizers package.",
            ) from error
        self.notes: list[str] = []
        """Notices for the user, by their keys in the interface's strings."""
        truncation = state.pop("truncation", None)
        state["padding"] = None
        model = state["model"]
        if model.get("dropout"):
            model["dropout"] = None
            self.notes.append("note_dropout")
        if model.get("alpha"):
            model["alpha"] = None
            self.notes.append("note_sampling")
        self.tokenizer: Tokenizer = Tokenizer.from_str(json.dumps(state)) if self.notes else _copied(original)
        self.tokenizer.encode_special_tokens = bool(
            getattr(owner, "split_special_tokens", original.encode_special_tokens)
        )
        self.model_type: str = model.get("type") or type(original.model).__name__
        self.model_state: Mapping[str, Any] = model
        self.parts = {name: state.get(name) for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder")}
        """The other parts as in tokenizer.json; None for a missing part."""
        self.name = str(getattr(owner, "name_or_path", "") or f"{type(owner).__name__} ({self.model_type})")
        self.size: int = self.tokenizer.get_vocab_size(with_added_tokens=True)
        limit = getattr(owner, "model_max_length", None)
        if limit is None and truncation:
            limit = truncation["max_length"]
        self.limit: int | None = int(limit) if limit is not None and limit < NO_LIMIT else None
        """`model_max_length` in tokens; None for no limit."""
        self.truncation_side = str(
            getattr(owner, "truncation_side", None) or (truncation or {}).get("direction", "right")
        ).lower()
        self.added: dict[int, AddedToken] = dict(sorted(self.tokenizer.get_added_tokens_decoder().items()))
        """Id -> the added token."""
        self.special_ids = {id for id, token in self.added.items() if token.special}
        self.special_ids |= set(getattr(owner, "all_special_ids", None) or ())
        unknown = model.get("unk_token")
        self.unk_id: int | None = model.get("unk_id") if self.model_type == "Unigram" else None
        if unknown is not None and self.model_type != "Unigram":
            self.unk_id = self.tokenizer.model.token_to_id(unknown)
        self.byte_level = mentions(self.parts["pre_tokenizer"], "ByteLevel") or mentions(
            self.parts["normalizer"], "ByteLevel"
        )
        self.byte_fallback = bool(model.get("byte_fallback"))

    def __repr__(self) -> str:
        return f"Backend({self.name!r}, {self.model_type}, {self.size} entries)"

    def encode(self, text: str, pair: str | None = None) -> Encoding:
        """The tokens of a text or a pair, including special tokens, without truncation and padding."""
        with self._lock:
            return self.tokenizer.encode(text, pair) if pair else self.tokenizer.encode(text)

    def encode_cut(self, limit: int, text: str, pair: str | None = None) -> Encoding:
        """The tokens of a text or a pair, truncated to `limit` tokens."""
        with self._lock:  # truncation is a state of the backend
            self.tokenizer.enable_truncation(limit, strategy="longest_first", direction=self.truncation_side)
            try:
                return self.encode(text, pair)
            finally:
                self.tokenizer.no_truncation()

    @functools.cached_property
    def replayer(self) -> BPE | WordPiece | Unigram | None:
        """The model in a form that records its steps; None for a kind without steps (WordLevel)."""
        kinds: dict[str, Any] = {"BPE": BPE, "WordPiece": WordPiece, "Unigram": Unigram}
        kind = kinds.get(self.model_type)
        return kind(self.model_state) if kind else None

    def score(self, id: int) -> float | None:
        """The natural logarithm of an entry's probability, if the model has one (Unigram)."""
        model = self.replayer
        return model.scores[id] if isinstance(model, Unigram) and id < len(model.scores) else None

    def rank(self, id: int) -> int | None:
        """The rank of an entry in the learned vocabulary, from 0.

        For BPE, the number of the merge that creates it (None for initial symbols); for Unigram, its rank by score; otherwise
        the id. None for an added token.
        """
        model = self.replayer
        if isinstance(model, BPE | Unigram):
            return model.rank.get(id)
        return id if self.tokenizer.model.id_to_token(id) is not None else None

    def bytes_of(self, token: str, literal: str) -> bytes | None:
        """The bytes that a token stands for, if the tokenizer works on bytes; else None.

        Args:
            token: Its spelling in the vocabulary.
            literal: The text it covers, to distinguish the entry of a byte from the same letters in a text.
        """
        if self.byte_level:
            suffix = self.model_state.get("end_of_word_suffix") or ""
            prefix = self.model_state.get("continuing_subword_prefix") or ""
            token = token.removesuffix(suffix) if suffix else token
            token = token.removeprefix(prefix) if prefix else token
            alphabet = byte_alphabet()
            return bytes(alphabet[c] for c in token) if all(c in alphabet for c in token) else None
        if self.byte_fallback and len(token) == 6 and token[:3] == "<0x" and token[5] == ">" and token != literal:
            try:
                return bytes([int(token[3:5], 16)])
            except ValueError:
                return None
        return None


def _with_backend(tokenizer: Any) -> tuple[Any, Tokenizer]:
    """The tokenizer (loaded, if `tokenizer` is a name), and its backend."""
    if isinstance(tokenizer, str | os.PathLike):
        from notebook_kit.processing.text.auto import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    if isinstance(tokenizer, Tokenizer):
        return tokenizer, tokenizer
    for candidate in (tokenizer, getattr(tokenizer, "tokenizer", None)):
        backend = getattr(candidate, "backend_tokenizer", None)
        if isinstance(backend, Tokenizer):
            return candidate, backend
        if isinstance(candidate, Tokenizer):
            return candidate, candidate
    raise InputError(
        f"{a_kind(tokenizer, starts=True)} has no backend of the tokenizers package, so its stages cannot be inspected.",
        next_step="Pass a tokenizer of notebook_kit, a fast one of transformers, a tokenizers.Tokenizer, or a name.",
    )


def _copied(original: Tokenizer) -> Tokenizer:
    copy = Tokenizer.from_str(original.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def mentions(part: Any, kind: str) -> bool:
    """Whether a part of a tokenizer, or a part inside it, is of this kind."""
    if isinstance(part, Mapping):
        return part.get("type") == kind or any(mentions(value, kind) for value in part.values())
    return isinstance(part, list) and any(mentions(value, kind) for value in part)


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """Character -> byte, as byte-level BPE spells bytes (Radford et al., 2019)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}
