"""Whisper transcribes as its counterpart in transformers does: token for token, second for second."""

from __future__ import annotations

import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference as ref
import torch
import transformers
from torch import Tensor
from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter

import notebook_kit
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.generation.speech_segments import split_segments
from notebook_kit.generation.word_times import median_filtered, warp

# Words 0 to 89, then the tokens of Whisper in their order, then times in steps of 20 ms.
END, START, ENGLISH, TELUGU, TRANSLATE, TRANSCRIBE, PREVIOUS, SILENCE, NO_TIMES, TIMES = range(90, 100)
FRAMES, BANDS = 60, 7
SETTINGS: dict[str, Any] = {
    "no_timestamps_token_id": NO_TIMES,
    "max_initial_timestamp_index": 12,
    "is_multilingual": True,
    "lang_to_id": {"<|en|>": ENGLISH, "<|te|>": TELUGU},
    "task_to_id": {"transcribe": TRANSCRIBE, "translate": TRANSLATE},
    "prev_sot_token_id": PREVIOUS,
    "alignment_heads": [[0, 1], [1, 0], [2, 3]],
    "suppress_tokens": [3, 4, START, ENGLISH, TELUGU, TRANSLATE, TRANSCRIBE, PREVIOUS, SILENCE],
    "begin_suppress_tokens": [5, END],
    "max_length": 30,
    "pad_token_id": END,
    "bos_token_id": END,
    "eos_token_id": END,
    "decoder_start_token_id": START,
}


@functools.lru_cache
def pair() -> tuple[Any, Any]:
    """Ours and theirs, the same weights: words, times and the end are all likely."""
    config = transformers.WhisperConfig(
        vocab_size=TIMES + FRAMES // 2 + 1,
        num_mel_bins=BANDS,
        d_model=24,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=36,
        decoder_ffn_dim=30,
        max_source_positions=FRAMES // 2,
        max_target_positions=48,
        pad_token_id=END,
        bos_token_id=END,
        eos_token_id=END,
        decoder_start_token_id=START,
    )
    theirs = transformers.WhisperForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    positions = theirs.model.encoder.embed_positions.weight.clone()
    ref.randomize(theirs, seed=4)
    with torch.no_grad():
        theirs.model.encoder.embed_positions.weight.copy_(positions)
        theirs.model.decoder.embed_tokens.weight[END] *= 1.6
        for layer in theirs.model.decoder.layers:
            layer.encoder_attn.q_proj.weight.mul_(4)  # attention that differs between frames
    for name, value in SETTINGS.items():
        setattr(theirs.generation_config, name, value)
    with tempfile.TemporaryDirectory() as folder:
        ours = notebook_kit.WhisperForConditionalGeneration.from_pretrained(ref.saved(theirs, Path(folder)))
    return ours, theirs


def features(rows: int = 1, frames: int = FRAMES, seed: int = 0) -> Tensor:
    return torch.randn(rows, BANDS, frames, generator=torch.Generator().manual_seed(seed)) * 1.5


def both(given: dict[str, Any], **settings: Any) -> tuple[Any, Any]:
    answers = []
    for model in pair():
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers.append(model.generate(**given, **settings))
    return answers[0], answers[1]


def assert_same(given: dict[str, Any], **settings: Any) -> Tensor:
    """Equal tokens; equal segments and times, where these are returned."""
    mine, theirs = both(given, **settings)
    if isinstance(theirs, Tensor):
        assert mine.tolist() == theirs.tolist()
        return mine
    assert mine["sequences"].tolist() == theirs["sequences"].tolist()
    if "token_timestamps" in theirs:
        torch.testing.assert_close(mine["token_timestamps"], theirs["token_timestamps"], rtol=0, atol=0.0201)
    for own, expected in zip(mine.get("segments", ()), theirs.get("segments", ()), strict=True):
        assert len(own) == len(expected)
        for a, b in zip(own, expected, strict=True):
            assert a["tokens"].tolist() == b["tokens"].tolist() and a["idxs"] == b["idxs"]
            assert float(a["start"]) == pytest.approx(float(b["start"])) and float(a["end"]) == pytest.approx(
                float(b["end"])
            )
    return mine["sequences"]


