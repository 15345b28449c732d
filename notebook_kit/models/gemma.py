"""Gemma: a Llama with scaled token embeddings, norms that multiply by one plus their weight, and a GELU gate.

Source: Gemma Team, Gemma: Open Models Based on Gemini Research and Technology, 2024.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from notebook_kit.errors import ConfigurationError
from notebook_kit.fields import Activation, Layers, Rows, Size
from notebook_kit.models.llama import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
    LlamaVariant,
    RMSNorm,
)

__all__ = [
    "GemmaConfig",
    "GemmaForCausalLM",
    "GemmaForSequenceClassification",
    "GemmaForTokenClassification",
    "GemmaModel",
]


class GemmaConfig(LlamaConfig):
    """Gemma's settings: those of `LlamaConfig`, with the defaults of `gemma-7b`.

    Args:
        use_bidirectional_attention: Not supported if True.

    Example:
        >>> from notebook_kit import GemmaConfig
        >>> GemmaConfig().head_dim, GemmaConfig().tie_word_embeddings
        (256, True)
    """

    model_type: ClassVar[str] = "gemma"
    omitted_fields: ClassVar[tuple[str, ...]] = ("mlp_bias", "pretraining_tp")

    vocab_size: Rows = 256000
    hidden_size: Size = 3072
    intermediate_size: Size = 24576
    num_hidden_layers: Layers = 28
    num_attention_heads: Size = 16
    num_key_value_heads: Size | None = 16
    head_dim: Size | None = 256
    hidden_act: Activation = "gelu_pytorch_tanh"
    max_position_embeddings: Rows = 8192
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    bos_token_id: int | None = 2
    tie_word_embeddings: bool = True
    use_bidirectional_attention: bool | None = None

    def validate(self) -> None:
        super().validate()
        if self.use_bidirectional_attention:
            raise ConfigurationError(
                "use_bidirectional_attention is set, and only causal attention is supported.",
                next_step="Load a checkpoint for text generation, or leave the setting out.",
            )
        if self.hidden_act == "gelu":  # the first checkpoints say so but were trained with the approximation
            self.hidden_act = "gelu_pytorch_tanh"


class GemmaRMSNorm(RMSNorm):
    """An `RMSNorm` that multiplies by `1 + weight`, in float32."""

    initial_weight = 0.0

    def forward(self, x: Tensor) -> Tensor:
        exact = x.float()
        exact = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + self.eps)
        return (exact * (1.0 + self.weight.float())).to(x.dtype)


class GemmaModel(LlamaModel):
    """The decoder; see `LlamaModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import GemmaConfig, GemmaModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> GemmaModel(GemmaConfig(**size))(torch.tensor([[7, 17, 8]])).last_hidden_state.shape
        torch.Size([1, 3, 32])
    """

    config_class = GemmaConfig
    variant = LlamaVariant(norm=GemmaRMSNorm, scales_embeddings=True)


class GemmaForCausalLM(LlamaForCausalLM):
    """The next token; see `LlamaForCausalLM`.

    Example:
        >>> import torch
        >>> from notebook_kit import GemmaConfig, GemmaForCausalLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = GemmaForCausalLM(GemmaConfig(**size)).eval()
        >>> model.generate(torch.tensor([[7, 17, 8]]), max_new_tokens=5, eos_token_id=None).shape
        torch.Size([1, 8])
    """

    config_class = GemmaConfig
    backbone = GemmaModel


class GemmaForSequenceClassification(LlamaForSequenceClassification):
    """One prediction per text; see `LlamaForSequenceClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import GemmaConfig, GemmaForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = GemmaForSequenceClassification(GemmaConfig(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]])).logits.shape
        torch.Size([1, 3])
    """

    config_class = GemmaConfig
    backbone = GemmaModel


class GemmaForTokenClassification(LlamaForTokenClassification):
    """One prediction per token; see `LlamaForTokenClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import GemmaConfig, GemmaForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = GemmaForTokenClassification(GemmaConfig(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]]), labels=torch.tensor([[0, 2, -100]])).logits.shape  # -100 is ignored
        torch.Size([1, 3, 3])
    """

    config_class = GemmaConfig
    backbone = GemmaModel
