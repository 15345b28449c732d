"""How attention crosses to the page: bytes and thumbnails."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from notebook_kit.panels.attention_view.transport import pooled, quantised


@pytest.mark.parametrize("side", [1, 5, 32, 33, 40, 64, 100, 512])
def test_thumbnails_hold_the_strongest_weight_of_each_field(side):
    weights = torch.rand(2, side, side) - (0.5 if side == 40 else 0)
    small = pooled(weights)
    assert max(small.shape[1:]) <= 32 and small.shape[0] == 2
    field = -(-side // 32)
    for i in range(small.shape[1]):
        for j in (0, small.shape[2] - 1):
            block = weights[1, i * field : (i + 1) * field, j * field : (j + 1) * field].flatten()
            assert small[1, i, j] == block[block.abs().argmax()]


def test_bytes_are_within_half_a_step():
    weights = torch.rand(20, 20) * 0.3
    data, scale, signed = quantised(weights)
    assert not signed and data.dtype == np.uint8
    assert np.abs(data / 255 * scale - weights.numpy()).max() <= scale / 510 + 1e-6
    data, scale, signed = quantised(weights - 0.1)
    assert (
        signed and np.abs((data.astype(int) - 128) / 127 * scale - (weights.numpy() - 0.1)).max() <= scale / 254 + 1e-6
    )
    assert quantised(torch.zeros(2, 2))[0].tolist() == [[0, 0], [0, 0]]