SHORT = [
    {},
    {"language": "telugu"},
    {"language": "<|en|>", "task": "translate"},
    {"language": ["en", "te", "te"], "max_new_tokens": 7},
    {"task": "translate", "num_beams": 3},
    {"return_timestamps": True},
    {"return_timestamps": True, "num_beams": 2, "language": "en"},
    {"return_timestamps": True, "return_segments": True, "task": "transcribe"},
    {"prompt_ids": torch.tensor([PREVIOUS, 11, 12, 13])},
    {"temperature": 0.7, "language": "en", "max_new_tokens": 9},
    {"num_return_sequences": 2, "temperature": 0.9, "do_sample": True, "language": "en", "max_new_tokens": 9},
    {"force_unique_generate_call": True, "language": "en"},
]


@pytest.mark.parametrize("settings", SHORT, ids=lambda one: "-".join(one))
def test_short_recordings(settings):
    assert_same({"input_features": features(3)}, **settings)


LONG = [
    {},
    {"language": "en", "return_segments": True},
    {"condition_on_prev_tokens": True},
    {"condition_on_prev_tokens": True, "prompt_ids": torch.tensor([PREVIOUS, 11, 12, 13])},
    {
        "condition_on_prev_tokens": True,
        "prompt_ids": torch.tensor([PREVIOUS, 11, 12]),
        "prompt_condition_type": "all-segments",
    },
    {"compression_ratio_threshold": 0.9, "temperature": (0.0, 0.4, 0.8), "return_segments": True},
    {"logprob_threshold": -2.0, "temperature": (0.0, 0.5), "condition_on_prev_tokens": True},
    {"logprob_threshold": -0.5, "no_speech_threshold": 0.0105, "temperature": 0.0, "return_segments": True},
    {"num_beams": 2, "task": "translate"},
]


@pytest.mark.parametrize("settings", LONG, ids=lambda one: "-".join(one))
def test_long_recordings(settings):
    """One recording of 220 frames, and three of unequal length, where the encoder reads 60 at once."""
    length = 4 if settings.get("condition_on_prev_tokens") else 12
    sequences = assert_same({"input_features": features(frames=220)}, max_new_tokens=length, **settings)
    mask = torch.tensor([[1] * n + [0] * (220 - n) for n in (220, 75, 140)])
    many = assert_same({"input_features": features(3, 220), "attention_mask": mask}, max_new_tokens=length, **settings)
    assert len(sequences.unique()) > 3 and len(many) == 3


def test_text_before_a_stretch_in_a_batch():
    """A shorter text is padded on its left, which must not shift the positions of its tokens: each row is as it is alone."""
    settings = {"condition_on_prev_tokens": True, "language": "en", "max_new_tokens": 6}
    given = torch.cat([features(frames=220, seed=seed) for seed in range(3)])
    mask = torch.tensor([[1] * n + [0] * (220 - n) for n in (220, 150, 190)])
    batch = assert_same({"input_features": given, "attention_mask": mask}, **settings)
    for row, end in enumerate(mask.sum(-1).tolist()):
        alone = assert_same({"input_features": given[row : row + 1, :, :end]}, **settings)
        assert batch[row, : alone.shape[1]].tolist() == alone[0].tolist()

    seen = []

    def note(model: Any, given: Any, options: dict[str, Any]) -> None:
        before = options.get("decoder_attention_mask")
        if before is not None and not before.all():
            count = options["decoder_input_ids"].shape[1]
            expected = (before.cumsum(-1) - 1).clamp(min=0)[:, -count:]
            assert torch.equal(options["decoder_position_ids"], expected)
            seen.append(options.get("past_key_values") is not None)

    hook = pair()[0].register_forward_pre_hook(note, with_kwargs=True)
    try:  # the check for silence reads that text too, without a cache
        pair()[0].generate(given, attention_mask=mask, no_speech_threshold=0.9, **settings)
    finally:
        hook.remove()
    assert True in seen and False in seen


@pytest.mark.parametrize(
    "settings",
    [{}, {"return_timestamps": True, "return_segments": True}, {"num_beams": 2}],
    ids=lambda one: "-".join(one),
)
def test_times_of_tokens(settings):
    """Within one step of 20 ms, with and without knowing where the recording ends."""
    settings = {"language": "en", "return_token_timestamps": True, **settings}
    assert_same({"input_features": features()}, **settings)
    mask = torch.tensor([[1] * 57 + [0] * 3])
    assert_same({"input_features": features(), "attention_mask": mask}, **settings)


