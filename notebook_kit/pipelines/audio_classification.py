"""Audio classification: the best labels of a recording."""

from __future__ import annotations

from typing import Any

import numpy as np

from notebook_kit.pipelines.audio import AudioPipeline
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.options import check_choice, check_count
from notebook_kit.pipelines.scores import FUNCTIONS, best_labels, scores_from_logits

__all__ = ["AudioClassificationPipeline"]


class AudioClassificationPipeline(AudioPipeline):
    """Labels recordings. Created by `pipeline("audio-classification")`.

    Options:
        top_k: The number of labels to return, best first; by default 5, and None for all.
        function_to_apply: The function from logits to scores: `"softmax"`, `"sigmoid"` or `"none"`. By default softmax;
            sigmoid for `problem_type="multi_label_classification"`; none for `"regression"`.
        sampling_rate, timeout: As for `AudioPipeline`.

    Inputs are recordings in any form that `load_audio` takes, or lists of them.

    Returns:
        `[{"score": float, "label": str}, ...]` for one recording; for a list of recordings, a list of such lists.

    Example:
        >>> import numpy as np
        >>> from notebook_kit import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification
        >>> config = ASTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_length=64,
        ...     num_mel_bins=16, id2label={0: "yes", 1: "no"})
        >>> extractor = ASTFeatureExtractor(max_length=64, num_mel_bins=16)
        >>> classify = AudioClassificationPipeline(ASTForAudioClassification(config), feature_extractor=extractor)
        >>> [len(labels) for labels in classify([np.sin(np.arange(8_000)), np.zeros((2, 44_100))], top_k=1)]
        [1, 1]
    """

    task = "audio-classification"
    auto_model = "AutoModelForAudioClassification"

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("function_to_apply") is not None:
            options["function_to_apply"] = check_choice("function_to_apply", options["function_to_apply"], FUNCTIONS)
        check_count("top_k", options.get("top_k"), otherwise=", or None")
        return options

    def process(self, samples: np.ndarray, **options: Any) -> dict[str, Any]:
        return super().process(samples, **({"return_attention_mask": True} if self.can_pad else {}), **options)

    def postprocess(
        self,
        item: Any,
        features: Rows,
        outputs: Rows,
        *,
        top_k: int | None = 5,
        function_to_apply: str | None = None,
    ) -> list[dict[str, Any]]:
        config = self.model.config
        if function_to_apply is None and getattr(config, "problem_type", None) is None:
            function_to_apply = "softmax"  # of one label, too
        scores = scores_from_logits(outputs[0]["logits"], config, function_to_apply)
        return best_labels(scores, config.id2label, top_k)
