"""The recipe of `notebook-kit/tiny-commands`.

1. Programs say 24 words in many voices. Each clip is heard in another room whenever it is used.
2. The classifier starts as the encoder of `notebook-kit/tiny-speech`, which has learned the letters of words from the same voices.
   From random weights, a transformer learned nothing from as many clips in as many minutes.
3. A temperature is fitted on voices that are in neither training nor test, so that scores are calibrated probabilities.
4. The saved checkpoint and the baseline are measured on voices that were held out, as they are and in random rooms, and on
   recordings of people.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from notebook_kit.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2ForSequenceClassification
from notebook_kit.pipelines import pipeline
from notebook_kit.processing.audio.classes import Wav2Vec2FeatureExtractor
from notebook_kit.recipes.shared import SEEDS, Clock, best_temperature, for_each_seed, work_folder
from notebook_kit.recipes.tiny_commands_card import model_card
from notebook_kit.recipes.voices_batches import Batches, as_recorded, sound_batch, trained
from notebook_kit.recipes.voices_data import RATE, Clip, recordings, trimmed
from notebook_kit.recipes.voices_programs import EVEN, PITCHES, SHARES, Part, spoken
from notebook_kit.recipes.voices_scores import centroid_accuracy
from notebook_kit.recipes.voices_texts import COMMANDS
from notebook_kit.training import set_seed

__all__ = ["build"]

FOUNDATION = "notebook-kit/tiny-speech"
CLIPS, VALIDATION, TESTS = 5000, 400, 800
STEPS, BATCH, RATE_OF_LEARNING = 400, 32, 1e-3
PROJECTION = 128  # width before the mean over time


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
    with clock("voices", work / "commands-train.npz"):
        learned = _clips("train", 48 if quick else CLIPS, 11, work)
    validation = as_recorded(_clips("validation", 24 if quick else VALIDATION, 12, work), seed=1)
    held_out = _clips("test", 24 if quick else TESTS, 13, work)
    people = recordings("asterisk-core-sounds-en-wav")
    exams = {
        "held-out voices": held_out,
        "the same in rooms, with noise, by telephone": as_recorded(held_out, seed=2),
        "a woman, by telephone": [clip for clip in people if clip.text in COMMANDS],
    }
    with clock("baseline"):
        baselines = {name: centroid_accuracy(learned, exam) for name, exam in exams.items()}

    def one(seed: int, folder: Path) -> dict[str, Any]:
        with clock(f"seed {seed}", work / f"commands-{seed}.pt"):
            model = _classifier(learned, seed, work, quick)
        temperature = _calibrate(model, validation)
        model.half().save_pretrained(folder)
        Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
        size = {"parameters": model.num_parameters(), "layers": model.config.num_hidden_layers}
        return _measure(folder, exams) | size | {"temperature": temperature, "width": model.config.hidden_size}

    reports = for_each_seed(SEEDS, output, work, quick, one)
    report: dict[str, Any] = {"seeds": reports, "seconds": clock.seconds, "quick": quick, "baselines": baselines}
    report |= {"clips": len(learned), "tests": {name: len(exam) for name, exam in exams.items()}}
    report |= {name: reports[0][name] for name in ("parameters", "layers", "width")}
    report |= {"bytes": (output / "model.safetensors").stat().st_size, "threads": torch.get_num_threads()}
    report |= {"words of a person": sorted({clip.text for clip in exams["a woman, by telephone"]})}
    (output / "README.md").write_text(model_card(report), encoding="utf-8")
    return report


def _clips(part: Part, count: int, seed: int, work: Path) -> list[Clip]:
    """Each command equally often, said by voices of a part, kept in the work folder."""
    texts = [COMMANDS[number % len(COMMANDS)] for number in range(count)]
    kept, shares = work / f"commands-{part}.npz", SHARES if part == "train" else EVEN
    return [
        trimmed(clip) for clip in spoken(texts, part, seed, kept, shares, PITCHES if part == "train" else (1.0, 1.0))
    ]


# The model -----------------------------------------------------------------------------------------------------------


def _classifier(learned: Sequence[Clip], seed: int, work: Path, quick: bool) -> Wav2Vec2ForSequenceClassification:
    set_seed(seed)
    foundation = Wav2Vec2ForCTC.from_pretrained(FOUNDATION, dtype=torch.float32)
    names = dict(enumerate(COMMANDS))
    labels: dict[str, Any] = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    settings = foundation.config.to_dict() | labels | {"classifier_proj_size": PROJECTION}
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config.from_dict(settings))
    model.wav2vec2.load_state_dict(foundation.wav2vec2.state_dict())
    steps, size = (2, 8) if quick else (STEPS, BATCH)
    batches = [Batches(learned, _batch, seed, steps, size, (0.5, 1.5))]
    trained(model, batches, RATE_OF_LEARNING, work / f"training-{seed}", work / f"commands-{seed}.pt")
    return model.eval()


def _batch(samples: Sequence[np.ndarray], texts: Sequence[str], chance: np.random.Generator) -> dict[str, Tensor]:
    return {**sound_batch(samples), "labels": torch.tensor([COMMANDS.index(text) for text in texts])}


@torch.no_grad()
def _calibrate(model: Wav2Vec2ForSequenceClassification, clips: Sequence[Clip]) -> float:
    """Fit a temperature, and fold it into the last layer."""
    waves = [clip.samples / np.float32(32768) for clip in clips]
    batches: list[dict[str, Any]] = [sound_batch(waves[start : start + 40]) for start in range(0, len(waves), 40)]
    logits = torch.cat([model(**batch).logits for batch in batches])
    labels = torch.tensor([COMMANDS.index(clip.text) for clip in clips])
    temperature = best_temperature(logits, labels)
    for parameter in model.classifier.parameters():
        parameter.div_(temperature)
    return temperature


# Measurements --------------------------------------------------------------------------------------------------------


def _measure(folder: Path, exams: dict[str, list[Clip]]) -> dict[str, Any]:
    """Accuracy and mean score of the first answer, by the pipeline; for each exam, and for each program's voices."""
    classify = pipeline("audio-classification", model=str(folder), dtype=torch.float32)
    report: dict[str, Any] = {}
    for name, exam in exams.items():
        inputs = [{"array": clip.samples, "sampling_rate": RATE} for clip in exam]
        best = [answers[0] for answers in classify(inputs, top_k=1)]
        right = np.array([answer["label"] == clip.text for answer, clip in zip(best, exam, strict=True)])
        programs = np.array([clip.voice.split()[0] for clip in exam])
        report[name] = {
            "accuracy": float(right.mean()),
            "confidence": float(np.mean([answer["score"] for answer in best])),
            "groups": {str(program): float(right[programs == program].mean()) for program in np.unique(programs)},
            "wrong": [
                (clip.text, answer["label"])
                for clip, answer, is_right in zip(exam, best, right, strict=True)
                if not is_right
            ],
        }
    return report
