"""Outputs of models, each of which is an object, a dictionary and a tuple at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import UnknownAttributeError

__all__ = [
    "BackboneOutput",
    "BaseModelOutput",
    "BaseModelOutputWithNoAttention",
    "BaseModelOutputWithPast",
    "BaseModelOutputWithPastAndCrossAttentions",
    "BaseModelOutputWithPooling",
    "BaseModelOutputWithPoolingAndCrossAttentions",
    "BaseModelOutputWithPoolingAndNoAttention",
    "CausalLMOutput",
    "CausalLMOutputWithCrossAttentions",
    "CausalLMOutputWithPast",
    "ImageClassifierOutput",
    "ImageClassifierOutputWithNoAttention",
    "MaskedImageModelingOutput",
    "MaskedLMOutput",
    "ModelOutput",
    "MultipleChoiceModelOutput",
    "NextSentencePredictorOutput",
    "QuestionAnsweringModelOutput",
    "SemanticSegmenterOutput",
    "Seq2SeqLMOutput",
    "Seq2SeqModelOutput",
    "Seq2SeqQuestionAnsweringModelOutput",
    "Seq2SeqSequenceClassifierOutput",
    "SequenceClassifierOutput",
    "SequenceClassifierOutputWithPast",
    "TokenClassifierOutput",
    "Wav2Vec2BaseModelOutput",
]


class ModelOutput(dict):
    """The base of all outputs: `out.logits`, `out["logits"]`, `out[0]`, `out[:2]` and `out.to_tuple()` all work.

    Fields that are None are omitted from the dictionary and the tuple, so `loss, logits = out[:2]` works if labels were
    passed. As it is a `dict`, PyTorch's data-parallel wrappers and `accelerate` find its tensors. A subclass lists its fields;
    the base itself takes any names.

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
        if type(self) is ModelOutput:
            super().update(given)
        elif given:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(map(repr, given))}")

    def __post_init__(self) -> None:
        # Only called by constructors that @dataclass wrote, as users do for their own outputs: they take no mapping.
        first = next(iter(type(self).__dataclass_fields__))  # type: ignore[attr-defined]
        value = dict.get(self, first)
        if len(self) > 1 or isinstance(value, str | torch.Tensor) or not isinstance(value, Iterable):
            return
        pairs = list(value.items() if isinstance(value, Mapping) else value)
        if pairs and all(
            isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
        ):
            super().clear()
            for name, item in pairs:
                self[name] = item

    def __getattribute__(self, name: str) -> Any:
        # Values are stored only in the dictionary, so the three interfaces cannot disagree.
        if name in type(self).__dataclass_fields__:  # type: ignore[attr-defined]
            return dict.get(self, name)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        if name in self:  # of the base, which has no fields
            return self[name]
        raise UnknownAttributeError(f"{type(self).__name__} has no field {name!r}.", name, self)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if type(self) is ModelOutput:
            super().__setitem__(name, value)
            return
        if name not in type(self).__dataclass_fields__:  # type: ignore[attr-defined]
            raise KeyError(f"{type(self).__name__} has no field {name!r}")
        rest = {**self, name: value}
        super().clear()  # keeps the fields in the order of their declaration, which is that of the tuple
        for field in type(self).__dataclass_fields__:  # type: ignore[attr-defined]
            if rest.get(field) is not None:
                super().__setitem__(field, rest[field])

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """All values that are not None, in order."""
        return tuple(self.values())

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def __reduce__(self):
        return type(self), (dict(self),)


dataclass(init=False, repr=False, eq=False)(ModelOutput)


