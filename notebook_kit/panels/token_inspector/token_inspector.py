"""TokenInspector: how tokenizers split a text, stage by stage and token by token."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any

import traitlets

from notebook_kit.errors import HubError, InputError
from notebook_kit.inspection.drawing.letters import clean
from notebook_kit.inspection.tokens.analysis import Analysis
from notebook_kit.inspection.tokens.backend import Backend
from notebook_kit.inspection.tokens.compare import Comparison, compare
from notebook_kit.inspection.tokens.story import story
from notebook_kit.panels.panel import Answer, Face, Panel, slow
from notebook_kit.panels.token_inspector import still
from notebook_kit.panels.token_inspector.blocks import BLOCK, block_count, block_of, differing, regions_of, suggested
from notebook_kit.panels.token_inspector.still import ShownTokens

__all__ = ["TokenInspector"]

logger = logging.getLogger("notebook_kit")

LONG_TEXT = 20_000  # UTF-16 code units, as in token_inspector.js
KEPT = 4  # texts whose analyses are cached
SAVED_STORIES = 400  # in a file of `to_html`, over all tokenizers


class TokenInspector(Panel):
    """Shows how tokenizers split a text: each token with its id, bytes and position, and each stage that led to it.

    Everything is computed by the tokenizers' own components. The panel works on copies with truncation and padding switched
    off, and marks where `model_max_length` would cut. Indices start at 0; characters are code points. A file written by
    `to_html` works offline for the text it was saved with: it has all tokens, and the details of the first 400.

    Args:
        *tokenizers: The tokenizers to show side by side: notebook_kit tokenizers, fast tokenizers of `transformers`,
            `tokenizers.Tokenizer`s, pipelines, or names of checkpoints.
        text: The text.
        text_pair: The second text of a pair, or None.
        **traits: Initial values of the other traits below.

    Attributes:
        text (str): The text, initially "". Typing on the page sets it.
        text_pair (str or None): The second text, initially None.
        selected (list of int): Positions in `input_ids` of the selected tokens, for the tokenizer `row`; initially a token
            worth a look: the last piece of the word that the first tokenizer splits into most pieces.
        row (int): Index of the tokenizer that `selected` refers to, initially 0.
        show_ids (bool): Whether ids are shown below the tokens, initially False.

    Raises:
        InputError: An argument is not a tokenizer, or its components are not accessible.
        HubError, CheckpointError: For a name, as raised by `AutoTokenizer.from_pretrained`.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "hug": 1, "##s": 2}, unk_token="[UNK]"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> inspector = TokenInspector(tokenizer, text="hugs hurt")
        >>> inspector.table()[["token", "id", "start", "end", "unknown"]]
           token  id  start  end  unknown
        0    hug   1      0    3    False
        1    ##s   2      3    4    False
        2  [UNK]   0      5    9     True
    """

    name = "token_inspector"

    text = traitlets.Unicode("", help="The text.").tag(sync=True)
    text_pair = traitlets.Unicode(None, allow_none=True, help="The second text, or None.").tag(sync=True)
    selected = traitlets.List(traitlets.Int(min=0), help="Positions of the selected tokens.").tag(sync=True)
    row = traitlets.Int(0, min=0, help="Index of the tokenizer that `selected` refers to.").tag(sync=True)
    show_ids = traitlets.Bool(False, help="Whether ids are shown below the tokens.").tag(sync=True)

    _rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    _generation = traitlets.Int(0).tag(sync=True)

    def __init__(self, *tokenizers: Any, text: str = "", text_pair: str | None = None, **traits: Any) -> None:
        self._backends: list[Backend] = []
        self._analyses: OrderedDict[str, list[Analysis]] = OrderedDict()
        self._comparisons: dict[tuple[str, int], Comparison] = {}
        self._analysing = threading.RLock()
        self._chooses = "selected" not in traits  # until somebody else chooses
        self._is_page_setting = False
        super().__init__(text=text, text_pair=text_pair, **traits)
        if tokenizers:
            self.use(*tokenizers)
        self.observe(self._on_text, ["text", "text_pair"])
        self.observe(self._on_selected, "selected")

    def use(self, *tokenizers: Any) -> None:
        """Show other tokenizers.

        Args:
            *tokenizers: As for the class.

        Raises:
            InputError, HubError, CheckpointError: As for the class; the panel then remains unchanged.
        """
        backends = [_backend(tokenizer) for tokenizer in tokenizers]
        names: list[str] = []
        for backend in backends:
            name, count = backend.name, 2
            while name in names:
                name, count = f"{backend.name} ({count})", count + 1
            names.append(name)
        with self._analysing:
            is_replacing, self._backends = bool(self._backends), backends
            self._analyses.clear()
            self._comparisons.clear()
        with self._publishing():
            if is_replacing:  # the old positions are meaningless for new tokenizers
                self.selected, self.row, self._chooses = [], 0, True
            self._rows = [
                {"name": name, "type": backend.model_type, "size": backend.size, "notes": backend.notes}
                for name, backend in zip(names, backends, strict=True)
            ]
            self._generation += 1
            self._open()

    @property
    def names(self) -> list[str]:
        """The tokenizers' names, as shown in the panel."""
        return [row["name"] for row in self._rows]

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.names))
        text = self.text if len(self.text) <= 40 else self.text[:39] + "…"
        return f"TokenInspector({names}{', ' if names else ''}text={text!r})"

    # Results

    def analysis(self, row: int = 0) -> Analysis:
        """The analysis of the current text by one tokenizer.

        Args:
            row: Index of the tokenizer.

        Raises:
            InputError: The index is out of range.
        """
        if not isinstance(row, Integral) or not 0 <= row < len(self._backends):
            raise InputError(
                f"There is no tokenizer {row!r}: the panel has {len(self._backends)}.",
                next_step="Indices start at 0; add tokenizers with inspector.use(...).",
            )
        return self._analyse(self.text, self.text_pair)[1][row]

    def table(self) -> Any:
        """The tokens as a pandas DataFrame, one row per token.

        Columns: `tokenizer` (only if there are several), `token`, `id`, `text` (the text it covers), `sequence` (0 or 1 for
        the first or second text, None for inserted special tokens), `start` and `end` (characters), `byte_start` and `byte_end` (UTF-8),
        `bytes`, `part_of` (the grapheme, if the token covers only part of one), `rank` (BPE: index of its merge; Unigram:
        rank by score; otherwise the id), `score` (Unigram, in nats), `special`, `unknown`, `added`, `inserted`.
        """
        return still.table_of(self._shown())

    def compare(self, left: int = 0, right: int = 1) -> Comparison:
        """Where two of the tokenizers split the current text alike."""
        return compare(self.analysis(left), self.analysis(right))

    # What the page shows first

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take values from the page, which asks for the tokens of what was typed there."""
        self._is_page_setting = True
        try:
            super().set_state(sync_data)
        finally:
            self._is_page_setting = False

    def _on_text(self, _: Any) -> None:
        if not self._is_page_setting:
            with self._publishing():
                self._open()

    def _on_selected(self, _: Any) -> None:
        if not self._is_publishing:
            self._chooses = False

    def _open(self) -> None:
        """Choose a token, unless somebody has chosen, and answer the questions that the page will ask first."""
        if self._backends and self._chooses:
            try:
                self.selected, self.row = suggested(self.analysis()), 0
            except Exception:  # the page shows the error
                logger.debug("No token to suggest", exc_info=True)
        self._first = self.answers_to(self._first_questions()) if self._backends else {}

    def _first_questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        texts = {"text": clean(self.text), "text_pair": self.text_pair and clean(self.text_pair)}
        units = sum(len(text.encode("utf-16-le")) // 2 for text in texts.values() if text)  # as the page counts
        yield ("tokens_of_long_text" if units > LONG_TEXT else "tokens"), texts
        if self.selected:
            key, _ = self._analyse(texts["text"] or "", texts["text_pair"])
            yield "story", {"of": key, "row": self.row, "position": self.selected[-1]}

    # Answers to the page

    def _analyse(self, text: str, pair: str | None) -> tuple[str, list[Analysis]]:
        """The key under which the page requests more of a text's analyses, and the analyses, one per tokenizer."""
        digest = hashlib.sha256(
            f"{self._generation}\0{text}\0{pair or ''}".encode("utf-8", "surrogatepass")
        ).hexdigest()
        key = digest[:16]
        with self._analysing:
            if key not in self._analyses:
                self._analyses[key] = [Analysis(backend, text, pair or None) for backend in self._backends]
                while len(self._analyses) > KEPT:
                    old, _ = self._analyses.popitem(last=False)
                    self._comparisons = {place: value for place, value in self._comparisons.items() if place[0] != old}
            self._analyses.move_to_end(key)
            return key, self._analyses[key]

    def _requested(self, values: dict[str, Any]) -> tuple[str, list[Analysis]]:
        """The cached analyses under the key `of`; those of the current text if they have been discarded."""
        key = str(values.get("of"))
        with self._analysing:
            if key in self._analyses:
                return key, self._analyses[key]
        return self._analyse(self.text, self.text_pair)

    def _compared(self, key: str, analyses: list[Analysis], row: int) -> Comparison | None:
        """How a tokenizer compares with the first one, and the first with the second; None for a single tokenizer."""
        if len(analyses) < 2:
            return None
        other = row or 1
        with self._analysing:
            if (key, other) not in self._comparisons:
                self._comparisons[key, other] = compare(analyses[0], analyses[other])
            return self._comparisons[key, other]

    def answer_tokens(self, values: dict[str, Any]) -> Answer:
        """The totals and first block of tokens of `text` and `text_pair`, for each tokenizer."""
        text, pair = str(values.get("text", "")), values.get("text_pair")
        key, analyses = self._analyse(text, str(pair) if pair else None)
        rows: list[dict[str, Any]] = []
        buffers: list[Any] = []
        for row, analysis in enumerate(analyses):
            self.check_cancelled()
            comparison = self._compared(key, analyses, row)
            block, buffer = self._block(key, analyses, row, 0)
            rows.append(
                {
                    "totals": analysis.totals(),
                    "groups": len(analysis.groups),
                    "block": block,
                    "compared": comparison
                    and {
                        "shared": comparison.shared,
                        "left_only": comparison.left_only,
                        "right_only": comparison.right_only,
                        "agreement": comparison.agreement,
                    },
                }
            )
            buffers.append(buffer)
        return Answer({"of": key, "rows": rows, "block": BLOCK}, buffers)

    @slow
    def answer_tokens_of_long_text(self, values: dict[str, Any]) -> Answer:
        """As `answer_tokens`, but on the panel's thread, so that a newer key stroke cancels it."""
        return self.answer_tokens(values)

    def answer_block(self, values: dict[str, Any]) -> Answer:
        """Block number `block` of the tokens in `row`, from the analyses `of`."""
        key, analyses = self._requested(values)
        block, buffer = self._block(key, analyses, int(values["row"]), int(values["block"]))
        return Answer(block, [buffer])

    @slow
    def answer_story(self, values: dict[str, Any]) -> Answer:
        """The details of the token at `position` in `row`, from the analyses `of`."""
        _, analyses = self._requested(values)
        row, position = int(values["row"]), int(values["position"])
        if not (0 <= row < len(analyses) and 0 <= position < len(analyses[row])):
            return Answer({"gone": True})
        token_story = story(analyses[row], position)
        detail = analyses[row].detail(position)
        return Answer({"detail": detail, "stages": token_story.stages, "exact": token_story.exact})

    def answer_differences(self, values: dict[str, Any]) -> Answer:
        """Where the tokenizer in `row` splits differently from the first, in the analyses `of`."""
        key, analyses = self._requested(values)
        row = int(values["row"])
        comparison = self._compared(key, analyses, row)
        return Answer(regions_of(comparison, analyses[0], analyses[row]))

    def _block(self, key: str, analyses: list[Analysis], row: int, number: int) -> tuple[dict[str, Any], Any]:
        differs = differing(self._compared(key, analyses, row), "right" if row else "left")
        return block_of(analyses[row], number, differs)

    # Without a kernel

    def offline_questions(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """The saved text with all its tokens, and the details of the selected and the first tokens."""
        yield "tokens", {"text": self.text, "text_pair": self.text_pair}
        key, analyses = self._analyse(self.text, self.text_pair)
        left = SAVED_STORIES
        for row, analysis in enumerate(analyses):
            for block in range(1, block_count(analysis)):
                yield "block", {"of": key, "row": row, "block": block}
            if row:
                yield "differences", {"of": key, "row": row}
            chosen = [position for position in self.selected if row == self.row and position < len(analysis)]
            share = max(len(chosen), left // (len(analyses) - row))
            positions = list(dict.fromkeys([*chosen, *range(len(analysis))]))[:share]
            left -= len(positions)
            for position in positions:
                yield "story", {"of": key, "row": row, "position": position}

    def face(self) -> Face:
        """A picture of the first tokens and a table of them."""
        return still.face_of(self._shown(), self.word)

    def figure(self) -> Any:
        """The tokens of all rows as chips, with the selected ones framed, as a matplotlib `Figure`.

        A long text is cut after the first tokens.
        """
        return still.figure_of(self._shown(), self.word)

    def _shown(self) -> list[ShownTokens]:
        return [
            ShownTokens(name, self.analysis(row), self.selected if row == self.row else ())
            for row, name in enumerate(self.names)
        ]


def _backend(tokenizer: Any) -> Backend:
    """The backend of a tokenizer, or of a checkpoint's.

    Raises:
        InputError, HubError: As `Backend`; for a text, which looks like a name, the error also says where texts belong.
    """
    try:
        return Backend(tokenizer)
    except (InputError, HubError) as error:
        if isinstance(tokenizer, str):
            error.next_step = f"If this is a text, pass it by name, text=...; {error.next_step}"
        raise
