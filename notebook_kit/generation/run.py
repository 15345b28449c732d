"""One call of `generate`: the model, driven one step at a time, and the sequences that come of it."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import NotebookKitWarning
from notebook_kit.generation import outputs
from notebook_kit.generation.configuration import GenerationConfig
from notebook_kit.generation.processors import LogitsProcessorList
from notebook_kit.generation.prompt import Prompt
from notebook_kit.generation.stopping import StoppingCriteriaList
from notebook_kit.nn.cache import KVCache
from notebook_kit.nn.few_rows import PackedProducts, packing_pays
from notebook_kit.nn.inputs import inputs_of

__all__ = ["Run"]


class Run:
    """Drives the model and keeps the sequences; the ways of decoding choose the tokens.

    Rows are ordered by input: with `copies` of 3, rows 0 to 2 go on from input 0. A prompt is computed once, whatever the
    number of its copies.
    """

    def __init__(
        self,
        model: Any,
        prompt: Prompt,
        config: GenerationConfig,
        max_length: int,
        copies: int,
        processors: LogitsProcessorList,
        stopping: StoppingCriteriaList,
        eos: list[int],
        pad: int,
        streamer: Any = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.model, self.prompt, self.config = model, prompt, config
        self.processors, self.stopping, self.eos, self.pad = processors, stopping, eos, pad
        self.streamer, self.generator, self.copies = streamer, generator, copies
        self.inputs, self.prompt_length = prompt.ids.shape
        self.rows = self.inputs * copies
        self.max_length = max_length
        self.is_encoder_decoder = prompt.encoder_outputs is not None
        self.interrupted = False
        self.wants_hidden = False
        self.last_hidden: Any = None  # `(rows, new tokens, width)` of the newest step, where they are wanted
        self.before = prompt.before
        self.sequences = prompt.ids.new_full((self.rows, max_length), pad)
        self.sequences[:, : self.prompt_length] = prompt.ids.repeat_interleave(copies, dim=0)
        self.length = self.prompt_length
        self.cache = prompt.cache
        if self.cache is not None and self.cache.limit is not None:
            self.cache.limit = max(self.cache.limit, self.before + max_length)
        elif self.cache is None and config.use_cache:
            self.cache = KVCache(limit=self.before + max_length)
        self._mask, self._positions = self._padding(prompt.mask)
        self._takes_logits_to_keep = "logits_to_keep" in inputs_of(model).names
        self._first = True
        steps = max_length - self.prompt_length
        self._products = PackedProducts(self.rows) if packing_pays(model, self.rows, steps) else None
        self._kept: dict[str, list[Any]] = {}

    def _padding(self, mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Mask and positions of the longest sequence that there can be, for each input; None where nothing is padded."""
        if mask is None or (mask.device.type == "cpu" and bool(mask.all())):
            return None, None
        whole = mask.new_ones(mask.shape[0], self.before + self.max_length)
        whole[:, : mask.shape[1]] = mask
        positions = (whole.long().cumsum(-1) - 1).masked_fill(whole == 0, 0)
        return whole, positions

    @property
    def ids(self) -> Tensor:
        """`(rows, tokens so far)`."""
        return self.sequences[:, : self.length]

    def start(self) -> None:
        """Tell the streamer of the prompt."""
        if self.streamer is not None:
            self.streamer.put(self.prompt.ids.cpu())

    def step(self) -> Tensor:
        """Compute what may follow the sequences.

        Returns:
            Logits in float32, `(rows, vocabulary)`.
        """
        first, self._first = self._first, False
        seen = 0 if self.cache is None else self.cache.length
        end = self.before + self.length
        ids = self.prompt.ids if first else self.ids
        call: dict[str, Any] = {"past_key_values": self.cache, "use_cache": self.cache is not None}
        for name in ("output_attentions", "output_hidden_states"):
            if getattr(self.config, name) or (name == "output_hidden_states" and self.wants_hidden):
                call[name] = True
        prefix = ""
        if not first and self._mask is not None and self._mask.shape[0] != self.rows:  # from here on a row a copy
            self._mask = self._mask.repeat_interleave(self.copies, dim=0)
            self._positions = self._positions.repeat_interleave(self.copies, dim=0)  # type: ignore[union-attr]
        mask, positions = self._mask, self._positions
        if self.is_encoder_decoder:
            prefix = "decoder_"
            call |= {"encoder_outputs": self.prompt.encoder_outputs, "attention_mask": self.prompt.encoder_mask}
        elif positions is not None:
            call["position_ids"] = positions[:, seen:end]
        if mask is not None:
            call[f"{prefix}attention_mask"] = mask[:, :end]
        if first and self.prompt.embeds is not None:
            call["inputs_embeds"] = self.prompt.embeds
        else:
            call[f"{prefix}input_ids"] = ids[:, max(0, seen - self.before) :]
        if self._takes_logits_to_keep:
            call["logits_to_keep"] = 1
        with nullcontext() if first or self._products is None else self._products:
            out = self.model(**call, return_dict=True)
        logits = out.logits[:, -1].float()
        spread = self.copies if first else 1
        if self.wants_hidden:
            states = out.decoder_hidden_states if self.is_encoder_decoder else out.hidden_states
            self.last_hidden = states[-1].repeat_interleave(spread, dim=0) if spread > 1 else states[-1]
        if spread > 1:
            logits = logits.repeat_interleave(spread, dim=0)
            if self.cache is not None:
                self.cache.repeat(spread)
        self._keep(out, spread)
        return logits

    def _keep(self, out: Any, spread: int) -> None:
        if not self.config.return_dict_in_generate:
            return
        for wanted, names in (
            ("output_attentions", ("attentions", "decoder_attentions", "cross_attentions")),
            ("output_hidden_states", ("hidden_states", "decoder_hidden_states")),
        ):
            for name in names if getattr(self.config, wanted) else ():
                if out.get(name) is not None:
                    layers = tuple(x.repeat_interleave(spread, dim=0) if spread > 1 else x for x in out[name])
                    self._kept.setdefault(name, []).append(layers)

    def rules(self, logits: Tensor, start: Tensor | None = None) -> Tensor:
        """Apply all rules, and keep what the result shall show.

        Args:
            logits: As `step` returned them.
            start: What the rules apply to, where that is not the logits themselves.
        """
        scores = self.processors(self.ids, logits if start is None else start)
        if self.config.return_dict_in_generate:
            if self.config.output_scores:
                self._kept.setdefault("scores", []).append(scores)
            if self.config.output_logits:
                self._kept.setdefault("logits", []).append(logits)
        return scores

    @property
    def scores(self) -> tuple[Tensor, ...] | None:
        """The scores of every step, where they are kept."""
        return tuple(self._kept["scores"]) if "scores" in self._kept else None

    def append(self, tokens: Tensor, tell: bool = True) -> None:
        """Put one token at the end of each row: `(rows,)`; and tell the streamer of them."""
        self.sequences[:, self.length] = tokens
        self.length += 1
        if tell and self.streamer is not None:
            self.streamer.put(tokens.cpu())

    def replace_newest(self, tokens: Tensor) -> None:
        """Put other tokens where the newest ones are, and tell the streamer of one for each input."""
        self.sequences[:, self.length - 1] = tokens
        if self.streamer is not None:
            self.streamer.put(tokens[:: self.copies].cpu())

    def share_newest(self, rows: Tensor) -> None:
        """Let row i have computed what row `rows[i]` has, where they differ in the newest position alone."""
        if self.cache is not None:
            self.cache.reorder(rows, start=self.cache.length - 1)

    def interrupt(self) -> None:
        """Note that the user ended the generation early."""
        self.interrupted = True
        made = self.length - self.prompt_length
        warnings.warn(
            f"Interrupted after {made} new token{'s' * (made != 1)}; what was made until then is returned.",
            NotebookKitWarning,
            stacklevel=7,
        )

    def result(self, sequences: Tensor, **more: Any) -> Any:
        """What `generate` returns: the sequences, or an object with all that was asked for."""
        if not self.config.return_dict_in_generate:
            return sequences
        if self.cache is not None:
            self.cache.crop(self.before + self.length - 1)  # an interrupted step may have filled some layers further
        beams = "Beam" if "beam_indices" in more else ""
        kind = "EncoderDecoder" if self.is_encoder_decoder else "DecoderOnly"
        values: dict[str, Any] = {name: tuple(steps) for name, steps in self._kept.items()}
        if self.is_encoder_decoder:
            encoder = self.prompt.encoder_outputs
            if isinstance(encoder, dict):
                if self.config.output_attentions:
                    values["encoder_attentions"] = encoder.get("attentions")
                if self.config.output_hidden_states:
                    values["encoder_hidden_states"] = encoder.get("hidden_states")
        made = getattr(outputs, f"Generate{beams}{kind}Output")
        return made(sequences=sequences, past_key_values=self.cache, **values, **more)
