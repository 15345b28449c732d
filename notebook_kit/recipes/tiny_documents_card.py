"""The model card of `notebook-kit/tiny-documents`, filled with the measurements of the recipe."""

from __future__ import annotations

from typing import Any

from notebook_kit.recipes.scene_card import interval
from notebook_kit.recipes.shared import QUICK_WARNING, minutes_of

__all__ = ["PICTURE", "model_card"]

PICTURE = "page.webp"
"""The file of the picture in the card."""


def model_card(report: dict[str, Any]) -> str:
    """The card in Markdown, with the metadata for the Hub at the top."""
    exact, f1 = report["all"]
    best = max(score for score, _ in report["baselines"].values())
    share = (1 - exact) / (1 - best)
    verdict = "less than half" if share < 0.5 else "more than half"
    baselines = "\n".join(f"| {name} | {one:.3f} | {two:.3f} |" for name, (one, two) in report["baselines"].items())
    kinds = "\n".join(f"| {kind} ...? | {one:.2f} | {two:.2f} |" for kind, (one, two) in report["kinds"].items())
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: document-question-answering
tags: [document-question-answering, layoutlm]
model-index:
- name: notebook-kit/tiny-documents
  results:
  - task: {{type: document-question-answering}}
    dataset: {{name: rendered receipts, invoices and forms (held-out layouts, fonts and words), type: notebook-kit-documents, split: test}}
    metrics:
    - {{type: exact_match, name: exact match, value: {exact:.4f}}}
    - {{type: f1, name: F1, value: {f1:.4f}}}
---

# notebook-kit/tiny-documents

{QUICK_WARNING if report["quick"] else ""}Answers questions about receipts, invoices and forms in English with words of the
page. It is
embedded in notebook_kit, and used for `document-question-answering` when no model is named and the Hub cannot be reached:

```python
import json

from notebook_kit import pipeline, zoo

ask = pipeline("document-question-answering", model="notebook-kit/tiny-documents")
word_boxes = json.loads(zoo.sample("invoice.json").read_text(encoding="utf-8"))
ask(question="What is the total?", word_boxes=word_boxes)
ask(zoo.sample("invoice.png"), "What is the total?")  # the words are read by Tesseract, if it is installed
```

![A page with the words that it chose]({PICTURE})

It is a LayoutLM of {report["parameters"]:,} parameters with {report["pieces"]:,} WordPieces, stored in float16:
{report["bytes"] / 2**20:.2f} MiB. The
folder also loads in `transformers`.

## How good it is

Measured with the saved checkpoint, by the pipeline, on {report["questions"]:,} questions about {report["tests"]} pages
whose layouts, fonts, names, streets,
companies and items no training page has. Labels ("Amount due") and the wordings of questions occur in training. The share of
answers that are right to the letter, and the mean F1 of their words:

| | exact match | F1 |
| --- | --- | --- |
| tiny-documents | **{exact:.3f}** | **{f1:.3f}** |
{baselines}

Its error is {share:.0%} of that of the best baseline: {verdict}. The baselines look for the word of the page that is most
like a word of
the question. On new pages with the layouts and fonts of training its exact match is {report["familiar"][0]:.3f}.
{interval(report["seeds"], "exact match")}

By the first words of the question:

| | exact match | F1 |
| --- | --- | --- |
{kinds}

## What it is not good for

It was made for lessons and demonstrations. Its pages are clean, short and straight: real scans, other languages, long
tables and
questions in other words mislead it. It has not been measured on photographs of receipts, nor with words that Tesseract read.
Of names that it has never seen it often gives a part
only. It always answers, also when the page does not say. Do not use it where a mistake matters.

## How it was made

`python -m notebook_kit.recipes build tiny-documents` trains it again with notebook_kit's own Trainer: {report["pages"]:,}
pages were written in
{minutes_of(report["seconds"], "pages"):.1f} minutes, and a training took
{minutes_of(report["seconds"], "seed"):.1f} minutes on {report["threads"]} CPU
thread(s) of a machine that also did other work.
The description at the top of the recipe says how.

## Data and licences

All pages are made by `notebook_kit/recipes/documents.py`. Their words were chosen for this project; names, companies and
numbers
are random. The widths of their fonts are those of Liberation (OFL-1.1) and DejaVu (a free licence, see the package
`fonts-dejavu-core`); for tests also Pillow's Aileron (CC0), in which the picture above is set. These weights: Apache-2.0.
"""
