"""The recipe of `notebook-kit/tiny-speech`.

1. Programs say 20,000 words, letters, digits and short sentences, most of them in voices made from eight people. Each is heard in
   another room whenever it is used.
2. The first convolution of a small Wav2Vec2 starts as a bank of filters, four phases of each frequency, spaced like the ear's.
   Learned from nothing, it would take most of the time.
3. CTC alone does not find out for a long time which sounds are which letters. So the model first learns the letter of each frame
   as if all letters of a text lasted equally long (a flat start, as of hidden Markov models), then goes on with CTC.
4. English is not spelled as it sounds. So the last layer but one also learns the sounds of each text, in the phonetic alphabet; the
   last layer spells them.
5. One fall of the learning rate to 0 is not enough to learn to spell. So a second cycle goes on from the weights of the first: the rate
   rises again, to a lower peak, and falls (warm restarts; Loshchilov and Hutter, SGDR, 2017). In it, some clips begin or end with the
   speech: a model that has always heard silence there loses the first or the last letter of a recording that was cut closely.
6. The saved checkpoint and the baseline are measured on voices that were held out, and on recordings of people.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from notebook_kit.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC
from notebook_kit.models.wav2vec2_blocks import frames_after
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.audio.classes import Wav2Vec2FeatureExtractor
from notebook_kit.processing.audio.extractor import normalized
from notebook_kit.processing.audio.processors import Wav2Vec2Processor
from notebook_kit.processing.text.ctc import Wav2Vec2CTCTokenizer
from notebook_kit.recipes.shared import SEEDS, Clock, work_folder
from notebook_kit.recipes.tiny_speech_card import model_card
from notebook_kit.recipes.voices_batches import Batches, Collate, sound_batch, trained
from notebook_kit.recipes.voices_data import RATE, Clip, recordings, trimmed
from notebook_kit.recipes.voices_phones import phone_table, phones
from notebook_kit.recipes.voices_programs import PITCHES, SHARES, Part, spoken
from notebook_kit.recipes.voices_rooms import recorded
from notebook_kit.recipes.voices_scores import edits, error_rate, nearest_template, nearest_words
from notebook_kit.recipes.voices_texts import random_text, transcript
from notebook_kit.training import set_seed

__all__ = ["LETTERS", "build", "start_as_filters"]

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
CLIPS, TESTS, FRESH = 20_000, 600, 200
LETTERS_TIMES = 4  # how often the recorded letters are among the clips
FLAT_STEPS = 300
STEPS = (2000, 4700, 3400)  # of CTC: from good to difficult recordings, on difficult ones, and in the second cycle
BATCH = 32
LEARNING_RATES = 3e-3, 2e-3  # the highest of each cycle
HARDNESS = (0.1, 0.7, 0.5)  # of the first recordings, of the later ones, and of those of the second cycle
SPEEDS = (0.85, 1.25)
TIGHT = 1 / 3  # of the beginnings and of the ends in the second cycle, as where a recording was cut close to the speech


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
    with clock("voices", work / "speech-train.npz"):
        learned = clips("train", 60 if quick else CLIPS, 21, work / "speech-train.npz", shares=SHARES, pitches=PITCHES)
    letters = recordings("klettres-data")
    exams = {
        "held-out voices": clips("test", 20 if quick else TESTS, 23, work / "speech-test.npz"),
        "a woman, by telephone": recordings("asterisk-core-sounds-en-wav")[: 20 if quick else None],
        "names of animals": recordings("tuxpaint-stamps-default")[: 20 if quick else None],
    }
    fresh = clips("train", 20 if quick else FRESH, 24, work / "speech-fresh.npz", shares=SHARES, pitches=PITCHES)
    with clock("baseline"):
        templates = _templates(learned)
        found = {name: nearest_template(templates, exam) for name, exam in exams.items()}
    words = sorted({word for clip in learned for word in transcript(clip.text).split()})
    baselines = {name: _errors(exam, [transcript(text) for text in found[name]], words) for name, exam in exams.items()}
    reports = []
    for seed in SEEDS[: 1 if quick else None]:
        folder = output if seed == SEEDS[0] else work / f"checkpoint-{seed}"
        with clock(f"seed {seed}", work / f"speech-{seed}.pt"):
            model = _recognizer([*learned, *(letters * LETTERS_TIMES)], seed, work, quick)
        model.half().save_pretrained(folder)
        processor().save_pretrained(folder)
        heard = exams | {"training voices": fresh}
        reports.append({name: _errors(exam, _heard(folder, exam), words) for name, exam in heard.items()})
    report: dict[str, Any] = {"seeds": reports, "seconds": clock.seconds, "quick": quick, "baselines": baselines}
    report |= {
        "clips": len(learned),
        "templates": len(templates),
        "tests": {name: len(exam) for name, exam in exams.items()},
        "more by training voices": len(fresh),
    }
    report |= {"parameters": model.num_parameters(), "bytes": (output / "model.safetensors").stat().st_size}
    report |= {"threads": torch.get_num_threads(), "shape": SHAPE, "steps": FLAT_STEPS + sum(STEPS), "batch": BATCH}
    report |= {"shares": SHARES, "again": STEPS[-1], "rates": LEARNING_RATES}
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


class Spelling:
    """The numbers of the letters and of the sounds of each text that is learned.

    Args:
        texts: All of them.
        commonest: A sound that occurs less often has no number.
    """

    def __init__(self, texts: Sequence[str], commonest: int = 40) -> None:
        distinct = sorted(set(texts))
        said = dict(zip(distinct, phones(distinct), strict=True))
        self.table = phone_table(said.values(), commonest)
        self.phones = {text: [self.table[sound] for sound in said[text] if sound in self.table] for text in distinct}
        self.letters = {text: _spelled(text) for text in distinct}


class Listening(nn.Module):
    """The recognizer with two tasks, each learned from frames or by CTC: the letters, and the sounds.

    Args:
        recognizer: The model that is kept. Its last layer but one learns the sounds.
        sounds: Their number.
    """

    def __init__(self, recognizer: Wav2Vec2ForCTC, sounds: int) -> None:
        super().__init__()
        self.recognizer = recognizer
        width = recognizer.config.hidden_size
        self.sounds = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1 + sounds))

    def forward(
        self, input_values: Tensor, attention_mask: Tensor, letters: Tensor, phones: Tensor, flat: bool | Tensor = False
    ) -> dict[str, Tensor]:
        """The loss of a batch.

        Args:
            input_values, attention_mask: `(batch, samples)`.
            letters, phones: `(batch, letters or sounds)`, -100 for padding. With `flat`, one for each frame.
            flat: Learn from frames.
        """
        out = self.recognizer.wav2vec2(input_values, attention_mask=attention_mask, output_hidden_states=True)
        both = [(self.recognizer.lm_head(out.last_hidden_state), letters), (self.sounds(out.hidden_states[-2]), phones)]
        if flat:
            losses = [F.cross_entropy(logits.transpose(1, 2), row[:, : logits.shape[1]]) for logits, row in both]
        else:
            frames = frames_after(attention_mask.sum(1), SHAPE["conv_kernel"], SHAPE["conv_stride"])
            losses = [_ctc(logits, frames, row) for logits, row in both]
        return {"loss": losses[0] + losses[1], "logits": both[0][0]}


def _ctc(logits: Tensor, frames: Tensor, wanted: Tensor) -> Tensor:
    scores = logits.log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(scores, wanted.clamp(min=0), frames, (wanted >= 0).sum(1), zero_infinity=True)


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


def _recognizer(learned: Sequence[Clip], seed: int, work: Path, quick: bool) -> Wav2Vec2ForCTC:
    """Train from nothing: a flat start, then CTC, from good recordings to difficult ones, and once more on all kinds."""
    set_seed(seed)
    recognizer = _untrained()
    start_as_filters(recognizer, learned[:: max(1, len(learned) // 60)])
    flat, easy, hard, again, size = (2, 2, 2, 2, 4) if quick else (FLAT_STEPS, *STEPS, BATCH)
    words = [clip for clip in learned if " " not in clip.text]
    clips = [*learned, *words]  # single words twice as often: many of them fit in a batch
    shortest = sorted(clips, key=lambda clip: len(clip.samples))[: max(2 * size, int(0.6 * len(clips)))]
    spelling = Spelling([clip.text for clip in clips], commonest=1 if quick else 40)
    collator = _collator(spelling)
    first, later, last = HARDNESS
    batches = [
        Batches(shortest, _collator(spelling, True), seed, flat, size, (first, first), (MARGIN, MARGIN)),
        Batches(clips, collator, seed + 100, easy, size, (first, later), speeds=SPEEDS),
        Batches(clips, collator, seed + 200, hard, size, (later, later), speeds=SPEEDS),
    ]
    more = [Batches(clips, collator, seed + 300, again, size, (last, last), speeds=SPEEDS, tight=TIGHT)]
    listening = Listening(recognizer, len(spelling.table))
    halfway, kept = work / f"speech-{seed}-first.pt", work / f"speech-{seed}.pt"
    if not kept.exists():
        trained(listening, batches, LEARNING_RATES[0], work / f"training-{seed}", halfway)
    trained(listening.train(), more, LEARNING_RATES[1], work / f"training-{seed}-second", kept)
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


def _collator(spelling: Spelling, flat: bool = False) -> Collate:
    """Makes normalized samples with their mask, and the letters and the sounds of the texts: all of them, or one for each frame."""

    def collated(
        samples: Sequence[np.ndarray], texts: Sequence[str], chance: np.random.Generator
    ) -> Mapping[str, Tensor]:
        sound = sound_batch(samples)
        wanted = [(spelling.letters[text], spelling.phones[text]) for text in texts]
        if flat:
            frames = sound["input_values"].shape[1] // int(np.prod(SHAPE["conv_stride"]))
            rows = [
                [_spread(each, len(wave), frames) for each in both] for wave, both in zip(samples, wanted, strict=True)
            ]
        else:
            rows = [[torch.tensor(each, dtype=torch.long) for each in both] for both in wanted]
        letters, sounds = (
            pad_sequence([row[kind] for row in rows], batch_first=True, padding_value=-100) for kind in (0, 1)
        )
        return {**sound, "letters": letters, "phones": sounds, "flat": torch.tensor(flat)}

    return collated


def _spread(numbers: Sequence[int], samples: int, frames: int) -> Tensor:
    """A number for each frame, as if all lasted equally long: 0 in the margins, -100 after the sound."""
    step = int(np.prod(SHAPE["conv_stride"]))
    centres = (torch.arange(frames) + 0.5) * step  # samples
    begin, end = MARGIN * RATE, samples - MARGIN * RATE
    place = ((centres - begin) / (end - begin) * len(numbers)).floor().long()
    within = (place >= 0) & (place < len(numbers))
    row = torch.where(within, torch.tensor(numbers)[place.clamp(0, len(numbers) - 1)], 0)
    return row.masked_fill(centres > samples, -100)


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
