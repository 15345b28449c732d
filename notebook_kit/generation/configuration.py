"""GenerationConfig: the settings of `generate`, as stored in `generation_config.json`."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import ConfigurationError, near_matches
from notebook_kit.files import read_json, write_text
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.hub.saving import PushToHub, folder_to_save

if TYPE_CHECKING:
    from notebook_kit.configuration import PretrainedConfig

__all__ = ["GENERATION_CONFIG_NAME", "GenerationConfig"]

GENERATION_CONFIG_NAME = "generation_config.json"

TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
SAMPLING_ONLY = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
BEAMS_ONLY = ("early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty")

_PROVENANCE = ("transformers_version", "_from_model_config", "_commit_hash")
_INFINITY = float("inf")


def _setting(default: Any = None, low: float | None = None, high: float = _INFINITY) -> Any:
    """A field that is None until it is set.

    Args:
        default: Its value in a call where nothing sets it.
        low, high: The valid range of a number; None for a field without a range.
    """
    return dataclasses.field(default=None, metadata={"default": default, "low": low, "high": high})


@dataclasses.dataclass(init=False, repr=False)
class GenerationConfig(PushToHub):
    """The settings of `generate`. A setting that is None is unset: the model's own config decides, then the default.

    Length:
        max_new_tokens: The maximum number of tokens to generate; takes precedence over `max_length`.
        max_length: The maximum number of tokens in prompt and continuation. By default 20 more than the prompt.
        min_new_tokens, min_length: The end-of-text token is excluded before this many tokens.
        max_time: Seconds after which no further token is started.
        stop_strings: One or more texts at which a sequence ends; `generate` then needs `tokenizer=`.
        eos_token_id: The token at which a sequence ends, or a list of them.

    How the next token is chosen:
        do_sample: Sample it; otherwise take the most probable one.
        num_beams: Keep this many alternatives and return the best whole sequence (beam search).
        num_beam_groups, diversity_penalty: Split the beams into groups, and penalize tokens that an earlier group chose.
        early_stopping: End beam search once `num_beams` sequences are finished (True), when a better one is unlikely
            (False, the default), or when a better one is impossible (`"never"`).
        length_penalty: A beam's score is divided by its length to this power.
        penalty_alpha: With `top_k`: contrastive search, which weighs a token's probability against its similarity to the
            context.
        num_return_sequences: The number of sequences per prompt.
        use_cache: Reuse the keys and values computed for earlier tokens.

    Sampling (all need `do_sample=True`):
        temperature: Below 1, probable tokens become more probable; above 1, less.
        top_k: Sample from the k most probable tokens; 0 for all.
        top_p: Sample from the smallest set of tokens whose probabilities reach this sum.
        min_p: Sample from tokens that are at least this fraction as probable as the best one.
        typical_p: Sample from tokens of about the expected surprise, whose probabilities reach this sum.
        epsilon_cutoff, eta_cutoff: Exclude tokens below a probability that is fixed or falls with the entropy.

    Penalties and rules:
        repetition_penalty: Above 1, tokens already in the text become less probable.
        encoder_repetition_penalty: Above 1, tokens of the encoder's input become more probable.
        no_repeat_ngram_size: No n-gram of this size occurs twice.
        encoder_no_repeat_ngram_size: No n-gram of this size from the encoder's input occurs.
        bad_words_ids: Lists of token ids that never occur.
        sequence_bias: Pairs of a list of token ids and the bias added to the score of its last token after the others.
        suppress_tokens, begin_suppress_tokens: Token ids that never occur, or not as the first token.
        forced_bos_token_id: The first token after the start token.
        forced_eos_token_id: The last token when `max_length` is reached.
        exponential_decay_length_penalty: `(start, factor)`: after `start` new tokens the end becomes ever more probable.
        remove_invalid_values: Replace NaN and infinite scores.
        renormalize_logits: Normalize the scores to log-probabilities after all other rules.

    Tokens:
        bos_token_id, pad_token_id, decoder_start_token_id: The first token of a text, padding, and a decoder's first token.

    Result:
        return_dict_in_generate: Return an object that holds more than the tokens.
        output_scores, output_logits: In that object: the scores of each step, after and before all rules.
        output_attentions, output_hidden_states: In that object: those of the model, for each step.

    An unknown name raises an error with near matches. Unknown keys of a file are kept in `extra` and written back.

    Raises:
        ConfigurationError: For an unknown name, an invalid value, or settings that contradict each other.

    Example:
        >>> from notebook_kit import GenerationConfig
        >>> GenerationConfig(max_new_tokens=40, do_sample=True, top_p=0.9)
        GenerationConfig(max_new_tokens=40, do_sample=True, top_p=0.9)
        >>> GenerationConfig(max_new_token=40)
        Traceback (most recent call last):
        notebook_kit.errors.ConfigurationError: There is no generation setting 'max_new_token'. Did you mean ...
        → Correct the name.
    """

    max_new_tokens: int | None = _setting(low=1)
    max_length: int | None = _setting(20, low=1)
    min_new_tokens: int | None = _setting(low=0)
    min_length: int | None = _setting(0, low=0)
    max_time: float | None = _setting(low=0)
    stop_strings: str | list[str] | None = None
    do_sample: bool | None = _setting(False)
    num_beams: int | None = _setting(1, low=1)
    num_beam_groups: int | None = _setting(1, low=1)
    diversity_penalty: float | None = _setting(0.0, low=0)
    early_stopping: bool | str | None = _setting(False)
    length_penalty: float | None = _setting(1.0, low=-_INFINITY)
    penalty_alpha: float | None = _setting(low=0, high=1)
    num_return_sequences: int | None = _setting(1, low=1)
    use_cache: bool | None = _setting(True)
    temperature: float | None = _setting(1.0, low=0)
    top_k: int | None = _setting(50, low=0)
    top_p: float | None = _setting(1.0, low=0, high=1)
    min_p: float | None = _setting(low=0, high=1)
    typical_p: float | None = _setting(1.0, low=0, high=1)
    epsilon_cutoff: float | None = _setting(0.0, low=0, high=1)
    eta_cutoff: float | None = _setting(0.0, low=0, high=1)
    repetition_penalty: float | None = _setting(1.0, low=0)
    encoder_repetition_penalty: float | None = _setting(1.0, low=0)
    no_repeat_ngram_size: int | None = _setting(0, low=0)
    encoder_no_repeat_ngram_size: int | None = _setting(0, low=0)
    bad_words_ids: list[list[int]] | None = None
    sequence_bias: list | dict | None = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    exponential_decay_length_penalty: tuple[int, float] | None = None
    remove_invalid_values: bool | None = _setting(False)
    renormalize_logits: bool | None = _setting(False)
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    decoder_start_token_id: int | None = None
    return_dict_in_generate: bool | None = _setting(False)
    output_scores: bool | None = _setting(False)
    output_logits: bool | None = _setting(False)
    output_attentions: bool | None = _setting(False)
    output_hidden_states: bool | None = _setting(False)

    def __init__(self, **settings: Any) -> None:
        self.extra: dict[str, Any] = {}
        for name in self.names():
            self.__dict__[name] = None
        self.update(**settings)

    @classmethod
    def names(cls) -> list[str]:
        """The names of all settings."""
        return [field.name for field in dataclasses.fields(cls)]

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        raise AttributeError(f"GenerationConfig has no setting {name!r}. {near_matches(name, self.names())}".rstrip())

    def update(self, **settings: Any) -> None:
        """Set several settings at once.

        Raises:
            ConfigurationError: For an unknown name, or an invalid value.
        """
        names = self.names()
        for name in settings:
            if name not in names and name not in self.extra:
                raise ConfigurationError(
                    f"There is no generation setting {name!r}. {near_matches(name, names)}".rstrip(),
                    next_step="Correct the name.",
                )
        for name, value in settings.items():
            (self.extra if name in self.extra else self.__dict__)[name] = value
        self.validate()

    def filled(self, *others: GenerationConfig | Mapping[str, Any]) -> GenerationConfig:
        """A copy whose unset settings come from `others`; earlier ones take precedence."""
        filled = copy.deepcopy(self)
        for other in others:
            source = other if isinstance(other, Mapping) else vars(other)
            for name in self.names():
                if getattr(filled, name) is None and source.get(name) is not None:
                    setattr(filled, name, copy.deepcopy(source[name]))
        return filled

    def validate(self) -> None:
        """Check each value, and the combination of them.

        Raises:
            ConfigurationError: For the first invalid value or contradiction.
        """
        for name, (whole, low, high) in _RANGES.items():
            value = getattr(self, name)
            is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and low <= value <= high):
                kind, upper = "a whole number" if whole else "a number", f" to {high}" if high != _INFINITY else " up"
                raise ConfigurationError(f"{name} is {value!r}.", next_step=f"Pass {kind} from {low}{upper}.")
        if self.temperature == 0:
            raise ConfigurationError(
                "temperature is 0, and scores cannot be divided by it.",
                next_step="Pass do_sample=False, which takes the most probable token.",
            )
        if self.repetition_penalty == 0 or self.encoder_repetition_penalty == 0:
            raise ConfigurationError("A repetition penalty is 0.", next_step="Pass 1.0 for none, more for a penalty.")
        if self.early_stopping not in (None, True, False, "never"):
            raise ConfigurationError(
                f"early_stopping is {self.early_stopping!r}.", next_step='Pass True, False or "never".'
            )
        beams, groups, wanted = self.num_beams or 1, self.num_beam_groups or 1, self.num_return_sequences or 1
        if groups > 1 and beams % groups:
            raise ConfigurationError(
                f"{beams} beams cannot be split into {groups} groups of equal size.",
                next_step="Choose a num_beam_groups that divides num_beams.",
            )
        if groups > 1 and self.do_sample:
            raise ConfigurationError("Groups of beams are not sampled.", next_step="Pass do_sample=False with groups.")
        if wanted > beams and (beams > 1 or self.do_sample is False):
            raise ConfigurationError(
                f"num_return_sequences is {wanted}, and {beams} beam{'s give' if beams > 1 else ' gives'} {beams}.",
                next_step=f"Pass num_beams={wanted}, or do_sample=True to sample several.",
            )
        stops = [self.stop_strings] if isinstance(self.stop_strings, str) else self.stop_strings
        if stops is not None and not (stops and _are_texts(stops)):
            raise ConfigurationError(
                f"stop_strings is {self.stop_strings!r}.", next_step='Pass texts that are not empty: ["\\n\\n"].'
            )
        for name, is_valid, example in (
            ("bad_words_ids", _are_lists_of_ids, "[[5, 6], [7]]"),
            ("suppress_tokens", _are_ids, "[5, 6, 7]"),
            ("begin_suppress_tokens", _are_ids, "[5, 6, 7]"),
        ):
            value = getattr(self, name)
            if value is not None and not is_valid(value):
                raise ConfigurationError(f"{name} is {value!r}.", next_step=f"Pass token ids, such as {example}.")

    # Reading and writing -----------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **edits: Any) -> GenerationConfig:
        """A config from a file's content. Unknown keys are kept in `extra`."""
        config = cls()
        names = cls.names()
        for name, value in values.items():
            if name not in _PROVENANCE:
                (config.__dict__ if name in names else config.extra)[name] = value
        config.update(**edits)
        return config

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike | Source, **kwargs: Any) -> GenerationConfig:
        """Read a checkpoint's `generation_config.json`.

        Args:
            name_or_path: A folder, a zoo name, or a Hub name.
            **kwargs: Hub options (`revision`, `token`, `cache_dir`, `local_files_only`, `force_download`,
                `subfolder`), and settings to edit.

        Raises:
            HubError: If the checkpoint cannot be found or fetched.
            CheckpointError: If the file is missing or damaged.
            ConfigurationError: If an edit names no setting, or a value is invalid.
        """
        source = locate(name_or_path, **take_hub_options(kwargs))
        path = source.require(GENERATION_CONFIG_NAME, why="It contains the checkpoint's default settings.")
        return cls.from_dict(read_json(path), **kwargs)

    @classmethod
    def from_model_config(cls, config: PretrainedConfig) -> GenerationConfig:
        """The generation settings in the `config.json` of an older checkpoint."""
        fields = {**config.to_diff_dict(), **{name: getattr(config, name, None) for name in TOKENS}}
        return cls.from_dict(
            {name: value for name, value in fields.items() if name in cls.names() and value is not None}
        )

    @classmethod
    def of_checkpoint(cls, source: Source, config: PretrainedConfig) -> GenerationConfig:
        """The settings in `generation_config.json`, or in `config.json` for a checkpoint without that file."""
        path = source.find(GENERATION_CONFIG_NAME)
        return cls.from_model_config(config) if path is None else cls.from_dict(read_json(path))

    def to_dict(self) -> dict[str, Any]:
        """The settings that are set, as plain JSON values."""
        values = {name: copy.deepcopy(getattr(self, name)) for name in self.names() if getattr(self, name) is not None}
        if isinstance(self.sequence_bias, dict):
            values["sequence_bias"] = [[list(ids), bias] for ids, bias in self.sequence_bias.items()]
        return {**values, **copy.deepcopy(self.extra)}

    def to_json_string(self) -> str:
        """`to_dict` as indented JSON with sorted keys, the form of a `generation_config.json`."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def save_pretrained(self, folder: str | os.PathLike, push_to_hub: bool = False, **push_options: Any) -> None:
        """Write `generation_config.json` into `folder`, which is created if necessary.

        Args:
            folder: Where to write.
            push_to_hub: Also upload the folder; `push_options` go to `notebook_kit.hub.push_folder`.
        """
        with folder_to_save(folder, push_to_hub, push_options) as target:
            write_text(target / GENERATION_CONFIG_NAME, self.to_json_string())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"GenerationConfig({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"


DEFAULTS: dict[str, Any] = {
    field.name: field.metadata["default"]
    for field in dataclasses.fields(GenerationConfig)
    if field.metadata.get("default") is not None
}
"""The value of each setting that neither the call, its config nor the checkpoint sets."""

# Name -> whether it is a whole number, and the lowest and the highest valid value.
_RANGES: dict[str, tuple[bool, float, float]] = {
    field.name: ("int" in str(field.type), field.metadata["low"], field.metadata["high"])
    for field in dataclasses.fields(GenerationConfig)
    if field.metadata.get("low") is not None
}


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) and text for text in value)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(i, int) and i >= 0 for i in value)


def _are_lists_of_ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_are_ids, value))
