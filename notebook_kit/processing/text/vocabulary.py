"""The vocabulary of a tokenizer: tokens and ids, special tokens and their roles, and decoding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer

from notebook_kit.errors import InputError, near_matches
from notebook_kit.processing.text.arguments import as_count, as_ids, as_sequence, as_tokens, check_arguments, described
from notebook_kit.processing.text.inputs import unknown_keyword

__all__ = ["ROLES", "Vocabulary"]

# In the order in which missing tokens are added to the vocabulary.
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class _Role:
    """`tokenizer.pad_token` or `tokenizer.pad_token_id`: the token with that role, or its id; None if there is none.

    Assigning a token does not add it to the vocabulary.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.role, self.is_id = name, name.removesuffix("_id"), name.endswith("_id")

    def __get__(self, tokenizer: Vocabulary | None, owner: type | None = None) -> Any:
        if tokenizer is None:
            return self
        token = tokenizer._roles.get(self.role)
        if token is None:
            return None
        return tokenizer.convert_tokens_to_ids(str(token)) if self.is_id else str(token)

    def __set__(self, tokenizer: Vocabulary, value: Any) -> None:
        if self.is_id and value is not None:
            value = tokenizer.convert_ids_to_tokens(as_count(self.name, value))
        elif value is not None and not isinstance(value, str | AddedToken):
            raise InputError(
                f"{self.name} was set to {value!r}, which is not a token.",
                next_step=f"Assign a str, or set {self.name}_id to the id of an existing token.",
            )
        tokenizer._roles[self.role] = value


