"""Text classification: the best label, or the scores of all labels, for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from notebook_kit.errors import InputError, a_kind
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.inputs import iterate
from notebook_kit.pipelines.options import check_choice, check_count, checked
from notebook_kit.pipelines.scores import FUNCTIONS, best_labels, scores_from_logits
from notebook_kit.pipelines.text import TextPipeline

__all__ = ["TextClassificationPipeline"]

_UNSET: Any = ""  # None means "all labels"


class TextClassificationPipeline(TextPipeline):
    """Labels texts, for example by sentiment, topic, or whether a pair matches. Created by `pipeline("text-classification")`.

    Options:
        top_k: The number of labels to return, best first; `None` for all. By default, only the best one.
        function_to_apply: The function from logits to scores: `"softmax"`, `"sigmoid"` or `"none"`. By default softmax;
            sigmoid for one label or `problem_type="multi_label_classification"`; none for `"regression"`.
        return_all_scores: The older spelling of `top_k=None`, which returns labels in the model's order.
        text_pair: The second text of a pair; for a list of texts, as many second texts.
        truncation, max_length, ...: As in the tokenizer's call.

    Inputs are texts, pairs `{"text": ..., "text_pair": ...}`, or lists of them. In a list, a pair may be a tuple.

    Returns:
        `[{"label": str, "score": float}]` for one text; for a list of texts, a list with one such dict per text, or one
        list of dicts per text with `top_k`.

    Example:
        >>> from notebook_kit import pipeline
        >>> classify = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
        >>> classify("A warm and funny film.")[0]["label"]
        'POSITIVE'
    """

    task = "text-classification"
    auto_model = "AutoModelForSequenceClassification"

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        if "return_all_scores" in options:
            every = checked("return_all_scores", options.pop("return_all_scores"), bool | None)
            if "top_k" not in options and every is not None:
                options["top_k"] = None if every else 1
                options["in_order"] = True
        if options.get("function_to_apply") is not None:
            options["function_to_apply"] = check_choice("function_to_apply", options["function_to_apply"], FUNCTIONS)
        check_count("top_k", options.get("top_k"), otherwise=", or None for all labels")
        return options

    def __call__(self, inputs: Any, **options: Any) -> Any:
        if (pair := options.pop("text_pair", None)) is not None:
            result = super().__call__(_pairs(inputs, pair), **options)
        else:
            result = super().__call__(inputs, **options)
        # One text gives a list of one dict, unless top_k is passed in the call, as in transformers.
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    def inputs_of_call(self, *args: Any, **options: Any) -> Any:
        inputs, pair = super().inputs_of_call(*args, **options), options.get("text_pair")
        return inputs if pair is None else _pairs(inputs, pair)

    def postprocess(
        self,
        item: Any,
        features: Rows,
        outputs: Rows,
        *,
        top_k: int | None = _UNSET,
        function_to_apply: str | None = None,
        in_order: bool = False,
    ) -> Any:
        scores = scores_from_logits(outputs[0]["logits"], self.model.config, function_to_apply)
        labels = self.model.config.id2label
        if top_k == "" or (top_k == 1 and in_order):
            best = int(scores.argmax())
            return {"label": labels[best], "score": float(scores[best])}
        if in_order:
            return [{"label": labels[i], "score": score} for i, score in enumerate(scores.tolist())]
        return best_labels(scores, labels, top_k)


def _pairs(texts: Any, second: Any) -> Any:
    """The texts with their second texts, as a pair or a list of pairs."""
    if isinstance(texts, str) and isinstance(second, str):
        return {"text": texts, "text_pair": second}
    for kind in (texts, second):
        if isinstance(kind, str | Mapping) or not isinstance(kind, Iterable):
            raise InputError(
                f"text_pair is {a_kind(second)}, and the input is {a_kind(texts)}.",
                next_step="Pass a text with a text, or a list of texts with a list of as many.",
            )
    firsts, seconds = list(iterate(texts)), list(iterate(second))
    if len(firsts) != len(seconds):
        raise InputError(
            f"There are {len(firsts)} texts and {len(seconds)} in text_pair.", next_step="Pass as many of both."
        )
    return [{"text": text, "text_pair": pair} for text, pair in zip(firsts, seconds, strict=True)]
