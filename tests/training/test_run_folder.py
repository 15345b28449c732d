"""No run loses or fakes another: whose checkpoints a folder holds, whether they are whole, and what a failing disk leaves."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from tiny_training import Line, assert_same_weights, bert, dataset, line_rows, trainer, weights

from notebook_kit.errors import CheckpointError, ConfigurationError, NotebookKitWarning
from notebook_kit.training import Trainer, TrainerCallback, default_data_collator, get_last_checkpoint
from notebook_kit.training.run_folder import Manifest, checkpoints, damage

SAVING = {"save_strategy": "steps", "save_steps": 2, "data_collator": default_data_collator}


def line(folder, steps, **options):
    torch.manual_seed(0)
    return trainer(folder, Line(), line_rows(), **{**SAVING, "max_steps": steps, **options})


def names(folder):
    return [path.name for path in checkpoints(folder)]


# ------------------------------------------------------------------------------------------------- runs and their folders


def test_a_second_run_keeps_its_own_checkpoints_and_leaves_those_of_the_first(tmp_path, caplog):
    line(tmp_path, 8, save_total_limit=1).train()
    assert names(tmp_path) == ["checkpoint-8"] and not caplog.records
    second = line(tmp_path, 6, save_total_limit=1, learning_rate=0.1)
    second.train()
    assert names(tmp_path) == ["checkpoint-6", "checkpoint-8"]
    assert "has checkpoints of an earlier run, the last one checkpoint-8" in caplog.text
    assert get_last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-6")
    resumed = line(tmp_path, 8, save_total_limit=1, learning_rate=0.1)
    with pytest.raises(Stop):
        resumed.add_callback(StopAt(7))
        resumed.train(resume_from_checkpoint=True)
    assert names(tmp_path) == ["checkpoint-6", "checkpoint-8"]  # of two runs, and not replaced by step 7
    again = line(tmp_path, 8, learning_rate=0.1)
    again.train(resume_from_checkpoint=True)
    assert Manifest.of(tmp_path / "checkpoint-8").run == Manifest.of(tmp_path / "checkpoint-6").run


class Stop(BaseException):
    """Ends a run as a crash would: nothing is saved."""


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stop


def test_a_run_that_resumes_at_an_earlier_checkpoint_is_another_run(tmp_path):
    line(tmp_path, 8).train()
    branch = line(tmp_path, 6, save_total_limit=1)
    branch.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-6", "checkpoint-8"]  # 4 was replaced by that of the branch
    assert get_last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-6")


def test_training_again_after_a_stop_offers_to_go_on(tmp_path, caplog):
    run = line(tmp_path, 8, callbacks=[Interrupt(3)])
    with pytest.raises(KeyboardInterrupt, match=r"checkpoint-3'\)"):
        run.train()
    line(tmp_path, 2).train()
    assert "was stopped at step 3 of 8" in caplog.text
    assert f"resume_from_checkpoint='{tmp_path / 'checkpoint-3'}'" in caplog.text


class Interrupt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            kwargs["trainer"].interrupts.requested = True


def test_two_runs_at_once_in_one_folder_are_refused(tmp_path):
    partial = tmp_path / ".checkpoint-9.partial"
    errors = []

    class Second(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 2:
                partial.mkdir()
                assert get_last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
                with pytest.raises(ConfigurationError, match="Another run is in progress in the folder") as error:
                    line(tmp_path, 2).train(resume_from_checkpoint=True)
                errors.append(error)
                assert partial.exists()  # the half-written checkpoint of the run in progress stays

    line(tmp_path, 4, callbacks=[Second()]).train()
    assert errors
    line(tmp_path, 6).train(resume_from_checkpoint=True)
    assert not partial.exists()


def test_extending_a_finished_run_goes_on_at_the_rate_of_its_schedule(tmp_path):
    line(tmp_path, 4, learning_rate=0.1).train()
    rates = []

    class Watch(TrainerCallback):
        def on_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
            rates.append(optimizer.param_groups[0]["lr"])

    line(tmp_path, 8, learning_rate=0.1, callbacks=[Watch()]).train(resume_from_checkpoint=True)
    assert rates == pytest.approx([0.05, 0.0375, 0.025, 0.0125])


# ------------------------------------------------------------------------------------------------------------ damage


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("spoil", [flip, cut, lambda path: path.unlink()], ids=["flipped", "cut", "missing"])
def test_resuming_falls_back_to_the_newest_undamaged_checkpoint(tmp_path, spoil):
    run = line(tmp_path / "run", 4)
    run.train()
    files = sorted(path.name for path in (tmp_path / "run" / "checkpoint-4").iterdir())
    assert files == [
        *("checkpoint.json", "model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt"),
        *("trainer_state.json", "training_args.json"),
    ]
    for name in files:
        if name == "checkpoint.json" and spoil is not cut:
            continue  # without it, a checkpoint is one of an older version
        folder = tmp_path / name
        shutil.copytree(tmp_path / "run", folder)
        spoil(folder / "checkpoint-4" / name)
        assert name in damage(folder / "checkpoint-4")
        again = line(folder, 4)
        with pytest.warns(
            NotebookKitWarning, match=f"Resuming from .*checkpoint-2, since later .*checkpoint-4: {name}"
        ):
            again.train(resume_from_checkpoint=True)
        assert_same_weights(weights(again.model), weights(run.model))
    spoil(folder / "checkpoint-4" / files[-1])
    with pytest.raises(CheckpointError, match=f"checkpoint-4 is damaged: {files[-1]}"):  # named by the user
        line(folder, 4).train(resume_from_checkpoint=str(folder / "checkpoint-4"))


def test_checkpoints_without_a_manifest_are_checked_by_their_formats(tmp_path):
    line(tmp_path, 4).train()
    (tmp_path / "checkpoint-4" / "checkpoint.json").unlink()
    assert damage(tmp_path / "checkpoint-4") == ""
    for name in ("model.safetensors", "optimizer.pt", "trainer_state.json"):
        folder = shutil.copytree(tmp_path / "checkpoint-4", tmp_path / name)
        cut(folder / name)
        assert damage(folder) == f"{name} is damaged"
    for path in tmp_path.glob("checkpoint-*"):
        cut(path / "trainer_state.json")
    with pytest.raises(CheckpointError, match=r"All checkpoints in .* are damaged"):
        line(tmp_path, 4).train(resume_from_checkpoint=True)


# ------------------------------------------------------------------------------------------------------- failing disks


def test_a_failed_save_is_a_warning_and_the_next_one_succeeds(tmp_path, monkeypatch):
    former, calls = torch.save, []

    def save(value, path, *args, **kwargs):
        calls.append(path)
        if "checkpoint-4" in str(path):
            former(value, path)
            raise OSError(28, "No space left on device")
        return former(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", save)
    run = line(tmp_path, 6, save_total_limit=1)
    with pytest.warns(
        NotebookKitWarning, match=r"checkpoint-4 could not be written.*No space left.*since .*checkpoint-2"
    ):
        run.train()
    assert names(tmp_path) == ["checkpoint-6"] and not list(tmp_path.glob(".checkpoint*"))
    assert run.state.global_step == 6


def test_an_error_of_the_users_own_code_in_a_save_is_raised(tmp_path):
    class Wrong(Trainer):
        def save_model(self, output_dir=None, _internal_call=False):
            raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        line(tmp_path, 2, kind=Wrong).train()
    assert not list(tmp_path.glob(".checkpoint*"))


# ------------------------------------------------------------------------------------------------ errors in the middle


class Weak(torch.utils.data.Dataset):
    """Example 13 cannot be read."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        if index == 13:
            raise KeyError("broken")
        return line_rows()[index]