def test_times_of_tokens_in_a_batch():
    """As alone: transformers compares the attention of a short transcript also with that of the padding behind it, so that its
    times depend on what else is in the batch."""
    ours, theirs = pair()
    settings = {"language": "en", "return_token_timestamps": True, "return_timestamps": True}
    settings |= {"force_unique_generate_call": True, "return_dict_in_generate": True}  # the first stretch

    def end_early(ids: Tensor, scores: Tensor) -> Tensor:
        """After a number of tokens that depends on the first one."""
        for row, written in zip(scores, ids.tolist(), strict=True):
            if len(written) > 4 and len(written) >= 6 + written[3] % 5:
                row.fill_(-torch.inf)[END] = 0.0
        return scores

    settings["logits_processor"] = [end_early]
    given = torch.cat([features(seed=seed) for seed in range(5)])
    frames = [FRAMES, 41, 50, 33, 57]
    mask = torch.tensor([[1] * n + [0] * (FRAMES - n) for n in frames])
    batch = ours.generate(given, attention_mask=mask, **settings)
    lengths = set()
    for row, (tokens, times) in enumerate(zip(batch["sequences"], batch["token_timestamps"], strict=True)):
        alone = theirs.generate(given[row : row + 1], attention_mask=mask[row : row + 1], **settings)
        length = alone["sequences"].shape[1]
        lengths.add(length)
        times = times[:length]
        assert tokens[:length].tolist() == alone["sequences"][0].tolist()
        torch.testing.assert_close(times, alone["token_timestamps"][0], rtol=0, atol=0.0201)
    assert len(lengths) > 2


def test_frames_in_place_of_a_mask():
    """`num_frames`, as code for transformers 4 passes it."""
    ours, _ = pair()
    settings = {"language": "en", "return_token_timestamps": True}
    given, frames = features(2), [41, 57]
    mask = torch.tensor([[1] * n + [0] * (FRAMES - n) for n in frames])
    expected = ours.generate(given, attention_mask=mask, **settings)["token_timestamps"]
    whole = ours.generate(given, **settings)["token_timestamps"]
    assert not torch.equal(expected, whole)
    for value in (frames, np.array(frames), torch.tensor(frames)):
        assert torch.equal(ours.generate(given, num_frames=value, **settings)["token_timestamps"], expected)
    same = ours.generate(given, num_frames=FRAMES, **settings)["token_timestamps"]
    assert torch.equal(same, whole)
    long = features(2, 100)
    ends = torch.tensor([[1] * n + [0] * (100 - n) for n in (70, 100)])
    many = ours.generate(long, attention_mask=ends, max_new_tokens=4)
    assert ours.generate(long, num_frames=[70, 100], max_new_tokens=4).tolist() == many.tolist()
    for value in ([1, 2, 3], "all", [-1, 4], [0.5, 1], [True, True]):
        with pytest.raises(InputError, match="num_frames is"):
            ours.generate(given, num_frames=value, **settings)


def test_one_stretch_as_the_checkpoint_says():
    ours, theirs = pair()
    try:
        for model in (ours, theirs):
            model.generation_config.force_unique_generate_call = True
        for settings in ({"language": "en"}, {"return_timestamps": True, "return_dict_in_generate": True}):
            mine, other = both({"input_features": features(frames=100)[..., :FRAMES]}, **settings)
            if isinstance(other, Tensor):
                assert mine.tolist() == other.tolist()
            else:
                assert mine["sequences"].tolist() == other["sequences"].tolist() and "segments" not in mine
    finally:
        for model in (ours, theirs):
            model.generation_config.force_unique_generate_call = None


def test_times_of_tokens_in_long_recordings():
    mask = torch.tensor([[1] * 213 + [0] * 7])
    assert_same(
        {"input_features": features(frames=220), "attention_mask": mask},
        language="en",
        max_new_tokens=6,
        return_token_timestamps=True,
        return_segments=True,
    )


