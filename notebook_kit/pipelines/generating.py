"""Pipelines that generate text: the settings of `generate` as options, and the call of `generate` for a batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import torch

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.generation.configuration import OUTPUTS, GenerationConfig
from notebook_kit.models import auto
from notebook_kit.pipelines.options import annotations_of, checked
from notebook_kit.pipelines.text import TextPipeline
from notebook_kit.processing.text.auto import AutoTokenizer

__all__ = ["GENERATE_OPTIONS", "GeneratingMixin", "GeneratingPipeline"]

# Keyword arguments of `generate` that are options of a pipeline, with their types.
GENERATE_OPTIONS = {
    name: kind for name, kind in annotations_of(GenerationConfig).items() if name in GenerationConfig.names()
}
GENERATE_OPTIONS |= {
    "assistant_model": Any,
    "assistant_tokenizer": Any,
    "generation_config": GenerationConfig | None,
    "generator": torch.Generator | list[torch.Generator] | None,
    "logits_processor": list[Callable] | None,
    "negative_prompt_attention_mask": torch.Tensor | None,
    "negative_prompt_ids": torch.Tensor | None,
    "on_interrupt": str,
    "prefix_allowed_tokens_fn": Callable | None,
    "stopping_criteria": list[Callable] | None,
    "streamer": Any,
}


class GeneratingMixin:
    """What pipelines have whose model generates text, from texts or images: all settings of `generate` are options of their
    `forward`.

    `stop_sequence` is another name of `stop_strings`, and `generate_kwargs` holds settings as a dictionary. An
    `assistant_model` may be the name of a checkpoint; if its vocabulary is another, the two exchange text.
    """

    model: Any
    tokenizer: Any
    auto_model: ClassVar[str | None]
    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {"forward": GENERATE_OPTIONS}
    defaults: ClassVar[dict[str, Any]] = {}
    """Settings that apply if neither the call nor the checkpoint sets them or a competing one."""

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Translate older spellings, check the settings, and load an assistant that is named."""
        options |= checked("generate_kwargs", options.pop("generate_kwargs", None), dict[str, Any] | None) or {}
        if "stop_sequence" in options:
            stop = options.pop("stop_sequence")
            options["stop_strings"] = stop if stop is not None else options.get("stop_strings")
        options.pop("return_dict_in_generate", None)  # the answers are the same
        for name in OUTPUTS:
            if options.get(name):
                raise InputError(
                    f"A pipeline returns texts, so it cannot return what {name} requests.",
                    next_step="Call model.generate(...) for that.",
                )
        self._load_assistant(options)
        GenerationConfig(**{name: options[name] for name in GenerationConfig.names() if name in options})  # checked now
        return options

    def _load_assistant(self, options: dict[str, Any]) -> None:
        """Replace the names of an assistant and its tokenizer by what they name."""
        model, tokenizer = options.get("assistant_model"), options.get("assistant_tokenizer")
        if isinstance(model, str | os.PathLike):
            loaded = getattr(auto, str(self.auto_model)).from_pretrained(model, dtype=self.model.dtype)
            options["assistant_model"] = loaded.to(self.model.device).eval()
            with suppress(NotebookKitError):  # without a tokenizer, the vocabulary is taken to be that of the model
                tokenizer = tokenizer or AutoTokenizer.from_pretrained(model)
        if isinstance(tokenizer, str | os.PathLike):
            tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        if tokenizer is not None:
            same = hasattr(tokenizer, "get_vocab") and tokenizer.get_vocab() == self.tokenizer.get_vocab()
            options["assistant_tokenizer"] = None if same else tokenizer

    @property
    def pad_token_id(self) -> int | None:
        """The id that pads sequences: the tokenizer's padding token, else the model's, else the end token."""
        config = self.generation_config
        ends = config.eos_token_id if config.eos_token_id is not None else self.tokenizer.eos_token_id
        end = ends[0] if isinstance(ends, list) else ends
        return next((pad for pad in (self.tokenizer.pad_token_id, config.pad_token_id, end) if pad is not None), None)

    @property
    def generation_config(self) -> GenerationConfig:
        """The settings of the checkpoint."""
        return self.model.generation_config

    def settings(self, given: dict[str, Any], prompt: int = 0) -> dict[str, Any]:
        """The keyword arguments of `generate` for one call, completed with defaults of the tokenizer and the task.

        Args:
            given: The settings of the call.
            prompt: The number of tokens already in the sequence, for which the default length leaves room.
        """
        arguments = dict(given)
        configs = (given.get("generation_config"), self.generation_config)

        def is_set(*names: str) -> bool:
            values = [getattr(config, name, None) for config in configs for name in names]
            return any(value is not None for value in (*values, *map(given.get, names)))

        if not is_set("max_new_tokens", "max_length") and "max_new_tokens" in self.defaults:
            new, limit = self.defaults["max_new_tokens"], self.model.position_limit
            arguments["max_new_tokens"] = new if limit is None else max(1, min(new, limit - prompt))
        if not is_set("do_sample", "num_beams", "penalty_alpha") and "do_sample" in self.defaults:
            arguments["do_sample"] = self.defaults["do_sample"]
            if not is_set("temperature"):
                arguments["temperature"] = self.defaults["temperature"]
        if not is_set("pad_token_id"):
            arguments["pad_token_id"] = self.pad_token_id
        if not is_set("eos_token_id") and self.tokenizer.eos_token_id is not None:
            arguments["eos_token_id"] = self.tokenizer.eos_token_id
        if is_set("stop_strings") or given.get("assistant_tokenizer") is not None:
            arguments["tokenizer"] = self.tokenizer
        return arguments


class GeneratingPipeline(GeneratingMixin, TextPipeline):
    """A pipeline from texts to texts, whose model generates."""

    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **TextPipeline.further_options,
        **GeneratingMixin.further_options,
    }

    def __call__(self, inputs: Any, **options: Any) -> Any:
        if not self.is_single(inputs):
            options.setdefault("on_interrupt", "raise")  # an interrupt is meant for the whole list, not for one text
        return super().__call__(inputs, **options)

    @property
    def can_pad(self) -> bool:
        return True  # the mask marks padding, whatever the token

    @property
    def padding_side(self) -> str:
        return "left" if self.model.generation_kind == "decoder" else super().padding_side

    @property
    def fill(self) -> dict[str, int | float]:
        return {**super().fill, "input_ids": self.pad_token_id or 0}

    def forward(self, batch: dict[str, torch.Tensor], **settings: Any) -> dict[str, Any]:
        """Generate for a batch.

        Returns:
            `{"tokens": ...}`, of shape `(batch, sequences per input, tokens)`: the new tokens alone from a decoder, and
            the whole sequence from an encoder-decoder.
        """
        rows, length = batch["input_ids"].shape
        tokens = self.model.generate(**batch, **self.settings(settings, prompt=length))
        if self.model.generation_kind == "decoder":
            tokens = tokens[:, length:]
        return {"tokens": tokens.view(rows, tokens.shape[0] // rows, -1)}
