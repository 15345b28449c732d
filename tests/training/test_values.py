"""Wrong values in the public calls of the Trainer and its arguments: a list of one, or an error that names the argument."""

import dataclasses
import decimal
import json

import datasets
import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from tiny_training import Line, Padder, arguments, bert, dataset, line_rows, rows, trainer

from notebook_kit.errors import CheckpointError, ConfigurationError, InputError, NotebookKitError
from notebook_kit.training import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

WRONG = [
    "7",
    "x",
    b"x",
    -1,
    10**30,
    2.5,
    float("nan"),
    float("inf"),
    True,
    [],
    ["x"],
    [1],
    {},
    {"a": 1},
    (),
    object(),
    int,
]
WRONG += [1j, np.float32(2.5), np.array([1, 2]), np.array(1), torch.ones(2), decimal.Decimal("0.5"), lambda: 0]


@pytest.mark.filterwarnings("ignore::notebook_kit.errors.NotebookKitWarning")  # trackers
@pytest.mark.parametrize("kind", [TrainingArguments, Seq2SeqTrainingArguments])
def test_every_field_takes_a_value_or_names_itself(kind):
    for field in dataclasses.fields(kind):
        for value in WRONG:
            try:
                args = kind(**{"output_dir": "out", field.name: value})
            except ConfigurationError as error:
                assert field.name.removesuffix("_steps") in str(error), (field.name, value, str(error))
                continue
            given = getattr(args, field.name)
            if field.name not in ("generation_config", "dataloader_multiprocessing_context"):
                assert isinstance(given, (str, int, float, bool, list, dict, type(None)))
                repr(args)
            json.loads(args.to_json_string())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": "7"}, r"seed is '7'; expected a whole number from 0 to [\d,]+.\n→ Correct seed: seed=7."),
        (
            {"learning_rate": "2e-5"},
            r"learning_rate is '2e-5'; expected a number from 0 up.\n→ .*learning_rate=2e-05",
        ),
        ({"fp16": "False"}, "fp16 is 'False'; expected True or False"),
        ({"max_steps": 2.5}, "max_steps is 2.5; expected a whole number"),
        ({"label_smoothing_factor": 2}, "label_smoothing_factor is 2; expected a number from 0 to 1"),
        ({"lr_scheduler_kwargs": [1]}, "lr_scheduler_kwargs is .*; expected a dictionary"),
        ({"label_names": [1]}, "label_names is .*; expected a list of texts"),
        ({"log_level": "loud"}, "log_level has no option 'loud'"),
    ],
)
def test_what_was_given_and_what_is_expected(options, message):
    with pytest.raises(ConfigurationError, match=message):
        TrainingArguments("out", **options)


def test_values_become_plain_ones(tmp_path):
    args = TrainingArguments(
        tmp_path,
        seed=np.int64(7),
        learning_rate=np.float32(0.5),
        max_steps=100.0,
        fp16=np.bool_(False),
        bf16=0,
        lr_scheduler_kwargs='{"num_cycles": 2}',
        label_names="labels",
        include_for_metrics="inputs",
    )
    assert (args.seed, args.learning_rate, args.max_steps, args.fp16, args.bf16) == (7, 0.5, 100, False, False)
    assert all(
        type(value) in (int, float, bool) for value in (args.seed, args.learning_rate, args.max_steps, args.bf16)
    )
    assert (args.lr_scheduler_kwargs, args.label_names) == ({"num_cycles": 2}, ["labels"])
    assert args.include_for_metrics == ["inputs"] and args.output_dir == str(tmp_path)
    assert TrainingArguments("out", report_to=("none",)).report_to == []


@pytest.mark.parametrize("seed", ["7", None, -1, 2**64, 1.5, True])
def test_seeds(seed):
    with pytest.raises(InputError, match="whole number from 0"):
        set_seed(seed)


# ---------------------------------------------------------------------------------------------- one in place of a list


