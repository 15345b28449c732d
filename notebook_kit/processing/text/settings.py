"""Read the JSON files beside a vocabulary (tokenizer_config.json, ...), and check the type of each field they are used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from tokenizers import AddedToken

from notebook_kit.errors import InputError
from notebook_kit.fields import Check, Range, mismatch
from notebook_kit.files import check_fields, read_json
from notebook_kit.processing.text.parts import Files
from notebook_kit.processing.text.vocabulary import ROLES

__all__ = ["as_option", "as_token", "check_options", "read_settings"]

_TOKEN_FIELDS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")


def read_settings(source: Files, filename: str) -> dict[str, Any]:
    """The JSON object in a file of the checkpoint, with its fields checked; {} if the file does not exist.

    Raises:
        CheckpointError: If the file is not a JSON object, or a field is not of the type that it is used as.
    """
    path = source.find(filename)
    if path is None:
        return {}
    values = read_json(path)
    check_fields(path, values, _TYPES[filename] if filename in _TYPES else dict.fromkeys(values, _Id | None))
    return values


def check_options(options: Mapping[str, Any]) -> None:
    """Check the types of a caller's options as those of tokenizer_config.json.

    Raises:
        InputError: If one is of another type.
    """
    if fault := mismatch(options, _TYPES["tokenizer_config.json"]):
        raise InputError(
            f"{fault}.",
            next_step="Pass special tokens by role, such as pad_token='[PAD]', and switches as True or False.",
        )


def as_token(value: Any) -> Any:
    """Convert the dictionaries that checkpoints store to AddedTokens; return anything else unchanged."""
    if isinstance(value, dict) and "content" in value:
        return AddedToken(**{key: entry for key, entry in value.items() if key in _TOKEN_FIELDS})
    if isinstance(value, list):
        return [as_token(item) for item in value]
    return value


def as_option(name: str, value: Any) -> Any:
    """Convert a stored option: a token to an AddedToken, and a switch that is stored as 0 or 1 to a bool."""
    return bool(value) if name in _SWITCHES and isinstance(value, int) else as_token(value)


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


_Token = Annotated[Any, Check("a token", _is_token)]
_Tokens = Annotated[Any, Check("a list of tokens", _is_tokens)]
_Extra = Annotated[Any, Check("a list of tokens, or tokens by name", _is_extra_tokens)]
_TokensById = Annotated[Any, Check("tokens by id", _is_tokens_by_id)]
_Templates = Annotated[Any, Check("a template, or templates by name", _is_templates)]
_Names = Annotated[list[str], Check("a list of names", bool)]
_Switch = bool | Annotated[int, Range(0, 1)]
_Length = Annotated[Any, Check("a positive number", lambda value: type(value) in (int, float) and value >= 1)]
_Id = Annotated[int, Range(0, 2**31 - 1)]

_SWITCHES = (
    *("add_bos_token", "add_eos_token", "add_prefix_space", "clean_up_tokenization_spaces", "do_lower_case"),
    *("keep_accents", "legacy", "separate_vocabs", "split_special_tokens", "strip_accents"),
    *("tokenize_chinese_chars", "trim_offsets"),
)
_SPECIAL: dict[str, Any] = {
    **dict.fromkeys(ROLES, _Token | None),
    "additional_special_tokens": _Tokens | None,
    "extra_special_tokens": _Extra | None,
}
_TYPES: dict[str, dict[str, Any]] = {
    "tokenizer_config.json": {
        **_SPECIAL,
        **dict.fromkeys(_SWITCHES, _Switch | None),
        **dict.fromkeys(("model_max_length", "max_len"), _Length | None),
        **dict.fromkeys(("padding_side", "truncation_side"), Literal["right", "left"] | None),
        **dict.fromkeys(("tokenizer_class", "src_lang", "tgt_lang", "source_lang", "target_lang"), str | None),
        "added_tokens_decoder": _TokensById | None,
        "additional_special_tokens": _Extra | None,
        "chat_template": _Templates | None,
        "extra_ids": Annotated[int, Range(0, 100_000)] | None,  # T5 has 100
        "model_input_names": _Names | None,
        "pad_token_type_id": _Id | None,
    },
    "special_tokens_map.json": _SPECIAL,
    "config.json": {"tokenizer_class": str | None, "model_type": str | None},
}
