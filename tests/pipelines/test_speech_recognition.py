"""The pipelines of sound against the oracle's on tiny random models, and what people pass to them."""

from __future__ import annotations

import io
import multiprocessing
import resource
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers
from datasets import Audio, Dataset

from notebook_kit import AutoImageProcessor, pipeline
from notebook_kit.errors import (
    InputError,
    MissingDependencyError,
    NotebookKitWarning,
    PipelineInputError,
    UnknownArchitectureError,
)
from notebook_kit.pipelines import KeyDataset
from notebook_kit.zoo import sample

sys.path.insert(0, str(Path(__file__).parents[1] / "processing" / "audio"))
from speech_vocabularies import LETTERS, write_letters, write_whisper
from test_audio_loading import Decoder

RATE = 16_000
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}
CONVOLUTIONS = {"conv_dim": [16] * 3, "conv_stride": [5, 4, 4], "conv_kernel": [10, 4, 4], "num_feat_extract_layers": 3}
SMALL = {**SIZES, **CONVOLUTIONS, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}


def clip(length: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.4 * np.sin(np.arange(length) ** 1.3 / 90) + 0.1 * rng.normal(size=length)).astype(np.float32)


CLIPS = [clip(9_000, 1), clip(24_000, 2), clip(9_000, 3), clip(15_321, 4)]


def ctc(folder: Path, norm: str) -> Path:
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        **SMALL, vocab_size=len(LETTERS), feat_extract_norm=norm, do_stable_layer_norm=norm == "layer"
    )
    model = transformers.Wav2Vec2ForCTC(config).eval()
    model.lm_head.weight.data.mul_(20)  # other letters at other frames
    model.save_pretrained(folder)
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(write_letters(folder)))
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer")
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["group", "layer"])
def recognizers(request, tmp_path_factory):
    folder = ctc(tmp_path_factory.mktemp(request.param), request.param)
    task = "automatic-speech-recognition"
    return pipeline(task, model=folder), transformers.pipeline(task, model=str(folder))


def theirs_on(oracle, clips, **options):
    return [oracle(np.copy(one), **options) for one in clips]


@pytest.mark.parametrize("options", [{}, {"return_timestamps": "char"}, {"return_timestamps": "word"}])
@pytest.mark.parametrize(
    "pieces", [{}, {"chunk_length_s": 0.5}, {"chunk_length_s": 0.4, "stride_length_s": [0.1, 0.05]}]
)
def test_letters_as_the_oracle(recognizers, options, pieces):
    ours, oracle = recognizers
    assert ours(CLIPS, **options, **pieces) == theirs_on(oracle, CLIPS, **options, **pieces)
    assert any(result["text"] for result in ours(CLIPS))


def test_batches_change_no_answer(recognizers):
    ours, _ = recognizers
    alone = [ours(one) for one in CLIPS]
    assert ours(CLIPS, batch_size=4) == alone == list(ours(one for one in CLIPS))


def test_the_quick_tour(recognizers):
    """Its MInDS block: a column of decoders, or of dictionaries before `datasets` 4."""
    ours, oracle = recognizers
    expected = theirs_on(oracle, CLIPS)
    old = [{"path": f"{i}.wav", "array": one, "sampling_rate": RATE} for i, one in enumerate(CLIPS)]
    assert ours.feature_extractor.sampling_rate == RATE
    assert ours([Decoder(one, RATE) for one in CLIPS]) == ours(old) == expected
    assert [row["text"] for row in ours(old)] == [row["text"] for row in expected]


def test_other_rates_and_strides(recognizers):
    ours, oracle = recognizers
    raw = {"raw": CLIPS[1], "sampling_rate": RATE, "stride": (1_600, 3_200)}
    assert ours(raw)["text"] == oracle(dict(raw))["text"]
    twice = np.repeat(CLIPS[0], 3)
    assert set(ours(twice, sampling_rate=48_000)) == {"text"}
    assert ours({"array": twice, "sampling_rate": 48_000}) == ours(twice, sampling_rate=48_000)


