"""A picture as an input from which attention is read: what the model saw, and where its patches lie."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.inspection.attention.axes import Axis, PatchGrid, Queries
from notebook_kit.inspection.attention.samples import Notice, Sample, one_of
from notebook_kit.inspection.drawing.pictures import Box
from notebook_kit.nn.attention import sites_of
from notebook_kit.nn.inputs import inputs_of
from notebook_kit.processing.image.auto import AutoImageProcessor
from notebook_kit.processing.image.loading import load_image
from notebook_kit.processing.image.processor import BaseImageProcessor

__all__ = ["image_processor_of", "patches_of", "picture_sample", "reads_pictures", "seen", "seen_box", "seen_picture"]

MOST_POSITIONS = 1600
"""Above so many positions, a picture is read at a smaller size: 12 layers of 12 heads would take 1.4 GiB at float32."""
SHARP = 512
"""Pixels of the longer side up to which the picture that is shown is sharper than what the model saw."""


def reads_pictures(model: Any) -> bool:
    """Whether the main input of a model, of this library or of `transformers`, are images.

    Example:
        >>> from notebook_kit import ViTConfig, ViTModel
        >>> tiny = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8)
        >>> reads_pictures(ViTModel(tiny)), reads_pictures("a text")
        (True, False)
    """
    return isinstance(model, nn.Module) and inputs_of(model).main == "pixel_values"


def picture_sample(model: nn.Module, image: Any, image_processor: Any = None) -> Sample:
    """Make a sample from an image.

    The picture of the sample shows what the model saw, cropped and in its proportions, but up to 512 pixels sharp. Attention
    grows with the square of the number of patches; if a model that takes any size would get more than 1600, the image is read
    at a smaller size, which a notice says.

    Args:
        model: The model that will read it.
        image: An image in any form that `load_image` takes, or what the image processor returns for one image.
        image_processor: The model's processor; by default that of the checkpoint that the model was loaded from.

    Raises:
        InputError: If the image cannot be read, or the processor is needed but unknown.

    Example:
        >>> from notebook_kit import ViTConfig, ViTImageProcessor, ViTModel
        >>> model = ViTModel(ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8))
        >>> sample = picture_sample(model, Image.new("RGB", (60, 40)), ViTImageProcessor(size=32))
        >>> sample.axes["patches"].labels[:3]
        ('[CLS]', '0,0', '0,1')
    """
    features, picture, notices = seen(model, image, image_processor)
    return Sample(features, _axes(model, features["pixel_values"], picture), notices)


def seen(
    model: nn.Module, image: Any, image_processor: Any = None
) -> tuple[dict[str, Tensor], Image.Image, tuple[Notice, ...]]:
    """What an image processor returns for one image, the picture that the model sees, and notices; arguments as for
    `picture_sample`."""
    notices: tuple[Notice, ...] = ()
    if isinstance(image, Mapping) and "pixel_values" in image:
        features = one_of(image, 0, dimensions=3)
        processor = image_processor if image_processor is not None else _processor_or_none(model)
        picture = _restored(features["pixel_values"][0], processor)
    else:
        processor = image_processor if image_processor is not None else image_processor_of(model)
        loaded = load_image(image)
        features, options = _processed(processor, loaded), {}
        smaller = _smaller(model, features["pixel_values"])
        if smaller is not None:
            options = {"size": {"height": smaller[0], "width": smaller[1]}}
            features = _processed(processor, loaded, **options)
            notices = (("notice_smaller", {"width": smaller[1], "height": smaller[0]}),)
        picture = seen_picture(processor, loaded, features["pixel_values"], **options)
    return features, picture, notices


def image_processor_of(model: nn.Module) -> Any:
    """The image processor of the checkpoint that a model was loaded from.

    Raises:
        InputError: If the model was not loaded by name.
    """
    config = getattr(model, "config", None)
    name = getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "")
    if not name:
        raise InputError(
            f"{type(model).__name__} was not loaded by name, so its image processor is unknown.",
            next_step="Pass image_processor=..., or a pipeline, which has one.",
        )
    return AutoImageProcessor.from_pretrained(name)


def _processor_or_none(model: nn.Module) -> Any:
    try:
        return image_processor_of(model)
    except NotebookKitError:
        return None


def _processed(processor: Any, image: Image.Image, **options: Any) -> dict[str, Tensor]:
    return one_of(processor(image, return_tensors="pt", **options), 0, dimensions=3)


# The picture that the model saw --------------------------------------------------------------------------------------


def seen_picture(processor: Any, image: Image.Image, pixel_values: Tensor, **options: Any) -> Image.Image:
    """The part of an image that the model saw, in the proportions of the pixels that it read.

    Args:
        processor: The image processor. One of another library does not say how it crops; then its pixels are shown as they are.
        image: The image in RGB.
        pixel_values: What the processor returned, `(1, channels, height, width)`.
        options: The options of that call.

    Example:
        >>> from notebook_kit import ConvNextImageProcessor
        >>> processor, image = ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.5), Image.new("RGB", (90, 60))
        >>> seen_picture(processor, image, processor(image, return_tensors="pt").pixel_values).size
        (32, 32)
    """
    if not isinstance(processor, BaseImageProcessor):
        return _restored(pixel_values[0], processor)
    H, W = pixel_values.shape[-2:]
    size, (upper, left, high, wide) = _resized_and_cropped(processor, image, options)
    sharper = max(1.0, min(SHARP / max(H, W), image.width / size[1]))
    canvas = Image.new("RGB", (round(W * sharper), round(H * sharper)))
    whole = image.resize((max(1, round(size[1] * sharper)), max(1, round(size[0] * sharper))), Image.Resampling.BICUBIC)
    x, y, right, lower = (round(side * sharper) for side in (left, upper, left + wide, upper + high))
    part = whole.crop((x, y, right, lower))
    canvas.paste(part, (0, 0))  # padding is at the right and at the bottom
    return canvas


def seen_box(processor: Any, image: Image.Image, pixel_values: Tensor) -> Box:
    """Where what the model saw lies on an image: left, top, right and bottom as fractions of its width and height.

    They are beyond the edges for padding; a processor of another library is taken to see the whole.

    Args:
        processor: The image processor.
        image: The image in RGB.
        pixel_values: What the processor returned, `(1, channels, height, width)`.

    Example:
        >>> from notebook_kit import ConvNextImageProcessor
        >>> processor, image = ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0), Image.new("RGB", (90, 60))
        >>> [round(side, 2) for side in seen_box(processor, image, processor(image, return_tensors="pt").pixel_values)]
        [0.17, 0.0, 0.83, 1.0]
    """
    if not isinstance(processor, BaseImageProcessor):
        return (0.0, 0.0, 1.0, 1.0)
    H, W = pixel_values.shape[-2:]
    (whole_high, whole_wide), (upper, left, _, _) = _resized_and_cropped(processor, image, {})
    return (left / whole_wide, upper / whole_high, (left + W) / whole_wide, (upper + H) / whole_high)


def _resized_and_cropped(
    processor: BaseImageProcessor, image: Image.Image, options: dict[str, Any]
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The height and width to which an image is resized; the top, left, height and width of what is then cropped, which may be
    beyond its edges."""
    chosen = processor.options("pt", options)
    size = processor.resized_to(image.height, image.width, chosen) if chosen.do_resize else (image.height, image.width)
    upper, left, (high, wide) = 0, 0, size
    for crop in processor.crops(chosen):
        upper, left = upper + (high - crop[0]) // 2, left + (wide - crop[1]) // 2
        high, wide = crop
    return size, (upper, left, high, wide)


