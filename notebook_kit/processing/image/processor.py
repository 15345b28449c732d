"""`BaseImageProcessor`: from images to the pixel values that a model takes, as its settings say.

The settings of a class are the fields of its body, in the form of `preprocessor_config.json`; the work is done by the functions
of `steps`. A class with other inputs (segmentation maps, annotations) overrides `preprocess`; one with another rule for sizes
overrides `resized_to`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from notebook_kit.errors import InputError, near_matches
from notebook_kit.processing.features import BatchFeature
from notebook_kit.processing.image.loading import open_image
from notebook_kit.processing.image.sizes import fixed_size, new_size, size_dict
from notebook_kit.processing.image.steps import Affine, in_threads, masks_of_pixels, prepared, to_batch
from notebook_kit.processing.naming import is_array
from notebook_kit.processing.settings import ProcessorSettings
from notebook_kit.processing.tensors import to_tensor

__all__ = ["BaseImageProcessor", "channels_wanted"]

Size = Any
"""A size in any form that `size_dict` takes."""
PerChannel = float | list[float] | None

_SIZES = ("size", "crop_size", "pad_size")
# Options of a call in `transformers` that concern only its other backend, or the texts of a joint processor.
_IGNORED_IN_CALLS = {"disable_grouping", "image_seq_length"}


class BaseImageProcessor(ProcessorSettings):
    """Prepares images for a model: converts, resizes, crops, rescales, normalizes and pads them.

    Every setting is an attribute, an argument of the constructor, and an option of a call, which then overrides it.

    Args:
        settings: The settings below, and any others, which are kept and saved.
        do_convert_rgb: Convert images to RGB, transparent ones laid over white. False keeps their channels. None, the
            default, converts those that have other channels than `image_mean` has entries.
        do_resize: Resize to `size`.
        size: One of `{"height": 224, "width": 224}`; `{"shortest_edge": 224}`, perhaps with a limit for the `longest_edge`;
            `{"longest_edge": 512}`; `{"max_height": 384, "max_width": 512}`; `{"max_pixels": 100_000}`; or a number.
        resample: The filter to resize with: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming, or its name.
        do_center_crop, crop_size: Cut the middle of this size out, after resizing.
        do_rescale, rescale_factor: Multiply the pixels, by 1/255 as a rule.
        do_normalize, image_mean, image_std: Subtract the mean and divide by the deviation, per channel.
        do_pad, pad_size: Fill the images of a batch up to `pad_size`, or to the largest height and width in it.

    Raises:
        InputError: If a setting has the wrong type or is out of range.

    Example:
        >>> import numpy as np
        >>> from notebook_kit import BaseImageProcessor
        >>> processor = BaseImageProcessor(do_resize=True, size=224, do_rescale=True)
        >>> processor(np.zeros((48, 64, 3), "uint8"), return_tensors="np").pixel_values.shape
        (1, 3, 224, 224)
    """

    do_convert_rgb: bool | None = None
    do_resize: bool | None = None
    size: Size = None
    default_to_square: bool | None = True
    resample: int | str | None = None
    do_center_crop: bool | None = None
    crop_size: Size = None
    do_rescale: bool | None = None
    rescale_factor: float | None = 1 / 255
    do_normalize: bool | None = None
    image_mean: PerChannel = None
    image_std: PerChannel = None
    do_pad: bool | None = None
    pad_size: Size = None
    data_format: Literal["channels_first", "channels_last"] | None = None
    input_data_format: Literal["channels_first", "channels_last"] | None = None

    model_input_names: ClassVar[list[str]] = ["pixel_values"]
    old_names = {"pad_and_return_pixel_mask": "do_pad", "reduce_labels": "do_reduce_labels", "max_size": "max_size"}

    # The call

    def __call__(self, images: Any, *inputs: Any, **options: Any) -> BatchFeature:
        """Prepare images; see `preprocess`."""
        return self.preprocess(images, *inputs, **options)

    def preprocess(self, images: Any, *, return_tensors: str | None = None, **options: Any) -> BatchFeature:
        """Prepare one image, a list of images, or nested lists.

        Args:
            images: Everything that `load_image` takes. (PIL images that are passed keep the rotation that they have.)
            return_tensors: "pt" or "np" for one tensor of all images; None for a list of arrays.
            options: Settings that override the processor's for this call, such as `do_resize=False` or `size=384`; and
                `device`, to move the tensors to.

        Returns:
            `pixel_values`, (images, channels, height, width): float32, or uint8 if they are neither rescaled nor normalized. If
            they are padded, and the model reads it, also `pixel_mask`, (images, height, width), 1 for pixels of the image.

        Raises:
            InputError: If an image cannot be read, naming its position; if an option is misspelled or out of range; or if
                tensors are requested but the images keep different sizes.

        Example:
            >>> from PIL import Image
            >>> from notebook_kit import ViTImageProcessor
            >>> batch = ViTImageProcessor()([Image.new("RGB", (640, 480)), Image.new("L", (64, 64))], return_tensors="pt")
            >>> batch.pixel_values.shape
            torch.Size([2, 3, 224, 224])
        """
        chosen = self.options(return_tensors, options)
        arrays = self.arrays(images, chosen)
        pad_to = padded_size(arrays, chosen) if chosen.do_pad else None
        return self.finish(self.pixels(arrays, chosen, pad_to), chosen)

    def options(self, return_tensors: str | None, options: Mapping[str, Any]) -> SimpleNamespace:
        """The settings of one call, checked: those of the processor, overridden by the call's.

        Raises:
            InputError: If an option does not exist, or has the wrong type or is out of range.
        """
        names = self.types()
        options = {name: value for name, value in options.items() if name not in _IGNORED_IN_CALLS}
        device = options.pop("device", None)
        chosen = self.current(options)
        for name in chosen:
            if name not in names:
                raise InputError(
                    f"A call of {type(self).__name__} has no option {name!r}. {near_matches(name, [*names, 'return_tensors'])}".rstrip(),
                    next_step=f"Its options are {', '.join(names)}, device and return_tensors.",
                )
        given = {name: value for name, value in chosen.items() if value is not None}
        merged = SimpleNamespace(**self.checked({name: given.get(name, getattr(self, name)) for name in names}))
        merged.return_tensors, merged.device = return_tensors, device
        if return_tensors is not None:
            to_tensor([0], return_tensors)  # refuses an unknown kind before the work begins
        for switch, needed in _NEEDS.items():
            missing = [name for name in needed if getattr(merged, switch) and getattr(merged, name) is None]
            if missing:
                raise InputError(
                    f"{switch} is True, but {missing[0]} is not set.",
                    next_step=f"Pass {missing[0]}=..., or {switch}=False.",
                )
        return merged

    def arrays(self, images: Any, chosen: SimpleNamespace) -> list[np.ndarray]:
        """Load, convert, resize and crop images, in threads: arrays (height, width, channels)."""
        return each(flattened(images), lambda image: self.array(open_image(image), chosen))

    def array(self, image: Any, chosen: SimpleNamespace) -> np.ndarray:
        """Convert, resize and crop one image, which is a PIL image, an array or a tensor."""
        return prepared(
            image,
            channels=channels_wanted(chosen),
            size=(lambda height, width: self.resized_to(height, width, chosen)) if chosen.do_resize else None,
            crops=self.crops(chosen),
            resample=chosen.resample,
            layout=chosen.input_data_format,
            will_rescale=bool(chosen.do_rescale),
        )

    def resized_to(self, height: int, width: int, chosen: SimpleNamespace) -> tuple[int, int]:
        """The (height, width) that an image of this height and width is resized to."""
        return new_size(height, width, chosen.size)

    def crops(self, chosen: SimpleNamespace) -> list[tuple[int, int]]:
        """The (height, width) of each piece that is cut out of the middle, one after the other."""
        return [fixed_size(chosen.crop_size, "crop_size")] if chosen.do_center_crop else []

    def pixels(
        self, arrays: Sequence[np.ndarray], chosen: SimpleNamespace, pad_to: tuple[int, int] | None
    ) -> dict[str, Any]:
        """`pixel_values` of arrays (height, width, channels); if they are padded, and the model reads it, also `pixel_mask`."""
        data = {"pixel_values": self.pixel_values(arrays, chosen, pad_to)}
        if pad_to is not None and "pixel_mask" in self.model_input_names:
            masks = masks_of_pixels([array.shape[:2] for array in arrays], pad_to)
            data["pixel_mask"] = masks if chosen.return_tensors is not None else list(masks)
        return data

    def pixel_values(
        self, arrays: Sequence[np.ndarray], chosen: SimpleNamespace, pad_to: tuple[int, int] | None = None
    ) -> Any:
        """Rescale, normalize and join arrays (height, width, channels) as (images, channels, height, width)."""
        factor = chosen.rescale_factor if chosen.do_rescale else None
        mean, std = (chosen.image_mean, chosen.image_std) if chosen.do_normalize else (None, None)
        pixels = to_batch(arrays, Affine(factor, mean, std), pad_to)
        if chosen.data_format == "channels_last":
            pixels = [np.moveaxis(image, 0, -1) for image in pixels]
        if chosen.return_tensors is None:
            return list(pixels)
        sizes = {image.shape for image in pixels}
        if len(sizes) > 1:
            raise InputError(
                f"The images have {len(sizes)} different sizes and cannot become one tensor.",
                next_step="Pass do_resize=True with a height and width, do_center_crop=True, or do_pad=True; "
                "or leave out return_tensors.",
            )
        return pixels if isinstance(pixels, np.ndarray) else np.stack(pixels)

    def finish(self, data: Mapping[str, Any], chosen: SimpleNamespace) -> BatchFeature:
        """The result of a call, with its arrays as the requested kind of tensor on the requested device."""
        batch = BatchFeature(data, chosen.return_tensors)
        return batch if chosen.device is None or chosen.return_tensors != "pt" else batch.to(device=chosen.device)

    # Settings

    @classmethod
    def current(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        current = super().current(settings)
        if isinstance(current.get("size"), int | float) and current.get("max_size") is not None:
            current["size"] = size_dict(current["size"], square=False, max_size=current.pop("max_size"))
        return current

    def checked(self, values: dict[str, Any]) -> dict[str, Any]:
        values = super().checked(values)
        for name in _SIZES:
            if values.get(name) is not None:
                square = name != "size" or bool(values["default_to_square"])
                values[name] = size_dict(values[name], name, square)
        values["resample"] = _filter(values["resample"])
        if values.get("image_mean") is not None and values.get("image_std") is not None:
            Affine(None, values["image_mean"], values["image_std"])  # refuses those that do not fit together
        return values

    def to_dict(self) -> dict[str, Any]:
        kept = super().to_dict()
        if isinstance(kept.get("resample"), Image.Resampling):
            kept["resample"] = int(kept["resample"])
        return kept


_NEEDS = {
    "do_resize": ("size",),
    "do_center_crop": ("crop_size",),
    "do_rescale": ("rescale_factor",),
    "do_normalize": ("image_mean", "image_std"),
}
"""Switch -> the settings that it needs."""


def _filter(resample: Any) -> Image.Resampling:
    """The resampling filter by its number, its name, or None for the usual one."""
    if resample is None:
        return Image.Resampling.BILINEAR
    names = [kind.name.lower() for kind in Image.Resampling]
    try:
        return Image.Resampling[resample.upper()] if isinstance(resample, str) else Image.Resampling(resample)
    except (KeyError, ValueError):
        near = near_matches(resample, names) if isinstance(resample, str) else ""
        raise InputError(
            f"resample is {resample!r}, which is not a filter. {near}".rstrip(),
            next_step=f"Pass one of {', '.join(f'{kind.value} ({kind.name.lower()})' for kind in Image.Resampling)}.",
        ) from None


def channels_wanted(chosen: SimpleNamespace) -> int | None:
    """How many channels images are converted to; None keeps theirs."""
    if chosen.do_convert_rgb is not None:
        return 3 if chosen.do_convert_rgb else None
    mean = chosen.image_mean
    return len(mean) if isinstance(mean, list | tuple) and len(mean) in (1, 3, 4) else None


def padded_size(arrays: Sequence[np.ndarray], chosen: SimpleNamespace) -> tuple[int, int]:
    """The (height, width) that a batch is padded to: `pad_size`, or the largest height and width in it."""
    if chosen.pad_size is not None:
        return fixed_size(chosen.pad_size, "pad_size")
    return max(array.shape[0] for array in arrays), max(array.shape[1] for array in arrays)


def flattened(images: Any, dimensions: int = 3) -> list[Any]:
    """The images in one image, a list, nested lists, a stream, or an array with more than the dimensions of an image.

    Args:
        images: The images.
        dimensions: How many dimensions an array of one image has at most.

    Raises:
        InputError: If there is none.
    """
    found: list[Any] = []
    _collect(images, dimensions, found, 0)
    if not found:
        raise InputError("There are no images: the list is empty.", next_step="Pass at least one image.")
    return found


def _collect(images: Any, dimensions: int, found: list[Any], depth: int) -> None:
    if is_array(images):
        if images.ndim <= dimensions:
            found.append(images)
        else:
            for image in images:
                _collect(image, dimensions, found, depth)
        return
    is_stream = not isinstance(images, str | bytes | bytearray | memoryview | Mapping | Image.Image | os.PathLike)
    is_stream = is_stream and isinstance(images, Iterable) and not hasattr(images, "read")
    if not is_stream or depth > 4:
        found.append(images)
        return
    for image in images:
        _collect(image, dimensions, found, depth + 1)


def each(images: Sequence[Any], function: Any) -> list[Any]:
    """The function's result for each image, computed in threads; an error names the position of the image.

    Raises:
        InputError: That of the first image that fails, with its position if there are several.
    """

    def at(position: int) -> Any:
        try:
            return function(images[position])
        except InputError as error:
            if len(images) == 1:
                raise
            raise InputError(
                f"Image {position} of {len(images)} (counted from 0): {error.what}", next_step=error.next_step
            ) from error

    return in_threads(at, range(len(images)))
