"""Document question answering: the words of a page that answer a question about it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch

from notebook_kit.errors import InputError, a_kind
from notebook_kit.nn.inputs import inputs_of
from notebook_kit.nn.outputs import BaseModelOutput
from notebook_kit.pipelines.base import Pipeline, Rows
from notebook_kit.pipelines.generating import GENERATE_OPTIONS, GeneratingMixin
from notebook_kit.pipelines.image import is_image
from notebook_kit.pipelines.image_text import ImageTextPipeline, refuse_image
from notebook_kit.pipelines.inputs import refuse_frame
from notebook_kit.pipelines.options import check_count, checked
from notebook_kit.pipelines.text import TextPipeline
from notebook_kit.processing.image.loading import load_image
from notebook_kit.processing.image.ocr import read_words

__all__ = ["DocumentQuestionAnsweringPipeline", "DonutQuestionAnsweringPipeline", "Page"]

_PROMPT_TOKENS = ("<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>")
FARTHEST = 1000
"""The coordinate of the right and bottom edges of a page."""
_SHAPE = 'Pass a list of words with their boxes: [("Total", [left, top, right, bottom]), ...].'


@dataclass(frozen=True, eq=False)
class Page:
    """The words of a page.

    Args:
        words: The words, in reading order.
        boxes: `(words, 4)`, the sides of the box of each: left, top, right, bottom, from 0 to 1000.
    """

    words: list[str]
    boxes: np.ndarray

    @classmethod
    def of(cls, word_boxes: Any) -> Page:
        """The page that words with boxes describe.

        Raises:
            InputError: If there are none, a word or a box has another form, or a box is outside the page.

        Example:
            >>> Page.of([("Total", [100, 900, 180, 920]), ("$12", (200, 900, 240, 920))]).boxes.shape
            (2, 4)
        """
        if not isinstance(word_boxes, Sequence) or isinstance(word_boxes, str):
            raise InputError(f"word_boxes is of the type {type(word_boxes).__name__}.", next_step=_SHAPE)
        if not word_boxes:
            raise InputError(
                "word_boxes is empty.", next_step=f"{_SHAPE} Without word_boxes, Tesseract reads the image."
            )
        for i, pair in enumerate(word_boxes):
            if fault := _fault(pair):
                raise InputError(f"word_boxes[{i}] is {pair!r:.80}: {fault[0]}.", next_step=fault[1])
        sides = [float(side) for _, box in word_boxes for side in box]
        if max(sides) <= 1 and any(side % 1 for side in sides):
            raise InputError(
                f"The boxes of word_boxes lie between 0 and 1, such as {word_boxes[0]!r:.80}: they are fractions of the page.",
                next_step=f"Multiply them by {FARTHEST}: the right and bottom edges of a page are {FARTHEST}.",
            )
        boxes = np.array([[round(float(side)) for side in box] for _, box in word_boxes], dtype=np.int64)
        return cls([word for word, _ in word_boxes], boxes)


def _fault(pair: Any) -> tuple[str, str] | None:
    """What is wrong with a word and its box, and what to do about it; None if they are right."""
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
        return "it is not a word and a box", _SHAPE
    box = pair[1].tolist() if isinstance(pair[1], np.ndarray | torch.Tensor) else pair[1]
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(isinstance(side, Real) for side in box):
        return "its box does not have four numbers", _SHAPE
    left, top, right, bottom = box
    if not all(0 <= side <= FARTHEST for side in box):
        return (
            f"its box is outside the page, which goes from 0 to {FARTHEST}",
            "Scale boxes from pixels: 1000 * left / width, 1000 * top / height, 1000 * right / width, 1000 * bottom / height.",
        )
    if left > right or top > bottom:
        return (
            "its right side is left of its left one, or its bottom above its top",
            "Pass corners (left, top, right, bottom), rather than (left, top, width, height).",
        )
    return None


@dataclass(frozen=True, eq=False)
class _Asked:
    """A question and the page that it is about."""

    question: str
    page: Page


class DocumentQuestionAnsweringPipeline(TextPipeline):
    """Finds the answer to a question on a page. Created by `pipeline("document-question-answering")`.

    Call it as `pipe(image, question)`, as `pipe(image=..., question=..., word_boxes=...)`, where several questions about one
    page may be a list, or with dicts with these keys: one, a list or a stream of them. A page that occurs several times in a
    list is read once.

    An image is given in any form that `load_image` takes. Its words are read by Tesseract, unless they are passed as
    `word_boxes`, pairs of a word and its box `[left, top, right, bottom]`, in thousandths of the page's width and height; then
    no image is needed.

    Options:
        top_k: The number of answers to return; 1 by default.
        max_answer_len: The maximum length of an answer in tokens; 15 by default.
        max_seq_len: A longer question and page together are read in windows of this many tokens; by default the model's limit.
        doc_stride: The number of tokens that neighbouring windows share; by default 256, or half of a window if that is less.
        max_question_len: Truncate questions to this many tokens; by default they are not truncated.
        handle_impossible_answer: Include "no answer" (the empty answer) among the candidates.
        lang: The languages that Tesseract reads, such as `"eng+tel"`; English by default.
        tesseract_config: Further arguments of Tesseract, such as `"--psm 6"`.
        timeout: Seconds to wait for an image from the web.
        padding: As in the tokenizer's call.

    Returns:
        For one question a list of answers, best first: `{"score": float, "answer": str, "start": int, "end": int, "words":
        list[int]}`, where `start` and `end` are the indices of its first and last word on the page, and `words` those of all.
        Each span of words occurs once, with its best score. For several questions, a list of such lists.

    Raises:
        InputError: For a missing question or page, and for `word_boxes` that are empty, of another form or outside the page.

    Example:
        >>> import pathlib, tempfile
        >>> from notebook_kit import AutoTokenizer, LayoutLMConfig, LayoutLMForQuestionAnswering
        >>> from notebook_kit import DocumentQuestionAnsweringPipeline
        >>> file = pathlib.Path(tempfile.mkdtemp(), "vocab.txt")
        >>> _ = file.write_text("\\n".join("[PAD] [UNK] [CLS] [SEP] [MASK] what is the total 12 tax 2".split()))
        >>> tiny = LayoutLMConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=12)
        >>> ask = DocumentQuestionAnsweringPipeline(LayoutLMForQuestionAnswering(tiny), AutoTokenizer.from_pretrained(file))
        >>> receipt = [("Tax", [100, 800, 180, 820]), ("2", [200, 800, 220, 820]), ("Total", [100, 900, 180, 920]),
        ...            ("12", [200, 900, 240, 920])]
        >>> best = ask(question="What is the total?", word_boxes=receipt)[0]
        >>> best["answer"] == " ".join(receipt[i][0] for i in best["words"])  # words of the page
        True
    """

    task = "document-question-answering"
    auto_model = "AutoModelForDocumentQuestionAnswering"
    per_token = frozenset({"start", "end"})

    def __new__(cls, *args: Any, **options: Any) -> DocumentQuestionAnsweringPipeline:
        return super().__new__(cls.for_model(args[0] if args else options.get("model")))

    @classmethod
    def for_model(cls, model: Any) -> type[DocumentQuestionAnsweringPipeline]:
        """`DonutQuestionAnsweringPipeline` for a model that writes about images."""
        is_writer = isinstance(model, torch.nn.Module) and inputs_of(model).main == "pixel_values"
        return DonutQuestionAnsweringPipeline if is_writer and cls is DocumentQuestionAnsweringPipeline else cls

    # Inputs ------------------------------------------------------------------------------------------------------------

    def __call__(  # type: ignore[override]
        self, image: Any = None, question: Any = None, word_boxes: Any = None, **options: Any
    ) -> Any:
        return super().__call__(self.inputs_of_call(image, question, word_boxes), **options)

    def inputs_of_call(self, image: Any = None, question: Any = None, word_boxes: Any = None, **options: Any) -> Any:
        if question is None and word_boxes is None:
            if image is None:
                raise InputError("No page was passed.", next_step="Call pipe(image, question).")
            refuse_frame(image, ("image", "question"))
            return image
        refuse_image(question)
        if isinstance(image, list | tuple):
            raise InputError(
                f"A question was passed with {len(image)} pages.",
                next_step='Pass one page, or a list of dicts, each {"image": ..., "question": ...}.',
            )
        given = {"image": image, "word_boxes": word_boxes}
        page = {name: value for name, value in given.items() if value is not None}
        if question is None or isinstance(question, str):
            return {**page, "question": question}
        return [{**page, "question": one} for one in checked("question", question, str | list[str])]

    def is_single(self, inputs: Any) -> bool:
        return is_image(inputs) or super().is_single(inputs)

    def features_of_each(self, items: list[Any], options: dict[str, Any]) -> Iterator[Rows | Exception]:
        pages: dict[Any, Page] = {}
        reading = {name: options[name] for name in ("lang", "tesseract_config", "timeout") if name in options}
        for item in items:
            try:
                question = _question(item)
                source = item["image"] if item.get("word_boxes") is None else item["word_boxes"]
                key = source if isinstance(source, str) else id(source)
                if key not in pages:
                    pages[key] = self.read_page(item, **reading)
                yield self.features_of(_Asked(question, pages[key]), options)
            except Exception as error:
                yield error

    def read_page(
        self, item: Mapping[str, Any], lang: str | None = None, tesseract_config: str = "", timeout: float | None = None
    ) -> Page:
        """The words of a page with their boxes: those passed, or those that Tesseract reads.

        Raises:
            InputError: If there are none, or they have another form.
        """
        if item.get("word_boxes") is not None:
            return Page.of(item["word_boxes"])
        found = read_words(load_image(item["image"], timeout=timeout), lang, tesseract_config)
        if not found:
            raise InputError(
                "Tesseract found no words on this page.",
                next_step='Pass a sharper or larger image, tesseract_config="--psm 11" for scattered words, or word_boxes=.',
            )
        return Page.of(found)

    # Steps -------------------------------------------------------------------------------------------------------------

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        for name in ("top_k", "max_answer_len", "max_question_len", "max_seq_len", "doc_stride"):
            check_count(name, options.get(name), least=0 if name == "doc_stride" else 1)
        return options

    def preprocess(
        self,
        item: Any,
        *,
        padding: bool | str = False,
        doc_stride: int | None = None,
        max_question_len: int | None = None,
        max_seq_len: int | None = None,
        lang: str | None = None,
        tesseract_config: str = "",
        timeout: float | None = None,
    ) -> Rows:
        if not isinstance(item, _Asked):
            item = _Asked(_question(item), self.read_page(item, lang, tesseract_config, timeout))
        tokenizer, page = self.tokenizer, item.page
        if tokenizer.padding_side != "right":
            raise InputError(
                "The tokenizer pads on the left, and LayoutLM reads pages that are padded on the right.",
                next_step='Set tokenizer.padding_side = "right".',
            )
        question = self._cut(item.question.split(), max_question_len)
        longest = min(tokenizer.model_max_length, self.max_tokens or 10**9) if max_seq_len is None else max_seq_len
        room = longest - len(self.tokenize(question, [""], is_split_into_words=True)["input_ids"])
        encoded = self.tokenize(
            question,
            page.words,
            is_split_into_words=True,
            padding=padding,
            truncation="only_second",
            max_length=longest,
            stride=_stride(doc_stride, longest, room),
            return_overflowing_tokens=True,
            return_token_type_ids=True,
        )
        names = [name for name in self.input_names if name in encoded]
        features = []
        for i, encoding in enumerate(encoded.encodings):
            ids, attended = np.array(encoding.ids), np.array(encoding.attention_mask, dtype=bool)
            on_page = np.array([part == 1 for part in encoding.sequence_ids])
            words = np.array([-1 if word is None else word for word in encoding.word_ids])
            boxes = np.where(ids == tokenizer.sep_token_id, FARTHEST, 0)[:, None].repeat(4, axis=1)
            boxes[on_page] = page.boxes[words[on_page]]
            feature: dict[str, Any] = {name: list(encoded[name][i]) for name in names}
            extra = {"candidates": on_page & attended, "null": (ids == tokenizer.cls_token_id) & attended & ~on_page}
            features.append({**feature, "bbox": boxes, **extra, "word_ids": words, "page": page})
        if not any(feature["candidates"].any() for feature in features):
            raise InputError("The words of this page have no tokens.", next_step="Pass a page with words on it.")
        return features

    def _cut(self, words: list[str], most: int | None) -> list[str]:
        """The words of a question, cut to `most` tokens."""
        if most is None:
            return words
        encoded = self.tokenize(words, is_split_into_words=True, add_special_tokens=False, return_offsets_mapping=True)
        ends: dict[int, int] = {}
        for word, (_, end) in zip(encoded.word_ids()[:most], encoded["offset_mapping"], strict=False):
            ends[word] = end
        return [words[word][:end] for word, end in ends.items()]

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
    ) -> list[dict[str, Any]]:
        found: dict[tuple[int, int], float] = {}
        unanswered = []
        for feature, output in zip(features, outputs, strict=True):
            # "No answer" takes part in each window: where the answer is not, it leaves little for the words.
            allowed = feature["candidates"] | feature["null"]
            start, end = (_softmax(output[name], allowed) for name in ("start", "end"))
            unanswered.append(float(np.max((start * end)[feature["null"]], initial=0.0)))
            for span, score in _best_spans(start, end, feature, top_k, max_answer_len):
                found[span] = max(score, found.get(span, 0.0))
        words = features[0]["page"].words
        answers: list[dict[str, Any]] = [
            {
                "score": score,
                "answer": " ".join(words[first : last + 1]),
                "start": first,
                "end": last,
                "words": list(range(first, last + 1)),
            }
            for (first, last), score in found.items()
        ]
        if handle_impossible_answer:
            answers.append({"score": min(unanswered), "answer": "", "start": 0, "end": 0, "words": []})
        return sorted(answers, key=lambda answer: -answer["score"])[:top_k]


class DonutQuestionAnsweringPipeline(  # type: ignore[misc]
    GeneratingMixin, ImageTextPipeline, DocumentQuestionAnsweringPipeline
):
    """Document question answering with Donut, which reads the picture of a page without its words, and writes the answer.

    `pipeline("document-question-answering", model=...)` creates it for such a checkpoint. Calls have the form of those of
    `DocumentQuestionAnsweringPipeline`; each page needs an image, and `word_boxes` are not read. A page that occurs several
    times in a row is encoded once.

    Options:
        max_new_tokens: The maximum length of an answer in tokens; 256 by default, unless the checkpoint sets a length.
        generate_kwargs: A dict of settings of `generate`; they can also be passed as options: `num_beams`, ...
        top_k: The maximum number of answers to return, of those that `num_return_sequences` requests; 1 by default.
        timeout: Seconds to wait for an image from the web.

    Returns:
        For one question `[{"answer": str}]`; None in place of the text if no answer was completed. For several questions, a
        list of such lists.

    Raises:
        InputError: If an image or a question is missing, or the tokenizer lacks the tokens of this task.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit import pipeline
        >>> ask = pipeline("document-question-answering", "naver-clova-ix/donut-base-finetuned-docvqa")  # doctest: +SKIP
        >>> ask(Image.open("receipt.png"), "What is the total?")  # doctest: +SKIP
        [{'answer': '12.00'}]
    """

    text_input = "decoder_input_ids"
    defaults: ClassVar[dict[str, Any]] = {"max_new_tokens": 256}
    further_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "forward": {name: kind for name, kind in GENERATE_OPTIONS.items() if name != "top_k"}
    }
    budgets = (2 * 2560 * 1920, 16 * 2560 * 1920)
    per_token = frozenset()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        known = self.tokenizer.get_vocab()
        if missing := [token for token in _PROMPT_TOKENS if token not in known]:
            raise InputError(
                f"The tokenizer has no token {missing[0]}, with which questions about documents are asked.",
                next_step="Use a checkpoint of Donut that was trained to answer questions, such as "
                "naver-clova-ix/donut-base-finetuned-docvqa.",
            )

    __call__ = DocumentQuestionAnsweringPipeline.__call__  # type: ignore[assignment]
    show = Pipeline.show

    def normalize_options(self, options: dict[str, Any]) -> dict[str, Any]:
        check_count("top_k", options.get("top_k"))
        return GeneratingMixin.normalize_options(self, options)

    @property
    def encodes_images(self) -> bool:
        return True

    def encode_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model.get_encoder()(pixel_values, return_dict=True).last_hidden_state

    def read(self, item: Any) -> tuple[Any, str]:
        question = _question(item)
        if item.get("image") is None:
            raise InputError(
                "The image of the page is missing, and this model does not read word_boxes.",
                next_step="Pass pipe(image, question).",
            )
        return item["image"], question

    def preprocess(self, item: Any, *, timeout: float | None = None) -> Any:  # type: ignore[override]
        image, question = self.read(item)
        return self.feature(self.pixels_of(image, timeout), question)

    def feature(self, pixels: Mapping[str, Any], text: str, **options: Any) -> dict[str, Any]:
        prompt = f"<s_docvqa><s_question>{text}</s_question><s_answer>"
        ids = self.tokenize(prompt, add_special_tokens=False)["input_ids"]
        return {"pixel_values": pixels["pixel_values"], "decoder_input_ids": ids}

    def group(self, feature: Mapping[str, Any]) -> Hashable:
        return feature["pixel_values"].shape, len(feature["decoder_input_ids"])

    def forward(self, batch: dict[str, torch.Tensor], **settings: Any) -> dict[str, Any]:
        prompts, states = batch["decoder_input_ids"], batch["image_states"]
        tokens = self.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            decoder_input_ids=prompts,
            **self.settings(settings, prompt=prompts.shape[1]),
        )
        return {"tokens": tokens.view(len(states), len(tokens) // len(states), -1)}

    def postprocess(  # type: ignore[override]
        self, item: Any, features: Rows, outputs: Rows, *, top_k: int = 1
    ) -> list[dict[str, Any]]:
        answers = []
        for tokens in outputs[0]["tokens"][:top_k].tolist():
            found = re.search("<s_answer>(.*)</s_answer>", self.tokenizer.decode(tokens))
            answers.append({"answer": None if found is None else found[1].strip()})
        return answers


def _question(item: Any) -> str:
    """The question of an input, which must have a page as well."""
    step = 'Call pipe(image, question), or pass {"image": ..., "question": ...}.'
    if not isinstance(item, Mapping):
        raise InputError(f"The input is {a_kind(item)} without a question.", next_step=step)
    question = item.get("question")
    if not isinstance(question, str) or not question.strip():
        fault = "is missing" if question is None else "is empty" if isinstance(question, str) else "is not a text"
        raise InputError(f"The question {fault}.", next_step=step)
    if item.get("image") is None and item.get("word_boxes") is None:
        raise InputError("There is a question, but no page.", next_step=f"{step} word_boxes= can replace the image.")
    return question


def _stride(given: int | None, longest: int, room: int) -> int:
    """The number of tokens that neighbouring windows share, in windows with `room` tokens of the page."""
    if room < 1:
        raise InputError(
            f"The question leaves no room for the page in windows of {longest} tokens.",
            next_step="Pass max_question_len to cut the question, or a larger max_seq_len.",
        )
    stride = min(longest // 2, 256) if given is None else given
    if stride < room:
        return stride
    if given is not None:
        raise InputError(
            f"doc_stride ({stride}) leaves nothing new to read in windows with {room} tokens of the page "
            f"(max_seq_len is {longest}, question included).",
            next_step="Pass a smaller doc_stride, or max_question_len to cut the question.",
        )
    return room // 2


def _softmax(logits: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Probabilities of the positions that are allowed; 0 for the others."""
    exact = np.where(allowed, logits.astype(np.float64), -np.inf)
    weights = np.exp(exact - exact.max())
    return weights / weights.sum()


def _best_spans(
    start: np.ndarray, end: np.ndarray, feature: Mapping[str, Any], most: int, longest: int
) -> list[tuple[tuple[int, int], float]]:
    """The most probable spans of words ((first, last), score) of at most `longest` tokens, best first; each occurs once.

    The score of a span of tokens is P(start) P(end) (Chen et al., Reading Wikipedia to Answer Open-Domain Questions, 2017,
    section 3.2), that of a span of words the best of its tokens.
    """
    inside, words, T = feature["candidates"], feature["word_ids"], len(start)
    first = np.concatenate([np.arange(T - more) for more in range(min(longest, T))])
    last = np.concatenate([np.arange(more, T) for more in range(min(longest, T))])
    valid = inside[first] & inside[last]
    first, last = first[valid], last[valid]
    scores = start[first] * end[last]
    best: dict[tuple[int, int], float] = {}
    for i in np.argsort(-scores, kind="stable"):
        best.setdefault((int(words[first[i]]), int(words[last[i]])), float(scores[i]))
        if len(best) == most:
            break
    return list(best.items())
