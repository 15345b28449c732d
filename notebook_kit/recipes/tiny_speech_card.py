"""The model card of `notebook-kit/tiny-speech`, filled with the measurements of the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from notebook_kit.recipes.scene_card import interval
from notebook_kit.recipes.shared import QUICK_WARNING, minutes_of
from notebook_kit.recipes.voices_card import DATA, VOICES_OF_PROGRAMS
from notebook_kit.recipes.voices_texts import WORDS

__all__ = ["model_card"]

EXAMPLES = 8


def model_card(report: dict[str, Any]) -> str:
    """The card in Markdown, with the metadata for the Hub at the top."""
    first, held_out = report["seeds"][0], "held-out voices"
    warning = QUICK_WARNING if report["quick"] else ""
    shape = report["shape"]
    seeds = report["seeds"]
    intervals = [
        interval([seed[name]["wer"] for seed in seeds], f"word error rate on {name}") for name in report["baselines"]
    ]
    known = [seed["training voices"]["wer"] for seed in seeds]
    least, most = f"{min(known):.0%}", f"{max(known):.0%}"
    each = ", ".join(f"{value / 60:.0f}" for stage, value in report["seconds"].items() if stage.startswith("seed"))
    second = report["rates"][1] / report["rates"][0]
    return f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: automatic-speech-recognition
tags: [wav2vec2, automatic-speech-recognition, ctc]
language: en
model-index:
- name: notebook-kit/tiny-speech
  results:
  - task: {{type: automatic-speech-recognition}}
    dataset: {{name: words and sentences said by held-out synthetic voices, type: notebook-kit-speech, split: test}}
    metrics:
    - {{type: wer, value: {first[held_out]["wer"]:.4f}}}
---

# notebook-kit/tiny-speech

{warning}Writes down English words, digits, letters and short sentences from a vocabulary of some {len(WORDS)} words. It is
included in `notebook_kit`, so it works offline:

```python
from notebook_kit import pipeline
from notebook_kit.zoo import sample

recognizer = pipeline("automatic-speech-recognition", model="notebook-kit/tiny-speech")
recognizer(sample("sentence_1.ogg"), return_timestamps="word")
```

It is a Wav2Vec2 with CTC of {report["parameters"]:,} parameters: three convolutions, {shape["num_hidden_layers"]} layers of
width {shape["hidden_size"]}, and one state per 40 ms. It is stored in float16, {report["bytes"] / 2**20:.2f} MiB, and reads
16,000 samples per second. The folder also loads in `transformers`.

## How good it is

The word error rate (WER) of the saved checkpoint, and of the baseline; lower is better:

{_table(report)}

{" ".join(intervals)}

{_verdict(report)}

By program, on held-out voices: {_by_group(first[held_out]["groups"])}. The last two rows are recordings of people, whose
voices were not used for training. The woman says single words, letters and a few short phrases; many of the animals are words
that occur in no training text (*quetzal*, *gander*), and the microphone is another one.

*With a word list*: each word that it wrote is replaced by the word of the training texts that needs the fewest edits. Much of the error
is spelling and missing spaces, as the share of wrong letters shows.

The baseline is template matching: the text of the nearest of {report["templates"]} recorded single words by dynamic time warping of
log-mel spectrograms. It knows how its words are spelled, and cannot answer with a sentence.

Of {report["more by training voices"]} further clips by training voices, {least} to {most} of the words are wrong: that part of the
error is not about unknown voices.

{TRIED}

Some answers to held-out voices, chosen by nothing but their order:

{_examples(first[held_out]["examples"])}

And to the woman:

{_examples(first["a woman, by telephone"]["examples"][::23])}

## What it is not good for

It was made for lessons and demonstrations: everything can be looked at, from samples to letters. Words outside its vocabulary
are spelled as they sound to it, and people are understood far less well than programs that speak. Do not use it where a mistake
matters; with a network, take a larger one, such as `openai/whisper-base`.

## How it was made

`python -m notebook_kit.recipes build tiny-speech` trains it again with notebook_kit's own Trainer. On one CPU thread of a shared
machine, speaking took {minutes_of(report["seconds"], "voices"):.0f} minutes and a training {minutes_of(report["seconds"], "seed"):.0f}
(by seed: {each}).

1. {VOICES_OF_PROGRAMS} The training voices say {report["clips"]:,} random texts, espeak-ng
   {report["shares"]["espeak"]:.0%} of them. To these, 52 recorded letters of KLettres are added, four times each.
2. Whenever a clip is used, it gets another speed, room, colour and noise; some pass a telephone line. At first recordings are
   good, later many are difficult.
3. The first convolution starts as {shape["conv_dim"][0]} filters, spaced like the ear's, in four phases each.
4. English is not spelled as it sounds. So the last layer but one also learns the sounds of each text, by a head that is not kept: CTC in
   the phonetic alphabet, as espeak-ng's dictionary pronounces the text.
5. At first the letters and the sounds of a text are spread evenly over its frames and learned from there (a flat start); after a few
   hundred steps, CTC takes over. CTC alone still wrote nothing at all after 200 steps.
6. When the learning rate has fallen to 0, it rises again, to {second:.0%} of the first peak, and falls to 0 once more, on good and
   difficult recordings; a third of them begin with the sound, and a third end with it. In all the model learns from
   {report["steps"]:,} batches of {report["batch"]} clips, {report["again"]:,} of them in this second cycle.

{DATA.format(more=KLETTRES)}
"""


