"""`generate`: from its arguments to a run, and from the run to its result."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError, NotebookKitWarning
from notebook_kit.generation import beams, filters, processors, sampling, stopping
from notebook_kit.generation.configuration import BEAMS_ONLY, DEFAULTS, SAMPLING_ONLY, GenerationConfig
from notebook_kit.generation.processors import LogitsProcessorList, as_ids
from notebook_kit.generation.prompt import Prompt, read_prompt
from notebook_kit.generation.run import Run
from notebook_kit.generation.stopping import StoppingCriteriaList

__all__ = ["decode", "generate", "prepare", "resolve_settings"]

# Arguments of other libraries' generate that change nothing here, so that code written for them runs.
ACCEPTED = ("synced_gpus", "cache_implementation", "disable_compile", "return_legacy_cache", "trust_remote_code")

_warned: set[str] = set()


@torch.no_grad()
def generate(
    model: Any,
    inputs: Tensor | None,
    generation_config: GenerationConfig | None,
    arguments: dict[str, Any],
    on_interrupt: str,
    streamer: Any = None,
    **objects: Any,
) -> Any:
    """What `GenerationMixin.generate` does; see there.

    Args:
        model: What is driven.
        inputs: As there.
        generation_config: As there.
        arguments: Settings and tensors by name.
        on_interrupt: As there.
        streamer: As there.
        **objects: What `prepare` takes besides.
    """
    with _closing(streamer):
        names = set(GenerationConfig.names())
        settings = {name: value for name, value in arguments.items() if name in names}
        tensors = {name: arguments[name] for name in arguments if name not in names and name not in ACCEPTED}
        config, has_default_length = resolve_settings(model, generation_config, settings)
        if on_interrupt not in ("return", "raise"):
            raise InputError(f"on_interrupt is {on_interrupt!r}.", next_step='Pass "return" or "raise".')
        run = prepare(model, config, inputs, tensors, fit=has_default_length, streamer=streamer, **objects)
        return decode(run, on_interrupt)


def prepare(
    model: Any,
    config: GenerationConfig,
    inputs: Tensor | None,
    tensors: dict[str, Any],
    *,
    fit: bool = False,
    logits_processor: list[Any] | None = None,
    stopping_criteria: list[Any] | None = None,
    prefix_allowed_tokens_fn: Callable[[int, Tensor], list[int]] | None = None,
    streamer: Any = None,
    tokenizer: Any = None,
    generator: torch.Generator | None = None,
) -> Run:
    """Assemble a run: read the prompt, and make the rules and ends that the settings ask for. No token is computed yet.

    Args:
        model: What is driven.
        config: All settings, as `resolve_settings` returns them.
        inputs: The prompt, if it is not among `tensors`.
        tensors: The model's inputs, by name.
        fit: Generate fewer tokens where the model has not enough positions; otherwise that is an error.
        logits_processor, stopping_criteria, prefix_allowed_tokens_fn, streamer, tokenizer, generator: As
            `GenerationMixin.generate` takes them.

    Raises:
        InputError: For inputs that cannot be used, a prompt that leaves no room, or a combination that is not possible.
    """
    eos = as_ids(config.eos_token_id)
    prompt = read_prompt(model, inputs, config, eos, tensors)
    max_length = _longest(model, prompt, config, fit)
    B, width = prompt.ids.shape[0], config.num_beams or 1
    contrastive = _is_contrastive(config)
    if streamer is not None and (width > 1 or (contrastive and B > 1)):
        raise InputError(
            "A streamer follows one sequence, and beam search keeps several.",
            next_step="Pass num_beams=1, or no streamer.",
        )
    copies = width if width > 1 else (config.top_k if contrastive else config.num_return_sequences) or 1
    ends = [*_criteria(config, max_length, eos, tokenizer), *(stopping_criteria or [])]
    pad = config.pad_token_id if config.pad_token_id is not None else eos[0] if eos else None
    if pad is None and B * copies > 1 and width == 1 and len(ends) > 1:
        raise InputError(
            f"{B * copies} sequences may end at different places, and there is no token to fill the shorter ones with.",
            next_step="Pass pad_token_id=tokenizer.pad_token_id (or its eos_token_id).",
        )
    rules = _rules(config, prompt, max_length, eos, prefix_allowed_tokens_fn, logits_processor or [])
    return Run(
        model,
        prompt,
        config,
        max_length=max_length,
        copies=copies,
        processors=rules,
        stopping=StoppingCriteriaList(ends),
        eos=eos,
        pad=0 if pad is None else pad,
        streamer=streamer,
        generator=generator,
    )


def decode(run: Run, on_interrupt: str = "return") -> Any:
    """Drive a run to its end, in the way that its settings ask for, and return its result."""
    config = run.config
    run.start()
    if (config.num_beams or 1) > 1:
        return beams.beam_search(run, config.num_beams or 1, config.num_beam_groups or 1, on_interrupt)
    if _is_contrastive(config):
        run.wants_hidden = True
        return sampling.contrastive(run, config.penalty_alpha or 0.0, run.copies, on_interrupt)
    return sampling.sample(run, bool(config.do_sample), on_interrupt)


def _is_contrastive(config: GenerationConfig) -> bool:
    return bool(
        config.penalty_alpha and (config.top_k or 0) > 1 and not config.do_sample and (config.num_beams or 1) == 1
    )


@contextmanager
def _closing(streamer: Any) -> Iterator[None]:
    """End the streamer whatever happens: whoever waits for the next token must not wait for ever."""
    if streamer is None:
        yield
        return
    try:
        yield
    except Exception as error:
        streamer.fail(error) if hasattr(streamer, "fail") else streamer.end()
        raise
    except BaseException:
        streamer.end()
        raise
    streamer.end()


# Settings --------------------------------------------------------------------------------------------------------------


def resolve_settings(
    model: Any, given: GenerationConfig | None, settings: dict[str, Any]
) -> tuple[GenerationConfig, bool]:
    """All settings of one call: its own, those of the config given to it, the model's, the defaults.

    Returns:
        The settings, and whether the length is only a default: nobody said how long a sequence may be.
    """
    if given is not None and not isinstance(given, GenerationConfig):
        raise InputError(
            f"generation_config is a {type(given).__name__}.", next_step="Pass a GenerationConfig, or settings by name."
        )
    own = GenerationConfig(**settings)
    call = own if given is None else own.filled(given)
    config = call.filled(model.generation_config, DEFAULTS)
    for name, value in settings.items():
        if value is None and name not in DEFAULTS:  # an explicit None, such as eos_token_id=None
            setattr(config, name, None)
    if call.max_length is not None and call.max_new_tokens is None:
        config.max_new_tokens = None  # the call takes precedence over the checkpoint
    if call.max_new_tokens is not None or (config.max_new_tokens is not None and call.max_length is None):
        config.max_length = None
    by_default = (
        config.max_new_tokens is None and call.max_length is None and model.generation_config.max_length is None
    )
    if by_default:
        config.max_length, config.max_new_tokens = None, DEFAULTS["max_length"]
    config.validate()
    _warn_of_idle_settings(own, config)
    return config, by_default


def _warn_of_idle_settings(own: GenerationConfig, config: GenerationConfig) -> None:
    """Warn of each setting of a call that has no effect, once per process."""
    outputs = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
    for is_idle, names, why, step in (
        (not config.do_sample, SAMPLING_ONLY, "do_sample is not True, so tokens are not drawn", "Pass do_sample=True"),
        ((config.num_beams or 1) == 1, BEAMS_ONLY, "there is one beam", "Pass num_beams above 1"),
        (
            not config.return_dict_in_generate,
            outputs,
            "the result is the tokens alone",
            "Pass return_dict_in_generate=True",
        ),
    ):
        idle = [name for name in names if is_idle and getattr(own, name) not in (None, DEFAULTS.get(name))]
        idle = [name for name in idle if name not in _warned and not (name == "top_k" and config.penalty_alpha)]
        if idle:
            _warned.update(idle)
            has = "has no effect" if len(idle) == 1 else "have no effect"
            warnings.warn(f"{', '.join(idle)} {has}: {why}. {step}.", NotebookKitWarning, stacklevel=6)


def _longest(model: Any, prompt: Prompt, config: GenerationConfig, fit: bool) -> int:
    """The most tokens that a sequence may have, prompt included.

    Raises:
        InputError: If the prompt leaves no room, or the model does not have that many positions.
    """
    T, before = prompt.ids.shape[1], prompt.before
    limit = model.position_limit
    what = "decoder's prompt" if prompt.encoder_outputs is not None else "prompt"
    most = T + config.max_new_tokens if config.max_new_tokens is not None else (config.max_length or 0) - before
    if limit is not None and fit:
        most = max(min(most, limit - before), T + 1)
    if most <= T:
        raise InputError(
            f"max_length is {config.max_length}, and the {what} alone has {T + before} tokens.",
            next_step="Pass max_new_tokens, which does not count the prompt.",
        )
    if limit is not None and before + most > limit:
        room = limit - before - T
        raise InputError(
            f"The {what} has {T + before} tokens, and {most - T} more would be {before + most}: this model has positions "
            f"for {limit}.",
            next_step=f"Pass max_new_tokens={room} or less." if room > 0 else "Shorten the prompt.",
        )
    low = max(config.min_length or 0, T + (config.min_new_tokens or 0))
    if low > most:
        warnings.warn(
            f"At least {low} tokens are asked for and at most {most}: sequences end at {most}.",
            NotebookKitWarning,
            stacklevel=6,
        )
    return most


def _rules(
    config: GenerationConfig,
    prompt: Prompt,
    max_length: int,
    eos: list[int],
    allowed: Callable[[int, Tensor], list[int]] | None,
    own: list[Any],
) -> LogitsProcessorList:
    """The rules that the settings ask for, in the order that the field has agreed on, with those of the caller."""
    for rule in own:
        if not callable(rule):
            raise InputError(
                f"logits_processor holds a {type(rule).__name__}.",
                next_step="Pass a list of functions (input_ids, scores) -> scores.",
            )
    T, source = prompt.ids.shape[1], prompt.source_ids
    rules: list[Any] = []
    if config.sequence_bias:
        rules.append(processors.SequenceBiasLogitsProcessor(config.sequence_bias))
    if config.encoder_repetition_penalty not in (None, 1.0) and source is not None:
        rules.append(processors.EncoderRepetitionPenaltyLogitsProcessor(config.encoder_repetition_penalty, source))
    if config.repetition_penalty not in (None, 1.0):
        padding = None if prompt.mask is None else (prompt.mask != 0).int().argmax(dim=1)
        rules.append(processors.RepetitionPenaltyLogitsProcessor(config.repetition_penalty, padding))
    if config.no_repeat_ngram_size:
        rules.append(processors.NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.encoder_no_repeat_ngram_size and source is not None:
        rules.append(processors.EncoderNoRepeatNGramLogitsProcessor(config.encoder_no_repeat_ngram_size, source))
    if config.bad_words_ids:
        rules.append(processors.NoBadWordsLogitsProcessor(config.bad_words_ids, eos))
    low = T + config.min_new_tokens if config.min_new_tokens else config.min_length or 0
    if eos and low:
        rules.append(processors.MinLengthLogitsProcessor(low, eos))
    if allowed is not None:
        rules.append(processors.PrefixConstrainedLogitsProcessor(allowed, config.num_beams or 1))
    if config.forced_bos_token_id is not None:
        rules.append(processors.ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        rules.append(processors.ForcedEOSTokenLogitsProcessor(max_length, config.forced_eos_token_id))
    if config.remove_invalid_values:
        rules.append(processors.InfNanRemoveLogitsProcessor())
    if config.exponential_decay_length_penalty is not None and eos:
        rules.append(processors.ExponentialDecayLengthPenalty(config.exponential_decay_length_penalty, eos, T))
    if config.suppress_tokens:
        rules.append(processors.SuppressTokensLogitsProcessor(config.suppress_tokens))
    if config.begin_suppress_tokens:
        begin = T if T > 1 or config.forced_bos_token_id is None else T + 1
        rules.append(processors.SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin))
    kinds = {type(rule) for rule in own}
    rules = [rule for rule in rules if type(rule) not in kinds] + own  # the caller's replaces a setting's
    if config.do_sample:
        rules += _filters(config, keep=len(eos) + 1 if (config.num_beams or 1) > 1 else 1)
    if config.renormalize_logits:
        rules.append(processors.LogitNormalization())
    return LogitsProcessorList(rules)


def _filters(config: GenerationConfig, keep: int) -> Iterator[Any]:
    """What sampling draws from; `keep` tokens are always left, so that a beam has something to go on with."""
    if config.temperature not in (None, 1.0):
        yield filters.TemperatureLogitsWarper(config.temperature)
    for name, idle, kind in (
        ("top_k", 0, filters.TopKLogitsWarper),
        ("top_p", 1.0, filters.TopPLogitsWarper),
        ("min_p", 0.0, filters.MinPLogitsWarper),
        ("typical_p", 1.0, filters.TypicalLogitsWarper),
        ("epsilon_cutoff", 0.0, filters.EpsilonLogitsWarper),
        ("eta_cutoff", 0.0, filters.EtaLogitsWarper),
    ):
        value = getattr(config, name)
        if value is not None and value != idle:
            yield kind(value, min_tokens_to_keep=keep)


def _criteria(config: GenerationConfig, max_length: int, eos: list[int], tokenizer: Any) -> Iterator[Any]:
    """What ends a sequence, by the settings."""
    yield stopping.MaxLengthCriteria(max_length)
    if config.max_time is not None:
        yield stopping.MaxTimeCriteria(config.max_time)
    if config.stop_strings is not None:
        if tokenizer is None:
            raise InputError(
                "stop_strings are texts, and generate works with tokens.", next_step="Pass tokenizer= as well."
            )
        yield stopping.StopStringCriteria(tokenizer, config.stop_strings)
    if eos:
        yield stopping.EosTokenCriteria(eos)
