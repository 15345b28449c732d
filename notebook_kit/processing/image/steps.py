"""The steps from images to pixel values: convert, resize, crop, then rescale and normalize, and pad.

Up to the crop an image is an array (height, width, channels) of uint8 wherever possible; rescaling and normalizing are one
multiplication and one addition, which write into the batch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from notebook_kit.errors import InputError, warn
from notebook_kit.processing.image.loading import channels_last, described, to_array, to_pil, to_rgb
from notebook_kit.processing.naming import is_array

__all__ = ["Affine", "center_crop", "in_threads", "masks_of_pixels", "prepared", "surrounded", "to_batch"]

Input = TypeVar("Input")
Result = TypeVar("Result")
_ALPHA = {"LA": "L", "La": "L", "RGBA": "RGB", "RGBa": "RGB", "PA": "RGB"}


def in_threads(function: Callable[[Input], Result], items: Sequence[Input]) -> list[Result]:
    """The function's result for each item, computed by as many threads as torch is set to use.

    Pillow and NumPy work without Python's lock, so that threads pay. In a worker of a DataLoader torch is set to one.
    """
    torch = sys.modules.get("torch")
    threads = (
        torch.get_num_threads() if torch is not None else len(os.sched_getaffinity(0)) if _LINUX else os.cpu_count()
    )
    threads = min(threads or 1, len(items))
    if threads < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        return list(pool.map(function, items))


_LINUX = hasattr(os, "sched_getaffinity")


def prepared(
    image: Any,
    *,
    channels: int | None = None,
    size: Callable[[int, int], tuple[int, int]] | None = None,
    crops: Sequence[tuple[int, int]] = (),
    resample: Image.Resampling = Image.Resampling.BILINEAR,
    layout: str | None = None,
    will_rescale: bool = False,
) -> np.ndarray:
    """Convert, resize and crop one image.

    Args:
        image: A PIL image, an array or a tensor.
        channels: 3 converts to RGB, laid over white where it is transparent; 1 converts to grey; None keeps the channels.
        size: From (height, width) to the size that the image is resized to; None does not resize.
        crops: The (height, width) of the pieces that are cut out of the middle, one after the other.
        resample: The filter to resize with.
        layout: "channels_first" or "channels_last" of arrays; None finds out.
        will_rescale: Whether the values will be rescaled, which is a mistake if they are floats in 0..1 already.

    Returns:
        The array (height, width, channels): uint8, or float32 for arrays of floats.
    """
    in_unit_range = False
    if is_array(image):
        name = described(image)
        array = channels_last(to_array(image), layout, name)
        if array.dtype.kind == "f":
            in_unit_range = bool(array.min() >= 0 and array.max() <= 1)
            if in_unit_range and will_rescale:
                warn(
                    f"The values of {name} are in 0..1 and will be rescaled once more; pass do_rescale=False to prevent it."
                )
            if size is None:
                return _cropped(_float_channels(array.astype(np.float32), channels, name), crops)
        image = to_pil(array, name)
    image = _converted(image, channels)
    if size is not None:
        height, width = size(image.height, image.width)
        image = image.resize((width, height), resample)
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if in_unit_range:
        array = array.astype(np.float32) / np.float32(255)
    return _cropped(array, crops)


def _cropped(array: np.ndarray, crops: Sequence[tuple[int, int]]) -> np.ndarray:
    for height, width in crops:
        array = center_crop(array, height, width)
    return array


def _converted(image: Image.Image, channels: int | None) -> Image.Image:
    """The image in mode L, RGB or RGBA."""
    if channels is None:
        if image.mode in ("L", "RGB", "RGBA"):
            return image
        grey = image.mode == "1" or image.mode.startswith(("I", "F", "L"))
        return to_rgb(image, "white").convert("L") if grey else to_rgb(image, "white")
    if channels == 1:
        return image if image.mode == "L" else to_rgb(image, "white").convert("L")
    if channels == 4:
        return image.convert("RGBA")
    return to_rgb(image, "white")


def _float_channels(array: np.ndarray, channels: int | None, name: str) -> np.ndarray:
    """An array of floats with as many channels as requested."""
    present = array.shape[-1]
    if channels in (None, present):
        return array
    if channels == 3 and present == 1:
        return np.repeat(array, 3, axis=-1)
    if channels == 3 and present == 4 and array.min() >= 0 and array.max() <= 1:
        alpha = array[..., 3:]
        return alpha * array[..., :3] + (1 - alpha)
    raise InputError(
        f"{name[:1].upper() + name[1:]} has {present} channels; expected {channels}.",
        next_step="Convert it before, or pass do_convert_rgb=False to keep its channels.",
    )


def center_crop(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of an array (height, width, channels), with zeros around it where the array is smaller.

    Example:
        >>> center_crop(np.arange(12).reshape(3, 4, 1), 1, 2)[..., 0]
        array([[5, 6]])
    """
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    if top >= 0 and left >= 0:
        return array[top : top + height, left : left + width]
    crop = np.zeros((height, width, array.shape[2]), array.dtype)
    inside = array[max(top, 0) : top + height, max(left, 0) : left + width]
    # an odd margin is split as `transformers` does, which pads before it cuts
    y, x = max(-top, 0), max(-left, 0)
    crop[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return crop


def surrounded(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """An array (height, width, channels) in the middle of zeros; an odd row or column more is below or on the right.

    Raises:
        InputError: If the array is larger than that.

    Example:
        >>> surrounded(np.ones((1, 2, 1)), 2, 4)[..., 0]
        array([[0., 1., 1., 0.],
               [0., 0., 0., 0.]])
    """
    H, W, C = array.shape
    if height < H or width < W:
        raise InputError(
            f"An image of {H} x {W} pixels (height x width) cannot be padded to {height} x {width}.",
            next_step="Choose a larger size, or let the image be resized to fit: do_resize=True and do_thumbnail=True.",
        )
    top, left = (height - H) // 2, (width - W) // 2
    page = np.zeros((height, width, C), array.dtype)
    page[top : top + H, left : left + W] = array
    return page


class Affine:
    """Rescaling by a factor and normalizing by mean and deviation, as one multiplication and one addition per channel.

    Args:
        factor: The factor, or None.
        mean, std: One per channel, or a number for all; None does not normalize.

    Raises:
        InputError: If a deviation is not above 0, or mean and deviation differ in length.

    Example:
        >>> pixels = np.array([[[0, 127.5, 255]]])
        >>> out = np.empty((3, 1, 1), np.float32)
        >>> Affine(1 / 255, 0.5, 0.5).apply(pixels, out)
        >>> out.ravel()
        array([-1.,  0.,  1.], dtype=float32)
    """

    def __init__(self, factor: float | None, mean: Any = None, std: Any = None) -> None:
        self.is_identity = factor is None and mean is None
        scale = np.float64(1.0 if factor is None else factor)
        if mean is None:
            self.scale, self.shift = np.atleast_1d(scale).astype(np.float32), None
            return
        means, deviations = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(std, np.float64))
        if not (deviations.size and (deviations > 0).all()) or len({means.size, deviations.size, 1}) > 2:
            raise InputError(
                f"image_mean is {mean!r} and image_std is {std!r}; expected as many deviations as means, all above 0.",
                next_step="Pass one of each per channel, or a number for all.",
            )
        self.scale = (scale / deviations).astype(np.float32)
        self.shift = np.asarray(-means / deviations).astype(np.float32)

    def check(self, channels: int) -> None:
        """Raise an InputError if images with so many channels cannot be normalized."""
        for values in (self.scale, self.shift):
            if values is not None and values.size not in (1, channels):
                raise InputError(
                    f"The image has {channels} channels, but image_mean and image_std have {values.size} entries.",
                    next_step="Pass do_convert_rgb=True to convert images to RGB, or as many means and deviations as channels.",
                )

    def apply(self, array: np.ndarray, out: np.ndarray) -> None:
        """Write the pixels of (height, width, channels) to `out` of (channels, height, width)."""
        np.copyto(out, array.transpose(2, 0, 1), casting="unsafe")
        if self.is_identity:
            return
        np.multiply(out, self.scale[:, None, None], out=out)
        if self.shift is not None:
            np.add(out, self.shift[:, None, None], out=out)


def to_batch(
    arrays: Sequence[np.ndarray], affine: Affine, pad_to: tuple[int, int] | None = None
) -> np.ndarray | list[np.ndarray]:
    """Rescale, normalize and join images.

    Args:
        arrays: Arrays (height, width, channels).
        affine: How to rescale and normalize.
        pad_to: Fill up with zeros, at the bottom and at the right, to this (height, width); None does not pad.

    Returns:
        An array (images, channels, height, width), or a list of arrays (channels, height, width) if the sizes differ. They are
        float32; or uint8, if they were and nothing was computed.

    Raises:
        InputError: If the images differ in channels, do not fit into `pad_to`, or cannot be normalized.
    """
    channels = {array.shape[2] for array in arrays}
    if len(channels) > 1:
        raise InputError(
            f"The images have {' and '.join(map(str, sorted(channels)))} channels.",
            next_step="Pass do_convert_rgb=True to convert them to RGB.",
        )
    affine.check(arrays[0].shape[2])
    keeps = affine.is_identity and all(array.dtype == np.uint8 for array in arrays)
    dtype = np.uint8 if keeps else np.float32
    sizes = [array.shape[:2] for array in arrays]
    if pad_to is None and len(set(sizes)) > 1:
        outputs = [np.empty((array.shape[2], *array.shape[:2]), dtype) for array in arrays]
        in_threads(lambda i: affine.apply(arrays[i], outputs[i]), range(len(arrays)))
        return outputs
    height, width = pad_to or sizes[0]
    for size in sizes:
        if size[0] > height or size[1] > width:
            raise InputError(
                f"An image of {size[0]} x {size[1]} pixels (height x width) does not fit into pad_size, {height} x {width}.",
                next_step="Choose a larger pad_size, or resize to a smaller size.",
            )
    create = np.empty if all(size == (height, width) for size in sizes) else np.zeros
    batch = create((len(arrays), arrays[0].shape[2], height, width), dtype)
    in_threads(lambda i: affine.apply(arrays[i], batch[i, :, : sizes[i][0], : sizes[i][1]]), range(len(arrays)))
    return batch


def masks_of_pixels(sizes: Sequence[tuple[int, int]], padded: tuple[int, int]) -> np.ndarray:
    """Masks (images, height, width), int64: 1 for the pixels of the image, 0 for padding.

    Example:
        >>> masks_of_pixels([(1, 2), (2, 1)], (2, 2)).tolist()
        [[[1, 1], [0, 0]], [[1, 0], [1, 0]]]
    """
    masks = np.zeros((len(sizes), *padded), np.int64)
    for mask, (height, width) in zip(masks, sizes, strict=True):
        mask[:height, :width] = 1
    return masks
