"""Checkpoints that a thread writes: the same files, while the run goes on; failures and ends are those of other saves."""

import signal
import threading
import time

import pytest
import torch
from tiny_training import Line, assert_same_weights, bert, dataset, line_rows, trainer, weights
from torch import nn

from notebook_kit.errors import NotebookKitWarning
from notebook_kit.training import Trainer, TrainerCallback, TrainerState, default_data_collator
from notebook_kit.training.run_folder import Manifest, checkpoints, damage, step_of


class Saved(TrainerCallback):
    """At which step a save was reported, and at which the run was then."""

    def __init__(self):
        self.seen = []

    def on_save(self, args, state, control, trainer=None, **kwargs):
        self.seen.append((state.global_step, trainer.loop.position.updates))


def line(folder, kind=Trainer, **options):
    torch.manual_seed(0)
    options = {"max_steps": 9, "save_strategy": "steps", "save_steps": 3, "save_in_background": True, **options}
    return trainer(folder, Line(), line_rows(80), kind=kind, data_collator=default_data_collator, **options)


def stored(folder):
    """The checksum of each file, but for the arguments, which differ, and the optimizer, whose pickle depends on identities."""
    files = Manifest.of(folder).files
    return {name: value for name, value in files.items() if name not in ("training_args.json", "optimizer.pt")}


def test_the_files_are_those_of_other_saves(tmp_path):
    for name, in_background in (("plain", False), ("background", True)):
        options = {"max_steps": 12, "save_steps": 4, "save_total_limit": 2, "bf16": True, "save_strategy": "steps"}
        run = trainer(tmp_path / name, bert(0.2), dataset(61), save_in_background=in_background, **options)
        run.train()
    for step in (8, 12):
        plain, background = (tmp_path / name / f"checkpoint-{step}" for name in ("plain", "background"))
        assert stored(plain) == stored(background) and damage(background) == ""
        states = [torch.load(folder / "optimizer.pt") for folder in (plain, background)]
        assert str(states[0]) == str(states[1])
    assert [step_of(path) for path in checkpoints(tmp_path / "background")] == [8, 12]
    resumed = trainer(tmp_path / "background", bert(0.2, seed=1), dataset(61), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "background" / "checkpoint-8"))
    assert_same_weights(weights(resumed.model), weights(run.model))


def test_the_run_goes_on_while_a_save_is_written_and_waits_at_its_end(tmp_path, monkeypatch):
    may_end, write, saved = threading.Event(), Manifest.write, Saved()

    def held(self, folder):
        assert may_end.wait(60)
        write(self, folder)

    class Release(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                assert not checkpoints(tmp_path)
                may_end.set()

    monkeypatch.setattr(Manifest, "write", held)
    run = line(tmp_path, callbacks=[saved, Release()])
    run.train()
    assert [step for step, _ in saved.seen] == [3, 6, 9] and saved.seen[0][1] >= 5
    for folder in checkpoints(tmp_path):
        assert damage(folder) == ""
        assert TrainerState.load_from_json(folder / "trainer_state.json").global_step == step_of(folder)
    assert not [thread for thread in threading.enumerate() if thread.name == "notebook_kit-saving"]


def test_a_failed_save_is_a_warning_and_the_next_one_succeeds(tmp_path, monkeypatch):
    write, failed = Manifest.write, []

    def full(self, folder):
        if not failed:
            failed.append(folder)
            raise OSError(28, "No space left on device")
        write(self, folder)

    monkeypatch.setattr(Manifest, "write", full)
    with pytest.warns(NotebookKitWarning, match="checkpoint-3 could not be written: .*No space left"):
        line(tmp_path).train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-6", "checkpoint-9"]
    assert not list(tmp_path.glob(".checkpoint-*"))


@pytest.mark.parametrize("how", ["interrupt", "error"])
def test_a_run_that_ends_early_has_its_last_step_on_disk(tmp_path, how):
    class End(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 4:
                signal.raise_signal(signal.SIGINT) if how == "interrupt" else self.missing

    with pytest.raises(KeyboardInterrupt if how == "interrupt" else AttributeError) as ended:
        line(tmp_path, callbacks=[End()]).train()
    last = 5 if how == "interrupt" else 4
    told = str(ended.value) + "".join(getattr(ended.value, "__notes__", []))
    assert damage(tmp_path / f"checkpoint-{last}") == "" and f"checkpoint-{last}" in told


def test_a_model_that_cannot_be_copied_or_has_its_own_save_is_written_at_once(tmp_path):
    class Own(Trainer):
        def save_model(self, output_dir=None, _internal_call=False):
            assert threading.current_thread() is threading.main_thread()
            super().save_model(output_dir, _internal_call)

    run = line(tmp_path / "own", Own)
    run.train()
    run = line(tmp_path / "locked")
    run.model.lock = threading.Lock()
    run.train()
    assert len(checkpoints(tmp_path / "own")) == len(checkpoints(tmp_path / "locked")) == 3


class Wide(nn.Module):
    """21 million parameters, of which each example uses few: with Adam's state, 250 MB."""

    def __init__(self):
        super().__init__()
        self.table = nn.Linear(4096, 5120, bias=False)

    def forward(self, x, labels=None):
        return {"loss": ((self.table.weight[:, 0] * x.mean()) ** 2).mean()}


@pytest.mark.slow
def test_the_loop_stands_still_for_a_third_of_a_save(tmp_path):
    times = {False: [], True: []}
    for round_ in range(3):
        for in_background in times:
            run = trainer(
                tmp_path / f"{round_}{in_background}",
                Wide(),
                [{"x": [1.0], "labels": 0.0}] * 64,
                data_collator=default_data_collator,
                max_steps=8,
                save_in_background=in_background,
            )
            stopped = []

            class Save(TrainerCallback):
                def on_step_end(self, args, state, control, trainer=None, stopped=stopped, **kwargs):
                    if state.global_step in (3, 6):
                        trainer.loop.take_saved(wait=True)
                        start = time.perf_counter()
                        trainer.save_checkpoint()
                        stopped.append(time.perf_counter() - start)

            run.add_callback(Save())
            run.train()
            times[in_background].append(stopped[-1])
    assert min(times[True]) <= min(times[False]) / 3, times
