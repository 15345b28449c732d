"""Feature extraction: the hidden states of a text."""

from __future__ import annotations

from typing import Any

import torch

from notebook_kit.errors import InputError
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.options import checked
from notebook_kit.pipelines.text import TextPipeline

__all__ = ["FeatureExtractionPipeline"]


class FeatureExtractionPipeline(TextPipeline):
    """Returns the hidden states of the last layer, one vector per token. Created by `pipeline("feature-extraction")`.

    Options:
        return_tensors: `True` for a tensor instead of nested lists.
        truncation: As in the tokenizer's call.
        tokenize_kwargs: Further arguments of the tokenizer's call.

    Returns:
        Per text, nested lists (or a float32 tensor) of shape (1, tokens, hidden size), without padding.

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
        further = checked("tokenize_kwargs", options.pop("tokenize_kwargs", None), dict[str, Any] | None) or {}
        if twice := sorted(set(further) & set(options)):
            raise InputError(
                f"{', '.join(twice)} was passed both as an option and in tokenize_kwargs.", next_step="Pass it once."
            )
        return options | further

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        first = self.model(**batch)[0]
        return {"hidden" if first.dim() == 3 else "vector": first}

    def postprocess(
        self, item: Any, features: Rows, outputs: Rows, *, return_tensors: bool | str | None = False
    ) -> Any:
        (array,) = outputs[0].values()
        # A copy, since a row of a batch would keep the whole batch in memory.
        return torch.tensor(array)[None] if return_tensors else [array.tolist()]
