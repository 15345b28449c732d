"""One run of a Trainer. The file follows a batch: from the loader into an update, then through `training_step` and
`compute_loss` to its gradients.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from notebook_kit.errors import ConfigurationError, notice, warn
from notebook_kit.nn.training_products import is_faster, products_for
from notebook_kit.nn.turns import using
from notebook_kit.training import checkpointing, faults, hooks, run_folder
from notebook_kit.training.background_saving import Saving
from notebook_kit.training.callbacks import metric_key
from notebook_kit.training.checks import check_trainer, enable_gradient_checkpointing
from notebook_kit.training.data import batch_rows, data_seed, has_length, set_epoch
from notebook_kit.training.display import in_notebook
from notebook_kit.training.distributed import explain_lost_process, explain_memory, release_memory
from notebook_kit.training.embedding_noise import noisy_embeddings
from notebook_kit.training.evaluation import TrainOutput, speed_metrics
from notebook_kit.training.full_sharding import check_optimizer
from notebook_kit.training.losses import LossMeter, count_items, items_for_loss, loss_of, smoothed_loss
from notebook_kit.training.model_files import load_model_files
from notebook_kit.training.optimization import current_learning_rate, follows_metric
from notebook_kit.training.run_length import RunLength
from notebook_kit.training.seeding import restore_rng_states, rng_states
from notebook_kit.training.sharding import rounds_of_all
from notebook_kit.training.splitting import Splitter
from notebook_kit.training.state import Items, LastStep, Position, TrainerLike, TrainerState
from notebook_kit.training.work import count_work

__all__ = ["TrainingLoop"]

MOST_ROWS = 5_000_000  # of an epoch whose order is recorded


class TrainingLoop:
    """One run of a Trainer: its updates, and the logs, evaluations and checkpoints between them.

    `Trainer.train` creates one and calls `run`. Your code can drive it update by update instead, for example to record the
    loss at rising learning rates; `preserved` then restores the Trainer. The new loop creates the loader, the optimizer and
    the schedule of its run, and sets them as the Trainer's `train_dataloader`, `optimizer`, `lr_scheduler` and `state`.

    Args:
        trainer: The Trainer. Its model is trained from its current weights.
        resumption: A checkpoint to resume from.
        max_steps: Optimizer updates; None: as set by the training arguments.
        ignore_keys: Outputs of the model that evaluations leave out.

    Attributes:
        length: The `RunLength`: epochs and updates of the run.
        position: The `Position` of the run in its data.
        meter: The `LossMeter` of the losses since the last log.
        items: The number of labels in the update in progress; None if it has only one batch.
        model: The model as accelerate prepared it.
        parameters: The trainable parameters of the model.
        run_id: The id of the run, which is in its checkpoints.
        saved: The last checkpoint that was written or resumed from, or None.

    Raises:
        InputError, ConfigurationError: if the data or the arguments cannot be used.
        CheckpointError: if the checkpoint does not fit.

    Example:
        >>> import tempfile
        >>> from notebook_kit import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, preserved
        >>> tiny = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)
        >>> data = [{"input_ids": [5, 6, 7], "labels": 1}] * 8
        >>> args = TrainingArguments(tempfile.mkdtemp(), learning_rate=1e-6, use_cpu=True, disable_tqdm=True)
        >>> trainer = Trainer(BertForSequenceClassification(tiny), args, train_dataset=data)
        >>> losses = {}
        >>> with preserved(trainer), TrainingLoop(trainer, max_steps=3) as loop:
        ...     for step, batches in enumerate(loop.updates()):
        ...         rate = trainer.optimizer.param_groups[0]["lr"] = 1e-6 * 10**step
        ...         losses[rate] = float(loop.update(batches).loss)
        >>> len(losses), trainer.state.global_step
        (3, 0)
    """

    def __init__(
        self,
        trainer: TrainerLike,
        resumption: checkpointing.Resumption | None = None,
        *,
        max_steps: int | None = None,
        ignore_keys: list[str] | None = None,
    ) -> None:
        check_trainer("TrainingLoop", trainer)
        args = trainer.args
        self.trainer, self.ignore_keys, self.resumed = trainer, ignore_keys, resumption is not None
        self.saved = resumption.folder if resumption else None
        self.saving = Saving()
        trainer.discard_optimizer()
        own = trainer.get_train_dataloader()
        trainer.train_dataloader = loader = trainer.distributed.wrap_loader(own, training=True, seed=data_seed(args))
        examples = trainer.num_examples(loader) if has_length(loader) else None
        max_steps = args.max_steps if max_steps is None else max_steps
        self.length = RunLength.of(loader, examples, args, trainer.distributed.world_size, max_steps)
        trainer.state = state = resumption.state if resumption else TrainerState()
        self.meter, self.position = LossMeter(), Position()
        if resumption:
            self.position = resumption.position(trainer, self.length.updates_per_epoch)
            self.length = self.length.from_position(self.position, state.global_step, max_steps)
        self.splitter = Splitter(trainer)  # refuses several processes, before they exchange anything
        state.max_steps, state.num_train_epochs = self.length.max_steps, self.length.epochs
        run_id = resumption.run if resumption else run_folder.new_run_id()
        self.run_id = trainer.distributed.gather_objects(run_id)[0]  # of the first process
        state.train_batch_size = self.splitter.rows or args.train_batch_size
        state.is_local_process_zero = trainer.is_local_process_zero()
        state.is_world_process_zero = trainer.is_world_process_zero()
        state.compute_steps(args, self.length.max_steps)
        if resumption:
            resumption.restore_model(trainer.model)
        if args.gradient_checkpointing:
            enable_gradient_checkpointing(trainer.model, args.gradient_checkpointing_kwargs)
        self.model = trainer.prepared_model(training=True)
        # The first optimizer of a process imports torch's compiler, which takes seconds and must not be interrupted.
        with trainer.interrupts.put_off():
            trainer.create_optimizer_and_scheduler(self.length.max_steps)
        if trainer.distributed.full_sharding is not None:
            check_optimizer(trainer.model, trainer.optimizer)
        trainer.optimizer = trainer.distributed.wrap_optimizer(trainer.optimizer)
        if self.position.by_onednn is None:
            can = not args.torch_compile and trainer.distributed.accelerator.mixed_precision == "no"
            # All processes round alike.
            self.position.by_onednn = trainer.distributed.gather_objects(can and is_faster(trainer.model))[0]
        self._using = using(self.model)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.items: torch.Tensor | None = None
        self.interrupted = False
        if resumption:
            self.meter = resumption.restore_progress(trainer, self.position)
        self.meter.keep_all = not args.logging_nan_inf_filter
        self._skipped: list[int] = []  # examples of updates that were skipped since the last log
        self._within = ExitStack()
        self._between_updates = True  # so that a checkpoint would be consistent
        # The checkpoint, until the rest of its epoch has been trained on.
        self._partial_epoch = resumption if self.position.batches else None

    # ------------------------------------------------------------------------------------------------------- the run

    def run(self) -> TrainOutput:
        """Train to the end.

        Raises:
            KeyboardInterrupt: if the run was interrupted; raised after writing a checkpoint, unless `save_strategy` is "no".
        """
        trainer, start = self.trainer, time.time()
        if in_notebook():
            gc.collect()  # the models and optimizers of earlier cells, whose Trainers refer to themselves
        trainer.control.should_training_stop = False
        # Gradients on: a cell that was stopped at the wrong moment may have left them off.
        with self, trainer.interrupts.held(), torch.inference_mode(False), torch.enable_grad():
            trainer.emit("on_train_begin")
            if self.resumed and trainer.state.global_step >= self.length.max_steps:
                setting = "max_steps" if trainer.args.max_steps > 0 else "num_train_epochs"
                warn(
                    f"The checkpoint is already at step {trainer.state.global_step} of {self.length.max_steps}, so there is"
                    f" nothing to train. To train further, raise {setting}."
                )
            if trainer.args.eval_on_start and not self.resumed:
                self.evaluate()
            try:
                if not self.resumed or self.log_evaluate_save():  # what was due when the checkpoint was written
                    for batches in self.updates():
                        self.update(batches)
                        if not self.log_evaluate_save():
                            break
            except Exception as error:
                self._save_after(error)
                raise
            if interrupted := self.interrupted:
                self._save_interrupted()
            output = self._conclude(start, interrupted)
        if interrupted:
            message = self._interrupted_message()
            if trainer.interrupts.terminated:
                notice(f"SIGTERM: {message}")
            raise trainer.interrupts.error(message)
        return output

    def __enter__(self) -> TrainingLoop:
        self._within.enter_context(noisy_embeddings(self.trainer.model, self.trainer.args.neftune_noise_alpha))
        self.trainer.loop, self.trainer.is_in_train = self, True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        try:
            if error is not None:
                explain_memory(error)
                explain_lost_process(error)
                self.trainer.emit("on_error", error=error)
        finally:
            try:
                self._within.close()
                with suppress(Exception):  # an error in progress is the one to report
                    self.take_saved(wait=True)
            finally:
                self.trainer.loop, self.trainer.is_in_train = None, False
                self.model.zero_grad(set_to_none=True)

    def updates(self) -> Iterator[list[Any]]:
        """The batches of each remaining update, over all epochs. Pass each group to `update` before taking the next."""
        trainer, length, position = self.trainer, self.length, self.position
        while position.epoch < length.epochs and not trainer.control.should_training_stop:
            set_epoch(trainer.train_dataloader, position.epoch)
            trainer.control.should_epoch_stop = False
            trainer.emit("on_epoch_begin")
            batches = self._rest_of_epoch()
            while trainer.state.global_step < length.max_steps:
                if not (group := self._read(batches)):
                    if length.is_stream and position.batches:
                        position.per_epoch, trainer.state.epoch = position.batches, position.epoch + 1
                    break
                yield group
                if trainer.control.should_epoch_stop or trainer.control.should_training_stop:
                    break
            if not position.updates:
                warn(
                    f"The training data had no batch in this epoch, so training stops at step {trainer.state.global_step} of"
                    f" {length.max_steps}."
                )
                trainer.control.should_training_stop = True
            position.ended = True
            trainer.emit("on_epoch_end")
            if not self.log_evaluate_save():
                return
            position.next_epoch()
            if trainer.state.global_step >= length.max_steps:
                return

    def rows_of_epoch(self) -> list[list[int]]:
        """The positions in the dataset of the examples of each batch of this epoch, with those of the other processes; none if
        its order is not this library's, or there are more than `MOST_ROWS`.
        """
        loader = self.trainer.train_dataloader
        if not has_length(loader) or self.trainer.num_examples(loader) > MOST_ROWS:
            return []
        return rounds_of_all(loader, batch_rows(loader, self.position.epoch, 0, len(loader)) or [])

    def _rest_of_epoch(self) -> Iterator[Any]:
        checkpoint, self._partial_epoch = self._partial_epoch, None
        if checkpoint is not None:
            return checkpoint.remaining_batches(
                self.trainer.train_dataloader, self.position, self.trainer.args.ignore_data_skip
            )
        self.position.rng = rng_states()
        return iter(self.trainer.train_dataloader)

    def _read(self, batches: Iterator[Any]) -> list[Any]:
        """The batches of the next update; none at the end of the epoch."""
        try:
            return list(itertools.islice(batches, self.trainer.args.gradient_accumulation_steps))
        except Exception as error:
            faults.explain_data_error(error, self.trainer, self.position)
            raise

    def update(self, batches: list[Any]) -> LastStep:
        """One optimizer update with the gradients of `batches`."""
        trainer, state, position = self.trainer, self.trainer.state, self.position
        trainer.control.should_save = trainer.control.should_evaluate = trainer.control.should_log = False
        trainer.emit("on_step_begin")
        with self._using, self._products(batches):
            total = self._gradients(batches)
        grad_norm = trainer.distributed.clip(self.parameters, trainer.args.max_grad_norm)
        trainer.emit("on_pre_optimizer_step")
        # Whether the weights may move depends on the loss, unless it is ignored: then it is not waited for.
        value = None if trainer.args.nan_policy == "ignore" else float(total)
        may_step = value is None or self._may_step(value, grad_norm, batches)
        self._between_updates = False
        self.meter.add(total, value)
        if may_step:
            with self._using:
                trainer.optimizer.step()
            trainer.emit("on_optimizer_step")
        learning_rate = current_learning_rate(trainer.optimizer, trainer.lr_scheduler)
        stepped = may_step and not getattr(trainer.optimizer, "step_was_skipped", False)
        if stepped and not follows_metric(trainer.lr_scheduler):
            trainer.lr_scheduler.step()
        for parameter in self.parameters:
            parameter.grad = None
        count_work(trainer, batches)
        state.global_step += 1
        if (every := trainer.args.torch_empty_cache_steps) and state.global_step % every == 0:
            release_memory()
        position.updates += 1
        position.batches += len(batches)
        state.epoch = position.epoch + position.batches / (position.per_epoch or self.length.batches_per_epoch)
        trainer.last_step = LastStep(total, grad_norm, learning_rate, batches)
        self._between_updates = True
        trainer.emit("on_step_end")
        self.interrupted = trainer.distributed.any(trainer.interrupts.requested)
        return trainer.last_step

    def _products(self, batches: list[Any]) -> AbstractContextManager[object]:
        return products_for(self.trainer.model, batches[0]) if self.position.by_onednn else nullcontext()

    def _gradients(self, batches: list[Any]) -> torch.Tensor:
        """Forward and backward of the batches of an update, in parts if memory runs out. Returns the loss of the update."""
        while True:
            try:
                return self._forward_backward(self._weigh(self.splitter.split(batches)))
            except Exception as error:
                if not self.splitter.try_again(error, batches):
                    raise

    def _forward_backward(self, batches: list[Any]) -> torch.Tensor:
        trainer = self.trainer
        items = [self.items] if "training_step" in trainer.item_takers else []
        total: Any = None
        for index, batch in enumerate(batches, start=1):
            last = index == len(batches)  # gradients are synchronized once per update
            with nullcontext() if last else trainer.distributed.accelerator.no_sync(self.model):
                loss = trainer.training_step(self.model, batch, *items)
                loss = hooks.checked_loss(hooks.name_of(trainer, "training_step"), loss)
                loss = loss.mean() if loss.ndim else loss
            total = loss if total is None else total + loss
            if not last:
                trainer.emit("on_substep_end")
        return total

    def _may_step(self, loss: float, grad_norm: Any, batches: list[Any]) -> bool:
        """Whether the weights may move, as `nan_policy` decides about a loss or a gradient that is NaN or infinite.

        Raises:
            NonFiniteLossError: if the policy is to stop.
        """
        trainer = self.trainer
        # A loss scaler (fp16) overflows now and then, and skips those updates itself.
        scaled = trainer.distributed.accelerator.scaler is not None
        finite = faults.is_finite_number(loss) and (scaled or faults.is_finite_number(grad_norm))
        if not trainer.distributed.any(not finite):
            return True
        error = faults.nonfinite_loss(trainer, loss, grad_norm, batches, self.position)
        if trainer.args.nan_policy == "stop" and not faults.without_labels(trainer, batches):
            raise error
        self._skipped += error.rows
        return False

    def _weigh(self, batches: list[Any]) -> list[Any]:
        """Count the items of an update, unless its only batch is all of it. Returns the batches that have any."""
        trainer, self.items = self.trainer, None
        alone = trainer.distributed.world_size == 1
        trainer.current_gradient_accumulation_steps = len(batches)
        if len(batches) == 1 and alone:
            return batches
        counts = [count for batch in batches if (count := count_items(trainer, batch)) is not None]
        if len(counts) < len(batches):
            return batches
        self.items = torch.stack(counts).sum()
        if not alone:
            self.items = trainer.distributed.gather(self.items.to(trainer.distributed.device)).sum()
            return batches
        # The mean loss of a batch without labels is NaN, and its weight zero.
        return [batch for batch, count in zip(batches, counts, strict=True) if count] or batches

    # ---------------------------------------------------------------------------------------------- between the steps

    def log_evaluate_save(self) -> bool:
        """Log, evaluate and save as the Trainer's `control` requests; False if the run was interrupted."""
        self.take_saved()
        trainer, control = self.trainer, self.trainer.control
        if control.should_log and trainer.state.global_step > self.meter.logged_step:
            self._log_losses()
        if self.interrupted:
            return False
        if trainer.control.should_evaluate:
            try:
                alone = trainer.distributed.world_size == 1
                with trainer.interrupts.at_once() if alone else nullcontext():
                    better = self.evaluate()
            except KeyboardInterrupt:
                if not trainer.distributed.any(trainer.interrupts.requested):
                    raise
                self.interrupted = True
                return False
            trainer.control.should_evaluate = False
            if trainer.args.save_strategy == "best":
                trainer.control.should_save = better
        if trainer.control.should_save:
            trainer.save_checkpoint()
        return True

    def _log_losses(self) -> None:
        """Log the mean loss since the last log. Waits for the device."""
        trainer, step = self.trainer, self.trainer.state.global_step
        steps = step - self.meter.logged_step
        mean, bad = self.meter.take(step)
        skipped, self._skipped = self._skipped, []
        logs: dict[str, Any] = {"loss": trainer.distributed.mean(mean)}
        if trainer.last_step is not None:
            norm = trainer.last_step.grad_norm
            logs["grad_norm"] = norm.item() if isinstance(norm, torch.Tensor) else norm
            logs["learning_rate"] = trainer.last_step.learning_rate
        trainer.log(logs)
        if bad:
            left_out = "" if self.meter.keep_all else "; the logged loss leaves them out"
            which = f" Their updates were skipped (examples {str(skipped[:32])[1:-1]})." if skipped else ""
            warn(
                f"{bad} losses of the last {steps} steps were NaN or infinite{left_out}.{which} Lower learning_rate, use bf16"
                " instead of fp16, and check for empty or wrong labels."
            )

    def evaluate(self) -> bool:
        """Evaluate, and return whether this was the best evaluation so far. The random number generators are restored, so
        training does not depend on when the model is evaluated.

        Raises:
            ConfigurationError: if the metric for the best model is not among the metrics.
        """
        trainer, args, state = self.trainer, self.trainer.args, self.trainer.state
        generators = rng_states()
        try:
            metrics = trainer.evaluate(ignore_keys=self.ignore_keys)
        finally:
            restore_rng_states(generators)
        if args.metric_for_best_model is None:
            return False
        key = metric_key(args)
        if key not in metrics:
            raise ConfigurationError(
                f"metric_for_best_model={args.metric_for_best_model!r} is not among the metrics of the evaluation:"
                f" {', '.join(metrics)}.",
                next_step="Return it from compute_metrics, or set metric_for_best_model='loss'.",
            )
        if follows_metric(trainer.lr_scheduler):
            trainer.lr_scheduler.step(metrics[key])
        best = state.best_metric
        better = best is None or (metrics[key] > best if args.greater_is_better else metrics[key] < best)
        if better:
            state.best_metric, state.best_global_step = metrics[key], state.global_step
        return better

    def _conclude(self, start: float, interrupted: bool) -> TrainOutput:
        """Write the last log, load the best model if requested, and end the run."""
        trainer, args, state = self.trainer, self.trainer.args, self.trainer.state
        done = state.global_step - self.meter.first_step
        loss = self.meter.mean(state.global_step)
        metrics = speed_metrics("train", start, self.length.samples * done / max(self.length.max_steps, 1), done)
        metrics["total_flos"], metrics["train_loss"] = state.total_flos, loss
        trainer.log(metrics)
        self.take_saved(wait=True)
        best = state.best_model_checkpoint
        if args.load_best_model_at_end and best is not None and not interrupted:
            load_model_files(trainer.model, best)
            if args.save_total_limit == 1 and trainer.is_world_process_zero():
                run_folder.keep_only(Path(best), self.run_id)
        trainer.emit("on_train_end")
        return TrainOutput(state.global_step, loss, metrics)

    # --------------------------------------------------------------------------------------------------- checkpoints

    def save(self) -> None:
        """Write a checkpoint of the last update. If the disk fails, a warning says so."""
        self.take_saved(wait=True)
        folder = self._checkpoint(self.trainer.state)
        if checkpointing.save_checkpoint(self.trainer, self.run_id, self.meter, self.position, self.saving):
            self.saved = folder
            self.trainer.emit("on_save")

    def _checkpoint(self, state: TrainerState) -> Path:
        return Path(self.trainer.args.output_dir or "") / f"{run_folder.PREFIX}-{state.global_step}"

    def take_saved(self, wait: bool = False) -> None:
        """Report a checkpoint that was written in the background: to callbacks, or its failure as a warning.

        Args:
            wait: Wait until it is written.
        """
        save = self.saving.take(wait)
        if save is None:
            return
        trainer, folder = self.trainer, self._checkpoint(save.about)
        if save.error is None:
            self.saved = folder
            now, trainer.state = trainer.state, save.about  # as it was when the checkpoint was begun
            try:
                trainer.emit("on_save")
            finally:
                trainer.state = now
        elif checkpointing.is_failure_of_disk(save.error):
            checkpointing.warn_of_failed_save(folder, save.error, self.saved)
        else:
            raise save.error

    def _save_interrupted(self) -> None:
        args = self.trainer.args
        if args.save_strategy != "no" or (args.enable_jit_checkpoint and self.trainer.interrupts.terminated):
            self.trainer.save_checkpoint()
        self.take_saved(wait=True)

    def _save_after(self, error: Exception) -> None:
        """After an error, write a checkpoint of the last whole update, unless there is one."""
        trainer, step = self.trainer, self.trainer.state.global_step
        with suppress(Exception):  # the first error is the one to report
            self.take_saved(wait=True)
        is_saved = self.saved is not None and run_folder.step_of(self.saved) == step
        alone = trainer.distributed.world_size == 1  # the other processes are elsewhere in the run
        if is_saved or not step or not self._between_updates or not alone or trainer.args.save_strategy == "no":
            return
        try:
            trainer.save_checkpoint()
            self.take_saved(wait=True)
        except Exception:  # the first error is the one to report
            return
        if self.saved is not None and run_folder.step_of(self.saved) == step:
            error.add_note(
                f"→ The run is saved up to step {step}. To continue: trainer.train(resume_from_checkpoint={str(self.saved)!r})."
            )

    def _interrupted_message(self) -> str:
        """Message after an interrupted run."""
        state = self.trainer.state
        done = f"Training was stopped after step {state.global_step} of {state.max_steps}; the model keeps what it learned."
        if self.saved is None or run_folder.step_of(self.saved) != state.global_step:
            why = ", since save_strategy is 'no'" if self.trainer.args.save_strategy == "no" else ""
            return f"{done} No checkpoint was written{why}."
        return f"{done} To continue: trainer.train(resume_from_checkpoint={str(self.saved)!r})."


