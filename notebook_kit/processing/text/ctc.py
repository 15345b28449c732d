"""`Wav2Vec2CTCTokenizer`: letters as tokens, and their emissions over time, frame by frame, back to text."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from notebook_kit.errors import InputError, near_matches
from notebook_kit.files import read_json, write_text
from notebook_kit.processing.features import BatchFeature
from notebook_kit.processing.text.arguments import as_ids
from notebook_kit.processing.text.python import PreTrainedTokenizer
from notebook_kit.processing.text.tokenizer import TOKENIZER_CLASSES

__all__ = ["CTC_MODEL_TYPES", "Wav2Vec2CTCTokenizer", "Wav2Vec2CTCTokenizerOutput", "words_of"]

CTC_MODEL_TYPES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "sew", "sew-d", "unispeech", "unispeech-sat")
"""The model types whose checkpoints may not name this class."""


class Wav2Vec2CTCTokenizerOutput(BatchFeature):
    """A decoded text with the frames of its letters and words, as entries and as attributes.

    Entries: `text`; `char_offsets`, a list of `{"char": str, "start_offset": int, "end_offset": int}` in frames, None if it was
    not requested; `word_offsets`, likewise with "word". For a batch, a list of each.

    Example:
        >>> from notebook_kit.processing.text.ctc import Wav2Vec2CTCTokenizerOutput
        >>> Wav2Vec2CTCTokenizerOutput({"text": "HI", "char_offsets": None, "word_offsets": None}).text
        'HI'
    """

    _noun = "decoded text"


class Wav2Vec2CTCTokenizer(PreTrainedTokenizer):
    """The tokenizer of models that are trained by connectionist temporal classification (CTC): Wav2Vec2, HuBERT, MMS.

    A token is a letter. `decode` takes one token per frame: repetitions count once, and the padding token, CTC's blank, is left
    out.

    Args:
        vocab_file: The path of a vocab.json, or the ids by token; with several languages, such a dictionary for each.
        bos_token, eos_token, unk_token, pad_token: Special tokens; the first two can be None.
        word_delimiter_token: The token between words.
        replace_word_delimiter_char: What it becomes in texts.
        do_lower_case: Accept texts in lower case, and decode to lower case.
        target_lang: The language, if the vocabulary has several.
        options: As for `PreTrainedTokenizer`.

    Raises:
        InputError: If the vocabulary has several languages and `target_lang` is none of them.
        CheckpointError: If the file cannot be read.

    Example:
        >>> from notebook_kit import Wav2Vec2CTCTokenizer
        >>> tokenizer = Wav2Vec2CTCTokenizer({"<pad>": 0, "|": 1, "<unk>": 2, "A": 3, "B": 4})
        >>> tokenizer("AB A").input_ids, tokenizer.decode([3, 3, 0, 3, 4, 1, 1, 3])
        ([3, 4, 1, 3], 'AAB A')
        >>> tokenizer.decode([3, 3, 0, 3, 4, 1, 1, 3], output_word_offsets=True).word_offsets[1]
        {'word': 'A', 'start_offset': 7, 'end_offset': 8}
    """

    vocab_files_names = {"vocab_file": "vocab.json"}

    def __init__(
        self,
        vocab_file: str | os.PathLike[str] | Mapping[str, Any],
        bos_token: str | AddedToken | None = "<s>",
        eos_token: str | AddedToken | None = "</s>",
        unk_token: str | AddedToken = "<unk>",
        pad_token: str | AddedToken = "<pad>",
        word_delimiter_token: str | None = "|",
        replace_word_delimiter_char: str = " ",
        do_lower_case: bool = False,
        target_lang: str | None = None,
        **options: Any,
    ) -> None:
        self.vocab = dict(vocab_file) if isinstance(vocab_file, Mapping) else read_json(vocab_file)
        self.do_lower_case = do_lower_case
        self.replace_word_delimiter_char = replace_word_delimiter_char
        self.target_lang = target_lang
        self.encoder = self._of_language(target_lang)
        self.decoder = {id: token for token, id in self.encoder.items()}
        super().__init__(
            bos_token=bos_token,
            eos_token=eos_token,
            unk_token=unk_token,
            pad_token=pad_token,
            word_delimiter_token=word_delimiter_token,
            replace_word_delimiter_char=replace_word_delimiter_char,
            do_lower_case=do_lower_case,
            target_lang=target_lang,
            **options,
        )
        self._keep_whole()

    def _of_language(self, language: str | None) -> dict[str, int]:
        """The ids by token of one language, or those of a vocabulary with one language."""
        languages = [name for name, value in self.vocab.items() if isinstance(value, Mapping)]
        if not languages:
            return self.vocab
        if language not in languages:
            what = "needs a target_lang" if language is None else f"has no language {language!r}"
            raise InputError(
                f"The vocabulary has {len(languages)} languages and {what}. {near_matches(str(language), languages)}".rstrip(),
                next_step=f"Pass target_lang=, one of {', '.join(languages[:20])}{', ...' * (len(languages) > 20)}.",
            )
        return self.vocab[language]

    def _keep_whole(self) -> None:
        """Keep tokens of several letters whole."""
        self.add_tokens(
            [AddedToken(token, lstrip=True, rstrip=True, normalized=False) for token in self.encoder if len(token) > 1]
        )

    def set_target_lang(self, target_lang: str) -> None:
        """Use the vocabulary of another language.

        Raises:
            InputError: If the vocabulary has one language, or not this one.
        """
        if self.encoder is self.vocab:
            raise InputError(
                "The vocabulary has one language, so it cannot be changed.",
                next_step="Load a checkpoint with several, such as facebook/mms-1b-all.",
            )
        self.encoder = self._of_language(target_lang)
        self.decoder = {id: token for token, id in self.encoder.items()}
        self.target_lang = self.init_kwargs["target_lang"] = target_lang
        self._added = {id: token for id, token in self._added.items() if id not in self.decoder}
        self._keep_whole()

    # The vocabulary

    @property
    def word_delimiter_token(self) -> str | None:
        """The token between words."""
        token = self._roles.get("word_delimiter_token")
        return None if token is None else str(token)

    @property
    def word_delimiter_token_id(self) -> int | None:
        """Its id."""
        return self.convert_tokens_to_ids(self.word_delimiter_token)

    @property
    def vocab_size(self) -> int:
        """The number of tokens, without added ones."""
        return len(self.decoder)

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id."""
        return {**self.encoder, **self.added_tokens_encoder}

    def _tokenize(self, text: str) -> list[str]:
        text = text.upper() if self.do_lower_case else text
        return list(text if self.word_delimiter_token is None else text.replace(" ", self.word_delimiter_token))

    def _convert_token_to_id(self, token: str) -> int | None:
        return self.encoder.get(token, self.encoder.get(str(self.unk_token)))

    def _convert_id_to_token(self, id: int) -> str:
        return self.decoder.get(id, str(self.unk_token))

    # Back to text

    def convert_tokens_to_string(self, tokens: Any, **options: Any) -> Any:
        """The text of one token per frame, with the offsets of letters and words: a dictionary with the entries of
        `Wav2Vec2CTCTokenizerOutput`.

        Args:
            tokens: One token per frame.
            options: `group_tokens`, `spaces_between_special_tokens`, `output_char_offsets`, `output_word_offsets`, as for
                `decode`.
        """
        return self._read(list(tokens), **options)

    def _read(
        self,
        tokens: list[str],
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
    ) -> dict[str, Any]:
        groups = itertools.groupby(tokens) if group_tokens else ((token, [token]) for token in tokens)
        chars: list[dict[str, Any]] = []
        frame = 0
        for token, repetitions in groups:
            start, frame = frame, frame + len(list(repetitions))
            if token != self.pad_token:
                char = self.replace_word_delimiter_char if token == self.word_delimiter_token else token
                chars.append({"char": char, "start_offset": start, "end_offset": frame})
        text = (" " if spaces_between_special_tokens else "").join(char["char"] for char in chars).strip()
        return {
            "text": text.lower() if self.do_lower_case else text,
            "char_offsets": chars if output_char_offsets else None,
            "word_offsets": words_of(chars, self.replace_word_delimiter_char) if output_word_offsets else None,
        }

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
        **unknown: Any,
    ) -> Any:
        """Convert one id per frame, or the ids of labels, to text.

        Args:
            token_ids: The ids, usually `logits.argmax(-1)`; or a batch of them.
            skip_special_tokens: Leave special tokens out, except the one between words.
            clean_up_tokenization_spaces: Remove spaces before punctuation; None uses the tokenizer's setting.
            output_char_offsets, output_word_offsets: Return the frames of letters and words, too. A frame lasts
                `model.config.inputs_to_logits_ratio` samples.
            group_tokens: Count repetitions once. Pass False for labels, which no model emitted: "HELLO" has two L.
            spaces_between_special_tokens: Put a space between tokens.

        Returns:
            The text, or a `Wav2Vec2CTCTokenizerOutput` if offsets are requested; for a batch a list of texts, or one output of
            lists.
        """
        ids = as_ids("token_ids", token_ids)
        if isinstance(ids, list) and ids and isinstance(ids[0], list):
            options = {"output_char_offsets": output_char_offsets, "output_word_offsets": output_word_offsets}
            options |= {"group_tokens": group_tokens, "spaces_between_special_tokens": spaces_between_special_tokens}
            rows = [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces, **options) for row in ids]
            if isinstance(rows[0], str):
                return rows
            return Wav2Vec2CTCTokenizerOutput({name: [row[name] for row in rows] for name in rows[0]})
        tokens = self.convert_ids_to_tokens([ids] if isinstance(ids, int) else ids)
        if skip_special_tokens:
            skipped = {*self.all_special_tokens} - {self.word_delimiter_token}
            tokens = [token for token in tokens if token not in skipped]
        read = self._read(tokens, group_tokens, spaces_between_special_tokens, output_char_offsets, output_word_offsets)
        cleans = (
            self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        )
        if cleans:
            read["text"] = self.clean_up_tokenization(read["text"])
        return Wav2Vec2CTCTokenizerOutput(read) if output_char_offsets or output_word_offsets else read["text"]

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **options: Any) -> Any:
        """As `decode`, for a batch."""
        rows = [as_ids("sequences", row) for row in sequences]
        return self.decode(rows, skip_special_tokens, **options) if rows else []

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write vocab.json into a folder, and return its path."""
        path = Path(save_directory) / (f"{filename_prefix}-vocab.json" if filename_prefix else "vocab.json")
        return (str(write_text(path, json.dumps(self.vocab, indent=2, ensure_ascii=False) + "\n")),)


def words_of(chars: Sequence[Mapping[str, Any]], delimiter: str) -> list[dict[str, Any]]:
    """The words in letters with offsets: runs between delimiters.

    Example:
        >>> letters = [{"char": c, "start_offset": i, "end_offset": i + 1} for i, c in enumerate("A B")]
        >>> words_of(letters, " ")
        [{'word': 'A', 'start_offset': 0, 'end_offset': 1}, {'word': 'B', 'start_offset': 2, 'end_offset': 3}]
    """
    words = []
    for is_space, run in itertools.groupby(chars, key=lambda char: char["char"] == delimiter):
        letters = list(run)
        if not is_space:
            word = "".join(letter["char"] for letter in letters)
            span = {"start_offset": letters[0]["start_offset"], "end_offset": letters[-1]["end_offset"]}
            words.append({"word": word, **span})
    return words


TOKENIZER_CLASSES["Wav2Vec2CTCTokenizer"] = Wav2Vec2CTCTokenizer
