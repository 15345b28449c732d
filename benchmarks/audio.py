"""Sound: speech recognition against `transformers` in the same run: `python benchmarks/audio.py`.

The parts: `transcription` (Whisper writes 60 seconds: two stretches of 30 at once, a fixed number of tokens, greedily; with
`--int8` also with 8-bit weights), `recognition` (Wav2Vec2-base, 16 files of 2 to 12 seconds through the pipelines), `features`
(log-mel spectrograms of 60 seconds), and `memory` (what an hour of streamed recordings adds). All weights are random and of the
published sizes, so nothing is downloaded. The sides take turns, and each number is the median of the turns.
CTranslate2 beside Whisper is in `benchmarks/engines.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import soundfile
import torch
import transformers
from measure import alternate, medians, table

import notebook_kit
from notebook_kit.pipelines.quantization import quantized

SIZES = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12)}  # width, layers, heads
END = 50257
Clock = Callable[[], float]


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


def transcription(given: argparse.Namespace, clock: Clock) -> None:
    tokens, rounds, int8 = given.tokens, given.rounds, given.int8
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(0))
    options = {"max_new_tokens": tokens, "suppress_tokens": [END], "begin_suppress_tokens": [220, END], "num_beams": 1}
    rows = []
    for size in given.sizes:
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


def recognition(options: argparse.Namespace, clock: Clock) -> None:
    """Wav2Vec2-base on 16 files; ours forms batches of similar lengths, theirs reads one at a time or four in order."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = wav_files(Path(folder), np.linspace(2, 12, 16))
        characters = [*["<pad>", "<s>", "</s>", "<unk>", "|"], *"ETAONIHSRDLUMWCFGYPBVKXJQZ'"]
        vocabulary = Path(folder) / "vocab.json"
        vocabulary.write_text(json.dumps({character: i for i, character in enumerate(characters)}))
        transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(pad_token_id=0)).save_pretrained(folder)
        transformers.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
        ours = notebook_kit.pipeline("automatic-speech-recognition", model=folder, device="cpu", progress=False)
        theirs = transformers.pipeline("automatic-speech-recognition", model=folder, device="cpu")
        rivals = {
            "transformers": lambda: theirs(list(paths)),
            "transformers, batch_size=4": lambda: theirs(list(paths), batch_size=4),
            "notebook_kit": lambda: ours(paths),
        }
        times = medians(alternate(rivals, options.rounds, clock=clock))
    rows = [[name, f"{value:.2f}", f"{times['transformers'] / value:.2f}"] for name, value in times.items()]
    print(f"Wav2Vec2-base, 16 files of 2 to 12 seconds, {torch.get_num_threads()} threads")
    table(["", "seconds", "times as fast"], rows, options.rounds)


def features(options: argparse.Namespace, clock: Clock) -> None:
    """Whisper's log-mel spectrograms of 60 seconds, as two stretches of 30."""
    sounds = list(np.random.default_rng(0).normal(0, 0.1, (2, 480_000)).astype(np.float32))
    ours, theirs = notebook_kit.WhisperFeatureExtractor(), transformers.WhisperFeatureExtractor()
    rivals = {
        "ours": lambda: ours(sounds, sampling_rate=16_000, return_tensors="pt"),
        "theirs": lambda: theirs(sounds, sampling_rate=16_000, return_tensors="pt"),
    }
    times = medians(alternate(rivals, 5 * options.rounds, clock=clock))
    print("Log-mel spectrograms of 60 seconds: milliseconds")
    mine, other = times["ours"] * 1e3, times["theirs"] * 1e3
    row = ["WhisperFeatureExtractor", f"{mine:.1f}", f"{other:.1f}", f"{other / mine:.2f}"]
    table(["", "notebook_kit", "transformers", "times as fast"], [row], 5 * options.rounds)


def memory(options: argparse.Namespace, clock: Clock) -> None:
    """The most memory of this process, after a minute and after the whole of a stream of recordings."""
    recognizer = notebook_kit.pipeline(
        "automatic-speech-recognition", model="notebook-kit/tiny-speech", device="cpu", progress=False
    )
    draw, heard, marks = np.random.default_rng(0), [], {}

    def stream() -> Iterator[dict[str, Any]]:
        while sum(heard) < 60 * options.minutes:
            heard.append(draw.uniform(1, 12) if options.mixed else 5)
            sound = draw.normal(0, 0.1, int(16_000 * heard[-1])).astype(np.float32)
            yield {"raw": sound, "sampling_rate": 16_000}

    for _ in recognizer(stream()):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if sum(heard) >= 60:
            marks.setdefault(1, most)
        marks[options.minutes] = most
    lengths = "1 to 12" if options.mixed else "5"
    print(f"Memory of a stream of {len(heard)} recordings of {lengths} seconds: ", end="")
    print(", ".join(f"{mib:.0f} MiB after {count} min" for count, mib in sorted(marks.items())))


def wav_files(folder: Path, seconds: np.ndarray) -> list[str]:
    draw = np.random.default_rng(0)
    paths = []
    for i, length in enumerate(seconds):
        paths.append(str(folder / f"{i}.wav"))
        soundfile.write(paths[-1], draw.normal(0, 0.1, int(16_000 * length)).astype(np.float32), 16_000)
    return paths


PARTS = {part.__name__: part for part in (transcription, recognition, features, memory)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], metavar="part", help=f"all by default: {', '.join(PARTS)}"
    )
    parser.add_argument("--sizes", nargs="*", default=["tiny", "base"], choices=list(SIZES))
    parser.add_argument("--tokens", type=int, default=120, help="tokens per 30 seconds")
    parser.add_argument("--minutes", type=int, default=60, help="of the stream whose memory is measured")
    parser.add_argument("--mixed", action="store_true", help="recordings of many lengths in that stream")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--int8", action="store_true", help="also 8-bit weights")
    parser.add_argument("--cpu-seconds", action="store_true", help="for a machine that is busy with other things")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_seconds else time.perf_counter
    for part in options.parts or PARTS:
        PARTS[part](options, clock)
        print()


if __name__ == "__main__":
    main()
