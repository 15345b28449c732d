"""The settings of transcription, from the arguments of a call and the checkpoint, and the tokens that a transcript begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from notebook_kit.errors import ConfigurationError, InputError, near_matches
from notebook_kit.fields import Fraction, NonNegative, mismatch
from notebook_kit.generation.configuration import GenerationConfig
from notebook_kit.generation.processors import as_ids
from notebook_kit.nn.encoder_decoder import check_start
from notebook_kit.registry.languages import language_code

__all__ = ["SpeechSettings", "first_tokens", "resolve_speech", "setting", "start_token"]

_TYPES: dict[str, Any] = {
    "return_timestamps": bool | None,
    "return_token_timestamps": bool | None,
    "is_multilingual": bool | None,
    "condition_on_prev_tokens": bool | None,
    "compression_ratio_threshold": NonNegative | None,
    "logprob_threshold": float | None,
    "no_speech_threshold": Fraction | None,
    "prompt_condition_type": Literal["first-segment", "all-segments"],
}


@dataclass
class SpeechSettings:
    """The settings of one call.

    Attributes:
        return_timestamps: Write the times at which segments begin and end.
        return_token_timestamps: Compute the time of each token from cross-attention.
        condition_on_prev_tokens: Let the decoder read what it wrote for the stretch before.
        temperatures: Tried in order, until a transcript passes the thresholds; 0 for the most probable tokens.
        compression_ratio_threshold: A transcript that can be compressed more is repetitive, and fails.
        logprob_threshold: A transcript whose tokens have a lower mean log-probability fails.
        no_speech_threshold: A stretch that is more probably silent, and whose transcript fails that test, is skipped.
        prompt_condition_type: Whether a prompt precedes the first stretch or all of them.
        start, end, pad: The tokens that begin and end a transcript, and fill up shorter ones.
        no_timestamps: The token for a transcript without times; None if the checkpoint does not name it.
        time_begin: The first of the tokens that are times.
        previous: The token before the text of an earlier stretch; None if unknown.
        alignment_heads: Pairs `(layer, head)` whose cross-attention follows the speech.
    """

    return_timestamps: bool
    return_token_timestamps: bool
    condition_on_prev_tokens: bool
    temperatures: tuple[float, ...]
    compression_ratio_threshold: float | None
    logprob_threshold: float | None
    no_speech_threshold: float | None
    prompt_condition_type: str
    start: int
    end: list[int]
    pad: int
    no_timestamps: int | None
    time_begin: int
    previous: int | None
    alignment_heads: list[tuple[int, int]]


def setting(stored: GenerationConfig, name: str, given: Any = None) -> Any:
    """A setting: that of the call, or else the checkpoint's, or None."""
    return getattr(stored, name, None) if given is None else given


