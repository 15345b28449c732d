"""The recipe of `notebook-kit/tiny-speech`.

1. Programs say 16,000 words, letters, digits and short sentences in many voices. Each is heard in another room whenever it is used.
2. The first convolution of a small Wav2Vec2 starts as a bank of filters, four phases of each frequency, spaced like the ear's.
   Learned from nothing, it would take most of the time.
3. CTC alone does not find out for a long time which sounds are which letters. So the model first learns the letter of each frame
   as if all letters of a text lasted equally long (a flat start, as of hidden Markov models), then goes on with CTC.
4. The saved checkpoint and the baseline are measured on voices that were held out, and on recordings of people.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebook_kit.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.audio.classes import Wav2Vec2FeatureExtractor
from notebook_kit.processing.audio.extractor import normalized
from notebook_kit.processing.audio.processors import Wav2Vec2Processor
from notebook_kit.processing.text.ctc import Wav2Vec2CTCTokenizer
from notebook_kit.recipes.shared import Clock, work_folder
from notebook_kit.recipes.tiny_speech_card import model_card
from notebook_kit.recipes.voices_batches import Batches, sound_batch, trained
from notebook_kit.recipes.voices_data import RATE, Clip, Part, recordings, spoken, trimmed
from notebook_kit.recipes.voices_rooms import recorded
from notebook_kit.recipes.voices_scores import edits, error_rate, nearest_template, nearest_words
from notebook_kit.recipes.voices_texts import random_text, transcript
from notebook_kit.training import set_seed

__all__ = ["LETTERS", "build", "start_as_filters"]

SEEDS = (17,)  # the first is the embedded checkpoint; more of them measure how much chance decides
LETTERS = ["<pad>", "|", "<unk>", *"abcdefghijklmnopqrstuvwxyz"]
"""The tokens: CTC's blank, the space between words, anything else, and the letters."""
MARGIN = 0.1  # seconds of silence around a text in the flat start
SHAPE: dict[str, Any] = {
    "hidden_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 480,
    "conv_dim": [160, 128, 160],
    "conv_kernel": [400, 3, 3],  # frames of 25 ms every 10 ms, then every 40 ms
    "conv_stride": [160, 2, 2],
    "num_conv_pos_embeddings": 24,
    "num_conv_pos_embedding_groups": 8,
}
PHASES = 4  # of each frequency among the first filters
BANDS = (60.0, 7600.0)  # Hz, of the lowest and the highest filter
CLIPS, MORE, TESTS = 10_000, 6000, 600
PITCHES = (0.75, 1.35)  # of the further clips, all by flite, whose voices sound more like people
LETTERS_TIMES = 4  # how often the recorded letters are among the clips
FLAT_STEPS, STEPS, BATCH = 350, (4650, 4000), 16
RATES = (3e-3, 2e-3)  # of learning, the highest of each round


def build(output: Path, quick: bool = False, work: Path | None = None) -> dict[str, Any]:
    """Train the checkpoint, measure it, and write it with its model card.

    Args:
        output: The folder to write.
        quick: Train on a few clips for a few steps, to check that everything works. The result is useless.
        work: A folder that keeps the clips and the weights. Existing results are reused.

    Returns:
        The measurements in the model card.

    Raises:
        MissingDependencyError, HubUnreachableError, CheckpointError: As in `notebook_kit.recipes.voices_data`.
    """
    with work_folder(work) as folder:
        return _build(Path(output), quick, folder)


def _build(output: Path, quick: bool, work: Path) -> dict[str, Any]:
    clock = Clock(work / "seconds.json")
    with clock("voices", work / "speech-train-2.npz"):
        learned = clips("train", 40 if quick else CLIPS, 21, work / "speech-train.npz")
        more = clips("train", 20 if quick else MORE, 24, work / "speech-train-2.npz", flite=1.0, pitches=PITCHES)
    letters = recordings("klettres-data")
    exams = {
        "held-out voices": clips("test", 20 if quick else TESTS, 23, work / "speech-test.npz"),
        "a woman, by telephone": recordings("asterisk-core-sounds-en-wav")[: 20 if quick else None],
        "names of animals": recordings("tuxpaint-stamps-default")[: 20 if quick else None],
    }
    with clock("baseline"):
        templates = _templates(learned)
        found = {name: nearest_template(templates, exam) for name, exam in exams.items()}
    words = sorted({word for clip in [*learned, *more] for word in transcript(clip.text).split()})
    baselines = {name: _errors(exam, [transcript(text) for text in found[name]], words) for name, exam in exams.items()}
    reports = []
    for seed in SEEDS[: 1 if quick else None]:
        folder = output if seed == SEEDS[0] else work / f"checkpoint-{seed}"
        with clock(f"seed {seed}", work / f"speech-{seed}-2.pt"):
            model = _recognizer([*learned, *(letters * LETTERS_TIMES)], more, seed, work, quick)
        model.half().save_pretrained(folder)
        processor().save_pretrained(folder)
        reports.append({name: _errors(exam, _heard(folder, exam), words) for name, exam in exams.items()})
    report: dict[str, Any] = {"seeds": reports, "seconds": clock.seconds, "quick": quick, "baselines": baselines}
    report |= {
        "clips": len(learned),
        "templates": len(templates),
        "tests": {name: len(exam) for name, exam in exams.items()},
    }
    report |= {"parameters": model.num_parameters(), "bytes": (output / "model.safetensors").stat().st_size}
    report |= {"threads": torch.get_num_threads(), "shape": SHAPE}
    (output / "README.md").write_text(model_card(report), encoding="utf-8")
    return report


