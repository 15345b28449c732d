"""ResultView: what a pipeline answered, to look at."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import traitlets

from notebook_kit.errors import InputError
from notebook_kit.inspection.drawing.letters import printable
from notebook_kit.panels.panel import Answer, Face, Panel, described, slow
from notebook_kit.panels.result_view import still
from notebook_kit.panels.result_view.others import ShownPlain
from notebook_kit.panels.result_view.over_questions import ShownCaptions
from notebook_kit.panels.result_view.over_sounds import RATE, WINDOW, Recorded
from notebook_kit.panels.result_view.reading import modality_of, paired, read
from notebook_kit.panels.result_view.shown import Shown

__all__ = ["ResultView", "show"]

logger = logging.getLogger("notebook_kit")

FIRST_BYTES = 900_000
"""Answers travel with the panel's state up to this size; the page asks for the others."""
SHORT = 12
"""Seconds of a recording whose sound travels with the state."""
KEPT = 4
"""Answers that are kept ready, with their decoded pictures."""
SAVED, SAVED_WINDOWS = 40, 3
"""Answers in a file of `to_html`, and minutes of the sound of each."""


class ResultView(Panel):
    """Shows what a pipeline answered. Created by `pipe.show(input)`, and by `show(result, input)`.

    Scores are bars beside the picture or the text; boxes and masks lie over the picture, and entities and answers are marked
    in the text, with a threshold and switches for the classes; words for gaps can be tried in the text; a summary or a
    translation is beside its source; a recording can be played, with its words at their times; vectors are a heat map. Each word
    of a caption shows where the model looked as it wrote it. For a list of inputs, one is shown at a time.

    With a pipeline that hears, the microphone can be used on pages with https, and on this machine; the recording is added to
    the inputs.

    Args:
        result: What a pipeline returned for one input or for a list of them.
        input: What the pipeline was given: a text, an image in any form that `load_image` takes, a recording in any form that
            `load_audio` takes, `{"question": ..., "context": ...}`, or the list of them. None for scores alone.
        pipeline: The pipeline that answered, if it is known. A result that cannot be drawn is then shown as text.
        **traits: Initial values of the traits below.

    Attributes:
        index (int): Which input is shown, from 0.
        threshold (float): Boxes, segments and entities with a lower score are hidden; initially 0.
        hidden (list of str): Labels that are switched off.
        selected (int or None): Index of the chosen box, segment, span or label in the result that is shown.

    Raises:
        InputError: The result is not in the form of any pipeline, or belongs to an image that was not passed.

    Example:
        >>> from PIL import Image
        >>> from notebook_kit.panels import ResultView
        >>> found = [{"score": 0.97, "label": "cat", "box": {"xmin": 10, "ymin": 20, "xmax": 60, "ymax": 70}}]
        >>> view = ResultView(found, Image.new("RGB", (100, 80)))
        >>> view
        ResultView(1 box: cat 0.970)
        >>> view.threshold = 0.98
        >>> view.visible, view.result == found
        ([], True)
    """

    name = "result_view"

    index = traitlets.Int(0, min=0, help="Which input is shown.").tag(sync=True)
    threshold = traitlets.Float(0.0, min=0.0, max=1.0, help="Things with a lower score are hidden.").tag(sync=True)
    hidden = traitlets.List(traitlets.Unicode(), help="Labels that are switched off.").tag(sync=True)
    selected = traitlets.Int(None, allow_none=True, min=0, help="Index of the chosen thing, or None.").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # {title, count, records}

    def __init__(self, result: Any, input: Any = None, *, pipeline: Any = None, **traits: Any) -> None:
        self._pipeline = pipeline
        self._modality = None if pipeline is None else modality_of(pipeline)
        self._ready: OrderedDict[int, Shown] = OrderedDict()
        self.result, self.input = result, input
        self._pairs: list[tuple[Any, Any]] = []
        if result is None and input is None and self._modality == "sound":  # only the microphone
            super().__init__(**traits)
            self._describe()
            return
        try:
            self._pairs = paired(result, input)
            self._ready[0] = self._read(*self._pairs[0])
        except Exception as error:
            if pipeline is None:
                raise
            logger.debug("A result that cannot be drawn", exc_info=True)
            self._pairs = self._pairs or [(result, input)]
            self._ready[0] = ShownPlain(self._pairs[0][0], described(error))
        super().__init__(**traits)
        self._describe()
        self._first = self._answers_with_the_state()

    def _describe(self) -> None:
        title, records = getattr(self._pipeline, "task", ""), self._modality == "sound"
        self._about = {"title": title, "count": len(self._pairs), "records": records}

    def _answers_with_the_state(self) -> dict[str, Any]:
        """The answers for the page, from the one that is shown on, as many as there is room for."""
        answers: list[dict[str, Any]] = []
        size = 0
        for index in range(self.index, len(self._pairs)):
            found = self.answers_to(self._questions(index)).get("answers", [])
            size += sum(len(buffer) for one in found for buffer in one["buffers"]) + 300 * len(self.shown(index).things)
            if answers and size > FIRST_BYTES:
                break
            answers += found
        return {"answers": answers} if answers else {}

    def _questions(self, index: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the page asks about an answer; the sound only if it is short, and the attention only of the one that is shown."""
        yield "item", {"index": index}
        shown = self.shown(index)
        if isinstance(shown, ShownCaptions) and shown.has_origins and index == self.index:
            yield "origins", {"index": index}
        if isinstance(shown, Recorded) and shown.duration <= SHORT:
            yield "sound", {"index": index, "window": 0}

    @traitlets.validate("index")
    def _valid_index(self, proposal: Any) -> int:
        if proposal.value >= max(1, len(self._pairs)):
            raise InputError(
                f"There is no result {proposal.value}: the view has {len(self._pairs)}.",
                next_step="Indices start at 0.",
            )
        return proposal.value

    @traitlets.observe("index")
    def _on_index(self, _: Any) -> None:
        self.selected = None

    def shown(self, index: int | None = None) -> Shown:
        """The answer to an input, read for drawing; by default, the one that is shown."""
        index = self.index if index is None else index
        if index not in self._ready:
            result, input = self._pairs[index]
            try:
                self._ready[index] = self._read(result, input)
            except Exception as error:  # it may be an image that is no longer there; the others can still be looked at
                logger.debug("A result that cannot be drawn", exc_info=True)
                self._ready[index] = ShownPlain(result, described(error))
            while len(self._ready) > KEPT:
                self._ready.popitem(last=False)
        return self._ready[index]

    def _read(self, result: Any, input: Any) -> Shown:
        shown = read(result, input, self._modality)
        shown.pipeline = self._pipeline
        return shown

    @property
    def visible(self) -> list[Any]:
        """The boxes, segments or entities that are shown: above the threshold, and with a label that is not switched off."""
        if not self._pairs:
            return []
        shown = self.shown()
        result = self._pairs[self.index][0]
        listed = [result] if isinstance(result, dict) else result
        if not shown.can_narrow:
            return listed
        return [
            one
            for one, thing in zip(listed, shown.things, strict=True)
            if (thing["score"] is None or thing["score"] >= self.threshold) and thing["label"] not in self.hidden
        ]

    # Answers to the page

    def answer_item(self, values: dict[str, Any]) -> Answer:
        """The answer to the input number `index`, for drawing."""
        return self.shown(self._number(values)).answer()

    def answer_sound(self, values: dict[str, Any]) -> Answer:
        """A minute of the recording number `index`: its `window`, from 0."""
        shown = self.shown(self._number(values))
        if not isinstance(shown, Recorded):
            raise InputError("This result has no sound.", next_step="Choose another input.")
        return shown.sound(int(values["window"]))

    def answer_origins(self, values: dict[str, Any]) -> Answer:
        """Where the model looked as it wrote each word of the captions number `index`."""
        shown = self.shown(self._number(values))
        if not isinstance(shown, ShownCaptions) or not shown.has_origins:
            raise InputError("This result has no words with attention to a picture.", next_step="Choose another input.")
        return shown.origins_answer()

    @slow
    def answer_record(self, values: dict[str, Any], buffers: list[Any]) -> Answer:
        """Run the pipeline on a recording of the page, 16-bit samples at 16 kHz, and show what it answers."""
        samples = np.frombuffer(buffers[0], "<i2").astype(np.float32) / 32768
        recording = {"array": samples, "sampling_rate": RATE}
        result = self._pipeline(dict(recording))
        with self._publishing():
            self._pairs.append((result, recording))
            self.result, self.input = result, recording
            self._describe()
            self.index = len(self._pairs) - 1
            self._first = self._answers_with_the_state()
        return Answer()

    def _number(self, values: dict[str, Any]) -> int:
        return min(max(0, int(values["index"])), len(self._pairs) - 1)

    # Without a kernel

    def offline_questions(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """The first 40 answers, and the one that is shown."""
        for index in sorted({self.index, *range(SAVED)} & {*range(len(self._pairs))}):
            yield "item", {"index": index}
            shown = self.shown(index)
            if isinstance(shown, ShownCaptions) and shown.has_origins:
                yield "origins", {"index": index}
            if isinstance(shown, Recorded):
                for window in range(min(SAVED_WINDOWS, int(shown.duration // WINDOW) + 1)):
                    yield "sound", {"index": index, "window": window}

    def face(self) -> Face:
        """The answer that is shown as a picture and a table."""
        if not self._pairs:
            return Face(self._about["title"], note=self.word("record_first"))
        count = len(self._pairs)
        place = "" if count == 1 else f" ({self.word('place', number=self.index + 1, count=count)})"
        return still.face_of(self.shown(), (self._about["title"] or self.word("title")) + place, self.word)

    def figure(self) -> Any:
        """The answer that is shown as a matplotlib `Figure`.

        Raises:
            InputError: For answers that are texts.
        """
        figure = self.shown().figure() if self._pairs else None
        if figure is None:
            what = self.shown().kind if self._pairs else "what is not recorded yet"
            raise InputError(f"There is no figure of {what}.", next_step="Use to_html for a page.")
        return figure

    def __repr__(self) -> str:
        count = len(self._pairs)
        if count == 1:
            return f"ResultView({printable(self.shown().brief())})"
        return f"ResultView({f'{count} results' if count else 'a microphone'})"


def show(result: Any, input: Any = None) -> ResultView:
    """Show what a pipeline answered.

    `pipe.show(input)` does both: it runs the pipeline and shows what it answers.

    Args:
        result: What a pipeline returned, for one input or for a list of them.
        input: What the pipeline was given: an image in any form that `load_image` takes, a text, or the list of them; None
            for scores alone.

    Returns:
        A `ResultView`, which a notebook displays; `to_html` writes it to a file, and `figure()` draws it with matplotlib.

    Raises:
        InputError: If the result is not in the form of any pipeline, or belongs to an image that was not passed.

    Example:
        >>> from notebook_kit.panels import show
        >>> show([{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}])
        ResultView(2 scores: cat 0.900, dog 0.100)
    """
    return ResultView(result, input)