def test_what_else_a_dictionary_says_comes_back(recognizers):
    """Programs with a microphone mark texts as partial."""
    ours, oracle = recognizers
    clip = {"raw": CLIPS[1], "sampling_rate": RATE, "partial": True, "path": "a.wav"}
    for options in ({}, {"chunk_length_s": 0.4}):
        result = ours(clip, **options)
        assert result == oracle(dict(clip), **options) and result["partial"][0] is True
    row = {"array": CLIPS[1], "sampling_rate": RATE, "path": "a.wav", "text": "HE WAS", "speaker": 7}
    assert ours(row) == {
        **ours(CLIPS[1]),
        "speaker": [7],
    }  # the text is what was heard; the reference returns the row's
    assert ours({"array": np.zeros(RATE), "sampling_rate": RATE, "speaker": 7}) == {"text": "", "speaker": [7]}


def test_strides_are_checked(recognizers):
    ours, oracle = recognizers
    clip = {"raw": CLIPS[1], "sampling_rate": RATE}
    expected = oracle({**clip, "stride": [1_600, 3_200]})
    for more in ({}, {"sampling_rate": str(RATE)}):
        assert ours({**clip, "stride": np.array([1_600, 3_200]), **more}) == expected
    slow = {"raw": CLIPS[1][::2], "stride": [800, 1_600]}
    assert ours(slow, sampling_rate=RATE // 2) == ours({**slow, "sampling_rate": RATE // 2}) != ours(CLIPS[1])
    for stride in (5, [1], (1, 2, 3), ("a", 2), (-5, 10), (10**9, 0), {"left": 1, "right": 2}):
        with pytest.raises(InputError, match="stride of"):
            ours({**clip, "stride": stride})


def test_silence_has_no_text_and_faults_keep_the_rest(recognizers):
    ours, _ = recognizers
    assert ours(np.zeros(RATE)) == {"text": ""}
    assert ours(np.zeros(RATE), return_timestamps="word") == {"text": "", "chunks": []}
    with pytest.raises(PipelineInputError, match=r"inputs\[1\].*NaN") as caught:
        ours([CLIPS[0], np.full(500, np.nan), b"", CLIPS[2]])
    assert caught.value.positions == (1, 2) and caught.value.results[3] == ours(CLIPS[2])


def test_settings_of_generation_without_effect_are_named(recognizers):
    ours, _ = recognizers
    with pytest.warns(NotebookKitWarning, match="does not generate: language, num_beams has no effect"):
        assert ours(CLIPS[0], language="en", generate_kwargs={"num_beams": 2}) == ours(CLIPS[0])


def test_options_are_checked(recognizers):
    ours, _ = recognizers
    for options, words in (
        ({"return_timestamps": True}, "has no segments"),
        ({"return_timestamps": "words"}, "Did you mean 'word'"),
        ({"return_language": True}, "Only Whisper"),
        ({"chunk_length_s": 0.2, "stride_length_s": 0.1}, "nothing is left of a piece"),
        ({"chunk_length_s": -1}, "chunk_length_s is -1"),
        ({"chunk_length_s": float("nan")}, "chunk_length_s is nan"),
        ({"chunk_lenght_s": 1.0}, "Did you mean 'chunk_length_s'"),
    ):
        with pytest.raises(InputError, match=words):
            ours(CLIPS[0], **options)


def test_what_is_not_a_recording_is_named(recognizers, tmp_path):
    ours, _ = recognizers
    with pytest.raises(InputError, match="No recording was passed"):
        ours(None)
    for pair in ((CLIPS[0], RATE), (RATE, CLIPS[0])):  # as soundfile and scipy return them
        with pytest.raises(InputError, match="a pair of samples and their sampling rate"):
            ours(pair)
    assert ours((CLIPS[0], CLIPS[2])) == ours([CLIPS[0], CLIPS[2]])
    with pytest.raises(InputError, match="value of type NoneType"):
        ours.feature_extractor(None, sampling_rate=RATE)
    ours.save_pretrained(tmp_path)
    with pytest.raises(UnknownArchitectureError, match="is for sound"):
        AutoImageProcessor.from_pretrained(tmp_path)


class Undecodable(list):
    """As a column of `datasets` without torchcodec."""

    def __iter__(self):
        raise ImportError("To support decoding audio data, please install 'torchcodec'.")


class Unloadable(list):
    """As a column of `datasets` with a torchcodec for another torch."""

    def __iter__(self):
        raise OSError("Could not load this library: torchcodec/libtorchcodec_core8.so")


@pytest.mark.parametrize("column", [Undecodable, Unloadable])
def test_a_column_that_cannot_be_decoded(recognizers, column):
    with pytest.raises(MissingDependencyError, match="torchcodec") as caught:
        recognizers[0](column([None]))
    assert "decode=False" in caught.value.next_step


@pytest.fixture
def recordings():
    paths = [str(sample("seven.ogg")), str(sample("sentence_1.ogg"))]
    return Dataset.from_dict({"audio": paths, "number": [0, 1]}).cast_column("audio", Audio(sampling_rate=8_000))


@pytest.mark.parametrize("content", [None, "raise OSError('Could not load this library')"])
def test_a_column_is_read_without_torchcodec(recordings, content, tmp_path, monkeypatch):
    """`datasets` from version 4 decodes sound with torchcodec only; the files can be read without it, also if it is broken."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    if content is None:
        monkeypatch.setitem(sys.modules, "torchcodec", None)
    else:
        (tmp_path / "torchcodec").mkdir()
        (tmp_path / "torchcodec" / "__init__.py").write_text(content)
        monkeypatch.syspath_prepend(tmp_path)
    recognize = pipeline("automatic-speech-recognition", model="zoo")
    expected = [{"text": "seven"}, {"text": "you have seven new messages"}]
    assert recognize(recordings["audio"]) == expected
    assert list(recognize(KeyDataset(recordings, "audio"))) == expected
    assert recordings.features["audio"].decode  # it is left as it was


def test_other_recordings_do_not_import_torchcodec(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "torchcodec").mkdir()
    (tmp_path / "torchcodec" / "__init__.py").write_text(f"open({str(tmp_path / 'seen')!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    pipeline("automatic-speech-recognition", model="zoo")({"raw": clip(8000), "sampling_rate": RATE})
    assert not (tmp_path / "seen").exists()


def test_a_whole_dataset_is_not_a_column(recordings):
    recognize = pipeline("automatic-speech-recognition", model="zoo")
    with pytest.raises(InputError, match="a dataset with the columns audio, number") as caught:
        recognize(recordings)
    assert "dataset['audio']" in caught.value.next_step


class Beams:
    """A stand-in for pyctcdecode's decoder."""

    def decode_beams(self, logits, beam_width=1):
        assert logits.ndim == 2 and beam_width == 3
        return [("HE WAS", None, [("HE", (2, 5)), ("WAS", (7, 9))], 0.0, 0.0)]


def test_a_decoder_with_a_language_model(recognizers):
    ours, _ = recognizers
    with_decoder = pipeline(
        "automatic-speech-recognition",
        model=ours.model,
        processor=None,
        tokenizer=ours.tokenizer,
        feature_extractor=ours.feature_extractor,
        decoder=Beams(),
    )
    result = with_decoder(CLIPS[0], return_timestamps="word", decoder_kwargs={"beam_width": 3})
    assert result["text"] == "HE WAS" and result["chunks"][1] == {"text": "WAS", "timestamp": (0.035, 0.045)}


@pytest.fixture(scope="module")
def whispers(tmp_path_factory):
    """Two pipelines whose models "generate" what a test sets: `whispers[i].model.answers`, one per piece."""
    folder = write_whisper(tmp_path_factory.mktemp("whisper"))
    config = transformers.WhisperConfig(
        vocab_size=1929,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_source_positions=1500,
        num_mel_bins=80,
        pad_token_id=320,
        bos_token_id=320,
        eos_token_id=320,
        decoder_start_token_id=321,
    )
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    task = "automatic-speech-recognition"
    pair = pipeline(task, model=folder), transformers.pipeline(task, model=str(folder))
    for one in pair:
        one.model.calls = []

        def generate(self=one.model, **options):
            self.calls.append(options)
            rows = [self.answers.pop(0) for _ in range(len(next(iter(options.values()))))]
            tokens = torch.tensor([row["tokens"] for row in rows])
            if not options.get("return_segments"):
                return tokens
            segments = [
                [{"token_timestamps": torch.tensor(row["times"]), "result": torch.tensor(row["tokens"])}]
                for row in rows
            ]
            return {"sequences": tokens, "segments": segments}

        one.model.generate = generate
        one.model.generation_config.lang_to_id = {"<|te|>": 322 + 40}
    return pair


def answers(tokenizer, pieces: int) -> list[dict]:
    """What is written for pieces that overlap: tokens with times, and the time of each token."""
    begin, text = (
        tokenizer.timestamp_begin,
        tokenizer("the apostle of the middle classes", add_special_tokens=False).input_ids,
    )
    rows = []
    for piece in range(pieces):
        tokens = [
            321,
            322 + 40,
            begin + 10 * piece,
            *text[piece : piece + 6],
            begin + 900,
            begin + 900,
            *text[6:8],
            begin + 1400,
        ]
        rows.append({"tokens": tokens, "times": np.linspace(0.5, 28, len(tokens)).round(2).tolist()})
    return rows


@pytest.mark.parametrize("times", [None, True, "word"])
@pytest.mark.parametrize("language", [None, True])
@pytest.mark.parametrize("pieces", [{}, {"chunk_length_s": 30}, {"chunk_length_s": 20, "stride_length_s": [4, 2]}])
def test_whisper_as_the_oracle(whispers, times, language, pieces):
    sound, results = clip(50 * RATE, 7), []
    count = {0: 1, 1: 3, 2: 4}[len(pieces)] if pieces else 1
    for one in whispers:
        one.model.answers, one.model.calls[:] = answers(whispers[0].tokenizer, count), []
        options = {**pieces, "return_timestamps": times, "generate_kwargs": {"task": "transcribe"}}
        results.append(one(np.copy(sound), **options, **({"return_language": True} if language else {})))
    assert results[0] == results[1] and results[0]["text"]
    mine, other = (one.model.calls[0] for one in whispers)
    for name in (
        "num_beams",
        "max_new_tokens",
        "task",
        "return_timestamps",
        "return_segments",
        "return_token_timestamps",
    ):
        assert mine.get(name) == other.get(name), name
    torch.testing.assert_close(mine["input_features"][:1], other["input_features"][:1], atol=1e-4, rtol=0)


def test_whisper_refuses_what_it_cannot(whispers):
    ours = whispers[0]
    assert ours(np.zeros(RATE), return_timestamps=True) == {"text": "", "chunks": []}
    for options, words in (
        ({"return_timestamps": "char"}, "'char'"),
        ({"generate_kwargs": {"num_beam": 2}}, "Did you mean 'num_beams'"),
        ({"output_scores": True}, "A pipeline returns texts"),
    ):
        with pytest.raises(InputError, match=words):
            ours(CLIPS[0], **options)


@pytest.mark.parametrize("name", ["Wav2Vec2", "Hubert", "AST"])
def test_classification_as_the_oracle(name, tmp_path):
    torch.manual_seed(0)
    labels = {"num_labels": 7}
    if name == "AST":
        config = transformers.ASTConfig(**SIZES, max_length=64, num_mel_bins=16, **labels)
        model = transformers.ASTForAudioClassification(config)
        extractor = transformers.ASTFeatureExtractor(max_length=64, num_mel_bins=16)
    else:
        config = getattr(transformers, f"{name}Config")(
            **SMALL, classifier_proj_size=16, use_weighted_layer_sum=True, **labels
        )
        model = getattr(transformers, f"{name}ForSequenceClassification")(config)
        extractor = transformers.Wav2Vec2FeatureExtractor()
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    ours = pipeline("audio-classification", model=tmp_path)
    oracle = transformers.pipeline("audio-classification", model=str(tmp_path))
    assert len(ours(CLIPS[0])) == 5
    for options in ({"top_k": 2}, {"top_k": None}, {"top_k": 9}, {"function_to_apply": "sigmoid", "top_k": 3}):
        for mine, other in zip(ours(CLIPS, **options), theirs_on(oracle, CLIPS, **options), strict=True):
            assert [label["label"] for label in mine] == [label["label"] for label in other]
            np.testing.assert_allclose([x["score"] for x in mine], [x["score"] for x in other], atol=1e-5)
    file = io.BytesIO()
    soundfile.write(file, CLIPS[0], RATE, format="WAV", subtype="FLOAT")
    np.testing.assert_allclose(ours(file.getvalue())[0]["score"], ours(CLIPS[0])[0]["score"], atol=1e-6)
    assert type(pipeline(model=tmp_path)) is type(ours)  # the checkpoint says what it is for
    ours.save_pretrained(tmp_path / "saved")
    assert pipeline("audio-classification", model=tmp_path / "saved")(CLIPS[0]) == ours(CLIPS[0])


def test_several_recordings_are_read_at_once(recognizers, monkeypatch):
    """Each waits for another: with one reader after the other, this would end in a timeout."""
    ours, _ = recognizers
    monkeypatch.setattr("notebook_kit.pipelines.audio.READERS", 2)
    barrier, read = threading.Barrier(2, timeout=20), type(ours).load

    def load(self, *arguments, **options):
        barrier.wait()
        return read(self, *arguments, **options)

    expected = ours(CLIPS)
    monkeypatch.setattr(type(ours), "load", load)
    assert ours(CLIPS) == expected


def test_the_next_window_is_read_while_one_is_computed(recognizers, monkeypatch):
    ours, _ = recognizers
    monkeypatch.setattr("notebook_kit.pipelines.audio.READERS", 2)
    expected = ours(CLIPS)
    read, run = type(ours).load, type(ours).run_batch
    last_was_read = threading.Event()

    def load(self, item, *arguments, **options):
        if item is CLIPS[-1]:
            last_was_read.set()
        return read(self, item, *arguments, **options)

    def run_batch(self, *arguments):
        assert last_was_read.wait(timeout=20)
        return run(self, *arguments)

    monkeypatch.setattr(type(ours), "load", load)
    monkeypatch.setattr(type(ours), "run_batch", run_batch)
    monkeypatch.setattr(type(ours), "windows", (2, 2))
    assert ours(CLIPS) == expected


@pytest.mark.slow
def test_an_hour_streams_in_little_memory(tmp_path):
    """In a process by itself, so that other tests' memory does not count."""
    folder = ctc(tmp_path, "layer")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        after_minutes, after_hour = pool.apply(_stream_an_hour, [folder])
    assert after_hour - after_minutes < 32 * 1024, "KiB"


def _stream_an_hour(folder: Path) -> tuple[int, int]:
    """The largest memory of this process, in KiB, after the first full window (of 16 clips of 5 seconds) and after an hour."""
    torch.set_num_threads(1)
    pipe = pipeline("automatic-speech-recognition", model=folder)
    streams = [io.BytesIO() for _ in range(8)]
    for seed, stream in enumerate(streams):
        soundfile.write(stream, clip(5 * RATE, seed), RATE, format="FLAC")
    peaks = {}
    for count, answer in enumerate(pipe(streams[i % 8].getvalue() for i in range(720)), 1):
        assert "text" in answer
        if count in (21, 720):
            peaks[count] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peaks[21], peaks[720]


def test_the_mask_of_a_recording_takes_no_memory_before_there_is_a_batch():
    """A window has masks of 8 bytes per sample, twice as much as the samples."""
    ours = pipeline("automatic-speech-recognition", model="notebook-kit/tiny-speech", device="cpu")
    sounds = [np.sin(np.arange(length, dtype=np.float32)) for length in (16_000, 24_000)]
    features = [ours.preprocess(sound) for sound in sounds]
    assert [feature["attention_mask"].stride() for feature in features] == [(0,), (0,)]
    batch = ours.collate(features)
    assert batch["attention_mask"].shape == (2, 24_000)
    assert batch["attention_mask"].sum(dim=1).tolist() == [16_000, 24_000]
