"""A run in a process of its own, that kills itself: `killed_run.py FOLDER WHEN`, for tests of resuming.

WHEN is `step:N` (after that update), `save:N` (half way through writing that checkpoint), `swap:N` (between setting aside
an older checkpoint of that name and putting the new one in its place), or `never`.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from tiny_training import dataset, trainer

from notebook_kit.training import Trainer, TrainerCallback

OPTIONS = {"max_steps": 20, "save_strategy": "steps", "save_steps": 4, "per_device_train_batch_size": 8}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Kill(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            die()


class DiesWhileSaving(Trainer):
    die_at = None

    def save_model(self, output_dir=None, _internal_call=False):
        super().save_model(output_dir, _internal_call)
        if self.state.global_step == self.die_at:
            die()


def main(folder, when):
    torch.set_num_threads(1)
    kind, _, step = when.partition(":")
    callbacks = [Kill(int(step))] if kind == "step" else []
    DiesWhileSaving.die_at = int(step) if kind == "save" else None
    if kind == "swap":
        original = Path.rename
        Path.rename = lambda self, target: (
            die()
            if self.name == f".checkpoint-{step}.partial" and Path(folder, f".checkpoint-{step}.replaced").exists()
            else original(self, target)
        )
    found = list(Path(folder).glob("*checkpoint-*"))
    run = trainer(folder, data=dataset(45), kind=DiesWhileSaving, callbacks=callbacks, **OPTIONS)
    run.train(resume_from_checkpoint=bool(found) and kind != "swap")


if __name__ == "__main__":
    main(*sys.argv[1:])
