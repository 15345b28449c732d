"""The base of all panels: questions from the page and their answers, the static face, and the file that works offline."""

from __future__ import annotations

import base64
import html
import inspect
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import ipywidgets
import traitlets

from notebook_kit import language
from notebook_kit.errors import (
    InputError,
    ListsNearMatches,
    NotebookKitError,
    UnknownAttributeError,
    a_kind,
    near_matches,
)
from notebook_kit.files import write_text
from notebook_kit.inspection.drawing.letters import clean, cleaned, printable
from notebook_kit.panels import busy
from notebook_kit.panels.bundle import bundle
from notebook_kit.panels.copies import let_send

__all__ = ["Answer", "Cancelled", "Face", "Panel", "described", "filled", "slow"]

logger = logging.getLogger("notebook_kit")

FOLDER = Path(__file__).parent
FACE_BYTES = 200_000
"""The maximum size that a static face may add to a saved notebook."""
SETTLING_SECONDS = 3.0
"""For how long a page that asked for the state of a panel may still be busy with it."""
JPEG = b"\xff\xd8"
"""How the bytes of such a picture begin."""


@dataclass(frozen=True)
class Answer:
    """The answer to a question: plain values, and buffers that are sent as bytes.

    Args:
        values: JSON values.
        buffers: Bytes, bytearrays or contiguous arrays; the page sees each as a `DataView`.
    """

    values: dict[str, Any] = field(default_factory=dict)
    buffers: Sequence[Any] = ()


@dataclass(frozen=True)
class Face:
    """A panel as a picture and a table, shown where no kernel runs.

    Args:
        title: The title, one line.
        png: The picture as PNG, or as JPEG if it is a photograph; None for no picture.
        alt: A description of the picture.
        header: The names of the table's columns.
        rows: The rows of the table; cells are converted to text.
        note: A line below the table.
    """

    title: str
    png: bytes | None = None
    alt: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    note: str = ""


class TraitInputError(InputError, traitlets.TraitError):
    """A value that a trait of a panel cannot have."""


class Cancelled(Exception):
    """Raised inside a slow answer that is no longer needed."""


def slow(method: Callable[..., Answer]) -> Callable[..., Answer]:
    """Mark an `answer_...` method as slow: it runs on a thread of its panel, so that the kernel stays free.

    The method should call `self.check_cancelled()` regularly.
    """
    method.is_slow = True  # type: ignore[attr-defined]
    return method


