"""Padding of model inputs, and what `padding`, `truncation` and `max_length` mean together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from notebook_kit.errors import InputError, NotebookKitWarning, near_matches
from notebook_kit.processing.text.batch_encoding import BatchEncoding

if TYPE_CHECKING:
    import numpy as np

    from notebook_kit.processing.text.auto import PreTrainedTokenizerFast

__all__ = ["Lengths", "pad_features", "resolve_lengths"]

NO_LIMIT = 10**20  # model_max_length above this means that the checkpoint sets no limit

_PADDING = {True: "longest", False: None, None: None, "longest": "longest", "max_length": "max_length"} | {
    "do_not_pad": None
}
_TRUNCATION = {True: "longest_first", False: None, None: None, "do_not_truncate": None} | {
    name: name for name in ("longest_first", "only_first", "only_second")
}


class Lengths(NamedTuple):
    """How long sequences shall become: `padding` is None, "longest" or "max_length"; `truncation` None or a strategy."""

    padding: str | None
    truncation: str | None
    max_length: int | None


def resolve_lengths(
    tokenizer: PreTrainedTokenizerFast,
    padding: Any,
    truncation: Any,
    max_length: int | None,
    pad_to_multiple_of: int | None,
    verbose: bool = True,
) -> Lengths:
    """Check the three arguments against each other and against the tokenizer.

    `max_length` alone means truncation. Without it the model's own limit counts; where the checkpoint sets none,
    "max_length" does nothing.

    Raises:
        InputError: an unknown strategy, no padding token, or a max_length that is no multiple of pad_to_multiple_of.
    """
    if max_length is not None and padding is False and truncation is None:
        truncation = "longest_first"
    pad = _choice("padding", padding, _PADDING)
    cut = _choice("truncation", truncation, _TRUNCATION)
    if verbose and padding is True and max_length is not None and cut is None:
        warnings.warn(
            "max_length has no effect with padding=True and no truncation. Pass truncation=True to cut at max_length, "
            "or padding='max_length' to pad up to it.",
            NotebookKitWarning,
            stacklevel=3,
        )
    if max_length is None and (cut is not None or pad == "max_length"):
        if tokenizer.model_max_length > NO_LIMIT:
            cut, pad = None, None if pad == "max_length" else pad
        else:
            max_length = tokenizer.model_max_length
    if pad is not None and tokenizer.pad_token_id is None:
        raise InputError(
            "Padding was asked for, but this tokenizer has no padding token.",
            next_step="Set one that the model never sees as text, such as `tokenizer.pad_token = tokenizer.eos_token`, "
            "or add one: `tokenizer.add_special_tokens({'pad_token': '[PAD]'})`.",
        )
    if cut and pad and pad_to_multiple_of and max_length is not None and max_length % pad_to_multiple_of:
        raise InputError(
            f"max_length={max_length} is not a multiple of pad_to_multiple_of={pad_to_multiple_of}.",
            next_step=f"Use max_length={-(-max_length // pad_to_multiple_of) * pad_to_multiple_of}.",
        )
    return Lengths(pad, cut, max_length)


def _choice(name: str, value: Any, choices: Mapping[Any, str | None]) -> str | None:
    try:
        return choices[getattr(value, "value", value)]
    except (KeyError, TypeError):
        names = [choice for choice in choices if isinstance(choice, str)]
        raise InputError(
            f"{name}={value!r} is no strategy. {near_matches(str(value), names)}".rstrip(),
            next_step=f"Use True, False, or one of {', '.join(map(repr, names))}.",
        ) from None


def pad_features(
    tokenizer: PreTrainedTokenizerFast,
    features: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    lengths: Lengths,
    pad_to_multiple_of: int | None,
    padding_side: str,
    return_attention_mask: bool | None,
    return_tensors: str | None,
) -> BatchEncoding:
    """Pad what a tokenizer returned without padding; see `PreTrainedTokenizerFast.pad`."""
    columns = _columns(features)
    name = tokenizer.model_input_names[0]
    if name not in columns:
        raise InputError(
            f"There is nothing to pad: the inputs are {', '.join(map(repr, columns)) or 'empty'}, without {name!r}.",
            next_step="Pass what the tokenizer returned: a dictionary with input_ids, or a list of such dictionaries.",
        )
    masked = "attention_mask" in tokenizer.model_input_names if return_attention_mask is None else return_attention_mask
    if columns[name] is None or len(columns[name]) == 0:
        return BatchEncoding(columns | ({"attention_mask": []} if masked else {}))

    return_tensors = return_tensors or _kind_of_tensor(columns[name])
    columns = {key: _as_lists(value) for key, value in columns.items()}
    one = not isinstance(columns[name][0], list | tuple)
    if one:
        columns = {key: [value] for key, value in columns.items()}
    rows = columns[name]
    if masked and "attention_mask" not in columns:
        columns["attention_mask"] = [[1] * len(row) for row in rows]
    _check_same_batch(columns, name)

    width = max(map(len, rows)) if lengths.padding == "longest" else lengths.max_length
    if width is not None and pad_to_multiple_of:
        width = -(-width // pad_to_multiple_of) * pad_to_multiple_of
    if lengths.padding is not None and width is not None:
        values = {name: tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id, "special_tokens_mask": 1}
        if masked:
            values["attention_mask"] = 0
        fits = return_tensors is not None and not one and max(map(len, rows)) <= width
        for key, value in values.items():
            if key not in columns:
                continue
            if fits:
                columns[key] = _filled(columns[key], width, value, padding_side)
            elif padding_side == "right":
                columns[key] = [[*row, *[value] * (width - len(row))] for row in columns[key]]
            else:
                columns[key] = [[*[value] * (width - len(row)), *row] for row in columns[key]]
    if one:
        columns = {key: value[0] for key, value in columns.items()}
    return BatchEncoding(columns, tensor_type=return_tensors)


def _columns(features: Any) -> dict[str, Any]:
    """A dict of lists, from that or from a list of dicts."""
    if isinstance(features, Mapping):
        return dict(features)
    features = list(features)
    if not features:
        return {}
    if not isinstance(features[0], Mapping):
        raise InputError(
            f"`pad` was given a list of {type(features[0]).__name__}.",
            next_step="Pass a dictionary with input_ids, or a list of such dictionaries.",
        )
    columns = {}
    for key in features[0].keys():  # noqa: SIM118 - a BatchEncoding iterates as a mapping, other features may not
        try:
            columns[key] = [feature[key] for feature in features]
        except KeyError:
            missing = next(place for place, feature in enumerate(features) if key not in feature)
            raise InputError(
                f"Feature {missing} has no {key!r}, though feature 0 has: a batch needs the same inputs in each.",
                next_step="Tokenize all features with the same options, or drop the columns that only some have.",
            ) from None
    return columns


def _kind_of_tensor(value: Any) -> str | None:
    """What to give back when the caller does not say: tensors for tensors, lists for lists."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    if hasattr(value, "detach"):
        return "pt"
    return "np" if hasattr(value, "dtype") and hasattr(value, "shape") else None


def _as_lists(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple) and value and hasattr(value[0], "tolist"):
        return [item.tolist() for item in value]
    return value


def _check_same_batch(columns: Mapping[str, Any], name: str) -> None:
    for key, value in columns.items():
        if len(value) != len(columns[name]):
            raise InputError(
                f"{key!r} has {len(value)} entries, {name!r} has {len(columns[name])}.",
                next_step="Every input of a batch needs one entry per text.",
            )


def _filled(rows: Sequence[Sequence[int]], width: int, value: int | None, side: str) -> np.ndarray:
    """Rows of unequal lengths as one int64 array (len(rows), width): one pass over the ids instead of one per row."""
    import numpy as np

    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(lengths.sum()))
    array = np.full((len(rows), width), value, dtype=np.int64)
    positions = np.arange(width)
    if side == "right":
        array[positions < lengths[:, None]] = flat
    else:
        array[positions >= width - lengths[:, None]] = flat
    return array
