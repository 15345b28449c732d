"""Marian: the translation models of OPUS-MT, BART's blocks with sinusoidal positions and no norm after the embeddings.

Source: Junczys-Dowmunt et al., Marian: Fast Neural Machine Translation in C++, 2018.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.errors import InputError
from notebook_kit.fields import Rows
from notebook_kit.models.bart import (
    BartConfig,
    BartDecoderModel,
    BartForCausalLM,
    BartForConditionalGeneration,
    BartModel,
    BartPreTrainedModel,
)
from notebook_kit.models.bart_blocks import BartDecoder, BartEncoder

__all__ = [
    "MarianConfig",
    "MarianForCausalLM",
    "MarianMTModel",
    "MarianModel",
    "MarianPreTrainedModel",
]


class MarianConfig(BartConfig):
    """Marian's settings: those of `BartConfig`, and two more.

    Args:
        decoder_vocab_size: Rows of the decoder's token embeddings; `vocab_size` by default.
        share_encoder_decoder_embeddings: Whether encoder and decoder share their token embeddings.

    Example:
        >>> from notebook_kit import MarianConfig
        >>> config = MarianConfig(vocab_size=100, pad_token_id=99, decoder_start_token_id=99)
        >>> config.decoder_vocab_size, config.eos_token_id
        (100, 0)
    """

    model_type: ClassVar[str] = "marian"
    default_num_labels: ClassVar[int] = 2

    vocab_size: Rows = 58101
    decoder_vocab_size: Rows | None = None
    share_encoder_decoder_embeddings: bool = True
    decoder_start_token_id: int | None = 58100
    pad_token_id: int | None = 58100
    eos_token_id: int | list[int] | None = 0
    bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = 0

    def validate(self) -> None:
        if self.decoder_vocab_size is None:
            self.decoder_vocab_size = self.vocab_size
        super().validate()


class MarianPositions(nn.Embedding):
    """Fixed position embeddings: sines in the first half of each vector, cosines in the second."""

    def __init__(self, config) -> None:
        super().__init__(config.max_position_embeddings, config.d_model)
        self.weight.requires_grad = False

    def table(self) -> Tensor:
        """`(positions, width)`; Vaswani et al., Attention Is All You Need, 2017, section 3.5."""
        rows, width = self.weight.shape
        positions = torch.arange(rows, dtype=torch.float64)[:, None]
        even = torch.arange(0, width, 2, dtype=torch.float64)
        angles = positions / 10000 ** (even / width)
        return torch.cat([angles.sin(), angles[:, : width // 2].cos()], dim=1)


class MarianEncoder(BartEncoder):
    """BART's encoder with sinusoidal positions."""

    positions, norms_embeddings = MarianPositions, False


class MarianDecoder(BartDecoder):
    """BART's decoder with sinusoidal positions and `decoder_vocab_size`."""

    positions, norms_embeddings = MarianPositions, False

    def __init__(self, config) -> None:
        super().__init__(config, config.decoder_vocab_size)

    def embed(self, input_ids: Tensor | None, inputs_embeds: Tensor | None, *where: Any) -> Tensor:
        if inputs_embeds is not None:  # the decoder scales these, unlike the encoder
            inputs_embeds = inputs_embeds * self.scale
        return super().embed(input_ids, inputs_embeds, *where)


class MarianPreTrainedModel(BartPreTrainedModel):
    """What the models of Marian share: initial values, names of weights, and reading and writing checkpoints. Derive models of
    your own from it, and end their constructor with `self.post_init()`.

    Example:
        >>> from notebook_kit import MarianModel, MarianPreTrainedModel
        >>> issubclass(MarianModel, MarianPreTrainedModel)
        True
    """

    config_class = MarianConfig

    def init_parameter(self, module: nn.Module, name: str) -> None:
        """Draw the initial value of one parameter, or compute it for positions."""
        if isinstance(module, MarianPositions):
            with torch.no_grad():
                module.weight.copy_(module.table())
        else:
            super().init_parameter(module, name)


