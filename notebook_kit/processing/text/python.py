"""Tokenizers whose rules are written in Python, by subclassing `PreTrainedTokenizer`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from tokenizers import AddedToken, Encoding, Tokenizer, models, processors

from notebook_kit.errors import InputError
from notebook_kit.hub import Source
from notebook_kit.processing.text.arguments import as_ids, as_sequence, as_tokens, described
from notebook_kit.processing.text.inputs import backend_errors, cannot_encode, repair
from notebook_kit.processing.text.lengths import Lengths
from notebook_kit.processing.text.loading import open_files
from notebook_kit.processing.text.parts import Parts
from notebook_kit.processing.text.settings import as_token, read_settings
from notebook_kit.processing.text.tokenizer import PreTrainedTokenizerBase

__all__ = ["PreTrainedTokenizer"]

_FIRST, _SECOND = 2**31 - 1, 2**31 - 2  # stand for the texts in a template


class PreTrainedTokenizer(PreTrainedTokenizerBase):
    """A base class for tokenizers that are written in Python.

    A subclass defines `vocab_size`, `get_vocab()`, `_tokenize(text)`, `_convert_token_to_id(token)` and
    `_convert_id_to_token(id)`; then it can be called, pads, truncates, decodes and is saved as all others. It may also
    define `build_inputs_with_special_tokens` and `create_token_type_ids_from_sequences` for its special tokens, and
    `save_vocabulary` with the class attribute `vocab_files_names` to be loaded again. Offsets and word ids are not available.

    Args:
        options: Special tokens by role, `model_max_length`, `padding_side`, ... as for `PreTrainedTokenizerFast`.

    Raises:
        InputError: If an option is invalid, or the subclass lacks one of these methods.

    Example:
        >>> class Letters(PreTrainedTokenizer):
        ...     vocab_size = 26
        ...
        ...     def get_vocab(self):
        ...         return {chr(97 + id): id for id in range(26)} | self.added_tokens_encoder
        ...
        ...     def _tokenize(self, text):
        ...         return list(text)
        ...
        ...     def _convert_token_to_id(self, token):
        ...         return ord(token) - 97 if "a" <= token <= "z" else self.unk_token_id
        ...
        ...     def _convert_id_to_token(self, id):
        ...         return chr(97 + id)
        >>> tokenizer = Letters(unk_token="?", pad_token="_")
        >>> tokenizer(["abc", "z!"], padding=True)["input_ids"]
        [[0, 1, 2], [25, 26, 27]]
    """

    vocab_files_names: ClassVar[dict[str, str]] = {}
    vocab: Any = None  # a plain attribute, which subclasses set
    decoder: Any = None
    _added: dict[int, AddedToken]

    def __init__(self, **options: Any) -> None:
        self.__dict__.setdefault("_added", {})
        decoder = options.pop("added_tokens_decoder", None) or {}
        self._added |= {int(id): as_token(token) for id, token in decoder.items()}
        options = {name: as_token(value) for name, value in options.items()}
        self._set_up(Parts(Tokenizer(models.WordLevel({}, "")), type(self).__name__, options))
        self.add_tokens(
            [*(token for token in self._roles.values() if token is not None), *self._extra], special_tokens=True
        )

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | Source, *inputs: Any, **options: Any
    ) -> Self:
        """Load a tokenizer that was saved with `save_pretrained`: the class is called with its files and its settings.

        Raises:
            RepoNotFoundError: If there is no such folder or repository.
        """
        source = open_files(pretrained_model_name_or_path, options)
        settings = read_settings(source, "tokenizer_config.json")
        settings.pop("tokenizer_class", None)
        files = {name: source.find(file) for name, file in cls.vocab_files_names.items()}
        found = {name: str(path) for name, path in files.items() if path is not None}
        return cls(*inputs, **settings | found | options | {"name_or_path": source.name})

    # What a subclass defines

    @property
    def vocab_size(self) -> int:
        """The number of tokens, without added ones."""
        raise self._lacks("vocab_size")

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id."""
        raise self._lacks("get_vocab()")

    def _tokenize(self, text: str) -> list[str]:
        raise self._lacks("_tokenize(text)")

    def _convert_token_to_id(self, token: str) -> int | None:
        raise self._lacks("_convert_token_to_id(token)")

    def _convert_id_to_token(self, id: int) -> str | None:
        raise self._lacks("_convert_id_to_token(id)")

    def _lacks(self, name: str) -> InputError:
        return InputError(
            f"{type(self).__name__} does not define {name}.",
            next_step="A tokenizer in Python defines vocab_size, get_vocab, _tokenize, _convert_token_to_id and "
            "_convert_id_to_token.",
        )

    def prepare_for_tokenization(
        self, text: str, is_split_into_words: bool = False, **options: Any
    ) -> tuple[str, dict[str, Any]]:
        """What is done to a text before it is split; returns it with the options that were not used."""
        return text, options

    # The vocabulary

    @property
    def is_fast(self) -> bool:
        """Always False: offsets and word ids are not available."""
        return False

    def __len__(self) -> int:
        return len({*self.get_vocab(), *self.added_tokens_encoder})

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The added and special tokens by id."""
        return dict(sorted(self._added.items()))

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The id of a token, or the ids of several."""
        if tokens is None:
            return None
        if isinstance(tokens, str | AddedToken):
            known = {token.content: id for id, token in self._added.items()}.get(str(tokens))
            return self._convert_token_to_id(str(tokens)) if known is None else known
        return [self.convert_tokens_to_ids(token) for token in as_tokens("tokens", tokens)]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or the tokens of several."""
        numbers = as_ids("ids", ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()

        def token(id: int) -> str | None:
            return self._added[id].content if id in self._added else self._convert_id_to_token(id)

        if isinstance(numbers, int):
            return token(numbers)
        return [token(id) for id in as_sequence("ids", numbers) if id not in skipped]

    def add_tokens(
        self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        """Add tokens that are missing from the vocabulary, with the ids that follow it; returns how many were new."""
        count, vocabulary = 0, self.get_vocab()
        for token in as_tokens("new_tokens", new_tokens):
            content = str(token)
            id = vocabulary.get(content, self.added_tokens_encoder.get(content))
            if id is None:
                id, count = max([self.vocab_size, *(id + 1 for id in self._added)]), count + 1
            if isinstance(token, str):
                token = AddedToken(token, special=special_tokens, normalized=not special_tokens)
            self._added[id] = token
        return count

    def convert_tokens_to_string(self, tokens: Any) -> str:
        """Convert tokens to text."""
        return " ".join(map(str, as_tokens("tokens", tokens)))

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **unknown: Any,
    ) -> Any:
        """Convert ids to text; a batch of ids to a list of texts."""
        ids = as_ids("token_ids", token_ids)
        if isinstance(ids, list) and ids and isinstance(ids[0], list):
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in ids]
        tokens = self.convert_ids_to_tokens([ids] if isinstance(ids, int) else ids, skip_special_tokens)
        text = self.convert_tokens_to_string([token for token in tokens if token is not None])
        cleaned = (
            self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        )
        return self.clean_up_tokenization(text) if cleaned else text

    # Text to ids

    def tokenize(self, text: Any, pair: Any = None, add_special_tokens: bool = False, **options: Any) -> list[str]:
        """The tokens of a text as str: added tokens are kept whole, `_tokenize` splits what is between them."""
        if not isinstance(text, str):
            raise InputError(f"text is {described(text)}, not a str.", next_step="Pass one text.")
        text, _ = self.prepare_for_tokenization(text, **options)
        added = {token.content: token for token in self._added.values()}
        if not added or options.get("split_special_tokens", self.split_special_tokens):
            return self._tokenize(text)
        tokens: list[str] = []
        whole = "|".join(_pattern(token) for token in sorted(added.values(), key=lambda token: -len(token.content)))
        for piece in re.split(f"({whole})", text):
            if piece and piece.strip() in added and re.fullmatch(whole, piece):
                tokens.append(piece if piece in added else piece.strip())
            elif piece:
                tokens += self._tokenize(piece)
        return tokens

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """The number of special tokens that a call puts around one text or a pair."""
        return len(self.build_inputs_with_special_tokens([], [] if pair else None))

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The ids of one text or a pair with the special tokens around them: none, unless a subclass says so."""
        return [*token_ids_0, *(token_ids_1 or [])]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The token_type_ids of `build_inputs_with_special_tokens`: 1 for what follows the first text of a pair."""
        first = len(self.build_inputs_with_special_tokens(token_ids_0))
        return [0] * first + [1] * (len(self.build_inputs_with_special_tokens(token_ids_0, token_ids_1)) - first)

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for each special token, 0 for each token of the text."""
        if already_has_special_tokens:
            return super().get_special_tokens_mask(token_ids_0, token_ids_1, True)
        texts = [_FIRST] * len(token_ids_0), None if token_ids_1 is None else [_FIRST] * len(token_ids_1)
        return [int(id != _FIRST) for id in self.build_inputs_with_special_tokens(*texts)]

    def _run(self, batch: Sequence[Any], batched: bool, lengths: Lengths, options: Mapping[str, Any]) -> list[Encoding]:
        """Split in Python; a backend of these tokens puts special tokens around them, truncates and pads."""
        is_split = options["is_split_into_words"]
        batch = repair(batch, batched, is_split) or batch
        pairs = [item if _is_pair(item, is_split) else (item, None) for item in batch]
        rows = [
            [None if text is None else self._split(text, is_split, options["split_special_tokens"]) for text in pair]
            for pair in pairs
        ]
        vocabulary = {token: self.convert_tokens_to_ids(token) for row in rows for text in row for token in text or ()}
        vocabulary |= {token: self.convert_tokens_to_ids(token) for token in self.all_special_tokens}
        unknown = next((token for token, id in vocabulary.items() if id is None), None)
        if unknown is not None:
            raise InputError(
                f"_convert_token_to_id has no id for the token {unknown!r}, and there is no unknown token.",
                next_step="Return an id for every token that _tokenize returns, or set unk_token=.",
            )
        single, pair = self._template(False, vocabulary), self._template(True, vocabulary)
        backend = Tokenizer(models.WordLevel(vocabulary, next(iter(vocabulary), "")))
        backend.post_processor = processors.TemplateProcessing(single, pair, list(vocabulary.items()))
        inputs = [text if second is None else (text, second) for text, second in rows]
        with backend_errors(lambda error: cannot_encode(error, lengths, options)):
            self._set_state(backend, lengths, {**options, "split_special_tokens": False})
            return backend.encode_batch(inputs, True, options["add_special_tokens"])

    def _split(self, text: Any, is_split: bool, split_special_tokens: bool) -> list[str]:
        words = text if is_split else [text]
        tokens = (self.tokenize(word, split_special_tokens=split_special_tokens) for word in words)
        return [token for word in tokens for token in word if token]

    def _template(self, pair: bool, vocabulary: dict[str, int]) -> list[str]:
        """Where `build_inputs_with_special_tokens` puts the texts, in the form of `TemplateProcessing`."""
        texts = ([_FIRST], [_SECOND]) if pair else ([_FIRST], None)
        ids = self.build_inputs_with_special_tokens(*texts)
        types = self.create_token_type_ids_from_sequences(*texts)
        names = {_FIRST: "$A", _SECOND: "$B"}
        for id in ids:
            if id not in names:
                names[id] = self.convert_ids_to_tokens(id)
                vocabulary.setdefault(names[id], id)
        return [f"{names[id]}:{type_id}" for id, type_id in zip(ids, types, strict=True)]

    # Saving

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the vocabulary into a folder and return the paths; a subclass with files defines this."""
        return ()

    def vocabulary_files(self) -> Mapping[str, bytes] | None:
        """None: `save_vocabulary` writes them."""
        return None


def _is_pair(item: Any, is_split: bool) -> bool:
    if is_split:
        return (
            isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(text, list | tuple) for text in item)
        )
    return isinstance(item, tuple | list) and len(item) == 2


def _pattern(token: AddedToken) -> str:
    """The regular expression that finds an added token in a text."""
    border = r"\b" if token.single_word else ""
    before, after = r"\s*" if token.lstrip else "", r"\s*" if token.rstrip else ""
    return f"{before}{border}{re.escape(token.content)}{border}{after}"
