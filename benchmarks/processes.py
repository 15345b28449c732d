"""Two processes against one: `python benchmarks/processes.py` (a machine with two free cores; nothing is fetched).

Both train the same BERT on the same batches of 32: one process on two threads, or two processes with half of each batch and one
thread each. What is compared is the time of the updates alone, without starting the processes. Wall time, since that is what
several processes are for: on a busy machine the ratio means nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from measure import ROUNDS, alternate, medians, table

from notebook_kit import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, notebook_launcher
from notebook_kit.training import PrinterCallback, TrainerCallback

TOKENS, BATCH = 64, 32


class Clock(TrainerCallback):
    """Seconds from the end of the third update, when all is loaded, to the end of the run."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            self.start = time.perf_counter()

    def on_train_end(self, args, state, control, **kwargs):
        self.seconds = time.perf_counter() - self.start


def train(processes: int, updates: int) -> float:
    torch.set_num_threads(2 // processes)
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    rows = np.random.default_rng(0).integers(5, 1000, (BATCH * 4, TOKENS)).tolist()
    args = TrainingArguments(
        tempfile.mkdtemp(),
        max_steps=3 + updates,
        per_device_train_batch_size=BATCH // processes,
        train_sampling_strategy="random",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    model = BertForSequenceClassification(BertConfig(vocab_size=1000, **sizes))
    data = [{"input_ids": row, "labels": sum(row) % 2} for row in rows]
    clock = Clock()
    trainer = Trainer(model, args, train_dataset=data, callbacks=[clock])
    trainer.pop_callback(PrinterCallback)
    trainer.train()
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    one, two = "one process, two threads", "two processes, one thread each"
    rivals = {
        one: lambda: apart(options.updates),
        two: lambda: notebook_launcher(train, (2, options.updates), num_processes=2),
    }
    median = medians(alternate(rivals, options.rounds))
    rows = [
        [name, f"{1000 * seconds / options.updates:.0f} ms", f"{median[one] / seconds:.2f}"]
        for name, seconds in median.items()
    ]
    table(["batches of 32 texts with 64 tokens", "per update", "speed"], rows, options.rounds)


def apart(updates: int) -> float:
    """One process in a fresh interpreter, so that this one's threads are never started and it can be copied."""
    code = f"import processes; print(processes.train(1, {updates}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=sys.path[0])
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
