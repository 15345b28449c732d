"""Transcripts of a real Whisper beside those of `transformers`: `python benchmarks/transcripts.py FOLDER RECORDING ...`.

FOLDER holds a checkpoint of Whisper as `transformers` or CTranslate2 (faster-whisper) write it; weights of the latter are
converted. Each recording is transcribed by both libraries: alone and whole, by segments and words, in pieces, and joined into
recordings longer than 30 seconds, which are transcribed alone and in batches, with the text of the stretch before, beams and
falling back to higher temperatures. Random weights cannot stand in for this: of them no text follows from the sound or from
where a token is. Differences are printed, and make the exit status 1. Silence has no text here and is left out.

With the weights of tiny.en and six recordings (five of LibriVox, one of telephone commands), all are equal in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
import transformers

import notebook_kit

TASK, RATE = "automatic-speech-recognition", 16_000
THRESHOLDS = {"logprob_threshold": -1.0, "compression_ratio_threshold": 1.35, "no_speech_threshold": 0.6}
PIPELINES: list[dict[str, Any]] = [
    {"return_timestamps": True},
    {"return_timestamps": "word"},
    {"return_timestamps": True, "generate_kwargs": {"num_beams": 2}},
    {"chunk_length_s": 20, "return_timestamps": True},
    {"chunk_length_s": 15, "stride_length_s": (3, 1), "return_timestamps": "word"},
]
BATCHES: list[dict[str, Any]] = [
    {},
    {"return_segments": True},
    {"condition_on_prev_tokens": True},
    {"temperature": 0.0, **THRESHOLDS},
    {"num_beams": 2},
]
# Not in a batch: there `transformers` 5 takes the rows that are tried again for the first rows, and skips these as silent.
ALONE: list[dict[str, Any]] = [{"condition_on_prev_tokens": True, "temperature": (0.0, 0.4, 0.8), **THRESHOLDS}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--tokens", type=int, default=60, help="most tokens per stretch")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    clips = [notebook_kit.load_audio(path, RATE) for path in given.recordings]
    with tempfile.TemporaryDirectory() as scratch:
        folder = converted(given.folder, Path(scratch)) if (given.folder / "model.bin").exists() else given.folder
        different = compare(folder, clips, given.tokens)
    sys.exit(bool(different))


def compare(folder: Path, clips: list[np.ndarray], tokens: int) -> int:
    """The number of differences, which are printed."""
    ours = notebook_kit.pipeline(TASK, model=folder)
    theirs = transformers.pipeline(TASK, model=str(folder), dtype=torch.float32)
    silence = np.zeros(26 * RATE, np.float32)
    long = [np.concatenate([clip, silence, clips[(i + 1) % len(clips)]]) for i, clip in enumerate(clips[:3])]
    different = 0
    for options in PIPELINES:
        for i, clip in enumerate([*clips, *long]):
            limited = {**options, "generate_kwargs": {"max_new_tokens": tokens, **options.get("generate_kwargs", {})}}
            if len(clip) > 30 * RATE:
                limited["return_timestamps"] = limited.get("return_timestamps") or True
            answers = [one(clip.copy(), **json.loads(json.dumps(limited))) for one in (ours, theirs)]
            different += report(f"recording {i}, {options}", answers, lambda answer: answer)
    together = [([*long, *clips[:2]], options) for options in BATCHES]
    for batch, options in [*together, *((long[:1], options) for options in ALONE)]:
        answers = []
        for one, library in ((ours, notebook_kit), (theirs, transformers)):
            extractor = library.WhisperFeatureExtractor.from_pretrained(folder)
            inputs = extractor(
                [clip.copy() for clip in batch],
                sampling_rate=RATE,
                return_tensors="pt",
                truncation=False,
                padding="longest",
                return_attention_mask=True,
            )
            torch.manual_seed(0)
            answers.append(one.model.generate(**inputs, return_timestamps=True, max_new_tokens=tokens, **options))
        different += report(f"batch of {len(batch)}, {options}", answers, plain)
    print(f"{different} differences")
    return different


def plain(answer: Any) -> Any:
    """What can be compared of a result of `generate`."""
    if isinstance(answer, torch.Tensor):
        return answer.tolist()
    segments = [
        [(float(one["start"]), float(one["end"]), one["tokens"].tolist()) for one in row] for row in answer["segments"]
    ]
    return answer["sequences"].tolist(), segments


def report(name: str, answers: list[Any], as_plain: Callable[[Any], Any]) -> bool:
    mine, other = map(as_plain, answers)
    is_different = json.dumps(mine) != json.dumps(other)
    print(
        "DIFFERENT" if is_different else "equal", name, *((mine, other) if is_different else ()), sep="  ", flush=True
    )
    return is_different


# Weights of CTranslate2


def converted(source: Path, target: Path) -> Path:
    """The checkpoint of CTranslate2 as `transformers` writes it: an English one, whose files name the tokens."""
    with open(source / "model.bin", "rb") as file:
        weights = read_weights(file)
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    stated = json.loads((source / "config.json").read_text())
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    end, start, no_times = ids["<|endoftext|>"], ids["<|startoftranscript|>"], ids["<|notimestamps|>"]
    vocabulary, width = weights["decoder/embeddings/weight"].shape
    layers = [
        sum(f"{side}/layer_{i}/ffn/linear_0/bias" in weights for i in range(64)) for side in ("encoder", "decoder")
    ]
    tokens = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    config = transformers.WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=weights["encoder/conv1/weight"].shape[1],
        d_model=width,
        encoder_layers=layers[0],
        decoder_layers=layers[1],
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        **tokens,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    missing, unexpected = model.load_state_dict(
        renamed(weights, dict(zip(("encoder", "decoder"), layers, strict=True))), strict=False
    )
    assert missing == ["proj_out.weight"] and not unexpected, (missing, unexpected)
    model.tie_weights()
    settings = {
        **tokens,
        "alignment_heads": stated["alignment_heads"],
        "suppress_tokens": stated["suppress_ids"],
        "begin_suppress_tokens": stated["suppress_ids_begin"],
        "no_timestamps_token_id": no_times,
        "prev_sot_token_id": ids["<|startofprev|>"],
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "is_multilingual": False,
        "forced_decoder_ids": [[1, no_times]],
        "return_timestamps": False,
    }
    model.save_pretrained(target)
    (target / "generation_config.json").write_text(json.dumps(settings))
    transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)
    shutil.copy(source / "tokenizer.json", target)
    named = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    named |= {"tokenizer_class": "WhisperTokenizer", "additional_special_tokens": [*ids]}
    (target / "tokenizer_config.json").write_text(json.dumps(named))
    return target


def read_weights(file: BinaryIO) -> dict[str, np.ndarray]:
    """The variables of CTranslate2's format 6: each has a name, a shape, a type and its bytes."""

    def number(size: int) -> int:
        return int.from_bytes(file.read(size), "little")

    def text() -> str:
        return file.read(number(2))[:-1].decode()

    kinds = [np.float32, np.int8, np.int16, np.int32, np.float16]
    version = number(4)
    if version != 6:
        raise SystemExit(f"The weights have version {version} of CTranslate2's format; 6 can be read.")
    text(), number(4)  # the specification and its revision
    weights = {}
    for _ in range(number(4)):
        name, rank = text(), number(1)
        shape = struct.unpack(f"<{rank}I", file.read(4 * rank))
        kind = kinds[number(1)]
        weights[name] = np.frombuffer(file.read(number(4)), kind).reshape(shape)
    return weights


