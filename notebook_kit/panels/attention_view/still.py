"""An attention view without its page: a title, a figure, the static face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from notebook_kit.inspection.attention.axes import Axis, PatchGrid
from notebook_kit.inspection.attention.lens import Shown
from notebook_kit.inspection.attention.logit_lens import BLOCK
from notebook_kit.inspection.drawing import heat_maps
from notebook_kit.inspection.drawing.pictures import Box, heat_over_picture, heat_over_sound, maps_over_picture
from notebook_kit.inspection.tokens.spelling import visible
from notebook_kit.panels.attention_view.transport import quantised
from notebook_kit.panels.panel import Face, filled

__all__ = ["LensScene", "MapsScene", "Scene", "title_of"]

PAIRS = 20
SOUND_ASPECT = 0.5
"""Height divided by width of a small spectrogram."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything needed to draw attention.

    Args:
        name: The name of the model, or "".
        title: A one-line description of the weights.
        words: The strings of the interface by their keys.
        shown: The weights, and the positions in each row and column.
        rows: The axis that attends.
        columns: The axis attended to.
        selected: The selected positions of `rows`.
        threshold: Weights below it are not drawn.
        as_lines: Whether to draw lines (or colours over a picture, if the axes have one) rather than a matrix.
        which: "this", "other", or "difference".
        other_labels: The labels of the rows and columns in the text that is compared with, or None.
    """

    name: str
    title: str
    words: Mapping[str, str]
    shown: Shown
    rows: Axis
    columns: Axis
    selected: Sequence[int]
    threshold: float
    as_lines: bool
    which: str = "this"
    other_labels: tuple[Sequence[str], Sequence[str]] | None = None

    @property
    def is_difference(self) -> bool:
        """Whether the weights are differences."""
        return self.which == "difference"

    def _label(self, axis: Axis, group: Sequence[int], side: int) -> str:
        own = axis.name_of(group)
        other = own if self.other_labels is None or len(group) > 1 else self.other_labels[side][group[0]]
        return own if other == own else f"{own} / {other}" if self.is_difference else other

    @property
    def row_labels(self) -> list[str]:
        """The label of each row."""
        return [self._label(self.rows, group, 0) for group in self.shown.rows]

    @property
    def column_labels(self) -> list[str]:
        """The label of each column."""
        return [self._label(self.columns, group, 1) for group in self.shown.columns]

    @property
    def chosen(self) -> list[int]:
        """The rows that contain a selected position."""
        return [i for i, group in enumerate(self.shown.rows) if set(group) & set(self.selected)]

    @property
    def sources(self) -> list[int]:
        """The rows from which a picture is coloured: those selected, or that of the class token; none stands for all."""
        first = [i for i, group in enumerate(self.shown.rows) if self.rows.first in group]
        return self.chosen or first

    @property
    def coloured(self) -> list[int]:
        """The rows whose weights the page sums and colours: those selected, or over a picture `sources`, or all."""
        if self.columns.boxes is None or self.chosen:
            return self.chosen
        return self.sources or list(range(len(self.shown.rows)))

    @property
    def origin(self) -> str:
        """The labels of those rows."""
        labels = self.row_labels
        return ", ".join(labels[i] for i in self.sources[:8]) or self.words.get(
            f"from_all_{self.rows.kind}", self.words["from_all"]
        )

    def figure(self) -> Any:
        """Lines, a picture, or a matrix, as a matplotlib `Figure`."""
        weights = self.shown.weights.numpy()
        signed = self.is_difference or bool((weights < 0).any())
        if self.as_lines and self.columns.boxes is not None:
            return self._picture(weights, signed)
        if self.as_lines:
            return heat_maps.lines_figure(
                weights,
                self.row_labels,
                self.column_labels,
                self.title,
                chosen=self.chosen,
                least=self.threshold,
                signed=signed,
                sides=self._sides,
            )
        strong = np.where(np.abs(weights) < self.threshold, 0, weights)
        return heat_maps.matrix_figure(
            strong, self.row_labels, self.column_labels, self.title, signed, chosen=self.chosen, sides=self._sides
        )

    @property
    def _sides(self) -> tuple[str, str]:
        return self._word("looks"), self._word("looked_at")

    def _word(self, key: str) -> str:
        """A text for the kind of the columns, or the general one."""
        return self.words.get(f"{key}_{self.columns.kind}", self.words[key])

    def _picture(self, weights: np.ndarray, signed: bool) -> Any:
        """The weights of the selected rows over the picture; by default those of the class token, or the mean."""
        rows = self.sources
        values = weights[rows].sum(0) if rows else weights.mean(0)
        origin = self.origin
        source, places = None, self.rows.objects or self.rows.boxes
        if places is not None:
            own = self.rows.boxes or places
            boxes = [_box_of(places, self.shown.rows[i]) or _box_of(own, self.shown.rows[i]) for i in rows]
            source = boxes, self.rows.picture
        values = np.where(np.abs(values) < self.threshold, 0, values)
        targets = [_box_of(self.columns.boxes or (), group) for group in self.shown.columns]
        title = self.title if source else f"{self.title} · {origin}"
        if self.columns.span is not None:
            return heat_over_sound(
                values,
                targets,
                self.column_labels,
                self.columns.picture,
                self.columns.span,
                title,
                source=None if source is None else source[0],
                source_title=f"{self._word('from')} {origin}",
                signed=signed,
            )
        return heat_over_picture(
            values,
            targets,
            self.column_labels,
            self.columns.picture,
            title,
            source=source,
            source_title=f"{self._word('from')} {origin}",
            signed=signed,
        )

    def face(self) -> Face:
        """The weights as a picture, and the strongest pairs as a table."""
        weights, rows, columns = self.shown.weights, self.row_labels, self.column_labels
        data, scale, signed = quantised(weights, self.is_difference)
        if self.as_lines and self.columns.boxes is not None:
            png = heat_maps.png_of(self.figure())
        elif max(len(rows), len(columns)) <= heat_maps.LABELLED:
            figure = heat_maps.matrix_figure(
                weights.numpy(), rows, columns, self.title, signed, chosen=self.chosen, sides=self._sides
            )
            png = heat_maps.png_of(figure)
        else:  # labels would be illegible, and without them the view appears before matplotlib is loaded
            png = heat_maps.heat_map_png(data, signed)
        places = weights.abs().flatten().topk(min(PAIRS, weights.numel())).indices.tolist()
        pairs = [
            (rows[i], columns[j], f"{float(weights[i, j]):.4f}")
            for i, j in (divmod(place, len(columns)) for place in places)
            if weights[i, j]
        ]
        words = self.words
        return Face(
            " · ".join(part for part in (self.name, self.title) if part),
            png,
            alt=filled(words["matrix_of"], title=self.title),
            header=(*self._sides, words["weight"]),
            rows=pairs,
            note=filled(words["face_note"], pairs=len(pairs), scale=f"{scale:.4g}"),
        )


@dataclass(frozen=True, eq=False)
class MapsScene:
    """Everything needed to draw where rows look in all heads of a layer, over the picture.

    Args:
        name: The name of the model, or "".
        words: The strings of the interface by their keys.
        maps: `(heads, rows, columns)` of the patch grid.
        layer: The number of the layer.
        origin: The labels of the rows.
        grid: The patch grid.
        signed: Whether weights may be negative.
    """

    name: str
    words: Mapping[str, str]
    maps: np.ndarray
    layer: int
    origin: str
    grid: PatchGrid
    signed: bool

    @property
    def title(self) -> str:
        """A one-line description of the maps."""
        return filled(self.words["maps_title"], layer=self.layer, origin=self.origin)

    def figure(self) -> Any:
        """One small picture per head, as a matplotlib `Figure`."""
        cells = [box for box in self.grid.boxes if box is not None]
        labels = [f"{self.words['head']} {head}" for head in range(len(self.maps))]
        flat = self.maps.reshape(len(self.maps), -1)
        aspect = None if self.grid.span is None else SOUND_ASPECT
        return maps_over_picture(flat, cells, labels, self.grid.picture, self.title, self.signed, aspect)

    def face(self) -> Face:
        """The maps as a picture."""
        title = " · ".join(part for part in (self.name, self.title) if part)
        return Face(title, heat_maps.png_of(self.figure()), alt=self.title, note=self.words["maps_note"])


@dataclass(frozen=True, eq=False)
class LensScene:
    """Everything needed to draw the logit lens.

    Args:
        name: The name of the model, or "".
        words: The strings of the interface by their keys.
        table: The predictions of each layer; see `AttentionView.logit_lens`.
    """

    name: str
    words: Mapping[str, str]
    table: Any

    def figure(self) -> Any:
        """The predictions of each layer at the first positions, as a matplotlib `Figure`."""
        first = self.table[self.table["position"] < BLOCK]
        labels = [visible(token) for token in first[first["layer"] == -1]["token"]]
        layers = [first[first["layer"] == layer] for layer in sorted(first["layer"].unique())]
        predictions = [[visible(text) for text in layer["prediction"]] for layer in layers]
        rows = [self.words["lens_embeddings"], *map(str, range(len(layers) - 1))]
        chances = np.array([layer["probability"] for layer in layers])
        return heat_maps.lens_figure(chances, predictions, rows, labels, f"{self.words['lens']} · {self.name}")

    def face(self) -> Face:
        """The lens as a picture, and its last row, the output of the model, as a table."""
        last = self.table[self.table["layer"] == self.table["layer"].max()].head(PAIRS)
        words = self.words
        return Face(
            " · ".join(part for part in (self.name, words["lens"]) if part),
            heat_maps.png_of(self.figure()),
            alt=words["lens_grid"],
            header=(words["token"], words["lens_output"], words["lens_probability"]),
            rows=[
                (visible(token), visible(text), f"{chance:.4f}")
                for token, text, chance in zip(last["token"], last["prediction"], last["probability"], strict=True)
            ],
            note=words["lens_caption"],
        )


def title_of(question: Mapping[str, Any], words: Mapping[str, str], similarity: float | None = None) -> str:
    """A one-line description of the answer to a question about heads, or about the similarity of a text and a picture.

    Args:
        question: The page's question: layer, heads, more, combine, hide, renormalise, merge, direction, which.
        words: The strings of the interface by their keys.
        similarity: The similarity, or None.
    """
    more = question.get("more", ())
    if similarity is None:
        names = [filled(words["title"], layer=question["layer"], heads=", ".join(map(str, question["heads"])))]
    else:
        names = [filled(words["similarity_title"], value=f"{similarity:.3f}".replace("-", "−"))]
    names += [filled(words["head_name"], layer=layer, head=head) for layer, head in more]
    parts = [", ".join(names)]
    if len(question["heads"]) + len(more) > 1:
        parts.append(words[question["combine"]])
    if question["hide"]:
        parts.append(words["said_renormalised" if question["renormalise"] else "said_hidden"])
    if question["merge"]:
        parts.append(words["said_merged"])
    if question["direction"] != "all":
        parts.append(words[question["direction"]])
    if question["which"] != "this":
        parts.append(words[question["which"]])
    return " · ".join(parts)


def _box_of(boxes: Sequence[Box | None], group: Sequence[int]) -> Box | None:
    """The bounding box of a group of positions."""
    sides = [box for i in group if (box := boxes[i]) is not None]
    if not sides:
        return None
    left, top, right, bottom = zip(*sides, strict=True)
    return min(left), min(top), max(right), max(bottom)
