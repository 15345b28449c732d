"""SmolLM3: a Llama in which every fourth layer does not rotate its queries and keys.

Source: Bakouch et al., SmolLM3: smol, multilingual, long-context reasoner, 2025; Yang et al., RoPE to NoPE and Back Again, 2025.
"""

from __future__ import annotations

from typing import ClassVar

from notebook_kit.errors import ConfigurationError
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
    "SmolLM3Config",
    "SmolLM3ForCausalLM",
    "SmolLM3ForQuestionAnswering",
    "SmolLM3ForSequenceClassification",
    "SmolLM3ForTokenClassification",
    "SmolLM3Model",
]


class SmolLM3Config(LlamaConfig):
    """SmolLM3's settings: those of `LlamaConfig`, and which layers use rotary positions.

    Args:
        no_rope_layers: For each layer, 1 if its queries and keys are rotated, else 0 (despite the name).
        no_rope_layer_interval: Unless `no_rope_layers` is set, every layer at a multiple of this number is not rotated.
        use_sliding_window: Restrict the layers without rotary positions to a window.
        sliding_window: Number of last positions in the window, including the current one.
        layer_types: "full_attention" or "sliding_attention" for each layer; by default derived from the other settings.

    Example:
        >>> from notebook_kit import SmolLM3Config
        >>> SmolLM3Config(num_hidden_layers=5).no_rope_layers
        [1, 1, 1, 0, 1]
    """

    model_type: ClassVar[str] = "smollm3"
    omitted_fields: ClassVar[tuple[str, ...]] = ("head_dim", "pretraining_tp")
    default_theta: ClassVar[float] = 2000000.0

    vocab_size: Rows = 128256
    hidden_size: Size = 2048
    num_hidden_layers: Layers = 36
    num_attention_heads: Size = 16
    num_key_value_heads: Size | None = 4
    max_position_embeddings: Rows = 32768
    pad_token_id: int | None = 128004
    bos_token_id: int | None = 128000
    eos_token_id: int | list[int] | None = 128001
    tie_word_embeddings: bool = True
    use_sliding_window: bool = False
    sliding_window: Rows | None = None
    no_rope_layers: list[int] | None = None
    no_rope_layer_interval: Size = 4
    layer_types: list[str] | None = None

    def validate(self) -> None:
        super().validate()
        layers = range(self.num_hidden_layers)
        if self.no_rope_layers is None:
            self.no_rope_layers = [int((layer + 1) % self.no_rope_layer_interval != 0) for layer in layers]
        if len(self.no_rope_layers) < self.num_hidden_layers:
            raise ConfigurationError(
                f"no_rope_layers has {len(self.no_rope_layers)} entries for {self.num_hidden_layers} layers.",
                next_step="Pass one entry per layer, or leave it out.",
            )
        if self.layer_types is None:
            slides = self.use_sliding_window and self.sliding_window is not None
            kinds = ("full_attention", "sliding_attention")
            self.layer_types = [kinds[slides and not self.no_rope_layers[layer]] for layer in layers]


class SmolLM3Model(LlamaModel):
    """The decoder; see `LlamaModel`.

    Example:
        >>> import torch
        >>> from notebook_kit import SmolLM3Config, SmolLM3Model
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> SmolLM3Model(SmolLM3Config(**size))(torch.tensor([[7, 17, 8]])).last_hidden_state.shape
        torch.Size([1, 3, 32])
    """

    config_class = SmolLM3Config
    variant = LlamaVariant(
        windows=windows_by_type, rotates=lambda config: [bool(flag) for flag in config.no_rope_layers]
    )


class SmolLM3ForCausalLM(LlamaForCausalLM):
    """The next token; see `LlamaForCausalLM`.

    Example:
        >>> import torch
        >>> from notebook_kit import SmolLM3Config, SmolLM3ForCausalLM
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = SmolLM3ForCausalLM(SmolLM3Config(**size)).eval()
        >>> model.generate(torch.tensor([[7, 17, 8]]), max_new_tokens=5, eos_token_id=None).shape
        torch.Size([1, 8])
    """

    config_class = SmolLM3Config
    backbone = SmolLM3Model


class SmolLM3ForSequenceClassification(LlamaForSequenceClassification):
    """One prediction per text; see `LlamaForSequenceClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import SmolLM3Config, SmolLM3ForSequenceClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = SmolLM3ForSequenceClassification(SmolLM3Config(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]])).logits.shape
        torch.Size([1, 3])
    """

    config_class = SmolLM3Config
    backbone = SmolLM3Model


class SmolLM3ForTokenClassification(LlamaForTokenClassification):
    """One prediction per token; see `LlamaForTokenClassification`.

    Example:
        >>> import torch
        >>> from notebook_kit import SmolLM3Config, SmolLM3ForTokenClassification
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> model = SmolLM3ForTokenClassification(SmolLM3Config(**size, num_labels=3))
        >>> model(torch.tensor([[7, 17, 8]]), labels=torch.tensor([[0, 2, -100]])).logits.shape  # -100 is ignored
        torch.Size([1, 3, 3])
    """

    config_class = SmolLM3Config
    backbone = SmolLM3Model


class SmolLM3ForQuestionAnswering(LlamaForQuestionAnswering):
    """Where the answer starts and ends; see `LlamaForQuestionAnswering`.

    Example:
        >>> import torch
        >>> from notebook_kit import SmolLM3Config, SmolLM3ForQuestionAnswering
        >>> size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
        >>> out = SmolLM3ForQuestionAnswering(SmolLM3Config(**size))(torch.tensor([[7, 17, 8, 9, 21]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 5]), torch.Size([1, 5]))
    """

    config_class = SmolLM3Config
    backbone = SmolLM3Model