def fragile(examples):
    if any(example["x"] == [7 / 20] for example in examples):
        raise RuntimeError("collating")
    return default_data_collator(examples)


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"data": Weak()}, "Reading example 13 of train_dataset"),
        ({"data": line_rows(), "data_collator": fragile}, "Collating example 7 of train_dataset"),
    ],
)
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_errors_in_the_data_name_the_example_and_the_run_is_saved(tmp_path, options, note, workers):
    options = {"data_collator": default_data_collator, **options}
    options |= {"save_strategy": "steps", "max_steps": 20, "per_device_train_batch_size": 2}
    options |= {"train_sampling_strategy": "sequential"}
    run = trainer(tmp_path, Line(), dataloader_num_workers=workers, **options)
    with pytest.raises((KeyError, RuntimeError)) as raised:
        run.train()
    assert note in raised.value.__notes__[0]
    step = run.state.global_step
    assert 0 < step < 10 and names(tmp_path) == [f"checkpoint-{step}"]
    assert f"The run is saved up to step {step}." in raised.value.__notes__[1]


def test_an_error_in_a_callback_names_it_and_the_run_goes_on_as_if_it_had_not_been(tmp_path):
    class Faulty(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 6:
                raise ZeroDivisionError

    def make(folder, callbacks):
        options = {"eval_dataset": line_rows(4), "eval_strategy": "steps", "eval_steps": 3, "logging_steps": 3}
        return line(folder, 9, callbacks=callbacks, **{**options, "save_steps": 100})

    whole = make(tmp_path / "whole", [])
    whole.train()
    with pytest.raises(ZeroDivisionError) as raised:
        make(tmp_path / "faulty", [Faulty()]).train()
    assert "Faulty.on_step_end raised this error" in raised.value.__notes__[0]
    resumed = make(tmp_path / "faulty", [])
    resumed.train(resume_from_checkpoint=True)
    assert_same_weights(weights(whole.model), weights(resumed.model))
    for key in ("loss", "eval_loss"):
        assert [log[key] for log in whole.state.log_history if key in log] == [
            log[key] for log in resumed.state.log_history if key in log
        ]


def test_a_label_that_is_none_is_named(tmp_path):
    data = line_rows()
    data[3]["labels"] = None
    with pytest.raises(
        ValueError, match=r"1 of the 8 examples of a batch have no label: their 'labels' is None"
    ) as raised:
        trainer(tmp_path, Line(), data, data_collator=default_data_collator, max_steps=3).train()
    assert "DataCollatorWithPadding" not in str(raised.value)


# ----------------------------------------------------------------------------------------- models of the user's classes


class Scaled(type(bert())):
    """A subclass whose constructor has an argument that its config does not hold."""

    def __init__(self, config, scale):
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.tensor(float(scale)))


