"""AttentionView over recordings: when positions are, which moments words came from, pooling, what crosses to the page."""

from __future__ import annotations

import json
import math
import wave
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from listener import ALIKE, FIRST, NAMED, TONES, Listener, extractor, recording, vocabulary

from notebook_kit import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperForConditionalGeneration,
    pipeline,
    zoo,
)
from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.pooling import Pooling
from notebook_kit.inspection.attention.running import read
from notebook_kit.inspection.attention.sound_axes import PADDING, Frames, SoundPatches
from notebook_kit.inspection.attention.sounds import sound_sample
from notebook_kit.panels import AttentionView
from notebook_kit.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline

RATE = 16_000


@pytest.fixture(scope="module")
def view():
    return AttentionView(Listener(), recording(), processor=extractor(), tokenizer=vocabulary())


@pytest.fixture(scope="module")
def recognizer():
    """A tiny model of samples, with as many samples per frame as usual."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": [4] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    return Wav2Vec2ForCTC(Wav2Vec2Config(**sizes, **convolutions)).eval()


def noise(seconds):
    rng = np.random.default_rng(1)
    return {"array": rng.normal(scale=0.1, size=round(seconds * RATE)).astype(np.float32), "sampling_rate": RATE}


def bytes_of(view):
    """What crosses to the page at first, in bytes."""
    buffers = []

    def plain(value):
        if isinstance(value, bytes | memoryview | np.ndarray):
            buffers.append(memoryview(value).nbytes)
            return None
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    return len(json.dumps(plain({**view._about, "first": view._first}))) + sum(buffers)


def test_words_look_at_the_moments_they_came_from(view):
    assert (view.kind, view.layer, view.head) == ("cross", 0, NAMED), "the head that follows the speech is shown first"
    rows, columns = view._answers.axes
    assert rows.labels == (*(word for word, _, _ in TONES), "</s>") and rows.special == (False, False, False, True)
    assert columns.labels[-1] == PADDING and len(columns) == 101 and columns.special[-1] and columns.boxes[-1] is None
    weights = view.matrix().to_numpy()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    times = columns.places[:, 0]
    for row, (_, begin, end) in zip(weights[:3], TONES, strict=True):
        inside = (times > begin) & (times < end)
        assert row[inside].sum() > 0.95, "a word looks at its tone"
    assert view._about["tokens"].get("boxes") is None and view._about["to_tokens"]["span"] == [0.0, 2.0]
    assert "all words" in view.face().title or view.face().png


def test_a_head_that_times_are_computed_from_is_shown_first():
    """A checkpoint of Whisper names them; others may follow the speech too, and look half a second before each word."""
    model = Listener()
    for named, shown in (
        ([[0, FIRST]], FIRST),
        ([[0, NAMED], [0, FIRST]], NAMED),
        ([[7, FIRST]], NAMED),
        (None, NAMED),
    ):
        model.generation_config = SimpleNamespace(alignment_heads=named)
        view = AttentionView(model, recording(), processor=extractor(), tokenizer=vocabulary())
        assert (view.kind, view.head) == ("cross", shown), named


def test_what_follows_a_recording_is_one_position():
    whole = AttentionView(
        Listener(), recording(), processor=extractor(), tokenizer=vocabulary(), kind="self", head=ALIKE
    )
    padded = whole.matrix()
    features = extractor()(recording()["array"], sampling_rate=RATE, return_tensors="pt")
    sample = sound_sample(Listener(), features, tokenizer=vocabulary())
    raw = read(Listener(), sample, kind="self", is_whole=True)
    assert raw.groups[0][-1] == tuple(range(100, 150)) and not raw.is_pooled
    torch.testing.assert_close(torch.tensor(padded.to_numpy()), raw.layers[0][ALIKE], atol=1e-6, rtol=1e-5)
    assert math.isnan(raw.rows.places[-1, 0]) and whole.scores()["special"][ALIKE] > 0
    hidden = AttentionView(
        Listener(), recording(), processor=extractor(), tokenizer=vocabulary(), kind="self", hide_special=True
    )
    assert PADDING not in hidden.matrix().columns and hidden.matrix().shape == (100, 100)


def test_a_recording_comes_in_any_form(tmp_path, view):
    samples = recording()["array"]
    with wave.open(str(path := tmp_path / "tones.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    expected = view.matrix().to_numpy()
    features = extractor()(samples, sampling_rate=RATE, return_tensors="pt")
    for form in (path, str(path), path.read_bytes(), features, {**features, "labels": torch.tensor([[1, 3, 2, 4]])}):
        other = AttentionView(Listener(), form, processor=extractor(), tokenizer=vocabulary())
        np.testing.assert_allclose(other.matrix().to_numpy(), expected, atol=2e-3)
    compared = AttentionView(
        Listener(), recording(), processor=extractor(), tokenizer=vocabulary(), compare=recording()
    )
    assert compared.shown == "difference" and np.abs(compared.matrix().to_numpy()).max() < 1e-6


def test_a_speech_pipeline_and_a_model_of_transformers(tmp_path):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    ids = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 4, "decoder_start_token_id": 0, "vocab_size": 5}
    config = transformers.WhisperConfig(
        **sizes, **ids, encoder_attention_heads=2, decoder_attention_heads=2, max_source_positions=150
    )
    torch.manual_seed(0)
    oracle = transformers.WhisperForConditionalGeneration(config).eval()
    oracle.save_pretrained(tmp_path)
    model = WhisperForConditionalGeneration.from_pretrained(tmp_path)
    labels = torch.tensor([[1, 3, 2, 4]])
    features = {**extractor()(recording()["array"], sampling_rate=RATE, return_tensors="pt"), "labels": labels}
    mine = AttentionView(model, features, tokenizer=vocabulary(), layer=1, head=1)
    other = AttentionView(oracle, features, tokenizer=vocabulary(), layer=1, head=1, kind="cross")
    assert mine.kind == "cross" and list(mine.matrix().index) == ["low", "high", "mid", "</s>"]
    np.testing.assert_allclose(mine.matrix().to_numpy(), other.matrix().to_numpy(), atol=1e-5)
    result = mine.predict([(1, 0)])
    assert result["kind"] == "likelihood" and len(result["rows"]) == 4
    pipe = AutomaticSpeechRecognitionPipeline(model, vocabulary(), feature_extractor=extractor())
    written = AttentionView(pipe, recording())
    assert written.kind == "cross" and len(written.matrix().columns) == 101


def test_many_frames_are_pooled_and_read_whole_on_demand(recognizer):
    view = AttentionView(recognizer, noise(12), processor=Wav2Vec2FeatureExtractor())
    rows = view._answers.axes[0]
    assert len(rows) == 300 and rows.seconds == pytest.approx(0.04) and view._about["is_pooled"]
    assert bytes_of(view) < 2**20
    pooled = view.matrix().to_numpy()
    view.whole = True
    whole = view.matrix()
    assert whole.shape == (599, 599) and whole.columns[1] == "0.02 s"
    np.testing.assert_allclose(whole.to_numpy()[4:6, 8:10].sum() / 2, pooled[2, 4], rtol=1e-4)
    question = view._question("look")
    answer = view.answer_look(question)
    assert question["whole"] and answer.values["size"] == [599, 599] and answer.values["rows"][5] == [2]
    assert answer.values["fine"]["axes"][0]["labels"][5] == "0.10 s" and answer.buffers[0].size == 599 * 599
    exact = view.answer_row({**question, "rows": [5], "columns": []}).buffers[0]
    np.testing.assert_allclose(exact, whole.to_numpy()[5], atol=1e-7)
    view.selected = [2]
    assert view._scene().chosen == [4, 5] and view.figure() is not None
    assert view.to_html is not None and not view._about["can_vectors"]


def test_letters_of_a_recognizer_with_and_without_a_head(recognizer):
    names = ["<pad>", "|", "<unk>", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'-."]
    letters = Wav2Vec2CTCTokenizer({name: i for i, name in enumerate(names)})
    view = AttentionView(recognizer, noise(1), processor=Wav2Vec2FeatureExtractor(), tokenizer=letters)
    result = view.predict([(0, 0)])
    assert result["kind"] == "tokens" and len(result["rows"]) == 49
    assert {row["said"] for row in result["rows"]} <= {*letters.get_vocab(), "–"}


def test_only_half_a_minute_is_read(recognizer):
    view = AttentionView(recognizer, noise(31), processor=Wav2Vec2FeatureExtractor())
    assert view._about["notices"] == [["notice_sound_cut", {"seconds": 30, "all": 31}]]
    assert view._about["tokens"]["span"] == [0.0, 30.0] and bytes_of(view) < 2**20
    features = Wav2Vec2FeatureExtractor()(noise(31)["array"], sampling_rate=RATE, return_tensors="pt")
    again = AttentionView(recognizer, features)
    assert len(again._answers.axes[0]) == len(view._answers.axes[0]) == 375


def test_patches_of_a_spectrogram_have_seconds_and_frequencies():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = ASTForAudioClassification(ASTConfig(**sizes, max_length=256, num_labels=3)).eval()
    view = AttentionView(model, recording(), processor=ASTFeatureExtractor(max_length=256), score="")
    rows = view._answers.axes[0]
    assert isinstance(rows, SoundPatches) and (rows.rows, rows.columns) == (12, 20) and rows.after == (PADDING,)
    assert rows.labels[:3] == ("[CLS]", "[DIST]", "0.00 s 20 Hz") and rows.span == pytest.approx((0, 1.98), abs=0.03)
    assert rows.boxes[2][1] > 0.8, "the lowest band is at the bottom"
    assert view.kind == "self" and view._about["has_maps"] and view._about["to_tokens"] is None
    np.testing.assert_allclose(view.matrix().to_numpy().sum(1), 1, atol=1e-5)
    maps = view.answer_maps(view._question("maps", rows=[])).buffers[0].reshape(2, 12, 20)
    own = view._answers.layer_maps(view._question("maps", rows=[]), 0)[0]
    assert np.array_equal(maps[0], (own.flip(0) / own.max() * 255).round().byte().numpy()), "painted from the top"
    assert view.predict([(0, 0)])["kind"] == "classes"
    features = ASTFeatureExtractor(max_length=256)(recording()["array"], sampling_rate=RATE, return_tensors="pt")
    np.testing.assert_allclose(AttentionView(model, features).matrix().to_numpy().shape, view.matrix().shape)
    view.view = "maps"
    assert view.figure() is not None and view.face().png


def test_grids_are_pooled_in_time_and_frequency():
    edges = tuple(float(i) for i in range(5))
    grid = SoundPatches(
        4, 4, None, ("[CLS]",), times=edges, hertz=edges, heights=tuple(i / 4 for i in edges), recorded=3
    )
    weights = torch.rand(2, 17, 17).softmax(-1)
    pooling = Pooling(grid, grid)
    merged = pooling(weights)
    assert len(pooling.rows) == merged.shape[1] == 1 + 12 + 1
    torch.testing.assert_close(merged.sum(-1), torch.ones(2, 14))
    padded = [1 + 4 * row + 3 for row in range(4)]
    torch.testing.assert_close(merged[:, 0, -1], weights[:, 0, padded].sum(-1))
    quarter, groups = grid.pooled(4)
    assert groups[1] == (1, 2, 5, 6) and groups[2] == (3, 7) and quarter.boxes[1] == (0, 0.5, 2 / 3, 1.0)


def test_a_frame_without_numbers_stays_alone():
    frames = Frames(6, 0.02)
    weights = torch.full((1, 6, 6), 1 / 6)
    weights[0, 0] = float("nan")
    pooling = Pooling(frames, frames)
    pooling.row_groups = pooling.column_groups = ((0, 1), (2, 3), (4, 5))
    merged = pooling(weights)
    assert merged[0, 0].isnan().all() and torch.allclose(merged[0, 1:], torch.tensor(1 / 3))


def test_what_cannot_be_shown_is_refused(recognizer):
    with pytest.raises(InputError, match="reads sound, and got none"):
        AttentionView(recognizer)
    with pytest.raises(InputError, match="its feature extractor is unknown"):
        AttentionView(recognizer, noise(1))
    with pytest.raises(InputError, match=r"no_such_file\.wav"):
        AttentionView(recognizer, "no_such_file.wav", processor=Wav2Vec2FeatureExtractor())
    with pytest.raises(InputError, match="its tokenizer is unknown"):
        AttentionView(Listener(), recording(), processor=extractor())
    assert (
        AttentionView(Listener(), recording(), processor=extractor(), tokenizer=vocabulary(), head=FIRST).head == FIRST
    )


@pytest.mark.parametrize(
    ("task", "file", "kind"),
    [("audio-classification", "seven.ogg", "sound"), ("image-to-text", "scene_1.webp", "pictures")],
)
def test_a_text_beside_what_is_read_alone(task, file, kind):
    with pytest.raises(InputError, match=f"reads {kind} alone, and got a text"):
        AttentionView(pipeline(task, model="zoo"), zoo.sample(file), "seven trees")