def test_settings_of_older_checkpoints(tmp_path):
    """`forced_decoder_ids` in place of language and task; with None, the language is detected."""
    ours, theirs = pair()
    for forced, language in (
        ([[1, TELUGU], [2, TRANSLATE], [3, NO_TIMES]], None),
        ([[1, None], [2, TRANSCRIBE]], None),
    ):
        try:
            for model in (ours, theirs):
                model.generation_config.forced_decoder_ids = forced
            assert_same({"input_features": features(2)}, language=language)
            mine = assert_same({"input_features": features(2)}, language="en")  # the call takes precedence
            assert mine.tolist() == ours.generate(features(2), forced_decoder_ids=forced, language="en").tolist()
        finally:
            for model in (ours, theirs):
                model.generation_config.forced_decoder_ids = None


def test_settings_of_the_generation_config():
    """Language and task may be set once for all calls."""
    ours, theirs = pair()
    try:
        for model in (ours, theirs):
            model.generation_config.language, model.generation_config.task = "te", "translate"
        assert_same({"input_features": features(2)})
        assert ours.generation_config.to_dict()["language"] == "te"  # it is saved with the model
    finally:
        for model in (ours, theirs):
            model.generation_config.language = model.generation_config.task = None


def test_language_is_detected():
    ours, theirs = pair()
    for seed in range(3):
        given = features(4, seed=seed)
        assert ours.detect_language(given).tolist() == theirs.detect_language(given).tolist()


def test_an_object_with_scores():
    mine, theirs = both(
        {"input_features": features(2)},
        language="en",
        return_dict_in_generate=True,
        output_scores=True,
        max_new_tokens=5,
    )
    assert mine.sequences.tolist() == theirs.sequences.tolist() and len(mine.scores) == len(theirs.scores)
    torch.testing.assert_close(mine.scores[2], theirs.scores[2], rtol=1e-4, atol=1e-4)


def test_an_object_with_what_each_layer_computes():
    """The encoder's part too, also of its output in place of spectrograms, and with the language detected first."""
    ours, theirs = pair()
    sounds = features(2)
    wanted = {
        "return_dict_in_generate": True,
        "output_attentions": True,
        "output_hidden_states": True,
        "max_new_tokens": 4,
    }
    implementation = theirs.config._attn_implementation
    theirs.set_attn_implementation("eager")
    try:
        for settings in ({"language": "en"}, {}):
            expected = theirs.generate(sounds, **wanted, **settings)
            mine = ours.generate(sounds, **wanted, **settings)
            encoded = ours.get_encoder()(sounds, output_attentions=True, output_hidden_states=True)
            for found in (mine, ours.generate(encoder_outputs=encoded, **wanted, **settings)):
                assert set(found) == {name for name, value in expected.items() if value is not None}
                for name in ("encoder_attentions", "encoder_hidden_states"):
                    torch.testing.assert_close(tuple(found[name]), tuple(expected[name]), rtol=1e-4, atol=1e-5)
                for name in ("cross_attentions", "decoder_hidden_states"):
                    torch.testing.assert_close(found[name][1], tuple(expected[name][1]), rtol=1e-4, atol=1e-5)
        alone = ours.generate(sounds[1:], language="en", **wanted).encoder_attentions
        segment = ours.generate(sounds, language="en", return_timestamps=True, return_segments=True, **wanted)[
            "segments"
        ][1][0]
        torch.testing.assert_close(segment["result"]["encoder_attentions"][1], alone[1][0], rtol=1e-4, atol=1e-5)
    finally:
        theirs.set_attn_implementation(implementation)
    assert "encoder_attentions" not in ours.generate(
        sounds, language="en", return_dict_in_generate=True, max_new_tokens=2
    )


def test_the_encoder_reads_each_stretch_once():
    ours, _ = pair()
    calls: list[int] = []
    hook = ours.get_encoder().register_forward_hook(lambda module, given, out: calls.append(len(given[0])))
    try:  # detection of the language, silence and further temperatures do not read again
        ours.generate(
            features(3), logprob_threshold=0.0, no_speech_threshold=1.0, temperature=(0.0, 0.4), max_new_tokens=4
        )
        assert calls == [3]
        encoded = ours.get_encoder()(features(2))
        calls.clear()
        ours.generate(encoder_outputs=encoded, language="en", max_new_tokens=4)
        assert calls == []
    finally:
        hook.remove()


