"""Writing a tokenizer's files, in the form that both this package and transformers read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from notebook_kit.errors import InputError

if TYPE_CHECKING:
    from notebook_kit.processing.text.auto import PreTrainedTokenizerFast

__all__ = ["save"]

_NOT_SAVED = ("name_or_path", "additional_special_tokens", "extra_special_tokens", "tokenizer_class", "max_len")


def save(tokenizer: PreTrainedTokenizerFast, folder: Path, prefix: str | None = None) -> list[Path]:
    """Write the files of `PreTrainedTokenizerFast.save_pretrained` and return their paths.

    Raises:
        InputError: `folder` is a file.
    """
    if folder.is_file():
        raise InputError(f"{folder} is a file.", next_step="Give a folder; it is made if it is not there.")
    folder.mkdir(parents=True, exist_ok=True)
    start = f"{prefix}-" if prefix else ""
    backend = tokenizer.backend_tokenizer
    own = tokenizer.vocabulary_files()
    texts: dict[str, str | bytes] = {
        **({} if own else {"tokenizer.json": backend.to_str(pretty=True)}),
        "tokenizer_config.json": _json(config_of(tokenizer)),
        "special_tokens_map.json": _json(_special_tokens(tokenizer)),
        **(own or _vocabulary(backend)),
    }
    outside = {token: id for token, id in tokenizer.added_tokens_encoder.items() if id >= tokenizer.vocab_size}
    if outside:
        texts["added_tokens.json"] = _json(outside)
    paths = []
    for name, text in texts.items():
        path = folder / f"{start}{name}"
        # A reader, or a process that dies here, never meets half a file.
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(text if isinstance(text, bytes) else text.encode())
        temporary.replace(path)
        paths.append(path)
    return paths


def config_of(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The contents of tokenizer_config.json: what the checkpoint said, with what was changed since."""
    config = {key: _plain(value) for key, value in tokenizer.init_kwargs.items() if key not in _NOT_SAVED}
    config |= _pipeline_options(tokenizer)
    config |= {
        "tokenizer_class": tokenizer.tokenizer_class,
        "model_max_length": tokenizer.model_max_length,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "clean_up_tokenization_spaces": tokenizer.clean_up_tokenization_spaces,
        "chat_template": tokenizer.chat_template,
        "added_tokens_decoder": {
            str(id): _flags(token) | {"special": token.special}
            for id, token in sorted(tokenizer.added_tokens_decoder.items())
        },
    }
    if list(tokenizer.model_input_names) != ["input_ids", "attention_mask"]:
        config["model_input_names"] = list(tokenizer.model_input_names)
    config |= dict.fromkeys(tokenizer._roles) | tokenizer.special_tokens_map
    if tokenizer.extra_special_tokens:
        config["additional_special_tokens"] = tokenizer.extra_special_tokens
    return {key: value for key, value in config.items() if value is not None or key in tokenizer.init_kwargs}


def _pipeline_options(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The switches as the pipeline has them: transformers builds it anew from these rather than from tokenizer.json."""
    normalizer, splitter = tokenizer.backend_tokenizer.normalizer, tokenizer.backend_tokenizer.pre_tokenizer
    if type(normalizer) is normalizers.BertNormalizer:
        return {
            "do_lower_case": normalizer.lowercase,
            "strip_accents": normalizer.strip_accents,
            "tokenize_chinese_chars": normalizer.handle_chinese_chars,
        }
    if type(splitter) is pre_tokenizers.ByteLevel:
        return {"add_prefix_space": splitter.add_prefix_space}
    return {}


def _vocabulary(backend: Tokenizer) -> dict[str, str]:
    """vocab.txt for WordPiece; vocab.json and merges.txt for byte-level BPE; others have no text format."""
    kind = type(backend.model)
    if kind not in (models.WordPiece, models.BPE):
        return {}
    if kind is models.WordPiece:
        ids = backend.get_vocab(with_added_tokens=False)
        return {"vocab.txt": "".join(f"{token}\n" for token in sorted(ids, key=ids.__getitem__))}
    model = json.loads(backend.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return {
        "vocab.json": json.dumps(model["vocab"], ensure_ascii=False) + "\n",
        "merges.txt": "#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges),
    }


def _special_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    flags = {token.content: _flags(token) for token in tokenizer.added_tokens_decoder.values()}
    tokens: dict[str, Any] = {role: flags.get(token, token) for role, token in tokenizer.special_tokens_map.items()}
    if tokenizer.extra_special_tokens:
        tokens["additional_special_tokens"] = [flags.get(token, token) for token in tokenizer.extra_special_tokens]
    return tokens


def _flags(token: AddedToken) -> dict[str, Any]:
    return {
        "content": token.content,
        "lstrip": token.lstrip,
        "normalized": token.normalized,
        "rstrip": token.rstrip,
        "single_word": token.single_word,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, AddedToken):
        return value.content
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
