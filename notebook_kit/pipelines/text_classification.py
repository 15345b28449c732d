"""Text classification: one label, or a score for each, for a text or a pair of texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from notebook_kit.errors import InputError, near_matches
from notebook_kit.pipelines.base import Pipeline

__all__ = ["TextClassificationPipeline", "read_text_or_pair", "scores_from_logits"]

FUNCTIONS = ("sigmoid", "softmax", "none")
_UNSET: Any = ""  # None means "all labels"


class TextClassificationPipeline(Pipeline):
    """Labels texts: sentiment, topics, pairs that match. Made by `pipeline("text-classification")`.

    Options:
        top_k: How many labels to give, best first; `None` for all. Without it, the best one.
        function_to_apply: From logits to scores: `"softmax"`, `"sigmoid"`, `"none"`. By default softmax; sigmoid for
            one label or `problem_type="multi_label_classification"`; none for `"regression"`.
        return_all_scores: The older spelling of `top_k=None`, which gives labels in the model's order.
        truncation, max_length, ...: Those of the tokenizer's call.

    Inputs are texts, pairs `{"text": ..., "text_pair": ...}`, or lists of them; in a list a pair may be a tuple.

    Returns:
        `[{"label": str, "score": float}]` for one text, a list of such dicts for a list of texts, and with `top_k` a
        list of them for each text.

    Example:
        >>> from notebook_kit import pipeline
        >>> classify = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
        >>> classify("A warm and funny film.")[0]["label"]
        'POSITIVE'
    """

    task = "text-classification"
    auto_model = "AutoModelForSequenceClassification"

    def settle(self, options: dict[str, Any]) -> dict[str, Any]:
        options = dict(options)
        if "return_all_scores" in options:
            every = options.pop("return_all_scores")
            if "top_k" not in options and every is not None:
                options["top_k"] = None if every else 1
                options["in_order"] = True
        function = options.get("function_to_apply")
        if function is not None:
            function = str(getattr(function, "value", function)).lower()
            if function not in FUNCTIONS:
                raise InputError(
                    f"function_to_apply is {function!r}. {near_matches(function, FUNCTIONS)}".rstrip(),
                    next_step=f"Pass one of {', '.join(FUNCTIONS)}.",
                )
            options["function_to_apply"] = function
        top_k = options.get("top_k", 1)
        if top_k == "":
            del options["top_k"]
        elif top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise InputError(f"top_k is {top_k!r}.", next_step="Pass a number from 1, or None for all labels.")
        return options

    def __call__(self, inputs: Any, **options: Any) -> Any:
        result = super().__call__(inputs, **options)
        # One text gives a list of one, unless the call itself says how many labels it wants: the habit of years.
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    def preprocess(self, item: Any, **options: Any) -> dict[str, Any]:
        text, pair = read_text_or_pair(item)
        return dict(self.tokenize(text, pair, **options))

    def postprocess(
        self,
        item: Any,
        features: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
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
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [{"label": labels[i], "score": float(scores[i])} for i in order.tolist()]


def scores_from_logits(logits: np.ndarray, config: Any, function: str | None = None) -> np.ndarray:
    """Apply `"softmax"`, `"sigmoid"` or `"none"` to logits of shape (labels,); by default what the config says."""
    if function is None:
        problem = getattr(config, "problem_type", None)
        if problem == "regression":
            function = "none"
        elif problem == "multi_label_classification" or logits.shape[-1] == 1:
            function = "sigmoid"
        else:
            function = "softmax"
    if function == "softmax":
        powers = np.exp(logits - logits.max())
        return powers / powers.sum()
    if function == "sigmoid":
        return 1.0 / (1.0 + np.exp(-logits))
    return logits


def read_text_or_pair(item: Any) -> tuple[str, str | None]:
    """The text, and the text beside it if the input is a pair.

    Raises:
        InputError: if the input is neither.

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
        text, pair = item[0]  # how pairs were spelt before dicts
    else:
        text, pair = item, None
    if not isinstance(text, str) or not isinstance(pair, str | None):
        wrong = text if not isinstance(text, str) else pair
        raise InputError(
            f"The input holds a {type(wrong).__name__} where a text should be: {str(wrong)[:80]!r}.",
            next_step='Pass a str, or for a pair {"text": ..., "text_pair": ...}.',
        )
    return text, pair
