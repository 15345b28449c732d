"""From what people have (a path, an address, bytes, an array, ...) to a PIL image.

Example:
    >>> from PIL import Image
    >>> load_image(Image.new("L", (64, 48))).mode
    'RGB'
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from notebook_kit.errors import InputError, notice, warn
from notebook_kit.processing import naming
from notebook_kit.processing.fetching import fetch
from notebook_kit.processing.naming import (
    capitalized,
    check_not_empty,
    check_opened_as_bytes,
    is_array,
    no_such_file,
)

__all__ = [
    "channels_last",
    "described",
    "is_one",
    "load_image",
    "open_file",
    "open_image",
    "to_8_bits",
    "to_array",
    "to_pil",
    "to_rgb",
]

CHANNELS = (1, 3, 4)
"""Channels of an image: grey, colour, and colour with alpha."""
_FILTERS = threading.Lock()
"""Filters of warnings belong to the process, and images are read by several threads."""
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{16,}={0,2}\s*")
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_FAULTS = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, AttributeError, OverflowError, MemoryError),
    *(struct.error, zlib.error),
)
"""What Pillow raises for damaged files."""
_HEIF = "Save it as JPEG or PNG; or `pip install pillow-heif`, and run pillow_heif.register_heif_opener() once."
_FURTHER_FORMATS = {
    ".heic": _HEIF,
    ".heif": _HEIF,
    ".jxl": "Save it as JPEG or PNG; or `pip install pillow-jxl-plugin`, and import pillow_jxl once.",
    ".svg": "An SVG file is a drawing without pixels: save it as PNG.",
}
"""File endings of images that Pillow alone does not read -> the next step."""
_ACCEPTED = (
    "Pass a path, an http(s) address, bytes, base64 text, a PIL image, a NumPy array, a tensor, "
    "or a row of datasets.Image."
)
_OTHERS = "an http(s) address or base64 text"


def load_image(image: Any, timeout: float | None = None) -> Image.Image:
    """Load an image in RGB.

    The rotation that a camera notes in the file is applied. Transparency is dropped, as in `transformers`; pixels of 16 bits
    are scaled to 8. The first frame of an animation is used, which a warning says.

    Args:
        image: One of:

            - a path, or a file opened in binary mode;
            - an http(s) address: at most 64 MiB;
            - the bytes of an image file; or they as base64 text, with or without `data:image/png;base64,`;
            - a PIL image of any mode;
            - a NumPy array or torch tensor (height, width), (height, width, channels) or (channels, height, width) with 1, 3
              or 4 channels, of integers in 0..255 or floats in 0..1;
            - a value of a `datasets.Image` column that is not decoded: `{"bytes": ..., "path": ...}`.

        timeout: Seconds that a download may take; 30 if None.

    Returns:
        A PIL image of mode RGB, with its pixels in memory.

    Raises:
        InputError: If it cannot be found, downloaded or read as an image, is truncated, has no pixels or too many, or if an
            array has another shape or other values. The message names the image.

    Example:
        >>> import numpy as np
        >>> from notebook_kit import load_image
        >>> load_image(np.zeros((48, 64, 3), dtype="uint8")).size
        (64, 48)
    """
    opened = open_image(image, timeout)
    if opened is image and isinstance(image, Image.Image):
        with _naming(described(image)):
            opened = _upright(image)
    if is_array(opened):
        opened = to_pil(channels_last(to_array(opened), name=described(image)), described(image))
    return to_rgb(opened, name=described(image))


def open_image(image: Any, timeout: float | None = None) -> Any:
    """Read an image, unless it already is a PIL image, an array or a tensor, which are returned unchanged.

    Returns:
        A PIL image in its own mode, rotated as its file says, with its pixels in memory; an array; or a tensor.

    Raises:
        InputError: As for `load_image`.
    """
    if isinstance(image, Image.Image) or is_array(image):
        opened = image
    elif isinstance(image, str):
        opened = _from_text(image, timeout)
    elif isinstance(image, os.PathLike):
        opened = _from_path(Path(image))
    elif isinstance(image, bytes | bytearray | memoryview):
        opened = _read(io.BytesIO(image), described(image))
    elif isinstance(image, Mapping):
        return open_image(_content(image), timeout)
    elif callable(getattr(image, "read", None)):
        check_opened_as_bytes(image, described(image))
        opened = _read(image, described(image))
    else:
        raise InputError(f"An image cannot be read from {described(image)}.", next_step=_ACCEPTED)
    if isinstance(opened, Image.Image) and 0 in opened.size:
        raise InputError(
            f"{capitalized(described(image))} has no pixels: its size is {opened.width} x {opened.height}.",
            next_step="Pass an image that is at least one pixel wide and high.",
        )
    return opened


def is_one(value: Any) -> bool:
    """Whether the value is one image, or can become one, rather than a collection of images."""
    if is_array(value):
        return value.ndim < 4
    return not isinstance(value, list | tuple)


def described(image: Any) -> str:
    """The image in a few words, for messages.

    Example:
        >>> described("cats/7.jpg"), described({"bytes": None, "path": "cats/7.jpg"}), described(b"GIF89a")
        ("'cats/7.jpg'", "'cats/7.jpg'", 'the image of 6 bytes')
    """
    if isinstance(image, Image.Image):
        name = getattr(image, "filename", "")
        return repr(name) if name else f"the PIL image of {image.width} x {image.height} pixels and mode {image.mode}"
    return naming.described(image, "image")


# From files and addresses


def _from_text(text: str, timeout: float | None) -> Image.Image:
    check_not_empty(text, "image")
    scheme = text[:12].lower()
    if scheme.startswith(("http://", "https://")):
        return _read(io.BytesIO(fetch(text, timeout)), described(text))
    if scheme.startswith("data:"):
        return _from_data_url(text)
    if "://" in text[:20]:
        fetch(text, timeout)  # raises: it is neither HTTP nor HTTPS
    if len(text) < 4096 and "\0" not in text:
        path = Path(text).expanduser()
        if os.path.exists(path):
            return _from_path(path)
    if _BASE64.fullmatch(text):
        try:
            return _read(io.BytesIO(base64.b64decode(text)), described(text))
        except (binascii.Error, InputError):
            if len(text) >= 4096:
                raise _not_base64(text) from None
    if len(text) >= 4096 or "\0" in text:
        raise _not_base64(text)
    raise no_such_file(Path(text).expanduser(), _OTHERS)


def _from_data_url(text: str) -> Image.Image:
    head, comma, body = text.partition(",")
    if not comma or not head.endswith(";base64"):
        raise InputError(
            f"{described(text)} is a data URL without base64 content.",
            next_step="Pass one of the form data:image/png;base64,...",
        )
    try:
        content = base64.b64decode(body, validate=True)
    except ValueError as error:
        raise _not_base64(text) from error
    return _read(io.BytesIO(content), described(text))


def _from_path(path: Path) -> Image.Image:
    if path.is_dir():
        raise InputError(
            f"{str(path)!r} is a folder.", next_step="Pass the image files in it: sorted(folder.iterdir())."
        )
    if not path.exists():
        raise no_such_file(path, _OTHERS)
    try:
        with open(path, "rb") as file:
            return _read(file, repr(str(path)))
    except PermissionError as error:
        raise _unreadable(repr(str(path)), error.strerror or "permission denied") from error


def open_file(file: Any) -> Image.Image:
    """`PIL.Image.open` without Pillow's warning about files of many pixels, which a filter may turn into an error.

    Raises:
        PIL.Image.DecompressionBombError: If there are more than twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image: Image.Image = Image.open(file)
    return image


