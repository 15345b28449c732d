"""A generation without its page: a figure, and the static face."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notebook_kit.inspection.drawing.heat_maps import palette
from notebook_kit.inspection.generation.steps import Branch
from notebook_kit.inspection.generation.writer import SAMPLING
from notebook_kit.inspection.tokens.spelling import Spelling
from notebook_kit.panels.panel import Face, filled

__all__ = ["Scene", "shortened"]

FACE_TOKENS = 150
PROMPT_TOKENS = 40
PROMPT_CHARACTERS = 300
PICTURE_BYTES = 90_000


@dataclass(frozen=True)
class Scene:
    """Everything needed to draw a generation.

    Args:
        name: The name of the model, or "".
        words: The strings of the interface by their keys.
        branch: The generated text, or None.
        spelling: The text of each token; None without a model.
        chosen: The position of the chosen token, or None.
    """

    name: str
    words: Mapping[str, str]
    branch: Branch | None
    spelling: Spelling | None
    chosen: int | None

    def figure(self, most: int = FACE_TOKENS) -> Any:
        """The end of the prompt and the generated tokens as chips, coloured by probability, as a matplotlib `Figure`."""
        from notebook_kit.inspection.drawing.chips import Chip, draw

        branch, spelling = self.branch, self.spelling
        if branch is None or spelling is None:
            return draw([(self.words["empty_text"], [], 0)])
        colours = palette(False)
        kinds = ("one", "special", "unknown")
        prompt = spelling.line(branch.context[-min(most, PROMPT_TOKENS) :])
        chips = [Chip(text, "special", below="") for text, *_ in prompt]
        for place, (text, _, kind, *_) in enumerate(spelling.line(branch.ids[:most])):
            probability = branch.steps[place].chosen.before
            back = "#{:02x}{:02x}{:02x}".format(*colours[round(probability * 255)])
            chips.append(Chip(text, kinds[kind], place == self.chosen, below=percent(probability), back=back))
        count = len(branch.steps)
        title = f"{self.name} · {filled(self.words['face_tokens'], count=count)}"
        return draw([(title, chips, max(0, count - most))])

    def face(self) -> Face:
        """A picture of the tokens and a table of them."""
        branch, spelling = self.branch, self.spelling
        if branch is None or spelling is None:
            return Face("GenerationView", note=self.words["empty" if spelling is None else "empty_text"])
        rows = [
            (text, token, percent(step.chosen.before), step.chosen.rank, f"{step.entropy:.2f}")
            for (text, token, *_), step in zip(spelling.line(branch.ids), branch.steps, strict=True)
        ]
        prompt = shortened(branch.prompt, PROMPT_CHARACTERS)
        return Face(
            title=" · ".join(part for part in ("GenerationView", self.name) if part),
            png=self._picture(),
            alt=filled(self.words["face_alt"], count=len(rows)),
            header=[self.words[key] for key in ("token", "id", "probability", "rank", "entropy")],
            rows=rows[:FACE_TOKENS],
            note=filled(self.words["face_note"], prompt=prompt, settings=self._settings(branch.settings)),
        )

    def _picture(self) -> bytes:
        """The figure as a PNG of 64 colours, with fewer tokens if it would otherwise be too large for a notebook."""
        from PIL import Image

        from notebook_kit.inspection.drawing.chips import png

        most = FACE_TOKENS
        while True:
            small = io.BytesIO()
            with Image.open(io.BytesIO(png(self.figure(most)))) as picture:
                picture.convert("RGB").quantize(64).save(small, "png", optimize=True)
            if len(small.getvalue()) <= PICTURE_BYTES or most < 10:
                return small.getvalue()
            most //= 2

    def _settings(self, settings: Mapping[str, Any]) -> str:
        """The settings of a branch in one line."""
        if not settings:
            return ""
        shown = ["repetition_penalty"] if settings["repetition_penalty"] != 1.0 else []
        names = [*SAMPLING, *shown, "seed"] if settings["do_sample"] else shown
        parts = [f"{name} {settings[name]:g}" for name in names]
        return ", ".join([self.words["sampled" if settings["do_sample"] else "greedy"], *parts])


def shortened(text: str, limit: int) -> str:
    """A text of at most `limit` characters.

    Example:
        >>> shortened("a long text", 6)
        'a lon…'
    """
    return text if len(text) <= limit else text[: limit - 1] + "…"


def percent(probability: float) -> str:
    """A probability as a percentage of at most six characters.

    Example:
        >>> percent(0.9312), percent(0.00042), percent(0.0000001)
        ('93.1%', '0.04%', '<0.01%')
    """
    if 0 < probability < 0.0001:
        return "<0.01%"
    return f"{probability * 100:.1f}%" if probability >= 0.01 else f"{probability * 100:.2f}%"
