"""What a page knows of a run: a stand-in for it takes what TrainingDashboard sends; buttons, files, words."""

from __future__ import annotations

import base64
import json
import math
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import traitlets
from dashboard_page import (
    HOSTILE,
    SECRET,
    asker,
    both,
    filled,
    page_fixture,  # noqa: F401 - pytest finds it here
    until,
)
from training.tiny_training import Line, line_rows, trainer

from notebook_kit.errors import CheckpointError, InputError
from notebook_kit.language import FOLDER
from notebook_kit.panels import TrainingDashboard
from notebook_kit.panels.training_dashboard import training_dashboard as module
from notebook_kit.panels.training_dashboard.sending import BURST, BYTES_PER_MINUTE, SHARE, SLOWEST, Sender
from notebook_kit.training import RunRecord

# ----------------------------------------------------------------------------------------------------- made and filled


def test_what_it_is_made_with(tmp_path):
    board = TrainingDashboard(shown="grad_norm", smoothing=0.9, log_scale=True, axis="time")
    assert (board.shown, board.smoothing, board.log_scale, board.axis) == ("grad_norm", 0.9, True, "time")
    assert (board.status, board.step, board._hears) == ("idle", 0, "none") and board.controls.pending == {}
    for name, value in (("smoothing", 1.0), ("smoothing", -0.1), ("axis", "epoch"), ("log_scale", "yes")):
        with pytest.raises(traitlets.TraitError):
            setattr(board, name, value)
    with pytest.raises(InputError, match="without probes"):
        TrainingDashboard(probe_attention=(0, 0))
    for probes, about in (
        ([], "no examples"),
        ([3], "int is not an example"),
        ([("a", "b", "c")], "tuple is not an example"),
    ):
        with pytest.raises(InputError, match=about):
            TrainingDashboard(probes=probes)
    with pytest.raises(InputError, match="every 0"):
        TrainingDashboard(probes=["a"], probe_every=0)
    (tmp_path / "file").write_text("something else")
    with pytest.raises(CheckpointError):
        TrainingDashboard(tmp_path / "file")


def test_one_that_is_never_used_says_so():
    board = TrainingDashboard()
    face = board.face()
    assert "not started" in face.title and "Nothing has been logged yet" in face.note and face.png is None
    assert board.table().empty and board.figure() is not None and "idle" in repr(board)
    assert not [thread for thread in threading.enumerate() if thread.name == "notebook_kit-dashboard"]
    board.close()


def test_errors_and_interrupts_end_a_loop(tmp_path):
    for error, reason in ((ValueError("no such thing"), "error"), (KeyboardInterrupt(), "interrupted")):
        board = TrainingDashboard()
        with pytest.raises(type(error)), board:
            board.log(loss=1.0)
            raise error
        assert board.status == "ended" and board.record.events[-1]["reason"] == reason
    assert "no such thing" in json.dumps(RunRecord.load(_written(tmp_path, ValueError("no such thing"))).events)


def _written(folder, error):
    with pytest.raises(type(error)), TrainingDashboard(folder / "failed") as board:
        board.log(loss=1.0)
        raise error
    return folder / "failed"


def test_used_twice_it_shows_the_second_run():
    board = filled(30)
    with board:
        board.log(1, loss=0.5)
        assert board.table()["loss"].tolist() == [0.5]
        board.log(2, accuracy=1.0)
    assert board.step == 2 and set(board.table()) >= {"loss", "accuracy"} and "eval_loss" not in board.table()
    assert "eval_loss" not in [row[0] for row in board.face().rows]


def test_a_run_that_goes_on_does_not_run_back():
    board = filled(30)
    board.begin(20, max_steps=40)
    board.log(21, loss=9.0)
    board.finish()
    steps = board.table().index.tolist()
    assert steps == list(range(1, 22)) and board.table()["loss"][21] == 9.0
    said, _ = board._feed.frame()
    assert [event["kind"] for event in said["runs"][0]["events"]].count("begin") == 1
    assert said["runs"][0]["live"]["max_steps"] == 40


