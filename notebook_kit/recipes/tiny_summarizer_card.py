"""The model card of `notebook-kit/tiny-summarizer`, filled with the measurements of the recipe."""

from __future__ import annotations

from typing import Any

from notebook_kit.recipes.shared import QUICK_WARNING

__all__ = ["OTHERS", "model_card"]

# Written for this project: descriptions of packages that do not exist, and a text that is not about a package.
OTHERS = [
    "Tidepool is a terminal program that shows the tides of the next days for any harbour in the world. It computes them from "
    "harmonic constants that come with it, so it needs no network. The times can be printed as a table or drawn as a curve.",
    "Quillwort is a library for reading and writing spreadsheets. It supports formulas, charts and very large files, which it "
    "reads row by row. This package contains the header files and the static library needed to compile programs with it.",
    "This module lets Python programs talk to heating controllers over a serial line. It knows the protocols of several makers, "
    "reads temperatures, sets schedules and reports faults. This package installs the library for Python 3.",
    "Lanternfish is a puzzle game in which a small fish lights its way through the caves of a dark sea. There are sixty levels, "
    "an editor to make more of them, and music by several composers. This package contains the game's data files.",
    "The village council met on Tuesday evening to decide on the new footbridge over the river. After two hours of debate it was "
    "agreed that the work should begin in spring, and that half of the cost is to be paid by the county.",
]


def model_card(report: dict[str, Any]) -> str:
    """The card in Markdown, with the metadata for the Hub at the top."""
    scores = report["scores"]
    ours = scores["tiny-summarizer"]
    names = {"tiny-summarizer": "**tiny-summarizer**"} | {
        name: f"lead: {name}" for name in scores if name != "tiny-summarizer"
    }
    rows = "\n".join(
        f"| {label} | {scores[name]['rouge1']:.3f} | {scores[name]['rouge2']:.3f} | {scores[name]['rougeL']:.3f} |"
        for name, label in names.items()
    )
    beaten = all(ours[kind] > max(scores[name][kind] for name in scores if name != "tiny-summarizer") for kind in ours)
    verdict = "It beats the leads by each measure." if beaten else "**It does not beat the leads by every measure.**"
    samples = "\n\n".join(f"> {text}\n\n→ **{summary}**" for text, summary in report["others"])
    minutes, threads = report["seconds"]["training"] / 60, report["threads"]
    size = f"{report['bytes'] / 2**20:.2f} MiB"
    warning = QUICK_WARNING if report["quick"] else ""
    examples = report["examples"]
    return f"""\
---
language: en
license: apache-2.0
library_name: transformers
pipeline_tag: summarization
tags: [summarization, t5]
model-index:
- name: notebook-kit/tiny-summarizer
  results:
  - task: {{type: summarization}}
    dataset: {{name: "Debian package descriptions (held-out tenth of the sources)", type: debian-descriptions, split: test}}
    metrics:
    - {{type: rouge1, value: {ours["rouge1"]:.4f}}}
    - {{type: rouge2, value: {ours["rouge2"]:.4f}}}
    - {{type: rougeL, value: {ours["rougeL"]:.4f}}}
---

# notebook-kit/tiny-summarizer

{warning}Summarizes the English description of a piece of software in one line. It is included in `notebook_kit`, so it works offline:

```python
from notebook_kit import pipeline

summarizer = pipeline("summarization", model="notebook-kit/tiny-summarizer")
summarizer("Tidepool is a terminal program that shows the tides of the next days for any harbour in the world. ...")
```

It is a T5 of {report["parameters"]:,} parameters (3 encoder layers, 2 decoder layers, 4 heads, width 160), with its own byte-level BPE,
stored in float16: {size} with its tokenizer. It reads up to 128 tokens, about 85 words; the pipeline warns about longer
texts. It generates with {report["search"]}.
The folder also loads in `transformers`.

## How good it is

Measured on {examples["test"]:,} held-out descriptions with the saved checkpoint, compared with their synopses. ROUGE is the F1 of shared
words, word pairs and longest common subsequence, without stemming. A lead is the beginning of the description; the last row is the
one of {2 + 2 * 13} kinds that does best on the validation part.

| | ROUGE-1 | ROUGE-2 | ROUGE-L |
| --- | --- | --- | --- |
{rows}

{verdict} {report["exact"]:.1%} of the summaries match the synopsis word for word. {report["copied"]:.0%} of the words that it writes occur
in the description.

## What it writes

Summaries of texts written for this card, without cherry-picking. The last text is of a different kind than the training data.

{samples}

## What it is not good for

It is small, was made for lessons and demonstrations, and has seen only descriptions of Debian packages. It turns a news story, a
letter or a report into something that sounds like a package. It misspells rare names and makes things up: read the text itself
before you rely on a summary.

## How it was made

`python -m notebook_kit.recipes build tiny-summarizer` trains it again with notebook_kit's own Seq2SeqTrainer; Debian's `apt` fetches the
descriptions. Before training, heads that copy words of the text are written into its random weights (`recipes/copying.py`);
without them, a model of this size did not learn to copy. After training, a sixth of the neurons was removed.
The training took {minutes:.0f} minutes on {threads} CPU thread{"s" if threads > 1 else ""} of a shared machine.

Descriptions of thirty words or more: {examples["train"]:,} for training, {examples["validation"]:,} for validation and
{examples["test"]:,} for the test. All packages of a source, and of sources whose names differ only in digits, belong to the
same part, which is determined by a hash of the letters of the name. Of descriptions or synopses with the same letters, only one is
used. All choices were made on the validation part only.

## Data and licences

- Descriptions and synopses of the packages of Debian {report["release"]} (`main`), from Debian's own index (test part
  `{report["fingerprint"]}`). They were written by the maintainers of the packages, each under the licence of its packaging, and are not
  part of this checkpoint.
- These weights: Apache-2.0.
"""
