"""Running many inputs through a pipeline: windows, length-alike batches, and inputs that fail.

A window of inputs is read, turned into features, computed in length-alike batches, and given back in the order of the
inputs. A list is run window by window to its end; a stream is run one window at a time, as results are taken from it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import NotebookKitError, PipelineInputError
from notebook_kit.pipelines.batching import length_alike_batches
from notebook_kit.pipelines.inputs import iterate
from notebook_kit.pipelines.progress import Progress

if TYPE_CHECKING:
    from notebook_kit.pipelines.base import Pipeline

__all__ = ["Failure", "Plan", "ResultStream", "run_list"]


@dataclass(slots=True)
class Plan:
    """How one call is to be run: the options of the three steps, and the sizes."""

    preprocess: dict[str, Any]
    forward: dict[str, Any]
    postprocess: dict[str, Any]
    batch_size: int | None
    batch_tokens: int | None
    window: int
    progress: bool | None
    on_error: str


class Failure:
    """Stands where a result would stand, if there were one."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


def compute(pipe: Pipeline, items: list[Any], plan: Plan, progress: Progress) -> list[Any]:
    """The results of one window, in order; a `Failure` where an input failed."""
    results: list[Any] = [None] * len(items)
    features: list[dict[str, Any]] = []
    owners: list[int] = []  # feature -> item
    outputs: list[list[Any]] = [[] for _ in items]
    first: list[int] = []  # item -> its first feature
    missing: list[int] = []  # item -> how many of its features are still to be computed
    for i, item in enumerate(items):
        first.append(len(features))
        try:
            made = pipe.features_of(item, plan.preprocess)
        except Exception as error:
            results[i] = Failure(error)
            made = []
            progress.add(1)
        features += made
        owners += [i] * len(made)
        outputs[i] = [None] * len(made)
        missing.append(len(made))
        if not made and results[i] is None:
            results[i] = _finish(pipe, item, [], [], plan)
            progress.add(1)

    lengths = [pipe.length_of(feature) for feature in features]
    batches = length_alike_batches(lengths, most=plan.batch_size, budget=plan.batch_tokens, padding=pipe.can_pad)
    for batch in batches:
        rows = _run_batch(pipe, [features[f] for f in batch], plan)
        for f, row in zip(batch, rows, strict=True):
            i = owners[f]
            outputs[i][f - first[i]] = row
            missing[i] -= 1
            if not missing[i]:
                mine = features[first[i] : first[i] + len(outputs[i])]
                results[i] = _finish(pipe, items[i], mine, outputs[i], plan)
                outputs[i] = []  # results may be much smaller than what they were made from
                progress.add(1)
    return results


def _run_batch(pipe: Pipeline, features: list[dict[str, Any]], plan: Plan) -> list[Any]:
    """Run a batch; if it fails, halve it until what fails stands alone. (Out of memory is cured by this, too.)"""
    try:
        return pipe.run_batch(features, plan.forward)
    except Exception as error:
        if len(features) == 1:
            return [Failure(error)]
    # Outside the handler, where the failed batch's tensors are free again.
    half = len(features) // 2
    return _run_batch(pipe, features[:half], plan) + _run_batch(pipe, features[half:], plan)


def _finish(pipe: Pipeline, item: Any, features: list[dict[str, Any]], outputs: list[Any], plan: Plan) -> Any:
    failed = next((output for output in outputs if isinstance(output, Failure)), None)
    if failed is not None:
        return failed
    try:
        return pipe.postprocess(item, features, outputs, **plan.postprocess)
    except Exception as error:
        return Failure(error)


def run_list(pipe: Pipeline, inputs: Any, plan: Plan) -> list[Any]:
    """Run every input of a list; see `Pipeline.__call__` for what happens with inputs that fail."""
    total = len(inputs) if hasattr(inputs, "__len__") else None
    progress = Progress(total, pipe.task, show=plan.progress)
    results: list[Any] = []
    errors: dict[int, Exception] = {}
    hopeless = False
    source = iterate(inputs)
    try:
        while items := list(itertools.islice(source, plan.window)):
            start = len(results)
            for i, result in enumerate(compute(pipe, items, plan, progress), start):
                if isinstance(result, Failure):
                    errors[i] = result.error
                    result = failed(pipe, {i: result.error}, total) if plan.on_error == "return" else None
                results.append(result)
            # A first window of which nothing worked is not about single inputs: do not go through a million of them.
            hopeless = len(errors) == len(results) == plan.window
            if hopeless and plan.on_error == "raise":
                break
    finally:
        progress.close()
    if errors and plan.on_error == "raise":
        results += [None] * ((total or 0) - len(results))
        raise failed(pipe, errors, len(results), results) from errors[min(errors)]
    return results


