"""The tokenizer class: text to token ids and back."""

from __future__ import annotations

import copy
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tokenizers import AddedToken, Encoding, Tokenizer

from notebook_kit.errors import InputError, NotebookKitWarning, near_matches
from notebook_kit.hub import Source
from notebook_kit.hub.saving import PushToHub, folder_to_save
from notebook_kit.processing.padding import check_side, pad_inputs
from notebook_kit.processing.text import loading
from notebook_kit.processing.text.batch_encoding import BatchEncoding
from notebook_kit.processing.text.chat import ChatTemplates
from notebook_kit.processing.text.families import bos_eos_template, family_of
from notebook_kit.processing.text.inputs import as_batch, backend_errors, cannot_encode, renamed, repair
from notebook_kit.processing.text.lengths import NO_LIMIT, Lengths, resolve_lengths
from notebook_kit.processing.text.parts import Parts
from notebook_kit.processing.text.saving import save
from notebook_kit.processing.text.training import rename_token, train_backend
from notebook_kit.processing.text.vocabulary import ROLES, Vocabulary

__all__ = ["CLASSES_BY_MODEL_TYPE", "TOKENIZER_CLASSES", "PreTrainedTokenizerFast"]

TOKENIZER_CLASSES: dict[str, type[PreTrainedTokenizerFast]] = {}
"""The name of a checkpoint's tokenizer class, without "Fast" -> the subclass to load it with, for those that need one.
Modules with such subclasses add them, as does `AutoTokenizer.register`."""
CLASSES_BY_MODEL_TYPE: dict[str, type[PreTrainedTokenizerFast]] = {}
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
# Entries of a call's result -> attributes of a `tokenizers.Encoding`.
_ATTRIBUTES = {
    "token_type_ids": "type_ids",
    "attention_mask": "attention_mask",
    "special_tokens_mask": "special_tokens_mask",
    "offset_mapping": "offsets",
}
_UNLIMITED = int(1e30)  # the value for "no limit" in the Hub's configs


