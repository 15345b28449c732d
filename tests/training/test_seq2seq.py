"""The Trainer for encoder-decoders: its batches and predictions equal those of transformers, and it learns to write."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models

import notebook_kit
from notebook_kit import DataCollatorForSeq2Seq, GenerationConfig, Seq2SeqTrainer, Seq2SeqTrainingArguments
from notebook_kit.errors import ConfigurationError, InputError

TINY = {
    "vocab_size": 20,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 32,
    "dropout": 0.0,
}


def pair(side="right"):
    backend = Tokenizer(models.WordLevel({f"w{i}": i for i in range(20)}, unk_token="w3"))
    roles = {"bos_token": "w0", "pad_token": "w1", "eos_token": "w2", "unk_token": "w3", "padding_side": side}
    mine = notebook_kit.PreTrainedTokenizerFast(tokenizer_object=backend, **roles)
    return mine, transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def bart(seed=0, **options):
    torch.manual_seed(seed)
    return notebook_kit.BartForConditionalGeneration(notebook_kit.BartConfig(**{**TINY, **options}))


def rows(count=24, seed=0):
    """Texts to be written backwards."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        ids = random.integers(4, 20, int(random.integers(2, 6))).tolist()
        made.append({"input_ids": [0, *ids, 2], "attention_mask": [1] * (len(ids) + 2), "labels": [0, *ids[::-1], 2]})
    return made


def arguments(folder, **options):
    quiet = {"use_cpu": True, "save_strategy": "no", "disable_tqdm": True, "per_device_eval_batch_size": 5}
    return Seq2SeqTrainingArguments(str(folder), **{**quiet, **options})


# The collator ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "options", [{}, {"pad_to_multiple_of": 8}, {"padding": "max_length", "max_length": 12}], ids=str
)
@pytest.mark.parametrize("with_model", [False, True])
def test_batches_equal_the_references(side, options, with_model):
    mine, theirs = pair(side)
    model = bart() if with_model else None
    reference_model = transformers.BartForConditionalGeneration(transformers.BartConfig(**TINY)) if with_model else None
    for given in (rows(), [{**row, "labels": np.array(row["labels"])} for row in rows()]):
        a = DataCollatorForSeq2Seq(mine, model=model, **options)([dict(row) for row in given])
        b = transformers.DataCollatorForSeq2Seq(theirs, model=reference_model, **options)([dict(row) for row in given])
        assert sorted(a) == sorted(b)
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_batches_without_labels_and_as_numpy():
    mine, _ = pair()
    collate = DataCollatorForSeq2Seq(mine, return_tensors="np", model=bart())
    batch = collate(rows(4))
    assert {type(value) for value in batch.values()} == {np.ndarray} and "decoder_input_ids" in batch
    unlabelled = [{name: row[name] for name in ("input_ids", "attention_mask")} for row in rows(4)]
    assert sorted(collate(unlabelled)) == ["attention_mask", "input_ids"]


def test_labels_that_do_not_fit():
    mine, _ = pair()
    given = [{"input_ids": [4], "labels": [4] * 9}, {"input_ids": [4], "labels": [4]}]
    with pytest.raises(InputError, match="up to 9 tokens, but max_length is 5"):
        DataCollatorForSeq2Seq(mine, padding="max_length", max_length=5)(given)
    with pytest.raises(InputError, match="padding is off"):
        DataCollatorForSeq2Seq(mine, padding=False)(given)


# Arguments ---------------------------------------------------------------------------------------------------------------


def test_arguments_have_the_references_defaults(tmp_path):
    names = (
        "predict_with_generate",
        "generation_max_length",
        "generation_num_beams",
        "generation_config",
        "sortish_sampler",
    )
    mine, theirs = Seq2SeqTrainingArguments(str(tmp_path)), transformers.Seq2SeqTrainingArguments(str(tmp_path))
    assert [getattr(mine, name) for name in names] == [getattr(theirs, name) for name in names]


