"""Batches for language models equal those of transformers, number by number, and packing wastes nothing."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import notebook_kit
from notebook_kit import DataCollatorForLanguageModeling, Trainer, TrainingArguments, pack_blocks
from notebook_kit.errors import ConfigurationError, InputError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"w{i}" for i in range(40)] + [f"##s{i}" for i in range(5)]
ROLES = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
TEXTS = ["w1 w2s1s2 w3 w4 w5", "w6 w7s3", "w8 w9 w10s4 w11 w12 w13 w14 w15 w16", "w17"]


def backend() -> Tokenizer:
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def pair(**roles):
    roles = roles or ROLES
    mine = notebook_kit.PreTrainedTokenizerFast(tokenizer_object=backend(), **roles)
    return mine, transformers.PreTrainedTokenizerFast(tokenizer_object=backend(), **roles)


def compare(features, roles=None, with_seed=False, **options):
    mine, theirs = pair(**(roles or {}))
    if with_seed:
        options["seed"] = 11
    ours = DataCollatorForLanguageModeling(mine, **options)
    reference = transformers.DataCollatorForLanguageModeling(theirs, **options)
    for _ in range(3):  # the generator goes on from batch to batch
        torch.manual_seed(5)
        a = ours([dict(f) if isinstance(f, dict) else f for f in features])
        torch.manual_seed(5)
        b = reference([dict(f) if isinstance(f, dict) else f for f in features])
        assert sorted(a) == sorted(b)
        for name in a:
            assert torch.equal(a[name], b[name]), name


def features(**options):
    tokenizer = pair()[0]
    encoded = tokenizer(TEXTS * 4, return_token_type_ids=False, **options)
    return [{name: values[i] for name, values in encoded.items()} for i in range(len(encoded["input_ids"]))]


@pytest.mark.parametrize("with_seed", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mlm": False},
        {"mlm_probability": 0.5},
        {"mlm_probability": 0.5, "mask_replace_prob": 0.4, "random_replace_prob": 0.6},
        {"mlm_probability": 0.5, "mask_replace_prob": 0.0, "random_replace_prob": 1.0},
        {"mlm_probability": 1.0, "mask_replace_prob": 1.0, "random_replace_prob": 0.0},
        {"pad_to_multiple_of": 8},
        {"pad_to_multiple_of": 8, "mlm": False},
    ],
    ids=str,
)
def test_equals_the_reference(options, with_seed):
    compare(features(), with_seed=with_seed, **options)
    compare(features(return_special_tokens_mask=True), with_seed=with_seed, **options)
    compare([feature["input_ids"] for feature in features()], with_seed=with_seed, **options)
    compare([torch.tensor(feature["input_ids"]) for feature in features()], with_seed=with_seed, **options)


@pytest.mark.filterwarnings("ignore:Random token replacement")
def test_whole_words_equal_the_references():
    given = features(return_special_tokens_mask=True, return_offsets_mapping=True)
    longest = max(len(feature["input_ids"]) for feature in given)
    same = [feature for feature in given if len(feature["input_ids"]) == longest]  # the reference pads no offsets
    compare(same, whole_word_mask=True, mlm_probability=0.4)


def test_whole_words_are_masked_as_a_whole():
    mine = pair()[0]
    collate = DataCollatorForLanguageModeling(mine, whole_word_mask=True, mlm_probability=0.5, seed=3)
    given = features(return_special_tokens_mask=True, return_offsets_mapping=True)
    batch = collate(given)
    masked = batch["input_ids"] == mine.mask_token_id
    assert masked.any() and torch.equal(masked, batch["labels"] != -100)
    parts = partial = 0
    for row, feature in enumerate(given):
        for i in range(1, len(feature["input_ids"])):
            (_, end), (start, _) = feature["offset_mapping"][i - 1], feature["offset_mapping"][i]
            if start == end and not feature["special_tokens_mask"][i] and not feature["special_tokens_mask"][i - 1]:
                parts += 1
                partial += bool(masked[row, i] != masked[row, i - 1])
    assert parts and not partial
    with pytest.raises(InputError, match="no offset_mapping"):
        collate([[5, 6, 7], [8]])  # no token says where a word goes on


@pytest.mark.parametrize("side", ["left", "right"])
def test_words_are_known_by_offsets_and_by_wordpiece(side):
    """Masked with certainty, word by word: what both ways call a word is the same, wherever the padding is."""
    mine = pair(padding_side=side, **ROLES)[0]
    with_offsets = features(return_special_tokens_mask=True, return_offsets_mapping=True)
    without = [{name: row[name] for name in ("input_ids", "special_tokens_mask")} for row in with_offsets]
    batches = []
    for given in (with_offsets, without):
        collate = notebook_kit.DataCollatorForWholeWordMask(mine, mlm_probability=0.4, seed=5)
        batches.append(collate([dict(row) for row in given]))
    assert torch.equal(batches[0]["labels"], batches[1]["labels"])
    pieces = torch.tensor(
        [
            [piece.startswith("##") for piece in mine.convert_ids_to_tokens(row)]
            for row in torch.where(batches[0]["labels"] >= 0, batches[0]["labels"], batches[0]["input_ids"]).tolist()
        ]
    )
    chosen = batches[0]["labels"] >= 0
    assert (chosen[:, 1:][pieces[:, 1:]] == chosen[:, :-1][pieces[:, 1:]]).all() and chosen.any()


def test_shares_are_those_that_were_asked_for():
    mine = pair()[0]
    ids = torch.randint(5, 45, (100, 400), generator=torch.Generator().manual_seed(0))
    collate = DataCollatorForLanguageModeling(mine, seed=1)
    batch = collate([row.tolist() for row in ids])
    chosen = batch["labels"] != -100
    assert torch.equal(batch["labels"][chosen], ids[chosen])
    assert torch.equal(batch["input_ids"][~chosen], ids[~chosen])
    hidden = (batch["input_ids"] == mine.mask_token_id)[chosen].float().mean()
    kept = (batch["input_ids"] == ids)[chosen].float().mean()
    # 40,000 tokens: a share of 0.15 has a standard deviation of 0.0018, one of 0.8 among 6,000 of 0.005
    assert abs(chosen.float().mean() - 0.15) < 0.008
    assert abs(hidden - 0.8) < 0.02 and abs(kept - 0.1 - 0.1 / len(mine)) < 0.02


def test_special_tokens_and_padding_are_never_chosen():
    mine = pair()[0]
    collate = DataCollatorForLanguageModeling(mine, mlm_probability=1.0, seed=0)
    batch = collate(features())
    special = torch.isin(torch.where(batch["labels"] >= 0, batch["labels"], -1), torch.tensor([0, 2, 3]))
    assert not special.any()
    assert (
        (batch["labels"] != -100)
        == (batch["attention_mask"] == 1)
        & ~torch.isin(
            torch.tensor([(f["input_ids"] + [0] * 20)[: batch["labels"].shape[1]] for f in features()]),
            torch.tensor([0, 2, 3]),
        )
    ).all()


def test_numpy_and_blocks_without_a_padding_token():
    mine, _ = pair(unk_token="[UNK]")
    collate = DataCollatorForLanguageModeling(mine, mlm=False, return_tensors="np")
    batch = collate([[5, 6, 7], [8, 9, 10]])
    assert isinstance(batch["labels"], np.ndarray) and batch["labels"].tolist() == [[5, 6, 7], [8, 9, 10]]
    with pytest.raises(InputError, match="padding token"):
        collate([[5, 6, 7], [8]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mlm_probability": 1.5}, "mlm_probability is 1.5"),
        ({"mlm_probability": None}, "mlm_probability is None"),
        ({"mask_replace_prob": -0.1}, "mask_replace_prob is -0.1"),
        ({"mask_replace_prob": 0.8, "random_replace_prob": 0.3}, "sum to more than 1"),
        ({"mlm": False, "whole_word_mask": True}, "mlm is False"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ConfigurationError, match=message):
        DataCollatorForLanguageModeling(pair()[0], **options)


def test_no_mask_token():
    mine, _ = pair(pad_token="[PAD]")
    with pytest.raises(ConfigurationError, match="mask token, and this tokenizer has none"):
        DataCollatorForLanguageModeling(mine)
    assert DataCollatorForLanguageModeling(mine, mlm=False)([[5], [6]])["labels"].tolist() == [[5], [6]]


# Packing -----------------------------------------------------------------------------------------------------------------


def test_packed_texts_are_all_there_and_in_order():
    random = np.random.default_rng(0)
    texts = [random.integers(5, 45, int(random.integers(1, 30))).tolist() for _ in range(50)]
    packed = pack_blocks({"input_ids": texts, "attention_mask": [[1] * len(text) for text in texts]}, 16, separator=0)
    joined = [token for text in texts for token in [*text, 0]]
    flat = [token for block in packed["input_ids"] for token in block]
    assert flat == joined[: len(joined) // 16 * 16] and len(joined) - len(flat) < 16
    assert {len(block) for name in packed for block in packed[name]} == {16}
    assert packed["labels"] == packed["input_ids"] and packed["labels"][0] is not packed["input_ids"][0]
    assert set(map(tuple, packed["attention_mask"])) == {(1,) * 16}


def test_packing_a_dataset_and_a_list():
    texts = [[5, 6, 7, 8, 2], [9, 2], [10, 11, 12]]
    rows = [{"input_ids": text, "text": "of some length"} for text in texts]
    made = datasets.Dataset.from_list(rows)
    options = {"block_size": 3, "separator": 2}
    blocks = made.map(pack_blocks, batched=True, fn_kwargs=options, remove_columns=made.column_names)
    assert blocks["input_ids"][:] == [[5, 6, 7], [8, 2, 9], [2, 10, 11]]  # no second separator after an end
    assert [row["input_ids"] for row in pack_blocks(rows, **options)] == blocks["input_ids"][:]


def test_packing_mistakes():
    with pytest.raises(InputError, match="block_size is 0"):
        pack_blocks({"input_ids": [[1]]}, 0)
    with pytest.raises(InputError, match="no input_ids to pack; the columns are 'text'"):
        pack_blocks({"text": ["a"]}, 8)


def test_a_masked_model_learns():
    """A text is one word again and again, so what is masked follows from the rest."""
    torch.manual_seed(0)
    texts = [{"input_ids": [2, *[word] * 8, 3]} for word in range(5, 30)] * 8
    config = notebook_kit.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    mine = pair()[0]
    import tempfile

    args = TrainingArguments(
        tempfile.mkdtemp(),
        max_steps=150,
        learning_rate=1e-2,
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=50,
    )
    trainer = Trainer(
        notebook_kit.BertForMaskedLM(config), args, DataCollatorForLanguageModeling(mine, seed=0), train_dataset=texts
    )
    trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert losses[-1] < losses[0] * 0.7
