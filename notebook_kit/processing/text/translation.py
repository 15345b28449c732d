"""Tokenizers of translators: their texts go in by one rule, and what they are to write by another.

mBART's models know many languages, and a text carries its language's code. Marian's know one pair, with a sentencepiece
model for each side and one list of ids for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tokenizers import AddedToken, Encoding, Tokenizer, processors

from notebook_kit.errors import InputError, near_matches
from notebook_kit.processing.text.families import FAMILIES, family_of, post_processor
from notebook_kit.processing.text.parts import Parts
from notebook_kit.processing.text.tokenizer import TOKENIZER_CLASSES, PreTrainedTokenizerFast

__all__ = ["LanguageTokenizer", "MarianTokenizer"]


class LanguageTokenizer(PreTrainedTokenizerFast):
    """A tokenizer that puts the code of a text's language beside it. `AutoTokenizer` makes it for mBART's checkpoints.

    Attributes:
        src_lang: The code of the language that is read; can be set.
        tgt_lang: The code of the language of `text_target`; that of `src_lang` while it is None.
        lang_code_to_id: All codes that the vocabulary has, with their ids. A translation starts with
            `forced_bos_token_id=tokenizer.lang_code_to_id["fr_XX"]`.

    Raises:
        InputError: where a code is set that the vocabulary has not.

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
                f"{parts.class_name} is no tokenizer of many languages.",
                next_step='Pass tokenizer_class="MBartTokenizer" or "MBart50Tokenizer".',
            )
        self._comes_first = family.template == "language-first"
        super()._set_up(parts)
        known = {code: self._tokenizer.token_to_id(code) for code in family.languages}
        self.lang_code_to_id: dict[str, int] = {code: id for code, id in known.items() if id is not None}
        missing = [code for code in self.lang_code_to_id if code not in self.additional_special_tokens]
        if missing:
            self.add_special_tokens({"additional_special_tokens": missing}, replace_extra_special_tokens=False)
        source, target = parts.options.get("src_lang"), parts.options.get("tgt_lang")
        self._src_lang: str | None = None
        self._tgt_lang: str | None = None
        if target is not None:
            self.tgt_lang = target
        if source is not None:
            self.src_lang = source
        else:
            self._src_lang = "en_XX" if "en_XX" in self.lang_code_to_id else None
        self._tokenizer.post_processor = self._around(self._src_lang)

    @property
    def src_lang(self) -> str | None:
        """The code of the language that is read."""
        return self._src_lang

    @src_lang.setter
    def src_lang(self, code: str) -> None:
        self._src_lang = self.init_kwargs["src_lang"] = self._checked("src_lang", code)
        with self._lock:
            self._tokenizer.post_processor = self._around(code)

    @property
    def tgt_lang(self) -> str | None:
        """The code of the language of targets."""
        return self._tgt_lang

    @tgt_lang.setter
    def tgt_lang(self, code: str | None) -> None:
        self._tgt_lang = self.init_kwargs["tgt_lang"] = None if code is None else self._checked("tgt_lang", code)

    def _checked(self, name: str, code: str) -> str:
        if code not in self.lang_code_to_id:
            raise InputError(
                f"{name} is {code!r}, which is no language of this tokenizer. "
                f"{near_matches(str(code), self.lang_code_to_id)}".rstrip(),
                next_step=f"It knows {', '.join(sorted(self.lang_code_to_id))}.",
            )
        return code

    def _around(self, code: str | None) -> Any:
        """What puts the end and the code around texts."""
        end = str(self.eos_token)
        before = [code] if code is not None and self._comes_first else []
        after = [end] if code is None or self._comes_first else [end, code]
        special = [(token, self._tokenizer.token_to_id(token)) for token in {*before, *after}]
        return processors.TemplateProcessing(
            single=[*before, "$A", *after], pair=[*before, "$A", "$B", *after], special_tokens=sorted(special)
        )

    @contextmanager
    def _encoder(self, target: bool) -> Iterator[Tokenizer]:
        if not target or self._tgt_lang is None:
            yield self._tokenizer
            return
        source = self._tokenizer.post_processor
        self._tokenizer.post_processor = self._around(self._tgt_lang)
        try:
            yield self._tokenizer
        finally:
            self._tokenizer.post_processor = source


