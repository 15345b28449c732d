"""Tokenizers of translation models, which encode texts and targets differently.

mBART's, NLLB's and M2M-100's models support many languages, and each text includes the code of its language. Marian's support one
language pair, with one sentencepiece model per side and a list of ids for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from tokenizers import AddedToken, Encoding, Tokenizer, processors

from notebook_kit.errors import InputError, near_matches
from notebook_kit.processing.text.building import post_processor
from notebook_kit.processing.text.families import family_of
from notebook_kit.processing.text.parts import Parts
from notebook_kit.processing.text.tokenizer import PreTrainedTokenizerFast

__all__ = ["LanguageTokenizer", "M2M100Tokenizer", "MarianTokenizer"]


class LanguageTokenizer(PreTrainedTokenizerFast):
    """A tokenizer that adds a language code to each text. `AutoTokenizer` returns it for mBART's and NLLB's checkpoints.

    Attributes:
        src_lang: The code of the texts' language. Can be set.
        tgt_lang: The code of the language of `text_target`; None uses `src_lang`. Can be set.
        lang_code_to_id: The codes in the vocabulary with their ids. For a translation, pass
            `forced_bos_token_id=tokenizer.lang_code_to_id["fr_XX"]` to `generate`.

    Raises:
        InputError: If a code is set that is not in the vocabulary.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from notebook_kit.processing.text.translation import LanguageTokenizer
        >>> ids = {word: id for id, word in enumerate("<s> <pad> </s> <unk> hello bonjour en_XX fr_XX".split())}
        >>> backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
        >>> backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        >>> options = {"tokenizer_class": "MBartTokenizer", "eos_token": "</s>"}
        >>> tokenizer = LanguageTokenizer(backend, src_lang="en_XX", tgt_lang="fr_XX", **options)
        >>> batch = tokenizer("hello", text_target="bonjour")
        >>> tokenizer.convert_ids_to_tokens(batch["input_ids"]), tokenizer.convert_ids_to_tokens(batch["labels"])
        (['hello', '</s>', 'en_XX'], ['bonjour', '</s>', 'fr_XX'])
    """

    def _set_up(self, parts: Parts) -> None:
        family = family_of(parts.class_name)
        if family is None or not family.languages:
            raise InputError(
                f"{parts.class_name} is not a multilingual tokenizer.",
                next_step='Pass tokenizer_class="MBartTokenizer" or "MBart50Tokenizer".',
            )
        self._code_first, self._token_of = family.template == "language-first", family.language_token
        super()._set_up(parts)
        known = {code: self._tokenizer.token_to_id(self._token_of.format(code)) for code in family.languages}
        self.lang_code_to_id: dict[str, int] = {code: id for code, id in known.items() if id is not None}
        tokens = [self._token_of.format(code) for code in self.lang_code_to_id]
        if missing := [token for token in tokens if token not in self.additional_special_tokens]:
            self.add_special_tokens({"additional_special_tokens": missing}, replace_extra_special_tokens=False)
        source, target = parts.options.get("src_lang"), parts.options.get("tgt_lang")
        self._tgt_lang = None if target is None else self._checked("tgt_lang", target)
        self._src_lang: str | None
        if source is None:
            self._src_lang = next((code for code in ("en_XX", "eng_Latn", "en") if code in self.lang_code_to_id), None)
        else:
            self._src_lang = self._checked("src_lang", source)
        self._reader.post_processor = self._around(self._src_lang)

    @property
    def _reader(self) -> Tokenizer:
        """The backend that splits texts into tokens."""
        return self._tokenizer

    @property
    def src_lang(self) -> str | None:
        """The code of the texts' language."""
        return self._src_lang

    @src_lang.setter
    def src_lang(self, code: str) -> None:
        self._src_lang = self.init_kwargs["src_lang"] = self._checked("src_lang", code)
        with self._lock:
            self._reader.post_processor = self._around(code)

    @property
    def tgt_lang(self) -> str | None:
        """The code of the targets' language."""
        return self._tgt_lang

    @tgt_lang.setter
    def tgt_lang(self, code: str | None) -> None:
        self._tgt_lang = self.init_kwargs["tgt_lang"] = None if code is None else self._checked("tgt_lang", code)

    def _checked(self, name: str, code: str) -> str:
        if code not in self.lang_code_to_id:
            raise InputError(
                f"{name} is {code!r}, which is not a language code of this tokenizer. "
                f"{near_matches(str(code), self.lang_code_to_id)}".rstrip(),
                next_step=f"Its codes are {', '.join(sorted(self.lang_code_to_id))}.",
            )
        return code

    def _around(self, code: str | None) -> Any:
        """The post-processor that puts the code and the end token around texts."""
        codes = [] if code is None else [self._token_of.format(code)]
        end = str(self.eos_token)
        before, after = (codes, [end]) if self._code_first else ([], [end, *codes])
        special = [(token, self._reader.token_to_id(token)) for token in {*before, *after}]
        return processors.TemplateProcessing(
            single=[*before, "$A", *after], pair=[*before, "$A", "$B", *after], special_tokens=sorted(special)
        )

    @contextmanager
    def _encoder(self, target: bool) -> Iterator[Tokenizer]:
        reader = self._reader
        if not target or self._tgt_lang is None:
            yield reader
            return
        source, reader.post_processor = reader.post_processor, self._around(self._tgt_lang)
        try:
            yield reader
        finally:
            reader.post_processor = source