class BaseModelOutput(ModelOutput):
    """The output of an encoder.

    Attributes:
        last_hidden_state: `(batch, tokens, width)`.
        hidden_states: With `output_hidden_states=True`, the embeddings and each layer's output, all of that shape.
        attentions: With `output_attentions=True`, one `(batch, heads, from, to)` per layer; rows sum to 1.

    Example:
        >>> import torch
        >>> BaseModelOutput(last_hidden_state=torch.zeros(1, 3, 8))[0].shape
        torch.Size([1, 3, 8])
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BaseModelOutputWithPooling(ModelOutput):
    """The output of an encoder with a pooler: as `BaseModelOutput`, and `pooler_output` `(batch, width)`.

    Example:
        >>> import torch
        >>> list(BaseModelOutputWithPooling(last_hidden_state=torch.zeros(1, 3, 8), pooler_output=torch.zeros(1, 8)))
        ['last_hidden_state', 'pooler_output']
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """As `BaseModelOutputWithPastAndCrossAttentions`, and `pooler_output` `(batch, width)`.

    Example:
        >>> import torch
        >>> BaseModelOutputWithPoolingAndCrossAttentions(pooler_output=torch.zeros(1, 8)).pooler_output.shape
        torch.Size([1, 8])
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    past_key_values: Any = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


class EncoderHeadOutput(ModelOutput):
    """The base of most outputs of heads on encoders.

    Attributes:
        loss: Scalar, if labels were passed.
        logits: Scores before softmax or sigmoid.
        hidden_states: As in `BaseModelOutput`.
        attentions: As in `BaseModelOutput`.
    """

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class SequenceClassifierOutput(EncoderHeadOutput):
    """One prediction per text: `logits` is `(batch, labels)`.

    Example:
        >>> import torch
        >>> SequenceClassifierOutput(logits=torch.tensor([[2.0, 1.0]])).logits.argmax(-1)
        tensor([0])
    """


class TokenClassifierOutput(EncoderHeadOutput):
    """One prediction per token: `logits` is `(batch, tokens, labels)`.

    Example:
        >>> import torch
        >>> TokenClassifierOutput(logits=torch.tensor([[[2.0, 1.0], [0.0, 1.0]]])).logits.argmax(-1)
        tensor([[0, 1]])
    """


class MultipleChoiceModelOutput(EncoderHeadOutput):
    """One score per choice: `logits` is `(batch, choices)`; hidden states and attentions are `(batch * choices, ...)`.

    Example:
        >>> import torch
        >>> MultipleChoiceModelOutput(logits=torch.tensor([[0.1, 0.9, 0.3]])).logits.argmax(-1)
        tensor([1])
    """


class NextSentencePredictorOutput(EncoderHeadOutput):
    """Whether the second text follows the first: `logits` is `(batch, 2)`, the scores of yes and no.

    Example:
        >>> import torch
        >>> NextSentencePredictorOutput(logits=torch.tensor([[3.0, 0.0]])).logits.argmax(-1)
        tensor([0])
    """


class MaskedLMOutput(EncoderHeadOutput):
    """Scores of the vocabulary at each token: `logits` is `(batch, tokens, vocabulary)`.

    Example:
        >>> import torch
        >>> MaskedLMOutput(loss=torch.tensor(2.5), logits=torch.zeros(1, 3, 30))[0]
        tensor(2.5000)
    """


class CausalLMOutput(EncoderHeadOutput):
    """Scores of the vocabulary at each frame: `logits` is `(batch, frames, vocabulary)`.

    Example:
        >>> import torch
        >>> CausalLMOutput(logits=torch.tensor([[[0.0, 5.0]]])).logits.argmax(-1)
        tensor([[1]])
    """


class Wav2Vec2BaseModelOutput(ModelOutput):
    """As `BaseModelOutput`, over frames of sound, and `extract_features`, `(batch, frames, channels)`: what the convolutions
    extracted, normalized.

    Example:
        >>> import torch
        >>> Wav2Vec2BaseModelOutput(last_hidden_state=torch.zeros(1, 49, 8))[0].shape
        torch.Size([1, 49, 8])
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    extract_features: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class QuestionAnsweringModelOutput(ModelOutput):
    """Where an answer starts and ends: `start_logits` and `end_logits` are `(batch, tokens)`.

    Example:
        >>> import torch
        >>> list(QuestionAnsweringModelOutput(start_logits=torch.zeros(1, 3), end_logits=torch.zeros(1, 3)))
        ['start_logits', 'end_logits']
    """

    loss: Tensor | None = None
    start_logits: Tensor = None  # type: ignore[assignment]
    end_logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """The output of the decoder of an encoder-decoder.

    Attributes:
        last_hidden_state: `(batch, tokens, width)`.
        past_key_values: The `KVCache`, if one was used.
        hidden_states: As in `BaseModelOutput`.
        attentions: Of the self-attention, one `(batch, heads, from, to)` per layer.
        cross_attentions: Of the attention to the encoder, one `(batch, heads, from, encoder tokens)` per layer.

    Example:
        >>> import torch
        >>> BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=torch.zeros(1, 3, 8)).cross_attentions is None
        True
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


class Seq2SeqModelOutput(ModelOutput):
    """The output of an encoder-decoder without a head.

    Attributes:
        last_hidden_state: The decoder's, `(batch, decoder tokens, width)`.
        past_key_values: The decoder's `KVCache`, if one was used.
        decoder_hidden_states: As in `BaseModelOutput`, of the decoder.
        decoder_attentions: Of the decoder's self-attention, one `(batch, heads, from, to)` per layer.
        cross_attentions: Of the decoder's attention to the encoder, one `(batch, heads, from, encoder tokens)` per layer.
        encoder_last_hidden_state: `(batch, encoder tokens, width)`.
        encoder_hidden_states: As in `BaseModelOutput`, of the encoder.
        encoder_attentions: Of the encoder's self-attention, as in `BaseModelOutput`.

    Example:
        >>> import torch
        >>> list(Seq2SeqModelOutput(last_hidden_state=torch.zeros(1, 2, 8), encoder_last_hidden_state=torch.zeros(1, 3, 8)))
        ['last_hidden_state', 'encoder_last_hidden_state']
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
    """As `Seq2SeqModelOutput`, with `logits` `(batch, decoder tokens, vocabulary)` and, if labels were passed, `loss`.

    Example:
        >>> import torch
        >>> Seq2SeqLMOutput(logits=torch.zeros(1, 2, 30)).logits.shape
        torch.Size([1, 2, 30])
    """

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
    """As `Seq2SeqModelOutput`, with `logits` `(batch, labels)` and, if labels were passed, `loss`.

    Example:
        >>> import torch
        >>> Seq2SeqSequenceClassifierOutput(logits=torch.tensor([[0.0, 1.0]])).logits.argmax(-1)
        tensor([1])
    """

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
    """As `Seq2SeqModelOutput`, with `start_logits` and `end_logits`, each `(batch, decoder tokens)`, and, if labels were
    passed, `loss`.

    Example:
        >>> import torch
        >>> Seq2SeqQuestionAnsweringModelOutput(start_logits=torch.tensor([[0.0, 1.0]])).start_logits.argmax(-1)
        tensor([1])
    """

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
    """The output of a decoder: as `BaseModelOutput`, and `past_key_values`, a `KVCache`, if one was used.

    Example:
        >>> import torch
        >>> BaseModelOutputWithPast(last_hidden_state=torch.zeros(1, 3, 8)).to_tuple()[0].shape
        torch.Size([1, 3, 8])
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class DecoderHeadOutput(ModelOutput):
    """The base of most outputs of heads on decoders: as `EncoderHeadOutput`, and `past_key_values`, a `KVCache`."""

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class CausalLMOutputWithPast(DecoderHeadOutput):
    """Scores of the next token at each token: `logits` is `(batch, tokens, vocabulary)`, or with `logits_to_keep`
    `(batch, kept tokens, vocabulary)`.

    Example:
        >>> import torch
        >>> CausalLMOutputWithPast(logits=torch.tensor([[[0.0, 5.0]]])).logits[:, -1].argmax(-1)
        tensor([1])
    """


class CausalLMOutputWithCrossAttentions(ModelOutput):
    """As `CausalLMOutputWithPast`, and `cross_attentions`, one `(batch, heads, from, encoder tokens)` per layer.

    Example:
        >>> import torch
        >>> list(CausalLMOutputWithCrossAttentions(logits=torch.zeros(1, 3, 30), cross_attentions=()))
        ['logits', 'cross_attentions']
    """

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


class SequenceClassifierOutputWithPast(DecoderHeadOutput):
    """One prediction per text, from its last token: `logits` is `(batch, labels)`.

    Example:
        >>> import torch
        >>> SequenceClassifierOutputWithPast(logits=torch.tensor([[0.0, 1.0]])).logits.argmax(-1)
        tensor([1])
    """


# Pictures ------------------------------------------------------------------------------------------------------------


class BaseModelOutputWithNoAttention(ModelOutput):
    """The output of a convolutional network.

    Attributes:
        last_hidden_state: `(batch, channels, height, width)`.
        hidden_states: With `output_hidden_states=True`, the embeddings and each stage's output.

    Example:
        >>> import torch
        >>> BaseModelOutputWithNoAttention(last_hidden_state=torch.zeros(1, 64, 7, 7))[0].shape
        torch.Size([1, 64, 7, 7])
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None