class MarianTokenizer(PreTrainedTokenizerFast):
    """A tokenizer with one sentencepiece model for what is read and one for `text_target`. `AutoTokenizer` makes it.

    Where a model writes several languages, a text says which by the code that it begins with: `">>fra<< Good morning."`

    Attributes:
        supported_language_codes: Those codes.
        source_lang, target_lang: The pair, as the checkpoint names it.
    """

    _sides: dict[bool, Tokenizer]
    _files: dict[str, bytes]

    def _set_up(self, parts: Parts) -> None:
        self._sides, self._files = parts.extras["sides"], parts.extras["files"]
        self._targets: Tokenizer | None = parts.extras["targets"]
        super()._set_up(parts)
        vocabulary = self._tokenizer.get_vocab()
        codes = [token for token in vocabulary if token.startswith(">>") and token.endswith("<<")]
        self.supported_language_codes = [] if self._targets else sorted(codes, key=vocabulary.__getitem__)
        special = [AddedToken(token, special=True, normalized=False) for token in self.all_special_tokens]
        for side in self._sides.values():
            side.add_special_tokens(special)
            side.add_tokens([AddedToken(code, normalized=False) for code in self.supported_language_codes])
            end = {"eos_token": side.token_to_id(str(self.eos_token))}
            side.post_processor = post_processor("marian", {"eos_token": str(self.eos_token)}, end, {})
        if self._targets is not None:
            self._targets.add_special_tokens(special)

    @contextmanager
    def _encoder(self, target: bool) -> Iterator[Tokenizer]:
        yield self._sides[target]

    def _ids(self, encoding: Encoding, target: bool) -> list[int]:
        # A side numbers its own pieces. The model's numbers are those of the vocabulary, which may lack a piece, and may
        # have one of the other side that is unknown here.
        vocabulary = self._targets if target and self._targets is not None else self._tokenizer
        # Targets too are filled up with `pad_token_id`, so that one comparison with it finds all padding.
        ids = (self.pad_token_id if t == self.pad_token else vocabulary.token_to_id(t) for t in encoding.tokens)
        unknown = vocabulary.token_to_id(str(self.unk_token)) or 0
        return [unknown if id is None else id for id in ids]

    def add_tokens(
        self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        added = super().add_tokens(new_tokens, special_tokens)
        several = [new_tokens] if isinstance(new_tokens, str | AddedToken) else list(new_tokens)
        for side in self._sides.values():
            side.add_special_tokens(several) if special_tokens else side.add_tokens(several)
        return added

    def decode(self, token_ids: Any, *args: Any, **options: Any) -> Any:
        if self._targets is None or options.pop("use_source_tokenizer", False):
            return super().decode(token_ids, *args, **options)
        own, self._tokenizer = self._tokenizer, self._targets  # what is written has a vocabulary of its own
        try:
            return super().decode(token_ids, *args, **options)
        finally:
            self._tokenizer = own

    def train_new_from_iterator(self, *args: Any, **options: Any) -> PreTrainedTokenizerFast:
        raise InputError(
            "A Marian tokenizer has two vocabularies for one list of ids, which one stream of texts cannot teach.",
            next_step="Train another kind, such as AutoTokenizer.from_pretrained('t5-small').train_new_from_iterator(...).",
        )

    def vocabulary_files(self) -> Mapping[str, bytes]:
        """What is saved beside the settings."""
        return self._files


TOKENIZER_CLASSES["MarianTokenizer"] = MarianTokenizer
TOKENIZER_CLASSES.update({name: LanguageTokenizer for name, family in FAMILIES.items() if family.languages})
