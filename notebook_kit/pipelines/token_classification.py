"""Token classification: names, parts of speech, anything that is said of single tokens or words."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from notebook_kit.errors import InputError, NotebookKitWarning
from notebook_kit.pipelines.base import check_choice
from notebook_kit.pipelines.scores import softmax
from notebook_kit.pipelines.text import TextPipeline

__all__ = ["NerPipeline", "TokenClassificationPipeline"]

STRATEGIES = ("none", "simple", "first", "average", "max")
BY_WORD = ("first", "average", "max")

Entity = dict[str, Any]


class TokenClassificationPipeline(TextPipeline):
    """Labels the tokens of a text, or groups them into entities. Made by `pipeline("token-classification")` or `"ner"`.

    Options:
        aggregation_strategy: `"none"` labels every token. `"simple"` joins neighbours with the same label (B- starts
            a new entity). `"first"`, `"average"` and `"max"` let each word have one label first: that of its first
            token, of its tokens' mean scores, or of its most certain token.
        grouped_entities, ignore_subwords: The older spelling: `"simple"`, and together `"first"`.
        ignore_labels: Labels to leave out; `["O"]` by default.
        stride: Read a long text in overlapping pieces; this many tokens overlap. Needs an aggregation strategy. Without
            it a text is cut off at the tokenizer's `model_max_length`.
        is_split_into_words: The input is a list of words.
        delimiter: What stands between those words in the text that `start` and `end` count in; a space by default.
        offset_mapping: (start, end) of each token in the text, to use in place of the tokenizer's. For a list of texts,
            a list of them.

    Returns:
        For each text a list of `{"entity": str, "score": float, "index": int, "word": str, "start": int, "end": int}`, or
        with a strategy of `{"entity_group": str, "score": float, "word": str, "start": int, "end": int}`.

    Raises:
        InputError: for options that do not go together, and inputs that are no texts.

    Example:
        >>> import pathlib, tempfile
        >>> from notebook_kit import AutoTokenizer, BertConfig, BertForTokenClassification, TokenClassificationPipeline
        >>> file = pathlib.Path(tempfile.mkdtemp(), "vocab.txt")
        >>> _ = file.write_text("\\n".join("[PAD] [UNK] [CLS] [SEP] [MASK] maria lives in berlin".split()))
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=9, id2label={0: "O", 1: "LOC"})
        >>> tag = TokenClassificationPipeline(BertForTokenClassification(tiny), AutoTokenizer.from_pretrained(file))
        >>> answers = tag("Maria lives in Berlin", ignore_labels=[])  # every token, whatever its label
        >>> [(answer["word"], answer["start"], answer["end"]) for answer in answers]
        [('maria', 0, 5), ('lives', 6, 11), ('in', 12, 14), ('berlin', 15, 21)]
    """

    task = "token-classification"
    auto_model = "AutoModelForTokenClassification"
    per_token = frozenset({"logits"})

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        options = {name: value for name, value in options.items() if value is not None}
        grouped, words = options.pop("grouped_entities", None), options.pop("ignore_subwords", None)
        if (grouped or words) and "aggregation_strategy" not in options:
            options["aggregation_strategy"] = ("first" if words else "simple") if grouped else "none"
        if "aggregation_strategy" in options:
            strategy = check_choice("aggregation_strategy", options["aggregation_strategy"], STRATEGIES)
            options["aggregation_strategy"] = strategy
        stride = options.get("stride")
        if stride is not None:
            # Merged with what was given at construction, where either may stand.
            if {**self.options, **options}.get("aggregation_strategy", "none") == "none":
                raise InputError(
                    "stride reads a text in overlapping pieces, whose entities have to be joined.",
                    next_step='Pass aggregation_strategy="simple" (or another) as well.',
                )
            if stride >= self._longest:
                raise InputError(
                    f"A stride of {stride} leaves no room in pieces of {self._longest} tokens.",
                    next_step="Pass a smaller stride.",
                )
        return options

    def __call__(self, inputs: Any, **options: Any) -> Any:
        mappings = options.get("offset_mapping")
        if mappings and isinstance(inputs, list | tuple):
            if len(inputs) == 1 and isinstance(mappings[0], tuple):
                mappings = [mappings]
            if len(mappings) != len(inputs):
                raise InputError(
                    f"There are {len(inputs)} inputs and {len(mappings)} offset mappings.",
                    next_step="Pass one offset mapping for each input.",
                )
            del options["offset_mapping"]
            inputs = [_WithOffsets(item, offsets) for item, offsets in zip(inputs, mappings, strict=True)]
        split = options.get("is_split_into_words", self.options.get("is_split_into_words", False))
        if split and isinstance(inputs, list | tuple) and not all(isinstance(item, list | tuple) for item in inputs):
            return super().__call__([list(inputs)], **options)
        return super().__call__(inputs, **options)

    def preprocess(
        self,
        item: Any,
        *,
        stride: int | None = None,
        is_split_into_words: bool = False,
        delimiter: str = " ",
        offset_mapping: Sequence[tuple[int, int]] | None = None,
    ) -> list[dict[str, Any]]:
        if isinstance(item, _WithOffsets):
            item, offset_mapping = item.item, item.offsets
        words = [str(word) for word in item] if is_split_into_words and not isinstance(item, str) else None
        if words is None and not isinstance(item, str):
            raise InputError(
                f"The input is a {type(item).__name__}.",
                next_step="Pass a text, or a list of words with is_split_into_words=True.",
            )
        if words is None and is_split_into_words:
            raise InputError(
                "is_split_into_words=True takes a list of words, and the input is one text.",
                next_step="Pass text.split(), or leave is_split_into_words out.",
            )
        more: dict[str, Any] = {} if stride is None else {"return_overflowing_tokens": True, "stride": stride}
        if words is not None:
            more["is_split_into_words"] = True
        encoded = self.tokenize(
            item if words is None else words,
            truncation=True,
            max_length=self._longest,
            return_special_tokens_mask=True,
            return_offsets_mapping=True,
            **more,
        )
        sentence = item if words is None else delimiter.join(words)
        names = [name for name in encoded if name != "overflow_to_sample_mapping"]
        several = stride is not None
        features = []
        for i in range(len(encoded["input_ids"]) if several else 1):
            feature: dict[str, Any] = {name: list(encoded[name][i] if several else encoded[name]) for name in names}
            if offset_mapping is not None:
                feature["offset_mapping"] = offset_mapping
            elif words is not None:
                feature["offset_mapping"] = _in_sentence(
                    feature["offset_mapping"], encoded.word_ids(i), words, len(delimiter)
                )
            feature["sentence"] = sentence
            features.append(feature)
        return features

    def postprocess(
        self,
        item: Any,
        features: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        *,
        aggregation_strategy: str = "none",
        ignore_labels: Sequence[str] | None = None,
    ) -> list[Entity]:
        ignored = {"O"} if ignore_labels is None else set(ignore_labels)
        entities: list[Entity] = []
        for feature, output in zip(features, outputs, strict=True):
            tokens = self._tokens(feature, output["logits"], aggregation_strategy)
            found = self._entities(tokens, aggregation_strategy)
            entities += [e for e in found if e.get("entity", e.get("entity_group")) not in ignored]
        return _without_overlaps(entities) if len(features) > 1 else entities

    # From tokens to entities ---------------------------------------------------------------------------------------

    @property
    def _longest(self) -> int:
        return min(self.tokenizer.model_max_length, self.max_tokens or self.tokenizer.model_max_length, 10**9)

    def _tokens(self, feature: dict[str, Any], logits: np.ndarray, strategy: str) -> list[Entity]:
        """What is known of each token that is not special."""
        scores = softmax(logits)
        sentence = feature["sentence"]
        marks_subwords = self._marks_subwords
        if strategy in BY_WORD and not marks_subwords:
            warnings.warn(
                "This tokenizer does not mark where words go on, so spaces are taken for their borders.",
                NotebookKitWarning,
                stacklevel=5,
            )
        names = self.tokenizer.convert_ids_to_tokens(feature["input_ids"])
        tokens = []
        for i, (word, special) in enumerate(zip(names, feature["special_tokens_mask"], strict=True)):
            if special:
                continue
            start, end = feature["offset_mapping"][i]
            reference = sentence[start:end]
            if marks_subwords:
                is_subword = len(word) != len(reference)
            else:
                is_subword = start > 0 and " " not in sentence[start - 1 : start + 1]
            if feature["input_ids"][i] == self.tokenizer.unk_token_id:
                word, is_subword = reference, False
            tokens.append(
                {
                    "word": word,
                    "scores": scores[i],
                    "index": i,
                    "start": int(start),
                    "end": int(end),
                    "is_subword": is_subword,
                }
            )
        return tokens

    @property
    def _marks_subwords(self) -> bool:
        tokenizer = self.tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None) or getattr(tokenizer, "_tokenizer", None)
        return bool(getattr(getattr(backend, "model", None), "continuing_subword_prefix", None))

    def _entities(self, tokens: list[Entity], strategy: str) -> list[Entity]:
        if strategy in BY_WORD:
            words: list[list[Entity]] = []
            for token in tokens:
                if words and token["is_subword"]:
                    words[-1].append(token)
                else:
                    words.append([token])
            entities = [self._word(word, strategy) for word in words]
        else:
            entities = []
            for token in tokens:
                best = int(token["scores"].argmax())
                entities.append(
                    {
                        "entity": self.model.config.id2label[best],
                        "score": float(token["scores"][best]),
                        "index": token["index"],
                        "word": token["word"],
                        "start": token["start"],
                        "end": token["end"],
                    }
                )
        if strategy == "none":
            return entities
        groups: list[list[Entity]] = []
        for entity in entities:
            begins, tag = _split_label(entity["entity"])
            if groups and not begins and tag == _split_label(groups[-1][-1]["entity"])[1]:
                groups[-1].append(entity)
            else:
                groups.append([entity])
        return [self._group(group) for group in groups]

    def _word(self, tokens: list[Entity], strategy: str) -> Entity:
        if strategy == "first":
            scores = tokens[0]["scores"]
        elif strategy == "max":
            scores = max(tokens, key=lambda token: token["scores"].max())["scores"]
        else:
            scores = np.nanmean([token["scores"] for token in tokens], axis=0)
        best = int(scores.argmax())
        return {
            "entity": self.model.config.id2label[best],
            "score": float(scores[best]),
            "word": self.tokenizer.convert_tokens_to_string([token["word"] for token in tokens]),
            "start": tokens[0]["start"],
            "end": tokens[-1]["end"],
        }

    def _group(self, entities: list[Entity]) -> Entity:
        return {
            "entity_group": entities[0]["entity"].split("-", 1)[-1],
            "score": float(np.nanmean([entity["score"] for entity in entities])),
            "word": self.tokenizer.convert_tokens_to_string([entity["word"] for entity in entities]),
            "start": entities[0]["start"],
            "end": entities[-1]["end"],
        }


NerPipeline = TokenClassificationPipeline


class _WithOffsets:
    """An input with the offsets of its tokens, given by the caller."""

    __slots__ = ("item", "offsets")

    def __init__(self, item: Any, offsets: Sequence[tuple[int, int]]) -> None:
        self.item, self.offsets = item, offsets


def _split_label(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and its name without B- or I-."""
    return (True, label[2:]) if label.startswith("B-") else (False, label.removeprefix("I-"))


def _in_sentence(
    offsets: list[tuple[int, int]], word_ids: list[int | None], words: list[str], gap: int
) -> list[tuple[int, int]]:
    """Offsets within words as offsets within the text that the words make when they are joined."""
    starts, position = [], 0
    for word in words:
        starts.append(position)
        position += len(word) + gap
    return [
        (start, end) if word is None else (start + starts[word], end + starts[word])
        for (start, end), word in zip(offsets, word_ids, strict=True)
    ]


def _without_overlaps(entities: list[Entity]) -> list[Entity]:
    """Of entities that overlap, keep the longest; of those of equal length, the most certain."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if not kept or not kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            kept.append(entity)
            continue
        other = kept[-1]
        if (entity["end"] - entity["start"], entity["score"]) > (other["end"] - other["start"], other["score"]):
            kept[-1] = entity
    return kept
