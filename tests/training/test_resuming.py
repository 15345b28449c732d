"""A run that was stopped goes on to the same weights as one that never was."""

import dataclasses
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from killed_run import OPTIONS
from tiny_training import Line, assert_same_weights, bert, curve, dataset, line_rows, rows, trainer, weights
from torch.utils.data import DataLoader, IterableDataset

from notebook_kit.errors import CheckpointError, NotebookKitWarning, UnsafeFileError
from notebook_kit.training import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    default_data_collator,
    get_last_checkpoint,
)
from notebook_kit.training.run_folder import checkpoints
from notebook_kit.training.state import ExportableState

HERE = Path(__file__).parent


class Stop(BaseException):
    """Ends a run as a crash would: nothing is saved."""


class StopAt(TrainerCallback):
    """Ends a run with an exception after a step, as a crash would."""

    def __init__(self, step, event="on_step_end"):
        self.step = step
        setattr(self, event, self._stop)

    def _stop(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stop


def never_stopped_and_resumed(tmp_path, stop_at, make):
    """The trainers of a whole run and of one that stopped (`make(folder, callbacks)` makes them) and was resumed."""
    whole = make(tmp_path / "whole", [])
    whole.train()
    with pytest.raises(Stop):
        make(tmp_path / "stopped", [StopAt(stop_at)]).train()
    # Whatever happens between the two must not matter.
    torch.rand(7), random.random(), np.random.rand()
    resumed = make(tmp_path / "stopped", [])
    resumed.train(resume_from_checkpoint=True)
    return whole, resumed


def assert_same_run(whole, resumed):
    assert_same_weights(weights(whole.model), weights(resumed.model))
    histories = [curve(t.state.log_history) for t in (whole, resumed)]
    for history in histories:
        history[-1].pop("train_loss")  # of this call of train alone
    assert histories[0] == histories[1]


SETTINGS = {
    "by_length": {},
    "shuffled": {"group_by_length": False},
    "accumulation": {"gradient_accumulation_steps": 2},
    "evaluating": {"eval_strategy": "steps", "eval_steps": 3, "lr_scheduler_type": "cosine"},
    "plateau": {"eval_strategy": "steps", "eval_steps": 4, "lr_scheduler_type": "reduce_lr_on_plateau"},
    "epochs": {"save_strategy": "epoch", "eval_strategy": "epoch", "logging_strategy": "epoch"},
    "last_step_of_epoch": {"save_steps": 6, "eval_strategy": "epoch"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_resumed_run_is_the_run_never_stopped(tmp_path, name):
    options = {"max_steps": 15, "save_strategy": "steps", "save_steps": 4, "logging_steps": 3, **SETTINGS[name]}

    def make(folder, callbacks):
        return trainer(folder, bert(0.2), dataset(45), callbacks=callbacks, eval_dataset=dataset(20, 1), **options)

    assert_same_run(*never_stopped_and_resumed(tmp_path, 8, make))


def test_resume_with_a_stream(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(rows(45))

    def make(folder, callbacks):
        return trainer(
            folder, bert(0.2), Stream(), callbacks=callbacks, max_steps=14, save_strategy="steps", save_steps=4
        )

    assert_same_run(*never_stopped_and_resumed(tmp_path, 11, make))


@pytest.mark.parametrize("way", ["plain", "mapped", "interleaved", "shuffled", "own", "workers"])
def test_resume_continues_a_stream_where_it_was(tmp_path, way):
    read = []

    def examples(part=0):
        for index, row in enumerate(rows(45, seed=part)):
            read.append(index)
            yield row

    class Own(IterableDataset):
        """With a position that it keeps itself."""

        def __init__(self):
            self.at = self.start = 0

        def __iter__(self):
            start, self.start = self.start, 0
            for self.at, row in enumerate(rows(45)[start:], start + 1):
                read.append(self.at - 1)
                yield row

        def state_dict(self):
            return {"at": self.at}

        def load_state_dict(self, state):
            self.start = state["at"]

    def stream():
        if way == "own":
            return Own()
        made = datasets.Dataset.from_list(rows(45)).to_iterable_dataset(num_shards=3)
        if way == "mapped":
            return made.map(lambda row: (read.append(0), row)[1])
        if way == "interleaved":
            return datasets.interleave_datasets([made, datasets.Dataset.from_list(rows(31, 1)).to_iterable_dataset()])
        return made.shuffle(seed=3, buffer_size=10) if way == "shuffled" else made

    options = {
        "max_steps": 14,
        "save_strategy": "steps",
        "save_steps": 4,
        "dataloader_num_workers": int(way == "workers"),
    }

    def make(folder, callbacks):
        return trainer(folder, bert(0.2), stream(), callbacks=callbacks, **options)

    assert_same_run(*never_stopped_and_resumed(tmp_path, 11, make))
    folder = next(tmp_path.rglob("checkpoint-4"))
    assert (folder / "stream.pt").exists() == (way not in ("shuffled", "workers"))
    if way in ("own", "mapped"):
        read.clear()
        trainer(folder.parent, bert(0.2), stream(), **{**options, "max_steps": 5}).train(str(folder))
        # The first epoch has 45 examples; the checkpoint was written after 32 of them.
        assert len(read) == 8 and (way == "mapped" or read == list(range(32, 40)))


def test_ignore_data_skip_begins_the_epoch_again(tmp_path):
    seen = []

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            seen.append(kwargs["trainer"].last_step.batches[0]["input_ids"][0, :3].tolist())

    options = {"save_strategy": "steps", "save_steps": 2, "callbacks": [Watch()], "train_sampling_strategy": "random"}
    trainer(tmp_path, max_steps=4, **options).train()
    for skips, first in ((True, 0), (False, 2)):
        again = trainer(tmp_path, max_steps=3, ignore_data_skip=skips, **{**options, "save_strategy": "no"})
        again.train(str(tmp_path / "checkpoint-2"))
        assert seen.pop() == seen[first]


def test_resume_with_a_loader_of_the_users_own_and_random_examples(tmp_path):
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, index):
            return {"x": [index / 20 + random.random() + float(torch.rand(1))], "labels": index / 20}

    class Own(Trainer):
        def get_train_dataloader(self):
            return DataLoader(self.train_dataset, batch_size=4, shuffle=True, collate_fn=default_data_collator)

    def make(folder, callbacks):
        torch.manual_seed(3)
        options = {"max_steps": 12, "save_strategy": "steps", "save_steps": 4, "kind": Own}
        return trainer(folder, Line(), Noisy(), callbacks=callbacks, **options)

    assert_same_run(*never_stopped_and_resumed(tmp_path, 7, make))


def test_resume_keeps_the_patience_of_early_stopping(tmp_path):
    options = {
        "max_steps": 40,
        "save_strategy": "steps",
        "save_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "metric_for_best_model": "constant",
        "greater_is_better": True,
    }

    def make(folder, callbacks):
        return trainer(
            folder,
            data=dataset(45),
            eval_dataset=dataset(8),
            compute_metrics=lambda prediction: {"constant": 1.0},
            callbacks=[EarlyStoppingCallback(3), *callbacks],
            **options,
        )

    whole, resumed = never_stopped_and_resumed(tmp_path, 5, make)
    assert whole.state.global_step == 8
    assert_same_run(whole, resumed)


def run_killed(folder, step):
    command = [sys.executable, str(HERE / "killed_run.py"), str(folder), step]
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}, capture_output=True)


@pytest.fixture(scope="module")
def whole_weights(tmp_path_factory):
    whole = trainer(tmp_path_factory.mktemp("whole"), data=dataset(45), **OPTIONS)
    whole.train()
    return weights(whole.model)


def assert_resumes_to(folder, expected):
    for checkpoint in checkpoints(folder):
        assert {path.name for path in checkpoint.iterdir()} >= {
            "model.safetensors",
            "optimizer.pt",
            "trainer_state.json",
        }
    resumed = trainer(folder, data=dataset(45), **OPTIONS)
    resumed.train(resume_from_checkpoint=True)
    assert_same_weights(weights(resumed.model), expected)


def test_killed_while_replacing_a_checkpoint_leaves_the_older_one(tmp_path, whole_weights):
    with pytest.raises(Stop):
        trainer(tmp_path, data=dataset(45), callbacks=[StopAt(5)], **OPTIONS).train()
    assert run_killed(tmp_path, "4").returncode == -signal.SIGKILL
    assert not checkpoints(tmp_path)
    assert Path(get_last_checkpoint(tmp_path)).name == "checkpoint-4"
    assert_resumes_to(tmp_path, whole_weights)


def interrupt(step, times=1):
    class Interrupt(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == step:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)

    return Interrupt()


def test_interrupt_finishes_the_step_saves_and_goes_on(tmp_path):
    options = {"max_steps": 12, "save_strategy": "steps", "save_steps": 100}
    whole = trainer(tmp_path / "whole", **options)
    whole.train()
    stopped = trainer(tmp_path / "stopped", callbacks=[interrupt(4)], **options)
    former = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"after step 5 of 12.*resume_from_checkpoint='.*checkpoint-5'"):
        stopped.train()
    assert signal.getsignal(signal.SIGINT) is former
    assert stopped.state.global_step == 5
    assert not stopped.is_in_train
    assert "train_loss" in stopped.state.log_history[-1]
    assert all(parameter.grad is None for parameter in stopped.model.parameters())
    assert np.isfinite(stopped.evaluate(dataset(8))["eval_loss"])
    stopped.remove_callback(type(stopped.callbacks[-1]))
    stopped.train(resume_from_checkpoint=True)
    assert stopped.state.global_step == 12
    assert_same_weights(weights(stopped.model), weights(whole.model))


