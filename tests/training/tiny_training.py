"""Tiny models and data for the tests of training; no files, no network."""

from __future__ import annotations

import datasets
import numpy as np
import torch
from torch import nn

from notebook_kit.models.bert import BertConfig, BertForSequenceClassification
from notebook_kit.training import DataCollatorWithPadding, Trainer, TrainingArguments

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


class Padder:
    """The one method of a tokenizer that collators use."""

    padding_side = "right"

    def pad(self, examples, padding=True, max_length=None, pad_to_multiple_of=None, return_tensors=None):
        width = max(len(example["input_ids"]) for example in examples)
        if pad_to_multiple_of:
            width = -(-width // pad_to_multiple_of) * pad_to_multiple_of
        batch = {}
        for name, value in examples[0].items():
            if hasattr(value, "__len__"):
                batch[name] = torch.tensor([list(e[name]) + [0] * (width - len(e[name])) for e in examples])
            else:
                batch[name] = torch.tensor([e[name] for e in examples])
        return batch


def rows(count=61, seed=0, longest=30):
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        length = int(random.integers(3, longest))
        ids = random.integers(5, 50, length).tolist()
        made.append({"input_ids": ids, "attention_mask": [1] * length, "label": int(sum(ids) % 2), "text": "words"})
    return made


def dataset(count=61, seed=0, longest=30):
    return datasets.Dataset.from_list(rows(count, seed, longest))


def bert(dropout=0.1, seed=0, **options):
    torch.manual_seed(seed)
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return BertForSequenceClassification(BertConfig(**{**SIZES, **dropouts, "num_labels": 2, **options}))


def arguments(folder, **options):
    quiet = {
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "learning_rate": 1e-3,
        "logging_steps": 5,
    }
    return TrainingArguments(str(folder), **{**quiet, **options})


def trainer(folder, model=None, data=None, kind=Trainer, arguments_=None, **options):
    """A Trainer on tiny data; keyword arguments of the Trainer as they are, the others go to its arguments."""
    names = (
        "eval_dataset",
        "callbacks",
        "compute_metrics",
        "data_collator",
        "optimizers",
        "model_init",
        "compute_loss_func",
    )
    names += ("preprocess_logits_for_metrics", "processing_class", "tokenizer", "optimizer_cls_and_kwargs")
    own = {name: options.pop(name) for name in names if name in options}
    if "model_init" not in own:
        own["model"] = model if model is not None else bert()
    own.setdefault("data_collator", DataCollatorWithPadding(Padder()))
    return kind(args=arguments(folder, **options), train_dataset=data if data is not None else dataset(), **own)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def curve(history):
    """The history without what depends on the clock."""
    return [
        {name: value for name, value in entry.items() if "runtime" not in name and "per_second" not in name}
        for entry in history
    ]


class Line(nn.Module):
    """y = a x + b, with a mean squared error."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x, labels=None):
        y = self.layer(x).squeeze(-1)
        return {"logits": y} if labels is None else {"loss": ((y - labels) ** 2).mean(), "logits": y}


def line_rows(count=20):
    return [{"x": [index / count], "labels": 2.0 * index / count + 1} for index in range(count)]