def test_one_in_place_of_a_list(tmp_path):
    def first(prediction):
        return {"inputs": float(prediction.inputs.shape[0])}

    run = trainer(
        tmp_path, include_for_metrics="inputs", label_names="labels", eval_dataset=dataset(5), compute_metrics=first
    )
    metrics = run.evaluate()
    assert metrics["eval_inputs"] == 5 and "eval_loss" in metrics
    for kind in (EarlyStoppingCallback, EarlyStoppingCallback()):
        assert isinstance(trainer(tmp_path, callbacks=kind).callbacks[-1], EarlyStoppingCallback)


@pytest.mark.parametrize("keys", ["hidden_states", ["hidden_states"], ("hidden_states",)])
def test_ignored_outputs(tmp_path, keys):
    run = trainer(tmp_path, bert(output_hidden_states=True))
    assert isinstance(run.predict(dataset(5)).predictions, tuple)
    assert run.predict(dataset(5), ignore_keys=keys).predictions.shape == (5, 2)


@pytest.mark.parametrize("keys", [5, [5], [["hidden_states"]]])
def test_what_is_not_a_name_of_an_output(tmp_path, keys):
    with pytest.raises(InputError, match="expected names of the model's outputs"):
        trainer(tmp_path).predict(dataset(5), ignore_keys=keys)


@pytest.mark.parametrize("callback", ["early", 5, object(), {"a": 1}, len])
def test_what_is_not_a_callback(tmp_path, callback):
    with pytest.raises(InputError, match="is not a callback"):
        trainer(tmp_path, callbacks=callback)
    with pytest.raises(InputError, match="is not a callback"):
        trainer(tmp_path).add_callback(callback)


# --------------------------------------------------------------------------------------------------------- datasets


@pytest.mark.parametrize("role", ["train_dataset", "eval_dataset"])
def test_a_frame_is_converted_by_its_owner(tmp_path, role):
    frame = pd.DataFrame(line_rows(4))
    with pytest.raises(InputError, match=r"datasets.Dataset.from_pandas\(frame\)"):
        Trainer(Line(), arguments(tmp_path), **{role: frame})
    with pytest.raises(InputError, match="test_dataset is a DataFrame of pandas"):
        Trainer(Line(), arguments(tmp_path)).predict(frame)


@pytest.mark.parametrize("make", ["Table", "RecordBatch"])
def test_a_table_of_pyarrow_is_converted_by_its_owner(tmp_path, make):
    table = getattr(pyarrow, make).from_pylist(line_rows(4))
    with pytest.raises(InputError, match=rf"eval_dataset is a {make} of pyarrow.*\n.*table.to_pylist\(\)"):
        Trainer(Line(), arguments(tmp_path), eval_dataset=table)
    Trainer(Line(), arguments(tmp_path), data_collator=default_data_collator).evaluate(table.to_pylist())


@pytest.mark.parametrize(
    "value", ["imdb", 5, object(), iter([{"x": [1.0]}]), {"x": [1.0, 2.0]}, [], np.array(1), b"x", dict]
)
def test_what_is_not_a_dataset(tmp_path, value):
    with pytest.raises(InputError, match="train_dataset"):
        Trainer(Line(), arguments(tmp_path), train_dataset=value)
    if not isinstance(value, dict):
        with pytest.raises(InputError, match=r"(eval|test)_dataset|no dataset"):
            Trainer(Line(), arguments(tmp_path), eval_dataset=None).evaluate(value)
        with pytest.raises(InputError, match="test_dataset"):
            Trainer(Line(), arguments(tmp_path)).predict(value)


@pytest.mark.parametrize("name", ["label", "labels"])
@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize("value", ["positive", ["B-LOC", "O"]])
def test_labels_that_are_words(tmp_path, name, as_list, value):
    data = [{"input_ids": [5, 6], name: value}] * 4
    data = data if as_list else datasets.Dataset.from_list(data)
    for collator in (default_data_collator, DataCollatorWithPadding(Padder())):
        with pytest.raises(InputError, match=f"{name}.*text"):
            trainer(tmp_path, data=data, data_collator=collator).train()


def test_a_collator_of_ones_own_may_convert_labels(tmp_path):
    def collate(features):
        labels = torch.tensor([["no", "yes"].index(feature["label"]) for feature in features])
        return {"input_ids": torch.tensor([feature["input_ids"] for feature in features]), "labels": labels}

    run = trainer(tmp_path, data=[{"input_ids": [5, 6], "label": "yes"}] * 4, data_collator=collate, max_steps=1)
    assert run.train().global_step == 1


