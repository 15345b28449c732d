"""Images with texts: 32 questions on 8 images, against the oracle in the same run: `python benchmarks/joint.py`.

Random weights of ViLT-B/32's size, so nothing is downloaded. Transformers 5 has no pipeline for this task, so that its side is
the loop that its pipeline of version 4 ran: the image and the question of each input are processed, batches of 8 are padded, and
the model answers. Four questions in a row are about one image. The sides take turns, and each number is the median of the turns.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
import transformers
from measure import alternate, medians, table
from PIL import Image
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

import notebook_kit

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] what is the colour of how many ducks are there a car left tree it ?"
QUESTIONS = ["What is the colour of the car?", "How many ducks are there?", "Is a tree left of the car?", "What is it?"]
BATCH = 8


def pictures() -> list[Image.Image]:
    """Eight noisy photographs' worth of pixels."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)) for _ in range(8)]


def checkpoint(folder: Path, layers: int) -> None:
    """A ViLT of the published width, with its tokenizer and image processor."""
    torch.manual_seed(0)
    config = transformers.ViltConfig(num_hidden_layers=layers, num_labels=3129)
    transformers.ViltForQuestionAnswering(config).save_pretrained(folder)
    ViltImageProcessorPil().save_pretrained(folder)
    (folder / "vocab.txt").write_text(WORDS.replace(" ", "\n"))
    notebook_kit.BertTokenizer.from_pretrained(folder / "vocab.txt").save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-seconds", action="store_true", help="for a machine that is busy with other things")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = [{"image": image, "question": question} for image in pictures() for question in QUESTIONS]
    with tempfile.TemporaryDirectory() as name:
        checkpoint(Path(name), given.layers)
        pipe = notebook_kit.pipeline("vqa", model=name, device="cpu", batch_size=BATCH)
        model = transformers.ViltForQuestionAnswering.from_pretrained(name).eval()
        images, words = ViltImageProcessorPil.from_pretrained(name), transformers.AutoTokenizer.from_pretrained(name)

    def theirs() -> list[Any]:
        answers: list[Any] = []
        with torch.inference_mode():
            for start in range(0, len(rows), BATCH):
                some = rows[start : start + BATCH]
                pixels = [images(row["image"], return_tensors="pt") for row in some]
                joined = {key: torch.cat([one[key] for one in pixels]) for key in pixels[0]}
                texts = words([row["question"] for row in some], padding=True, return_tensors="pt")
                scores, places = model(**texts, **joined).logits.sigmoid().topk(5)
                for row_scores, row_places in zip(scores.tolist(), places.tolist(), strict=True):
                    labels = [model.config.id2label[place] for place in row_places]
                    pairs = zip(row_scores, labels, strict=True)
                    answers.append([{"score": score, "answer": label} for score, label in pairs])
        return answers

    mine, expected = pipe(rows), theirs()
    assert all(abs(a[0]["score"] - b[0]["score"]) < 1e-4 for a, b in zip(mine, expected, strict=True))
    clock = time.process_time if given.cpu_seconds else time.perf_counter
    times = medians(alternate({"ours": lambda: pipe(rows), "theirs": theirs}, given.rounds, warm_up=0, clock=clock))
    print(f"ViLT-B/32 with {given.layers} layers, 32 questions on 8 images, batches of {BATCH}: seconds")
    row = [f"{times['ours']:.2f}", f"{times['theirs']:.2f}", f"{times['theirs'] / times['ours']:.2f}"]
    table(["notebook_kit", "transformers", "times as fast"], [row], given.rounds)


if __name__ == "__main__":
    main()
