"""ModelPicker: find a model in the zoo, the cache and on the Hub, load it, try it, and hand it on to other panels."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, ClassVar

import traitlets

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.hub.catalog import FoundModel, free_memory
from notebook_kit.hub.client import Client, DownloadStopped, Token
from notebook_kit.hub.details import ModelDetails, delete_cached, model_details
from notebook_kit.hub.search import SORTS, Query
from notebook_kit.panels.model_picker.linking import check_takes_models, hand_on
from notebook_kit.panels.model_picker.loading import Load
from notebook_kit.panels.model_picker.searches import Searches, page_of, row_of
from notebook_kit.panels.model_picker.still import ShownModels, face_of, table_of
from notebook_kit.panels.model_picker.trying import fields_of, tried
from notebook_kit.panels.panel import Answer, Face, Panel, described, slow
from notebook_kit.registry.tasks import TASKS, task_name

__all__ = ["ModelPicker"]

logger = logging.getLogger("notebook_kit")

KEPT_DETAILS = 100
LONGEST_CONFIG = 20_000
MOST_LABELS = 200


class ModelPicker(Panel):
    """Finds models in the zoo, in the cache and on the Hub at once; loads one, with a progress bar that can be cancelled.

    Nothing is fetched from the Hub before the panel is on the screen or `table` is called, and of a model nothing but
    its card and configuration before it is loaded. With no network it shows what is on this machine.

    Args:
        task: Show models for this task only, such as "fill-mask"; aliases such as "ner" are understood. None for all.
        token: For the Hub; None for the saved one or `HF_TOKEN`, False for none. It is kept in this object alone.
        cache_dir: The cache; by default the Hub's own.
        **traits: Start values of the traits below.

    Attributes:
        task (str): The task that is shown; "" for all, as at first.
        text (str): Words in the name; "" at first.
        language (str): A code such as "te"; "" for all.
        licence (str): Such as "apache-2.0"; "" for all.
        max_bytes (int): The largest size of the files; 0 for any.
        runs_here (bool): Only what notebook_kit can load and what fits into the free memory; False at first.
        sort (str): "downloads" (at first), "likes", "date", "name" or "size".
        selected (str): The model that is looked at; "" at first.
        picked (str or None): The model that was loaded last; None at first. Observe it to follow what is picked.
            (`model_id` is ipywidgets' own name for a widget's number.)
        pipeline: The loaded pipeline, or None. (An attribute, not a trait.)

    Raises:
        InputError: The task or the order is unknown.

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
    workers: ClassVar[int] = 6  # a Hub that is slow with one answer must not keep the others waiting

    task = traitlets.Unicode("", help="The task that is shown.").tag(sync=True)
    text = traitlets.Unicode("", help="Words of the name.").tag(sync=True)
    language = traitlets.Unicode("", help="A language's code.").tag(sync=True)
    licence = traitlets.Unicode("", help="A licence's code.").tag(sync=True)
    max_bytes = traitlets.Int(0, min=0, help="The largest size; 0 for any.").tag(sync=True)
    runs_here = traitlets.Bool(False, help="Only what can run here.").tag(sync=True)
    sort = traitlets.Enum(SORTS, "downloads", help="The order.").tag(sync=True)
    selected = traitlets.Unicode("", help="The model that is looked at.").tag(sync=True)
    picked = traitlets.Unicode(None, allow_none=True, help="The model that is loaded.").tag(sync=True)

    _tasks: traitlets.List[Any] = traitlets.List().tag(sync=True)
    _loading = traitlets.Dict().tag(sync=True)  # the load under way: {id, stage, done, total}
    _loaded = traitlets.Dict().tag(sync=True)  # what the page needs to let it be tried: {id, task, fields, mask}
    _problem = traitlets.Dict().tag(sync=True)  # why the last load failed: {what, next_step}
    _linked = traitlets.Int(0).tag(sync=True)
    _cache = traitlets.Int(0).tag(sync=True)  # counts what has changed in the cache

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
        Query(sort=traits.get("sort", "downloads"))
        Client("", token)  # checks the token
        self._token, self._cache_dir = token, cache_dir
        self.pipeline: Any = None
        self._searches = Searches(token, cache_dir)
        self._details: OrderedDict[str, ModelDetails] = OrderedDict()
        self._guard = threading.RLock()
        self._load: Load | None = None
        self._panels: list[Any] = []
        super().__init__(**{**traits, "task": task or ""}, _tasks=list(TASKS))

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in ("task", "text", "picked") if getattr(self, name)]
        return f"ModelPicker({', '.join(shown)})"

    # Finding -----------------------------------------------------------------------------------------------------

    def _query(self) -> Query:
        return Query(
            self.text, self.task, self.language, self.licence, self.max_bytes or None, self.runs_here, self.sort
        )

    def found(self) -> list[FoundModel]:
        """What has been found so far, in the order that is shown."""
        _, search = self._searches.search(self._query())
        return [search.models[place] for place in search.ordered(self.sort)]

    def table(self) -> Any:
        """What has been found so far as a pandas DataFrame, one row per model, in the order shown.

        If nothing has been asked yet, the first page is. Columns: those of `notebook_kit.hub.catalog.FoundModel`, then
        `supported`, `why` (the reason if it is not), `memory_float32` and `memory_bfloat16` (bytes of the weights), and
        `fits` (whether it fits into the free memory as float32; None if unknown).
        """
        _, search = self._searches.search(self._query())
        if not search.scanned and not search.is_done:
            search.more()
        return table_of(self.found(), search.room)

    def details(self, model_id: str) -> ModelDetails:
        """All there is to know of a model before it is loaded.

        Args:
            model_id: Its name.

        Raises:
            HubError: It is not on this machine, and the Hub does not give it.
        """
        return model_details(model_id, self._token, self._cache_dir, self.check_cancelled)

    # Answers to the page -----------------------------------------------------------------------------------------

    @slow
    def answer_search(self, values: dict[str, Any]) -> Answer:
        """Begin a search, or go back to one: what is on this machine, and what has been found before."""
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
        if values.get("anew") and search.problem is not None:
            self._searches.forget(key)
            key, search = self._searches.search(query)
        return Answer(page_of(key, search, 0, sort))

    @slow
    def answer_more(self, values: dict[str, Any]) -> Answer:
        """Go on with a search: `of`, and from which row on the page has nothing."""
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
        """All about one model: `id`."""
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
        free = free_memory()
        room = max(free.values(), default=None)
        config = json.dumps(kept.config, indent=2, ensure_ascii=False, default=str)
        return Answer(
            {
                "row": row_of(kept.model, room),
                "summary": kept.summary,
                "config": config if len(config) <= LONGEST_CONFIG else config[:LONGEST_CONFIG] + "\n…",
                "labels": [label[:200] for label in kept.labels[:MOST_LABELS]],
                "label_count": len(kept.labels),
                "files": [list(file) for file in kept.files],
                "problem": described(kept.problem) if kept.problem else None,
                "free": free,
            }
        )

    def answer_load(self, values: dict[str, Any]) -> Answer:
        """Start to load a model: `id`, and its `task` or None. Traits report the progress."""
        task = values.get("task")
        load = self._begin(str(values.get("id", "")), str(task) if task in TASKS else None, {})
        threading.Thread(target=self._run, args=(load,), name="notebook_kit-load", daemon=True).start()
        return Answer({})

    def answer_stop(self, values: dict[str, Any]) -> Answer:
        """Give up the load that is under way."""
        self.cancel()
        return Answer({})

    @slow
    def answer_delete(self, values: dict[str, Any]) -> Answer:
        """Remove a model from the cache: `id`. The page has asked whether that is meant."""
        return Answer({"freed": self.delete(str(values.get("id", "")))})

    @slow
    def answer_try(self, values: dict[str, Any]) -> Answer:
        """Try the loaded model on what was typed: `values`, by field."""
        if self.pipeline is None:
            raise InputError("No model is loaded.", next_step="Choose one and load it.")
        given = values.get("values")
        return Answer(tried(self.pipeline, given if isinstance(given, dict) else {}))

    # Loading -----------------------------------------------------------------------------------------------------

    def load(self, model_id: str, task: str | None = None, **options: Any) -> Any:
        """Load a model as a press of the panel's button does, and wait for it.

        Args:
            model_id: Its name.
            task: The pipeline's task; by default the checkpoint's own.
            **options: More arguments of `notebook_kit.pipeline`, such as `dtype="bfloat16"`.

        Returns:
            The pipeline, which is also in `pipeline`.

        Raises:
            HubError, CheckpointError, UnknownArchitectureError, InputError: As `notebook_kit.pipeline`.
        """
        return self._run(self._begin(model_id, task, options), raises=True)

    def cancel(self) -> None:
        """Give up the load that is under way, if there is one. The model that was loaded before stays."""
        with self._guard:
            load, self._load = self._load, None
        if load is not None:
            load.stop()
            self._loading = {}

    def _begin(self, model_id: str, task: str | None, options: dict[str, Any]) -> Load:
        self.cancel()

        def tell(progress: dict[str, Any]) -> None:
            if self._load is load:
                self._loading = progress

        load = Load(model_id, task, self._token, self._cache_dir, options, tell)
        with self._guard:
            self._load = load
        with self.hold_sync():
            self._problem = {}
            self._loading = {"id": model_id, "stage": "fetch", "done": 0, "total": 0}
        return load

    def _run(self, load: Load, raises: bool = False) -> Any:
        try:
            made = load.run()
        except Exception as error:
            if isinstance(error, DownloadStopped):
                self._on_cache(load.model_id)
            elif not isinstance(error, NotebookKitError):
                logger.exception("%s could not be loaded", load.model_id)
            self._settle(load, problem={} if isinstance(error, DownloadStopped) else described(error))
            if raises:
                raise
            return None
        if self._settle(load, made=made):
            self._on_cache(load.model_id)
            for panel in list(self._panels):
                hand_on(made, panel)
        return made

    def _settle(self, load: Load, made: Any = None, problem: dict[str, str] | None = None) -> bool:
        """Say how a load ended, unless another has taken its place."""
        with self._guard:
            if self._load is not load:
                return False
            self._load = None
        with self.hold_sync():
            self._loading = {}
            self._problem = problem or {}
            if made is not None:
                self.pipeline = made
                mask = (
                    getattr(getattr(made, "tokenizer", None), "mask_token", None) if made.task == "fill-mask" else None
                )
                self._loaded = {
                    "id": load.model_id,
                    "task": str(made.task),
                    "fields": fields_of(made),
                    "mask": str(mask or ""),
                }
                self.picked = load.model_id
        return True

    def delete(self, model_id: str) -> int:
        """Remove a model from the cache. One that is loaded goes on working.

        Args:
            model_id: Its name.

        Returns:
            The bytes that this freed.

        Raises:
            InputError: The cache has no such model, or it is being loaded.
        """
        load = self._load
        if load is not None and load.model_id == model_id:
            raise InputError(f"{model_id} is being loaded.", next_step="Cancel that first.")
        freed = delete_cached(model_id, self._cache_dir)
        self._on_cache(model_id)
        return freed

    def _on_cache(self, model_id: str) -> None:
        """Forget what was known of a model, as something in the cache has changed."""
        with self._guard:
            self._details.pop(model_id, None)
        self._searches.forget()
        self._cache += 1

    # Handing on --------------------------------------------------------------------------------------------------

    def link(self, *panels: Any) -> ModelPicker:
        """Give each model that is loaded here to other panels as well, and the present one at once.

        Args:
            *panels: A `TokenInspector` (which looks into its tokenizer), an `AttentionView`, or anything with a method
                `use(pipeline)`. Their texts stay. A panel that cannot use a model shows why.

        Returns:
            This picker.

        Raises:
            InputError: Something does not take models; then nothing is linked.
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
        """Stop giving models to panels. What they show stays.

        Args:
            *panels: Which; all if none is named.

        Returns:
            This picker.
        """
        self._panels = [one for one in self._panels if panels and not any(one is panel for panel in panels)]
        self._linked = len(self._panels)
        return self

    # Without a kernel --------------------------------------------------------------------------------------------

    def offline_questions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What has been found so far, and the details that were looked at."""
        yield "search", self._asked()
        with self._guard:
            looked_at = list(self._details)
        if self.selected and self.selected not in looked_at:
            looked_at.append(self.selected)
        for model_id in looked_at:
            try:
                self.answer_details({"id": model_id})
            except NotebookKitError:
                continue  # the page reports it when it is asked
            yield "details", {"id": model_id}

    def _asked(self) -> dict[str, Any]:
        """What the page asks while the traits are as they are; `question` in `query.js` is the same."""
        return {
            **{name: getattr(self, name) for name in ("text", "task", "language", "licence")},
            **{name: getattr(self, name) for name in ("max_bytes", "runs_here", "sort")},
        }

    def face(self) -> Face:
        """What has been found so far, as a table."""
        narrowed = [value for value in (self.text, self.task, self.language, self.licence) if value]
        return face_of(ShownModels(self.found(), self.picked, narrowed), self.word)
