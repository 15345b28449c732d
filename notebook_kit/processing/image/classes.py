"""The image processors by name, each as the settings that its files may leave out, and `model_type` -> processor."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

import numpy as np
from PIL.Image import Resampling, Transpose

from notebook_kit.fields import Range
from notebook_kit.processing.image.loading import channels_last, described, to_array
from notebook_kit.processing.image.processor import BaseImageProcessor, channels_wanted
from notebook_kit.processing.image.sizes import MOST, aspect_ratio_size, fixed_size, shortest_edge
from notebook_kit.processing.image.steps import center_crop, prepared, surrounded
from notebook_kit.processing.naming import is_array

__all__ = [
    "BY_MODEL_TYPE",
    "BitImageProcessor",
    "BitImageProcessorFast",
    "BlipImageProcessor",
    "BlipImageProcessorFast",
    "CLIPFeatureExtractor",
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "ConvNextFeatureExtractor",
    "ConvNextImageProcessor",
    "ConvNextImageProcessorFast",
    "DeiTFeatureExtractor",
    "DeiTImageProcessor",
    "DeiTImageProcessorFast",
    "DonutFeatureExtractor",
    "DonutImageProcessor",
    "DonutImageProcessorFast",
    "SiglipImageProcessor",
    "SiglipImageProcessorFast",
    "ViTFeatureExtractor",
    "ViTImageProcessor",
    "ViTImageProcessorFast",
    "ViltFeatureExtractor",
    "ViltImageProcessor",
    "ViltImageProcessorFast",
]

IMAGENET_MEAN: list[float] = [0.485, 0.456, 0.406]
IMAGENET_STD: list[float] = [0.229, 0.224, 0.225]
HALF: list[float] = [0.5, 0.5, 0.5]
CLIP_MEAN: list[float] = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD: list[float] = [0.26862954, 0.26130258, 0.27577711]


class ViTImageProcessor(BaseImageProcessor):
    """The image processor of ViT, Swin and others: resizes to a square of 224 and maps pixels to -1..1.

    Args:
        settings: As for `BaseImageProcessor`.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import ViTImageProcessor
        >>> ViTImageProcessor()(Image.new("RGB", (640, 480)), return_tensors="pt").pixel_values.shape
        torch.Size([1, 3, 224, 224])
    """

    do_resize = True
    size = {"height": 224, "width": 224}
    resample = Resampling.BILINEAR
    do_rescale = True
    do_normalize = True
    image_mean = HALF
    image_std = HALF


ViTFeatureExtractor = ViTImageProcessorFast = ViTImageProcessor


class DeiTImageProcessor(BaseImageProcessor):
    """The image processor of DeiT: resizes to a square of 256 and cuts the middle 224 out.

    Args:
        settings: As for `BaseImageProcessor`.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import DeiTImageProcessor
        >>> DeiTImageProcessor()(Image.new("RGB", (640, 480)), return_tensors="pt").pixel_values.shape
        torch.Size([1, 3, 224, 224])
    """

    do_resize = True
    size = {"height": 256, "width": 256}
    resample = Resampling.BICUBIC
    do_center_crop = True
    crop_size = {"height": 224, "width": 224}
    do_rescale = True
    do_normalize = True
    image_mean = HALF
    image_std = HALF


DeiTFeatureExtractor = DeiTImageProcessorFast = DeiTImageProcessor


class BitImageProcessor(BaseImageProcessor):
    """The image processor of BiT, DINOv2 and others: scales the shorter edge to 224 and cuts a square of 224 out.

    Args:
        settings: As for `BaseImageProcessor`.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import BitImageProcessor
        >>> BitImageProcessor()(Image.new("RGB", (640, 480)), return_tensors="pt").pixel_values.shape
        torch.Size([1, 3, 224, 224])
    """

    do_convert_rgb = True
    do_resize = True
    size = {"shortest_edge": 224}
    default_to_square = False
    resample = Resampling.BICUBIC
    do_center_crop = True
    crop_size = {"height": 224, "width": 224}
    do_rescale = True
    do_normalize = True
    image_mean = CLIP_MEAN
    image_std = CLIP_STD


BitImageProcessorFast = BitImageProcessor


class CLIPImageProcessor(BaseImageProcessor):
    """The image processor of CLIP: scales the shorter edge to 224 and cuts a square of 224 out.

    Args:
        settings: As for `BaseImageProcessor`.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import CLIPImageProcessor
        >>> CLIPImageProcessor()(Image.new("RGB", (640, 480)), return_tensors="pt").pixel_values.shape
        torch.Size([1, 3, 224, 224])
    """

    do_convert_rgb = True
    do_resize = True
    size = {"shortest_edge": 224}
    default_to_square = False
    resample = Resampling.BICUBIC
    do_center_crop = True
    crop_size = {"height": 224, "width": 224}
    do_rescale = True
    do_normalize = True
    image_mean = CLIP_MEAN
    image_std = CLIP_STD

    def __init__(self, **settings: Any) -> None:
        if settings.pop("use_square_size", False):  # a setting of old files
            settings["size"] = {"height": 224, "width": 224}
        super().__init__(**settings)


CLIPFeatureExtractor = CLIPImageProcessorFast = CLIPImageProcessor


class ConvNextImageProcessor(BaseImageProcessor):
    """The image processor of ConvNeXT, ResNet and others.

    An image is resized to a square whose edge is `size["shortest_edge"]`. Below 384 it keeps its proportions instead: its shorter
    edge becomes that divided by `crop_pct`, and a square is cut out.

    Args:
        settings: As for `BaseImageProcessor`; and `crop_pct`, 0.875 as a rule.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import ConvNextImageProcessor
        >>> ConvNextImageProcessor()(Image.new("RGB", (640, 480)), return_tensors="pt").pixel_values.shape
        torch.Size([1, 3, 384, 384])
    """

    do_resize = True
    size = {"shortest_edge": 384}
    default_to_square = False
    resample = Resampling.BICUBIC
    do_rescale = True
    do_normalize = True
    image_mean = HALF
    image_std = HALF
    crop_pct: Annotated[float, Range(0.01, 1)] = 224 / 256

    def resized_to(self, height: int, width: int, chosen: SimpleNamespace) -> tuple[int, int]:
        edge = shortest_edge(chosen.size)
        return (edge, edge) if edge >= 384 else aspect_ratio_size(height, width, int(edge / chosen.crop_pct))

    def crops(self, chosen: SimpleNamespace) -> list[tuple[int, int]]:
        edge = shortest_edge(chosen.size) if chosen.do_resize else 384
        return [*([(edge, edge)] if edge < 384 else []), *super().crops(chosen)]


ConvNextFeatureExtractor = ConvNextImageProcessorFast = ConvNextImageProcessor


class BlipImageProcessor(BaseImageProcessor):
    """The image processor of BLIP: resizes to a square of 384.

    Args:
        settings: As for `BaseImageProcessor`.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import BlipImageProcessor
        >>> BlipImageProcessor()(Image.new("RGB", (640, 480)), return_tensors="pt").pixel_values.shape
        torch.Size([1, 3, 384, 384])
    """

    do_convert_rgb = True
    do_resize = True
    size = {"height": 384, "width": 384}
    resample = Resampling.BICUBIC
    do_rescale = True
    do_normalize = True
    image_mean = CLIP_MEAN
    image_std = CLIP_STD


BlipImageProcessorFast = BlipImageProcessor


class SiglipImageProcessor(BaseImageProcessor):
    """The image processor of SigLIP: resizes to a square of 224 and maps pixels to -1..1.

    Args:
        settings: As for `BaseImageProcessor`.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import SiglipImageProcessor
        >>> SiglipImageProcessor()(Image.new("RGB", (640, 480)), return_tensors="pt").pixel_values.shape
        torch.Size([1, 3, 224, 224])
    """

    do_convert_rgb = True
    do_resize = True
    size = {"height": 224, "width": 224}
    default_to_square = False
    resample = Resampling.BICUBIC
    do_rescale = True
    do_normalize = True
    image_mean = HALF
    image_std = HALF


SiglipImageProcessorFast = SiglipImageProcessor


class ViltImageProcessor(BaseImageProcessor):
    """The image processor of ViLT: scales the shorter edge to 384 and both to multiples of 32, and pads.

    Args:
        settings: As for `BaseImageProcessor`; and `size_divisor`, of which both edges become a multiple, rounded down. The
            longer edge is at most 1,333 / 800 of the size of the shorter one.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import ViltImageProcessor
        >>> batch = ViltImageProcessor()([Image.new("RGB", (640, 480)), Image.new("RGB", (50, 60))], return_tensors="pt")
        >>> batch.pixel_values.shape, batch.pixel_mask[1].sum() == 448 * 384
        (torch.Size([2, 3, 448, 512]), tensor(True))
    """

    do_resize = True
    size = {"shortest_edge": 384}
    default_to_square = False
    size_divisor: Annotated[int, Range(1, MOST)] = 32
    resample = Resampling.BICUBIC
    do_rescale = True
    do_normalize = True
    image_mean = HALF
    image_std = HALF
    do_pad = True

    model_input_names: ClassVar[list[str]] = ["pixel_values", "pixel_mask"]

    def resized_to(self, height: int, width: int, chosen: SimpleNamespace) -> tuple[int, int]:
        shortest, divisor = shortest_edge(chosen.size), chosen.size_divisor
        longest = int(1333 / 800 * shortest)
        scale = shortest / min(height, width)
        edges = [scale * height, scale * width]
        if max(edges) > longest:
            edges = [longest / max(edges) * edge for edge in edges]
        # A picture that is much longer than wide keeps at least one row of patches.
        rounded = [max(int(edge + 0.5) // divisor, 1) * divisor for edge in edges]
        return rounded[0], rounded[1]


ViltFeatureExtractor = ViltImageProcessorFast = ViltImageProcessor


class DonutImageProcessor(BaseImageProcessor):
    """The image processor of Donut: scales a page to fit into 2560 x 1920 pixels (height x width), and centres it on black.

    Args:
        settings: As for `BaseImageProcessor`, where `size` has a height and a width, or is `(width, height)`; and
            `do_align_long_axis`: turn a page by 90 degrees if its longer edge is not that of `size`; `do_thumbnail`: scale a
            page down that does not fit after its shorter edge was resized.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import DonutImageProcessor
        >>> processor = DonutImageProcessor(size={"height": 256, "width": 192})
        >>> processor(Image.new("RGB", (640, 480)), return_tensors="pt").pixel_values.shape
        torch.Size([1, 3, 256, 192])
    """

    do_resize = True
    size = {"height": 2560, "width": 1920}
    resample = Resampling.BILINEAR
    do_align_long_axis: bool | None = False
    do_thumbnail: bool | None = True
    do_pad = True
    do_rescale = True
    do_normalize = True
    image_mean = HALF
    image_std = HALF

    @classmethod
    def current(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        current = super().current(settings)
        if isinstance(current.get("size"), list | tuple):  # of old files, in the other order
            current["size"] = list(current["size"])[::-1]
        return current

    def array(self, image: Any, chosen: SimpleNamespace) -> np.ndarray:
        height, width = fixed_size(chosen.size, "size")
        layout = chosen.input_data_format
        if is_array(image):
            image, layout = channels_last(to_array(image), layout, described(image)), "channels_last"
        if chosen.do_align_long_axis:
            image = _aligned(image, height > width, height < width)
        scaled = prepared(
            image,
            channels=channels_wanted(chosen),
            size=(lambda h, w: aspect_ratio_size(h, w, min(height, width))) if chosen.do_resize else None,
            resample=chosen.resample,
            layout=layout,
            will_rescale=bool(chosen.do_rescale),
        )
        small = _thumbnail(scaled.shape[0], scaled.shape[1], height, width)
        if chosen.do_thumbnail and small != scaled.shape[:2]:
            scaled = prepared(scaled, size=lambda h, w: small, resample=chosen.resample, layout="channels_last")
        page = surrounded(scaled, height, width) if chosen.do_pad else scaled
        for crop in self.crops(chosen):
            page = center_crop(page, *crop)
        return page


DonutFeatureExtractor = DonutImageProcessorFast = DonutImageProcessor


def _aligned(image: Any, is_tall: bool, is_wide: bool) -> Any:
    """An image, or an array (height, width, channels), turned clockwise if it is tall where a wide one is wanted, or wide
    where a tall one is."""
    height, width = image.shape[:2] if is_array(image) else (image.height, image.width)
    if not ((is_tall and width > height) or (is_wide and width < height)):
        return image
    return np.rot90(image, 3) if is_array(image) else image.transpose(Transpose.ROTATE_270)


def _thumbnail(height: int, width: int, most_high: int, most_wide: int) -> tuple[int, int]:
    """The (height, width) of an image scaled down to fit, with the rounding of Donut's training."""
    high, wide = min(height, most_high), min(width, most_wide)
    if (high, wide) == (height, width) or height == width:
        return high, wide
    return (high, max(int(width * high / height), 1)) if height > width else (max(int(height * wide / width), 1), wide)


