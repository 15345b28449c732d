"""The result of a tokenizer's call: a dictionary of model inputs that maps tokens to characters and back."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from notebook_kit.errors import InputError, UnknownAttributeError
from notebook_kit.processing.tensors import to_tensor
from notebook_kit.processing.text.arguments import as_count

if TYPE_CHECKING:
    import torch
    from tokenizers import Encoding

__all__ = ["BatchEncoding", "CharSpan", "TokenSpan"]


class CharSpan(NamedTuple):
    """The characters from `start` up to but not including `end` of the original text.

    Example:
        >>> start, end = CharSpan(4, 8)
        >>> "The film was good."[start:end]
        'film'
    """

    start: int
    end: int


class TokenSpan(NamedTuple):
    """The tokens from `start` up to but not including `end` of an encoded sequence.

    Example:
        >>> span = TokenSpan(1, 3)
        >>> ["[CLS]", "un", "##happy", "[SEP]"][span.start : span.end]
        ['un', '##happy']
    """

    start: int
    end: int


_SPANS = {"token_to_chars": CharSpan, "word_to_chars": CharSpan, "word_to_tokens": TokenSpan}


class BatchEncoding(UserDict):
    """Model inputs by name, plus the map between tokens, words and characters.

    It is a mapping: `model(**encoding)`, `encoding["input_ids"]` and `encoding.input_ids` all work, and `encoding[0]` is
    the `tokenizers.Encoding` of the first sequence.

    The position methods (`char_to_token`, `word_ids`, ...) take the index of the sequence in the batch as their first
    argument; without it they refer to the first sequence. They return None if nothing corresponds.

    Args:
        data: The model inputs by name: lists of int, lists of lists of int, or tensors of shape (batch, length).
        encoding: The `tokenizers.Encoding`s that `data` was read from, if any.
        tensor_type: "pt" or "np" converts every entry to a tensor; None leaves them unchanged.
        prepend_batch_axis: Add a batch axis of length 1 when converting to tensors.
        n_sequences: 1 for single texts, 2 for pairs; None reads it from `encoding`.

    Raises:
        InputError: If the entries cannot become tensors, or a position method is called without encodings.

    Example:
        >>> encoding = BatchEncoding({"input_ids": [[101, 102], [101, 102]]}, tensor_type="np")
        >>> encoding.input_ids.shape, "input_ids" in encoding, dict(**encoding).keys()
        ((2, 2), True, dict_keys(['input_ids']))
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encoding: Encoding | Sequence[Encoding] | None = None,
        tensor_type: str | None = None,
        prepend_batch_axis: bool = False,
        n_sequences: int | None = None,
    ) -> None:
        # Not UserDict.__init__, which copies item by item through __setitem__: every call of a tokenizer runs this.
        self.data = dict(data) if data is not None else {}
        self._encodings = [encoding] if encoding is not None and not isinstance(encoding, Sequence) else encoding
        self._n_sequences = n_sequences
        if tensor_type is not None:
            self.convert_to_tensors(tensor_type, prepend_batch_axis)

    def __getitem__(self, item: str | int | slice) -> Any:
        """An entry by name, or an Encoding by position; without encodings, a slice applies to every entry."""
        if isinstance(item, str):
            return self.data[item]
        if self._encodings is not None:
            return self._encodings[item]
        if isinstance(item, slice):
            return {key: value[item] for key, value in self.data.items()}
        raise KeyError(item)

    def __getattr__(self, name: str) -> Any:
        # Called only for names that are not attributes, and while unpickling, before `data` exists.
        if name.startswith("__") or "data" not in self.__dict__:
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise UnknownAttributeError(
                f"This encoding has no {name!r}: it holds {', '.join(self.data) or 'nothing'}.", name, self.data
            ) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.data]

    # Tensors and devices

    def convert_to_tensors(self, tensor_type: str | None = None, prepend_batch_axis: bool = False) -> BatchEncoding:
        """Convert every entry to a tensor ("pt", int64) or an array ("np", int64), in place, and return self.

        Raises:
            InputError: If the rows of an entry differ in length, or the kind of tensor is not supported.

        Example:
            >>> BatchEncoding({"input_ids": [1, 2]}).convert_to_tensors("np", prepend_batch_axis=True)["input_ids"]
            array([[1, 2]])
        """
        if tensor_type is not None:
            for key, value in self.data.items():
                self.data[key] = to_tensor([value] if prepend_batch_axis else value, tensor_type, key)
        return self

    def to(self, device: str | int | torch.device, *, non_blocking: bool = False) -> BatchEncoding:
        """Move every tensor to `device`, in place, and return self. Other entries stay unchanged.

        Raises:
            InputError: If `device` is not a device, such as a dtype: ids must stay integers.

        Example:
            >>> BatchEncoding({"input_ids": [[1, 2]]}, tensor_type="pt").to("cpu")["input_ids"].device
            device(type='cpu')
        """
        import torch

        if not isinstance(device, str | int | torch.device):
            raise InputError(
                f"`to` received {device!r}, which is not a device.",
                next_step='Pass a device such as "cpu", "cuda" or torch.device("cuda:0"); token ids keep their dtype.',
            )
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            raise InputError(
                f"There is no device {device!r} on this machine: {str(error).partition(chr(10))[0]}",
                next_step='Pass "cpu", or the name of an accelerator that torch finds.',
            ) from error
        for key, value in self.data.items():
            if callable(getattr(value, "to", None)):
                self.data[key] = value.to(device=device, non_blocking=non_blocking)
        return self

    # The map between tokens, words and characters

    @property
    def is_fast(self) -> bool:
        """Whether the position methods work for this encoding."""
        return self._encodings is not None

    @property
    def encodings(self) -> Sequence[Encoding] | None:
        """The `tokenizers.Encoding`s, one per row, or None if this was not returned by a tokenizer's call."""
        return self._encodings

    @property
    def n_sequences(self) -> int | None:
        """1 for single texts, 2 for pairs, None if unknown."""
        if self._n_sequences is None and self._encodings:
            self._n_sequences = self._encodings[0].n_sequences
        return self._n_sequences

    def _encoding(self, batch_index: int) -> Encoding:
        batch_index = as_count("batch_index", batch_index, least=-(2**31))
        if self._encodings is None:
            raise InputError(
                "This encoding does not know its characters: it was not returned by a tokenizer's call.",
                next_step="Call the tokenizer on the text; `tokenizer.pad` and collators keep only the ids.",
            )
        try:
            return self._encodings[batch_index]
        except IndexError:
            raise InputError(
                f"There is no sequence {batch_index}: this batch has {len(self._encodings)}.",
                next_step="If two positions are passed, the first is the index of the sequence in the batch.",
            ) from None

    def _look_up(self, method: str, batch_or_index: int, index: int | None, *sequence_index: int) -> Any:
        """Call a method of the encoding that `(batch, index)` or `(index,)` refers to."""
        batch, place = (0, batch_or_index) if index is None else (batch_or_index, index)
        index = as_count("the index", place, least=-(2**31))
        encoding = self._encoding(batch)
        if index < 0 and method.startswith("token"):
            index += len(encoding)
        if index < 0:
            return None
        found = getattr(encoding, method)(index, *sequence_index)
        return _SPANS[method](*found) if found is not None and method in _SPANS else found

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of one sequence, including special tokens and padding."""
        return self._encoding(batch_index).tokens

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token, which text of the pair it is from (0 or 1); None for special tokens."""
        return self._encoding(batch_index).sequence_ids

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token, the index of its word (among the caller's words if the input was split); None for special tokens."""
        return self._encoding(batch_index).word_ids

    words = word_ids

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Which text of the pair (0 or 1) a token is from."""
        return self._look_up("token_to_sequence", batch_or_token_index, token_index)

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The index of the word that a token is part of."""
        return self._look_up("token_to_word", batch_or_token_index, token_index)

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """The characters of the original text that a token covers."""
        return self._look_up("token_to_chars", batch_or_token_index, token_index)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word."""
        return self._look_up("word_to_tokens", batch_or_word_index, word_index, sequence_index)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word."""
        return self._look_up("word_to_chars", batch_or_word_index, word_index, sequence_index)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The token that covers a character; None for a space between tokens."""
        return self._look_up("char_to_token", batch_or_char_index, char_index, sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The word that covers a character."""
        return self._look_up("char_to_word", batch_or_char_index, char_index, sequence_index)
