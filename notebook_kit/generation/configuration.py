"""GenerationConfig: the settings of `generate`, as `generation_config.json` keeps them."""

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

# What holds where neither the call, nor the config given to it, nor the checkpoint says otherwise.
DEFAULTS: dict[str, Any] = {
    "max_length": 20,
    "min_length": 0,
    "do_sample": False,
    "use_cache": True,
    "early_stopping": False,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "num_return_sequences": 1,
    "output_scores": False,
    "output_logits": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict_in_generate": False,
    "remove_invalid_values": False,
    "renormalize_logits": False,
}

SAMPLING_ONLY = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
BEAMS_ONLY = ("early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty")


@dataclasses.dataclass(init=False, repr=False)
class GenerationConfig(PushToHub):
    """How tokens are generated. A setting that is None is not said: the model's own config, then the default decides.

    Length:
        max_new_tokens: The most tokens to generate; takes precedence over `max_length`.
        max_length: The most tokens of prompt and continuation together. By default 20 more than the prompt.
        min_new_tokens, min_length: No end of text before so many.
        max_time: Seconds after which no further token is begun.
        stop_strings: A text, or several, at which a sequence ends; `generate` then needs `tokenizer=`.
        eos_token_id: The token at which a sequence ends, or a list of them.

    How the next token is chosen:
        do_sample: Draw it; otherwise the most probable is taken.
        num_beams: Keep that many alternatives, and give the best whole sequence (beam search).
        num_beam_groups, diversity_penalty: Beams in groups, which are penalised for a token that an earlier group chose.
        early_stopping: End beam search when there are `num_beams` finished ones (True), when a better one is unlikely
            (False, the default), or when there can be none (`"never"`).
        length_penalty: A beam's score is divided by its length to this power.
        penalty_alpha: With `top_k`: contrastive search, which weighs a token's probability against its likeness to the context.
        num_return_sequences: How many sequences for each prompt.
        use_cache: Keep what was computed of earlier tokens.

    Sampling (all need `do_sample=True`):
        temperature: Below 1 the probable becomes more probable, above 1 less.
        top_k: Draw from the k most probable tokens; 0 for all.
        top_p: Draw from the fewest tokens whose probabilities reach this sum.
        min_p: Draw from tokens that are at least this fraction as probable as the best.
        typical_p: Draw from tokens of about the expected surprise, whose probabilities reach this sum.
        epsilon_cutoff, eta_cutoff: Leave out tokens below a probability, fixed or falling with the entropy.

    Penalties and rules:
        repetition_penalty: Above 1, tokens that are already there become less probable.
        encoder_repetition_penalty: Above 1, tokens of the encoder's input become more probable.
        no_repeat_ngram_size: No run of so many tokens appears twice.
        encoder_no_repeat_ngram_size: No run of so many tokens of the encoder's input appears.
        bad_words_ids: Lists of token ids that never appear.
        sequence_bias: Pairs of a list of token ids and what is added to the score of its last token after the others.
        suppress_tokens, begin_suppress_tokens: Token ids that never appear, or not as the first.
        forced_bos_token_id: The first token after the start token.
        forced_eos_token_id: The token at the last place that `max_length` allows.
        exponential_decay_length_penalty: `(start, factor)`: from `start` new tokens on, the end becomes more probable.
        remove_invalid_values: Make finite what is not.
        renormalize_logits: Make scores log-probabilities again after all of these.

    Tokens:
        bos_token_id, pad_token_id, decoder_start_token_id: What starts, pads, and starts a decoder's text.

    Result:
        return_dict_in_generate: Return an object with more than the tokens.
        output_scores, output_logits: With it: scores after all rules, and before, step by step.
        output_attentions, output_hidden_states: With it: those of the model, step by step.

    A name that there is not is an error with near matches. Keys of a file that are not known are kept in `extra`, and
    written back.

    Raises:
        ConfigurationError: For a name that there is not, or a value that cannot be.

    Example:
        >>> from notebook_kit import GenerationConfig
        >>> GenerationConfig(max_new_tokens=40, do_sample=True, top_p=0.9)
        GenerationConfig(max_new_tokens=40, do_sample=True, top_p=0.9)
        >>> GenerationConfig(max_new_token=40)
        Traceback (most recent call last):
        notebook_kit.errors.ConfigurationError: There is no generation setting 'max_new_token'. Did you mean ...
        → Correct the name.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int | None = None
    max_time: float | None = None
    stop_strings: str | list[str] | None = None
    do_sample: bool | None = None
    num_beams: int | None = None
    num_beam_groups: int | None = None
    diversity_penalty: float | None = None
    early_stopping: bool | str | None = None
    length_penalty: float | None = None
    penalty_alpha: float | None = None
    num_return_sequences: int | None = None
    use_cache: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    repetition_penalty: float | None = None
    encoder_repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    encoder_no_repeat_ngram_size: int | None = None
    bad_words_ids: list[list[int]] | None = None
    sequence_bias: list | dict | None = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    exponential_decay_length_penalty: tuple[int, float] | None = None
    remove_invalid_values: bool | None = None
    renormalize_logits: bool | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    decoder_start_token_id: int | None = None
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
        raise AttributeError(f"GenerationConfig has no setting {name!r}. {near_matches(name, self.names())}".rstrip())

    def update(self, **settings: Any) -> None:
        """Set several settings at once.

        Raises:
            ConfigurationError: For a name that there is not, or a value that cannot be.
        """
        for name in settings:
            if name not in self.__dict__ and name not in self.extra:
                raise ConfigurationError(
                    f"There is no generation setting {name!r}. {near_matches(name, self.names())}".rstrip(),
                    next_step="Correct the name.",
                )
        for name, value in settings.items():
            if name in self.extra:
                self.extra[name] = value
            else:
                setattr(self, name, value)
        self.validate()

    def filled(self, *others: GenerationConfig | Mapping[str, Any]) -> GenerationConfig:
        """A config in which what is not said here is taken from `others`, in their order."""
        made = copy.deepcopy(self)
        for other in others:
            source = other if isinstance(other, Mapping) else vars(other)
            for name in self.names():
                if getattr(made, name) is None and source.get(name) is not None:
                    setattr(made, name, copy.deepcopy(source[name]))
        return made

    def validate(self) -> None:
        """Check each value, and that they go together.

        Raises:
            ConfigurationError: For the first that cannot be.
        """
        for name, (kind, low, high) in RANGES.items():
            value = getattr(self, name)
            if value is None:
                continue
            right = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
            if not right or value < low or value > high:
                upper = f" to {high}" if high != float("inf") else " on"
                raise ConfigurationError(
                    f"{name} is {value!r}.",
                    next_step=f"Pass {'a whole number' if kind is int else 'a number'} from {low}{upper}.",
                )
        if self.temperature == 0:
            raise ConfigurationError(
                "temperature is 0, and scores cannot be divided by it.",
                next_step="Pass do_sample=False, which takes the most probable token.",
            )
        if self.repetition_penalty == 0 or self.encoder_repetition_penalty == 0:
            raise ConfigurationError(
                "A repetition penalty is 0.", next_step="Pass 1.0 for none, and more for a penalty."
            )
        if self.early_stopping not in (None, True, False, "never"):
            raise ConfigurationError(
                f"early_stopping is {self.early_stopping!r}.", next_step='Pass True, False or "never".'
            )
        beams, groups = self.num_beams or 1, self.num_beam_groups or 1
        if groups > 1 and beams % groups:
            raise ConfigurationError(
                f"{beams} beams cannot be split into {groups} groups of one size.",
                next_step="Let num_beam_groups divide num_beams.",
            )
        if groups > 1 and self.do_sample:
            raise ConfigurationError(
                "Groups of beams are not drawn.", next_step="Pass do_sample=False with num_beam_groups."
            )
        wanted = self.num_return_sequences or 1
        if wanted > beams and (beams > 1 or self.do_sample is False):
            raise ConfigurationError(
                f"num_return_sequences is {wanted}, and {beams} beam{'s give' if beams > 1 else ' gives'} {beams}.",
                next_step=f"Pass num_beams={wanted}, or do_sample=True to draw several.",
            )
        for name in ("bad_words_ids", "suppress_tokens", "begin_suppress_tokens"):
            value = getattr(self, name)
            rows = value if name == "bad_words_ids" else None if value is None else [value]
            if value is not None and not _is_ids(rows):
                shape = "[[5, 6], [7]]" if name == "bad_words_ids" else "[5, 6, 7]"
                raise ConfigurationError(f"{name} is {value!r}.", next_step=f"Pass token ids, such as {shape}.")

    # Reading and writing -----------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **edits: Any) -> GenerationConfig:
        """A config from a file's content. Keys that are not known are kept in `extra`."""
        config = cls()
        known = set(cls.names())
        provenance = ("transformers_version", "_from_model_config", "_commit_hash")
        config.extra.update(
            {name: value for name, value in values.items() if name not in known and name not in provenance}
        )
        for name in known & values.keys():
            setattr(config, name, values[name])
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
            ConfigurationError: If an edit names no setting, or a value cannot be.
        """
        source = locate(name_or_path, **take_hub_options(kwargs))
        path = source.require(GENERATION_CONFIG_NAME, why="It says how the checkpoint is meant to generate.")
        return cls.from_dict(read_json(path), **kwargs)

    @classmethod
    def from_model_config(cls, config: PretrainedConfig) -> GenerationConfig:
        """What an older checkpoint's `config.json` says about generation."""
        fields = {**config.to_diff_dict(), **{name: getattr(config, name, None) for name in TOKENS}}
        return cls.from_dict(
            {name: value for name, value in fields.items() if name in cls.names() and value is not None}
        )

    @classmethod
    def of_checkpoint(cls, source: Source, config: PretrainedConfig) -> GenerationConfig:
        """The file's settings, or those of `config.json` where the checkpoint has no such file."""
        path = source.find(GENERATION_CONFIG_NAME)
        return cls.from_model_config(config) if path is None else cls.from_dict(read_json(path))

    def to_dict(self) -> dict[str, Any]:
        """What is said, as plain JSON values."""
        values = {name: copy.deepcopy(getattr(self, name)) for name in self.names() if getattr(self, name) is not None}
        if isinstance(self.sequence_bias, dict):
            values["sequence_bias"] = [[list(ids), bias] for ids, bias in self.sequence_bias.items()]
        return {**values, **copy.deepcopy(self.extra)}

    def to_json_string(self) -> str:
        """`to_dict` as indented JSON with sorted keys, the form of a `generation_config.json`."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def save_pretrained(self, folder: str | os.PathLike, push_to_hub: bool = False, **push_options: Any) -> None:
        """Write `generation_config.json` into `folder`, which is made if need be.

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


TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")

_INFINITY = float("inf")
# Name -> its kind, the lowest and the highest value that make sense.
RANGES: dict[str, tuple[type, float, float]] = {
    "max_new_tokens": (int, 1, _INFINITY),
    "max_length": (int, 1, _INFINITY),
    "min_new_tokens": (int, 0, _INFINITY),
    "min_length": (int, 0, _INFINITY),
    "max_time": (float, 0, _INFINITY),
    "num_beams": (int, 1, _INFINITY),
    "num_beam_groups": (int, 1, _INFINITY),
    "num_return_sequences": (int, 1, _INFINITY),
    "diversity_penalty": (float, 0, _INFINITY),
    "length_penalty": (float, -_INFINITY, _INFINITY),
    "penalty_alpha": (float, 0, 1),
    "temperature": (float, 0, _INFINITY),
    "top_k": (int, 0, _INFINITY),
    "top_p": (float, 0, 1),
    "min_p": (float, 0, 1),
    "typical_p": (float, 0, 1),
    "epsilon_cutoff": (float, 0, 1),
    "eta_cutoff": (float, 0, 1),
    "repetition_penalty": (float, 0, _INFINITY),
    "encoder_repetition_penalty": (float, 0, _INFINITY),
    "no_repeat_ngram_size": (int, 0, _INFINITY),
    "encoder_no_repeat_ngram_size": (int, 0, _INFINITY),
}


def _is_ids(rows: Any) -> bool:
    return isinstance(rows, list | tuple) and all(
        isinstance(row, list | tuple) and row and all(isinstance(i, int) and i >= 0 for i in row) for row in rows
    )
