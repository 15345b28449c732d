"""The image processors by name, each as the settings that its files may leave out, and `model_type` -> processor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated, Any

from PIL.Image import Resampling

from notebook_kit.errors import InputError
from notebook_kit.fields import Range
from notebook_kit.processing.image.processor import BaseImageProcessor
from notebook_kit.processing.image.sizes import aspect_ratio_size

__all__ = [
    "BY_MODEL_TYPE",
    "BitImageProcessor",
    "BitImageProcessorFast",
    "CLIPFeatureExtractor",
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "ConvNextFeatureExtractor",
    "ConvNextImageProcessor",
    "ConvNextImageProcessorFast",
    "DeiTFeatureExtractor",
    "DeiTImageProcessor",
    "DeiTImageProcessorFast",
    "ViTFeatureExtractor",
    "ViTImageProcessor",
    "ViTImageProcessorFast",
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
        edge = self._edge(chosen)
        return (edge, edge) if edge >= 384 else aspect_ratio_size(height, width, int(edge / chosen.crop_pct))

    def crops(self, chosen: SimpleNamespace) -> list[tuple[int, int]]:
        edge = self._edge(chosen) if chosen.do_resize else 384
        return [*([(edge, edge)] if edge < 384 else []), *super().crops(chosen)]

    def _edge(self, chosen: SimpleNamespace) -> int:
        if set(chosen.size) != {"shortest_edge"}:
            raise InputError(
                f"size has the keys {', '.join(chosen.size)}; expected shortest_edge.",
                next_step='Pass size={"shortest_edge": 224}, or size=224.',
            )
        return chosen.size["shortest_edge"]


ConvNextFeatureExtractor = ConvNextImageProcessorFast = ConvNextImageProcessor

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
    **dict.fromkeys(("clip", "altclip", "groupvit", "git", "kosmos-2", "metaclip_2", "mlcd"), "CLIPImageProcessor"),
}
"""`model_type` in config.json -> the processor, for checkpoints whose preprocessor_config.json names none."""
