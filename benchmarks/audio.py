"""Sound: speech recognition against the oracle in the same run: `python benchmarks/audio.py`.

Random weights of the published sizes, so nothing is downloaded. Whisper writes 60 seconds (two stretches of 30 at once, a fixed
number of tokens, greedily), with `--int8` also with 8-bit weights; Wav2Vec2-base reads 16 recordings of 2 to 12 seconds. The
sides take turns, and each number is the median of the turns.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
import transformers
from measure import alternate, medians, table

import notebook_kit
from notebook_kit.pipelines.quantization import quantized

SIZES = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12)}  # width, layers, heads
END = 50257


def whisper(size: str, folder: Path) -> tuple[Any, Any]:
    """Ours and theirs, the same weights of a published size."""
    width, layers, heads = SIZES[size]
    config = transformers.WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        pad_token_id=END,
        bos_token_id=END,
        eos_token_id=END,
        decoder_start_token_id=END + 1,
    )
    torch.manual_seed(0)
    theirs = transformers.WhisperForConditionalGeneration(config).eval()
    theirs.generation_config.no_timestamps_token_id = 50363
    theirs.save_pretrained(folder)
    return notebook_kit.WhisperForConditionalGeneration.from_pretrained(folder), theirs


def transcription(sizes: list[str], tokens: int, rounds: int, int8: bool, clock: Callable[[], float]) -> None:
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(0))
    options = {"max_new_tokens": tokens, "suppress_tokens": [END], "begin_suppress_tokens": [220, END], "num_beams": 1}
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = whisper(size, Path(folder))
            small = {"int8": quantized(ours)} if int8 else {}
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert ours.generate(features, **options).tolist() == theirs.generate(features, **options).tolist()
                times = medians(
                    alternate(
                        {
                            "ours": lambda ours=ours: ours.generate(features, **options),
                            "theirs": lambda theirs=theirs: theirs.generate(features, **options),
                            **{name: lambda one=one: one.generate(features, **options) for name, one in small.items()},
                            "our encoder": lambda ours=ours: ours.get_encoder()(features),
                            "their encoder": lambda theirs=theirs: theirs.get_encoder()(features),
                        },
                        rounds,
                        clock=clock,
                    )
                )
        lines = [
            (f"Whisper-{size}, 2 x {tokens} tokens", "ours", "theirs"),
            ("its encoder", "our encoder", "their encoder"),
        ]
        for what, one, other in lines + [("the same with 8-bit weights", "int8", "theirs")] * int8:
            rows.append([what, f"{times[one]:.2f}", f"{times[other]:.2f}", f"{times[other] / times[one]:.2f}"])
    print(f"60 seconds, greedy, {torch.get_num_threads()} threads: seconds")
    table(["model", "notebook_kit", "transformers", "times as fast"], rows, rounds)


def recognition(rounds: int, clock: Callable[[], float]) -> None:
    """Wav2Vec2-base on 16 recordings, in batches of four of similar length, as the pipeline forms them."""
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config()
    theirs = transformers.Wav2Vec2ForCTC(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = notebook_kit.Wav2Vec2ForCTC.from_pretrained(folder)
    lengths = np.linspace(2, 12, 16)
    sounds = [torch.randn(int(16_000 * seconds)) for seconds in lengths]
    batches = []
    for start in range(0, 16, 4):
        some = sounds[start : start + 4]
        longest = max(map(len, some))
        mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in some])
        batches.append((torch.nn.utils.rnn.pad_sequence(some, batch_first=True), mask))

    def run(model: Any) -> None:
        with torch.no_grad():
            for values, mask in batches:
                model(values, attention_mask=mask)

    times = medians(alternate({"ours": lambda: run(ours), "theirs": lambda: run(theirs)}, rounds, clock=clock))
    print(
        f"Wav2Vec2-base, 16 recordings of 2 to 12 seconds, the model alone, {torch.get_num_threads()} threads: seconds"
    )
    row = ["Wav2Vec2-base", f"{times['ours']:.2f}", f"{times['theirs']:.2f}", f"{times['theirs'] / times['ours']:.2f}"]
    table(["model", "notebook_kit", "transformers", "times as fast"], [row], rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", default=["tiny", "base"], choices=list(SIZES))
    parser.add_argument("--tokens", type=int, default=120, help="tokens per 30 seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--int8", action="store_true", help="also 8-bit weights, for processors with VNNI")
    parser.add_argument("--cpu-seconds", action="store_true", help="for a machine that is busy with other things")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.cpu_seconds else time.perf_counter
    if given.sizes:
        transcription(given.sizes, given.tokens, given.rounds, given.int8, clock)
    recognition(given.rounds, clock)


if __name__ == "__main__":
    main()
