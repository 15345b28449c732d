"""A branch goes on from a checkpoint with what was changed, and with nothing changed it is its parent."""

import pytest
import torch
from tiny_training import Line, assert_same_weights, bert, curve, dataset, line_rows, trainer, weights

from notebook_kit.errors import CheckpointError, ConfigurationError, InputError, NotebookKitWarning
from notebook_kit.training import EarlyStoppingCallback, RunMonitor, TrainerCallback, default_data_collator
from notebook_kit.training.recording.record import RunRecord


class Rates(TrainerCallback):
    """The learning rate and the weight decay of each step."""

    def __init__(self):
        self.seen = {}

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        first, second = optimizer.param_groups
        self.seen[state.global_step + 1] = (first["lr"], first["weight_decay"], second["weight_decay"])


def line(folder, **options):
    torch.manual_seed(0)
    options = {"max_steps": 12, "save_strategy": "steps", "save_steps": 4, "learning_rate": 0.1, **options}
    return trainer(folder, Line(), line_rows(32), data_collator=default_data_collator, **options)


def deep(folder, **options):
    options = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 5, "logging_steps": 1, **options}
    return trainer(folder, bert(0.2), dataset(61), per_device_train_batch_size=8, **options)


@pytest.mark.parametrize(
    "options", [{}, {"bf16": True, "gradient_accumulation_steps": 2, "save_steps": 3}], ids=["plain", "bf16"]
)
def test_an_unchanged_branch_is_its_parent_bit_by_bit(tmp_path, options):
    parent = deep(tmp_path, **options)
    parent.train()
    final, step = weights(parent.model), parent.state.save_steps
    branch = parent.branch(step)
    assert type(branch) is type(parent) and branch.model is not parent.model
    branch.train(background=True).wait()
    assert_same_weights(weights(branch.model), final)
    assert_same_weights(weights(parent.model), final)
    whole, own = curve(parent.state.log_history), curve(branch.state.log_history)
    for history in (whole, own):
        history[-1].pop("train_loss")  # of the call of train alone
    assert own == whole
    assert branch.args.output_dir.startswith(str(tmp_path / "branches"))


def test_a_branch_uses_the_new_rate_and_decay_and_resuming_keeps_the_old_and_says_so(tmp_path):
    parent = line(tmp_path, callbacks=[Rates()])
    parent.train()
    branch = parent.branch(4, learning_rate=0.02, weight_decay=0.3)
    branch.pop_callback(Rates)
    branch.add_callback(rates := Rates())
    branch.train()
    again = parent.branch(4, learning_rate=0.02, weight_decay=0.3, output_dir=branch.args.output_dir)
    again.train(resume_from_checkpoint=f"{branch.args.output_dir}/checkpoint-8")  # a branch resumes as any other run
    assert_same_weights(weights(again.model), weights(branch.model))
    for step, (rate, decay, none) in rates.seen.items():
        assert (rate, decay, none) == (pytest.approx(0.02 * (13 - step) / 12), 0.3, 0.0)
    assert sorted(rates.seen) == list(range(5, 13))

    rates = Rates()
    resumed = line(tmp_path, learning_rate=0.02, weight_decay=0.3, callbacks=[rates])
    with pytest.warns(
        NotebookKitWarning, match=r"learning_rate was 0.1, is 0.02; weight_decay was 0.0, is 0.3\)\. .*branch"
    ):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert all(seen == (pytest.approx(0.1 * (13 - step) / 12), 0.0, 0.0) for step, seen in rates.seen.items())


def test_a_resumed_run_uses_the_other_new_settings_and_says_so(tmp_path, caplog):
    line(tmp_path).train()
    resumed = line(tmp_path, max_grad_norm=0.5, lr_scheduler_type="constant", callbacks=[rates := Rates()])
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert "lr_scheduler_type was 'linear', is 'constant'; max_grad_norm was 1.0, is 0.5" in caplog.text
    assert {rate for rate, *_ in rates.seen.values()} == {0.1}
    with pytest.raises(CheckpointError, match="optimizer adamw_torch_fused, which optim='sgd' cannot use"):
        line(tmp_path, optim="sgd").train(resume_from_checkpoint=True)


def test_another_batch_size_goes_on_after_the_same_examples(tmp_path):
    parent = line(tmp_path, max_steps=-1, num_train_epochs=3)  # 4 updates per epoch
    parent.train()
    assert parent.state.global_step == 12
    branch = parent.branch(4, per_device_train_batch_size=4)
    branch.train()
    assert branch.state.global_step == 4 + 2 * 8 and branch.state.epoch == 3
    resumed = line(tmp_path, max_steps=-1, num_train_epochs=3, per_device_train_batch_size=16)
    with pytest.warns(NotebookKitWarning, match="per_device_train_batch_size was 8, is 16"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert resumed.state.global_step == 4 + 2 * 2 and resumed.state.epoch == 3


def test_other_data_is_trained_on_from_its_start_for_the_remaining_updates(tmp_path):
    parent = line(tmp_path)
    parent.train()
    other = [{**row, "labels": -row["labels"]} for row in line_rows(8)]
    branch = parent.branch(tmp_path / "checkpoint-8", train_dataset=other)
    branch.train()
    assert branch.state.global_step == 12 and branch.state.epoch == 4
    longer = parent.branch(8, train_dataset=other, num_train_epochs=6)
    longer.train()
    assert longer.state.global_step == 8 + 6 and longer.args.output_dir != branch.args.output_dir


def test_the_record_of_a_branch_names_its_parent_and_callbacks_are_its_own(tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 4, "load_best_model_at_end": True}
    patience = EarlyStoppingCallback(early_stopping_patience=9)
    parent = line(tmp_path, eval_dataset=line_rows(8), callbacks=[RunMonitor(), patience, Rates], **options)
    parent.train()
    branch = parent.branch(4, learning_rate=0.02)
    branch.train()
    (record,) = (RunRecord.load(path) for path in (tmp_path / "branches").iterdir())
    former = next(callback for callback in parent.callbacks if isinstance(callback, RunMonitor)).record
    assert record.facts["parent"] == str(former.run_dir) and record.facts["branched_at"] == 4
    assert record.facts["changes"] == {"learning_rate": 0.02} and record.name == "step 4, learning_rate 0.02"
    assert record.series["loss"].steps.tolist() == list(range(5, 13))
    shared = [callback for callback in branch.callbacks if callback in parent.callbacks]
    assert [type(callback) for callback in shared] == [Rates]


def test_wrong_branches_are_named(tmp_path):
    parent = line(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        parent.branch()
    parent.train()
    with pytest.raises(CheckpointError, match=r"no checkpoint folder .*checkpoint-5"):
        parent.branch(5)
    with pytest.raises(InputError, match=r"checkpoint is \{\}; expected text or a path"):
        parent.branch({})
    with pytest.raises(ConfigurationError, match="Did you mean 'learning_rate'"):
        parent.branch(4, learning_rat=1)
    given = line(tmp_path / "given", optimizers=(torch.optim.SGD(Line().parameters(), 0.1), None))
    with pytest.raises(ConfigurationError, match="as an object"):
        given.branch(4)
