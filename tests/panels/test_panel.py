"""What all panels have from their base: their words and their notice."""

from __future__ import annotations

import json
import re
import time
from xml.dom import minidom

import anywidget
import ipywidgets
import pytest
import torch
import traitlets
import writers
from comm.base_comm import BaseComm
from ipywidgets.widgets import widget
from tokenizers import Tokenizer, models

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.language import strings
from notebook_kit.panels import (
    AttentionView,
    GenerationView,
    ModelPicker,
    ResultView,
    TokenInspector,
    TrainingDashboard,
    set_language,
)
from notebook_kit.panels.model_picker.linking import hand_on
from notebook_kit.training.recording.record import RunRecord


def test_a_word_takes_its_values_once_and_is_the_key_if_there_is_none():
    panel = TokenInspector()
    text = panel._strings["token_inspector.limit_over"]
    assert "{limit}" in text and "{over}" in text
    assert panel.word("limit_over", limit="{over}", over=3) == text.replace("{over}", "3").replace("{limit}", "{over}")
    assert panel.word("limit_over", limit=5) == text.replace("{limit}", "5")
    assert panel.word("dismiss") == panel._strings["common.dismiss"]
    assert panel.word("no such key") == "no such key"


@pytest.mark.parametrize("name", ["save", "export", "to_file"])
def test_other_names_for_writing_a_page_name_to_html(name):
    view = ResultView([])
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'\. to_html\(path\) writes the panel to a file\.$"):
        getattr(view, name)
    assert not hasattr(view, name)
    with pytest.raises(AttributeError, match="Did you mean 'to_html'"):
        view.to_htm  # noqa: B018


def test_a_word_is_in_the_language_that_is_set():
    panel = TokenInspector()
    english = panel.word("token")
    set_language("te")
    try:
        assert panel.word("token") != english
    finally:
        set_language("en")


@pytest.mark.parametrize(
    "make", [TokenInspector, ModelPicker, TrainingDashboard, GenerationView, AttentionView, lambda: ResultView([])]
)
def test_a_page_hears_of_a_panel_once_all_of_it_is_there(make, monkeypatch):
    """A page that is being loaded may ask for all widgets while a constructor runs, and keep what it gets."""
    messages = []

    class Page(BaseComm):
        def publish_msg(self, kind, data=None, **rest):
            if self.target_name == "jupyter.widget" and "_strings" in data.get("state", {}):
                messages.append((kind, data["state"]))

    monkeypatch.setattr("comm.create_comm", Page)
    panel = make()
    [(kind, state)] = messages
    assert kind == "comm_open" and state["_strings"] == panel._strings and panel._strings
    assert state.get("_about") == getattr(panel, "_about", None)
    assert panel.comm is not None and panel in widget._instances.values()


def test_what_changes_while_a_page_is_loaded_is_sent_again(monkeypatch):
    """The page applies the state that it asked for after the changes that came meanwhile."""
    monkeypatch.setattr("notebook_kit.panels.panel.SETTLING_SECONDS", 0.2)
    page = {}

    class Page(BaseComm):
        def publish_msg(self, kind, data=None, **rest):
            page.update(data.get("state", {}) if data else {})

    monkeypatch.setattr("comm.create_comm", Page)
    panel = TokenInspector()
    asked = panel.get_state()
    panel.text = "new"
    assert page["text"] == "new"
    page.update(asked)
    assert page["text"] == ""
    limit = time.monotonic() + 20
    while page["text"] != "new":
        assert time.monotonic() < limit
        time.sleep(0.01)
    panel.close()


def test_what_a_panel_cannot_take_is_its_notice_until_it_can():
    class Picky(TokenInspector):
        def use(self, *tokenizers):
            if tokenizers == ("bad",):
                raise ValueError("not this one")

    panel = Picky()
    hand_on("bad", panel)
    assert panel._notice == {"what": "ValueError: not this one", "next_step": ""}
    hand_on("good", panel)
    assert panel._notice == {}


LONE = "a\ud800b \x01c"
"""A lone surrogate, which UTF-8 cannot encode, and a control character, which XML does not allow."""


def hostile_panels():
    words = Tokenizer(models.WordLevel({"[UNK]": 0, LONE.split()[1]: 1}, unk_token="[UNK]"))
    yield TokenInspector(words, text=LONE, text_pair=LONE)
    yield AttentionView(torch.eye(2).expand(1, 2, 2, 2), tokens=[LONE, "b"])
    yield GenerationView(prompt=LONE)
    yield ModelPicker(text=LONE)


@pytest.mark.parametrize("place", range(4))
def test_a_lone_surrogate_breaks_neither_messages_nor_files(place, tmp_path, monkeypatch):
    panel = list(hostile_panels())[place]
    state = {key: value for key, value in panel.get_state().items() if key not in ("_first", "layout")}
    json.dumps(state, ensure_ascii=False, default=repr).encode()
    data, _ = panel._repr_mimebundle_()
    json.dumps(data, ensure_ascii=False).encode()
    assert panel.to_html(tmp_path / "panel.html").read_text(encoding="utf-8")
    sent = []
    monkeypatch.setattr(ipywidgets.Widget, "_send", lambda _, message, buffers=None: sent.append(message["content"]))
    panel.send({"nk": "1", "answer": {"tokens": [LONE], LONE: (LONE, 2)}})
    assert sent[0]["answer"] == {
        "tokens": [LONE.replace("\ud800", "�")],
        LONE.replace("\ud800", "�"): (LONE.replace("\ud800", "�"), 2),
    }


