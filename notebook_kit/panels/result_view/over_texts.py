"""Answers about a text: its entities, a span that answers a question, words for its gaps, or another text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from notebook_kit.inspection.drawing.answers import bars, colour_of
from notebook_kit.panels.panel import Answer
from notebook_kit.panels.result_view.shown import Shown, Words, score_text

__all__ = ["ShownAnswers", "ShownEntities", "ShownGaps", "ShownTexts", "parts_of"]

Things = Sequence[Mapping[str, Any]]
GAP = re.compile(r"\[MASK\]|<mask>|<extra_id_0>")


class ShownEntities(Shown):
    """Spans of a text with labels.

    Args:
        result: The answer: dicts with `entity_group` or `entity`, `score`, `word`, and `start` and `end` in the text.
        text: The text.
    """

    kind = "entities"
    one = "entity"
    can_narrow = True

    def __init__(self, result: Things, text: str) -> None:
        things = [
            {
                "label": str(one.get("entity_group", one.get("entity"))),
                "score": float(one["score"]),
                "detail": text[one["start"] : one["end"]] if _has_span(one, text) else str(one.get("word", "")),
            }
            for one in result
        ]
        super().__init__(result, things)
        self.text = text
        self.spans = [(one["start"], one["end"]) if _has_span(one, text) else (0, 0) for one in result]

    def answer(self) -> Answer:
        return Answer({**super().answer().values, "parts": parts_of(self.text, self.spans)})

    def rows(self, word: Words) -> tuple[list[str], list[list[Any]]]:
        rows = [[one["detail"], one["label"], score_text(one["score"])] for one in self.things]
        return [word("words"), word("label"), word("score")], rows

    def note(self, word: Words) -> str:
        return "\n".join(filter(None, (super().note(word), self.text)))


class ShownAnswers(ShownEntities):
    """Answers to a question, as spans of the context.

    Args:
        result: The answer: dicts with `answer`, `score`, `start` and `end`.
        question: The question.
        context: The text in which the answers were found.
    """

    kind = "answers"
    one = "answer"
    can_narrow = False

    def __init__(self, result: Things, question: str, context: str) -> None:
        super().__init__([{**one, "entity": one["answer"], "word": one["answer"]} for one in result], context)
        self.result, self.question = result, question

    def colours(self) -> list[str]:
        return [colour_of(i) for i in range(len(self.things))]

    def answer(self) -> Answer:
        return Answer({**super().answer().values, "question": self.question})

    def rows(self, word: Words) -> tuple[list[str], list[list[Any]]]:
        return [word("answer"), word("score")], [[one["label"], score_text(one["score"])] for one in self.things]

    def note(self, word: Words) -> str:
        return f"{self.question} {super().note(word)}".strip()

    def figure(self) -> Any:
        return bars(self.things)


class ShownGaps(Shown):
    """Words for the gaps of a text.

    Args:
        result: The answer: dicts with `token_str`, `score` and `sequence`; for several gaps, a list of such lists.
        text: The text with its gaps.
    """

    kind = "candidates"
    one = "candidate"

    def __init__(self, result: Any, text: str) -> None:
        gaps = result if result and isinstance(result[0], list) else [result]
        things = [
            {"label": str(one["token_str"]), "score": float(one["score"]), "gap": i, "sequence": str(one["sequence"])}
            for i, gap in enumerate(gaps)
            for one in gap
        ]
        super().__init__(result, things)
        pieces = GAP.split(text)
        self.pieces = pieces if len(pieces) == len(gaps) + 1 else [text]

    def answer(self) -> Answer:
        return Answer({**super().answer().values, "pieces": self.pieces})

    def figure(self) -> Any:
        return bars([thing for thing in self.things if thing["gap"] == 0])

    def note(self, word: Words) -> str:
        return " ____ ".join(self.pieces)


class ShownTexts(Shown):
    """Texts that were written: summaries, translations, continuations, replies.

    Args:
        result: The answer.
        texts: The texts.
        source: The text that was read; the page shows it beside them.
    """

    kind = "texts"
    one = "text"

    def __init__(self, result: Any, texts: Sequence[str], source: str) -> None:
        super().__init__(result, [{"label": text, "score": None} for text in texts])
        self.source = source

    def answer(self) -> Answer:
        return Answer({**super().answer().values, "source": self.source})

    def rows(self, word: Words) -> tuple[list[str], list[list[Any]]]:
        return [word("source"), word("written")], [[self.source, one["label"]] for one in self.things]

    def brief(self) -> str:
        return ", ".join(repr(thing["label"][:60]) for thing in self.things[:2])


def parts_of(text: str, spans: Sequence[tuple[int, int]]) -> list[list[Any]]:
    """A text cut at the borders of spans: `[piece, [the spans that cover it]]` each.

    Example:
        >>> parts_of("Ada lives in Rome", [(0, 3), (13, 17)])
        [['Ada', [0]], [' lives in ', []], ['Rome', [1]]]
    """
    places = sorted({0, len(text), *(place for span in spans for place in span if 0 <= place <= len(text))})
    return [
        [text[start:end], [i for i, span in enumerate(spans) if span[0] <= start and end <= span[1]]]
        for start, end in itertools.pairwise(places)
    ]


def _has_span(one: Mapping[str, Any], text: str) -> bool:
    start, end = one.get("start"), one.get("end")
    return start is not None and end is not None and 0 <= start <= end <= len(text)
