"""Train a new vocabulary for the pipeline of an existing tokenizer."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, pre_tokenizers, trainers

from notebook_kit.errors import InputError
from notebook_kit.processing.text.arguments import as_count, check_arguments, described
from notebook_kit.processing.text.inputs import unknown_keyword

__all__ = ["rename_token", "train_backend"]

_TRAINERS = {
    "BPE": trainers.BpeTrainer,
    "Unigram": trainers.UnigramTrainer,
    "WordLevel": trainers.WordLevelTrainer,
    "WordPiece": trainers.WordPieceTrainer,
}


def train_backend(
    pipeline: Tokenizer,
    texts: Iterable[Any],
    vocab_size: int,
    length: int | None,
    new_special_tokens: Sequence[str | AddedToken],
    names: Mapping[str, str],
    trainer_options: Mapping[str, Any],
) -> Tokenizer:
    """A copy of a pipeline with a vocabulary learned from texts; see `PreTrainedTokenizerFast.train_new_from_iterator`.

    Args:
        names: New names of special tokens by their old names.

    Raises:
        InputError: If the kind of vocabulary cannot be trained, the trainer has no such option, or the new vocabulary
            lacks a special token that is put around every text.
    """
    as_count("vocab_size", vocab_size, 1)
    check_arguments({"length": length})
    options = {"show_progress": False, **trainer_options}
    state = json.loads(pipeline.to_str())
    # Both contain ids, which differ in the new vocabulary.
    added, post_processor = state.pop("added_tokens"), state.pop("post_processor")
    kind = state["model"]["type"]
    if kind not in _TRAINERS:
        raise InputError(
            f"There is no trainer for {kind} vocabularies.", next_step=f"Start from one of {', '.join(_TRAINERS)}."
        )
    unknown = _empty(state["model"], names)
    backend = Tokenizer.from_str(json.dumps(state))

    special = [_renamed(token, names) for token in added if token["special"] or kind == "Unigram"]
    special += [AddedToken(token, special=True) if isinstance(token, str) else token for token in new_special_tokens]
    for key in ("continuing_subword_prefix", "end_of_word_suffix") if kind == "BPE" else ():
        if state["model"][key] is not None:
            options.setdefault(key, state["model"][key])
    if kind == "Unigram" and unknown is not None:
        options["unk_token"] = unknown
    if _is_byte_level(state.get("pre_tokenizer")):
        options.setdefault("initial_alphabet", pre_tokenizers.ByteLevel.alphabet())
    known = inspect.signature(_TRAINERS[kind]).parameters
    for name in options:
        if name not in known:  # the trainers would only print that they ignore it
            raise unknown_keyword(f"The {kind} trainer", [name], known)
    trainer = _TRAINERS[kind](vocab_size=vocab_size, special_tokens=special, **options)
    backend.train_from_iterator(_checked(texts), trainer=trainer, length=length)
    return backend if post_processor is None else _with_post_processor(backend, post_processor, names)


def _checked(texts: Any) -> Iterator[Any]:
    """The texts or batches of texts, each checked when it is its turn."""
    if not isinstance(texts, Iterable) or isinstance(texts, str | bytes | Mapping) or getattr(texts, "ndim", 1) == 0:
        raise InputError(
            f"text_iterator is {described(texts)}, which is not a sequence of texts.",
            next_step="Pass a list, a dataset's column or a generator of str, or of lists of str.",
        )
    for place, item in enumerate(texts):
        batch = [item] if isinstance(item, str) else item
        if not isinstance(batch, Iterable) or isinstance(batch, bytes) or getattr(batch, "ndim", 1) == 0:
            batch = [item]
        batch = list(batch)
        for text in batch:
            if not isinstance(text, str):
                raise InputError(
                    f"Item {place} of text_iterator holds {described(text)}, which is not a str.",
                    next_step="Convert it with str(...), or drop such rows.",
                )
        yield [text.encode("utf-8", "replace").decode() for text in batch]


def _empty(model: dict[str, Any], names: Mapping[str, str]) -> str | None:
    """Remove the vocabulary of a serialized model, in place; returns the unknown token of a Unigram model."""
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if model["type"] == "Unigram":
        if model["unk_id"] is None:
            return None
        unknown = model["vocab"][model["unk_id"]][0]
        unknown = names.get(unknown, unknown)
        # A Unigram model cannot be empty.
        model["unk_id"], model["vocab"] = 0, [[unknown, 0.0]]
        return unknown
    model["vocab"] = {}
    if model["type"] == "BPE":
        model["merges"] = []
    return None


def _renamed(token: Mapping[str, Any], names: Mapping[str, str]) -> AddedToken:
    flags = {key: token[key] for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    return AddedToken(names.get(token["content"], token["content"]), **flags)


def rename_token(token: str | AddedToken, names: Mapping[str, str]) -> str | AddedToken:
    """The special token with its new name, keeping its flags."""
    return names.get(token, token) if isinstance(token, str) else _renamed(token.__getstate__(), names)


def _is_byte_level(splitter: Mapping[str, Any] | None) -> bool:
    return splitter is not None and (
        splitter["type"] == "ByteLevel" or any(map(_is_byte_level, splitter.get("pretokenizers", ())))
    )


def _with_post_processor(backend: Tokenizer, post_processor: dict[str, Any], names: Mapping[str, str]) -> Tokenizer:
    """The trained tokenizer with the old post-processor and the ids of the new vocabulary."""

    def new_id(token: str) -> int:
        id = backend.token_to_id(token)
        if id is None:
            raise InputError(
                f"The special token {token!r} is put around every text, but the new vocabulary lacks it.",
                next_step="Include it in special_tokens_map or new_special_tokens.",
            )
        return id

    def visit(processor: dict[str, Any]) -> None:
        for inner in processor.get("processors", ()):
            visit(inner)
        for entry in processor.get("special_tokens", {}).values() if processor["type"] == "TemplateProcessing" else ():
            entry["tokens"] = [names.get(token, token) for token in entry["tokens"]]
            entry["ids"] = [new_id(token) for token in entry["tokens"]]
        for role in ("cls", "sep"):
            if role in processor:
                token = names.get(processor[role][0], processor[role][0])
                processor[role] = [token, new_id(token)]

    visit(post_processor)
    state = json.loads(backend.to_str())
    state["post_processor"] = post_processor
    return Tokenizer.from_str(json.dumps(state))