def test_pictures_of_control_characters_are_valid_svg(tmp_path):
    for panel in list(hostile_panels())[:2]:
        panel.figure().savefig(tmp_path / "panel.svg")
        minidom.parse(str(tmp_path / "panel.svg"))


def test_a_file_is_written_into_a_new_folder_and_odd_paths_are_refused(tmp_path):
    panel = TokenInspector()
    assert panel.to_html(tmp_path / "new" / "folder" / "panel.html").exists()
    for path in (None, 5, "", ["a"]):
        with pytest.raises(InputError, match="not a path"):
            panel.to_html(path)
    with pytest.raises(InputError, match="is a folder"):
        panel.to_html(tmp_path)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: TokenInspector(text=5), r"cannot use text=5\."),
        (lambda: TokenInspector(selected=[-1]), r"cannot use selected=\[-1\]"),
        (lambda: TokenInspector(txt="a"), r"has no argument 'txt'. Did you mean 'text'"),
        (lambda: TokenInspector().analysis("x"), "no tokenizer 'x'"),
        (lambda: AttentionView(torch.eye(2)[None, None], heads=5), "cannot use heads=5"),
        (lambda: AttentionView(torch.eye(2)[None, None], heads=[]), "cannot use heads="),
        (lambda: AttentionView(torch.eye(2)[None, None], view="lines"), "cannot use view='lines'"),
        (lambda: AttentionView(torch.eye(2)[None, None], tokens=5), "tokens=5 is not a list"),
        (lambda: AttentionView(torch.eye(2)[None, None], tokens="ab"), "tokens='ab' is not a list"),
        (lambda: AttentionView(torch.eye(2)[None, None]).follow(5), "no text"),
        (lambda: AttentionView(torch.eye(2)[None, None]).predict(5), "5 are not heads"),
        (lambda: AttentionView(torch.eye(2)[None, None]).predict([1]), "are not heads"),
        (lambda: AttentionView(torch.eye(2)[None, None]).logit_lens("x"), "not a number of tokens"),
    ],
)
def test_wrong_arguments_are_our_errors(make, match):
    with pytest.raises(InputError, match=match):
        make()


BROKEN = "half\ud83d an emoji, \x01 and \x00"
"""A text with a lone surrogate and control characters."""


@pytest.fixture
def shown_broken():
    """Each of the panels with a broken text in everything that a user can name."""
    tokenizer = writers.byte_tokenizer()
    board = TrainingDashboard(record=RunRecord(name=BROKEN))
    for step in range(1, 20):
        board.record.log(step, {BROKEN: 1 / step, "loss": 1 / step})
    board.record.event("note", 3, text=BROKEN)
    board.shown = BROKEN
    picker = ModelPicker(text=BROKEN)
    return [
        board,
        picker,
        GenerationView((writers.gpt2(tokenizer), tokenizer), BROKEN, max_new_tokens=3).wait(),
        TokenInspector(tokenizer, text=BROKEN),
        ResultView([{"label": BROKEN, "score": 0.5}], BROKEN),
    ]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_broken_text_breaks_no_panel(shown_broken, tmp_path):
    for panel in shown_broken:
        data, _ = panel._repr_mimebundle_()
        for kind in ("text/plain", "text/html"):
            assert data[kind].encode() and not re.search("[\x00-\x08]", data[kind]), (panel, kind)
        page = panel.to_html(tmp_path / f"{panel.name}.html").read_text(encoding="utf-8")
        assert "\x01" not in page and "\x00" not in page
        json.dumps(panel.get_state(), default=repr, ensure_ascii=False).encode()
        panel.show_notice({"what": BROKEN, "next_step": BROKEN})
        panel.send({"text": BROKEN, "list": [BROKEN, {BROKEN: (BROKEN,)}]})
        if panel.name != "model_picker":
            panel.figure().savefig(tmp_path / f"{panel.name}.svg")
            minidom.parse(str(tmp_path / f"{panel.name}.svg"))


def test_messages_can_be_encoded(monkeypatch):
    sent = []
    monkeypatch.setattr(anywidget.AnyWidget, "_send", lambda self, msg, buffers=None: sent.append((msg, buffers)))
    panel = TokenInspector()
    panel.send({"text": BROKEN}, [b"bytes"])
    panel.text = BROKEN
    texts = json.dumps(sent, default=repr, ensure_ascii=False)
    assert texts.encode() and "half\ufffd an emoji" in texts
    assert [b"bytes"] in [buffers for _, buffers in sent]