@both
def test_buttons_reach_both_trainers(tmp_path, make):
    board = TrainingDashboard()
    ask = asker(board)

    class Person(module.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                assert "answer" in ask("control", do="learning_rate", value="5e-4")[0]
                assert ask("control", do="save")[0]["answer"]["pending"] == ["learning_rate", "save"]
            elif state.global_step == 4:
                assert "answer" in ask("control", do="stop")[0]

        def on_push_begin(self, args, state, control, **kwargs):
            pass

    run = make(tmp_path, Person(), board, max_steps=50, save_strategy="steps", save_steps=1000)
    run.train()
    assert run.state.global_step == 4
    kinds = [event["kind"] for event in board.record.events]
    assert kinds.count("learning_rate") == 1 and kinds.count("save") >= 1 and "stop" in kinds
    for request in ("pause", "save"):
        assert "No run is in progress" in ask("control", do=request)[0]["error"]["what"]


def test_what_cannot_be_asked_for_is_told(page):
    board = TrainingDashboard()
    ask = asker(board)
    board.begin()
    assert "Unknown request" in ask("control", do="__class__")[0]["error"]["what"]
    for value in ("fast", "-1", None, "nan", "inf"):
        assert "error" in ask("control", do="learning_rate", value=value)[0]
    assert "answer" in ask("control", do="pause")[0]
    assert "error" in ask("nothing_like_it")[0] and "error" in ask("detail", names=["loss"])[0]
    assert board._more()["can"] == {
        "pause": "", "save": "why_loop", "evaluate": "why_loop", "stop": "why_loop_stop", "learning_rate": "why_loop_rate",
        "rows": "why_loaded", "branch": "why_loaded",
    }  # fmt: skip
    assert not board.should_stop and board.learning_rate is None
    assert [board._more()["can"][name] for name in ("stop", "learning_rate")] == ["", ""]
    ask("control", do="resume")
    ask("control", do="stop")
    ask("control", do="learning_rate", value="0.25")
    board.log(loss=1.0)
    assert board.should_stop and board.learning_rate == 0.25
    board.finish()
    assert board.record.events[-1]["reason"] == "stopped"


def test_in_a_terminal_the_bar_stays(tmp_path, capsys, monkeypatch):
    board = TrainingDashboard()
    assert module.display_for(None) is None and not board.shows_run
    run = trainer(tmp_path, Line(), line_rows(), callbacks=[board], data_collator=None, max_steps=3, disable_tqdm=False)
    assert "ProgressCallback" in [type(callback).__name__ for callback in run.callbacks]
    run.train()
    assert board.step == 3 and "3/3" in capsys.readouterr().err
    monkeypatch.setattr(module, "_in_kernel", lambda: True)
    assert board.shows_run and isinstance(module.display_for(None), TrainingDashboard)


def test_it_shows_itself_once_a_run(monkeypatch):
    shown, updated = [], []

    def display(board, display_id=False):
        assert display_id is True
        shown.append(board._repr_mimebundle_())
        return SimpleNamespace(update=lambda again: updated.append(again._repr_mimebundle_()[0]["text/html"]))

    monkeypatch.setattr(module, "_in_kernel", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    board = filled(3)
    assert len(shown) == len(updated) == 1
    assert "data:image/png" not in shown[0][0]["text/html"]  # there was nothing yet
    assert "ended" in updated[0] and "data:image/png" in updated[0]  # what a saved notebook keeps
    board._repr_mimebundle_()  # a person shows it, and then trains
    with board:
        pass
    assert (len(shown), len(updated)) == (1, 1)
    board.begin()
    assert len(shown) == 2
    board.begin()  # the run before was interrupted without a word
    assert len(shown) == 3
    board.finish()
    board.finish()
    assert len(updated) == 2


# ------------------------------------------------------------------------------------------------------ opened again


@both
def test_a_trainers_state_is_opened(tmp_path, make):
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 4}
    make(tmp_path, TrainingDashboard(), max_steps=4, logging_steps=1, **options).train()
    board = TrainingDashboard.load(tmp_path / "checkpoint-4" / "trainer_state.json")
    assert board.table()["eval_loss"].dropna().index.tolist() == [2, 4] and board.step == 4
    said, _ = board._feed.frame()
    live = said["runs"][0]["live"]
    assert (live["status"], live["elapsed"], live["rate"]) == ("ended", None, None)
    json.dumps(said, allow_nan=False)
    assert board.face().png and "step 4 of 4" in board.face().title
    assert board.to_html(tmp_path / "state.html").stat().st_size


def test_a_run_that_goes_on_is_followed_in_a_comparison(page):
    other = TrainingDashboard()
    other.begin()
    other.log(loss=1.0)
    board = filled(5)
    told = page()
    board.compare(other)
    until(lambda: "1" in told.runs and told.runs["1"]["live"]["step"] == 1)
    other.log(loss=0.5)
    until(lambda: told.runs["1"]["live"]["step"] == 2)
    other.finish()
    until(lambda: not board._sender.is_alive)
    assert told.runs["1"]["live"]["status"] == "ended" and told.values("loss", "1").tolist() == [1.0, 0.5]


# ------------------------------------------------------------------------------------------------ pictures and tables


def test_the_figure_has_the_curves(tmp_path):
    board = filled()
    figure = board.figure()
    large, *small = figure.axes
    assert large.get_title("left") == "Loss" and small[0].get_title("left") == "Learning rate"
    lines = {line.get_label(): line for line in large.get_lines()}
    assert lines["eval_loss"].get_ydata().tolist() == pytest.approx([0.2, 0.15, 1 / 30 + 0.1])
    assert len(lines["loss"].get_ydata()) == 30
    board.log_scale = True
    assert board.figure().axes[0].get_yscale() == "log"
    below = TrainingDashboard(log_scale=True)
    with below:
        below.log(loss=-1.0)
        below.log(loss=-2.0)
    assert below.figure().axes[0].get_yscale() == "linear"
    figure.savefig(tmp_path / "figure.png")
    board.shown = "nothing of that name"
    assert board.figure().axes[0].get_title("left") == "Loss"


def test_what_a_person_describes_may_be_anything():
    board = TrainingDashboard()
    board.begin(
        max_steps=math.inf, note=HOSTILE, api_key=SECRET, settings={"hub_token": SECRET, "depth": [1, math.nan]}
    )
    board.log(loss=1.0)
    board.record.event("note", 1, text="x" * 5000, password=SECRET)
    board.finish()
    said, _ = board._feed.frame()
    text = json.dumps(said, allow_nan=False)
    assert SECRET not in text and len(text) < 5000
    assert said["runs"][0]["live"]["max_steps"] is None and said["runs"][0]["facts"]["settings"]["depth"][0] == 1


def test_secrets_do_not_reach_the_page(tmp_path, page, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    board = TrainingDashboard()
    run = trainer(tmp_path, Line(), line_rows(), callbacks=[board], data_collator=None, max_steps=3, hub_token=SECRET)
    run.train()
    until(lambda: not board._sender.is_alive)
    everything = json.dumps(board.get_state(), default=str) + board.to_html(tmp_path / "page.html").read_text()
    assert SECRET not in everything and page().runs["0"]["facts"]["model"] == "Line"


def test_the_file_on_disk_has_the_run(tmp_path):
    board = filled(shown=HOSTILE)
    board.record.event("note", 30, text=HOSTILE)
    text = board.to_html(tmp_path / "run.html").read_text(encoding="utf-8")
    assert HOSTILE not in text and "alert(2)</script>" not in text
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S).group(1))
    frame = data["traits"]["_frame"]
    numbers = np.frombuffer(base64.b64decode(data["buffers"][frame["buffer"]["$buffer"]]), np.int32)
    [(name, _, _, size, *_), *_] = frame["runs"][0]["series"]
    assert name == "loss" and numbers[:size].tolist() == list(range(1, 31))
    assert numbers[3 * size : 4 * size].view(np.float32) == pytest.approx([1 / step for step in range(1, 31)])


