"""The Trainer: a loop that fits on one screen, and the hooks by which subclasses and callbacks change it."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, Literal, overload

import torch
from torch import nn

from notebook_kit.errors import ConfigurationError, NotebookKitWarning
from notebook_kit.nn.inputs import ModelTraits, takes_name
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.background import BackgroundRun, check_free, one_run
from notebook_kit.training.callbacks import CallbackList, PublishCallback
from notebook_kit.training.checks import (
    Plan,
    call_model_init,
    check_head,
    checked_args,
    checked_model,
    enable_gradient_checkpointing,
    length_of,
)
from notebook_kit.training.collators import DataCollatorWithPadding, default_data_collator
from notebook_kit.training.data import check_dataset, set_epoch
from notebook_kit.training.display import default_callbacks
from notebook_kit.training.distributed import as_inputs, explain_memory, make_accelerator, to_device
from notebook_kit.training.evaluation import (
    EvalLoopOutput,
    EvalPrediction,
    PredictionOutput,
    TrainOutput,
    evaluation_pass,
    predict_batch,
    speed_metrics,
)
from notebook_kit.training.interrupts import Interrupts
from notebook_kit.training.loop import conclude, evaluate_in_train, interrupted_message, log_losses, save_checkpoint
from notebook_kit.training.losses import LastStep, LossMeter, count_labels, loss_of, smoothed_loss
from notebook_kit.training.parts import TrainerParts
from notebook_kit.training.resuming import Position, Resumption
from notebook_kit.training.seeding import rng_states, set_seed
from notebook_kit.training.state import TrainerControl, TrainerState

__all__ = ["Trainer"]

logger = logging.getLogger(__name__)


class Trainer(TrainerParts):
    """Fine-tunes and evaluates a model.

    Subclasses may override `get_train_dataloader`, `get_eval_dataloader`, `get_test_dataloader`, `create_optimizer`,
    `create_scheduler`, `compute_loss`, `training_step`, `prediction_step`, `evaluation_loop` and `log`.

    Args:
        model: A model of this library or of `transformers`, or any `torch.nn.Module` whose outputs have a loss first or
            by name.
        args: What the run is told.
        data_collator: Makes a batch of a list of examples; pads them if there is a tokenizer, else stacks them.
        train_dataset, eval_dataset: A `datasets.Dataset`, a torch dataset, or a list of dictionaries. `eval_dataset` may
            also be a dictionary of datasets by name.
        processing_class: The tokenizer or other processor; saved with the model. `tokenizer=` is its older name.
        model_init: Makes the model anew at each call of `train`, instead of `model`.
        compute_loss_func: `(outputs, labels, num_items_in_batch=None) -> loss`.
        compute_metrics: From an `EvalPrediction` to a dictionary of numbers.
        callbacks: Callbacks or their classes, beside the default ones.
        optimizers: An optimizer and a schedule, each may be None.
        optimizer_cls_and_kwargs: An optimizer class and its keyword arguments.
        preprocess_logits_for_metrics: `(logits, labels) -> logits` on the device, before they are kept.

    Attributes:
        state: Where the run stands; `state.log_history` has every log.
        control: What callbacks asked for.
        last_step: Loss, gradient norm, learning rate and batches of the latest update, the first two still on the device.

    Raises:
        InputError, ConfigurationError: for a model, dataset or argument that cannot be used.

    Example:
        >>> import tempfile, torch
        >>> class Line(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = torch.nn.Linear(1, 1)
        ...     def forward(self, x, labels=None):
        ...         y = self.layer(x).squeeze(-1)
        ...         return {"loss": ((y - labels) ** 2).mean(), "logits": y}
        >>> data = [{"x": [float(i)], "labels": 2.0 * i} for i in range(8)]
        >>> args = TrainingArguments(tempfile.mkdtemp(), max_steps=3, use_cpu=True, save_strategy="no", disable_tqdm=True)
        >>> trainer = Trainer(Line(), args, train_dataset=data, eval_dataset=data)
        >>> trainer.pop_callback(trainer.callbacks[-1]) is not None  # quietly
        True
        >>> trainer.train().global_step
        3
        >>> sorted(trainer.evaluate())[:2]
        ['epoch', 'eval_loss']
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., nn.Module] | None = None,
        compute_loss_func: Callable[..., torch.Tensor] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, Any]] | None = None,
        callbacks: list[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        tokenizer: Any = None,
    ) -> None:
        self.args = checked_args(args)
        if processing_class is not None and tokenizer is not None and processing_class is not tokenizer:
            raise ConfigurationError(
                "processing_class and its older name tokenizer were both given.", next_step="Keep processing_class."
            )
        set_seed(self.args.seed, self.args.full_determinism)
        self.accelerator = make_accelerator(self.args)
        self.model_init = model_init
        self.model = checked_model(model, model_init)
        self._prepared: nn.Module | None = None
        self._place_model()
        self.processing_class = processing_class if processing_class is not None else tokenizer
        self.data_collator = data_collator or (
            DataCollatorWithPadding(self.processing_class)
            if hasattr(self.processing_class, "pad")
            else default_data_collator
        )
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        for dataset, role in ((train_dataset, "train_dataset"), (eval_dataset, "eval_dataset")):
            if dataset is not None and not (role == "eval_dataset" and isinstance(dataset, Mapping)):
                check_dataset(dataset, role)
        self.compute_loss_func, self.compute_metrics = compute_loss_func, compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.optimizer, self.lr_scheduler = optimizers
        self.optimizer_cls_and_kwargs = optimizer_cls_and_kwargs
        self._made_optimizer = self.optimizer is None
        self._made_scheduler = self.lr_scheduler is None
        self.is_in_train = False
        self.current_gradient_accumulation_steps = 1
        self.train_dataloader: Any = None
        self.eval_dataloader: Any = None
        self.interrupts = Interrupts()
        self.run_thread: threading.Thread | None = None
        self.last_step: LastStep | None = None
        self._lengths: dict[int, tuple[Any, Any]] = {}
        self.control = TrainerControl()
        self.state = TrainerState(
            is_local_process_zero=self.is_local_process_zero(), is_world_process_zero=self.is_world_process_zero()
        )
        self._inspect_model()
        self.callback_handler = CallbackList(self, [*default_callbacks(self.args, callbacks or ()), *(callbacks or [])])
        if self.args.push_to_hub:
            self.add_callback(PublishCallback())
        self.emit("on_init_end")

    # ---------------------------------------------------------------------------------------------------- training

    @overload
    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
        background: Literal[False] = False,
    ) -> TrainOutput: ...

    @overload
    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
        *,
        background: Literal[True],
    ) -> BackgroundRun: ...

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
        background: bool = False,
    ) -> TrainOutput | BackgroundRun:
        """Train, from the start or from where a checkpoint stands.

        An interrupt (the stop button of a notebook, Ctrl-C) lets the update in progress finish, writes a checkpoint
        unless `save_strategy="no"`, and then raises KeyboardInterrupt: the model keeps what it learned, and
        `train(resume_from_checkpoint=True)` goes on as if there had been no interrupt. A second one breaks in at once.

        Args:
            resume_from_checkpoint: The folder of a checkpoint, or True for the last one in `args.output_dir`.
            trial: Accepted for the sake of older code; not used.
            ignore_keys_for_eval: Outputs of the model that evaluations leave out.
            background: Train on a thread of its own and return at once: in a notebook the next cells can be run, and
                `await trainer.train(background=True)` waits while the kernel goes on answering.

        Returns:
            Updates done, mean loss over the updates of this call, and metrics; in the background, a `BackgroundRun` to wait on.

        Raises:
            CheckpointError: if there is no such checkpoint or it does not fit.
            ConfigurationError: if a run of this Trainer is in progress.
            KeyboardInterrupt: if the run was interrupted.
        """
        if background:
            return BackgroundRun(self, lambda: self.train(resume_from_checkpoint, trial, ignore_keys_for_eval))
        with one_run(self):
            return self._train(resume_from_checkpoint, ignore_keys_for_eval)

    def _train(self, resume_from_checkpoint: str | bool | None, ignore_keys_for_eval: list[str] | None) -> TrainOutput:
        # Again, though it was done when the Trainer was made: what ran since then shall not matter.
        set_seed(self.args.seed, self.args.full_determinism)
        if self.model_init is not None:
            self.model, self._prepared = call_model_init(self.model_init), None
            self._place_model()
            self._inspect_model()
        if type(self).compute_loss is Trainer.compute_loss and self.compute_loss_func is None:
            check_head(self.model)
        resumption = Resumption.find(resume_from_checkpoint, self.args) if resume_from_checkpoint else None
        if self.optimizer is not None and self._made_optimizer:
            self.accelerator.free_memory()  # forgets the optimizer of an earlier call
        self.train_dataloader = self.get_train_dataloader()
        length = length_of(self.train_dataloader)
        examples = None if length is None else self.num_examples(self.train_dataloader)
        plan = Plan.of(self.train_dataloader, examples, self.args, self.accelerator.num_processes)
        self.state = resumption.state if resumption else TrainerState()
        self.state.max_steps, self.state.num_train_epochs = plan.max_steps, plan.epochs
        self.state.train_batch_size = self.args.train_batch_size
        self.state.is_local_process_zero = self.is_local_process_zero()
        self.state.is_world_process_zero = self.is_world_process_zero()
        self.state.compute_steps(self.args, plan.max_steps)
        self._meter, self._position = LossMeter(), Position()
        if resumption:
            resumption.restore_model(self.model)
        if self.args.gradient_checkpointing:
            enable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
        model = self.prepared_model(training=True)
        self.optimizer = None if self._made_optimizer else self.optimizer
        self.lr_scheduler = None if self._made_scheduler else self.lr_scheduler
        # The first optimizer of a process imports torch's compiler, which takes seconds.
        with self.interrupts.put_off():
            self.create_optimizer_and_scheduler(plan.max_steps)
        if self.accelerator.scaler is not None or self.accelerator.num_processes > 1:
            # Otherwise the wrapper does nothing, and it takes half a millisecond a step for it.
            self.optimizer = self.accelerator.prepare_optimizer(self.optimizer)
        if resumption:
            self._meter, self._position = resumption.restore_progress(self, plan.updates_per_epoch)
            if self._position.ended:
                self._position.next_epoch()
            resumption.restore_generators()
        unfinished = resumption if resumption and self._position.batches else None
        self._meter.keep_all = not self.args.logging_nan_inf_filter
        self.is_in_train, self._ignore_keys, start = True, ignore_keys_for_eval, time.time()
        self.control.should_training_stop = False
        try:
            with self.interrupts.held():
                self.emit("on_train_begin")
                if self.args.eval_on_start and not resumption:
                    evaluate_in_train(self, self._ignore_keys)
                interrupted = self._loop(model, plan, unfinished)
                if interrupted and self.args.save_strategy != "no":
                    self._save_checkpoint()
                output = conclude(self, self._meter, plan, start, interrupted)
        except BaseException as error:
            explain_memory(error)
            self.emit("on_error", error=error)
            raise
        finally:
            self.is_in_train = False
            model.zero_grad(set_to_none=True)
        if interrupted:
            raise KeyboardInterrupt(interrupted_message(self))
        return output

    def _loop(self, model: nn.Module, plan: Plan, resumption: Resumption | None) -> bool:
        """All updates of a run; whether an interrupt ended it."""
        state, meter, position = self.state, self._meter, self._position
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        while position.epoch < plan.epochs and not self.control.should_training_stop:
            set_epoch(self.train_dataloader, position.epoch)
            self.control.should_epoch_stop = False
            for batches in self._updates(plan, resumption):
                self.control.should_save = self.control.should_evaluate = self.control.should_log = False
                self.emit("on_step_begin")
                items = self._count_items(batches)
                self.current_gradient_accumulation_steps = len(batches)
                total: Any = None
                for index, batch in enumerate(batches, start=1):
                    with nullcontext() if index == len(batches) else self.accelerator.no_sync(model):
                        loss = self._step(model, batch, items)
                    meter.add(loss, state.global_step)
                    total = loss if total is None else total + loss
                    if index < len(batches):
                        self.emit("on_substep_end")
                grad_norm = self._clip(parameters)
                self.emit("on_pre_optimizer_step")
                self.optimizer.step()
                self.emit("on_optimizer_step")
                learning_rate = self._learning_rate()
                self._step_schedule()
                for parameter in parameters:
                    parameter.grad = None
                state.global_step += 1
                position.updates += 1
                position.batches += len(batches)
                state.epoch = position.epoch + position.batches / plan.batches_per_epoch
                self.last_step = LastStep(total, grad_norm, learning_rate, batches)
                self.emit("on_step_end")
                if self.interrupts.requested or not self.log_evaluate_save():
                    return True
                if self.control.should_epoch_stop or self.control.should_training_stop:
                    break
            resumption = None
            if not position.updates:
                warnings.warn(
                    f"The training data gave no batch in this epoch, so training stops at step {state.global_step} of"
                    f" {plan.max_steps}.",
                    NotebookKitWarning,
                    stacklevel=3,
                )
                self.control.should_training_stop = True
            position.ended = True
            self.emit("on_epoch_end")
            if not self.log_evaluate_save():
                return True
            position.next_epoch()
        return self.interrupts.requested

    def _updates(self, plan: Plan, resumption: Resumption | None) -> Iterator[list[Any]]:
        """The batches of an epoch, those of one optimizer update together; after a resumption, those still to come."""
        self.emit("on_epoch_begin")
        if resumption is None:
            self._position.rng = rng_states()
            batches = iter(self.train_dataloader)
        else:
            batches = resumption.remaining_batches(self.train_dataloader, self._position, self.args.ignore_data_skip)
        while self.state.global_step < plan.max_steps:
            if not (group := list(itertools.islice(batches, self.args.gradient_accumulation_steps))):
                return
            yield group

    def training_step(
        self, model: nn.Module, inputs: Any, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Forward and backward of one batch.

        Args:
            model: The model as accelerate prepared it.
            inputs: The batch.
            num_items_in_batch: How many labels the batches of this update have, over all processes.

        Returns:
            The loss, detached, weighed so that those of an update sum up to its loss; a tensor without dimensions.
        """
        if not model.training:
            model.train()
        inputs = self._prepare_inputs(inputs)
        share = self._share(inputs, num_items_in_batch)
        if self._loss_takes_items:
            loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        else:
            loss = self.compute_loss(model, inputs)
        if loss.ndim:
            loss = loss.mean()
        if share is not None:
            loss = loss * share
        self.accelerator.backward(loss)
        return loss.detach()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of a batch, by default the one that the model returns. Older overrides without `num_items_in_batch`
        work too.

        Args:
            model: The model.
            inputs: The batch on the model's device.
            return_outputs: Also return the model's outputs.
            num_items_in_batch: How many labels the batches of this update have; None: divide by this batch's own.

        Returns:
            The loss, or the loss and the outputs.
        """
        smoothing = self.args.label_smoothing_factor
        labels = None
        if (smoothing or self.compute_loss_func is not None) and "labels" in inputs:
            inputs = dict(inputs)
            labels = inputs.pop("labels")
            prepare: Any = getattr(self.model, "prepare_decoder_input_ids_from_labels", None)
            if prepare is not None and "decoder_input_ids" not in inputs:
                inputs["decoder_input_ids"] = prepare(labels)
        passed = num_items_in_batch if self.traits.takes_items else None
        outputs = model(**inputs) if passed is None else model(**inputs, num_items_in_batch=passed)
        if self.compute_loss_func is not None:
            extra = {"num_items_in_batch": num_items_in_batch} if self._func_takes_items else {}
            loss = self.compute_loss_func(outputs, labels, **extra)
        elif labels is not None:
            logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
            loss = smoothed_loss(logits, labels, smoothing, self.traits.shifts_labels, passed)
        else:
            loss = loss_of(outputs, inputs, self.model)
        if num_items_in_batch is not None and self._loss_divides and self.accelerator.num_processes > 1:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    # --------------------------------------------------------------------------------------- evaluation, prediction

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss and metrics on a dataset; they are logged too.

        Args:
            eval_dataset: Instead of the Trainer's own; a dictionary of datasets, or a name in the Trainer's.
            ignore_keys: Outputs of the model to leave out of the predictions.
            metric_key_prefix: Begins the name of each metric.

        Returns:
            The metrics, with `eval_loss`, `eval_runtime` in seconds and the samples and steps a second.
        """
        dataset = eval_dataset if eval_dataset is not None else self.eval_dataset
        if isinstance(dataset, str) and isinstance(self.eval_dataset, Mapping) and dataset in self.eval_dataset:
            dataset, metric_key_prefix = self.eval_dataset[dataset], f"{metric_key_prefix}_{dataset}"
        if isinstance(dataset, Mapping):
            metrics: dict[str, float] = {}
            for name, part in dataset.items():
                metrics.update(self.evaluate(part, ignore_keys, f"{metric_key_prefix}_{name}"))
            return metrics
        output, _ = self._timed_pass(
            lambda: self.get_eval_dataloader(dataset), "Evaluation", ignore_keys, metric_key_prefix
        )
        self.log(output.metrics)
        self.emit("on_evaluate", metrics=output.metrics)
        return output.metrics

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """The model's outputs on a dataset, in its order; with labels, also metrics.

        Returns:
            Predictions (float array of shape (examples, ...), rows of unequal length padded with -100; a tuple if the
            model has several outputs), labels and metrics.
        """
        output, _ = self._timed_pass(
            lambda: self.get_test_dataloader(test_dataset), "Prediction", ignore_keys, metric_key_prefix
        )
        self.emit("on_predict", metrics=output.metrics)
        return PredictionOutput(output.predictions, output.label_ids, output.metrics)

    def _timed_pass(
        self, loader: Callable[[], Any], description: str, ignore_keys: list[str] | None, prefix: str
    ) -> tuple[EvalLoopOutput, float]:
        check_free(self, description.lower())
        start = time.time()
        loss_only = True if description == "Evaluation" and self.compute_metrics is None else None
        try:
            output = self.evaluation_loop(loader(), description, loss_only, ignore_keys, prefix)
        except BaseException as error:
            if not self.is_in_train:
                explain_memory(error)
                self.emit("on_error", error=error)
            raise
        steps = math.ceil(output.num_samples / (self.args.eval_batch_size * self.accelerator.num_processes))
        output.metrics.update(speed_metrics(prefix, start, output.num_samples, steps))
        return output, start

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """One pass over `dataloader` without learning. Results are kept on the CPU, in the dataset's order."""
        loss_only = self.args.prediction_loss_only if prediction_loss_only is None else prediction_loss_only
        return evaluation_pass(self, dataloader, loss_only, ignore_keys, metric_key_prefix)

    def prediction_step(
        self, model: nn.Module, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[torch.Tensor | None, Any, Any]:
        """Loss, logits and labels of a batch, each None if there is none or it is not wanted."""
        return predict_batch(self, model, self._prepare_inputs(inputs), prediction_loss_only, ignore_keys)

    # ------------------------------------------------------------------------------------- between the steps, helpers

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add `logs` to `state.log_history`, with the epoch and the step, and tell the callbacks."""
        logs["epoch"] = self.state.epoch
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.control.should_log = False
        self.emit("on_log", logs=logs)

    def log_evaluate_save(self) -> bool:
        """Do what `control` asks for after a step or an epoch; False if an interrupt broke into the evaluation."""
        if self.control.should_log and self.state.global_step > self._meter.logged_step:
            log_losses(self, self._meter, self.last_step)
        if self.control.should_evaluate:
            self.control.should_evaluate = False
            try:
                with self.interrupts.at_once():
                    better = evaluate_in_train(self, self._ignore_keys)
            except KeyboardInterrupt:
                if not self.interrupts.requested:
                    raise
                return False
            if self.args.save_strategy == "best":
                self.control.should_save = better
        if self.control.should_save:
            self._save_checkpoint()
        return True

    def _save_checkpoint(self, model: Any = None, trial: Any = None) -> None:
        save_checkpoint(self, self._meter, self._position)

    def _inspect_model(self) -> None:
        self.traits = ModelTraits.of(self.model, self.args.label_names)
        self.label_names = self.traits.label_names
        self._loss_takes_items = takes_name(self.compute_loss, "num_items_in_batch")
        self._step_takes_items = takes_name(self.training_step, "num_items_in_batch")
        self._func_takes_items = self.compute_loss_func is not None and takes_name(
            self.compute_loss_func, "num_items_in_batch"
        )
        # Whether the loss that comes back is already divided by all labels of an update.
        self._loss_divides = self._loss_takes_items and (self.traits.takes_items or self._func_takes_items)

    def _prepare_inputs(self, inputs: Any) -> dict[str, Any]:
        """The batch as keyword arguments, on the model's device."""
        return to_device(as_inputs(inputs), self.accelerator.device)

    def _step(self, model: nn.Module, inputs: Any, items: torch.Tensor | None) -> torch.Tensor:
        if self._step_takes_items:
            return self.training_step(model, inputs, items)
        return self.training_step(model, inputs)

    def _count_items(self, batches: list[Any]) -> torch.Tensor | None:
        """How many labels the batches of an update have, over all processes; None where it makes no difference."""
        together = self.accelerator.num_processes > 1
        if len(batches) == 1 and not together and not self._loss_divides:
            return None
        counts = [count_labels(batch, self.traits.shifts_labels) for batch in batches]
        if any(count is None for count in counts):
            return None
        total = torch.stack([count for count in counts if count is not None]).sum()
        return self.accelerator.gather(total.to(self.accelerator.device)).sum() if together else total

    def _share(self, inputs: dict[str, Any], items: torch.Tensor | int | None) -> torch.Tensor | float | None:
        """What a mean loss of this batch counts in its update: its part of the labels, so that batches of unequal size
        weigh what one large batch of them would give them. None: the loss is divided already, or there is no other."""
        if items is None:
            accumulated = self.current_gradient_accumulation_steps
            return 1 / accumulated if accumulated > 1 and not self._func_takes_items else None
        own = None if self._loss_divides else count_labels(inputs, self.traits.shifts_labels)
        return None if own is None else own / items * self.accelerator.num_processes