class Vocabulary:
    """The part of `PreTrainedTokenizerFast` that deals with tokens and ids. Not instantiated directly."""

    _tokenizer: Tokenizer
    _roles: dict[str, str | AddedToken | None]
    _extra: list[str | AddedToken]
    clean_up_tokenization_spaces: bool

    bos_token, bos_token_id = _Role(), _Role()
    eos_token, eos_token_id = _Role(), _Role()
    unk_token, unk_token_id = _Role(), _Role()
    sep_token, sep_token_id = _Role(), _Role()
    pad_token, pad_token_id = _Role(), _Role()
    cls_token, cls_token_id = _Role(), _Role()
    mask_token, mask_token_id = _Role(), _Role()

    # The vocabulary

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The underlying `tokenizers.Tokenizer`. Changes to it take effect immediately."""
        return self._tokenizer

    @property
    def vocab_size(self) -> int:
        """The number of tokens, without added ones."""
        return self._tokenizer.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        """The number of tokens including added ones: the size that a model's embedding needs."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        return True

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id, including added tokens."""
        return self._tokenizer.get_vocab(with_added_tokens=True)

    @property
    def vocab(self) -> dict[str, int]:
        """As `get_vocab()`."""
        return self.get_vocab()

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The added and special tokens by id."""
        return self._tokenizer.get_added_tokens_decoder()

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The ids of the added and special tokens by token, in ascending order."""
        return {token.content: id for id, token in sorted(self.added_tokens_decoder.items())}

    def get_added_vocab(self) -> dict[str, int]:
        """As `added_tokens_encoder`."""
        return self.added_tokens_encoder

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The id of a token, or the ids of several; for a token that is not in the vocabulary, the unknown token's or None."""
        if tokens is None:
            return None
        if isinstance(tokens, str | AddedToken):
            unknown = self._roles.get("unk_token")
            try:
                id = self._tokenizer.token_to_id(str(tokens))
            except UnicodeEncodeError:  # half of a surrogate pair, which no vocabulary has
                id = None
            return self._tokenizer.token_to_id(str(unknown)) if id is None and unknown is not None else id
        if not isinstance(tokens, Iterable) or isinstance(tokens, bytes) or getattr(tokens, "ndim", 1) != 1:
            raise InputError(
                f"tokens is {described(tokens)}, which is not a token.", next_step="Pass a str or a list of str."
            )
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or the tokens of several; None for an id that is not in the vocabulary.

        Args:
            ids: An int or a sequence, array or tensor of ints.
            skip_special_tokens: Leave special tokens out of a sequence.

        Raises:
            InputError: If there is anything else among them, or ids below 0.
        """
        check_arguments({"skip_special_tokens": skip_special_tokens})
        single = as_ids("ids", ids)
        numbers = as_sequence("ids", [single] if isinstance(single, int) else single)
        if isinstance(single, int):
            return self._tokenizer.id_to_token(single)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self._tokenizer.id_to_token(id) for id in numbers if id not in skipped]

    # Special tokens

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The token of each role that is set."""
        return {role: str(token) for role, token in self._roles.items() if token is not None}

    @property
    def extra_special_tokens(self) -> list[str]:
        """Special tokens without a role. Assigning a list replaces them, without adding tokens to the vocabulary."""
        return [str(token) for token in self._extra]

    @extra_special_tokens.setter
    def extra_special_tokens(self, tokens: Sequence[str | AddedToken] | None) -> None:
        self._extra = [] if tokens is None else as_tokens("extra_special_tokens", tokens)

    @property
    def extra_special_tokens_ids(self) -> list[int | None]:
        """The ids of `extra_special_tokens`."""
        return self.convert_tokens_to_ids(self.extra_special_tokens)

    # The older names
    additional_special_tokens, additional_special_tokens_ids = extra_special_tokens, extra_special_tokens_ids

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once, those with a role first."""
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self.extra_special_tokens]))

    @property
    def all_special_ids(self) -> list[int | None]:
        """The ids of `all_special_tokens`."""
        return self.convert_tokens_to_ids(self.all_special_tokens)

    def add_tokens(
        self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        """Add tokens that are missing from the vocabulary. Added tokens are never split.

        The model's embedding must grow with them: call `model.resize_token_embeddings(len(tokenizer))`.

        Args:
            new_tokens: A token, or several.
            special_tokens: Whether `decode(skip_special_tokens=True)` leaves them out.

        Returns:
            The number of tokens that were new.
        """
        check_arguments({"special_tokens": special_tokens})
        tokens = as_tokens("new_tokens", new_tokens)
        add = self._tokenizer.add_special_tokens if special_tokens else self._tokenizer.add_tokens
        return add(tokens)

    def add_special_tokens(
        self,
        special_tokens_dict: Mapping[str, str | AddedToken | Sequence[str | AddedToken]],
        replace_extra_special_tokens: bool = True,
        replace_additional_special_tokens: bool | None = None,
    ) -> int:
        """Assign roles to tokens, and add those that are missing from the vocabulary.

        Args:
            special_tokens_dict: Role to token, such as {"pad_token": "[PAD]"}; "extra_special_tokens" (or
                "additional_special_tokens") takes a list.
            replace_extra_special_tokens: Whether such a list replaces the current one or extends it.
            replace_additional_special_tokens: The older name of `replace_extra_special_tokens`.

        Returns:
            The number of tokens that were new to the vocabulary.

        Raises:
            InputError: If a role does not exist, or a value is not a token.
        """
        if not isinstance(special_tokens_dict, Mapping):
            raise InputError(
                f"special_tokens_dict is {described(special_tokens_dict)}, which is not a dictionary.",
                next_step='Pass tokens by role, such as {"pad_token": "[PAD]"}.',
            )
        if replace_additional_special_tokens is not None:
            replace_extra_special_tokens = replace_additional_special_tokens
        added: list[str | AddedToken] = []
        for role, value in special_tokens_dict.items():
            if role in ("extra_special_tokens", "additional_special_tokens"):
                if isinstance(value, str | AddedToken):
                    raise InputError(
                        f"{role} is {value!r}, which is not a list of tokens.",
                        next_step="Pass a list of str or AddedToken.",
                    )
                value = as_tokens(role, value)
                kept = [] if replace_extra_special_tokens and value else self._extra
                present = set(map(str, kept))
                new = [_as_special(token) for token in value if str(token) not in present]
                self._extra = [*kept, *new]
                added += new
            elif role not in self._roles and role not in ROLES:
                raise InputError(
                    f"There is no special token role {role!r}. "
                    + near_matches(role, [*ROLES, "extra_special_tokens", "additional_special_tokens"]),
                    next_step=f"The roles are {', '.join(ROLES)}; pass other tokens as a list of 'extra_special_tokens'.",
                )
            elif not isinstance(value, str | AddedToken):
                raise InputError(
                    f"{role} is {value!r}, which is not a token.", next_step="Pass a str or an AddedToken."
                )
            else:
                self._roles[role] = _as_special(value)
                added.append(self._roles[role])  # type: ignore[arg-type]
        return self.add_tokens(added, special_tokens=True)

    # Ids to text

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **unknown: Any,
    ) -> Any:
        """Convert ids to text.

        Args:
            token_ids: An int, a sequence, array or tensor of ints (one text), or a batch of these (a list of texts).
            skip_special_tokens: Leave out special tokens.
            clean_up_tokenization_spaces: Remove spaces before punctuation, which WordPiece tokens do not record; None uses
                the tokenizer's setting. BPE tokenizers keep their spaces, which are part of the text.

        Returns:
            A str, or a list of str for a batch.

        Raises:
            InputError: If there are ids below 0 (such as the -100 of labels), or entries that are not ids.
        """
        unknown.pop("use_source_tokenizer", None)
        if unknown:
            raise unknown_keyword("decode", unknown, ("skip_special_tokens", "clean_up_tokenization_spaces"))
        check_arguments(
            {"skip_special_tokens": skip_special_tokens, "clean_up_tokenization_spaces": clean_up_tokenization_spaces}
        )
        ids = as_ids("token_ids", token_ids)
        ids = [ids] if isinstance(ids, int) else ids
        batched = isinstance(ids, list) and bool(ids) and isinstance(ids[0], list | tuple)
        try:
            texts = self._tokenizer.decode_batch(ids if batched else [ids], skip_special_tokens)
        except (OverflowError, TypeError) as error:
            flat = [id for row in ids for id in (row if isinstance(row, list) else [row])]
            bad = next((id for id in flat if not isinstance(id, int) or id < 0), None)
            raise InputError(
                f"The ids cannot be decoded: they contain an id {bad!r}.",
                next_step="Ids are non-negative ints. Replace the -100 of ignored labels first: "
                "np.where(labels < 0, tokenizer.pad_token_id, labels).",
            ) from error
        model = self._tokenizer.model
        suffix = getattr(model, "end_of_word_suffix", None)
        if suffix and type(self._tokenizer.decoder).__name__ == "ByteLevel":  # CLIP's; it does not know about suffixes
            texts = [text.replace(suffix, " ").strip() for text in texts]
        if clean_up_tokenization_spaces is None:
            clean_up_tokenization_spaces = self.clean_up_tokenization_spaces
        if clean_up_tokenization_spaces and type(model).__name__ != "BPE":
            texts = [self.clean_up_tokenization(text) for text in texts]
        return texts if batched else texts[0]

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **options: Any) -> list[str]:
        """Convert a batch of ids to texts, like `decode`, but always return a list."""
        texts = self.decode(sequences, skip_special_tokens, **options)
        return [texts] if isinstance(texts, str) else texts

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Convert tokens to text."""
        tokens = list(map(str, as_tokens("tokens", tokens)))
        decoder = self._tokenizer.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(tokens)

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """Remove the spaces before punctuation and English contractions.

        Example:
            >>> Vocabulary.clean_up_tokenization("it is n't , is it ?")
            "it isn't, is it?"
        """
        if not isinstance(text, str):
            raise InputError(f"text is {described(text)}, which is not a str.", next_step="Pass one decoded text.")
        for mark in (" .", " ?", " !", " ,"):
            text = text.replace(mark, mark[1:])
        text = text.replace(" ' ", "'")
        for ending in (" n't", " 'm", " 's", " 've", " 're"):
            text = text.replace(ending, ending[1:])
        return text


def _as_special(token: str | AddedToken) -> AddedToken:
    return AddedToken(token, special=True, normalized=False) if isinstance(token, str) else token
