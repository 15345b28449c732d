"""Probes: a few examples whose predictions are recorded repeatedly while a model learns."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError, a_kind
from notebook_kit.inspection.attention.running import has_sites
from notebook_kit.nn.attention import record_attention
from notebook_kit.nn.turns import looking

__all__ = ["Probes", "attention_of", "undisturbed"]

LABELS = 12
"""The maximum number of labels kept per example: the likeliest at that step."""

WORDS = 5
TOKENS = 128
"""The maximum number of tokens per example whose attention is kept."""


class Probes:
    """Examples whose predictions are recorded at some steps of a run.

    Args:
        examples: Texts, pairs of texts, or dictionaries of arguments for the model's forward (lists or tensors of one example).
        every: The number of steps between two probes. None: about 100 probes per run, or every 10 steps if the length of the
            run is unknown.
        attention: A `(layer, head)` whose attention is recorded too, or None.

    Raises:
        InputError: If there are no examples, one of them has an unknown type, or `every` is less than 1.

    Example:
        >>> Probes(["Not bad at all."], every=50).names
        ['Not bad at all.']
    """

    def __init__(
        self, examples: Sequence[Any], every: int | None = None, attention: tuple[int, int] | None = None
    ) -> None:
        if isinstance(examples, str | Mapping):
            examples = [examples]
        if not isinstance(examples, Sequence):
            raise InputError(
                f"{examples!r:.60} are not examples to probe with.", next_step='Pass a list: probes=["A text."].'
            )
        if not examples:
            raise InputError("There are no examples to probe with.", next_step='Pass some: probes=["A text."].')
        for example in examples:
            pair = (
                isinstance(example, list | tuple)
                and len(example) == 2
                and all(isinstance(text, str) for text in example)
            )
            if not (isinstance(example, str | Mapping) or pair):
                raise InputError(
                    f"{a_kind(example, starts=True)} is not an example to probe with: {example!r:.60}.",
                    next_step="Pass texts, pairs of texts, or dictionaries of the model's inputs.",
                )
        if every is not None and not (isinstance(every, Integral) and every >= 1):
            raise InputError(
                f"Probes cannot be taken every {every!r:.60} steps.", next_step="Pass a number of at least 1."
            )
        self.examples = list(examples)
        self.every = every
        self.attention = attention
        self._inputs: list[dict[str, Tensor]] | None = None
        self._tokens: list[list[str]] = []

    @property
    def names(self) -> list[str]:
        """The names of the examples: their texts, or their numbers."""
        return [
            example
            if isinstance(example, str)
            else " / ".join(example)
            if not isinstance(example, Mapping)
            else _name(example, i)
            for i, example in enumerate(self.examples)
        ]

    def is_due(self, step: int, max_steps: int | None) -> bool:
        """Whether predictions are due after this step."""
        every = self.every or (max(1, max_steps // 100) if max_steps else 10)
        return step % every == 0 or step == max_steps

    def take(self, model: nn.Module, tokenizer: Any) -> list[dict[str, Any]]:
        """The model's current predictions, without effects on gradients, modes of modules, or later random numbers.

        Args:
            model: A model whose output has `logits`: classes `(1, labels)`, or words or classes per token `(1, T, labels)`.
            tokenizer: Converts texts to inputs; not needed for dictionaries.

        Returns:
            Per example: `labels` and `values` (probabilities, or plain numbers for a regression) and `kind` ("classes",
            "numbers", "words", "tokens"); with attention, also `size`, `attention` (`size` x `size` bytes as base64, 255 for a
            weight of 1) and `tokens`.

        Raises:
            InputError: If the model's output cannot be interpreted, or it returns no attention.
        """
        if self._inputs is None:
            self._inputs = [self._encoded(example, tokenizer) for example in self.examples]
            self._tokens = [_tokens(inputs, tokenizer) for inputs in self._inputs]
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        rows = []
        with undisturbed(model, device):
            for inputs, tokens in zip(self._inputs, self._tokens, strict=True):
                batch = {name: tensor.to(device) for name, tensor in inputs.items()}
                weights = None
                if self.attention is None:
                    outputs = model(**batch)
                else:
                    outputs, weights = attention_of(model, batch, self.attention)
                row = _prediction(model, tokenizer, batch, outputs)
                if weights is not None:
                    size = min(TOKENS, weights.shape[0])
                    pixels = (weights[:size, :size].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
                    row |= {
                        "size": size,
                        "attention": base64.b64encode(pixels.tobytes()).decode("ascii"),
                        "tokens": tokens[:size],
                    }
                rows.append(row)
        return rows

    def _encoded(self, example: Any, tokenizer: Any) -> dict[str, Tensor]:
        if isinstance(example, Mapping):
            return {
                name: _one(name, value) for name, value in example.items() if name not in ("label", "labels", "text")
            }
        if tokenizer is None:
            raise InputError(
                "The probes are texts, but there is no tokenizer to read them with.",
                next_step="Pass a processing_class to the Trainer, or pass the probes as dictionaries of input_ids.",
            )
        texts = (example,) if isinstance(example, str) else tuple(example)
        return {
            name: torch.as_tensor(value)
            for name, value in tokenizer(*texts, return_tensors="pt", truncation=True).items()
        }


@contextmanager
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Use a model during its training: no dropout and no gradients within the block; afterwards, modules have their former
    modes, and later random numbers are the same as without the block."""
    on_cuda = device.type == "cuda"
    # Not in inference mode: tensors that the model caches here are used in later training steps.
    with looking(model), torch.no_grad():
        before, there = torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_cuda else None
        try:
            yield
        finally:
            torch.set_rng_state(before)
            if there is not None:
                torch.cuda.set_rng_state(there, device)


