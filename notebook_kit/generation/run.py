"""One call of `generate`: the model, driven one step at a time, and the resulting sequences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import warn
from notebook_kit.generation import outputs
from notebook_kit.generation.configuration import GenerationConfig
from notebook_kit.generation.processors import LogitsProcessorList
from notebook_kit.generation.prompt import Prompt
from notebook_kit.generation.stopping import StoppingCriteriaList
from notebook_kit.nn.cache import KVCache, StaticCache, as_cache
from notebook_kit.nn.few_rows import PackedProducts, packing_pays
from notebook_kit.nn.inputs import inputs_of

__all__ = ["Run", "positions_in"]

_STATES = {
    "output_attentions": ("attentions", "decoder_attentions", "cross_attentions"),
    "output_hidden_states": ("hidden_states", "decoder_hidden_states"),
}


@dataclass(eq=False)
class Run:
    """Drives the model and holds the sequences; the search methods choose the tokens.

    Rows are ordered by input: with `copies` of 3, rows 0 to 2 continue input 0. A prompt is computed once, whatever the
    number of its copies.

    Attributes:
        model, prompt, config: The model, the checked prompt, and all settings.
        max_length: The maximum length of a sequence in tokens, prompt included.
        copies: The number of rows per input.
        processors, stopping: The rules and the stopping criteria.
        eos: The tokens that end a sequence.
        pad: The token that follows an ended sequence.
        streamer, generator, on_interrupt: As in `GenerationMixin.generate`.
        propose: With assisted generation, a `Proposer`.
        sequences: `(rows, max_length)` of token ids; the first `length` columns are filled.
        last_hidden: `(rows, new tokens, width)`: the last hidden states of the newest step, if `wants_hidden` is True.
    """

    model: Any
    prompt: Prompt
    config: GenerationConfig
    max_length: int
    copies: int
    processors: LogitsProcessorList
    stopping: StoppingCriteriaList
    eos: list[int]
    pad: int
    streamer: Any = None
    generator: torch.Generator | None = None
    on_interrupt: str = "return"
    propose: Any = None

    def __post_init__(self) -> None:
        prompt, config = self.prompt, self.config
        self.inputs, self.prompt_length = prompt.ids.shape
        self.rows = self.inputs * self.copies
        self.is_encoder_decoder = prompt.encoder_outputs is not None
        self.interrupted = self.wants_hidden = False
        self.last_hidden: Any = None
        self.sequences = prompt.ids.new_full((self.rows, self.max_length), self.pad)
        self.sequences[:, : self.prompt_length] = prompt.ids.repeat_interleave(self.copies, dim=0)
        self.length = self.prompt_length
        self.cache = prompt.cache
        positions = prompt.hidden_positions + self.max_length
        if self.cache is not None and self.cache.limit is not None:
            self.cache.limit = max(self.cache.limit, positions)
        elif self.cache is None and config.use_cache:
            is_static = config.cache_implementation == "static"
            self.cache = StaticCache(max_cache_len=positions) if is_static else KVCache(limit=positions)
        self._mask, self._positions = _padded(prompt.mask, positions)
        self._takes_logits_to_keep = "logits_to_keep" in inputs_of(self.model).names
        self._is_first, self._is_repeated, self._more, self._virtual = True, False, dict(prompt.more), 0
        steps = self.max_length - self.prompt_length
        self._products = PackedProducts(self.model, self.rows) if packing_pays(self.model, self.rows, steps) else None
        self._kept: dict[str, list[Any]] = {}
        self._outputs = [name for name in _STATES if getattr(config, name)]
        self._kept_states = [
            state for name in self._outputs if config.return_dict_in_generate for state in _STATES[name]
        ]

    @property
    def unseen_positions(self) -> int:
        """The number of positions in the cache that the sequences do not contain: vectors in place of ids."""
        return self.prompt.hidden_positions + self._virtual

    @property
    def ids(self) -> Tensor:
        """`(rows, tokens so far)`."""
        return self.sequences[:, : self.length]

    def step(self) -> Tensor:
        """Compute the logits of the next token.

        Returns:
            `(rows, vocabulary)` in float32.
        """
        return self._logits(1)[:, -1]

    def verify(self, proposed: list[int]) -> Tensor:
        """Compute the logits of the next token and of those after each proposed token, for a single row.

        Returns:
            `(1, proposed + 1, vocabulary)` in float32.
        """
        end = self.length + len(proposed)
        self.sequences[0, self.length : end] = self.sequences.new_tensor(proposed)
        before, self.length = self.length, end
        try:
            return self._logits(len(proposed) + 1)
        finally:
            self.length = before

    def forget_rejected(self) -> None:
        """Discard the cached positions that are not those of the sequences."""
        if self.cache is not None:
            self.cache.crop(self.unseen_positions + self.length - 1)

    def choose(self, scores: Tensor) -> Tensor:
        """The next token of each row, sampled or most probable, `(rows,)`."""
        if self.config.do_sample:
            return torch.multinomial(scores.softmax(dim=-1), 1, generator=self.generator)[:, 0]
        return scores.argmax(dim=-1)

    def _inputs(self, is_first: bool) -> dict[str, Any]:
        """The model's inputs for the tokens that it has not read yet."""
        hidden, prompt = self.prompt.hidden_positions, self.prompt
        seen, end = 0 if self.cache is None else self.cache.length - self._virtual, hidden + self.length
        if not is_first and self.copies > 1 and not self._is_repeated:  # one row per copy from now on
            self._is_repeated = True
            self._mask, self._positions = (
                x if x is None else _repeated(x, self.copies) for x in (self._mask, self._positions)
            )
            self._more = {n: _repeated(x, self.copies) if isinstance(x, Tensor) else x for n, x in self._more.items()}
        given: dict[str, Any] = {**self._more, "use_cache": self.cache is not None}
        mask = None if self._mask is None else self._mask[:, :end]
        if self.is_encoder_decoder:
            given |= {"encoder_outputs": prompt.encoder_outputs, "attention_mask": prompt.encoder_mask}
            given["decoder_attention_mask"] = mask
        else:
            given["attention_mask"] = mask
            given["position_ids"] = None if self._positions is None else self._positions[:, :end]
        call = self.model.prepare_inputs_for_generation(
            # Until the first step is done, all copies of a prompt are one row.
            self.sequences[:: self.copies, : self.length] if is_first else self.ids,
            next_sequence_length=end - seen,
            past_key_values=self.cache if seen or not is_first else None,  # an override may start with a cache
            inputs_embeds=prompt.embeds,
            is_first_iteration=is_first,
            **given,
        )
        if is_first and self.cache is not None and inputs_of(self.model).takes("past_key_values"):
            self._take_over(call, seen, end - seen)
        return call

    def _take_over(self, call: dict[str, Any], seen: int, unread: int) -> None:
        """Use the cache, and count the vectors, that the model has put before the prompt, as PEFT's tuned prompts are."""
        cache, embeds = as_cache(call.get("past_key_values")), call.get("inputs_embeds")
        if cache is not None and cache is not self.cache:
            self.cache, self._virtual = cache, cache.length - seen
        if embeds is not None:
            self._virtual += embeds.shape[1] - unread
        if self.cache is not None and self.cache.limit is not None:
            self.cache.limit += self._virtual
        call["past_key_values"] = self.cache

    def _logits(self, last: int) -> Tensor:
        """Call the model, and return the logits after each of the `last` positions, `(rows, last, vocabulary)`."""
        is_first, self._is_first = self._is_first, False
        call = self._inputs(is_first) | dict.fromkeys(self._outputs, True)
        if self.wants_hidden:
            call["output_hidden_states"] = True
        if self._takes_logits_to_keep:
            call["logits_to_keep"] = last
        with nullcontext() if is_first or self._products is None else self._products:
            out = self.model(**call, return_dict=True)
        copies = self.copies if is_first else 1
        if copies > 1 and self.cache is not None:
            self.cache.repeat(copies)
        if self.wants_hidden:
            states = out.decoder_hidden_states if self.is_encoder_decoder else out.hidden_states
            self.last_hidden = _repeated(states[-1], copies)
        for name in self._kept_states:
            if out.get(name) is not None:
                self._kept.setdefault(name, []).append(tuple(_repeated(x, copies) for x in out[name]))
        return _repeated(out.logits[:, -last:].float(), copies)

    def rules(self, logits: Tensor, scores: Tensor | None = None) -> Tensor:
        """Apply all rules, and keep the scores that the result will contain.

        Args:
            logits: As `step` returned them.
            scores: The scores to apply the rules to, if not the logits themselves.
        """
        scores = self.processors(self.ids, logits if scores is None else scores)
        if self.config.return_dict_in_generate:
            if self.config.output_scores:
                self._kept.setdefault("scores", []).append(scores)
            if self.config.output_logits:
                self._kept.setdefault("logits", []).append(logits)
        return scores

    @property
    def scores(self) -> tuple[Tensor, ...] | None:
        """The scores of every step, if `output_scores` keeps them."""
        return tuple(self._kept["scores"]) if "scores" in self._kept else None

    def append(self, tokens: Tensor, stream: bool = True) -> None:
        """Append one token to each row, `(rows,)`, and pass them to the streamer."""
        self.sequences[:, self.length] = tokens
        self.length += 1
        if stream and self.streamer is not None:
            self.streamer.put(tokens.cpu())

    def replace_newest(self, tokens: Tensor) -> None:
        """Replace the newest tokens, `(rows,)`, and pass one per input to the streamer."""
        self.sequences[:, self.length - 1] = tokens
        if self.streamer is not None:
            self.streamer.put(tokens[:: self.copies].cpu())

    def share_newest(self, rows: Tensor) -> None:
        """Copy the newest position of row `rows[i]` to row i in the cache; all earlier positions must be equal."""
        if self.cache is not None:
            self.cache.reorder(rows, start=self.cache.length - 1)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let an interrupt end this block with a warning, unless `on_interrupt` is `"raise"`."""
        try:
            yield
        except KeyboardInterrupt:
            if self.on_interrupt == "raise":
                raise
            self.interrupted = True
            count = self.length - self.prompt_length
            warn(f"Interrupted after {count} new token{'s' * (count != 1)}; the tokens so far are returned.")

    def result(self, sequences: Tensor, **more: Any) -> Any:
        """The result of `generate`: the sequences, or an object with everything that the settings ask for."""
        if not self.config.return_dict_in_generate:
            return sequences
        self.forget_rejected()  # an interrupted step may have stored one more position in some layers
        values: dict[str, Any] = {name: tuple(steps) for name, steps in self._kept.items()}
        encoder = self.prompt.encoder_outputs
        if isinstance(encoder, dict):
            kinds = [name.removeprefix("output_") for name in self._outputs]
            values |= {f"encoder_{kind}": encoder.get(kind) for kind in kinds}
        beams = "Beam" if "beam_indices" in more else ""
        kind = "EncoderDecoder" if self.is_encoder_decoder else "DecoderOnly"
        output = getattr(outputs, f"Generate{beams}{kind}Output")
        return output(sequences=sequences, past_key_values=self.cache, **values, **more)


def _padded(mask: Tensor | None, length: int) -> tuple[Tensor | None, Tensor | None]:
    """The mask and the position ids of sequences of this length, `(inputs, length)`; None without padding."""
    if mask is None or (mask.device.type == "cpu" and bool(mask.all())):
        return None, None
    whole = mask.new_ones(mask.shape[0], length)
    whole[:, : mask.shape[1]] = mask
    return whole, positions_in(whole)


def positions_in(mask: Tensor) -> Tensor:
    """The position of each token, counted from the first one that is not padding: `(rows, length)` like the mask.

    Example:
        >>> positions_in(torch.tensor([[0, 0, 1, 1]])).tolist()
        [[0, 0, 0, 1]]
    """
    return (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, 0)


def _repeated(x: Tensor, times: int) -> Tensor:
    return x.repeat_interleave(times, dim=0) if times > 1 else x