def test_interrupt_without_saving_keeps_the_model(tmp_path):
    stopped = trainer(tmp_path, callbacks=[interrupt(2)], max_steps=9)
    before = weights(stopped.model)
    with pytest.raises(KeyboardInterrupt, match="No checkpoint was written"):
        stopped.train()
    assert not checkpoints(tmp_path)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in stopped.model.state_dict().items())


def test_second_interrupt_breaks_in_at_once(tmp_path):
    stopped = trainer(tmp_path, callbacks=[interrupt(3, times=2)], max_steps=9, save_strategy="steps")
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert stopped.state.global_step == 3
    assert not checkpoints(tmp_path)


def test_interrupt_lets_the_optimizer_be_made(tmp_path, monkeypatch):
    """The first one of a process imports torch's compiler: half imported it would be of no use to the next run."""
    run, made = trainer(tmp_path, max_steps=2), []
    create = run.create_optimizer_and_scheduler

    def interrupted(steps):
        signal.raise_signal(signal.SIGINT)
        create(steps)
        made.append(run.optimizer)

    monkeypatch.setattr(run, "create_optimizer_and_scheduler", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert made and run.state.global_step == 0
    monkeypatch.undo()
    run.train()
    assert run.state.global_step == 2


def test_interrupt_breaks_into_an_evaluation(tmp_path):
    class Interrupt(TrainerCallback):
        seen = 0

        def on_prediction_step(self, args, state, control, **kwargs):
            self.seen += 1
            signal.raise_signal(signal.SIGINT)

    callback = Interrupt()
    stopped = trainer(
        tmp_path,
        callbacks=[callback],
        eval_dataset=dataset(40),
        eval_strategy="steps",
        eval_steps=2,
        max_steps=9,
        save_strategy="steps",
    )
    with pytest.raises(KeyboardInterrupt, match="after step 2"):
        stopped.train()
    assert callback.seen == 1
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]


