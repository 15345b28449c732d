"""The facts about the attention in a view that its page needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from notebook_kit.inspection.attention.axes import PatchGrid
from notebook_kit.inspection.attention.logit_lens import has_lens
from notebook_kit.inspection.attention.neurons import site_of
from notebook_kit.inspection.attention.reading import Reading
from notebook_kit.inspection.attention.running import has_sites, parts_of
from notebook_kit.inspection.attention.similarity import SIMILARITY, compares
from notebook_kit.inspection.attention.source import AttentionSource, AttentionSources
from notebook_kit.panels.attention_view.answers import Answers
from notebook_kit.panels.attention_view.axes import for_page, picture_for_page

__all__ = ["about", "summary"]


def about(version: int, sources: AttentionSources, answers: Answers) -> dict[str, Any]:
    """The facts about a source and its readings that the page needs."""
    source = sources.source
    reading = None if answers.is_empty else answers.reading
    facts: dict[str, Any] = {
        "version": version,
        "name": "" if source is None else source.name,
        "reads_text": source is not None and source.reads_text,
        "ready": reading is not None,
    }
    if reading is None:
        return facts
    rows, columns = answers.axes
    others = answers.other_labels
    other = None if answers.other is None else answers.other.columns
    has_other_picture = other is not None and other.picture is not None and other.picture is not columns.picture
    tokens, to_tokens = for_page(rows), None if reading.is_square else for_page(columns)
    if to_tokens is not None and rows.picture is columns.picture:
        tokens.pop("picture", None)  # sent once
    return facts | {
        "layers": list(reading.numbers),
        "heads": list(reading.heads),
        "tokens": tokens,
        "to_tokens": to_tokens,
        "other_tokens": None if others is None or others[0] == rows.labels else list(others[0]),
        "other_to_tokens": None if others is None or others[1] == columns.labels else list(others[1]),
        "other_picture": picture_for_page(other) if other is not None and has_other_picture else None,
        "parts": _parts(source),
        "part": reading.part,
        "has_maps": isinstance(columns, PatchGrid) and reading.kind != SIMILARITY,
        "has_windows": reading.has_windows,
        "is_pooled": answers.can_be_whole,
        "compares": others is not None,
        "compares_models": sources.compared is not None,
        "has_pair": reading.rows.has_pair and reading.columns.has_pair,
        "can_lens": source is not None and has_lens(source.model) and "input_ids" in reading.inputs,
        "can_vectors": source is not None and site_of(source.model, reading, reading.numbers[0]) is not None,
        "can_ablate": source is not None and has_sites(source.model) and reading.kind != SIMILARITY,
        "similarity": reading.layers[0][0, :, 0].tolist()
        if reading.kind == SIMILARITY
        else None,  # the whole, then each word
        "has_rollout": reading.is_square and list(reading.numbers) == list(range(len(reading.numbers))),
        "half": reading.layers[0].dtype == torch.float16,
        "notices": [list(notice) for notice in reading.notices],
    }


def _parts(source: AttentionSource | None) -> list[dict[str, Any]]:
    """The parts of the model that its input describes, see `parts_of`; none if there is only one."""
    if source is None or source.model is None or not has_sites(source.model):
        return []
    known = {"text", "decoder text"} if source.sample is None else {*source.sample.axes}
    known |= {"decoder text"} if "text" in known else set()
    parts = [
        {
            "name": name,
            "kind": sites[0].kind,
            "rows": sites[0].rows,
            "columns": sites[0].columns,
            "layers": [sites[0].layer, sites[-1].layer],
        }
        for name, sites in parts_of(source.model).items()
        if {sites[0].rows, sites[0].columns} <= known
    ]
    if compares(source.model, source.sample):
        between = {"name": SIMILARITY, "kind": SIMILARITY, "rows": "text", "columns": "patches", "layers": [0, 0]}
        parts = [between, *parts]
    return parts if len(parts) > 1 else []


def summary(reading: Reading, layer: int, heads: Sequence[int]) -> str:
    """What a view shows, in a line."""
    if reading.kind == SIMILARITY:
        words, patches = len(reading.rows) - 1, len(reading.columns) - 1
        return f"similarity {float(reading.layers[0][0, 0, 0]):.3f} of {words} words and {patches} patches"
    positions = "tokens" if reading.rows.kind == "text" else reading.rows.kind
    sizes = f"{len(reading.layers)} layers, {sum(reading.heads)} heads, {len(reading.rows)} {positions}"
    return f"{sizes}: layer {layer}, head {', '.join(map(str, heads))}"
