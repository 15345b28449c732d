"""SpeechGenerationMixin: transcripts of recordings of any length, with languages, tasks, times, and a second try where one
fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError, warn
from notebook_kit.generation.configuration import GenerationConfig
from notebook_kit.generation.mixin import GenerationMixin
from notebook_kit.generation.recordings import Recordings
from notebook_kit.generation.run import positions_in
from notebook_kit.generation.speech_rules import WhisperTimeStampLogitsProcessor
from notebook_kit.generation.speech_segments import compression_ratio, joined, mean_logprob, split_segments
from notebook_kit.generation.speech_settings import SpeechSettings, first_tokens, resolve_speech, setting, start_token
from notebook_kit.generation.word_times import token_times
from notebook_kit.nn.attention import AttentionRecord, record_attention
from notebook_kit.nn.outputs import BaseModelOutput

__all__ = ["SpeechGenerationMixin"]


class SpeechGenerationMixin(GenerationMixin):
    """`generate` for a model that transcribes a spectrogram.

    The spectrogram of a long recording is read in stretches of what the encoder takes at once (30 seconds). Each begins where
    the last whole segment before it ended.
    """

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        input_features: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: list[Any] | None = None,
        stopping_criteria: list[Any] | None = None,
        prefix_allowed_tokens_fn: Callable[[int, Tensor], list[int]] | None = None,
        return_timestamps: bool | None = None,
        task: str | None = None,
        language: str | Sequence[str] | None = None,
        is_multilingual: bool | None = None,
        prompt_ids: Tensor | None = None,
        prompt_condition_type: str | None = None,
        condition_on_prev_tokens: bool | None = None,
        temperature: float | Sequence[float] | None = None,
        compression_ratio_threshold: float | None = None,
        logprob_threshold: float | None = None,
        no_speech_threshold: float | None = None,
        attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        return_token_timestamps: bool | None = None,
        return_segments: bool = False,
        return_dict_in_generate: bool | None = None,
        force_unique_generate_call: bool | None = None,
        monitor_progress: Callable[[Tensor], None] | None = None,
        **settings: Any,
    ) -> Any:
        """Transcribe or translate recordings.

        Args:
            input_features: `(batch, bands, frames)`, log-mel spectrograms from the checkpoint's feature extractor; of any
                length with `truncation=False`. More than 30 seconds are transcribed with `return_timestamps`.
            generation_config: Settings in place of the checkpoint's.
            logits_processor, stopping_criteria, prefix_allowed_tokens_fn: As in `GenerationMixin.generate`.
            return_timestamps: Write the times at which segments begin and end, as tokens.
            task: `"transcribe"`, or `"translate"` for a translation into English.
            language: What is spoken, by name or code; a list for one language per recording; None to detect it.
            is_multilingual: Overrides the checkpoint's setting.
            prompt_ids: `(tokens,)`, a text before the transcript, such as names to spell, from `processor.get_prompt_ids`.
            prompt_condition_type: Where the prompt is read: `"first-segment"` (the default) or `"all-segments"`.
            condition_on_prev_tokens: Let the decoder read what it wrote for the stretch before.
            temperature: 0 for the most probable tokens, more to sample; a tuple of values is tried in order, until the
                transcript of a stretch passes the thresholds.
            compression_ratio_threshold: A transcript that zlib compresses more than this (1.35 is usual) repeats itself, and
                fails.
            logprob_threshold: A transcript whose mean log-probability is lower (-1.0 is usual) fails.
            no_speech_threshold: A stretch that is more probably silent than this (0.6 is usual), and whose transcript fails
                `logprob_threshold`, is skipped.
            attention_mask: `(batch, frames)`, 1 for sound; needed for several long recordings. Older code passes `num_frames`
                in its place: the frames of sound of each recording.
            encoder_outputs: The encoder's output, in place of spectrograms of at most 30 seconds.
            return_token_timestamps: Also compute the time of each token, from cross-attention.
            return_segments: Also return the segments.
            return_dict_in_generate: Return an object; `output_scores=True` and the like require it.
            force_unique_generate_call: Transcribe one stretch only, and return its tokens unchanged; by default as the
                checkpoint says.
            monitor_progress: Called before each stretch with `(batch, 2)`: the frames done, and all frames.
            **settings: Settings of `GenerationMixin.generate`, such as `num_beams`, `max_new_tokens` or `streamer`; and
                `forced_decoder_ids`, which older code passes in place of `language` and `task`.

        Returns:
            `(batch, tokens)`, the transcripts without the tokens that they begin with and the end token; with
            `return_segments` or `return_token_timestamps`, a dictionary with these as `sequences`, `segments` (for each
            recording a list of `start` and `end` in seconds, `tokens`, `idxs` and `result`) and `token_timestamps` in seconds,
            which do not depend on the other recordings of the batch.
            With `return_dict_in_generate` and without `return_timestamps`, the object that `GenerationMixin.generate` returns.

        Raises:
            InputError: For an unknown language or task, or settings that contradict each other.
            ConfigurationError: If the checkpoint lacks what a setting needs.

        Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, sections 3.8 and 4.5.

        Example:
            >>> import torch
            >>> from notebook_kit import WhisperConfig, WhisperForConditionalGeneration
            >>> config = WhisperConfig(d_model=48, encoder_layers=1, decoder_layers=1, max_source_positions=50)
            >>> model = WhisperForConditionalGeneration(config).eval()
            >>> model.generate(torch.zeros(1, 80, 100), max_new_tokens=4, eos_token_id=None).shape
            torch.Size([1, 4])
        """
        stored = self.generation_config if generation_config is None else generation_config
        features = settings.pop("inputs", None) if input_features is None else input_features
        source = Recordings(self, features, encoder_outputs, attention_mask, settings.pop("num_frames", None))
        given = {
            "return_timestamps": return_timestamps,
            "return_token_timestamps": return_token_timestamps,
            "is_multilingual": is_multilingual,
            "condition_on_prev_tokens": condition_on_prev_tokens,
            "compression_ratio_threshold": compression_ratio_threshold,
            "logprob_threshold": logprob_threshold,
            "no_speech_threshold": no_speech_threshold,
            "prompt_condition_type": prompt_condition_type or "first-segment",
        }
        resolved = resolve_speech(self, stored, given, temperature, source.is_long)
        multilingual = getattr(stored, "is_multilingual", None) if is_multilingual is None else is_multilingual
        if multilingual is False and (task is not None or language is not None):
            raise InputError(
                "This checkpoint only transcribes English, so it takes neither a language nor a task.",
                next_step="Leave both out, or use a multilingual checkpoint (one whose name does not end with .en).",
            )
        if settings.pop("decoder_input_ids", None) is not None:
            raise InputError(
                "decoder_input_ids follow from language=, task= and the text before each stretch.",
                next_step="Pass prompt_ids for a text that precedes the transcript.",
            )
        forced = settings.pop("forced_decoder_ids", None)
        forced = (
            forced or getattr(stored, "forced_decoder_ids", None) or getattr(self.config, "forced_decoder_ids", None)
        )
        on_interrupt = settings.pop("on_interrupt", "return")
        if on_interrupt not in ("return", "raise"):
            raise InputError(f"on_interrupt is {on_interrupt!r}.", next_step='Pass "return" or "raise".')
        language = getattr(stored, "language", None) if language is None else language
        task = getattr(stored, "task", None) if task is None else task

        wants_dict = bool(
            stored.return_dict_in_generate if return_dict_in_generate is None else return_dict_in_generate
        )
        if wants_dict:
            names = ("output_attentions", "output_hidden_states")
            source.wanted = {name: True for name in names if setting(stored, name, settings.get(name))}

        def detect() -> list[int]:
            return self._language_tokens(source.encoded(source.rows), stored)

        begin = first_tokens(stored, resolved, len(source), language, task, detect, forced)
        copies = settings.pop("num_return_sequences", None) or stored.num_return_sequences or 1
        call = {
            "generation_config": generation_config,
            "logits_processor": logits_processor,
            "stopping_criteria": stopping_criteria,
            "prefix_allowed_tokens_fn": prefix_allowed_tokens_fn,
            "return_dict_in_generate": wants_dict,
            "num_return_sequences": 1,
            "on_interrupt": "raise",  # else the next stretch would begin
            **settings,
        }
        if copies > 1:
            source.repeat(copies)
            begin = [tokens for tokens in begin for _ in range(copies)]
        prompt = None if prompt_ids is None else torch.as_tensor(prompt_ids, dtype=torch.long)
        once = bool(setting(stored, "force_unique_generate_call", force_unique_generate_call))
        transcription = Transcription(self, source, resolved, stored, begin, call, prompt)
        try:
            transcription.run(once=once, progress=monitor_progress)
        except KeyboardInterrupt:
            if on_interrupt == "raise" or not any(transcription.segments):
                raise
            warn("Interrupted; the stretches that were transcribed by then are returned.")
            return transcription.result(return_segments or wants_dict)
        if once or (wants_dict and not return_timestamps):
            return transcription.last_result
        return transcription.result(return_segments or wants_dict)

    @torch.no_grad()
    def detect_language(
        self,
        input_features: Tensor | None = None,
        encoder_outputs: Any = None,
        generation_config: GenerationConfig | None = None,
    ) -> Tensor:
        """The token of the language that is spoken at the beginning of each recording, `(batch,)`.

        Args:
            input_features: `(batch, bands, frames)`.
            encoder_outputs: The encoder's output, in place of spectrograms.
            generation_config: Settings in place of the checkpoint's.

        Raises:
            InputError: If there is neither, or both.
        """
        source = Recordings(self, input_features, encoder_outputs, None)
        stored = self.generation_config if generation_config is None else generation_config
        return torch.tensor(self._language_tokens(source.encoded(source.rows), stored), device=self.device)  # type: ignore[attr-defined]

    def _language_tokens(self, encoded: Tensor, stored: GenerationConfig) -> list[int]:
        ids = torch.full((len(encoded), 1), start_token(self, stored))
        out = self(  # type: ignore[operator]
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            decoder_input_ids=ids.to(encoded.device),
            use_cache=False,
            return_dict=True,
        )
        languages = torch.tensor(sorted(stored.lang_to_id.values()), device=encoded.device)
        return languages[out.logits[:, -1][:, languages].argmax(dim=-1)].tolist()

    def prepare_inputs_for_generation(self, input_ids: Tensor, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """As in `GenerationMixin`; positions are counted from the first token that is not padding."""
        mask = options.get("decoder_attention_mask")
        call = super().prepare_inputs_for_generation(input_ids, **options)
        if mask is not None and "decoder_position_ids" not in call:
            call["decoder_position_ids"] = positions_in(mask)[:, -call["decoder_input_ids"].shape[1] :]
        return call

    def generate_stretch(self, **call: Any) -> Any:
        """`GenerationMixin.generate`, for one stretch of each recording."""
        return super().generate(**call)


@dataclass
class Attempt:
    """One transcript of a stretch.

    Attributes:
        tokens: `(tokens,)`, without the tokens that it begins with and the end token.
        result: What `generate` returned for this row.
        times: `(tokens,)`, seconds, with an entry for each token that it begins with; None if not asked for.
        skip: Whether the stretch is silent.
        conditions: Whether the next stretch may read this transcript.
    """

    tokens: Tensor
    result: Any
    times: Tensor | None = None
    skip: bool = False
    conditions: bool = False


@dataclass
class Transcription:
    """Transcribes recordings stretch by stretch.

    Attributes:
        segments: For each recording its segments so far.
        last_result: What the last call of `generate` returned.
    """

    model: Any
    source: Recordings
    settings: SpeechSettings
    stored: GenerationConfig
    begin: list[list[int]]
    call: dict[str, Any]
    prompt: Tensor | None = None
    segments: list[list[dict[str, Any]]] = field(default_factory=list)
    last_result: Any = None
    precision: float = 0.02  # seconds per step of time

    def run(self, once: bool = False, progress: Callable[[Tensor], None] | None = None) -> None:
        """Transcribe all stretches, or the first ones alone."""
        source, settings = self.source, self.settings
        self.segments = [[] for _ in range(len(source))]
        self.earlier: list[list[Tensor]] = [self._prompt_before() for _ in range(len(source))]
        self.conditions = [settings.condition_on_prev_tokens] * len(source)
        while rows := source.rows:
            if progress is not None:
                progress(torch.tensor([source.seek, source.ends]).T)
            prompts, mask = self._prompts(rows)
            for row, attempt in zip(rows, self._attempts(rows, prompts, mask), strict=True):
                self._take(row, attempt, prompts.shape[1])
            if once:
                return

    def _take(self, row: int, attempt: Attempt, begin: int) -> None:
        """Add the segments of a stretch, and go on behind them."""
        source, settings = self.source, self.settings
        self.conditions[row] = attempt.conditions
        frames = source.frames_left(row)
        if attempt.skip:
            source.seek[row] += frames
            return
        offset = source.seek[row] * self.precision / source.stride
        found, step = split_segments(attempt.tokens, settings.time_begin, offset, frames, source.stride, self.precision)
        for segment in found:
            first, last = segment.pop("span")
            segment["idxs"] = (begin + first, begin + last)
            segment["result"] = attempt.result
            if attempt.times is not None:
                segment["token_timestamps"] = attempt.times[begin + first : begin + last] + offset
        self.segments[row] += found
        self.earlier[row] += [self._without_double_end(segment["tokens"]) for segment in found]
        source.seek[row] += step

    # The decoder's prompt ---------------------------------------------------------------------------------------------

    def _prompt_before(self) -> list[Tensor]:
        """The prompt, if it takes the place of text before the first stretch."""
        if self.prompt is None or self.settings.prompt_condition_type != "first-segment":
            return []
        ids = self.prompt.to(self.model.device)
        return [ids[1:] if len(ids) and int(ids[0]) == self.settings.previous else ids]

    def _without_double_end(self, tokens: Tensor) -> Tensor:
        doubled = len(tokens) > 2 and int(tokens[-2]) >= self.settings.time_begin
        return tokens[:-1] if doubled else tokens

    def _prompts(self, rows: list[int]) -> tuple[Tensor, Tensor | None]:
        """The tokens that each transcript begins with, after the text before it; and the mask of padding, if there is any."""
        settings, device = self.settings, self.model.device
        begin = torch.tensor([self.begin[row] for row in rows], device=device)
        if any(self.conditions) and self.earlier[0]:
            most = self.model.config.max_target_positions // 2 - 1
            lead: Any = [] if settings.previous is None else [settings.previous]
            if self.prompt is not None and settings.prompt_condition_type == "all-segments":
                lead = self.prompt
            first = torch.as_tensor(lead, dtype=torch.long, device=device)
            parts = []
            for row in rows:
                text = torch.cat(self.earlier[row])[-most:] if self.conditions[row] and self.earlier[row] else first[:0]
                parts.append([first, text])
            ids = torch.cat([joined(parts, settings.pad, side="left"), begin], dim=1)
            return ids, (ids != settings.pad).long()
        if self.prompt is not None:
            ids = self.prompt.to(device)[None].expand(len(rows), -1)
            begin = torch.cat([ids, begin], dim=1)
        return begin, None

    # One stretch --------------------------------------------------------------------------------------------------------

    def _attempts(self, rows: list[int], prompts: Tensor, mask: Tensor | None) -> list[Attempt]:
        """A transcript of the next stretch of each recording: the first that passes, or else the last one."""
        states = self.source.encoded(rows)
        silent = self._silence(states, prompts, mask)
        attempts: list[Any] = [None] * len(rows)
        open_rows = list(range(len(rows)))
        for temperature in self.settings.temperatures:
            part = torch.tensor(open_rows, device=states.device)
            made = self._decode(
                [rows[one] for one in open_rows],
                self._encoded(states, part),
                prompts[part],
                None if mask is None else mask[part],
                temperature,
            )
            failed = []
            for one, (attempt, is_poor, is_unsure) in zip(open_rows, made, strict=True):
                attempt.skip = is_unsure and silent is not None and bool(silent[one])
                attempt.conditions = self.settings.condition_on_prev_tokens and temperature < 0.5
                attempts[one] = attempt
                if is_poor and not attempt.skip:
                    failed.append(one)
            open_rows = failed
            if not open_rows:
                break
        return attempts

    def _silence(self, states: Tensor, prompts: Tensor, mask: Tensor | None) -> Tensor | None:
        """Whether each stretch is probably silent: what the model would write directly after the start token."""
        settings = self.settings
        if settings.no_speech_threshold is None or settings.no_timestamps is None:
            return None
        count = prompts.shape[1] - len(self.begin[0]) + 1
        out = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            decoder_input_ids=prompts[:, :count],
            decoder_attention_mask=None if mask is None else mask[:, :count],
            decoder_position_ids=None if mask is None else positions_in(mask[:, :count]),
            use_cache=False,
            return_dict=True,
        )
        probability = out.logits[:, -1].float().softmax(dim=-1)[:, settings.no_timestamps - 1]
        return probability > settings.no_speech_threshold

    def _encoded(self, states: Tensor, part: Tensor) -> BaseModelOutput:
        """The encoder's output for a part of the recordings."""
        layers = {name: tuple(one[part] for one in values) for name, values in self.source.layers.items()}
        return BaseModelOutput(last_hidden_state=states[part], **layers)

    def _decode(
        self, rows: list[int], encoded: BaseModelOutput, prompts: Tensor, mask: Tensor | None, temperature: float
    ) -> Iterator[tuple[Attempt, bool, bool]]:
        """Transcripts at one temperature; for each, whether it is poor, and whether the model was unsure."""
        settings, T = self.settings, prompts.shape[1]
        with self._recording() as record:
            result = self.model.generate_stretch(**self._arguments(encoded, prompts, mask, temperature, rows))
        self.last_result = result
        keeps = isinstance(result, dict)
        sequences = result["sequences"] if keeps else result
        times = None if record is None else self._times(record, rows, sequences, T, result)
        if times is not None and keeps:
            self.last_result = {**result, "token_timestamps": times}
        for row, sequence in enumerate(sequences):
            written = sequence[T:]
            ends = torch.isin(written, torch.tensor(settings.end, device=written.device)).nonzero()
            stop = int(ends[0]) if len(ends) else len(written)
            with_end = written[: stop + 1]
            is_poor = is_unsure = False
            if settings.compression_ratio_threshold is not None:
                ratio = compression_ratio(with_end, self.model.config.vocab_size)
                is_poor = ratio > settings.compression_ratio_threshold
            if settings.logprob_threshold is not None:
                is_unsure = mean_logprob(_scores_of(result, row), with_end, temperature) < settings.logprob_threshold
            own = {name: _of_row(name, value, row) for name, value in result.items()} if keeps else sequence
            own_times = None if times is None else times[row]
            if keeps and own_times is not None:
                own["token_timestamps"] = own_times
            yield Attempt(written[:stop], own, own_times), is_poor or is_unsure, is_unsure

    def _arguments(
        self, encoded: BaseModelOutput, prompts: Tensor, mask: Tensor | None, temperature: float, rows: list[int]
    ) -> dict[str, Any]:
        """The arguments of `generate` for one stretch."""
        settings, call = self.settings, dict(self.call)
        rules = (
            [WhisperTimeStampLogitsProcessor(self._rule_config(), prompts.shape[1])]
            if settings.return_timestamps
            else []
        )
        call["logits_processor"] = [*rules, *(call["logits_processor"] or ())]
        if temperature > 0:
            call |= {"do_sample": True, "temperature": temperature, "num_beams": 1}
        if settings.logprob_threshold is not None:
            call |= {"return_dict_in_generate": True, "output_scores": True}
        if settings.return_token_timestamps:
            call["return_dict_in_generate"] = True
        call |= self._length(prompts.shape[1])
        source: dict[str, Any] = {"encoder_outputs": encoded}
        if call.get("assistant_model") is not None:  # an assistant has another encoder
            source = {"inputs": self.source.stretch(rows)}
        return {
            **call,
            **source,
            "decoder_input_ids": prompts,
            "decoder_attention_mask": mask,
            "decoder_start_token_id": prompts[:, 0].tolist(),  # the prompt is complete: nothing is put before it
        }

    def _rule_config(self) -> GenerationConfig:
        if self.stored.eos_token_id is not None:
            return self.stored
        return GenerationConfig.from_dict({**self.stored.to_dict(), "eos_token_id": self.settings.end[0]})

    def _length(self, begin: int) -> dict[str, int | None]:
        """The limit on tokens: that of the call or the checkpoint, beside those that a transcript begins with."""
        most = self.call.get("max_new_tokens") or (None if self.call.get("max_length") else self.stored.max_new_tokens)
        if most is not None:
            return {"max_new_tokens": most, "max_length": None}
        positions = self.model.config.max_target_positions
        longest = self.call.get("max_length") or self.stored.max_length or positions
        return {"max_length": min(longest + min(positions // 2 - 1, begin), positions)}

    # Times of tokens ----------------------------------------------------------------------------------------------------

    def _recording(self) -> contextlib.AbstractContextManager[AttentionRecord | None]:
        if not self.settings.return_token_timestamps:
            return contextlib.nullcontext()
        layers = {layer for layer, _ in self.settings.alignment_heads}
        return record_attention(self.model.get_decoder(), layers=layers, kinds=["cross"])

    def _times(self, record: AttentionRecord, rows: list[int], sequences: Tensor, begin: int, result: Any) -> Tensor:
        """The time of each token, `(rows, tokens)`; 0 for those that a transcript begins with."""
        settings, times = self.settings, torch.zeros(sequences.shape)
        steps = {layer: record.steps(layer, kind="cross") for layer, _ in settings.alignment_heads}
        copies = max(len(weights) for weights in next(iter(steps.values()))) // len(rows)
        for row, source_row in enumerate(rows):
            ended = torch.isin(sequences[row, begin:], torch.tensor(settings.end, device=sequences.device)).nonzero()
            count = int(ended[0]) + 1 if len(ended) else sequences.shape[1] - begin  # tokens, the end token included
            if count < 2:
                continue
            frames = None if self.source.sound is None else self.source.sound[source_row] - self.source.seek[source_row]
            limit = None if frames is None else frames // self.source.stride
            beams = result.get("beam_indices") if isinstance(result, dict) else None
            chosen = [row * copies] * (count - 1) if beams is None else beams[row, 1:count].clamp(min=0).tolist()
            weights = torch.stack(
                [
                    torch.stack([steps[layer][step + 1][place, head, -1] for step, place in enumerate(chosen)])
                    for layer, head in settings.alignment_heads
                ]
            )
            weights = self._heard(weights, limit)
            found = token_times(weights, self.precision, self.model.config.median_filter_width)
            times[row, begin : begin + count] = torch.cat([found, found[-1:]])
            times[row, begin + count :] = found[-1]
        return times

    def _heard(self, weights: Tensor, limit: int | None) -> Tensor:
        """The attention to the steps of time before a limit.

        A model may write more than there is sound. Behind the end of the sound the limit is negative, and leaves out steps at
        the end; the reference does so twice if all recordings are equally long, and times are to be the same.
        """
        kept = weights[..., :limit]
        if limit is not None and limit < 0 and len(set(self.source.sound or ())) == 1:
            kept = kept[..., :limit]
        return kept if kept.shape[-1] else weights[..., :1]

    def result(self, with_segments: bool) -> Any:
        """The transcripts, or a dictionary with them and what else was asked for."""
        settings = self.settings
        sequences = joined([[one["tokens"] for one in row] for row in self.segments], settings.pad)
        if not with_segments and not settings.return_token_timestamps:
            return sequences
        found: dict[str, Any] = {"sequences": sequences}
        if settings.return_token_timestamps:
            found["token_timestamps"] = self._all_times()
        if with_segments:
            found["segments"] = self.segments
        return found

    def _all_times(self) -> Tensor:
        """The times of all tokens, `(recordings, tokens)`; the last one of a recording fills up shorter ones."""
        rows = [[_without_offset(one) for one in row] for row in self.segments]
        flat = [torch.cat(row) if row else torch.zeros(0) for row in rows]
        width = max(len(row) for row in flat)
        filled = [
            torch.cat([row, row[-1:].expand(width - len(row)) if len(row) else torch.zeros(width)]) for row in flat
        ]
        return torch.stack(filled)


def _without_offset(segment: dict[str, Any]) -> Tensor:
    first, last = segment["idxs"]
    return segment["result"]["token_timestamps"][first:last]


def _scores_of(result: Any, row: int) -> list[Tensor]:
    """The scores from which each token of a row was chosen."""
    beams = result.get("beam_indices")
    if beams is None:
        return [step[row] for step in result["scores"]]
    return [step[place] for step, place in zip(result["scores"], beams[row].tolist(), strict=False) if place >= 0]


def _of_row(name: str, value: Any, row: int) -> Any:
    """The part of an output that is about one row."""
    if isinstance(value, Tensor):
        return value[row]
    if name in ("scores", "logits"):
        return tuple(step[row] for step in value)
    if isinstance(value, tuple):
        return tuple(
            tuple(one[row : row + 1] for one in step) if isinstance(step, tuple) else step[row] for step in value
        )
    return None  # a cache holds all rows
