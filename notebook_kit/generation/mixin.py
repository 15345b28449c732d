"""GenerationMixin: adds `generate` to a model that predicts the next token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.generation.configuration import GenerationConfig
from notebook_kit.hub import Source
from notebook_kit.nn.base import ModelHooks

if TYPE_CHECKING:
    import torch

__all__ = ["GenerationMixin"]


class GenerationMixin(ModelHooks):
    """`generate` for a `PreTrainedModel` that returns the `logits` of the next token.

    Its `forward` takes `past_key_values` and `use_cache` as `notebook_kit.nn.cache` describes. A model whose
    `config.is_encoder_decoder` is True also has `get_encoder()`, and its `forward` takes `encoder_outputs` and
    `decoder_input_ids`.

    Example:
        >>> import torch
        >>> from notebook_kit import GenerationMixin, GPT2Config, PreTrainedModel
        >>> from notebook_kit.nn.outputs import CausalLMOutputWithPast
        >>> class Successor(PreTrainedModel, GenerationMixin):  # predicts the next larger token
        ...     config_class = GPT2Config
        ...     def __init__(self, config):
        ...         super().__init__(config)
        ...         self.table = torch.nn.Embedding.from_pretrained(torch.eye(config.vocab_size).roll(1, dims=1))
        ...     def forward(self, input_ids, **kwargs):
        ...         return CausalLMOutputWithPast(logits=self.table(input_ids))
        >>> Successor(GPT2Config(vocab_size=20)).generate(torch.tensor([[7]]), max_new_tokens=3, use_cache=False)
        tensor([[ 7,  8,  9, 10]])
    """

    config: PretrainedConfig

    @classmethod
    def can_generate(cls) -> bool:
        """True: `generate` works."""
        return True

    @property
    def generation_kind(self) -> str:
        """`"encoder-decoder"` if the prompt goes to an encoder, else `"decoder"`."""
        return "encoder-decoder" if self.config.is_encoder_decoder else "decoder"

    @property
    def generation_config(self) -> GenerationConfig:
        """The checkpoint's default settings, from `generation_config.json` or `config.json`. Can be set."""
        if "_generation_config" not in self.__dict__:
            self.__dict__["_generation_config"] = GenerationConfig.from_model_config(self.config)
        return self.__dict__["_generation_config"]

    @generation_config.setter
    def generation_config(self, config: GenerationConfig) -> None:
        self.__dict__["_generation_config"] = config

    def _loaded(self, source: Source) -> None:
        super()._loaded(source)
        self.generation_config = GenerationConfig.of_checkpoint(source, self.config)

    def _saved(self, folder: Path) -> None:
        super()._saved(folder)
        self.generation_config.save_pretrained(folder)

    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: list[Any] | None = None,
        stopping_criteria: list[Any] | None = None,
        prefix_allowed_tokens_fn: Callable[[int, Tensor], list[int]] | None = None,
        streamer: Any = None,
        tokenizer: Any = None,
        generator: torch.Generator | None = None,
        on_interrupt: str = "return",
        **settings: Any,
    ) -> Any:
        """Continue a prompt, one token at a time.

        An interrupt (Ctrl-C, or a notebook's stop button) ends the generation: the tokens so far are returned, with a
        warning.

        Args:
            inputs: `(batch, tokens)`: the prompt, or the encoder's input; also as `input_ids`. Prompts of unequal length
                must be padded on the left.
            generation_config: Settings that override the model's own.
            logits_processor: Additional rules: functions `(input_ids, scores) -> scores`.
            stopping_criteria: Additional criteria: functions `(input_ids, scores)` that return a bool or `(rows,)` of bool.
            prefix_allowed_tokens_fn: Returns the allowed next tokens: `(index of the input, tokens so far) -> token ids`.
            streamer: Receives each token when it is generated; see `TextStreamer`.
            tokenizer: Required for `stop_strings`.
            generator: The random number generator for sampling, for reproducible results.
            on_interrupt: `"return"`, or `"raise"` to raise the KeyboardInterrupt.
            **settings: Settings of `GenerationConfig` for this call; and `attention_mask`, `inputs_embeds`,
                `past_key_values`, `encoder_outputs`, `decoder_input_ids`, `decoder_attention_mask`.

        Returns:
            `(batch * num_return_sequences, tokens)`, prompt included (an encoder-decoder's begins with the start token);
            with `return_dict_in_generate=True` an object with these as `sequences`.

        Raises:
            InputError: For a model that cannot generate, an unknown argument, or a prompt that leaves no room.
            ConfigurationError: For an invalid setting, or settings that contradict each other.

        Example:
            >>> import torch
            >>> from notebook_kit import GPT2Config, GPT2LMHeadModel
            >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32)).eval()
            >>> prompts = {"input_ids": torch.tensor([[7, 8, 9], [0, 7, 8]]), "attention_mask": torch.tensor([[1, 1, 1], [0, 1, 1]])}
            >>> model.generate(**prompts, max_new_tokens=4, eos_token_id=None).shape
            torch.Size([2, 7])
            >>> seed = torch.Generator().manual_seed(0)
            >>> model.generate(**prompts, do_sample=True, num_return_sequences=3, max_length=10, generator=seed).shape[0]
            6
        """
        from notebook_kit.generation import engine  # imported late: a model that is only trained does not need it

        return engine.generate(
            self,
            inputs,
            generation_config,
            settings,
            streamer,
            on_interrupt=on_interrupt,
            logits_processor=logits_processor,
            stopping_criteria=stopping_criteria,
            prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
            tokenizer=tokenizer,
            generator=generator,
        )
