"""Gradient accumulation: micro-batches give the loss and the gradient of one large batch, whoever divides the loss."""

import pytest
import torch
import torch.nn.functional as F
import transformers
from tiny_training import curve
from torch import nn

from notebook_kit.models.bert import BertConfig, BertForQuestionAnswering, BertForSequenceClassification
from notebook_kit.models.gpt2 import GPT2Config, GPT2LMHeadModel
from notebook_kit.training import Trainer, TrainingArguments

GPT2 = {
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 1,
    "vocab_size": 40,
    "n_positions": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT2 |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
BERT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 40}
BERT |= {"max_position_embeddings": 16, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def texts(lengths):
    """Rows of four tokens whose first labels are ignored, so that `lengths` are left."""
    ids = [[5 + i, 3 + i, 9, 4] for i in range(len(lengths))]
    return [{"input_ids": row, "labels": [-100] * (4 - n) + row[4 - n :]} for row, n in zip(ids, lengths, strict=True)]


EVEN, UNEVEN, ONE_EMPTY = texts([4, 4, 4, 4]), texts([4, 1, 3, 2]), texts([4, 0, 3, 2])


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.h = nn.Embedding(40, 8), nn.Linear(8, 40)

    def forward(self, input_ids, labels=None):
        y = self.h(self.e(input_ids))
        return {"loss": F.cross_entropy(y.flatten(0, 1), labels.flatten()), "logits": y}


class AnyKeyword(Plain):
    def forward(self, input_ids, labels=None, **kwargs):
        return super().forward(input_ids, labels)


class Divided(Plain):
    def forward(self, input_ids, labels=None, num_items_in_batch=None):
        y = self.h(self.e(input_ids)).flatten(0, 1)
        if num_items_in_batch is None:
            return {"loss": F.cross_entropy(y, labels.flatten())}
        return {"loss": F.cross_entropy(y, labels.flatten(), reduction="sum") / num_items_in_batch}


class Wrapper(nn.Module):
    def __init__(self, model=None):
        super().__init__()
        self.model = model or gpt2()

    def forward(self, **kwargs):
        return self.model(**kwargs)


class OtherWrapper(nn.Module):
    """Holds the model under another name."""

    def __init__(self, model=None):
        super().__init__()
        self.m = model or gpt2()

    def forward(self, **kw):
        return self.m(**kw)


class Adapter(Wrapper):
    """As PEFT does it."""

    def get_base_model(self):
        return self.model

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)


def gpt2():
    return GPT2LMHeadModel(GPT2Config(**GPT2))


def reference():
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2))


def summed(outputs, labels, items, shift=True):
    logits, labels = (outputs.logits[:, :-1], labels[:, 1:]) if shift else (outputs.logits, labels)
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="mean" if items is None else "sum")
    return loss if items is None else loss / items


