"""Token classification: labels for tokens or words, such as named entities and parts of speech."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from notebook_kit.errors import InputError
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.options import check_choice, checked
from notebook_kit.pipelines.scores import softmax
from notebook_kit.pipelines.text import TextPipeline, read_text
from notebook_kit.pipelines.words import marks_subwords, whole_letters, words_of_tokens
from notebook_kit.utils.choices import ExplicitEnum

__all__ = ["AggregationStrategy", "NerPipeline", "TokenClassificationPipeline"]


class AggregationStrategy(ExplicitEnum):
    """How labels of tokens become entities: `aggregation_strategy`.

    Example:
        >>> [strategy.value for strategy in AggregationStrategy]
        ['none', 'simple', 'first', 'average', 'max']
    """

    NONE = "none"
    SIMPLE = "simple"
    FIRST = "first"
    AVERAGE = "average"
    MAX = "max"


STRATEGIES = tuple(strategy.value for strategy in AggregationStrategy)

Entity = dict[str, Any]
Offsets = Sequence[tuple[int, int]]


class TokenClassificationPipeline(TextPipeline):
    """Labels the tokens of a text, or groups them into entities. Created by `pipeline("token-classification")` or `"ner"`.

    Options:
        aggregation_strategy: `"none"` labels every token. `"simple"` joins neighbours with the same label (B- starts
            a new entity). `"first"`, `"average"` and `"max"` also give each word a single label: that of its first
            token, of its tokens' mean scores, or of its most confident token.
        grouped_entities, ignore_subwords: Older options: the first means `"simple"`, both together mean `"first"`.
        ignore_labels: Labels to omit; `["O"]` by default.
        stride: Read a long text in pieces that overlap by this many tokens. Requires an aggregation strategy. By default,
            a text is truncated at the tokenizer's `model_max_length`.
        is_split_into_words: The input is a list of words.
        delimiter: The text between those words, counted in `start` and `end`; a space by default.
        offset_mapping: The (start, end) of each token in the text, instead of the tokenizer's. For a list of texts, one
            such list per text.

    Returns:
        Per text, a list of `{"entity": str, "score": float, "index": int, "word": str, "start": int, "end": int}`, or,
        with a strategy, of `{"entity_group": str, "score": float, "word": str, "start": int, "end": int}`. `start` and
        `end` count characters.

    Raises:
        InputError: for options that exclude each other, and inputs that are not texts.

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
        grouped, words = options.pop("grouped_entities", None), options.pop("ignore_subwords", None)
        grouped, words = (
            checked("grouped_entities", grouped, bool | None),
            checked("ignore_subwords", words, bool | None),
        )
        if (grouped or words) and "aggregation_strategy" not in options:
            options["aggregation_strategy"] = ("first" if words else "simple") if grouped else "none"
        if "aggregation_strategy" in options:
            strategy = check_choice("aggregation_strategy", options["aggregation_strategy"], STRATEGIES)
            options["aggregation_strategy"] = strategy
        stride = options.get("stride")
        if stride is not None:
            # Either option may have been passed at construction.
            if {**self.options, **options}.get("aggregation_strategy", "none") == "none":
                raise InputError(
                    "stride reads a text in overlapping pieces, whose entities must be joined.",
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
        if isinstance(mappings, list | tuple) and mappings and isinstance(inputs, list | tuple):
            if len(inputs) == 1 and isinstance(mappings[0], tuple):
                mappings = [mappings]
            if len(mappings) != len(inputs):
                raise InputError(
                    f"There are {len(inputs)} inputs and {len(mappings)} offset mappings.",
                    next_step="Pass one offset mapping per input.",
                )
            del options["offset_mapping"]
            inputs = [_WithOffsets(item, offsets) for item, offsets in zip(inputs, mappings, strict=True)]
        split = options.get("is_split_into_words", self.options.get("is_split_into_words"))
        if (
            checked("is_split_into_words", split, bool | None)
            and isinstance(inputs, list | tuple)
            and not all(isinstance(item, list | tuple) for item in inputs)
        ):
            return super().__call__([list(inputs)], **options)
        return super().__call__(inputs, **options)

    def inputs_of_call(self, *args: Any, **options: Any) -> Any:
        inputs = super().inputs_of_call(*args, **options)
        if not options.get("is_split_into_words", self.options.get("is_split_into_words")):
            return inputs
        delimiter = options.get("delimiter", self.options.get("delimiter", " "))
        are_several = all(isinstance(item, list | tuple) for item in inputs)
        return [delimiter.join(words) for words in (inputs if are_several else [inputs])]

    def preprocess(
        self,
        item: Any,
        *,
        stride: int | None = None,
        is_split_into_words: bool = False,
        delimiter: str = " ",
        offset_mapping: Offsets | None = None,
    ) -> Rows:
        if isinstance(item, _WithOffsets):
            item, offset_mapping = item
        words: list[str] | None = None
        if is_split_into_words:
            if isinstance(item, str):
                raise InputError(
                    "is_split_into_words=True requires a list of words, and the input is one text.",
                    next_step="Pass text.split(), or leave is_split_into_words out.",
                )
            words = [str(word) for word in item]
        sentence = delimiter.join(words) if words is not None else item
        read_text(sentence, "Pass a text, or a list of words with is_split_into_words=True.")
        encoded = self.tokenize(
            item if words is None else words,
            truncation=True,
            max_length=self._longest,
            return_special_tokens_mask=True,
            return_offsets_mapping=True,
            is_split_into_words=is_split_into_words,
            **({} if stride is None else {"return_overflowing_tokens": True, "stride": stride}),
        )
        names = [name for name in encoded if name != "overflow_to_sample_mapping"]
        features = []
        for i in range(1 if stride is None else len(encoded["input_ids"])):
            feature: dict[str, Any] = {n: list(encoded[n] if stride is None else encoded[n][i]) for n in names}
            word_ids = encoded.word_ids(i)
            if offset_mapping is not None:
                if len(offset_mapping) != len(word_ids):
                    raise InputError(
                        f"offset_mapping has {len(offset_mapping)} entries, and the text has {len(word_ids)} tokens.",
                        next_step="Pass one (start, end) per token, special tokens included.",
                    )
                feature["offset_mapping"] = offset_mapping
            else:
                offsets = feature["offset_mapping"]
                if words is not None:
                    offsets = _in_sentence(offsets, word_ids, words, len(delimiter))
                feature["offset_mapping"] = whole_letters(sentence, offsets)
            features.append(feature | {"sentence": sentence, "word_ids": word_ids, "is_split": words is not None})
        return features

    def postprocess(
        self,
        item: Any,
        features: Rows,
        outputs: Rows,
        *,
        aggregation_strategy: str = "none",
        ignore_labels: Sequence[str] | None = None,
    ) -> list[Entity]:
        ignored = ("O",) if ignore_labels is None else ignore_labels
        label = self._label if aggregation_strategy == "none" else self._group
        entities: list[Entity] = []
        for feature, output in zip(features, outputs, strict=True):
            entities += label(feature, softmax(output["logits"]), aggregation_strategy, ignored)
        return _without_overlaps(entities) if len(features) > 1 else entities

    # From tokens to entities ---------------------------------------------------------------------------------------

    @property
    def _longest(self) -> int:
        return min(self.tokenizer.model_max_length, self.max_tokens or self.tokenizer.model_max_length, 10**9)

    def _label(self, feature: dict[str, Any], scores: np.ndarray, _: str, ignored: Collection[str]) -> list[Entity]:
        """Each token, except special ones, with its most probable label, if that is not ignored."""
        names = self._names(feature)
        entities: list[Entity] = []
        for i, special in enumerate(feature["special_tokens_mask"]):
            best = int(scores[i].argmax())
            label = self.model.config.id2label[best]
            if not special and label not in ignored:
                start, end = map(int, feature["offset_mapping"][i])
                place = {"index": i, "word": names[i], "start": start, "end": end}
                entities.append({"entity": label, "score": float(scores[i][best]), **place})
        return entities

    def _group(
        self, feature: dict[str, Any], scores: np.ndarray, strategy: str, ignored: Collection[str]
    ) -> list[Entity]:
        """Neighbouring tokens or words with labels of the same kind, as entities, if that kind is not ignored."""
        word_ids, special = feature["word_ids"], feature["special_tokens_mask"]
        tokens = [i for i, is_special in enumerate(special) if not is_special]
        if strategy == "simple":
            units = [[i] for i in tokens]
        elif feature["is_split"]:
            units = [list(unit) for _, unit in itertools.groupby(tokens, key=lambda i: word_ids[i])]
        else:
            word_ids = [None if is_special else w for w, is_special in zip(word_ids, special, strict=True)]
            numbered = marks_subwords(self.tokenizer)
            units = words_of_tokens(feature["sentence"], feature["offset_mapping"], word_ids, numbered)
        groups: list[tuple[str | None, list[int], list[float]]] = []  # kind, tokens, scores; the kind None is "O"
        for unit in units:
            row = scores[unit[0]] if len(unit) == 1 else _word_scores(scores[unit], strategy)
            best = int(row.argmax())
            begins, kind = _split_label(self.model.config.id2label[best])
            if begins or not groups or groups[-1][0] != kind:
                groups.append((kind, [], []))
            groups[-1][1].extend(unit)
            groups[-1][2].append(float(row[best]))
        names = self._names(feature)
        return [
            {"entity_group": kind or "O", "score": sum(numbers) / len(numbers), **self._joined(feature, names, members)}
            for kind, members, numbers in groups
            if ("O" not in ignored if kind is None else kind == "O" or kind not in ignored)
        ]

    def _names(self, feature: dict[str, Any]) -> list[str]:
        """The tokens; for those outside the vocabulary, the characters of the text."""
        names, unknown = self.tokenizer.convert_ids_to_tokens(feature["input_ids"]), self.tokenizer.unk_token_id
        for i, token in enumerate(feature["input_ids"]):
            if token == unknown:
                names[i] = feature["sentence"][slice(*feature["offset_mapping"][i])]
        return names

    def _joined(self, feature: dict[str, Any], names: list[str], tokens: list[int]) -> Entity:
        """The text of several tokens and its characters (start, end), without white space around it."""
        offsets, sentence = feature["offset_mapping"], feature["sentence"]
        start, end = int(offsets[tokens[0]][0]), int(offsets[tokens[-1]][1])
        text = sentence[start:end]
        if text.strip():
            start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
        word = self.tokenizer.convert_tokens_to_string([names[i] for i in tokens]).strip()
        if self.tokenizer.unk_token_id in (feature["input_ids"][i] for i in tokens) and not marks_subwords(
            self.tokenizer
        ):
            word = sentence[start:end]  # its characters lack the marks by which a decoder finds the words
        return {"word": word, "start": start, "end": end}


NerPipeline = TokenClassificationPipeline


class _WithOffsets(NamedTuple):
    """An input, and the offsets of its tokens that the caller passed."""

    item: Any
    offsets: Offsets


def _word_scores(scores: np.ndarray, strategy: str) -> np.ndarray:
    """The scores of a word, of shape `(labels,)`, from those of its tokens, of shape `(tokens, labels)`."""
    if strategy == "average":
        return scores.mean(axis=0)
    return scores[0] if strategy == "first" else scores[scores.max(axis=1).argmax()]


def _split_label(label: str) -> tuple[bool, str | None]:
    """Whether a label begins an entity, and its kind: its name without B- or I-, or None for "O", outside of entities."""
    return label.startswith("B-"), None if label == "O" else label.removeprefix(
        "B-" if label.startswith("B-") else "I-"
    )


def _in_sentence(offsets: Offsets, word_ids: list[int | None], words: list[str], gap: int) -> Offsets:
    """Convert offsets within words to offsets within the text that joins them."""
    starts = list(itertools.accumulate((len(word) + gap for word in words), initial=0))
    shifts = [0 if word is None else starts[word] for word in word_ids]
    return [(start + shift, end + shift) for (start, end), shift in zip(offsets, shifts, strict=True)]


def _without_overlaps(entities: list[Entity]) -> list[Entity]:
    """Of entities that overlap, keep the longest; of those of equal length, the one with the highest score."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: entity["start"]):
        if not kept or not kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            kept.append(entity)
        else:
            kept[-1] = max(kept[-1], entity, key=lambda one: (one["end"] - one["start"], one["score"]))
    return kept
