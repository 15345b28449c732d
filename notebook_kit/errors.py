"""Every error that a user of notebook_kit can meet.

Each error says what was given, what was expected, and what to do next. Where the ecosystem has a convention (a missing
repository is an `OSError`, a wrong argument a `ValueError`), the class also derives from that built-in class, so that code
written for `transformers` catches it as before.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import logging
import os
import re
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigurationError",
    "GatedRepoError",
    "HubError",
    "HubUnreachableError",
    "InputError",
    "MissingDependencyError",
    "MissingVocabularyError",
    "NonFiniteLossError",
    "NotebookKitError",
    "NotebookKitWarning",
    "PipelineInputError",
    "RepoNotFoundError",
    "RevisionNotFoundError",
    "RunTimeoutError",
    "UnknownArchitectureError",
    "UnknownAttributeError",
    "UnsafeFileError",
    "is_from_import",
    "near_matches",
    "not_yet",
    "notice",
    "notice_once",
    "warn",
]


class NotebookKitError(Exception):
    """The base class of all errors of this library.

    Args:
        what: What was given and why it does not work, as one or more sentences.
        next_step: What the reader can do about it, as a sentence.

    Example:
        >>> print(NotebookKitError("There is no head 12: layer 3 has heads 0 to 11.", next_step="Name one of those."))
        There is no head 12: layer 3 has heads 0 to 11.
        → Name one of those.
    """

    def __init__(self, what: str, *, next_step: str = "") -> None:
        self.what = what
        self.next_step = next_step
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.what}\n→ {self.next_step}" if self.next_step else self.what

    def __reduce__(self):
        return _rebuild, (type(self), self.what, self.next_step, self.__dict__)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of this error: the reader's own lines and the message.

        The lines of this library say nothing about a misspelled name. `%xmode Verbose` shows them, and so do `%debug` and
        every program that is not a notebook.

        Returns:
            Lines for IPython, as its `structured_traceback` returns them.
        """
        return _for_a_reader(self)


def _rebuild(kind: type[NotebookKitError], what: str, next_step: str, state: dict) -> NotebookKitError:
    """Unpickle an error: errors cross process boundaries in data loaders and distributed runs."""
    error = kind.__new__(kind)
    Exception.__init__(error, what)
    error.__dict__.update(state)
    error.what, error.next_step = what, next_step
    return error


LEFT_OUT = "The lines of notebook_kit and of what it calls are left out here; %xmode Verbose, then %tb, shows them."


def _for_a_reader(error: NotebookKitError) -> list[str]:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return "".join(traceback.format_exception(error)).splitlines()
    formatter = shell.InteractiveTB
    whole = formatter.structured_traceback(type(error), error, error.__traceback__)
    if formatter.mode == "Verbose":
        return whole
    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__ or (None if chain[-1].__suppress_context__ else chain[-1].__context__):
        if any(cause is each for each in chain):  # a chain may be a circle
            break
        chain.append(cause)
    kept = [(each.__traceback__, each.__cause__, each.__suppress_context__) for each in chain]
    try:
        for each in chain:
            each.__traceback__ = _of_the_reader(each.__traceback__)
        for outer, inner in itertools.pairwise(chain):
            if isinstance(inner, NotebookKitError) and _repeats(outer, inner):  # it would be read twice
                outer.__cause__ = None
        shown = formatter.structured_traceback(type(error), error, error.__traceback__)
    finally:
        for each, (lines, reason, suppressed) in zip(chain, kept, strict=True):
            each.__traceback__, each.__cause__, each.__suppress_context__ = lines, reason, suppressed
    return [*shown, LEFT_OUT] if len(shown) < len(whole) else whole


def _repeats(outer: BaseException, inner: NotebookKitError) -> bool:
    """Whether the message of an error contains that of its cause. A reader's own error may fail to say either."""
    try:
        return bool(inner.what) and inner.what in str(outer)
    except Exception:
        return False


