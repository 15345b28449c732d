"""What the model cards of the detector and the segmenter share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from notebook_kit.recipes.scene_data import CLASSES

__all__ = ["DATA", "PICTURE", "compared", "interval", "kinds"]

PICTURE = "scenes.webp"
"""The file of the picture in a card."""

_STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # quantiles 0.975 of Student's t for 2 to 5 values

DATA = """\
## Data and licences

None of the following is part of the checkpoint, except for the emoji and photographs in the picture above.

- Things: photographs and drawings from Tux Paint's stamps (GPL-2), clip art from the Open Clip Art Library (public domain),
  emoji of Google's Noto (Apache-2.0) and Microsoft's Fluent (MIT); for tests also Twitter's Twemoji (CC-BY-4.0).
- Photographs: wallpapers of the Debian packages `plasma-workspace-wallpapers` (LGPL-3, CC-BY-SA-4.0), `mate-backgrounds` (GPL-2+) and
  `lomiri-wallpapers-16.04` (CC-BY-SA-4.0, CC-BY-4.0, CC0). `notebook_kit/recipes/things_table.py` names each with its author.
- The picture above and the sample scenes: Twemoji (Copyright Twitter, Inc. and other contributors, CC-BY-4.0) on photographs by Trevor,
  Aitzol Berasategi (CC-BY-4.0) and Clemens Engelhardt (CC0), scaled, turned and combined. Some of these photographs occur in training.
- These weights: Apache-2.0."""


def compared(what: str, value: float, baselines: Mapping[str, float]) -> str:
    """A sentence on the error of a model and that of the best baseline.

    Example:
        >>> compared("mAP", 0.7, {"colors": 0.2, "nothing": 0.0})
        'Its error (1 - mAP) is 38% of that of the best baseline: less than half.'
    """
    share = (1 - value) / (1 - max(baselines.values()))
    verdict = "less than half" if share < 0.5 else "more than half. What was tried is described below"
    return f"Its error (1 - {what}) is {share:.0%} of that of the best baseline: {verdict}."


def interval(values: Sequence[float], what: str) -> str:
    """A sentence on the results of several seeds, with the 95 % interval of their mean.

    Example:
        >>> interval([0.50, 0.52, 0.54], "mAP")
        'Over 3 seeds the mAP is 0.520 ± 0.050 (95 % interval of the mean; 0.500, 0.520, 0.540).'
    """
    numbers = np.array(values)
    if len(numbers) < 2:
        return f"One seed was trained, so there is no interval for the {what}."
    half = _STUDENT[len(numbers)] * numbers.std(ddof=1) / len(numbers) ** 0.5
    each = ", ".join(f"{number:.3f}" for number in numbers)
    return f"Over {len(numbers)} seeds the {what} is {numbers.mean():.3f} ± {half:.3f} (95 % interval of the mean; {each})."


def kinds() -> str:
    """What the classes with several kinds of things comprise, for a sentence.

    Example:
        >>> "buses, cars and trucks as vehicles" in kinds()
        True
    """
    wide = {label: names.split() for label, names in CLASSES.items() if names != label}
    parts = [
        f"{', '.join(f'{name}s' for name in names[:-1])} and {names[-1]}s as {label}s" for label, names in wide.items()
    ]
    text = "; ".join(parts)
    return text.replace("buss", "buses").replace("mouses", "mice").replace("sheeps", "sheep").replace("deers", "deer")
