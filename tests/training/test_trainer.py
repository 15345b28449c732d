"""The hooks, evaluation and files of the Trainer."""

import functools
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_training import Line, Padder, arguments, assert_same_weights, bert, dataset, line_rows, rows, trainer, weights
from torch import nn

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.models.bert import BertForSequenceClassification, BertForTokenClassification
from notebook_kit.training import (
    DataCollatorForTokenClassification,
    EvalPrediction,
    PredictionOutput,
    Trainer,
    TrainOutput,
    default_data_collator,
    set_seed,
)


def line(folder, kind=Trainer, model=None, data=None, **options):
    data = data if data is not None else line_rows()
    options = {"max_steps": 3, "logging_steps": 1, **options}
    return trainer(folder, model or Line(), data, kind=kind, data_collator=default_data_collator, **options)


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, notebook_kit.training as t; assert 'torch' not in sys.modules; dir(t);"
        "[getattr(t, name) for name in t.__all__];"
        "print([m for m in ('accelerate', 'datasets', 'tqdm.auto', 'pandas', 'IPython', 'pyarrow') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_older_overrides_without_num_items_in_batch(tmp_path):
    calls = []

    class Old(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False):
            calls.append("loss")
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            loss = nn.functional.l1_loss(outputs["logits"], labels)
            return (loss, outputs) if return_outputs else loss

        def training_step(self, model, inputs):
            calls.append("step")
            return super().training_step(model, inputs)

    run = line(tmp_path, Old, gradient_accumulation_steps=2)
    run.train()
    assert calls == ["step", "loss"] * 5  # three batches an epoch: two updates, of two and of one
    assert run.evaluate(line_rows())["eval_loss"] > 0
    half = line(tmp_path, Old, gradient_accumulation_steps=2, max_steps=1, per_device_train_batch_size=10)
    whole = line(tmp_path, Old, max_steps=1, per_device_train_batch_size=20)
    half.model.load_state_dict(whole.model.state_dict())
    for one in (half, whole):
        one.train()
    assert half.state.log_history[0]["loss"] == pytest.approx(whole.state.log_history[0]["loss"], abs=1e-6)


def test_compute_loss_func_of_both_signatures(tmp_path):
    seen = []

    def new(outputs, labels, num_items_in_batch=None):
        seen.append(int(num_items_in_batch))
        return ((outputs["logits"] - labels) ** 2).sum() / num_items_in_batch

    def old(outputs, labels):
        return ((outputs["logits"] - labels) ** 2).mean()

    losses = []
    for function, accumulation, size in ((new, 2, 10), (old, 2, 10), (old, 1, 20)):
        torch.manual_seed(0)
        run = line(
            tmp_path,
            model=Line(),
            compute_loss_func=function,
            gradient_accumulation_steps=accumulation,
            per_device_train_batch_size=size,
        )
        run.train()
        losses.append([entry["loss"] for entry in run.state.log_history[:3]])
    assert seen == [10] * 6
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-6)
    np.testing.assert_allclose(losses[0], losses[2], atol=1e-6)


def test_hooks_are_used(tmp_path):
    used = []

    class Hooked(Trainer):
        def get_train_dataloader(self):
            used.append("train")
            return super().get_train_dataloader()

        def get_eval_dataloader(self, eval_dataset=None):
            used.append("eval")
            return super().get_eval_dataloader(eval_dataset)

        def get_test_dataloader(self, test_dataset):
            used.append("test")
            return super().get_test_dataloader(test_dataset)

        def create_optimizer(self):
            used.append("optimizer")
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.25)
            return self.optimizer

        def create_scheduler(self, num_training_steps, optimizer=None):
            used.append(("scheduler", num_training_steps))
            return super().create_scheduler(num_training_steps, optimizer)

        def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
            used.append("prediction")
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)

        def log(self, logs, start_time=None):
            logs["extra"] = 1
            super().log(logs, start_time)

    run = line(tmp_path, Hooked, data=line_rows(8), max_steps=1, eval_dataset=line_rows(8))
    run.train()
    run.evaluate()
    run.predict(line_rows(8))
    assert used == ["train", "optimizer", ("scheduler", 1), "eval", "prediction", "test", "prediction"]
    assert run.state.log_history[0]["learning_rate"] == 0.25
    assert run.state.log_history[0]["extra"] == 1


def test_models_that_return_tuples_or_loss_alone(tmp_path):
    class Tuple(Line):
        def forward(self, x, labels=None):
            out = super().forward(x, labels)
            return (out["loss"], out["logits"]) if labels is not None else (out["logits"],)

    run = line(tmp_path, model=Tuple())
    run.train()
    assert run.predict(line_rows(5)).predictions.shape == (5,)
    assert run.predict([{"x": [1.0]}]).predictions.shape == (1,)


