"""The model card of `notebook-kit/tiny-detection`, filled with the measurements of the recipe."""

from __future__ import annotations

from typing import Any

from notebook_kit.recipes.scene_card import DATA, PICTURE, compared, interval, kinds
from notebook_kit.recipes.shared import QUICK_WARNING

__all__ = ["model_card"]


def model_card(report: dict[str, Any]) -> str:
    """The card in Markdown, with the metadata for the Hub at the top."""
    baselines = "\n".join(f"| {name} | {value:.3f} |" for name, value in report["baselines"].items())
    classes = "\n".join(f"| {label} | {value:.2f} |" for label, value in report["classes"].items())
    minutes = {stage: seconds / 60 for stage, seconds in report["seconds"].items()}
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: object-detection
tags: [object-detection, detr, resnet]
model-index:
- name: notebook-kit/tiny-detection
  results:
  - task: {{type: object-detection}}
    dataset: {{name: scenes of pasted things (held-out things and photographs), type: notebook-kit-scenes, split: test}}
    metrics:
    - {{type: mean_average_precision, name: mAP at 0.5, value: {report["mAP"]:.4f}}}
---

# notebook-kit/tiny-detection

{QUICK_WARNING if report["quick"] else ""}Finds things of {len(report["classes"])} kinds in a picture, each with its box. It is
included in `notebook_kit`, so it works offline:

```python
from notebook_kit import pipeline
from notebook_kit.zoo import sample

detector = pipeline("object-detection", model="notebook-kit/tiny-detection")
detector(sample("scene_1.webp"))
```

It is a DETR of {report["parameters"]:,} parameters: a small ResNet, one encoder layer, three decoder layers of width 96, and
12 queries. It is stored in float16, {report["bytes"] / 2**20:.2f} MiB, and the folder also loads in `transformers`. Any picture
is scaled to 96 x 96 pixels.

## How good it is

Measured with the saved checkpoint on {report["tests"]:,} scenes, none of whose things and photographs occur in training scenes:
a style of emoji and photographs of things that were held out, on photographs that were held out.

| | mAP at 0.5 |
| --- | --- |
| **tiny-detection** | **{report["mAP"]:.3f}** |
{baselines}

{compared("mAP", report["mAP"], report["baselines"])}
{interval(report["seeds"], "mAP")}
If classes are ignored, so that only the boxes count, the average precision is {report["places"]:.3f}. The answers with scores
above 0.5, the pipeline's default, find {report["recall"]:.0%} of the things with the right class, and {report["precision"]:.0%} of
these answers are right.

| class | average precision |
| --- | --- |
{classes}

Scenes of held-out emoji, from the best answers (top left) to the worst (bottom right), at even steps of rank among 60:

![Twelve small scenes with the boxes that the model found]({PICTURE})

## What it is not good for

It was made for lessons and demonstrations. It knows things that were cut out and pasted, at about a quarter to half of the
picture's width, two to five in a picture. In photographs of a real scene it will miss most things and find some that are not
there. It counts {kinds()}. Everything else is unknown to it.

## How it was made

`python -m notebook_kit.recipes build tiny-detection` trains it again with notebook_kit's own Trainer. It took
{sum(minutes.values()):.0f} minutes on {report["threads"]} CPU thread(s) of a shared machine for {len(report["seeds"])} seed(s).

A generator pasted things onto photographs, {report["scenes"]:,} scenes, with changing size, angle, light, overlap, shadow and noise; the
alpha channel of the cut-out gives the box of what is visible. DETR learns slowly from so few pictures, so:

1. The backbone was first trained to name the class of each cell of the picture, and the encoder continued this task.
2. Each query started at a point of a grid, and cross-attention as a comparison of positions.
3. Three groups of queries learned from each picture, of which one was kept (Chen et al., *Group DETR*, 2022).
4. Each decoder layer had a loss, and Muon trained the matrices.

Settings were compared on other scenes of the same held-out things, so the result is slightly optimistic. An earlier attempt with
twelve classes (guitars too, and birds apart from other animals), a shorter training, and without mixing the colors of some things and
photographs in training, reached an mAP of 0.35.

{DATA}
"""
