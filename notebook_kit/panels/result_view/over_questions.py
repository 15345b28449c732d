"""Answers to questions about a picture or a page, and captions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.captions import WordOrigins, has_origins, word_origins
from notebook_kit.inspection.drawing.answers import boxes_over_picture
from notebook_kit.inspection.drawing.pages import sheet_of
from notebook_kit.inspection.drawing.pictures import heat_over_picture
from notebook_kit.panels.panel import Answer
from notebook_kit.panels.result_view.over_pictures import ShownBoxes, ShownScores
from notebook_kit.panels.result_view.packing import packed_picture
from notebook_kit.panels.result_view.shown import Shown, Words

__all__ = ["ShownAnswersOnPage", "ShownCaptions", "ShownVisualAnswers"]

logger = logging.getLogger("notebook_kit")

FARTHEST = 1000
"""The coordinate of the right and bottom edges of a page."""


class ShownVisualAnswers(ShownScores):
    """Answers with scores, as bars beside the picture and the question.

    Args:
        result: The answer: dicts with `answer` and `score`.
        picture: The picture, or None.
        question: The question.
    """

    one, several = "answer", "answers"

    def __init__(self, result: Sequence[Mapping[str, Any]], picture: Image.Image | None, question: str) -> None:
        things = [{"label": str(one["answer"]) or "∅", "score": one.get("score", 1.0)} for one in result]
        super().__init__(result, things, picture)
        self.question = question

    def answer(self) -> Answer:
        answer = super().answer()
        return Answer({**answer.values, "question": self.question}, answer.buffers)

    def rows(self, word: Words) -> tuple[list[str], list[list[Any]]]:
        header, rows = super().rows(word)
        return [word("answer"), header[1]], rows

    def note(self, word: Words) -> str:
        return self.question


class ShownAnswersOnPage(ShownBoxes):
    """Answers as boxes on a page, with the question beside it.

    Args:
        result: The answer: dicts with `answer`, `score` and `words`, the numbers of its words on the page.
        page: The picture of the page; None for a blank sheet with its words.
        question: The question.
        word_boxes: Pairs of a word and its box, in thousandths of the page's width and height.
    """

    one, several = "answer", "answers"

    def __init__(
        self, result: Sequence[Mapping[str, Any]], page: Image.Image | None, question: str, word_boxes: Sequence[Any]
    ) -> None:
        sheet = sheet_of(*zip(*word_boxes, strict=True)) if page is None else page
        found = []
        for one in result:
            sides = [word_boxes[i][1] for i in one["words"]]
            if sides:
                left, top, right, bottom = zip(*sides, strict=True)
                corners = {"xmin": min(left), "ymin": min(top), "xmax": max(right), "ymax": max(bottom)}
                scaled = {name: side * sheet.size[name[0] == "y"] / FARTHEST for name, side in corners.items()}
                found.append({"label": str(one["answer"]), "score": float(one["score"]), "box": scaled})
        super().__init__(found, sheet)
        self.question = question

    def answer(self) -> Answer:
        answer = super().answer()
        return Answer({**answer.values, "question": self.question, "is_page": True}, answer.buffers)

    def note(self, word: Words) -> str:
        return self.question if self.things else word("nothing")

    def figure(self) -> Any:
        return boxes_over_picture(self.result, self.picture, above=True)


class ShownCaptions(Shown):
    """Captions of a picture, with where the model looked as it wrote each word, if it has cross-attention to patches.

    Args:
        result: The answer: dicts with `generated_text`.
        picture: The picture.
    """

    kind = "captions"
    one = "caption"

    def __init__(self, result: Sequence[Mapping[str, Any]], picture: Image.Image) -> None:
        texts = [str(one["generated_text"]).strip() for one in result]
        super().__init__(result, [{"label": text, "score": None} for text in texts])
        self.picture = picture
        self._origins: dict[int, WordOrigins | None] = {}

    @property
    def has_origins(self) -> bool:
        """Whether the model can show where it looked."""
        return self.pipeline is not None and has_origins(self.pipeline)

    def origins(self, number: int) -> WordOrigins | None:
        """Where the model looked as it wrote the words of a caption; None for one without words."""
        if number not in self._origins:
            try:
                self._origins[number] = word_origins(self.pipeline, self.picture, self.things[number]["label"])
            except InputError as error:  # such as an empty caption
                logger.debug("No origins of %r: %s", self.things[number]["label"], error)
                self._origins[number] = None
        return self._origins[number]

    def answer(self) -> Answer:
        return Answer({**super().answer().values, "has_origins": self.has_origins}, [packed_picture(self.picture)])

    def origins_answer(self) -> Answer:
        """For the page: for each caption its words, and a byte per patch for each of them, 255 for the largest of the word."""
        described: list[dict[str, Any] | None] = []
        packed = bytearray()
        for number in range(len(self.things)):
            found = self.origins(number)
            if found is None:
                described.append(None)
                continue
            tops = found.maps.max((1, 2))
            packed += (255 * found.maps / np.maximum(tops, 1e-12)[:, None, None]).round().astype(np.uint8).tobytes()
            described.append(
                {"spans": found.spans, "shape": found.maps.shape[1:], "box": found.box, "tops": tops.tolist()}
            )
        return Answer({"origins": described}, [bytes(packed)])

    def rows(self, word: Words) -> tuple[list[str], list[list[Any]]]:
        return [word("caption")], [[thing["label"]] for thing in self.things]

    def _sharpest(self) -> WordOrigins | None:
        return self.origins(0) if self.things and self.has_origins else None

    def note(self, word: Words) -> str:
        found = self._sharpest()
        if found is None:
            return super().note(word)
        top = found.maps[found.sharpest].max()
        return word("origin_of", word=found.words[found.sharpest], top=f"{100 * top:.0f}")

    def figure(self) -> Any:
        found = self._sharpest()
        if found is None:
            return boxes_over_picture([], self.picture)
        weights, cells = found.maps[found.sharpest].ravel(), found.cells
        word, caption = found.words[found.sharpest], self.things[0]["label"]
        return heat_over_picture(
            weights, cells, [""] * len(cells), self.picture, word, source=((), self.picture), source_title=caption
        )
