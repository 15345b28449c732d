"""Words with pictures, against the oracle in the same run: `python benchmarks/joint.py [vilt] [captions] [documents]`.

Random weights of the published sizes, so nothing is downloaded:

- `vilt`: ViLT-B/32, 32 questions on 8 images; four questions in a row are about one image.
- `captions`: ViT-B/16 with GPT-2 of 124 M weights, 16 images, 20 tokens each, greedily and with 4 beams.
- `documents`: LayoutLM-base, 8 questions on a page of 500 words that are given with their boxes.

All in batches of 8. Transformers 5 has no pipeline for the first two, so that its side is the loop that its pipelines of version 4
ran, on models of version 5: the image (and the question) of each input is processed, batches are padded, and the model answers;
documents go through its pipeline. The sides take turns, and each number is the median of the turns.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
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
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import notebook_kit

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] what is the colour of how many ducks are there a car left tree it ?"
QUESTIONS = ["What is the colour of the car?", "How many ducks are there?", "Is a tree left of the car?", "What is it?"]
BATCH = 8
NEW_TOKENS = 20

Rivals = tuple[str, Callable[[], list[Any]], Callable[[], list[Any]]]
"""A title, our side and the other; both return the same answers."""


def pictures(count: int) -> list[Image.Image]:
    """Noisy photographs' worth of pixels."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)) for _ in range(count)]


def save_words(folder: Path, words: str) -> None:
    """A WordPiece tokenizer of these words."""
    (folder / "vocab.txt").write_text(words.replace(" ", "\n"))
    notebook_kit.BertTokenizer.from_pretrained(folder / "vocab.txt", model_max_length=512).save_pretrained(folder)


def vilt(folder: Path, layers: int) -> Iterator[Rivals]:
    config = transformers.ViltConfig(num_hidden_layers=layers, num_labels=3129)
    transformers.ViltForQuestionAnswering(config).save_pretrained(folder)
    ViltImageProcessorPil().save_pretrained(folder)
    save_words(folder, WORDS)
    rows = [{"image": image, "question": question} for image in pictures(8) for question in QUESTIONS]
    pipe = notebook_kit.pipeline("vqa", model=str(folder), device="cpu", batch_size=BATCH)
    model = transformers.ViltForQuestionAnswering.from_pretrained(folder).eval()
    images, words = ViltImageProcessorPil.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)

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
        return [round(one[0]["score"], 3) for one in answers]

    yield (
        "ViLT-B/32, 32 questions on 8 images",
        lambda: [round(one[0]["score"], 3) for one in pipe(rows)],
        theirs,
    )


def captions(folder: Path, layers: int) -> Iterator[Rivals]:
    ids = {"decoder_start_token_id": 2, "pad_token_id": 0, "eos_token_id": 3}
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(num_hidden_layers=layers),
        transformers.GPT2Config(n_layer=layers, initializer_range=0.05),  # so that captions depend on their images
        **ids,
    )
    captioner = transformers.VisionEncoderDecoderModel(config)
    captioner.generation_config = transformers.GenerationConfig(**ids)
    captioner.save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)
    save_words(folder, " ".join([WORDS, *(f"word{i}" for i in range(50257 - len(WORDS.split())))]))
    shown = pictures(16)
    pipe = notebook_kit.pipeline("image-to-text", model=str(folder), device="cpu", batch_size=BATCH)
    model = transformers.VisionEncoderDecoderModel.from_pretrained(folder).eval()
    images, words = ViTImageProcessorPil.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)

    def theirs(settings: dict[str, int]) -> list[Any]:
        texts: list[Any] = []
        with torch.inference_mode():
            for start in range(0, len(shown), BATCH):
                pixels = [images(one, return_tensors="pt").pixel_values for one in shown[start : start + BATCH]]
                tokens = model.generate(torch.cat(pixels), **settings)
                texts += [[{"generated_text": words.decode(row, skip_special_tokens=True)}] for row in tokens]
        return texts

    for name, beams in (("greedily", 1), ("with 4 beams", 4)):
        settings = {"num_beams": beams, "max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
        yield (
            f"ViT-B/16 with GPT-2, 16 captions of {NEW_TOKENS} tokens, {name}",
            lambda settings=settings: pipe(shown, **settings),  # type: ignore[misc]
            lambda settings=settings: theirs(settings),  # type: ignore[misc]
        )


def documents(folder: Path, layers: int) -> Iterator[Rivals]:
    config = transformers.LayoutLMConfig(num_hidden_layers=layers)
    transformers.LayoutLMForQuestionAnswering(config).eval().save_pretrained(folder)
    save_words(folder, " ".join([WORDS, *(f"word{i}" for i in range(1000))]))
    rng = np.random.default_rng(0)
    places = [(i % 10 * 95, i // 10 * 19) for i in range(500)]
    page = [(f"word{rng.integers(1000)}", [x, y, x + int(rng.integers(40, 90)), y + 15]) for x, y in places]
    rows = [{"question": f"what is word{i} ?", "word_boxes": page, "image": None} for i in range(8)]
    task = "document-question-answering"
    pipe = notebook_kit.pipeline(task, model=str(folder), device="cpu", batch_size=BATCH)
    theirs = transformers.pipeline(task, model=str(folder), device="cpu", batch_size=BATCH)

    def spans(answers: list[Any]) -> list[Any]:
        flat = [one[0] if isinstance(one, list) else one for one in answers]
        return [(one["answer"], round(one["score"], 5)) for one in flat]

    title = "LayoutLM-base, 8 questions on a page of 500 words"
    yield title, lambda: spans(pipe(rows)), lambda: spans(theirs(rows))


def answer(sides: dict[str, Callable[[], list[Any]]], answers: dict[str, list[Any]], side: str) -> None:
    """Run a side, and keep its answers."""
    answers[side] = sides[side]()


WORKLOADS = {"vilt": vilt, "captions": captions, "documents": documents}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], help="all by default")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-seconds", action="store_true", help="for a machine that is busy with other things")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.cpu_seconds else time.perf_counter
    lines = []
    for name in given.workloads or WORKLOADS:
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            for title, ours, theirs in WORKLOADS[name](Path(folder), given.layers):
                answers: dict[str, list[Any]] = {}
                sides = {"ours": ours, "theirs": theirs}
                turns = {side: partial(answer, sides, answers, side) for side in sides}
                timed = alternate(turns, given.rounds, warm_up=0, clock=clock)
                times = medians(timed)
                agreeing = sum(a == b for a, b in zip(answers["ours"], answers["theirs"], strict=True))
                ratio = times["theirs"] / times["ours"]
                row = [title, f"{times['ours']:.2f}", f"{times['theirs']:.2f}", f"{ratio:.2f}"]
                lines.append([*row, f"{agreeing} of {len(answers['ours'])}"])
                print(*lines[-1], sep=" | ", flush=True)
    print(f"\nModels of {given.layers} layers, batches of {BATCH}, {given.threads} threads; seconds:\n")
    table(["what", "notebook_kit", "transformers", "times as fast", "same answers"], lines, given.rounds)


if __name__ == "__main__":
    main()
