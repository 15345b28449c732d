"""Two processes that train together: `two_processes.py FOLDER PORT`, for test_two_processes.py, which runs the same alone.

With a third argument, that many processes resume a checkpoint that two have written in slices.

They are forked from one process that has loaded torch, which is faster than a launcher. The first writes what it found.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from tiny_training import bert, dataset, trainer, weights

from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.training import RunMonitor, TrainerCallback, sharded_files
from notebook_kit.training.full_sharding import full_weights

TRAINING = {
    "shuffled": {"train_sampling_strategy": "random", "num_train_epochs": 2},
    "accumulated": {"train_sampling_strategy": "random", "gradient_accumulation_steps": 2, "num_train_epochs": 2},
    "by_length": {"max_steps": 7},
    "one_row_left": {"train_sampling_strategy": "sequential", "num_train_epochs": 1},
}
SHARDED = {"fsdp": "full_shard", "train_sampling_strategy": "random", "num_train_epochs": 1}
SLICES = {**SHARDED, "fsdp_config": {"state_dict_type": "SHARDED_STATE_DICT"}}
SAVING = {"save_strategy": "steps", "save_steps": 2}
VARIANTS = {
    "bf16": {"bf16": True, "gradient_checkpointing": True},
    "blocks": {
        "fsdp": "shard_grad_op",
        "fsdp_config": {"transformer_layer_cls_to_wrap": ["BertLayer"], "min_num_params": 10},
    },
    "accumulation": {"gradient_accumulation_steps": 2, "max_grad_norm": 0.0, "optim": "adamw_torch"},
}
ROWS = {"by_length": 40, "one_row_left": 17}


class Rows(TrainerCallback):
    """Counts how many rows each update of this process has, and finds them in a dataset."""

    def __init__(self, data=()):
        self.counts, self.rows, self.ids = [], {}, [list(row["input_ids"]) for row in data]

    def on_step_end(self, args, state, control, **kwargs):
        batches = kwargs["trainer"].last_step.batches
        self.counts.append(sum(len(batch["labels"]) for batch in batches))
        if self.ids:
            texts = [row[row > 0].tolist() for batch in batches for row in batch["input_ids"]]
            self.rows[state.global_step] = [self.ids.index(text) for text in texts]


class RequestOnSecond(TrainerCallback):
    """An interrupt that only the second process gets."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 3 and args.process_index == 1:
            kwargs["trainer"].interrupts.requested = True