def test_progress_is_reported():
    seen: list[Tensor] = []
    pair()[0].generate(features(frames=220), max_new_tokens=4, monitor_progress=seen.append)
    assert seen[0].tolist() == [[0, 220]] and [int(one[0, 0]) for one in seen] == sorted(int(one[0, 0]) for one in seen)


def test_a_stretch_that_ends_where_it_begins_is_passed():
    segments, step = split_segments(torch.tensor([TIMES, 7, TIMES, TIMES, 8]), TIMES, 0.0, FRAMES, 2, 0.02)
    assert [one["tokens"].tolist() for one in segments] == [[TIMES, 7, TIMES, TIMES]] and step == FRAMES


def test_an_interrupt_ends_all_stretches():
    ours, stretches = pair()[0], []

    def stop_at_third(state: Tensor) -> None:
        stretches.append(state)
        if len(stretches) == 3:
            raise KeyboardInterrupt

    options = {"max_new_tokens": 4, "language": "en", "return_segments": True}
    whole = ours.generate(features(frames=220), **options)
    with pytest.warns(match="stretches that were transcribed by then are returned"):
        part = ours.generate(features(frames=220), monitor_progress=stop_at_third, **options)
    count = len(part["segments"][0])
    assert 0 < count < len(whole["segments"][0])
    assert [one["tokens"].tolist() for one in part["segments"][0]] == [
        one["tokens"].tolist() for one in whole["segments"][0][:count]
    ]
    stretches.clear()
    with pytest.raises(KeyboardInterrupt):
        ours.generate(features(frames=220), monitor_progress=stop_at_third, on_interrupt="raise", **options)


def test_warping_is_that_of_the_reference():
    for seed in range(30):
        draw = np.random.default_rng(seed)
        costs = draw.normal(size=(int(draw.integers(1, 20)), int(draw.integers(1, 50)))).round(1 if seed % 2 else 8)
        for mine, theirs in zip(warp(costs), _dynamic_time_warping(costs), strict=True):
            assert mine.tolist() == theirs.tolist()
        x = torch.randn(2, *costs.shape)
        assert torch.equal(median_filtered(x, 7), _median_filter(x, 7))


def test_mistakes_are_named():
    ours, _ = pair()
    for match, options in (
        ("no language 'telgu'. Did you mean 'telugu'", {"language": "telgu"}),
        ("does not write 'french'", {"language": "french"}),
        ("There is no task 'transcripe'", {"task": "transcripe"}),
        ("3 languages for 2 recordings", {"language": ["en"] * 3}),
        ("takes neither a language nor a task", {"language": "en", "is_multilingual": False}),
        ("needs the text before each stretch", {"prompt_condition_type": "all-segments"}),
        ("temperature is 'hot'", {"temperature": "hot"}),
        ("logprob_threshold is 'low'", {"logprob_threshold": "low"}),
        ("no argument 'langage'", {"langage": "en"}),
        ("decoder_input_ids follow from", {"decoder_input_ids": torch.tensor([[START]])}),
    ):
        with pytest.raises(InputError, match=match):
            ours.generate(features(2), **options)
    with pytest.raises(InputError, match=r"2 languages for 1 recording\."):
        ours.generate(features(1), language=["en", "te"])
    with pytest.raises(InputError, match="longer than 30 seconds"):
        ours.generate(features(frames=100), return_timestamps=False)
    with pytest.raises(InputError, match="without attention_mask"):
        ours.generate(features(2, 100))
    with pytest.raises(InputError, match="got neither"):
        ours.generate()
    bare = notebook_kit.GenerationConfig(max_length=20, decoder_start_token_id=START)
    with pytest.raises(ConfigurationError, match="no no_timestamps_token_id, which return_timestamps=True needs"):
        ours.generate(features(), generation_config=bare, return_timestamps=True)
    with pytest.raises(ConfigurationError, match=r"longer than 30 seconds, .* no no_timestamps_token_id") as long:
        ours.generate(features(frames=100), generation_config=bare)
    assert "Pass chunk_length_s=30" in long.value.next_step
    with pytest.raises(InputError, match="no tokens for tasks, so task='translate' cannot") as caught:
        ours.generate(features(), generation_config=bare, task="translate")
    assert "Leave task out" in caught.value.next_step
    with pytest.raises(ConfigurationError, match="no alignment_heads"):
        ours.generate(features(), generation_config=bare, return_token_timestamps=True)
