"""The rows behind a step: which they were, and which of them has the highest loss."""

import io
import math

import pytest
import torch
from tiny_training import Line, assert_same_weights, bert, line_rows, rows, trainer, weights

from notebook_kit.errors import InputError, NonFiniteLossError
from notebook_kit.training import RunMonitor, TrainerCallback, default_data_collator
from notebook_kit.training.recording import row_order
from notebook_kit.training.recording.record import RunRecord
from notebook_kit.training.recording.row_order import RowOrder
from notebook_kit.training.recording.spikes import Spikes


class Batches(TrainerCallback):
    """The labels of each step."""

    def __init__(self):
        self.seen = {}

    def on_step_end(self, args, state, control, trainer=None, **kwargs):
        self.seen[state.global_step] = [x for b in trainer.last_step.batches for x in b["x"].flatten().tolist()]


def line(folder, data=None, **options):
    torch.manual_seed(0)
    options = {"max_steps": 11, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4, **options}
    return trainer(folder, Line(), data or line_rows(29), data_collator=default_data_collator, **options)


@pytest.mark.parametrize("group_by_length", [False, True])
def test_each_step_has_the_rows_of_its_batches_also_after_resuming(tmp_path, group_by_length):
    options = {"save_strategy": "steps", "save_steps": 3, "group_by_length": group_by_length, "num_train_epochs": 3}
    line(tmp_path, callbacks=[RunMonitor()], **{**options, "max_steps": 6}).train()
    seen = Batches()
    monitor = RunMonitor()
    resumed = line(tmp_path, callbacks=[monitor, seen], **{**options, "max_steps": 11})
    resumed.train(resume_from_checkpoint=True)
    data = line_rows(29)
    record = RunRecord.load(tmp_path)  # as another process reads it
    order = RowOrder(monitor.record.run_dir)
    for step in range(7, 12):
        found = order.rows(record.events, step)
        assert [data[row]["x"][0] for row in found] == pytest.approx(seen.seen[step]), step
    assert len(order.rows(record.events, 2)) == 8 and order.rows(record.events, 0) == []
    measured = resumed.rows_at(9)
    assert {row.index for row in measured} == set(order.rows(record.events, 9))


def test_the_worst_row_comes_first_with_its_text_and_label(tmp_path):
    data = rows(24)
    for number, row in enumerate(data):
        row["text"] = f"words {number}"
    model = bert(0.3)
    model.config.id2label = {0: "odd", 1: "even"}
    run = trainer(tmp_path, model, data, max_steps=3, callbacks=[RunMonitor()])
    run.train()
    before, state = weights(model), torch.get_rng_state()
    found = run.rows_at(2)
    assert_same_weights(before, weights(model))
    assert torch.equal(state, torch.get_rng_state())
    assert [row.loss for row in found] == sorted((row.loss for row in found), reverse=True) and len(found) == 8
    worst = found[0]
    model.eval()
    batch = run.data_collator([{k: v for k, v in data[worst.index].items() if k != "text"}])
    assert worst.loss == pytest.approx(model(**batch).loss.item()) and worst.text == f"words {worst.index}"
    assert worst.label == {0: "odd", 1: "even"}[data[worst.index]["label"]] and "words" in repr(found)


def test_a_spike_and_a_nan_bring_their_rows_by_themselves(tmp_path):
    data = line_rows(40)
    data[17]["labels"] = 1000.0
    monitor = RunMonitor()
    run = line(tmp_path, data * 4, callbacks=[monitor], max_steps=39, gradient_accumulation_steps=1, learning_rate=0.0)
    run.args.train_sampling_strategy = "sequential"
    # The first 40 rows are ordinary ones, so that there is a usual loss.
    run.train_dataset = line_rows(100) + data
    run.train()
    events = {event["kind"]: event for event in monitor.record.events}
    assert events["spike"]["step"] == 25 + 17 // 4 + 1 and events["spike"]["value"] > 1.5 * events["spike"]["usual"]
    assert events["rows"]["step"] == events["spike"]["step"] and events["rows"]["why"] == "spike"
    assert events["rows"]["rows"][0]["index"] == 117

    data[17]["labels"] = math.nan
    monitor = RunMonitor()
    run = line(tmp_path, data, callbacks=[monitor], gradient_accumulation_steps=1)
    with pytest.raises(NonFiniteLossError) as error:
        run.train()
    found = next(event for event in monitor.record.events if event["kind"] == "rows")
    assert (
        found["rows"][0]["index"] == 17 and math.isnan(found["rows"][0]["loss"]) and found["step"] == error.value.step
    )


