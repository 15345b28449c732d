"""AttentionView: which token attends to which, in every head of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from notebook_kit.errors import InputError, NotebookKitError, a_kind
from notebook_kit.inspection.attention.axes import PatchGrid
from notebook_kit.inspection.attention.reading import Reading
from notebook_kit.inspection.attention.samples import Sample
from notebook_kit.inspection.attention.scores import SCORES, clearest
from notebook_kit.inspection.attention.similarity import SIMILARITY
from notebook_kit.inspection.attention.source import AttentionSource, AttentionSources, takes_content
from notebook_kit.panels.attention_view.answers import HTML_BYTES, Answers, Question
from notebook_kit.panels.attention_view.arguments import head_pairs, placed
from notebook_kit.panels.attention_view.facts import about, summary
from notebook_kit.panels.attention_view.linking import has_text, share_selection
from notebook_kit.panels.attention_view.still import LensScene, MapsScene, Scene, title_of
from notebook_kit.panels.panel import Answer, Face, Panel, described, slow

__all__ = ["AttentionView"]


class AttentionView(Panel):
    """Which token attends to which, in every head: an atlas of all heads, and one of them as lines or as a matrix.

    Args:
        source: A model or pipeline of notebook_kit; a model of `transformers`; what `record_attention` kept; attention as a
            tensor `(layers, heads, from, to)` or a list with one `(heads, from, to)` or `(1, heads, from, to)` per layer; or a
            `TokenInspector` or `GenerationView`, to follow its text.
        *texts: The text and the second text, by position.
        text: The text, for a model. For a model that reads pictures or sound, an image in any form that `load_image` takes (a
            PIL image, a path, an address), a recording in any form that `load_audio` takes (a path, a dictionary of samples and
            their rate), or what a processor returns for one. Or a `Sample` of any modality. (With an inspector, the model may
            be passed here.)
        text_pair: The second text, for a model; the question about an image, or the text that CLIP compares it with.
        tokens: Labels of the tokens, for a record or tensors.
        to_tokens: Labels of the tokens attended to, if they differ (cross-attention).
        tokenizer: For a model; a pipeline has one.
        processor, image_processor: For a model that reads pictures or sound and was not loaded by name: its image processor,
            its feature extractor, or a processor that has one; a pipeline has one.
        model: For an inspector: the model or pipeline that reads its text. (A `GenerationView` has one.)
        compare: What to compare with: a second text, image or recording, a second sample of the same size, a second checkpoint of the
            same architecture, or for bare tensors, tensors of the same shape. The view then shows the difference.
        example: Which example of a batch, for a record or tensors.
        **traits: Initial values of the traits below.

    Attributes:
        text: Str, "". The text; when you set it, the model reads it.
        text_pair: Str or None, None. The second text.
        compare_text: Str or None, None. A text to compare with; tokens that only one of the texts has count 0 in the other.
        kind: Str. The kind of attention: "self", "decoder" or "cross"; for a model whose kind attends over several axes, as in
            the stages of Swin, the name of the axis, such as "patches 2x2". By default, where the queries of a detector or the
            words about a picture or a recording look, else the first that is not too large. For a model that compares texts with
            images, such as CLIP: "similarity", which words and which places it comes from (the default, unless the model is large),
            "text" and "patches", the two towers.
        shown: Str, "this". Which attention is shown: "this", "other" (the one compared with) or "difference" (this - other),
            which is shown once there is something to compare.
        layer: Int. The number of the layer that is shown; with `head`, initially the clearest head, see `clearest` in
            `notebook_kit.inspection.attention.scores`.
        head: Int. The head that is shown; the first of `heads`.
        heads: List of int. The heads of that layer that are shown together.
        more: List of [layer, head], []. Heads of other layers that are shown together with them.
        combine: Str, "mean". How several heads are combined: "mean" or "max".
        view: Str, "heads". "heads" (lines, or colours over a picture), "matrix", "maps" (all heads of the layer over a picture)
            or "scores" (a table), each beside the atlas; or "lens": the logit lens of a decoder, see `logit_lens`.
        hide_special: Bool, False. Hide special tokens.
        renormalise: Bool, False. With `hide_special`, scale each row so that its sum stays the same.
        merge_words: Bool, False. Merge word pieces: sum over "to", mean over "from".
        whole: Bool, False. Show every frame of a long recording, whose frames are otherwise merged to at most 400 x 400 weights
            per head; the shown layer is then read again.
        direction: Str, "all". "all", "a_to_b" or "b_to_a".
        threshold: Float, 0. Weights below it are not drawn.
        rollout: Bool, False. Show attention rollout up to this layer beside the raw attention.
        score: Str, "". The contents of the atlas: "" for thumbnails (over a picture: where the selected patches, or the class
            token, look), "matrices" for thumbnails of the matrices in any case, or one of `attention.scores.SCORES` as colours.
        selected: List of int, []. The selected tokens, shared with a linked `TokenInspector`; the sum of their rows is shown.
        ablated: List of [layer, head], []. The heads that are switched off for the prediction.
        prediction: Dict, {}. The prediction with and without those heads, once requested.

    Raises:
        InputError: If attention cannot be read from these arguments.

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
    kind = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    shown = traitlets.Enum(["this", "other", "difference"], "this").tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    heads = traitlets.List(traitlets.Int(min=0), [0], minlen=1).tag(sync=True)
    more = traitlets.List(traitlets.List(traitlets.Int(min=0), minlen=2, maxlen=2), []).tag(sync=True)
    combine = traitlets.Enum(["mean", "max"], "mean").tag(sync=True)
    view = traitlets.Enum(["heads", "matrix", "maps", "scores", "lens"], "heads").tag(sync=True)
    hide_special = traitlets.Bool(False).tag(sync=True)
    renormalise = traitlets.Bool(False).tag(sync=True)
    merge_words = traitlets.Bool(False).tag(sync=True)
    whole = traitlets.Bool(False).tag(sync=True)
    direction = traitlets.Enum(["all", "a_to_b", "b_to_a"], "all").tag(sync=True)
    threshold = traitlets.Float(0.0, min=0.0).tag(sync=True)
    rollout = traitlets.Bool(False).tag(sync=True)
    score = traitlets.Enum(["", "matrices", *SCORES], "").tag(sync=True)
    selected = traitlets.List(traitlets.Int(min=0), []).tag(sync=True)
    ablated = traitlets.List(traitlets.List(traitlets.Int(min=0), minlen=2, maxlen=2), []).tag(sync=True)
    prediction = traitlets.Dict().tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # facts about the reading; a new "version" invalidates the page's cache
    _problem = traitlets.Dict().tag(sync=True)  # an error that does not answer a question: {what, next_step}
    _offline = traitlets.Dict().tag(sync=True)  # in a file on disk: which matrices it contains

    def __init__(
        self,
        source: Any = None,
        *texts: Any,
        text: Any = None,
        text_pair: str | None = None,
        tokens: Sequence[Any] | None = None,
        to_tokens: Sequence[Any] | None = None,
        tokenizer: Any = None,
        processor: Any = None,
        image_processor: Any = None,
        model: Any = None,
        compare: Any = None,
        kind: str | None = None,
        example: int = 0,
        **traits: Any,
    ) -> None:
        text, text_pair = placed(texts, text, text_pair)
        inspector: Any = None
        if has_text(source):
            inspector, source = source, model
            if not isinstance(text, str | None):
                source, text = text, None
            if source is None and getattr(inspector, "model", None) is not None:  # a GenerationView has a model
                source = inspector
            text = inspector.text if text is None else text
            text_pair = getattr(inspector, "text_pair", None) if text_pair is None else text_pair
        elif source is None:
            source = model
        takes_it = source is not None and (takes_content(source) or isinstance(text, Mapping))
        if takes_it and isinstance(text_pair, str) and not isinstance(text, Sample):
            text, text_pair = {"image": text, "question": text_pair}, None
        sample, text = (text, None) if isinstance(text, Sample) or takes_it else (None, text)
        self._answers = Answers()
        self._sources = AttentionSources()
        labels: dict[str, Any] = {"tokens": tokens, "to_tokens": to_tokens, "example": example}
        if source is not None:
            self._sources = AttentionSources(
                AttentionSource(
                    source,
                    tokenizer=tokenizer,
                    sample=sample,
                    processor=image_processor if processor is None else processor,
                    kind=kind,
                    **labels,
                )
            )
        if isinstance(compare, str) and not takes_it:
            traits.setdefault("compare_text", compare)
        elif compare is not None:
            self._sources = self._sources.comparing(compare, **labels)
        read = self._sources.read(text, text_pair, traits.get("compare_text"))
        if "head" in traits and "heads" not in traits:
            traits["heads"] = [traits["head"]]
        elif isinstance(traits.get("heads"), list | tuple | range) and len(traits["heads"]):
            traits["heads"] = list(traits["heads"])
            traits["head"] = traits["heads"][0]
        self._chooses = not traits.keys() & {"head", "heads"}  # until the first reading
        self._layers = [traits["layer"]] if "layer" in traits else None  # to choose from
        if read[0] is not None and "layer" not in traits:
            traits["layer"] = read[0].numbers[0]
        self._differs = "shown" not in traits
        self._has_text = text is not None
        super().__init__(**{**traits, "text": text or "", "text_pair": text_pair})
        if read[0] is not None:
            read[0].of(
                self.layer, self.heads, more=head_pairs(self.more)
            )  # raises if the layer or a head does not exist
        self._publish(*read)
        if self.view == "lens" and read[0] is not None:
            self._answers.lens()  # raises if the model is not a decoder
        self.observe(self._on_text, ["text", "text_pair", "compare_text"])
        self.observe(self._on_head, ["head", "heads"])
        self.observe(self._on_kind, "kind")
        if inspector is not None:
            self.follow(inspector)

    # What is read --------------------------------------------------------------------------------------------------

    def use(self, model_or_pipeline: Any, tokenizer: Any = None) -> None:
        """Switch to another model, which reads the text.

        Args:
            model_or_pipeline: As `source` of the class.
            tokenizer: For a model; a pipeline has one.

        Raises:
            InputError: If attention cannot be read from it.
        """
        sources = self._sources.using(model_or_pipeline, tokenizer)
        read = sources.read(self.text if self._has_text or self.text else None, self.text_pair, self.compare_text)
        self._sources, self._chooses, self._layers = sources, True, None
        self._publish(*read)

    def compare(self, other: Any) -> None:
        """Compare with another text, with another checkpoint on this text, or with other tensors, and show the difference.

        Args:
            other: A text, an image, a sample, a model or pipeline, or attention tensors of the same shape; None to stop
                comparing.

        Raises:
            InputError: If the two cannot be compared.
        """
        sources = self._sources.comparing(other)
        text = other if isinstance(other, str) and sources.compared is None else None
        read = sources.read(self.text if self._has_text else None, self.text_pair, text)
        self._sources = sources
        self._publish(*read, compare_text=text)

    def follow(self, inspector: traitlets.HasTraits) -> None:
        """Share the text and the selected tokens with a `TokenInspector`, both ways.

        Args:
            inspector: Anything with the traits `text` and `selected`, and optionally `text_pair` and `row`: of several
                tokenizers side by side, the first is assumed to be this model's.

        Raises:
            InputError: If it is not such a panel.
        """
        if not has_text(inspector):
            raise InputError(
                f"{a_kind(inspector, starts=True)} has no text and no selected tokens to follow.",
                next_step="Pass a TokenInspector or a GenerationView.",
            )
        for name in ("text", "text_pair"):
            if inspector.has_trait(name):
                traitlets.link((inspector, name), (self, name))
        share_selection(self, inspector)

    def _publish(self, reading: Reading | None, other: Reading | None, **traits: Any) -> None:
        """Set the traits to those of a new reading."""
        compared_before = bool(self._about.get("compares"))
        self._answers = Answers(self._sources.source, reading, other)
        with self._publishing():
            for name, value in traits.items():
                setattr(self, name, value)
            if reading is not None:
                self._fit_to(reading)
            if other is None:
                self.shown = "this"
            elif not compared_before and self._differs:
                self.shown = "difference"
            self._differs = True
            self.prediction = {}
            self._problem = {}
            self._about = about(int(self._about.get("version", 0)) + 1, self._sources, self._answers)
            self._first = {} if reading is None else self.answers_to(self._first_questions())

    def _first_questions(self) -> Iterator[tuple[str, Question]]:
        """What the page asks first: the atlas, the head that is shown, and the exact weights of the rows that colour it."""
        yield self._atlas_question()
        look = self._question("look")
        yield "look", look
        with suppress(NotebookKitError):  # as if all tokens are special and hidden; the page asks again, and shows it
            if self.view == "heads" and (rows := self._scene().coloured):
                yield "row", {**look, "rows": rows, "columns": []}

    def _fit_to(self, reading: Reading) -> None:
        """Choose a head, if nobody has; drop layers, heads and tokens that do not exist in a reading from the traits."""
        self.kind = reading.part or reading.kind
        if reading.kind == SIMILARITY and self.view in ("maps", "scores"):  # views of heads
            self.view = "heads"
        if self._chooses:
            layers = [number for number in reading.numbers if number in (self._layers or reading.numbers)]
            self.layer, self.head = clearest(reading, layers or None, getattr(self._sources.source, "model", None))
            self.heads, self.more, self._chooses = [self.head], [], False
        if self.layer not in reading.numbers:
            self.layer = reading.numbers[0]
        counts = dict(zip(reading.numbers, reading.heads, strict=True))
        self.heads = [head for head in self.heads if head < counts[self.layer]] or [0]
        self.head = self.heads[0]
        self.more = [pair for pair in self.more if pair[1] < counts.get(pair[0], 0) and pair[0] != self.layer]
        limit = max(map(len, self._answers.axes))
        self.selected = [token for token in self.selected if token < limit]
        self.ablated = [pair for pair in self.ablated if pair[1] < counts.get(pair[0], 0)]
        if self.direction != "all" and not reading.rows.has_pair:
            self.direction = "all"

    def _on_text(self, change: Any) -> None:
        self._has_text = True
        source = self._sources.source
        if self._is_publishing or source is None or not source.reads_text:
            return
        try:
            self._publish(*self._sources.read(self.text, self.text_pair, self.compare_text))
        except Exception as error:  # must not reach the code that set the text, perhaps a linked panel
            self._problem = described(error)

    def _on_head(self, change: Any) -> None:
        if change["name"] == "head" and (not self.heads or self.heads[0] != self.head):
            self.heads = [self.head]
        elif change["name"] == "heads" and self.head != self.heads[0]:
            self.head = self.heads[0]

    def _on_kind(self, change: Any) -> None:
        if self._is_publishing or self._sources.source is None:
            return
        try:
            self._read_kind(change["new"])
        except Exception as error:  # as in `_on_text`
            self._problem = described(error)

    def _read_kind(self, kind: str | None) -> None:
        """Read another kind of attention; its heads and positions have nothing to do with those selected before."""
        sources = self._sources.of_kind(kind)
        read = sources.read(self.text if self._has_text else None, self.text_pair, self.compare_text)
        self.check_cancelled()
        self._sources, self._chooses, self._layers = sources, True, None
        self._publish(*read, selected=[], ablated=[])

    # Questions -----------------------------------------------------------------------------------------------------

    def _atlas_question(self) -> tuple[str, Question]:
        """The page's question for the atlas: maps over a picture, else matrices."""
        if self._about.get("has_maps") and self.score != "matrices":
            return "maps", self._question("maps", rows=list(self.selected))
        return "atlas", self._question("atlas")

    def _question(self, kind: str, **changes: Any) -> Question:
        """The page's question for the current traits; `questions.js` builds the same one."""
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
                "combine": self.combine if len(self.heads) + len(self.more) > 1 else "mean",
                "merge": self.merge_words,
                "what": "attention",
            }
            if self.more:
                common["more"] = [list(pair) for pair in self.more]
            if self.whole and self._about.get("is_pooled"):
                common["whole"] = True
        return {**common, **changes}

    @slow
    def answer_read(self, values: dict[str, Any]) -> Answer:
        """Read other texts."""
        texts: dict[str, Any] = {name: values.get(name) for name in ("text", "text_pair", "compare_text")}
        read = self._sources.read(texts["text"] or "", texts["text_pair"], texts["compare_text"])
        self.check_cancelled()
        self._has_text = True
        if not isinstance(values.get("compare_text"), str) and self._sources.compared is None:
            texts["compare_text"] = None
        self._publish(*read, **{**texts, "text": texts["text"] or ""})
        return Answer({"version": self._about["version"]})

    @slow
    def answer_kind(self, values: dict[str, Any]) -> Answer:
        """Read another kind of attention."""
        self._read_kind(str(values["kind"]))
        return Answer({"version": self._about["version"]})

    def answer_look(self, values: Question) -> Answer:
        """One head, several heads combined, or rollout: one byte per weight."""
        return self._answers.look(values)

    def answer_row(self, values: Question) -> Answer:
        """The exact sums of some rows and of some columns of the shown matrix: two float32 vectors."""
        return self._answers.row(values)

    def answer_atlas(self, values: Question) -> Answer:
        """A thumbnail of every head: the largest weight in each of at most 32 x 32 fields, one byte each."""
        return self._answers.atlas(values, self.check_cancelled)

    def answer_maps(self, values: Question) -> Answer:
        """Where some rows, or by default the class token, look on the picture, in every head: one byte per patch."""
        return self._answers.maps(values, self.check_cancelled)

    @slow
    def answer_scores(self, values: Question) -> Answer:
        """The scores of all heads, `(heads, scores)` float32."""
        return Answer({"scores": list(SCORES)}, [self._answers.scores(str(values.get("which", "this"))).numpy()])

    @slow
    def answer_predict(self, values: Question) -> Answer:
        """The prediction with and without some heads."""
        return Answer(self.predict([(int(layer), int(head)) for layer, head in values.get("ablated", [])]))

    @slow
    def answer_lens(self, values: Question) -> Answer:
        """The logit lens at a block of positions from `first` on: the five likeliest next tokens of each layer, exact."""
        return self._answers.logit_lens(int(values.get("first", 0)))

    @slow
    def answer_neurons(self, values: Question) -> Answer:
        """The query and the key of a pair of tokens, and their product: three float32 vectors; the score and the weight."""
        return self._answers.neurons(values)

    # Results for programs --------------------------------------------------------------------------------------------

    def predict(self, heads: Iterable[tuple[int, int]] | None = None) -> dict[str, Any]:
        """The model's prediction for this input with and without some heads; also sets the trait `prediction`.

        Args:
            heads: Pairs (layer, head) to switch off; those of `ablated` by default.

        Returns:
            `kind`, `rows` and `moved`, as `notebook_kit.inspection.attention.prediction.predictions` returns them.

        Raises:
            InputError: If there is no model of notebook_kit behind this view, or it has no such head.
        """
        chosen = head_pairs(self.ablated if heads is None else heads)
        result = self._answers.predict(chosen)
        self.check_cancelled()
        self.prediction = {**result, "heads": [list(pair) for pair in chosen]}
        return self.prediction

    def logit_lens(self, top: int = 1) -> Any:
        """The next token that each layer would predict, as a pandas DataFrame.

        The states of each layer pass through the model's final norm and head, as if it were the last (nostalgebraist, 2020).

        Args:
            top: The number of tokens per layer and position.

        Returns:
            Columns: `layer` (-1 for the embeddings, before the first layer), `position`, `token` (the token read there),
            `place` (1 for the likeliest), `prediction` (the next token), `id` and `probability`.

        Raises:
            InputError: If there is no decoder with a language-modelling head behind this view, or `top` is not positive.
        """
        if not isinstance(top, Integral) or top < 1:
            raise InputError(f"top={top!r} is not a number of tokens.", next_step="Pass 1 or more.")
        return self._answers.lens_table(top)

    def queries_and_keys(self, row: int, column: int) -> Any:
        """How the shown head arrives at the weight of one token on another, as a pandas DataFrame.

        Args:
            row: The position that looks.
            column: The position that is looked at.

        Returns:
            One row per dimension of the head, with the columns `query`, `key` and `product` (scaled). The sum of `product` is
            the score before the softmax, unless the model adds a bias.

        Raises:
            InputError: If there is no model of notebook_kit behind this view, or no such position.
        """
        import pandas

        pair = self._answers.pair(self.layer, self.head, row, column)
        return pandas.DataFrame({"query": pair.query.numpy(), "key": pair.key.numpy(), "product": pair.product.numpy()})

    def scores(self) -> Any:
        """The scores of every head as a pandas DataFrame: `layer`, `head`, and the columns that `SCORES` explains.

        They are the scores of the attention that is `shown`; for "difference", the differences of the scores.
        """
        return self._answers.score_table(self.shown)

    def matrix(self) -> Any:
        """The matrix that is shown as a pandas DataFrame, rows attending to columns."""
        import pandas

        scene = self._scene()
        return pandas.DataFrame(scene.shown.weights.numpy(), index=scene.row_labels, columns=scene.column_labels)

    def figure(self) -> Any:
        """The current view as a matplotlib `Figure`: lines or a picture in the view "heads", else a heat map.

        Raises:
            InputError: If there is no attention yet.
        """
        return self._drawn().figure()

    def face(self) -> Face:
        """The head that is shown as a picture, and its strongest pairs."""
        if self._answers.is_empty:
            return Face("AttentionView", note=self.words["empty"])
        return self._drawn().face()

    def _drawn(self) -> Scene | LensScene | MapsScene:
        name = self._about.get("name", "")
        if self._shows_lens:
            return LensScene(name, self.words, self.logit_lens())
        grid = self._answers.axes[1]
        if self.view == "maps" and isinstance(grid, PatchGrid) and self._about["has_maps"]:
            question = self._question("maps", rows=list(self.selected))
            maps = self._answers.layer_maps(question, self.layer).numpy()
            signed = self.shown == "difference" or bool((maps < 0).any())
            return MapsScene(name, self.words, maps, self.layer, self._scene().origin, grid, signed)
        return self._scene()

    @property
    def _similarity(self) -> float | None:
        """The similarity of a text and a picture, if that is what is shown."""
        found = self._about.get("similarity")
        return found and found[0]

    @property
    def _shows_lens(self) -> bool:
        return self.view == "lens" and bool(self._about.get("can_lens"))

    def _scene(self) -> Scene:
        question, words = self._question("look"), self.words
        shown, (rows, columns) = self._answers.shown(question), self._answers.axes_of(question)
        chosen = set(self.selected)
        return Scene(
            name=self._about.get("name", ""),
            title=title_of(question, words, self._similarity),
            words=words,
            shown=shown,
            rows=rows,
            columns=columns,
            other_labels=self._answers.other_labels if self.shown != "this" else None,
            which=self.shown,
            selected=[i for i, part in enumerate(self._answers.merged_into(question)[0]) if part in chosen],
            threshold=self.threshold,
            as_lines=self.view == "heads",
        )

    def __repr__(self) -> str:
        if self._answers.is_empty:
            return "AttentionView()"
        return f"AttentionView({summary(self._answers.reading, self.layer, self.heads)})"

    # A file that works offline -----------------------------------------------------------------------------------------

    def to_html(self, path: Any) -> Path:
        """Write the view as one interactive HTML file that works offline: the atlas, the scores, and the heads of this layer.

        Matrices take at most 6 MiB; the page lists those that are included.

        Args:
            path: The file to write.

        Returns:
            The path.
        """
        heads = sorted({question["heads"][0] for kind, question in self.offline_questions() if kind == "look"})
        try:
            self._offline = {"layer": self.layer, "heads": heads, "pairs": self.head if self._pairs_in_file() else None}
            return super().to_html(path)
        finally:
            self._offline = {}

    def _pairs_in_file(self) -> list[tuple[int, int]]:
        """The pairs of tokens whose queries and keys a file on disk contains: those of the shown head, for a short text."""
        if not self._about.get("can_vectors") or self.more or len(self.heads) > 1 or self.shown != "this":
            return []
        return self._answers.offline_pairs(self.layer)

    def offline_questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The questions for the atlas, the scores, the shown matrix, each head of the layer, and other settings for it."""
        if self._answers.is_empty:
            return
        version = self._about["version"]
        yield self._atlas_question()
        if self._similarity is None:
            yield "scores", {"version": version, "which": self.shown}
        has_rollout = self.rollout and bool(self._about.get("has_rollout"))
        for question in self._answers.offline_looks(self._question("look"), has_rollout, HTML_BYTES):
            yield "look", question
        if self._shows_lens:
            for first in self._answers.offline_lenses():
                yield "lens", {"version": version, "first": first}
        for row, column in self._pairs_in_file():
            place = {"layer": self.layer, "head": self.head, "row": row, "column": column}
            yield "neurons", {"version": version, **place}
        if self.prediction:
            yield "predict", {"version": version, "ablated": self.prediction["heads"]}