def test_arguments_are_checked_and_saved(tmp_path):
    args = Seq2SeqTrainingArguments(
        str(tmp_path), evaluation_strategy="epoch", generation_config=GenerationConfig(num_beams=2)
    )
    assert args.eval_strategy == "epoch" and args.to_dict()["generation_config"]["num_beams"] == 2
    args.save(tmp_path / "args.json")
    assert Seq2SeqTrainingArguments.load(tmp_path / "args.json").eval_strategy == "epoch"
    with pytest.raises(ConfigurationError, match=r"generation_max_length is .*; expected a whole number from 1 up"):
        Seq2SeqTrainingArguments(str(tmp_path), generation_max_length=0)
    with pytest.raises(ConfigurationError, match="predict_with_generate"):
        Seq2SeqTrainingArguments(str(tmp_path), predict_with_generat=True)


# Predictions -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bart")
    model = bart(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8)  # so that what it writes depends on what it read
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("in_arguments", "in_call"),
    [
        ({}, {}),
        ({"generation_max_length": 9}, {}),
        ({"generation_max_length": 9, "generation_num_beams": 3}, {}),
        ({"generation_max_length": 9}, {"max_length": 6, "num_beams": 2}),
        ({}, {"max_new_tokens": 4}),
    ],
    ids=str,
)
def test_predictions_equal_the_references(checkpoint, tmp_path, in_arguments, in_call):
    mine, theirs = pair()
    # Without settings the reference forgets its own default after the first batch.
    given = datasets.Dataset.from_list(rows(13 if in_arguments or in_call else 5))
    ours = Seq2SeqTrainer(
        notebook_kit.BartForConditionalGeneration.from_pretrained(checkpoint),
        arguments(tmp_path, predict_with_generate=True, **in_arguments),
        DataCollatorForSeq2Seq(mine),
        processing_class=mine,
    )
    reference = transformers.Seq2SeqTrainer(
        transformers.BartForConditionalGeneration.from_pretrained(checkpoint),
        transformers.Seq2SeqTrainingArguments(
            str(tmp_path),
            predict_with_generate=True,
            use_cpu=True,
            report_to="none",
            per_device_eval_batch_size=5,
            **in_arguments,
        ),
        transformers.DataCollatorForSeq2Seq(theirs),
        processing_class=theirs,
    )
    a, b = ours.predict(given, **in_call), reference.predict(given, **in_call)
    # The reference pads to the length of its own settings, which a call's do not change.
    width = min(a.predictions.shape[1], b.predictions.shape[1])
    np.testing.assert_array_equal(a.predictions[:, :width], b.predictions[:, :width])
    for rest in (a.predictions[:, width:], b.predictions[:, width:]):
        assert (rest == 1).all()
    assert len(np.unique(a.predictions)) > 4
    own = min(a.label_ids.shape[1], b.label_ids.shape[1])
    np.testing.assert_array_equal(
        np.where(a.label_ids == -100, 1, a.label_ids)[:, :own], np.where(b.label_ids == -100, 1, b.label_ids)[:, :own]
    )


def test_a_generation_config_replaces_the_models_own(checkpoint, tmp_path):
    settings = GenerationConfig(max_length=5, decoder_start_token_id=2, eos_token_id=2, pad_token_id=1)
    for wanted in (settings, str(tmp_path / "settings")):
        settings.save_pretrained(tmp_path / "settings")
        model = notebook_kit.BartForConditionalGeneration.from_pretrained(checkpoint)
        trainer = Seq2SeqTrainer(
            model,
            arguments(tmp_path, predict_with_generate=True, generation_config=wanted),
            DataCollatorForSeq2Seq(pair()[0]),
        )
        assert model.generation_config is not settings and model.generation_config.max_length == 5
        assert trainer.predict(rows(3)).predictions.shape == (3, 5)


