"""Where a tokenizer's parts come from, and what goes wrong there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from unittest import mock

import pytest
from test_ids import HARD
from vocabularies import CHECKPOINTS, sentencepiece_file, write

from notebook_kit.errors import (
    CheckpointError,
    InputError,
    NotebookKitWarning,
    RepoNotFoundError,
    UnknownArchitectureError,
)
from notebook_kit.hub import locate
from notebook_kit.processing.text.auto import AutoTokenizer, PreTrainedTokenizerFast
from notebook_kit.processing.text.classes import BertTokenizer
from notebook_kit.processing.text.families import FAMILIES, MODEL_TYPES, family_of
from notebook_kit.processing.text.tokenizer import CLASSES_BY_MODEL_TYPE, TOKENIZER_CLASSES


def test_paths_sources_and_single_files(checkpoint):
    folder = checkpoint("minilm")
    expected = AutoTokenizer.from_pretrained(folder)("Hello there").input_ids
    for name in (str(folder), locate(folder), folder / "tokenizer.json", str(folder / "vocab.txt")):
        assert AutoTokenizer.from_pretrained(name)("Hello there").input_ids == expected
    assert PreTrainedTokenizerFast.from_pretrained(folder)("Hello there").input_ids == expected
    assert AutoTokenizer.from_pretrained(folder).name_or_path == str(folder)
    with pytest.raises(InputError, match="not instantiated directly"):
        AutoTokenizer()


def test_subfolder(checkpoint, tmp_path):
    shutil.copytree(checkpoint("bert_cased"), tmp_path / "tokenizer")
    loaded = AutoTokenizer.from_pretrained(tmp_path, subfolder="tokenizer")
    assert loaded.tokenize("Hello") == AutoTokenizer.from_pretrained(checkpoint("bert_cased")).tokenize("Hello")


@pytest.mark.parametrize(
    "options",
    [
        {"do_lower_case": False},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
        {"cls_token": "[MASK]", "sep_token": "[PAD]"},
        {"model_max_length": 17, "padding_side": "left", "truncation_side": "left"},
        {"model_input_names": ["input_ids"]},
        {"use_fast": True},
    ],
)
def test_options_win_over_the_checkpoint(checkpoint, options):
    from transformers import AutoTokenizer as OracleAutoTokenizer

    folder = str(checkpoint("minilm"))
    ours, oracle = (kind.from_pretrained(folder, **options) for kind in (AutoTokenizer, OracleAutoTokenizer))
    for text in ("Héllo Wörld 我们 and so on", HARD["special tokens"]):
        assert dict(ours(text, truncation=True)) == dict(oracle(text, truncation=True))


@pytest.mark.parametrize("name", ["t5", "xlm_roberta", "gpt2", "minilm"])
def test_a_null_option_is_the_default(both, tmp_path, name):
    """transformers 4 wrote "add_prefix_space": null for T5."""
    both(name)[1].save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    write(tmp_path, tokenizer_config_json=config | {"add_prefix_space": None, "do_lower_case": None})
    texts = list(HARD.values())
    assert (
        AutoTokenizer.from_pretrained(tmp_path)(texts, verbose=False)["input_ids"]
        == both(name)[0](texts, verbose=False)["input_ids"]
    )


def test_a_pipeline_of_its_own_stays(checkpoint, tmp_path):
    """What tokenizer.json says is what the model was trained with, even where the family's recipe differs."""
    from tokenizers import Tokenizer, normalizers

    backend = Tokenizer.from_file(str(checkpoint("minilm") / "tokenizer.json"))
    backend.normalizer = normalizers.Sequence([normalizers.Replace("#", "number "), normalizers.Lowercase()])
    write(tmp_path, tokenizer_json=backend.to_str(), tokenizer_config_json={"tokenizer_class": "BertTokenizer"})
    assert AutoTokenizer.from_pretrained(tmp_path).tokenize("#Ones") == ["number", "ones"]


