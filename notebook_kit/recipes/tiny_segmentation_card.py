"""The model card of `notebook-kit/tiny-segmentation`, filled with the measurements of the recipe."""

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
pipeline_tag: image-segmentation
tags: [image-segmentation, semantic-segmentation, segformer]
model-index:
- name: notebook-kit/tiny-segmentation
  results:
  - task: {{type: image-segmentation}}
    dataset: {{name: scenes of pasted things (held-out things and photographs), type: notebook-kit-scenes, split: test}}
    metrics:
    - {{type: mean_iou, value: {report["mIoU"]:.4f}}}
---

# notebook-kit/tiny-segmentation

{QUICK_WARNING if report["quick"] else ""}Names the class of each pixel of a picture: background, or one of {len(report["classes"]) - 1}
kinds of things. It is included in `notebook_kit`, so it works offline:

```python
from notebook_kit import pipeline
from notebook_kit.zoo import sample

segmenter = pipeline("image-segmentation", model="notebook-kit/tiny-segmentation")
segmenter(sample("scene_1.webp"))
```

It is a SegFormer of {report["parameters"]:,} parameters with four stages, 16 to 128 wide. It is stored in float16,
{report["bytes"] / 2**20:.2f} MiB, and the folder also loads in `transformers`. Any picture is scaled to 96 x 96 pixels, and the
masks back to its size.

## How good it is

Measured with the saved checkpoint on {report["tests"]:,} scenes, none of whose things and photographs occur in training scenes:
a style of emoji and photographs of things that were held out, on photographs that were held out.

| | mean IoU over background and things |
| --- | --- |
| **tiny-segmentation** | **{report["mIoU"]:.3f}** |
{baselines}

{compared("mean IoU", report["mIoU"], report["baselines"])}
{interval(report["seeds"], "mean IoU")}
{report["pixels"]:.0%} of all pixels get the right class. If all things count as one class, its IoU is {report["shapes"]:.3f}:
the shapes are found better than their names.

| class | IoU |
| --- | --- |
{classes}

Scenes of held-out emoji, from the best answers (top left) to the worst (bottom right), at even steps of rank among 60:

![Twelve small scenes, the pixels of each class in a color]({PICTURE})

## What it is not good for

It was made for lessons and demonstrations. It knows things that were cut out and pasted, at about a quarter to half of the
picture's width. In photographs of a real scene its answers are mostly wrong. It does not tell two things of one class apart. It
counts {kinds()}.

## How it was made

`python -m notebook_kit.recipes build tiny-segmentation` trains it again with notebook_kit's own Trainer. It took
{sum(minutes.values()):.0f} minutes on {report["threads"]} CPU thread(s) of a shared machine for {len(report["seeds"])} seed(s).

A generator pasted things onto photographs, {report["scenes"]:,} scenes, with changing size, angle, light, overlap, shadow and
noise; the alpha channel of the cut-out gives the true mask. The weights started at random. Pixels of background counted half in the
loss. The ten classes were chosen with the detector, on other scenes of the same held-out things, so the result is slightly
optimistic.

What was tried: ten classes in place of twelve, mixing the colors of some things and photographs in training so that shapes are
learned too, and pictures of 96 in place of 128 pixels, which leaves time for twice as many scenes. The loss was still falling when
the training ended, so a longer one should help; most errors are wrong names of rightly found shapes.

{DATA}
"""
