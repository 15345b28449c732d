"""Record what transformers 4 answers to questions, since transformers 5 no longer has the task.

Run it with a Python that has transformers 4.57: `python tests/pipelines/record_v4.py`. It makes the tiny checkpoint in
`data/tiny-question-answering` if there is none, and writes `data/question_answering_v4.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

import transformers
from pipeline_helpers import CONTEXT, make_checkpoint

DATA = Path(__file__).parent / "data"
CHECKPOINT = DATA / "tiny-question-answering"

QUESTIONS = ["Where do I live?", "Who moved in summer?", "How many people?", "What is it that the zoo has more of?"]
LONG = " ".join([CONTEXT] * 3)

CASES = (
    [{"question": question, "context": CONTEXT} for question in QUESTIONS]
    + [
        {"question": QUESTIONS[0], "context": LONG, **options}
        for options in ({}, {"doc_stride": 16}, {"max_seq_len": 50, "doc_stride": 8})
    ]
    + [
        {"question": QUESTIONS[1], "context": CONTEXT, **options}
        for options in (
            {"top_k": 5},
            {"top_k": 5, "align_to_words": False},
            {"top_k": 200},
            {"handle_impossible_answer": True},
            {"handle_impossible_answer": True, "top_k": 4},
            {"max_answer_len": 1},
            {"max_answer_len": 40, "top_k": 3},
            {"padding": "max_length", "max_seq_len": 120},
        )
    ]
    + [
        {"question": QUESTIONS, "context": CONTEXT},
        {"question": QUESTIONS[:2], "context": [CONTEXT, LONG], "top_k": 2},
        {"question": QUESTIONS[:1], "context": [CONTEXT]},
        {"question": "Why?", "context": "Élodie 🤗 lives in 東京."},
        {"question": "Why?", "context": "x"},
    ]
)

if __name__ == "__main__":
    if not transformers.__version__.startswith("4."):
        raise SystemExit("This needs transformers 4; transformers 5 has no question-answering pipeline.")
    if not CHECKPOINT.exists():
        make_checkpoint(str(CHECKPOINT), "ForQuestionAnswering")
    pipe = transformers.pipeline("question-answering", model=str(CHECKPOINT), device="cpu")
    answers = [{"call": case, "answer": pipe(**case)} for case in CASES]
    text = json.dumps(answers, ensure_ascii=False, indent=1)
    (DATA / "question_answering_v4.json").write_text(text + "\n", encoding="utf-8")
