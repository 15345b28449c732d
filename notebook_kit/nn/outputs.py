"""What a model returns: one value that acts as an object, a dictionary and a tuple."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "BaseModelOutput",
    "BaseModelOutputWithPast",
    "BaseModelOutputWithPastAndCrossAttentions",
    "BaseModelOutputWithPooling",
    "CausalLMOutputWithPast",
    "MaskedLMOutput",
    "ModelOutput",
    "MultipleChoiceModelOutput",
    "NextSentencePredictorOutput",
    "QuestionAnsweringModelOutput",
    "Seq2SeqLMOutput",
    "Seq2SeqModelOutput",
    "Seq2SeqQuestionAnsweringModelOutput",
    "Seq2SeqSequenceClassifierOutput",
    "SequenceClassifierOutput",
    "SequenceClassifierOutputWithPast",
    "TokenClassifierOutput",
]


class ModelOutput(dict):
    """The base of all outputs: `out.logits`, `out["logits"]`, `out[0]`, `out[:2]` and `out.to_tuple()` all work.

    A field that is None is left out of the dictionary and the tuple, so `loss, logits = out[:2]` holds when labels were
    given. It is a `dict`, so PyTorch's data-parallel wrappers and `accelerate` find the tensors in it.

    Example:
        >>> import torch
        >>> out = SequenceClassifierOutput(logits=torch.tensor([[0.0, 1.0]]))
        >>> out.logits is out["logits"] is out[0], list(out), out.loss
        (True, ['logits'], None)
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(init=False, repr=False, eq=False)(cls)
        torch.utils._pytree.register_pytree_node(
            cls,
            lambda output: (list(output.values()), list(output)),
            lambda values, names: cls(dict(zip(names, values, strict=True))),
            serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
        )

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **named: Any) -> None:
        super().__init__()
        given = {**dict(values), **named}
        for field in fields(self):  # type: ignore[arg-type]
            value = given.pop(field.name, None)
            if value is not None:
                super().__setitem__(field.name, value)
        if given:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(map(repr, given))}")

    def __getattribute__(self, name: str) -> Any:
        # The values live in the dictionary alone, so the three faces can never disagree.
        if name in type(self).__dataclass_fields__:  # type: ignore[attr-defined]
            return dict.get(self, name)
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in type(self).__dataclass_fields__:  # type: ignore[attr-defined]
            raise KeyError(f"{type(self).__name__} has no field {name!r}")
        rest = {**self, name: value}
        super().clear()  # keeps the fields in their declared order, which the tuple face shows
        for field in type(self).__dataclass_fields__:  # type: ignore[attr-defined]
            if rest.get(field) is not None:
                super().__setitem__(field, rest[field])

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """The values that are there, in order."""
        return tuple(self.values())

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def __reduce__(self):
        return type(self), (dict(self),)


class BaseModelOutput(ModelOutput):
    """What an encoder returns.

    Attributes:
        last_hidden_state: `(batch, tokens, hidden)`.
        hidden_states: With `output_hidden_states=True`: the embeddings and then each layer's output, each of that shape.
        attentions: With `output_attentions=True`: one `(batch, heads, from, to)` per layer; rows sum to 1.
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BaseModelOutputWithPooling(ModelOutput):
    """What an encoder with a pooler returns: as `BaseModelOutput`, and `pooler_output` `(batch, hidden)`."""

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class SequenceClassifierOutput(ModelOutput):
    """One prediction per text.

    Attributes:
        loss: Scalar, when labels were given.
        logits: `(batch, labels)`, before softmax or sigmoid.
        hidden_states: As in `BaseModelOutput`.
        attentions: As in `BaseModelOutput`.
    """

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class TokenClassifierOutput(ModelOutput):
    """One prediction per token: `logits` is `(batch, tokens, labels)`."""

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class MultipleChoiceModelOutput(ModelOutput):
    """One score per choice: `logits` is `(batch, choices)`; hidden states and attentions are `(batch * choices, ...)`."""

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class NextSentencePredictorOutput(ModelOutput):
    """Does the second text follow the first: `logits` is `(batch, 2)`, first the score of yes, then that of no."""

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class MaskedLMOutput(ModelOutput):
    """A prediction of the vocabulary at each token: `logits` is `(batch, tokens, vocabulary)`."""

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class QuestionAnsweringModelOutput(ModelOutput):
    """Where an answer starts and ends: `start_logits` and `end_logits` are `(batch, tokens)`."""

    loss: Tensor | None = None
    start_logits: Tensor = None  # type: ignore[assignment]
    end_logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """What the decoder of an encoder-decoder returns.

    Attributes:
        last_hidden_state: `(batch, tokens, hidden)`.
        past_key_values: The cache, when one was used.
        hidden_states: As in `BaseModelOutput`.
        attentions: The decoder's attention to itself, one `(batch, heads, from, to)` per layer.
        cross_attentions: Its attention to the encoder, one `(batch, heads, from, encoder tokens)` per layer.
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


class Seq2SeqModelOutput(ModelOutput):
    """What an encoder-decoder without a head returns.

    Attributes:
        last_hidden_state: The decoder's, `(batch, decoder tokens, hidden)`.
        past_key_values: The decoder's cache, when one was used.
        decoder_hidden_states: As in `BaseModelOutput`, of the decoder.
        decoder_attentions: The decoder's attention to itself.
        cross_attentions: The decoder's attention to the encoder.
        encoder_last_hidden_state: `(batch, encoder tokens, hidden)`.
        encoder_hidden_states: As in `BaseModelOutput`, of the encoder.
        encoder_attentions: The encoder's attention to itself.
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


class Seq2SeqLMOutput(ModelOutput):
    """As `Seq2SeqModelOutput`, with `logits` `(batch, decoder tokens, vocabulary)` and, when labels were given, `loss`."""

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


class Seq2SeqSequenceClassifierOutput(ModelOutput):
    """As `Seq2SeqModelOutput`, with `logits` `(batch, labels)` and, when labels were given, `loss`."""

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


class Seq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """As `Seq2SeqModelOutput`, with `start_logits` and `end_logits`, both `(batch, decoder tokens)`, and `loss`."""

    loss: Tensor | None = None
    start_logits: Tensor = None  # type: ignore[assignment]
    end_logits: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    decoder_hidden_states: tuple[Tensor, ...] | None = None
    decoder_attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: tuple[Tensor, ...] | None = None
    encoder_attentions: tuple[Tensor, ...] | None = None


class BaseModelOutputWithPast(ModelOutput):
    """What a decoder returns: as `BaseModelOutput`, and `past_key_values`, a `KVCache`, when one was used."""

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class CausalLMOutputWithPast(ModelOutput):
    """A prediction of the next token at each token: `logits` is `(batch, tokens, vocabulary)`, or of the last tokens alone
    where `logits_to_keep` asks for them. The rest is as in `BaseModelOutputWithPast`."""

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class SequenceClassifierOutputWithPast(ModelOutput):
    """One prediction per text, from its last token: as `SequenceClassifierOutput`, and `past_key_values`."""

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
