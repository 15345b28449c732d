"""A vision transformer small enough to be written by hand: what each of its heads attends to is known."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.inspection.attention.samples import Sample
from notebook_kit.nn.attention import AttentionSite, attend

PATCH = 16
ROWS, COLUMNS = 4, 6
COLOUR, HERE, CLASS, LEFT = range(4)
"""The heads: patches of the same colour, the patch itself, the class token, the patch to the left."""


def picture() -> Image.Image:
    """An orange sun in a blue sky over a green meadow, wider than high."""
    image = Image.new("RGB", (480, 320), (90, 160, 225))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 240, 480, 320), fill=(60, 150, 60))
    draw.ellipse((245, 85, 395, 235), fill=(250, 150, 40))
    return image


def process(image: Image.Image) -> dict[str, Tensor]:
    """What an image processor returns."""
    small = image.resize((COLUMNS * PATCH, ROWS * PATCH))
    pixels = torch.tensor(list(small.get_flattened_data() if hasattr(small, "get_flattened_data") else small.getdata()))
    return {"pixel_values": pixels.float().view(1, *small.size[::-1], 3).permute(0, 3, 1, 2) / 127.5 - 1}


class PatchModel(nn.Module):
    """Two layers of attention with four heads each over a class token and 4 x 6 patches.

    Args:
        register: Whether a register token follows the class token.
    """

    def __init__(self, register: bool = False) -> None:
        super().__init__()
        self.config = SimpleNamespace(patch_size=PATCH, num_labels=3, id2label={0: "sky", 1: "sun", 2: "meadow"})
        self.extra = 2 if register else 1
        self.sites = [AttentionSite(layer, 4, rows="patches") for layer in range(2)]
        self.classifier = nn.Linear(3, 3)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.tensor([[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]]))
            self.classifier.bias.zero_()

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        B = pixel_values.shape[0]
        colours = F.avg_pool2d(pixel_values, PATCH).flatten(2).transpose(1, 2)  # (B, patches, 3)
        x = torch.cat([colours.new_zeros(B, self.extra, 3), colours], dim=1)
        N = x.shape[1]
        for site in self.sites:
            scores = self._scores(x)  # (B, heads, N, N)
            place = torch.eye(N).expand(B, 4, N, N)
            context = attend(scores, place, x[:, None].expand(B, 4, N, 3), site=site, scale=1.0)
            x = x + 0.25 * context.mean(1)
        return {"logits": self.classifier(x[:, 0])}

    def _scores(self, x: Tensor) -> Tensor:
        N = x.shape[1]
        places = torch.arange(N)
        left = (places[:, None] - 1 == places[None]) & ((places[:, None] - self.extra) % COLUMNS != 0)
        heads = [
            -12 * torch.cdist(x, x),
            20 * torch.eye(N).expand(len(x), N, N),
            20 * (places == 0).float().expand(len(x), N, N),
            20 * (left & (places[:, None] >= self.extra)).float().expand(len(x), N, N),
        ]
        return torch.stack(heads, dim=1)


def sample(image: Image.Image | None = None) -> Sample:
    """The picture as the model reads it."""
    image = image or picture()
    return Sample.of_picture(process(image), image, patch_size=PATCH)
