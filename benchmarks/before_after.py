"""Two checkouts of notebook_kit against each other: did a change make something slower?

    git worktree add ../before COMMIT
    python benchmarks/before_after.py ../before [--rounds 15] [--only NAME ...]

Each checkout has a process that sets a workload up once, from the same weights and inputs; then the two take turns. A row
shows the median seconds of both, the ratio after / before of the turns that followed each other (its geometric mean), and the
95 % interval of that mean. A change made something slower where the whole interval lies above 1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import table
from scipy.stats import t as student

HERE = Path(__file__).parents[1]

WORKER = """
import json, os, sys, time
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
answers, sys.stdout = sys.stdout, sys.stderr
scope = {}
exec(json.loads(sys.stdin.readline()), scope)
print(json.dumps("ready"), file=answers, flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    own = scope["turn"]()
    print(json.dumps(own if isinstance(own, float) else time.perf_counter() - start), file=answers, flush=True)
"""

PROCESS = """
import subprocess, sys, time
def turn():
    start = time.perf_counter()
    for _ in range({times}):
        subprocess.run([sys.executable, "-c", {code!r}], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) / {times}
"""

NAMES = (
    "pipeline, AutoTokenizer, AutoModel, AutoModelForSequenceClassification, AutoConfig, Trainer, TrainingArguments, "
    "DataCollatorWithPadding, TrainerCallback"
)

QUIET = """
import logging, warnings, random, tempfile
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
import torch
torch.manual_seed(0)
words = "the a film story plot actor was is very not quite long short dull warm funny moving clever and but with of".split()
draw = random.Random(0)
texts = [" ".join(draw.choices(words, k=draw.randint(3, 60))) for _ in range(256)]
"""

CLASSIFIER = (
    QUIET
    + """
from notebook_kit import AutoTokenizer, DistilBertConfig, DistilBertForSequenceClassification, pipeline
model = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=30522, num_labels=2)).eval()
tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
pipe = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", progress=False)
"""
)

GPT2 = (
    QUIET
    + """
from notebook_kit import GPT2Config, GPT2LMHeadModel
model = GPT2LMHeadModel(GPT2Config()).eval()
def turn():
    model.generate(torch.arange(100, 132).repeat({rows}, 1), max_new_tokens={tokens}, min_new_tokens={tokens}, num_beams={beams},
                   eos_token_id=50256, pad_token_id=50256, do_sample=False)
"""
)

TRAINING = (
    QUIET
    + """
from notebook_kit import AutoTokenizer, BertConfig, BertForSequenceClassification, PrinterCallback, Trainer, TrainingArguments
tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
rows = [{{**tokenizer(text, truncation=True, max_length=64), "labels": i % 2}} for i, text in enumerate(texts[:{examples}])]
config = BertConfig(vocab_size=len(tokenizer), hidden_size={width}, num_hidden_layers=2, num_attention_heads=4,
                    intermediate_size={width} * 4)