def _read(file: Any, name: str) -> Image.Image:
    """Decode an image file, and apply the rotation that it notes."""
    with _naming(name):
        image = open_file(file)
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            notice(
                f"{capitalized(name)} is large: {image.width:,} x {image.height:,} pixels. It is decoded whole, in "
                f"{image.width * image.height * 3 / 2**20:,.0f} MiB."
            )
        frames = getattr(image, "n_frames", 1) if getattr(image, "is_animated", False) else 1
        image = _upright(image)
    if frames > 1:
        warn(f"{capitalized(name)} is an animation of {frames} frames; the first one is used.")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """The image with its pixels in memory, rotated as its file notes."""
    image.load()
    is_rotated = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if is_rotated else image  # which would copy the pixels in any case


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn Pillow's errors into ours, with the name of the image."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{capitalized(name)} was not decoded: {str(error).rstrip('.')}.",
            next_step="If you trust the file, raise the limit: PIL.Image.MAX_IMAGE_PIXELS = 1_000_000_000.",
        ) from error
    except UnidentifiedImageError as error:
        raise _unreadable(name, "it is not an image of a format that Pillow reads here") from error
    except _FAULTS as error:
        raise _unreadable(name, str(error) or type(error).__name__) from error


def _content(row: Mapping[str, Any]) -> Any:
    """The bytes or the path of a `datasets.Image` value."""
    content = row.get("bytes")
    content = row.get("path") if content is None else content
    if content is None or isinstance(content, Mapping):
        keys = ", ".join(map(repr, row)) or "none"
        raise InputError(
            f"An image in a dictionary has the key 'bytes' or 'path'; the keys here are {keys}.",
            next_step="For rows of a dataset, pass the image: row['image'], or KeyDataset(dataset, 'image').",
        )
    return content


def _unreadable(name: str, why: str) -> InputError:
    return InputError(
        f"{capitalized(name)} cannot be read as an image: {why.rstrip('.')}.",
        next_step=_FURTHER_FORMATS.get(
            os.path.splitext(name.strip("'\""))[1].lower(),
            "Check that the file is complete and is an image, such as JPEG, PNG, WebP, GIF, BMP or TIFF.",
        ),
    )