def test_misspelt_option(checkpoint):
    with pytest.raises(InputError, match=r"no option 'do_lowercase'. Did you mean 'do_lower_case'"):
        AutoTokenizer.from_pretrained(checkpoint("minilm"), do_lowercase=True)
    with pytest.raises(InputError, match="Did you mean 'revision'"):
        AutoTokenizer.from_pretrained(checkpoint("minilm"), revison="main")
    with pytest.raises(InputError, match=r"padding_side is 'middle'; expected 'right' or 'left'"):
        AutoTokenizer.from_pretrained(checkpoint("minilm"), padding_side="middle")


def test_options_without_effect_are_kept_with_a_notice(checkpoint):
    """As in the oracle; a course cell passes `return_tensors` here."""
    from transformers import AutoTokenizer as OracleAutoTokenizer

    folder, options = str(checkpoint("minilm")), {"return_tensors": "pt", "padding": True, "finetuning_task": "mrpc"}
    with pytest.warns(NotebookKitWarning, match="return_tensors, padding, finetuning_task has no effect") as notices:
        ours = AutoTokenizer.from_pretrained(folder, **options)
    assert len(notices) == 1
    oracle = OracleAutoTokenizer.from_pretrained(folder, **options)
    for name, value in options.items():
        assert ours.init_kwargs[name] == oracle.init_kwargs[name] == value
    assert ours("a").input_ids == oracle("a")["input_ids"]
    assert AutoTokenizer.from_pretrained(folder, tokenizer_type="distilbert").model_input_names == [
        "input_ids",
        "attention_mask",
    ]
    with pytest.raises(InputError, match=r"no tokenizer_type 'brt'. Did you mean 'bert'"):
        AutoTokenizer.from_pretrained(folder, tokenizer_type="brt")


@pytest.mark.parametrize("name", ["minilm", "distilbert", "mpnet", "roberta", "gpt2", "xlm_roberta", "t5", "albert"])
def test_the_model_type_is_enough(checkpoint, both, tmp_path, name):
    """A folder with config.json and vocabulary files, but no tokenizer_config.json."""
    shutil.copytree(checkpoint(name), tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer.json").unlink(missing_ok=True)
    texts = list(HARD.values())
    assert (
        AutoTokenizer.from_pretrained(tmp_path)(texts, verbose=False)["input_ids"]
        == both(name)[0](texts, verbose=False)["input_ids"]
    )


@pytest.mark.parametrize("name", ["minilm", "gpt2"])
def test_vocabulary_files_are_enough(checkpoint, both, tmp_path, name):
    for file in ("vocab.txt", "vocab.json", "merges.txt"):
        if (checkpoint(name) / file).is_file():
            shutil.copy(checkpoint(name) / file, tmp_path)
    texts = list(HARD.values())
    assert (
        AutoTokenizer.from_pretrained(tmp_path)(texts, verbose=False)["input_ids"]
        == both(name)[0](texts, verbose=False)["input_ids"]
    )


@pytest.mark.parametrize(
    "name", ["botchan_en_unigram_1000.model", "botchan_en_bpe_1000.model", "kyoto_ja_unigram_8000.model"]
)
def test_a_sentencepiece_model_alone_gives_the_librarys_own_ids(sentences, tmp_path, name):
    import sentencepiece

    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_file(name))
    ours = AutoTokenizer.from_pretrained(tmp_path)
    library = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    texts = [*sentences[:500], *(text for kind, text in HARD.items() if kind not in ("special tokens", "nul"))]
    differing = [text for text in texts if ours(text, add_special_tokens=False).input_ids != library.encode(text)]
    assert differing == []
    assert (ours.unk_token_id, ours.bos_token_id) == (library.unk_id(), library.bos_id())


def test_special_tokens_map_and_added_tokens_of_old_checkpoints(checkpoint, tmp_path):
    """The three files that transformers 2 and 3 wrote."""
    from transformers import AutoTokenizer as OracleAutoTokenizer

    size = 30522
    mask = {"content": "<m>", "lstrip": True, "rstrip": False, "single_word": False, "normalized": False}
    write(
        tmp_path,
        vocab_txt=(checkpoint("minilm") / "vocab.txt").read_bytes(),
        config_json={"model_type": "bert"},
        tokenizer_config_json={"tokenizer_class": "BertTokenizer", "do_lower_case": True},
        special_tokens_map_json={"mask_token": mask, "additional_special_tokens": ["<x>"]},
        added_tokens_json={"<y>": size + 2, "<m>": size, "<x>": size + 1},
    )
    ours, oracle = AutoTokenizer.from_pretrained(tmp_path), OracleAutoTokenizer.from_pretrained(tmp_path)
    text = "one <m> two <x>three <Y> <y>"
    assert ours(text).input_ids == oracle(text)["input_ids"]
    assert ours.mask_token_id == oracle.mask_token_id == size
    assert len(ours) == len(oracle) == size + 3


