"""mBART: BART for many languages, with norms before the blocks and a final norm in encoder and decoder.

Source: Liu et al., Multilingual Denoising Pre-training for Neural Machine Translation, 2020.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from notebook_kit.models.bart import (
    BartConfig,
    BartDecoderModel,
    BartForCausalLM,
    BartForConditionalGeneration,
    BartForQuestionAnswering,
    BartForSequenceClassification,
    BartModel,
)
from notebook_kit.models.bart_blocks import BartDecoder, BartDecoderLayer, BartEncoder, BartEncoderLayer

__all__ = [
    "MBartConfig",
    "MBartForCausalLM",
    "MBartForConditionalGeneration",
    "MBartForQuestionAnswering",
    "MBartForSequenceClassification",
    "MBartModel",
]


class MBartConfig(BartConfig):
    """mBART's settings: those of `BartConfig`, without a start token: the decoder starts from a language code.

    Example:
        >>> from notebook_kit import MBartConfig
        >>> config = MBartConfig(vocab_size=250027, scale_embedding=True)
        >>> config.decoder_start_token_id, config.d_model
        (None, 1024)
    """

    model_type: ClassVar[str] = "mbart"
    default_num_labels: ClassVar[int] = 2

    decoder_start_token_id: int | None = None


class MBartEncoderLayer(BartEncoderLayer):
    """BART's encoder layer with norms before the blocks."""

    pre_norm = True


class MBartDecoderLayer(BartDecoderLayer):
    """BART's decoder layer with norms before the blocks."""

    pre_norm = True


class MBartEncoder(BartEncoder):
    """BART's encoder with a final norm."""

    layer, norms_output = MBartEncoderLayer, True


class MBartDecoder(BartDecoder):
    """BART's decoder with a final norm."""

    layer, norms_output = MBartDecoderLayer, True


def wrap_last_token(input_ids: Tensor, pad_token_id: int | None) -> Tensor:
    """The decoder's input for these labels, `(batch, tokens)`: shifted to the right, after each row's last token.

    The last token is the language code.

    Args:
        input_ids: `(batch, tokens)`, padded on the right; -100 counts as padding.
        pad_token_id: Id of the padding token.
    """
    pad = 1 if pad_token_id is None else pad_token_id
    ids = input_ids.masked_fill(input_ids == -100, pad)
    last = (ids.ne(pad).sum(dim=1, keepdim=True) - 1).clamp(min=0)
    return torch.cat([ids.gather(1, last), ids[:, :-1]], dim=1)


class MBartModel(BartModel):
    """Encoder and decoder without a head; see `BartModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import MBartConfig, MBartModel
        >>> model = MBartModel(MBartConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50)).eval()
        >>> model.shift_right(torch.tensor([[17, 8, 2, 44]]))  # 44 is a language code
        tensor([[44, 17,  8,  2]])
        >>> model(torch.tensor([[17, 8, 2, 44]])).last_hidden_state.shape
        torch.Size([1, 4, 32])
    """

    config_class = MBartConfig
    encoder_class = MBartEncoder
    decoder_class = MBartDecoder

    def shift_right(self, input_ids: Tensor) -> Tensor:
        """The decoder's input for these labels, `(batch, tokens)`."""
        return wrap_last_token(input_ids, self.config.pad_token_id)


class MBartForConditionalGeneration(BartForConditionalGeneration):
    """mBART with scores of the vocabulary at each position of the decoder; see `BartForConditionalGeneration`.

    Example:
        >>> import torch
        >>> from notebook_kit import MBartConfig, MBartForConditionalGeneration
        >>> tiny = MBartConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50)
        >>> model = MBartForConditionalGeneration(tiny)
        >>> model(torch.tensor([[17, 8, 2, 44]]), labels=torch.tensor([[9, 2, 45]])).logits.shape
        torch.Size([1, 3, 50])
    """

    config_class = MBartConfig
    backbone = MBartModel

    def shift_right(self, input_ids: Tensor) -> Tensor:
        """The decoder's input for these labels, `(batch, tokens)`."""
        return wrap_last_token(input_ids, self.config.pad_token_id)


class MBartForSequenceClassification(BartForSequenceClassification):
    """mBART with one prediction per text; see `BartForSequenceClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import MBartConfig, MBartForSequenceClassification
        >>> tiny = MBartConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50, num_labels=4)
        >>> MBartForSequenceClassification(tiny)(torch.tensor([[17, 8, 2, 44]])).logits.shape
        torch.Size([1, 4])
    """

    config_class = MBartConfig
    backbone = MBartModel


class MBartForQuestionAnswering(BartForQuestionAnswering):
    """mBART with two scores per token; see `BartForQuestionAnswering`.

    Example:
        >>> import torch
        >>> from notebook_kit import MBartConfig, MBartForQuestionAnswering
        >>> tiny = MBartConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50)
        >>> MBartForQuestionAnswering(tiny)(torch.tensor([[17, 8, 2, 44]])).start_logits.shape
        torch.Size([1, 4])
    """

    config_class = MBartConfig
    backbone = MBartModel


class MBartDecoderModel(BartDecoderModel):
    """mBART's decoder alone; see `BartDecoderModel`."""

    config_class = MBartConfig
    decoder_class = MBartDecoder


class MBartForCausalLM(BartForCausalLM):
    """mBART's decoder with scores of the vocabulary at each token; see `BartForCausalLM`.

    Example:
        >>> import torch
        >>> from notebook_kit import MBartConfig, MBartForCausalLM
        >>> model = MBartForCausalLM(MBartConfig(d_model=32, decoder_layers=1, vocab_size=50))
        >>> model(torch.tensor([[17, 8, 2, 44]])).logits.shape
        torch.Size([1, 4, 50])
    """

    config_class = MBartConfig
    backbone = MBartDecoderModel
