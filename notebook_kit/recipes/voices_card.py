"""What the model cards of the models of sound share."""

from __future__ import annotations

__all__ = ["DATA", "VOICES_OF_PROGRAMS"]

VOICES_OF_PROGRAMS = """\
In training, flite, pico, RHVoice and festival speak with voices that were made from recordings of eight people, four women and four
   men from the United States, England and Scotland, at random pitch and speed; espeak-ng (formant synthesis) adds five accents and 32
   variants of its voice. Held out for the test are flite's voice `rms`, made from recordings of another man, eight variants of
   espeak-ng's voice, and two more accents, Scottish and Caribbean."""

DATA = """\
## Data and licences

None of the following is part of the checkpoint.

- Speech of the programs `espeak-ng`, `flite` and `festival` (Debian packages), `ttspico` and `rhvoice-wrapper` (Python packages), from word
  lists and sentences in `notebook_kit/recipes/voices_texts.py`.
- Recordings of Allison Smith for telephones, Debian's `asterisk-core-sounds-en-wav` (CC-BY-SA-3.0): only for the test.
{more}- These weights: Apache-2.0."""
