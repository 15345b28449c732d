"""Token classification: labels for tokens or words, such as named entities and parts of speech."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from notebook_kit.errors import InputError
from notebook_kit.pipelines.base import Rows, check_choice, warn
from notebook_kit.pipelines.scores import softmax
from notebook_kit.pipelines.text import TextPipeline, read_text

__all__ = ["NerPipeline", "TokenClassificationPipeline"]

STRATEGIES = ("none", "simple", "first", "average", "max")
BY_WORD = ("first", "average", "max")

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
        options = {name: value for name, value in options.items() if value is not None}
        grouped, words = options.pop("grouped_entities", None), options.pop("ignore_subwords", None)
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
        if mappings and isinstance(inputs, list | tuple):
            if len(inputs) == 1 and isinstance(mappings[0], tuple):
                mappings = [mappings]
            if len(mappings) != len(inputs):
                raise InputError(
                    f"There are {len(inputs)} inputs and {len(mappings)} offset mappings.",
                    next_step="Pass one offset mapping per input.",
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
        offset_mapping: Offsets | None = None,
    ) -> Rows:
        if isinstance(item, _WithOffsets):
            item, offset_mapping = item
        options: dict[str, Any] = {} if stride is None else {"return_overflowing_tokens": True, "stride": stride}
        words = None
        if is_split_into_words:
            if isinstance(item, str):
                raise InputError(
                    "is_split_into_words=True requires a list of words, and the input is one text.",
                    next_step="Pass text.split(), or leave is_split_into_words out.",
                )
            words, options["is_split_into_words"] = [str(word) for word in item], True
        sentence = delimiter.join(words) if words is not None else item
        read_text(sentence, "Pass a text, or a list of words with is_split_into_words=True.")
        encoded = self.tokenize(
            item if words is None else words,
            truncation=True,
            max_length=self._longest,
            return_special_tokens_mask=True,
            return_offsets_mapping=True,
            **options,
        )
        names = [name for name in encoded if name != "overflow_to_sample_mapping"]
        features = []
        for i in range(1 if stride is None else len(encoded["input_ids"])):
            feature: dict[str, Any] = {n: list(encoded[n] if stride is None else encoded[n][i]) for n in names}
            if offset_mapping is not None:
                feature["offset_mapping"] = offset_mapping
            elif words is not None:
                offsets, gap = feature["offset_mapping"], len(delimiter)
                feature["offset_mapping"] = _in_sentence(offsets, encoded.word_ids(i), words, gap)
            features.append({**feature, "sentence": sentence})
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
        """The tokens of a feature, except special ones, with their scores and positions."""
        scores, sentence, marks_subwords = softmax(logits), feature["sentence"], self._marks_subwords
        if strategy in BY_WORD and not marks_subwords:
            warn("This tokenizer does not mark which tokens continue a word, so words are separated at spaces.")
        names = self.tokenizer.convert_ids_to_tokens(feature["input_ids"])
        tokens = []
        for i, (word, special) in enumerate(zip(names, feature["special_tokens_mask"], strict=True)):
            if special:
                continue
            start, end = map(int, feature["offset_mapping"][i])
            if feature["input_ids"][i] == self.tokenizer.unk_token_id:
                word, is_subword = sentence[start:end], False
            elif marks_subwords:
                is_subword = len(word) != len(sentence[start:end])
            else:
                is_subword = start > 0 and " " not in sentence[start - 1 : start + 1]
            place = {"index": i, "word": word, "start": start, "end": end}
            tokens.append({**place, "scores": scores[i], "is_subword": is_subword})
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
            entities = [self._best(_word_scores(word, strategy)) | self._joined(word) for word in words]
        else:
            place = ("index", "word", "start", "end")
            entities = [self._best(token["scores"]) | {name: token[name] for name in place} for token in tokens]
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

    def _best(self, scores: np.ndarray) -> Entity:
        best = int(scores.argmax())
        return {"entity": self.model.config.id2label[best], "score": float(scores[best])}

    def _group(self, entities: list[Entity]) -> Entity:
        label = entities[0]["entity"].split("-", 1)[-1]
        score = float(np.nanmean([entity["score"] for entity in entities]))
        return {"entity_group": label, "score": score, **self._joined(entities)}

    def _joined(self, parts: list[Entity]) -> Entity:
        word = self.tokenizer.convert_tokens_to_string([part["word"] for part in parts])
        return {"word": word, "start": parts[0]["start"], "end": parts[-1]["end"]}


NerPipeline = TokenClassificationPipeline


class _WithOffsets(NamedTuple):
    """An input, and the offsets of its tokens that the caller passed."""

    item: Any
    offsets: Offsets


def _word_scores(tokens: list[Entity], strategy: str) -> np.ndarray:
    """The scores of a word, of shape `(labels,)`, from those of its tokens."""
    scores = [token["scores"] for token in tokens]
    if strategy == "average":
        return np.nanmean(scores, axis=0)
    return scores[0] if strategy == "first" else max(scores, key=np.max)


def _split_label(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and its name without B- or I-."""
    return (True, label[2:]) if label.startswith("B-") else (False, label.removeprefix("I-"))


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