def test_a_class_without_recipe_needs_only_tokenizer_json(checkpoint, tmp_path):
    shutil.copytree(checkpoint("generic_unigram"), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    write(tmp_path, tokenizer_config_json=config | {"tokenizer_class": "PegasusTokenizer"})
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (
        loaded("some words").input_ids
        == AutoTokenizer.from_pretrained(checkpoint("generic_unigram"))("some words").input_ids
    )


def test_what_cannot_be_loaded(checkpoint, tmp_path):
    with pytest.raises(RepoNotFoundError):
        AutoTokenizer.from_pretrained(tmp_path / "nowhere", local_files_only=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CheckpointError, match=r"no vocabulary: there is no tokenizer.json"):
        AutoTokenizer.from_pretrained(empty)
    with pytest.raises(CheckpointError, match=r"vocab.json but no merges.txt"):
        AutoTokenizer.from_pretrained(write(tmp_path / "half", vocab_json={"a": 0}))
    marian = write(tmp_path / "marian", vocab_txt="a\n", tokenizer_config_json={"tokenizer_class": "RobertTokenizer"})
    with pytest.raises(UnknownArchitectureError, match=r"'RobertTokenizer'.*Did you mean 'RobertaTokenizer'"):
        AutoTokenizer.from_pretrained(marian)
    whole = (checkpoint("minilm") / "tokenizer.json").read_bytes()
    for name, data in (("cut", whole[: len(whole) // 2]), ("flipped", whole.replace(b'"version"', b'"versi\xffn"'))):
        with pytest.raises(CheckpointError, match=r"tokenizer.json cannot be read.*\n.*force_download"):
            AutoTokenizer.from_pretrained(write(tmp_path / name, tokenizer_json=data))
    for content in ("{", "[1]"):
        broken = write(tmp_path / "config", vocab_txt="a\n", tokenizer_config_json=content)
        with pytest.raises(CheckpointError, match=r"tokenizer_config.json cannot be read"):
            AutoTokenizer.from_pretrained(broken)


def test_damaged_vocabulary_files(tmp_path):
    binary = write(tmp_path / "binary", vocab_txt=b"a\n\xff\xfe\n")
    with pytest.raises(CheckpointError, match=r"vocab.txt cannot be read"):
        AutoTokenizer.from_pretrained(binary)
    merges = write(tmp_path / "merges", vocab_json={"a": 0, "b": 1}, merges_txt="#version: 0.2\na b\n")
    with pytest.raises(CheckpointError, match="cannot be read as byte-level BPE"):
        AutoTokenizer.from_pretrained(merges)
    model = sentencepiece_file("botchan_en_bpe_1000.model")
    for name, data in (("empty", b""), ("cut", model[:5000]), ("noise", bytes(range(256)) * 20)):
        folder = write(tmp_path / name, tokenizer_model=data)
        with pytest.raises(CheckpointError, match="not a readable sentencepiece model"):
            AutoTokenizer.from_pretrained(folder)


def test_paths_in_a_config_are_not_followed(checkpoint, tmp_path):
    """A checkpoint may not make us open files elsewhere."""
    secret = write(tmp_path / "secret", vocab_txt="[UNK]\nsecret\n")
    config = {
        "tokenizer_class": "BertTokenizer",
        "vocab_file": str(secret / "vocab.txt"),
        "tokenizer_file": "../x.json",
    }
    folder = write(tmp_path / "checkpoint", vocab_txt="[UNK]\npublic\n", tokenizer_config_json=config)
    assert "secret" not in AutoTokenizer.from_pretrained(folder).get_vocab()


def test_a_tokenizer_alone_never_imports_torch(checkpoint):
    code = f"""
import sys
from notebook_kit.processing.text.auto import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({str(checkpoint("minilm"))!r})
batch = tokenizer(["a text", "b"], padding=True, truncation=True, return_tensors="np")
assert tokenizer.pad([{{"input_ids": [1]}}, {{"input_ids": [1, 2]}}], return_tensors="np")["input_ids"].shape == (2, 2)
assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == "a text"
heavy = {{"torch", "transformers", "datasets", "sentencepiece", "pandas"}} & set(sys.modules)
assert not heavy, heavy
assert tokenizer("a", return_tensors="pt")["input_ids"].shape == (1, 3)
assert "torch" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_every_kind_of_family_is_compared(checkpoint):
    """A recipe that differs from the tested ones needs a checkpoint of its own in vocabularies.py."""

    def kind(family):
        return family.pipeline, family.template, family.vocabulary, family.pieces

    tested = {
        kind(FAMILIES[f"{name}Tokenizer"]) for name in ("Marian", "M2M100", "MBart", "MBart50")
    }  # in test_translation.py
    tested.add(kind(FAMILIES["WhisperTokenizer"]))  # in test_speech_tokenizers.py
    tested.add(kind(FAMILIES["SiglipTokenizer"]))  # in test_siglip_tokenizer.py
    for name in CHECKPOINTS:
        config = json.loads((checkpoint(name) / "tokenizer_config.json").read_text(encoding="utf-8"))
        family = family_of(config["tokenizer_class"])
        if family is not None:
            tested.add(kind(family))
    assert {kind(family) for family in FAMILIES.values() if family.pipeline} == tested
    assert set(MODEL_TYPES.values()) <= set(FAMILIES)


@mock.patch.dict(CLASSES_BY_MODEL_TYPE)
@mock.patch.dict(TOKENIZER_CLASSES)
def test_registered_classes_are_loaded(tmp_path, checkpoint):
    class CustomConfig:
        model_type = "custom"

    class CustomTokenizerFast(PreTrainedTokenizerFast):
        pass

    class OtherTokenizer(PreTrainedTokenizerFast):
        pass

    AutoTokenizer.register(CustomConfig, fast_tokenizer_class=CustomTokenizerFast)
    AutoTokenizer.register(CustomConfig, slow_tokenizer_class=CustomTokenizerFast)  # again, the same
    plain = AutoTokenizer.from_pretrained(checkpoint("minilm"))
    assert type(plain) is BertTokenizer
    CustomTokenizerFast.from_pretrained(checkpoint("minilm")).save_pretrained(tmp_path / "named")
    named = AutoTokenizer.from_pretrained(tmp_path / "named")
    assert type(named) is CustomTokenizerFast
    assert named("Hello there").input_ids == plain("Hello there").input_ids
    by_type = write(
        tmp_path / "by_type",
        tokenizer_json=(tmp_path / "named" / "tokenizer.json").read_text(encoding="utf-8"),
        config_json={"model_type": "custom"},
    )
    assert type(AutoTokenizer.from_pretrained(by_type)) is CustomTokenizerFast
    AutoTokenizer.register(CustomConfig, OtherTokenizer)
    assert type(AutoTokenizer.from_pretrained(by_type)) is OtherTokenizer
    with pytest.raises(InputError, match="takes a class derived from PreTrainedTokenizerFast"):
        AutoTokenizer.register(CustomConfig)


def test_a_wrong_subfolder_and_a_misspelt_option_are_named(checkpoint):
    folder = checkpoint("minilm")
    with pytest.raises(CheckpointError, match=r"\(subfolder 'zz'\) has no vocabulary"):
        AutoTokenizer.from_pretrained(folder, subfolder="zz")
    for wrong, right in (("usefast", "use_fast"), ("use_fst", "use_fast"), ("trust_remotecode", "trust_remote_code")):
        with pytest.raises(InputError, match=f"no option '{wrong}'. Did you mean '{right}'"):
            AutoTokenizer.from_pretrained(folder, **{wrong: True})
