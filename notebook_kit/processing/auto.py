"""`AutoProcessor`: what prepares the inputs of a checkpoint, whatever its modality."""

from __future__ import annotations

import os
import re
from typing import Any

from notebook_kit.configuration import read_config
from notebook_kit.errors import CheckpointError, InputError, NotebookKitError, UnknownArchitectureError
from notebook_kit.files import read_json
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.processing.audio import processors as of_sound
from notebook_kit.processing.audio.auto import AutoFeatureExtractor
from notebook_kit.processing.audio.language_models import Wav2Vec2ProcessorWithLM
from notebook_kit.processing.joint import images as of_images
from notebook_kit.processing.joint.base import JointProcessor
from notebook_kit.processing.settings_files import PROCESSOR_FILE, SETTINGS_FILE
from notebook_kit.processing.text import AutoTokenizer

__all__ = ["AutoProcessor"]

PROCESSORS: dict[str, type[JointProcessor]] = {
    **of_sound.PROCESSORS,
    **of_images.PROCESSORS,
    "Wav2Vec2ProcessorWithLM": Wav2Vec2ProcessorWithLM,
}
"""The name of a checkpoint's processor class -> the class."""


class AutoProcessor:
    """Loads what prepares a checkpoint's inputs: its joint processor, its feature extractor or image processor, or its
    tokenizer if it has none of these.

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
            UnknownArchitectureError: If its class is not one that notebook_kit has.
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
        named = _joint(source)
        if named is not None:
            return PROCESSORS[named].from_pretrained(source, **options)
        return AutoFeatureExtractor.from_pretrained(source, *inputs, **options)


def _joint(source: Source) -> str | None:
    """The class of a checkpoint's processor if that joins a tokenizer with another processor.

    Raises:
        UnknownArchitectureError: If notebook_kit does not have it.
    """
    for name in (PROCESSOR_FILE, SETTINGS_FILE, "tokenizer_config.json"):
        path = source.find(name)
        named = read_json(path).get("processor_class") if path is not None else None
        if not isinstance(named, str) or not re.search(r"(?<!Image)Processor(WithLM)?$", named):
            continue
        if named not in PROCESSORS:
            raise UnknownArchitectureError(
                f"{path} names the processor {named}, which notebook_kit does not have.",
                next_step="Load its parts: AutoFeatureExtractor.from_pretrained(name) and AutoTokenizer.from_pretrained(name).",
            )
        return named
    settings = source.find(SETTINGS_FILE)
    has_letters = source.find("vocab.json") is not None
    named = read_json(settings).get("feature_extractor_type") if settings is not None else None
    if named == "WhisperFeatureExtractor" and (has_letters or source.find("tokenizer.json") is not None):
        return "WhisperProcessor"
    if named == "Wav2Vec2FeatureExtractor":
        return "Wav2Vec2Processor" if has_letters else None
    try:
        model_type = read_config(source)[2].get("model_type")
    except NotebookKitError:
        return None
    has_tokenizer = source.find_first("tokenizer.json", "tokenizer_config.json", "vocab.txt") is not None
    return of_images.BY_MODEL_TYPE.get(str(model_type)) if has_tokenizer else None
