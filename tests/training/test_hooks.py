"""Mistakes in the arguments and hooks of a Trainer are named."""

import pytest
import torch
from tiny_training import Line, line_rows, trainer

from notebook_kit.errors import ConfigurationError, InputError, NotebookKitWarning
from notebook_kit.training import Trainer, TrainingLoop, default_data_collator, preserved


def line(folder, kind=Trainer, **options):
    options = {"max_steps": 2, "eval_dataset": line_rows(8), **options}
    return trainer(folder, Line(), line_rows(), kind=kind, data_collator=default_data_collator, **options)


def with_hook(name, hook):
    return type("Mine", (Trainer,), {name: hook})


def outputs_of(model, inputs):
    outputs = model(**inputs)
    return outputs["loss"], outputs


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda loss, outputs: None, r"Mine\.compute_loss returned None.*\n?.*return loss"),
        (lambda loss, outputs: (loss, outputs), r"Mine\.compute_loss returned a tuple of 2"),
        (lambda loss, outputs: loss.item(), r"Mine\.compute_loss returned \d.*without \.item"),
        (lambda loss, outputs: loss.detach(), r"Mine\.compute_loss returned a loss that does not depend"),
    ],
)
def test_a_wrong_loss_in_training(tmp_path, returned, message):
    def compute_loss(self, model, inputs, return_outputs=False):
        return returned(*outputs_of(model, inputs))

    with pytest.raises(InputError, match=f"(?s){message}"):
        line(tmp_path, with_hook("compute_loss", compute_loss)).train()


def test_a_wrong_loss_in_an_evaluation(tmp_path):
    def ignoring(self, model, inputs, return_outputs=False):
        return outputs_of(model, inputs)[0]

    def lacking(self, model, inputs):
        return outputs_of(model, inputs)[0]

    with pytest.raises(
        InputError, match=r"returned a Tensor for return_outputs=True; expected the loss and the outputs"
    ):
        line(tmp_path, with_hook("compute_loss", ignoring)).evaluate()
    with pytest.raises(InputError, match=r"Mine\.compute_loss does not take return_outputs"):
        line(tmp_path, with_hook("compute_loss", lacking)).evaluate()


def test_wrong_steps(tmp_path):
    with pytest.raises(InputError, match=r"Mine\.training_step returned None"):
        line(tmp_path, with_hook("training_step", lambda self, model, inputs: None)).train()
    with pytest.raises(InputError, match=r"Mine\.prediction_step returned None; expected the loss, the logits"):
        line(tmp_path, with_hook("prediction_step", lambda self, *given: None)).evaluate()


@pytest.mark.parametrize("value", [0.5, None, [0.5], torch.tensor(0.5)])
def test_metrics_that_are_not_a_dictionary(tmp_path, value):
    with pytest.raises(InputError, match=r"compute_metrics returned .*; expected a dictionary"):
        line(tmp_path, compute_metrics=lambda prediction: value).evaluate()


def test_functions_that_take_other_arguments(tmp_path):
    with pytest.raises(InputError, match=r"called as compute_metrics\(prediction\).*\n?.*logits, labels = prediction"):
        line(tmp_path, compute_metrics=lambda logits, labels: {})
    with pytest.raises(InputError, match=r"called as compute_loss_func\(outputs, labels\)"):
        line(tmp_path, compute_loss_func=lambda outputs: 0)
    with pytest.raises(InputError, match=r"called as preprocess_logits_for_metrics\(logits, labels\)"):
        line(tmp_path, preprocess_logits_for_metrics=lambda logits: logits)
    run = line(tmp_path)
    run.compute_metrics = lambda logits, labels: {}
    with pytest.raises(InputError, match="called as compute_metrics"):
        run.evaluate()
    with pytest.raises(InputError, match="compute_loss_func returned None"):
        line(tmp_path, compute_loss_func=lambda outputs, labels, num_items_in_batch: None).train()
    with pytest.raises(InputError, match="preprocess_logits_for_metrics returned None"):
        options = {"preprocess_logits_for_metrics": lambda logits, labels: None}
        line(tmp_path, compute_metrics=lambda prediction: {}, **options).evaluate()


def test_a_misspelt_argument_of_the_trainer():
    with pytest.raises(
        ConfigurationError, match=r"Trainer has no argument 'train_datset'. Did you mean 'train_dataset'"
    ):
        Trainer(Line(), train_datset=[])
    with pytest.raises(ConfigurationError, match=r"TrainingArguments\(learning_rate="):
        Trainer(Line(), learning_rate=1e-3)


def test_a_model_where_a_trainer_is_expected():
    with pytest.raises(InputError, match=r"TrainingLoop got a Line; expected a Trainer"):
        TrainingLoop(Line())
    with pytest.raises(InputError, match="preserved got a Line; expected a Trainer"), preserved(Line()):
        pass


def test_labels_that_the_batches_lack(tmp_path):
    run = line(tmp_path, label_names=["lables"])
    with pytest.warns(NotebookKitWarning, match=r"have no 'lables', only .* Did you mean 'labels'") as warned:
        metrics = run.evaluate()
    assert len(warned) == 1 and "eval_loss" not in metrics and "eval_runtime" in metrics
    run.predict(line_rows(8))  # predictions need no labels
    unlabelled = [{"x": row["x"]} for row in line_rows(8)]
    with pytest.warns(NotebookKitWarning, match=r"have no 'labels', only 'x'. Add labels, or set label_names"):
        line(tmp_path, eval_dataset=unlabelled).evaluate()


def test_resuming_a_finished_run(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2}
    line(tmp_path, **options).train()
    run = line(tmp_path, **options)
    with pytest.warns(NotebookKitWarning, match=r"already at step 2 of 2, .* raise max_steps"):
        assert run.train(resume_from_checkpoint=True).global_step == 2
    assert line(tmp_path, **{**options, "max_steps": 3}).train(resume_from_checkpoint=True).global_step == 3


@pytest.mark.parametrize("policy", ["stop", "skip", "ignore"])
def test_a_training_step_with_a_loss_per_part(tmp_path, policy):
    """As from a model on several devices: the loss of the update is the mean, as for compute_loss."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = Trainer.training_step(self, model, inputs, num_items_in_batch)
        return torch.stack([loss, 3 * loss])

    options = {"nan_policy": policy, "gradient_accumulation_steps": 2}
    parts = line(tmp_path / "parts", with_hook("training_step", training_step), **options).train()
    whole = line(tmp_path / "whole", **options).train()
    assert parts.training_loss == pytest.approx(2 * whole.training_loss)