def clips(part: Part, count: int, seed: int, kept: Path, **options: Any) -> list[Clip]:
    """Random texts said by voices of a part, without silence around them, kept in a file; see `spoken`."""
    chance = random.Random(seed)
    texts = [random_text(chance) for _ in range(count)]
    return [trimmed(clip) for clip in spoken(texts, part, seed, kept, **options)]


def processor() -> Wav2Vec2Processor:
    """The feature extractor and the tokenizer of the checkpoint."""
    tokenizer = Wav2Vec2CTCTokenizer(
        {token: number for number, token in enumerate(LETTERS)}, bos_token=None, eos_token=None
    )
    return Wav2Vec2Processor(Wav2Vec2FeatureExtractor(return_attention_mask=True), tokenizer)


# The model -----------------------------------------------------------------------------------------------------------


class FlatStart(nn.Module):
    """The recognizer with two losses: of the letters of frames, and of CTC."""

    def __init__(self, recognizer: Wav2Vec2ForCTC) -> None:
        super().__init__()
        self.recognizer = recognizer

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor,
        labels: Tensor | None = None,
        frame_labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss of a batch.

        Args:
            input_values, attention_mask: `(batch, samples)`.
            labels: `(batch, letters)`, for CTC.
            frame_labels: `(batch, frames)`, -100 for padding; in place of `labels`.
        """
        out = self.recognizer(input_values=input_values, attention_mask=attention_mask, labels=labels)
        if frame_labels is None:
            return {"loss": out.loss, "logits": out.logits}
        loss = F.cross_entropy(out.logits.transpose(1, 2), frame_labels[:, : out.logits.shape[1]])
        return {"loss": loss, "logits": out.logits}


def _untrained() -> Wav2Vec2ForCTC:
    config = Wav2Vec2Config(
        **SHAPE,
        vocab_size=len(LETTERS),
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        initializer_range=0.08,  # so narrow a model starts better with larger weights
        hidden_dropout=0.0,  # no clip is heard twice alike
        activation_dropout=0.0,
        attention_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        mask_time_prob=0.0,
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
    )
    return Wav2Vec2ForCTC(config)


def _recognizer(learned: Sequence[Clip], further: Sequence[Clip], seed: int, work: Path, quick: bool) -> Wav2Vec2ForCTC:
    """Train in two rounds: from nothing on the clips `learned`, from good recordings to difficult ones; then on all of them."""
    set_seed(seed)
    recognizer = _untrained()
    start_as_filters(recognizer, learned[:: max(1, len(learned) // 60)])
    flat, first, second, size = (2, 2, 2, 4) if quick else (FLAT_STEPS, *STEPS, BATCH)
    shortest = sorted(learned, key=lambda clip: len(clip.samples))[: max(2 * size, int(0.6 * len(learned)))]
    rounds = [
        [
            Batches(shortest, _flat_batch, seed, flat, size, (0.1, 0.1), (MARGIN, MARGIN)),
            Batches(learned, _batch, seed + 100, first, size, (0.1, 2.0)),
        ],
        [Batches([*learned, *further], _batch, seed + 200, second, size)],
    ]
    pair = FlatStart(recognizer)
    for number, (batches, rate) in enumerate(zip(rounds, RATES, strict=True), 1):
        trained(pair, batches, rate, work / f"training-{seed}-{number}", work / f"speech-{seed}-{number}.pt")
    return recognizer.eval()


@torch.no_grad()
def start_as_filters(recognizer: Wav2Vec2ForCTC, examples: Sequence[Clip]) -> None:
    """Start the first convolution as band filters, each as loud as the others in typical speech.

    Args:
        recognizer: Its first convolution has one input channel, and a number of filters that four divides.
        examples: Clips of typical speech.
    """
    first_layer: Any = recognizer.wav2vec2.feature_extractor.conv_layers[0]  # modules are untyped
    convolution = first_layer.conv
    filters, _, kernel = convolution.weight.shape
    count = filters // PHASES
    lowest, highest = (1127 * np.log1p(hertz / 700) for hertz in BANDS)
    mels = np.linspace(lowest, highest, count)
    hertz = 700 * np.expm1(mels / 1127)
    widths = np.gradient(hertz)
    times = (np.arange(kernel) - kernel / 2) / RATE
    shapes = np.exp(-0.5 * (times / np.minimum(1 / (np.pi * np.maximum(widths, 50)), kernel / RATE / 5)[:, None]) ** 2)
    phases = np.pi / 2 * np.arange(PHASES)
    waves = shapes[:, None] * np.cos(2 * np.pi * hertz[:, None, None] * times + phases[:, None])
    waves = (waves / np.linalg.norm(waves, axis=-1, keepdims=True)).reshape(filters, 1, kernel)
    convolution.weight.copy_(torch.from_numpy(waves))
    convolution.bias.zero_()
    chance = np.random.default_rng(0)
    power = [
        convolution(torch.from_numpy(normalized(recorded(clip.samples, chance)))[None, None]).square().mean(-1)[0]
        for clip in examples
    ]
    loudness = torch.stack(power).mean(0).view(count, PHASES).mean(1).sqrt()
    convolution.weight.div_(loudness.repeat_interleave(PHASES)[:, None, None])


def _batch(samples: Sequence[np.ndarray], texts: Sequence[str], chance: np.random.Generator) -> dict[str, Tensor]:
    """Normalized samples with their mask, and the letters of the texts."""
    spelled = [_spelled(text) for text in texts]
    labels = torch.full((len(texts), max(map(len, spelled))), -100)
    for row, numbers in zip(labels, spelled, strict=True):
        row[: len(numbers)] = torch.tensor(numbers)
    return {**sound_batch(samples), "labels": labels}


def _flat_batch(samples: Sequence[np.ndarray], texts: Sequence[str], chance: np.random.Generator) -> dict[str, Tensor]:
    """Normalized samples with their mask, and a letter for each frame, as if all letters lasted equally long."""
    step = int(np.prod(SHAPE["conv_stride"]))
    sound = sound_batch(samples)
    centres = (torch.arange(sound["input_values"].shape[1] // step) + 0.5) * step  # samples
    rows = []
    for wave, text in zip(samples, texts, strict=True):
        letters = torch.tensor(_spelled(text))
        begin, end = MARGIN * RATE, len(wave) - MARGIN * RATE
        place = ((centres - begin) / (end - begin) * len(letters)).floor().long()
        is_letter = (place >= 0) & (place < len(letters))
        row = torch.where(is_letter, letters[place.clamp(0, len(letters) - 1)], 0)
        rows.append(row.masked_fill(centres > len(wave), -100))
    return {**sound, "frame_labels": torch.stack(rows)}


def _spelled(text: str) -> list[int]:
    return [LETTERS.index("|" if letter == " " else letter) for letter in transcript(text)]


# Measurements --------------------------------------------------------------------------------------------------------


def _heard(folder: Path, exam: Sequence[Clip]) -> list[str]:
    """What the saved checkpoint hears, by the pipeline."""
    transcribe = pipeline("automatic-speech-recognition", model=str(folder), dtype=torch.float32)
    answers = transcribe([{"array": clip.samples, "sampling_rate": RATE} for clip in exam])
    return [answer["text"] for answer in answers]


def _errors(exam: Sequence[Clip], heard: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """Word error rates: of all, of each program's voices, and with each word replaced by the nearest known one. And the share of
    letters that are wrong, that of texts that are right, and the texts."""
    said = [transcript(clip.text) for clip in exam]
    rows = list(zip([clip.voice.split()[0] for clip in exam], said, heard, strict=True))
    groups = {}
    for group in sorted({program for program, _, _ in rows}):
        chosen = [row[1:] for row in rows if row[0] == group]
        groups[group] = error_rate([text for text, _ in chosen], [text for _, text in chosen])
    return {
        "wer": error_rate(said, heard),
        "with a word list": error_rate(said, [nearest_words(text, words) for text in heard]),
        "letters": sum(edits(text, answer) for _, text, answer in rows) / sum(map(len, said)),
        "exact": float(np.mean([text == answer for _, text, answer in rows])),
        "groups": groups,
        "examples": [row[1:] for row in rows],
    }


def _templates(learned: Sequence[Clip], each: int = 3) -> list[Clip]:
    """A few clips of each word, and letter: what template matching knows."""
    found: dict[str, list[Clip]] = {}
    for clip in learned:
        if " " not in clip.text and len(found.setdefault(clip.text, [])) < each:
            found[clip.text].append(clip)
    return [clip for some in found.values() for clip in some]
