"""The embedded checkpoints that hear: as they lie there, what they answer to the samples, their cards."""

from __future__ import annotations

import json
import re

import datasets
import numpy as np
import pytest
import torch

from notebook_kit import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    AutoProcessor,
    load_audio,
    pipeline,
    record_attention,
    zoo,
)
from notebook_kit.recipes.voices_scores import error_rate
from notebook_kit.recipes.voices_texts import COMMANDS

TASKS = {"tiny-commands": "audio-classification", "tiny-speech": "automatic-speech-recognition"}
AUTO = {"tiny-commands": AutoModelForAudioClassification, "tiny-speech": AutoModelForCTC}
LIMIT = 3 * 2**20  # bytes

names = pytest.mark.parametrize("name", TASKS)


def card(name: str) -> str:
    return (zoo.folder(name) / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def texts() -> dict[str, object]:
    return json.loads(zoo.sample("sounds.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def classify():
    return pipeline("audio-classification", model="zoo", device="cpu")


@pytest.fixture(scope="module")
def transcribe():
    return pipeline("automatic-speech-recognition", model="zoo", device="cpu")


# The files -----------------------------------------------------------------------------------------------------------


@names
def test_size(name):
    assert sum(path.stat().st_size for path in zoo.folder(name).iterdir()) <= LIMIT


@names
def test_it_is_the_default_without_a_network(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert zoo.default_for(TASKS[name]) == f"notebook-kit/{name}"
    assert type(pipeline(TASKS[name], device="cpu").model) is type(AUTO[name].from_pretrained(f"notebook-kit/{name}"))


@names
def test_its_attention_can_be_recorded(name):
    model = AUTO[name].from_pretrained(f"notebook-kit/{name}")
    assert model.dtype == torch.float32
    wave = load_audio(zoo.sample("seven.ogg"))
    inputs = AutoFeatureExtractor.from_pretrained(f"notebook-kit/{name}")(
        wave, sampling_rate=16_000, return_tensors="pt"
    )
    with record_attention(model) as record, torch.no_grad():
        model(**inputs)
    frames = len(wave) // model.config.inputs_to_logits_ratio
    assert len(record) == model.config.num_hidden_layers
    assert record[0].shape[1] == model.config.num_attention_heads and abs(record[0].shape[2] - frames) <= 1


@names
def test_the_reference_answers_alike(name):
    import transformers

    folder = str(zoo.folder(name))
    waves = [load_audio(zoo.sample(each)) for each in ("seven.ogg", "sentence_1.ogg")]
    ours = AutoFeatureExtractor.from_pretrained(folder)(waves, sampling_rate=16_000, padding=True, return_tensors="pt")
    theirs = transformers.AutoFeatureExtractor.from_pretrained(folder)
    expected = theirs(waves, sampling_rate=16_000, padding=True, return_tensors="pt")
    torch.testing.assert_close(ours["input_values"], expected["input_values"], rtol=0, atol=1e-5)
    reference = getattr(transformers, type(AUTO[name].from_pretrained(folder)).__name__)
    oracle = reference.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = AUTO[name].from_pretrained(folder)(**ours).logits
        torch.testing.assert_close(logits, oracle(**expected).logits, rtol=0, atol=2e-4)


def test_the_reference_decodes_alike():
    import transformers

    folder = str(zoo.folder("tiny-speech"))
    ours, theirs = AutoProcessor.from_pretrained(folder), transformers.AutoProcessor.from_pretrained(folder)
    ids = np.random.default_rng(0).integers(0, len(ours.tokenizer), (5, 60)).tolist()
    assert ours.batch_decode(ids) == theirs.batch_decode(ids)
    assert ours.tokenizer("turn on").input_ids == theirs.tokenizer("turn on").input_ids


# The samples ---------------------------------------------------------------------------------------------------------


def test_sounds_are_small_and_name_their_sources(texts):
    folder = zoo.sample("SOURCES.md").parent
    listed = zoo.sample("SOURCES.md").read_text(encoding="utf-8")
    files = sorted(path.name for path in folder.glob("*.ogg"))
    assert files == sorted(texts) == sorted(re.findall(r"`(\w+\.ogg)`", listed))
    assert sum((folder / name).stat().st_size for name in files) < 150_000


def test_words(classify, texts):
    words = [name for name, text in texts.items() if text in COMMANDS]
    assert len(words) >= 3
    for name, answers in zip(words, classify([zoo.sample(name) for name in words], top_k=1), strict=True):
        assert answers[0]["label"] == texts[name]


def test_sentences(transcribe, texts):
    sentences = [name for name in texts if name.startswith("sentence")]
    heard = [answer["text"] for answer in transcribe([zoo.sample(name) for name in sentences])]
    assert error_rate([str(texts[name]) for name in sentences], heard) <= 0.25


def test_the_times_of_words(transcribe, texts):
    answer = transcribe(zoo.sample("sentence_1.ogg"), return_timestamps="word")
    assert " ".join(chunk["text"] for chunk in answer["chunks"]) == answer["text"]
    times = [moment for chunk in answer["chunks"] for moment in chunk["timestamp"]]
    assert times == sorted(times)
    assert times[0] >= 0 and times[-1] <= len(load_audio(zoo.sample("sentence_1.ogg"))) / 16_000


def test_a_column_of_a_data_set_as_in_the_quick_tour(transcribe, texts):
    files = [str(zoo.sample(f"sentence_{number}.ogg")) for number in (1, 2, 3)]
    dataset = datasets.Dataset.from_dict({"audio": files})
    column = datasets.Audio(sampling_rate=transcribe.feature_extractor.sampling_rate, decode=False)
    dataset = dataset.cast_column("audio", column)
    result = transcribe(dataset[:3]["audio"])
    assert [row["text"] for row in result] == [row["text"] for row in transcribe(files)]


def test_pieces_of_the_colours_are_in_order(texts):
    pieces = texts["colours.ogg"]
    seconds = len(load_audio(zoo.sample("colours.ogg"))) / 16_000
    assert [piece["text"] for piece in pieces].count("red") == len({piece["voice"] for piece in pieces}) == 20
    edges = [edge for piece in pieces for edge in (piece["start"], piece["end"])]
    assert edges == sorted(edges) and edges[-1] <= seconds + 0.01


# Their cards ---------------------------------------------------------------------------------------------------------


def test_the_cards_report_models_better_than_their_baselines():
    rows = re.findall(r"^\| .+? \| \d+ \| \*\*([\d.]+)%\*\* \| ([\d.]+)% \|$", card("tiny-commands"), re.M)
    assert len(rows) == 3 and all(float(ours) > float(baseline) for ours, baseline in rows)
    rows = re.findall(
        r"^\| .+? \| \d+ \| \*\*([\d.]+)%\*\* \| \d+% \| \d+% \| [\d.]+% \| ([\d.]+)% \|$", card("tiny-speech"), re.M
    )
    assert len(rows) == 3 and float(rows[0][0]) < float(rows[0][1])


@names
def test_the_cards_name_data_and_licences(name):
    text = card(name)
    assert "license: apache-2.0" in text.split("---")[1] and f"pipeline_tag: {TASKS[name]}" in text
    assert "--quick`: only useful" not in text
    for wanted in ("espeak-ng", "flite", "asterisk-core-sounds-en-wav", "CC-BY-SA-3.0"):
        assert wanted in text