def _of_the_reader(lines: TracebackType | None) -> TracebackType | None:
    """The same traceback without the lines of this package and of the packages that it calls.

    A reader's function that this package calls (a metric, a callback) stays, and so does all that comes before this package.
    """
    steps = []
    while lines is not None:
        steps.append(lines)
        lines = lines.tb_next
    inside, kept = False, []
    for step in steps:
        inside = inside or _is_ours(step)
        if not inside or not (_is_ours(step) or _is_installed(step)):
            kept.append(step)
    for step in reversed(kept or steps[-1:]):
        lines = TracebackType(lines, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return lines


def _is_ours(step: TracebackType) -> bool:
    return str(step.tb_frame.f_globals.get("__name__")).partition(".")[0] == "notebook_kit"


def _is_installed(step: TracebackType) -> bool:
    """Whether this line belongs to an installed package or to Python itself."""
    path = step.tb_frame.f_code.co_filename
    return path.startswith("<frozen") or any(path.startswith(f"{folder}{os.sep}") for folder in _INSTALLED)


_INSTALLED = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


class InputError(NotebookKitError, ValueError):
    """An argument or an input that cannot be used."""


class PipelineInputError(InputError):
    """Some inputs of a pipeline failed; the others are not lost.

    Attributes:
        errors: Position (from 0) of each input that failed -> what it raised.
        positions: Those positions.
        results: For a list of inputs, one result per input, None for those that failed; otherwise empty.
    """

    def __init__(
        self,
        what: str,
        *,
        next_step: str = "",
        errors: dict[int, Exception] | None = None,
        results: list | None = None,
    ) -> None:
        super().__init__(what, next_step=next_step)
        self.errors = errors or {}
        self.results = results or []

    @property
    def positions(self) -> tuple[int, ...]:
        return tuple(self.errors)


class ConfigurationError(NotebookKitError, ValueError):
    """A configuration with a misspelled, missing or contradictory field."""


class CheckpointError(NotebookKitError, OSError):
    """Weights or other checkpoint files that are missing, damaged, or do not fit the model."""

    __str__ = NotebookKitError.__str__


class MissingVocabularyError(CheckpointError):
    """A checkpoint has no vocabulary from which its tokenizer could be built."""


class UnsafeFileError(CheckpointError):
    """A file that would run code or escape its folder if it were read naively. It was not read."""


class UnknownArchitectureError(NotebookKitError, ValueError):
    """A checkpoint with an architecture that notebook_kit lacks, or a head that its family lacks."""


class UnknownAttributeError(NotebookKitError, AttributeError):
    """An object has no attribute of this name; the message ends with the near matches.

    They are searched only when the message is shown, since `hasattr` and `copy` cause this error often.

    Args:
        what: A sentence that says so.
        name: The name.
        known: The names that exist.

    Example:
        >>> print(UnknownAttributeError("BertConfig has no field 'hiden_size'.", "hiden_size", ["hidden_size", "pad_token_id"]))
        BertConfig has no field 'hiden_size'. Did you mean 'hidden_size'?
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        super().__init__(what)
        self.wanted, self.known = name, known
        self.name, self.obj = name, None  # with an object the interpreter would append a suggestion too

    def __str__(self) -> str:
        known = [name for name in self.known if self.wanted.startswith("_") or not name.startswith("_")]
        return f"{self.what} {near_matches(self.wanted, known)}".rstrip()


class ListsNearMatches:
    """A base whose error about a missing attribute lists near matches; notebooks show no others.

    Example:
        >>> class Recipe(ListsNearMatches):
        ...     flour = 500
        >>> Recipe().flower
        Traceback (most recent call last):
        notebook_kit.errors.UnknownAttributeError: 'Recipe' object has no attribute 'flower'. Did you mean 'flour'?
    """

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):
            return object.__getattribute__(self, name)  # a property failed: raise its own error
        known = sorted(set(object.__dir__(self)))  # a `__dir__` of a subclass may look up what is missing
        raise UnknownAttributeError(f"{type(self).__name__!r} object has no attribute {name!r}.", name, known)


class HubError(NotebookKitError, OSError):
    """The Hub could not provide what was requested."""

    __str__ = NotebookKitError.__str__


class RepoNotFoundError(HubError):
    """No such folder, embedded checkpoint, cached checkpoint, or repository on the Hub."""


class GatedRepoError(HubError):
    """The repository exists, but requires a token or accepting its terms."""


class RevisionNotFoundError(HubError):
    """The repository has no such branch, tag or commit."""


class HubUnreachableError(HubError):
    """The Hub did not answer, and what was requested is not on this machine."""


class NonFiniteLossError(NotebookKitError, ArithmeticError):
    """The loss or the gradient of an update is NaN or infinite. The update was not made.

    Attributes:
        step: The step of the update, from 1.
        rows: The positions of its examples in the dataset; empty if unknown.
    """

    def __init__(self, what: str, *, next_step: str = "", step: int = 0, rows: list[int] | None = None) -> None:
        super().__init__(what, next_step=next_step)
        self.step = step
        self.rows = rows or []


class RunTimeoutError(NotebookKitError, TimeoutError):
    """A run takes longer than the given time limit for waiting."""

    __str__ = NotebookKitError.__str__


class MissingDependencyError(NotebookKitError, ImportError):
    """A feature that needs a package that is not installed."""


class NotebookKitWarning(UserWarning):
    """Something worked, though perhaps not as intended."""


def a_kind(value: object, starts: bool = False) -> str:
    """The class of a value with its article, as messages name what was given.

    Args:
        value: What was given.
        starts: Whether it is the start of a sentence.

    Example:
        >>> a_kind(3), a_kind("three", starts=True), a_kind(None)
        ('an int', 'A str', 'None')
    """
    if value is None:
        return "None"
    name = type(value).__name__
    article = "an" if name[0] in "aeioAEIO" or name == "ndarray" else "a"
    return f"{article.capitalize() if starts else article} {name}"


def near_matches(name: str, known: Iterable[str], most: int = 5) -> str:
    """A sentence with the known names that `name` resembles, or an empty string.

    Example:
        >>> near_matches("sentiment-analyses", ["sentiment-analysis", "fill-mask"])
        "Did you mean 'sentiment-analysis'?"
    """
    folded: dict[str, list[str]] = {}
    for option in known:
        folded.setdefault(option.lower(), []).append(option)
    close = difflib.get_close_matches(name.lower(), folded, n=most, cutoff=0.6)
    likeness = [difflib.SequenceMatcher(None, name.lower(), option).ratio() for option in close]
    # beside a name with one slip, names that only begin alike are no help
    close = [option for option, ratio in zip(close, likeness, strict=True) if ratio >= likeness[0] - 0.1]
    if not close:
        close = [option for option in folded if name.lower() in option or option.rpartition("/")[2] == name.lower()]
    # of options that differ in case only, the one written most like `name` first
    options = [each for key in close for each in difflib.get_close_matches(name, folded[key], n=most, cutoff=0)]
    return "Did you mean " + " or ".join(map(repr, options[:most])) + "?" if options else ""


_NOT_YET = {
    "Flax": r"Flax[A-Z]",
    "video": r"(?i).*video",
    "this task or model for pictures with texts": r"(?i).*(image-?text|image-?to-?text|vision-?text|vqa"
    r"|visual-?question|zero-?shot-?(image|object))|(?i:Blip|CLIP|Donut|LayoutLMv|Llava|Siglip|Vilt)",
    "this task or model for pictures": r"(?i).*(image|vision|depth-?estimation|object-?detection|segmentation|keypoint"
    r"|mask-?generation)|DINOv3|ConvNextV2|(Conditional|Deformable)Detr|Swinv2|Beit",
    "speech synthesis and music": r"(?i).*(text-?to-?(audio|speech|waveform|spectrogram)|vocoder|hifi-?gan|musicgen|vits|bark)",
    "this task or model for sound": r"(?i).*(audio|speech|ForCTC|wavlm|unispeech|encodec|clap|wav2vec2-?(bert|conformer))",
}
"""What notebook_kit does not support yet -> a pattern of the names that `transformers` has for it."""


def not_yet(name: str, known: Iterable[str] = ()) -> str:
    """A sentence about what a name of `transformers` is for, if notebook_kit does not support that yet; otherwise "".

    Args:
        name: The name.
        known: Names that exist: a slip for one of them, such as `WhisperTokeniser`, is not for something unsupported.

    Example:
        >>> not_yet("AutoModelForVideoClassification"), not_yet("AutoTokeniser")
        ('notebook_kit does not support video yet.', '')
        >>> not_yet("AutoImageProcesor", ["AutoImageProcessor"])
        ''
    """
    of_torch = re.sub(r"^TF(?=[A-Z])", "", name)  # a model's name in TensorFlow
    for what, pattern in _NOT_YET.items():
        if re.match(pattern, of_torch):
            alike = [other for other in known if re.match(pattern, other)]
            similar = difflib.get_close_matches(name, alike, n=1, cutoff=0.85)
            is_slip = similar and (_slip_in_head(name, similar[0]) or _slip_in_stem(name, similar[0]))
            return "" if is_slip else f"notebook_kit does not support {what} yet."
    return ""


def _slip_in_stem(name: str, known: str) -> bool:
    """Whether two names differ by a slip before the head. (`Swinv2` and `Blip2` are other families than `Swin` and `Blip`.)"""
    if re.sub(r"v?\d+$", "", _stem(name), flags=re.IGNORECASE) == _stem(known) != _stem(name):
        return False
    return bool(difflib.get_close_matches(_stem(name), [_stem(known)], cutoff=0.8))


def _slip_in_head(name: str, known: str) -> bool:
    """Whether a name begins as a known one up to its head, which is misspelled: `AutoImageProcesor`. (Another family, such as
    `Swinv2ForImageClassification`, differs before the head.)"""
    return name.startswith(known[: len(_stem(known)) + 1])


def _stem(name: str) -> str:
    """A class's name without its head: `"Llava"` of `"LlavaForConditionalGeneration"`."""
    return re.split(r"(?=For[A-Z]|Model|Config|Processor)", name, maxsplit=1)[0] or name


def is_from_import(frame: Any) -> bool:
    """Whether `frame` is at a `from package import name`, in which Python hides the message of an AttributeError.

    Example:
        >>> is_from_import(sys._getframe())
        False
    """
    from dis import opmap

    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == opmap["IMPORT_FROM"]


_LIBRARIES = {"notebook_kit", "torch", "accelerate", "contextlib", "functools"}


def warn(message: str, category: type[Warning] = NotebookKitWarning) -> None:
    """Issue a warning for the line of the user's code that called this library, however deep inside it the cause lies.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn("This may not be what you want.")
        >>> caught[0].message
        NotebookKitWarning('This may not be what you want.')
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def notice(message: str) -> None:
    """Log one line with the level WARNING, which is shown by default, through the logger "notebook_kit".

    Example:
        >>> import logging
        >>> logging.getLogger("notebook_kit").setLevel(logging.ERROR)  # hides notices
        >>> notice("This is not shown.")
        >>> logging.getLogger("notebook_kit").setLevel(logging.NOTSET)
    """
    logging.getLogger("notebook_kit").warning(message)


@functools.cache
def notice_once(message: str) -> None:
    """A `notice` that appears once per process.

    Example:
        >>> import logging
        >>> logging.getLogger("notebook_kit").setLevel(logging.ERROR)  # hides notices
        >>> notice_once("This is not shown, now and later.")
        >>> logging.getLogger("notebook_kit").setLevel(logging.NOTSET)
    """
    notice(message)