def _restored(pixels: Tensor, processor: Any) -> Image.Image:
    """Pixel values `(channels, height, width)` as a picture: the normalization of the processor, undone."""
    mean, std = getattr(processor, "image_mean", None), getattr(processor, "image_std", None)
    values = pixels.float()
    if mean is not None and std is not None and getattr(processor, "do_normalize", True):
        mean, std = (torch.as_tensor(one, dtype=torch.float32).view(-1, 1, 1) for one in (mean, std))
        values = values * std + mean
    else:
        low, high = values.min(), values.max()
        values = (values - low) / (high - low).clamp_min(1e-6)
    if len(values) not in (1, 3):
        values = values[:3].mean(0, keepdim=True)
    channels = (values.clamp(0, 1) * 255).round().byte().expand(3, -1, -1)
    return Image.fromarray(channels.permute(1, 2, 0).contiguous().numpy())


# Its axes ------------------------------------------------------------------------------------------------------------


def _axes(model: nn.Module, pixel_values: Tensor, picture: Image.Image) -> dict[str, Axis]:
    """The axes that the attention of a model has, by their names in `AttentionSite`."""
    axes: dict[str, Axis] = {}
    for name in _names(model):
        merged = re.fullmatch(r"patches (\d+)x\1", name)
        if name == "patches" or merged:
            axes[name] = patches_of(model, pixel_values, picture, int(merged[1]) if merged else 1)
        elif name == "queries":
            axes[name] = Queries(int(getattr(getattr(model, "config", None), "num_queries", 0) or 1), picture=picture)
    return axes


