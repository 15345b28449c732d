"""GenerationView: a model writes token by token, with the alternatives to each token."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import traitlets
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.inspection.generation.steps import Branch
from notebook_kit.inspection.generation.tables import alternatives_table, token_table
from notebook_kit.inspection.generation.token_attention import TokenAttention, heads_of
from notebook_kit.inspection.generation.writer import SAMPLING, Writer
from notebook_kit.inspection.tokens.spelling import Spelling
from notebook_kit.panels.generation_view.branches import (
    Branches,
    for_page,
    line_of,
    news_of,
    step_answer,
    step_of,
    tokens_answer,
)
from notebook_kit.panels.generation_view.running import Generation
from notebook_kit.panels.generation_view.still import Scene, shortened
from notebook_kit.panels.panel import Answer, Face, Panel, slow

__all__ = ["GenerationView"]

FACE_SECONDS = 1.5
"""How long the static face waits for a generation that has just started."""

SAVED_STEPS = 400
"""The number of tokens whose alternatives a file on disk holds."""

SETTINGS = ("do_sample", *SAMPLING, "repetition_penalty", "max_new_tokens")


class GenerationView(Panel):
    """A model writes token by token: each token with its probability, and what the model could have written instead.

    Choose a token to see the most probable alternatives, before and after the sampling filters; choose an alternative to
    continue from it on a new branch. Attention is computed on request. The checkpoint's rules apply (such as
    `no_repeat_ngram_size`), but a single sequence is written, without beam search.

    Args:
        source: A pipeline (text-generation, summarization, translation, text2text-generation) or model of notebook_kit, a
            pair (model, tokenizer), or a causal model of `transformers`. For an encoder-decoder, the encoder reads the
            prompt, and the attention is cross-attention.
        prompt: The text to continue. If it is not empty, generation starts at once, on a thread of the panel; see `wait`.
        tokenizer: For a model. A pipeline has one; for a model that was loaded by name it is loaded too.
        **traits: Initial values of the traits below.

    Attributes:
        prompt: Str, "". The prompt.
        generated: Str, "". The generated text; set when a generation ends.
        text: Str, "". The prompt with the generated text; for an encoder-decoder, the generated text. A value that you set
            becomes the prompt.
        token_ids: List of int, []. The generated tokens.
        chosen: Int or None, None. The chosen generated token, counted from 0; when a generation ends and none is chosen, the
            token that the model found least probable.
        selected: List of int, []. The position of the chosen token among all tokens of `text`, as a linked `AttentionView`
            or `TokenInspector` counts them; [] if the tokenizer would split the text differently from how it was written.
        branch: Int, 0. The branch that is shown; 0 for none.
        running: Bool, False. Whether the model is writing.
        chat: Bool, False. Send the prompt as a chat message, in the model's chat template.
        do_sample: Bool. Sample tokens, rather than take the most probable. Like the settings below it, its initial value
            is the checkpoint's.
        temperature: Float. Above 1, improbable tokens are sampled more often; below 1, less often.
        top_k: Int. Sample from this many of the most probable tokens; 0 for all.
        top_p: Float. Sample from the smallest set of most probable tokens with this total probability.
        repetition_penalty: Float. Above 1, tokens already in the text become less probable.
        max_new_tokens: Int. The maximum number of tokens to generate at a time.
        seed: Int, 0. The seed for sampling: the same seed gives the same text. The button "Generate" draws a new one for
            each sampled text, unless it is pinned.
        pinned: Bool, False. Whether the button keeps the seed.
        colour: Str, "probability". The colour of the tokens: "probability", "entropy" or "attention".
        layer: Int or None, None. The layer whose attention is shown; None for all.
        head: Int or None, None. The head whose attention is shown; None for all.
        combine: Str, "mean". How several layers and heads are combined: "mean" or "max".

    Raises:
        InputError: If the source does not generate text, or the prompt has no tokens.

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
    pinned = traitlets.Bool(False).tag(sync=True)
    colour = traitlets.Enum(["probability", "entropy", "attention"], "probability").tag(sync=True)
    layer = traitlets.Int(None, allow_none=True, min=0).tag(sync=True)
    head = traitlets.Int(None, allow_none=True, min=0).tag(sync=True)
    combine = traitlets.Enum(["mean", "max"], "mean").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # facts about the model
    _shown = traitlets.Dict().tag(sync=True)  # the shown branch; while it grows, its beginning
    # The alternatives to the chosen token, for a page whose questions wait for running cells.
    _first = traitlets.Dict().tag(sync=True)
    _branches: traitlets.List[Any] = traitlets.List([]).tag(sync=True)  # one line per branch
    _problem = traitlets.Dict().tag(sync=True)  # why the last run failed: {what, next_step}

    def __init__(self, source: Any = None, prompt: str = "", *, tokenizer: Any = None, **traits: Any) -> None:
        self._writer: Writer | None = None
        self._kept = Branches()
        self._run: Generation | None = None
        self._is_text_tokens = False  # whether the tokenizer splits `text` into the tokens of the branch
        self._run_lock = threading.RLock()
        writer = None if source is None else Writer(source, tokenizer)
        settings = {} if writer is None else writer.defaults()
        super().__init__(**{**settings, **traits, "prompt": prompt})
        if writer is not None:
            self._set_writer(writer)
        self.observe(self._on_branch, "branch")
        self.observe(self._on_chosen, ["chosen", "selected"])
        self.observe(self._on_text, "text")
        if prompt and writer is not None:
            self.generate(wait=False)

    # The model -----------------------------------------------------------------------------------------------------

    def use(self, model_or_pipeline: Any, tokenizer: Any = None) -> None:
        """Switch to another model. Generated texts are dropped; the prompt stays.

        Args:
            model_or_pipeline: As `source` of the class.
            tokenizer: For a model; a pipeline has one.

        Raises:
            InputError: If it does not generate text; the panel is then unchanged.
        """
        writer = Writer(model_or_pipeline, tokenizer)
        self.stop()
        self.wait()
        with self._run_lock, self.hold_sync():
            for name, value in writer.defaults().items():
                setattr(self, name, value)
            self._kept.clear()
            self._set_writer(writer)
            self.layer = self.head = None
            self._show(None)

    def _set_writer(self, writer: Writer) -> None:
        self._writer, self._token_attention = writer, TokenAttention(writer)
        self._about = {
            "name": writer.name,
            "is_encoder_decoder": writer.is_encoder_decoder,
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
        """The tokenizer, or None."""
        return self._writer and self._writer.tokenizer

    @property
    def _name(self) -> str:
        return self._writer.name if self._writer else ""

    def _writer_or_raise(self) -> Writer:
        if self._writer is None:
            raise InputError(
                "There is no model to generate with.", next_step="Call view.use(model_or_pipeline), or pick a model."
            )
        return self._writer

    # Writing -------------------------------------------------------------------------------------------------------

    def generate(self, prompt: str | None = None, wait: bool = True) -> GenerationView:
        """Generate from the prompt with the current settings.

        Args:
            prompt: A new value for `prompt`; None to keep it.
            wait: Whether to wait for the end of the generation.

        Returns:
            This view.

        Raises:
            InputError: If there is no model, or the prompt has no tokens.
        """
        if prompt is not None:
            self.prompt = prompt
        context, start = self._writer_or_raise().read(self.prompt, self.chat)
        if self._branch() is not None:
            self.chosen = None  # it was a token of another text
        return self._start(self._kept.new(self.prompt, context, start), wait)

    def go_on(self, wait: bool = True) -> GenerationView:
        """Continue from the end of the shown branch.

        Args:
            wait: Whether to wait for the end of the generation.

        Returns:
            This view.

        Raises:
            InputError: If there is no branch, or it ended with an end-of-text token.
        """
        old = self._branch_or_raise()
        if old.steps and old.ids[-1] in self._writer_or_raise().ends():
            raise InputError(
                "This text ended with an end-of-text token.",
                next_step="Choose a token, and an alternative to continue from.",
            )
        return self._start(self._kept.fork(old, len(old.steps), old.steps), wait)

    def continue_from(self, position: int, token: int, wait: bool = True) -> GenerationView:
        """Continue from an alternative, on a new branch that keeps the tokens before it.

        Args:
            position: The generated token to replace, counted from 0.
            token: The id of one of `alternatives(position)`.
            wait: Whether to wait for the end of the generation.

        Returns:
            This view.

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
        return self._start(self._kept.fork(old, position, [*old.steps[:position], other]), wait)

    def stop(self) -> None:
        """Stop the running generation; its tokens stay."""
        run = self._run
        if run is not None:
            run.stop()

    def wait(self, timeout: float | None = None) -> GenerationView:
        """Wait for the end of the generation. An interrupt stops the generation; its tokens stay.

        Args:
            timeout: The maximum number of seconds to wait; None for no limit.

        Returns:
            This view.
        """
        if timeout is not None and not isinstance(timeout, int | float):
            raise InputError(
                f"{timeout!r} is not a number of seconds.", next_step="Pass a number, or None for no limit."
            )
        if self._run is not None:
            self._run.wait(self, timeout)
        return self

    def _start(self, branch: Branch, wait: bool) -> GenerationView:
        writer = self._writer_or_raise()
        settings = {name: getattr(self, name) for name in SETTINGS}
        branch.settings = {**settings, "seed": self.seed}
        if branch.steps and branch.ids[-1] in writer.ends():
            branch.ended = "end"  # the chosen alternative is an end-of-text token
        run = Generation(branch, writer, settings, self.seed, self.branch)
        with self._run_lock:
            self.stop()  # a run that is still going; its branch keeps its tokens
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
        """Send the new tokens to the page; a page that shows another branch ignores them."""
        if self._run is run:
            self.send(*news_of(run.branch, run.writer.spelling, first))

    def _on_end(self, run: Generation) -> None:
        branch = run.branch
        with self._run_lock:
            if self._run is not run:  # a newer run decides what is shown
                self._branches = self._lines()
                return
            with self.hold_sync():
                self._problem = run.problem
                self.running = False
                if run.problem and not run.count:  # there is nothing to show except the problem
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
        """Set the traits to those of a branch."""
        with self._publishing():
            self.branch = 0 if branch is None else branch.number
            self._branches = self._lines()
            if branch is None:
                self._shown, self.generated, self.token_ids, self.chosen, self.selected = {}, "", [], None, []
                self._first = {}
                return
            writer = self._writer_or_raise()
            self._shown = {**for_page(branch, writer.spelling), "numbers": branch.numbers().tobytes()}
            if not branch.ended:
                return  # the traits below are of whole texts, so they change once, at the end
            self.generated = writer.text(branch)
            self.token_ids = branch.ids
            self.text = self.generated if writer.is_encoder_decoder else branch.prompt + self.generated
            self._is_text_tokens = self._is_tokenized_as(writer, branch)
            if self.chosen is None or self.chosen >= len(branch.steps):
                self.chosen = branch.most_surprising
            if self.chosen is not None:
                self._first = self._first_step(branch, self.chosen)
            self.selected = self._selection()

    def _first_step(self, branch: Branch, position: int) -> dict[str, Any]:
        answer = step_answer(branch.steps[position], position, self._writer_or_raise().spelling)
        return {"branch": branch.number, **answer.values, "numbers": answer.buffers[0]}

    def _lines(self) -> list[dict[str, Any]]:
        spelling = self._spelling
        return [] if spelling is None else [line_of(branch, spelling) for branch in self._kept]

    @property
    def _spelling(self) -> Spelling | None:
        return None if self._writer is None else self._writer.spelling

    def _is_tokenized_as(self, writer: Writer, branch: Branch) -> bool:
        """Whether the tokenizer splits `text` into exactly the tokens of the prompt and the branch."""
        if writer.is_encoder_decoder:
            return False
        try:
            ids = list(writer.tokenizer(self.text)["input_ids"])
        except Exception:  # whatever the reason, positions cannot be compared
            return False
        written = [*branch.context, *branch.ids]
        return ids == written or (branch.ended == "end" and ids == written[:-1])

    def _selection(self) -> list[int]:
        branch = self._branch()
        if branch is None or self.chosen is None or not self._is_text_tokens:
            return []
        return [len(branch.context) + self.chosen]

    def _on_branch(self, change: Any) -> None:
        if self._is_publishing:
            return
        with self._run_lock:
            branch = self._kept.get(change["new"])
            if branch is not None:
                self._show(branch)

    def _on_chosen(self, change: Any) -> None:
        if self._is_publishing:
            return
        with self._publishing():
            branch = self._branch()
            if change["name"] == "chosen":
                self.selected = self._selection()
            elif branch is not None and self._is_text_tokens:
                positions = [position - len(branch.context) for position in reversed(self.selected)]
                self.chosen = next((position for position in positions if 0 <= position < len(branch.steps)), None)

    def _on_text(self, change: Any) -> None:
        if not self._is_publishing:
            self.prompt = self.text

    # Questions -----------------------------------------------------------------------------------------------------

    def answer_generate(self, values: dict[str, Any]) -> Answer:
        """Generate from `prompt`, with a new seed unless it is pinned."""
        if self.do_sample and not self.pinned:
            self.seed = random.randrange(1_000_000)
        self.generate(str(values.get("prompt", self.prompt)), wait=False)
        return Answer({"branch": self.branch})

    def answer_go_on(self, values: dict[str, Any]) -> Answer:
        """Continue from the end."""
        self.go_on(wait=False)
        return Answer({"branch": self.branch})

    def answer_continue(self, values: dict[str, Any]) -> Answer:
        """Continue from an alternative: `branch`, `position` and `token`."""
        if int(values["branch"]) != self.branch:
            self.branch = int(values["branch"])
        position = int(values["position"])
        self.continue_from(position, int(values["token"]), wait=False)
        self.chosen = position
        return Answer({"branch": self.branch})

    def answer_stop(self, values: dict[str, Any]) -> Answer:
        """Stop the run."""
        self.stop()
        return Answer()

    def answer_tokens(self, values: dict[str, Any]) -> Answer:
        """The current state of a branch, its tokens from `first` on, and four float32 numbers for each of them."""
        branch = self._kept.get(int(values["branch"]))
        if branch is None:
            return Answer({"gone": True})
        return tokens_answer(branch, self._writer_or_raise().spelling, int(values.get("first", 0)))

    def answer_step(self, values: dict[str, Any]) -> Answer:
        """The alternatives at a position, and `(before, after)` of each as float32."""
        branch, position = self._kept.get(int(values["branch"])), int(values["position"])
        if branch is None or not 0 <= position < len(branch.steps):
            return Answer({"gone": True})
        return step_answer(branch.steps[position], position, self._writer_or_raise().spelling)

    @slow
    def answer_attention(self, values: dict[str, Any]) -> Answer:
        """The attention behind one token: a float32 weight for each token before it."""
        branch, position = self._kept.get(int(values["branch"])), int(values["position"])
        if branch is None or not 0 <= position < len(branch.steps):
            return Answer({"gone": True})
        row = self._token_attention.of(
            branch,
            position,
            values.get("layer"),
            values.get("head"),
            str(values.get("combine", "mean")),
            self.check_cancelled,
        )
        return Answer({"position": position}, [row.numpy().tobytes()])

    # Results for programs --------------------------------------------------------------------------------------------

    def table(self) -> Any:
        """The generated tokens as a pandas DataFrame, one row per token.

        Columns: `token` (its text; for a part of a character, the bytes as hexadecimal digits), `id`, `probability`
        (according to the model alone), `rank` (1 for the most probable), `entropy` (in nats), `after` (its probability after
        the rules and filters, from which it was sampled) and `left` (the number of tokens that they leave to choose from).
        """
        return token_table(self._branch(), self._spelling)

    def alternatives(self, position: int) -> Any:
        """The alternatives to a generated token as a pandas DataFrame, by rank.

        Columns: `token`, `id`, `before` (the probability according to the model alone), `after` (the probability after the
        rules and filters, 0 if they exclude it) and `rank`.

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
        """What the model attended to when it wrote a token.

        Args:
            position: The generated token, counted from 0.
            layer: The layer; None for all.
            head: The head; None for all.
            combine: "mean" or "max" over layers and heads.

        Returns:
            `(tokens,)`, float32: one weight for each token before this one, or for an encoder-decoder, for each token that
            the encoder read.

        Raises:
            InputError: If there is no such token, layer or head, or the model does not expose its attention.
        """
        branch = self._branch_or_raise()
        step_of(branch, position)
        return self._token_attention.of(branch, position, layer, head, combine)

    def figure(self) -> Any:
        """The tokens, coloured by probability, as a matplotlib `Figure`."""
        return self._scene().figure()

    def face(self) -> Face:
        """The tokens as a picture and a table."""
        if self.running:
            self.wait(FACE_SECONDS)
        return self._scene().face()

    def _scene(self) -> Scene:
        return Scene(self._name, self.words, self._branch(), self._spelling, self.chosen)

    def offline_questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The questions for all branches, the alternatives to 400 tokens, and the attention that is shown."""
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
            how = {"layer": self.layer, "head": self.head, "combine": self.combine}
            for position in range(min(len(shown.steps), SAVED_STEPS)):
                yield "attention", {"branch": self.branch, "position": position, **how}  # as `story.js` asks

    def to_html(self, path: Any) -> Any:
        """Write the panel as one interactive HTML file that works offline; waits for a running generation.

        The file holds all branches, the alternatives to up to 400 tokens, and, if `colour` is "attention", the attention of
        each token of the shown branch.

        Args:
            path: The file to write.

        Returns:
            The path.
        """
        self.wait()
        return super().to_html(path)

    def close(self) -> None:
        """Close the panel and stop a running generation."""
        self.stop()
        super().close()

    def __repr__(self) -> str:
        branch = self._branch()
        count = 0 if branch is None else len(branch.steps)
        return f"GenerationView({self._name or 'no model'}, {shortened(self.prompt, 40)!r}: {count} tokens)"
