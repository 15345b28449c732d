"""Extractive question answering: the span of a text that answers a question about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from notebook_kit.errors import InputError, a_kind
from notebook_kit.pipelines.base import Rows
from notebook_kit.pipelines.inputs import kind_of, refuse_frame
from notebook_kit.pipelines.options import check_count, checked
from notebook_kit.pipelines.text import TextPipeline
from notebook_kit.pipelines.words import marks_subwords, whole_letters, words_of_tokens

__all__ = ["QuestionAnsweringPipeline"]

LONGEST_WINDOW = 384
ALIASES = ("X", "data")
"""Names that scikit-learn uses for the inputs."""


class QuestionAnsweringPipeline(TextPipeline):
    """Finds the answer to a question in a text. Created by `pipeline("question-answering")`.

    Call it as `pipe(question=..., context=...)`, where both may be lists and one context serves all questions; as
    `pipe(question, context)`; or with `{"question": ..., "context": ...}`, a list of such dicts, or a stream of them.

    Options:
        top_k: The number of answers to return; 1 by default. (`topk` is the older spelling.)
        max_answer_len: The maximum length of an answer in tokens; 15 by default.
        max_seq_len: A longer question and context together are read in windows of this many tokens; 384 by default, or
            the model's limit if that is lower.
        doc_stride: The number of tokens that neighbouring windows share; by default 128, or half of a window's room for
            the context if that is less.
        max_question_len: Truncate questions to this many tokens; by default they are not truncated.
        handle_impossible_answer: Include "no answer" (the empty answer) among the candidates.
        align_to_words: Extend answers to whole words (the default); pass `False` for languages without spaces.
        padding: As in the tokenizer's call.

    Returns:
        `{"score": float, "start": int, "end": int, "answer": str}` with `answer == context[start:end]`; with several
        answers, a list of such dicts; for several questions, a list with one entry per question.

    Raises:
        InputError: for questions or contexts that are missing or empty.

    Example:
        >>> import pathlib, tempfile
        >>> from notebook_kit import AutoTokenizer, BertConfig, BertForQuestionAnswering, QuestionAnsweringPipeline
        >>> file = pathlib.Path(tempfile.mkdtemp(), "vocab.txt")
        >>> _ = file.write_text("\\n".join("[PAD] [UNK] [CLS] [SEP] [MASK] where is my hat on the chair".split()))
        >>> tiny = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=12)
        >>> answer_to = QuestionAnsweringPipeline(BertForQuestionAnswering(tiny), AutoTokenizer.from_pretrained(file))
        >>> context = "my hat is on the chair"
        >>> found = answer_to(question="where is my hat", context=context)
        >>> found["answer"] == context[found["start"] : found["end"]]  # a span of the context
        True
    """

    task = "question-answering"
    auto_model = "AutoModelForQuestionAnswering"
    per_token = frozenset({"start", "end"})

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        if "topk" in options:
            options.setdefault("top_k", options.pop("topk"))
        for name in ("top_k", "max_answer_len", "max_question_len", "max_seq_len", "doc_stride"):
            check_count(name, options.get(name), least=0 if name == "doc_stride" else 1)
        return options

    def __call__(self, *args: Any, question: Any = None, context: Any = None, **options: Any) -> Any:
        inputs = self.inputs_of_call(*args, question=question, context=context, **options)
        return super().__call__(inputs, **{name: value for name, value in options.items() if name not in ALIASES})

    def inputs_of_call(self, *args: Any, question: Any = None, context: Any = None, **options: Any) -> Any:
        args = (*args, *(options[name] for name in ALIASES if name in options))
        if len(args) == 2 and isinstance(args[0], str) and isinstance(args[1], str):
            args = (dict(zip(("question", "context"), args, strict=True)),)
        inputs: Any = list(args) if len(args) > 1 else args[0] if args else _pairs(question, context)
        refuse_frame(inputs, ("question", "context"))
        if not self.is_single(inputs) and kind_of(inputs) == "list":
            inputs = list(inputs)
            # One question gives one answer, even if it is in a list, as in transformers.
            inputs = inputs[0] if len(inputs) == 1 else inputs
        return inputs

    def is_single(self, inputs: Any) -> bool:
        return _is_example(inputs) or super().is_single(inputs)

    def preprocess(
        self,
        item: Any,
        *,
        padding: bool | str = False,
        doc_stride: int | None = None,
        max_question_len: int | None = None,
        max_seq_len: int | None = None,
    ) -> Rows:
        question, context = _read(item)
        tokenizer = self.tokenizer
        longest = min(tokenizer.model_max_length, self.max_tokens or LONGEST_WINDOW, LONGEST_WINDOW)
        longest = longest if max_seq_len is None else min(max_seq_len, 10**9)
        if max_question_len is not None:
            spans = self.tokenize(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            question = question[: max((end for _, end in spans[:max_question_len]), default=0)]
        room = longest - len(self.tokenize(question, "")["input_ids"])
        if room < 1:
            raise InputError(
                f"The question leaves no room for the context in windows of {longest} tokens.",
                next_step="Pass max_question_len to cut the question, or a larger max_seq_len.",
            )
        stride = min(128, longest // 2, room // 2) if doc_stride is None else doc_stride
        if stride >= room:
            if stride > longest or len(self.tokenize(context, add_special_tokens=False)["input_ids"]) > room:
                raise InputError(
                    f"doc_stride ({stride}) leaves nothing new to read in windows with {room} tokens of the context "
                    f"(max_seq_len is {longest}, question included).",
                    next_step="Pass a smaller doc_stride, or max_question_len to cut the question.",
                )
            stride = 0  # the context fits into one window
        place = 1 if tokenizer.padding_side == "right" else 0  # of the context among the two texts
        texts = (question, context) if place == 1 else (context, question)
        encoded = self.tokenize(
            *texts,
            padding=padding,
            truncation="only_second" if place == 1 else "only_first",
            max_length=longest,
            stride=stride,
            return_overflowing_tokens=True,
            return_token_type_ids=True,
        )
        encodings = encoded.encodings
        names = [name for name in self.input_names if name in encoded]
        if "token_type_ids" not in tokenizer.model_input_names and "token_type_ids" in names:
            names.remove("token_type_ids")
        inside = [np.array([part == place for part in encoding.sequence_ids]) for encoding in encodings]
        if not any(part.any() for part in inside):
            raise InputError("The context has no tokens.", next_step="Pass a context with words in it.")
        spans = [_offsets(context, encoding, place) for encoding in encodings]
        words = _words(context, spans, encodings, place, marks_subwords(tokenizer))
        features = []
        for i, (encoding, offsets, candidates) in enumerate(zip(encodings, spans, inside, strict=True)):
            feature: dict[str, Any] = {name: list(encoded[name][i]) for name in names}
            read = np.array(encoding.attention_mask, dtype=bool)
            extra = {
                "candidates": candidates & read,
                "null": (np.array(encoded["input_ids"][i]) == tokenizer.cls_token_id) & read,  # it means "no answer"
                "offsets": offsets,
                "words": [words.get(span, span) for span in offsets],
            }
            features.append(feature | extra | {"context": context})
        return features

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        output = self.model(**batch)
        return {"start": output.start_logits, "end": output.end_logits}

    def postprocess(
        self,
        item: Any,
        features: Rows,
        outputs: Rows,
        *,
        top_k: int = 1,
        max_answer_len: int = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> Any:
        starts, ends = (_probabilities(features, [output[name] for output in outputs]) for name in ("start", "end"))
        answers: dict[tuple[int, int], float] = {}  # (start, end) -> score
        for feature, start, end in zip(features, starts, ends, strict=True):
            places = np.array(feature["words" if align_to_words else "offsets"])
            for place, score in _best_spans(start, end, feature["candidates"], places, top_k, max_answer_len):
                answers[place] = max(answers.get(place, 0.0), min(score, 1.0))
        if handle_impossible_answer:
            null = [(s * e)[feature["null"]] for feature, s, e in zip(features, starts, ends, strict=True)]
            if not all(map(len, null)):
                raise InputError(
                    "handle_impossible_answer needs the score of the tokenizer's cls_token, which it does not add.",
                    next_step="Leave handle_impossible_answer out.",
                )
            answers[0, 0] = min(float(score.max()) for score in null)
        ranked = [
            {"score": score, "start": start, "end": end, "answer": features[0]["context"][start:end]}
            for (start, end), score in sorted(answers.items(), key=lambda item: -item[1])[:top_k]
        ]
        return ranked[0] if len(ranked) == 1 else ranked


def _probabilities(features: Rows, logits: list[np.ndarray]) -> list[np.ndarray]:
    """The probability of each token of each window to be the start (or the end) of the answer.

    They are normalized over the whole context (Clark and Gardner, Simple and Effective Multi-Paragraph Reading
    Comprehension, 2018, section 3.3), since scores normalized per window cannot be compared: a window without the answer
    would be just as sure of its best span. A token in several windows counts once, by its highest logit; "no answer" by
    its lowest.
    """
    best = np.full(len(features[0]["context"]) + 1, -np.inf, dtype=np.float32)  # by the first character of the token
    nulls = []
    for feature, row in zip(features, logits, strict=True):
        begins = [start for start, _ in feature["offsets"]]
        np.maximum.at(best, np.array(begins)[feature["candidates"]], row[feature["candidates"]])
        nulls += row[feature["null"]].tolist()
    best[-1] = min(nulls, default=-np.inf)
    highest = best.max()
    total = np.exp(best - highest).sum()
    return [np.exp(np.minimum(row - highest, 0.0)) / total for row in logits]


def _offsets(context: str, encoding: Any, place: int) -> list[tuple[int, int]]:
    """The characters (start, end) of each token of the context; (0, 0) for the other tokens."""
    pairs = zip(encoding.offsets, encoding.sequence_ids, strict=True)
    return whole_letters(context, [span if part == place else (0, 0) for span, part in pairs])


def _words(
    context: str, spans: Sequence[Sequence[tuple[int, int]]], encodings: Sequence[Any], place: int, numbered: bool
) -> dict[tuple[int, int], tuple[int, int]]:
    """The characters (start, end) of a token -> those of its word, which may reach into another window."""
    tokens = sorted(
        {
            (*span, word)
            for offsets, encoding in zip(spans, encodings, strict=True)
            for span, word, part in zip(offsets, encoding.word_ids, encoding.sequence_ids, strict=True)
            if part == place
        }
    )
    offsets = [(start, end) for start, end, _ in tokens]
    words: dict[tuple[int, int], tuple[int, int]] = {}
    for word in words_of_tokens(context, offsets, [token[2] for token in tokens], numbered):
        start, end = offsets[word[0]][0], offsets[word[-1]][1]
        start += len(context[start:end]) - len(context[start:end].lstrip())
        words |= dict.fromkeys((offsets[i] for i in word), (start, end))
    return words


def _best_spans(
    starts: np.ndarray, ends: np.ndarray, candidates: np.ndarray, places: np.ndarray, most: int, longest: int
) -> list[tuple[tuple[int, int], float]]:
    """The most probable answers ((start, end), score) of at most `longest` candidates; best first.

    The score of a span of tokens is P(start) P(end) (Chen et al., Reading Wikipedia to Answer Open-Domain Questions, 2017,
    section 3.2). `places` has the characters (start, end) of each token, or of its word; the scores of all spans with the
    same characters add up, however few answers are wanted.
    """
    first = np.concatenate([np.arange(len(starts) - more) for more in range(min(longest, len(starts)))])
    last = np.concatenate([np.arange(more, len(starts)) for more in range(min(longest, len(starts)))])
    valid = candidates[first] & candidates[last]
    first, last = first[valid], last[valid]
    answers, which = np.unique(np.stack([places[first, 0], places[last, 1]], axis=1), axis=0, return_inverse=True)
    scores = np.bincount(which.reshape(-1), weights=starts[first] * ends[last])
    best = np.argsort(-scores, kind="stable")[:most]
    return [((int(answers[i, 0]), int(answers[i, 1])), float(scores[i])) for i in best]


def _is_example(inputs: Any) -> bool:
    return hasattr(inputs, "question_text") and hasattr(inputs, "context_text")


def _read(item: Any) -> tuple[str, str]:
    """The question and the context of a dict, or of an object such as a `SquadExample`."""
    if _is_example(item):
        return item.question_text, item.context_text
    if not isinstance(item, dict):
        raise InputError(f"The input is {a_kind(item)}.", next_step='Pass {"question": ..., "context": ...}.')
    for name in ("question", "context"):
        value = item.get(name)
        if not isinstance(value, str) or not value:
            wrong = "is empty" if isinstance(value, str) else f"is {a_kind(value)}"
            what = "is missing" if name not in item else wrong
            raise InputError(f"The {name} {what}.", next_step='Pass {"question": ..., "context": ...} with two texts.')
    return item["question"], item["context"]


def _pairs(question: Any, context: Any) -> Any:
    """The inputs for one or several questions with their contexts."""
    if question is None or context is None:
        missing = "question" if question is None else "context"
        raise InputError(f"The {missing} is missing.", next_step="Call pipe(question=..., context=...).")
    if isinstance(question, str):
        return {"question": question, "context": context}
    questions = checked("question", question, list[str])
    contexts = [context] * len(questions) if isinstance(context, str) else checked("context", context, list[str])
    if len(questions) != len(contexts):
        raise InputError(
            f"There are {len(questions)} questions and {len(contexts)} contexts.",
            next_step="Pass as many contexts as questions, or a single one for all.",
        )
    return [{"question": q, "context": c} for q, c in zip(questions, contexts, strict=True)]
