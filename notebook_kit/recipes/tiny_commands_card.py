"""The model card of `notebook-kit/tiny-commands`, filled with the measurements of the recipe."""

from __future__ import annotations

from collections import Counter
from typing import Any

from notebook_kit.recipes.scene_card import interval
from notebook_kit.recipes.shared import QUICK_WARNING, minutes_of
from notebook_kit.recipes.voices_card import DATA, VOICES_OF_PROGRAMS
from notebook_kit.recipes.voices_texts import COMMANDS

__all__ = ["model_card"]


def model_card(report: dict[str, Any]) -> str:
    """The card in Markdown, with the metadata for the Hub at the top."""
    first, held_out = report["seeds"][0], "held-out voices"
    warning = QUICK_WARNING if report["quick"] else ""
    accuracies = [seed[held_out]["accuracy"] for seed in report["seeds"]]
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: audio-classification
tags: [wav2vec2, audio-classification, keyword-spotting]
model-index:
- name: notebook-kit/tiny-commands
  results:
  - task: {{type: audio-classification}}
    dataset: {{name: commands said by held-out synthetic voices, type: notebook-kit-commands, split: test}}
    metrics:
    - {{type: accuracy, value: {first[held_out]["accuracy"]:.4f}}}
---

# notebook-kit/tiny-commands

{warning}Says which of {len(COMMANDS)} English words a short recording contains. It is included in `notebook_kit`, so it works offline:

```python
from notebook_kit import pipeline
from notebook_kit.zoo import sample

classifier = pipeline("audio-classification", model="notebook-kit/tiny-commands")
classifier(sample("seven.ogg"))
```

It is a Wav2Vec2 of {report["parameters"]:,} parameters ({report["layers"]} layers of width {report["width"]}, one state per 40 ms),
stored in float16: {report["bytes"] / 2**20:.2f} MiB. It reads 16,000 samples per second. The folder also loads in `transformers`.

Its labels: {", ".join(COMMANDS)}.

## How good it is

The share of right answers of the saved checkpoint (chance is {1 / len(COMMANDS):.1%}):

{_table(report)}

{interval(accuracies, "accuracy on held-out voices")} {_verdict(report)}

By program, on held-out voices: {_by_group(first[held_out]["groups"])}. Its scores there average {first[held_out]["confidence"]:.0%}.
The recordings of a person are few ({report["tests"]["a woman, by telephone"]} clips of {len(_spoken(report))} of the words), so that row is
a check of reality rather than a measurement. {_wrong(first["a woman, by telephone"]["wrong"])}

The baseline is the nearest centroid: the mean log-mels of five equal parts of a clip, averaged over the clips of each word.

## What it is not good for

It was made for lessons and demonstrations. It has learned from programs that speak, so people, children above all, accents and noise
mislead it. Any other word, music or silence gets one of its labels, too. Do not use it where a mistake matters.

## How it was made

`python -m notebook_kit.recipes build tiny-commands` trains it again with notebook_kit's own Trainer. On one CPU thread of a shared machine,
speaking took {minutes_of(report["seconds"], "voices"):.1f} minutes and a training {minutes_of(report["seconds"], "seed"):.1f}.

1. {VOICES_OF_PROGRAMS}
   The training voices say {report["clips"]:,} clips in all.
2. Whenever a clip is used, it gets another speed, room, colour and noise; some pass a telephone line.
3. The encoder is that of `notebook-kit/tiny-speech`, which has learned from the same training voices and none of the held-out
   ones. A small AST and a Whisper encoder, trained from random weights for 100 steps, stayed near chance.
4. A temperature ({first["temperature"]:.2f}), fitted on voices that are in neither training nor test, makes its scores probabilities.

{DATA.format(more=FOUNDATION)}
"""


FOUNDATION = """\
- The encoder it starts from, `notebook-kit/tiny-speech`, has also learned from recorded letters of KLettres, Debian's
  `klettres-data` (GPL-2).
"""


def _table(report: dict[str, Any]) -> str:
    rows = ["| | clips | tiny-commands | nearest centroid |", "| --- | --- | --- | --- |"]
    for name, baseline in report["baselines"].items():
        accuracy = report["seeds"][0][name]["accuracy"]
        rows.append(f"| {name} | {report['tests'][name]} | **{accuracy:.1%}** | {baseline:.1%} |")
    return "\n".join(rows)


def _verdict(report: dict[str, Any]) -> str:
    shares = []
    for name, baseline in report["baselines"].items():
        share = (1 - report["seeds"][0][name]["accuracy"]) / max(1 - baseline, 1e-9)
        shares.append(f"{share:.2f} ({name})")
    return f"Its errors as a share of the baseline's: {', '.join(shares)}; half of them was the goal."


def _by_group(groups: dict[str, float]) -> str:
    return ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in groups.items())


def _spoken(report: dict[str, Any]) -> set[str]:
    return set(report["words of a person"])


def _wrong(pairs: list[tuple[str, str]]) -> str:
    if not pairs:
        return "All of them are right."
    counted = Counter(tuple(pair) for pair in pairs)
    return "Wrong: " + ", ".join(f"*{text}* as *{label}*" for (text, label) in counted) + "."
