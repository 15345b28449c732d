"""The tokenizer class: text to token ids and back."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from tokenizers import AddedToken

from notebook_kit.errors import InputError, UnknownAttributeError
from notebook_kit.hub import Source
from notebook_kit.hub.saving import PushToHub, folder_to_save
from notebook_kit.processing.text import loading
from notebook_kit.processing.text.arguments import as_tokens, described
from notebook_kit.processing.text.building import bos_eos_template
from notebook_kit.processing.text.chat import ChatTemplates
from notebook_kit.processing.text.encoding import TextEncoder
from notebook_kit.processing.text.families import Family, family_of
from notebook_kit.processing.text.lengths import NO_LIMIT
from notebook_kit.processing.text.parts import Files, Parts
from notebook_kit.processing.text.preparing import InputPreparation
from notebook_kit.processing.text.saving import save, save_vocabulary_files
from notebook_kit.processing.text.settings import check_options, read_settings
from notebook_kit.processing.text.training import rename_token, train_backend
from notebook_kit.processing.text.vocabulary import ROLES, Vocabulary
from notebook_kit.processing.text.vocabulary_files import GENERIC_CLASSES

__all__ = ["CLASSES_BY_MODEL_TYPE", "TOKENIZER_CLASSES", "PreTrainedTokenizerBase", "PreTrainedTokenizerFast"]

TOKENIZER_CLASSES: dict[str, type[PreTrainedTokenizerBase]] = {}
"""The name of a checkpoint's tokenizer class, without "Fast" -> the class to load it with. `classes.py` adds those of the
families, and `AutoTokenizer.register` those of users."""
CLASSES_BY_MODEL_TYPE: dict[str, type[PreTrainedTokenizerBase]] = {}
"""Model type -> registered subclass, for checkpoints that do not name a specific class."""

# Attributes that can be changed after loading and are saved.
_SAVED = (
    "tokenizer_class",
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "chat_template",
)
_CHECKED = ("model_max_length", "model_input_names", "padding_side", "truncation_side", "chat_template")
_UNLIMITED = int(1e30)  # the value for "no limit" in the Hub's configs


class PreTrainedTokenizerBase(Vocabulary, TextEncoder, InputPreparation, ChatTemplates, PushToHub):
    """What all tokenizers have: `isinstance(tokenizer, PreTrainedTokenizerBase)`. Not instantiated directly.

    Example:
        >>> from notebook_kit import AutoTokenizer, PreTrainedTokenizerBase
        >>> isinstance(AutoTokenizer.from_pretrained("notebook-kit/tiny-gpt2"), PreTrainedTokenizerBase)
        True
    """

    recipe = ""
    """The name in `families.FAMILIES` that the class follows; "" to follow the checkpoint's."""
    model_input_names: list[str] = ["input_ids", "attention_mask"]
    padding_side: str = "right"
    truncation_side: str = "right"
    SPECIAL_TOKENS_ATTRIBUTES = list(ROLES)
    vocab_files_names: ClassVar[dict[str, str]] = {"tokenizer_file": "tokenizer.json"}

    def read_files(self, source: Files) -> None:
        """Read further files of a checkpoint; a class that has some overrides it."""

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Create a tokenizer from the result of loading or training."""
        tokenizer = cls.__new__(cls)
        tokenizer._set_up(parts)
        return tokenizer

    def _set_up(self, parts: Parts) -> None:
        options = dict(parts.options)
        self._tokenizer = parts.backend
        self._files: dict[str, bytes] = parts.extras.get("files", {})
        self._lock = threading.Lock()
        self._warned_too_long = False
        self._in_target = False
        registered = TOKENIZER_CLASSES.get(type(self).__name__.removesuffix("Fast")) is type(self)
        self.tokenizer_class = type(self).__name__ if registered else parts.class_name
        family = family_of(parts.class_name)
        self.name_or_path: str = options.pop("name_or_path", "")
        self.init_kwargs: dict[str, Any] = dict(options)

        extra = options.pop("additional_special_tokens", None) or options.pop("extra_special_tokens", None) or []
        options.pop("extra_special_tokens", None)
        self._roles = {role: options.pop(role, None) for role in ROLES}
        # Some checkpoints define additional roles, such as "image_token".
        named = {key: value for key, value in options.items() if key.endswith("_token")}
        named |= options.pop("model_specific_special_tokens", None) or {}
        named |= extra if isinstance(extra, Mapping) else {}
        self._roles |= {key: value for key, value in named.items() if isinstance(value, str | AddedToken)}
        self._extra = [] if isinstance(extra, Mapping) else list(extra)

        self.model_input_names = list(options.get("model_input_names") or self._default("model_input_names", family))
        self.padding_side = options.get("padding_side") or self._default("padding_side", family)
        self.truncation_side = options.get("truncation_side") or type(self).truncation_side
        limit = options.get("model_max_length") or options.get("max_len") or _UNLIMITED
        self.model_max_length = _UNLIMITED if limit == math.inf else int(limit)
        self.pad_token_type_id = options.get("pad_token_type_id") or 0
        self.clean_up_tokenization_spaces = bool(options.get("clean_up_tokenization_spaces"))
        self.split_special_tokens = bool(options.get("split_special_tokens"))
        self.chat_template = options.get("chat_template")
        self.verbose: bool = options.get("verbose", True)
        self._add_bos_token = bool(options.get("add_bos_token"))
        self._add_eos_token = bool(options.get("add_eos_token"))

        roles = [token for token in self._roles.values() if token is not None]
        loading.add_missing_tokens(self._tokenizer, parts.added_tokens, roles, self._extra)
        if "add_bos_token" in options or "add_eos_token" in options:
            self.update_post_processor()
        elif family and loading.needs_recipe(self._tokenizer, family, parts):
            self._tokenizer.post_processor = loading.recipe_post_processor(
                self._tokenizer, family, self._roles, dict(family.options) | options
            )

    def _default(self, name: str, family: Family | None) -> Any:
        """A class attribute, or its family's default if no subclass sets it."""
        own = getattr(type(self), name)
        return own if family is None or own is not getattr(PreTrainedTokenizerBase, name) else getattr(family, name)

    # Attributes

    @property
    def decoder(self) -> Any:
        """The part of the backend that turns tokens into text."""
        return self._tokenizer.decoder

    @property
    def is_fast(self) -> bool:
        """Always True: offsets and word ids are available."""
        return True

    @property
    def max_len_single_sentence(self) -> int:
        """The maximum number of tokens of one text, without special tokens."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=False)

    @property
    def max_len_sentences_pair(self) -> int:
        """The maximum number of tokens of a pair, without special tokens."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    @property
    def add_bos_token(self) -> bool:
        """Whether `bos_token` is put before each text. Can be set."""
        return self._add_bos_token

    @add_bos_token.setter
    def add_bos_token(self, value: bool) -> None:
        check_options({"add_bos_token": value})
        self._add_bos_token = bool(value)
        self.update_post_processor()

    @property
    def add_eos_token(self) -> bool:
        """Whether `eos_token` is put after each text. Can be set."""
        return self._add_eos_token

    @add_eos_token.setter
    def add_eos_token(self, value: bool) -> None:
        check_options({"add_eos_token": value})
        self._add_eos_token = bool(value)
        self.update_post_processor()

    def update_post_processor(self) -> None:
        """Put the current `bos_token` and `eos_token` around texts, as `add_bos_token` and `add_eos_token` say."""
        bos = self.bos_token if self._add_bos_token else None
        eos = self.eos_token if self._add_eos_token else None
        self._tokenizer.post_processor = bos_eos_template(bos, self.bos_token_id, eos, self.eos_token_id)

    def __getattr__(self, name: str) -> Any:
        # Called only for names that are not attributes: the checkpoint's additional roles and options.
        state = self.__dict__
        if name in state.get("_roles", ()):
            token = state["_roles"][name]
            return None if token is None else str(token)
        if name.endswith("_id") and name.removesuffix("_id") in state.get("_roles", ()):
            return self.convert_tokens_to_ids(getattr(self, name.removesuffix("_id")))
        if name in state.get("init_kwargs", ()):
            return state["init_kwargs"][name]
        raise UnknownAttributeError(f"A tokenizer has no attribute {name!r}.", name, dir(type(self)))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKED:
            check_options({name: value})
            if value is None and name != "chat_template":
                raise InputError(f"{name} was set to None.", next_step="Set a value, or leave the attribute alone.")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        # Without the traces of calls, so that equal tokenizers have equal pickles: `datasets` fingerprints them.
        return {key: value for key, value in self.__dict__.items() if key not in ("_lock", "_warned_too_long")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._warned_too_long = False

    def __repr__(self) -> str:
        limit = "none" if self.model_max_length > NO_LIMIT else self.model_max_length
        return (
            f"{type(self).__name__}({self.name_or_path!r}, class {self.tokenizer_class}, {len(self)} tokens, "
            f"model_max_length {limit}, special tokens {self.special_tokens_map})"
        )

    # Training, saving

    def train_new_from_iterator(
        self,
        text_iterator: Iterable[Any],
        vocab_size: int,
        length: int | None = None,
        new_special_tokens: list[str | AddedToken] | None = None,
        special_tokens_map: Mapping[str, str] | None = None,
        **trainer_options: Any,
    ) -> Self:
        """Train a tokenizer of the same kind (normalization, special tokens) with a vocabulary learned from new texts.

        Args:
            text_iterator: Texts, or batches (lists) of texts.
            vocab_size: The number of tokens, including special tokens.
            length: The number of items in the iterator, for the progress bar.
            new_special_tokens: Additional special tokens.
            special_tokens_map: New names of special tokens by their old names.
            trainer_options: Options of the trainer in `tokenizers`, such as min_frequency or show_progress.

        Raises:
            InputError: If the kind of vocabulary cannot be trained, the trainer has no such option, or the new vocabulary
                lacks a special token that is put around every text.
        """
        new = [] if new_special_tokens is None else as_tokens("new_special_tokens", new_special_tokens)
        names = {} if special_tokens_map is None else special_tokens_map
        if not isinstance(names, Mapping) or not all(isinstance(name, str) for name in [*names, *names.values()]):
            raise InputError(
                f"special_tokens_map is {described(names)}, which is not a dictionary of tokens.",
                next_step='Pass new names by old names, such as {"[CLS]": "<s>"}.',
            )
        backend = train_backend(self._tokenizer, text_iterator, vocab_size, length, new, names, trainer_options)
        settings = dict(self.init_kwargs)
        settings |= {role: rename_token(token, names) for role, token in self._roles.items() if token is not None}
        settings.pop("extra_special_tokens", None)
        settings["additional_special_tokens"] = [rename_token(token, names) for token in self._extra] + new
        settings["model_max_length"] = self.model_max_length
        return self.from_parts(Parts(backend, self.tokenizer_class, settings, from_file=True))

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **options: Any
    ) -> tuple[str, ...]:
        """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json and the family's vocabulary files.

        `transformers` can load the folder, too.

        Args:
            save_directory: The folder; created if it does not exist.
            push_to_hub: Also upload the folder to the Hub, with the options `repo_id`, `token`, `private`,
                `commit_message`, ... of `notebook_kit.hub.push_folder`.
            options: Those, and `filename_prefix`, which is put before the files' names.

        Returns:
            The paths of the files.

        Raises:
            InputError: If `save_directory` is a file.
        """
        options.pop("legacy_format", None)
        changed = {name: getattr(self, name) for name in _SAVED}
        if list(self.model_input_names) != ["input_ids", "attention_mask"]:
            changed["model_input_names"] = list(self.model_input_names)
        kept = {name: value for name, value in changed.items() if value is not None or name in self.init_kwargs}
        prefix = options.pop("filename_prefix", None)
        with folder_to_save(save_directory, push_to_hub, options) as folder:
            paths = list(map(str, save(folder, self, self.init_kwargs | kept, self.vocabulary_files(), prefix)))
            if not self.is_fast:
                paths += self.save_vocabulary(str(folder), prefix)
        return tuple(paths)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write only the vocabulary, in the text files of its kind, and return their paths.

        Args:
            save_directory: An existing folder.
            filename_prefix: Put before the files' names, with a hyphen.

        Raises:
            InputError: If there is no such folder, or the kind of vocabulary has no text files.
        """
        if not Path(save_directory).is_dir():
            raise InputError(f"There is no folder {save_directory}.", next_step="Create it first.")
        return tuple(map(str, save_vocabulary_files(Path(save_directory), self._tokenizer, filename_prefix)))

    def vocabulary_files(self) -> Mapping[str, bytes] | None:
        """The vocabulary's files as they were read, by name, to save instead of tokenizer.json; None to save neither.

        Empty unless tokenizer.json cannot represent the tokenizer, or other libraries read only these files.
        """
        return self._files

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoTokenizer") -> None:
        """Let `AutoTokenizer.from_pretrained` return this class for checkpoints that name it."""
        TOKENIZER_CLASSES[cls.__name__.removesuffix("Fast")] = cls


class PreTrainedTokenizerFast(PreTrainedTokenizerBase):
    """A tokenizer that turns text into model inputs (ids, masks, padding, truncation), and ids back into text.

    Usually loaded with `AutoTokenizer.from_pretrained`. Calls do not change its state: each call sets its own padding and
    truncation, and several threads can share one tokenizer. Classes such as `BertTokenizer` derive from it.

    Each lone surrogate in a text (half of a UTF-16 pair) is replaced by U+FFFD.

    Args:
        vocabulary: In place of the next two, the files or the contents of a vocabulary, in the order in which its family
            has them: `BertTokenizer("vocab.txt")`, `GPT2Tokenizer("vocab.json", "merges.txt")`. They can also be passed as
            `vocab=` (or `vocab_file=`) and `merges=` (or `merges_file=`).
        tokenizer_object: A `tokenizers.Tokenizer`, which is copied.
        tokenizer_file: The path of a tokenizer.json, instead of `tokenizer_object`.
        options: Special tokens by role (`pad_token="[PAD]"`), `model_max_length`, `padding_side`, `truncation_side`,
            `model_input_names`, `clean_up_tokenization_spaces`, `extra_special_tokens`, ...; all are saved with it.

    Raises:
        InputError: If there is no vocabulary or more than one, or an option is invalid.
        CheckpointError: If a file cannot be read.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> backend = Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1, "world": 2}, unk_token="[UNK]"))
        >>> backend.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")
        >>> tokenizer(["hello world", "hello"], padding="max_length", max_length=3)["attention_mask"]
        [[1, 1, 0], [1, 0, 0]]
        >>> tokenizer.decode(tokenizer("hello there").input_ids)
        'hello [UNK]'
    """

    def __init__(self, *vocabulary: Any, **options: Any) -> None:
        class_name = options.pop("tokenizer_class", None) or self.recipe or "PreTrainedTokenizerFast"
        self._set_up(loading.given_parts(class_name, vocabulary, options))

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | Source, *inputs: Any, **options: Any
    ) -> Any:
        """Load a tokenizer; see `AutoTokenizer.from_pretrained`. A family's class follows its own recipe."""
        source = loading.open_files(pretrained_model_name_or_path, options)
        kind: type[PreTrainedTokenizerBase] = cls
        wanted = cls.recipe or loading.class_of_type(options.pop("tokenizer_type", None))
        parts = loading.load_parts(source, options, wanted)
        if cls is PreTrainedTokenizerFast:
            kind = TOKENIZER_CLASSES.get(parts.class_name.removesuffix("Fast"), cls)
            if CLASSES_BY_MODEL_TYPE and parts.class_name in GENERIC_CLASSES:
                model_type = read_settings(source, "config.json").get("model_type", "")
                kind = CLASSES_BY_MODEL_TYPE.get(model_type, kind)
        tokenizer = kind.from_parts(parts)
        tokenizer.read_files(source)
        return tokenizer
