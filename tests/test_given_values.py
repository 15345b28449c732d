"""What users pass by mistake where a path, a dictionary, a tokenizer or a number is meant: an error of ours that names it."""

from __future__ import annotations

from functools import partial

import pandas
import pytest
import torch

from notebook_kit import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    GenerationConfig,
    Trainer,
    TrainerState,
    TrainingArguments,
    default_data_collator,
    get_scheduler,
    pipeline,
)
from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.panels import ModelPicker

NOT_PATHS = [None, 5, 1.5, True, b"config.json", ["a"], {"a": 1}, object(), torch.tensor(1)]
NOT_MAPPINGS = [None, 5, "bert", b"x", [1], object(), len]


@pytest.mark.parametrize("given", NOT_PATHS, ids=lambda given: type(given).__name__)
def test_what_is_not_a_path(given):
    calls = (AutoConfig.from_pretrained, BertConfig.from_pretrained, GenerationConfig.from_pretrained)
    saves = (BertConfig().save_pretrained, GenerationConfig().save_pretrained)
    for call in (*calls, *saves, BertConfig.from_json_file, TrainerState.load_from_json):
        with pytest.raises(InputError, match="path"):
            call(given)


@pytest.mark.parametrize("given", NOT_MAPPINGS, ids=lambda given: type(given).__name__)
def test_what_is_not_a_dictionary(given, tmp_path):
    for call in (AutoConfig.from_dict, BertConfig.from_dict, GenerationConfig.from_dict):
        with pytest.raises(InputError, match="expected a dictionary"):
            call(given)
    run = Trainer(torch.nn.Linear(1, 1), TrainingArguments(tmp_path, report_to="none", use_cpu=True))
    for call in (run.log_metrics, run.save_metrics):
        with pytest.raises(InputError, match="expected numbers by name"):
            call("eval", given)


@pytest.mark.parametrize("given", [None, 5, True, ["bert"], {}, b"bert", len])
def test_what_is_not_a_model_type(given):
    with pytest.raises(NotebookKitError, match="expected text"):
        AutoConfig.for_model(given)


@pytest.mark.parametrize("given", ["0.1", [0.1], {}, len, float("nan")])
def test_what_is_not_a_fraction(given, tmp_path):
    with pytest.raises(NotebookKitError, match="warmup_ratio"):
        TrainingArguments(tmp_path, warmup_ratio=given)
    with pytest.raises(NotebookKitError, match="mlm_probability"):
        DataCollatorForLanguageModeling(pipeline("text-classification", model="zoo").tokenizer, mlm_probability=given)


@pytest.mark.parametrize("given", ["bert-base-uncased", 5, object(), None])
def test_what_is_not_a_tokenizer(given):
    rows = [{"input_ids": [1, 2], "labels": [1, 2]}]
    for kind in (DataCollatorWithPadding, DataCollatorForTokenClassification, DataCollatorForSeq2Seq):
        with pytest.raises(InputError, match=f"tokenizer of the {kind.__name__} is .*, which cannot pad"):
            kind(given)(rows)


def test_what_is_neither_true_nor_false(tmp_path):
    column = pandas.Series([True, False])
    classify = pipeline("text-classification", model="zoo")
    config, tokenizer, model = classify.model.config, classify.tokenizer, classify.model
    ids = torch.tensor([[1, 2]])
    run = Trainer(torch.nn.Linear(1, 1), TrainingArguments(tmp_path, report_to="none", use_cpu=True))
    calls = {
        "push_to_hub": lambda **on: [part.save_pretrained(tmp_path, **on) for part in (config, tokenizer, model)],
        "safe_serialization": lambda **on: model.save_pretrained(tmp_path, **on),
        "return_dict": lambda **on: model(ids, **on),
        "output_loading_info": lambda **on: type(model).from_pretrained("notebook-kit/tiny-sentiment", **on),
        "return_unused_kwargs": lambda **on: AutoConfig.from_pretrained("notebook-kit/tiny-sentiment", **on),
        "use_diff": config.to_json_string,
        "background": run.train,
        "resume_from_checkpoint": run.train,
        "mlm": lambda **on: DataCollatorForLanguageModeling(tokenizer, **on),
    }
    for name, call in calls.items():
        with pytest.raises(InputError, match=rf"{name} is .*expected True or False"):
            call(**{name: column})
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]  # refused before anything is written


def test_what_are_not_weights(tmp_path):
    name = "notebook-kit/tiny-sentiment"
    model = AutoModelForSequenceClassification.from_pretrained(name)
    for given in (5, "weights", [1], {"a": 5}, {5: torch.ones(1)}, torch.ones(1)):
        for call in (partial(type(model).from_pretrained, name), partial(model.save_pretrained, tmp_path)):
            with pytest.raises(InputError, match="expected tensors by name"):
                call(state_dict=given)


def test_what_are_not_results_of_generate():
    writer, ids = pipeline("text-generation", model="zoo").model, torch.tensor([[1, 2]])
    for sequences, scores in ((5, 5), (ids, 5), (ids, [5]), ("text", (torch.ones(1, 3),)), (None, (torch.ones(1, 3),))):
        with pytest.raises(InputError, match="expected what generate returns"):
            writer.compute_transition_scores(sequences, scores)


def test_what_is_not_a_batch():
    collate = DataCollatorForLanguageModeling(pipeline("text-generation", model="zoo").tokenizer, mlm=False)
    for rows in ([{"text": "words"}], [{"input_ids": 5}], {"input_ids": 5}, [torch.tensor(1)]):
        with pytest.raises(InputError, match="expected"):
            collate(rows)
    with pytest.raises(InputError, match="column 'x' of a batch is 5"):
        default_data_collator({"x": 5})


def test_what_is_not_an_optimizer():
    for given in (None, 0.1, "adamw", torch.nn.Linear(1, 1)):
        with pytest.raises(NotebookKitError, match="expected one of torch"):
            get_scheduler("linear", given, 1, 10)


def test_a_panel_without_a_figure():
    with pytest.raises(InputError, match="no figure of a ModelPicker"):
        ModelPicker().figure()
