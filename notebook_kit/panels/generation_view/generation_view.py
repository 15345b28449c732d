"""GenerationView: a model that writes, token by token, and what it could have written in each place."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, ClassVar

import traitlets
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.inspection.generation.looking import Looked, heads_of
from notebook_kit.inspection.generation.steps import Branch
from notebook_kit.inspection.generation.tables import alternatives_table, token_table
from notebook_kit.inspection.generation.writer import SAMPLING, Writer
from notebook_kit.inspection.tokens.spelling import Spelling
from notebook_kit.panels.generation_view.branches import (
    Branches,
    for_page,
    line_of,
    step_answer,
    step_of,
    tokens_answer,
)
from notebook_kit.panels.generation_view.running import Generation
from notebook_kit.panels.generation_view.still import Scene
from notebook_kit.panels.panel import Answer, Face, Panel, slow

__all__ = ["GenerationView"]

FACE_SECONDS = 1.5
"""How long the static face waits for a generation that has just begun."""

SAVED_STEPS = 400
"""Of how many tokens a file on disk holds the alternatives."""

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
        self._kept = Branches()
        self._run: Generation | None = None
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
        return self._begin(self._kept.new(self.prompt, context, start), wait)

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
        return self._begin(self._kept.offshoot(old, len(old.steps), old.steps), wait)

    def continue_from(self, position: int, token: int, wait: bool = True) -> GenerationView:
        """Write on from an alternative, on a new branch that keeps what stands before it.

        Args:
            position: The generated token in whose place it comes, counted from 0.
            token: The id of one of `alternatives(position)`.
            wait: Return when it has ended; else at once.

        Raises:
            InputError: If there is no such token or alternative.
        """
        old = self._branch_or_raise()
        step = step_of(old, position)
        other = step.instead(token)
        if other is None:
            raise InputError(
                f"Token {token} is not among the alternatives at {position}.",
                next_step=f"Choose one of {', '.join(str(one.token) for one in step.alternatives)}.",
            )
        return self._begin(self._kept.offshoot(old, position, [*old.steps[:position], other]), wait)

    def stop(self) -> None:
        """End the generation that is running; what was made stays."""
        run = self._run
        if run is not None:
            run.stop()

    def wait(self, timeout: float | None = None) -> GenerationView:
        """Wait until the generation has ended. An interrupt stops the generation, and what was made stays.

        Args:
            timeout: Seconds to wait at most; for ever unless given.

        Returns:
            This view.
        """
        if self._run is not None:
            self._run.wait(self, timeout)
        return self

    def _begin(self, branch: Branch, wait: bool) -> GenerationView:
        writer = self._writer_or_raise()
        settings = {name: getattr(self, name) for name in SETTINGS}
        branch.settings = {**settings, "seed": self.seed}
        if branch.steps and branch.ids[-1] in writer.ends():
            branch.ended = "end"  # an alternative that ends the text: nothing follows it
        # Taken as it is now: what is set later is for the next run.
        run = Generation(branch, writer, settings, self.seed, self.branch)
        with self._guard:
            self.stop()  # a run that another one overtakes is dropped; its branch keeps what it has
            self._run = run
            self._kept.add(branch)
            with self.hold_sync():
                self.running, self._problem = not branch.ended, {}
                self._show(branch)
        if branch.ended:
            self._run = None
            return self
        run.start(self._on_news, self._on_end)
        return self.wait() if wait else self

    def _on_news(self, run: Generation, first: int) -> None:
        """Send the page the tokens that are new; a page that shows something else ignores them."""
        if self._run is not run:
            return
        branch = run.branch
        tokens = run.writer.spelling.line(branch.ids)[first:]
        numbers = branch.numbers(first).tobytes()
        self.send({"nk_news": {"branch": branch.number, "first": first, "tokens": tokens}}, [numbers])

    def _on_end(self, run: Generation) -> None:
        branch = run.branch
        with self._guard:
            if self._run is not run:  # overtaken: the newer run decides what is shown
                self._branches = self._lines()
                return
            with self.hold_sync():
                self._problem = run.problem
                self.running = False
                if run.problem and not run.made:  # there is nothing to show but why
                    self._kept.remove(branch)
                    self._show(self._kept.get(run.shown_before))
                elif self.branch == branch.number:
                    self._show(branch)
                else:
                    self._branches = self._lines()

    # What is shown -------------------------------------------------------------------------------------------------

    def _branch(self) -> Branch | None:
        return self._kept.get(self.branch)

    def _branch_or_raise(self) -> Branch:
        branch = self._branch()
        if branch is None:
            raise InputError("Nothing was generated yet.", next_step="Call view.generate(prompt), or press Generate.")
        return branch

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
                self._shown = {**for_page(branch, writer.spelling), "numbers": branch.numbers().tobytes()}
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

    def _lines(self) -> list[dict[str, Any]]:
        spelling = self._spelling
        return [] if spelling is None else [line_of(branch, spelling) for branch in self._kept]

    @property
    def _spelling(self) -> Spelling | None:
        return None if self._writer is None else self._writer.spelling

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
        branch = self._kept.get(int(values["branch"]))
        if branch is None:
            return Answer({"gone": True})
        return tokens_answer(branch, self._writer_or_raise().spelling, int(values.get("first", 0)))

    def answer_step(self, values: dict[str, Any]) -> Answer:
        """What could have come: alternatives as tokens, and `(before, after)` of each as float32."""
        branch, position = self._kept.get(int(values["branch"])), int(values["position"])
        if branch is None or not 0 <= position < len(branch.steps):
            return Answer({"gone": True})
        return step_answer(branch.steps[position], position, self._writer_or_raise().spelling)

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
        """What the page asks while the traits have these values; `story.js` builds the same."""
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
        return token_table(self._branch(), self._spelling)

    def alternatives(self, position: int) -> Any:
        """What could have come in the place of a generated token, as a pandas DataFrame, by rank.

        Columns: `token`, `id`, `before` (the probability by the model alone), `after` (that after the rules and filters, 0
        where they leave it out) and `rank`.

        Args:
            position: The generated token, counted from 0.

        Raises:
            InputError: If there is no such token.
        """
        spelling = self._writer_or_raise().spelling
        return alternatives_table(step_of(self._branch_or_raise(), position), spelling)

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
        branch = self._branch_or_raise()
        step_of(branch, position)
        return self._attention(branch, position, layer, head, combine)

    def figure(self) -> Any:
        """The tokens, coloured by probability, as a matplotlib `Figure`."""
        return self._scene().figure()

    def face(self) -> Face:
        """A picture of the tokens and a table of them."""
        if self.running:
            self.wait(FACE_SECONDS)
        return self._scene().face()

    def _scene(self) -> Scene:
        words = {key.partition(".")[2]: text for key, text in self._strings.items()}
        return Scene(self._name, words, self._branch(), self._spelling, self.chosen)

    def offline_questions(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """What a file on disk can answer: all branches, the alternatives of 400 tokens, the attention that is shown."""
        shown, left = self._branch(), SAVED_STEPS
        if shown is None:
            return
        for branch in [shown, *(one for one in self._kept if one is not shown)]:
            yield "tokens", {"branch": branch.number, "first": 0}
            count = min(len(branch.steps), left)
            for position in range(count):
                yield "step", {"branch": branch.number, "position": position}
            left -= count
        if self.colour == "attention":
            for position in range(min(len(shown.steps), SAVED_STEPS)):
                yield "attention", self._attention_question(position)

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
