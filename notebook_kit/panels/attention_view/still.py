"""A view as it stands: its title, a figure, the static face, and what a file on disk can answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from notebook_kit.errors import NotebookKitError
from notebook_kit.inspection.attention.logit_lens import BLOCK
from notebook_kit.inspection.drawing import heat_maps as drawing
from notebook_kit.panels.attention_view.transport import quantised
from notebook_kit.panels.panel import Face

if TYPE_CHECKING:
    from notebook_kit.panels.attention_view.attention_view import AttentionView

__all__ = ["face_of", "figure_of", "questions_of", "title_of"]

PAIRS = 20
LENS_POSITIONS = 256
"""How many positions of the logit lens a file on disk holds."""


def title_of(view: AttentionView) -> str:
    """What is shown, in one line of the language that is spoken."""
    said = {key.partition(".")[2]: words for key, words in view._strings.items()}
    heads = ", ".join(map(str, view.heads))
    words = [said["title"].replace("{layer}", str(view.layer)).replace("{heads}", heads)]
    if len(view.heads) > 1:
        words.append(said[view.combine])
    if view.hide_special:
        words.append(said["said_renormalised" if view.renormalise else "said_hidden"])
    if view.merge_words:
        words.append(said["said_merged"])
    if view.direction != "all":
        words.append(said[view.direction])
    if view.shown != "this":
        words.append(said[view.shown])
    return " · ".join(words)


def figure_of(view: AttentionView) -> Any:
    """Lines in the view "heads", the lens in "lens", else a heat map, as a matplotlib `Figure`."""
    if _shows_lens(view):
        return _lens_figure(view)
    shown, rows, columns = view._now()
    weights = shown.weights.numpy()
    chosen = [i for i, group in enumerate(shown.rows) if set(group) & set(view.selected)]
    signed = view.shown == "difference" or bool((weights < 0).any())
    title = title_of(view)
    if view.view == "heads":
        return drawing.lines_figure(weights, rows, columns, title, chosen=chosen, least=view.threshold, signed=signed)
    strong = np.where(np.abs(weights) < view.threshold, 0, weights)
    return drawing.matrix_figure(strong, rows, columns, title, signed, chosen=chosen)


def face_of(view: AttentionView) -> Face:
    """The head that is shown as a picture, and its strongest pairs as a table."""
    said = {key.partition(".")[2]: words for key, words in view._strings.items()}
    if view._reading is None:
        return Face("AttentionView", note=said["empty"])
    if _shows_lens(view):
        return _lens_face(view)
    shown, rows, columns = view._now()
    data, scale, signed = quantised(shown.weights, view.shown == "difference")
    title = title_of(view)
    if max(len(rows), len(columns)) <= drawing.LABELLED:
        chosen = [i for i, group in enumerate(shown.rows) if set(group) & set(view.selected)]
        png = drawing.png_of(drawing.matrix_figure(shown.weights.numpy(), rows, columns, title, signed, chosen=chosen))
    else:  # names would not be legible, so matplotlib need not be loaded before the view is seen
        png = drawing.heat_map_png(data, signed)
    places = shown.weights.abs().flatten().topk(min(PAIRS, shown.weights.numel())).indices.tolist()
    pairs = [
        (rows[i], columns[j], f"{float(shown.weights[i, j]):.4f}")
        for i, j in (divmod(place, len(columns)) for place in places)
        if shown.weights[i, j]
    ]
    return Face(
        " · ".join(part for part in (view._about.get("name"), title) if part),
        png,
        alt=said["matrix_of"].replace("{title}", title),
        header=(said["from"], said["to"], said["weight"]),
        rows=pairs,
        note=said["face_note"].replace("{pairs}", str(len(pairs))).replace("{scale}", f"{scale:.4g}"),
    )


def _shows_lens(view: AttentionView) -> bool:
    return view.view == "lens" and bool(view._about.get("can_lens"))


def _lens_figure(view: AttentionView) -> Any:
    """What each layer would have said at the first positions."""
    frame = view.logit_lens()
    frame = frame[frame["position"] < BLOCK]
    names = [spelled(token) for token in frame[frame["layer"] == -1]["token"]]
    said = [frame[frame["layer"] == layer] for layer in sorted(frame["layer"].unique())]
    words = [[spelled(text) for text in row["prediction"]] for row in said]
    rows = [_word(view, "lens_embeddings"), *map(str, range(len(said) - 1))]
    title = f"{_word(view, 'lens')} · {view._about.get('name', '')}"
    return drawing.lens_figure(np.array([row["probability"] for row in said]), words, rows, names, title)


def _lens_face(view: AttentionView) -> Face:
    """The lens as a picture, and the model's own last row as a table."""
    frame = view.logit_lens()
    last = frame[frame["layer"] == frame["layer"].max()].head(PAIRS)
    return Face(
        " · ".join(part for part in (view._about.get("name"), _word(view, "lens")) if part),
        drawing.png_of(_lens_figure(view)),
        alt=_word(view, "lens_grid"),
        header=(_word(view, "token"), _word(view, "lens_output"), _word(view, "lens_probability")),
        rows=[
            (spelled(token), spelled(text), f"{chance:.4f}")
            for token, text, chance in zip(last["token"], last["prediction"], last["probability"], strict=True)
        ],
        note=_word(view, "lens_caption"),
    )


def _word(view: AttentionView, key: str) -> str:
    return view._strings[f"attention_view.{key}"]


def spelled(text: str) -> str:
    """A token's text with its white space made visible.

    Example:
        >>> spelled(" the")
        '·the'
    """
    for plain, seen in ((" ", "·"), ("\n", "⏎"), ("\t", "⇥"), ("\r", "␍")):
        text = text.replace(plain, seen)
    return text


def questions_of(view: AttentionView, budget: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a file on disk can answer: its matrices take at most `budget` bytes together."""
    reading = view._reading
    if reading is None:
        return
    yield "atlas", view._question("atlas")
    yield "scores", {"version": view._about["version"], "which": view.shown}
    current = view._question("look")
    wanted = [current]
    if view.rollout and view._about.get("has_rollout"):
        wanted.append({**current, "what": "rollout", "heads": [0], "combine": "mean"})
    count = reading.layer(view.layer).shape[0]
    wanted += [view._question("look", heads=[head], combine="mean") for head in range(count)]
    for hide, share, merge in (
        (False, False, False),
        (True, True, False),
        (True, False, False),
        (False, False, True),
        (True, True, True),
    ):
        wanted.append({**current, "hide": hide, "renormalise": share, "merge": merge})
    seen: list[dict[str, Any]] = []
    left = budget
    for question in wanted:
        if question in seen:
            continue
        try:
            rows, columns = view.answer_look(question).values["size"]
        except NotebookKitError:  # as where all tokens are special
            continue
        if rows * columns > left:
            break
        left -= rows * columns
        seen.append(question)
        yield "look", question
    if _shows_lens(view):
        for first in range(0, min(len(view._lens_of()), LENS_POSITIONS), BLOCK):
            yield "lens", {"version": view._about["version"], "first": first}
    if view.prediction:
        yield "predict", {"version": view._about["version"], "ablated": view.prediction["heads"]}
