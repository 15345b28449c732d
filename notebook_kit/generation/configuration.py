"""GenerationConfig: the settings of `generate`, as stored in `generation_config.json`."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from notebook_kit.errors import CheckpointError, ConfigurationError, InputError, UnknownAttributeError, near_matches
from notebook_kit.fields import Check, Fraction, NonNegative, Range, mismatch, types_of
from notebook_kit.files import check_mapping, read_json, write_text
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.hub.saving import PushToHub, folder_to_save

if TYPE_CHECKING:
    from notebook_kit.configuration import PretrainedConfig

__all__ = ["GENERATION_CONFIG_NAME", "GenerationConfig", "GenerationMode"]

GENERATION_CONFIG_NAME = "generation_config.json"

TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
SAMPLING_ONLY = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
OUTPUTS = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
BEAMS_ONLY = ("early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty")

_PROVENANCE = ("transformers_version", "_from_model_config", "_commit_hash")
# Settings of other libraries, which change nothing here: they are kept, although some resemble a setting.
_FOREIGN: tuple[str, ...] = ("bos_token", "eos_token", "pad_token", "use_mtp", "top_h", "cache_config", "max_cache_len")
_FOREIGN += ("is_assistant", "assistant_lookbehind")
# Settings in the files of Whisper's checkpoints, some of which SpeechGenerationMixin reads.
_SPEECH: tuple[str, ...] = ("lang_to_id", "task_to_id", "language", "task", "is_multilingual", "forced_decoder_ids")
_SPEECH += ("no_timestamps_token_id", "prev_sot_token_id", "max_initial_timestamp_index", "return_timestamps")
_SPEECH += ("alignment_heads", "median_filter_width", "condition_on_prev_tokens", "force_unique_generate_call")
_SPEECH += ("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold", "use_scan")

REPLACED = dict.fromkeys(
    ("force_words_ids", "constraints"),
    "Pass prefix_allowed_tokens_fn, a function that returns the allowed next tokens.",
)
"""Setting of other libraries that notebook_kit lacks -> what to use instead."""

Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
PositiveFraction = Annotated[float, Check("a number above 0, at most 1", lambda value: 0 < value <= 1)]
CacheKind = (
    Literal["dynamic", "static", "offloaded", "offloaded_static", "quantized", "hybrid", "hybrid_chunked"]
    | Literal["offloaded_hybrid", "offloaded_hybrid_chunked", "sliding_window"]
)
TokenId = Annotated[int, Range(-1)]  # -1, in some older files, for a token that the model does not have


class GenerationMode(StrEnum):
    """How `generate` searches for a text: see `GenerationConfig.get_generation_mode`.

    Example:
        >>> GenerationMode("sample") is GenerationMode.SAMPLE
        True
    """

    GREEDY_SEARCH = "greedy_search"
    SAMPLE = "sample"
    BEAM_SEARCH = "beam_search"
    BEAM_SAMPLE = "beam_sample"
    GROUP_BEAM_SEARCH = "group_beam_search"
    ASSISTED_GENERATION = "assisted_generation"


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
        cache_implementation: "static" for a `StaticCache`; the results are those of any other kind. The cache is neither moved
            to another device ("offloaded") nor rounded ("quantized").
        guidance_scale: Above 1, follow the prompt more closely: scores are moved away from those without the prompt, or
            after `negative_prompt_ids`, by this factor (classifier-free guidance).
        prompt_lookup_num_tokens: Check this many tokens at once, if the text's last words occur earlier in it: those that
            followed there. The result is that of greedy search or sampling, sooner for texts that repeat the prompt.
        max_matching_ngram_size: The number of last tokens to look for.
        num_assistant_tokens: The number of tokens that `assistant_model` proposes at once; with the
            `num_assistant_tokens_schedule` "heuristic", 2 more after a full success and otherwise 1 fewer.
        low_memory: Accepted; contrastive search needs little memory in any case.

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
        bos_token_id, pad_token_id, decoder_start_token_id: The first token of a text, padding, and a decoder's first token
            (or a list with one per input).

    Result:
        return_dict_in_generate: Return an object that holds more than the tokens.
        output_scores, output_logits: In that object: the scores of each step, after and before all rules.
        output_attentions, output_hidden_states: In that object: those of the model, for each step.

    A misspelt name raises an error with near matches. Settings of Whisper's checkpoints (`lang_to_id`, `task_to_id`,
    `no_timestamps_token_id`, `alignment_heads`, ...) and of other libraries are kept in `extra` and written back.

    Raises:
        ConfigurationError: For a misspelt name, an invalid value, or settings that contradict each other.

    Example:
        >>> from notebook_kit import GenerationConfig
        >>> GenerationConfig(max_new_tokens=40, do_sample=True, top_p=0.9)
        GenerationConfig(max_new_tokens=40, do_sample=True, top_p=0.9)
        >>> GenerationConfig(max_new_token=40)
        Traceback (most recent call last):
        notebook_kit.errors.ConfigurationError: There is no setting 'max_new_token'. Did you mean ...
        → Correct the name.
    """

    max_new_tokens: Count | None = None
    max_length: Count | None = None
    min_new_tokens: Whole | None = None
    min_length: Whole | None = None
    max_time: NonNegative | None = None
    stop_strings: str | list[str] | None = None
    do_sample: bool | None = None
    num_beams: Count | None = None
    num_beam_groups: Count | None = None
    diversity_penalty: NonNegative | None = None
    early_stopping: bool | Literal["never"] | None = None
    length_penalty: float | None = None
    penalty_alpha: Fraction | None = None
    num_return_sequences: Count | None = None
    use_cache: bool | None = None
    cache_implementation: CacheKind | None = None
    guidance_scale: NonNegative | None = None
    prompt_lookup_num_tokens: Count | None = None
    max_matching_ngram_size: Count | None = None
    num_assistant_tokens: Count | None = None
    num_assistant_tokens_schedule: Literal["constant", "heuristic", "heuristic_transient"] | None = None
    low_memory: bool | None = None
    temperature: NonNegative | None = None
    top_k: Whole | None = None
    top_p: Fraction | None = None
    min_p: Fraction | None = None
    typical_p: PositiveFraction | None = None
    epsilon_cutoff: Fraction | None = None
    eta_cutoff: Fraction | None = None
    repetition_penalty: NonNegative | None = None
    encoder_repetition_penalty: NonNegative | None = None
    no_repeat_ngram_size: Whole | None = None
    encoder_no_repeat_ngram_size: Whole | None = None
    bad_words_ids: list[list[Whole]] | None = None
    sequence_bias: dict | list[list] | None = None
    suppress_tokens: list[TokenId] | None = None
    begin_suppress_tokens: list[TokenId] | None = None
    forced_bos_token_id: TokenId | None = None
    forced_eos_token_id: TokenId | list[TokenId] | None = None
    exponential_decay_length_penalty: list[float] | None = None
    remove_invalid_values: bool | None = None
    renormalize_logits: bool | None = None
    bos_token_id: TokenId | None = None
    eos_token_id: TokenId | list[TokenId] | None = None
    pad_token_id: TokenId | None = None
    decoder_start_token_id: TokenId | list[TokenId] | None = None
    return_dict_in_generate: bool | None = None
    output_scores: bool | None = None
    output_logits: bool | None = None
    output_attentions: bool | None = None
    output_hidden_states: bool | None = None

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
        raise UnknownAttributeError(f"GenerationConfig has no setting {name!r}.", name, self.names())

    def __setattr__(self, name: str, value: Any) -> None:
        own = name == "extra" or name in self.names()
        (self.__dict__ if own else self.extra)[name] = value  # what is not a setting is written to files, too

    def update(self, **settings: Any) -> dict[str, Any]:
        """Set several settings at once.

        Returns:
            Those that are not settings; they are kept in `extra`.

        Raises:
            ConfigurationError: For a misspelt name, or an invalid value.
        """
        names, before = self.names(), {**self.__dict__, "extra": dict(self.extra)}
        try:
            for name, value in settings.items():
                is_kept = name in self.extra or name in _FOREIGN or name in _SPEECH
                if name in REPLACED and name not in self.extra and value is not None:
                    raise ConfigurationError(f"There is no setting {name!r}.", next_step=REPLACED[name])
                if name not in names and not is_kept and (hint := near_matches(name, [*names, *_SPEECH])):
                    raise ConfigurationError(f"There is no setting {name!r}. {hint}", next_step="Correct the name.")
                (self.__dict__ if name in names else self.extra)[name] = value
            self.validate()
        except ConfigurationError:
            self.__dict__.update(before)
            raise
        return {name: value for name, value in settings.items() if name not in names}

    def get_generation_mode(self, assistant_model: Any = None) -> GenerationMode:
        """How `generate` searches with these settings, and with this `assistant_model`.

        Example:
            >>> GenerationConfig(num_beams=4, do_sample=False).get_generation_mode()
            <GenerationMode.BEAM_SEARCH: 'beam_search'>
        """
        if assistant_model is not None or self.prompt_lookup_num_tokens:
            return GenerationMode.ASSISTED_GENERATION
        if (self.num_beams or 1) == 1:
            return GenerationMode.SAMPLE if self.do_sample else GenerationMode.GREEDY_SEARCH
        if (self.num_beam_groups or 1) > 1:
            return GenerationMode.GROUP_BEAM_SEARCH
        return GenerationMode.BEAM_SAMPLE if self.do_sample else GenerationMode.BEAM_SEARCH

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
        values = {name: value for name in self.names() if (value := getattr(self, name)) is not None}
        if fault := mismatch(values, types_of(GenerationConfig)):
            raise ConfigurationError(f"{fault}.", next_step="help(GenerationConfig) describes all settings.")
        if self.temperature == 0 and self.do_sample:
            raise ConfigurationError(
                "temperature is 0, and scores cannot be divided by it.",
                next_step="Pass do_sample=False, which takes the most probable token.",
            )
        if self.repetition_penalty == 0 or self.encoder_repetition_penalty == 0:
            raise ConfigurationError("A repetition penalty is 0.", next_step="Pass 1.0 for none, more for a penalty.")
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
        for name, is_valid, example in (
            ("stop_strings", _names_all, '["\\n\\n"], without empty texts'),
            ("bad_words_ids", all, "[[5, 6], [7]]"),
            ("sequence_bias", _is_bias, "{(5, 6): -2.0}"),
            ("suppress_tokens", _names_all, "[5, 6, 7]"),
            ("begin_suppress_tokens", _names_all, "[5, 6, 7]"),
            (
                "exponential_decay_length_penalty",
                lambda value: len(value) == 2,
                "(5, 1.1): after 5 tokens, by 1.1 each",
            ),
        ):
            if name in values and not is_valid(values[name]):
                raise ConfigurationError(f"{name} is {values[name]!r}.", next_step=f"Pass {name}={example}.")

    # Reading and writing -----------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **edits: Any) -> GenerationConfig:
        """A config from a file's content. Unknown keys are kept in `extra`."""
        check_mapping(values)
        config = cls()
        config.extra = {name: None for name in values if name not in cls.names() and name not in _PROVENANCE}
        config.update(**{name: value for name, value in values.items() if name not in _PROVENANCE})
        config.update(**edits)
        return config

    @classmethod
    def _read(cls, path: Path) -> GenerationConfig:
        values = read_json(path, types=types_of(GenerationConfig))
        with _naming(path):
            return cls.from_dict(values)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike | Source, config_file_name: str | None = None, **kwargs: Any
    ) -> GenerationConfig:
        """Read a checkpoint's `generation_config.json`.

        Args:
            name_or_path: A folder, a zoo name, or a Hub name.
            config_file_name: The name of another file in the same format.
            **kwargs: Hub options (`revision`, `token`, `cache_dir`, `local_files_only`, `force_download`,
                `subfolder`), and settings to edit.

        Raises:
            HubError: If the checkpoint cannot be found or fetched.
            CheckpointError: If the file is missing, damaged, or contains an invalid value.
            ConfigurationError: If an edit names no setting, or its value is invalid.
        """
        source = locate(name_or_path, **take_hub_options(kwargs))
        name = _file_name(config_file_name)
        config = cls._read(source.require(name, why="It contains the checkpoint's default settings."))
        config.update(**kwargs)
        return config

    @classmethod
    def from_model_config(cls, config: PretrainedConfig) -> GenerationConfig:
        """The generation settings in the `config.json` of an older checkpoint."""
        text = config.get_text_config()  # that of a nested decoder holds what the outer one does not
        parts = (config,) if text is config or text is None else (text, config)
        fields: dict[str, Any] = {}
        for part in parts:
            found = {**part.to_diff_dict(), **{name: getattr(part, name, None) for name in TOKENS}}
            fields |= {name: value for name, value in found.items() if name in cls.names() and value is not None}
        return cls.from_dict(fields)

    @classmethod
    def of_checkpoint(cls, source: Source, config: PretrainedConfig) -> GenerationConfig:
        """The settings in `generation_config.json`, or in `config.json` for a checkpoint without that file."""
        path = source.find(GENERATION_CONFIG_NAME)
        if path is not None:
            return cls._read(path)
        with _naming(f"config.json of {source.name}"):
            return cls.from_model_config(config)

    def to_dict(self) -> dict[str, Any]:
        """The settings that are set, as plain JSON values."""
        values = {name: copy.deepcopy(getattr(self, name)) for name in self.names() if getattr(self, name) is not None}
        if isinstance(self.sequence_bias, dict):
            values["sequence_bias"] = [[list(ids), bias] for ids, bias in self.sequence_bias.items()]
        return {**values, **copy.deepcopy(self.extra)}

    def to_json_string(self) -> str:
        """`to_dict` as indented JSON with sorted keys, the form of a `generation_config.json`."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def save_pretrained(
        self,
        folder: str | os.PathLike,
        config_file_name: str | None = None,
        push_to_hub: bool = False,
        **push_options: Any,
    ) -> None:
        """Write `generation_config.json` into `folder`, which is created if necessary.

        Args:
            folder: Where to write.
            config_file_name: Another name for the file; `from_pretrained` reads it under that name.
            push_to_hub: Also upload the folder; `push_options` go to `notebook_kit.hub.push_folder`.
        """
        name = _file_name(config_file_name)
        with folder_to_save(folder, push_to_hub, push_options) as target:
            write_text(target / name, self.to_json_string())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"GenerationConfig({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"


def _file_name(given: Any) -> str:
    if not isinstance(given, str | None):
        raise InputError(
            f"config_file_name is {given!r}; expected the name of a file.",
            next_step=f"Pass a name, such as {GENERATION_CONFIG_NAME!r}.",
        )
    return given or GENERATION_CONFIG_NAME


_OFF = ("do_sample", "early_stopping", "low_memory", "remove_invalid_values", "renormalize_logits")
_ONES = ("temperature", "top_p", "typical_p", "length_penalty", "repetition_penalty", "encoder_repetition_penalty")
DEFAULTS: dict[str, Any] = {
    **dict.fromkeys((*_OFF, "return_dict_in_generate", *OUTPUTS), False),
    **dict.fromkeys(("min_length", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), 0),
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences"), 1),
    **dict.fromkeys(("diversity_penalty", "epsilon_cutoff", "eta_cutoff"), 0.0),
    **dict.fromkeys(_ONES, 1.0),
    "max_length": 20,
    "top_k": 50,
    "use_cache": True,
    "max_matching_ngram_size": 2,
    "num_assistant_tokens": 20,
    "num_assistant_tokens_schedule": "constant",
}
"""The value of each setting that neither the call, its config nor the checkpoint sets."""


@contextmanager
def _naming(place: object) -> Iterator[None]:
    """Let errors about settings name the file that they are from."""
    try:
        yield
    except ConfigurationError as error:
        raise CheckpointError(f"{place}: {error.what}", next_step="Correct the file.") from None


def _is_bias(value: Mapping[Any, Any] | list[Any]) -> bool:
    pairs = list(value.items() if isinstance(value, Mapping) else value)
    return all(
        len(pair) == 2
        and pair[0]
        and not mismatch({"ids": pair[0], "bias": pair[1]}, {"ids": list[Whole], "bias": float})
        for pair in pairs
    )


def _names_all(value: Any) -> bool:
    """Whether a value, or a list of them, is neither empty nor contains an empty text or a token id below 0."""
    values = [value] if isinstance(value, str) else value
    return bool(values) and all(one != "" and one != -1 for one in values)
