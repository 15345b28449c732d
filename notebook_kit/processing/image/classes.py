"""The image processors by name, each as the settings that its files may leave out, and `model_type` -> processor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

from PIL.Image import Resampling

from notebook_kit.fields import Range
from notebook_kit.processing.image.processor import BaseImageProcessor
from notebook_kit.processing.image.sizes import MOST, aspect_ratio_size, shortest_edge

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
    **dict.fromkeys(("siglip",), "SiglipImageProcessor"),
    **dict.fromkeys(("vilt",), "ViltImageProcessor"),
}
"""`model_type` in config.json -> the processor, for checkpoints whose preprocessor_config.json names none."""
