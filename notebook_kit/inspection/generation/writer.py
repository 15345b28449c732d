"""A model that writes: what it takes for a prompt, and its steps, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.errors import InputError
from notebook_kit.generation import GenerationConfig, engine
from notebook_kit.generation.configuration import DEFAULTS
from notebook_kit.generation.processors import as_ids
from notebook_kit.generation.run import Run
from notebook_kit.inspection.attention.reading import evaluating
from notebook_kit.inspection.attention.source import AttentionSource
from notebook_kit.inspection.generation.steps import Branch, Step, measured
from notebook_kit.inspection.tokens.spelling import Spelling
from notebook_kit.nn.base import PreTrainedModel

__all__ = ["SAMPLING", "Writer"]

SAMPLING = ("temperature", "top_k", "top_p")
MOST_BY_DEFAULT = 40

# Of what a pipeline passes to `generate` besides settings, what a run is made with.
_OBJECTS = ("logits_processor", "prefix_allowed_tokens_fn", "stopping_criteria")


class Writer:
    """A model with its tokenizer, and all that its pipeline knows of how it is meant to be used.

    Args:
        given: A pipeline or model of notebook_kit, a pair (model, tokenizer), or a causal model of `transformers`.
        tokenizer: For a model; a pipeline brings its own, and a model that was loaded by name leads to it.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        reads_apart: Whether the prompt is an encoder's, so that what is written stands alone.

    Raises:
        InputError: It does not generate text.
    """

    def __init__(self, given: Any, tokenizer: Any = None) -> None:
        if isinstance(given, tuple | list) and len(given) == 2:
            given, tokenizer = given
        model = given if isinstance(given, nn.Module) else getattr(given, "model", None)
        if not isinstance(model, nn.Module):
            raise InputError(
                f"A {type(given).__name__} is no model.",
                next_step="Pass a pipeline such as pipeline('text-generation'), a model, or (model, tokenizer).",
            )
        self._pipeline: Any = None
        self._driven: Any = model
        name = type(model).__name__
        if isinstance(model, PreTrainedModel):
            if not model.can_generate():
                raise InputError(
                    f"{name} does not generate text.",
                    next_step="Load the checkpoint with AutoModelForCausalLM or AutoModelForSeq2SeqLM.",
                )
            self.reads_apart = getattr(model, "generation_kind", None) == "encoder-decoder"
        elif not callable(getattr(model, "generate", None)):
            raise InputError(
                f"{name} has no generate(), so it cannot be seen writing.",
                next_step="Pass a model of notebook_kit, such as AutoModelForCausalLM.from_pretrained(name).",
            )
        elif getattr(getattr(model, "config", None), "is_encoder_decoder", False):
            raise InputError(
                f"Of other libraries this panel takes decoders alone, and {name} is an encoder-decoder.",
                next_step="Load the checkpoint with notebook_kit's AutoModelForSeq2SeqLM.",
            )
        else:
            self.reads_apart = False
            self._driven = _Foreign(model)
        source = AttentionSource(given if tokenizer is None else model, tokenizer=tokenizer)
        self.model: Any = model
        self.tokenizer: Any = source.tokenizer
        self.name: str = source.name
        if isinstance(model, PreTrainedModel):
            self._pipeline = given if hasattr(given, "resolve_options") else self._pipeline_of()
        self.spelling = Spelling(self.tokenizer)

    def _pipeline_of(self) -> Any:
        if self.reads_apart:
            from notebook_kit.pipelines.text2text import Text2TextGenerationPipeline as Pipeline
        else:
            from notebook_kit.pipelines.text_generation import TextGenerationPipeline as Pipeline  # type: ignore[assignment]
        return Pipeline(self.model, self.tokenizer)

    # Settings ------------------------------------------------------------------------------------------------------

    def _given(self, settings: dict[str, Any]) -> tuple[GenerationConfig | None, dict[str, Any]]:
        """The config that a call of the pipeline would have, and its further settings, with `settings` before them."""
        if self._pipeline is None:
            return None, dict(settings)
        planned = dict(self._pipeline.resolve_options({}).forward)
        if not self.reads_apart:
            made = self._pipeline.settings({**planned, **settings})
            return made.pop("generation_config", None), made
        made = {**(planned.pop("generate", None) or {}), **settings}
        languages = getattr(self.tokenizer, "lang_code_to_id", None) or {}
        if planned.get("tgt_lang") in languages:
            made["forced_bos_token_id"] = languages[planned["tgt_lang"]]
        return made.pop("generation_config", None) or self._pipeline.generation_config, made

    def _settled(self, settings: dict[str, Any]) -> tuple[GenerationConfig, dict[str, Any]]:
        """All settings of a run, and the objects that are none (rules and ends of the user's own)."""
        one = {"num_beams": 1, "num_beam_groups": 1, "num_return_sequences": 1, "penalty_alpha": None}
        given, made = self._given({**settings, **one})
        names = set(GenerationConfig.names())
        known = {name: value for name, value in made.items() if name in names}
        if not known.get("do_sample"):
            known = {name: value for name, value in known.items() if name not in SAMPLING}
        config, _ = engine.resolve_settings(self._driven, given, known)
        config.return_dict_in_generate = False
        return config, {name: value for name, value in made.items() if name not in names}

    def defaults(self) -> dict[str, Any]:
        """How the checkpoint is meant to generate, as far as this panel has controls for it."""
        given, made = self._given({})
        config = GenerationConfig(**{name: made[name] for name in made if name in GenerationConfig.names()})
        config = config.filled(*([given] if given is not None else []), self._driven.generation_config, DEFAULTS)
        said = self._driven.generation_config
        longest = config.max_length if self.reads_apart and said.max_length else None
        return {
            "do_sample": bool(said.do_sample),
            "temperature": float(config.temperature or 1.0),
            "top_k": int(config.top_k or 0),
            "top_p": float(1.0 if config.top_p is None else config.top_p),
            "repetition_penalty": float(config.repetition_penalty or 1.0),
            "max_new_tokens": min(200, said.max_new_tokens or longest or MOST_BY_DEFAULT),
        }

    def ends(self) -> list[int]:
        """The tokens that end a text."""
        config, _ = self._settled({"do_sample": False, "max_new_tokens": 1})
        return as_ids(config.eos_token_id)

    def further_rules(self) -> dict[str, Any]:
        """Rules of the checkpoint that this panel has no controls for, and that hold nevertheless."""
        config, _ = self._settled({"do_sample": True, "max_new_tokens": 1})
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
        """Whether the tokenizer brings a template for conversations."""
        return bool(getattr(self.tokenizer, "chat_template", None)) and not self.reads_apart

    def read(self, prompt: str, chat: bool = False) -> tuple[list[int], list[int]]:
        """The tokens of a prompt, and those that the decoder of an encoder-decoder starts with.

        Raises:
            InputError: If nothing can follow the prompt.
        """
        if self._pipeline is None:
            ids = list(self.tokenizer(prompt)["input_ids"])
            if not ids and self._driven.generation_config.bos_token_id is not None:
                ids = as_ids(self._driven.generation_config.bos_token_id)
        else:
            options = dict(self._pipeline.resolve_options({}).preprocess)
            item: Any = [{"role": "user", "content": prompt}] if chat and self.has_chat else prompt
            if self.reads_apart:
                options |= {"truncation": True, "stride": None}
            ids = list(self._pipeline.features_of(item, options)[0]["input_ids"])
        if not ids:
            raise InputError("The prompt holds no tokens.", next_step="Write some words to go on from.")
        if not self.reads_apart:
            return ids, []
        config, _ = self._settled({"do_sample": False, "max_new_tokens": 1})
        start = config.decoder_start_token_id if config.decoder_start_token_id is not None else config.bos_token_id
        return ids, as_ids(start)

    def text(self, branch: Branch) -> str:
        """What was generated, as text, without special tokens."""

        def decoded(ids: list[int]) -> str:
            return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

        if self.reads_apart:
            return decoded(branch.ids)
        # A first token is decoded differently from a later one, so it is cut out of the whole.
        before, whole = decoded(branch.context), decoded([*branch.context, *branch.ids])
        return whole[len(before) :] if whole.startswith(before) else decoded(branch.ids)

    def write(self, branch: Branch, settings: dict[str, Any], seed: int, goes_on: Callable[[Step], bool]) -> str:
        """Go on with a branch.

        Args:
            branch: The branch; its steps are what the model has written before. They are not added to.
            settings: `do_sample`, `temperature`, `top_k`, `top_p`, `repetition_penalty`, `max_new_tokens`.
            seed: Of the draws.
            goes_on: Told of each step; returns whether another one is wanted.

        Returns:
            Why it ended, as `Branch.ended` says it.

        Raises:
            InputError, ConfigurationError: As `model.generate`.
        """
        config, objects = self._settled(settings)
        with evaluating(self.model):
            run = self._run(branch, config, objects, seed)
            while True:
                logits = run.step()
                scores = run.rules(logits)
                if config.do_sample:
                    token = torch.multinomial(scores.softmax(dim=-1), 1, generator=run.generator)[:, 0]
                else:
                    token = scores.argmax(dim=-1)
                run.append(token.to(run.sequences.device))
                wanted = goes_on(measured(logits[0], scores[0], int(token)))
                if bool(run.stopping(run.ids, run.scores).all()):
                    return "end" if int(token) in run.eos else "length" if run.length == run.max_length else "rule"
                if not wanted:
                    return "stopped"

    def _run(self, branch: Branch, config: GenerationConfig, objects: dict[str, Any], seed: int) -> Run:
        device = self.model.device

        def row(ids: list[int]) -> Tensor:
            return torch.tensor([ids], device=device)

        inputs = {"input_ids": row([*branch.context, *([] if self.reads_apart else branch.ids)])}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if self.reads_apart:
            inputs["decoder_input_ids"] = row([*branch.start, *branch.ids])
        return engine.prepare(
            self._driven,
            config,
            None,
            inputs,
            fit=True,
            tokenizer=self.tokenizer,
            generator=torch.Generator(device=device).manual_seed(seed),
            **{name: objects[name] for name in _OBJECTS if objects.get(name)},
        )


class _Foreign:
    """A causal model of another library, as a run drives it: all tokens anew in each step, with no cache."""

    generation_kind = "decoder"

    def __init__(self, model: Any) -> None:
        self.model, self.forward, self.device = model, model.forward, model.device
        given: Any = getattr(model, "generation_config", None)
        values = given.to_dict() if hasattr(given, "to_dict") else {}
        names = set(GenerationConfig.names())
        kept = {name: value for name, value in values.items() if name in names and value is not None}
        self.generation_config = GenerationConfig(**{**kept, "use_cache": False})
        self.position_limit: int | None = getattr(model.config, "max_position_embeddings", None)

    def __call__(self, **call: Any) -> Any:
        call.pop("past_key_values", None)
        return self.model(**call)
