"""What all panels share: questions from the page and their answers, the static face, and the file that works from disk."""

from __future__ import annotations

import base64
import html
import inspect
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

from notebook_kit import language
from notebook_kit.errors import NotebookKitError
from notebook_kit.files import write_text
from notebook_kit.panels.bundle import bundle

__all__ = ["Answer", "Cancelled", "Face", "Panel", "slow"]

logger = logging.getLogger("notebook_kit")

FOLDER = Path(__file__).parent
FACE_BYTES = 200_000
"""The most that a static face may add to a saved notebook."""


@dataclass(frozen=True)
class Answer:
    """What a question gets: plain values, and buffers that cross as bytes.

    Args:
        values: JSON values.
        buffers: Bytes, bytearrays or contiguous arrays; the page sees each as a `DataView`.
    """

    values: dict[str, Any] = field(default_factory=dict)
    buffers: Sequence[Any] = ()


@dataclass(frozen=True)
class Face:
    """A panel as a picture and a table, for where no kernel runs.

    Args:
        title: One line.
        png: The picture, or None.
        alt: What the picture shows, in words.
        header: Names of the table's columns.
        rows: The table; cells are turned into text.
        note: A line below.
    """

    title: str
    png: bytes | None = None
    alt: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    note: str = ""


class Cancelled(Exception):
    """Raised inside a slow answer when nobody waits for it any more."""


def slow(method: Callable[..., Answer]) -> Callable[..., Answer]:
    """Mark an `answer_...` method as slow: it runs on a thread of its panel, so that the kernel stays free.

    It should call `self.check_cancelled()` now and then.
    """
    method.is_slow = True  # type: ignore[attr-defined]
    return method


class Panel(anywidget.AnyWidget):
    """The base of all panels.

    A panel named `x` is a subclass with `name = "x"` in the folder `x`, with the module `x.js` and, if need be, the style
    `x.css` beside it; `notebook_kit.panels.bundle` adds the modules that `x.js` imports. The page asks (`ask("score", {...})`
    in `shared/common.js`), and the method `answer_score` answers; an error that it raises is shown in the panel, which goes
    on working.

    A subclass gives its static face with `face()`, what the page may ask in a file on disk with `offline_questions()`,
    and a matplotlib figure with `figure()`.
    """

    name: ClassVar[str] = ""
    workers: ClassVar[int] = 1
    """How many slow answers may be worked on at a time."""

    _ipython_display_ = None
    """ipywidgets 7, which Colab has, shows a widget by this method, and so leaves out the static face."""

    _strings = traitlets.Dict().tag(sync=True)
    _language = traitlets.Unicode("en").tag(sync=True)
    _notice = traitlets.Dict().tag(sync=True)
    """What another panel, linked to this one, could not do here: {what, next_step}."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "name" in cls.__dict__:  # not for the classes that `add_traits` creates
            cls._esm = bundle(f"{cls.name}/{cls.name}.js", FOLDER)
            style = f"{cls.name}/{cls.name}.css"
            cls._css = _read("shared/common.css") + (_read(style) if (FOLDER / style).exists() else "")
        super().__init_subclass__(**kwargs)

    def __init__(self, **traits: Any) -> None:
        self._worker: ThreadPoolExecutor | None = None
        self._wanted: dict[str, str] = {}  # view and question -> the id that still waits for an answer
        self._lock = threading.Lock()
        self._current = threading.local()
        super().__init__(**traits)
        language.register(self)
        self.speak()
        self.on_msg(self._on_message)

    def speak(self) -> None:
        """Take the words of the language that is spoken now."""
        self._strings = language.strings("common", self.name)
        self._language = language.spoken()

    def word(self, key: str, **values: Any) -> str:
        """A text of the panel in the present language, with `{name}` replaced by the value of that name."""
        text = self._strings.get(f"{self.name}.{key}") or self._strings.get(f"common.{key}") or key
        return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), text)

    def show_notice(self, problem: dict[str, str]) -> None:
        """Show an error that no question of the page led to.

        Args:
            problem: `what` and `next_step`, as from `described`; {} removes the notice.
        """
        self._notice = problem

    # Questions and answers ---------------------------------------------------------------------------------------

    def _on_message(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        if not isinstance(content, dict) or "nk" not in content:
            return
        asked, kind = str(content["nk"]), str(content.get("ask", ""))
        place = f"{asked.partition('.')[0]} {kind}"
        if kind == "cancel":
            with self._lock:
                self._wanted = {key: value for key, value in self._wanted.items() if value != content.get("id")}
            return
        with self._lock:
            self._wanted[place] = asked
        method = getattr(self, f"answer_{kind}", None)
        if method is None:
            self.send(
                {"nk": asked, "error": {"what": f"{type(self).__name__} has no answer to {kind!r}.", "next_step": ""}}
            )
            return
        if getattr(method, "is_slow", False):
            if self._worker is None:
                self._worker = ThreadPoolExecutor(self.workers, thread_name_prefix=f"notebook_kit-{self.name}")
            self._worker.submit(self._answer, method, asked, place, content.get("with") or {}, buffers)
        else:
            self._answer(method, asked, place, content.get("with") or {}, buffers)

    def _answer(self, method: Any, asked: str, place: str, values: dict[str, Any], buffers: list[Any]) -> None:
        self._current.asked, self._current.place = asked, place
        try:
            self.check_cancelled()
            answer = method(values, *([buffers] if len(inspect.signature(method).parameters) > 1 else []))
            reply: dict[str, Any] = {"nk": asked, "answer": answer.values}
            attached = list(answer.buffers)
        except Cancelled:
            return
        except Exception as error:
            reply, attached = {"nk": asked, "error": described(error)}, []
            if not isinstance(error, NotebookKitError):
                logger.exception("A panel could not answer %r", place)
        finally:
            self._current.asked = None
        self.send(reply, attached)

    def check_cancelled(self) -> None:
        """Within a slow answer: stop if the page asked something newer, or cancelled.

        Raises:
            Cancelled: Nobody waits for this answer.
        """
        asked = getattr(self._current, "asked", None)
        if asked is not None and self._wanted.get(self._current.place) != asked:
            raise Cancelled

    # The static face ---------------------------------------------------------------------------------------------

    def face(self) -> Face:
        """The panel as a picture and a table."""
        return Face(type(self).__name__)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        try:
            face = self.face()
        except Exception as error:  # the widget itself is fine, so it must still be shown
            logger.debug("no static face", exc_info=True)
            face = Face(type(self).__name__, note=described(error)["what"])
        data = {**data, "text/plain": repr(self), "text/html": static_html(face)}
        return data, metadata

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # A file that works from disk -----------------------------------------------------------------------------------

    def offline_questions(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """The questions that a page on disk can have answered: name and values, as the page would ask them."""
        return ()

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the panel as one interactive file that works from disk, with no kernel and no network.

        Args:
            path: Where to write.

        Returns:
            The path.
        """
        traits = {key: value for key, value in self.get_state().items() if _belongs_in_file(self, key)}
        buffers: list[str] = []

        def stored(value: Any) -> Any:
            if isinstance(value, bytes | bytearray | memoryview):
                buffers.append(base64.b64encode(bytes(value)).decode("ascii"))
                return {"$buffer": len(buffers) - 1}
            if isinstance(value, dict):
                return {key: stored(entry) for key, entry in value.items()}
            return [stored(entry) for entry in value] if isinstance(value, list | tuple) else value

        answers = []
        for kind, values in self.offline_questions():
            answer = getattr(self, f"answer_{kind}")(values)
            entry = {"ask": kind, "with": values, "answer": answer.values, "buffers": []}
            for buffer in answer.buffers:
                entry["buffers"].append(stored(memoryview(buffer).cast("B").tobytes())["$buffer"])
            answers.append(entry)
        data = {"traits": stored(traits), "answers": answers, "buffers": buffers}
        face = self.face()
        page = _read("shared/page.html")
        for mark, text in {
            "TITLE": html.escape(face.title),
            "LANGUAGE": html.escape(self._language),
            "STYLE": str(self._css).replace("</", "<\\/"),
            "MODULE": _json_in_html(str(self._esm)),
            "DATA": _json_in_html(data),
            "FACE": static_html(face),
        }.items():
            page = page.replace(f"<!--{mark}-->", text)
        write_text(path, page)
        return Path(path)

    def figure(self) -> Any:
        """The panel as a matplotlib `Figure`."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the panel and let its thread end."""
        worker = getattr(self, "_worker", None)  # not there if the constructor failed before
        if worker is not None:
            worker.shutdown(wait=False, cancel_futures=True)
            self._worker = None
        super().close()


