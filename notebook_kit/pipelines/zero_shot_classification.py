"""Zero-shot classification: labels that the model was not trained on, by natural language inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from notebook_kit.errors import InputError, notice
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.options import labels_of
from notebook_kit.pipelines.scores import softmax
from notebook_kit.pipelines.text import TextPipeline, read_text

__all__ = ["ZeroShotClassificationPipeline", "candidate_list", "filled_template"]


class ZeroShotClassificationPipeline(TextPipeline):
    """Classifies texts by labels passed in the call. Created by `pipeline("zero-shot-classification")`.

    Each label becomes a hypothesis, and a model for natural language inference scores whether the text entails it (Yin et
    al., Benchmarking Zero-shot Text Classification, 2019).

    Options:
        candidate_labels: A list of labels, or a string of labels separated by commas. Can be the second argument.
        hypothesis_template: A sentence with `{}` (or `{label}`) for the label; `"This example is {}."` by default.
        multi_label: `True` scores each label independently; otherwise the scores sum to 1.

    Returns:
        Per text, `{"sequence": str, "labels": list[str], "scores": list[float]}`, best label first.

    Example:
        >>> import pathlib, tempfile
        >>> from notebook_kit import AutoTokenizer, BertConfig, BertForSequenceClassification, ZeroShotClassificationPipeline
        >>> file = pathlib.Path(tempfile.mkdtemp(), "vocab.txt")
        >>> _ = file.write_text("\\n".join("[PAD] [UNK] [CLS] [SEP] [MASK] this text is about we won music sport .".split()))
        >>> inference = {0: "contradiction", 1: "neutral", 2: "entailment"}  # the labels of such a model
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=14, id2label=inference)
        >>> classify = ZeroShotClassificationPipeline(BertForSequenceClassification(tiny), AutoTokenizer.from_pretrained(file))
        >>> answer = classify("we won", ["music", "sport"], hypothesis_template="This text is about {}.")
        >>> sorted(answer["labels"]), round(sum(answer["scores"]), 3)
        (['music', 'sport'], 1.0)
    """

    task = "zero-shot-classification"
    auto_model = "AutoModelForSequenceClassification"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.entailment_id == -1:
            notice(
                "No label of the model is called 'entailment', so its last label is used. "
                "Set label2id in the model's config to name the right one."
            )

    @property
    def entailment_id(self) -> int:
        """The index of the label for entailment, -1 if no label has that name."""
        labels = self.model.config.label2id.items()
        return next((index for label, index in labels if label.lower().startswith("entail")), -1)

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        if isinstance(options.get("candidate_labels"), str):
            options["candidate_labels"] = labels_of(options["candidate_labels"])
        if "hypothesis_template" in options:
            filled_template(options["hypothesis_template"], ["a label"])
        return options

    def __call__(self, inputs: Any = None, candidate_labels: str | Sequence[str] | None = None, **options: Any) -> Any:
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        return super().__call__(options.pop("sequences", inputs), **options)

    def inputs_of_call(self, *args: Any, **options: Any) -> Any:
        return options["sequences"] if "sequences" in options else super().inputs_of_call(*args, **options)

    def preprocess(
        self,
        item: Any,
        *,
        candidate_labels: str | Sequence[str] | None = None,
        hypothesis_template: str = "This example is {}.",
    ) -> Rows:
        labels = labels_of(candidate_labels)
        if not read_text(item):
            raise InputError("The input is empty.", next_step="Pass a text.")
        return [self._feature(item, hypothesis) for hypothesis in filled_template(hypothesis_template, labels)]

    def _feature(self, text: str, hypothesis: str) -> dict[str, Any]:
        try:
            return dict(self.tokenize(text, hypothesis, truncation="only_first"))
        except Exception as error:
            # The hypothesis leaves no room for the text. The check of lengths raises the error.
            if "too short" not in str(error):
                raise
            return dict(self.tokenize(text, hypothesis))

    def postprocess(
        self,
        item: Any,
        features: Rows,
        outputs: Rows,
        *,
        candidate_labels: str | Sequence[str] = (),
        multi_label: bool = False,
    ) -> dict[str, Any]:
        logits = np.stack([output["logits"] for output in outputs])  # (labels, classes)
        entailment = self.entailment_id
        if multi_label or len(candidate_labels) == 1:
            logits = logits[:, [-1 if entailment == 0 else 0, entailment]]
            scores = softmax(logits)[:, 1]
        else:
            scores = softmax(logits[:, entailment])
        order = scores.argsort()[::-1].tolist()
        return {
            "sequence": item,
            "labels": [candidate_labels[i] for i in order],
            "scores": [float(scores[i]) for i in order],
        }


def candidate_list(labels: Any) -> Any:
    """The labels of a string in which they are separated by commas; anything else unchanged.

    Example:
        >>> candidate_list("music, sport")
        ['music', 'sport']
    """
    return [label.strip() for label in labels.split(",") if label.strip()] if isinstance(labels, str) else labels


def filled_template(template: str, labels: Sequence[str]) -> list[str]:
    """The hypothesis for each label.

    Raises:
        InputError: if the template has no place for the label.

    Example:
        >>> filled_template("A photo of {}.", ["a cat", "a dog"])
        ['A photo of a cat.', 'A photo of a dog.']
    """
    try:
        hypotheses = [template.format(label, label=label) for label in labels]
        depends = template.format("a", label="a") != template.format("b", label="b")
        reason = "" if depends else "has no placeholder for the label"
    except (AttributeError, IndexError, KeyError, ValueError) as error:
        reason = f"cannot be filled with a label ({type(error).__name__}: {error})"
    if reason:
        raise InputError(
            f"The hypothesis_template {template!r} {reason}.",
            next_step="Put {} once where the label goes, as in 'This text is about {}.', and write {{ and }} for other braces.",
        )
    return hypotheses
