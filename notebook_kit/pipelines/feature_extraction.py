"""Feature extraction: the hidden states of a text."""

from __future__ import annotations

from typing import Any

import torch

from notebook_kit.errors import InputError
from notebook_kit.pipelines.text import TextPipeline, read_text_or_pair

__all__ = ["FeatureExtractionPipeline"]


class FeatureExtractionPipeline(TextPipeline):
    """Gives the hidden states of the last layer, one vector per token. Made by `pipeline("feature-extraction")`.

    Options:
        return_tensors: `True` for a tensor in place of nested lists.
        truncation: As in the tokenizer's call.
        tokenize_kwargs: More arguments of the tokenizer's call.

    Returns:
        For each text nested lists (or a float32 tensor) of shape (1, tokens, width); no padding, whatever the batch.

    Example:
        >>> from notebook_kit import pipeline
        >>> extract = pipeline("feature-extraction", model="notebook-kit/tiny-sentiment")
        >>> extract("A warm film.", return_tensors=True).shape[:2]
        torch.Size([1, 6])
    """

    task = "feature-extraction"
    auto_model = "AutoModel"
    per_token = frozenset({"hidden"})

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        more = options.pop("tokenize_kwargs", None) or {}
        both = sorted(set(more) & set(options))
        if both:
            raise InputError(
                f"{', '.join(both)} is given both in the call and in tokenize_kwargs.", next_step="Pass it once."
            )
        return options | more

    def preprocess(self, item: Any, **options: Any) -> dict[str, Any]:
        text, pair = read_text_or_pair(item)
        return dict(self.tokenize(text, pair, **options))

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        first = self.model(**batch)[0]
        return {"hidden" if first.dim() == 3 else "vector": first}

    def postprocess(
        self,
        item: Any,
        features: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        *,
        return_tensors: bool | str | None = False,
    ) -> Any:
        (array,) = outputs[0].values()
        # A copy: a row of a batch would keep the whole batch in memory.
        return torch.tensor(array)[None] if return_tensors else [array.tolist()]
