"""What pipelines that generate text share: the settings of `generate` as options, and a batch's way through it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from notebook_kit.errors import InputError
from notebook_kit.generation.configuration import GenerationConfig
from notebook_kit.pipelines.text import TextPipeline

__all__ = ["GENERATE_OPTIONS", "GeneratingPipeline"]

# What generate takes and these pipelines hand on to it.
GENERATE_OPTIONS = (
    *GenerationConfig.names(),
    "generation_config",
    "generator",
    "logits_processor",
    "on_interrupt",
    "prefix_allowed_tokens_fn",
    "stopping_criteria",
    "streamer",
)
_ONE_TEXT_ALONE = (
    "return_dict_in_generate",
    "output_scores",
    "output_logits",
    "output_attentions",
    "output_hidden_states",
)


class GeneratingPipeline(TextPipeline):
    """A pipeline whose model generates: all settings of `generate` are options of its `forward`.

    `stop_sequence` is another name of `stop_strings`, and `generate_kwargs` holds settings as a dictionary.
    """

    further_options: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **TextPipeline.further_options,
        "forward": GENERATE_OPTIONS,
    }
    defaults: ClassVar[dict[str, Any]] = {}
    """Settings for where neither the call nor the checkpoint says anything of the kind."""

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        options |= options.pop("generate_kwargs", None) or {}
        if "stop_sequence" in options:
            stop = options.pop("stop_sequence")
            options["stop_strings"] = stop if stop is not None else options.get("stop_strings")
        for name in _ONE_TEXT_ALONE:
            if options.get(name):
                raise InputError(
                    f"A pipeline gives texts, and {name} asks for what stands behind them.",
                    next_step="Call model.generate(...) for that.",
                )
        GenerationConfig(**{name: options[name] for name in GenerationConfig.names() if name in options})  # checked now
        return options

    def __call__(self, inputs: Any, **options: Any) -> Any:
        if not self.is_single(inputs):
            options.setdefault("on_interrupt", "raise")  # the user means the whole list, not one of its texts
        return super().__call__(inputs, **options)

    @property
    def can_pad(self) -> bool:
        return True  # the mask says what is padding, whatever token fills its place

    @property
    def padding_side(self) -> str:
        return "left" if self.model.generation_kind == "decoder" else super().padding_side

    @property
    def fill(self) -> dict[str, int | float]:
        return {**super().fill, "input_ids": self.pad_token_id or 0}

    @property
    def pad_token_id(self) -> int | None:
        """What fills up rows: the tokenizer's padding token, else the model's, else its end token."""
        config = self.model.generation_config
        ends = config.eos_token_id if config.eos_token_id is not None else self.tokenizer.eos_token_id
        end = ends[0] if isinstance(ends, list) else ends
        return next((pad for pad in (self.tokenizer.pad_token_id, config.pad_token_id, end) if pad is not None), None)

    def settings(self, given: dict[str, Any], prompt: int = 0) -> dict[str, Any]:
        """The settings of one call, with what the tokenizer and the task add to them.

        Args:
            given: What the call says.
            prompt: How many tokens there are already; the task's own length leaves room for them.
        """
        config = self.model.generation_config
        chosen = given.get("generation_config")
        made = dict(given)

        def said(name: str) -> bool:
            return any(
                value is not None
                for value in (given.get(name), getattr(chosen, name, None), getattr(config, name, None))
            )

        if not said("max_new_tokens") and not said("max_length") and "max_new_tokens" in self.defaults:
            limit = self.model.position_limit
            room = self.defaults["max_new_tokens"] if limit is None else limit - prompt
            made["max_new_tokens"] = max(1, min(self.defaults["max_new_tokens"], room))
        if not any(said(name) for name in ("do_sample", "num_beams", "penalty_alpha")) and "do_sample" in self.defaults:
            made["do_sample"] = self.defaults["do_sample"]
            if not said("temperature"):
                made["temperature"] = self.defaults["temperature"]
        if not said("pad_token_id"):
            made["pad_token_id"] = self.pad_token_id
        if not said("eos_token_id") and self.tokenizer.eos_token_id is not None:
            made["eos_token_id"] = self.tokenizer.eos_token_id
        if said("stop_strings"):
            made["tokenizer"] = self.tokenizer
        return made

    def generate(self, batch: dict[str, torch.Tensor], given: dict[str, Any]) -> torch.Tensor:
        """Generate for a batch.

        Returns:
            New tokens alone: `(batch, sequences for each, tokens)`.
        """
        sequences = self.model.generate(**batch, **self.settings(given, batch["input_ids"].shape[1]))
        if self.model.generation_kind == "decoder":
            sequences = sequences[:, batch["input_ids"].shape[1] :]
        rows = batch["input_ids"].shape[0]
        return sequences.view(rows, sequences.shape[0] // rows, -1)
