"""How fast text is generated, against transformers on the same weights, taking turns in one process.

GPT-2 of 124 M and BART of base size, random weights, on the CPU, in float32. The limit of one prompt is how long the memory
takes to bring the weights once, which is measured between the turns; it is compared with what a further token costs, without
the reading of the prompt. On a machine that is busy with other things, `--threads 1 --clock cpu` counts what the process
itself computed.

Run: `python benchmarks/generation.py [--turns 5] [--tokens 64] [--threads N] [--clock wall|cpu] [--only NAME ...]`
"""

from __future__ import annotations

import argparse
import logging
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from measure import alternate, medians, table

import notebook_kit

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
transformers.utils.logging.disable_progress_bar()
PROMPT = 32
END = 50256
LOAD = """
import sys, torch
if sys.argv[1] == "ours":
    from notebook_kit import GPT2LMHeadModel
else:
    from transformers import GPT2LMHeadModel
    import transformers.models.gpt2.modeling_gpt2
def kilobytes(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
before = kilobytes("VmRSS")
model = GPT2LMHeadModel.from_pretrained(sys.argv[2])
total = sum(float(p.sum()) for p in model.parameters())  # every page of the weights is there
weights = sum(p.numel() * p.element_size() for p in model.parameters())
print("PEAK", (kilobytes("VmHWM") - before) * 1024 / weights)
"""


def stream_weights(model: torch.nn.Module) -> Callable[[], object]:
    """Read every weight that a token needs once, as fast as this machine can: a product of each matrix with one vector."""
    matrices = [p.detach() for p in model.parameters() if p.dim() == 2 and p.shape[0] != model.config.n_positions]
    work = [(m, torch.ones(m.shape[0])) for m in matrices]
    return lambda: [torch.mv(m.t(), v) for m, v in work]


def both(kind: str, config: Any, folder: str) -> dict[str, Any]:
    """The same weights in both libraries."""
    reference = getattr(transformers, kind)(config).eval()
    reference.save_pretrained(folder)
    return {"ours": getattr(notebook_kit, kind).from_pretrained(Path(folder)), "theirs": reference}


def generating(model: Any, ids: torch.Tensor, tokens: int, **settings: Any) -> Callable[[], object]:
    given = {"max_new_tokens": tokens, "min_new_tokens": tokens, "eos_token_id": END, "pad_token_id": END, **settings}
    mask = torch.ones_like(ids)
    return lambda: model.generate(ids, attention_mask=mask, **given)


def further(model: Any, ids: torch.Tensor, tokens: int, clock: Callable[[], float]) -> Callable[[], float]:
    """Seconds of one token more."""
    few, many = (generating(model, ids, count) for count in (2, 2 + tokens))

    def cost() -> float:
        start = clock()
        few()
        middle = clock()
        many()
        return ((clock() - middle) - (middle - start)) / tokens

    return cost


def times_as_fast(times: dict[str, list[float]]) -> float:
    return statistics.median(b / a for a, b in zip(times["ours"], times["theirs"], strict=True))


def decoder_rows(options: argparse.Namespace, clock: Callable[[], float]) -> list[list[str]]:
    rows, n = [], options.tokens
    with tempfile.TemporaryDirectory() as folder:
        models = both("GPT2LMHeadModel", transformers.GPT2Config(), folder)
        stream = stream_weights(models["ours"])
        if "limit" in options.only:
            ids = torch.randint(0, 50000, (1, PROMPT))
            rivals: dict[str, Any] = {name: further(model, ids, n, clock) for name, model in models.items()}
            times = alternate({**rivals, "stream": lambda: [stream() for _ in range(8)]}, options.turns, clock=clock)
            cost = medians(times)
            limit = statistics.median(s / 8 / a for s, a in zip(times["stream"], times["ours"], strict=True))
            note = f"weights once {cost['stream'] / 8 * 1e3:.1f} ms: {limit:.2f} of the limit"
            rows.append(row("greedy, 1 prompt, a further token", times, 1, note))
        for name, count, settings in (("one", 1, {}), ("batch", 8, {}), ("beams", 1, {"num_beams": 4})):
            if name in options.only:
                ids = torch.randint(0, 50000, (count, PROMPT))
                rivals = {key: generating(model, ids, n, **settings) for key, model in models.items()}
                what = f"{settings['num_beams']} beams" if settings else f"greedy, {count} prompt{'s' * (count > 1)}"
                rows.append(
                    row(f"{what}, {PROMPT} + {n} tokens, per step", alternate(rivals, options.turns, clock=clock), n)
                )
        for context in (16, 256, 900) if "context" in options.only else ():
            ids = torch.randint(0, 50000, (1, context))
            rivals = {name: further(model, ids, 32, clock) for name, model in models.items()}
            times = alternate(rivals, max(2, options.turns // 2), clock=clock)
            rows.append(row(f"a further token after {context}", times, 1))
        if "memory" in options.only:
            peaks = {}
            for name in models:
                done = subprocess.run(
                    [sys.executable, "-c", LOAD, name, folder], capture_output=True, text=True, check=True
                )
                peaks[name] = float(re.findall(r"PEAK (\S+)", done.stdout)[0])
            shares = [f"{peaks[name]:.2f} x" for name in ("ours", "theirs")]
            rows.append(["peak memory of loading, in weights", *shares, "", "498 MB of weights"])
    return rows


def encoder_decoder_rows(options: argparse.Namespace, clock: Callable[[], float]) -> list[list[str]]:
    size = dict.fromkeys(("encoder_layers", "decoder_layers"), 6)
    size |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 12)
    size |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 3072)
    with tempfile.TemporaryDirectory() as folder:
        models = both("BartForConditionalGeneration", transformers.BartConfig(d_model=768, **size), folder)
        ids = torch.randint(5, 50000, (1, 512))
        settings = {"num_beams": 4, "eos_token_id": 2, "pad_token_id": 1}
        rivals = {name: generating(model, ids, 60, **settings) for name, model in models.items()}
        return [row("BART-base size, 512 in, 60 out, 4 beams, all", alternate(rivals, options.turns, clock=clock), 1)]


def row(what: str, times: dict[str, list[float]], steps: int, note: str = "") -> list[str]:
    cost = medians(times)
    numbers = [f"{cost[name] / steps * 1e3:.1f} ms" for name in ("ours", "theirs")]
    return [what, *numbers, f"{times_as_fast(times):.2f} x", note]


def main() -> None:
    every = ["limit", "one", "batch", "beams", "context", "memory", "bart"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--only", nargs="+", choices=every, default=every)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    print(f"transformers {transformers.__version__}, {options.threads} threads, {options.clock} clock", flush=True)
    rows = decoder_rows(options, clock) if set(options.only) - {"bart"} else []
    rows += encoder_decoder_rows(options, clock) if "bart" in options.only else []
    table(["what", "ours", "transformers", "times as fast", ""], rows, options.turns)


if __name__ == "__main__":
    main()
