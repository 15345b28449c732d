"""Mistral: a Llama in which each layer attends to a window of the last positions.

Source: Jiang et al., Mistral 7B, 2023.
"""

from __future__ import annotations

from typing import ClassVar

from notebook_kit.fields import Rows, Size
from notebook_kit.models.llama import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
    LlamaVariant,
)

__all__ = [
    "MistralConfig",
    "MistralForCausalLM",
    "MistralForQuestionAnswering",
    "MistralForSequenceClassification",
    "MistralForTokenClassification",
    "MistralModel",
]


class MistralConfig(LlamaConfig):
    """Mistral's settings: those of `LlamaConfig`, and the window; the defaults are those of `Mistral-7B-v0.1`.

    Args:
        sliding_window: Number of last positions that each layer attends to, including the current one; None for all.

    Example:
        >>> from notebook_kit import MistralConfig
        >>> MistralConfig().sliding_window
        4096
    """

    model_type: ClassVar[str] = "mistral"
    omitted_fields: ClassVar[tuple[str, ...]] = ("attention_bias", "mlp_bias", "pretraining_tp")

    intermediate_size: Size = 14336
    num_key_value_heads: Size | None = 8
    max_position_embeddings: Rows = 4096 * 32
    sliding_window: Rows | None = 4096


class MistralModel(LlamaModel):
    """The decoder; see `LlamaModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import MistralConfig, MistralModel
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> MistralModel(MistralConfig(**size))(torch.tensor([[7, 17, 8]])).last_hidden_state.shape
        torch.Size([1, 3, 32])
    """

    config_class = MistralConfig
    variant = LlamaVariant(windows=lambda config: [config.sliding_window] * config.num_hidden_layers)


class MistralForCausalLM(LlamaForCausalLM):
    """The next token; see `LlamaForCausalLM`.

    Example:
        >>> import torch
        >>> from notebook_kit import MistralConfig, MistralForCausalLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = MistralForCausalLM(MistralConfig(**size)).eval()
        >>> model.generate(torch.tensor([[7, 17, 8]]), max_new_tokens=5, eos_token_id=None).shape
        torch.Size([1, 8])
    """

    config_class = MistralConfig
    backbone = MistralModel


class MistralForSequenceClassification(LlamaForSequenceClassification):
    """One prediction per text; see `LlamaForSequenceClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import MistralConfig, MistralForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = MistralForSequenceClassification(MistralConfig(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]])).logits.shape
        torch.Size([1, 3])
    """

    config_class = MistralConfig
    backbone = MistralModel


class MistralForTokenClassification(LlamaForTokenClassification):
    """One prediction per token; see `LlamaForTokenClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import MistralConfig, MistralForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = MistralForTokenClassification(MistralConfig(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]]), labels=torch.tensor([[0, 2, -100]])).logits.shape  # -100 is ignored
        torch.Size([1, 3, 3])
    """

    config_class = MistralConfig
    backbone = MistralModel


class MistralForQuestionAnswering(LlamaForQuestionAnswering):
    """Where the answer starts and ends; see `LlamaForQuestionAnswering`.

    Example:
        >>> import torch
        >>> from notebook_kit import MistralConfig, MistralForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> out = MistralForQuestionAnswering(MistralConfig(**size))(torch.tensor([[7, 17, 8, 9, 21]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 5]), torch.Size([1, 5]))
    """

    config_class = MistralConfig
    backbone = MistralModel
    base_model_prefix = "model"  # as in the other heads, unlike in Llama
    weight_rules = LlamaModel.weight_rules