def test_ordinary_noise_is_no_spike():
    spikes = Spikes()
    noise = torch.Generator().manual_seed(1)
    losses = [2 * 0.99**step * (1 + 0.3 * float(torch.randn((), generator=noise))) for step in range(400)]
    assert [spikes.above(step, loss) for step, loss in enumerate(losses)] == [None] * 400


def test_unknown_rows_are_named(tmp_path):
    run = line(tmp_path)
    run.train()
    with pytest.raises(InputError, match="not recorded"):
        run.rows_at(1)
    run.add_callback(RunMonitor())
    run.train()
    with pytest.raises(InputError, match="step 99"):
        run.rows_at(99)


def test_short_epochs_are_written_together_and_a_cut_one_is_removed(tmp_path, monkeypatch):
    order = RowOrder(tmp_path)
    orders = [[[epoch, 7], [2 * epoch]] for epoch in range(6)]
    order.begin_epoch(0, orders[0])
    path = tmp_path / row_order.FILE
    first = path.read_bytes()
    for epoch in range(1, 6):
        order.begin_epoch(epoch, orders[epoch])
    assert path.read_bytes() == first, "epochs within a second wait"
    events = [{"kind": "epoch", "step": 2 * e, "epoch": e, "batch": 0, "accumulation": 1} for e in range(6)]
    expected = [rows for epoch in orders for rows in epoch]
    assert [order.rows(events, step) for step in range(1, 13)] == expected
    order.flush()
    assert [RowOrder(tmp_path).rows(events, step) for step in range(1, 13)] == expected
    path.write_bytes(path.read_bytes()[:-5])  # a kill in the middle of writing
    assert RowOrder(tmp_path).rows(events, 10) == expected[9] and RowOrder(tmp_path).rows(events, 11) == []
    resumed = RowOrder(tmp_path)
    resumed.begin_epoch(5, [[1], [2]])  # by another order of data
    assert [RowOrder(tmp_path).rows(events, step) for step in (10, 11, 12)] == [expected[9], [1], [2]]
    monkeypatch.setattr(row_order, "DELAY", 0.0)
    resumed.begin_epoch(5, orders[5])
    assert RowOrder(tmp_path).rows(events, 11) == expected[10], "the latest counts"


def test_an_epoch_that_could_be_written_only_in_part_is_removed(tmp_path, monkeypatch):
    """As by a full disk: those that follow must not be read from the wrong place."""
    monkeypatch.setattr(row_order, "DELAY", 0.0)
    order, size = RowOrder(tmp_path), 5

    class Full(io.FileIO):
        def write(self, given):
            super().write(given[:size])
            raise OSError(28, "No space left on device")

    order.begin_epoch(0, [[1, 2]])
    with monkeypatch.context() as full, pytest.raises(OSError, match="No space left"):
        full.setattr(row_order, "open", Full, raising=False)
        order.begin_epoch(1, [[3, 4]])
    order.begin_epoch(2, [[5, 6], [7]])
    order.begin_epoch(3, [[8]])
    events = [{"kind": "epoch", "step": step, "epoch": step, "batch": 0, "accumulation": 1} for step in range(4)]
    again = RowOrder(tmp_path)
    assert [again.rows(events[:n], n) for n in range(1, 5)] == [[1, 2], [], [5, 6], [8]]


def test_a_checkpoint_waits_for_the_order_of_its_epochs(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 3, "num_train_epochs": 6, "max_steps": -1}
    run = line(tmp_path, data=line_rows(8), callbacks=[monitor := RunMonitor(), seen := Kill()], **options)
    run.train()
    assert seen.found and all(seen.found)
    assert RowOrder(monitor.record.run_dir).rows(monitor.record.events, 6)


class Kill(TrainerCallback):
    """What another process would find on disk after a kill at each checkpoint."""

    def __init__(self):
        self.found = []

    def on_save(self, args, state, control, trainer=None, **kwargs):
        monitor = next(c for c in trainer.callbacks if isinstance(c, RunMonitor))
        order = RowOrder(monitor.record.run_dir)
        self.found += [bool(order.rows(monitor.record.events, step)) for step in range(1, state.global_step + 1)]
