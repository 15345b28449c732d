"""AttentionView: which token attends to which, in every head of a model."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import traitlets
from torch import Tensor

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.inspection.attention.lens import Shown, look
from notebook_kit.inspection.attention.logit_lens import BLOCK, LogitLens
from notebook_kit.inspection.attention.prediction import predict, predictions
from notebook_kit.inspection.attention.reading import Reading, has_sites
from notebook_kit.inspection.attention.rollout import rollout
from notebook_kit.inspection.attention.scores import SCORES, scores_of
from notebook_kit.inspection.attention.source import Source
from notebook_kit.inspection.tokens.spelling import Spelling
from notebook_kit.panels.attention_view import still
from notebook_kit.panels.attention_view.linking import share_selection
from notebook_kit.panels.attention_view.transport import (
    about,
    check_alike,
    indices,
    lens_of,
    names_of,
    pooled,
    quantised,
)
from notebook_kit.panels.panel import Answer, Face, Panel, described, slow

__all__ = ["AttentionView"]

CACHE_BYTES = 64 * 2**20
HTML_BYTES = 6 * 2**20
"""The most that the matrices in a file on disk take, before they are written as base64."""


class AttentionView(Panel):
    """Which token attends to which, in every head: an atlas of all heads, and one of them as lines or as a matrix.

    Args:
        source: A model or pipeline of notebook_kit; a model of `transformers`; what `record_attention` kept; attention as a
            tensor `(layers, heads, from, to)` or a list with one `(heads, from, to)` or `(1, heads, from, to)` a layer; or a
            `TokenInspector` or `GenerationView` whose text is followed.
        text: The text, for a model. (With an inspector, the model may stand here.)
        text_pair: The second text, for a model.
        tokens: Labels of the tokens, for attention that is already there.
        to_tokens: Labels of the tokens attended to, where they are others (cross-attention).
        tokenizer: For a model; a pipeline brings its own.
        model: For an inspector: the model or pipeline that reads its text. (A `GenerationView` brings its own.)
        compare: What to compare with: a second text of as many tokens, a second checkpoint of the same architecture, or
            for bare tensors, tensors of the same shape.
        kind: Which attention, where a model has several: "self", "decoder" or "cross".
        example: Which example of a batch, for a record or tensors.
        **traits: Start values of the traits below.

    Attributes:
        text: Str, "". The text; set it and the model reads it.
        text_pair: Str or None, None. The second text.
        compare_text: Str or None, None. A text of as many tokens to compare with.
        shown: Str, "this". What is shown: "this", "other" (what is compared with) or "difference" (this - other).
        layer: Int, 0. The layer that is shown, by its number.
        head: Int, 0. The head that is shown; the first of `heads`.
        heads: List of int, [0]. The heads that are shown together.
        combine: Str, "mean". How several heads make one matrix: "mean" or "max".
        view: Str, "heads". "heads" (lines), "matrix" or "scores" (a table), with the atlas beside each; or "lens": the logit
            lens of a decoder, see `logit_lens`.
        hide_special: Bool, False. Leave special tokens out.
        renormalise: Bool, False. Then let the other tokens share what went to special ones.
        merge_words: Bool, False. Merge word pieces: sum over "to", mean over "from".
        direction: Str, "all". "all", "a_to_b" or "b_to_a".
        threshold: Float, 0. Weights below are not drawn.
        rollout: Bool, False. Show attention rollout up to this layer beside the raw attention.
        score: Str, "". What colours the atlas: "" for thumbnails, or one of `attention.scores.SCORES`.
        selected: List of int, []. Tokens that are lit, as in a linked `TokenInspector`; the sum of their rows is shown.
        ablated: List of [layer, head], []. Heads that are switched off for the prediction.
        prediction: Dict, {}. The prediction with and without those heads, once it was asked for.

    Raises:
        InputError: If no attention can be had from this.

    Example:
        >>> import torch
        >>> view = AttentionView(torch.eye(3).expand(2, 4, 3, 3), tokens=["a", "b", "c"], layer=1, head=2)
        >>> view.scores()["same"].tolist()[:2], view
        ([1.0, 1.0], AttentionView(2 layers, 8 heads, 3 tokens: layer 1, head 2))
    """

    name: ClassVar[str] = "attention_view"

    text = traitlets.Unicode("").tag(sync=True)
    text_pair = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    compare_text = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    shown = traitlets.Enum(["this", "other", "difference"], "this").tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    heads = traitlets.List(traitlets.Int(min=0), [0], minlen=1).tag(sync=True)
    combine = traitlets.Enum(["mean", "max"], "mean").tag(sync=True)
    view = traitlets.Enum(["heads", "matrix", "scores", "lens"], "heads").tag(sync=True)
    hide_special = traitlets.Bool(False).tag(sync=True)
    renormalise = traitlets.Bool(False).tag(sync=True)
    merge_words = traitlets.Bool(False).tag(sync=True)
    direction = traitlets.Enum(["all", "a_to_b", "b_to_a"], "all").tag(sync=True)
    threshold = traitlets.Float(0.0, min=0.0).tag(sync=True)
    rollout = traitlets.Bool(False).tag(sync=True)
    score = traitlets.Enum(["", *SCORES], "").tag(sync=True)
    selected = traitlets.List(traitlets.Int(min=0), []).tag(sync=True)
    ablated = traitlets.List(traitlets.List(traitlets.Int(min=0), minlen=2, maxlen=2), []).tag(sync=True)
    prediction = traitlets.Dict().tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what is there to see; a new "version" makes what the page keeps stale
    _first = traitlets.Dict().tag(sync=True)  # the answers that the page would ask for at once
    _problem = traitlets.Dict().tag(sync=True)  # an error that no question led to: {what, next_step}
    _offline = traitlets.Dict().tag(sync=True)  # in a file on disk: which matrices are in it

    def __init__(
        self,
        source: Any = None,
        text: Any = None,
        text_pair: str | None = None,
        *,
        tokens: Sequence[Any] | None = None,
        to_tokens: Sequence[Any] | None = None,
        tokenizer: Any = None,
        model: Any = None,
        compare: Any = None,
        kind: str | None = None,
        example: int = 0,
        **traits: Any,
    ) -> None:
        inspector: Any = None
        if isinstance(source, traitlets.HasTraits) and source.has_trait("text") and source.has_trait("selected"):
            inspector, source = source, model
            if not isinstance(text, str | None):
                source, text = text, None
            if source is None and getattr(inspector, "model", None) is not None:  # a GenerationView brings its own
                source = inspector
            text = inspector.text if text is None else text
            text_pair = getattr(inspector, "text_pair", None) if text_pair is None else text_pair
        elif source is None:
            source = model
        self._reading: Reading | None = None
        self._other: Reading | None = None
        self._compared: Any = None
        self._kept: OrderedDict[str, Answer] = OrderedDict()
        self._scores: dict[str, Tensor] = {}
        self._untouched: dict[str, Tensor] | None = None
        self._lens: LogitLens | None = None
        self._guard = threading.RLock()
        self._is_publishing = False
        self._source = (
            None
            if source is None
            else Source(source, tokens=tokens, to_tokens=to_tokens, tokenizer=tokenizer, kind=kind, example=example)
        )
        if isinstance(compare, str):
            traits.setdefault("compare_text", compare)
        elif compare is not None:
            self._compared = Source(
                compare,
                tokens=tokens,
                to_tokens=to_tokens,
                tokenizer=self._source and self._source.tokenizer,
                example=example,
            )
        read = self._read(text, text_pair, traits.get("compare_text"))
        if "head" in traits and "heads" not in traits:
            traits["heads"] = [traits["head"]]
        elif "heads" in traits:
            traits["head"] = next(iter(traits["heads"]))
        if read[0] is not None and "layer" not in traits:
            traits["layer"] = read[0].numbers[0]
        self._has_text = text is not None
        super().__init__(**{**traits, "text": text or "", "text_pair": text_pair})
        if read[0] is not None:
            read[0].of(self.layer, self.heads)  # a layer or head that does not exist is said here
        self._publish(*read)
        self.observe(self._on_text, ["text", "text_pair", "compare_text"])
        self.observe(self._on_head, ["head", "heads"])
        if inspector is not None:
            self.follow(inspector)

    # What is read --------------------------------------------------------------------------------------------------

    def use(self, model_or_pipeline: Any, tokenizer: Any = None) -> None:
        """Read the text with another model from now on.

        Args:
            model_or_pipeline: As `source` of the class.
            tokenizer: For a model; a pipeline brings its own.

        Raises:
            InputError: If no attention can be had from it.
        """
        source = Source(model_or_pipeline, tokenizer=tokenizer)
        before = self._source, self._compared
        self._source, self._compared = source, None
        try:
            read = self._read(self.text if self._has_text or self.text else None, self.text_pair, self.compare_text)
        except NotebookKitError:
            self._source, self._compared = before
            raise
        self._publish(*read)

    def compare(self, other: Any) -> None:
        """Compare with a text of as many tokens, with another checkpoint on this text, or with other tensors.

        Args:
            other: A text, a model or pipeline, attention tensors of the same shape; or None to end comparing.

        Raises:
            InputError: If the two cannot be compared.
        """
        text = other if isinstance(other, str) else None
        before = self._compared
        self._compared = (
            None
            if other is None or text is not None
            else Source(other, tokenizer=self._source and self._source.tokenizer)
        )
        try:
            read = self._read(self.text if self._has_text else None, self.text_pair, text)
        except NotebookKitError:
            self._compared = before
            raise
        self._publish(*read, compare_text=text)

    def follow(self, inspector: traitlets.HasTraits) -> None:
        """Share the text and the selected tokens with a `TokenInspector`, both ways.

        Args:
            inspector: Anything with the traits `text`, `selected` and, if there are, `text_pair` and `row`: of several
                tokenizers side by side, the first is taken to be this model's.
        """
        for name in ("text", "text_pair"):
            if inspector.has_trait(name):
                traitlets.link((inspector, name), (self, name))
        share_selection(self, inspector)

    def _read(
        self, text: str | None, text_pair: str | None, compare_text: str | None
    ) -> tuple[Reading | None, Reading | None]:
        if self._source is None:
            return None, None
        reading = self._source.read(text, text_pair)
        other = None
        if reading is not None and self._compared is not None:
            other = self._compared.read(text, text_pair)
        elif reading is not None and compare_text is not None:
            if not self._source.reads_text:
                raise InputError("There is no model that could read a second text.", next_step="Pass compare=tensors.")
            other = self._source.read(compare_text, text_pair)
        if reading is not None and other is not None:
            check_alike(reading, other)
        return reading, other

    def _publish(self, reading: Reading | None, other: Reading | None, **traits: Any) -> None:
        """Show what was read, in one message."""
        with self._guard:
            self._reading, self._other = reading, other
            self._kept.clear()
            self._scores.clear()
            self._untouched = self._lens = None
            self._is_publishing = True
        try:
            with self.hold_sync():
                for name, value in traits.items():
                    setattr(self, name, value)
                if reading is not None:
                    if self.layer not in reading.numbers:
                        self.layer = reading.numbers[0]
                    most = reading.layer(self.layer).shape[0]
                    self.heads = [head for head in self.heads if head < most] or [0]
                    self.head = self.heads[0]
                    limit = max(len(reading.rows), len(reading.columns))
                    self.selected = [token for token in self.selected if token < limit]
                    self.ablated = [
                        pair
                        for pair in self.ablated
                        if pair[0] in reading.numbers and pair[1] < reading.layer(pair[0]).shape[0]
                    ]
                    if self.direction != "all" and not reading.rows.has_pair:
                        self.direction = "all"
                if other is None:
                    self.shown = "this"
                self.prediction = {}
                self._problem = {}
                self._about = about(
                    int(self._about.get("version", 0)) + 1, self._source, reading, other, self._compared is not None
                )
                self._first = self._answered_at_once()
        finally:
            self._is_publishing = False

    def _answered_at_once(self) -> dict[str, Any]:
        if self._reading is None:
            return {}
        answers = []
        for kind in ("atlas", "look"):
            question = self._question(kind)
            try:
                answer = getattr(self, f"answer_{kind}")(question)
            except NotebookKitError:
                continue  # asked again by the page, it is shown there
            buffers = [np.ascontiguousarray(buffer).tobytes() for buffer in answer.buffers]
            answers.append({"ask": kind, "with": question, "answer": answer.values, "buffers": buffers})
        return {"answers": answers}

    def _on_text(self, change: Any) -> None:
        self._has_text = True
        if self._is_publishing or self._source is None or not self._source.reads_text:
            return
        try:
            self._publish(*self._read(self.text, self.text_pair, self.compare_text))
        except Exception as error:  # whoever set the text, perhaps a linked panel, must not be stopped by it
            self._problem = described(error)

    def _on_head(self, change: Any) -> None:
        if change["name"] == "head" and (not self.heads or self.heads[0] != self.head):
            self.heads = [self.head]
        elif change["name"] == "heads" and self.head != self.heads[0]:
            self.head = self.heads[0]

    # Questions -----------------------------------------------------------------------------------------------------

    def _question(self, kind: str, **changes: Any) -> dict[str, Any]:
        """What the page asks while the traits are as they are; `question` in the page's module says the same."""
        common = {
            "version": self._about.get("version", 0),
            "hide": self.hide_special,
            "renormalise": self.hide_special and self.renormalise,
            "direction": self.direction,
            "which": self.shown,
        }
        if kind == "look":
            common |= {
                "layer": self.layer,
                "heads": list(self.heads),
                "combine": self.combine if len(self.heads) > 1 else "mean",
                "merge": self.merge_words,
                "what": "attention",
            }
        return {**common, **changes}

    @slow
    def answer_read(self, values: dict[str, Any]) -> Answer:
        """Read other texts."""
        texts: dict[str, Any] = {name: values.get(name) for name in ("text", "text_pair", "compare_text")}
        read = self._read(texts["text"] or "", texts["text_pair"], texts["compare_text"])
        self.check_cancelled()
        self._has_text = True
        if not isinstance(values.get("compare_text"), str) and self._compared is None:
            texts["compare_text"] = None
        self._publish(*read, **{**texts, "text": texts["text"] or ""})
        return Answer({"version": self._about["version"]})

    def answer_look(self, values: dict[str, Any]) -> Answer:
        """One head, or several as one, or rollout: a byte a weight."""

        def make() -> Answer:
            shown = self._look(values)
            data, scale, signed = quantised(shown.weights, values.get("which") == "difference")
            largest = [len(shown.rows), len(shown.columns)]
            plain = all(len(group) == 1 for group in [*shown.rows, *shown.columns])
            same = shown.rows == shown.columns
            rows: Any = [group[0] for group in shown.rows] if plain else shown.rows
            columns: Any = None if same else [group[0] for group in shown.columns] if plain else shown.columns
            return Answer({"size": largest, "rows": rows, "columns": columns, "scale": scale, "signed": signed}, [data])

        return self._once("look", values, make)

    def answer_row(self, values: dict[str, Any]) -> Answer:
        """The exact sums of some rows, and of some columns, of what is shown: two float32 vectors."""
        weights = self._look(values).weights
        rows, columns = indices(values.get("rows"), weights.shape[0]), indices(values.get("columns"), weights.shape[1])
        return Answer({}, [weights[rows].sum(0).numpy(), weights[:, columns].sum(1).numpy()])

    def answer_atlas(self, values: dict[str, Any]) -> Answer:
        """A thumbnail of every head: the largest weight in each of at most 32 x 32 fields, a byte each."""

        def make() -> Answer:
            reading, differs = self._must_read(), values.get("which") == "difference"
            pictures = []
            for number in reading.numbers:
                self.check_cancelled()
                seen = self._seen(values, lambda source, number=number: source.layer(number).float())  # type: ignore[misc]
                pictures.append(pooled(seen.weights))
            signed = differs or any(bool((small < 0).any()) for small in pictures)
            highs = [np.abs(small).max(axis=(1, 2), keepdims=True) for small in pictures]
            # A head's own shape is what is looked for; differences are looked for across heads, so they share one scale.
            shared = max(float(high.max()) for high in highs)
            parts = []
            for small, high in zip(pictures, highs, strict=True):
                scaled = small / np.maximum(shared if differs else high, 1e-30)
                parts.append((128 + scaled * 127 if signed else scaled * 255).round().astype(np.uint8))
            height, width = pictures[0].shape[1:]
            return Answer(
                {"size": [height, width], "signed": signed, "heads": [part.shape[0] for part in parts]},
                [np.concatenate([part.ravel() for part in parts])],
            )

        return self._once("atlas", values, make)

    @slow
    def answer_scores(self, values: dict[str, Any]) -> Answer:
        """The scores of all heads, `(heads, scores)` float32."""
        return Answer({"scores": list(SCORES)}, [self._scores_of(str(values.get("which", "this"))).numpy()])

    @slow
    def answer_predict(self, values: dict[str, Any]) -> Answer:
        """The prediction beside the one with heads switched off."""
        return Answer(self.predict([(int(layer), int(head)) for layer, head in values.get("ablated", [])]))

    @slow
    def answer_lens(self, values: dict[str, Any]) -> Answer:
        """The logit lens at some positions from `first` on: the five likeliest next tokens by each layer, exact."""
        lens = self._lens_of()
        first = min(max(0, int(values.get("first", 0))), len(lens) - 1)
        ids, chances = lens.top(first, BLOCK)
        spelling = Spelling(self._source and self._source.tokenizer)
        labels = [[token, *spelling.of(token)] for token in ids.unique().tolist()]
        read = self._must_read().inputs["input_ids"][0, first : first + BLOCK].tolist()
        return Answer(
            {
                "first": first,
                "count": ids.shape[1],
                "top": ids.shape[2],
                "block": BLOCK,
                "positions": len(lens),
                "layers": list(range(lens.rows - 1)),
                "labels": labels,
                "read": [list(spelling.of(token)) for token in read],
            },
            [ids.to(torch.int32).numpy(), chances.contiguous().numpy()],
        )

    def _lens_of(self) -> LogitLens:
        reading = self._must_read()
        with self._guard:
            if self._lens is None:
                self._lens = LogitLens.of(self._source and self._source.model, reading)
            return self._lens

    def logit_lens(self, top: int = 1) -> Any:
        """What each layer would have said next, as a pandas DataFrame.

        Each layer's states go through the model's last norm and its head, as if no layer followed (nostalgebraist, 2020).

        Args:
            top: How many tokens for each layer and position.

        Returns:
            Columns: `layer` (-1 for the embeddings, before the first layer), `position`, `token` (what was read there),
            `place` (1 for the likeliest), `prediction` (the next token), `id` and `probability`.

        Raises:
            InputError: If there is no decoder with a head that says the next token behind this view.
        """
        import pandas

        lens, spelling = self._lens_of(), Spelling(self._source and self._source.tokenizer)
        labels = [spelling.of(token)[0] for token in self._must_read().inputs["input_ids"][0].tolist()]
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

    def predict(self, heads: Iterable[tuple[int, int]] | None = None) -> dict[str, Any]:
        """What the model says of this text with and without some heads; also in the trait `prediction`.

        Args:
            heads: Pairs (layer, head) to switch off; those of `ablated` unless given.

        Returns:
            `kind`, `rows` and `moved`, as `notebook_kit.inspection.attention.prediction.predictions` says.

        Raises:
            InputError: If there is no model of notebook_kit behind this view, or it has no such head.
        """
        reading = self._must_read()
        if self._source is None or self._source.model is None:
            raise InputError(
                "There is no model behind this attention.",
                next_step="Make the view from a model and a text to switch heads off.",
            )
        chosen = [tuple(pair) for pair in self.ablated] if heads is None else list(heads)
        if self._untouched is None and has_sites(self._source.model):
            self._untouched = predict(self._source.model, reading)
        result = predictions(
            self._source.model,
            self._source.tokenizer,
            reading,
            chosen,
            before=self._untouched,
        )
        self.check_cancelled()
        self.prediction = {**result, "heads": [list(pair) for pair in chosen]}
        return self.prediction

    # Behind the questions --------------------------------------------------------------------------------------------

    def _must_read(self) -> Reading:
        if self._reading is None:
            step = "Write a text." if self._source is not None else "Call view.use(model_or_pipeline), or pick a model."
            raise InputError("There is no attention to show yet.", next_step=step)
        return self._reading

    def _seen(self, values: dict[str, Any], matrix: Callable[[Reading], Tensor]) -> Shown:
        """What `matrix` takes from a reading, looked at as the question says: this, the other, or their difference."""
        which, lens = values.get("which", "this"), lens_of(values)
        mine = self._must_read()
        if which == "this":
            return look(matrix(mine), mine.rows, mine.columns, lens)
        if self._other is None:
            raise InputError(
                "There is nothing to compare with.", next_step="Give a second text, or view.compare(model)."
            )
        other = look(matrix(self._other), mine.rows, mine.columns, lens)
        if which == "other":
            return other
        shown = look(matrix(mine), mine.rows, mine.columns, lens)
        return Shown(shown.weights - other.weights, shown.rows, shown.columns)

    def _look(self, values: dict[str, Any]) -> Shown:
        number, heads = int(values.get("layer", 0)), [int(head) for head in values.get("heads") or [0]]
        combine = str(values.get("combine", "mean"))

        def matrix(source: Reading) -> Tensor:
            if values.get("what") != "rollout":
                return source.of(number, heads, combine)
            if list(source.numbers) != list(range(len(source.numbers))) or not source.is_square:
                raise InputError(
                    "Rollout needs self-attention of all layers from the first.",
                    next_step="Record all layers of the model.",
                )
            source.layer(number)
            return rollout(source.layers[: number + 1])

        return self._seen(values, matrix)

    def _once(self, kind: str, values: dict[str, Any], make: Callable[[], Answer]) -> Answer:
        key = json.dumps([kind, values], sort_keys=True)
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        answer = make()
        with self._guard:
            self._kept[key] = answer
            used = sum(np.asarray(buffer).nbytes for kept in self._kept.values() for buffer in kept.buffers)
            while used > CACHE_BYTES and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                used -= sum(np.asarray(buffer).nbytes for buffer in dropped.buffers)
        return answer

    def _scores_of(self, which: str) -> Tensor:
        if which not in self._scores:
            self._must_read()
            mine = scores_of(self._must_read()) if which != "other" else None
            other = scores_of(self._other) if which != "this" and self._other is not None else None
            if mine is not None and other is not None:
                mine = mine - other
            found = mine if mine is not None else other
            if found is None:
                raise InputError(
                    "There is nothing to compare with.", next_step="Give a second text, or view.compare(model)."
                )
            self._scores[which] = found.contiguous()
        return self._scores[which]

    # Results for programs --------------------------------------------------------------------------------------------

    def scores(self) -> Any:
        """The scores of every head as a pandas DataFrame: `layer`, `head`, and the columns that `SCORES` explains.

        They are those of what is `shown`; of a difference, the differences.
        """
        import pandas

        reading, values = self._must_read(), self._scores_of(self.shown)
        heads = [
            (number, head)
            for number, count in zip(reading.numbers, reading.heads, strict=True)
            for head in range(count)
        ]
        frame = pandas.DataFrame(heads, columns=["layer", "head"])
        for column, name in enumerate(SCORES):
            frame[name] = values[:, column].numpy().astype(float)
        return frame

    def matrix(self) -> Any:
        """What is shown as a pandas DataFrame, rows attending to columns."""
        import pandas

        shown, rows, columns = self._now()
        return pandas.DataFrame(shown.weights.numpy(), index=rows, columns=columns)

    def _now(self) -> tuple[Shown, list[str], list[str]]:
        reading = self._must_read()
        shown = self._look(self._question("look"))
        return shown, names_of(reading.rows, shown.rows), names_of(reading.columns, shown.columns)

    def figure(self) -> Any:
        """What is shown as a matplotlib `Figure`: lines in the view "heads", else a heat map. Selection included.

        Raises:
            InputError: If there is no attention yet.
        """
        return still.figure_of(self)

    def face(self) -> Face:
        """The head that is shown as a picture, and its strongest pairs."""
        return still.face_of(self)

    def __repr__(self) -> str:
        reading = self._reading
        if reading is None:
            return "AttentionView()"
        return (
            f"AttentionView({len(reading.layers)} layers, {sum(reading.heads)} heads, {len(reading.rows)} tokens: "
            f"layer {self.layer}, head {', '.join(map(str, self.heads))})"
        )

    # A file that works from disk ---------------------------------------------------------------------------------------

    def to_html(self, path: Any) -> Path:
        """Write the view as one interactive file that works from disk: the atlas, the scores, and the heads of this layer.

        Matrices take at most 6 MiB; the file says which are in it.

        Args:
            path: Where to write.

        Returns:
            The path.
        """
        with self._for_file():
            return super().to_html(path)

    @contextmanager
    def _for_file(self) -> Iterator[None]:
        heads = sorted({question["heads"][0] for kind, question in self.offline_questions() if kind == "look"})
        first = self._first
        try:
            with self.hold_sync():
                self._offline, self._first = {"layer": self.layer, "heads": heads}, {}
            yield
        finally:
            with self.hold_sync():
                self._offline, self._first = {}, first

    def offline_questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The atlas, the scores, what is shown, each head of the layer, then the simplest other ways to look at it."""
        return still.questions_of(self, HTML_BYTES)
