"""One text out of another: summaries, translations, and whatever else an encoder-decoder was trained to write."""

from __future__ import annotations

import copy
import re
from typing import Any, ClassVar

import torch

from notebook_kit.errors import InputError, near_matches
from notebook_kit.generation import GenerationConfig
from notebook_kit.pipelines.base import check_count, notice
from notebook_kit.pipelines.text import TextPipeline, read_text

__all__ = ["SummarizationPipeline", "Text2TextGenerationPipeline", "TranslationPipeline"]

# Arguments of `generate` that are objects and no settings.
GENERATE_OBJECTS = (
    "generation_config",
    "generator",
    "logits_processor",
    "on_interrupt",
    "prefix_allowed_tokens_fn",
    "stopping_criteria",
    "streamer",
)


class Text2TextGenerationPipeline(TextPipeline):
    """Writes a text for each text. Made by `pipeline("text2text-generation")`.

    How it generates is taken from the call, else from the checkpoint's `task_specific_params` for this task, else from
    its `generation_config.json`; where all are silent, 4 beams write at most 256 tokens.

    Options:
        truncation: Read only the start of a text that is longer than the model reads. This is the default, with one
            notice a call; `True` does it quietly, and `False` makes it an error.
        stride: Read a longer text in pieces, of which neighbours share this many tokens, and join what is written for each.
        max_input_tokens: How much is read at once, in tokens; the model's own limit unless given.
        prefix: Put before each text; the checkpoint's own unless given (T5 knows its task by it: `"summarize: "`).
        return_tensors: Return token ids in place of text.
        clean_up_tokenization_spaces: Take out spaces before punctuation.
        stop_sequence: A text whose first token ends what is written.
        num_beams, max_new_tokens, do_sample, ...: Settings of `GenerationConfig`, and `generation_config`,
            `logits_processor`, `stopping_criteria`, `streamer`, `generator`, as `model.generate` takes them.

    Returns:
        `[{"generated_text": str}]`, with as many entries as `num_return_sequences`; for a list of texts a list of them,
        or of the single entries where there is one each. With `return_tensors=True` the key is `generated_token_ids`.

    Raises:
        InputError: for an input that is no text, or an option that does not exist.

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
    written: ClassVar[str] = "generated"
    defaults: ClassVar[dict[str, Any]] = {"max_new_tokens": 256, "num_beams": 4}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if getattr(self.model, "generation_kind", None) != "encoder-decoder":
            raise InputError(
                f"A {type(self.model).__name__} cannot do {self.task}: it is no encoder-decoder that generates.",
                next_step="Load the checkpoint with AutoModelForSeq2SeqLM, or use pipeline('text-generation', ...).",
            )
        config = self.model.config
        for_task = dict((getattr(config, "task_specific_params", None) or {}).get(self.task, {}))
        self.prefix: str = for_task.pop("prefix", None) or getattr(config, "prefix", None) or ""
        known = {name: value for name, value in for_task.items() if name in GenerationConfig.names()}
        self.generation_config = GenerationConfig(**known).filled(self.model.generation_config)
        limited = self.generation_config.max_length or self.generation_config.max_new_tokens
        defaults = {name: value for name, value in self.defaults.items() if not (limited and name == "max_new_tokens")}
        if "max_new_tokens" in defaults and self.model.position_limit is not None:
            room = self.model.position_limit - 1  # beside the token that a decoder starts with
            defaults["max_new_tokens"] = min(defaults["max_new_tokens"], room)
        self.generation_config = self.generation_config.filled(defaults)
        if self.generation_config.pad_token_id is None and self.tokenizer.pad_token_id is not None:
            self.generation_config.pad_token_id = self.tokenizer.pad_token_id
        self._told_of_truncation = False

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        names = GenerationConfig.names()
        generate = {name: options.pop(name) for name in list(options) if name in names or name in GENERATE_OBJECTS}
        stop = options.pop("stop_sequence", None)
        if stop is not None:
            generate["eos_token_id"] = self.tokenizer(stop, add_special_tokens=False)["input_ids"][0]
        options.pop("return_text", None)  # text is what comes unless ids are asked for
        if "return_type" in options:
            kind = options.pop("return_type")
            options.setdefault("return_tensors", getattr(kind, "name", kind) in ("TENSORS", 0))
        for name in ("stride", "max_input_tokens"):
            check_count(name, options.get(name), least=0 if name == "stride" else 1, unit="tokens")
        if generate:
            options["generate"] = {**self.options.get("generate", {}), **generate}
        for name in options:
            if name not in self.option_steps:
                close = near_matches(name, [*names, *self.option_steps, *GENERATE_OBJECTS])
                raise InputError(
                    f"The pipeline {self.task} has no option {name!r}. {close}".rstrip(),
                    next_step="Its options are "
                    + ", ".join(sorted(set(self.option_steps) - {"generate"}))
                    + ", and the settings of GenerationConfig.",
                )
        return options

    def __call__(self, inputs: Any, **options: Any) -> Any:
        self._told_of_truncation = False
        results = super().__call__(inputs, **options)
        single = isinstance(inputs, list | tuple) and all(
            not isinstance(result, list) or len(result) == 1 for result in results
        )
        return [result[0] if isinstance(result, list) else result for result in results] if single else results

    # The three steps -----------------------------------------------------------------------------------------------

    def preprocess(
        self,
        item: Any,
        *,
        truncation: bool | str | None = None,
        stride: int | None = None,
        max_input_tokens: int | None = None,
        prefix: str | None = None,
    ) -> list[dict[str, Any]]:
        item = read_text(item, "Pass a text, or a list or stream of them.")
        prefix = self.prefix if prefix is None else prefix
        encoded = self.tokenize(prefix + item)
        limit = self._limit(max_input_tokens, explicit=truncation is True or isinstance(truncation, str))
        if limit is None or len(encoded["input_ids"]) <= limit or truncation is False:
            return [self._feature(encoded)]
        if stride is not None:
            return [
                self._feature(self._cut(prefix + piece, limit)) for piece in self._pieces(item, prefix, limit, stride)
            ]
        if truncation is None and not self._told_of_truncation:
            self._told_of_truncation = True
            notice(
                f"{self.task}: an input of {len(encoded['input_ids'])} tokens is read up to token {limit}, the most that "
                "the model reads; what comes after is left out, in this and in other inputs of the call. "
                "To have all of it read in pieces, pass stride=32."
            )
        return [self._feature(self._cut(prefix + item, limit))]

    def _limit(self, wanted: int | None, explicit: bool) -> int | None:
        """How many tokens are read at once; None for as many as come."""
        limits = [limit for limit in (wanted, self.max_tokens) if limit is not None]
        if explicit and self.tokenizer.model_max_length < 1e9:
            limits.append(self.tokenizer.model_max_length)
        return min(limits) if limits else None

    def _cut(self, text: str, limit: int) -> Any:
        return self.tokenize(text, truncation=True, max_length=limit)

    def _pieces(self, text: str, prefix: str, limit: int, stride: int) -> list[str]:
        """The text in pieces that fit beside the prefix, of which neighbours share `stride` tokens."""
        beside = len(self.tokenize(prefix)["input_ids"])  # special tokens included
        room = limit - beside
        if room <= stride:
            raise InputError(
                f"stride={stride} leaves nothing new to read in pieces of {room} tokens.",
                next_step="Pass a smaller stride, or a larger max_input_tokens.",
            )
        spans = self.tokenize(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        pieces, start = [], 0
        while True:
            end = min(start + room, len(spans))
            piece = text[spans[start][0] : spans[end - 1][1]]
            # What is cut out of a text may make more tokens alone than it did within.
            while end > start + 1 and len(self.tokenize(prefix + piece)["input_ids"]) > limit:
                end -= 1
                piece = text[spans[start][0] : spans[end - 1][1]]
            pieces.append(piece)
            if end == len(spans):
                return pieces
            start = max(start + 1, end - stride)

    def _feature(self, encoded: Any) -> dict[str, Any]:
        return {name: list(encoded[name]) for name in ("input_ids", "attention_mask") if name in encoded}

    def forward(
        self, batch: dict[str, torch.Tensor], *, generate: dict[str, Any] | None = None, **forced: Any
    ) -> dict[str, Any]:
        given = {**forced, **(generate or {})}
        config = given.pop("generation_config", None) or self.generation_config
        if given.get("max_length") is not None and given.get("max_new_tokens") is None:
            config = copy.deepcopy(config)  # what the call says about the length goes before what the pipeline says
            config.max_new_tokens = None
        tokens = self.model.generate(**batch, generation_config=config, tokenizer=self.tokenizer, **given)
        tokens = getattr(tokens, "sequences", tokens)
        rows = batch["input_ids"].shape[0]
        return {"tokens": tokens.view(rows, -1, tokens.shape[-1])}

    def postprocess(
        self,
        item: Any,
        features: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        *,
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for parts in zip(*(output["tokens"] for output in outputs), strict=True):  # one for each returned sequence
            if return_tensors:
                ids = torch.cat([torch.from_numpy(part) for part in parts])
                answers.append({f"{self.written}_token_ids": ids})
                continue
            texts = self.tokenizer.batch_decode(
                [part.tolist() for part in parts],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            )
            text = texts[0] if len(texts) == 1 else " ".join(text.strip() for text in texts if text.strip())
            answers.append({f"{self.written}_text": text})
        return answers


class SummarizationPipeline(Text2TextGenerationPipeline):
    """Says in few words what a text says. Made by `pipeline("summarization")`.

    The options are those of `Text2TextGenerationPipeline`; `min_length` and `max_length` are the most used. A text that is
    longer than the model reads is summarized from its start, with a notice; with `stride=32` all of it is, piece by piece.

    Returns:
        `[{"summary_text": str}]`; for a list of texts a list of such dictionaries.

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
    written = "summary"


