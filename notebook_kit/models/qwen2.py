"""Qwen2: a Llama with biases in the query, key and value projections. Checkpoints of Qwen1.5 and Qwen2.5 are Qwen2.

Source: Yang et al., Qwen2 Technical Report, 2024.
"""

from __future__ import annotations

from typing import ClassVar

from notebook_kit.fields import Layers, Rows, Size
from notebook_kit.models.llama import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
    LlamaVariant,
    windows_by_type,
)

__all__ = [
    "Qwen2Config",
    "Qwen2ForCausalLM",
    "Qwen2ForQuestionAnswering",
    "Qwen2ForSequenceClassification",
    "Qwen2ForTokenClassification",
    "Qwen2Model",
]


class Qwen2Config(LlamaConfig):
    """Qwen2's settings: those of `LlamaConfig`, and which layers attend to a window.

    Args:
        use_sliding_window: Whether some layers attend to a window.
        sliding_window: Number of last positions in the window, including the current one.
        max_window_layers: Index of the first layer with a window.
        layer_types: "full_attention" or "sliding_attention" for each layer; by default derived from the other settings.

    Example:
        >>> from notebook_kit import Qwen2Config
        >>> Qwen2Config(num_hidden_layers=3, use_sliding_window=True, sliding_window=8, max_window_layers=1).layer_types
        ['full_attention', 'sliding_attention', 'sliding_attention']
    """

    model_type: ClassVar[str] = "qwen2"
    omitted_fields: ClassVar[tuple[str, ...]] = ("attention_bias", "head_dim", "mlp_bias", "pretraining_tp")

    vocab_size: Rows = 151936
    intermediate_size: Size = 22016
    num_key_value_heads: Size | None = 32
    max_position_embeddings: Rows = 32768
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    use_sliding_window: bool = False
    sliding_window: Rows | None = 4096
    max_window_layers: Layers = 28
    layer_types: list[str] | None = None

    def validate(self) -> None:
        super().validate()
        if not self.use_sliding_window:
            self.sliding_window = None
        if self.layer_types is None:
            first = self.num_hidden_layers if self.sliding_window is None else self.max_window_layers
            kinds = ("full_attention", "sliding_attention")
            self.layer_types = [kinds[layer >= first] for layer in range(self.num_hidden_layers)]


class Qwen2Model(LlamaModel):
    """The decoder; see `LlamaModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import Qwen2Config, Qwen2Model
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> Qwen2Model(Qwen2Config(**size))(torch.tensor([[7, 17, 8]])).last_hidden_state.shape
        torch.Size([1, 3, 32])
    """

    config_class = Qwen2Config
    variant = LlamaVariant(biases=(True, False), windows=windows_by_type)


class Qwen2ForCausalLM(LlamaForCausalLM):
    """The next token; see `LlamaForCausalLM`.

    Example:
        >>> import torch
        >>> from notebook_kit import Qwen2Config, Qwen2ForCausalLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = Qwen2ForCausalLM(Qwen2Config(**size)).eval()
        >>> model.generate(torch.tensor([[7, 17, 8]]), max_new_tokens=5, eos_token_id=None).shape
        torch.Size([1, 8])
    """

    config_class = Qwen2Config
    backbone = Qwen2Model


class Qwen2ForSequenceClassification(LlamaForSequenceClassification):
    """One prediction per text; see `LlamaForSequenceClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import Qwen2Config, Qwen2ForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = Qwen2ForSequenceClassification(Qwen2Config(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]])).logits.shape
        torch.Size([1, 3])
    """

    config_class = Qwen2Config
    backbone = Qwen2Model


class Qwen2ForTokenClassification(LlamaForTokenClassification):
    """One prediction per token; see `LlamaForTokenClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import Qwen2Config, Qwen2ForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = Qwen2ForTokenClassification(Qwen2Config(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]]), labels=torch.tensor([[0, 2, -100]])).logits.shape  # -100 is ignored
        torch.Size([1, 3, 3])
    """

    config_class = Qwen2Config
    backbone = Qwen2Model


class Qwen2ForQuestionAnswering(LlamaForQuestionAnswering):
    """Where the answer starts and ends; see `LlamaForQuestionAnswering`.

    Example:
        >>> import torch
        >>> from notebook_kit import Qwen2Config, Qwen2ForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> out = Qwen2ForQuestionAnswering(Qwen2Config(**size))(torch.tensor([[7, 17, 8, 9, 21]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 5]), torch.Size([1, 5]))
    """

    config_class = Qwen2Config
    backbone = Qwen2Model
