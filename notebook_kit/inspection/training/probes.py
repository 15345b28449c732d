"""Probes: a few examples whose prediction is taken again and again while a model learns."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.reading import has_sites
from notebook_kit.nn.attention import record_attention

__all__ = ["Probes", "attention_of", "undisturbed"]

LABELS = 12
"""Labels of an example that are kept: the likeliest at that moment, of more."""

WORDS = 5
TOKENS = 128
"""Tokens of an example whose attention is kept at most."""


class Probes:
    """Examples, and what a model says of them at some steps.

    Args:
        examples: Texts, pairs of texts, or dictionaries of what the model's forward takes (lists or tensors of one example).
        every: Steps between two times; None: about 100 times in a run, or every 10 steps if its length is not known.
        attention: `(layer, head)` whose attention is kept too, or None.

    Raises:
        InputError: If there are no examples, or something is no example.

    Example:
        >>> Probes(["Not bad at all."], every=50).names
        ['Not bad at all.']
    """

    def __init__(
        self, examples: Sequence[Any], every: int | None = None, attention: tuple[int, int] | None = None
    ) -> None:
        if isinstance(examples, str | Mapping):
            examples = [examples]
        if not len(examples):
            raise InputError("There are no examples to probe with.", next_step='Give some: probes=["A text."].')
        for example in examples:
            pair = (
                isinstance(example, list | tuple)
                and len(example) == 2
                and all(isinstance(text, str) for text in example)
            )
            if not (isinstance(example, str | Mapping) or pair):
                raise InputError(
                    f"{type(example).__name__} is no example to probe with: {example!r:.60}.",
                    next_step="Give texts, pairs of texts, or dictionaries of what the model takes.",
                )
        if every is not None and every < 1:
            raise InputError(f"Probes are taken every {every} steps.", next_step="Give a number from 1 on.")
        self.examples = list(examples)
        self.every = every
        self.attention = attention
        self._inputs: list[dict[str, Tensor]] | None = None
        self._tokens: list[list[str]] = []

    @property
    def names(self) -> list[str]:
        """What the examples are called: their texts, or their number."""
        return [
            example
            if isinstance(example, str)
            else " / ".join(example)
            if not isinstance(example, Mapping)
            else _name(example, i)
            for i, example in enumerate(self.examples)
        ]

    def is_due(self, step: int, max_steps: int | None) -> bool:
        """Whether predictions are to be taken after this step."""
        every = self.every or (max(1, max_steps // 100) if max_steps else 10)
        return step % every == 0 or step == max_steps

    def take(self, model: nn.Module, tokenizer: Any) -> list[dict[str, Any]]:
        """What the model says now, without touching gradients, modes of its modules, or any random number to come.

        Args:
            model: A model whose output has `logits`: classes `(1, labels)`, or words or classes for each token `(1, T, labels)`.
            tokenizer: Turns texts into inputs; not needed for dictionaries.

        Returns:
            Per example: `labels` and `values` (probabilities, or plain numbers of a regression) and `kind` ("classes", "numbers",
            "words", "tokens"); with attention `size` and `attention`, `size` x `size` bytes as base64, 255 for a weight of 1,
            and `tokens`.

        Raises:
            InputError: If the model's output cannot be read, or it gives no attention.
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
                row = _said(model, tokenizer, batch, outputs)
                if weights is not None:
                    size = min(TOKENS, weights.shape[0])
                    sent = (weights[:size, :size].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
                    row |= {
                        "size": size,
                        "attention": base64.b64encode(sent.tobytes()).decode("ascii"),
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
                next_step="Give the Trainer a processing_class, or the probes as dictionaries of input_ids.",
            )
        texts = (example,) if isinstance(example, str) else tuple(example)
        return {
            name: torch.as_tensor(value)
            for name, value in tokenizer(*texts, return_tensors="pt", truncation=True).items()
        }


@contextmanager
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """A look at a model in the middle of its training: no dropout and no gradients within the block, and after it the modes of its
    modules and all random numbers to come are the same as without it."""
    training = [module for module in model.modules() if module.training]
    on_cuda = device.type == "cuda"
    before, there = torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_cuda else None
    model.eval()
    try:
        with torch.no_grad():  # not inference_mode: what the model caches here must serve the next training step too
            yield
    finally:
        for module in training:
            module.training = True
        torch.set_rng_state(before)
        if there is not None:
            torch.cuda.set_rng_state(there, device)


def attention_of(model: nn.Module, batch: Mapping[str, Tensor], place: tuple[int, int]) -> tuple[Any, Tensor]:
    """A model's outputs for one example, and the attention `(from, to)` of one of its heads."""
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
                f"{type(model).__name__} gives no attention.",
                next_step='Load it with attn_implementation="eager", or leave probe_attention out.',
            )
        weights = every[layer]
    return outputs, weights[0, head].float()


def _said(model: nn.Module, tokenizer: Any, batch: Mapping[str, Tensor], outputs: Any) -> dict[str, Any]:
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
            next_step="Probe models that give (labels,) or (tokens, labels) for one example.",
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
