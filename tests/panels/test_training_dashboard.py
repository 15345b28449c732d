"""TrainingDashboard without a browser: records, both Trainers, transport, the static face, files, hostile names."""

from __future__ import annotations

import json
import math
import re
import threading
from pathlib import Path

import ipywidgets
import numpy as np
import pytest
import torch
import transformers
from dashboard_page import our_trainer

from notebook_kit import AutoTokenizer, Trainer, TrainingArguments
from notebook_kit.errors import CheckpointError, InputError
from notebook_kit.inspection.training.thinning import Thinned
from notebook_kit.inspection.training.verdict import verdict
from notebook_kit.panels import TrainingDashboard, set_language
from notebook_kit.panels.panel import FACE_BYTES
from notebook_kit.panels.training_dashboard import still
from notebook_kit.panels.training_dashboard.feed import packed_series
from notebook_kit.panels.training_dashboard.sending import Sender
from notebook_kit.panels.training_dashboard.training_dashboard import display_for
from notebook_kit.training.recording.record import RunRecord

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
FOLDER = Path(__file__).parents[2] / "notebook_kit" / "panels"


class Line(torch.nn.Module):
    """A model with a config, a dropout that draws random numbers, and a loss."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x, labels=None):
        logits = self.layer(self.dropout(x))
        found = {"logits": logits}
        return found if labels is None else {"loss": torch.nn.functional.cross_entropy(logits, labels), **found}


DATA = [{"x": torch.randn(4, generator=torch.Generator().manual_seed(i)), "labels": i % 2} for i in range(24)]


def trainer_of(kind, folder, board, steps=12, **options):
    torch.manual_seed(0)
    fields = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": 4,
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 3,
        "eval_strategy": "steps",
        "eval_steps": 6,
        "disable_tqdm": True,
        "report_to": "none",
        **options,
    }
    library = transformers if kind == "theirs" else None
    arguments = library.TrainingArguments(**fields) if library else TrainingArguments(**fields)
    made = (library.Trainer if library else Trainer)(
        Line(), arguments, train_dataset=DATA, eval_dataset=DATA[:8], callbacks=[board] if board else None
    )
    if library:
        made.remove_callback(transformers.PrinterCallback)
    else:
        from notebook_kit import PrinterCallback

        made.pop_callback(PrinterCallback)
    return made


def pushes(board):
    """What a page would be sent for the state of the board now: the messages of one push, and their bytes."""
    sent = []
    board.send = lambda content, buffers=None: sent.append((content, buffers or []))
    size = board._push()
    return sent, size


# A loop of one's own ------------------------------------------------------------------------------------------------------


def test_a_loop_is_recorded():
    with TrainingDashboard() as board:
        assert board.controls.status == "running"
        for loss in (0.9, 0.6, 0.5):
            board.log(loss=loss, accuracy=1 - loss)
        board.log(10, loss=0.4)
    table = board.table()
    assert table["loss"].dropna().tolist() == [0.9, 0.6, 0.5, 0.4] and table.index.tolist() == [1, 2, 3, 10]
    assert board.status == "ended" and board.step == 10


def test_log_alone_begins_and_finish_ends():
    board = TrainingDashboard()
    board.log(loss=1.0)
    assert board.controls.status == "running"
    board.finish()
    assert repr(board) == "TrainingDashboard('run': step 1, ended)"


def test_what_is_no_number_is_named():
    board = TrainingDashboard()
    with pytest.raises(InputError, match="loss"):
        board.log(loss="low")


def test_a_loop_hears_of_requests():
    board = TrainingDashboard()
    board.log(1, loss=1.0)
    assert not board.should_stop and board.learning_rate is None
    board.answer_control({"do": "learning_rate", "value": "0.02"})
    board.answer_control({"do": "stop"})
    board.log(2, loss=0.9)
    assert board.should_stop and board.learning_rate == 0.02


def test_a_pause_holds_the_loop_until_someone_goes_on():
    board = TrainingDashboard()
    board.log(1, loss=1.0)
    board.answer_control({"do": "pause"})
    loop = threading.Thread(target=lambda: board.log(2, loss=0.9), daemon=True)
    loop.start()
    loop.join(0.3)
    assert loop.is_alive() and board.controls.status == "paused"
    board.answer_control({"do": "resume"})
    loop.join(20)
    assert not loop.is_alive()


def test_an_exception_in_the_loop_ends_the_run_and_says_why():
    board = TrainingDashboard()
    with pytest.raises(ZeroDivisionError), board:
        board.log(loss=1.0)
        1 / 0  # noqa: B018
    assert board.status == "ended"
    assert [event["type"] for event in board.record.events if event["kind"] == "error"] == ["ZeroDivisionError"]


@pytest.mark.parametrize("values", [[math.nan], [1.0], [], [0.5, math.inf, 0.4], [-1.0, -2.0, 0.0]])
def test_odd_runs_have_a_face_and_a_figure(values):
    with TrainingDashboard(log_scale=True) as board:
        for value in values:
            board.log(loss=value)
    assert board.face().title and board.figure() is not None
    assert json.dumps(board._everything()["runs"], allow_nan=False)  # JSON has no NaN
    kinds = {event["kind"] for event in board.record.events}
    assert ("nonfinite" in kinds) == (not all(map(math.isfinite, values)))


# Both Trainers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ours", "theirs"])
def test_a_trainer_fills_it(kind, tmp_path):
    board = TrainingDashboard()
    trainer_of(kind, tmp_path, board).train()
    series = board.record.series
    assert len(series["eval_loss"]) == 2 and series["eval_loss"].steps.tolist() == [6, 12]
    assert {"loss", "learning_rate", "grad_norm", "step_time", "samples_per_second"} <= set(series)
    assert board.record.facts["max_steps"] == 12 and board.status == "ended" and board.step == 12
    if kind == "ours":
        assert len(series["loss"]) == 12  # each step, whatever logging_steps says


def test_watching_and_probing_change_nothing(tmp_path):
    plain = trainer_of("ours", tmp_path / "a", None)
    plain.train()
    board = TrainingDashboard(probes=[{"x": [1.0, 2.0, 3.0, 4.0]}], probe_every=2)
    watched = trainer_of("ours", tmp_path / "b", board)
    watched.train()
    for name, weight in plain.model.state_dict().items():
        assert torch.equal(weight, watched.model.state_dict()[name])  # dropout drew the same numbers
    taken = [event for event in board.record.events if event["kind"] == "probe"]
    assert [event["step"] for event in taken] == [0, 2, 4, 6, 8, 10, 12]
    values = [event["rows"][0]["values"] for event in taken]
    assert values[0] != values[-1] and all(sum(row) == pytest.approx(1, abs=1e-4) for row in values)


def test_probes_on_a_text_keep_its_attention(tmp_path):
    from notebook_kit import AutoModelForSequenceClassification

    name = "notebook-kit/tiny-sentiment"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    rows = [{**tokenizer(text), "label": label} for text, label in (("good", 1), ("bad", 0)) for _ in range(4)]
    board = TrainingDashboard(probes=["not bad at all"], probe_every=1, probe_attention=(1, 3))
    arguments = TrainingArguments(str(tmp_path), max_steps=2, use_cpu=True, save_strategy="no", disable_tqdm=True)
    trainer = Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[board])
    trainer.train()
    answer = board.answer_probe_attention({"step": 2, "example": 0})
    size = answer.values["size"]
    assert size == len(tokenizer("not bad at all")["input_ids"]) and answer.buffers[0].shape == (size, size)
    assert np.allclose(answer.buffers[0].astype(int).sum(axis=1), 255, atol=size)  # rows of weights, a byte each
    with pytest.raises(InputError, match="No attention"):
        board.answer_probe_attention({"step": 99, "example": 0})


@pytest.mark.parametrize("probes", [[], [3], [["a", "b", "c"]]])
def test_probes_that_are_no_examples(probes):
    with pytest.raises(InputError, match="probe"):
        TrainingDashboard(probes=probes)


def test_a_probe_that_fails_ends_no_training(tmp_path):
    board = TrainingDashboard(probes=["a text, and no tokenizer"])
    trainer_of("ours", tmp_path, board).train()
    assert board.step == 12 and "tokenizer" in board._problem["what"] + board._problem["next_step"]


def test_one_dashboard_for_two_runs(tmp_path):
    board = TrainingDashboard()
    trainer_of("ours", tmp_path / "a", board, steps=4).train()
    trainer_of("ours", tmp_path / "b", board, steps=6).train()
    assert board.record.facts["max_steps"] == 6 and board.record.series["loss"].steps.tolist() == [1, 2, 3, 4, 5, 6]


# On disk ------------------------------------------------------------------------------------------------------------------


def test_a_run_is_opened_later(tmp_path):
    with TrainingDashboard(tmp_path / "run") as board:
        for step in range(1, 30):
            board.log(step, loss=1 / step)
    opened = TrainingDashboard.load(tmp_path / "run")
    assert opened.table()["loss"].tolist() == board.table()["loss"].tolist()
    assert opened.status == "ended" and set(opened._more()["can"].values()) == {"why_loaded"}
    with pytest.raises(InputError, match="No run is in progress"):
        opened.answer_control({"do": "pause"})


def test_a_state_of_transformers_is_opened(tmp_path):
    trainer = trainer_of("theirs", tmp_path, None)
    trainer.train()
    trainer.state.save_to_json(str(tmp_path / "trainer_state.json"))
    opened = TrainingDashboard.load(tmp_path / "trainer_state.json")
    assert opened.table()["eval_loss"].dropna().shape == (2,)


@pytest.mark.parametrize("content", [None, "", "{}", "not a run\n"])
def test_what_is_no_run_is_refused(content, tmp_path):
    path = tmp_path / "events.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckpointError):
        TrainingDashboard.load(path)


def test_runs_are_laid_over_each_other(tmp_path):
    boards = []
    for number in range(3):
        with TrainingDashboard(tmp_path / f"run-{number}") as board:
            for step in range(1, 20):
                board.log(step, loss=number + 1 / step)
        boards.append(board)
    boards[0].compare(boards[1], tmp_path / "run-2", boards[2].record)
    assert [run["name"] for run in boards[0]._everything()["runs"]] == ["run-0", "run-1", "run-2", "run-2 (2)"]
    assert boards[0].table()["run"].nunique() == 4
    boards[0].compare()
    assert len(boards[0]._everything()["runs"]) == 1
    with pytest.raises(InputError, match="int is not a run"):
        boards[0].compare(3)


# To the page --------------------------------------------------------------------------------------------------------------


def test_a_long_run_crosses_in_few_bytes():
    board = TrainingDashboard()
    generator = np.random.default_rng(0)
    total = 0
    board.log(1, loss=1.0)
    for step in range(2, 100_001):
        board.log(step, loss=float(generator.normal()), grad_norm=1.0)
        if step % 500 == 0:
            sent, _ = pushes(board)
            total += sum(len(buffer) for _, buffers in sent for buffer in buffers)
    assert all(series.packed().shape[1] <= 1000 for series in board._feed.runs[0].series.values())
    assert len(board._everything()["buffer"]) < 200_000
    assert total < 20_000_000  # 200 messages; in a real run a budget of bytes a minute spaces them
    extremes = board.record.series["loss"].values
    low, high = board._feed.runs[0].series["loss"].packed()[1:3].view(np.float32)
    assert low.min() == np.float32(extremes.min()) and high.max() == np.float32(extremes.max())


def test_the_budget_of_bytes_spaces_messages(monkeypatch):
    sender, now = Sender(lambda: 0), [0.0]
    monkeypatch.setattr("notebook_kit.panels.training_dashboard.sending.time.monotonic", lambda: now[0])
    sender._moment, sent = 0.0, 0
    while now[0] < 600:
        size = 100_000
        sent += size
        now[0] += sender._pause(size)
    assert sent / 10 <= 2_200_000  # a minute, beside the burst at the beginning


def test_messages_follow_frames_without_a_gap():
    board = TrainingDashboard()
    board.log(1, loss=1.0)
    numbers = []
    for step in range(2, 6):
        board.log(step, loss=1.0 / step)
        sent, _ = pushes(board)
        numbers += [(content["feed"]["after"], content["feed"]["number"]) for content, _ in sent]
    assert len(numbers) >= 3 and all(after == number - 1 for after, number in numbers)


def test_threads_may_log_while_the_page_is_told():
    board = TrainingDashboard()
    board.log(1, loss=1.0)
    faults, done = [], threading.Event()

    def tell():
        while not done.is_set():
            try:
                board._everything(), board.face()
            except Exception as error:
                faults.append(error)

    teller = threading.Thread(target=tell)
    teller.start()
    for step in range(2, 3000):
        board.log(step, loss=1 / step, **{f"metric_{step % 7}": float(step)})
    done.set()
    teller.join()
    assert not faults


# Without a kernel -----------------------------------------------------------------------------------------------------------


def test_the_static_face(tmp_path):
    with TrainingDashboard() as board:
        for step in range(1, 400):
            board.log(step, **{f"metric {number}": float(step) for number in range(40)}, loss=1 / step)
    data, _ = board._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data and len(data["text/html"]) <= FACE_BYTES
    assert "<img alt=" in data["text/html"] and "metric 39" in data["text/html"]
    page = board.to_html(tmp_path / "run.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_hostile_names_stay_text(tmp_path):
    with TrainingDashboard(tmp_path / "run", shown=HOSTILE) as board:
        board.record.describe(model=HOSTILE)
        for step in range(1, 20):
            board.log(step, **{HOSTILE: float(step), "$x_1$": 1.0})
    data, _ = board._repr_mimebundle_()
    page = board.to_html(tmp_path / "run.html").read_text(encoding="utf-8")
    for text in (data["text/html"], page):
        assert "<img src=x" not in text and "<script>alert" not in text


def test_secrets_stay_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    board = TrainingDashboard()
    trainer_of("ours", tmp_path, board, hub_token="hf_secretsecret").train()
    page = board.to_html(tmp_path / "run.html").read_text(encoding="utf-8")
    assert "hf_secret" not in page and "hf_secret" not in repr(board) and "hf_secret" not in str(board._everything())


# In the notebook ------------------------------------------------------------------------------------------------------------


def test_in_containers_and_observed():
    board, seen = TrainingDashboard(), []
    board.observe(lambda change: seen.append(change["new"]), "status")
    ipywidgets.VBox([board, board])
    with board:
        board.log(loss=1.0)
    assert seen[-1] == "ended"


def test_outside_a_notebook_the_trainer_keeps_its_bar(tmp_path):
    assert display_for(None) is None
    trainer = trainer_of("ours", tmp_path, TrainingDashboard())
    assert len(trainer.callbacks) == 2  # the flow and the dashboard: the printer was taken out, so it was there


def test_every_word_of_the_page_is_there_in_both_languages():
    """Keys are read from the page's code; those that are put together, by their beginnings."""
    tables = {
        code: json.loads((FOLDER.parent / "strings" / f"{code}.json").read_text("utf-8")) for code in ("en", "te")
    }
    own = {code: {key for key in table if key.startswith("training_dashboard.")} for code, table in tables.items()}
    assert own["en"] == own["te"]
    files = [
        *(FOLDER / "training_dashboard").glob("*.js"),
        *(FOLDER / "training_dashboard").glob("*.py"),
        *(FOLDER.parent / "inspection" / "training").glob("*.py"),
    ]
    code = "\n".join(path.read_text("utf-8") for path in files)
    plain = set(re.findall(r'words?\("(\w+)"', code))
    missing = {
        key for key in plain if f"training_dashboard.{key}" not in own["en"] and f"common.{key}" not in tables["en"]
    }
    assert not missing
    begins = set(re.findall(r"words\(`(\w+_)\$", code)) | set(re.findall(r"words\(f['\"](\w+_)\{", code))
    assert begins and not {b for b in begins if not any(k.startswith(f"training_dashboard.{b}") for k in own["en"])}
    said = set(re.findall(r'"(why_\w+)"', code))
    assert said and not {key for key in said if f"training_dashboard.{key}" not in own["en"]}
    for key in own["en"]:
        assert set(re.findall(r"\{\w+\}", tables["en"][key])) == set(re.findall(r"\{\w+\}", tables["te"][key])), key