def test_models_are_restored_without_being_constructed(tmp_path):
    def make():
        torch.manual_seed(0)
        model = Scaled(bert().config, 3)
        options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
        options |= {"load_best_model_at_end": True, "eval_dataset": dataset(8), "max_steps": 4}
        return trainer(tmp_path, model, dataset(16), **options)

    run = make()
    run.train()
    (tmp_path / "checkpoint-4" / "trainer_state.json").unlink()
    resumed = make()
    with pytest.warns(NotebookKitWarning, match="checkpoint-2"):
        resumed.train(resume_from_checkpoint=True)
    assert_same_weights(weights(run.model), weights(resumed.model))


def test_lengths_of_datasets_are_not_kept(tmp_path):
    run = trainer(tmp_path, data=dataset(8), eval_dataset=dataset(8, 1), max_steps=1)
    run.train()
    for _ in range(3):
        run.evaluate(dataset(8, 2))
        run.predict(dataset(8, 3))
    assert len(run.lengths.kept) <= 2


def test_manifest_is_plain_json(tmp_path):
    line(tmp_path, 2).train()
    values = json.loads((tmp_path / "checkpoint-2" / "checkpoint.json").read_text())
    assert values["finite"] and values["processes"] == 1 and set(values["files"]) >= {"model.safetensors"}
