"""Bundles the files of a panel's page into one ES module.

A page is written as ordinary ES modules, which browsers, editors and linters understand. A widget carries its page as one
string and must not load anything else, so `bundle` follows the imports and turns each imported file into a function that
is called once and returns the file's exports:

    // shared/common.js                               const modules = {};
    export function h(tag) { ... }                    modules["shared/common.js"] = (() => {
                                                      function h(tag) { ... }
    // token_inspector/token_inspector.js             return { h };
    import { h } from "../shared/common.js";    ->    })();
    export default { render() { h("p"); } };          const { h } = modules["shared/common.js"];
                                                      export default { render() { h("p"); } };

As in the source, top-level names stay private to their file unless exported.

Four forms are supported, each starting at the left margin: `import { a, b as c } from "./file.js"`, `export function`
(also `async`), `export class` and `export const`, with one name per `export`. The panel's entry module has one export,
its `export default`.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from notebook_kit.errors import NotebookKitError, near_matches

__all__ = ["BundleError", "bundle"]

IMPORT = re.compile(r'^import\s*\{([^}]*)\}\s*from\s*"([^"]+)";?', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?function\*? *([\w$]+)|class ([\w$]+)|const ([\w$]+) *=)", re.MULTILINE)
DEFAULT = re.compile(r"^export default\b", re.MULTILINE)
ANY_FORM = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


class BundleError(NotebookKitError):
    """The files of a page cannot be joined into one module."""


def bundle(entry: str, folder: Path) -> str:
    """Join a module and everything it imports into one ES module.

    Args:
        entry: The panel's entry module, as a path below the folder: "token_inspector/token_inspector.js".
        folder: The folder of all page files; nothing outside it can be imported.

    Returns:
        The text of the bundle, whose default export is that of the entry.

    Raises:
        BundleError: If a file is missing, lacks an export that another one imports, is part of a circular import, or uses
            an unsupported form of `import` or `export`.
    """
    return "const modules = {};\n\n" + _Bundle(entry, folder).text()


class _Bundle:
    def __init__(self, entry: str, folder: Path) -> None:
        self.entry, self.folder = entry, folder
        self.texts: list[str] = []  # of the files, each after its imports
        self.exports: dict[str, list[str]] = {}  # of the files that were added

    def text(self) -> str:
        self._add(self.entry, ())
        return "\n".join(self.texts)

    def _add(self, path: str, importers: tuple[str, ...]) -> None:
        if path in self.exports:
            return
        if path in importers:
            circle = " -> ".join((*importers[importers.index(path) :], path))
            raise BundleError(
                f"Page files import each other in a circle: {circle}.",
                next_step="Move what they share to another file.",
            )
        try:
            source = (self.folder / path).read_text(encoding="utf-8")
        except FileNotFoundError:
            wanted = f", which {importers[-1]} imports" if importers else ""
            raise BundleError(f"There is no page file {path}{wanted}.", next_step="Check the path.") from None

        def imported(match: re.Match[str]) -> str:
            names = [name.split() for name in match[1].split(",") if name.strip()]
            target = self._target(path, match[2])
            self._add(target, (*importers, path))
            for name, *_ in names:
                if name not in self.exports[target]:
                    known = self.exports[target]
                    raise BundleError(
                        f"{path} imports {name!r}, which {target} does not export. {near_matches(name, known)}".rstrip(),
                        next_step=f"It exports: {', '.join(known) or 'nothing'}. Each name needs its own `export`.",
                    )
            return f'const {{ {", ".join(": ".join(name[::2]) for name in names)} }} = modules["{target}"];'

        is_entry = path == self.entry
        body = IMPORT.sub(imported, source)
        exports = [] if is_entry else [next(filter(None, match.groups())) for match in EXPORT.finditer(body)]
        body = body if is_entry else EXPORT.sub("", body)
        self._check(path, body)
        self.exports[path] = exports
        if not is_entry:
            body = f'modules["{path}"] = (() => {{\n{body}return {{ {", ".join(exports)} }};\n}})();\n'
        self.texts.append(f"// {path}\n{body}")

    def _target(self, path: str, address: str) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), address))
        if not address.startswith(("./", "../")) or target.startswith(".."):
            raise BundleError(
                f"{path} imports {address!r}, which is not a page file of notebook_kit.",
                next_step='A panel loads nothing from elsewhere: import "./file.js" or "../shared/file.js".',
            )
        return target

    def _check(self, path: str, body: str) -> None:
        """Refuse all remaining imports and exports, except the default export of the entry module."""
        is_entry = path == self.entry
        left = [match[0] for match in ANY_FORM.finditer(body) if not (is_entry and DEFAULT.match(match[0]))]
        if left:
            raise BundleError(
                f"{path} has an unsupported form of import or export: {left[0]!r}.",
                next_step="The documentation of notebook_kit.panels.bundle lists the supported forms.",
            )
        if is_entry and len(DEFAULT.findall(body)) != 1:
            raise BundleError(
                f"{path} must have one default export.",
                next_step="Add `export default { render({ model, el }) { ... } };`.",
            )
