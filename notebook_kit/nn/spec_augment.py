"""SpecAugment: in training, spans of time and bands of features are hidden at random.

Source: Park et al., SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition, 2019; spans as in
Baevski et al., wav2vec 2.0, 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from notebook_kit.errors import ConfigurationError

__all__ = ["augmentation_mask", "random_spans"]


def augmentation_mask(
    config, axis: str, size: tuple[int, int], lengths: Sequence[int] | None = None, device: torch.device | None = None
) -> Tensor | None:
    """What to hide along one axis, `(batch, positions)`, True where hidden; None if the config hides nothing.

    Args:
        config: Provides `mask_time_prob`, `mask_time_length` and `mask_time_min_masks`, or the same for features.
        axis: `"time"` or `"feature"`.
        size: `(batch, positions)`.
        lengths: Number of positions of each row that are not padding; all by default.
        device: The device of the mask.
    """
    probability = getattr(config, f"mask_{axis}_prob")
    if not probability:
        return None
    length, fewest = getattr(config, f"mask_{axis}_length"), getattr(config, f"mask_{axis}_min_masks")
    if not 1 <= length <= size[1]:
        raise ConfigurationError(
            f"mask_{axis}_length is {length}, and the input has {size[1]} positions along that axis.",
            next_step=f"Set model.config.mask_{axis}_length to at most {size[1]}, or mask_{axis}_prob to 0.",
        )
    return torch.from_numpy(random_spans(size, probability, length, lengths, fewest)).to(device)


def random_spans(
    size: tuple[int, int], probability: float, length: int, lengths: Sequence[int] | None = None, fewest: int = 0
) -> np.ndarray:
    """Random spans of `length` positions, which may overlap: `(batch, positions)`, True inside a span.

    The numbers are drawn from NumPy's global generator in the same order as in `transformers`, so that the same seed hides
    the same positions.

    Args:
        size: `(batch, positions)`.
        probability: Fraction of the positions that would be hidden if no spans overlapped.
        length: Positions in a span.
        lengths: Number of positions of each row that are not padding; all by default.
        fewest: Minimum number of spans.

    Example:
        >>> import numpy as np
        >>> np.random.seed(0)
        >>> random_spans((1, 12), probability=0.5, length=3).astype(int)
        array([[0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0]])
    """
    rows, positions = size
    rounding = np.random.rand(1).item()  # one number for the whole batch: expected counts are rounded at random

    def count(row_length: int) -> int:
        wanted = max(int(probability * row_length / length + rounding), fewest)
        if wanted * length > positions:
            wanted = positions // length
        return min(wanted, max(row_length - (length - 1), 0))

    hidden = np.zeros(size, dtype=bool)
    if not count(positions):
        return hidden
    for row, row_length in zip(hidden, [positions] * rows if lengths is None else lengths, strict=True):
        starts = np.random.choice(np.arange(row_length - (length - 1)), count(row_length), replace=False)
        if len(starts) == 0:
            row[-1] = True  # shorter than a span, so the last position is padding
        for start in starts:
            row[start : start + length] = True
    return hidden
