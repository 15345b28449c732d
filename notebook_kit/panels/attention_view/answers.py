"""The answers of an `AttentionView` about its attention: for its page, for programs, and for a file on disk."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.inspection.attention.axes import Axis, PatchGrid
from notebook_kit.inspection.attention.lens import Shown, look
from notebook_kit.inspection.attention.logit_lens import BLOCK, LogitLens
from notebook_kit.inspection.attention.neurons import Pair, QueriesAndKeys
from notebook_kit.inspection.attention.pairing import Pairing, difference, pair_axes
from notebook_kit.inspection.attention.prediction import predict, predictions
from notebook_kit.inspection.attention.reading import Reading
from notebook_kit.inspection.attention.rollout import rollout
from notebook_kit.inspection.attention.running import has_sites
from notebook_kit.inspection.attention.scores import SCORES, scores_of
from notebook_kit.inspection.attention.similarity import SIMILARITY
from notebook_kit.inspection.attention.source import AttentionSource
from notebook_kit.inspection.tokens.spelling import Spelling
from notebook_kit.panels.attention_view.axes import for_page
from notebook_kit.panels.attention_view.transport import indices, lens_of, pooled, quantised
from notebook_kit.panels.panel import Answer

__all__ = ["HTML_BYTES", "Answers", "Question"]

CACHE_BYTES = 64 * 2**20
HTML_BYTES = 6 * 2**20
"""The maximum size of the matrices in a file on disk, before base64."""

PAIR_BYTES = 256 * 2**10
"""The maximum size of the queries and keys of all pairs of tokens in a file on disk."""

LENS_POSITIONS = 256
"""The number of positions of the logit lens that a file on disk holds."""

Question = dict[str, Any]
"""A question of the page: `which` reading, `hide`, `renormalise`, `merge`, `direction`, `layer`, `heads`, `combine`, `what`; and
`whole` for every frame of a recording."""


class Answers:
    """Answers about one reading, or about two that are compared; results are cached.

    Args:
        source: The source of the attention, or None.
        reading: The attention, or None if there is none yet.
        other: The attention it is compared with, or None.
    """

    def __init__(
        self, source: AttentionSource | None = None, reading: Reading | None = None, other: Reading | None = None
    ) -> None:
        self.source, self.other = source, other
        self._reading = reading
        self._pairings: tuple[Pairing, Pairing] | None = None
        if reading is not None and other is not None:
            rows = pair_axes(reading.rows, other.rows)
            self._pairings = rows, rows if reading.is_square else pair_axes(reading.columns, other.columns)
        self._vectors: dict[int, QueriesAndKeys] = {}
        self._kept: OrderedDict[str, Answer] = OrderedDict()
        self._scores: dict[str, Tensor] = {}
        self._untouched: dict[str, Tensor] | None = None
        self._lens: LogitLens | None = None
        self._whole: dict[frozenset[int], Reading] = {}
        self._guard = threading.RLock()

    @property
    def is_empty(self) -> bool:
        """Whether there is no attention yet."""
        return self._reading is None

    @property
    def reading(self) -> Reading:
        """The attention.

        Raises:
            InputError: If there is none yet.
        """
        if self._reading is None:
            step = "Write a text." if self.source is not None else "Call view.use(model_or_pipeline), or pick a model."
            raise InputError("There is no attention to show yet.", next_step=step)
        return self._reading

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """The rows and the columns; with a second text, also the tokens that only that one has."""
        if self._pairings is None:
            return self.reading.rows, self.reading.columns
        rows, columns = self._pairings
        return rows.axis, columns.axis

    @property
    def can_be_whole(self) -> bool:
        """Whether frames are merged that can be read one by one."""
        return self.other is None and self.reading.is_pooled and self.source is not None

    def axes_of(self, question: Question) -> tuple[Axis, Axis]:
        """The rows and columns of the matrix that a question is about."""
        whole = self._whole_reading(question)
        return self.axes if whole is None else (whole.rows, whole.columns)

    def merged_into(self, question: Question) -> tuple[list[int], list[int]]:
        """For the rows and columns of the matrix that a question is about, the positions of `axes` that they are part of."""
        whole = self._whole_reading(question)
        if whole is None:
            return list(range(len(self.axes[0]))), list(range(len(self.axes[1])))
        found = []
        for axis, fine, coarse in zip((whole.rows, whole.columns), whole.groups, self.reading.groups, strict=True):
            owner = {position: i for i, group in enumerate(coarse or ()) for position in group}
            firsts = range(len(axis)) if fine is None else [group[0] for group in fine]
            found.append([owner.get(position, position) for position in firsts])
        return found[0], found[1]

    @property
    def other_labels(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """The labels of the rows and of the columns in the text that is compared with."""
        if self._pairings is None:
            return None
        rows, columns = self._pairings
        return rows.other_labels, columns.other_labels

    # For the page ----------------------------------------------------------------------------------------------------

    def look(self, question: Question) -> Answer:
        """One head, several heads combined, or rollout: one byte per weight."""
        return self._cached("look", question, lambda: self._packed_look(question))

    def _packed_look(self, question: Question) -> Answer:
        shown = self.shown(question)
        data, scale, signed = quantised(shown.weights, question.get("which") == "difference")
        plain = all(len(group) == 1 for group in [*shown.rows, *shown.columns])
        same = shown.rows == shown.columns
        rows: Any = [group[0] for group in shown.rows] if plain else shown.rows
        columns: Any = None if same else [group[0] for group in shown.columns] if plain else shown.columns
        size = [len(shown.rows), len(shown.columns)]
        values = {"size": size, "rows": rows, "columns": columns, "scale": scale, "signed": signed}
        if question.get("whole") and self.can_be_whole:
            values |= self._placed(question, shown)
        return Answer(values, [data])

    def _placed(self, question: Question, shown: Shown) -> dict[str, Any]:
        """For a matrix of all frames: its axes, where its rows and columns are on them, and the merged positions of those."""
        axes, parts = self.axes_of(question), self.merged_into(question)
        groups = [shown.rows, shown.columns]
        merged = [
            [[*dict.fromkeys(part[i] for i in group)] for group in one] for one, part in zip(groups, parts, strict=True)
        ]
        fine = {"axes": [for_page(axis, has_picture=False) for axis in axes], "rows": groups[0], "columns": groups[1]}
        return {"rows": merged[0], "columns": merged[1], "fine": fine}

    def row(self, question: Question) -> Answer:
        """The exact sums of some rows and of some columns of a matrix: two float32 vectors."""
        weights = self.shown(question).weights
        rows = indices(question.get("rows"), weights.shape[0])
        columns = indices(question.get("columns"), weights.shape[1])
        return Answer({}, [weights[rows].sum(0).numpy(), weights[:, columns].sum(1).numpy()])

    def atlas(self, question: Question, check: Callable[[], None] = lambda: None) -> Answer:
        """A thumbnail of every head: the largest weight in each of at most 32 x 32 fields, one byte each."""
        return self._cached("atlas", question, lambda: self._packed_atlas(question, check))

    def _packed_atlas(self, question: Question, check: Callable[[], None]) -> Answer:
        differs = question.get("which") == "difference"
        pictures = []
        for number in self.reading.numbers:
            check()
            seen = self._seen(question, lambda source, number=number: source.layer(number).float())  # type: ignore[misc]
            pictures.append(pooled(seen.weights))
        signed = differs or any(bool((small < 0).any()) for small in pictures)
        highs = [np.abs(small).max(axis=(1, 2), keepdims=True) for small in pictures]
        # A thumbnail shows the pattern within its head, so each has its own scale; differences are compared across heads.
        shared = max(float(high.max()) for high in highs)
        parts = []
        for small, high in zip(pictures, highs, strict=True):
            scaled = small / np.maximum(shared if differs else high, 1e-30)
            parts.append((128 + scaled * 127 if signed else scaled * 255).round().astype(np.uint8))
        height, width = pictures[0].shape[1:]
        values = {"size": [height, width], "signed": signed, "heads": [part.shape[0] for part in parts]}
        return Answer(values, [np.concatenate([part.ravel() for part in parts])])

    def maps(self, question: Question, check: Callable[[], None] = lambda: None) -> Answer:
        """Where rows look on a patch grid, in every head of every layer: `(heads, rows, columns)` of the grid, one byte each.

        The question's `rows` are positions; without any, the first position of the axis, such as a class token, is taken, or
        the mean of all.
        """
        return self._cached("maps", question, lambda: self._packed_maps(question, check))

    def _packed_maps(self, question: Question, check: Callable[[], None]) -> Answer:
        differs, layers = question.get("which") == "difference", []
        for number in self.reading.numbers:
            check()
            layers.append(self.layer_maps(question, number))
        signed = differs or any(bool((one < 0).any()) for one in layers)
        highs = [one.abs().amax((1, 2), keepdim=True) for one in layers]
        shared = torch.stack([high.max() for high in highs]).max()  # as in the atlas
        parts = [one / (shared if differs else high).clamp_min(1e-30) for one, high in zip(layers, highs, strict=True)]
        data = torch.cat(parts)
        data = (128 + data * 127 if signed else data * 255).round().to(torch.uint8)
        data = data.flip(1) if self.axes[1].rises else data  # the page paints from top to bottom
        values = {"size": list(data.shape[1:]), "signed": signed, "heads": [len(one) for one in layers]}
        return Answer(values, [data.numpy()])

    def layer_maps(self, question: Question, number: int) -> Tensor:
        """Where the question's rows look, in each head of a layer: `(heads, rows, columns)` of the patch grid.

        Raises:
            InputError: If the attention is not over a patch grid.
        """
        grid = self.axes[1]
        if not isinstance(grid, PatchGrid):
            raise InputError(
                "This attention is not over a picture.", next_step='Choose another view, such as "matrix".'
            )
        seen = self._seen(question, lambda source: source.layer(number).float())
        weights = seen.weights[:, self.rows_of(question, seen.rows)].mean(1)
        start, cells = len(grid.before), grid.rows * grid.columns
        found = torch.zeros(len(weights), cells)
        kept = [(at, group[0] - start) for at, group in enumerate(seen.columns) if 0 <= group[0] - start < cells]
        places = torch.tensor(kept).T
        found[:, places[1]] = weights[:, places[0]]
        return found.view(-1, grid.rows, grid.columns)

    def rows_of(self, question: Question, groups: list[list[int]]) -> list[int]:
        """The groups that contain the question's positions; without any, that of the first position, or all."""
        first = self.axes[0].first
        for chosen in (question.get("rows") or [], [] if first is None else [first]):
            found = [at for at, group in enumerate(groups) if set(group) & set(chosen)]
            if found:
                return found
        return list(range(len(groups)))

    def neurons(self, question: Question) -> Answer:
        """The query and the key of a pair of positions, and their product: three float32 vectors."""
        pair = self.pair(*(int(question.get(name, 0)) for name in ("layer", "head", "row", "column")))
        values = {"score": pair.score, "offset": pair.offset, "weight": pair.weight}
        return Answer(values, [part.contiguous().numpy() for part in (pair.query, pair.key, pair.product)])

    def pair(self, layer: int, head: int, row: int, column: int) -> Pair:
        """How a head weighs one pair of positions.

        Raises:
            InputError: If there are no queries and keys, no such head, or no such position.
        """
        return self._queries_and_keys(layer).pair(head, row, column)

    def _queries_and_keys(self, layer: int) -> QueriesAndKeys:
        with self._guard:
            if layer not in self._vectors:
                found = QueriesAndKeys.of(None if self.source is None else self.source.model, self.reading, layer)
                self._vectors = {layer: found}  # one layer at a time, as they can be large
            return self._vectors[layer]

    def logit_lens(self, first: int) -> Answer:
        """The logit lens at a block of positions from `first` on: the five likeliest next tokens of each layer, exact."""
        lens, spelling = self.lens(), self._spelling()
        first = min(max(0, first), len(lens) - 1)
        ids, chances = lens.top(first, BLOCK)
        read = self.reading.inputs["input_ids"][0, first : first + BLOCK].tolist()
        values = {
            "first": first,
            "count": ids.shape[1],
            "top": ids.shape[2],
            "block": BLOCK,
            "positions": len(lens),
            "layers": list(range(lens.rows - 1)),
            "labels": [[token, *spelling.of(token)] for token in ids.unique().tolist()],
            "read": [list(spelling.of(token)) for token in read],
        }
        return Answer(values, [ids.to(torch.int32).numpy(), chances.contiguous().numpy()])

    # For programs ----------------------------------------------------------------------------------------------------

    def shown(self, question: Question) -> Shown:
        """The matrix that a question is about."""
        number, heads = int(question.get("layer", 0)), [int(head) for head in question.get("heads") or [0]]
        more = [(int(layer), int(head)) for layer, head in question.get("more") or []]
        combine = str(question.get("combine", "mean"))

        def matrix(source: Reading) -> Tensor:
            if question.get("what") != "rollout":
                return source.of(number, heads, combine, more)
            if list(source.numbers) != list(range(len(source.numbers))) or not source.is_square:
                raise InputError(
                    "Rollout needs self-attention of all layers from the first.",
                    next_step="Record all layers of the model.",
                )
            source.layer(number)
            return rollout(source.layers[: number + 1])

        whole = self._whole_reading(question)
        if whole is not None:
            return look(matrix(whole), whole.rows, whole.columns, lens_of(question))
        return self._seen(question, matrix)

    def _whole_reading(self, question: Question) -> Reading | None:
        """The attention of the question's layers with every frame, if it asks for that and frames are merged."""
        if not question.get("whole") or question.get("what") == "rollout" or not self.can_be_whole:
            return None
        layers = frozenset([int(question.get("layer", 0)), *(int(layer) for layer, _ in question.get("more") or [])])
        with self._guard:
            if layers not in self._whole and self.source is not None:
                self._whole = {layers: self.source.read_layers(layers)}  # one at a time, as they are large
            return self._whole[layers]

    def scores(self, which: str) -> Tensor:
        """The scores of all heads, `(heads, scores)`, of "this", the "other", or their "difference"."""
        if which not in self._scores:
            mine = scores_of(self.reading) if which != "other" else None
            other = scores_of(self.other) if which != "this" and self.other is not None else None
            if mine is not None and other is not None:
                mine = mine - other
            found = mine if mine is not None else other
            if found is None:
                raise _nothing_to_compare()
            self._scores[which] = found.contiguous()
        return self._scores[which]

    def score_table(self, which: str) -> Any:
        """The scores as a pandas DataFrame: `layer`, `head`, and the columns that `SCORES` explains."""
        import pandas

        reading, values = self.reading, self.scores(which)
        heads = [
            (number, head)
            for number, count in zip(reading.numbers, reading.heads, strict=True)
            for head in range(count)
        ]
        frame = pandas.DataFrame(heads, columns=["layer", "head"])
        for column, name in enumerate(SCORES):
            frame[name] = values[:, column].numpy().astype(float)
        return frame

    def lens(self) -> LogitLens:
        """The logit lens of the model on what was read.

        Raises:
            InputError: If there is no decoder with a language-modelling head.
        """
        with self._guard:
            if self._lens is None:
                self._lens = LogitLens.of(self.source and self.source.model, self.reading)
            return self._lens

    def lens_table(self, top: int) -> Any:
        """The predictions of each layer, as the pandas DataFrame that `AttentionView.logit_lens` describes."""
        import pandas

        lens, spelling = self.lens(), self._spelling()
        labels = [spelling.of(token)[0] for token in self.reading.inputs["input_ids"][0].tolist()]
        ids, chances = lens.top(0, len(lens), top)
        rows = [
            (row - 1, position, labels[position], place + 1, spelling.of(token)[0], token, chance)
            for row in range(lens.rows)
            for position in range(len(lens))
            for place, (token, chance) in enumerate(
                zip(ids[row, position].tolist(), chances[row, position].tolist(), strict=True)
            )
        ]
        return pandas.DataFrame(
            rows, columns=["layer", "position", "token", "place", "prediction", "id", "probability"]
        )

    def predict(self, heads: Iterable[tuple[int, int]]) -> dict[str, Any]:
        """The prediction with and without some heads, as `predictions` returns it.

        Raises:
            InputError: If there is no model of notebook_kit, or it has no such head.
        """
        reading = self.reading
        if self.source is None or self.source.model is None:
            raise InputError(
                "There is no model behind this attention.",
                next_step="Create the view from a model and a text to switch heads off.",
            )
        if reading.kind == SIMILARITY:
            raise InputError(
                "The comparison of a text with a picture has no heads; the two towers have.",
                next_step='Set view.kind = "text" or "patches", and switch off heads there.',
            )
        model = self.source.model
        if self._untouched is None and has_sites(model):
            self._untouched = predict(model, reading)
        return predictions(model, self.source.tokenizer, reading, heads, before=self._untouched)

    # For a file on disk ----------------------------------------------------------------------------------------------

    def offline_looks(self, current: Question, has_rollout: bool, budget: int) -> Iterator[Question]:
        """Questions for `look` whose answers together take at most `budget` bytes.

        The shown matrix comes first, then each head of the layer, then the shown head with the most common other settings.
        """
        wanted = [current]
        alone = {key: value for key, value in current.items() if key != "more"}
        if has_rollout:
            wanted.append({**alone, "what": "rollout", "heads": [0], "combine": "mean"})
        heads = self.reading.layer(current["layer"]).shape[0]
        wanted += [{**alone, "heads": [head], "combine": "mean"} for head in range(heads)]
        ways = [
            (False, False, False),
            (True, True, False),
            (True, False, False),
            (False, False, True),
            (True, True, True),
        ]
        wanted += [{**current, "hide": hide, "renormalise": share, "merge": merge} for hide, share, merge in ways]
        left = budget
        for place, question in enumerate(wanted):
            if question in wanted[:place]:
                continue
            try:
                rows, columns = self.look(question).values["size"]
            except NotebookKitError:  # for example if all tokens are special
                continue
            if rows * columns > left:
                break
            left -= rows * columns
            yield question

    def offline_lenses(self) -> Iterator[int]:
        """The first positions of the blocks of the logit lens."""
        yield from range(0, min(len(self.lens()), LENS_POSITIONS), BLOCK)

    def offline_pairs(self, layer: int) -> list[tuple[int, int]]:
        """Every pair of tokens, or none where the answers about all pairs of a head of this layer are too large for a file."""
        rows, columns = len(self.reading.rows), len(self.reading.columns)
        try:
            size = 3 * 4 * self._queries_and_keys(layer).queries.shape[-1]  # of the answer about one pair, in bytes
        except InputError:  # such as windowed attention in some of the layers
            return []
        if rows * columns * size > PAIR_BYTES:
            return []
        return [(row, column) for row in range(rows) for column in range(columns)]

    # -----------------------------------------------------------------------------------------------------------------

    def _spelling(self) -> Spelling:
        return Spelling(self.source and self.source.tokenizer)

    def _seen(self, question: Question, matrix: Callable[[Reading], Tensor]) -> Shown:
        """The `matrix` of this reading, of the other one, or their difference, through the question's lens."""
        which, lens = question.get("which", "this"), lens_of(question)
        mine = self.reading
        if which == "this":
            return look(matrix(mine), mine.rows, mine.columns, lens)
        if self.other is None or self._pairings is None:
            raise _nothing_to_compare()
        rows, columns = self._pairings
        other = look(matrix(self.other), self.other.rows, self.other.columns, lens)
        if which == "other":
            return Shown(other.weights, rows.moved(other.rows), columns.moved(other.columns))
        return difference(look(matrix(mine), mine.rows, mine.columns, lens), other, rows, columns)

    def _cached(self, kind: str, question: Question, compute: Callable[[], Answer]) -> Answer:
        key = json.dumps([kind, question], sort_keys=True)
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        answer = compute()
        with self._guard:
            self._kept[key] = answer
            used = sum(np.asarray(buffer).nbytes for kept in self._kept.values() for buffer in kept.buffers)
            while used > CACHE_BYTES and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                used -= sum(np.asarray(buffer).nbytes for buffer in dropped.buffers)
        return answer


def _nothing_to_compare() -> InputError:
    return InputError("There is nothing to compare with.", next_step="Pass a second text, or call view.compare(model).")
