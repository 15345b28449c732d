"""A generation as it stands: a table, a figure, the static face, and what a file on disk can answer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from notebook_kit.inspection.drawing.heat_maps import palette
from notebook_kit.panels.panel import Face

if TYPE_CHECKING:
    from notebook_kit.panels.generation_view.generation_view import GenerationView

__all__ = ["face_of", "figure_of", "questions_of", "table_of"]

FACE_TOKENS = 150
PROMPT_TOKENS = 40
SAVED_STEPS = 400
PICTURE_BYTES = 90_000


def table_of(view: GenerationView) -> Any:
    """The generated tokens as a DataFrame; its columns are told in `GenerationView.table`."""
    import pandas

    branch = view._branch()
    steps = [] if branch is None else branch.steps
    lines = view._writer.spelling.line([step.chosen.token for step in steps]) if view._writer else []
    rows = [
        (text, token, step.chosen.before, step.chosen.rank, step.entropy, step.chosen.after, step.left)
        for (text, token, *_), step in zip(lines, steps, strict=True)
    ]
    return pandas.DataFrame(rows, columns=["token", "id", "probability", "rank", "entropy", "after", "left"])


def figure_of(view: GenerationView, most: int = FACE_TOKENS) -> Any:
    """The end of the prompt and the generated tokens as chips, coloured by probability, as a matplotlib `Figure`."""
    from notebook_kit.inspection.drawing.chips import Chip, draw

    branch = view._branch()
    if branch is None:
        return draw([(view._word("empty_text"), [], 0)])
    spelling, colours = view._writer_or_raise().spelling, palette(False)
    kinds = ("one", "special", "unknown")
    chips = [Chip(text, "special", below="") for text, *_ in spelling.line(branch.context[-min(most, PROMPT_TOKENS) :])]
    for place, (text, _, kind, *_) in enumerate(spelling.line(branch.ids[:most])):
        probability = branch.steps[place].chosen.before
        back = "#{:02x}{:02x}{:02x}".format(*colours[round(probability * 255)])
        chips.append(Chip(text, kinds[kind], place == view.chosen, below=percent(probability), back=back))
    more = max(0, len(branch.steps) - most)
    return draw([(f"{view._name} · {view._word('face_tokens', count=len(branch.steps))}", chips, more)])


def face_of(view: GenerationView) -> Face:
    """A picture of the tokens and a table of them."""
    branch, words = view._branch(), view._word
    if branch is None:
        return Face("GenerationView", note=words("empty_text" if view._writer else "empty"))
    spelling = view._writer_or_raise().spelling
    rows = [
        (text, token, percent(step.chosen.before), step.chosen.rank, f"{step.entropy:.2f}")
        for (text, token, *_), step in zip(spelling.line(branch.ids), branch.steps, strict=True)
    ]
    prompt = branch.prompt if len(branch.prompt) <= 300 else branch.prompt[:299] + "…"
    return Face(
        title=" · ".join(part for part in ("GenerationView", view._name) if part),
        png=_picture(view),
        alt=words("face_alt", count=len(rows)),
        header=[words(key) for key in ("token", "id", "probability", "rank", "entropy")],
        rows=rows[:FACE_TOKENS],
        note=words("face_note", prompt=prompt, settings=view._said(branch.settings)),
    )


def _picture(view: GenerationView) -> bytes:
    """The figure as a PNG of 64 colours, with as many tokens as fit into a saved notebook."""
    from PIL import Image

    from notebook_kit.inspection.drawing.chips import png

    most = FACE_TOKENS
    while True:
        small = io.BytesIO()
        with Image.open(io.BytesIO(png(figure_of(view, most)))) as picture:
            picture.convert("RGB").quantize(64).save(small, "png", optimize=True)
        if len(small.getvalue()) <= PICTURE_BYTES or most < 10:
            return small.getvalue()
        most //= 2


def questions_of(view: GenerationView) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tokens of all branches, what could have come in their place, and what the shown one looked at."""
    left = SAVED_STEPS
    shown = view._branch()
    if shown is None:
        return
    for branch in [shown, *(one for one in view._branches_kept() if one is not shown)]:
        yield "tokens", {"branch": branch.number, "first": 0}
        for position in range(min(len(branch.steps), left)):
            yield "step", {"branch": branch.number, "position": position}
        left -= min(len(branch.steps), left)
    if view.colour == "attention" and shown.steps:
        for position in range(min(len(shown.steps), SAVED_STEPS)):
            yield "attention", view._attention_question(position)


def percent(probability: float) -> str:
    """A probability in at most six characters.

    Example:
        >>> percent(0.9312), percent(0.00042), percent(0.0000001)
        ('93.1%', '0.04%', '<0.01%')
    """
    if 0 < probability < 0.0001:
        return "<0.01%"
    return f"{probability * 100:.1f}%" if probability >= 0.01 else f"{probability * 100:.2f}%"