BY_MODEL_TYPE = {
    **dict.fromkeys(
        ("vit", "vit_mae", "vit_msn", "swin", "swinv2", "dinat", "ijepa", "clipseg", "mgp-str"), "ViTImageProcessor"
    ),
    **dict.fromkeys(("deit",), "DeiTImageProcessor"),
    **dict.fromkeys(("bit", "dinov2", "dinov2_with_registers", "focalnet", "hiera", "pixio"), "BitImageProcessor"),
    **dict.fromkeys(("convnext", "convnextv2", "resnet", "regnet", "cvt", "van"), "ConvNextImageProcessor"),
    **dict.fromkeys(("detr", "table-transformer", "omdet-turbo"), "DetrImageProcessor"),
    **dict.fromkeys(("yolos",), "YolosImageProcessor"),
    **dict.fromkeys(("segformer",), "SegformerImageProcessor"),
    **dict.fromkeys(("maskformer",), "MaskFormerImageProcessor"),
    **dict.fromkeys(
        ("clip", "clip_vision_model", "altclip", "groupvit", "git", "kosmos-2", "metaclip_2", "mlcd"),
        "CLIPImageProcessor",
    ),
    **dict.fromkeys(("blip", "blip-2", "instructblip"), "BlipImageProcessor"),
    **dict.fromkeys(("siglip", "siglip_vision_model"), "SiglipImageProcessor"),
    **dict.fromkeys(("donut-swin",), "DonutImageProcessor"),
    **dict.fromkeys(("vilt",), "ViltImageProcessor"),
}
"""`model_type` in config.json -> the processor, for checkpoints whose preprocessor_config.json names none."""