def test_it_speaks_telugu():
    board = TrainingDashboard()
    try:
        set_language("te")
        board.log(loss=1.0)
        assert "నడుస్తోంది" in board.face().title
    finally:
        set_language("en")


# Small parts ----------------------------------------------------------------------------------------------------------------


def judged(losses, checks=None):
    made = {"loss": Thinned()}
    made["loss"].extend(range(1, len(losses) + 1), losses, range(len(losses)))
    if checks is not None:
        made["eval_loss"] = Thinned()
        steps = np.linspace(1, len(losses), len(checks)).astype(int).tolist()
        made["eval_loss"].extend(steps, checks, steps)
    return verdict(made)["kind"]


def test_verdicts():
    noise = np.random.default_rng(0).normal(0, 0.02, 400)
    falling = np.exp(-np.arange(400) / 100) + noise
    assert judged(falling[:8]) == "early"
    assert judged(falling) == "learning"
    assert judged(0.7 + noise) == "flat"
    assert judged(falling[::-1].copy()) == "rising"
    assert judged(np.append(falling, [math.nan] * 5)) == "not_finite"
    assert judged(falling, [0.9, 0.5, 0.4, 0.45, 0.6, 0.8]) == "overfitting"
    assert judged(falling, [0.9, 0.5, 0.4, 0.35, 0.3, 0.29]) == "learning"


