"""The tokenizer classes by name: what their recipes and defaults give equals the oracle's, however they are constructed."""

from __future__ import annotations

import ast
import inspect
import pickle
import shutil
from pathlib import Path

import pytest
import transformers
from test_ids import HARD
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from vocabularies import OF_LANGUAGES, write

import notebook_kit
from notebook_kit.errors import CheckpointError, InputError, NotebookKitWarning
from notebook_kit.processing.text import classes
from notebook_kit.processing.text.auto import AutoTokenizer, PreTrainedTokenizerFast
from notebook_kit.processing.text.families import FAMILIES, MODEL_TYPES

TEXTS = [*HARD.values(), "Héllo Wörld, how're you?"]
# What the oracle has under another name, or not at all.
ORACLE = {"MT5Tokenizer": "T5Tokenizer", "CpmTokenizer": "CpmTokenizerFast"}
FILES = {
    "minilm": ("BertTokenizer", {"vocab_file": "vocab.txt"}),
    "distilbert": ("DistilBertTokenizerFast", {"vocab_file": "vocab.txt"}),
    "mpnet": ("MPNetTokenizer", {"vocab_file": "vocab.txt"}),
    "gpt2": ("GPT2TokenizerFast", {"vocab_file": "vocab.json", "merges_file": "merges.txt"}),
    "roberta": ("RobertaTokenizer", {"vocab_file": "vocab.json", "merges_file": "merges.txt"}),
    "bart": ("BartTokenizer", {"vocab_file": "vocab.json", "merges_file": "merges.txt"}),
    "gpt_neox": ("GPTNeoXTokenizerFast", {"vocab_file": "vocab.json", "merges_file": "merges.txt"}),
    "qwen2": ("Qwen2Tokenizer", {"vocab_file": "vocab.json", "merges_file": "merges.txt"}),
    "clip": ("CLIPTokenizer", {"vocab_file": "vocab.json", "merges_file": "merges.txt"}),
    "xlm_roberta": ("XLMRobertaTokenizer", {"vocab_file": "sentencepiece.bpe.model"}),
    "camembert": ("CamembertTokenizer", {"vocab_file": "sentencepiece.bpe.model"}),
    "t5": ("T5Tokenizer", {"vocab_file": "spiece.model"}),
    "albert": ("AlbertTokenizer", {"vocab_file": "spiece.model"}),
    "llama": ("LlamaTokenizer", {"vocab_file": "tokenizer.model"}),
    "gemma": ("GemmaTokenizer", {"vocab_file": "tokenizer.model"}),
    "mbart": ("MBartTokenizer", {"vocab_file": "sentencepiece.bpe.model"}),
    "mbart50": ("MBart50Tokenizer", {"vocab_file": "sentencepiece.bpe.model"}),
}


def ids(tokenizer, **options):
    return tokenizer(TEXTS, verbose=False, **options)["input_ids"]


def oracle_class(name):
    return getattr(transformers, ORACLE.get(name, name))


@pytest.mark.parametrize("name", FILES)
def test_vocabulary_files_give_the_ids_of_the_checkpoint(checkpoint, tmp_path, name):
    """By keyword and by position, and from a folder with nothing else, as the oracle's class reads it."""
    class_name, files = FILES[name]
    kind = getattr(notebook_kit, class_name)
    paths = {key: checkpoint(name) / file for key, file in files.items()}
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in paths.values():
        shutil.copy(path, bare)
    by_name, by_position = kind(**paths), kind(*map(str, paths.values()))
    loaded = kind.from_pretrained(bare)
    assert type(loaded) is kind and ids(by_name) == ids(by_position) == ids(loaded)
    if name not in OF_LANGUAGES:
        oracle = oracle_class(class_name).from_pretrained(str(bare))
        assert ids(loaded) == ids(oracle)
        assert loaded.special_tokens_map == oracle.special_tokens_map
        assert set(loaded.all_special_tokens) == set(oracle.all_special_tokens)


@pytest.mark.parametrize("name", ["minilm", "mpnet", "qwen2", "clip", "t5", "albert", "llama", "gemma", "mbart50"])
def test_the_class_loads_what_it_saved_and_so_does_the_oracle(checkpoint, tmp_path, name):
    kind = getattr(notebook_kit, FILES[name][0])
    first = kind.from_pretrained(checkpoint(name))
    first.save_pretrained(tmp_path)
    for again in (kind.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert type(again) is kind and ids(again) == ids(first)
    assert ids(pickle.loads(pickle.dumps(first))) == ids(first)
    if name not in OF_LANGUAGES:
        assert ids(transformers.AutoTokenizer.from_pretrained(str(tmp_path))) == ids(first)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "MarianTokenizer"])
