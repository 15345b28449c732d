"""Images as sequences of patches: checks of pixels, embeddings of patches, and positions for images of another size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.errors import ConfigurationError, InputError, a_kind

__all__ = [
    "Grid",
    "PatchConvolution",
    "PatchEmbeddings",
    "Patches",
    "as_map",
    "as_sequence",
    "check_pixels",
    "check_sides",
    "mask_patches",
    "resize_positions",
    "sides",
]

Grid = tuple[int, int]
"""Rows and columns of positions."""


def as_map(x: Tensor, grid: Grid) -> Tensor:
    """`(batch, positions, width)` to `(batch, width, rows, columns)`."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *grid)


def as_sequence(x: Tensor) -> Tensor:
    """`(batch, width, rows, columns)` to `(batch, positions, width)`, row by row."""
    return x.flatten(2).transpose(1, 2)


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width: a configuration gives one number for a square, or both.

    Example:
        >>> sides(224), sides([480, 640])
        ((224, 224), (480, 640))
    """
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def check_sides(config: Any) -> None:
    """Check the fields `image_size` and `patch_size` of a configuration.

    Raises:
        ConfigurationError: If one is neither a positive number nor two of them, or no patch fits into an image.
    """
    for name in ("image_size", "patch_size"):
        size = getattr(config, name)
        if not isinstance(size, int) and (len(size) != 2 or not all(1 <= side <= 1_000_000 for side in size)):
            raise ConfigurationError(
                f"{type(config).__name__}: {name} is {size}; expected a number of pixels, or [height, width].",
                next_step="Pass one number for a square.",
            )
    image, patch = sides(config.image_size), sides(config.patch_size)
    if any(side < part for side, part in zip(image, patch, strict=True)):
        raise ConfigurationError(
            f"{type(config).__name__}: a patch of {config.patch_size} pixels does not fit into an image of {config.image_size}.",
            next_step="Choose a smaller patch_size or a larger image_size.",
        )


def check_pixels(pixel_values: Any, channels: int) -> tuple[int, int, int]:
    """`(batch, height, width)` of a batch of images.

    Args:
        pixel_values: `(batch, channels, height, width)`, from the checkpoint's image processor.
        channels: The number of channels that the model reads.

    Raises:
        InputError: If it is not a tensor of that shape.
    """
    step = "Call the checkpoint's image processor: model(**processor(images, return_tensors='pt'))."
    if not isinstance(pixel_values, Tensor):
        kind = "missing" if pixel_values is None else a_kind(pixel_values)
        raise InputError(f"pixel_values is {kind}; expected a tensor.", next_step=step)
    shape = tuple(pixel_values.shape)
    if pixel_values.dim() != 4:
        raise InputError(
            f"pixel_values has shape {shape}; expected (batch, channels, height, width).",
            next_step="Add the batch dimension of a single image with unsqueeze(0)." if len(shape) == 3 else step,
        )
    B, C, H, W = shape
    if channels != C:
        is_last = channels == W
        raise InputError(
            f"pixel_values has {C} channels (its shape is {shape}), and this model reads {channels}.",
            next_step="Move the channels to the second place: pixel_values.permute(0, 3, 1, 2)."
            if is_last
            else "Convert the images, as in image.convert('RGB').",
        )
    return B, H, W


class Patches:
    """The sizes of the patches of an image, and checks of images against them; a base of the modules that embed patches.

    Attributes:
        channels: The number of channels of an image.
        patch: Height and width of a patch.
        image: Height and width of an image for which there are positions.
        grid: Rows and columns of patches of such an image.
    """

    def set_sizes(self, config: Any) -> None:
        """Read the sizes from a configuration with `num_channels`, `patch_size` and `image_size`."""
        self.channels, self.patch, self.image = config.num_channels, sides(config.patch_size), sides(config.image_size)
        self.grid = self.grid_of(*self.image)

    @property
    def num_patches(self) -> int:
        """The number of patches of an image of `image_size`."""
        return self.grid[0] * self.grid[1]

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of an image of this size."""
        return height // self.patch[0], width // self.patch[1]

    def check_pixels(self, pixel_values: Any) -> None:
        """Raise an InputError if this is not a batch of images with at least one patch."""
        _, H, W = check_pixels(pixel_values, self.channels)
        if 0 in self.grid_of(H, W):
            raise InputError(
                f"An image of {H} x {W} pixels is smaller than a patch of {self.patch[0]} x {self.patch[1]}.",
                next_step="Resize the image; the checkpoint's image processor does.",
            )

    def check_image_size(self, pixel_values: Tensor) -> None:
        """Raise an InputError if images are not of `image_size`, for which the model has positions."""
        size = tuple(pixel_values.shape[-2:])
        if size != self.image:
            raise InputError(
                f"The images have {size[0]} x {size[1]} pixels, and this model has positions for {self.image[0]} x {self.image[1]}.",
                next_step="Resize them (the checkpoint's image processor does), or pass interpolate_pos_encoding=True.",
            )


