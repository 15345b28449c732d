"""Read the settings of a processor: preprocessor_config.json, or its part of processor_config.json."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from notebook_kit.configuration import read_config
from notebook_kit.errors import NotebookKitError, a_kind
from notebook_kit.files import damaged, read_json
from notebook_kit.hub import Source, locate
from notebook_kit.registry.families import FAMILIES

__all__ = ["PROCESSOR_FILE", "SETTINGS_FILE", "modality_of", "read_processor_settings"]

SETTINGS_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"
"""The newer file, in which the settings of each part of a joint processor are under the part's name."""


def read_processor_settings(
    name_or_path: str | os.PathLike[str] | Source, part: str, where: dict[str, Any] | None = None, filename: str = ""
) -> tuple[dict[str, Any], str]:
    """The settings of one part of a checkpoint's processor, and the path of the file that holds them.

    Args:
        name_or_path: A folder, a zoo name, a Hub name, a `Source`, or the path of the file itself.
        part: "image_processor" or "feature_extractor".
        where: Arguments of `locate`.
        filename: The file in the checkpoint; by default preprocessor_config.json.

    Raises:
        HubError: If the checkpoint cannot be found or downloaded.
        CheckpointError: If it has neither file, or a file is damaged.
    """
    if not isinstance(name_or_path, Source) and os.path.isfile(name_or_path):
        return read_json(name_or_path), os.fspath(name_or_path)
    source = locate(name_or_path, **(where or {}))
    path = source.find(filename or SETTINGS_FILE)
    joint = source.find(PROCESSOR_FILE) if not filename else None
    if joint is not None and (settings := _part(joint, part)) is not None:
        return settings, os.fspath(joint)
    if path is None:
        error = source.missing(filename or SETTINGS_FILE, why="It says how inputs are prepared.")
        if modality_of(source) == "text":
            error.next_step = "Its model reads texts: load AutoTokenizer, or pass a checkpoint for images or sound."
        raise error
    return read_json(path), os.fspath(path)


def modality_of(source: str | os.PathLike[str] | Source) -> str | None:
    """What the model of a checkpoint reads ("text", "image" or "audio"), by its config.json; None if that does not say it."""
    if not isinstance(source, Source) and os.path.isfile(source):
        return None
    try:
        family = FAMILIES.get(str(read_config(source)[2].get("model_type")))
    except NotebookKitError:
        return None
    return None if family is None else family.modality


def _part(path: Path, part: str) -> dict[str, Any] | None:
    settings = read_json(path).get(part)
    if settings is not None and not isinstance(settings, dict):
        raise damaged(path, f"its field {part!r} is {a_kind(settings)} instead of an object")
    return settings
