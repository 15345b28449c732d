"""`generate`: from the arguments of a call to a run, and from the run to its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError, a_kind, warn
from notebook_kit.generation import assisted, beams, filters, processors, sampling, stopping
from notebook_kit.generation.configuration import BEAMS_ONLY, DEFAULTS, OUTPUTS, SAMPLING_ONLY, TOKENS, GenerationConfig
from notebook_kit.generation.processors import LogitsProcessorList, as_ids
from notebook_kit.generation.prompt import Prompt, read_prompt
from notebook_kit.generation.run import Run
from notebook_kit.generation.stopping import StoppingCriteriaList
from notebook_kit.keywords import ignore
from notebook_kit.nn.inputs import vocabulary_size

__all__ = ["decode", "generate", "prepare", "resolve_settings"]

# Arguments of other libraries' `generate` that are accepted and ignored, so that code written for them runs.
ACCEPTED = {"synced_gpus", "disable_compile", "return_legacy_cache", "trust_remote_code"}
ACCEPTED |= {"use_model_defaults", "assistant_confidence_threshold"}
NEGATIVE = ("negative_prompt_ids", "negative_prompt_attention_mask")
# Argument -> the attributes that its value needs, and what to pass.
_OBJECTS: dict[str, tuple[tuple[str, ...], str]] = {
    "streamer": (("put", "end"), "a streamer, such as TextStreamer(tokenizer)"),
    "tokenizer": (("decode",), "the model's tokenizer"),
    "generator": (("manual_seed", "get_state"), "a torch.Generator"),
    "assistant_model": (("generate", "generation_config"), "a model that generates"),
    "assistant_tokenizer": (("decode",), "the tokenizer of assistant_model"),
    "prefix_allowed_tokens_fn": (("__call__",), "a function (index of the input, tokens so far) -> token ids"),
}

_warned: set[str] = set()


@torch.no_grad()
def generate(
    model: Any,
    inputs: Tensor | None,
    generation_config: GenerationConfig | None,
    arguments: dict[str, Any],
    streamer: Any = None,
    **options: Any,
) -> Any:
    """The implementation of `GenerationMixin.generate`.

    Args:
        model: The model.
        inputs, generation_config, streamer: As in `GenerationMixin.generate`.
        arguments: Settings and tensors by name.
        **options: Further arguments of `prepare`.
    """
    check_objects({"streamer": streamer})
    with _closing(streamer):
        names = set(GenerationConfig.names())
        settings = {name: value for name, value in arguments.items() if name in names}
        tensors = {name: arguments[name] for name in arguments if name not in names and name not in ACCEPTED}
        config, has_default_length = resolve_settings(model, generation_config, settings)
        return decode(prepare(model, config, inputs, tensors, fit=has_default_length, streamer=streamer, **options))


def check_objects(objects: dict[str, Any]) -> None:
    """Check the arguments of `generate` that are neither settings nor tensors.

    Raises:
        InputError: For an object of a wrong kind.
    """
    for name, value in objects.items():
        attributes, expected = _OBJECTS[name]
        if isinstance(value, type):
            raise InputError(f"{name} is the class {value.__name__} itself.", next_step=f"Pass {expected}.")
        if value is not None and not all(hasattr(value, attribute) for attribute in attributes):
            raise InputError(f"{name} is {value!r:.60}.", next_step=f"Pass {expected}.")


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
    on_interrupt: str = "return",
    assistant_model: Any = None,
    assistant_tokenizer: Any = None,
) -> Run:
    """Create a run: check the prompt, and build the rules and stopping criteria. An encoder runs here, a decoder does not.

    Args:
        model: The model.
        config: All settings, from `resolve_settings`.
        inputs: The prompt, if it is not in `tensors`.
        tensors: The model's inputs, by name.
        fit: Generate fewer tokens if the model has too few positions; otherwise that is an error.
        logits_processor, stopping_criteria, prefix_allowed_tokens_fn, streamer, tokenizer, generator, on_interrupt,
            assistant_model, assistant_tokenizer: As in `GenerationMixin.generate`.

    Raises:
        InputError: For invalid inputs, a prompt that leaves no room, or an impossible combination.
    """
    if on_interrupt not in ("return", "raise"):
        raise InputError(f"on_interrupt is {on_interrupt!r}.", next_step='Pass "return" or "raise".')
    objects = {"tokenizer": tokenizer, "generator": generator, "assistant_model": assistant_model}
    check_objects(
        {**objects, "assistant_tokenizer": assistant_tokenizer, "prefix_allowed_tokens_fn": prefix_allowed_tokens_fn}
    )
    own_rules = _functions("logits_processor", logits_processor, "(input_ids, scores) -> scores")
    own_criteria = _functions("stopping_criteria", stopping_criteria, "(input_ids, scores) -> whether to stop")
    eos = as_ids(config.eos_token_id)
    negative = [tensors.get(name) for name in NEGATIVE]
    tensors = {name: value for name, value in tensors.items() if name not in NEGATIVE}
    prompt = read_prompt(model, inputs, config, eos, tensors)
    if config.cache_implementation is not None and prompt.cache is not None:
        raise InputError(
            "past_key_values and cache_implementation were passed, which are two caches.", next_step="Pass one of them."
        )
    if (kind := config.cache_implementation) is not None and kind.startswith(("offloaded", "quantized")):
        ignore("generate", {f"cache_implementation={kind!r}": True}, "The cache stays beside the weights, unrounded.")
    max_length = _max_length(model, prompt, config, fit)
    B, width = prompt.ids.shape[0], config.num_beams or 1
    contrastive = _is_contrastive(config)
    if streamer is not None and (width > 1 or (contrastive and B > 1)):
        raise InputError(
            "A streamer follows one sequence, and this search keeps several.",
            next_step="Pass num_beams=1 and a single prompt, or no streamer.",
        )
    copies = width if width > 1 else (config.top_k if contrastive else config.num_return_sequences) or 1
    criteria = [*_criteria(config, max_length, eos, tokenizer), *own_criteria]
    pad = next((token for token in (*as_ids(config.pad_token_id), *eos) if token >= 0), None)
    if pad is None and B * copies > 1 and width == 1 and len(criteria) > 1:
        raise InputError(
            f"{B * copies} sequences may end at different lengths, and there is no token to pad the shorter ones with.",
            next_step="Pass pad_token_id=tokenizer.pad_token_id (or its eos_token_id).",
        )
    rules = _rules(config, prompt, max_length, eos, prefix_allowed_tokens_fn, own_rules)
    if config.guidance_scale not in (None, 1):
        rules.insert(0, _guide(model, prompt, config, *negative))
    run = Run(
        model,
        prompt,
        config,
        max_length,
        copies,
        processors=rules,
        stopping=StoppingCriteriaList(criteria),
        eos=eos,
        pad=0 if pad is None else pad,
        streamer=streamer,
        generator=generator,
        on_interrupt=on_interrupt,
    )
    if assistant_model is not None or config.prompt_lookup_num_tokens:
        run.propose = _proposer(run, assistant_model, inputs, tensors, tokenizer, assistant_tokenizer)
    return run


def decode(run: Run) -> Any:
    """Drive a new run to its end with the search that its settings select, and return its result."""
    if run.streamer is not None:
        run.streamer.put(run.prompt.ids.cpu())
    if run.propose is not None:
        return assisted.assisted(run, run.propose)
    if (run.config.num_beams or 1) > 1:
        return beams.beam_search(run)
    return sampling.contrastive(run) if _is_contrastive(run.config) else sampling.sample(run)


def _is_contrastive(config: GenerationConfig) -> bool:
    is_plain = not config.do_sample and (config.num_beams or 1) == 1
    return is_plain and bool(config.penalty_alpha) and (config.top_k or 0) > 1


def _functions(name: str, functions: Any, signature: str) -> list[Any]:
    """The list that an argument holds, each item of which is a function.

    Raises:
        InputError: If it is not a list, or an item is not a function.
    """
    if functions is None:
        return []
    wrong: Any = functions
    if isinstance(functions, list | tuple):
        wrong = next((one for one in functions if not callable(one) or isinstance(one, type)), None)
    if isinstance(wrong, type):
        raise InputError(f"{name} holds the class {wrong.__name__} itself.", next_step=f"Pass {wrong.__name__}(...).")
    if wrong is not None:
        holds = "is" if wrong is functions else "holds"
        raise InputError(f"{name} {holds} {a_kind(wrong)}.", next_step=f"Pass a list of functions {signature}.")
    return list(functions)


def _guide(model: Any, prompt: Prompt, config: GenerationConfig, ids: Any, mask: Any) -> Any:
    """The rule for `guidance_scale`.

    Raises:
        InputError: For an encoder-decoder, or negative prompts that are not one row per input.
    """
    if prompt.encoder_outputs is not None:
        raise InputError("guidance_scale is for decoders.", next_step="Leave it out.")
    for name, value in zip(NEGATIVE, (ids, mask), strict=True):
        if value is not None and not (isinstance(value, Tensor) and value.dim() == 2 and len(value) == len(prompt.ids)):
            what = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else a_kind(value)
            raise InputError(f"{name} is {what}.", next_step="Pass a tensor (inputs, tokens) with one row per input.")
    keeps_rows = bool(config.use_cache) and (config.num_beams or 1) == 1  # beams change their rows
    scale = config.guidance_scale or 1.0
    return processors.UnbatchedClassifierFreeGuidanceLogitsProcessor(scale, model, ids, mask, keeps_rows)


def _proposer(
    run: Run,
    assistant: Any,
    inputs: Tensor | None,
    tensors: dict[str, Any],
    tokenizer: Any = None,
    assistant_tokenizer: Any = None,
) -> assisted.Proposer:
    """What proposes tokens: an assistant, or the text itself.

    Raises:
        InputError: If there are several sequences, outputs that have one entry per call are requested, or the assistant
            does not fit.
    """
    config = run.config
    if run.rows > 1 or (config.num_beams or 1) > 1 or _is_contrastive(config):
        raise InputError(
            "Tokens can be proposed for a single sequence only.",
            next_step="Pass one prompt, num_beams=1 and no penalty_alpha, or leave out assistant_model and "
            "prompt_lookup_num_tokens.",
        )
    if config.return_dict_in_generate and (config.output_attentions or config.output_hidden_states):
        raise InputError(
            "Attentions and hidden states are not kept when tokens are proposed, several of which are read at once.",
            next_step="Leave out assistant_model and prompt_lookup_num_tokens.",
        )
    if assistant is None:
        count = config.max_matching_ngram_size or 2
        return lambda ids, most: assisted.looked_up(ids, most, count)
    if assistant.generation_kind != run.model.generation_kind:
        raise InputError(
            f"The assistant is of the kind {assistant.generation_kind}, and the model of the kind "
            f"{run.model.generation_kind}.",
            next_step="Pass an assistant of the same kind.",
        )
    if assistant_tokenizer is not None:
        if tokenizer is None or run.is_encoder_decoder:
            what = "needs that of the model, too" if tokenizer is None else "is for decoders"
            raise InputError(f"assistant_tokenizer {what}.", next_step="Pass tokenizer= as well, or leave it out.")
        return assisted.TranslatingAssistant(assistant, tokenizer, assistant_tokenizer)
    size = vocabulary_size(assistant)
    text = run.prompt.ids if run.prompt.source_ids is None else run.prompt.source_ids
    if size is not None and text.numel() and int(text.max()) >= size:
        raise InputError(
            f"The assistant knows {size:,} tokens, and not the token {int(text.max()):,} of the prompt.",
            next_step="Pass an assistant_model with the vocabulary of the model, or tokenizer= and assistant_tokenizer=.",
        )
    plain = GenerationConfig(max_length=run.max_length, use_cache=True).filled({t: getattr(config, t) for t in TOKENS})
    plain.eos_token_id = None
    own = {name: value for name, value in tensors.items() if name not in ("past_key_values", "encoder_outputs")}
    new = prepare(assistant, plain, inputs, own, fit=True)
    return assisted.Assistant(new, _tokens_written(run.model), _tokens_written(assistant))


def _tokens_written(model: Any) -> int:
    """The number of tokens that a model gives a score, which an encoder before it may not read."""
    found = getattr(model.get_output_embeddings(), "out_features", None)
    return model.config.vocab_size if found is None else found


@contextmanager
def _closing(streamer: Any) -> Iterator[None]:
    """End the streamer in any case: a consumer waiting for the next token must not wait forever."""
    try:
        yield
    except Exception as error:
        with suppress(Exception):  # it would hide the error that the caller needs to see
            if hasattr(streamer, "fail"):
                streamer.fail(error)
            elif streamer is not None:
                streamer.end()
        raise
    except BaseException:
        if streamer is not None:
            streamer.end()
        raise
    if streamer is not None:
        streamer.end()


# Settings --------------------------------------------------------------------------------------------------------------


def resolve_settings(
    model: Any, given: GenerationConfig | None, settings: dict[str, Any]
) -> tuple[GenerationConfig, bool]:
    """All settings of one call: those passed by name, then `given`, the model's, and the defaults.

    Args:
        model: The model.
        given: The call's `generation_config`.
        settings: The settings passed by name.

    Returns:
        The settings, and whether the length is only the default.
    """
    if given is not None and not isinstance(given, GenerationConfig):
        raise InputError(
            f"generation_config is {a_kind(given)}.", next_step="Pass a GenerationConfig, or settings by name."
        )
    named = GenerationConfig(**settings)
    call = named if given is None else named.filled(given)
    config = call.filled(model.generation_config, DEFAULTS)
    for name, value in settings.items():
        if value is None and name not in DEFAULTS:  # an explicit None, such as eos_token_id=None
            setattr(config, name, None)
    if call.max_length is not None and call.max_new_tokens is None:
        config.max_new_tokens = None  # the call takes precedence over the checkpoint
    has_max_length = call.max_length is not None or model.generation_config.max_length is not None
    has_default_length = config.max_new_tokens is None and not has_max_length
    if has_default_length:
        config.max_new_tokens = DEFAULTS["max_length"]
    if config.max_new_tokens is not None:
        config.max_length = None
    config.validate()
    _warn_of_unused_settings(named, config)
    return config, has_default_length


def _warn_of_unused_settings(named: GenerationConfig, config: GenerationConfig) -> None:
    """Warn of each setting passed by name that has no effect, once per process."""
    unused: list[tuple[tuple[str, ...], str]] = []
    if not config.do_sample:
        unused.append((SAMPLING_ONLY, "do_sample is not True, so tokens are not sampled. Pass do_sample=True."))
    if (config.num_beams or 1) == 1:
        unused.append((BEAMS_ONLY, "there is one beam. Pass num_beams above 1."))
    if not config.return_dict_in_generate:
        unused.append((OUTPUTS, "the result is only the tokens. Pass return_dict_in_generate=True."))
    for names, why in unused:
        found = [name for name in names if getattr(named, name) not in (None, DEFAULTS.get(name))]
        found = [name for name in found if name not in _warned and not (name == "top_k" and config.penalty_alpha)]
        if found:
            _warned.update(found)
            has = "has no effect" if len(found) == 1 else "have no effect"
            warn(f"{', '.join(found)} {has}: {why}")


def _max_length(model: Any, prompt: Prompt, config: GenerationConfig, fit: bool) -> int:
    """The maximum length of a sequence in tokens, prompt included.

    Raises:
        InputError: If the prompt leaves no room, or the model does not have that many positions.
    """
    T, hidden = prompt.ids.shape[1], prompt.hidden_positions
    limit = model.position_limit
    what = "decoder's prompt" if prompt.encoder_outputs is not None else "prompt"
    tokens = f"{T + hidden} token{'s' * (T + hidden != 1)}"
    longest = T + config.max_new_tokens if config.max_new_tokens is not None else (config.max_length or 0) - hidden
    if limit is not None and fit:
        longest = max(min(longest, limit - hidden), T + 1)
    if longest <= T:
        is_full = limit is not None and T + hidden >= limit
        raise InputError(
            f"max_length is {config.max_length}, and the {what} alone has {tokens}.",
            next_step=f"Shorten the prompt: this model has positions for {limit} tokens."
            if is_full
            else "Pass max_new_tokens, which does not count the prompt.",
        )
    if limit is not None and hidden + longest > limit:
        room = limit - hidden - T
        raise InputError(
            f"The {what} has {tokens}, and {longest - T} more would make {hidden + longest}: this model has "
            f"positions for {limit}.",
            next_step=f"Pass max_new_tokens={room} or less." if room > 0 else "Shorten the prompt.",
        )
    shortest = max(config.min_length or 0, T + (config.min_new_tokens or 0))
    if shortest > longest:
        message = f"The minimum length is {shortest} tokens and the maximum {longest}: sequences end at {longest}."
        warn(message)
    return longest


def _rules(
    config: GenerationConfig,
    prompt: Prompt,
    max_length: int,
    eos: list[int],
    allowed: Callable[[int, Tensor], list[int]] | None,
    own_rules: list[Any],
) -> LogitsProcessorList:
    """The rules for these settings, in the order that `transformers` uses, and the caller's own rules."""
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
    if ends := as_ids(config.forced_eos_token_id):
        rules.append(processors.ForcedEOSTokenLogitsProcessor(max_length, ends))
    if config.remove_invalid_values:
        rules.append(processors.InfNanRemoveLogitsProcessor())
    if config.exponential_decay_length_penalty is not None and eos:
        rules.append(processors.ExponentialDecayLengthPenalty(config.exponential_decay_length_penalty, eos, T))
    if config.suppress_tokens:
        rules.append(processors.SuppressTokensLogitsProcessor(config.suppress_tokens))
    if config.begin_suppress_tokens:
        begin = T if T > 1 or config.forced_bos_token_id is None else T + 1
        rules.append(processors.SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin))
    kinds = {type(rule) for rule in own_rules}
    rules = [rule for rule in rules if type(rule) not in kinds] + own_rules  # a caller's rule replaces a setting
    if config.do_sample:
        rules += _filters(config, keep=len(eos) + 1 if (config.num_beams or 1) > 1 else 1)
    if config.renormalize_logits:
        rules.append(processors.LogitNormalization())
    return LogitsProcessorList(rules)


