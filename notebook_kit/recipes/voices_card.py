"""What the model cards of the models of sound share."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DATA", "VOICES_OF_PROGRAMS", "minutes"]

VOICES_OF_PROGRAMS = """\
In training, espeak-ng (formant synthesis) speaks English with five accents and 32 variants of its voice, at random pitch and
   speed, and flite with four voices, made from recordings of three people. Held out for the test are flite's voice `rms`, made from
   recordings of another man, eight variants of espeak-ng's voice, and two more accents, Scottish and Caribbean."""

DATA = """\
## Data and licences

None of the following is part of the checkpoint.

- Speech of the programs `espeak-ng` and `flite` (Debian packages), from word lists and sentences in `notebook_kit/recipes/voices_texts.py`.
- Recordings of Allison Smith for telephones, Debian's `asterisk-core-sounds-en-wav` (CC-BY-SA-3.0): only for the test.
{more}- These weights: Apache-2.0."""


def minutes(seconds: Mapping[str, float], beginning: str) -> float:
    """The mean of the stages whose names begin so, in minutes.

    Example:
        >>> minutes({"seed 1": 60.0, "seed 2": 180.0, "voices": 5.0}, "seed")
        2.0
    """
    chosen = [value for stage, value in seconds.items() if stage.startswith(beginning)]
    return sum(chosen) / len(chosen) / 60 if chosen else 0.0