class PreTrainedTokenizerFast(Vocabulary, ChatTemplates, PushToHub):
    """A tokenizer that turns text into model inputs (ids, masks, padding, truncation), and ids back into text.

    Usually loaded with `AutoTokenizer.from_pretrained`. Calls do not change its state: each call sets its own padding and
    truncation, and several threads can share one tokenizer.

    Each lone surrogate in a text (half of a UTF-16 pair) is replaced by U+FFFD.

    Args:
        tokenizer_object: A `tokenizers.Tokenizer`, which is copied.
        tokenizer_file: The path of a tokenizer.json, instead of `tokenizer_object`.
        options: Special tokens by role (`pad_token="[PAD]"`), `model_max_length`, `padding_side`, `truncation_side`,
            `model_input_names`, `clean_up_tokenization_spaces`, `extra_special_tokens`, ...; all are saved with it.

    Raises:
        InputError: If neither or both of `tokenizer_object` and `tokenizer_file` are passed, or an option is invalid.
        CheckpointError: If `tokenizer_file` cannot be read.

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

    def __init__(
        self,
        tokenizer_object: Tokenizer | None = None,
        tokenizer_file: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        if (tokenizer_object is None) == (tokenizer_file is None):
            raise InputError(
                "A tokenizer is built from tokenizer_object or tokenizer_file: pass exactly one of them.",
                next_step="To load a checkpoint use AutoTokenizer.from_pretrained(name_or_path).",
            )
        if tokenizer_file is not None:
            backend: Tokenizer = loading.from_file(Path(tokenizer_file))
        else:
            backend = copy.deepcopy(tokenizer_object)  # type: ignore[assignment]
        loading.keep_padding_defaults(backend, options)
        class_name = options.pop("tokenizer_class", "PreTrainedTokenizerFast")
        self._set_up(Parts(backend, class_name, options))

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Create a tokenizer from the result of loading or training."""
        tokenizer = cls.__new__(cls)
        tokenizer._set_up(parts)
        return tokenizer

    def _set_up(self, parts: Parts) -> None:
        options = dict(parts.options)
        self._tokenizer = parts.backend
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
        named |= extra if isinstance(extra, Mapping) else {}
        self._roles |= {key: value for key, value in named.items() if isinstance(value, str | AddedToken)}
        self._extra = [] if isinstance(extra, Mapping) else list(extra)

        names = family.model_input_names if family else ("input_ids", "attention_mask")
        self.model_input_names: list[str] = list(options.get("model_input_names") or names)
        self.model_max_length: int = options.get("model_max_length") or options.get("max_len") or _UNLIMITED
        self.padding_side: str = options.get("padding_side") or (family.padding_side if family else "right")
        self.truncation_side: str = options.get("truncation_side") or "right"
        for side in (self.padding_side, self.truncation_side):
            check_side(side)
        self.pad_token_type_id: int = options.get("pad_token_type_id") or 0
        self.clean_up_tokenization_spaces: bool = bool(options.get("clean_up_tokenization_spaces"))
        self.split_special_tokens: bool = bool(options.get("split_special_tokens"))
        self.chat_template = options.get("chat_template")
        self.verbose: bool = options.get("verbose", True)
        self._add_bos_token = bool(options.get("add_bos_token"))
        self._add_eos_token = bool(options.get("add_eos_token"))

        roles = [token for token in self._roles.values() if token is not None]
        loading.add_missing_tokens(self._tokenizer, parts.added_tokens, roles, self._extra)
        if "add_bos_token" in options or "add_eos_token" in options:
            self._surround_with_bos_eos()
        elif family and not family.languages and loading.needs_recipe(self._tokenizer, family, parts):
            self._tokenizer.post_processor = loading.recipe_post_processor(
                self._tokenizer, family, self._roles, dict(family.options) | options
            )

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str] | Source, **options: Any) -> PreTrainedTokenizerFast:
        """Load a tokenizer; see `AutoTokenizer.from_pretrained`."""
        options = dict(options)
        source = loading.open_files(name_or_path, options)
        parts = loading.load_parts(source, options)
        needed = TOKENIZER_CLASSES.get(parts.class_name.removesuffix("Fast"))
        if CLASSES_BY_MODEL_TYPE and parts.class_name in loading.GENERIC_CLASSES:
            model_type = loading.read_settings(source, "config.json").get("model_type", "")
            needed = CLASSES_BY_MODEL_TYPE.get(model_type, needed)
        return (needed if needed and cls is PreTrainedTokenizerFast else cls).from_parts(parts)

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
        self._add_bos_token = value
        self._surround_with_bos_eos()

    @property
    def add_eos_token(self) -> bool:
        """Whether `eos_token` is put after each text. Can be set."""
        return self._add_eos_token

    @add_eos_token.setter
    def add_eos_token(self, value: bool) -> None:
        self._add_eos_token = value
        self._surround_with_bos_eos()

    def _surround_with_bos_eos(self) -> None:
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
        hint = "" if name.startswith("_") else near_matches(name, dir(type(self)))
        raise AttributeError(f"A tokenizer has no attribute {name!r}. {hint}".rstrip())

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

    # Text to ids

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
        verbose: bool = True,
        max_target_length: int | None = None,
        **unknown: Any,
    ) -> BatchEncoding:
        """Convert a text, or a batch of texts, to model inputs.

        Args:
            text: A str or a list of str; with `is_split_into_words` a list of words or a list of lists of words. A list of
                2-tuples is a batch of pairs.
            text_pair: The second text of a pair, in the same form as `text`.
            text_target, text_pair_target: Texts whose ids are returned as "labels" (as "input_ids" without `text`).
            add_special_tokens: Put the model's special tokens around the texts.
            padding: True or "longest": up to the longest of the batch; "max_length": up to `max_length`; False: none.
            truncation: True or "longest_first", "only_first", "only_second": cut to `max_length`; False: none.
            max_length: In tokens, including special tokens; None uses the model's limit.
            stride: The number of tokens that consecutive overflowing pieces share.
            is_split_into_words: Whether the texts are already split into words.
            pad_to_multiple_of: Round the padded length up to a multiple of this.
            padding_side: "right" or "left"; None uses the tokenizer's setting.
            return_tensors: "pt", "np", or None for lists.
            return_token_type_ids, return_attention_mask: None returns them if they are in `model_input_names`.
            return_overflowing_tokens: Return the truncated parts as further rows, and "overflow_to_sample_mapping".
            return_special_tokens_mask: Return 1 for special tokens, 0 for the text's tokens.
            return_offsets_mapping: Return the (start, end) characters of each token.
            return_length: Return the number of tokens in each row.
            split_special_tokens: Treat special tokens in the text as ordinary text; None uses the tokenizer's setting.
            verbose: Warn about sequences that are longer than the model's limit.
            max_target_length: `max_length` for the targets.

        Returns:
            A `BatchEncoding`: for a batch lists of lists or tensors (batch, length) of int64; for one text flat lists, or
            tensors (1, length).

        Raises:
            InputError: If an input is not text (named by its position and type), options contradict each other, padding is
                requested without a padding token, or a keyword does not exist.
        """
        if unknown:
            return self(**renamed(unknown, locals()))
        lengths = resolve_lengths(
            padding,
            truncation,
            max_length,
            pad_to_multiple_of,
            limit=self.model_max_length,
            can_pad=self.pad_token_id is not None,
            verbose=verbose,
        )
        options = {
            "add_special_tokens": add_special_tokens,
            "stride": stride,
            "is_split_into_words": is_split_into_words,
            "pad_to_multiple_of": pad_to_multiple_of,
            "padding_side": padding_side or self.padding_side,
            "split_special_tokens": self.split_special_tokens if split_special_tokens is None else split_special_tokens,
            "target": self._in_target,
        }
        returned = {
            "token_type_ids": self._returns("token_type_ids", return_token_type_ids),
            "attention_mask": self._returns("attention_mask", return_attention_mask),
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
            "overflowing": return_overflowing_tokens,
        }
        if text is None and text_target is None:
            raise InputError("The text is None.", next_step="Pass a str, a list of str, or text_target.")
        encoding = None
        if text is not None:
            encoding = self._encode(text, text_pair, lengths, options, returned, return_tensors, verbose)
        if text_target is None:
            return encoding  # type: ignore[return-value]
        if max_target_length is not None:
            lengths = lengths._replace(max_length=max_target_length)
        options = {**options, "target": True}
        target = self._encode(text_target, text_pair_target, lengths, options, returned, return_tensors, verbose)
        if encoding is None:
            return target
        encoding["labels"] = target["input_ids"]
        return encoding

    def _returns(self, name: str, wanted: bool | None) -> bool:
        return name in self.model_input_names if wanted is None else wanted

    def _encode(
        self,
        text: Any,
        pair: Any,
        lengths: Lengths,
        options: Mapping[str, Any],
        returned: Mapping[str, Any],
        return_tensors: str | None,
        verbose: bool,
    ) -> BatchEncoding:
        batch, batched = as_batch(text, pair, options["is_split_into_words"])
        encodings = self._run(batch, batched, lengths, options)
        samples: list[int] | None = None
        if returned["overflowing"]:
            rows = [[encoding, *encoding.overflowing] for encoding in encodings]
            samples = [sample for sample, row in enumerate(rows) for _ in row]
            encodings = [encoding for row in rows for encoding in row]

        data: dict[str, Any] = {"input_ids": [self._ids(encoding, options["target"]) for encoding in encodings]}
        for name, attribute in _ATTRIBUTES.items():
            if returned[name]:
                data[name] = [getattr(encoding, attribute) for encoding in encodings]
        if returned["length"]:
            data["length"] = [len(ids) for ids in data["input_ids"]]
        if samples is not None:
            data["overflow_to_sample_mapping"] = samples
        if lengths.max_length is None and verbose and not self._warned_too_long:
            self._warn_if_too_long(data["input_ids"])
        if not batched and return_tensors is None and samples is None:
            data = {key: value[0] if isinstance(value[0], list) else value for key, value in data.items()}
        return BatchEncoding(data, encodings, return_tensors)

    def _run(self, batch: Sequence[Any], batched: bool, lengths: Lengths, options: Mapping[str, Any]) -> list[Encoding]:
        """Encode a batch with the backend, whose state (padding, truncation) is set for this call and then reset."""
        if not batch:
            return []
        is_split, add_special = options["is_split_into_words"], options["add_special_tokens"]
        explained = backend_errors(lambda error: cannot_encode(error, lengths, options))
        with self._lock, explained, self._encoder(options["target"]) as backend:
            try:
                self._set_state(backend, lengths, options)
                try:
                    return backend.encode_batch(batch, is_split, add_special)
                except TypeError:
                    repaired = repair(batch, batched, is_split)
                    if repaired is None:
                        raise
                    return backend.encode_batch(repaired, is_split, add_special)
            finally:
                if lengths.truncation:
                    backend.no_truncation()
                if lengths.padding:
                    backend.no_padding()
                if options["split_special_tokens"]:
                    backend.encode_special_tokens = False

    @contextmanager
    def _encoder(self, target: bool) -> Iterator[Tokenizer]:
        """The backend that encodes texts, or targets: tokenizers of translation models encode these differently."""
        yield self._tokenizer

    def _ids(self, encoding: Encoding, target: bool) -> list[int]:
        return encoding.ids

    def _set_state(self, backend: Tokenizer, lengths: Lengths, options: Mapping[str, Any]) -> None:
        if lengths.truncation and lengths.max_length is not None:
            backend.enable_truncation(
                max_length=lengths.max_length,
                stride=options["stride"],
                strategy=lengths.truncation,
                direction=check_side(self.truncation_side),
            )
        if lengths.padding:
            backend.enable_padding(
                length=lengths.max_length if lengths.padding == "max_length" else None,
                direction=check_side(options["padding_side"]),
                pad_id=backend.token_to_id(self.pad_token),
                pad_token=self.pad_token,
                pad_type_id=self.pad_token_type_id,
                pad_to_multiple_of=options["pad_to_multiple_of"],
            )
        if options["split_special_tokens"]:
            backend.encode_special_tokens = True

    def _warn_if_too_long(self, rows: list[list[int]]) -> None:
        longest = max(map(len, rows), default=0)
        if longest <= self.model_max_length:
            return
        self._warned_too_long = True
        warnings.warn(
            f"A text has {longest} tokens, more than the {self.model_max_length} that this model supports; running it "
            "through the model will fail or give wrong results. Pass truncation=True to cut it. (This warning appears "
            "once per tokenizer.)",
            NotebookKitWarning,
            stacklevel=4,
        )

    @contextmanager
    def as_target_tokenizer(self) -> Iterator[None]:
        """The older form of `text_target`: inside the block, texts are encoded as targets."""
        self._in_target = True
        try:
            yield
        finally:
            self._in_target = False

    def encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> BatchEncoding:
        """The older form of a call with one text or pair."""
        return self(text, text_pair, **options)

    def batch_encode_plus(self, batch_text_or_text_pairs: Any, **options: Any) -> BatchEncoding:
        """The older form of a call with a batch of texts or 2-tuples."""
        return self(batch_text_or_text_pairs, **options)

    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """The ids of a text: `self(text, ...)["input_ids"]`.

        Example:
            >>> from tokenizers import Tokenizer, models
            >>> backend = Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1}, unk_token="[UNK]"))
            >>> PreTrainedTokenizerFast(tokenizer_object=backend).encode("hello")
            [1]
        """
        return self(text, text_pair, **options)["input_ids"]

    def tokenize(self, text: Any, pair: Any = None, add_special_tokens: bool = False, **options: Any) -> list[str]:
        """The tokens of a text as str, without special tokens by default."""
        return self(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad texts that were tokenized without padding, as collators do.

        Args:
            encoded_inputs: A dictionary of lists (or of lists of lists, arrays, tensors), or a list of dictionaries.
            padding, max_length, pad_to_multiple_of, padding_side: As in a call.
            return_attention_mask: Create an attention_mask if it is missing; None does if it is in `model_input_names`.
            return_tensors: "pt" or "np"; None keeps the format of the input: lists for lists, tensors for tensors.

        Returns:
            A `BatchEncoding` with padded input_ids, attention_mask, token_type_ids and special_tokens_mask; other entries
            are unchanged.

        Raises:
            InputError: If there are no input_ids, the features differ in their entries, padding is requested without a
                padding token, or tensors were requested and rows differ in length.

        Example:
            >>> from tokenizers import Tokenizer, models
            >>> backend = Tokenizer(models.WordLevel({"[PAD]": 0, "hello": 1}, unk_token="[PAD]"))
            >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]")
            >>> tokenizer.pad([{"input_ids": [1]}, {"input_ids": [1, 1]}])["attention_mask"]
            [[1, 0], [1, 1]]
        """
        can_pad = self.pad_token_id is not None
        lengths = resolve_lengths(
            padding, False, max_length, limit=self.model_max_length, can_pad=can_pad, verbose=verbose
        )
        main = self.model_input_names[0]
        fill = {main: self.pad_token_id, "token_type_ids": self.pad_token_type_id, "special_tokens_mask": 1}
        batch = pad_inputs(
            encoded_inputs,
            main,
            fill,
            padding=lengths.padding is not None,
            length=lengths.max_length if lengths.padding == "max_length" else None,
            multiple_of=pad_to_multiple_of,
            side=check_side(padding_side or self.padding_side),
            mask=self._returns("attention_mask", return_attention_mask),
            return_tensors=return_tensors,
        )
        return BatchEncoding(batch)

    # Training, saving

    def train_new_from_iterator(
        self,
        text_iterator: Iterable[Any],
        vocab_size: int,
        length: int | None = None,
        new_special_tokens: list[str | AddedToken] | None = None,
        special_tokens_map: Mapping[str, str] | None = None,
        **trainer_options: Any,
    ) -> PreTrainedTokenizerFast:
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
        names = dict(special_tokens_map or {})
        new = list(new_special_tokens or [])
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
            paths = save(folder, self, self.init_kwargs | kept, self.vocabulary_files(), prefix)
        return tuple(map(str, paths))

    def vocabulary_files(self) -> Mapping[str, bytes]:
        """Files to save instead of tokenizer.json, by name, for tokenizers that it cannot represent."""
        return {}