class TranslationPipeline(Text2TextGenerationPipeline):
    """Translates. Made by `pipeline("translation_en_to_fr")`, or `pipeline("translation", src_lang=..., tgt_lang=...)`.

    Options, beside those of `Text2TextGenerationPipeline`:
        src_lang: The language that is read, for models of many languages: a code of its tokenizer, such as `"en_XX"`.
        tgt_lang: The language that is written, likewise. Models of a single pair need neither.

    Returns:
        `[{"translation_text": str}]`; for a list of texts a list of such dictionaries.

    Raises:
        InputError: where the model knows many languages and is not told which, or does not know the one it is told.

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
    written = "translation"

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        named = re.fullmatch(r"translation_(\w+)_to_(\w+)", self.task)
        if named and not {"src_lang", "tgt_lang"} & {*options, *self.options} and self._languages():
            options = {**options, "src_lang": named[1], "tgt_lang": named[2]}
        for name in ("src_lang", "tgt_lang"):
            known = self._languages()
            if known and options.get(name) is not None and options[name] not in known:
                raise InputError(
                    f"{name} is {options[name]!r}, which is no language of this tokenizer. "
                    f"{near_matches(str(options[name]), known)}".rstrip(),
                    next_step=f"It knows {', '.join(sorted(known))}.",
                )
        return super().normalize_options(options)

    def _languages(self) -> dict[str, int]:
        """The codes of a tokenizer of many languages; empty for one that has none."""
        return getattr(self.tokenizer, "lang_code_to_id", None) or {}

    def preprocess(
        self,
        item: Any,
        *,
        truncation: bool | str | None = None,
        stride: int | None = None,
        max_input_tokens: int | None = None,
        prefix: str | None = None,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
    ) -> list[dict[str, Any]]:
        if self._languages():
            if src_lang is None or tgt_lang is None:
                raise InputError(
                    "This model translates between many languages, and was not told between which.",
                    next_step="Pass src_lang and tgt_lang, such as src_lang='en_XX', tgt_lang='fr_XX'.",
                )
            if self.tokenizer.src_lang != src_lang:
                self.tokenizer.src_lang = src_lang
        return super().preprocess(
            item, truncation=truncation, stride=stride, max_input_tokens=max_input_tokens, prefix=prefix
        )

    def forward(  # type: ignore[override]
        self, batch: dict[str, torch.Tensor], *, generate: dict[str, Any] | None = None, tgt_lang: str | None = None
    ) -> dict[str, Any]:
        languages = self._languages()
        forced = {"forced_bos_token_id": languages[tgt_lang]} if languages and tgt_lang is not None else {}
        return super().forward(batch, generate=generate, **forced)