def _filters(config: GenerationConfig, keep: int) -> Iterator[Any]:
    """The rules for sampling; at least `keep` tokens remain, so that a beam always has a continuation."""
    if config.temperature not in (None, 1.0):
        yield filters.TemperatureLogitsWarper(config.temperature)
    for name, neutral, kind in (
        ("top_k", 0, filters.TopKLogitsWarper),
        ("top_p", 1.0, filters.TopPLogitsWarper),
        ("min_p", 0.0, filters.MinPLogitsWarper),
        ("typical_p", 1.0, filters.TypicalLogitsWarper),
        ("epsilon_cutoff", 0.0, filters.EpsilonLogitsWarper),
        ("eta_cutoff", 0.0, filters.EtaLogitsWarper),
    ):
        value = getattr(config, name)
        if value is not None and value != neutral:
            yield kind(value, min_tokens_to_keep=keep)


def _criteria(config: GenerationConfig, max_length: int, eos: list[int], tokenizer: Any) -> Iterator[Any]:
    """The stopping criteria for these settings."""
    yield stopping.MaxLengthCriteria(max_length)
    if config.max_time is not None:
        yield stopping.MaxTimeCriteria(config.max_time)
    if config.stop_strings is not None:
        if tokenizer is None:
            raise InputError("stop_strings are texts, and generate needs tokens.", next_step="Pass tokenizer= as well.")
        yield stopping.StopStringCriteria(tokenizer, config.stop_strings)
    if eos:
        yield stopping.EosTokenCriteria(eos)
