"""`AutoFeatureExtractor` and `AutoProcessor`: what prepares the inputs of a checkpoint, whatever its modality."""

from __future__ import annotations

import os
from typing import Any

from notebook_kit.errors import CheckpointError, InputError, UnknownArchitectureError
from notebook_kit.files import read_json
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.processing.image.auto import AutoImageProcessor
from notebook_kit.processing.settings_files import PROCESSOR_FILE, SETTINGS_FILE
from notebook_kit.processing.text import AutoTokenizer

__all__ = ["AutoFeatureExtractor", "AutoProcessor"]

_SOUND = (
    "Wav2Vec2",
    "Whisper",
    "AST",
    "Speech",
    "Clap",
    "Encodec",
    "SeamlessM4T",
    "MCTCT",
    "Univnet",
    "Dac",
    "ASTFeature",
)


class AutoFeatureExtractor:
    """Loads what turns images into a model's inputs, under the name that it had before `AutoImageProcessor`.

    Example:
        >>> import tempfile
        >>> from notebook_kit import AutoFeatureExtractor, ViTImageProcessor
        >>> folder = tempfile.mkdtemp()
        >>> _ = ViTImageProcessor().save_pretrained(folder)
        >>> type(AutoFeatureExtractor.from_pretrained(folder)).__name__
        'ViTImageProcessor'
    """

    def __init__(self) -> None:
        raise InputError(
            "AutoFeatureExtractor is not instantiated directly.",
            next_step="Use AutoFeatureExtractor.from_pretrained(name_or_path).",
        )

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | Source, *inputs: Any, **options: Any
    ) -> Any:
        """Load it from a folder, an embedded checkpoint, the cache, or the Hub.

        Args:
            pretrained_model_name_or_path: A folder, a name such as "google/vit-base-patch16-224", or a `Source`.
            options: As for `AutoImageProcessor.from_pretrained`.

        Raises:
            UnknownArchitectureError: If it is for sound, which notebook_kit does not support yet, or of an unknown class.
            HubError, CheckpointError, InputError: As for `AutoImageProcessor.from_pretrained`.
        """
        where = take_hub_options(options)
        source: Any = pretrained_model_name_or_path
        if isinstance(source, Source) or not os.path.isfile(source):
            source = locate(source, **where)
            _refuse_sound(source)
        return AutoImageProcessor.from_pretrained(source, *inputs, **options)


class AutoProcessor:
    """Loads what prepares a checkpoint's inputs: its image processor, or its tokenizer if it has none.

    Example:
        >>> import tempfile
        >>> from notebook_kit import AutoProcessor, ViTImageProcessor
        >>> folder = tempfile.mkdtemp()
        >>> _ = ViTImageProcessor().save_pretrained(folder)
        >>> type(AutoProcessor.from_pretrained(folder)).__name__
        'ViTImageProcessor'
    """

    def __init__(self) -> None:
        raise InputError(
            "AutoProcessor is not instantiated directly.", next_step="Use AutoProcessor.from_pretrained(name_or_path)."
        )

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | Source, *inputs: Any, **options: Any
    ) -> Any:
        """Load it from a folder, an embedded checkpoint, the cache, or the Hub.

        Args:
            pretrained_model_name_or_path: A folder, a name such as "google/vit-base-patch16-224", or a `Source`.
            options: As for `AutoImageProcessor.from_pretrained` or `AutoTokenizer.from_pretrained`.

        Raises:
            UnknownArchitectureError: If it is for several kinds of inputs or for sound, which notebook_kit does not support yet.
            HubError, CheckpointError, InputError: As for those.
        """
        source = locate(pretrained_model_name_or_path, **take_hub_options(options))
        path = source.find_first(PROCESSOR_FILE, SETTINGS_FILE)
        if path is None:
            try:
                return AutoTokenizer.from_pretrained(source, *inputs, **options)
            except CheckpointError as error:
                raise source.missing(
                    SETTINGS_FILE, "tokenizer.json", why="They say how inputs are prepared."
                ) from error
        _refuse_joint(source)
        _refuse_sound(source)
        return AutoImageProcessor.from_pretrained(source, *inputs, **options)


def _refuse_joint(source: Source) -> None:
    """Raise an error for a checkpoint whose processor joins a tokenizer and an image processor."""
    for name in (PROCESSOR_FILE, SETTINGS_FILE):
        path = source.find(name)
        named = read_json(path).get("processor_class") if path is not None else None
        if isinstance(named, str) and named.endswith("Processor") and not named.endswith("ImageProcessor"):
            raise UnknownArchitectureError(
                f"{path} names the processor {named}, which notebook_kit does not have.",
                next_step="Load its parts: AutoImageProcessor.from_pretrained(name) and AutoTokenizer.from_pretrained(name).",
            )


def _refuse_sound(source: Source) -> None:
    """Raise an error for a checkpoint whose feature extractor is for sound."""
    path = source.find(SETTINGS_FILE)
    named = read_json(path).get("feature_extractor_type") if path is not None else None
    if isinstance(named, str) and named.startswith(_SOUND):
        raise UnknownArchitectureError(
            f"{path} names the feature extractor {named}: notebook_kit does not support sound yet.",
            next_step="Choose a checkpoint for images.",
        )
