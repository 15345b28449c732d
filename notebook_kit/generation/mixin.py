"""GenerationMixin: adds `generate` to a model that predicts the next token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, arange, stack

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError
from notebook_kit.fields import shown
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

    @property
    def prompt_is_complete(self) -> bool:
        """Whether a text begins with `decoder_input_ids` as they are, rather than with a start token before them."""
        return False

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

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        is_first_iteration: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The arguments of `forward` for one step of `generate`, which calls this method; override it to change them.

        Args:
            input_ids: `(rows, tokens so far)`.
            next_sequence_length: The number of tokens that the model has not read; by default those that are not cached.
            past_key_values: The cache of the others, or None.
            attention_mask: `(rows, positions)`: that of the encoder's input in an encoder-decoder.
            inputs_embeds: `(rows, positions, width)`: read in place of ids if `is_first_iteration` is True.
            is_first_iteration: Whether this is the first step.
            **kwargs: Further inputs; `position_ids` and `token_type_ids` are cut to the unread tokens, others are kept.
        """
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        unread = input_ids.shape[1] - seen if next_sequence_length is None else next_sequence_length
        if next_sequence_length is None and unread <= 0:
            unread = input_ids.shape[1]  # only the new tokens were passed
        call = {"attention_mask": attention_mask, "past_key_values": past_key_values, **kwargs}
        for name in ("position_ids", "token_type_ids"):
            if call.get(name) is not None:
                call[name] = call[name][:, -unread:]
        if is_first_iteration and inputs_embeds is not None and not self.config.is_encoder_decoder:
            call["inputs_embeds"] = inputs_embeds
        else:
            call["decoder_input_ids" if self.config.is_encoder_decoder else "input_ids"] = input_ids[:, -unread:]
        return {name: value for name, value in call.items() if value is not None}

    def compute_transition_scores(
        self,
        sequences: Tensor,
        scores: tuple[Tensor, ...],
        beam_indices: Tensor | None = None,
        normalize_logits: bool = False,
    ) -> Tensor:
        """The score of each generated token, from the results of `generate`.

        Args:
            sequences: `(rows, tokens)`, as `generate` returned them with `return_dict_in_generate=True`.
            scores: The `scores` of that result (`output_scores=True`), or its `logits`: per step `(rows, vocabulary)`.
            beam_indices: The `beam_indices` of that result, if it is from beam search.
            normalize_logits: Whether to return log-probabilities for scores that are not normalized.

        Returns:
            `(rows, new tokens)`; 0 after the end of a beam.

        Raises:
            InputError: If there are no scores.

        Example:
            >>> import torch
            >>> from notebook_kit import GPT2Config, GPT2LMHeadModel
            >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32)).eval()
            >>> options = {"max_new_tokens": 3, "eos_token_id": None, "return_dict_in_generate": True, "output_scores": True}
            >>> out = model.generate(torch.tensor([[7, 8]]), **options)
            >>> model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True).shape
            torch.Size([1, 3])
        """
        for name, tensors in (("sequences", [sequences]), ("scores", scores)):
            if not isinstance(tensors, Sequence) or not all(isinstance(tensor, Tensor) for tensor in tensors):
                raise InputError(
                    f"{name} is {shown(sequences if name == 'sequences' else scores)}; expected what generate returns.",
                    next_step="Pass out.sequences and out.scores of out = generate(..., return_dict_in_generate=True).",
                )
        if not scores:
            raise InputError("There are no scores.", next_step="Call generate(..., output_scores=True).")
        found = stack(scores, dim=1)  # (rows, steps, vocabulary)
        if normalize_logits:
            found = found.log_softmax(dim=-1)
        if beam_indices is None:
            return found.gather(2, sequences[:, -len(scores) :, None])[..., 0]
        is_over = beam_indices < 0
        length = int((~is_over).sum(dim=1).max())
        rows, steps = beam_indices[:, :length].clamp(min=0), arange(length, device=found.device)
        return found[rows, steps, sequences[:, -length:]].masked_fill(is_over[:, :length], 0.0)

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
        assistant_model: Any = None,
        assistant_tokenizer: Any = None,
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
            tokenizer: Required for `stop_strings` and `assistant_tokenizer`.
            generator: The random number generator for sampling, for reproducible results.
            on_interrupt: `"return"`, or `"raise"` to raise the KeyboardInterrupt.
            assistant_model: A smaller model of the same vocabulary that proposes tokens, of which this model checks several
                at once. The result is the same; only a single sequence can be generated.
            assistant_tokenizer: The tokenizer of an `assistant_model` with another vocabulary; `tokenizer` is required, too.
            **settings: Settings of `GenerationConfig` for this call; and `attention_mask`, `inputs_embeds`,
                `past_key_values`, `encoder_outputs`, `decoder_input_ids`, `decoder_attention_mask`, and further inputs of
                the model's `forward`; for `guidance_scale`, `negative_prompt_ids` and `negative_prompt_attention_mask`,
                `(batch, tokens)`: the prompts to move away from (by default, the last token of each prompt).

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
            assistant_model=assistant_model,
            assistant_tokenizer=assistant_tokenizer,
        )
