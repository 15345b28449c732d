"""The record of a run: in memory, on disk, after a kill, and as others wrote it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from notebook_kit.errors import CheckpointError, InputError, NotebookKitWarning
from notebook_kit.training.recording.journal import DELAY
from notebook_kit.training.recording.record import RunRecord, find_runs


def contents(record):
    return (
        {
            name: (series.steps.tolist(), series.values.tolist(), series.times.tolist())
            for name, series in record.series.items()
        },
        record.events,
        record.facts,
    )


def same(first, second):
    assert repr(contents(first)) == repr(contents(second))  # repr, since NaN is not equal to itself


def filled(place=None):
    record = RunRecord(place, name="a run")
    record.event("begin", 0)
    record.describe(max_steps=300, model="<img src=x>")
    for step in range(1, 301):
        record.log(step, {"loss": 1 / step, "memory": float(10 * step)} if step % 2 else {"loss": 1 / step})
    record.log(301, {"loss": math.nan, "eval_loss": math.inf, "other": -math.inf}, time=5.5)
    record.event("nonfinite", 301, name="loss", value=math.nan)
    record.event(
        "note", 301, text="నమస్తే </script>", numbers=[1, 2.5, math.inf], nested={"a": np.float64(2.0)}, label="NaN"
    )
    return record


def test_series_grow_and_keep_every_point():
    record = filled()
    loss = record.series["loss"]
    assert len(loss) == 301 and loss.steps[-1] == 301 and math.isnan(loss.last)
    assert loss.values[:300].tolist() == [1 / step for step in range(1, 301)]
    assert loss.steps.dtype == np.int64 and loss.values.dtype == np.float64 and loss.times.dtype == np.float64
    assert record.series["memory"].steps.tolist() == list(range(1, 301, 2))
    assert record.series["other"].times.tolist() == [5.5]
    assert np.all(np.diff(loss.times[:300]) >= 0) and abs(loss.times[0] - time.time()) < 100


def test_the_view_cannot_be_written():
    with pytest.raises(TypeError):
        filled().series["loss"] = 1


def test_each_change_raises_the_version():
    record, versions = RunRecord(), []
    for change in (
        lambda: record.log(1, {"loss": 1.0}),
        lambda: record.event("note", 1, text="x"),
        lambda: record.describe(model="m"),
    ):
        change()
        versions.append(record.version)
    assert versions == sorted(set(versions)) and versions[0] > 0


def test_an_array_that_was_taken_stays_as_it_was():
    record = RunRecord()
    for step in range(100):
        record.log(step, {"loss": float(step)})
    taken = record.series["loss"].values
    record.event("begin", 10)
    for step in range(11, 200):
        record.log(step, {"loss": -1.0})
    assert taken.tolist() == [float(step) for step in range(100)]


def test_a_begin_drops_what_comes_after_it():
    record = RunRecord()
    for step in range(1, 21):
        record.log(step, {"loss": 1.0, **({"late": 2.0} if step > 15 else {})})
    record.event("save", 10)
    record.event("learning_rate", 15, old=1.0, new=2.0)
    record.event("begin", 12)
    assert record.series["loss"].steps.tolist() == list(range(1, 13))
    assert "late" not in record.series
    assert [event["kind"] for event in record.events] == ["save", "begin"]


def test_numbers_of_every_kind():
    record = RunRecord()
    record.log(np.int64(3), {"a": 1, "b": np.float32(0.5), "c": torch.tensor(0.25), "d": True, "e": np.array(2.0)})
    assert {name: series.last for name, series in record.series.items()} == {
        "a": 1,
        "b": 0.5,
        "c": 0.25,
        "d": 1,
        "e": 2,
    }


@pytest.mark.parametrize("value", ["0.5", None, [1.0], torch.ones(2), {"x": 1}, 1j])
def test_what_is_no_number_is_refused_whole(value):
    record = RunRecord()
    with pytest.raises(InputError, match=r"'bad'.*not a number"):
        record.log(1, {"good": 1.0, "bad": value})
    assert not record.series and record.version == 0


def test_what_is_on_disk_is_what_was_logged(tmp_path):
    record = filled(tmp_path / "run")
    record.close()
    read = RunRecord.load(tmp_path / "run")
    same(record, read)
    assert read.name == "a run" and read.run_dir is None
    same(record, RunRecord.load(tmp_path / "run" / "events.jsonl"))


def test_the_file_is_json_that_any_reader_takes(tmp_path):
    filled(tmp_path).close()

    def refuse(word):
        raise AssertionError(word)

    lines = [json.loads(line, parse_constant=refuse) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert lines[0]["format"] == "notebook_kit.run"
    [bad] = [line["log"] for line in lines if line.get("step") == 301]
    assert bad == {"loss": "NaN", "eval_loss": "Infinity", "other": "-Infinity"}


def test_the_system_has_a_step_soon_and_an_event_at_once(tmp_path):
    record = RunRecord(tmp_path)
    record.event("begin", 0)
    assert '"begin"' in (tmp_path / "events.jsonl").read_text()
    record.log(1, {"loss": 0.5})
    until = time.monotonic() + 60  # a busy machine; a process of its own is killed below
    while '"loss"' not in (tmp_path / "events.jsonl").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert DELAY <= 0.5
    record.close()


def test_a_record_that_is_attached_later_writes_what_it_has(tmp_path):
    record = filled()
    record.attach(tmp_path)
    record.log(302, {"loss": 2.0})
    record.close()
    read = RunRecord.load(tmp_path)
    assert read.series["loss"].steps.tolist() == record.series["loss"].steps.tolist()
    assert repr(sorted(map(repr, read.events))) == repr(sorted(map(repr, record.events)))
    assert read.facts == record.facts


def test_going_on_appends_to_the_file_and_drops_what_came_after(tmp_path):
    first = RunRecord(tmp_path)
    first.event("begin", 0)
    for step in range(1, 21):
        first.log(step, {"loss": 1.0})
    first.close()
    before = (tmp_path / "events.jsonl").read_text()
    second = RunRecord(tmp_path)
    assert second.series["loss"].steps.tolist() == list(range(1, 21))
    second.event("begin", 12)
    for step in range(13, 16):
        second.log(step, {"loss": 2.0})
    second.close()
    assert (tmp_path / "events.jsonl").read_text().startswith(before)
    read = RunRecord.load(tmp_path)
    same(second, read)
    assert read.series["loss"].values.tolist() == [1.0] * 12 + [2.0] * 3
    assert read.series["loss"].steps.tolist() == list(range(1, 16))


@pytest.mark.parametrize(
    "torn", [b'{"log": {"loss": 0.', b'{"log": {"loss": 0.1}, "step": 3, "time": 1.0}', b"\xff\xfe"]
)
def test_a_torn_last_line_is_left_out_and_does_not_spoil_the_next(tmp_path, torn):
    record = RunRecord(tmp_path)
    record.log(1, {"loss": 1.0}, time=1.0)
    record.close()
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    whole = torn.endswith(b"}")  # only its line end is missing
    expected = [1, 3] if whole else [1]
    assert RunRecord.load(tmp_path).series["loss"].steps.tolist() == expected
    again = RunRecord(tmp_path)
    again.log(4, {"loss": 0.5})
    again.close()
    assert RunRecord.load(tmp_path).series["loss"].steps.tolist() == [*expected, 4]


def test_spoilt_lines_are_counted_and_the_others_read(tmp_path):
    filled(tmp_path).close()
    path = tmp_path / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[5:5] = ["not json\n", '{"log": {"loss": "words"}, "step": 3}\n', '{"log": 3}\n', "[1]\n"]
    path.write_text("".join(lines))
    with pytest.warns(NotebookKitWarning, match="4 lines"):
        read = RunRecord.load(path)
    assert len(read.series["loss"]) == 301


PROGRAM = """
    import sys, time
    from notebook_kit.training.recording.record import RunRecord
    record = RunRecord(sys.argv[1])
    record.event("begin", 0)
    step = 0
    while True:
        step += 1
        record.log(step, {"loss": 1 / step, "rate": float(step)})
        if step % 20 == 0:
            print(step, time.time(), flush=True)
        time.sleep(0.002)
