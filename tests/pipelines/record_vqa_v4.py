"""Record what transformers 4 answers to questions about images, since transformers 5 no longer has this task.

Run it with a Python that has transformers 4.57: `python tests/pipelines/record_vqa_v4.py`. It makes the tiny checkpoint
`data/tiny-vilt` if there is none yet, and writes `data/vqa_v4.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from image_helpers import PICTURES, save_vilt

DATA = Path(__file__).parent / "data"
QUESTIONS = ["Is it good?", "Where is the dog", "Who lives in Paris, and what is it that works?"]
# What is passed, with the places of the pictures instead of the pictures themselves.
CALLS = [
    *({"image": place, "question": QUESTIONS[place % 3]} for place in range(len(PICTURES))),
    {"image": 0, "question": QUESTIONS[0], "top_k": 1},
    {"image": 1, "question": QUESTIONS[1], "top_k": 100},
    {"image": 1, "question": QUESTIONS[2] * 9, "truncation": True, "top_k": 2},
    {"image": 2, "question": QUESTIONS[1], "padding": "max_length"},
    {"image": 0, "question": QUESTIONS, "top_k": 2},
    {"image": [0, 1, 2], "question": QUESTIONS[0], "top_k": 2},
    {"image": [0, 1], "question": QUESTIONS, "top_k": 2},
    {"image": [{"image": 3, "question": QUESTIONS[0]}, {"image": 4, "question": QUESTIONS[1]}]},
    {"image": {"image": 3, "question": QUESTIONS[2]}, "top_k": 3},
    {"image": [{"image": 3, "question": QUESTIONS[2]}]},
]


def with_pictures(given):
    """A call with the pictures in their places."""
    if isinstance(given, dict):
        return {name: with_pictures(one) if name == "image" else one for name, one in given.items()}
    return [with_pictures(one) for one in given] if isinstance(given, list) else PICTURES[given]


if __name__ == "__main__":
    if not transformers.__version__.startswith("4."):
        raise SystemExit("This needs transformers 4; transformers 5 lacks the pipeline.")
    if not (DATA / "tiny-vilt").exists():
        save_vilt(DATA / "tiny-vilt")
    torch.manual_seed(0)  # it draws the order of the patches
    pipe = transformers.pipeline("visual-question-answering", model=str(DATA / "tiny-vilt"), device="cpu")
    answers = [{"call": call, "answer": pipe(**with_pictures(call))} for call in CALLS]
    text = json.dumps(answers, ensure_ascii=False, indent=1)
    (DATA / "vqa_v4.json").write_text(text + "\n", encoding="utf-8")
