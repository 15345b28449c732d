"""Parts of a transcription: segments between times, and tests of whether a transcript is good."""

from __future__ import annotations

import math
import zlib
from typing import Any

import torch
from torch import Tensor

__all__ = ["compression_ratio", "joined", "mean_logprob", "split_segments"]


def split_segments(
    tokens: Tensor, time_begin: int, offset: float, frames: int, stride: int, precision: float
) -> tuple[list[dict[str, Any]], int]:
    """The segments of a stretch, and how many frames further the next stretch begins.

    Args:
        tokens: `(tokens,)`, the transcript of the stretch, without the end token.
        time_begin: The first token that is a time.
        offset: Seconds before the stretch.
        frames: Frames of the spectrogram in the stretch.
        stride: Frames per step of time.
        precision: Seconds per step of time.

    Returns:
        Segments with `start` and `end` in seconds, `tokens`, and `span`: their first and last place in `tokens`. A pair of
        times ends a segment; what follows the last pair is left to the next stretch.
    """
    is_time = [token >= time_begin for token in tokens.tolist()]
    ends = [place + 1 for place in range(len(is_time) - 1) if is_time[place] and is_time[place + 1]]
    if not ends:
        times = [place for place, one in enumerate(is_time) if one]
        steps = frames // stride
        if times and int(tokens[times[-1]]) != time_begin:
            steps = int(tokens[times[-1]]) - time_begin
        return [_segment(tokens, (0, len(tokens)), offset, offset + steps * precision)], frames
    ends_with_single = is_time[-2:] == [False, True]
    if ends_with_single:
        ends.append(len(tokens))
    else:
        ends[-1] += 1  # the last segment keeps both times, as a sign that more may follow
    segments, begin = [], 0
    for place, end in enumerate(ends):
        last = end - 1 if ends_with_single or place < len(ends) - 1 else end - 2
        start, stop = (offset + (int(tokens[at]) - time_begin) * precision for at in (begin, last))
        segments.append(_segment(tokens, (begin, end), start, stop))
        begin = end
    if ends_with_single:  # nothing is said after that time
        return segments, frames
    step = (int(tokens[begin - 2]) - time_begin) * stride
    return segments, step if step > 0 else frames  # a stretch that ends where it begins would be read forever


def _segment(tokens: Tensor, span: tuple[int, int], start: float, end: float) -> dict[str, Any]:
    times = {"start": torch.tensor(start, dtype=torch.float64), "end": torch.tensor(end, dtype=torch.float64)}
    return {**times, "tokens": tokens[slice(*span)], "span": span}


def compression_ratio(tokens: Tensor, vocabulary: int) -> float:
    """How many times smaller zlib makes the tokens: a text that repeats itself has a high ratio."""
    width = int(math.log2(vocabulary) / 8) + 1
    packed = b"".join(token.to_bytes(width, "little") for token in tokens.tolist())
    return len(packed) / len(zlib.compress(packed))


def mean_logprob(scores: list[Tensor], tokens: Tensor, temperature: float) -> float:
    """The mean log-probability of tokens, the end token included.

    Args:
        scores: For each step `(vocabulary,)`, the scores from which the token was chosen.
        tokens: `(tokens,)`.
        temperature: The scores were divided by it; 0 for not at all.
    """
    steps = torch.stack(scores)[: len(tokens)]
    tokens = tokens[-len(steps) :].to(steps.device)
    logs = (steps * (temperature or 1.0)).float().log_softmax(dim=-1)
    return float(logs.gather(-1, tokens[:, None]).sum() / len(tokens))


def joined(parts: list[list[Tensor]], pad: float, side: str = "right", empty: Tensor | None = None) -> Tensor:
    """The parts of each row in a sequence, and these as rows of equal length.

    Args:
        parts: For each row its parts, `(tokens,)` each.
        pad: What fills up shorter rows; None repeats a row's last value.
        side: The side to fill up.
        empty: What a row without parts is.
    """
    empty = torch.zeros(0, dtype=torch.long) if empty is None else empty
    rows = [torch.cat(row) if row else empty for row in parts]
    width = max(len(row) for row in rows)
    filled = [torch.full((width - len(row),), pad, dtype=row.dtype, device=row.device) for row in rows]
    order = (lambda row, more: (row, more)) if side == "right" else (lambda row, more: (more, row))
    return torch.stack([torch.cat(order(row, more)) for row, more in zip(rows, filled, strict=True)])
