"""Speech for the recipes of sound: voices, texts, rooms, measures and batches, on programs and recordings that beep."""

from __future__ import annotations

import doctest
import importlib
import itertools
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from sound_files import beeps, speaking, write_sound_cache

from notebook_kit import AutoModelForAudioClassification, AutoModelForCTC, pipeline, set_seed
from notebook_kit.errors import MissingDependencyError
from notebook_kit.models.wav2vec2_blocks import frames_after
from notebook_kit.recipes import (
    tiny_speech,
    voices_batches,
    voices_data,
    voices_phones,
    voices_programs,
    voices_rooms,
    voices_scores,
    voices_texts,
)
from notebook_kit.recipes.voices_data import PACKAGES, RATE, Clip, recordings
from notebook_kit.recipes.voices_phones import phone_table, phones
from notebook_kit.recipes.voices_programs import VOICES, spoken
from notebook_kit.recipes.voices_rooms import recorded
from notebook_kit.recipes.voices_scores import edits, nearest_template, warped_distances
from notebook_kit.recipes.voices_texts import COMMANDS, LETTER_NAMES, WORDS, random_text, transcript


@pytest.mark.parametrize(
    "module", [voices_batches, voices_data, voices_phones, voices_programs, voices_rooms, voices_scores, voices_texts]
)
def test_examples_run(module):
    failed, ran = doctest.testmod(module)
    assert failed == 0
    assert ran > 0


# Voices and texts ----------------------------------------------------------------------------------------------------


def test_no_voice_is_in_two_parts():
    """Of espeak's voices, neither: a variant is a speaker."""
    speakers = {
        part: {voice.name.rpartition("+")[2] for voice in VOICES if voice.part == part}
        for part in ("train", "validation", "test")
    }
    for one, other in itertools.combinations(speakers.values(), 2):
        assert one and other and not one & other


def test_texts_are_spelled_with_the_letters_of_the_recognizer():
    chance = random.Random(0)
    texts = [random_text(chance) for _ in range(2000)]
    assert len(set(texts)) > 1000
    letters = set(tiny_speech.LETTERS) | {" "}
    for text in [*texts, *WORDS, *COMMANDS]:
        assert set(transcript(text)) <= letters and transcript(text) == text.lower()
        assert "{" not in text
        assert all(len(word) == 1 and word in LETTER_NAMES for word in text.split() if word[0].isupper())


def test_what_is_said_and_kept(monkeypatch, tmp_path):
    commands = speaking(monkeypatch)
    texts = ["A B", "good morning"] * 8
    kept = tmp_path / "clips.npz"
    first = spoken(texts, "test", seed=3, kept=kept)
    count = len(commands)
    assert count == len(texts)
    names = {voice.name for voice in VOICES if voice.part == "test"}
    used = {clip.voice.partition(" ")[2] for clip in first}
    assert len(used) > 4 and used <= names
    assert {clip.voice.split()[0] for clip in first} == {"espeak", "flite"}
    assert any("ay bee" in command for command in map(" ".join, commands))  # by flite
    assert any("[[eI]] B" in command for command in map(" ".join, commands))  # by espeak, which says "ay" as "eye"
    again = spoken(texts, "test", seed=3, kept=kept)
    assert len(commands) == count, "read from the file"
    for one, other in zip(first, again, strict=True):
        assert (one.text, one.voice) == (other.text, other.voice) and np.array_equal(one.samples, other.samples)
        assert one.samples.dtype == np.int16
        written = voices_programs.written(one.text, one.voice.split()[0])
        assert len(one.samples) == pytest.approx(len(beeps(written)), abs=2)


SHARES = {"flite": 0.2, "pico": 0.2, "rhvoice": 0.2, "festival": 0.2, "espeak": 0.2}


def test_every_program_speaks_at_the_same_rate_and_says_letters_right(monkeypatch):
    commands = speaking(monkeypatch)
    clips = spoken(["good morning", "A", "H"] * 30, "train", seed=3, shares=SHARES, pitches=(0.8, 1.2))
    by_program = {name: [clip for clip in clips if clip.voice.startswith(name)] for name in SHARES}
    assert sum(map(len, by_program.values())) == 90 and min(map(len, by_program.values())) >= 5
    assert len({clip.voice for clip in clips if not clip.voice.startswith("espeak")}) == 9
    for name, found in by_program.items():
        for clip in found:
            assert clip.samples.dtype == np.int16
            assert len(clip.samples) == pytest.approx(len(beeps(voices_programs.written(clip.text, name))), abs=4)
    assert not any(clip.text == "A" for clip in by_program["pico"]), "pico would say the article"
    assert not any(clip.text == "H" for clip in by_program["festival"])
    said = [" ".join(command) for command in commands]
    assert any("[[eI]]" in each for each in said) and any("ay" in each.split() for each in said)


