"""What is common to all answers on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from notebook_kit.inspection.drawing.answers import colours_of, ink_on
from notebook_kit.panels.panel import Answer

__all__ = ["Shown", "Words", "score_text"]

Words = Callable[..., str]
"""The method `word` of the panel."""


class Shown:
    """The answer to one input. A subclass is one form of answer; the page has a module for each of them.

    Attributes:
        result: The answer, as the pipeline returned it.
        pipeline: The pipeline that answered; None if it is not known.
        things: What the answer lists, in its order: dicts with `label` and `score` (None for no score), and more for the page.
    """

    kind: ClassVar[str]
    one: ClassVar[str] = ""
    several: ClassVar[str] = ""
    """What one of the things is called, and several of them; by default as the kind."""
    can_narrow: ClassVar[bool] = False
    """Whether the page offers a threshold and switches for classes."""

    pipeline: Any = None

    def __init__(self, result: Any, things: Sequence[Mapping[str, Any]] = ()) -> None:
        self.result = result
        self.things = [dict(thing) for thing in things]

    def answer(self) -> Answer:
        """What the page draws: `kind`, `things`, their `colours` and the `inks` for text on these, and what the subclass adds."""
        colours = self.colours()
        return Answer(
            {"kind": self.kind, "things": self.things, "colours": colours, "inks": [ink_on(one) for one in colours]}
        )

    def colours(self) -> list[str]:
        """The colour of each thing; by default, one per label."""
        by_label = colours_of([thing["label"] for thing in self.things])
        return [by_label[thing["label"]] for thing in self.things]

    def rows(self, word: Words) -> tuple[list[str], list[list[Any]]]:
        """A header and rows, for the static face."""
        rows = [[thing["label"], score_text(thing["score"])] for thing in self.things]
        return [word("label"), word("score")], rows

    def note(self, word: Words) -> str:
        """A line below the rows."""
        return "" if self.things else word("nothing")

    def figure(self) -> Any:
        """The answer as a matplotlib `Figure`; None if a picture would say no more than the rows."""
        return None

    def brief(self) -> str:
        """The answer in a few words."""
        named = ", ".join(f"{thing['label']} {score_text(thing['score'])}".strip() for thing in self.things[:3])
        count = f"1 {self.one}" if len(self.things) == 1 else f"{len(self.things)} {self.several or self.kind}"
        return f"{count}{': ' * bool(named)}{named}{', …' * (len(self.things) > 3)}"


def score_text(score: float | None) -> str:
    """A score with three decimals; "" for None.

    Example:
        >>> score_text(0.98765), score_text(None)
        ('0.988', '')
    """
    return "" if score is None else f"{score:.3f}"
