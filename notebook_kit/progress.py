"""Progress bars that never end a run: what they show is lost if they fail, and nothing else."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["lenient_bar"]


@functools.lru_cache(maxsize=16)  # tqdm starts a thread per class that watches its bars
def lenient_bar(kind: type) -> type:
    """A subclass of a `tqdm` class. Where one of its bars fails, that bar is switched off, and the program continues.

    Bars fail for example if the standard error is closed, or if ipywidgets is broken.

    Example:
        >>> from tqdm import tqdm
        >>> class Broken(tqdm):
        ...     def display(self, *args, **kwargs):
        ...         raise OSError("the terminal has gone")
        >>> with lenient_bar(Broken)(total=2) as bar:
        ...     _ = bar.update(2)
        >>> bar.disable
        True
    """

    from tqdm import std

    def lenient(name: str, method: Any = None) -> Any:
        method = method or getattr(kind, name)

        @functools.wraps(method)
        def call(bar: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return method(bar, *args, **kwargs)
            except Exception:
                if name == "__init__":
                    _switch_off(bar, method, *args, **kwargs)
                bar.disable = True
                return None

        return call

    names = ("__init__", "update", "close", "set_description", "set_postfix", "set_postfix_str", "__del__")
    methods = {name: lenient(name) for name in names}
    own = kind.refresh  # type: ignore[attr-defined]
    methods["refresh"] = lenient("refresh", _refresh if own is std.tqdm.refresh else own)
    return type(kind.__name__, (kind,), methods)


def _switch_off(bar: Any, create: Any, iterable: Any = None, *args: Any, **kwargs: Any) -> None:
    """Create a bar that shows nothing; if not even that works, with the attributes that a program may read."""
    try:
        create(bar, iterable, *args, **{**kwargs, "disable": True})
    except Exception:
        bar.iterable, bar.total, bar.n = iterable, kwargs.get("total"), kwargs.get("initial", 0)
        bar.desc, bar.leave, bar.pos = kwargs.get("desc") or "", kwargs.get("leave", True), 0


def _refresh(bar: Any, nolock: bool = False, lock_args: tuple[Any, ...] | None = None) -> bool | None:
    """As tqdm's own method, which does not release the lock of all bars if `display` fails: bars of other threads would wait
    for ever."""
    if bar.disable:
        return None
    if nolock:
        bar.display()
        return True
    taken = bar.get_lock().acquire(*(lock_args or ()))
    if lock_args and not taken:  # without arguments, tqdm's own locks return None
        return False
    try:
        bar.display()
    finally:
        bar.get_lock().release()
    return True