@pytest.mark.parametrize(
    ("program", "install"),
    [
        ("espeak", "apt-get install espeak-ng flite"),
        ("flite", "apt-get install espeak-ng flite"),
        ("festival", "apt-get install festival festvox-kdlpc16k"),
        ("pico", "pip install ttspico"),
        ("rhvoice", "pip install rhvoice-wrapper"),
    ],
)
def test_without_the_programs(program, install, monkeypatch):
    speaking(monkeypatch)
    monkeypatch.setattr("notebook_kit.recipes.voices_programs.shutil.which", lambda name: None)
    for package in ("ttspico", "rhvoice_wrapper"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=install):
        spoken(["hello"], "train", seed=0, shares={program: 1.0})


def test_sounds_are_those_of_the_dictionary(monkeypatch):
    def run(command, input, **_):
        said = {"turn on": "tˈɜːn ˈɔn", "F [[eI]]": "ˌɛf ˈeɪ", "two": "tˈuː"}
        lines = [said[line] for line in input.decode().split("\n")]
        return subprocess.CompletedProcess(command, 0, ("\n".join(lines) + "\n").encode(), b"")

    monkeypatch.setattr("notebook_kit.recipes.voices_phones.subprocess.run", run)
    monkeypatch.setattr("notebook_kit.recipes.voices_phones.shutil.which", lambda name: f"/usr/bin/{name}")
    assert phones(["turn on", "F A", "two"]) == ["tɜnɔn", "ɛfeɪ", "tu"]
    assert phone_table(["tɜnɔn", "tu"], commonest=2) == {"n": 1, "t": 2}
    monkeypatch.setattr("notebook_kit.recipes.voices_phones.shutil.which", lambda name: None)
    with pytest.raises(MissingDependencyError, match="apt-get install espeak-ng"):
        phones(["two"])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_sound_cache(tmp_path_factory.mktemp("cache"))


def test_recordings(cache):
    found = {package: recordings(package, cache) for package in PACKAGES}
    assert [clip.text for clip in found["tuxpaint-stamps-default"]] == ["a cat", "a dog"]
    assert [clip.text for clip in found["klettres-data"]] == ["A", "B", "C", "D"]
    texts = [clip.text for clip in found["asterisk-core-sounds-en-wav"]]
    assert texts[:3] == ["zero", "one", "two"] and len(texts) > 150
    assert sum(text in COMMANDS for text in texts) >= 15
    letter = found["klettres-data"][0].samples
    assert len(letter) == pytest.approx(len(beeps("A")), abs=2), "at 16,000 samples per second"


# Rooms ---------------------------------------------------------------------------------------------------------------


