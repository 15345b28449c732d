"""Extractive question answering: the span of a text that answers a question about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from notebook_kit.errors import InputError
from notebook_kit.pipelines.base import Rows, check_count
from notebook_kit.pipelines.inputs import kind_of
from notebook_kit.pipelines.scores import softmax
from notebook_kit.pipelines.text import TextPipeline

__all__ = ["QuestionAnsweringPipeline"]

LONGEST_WINDOW = 384
MASKED = np.float32(-10000.0)


class QuestionAnsweringPipeline(TextPipeline):
    """Finds the answer to a question in a text. Created by `pipeline("question-answering")`.

    Call it as `pipe(question=..., context=...)`, where both may be lists and one context serves all questions; as
    `pipe(question, context)`; or with `{"question": ..., "context": ...}`, a list of such dicts, or a stream of them.

    Options:
        top_k: The number of answers to return; 1 by default. (`topk` is the older spelling.)
        max_answer_len: The maximum length of an answer in tokens; 15 by default.
        max_seq_len: A longer question and context together are read in windows of this many tokens; 384 by default, or
            the model's limit if that is lower.
        doc_stride: The number of tokens that neighbouring windows share; 128 by default, at most half a window.
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
        options = {name: value for name, value in options.items() if value is not None}
        if "topk" in options:
            options.setdefault("top_k", options.pop("topk"))
        for name in ("top_k", "max_answer_len", "max_question_len", "max_seq_len"):
            check_count(name, options.get(name))
        return options

    def __call__(self, *args: Any, question: Any = None, context: Any = None, **options: Any) -> Any:
        for name in ("X", "data"):  # the names that scikit-learn uses
            if name in options:
                args = (*args, options.pop(name))
        if len(args) == 2 and isinstance(args[0], str) and isinstance(args[1], str):
            args = (dict(zip(("question", "context"), args, strict=True)),)
        inputs: Any = list(args) if len(args) > 1 else args[0] if args else _pairs(question, context)
        if not self.is_single(inputs) and kind_of(inputs) == "list":
            inputs = list(inputs)
            # One question gives one answer, even if it is in a list, as in transformers.
            inputs = inputs[0] if len(inputs) == 1 else inputs
        return super().__call__(inputs, **options)

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
        longest = longest if max_seq_len is None else max_seq_len
        stride = min(longest // 2, 128) if doc_stride is None else doc_stride
        if stride > longest:
            raise InputError(
                f"doc_stride ({stride}) is larger than max_seq_len ({longest}).", next_step="Pass a smaller doc_stride."
            )
        if max_question_len is not None:
            encoded = self.tokenize(question, add_special_tokens=False, return_offsets_mapping=True)
            offsets = encoded["offset_mapping"]
            if len(offsets) > max_question_len:
                question = question[: offsets[max_question_len - 1][1]]
        place = 1 if tokenizer.padding_side == "right" else 0  # of the context among the two texts
        texts = (question, context) if place == 1 else (context, question)
        try:
            encoded = self.tokenize(
                *texts,
                padding=padding,
                truncation="only_second" if place == 1 else "only_first",
                max_length=longest,
                stride=stride,
                return_overflowing_tokens=True,
                return_token_type_ids=True,
            )
        except Exception as error:
            if "too short" not in str(error):
                raise
            raise InputError(
                f"The question leaves no room for the context in windows of {longest} tokens (with {stride} of overlap).",
                next_step="Pass max_question_len to cut the question, a larger max_seq_len, or a smaller doc_stride.",
            ) from error
        names = [name for name in self.input_names if name in encoded]
        if "token_type_ids" not in tokenizer.model_input_names and "token_type_ids" in names:
            names.remove("token_type_ids")
        features = []
        for i, encoding in enumerate(encoded.encodings):
            ids = encoded["input_ids"][i]
            # The first special token is also a candidate: it means "no answer".
            allowed = [
                (part == place or token == tokenizer.cls_token_id) and bool(read)
                for part, token, read in zip(encoding.sequence_ids, ids, encoding.attention_mask, strict=True)
            ]
            extra = {"encoding": encoding, "allowed": np.array(allowed), "context": context, "place": place}
            features.append({name: list(encoded[name][i]) for name in names} | extra)
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
        # Aligned to words, several candidates may become the same answer, so more than top_k are needed.
        candidates = top_k * 2 + 10 if align_to_words else top_k
        no_answer = 1_000_000.0
        answers: dict[str, dict[str, Any]] = {}  # by their text in lower case
        for feature, output in zip(features, outputs, strict=True):
            allowed, context = feature["allowed"], feature["context"]
            starts, ends = (softmax(np.where(allowed, output[name], MASKED)) for name in ("start", "end"))
            no_answer = min(no_answer, float(starts[0] * ends[0]))
            starts[0] = ends[0] = 0.0
            for start, end, score in _best_spans(starts, ends, candidates, max_answer_len, allowed):
                first, last = _characters(feature["encoding"], start, end, feature["place"], align_to_words)
                text = context[first:last]
                answer = {"score": 0.0, "start": first, "end": last, "answer": text}
                answers.setdefault(text.lower(), answer)["score"] += score
        ranked = list(answers.values())
        if handle_impossible_answer:
            ranked.append({"score": no_answer, "start": 0, "end": 0, "answer": ""})
        ranked = sorted(ranked, key=lambda answer: -answer["score"])[:top_k]
        return ranked[0] if len(ranked) == 1 else ranked


def _best_spans(
    starts: np.ndarray, ends: np.ndarray, most: int, longest: int, allowed: np.ndarray
) -> list[tuple[int, int, float]]:
    """The most probable spans (start, end, score) of at most `longest` tokens, end included; best first.

    The score is P(start) P(end) (Chen et al., Reading Wikipedia to Answer Open-Domain Questions, 2017, section 3.2).
    """
    scores = np.tril(np.triu(np.outer(starts, ends)), longest - 1).ravel()
    if most == 1:
        order = np.array([scores.argmax()])
    elif len(scores) <= most:
        order = np.argsort(-scores)
    else:
        order = np.argpartition(-scores, most)[:most]
        order = order[np.argsort(-scores[order])]
    spans = (divmod(int(i), len(ends)) for i in order)
    # The first token counts as allowed. Its probability has been set to 0, so it comes last.
    inside = np.append(np.flatnonzero(allowed), 0)
    return [(s, e, float(scores[s * len(ends) + e])) for s, e in spans if s in inside and e in inside]


def _characters(encoding: Any, start: int, end: int, place: int, align_to_words: bool) -> tuple[int, int]:
    """The characters of the context (start, end) for the tokens from `start` to `end`, included."""
    if align_to_words:
        first, last = encoding.token_to_word(start), encoding.token_to_word(end)
        if first is not None and last is not None:
            head, tail = encoding.word_to_chars(first, place), encoding.word_to_chars(last, place)
            if head is not None and tail is not None:
                return head[0], tail[1]
    return encoding.offsets[start][0], encoding.offsets[end][1]


def _is_example(inputs: Any) -> bool:
    return hasattr(inputs, "question_text") and hasattr(inputs, "context_text")


def _read(item: Any) -> tuple[str, str]:
    """The question and the context of a dict, or of an object such as a `SquadExample`."""
    if _is_example(item):
        return item.question_text, item.context_text
    if not isinstance(item, dict):
        raise InputError(f"The input is a {type(item).__name__}.", next_step='Pass {"question": ..., "context": ...}.')
    for name in ("question", "context"):
        value = item.get(name)
        if not isinstance(value, str) or not value:
            what = "is missing" if name not in item else "is empty" if value == "" else f"is a {type(value).__name__}"
            raise InputError(f"The {name} {what}.", next_step='Pass {"question": ..., "context": ...} with two texts.')
    return item["question"], item["context"]


def _pairs(question: Any, context: Any) -> Any:
    """The inputs for one or several questions with their contexts."""
    if question is None or context is None:
        missing = "question" if question is None else "context"
        raise InputError(f"The {missing} is missing.", next_step="Call pipe(question=..., context=...).")
    if isinstance(question, str):
        return {"question": question, "context": context}
    questions = list(question) if isinstance(question, Iterable) else [question]
    contexts = [context] * len(questions) if isinstance(context, str) else list(context)
    if len(questions) != len(contexts):
        raise InputError(
            f"There are {len(questions)} questions and {len(contexts)} contexts.",
            next_step="Pass as many contexts as questions, or a single one for all.",
        )
    return [{"question": q, "context": c} for q, c in zip(questions, contexts, strict=True)]