def patches_of(model: nn.Module, pixel_values: Tensor, picture: Image.Image, times: int = 1) -> PatchGrid:
    """The patches of a picture, with the tokens before and after them.

    Args:
        model: The model that reads them.
        pixel_values: `(1, channels, height, width)`.
        picture: The picture that is shown.
        times: Patches of the model along the side of one of these.
    """
    H, W = pixel_values.shape[-2:]
    # Patches that do not divide an image are left out by some models and padded by others; `fitted` sees which.
    high, wide = (side * times for side in _patch(model))
    return PatchGrid(-(-H // high), -(-W // wide), picture, *_tokens(model), (H, W), (high, wide))


def _names(model: nn.Module) -> list[str]:
    try:
        sites = sites_of(model)
    except InputError:  # a model of another library
        return ["patches"]
    return list(dict.fromkeys(name for site in sites for name in (site.rows, site.columns)))


def _patch(model: nn.Module) -> tuple[int, int]:
    """Height and width of a patch in pixels, or of what a position of the usual feature map covers."""
    config = getattr(model, "config", None)
    nested = (getattr(config, name, None) for name in ("backbone_config", "vision_config", "encoder"))
    sizes = (getattr(one, "patch_size", None) for one in (config, *nested))
    strides = getattr(config, "strides", None)  # of SegFormer's overlapping patches
    size = next((one for one in sizes if one), None) or (strides[0] if isinstance(strides, list | tuple) else 32)
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _tokens(model: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels of the tokens before and after the patches, by the names that the Hub's checkpoints give their parameters."""
    before: list[str] = []
    after: list[str] = []
    found = {name.rpartition(".")[2]: value for name, value in model.named_parameters()}
    for name, label in (("cls_token", "[CLS]"), ("class_embedding", "[CLS]"), ("distillation_token", "[DIST]")):
        before += [label] if name in found else []
    if "register_tokens" in found:
        before += [f"[REG{i}]" for i in range(1, found["register_tokens"].shape[1] + 1)]
    if "detection_tokens" in found:
        after += [f"query {i}" for i in range(found["detection_tokens"].shape[1])]
    return tuple(before), tuple(after)


def _smaller(model: nn.Module, pixel_values: Tensor) -> tuple[int, int] | None:
    """The height and width at which a picture has few enough patches; None if it has, or if the model needs this size."""
    names = _names(model)
    if "patches" not in names or any(name.startswith("patches ") for name in names) or not _takes_any_size(model):
        return None
    high, wide = _patch(model)
    H, W = pixel_values.shape[-2:]
    positions = (H / high) * (W / wide)
    if positions <= MOST_POSITIONS:
        return None
    factor = math.sqrt(MOST_POSITIONS / positions)
    return max(1, int(H * factor / high)) * high, max(1, int(W * factor / wide)) * wide


def _takes_any_size(model: nn.Module) -> bool:
    """Whether positions adapt to the size of an image: those of a convolutional backbone, or of a model that interpolates them."""
    config = getattr(model, "config", None)
    return getattr(config, "model_type", "") in (
        "detr",
        "table-transformer",
        "yolos",
        "dinov2",
        "dinov2_with_registers",
    )