"""


def test_a_process_that_is_killed_loses_at_most_the_last_second(tmp_path):
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "run")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        told = []
        for line in process.stdout:
            told.append((int(line.split()[0]), float(line.split()[1])))
            if told[-1][1] - told[0][1] > 2.5:
                break
        os.kill(process.pid, signal.SIGKILL)
        killed = time.time()
        process.wait()
    read = RunRecord.load(tmp_path / "run")
    steps = read.series["loss"].steps
    assert steps.tolist() == list(range(1, len(steps) + 1))
    surely = [step for step, moment in told if moment < killed - 1.0]
    assert surely and steps[-1] >= surely[-1]
    assert read.series["rate"].values.tolist() == steps.tolist()


def test_a_process_that_ends_in_the_ordinary_way_loses_nothing(tmp_path):
    program = f"""
        from notebook_kit.training.recording.record import RunRecord
        record = RunRecord({str(tmp_path)!r})
        for step in range(500):
            record.log(step, {{"loss": 0.5}})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
    assert len(RunRecord.load(tmp_path).series["loss"]) == 500


def test_a_forgotten_record_loses_nothing_and_leaves_no_thread(tmp_path):
    before = set(threading.enumerate())  # other tests' records may wait for the garbage collector
    record = RunRecord(tmp_path)
    (thread,) = set(threading.enumerate()) - before
    record.log(1, {"loss": 0.5})
    del record
    until = time.monotonic() + 60
    while thread.is_alive():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert RunRecord.load(tmp_path).series["loss"].steps.tolist() == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_does_not_write_what_is_not_its_own(tmp_path):
    record = RunRecord(tmp_path)
    record.log(1, {"loss": 0.5})
    process = os.fork()
    if not process:
        try:
            record.log(2, {"loss": 0.5})
            record.close()
        finally:
            os._exit(0)
    os.waitpid(process, 0)
    record.close()
    assert RunRecord.load(tmp_path).series["loss"].steps.tolist() == [1]