TRIED = """\
To come closer to half of the baseline's errors, this was tried. CTC alone, filters without equal loudness, and difficult recordings
from the start all learned more slowly. With espeak-ng and the three people of flite alone, the errors were 52% (held-out voices), 94%
(the woman) and 98% (animals), and 18% of the woman's texts were right: the voices of five more people helped most. With one state per
30 ms, so that fast voices have more states than letters, they were 50%, 80% and 92%, no different. (All of this with one cycle.)

Until it had a second cycle, its errors were 49.3%, 48.0% and 46.6% on held-out voices (three seeds), 78%, 82% and 74% on the woman, 89%
to 90% on the animals, and 34% to 35% on the further clips by training voices. A second cycle of 5,000 batches with silence around every
clip brought the first of these seeds to 42.9%, 75%, 87% and 31%. The answers to training voices then showed what was wrong: *lease press
three* for *please press three*, *oodbye*. The clips of the tests begin and end a hundredth of a second from the sound; those in training
had 0.03 seconds of silence or more on both sides. With a tenth of a second of silence there, the same model had 14% of the words of
training voices wrong, not 31%, and 36% of those of 200 clips of held-out voices, not 44%. So a third of the beginnings, and of the ends,
in the second cycle have no silence. Some letters at the ends are still lost: with that tenth of a second, the checkpoint has 16% of the
words of training voices wrong, not 23%.

It is not the telephone that makes the woman hard to understand: of an earlier model, leaving only a telephone's frequencies raised the
error on 120 clips of held-out voices from 45% to 47%.

Recordings of people were tried, too: 6,062 by people who name things in eight other languages or say digits by telephone in three, 22%
of all clips, from which only the sounds were learned. After 7,200 batches of 24 clips this was no better, and is not used: 36% (Spanish) to
53% (French) of the sounds of people heard in training were still wrong, and 2% of those of flite's training voices."""

KLETTRES = """\
- Recorded letters of KLettres, Debian's `klettres-data` (GPL-2): in training.
- Recorded names of animals from Tux Paint, Debian's `tuxpaint-stamps-default` (GPL-2): only for the test.
"""


def _table(report: dict[str, Any]) -> str:
    rows = [
        "| | clips | tiny-speech | letters wrong | texts right | with a word list | template matching |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, baseline in report["baselines"].items():
        found = report["seeds"][0][name]
        rows.append(
            f"| {name} | {report['tests'][name]} | **{found['wer']:.1%}** | {found['letters']:.0%} | {found['exact']:.0%} | "
            f"{found['with a word list']:.1%} | {baseline['wer']:.1%} |"
        )
    return "\n".join(rows)


def _verdict(report: dict[str, Any]) -> str:
    shares = []
    for name, baseline in report["baselines"].items():
        found, most = report["seeds"][0][name], max(baseline["wer"], 1e-9)
        shares.append(f"{found['wer'] / most:.2f} ({name}; {found['with a word list'] / most:.2f} with a word list)")
    return f"Its errors as a share of the baseline's: {', '.join(shares)}. Half of them was the goal."


def _by_group(groups: dict[str, float]) -> str:
    return ", ".join(f"{name} {error:.1%}" for name, error in groups.items())


def _examples(pairs: Sequence[Sequence[str]]) -> str:
    rows = ["| said | heard |", "| --- | --- |"]
    return "\n".join([*rows, *(f"| {said} | {heard} |" for said, heard in pairs[:EXAMPLES])])