def test_margins_say_where_the_sound_is():
    tone = (9000 * np.sin(np.arange(RATE) / 4)).astype(np.int16)
    heard = recorded(tone, np.random.default_rng(1), hardness=0.0, margins=(0.2, 0.3))
    power = np.square(heard)
    assert power[: RATE // 10].mean() < 1e-3 * power[RATE // 2 : RATE].mean()
    assert power[-RATE // 10 :].mean() < 1e-3 * power[RATE // 2 : RATE].mean()
    speed = len(tone) / (len(heard) - RATE // 2)
    assert 0.85 < speed < 1.2


def test_some_clips_begin_or_end_without_silence():
    tone = np.sin(np.arange(RATE) / 4)

    def silences(tight):
        """Seconds before and after the sound; the sound itself keeps its length at a speed of 1."""
        batches = voices_batches.Batches(
            [Clip("", "", tone)], lambda samples, *_: samples, 0, 120, 1, (0.0, 0.0), speeds=(1.0, 1.0), tight=tight
        )
        found = []
        for number in range(120):
            loud = np.flatnonzero(np.abs(batches[number][0]) > 0.2 * np.abs(batches[number][0]).max())
            found.append((loud[0] / RATE, (len(batches[number][0]) - 1 - loud[-1]) / RATE))
        return np.array(found)

    assert silences(0.0).min() > 0.025
    assert silences(1.0).max() < 0.002
    without = silences(0.4) < 0.002
    assert np.abs(without.mean(axis=0) - 0.4).max() < 0.1
    assert 0.08 < without.all(axis=1).mean() < 0.26, "both ends are drawn apart"


def test_hard_recordings_are_noisier_than_easy_ones():
    def noise(hardness):
        found = []
        for seed in range(20):
            power = np.square(recorded(tone, np.random.default_rng(seed), hardness, margins=(0.2, 0.0)))
            found.append(power[: RATE // 6].mean() / power[RATE // 3 :].mean())
        return np.mean(found)

    tone = np.sin(2 * np.pi * 700 * np.arange(RATE) / RATE)
    assert noise(1.0) > 5 * noise(0.0) > 0


# Measures ------------------------------------------------------------------------------------------------------------


def slow_edits(one, other):
    if not one or not other:
        return len(one) + len(other)
    return min(
        slow_edits(one[1:], other) + 1,
        slow_edits(one, other[1:]) + 1,
        slow_edits(one[1:], other[1:]) + (one[0] != other[0]),
    )


def test_edits_are_those_of_the_definition():
    chance = random.Random(2)
    for _ in range(40):
        one, other = ("".join(chance.choices("abc", k=chance.randint(0, 5))) for _ in range(2))
        assert edits(one, other) == slow_edits(one, other)


def test_warping_follows_the_best_path():
    chance = np.random.default_rng(4)
    pattern, template = chance.normal(size=(5, 3)), chance.normal(size=(4, 3))
    costs = np.linalg.norm(pattern[:, None] - template[None], axis=-1)

    def least(i, j):
        if i == 0 and j == 0:
            return costs[0, 0]
        before = [least(*place) for place in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if min(place) >= 0]
        return costs[i, j] + min(before)

    assert warped_distances(pattern, [template, pattern])[0] == pytest.approx(least(4, 3) / 9)
    assert warped_distances(pattern, [template, pattern])[1] == pytest.approx(0, abs=1e-6)


def test_templates_recognize_themselves_at_another_speed():
    templates = [Clip(text, "", (20_000 * beeps(text)).astype(np.int16)) for text in ("hello", "zebra", "moon")]
    slower = [Clip(clip.text, "", np.repeat(clip.samples, 2)[::2][: len(clip.samples)]) for clip in templates]
    assert nearest_template(templates, slower) == [clip.text for clip in templates]


# Recipes -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def spelling(monkeypatch):
    speaking(monkeypatch)
    return tiny_speech.Spelling(["abcd", "ab"], commonest=1)


def test_letters_of_a_flat_start_are_spread_evenly(spelling):
    samples = [np.ones(RATE, np.float32), np.ones(RATE // 2, np.float32)]
    batch = tiny_speech._collator(spelling, True)(samples, ["abcd", "ab"], np.random.default_rng(0))
    for name, a in (("letters", tiny_speech.LETTERS.index("a")), ("phones", spelling.table["a"])):
        first, second = batch[name].tolist()
        assert len(first) == RATE // 640
        assert first[:2] == [0, 0] and first[-2:] == [0, 0]  # the blank, in a tenth of a second on both sides
        inside = [label for label in first if label]
        assert inside == sorted(inside) and set(inside) == {a, a + 1, a + 2, a + 3}
        assert max(inside.count(label) for label in inside) == 5
        assert second[-12:] == [-100] * 12  # padding


def test_both_losses_are_those_of_ctc(spelling):
    """Of the letters from the last layer, and of the sounds from the one before; both train."""
    set_seed(0)
    recognizer = tiny_speech._untrained()
    listening = tiny_speech.Listening(recognizer, len(spelling.table))
    samples = [np.random.default_rng(0).normal(size=RATE).astype(np.float32), np.ones(RATE // 2, np.float32)]
    batch = tiny_speech._collator(spelling)(samples, ["abcd", "ab"], np.random.default_rng(0))
    found = listening(**batch)
    inputs = {name: batch[name] for name in ("input_values", "attention_mask")}
    alone = recognizer(**inputs, labels=batch["letters"], output_hidden_states=True)
    sounds = listening.sounds(alone.hidden_states[-2]).log_softmax(-1).transpose(0, 1)
    frames = frames_after(batch["attention_mask"].sum(1), recognizer.config.conv_kernel, recognizer.config.conv_stride)
    expected = torch.nn.functional.ctc_loss(sounds, batch["phones"].clamp(min=0), frames, torch.tensor([4, 2]))
    assert float(found["loss"].detach()) == pytest.approx(float((alone.loss + expected).detach()), rel=1e-5)
    found["loss"].backward()
    assert listening.sounds[1].weight.grad.abs().sum() > 0 and recognizer.lm_head.weight.grad.abs().sum() > 0


def test_filters_are_equally_loud_at_the_start():
    recognizer = tiny_speech._untrained()
    chance = np.random.default_rng(0)
    clips = [
        Clip("x", "", (8000 * chance.normal(size=RATE).cumsum() / 60).clip(-32000, 32000).astype(np.int16))
        for _ in range(8)
    ]
    tiny_speech.start_as_filters(recognizer, clips)
    convolution = recognizer.wav2vec2.feature_extractor.conv_layers[0].conv
    strength = torch.fft.rfft(convolution.weight[:, 0], 4096).abs()
    peaks = strength.argmax(-1).view(-1, tiny_speech.PHASES)
    assert (peaks == peaks[:, :1]).float().mean() > 0.95  # the phases of one frequency
    assert (peaks[:, 0].diff() >= 0).all() and peaks[0, 0] < 40 and peaks[-1, 0] > 1800
    heard = [tiny_speech.normalized(recorded(clip.samples, chance)) for clip in clips * 4]
    with torch.no_grad():
        powers = [convolution(torch.from_numpy(wave)[None, None]).square().mean(-1)[0] for wave in heard]
    loudness = torch.stack(powers).mean(0).sqrt()
    assert loudness.max() < 15 * loudness.min()  # of equally long filters, the lowest would be a hundred times as loud


def test_a_second_cycle_goes_on_from_the_weights_of_the_first(monkeypatch, tmp_path):
    speaking(monkeypatch)
    clips = [Clip(text, "", (20_000 * beeps(text)).astype(np.int16)) for text in ("ab", "b a", "abba", "a b", "ba")]
    cycles, train = [], tiny_speech.trained

    def noted(model, batches, rate, folder, kept):
        before = model.recognizer.lm_head.weight.detach().clone()
        result = train(model, batches, rate, folder, kept)
        cycles.append((rate, before, model.recognizer.lm_head.weight.detach().clone()))
        return result

    monkeypatch.setattr(tiny_speech, "trained", noted)

    def weights():
        cycles.clear()
        return tiny_speech._recognizer(clips, 17, tmp_path, quick=True).lm_head.weight.detach()

    found = weights()
    (first_rate, start, halfway), (second_rate, again, end) = cycles
    assert 0 < second_rate < first_rate
    assert torch.equal(again, halfway) and torch.equal(found, end)
    assert not torch.equal(start, halfway) and not torch.equal(halfway, end)
    (tmp_path / "speech-17.pt").unlink()
    shutil.rmtree(tmp_path / "training-17-second")  # as if it had been interrupted between the cycles
    torch.testing.assert_close(weights(), found)
    (tmp_path / "speech-17-first.pt").unlink()
    assert torch.equal(weights(), found) and len(cycles) == 1, "the final weights are enough"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "auto", "task"),
    [
        ("tiny-speech", AutoModelForCTC, "automatic-speech-recognition"),
        ("tiny-commands", AutoModelForAudioClassification, "audio-classification"),
    ],
)
def test_a_quick_build(name, auto, task, monkeypatch, tmp_path, cache):
    speaking(monkeypatch)
    monkeypatch.setenv("NOTEBOOK_KIT_CACHE", str(tmp_path))
    (tmp_path / "data").symlink_to(cache)
    recipe = importlib.import_module(f"notebook_kit.recipes.{name.replace('-', '_')}")
    report = recipe.build(tmp_path / "out", quick=True, work=tmp_path / "work")
    assert report["quick"] and len(report["seeds"]) == 1
    assert (tmp_path / "out/model.safetensors").stat().st_size == report["bytes"] < 3 * 2**20
    auto.from_pretrained(tmp_path / "out")
    pipeline(task, model=str(tmp_path / "out"))(beeps("hello"))
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "--quick`: only useful" in card and f"pipeline_tag: {task}" in card
