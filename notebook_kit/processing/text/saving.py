"""Write a tokenizer's files in the format that notebook_kit and `transformers` read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models

from notebook_kit.errors import InputError, a_kind
from notebook_kit.files import replacing
from notebook_kit.processing.text.building import switches_of
from notebook_kit.processing.text.vocabulary import ROLES, Vocabulary

__all__ = ["save", "save_vocabulary_files"]

_NOT_SAVED = ("name_or_path", "additional_special_tokens", "extra_special_tokens", "max_len")


def save(
    folder: Path,
    vocabulary: Vocabulary,
    settings: Mapping[str, Any],
    own_files: Mapping[str, bytes] | None,
    prefix: str | None = None,
) -> list[Path]:
    """Write a tokenizer's files and return their paths.

    Args:
        folder: The folder to write to.
        vocabulary: The tokenizer.
        settings: The contents of tokenizer_config.json besides the special tokens.
        own_files: Files to write instead of tokenizer.json and the vocabulary's text files; empty to write those; None to
            write none.
        prefix: Put before the files' names, with a hyphen.
    """
    backend = vocabulary.backend_tokenizer
    usual = {} if own_files is None else {"tokenizer.json": backend.to_str(pretty=True), **_vocabulary_files(backend)}
    contents: dict[str, str | bytes] = {
        **(own_files or usual),
        "tokenizer_config.json": _json(_config(vocabulary, settings)),
        "special_tokens_map.json": _json(_special_tokens(vocabulary)),
    }
    outside = {token: id for token, id in vocabulary.added_tokens_encoder.items() if id >= vocabulary.vocab_size}
    if outside:
        contents["added_tokens.json"] = _json(outside)
    return _written(folder, contents, prefix)


def save_vocabulary_files(folder: Path, backend: Tokenizer, prefix: str | None = None) -> list[Path]:
    """Write a vocabulary in the text files of its kind, and return their paths.

    Raises:
        InputError: If its kind has none.
    """
    contents = _vocabulary_files(backend)
    if not contents:
        raise InputError(
            f"{a_kind(backend.model, starts=True)} vocabulary has no text files.",
            next_step="Use save_pretrained(folder), which writes tokenizer.json.",
        )
    return _written(folder, contents, prefix)


def _written(folder: Path, contents: Mapping[str, str | bytes], prefix: str | None) -> list[Path]:
    paths = []
    for name, content in contents.items():
        path = folder / (f"{prefix}-{name}" if prefix else name)
        with replacing(path) as temporary:
            temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
        paths.append(path)
    return paths


def _config(vocabulary: Vocabulary, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of tokenizer_config.json."""
    config = {key: _plain(value) for key, value in settings.items() if key not in _NOT_SAVED}
    # `transformers` builds its pipeline from these rather than from tokenizer.json.
    config |= switches_of(vocabulary.backend_tokenizer)
    config["added_tokens_decoder"] = {
        str(id): _flags(token) | {"special": token.special}
        for id, token in sorted(vocabulary.added_tokens_decoder.items())
    }
    config |= dict.fromkeys(ROLES) | vocabulary.special_tokens_map
    if vocabulary.extra_special_tokens:
        config["additional_special_tokens"] = vocabulary.extra_special_tokens
    return {key: value for key, value in config.items() if value is not None or key in settings}


def _vocabulary_files(backend: Tokenizer) -> dict[str, str]:
    """vocab.txt for WordPiece; vocab.json and merges.txt for BPE; other kinds have no text format."""
    kind = type(backend.model)
    if kind is models.WordPiece:
        ids = backend.get_vocab(with_added_tokens=False)
        return {"vocab.txt": "".join(f"{token}\n" for token in sorted(ids, key=ids.__getitem__))}
    if kind is not models.BPE:
        return {}
    model = json.loads(backend.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return {
        "vocab.json": json.dumps(model["vocab"], ensure_ascii=False) + "\n",
        "merges.txt": "#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges),
    }


def _special_tokens(vocabulary: Vocabulary) -> dict[str, Any]:
    flags = {token.content: _flags(token) for token in vocabulary.added_tokens_decoder.values()}
    tokens: dict[str, Any] = {role: flags.get(token, token) for role, token in vocabulary.special_tokens_map.items()}
    if vocabulary.extra_special_tokens:
        tokens["additional_special_tokens"] = [flags.get(token, token) for token in vocabulary.extra_special_tokens]
    return tokens


def _flags(token: AddedToken) -> dict[str, Any]:
    return {name: getattr(token, name) for name in ("content", "lstrip", "normalized", "rstrip", "single_word")}


def _plain(value: Any) -> Any:
    if isinstance(value, AddedToken):
        return value.content
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
