"""The position of a stream in checkpoints, so that a resumed run need not read again what it has trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset

__all__ = ["restore_stream", "stream_state"]


def stream_state(loader: Any) -> Any:
    """The state of the stream that `loader` reads, with which it continues after the latest batch; None if there is none.

    Streams are `datasets.IterableDataset`, and datasets of torch with `state_dict` and `load_state_dict`. There is no such
    state if worker processes read ahead, or if the stream is shuffled in a buffer, whose examples would be lost.
    """
    stream = _stream(loader)
    return None if stream is None else stream.state_dict()


def restore_stream(loader: Any, state: Any) -> bool:
    """Let the next pass over `loader` continue where `stream_state` was called; False if it cannot."""
    stream = _stream(loader)
    if stream is None or state is None:
        return False
    stream.load_state_dict(state)
    return True


def _stream(loader: Any) -> Any:
    loader = getattr(loader, "loader", loader)  # of a StreamShard
    dataset = getattr(loader, "dataset", None)
    has_state = hasattr(dataset, "state_dict") and hasattr(dataset, "load_state_dict")
    reads_ahead = getattr(loader, "num_workers", 0) > 0
    if not isinstance(dataset, IterableDataset) or not has_state or reads_ahead:
        return None
    buffered = any("BufferShuffled" in type(part).__name__ for part in _parts(dataset))
    return None if buffered else dataset


def _parts(dataset: Any) -> Iterator[Any]:
    """The steps of a `datasets.IterableDataset`: sources, maps, shuffles, ..."""
    pending = [dataset]
    while pending:
        part = pending.pop()
        yield part
        for name in ("_ex_iterable", "ex_iterable", "ex_iterables"):
            found = getattr(part, name, None)
            pending.extend(found if isinstance(found, list | tuple) else [] if found is None else [found])
