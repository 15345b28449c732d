"""Progress bars that never end a run: what they show is lost if they fail, and nothing else."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["lenient_bar"]


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

    def lenient(name: str) -> Any:
        method = getattr(kind, name)

        @functools.wraps(method)
        def call(bar: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return method(bar, *args, **kwargs)
            except Exception:
                if name == "__init__":
                    method(bar, *args, **{**kwargs, "disable": True})
                bar.disable = True
                return None

        return call

    names = ("__init__", "update", "refresh", "close", "set_description", "set_postfix", "set_postfix_str", "__del__")
    return type(kind.__name__, (kind,), {name: lenient(name) for name in names})