def test_defaults_of_every_class(name):
    """Special tokens, model inputs and padding side, with a pipeline that says nothing about them."""
    backend = Tokenizer(models.WordLevel({"hello": 0}, unk_token="hello"))
    kind, oracle = getattr(classes, name), oracle_class(name)
    ours = kind(tokenizer_object=backend)
    assert (ours.padding_side, kind.padding_side) == (oracle.padding_side,) * 2
    assert ours.model_input_names == kind.model_input_names == list(oracle.model_input_names)
    parameters = inspect.signature(getattr(oracle, "__init__")).parameters  # noqa: B009
    if "unk_token" in parameters:
        expected = {role: parameters[role].default for role in ours.SPECIAL_TOKENS_ATTRIBUTES if role in parameters}
        assert ours.special_tokens_map == {role: token for role, token in expected.items() if token is not None}
    assert getattr(classes, f"{name}Fast") is kind and kind.__name__ == name and "Example:" in kind.__doc__


def test_the_stub_lists_the_classes():
    lines = ast.parse(Path(classes.__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    written = {"M2M100Tokenizer", "MarianTokenizer", "WhisperTokenizer"}
    listed = {node.name for node in lines if isinstance(node, ast.ClassDef)} | written
    listed |= {node.targets[0].id for node in lines if isinstance(node, ast.Assign)}
    assert listed == set(classes.__all__)


def test_model_types_name_the_classes_of_the_oracle():
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    for model_type, name in MODEL_TYPES.items():
        expected = TOKENIZER_MAPPING_NAMES.get(model_type)
        if expected in FAMILIES and name in FAMILIES and "DistilBert" not in name:
            ours, theirs = FAMILIES[name], FAMILIES[expected]
            assert (ours.pipeline, ours.padding_side) == (theirs.pipeline, theirs.padding_side), model_type
    left = {kind for kind, family in FAMILIES.items() if family.padding_side == "left" and kind != "LlamaTokenizer"}
    prompted = {
        kind for kind, name in TOKENIZER_MAPPING_NAMES.items() if name in left and kind.startswith(("cohere", "gemma"))
    }
    assert prompted <= MODEL_TYPES.keys()


def test_a_shorter_prompt_of_a_batch_is_padded_on_the_left_for_gemma(checkpoint, tmp_path):
    shutil.copytree(checkpoint("gemma"), tmp_path, dirs_exist_ok=True)
    write(tmp_path, tokenizer_config_json={"tokenizer_class": "GemmaTokenizer"})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    rows = tokenizer(["a longer prompt", "a"], padding=True)["input_ids"]
    assert rows[1][0] == tokenizer.pad_token_id and rows[1][-1] != tokenizer.pad_token_id


def test_control_pieces_are_special(checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint("mistral"))
    assert {"[INST]", "[/INST]", "[TOOL_CALLS]"} <= set(tokenizer.all_special_tokens)
    assert tokenizer.decode(tokenizer("[INST] hello [/INST]").input_ids, skip_special_tokens=True).strip() == "hello"


@pytest.mark.parametrize("name", ["BertTokenizerFast", "RobertaTokenizerFast", "LlamaTokenizer"])
def test_from_a_tokenizer_object_and_its_file(checkpoint, tmp_path, name):
    """The ways of the course's chapter 6, compared with the oracle."""
    folder = {"BertTokenizerFast": "minilm", "RobertaTokenizerFast": "roberta"}
    backend = AutoTokenizer.from_pretrained(checkpoint(folder.get(name, "llama"))).backend_tokenizer
    backend.save(str(tmp_path / "tokenizer.json"))
    oracle = getattr(transformers, name)(tokenizer_object=backend)
    kind = getattr(notebook_kit, name)
    for ours in (
        kind(tokenizer_object=backend),
        kind(tokenizer_file=str(tmp_path / "tokenizer.json")),
        kind.from_pretrained(tmp_path),
    ):
        assert type(ours) is kind and ids(ours) == ids(oracle)
        assert ours.special_tokens_map == oracle.special_tokens_map


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("minilm", {"do_lower_case": False}),
        ("minilm", {"strip_accents": False, "tokenize_chinese_chars": False}),
        ("gpt2", {"add_prefix_space": True}),
        ("gpt2", {"add_bos_token": True}),
        ("gpt2", {"bos_token": "<s>", "pad_token": "<pad>"}),
        ("qwen2", {"add_prefix_space": True}),
        ("gpt_neox", {"add_prefix_space": True, "add_eos_token": True}),
        ("albert", {"do_lower_case": False, "keep_accents": True}),
        ("xlm_roberta", {"add_prefix_space": False}),
        ("llama", {"add_prefix_space": False, "add_eos_token": True}),
    ],
)
def test_keywords_of_the_class(checkpoint, name, options):
    class_name, _ = FILES[name]
    ours = getattr(notebook_kit, class_name).from_pretrained(checkpoint(name), **options)
    oracle = oracle_class(class_name).from_pretrained(str(checkpoint(name)), **options)
    assert ids(ours) == ids(oracle)


