"""ModelPicker without a browser: questions and answers against a stand-in Hub, loading, linking, the static face."""

from __future__ import annotations

import json
import threading
import time

import ipywidgets
import pytest
import torch
import traitlets
from hub.conftest import cache, hub  # noqa: F401 - a stand-in Hub, a fresh cache, and a process that believes in both

from notebook_kit.errors import HubError, InputError, RepoNotFoundError
from notebook_kit.hub import cached_models, locate
from notebook_kit.language import strings
from notebook_kit.panels import AttentionView, ModelPicker, TokenInspector, set_language
from notebook_kit.panels.model_picker.loading import Load
from notebook_kit.panels.panel import FACE_BYTES

pytestmark = pytest.mark.usefixtures("one_in_the_zoo")
ZOO = "notebook-kit/tiny-sentiment"
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
TOKEN = "hf_planted_secret_token"


def asker(panel):
    """Ask as the page does."""
    sent = []
    panel.send = lambda content, buffers=None: sent.append(content)
    count = 0

    def ask(kind, **values):
        nonlocal count
        count += 1
        asked = f"view.{count}"
        panel._handle_custom_msg({"nk": asked, "ask": kind, "with": values}, [])
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            for content in list(sent):
                if content["nk"] == asked:
                    json.dumps(content)
                    return content
            threading.Event().wait(0.005)
        raise AssertionError(f"no answer to {kind}")

    return ask