def make(folder, name="shuffled", processes=1, dropout=0.0, **options):
    settings = {"per_device_train_batch_size": 8 // processes, "per_device_eval_batch_size": 4, "logging_steps": 1}
    rows = dataset(ROWS.get(name, 45))
    own = {"eval_dataset": dataset(13, 1), "compute_metrics": accuracy}
    return trainer(folder, bert(dropout), rows, **{**settings, **TRAINING.get(name, {}), **own, **options})


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def found(run):
    """What a run with one process and one with two should have in common."""
    few = dataset(3, 2)
    predicted = run.predict(run.eval_dataset)
    return {
        "weights": full_weights(run.model, keep=True) or weights(run.model),
        "losses": [log["loss"] for log in run.state.log_history if "loss" in log],
        "norms": [float(log["grad_norm"]) for log in run.state.log_history if "grad_norm" in log],
        "evaluations": [
            [run.evaluate(data)[name] for name in ("eval_loss", "eval_accuracy")] for data in (run.eval_dataset, few)
        ],
        "predictions": torch.from_numpy(predicted.predictions),
        "labels": torch.from_numpy(predicted.label_ids),
        "steps": run.state.global_step,
    }


def work(folder, rank):
    results = {}
    for name in TRAINING:
        rows = Rows()
        run = make(folder / name, name, 2, callbacks=[rows])
        run.train()
        results[name] = {**found(run), "rows": run.distributed.gather_objects(rows.counts)}
        same = run.distributed.gather_objects(weights(run.model))
        assert all(torch.equal(same[0][key], same[1][key]) for key in same[0])

    results.update(sharded(folder))
    results["slices"] = in_slices(folder)

    saving = {"save_strategy": "steps", "save_steps": 100}
    run = make(folder / "interrupted", processes=2, callbacks=[RequestOnSecond()], **saving)
    try:
        run.train()
    except KeyboardInterrupt as error:
        results["interrupted"] = run.distributed.gather_objects([str(error), run.state.global_step])
    resumed = make(folder / "interrupted", processes=2, **saving)
    resumed.train(resume_from_checkpoint=True)
    results["resumed"] = found(resumed)

    exact = {"dropout": 0.1, "gradient_accumulation_steps": 2, "save_strategy": "steps", "save_steps": 2}
    whole = make(folder / "whole", processes=2, **exact)
    whole.train()
    again = make(folder / "again", processes=2, **exact)
    again.train(resume_from_checkpoint=str(folder / "whole" / "checkpoint-2"))
    results["whole"], results["again"] = weights(whole.model), weights(again.model)
    results["branches"] = branches(whole, rank)
    if rank == 0:
        torch.save(results, folder / "found.pt")

    class Die(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 1 and rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        make(folder / "killed", processes=2, callbacks=[Die()], **saving).train()
    except Exception as error:
        Path(folder / "killed.txt").write_text("\n".join([type(error).__name__, *getattr(error, "__notes__", ())]))


def branches(whole, rank):
    """Branches and the rows behind a step, in two processes."""
    unchanged = whole.branch(2)
    unchanged.train()
    monitor, seen = RunMonitor(), Rows(whole.train_dataset)
    other = whole.branch(2, learning_rate=2e-3)
    other.add_callback(monitor)
    other.add_callback(seen)
    other.train()
    step = other.state.global_step - 1
    everyone = other.distributed.gather_objects(seen.rows[step])
    found = {
        "unchanged": weights(unchanged.model),
        "other": weights(other.model),
        "folders": other.distributed.gather_objects([unchanged.args.output_dir, other.args.output_dir]),
        "seen": sorted(row for rows in everyone for row in rows),
    }
    try:
        found["rows"] = sorted(row.index for row in other.rows_at(step))
    except InputError as error:
        found["refused"] = str(error)
    found["refused"] = other.distributed.gather_objects(found.get("refused"))
    return found


def sharded(folder):
    """Weights that are spread over the processes: trained, saved, restored."""
    results, saving = {}, {"save_strategy": "steps", "save_steps": 2, "dropout": 0.1}
    for name, options in VARIANTS.items():
        run = make(folder / name, name, 2, **SHARDED | options)
        run.train()
        results[f"sharded_{name}"] = found(run)
    whole = make(folder / "sharded", processes=2, **SHARDED, **saving)
    whole.train()
    again = make(folder / "sharded_again", processes=2, **SHARDED, **saving)
    again.train(resume_from_checkpoint=str(folder / "sharded" / "checkpoint-2"))
    results["sharded_whole"], results["sharded_resumed"] = (
        full_weights(run.model, keep=True) for run in (whole, again)
    )
    best = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "learning_rate": 0.05}
    run = make(folder / "sharded_best", processes=2, **SHARDED, **saving, **best)
    run.train()
    step = run.state.best_global_step
    results["sharded_best"] = step, full_weights(run.model, keep=True)
    return results


def in_slices(folder):
    """Checkpoints of which each process writes its part."""
    results, saving = {}, {**SAVING, "dropout": 0.1, "save_total_limit": 2, "load_best_model_at_end": True}
    best = {"eval_strategy": "steps", "eval_steps": 2, "learning_rate": 0.05}
    whole = make(folder / "slices", processes=2, **SLICES, **saving, **best)
    whole.train()
    results["best"] = whole.state.best_global_step, full_weights(whole.model, keep=True)
    resumed = make(folder / "slices_again", processes=2, **SLICES, **SAVING, dropout=0.1)
    resumed.train(resume_from_checkpoint=str(folder / "sharded" / "checkpoint-2"))
    results["from_whole"] = full_weights(resumed.model, keep=True)
    again = make(folder / "slices_last", processes=2, **SHARDED, dropout=0.1)
    again.train(resume_from_checkpoint=str(folder / "slices_again" / "checkpoint-4"))
    results["from_slices"] = full_weights(again.model, keep=True)
    plain = make(folder / "slices_plain", processes=2, **SLICES, **SAVING)
    plain.train()
    results["plain"] = full_weights(plain.model, keep=True)
    plain.save_model(str(folder / "saved"))
    results["refused"] = []
    for attempt in (lambda: plain.branch(2), lambda: plain.measured_rows(1, [0])):
        try:
            attempt()
        except ConfigurationError as error:
            results["refused"].append(str(error))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        full = make(folder / "full", processes=2, callbacks=[FullDisk()], **SLICES, **SAVING)
        full.train()
    results["full_disk"] = [
        str(warning.message) for warning in caught if "could not be written" in str(warning.message)
    ]
    return results


class FullDisk(TrainerCallback):
    """The second process cannot write its slices at step 2."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2 and args.process_index == 1:
            sharded_files.dcp.FileSystemWriter.write_data, self.own = (
                fill_disk,
                sharded_files.dcp.FileSystemWriter.write_data,
            )
        elif state.global_step == 3 and args.process_index == 1:
            sharded_files.dcp.FileSystemWriter.write_data = self.own


def fill_disk(*args, **kwargs):
    raise OSError(28, "No space left on device")


def resume_slices(folder, rank):
    processes = int(os.environ["WORLD_SIZE"])
    run = make(folder / f"by_{processes}", **{**SLICES, **SAVING, "per_device_train_batch_size": 4})
    run.train(resume_from_checkpoint=str(folder / "slices_plain" / "checkpoint-2"))
    state = run.distributed.optimizer_state(run.optimizer)
    if rank == 0:
        moments = [value["exp_avg"] for value in state["state"].values()]
        torch.save({"steps": run.state.global_step, "moments": moments}, folder / f"found_by_{processes}.pt")


def main(folder, port, count=None):
    torch.set_num_threads(1)
    processes = count or "2"
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE=processes, LOCAL_WORLD_SIZE=processes)
    children = []
    for rank in range(int(processes)):
        if (child := os.fork()) == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            try:
                np.random.seed(rank)
                (resume_slices if count else work)(Path(folder), rank)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
