"""`generate`: from its arguments to a run, and from the run to its result."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import ConfigurationError, InputError, NotebookKitWarning, near_matches
from notebook_kit.generation import filters, processors, stopping
from notebook_kit.generation.configuration import BEAMS_ONLY, DEFAULTS, SAMPLING_ONLY, GenerationConfig
from notebook_kit.generation.processors import LogitsProcessorList, as_ids
from notebook_kit.generation.run import Prompt, Run
from notebook_kit.generation.stopping import StoppingCriteriaList
from notebook_kit.nn.inputs import inputs_of

__all__ = ["generate"]

# Arguments of other libraries' generate that change nothing here, so that code written for them runs.
ACCEPTED = ("synced_gpus", "cache_implementation", "disable_compile", "return_legacy_cache", "trust_remote_code")
INPUTS = ("attention_mask", "inputs_embeds", "past_key_values", "encoder_outputs", "decoder_input_ids")

_said: set[str] = set()


@torch.no_grad()
def generate(
    model: Any,
    inputs: Tensor | None = None,
    generation_config: GenerationConfig | None = None,
    logits_processor: list[Any] | None = None,
    stopping_criteria: list[Any] | None = None,
    prefix_allowed_tokens_fn: Callable[[int, Tensor], list[int]] | None = None,
    streamer: Any = None,
    tokenizer: Any = None,
    generator: torch.Generator | None = None,
    on_interrupt: str = "return",
    **kwargs: Any,
) -> Any:
    """What `PreTrainedModel.generate` does; see there."""
    with _ended(streamer):
        kwargs = {name: value for name, value in kwargs.items() if name not in ACCEPTED}
        names = set(GenerationConfig.names())
        settings = {name: kwargs.pop(name) for name in list(kwargs) if name in names}
        config, by_default = settle(model, generation_config, settings)
        if on_interrupt not in ("return", "raise"):
            raise InputError(f"on_interrupt is {on_interrupt!r}.", next_step='Pass "return" or "raise".')

        eos = as_ids(config.eos_token_id)
        prompt = read_prompt(model, inputs, config, eos, kwargs)
        max_length = longest(model, prompt, config, by_default)
        B = prompt.ids.shape[0]
        beams, groups = config.num_beams or 1, config.num_beam_groups or 1
        contrastive = bool(config.penalty_alpha) and (config.top_k or 0) > 1 and not config.do_sample and beams == 1
        if streamer is not None and (beams > 1 or (contrastive and B > 1)):
            raise InputError(
                "A streamer follows one sequence, and beam search keeps several.",
                next_step="Pass num_beams=1, or no streamer.",
            )
        copies = beams if beams > 1 else (config.top_k if contrastive else config.num_return_sequences) or 1
        ends = criteria(config, max_length, eos, tokenizer)
        pad = config.pad_token_id if config.pad_token_id is not None else eos[0] if eos else None
        if pad is None and B * copies > 1 and beams == 1 and (len(ends) > 1 or stopping_criteria):
            raise InputError(
                f"{B * copies} sequences may end at different places, and there is no token to fill the shorter ones with.",
                next_step="Pass pad_token_id=tokenizer.pad_token_id (or its eos_token_id).",
            )
        run = Run(
            model,
            prompt,
            config,
            max_length,
            copies,
            rules(config, prompt, max_length, eos, prefix_allowed_tokens_fn, _merged(logits_processor)),
            StoppingCriteriaList([*ends, *(stopping_criteria or [])]),
            eos,
            0 if pad is None else pad,
            streamer,
            generator,
        )
        run.start()
        if beams > 1:
            from notebook_kit.generation.beams import beam_search

            return beam_search(run, beams, groups, on_interrupt)
        from notebook_kit.generation import sampling

        if contrastive:
            run.wants_hidden = True
            return sampling.contrastive(run, config.penalty_alpha or 0.0, copies, on_interrupt)
        return sampling.sample(run, bool(config.do_sample), on_interrupt)


@contextmanager
def _ended(streamer: Any) -> Iterator[None]:
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


def settle(model: Any, given: GenerationConfig | None, settings: dict[str, Any]) -> tuple[GenerationConfig, bool]:
    """All settings of one call: its own, those of the config given to it, the model's, the defaults.

    Returns:
        The settings, and whether nobody said how long a sequence may be.
    """
    if given is not None and not isinstance(given, GenerationConfig):
        raise InputError(
            f"generation_config is a {type(given).__name__}.", next_step="Pass a GenerationConfig, or settings by name."
        )
    own = GenerationConfig(**settings)
    said = own if given is None else own.filled(given)
    config = said.filled(model.generation_config, DEFAULTS)
    for name, value in settings.items():
        if value is None and name not in DEFAULTS:  # said to be None, such as eos_token_id
            setattr(config, name, None)
    if said.max_length is not None and said.max_new_tokens is None:
        config.max_new_tokens = None  # what the call says goes before what the checkpoint says
    if said.max_new_tokens is not None or (config.max_new_tokens is not None and said.max_length is None):
        config.max_length = None
    by_default = (
        config.max_new_tokens is None and said.max_length is None and model.generation_config.max_length is None
    )
    if by_default:
        config.max_length, config.max_new_tokens = None, DEFAULTS["max_length"]
    config.validate()
    if not config.do_sample:
        idle = [name for name in SAMPLING_ONLY if getattr(own, name) not in (None, DEFAULTS.get(name))]
        if config.penalty_alpha:
            idle = [name for name in idle if name != "top_k"]
        _once(idle, "do_sample is not True, so tokens are not drawn", "Pass do_sample=True")
    if (config.num_beams or 1) == 1:
        idle = [name for name in BEAMS_ONLY if getattr(own, name) not in (None, DEFAULTS.get(name))]
        _once(idle, "there is one beam", "Pass num_beams above 1")
    if not config.return_dict_in_generate:
        wanted = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
        idle = [name for name in wanted if getattr(own, name)]
        _once(idle, "the result is the tokens alone", "Pass return_dict_in_generate=True")
    return config, by_default


def _once(names: list[str], why: str, step: str) -> None:
    """Say once in a program's life that settings have no effect."""
    names = [name for name in names if name not in _said]
    if names:
        _said.update(names)
        has = "has no effect" if len(names) == 1 else "have no effect"
        warnings.warn(f"{', '.join(names)} {has}: {why}. {step}.", NotebookKitWarning, stacklevel=6)


