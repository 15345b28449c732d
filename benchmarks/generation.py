"""How fast text is generated, against transformers on the same weights, taking turns in one process.

GPT-2 of 124 M random weights on the CPU, in float32: greedy with one prompt and with eight, four beams, and what a token
costs as the context grows. The limit for one prompt is how long the memory takes to bring the weights once, which is
measured between the turns.

Run: `python benchmarks/generation.py [--turns 5] [--tokens 64]`
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

import notebook_kit

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
PROMPT = 32


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def stream_weights(model: torch.nn.Module) -> Callable[[], object]:
    """Read every weight that a token needs once, as fast as this machine does: a product of each matrix with one vector."""
    matrices = [p.detach() for p in model.parameters() if p.dim() == 2 and p.shape[0] != model.config.n_positions]
    work = [(m, torch.ones(m.shape[0])) for m in matrices]
    return lambda: [torch.mv(m.t(), v) for m, v in work]


def turns(count: int, calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Each call once a turn, in an order that changes; the first turn warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(count + 1):
        for name in names if turn % 2 else reversed(names):
            taken = seconds(calls[name])
            if turn:
                times[name].append(taken)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    torch.manual_seed(0)
    reference = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval()
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        ours = notebook_kit.GPT2LMHeadModel.from_pretrained(Path(folder))
    n = options.tokens
    print(
        f"GPT-2 124 M, float32, {torch.get_num_threads()} threads, {PROMPT} tokens of prompt, {n} new ones, "
        f"transformers {transformers.__version__}, median of {options.turns} turns"
    )

    stream = stream_weights(ours)
    for what, rows, settings in (
        ("greedy, 1 prompt", 1, {}),
        ("greedy, 8 prompts", 8, {}),
        ("4 beams", 1, {"num_beams": 4}),
    ):
        ids = torch.randint(0, 50000, (rows, PROMPT))
        given = {"max_new_tokens": n, "min_new_tokens": n, "eos_token_id": 50256, "pad_token_id": 50256, **settings}
        mask = torch.ones_like(ids)
        times = turns(
            options.turns,
            {
                "ours": lambda ids=ids, mask=mask, given=given: ours.generate(ids, attention_mask=mask, **given),
                "theirs": lambda ids=ids, mask=mask, given=given: reference.generate(ids, attention_mask=mask, **given),
                "stream": lambda: [stream() for _ in range(8)],
            },
        )
        mine, rival = (statistics.median(times[name]) / n for name in ("ours", "theirs"))
        limit = statistics.median(times["stream"]) / 8
        ratio = statistics.median(b / a for a, b in zip(times["ours"], times["theirs"], strict=True))
        line = f"{what:18s} {mine * 1e3:6.1f} ms a step against {rival * 1e3:6.1f}: {ratio:.2f} x"
        print(
            line
            + (
                f"; weights once {limit * 1e3:.1f} ms: {limit / mine:.2f} of the limit"
                if rows == 1 and not settings
                else ""
            )
        )

    print("a token at a context of")
    for context in (16, 256, 900):
        ids = torch.randint(0, 50000, (1, context))
        mask = torch.ones_like(ids)
        cost = {}
        for name, model in (("ours", ours), ("theirs", reference)):

            def run(count: int, model=model, ids=ids, mask=mask) -> float:
                return seconds(
                    lambda: model.generate(
                        ids, attention_mask=mask, max_new_tokens=count, min_new_tokens=count, pad_token_id=50256
                    )
                )

            run(2)
            cost[name] = statistics.median((run(34) - run(2)) / 32 for _ in range(max(2, options.turns // 2)))
        print(f"  {context:4d} tokens: {cost['ours'] * 1e3:6.1f} ms against {cost['theirs'] * 1e3:6.1f}")


if __name__ == "__main__":
    main()