def until(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        threading.Event().wait(0.005)


@pytest.fixture
def stocked(hub):  # noqa: F811
    for number in range(150):
        hub.add(f"many/model-{number:03}", {})
        hub.describe(
            f"many/model-{number:03}", downloads=1000 - number, tags=["safetensors"], config={"model_type": "bert"}
        )
    return hub


@pytest.fixture
def real(hub, minilm):  # noqa: F811
    """A Hub with a model that can be loaded."""
    hub.add("real/minilm", minilm)
    hub.describe("real/minilm", pipeline_tag="feature-extraction", downloads=7)
    return hub


def test_the_page_gets_what_is_here_at_once_and_the_hub_page_by_page(stocked):
    picker = ModelPicker()
    ask = asker(picker)
    first = ask("search", **picker._question())["answer"]
    assert [row["id"] for row in first["rows"]] == [ZOO] and not first["done"] and not stocked.requests
    more = ask("more", **{"of": first["of"], "from": 1, "sort": "downloads"})["answer"]
    assert [row["id"] for row in more["rows"]] == [f"many/model-{number:03}" for number in range(60)]
    again = ask("search", **picker._question())["answer"]  # a page that was reloaded
    assert len(again["rows"]) == 61 and again["of"] == first["of"]
    by_name = ask("search", **{**picker._question(), "sort": "name"})["answer"]
    assert by_name["of"] == first["of"] and by_name["order"][-1] == 0  # "tiny-sentiment" is last
    assert ask("more", **{"of": "never heard of", "from": 0})["answer"]["gone"]


def test_filters_are_traits(stocked):
    picker = ModelPicker("ner", runs_here=True, text=" model ")
    assert picker.task == "token-classification" and picker.found() == []
    picker.task, picker.text = "", "model-149"
    assert picker.table()["id"].tolist() == ["many/model-149"]
    with pytest.raises(InputError, match="fill-mask"):
        ModelPicker("fill-masks")
    with pytest.raises(InputError, match="sorted"):
        ModelPicker(sort="beauty")
    with pytest.raises(traitlets.TraitError):
        picker.sort = "beauty"


def test_table_is_a_frame(stocked, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    frame = ModelPicker().table()
    row = frame.iloc[0]
    assert (row["id"], row["source"], row["fetch_bytes"], row["memory_float32"]) == (ZOO, "zoo", 0, 4 * 3_942_146)
    assert row["supported"] and row["fits"] and row["languages"] == ("en",)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    frame = ModelPicker().table()
    assert len(frame) == 61 and frame["downloads"][1] == 1000 and frame["parameters"].isna().sum() == 60
    empty = ModelPicker(text="nothing like it").table()
    assert len(empty) == 0 and list(empty.columns) == list(frame.columns)


def test_a_hub_that_fails_leaves_what_is_here_and_can_be_tried_again(stocked):
    picker = ModelPicker()
    ask = asker(picker)
    stocked.fault("/api/models", status=500, times=None)
    first = ask("search", **picker._question())["answer"]
    more = ask("more", **{"of": first["of"], "from": 1})["answer"]
    assert more["rows"] == [] and "500" in more["problem"]["what"] and more["done"]
    stocked.faults.clear()
    same = ask("search", **picker._question())["answer"]
    assert same["problem"] is not None
    retried = ask("search", **picker._question(), retry=True)["answer"]
    assert retried["problem"] is None and not retried["done"]


def test_a_slow_hub_does_not_keep_other_questions_waiting(stocked):
    picker = ModelPicker()
    ask = asker(picker)
    first = ask("search", **picker._question())["answer"]
    stocked.fault("/api/models", delay=3.0, times=None)
    picker._handle_custom_msg({"nk": "view.slow", "ask": "more", "with": {"of": first["of"], "from": 1}}, [])
    started = time.monotonic()
    assert ask("details", id=ZOO)["answer"]["labels"] == ["NEGATIVE", "POSITIVE"]
    assert time.monotonic() - started < 2.5


def test_details_say_what_is_wrong_and_the_panel_goes_on(stocked, real):
    picker = ModelPicker()
    ask = asker(picker)
    gone = ask("details", id="many/vanished")["error"]
    assert "vanished" in gone["what"]
    details = ask("details", id="real/minilm")["answer"]
    assert json.loads(details["config"])["model_type"] == "bert" and details["row"]["is_exact"]
    assert {name for name, _ in details["files"]} >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert cached_models() == []


def test_load_fetches_tells_and_hands_over(real):
    picker = ModelPicker()
    told, seen = [], []
    picker.observe(lambda change: told.append(change.new), "_loading")
    picker.observe(lambda change: seen.append((change.new, picker.pipeline is not None)), "picked")
    ask = asker(picker)
    assert "answer" in ask("load", id="real/minilm", task="feature-extraction")
    until(lambda: picker.picked)
    assert seen == [("real/minilm", True)] and picker._loading == {} and picker._problem == {}
    total = max(one.get("total", 0) for one in told)
    here = [name for name in real.files("real/minilm") if locate("real/minilm", local_files_only=True).find(name)]
    assert total == sum(len(real.files("real/minilm")[name]) for name in here)
    assert max(one.get("done", 0) for one in told) <= total and {one.get("stage") for one in told} >= {"fetch", "load"}
    assert ask("try", values={"text": "A warm film."})["answer"]["vector"][1] == 384
    assert picker.table().set_index("id").loc["real/minilm", "source"] == "cache"
    asked = len(real.paths())
    assert picker.load("real/minilm").task == "feature-extraction"
    assert not [path for path in real.paths()[asked:] if "resolve" in path]


def test_progress_comes_at_most_ten_times_a_second(real):
    told = []
    load = Load("real/minilm", report=lambda progress: told.append(time.monotonic()))
    for _ in range(1000):
        load._on_bytes(1)
    assert len(told) <= 2
    load.run()
    assert len(told) <= 5 + 10 * (told[-1] - told[0])


def test_a_cancelled_download_leaves_nothing_and_the_panel_works(real, cache):  # noqa: F811
    real.add("real/minilm", {"model.safetensors": b"\0" * 60_000_000})
    real.fault("model.safetensors", cut_after=30_000_000, stall=20.0, times=None)
    picker = ModelPicker()
    ask = asker(picker)
    ask("load", id="real/minilm", task=None)
    until(lambda: picker._loading.get("done", 0) > 1_000_000)
    load = picker._load
    ask("stop")
    assert picker._loading == {} and load.is_stopped
    real.faults.clear()
    threads = [one for one in threading.enumerate() if one.name == "notebook_kit-load"]
    for thread in threads:
        thread.join(60)
    assert not (cache / "models--real--minilm").exists() and cached_models() == []
    assert picker.picked is None and picker._problem == {} and picker.pipeline is None
    ask("load", id=ZOO, task=None)
    until(lambda: picker.picked == ZOO)


def test_what_was_cached_before_survives_a_cancelled_load(real, cache):  # noqa: F811
    locate("real/minilm").require("config.json")
    load = Load("real/minilm")
    load._report = lambda progress: load.stop() if progress["done"] > 1_000_000 else None
    with pytest.raises(HubError, match="cancelled"):
        load.run()
    blobs = [path for path in (cache / "models--real--minilm" / "blobs").iterdir() if ".incomplete" in path.name]
    assert cached_models() == ["real/minilm"] and blobs == []


def test_a_load_that_fails_says_so(real):
    picker = ModelPicker()
    ask = asker(picker)
    real.add("real/gated", {"config.json": "{}"}, gated=True)
    for name, words in [("real/gone", "real/gone"), ("real/gated", "gated"), (HOSTILE, "There is no folder")]:
        ask("load", id=name, task=None)
        until(lambda: picker._problem)
        assert words in picker._problem["what"] and picker._loading == {}
    with pytest.raises(RepoNotFoundError):
        picker.load("real/gone")
    picker.load(ZOO)
    assert picker._problem == {} and picker.picked == ZOO
    with pytest.raises(RepoNotFoundError):
        picker.load("real/gone")
    assert picker.picked == ZOO and picker.pipeline is not None  # the one before stays


def test_delete(real):
    picker = ModelPicker()
    ask = asker(picker)
    locate("real/minilm").require("model.safetensors")
    assert any(model.source == "cache" for model in picker.found())
    generation = picker._cache
    assert ask("delete", id="real/minilm")["answer"]["freed"] > 40_000_000
    assert cached_models() == [] and picker._cache == generation + 1
    assert [model.source for model in picker.found()] == ["zoo"]
    assert "no model" in ask("delete", id=ZOO)["error"]["what"]


@pytest.mark.parametrize(
    ("task", "values", "kind"),
    [
        ("text-classification", {"text": "good"}, "bars"),
        ("zero-shot-classification", {"text": "good", "labels": "a, b"}, "bars"),
        ("feature-extraction", {"text": "good"}, "vector"),
        ("fill-mask", {"text": "it was [MASK]"}, "bars"),
        ("token-classification", {"text": "it was 🦖 good"}, "spans"),
        ("question-answering", {"question": "was it?", "context": "it was good"}, "spans"),
    ],
)
def test_every_text_task_can_be_tried(cache, tmp_path, task, values, kind):  # noqa: F811
    from notebook_kit import AutoTokenizer, pipeline
    from notebook_kit.models import auto

    heads = {
        "fill-mask": "AutoModelForMaskedLM", "token-classification": "AutoModelForTokenClassification",
        "question-answering": "AutoModelForQuestionAnswering", "feature-extraction": "AutoModel",
    }  # fmt: skip
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] it was good ? a b this example is ."
    (tmp_path / "vocab.txt").write_text(words.replace(" ", "\n"))
    config = auto.AutoConfig.for_model(
        "bert", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=15, num_labels=3
    )
    model = getattr(auto, heads.get(task, "AutoModelForSequenceClassification")).from_config(config)
    picker = ModelPicker()
    picker.pipeline = pipeline(task, model=model.eval(), tokenizer=AutoTokenizer.from_pretrained(tmp_path))
    ask = asker(picker)
    assert kind in ask("try", values=values)["answer"]
    assert "is empty" in ask("try", values={**values, next(iter(values)): "  "})["error"]["what"]
    if task == "fill-mask":
        assert "[MASK]" in ask("try", values={"text": "no gap"})["error"]["next_step"]


def test_a_task_without_text_or_picture_says_so(cache):  # noqa: F811
    class Other:
        task = "custom-task"

    picker = ModelPicker()
    ask = asker(picker)
    assert "No model" in ask("try", values={})["error"]["what"]
    picker.pipeline = Other()
    assert "takes neither text nor a picture" in ask("try", values={"text": "a"})["error"]["what"]


# Linking -----------------------------------------------------------------------------------------------------------


def test_a_picked_model_flows_on(real):
    inspector, view = TokenInspector(), AttentionView()
    inspector.text = view.text = "A warm and funny film."
    picker = ModelPicker()
    assert picker.link(inspector, view) is picker and picker._linked == 2
    picker.load(ZOO)
    assert (
        inspector.names
        and inspector.analysis().tokens[1] == "a"
        and inspector.text == view.text == "A warm and funny film."
    )
    assert view._about["name"].endswith("tiny-sentiment") and not view._answers.is_empty
    vocabulary = inspector._rows[0]["size"]
    picker.load("real/minilm")
    assert inspector._rows[0]["size"] != vocabulary and "minilm" in view._about["name"]
    late = TokenInspector(text="late")
    assert picker.link(late).unlink(view) is picker and picker._linked == 2 and late.names  # the present model, at once
    picker.load(ZOO)
    assert inspector._rows[0]["size"] == vocabulary == late._rows[0]["size"] and "minilm" in view._about["name"]
    assert picker.unlink()._linked == 0


def test_a_panel_that_cannot_use_a_model_says_so_itself(cache):  # noqa: F811
    class Blind:
        task, tokenizer, model = "text-classification", None, torch.nn.Linear(2, 2)

    inspector, view = TokenInspector(text="kept"), AttentionView(text="kept")
    picker = ModelPicker().link(inspector, view)
    picker.load(ZOO)
    assert inspector._notice == {} and inspector.names
    before = list(inspector.names)
    from notebook_kit.panels.model_picker.linking import hand_on

    hand_on(Blind(), inspector)
    hand_on(Blind(), view)
    assert inspector._notice["what"] and view._notice["what"] and inspector.names == before and inspector.text == "kept"
    picker.load(ZOO)
    assert inspector._notice == {} == view._notice


def test_only_what_takes_models_can_be_linked(cache):  # noqa: F811
    picker, taken = ModelPicker(), []
    with pytest.raises(InputError, match="Button"):
        picker.link(TokenInspector(), ipywidgets.Button())
    assert picker._linked == 0

    class Own:
        def use(self, pipeline):
            taken.append(pipeline.task)

    picker.link(Own()).load(ZOO)
    assert taken == ["text-classification"]


# Without a kernel, in other languages, with secrets ------------------------------------------------------------------


def test_face_table_and_file(stocked, tmp_path):
    stocked.add(f"bad/{HOSTILE}", {})
    card = {"license": HOSTILE, "language": HOSTILE}
    facts = {"pipeline_tag": HOSTILE, "config": {"model_type": HOSTILE}, "tags": [HOSTILE, "safetensors"]}
    stocked.describe(f"bad/{HOSTILE}", downloads=5000, cardData=card, **facts)
    picker = ModelPicker()
    picker.table()
    data, _ = picker._repr_mimebundle_()
    assert "many/model-000" in data["text/html"] and len(data["text/html"]) < FACE_BYTES
    assert "<img" not in data["text/html"] and "<script" not in data["text/html"] and "&lt;img" in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data
    page = picker.to_html(tmp_path / "picker.html").read_text(encoding="utf-8")
    assert "many/model-058" in page and HOSTILE not in page
    content = page.split('id="data">')[1].split("</script>")[0]
    assert {answer["ask"] for answer in json.loads(content)["answers"]} == {"search"}
    picker.selected = ZOO
    assert {kind for kind, _ in picker.offline_questions()} == {"search", "details"}


def test_face_says_when_there_is_nothing(stocked):
    assert ModelPicker(text="no such").face().note == strings("model_picker")["model_picker.nothing"]


def test_a_planted_token_is_nowhere(real, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for picker in (ModelPicker(), ModelPicker(token=TOKEN)):
        ask, seen = asker(picker), []
        seen.append(ask("search", **picker._question()))
        seen.append(ask("more", **{"of": seen[0]["answer"]["of"], "from": 1}))
        seen.append(ask("details", id="real/minilm"))
        real.fault("/api/models", status=401, headers={"X-Error-Message": "Invalid credentials"}, times=3)
        seen += [ask("details", id="real/gone"), ask("search", **picker._question(), retry=True)]
        real.faults.clear()
        picker.load("real/minilm")
        ask("load", id="real/gone", task=None)
        until(lambda: picker._problem)  # noqa: B023
        page = picker.to_html(tmp_path / "picker.html").read_text()
        everything = [
            json.dumps(seen),
            json.dumps(picker.get_state(), default=repr),
            repr(picker),
            page,
            str(picker._repr_mimebundle_()),
        ]
        assert not [text for text in everything if TOKEN in text]
    assert TOKEN in {request.token for request in real.requests}
    with pytest.raises(InputError) as refused:
        ModelPicker(token="hf_with a space")
    assert "with a space" not in str(refused.value)


def test_both_languages_have_all_words():
    english = strings("model_picker")
    set_language("te")
    try:
        telugu = strings("model_picker")
        picker = ModelPicker()
        assert picker._language == "te"
    finally:
        set_language("en")
    assert english.keys() == telugu.keys()
    same = {key for key in english if english[key] == telugu[key]}
    assert not same, same
    import re

    for key in english:
        assert set(re.findall(r"\{\w+\}", english[key])) == set(re.findall(r"\{\w+\}", telugu[key])), key


def test_the_widget_can_stand_in_a_box_and_be_closed(cache):  # noqa: F811
    picker = ModelPicker()
    assert ipywidgets.VBox([picker]).get_state()["children"] == [f"IPY_MODEL_{picker.model_id}"]
    picker.close()
