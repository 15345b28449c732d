"""Datasets, lengths, the order of examples, and collators."""

import itertools
import logging
import re

import datasets
import numpy as np
import pytest
import torch
import transformers
from tiny_training import Line, Padder, bert, dataset, line_rows, rows, trainer
from torch.utils.data import RandomSampler

import notebook_kit
from notebook_kit.errors import InputError
from notebook_kit.processing.text import PreTrainedTokenizerFast
from notebook_kit.training import (
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    default_data_collator,
)
from notebook_kit.training.data import (
    EpochSampler,
    LengthGroupedBatchSampler,
    SortedBatchSampler,
    example_lengths,
    sorted_order,
)
from notebook_kit.zoo import sample


class Plain(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_shuffling_is_that_of_torch_with_a_seed_for_each_epoch():
    sampler = EpochSampler(range(50), seed=3)
    sampler.set_epoch(2)
    assert list(sampler) == list(RandomSampler(range(50), generator=torch.Generator().manual_seed(5)))


@pytest.mark.parametrize("count", [1, 7, 8, 64, 401, 1003])
@pytest.mark.parametrize("group", [1, 2])
def test_grouped_batches_have_every_example_once(count, group):
    lengths = np.random.default_rng(0).integers(3, 60, count)
    sampler = LengthGroupedBatchSampler(lengths, 8, seed=1, group=group)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert sorted(itertools.chain.from_iterable(batches)) == list(range(count))
        assert len(batches) == len(sampler)
        assert all(len(batch) == 8 for batch in batches[:-1])
    dropping = LengthGroupedBatchSampler(lengths, 8, seed=1, drop_last=True, group=group)
    assert [len(batch) for batch in dropping] == [8] * (count // 8) == [8] * len(dropping)


def test_grouped_batches_depend_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(3, 60, 100)
    first, second = (LengthGroupedBatchSampler(lengths, 8, seed=1) for _ in range(2))
    torch.rand(3)
    assert list(first) == list(second)
    second.set_epoch(1)
    assert list(first) != list(second)


def test_grouping_saves_padding_and_is_not_biased():
    lengths = np.random.default_rng(0).gamma(3, 8, 1601).astype(int) + 3
    grouped = LengthGroupedBatchSampler(lengths, 16, seed=0)
    shuffled = np.random.default_rng(1).permutation(1601)

    def padded(batches):
        return sum(lengths[batch].max() * len(batch) for batch in batches)

    plain = [shuffled[start : start + 16] for start in range(0, 1601, 16)]
    assert padded(list(grouped)) < 1.12 * lengths.sum() < 0.7 * padded(plain)
    # Neither the place of a batch in an epoch nor who is in the small last one tells of lengths.
    places, last = [], []
    for epoch in range(200):
        grouped.set_epoch(epoch)
        batches = list(grouped)
        places.append([lengths[batch].mean() for batch in batches[:-1]])
        last.append(lengths[batches[-1]].mean())
    means = np.asarray(places).mean(0)
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.35
    assert np.mean(last) == pytest.approx(lengths.mean(), abs=4 * lengths.std() / np.sqrt(200))


def test_sorted_batches_begin_with_the_longest():
    sampler = SortedBatchSampler([3, 9, 5, 9], 2)
    assert list(sampler) == [[1, 3], [2, 0]]
    assert sorted_order(torch.utils.data.DataLoader(range(4), batch_sampler=sampler)).tolist() == [1, 3, 2, 0]


def test_lengths_of_columns_follow_selections_without_decoding():
    data = dataset(40).shuffle(seed=1).select(range(5, 30))
    expected = [len(ids) for ids in data["input_ids"]]
    data.set_format("torch")
    assert example_lengths(data).tolist() == expected
    assert example_lengths(data.add_column("length", [7] * 25)).tolist() == [7] * 25
    assert example_lengths(data.remove_columns("input_ids")) is None
    assert example_lengths(data.with_transform(lambda batch: batch)).tolist() == expected


def test_lengths_of_other_datasets():
    items = rows(10)
    expected = [len(item["input_ids"]) for item in items]
    assert example_lengths(items).tolist() == expected
    tensors = Plain([{"input_ids": torch.tensor(item["input_ids"])} for item in items])
    assert example_lengths(tensors).tolist() == expected
    assert example_lengths(Plain([{"pixel_values": torch.zeros(3)}] * 3)) is None
    assert example_lengths(iter(items)) is None


def test_looking_at_lengths_leaves_the_random_generators_alone():
    class Random(Plain):
        def __getitem__(self, index):
            return {"input_ids": [1] * int(torch.randint(1, 9, ()))}

    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    example_lengths(Random(range(5)))
    assert torch.rand(1) == expected


def test_unused_columns_are_dropped_with_one_line(tmp_path, caplog):
    run = trainer(tmp_path, max_steps=1)
    with caplog.at_level(logging.INFO, "notebook_kit"):
        batch = next(iter(run.get_train_dataloader()))
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert [record.message for record in caplog.records if "left out" in record.message] == [
        "train_dataset: the columns text are not inputs of BertForSequenceClassification and are left out."
    ]
    kept = trainer(tmp_path, max_steps=1, remove_unused_columns=False, data_collator=lambda features: features)
    assert "text" in next(iter(kept.get_train_dataloader()))[0]


@pytest.mark.parametrize("form", ["list", "torch", "tensors", "columns", "transform"])
def test_every_form_of_dataset_trains_alike(tmp_path, form):
    items = rows(24)
    forms = {
        "list": items,
        "torch": Plain(items),
        "tensors": Plain([{k: torch.tensor(v) if k != "text" else v for k, v in item.items()} for item in items]),
        "columns": datasets.Dataset.from_list(items),
        "transform": datasets.Dataset.from_list(items).with_transform(lambda batch: batch),
    }
    run = trainer(tmp_path, bert(0.0), forms[form], max_steps=4, logging_steps=1)
    run.train()
    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    reference = trainer(tmp_path, bert(0.0), items, max_steps=4, logging_steps=1)
    reference.train()
    assert losses == [entry["loss"] for entry in reference.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (datasets.DatasetDict(train=dataset(3), test=dataset(3)), r"dataset\['train'\]"),
        (dataset(3).to_dict(), "Dataset.from_dict"),
        ("imdb", "load_dataset"),
        ([], "empty"),
        (7, "Pass a datasets.Dataset"),
        (datasets.Dataset.from_dict({"sentence": ["a"], "label": [0]}), r"tokenizer\(batch\['sentence'\]"),
        ([{"text": "a", "label": 0}], "Tokenize first"),
        (["a", "b"], "Tokenize first"),
    ],
)
def test_datasets_that_cannot_be_used_say_why(tmp_path, data, match):
    with pytest.raises(InputError, match=match):
        trainer(tmp_path, data=data, max_steps=1).train()


def test_missing_labels_and_heads_say_why(tmp_path):
    with pytest.raises(InputError, match="column 'label'"):
        trainer(tmp_path, data=dataset(8).remove_columns("label"), max_steps=1).train()
    from notebook_kit.models.bert import BertModel

    with pytest.raises(InputError, match="AutoModelForSequenceClassification"):
        trainer(tmp_path, BertModel(bert().config), rows(8), max_steps=1).train()
    with pytest.raises(InputError, match="train_dataset"):
        run = trainer(tmp_path, max_steps=1)
        run.train_dataset = None
        run.train()
    with pytest.raises(InputError, match="no dataset to evaluate on"):
        trainer(tmp_path).evaluate()


def test_default_collator_is_the_one_of_the_reference():
    features = [
        {"x": [1.0, 2.0], "label": 1, "text": "a", "none": None},
        {"x": [3.0, 4.0], "label": 0, "text": "b", "none": None},
    ]
    mine, theirs = default_data_collator(features), transformers.default_data_collator(features)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(mine[name], value)
        assert mine[name].dtype == value.dtype
    for one in ({"label_ids": [1, 2], "x": np.float32(1)}, {"label": torch.tensor(1)}, {"label": 0.5}):
        mine, theirs = default_data_collator([one, one]), transformers.default_data_collator([one, one])
        assert {k: (v.dtype, v.tolist()) for k, v in mine.items()} == {
            k: (v.dtype, v.tolist()) for k, v in theirs.items()
        }
    assert isinstance(default_data_collator(features, return_tensors="np")["x"], np.ndarray)


def test_unequal_lengths_without_a_tokenizer_say_what_to_pass(tmp_path):
    with pytest.raises(InputError, match="DataCollatorWithPadding"):
        trainer(tmp_path, data=rows(8), data_collator=default_data_collator, max_steps=1).train()


def test_padding_collators_are_those_of_the_reference():
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, **{f"w{i}": i for i in range(5, 50)}}
    tokenizer = transformers.BertTokenizerFast(vocab=vocabulary)
    features = [{name: item[name] for name in ("input_ids", "attention_mask", "label")} for item in rows(4)]
    mine = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)(features)
    theirs = transformers.DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)(features)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    for side in ("right", "left"):
        tokenizer.padding_side = side
        tokens = [
            {"input_ids": f["input_ids"], "attention_mask": f["attention_mask"], "labels": [1] * len(f["input_ids"])}
            for f in features
        ]
        mine = DataCollatorForTokenClassification(tokenizer)(tokens)
        theirs = transformers.DataCollatorForTokenClassification(tokenizer)(tokens)
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("kind", ["pt", "np"])
def test_padding_collators_take_columns(kind):
    """A slice of a dataset is a dictionary of lists, and the course collates it as it is."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, **{f"w{i}": i for i in range(5, 50)}}
    theirs = transformers.BertTokenizerFast(vocab=vocabulary)
    mine = PreTrainedTokenizerFast(theirs.backend_tokenizer, pad_token="[PAD]")
    samples = {name: values for name, values in dataset(8)[:8].items() if name != "text"}
    batch = DataCollatorWithPadding(mine, return_tensors=kind)(samples)
    expected = transformers.DataCollatorWithPadding(theirs, return_tensors=kind)(samples)
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        assert value.dtype == batch[name].dtype
        assert value.tolist() == batch[name].tolist()
    tensors = {name: [torch.tensor(row) for row in values] for name, values in samples.items()}
    again = DataCollatorWithPadding(mine, return_tensors=kind)(tensors)
    assert all(again[name].tolist() == value.tolist() for name, value in batch.items())
    encoding = mine([["w5", "w6"], ["w7"]], is_split_into_words=True)
    assert DataCollatorWithPadding(mine, return_tensors=kind)(encoding)["input_ids"].shape == (2, 4)
    columns = {"input_ids": [[5, 6, 7], [8]], "labels": [[1, 2, 3], [4]]}
    for collator in (DataCollatorForTokenClassification, DataCollatorForSeq2Seq):
        assert collator(mine, return_tensors=kind)(columns)["labels"].tolist() == [[1, 2, 3], [4, -100, -100]]


def test_a_tokenizer_alone_gives_a_padding_collator(tmp_path):
    run = trainer(tmp_path, processing_class=Padder(), data_collator=None, max_steps=1)
    assert isinstance(run.data_collator, DataCollatorWithPadding)
    assert (
        trainer(tmp_path, Line(), line_rows(), data_collator=None, max_steps=1).data_collator is default_data_collator
    )


def test_workers_read_the_same_batches(tmp_path):
    alone = trainer(tmp_path, bert(0.0), max_steps=3, logging_steps=1)
    helped = trainer(tmp_path, bert(0.0), max_steps=3, logging_steps=1, dataloader_num_workers=1)
    for run in (alone, helped):
        run.train()
    pick = [[entry["loss"] for entry in run.state.log_history if "loss" in entry] for run in (alone, helped)]
    assert pick[0] == pick[1]


def test_columns_of_pictures_and_sound_are_to_be_prepared(tmp_path):
    """The advice runs as it is written."""
    image_processor = notebook_kit.AutoImageProcessor.from_pretrained("notebook-kit/tiny-things")
    feature_extractor = notebook_kit.AutoFeatureExtractor.from_pretrained("notebook-kit/tiny-commands")
    names = {"datasets": datasets, "load_audio": notebook_kit.load_audio, "rate": feature_extractor.sampling_rate}
    names |= {"image_processor": image_processor, "feature_extractor": feature_extractor}
    pictures = [str(sample(f"{name}.jpg")) for name in ("cat", "lion")]
    sounds = [str(sample(f"{name}.ogg")) for name in ("seven", "stop")]
    for column, kind, files, loader, checkpoint in (
        ("image", datasets.Image(), pictures, "AutoModelForImageClassification", "tiny-things"),
        ("audio", datasets.Audio(), sounds, "AutoModelForAudioClassification", "tiny-commands"),
    ):
        dataset = datasets.Dataset.from_dict({column: files, "label": [0, 1]}).cast_column(column, kind)
        model = getattr(notebook_kit, loader).from_pretrained(f"notebook-kit/{checkpoint}")
        args = notebook_kit.TrainingArguments(
            output_dir=tmp_path, max_steps=1, report_to="none", save_strategy="no", disable_tqdm=True
        )
        with pytest.raises(InputError, match=f"has the columns {column}, label") as caught:
            notebook_kit.Trainer(model=model, args=args, train_dataset=dataset).train()
        advice = re.search(r"dataset = (dataset\..*\))(?:\.$|, with rate)", caught.value.next_step)[1]
        prepared = eval(advice, names | {"dataset": dataset})
        pads = {"processing_class": feature_extractor} if column == "audio" else {}
        assert str(caught.value).count("processing_class=feature_extractor") == len(pads)
        assert notebook_kit.Trainer(model=model, args=args, train_dataset=prepared, **pads).train().global_step == 1


def test_pictures_and_sounds_of_two_sizes_in_a_batch():
    rows = [{"pixel_values": torch.zeros(3, side, side), "labels": 0} for side in (8, 12)]
    with pytest.raises(InputError, match="need equal shapes") as caught:
        default_data_collator(rows)
    assert "one size" in caught.value.next_step and "tokenizer" not in caught.value.next_step
    with pytest.raises(InputError, match="need equal shapes") as caught:
        default_data_collator([{"input_values": torch.zeros(count), "labels": 0} for count in (8, 12)])
    assert "processing_class=feature_extractor" in caught.value.next_step
