"""`AutoFeatureExtractor`: what turns a checkpoint's sound, or images, into the inputs of its model."""

from __future__ import annotations

import os
from typing import Any

from notebook_kit.configuration import PretrainedConfig, read_config
from notebook_kit.errors import InputError, UnknownArchitectureError, near_matches
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.processing.audio import classes
from notebook_kit.processing.audio.extractor import SequenceFeatureExtractor
from notebook_kit.processing.image.auto import AutoImageProcessor
from notebook_kit.processing.settings_files import read_processor_settings

__all__ = ["AutoFeatureExtractor"]

_REGISTERED: dict[str, type[SequenceFeatureExtractor]] = {}
"""Name of a class, and `model_type` -> class registered with `AutoFeatureExtractor.register`."""


class AutoFeatureExtractor:
    """Loads what turns sound into a model's inputs; or images, under the name that it had before `AutoImageProcessor`.

    Example:
        >>> import tempfile
        >>> from notebook_kit import AutoFeatureExtractor, WhisperFeatureExtractor
        >>> folder = tempfile.mkdtemp()
        >>> _ = WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
        >>> AutoFeatureExtractor.from_pretrained(folder).feature_size
        128
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

        Its class is the one that preprocessor_config.json or processor_config.json names, else that of the `model_type` in
        config.json.

        Args:
            pretrained_model_name_or_path: A folder, a settings file, a name such as "openai/whisper-tiny", or a `Source`.
            options: As for `SequenceFeatureExtractor.from_pretrained`.

        Raises:
            UnknownArchitectureError: If its class is not one that notebook_kit has.
            HubError, CheckpointError, InputError: As for `SequenceFeatureExtractor.from_pretrained`.
        """
        where = take_hub_options(options)
        source: Any = pretrained_model_name_or_path
        if isinstance(source, Source) or not os.path.isfile(source):
            source = locate(source, **where)
        settings, path = read_processor_settings(source, "feature_extractor")
        kind = _extractor_class(settings, path, source)
        return (kind or AutoImageProcessor).from_pretrained(source, *inputs, **options)

    @classmethod
    def register(
        cls,
        config_class: type[PretrainedConfig],
        feature_extractor_class: type[SequenceFeatureExtractor],
        exist_ok: bool = False,
    ) -> None:
        """Let `from_pretrained` return feature extractors of your own class, for checkpoints whose settings name it, and for
        those that name none and whose `config.json` has the configuration's `model_type`.

        Args:
            config_class: The configuration class of the models that it belongs to.
            feature_extractor_class: The class, derived from `SequenceFeatureExtractor`.
            exist_ok: Allow a `model_type` that notebook_kit already has.

        Raises:
            InputError: If the class is not derived from it, or notebook_kit already has the `model_type`.
        """
        kind = feature_extractor_class
        if not (isinstance(kind, type) and issubclass(kind, SequenceFeatureExtractor)):
            raise InputError(
                "AutoFeatureExtractor.register takes a class derived from SequenceFeatureExtractor.",
                next_step="Pass it as feature_extractor_class.",
            )
        if config_class.model_type in classes.BY_MODEL_TYPE and not exist_ok:
            raise InputError(
                f"notebook_kit already has a feature extractor for {config_class.model_type!r}.",
                next_step="Choose another model_type, or pass exist_ok=True.",
            )
        _REGISTERED[kind.__name__] = _REGISTERED[config_class.model_type] = kind


def _extractor_class(settings: dict[str, Any], path: str, source: Any) -> type[SequenceFeatureExtractor] | None:
    """The class of a checkpoint's feature extractor for sound; None if what it has is for images.

    Raises:
        UnknownArchitectureError: If it is for sound, and notebook_kit does not have it.
    """
    named = settings.get("feature_extractor_type")
    if not isinstance(named, str):
        if "image_processor_type" in settings or os.path.isfile(str(source)):
            return None
        model_type = str(read_config(source)[2].get("model_type"))
        if model_type in _REGISTERED:
            return _REGISTERED[model_type]
        named = classes.BY_MODEL_TYPE.get(model_type)
        return None if named is None else getattr(classes, named)
    if named in _REGISTERED:
        return _REGISTERED[named]
    if named in classes.BY_MODEL_TYPE.values():
        return getattr(classes, named)
    if named.startswith(_OTHER_SOUND):
        known = [*sorted(set(classes.BY_MODEL_TYPE.values())), *_REGISTERED]
        raise UnknownArchitectureError(
            f"{path} names the feature extractor {named}, which notebook_kit does not have. {near_matches(named, known)}".rstrip(),
            next_step=f"It has {', '.join(known)}. For a class of your own, call AutoFeatureExtractor.register.",
        )
    return None


_OTHER_SOUND = (
    *("Speech", "Clap", "Encodec", "SeamlessM4T", "MCTCT", "Univnet", "Dac", "Wav2Vec2", "Whisper", "AST", "Pop2Piano"),
    *("Granite", "Parakeet", "Musicgen", "Clvp", "Tvlt", "Phi4", "Gemma3n", "Dia"),
)
"""How the names of other feature extractors for sound begin."""
