"""Check the types of arguments, so that a wrong one is named instead of failing deep inside the backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from tokenizers import AddedToken

from notebook_kit.errors import InputError

__all__ = ["as_count", "as_ids", "as_sequence", "as_tokens", "check_arguments", "described"]

_FLAGS = frozenset(
    {"add_special_tokens", "is_split_into_words", "split_special_tokens", "verbose", "pair", "special_tokens"}
    | {"return_token_type_ids", "return_attention_mask", "return_overflowing_tokens", "return_special_tokens_mask"}
    | {"return_offsets_mapping", "return_length", "return_dict", "return_assistant_tokens_mask", "tokenize"}
    | {"skip_special_tokens", "clean_up_tokenization_spaces", "already_has_special_tokens"}
    | {"add_generation_prompt", "continue_final_message"}
)
_COUNTS = {"max_length": 0, "max_target_length": 0, "stride": 0, "pad_to_multiple_of": 1, "vocab_size": 1, "length": 0}
_LARGEST = 2**62  # what the backend's integers hold


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check flags and counts by their names, among the local variables of a call; None stands for the default.

    Raises:
        InputError: If one is of another type.
    """
    for name, value in arguments.items():
        if value is None or ((value is True or value is False) and name not in _COUNTS):
            continue
        if name in _FLAGS and not _is_flag(value):
            _wrong(name, value, "True or False")
        if name in _COUNTS:
            as_count(name, value, _COUNTS[name])


def _is_flag(value: Any) -> bool:
    return type(value).__name__ in ("bool_", "bool") or (isinstance(value, int) and value in (0, 1))


def as_count(name: str, value: Any, least: int = 0) -> int:
    """An int, or a number of another library that is one.

    Raises:
        InputError: If it is not an int, below `least`, or beyond 64 bits.

    Example:
        >>> import numpy as np
        >>> as_count("max_length", np.int64(8))
        8
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or getattr(value, "ndim", None):
        _wrong(name, value, f"an int of at least {least}" if least >= 0 else "an int")
    try:
        number = value.__index__()
    except TypeError:
        _wrong(name, value, "an int")
    if not least <= number < _LARGEST:
        _wrong(name, value, f"an int of at least {least}" if number < least else "an int of at most 62 bits")
    return number


def as_ids(name: str, value: Any) -> Any:
    """Convert ids (an int, an array, a tensor, lists of these, or a mapping with "input_ids") to lists of int, or an int.

    Raises:
        InputError: If it holds anything else.

    Example:
        >>> import numpy as np
        >>> as_ids("ids", np.array([[1, 2], [3, 4]]))
        [[1, 2], [3, 4]]
    """
    if isinstance(value, Mapping):
        if "input_ids" not in value:
            _wrong(name, value, "token ids, or a mapping with 'input_ids'")
        value = value["input_ids"]
    if hasattr(value, "tolist"):
        value = value.tolist()
    if type(value) is int:
        return value
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        index = getattr(value, "__index__", None)
        if index is None or isinstance(value, bool):
            _wrong(name, value, "a token id, or a sequence, an array or a tensor of token ids")
        return index()
    ids = list(value)
    if all(type(id) is int for id in ids):
        return ids
    return [as_ids(name, id) for id in ids]


def as_sequence(name: str, value: Any) -> list[Any]:
    """As `as_ids`, for one sequence of ids: an empty list for None.

    Raises:
        InputError: If it is not a flat sequence of non-negative ids.
    """
    ids = [] if value is None else as_ids(name, value)
    if not isinstance(ids, list) or not all(type(id) is int and 0 <= id < 2**32 for id in ids):
        _wrong(name, value, "a flat list of token ids, which are non-negative ints")
    return ids


def as_tokens(name: str, value: Any) -> list[str | AddedToken]:
    """One token or several as a list.

    Raises:
        InputError: If it holds anything but str and AddedToken, or a token has a lone surrogate.
    """
    tokens = [value] if isinstance(value, str | AddedToken) else value
    if not isinstance(tokens, Iterable) or isinstance(tokens, bytes | Mapping) or getattr(tokens, "ndim", 1) != 1:
        _wrong(name, value, "a token, or a list of str or AddedToken")
    tokens = list(tokens)
    for token in tokens:
        if not isinstance(token, str | AddedToken):
            _wrong(name, value, "a list of tokens as str or AddedToken")
        if any("\ud800" <= character <= "\udfff" for character in str(token)):
            _wrong(name, value, "made of characters: it holds half of a surrogate pair")
    return tokens


def described(value: Any) -> str:
    """The type of a value with its beginning, for messages."""
    name = type(value).__name__
    if value is None:
        return "None"
    if name == "DataFrame":
        return "a DataFrame"
    try:
        short = repr(value)
    except Exception:
        return name
    return f"{name} ({short})" if len(short) <= 40 else f"{name} ({short[:37]}...)"


def _wrong(name: str, value: Any, expected: str) -> NoReturn:
    raise InputError(
        f"{name} is {described(value)}, and {expected} was expected.",
        next_step=f"Pass {name} as described in its method's documentation.",
    )
