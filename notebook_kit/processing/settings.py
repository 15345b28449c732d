"""`ProcessorSettings`: the settings of a processor as attributes, read from a checkpoint's files and written to them.

The settings of a class are the annotated fields of its body, in the form of `preprocessor_config.json`.
"""

from __future__ import annotations

import copy
import difflib
import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from notebook_kit.errors import CheckpointError, InputError, UnknownAttributeError, near_matches
from notebook_kit.fields import mismatch, types_of
from notebook_kit.files import write_text
from notebook_kit.hub import HUB_OPTIONS, Source, take_hub_options
from notebook_kit.hub.saving import PushToHub, folder_to_save
from notebook_kit.keywords import MET
from notebook_kit.processing.settings_files import SETTINGS_FILE, read_processor_settings

__all__ = ["ProcessorSettings"]

# Fields of files that say what wrote them or hold no setting.
_NOT_SETTINGS = {"image_processor_type", "feature_extractor_type", "_valid_processor_keys", "_valid_kwargs_names"}
# Options of `from_pretrained` in `transformers` that have no effect here.
_IGNORED = {"backend", "config"} | MET


class ProcessorSettings(PushToHub):
    """The settings of an image processor or a feature extractor. Not instantiated directly.

    Every setting is an attribute and an argument of the constructor. Arguments that are no settings are kept in `extra`, and saved.

    Example:
        >>> from notebook_kit.processing.settings import ProcessorSettings
        >>> class Doubler(ProcessorSettings):
        ...     factor: float = 2.0
        >>> doubler = Doubler(factor=3.0, note="for tests")
        >>> doubler.factor, doubler.note
        (3.0, 'for tests')
    """

    part: ClassVar[str] = "image_processor"
    """The processor's place in processor_config.json; with `_type`, the key of its class."""
    old_names: ClassVar[Mapping[str, str]] = {}
    """Earlier name of a setting -> its name."""

    def __init__(self, **settings: Any) -> None:
        settings = {key: value for key, value in settings.items() if key not in _NOT_SETTINGS}
        names = self.types()
        stated = {name: getattr(type(self), name) for name in names}
        stated |= {name: value for name, value in self.current(settings).items() if value is not None}
        self.extra = {name: stated.pop(name) for name in list(stated) if name not in names}
        vars(self).update(self.checked(copy.deepcopy(stated)))

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        raise UnknownAttributeError(f"{type(self).__name__} has no {name!r}.", name, [*self.types(), *extra])

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    @classmethod
    def types(cls) -> dict[str, Any]:
        """Setting -> type."""
        kind: Any = cls
        return types_of(kind)

    @classmethod
    def current(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings under their current names."""
        current, names = {}, cls.types()
        for name, value in settings.items():
            new = cls.old_names.get(name, name)
            current[new if new in names and new not in settings else name] = value
        return current

    def checked(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values of settings in the form of current files; a class may override it.

        Raises:
            InputError: If one has the wrong type or is out of range.
        """
        values = {name: plain(value) for name, value in values.items()}
        if fault := mismatch(values, self.types()):
            raise InputError(f"{type(self).__name__}: {fault}.", next_step="Check the type of this setting.")
        return values

    # Files

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str] | Source, **options: Any) -> Self:
        """Load a processor from a folder, an embedded checkpoint, the cache, or the Hub.

        Args:
            pretrained_model_name_or_path: A folder, a settings file, a name such as "google/vit-base-patch16-224", or a `Source`.
            options: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`, `subfolder` say where to look;
                all others override the checkpoint's settings. With `return_unused_kwargs=True`, options that are no settings
                are returned beside the processor.

        Raises:
            HubError: If the checkpoint does not exist or cannot be downloaded.
            CheckpointError: If it has no settings of a processor, or they are damaged.
            InputError: If an option is misspelled.

        Example:
            >>> import tempfile
            >>> from notebook_kit import ViTImageProcessor
            >>> folder = tempfile.mkdtemp()
            >>> _ = ViTImageProcessor(size=384).save_pretrained(folder)
            >>> ViTImageProcessor.from_pretrained(folder, do_normalize=False).size
            {'height': 384, 'width': 384}
        """
        where = take_hub_options(options)
        filename = options.pop(f"{cls.part}_filename", "")
        settings, path = read_processor_settings(pretrained_model_name_or_path, cls.part, where, filename)
        try:
            cls(**settings)  # what is wrong with the file is not the options' fault
        except InputError as error:
            raise CheckpointError(
                f"{path}: {error.what}",
                next_step="Correct the file, or pass force_download=True if it came from the Hub.",
            ) from error
        return cls.from_dict(settings, **{key: value for key, value in options.items() if key not in _IGNORED})

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any], **options: Any) -> Any:
        """A processor with these settings, overridden by the options.

        Raises:
            InputError: If a setting has the wrong type or is out of range, or an option is misspelled.

        Example:
            >>> from notebook_kit import ViTImageProcessor
            >>> ViTImageProcessor.from_dict({"size": 224}, size=256).size
            {'height': 256, 'width': 256}
        """
        returns_unused = options.pop("return_unused_kwargs", False)
        names = [*cls.types(), *cls.old_names]
        unused = {name: value for name, value in options.items() if name not in names and name not in settings}
        for name in unused:
            if difflib.get_close_matches(name, names, n=1, cutoff=0.75):
                raise InputError(
                    f"{cls.__name__} has no setting {name!r}. {near_matches(name, names)}".rstrip(),
                    next_step=f"Check the spelling. Where to look is set by {', '.join(sorted(HUB_OPTIONS))}.",
                )
        known = {name: value for name, value in options.items() if name not in unused}
        processor = cls(**{**settings, **known})
        return (processor, unused) if returns_unused else processor

    def to_dict(self) -> dict[str, Any]:
        """The settings as they are saved, with the keys that came with the file.

        Example:
            >>> from notebook_kit import ViTImageProcessor
            >>> ViTImageProcessor().to_dict()["image_processor_type"]
            'ViTImageProcessor'
        """
        cls = type(self)
        values = {name: getattr(self, name) for name in self.types()}
        kept = {name: value for name, value in values.items() if value is not None or getattr(cls, name) is not None}
        return copy.deepcopy(kept | {f"{self.part}_type": cls.__name__, **self.extra})

    def to_json_string(self) -> str:
        """The settings as JSON, as they are saved."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, default=plain) + "\n"

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **push_options: Any
    ) -> list[str]:
        """Write preprocessor_config.json to a folder.

        Args:
            save_directory: The folder; it is created if it does not exist.
            push_to_hub: Upload it.
            push_options: `repo_id`, `token`, `private`, `commit_message`, ...

        Returns:
            The path of the file.

        Raises:
            InputError: If `save_directory` is a file.
            HubError: If it cannot be uploaded.
        """
        with folder_to_save(save_directory, push_to_hub, push_options) as folder:
            return [os.fspath(write_text(folder / SETTINGS_FILE, self.to_json_string()))]


def plain(value: Any) -> Any:
    """Arrays, tensors and enumerations as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return getattr(value, "value", value)
