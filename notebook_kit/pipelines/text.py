"""The base class of text pipelines: tokenization, batches measured in tokens, padding, and the limits of the model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch

from notebook_kit.errors import InputError, a_kind
from notebook_kit.nn.inputs import position_limit, vocabulary_size
from notebook_kit.pipelines.base import Pipeline, Rows
from notebook_kit.processing.padding import pad_features

__all__ = ["TOKENIZER_OPTIONS", "TextPipeline", "read_text", "read_text_or_pair"]

# Keyword arguments of the tokenizer's call that are options of a pipeline.
TOKENIZER_OPTIONS = {
    "add_special_tokens": bool,
    "max_length": int | None,
    "pad_to_multiple_of": int | None,
    "padding": bool | str,
    "padding_side": str | None,
    "return_attention_mask": bool | None,
    "return_token_type_ids": bool | None,
    "truncation": bool | str | None,
}


class TextPipeline(Pipeline):
    """A pipeline whose features are token ids, as returned by the tokenizer's call.

    The option `batch_tokens` is the maximum number of tokens in a batch, padding included. `**options` in `preprocess`
    stands for keyword arguments of the tokenizer's call. By default, the inputs are texts or pairs of texts.

    Example:
        >>> from notebook_kit import pipeline
        >>> class CountTokens(TextPipeline):
        ...     task = "count-tokens"
        ...     def postprocess(self, item, features, outputs):
        ...         return len(features[0]["input_ids"])
        >>> classify = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
        >>> count = CountTokens(classify.model, classify.tokenizer)
        >>> count(["A warm and funny film.", "Dull."])
        [8, 4]
    """

    processors: ClassVar[tuple[str, ...] | None] = ("tokenizer",)
    budget_option: ClassVar[str] = "batch_tokens"
    # Measured: fewer than about 1,000 tokens underuse a CPU's vector units, and more overflow its caches.
    budgets: ClassVar[tuple[int | None, int | None]] = (1024, 16384)
    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {"preprocess": TOKENIZER_OPTIONS}
    per_token: ClassVar[frozenset[str]] = frozenset()
    """Names of outputs of shape `(batch, tokens, ...)`, from which padding is removed."""

    def preprocess(self, item: Any, *args: Any, **options: Any) -> Any:
        text, pair = read_text_or_pair(item)
        return dict(self.tokenize(text, pair, **options))

    def tokenize(self, text: Any, pair: Any = None, **options: Any) -> Any:
        """Call the tokenizer; truncation respects the model's limit even if the tokenizer does not know it."""
        if options.get("truncation") and options.get("max_length") is None:
            limit = self.max_tokens
            if limit is not None and limit < self.tokenizer.model_max_length:
                options["max_length"] = limit
        # Not verbose, since a text that is too long for the model raises an error here.
        options["verbose"] = False
        return self.tokenizer(text, pair, **options) if pair is not None else self.tokenizer(text, **options)

    def cost(self, feature: Mapping[str, Any]) -> int:
        return len(feature["input_ids"])

    def group(self, feature: Mapping[str, Any]) -> Hashable:
        return None if self.can_pad else len(feature["input_ids"])

    def collate(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        if len(features) == 1:
            return super().collate(features)
        return pad_features(features, self.input_names, fill=self.fill, side=self.padding_side)

    @property
    def can_pad(self) -> bool:
        """Whether sequences of different lengths can share a batch, that is, whether there is a padding token."""
        return self.tokenizer.pad_token_id is not None

    @property
    def padding_side(self) -> str:
        """`"right"` or `"left"`."""
        return getattr(self.tokenizer, "padding_side", "right")

    @property
    def fill(self) -> dict[str, int | float]:
        """Name of an input -> its padding value; 0 for inputs that are not listed."""
        segment = getattr(self.tokenizer, "pad_token_type_id", 0)
        return {"input_ids": self.tokenizer.pad_token_id or 0, "token_type_ids": segment or 0}

    @cached_property
    def max_tokens(self) -> int | None:
        """The maximum number of tokens that the model has positions for; `None` if there is no limit."""
        return position_limit(self.model)

    @cached_property
    def _vocabulary(self) -> int | None:
        return vocabulary_size(self.model)

    def features_of(self, item: Any, options: dict[str, Any]) -> Rows:
        """The features of one input, checked against the limits of the model."""
        features = super().features_of(item, options)
        for feature in features:
            self.check_tokens(feature["input_ids"])
        return features

    def check_tokens(self, ids: Any) -> None:
        """Check token ids against the limits of the model.

        Raises:
            InputError: If there are none, too many, or one that the model does not have.
        """
        if not isinstance(ids, list):
            return
        longest = self.max_tokens
        if longest is not None and len(ids) > longest:
            truncate = "Pass truncation=True to read only its start, or split it into shorter ones."
            raise InputError(
                f"The input is {len(ids)} tokens long, and the model reads at most {longest}.",
                next_step=truncate if "truncation" in self.option_steps else "Split it into shorter ones.",
            )
        if not ids:
            raise InputError("The input has no tokens.", next_step="Leave empty inputs out.")
        highest = max(ids)
        if self._vocabulary is None or highest < self._vocabulary:
            return
        del self._vocabulary  # cached, and may have grown since
        if self._vocabulary is not None and highest >= self._vocabulary:
            raise InputError(
                f"The tokenizer returned the token id {highest}, but the model has only {self._vocabulary} tokens: they do "
                "not belong together.",
                next_step="Load both from the same checkpoint, or call model.resize_token_embeddings(len(tokenizer)).",
            )

    def run_batch(self, features: Rows, options: dict[str, Any]) -> Rows:
        rows = super().run_batch(features, options)
        for name in self.per_token.intersection(rows[0]):
            for row, feature in zip(rows, features, strict=True):
                n = len(feature["input_ids"])
                row[name] = row[name][:n] if self.padding_side == "right" else row[name][len(row[name]) - n :]
        return rows


def read_text(item: Any, expected: str = "Pass a text.") -> str:
    """Return the input if it is a text.

    Raises:
        InputError: otherwise, with `expected` as the next step.

    Example:
        >>> read_text("It rains.")
        'It rains.'
    """
    if not isinstance(item, str):
        raise InputError(f"The input is {a_kind(item)}, where a text was expected.", next_step=expected)
    return item


def read_text_or_pair(item: Any) -> tuple[str, str | None]:
    """The text of an input, and its second text if it is a pair.

    Raises:
        InputError: if the input is neither a text nor a pair.

    Example:
        >>> read_text_or_pair({"text": "It rains.", "text_pair": "It is wet."})
        ('It rains.', 'It is wet.')
    """
    if isinstance(item, str):
        return item, None
    if isinstance(item, dict):
        text, pair = item.get("text"), item.get("text_pair")
        strange = sorted(set(item) - {"text", "text_pair"})
        if strange:
            raise InputError(
                f"The input is a dict with {', '.join(map(repr, strange))}.",
                next_step='Pass {"text": ..., "text_pair": ...}, or one column of a dataset: dataset["text"].',
            )
    elif isinstance(item, tuple) and len(item) == 2:
        text, pair = item
    elif isinstance(item, list) and len(item) == 1 and isinstance(item[0], list) and len(item[0]) == 2:
        text, pair = item[0]  # the older form of a pair
    else:
        text, pair = item, None
    if not isinstance(text, str) or not isinstance(pair, str | None):
        wrong = text if not isinstance(text, str) else pair
        raise InputError(
            f"The input contains {str(wrong)[:80]!r} of the type {type(wrong).__name__}, where a text was expected.",
            next_step='Pass a str, or for a pair {"text": ..., "text_pair": ...}.',
        )
    return text, pair