def turn():
    args = TrainingArguments(tempfile.mkdtemp(), per_device_train_batch_size={batch}, num_train_epochs={epochs}, save_strategy="no",
                             report_to="none", disable_tqdm=True, use_cpu=True, logging_steps=20)
    trainer = Trainer(BertForSequenceClassification(config), args, train_dataset=rows, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    start = time.perf_counter()
    trainer.train()
    return time.perf_counter() - start
import time
"""
)

WORKLOADS = {
    "import notebook_kit": PROCESS.format(code="import notebook_kit", times=10),
    "import of all quick-tour names": PROCESS.format(code=f"from notebook_kit import {NAMES}", times=1),
    "new process, first answer": PROCESS.format(
        code="from notebook_kit import pipeline\npipeline('sentiment-analysis')('We are very happy.')", times=1
    ),
    "256 sentences, batch_size=32, 67 M weights": CLASSIFIER + "def turn(): pipe(texts, batch_size=32)",
    "one sentence at a time, 67 M weights": CLASSIFIER + "def turn(): [pipe(text) for text in texts[:24]]",
    "one sentence at a time, tiny-sentiment": QUIET
    + """
from notebook_kit import pipeline
pipe = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment", device="cpu")
def turn(): [pipe(text) for text in texts]
""",
    "a stream of 256 sentences, tiny-sentiment": QUIET
    + """
from notebook_kit import pipeline
pipe = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment", device="cpu")
def turn(): list(pipe(text for text in texts * 2))
""",
    "tokenizer, 256 texts padded": QUIET
    + """
from notebook_kit import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
def turn(): [tokenizer(texts, padding=True, return_tensors="pt") for _ in range(8)]
""",
    "fine-tuning, 2 layers of 256, 16 steps": TRAINING.format(examples=256, width=256, batch=16, epochs=1),
    "the Trainer's own cost: 192 steps of a tiny model": TRAINING.format(examples=256, width=32, batch=4, epochs=3),
    "GPT-2 124 M, one prompt, 16 tokens": GPT2.format(rows=1, tokens=16, beams=1),
    "the same, eight prompts": GPT2.format(rows=8, tokens=8, beams=1),
    "the same, four beams": GPT2.format(rows=1, tokens=8, beams=4),
    "tiny-gpt2, 64 tokens": QUIET
    + """
from notebook_kit import pipeline
pipe = pipeline("text-generation", model="notebook-kit/tiny-gpt2", device="cpu")
def turn(): pipe("The old king", max_new_tokens=64, min_new_tokens=64, do_sample=False)
""",
    "loading 124 M weights": QUIET
    + """
from notebook_kit import GPT2Config, GPT2LMHeadModel
folder = tempfile.mkdtemp()
GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
def turn(): GPT2LMHeadModel.from_pretrained(folder)
""",
    "loading tiny-sentiment and its tokenizer": QUIET
    + """
from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer
name = "notebook-kit/tiny-sentiment"
def turn(): [(AutoModelForSequenceClassification.from_pretrained(name), AutoTokenizer.from_pretrained(name)) for _ in range(3)]
""",
    "AttentionView of 12 x 12 heads, 128 tokens": QUIET
    + """
from notebook_kit.panels import AttentionView
attention = torch.randn(12, 12, 128, 128).softmax(-1)
labels = [f"token{i}" for i in range(128)]
def turn(): AttentionView(attention, tokens=labels).close()
""",
    "TokenInspector of 200 words": QUIET
    + """
from notebook_kit import AutoTokenizer
from notebook_kit.panels import TokenInspector
tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
def turn(): TokenInspector(tokenizer, text=" ".join(texts[:8])).close()
""",
}


class Worker:
    """A process that runs one workload of one checkout, a turn at a time."""

    def __init__(self, checkout: Path, code: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=tempfile.gettempdir(),
        )
        here = (
            f"import notebook_kit\nassert notebook_kit.__file__.startswith({str(checkout)!r}), notebook_kit.__file__\n"
        )
        self.ask(json.dumps(here + code))

    def ask(self, line: str) -> float:
        """Send a line and wait for the answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("a workload failed; run it with stderr=None in Worker to see why")
        return json.loads(answer)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def compare(before: Path, code: str, rounds: int) -> list[str]:
    """Medians, ratio and interval of one workload."""
    workers = [Worker(before, code), Worker(HERE, code)]
    pairs = []
    try:
        for turn in range(rounds + 1):
            seconds = [0.0, 0.0]
            for side in (0, 1) if turn % 2 else (1, 0):  # neither always goes first
                seconds[side] = workers[side].ask("turn")
            if turn:  # the first is a warm-up
                pairs.append(seconds)
    finally:
        for worker in workers:
            worker.close()
    logs = [math.log(after / earlier) for earlier, after in pairs]
    mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    reach = float(student.ppf(0.975, rounds - 1)) * error
    was, now = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    return [
        f"{was * 1e3:.1f} ms",
        f"{now * 1e3:.1f} ms",
        f"{math.exp(mean):.3f}",
        f"{math.exp(mean - reach):.3f} to {math.exp(mean + reach):.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the earlier state")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="*", help="rows whose names contain one of these")
    options = parser.parse_args()
    rows = []
    for name, code in WORKLOADS.items():
        if options.only is None or any(part in name for part in options.only):
            rows.append([name, *compare(options.before.resolve(), code, options.rounds)])
            print(*rows[-1], sep=" | ", flush=True)
    print()
    table(["what", "before", "after", "after / before", "95 % interval"], rows, options.rounds)


if __name__ == "__main__":
    main()
