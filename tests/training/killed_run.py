"""A run in its own process that kills itself: `killed_run.py FOLDER STEP`, between setting aside an older checkpoint of that
step and putting the new one in its place. random_events.py has kills at other moments.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from tiny_training import dataset, trainer

OPTIONS = {"max_steps": 20, "save_strategy": "steps", "save_steps": 4, "per_device_train_batch_size": 8}


def main(folder, step):
    torch.set_num_threads(1)
    rename = Path.rename

    def killing(self, target):
        if self.name == f".checkpoint-{step}.partial" and Path(folder, f".checkpoint-{step}.replaced").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    Path.rename = killing
    trainer(folder, data=dataset(45), **OPTIONS).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
