"""GenerationView: a model that writes, token by token, and what it could have written in each place."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import traitlets
from torch import Tensor

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.inspection.generation.looking import Looked, heads_of
from notebook_kit.inspection.generation.steps import Branch, Step
from notebook_kit.inspection.generation.writer import SAMPLING, Writer
from notebook_kit.panels import busy
from notebook_kit.panels.generation_view import still
from notebook_kit.panels.panel import Answer, Face, Panel, described, slow

__all__ = ["GenerationView"]

logger = logging.getLogger("notebook_kit")

REFRESH_SECONDS = 0.1
FACE_SECONDS = 1.5
"""How long the static face waits for a generation that has just begun."""

MOST_BRANCHES = 12
SETTINGS = ("do_sample", *SAMPLING, "repetition_penalty", "max_new_tokens")


class GenerationView(Panel):
    """A model that writes: each token as it comes, how sure the model was of it, and what it could have written instead.

    Choose a token to see the most probable alternatives, before and after the sampling filters; choose an alternative to
    go on from there, on a branch of its own. What the model looked at is read when it is asked for. The rules of the
    checkpoint hold (such as `no_repeat_ngram_size`), except that one sequence is written and no beams are kept.

    Args:
        source: A pipeline (text-generation, summarization, translation, text2text-generation) or model of notebook_kit, a
            pair (model, tokenizer), or a causal model of `transformers`. Of an encoder-decoder the prompt is the encoder's
            text, and attention is cross-attention.
        prompt: What to go on from. If it is given, writing begins at once, on a thread of the panel; see `wait`.
        tokenizer: For a model; a pipeline brings its own, and a model that was loaded by name leads to it.
        **traits: Start values of the traits below.

    Attributes:
        prompt: Str, "". The prompt.
        generated: Str, "". What was generated, as text; set when a generation ends.
        text: Str, "". The prompt with what was generated; of an encoder-decoder, what was generated. Set it, and it becomes
            the prompt.
        token_ids: List of int, []. The generated tokens.
        chosen: Int or None, None. The generated token that is looked at, counted from 0.
        selected: List of int, []. The same among all tokens of `text`, as a linked `AttentionView` or `TokenInspector`
            counts them; [] where the tokenizer would cut the text otherwise than the model wrote it.
        branch: Int, 0. The branch that is shown; 0 for none.
        running: Bool, False. Whether the model is writing now.
        chat: Bool, False. Give the prompt to the model as a message, in its own chat template.
        do_sample: Bool. Draw tokens, or take the most probable. This and the next follow the checkpoint at first.
        temperature: Float. Above 1 the improbable is drawn more often, below 1 less.
        top_k: Int. Draw from so many most probable tokens; 0 for all.
        top_p: Float. Draw from the most probable tokens whose probabilities reach this together.
        repetition_penalty: Float. Above 1, tokens that are there already become less probable.
        max_new_tokens: Int. The most tokens to generate at a time.
        seed: Int, 0. Of the draws: the same seed gives the same text.
        colour: Str, "probability". What colours the tokens: "probability", "entropy" or "attention".
        layer: Int or None, None. The layer whose attention is shown; None for all.
        head: Int or None, None. The head; None for all.
        combine: Str, "mean". How several heads make one weight: "mean" or "max".

    Raises:
        InputError: If the source does not generate text, or nothing can follow the prompt.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
        >>> words = Tokenizer(models.WordLevel({"ha": 0, "hi": 1, "!": 2}, unk_token="!"))
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=3, n_positions=32, eos_token_id=None))
        >>> pair = model, PreTrainedTokenizerFast(tokenizer_object=words)
        >>> view = GenerationView(pair, "hi", max_new_tokens=3).wait()
        >>> len(view.table()), round(float(view.alternatives(0)["before"].sum()), 4)
        (3, 1.0)
        >>> less_likely = int(view.alternatives(0)["id"].iloc[2])
        >>> view.continue_from(0, less_likely).token_ids[0] == less_likely, view.branch
        (True, 2)
    """

    name: ClassVar[str] = "generation_view"

    prompt = traitlets.Unicode("").tag(sync=True)
    generated = traitlets.Unicode("").tag(sync=True)
    text = traitlets.Unicode("").tag(sync=True)
    token_ids = traitlets.List(traitlets.Int(), []).tag(sync=True)
    chosen = traitlets.Int(None, allow_none=True, min=0).tag(sync=True)
    selected = traitlets.List(traitlets.Int(min=0), []).tag(sync=True)
    branch = traitlets.Int(0, min=0).tag(sync=True)
    running = traitlets.Bool(False).tag(sync=True)
    chat = traitlets.Bool(False).tag(sync=True)
    do_sample = traitlets.Bool(False).tag(sync=True)
    temperature = traitlets.Float(1.0, min=0.01).tag(sync=True)
    top_k = traitlets.Int(50, min=0).tag(sync=True)
    top_p = traitlets.Float(1.0, min=0.0, max=1.0).tag(sync=True)
    repetition_penalty = traitlets.Float(1.0, min=0.01).tag(sync=True)
    max_new_tokens = traitlets.Int(40, min=1).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**53).tag(sync=True)
    colour = traitlets.Enum(["probability", "entropy", "attention"], "probability").tag(sync=True)
    layer = traitlets.Int(None, allow_none=True, min=0).tag(sync=True)
    head = traitlets.Int(None, allow_none=True, min=0).tag(sync=True)
    combine = traitlets.Enum(["mean", "max"], "mean").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what the page must know of the model
    _shown = traitlets.Dict().tag(sync=True)  # the branch that is shown; while it grows, what it began with
    _branches: traitlets.List[Any] = traitlets.List([]).tag(sync=True)  # one line for each branch
    _problem = traitlets.Dict().tag(sync=True)  # why the last run failed: {what, next_step}

    def __init__(self, source: Any = None, prompt: str = "", *, tokenizer: Any = None, **traits: Any) -> None:
        self._writer: Writer | None = None
        self._kept: OrderedDict[int, Branch] = OrderedDict()
        self._made = 0
        self._run: _Run | None = None
        self._agrees = False
        self._guard = threading.RLock()
        self._is_publishing = False
        writer = None if source is None else Writer(source, tokenizer)
        settings = {} if writer is None else writer.defaults()
        super().__init__(**{**settings, **traits, "prompt": prompt})
        if writer is not None:
            self._take(writer)
        self.observe(self._on_branch, "branch")
        self.observe(self._on_chosen, ["chosen", "selected"])
        self.observe(self._on_text, "text")
        if prompt and writer is not None:
            self.generate(wait=False)

    # The model -----------------------------------------------------------------------------------------------------

    def use(self, model_or_pipeline: Any, tokenizer: Any = None) -> None:
        """Let another model write from now on. What was written goes; the prompt stays.

        Args:
            model_or_pipeline: As `source` of the class.
            tokenizer: For a model; a pipeline brings its own.

        Raises:
            InputError: If it does not generate text; the panel then stays as it was.
        """
        writer = Writer(model_or_pipeline, tokenizer)
        self.stop()
        self.wait()
        with self._guard, self.hold_sync():
            for name, value in writer.defaults().items():
                setattr(self, name, value)
            self._kept.clear()
            self._take(writer)
            self.layer = self.head = None
            self._show(None)

    def _take(self, writer: Writer) -> None:
        self._writer, self._looked = writer, Looked(writer)
        self._about = {
            "name": writer.name,
            "reads_apart": writer.reads_apart,
            "has_chat": writer.has_chat,
            "heads": [[layer, count] for layer, count in sorted(heads_of(writer).items())],
            "rules": {name: str(value)[:40] for name, value in writer.further_rules().items()},
            "vocabulary": int(getattr(writer.model.config, "vocab_size", 0) or 0),
        }

    @property
    def model(self) -> Any:
        """The model, or None."""
        return self._writer and self._writer.model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, or None."""
        return self._writer and self._writer.tokenizer

    @property
    def _name(self) -> str:
        return self._writer.name if self._writer else ""

    def _writer_or_raise(self) -> Writer:
        if self._writer is None:
            raise InputError(
                "There is no model that could write.", next_step="Call view.use(model_or_pipeline), or pick a model."
            )
        return self._writer

    # Writing -------------------------------------------------------------------------------------------------------

    def generate(self, prompt: str | None = None, wait: bool = True) -> GenerationView:
        """Write from the prompt, with the settings as they are.

        Args:
            prompt: Set `prompt` before.
            wait: Return when it has ended; else at once.

        Returns:
            This view.

        Raises:
            InputError: If there is no model, or nothing can follow the prompt.
        """
        if prompt is not None:
            self.prompt = prompt
        context, start = self._writer_or_raise().read(self.prompt, self.chat)
        if self._branch() is not None:
            self.chosen = None  # it spoke of another text
        return self._begin(Branch(self._number(), self.prompt, context, start), wait)

    def go_on(self, wait: bool = True) -> GenerationView:
        """Write on from the end of the branch that is shown.

        Raises:
            InputError: If there is none, or it ended with a token that ends texts.
        """
        old = self._branch_or_raise()
        if old.steps and old.ids[-1] in self._writer_or_raise().ends():
            raise InputError(
                "This text ended with its end token.", next_step="Choose a token, and an alternative to go on from."
            )
        return self._begin(self._offshoot(old, len(old.steps), old.steps), wait)

    def continue_from(self, position: int, token: int, wait: bool = True) -> GenerationView:
        """Write on from an alternative, on a new branch that keeps what stands before it.

        Args:
            position: The generated token in whose place it comes, counted from 0.
            token: The id of one of `alternatives(position)`.
            wait: Return when it has ended; else at once.

        Raises:
            InputError: If there is no such token or alternative.
        """
        old, step = self._branch_or_raise(), self._step(position)
        other = step.instead(token)
        if other is None:
            raise InputError(
                f"Token {token} is not among the alternatives at {position}.",
                next_step=f"Choose one of {', '.join(str(one.token) for one in step.alternatives)}.",
            )
        return self._begin(self._offshoot(old, position, [*old.steps[:position], other]), wait)

    def stop(self) -> None:
        """End the generation that is running; what was made stays."""
        run = self._run
        if run is not None:
            run.stop.set()

    def wait(self, timeout: float | None = None) -> GenerationView:
        """Wait until the generation has ended. An interrupt stops the generation, and what was made stays.

        Args:
            timeout: Seconds to wait at most; for ever unless given.

        Returns:
            This view.
        """
        run = self._run
        if run is None or run.thread is threading.current_thread():
            return self
        limit = None if timeout is None else time.monotonic() + timeout
        hears = busy.hear(self) if run.thread.is_alive() and timeout is None else "none"
        try:
            while run.thread.is_alive() and (limit is None or time.monotonic() < limit):
                try:
                    run.thread.join(0.05 if limit is None else min(0.05, max(0.0, limit - time.monotonic())))
                    if hears == "poll":
                        busy.poll()  # so that the button "Stop" is heard while the cell waits
                except KeyboardInterrupt:
                    run.stop.set()
        finally:
            if hears == "poll":
                busy.forget(self)
        return self

    def _number(self) -> int:
        with self._guard:
            self._made += 1
            return self._made

    def _offshoot(self, old: Branch, fork: int, steps: list[Step]) -> Branch:
        return Branch(self._number(), old.prompt, old.context, old.start, list(steps), old.number, fork)

    def _begin(self, branch: Branch, wait: bool) -> GenerationView:
        writer = self._writer_or_raise()
        settings = {name: getattr(self, name) for name in SETTINGS}
        branch.settings = {**settings, "seed": self.seed}
        if branch.steps and branch.ids[-1] in writer.ends():
            branch.ended = "end"  # an alternative that ends the text: nothing follows it
        # Taken as it is now: what is set later is for the next run.
        run = _Run(branch, writer, settings, self.seed, self.branch)
        run.thread = threading.Thread(target=self._work, args=[run], name="notebook_kit-generation", daemon=True)
        with self._guard:
            self.stop()  # a run that another one overtakes is dropped; its branch keeps what it has
            self._run = run
            self._kept[branch.number] = branch
            while len(self._kept) > MOST_BRANCHES:
                self._kept.pop(next(number for number in self._kept if number != branch.number))
            with self.hold_sync():
                self.running, self._problem = not branch.ended, {}
                self._show(branch)
        if branch.ended:
            self._run = None
            return self
        run.thread.start()
        return self.wait() if wait else self

    def _work(self, run: _Run) -> None:
        branch, problem = run.branch, {}
        told = before = len(branch.steps)
        last = began = time.monotonic()

        def goes_on(step: Step) -> bool:
            nonlocal told, last
            branch.steps.append(step)
            if time.monotonic() - last >= REFRESH_SECONDS and self._run is run:
                self._tell(run, told)
                told, last = len(branch.steps), time.monotonic()
            return not run.stop.is_set()

        try:
            begun = Branch(**{**vars(branch), "steps": list(branch.steps)})
            branch.ended = run.writer.write(begun, run.settings, run.seed, goes_on)
        except Exception as error:
            branch.ended, problem = "failed", described(error)
            if not isinstance(error, NotebookKitError):
                logger.exception("A generation failed")
        made = len(branch.steps) - before
        branch.rate = made / (time.monotonic() - began) if made > 1 else None
        with self._guard:
            if self._run is not run:  # overtaken: the newer run says what is shown
                self._branches = self._lines()
                return
            with self.hold_sync():
                self._problem = problem
                self.running = False
                if problem and not made:  # there is nothing to show but why
                    self._kept.pop(branch.number, None)
                    self._show(self._kept.get(run.shown_before))
                elif self.branch == branch.number:
                    self._show(branch)
                else:
                    self._branches = self._lines()

    def _tell(self, run: _Run, first: int) -> None:
        """Send the page the tokens that are new; to a page that shows something else they mean nothing."""
        branch = run.branch
        tokens = run.writer.spelling.line(branch.ids)[first:]
        numbers = branch.numbers(first).tobytes()
        self.send({"nk_news": {"branch": branch.number, "first": first, "tokens": tokens}}, [numbers])

    # What is shown -------------------------------------------------------------------------------------------------

    def _branch(self) -> Branch | None:
        return self._kept.get(self.branch)

    def _branches_kept(self) -> list[Branch]:
        return list(self._kept.values())

    def _branch_or_raise(self) -> Branch:
        branch = self._branch()
        if branch is None:
            raise InputError("Nothing was generated yet.", next_step="Call view.generate(prompt), or press Generate.")
        return branch

    def _step(self, position: int) -> Step:
        steps = self._branch_or_raise().steps
        if not 0 <= position < len(steps):
            raise InputError(
                f"There is no generated token {position}.", next_step=f"Count from 0; there are {len(steps)}."
            )
        return steps[position]

    def _show(self, branch: Branch | None) -> None:
        """Let the traits speak of a branch, in one message."""
        self._is_publishing = True
        try:
            with self.hold_sync():
                self.branch = 0 if branch is None else branch.number
                self._branches = self._lines()
                if branch is None:
                    self._shown, self.generated, self.token_ids, self.chosen, self.selected = {}, "", [], None, []
                    return
                writer = self._writer_or_raise()
                self._shown = {**self._seen(branch), "numbers": branch.numbers().tobytes()}
                if not branch.ended:
                    return  # what follows is for those who look at whole texts: one message each, at the end
                self.generated = writer.text(branch)
                self.token_ids = branch.ids
                self.text = self.generated if writer.reads_apart else branch.prompt + self.generated
                self._agrees = self._is_cut_alike(writer, branch)
                if self.chosen is not None and self.chosen >= len(branch.steps):
                    self.chosen = None
                self.selected = self._as_selected()
        finally:
            self._is_publishing = False

    def _seen(self, branch: Branch) -> dict[str, Any]:
        """A branch as the page sees it."""
        spelling = self._writer_or_raise().spelling
        return {
            "branch": branch.number,
            "context": spelling.line(branch.context),
            "tokens": spelling.line(branch.ids),
            "ended": branch.ended,
            "rate": branch.rate,
            "fork": branch.fork if branch.parent is not None else None,
        }

    def _lines(self) -> list[dict[str, Any]]:
        lines = []
        for branch in list(self._kept.values()):
            fork = branch.fork if branch.parent is not None else 0
            shown = self._writer_or_raise().spelling.line(branch.ids[fork : fork + 24])
            lines.append(
                {
                    "branch": branch.number,
                    "parent": branch.parent,
                    "fork": fork,
                    "count": len(branch.steps),
                    "perplexity": branch.perplexity,
                    "ended": branch.ended,
                    "prompt": branch.prompt[:80],
                    "tokens": [entry[0] for entry in shown],
                }
            )
        return lines

    def _is_cut_alike(self, writer: Writer, branch: Branch) -> bool:
        """Whether the tokenizer cuts `text` into just the tokens that were read and written."""
        if writer.reads_apart:
            return False
        try:
            ids = list(writer.tokenizer(self.text)["input_ids"])
        except Exception:  # whatever it is, positions cannot be compared then
            return False
        mine = [*branch.context, *branch.ids]
        return ids == mine or (branch.ended == "end" and ids == mine[:-1])

    def _as_selected(self) -> list[int]:
        branch = self._branch()
        if branch is None or self.chosen is None or not self._agrees:
            return []
        return [len(branch.context) + self.chosen]

    def _on_branch(self, change: Any) -> None:
        if self._is_publishing:
            return
        with self._guard:
            branch = self._kept.get(change["new"])
            if branch is not None:
                self._show(branch)

    def _on_chosen(self, change: Any) -> None:
        if self._is_publishing:
            return
        self._is_publishing = True
        try:
            if change["name"] == "chosen":
                self.selected = self._as_selected()
                return
            branch = self._branch()
            if branch is not None and self._agrees:
                own = [place - len(branch.context) for place in self.selected]
                self.chosen = next((place for place in reversed(own) if 0 <= place < len(branch.steps)), None)
        finally:
            self._is_publishing = False

    def _on_text(self, change: Any) -> None:
        if not self._is_publishing:
            self.prompt = self.text

    # Questions -----------------------------------------------------------------------------------------------------

    def answer_generate(self, values: dict[str, Any]) -> Answer:
        """Write from `prompt`."""
        self.generate(str(values.get("prompt", self.prompt)), wait=False)
        return Answer({"branch": self.branch})

    def answer_go_on(self, values: dict[str, Any]) -> Answer:
        """Write on."""
        self.go_on(wait=False)
        return Answer({"branch": self.branch})

    def answer_continue(self, values: dict[str, Any]) -> Answer:
        """Write on from an alternative: `branch`, `position` and `token`."""
        if int(values["branch"]) != self.branch:
            self.branch = int(values["branch"])
        position = int(values["position"])
        self.continue_from(position, int(values["token"]), wait=False)
        self.chosen = position
        return Answer({"branch": self.branch})

    def answer_stop(self, values: dict[str, Any]) -> Answer:
        """End the run."""
        self.stop()
        return Answer()

    def answer_tokens(self, values: dict[str, Any]) -> Answer:
        """A branch as it is now, its tokens from `first` on, and four float32 numbers for each of these."""
        branch, first = self._kept.get(int(values["branch"])), int(values.get("first", 0))
        if branch is None:
            return Answer({"gone": True})
        seen = self._seen(branch)
        tokens = seen["tokens"][first:]
        if first:
            del seen["context"]  # who has some of the tokens has it
        numbers = branch.numbers(first)[: len(tokens)]  # it may have grown meanwhile
        return Answer({**seen, "first": first, "tokens": tokens}, [numbers.tobytes()])

    def answer_step(self, values: dict[str, Any]) -> Answer:
        """What could have come: alternatives as tokens, and `(before, after)` of each as float32."""
        branch, position = self._kept.get(int(values["branch"])), int(values["position"])
        if branch is None or not 0 <= position < len(branch.steps):
            return Answer({"gone": True})
        step = branch.steps[position]
        spelling = self._writer_or_raise().spelling
        numbers = np.array([(one.before, one.after) for one in step.alternatives], dtype=np.float32)
        return Answer(
            {
                "position": position,
                "alternatives": [[*spelling.of(one.token), one.token, one.rank] for one in step.alternatives],
                "chosen": step.chosen.token,
                "left": step.left,
            },
            [numbers.tobytes()],
        )

    @slow
    def answer_attention(self, values: dict[str, Any]) -> Answer:
        """What one token was written from: a float32 weight for each token before it."""
        branch = self._kept.get(int(values["branch"]))
        if branch is None or not 0 <= int(values["position"]) < len(branch.steps):
            return Answer({"gone": True})
        row = self._attention(
            branch, int(values["position"]), values.get("layer"), values.get("head"), str(values.get("combine", "mean"))
        )
        return Answer({"position": int(values["position"])}, [row.numpy().tobytes()])

    def _attention_question(self, position: int) -> dict[str, Any]:
        """What the page asks while the traits are as they are; `attentionQuestion` in the page's module says the same."""
        return {
            "branch": self.branch,
            "position": position,
            "layer": self.layer,
            "head": self.head,
            "combine": self.combine,
        }

    def _attention(self, branch: Branch, position: int, layer: int | None, head: int | None, combine: str) -> Tensor:
        self._writer_or_raise()
        return self._looked.at(branch, position, layer, head, combine, self.check_cancelled)

    # Results for programs --------------------------------------------------------------------------------------------

    def table(self) -> Any:
        """The generated tokens as a pandas DataFrame, one row a token.

        Columns: `token` (its text; the bytes of a part of a character as hexadecimal digits), `id`, `probability` (by the
        model alone), `rank` (1 for the most probable), `entropy` (in nats), `after` (its probability after the rules and
        filters: what it was drawn from) and `left` (how many tokens they left to choose from).
        """
        return still.table_of(self)

    def alternatives(self, position: int) -> Any:
        """What could have come in the place of a generated token, as a pandas DataFrame, by rank.

        Columns: `token`, `id`, `before` (the probability by the model alone), `after` (that after the rules and filters, 0
        where they leave it out) and `rank`.

        Args:
            position: The generated token, counted from 0.

        Raises:
            InputError: If there is no such token.
        """
        import pandas

        step, spelling = self._step(position), self._writer_or_raise().spelling
        rows = [(spelling.of(one.token)[0], one.token, one.before, one.after, one.rank) for one in step.alternatives]
        return pandas.DataFrame(rows, columns=["token", "id", "before", "after", "rank"])

    def attention(
        self, position: int, layer: int | None = None, head: int | None = None, combine: str = "mean"
    ) -> Tensor:
        """What the model looked at when it wrote a token.

        Args:
            position: The generated token, counted from 0.
            layer: The layer; all unless given.
            head: The head; all unless given.
            combine: "mean" or "max" over those.

        Returns:
            `(tokens,)`: a weight for each token before it, or for an encoder-decoder for each token that was read.

        Raises:
            InputError: If there is no such token, layer or head, or the model does not show its attention.
        """
        self._step(position)
        return self._attention(self._branch_or_raise(), position, layer, head, combine)

    def figure(self) -> Any:
        """The tokens, coloured by probability, as a matplotlib `Figure`."""
        return still.figure_of(self)

    def face(self) -> Face:
        """A picture of the tokens and a table of them."""
        if self.running:
            self.wait(FACE_SECONDS)
        return still.face_of(self)

    def offline_questions(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """What a file on disk can answer: all branches, the alternatives of 400 tokens, the attention that is shown."""
        return still.questions_of(self)

    def to_html(self, path: Any) -> Any:
        """Write the panel as one interactive file that works from disk; a generation that is running ends first.

        It holds all branches, the alternatives of up to 400 tokens, and, while `colour` is "attention", what each token of
        the shown branch looked at.

        Args:
            path: Where to write.

        Returns:
            The path.
        """
        self.wait()
        return super().to_html(path)

    def close(self) -> None:
        """Close the panel; a generation that is running ends."""
        self.stop()
        super().close()

    def __repr__(self) -> str:
        branch = self._branch()
        count = 0 if branch is None else len(branch.steps)
        prompt = self.prompt if len(self.prompt) <= 40 else self.prompt[:39] + "…"
        return f"GenerationView({self._name or 'no model'}, {prompt!r}: {count} tokens)"

    # Words ---------------------------------------------------------------------------------------------------------

    def _word(self, key: str, **values: Any) -> str:
        text = self._strings.get(f"{self.name}.{key}") or key
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text

    def _said(self, settings: dict[str, Any]) -> str:
        """How a branch was generated, in one line."""
        if not settings:
            return ""
        shown = ["repetition_penalty"] if settings["repetition_penalty"] != 1.0 else []
        names = [*SAMPLING, *shown, "seed"] if settings["do_sample"] else shown
        parts = [f"{name} {settings[name]:g}" for name in names]
        return ", ".join([self._word("sampled" if settings["do_sample"] else "greedy"), *parts])


class _Run:
    """One generation: what it was asked for, its thread, and whether it is to stop."""

    def __init__(self, branch: Branch, writer: Writer, settings: dict[str, Any], seed: int, shown: int) -> None:
        self.branch, self.writer, self.settings, self.seed = branch, writer, settings, seed
        self.shown_before = shown
        self.stop = threading.Event()
        self.thread: threading.Thread
