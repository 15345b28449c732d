"""The model card of `notebook-kit/tiny-vqa`, filled with the measurements of the recipe."""

from __future__ import annotations

from typing import Any

from notebook_kit.recipes.scene_card import DATA, PICTURE, interval, kinds
from notebook_kit.recipes.shared import QUICK_WARNING, minutes_of

__all__ = ["model_card"]


def model_card(report: dict[str, Any]) -> str:
    """The card in Markdown, with the metadata for the Hub at the top."""
    rows = "\n".join(
        f"| {kind} ...? | {count} | {ours:.3f} | {guess:.3f} | {answer} |"
        for kind, (ours, guess, answer, count) in report["kinds"].items()
    ).replace("where ...?", "what is left of, right of, above, below ...?")
    sorts = "\n".join(f"| {sort} | {count} | {right:.3f} |" for sort, (right, count) in report["sorts"].items())
    ours, best = report["accuracy"], report["baseline"]
    share = (1 - ours) / (1 - best)
    mean = (1 - sum(report["seeds"]) / len(report["seeds"])) / (1 - best)
    verdict = (
        "less than half"
        if mean < 0.5
        else f"{'close to' if mean < 0.55 else 'more than'} half of it, which was the goal"
    )
    near = " It is hardly better than guessing." if share > 0.9 else ""
    pairs = report["new pairs"]
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: visual-question-answering
tags: [visual-question-answering, vilt]
model-index:
- name: notebook-kit/tiny-vqa
  results:
  - task: {{type: visual-question-answering}}
    dataset: {{name: scenes of pasted things (held-out things and photographs), type: notebook-kit-scenes, split: test}}
    metrics:
    - {{type: accuracy, name: accuracy, value: {ours:.4f}}}
---

# notebook-kit/tiny-vqa

{QUICK_WARNING if report["quick"] else ""}Answers simple questions about a picture of a few things. It is included in
notebook_kit, and used for `visual-question-answering` (`vqa`) when no model is named and the Hub cannot be reached:

```python
from notebook_kit import pipeline, zoo

answer_to = pipeline("vqa", model="notebook-kit/tiny-vqa")
answer_to(zoo.sample("scene_1.webp"), "is there an apple?", top_k=2)
```

![Scenes with questions and its answers; wrong ones in red]({PICTURE})

It is a ViLT of {report["parameters"]:,} parameters (4 layers, 4 heads, width 128; pictures of 64 x 64 pixels in 8 x 8 patches), stored in
float16: {report["bytes"] / 2**20:.2f} MiB. It knows ten kinds of things ({kinds()}), and the answers yes, no, 0 to 3, and the names
of the kinds. The folder also loads in `transformers`.

## How good it is

Measured with the saved checkpoint, by the pipeline, on {report["questions"]:,} questions about {report["tests"]} scenes of things that
no training scene shows (another style of emoji, and photographs kept back) on photographs that no training scene shows. The baseline
is the most frequent answer to the kind of question in training:

| | questions | tiny-vqa | most frequent answer | which is |
| --- | --- | --- | --- | --- |
{rows}
| all | {report["questions"]} | **{ours:.3f}** | {best:.3f} | |

Its error is {share:.1%} of the baseline's, and {mean:.1%} on average over the seeds: {verdict}.{near}{_pairs(pairs)}
{interval(report["seeds"], "accuracy")}
The seeds share the first stage of the training, which looks at scenes without a question, so this says how much chance decides in
the second.

By what is asked, and what the right answer is:

| | questions | right |
| --- | --- | --- |
{sorts}

{TRIED}

## What it is not good for

It was made for lessons and demonstrations: a picture, words and attention between them, in a model small enough to look at. Most
things are hard to recognize at this size, and what it answers about real photographs means nothing. Ask as above: other words are
spelled letter by letter and not understood. Do not use it where a mistake matters.

## How it was made

`python -m notebook_kit.recipes build tiny-vqa` trains it again with notebook_kit's own Trainer: {report["scenes"]:,} scenes took
{minutes_of(report["seconds"], "scenes"):.1f} minutes, learning to look {minutes_of(report["seconds"], "looking"):.1f} minutes,
and after it a training {minutes_of(report["seconds"], "seed"):.1f} minutes on
{report["threads"]} CPU thread(s) of a machine that also did other work. It starts from
`notebook-kit/tiny-things`. The description at the top of the recipe says how.

{DATA}
"""


TRIED = """\
What was tried, with seed 17 and judged on 200 scenes for validation: without learning to look first, 1,600 steps on 10,000 scenes
answered 64%, and 43% of the questions about places. Of new scenes with things that it had been trained on it answered only 67%, so what
it lacked was training, above all in seeing. With 40,000 scenes, a first stage that only looks, and 1,700 steps after it, 77% were
right, and 82% about places. Questions drawn evenly instead of their kinds (half of them are *how many*), plurals that start as their
singulars, and 2,200 steps made it 82%. It still hardly ever says that there are two of a kind, which few scenes show. Most of what is
left are things in a style that it has never seen."""


def _pairs(accuracy: float | None) -> str:
    if accuracy is None:
        return ""
    return (
        " Six pairs of kinds occur together in no training scene; on test scenes with such a pair "
        f"{accuracy:.0%} of its answers are right."
    )