def test_words_are_complete():
    tables = [json.loads((FOLDER / f"{code}.json").read_text(encoding="utf-8")) for code in ("en", "te")]
    mine = [{key for key in table if key.startswith("training_dashboard.")} for table in tables]
    assert mine[0] == mine[1]
    folder = Path(module.__file__).parent
    scripts = [*folder.glob("*.js")]
    text = "\n".join(script.read_text(encoding="utf-8") for script in scripts)
    python = "\n".join((folder / name).read_text(encoding="utf-8") for name in ("training_dashboard.py", "still.py"))
    used = set(re.findall(r"words?\(\s*[\"'`](\w+)[\"'`]", text + python))
    used |= set(re.findall(r"[\"'](why_\w+)[\"']", text + python))
    used -= {"status_"}  # the beginning of a key
    used |= {key for pair in re.findall(r"words\([^()\"]*\? \"(\w+)\" : \"(\w+)\"", text) for key in pair}
    ends = {
        "status": ["idle", "running", "paused", "stopping", "ended"],
        "verdict": ["early", "flat", "learning", "no_loss", "not_finite", "overfitting", "rising"],
        "event": ["begin", "end", "learning_rate", "learning_rate_again", "pause", "resume", "stop", "save", "evaluate",
                  "nonfinite", "error", "probe", "note", "best"],
        "end": ["finished", "stopped", "ended_early", "interrupted", "error", "replaced"],
        "probe": ["classes", "numbers", "words", "tokens"],
        "ask": ["pause", "resume", "stop", "save", "evaluate"],
        "axis": ["step", "time"],
        "name": ["loss", "learning_rate", "grad_norm", "step_time", "samples_per_second", "tokens_per_second", "memory",
                 "gpu_memory", "logged_loss", "eval"],
    }  # fmt: skip
    prefixes = set(re.findall(r"words\(`(\w+)_\$\{", text)) | set(re.findall(r"words?\(f?\"(\w+)_\"? ?[+{]", python))
    assert prefixes <= set(ends), prefixes - set(ends)
    used |= {f"{prefix}_{end}" for prefix, every in ends.items() for end in every}
    common = {key.partition(".")[2] for key in tables[0] if key.startswith("common.")}
    missing = {key for key in used - common if f"training_dashboard.{key}" not in mine[0]}
    assert not missing, missing
    holes = re.compile(r"\{\w+\}")
    for key in mine[0]:
        assert sorted(holes.findall(tables[0][key])) == sorted(holes.findall(tables[1][key])), key
    assert sum(bool(re.search(r"[\u0c00-\u0c7f]", tables[1][key])) for key in mine[1]) > 0.9 * len(mine[1])