def resolve_speech(
    model: Any, stored: GenerationConfig, given: dict[str, Any], temperature: Any, is_long: bool
) -> SpeechSettings:
    """The settings of one call.

    Args:
        model: A Whisper.
        stored: The call's or the checkpoint's generation config.
        given: The settings of transcription that the call names.
        temperature: The temperature, or several to try.
        is_long: Whether a recording is longer than what the encoder reads at once.

    Raises:
        InputError: For a value of a wrong type, or settings that contradict each other.
        ConfigurationError: If the checkpoint lacks what a setting needs, or the vocabulary lacks the start token.
    """
    if fault := mismatch({name: value for name, value in given.items() if name in _TYPES}, _TYPES):
        raise InputError(f"{fault}.", next_step="help(model.generate) describes all settings.")
    timestamps = setting(stored, "return_timestamps", given["return_timestamps"])
    if is_long and given["return_timestamps"] is False:
        raise InputError(
            "A recording is longer than 30 seconds, and is transcribed by the times that the model writes.",
            next_step="Leave return_timestamps=False out, or pass spectrograms of at most 30 seconds.",
        )
    timestamps = bool(timestamps) or is_long
    no_timestamps = getattr(stored, "no_timestamps_token_id", None)
    if is_long and no_timestamps is None and not given["return_timestamps"]:
        raise ConfigurationError(
            "A recording is longer than 30 seconds, and is transcribed by the times that the model writes. The generation config "
            "has no no_timestamps_token_id, so this model writes none.",
            next_step="Pass chunk_length_s=30 to the pipeline, which cuts the recording into pieces; or, if the vocabulary has "
            "tokens for times, set model.generation_config.no_timestamps_token_id.",
        )
    if timestamps and no_timestamps is None:
        raise _lacking("no_timestamps_token_id", "return_timestamps=True")
    heads = [(int(layer), int(head)) for layer, head in getattr(stored, "alignment_heads", None) or ()]
    if given["return_token_timestamps"] and not heads:
        raise _lacking("alignment_heads", "return_token_timestamps=True")
    conditions = bool(setting(stored, "condition_on_prev_tokens", given["condition_on_prev_tokens"]))
    if given["prompt_condition_type"] == "all-segments" and not conditions:
        raise InputError(
            'prompt_condition_type="all-segments" needs the text before each stretch.',
            next_step="Pass condition_on_prev_tokens=True as well.",
        )
    suppressed = as_ids(stored.suppress_tokens)
    previous = getattr(stored, "prev_sot_token_id", None)
    ends = as_ids(stored.eos_token_id if stored.eos_token_id is not None else model.config.eos_token_id)
    pad = next((one for one in (stored.pad_token_id, model.config.pad_token_id, *ends) if one is not None), 0)
    return SpeechSettings(
        return_timestamps=timestamps,
        return_token_timestamps=bool(given["return_token_timestamps"]),
        condition_on_prev_tokens=conditions,
        temperatures=_temperatures(temperature),
        compression_ratio_threshold=setting(
            stored, "compression_ratio_threshold", given["compression_ratio_threshold"]
        ),
        logprob_threshold=setting(stored, "logprob_threshold", given["logprob_threshold"]),
        no_speech_threshold=setting(stored, "no_speech_threshold", given["no_speech_threshold"]),
        prompt_condition_type=given["prompt_condition_type"],
        start=start_token(model, stored),
        end=ends,
        pad=pad,
        no_timestamps=no_timestamps,
        time_begin=model.config.vocab_size + 1 if no_timestamps is None else no_timestamps + 1,
        previous=suppressed[-2] if previous is None and len(suppressed) > 1 else previous,
        alignment_heads=heads,
    )


def start_token(model: Any, stored: GenerationConfig) -> int:
    """The token that transcripts begin with.

    Raises:
        ConfigurationError: If the vocabulary lacks it.
    """
    start = stored.decoder_start_token_id
    starts = as_ids(model.config.decoder_start_token_id if start is None else start)[:1]
    check_start(starts, model.config)
    return starts[0]


def _lacking(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The generation config has no {name}, which {why} needs.",
        next_step=f"Use the checkpoint's own generation_config.json, or set model.generation_config.{name}.",
    )


def _temperatures(given: Any) -> tuple[float, ...]:
    several = tuple(given) if isinstance(given, list | tuple) else (given,)
    values = tuple(0.0 if one is None else one for one in several)
    if not values or mismatch({"temperature": list(values)}, {"temperature": list[NonNegative]}):
        raise InputError(
            f"temperature is {given!r}.", next_step="Pass one number from 0, or several to try: (0.0, 0.2, 0.4)."
        )
    return values


# The first tokens --------------------------------------------------------------------------------------------------------