def longest(model: Any, prompt: Prompt, config: GenerationConfig, by_default: bool) -> int:
    """The most tokens that a sequence may have, prompt included.

    Raises:
        InputError: If the prompt leaves no room, or the model has not so many positions.
    """
    T = prompt.ids.shape[1]
    before = 0 if prompt.embeds is None else prompt.embeds.shape[1] - T
    limit = getattr(model, "position_limit", None)
    what = "decoder's prompt" if prompt.encoder_outputs is not None else "prompt"
    most = T + config.max_new_tokens if config.max_new_tokens is not None else (config.max_length or 0) - before
    if limit is not None and by_default:
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
            stacklevel=5,
        )
    return most


def _merged(own: list[Any] | None) -> list[Any]:
    for rule in own or []:
        if not callable(rule):
            raise InputError(
                f"logits_processor holds a {type(rule).__name__}.",
                next_step="Pass a list of functions (input_ids, scores) -> scores.",
            )
    return list(own or [])


def rules(
    config: GenerationConfig,
    prompt: Prompt,
    max_length: int,
    eos: list[int],
    allowed: Callable[[int, Tensor], list[int]] | None,
    own: list[Any],
) -> LogitsProcessorList:
    """The rules that the settings ask for, in the order that the field has agreed on, with those of the caller."""
    T, source = prompt.ids.shape[1], prompt.source_ids
    made: list[Any] = []
    if config.sequence_bias:
        made.append(processors.SequenceBiasLogitsProcessor(config.sequence_bias))
    if config.encoder_repetition_penalty not in (None, 1.0) and source is not None:
        made.append(processors.EncoderRepetitionPenaltyLogitsProcessor(config.encoder_repetition_penalty, source))
    if config.repetition_penalty not in (None, 1.0):
        padding = None if prompt.mask is None else (prompt.mask != 0).int().argmax(dim=1)
        made.append(processors.RepetitionPenaltyLogitsProcessor(config.repetition_penalty, padding))
    if config.no_repeat_ngram_size:
        made.append(processors.NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.encoder_no_repeat_ngram_size and source is not None:
        made.append(processors.EncoderNoRepeatNGramLogitsProcessor(config.encoder_no_repeat_ngram_size, source))
    if config.bad_words_ids:
        made.append(processors.NoBadWordsLogitsProcessor(config.bad_words_ids, eos))
    low = T + config.min_new_tokens if config.min_new_tokens else config.min_length or 0
    if eos and low:
        made.append(processors.MinLengthLogitsProcessor(low, eos))
    if allowed is not None:
        made.append(processors.PrefixConstrainedLogitsProcessor(allowed, config.num_beams or 1))
    if config.forced_bos_token_id is not None:
        made.append(processors.ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        made.append(processors.ForcedEOSTokenLogitsProcessor(max_length, config.forced_eos_token_id))
    if config.remove_invalid_values:
        made.append(processors.InfNanRemoveLogitsProcessor())
    if config.exponential_decay_length_penalty is not None and eos:
        made.append(processors.ExponentialDecayLengthPenalty(config.exponential_decay_length_penalty, eos, T))
    if config.suppress_tokens:
        made.append(processors.SuppressTokensLogitsProcessor(config.suppress_tokens))
    if config.begin_suppress_tokens:
        begin = T if T > 1 or config.forced_bos_token_id is None else T + 1
        made.append(processors.SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin))
    kinds = {type(rule) for rule in own}
    made = [rule for rule in made if type(rule) not in kinds] + own  # the caller's own goes before a setting's
    if config.do_sample:
        keep = len(eos) + 1 if (config.num_beams or 1) > 1 else 1  # a beam must have something to go on with
        if config.temperature not in (None, 1.0):
            made.append(filters.TemperatureLogitsWarper(config.temperature))
        if config.top_k:
            made.append(filters.TopKLogitsWarper(config.top_k, min_tokens_to_keep=keep))
        for name, kind in (
            ("top_p", filters.TopPLogitsWarper),
            ("min_p", filters.MinPLogitsWarper),
            ("typical_p", filters.TypicalLogitsWarper),
            ("epsilon_cutoff", filters.EpsilonLogitsWarper),
            ("eta_cutoff", filters.EtaLogitsWarper),
        ):
            value, idle = getattr(config, name), 1.0 if name in ("top_p", "typical_p") else 0.0
            if value is not None and value != idle:
                made.append(kind(value, min_tokens_to_keep=keep))
    if config.renormalize_logits:
        made.append(processors.LogitNormalization())
    return LogitsProcessorList(made)


def criteria(config: GenerationConfig, max_length: int, eos: list[int], tokenizer: Any) -> list[Any]:
    """What ends a sequence, by the settings."""
    made: list[Any] = [stopping.MaxLengthCriteria(max_length)]
    if config.max_time is not None:
        made.append(stopping.MaxTimeCriteria(config.max_time))
    if config.stop_strings is not None:
        if tokenizer is None:
            raise InputError(
                "stop_strings are texts, and generate works with tokens.", next_step="Pass tokenizer= as well."
            )
        made.append(stopping.StopStringCriteria(tokenizer, config.stop_strings))
    if eos:
        made.append(stopping.EosTokenCriteria(eos))
    return made


# Inputs ----------------------------------------------------------------------------------------------------------------


def read_prompt(
    model: Any, inputs: Tensor | None, config: GenerationConfig, eos: list[int], given: dict[str, Any]
) -> Prompt:
    """What the generation starts from; an encoder runs here, once.

    Raises:
        InputError: For an argument that there is not (with near matches), inputs that are missing or come twice, or of a
            wrong kind.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if "input_ids" in given:
        if inputs is not None:
            raise InputError(
                "The prompt came twice: as the first argument and as input_ids.", next_step="Pass it once."
            )
        inputs = given.pop("input_ids")
    if inputs is not None and (
        not isinstance(inputs, Tensor) or (inputs.dtype.is_floating_point is False and inputs.dim() != 2)
    ):
        what = f"a {type(inputs).__name__}" if not isinstance(inputs, Tensor) else f"of shape {tuple(inputs.shape)}"
        raise InputError(
            f"The prompt is {what}, where a tensor of token ids (batch, tokens) was expected.",
            next_step="Call model.generate(**tokenizer(text, return_tensors='pt')).",
        )
    device = model.device
    inputs = None if inputs is None else inputs.to(device)
    given = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in given.items()}
    if model.generation_kind == "encoder-decoder":
        return _read_encoder_decoder(model, inputs, config, eos, given)
    _refuse_unknown(
        model, given, ("attention_mask", "inputs_embeds", "past_key_values", "token_type_ids", "position_ids")
    )
    given.pop("position_ids", None)  # they follow from the mask
    given.pop("token_type_ids", None)  # what some tokenizers add, and a decoder has no use for
    embeds, cache = given.pop("inputs_embeds", None), given.pop("past_key_values", None)
    if inputs is None:
        rows = 1 if embeds is None else embeds.shape[0]
        if embeds is None:
            if config.bos_token_id is None:
                raise InputError("There is no prompt.", next_step="Pass input_ids, or bos_token_id to start from.")
            inputs = torch.full((1, 1), config.bos_token_id, dtype=torch.long, device=device)
        else:
            inputs = torch.empty(rows, 0, dtype=torch.long, device=device)
    if inputs.shape[1] == 0 and embeds is None:
        raise InputError("The prompt holds no tokens.", next_step="Pass at least the tokenizer's bos token.")
    if embeds is not None and not config.use_cache:
        raise InputError(
            "inputs_embeds are given to the first call alone.", next_step="Leave use_cache=True with them."
        )
    if cache is not None and cache.length >= inputs.shape[1] and embeds is None:
        raise InputError(
            f"past_key_values hold {cache.length} tokens, and the prompt has {inputs.shape[1]}: there is nothing to go on from.",
            next_step="Pass the whole text, of which the cached tokens are the start.",
        )
    mask = given.pop("attention_mask", None)
    if mask is None and embeds is None:
        mask = _padding_of(inputs, config.pad_token_id, eos)
    if mask is not None:
        expected = inputs.shape[1] if embeds is None else embeds.shape[1]
        if mask.shape != (inputs.shape[0], expected):
            raise InputError(
                f"attention_mask has shape {tuple(mask.shape)}, and the prompt is of {inputs.shape[0]} x {expected} tokens.",
                next_step="Pass the tokenizer's output as a whole: model.generate(**batch).",
            )
        if not bool(mask[:, -1].all()):
            warnings.warn(
                "Some prompts are padded on the right, so what is generated follows padding. Make the tokenizer with "
                'padding_side="left".',
                NotebookKitWarning,
                stacklevel=5,
            )
    return Prompt(
        inputs, mask=mask, embeds=embeds, cache=cache, source_ids=inputs if inputs.shape[1] else None, **given
    )


def _read_encoder_decoder(
    model: Any, inputs: Tensor | None, config: GenerationConfig, eos: list[int], given: dict[str, Any]
) -> Prompt:
    encoder = model.get_encoder()
    takes, main = inputs_of(encoder).names, inputs_of(encoder).main
    own = ("decoder_input_ids", "decoder_attention_mask", "encoder_outputs", "past_key_values", "attention_mask")
    given.pop("token_type_ids", None) if "token_type_ids" not in takes else None
    _refuse_unknown(model, given, (*own, *takes))
    encoded, mask = given.pop("encoder_outputs", None), given.get("attention_mask")
    start_ids, start_mask = given.pop("decoder_input_ids", None), given.pop("decoder_attention_mask", None)
    cache = given.pop("past_key_values", None)
    ids = inputs if inputs is not None and not inputs.is_floating_point() else None
    if mask is None and ids is not None:
        mask = _padding_of(ids, config.pad_token_id, eos)
    if mask is not None and mask.device.type == "cpu" and bool(mask.all()):
        mask = None
    if encoded is None:
        call = {name: value for name, value in given.items() if name in takes}
        call |= {} if inputs is None else {main: inputs}
        if "attention_mask" in takes:
            call["attention_mask"] = mask
        if not any(call.get(name) is not None for name in takes if name != "attention_mask"):
            raise InputError(f"There is no input for the encoder of {type(model).__name__}.", next_step=f"Pass {main}.")
        for name in ("output_attentions", "output_hidden_states"):
            if getattr(config, name) and config.return_dict_in_generate:
                call[name] = True
        encoded = encoder(**call)
    states = encoded[0]
    rows = states.shape[0]
    start = config.decoder_start_token_id if config.decoder_start_token_id is not None else config.bos_token_id
    if start is None and start_ids is None:
        raise ConfigurationError(
            "The generation config names no token that the decoder starts with.",
            next_step="Pass decoder_start_token_id (T5 and Marian start with the padding token).",
        )
    if start_ids is None:
        start_ids = torch.full((rows, 1), int(start or 0), dtype=torch.long, device=states.device)
    elif start is not None and bool((start_ids[:, 0] != start).all()):
        start_ids = torch.cat([torch.full_like(start_ids[:, :1], start), start_ids], dim=1)
        if start_mask is not None:
            start_mask = torch.cat([torch.ones_like(start_mask[:, :1]), start_mask], dim=1)
    return Prompt(start_ids, mask=start_mask, cache=cache, encoder_outputs=encoded, encoder_mask=mask, source_ids=ids)


def _refuse_unknown(model: Any, given: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            every = [
                *GenerationConfig.names(),
                *known,
                "logits_processor",
                "stopping_criteria",
                "streamer",
                "generator",
            ]
            raise InputError(
                f"generate has no argument {name!r} for {type(model).__name__}. {near_matches(name, every)}".rstrip(),
                next_step="Correct the name, or leave it out; help(model.generate) has them all.",
            )


def _padding_of(ids: Tensor, pad: int | None, eos: list[int]) -> Tensor | None:
    """A mask where none came: padding is told by its token, unless that token means something else as well."""
    if pad is None or pad in eos or not bool((ids == pad).any()):
        return None
    return (ids != pad).long()