def attention_of(model: nn.Module, batch: Mapping[str, Tensor], place: tuple[int, int]) -> tuple[Any, Tensor]:
    """A model's outputs for one example, and the attention of one of its heads, `(from, to)`, float32.

    Raises:
        InputError: If the model does not return its attention.
    """
    layer, head = place
    if has_sites(model):
        with record_attention(model, layers=[layer]) as record:
            outputs = model(**batch)
        weights = record[layer]
    else:
        outputs = model(**batch, output_attentions=True)
        every = getattr(outputs, "attentions", None)
        if not every or every[0] is None:
            raise InputError(
                f"{type(model).__name__} returned no attention.",
                next_step='Load it with attn_implementation="eager", or omit probe_attention.',
            )
        weights = every[layer]
    return outputs, weights[0, head].float()


def _prediction(model: nn.Module, tokenizer: Any, batch: Mapping[str, Tensor], outputs: Any) -> dict[str, Any]:
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if logits is None:
        raise InputError(
            f"The output of {type(model).__name__} has no logits to read a prediction from.",
            next_step="Probe models with a head, such as AutoModelForSequenceClassification.",
        )
    config = getattr(model, "config", None)
    names = getattr(config, "id2label", None) or {}
    logits = logits[0].float()
    if logits.dim() == 1:
        task = getattr(config, "problem_type", None)
        if logits.shape[0] == 1 or task == "regression":
            values, kind = logits, "numbers"
        else:
            values, kind = (logits.sigmoid() if task == "multi_label_classification" else logits.softmax(-1)), "classes"
        return _row([str(names.get(i, f"LABEL_{i}")) for i in range(len(values))], values, kind)
    if logits.dim() != 2:
        raise InputError(
            f"A prediction cannot be read from logits of shape {tuple(logits.shape)} for one example.",
            next_step="Probe models whose logits are (labels,) or (tokens, labels) for one example.",
        )
    ids, mask = batch.get("input_ids"), getattr(tokenizer, "mask_token_id", None)
    if logits.shape[-1] == getattr(config, "vocab_size", None):
        place = logits.shape[0] - 1
        if ids is not None and mask is not None and (found := (ids[0] == mask).nonzero()).numel():
            place = int(found[0])
        values, which = logits[place].softmax(-1).topk(min(WORDS, logits.shape[-1]))
        words = [str(tokenizer.decode([i])).strip() if tokenizer is not None else str(i) for i in which.tolist()]
        return _row(words, values, "words")
    likely = logits.softmax(-1)
    inner = likely[1:-1] if likely.shape[0] > 2 else likely  # without the special tokens at both ends
    return _row([str(names.get(i, f"LABEL_{i}")) for i in range(likely.shape[-1])], inner.mean(0), "tokens")


def _row(labels: list[str], values: Tensor, kind: str) -> dict[str, Any]:
    numbers = values.detach().cpu().numpy().astype(np.float64)
    kept = sorted(np.argsort(-numbers, kind="stable")[:LABELS].tolist()) if kind != "words" else range(len(labels))
    return {
        "kind": kind,
        "labels": [labels[i][:60] for i in kept],
        "values": [round(float(numbers[i]), 6) for i in kept],
    }


def _one(name: str, value: Any) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor if tensor.dim() > 1 or name in ("inputs_embeds", "pixel_values") else tensor[None]


def _tokens(inputs: Mapping[str, Tensor], tokenizer: Any) -> list[str]:
    ids = inputs.get("input_ids")
    if ids is None:
        return []
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        return [str(token) for token in tokenizer.convert_ids_to_tokens(ids[0].tolist())]
    return [str(i) for i in ids[0].tolist()]


def _name(example: Mapping[str, Any], number: int) -> str:
    text = example.get("text")
    return text if isinstance(text, str) else f"example {number + 1}"
