"""What a model writes about a picture or a recording: the tokens of its decoder, each labelled by the token that it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from notebook_kit.errors import NotebookKitError
from notebook_kit.inspection.attention.axes import TokenAxis
from notebook_kit.inspection.attention.evaluation import evaluating
from notebook_kit.inspection.tokens.spelling import PART, SPECIAL, Spelling
from notebook_kit.nn.attention import sites_of
from notebook_kit.nn.inputs import inputs_of, position_limit

__all__ = ["MOST_TOKENS", "decoder_input", "first_token", "writes", "written", "written_axis"]

MOST_TOKENS = 200
"""Tokens after which a model is stopped."""
MOST_BEGINNING = 8
"""Tokens that a decoder may begin with, such as a language and a task."""


def writes(model: Any) -> bool:
    """Whether a model has an encoder, and a decoder that generates."""
    config = getattr(model, "config", None)
    if not getattr(config, "is_encoder_decoder", False) and not _has_decoder(model):
        return False
    can_generate = getattr(model, "can_generate", None)  # detectors have a method `generate` that raises an error
    return bool(can_generate()) if can_generate else callable(getattr(model, "generate", None))


def _has_decoder(model: Any) -> bool:
    """Whether words attend to something else in a model: BLIP's configuration does not say that it has a decoder."""
    if not isinstance(model, nn.Module):
        return False
    try:
        sites = sites_of(model)
    except NotebookKitError:  # a model of another library
        return False
    return any(site.kind == "cross" and site.rows == "decoder text" for site in sites)


def decoder_input(model: nn.Module) -> str:
    """The name under which a model takes the tokens of its decoder."""
    return "decoder_input_ids" if "decoder_input_ids" in inputs_of(model).names else "input_ids"


def first_token(model: Any) -> int:
    """The token from which a decoder begins."""
    config = model.config
    places = ((config, "decoder_start_token_id"), (getattr(config, "text_config", None), "bos_token_id"))
    return int(next((value for place, name in places if (value := getattr(place, name, None)) is not None), 0))


def written(model: nn.Module, features: Mapping[str, Tensor], tokenizer: Any) -> tuple[Tensor, TokenAxis]:
    """The input of a decoder, and its axis.

    The position of the decoder that writes a token attends to what that token came from, so it is labelled by that token
    rather than by the one before, which it reads.

    Args:
        model: An encoder-decoder.
        features: What it reads. With "labels", these are taken; with "decoder_input_ids", their continuation is; otherwise the
            model writes greedily, at most 200 tokens.
        tokenizer: For the labels.

    Returns:
        The decoder's input, `(1, tokens)`, and its axis of as many tokens.
    """
    config: Any = model.config
    start, pad = first_token(model), getattr(config, "pad_token_id", None)
    ids = features.get("decoder_input_ids")
    if "labels" in features:
        labels = features["labels"]
        ids = torch.cat([labels.new_full((1, 1), start), labels.masked_fill(labels == -100, pad or 0)], dim=1)
    elif ids is None or ids.shape[1] < 2:
        ids = _generated(model, features)
        if int(ids[0, 0]) != start:
            ids = torch.cat([ids.new_full((1, 1), start), ids], dim=1)
    return ids[:, :-1], written_axis(tokenizer, ids[0, 1:].tolist())


def _generated(model: Any, features: Mapping[str, Tensor]) -> Tensor:
    main = inputs_of(model).main
    like = next(model.parameters())
    config = model.config
    is_question = {"pixel_values", "input_ids"} <= features.keys()
    names = ("input_ids", "attention_mask", "pixel_values") if is_question else (main,)
    given = {
        name: features[name].to(like.device, like.dtype if features[name].is_floating_point() else None)
        for name in names
        if name in features
    }
    limit = position_limit(model) or getattr(config, "max_target_positions", None) or 2 * MOST_TOKENS
    options: dict[str, Any] = {"num_beams": 1, "do_sample": False}
    options["max_new_tokens"] = max(1, min(MOST_TOKENS, limit - MOST_BEGINNING))
    if getattr(config, "model_type", "") == "whisper":
        options |= {"force_unique_generate_call": True, "return_timestamps": False}
    with evaluating(model):
        ids = model.generate(**given, **options)
    return ids.cpu().clone()  # not a tensor of inference mode


def written_axis(tokenizer: Any, ids: Sequence[int]) -> TokenAxis:
    """Tokens of a vocabulary as an axis, with those that begin with a space as the first of a word.

    Example:
        >>> from tokenizers import Tokenizer, decoders, models
        >>> backend = Tokenizer(models.BPE({"Ġgood": 0, "Ġday": 1, "s": 2}, []))
        >>> backend.decoder = decoders.ByteLevel()
        >>> axis = written_axis(backend, [0, 1, 2])
        >>> axis.labels, axis.word_labels
        (('good', 'day', 's'), ('good', 'days'))
    """
    spelling = Spelling(tokenizer)
    labels: list[str] = []
    special: list[bool] = []
    words: list[int] = []
    names: list[str] = []
    for text, _, kind, *whole in spelling.line(ids):
        is_special = kind == SPECIAL or (text.startswith("<|") and text.endswith("|>"))
        begins = not words or is_special or special[-1] or text[:1].isspace()
        names = [*names, ""] if begins else names
        names[-1] += whole[0] if whole else "" if kind == PART else text
        labels.append(text.strip() or text)
        special.append(is_special)
        words.append(len(names) - 1)
    segments = tuple(None if one else 0 for one in special)
    word_labels = tuple(name.strip() or labels[words.index(i)] for i, name in enumerate(names))
    return TokenAxis(tuple(labels), tuple(special), tuple(words), word_labels, segments, tuple(ids))
