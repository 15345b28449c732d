"""Answers that are numbers, those that have no form of their own, and errors in the place of answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from notebook_kit.inspection.drawing.fonts import in_any_script
from notebook_kit.inspection.drawing.heat_maps import heat_map_png
from notebook_kit.panels.panel import Answer, described
from notebook_kit.panels.result_view.shown import Shown, Words

__all__ = ["ShownError", "ShownFeatures", "ShownPlain"]

MOST_ROWS, MOST_COLUMNS = 64, 512
PLAIN_CHARACTERS = 4000


class ShownFeatures(Shown):
    """Vectors as a heat map: one row per token, patch or text, one column per dimension.

    Args:
        result: The answer.
        vectors: `(rows, dimensions)`, float.
    """

    kind = "features"

    def __init__(self, result: Any, vectors: np.ndarray) -> None:
        super().__init__(result)
        self.vectors = vectors

    def heat_map(self) -> bytes:
        """The first 64 rows and 512 dimensions as a PNG; the strongest colours are the 99th percentile of the magnitudes."""
        values = self.vectors[:MOST_ROWS, :MOST_COLUMNS].astype(np.float32)
        finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        top = float(np.quantile(np.abs(finite), 0.99)) or 1.0
        return heat_map_png((128 + np.clip(finite / top, -1, 1) * 127).round().astype(np.uint8), signed=True)

    def facts(self) -> dict[str, Any]:
        """The shape, and the smallest, the mean and the largest of the finite values."""
        finite = self.vectors[np.isfinite(self.vectors)].astype(np.float64)
        least, mean, most = (finite.min(), finite.mean(), finite.max()) if finite.size else (0.0, 0.0, 0.0)
        rows, columns = self.vectors.shape
        return {"rows": rows, "columns": columns, "least": f"{least:.3f}", "mean": f"{mean:.3f}", "most": f"{most:.3f}"}

    def answer(self) -> Answer:
        shown = [min(self.vectors.shape[0], MOST_ROWS), min(self.vectors.shape[1], MOST_COLUMNS)]
        return Answer({**super().answer().values, "facts": self.facts(), "shown": shown}, [self.heat_map()])

    def note(self, word: Words) -> str:
        return word("features_facts", **self.facts())

    def figure(self) -> Any:
        import io

        from matplotlib.figure import Figure
        from PIL import Image

        figure = Figure(figsize=(7, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.imshow(Image.open(io.BytesIO(self.heat_map())), aspect="auto", interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        return in_any_script(figure)

    def brief(self) -> str:
        return f"vectors of shape {self.vectors.shape}"


class ShownPlain(Shown):
    """An answer of any other form, as text.

    Args:
        result: The answer.
        problem: Why it is not drawn: `what` and `next_step`; {} for no problem.
    """

    kind = "plain"

    def __init__(self, result: Any, problem: dict[str, str] | None = None) -> None:
        super().__init__(result)
        self.problem = problem or {}

    def text(self) -> str:
        """The answer, as JSON if it can be."""
        try:
            text = json.dumps(self.result, indent=2, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            text = repr(self.result)
        return text if len(text) <= PLAIN_CHARACTERS else text[: PLAIN_CHARACTERS - 1] + "…"

    def answer(self) -> Answer:
        return Answer({**super().answer().values, "text": self.text(), "problem": self.problem})

    def note(self, word: Words) -> str:
        return "\n".join(filter(None, (self.text(), self.problem.get("what", ""))))

    def brief(self) -> str:
        return repr(self.result) if len(repr(self.result)) <= 60 else f"{self.result!r:.59}…"


class ShownError(ShownPlain):
    """An error in the place of an answer, as `on_error="return"` leaves it."""

    kind = "error"

    def __init__(self, error: Exception) -> None:
        super().__init__(error, described(error))

    def text(self) -> str:
        return ""

    def brief(self) -> str:
        return f"{type(self.result).__name__}"