@pytest.mark.parametrize("name", ["BertTokenizer", "GPT2Tokenizer", "T5Tokenizer", "LlamaTokenizer"])
def test_vocabularies_in_memory(name):
    given = {
        "BertTokenizer": {"vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "hello": 5}},
        "GPT2Tokenizer": {"vocab": {"h": 0, "e": 1, "he": 2, "<|endoftext|>": 3}, "merges": [("h", "e")]},
        "T5Tokenizer": {"vocab": [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁hello", -1.0)]},
        "LlamaTokenizer": {"vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "h": 4, "▁h": 5}, "merges": [("▁", "h")]},
    }[name]
    ours, oracle = getattr(notebook_kit, name)(**given), getattr(transformers, name)(**given)
    assert ours("hello he").input_ids == oracle("hello he")["input_ids"]
    assert ours.get_vocab() == oracle.get_vocab()


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.pipeline])
def test_without_a_vocabulary_there_are_the_special_tokens(name):
    if name in ("MarianTokenizer", "M2M100Tokenizer"):
        with pytest.raises(InputError, match=r"without a vocabulary.*\n.*spm"):
            getattr(notebook_kit, name)()
        return
    ours = getattr(notebook_kit, name)()
    if name == "CLIPTokenizer":  # there, an id is left out
        assert ours.get_vocab() == {"<|startoftext|>": 0, "<|endoftext|>": 1}
    elif name not in ("MT5Tokenizer", "SiglipTokenizer"):  # the latter needs a file there
        assert ours.get_vocab() == oracle_class(name)().get_vocab()


def test_marian_from_its_files(tmp_path, sentences):
    from vocabularies import marian

    folder = marian(tmp_path, None, sentences)
    files = {"source_spm": "source.spm", "target_spm": "target.spm", "vocab": "vocab.json"}
    ours = notebook_kit.MarianTokenizer(**{name: str(folder / file) for name, file in files.items()})
    assert type(ours) is type(AutoTokenizer.from_pretrained(folder)) and ours.model_max_length == 512
    assert ours(sentences[:20]).input_ids == AutoTokenizer.from_pretrained(folder)(sentences[:20]).input_ids


def test_switches_of_the_generic_class(tmp_path):
    """For `PreTrainedTokenizerFast`, too, and for the embedded tiny-gpt2; saved with the pipeline."""
    name = "notebook-kit/tiny-gpt2"
    plain = AutoTokenizer.from_pretrained(name)
    spaced = AutoTokenizer.from_pretrained(name, add_prefix_space=True)
    assert type(plain) is PreTrainedTokenizerFast
    assert spaced("Hello there").input_ids == plain(" Hello there").input_ids
    assert spaced(["Hello", "there"], is_split_into_words=True).input_ids == plain(" Hello there").input_ids
    lowered = AutoTokenizer.from_pretrained(name, do_lower_case=True, strip_accents=True)
    assert lowered("Héllo THERE").input_ids == plain("hello there").input_ids
    lowered.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("Héllo THERE").input_ids == plain("hello there").input_ids
    kept = AutoTokenizer.from_pretrained(tmp_path, do_lower_case=False, strip_accents=False)
    assert kept("Héllo THERE").input_ids == plain("Héllo THERE").input_ids
    constructed = PreTrainedTokenizerFast(tokenizer_object=plain.backend_tokenizer, add_prefix_space=True)
    assert constructed("Hello").input_ids == plain(" Hello").input_ids
    assert plain("Hello").input_ids != plain(" Hello").input_ids  # the object that was passed is unchanged
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.warns(NotebookKitWarning, match="add_prefix_space has no effect"):
        PreTrainedTokenizerFast(tokenizer_object=words, add_prefix_space=True)


def test_a_llama_class_around_a_byte_level_pipeline_has_no_llama_defaults(checkpoint, tmp_path):
    """As in checkpoints derived from Llama 3 and Qwen2: no `<unk>` is added, and padding is on the right."""
    AutoTokenizer.from_pretrained(checkpoint("gpt2")).save_pretrained(tmp_path)
    write(tmp_path, tokenizer_config_json={"tokenizer_class": "LlamaTokenizerFast", "eos_token": "<|endoftext|>"})
    (tmp_path / "special_tokens_map.json").unlink()
    for model_type, kind in (("llama", PreTrainedTokenizerFast), ("qwen2", notebook_kit.Qwen2Tokenizer)):
        write(tmp_path, config_json={"model_type": model_type})
        ours, oracle = (
            AutoTokenizer.from_pretrained(tmp_path),
            transformers.AutoTokenizer.from_pretrained(str(tmp_path)),
        )
        assert type(ours) is kind and len(ours) == len(oracle)
        assert ours("Plain words").input_ids == oracle("Plain words")["input_ids"]
        assert ours.padding_side == oracle.padding_side and ours.special_tokens_map == oracle.special_tokens_map


def test_subclasses_set_their_own_defaults():
    class LeftTokenizer(PreTrainedTokenizerFast):
        padding_side = "left"
        model_input_names = ["input_ids"]

    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    ours = LeftTokenizer(tokenizer_object=backend, pad_token="b")
    assert dict(ours(["a a", "a"], padding=True)) == {"input_ids": [[0, 0], [1, 0]]}


def test_what_cannot_be_constructed(checkpoint, tmp_path):
    backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(InputError, match="neither was passed"):
        PreTrainedTokenizerFast()
    with pytest.raises(InputError, match=r"either a tokenizers.Tokenizer"):
        PreTrainedTokenizerFast(tokenizer_object=backend, tokenizer_file="x.json")
    with pytest.raises(InputError, match="tokenizer_object is 'str'"):
        notebook_kit.BertTokenizer(tokenizer_object="vocab.txt")
    with pytest.raises(InputError, match=r"no file .*absent.txt"):
        notebook_kit.BertTokenizer(tmp_path / "absent.txt")
    with pytest.raises(InputError, match="vocabulary of the BertTokenizer cannot be used"):
        notebook_kit.BertTokenizer(vocab={"a": "b"})
    with pytest.raises(InputError, match="cannot place"):
        notebook_kit.BertTokenizer("vocab.txt", "merges.txt")
    with pytest.raises(CheckpointError, match=r"vocab.json but no merges.txt"):
        notebook_kit.GPT2Tokenizer(vocab_file=checkpoint("gpt2") / "vocab.json")
    with pytest.raises(InputError, match="cls_token is 5; expected a token"):
        notebook_kit.BertTokenizer(cls_token=5)
    with pytest.raises(InputError, match="PegasusTokenizer was constructed without a vocabulary"):
        notebook_kit.PegasusTokenizer()
    with pytest.raises(InputError, match="no option 'do_lowercase'"):
        notebook_kit.BertTokenizer(do_lowercase=True)


def cased():
    """A WordPiece pipeline whose words differ in case and accents."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Hello", "hello", "naïve", "naive"]
    backend = Tokenizer(models.WordPiece({word: id for id, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def pieces():
    """A sentencepiece pipeline with neither language codes nor a post-processor."""
    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<s>", 0.0), ("▁hello", -1.0), ("▁king", -2.0)]
    backend = Tokenizer(models.Unigram(scores, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return backend


def constructed(kind, backend, folder, **options):
    """From the object, and from its file."""
    backend.save(str(folder / "given.json"))
    return [
        kind(tokenizer_object=backend, **options),
        kind(tokenizer_file=str(folder / "given.json"), **options),
    ]


@pytest.mark.parametrize("name", ["BertTokenizerFast", "DistilBertTokenizerFast", "ElectraTokenizer", "MPNetTokenizer"])
def test_a_default_of_the_class_leaves_a_cased_pipeline(tmp_path, name):
    kind, oracle = getattr(notebook_kit, name), getattr(transformers, name)
    expected = oracle(tokenizer_object=cased())("Hello naïve", add_special_tokens=False)["input_ids"]
    assert expected == [5, 7]
    for ours in constructed(kind, cased(), tmp_path):
        assert ours("Hello naïve", add_special_tokens=False).input_ids == expected
        assert ours.do_lower_case is False
        ours.save_pretrained(tmp_path / "saved")
        again = AutoTokenizer.from_pretrained(tmp_path / "saved")
        assert again("Hello naïve", add_special_tokens=False).input_ids == expected
    lowered = kind(tokenizer_object=cased(), do_lower_case=True, strip_accents=True)
    assert lowered("Hello naïve", add_special_tokens=False).input_ids == [6, 8]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [5, 7]),
        ({"do_lower_case": None}, [5, 7]),
        ({"do_lower_case": False}, [5, 7]),
        ({"do_lower_case": True}, [6, 8]),
        ({"do_lower_case": True, "strip_accents": False}, [6, 7]),
    ],
)
def test_only_a_setting_of_the_checkpoint_changes_a_cased_pipeline(tmp_path, settings, expected):
    config = {"tokenizer_class": "BertTokenizer", **settings}
    write(tmp_path, tokenizer_json=cased().to_str(), tokenizer_config_json=config)
    assert AutoTokenizer.from_pretrained(tmp_path)("Hello naïve", add_special_tokens=False).input_ids == expected
    if settings.get("do_lower_case") is not None:
        oracle = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
        assert oracle("Hello naïve", add_special_tokens=False)["input_ids"] == expected


@pytest.mark.parametrize("name", ["MBartTokenizer", "T5Tokenizer", "RobertaTokenizer", "GPT2Tokenizer"])
@pytest.mark.parametrize("prefix", [False, True])
def test_a_byte_level_step_keeps_its_prefix_space(tmp_path, name, prefix):
    backend = Tokenizer(models.BPE({"<unk>": 0, "h": 1, "Ġ": 2, "Ġh": 3}, [("Ġ", "h")], unk_token="<unk>"))
    split = [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=prefix)]
    backend.pre_tokenizer = pre_tokenizers.Sequence(split)
    expected = [3] if prefix else [1]
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write(folder, tokenizer_json=backend.to_str(), tokenizer_config_json={"tokenizer_class": name})
    for ours in (AutoTokenizer.from_pretrained(folder), *constructed(getattr(notebook_kit, name), backend, tmp_path)):
        assert ours("h", add_special_tokens=False).input_ids == expected
        ours.save_pretrained(tmp_path / "saved")
        assert AutoTokenizer.from_pretrained(tmp_path / "saved")("h", add_special_tokens=False).input_ids == expected


@pytest.mark.parametrize(
    "name", ["MBartTokenizerFast", "MBart50TokenizerFast", "AlbertTokenizerFast", "CamembertTokenizerFast"]
)
@pytest.mark.parametrize("options", [{}, {"additional_special_tokens": ["<x>"]}])
def test_class_tokens_around_an_object_are_the_oracles(tmp_path, name, options):
    oracle = getattr(transformers, name)(tokenizer_object=pieces(), **options)
    for ours in constructed(getattr(notebook_kit, name), pieces(), tmp_path, **options):
        ours.save_pretrained(tmp_path / "saved")
        for tokenizer in (ours, AutoTokenizer.from_pretrained(tmp_path / "saved")):
            for texts in (("hello king",), ("hello", "king")):
                assert tokenizer(*texts).input_ids == oracle(*texts)["input_ids"]
            assert tokenizer.get_vocab() == oracle.get_vocab()
            assert set(tokenizer.all_special_tokens) == set(oracle.all_special_tokens)


def test_offsets_are_trimmed_as_the_file_states(tmp_path):
    backend = Tokenizer(models.BPE({"<s>": 0, "</s>": 1, "h": 2, "Ġ": 3, "Ġh": 4}, [("Ġ", "h")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=False)
    ours = notebook_kit.RobertaTokenizer(tokenizer_object=backend)
    assert ours("h h", return_offsets_mapping=True).offset_mapping == [(0, 0), (0, 1), (1, 3), (0, 0)]
