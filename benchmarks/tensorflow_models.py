"""BERT-base in TensorFlow: `python benchmarks/tensorflow_models.py --rival OLD/bin/python`.

Each engine runs in a separate process and is measured there by CPU seconds, on one thread, on the same batches and random
weights: our TF class, our torch class, and, if `--rival` names the Python of an environment with transformers 4.57, TensorFlow and
tf-keras, its TensorFlow class. The processes take turns, so that all of them meet the same machine.

    forward       eight texts of 128 tokens, by a compiled function
    training      eight texts of 128 tokens, one step of SGD
    first call    a new process: from the loaded model to the first output; for our TF class without and with the graph on disk
    memory        the highest resident memory of the process
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ENGINE = """
import json, os, resource, sys, time
engine, rounds = sys.argv[1], int(sys.argv[2])
import numpy as np
draw = np.random.default_rng(0)
ids, labels = draw.integers(1000, 30000, (8, 128)), draw.integers(0, 2, 8)
clock = time.process_time
found = {}

def median(step):
    times = []
    for _ in range(rounds + 1):
        began = clock()
        step()
        times.append(clock() - began)
    return sorted(times[1:])[rounds // 2]

if engine == "torch":
    import torch, notebook_kit
    torch.set_num_threads(1)
    model = notebook_kit.BertForSequenceClassification(notebook_kit.BertConfig()).eval()
    ids, labels = torch.tensor(ids), torch.tensor(labels)
    began = clock()
    with torch.no_grad():
        model(ids)
    found["first"] = clock() - began
    def forward():
        with torch.no_grad():
            model(ids)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    def train():
        model(ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found["forward"] = median(forward)
    model.train()
    found["training"] = median(train)
else:
    if engine == "ours":
        from notebook_kit import BertConfig, TFBertForSequenceClassification as Model
        import tensorflow as tf, keras
    else:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
        from transformers import BertConfig, TFBertForSequenceClassification as Model
        import tensorflow as tf, tf_keras as keras
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = Model(BertConfig())
    ids, labels = tf.constant(ids), tf.constant(labels)
    began = clock()
    model(ids)
    found["first"] = clock() - began
    if rounds:
        call = tf.function(lambda given: model(given).logits)
        found["forward"] = median(lambda: call(ids))
        model.compile(optimizer=keras.optimizers.SGD(1e-3))
        found["training"] = median(lambda: model.train_on_batch({"input_ids": ids}, labels))
found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(found))
"""
"""What one process measures; it runs in the environment of its engine."""


def measured(python: str, engine: str, rounds: int, cache: Path) -> dict[str, float]:
    """The numbers of one process: CPU seconds, and MB of memory."""
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1]) if engine != "theirs" else ""
    command = [python, "-W", "ignore", "-c", ENGINE, engine, str(rounds)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival", help="Python of an environment with transformers 4.57 and its TensorFlow")
    parser.add_argument("--turns", type=int, default=3, help="processes per engine")
    parser.add_argument("--rounds", type=int, default=5, help="steps per process")
    options = parser.parse_args()
    pythons = {"ours": sys.executable, "torch": sys.executable} | ({"theirs": options.rival} if options.rival else {})
    found: dict[str, list[dict[str, float]]] = {engine: [] for engine in pythons}
    first: dict[str, list[float]] = {"without the graph on disk": [], "with it": []}
    for turn in range(options.turns):
        with tempfile.TemporaryDirectory() as folder:
            for name in first:  # the second process finds the graph of the first
                first[name].append(measured(pythons["ours"], "ours", 0, Path(folder))["first"])
            for engine in list(pythons) if turn % 2 == 0 else list(reversed(pythons)):
                found[engine].append(measured(pythons[engine], engine, options.rounds, Path(folder)))
    print(f"{processor()}, one thread; medians of {options.turns} processes with {options.rounds} steps each\n")
    print(f"{'':10}{'forward':>12}{'training':>12}{'first call':>12}{'memory':>12}")
    for engine, runs in found.items():
        middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        print(
            f"{engine:10}{middle['forward']:>10.2f} s{middle['training']:>10.2f} s{middle['first']:>10.2f} s"
            f"{middle['memory']:>9.0f} MB"
        )
    for name, times in first.items():
        print(f"first call of ours {name}: {statistics.median(times):.2f} s")


if __name__ == "__main__":
    main()
