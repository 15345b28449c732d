"""M2M-100 and NLLB: mBART's blocks with sinusoidal positions, which skip padding, for translation between many languages.

Source: Fan et al., Beyond English-Centric Multilingual Machine Translation, 2020; NLLB Team, No Language Left Behind, 2022.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.fields import Activation, Fraction, Rows
from notebook_kit.models.bart import BartConfig, BartForConditionalGeneration, BartModel, BartPreTrainedModel
from notebook_kit.models.bart_blocks import BartHalf
from notebook_kit.models.mbart import MBartDecoder, MBartEncoder
from notebook_kit.nn.layers import embed_tokens, input_size

__all__ = [
    "M2M100Config",
    "M2M100ForConditionalGeneration",
    "M2M100Model",
    "M2M100PreTrainedModel",
]


class M2M100Config(BartConfig):
    """M2M-100's settings: those of `BartConfig`; the defaults are those of `facebook/m2m100_418M`.

    Example:
        >>> from notebook_kit import M2M100Config
        >>> config = M2M100Config(encoder_layers=6, decoder_layers=6)
        >>> config.activation_function, config.scale_embedding, config.vocab_size
        ('relu', True, 128112)
    """

    model_type: ClassVar[str] = "m2m_100"
    default_num_labels: ClassVar[int] = 2

    vocab_size: Rows = 128112
    activation_function: Activation = "relu"
    attention_dropout: Fraction = 0.1
    encoder_layerdrop: Fraction = 0.05
    decoder_layerdrop: Fraction = 0.05
    scale_embedding: bool = True
    forced_eos_token_id: int | list[int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as `config.json` has them: this family has no forced token unless one is set."""
        values = super().to_dict()
        return {name: value for name, value in values.items() if name != "forced_eos_token_id" or value is not None}


class M2M100Positions(nn.Module):
    """Sines in the first half of each vector, cosines in the second; 0 at padding. There is no table, so no longest text."""

    def __init__(self, config: M2M100Config) -> None:
        super().__init__()
        self.width = config.d_model
        self.padding = 1 if config.pad_token_id is None else config.pad_token_id

    def forward(self, positions: Tensor) -> Tensor:
        """`(..., tokens)`, counted from `padding + 1`, to `(..., tokens, width)`.

        The frequencies are those of tensor2tensor: 1 to 1/10000, both included.
        """
        half = self.width // 2
        steps = torch.arange(half, dtype=torch.int64, device=positions.device).float()
        frequencies = torch.exp(steps * -(math.log(10000) / (half - 1)))
        angles = positions[..., None].float() * frequencies
        table = nn.functional.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, self.width % 2))
        return table.masked_fill(positions[..., None] == self.padding, 0.0)


class M2M100Half(BartHalf):
    """The embeddings of encoder and decoder: padding has no position."""

    positions, norms_embeddings = M2M100Positions, False

    def embed(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        past: int = 0,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Embeddings of tokens and positions, `(batch, tokens, width)`, after `past` cached tokens."""
        _, T, device = input_size(input_ids, inputs_embeds)
        words = embed_tokens(self.embed_tokens, input_ids, inputs_embeds)
        padding = self.embed_positions.padding
        words = words * self.scale if inputs_embeds is None else words
        if position_ids is not None:
            positions = position_ids + 1
        elif input_ids is None:
            positions = torch.arange(past + 1, past + T + 1, device=device)
        else:
            is_text = input_ids.ne(padding).long()
            positions = (is_text.cumsum(dim=1) + past) * is_text
        return self.norm_embeddings(words + self.embed_positions(positions + padding).to(words.dtype))


class M2M100Encoder(M2M100Half, MBartEncoder):
    """mBART's encoder with these positions."""


class M2M100Decoder(M2M100Half, MBartDecoder):
    """mBART's decoder with these positions."""


class M2M100PreTrainedModel(BartPreTrainedModel):
    """What the models of M2M100 share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import M2M100Model, M2M100PreTrainedModel
        >>> issubclass(M2M100Model, M2M100PreTrainedModel)
        True
    """

    config_class = M2M100Config
    position_field = None  # sines have no last position
    weight_rules = replace(
        BartPreTrainedModel.weight_rules,
        unused=(*BartPreTrainedModel.weight_rules.unused, r"embed_positions\.weights$"),
    )


class M2M100Model(M2M100PreTrainedModel, BartModel):
    """Encoder and decoder without a head; see `BartModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import M2M100Config, M2M100Model
        >>> model = M2M100Model(M2M100Config(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50)).eval()
        >>> model(torch.tensor([[44, 17, 8, 2]]), decoder_input_ids=torch.tensor([[2, 45]])).last_hidden_state.shape
        torch.Size([1, 2, 32])
    """

    encoder_class = M2M100Encoder
    decoder_class = M2M100Decoder
    weight_rules = replace(M2M100PreTrainedModel.weight_rules, tied=BartModel.weight_rules.tied)


class M2M100ForConditionalGeneration(M2M100PreTrainedModel, BartForConditionalGeneration):
    """M2M-100 with scores of the vocabulary at each position of the decoder: translations.

    `generate` needs the target language as its first token: `forced_bos_token_id=tokenizer.get_lang_id("fr")`.

    Example:
        >>> import torch
        >>> from notebook_kit import M2M100Config, M2M100ForConditionalGeneration
        >>> model = M2M100ForConditionalGeneration(M2M100Config(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50))
        >>> model(torch.tensor([[44, 17, 8, 2]]), labels=torch.tensor([[45, 9, 2]])).logits.shape
        torch.Size([1, 3, 50])
    """

    backbone: ClassVar[type[Any]] = M2M100Model
    weight_rules = replace(
        M2M100PreTrainedModel.weight_rules,
        tied=BartForConditionalGeneration.weight_rules.tied,
        computed=(r"^final_logits_bias$",),  # BART's, which stays 0
    )