def test_names_of_evaluation_datasets(tmp_path):
    data = {"first": line_rows(4), "second": line_rows(6)}
    run = trainer(tmp_path, Line(), line_rows(), data_collator=default_data_collator, eval_dataset=data)
    assert "eval_loss" in run.evaluate("first")  # as in the reference
    assert {"eval_first_loss", "eval_second_loss"} <= set(run.evaluate())
    assert {"eval_other_loss"} <= set(run.evaluate({"other": line_rows(4)}))
    with pytest.raises(InputError, match="Did you mean 'first'"):
        run.evaluate("frist")


# ------------------------------------------------------------------------------------------- wrong values in any call


FUNCTIONS = ["model_init", "data_collator", "compute_metrics", "compute_loss_func", "preprocess_logits_for_metrics"]


@pytest.mark.parametrize("name", ["model", "args", "train_dataset", "callbacks", "optimizers", *FUNCTIONS])
@pytest.mark.parametrize("value", [5, "x", object()], ids=["int", "str", "object"])
def test_wrong_arguments_of_a_trainer(tmp_path, name, value):
    given = {"model": Line(), "args": arguments(tmp_path), name: value}
    if name == "model_init":
        del given["model"]
    with pytest.raises(NotebookKitError):
        Trainer(**given)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (lambda: None, "returned None; expected a torch.nn.Module.\n→ End the function with `return model`"),
        (lambda: "bert", "returned a str"),
        (lambda first, second: Line(), "needs the arguments first, second"),
        (lambda *, size: Line(), "needs the arguments size"),
        (Line(), "is a Line; expected a function"),
        (dict, "returned a dict"),
    ],
)
def test_functions_that_create_no_model(tmp_path, init, message):
    with pytest.raises(InputError, match=f"model_init {message}"):
        Trainer(model_init=init, args=arguments(tmp_path))


NOT_DATA = {
    "set": {1, 2},
    "values of a dictionary": {"a": 1}.values(),
    "a row": {"x": 1.0, "labels": 2.0},
    "generators by name": {"a": (row for row in line_rows(2))},
    "sets by name": {"a": {1, 2}},
    "None by name": {"a": None},
    "a dataset and a number by name": {"a": line_rows(2), "b": 5},
    "tensor": torch.ones(3, 1),
    "rows and a number": [*line_rows(1), 5],
    "generator": (row for row in line_rows(2)),
}


@pytest.mark.parametrize("given", NOT_DATA.values(), ids=NOT_DATA)
def test_what_is_not_a_dataset_in_any_call(tmp_path, given):
    run = trainer(tmp_path, Line(), line_rows(2), data_collator=default_data_collator, max_steps=1)
    calls = [run.evaluate, run.predict, lambda data: trainer(tmp_path, Line(), data, max_steps=1).train()]
    calls.append(lambda data: trainer(tmp_path, Line(), line_rows(2), eval_dataset=data).evaluate())
    for call in calls:
        with pytest.raises(InputError, match=r"expected a dataset|must map input names"):
            call(given)
    with pytest.raises(InputError, match="empty dictionary"):
        run.evaluate({})


def test_wrong_arguments_of_other_calls(tmp_path):
    run = trainer(tmp_path, Line(), line_rows(), data_collator=default_data_collator)
    for call in (lambda: run.log("x"), lambda: EarlyStoppingCallback("3"), lambda: EarlyStoppingCallback(2, "x")):
        with pytest.raises(NotebookKitError):
            call()


@pytest.mark.parametrize("value", [5, "nowhere", object()], ids=["int", "str", "object"])
def test_resuming_from_anything(tmp_path, value):
    with pytest.raises(CheckpointError):
        trainer(tmp_path, max_steps=1).train(resume_from_checkpoint=value)


def test_callbacks_of_a_class_still_hear(tmp_path):
    class Own(TrainerCallback):
        seen = 0

        def on_step_end(self, args, state, control, **kwargs):
            Own.seen += 1

    trainer(tmp_path, data=rows(8), callbacks=Own, max_steps=2).train()
    assert Own.seen == 2