class OpenedOnceBuilt(traitlets.MetaHasTraits):
    """Opens a panel to the page once its constructor has returned.

    A page that is being loaded asks for the state of all widgets, and on a kernel with subshells that question is answered
    while a constructor runs. It would apply a half-built state over the changes that follow, such as a panel without its texts.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        panel = super().__call__(*args, **kwargs)
        panel.is_built = True
        panel.open()
        panel.opened()
        return panel


class Panel(anywidget.AnyWidget, ListsNearMatches, metaclass=OpenedOnceBuilt):
    """The base of all panels.

    A panel named `x` is a subclass with `name = "x"` in the folder `x`, with the module `x.js` and optionally the style
    `x.css`; `notebook_kit.panels.bundle` adds the modules that `x.js` imports. When the page asks a question
    (`ask("score", {...})` in `shared/common.js`), the method `answer_score` answers it; if it raises an error, the panel shows
    the error and keeps working.

    A subclass overrides `face()` for its static face, `offline_questions()` for the answers in a file on disk, and `figure()`
    for a matplotlib figure.
    """

    name: ClassVar[str] = ""
    workers: ClassVar[int] = 1
    """The number of slow answers that may run at a time."""
    _late: set[str] | None = None
    is_built: bool = False
    """Whether the constructor has returned; until then, the page does not know the panel."""

    _ipython_display_ = None
    """Disabled: ipywidgets 7, which Colab has, would display the widget with this method and omit the static face."""

    _strings = traitlets.Dict().tag(sync=True)
    _language = traitlets.Unicode("en").tag(sync=True)
    _notice = traitlets.Dict().tag(sync=True)
    """An error of a panel that is linked to this one: {what, next_step}."""
    _first = traitlets.Dict().tag(sync=True)
    """What `answers_to` returned for the page's first questions; they travel with the state, so they need no free kernel."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "name" in cls.__dict__:  # not in the classes that `add_traits` creates
            cls._esm = bundle(f"{cls.name}/{cls.name}.js", FOLDER)
            style = f"{cls.name}/{cls.name}.css"
            cls._css = _read("shared/common.css") + (_read(style) if (FOLDER / style).exists() else "")
        super().__init_subclass__(**kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in ("save", "export", "write", "to_file"):
            what = (
                f"{type(self).__name__!r} object has no attribute {name!r}. to_html(path) writes the panel to a file."
            )
            raise UnknownAttributeError(what, name, ())
        return super().__getattr__(name)

    def __init__(self, **traits: Any) -> None:
        self._worker: ThreadPoolExecutor | None = None
        self._wanted: dict[str, str] = {}  # view and question -> the id of the newest request that awaits its answer
        self._lock = threading.Lock()
        self._current = threading.local()
        self._is_publishing = False
        self._check_names(traits)
        let_send()
        try:
            super().__init__(**traits)
        except traitlets.TraitError as error:
            raise self._refused(error, traits) from None
        # ipywidgets creates a layout for each widget, and keeps it after the widget was closed.
        self._own_layout = None if isinstance(traits.get("layout"), ipywidgets.Layout) else self.layout
        language.register(self)
        self.speak()
        self.on_msg(self._on_message)

    def _check_names(self, traits: Iterable[str]) -> None:
        kind = type(self)
        own = {name for name in self.trait_names() if not name.startswith("_")} - set(
            anywidget.AnyWidget.class_trait_names()
        )
        for name in traits:
            if not self.has_trait(name):
                raise InputError(
                    f"{kind.__name__} has no argument {name!r}. {near_matches(name, own)}".rstrip(),
                    next_step=f"Besides those of its signature it has {', '.join(sorted(own))}.",
                )

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except traitlets.TraitError as error:
            raise self._refused(error, {name: value}) from None

    def _refused(self, error: traitlets.TraitError, traits: dict[str, Any]) -> TraitInputError:
        if isinstance(error, TraitInputError):
            return error
        kind, found = type(self).__name__, re.search(r"'(\w+)' trait", str(error))
        name = found[1] if found else ""
        if name not in traits:
            return TraitInputError(str(error), next_step=f"help({kind}) describes every argument.")
        expected = self.traits()[name].info()
        return TraitInputError(
            f"{kind} cannot use {name}={traits[name]!r}.", next_step=f"Pass {expected}; help({kind}) describes it."
        )

    def open(self) -> None:
        """Introduce the panel to the page, with its whole state, once it is built."""
        if self.is_built:
            super().open()

    def opened(self) -> None:
        """Called once, after the constructor, when the panel can receive messages.

        Where the kernel can, it answers the panel's questions while cells are running, and those of a page that is loaded again.
        """
        busy.hear(self, polls=False)

    def speak(self) -> None:
        """Switch to the current language."""
        self._strings = language.strings("common", self.name)
        self._language = language.spoken()

    def word(self, key: str, **values: Any) -> str:
        """A text of the panel in the current language, with `{name}` replaced by the value of that name.

        For a `count` of 1, it is the text `key_one` if there is one.
        """
        single = self._strings.get(f"{self.name}.{key}_one") if values.get("count") == 1 else None
        text = single or self._strings.get(f"{self.name}.{key}") or self._strings.get(f"common.{key}") or key
        return filled(text, **values)

    @property
    def words(self) -> dict[str, str]:
        """The panel's texts in the current language, by their keys without the panel's name."""
        return {key.partition(".")[2]: text for key, text in self._strings.items()}

    def show_notice(self, problem: dict[str, str]) -> None:
        """Show an error that does not answer a question of the page.

        Args:
            problem: `what` and `next_step`, as from `described`; {} removes the notice.
        """
        self._notice = problem

    @contextmanager
    def _publishing(self) -> Iterator[None]:
        """Send several traits in one message; observers see `_is_publishing` and can ignore the panel's own changes."""
        before, self._is_publishing = self._is_publishing, True
        try:
            with self.hold_sync():
                yield
        finally:
            self._is_publishing = before

    # Everything that a panel sends passes through the next two methods -----------------------------------------------

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The traits as they are sent to the page, without the lone surrogates that Jupyter's messages cannot carry."""
        state = cleaned(super().get_state(key, drop_defaults))
        if key is None and self.is_built and self.comm is not None:
            self._send_changes_again()
        return state

    def _send_changes_again(self) -> None:
        """Send what changes in the next seconds a second time.

        A page that is being loaded asks for the state of all widgets, and creates them one after the other. If a change arrives
        meanwhile, the page applies it first and then the older state.
        """
        if self._late is None:
            self._late = set()
            timer = threading.Timer(SETTLING_SECONDS, self._send_late)
            timer.daemon = True
            timer.start()

    def _send_late(self) -> None:
        late, self._late = self._late, None
        if late and self.comm is not None:
            self.send_state(late)

    def notify_change(self, change: Any) -> None:
        if self._late is not None and change["name"] in self.keys:
            self._late.add(change["name"])
        super().notify_change(change)

    def _send(self, msg: dict[str, Any], buffers: Any = None) -> None:
        super()._send(cleaned(msg), buffers)  # messages, and the echoes of what the page has sent

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

    def answers_to(self, questions: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
        """Answers for the trait `_first`, whose questions the page then need not ask.

        Args:
            questions: Names and values, as the page asks them. What cannot be answered is left out: the page will ask, and
                show the error.
        """
        answers = []
        for kind, values in questions:
            try:
                answer = getattr(self, f"answer_{kind}")(values)
            except Exception:
                logger.debug("No first answer to %r", kind, exc_info=True)
                continue
            buffers = [memoryview(buffer).tobytes() for buffer in answer.buffers]
            answers.append({"ask": kind, "with": values, "answer": answer.values, "buffers": buffers})
        return {"answers": answers} if answers else {}

    def check_cancelled(self) -> None:
        """Within a slow answer: stop if the page has asked a newer question or cancelled this one.

        Raises:
            Cancelled: If the answer is no longer needed.
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
        except Exception as error:  # the widget itself works, so it must still be displayed
            logger.debug("no static face", exc_info=True)
            face = Face(type(self).__name__, note=described(error)["what"])
        data = {**data, "text/plain": clean(repr(self)), "text/html": static_html(face)}
        return data, metadata

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # A file that works offline -------------------------------------------------------------------------------------

    def offline_questions(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """The questions whose answers a file on disk contains: name and values, as the page asks them."""
        return ()

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the panel as one interactive HTML file that needs neither a kernel nor a network.

        Args:
            path: The file to write.

        Returns:
            The path; its folder is created if there is none.

        Raises:
            InputError: If it is not a path of a file.
        """
        path = _file_path(path)
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
            entry = {"ask": kind, "with": cleaned(values), "answer": cleaned(answer.values), "buffers": []}
            for buffer in answer.buffers:
                entry["buffers"].append(stored(memoryview(buffer).tobytes())["$buffer"])
            answers.append(entry)
        data = {"traits": stored(traits), "answers": answers, "buffers": buffers}
        face = self.face()
        page = _read("shared/page.html")
        for mark, text in {
            "TITLE": _escaped(face.title),
            "LANGUAGE": html.escape(self._language),
            "STYLE": str(self._css).replace("</", "<\\/"),
            "MODULE": _json_in_html(str(self._esm)),
            "DATA": _json_in_html(data),
            "FACE": static_html(face),
        }.items():
            page = page.replace(f"<!--{mark}-->", text)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return write_text(path, page)
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            raise InputError(
                f"{str(path)!r} cannot be written: {getattr(error, 'strerror', None) or error}.",
                next_step="Choose another path.",
            ) from None

    def figure(self) -> Any:
        """The panel as a matplotlib `Figure`.

        Raises:
            InputError: If there is none, as of a table.
        """
        raise InputError(f"There is no figure of {a_kind(self)}.", next_step="Use to_html for a page.")

    def close(self) -> None:
        """Close the panel, end its thread, and free its entries in the registry of widgets."""
        worker = getattr(self, "_worker", None)  # missing if the constructor failed
        if worker is not None:
            worker.shutdown(wait=False, cancel_futures=True)
            self._worker = None
        layout, self._own_layout = getattr(self, "_own_layout", None), None
        super().close()
        if layout is not None:
            layout.close()


def filled(text: str, **values: Any) -> str:
    """A text with each `{name}` replaced by the value of that name; unknown names stay.

    Example:
        >>> filled("{count} of {all} tokens", count=3)
        '3 of {all} tokens'
    """
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), text)


