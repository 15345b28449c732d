"""`WhisperTokenizer`: byte-level BPE with tokens for languages, tasks and times."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import processors

from notebook_kit.errors import InputError, near_matches
from notebook_kit.files import read_json, write_text
from notebook_kit.processing.tensors import to_tensor
from notebook_kit.processing.text.arguments import as_ids
from notebook_kit.processing.text.parts import Files, Parts
from notebook_kit.processing.text.tokenizer import PreTrainedTokenizerFast
from notebook_kit.processing.text.whisper_decoding import FRAMES, Clock, Transcript
from notebook_kit.registry.languages import LANGUAGES, language_code

__all__ = ["WhisperTokenizer"]

_TASKS = ("transcribe", "translate")
_TIME = re.compile(r"<\|\d+\.\d+\|>")
_START, _PREVIOUS, _NO_TIMES = "<|startoftranscript|>", "<|startofprev|>", "<|notimestamps|>"
_SPELLINGS = "normalizer.json"


class WhisperTokenizer(PreTrainedTokenizerFast):
    """The tokenizer of Whisper. Texts are put between the tokens that say what to transcribe, and the end token.

    Args:
        vocabulary, options: As for `PreTrainedTokenizerFast`; and
        language: The language of the texts, by its English name or its code.
        task: "transcribe", or "translate" into English.
        predict_timestamps: Whether texts contain times, so that they do not begin with `<|notimestamps|>`.

    Raises:
        InputError: If Whisper does not know the language or the task.

    Example:
        >>> from notebook_kit import WhisperTokenizer
        >>> words = ["<|endoftext|>", "hi", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
        >>> vocabulary = {word: id for id, word in enumerate(words)}
        >>> tokenizer = WhisperTokenizer(vocabulary, [], language="english", task="transcribe")
        >>> tokenizer.add_tokens(words[2:], special_tokens=True), tokenizer.set_prefix_tokens()
        (4, None)
        >>> tokenizer.convert_ids_to_tokens(tokenizer.prefix_tokens)
        ['<|startoftranscript|>', '<|en|>', '<|transcribe|>', '<|notimestamps|>']
    """

    recipe = "WhisperTokenizer"

    def _set_up(self, parts: Parts) -> None:
        options = parts.options
        self.language: str | None = options.get("language")
        self.task: str | None = options.get("task")
        self.predict_timestamps = bool(options.get("predict_timestamps"))
        self.english_spelling_normalizer: dict[str, str] | None = None
        super()._set_up(parts)
        self.set_prefix_tokens()

    def read_files(self, source: Files) -> None:
        """Read the American spellings of British words that `normalize` uses, from normalizer.json."""
        path = source.find(_SPELLINGS)
        self.english_spelling_normalizer = None if path is None else read_json(path)

    # The tokens around a text

    def set_prefix_tokens(
        self, language: str | None = None, task: str | None = None, predict_timestamps: bool | None = None
    ) -> None:
        """Change the tokens that texts begin with; None keeps a setting.

        Raises:
            InputError: If Whisper does not know the language or the task.
        """
        self.language = self.language if language is None else str(language).lower()
        self.task = self.task if task is None else task
        if predict_timestamps is not None:
            self.predict_timestamps = predict_timestamps
        ids = self.prefix_tokens
        tokens = self.convert_ids_to_tokens(ids)
        end = str(self.eos_token)
        if self.eos_token_id is None:
            return
        prefix = [f"{token}:0" for token in tokens]
        with self._lock:
            self._tokenizer.post_processor = processors.TemplateProcessing(
                single=[*prefix, "$A:0", f"{end}:0"],
                pair=[*prefix, "$A:0", "$B:1", f"{end}:1"],
                special_tokens=[(end, self.eos_token_id), *zip(tokens, ids, strict=True)],
            )

    @property
    def prefix_tokens(self) -> list[int]:
        """The ids that texts begin with. A vocabulary without them, as one that is being trained, has none."""
        code = None if self.language is None else language_code(self.language)
        if self.task is not None and self.task not in _TASKS:
            raise InputError(
                f"Whisper has no task {self.task!r}. {near_matches(str(self.task), _TASKS)}".rstrip(),
                next_step='Pass task="transcribe" or task="translate".',
            )
        start = self._tokenizer.token_to_id(_START)
        if start is None:
            return []
        ids: list[int | None] = [start]
        if code is not None:
            known = self._tokenizer.token_to_id(f"<|{code}|>")
            ids.append(start + 1 + list(LANGUAGES).index(code) if known is None else known)
        if self.task is not None:
            ids.append(self._tokenizer.token_to_id(f"<|{self.task}|>"))
        if not self.predict_timestamps:
            ids.append(self._tokenizer.token_to_id(_NO_TIMES))
        return [id for id in ids if id is not None]

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The ids of one text or a pair between the first tokens and the end token."""
        return [*self.prefix_tokens, *token_ids_0, *(token_ids_1 or []), self.eos_token_id]

    def get_decoder_prompt_ids(
        self, task: str | None = None, language: str | None = None, no_timestamps: bool = True
    ) -> list[tuple[int, int]]:
        """The first tokens after the start token, as pairs (position, id): the older way to tell `generate` what to do."""
        self.set_prefix_tokens(language, task, not no_timestamps)
        return [(place, id) for place, id in enumerate(self.prefix_tokens) if place]

    def get_prompt_ids(self, text: str, return_tensors: str | None = "np") -> Any:
        """The ids of a prompt for `generate(prompt_ids=...)`, such as names to spell.

        Raises:
            InputError: If the text contains a special token.
        """
        ids = self(_PREVIOUS, " " + text.strip(), add_special_tokens=False)["input_ids"]
        reserved = self.special_ids
        special = next((id for id in ids[1:] if id in reserved), None)
        if special is not None:
            raise InputError(
                f"The prompt contains the special token {self.convert_ids_to_tokens(special)!r}.",
                next_step="Pass the text without it.",
            )
        return ids if return_tensors is None else to_tensor(ids, return_tensors, "prompt_ids")

    # What transcripts need

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of all special tokens, also of those that only tokenizer.json names; times are not special."""
        last = self._tokenizer.token_to_id(_NO_TIMES)
        named = {id for id in self.all_special_ids if id is not None}
        marked = {id for id, token in self.added_tokens_decoder.items() if token.special}
        return frozenset(named if last is None else named | {id for id in marked if id <= last})

    @property
    def timestamp_begin(self) -> int:
        """The id of the token for 0.00 seconds."""
        last = self._tokenizer.token_to_id(_NO_TIMES)
        return (max(self.special_ids, default=-1) if last is None else last) + 1

    def timestamp_ids(self, time_precision: float = 0.02) -> list[int]:
        """The ids of the tokens for 0.00 to 30.00 seconds."""
        return self.convert_tokens_to_ids([f"<|{step * time_precision:.2f}|>" for step in range(FRAMES + 1)])

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens included."""
        return super().decode(list(ids))

    def without_prompt(self, ids: list[int]) -> list[int]:
        """The ids from the start token on, if they begin with a prompt."""
        start, previous = self._tokenizer.token_to_id(_START), self._tokenizer.token_to_id(_PREVIOUS)
        if not ids or previous is None or ids[0] != previous:
            return ids
        return ids[ids.index(start) :] if start in ids else []

    # Back to text

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        output_offsets: bool = False,
        time_precision: float = 0.02,
        decode_with_timestamps: bool = False,
        normalize: bool = False,
        basic_normalize: bool = False,
        remove_diacritics: bool = False,
        **unknown: Any,
    ) -> Any:
        """Convert ids to text.

        Args:
            token_ids: The ids of one text, or a batch of them.
            skip_special_tokens: Leave out special tokens, and a prompt.
            clean_up_tokenization_spaces: As for other tokenizers.
            output_offsets: Return `{"text": ..., "offsets": [{"text": ..., "timestamp": (start, end)}, ...]}`, in seconds.
            time_precision: Seconds of a step of time.
            decode_with_timestamps: Keep the times in the text: `"<|0.00|> Hello<|1.20|>"`.
            normalize: Normalize English text, as for word error rates; see `EnglishTextNormalizer`.
            basic_normalize, remove_diacritics: Normalize text in any language; see `BasicTextNormalizer`.

        Returns:
            A str or, with `output_offsets`, a dictionary; a list of these for a batch.
        """
        ids = as_ids("token_ids", token_ids)
        if isinstance(ids, list) and ids and isinstance(ids[0], list):
            options: dict[str, Any] = {
                "output_offsets": output_offsets,
                "time_precision": time_precision,
                "normalize": normalize,
            }
            options |= {"basic_normalize": basic_normalize, "remove_diacritics": remove_diacritics, **unknown}
            options |= {"decode_with_timestamps": decode_with_timestamps}
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces, **options) for row in ids]
        row = [ids] if isinstance(ids, int) else ids
        kept = self.without_prompt(row) if skip_special_tokens else row
        if decode_with_timestamps:
            text = self._with_times(kept, skip_special_tokens, time_precision)
        else:
            text = _TIME.sub("", super().decode(kept, skip_special_tokens, clean_up_tokenization_spaces, **unknown))
        if normalize:
            text = self.normalize(text)
        elif basic_normalize:
            text = self.basic_normalize(text, remove_diacritics)
        return {"text": text, "offsets": self._offsets(row, time_precision)} if output_offsets else text

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **options: Any) -> list[Any]:
        """As `decode`, for a batch."""
        return [self.decode(row, skip_special_tokens, **options) for row in sequences]

    def _with_times(self, ids: list[int], skip_special_tokens: bool, precision: float) -> str:
        begin = self.timestamp_begin
        clock = Clock(begin, precision)
        parts: list[str | list[int]] = [[]]
        for place, id in enumerate(ids):
            if id < begin:
                parts[-1].append(id)  # type: ignore[union-attr]
                continue
            time = clock.read(ids, place)
            if clock.joins:
                parts = parts[:-2]  # the same time ended the segment before
            parts += [f"<|{time:.2f}|>", []]
        texts = (
            part if isinstance(part, str) else super(WhisperTokenizer, self).decode(part, skip_special_tokens)
            for part in parts
        )
        return "".join(texts)

    def _offsets(self, ids: list[int], precision: float) -> list[dict[str, Any]]:
        """The segments between times, each with its text and its span in seconds."""
        begin = self.timestamp_begin
        is_time = [id >= begin for id in ids]
        places = [place for place, yes in enumerate(is_time) if yes]
        ends = [place + 1 for place in range(len(ids) - 1) if is_time[place] and is_time[place + 1]]
        if len(places) < 2 and not ends:
            return []
        if places[-1] + 1 not in ends:
            ends.append(places[-1] + 1)
        segments, start, latest, before = [], places[0], 0, 0
        for end in ends:
            tokens = ids[start:end]
            if len(tokens) > 1:
                first, last = tokens[0] - begin, tokens[-1] - begin
                if first < latest:  # a further segment of 30 seconds
                    is_single = start >= 2 and not (is_time[start - 2] and is_time[start - 1])
                    before += FRAMES if is_single else latest
                latest = last
                span = (first * precision + before * precision, last * precision + before * precision)
                segments.append({"text": _TIME.sub("", super().decode(tokens)), "timestamp": span})
            start = end
        return segments

    def decode_asr(
        self,
        model_outputs: Iterable[Mapping[str, Any]],
        *,
        return_timestamps: bool | str | None,
        return_language: bool | None,
        time_precision: float = 0.02,
    ) -> tuple[str, dict[str, Any]]:
        """Put the outputs for the pieces of one recording together; see `notebook_kit.processing.text.whisper_decoding`.

        Args:
            model_outputs: For each piece in order, its "tokens"; its "stride" in seconds, (length, left, right), unless there is one
                piece; and its "token_timestamps" for "word".
            return_timestamps: False, True for segments, or "word".
            return_language: Whether chunks have a language.
            time_precision: Seconds of a step of time.

        Returns:
            The text, and `{"chunks": [...]}` if times or languages were requested, else `{}`.
        """
        transcript = Transcript(self, return_timestamps, return_language, time_precision)
        for output in model_outputs:
            times = output.get("token_timestamps") if return_timestamps == "word" else None
            transcript.read(_flat(output["tokens"]), output.get("stride"), [] if times is None else _flat(times))
        return transcript.finish()

    _decode_asr = decode_asr  # as `transformers` names it

    # Normalization

    def normalize(self, text: str) -> str:
        """English text as it is compared for word error rates; see `EnglishTextNormalizer`."""
        from notebook_kit.processing.text.normalizers import EnglishTextNormalizer

        return EnglishTextNormalizer(self.english_spelling_normalizer or {})(text)

    @staticmethod
    def basic_normalize(text: str, remove_diacritics: bool = False) -> str:
        """Text of any language as it is compared for error rates; see `BasicTextNormalizer`."""
        from notebook_kit.processing.text.normalizers import BasicTextNormalizer

        return BasicTextNormalizer(remove_diacritics=remove_diacritics)(text)

    # Saving

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **options: Any
    ) -> tuple[str, ...]:
        """Write the tokenizer's files, and normalizer.json if it has one; see `PreTrainedTokenizerFast.save_pretrained`."""
        written: tuple[str, ...] = ()
        if self.english_spelling_normalizer is not None:
            folder = Path(save_directory)
            folder.mkdir(parents=True, exist_ok=True)
            spellings = json.dumps(self.english_spelling_normalizer, indent=2, ensure_ascii=False)
            written = (str(write_text(folder / _SPELLINGS, spellings + "\n")),)
        self.init_kwargs |= {
            name: getattr(self, name) for name in ("language", "task", "predict_timestamps") if getattr(self, name)
        }
        return (*super().save_pretrained(save_directory, push_to_hub, **options), *written)


def _flat(values: Any) -> list[Any]:
    """The numbers of one row, also with a batch axis around it."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values).reshape(-1).tolist()