# ------------------------------------------------------------------------------------------------- what the page is told


def test_the_page_knows_what_the_record_has(page, monkeypatch):
    # Many refreshes, however slow the machine: what they cost is another test's matter.
    monkeypatch.setattr("notebook_kit.panels.training_dashboard.sending.PERIOD", 0.02)
    monkeypatch.setattr("notebook_kit.panels.training_dashboard.sending.SLOWEST", 0.02)
    board = TrainingDashboard()
    told = page()
    generator = np.random.default_rng(0)
    with board:
        for step in range(1, 5001):
            values = {"loss": generator.normal(), "grad_norm": math.nan if step % 900 == 0 else 1.0}
            board.log(step, **values)
            if step % 50 == 0:
                time.sleep(0.01)
    until(lambda: not board._sender.is_alive)
    assert len(told.sent) > 4
    for name in ("loss", "grad_norm", "step_time"):
        packed, width, count, least, greatest, last = told.runs["0"]["series"][name]
        series = board._feed.runs[0].series[name]
        assert np.array_equal(packed, series.packed()) and (width, count) == (series.width, 5000)
        assert [least, greatest, last] == [list(end) for end in (series.least, series.greatest, series.last)]
    assert int(told.runs["0"]["series"]["grad_norm"][0][5].view(np.float32).sum()) == 5
    assert told.runs["0"]["live"]["status"] == "ended" and told.runs["0"]["live"]["verdict"]["kind"] == "flat"
    assert [event["kind"] for event in told.runs["0"]["events"]].count("nonfinite") == 0  # of losses alone


def test_after_its_end_nothing_is_sent(page):
    board = filled()
    until(lambda: not board._sender.is_alive)
    count = len(page().sent)
    time.sleep(1.0)
    assert len(page().sent) == count and board.status == "ended"
    assert not [thread for thread in threading.enumerate() if thread.name == "notebook_kit-dashboard"]


def test_a_page_that_resumes_drops_what_came_after(page):
    board = TrainingDashboard()
    told = page()
    board.begin()
    for step in range(1, 31):
        board.log(step, loss=1.0, **({"accuracy": 0.5} if step > 25 else {}))
    until(lambda: told.runs and told.runs["0"]["live"]["step"] == 30 and "accuracy" in told.runs["0"]["series"])
    board.begin(20)
    board.log(21, loss=5.0)
    until(lambda: told.runs["0"]["live"]["step"] == 21)
    board.finish()
    assert told.values("loss").tolist() == [1.0] * 20 + [5.0] and "accuracy" not in told.runs["0"]["series"]
    assert [event["kind"] for event in told.runs["0"]["events"]] == ["begin", "end"]


