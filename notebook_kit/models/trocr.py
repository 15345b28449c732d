"""TrOCR's decoder: BART's blocks on the states of an encoder of images, which may have another width.

Source: Li et al., TrOCR: Transformer-based Optical Character Recognition with Pre-trained Models, 2021.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from notebook_kit.checkpoints.names import WeightRules
from notebook_kit.configuration import PretrainedConfig
from notebook_kit.fields import Activation, Fraction, Layers, NonNegative, Rows, Size
from notebook_kit.models.bart import BartDecoderModel, BartForCausalLM
from notebook_kit.models.bart_blocks import BartAttention, BartDecoder, BartDecoderLayer
from notebook_kit.nn.few_rows import one_row

__all__ = ["TrOCRConfig", "TrOCRForCausalLM"]


class TrOCRConfig(PretrainedConfig):
    """TrOCR's settings; the defaults are those of the decoder of `microsoft/trocr-base-handwritten`.

    Args:
        vocab_size: Rows of the token embeddings.
        d_model: Width of the residual stream.
        decoder_layers: Number of layers.
        decoder_attention_heads: Heads per layer; must divide `d_model`.
        decoder_ffn_dim: Width inside the feed-forward blocks.
        activation_function: Activation of the feed-forward blocks.
        max_position_embeddings: Maximum length of a text, in tokens.
        dropout: Dropout after the embeddings and each block.
        attention_dropout: Dropout of attention weights.
        activation_dropout: Dropout inside the feed-forward blocks.
        decoder_start_token_id: The first token of the decoder's input.
        init_std: Standard deviation of the initial weights.
        decoder_layerdrop: Probability of skipping a layer in training.
        use_cache: Return the cache of keys and values by default, except in training.
        scale_embedding: Multiply token embeddings by the square root of `d_model`.
        use_learned_position_embeddings: Whether positions are learned, rather than sinusoidal.
        layernorm_embedding: Whether a norm follows the embeddings.
        cross_attention_hidden_size: Width of the encoder's states; `d_model` by default.

    Example:
        >>> from notebook_kit import TrOCRConfig
        >>> config = TrOCRConfig(d_model=256, cross_attention_hidden_size=384)
        >>> config.hidden_size, config.num_hidden_layers
        (256, 12)
    """

    model_type: ClassVar[str] = "trocr"
    keys_to_ignore_at_inference: ClassVar[tuple[str, ...]] = ("past_key_values",)
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "decoder_attention_heads",
        "num_hidden_layers": "decoder_layers",
    }

    vocab_size: Rows = 50265
    d_model: Size = 1024
    decoder_layers: Layers = 12
    decoder_attention_heads: Size = 16
    decoder_ffn_dim: Size = 4096
    activation_function: Activation = "gelu"
    max_position_embeddings: Rows = 512
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.0
    activation_dropout: Fraction = 0.0
    decoder_start_token_id: int | None = 2
    init_std: NonNegative = 0.02
    decoder_layerdrop: Fraction = 0.0
    use_cache: bool = True
    scale_embedding: bool = False
    use_learned_position_embeddings: bool = True
    layernorm_embedding: bool = True
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    cross_attention_hidden_size: Size | None = None


class TrOCRCrossAttention(BartAttention):
    """BART's attention, to states of the encoder's width."""

    def __init__(self, config, heads: int) -> None:
        super().__init__(config, heads)
        width = config.cross_attention_hidden_size or config.d_model
        self.k_proj, self.v_proj = nn.Linear(width, config.d_model), nn.Linear(width, config.d_model)


class TrOCRDecoderLayer(BartDecoderLayer):
    """Causal self-attention, cross-attention, then a feed-forward block."""

    def __init__(self, config) -> None:
        super().__init__(config)
        self.encoder_attn = TrOCRCrossAttention(config, config.decoder_attention_heads)


class TrOCRSinusoids(nn.Module):
    """Sinusoidal positions, which start after the padding token's id; that of padding is 0."""

    def __init__(self, config) -> None:
        super().__init__()
        self.padding = config.pad_token_id or 0
        rows, half = config.max_position_embeddings + self.padding + 1, config.d_model // 2
        rates = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half))
        angles = torch.arange(rows)[:, None] * rates
        table = torch.cat([angles.sin(), angles.cos()], dim=1)
        table[self.padding] = 0
        self.table: Tensor
        self.register_buffer("table", table, persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        return self.table[positions]


class TrOCRDecoder(BartDecoder):
    """Ids in, one vector per token out, computed from the tokens up to it and the encoder's states."""

    layer, source = TrOCRDecoderLayer, "patches"

    def __init__(self, config) -> None:
        super().__init__(config)
        if not config.use_learned_position_embeddings:
            self.embed_positions = TrOCRSinusoids(config)
        if not config.layernorm_embedding:
            self.layernorm_embedding = nn.Identity()

    def embed(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        past: int = 0,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        given: Any = input_ids if inputs_embeds is None else inputs_embeds
        if isinstance(self.embed_positions, TrOCRSinusoids) and position_ids is None and isinstance(given, Tensor):
            padding = self.embed_positions.padding
            is_token = torch.ones_like(given[..., 0]).long() if inputs_embeds is not None else given.ne(padding).long()
            position_ids = (is_token.cumsum(dim=1) + past) * is_token + padding
        return super().embed(input_ids, inputs_embeds, past, position_ids)


class TrOCRDecoderModel(BartDecoderModel):
    """The decoder, under the name that it has in checkpoints."""

    config_class = TrOCRConfig  # type: ignore[assignment]
    decoder_class = TrOCRDecoder


class TrOCRForCausalLM(BartForCausalLM):
    """TrOCR's decoder with scores of the vocabulary at each token: what `VisionEncoderDecoderModel` puts on a ViT or a DeiT.

    As in `transformers`, `labels` are not shifted: `labels[:, i]` is the token after `input_ids[:, i]`.

    Example:
        >>> import torch
        >>> from notebook_kit import TrOCRConfig, TrOCRForCausalLM
        >>> size = {"d_model": 32, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 64, "vocab_size": 50}
        >>> model = TrOCRForCausalLM(TrOCRConfig(**size, cross_attention_hidden_size=24)).eval()
        >>> model(torch.tensor([[2, 17, 8]]), encoder_hidden_states=torch.zeros(1, 5, 24)).logits.shape
        torch.Size([1, 3, 50])
    """

    config_class = TrOCRConfig  # type: ignore[assignment]
    backbone: ClassVar[type[BartDecoderModel]] = TrOCRDecoderModel
    weight_rules = WeightRules(
        tied={"output_projection.weight": "model.decoder.embed_tokens.weight"},
        unused=(r"decoder\.version$", r"embed_positions\._float_tensor$"),
    )

    def build_head(self, config: TrOCRConfig) -> None:
        self.output_projection = nn.Linear(config.d_model, config.vocab_size, bias=False)

    def score_vocabulary(self, states: Tensor) -> Tensor:
        return one_row(self.output_projection, states)