def test_predictions_are_in_the_order_of_the_dataset(tmp_path):
    data = dataset(37)
    model = bert().eval()
    run = trainer(tmp_path, model, data, per_device_eval_batch_size=4)
    found = run.predict(data)
    assert isinstance(found, PredictionOutput)
    for index in (0, 1, 17, 36):
        one = {name: torch.tensor([data[index][name]]) for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            np.testing.assert_allclose(found.predictions[index], model(**one).logits[0], atol=1e-5)
    assert found.label_ids.tolist() == data["label"][:]
    assert set(found.metrics) == {
        "test_loss",
        "test_runtime",
        "test_samples_per_second",
        "test_steps_per_second",
    }
    assert not model.training


def token_rows(count):
    return [
        {
            "input_ids": row["input_ids"],
            "attention_mask": row["attention_mask"],
            "labels": [i % 3 for i in row["input_ids"]],
        }
        for row in rows(count)
    ]


def test_logits_of_unequal_length_are_padded_and_the_loss_does_not_depend_on_batches(tmp_path):
    torch.manual_seed(0)
    model = BertForTokenClassification(bert(0.0, num_labels=3).config)
    data, losses = token_rows(21), []
    for size, group in ((4, True), (21, False), (5, False)):
        run = trainer(
            tmp_path,
            model,
            data,
            data_collator=DataCollatorForTokenClassification(Padder()),
            per_device_eval_batch_size=size,
            group_by_length=group,
            compute_metrics=lambda p: {"right": (p.predictions.argmax(-1) == p.label_ids)[p.label_ids != -100].mean()},
        )
        found = run.predict(data)
        longest = max(len(row["input_ids"]) for row in data)
        assert found.predictions.shape == (21, longest, 3)
        for row, labels in zip(data, found.label_ids, strict=True):
            assert labels.tolist() == row["labels"] + [-100] * (longest - len(row["labels"]))
        losses.append((found.metrics["test_loss"], found.metrics["test_right"]))
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)
    np.testing.assert_allclose(losses[0], losses[2], atol=1e-5)


def test_evaluate_several_datasets_and_prefixes(tmp_path):
    run = line(tmp_path, eval_dataset={"one": line_rows(4), "two": line_rows(6)})
    assert {"eval_one_loss", "eval_two_loss"} <= set(run.evaluate())
    assert "eval_loss" in run.evaluate("two")
    assert "dev_loss" in run.evaluate(line_rows(4), metric_key_prefix="dev")


def test_metrics_see_what_they_ask_for(tmp_path):
    seen = []

    def metrics(prediction):
        assert isinstance(prediction, EvalPrediction)
        logits, labels, *more = prediction
        seen.append((logits.shape, labels.shape, len(more)))
        return {"shape": np.float64(logits.shape[0]), "loss_of_mine": torch.tensor(2.0)}

    options = {"eval_dataset": dataset(9), "compute_metrics": metrics, "include_for_metrics": ["inputs", "loss"]}
    run = trainer(tmp_path, preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1), **options)
    found = run.evaluate()
    assert seen == [((9,), (9,), 2)]
    assert (found["eval_shape"], found["eval_loss_of_mine"]) == (9.0, 2.0)
    assert type(found["eval_shape"]) is float


def test_model_init_starts_anew_and_a_second_train_starts_a_new_schedule(tmp_path):
    run = trainer(tmp_path, model_init=lambda: bert(seed=torch.initial_seed() % 1000), max_steps=3, logging_steps=1)
    first = run.train()
    kept = weights(run.model)
    assert isinstance(first, TrainOutput)
    assert run.train().training_loss == first.training_loss
    assert_same_weights(weights(run.model), kept)
    again = line(tmp_path)
    for _ in range(2):
        again.train()
        assert [round(entry["learning_rate"] * 1e3, 3) for entry in again.state.log_history[:3]] == [1, 0.667, 0.333]


def test_saved_model_loads_and_predicts_the_same(tmp_path):
    run = trainer(tmp_path / "run", max_steps=2)
    run.train()
    run.save_model(str(tmp_path / "saved"))
    run.save_state()
    assert (tmp_path / "run" / "trainer_state.json").exists()
    loaded = BertForSequenceClassification.from_pretrained(str(tmp_path / "saved"))
    assert_same_weights(weights(loaded), weights(run.model))


def test_trainers_with_the_same_model_each_keep_their_precision(tmp_path):
    """accelerate replaces the model's `forward`; another Trainer must not inherit it."""
    model = bert(0.0)
    plain = trainer(tmp_path, model, eval_dataset=dataset(9))
    expected = plain.predict(dataset(9)).predictions
    low = trainer(tmp_path, model, bf16=True)
    rounded = low.predict(dataset(9)).predictions
    assert 1e-5 < abs(rounded - expected).max() < 0.1
    later = trainer(tmp_path, model)
    assert (later.predict(dataset(9)).predictions == expected).all()
    assert (low.predict(dataset(9)).predictions == rounded).all(), "the earlier one has its own again"
    assert (plain.predict(dataset(9)).predictions == expected).all()