def failed(
    pipe: Pipeline, errors: dict[int, Exception], total: int | None, results: list[Any] | None = None
) -> PipelineInputError:
    """The error that names the inputs that failed by their positions."""
    named = [f"inputs[{i}]: {_what(error)}" for i, error in itertools.islice(errors.items(), 3)]
    more = f"\nand {len(errors) - 3} more" if len(errors) > 3 else ""
    if len(errors) == 1:
        what = f"{pipe.task} failed on " + named[0]
    else:
        what = f"{pipe.task} failed on {len(errors)} of {total} inputs.\n" + "\n".join(named) + more
    error = errors[min(errors)]
    step = error.next_step if isinstance(error, NotebookKitError) else ""
    good = len(results) - len(errors) if results is not None and total is not None else 0
    if good:
        step = (
            f"{step} The other results are in `error.results`; on_error='return' puts errors in their places.".strip()
        )
    made = PipelineInputError(what, next_step=step, errors=errors, results=results)
    made.__cause__ = error
    return made


def _what(error: Exception) -> str:
    return error.what if isinstance(error, NotebookKitError) else f"{type(error).__name__}: {error}"


class ResultStream(Generator):
    """The results of a stream of inputs, computed as they are taken.

    It is a generator with three more properties: it has a length if its inputs have one, it goes on after an input that
    failed (call `next` again, or put the same stream into another `for`), and after Ctrl-C, without losing an input.

    It reads ahead of the result that is taken by at most one window: 1 input at first, then 4, 16, ... up to the window
    size, so that the first results come early; a source whose length is known is read in full windows from the start.
    """

    def __init__(self, pipe: Pipeline, inputs: Any, plan: Plan) -> None:
        self._pipe = pipe
        self._plan = plan
        self._total = len(inputs) if hasattr(inputs, "__len__") else None
        self._source: Iterator[Any] = iterate(inputs)
        self._size = plan.window if self._total is not None else 1
        self._items: list[Any] = []
        self._ready: deque[Any] = deque()
        self._given = 0
        self._source_error: Exception | None = None
        self._ended = False
        # The caller's own loop may have a bar, so this one comes only when asked for.
        self._progress = Progress(self._total, pipe.task, show=bool(plan.progress))

    def __len__(self) -> int:
        if self._total is None:
            raise TypeError("the length of this stream of results is not known: that of its inputs is not")
        return self._total

    def send(self, value: None = None) -> Any:
        """The next result; what `next` calls."""
        if not self._ready:
            self._fill()
        if not self._ready:
            self._progress.close()
            error, self._source_error = self._source_error, None
            raise error or StopIteration
        result = self._ready.popleft()
        position = self._given
        self._given += 1
        if not isinstance(result, Failure):
            return result
        named = failed(self._pipe, {position: result.error}, self._total)
        if self._plan.on_error == "return":
            return named
        raise named

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """End the stream with an error, as generators do."""
        self._ended = True
        self._items, self._ready = [], deque()
        self._progress.close()
        close = getattr(self._source, "close", None)
        if close is not None:
            close()
        return super().throw(kind, value, traceback)

    def _fill(self) -> None:
        # Items stay in `_items` until their results are there: an interrupt between the two loses none.
        while not self._ended and len(self._items) < self._size:
            try:
                self._items.append(next(self._source))
            except StopIteration:
                self._ended = True
            except Exception as error:
                # What was read before the source failed still gets its results.
                self._source_error, self._ended = error, True
        if self._items:
            self._ready.extend(compute(self._pipe, self._items, self._plan, self._progress))
            self._items = []
            self._size = min(self._plan.window, self._size * 4)
