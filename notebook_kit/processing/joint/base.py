"""`JointProcessor`: a tokenizer and a processor for images or sound, as one object that is loaded and saved as one."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Self

from notebook_kit.errors import InputError, UnknownAttributeError
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.hub.saving import PushToHub, folder_to_save
from notebook_kit.processing.text import AutoTokenizer

__all__ = ["JointProcessor"]

_REMOVED = {
    "as_target_processor": "Pass labels in the same call: processor(audio, text=texts), or call processor.tokenizer(texts).",
    "current_processor": "Use processor.tokenizer, or the other processor in it.",
}
"""What `transformers` 5 has removed -> what to do instead."""


class JointProcessor(PushToHub):
    """A tokenizer, and a processor for images or sound in the attribute that `part` names.

    A class for a kind of input sets `part`, and overrides `__call__` and `load_part`.

    Args:
        part: The processor for images or sound.
        tokenizer: For texts.

    Raises:
        InputError: If one is missing.
    """

    part: ClassVar[str]
    """The attribute of the other processor: "image_processor" or "feature_extractor"."""

    def __init__(self, part: Any, tokenizer: Any) -> None:
        for name, given in ((self.part, part), ("tokenizer", tokenizer)):
            if not callable(given):
                article = "an" if name.startswith("image") else "a"
                raise InputError(
                    f"{type(self).__name__} needs {article} {name}; it is {given!r:.80}.",
                    next_step=f"Pass {name}=, or load both: {type(self).__name__}.from_pretrained(name).",
                )
            setattr(self, name, given)

    def __getattr__(self, name: str) -> Any:
        if name in _REMOVED:
            raise InputError(f"A processor has no {name} any more.", next_step=_REMOVED[name])
        raise UnknownAttributeError(f"{type(self).__name__} has no {name!r}.", name, dir(type(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(getattr(self, self.part)).__name__}, {self.tokenizer!r})"

    @property
    def attributes(self) -> list[str]:
        """The names of both parts."""
        return [self.part, "tokenizer"]

    def decode(self, *inputs: Any, **options: Any) -> Any:
        """As the tokenizer's `decode`."""
        return self.tokenizer.decode(*inputs, **options)

    def batch_decode(self, *inputs: Any, **options: Any) -> Any:
        """As the tokenizer's `batch_decode`."""
        return self.tokenizer.batch_decode(*inputs, **options)

    @classmethod
    def load_part(cls, source: Source) -> Any:
        """The processor for images or sound of a checkpoint."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str] | Source, **options: Any) -> Self:
        """Load both from a folder, an embedded checkpoint, the cache, or the Hub.

        Args:
            pretrained_model_name_or_path: A folder, a name such as "openai/whisper-tiny", or a `Source`.
            options: `revision`, `token`, ... say where to look; all others are those of the tokenizer, such as
                `model_max_length` or `language`. `use_fast` is accepted and ignored.

        Raises:
            HubError, CheckpointError, UnknownArchitectureError, InputError: As for the Auto classes of both.
        """
        source = locate(pretrained_model_name_or_path, **take_hub_options(options))
        return cls(cls.load_part(source), AutoTokenizer.from_pretrained(source, **options))

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **push_options: Any
    ) -> None:
        """Write the files of both into one folder, which `AutoProcessor` of this library and of `transformers` loads.

        Args:
            save_directory: The folder; it is created if it does not exist.
            push_to_hub: Upload it.
            push_options: `repo_id`, `token`, `private`, `commit_message`, ...

        Raises:
            InputError: If `save_directory` is a file.
        """
        name, part = type(self).__name__, getattr(self, self.part)
        part.extra["processor_class"] = name
        self.tokenizer.init_kwargs["processor_class"] = name
        with folder_to_save(save_directory, push_to_hub, push_options) as folder:
            part.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