def test_buckets_keep_count_extremes_and_mean():
    values = np.random.default_rng(1).normal(size=12_345)
    series = Thinned()
    for part in np.array_split(np.arange(12_345), 50):
        series.extend((part + 1).tolist(), values[part].tolist(), part.astype(float).tolist())
    packed = series.packed()
    low, high, mean = packed[1:4].view(np.float32)
    assert packed.shape[1] <= 1000 and series.count == 12_345
    assert low.min() == np.float32(values.min()) and high.max() == np.float32(values.max())
    full = series.width * np.ones(packed.shape[1])
    full[-1] = 12_345 - series.width * (packed.shape[1] - 1)
    assert (mean * full).sum() / 12_345 == pytest.approx(values.mean(), abs=1e-4)
    assert packed_series("loss", series, "lower", 0, packed.shape[1])[0] == "loss"


def test_the_mean_loss_of_a_trainer_is_not_shown_beside_the_loss(tmp_path):
    board = TrainingDashboard(record=RunRecord(name="a run"))
    board.record.log(1, {"logged_loss": 3.0})
    board.table()
    assert list(board._feed.runs[0].series) == ["logged_loss"]
    board.record.log(2, {"loss": 1.0})
    board.table()
    assert list(board._feed.runs[0].series) == ["loss"]
    assert list(board.table()) == ["logged_loss", "loss"]  # nothing is lost


