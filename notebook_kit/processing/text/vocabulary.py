"""The vocabulary side of a tokenizer: tokens and ids, special tokens and their roles, and ids back to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer

from notebook_kit.errors import InputError, near_matches
from notebook_kit.processing.text.inputs import as_ids, unknown_keyword
from notebook_kit.processing.text.template import Part, layout

__all__ = ["ROLES", "Vocabulary"]

# The order in which missing ones get their ids.
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class _Role:
    """`tokenizer.pad_token`: the token with that role as a str, or None. Assigning does not add it to the vocabulary."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, tokenizer: Vocabulary | None, owner: type | None = None) -> Any:
        if tokenizer is None:
            return self
        token = tokenizer._roles.get(self.name)
        return None if token is None else str(token)

    def __set__(self, tokenizer: Vocabulary, token: str | AddedToken | None) -> None:
        if token is not None and not isinstance(token, str | AddedToken):
            raise InputError(
                f"{self.name} was set to {token!r}, which is no token.",
                next_step=f"Give a str, or set {self.name}_id to the id of a token that exists.",
            )
        tokenizer._roles[self.name] = token


class _RoleId:
    """`tokenizer.pad_token_id`: the id of the token with that role, or None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name.removesuffix("_id")

    def __get__(self, tokenizer: Vocabulary | None, owner: type | None = None) -> Any:
        if tokenizer is None:
            return self
        token = tokenizer._roles.get(self.role)
        return None if token is None else tokenizer.convert_tokens_to_ids(str(token))

    def __set__(self, tokenizer: Vocabulary, id: int | None) -> None:
        tokenizer._roles[self.role] = None if id is None else tokenizer.convert_ids_to_tokens(int(id))


class Vocabulary:
    """What `PreTrainedTokenizerFast` knows about tokens and ids. Not made by itself."""

    _tokenizer: Tokenizer
    _roles: dict[str, str | AddedToken | None]
    _extra: list[str | AddedToken]
    clean_up_tokenization_spaces: bool

    bos_token, eos_token, unk_token, sep_token = _Role(), _Role(), _Role(), _Role()
    pad_token, cls_token, mask_token = _Role(), _Role(), _Role()
    bos_token_id, eos_token_id, unk_token_id, sep_token_id = _RoleId(), _RoleId(), _RoleId(), _RoleId()
    pad_token_id, cls_token_id, mask_token_id = _RoleId(), _RoleId(), _RoleId()

    # The vocabulary

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The `tokenizers.Tokenizer` underneath. Changes to it take effect at once."""
        return self._tokenizer

    @property
    def vocab_size(self) -> int:
        """The number of tokens, without those that were added later."""
        return self._tokenizer.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        """The number of tokens with the added ones: what a model's embedding must hold."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        return True

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id, added ones included."""
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
        """The ids of the added and special tokens, in the order of the ids."""
        return {token.content: id for id, token in sorted(self.added_tokens_decoder.items())}

    def get_added_vocab(self) -> dict[str, int]:
        """As `added_tokens_encoder`."""
        return self.added_tokens_encoder

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The id of a token, or the ids of several; the unknown token's id (or None) where there is no such token."""
        if tokens is None:
            return None
        if isinstance(tokens, str):
            id = self._tokenizer.token_to_id(tokens)
            return self._unknown_id() if id is None else id
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def _unknown_id(self) -> int | None:
        unknown = self._roles.get("unk_token")
        return None if unknown is None else self._tokenizer.token_to_id(str(unknown))

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or the tokens of several; None for an id that no token has.

        Args:
            ids: An int or a sequence, array or tensor of ints.
            skip_special_tokens: Leave the special ones out of a sequence.
        """
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        if isinstance(ids, int):
            return self._tokenizer.id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        numbers = (int(id) for id in ids)
        return [self._tokenizer.id_to_token(id) for id in numbers if id not in skipped]

    # Special tokens

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The token of each role that has one."""
        return {role: str(token) for role, token in self._roles.items() if token is not None}

    @property
    def extra_special_tokens(self) -> list[str]:
        """Special tokens without a role. Assign a list to replace them (this adds nothing to the vocabulary)."""
        return [str(token) for token in self._extra]

    @extra_special_tokens.setter
    def extra_special_tokens(self, tokens: Sequence[str | AddedToken] | None) -> None:
        self._extra = list(tokens or [])

    @property
    def additional_special_tokens(self) -> list[str]:
        """The older name of `extra_special_tokens`."""
        return self.extra_special_tokens

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: Sequence[str | AddedToken] | None) -> None:
        self._extra = list(tokens or [])

    @property
    def extra_special_tokens_ids(self) -> list[int | None]:
        """The ids of `extra_special_tokens`."""
        return self.convert_tokens_to_ids(self.extra_special_tokens)

    additional_special_tokens_ids = extra_special_tokens_ids

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once: those with a role first."""
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self.extra_special_tokens]))

    @property
    def all_special_ids(self) -> list[int | None]:
        """The ids of `all_special_tokens`."""
        return self.convert_tokens_to_ids(self.all_special_tokens)

    def add_tokens(
        self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        """Add tokens that the vocabulary lacks; they are never split.

        A model needs room for them: call `model.resize_token_embeddings(len(tokenizer))`.

        Args:
            new_tokens: A token, or several.
            special_tokens: Whether `decode(skip_special_tokens=True)` leaves them out.

        Returns:
            How many were new.
        """
        if isinstance(new_tokens, str | AddedToken):
            new_tokens = [new_tokens]
        if not new_tokens:
            return 0
        if special_tokens:
            return self._tokenizer.add_special_tokens(list(new_tokens))
        return self._tokenizer.add_tokens(list(new_tokens))

    def add_special_tokens(
        self,
        special_tokens_dict: Mapping[str, str | AddedToken | Sequence[str | AddedToken]],
        replace_extra_special_tokens: bool = True,
        replace_additional_special_tokens: bool | None = None,
    ) -> int:
        """Give roles to tokens, and add those that the vocabulary lacks.

        Args:
            special_tokens_dict: Role to token, such as {"pad_token": "[PAD]"}; "extra_special_tokens" (or
                "additional_special_tokens") takes a list.
            replace_extra_special_tokens: Whether such a list replaces the present one or is added to it.
            replace_additional_special_tokens: The older name of the same.

        Returns:
            How many tokens were new to the vocabulary.

        Raises:
            InputError: no such role, or a value that is no token.
        """
        replacing = (
            replace_extra_special_tokens
            if replace_additional_special_tokens is None
            else replace_additional_special_tokens
        )
        added: list[str | AddedToken] = []
        for role, value in special_tokens_dict.items():
            if role in ("extra_special_tokens", "additional_special_tokens"):
                if isinstance(value, str | AddedToken) or not all(isinstance(item, str | AddedToken) for item in value):
                    raise InputError(f"{role} is {value!r}.", next_step="Give a list of str or AddedToken.")
                present = set() if replacing else set(self.extra_special_tokens)
                new: list[str | AddedToken] = [_as_special(token) for token in value if str(token) not in present]
                self._extra = new if replacing and new else [*self._extra, *new]
                added += new
            elif role not in self._roles and role not in ROLES:
                raise InputError(
                    f"There is no special token role {role!r}. "
                    + near_matches(role, [*ROLES, "extra_special_tokens", "additional_special_tokens"]),
                    next_step=f"The roles are {', '.join(ROLES)}; others go into a list as 'extra_special_tokens'.",
                )
            elif not isinstance(value, str | AddedToken):
                raise InputError(f"{role} is {value!r}, which is no token.", next_step="Give a str or an AddedToken.")
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
        """The text of ids.

        Args:
            token_ids: An int, a sequence, an array or tensor of ints (one text), or a batch of such (a list of texts).
            skip_special_tokens: Leave the special tokens out.
            clean_up_tokenization_spaces: Take out spaces before punctuation, which WordPiece cannot tell; None is the
                tokenizer's own. BPE tokenizers keep their spaces: those are part of the text.

        Returns:
            A str, or a list of str for a batch.

        Raises:
            InputError: ids below 0 (such as the -100 of labels), or no ids at all.
        """
        unknown.pop("use_source_tokenizer", None)
        if unknown:
            raise unknown_keyword("decode", unknown, ("skip_special_tokens", "clean_up_tokenization_spaces"))
        ids = as_ids(token_ids)
        batched = isinstance(ids, list) and bool(ids) and isinstance(ids[0], list | tuple)
        try:
            texts = self._tokenizer.decode_batch(ids if batched else [ids], skip_special_tokens)
        except (OverflowError, TypeError) as error:
            flat = [id for row in (ids if batched else [ids]) for id in row]
            bad = next((id for id in flat if not isinstance(id, int) or id < 0), None)
            raise InputError(
                f"These cannot be decoded: there is an id {bad!r} among them.",
                next_step="Ids are ints from 0. Replace the -100 of ignored labels first: "
                "np.where(labels < 0, tokenizer.pad_token_id, labels).",
            ) from error
        clean = (
            self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        )
        if clean and type(self._tokenizer.model).__name__ != "BPE":
            texts = [self.clean_up_tokenization(text) for text in texts]
        return texts if batched else texts[0]

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **options: Any) -> list[str]:
        """The texts of a batch of ids; as `decode`, always a list."""
        texts = self.decode(sequences, skip_special_tokens, **options)
        return [texts] if isinstance(texts, str) else texts

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of tokens."""
        decoder = self._tokenizer.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(tokens)

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """Take out the spaces before punctuation and English contractions.

        Example:
            >>> Vocabulary.clean_up_tokenization("it is n't , is it ?")
            "it isn't, is it?"
        """
        for mark in (" .", " ?", " !", " ,"):
            text = text.replace(mark, mark[1:])
        text = text.replace(" ' ", "'")
        for ending in (" n't", " 'm", " 's", " 've", " 're"):
            text = text.replace(ending, ending[1:])
        return text

    # The special tokens around a text

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a call puts around one text, or around a pair."""
        return self._tokenizer.num_special_tokens_to_add(pair)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Ids of one text or a pair with the special tokens around them."""
        return [id for _, ids in self._parts(token_ids_0, token_ids_1) for id in ids]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The token_type_ids of `build_inputs_with_special_tokens`."""
        return [part.type_id for part, ids in self._parts(token_ids_0, token_ids_1) for _ in ids]

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for special tokens, 0 for the text's.

        Args:
            token_ids_0, token_ids_1: Ids of one text or a pair, without special tokens.
            already_has_special_tokens: `token_ids_0` has them already; they are known by their ids.
        """
        if already_has_special_tokens:
            special = set(self.all_special_ids)
            return [int(int(id) in special) for id in token_ids_0]
        return [int(part.sequence is None) for part, ids in self._parts(token_ids_0, token_ids_1) for _ in ids]

    def _parts(self, first: list[int], second: list[int] | None) -> list[tuple[Part, list[int]]]:
        texts = {0: first, 1: second}
        parts = layout(self._tokenizer, pair=second is not None)
        return [(part, [part.id] if part.sequence is None else texts[part.sequence] or []) for part in parts]


def _as_special(token: str | AddedToken) -> AddedToken:
    return AddedToken(token, special=True, normalized=False) if isinstance(token, str) else token