def first_tokens(
    stored: GenerationConfig,
    settings: SpeechSettings,
    rows: int,
    language: str | Sequence[str] | None,
    task: str | None,
    detect: Any,
    forced: Any = None,
) -> list[list[int]]:
    """The tokens that each transcript begins with: the start, the language, the task, and whether times are written.

    Args:
        stored: The call's or the checkpoint's generation config.
        settings: The settings of the call.
        rows: Number of recordings.
        language: A language for all recordings, or one for each; None to detect it.
        task: `"transcribe"` or `"translate"`.
        detect: Returns the language token of each recording.
        forced: `forced_decoder_ids` of an older checkpoint: pairs of position and token.

    Raises:
        InputError: For an unknown language or task, or one that the checkpoint does not have.
        ConfigurationError: If the forced tokens are not consecutive.
    """
    begin: list[int | None] = [settings.start]
    if task is None and language is None:
        begin += _forced(forced)
    languages = _language_tokens(stored, rows, language)
    if languages is None and (len(begin) < 2 or begin[1] is None) and getattr(stored, "lang_to_id", None):
        languages = detect()
    tokens: list[list[int]] = []
    for row in range(rows):
        own = list(begin)
        if languages is not None:
            own[1:2] = [languages[row]]
        tokens.append(_with_task([one for one in own if one is not None], stored, settings, language, task))
    return tokens


def _forced(pairs: Any) -> list[int | None]:
    """The tokens at positions 1, 2, ... of an older checkpoint; None for a language to detect."""
    found = [(int(position), token) for position, token in pairs or ()]
    if [position for position, _ in found] != list(range(1, len(found) + 1)):
        raise ConfigurationError(
            f"forced_decoder_ids is {pairs}, and has no token for some position from 1.",
            next_step="Set model.generation_config.forced_decoder_ids = None, and pass language= and task=.",
        )
    return [token for _, token in found]


def _language_tokens(stored: GenerationConfig, rows: int, language: str | Sequence[str] | None) -> list[int] | None:
    if language is None:
        return None
    named = [language] * rows if isinstance(language, str) else list(language)
    if len(named) != rows:
        raise InputError(
            f"language names {len(named)} languages for {rows} recording{'s' * (rows != 1)}.",
            next_step="Pass one language for all recordings, or one for each.",
        )
    known = getattr(stored, "lang_to_id", None) or {}
    if not known:
        raise InputError(
            f"This checkpoint has no language tokens, so it cannot write {named[0]!r}.",
            next_step="Leave language out, or use a multilingual checkpoint with its own generation_config.json.",
        )
    tokens = [f"<|{language_code(one)}|>" for one in named]
    for one, token in zip(named, tokens, strict=True):
        if token not in known:
            raise InputError(
                f"This checkpoint does not write {one!r}.",
                next_step=f"Its languages are {', '.join(sorted(code[2:-2] for code in known))}.",
            )
    return [known[token] for token in tokens]


def _with_task(
    begin: list[int], stored: GenerationConfig, settings: SpeechSettings, language: Any, task: str | None
) -> list[int]:
    """The tokens with that of the task, and with the one for no times if none are written."""
    known = getattr(stored, "task_to_id", None) or {}
    if task is not None:
        if task not in known:
            if not known:
                raise InputError(
                    f"This checkpoint has no tokens for tasks, so task={task!r} cannot be chosen.",
                    next_step="Leave task out, or use a multilingual checkpoint with its own generation_config.json.",
                )
            raise InputError(
                f"There is no task {task!r}. {near_matches(task, known)}".rstrip(),
                next_step=f"Use one of {', '.join(map(repr, known))}, or leave it out.",
            )
        others = set(known.values())
        begin = [known[task] if token in others else token for token in begin]
        if known[task] not in begin:
            begin.append(known[task])
    elif language is not None and known and not set(known.values()) & set(begin):
        begin.append(known["transcribe"])
    if settings.no_timestamps is not None:
        if not settings.return_timestamps and begin[-1] != settings.no_timestamps:
            begin.append(settings.no_timestamps)
        elif settings.return_timestamps and begin[-1] == settings.no_timestamps:
            begin = begin[:-1]
    return begin
