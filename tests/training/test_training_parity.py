"""The same seed, data and settings give the same curve as transformers' Trainer."""

import copy

import numpy as np
import pytest
import torch
import transformers
from tiny_training import SIZES, Padder, bert, curve, dataset

import notebook_kit.training as ours


def run(library, model, folder, data, **options):
    settings = {
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 16,
        "max_steps": 50,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "warmup_steps": 5,
        "eval_strategy": "steps",
        "eval_steps": 20,
        "save_strategy": "no",
        "report_to": "none",
        "seed": 7,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    if library is ours:
        settings["group_by_length"] = False
    trainer = library.Trainer(
        model=model,
        args=library.TrainingArguments(str(folder), **{**settings, **options}),
        train_dataset=data,
        eval_dataset=data,
        data_collator=ours.DataCollatorWithPadding(Padder()),
        compute_metrics=lambda prediction: {"accuracy": (prediction[0].argmax(-1) == prediction[1]).mean()},
    )
    trainer.remove_callback(ours.PrinterCallback if library is ours else transformers.PrinterCallback)
    trainer.train()
    return trainer


def their_bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=2)
    model = transformers.BertForSequenceClassification(config)
    model.accepts_loss_kwargs = False  # it takes any keyword, but its loss is a mean whatever num_items_in_batch is
    return model


def assert_same_curve(mine, theirs, tolerance):
    mine, theirs = curve(mine), curve(theirs)
    assert len(mine) == len(theirs)
    for entry, other in zip(mine, theirs, strict=True):
        other = {k: v for k, v in other.items() if k != "eval_model_preparation_time"}
        assert entry.keys() == other.keys()
        for name, value in other.items():
            assert entry[name] == pytest.approx(value, abs=tolerance), (name, other["step"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_accumulation_steps": 2},
        {"label_smoothing_factor": 0.1, "lr_scheduler_type": "cosine", "optim": "sgd", "max_grad_norm": 0.05},
        {"neftune_noise_alpha": 5.0, "max_steps": 20},
        *({"optim": name, "max_steps": 20} for name in ("adafactor", "adagrad", "adamw_torch", "rmsprop")),
        {"optim": "sgd", "optim_args": "momentum=0.9,nesterov=true", "learning_rate": 0.05, "max_steps": 20},
    ],
    ids=["plain", "accumulation", "smoothing", "noise", "adafactor", "adagrad", "adamw", "rmsprop", "sgd"],
)
def test_curve_follows_theirs_with_one_model(tmp_path, options):
    data = dataset(133)
    theirs = run(transformers, their_bert(), tmp_path / "theirs", data, **options)
    mine = run(ours, their_bert(), tmp_path / "mine", data, **options)
    assert_same_curve(mine.state.log_history, theirs.state.log_history, 1e-5)
    expected, predicted = theirs.predict(data), mine.predict(data)
    np.testing.assert_allclose(predicted.predictions, expected.predictions, atol=1e-5)
    np.testing.assert_array_equal(predicted.label_ids, expected.label_ids)
    assert predicted.metrics.keys() == expected.metrics.keys()


def test_curve_of_our_bert_follows_theirs(tmp_path):
    data, theirs_model = dataset(133), their_bert()
    model = bert(dropout=0.0)
    model.load_state_dict(theirs_model.state_dict(), strict=True)
    theirs = run(transformers, copy.deepcopy(theirs_model), tmp_path / "theirs", data)
    mine = run(ours, model, tmp_path / "mine", data)
    assert_same_curve(mine.state.log_history, theirs.state.log_history, 1e-4)


def test_accumulated_batches_weigh_what_one_large_batch_does(tmp_path):
    # 133 = 4 x 33 + 1: the last update has batches of unequal size.
    data = dataset(133)
    small = run(ours, bert(0.0), tmp_path, data, per_device_train_batch_size=4, gradient_accumulation_steps=4)
    large = run(ours, bert(0.0), tmp_path, data, per_device_train_batch_size=16)
    for entry, other in zip(curve(small.state.log_history), curve(large.state.log_history), strict=True):
        assert entry.get("loss", 0) == pytest.approx(other.get("loss", 0), abs=1e-4)


def test_their_callbacks_and_collators_work_here(tmp_path):
    seen = []

    class Theirs(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
            seen.append((state.global_step, model is not None, optimizer is not None))

    trainer = ours.Trainer(
        their_bert(),
        ours.TrainingArguments(str(tmp_path), max_steps=2, use_cpu=True, save_strategy="no", disable_tqdm=True),
        train_dataset=dataset(),
        data_collator=transformers.DataCollatorWithPadding(tokenizer()),
        callbacks=[Theirs],
    )
    trainer.train()
    assert seen == [(1, True, True), (2, True, True)]


def tokenizer():
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, **{f"w{i}": i for i in range(5, 50)}}
    return transformers.BertTokenizerFast(vocab=vocabulary)