class M2M100Tokenizer(LanguageTokenizer):
    """The tokenizer of M2M-100's checkpoints: languages have two or three letters, and their tokens are like `"__en__"`.

    The sentencepiece model splits texts, and a list of ids beside it has the ids of the pieces.

    Example:
        >>> tokenizer = M2M100Tokenizer.from_pretrained("facebook/m2m100_418M", src_lang="en")  # doctest: +SKIP
        >>> batch = tokenizer("Good morning.", return_tensors="pt")  # doctest: +SKIP
        >>> model.generate(**batch, forced_bos_token_id=tokenizer.get_lang_id("fr"))  # doctest: +SKIP
    """

    recipe = "M2M100Tokenizer"

    def _set_up(self, parts: Parts) -> None:
        self._pieces: Tokenizer | None = parts.extras.get("reader")  # None for a tokenizer_object, which is complete
        super()._set_up(parts)
        self._reader.add_tokens(parts.added_tokens)

    @property
    def _reader(self) -> Tokenizer:
        return self._pieces or self._tokenizer

    def _ids(self, encoding: Encoding, target: bool) -> list[int]:
        ids = map(self._tokenizer.token_to_id, encoding.tokens)
        return [self.unk_token_id if id is None else id for id in ids]

    def get_lang_token(self, lang: str) -> str:
        """The token of a language.

        Raises:
            InputError: If the tokenizer does not have that language.
        """
        return self._token_of.format(self._checked("lang", lang))

    def get_lang_id(self, lang: str) -> int:
        """The id of a language's token, which `generate` takes as `forced_bos_token_id`.

        Raises:
            InputError: If the tokenizer does not have that language.
        """
        return self.lang_code_to_id[self._checked("lang", lang)]

    def add_tokens(
        self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        tokens = _as_they_are(new_tokens)
        if self._pieces is not None:
            self._pieces.add_special_tokens(tokens) if special_tokens else self._pieces.add_tokens(tokens)
        return super().add_tokens(tokens, special_tokens)

    def train_new_from_iterator(self, *args: Any, **options: Any) -> Self:
        raise _two_vocabularies("M2M-100")


def _as_they_are(tokens: str | AddedToken | Sequence[str | AddedToken]) -> list[AddedToken]:
    """New tokens, which are found in a text before it is normalized, as in checkpoints."""
    listed = [tokens] if isinstance(tokens, str | AddedToken) else tokens
    return [AddedToken(token, normalized=False) if isinstance(token, str) else token for token in listed]


def _two_vocabularies(kind: str) -> InputError:
    return InputError(
        f"A tokenizer of {kind} has more than one vocabulary, which cannot be trained from one stream of texts.",
        next_step="Train another kind, such as AutoTokenizer.from_pretrained('t5-small').train_new_from_iterator(...).",
    )


class MarianTokenizer(PreTrainedTokenizerFast):
    """A tokenizer with one sentencepiece model for texts and one for targets. `AutoTokenizer` returns it for Marian's
    checkpoints.

    If a model translates to several languages, each text starts with the code of one: `">>fra<< Good morning."`

    Attributes:
        supported_language_codes: These codes.
        source_lang, target_lang: The language pair, as named by the checkpoint.

    Example:
        >>> tokenizer = MarianTokenizer.from_pretrained("Helsinki-NLP/opus-mt-en-fr")  # doctest: +SKIP
        >>> batch = tokenizer("Good morning.", text_target="Bonjour.", return_tensors="pt")  # doctest: +SKIP
    """

    recipe = "MarianTokenizer"
    _sides: dict[bool, Tokenizer]

    def _set_up(self, parts: Parts) -> None:
        self._sides = parts.extras["sides"]
        self._targets: Tokenizer | None = parts.extras["targets"]
        super()._set_up(parts)
        vocabulary = self._tokenizer.get_vocab()
        codes = [token for token in vocabulary if token.startswith(">>") and token.endswith("<<")]
        self.supported_language_codes = [] if self._targets else sorted(codes, key=vocabulary.__getitem__)
        special = [AddedToken(token, special=True, normalized=False) for token in self.all_special_tokens]
        for side in self._sides.values():
            side.add_special_tokens(special)
            side.add_tokens([AddedToken(code, normalized=False) for code in self.supported_language_codes])
            side.add_tokens(parts.added_tokens)
            end = {"eos_token": side.token_to_id(str(self.eos_token))}
            side.post_processor = post_processor("marian", {"eos_token": str(self.eos_token)}, end, {})
        if self._targets is not None:
            self._targets.add_special_tokens(special)

    @contextmanager
    def _encoder(self, target: bool) -> Iterator[Tokenizer]:
        yield self._sides[target]

    def _ids(self, encoding: Encoding, target: bool) -> list[int]:
        # Each side has its own ids. The model's ids are those of the vocabulary, which may lack a piece of this side.
        vocabulary = self._targets if target and self._targets is not None else self._tokenizer
        # Targets are also padded with `pad_token_id`, so that one comparison finds all padding.
        ids = (self.pad_token_id if t == self.pad_token else vocabulary.token_to_id(t) for t in encoding.tokens)
        unknown = vocabulary.token_to_id(str(self.unk_token)) or 0
        return [unknown if id is None else id for id in ids]

    def add_tokens(
        self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        tokens = _as_they_are(new_tokens)
        for side in self._sides.values():
            side.add_special_tokens(tokens) if special_tokens else side.add_tokens(tokens)
        return super().add_tokens(tokens, special_tokens)

    def decode(self, token_ids: Any, *args: Any, **options: Any) -> Any:
        if self._targets is None or options.pop("use_source_tokenizer", False):
            return super().decode(token_ids, *args, **options)
        sources, self._tokenizer = self._tokenizer, self._targets
        try:
            return super().decode(token_ids, *args, **options)
        finally:
            self._tokenizer = sources

    def train_new_from_iterator(self, *args: Any, **options: Any) -> Self:
        raise _two_vocabularies("Marian")
