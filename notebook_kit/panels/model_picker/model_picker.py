"""ModelPicker: find a model in the zoo, the cache and on the Hub, load it, try it, and pass it to other panels."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import traitlets

from notebook_kit import zoo
from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.hub.catalog import FoundModel, free_memory
from notebook_kit.hub.client import Client, DownloadStopped, Token
from notebook_kit.hub.details import ModelDetails, delete_cached, model_details
from notebook_kit.hub.search import SORTS, Query
from notebook_kit.panels import busy
from notebook_kit.panels.ending import EndingThread
from notebook_kit.panels.model_picker.answers import details_of, page_of
from notebook_kit.panels.model_picker.contents import LARGEST
from notebook_kit.panels.model_picker.linking import check_takes_models, hand_on
from notebook_kit.panels.model_picker.loading import Load
from notebook_kit.panels.model_picker.searches import Searches
from notebook_kit.panels.model_picker.still import ShownModels, face_of, table_of
from notebook_kit.panels.model_picker.trying import answer_of, fields_of, samples_of
from notebook_kit.panels.panel import Answer, Face, Panel, described, slow
from notebook_kit.registry.tasks import TASKS, task_name

__all__ = ["ModelPicker"]

logger = logging.getLogger("notebook_kit")

KEPT_DETAILS = 100  # models whose details are cached
QUESTION = (
    "text",
    "task",
    "language",
    "licence",
    "max_bytes",
    "runs_here",
    "sort",
)  # the traits that a search depends on


class ModelPicker(Panel):
    """Searches the zoo, the cache and the Hub at once, and loads a model with a progress bar and a cancel button.

    Nothing is fetched from the Hub until the panel is displayed or `table` is called, and only the card and the configuration of
    a model until it is loaded. Without a network, the panel shows the models on this machine.

    Args:
        task: Show only models for this task, such as "fill-mask"; aliases such as "ner" are accepted. None for all.
        token: Access token for the Hub; None for the saved token or `HF_TOKEN`, False for no token. It is stored only in
            this object.
        cache_dir: The cache folder; by default the Hub's own.
        **traits: Initial values of the traits below.

    Attributes:
        task (str): The task to show; "" for all. Initially "".
        text (str): Words in the model's name, initially "".
        language (str): A language code such as "te"; "" for all.
        licence (str): A licence code such as "apache-2.0"; "" for all.
        max_bytes (int): Maximum size of the files; 0 for any.
        runs_here (bool): Show only models that notebook_kit can load and that fit into free memory. Initially False.
        sort (str): "downloads" (the default), "likes", "date", "name" or "size".
        selected (str): The model whose details are shown, initially "".
        picked (str or None): The model that was loaded last, initially None. Observe it to react to a new model.
            (ipywidgets already uses the name `model_id`.)
        pipeline: The loaded pipeline, or None. (An attribute, not a trait.)

    Raises:
        InputError: The task or the sort order is unknown.

    Example:
        >>> import os
        >>> os.environ["HF_HUB_OFFLINE"] = "1"
        >>> picker = ModelPicker(task="sentiment-analysis", text="tiny")
        >>> picker.table()[["id", "source", "parameters"]]
                                id source  parameters
        0  notebook-kit/tiny-sentiment    zoo     3942146
        >>> picker.load("notebook-kit/tiny-sentiment")("A warm and funny film.")[0]["label"], picker.picked
        ('POSITIVE', 'notebook-kit/tiny-sentiment')
    """

    name: ClassVar[str] = "model_picker"
    workers: ClassVar[int] = 6  # so that one slow answer from the Hub does not block the others

    task = traitlets.Unicode("", help='The task to show; "" for all.').tag(sync=True)
    text = traitlets.Unicode("", help="Words in the model's name.").tag(sync=True)
    language = traitlets.Unicode("", help="A language code.").tag(sync=True)
    licence = traitlets.Unicode("", help="A licence code.").tag(sync=True)
    max_bytes = traitlets.Int(0, min=0, help="Maximum size of the files; 0 for any.").tag(sync=True)
    runs_here = traitlets.Bool(False, help="Only models that can run here.").tag(sync=True)
    sort = traitlets.Enum(SORTS, "downloads", help="The sort order.").tag(sync=True)
    selected = traitlets.Unicode("", help="The model whose details are shown.").tag(sync=True)
    picked = traitlets.Unicode(None, allow_none=True, help="The model that was loaded last.").tag(sync=True)

    _tasks: traitlets.List[Any] = traitlets.List().tag(sync=True)
    _loading = traitlets.Dict().tag(sync=True)  # the load in progress: {id, stage, done, total}
    _loaded = traitlets.Dict().tag(
        sync=True
    )  # what the page needs for trying the model: {id, task, fields, mask, samples}
    _problem = traitlets.Dict().tag(sync=True)  # why the last load failed: {what, next_step}
    _linked = traitlets.Int(0).tag(sync=True)
    _cache = traitlets.Int(0).tag(sync=True)  # counts changes of the cache
    # The models on this machine, for a page whose questions wait for running cells.
    _first = traitlets.Dict().tag(sync=True, to_json=lambda value, picker: picker._first_answers())

    def __init__(
        self,
        task: str | None = None,
        *,
        token: Token = None,
        cache_dir: str | os.PathLike[str] | None = None,
        **traits: Any,
    ) -> None:
        if task is not None:
            task = task_name(task) if task else ""
        Query(sort=traits.get("sort", "downloads"))  # checks the order
        Client("", token)  # checks the token
        if cache_dir is not None and not isinstance(cache_dir, str | os.PathLike):
            raise InputError(f"{cache_dir!r:.60} is not a folder.", next_step="Pass the path of a cache.")
        self._token, self._cache_dir = token, cache_dir
        self.pipeline: Any = None
        self._searches = Searches(token, cache_dir)
        self._details: OrderedDict[str, ModelDetails] = OrderedDict()
        self._guard = threading.RLock()
        self._load: Load | None = None
        self._panels: list[Any] = []
        self._is_displayed = False
        super().__init__(**{**traits, "task": task or ""}, _tasks=list(TASKS))

    def opened(self) -> None:
        busy.hear(self)

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in ("task", "text", "picked") if getattr(self, name)]
        return f"ModelPicker({', '.join(shown)})"

    # Finding -----------------------------------------------------------------------------------------------------

    def _query(self) -> Query:
        return Query(
            self.text, self.task, self.language, self.licence, self.max_bytes or None, self.runs_here, self.sort
        )

    def found(self) -> list[FoundModel]:
        """The models found so far, in the order shown."""
        _, search = self._searches.search(self._query())
        return [search.models[place] for place in search.ordered(self.sort)]

    def table(self) -> Any:
        """The models found so far as a pandas DataFrame, one row per model, in the order shown.

        If the search has not started, this fetches its first page. Columns: those of `notebook_kit.hub.catalog.FoundModel`, then
        `supported`, `why` (the reason if it is not), `memory_float32` and `memory_bfloat16` (bytes of the weights), and
        `fits` (whether the weights fit into free memory as float32; None if unknown).
        """
        _, search = self._searches.search(self._query())
        if not search.scanned and not search.is_done:
            search.more()
        return table_of(self.found(), search.room)

    def details(self, model_id: str) -> ModelDetails:
        """Everything known about a model before it is loaded.

        Args:
            model_id: The model's name.

        Raises:
            HubError: The model is not on this machine, and the Hub does not provide it.
        """
        return model_details(_checked_name(model_id), self._token, self._cache_dir, self.check_cancelled)

    # Answers to the page -----------------------------------------------------------------------------------------

    @slow
    def answer_search(self, values: dict[str, Any]) -> Answer:
        """Start a search or return to an earlier one: the models on this machine, and those found before."""
        sort = str(values.get("sort", "downloads"))
        query = Query(
            text=str(values.get("text", "")),
            task=str(values.get("task", "")),
            language=str(values.get("language", "")).strip().lower(),
            licence=str(values.get("licence", "")).strip().lower(),
            max_bytes=int(values.get("max_bytes") or 0) or None,
            runs_here=bool(values.get("runs_here")),
            sort=sort,
        )
        key, search = self._searches.search(query)
        if values.get("retry") and search.problem is not None:
            self._searches.forget(key)
            key, search = self._searches.search(query)
        return Answer(page_of(key, search, 0, sort))

    @slow
    def answer_more(self, values: dict[str, Any]) -> Answer:
        """Continue the search with the key `of`; `from` is the first row that the page lacks."""
        key = str(values.get("of"))
        search = self._searches.get(key)
        if search is None:
            return Answer({"of": key, "gone": True})
        first = int(values.get("from", 0))
        if first >= len(search.models):
            search.more(check=self.check_cancelled)
        return Answer(page_of(key, search, first, str(values.get("sort", "downloads"))))

    @slow
    def answer_details(self, values: dict[str, Any]) -> Answer:
        """The details of the model `id`."""
        model_id = str(values.get("id", ""))
        with self._guard:
            kept = self._details.get(model_id)
        if kept is None:
            kept = self.details(model_id)
            with self._guard:
                if kept.problem is None:
                    self._details[model_id] = kept
                while len(self._details) > KEPT_DETAILS:
                    self._details.popitem(last=False)
        return Answer(details_of(kept, free_memory()))

    def answer_load(self, values: dict[str, Any]) -> Answer:
        """Start loading the model `id` for a `task` or None. Traits report the progress."""
        task = values.get("task")
        load = self._begin(str(values.get("id", "")), str(task) if task in TASKS else None, {})
        EndingThread(partial(self._run, load), "notebook_kit-load", self.cancel).start()
        return Answer({})

    def answer_stop(self, values: dict[str, Any]) -> Answer:
        """Cancel the load in progress."""
        self.cancel()
        return Answer({})

    @slow
    def answer_delete(self, values: dict[str, Any]) -> Answer:
        """Delete the model `id` from the cache. The page has already asked for confirmation."""
        return Answer({"freed": self.delete(str(values.get("id", "")))})

    @slow
    def answer_try(self, values: dict[str, Any], buffers: Sequence[Any] = ()) -> Answer:
        """Run the loaded model on the typed or chosen input: `values`, by field; the first buffer is an uploaded file."""
        if self.pipeline is None:
            raise InputError("No model is loaded.", next_step="Choose one and load it.")
        typed = values.get("values")
        return answer_of(self.pipeline, typed if isinstance(typed, dict) else {}, buffers)

    def _first_answers(self) -> dict[str, Any]:
        """The answers to the first questions of a page, as far as they need no network; {} if there are none."""
        try:
            # Before it is displayed, its search has not begun: the cache may still change.
            searches = self._searches if self._is_displayed else Searches(self._token, self._cache_dir)
            key, search = searches.search(self._query())
            found = page_of(key, search, 0, self.sort)
            first: dict[str, Any] = {"ask": self._question(), "cache": self._cache, "search": found}
            if zoo.folder(self.selected) is not None:
                first["details"] = self.answer_details({"id": self.selected}).values
        except Exception:  # the page asks again, and shows the error
            logger.debug("no first answers", exc_info=True)
            return {}
        return first

    # Loading -----------------------------------------------------------------------------------------------------

    def load(self, model_id: str, task: str | None = None, **options: Any) -> Any:
        """Load a model, as the panel's button does, and wait for it.

        Args:
            model_id: The model's name.
            task: The pipeline's task; by default that of the checkpoint.
            **options: Further arguments of `notebook_kit.pipeline`, such as `dtype="bfloat16"`.

        Returns:
            The pipeline, also available as the attribute `pipeline`.

        Raises:
            HubError, CheckpointError, UnknownArchitectureError, InputError: As raised by `notebook_kit.pipeline`.
        """
        if task is not None:
            task_name(task)
        return self._run(self._begin(_checked_name(model_id), task, options), raises=True)

    def cancel(self) -> None:
        """Cancel the load in progress, if any. The previously loaded model remains available."""
        with self._guard:
            load, self._load = self._load, None
        if load is not None:
            load.stop()
            self._loading = {}

    def _begin(self, model_id: str, task: str | None, options: dict[str, Any]) -> Load:
        self.cancel()

        def report(progress: dict[str, Any]) -> None:
            if self._load is load:
                self._loading = progress

        load = Load(model_id, task, self._token, self._cache_dir, options, report)
        with self._guard:
            self._load = load
        with self.hold_sync():
            self._problem = {}
            self._loading = {"id": model_id, "stage": "fetch", "done": 0, "total": 0}
        return load

    def _run(self, load: Load, raises: bool = False) -> Any:
        try:
            pipeline = load.run()
        except Exception as error:
            if isinstance(error, DownloadStopped):
                self._on_cache(load.model_id)
            elif not isinstance(error, NotebookKitError):
                logger.exception("%s could not be loaded", load.model_id)
            self._end_load(load, problem={} if isinstance(error, DownloadStopped) else described(error))
            if raises:
                raise
            return None
        if self._end_load(load, pipeline):
            self._on_cache(load.model_id)
            for panel in list(self._panels):
                hand_on(pipeline, panel)
        return pipeline

    def _end_load(self, load: Load, pipeline: Any = None, problem: dict[str, str] | None = None) -> bool:
        """Publish the result of a load. Returns False, and does nothing, if a newer load has replaced it."""
        with self._guard:
            if self._load is not load:
                return False
            self._load = None
        with self.hold_sync():
            self._loading = {}
            self._problem = problem or {}
            if pipeline is not None:
                self.pipeline = pipeline
                tokenizer = getattr(pipeline, "tokenizer", None) if pipeline.task == "fill-mask" else None
                mask = getattr(tokenizer, "mask_token", None)
                self._loaded = {
                    "id": load.model_id,
                    "task": str(pipeline.task),
                    "fields": fields_of(pipeline),
                    "mask": str(mask or ""),
                    "samples": samples_of(pipeline),
                    "largest": LARGEST,
                }
                self.picked = load.model_id
        return True

    def delete(self, model_id: str) -> int:
        """Delete a model from the cache. If it is loaded, it continues to work.

        Args:
            model_id: The model's name.

        Returns:
            The number of bytes freed.

        Raises:
            InputError: The model is not in the cache, or is being loaded.
        """
        load, model_id = self._load, _checked_name(model_id)
        if load is not None and load.model_id == model_id:
            raise InputError(f"{model_id} is being loaded.", next_step="Cancel the load first.")
        freed = delete_cached(model_id, self._cache_dir)
        self._on_cache(model_id)
        return freed

    def _on_cache(self, model_id: str) -> None:
        """Discard what was stored about a model, because its files in the cache have changed."""
        with self._guard:
            self._details.pop(model_id, None)
        self._searches.forget()
        self._cache += 1

    # Linked panels --------------------------------------------------------------------------------------------------

    def link(self, *panels: Any) -> ModelPicker:
        """Pass each model loaded here to other panels too, starting with the current one.

        Args:
            *panels: A `TokenInspector` (which shows the model's tokenizer), an `AttentionView`, or any object with a method
                `use(pipeline)`. They keep their texts. A panel that cannot use a model shows the reason.

        Returns:
            This picker.

        Raises:
            InputError: An argument does not accept models; then nothing is linked.
        """
        for panel in panels:
            check_takes_models(panel)
        for panel in panels:
            if not any(panel is other for other in self._panels):
                self._panels.append(panel)
                if self.pipeline is not None:
                    hand_on(self.pipeline, panel)
        self._linked = len(self._panels)
        return self

    def unlink(self, *panels: Any) -> ModelPicker:
        """Stop passing models to panels. They keep showing their current model.

        Args:
            *panels: The panels to unlink; all if omitted.

        Returns:
            This picker.
        """
        self._panels = [one for one in self._panels if panels and not any(one is panel for panel in panels)]
        self._linked = len(self._panels)
        return self

    # Without a kernel --------------------------------------------------------------------------------------------

    def offline_questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The models found so far, and the details viewed so far."""
        yield "search", self._question()
        with self._guard:
            viewed = list(self._details)
        if self.selected and self.selected not in viewed:
            viewed.append(self.selected)
        for model_id in viewed:
            try:
                self.answer_details({"id": model_id})
            except NotebookKitError:
                continue  # the page reports it when it is asked
            yield "details", {"id": model_id}

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self._is_displayed = True
        self._first = {"at": time.monotonic()}  # any new value: `_first_answers` replaces it
        return super()._repr_mimebundle_(**kwargs)

    def close(self) -> None:
        """Close the panel, and cancel a load in progress. The loaded pipeline remains."""
        busy.forget(self)
        if getattr(self, "_load", None) is not None:  # missing if the constructor failed
            self.cancel()
        super().close()

    def _question(self) -> dict[str, Any]:
        """The search that the page requests for the current traits; `question` in `query.js` is the same."""
        return {name: getattr(self, name) for name in QUESTION}

    def face(self) -> Face:
        """The models found so far, as a table."""
        narrowed = [value for value in (self.text, self.task, self.language, self.licence) if value]
        return face_of(ShownModels(self.found(), self.picked, narrowed), self.word)


def _checked_name(model_id: Any) -> str:
    """The name of a model, or the path of its folder, as text.

    Raises:
        InputError: It is neither.
    """
    if isinstance(model_id, str | os.PathLike) and str(model_id):
        return os.fspath(model_id)
    raise InputError(
        f"{model_id!r:.60} is not the name of a model.", next_step='Pass one, such as "notebook-kit/tiny-sentiment".'
    )