class BaseModelOutputWithPoolingAndNoAttention(ModelOutput):
    """As `BaseModelOutputWithNoAttention`, and `pooler_output`, the mean over the positions.

    Example:
        >>> import torch
        >>> list(BaseModelOutputWithPoolingAndNoAttention(pooler_output=torch.zeros(1, 64)))
        ['pooler_output']
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class ImageClassifierOutput(EncoderHeadOutput):
    """One prediction per image: `logits` is `(batch, labels)`.

    Example:
        >>> import torch
        >>> ImageClassifierOutput(logits=torch.tensor([[2.0, 1.0]])).logits.argmax(-1)
        tensor([0])
    """


class SemanticSegmenterOutput(EncoderHeadOutput):
    """A class per pixel: `logits` is `(batch, labels, rows, columns)`, often smaller than the image.

    Example:
        >>> import torch
        >>> SemanticSegmenterOutput(logits=torch.rand(1, 3, 8, 8)).logits.argmax(1).shape
        torch.Size([1, 8, 8])
    """


class ImageClassifierOutputWithNoAttention(ModelOutput):
    """One prediction per image, of a convolutional network: `logits` is `(batch, labels)`.

    Example:
        >>> import torch
        >>> ImageClassifierOutputWithNoAttention(logits=torch.tensor([[2.0, 1.0]])).logits.argmax(-1)
        tensor([0])
    """

    loss: Tensor | None = None
    logits: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None


class MaskedImageModelingOutput(ModelOutput):
    """The pixels behind masked patches.

    Attributes:
        loss: The mean absolute error of the masked pixels, if `bool_masked_pos` was passed.
        reconstruction: The predicted pixels, `(batch, channels, height, width)`.
        hidden_states: As in `BaseModelOutput`.
        attentions: As in `BaseModelOutput`.

    Example:
        >>> import torch
        >>> MaskedImageModelingOutput(reconstruction=torch.zeros(1, 3, 32, 32)).reconstruction.shape
        torch.Size([1, 3, 32, 32])
    """

    loss: Tensor | None = None
    reconstruction: Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BackboneOutput(ModelOutput):
    """The output of a backbone for detection or segmentation.

    Attributes:
        feature_maps: One `(batch, channels, height, width)` for each of the configuration's `out_features`.
        hidden_states: As in the output of the family's base model.
        attentions: As in `BaseModelOutput`; None for a convolutional network.

    Example:
        >>> import torch
        >>> BackboneOutput(feature_maps=(torch.zeros(1, 64, 8, 8), torch.zeros(1, 128, 4, 4))).feature_maps[1].shape
        torch.Size([1, 128, 4, 4])
    """

    feature_maps: tuple[Tensor, ...] = None  # type: ignore[assignment]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
