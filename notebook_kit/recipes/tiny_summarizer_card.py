"""The model card of `notebook-kit/tiny-summarizer`: text around the numbers that the recipe measured."""

from __future__ import annotations

from typing import Any

from notebook_kit.recipes.shared import QUICK_WARNING

__all__ = ["OTHERS", "model_card"]

# Written for this project, of packages that do not exist and of something that is none.
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
    """The card, in Markdown with the Hub's metadata on top."""
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

{warning}Sums the English description of a piece of software up in one line. It comes inside `notebook_kit`, so it answers with no network:

```python
from notebook_kit import pipeline

summarizer = pipeline("summarization", model="notebook-kit/tiny-summarizer")
summarizer("Tidepool is a terminal program that shows the tides of the next days for any harbour in the world. ...")
```

It is a T5 of {report["parameters"]:,} parameters (3 layers that read, 2 that write, 5 heads, width 160), with a byte-level BPE of its own,
stored in float16: {size} with its tokenizer. It reads 128 tokens, some 85 words; the pipeline says so where a text is
longer. It writes by {report["search"]}.
The folder loads in `transformers` too.

## How good it is

Measured on {examples["test"]:,} held-out descriptions, by the checkpoint as it is saved, against their synopses. ROUGE is the F1 of shared
words, pairs of words and longest common subsequence, without stemming. A lead is a beginning of the description; the last row is the
one of {2 + 2 * 13} kinds that does best on the validation part.

| | ROUGE-1 | ROUGE-2 | ROUGE-L |
| --- | --- | --- | --- |
{rows}

{verdict} {report["exact"]:.1%} of the synopses are written letter for letter. {report["copied"]:.0%} of the words that it writes stand
in the description.

## What it writes

Of texts written for this card, the last of another kind than it has learnt from; nothing is picked out.

{samples}

## What it is not good for

It is small, was made for lessons and demonstrations, and has seen descriptions of Debian's packages alone. Of a news story, a
letter or a report it makes something that sounds like a package. It spells rare names wrongly, and it invents: read the text itself
before you rely on its summary.

## How it was made

`python -m notebook_kit.recipes build tiny-summarizer` makes it anew with notebook_kit's own Seq2SeqTrainer; Debian's `apt` fetches the
descriptions. The training took {minutes:.0f} minutes on {threads} CPU thread{"s" if threads > 1 else ""} of a shared machine.

Descriptions of thirty words or more: {examples["train"]:,} for training, {examples["validation"]:,} for validation and
{examples["test"]:,} for the test. All packages of one source belong to one part, by a hash of the letters of the source's name, and so
do sources that differ in digits alone. Of descriptions or synopses with the same letters one is taken. Choices were made on the
validation part alone.

## Data and licences

- Descriptions and synopses of the packages of Debian {report["release"]} (`main`), from Debian's own index (test part
  `{report["fingerprint"]}`). They were written by the maintainers of the packages, each under the licence of its packaging, and are not
  part of this checkpoint.
- These weights: Apache-2.0.
"""
