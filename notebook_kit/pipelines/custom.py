"""Custom pipelines written for `transformers`.

`transformers` documents a custom pipeline as a subclass of `Pipeline` with four methods, which differ from those here:
`_sanitize_parameters(**kwargs)` divides the options among the three steps; `preprocess(input)` returns tensors whose first
axis has the length 1; `_forward(model_inputs)` calls the model; `postprocess(model_outputs)` reads the model's outputs
directly. Such a class works here unchanged. As there, inputs are computed one by one unless a `batch_size` is passed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from notebook_kit.errors import InputError
from notebook_kit.processing.padding import pad_rows

__all__ = ["TransformersForm"]


class TransformersForm:
    """Runs a pipeline with `_sanitize_parameters`; `Pipeline` adds this class to the bases of such a class."""

    budgets: ClassVar[tuple[int | None, int | None]] = (None, None)
    run_defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 1}

    options: dict[str, Any]
    tokenizer: Any
    feature_extractor: Any
    _missing: Callable[[str], InputError]
    _sanitize_parameters: Callable[..., tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]

    def check_options(self, options: dict[str, Any]) -> dict[str, Any]:
        return options  # `_sanitize_parameters` selects the ones it uses

    def split_options(self, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        given, now = self._sanitize_parameters(**self.options), self._sanitize_parameters(**options)
        return {**given[0], **now[0]}, {**given[1], **now[1]}, {**given[2], **now[2]}

    def is_single(self, inputs: Any) -> bool:
        if isinstance(inputs, tuple | np.ndarray | torch.Tensor):
            return True
        try:
            return super().is_single(inputs)  # type: ignore[misc]
        except InputError:
            return True  # `preprocess` may be able to read it

    def features_of(self, item: Any, options: dict[str, Any]) -> list[Any]:
        features = self.preprocess(item, **options)  # type: ignore[attr-defined]
        return list(features) if self._in_chunks else [features]

    @property
    def _in_chunks(self) -> bool:
        """Whether one input has several features, as in a `ChunkPipeline`."""
        return inspect.isgeneratorfunction(self.preprocess)  # type: ignore[attr-defined]

    def cost(self, feature: Mapping[str, Any]) -> int:
        tensors = [value for value in feature.values() if isinstance(value, torch.Tensor) and value.dim() > 1]
        return max((tensor.shape[1] for tensor in tensors), default=1)

    def group(self, feature: Mapping[str, Any]) -> Hashable:
        can_pad = self.tokenizer is None or self.tokenizer.pad_token_id is not None
        return None if can_pad else self.cost(feature)

    def collate(self, features: list[Any]) -> dict[str, Any]:
        """Pad tensors along the second axis and concatenate them along the first; collect other values in lists."""
        fill = {"p_mask": 1, "special_tokens_mask": 1}
        fill |= dict.fromkeys(["input_values", "input_features"], getattr(self.feature_extractor, "padding_value", 0))
        fill["input_ids"] = getattr(self.tokenizer, "pad_token_id", 0)
        side = getattr(self.tokenizer or self.feature_extractor, "padding_side", "right")
        batch: dict[str, Any] = {}
        for name in features[0]:
            values = [feature[name] for feature in features]
            if not isinstance(values[0], torch.Tensor):
                batch[name] = values
            elif values[0].dim() > 1:
                batch[name] = pad_rows([row for value in values for row in value], fill.get(name, 0), side=side)
            else:
                batch[name] = torch.cat(values)
        return batch

    def run_batch(self, features: list[Any], options: dict[str, Any]) -> list[Any]:
        if len(features) == 1:
            return [self.forward(features[0], **options)]
        outputs = self.forward(self.collate(features), **options)
        return [_row(outputs, i) for i in range(len(features))]

    def _forward(self, model_inputs: Any, **options: Any) -> Any:
        raise self._missing("_forward")

    def forward(self, model_inputs: Any, **options: Any) -> Any:
        """Call `_forward` on the model's device, without gradients, and move its outputs to the CPU."""
        self.model.eval()  # type: ignore[attr-defined]
        with torch.no_grad():
            outputs = self._forward(_moved(model_inputs, self.device), **options)  # type: ignore[attr-defined]
            return _moved(outputs, torch.device("cpu"))

    def answer(self, item: Any, features: list[Any], outputs: list[Any], options: dict[str, Any]) -> Any:
        return self.postprocess(outputs if self._in_chunks else outputs[0], **options)  # type: ignore[attr-defined]


def _moved(values: Any, device: torch.device) -> Any:
    """The same structure with all tensors on `device`; tensors that are already there are not copied."""
    if isinstance(values, torch.Tensor):
        return values.to(device)
    if isinstance(values, Mapping):
        moved = {name: _moved(value, device) for name, value in values.items()}
        if all(moved[name] is values[name] for name in moved):
            return values  # unchanged, with any further attributes
        return type(values)(moved)  # type: ignore[call-arg]
    if isinstance(values, list | tuple) and any(isinstance(value, torch.Tensor) for value in values):
        return type(values)(_moved(value, device) for value in values)
    return values


def _row(outputs: Any, i: int) -> Any:
    """The outputs for one feature of a batch, in the form of a batch of one: the first axis has the length 1."""
    if isinstance(outputs, Mapping):
        return type(outputs)({name: _row(value, i) for name, value in outputs.items()})  # type: ignore[call-arg]
    if isinstance(outputs, torch.Tensor | np.ndarray):
        return outputs[i : i + 1] if outputs.ndim else outputs
    if isinstance(outputs, tuple):  # one tensor per layer
        return tuple(_row(value, i) for value in outputs)
    return outputs[i] if isinstance(outputs, list) else outputs