# ------------------------------------------------------------------------------------------- from a batch to its gradients


def training_step(
    trainer: TrainerLike, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Items
) -> torch.Tensor:
    """Forward and backward of one batch; see `Trainer.training_step`."""
    if num_items_in_batch is None and trainer.loop is not None:  # from an override that does not take it
        num_items_in_batch = trainer.loop.items
    counted = num_items_in_batch is not None or "compute_loss" in trainer.item_takers
    own = count_items(trainer, inputs) if counted else None
    loss = hooks.loss_with_gradient(trainer, trainer.compute_loss(model, inputs, **items_for_loss(trainer, own)))
    if own is not None and num_items_in_batch is not None:
        loss = loss * (own / num_items_in_batch * trainer.distributed.world_size)
    elif trainer.current_gradient_accumulation_steps > 1:
        loss = loss / trainer.current_gradient_accumulation_steps
    trainer.distributed.backward(loss)
    return loss.detach()


def compute_loss(
    trainer: TrainerLike, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Items
) -> tuple[torch.Tensor, Any]:
    """The loss of a batch and the model's outputs; see `Trainer.compute_loss`."""
    own = None if num_items_in_batch is None else count_items(trainer, inputs)
    smoothing, labels = trainer.args.label_smoothing_factor, None
    if (smoothing or trainer.compute_loss_func is not None) and "labels" in inputs:
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        shift: Any = getattr(trainer.model, "prepare_decoder_input_ids_from_labels", None)
        if shift is not None and "decoder_input_ids" not in inputs:
            inputs["decoder_input_ids"] = shift(labels)
    # The model is not given num_items_in_batch: a wrapper may pass it on to one that does not take it.
    outputs = model(**inputs)
    if "compute_loss_func" in trainer.item_takers:
        loss = trainer.compute_loss_func(outputs, labels, num_items_in_batch=num_items_in_batch)
        return hooks.checked_loss("compute_loss_func", loss), outputs
    if trainer.compute_loss_func is not None:
        loss = hooks.checked_loss("compute_loss_func", trainer.compute_loss_func(outputs, labels))
    elif labels is not None:
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
        loss = smoothed_loss(logits, labels, smoothing, trainer.traits.shifts_labels)
    else:
        loss = hooks.checked_loss(type(trainer.model).__name__, loss_of(outputs, inputs, trainer.model))
    return (loss if own is None or num_items_in_batch is None else loss * (own / num_items_in_batch)), outputs
