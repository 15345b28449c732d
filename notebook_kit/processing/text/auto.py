"""Tokenizers: text to token ids and back.

Example:
    >>> from notebook_kit.processing.text.auto import PreTrainedTokenizerFast
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> backend = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "hello": 2, "world": 3}, unk_token="[UNK]"))
    >>> backend.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")
    >>> tokenizer(["hello world", "hello"], padding=True)["input_ids"]
    [[2, 3], [2, 1]]
"""

from __future__ import annotations

import os
from typing import Any

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import InputError
from notebook_kit.hub import Source
from notebook_kit.processing.text import (
    classes,  # noqa: F401 - adds the families' classes to TOKENIZER_CLASSES
    ctc,
)
from notebook_kit.processing.text.batch_encoding import BatchEncoding, CharSpan, TokenSpan
from notebook_kit.processing.text.loading import open_files
from notebook_kit.processing.text.python import PreTrainedTokenizer
from notebook_kit.processing.text.settings import read_settings
from notebook_kit.processing.text.tokenizer import (
    CLASSES_BY_MODEL_TYPE,
    TOKENIZER_CLASSES,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from notebook_kit.registry.families import FAMILIES

__all__ = ["AutoTokenizer", "BatchEncoding", "CharSpan", "PreTrainedTokenizerFast", "TokenSpan"]


class AutoTokenizer:
    """Loads the tokenizer of a checkpoint; see `from_pretrained`.

    Example:
        >>> from notebook_kit import AutoTokenizer
        >>> AutoTokenizer.from_pretrained("distilbert/distilbert-base-uncased")("hello").input_ids  # doctest: +SKIP
        [101, 7592, 102]
    """

    def __init__(self) -> None:
        raise InputError(
            "AutoTokenizer is not instantiated directly.", next_step="Use AutoTokenizer.from_pretrained(name_or_path)."
        )

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | Source, *inputs: Any, **options: Any
    ) -> Any:
        """Load a tokenizer from a folder, an embedded checkpoint, the cache, or the Hub.

        Args:
            pretrained_model_name_or_path: A folder, a vocabulary file, a name such as "distilbert/distilbert-base-uncased", or a `Source`.
            options: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`, `subfolder` say where to
                look; all others override the checkpoint's settings: special tokens by role, `model_max_length`,
                `padding_side`, `truncation_side`, `add_prefix_space`, `do_lower_case`, ... `use_fast` is accepted and
                ignored: every tokenizer here is the fast kind. Options of a call (`return_tensors`, ...) are kept in
                `init_kwargs` and have no effect, which one warning says.

        Raises:
            HubError: If the checkpoint does not exist or cannot be downloaded.
            CheckpointError: If it has no vocabulary, or a file is damaged.
            UnknownArchitectureError: If it has only vocabulary files, of a class that cannot be built from them here.
            InputError: If an option does not exist.

        Example:
            >>> import pathlib, tempfile
            >>> folder = pathlib.Path(tempfile.mkdtemp())
            >>> vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "##s"]
            >>> _ = (folder / "vocab.txt").write_text("\\n".join(vocabulary))
            >>> tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=512)
            >>> tokenizer("Hello worlds")["input_ids"], tokenizer.tokenize("Hello worlds")
            ([2, 5, 6, 7, 3], ['hello', 'world', '##s'])
        """
        source = open_files(pretrained_model_name_or_path, dict(options))
        name = read_settings(source, "tokenizer_config.json").get("tokenizer_class")
        if name is None and source.find("tokenizer.json") is None:
            config = read_settings(source, "config.json")
            is_ctc = config.get("model_type") in ctc.CTC_MODEL_TYPES and source.find("vocab.json") is not None
            name = config.get("tokenizer_class", "Wav2Vec2CTCTokenizer" if is_ctc else None)
        registered = TOKENIZER_CLASSES.get(str(name), PreTrainedTokenizerFast)
        if issubclass(registered, PreTrainedTokenizer):
            return registered.from_pretrained(pretrained_model_name_or_path, *inputs, **options)
        return PreTrainedTokenizerFast.from_pretrained(pretrained_model_name_or_path, *inputs, **options)

    @classmethod
    def register(
        cls,
        config_class: type[PretrainedConfig],
        tokenizer_class: type[PreTrainedTokenizerBase] | None = None,
        slow_tokenizer_class: type[PreTrainedTokenizerBase] | None = None,
        fast_tokenizer_class: type[PreTrainedTokenizerBase] | None = None,
        exist_ok: bool = False,
    ) -> None:
        """Let `from_pretrained` return tokenizers of your own class.

        The class is used for checkpoints whose `tokenizer_config.json` names it, and for those that name no specific class
        and whose `config.json` has the configuration's `model_type`.

        Args:
            config_class: The configuration class of the models that the tokenizer belongs to.
            tokenizer_class: The class, derived from `PreTrainedTokenizerFast` or `PreTrainedTokenizer`.
            slow_tokenizer_class, fast_tokenizer_class: Older names of `tokenizer_class`.
            exist_ok: Allow a `model_type` that notebook_kit already has.

        Raises:
            InputError: If the class is not derived from one of these, or notebook_kit already has the
                `model_type`.
        """
        kind = tokenizer_class or fast_tokenizer_class or slow_tokenizer_class
        if not (isinstance(kind, type) and issubclass(kind, PreTrainedTokenizerBase)):
            raise InputError(
                "AutoTokenizer.register takes a class derived from PreTrainedTokenizerFast or PreTrainedTokenizer.",
                next_step="Pass it as tokenizer_class.",
            )
        if config_class.model_type in FAMILIES and not exist_ok:
            raise InputError(
                f"notebook_kit already has tokenizers for {config_class.model_type!r}.",
                next_step="Choose another model_type, or pass exist_ok=True.",
            )
        TOKENIZER_CLASSES[kind.__name__.removesuffix("Fast")] = kind
        CLASSES_BY_MODEL_TYPE[config_class.model_type] = kind
