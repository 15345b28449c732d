"""Packages that import their public names on first use.

Such a package lists its public names once, as imports in the stub `__init__.pyi` beside its `__init__.py`, where editors
and type checkers find them. Its `__init__.py` is one line::

    __getattr__, __dir__, __all__ = lazy_exports(__name__)

To add a public name, add its import to the stub: `from .trainer import Trainer as Trainer`.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # as in `typing`, whose import would take longer than everything else here
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["exports", "lazy_exports"]


def exports(package: str) -> dict[str, str]:
    """Public name -> the module it is imported from, as written in the package's stub (".trainer").

    Example:
        >>> exports("notebook_kit.training")["Trainer"]
        '.trainer'
    """
    return _stub(f"{import_module(package).__file__}i")


def _stub(path: str) -> dict[str, str]:
    with open(path, encoding="utf-8") as stub:
        text = stub.read()
    found: dict[str, str] = {}
    # The stub is read on every import, and splitting it is ten times as fast as parsing it.
    for statement in text.split("\nfrom ")[1:]:
        module, _, names = statement.partition("\n\n")[0].partition(" import ")
        for name in names.replace("(", "").replace(")", "").split(","):
            if name.strip():
                found[name.split()[-1]] = module
    return found


def lazy_exports(
    package: str, optional: tuple[str, ...] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package that imports the names of its stub on first use.

    Args:
        package: Its `__name__`.
        optional: Modules, such as ".tensorflow", that need packages which may not be installed. Their names can be imported,
            but they are not in `__all__`, so that `import *` works without those packages.
    """
    modules = exports(package)
    namespace = sys.modules[package].__dict__
    public = (
        sorted(name for name, home in modules.items() if not home.startswith(optional)) if optional else sorted(modules)
    )

    def getattr_(name: str) -> Any:
        if name in modules:
            home = modules[name]
            if home == ".":  # `from . import name`: a module of the package
                value = import_module(f".{name}", package)
            else:
                value = getattr(import_module(home, package), name)
            namespace[name] = value
            return value
        from notebook_kit.errors import is_from_import, near_matches, not_yet

        near = _whereabouts(name, package) or not_yet(name, modules) or near_matches(name, modules)
        if is_from_import(sys._getframe(1)):
            raise ImportError(f"cannot import name {name!r} from {package!r}. {near}".rstrip(), name=name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}. {near}".rstrip())

    return getattr_, lambda: sorted({*namespace, *modules}), public


def _whereabouts(name: str, but: str) -> str:
    """A sentence about where else in this library a public name is; "" if it is in no package but `but`."""
    import ast
    import os

    if name.startswith("_"):
        return ""
    root = __name__.partition(".")[0]
    folder = os.path.dirname(__file__)
    for package in (root, *(f"{root}.{entry}" for entry in sorted(os.listdir(folder)))):
        inner = os.path.join(folder, *package.split(".")[1:], "__init__.py")
        if package == but or not os.path.isfile(inner):
            continue
        if os.path.isfile(f"{inner}i"):
            public: Any = _stub(f"{inner}i")
        else:  # read, since importing a package because something was missing would be a surprise
            with open(inner, encoding="utf-8") as code:
                lists = [
                    one.value
                    for one in ast.parse(code.read()).body
                    if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "__all__"
                ]
            public = ast.literal_eval(lists[0]) if lists and isinstance(lists[0], ast.List) else ()
        if name in public:
            return f"It is in {package}: from {package} import {name}"
    return ""
