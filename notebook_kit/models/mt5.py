"""mT5: T5 for many languages, with a larger vocabulary and a separate output layer.

Source: Xue et al., mT5: A Massively Multilingual Pre-trained Text-to-Text Transformer, 2021.
"""

from __future__ import annotations

from typing import ClassVar

from notebook_kit.fields import Rows, Size
from notebook_kit.models.t5 import (
    StackLayers,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    T5ForQuestionAnswering,
    T5ForSequenceClassification,
    T5ForTokenClassification,
    T5Model,
)

__all__ = [
    "MT5Config",
    "MT5EncoderModel",
    "MT5ForConditionalGeneration",
    "MT5ForQuestionAnswering",
    "MT5ForSequenceClassification",
    "MT5ForTokenClassification",
    "MT5Model",
]


class MT5Config(T5Config):
    """mT5's settings: those of `T5Config`, with the defaults of `google/mt5-small`.

    Example:
        >>> from notebook_kit import MT5Config
        >>> config = MT5Config()
        >>> config.vocab_size, config.feed_forward_proj, config.scale_decoder_outputs
        (250112, 'gated-gelu', False)
    """

    model_type: ClassVar[str] = "mt5"

    vocab_size: Rows = 250112
    d_ff: Size = 1024
    num_layers: StackLayers = 8
    num_heads: Size = 6
    feed_forward_proj: str = "gated-gelu"
    scale_decoder_outputs: bool | None = False


class MT5Model(T5Model):
    """mT5's encoder and decoder without a head; see `T5Model`.

    Example:
        >>> import torch
        >>> from notebook_kit import MT5Config, MT5Model
        >>> model = MT5Model(MT5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50))
        >>> model(torch.tensor([[17, 8, 1]]), decoder_input_ids=torch.tensor([[0, 21]])).last_hidden_state.shape
        torch.Size([1, 2, 32])
    """

    config_class = MT5Config


class MT5EncoderModel(T5EncoderModel):
    """mT5's encoder alone; see `T5EncoderModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import MT5Config, MT5EncoderModel
        >>> tiny = MT5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50)
        >>> MT5EncoderModel(tiny)(torch.tensor([[17, 8, 1]])).last_hidden_state.shape
        torch.Size([1, 3, 32])
    """

    config_class = MT5Config


class MT5ForConditionalGeneration(T5ForConditionalGeneration):
    """mT5 with scores of the vocabulary at each position of the decoder; see `T5ForConditionalGeneration`.

    Example:
        >>> import torch
        >>> from notebook_kit import MT5Config, MT5ForConditionalGeneration
        >>> tiny = MT5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50)
        >>> model = MT5ForConditionalGeneration(tiny)
        >>> model(torch.tensor([[17, 8, 1]]), labels=torch.tensor([[21, 1]])).logits.shape
        torch.Size([1, 2, 50])
    """

    config_class = MT5Config


class MT5ForSequenceClassification(T5ForSequenceClassification):
    """mT5 with one prediction per text; see `T5ForSequenceClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import MT5Config, MT5ForSequenceClassification
        >>> tiny = MT5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50)
        >>> MT5ForSequenceClassification(tiny)(torch.tensor([[17, 8, 1]])).logits.shape
        torch.Size([1, 2])
    """

    config_class = MT5Config


class MT5ForTokenClassification(T5ForTokenClassification):
    """mT5's encoder with one prediction per token; see `T5ForTokenClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import MT5Config, MT5ForTokenClassification
        >>> tiny = MT5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50)
        >>> MT5ForTokenClassification(tiny)(torch.tensor([[17, 8, 1]])).logits.shape
        torch.Size([1, 3, 2])
    """

    config_class = MT5Config


class MT5ForQuestionAnswering(T5ForQuestionAnswering):
    """mT5 with two scores per token, for where the answer starts and ends; see `T5ForQuestionAnswering`.

    Example:
        >>> import torch
        >>> from notebook_kit import MT5Config, MT5ForQuestionAnswering
        >>> tiny = MT5Config(d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=50)
        >>> MT5ForQuestionAnswering(tiny)(torch.tensor([[17, 1, 8, 1]])).end_logits.shape
        torch.Size([1, 4])
    """

    config_class = MT5Config
