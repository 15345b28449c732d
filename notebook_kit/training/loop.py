"""What happens between the steps of a run: logs, evaluations, checkpoints, and its end."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from notebook_kit.errors import ConfigurationError, NotebookKitWarning
from notebook_kit.training import checkpointing
from notebook_kit.training.callbacks import metric_key
from notebook_kit.training.evaluation import TrainOutput, speed_metrics
from notebook_kit.training.seeding import restore_rng_states, rng_states

if TYPE_CHECKING:
    from notebook_kit.training.checks import Plan
    from notebook_kit.training.losses import LastStep, LossMeter
    from notebook_kit.training.resuming import Position
    from notebook_kit.training.trainer import Trainer


def log_losses(trainer: Trainer, meter: LossMeter, last: LastStep | None) -> None:
    """Log the mean loss since the last log. Waits for the device."""
    steps = trainer.state.global_step - meter.logged_step
    mean, bad = meter.take(trainer.state.global_step)
    accelerator = trainer.accelerator
    if accelerator.num_processes > 1:
        mean = accelerator.gather(torch.tensor(mean, device=accelerator.device)).mean().item()
    logs: dict[str, Any] = {"loss": mean}
    if last is not None:
        norm = last.grad_norm
        logs["grad_norm"] = norm.item() if isinstance(norm, torch.Tensor) else norm
        logs["learning_rate"] = last.learning_rate
    trainer.log(logs)
    if bad:
        warnings.warn(
            f"{bad} losses of the last {steps} steps were no finite numbers; the logged loss leaves them out. Lower"
            " learning_rate, use bf16 in place of fp16, and look for empty or wrong labels.",
            NotebookKitWarning,
            stacklevel=2,
        )


def evaluate_in_train(trainer: Trainer, ignore_keys: list[str] | None) -> bool:
    """Evaluate; whether it was the best so far. The random generators stay as they are, so that training does not depend
    on when the model is evaluated.

    Raises:
        ConfigurationError: if the metric for the best model is not among the metrics.
    """
    args, state = trainer.args, trainer.state
    states = rng_states()
    try:
        metrics = trainer.evaluate(ignore_keys=ignore_keys)
    finally:
        restore_rng_states(states)
    if args.metric_for_best_model is None:
        return False
    key = metric_key(args)
    if key not in metrics:
        raise ConfigurationError(
            f"metric_for_best_model={args.metric_for_best_model!r} is not among the metrics of the evaluation:"
            f" {', '.join(metrics)}.",
            next_step="Let compute_metrics return it, or set metric_for_best_model='loss'.",
        )
    if isinstance(trainer.lr_scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        trainer.lr_scheduler.step(metrics[key])
    best = state.best_metric
    better = best is None or (metrics[key] > best if args.greater_is_better else metrics[key] < best)
    if better:
        state.best_metric, state.best_global_step = metrics[key], state.global_step
    return better


def save_checkpoint(trainer: Trainer, meter: LossMeter, position: Position) -> None:
    """Write `checkpoint-N`: under another name first, so that a kill at any instant leaves no half of it."""
    args, state, accelerator = trainer.args, trainer.state, trainer.accelerator
    output_dir = Path(args.output_dir or "")
    target = output_dir / f"{checkpointing.PREFIX}-{state.global_step}"
    if state.best_global_step is not None:
        best = output_dir / f"{checkpointing.PREFIX}-{state.best_global_step}"
        if best == target or best.is_dir():
            state.best_model_checkpoint = str(best)
    main = trainer.is_world_process_zero()
    trainer.control.should_save = False
    with checkpointing.whole_folder(target, main, accelerator.wait_for_everyone) as folder:
        trainer.save_model(str(folder), _internal_call=True)
        if not args.save_only_model:
            checkpointing.save_rng(folder, accelerator.process_index, accelerator.num_processes, position.rng)
            if main:
                checkpointing.save_progress(folder, trainer.optimizer, trainer.lr_scheduler, accelerator.scaler)
        if main:
            state.stateful_callbacks = {
                **trainer.callback_handler.states(),
                "LossMeter": meter.state(),
                "Position": position.state(),
                "TrainerControl": trainer.control.state(),
            }
            state.save_to_json(folder / checkpointing.STATE)
    if main:
        checkpointing.rotate(output_dir, args.save_total_limit, state.best_model_checkpoint)
    trainer.emit("on_save")


def conclude(trainer: Trainer, meter: LossMeter, plan: Plan, start: float, interrupted: bool) -> TrainOutput:
    """The last log of a run, its best model, and its end."""
    args, state = trainer.args, trainer.state
    done = state.global_step - meter.first_step
    loss = meter.mean(state.global_step)
    metrics = speed_metrics("train", start, plan.samples * done / max(plan.max_steps, 1), done)
    metrics["train_loss"] = loss
    trainer.log(metrics)
    best = state.best_model_checkpoint
    if args.load_best_model_at_end and best is not None and not interrupted:
        checkpointing.load_model_files(trainer.model, best)
        if args.save_total_limit == 1 and trainer.is_world_process_zero():
            for checkpoint in checkpointing.checkpoints(args.output_dir or ""):
                if checkpoint.resolve() != Path(best).resolve():
                    checkpointing.delete(checkpoint)
    trainer.emit("on_train_end")
    return TrainOutput(state.global_step, loss, metrics)


def interrupted_message(trainer: Trainer) -> str:
    """What a person who stopped a run is told."""
    state = trainer.state
    done = f"Training was stopped after step {state.global_step} of {state.max_steps}; the model keeps what it learned."
    if trainer.args.save_strategy == "no":
        return f"{done} No checkpoint was written, since save_strategy is 'no'."
    return f"{done} To go on: trainer.train(resume_from_checkpoint=True)."