def renamed(weights: dict[str, np.ndarray], layers: dict[str, int]) -> dict[str, torch.Tensor]:
    """The weights under the names of `transformers`: queries, keys and values apart."""
    found: dict[str, torch.Tensor] = {}

    def take(
        target: str, source: str, kinds: tuple[str, ...] = ("weight", "bias"), parts: tuple[str, ...] = ("",)
    ) -> None:
        for kind in kinds:
            name = {"gamma": "weight", "beta": "bias"}.get(kind, kind)
            pieces = torch.from_numpy(weights[f"{source}/{kind}"].astype(np.float32)).chunk(len(parts))
            for part, piece in zip(parts, pieces, strict=True):
                if not (part == "k_proj" and name == "bias"):  # keys have none, which is stored as 0
                    found[".".join(filter(None, (target, part, name)))] = piece.contiguous()

    norm = ("gamma", "beta")
    for side, count in layers.items():
        for i in range(count):
            to, source = f"model.{side}.layers.{i}", f"{side}/layer_{i}"
            take(f"{to}.self_attn", f"{source}/self_attention/linear_0", parts=("q_proj", "k_proj", "v_proj"))
            take(f"{to}.self_attn.out_proj", f"{source}/self_attention/linear_1")
            take(f"{to}.self_attn_layer_norm", f"{source}/self_attention/layer_norm", norm)
            if side == "decoder":
                take(f"{to}.encoder_attn.q_proj", f"{source}/attention/linear_0")
                take(f"{to}.encoder_attn", f"{source}/attention/linear_1", parts=("k_proj", "v_proj"))
                take(f"{to}.encoder_attn.out_proj", f"{source}/attention/linear_2")
                take(f"{to}.encoder_attn_layer_norm", f"{source}/attention/layer_norm", norm)
            take(f"{to}.fc1", f"{source}/ffn/linear_0")
            take(f"{to}.fc2", f"{source}/ffn/linear_1")
            take(f"{to}.final_layer_norm", f"{source}/ffn/layer_norm", norm)
        take(f"model.{side}.layer_norm", f"{side}/layer_norm", norm)
        positions = weights[f"{side}/position_encodings/encodings"].astype(np.float32)
        found[f"model.{side}.embed_positions.weight"] = torch.from_numpy(positions)
    for name in ("conv1", "conv2"):
        take(f"model.encoder.{name}", f"encoder/{name}")
    take("model.decoder.embed_tokens", "decoder/embeddings", ("weight",))
    return found


if __name__ == "__main__":
    main()