def described(error: BaseException) -> dict[str, str]:
    """An error as the page shows it: `what` and `next_step`."""
    if isinstance(error, NotebookKitError):
        return {"what": error.what, "next_step": error.next_step}
    return {"what": f"{type(error).__name__}: {error}", "next_step": ""}


def static_html(face: Face) -> str:
    """A face as HTML that survives the sanitizing of untrusted notebooks: a data-URI image and a plain table, no script."""
    parts = [f"<p><strong>{_escaped(face.title)}</strong></p>"]
    used = 0
    if face.png is not None:
        picture = base64.b64encode(face.png).decode("ascii")
        if len(picture) <= FACE_BYTES * 3 // 4:
            used = len(picture)
            kind = "jpeg" if face.png.startswith(JPEG) else "png"
            parts.append(f'<img alt="{_escaped(face.alt)}" src="data:image/{kind};base64,{picture}">')
    if face.rows:
        lines = [f"<tr>{''.join(f'<th>{_escaped(cell)}</th>' for cell in face.header)}</tr>"] if face.header else []
        for number, row in enumerate(face.rows):
            line = f"<tr>{''.join(f'<td>{_escaped(cell)}</td>' for cell in row)}</tr>"
            used += len(line.encode())
            if used > FACE_BYTES * 9 // 10:
                lines.append(f'<tr><td colspan="{len(row)}">… {len(face.rows) - number}</td></tr>')
                break
            lines.append(line)
        parts.append(f"<table>{''.join(lines)}</table>")
    if face.note:
        parts.append(f"<p>{_escaped(face.note)}</p>")
    return f"<div>{''.join(parts)}</div>"


def _escaped(value: Any) -> str:
    return html.escape(printable(str(value)))


def _file_path(path: Any) -> Path:
    """The path of a file to write.

    Raises:
        InputError: If it is not a path, or is that of a folder.
    """
    if not isinstance(path, str | os.PathLike) or (isinstance(path, str) and not path):
        raise InputError(
            f"{path!r} is not a path.", next_step='Pass the name of the file to write, such as "panel.html".'
        )
    if os.path.isdir(path):  # False for names that no file can have; writing says why
        raise InputError(f"{os.fspath(path)} is a folder.", next_step="Add the name of the file to write.")
    return Path(path)


def _belongs_in_file(panel: Panel, key: str) -> bool:
    if key in ("_esm", "_css", "_anywidget_id", "layout", "tabbable", "tooltip"):
        return False
    if key == "_first" and "answers" in panel._first:  # the file has its own answers
        return False
    return not key.startswith(("_model", "_view", "_dom"))


def _json_in_html(value: Any) -> str:
    """JSON that is safe inside a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _read(filename: str) -> str:
    return (FOLDER / filename).read_text(encoding="utf-8")
