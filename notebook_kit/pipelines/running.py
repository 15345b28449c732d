"""Running inputs through a pipeline: windows, batches of similar features, and inputs that fail.

A window of inputs is read, turned into features, computed in batches of features of similar cost, and returned in the order
of the inputs. A list is run window by window to its end; a stream one window at a time, as results are consumed.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from notebook_kit.errors import NotebookKitError, PipelineInputError
from notebook_kit.pipelines.batching import similar_batches
from notebook_kit.pipelines.inputs import iterate
from notebook_kit.pipelines.progress import Progress

__all__ = ["ResultStream", "RunOptions", "Steps", "run_list", "run_one"]


class Steps(Protocol):
    """The part of a pipeline that this module calls; see `Pipeline`."""

    @property
    def task(self) -> str: ...

    @property
    def reads_ahead(self) -> bool: ...

    def features_of_each(self, items: list[Any], options: dict[str, Any]) -> Iterator[list[Any] | Exception]: ...

    def cost(self, feature: Any) -> int: ...

    def group(self, feature: Any) -> Hashable: ...

    def run_batch(self, features: list[Any], options: dict[str, Any]) -> list[Any]: ...

    def answer(self, item: Any, features: list[Any], outputs: list[Any], options: dict[str, Any]) -> Any: ...


@dataclass(slots=True)
class RunOptions:
    """The resolved options of one call: those of the three steps, and the run options."""

    preprocess: dict[str, Any]
    forward: dict[str, Any]
    postprocess: dict[str, Any]
    batch_size: int | None
    batch_budget: int | None
    window: int
    progress: bool | None
    on_error: str


@dataclass(slots=True)
class Failure:
    """Takes the place of a result, or of the output for a feature, that an error prevented."""

    error: Exception


@dataclass(slots=True)
class _Job:
    """One input, its features and their outputs, the number of missing outputs, and its result."""

    item: Any
    features: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    missing: int = 0
    result: Any = None


def run_one(steps: Steps, item: Any, options: RunOptions) -> Any:
    """The result of a single input. Its error, if any, is raised as it is."""
    (result,) = compute(steps, [item], options)
    if isinstance(result, Failure):
        raise result.error
    return result


def compute(
    steps: Steps,
    items: list[Any],
    options: RunOptions,
    progress: Progress | None = None,
    features_of_each: Iterator[list[Any] | Exception] | None = None,
) -> list[Any]:
    """The results of one window in order, with a `Failure` for each input that failed; its features may be under way."""
    if features_of_each is None:
        features_of_each = steps.features_of_each(items, options.preprocess)
    jobs = []
    places: list[tuple[_Job, int]] = []  # feature -> its input, and its index among the features of that input
    costs: list[int] = []
    groups: list[Hashable] = []
    for item, features in zip(items, features_of_each, strict=True):
        job = _Job(item)
        jobs.append(job)
        if not isinstance(features, Exception):
            try:
                costs_here = [steps.cost(feature) for feature in features]
                groups += [steps.group(feature) for feature in features]
            except Exception as error:
                features = error
                del groups[len(costs) :]
        if isinstance(features, Exception):
            job.result = Failure(features)
        else:
            job.features, job.outputs, job.missing = features, [None] * len(features), len(features)
            costs += costs_here
            places += [(job, i) for i in range(len(features))]
        if not job.missing:
            _finish(steps, job, options, progress)
    for batch in similar_batches(costs, groups, most=options.batch_size, budget=options.batch_budget):
        inputs = [places[position][0].features[places[position][1]] for position in batch]
        for position, output in zip(batch, _run_batch(steps, inputs, options), strict=True):
            job, i = places[position]
            job.outputs[i] = output
            job.missing -= 1
            if isinstance(output, Failure):
                job.result = output
            if not job.missing:
                _finish(steps, job, options, progress)
    return [job.result for job in jobs]


def _run_batch(steps: Steps, features: list[Any], options: RunOptions) -> list[Any]:
    """Run a batch; if it fails, halve it until the failing feature is alone. This also helps when memory runs out."""
    try:
        return steps.run_batch(features, options.forward)
    except Exception as error:
        if len(features) == 1:
            return [Failure(error)]
    # Outside the handler, so that the tensors of the failed batch have been freed.
    half = len(features) // 2
    return _run_batch(steps, features[:half], options) + _run_batch(steps, features[half:], options)


def _finish(steps: Steps, job: _Job, options: RunOptions, progress: Progress | None) -> None:
    if job.result is None:
        try:
            job.result = steps.answer(job.item, job.features, job.outputs, options.postprocess)
        except Exception as error:
            job.result = Failure(error)
    job.item, job.features, job.outputs = None, [], []  # may be much larger than the result
    if progress is not None:
        progress.add(1)


def run_list(steps: Steps, inputs: Any, options: RunOptions) -> list[Any]:
    """The results of a list of inputs. `Pipeline` describes what happens if some fail."""
    total = len(inputs) if hasattr(inputs, "__len__") else None
    progress = Progress(total, steps.task, show=options.progress)
    results: list[Any] = []
    errors: dict[int, Exception] = {}
    try:
        for items, features in _windows(steps, iterate(inputs), options):
            start = len(results)
            for i, result in enumerate(compute(steps, items, options, progress, features), start):
                if isinstance(result, Failure):
                    errors[i] = result.error
                    result = _error_of(steps, {i: result.error}, total) if options.on_error == "return" else None
                results.append(result)
            # If the whole first window fails, the cause is probably not the inputs: stop early.
            if len(errors) == len(results) == options.window and options.on_error == "raise":
                break
    finally:
        progress.close()
    if errors and options.on_error == "raise":
        results += [None] * ((total or 0) - len(results))
        raise _error_of(steps, errors, len(results), results) from errors[min(errors)]
    return results


def _windows(
    steps: Steps, source: Iterator[Any], options: RunOptions
) -> Iterator[tuple[list[Any], Iterator[list[Any] | Exception]]]:
    """The windows of a list with their features, of which those of the next window are prepared while one is computed."""

    def read() -> tuple[list[Any], Iterator[list[Any] | Exception]]:
        items = list(itertools.islice(source, options.window))
        return items, steps.features_of_each(items, options.preprocess)

    window = read()
    while window[0]:
        upcoming = read() if steps.reads_ahead else None
        yield window
        window[0].clear()  # before the next window is read
        window = read() if upcoming is None else upcoming


def _error_of(
    steps: Steps, errors: dict[int, Exception], total: int | None, results: list[Any] | None = None
) -> PipelineInputError:
    """One error for all inputs that failed, with their positions."""
    lines = [f"inputs[{i}]: {_what(error)}" for i, error in itertools.islice(errors.items(), 3)]
    if len(errors) > 3:
        lines.append(f"and {len(errors) - 3} more")
    several = f"{len(errors)} of {total} inputs.\n" if len(errors) > 1 else ""
    what = f"{steps.task} failed on {several}" + "\n".join(lines)
    first = errors[min(errors)]
    step = first.next_step if isinstance(first, NotebookKitError) else ""
    if results is not None and total is not None and len(results) > len(errors):
        advice = "The other results are in `error.results`; on_error='return' puts errors in their places."
        step = f"{step} {advice}".strip()
    error = PipelineInputError(what, next_step=step, errors=errors, results=results)
    error.__cause__ = first
    return error


def _what(error: Exception) -> str:
    return error.what if isinstance(error, NotebookKitError) else f"{type(error).__name__}: {error}"


class ResultStream(Generator):
    """The results of a stream of inputs, computed as they are consumed.

    A generator with three additions: it has a length if its inputs have one, it continues after an input that failed (call
    `next` again, or loop over the same stream again), and it continues after Ctrl-C without losing an input.

    It reads at most one window ahead: 1 input at first, then 4, 16, ... up to the window size, so that the first results
    are available early. A source of known length is read in full windows from the start.
    """

    def __init__(self, steps: Steps, inputs: Any, options: RunOptions) -> None:
        self._steps = steps
        self._options = options
        self._total = len(inputs) if hasattr(inputs, "__len__") else None
        self._source: Iterator[Any] = iterate(inputs)
        self._size = options.window if self._total is not None else 1
        self._items: list[Any] = []
        self._ready: deque[Any] = deque()
        self._position = 0
        self._source_error: Exception | None = None
        self._ended = False
        # The caller's loop may have a progress bar, so this one is shown only on request.
        self._progress = Progress(self._total, steps.task, show=bool(options.progress))

    def __len__(self) -> int:
        if self._total is None:
            raise TypeError(
                "the length of this stream of results is unknown, since that of its inputs is; list(stream) computes all"
            )
        return self._total

    def __getitem__(self, index: Any) -> Any:
        raise TypeError(
            f"a stream of results has no element {index!r}, since each result is computed when it is consumed; "
            "list(stream) computes all, and next(stream) the next one"
        )

    def __repr__(self) -> str:
        read = f"{self._position} of {'?' if self._total is None else self._total} read"
        return f"<ResultStream of {self._steps.task}: {read}; loop over it, or compute all with list(stream)>"

    def send(self, value: None = None) -> Any:
        """The next result; `next` calls this."""
        if not self._ready:
            self._fill()
        if not self._ready:
            self._progress.close()
            error, self._source_error = self._source_error, None
            raise error or StopIteration
        result = self._ready.popleft()
        self._position += 1
        if not isinstance(result, Failure):
            return result
        error = _error_of(self._steps, {self._position - 1: result.error}, self._total)
        if self._options.on_error == "return":
            return error
        advice = "The stream continues: loop over it again; on_error='return' puts errors in the places of results."
        error.next_step = f"{error.next_step} {advice}".strip()
        raise error

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
        # Items stay in `_items` until their results are ready, so that an interrupt in between loses none.
        while not self._ended and len(self._items) < self._size:
            try:
                self._items.append(next(self._source))
            except StopIteration:
                self._ended = True
            except Exception as error:
                # Inputs that were read before the source failed still get their results.
                self._source_error, self._ended = error, True
        if self._items:
            self._ready.extend(compute(self._steps, self._items, self._options, self._progress))
            self._items = []
            self._size = min(self._options.window, self._size * 4)