def test_without_generation_there_are_logits_and_no_cache(checkpoint, tmp_path):
    model = notebook_kit.BartForConditionalGeneration.from_pretrained(checkpoint)
    trainer = Seq2SeqTrainer(model, arguments(tmp_path), DataCollatorForSeq2Seq(pair()[0]))
    logits, encoder_states = trainer.predict(rows(7)).predictions
    assert logits.shape[::2] == (7, 20) and encoder_states.shape[::2] == (7, 32)


# Training ----------------------------------------------------------------------------------------------------------------


def test_it_learns_to_write_backwards(tmp_path):
    mine, _ = pair()
    seen = []

    def exact(prediction):
        labels = np.where(prediction.label_ids == -100, mine.pad_token_id, prediction.label_ids)
        texts = [mine.batch_decode(ids, skip_special_tokens=True) for ids in (prediction.predictions, labels)]
        seen.append(texts)
        return {"exact": float(np.mean([a == b for a, b in zip(*texts, strict=True)]))}

    data = [{"input_ids": [0, a, b, 2], "labels": [b, a, 2]} for a in range(4, 20) for b in range(4, 20)]
    args = arguments(
        tmp_path,
        predict_with_generate=True,
        generation_max_length=6,
        num_train_epochs=40,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        learning_rate=5e-3,
    )
    trainer = Seq2SeqTrainer(
        bart(),
        args,
        DataCollatorForSeq2Seq(mine),
        train_dataset=[row for i, row in enumerate(data) if i % 5],
        eval_dataset=data[::5],
        processing_class=mine,
        compute_metrics=exact,
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert before["eval_exact"] < 0.1 < 0.8 < after["eval_exact"] and after["eval_loss"] < before["eval_loss"] / 2
    assert len(seen) == 2 and len(seen[0][0]) == 52


def test_several_datasets_share_the_options_of_the_call(checkpoint, tmp_path):
    model = notebook_kit.BartForConditionalGeneration.from_pretrained(checkpoint)
    widths = []

    def width(prediction):
        widths.append(prediction.predictions.shape[1])
        return {"width": widths[-1]}

    trainer = Seq2SeqTrainer(
        model,
        arguments(tmp_path, predict_with_generate=True, generation_max_length=9),
        DataCollatorForSeq2Seq(pair()[0]),
        eval_dataset={"a": rows(3), "b": rows(2)},
        compute_metrics=width,
    )
    metrics = trainer.evaluate(max_length=5)
    assert widths == [5, 5] and {"eval_a_width", "eval_b_width"} <= metrics.keys()
    trainer.evaluate(trainer.eval_dataset["a"])
    assert widths[-1] == 9


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_label_smoothing_equals_the_references(family, tmp_path):
    """Also where the collator made no input for the decoder: the Trainer takes the labels away from the model."""
    mine, theirs = pair()
    if family == "bart":
        ours = bart()
        reference = transformers.BartForConditionalGeneration(transformers.BartConfig(**TINY))
    else:
        fields = {"vocab_size": 20, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 2}
        fields |= {"decoder_start_token_id": 1, "pad_token_id": 1, "dropout_rate": 0.0}
        ours = notebook_kit.T5ForConditionalGeneration(notebook_kit.T5Config(**fields))
        reference = transformers.T5ForConditionalGeneration(transformers.T5Config(**fields))
    reference.load_state_dict(ours.state_dict())
    data = datasets.Dataset.from_list(rows(8))
    args = arguments(tmp_path, label_smoothing_factor=0.1, per_device_eval_batch_size=8)
    loss = Seq2SeqTrainer(ours, args, DataCollatorForSeq2Seq(mine), eval_dataset=data).evaluate()["eval_loss"]
    reference_args = transformers.Seq2SeqTrainingArguments(
        str(tmp_path), label_smoothing_factor=0.1, use_cpu=True, report_to="none", per_device_eval_batch_size=8
    )
    expected = transformers.Seq2SeqTrainer(
        reference, reference_args, transformers.DataCollatorForSeq2Seq(theirs, model=reference), eval_dataset=data
    ).evaluate()["eval_loss"]
    assert loss == pytest.approx(expected, rel=1e-5)