def test_training_in_a_thread_works(tmp_path):
    errors = []
    run = trainer(tmp_path, Line(), line_rows(), data_collator=default_data_collator, max_steps=3)

    def work():
        try:
            run.train()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
    assert run.state.global_step == 3


def test_bar_closes_when_a_run_fails(tmp_path):
    run = trainer(tmp_path, callbacks=[StopAt(2)], max_steps=5, disable_tqdm=False)
    bars = []

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, trainer=None, **kwargs):
            bars.append(trainer.callbacks[1].bar)

    run.add_callback(Watch)
    with pytest.raises(Stop):
        run.train()
    assert bars[0].disable or not bars[0].pos  # closed
    assert run.callbacks[1].bar is None


def test_save_total_limit_keeps_the_last_and_the_best(tmp_path):
    scores = iter([0.1, 0.9, 0.2, 0.3, 0.4])
    run = trainer(
        tmp_path,
        eval_dataset=dataset(8),
        compute_metrics=lambda prediction: {"score": next(scores)},
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        max_steps=10,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="score",
    )
    at_best = {}

    class Keep(TrainerCallback):
        def on_save(self, args, state, control, model=None, **kwargs):
            if state.global_step == 4:
                at_best.update(weights(model))

    run.add_callback(Keep)
    run.train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-10"]
    assert run.state.best_metric == 0.9
    assert Path(run.state.best_model_checkpoint).name == "checkpoint-4"
    assert_same_weights(weights(run.model), at_best)


