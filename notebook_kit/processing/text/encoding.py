"""Text to ids: the calls of a tokenizer, and padding of what they return."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tokenizers import Encoding, Tokenizer

from notebook_kit.errors import InputError, warn
from notebook_kit.processing.padding import check_side, pad_inputs
from notebook_kit.processing.text.arguments import check_arguments
from notebook_kit.processing.text.batch_encoding import BatchEncoding
from notebook_kit.processing.text.inputs import as_batch, backend_errors, cannot_encode, renamed, repair
from notebook_kit.processing.text.lengths import Lengths, resolve_lengths

__all__ = ["TextEncoder"]

# Entries of a call's result -> attributes of a `tokenizers.Encoding`.
_ATTRIBUTES = {
    "token_type_ids": "type_ids",
    "attention_mask": "attention_mask",
    "special_tokens_mask": "special_tokens_mask",
    "offset_mapping": "offsets",
}


class TextEncoder:
    """The part of a tokenizer that turns text into model inputs. Not instantiated directly."""

    _tokenizer: Tokenizer
    _lock: threading.Lock
    _in_target: bool
    _warned_too_long: bool
    model_input_names: list[str]
    model_max_length: int
    padding_side: str
    truncation_side: str
    pad_token: Any
    pad_token_id: Any
    pad_token_type_id: int
    split_special_tokens: bool
    is_fast: Any

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
        verbose: bool = True,
        max_target_length: int | None = None,
        **unknown: Any,
    ) -> BatchEncoding:
        """Convert a text, or a batch of texts, to model inputs.

        Args:
            text: A str or a list of str; with `is_split_into_words` a list of words or a list of lists of words. A list of
                2-tuples is a batch of pairs.
            text_pair: The second text of a pair, in the same form as `text`.
            text_target, text_pair_target: Texts whose ids are returned as "labels" (as "input_ids" without `text`).
            add_special_tokens: Put the model's special tokens around the texts.
            padding: True or "longest": up to the longest of the batch; "max_length": up to `max_length`; False: none.
            truncation: True or "longest_first", "only_first", "only_second": cut to `max_length`; False: none.
            max_length: In tokens, including special tokens; None uses the model's limit.
            stride: The number of tokens that consecutive overflowing pieces share.
            is_split_into_words: Whether the texts are already split into words.
            pad_to_multiple_of: Round the padded length up to a multiple of this.
            padding_side: "right" or "left"; None uses the tokenizer's setting.
            return_tensors: "pt", "np", or None for lists.
            return_token_type_ids, return_attention_mask: None returns them if they are in `model_input_names`.
            return_overflowing_tokens: Return the truncated parts as further rows, and "overflow_to_sample_mapping".
            return_special_tokens_mask: Return 1 for special tokens, 0 for the text's tokens.
            return_offsets_mapping: Return the (start, end) characters of each token.
            return_length: Return the number of tokens in each row.
            split_special_tokens: Treat special tokens in the text as ordinary text; None uses the tokenizer's setting.
            verbose: Warn about sequences that are longer than the model's limit.
            max_target_length: `max_length` for the targets.

        Returns:
            A `BatchEncoding`: for a batch lists of lists or tensors (batch, length) of int64; for one text flat lists, or
            tensors (1, length).

        Raises:
            InputError: If an input is not text (named by its position and type), options contradict each other, padding is
                requested without a padding token, or a keyword does not exist.
        """
        if unknown:
            return self(**renamed(unknown, locals()))
        check_arguments(locals())
        lengths = resolve_lengths(
            padding,
            truncation,
            max_length,
            pad_to_multiple_of,
            limit=self.model_max_length,
            can_pad=self.pad_token_id is not None,
            verbose=verbose,
        )
        options = {
            "add_special_tokens": add_special_tokens,
            "stride": stride,
            "is_split_into_words": is_split_into_words,
            "pad_to_multiple_of": pad_to_multiple_of,
            "padding_side": self.padding_side if padding_side is None else padding_side,
            "split_special_tokens": self.split_special_tokens if split_special_tokens is None else split_special_tokens,
            "target": self._in_target,
        }
        returned = {
            "token_type_ids": self._returns("token_type_ids", return_token_type_ids),
            "attention_mask": self._returns("attention_mask", return_attention_mask),
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
            "overflowing": return_overflowing_tokens,
        }
        if text is None and text_target is None:
            raise InputError("The text is None.", next_step="Pass a str, a list of str, or text_target.")
        if return_offsets_mapping and not self.is_fast:
            raise InputError(
                "A tokenizer in Python does not know the characters of its tokens.",
                next_step="Leave out return_offsets_mapping, or use a PreTrainedTokenizerFast.",
            )
        encoding = None
        if text is not None:
            encoding = self._encode(text, text_pair, lengths, options, returned, return_tensors, verbose)
        if text_target is None:
            return encoding  # type: ignore[return-value]
        if max_target_length is not None:
            lengths = lengths._replace(max_length=max_target_length)
        options = {**options, "target": True}
        target = self._encode(text_target, text_pair_target, lengths, options, returned, return_tensors, verbose)
        if encoding is None:
            return target
        encoding["labels"] = target["input_ids"]
        return encoding

    def _returns(self, name: str, wanted: bool | None) -> bool:
        return name in self.model_input_names if wanted is None else wanted

    def _encode(
        self,
        text: Any,
        pair: Any,
        lengths: Lengths,
        options: Mapping[str, Any],
        returned: Mapping[str, Any],
        return_tensors: str | None,
        verbose: bool,
    ) -> BatchEncoding:
        batch, batched = as_batch(text, pair, options["is_split_into_words"])
        encodings = self._run(batch, batched, lengths, options)
        samples: list[int] | None = None
        if returned["overflowing"]:
            rows = [[encoding, *encoding.overflowing] for encoding in encodings]
            samples = [sample for sample, row in enumerate(rows) for _ in row]
            encodings = [encoding for row in rows for encoding in row]

        data: dict[str, Any] = {"input_ids": [self._ids(encoding, options["target"]) for encoding in encodings]}
        for name, attribute in _ATTRIBUTES.items():
            if returned[name]:
                data[name] = [getattr(encoding, attribute) for encoding in encodings]
        if returned["length"]:
            data["length"] = [len(ids) for ids in data["input_ids"]]
        if samples is not None:
            data["overflow_to_sample_mapping"] = samples
        if lengths.max_length is None and verbose and not self._warned_too_long:
            self._warn_if_too_long(data["input_ids"])
        if not batched and return_tensors is None and samples is None:
            data = {key: value[0] if isinstance(value[0], list) else value for key, value in data.items()}
        return BatchEncoding(data, encodings if self.is_fast else None, return_tensors)

    def _run(self, batch: Sequence[Any], batched: bool, lengths: Lengths, options: Mapping[str, Any]) -> list[Encoding]:
        """Encode a batch with the backend, whose state (padding, truncation) is set for this call and then reset."""
        if not batch:
            return []
        is_split, add_special = options["is_split_into_words"], options["add_special_tokens"]
        explained = backend_errors(lambda error: cannot_encode(error, lengths, options))
        with self._lock, explained, self._encoder(options["target"]) as backend:
            try:
                self._set_state(backend, lengths, options)
                try:
                    return backend.encode_batch(batch, is_split, add_special)
                except TypeError:
                    repaired = repair(batch, batched, is_split)
                    if repaired is None:
                        raise
                    return backend.encode_batch(repaired, is_split, add_special)
            finally:
                if lengths.truncation:
                    backend.no_truncation()
                if lengths.padding:
                    backend.no_padding()
                if options["split_special_tokens"]:
                    backend.encode_special_tokens = False

    @contextmanager
    def _encoder(self, target: bool) -> Iterator[Tokenizer]:
        """The backend that encodes texts, or targets: tokenizers of translation models encode these differently."""
        yield self._tokenizer

    def _ids(self, encoding: Encoding, target: bool) -> list[int]:
        return encoding.ids

    def _set_state(self, backend: Tokenizer, lengths: Lengths, options: Mapping[str, Any]) -> None:
        if lengths.truncation and lengths.max_length is not None:
            backend.enable_truncation(
                max_length=lengths.max_length,
                stride=options["stride"],
                strategy=lengths.truncation,
                direction=check_side(self.truncation_side),
            )
        if lengths.padding:
            backend.enable_padding(
                length=lengths.max_length if lengths.padding == "max_length" else None,
                direction=check_side(options["padding_side"]),
                pad_id=backend.token_to_id(self.pad_token),
                pad_token=self.pad_token,
                pad_type_id=self.pad_token_type_id,
                pad_to_multiple_of=options["pad_to_multiple_of"],
            )
        if options["split_special_tokens"]:
            backend.encode_special_tokens = True

    def _warn_if_too_long(self, rows: list[list[int]]) -> None:
        longest = max(map(len, rows), default=0)
        if longest <= self.model_max_length:
            return
        self._warned_too_long = True
        warn(
            f"A text has {longest} tokens, more than the {self.model_max_length} that this model supports; running it "
            "through the model will fail or give wrong results. Pass truncation=True to cut it. (This warning appears "
            "once per tokenizer.)"
        )

    @contextmanager
    def as_target_tokenizer(self) -> Iterator[None]:
        """The older form of `text_target`: inside the block, texts are encoded as targets."""
        self._in_target = True
        try:
            yield
        finally:
            self._in_target = False

    def encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> BatchEncoding:
        """The older form of a call with one text or pair."""
        return self(text, text_pair, **options)

    def batch_encode_plus(self, batch_text_or_text_pairs: Any, **options: Any) -> BatchEncoding:
        """The older form of a call with a batch of texts or 2-tuples."""
        return self(batch_text_or_text_pairs, **options)

    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """The ids of a text: `self(text, ...)["input_ids"]`.

        Example:
            >>> from tokenizers import Tokenizer, models
            >>> from notebook_kit import PreTrainedTokenizerFast
            >>> backend = Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1}, unk_token="[UNK]"))
            >>> PreTrainedTokenizerFast(tokenizer_object=backend).encode("hello")
            [1]
        """
        return self(text, text_pair, **options)["input_ids"]

    def tokenize(self, text: Any, pair: Any = None, add_special_tokens: bool = False, **options: Any) -> list[str]:
        """The tokens of a text as str, without special tokens by default."""
        return self(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad texts that were tokenized without padding, as collators do.

        Args:
            encoded_inputs: A dictionary of lists (or of lists of lists, arrays, tensors), or a list of dictionaries.
            padding, max_length, pad_to_multiple_of, padding_side: As in a call.
            return_attention_mask: Create an attention_mask if it is missing; None does if it is in `model_input_names`.
            return_tensors: "pt" or "np"; None keeps the format of the input: lists for lists, tensors for tensors.

        Returns:
            A `BatchEncoding` with padded input_ids, attention_mask, token_type_ids and special_tokens_mask; other entries
            are unchanged.

        Raises:
            InputError: If there are no input_ids, the features differ in their entries, padding is requested without a
                padding token, or tensors were requested and rows differ in length.

        Example:
            >>> from tokenizers import Tokenizer, models
            >>> from notebook_kit import PreTrainedTokenizerFast
            >>> backend = Tokenizer(models.WordLevel({"[PAD]": 0, "hello": 1}, unk_token="[PAD]"))
            >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]")
            >>> tokenizer.pad([{"input_ids": [1]}, {"input_ids": [1, 1]}])["attention_mask"]
            [[1, 0], [1, 1]]
        """
        check_arguments(locals())
        can_pad = self.pad_token_id is not None
        lengths = resolve_lengths(
            padding, False, max_length, limit=self.model_max_length, can_pad=can_pad, verbose=verbose
        )
        main = self.model_input_names[0]
        fill = {main: self.pad_token_id, "token_type_ids": self.pad_token_type_id, "special_tokens_mask": 1}
        batch = pad_inputs(
            encoded_inputs,
            main,
            fill,
            padding=lengths.padding is not None,
            length=lengths.max_length if lengths.padding == "max_length" else None,
            multiple_of=pad_to_multiple_of,
            side=check_side(self.padding_side if padding_side is None else padding_side),
            mask=self._returns("attention_mask", return_attention_mask),
            return_tensors=return_tensors,
        )
        return BatchEncoding(batch)
