"""Ids to model inputs: special tokens around the ids of one text or a pair, truncation and padding."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer

from notebook_kit.errors import InputError
from notebook_kit.processing.text.arguments import as_count, as_sequence, check_arguments
from notebook_kit.processing.text.batch_encoding import BatchEncoding
from notebook_kit.processing.text.lengths import resolve_lengths
from notebook_kit.processing.text.template import Part, layout

__all__ = ["InputPreparation"]


class InputPreparation:
    """The part of a tokenizer that works on ids of texts without special tokens. Not instantiated directly."""

    _tokenizer: Tokenizer
    model_input_names: list[str]
    model_max_length: int
    truncation_side: str
    pad_token_id: Any
    all_special_ids: Any
    pad: Any

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """The number of special tokens that a call puts around one text or a pair."""
        check_arguments({"pair": pair})
        return self._tokenizer.num_special_tokens_to_add(bool(pair))

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The ids of one text or a pair with the special tokens around them."""
        return [id for _, ids in self._parts(token_ids_0, token_ids_1) for id in ids]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The token_type_ids of `build_inputs_with_special_tokens`."""
        return [part.type_id for part, ids in self._parts(token_ids_0, token_ids_1) for _ in ids]

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for each special token, 0 for each token of the text.

        Args:
            token_ids_0, token_ids_1: Ids of one text or a pair, without special tokens.
            already_has_special_tokens: Whether `token_ids_0` includes special tokens, which are identified by their ids.
        """
        check_arguments({"already_has_special_tokens": already_has_special_tokens})
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise InputError(
                    "With already_has_special_tokens=True there is one sequence, but token_ids_1 was passed, too.",
                    next_step="Pass the whole sequence as token_ids_0.",
                )
            special = set(self.all_special_ids)
            return [int(id in special) for id in as_sequence("token_ids_0", token_ids_0)]
        return [int(part.sequence is None) for part, ids in self._parts(token_ids_0, token_ids_1) for _ in ids]

    def _parts(self, first: list[int], second: list[int] | None) -> list[tuple[Part, list[int]]]:
        texts = {0: as_sequence("token_ids_0", first), 1: as_sequence("token_ids_1", second)}
        parts = layout(self._tokenizer, pair=second is not None)
        return [(part, [part.id] if part.sequence is None else texts[part.sequence]) for part in parts]

    def prepare_for_model(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        prepend_batch_axis: bool = False,
    ) -> BatchEncoding:
        """Put special tokens around the ids of a text or a pair, truncate and pad them, as a call does with texts.

        Args:
            ids, pair_ids: Ids without special tokens, such as those of `convert_tokens_to_ids`.
            return_overflowing_tokens: Return the ids that were cut as "overflowing_tokens", and their number.
            prepend_batch_axis: With `return_tensors`, add a batch axis of length 1.

        The other arguments are those of a call.

        Raises:
            InputError: If an argument is of a wrong type, or overflowing tokens of a pair are requested with the strategy
                "longest_first".

        Example:
            >>> from notebook_kit import AutoTokenizer
            >>> tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
            >>> ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize("a fine film"))
            >>> tokenizer.prepare_for_model(ids)["input_ids"] == tokenizer("a fine film")["input_ids"]
            True
        """
        check_arguments(locals())
        first = as_sequence("ids", ids)
        second = None if pair_ids is None else as_sequence("pair_ids", pair_ids)
        lengths = resolve_lengths(
            padding,
            truncation,
            max_length,
            pad_to_multiple_of,
            limit=self.model_max_length,
            can_pad=self.pad_token_id is not None,
            verbose=verbose,
        )
        special = self.num_special_tokens_to_add(pair=second is not None) if add_special_tokens else 0
        total = len(first) + len(second or ()) + special
        excess = total - lengths.max_length if lengths.truncation and lengths.max_length else 0
        if return_overflowing_tokens and lengths.truncation == "longest_first" and second is not None:
            raise InputError(
                "Overflowing tokens of a pair cannot be returned with the strategy 'longest_first'.",
                next_step="Pass truncation='only_first' or 'only_second'.",
            )
        overflowing: list[int] = []
        if excess > 0:
            first, second, overflowing = self.truncate_sequences(first, second, excess, str(lengths.truncation), stride)
        ids = self.build_inputs_with_special_tokens(first, second) if add_special_tokens else [*first, *(second or ())]
        data: dict[str, Any] = {"input_ids": ids}
        if "token_type_ids" in self.model_input_names if return_token_type_ids is None else return_token_type_ids:
            types = self.create_token_type_ids_from_sequences(first, second) if add_special_tokens else [0] * len(ids)
            data["token_type_ids"] = types
        if return_special_tokens_mask:
            mask = self.get_special_tokens_mask(first, second) if add_special_tokens else [0] * len(ids)
            data["special_tokens_mask"] = mask
        if return_overflowing_tokens and overflowing and return_tensors is None:
            data |= {"overflowing_tokens": overflowing, "num_truncated_tokens": excess}
        data = dict(
            self.pad(
                data,
                padding=lengths.padding or False,
                max_length=lengths.max_length if lengths.padding else None,
                pad_to_multiple_of=pad_to_multiple_of,
                padding_side=padding_side,
                return_attention_mask=return_attention_mask,
            )
        )
        if return_length:
            data["length"] = len(data["input_ids"])
        return BatchEncoding(data, tensor_type=return_tensors, prepend_batch_axis=prepend_batch_axis)

    def truncate_sequences(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        num_tokens_to_remove: int = 0,
        truncation_strategy: str = "longest_first",
        stride: int = 0,
    ) -> tuple[list[int], list[int] | None, list[int]]:
        """Cut ids of one text or a pair on the tokenizer's `truncation_side`.

        Args:
            ids, pair_ids: Ids without special tokens.
            num_tokens_to_remove: How many ids to cut.
            truncation_strategy: "longest_first", "only_first" or "only_second".
            stride: How many of the remaining ids are repeated in what overflows.

        Returns:
            Both sequences, and the ids that overflow (none for a pair with "longest_first").

        Raises:
            InputError: If the strategy does not exist, or the sequence is too short for it.

        Example:
            >>> from notebook_kit import AutoTokenizer
            >>> tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
            >>> tokenizer.truncate_sequences([5, 6, 7, 8], num_tokens_to_remove=1, stride=1)
            ([5, 6, 7], None, [7, 8])
        """
        first = as_sequence("ids", ids)
        second = None if pair_ids is None else as_sequence("pair_ids", pair_ids)
        count = as_count("num_tokens_to_remove", num_tokens_to_remove, least=-(2**31))
        stride = as_count("stride", stride)
        strategy = str(getattr(truncation_strategy, "value", truncation_strategy))
        if strategy not in ("longest_first", "only_first", "only_second", "do_not_truncate"):
            raise InputError(
                f"truncation_strategy={truncation_strategy!r} is not a strategy.",
                next_step="Use 'longest_first', 'only_first' or 'only_second'.",
            )
        if count <= 0 or strategy == "do_not_truncate":
            return first, second, []
        if strategy == "longest_first" and second is not None:
            # The longer one is cut to the length of the other, then both by the same number; the first keeps the odd one.
            longer = min(abs(len(first) - len(second)), count)
            each, odd = divmod(count - longer, 2)
            cuts = (longer + each, each + odd) if len(first) > len(second) else (each, longer + each + odd)
            return self._cut(first, cuts[0]), self._cut(second, cuts[1]), []
        chosen = second if strategy == "only_second" else first
        if chosen is None or len(chosen) < count:
            raise InputError(
                f"{count} ids cannot be cut from {'no' if chosen is None else len(chosen)} ids with {strategy!r}.",
                next_step="Raise max_length, or use the strategy 'longest_first'.",
            )
        window = min(len(chosen), stride + count)
        overflowing = chosen[:window] if self.truncation_side == "left" else chosen[-window:]
        kept = self._cut(chosen, count)
        return (first, kept, overflowing) if strategy == "only_second" else (kept, second, overflowing)

    def _cut(self, ids: list[int], count: int) -> list[int]:
        return ids[count:] if self.truncation_side == "left" else ids[: max(len(ids) - count, 0)]