class MarianEncoderDecoder(MarianPreTrainedModel):
    """The token embeddings of both halves, shared by the backbone and the head."""

    def get_input_embeddings(self) -> nn.Embedding:
        """The encoder's table of token embeddings, `(vocabulary, width)`; the decoder may share it."""
        return self.get_encoder().embed_tokens  # type: ignore[return-value]

    def set_input_embeddings(self, table: nn.Embedding) -> None:
        """Replace that table."""
        backbone: Any = self.base_model
        backbone.encoder.embed_tokens = table
        if self.config.share_encoder_decoder_embeddings:
            backbone.shared = backbone.decoder.embed_tokens = table
        self.tie_weights()


class MarianModel(MarianEncoderDecoder, BartModel):
    """Encoder and decoder without a head; see `BartModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import MarianConfig, MarianModel
        >>> tiny = MarianConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50, pad_token_id=49,
        ...                     decoder_start_token_id=49)
        >>> model = MarianModel(tiny).eval()
        >>> model(torch.tensor([[17, 8, 0]]), decoder_input_ids=torch.tensor([[49, 21]])).last_hidden_state.shape
        torch.Size([1, 2, 32])
    """

    encoder_class = MarianEncoder
    decoder_class = MarianDecoder

    def __init__(self, config: MarianConfig) -> None:
        super().__init__(config)
        if not config.share_encoder_decoder_embeddings:
            del self.shared

    @property
    def weight_rules(self) -> WeightRules:  # type: ignore[override]
        rules = replace(BartModel.weight_rules, defaulted=(r"embed_positions\.weight$",))
        return rules if self.config.share_encoder_decoder_embeddings else replace(rules, tied={})


class MarianMTModel(MarianEncoderDecoder, BartForConditionalGeneration):
    """Marian with scores of the target vocabulary at each position of the decoder: translations.

    Example:
        >>> import torch
        >>> from notebook_kit import MarianConfig, MarianMTModel
        >>> tiny = MarianConfig(d_model=32, encoder_layers=1, decoder_layers=1, vocab_size=50, pad_token_id=49,
        ...                     decoder_start_token_id=49)
        >>> model = MarianMTModel(tiny)
        >>> model(torch.tensor([[17, 8, 0]]), labels=torch.tensor([[21, 0]])).logits.shape
        torch.Size([1, 2, 50])
    """

    backbone = MarianModel

    @property
    def weight_rules(self) -> WeightRules:  # type: ignore[override]
        # The backbone alone saves its positions, as other libraries expect.
        rules = replace(BartForConditionalGeneration.weight_rules, computed=(r"embed_positions\.weight$",))
        if self.config.share_encoder_decoder_embeddings:
            return rules
        return replace(rules, tied={"lm_head.weight": "model.decoder.embed_tokens.weight"})

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """As `PreTrainedModel.resize_token_embeddings`.

        Raises:
            InputError: If encoder and decoder have separate vocabularies.
        """
        if not self.config.share_encoder_decoder_embeddings:
            raise InputError(
                "The encoder and decoder of this model have separate vocabularies, so one new size cannot apply to both.",
                next_step="Use a checkpoint with share_encoder_decoder_embeddings=True, or keep its vocabulary.",
            )
        table = super().resize_token_embeddings(*args, **kwargs)
        self.config.decoder_vocab_size = table.num_embeddings
        return table


class MarianDecoderModel(MarianPreTrainedModel, BartDecoderModel):
    """Marian's decoder alone; see `BartDecoderModel`."""

    decoder_class = MarianDecoder


class MarianForCausalLM(MarianPreTrainedModel, BartForCausalLM):
    """Marian's decoder with scores of the vocabulary at each token; see `BartForCausalLM`.

    Example:
        >>> import torch
        >>> from notebook_kit import MarianConfig, MarianForCausalLM
        >>> model = MarianForCausalLM(MarianConfig(d_model=32, decoder_layers=1, vocab_size=50, pad_token_id=49))
        >>> model(torch.tensor([[49, 17, 8]])).logits.shape
        torch.Size([1, 3, 50])
    """

    backbone = MarianDecoderModel
    weight_rules = replace(BartForCausalLM.weight_rules, defaulted=(r"embed_positions\.weight$",))
