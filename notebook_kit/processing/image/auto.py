"""`AutoImageProcessor`: the image processor of a checkpoint, of the class that its files name.

Example:
    >>> import tempfile
    >>> from notebook_kit import AutoImageProcessor, ViTImageProcessor
    >>> folder = tempfile.mkdtemp()
    >>> _ = ViTImageProcessor(size=384).save_pretrained(folder)
    >>> type(AutoImageProcessor.from_pretrained(folder)).__name__
    'ViTImageProcessor'
"""

from __future__ import annotations

import os
import re
from typing import Any

from notebook_kit.configuration import PretrainedConfig, read_config
from notebook_kit.errors import CheckpointError, InputError, UnknownArchitectureError, near_matches
from notebook_kit.hub import HUB_OPTIONS, Source, locate
from notebook_kit.processing.image import classes, detection, segmentation
from notebook_kit.processing.image.processor import BaseImageProcessor
from notebook_kit.processing.settings_files import modality_of, read_processor_settings

__all__ = ["AutoImageProcessor", "image_processor_class"]

_REGISTERED: dict[str, type[BaseImageProcessor]] = {}
"""Name of a class, and `model_type` -> class registered with `AutoImageProcessor.register`."""
_ENDING = re.compile(r"(FeatureExtractor|ImageProcessor|ImageProcessorFast|ImageProcessorPil)$")


class AutoImageProcessor:
    """Loads the image processor of a checkpoint; see `from_pretrained`.

    Example:
        >>> from notebook_kit import AutoImageProcessor
        >>> AutoImageProcessor.from_pretrained("google/vit-base-patch16-224").size  # doctest: +SKIP
        {'height': 224, 'width': 224}
    """

    def __init__(self) -> None:
        raise InputError(
            "AutoImageProcessor is not instantiated directly.",
            next_step="Use AutoImageProcessor.from_pretrained(name_or_path).",
        )

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | Source, *inputs: Any, **options: Any
    ) -> BaseImageProcessor:
        """Load an image processor from a folder, an embedded checkpoint, the cache, or the Hub.

        Its class is the one that preprocessor_config.json or processor_config.json names, else that of the `model_type` in
        config.json.

        Args:
            pretrained_model_name_or_path: A folder, a settings file, a name such as "google/vit-base-patch16-224", or a `Source`.
            options: As for `BaseImageProcessor.from_pretrained`. `use_fast` is accepted and ignored.

        Raises:
            HubError: If the checkpoint does not exist or cannot be downloaded.
            CheckpointError: If it has no settings of an image processor, or they are damaged.
            UnknownArchitectureError: If its class is not one that notebook_kit has.
            InputError: If an option is misspelled.

        Example:
            >>> import pathlib, tempfile
            >>> folder = pathlib.Path(tempfile.mkdtemp())
            >>> _ = (folder / "preprocessor_config.json").write_text('{"feature_extractor_type": "ViTFeatureExtractor"}')
            >>> type(AutoImageProcessor.from_pretrained(folder)).__name__
            'ViTImageProcessor'
        """
        where = {name: options.pop(name) for name in list(options) if name in HUB_OPTIONS}
        source = pretrained_model_name_or_path
        if not isinstance(source, Source) and not os.path.isfile(source):
            source = locate(source, **where)
        filename = options.get("image_processor_filename", "")
        settings, path = read_processor_settings(source, "image_processor", filename=filename)
        kind = image_processor_class(settings, path, source)
        return kind.from_pretrained(source, **options)

    @classmethod
    def register(
        cls,
        config_class: type[PretrainedConfig],
        image_processor_class: type[BaseImageProcessor] | None = None,
        slow_image_processor_class: type[BaseImageProcessor] | None = None,
        fast_image_processor_class: type[BaseImageProcessor] | None = None,
        exist_ok: bool = False,
    ) -> None:
        """Let `from_pretrained` return image processors of your own class.

        The class is used for checkpoints whose settings name it, and for those that name none and whose `config.json` has the
        configuration's `model_type`.

        Args:
            config_class: The configuration class of the models that it belongs to.
            image_processor_class: The class, derived from `BaseImageProcessor`.
            slow_image_processor_class, fast_image_processor_class: Older names of `image_processor_class`.
            exist_ok: Allow a `model_type` that notebook_kit already has.

        Raises:
            InputError: If the class is not derived from `BaseImageProcessor`, or notebook_kit already has the `model_type`.
        """
        kind = image_processor_class or fast_image_processor_class or slow_image_processor_class
        if not (isinstance(kind, type) and issubclass(kind, BaseImageProcessor)):
            raise InputError(
                "AutoImageProcessor.register takes a class derived from BaseImageProcessor.",
                next_step="Pass it as image_processor_class.",
            )
        if config_class.model_type in classes.BY_MODEL_TYPE and not exist_ok:
            raise InputError(
                f"notebook_kit already has an image processor for {config_class.model_type!r}.",
                next_step="Choose another model_type, or pass exist_ok=True.",
            )
        _REGISTERED[kind.__name__] = _REGISTERED[config_class.model_type] = kind


def image_processor_class(
    settings: dict[str, Any], path: str, source: str | os.PathLike[str] | Source
) -> type[BaseImageProcessor]:
    """The class of a checkpoint's image processor.

    Args:
        settings: The content of its settings file.
        path: The file, for messages.
        source: The checkpoint, whose config.json is read if the file names no class.

    Raises:
        UnknownArchitectureError: If notebook_kit does not have the class.
        CheckpointError: If neither file names one.
    """
    named = settings.get("image_processor_type") or settings.get("feature_extractor_type")
    if not isinstance(named, str):
        named = None if os.path.isfile(str(source)) else _by_configuration(source, path)
    if named is None:
        raise CheckpointError(
            f"{path} does not name the class of the image processor.",
            next_step='Add "image_processor_type", such as "ViTImageProcessor", or load it with the class itself.',
        )
    if named in _REGISTERED:
        return _REGISTERED[named]
    usual = _ENDING.sub("ImageProcessor", named)
    for module in (classes, detection, segmentation):
        if usual in module.__all__:
            return getattr(module, usual)
    if modality_of(source) == "audio":
        raise UnknownArchitectureError(
            f"{path} is for sound: it names the feature extractor {named}.",
            next_step="Load it with AutoFeatureExtractor.from_pretrained, or AutoProcessor.from_pretrained.",
        )
    known = [*sorted(set(classes.BY_MODEL_TYPE.values())), *_REGISTERED]
    raise UnknownArchitectureError(
        f"{path} names the image processor {named}, which notebook_kit does not have. {near_matches(named, known)}".rstrip(),
        next_step=f"It has {', '.join(known)}. For a class of your own, call AutoImageProcessor.register.",
    )


def _by_configuration(source: Any, path: str) -> str | None:
    """The class of the checkpoint's `model_type`."""
    config = read_config(source)[2]
    if isinstance(config.get("image_processor_type"), str):
        return config["image_processor_type"]
    model_type = config.get("model_type")
    if model_type in _REGISTERED:
        return str(model_type)
    found = classes.BY_MODEL_TYPE.get(str(model_type))
    if found is None and model_type is not None:
        raise UnknownArchitectureError(
            f"{path} names no image processor, and notebook_kit knows none for models of the type {model_type!r}. "
            f"{near_matches(str(model_type), classes.BY_MODEL_TYPE)}".rstrip(),
            next_step='Add "image_processor_type" to the file, such as "ViTImageProcessor".',
        )
    return found