def test_closed_panels_leave_nothing_in_the_registry_of_widgets():
    before = set(widget._instances)
    makes = [TokenInspector, ModelPicker, TrainingDashboard, GenerationView, AttentionView, lambda: ResultView([])]
    for make in makes * 3:
        panel = make()
        assert set(widget._instances) > before
        panel.close()
        panel.close()
    assert set(widget._instances) == before


def test_the_layout_of_a_user_survives_the_panel():
    layout = ipywidgets.Layout(width="50%")
    first, second = ModelPicker(layout=layout), ModelPicker(layout=layout)
    first.close()
    assert layout.comm is not None and second.layout is layout
    second.close()
    layout.close()


@pytest.mark.parametrize("path", ["a\0b.html", "a\ud800.html", "x" * 300, "/proc/no/x.html"])
def test_a_file_that_cannot_be_written_is_an_error_of_ours(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        TokenInspector().to_html(path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_value_of_a_trait_is_an_error_of_ours():
    with pytest.raises(InputError, match="seed='7'"):
        GenerationView(seed="7")
    view = GenerationView()
    with pytest.raises(InputError, match="colour") as caught:
        view.colour = "blue"
    assert isinstance(caught.value, traitlets.TraitError) and view.colour == "probability"


def test_each_panel_with_help_has_all_parts_of_it():
    words = strings("training_dashboard", "model_picker", "generation_view")
    for name in ("training_dashboard", "model_picker", "generation_view"):
        for part in ("see", "try", "not"):
            assert 2 <= len(words[f"{name}.help_{part}"].splitlines()) <= 4


NAN = float("nan")


def odd(*but):
    """Values of many types except `but`, for arguments that should have another."""
    values = [None, "x", 1.5, [1], -1, 10**30, object(), b"x", NAN]
    return [
        value for value in values if not any(value is one or (type(value), value) == (type(one), one) for one in but)
    ]


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Each public call with one argument left open, and the values that are right for it."""
    tokenizer = writers.byte_tokenizer()
    model = writers.gpt2(tokenizer)
    view = GenerationView((model, tokenizer), "the cat", max_new_tokens=3).wait()
    board, picker = TrainingDashboard(), ModelPicker(cache_dir=tmp_path_factory.mktemp("cache"))
    board.log(loss=1.0)
    return {
        "alternatives": (view.alternatives, ()),
        "attention": (view.attention, ()),
        "layer": (lambda value: view.attention(0, value), (None,)),
        "head": (lambda value: view.attention(0, None, value), (None,)),
        "combine": (lambda value: view.attention(0, None, None, value), ()),
        "continue_from": (lambda value: view.continue_from(value, 1), ()),
        "token": (lambda value: view.continue_from(0, value), ()),
        "generate": (view.generate, (None, "x", b"x")),
        "wait": (view.wait, (None, 1.5, -1, 10**30, NAN)),
        "use": (view.use, ()),
        "source": (GenerationView, (None,)),
        "prompt": (lambda value: GenerationView(None, value), ("x", b"x")),
        "tokenizer": (lambda value: GenerationView(model, "x", tokenizer=value), ()),
        "log step": (lambda value: board.log(value, loss=1.0), (None, 1.5, -1)),
        "log": (lambda value: board.log(loss=value), (1.5, -1, 10**30, NAN)),
        "begin": (board.begin, (1.5, -1)),
        "run_dir": (TrainingDashboard, (None, "x")),
        "probes": (lambda value: TrainingDashboard(probes=value), (None, "x")),
        "probe_every": (lambda value: TrainingDashboard(probes=["a"], probe_every=value), (None, 10**30)),
        "record": (lambda value: TrainingDashboard(record=value), (None,)),
        "compare": (board.compare, ()),
        "task": (ModelPicker, (None,)),
        "cache_dir": (lambda value: ModelPicker(cache_dir=value), (None, "x")),
        "load": (picker.load, ()),
        "load task": (lambda value: picker.load("notebook-kit/tiny-sentiment", task=value), (None,)),
        "details": (picker.details, ()),
        "delete": (picker.delete, ()),
        "link": (picker.link, ()),
        "language": (set_language, ()),
    }


ARGUMENTS = (
    *("alternatives", "attention", "layer", "head", "combine", "continue_from", "token", "generate", "wait", "use"),
    *("source", "prompt", "tokenizer", "log step", "log", "begin", "run_dir", "probes", "probe_every", "record"),
    *("compare", "task", "cache_dir", "load", "load task", "details", "delete", "link", "language"),
)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_a_wrong_type_of_each_argument_is_an_error_of_ours(argument, calls, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    call, right = calls[argument]
    for value in odd(*right):
        with pytest.raises(NotebookKitError) as caught:
            call(value)
        assert caught.value.next_step, value


def test_a_run_with_a_broken_name_is_recorded_and_read(tmp_path):
    with TrainingDashboard(tmp_path / "run") as board:
        board.log(**{BROKEN: 1.0})
    assert list(TrainingDashboard.load(tmp_path / "run").record.series) == [BROKEN, "step_time", "memory"]
