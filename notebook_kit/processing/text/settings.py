"""Read the JSON files beside a vocabulary (tokenizer_config.json, ...), and check the type of each field they are used for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tokenizers import AddedToken

from notebook_kit.errors import InputError
from notebook_kit.files import damaged, read_json
from notebook_kit.processing.text.arguments import described
from notebook_kit.processing.text.parts import Files
from notebook_kit.processing.text.vocabulary import ROLES

__all__ = ["as_token", "check_options", "read_settings"]

_TOKEN_FIELDS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
_MOST_EXTRA_IDS = 100_000  # T5 has 100


def read_settings(source: Files, filename: str) -> dict[str, Any]:
    """The JSON object in a file of the checkpoint, with its fields checked; {} if the file does not exist.

    Raises:
        CheckpointError: If the file is not a JSON object, or a field is not of the type that it is used as.
    """
    path = source.find(filename)
    if path is None:
        return {}
    values = read_json(path)
    checks = dict.fromkeys(values, _ID) if filename == "added_tokens.json" else _CHECKS[filename]
    for name, expected in _misfits(values, checks):
        raise damaged(path, f"its field {name!r} is {described(values[name])}, and {expected} was expected")
    return values


def check_options(options: Mapping[str, Any]) -> None:
    """Check the types of a caller's options as those of tokenizer_config.json.

    Raises:
        InputError: If one is of another type.
    """
    for name, expected in _misfits(options, _CHECKS["tokenizer_config.json"]):
        raise InputError(
            f"{name} is {described(options[name])}, and {expected} was expected.",
            next_step="Pass special tokens by role, such as pad_token='[PAD]', and switches as True or False.",
        )


def _misfits(values: Mapping[str, Any], checks: Mapping[str, _Check]) -> Iterator[tuple[str, str]]:
    for name, (expected, fits) in checks.items():
        if values.get(name) is not None and not fits(values[name]):
            yield name, expected


def as_token(value: Any) -> Any:
    """Convert the dictionaries that checkpoints store to AddedTokens; return anything else unchanged."""
    if isinstance(value, dict) and "content" in value:
        return AddedToken(**{key: entry for key, entry in value.items() if key in _TOKEN_FIELDS})
    if isinstance(value, list):
        return [as_token(item) for item in value]
    return value


def _is_token(value: Any) -> bool:
    if isinstance(value, Mapping):
        flags = (value.get(field, False) for field in _TOKEN_FIELDS[1:])
        return isinstance(value.get("content"), str) and all(isinstance(flag, bool) for flag in flags)
    return isinstance(value, str | AddedToken) and not any("\ud800" <= letter <= "\udfff" for letter in str(value))


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_token, value))


def _is_extra_tokens(value: Any) -> bool:
    return _is_tokens(list(value.values())) if isinstance(value, Mapping) else _is_tokens(value)


def _is_tokens_by_id(value: Any) -> bool:
    ids = list(value) if isinstance(value, Mapping) else [""]
    return all(len(id) < 12 and id.isdecimal() and id.isascii() for id in ids) and all(
        isinstance(token, Mapping) and _is_token(token) for token in value.values()
    )


def _is_templates(value: Any) -> bool:
    if isinstance(value, list):
        fields = [entry.get(field) for entry in value if isinstance(entry, Mapping) for field in ("name", "template")]
        return len(fields) == 2 * len(value) and all(isinstance(field, str) for field in fields)
    if isinstance(value, Mapping):
        return all(isinstance(text, str) for text in value.values())
    return isinstance(value, str)


_Check = tuple[str, Callable[[Any], bool]]
_TOKEN: _Check = ("a token", _is_token)
_TEXT: _Check = ("a string", lambda value: isinstance(value, str))
_SWITCH: _Check = ("true or false", lambda value: type(value) in (bool, int) and value in (0, 1))
_SIDE: _Check = ("'right' or 'left'", lambda value: isinstance(value, str) and value in ("right", "left"))
_LENGTH: _Check = ("a positive number", lambda value: type(value) in (int, float) and value >= 1)
_TOKENS: _Check = ("a list of tokens", _is_tokens)
_EXTRA: _Check = ("a list of tokens, or tokens by name", _is_extra_tokens)
_ID: _Check = ("a non-negative integer", lambda value: type(value) is int and 0 <= value < 2**31)

_SWITCHES = (
    *("add_bos_token", "add_eos_token", "add_prefix_space", "clean_up_tokenization_spaces", "do_lower_case"),
    *("keep_accents", "legacy", "separate_vocabs", "split_special_tokens", "strip_accents"),
    *("tokenize_chinese_chars", "trim_offsets"),
)
_SPECIAL = dict.fromkeys(ROLES, _TOKEN) | {"additional_special_tokens": _TOKENS, "extra_special_tokens": _EXTRA}
_CHECKS: dict[str, dict[str, _Check]] = {
    "tokenizer_config.json": _SPECIAL
    | dict.fromkeys(_SWITCHES, _SWITCH)
    | dict.fromkeys(("model_max_length", "max_len"), _LENGTH)
    | dict.fromkeys(("padding_side", "truncation_side"), _SIDE)
    | dict.fromkeys(("tokenizer_class", "src_lang", "tgt_lang", "source_lang", "target_lang"), _TEXT)
    | {
        "added_tokens_decoder": ("tokens by id", _is_tokens_by_id),
        "additional_special_tokens": _EXTRA,
        "chat_template": ("a template, or templates by name", _is_templates),
        "extra_ids": ("a number of tokens", lambda value: type(value) is int and 0 <= value <= _MOST_EXTRA_IDS),
        "model_input_names": (
            "a list of names",
            lambda value: isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value),
        ),
        "pad_token_type_id": _ID,
    },
    "special_tokens_map.json": _SPECIAL,
    "config.json": {"tokenizer_class": _TEXT, "model_type": _TEXT},
}