def test_written_by_one_thread_and_read_by_others(tmp_path):
    record, stop, failures = RunRecord(tmp_path), threading.Event(), []

    def read():
        try:
            while not stop.is_set():
                with record.lock:
                    lengths = {len(series) for series in record.series.values()}
                    assert len(lengths) <= 1
                for series in list(record.series.values()):
                    steps, values = series.steps, series.values
                    assert (steps[: len(values)] == values[: len(steps)]).all()
        except Exception as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for step in range(5000):
        record.log(step, {"a": float(step), "b": float(step)})
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
    record.close()
    assert RunRecord.load(tmp_path).series["a"].steps.tolist() == list(range(5000))


def test_no_log_waits_for_the_disk(tmp_path):
    record = RunRecord(tmp_path)
    record.log(1, {"loss": 0.5}, later=True)
    with record._journal._lock:  # as while a slow disk writes
        writer = threading.Thread(target=record.flush)
        writer.start()
        writer.join(0.2)
        logger = threading.Thread(target=record.log, args=(2, {"loss": 0.5}))
        logger.start()
        logger.join(60)
        assert writer.is_alive() and not logger.is_alive()
    writer.join()
    record.close()
    assert RunRecord.load(tmp_path).series["loss"].steps.tolist() == [1, 2]


def test_a_full_disk_does_not_end_the_run(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    record = RunRecord(tmp_path / "run")
    record.flush()
    record._journal._file.close()
    record._journal._file = open("/dev/full", "a")  # noqa: SIM115
    with pytest.warns(NotebookKitWarning, match="cannot be written"):
        record.event("note", 1, text="x" * 100_000)
    record.event("note", 2, text="x" * 100_000)
    assert len(record.events) == 2


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        RunRecord(tmp_path / "file" / "run")


STATE = {
    "global_step": 20,
    "max_steps": 20,
    "num_train_epochs": 2,
    "best_metric": 0.4,
    "best_global_step": 10,
    "log_history": [
        {"loss": 0.9, "grad_norm": 1.0, "learning_rate": 1e-4, "epoch": 1.0, "step": 10},
        {"eval_loss": 0.4, "epoch": 1.0, "step": 10, "eval_per_class": [1, 2], "eval_name": "x"},
        {"loss": math.nan, "epoch": 2.0, "step": 20},
    ],
}


def test_a_state_of_transformers(tmp_path):
    folder = tmp_path / "checkpoint-20"
    folder.mkdir()
    (folder / "trainer_state.json").write_text(json.dumps(STATE))  # with the word NaN, as transformers writes it
    for place in (folder, folder / "trainer_state.json", tmp_path):
        read = RunRecord.load(place)
        assert read.series["loss"].steps.tolist() == [10, 20] and math.isnan(read.series["loss"].last)
        assert read.series["eval_loss"].values.tolist() == [0.4]
        assert "eval_per_class" not in read.series and "eval_name" not in read.series
        assert np.isnan(read.series["loss"].times).all()
        assert read.facts["max_steps"] == 20
        assert [(event["kind"], event["step"]) for event in read.events] == [("best", 10), ("end", 20)]
        assert read.name == "checkpoint-20"


def test_the_latest_run_of_an_output_folder(tmp_path):
    for number, name in enumerate(("one", "two", "three")):
        record = RunRecord(tmp_path / "runs" / name)
        record.log(number, {"loss": 0.5})
        record.close()
        os.utime(tmp_path / "runs" / name / "events.jsonl", (number, number))
    assert [run.name for run in find_runs(tmp_path)] == ["three", "two", "one"]
    assert [run.name for run in find_runs(tmp_path / "runs")] == ["three", "two", "one"]
    assert RunRecord.load(tmp_path).name == "three"


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: path / "nowhere", "no such file or folder"),
        (lambda path: path, "has no record"),
        (lambda path: write(path / "events.jsonl", ""), "is empty"),
        (lambda path: write(path / "events.jsonl", "{}\n"), "is not the record"),
        (lambda path: write(path / "events.jsonl", "hello\n"), "is not the record"),
        (lambda path: write(path / "picture.png", b"\x89PNG\r\n\x1a\n\x00\xff"), "is not the record"),
        (lambda path: write(path / "config.json", "{}"), "is not the state"),
        (lambda path: write(path / "config.json", "[1]"), "is not the state"),
        (lambda path: write(path / "config.json", '{"log_history": [{"loss": 1}]}'), "is not the state"),
        (lambda path: write(path / "config.json", '{"log_history": null}'), "is not the state"),
        (lambda path: write(path / "config.json", "{"), "is not the state"),
        (lambda path: write(path / "config.json", b"\xff"), "is not the state"),
    ],
)
def test_what_is_no_run_is_told(tmp_path, make, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        RunRecord.load(make(tmp_path))
    assert caught.value.next_step


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