class Mean(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(input_ids=inputs["input_ids"])
        loss = summed(outputs, inputs["labels"], None)
        return (loss, outputs) if return_outputs else loss


class MeanOfOld(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False):
        return Mean.compute_loss(self, model, inputs, return_outputs)


class MeanWithKeywords(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        return Mean.compute_loss(self, model, inputs, return_outputs)


class Dividing(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(input_ids=inputs["input_ids"])
        loss = summed(outputs, inputs["labels"], num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class Regularized(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        loss = loss + 0.1 * sum(p.square().sum() for p in model.parameters())
        return (loss, outputs) if return_outputs else loss


class OldStep(Trainer):
    def training_step(self, model, inputs):
        return super().training_step(model, inputs)


class OwnStep(Trainer):
    """A step written for the reference, which passes on the number of labels of the whole update."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        self.accelerator.backward(loss)
        return loss.detach()


def divide(outputs, labels, num_items_in_batch=None):
    return summed(outputs, labels, num_items_in_batch)


def average(outputs, labels):
    return summed(outputs, labels, None)


def ignore_items(outputs, labels, num_items_in_batch=None):
    return summed(outputs, labels, None)


def step(tmp_path, make, kind, size, rows, **options):
    torch.manual_seed(0)
    model = make()
    given = {"compute_loss_func": options.pop("compute_loss_func")} if "compute_loss_func" in options else {}
    args = TrainingArguments(
        tmp_path,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=-(-4 // size),
        max_steps=1,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        **options,
    )
    run = kind(model, args, train_dataset=rows, **given)
    run.train()
    log = curve(run.state.log_history)[0]
    return [log["loss"], log["grad_norm"]]


WAYS = {
    "the model's loss": (gpt2, Trainer, {}),
    "a model of the reference": (reference, Trainer, {}),
    "compute_loss, mean": (gpt2, Mean, {}),
    "compute_loss, mean, older": (gpt2, MeanOfOld, {}),
    "compute_loss, mean, keywords": (gpt2, MeanWithKeywords, {}),
    "compute_loss divides": (gpt2, Dividing, {}),
    "compute_loss divides, reference": (reference, Dividing, {}),
    "compute_loss adds a term": (gpt2, Regularized, {}),
    "training_step, older": (gpt2, OldStep, {}),
    "training_step, own": (gpt2, OwnStep, {}),
    "a module": (Plain, Trainer, {}),
    "a module with keywords": (AnyKeyword, Trainer, {}),
    "a module that divides": (Divided, Trainer, {}),
    "a wrapper": (Wrapper, Trainer, {}),
    "a wrapper with another name": (OtherWrapper, Trainer, {}),
    "a wrapper of the reference": (lambda: OtherWrapper(reference()), Trainer, {}),
    "a wrapper, label smoothing": (OtherWrapper, Trainer, {"label_smoothing_factor": 0.1}),
    "a wrapper of a module": (lambda: Wrapper(Plain()), Trainer, {}),
    "an adapter": (lambda: Adapter(gpt2()), Trainer, {}),
    "an adapter of the reference": (lambda: Adapter(reference()), Trainer, {}),
    "compute_loss_func divides": (gpt2, Trainer, {"compute_loss_func": divide}),
    "compute_loss_func, mean": (gpt2, Trainer, {"compute_loss_func": average}),
    "compute_loss_func ignores the count": (gpt2, Trainer, {"compute_loss_func": ignore_items}),
    "label smoothing": (gpt2, Trainer, {"label_smoothing_factor": 0.1}),
    "label smoothing, reference": (reference, Trainer, {"label_smoothing_factor": 0.1}),
}


@pytest.mark.parametrize("rows", [EVEN, UNEVEN, ONE_EMPTY], ids=["even", "uneven", "one empty"])
@pytest.mark.parametrize("way", WAYS)
def test_micro_batches_are_one_batch(tmp_path, way, rows):
    make, kind, options = WAYS[way]
    whole = step(tmp_path, make, kind, 4, rows, **options)
    assert step(tmp_path, make, kind, 1, rows, **options) == pytest.approx(whole, rel=1e-5)
    assert step(tmp_path, make, kind, 3, rows, **options) == pytest.approx(whole, rel=1e-5)  # 3 examples and 1


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        (BertForSequenceClassification, {"labels": 1}),
        (BertForQuestionAnswering, {"start_positions": 0, "end_positions": 2}),
    ],
)
@pytest.mark.parametrize("library", ["own", "reference"])
def test_labels_per_example(tmp_path, library, kind, labels):
    def make():
        if library == "own":
            return kind(BertConfig(**BERT))
        return getattr(transformers, kind.__name__)(transformers.BertConfig(**BERT))

    rows = [{"input_ids": [5 + i, 3 + i, 9, 4], **labels} for i in range(4)]
    whole = step(tmp_path, make, Trainer, 4, rows)
    for size in (1, 3):
        assert step(tmp_path, make, Trainer, size, rows) == pytest.approx(whole, rel=1e-5)


def test_a_loss_without_labels_counts_examples(tmp_path):
    class Energy(nn.Module):
        def __init__(self):
            super().__init__()
            self.h = nn.Linear(2, 1)

        def forward(self, x):
            return {"loss": self.h(x).square().mean()}

    rows = [{"x": [float(i), 1.0]} for i in range(4)]
    whole = step(tmp_path, Energy, Trainer, 4, rows)
    assert step(tmp_path, Energy, Trainer, 3, rows) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("kind", [Trainer, Mean, Dividing, OldStep])
@pytest.mark.parametrize("filter", [True, False])
def test_the_loss_of_an_evaluation_does_not_depend_on_the_batch_size(tmp_path, kind, filter):
    torch.manual_seed(0)
    model = gpt2()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    rows = texts([4, 2, 3, 4, 2, 3, 0])
    model.eval()
    total, count = 0.0, 0
    for row in rows:
        labels = torch.tensor([row["labels"]])[:, 1:]
        with torch.no_grad():
            logits = model(torch.tensor([row["input_ids"]])).logits[:, :-1]
        total += float(F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"))
        count += int((labels != -100).sum())
    for size in (1, 2, 3, 7):
        args = TrainingArguments(
            tmp_path, per_device_eval_batch_size=size, use_cpu=True, disable_tqdm=True, logging_nan_inf_filter=filter
        )
        assert kind(model, args).evaluate(rows)["eval_loss"] == pytest.approx(total / count, rel=1e-5)
