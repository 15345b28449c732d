"""Texts generated from texts: summaries, translations, and anything else that encoder-decoders are trained for."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch

from notebook_kit.errors import InputError, a_kind, near_matches, notice
from notebook_kit.generation import GenerationConfig
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.generating import GENERATE_OPTIONS, GeneratingPipeline
from notebook_kit.pipelines.options import check_count
from notebook_kit.pipelines.text import read_text

__all__ = ["SummarizationPipeline", "Text2TextGenerationPipeline", "TranslationPipeline"]


class Text2TextGenerationPipeline(GeneratingPipeline):
    """Generates a text from each text. Created by `pipeline("text2text-generation")`.

    Generation settings come from the call, else from the checkpoint's `task_specific_params` for this task, else from
    its `generation_config.json`. By default, 4 beams generate at most 256 tokens.

    Options:
        truncation: What happens to a text that is longer than the model's limit. By default only its start is read, with
            one notice per call; `True` truncates silently, and `False` raises an error.
        stride: Read a long text in overlapping pieces, and join the outputs. Neighbouring pieces share this many tokens.
        max_input_tokens: The maximum number of tokens read at once; by default the model's limit.
        prefix: A text to put before each input; by default the checkpoint's (T5 recognizes its task by a prefix such as
            `"summarize: "`).
        return_tensors: Return token ids instead of text.
        clean_up_tokenization_spaces: Remove spaces before punctuation.
        stop_sequence: One or more texts that end the output.
        num_beams, max_new_tokens, do_sample, ...: Settings of `GenerationConfig`, and `generation_config`,
            `logits_processor`, `stopping_criteria`, `streamer`, `generator`, as `model.generate` takes them.

    Returns:
        `[{"generated_text": str}]`, with one dict per returned sequence (`num_return_sequences`). For a list of texts, a
        list with one dict per text, or one list per text if there are several sequences. With `return_tensors=True` the
        key is `generated_token_ids`.

    Raises:
        InputError: for an input that is not a text, an unknown option, or a model that is not a generating
            encoder-decoder.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from notebook_kit import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration, Text2TextGenerationPipeline
        >>> words = Tokenizer(models.WordLevel({w: i for i, w in enumerate("<pad> </s> <unk> what is this".split())}, unk_token="<unk>"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
        >>> tiny = T5Config(d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, vocab_size=6)
        >>> write = Text2TextGenerationPipeline(T5ForConditionalGeneration(tiny), tokenizer)
        >>> [list(answer) for answer in write(["what is this", "this is what"], max_new_tokens=5)]
        [['generated_text'], ['generated_text']]
    """

    task = "text2text-generation"
    auto_model = "AutoModelForSeq2SeqLM"
    defaults = {"max_new_tokens": 256}
    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {"forward": GENERATE_OPTIONS}
    result_name: ClassVar[str] = "generated"
    """The first part of the keys in the results, as in `"generated_text"`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if getattr(self.model, "generation_kind", None) != "encoder-decoder":
            raise InputError(
                f"{a_kind(self.model, starts=True)} cannot do {self.task}: it is not a generating encoder-decoder.",
                next_step="Load the checkpoint with AutoModelForSeq2SeqLM, or use pipeline('text-generation', ...).",
            )
        self.prefix: str = self._task_settings.get("prefix") or getattr(self.model.config, "prefix", None) or ""
        self._truncation_noted = False

    @property
    def _task_settings(self) -> dict[str, Any]:
        """The checkpoint's settings for this task, beside those for all tasks."""
        return (getattr(self.model.config, "task_specific_params", None) or {}).get(self.task, {})

    @cached_property
    def generation_config(self) -> GenerationConfig:
        """The checkpoint's settings for this task, over those for all tasks and the pipeline's number of beams."""
        for_task = {name: value for name, value in self._task_settings.items() if name in GenerationConfig.names()}
        return GenerationConfig(**for_task).filled(self.model.generation_config, {"num_beams": 4})

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        options.pop("return_text", None)  # the default, unless token ids are requested
        if "return_type" in options:
            kind = options.pop("return_type")
            options.setdefault("return_tensors", getattr(kind, "name", kind) in ("TENSORS", 0))
        for name in ("stride", "max_input_tokens"):
            check_count(name, options.get(name), least=0 if name == "stride" else 1, unit="tokens")
        return super().normalize_options(options)

    def settings(self, given: dict[str, Any], prompt: int = 0) -> dict[str, Any]:
        arguments = super().settings(given, prompt=1)  # the sequence starts with one token, whatever the encoder reads
        if given.get("generation_config") is None:
            arguments["generation_config"] = self.generation_config
            if given.get("max_length") is not None and given.get("max_new_tokens") is None:
                # The length of the call takes precedence over the one of the checkpoint.
                arguments["generation_config"] = config = copy.deepcopy(self.generation_config)
                config.max_new_tokens = None
        return arguments

    def __call__(self, inputs: Any, **options: Any) -> Any:
        self._truncation_noted = False
        results = super().__call__(inputs, **options)
        # With one sequence per text, a list of texts gives a flat list of dicts (or errors).
        if isinstance(inputs, list | tuple) and not any(isinstance(r, list) and len(r) != 1 for r in results):
            return [result[0] if isinstance(result, list) else result for result in results]
        return results

    # The steps -----------------------------------------------------------------------------------------------------

    def preprocess(
        self,
        item: Any,
        *,
        truncation: bool | str | None = None,
        stride: int | None = None,
        max_input_tokens: int | None = None,
        prefix: str | None = None,
    ) -> Rows:
        item = read_text(item, "Pass a text, or a list or stream of them.")
        prefix = self.prefix if prefix is None else prefix
        encoded = self.tokenize(prefix + item)
        limit = self._limit(max_input_tokens, explicit=truncation is True or isinstance(truncation, str))
        if limit is None or len(encoded["input_ids"]) <= limit or truncation is False:
            return [self._feature(encoded)]
        if stride is not None:
            return [self._truncated(prefix + piece, limit) for piece in self._pieces(item, prefix, limit, stride)]
        if truncation is None and not self._truncation_noted:
            self._truncation_noted = True
            notice(
                f"{self.task}: an input of {len(encoded['input_ids'])} tokens is read up to token {limit}, the limit. "
                "The rest is ignored, as in other long inputs of this call. Pass stride=32 to read all of it in pieces."
            )
        return [self._truncated(prefix + item, limit)]

    def _limit(self, wanted: int | None, explicit: bool) -> int | None:
        """The maximum number of tokens read at once, None for no limit."""
        limits = [limit for limit in (wanted, self.max_tokens) if limit is not None]
        if explicit and self.tokenizer.model_max_length < 1e9:
            limits.append(self.tokenizer.model_max_length)
        return min(limits) if limits else None

    def _truncated(self, text: str, limit: int) -> dict[str, Any]:
        return self._feature(self.tokenize(text, truncation=True, max_length=limit))

    def _pieces(self, text: str, prefix: str, limit: int, stride: int) -> list[str]:
        """Pieces of the text that fit beside the prefix; neighbours share `stride` tokens."""
        room = limit - len(self.tokenize(prefix)["input_ids"])  # special tokens included
        if room <= stride:
            raise InputError(
                f"stride={stride} leaves nothing new to read in pieces of {room} tokens.",
                next_step="Pass a smaller stride, or a larger max_input_tokens.",
            )
        spans = self.tokenize(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        pieces, start, end = [], 0, 0
        while end < len(spans):
            end = min(start + room, len(spans))
            piece = text[spans[start][0] : spans[end - 1][1]]
            # A piece may have more tokens on its own than within the text.
            while end > start + 1 and len(self.tokenize(prefix + piece)["input_ids"]) > limit:
                end -= 1
                piece = text[spans[start][0] : spans[end - 1][1]]
            pieces.append(piece)
            start = max(start + 1, end - stride)
        return pieces

    def _feature(self, encoded: Any) -> dict[str, Any]:
        return {name: list(encoded[name]) for name in ("input_ids", "attention_mask") if name in encoded}

    def postprocess(
        self,
        item: Any,
        features: Rows,
        outputs: Rows,
        *,
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> Rows:
        answers: Rows = []
        for parts in zip(*(output["tokens"] for output in outputs), strict=True):  # per returned sequence
            if return_tensors:
                ids = torch.cat([torch.from_numpy(part) for part in parts])
                answers.append({f"{self.result_name}_token_ids": ids})
                continue
            texts = self.tokenizer.batch_decode(
                [part.tolist() for part in parts],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            )
            text = texts[0] if len(texts) == 1 else " ".join(text.strip() for text in texts if text.strip())
            answers.append({f"{self.result_name}_text": text})
        return answers


class SummarizationPipeline(Text2TextGenerationPipeline):
    """Summarizes texts. Created by `pipeline("summarization")`.

    The options are those of `Text2TextGenerationPipeline`; `min_length` and `max_length` are the most common. Of a text
    longer than the model's limit, only the start is summarized, with a notice. With `stride=32`, all of it is summarized
    piece by piece.

    Returns:
        `[{"summary_text": str}]`; for a list of texts, a list of such dicts.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from notebook_kit import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast, SummarizationPipeline
        >>> words = Tokenizer(models.WordLevel({w: i for i, w in enumerate("<s> <pad> </s> <unk> long text".split())}, unk_token="<unk>"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
        >>> tiny = BartConfig(d_model=16, encoder_layers=1, decoder_layers=1, vocab_size=6, max_position_embeddings=20)
        >>> summarize = SummarizationPipeline(BartForConditionalGeneration(tiny), tokenizer)
        >>> answer = summarize("long text " * 30, stride=4, max_length=8)  # read in four pieces
        >>> list(answer[0])
        ['summary_text']
    """

    task = "summarization"
    result_name = "summary"


class TranslationPipeline(Text2TextGenerationPipeline):
    """Translates texts. Created by `pipeline("translation_en_to_fr")`, or
    `pipeline("translation", src_lang=..., tgt_lang=...)`.

    Options, in addition to those of `Text2TextGenerationPipeline`:
        src_lang: For multilingual models, the language of the inputs: a code of the tokenizer, such as `"en_XX"`.
        tgt_lang: For multilingual models, the language of the results.

    Returns:
        `[{"translation_text": str}]`; for a list of texts, a list of such dicts.

    Raises:
        InputError: for a multilingual model without the two languages, and for a language that its tokenizer lacks.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from notebook_kit import MarianConfig, MarianMTModel, PreTrainedTokenizerFast, TranslationPipeline
        >>> words = Tokenizer(models.WordLevel({w: i for i, w in enumerate("</s> <unk> hello bonjour <pad>".split())}, unk_token="<unk>"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
        >>> tiny = MarianConfig(d_model=16, encoder_layers=1, decoder_layers=1, vocab_size=5, pad_token_id=4, decoder_start_token_id=4)
        >>> translate = TranslationPipeline(MarianMTModel(tiny), tokenizer, task="translation_en_to_fr")
        >>> list(translate("hello", max_new_tokens=4)[0])
        ['translation_text']
    """

    task = "translation"
    result_name = "translation"
    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "preprocess": {
            "truncation": bool | str | None,
            "stride": int | None,
            "max_input_tokens": int | None,
            "prefix": str | None,
        },
        "forward": {**GENERATE_OPTIONS, "tgt_lang": str | None},
    }

    def __init__(self, model: Any, *args: Any, task: str | None = None, **kwargs: Any) -> None:
        if task in (None, "translation"):
            settings = getattr(getattr(model, "config", None), "task_specific_params", None) or {}
            pair = next((name for name in settings if name.startswith("translation_")), None)
            if pair is not None:
                notice(
                    f"No languages were given: the first pair of the checkpoint is used, {pair}. Pass it as the task."
                )
            task = pair or task
        super().__init__(model, *args, task=task, **kwargs)

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        named = re.fullmatch(r"translation_(\w+)_to_(\w+)", self.task)
        if named and not {"src_lang", "tgt_lang"} & {*options, *self.options} and self._languages():
            options = {**options, "src_lang": named[1], "tgt_lang": named[2]}
        for name in ("src_lang", "tgt_lang"):
            known = self._languages()
            if known and options.get(name) is not None and options[name] not in known:
                raise InputError(
                    f"{name} is {options[name]!r}, which is not a language of this tokenizer. "
                    f"{near_matches(str(options[name]), known)}".rstrip(),
                    next_step=f"Its languages are {', '.join(sorted(known))}.",
                )
        return super().normalize_options(options)

    def _languages(self) -> dict[str, int]:
        """Language code -> token id, for a multilingual tokenizer; otherwise empty."""
        return getattr(self.tokenizer, "lang_code_to_id", None) or {}

    def preprocess(
        self, item: Any, *, src_lang: str | None = None, tgt_lang: str | None = None, **options: Any
    ) -> Rows:
        if self._languages():
            if src_lang is None or tgt_lang is None:
                raise InputError(
                    "This model translates between many languages, and the languages of this text are missing.",
                    next_step="Pass src_lang and tgt_lang, such as src_lang='en_XX', tgt_lang='fr_XX'.",
                )
            if self.tokenizer.src_lang != src_lang:
                self.tokenizer.src_lang = src_lang
        return super().preprocess(item, **options)

    def settings(self, given: dict[str, Any], prompt: int = 0) -> dict[str, Any]:
        arguments = super().settings(given, prompt)
        language = arguments.pop("tgt_lang", None)
        if language in self._languages():
            arguments.setdefault("forced_bos_token_id", self._languages()[language])
        return arguments
