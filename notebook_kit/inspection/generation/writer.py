"""A model that generates text: its settings, the tokens of a prompt, and its steps, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError, a_kind
from notebook_kit.generation import GenerationConfig, GenerationMixin, engine
from notebook_kit.generation.configuration import DEFAULTS
from notebook_kit.generation.processors import as_ids
from notebook_kit.generation.run import Run
from notebook_kit.generation.streamers import continued_text
from notebook_kit.inspection.attention.evaluation import evaluating
from notebook_kit.inspection.attention.source import AttentionSource
from notebook_kit.inspection.generation.steps import Branch, Step, measure
from notebook_kit.inspection.tokens.spelling import Spelling
from notebook_kit.nn.base import PreTrainedModel
from notebook_kit.nn.inputs import torch_twin

__all__ = ["SAMPLING", "Writer"]

SAMPLING = ("temperature", "top_k", "top_p")
DEFAULT_NEW_TOKENS = 40

# Arguments of `generate` that a pipeline may pass and that are not settings.
_OBJECTS = ("logits_processor", "prefix_allowed_tokens_fn", "stopping_criteria")


class Writer:
    """A model with its tokenizer, used as its pipeline uses it.

    Args:
        origin: A pipeline or model of notebook_kit, a pair (model, tokenizer), or a causal model of `transformers`.
        tokenizer: For a model. A pipeline has one; for a model that was loaded by name it is loaded too.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        name: The model's class and checkpoint, for titles.
        is_encoder_decoder: Whether an encoder reads the prompt, so that the generated text does not continue it.
        spelling: The text of each token.

    Raises:
        InputError: If it does not generate text.
    """

    def __init__(self, origin: Any, tokenizer: Any = None) -> None:
        if isinstance(origin, tuple | list) and len(origin) == 2:
            origin, tokenizer = origin
        origin = torch_twin(origin)
        model = origin if isinstance(origin, nn.Module) else getattr(origin, "model", None)
        if not isinstance(model, nn.Module):
            raise InputError(
                f"{a_kind(origin, starts=True)} is not a model.",
                next_step="Pass a pipeline such as pipeline('text-generation'), a model, or (model, tokenizer).",
            )
        self._pipeline: Any = None
        self._generator: Any = model
        name = type(model).__name__
        if isinstance(model, PreTrainedModel):
            if not model.can_generate():
                raise InputError(
                    f"{name} does not generate text.",
                    next_step="Load the checkpoint with AutoModelForCausalLM or AutoModelForSeq2SeqLM.",
                )
            self.is_encoder_decoder = getattr(model, "generation_kind", None) == "encoder-decoder"
        elif not callable(getattr(model, "generate", None)):
            raise InputError(
                f"{name} has no generate(), so it cannot write text.",
                next_step="Pass a model of notebook_kit, such as AutoModelForCausalLM.from_pretrained(name).",
            )
        elif getattr(getattr(model, "config", None), "is_encoder_decoder", False):
            raise InputError(
                f"{name} is an encoder-decoder of another library; from other libraries this panel accepts only decoders.",
                next_step="Load the checkpoint with notebook_kit's AutoModelForSeq2SeqLM.",
            )
        else:
            self.is_encoder_decoder = False
            self._generator = _Foreign(model)
        source = AttentionSource(origin if tokenizer is None else model, tokenizer=tokenizer)
        self.model: Any = model
        self.tokenizer: Any = source.tokenizer
        self.name: str = source.name
        if not callable(self.tokenizer):
            raise InputError(
                f"{a_kind(self.tokenizer, starts=True)} is not a tokenizer.",
                next_step="Pass one, such as AutoTokenizer.from_pretrained(name).",
            )
        if isinstance(model, PreTrainedModel):
            self._pipeline = origin if hasattr(origin, "resolve_options") else self._new_pipeline()
        self.spelling = Spelling(self.tokenizer)

    def _new_pipeline(self) -> Any:
        if self.is_encoder_decoder:
            from notebook_kit.pipelines.text2text import Text2TextGenerationPipeline as Pipeline
        else:
            from notebook_kit.pipelines.text_generation import TextGenerationPipeline as Pipeline  # type: ignore[assignment]
        return Pipeline(self.model, self.tokenizer)

    # Settings ------------------------------------------------------------------------------------------------------

    def _options(self, settings: dict[str, Any]) -> tuple[GenerationConfig | None, dict[str, Any]]:
        """The generation config of a pipeline call, and its other options, overridden by `settings`."""
        if self._pipeline is None:
            return None, dict(settings)
        options = self._pipeline.settings({**self._pipeline.resolve_options({}).forward, **settings})
        return options.pop("generation_config", None), options

    def _resolved(self, settings: dict[str, Any]) -> tuple[GenerationConfig, dict[str, Any]]:
        """All settings of a run, and the options that are objects (the user's own rules and stopping criteria)."""
        one = {"num_beams": 1, "num_beam_groups": 1, "num_return_sequences": 1, "penalty_alpha": None}
        config, options = self._options({**settings, **one})
        names = set(GenerationConfig.names())
        known = {name: value for name, value in options.items() if name in names}
        if not known.get("do_sample"):
            known = {name: value for name, value in known.items() if name not in SAMPLING}
        config, _ = engine.resolve_settings(self._generator, config, known)
        config.return_dict_in_generate = False
        return config, {name: value for name, value in options.items() if name not in names}

    def defaults(self) -> dict[str, Any]:
        """The checkpoint's settings for which the panel has controls."""
        of_call, options = self._options({})
        of_model = self._generator.generation_config
        config = GenerationConfig(**{name: options[name] for name in options if name in GenerationConfig.names()})
        config = config.filled(*([of_call] if of_call is not None else []), of_model, DEFAULTS)
        longest = config.max_length if self.is_encoder_decoder and of_model.max_length else None
        return {
            "do_sample": bool(of_model.do_sample),
            "temperature": float(config.temperature or 1.0),
            "top_k": int(config.top_k or 0),
            "top_p": float(1.0 if config.top_p is None else config.top_p),
            "repetition_penalty": float(config.repetition_penalty or 1.0),
            "max_new_tokens": min(200, of_model.max_new_tokens or longest or DEFAULT_NEW_TOKENS),
        }

    def ends(self) -> list[int]:
        """The end-of-text tokens."""
        config, _ = self._resolved({"do_sample": False, "max_new_tokens": 1})
        return as_ids(config.eos_token_id)

    def further_rules(self) -> dict[str, Any]:
        """The checkpoint's rules that apply although the panel has no controls for them."""
        config, _ = self._resolved({"do_sample": True, "max_new_tokens": 1})
        names = (
            "no_repeat_ngram_size",
            "encoder_no_repeat_ngram_size",
            "encoder_repetition_penalty",
            "min_length",
            "min_new_tokens",
            "bad_words_ids",
            "suppress_tokens",
            "begin_suppress_tokens",
            "sequence_bias",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "exponential_decay_length_penalty",
            "min_p",
            "typical_p",
            "epsilon_cutoff",
            "eta_cutoff",
        )
        idle: tuple[Any, ...] = (None, 0, 0.0, [], {}, 1.0)
        return {name: getattr(config, name) for name in names if getattr(config, name, None) not in idle}

    # Writing -------------------------------------------------------------------------------------------------------

    @property
    def has_chat(self) -> bool:
        """Whether the tokenizer has a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None)) and not self.is_encoder_decoder

    def read(self, prompt: str, chat: bool = False) -> tuple[list[int], list[int]]:
        """The tokens of a prompt, and the first tokens of an encoder-decoder's decoder (empty for a decoder).

        Raises:
            InputError: If the prompt has no tokens.
        """
        if self._pipeline is None:
            ids = list(self.tokenizer(prompt)["input_ids"]) or as_ids(self._generator.generation_config.bos_token_id)
        else:
            options = dict(self._pipeline.resolve_options({}).preprocess)
            item: Any = [{"role": "user", "content": prompt}] if chat and self.has_chat else prompt
            if self.is_encoder_decoder:
                options |= {"truncation": True, "stride": None}
            ids = list(self._pipeline.features_of(item, options)[0]["input_ids"])
        if not ids:
            raise InputError("The prompt has no tokens.", next_step="Write some words to continue from.")
        if not self.is_encoder_decoder:
            return ids, []
        config, _ = self._resolved({"do_sample": False, "max_new_tokens": 1})
        start = config.decoder_start_token_id if config.decoder_start_token_id is not None else config.bos_token_id
        return ids, as_ids(start)

    def text(self, branch: Branch) -> str:
        """The generated text, without special tokens."""
        context, prompt = ([], "") if self.is_encoder_decoder else (branch.context, branch.prompt)
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        return continued_text(self.tokenizer, context, branch.ids, prompt, **options)

    def write(self, branch: Branch, settings: dict[str, Any], seed: int, on_step: Callable[[Step], bool]) -> str:
        """Continue a branch, without changing it.

        Args:
            branch: The branch to continue.
            settings: `do_sample`, `temperature`, `top_k`, `top_p`, `repetition_penalty`, `max_new_tokens`.
            seed: The seed for sampling.
            on_step: Called with each step; returns whether to continue.

        Returns:
            Why it ended: a value of `Branch.ended`.

        Raises:
            InputError, ConfigurationError: As `model.generate`.
        """
        config, objects = self._resolved(settings)
        with evaluating(self.model):
            run = self._run(branch, config, objects, seed)
            while True:
                logits = run.step()
                scores = run.rules(logits)
                token = run.choose(scores)
                run.append(token.to(run.sequences.device))
                wanted = on_step(measure(logits[0], scores[0], int(token)))
                if bool(run.stopping(run.ids, run.scores).all()):
                    return "end" if int(token) in run.eos else "length" if run.length == run.max_length else "rule"
                if not wanted:
                    return "stopped"

    def _run(self, branch: Branch, config: GenerationConfig, objects: dict[str, Any], seed: int) -> Run:
        device = self.model.device

        def row(ids: list[int]) -> Tensor:
            return torch.tensor([ids], device=device)

        inputs = {"input_ids": row([*branch.context, *([] if self.is_encoder_decoder else branch.ids)])}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if self.is_encoder_decoder:
            inputs["decoder_input_ids"] = row([*branch.start, *branch.ids])
        return engine.prepare(
            self._generator,
            config,
            None,
            inputs,
            fit=True,
            tokenizer=self.tokenizer,
            generator=torch.Generator(device=device).manual_seed(seed),
            **{name: objects[name] for name in _OBJECTS if objects.get(name)},
        )


class _Foreign(GenerationMixin):
    """Another library's causal model behind the interface of a run: each step reads all tokens again, without a cache."""

    def __init__(self, model: Any) -> None:
        self.model, self.forward, self.device, self.config = model, model.forward, model.device, model.config
        config: Any = getattr(model, "generation_config", None)
        values = config.to_dict() if hasattr(config, "to_dict") else {}
        names = set(GenerationConfig.names())
        kept = {name: value for name, value in values.items() if name in names and value is not None}
        self.generation_config = GenerationConfig(**{**kept, "use_cache": False})
        self.position_limit: int | None = getattr(model.config, "max_position_embeddings", None)

    def __call__(self, **call: Any) -> Any:
        call.pop("past_key_values", None)
        return self.model(**call)
