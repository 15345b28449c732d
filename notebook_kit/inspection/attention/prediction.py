"""A model's prediction with and without some of its heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import TokenAxis
from notebook_kit.inspection.attention.evaluation import evaluating
from notebook_kit.inspection.attention.objects import THRESHOLD, found, label_of
from notebook_kit.inspection.attention.reading import Reading
from notebook_kit.inspection.attention.running import has_sites, parts_of
from notebook_kit.nn.attention import ablate_heads

__all__ = ["predict", "predictions"]

TOP = 5
ROWS = 200


def predict(model: nn.Module, reading: Reading) -> dict[str, Tensor]:
    """Run the model on the reading's inputs; the outputs by name, float32, on the CPU, without the batch dimension.

    Raises:
        InputError: If the reading has no inputs.
    """
    if not reading.inputs:
        raise InputError(
            "There is no model behind this attention.",
            next_step="Create the view from a model and a text to switch heads off.",
        )
    with evaluating(model):
        outputs = model(**reading.inputs)
    return {
        name: value[0].float().cpu() for name, value in outputs.items() if isinstance(value, Tensor) and value.dim()
    }


def predictions(
    model: nn.Module,
    tokenizer: Any,
    reading: Reading,
    heads: Iterable[tuple[int, int]],
    *,
    before: dict[str, Tensor] | None = None,
) -> dict[str, Any]:
    """The model's prediction with all heads, and with some heads switched off.

    Args:
        model: A model of notebook_kit.
        tokenizer: Its tokenizer, to name the tokens that a masked-language model proposes.
        reading: A reading of this model.
        heads: Pairs `(layer, head)` to switch off; layers by their number.
        before: The outputs with all heads, if already computed.

    Returns:
        `kind`: "classes", "words", "likelihood", "tokens", "answers", "objects", "areas", "similarity" or "states". `rows`: for each row a
        `name`, the numbers `before` and `after` and, for "tokens" and "objects", the labels before (`said`) and after
        (`says`). `moved`: the largest change.

    Raises:
        InputError: If heads of this model cannot be switched off.
    """
    if not has_sites(model):
        raise InputError(
            f"Heads of {type(model).__name__} cannot be switched off: it is not a model of notebook_kit.",
            next_step="Load the checkpoint with notebook_kit's AutoModel classes.",
        )
    before = predict(model, reading) if before is None else before
    part = parts_of(model).get(reading.part)
    with ablate_heads(model, heads, kind=reading.kind, rows=part[0].rows if part else None):
        after = predict(model, reading)
    kind, rows = _described(model, tokenizer, reading, before, after)
    moved = max((abs(row["after"] - row["before"]) for row in rows), default=0.0)
    return {"kind": kind, "rows": rows, "moved": moved}


def _described(model, tokenizer, reading: Reading, before, after) -> tuple[str, list[dict[str, Any]]]:
    config = getattr(model, "config", None)
    if "start_logits" in before and isinstance(reading.rows, TokenAxis):
        return "answers", _answers(reading.rows, before, after)
    queries = "logits" if "pred_boxes" in before else "class_queries_logits"
    if queries in before and before[queries].dim() == 2:
        return "objects", _objects(config, before[queries], after[queries])
    if {"text_embeds", "image_embeds"} <= before.keys():
        cosines = [F.cosine_similarity(one["text_embeds"], one["image_embeds"], dim=0) for one in (before, after)]
        return "similarity", [_row("", *cosines)]
    logits, changed = before.get("logits"), after.get("logits")
    if logits is not None and changed is not None and logits.dim() == 3:
        return "areas", _areas(config, logits, changed)
    if logits is None or changed is None:
        return "states", _states(reading, before, after)
    if logits.dim() == 1:
        return "classes", _classes(config, logits, changed)
    sizes = (getattr(one, "vocab_size", None) for one in (config, getattr(config, "decoder", None)))
    is_vocabulary = logits.shape[-1] in (size for size in sizes if size is not None)
    if is_vocabulary and reading.rows.ids and logits.shape[-1] != getattr(config, "num_labels", None):
        return _words(tokenizer, reading, logits, changed)
    if logits.dim() == 2 and len(logits) == len(reading.rows):
        names = _letter if is_vocabulary and tokenizer is not None else label_of
        return "tokens", _token_labels(names, tokenizer if names is _letter else config, reading, logits, changed)
    return "states", _states(reading, before, after)


def _classes(config: Any, logits: Tensor, changed: Tensor) -> list[dict[str, Any]]:
    if logits.shape[-1] == 1 or getattr(config, "problem_type", None) == "regression":
        pair = logits, changed
    elif getattr(config, "problem_type", None) == "multi_label_classification":
        pair = logits.sigmoid(), changed.sigmoid()
    else:
        pair = logits.softmax(-1), changed.softmax(-1)
    rows = [_row(label_of(config, i), a, b) for i, (a, b) in enumerate(zip(*pair, strict=True))]
    return sorted(rows, key=lambda row: -row["before"])[:ROWS]


def _objects(config: Any, logits: Tensor, changed: Tensor) -> list[dict[str, Any]]:
    """The queries that find something before or after; the number is the probability of what they found before, if anything."""
    (first, said), (second, says) = found(logits), found(changed)
    rows = []
    for i in ((first >= THRESHOLD) | (second >= THRESHOLD)).nonzero()[:, 0].tolist():
        names = [
            label_of(config, int(label)) if score >= THRESHOLD else "–"
            for score, label in ((first[i], said[i]), (second[i], says[i]))
        ]
        label = int(said[i] if first[i] >= THRESHOLD else says[i])
        both = [one.softmax(-1)[i, label] for one in (logits, changed)]
        rows.append({**_row(f"query {i}", *both, place=i), "said": names[0], "says": names[1]})
    return sorted(rows, key=lambda row: -row["before"])[:ROWS]


def _areas(config: Any, logits: Tensor, changed: Tensor) -> list[dict[str, Any]]:
    """The part of the picture that each label of a segmentation covers, from logits `(labels, height, width)`."""
    parts = [torch.bincount(one.argmax(0).flatten(), minlength=len(one)) / one[0].numel() for one in (logits, changed)]
    present = ((parts[0] > 0) | (parts[1] > 0)).nonzero()[:, 0].tolist()
    rows = [_row(label_of(config, i), parts[0][i], parts[1][i]) for i in present]
    return sorted(rows, key=lambda row: -row["before"])[:ROWS]


def _words(tokenizer: Any, reading: Reading, logits: Tensor, changed: Tensor) -> tuple[str, list[dict[str, Any]]]:
    before, after = logits.softmax(-1), changed.softmax(-1)
    ids = reading.rows.ids or ()
    mask = getattr(tokenizer, "mask_token_id", None)
    masked = [i for i, token in enumerate(ids) if mask is not None and token == mask]
    if not masked:
        own = torch.tensor(ids)
        place = torch.arange(len(ids))
        rows = [
            _row(label, before[i, own[i]], after[i, own[i]])
            for i, label in enumerate(reading.rows.labels)
            if not reading.rows.special[i]
        ]
        whole = _row("", before[place, own].log().mean().exp(), after[place, own].log().mean().exp())
        return "likelihood", [whole, *rows][:ROWS]
    rows = []
    for place_ in masked:
        first = before[place_].topk(min(TOP, before.shape[-1])).indices.tolist()
        second = after[place_].topk(min(TOP, after.shape[-1])).indices.tolist()
        for token in dict.fromkeys([*first, *second]):
            rows.append(_row(_name(tokenizer, token), before[place_, token], after[place_, token], place=place_))
    return "words", rows


def _name(tokenizer: Any, token: int) -> str:
    for method in ("convert_ids_to_tokens", "id_to_token"):
        if hasattr(tokenizer, method):
            return str(getattr(tokenizer, method)(token))
    return str(token)


def _letter(tokenizer: Any, number: int) -> str:
    """A letter of a CTC model; "–" for the blank."""
    return "–" if number == getattr(tokenizer, "pad_token_id", None) else _name(tokenizer, number)


def _token_labels(
    name: Callable[[Any, int], str], names: Any, reading: Reading, logits: Tensor, changed: Tensor
) -> list[dict[str, Any]]:
    before, after = logits.softmax(-1), changed.softmax(-1)
    rows = []
    for i, label in enumerate(reading.rows.labels):
        if reading.rows.special[i]:
            continue
        first, second = int(before[i].argmax()), int(after[i].argmax())
        row = _row(label, before[i, first], after[i, first], place=i)
        rows.append({**row, "said": name(names, first), "says": name(names, second)})
    return rows[:ROWS]


def _answers(tokens: TokenAxis, before: dict[str, Tensor], after: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The likeliest spans before and after, of at most 15 tokens; their score is P(start) P(end)."""
    part = 1 if tokens.has_pair else 0
    allowed = torch.tensor([segment == part for segment in tokens.segments])
    scores = []
    for outputs in (before, after):
        start, end = (
            outputs[name].masked_fill(~allowed, float("-inf")).softmax(-1) for name in ("start_logits", "end_logits")
        )
        scores.append((start[:, None] * end[None]).triu().tril(14))
    T = len(tokens)
    best: dict[int, None] = {}
    for score in scores:
        best |= dict.fromkeys(score.flatten().topk(min(3, T * T)).indices.tolist())
    rows = []
    for flat in best:
        start_, end_ = divmod(flat, T)
        words = dict.fromkeys(tokens.words[start_ : end_ + 1])
        name = " ".join(tokens.word_labels[word] for word in words)
        rows.append(_row(name, scores[0][start_, end_], scores[1][start_, end_], place=start_))
    return rows


def _states(reading: Reading, before: dict[str, Tensor], after: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The cosine of each state with its former value: for the mean over tokens, and for the tokens that changed most."""
    name = (
        "last_hidden_state"
        if "last_hidden_state" in before
        else next((n for n, v in before.items() if v.dim() == 2), "")
    )
    if not name:
        raise InputError("This model has no output that could be compared.", next_step="Use a model with a task head.")
    first, second = before[name], after[name]
    rows = [_row("", 1.0, F.cosine_similarity(first.mean(0), second.mean(0), dim=0))]
    if first.shape[0] == len(reading.rows):
        each = F.cosine_similarity(first, second, dim=-1)
        for i in each.argsort()[:TOP].tolist():
            rows.append(_row(reading.rows.labels[i], 1.0, each[i], place=i))
    return rows


def _row(name: Any, before: Any, after: Any, **more: Any) -> dict[str, Any]:
    return {"name": str(name), "before": float(before), "after": float(after), **more}