def _not_base64(text: str) -> InputError:
    return InputError(f"{described(text)} is not an image as base64 text.", next_step=_ACCEPTED)


# Modes, types and layouts


def to_rgb(image: Image.Image, background: str | None = None, name: str = "") -> Image.Image:
    """Convert an image of any mode to RGB. Pixels of 16 bits are scaled to 8, where Pillow would cut them off.

    Args:
        image: The image.
        background: A colour to lay transparent images over; None drops the transparency, which shows the hidden colours.
        name: The image, for messages.

    Raises:
        InputError: If the pixels of a mode without bounds (I, F) are out of range.

    Example:
        >>> glass = Image.new("RGBA", (1, 1), (200, 0, 0, 0))
        >>> to_rgb(glass).getpixel((0, 0)), to_rgb(glass, background="white").getpixel((0, 0))
        ((200, 0, 0), (255, 255, 255))
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _SIXTEEN_BITS:
        image = Image.fromarray(np.rint(np.asarray(image) / 257.0).astype(np.uint8))
    elif image.mode in ("I", "F"):
        array = np.asarray(image)
        if image.mode == "F" and array.min() >= 0 and 1 < array.max() <= 255:  # as Pillow converts other modes to F
            array = np.rint(array)
        image = to_pil(array[..., None], name or described(image))
    if image.mode == "La":
        image = image.convert("LA")
    if background is not None and image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        with _FILTERS, warnings.catch_warnings():  # Pillow suggests RGBA, but the transparency is dropped on purpose
            warnings.simplefilter("ignore", UserWarning)
            return image.convert("RGB")
    return image.convert("RGB")


def to_array(image: Any) -> np.ndarray:
    """The NumPy array of an array or a tensor."""
    if isinstance(image, np.ndarray):
        return image
    image = image.detach().cpu()
    return image.float().numpy() if str(image.dtype) == "torch.bfloat16" else image.numpy()


def channels_last(array: np.ndarray, layout: str | None = None, name: str = "") -> np.ndarray:
    """The array as (height, width, channels).

    Args:
        array: (height, width), (height, width, channels) or (channels, height, width).
        layout: "channels_first" or "channels_last"; None finds the axis with 1, 3 or 4 entries, the first one if both have.
        name: The image, for messages.

    Raises:
        InputError: If the array has no pixels, or neither axis can be that of the channels.

    Example:
        >>> channels_last(np.zeros((3, 48, 64))).shape, channels_last(np.zeros((48, 64))).shape
        ((48, 64, 3), (48, 64, 1))
    """
    name = name or described(array)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise InputError(
            f"{capitalized(name)} is not an image: expected (height, width, channels) or (channels, height, width), "
            "each at least 1.",
            next_step="Pass one image per array, or a list of them.",
        )
    if array.ndim == 2:
        return array[..., None]
    first = array.shape[0] in CHANNELS if layout is None else layout == "channels_first"
    channels = array.shape[0] if first else array.shape[-1]
    if channels not in CHANNELS:
        raise InputError(
            f"{capitalized(name)} has {channels} channels: an image has 1 (grey), 3 (RGB) or 4 (RGBA)."
            if layout is not None
            else f"{capitalized(name)} has no axis of 1, 3 or 4 channels, first or last.",
            next_step="Choose three channels, such as array[..., :3], or average them to one.",
        )
    return array.transpose(1, 2, 0) if first else array


def to_8_bits(array: np.ndarray, name: str = "") -> np.ndarray:
    """Pixels as uint8: integers in 0..255 as they are, uint16 above 255 divided by 257, floats in 0..1 times 255.

    Raises:
        InputError: If values are out of range or not finite, or are not numbers.
    """
    kind = array.dtype.kind
    if array.dtype == np.uint8:
        return array
    if kind == "b":
        return array.astype(np.uint8) * 255
    if kind not in "iuf":
        raise InputError(
            f"{capitalized(name or described(array))} holds no numbers.",
            next_step="Pass integers in 0..255 or floats in 0..1.",
        )
    low, high = array.min(), array.max()
    if low >= 0 and high <= 255:
        if kind in "iu" or (high > 1 and np.array_equal(array, np.rint(array))):
            return array.astype(np.uint8)
        if high <= 1:
            return np.rint(array * 255.0).astype(np.uint8)
    if low >= 0 and high <= 65535 and (array.dtype == np.uint16 or (kind == "i" and array.dtype.itemsize == 4)):
        return np.rint(array / 257.0).astype(np.uint8)
    raise InputError(
        f"{capitalized(name or described(array))} has values from {low:g} to {high:g}.",
        next_step="Pass integers in 0..255 or floats in 0..1: divide floats in 0..255 by 255, and undo a normalization.",
    )


def to_pil(array: np.ndarray, name: str = "") -> Image.Image:
    """A PIL image (L, RGB or RGBA) from an array (height, width, channels); see `to_8_bits` for the values."""
    array = to_8_bits(array, name)
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[-1] == 1 else array))
