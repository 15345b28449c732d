"""Two processes train as one: the loss and the gradient of an update do not depend on how its examples are spread."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPT = """
import json, sys
import torch
from test_accumulation import Dividing, Mean, Trainer, UNEVEN, divide, gpt2
from notebook_kit.training import TrainingArguments

folder, accumulation, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
found = {}
for name, kind, given in (
    ("plain", Trainer, {}), ("mean", Mean, {}), ("divides", Dividing, {}), ("function", Trainer, {"compute_loss_func": divide})
):
    torch.manual_seed(0)
    args = TrainingArguments(folder, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation, max_steps=1,
        per_device_eval_batch_size=1, logging_steps=1, save_strategy="no", use_cpu=True, disable_tqdm=True,
        include_num_input_tokens_seen="all")
    run = kind(gpt2(), args, train_dataset=UNEVEN, eval_dataset=UNEVEN, **given)
    with args.main_process_first():
        pass
    run.train()
    log = run.state.log_history[0]
    found[name] = [log["loss"], log["grad_norm"], run.evaluate()["eval_loss"]]
    found[name] += [run.state.num_input_tokens_seen, run.state.total_flos]
if args.should_save:
    found["processes"] = args.world_size
    print("FOUND", json.dumps(found))
"""


def train(tmp_path, processes, accumulation, size):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    places = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(tmp_path / "out"), str(accumulation), str(size)],
        env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if "FOUND" in line)
    found = json.loads(line.partition("FOUND ")[2])
    assert found.pop("processes") == processes
    return found


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    whole = train(tmp_path, 1, 1, 4)
    for spread in (train(tmp_path, 2, 2, 1), train(tmp_path, 2, 1, 2)):
        for name, values in whole.items():
            assert spread[name] == pytest.approx(values, rel=1e-5), name