def test_plain_module_is_saved_and_resumed(tmp_path):
    def make(folder, callbacks):
        torch.manual_seed(1)
        options = {"max_steps": 12, "save_strategy": "steps", "save_steps": 4, "data_collator": default_data_collator}
        return trainer(folder, Line(), line_rows(), callbacks=callbacks, **options)

    assert_same_run(*never_stopped_and_resumed(tmp_path, 6, make))


def test_errors_of_resuming_say_what_to_do(tmp_path):
    run = trainer(tmp_path / "none", Line(), line_rows(), data_collator=default_data_collator, max_steps=2)
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        run.train(resume_from_checkpoint=True)
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        run.train(resume_from_checkpoint=str(tmp_path / "typo"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"trainer_state\.json"):
        run.train(resume_from_checkpoint=str(tmp_path / "empty"))


def saved(tmp_path, **options):
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, **options}
    run = trainer(tmp_path, Line(), line_rows(), data_collator=default_data_collator, **options)
    run.train()
    return run


def test_checkpoint_of_another_model_is_refused(tmp_path):
    saved(tmp_path)
    model = Line()
    model.layer = torch.nn.Linear(2, 1)
    again = trainer(tmp_path, model, line_rows(), data_collator=default_data_collator, max_steps=6)
    with pytest.raises(CheckpointError, match="Create the model with the configuration of the run"):
        again.train(resume_from_checkpoint=True)


def test_only_the_model_cannot_be_resumed(tmp_path):
    saved(tmp_path, save_only_model=True)
    again = trainer(tmp_path, Line(), line_rows(), data_collator=default_data_collator, max_steps=6)
    with pytest.raises(CheckpointError, match="save_only_model"):
        again.train(resume_from_checkpoint=True)


def test_resuming_with_other_settings_warns(tmp_path):
    saved(tmp_path)
    again = trainer(
        tmp_path, Line(), line_rows(), data_collator=default_data_collator, max_steps=6, per_device_train_batch_size=4
    )
    with pytest.warns(NotebookKitWarning, match="per_device_train_batch_size was 8, is 4"):
        again.train(resume_from_checkpoint=True)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("has_manifest", [True, False])
@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_malicious_pickle_is_refused(tmp_path, name, has_manifest, save):
    saved(tmp_path)
    folder = tmp_path / "checkpoint-4"
    save({"state": Touch(tmp_path / "ran")}, folder / name)
    if not has_manifest:
        (folder / "checkpoint.json").unlink()  # its checksums would betray the change
    again = trainer(tmp_path, Line(), line_rows(), data_collator=default_data_collator, max_steps=6)
    with pytest.raises(UnsafeFileError, match=r"could run code\. It was not read and nothing of it was run") as refused:
        again.train(resume_from_checkpoint=str(folder))
    with pytest.raises(UnsafeFileError):
        again.train(resume_from_checkpoint=True)
    assert name in str(refused.value) and "weights_only" not in str(refused.value) and refused.value.__cause__ is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "field", ["global_step", "log_history", "best_metric", "stateful_callbacks", "epoch", "max_steps"]
)
@pytest.mark.parametrize("value", ["x", [1], {"Position": 1, "LossMeter": {}}, 2.5, float("nan")])
def test_a_state_of_other_types_is_named(tmp_path, field, value):
    state = dataclasses.asdict(TrainerState(global_step=1))
    (tmp_path / "trainer_state.json").write_text(json.dumps({**state, field: value}))
    try:
        TrainerState.load_from_json(tmp_path / "trainer_state.json")
    except CheckpointError as error:
        assert field in str(error) and "trainer_state.json" in str(error)


def test_damaged_positions_and_generators_are_named(tmp_path):
    saved(tmp_path)
    folder = tmp_path / "checkpoint-4"
    (folder / "checkpoint.json").unlink()
    whole = json.loads((folder / "trainer_state.json").read_text())
    for states in ({"Position": 1}, {"LossMeter": {}}, {"Position": {"args": {"x": 1}, "attributes": {}}}):
        (folder / "trainer_state.json").write_text(json.dumps({**whole, "stateful_callbacks": states}))
        again = trainer(tmp_path, Line(), line_rows(), data_collator=default_data_collator, max_steps=6)
        with pytest.raises(CheckpointError, match="stateful_callbacks"):
            again.train(resume_from_checkpoint=str(folder))
    (folder / "trainer_state.json").write_text(json.dumps(whole))
    for states in ([1], {"python": 1}, {"epoch_start": {"cpu": torch.ones(2)}}):
        torch.save(states, folder / "rng_state.pth")
        again = trainer(tmp_path, Line(), line_rows(), data_collator=default_data_collator, max_steps=6)
        with pytest.raises(CheckpointError, match="checkpoint-4"):
            again.train(resume_from_checkpoint=str(folder))


