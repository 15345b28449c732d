"""Two processes started by `torchrun` and by `accelerate launch` train as one: the loss and the gradient of an update do not depend
on how its examples are spread.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_accumulation import UNEVEN, Dividing, Mean, Trainer, divide, gpt2

from notebook_kit.training import TrainingArguments

HERE = Path(__file__).parent
SCRIPT = """
import json, sys
from test_processes import found_by

found = found_by(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
if found["process"] == 0:
    print("FOUND", json.dumps(found))
"""
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node=2"],
    "accelerate launch": [  # with --cpu it would start one process; that the run is on CPUs is in its arguments
        *("accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no"),
        *("--dynamo_backend=no", "--main_process_port=0", "--num_cpu_threads_per_process=1"),
    ],
}
# launcher, batches per update, examples per batch and process: 4 examples per update, as alone
SPREAD = [("torchrun", 2, 1), ("accelerate launch", 1, 2)]


def found_by(folder, accumulation, size):
    """Loss, gradient norm, evaluation loss, tokens and operations of one update, for losses of four kinds."""
    found = {}
    kinds = {"plain": (Trainer, None), "mean": (Mean, None), "divides": (Dividing, None), "function": (Trainer, divide)}
    for name, (kind, function) in kinds.items():
        torch.manual_seed(0)
        args = TrainingArguments(
            str(folder),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            max_steps=1,
            per_device_eval_batch_size=1,
            logging_steps=1,
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
            include_num_input_tokens_seen="all",
        )
        run = kind(gpt2(), args, train_dataset=UNEVEN, eval_dataset=UNEVEN, compute_loss_func=function)
        with args.main_process_first():
            pass
        run.train()
        log = run.state.log_history[0]
        found[name] = [log["loss"], log["grad_norm"], run.evaluate()["eval_loss"]]
        found[name] += [run.state.num_input_tokens_seen, run.state.total_flos]
    return {**found, "processes": args.world_size, "process": args.process_index}


@pytest.mark.slow
def test_two_processes_of_a_launcher_train_as_one(tmp_path):
    alone = found_by(tmp_path / "alone", 1, 4)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    places = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    for launcher, accumulation, size in SPREAD:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                *LAUNCHERS[launcher],
                str(script),
                str(tmp_path / "out"),
                *map(str, (accumulation, size)),
            ],
            env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        line = next(line for line in done.stdout.splitlines() if "FOUND" in line)
        found = json.loads(line.partition("FOUND ")[2])
        assert (found.pop("processes"), found.pop("process")) == (2, 0)
        for name, values in found.items():
            assert values == pytest.approx(alone[name], rel=1e-5), (launcher, name)