class PatchEmbeddings(Patches, nn.Module):
    """One vector per patch, row by row: `(batch, channels, height, width)` to `(batch, patches, width of the model)`.

    Pixels on the right and at the bottom that do not fill a patch are ignored.

    Args:
        config: Provides `num_channels`, `patch_size`, `image_size` and `hidden_size`.
    """

    def __init__(self, config) -> None:
        super().__init__()
        self.set_sizes(config)
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, self.patch, stride=self.patch)

    def forward(self, pixel_values: Tensor) -> Tensor:
        self.check_pixels(pixel_values)
        return as_sequence(self.projection(pixel_values.to(self.projection.weight.dtype)))


class PatchConvolution(Patches, nn.Conv2d):
    """As `PatchEmbeddings`, for checkpoints in which the convolution has the name of the whole module.

    Args:
        config: Provides `num_channels`, `patch_size`, `image_size` and `hidden_size`.
        bias: Whether the convolution has a bias.
    """

    def __init__(self, config, bias: bool = True) -> None:
        patch = sides(config.patch_size)
        super().__init__(config.num_channels, config.hidden_size, patch, stride=patch, bias=bias)
        self.set_sizes(config)

    def forward(self, pixel_values: Tensor) -> Tensor:
        self.check_pixels(pixel_values)
        return as_sequence(super().forward(pixel_values.to(self.weight.dtype)))

    def resized(self, positions: Tensor, pixel_values: Tensor, interpolate: bool) -> Tensor:
        """Position embeddings for images of this size.

        Args:
            positions: `(extra + patches, width)`, those of tokens before the patches first.
            pixel_values: `(batch, channels, height, width)`.
            interpolate: Whether to interpolate them for images of another size than `image_size`.

        Returns:
            `(1, extra + patches, width)`.

        Raises:
            InputError: If the images have another size, and `interpolate` is False.
        """
        if not interpolate:
            self.check_image_size(pixel_values)
            return positions[None]
        extra = len(positions) - self.num_patches
        return resize_positions(positions[None], self.grid, self.grid_of(*pixel_values.shape[-2:]), extra)


def mask_patches(patches: Tensor, mask: Tensor | None, token: Tensor | None) -> Tensor:
    """Replace masked patches by the mask token.

    Args:
        patches: `(batch, patches, width)`.
        mask: `(batch, patches)`, 1 for a masked patch; None to leave all as they are.
        token: `(1, 1, width)`, or `(1, width)`; None if the model has none.

    Raises:
        InputError: If the mask does not fit, or the model has no mask token.
    """
    if mask is None:
        return patches
    if token is None:
        raise InputError(
            "bool_masked_pos masks patches, and this model has no mask token.",
            next_step="Load the checkpoint with AutoModelForMaskedImageModeling, or pass use_mask_token=True.",
        )
    if mask.shape != patches.shape[:2]:
        raise InputError(
            f"bool_masked_pos has shape {tuple(mask.shape)}; expected {tuple(patches.shape[:2])}, one value per patch.",
            next_step="Pass one row per image, with its patches row by row.",
        )
    return patches.where(mask[..., None] == 0, token.to(patches.dtype))


def resize_positions(positions: Tensor, grid: Grid, new: Grid, extra: int = 1, antialias: bool = False) -> Tensor:
    """Position embeddings for an image of another size, bicubically interpolated.

    Args:
        positions: `(tables, extra + rows * columns, width)`.
        grid: Rows and columns of the patches that they were trained for.
        new: Rows and columns of the patches of the image.
        extra: Number of tokens before the patches, whose positions stay as they are.
        antialias: Average over what fewer patches than before skip.

    Returns:
        `(tables, extra + new rows * new columns, width)`.
    """
    if grid == new:
        return positions
    tables, _, C = positions.shape
    of_patches = positions[:, extra:].reshape(tables, *grid, C).permute(0, 3, 1, 2)  # (tables, C, rows, columns)
    resized = F.interpolate(of_patches.float(), size=new, mode="bicubic", align_corners=False, antialias=antialias)
    resized = resized.to(positions.dtype).permute(0, 2, 3, 1).reshape(tables, -1, C)
    return torch.cat([positions[:, :extra], resized], dim=1)