def test_a_forward_set_on_the_object_survives_mixed_precision(tmp_path):
    model, calls = bert(0.0), []
    own = model.forward
    model.forward = functools.wraps(own)(lambda *args, **kwargs: calls.append(1) or own(*args, **kwargs))
    trainer(tmp_path, model, bf16=True, max_steps=1).train()
    trainer(tmp_path, model, max_steps=1).train()
    assert len(calls) == 2


def test_bf16_and_gradient_checkpointing(tmp_path):
    plain = trainer(tmp_path, bert(0.0), max_steps=3, logging_steps=1)
    plain.train()
    spared = trainer(tmp_path, bert(0.0), max_steps=3, logging_steps=1, gradient_checkpointing=True)
    spared.train()
    mixed = trainer(tmp_path, bert(0.0), max_steps=3, logging_steps=1, bf16=True)
    mixed.train()
    losses = [[entry["loss"] for entry in run.state.log_history[:3]] for run in (plain, spared, mixed)]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-6)
    np.testing.assert_allclose(losses[0], losses[2], atol=0.05)
    assert losses[0] != losses[2]
    assert mixed.predict(dataset(5)).predictions.dtype == np.float32
    # A Trainer of another precision in the same notebook does not keep this one's.
    after = trainer(tmp_path, bert(0.0), max_steps=3, logging_steps=1)
    after.train()
    assert [entry["loss"] for entry in after.state.log_history[:3]] == losses[0]


@pytest.mark.slow
def test_a_compiled_model_trains_as_it_does_otherwise(tmp_path):
    losses = []
    for options in ({}, {"torch_compile": True, "torch_compile_backend": "eager"}):
        run = trainer(
            tmp_path, bert(0.0, num_hidden_layers=1), dataset(16, longest=4), max_steps=2, logging_steps=1, **options
        )
        run.train()
        losses.append([entry["loss"] for entry in run.state.log_history[:2]])
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)


def test_fp16_scales_the_loss(tmp_path):
    mixed = trainer(tmp_path, bert(0.0), max_steps=3, logging_steps=1, fp16=True)
    mixed.train()
    assert all(np.isfinite(entry["loss"]) for entry in mixed.state.log_history[:3])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "neither was given"),
        ({"model": Line(), "model_init": Line}, "not both"),
        ({"model": "bert-base-uncased"}, r"from_pretrained\('bert-base-uncased'\)"),
        ({"model": 3}, "torch.nn.Module"),
    ],
)
def test_wrong_models_say_why(tmp_path, options, match):
    with pytest.raises(InputError, match=match):
        Trainer(args=arguments(tmp_path), **options)


def test_wrong_arguments_and_processors_say_why(tmp_path):
    with pytest.raises(ConfigurationError, match="TrainingArguments"):
        Trainer(Line(), {"learning_rate": 1})
    with pytest.raises(ConfigurationError, match="Keep processing_class"):
        trainer(tmp_path, processing_class=Padder(), tokenizer=Padder())
    assert isinstance(trainer(tmp_path, tokenizer=Padder()).processing_class, Padder)


def test_epochs_steps_and_streams(tmp_path):
    assert line(tmp_path, max_steps=-1, num_train_epochs=1.5, per_device_train_batch_size=5).train().global_step == 6
    assert line(tmp_path, max_steps=7, per_device_train_batch_size=5).train().global_step == 7

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(line_rows())

    run = line(tmp_path, data=Stream(), max_steps=5)
    run.train()
    assert run.state.global_step == 5
    assert run.evaluate(Stream())["eval_loss"] > 0
    with pytest.raises(ConfigurationError, match="max_steps"):
        line(tmp_path, data=Stream(), max_steps=-1).train()
    with pytest.raises(InputError, match="dataloader_drop_last"):
        line(tmp_path, dataloader_drop_last=True, per_device_train_batch_size=64).train()


def test_seeds_decide(tmp_path):
    first, second, other = (trainer(tmp_path / str(seed), max_steps=3, seed=seed) for seed in (1, 1, 2))
    for run in (first, second, other):
        run.train()
    assert_same_weights(weights(first.model), weights(second.model))
    assert any(not torch.equal(tensor, other.model.state_dict()[name]) for name, tensor in weights(first.model).items())
    set_seed(5)
    numbers = torch.rand(1), np.random.rand()
    set_seed(5)
    assert numbers == (torch.rand(1), np.random.rand())


@pytest.mark.slow
def test_grouped_by_length_learns_as_well(tmp_path):
    scores = []
    for group in (True, False):
        run = trainer(
            tmp_path,
            bert(0.0),
            [{**row, "label": int(row["input_ids"].count(7) > 0 or len(row["input_ids"]) > 20)} for row in rows(400)],
            group_by_length=group,
            num_train_epochs=6,
            learning_rate=3e-3,
            per_device_train_batch_size=16,
        )
        run.train()
        scores.append(run.evaluate(run.train_dataset)["eval_loss"])
    assert max(scores) < 0.45
