"""The facts about the attention in a view that its page needs, with descriptions of the axes."""

from __future__ import annotations

from typing import Any

import torch

from notebook_kit.inspection.attention.axes import Axis
from notebook_kit.inspection.attention.logit_lens import has_lens
from notebook_kit.inspection.attention.neurons import site_of
from notebook_kit.inspection.attention.reading import has_sites
from notebook_kit.inspection.attention.source import AttentionSources
from notebook_kit.inspection.drawing.pictures import jpeg_of
from notebook_kit.panels.attention_view.answers import Answers

__all__ = ["about", "for_page"]


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
    return facts | {
        "layers": list(reading.numbers),
        "heads": list(reading.heads),
        "tokens": for_page(rows),
        "to_tokens": None if reading.is_square else for_page(columns),
        "other_tokens": None if others is None or others[0] == rows.labels else list(others[0]),
        "other_to_tokens": None if others is None or others[1] == columns.labels else list(others[1]),
        "compares": others is not None,
        "compares_models": sources.compared is not None,
        "has_pair": reading.rows.has_pair and reading.columns.has_pair,
        "can_lens": source is not None and has_lens(source.model) and "input_ids" in reading.inputs,
        "can_vectors": source is not None and site_of(source.model, reading, reading.numbers[0]) is not None,
        "can_ablate": source is not None and has_sites(source.model),
        "has_rollout": reading.is_square and list(reading.numbers) == list(range(len(reading.numbers))),
        "half": reading.layers[0].dtype == torch.float16,
        "notices": [list(notice) for notice in reading.notices],
    }


def for_page(axis: Axis) -> dict[str, Any]:
    """An axis as JSON values for the page."""
    values: dict[str, Any] = {
        "kind": axis.kind,
        "labels": list(axis.labels),
        "special": [i for i, special in enumerate(axis.special) if special],
        "segments": list(axis.segments) if axis.has_pair else None,
        "words": list(axis.words),
        "word_labels": list(axis.word_labels),
    }
    if axis.boxes is not None:
        values["boxes"] = [None if box is None else list(box) for box in axis.boxes]
        values["picture"] = None if axis.picture is None else jpeg_of(axis.picture)
    return values