@pytest.mark.parametrize("series", [1, 8])
def test_refreshes_are_few_and_small(page, series, monkeypatch):
    """A minute of a run of 100,000 steps, at its end, with the clock of the sender turned by hand."""
    now = [0.0]
    monkeypatch.setattr(
        "notebook_kit.panels.training_dashboard.sending.time", SimpleNamespace(monotonic=lambda: now[0])
    )
    board = TrainingDashboard()
    monkeypatch.setattr(board, "_sender", Sender(board._push))
    monkeypatch.setattr(board._sender, "start", lambda: None)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    told = page()
    board.begin(max_steps=100_000)
    record, begin = board.record, time.time()
    names = ["loss", *(f"metric_{number}" for number in range(series - 1))]

    def log(first, last):
        for step in range(first, last):
            record.log(
                step, {name: math.sin(step * place) for place, name in enumerate(names, 1)}, begin + step * 0.005
            )

    log(1, 88_001)
    now[0] = 440.0
    board._push()
    told.bytes, at, refreshes = 0, 88_001, 0
    while now[0] < 500.0:
        size = board._push()
        refreshes += 1
        pause = board._sender._pause(size)
        assert pause >= 0.1
        now[0] += pause
        log(at, step := min(100_001, int(now[0] / 0.005)))
        at = max(at, step)
    assert 60 < refreshes <= 600 and told.bytes <= 2_000_000
    assert all(packed.shape[1] <= 1000 for packed, *_ in told.runs["0"]["series"].values())


def test_a_budget_that_is_spent_is_waited_for(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(
        "notebook_kit.panels.training_dashboard.sending.time", SimpleNamespace(monotonic=lambda: now[0])
    )
    sender = Sender(lambda: 0)
    assert sender._pause(0) == sender._pause(BURST) == 0.2
    assert sender._pause(BYTES_PER_MINUTE) == pytest.approx(60)
    now[0] += 600
    assert sender._pause(0) == 0.2 and sender._left == BURST  # quiet is not saved up without end


def test_refreshes_that_cost_more_come_less_often():
    sender = Sender(lambda: 0)
    assert sender._pause(0, spent=0.0005) == 0.2
    assert sender._pause(0, spent=0.002) == pytest.approx(0.002 / SHARE)
    assert sender._pause(0, spent=3.0) == SLOWEST  # the curve goes on moving


def test_a_page_that_is_gone_ends_nothing():
    said = []

    def push():
        said.append(1)
        if len(said) == 1:
            raise ConnectionError("the page is gone")
        return None if len(said) == 2 else 0

    sender = Sender(push)
    sender.start()
    sender.finish()
    assert len(said) == 2 and not sender.is_alive


def test_what_lies_between_buckets_is_answered():
    board = TrainingDashboard()
    with board:
        for step in range(1, 5001):
            board.log(step, loss=float(step))
    content, buffers = asker(board)(
        "detail", **{"names": ["loss", "eval_loss"], "from": 2000, "to": 2100, "by": "step"}
    )
    [[[name, _, _, size, width, count, *_]]] = content["answer"]["runs"]
    steps = np.asarray(buffers[0], np.int32)[:size]
    assert (name, width, count) == ("loss", 1, size) and steps.tolist() == list(range(1999, 2102))
    assert asker(board)("frame")[0]["answer"]["runs"][0]["live"]["step"] == 5000


def test_many_events_and_probes_cross_in_part():
    board = TrainingDashboard()
    board.begin()
    for step in range(1, 1001):
        board.record.event("note", step, text=f"note {step}")
        board.record.event("probe", step, rows=[{"kind": "classes", "labels": ["A"], "values": [step / 1000]}])
    board.finish()
    run = board._feed.frame()[0]["runs"][0]
    assert len(run["events"]) <= 350 and run["events"][-2]["with"]["text"] == "note 1000"
    steps = [taken["step"] for taken in run["probes"]]
    assert len(steps) <= 201 and steps == sorted(steps) and (steps[0], steps[-1]) == (1, 1000)


def test_time_that_is_left():
    board = TrainingDashboard()
    board.begin(max_steps=1000)
    moment = time.time()
    for step in range(1, 101):
        board.record.log(step, {"loss": 1.0}, moment + step * 0.5)
    board._feed.update()
    live = board._feed.runs[0].live()
    assert live["rate"] == pytest.approx(2) and live["left"] == pytest.approx(450)
    board.finish()
    assert board._feed.runs[0].live()["left"] is None
