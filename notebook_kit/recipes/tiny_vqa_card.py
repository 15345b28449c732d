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
    ours, best = report["accuracy"], report["baseline"]
    share = (1 - ours) / (1 - best)
    verdict = "less than half" if share < 0.5 else "more than half of it, which was the goal"
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

Its error is {share:.0%} of the baseline's: {verdict}.{near}{_pairs(pairs)}
{interval(report["seeds"], "accuracy")}

## What it is not good for

It was made for lessons and demonstrations: a picture, words and attention between them, in a model small enough to look at. Most
things are hard to recognize at this size, and what it answers about real photographs means nothing. Ask as above: other words are
spelled letter by letter and not understood. Do not use it where a mistake matters.

## How it was made

`python -m notebook_kit.recipes build tiny-vqa` trains it again with notebook_kit's own Trainer: {report["scenes"]:,} scenes took
{minutes_of(report["seconds"], "scenes"):.1f} minutes, and a training {minutes_of(report["seconds"], "seed"):.1f} minutes on
{report["threads"]} CPU thread(s) of a machine that also did other work. It starts from
`notebook-kit/tiny-things`. The description at the top of the recipe says how.

{DATA}
"""


def _pairs(accuracy: float | None) -> str:
    if accuracy is None:
        return ""
    return (
        " Six pairs of kinds occur together in no training scene; on test scenes with such a pair "
        f"{accuracy:.0%} of its answers are right."
    )
