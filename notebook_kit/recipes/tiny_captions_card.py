"""The model card of `notebook-kit/tiny-captions`, filled with the measurements of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from notebook_kit.recipes.scene_card import DATA, PICTURE, interval, kinds
from notebook_kit.recipes.scene_words import WORDINGS
from notebook_kit.recipes.shared import QUICK_WARNING, minutes_of

__all__ = ["model_card"]

WHAT = {"nouns": "things", "relations": "relations"}
"""The scores that are compared with the baselines' and over seeds -> their columns in the table."""

TRIED = """
What was tried: a quarter of the steps, on 6,000 scenes instead of 40,000, reached 0.558, 0.178 and 0.150 in English, so a longer
training has more to gain.
"""


@dataclass(frozen=True, slots=True)
class About:
    """The parts of a card that differ between the languages.

    Attributes:
        name: The checkpoint, without prefix.
        code: Of the language, for the metadata.
        summary: What it does.
        use: When it is used.
        start: What the encoder starts from.
        words: About the words of the captions.
        data: Where these come from.
    """

    name: str
    code: str
    summary: str
    use: str
    start: str
    words: str = ""
    data: str = ""


ABOUT = {
    "English": About(
        "tiny-captions",
        "en",
        "Says which things a picture shows and how they are arranged.",
        "It is included in notebook_kit, and used for `image-to-text` when no model is named and the Hub cannot be reached:",
        "The encoder starts from `notebook-kit/tiny-vqa`.",
    ),
    "Telugu": About(
        "tiny-captions-telugu",
        "te",
        "Says in Telugu which things a picture shows and how they are arranged.",
        "It is included in notebook_kit, so it works offline:",
        "The encoder starts from `notebook-kit/tiny-captions`.",
        f"It calls these kinds {', '.join(name.removeprefix('ఒక ') for name in WORDINGS['Telugu'].things.values())}. ",
        "The names in Telugu are those of Unicode's CLDR, in which they describe emoji (Unicode-3.0); their datives and the sentences\n"
        "around them, in `notebook_kit/recipes/scene_words.py`, were written for this project, and not checked by a native speaker.\n\n",
    ),
}


def model_card(report: dict[str, Any]) -> str:
    """The card in Markdown, with the metadata for the Hub at the top."""
    about = ABOUT[report["language"]]
    ours = report["all"]
    rows = "\n".join(
        f"| {name} | {found['nouns']:.3f} | {found['relations']:.3f} | {found['exact']:.3f} |"
        for name, found in report["baselines"].items()
    )
    best = {name: max(found[name] for found in report["baselines"].values()) for name in ours}
    left = {name: (1 - ours[name]) / (1 - best[name]) for name in WHAT}
    shares = ", ".join(f"{share:.0%} ({WHAT[name]})" for name, share in left.items())
    tried = TRIED if max(left.values()) > 0.5 else ""
    new = report["new pairs"]
    pairs = ""
    if new is not None:
        found = ", ".join(f"{new[name]:.3f}" for name in ("nouns", "relations", "exact"))
        pairs = f" (on scenes with pairs of kinds that no training scene shows together: {found})"
    examples = "\n".join(f"| {truth} | {text} |" for truth, text in report["examples"])
    seeds = "\n".join(
        interval([seed[kind] for seed in report["seeds"]], f"score of {what}") for kind, what in WHAT.items()
    )
    shown = ""
    if report["language"] != "English":
        shown = "".join(f"\n{number}. {text}" for number, text in enumerate(report["shown"], 1)) + "\n"
    below = "with its captions; in red those that differ from the true one"
    if shown:
        below = "with numbers; those in red have a caption below that differs from the true one"
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: image-to-text
tags: [image-to-text, image-captioning, vision-encoder-decoder]
language: [{about.code}]
model-index:
- name: notebook-kit/{about.name}
  results:
  - task: {{type: image-to-text}}
    dataset: {{name: scenes of pasted things (held-out things and photographs), type: notebook-kit-scenes, split: test}}
    metrics:
    - {{type: f1, name: F1 of the things named, value: {ours["nouns"]:.4f}}}
---

# notebook-kit/{about.name}

{QUICK_WARNING if report["quick"] else ""}{about.summary} {about.use}

```python
from notebook_kit import pipeline, zoo

describe = pipeline("image-to-text", model="notebook-kit/{about.name}")
describe(zoo.sample("scene_1.webp"))
```

![Scenes {below}]({PICTURE})
{shown}
It is a ViT (4 layers, width 128; pictures of 64 x 64 pixels in 8 x 8 patches) with a GPT-2 of 2 layers, {report["parameters"]:,}
parameters in all, stored in float16: {report["bytes"] / 2**20:.2f} MiB. It knows ten kinds of things ({kinds()}).
{about.words}The folder also loads in `transformers`.

## How good it is

Measured with the saved checkpoint, which writes greedily, on {report["tests"]} scenes of things that no training scene shows
(another style of emoji, and photographs kept back) on photographs that no training scene shows: the F1 of the things named; of the
scenes in which two things are clearly apart, the share in which the relation that the caption states holds between these things; and
the share of captions that are right to the letter:

| | things | relations | whole captions |
| --- | --- | --- | --- |
| {about.name} | **{ours["nouns"]:.3f}** | **{ours["relations"]:.3f}** | **{ours["exact"]:.3f}** |
{rows}

Its error as a share of the best baseline's: {shares}{pairs}; half of it was the goal.
{seeds}
{tried}
The first test scenes:

| true | its caption |
| --- | --- |
{examples}

## What it is not good for

It was made for lessons and demonstrations: from which part of the picture does each word come? Most things are hard to recognize at
this size, and it describes any picture as a few of its ten kinds of things. Do not use it where a mistake matters.

## How it was made

`python -m notebook_kit.recipes build {about.name}` trains it again with notebook_kit's own Trainer: {report["scenes"]:,} scenes took
{minutes_of(report["seconds"], "scenes"):.1f} minutes, and a training {minutes_of(report["seconds"], "seed"):.1f} minutes on
{report["threads"]} CPU thread(s) of a machine that also did other work. {about.start}

{DATA.replace("None of the following", f"{about.data}None of the following")}
"""
