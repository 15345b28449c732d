"""Checkpoints by name: in a folder, in the zoo, in the Hub's cache, or on the Hub.

Example:
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "config.json").write_text("{}")
    >>> source = locate(folder)
    >>> source.kind, source.require("config.json").name, source.find("model.safetensors")
    ('folder', 'config.json', None)
"""

from __future__ import annotations

from notebook_kit.hub.cache import cache_folder, cached_models, is_offline
from notebook_kit.hub.saving import push_folder
from notebook_kit.hub.source import HUB_OPTIONS, Source, locate, take_hub_options

__all__ = [
    "HUB_OPTIONS",
    "Source",
    "cache_folder",
    "cached_models",
    "is_offline",
    "locate",
    "push_folder",
    "take_hub_options",
]
