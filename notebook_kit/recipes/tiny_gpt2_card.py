"""The model card of `notebook-kit/tiny-gpt2`: text around the numbers that the recipe measured."""

from __future__ import annotations

from typing import Any

from notebook_kit.recipes.shared import QUICK_WARNING

__all__ = ["PROMPTS", "model_card"]

# What the checkpoint writes after each is in the card. The last is of no book.
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
    """The card, in Markdown with the Hub's metadata on top."""
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

{warning}Goes on with an English text in the manner of three old books. It comes inside `notebook_kit`, so it writes with no network:

```python
from notebook_kit import pipeline

write = pipeline("text-generation", model="notebook-kit/tiny-gpt2")
write("And the LORD said unto Moses,", max_new_tokens=40)
```

It is a GPT-2 of {report["parameters"]:,} parameters (4 layers, 4 heads, width 128, 256 positions), with
a byte-level BPE of 4,096 tokens of its own, stored in float16: {report["bytes"] / 2**20:.2f} MiB with its tokenizer. The folder loads in
`transformers` too. It draws the next token at temperature 0.8 from the most likely 95 %, unless told otherwise; the same
`torch.Generator` gives the same text.

## How good it is

Measured on the held-out tenth of the paragraphs, by the checkpoint as it is saved, against an n-gram model with interpolated modified
Kneser-Ney smoothing that learnt from the same training paragraphs in the same tokens (of orders 3 to 5 the one that does best on the
validation tenth: {report["order"]}). Each paragraph is read alone, its end token counts. Lower is better.

| | paragraphs | tokens | tiny-gpt2: perplexity a token | bits per byte | {order}s: perplexity a token | bits per byte |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

{verdict} The other orders, over all: {others}. A perplexity a token depends on the tokens; bits per byte can be compared across
models.

## What it writes

Drawn once with a fixed seed; nothing is picked out. The prompt is in bold.

{samples}

## What it is not good for

It is small and was made for lessons and demonstrations: to watch how a text comes about, token by token. It knows nothing, follows
no instructions, and loses the thread after a sentence or two; what looks like a quotation is as a rule none. It has never seen modern
prose. Its books are of their times, and so is what it says of women, of peoples and of faiths.

## How it was made

`python -m notebook_kit.recipes build tiny-gpt2` makes it anew with notebook_kit's own Trainer; Debian's `apt` fetches the books. The
training took {minutes:.0f} minutes on {threads} CPU thread{"s" if threads > 1 else ""} of a shared machine.

The books become paragraphs: up to five verses, an entry of the dictionary, or a passage of the novel. {report["words"]:,} words are for
training; a tenth of the paragraphs each for validation and test, by a hash of their words. The paragraphs are packed into blocks of
256 tokens. Choices were made on the validation tenth alone.

## Data and licences

- The King James Bible (1611), from Debian's package `bible-kjv-text`: its copyright has expired.
- The Jargon File 4.4.7 (2003), edited by Eric S. Raymond, from Debian's package `jargon-text`: in the public domain.
- Natsume Sōseki, *Botchan*, translated by Yasotaro Morri (1919), from the source distribution of the Python package `sentencepiece`
  0.2.1: free of copyright in the United States.
- These weights: Apache-2.0.
"""


def _quoted(text: str) -> str:
    """Text within a quotation of Markdown, its own signs as they are."""
    for sign in "\\*_[]<>`#":
        text = text.replace(sign, "\\" + sign)
    return "  \n> ".join(text.rstrip().split("\n"))