def test_only_what_a_run_left_is_cleaned_up(tmp_path):
    for name in (
        ".checkpoint-mine.deleted",
        ".checkpoint-3.partial",
        ".checkpoint-4.deleted",
        ".checkpoint-x-5.partial",
    ):
        (tmp_path / name).mkdir()
    (tmp_path / ".checkpoint-6.replaced").mkdir()
    assert get_last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-6")
    left = sorted(path.name for path in tmp_path.iterdir() if path.name != ".run.lock")
    assert left == [".checkpoint-mine.deleted", ".checkpoint-x-5.partial", "checkpoint-6"]


def test_written_files_keep_their_permissions(tmp_path):
    run = trainer(tmp_path, Line(), line_rows(), data_collator=default_data_collator)
    run.save_model()
    (tmp_path / "model.safetensors").chmod(0o600)
    run.save_model()
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o600


@dataclasses.dataclass
class OwnArguments(TrainingArguments):
    extra: int = 3
    secret_token: str | None = None


def test_arguments_of_a_subclass_resume(tmp_path):
    def run():
        args = OwnArguments(
            str(tmp_path),
            evaluation_strategy="no",
            no_cuda=True,
            max_steps=4,
            save_steps=2,
            disable_tqdm=True,
            extra=5,
            secret_token="s3cret",
        )
        return Trainer(Line(), args, train_dataset=line_rows(), data_collator=default_data_collator)

    first = run()
    first.train()
    assert "s3cret" not in (tmp_path / "checkpoint-2" / "training_args.json").read_text()
    assert run().train(resume_from_checkpoint=str(tmp_path / "checkpoint-2")).global_step == 4


@pytest.mark.parametrize("restore", [False, True])
def test_states_of_callbacks(tmp_path, restore):
    def run(patience):
        early = EarlyStoppingCallback(early_stopping_patience=patience)
        options = {
            "eval_strategy": "steps",
            "save_strategy": "steps",
            "save_steps": 1,
            "eval_steps": 1,
            "learning_rate": 0.0,
        }
        options |= {"metric_for_best_model": "loss", "restore_callback_states_from_checkpoint": restore, "max_steps": 6}
        data = {"data_collator": default_data_collator, "eval_dataset": line_rows(4), "callbacks": early}
        return trainer(tmp_path, Line(), line_rows(), **data, **options), early

    first, early = run(3)
    first.train()
    assert early.early_stopping_patience_counter == 3
    again, early = run(10)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert early.early_stopping_patience == (3 if restore else 10)
    assert early.early_stopping_patience_counter == (3 if restore else 5)


@pytest.mark.parametrize("restore", [False, True])
def test_a_callback_may_leave_out_parts_of_its_state(tmp_path, restore):
    class Named(TrainerCallback, ExportableState):
        def __init__(self, name="default"):
            self.name = name

        def state(self):
            return {"args": {"name": self.name}}

    def run(name):
        options = {"max_steps": 2, "save_steps": 1, "save_strategy": "steps"}
        options["restore_callback_states_from_checkpoint"] = restore
        data = {"data_collator": default_data_collator, "callbacks": (callback := Named(name))}
        return trainer(tmp_path, Line(), line_rows(), **data, **options), callback

    run("first")[0].train()
    again, callback = run("second")
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert callback.name == ("first" if restore else "second")


def test_state_reads_what_it_wrote_and_what_others_wrote(tmp_path):
    state = TrainerState(global_step=3, log_history=[{"loss": 1.0, "step": 3}])
    state.save_to_json(tmp_path / "state.json")
    assert TrainerState.load_from_json(tmp_path / "state.json") == state
    (tmp_path / "other.json").write_text('{"global_step": 5, "field_of_the_future": 1}')
    assert TrainerState.load_from_json(tmp_path / "other.json").global_step == 5
