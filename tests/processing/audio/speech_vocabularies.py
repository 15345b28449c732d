"""Vocabularies of speech recognizers, made here: letters for CTC, and byte-level BPE with Whisper's special tokens."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from notebook_kit.registry.languages import LANGUAGES

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
TEXTS = [
    "Hello, Mr. Quilter is the apostle of the middle classes, and we are glad to welcome his gospel!",
    'He said: "turn on the colour television at twenty-one".',
    "नमस्ते दुनिया, తెలుగు మాట్లాడే వాళ్ళు. 你好，世界。",
]
SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in LANGUAGES),
    *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
]


def write_letters(folder: Path) -> Path:
    """Write the vocab.json of a CTC tokenizer, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.json"
    path.write_text(json.dumps({letter: id for id, letter in enumerate(LETTERS)}))
    return path


def write_whisper(folder: Path, size: int = 320, times: bool = True) -> Path:
    """Write a tokenizer.json like that of Whisper, with the tokens of times or without, and return its folder."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    backend.add_special_tokens(SPECIAL)
    if times:
        backend.add_tokens([f"<|{step * 0.02:.2f}|>" for step in range(1501)])
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    end = "<|endoftext|>"
    config = {
        "tokenizer_class": "WhisperTokenizer",
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "pad_token": end,
    }
    config |= {"additional_special_tokens": SPECIAL, "model_max_length": 1024}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    model = json.loads(backend.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(merge) for merge in model["merges"]))
    (folder / "normalizer.json").write_text(json.dumps({"colour": "color"}))
    return folder