def test_the_speed_of_an_evaluation_is_not_the_validation_of_the_speed():
    assert still.group_of("eval_samples_per_second") == "eval_samples_per_second"
    assert still.group_of("eval_runtime") == "eval_runtime"
    assert still.group_of("eval_accuracy") == "accuracy"
    board = TrainingDashboard(record=RunRecord(name="a run"), shown="samples_per_second")
    board.record.log(1, {"samples_per_second": 10.0, "eval_samples_per_second": 99.0})
    labels = [line.get_label() for line in board.figure().axes[0].get_lines()]
    assert labels[-1] == "samples_per_second" and "eval_samples_per_second" not in labels
    assert board.word("name_eval_samples_per_second") == "Evaluation speed"


def test_a_run_is_named_as_it_was_given(tmp_path):
    for options in ({"save_strategy": "no"}, {"save_strategy": "steps", "save_steps": 2}):
        board = TrainingDashboard()
        our_trainer(tmp_path, board, run_name="lr 3e-4, warm", max_steps=2, **options).train()
        assert board.record.name == "lr 3e-4, warm"
    assert TrainingDashboard.load(tmp_path).record.name == "lr 3e-4, warm"
    board = TrainingDashboard(tmp_path / "elsewhere")
    our_trainer(tmp_path, board, run_name="named", max_steps=2).train()
    assert board.record.name == "named"


def test_a_display_that_fails_does_not_end_a_run(tmp_path, monkeypatch):
    def fail(*args, **keys):
        raise OSError("the page is gone")

    board = TrainingDashboard()
    for name in ("_has_page", "_send_frame", "_set_progress"):
        monkeypatch.setattr(board, name, fail)
    trainer = our_trainer(tmp_path, board, max_steps=3)
    assert trainer.train().global_step == 3 and board.record.events[-1]["kind"] == "end"
    with board:
        board.log(loss=1.0)
    assert board.record.series["loss"].values.tolist() == [1.0]
