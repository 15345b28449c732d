"""The model card of `notebook-kit/tiny-gpt2`, filled with the measurements of the recipe."""

from __future__ import annotations

from typing import Any

from notebook_kit.recipes.shared import QUICK_WARNING

__all__ = ["PROMPTS", "model_card"]

# The card shows a continuation of each. The last prompt is from none of the books.
PROMPTS = [
    "And the LORD said unto Moses,",
    "Blessed are they that",
    ":spaghetti code: n.\n",
    "[from MIT] A program that",
    "Red Shirt looked at me and",
    "The weather today is",
]

BOOKS = {
    "all": "**all**",
    "bible": "the King James Bible",
    "jargon": "the Jargon File",
    "botchan": "Botchan",
}


def model_card(report: dict[str, Any]) -> str:
    """The card in Markdown, with the metadata for the Hub at the top."""
    models, counts, order = report["models"], report["counts"], f"{report['order']}-gram"
    ours, theirs = models["tiny-gpt2"]["all"], models[order]["all"]
    rows = "\n".join(
        f"| {BOOKS[book]} | {counts[book][0]:,} | {counts[book][1]:,} | "
        + " | ".join(f"{models[name][book][0]:.1f} | {models[name][book][1]:.3f}" for name in ("tiny-gpt2", order))
        + " |"
        for book in ("all", *(book for book in counts if book != "all"))
    )
    others = ", ".join(
        f"{name}s {models[name]['all'][0]:.1f} and {models[name]['all'][1]:.3f}"
        for name in models
        if name not in ("tiny-gpt2", order)
    )
    verdict = (
        f"It beats the n-gram model: {1 - ours[1] / theirs[1]:.1%} fewer bits."
        if ours[1] < theirs[1]
        else "**It does not beat the n-gram model.**"
    )
    samples = "\n\n".join(
        "> **" + prompt.strip().replace("\n", "** ") + "**" + (" " if prompt.endswith("\n") else "") + _quoted(text)
        for prompt, text in report["samples"]
    )
    minutes, threads = report["seconds"]["training"] / 60, report["threads"]
    warning = QUICK_WARNING if report["quick"] else ""
    return f"""\
---
language: en
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [text-generation, gpt2]
model-index:
- name: notebook-kit/tiny-gpt2
  results:
  - task: {{type: text-generation}}
    dataset: {{name: "King James Bible, Jargon File, Botchan (held-out tenth)", type: notebook-kit-books, split: test}}
    metrics:
    - {{type: perplexity, value: {ours[0]:.2f}}}
---

# notebook-kit/tiny-gpt2

{warning}Continues an English text in the style of three old books. It is included in `notebook_kit`, so it works offline:

```python
from notebook_kit import pipeline

write = pipeline("text-generation", model="notebook-kit/tiny-gpt2")
write("And the LORD said unto Moses,", max_new_tokens=40)
```

It is a GPT-2 of {report["parameters"]:,} parameters (4 layers, 4 heads, width 128, 256 positions), with
its own byte-level BPE of 4,096 tokens, stored in float16: {report["bytes"] / 2**20:.2f} MiB with its tokenizer. The folder also loads in
`transformers`. By default it samples with temperature 0.8 and `top_p` 0.95; the same `torch.Generator` produces the same text.

## How good it is

Measured with the saved checkpoint on the held-out tenth of the paragraphs, and compared with an n-gram model with interpolated modified
Kneser-Ney smoothing, trained on the same paragraphs and tokens (of orders 3 to 5, the one that does best on the
validation tenth: {report["order"]}). Each paragraph is scored separately, including its end token. Lower is better.

| | paragraphs | tokens | tiny-gpt2: perplexity per token | bits per byte | {order}s: perplexity per token | bits per byte |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

{verdict} The other orders on all books: {others}. The perplexity per token depends on the tokenizer; bits per byte can be compared across
models.

## What it writes

Sampled once with a fixed seed, without cherry-picking. The prompt is in bold.

{samples}

## What it is not good for

It is small and was made for lessons and demonstrations: to watch how a text is generated, token by token. It knows nothing, does not
follow instructions, and loses the thread after a sentence or two; what looks like a quotation is usually not one. It has never seen
modern prose. The books reflect the attitudes of their times, and so does its output about women, peoples and religions.

## How it was made

`python -m notebook_kit.recipes build tiny-gpt2` trains it again with notebook_kit's own Trainer; Debian's `apt` fetches the books. The
training took {minutes:.0f} minutes on {threads} CPU thread{"s" if threads > 1 else ""} of a shared machine.

The books are split into paragraphs: up to five verses, a dictionary entry, or a passage of the novel. {report["words"]:,} words are for
training; a tenth of the paragraphs each is for validation and test, chosen by a hash of their words. The paragraphs are packed into
blocks of 256 tokens. All choices were made on the validation tenth only.

## Data and licences

- The King James Bible (1611), from Debian's package `bible-kjv-text`: its copyright has expired.
- The Jargon File 4.4.7 (2003), edited by Eric S. Raymond, from Debian's package `jargon-text`: in the public domain.
- Natsume Sōseki, *Botchan*, translated by Yasotaro Morri (1919), from the source distribution of the Python package `sentencepiece`
  0.2.1: free of copyright in the United States.
- These weights: Apache-2.0.
"""


def _quoted(text: str) -> str:
    """Text inside a Markdown quotation, with its special characters escaped."""
    for sign in "\\*_[]<>`#":
        text = text.replace(sign, "\\" + sign)
    return "  \n> ".join(text.rstrip().split("\n"))