def described(error: BaseException) -> dict[str, str]:
    """An error as the page shows it."""
    if isinstance(error, NotebookKitError):
        return {"what": error.what, "next_step": error.next_step}
    return {"what": f"{type(error).__name__}: {error}", "next_step": ""}


def static_html(face: Face) -> str:
    """A face as HTML that survives the cleaning of untrusted notebooks: a data-URI image and a plain table, no script."""
    parts = [f"<p><strong>{html.escape(face.title)}</strong></p>"]
    used = 0
    if face.png is not None:
        picture = base64.b64encode(face.png).decode("ascii")
        if len(picture) <= FACE_BYTES * 3 // 4:
            used = len(picture)
            parts.append(f'<img alt="{html.escape(face.alt, quote=True)}" src="data:image/png;base64,{picture}">')
    if face.rows:
        lines = (
            [f"<tr>{''.join(f'<th>{html.escape(str(cell))}</th>' for cell in face.header)}</tr>"] if face.header else []
        )
        for number, row in enumerate(face.rows):
            line = f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>"
            used += len(line.encode())
            if used > FACE_BYTES * 9 // 10:
                lines.append(f'<tr><td colspan="{len(row)}">… {len(face.rows) - number}</td></tr>')
                break
            lines.append(line)
        parts.append(f"<table>{''.join(lines)}</table>")
    if face.note:
        parts.append(f"<p>{html.escape(face.note)}</p>")
    return f"<div>{''.join(parts)}</div>"


def _belongs_in_file(panel: Panel, key: str) -> bool:
    if key in ("_esm", "_css", "_anywidget_id", "layout", "tabbable", "tooltip"):
        return False
    return not key.startswith(("_model", "_view", "_dom"))


def _json_in_html(value: Any) -> str:
    """JSON that can be put inside a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _read(filename: str) -> str:
    return (FOLDER / filename).read_text(encoding="utf-8")
