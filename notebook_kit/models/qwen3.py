"""Qwen3: a Llama that normalizes each head's queries and keys.

Source: Yang et al., Qwen3 Technical Report, 2025.
"""

from __future__ import annotations

from typing import ClassVar

from notebook_kit.fields import Size
from notebook_kit.models.llama import (
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
    LlamaVariant,
    windows_by_type,
)
from notebook_kit.models.qwen2 import Qwen2Config

__all__ = [
    "Qwen3Config",
    "Qwen3ForCausalLM",
    "Qwen3ForQuestionAnswering",
    "Qwen3ForSequenceClassification",
    "Qwen3ForTokenClassification",
    "Qwen3Model",
]


class Qwen3Config(Qwen2Config):
    """Qwen3's settings: those of `Qwen2Config`, with a head width that does not depend on `hidden_size`.

    Example:
        >>> from notebook_kit import Qwen3Config
        >>> Qwen3Config(num_hidden_layers=2).head_dim
        128
    """

    model_type: ClassVar[str] = "qwen3"
    omitted_fields: ClassVar[tuple[str, ...]] = ("mlp_bias", "pretraining_tp")

    head_dim: Size | None = 128


class Qwen3Model(LlamaModel):
    """The decoder; see `LlamaModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import Qwen3Config, Qwen3Model
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> Qwen3Model(Qwen3Config(**size))(torch.tensor([[7, 17, 8]])).last_hidden_state.shape
        torch.Size([1, 3, 32])
    """

    config_class = Qwen3Config
    variant = LlamaVariant(qk_norm=True, windows=windows_by_type)


class Qwen3ForCausalLM(LlamaForCausalLM):
    """The next token; see `LlamaForCausalLM`.

    Example:
        >>> import torch
        >>> from notebook_kit import Qwen3Config, Qwen3ForCausalLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = Qwen3ForCausalLM(Qwen3Config(**size)).eval()
        >>> model.generate(torch.tensor([[7, 17, 8]]), max_new_tokens=5, eos_token_id=None).shape
        torch.Size([1, 8])
    """

    config_class = Qwen3Config
    backbone = Qwen3Model


class Qwen3ForSequenceClassification(LlamaForSequenceClassification):
    """One prediction per text; see `LlamaForSequenceClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import Qwen3Config, Qwen3ForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = Qwen3ForSequenceClassification(Qwen3Config(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]])).logits.shape
        torch.Size([1, 3])
    """

    config_class = Qwen3Config
    backbone = Qwen3Model


class Qwen3ForTokenClassification(LlamaForTokenClassification):
    """One prediction per token; see `LlamaForTokenClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import Qwen3Config, Qwen3ForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = Qwen3ForTokenClassification(Qwen3Config(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]]), labels=torch.tensor([[0, 2, -100]])).logits.shape  # -100 is ignored
        torch.Size([1, 3, 3])
    """

    config_class = Qwen3Config
    backbone = Qwen3Model


class Qwen3ForQuestionAnswering(LlamaForQuestionAnswering):
    """Where the answer starts and ends; see `LlamaForQuestionAnswering`.

    Example:
        >>> import torch
        >>> from notebook_kit import Qwen3Config, Qwen3ForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> out = Qwen3ForQuestionAnswering(Qwen3Config(**size))(torch.tensor([[7, 17, 8, 9, 21]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 5]), torch.Size([1, 5]))
    """

    config_class = Qwen3Config
    backbone = Qwen3Model
