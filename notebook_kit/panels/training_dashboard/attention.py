"""The recorded attention on the probes of a run."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np

from notebook_kit.errors import InputError
from notebook_kit.training.recording.record import RunRecord

__all__ = ["attention_at", "attention_questions"]

FILE_BYTES = 4 * 2**20  # of attention in a file of `to_html`


def attention_at(record: RunRecord, step: int, example: int) -> np.ndarray:
    """The attention on a probe at a step: `(tokens, tokens)`, uint8.

    Raises:
        InputError: It was not recorded.
    """
    for event in reversed(record.events):
        if event["kind"] == "probe" and event["step"] == step and 0 <= example < len(event.get("rows", ())):
            row = event["rows"][example]
            if "attention" in row:
                size = int(row["size"])
                return np.frombuffer(base64.b64decode(row["attention"]), np.uint8).reshape(size, size)
    raise InputError(
        f"No attention on probe {example} was recorded at step {step}.",
        next_step="Create the dashboard with probes=[...] and probe_attention=(layer, head).",
    )


def attention_questions(record: RunRecord) -> Iterator[tuple[str, dict[str, Any]]]:
    """The attention that a page on disk can show, thinned evenly over the run if all of it exceeds `FILE_BYTES`."""
    questions = [
        (len(row["attention"]), {"step": event["step"], "example": number})
        for event in record.events
        if event["kind"] == "probe"
        for number, row in enumerate(event.get("rows", ()))
        if "attention" in row
    ]
    every = -(-sum(size for size, _ in questions) // FILE_BYTES) or 1
    for _, values in questions[::every]:
        yield "probe_attention", values
