"""The Trainer: its parts, and the methods that subclasses may override. `loop.py` trains, `evaluation.py` evaluates."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sized
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, Never, overload

import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler, SequentialSampler

from notebook_kit.errors import ConfigurationError, InputError, ListsNearMatches
from notebook_kit.files import as_path
from notebook_kit.keywords import switch
from notebook_kit.nn.inputs import ModelTraits, takes_name
from notebook_kit.training import (
    branching,
    checkpointing,
    checks,
    data,
    evaluation,
    inquiries,
    loaders,
    loop,
    model_card,
    model_files,
    profiling,
    publishing,
    reports,
    rows,
    run_folder,
    work,
)
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.background import BackgroundRun, check_free, one_run
from notebook_kit.training.callbacks import CallbackList
from notebook_kit.training.collators import DataCollatorWithPadding, default_data_collator
from notebook_kit.training.display import default_callbacks
from notebook_kit.training.distributed import Distributed
from notebook_kit.training.evaluation import EvalLoopOutput, EvalPrediction, PredictionOutput, TrainOutput
from notebook_kit.training.interrupts import Interrupts
from notebook_kit.training.optimization import make_scheduler, optimizer_class_and_options, parameter_groups
from notebook_kit.training.rate_finder import find_lr
from notebook_kit.training.recording import runs
from notebook_kit.training.search import hyperparameter_search
from notebook_kit.training.seeding import set_seed
from notebook_kit.training.state import Items, LastStep, TrainerControl, TrainerState
from notebook_kit.training.trackers import TrackersCallback
from notebook_kit.training.values import as_list

__all__ = ["Trainer"]


class Trainer(ListsNearMatches):
    """Fine-tunes and evaluates a model.

    Subclasses may override `get_train_dataloader`, `get_eval_dataloader`, `get_test_dataloader`, `create_optimizer`,
    `create_scheduler`, `compute_loss`, `training_step`, `prediction_step`, `evaluation_loop` and `log`.

    Args:
        model: A model of this library or of `transformers`, or any `torch.nn.Module` whose output has a field `loss` or
            begins with the loss.
        args: The training arguments.
        data_collator: Turns a list of examples into a batch; by default it pads them if there is a tokenizer, otherwise it
            stacks them.
        train_dataset, eval_dataset: A `datasets.Dataset`, a torch dataset, or a list of dictionaries. `eval_dataset` may
            also be a dictionary of datasets by name.
        processing_class: The tokenizer or other processor; saved with the model. `tokenizer=` is its older name.
        model_init: Creates a new model for each call of `train`; replaces `model`.
        compute_loss_func: `(outputs, labels, num_items_in_batch=None) -> loss`.
        compute_metrics: Turns an `EvalPrediction` into a dictionary of numbers.
        callbacks: One or more callbacks or their classes, in addition to the default ones.
        optimizers: An optimizer and a schedule; each may be None.
        optimizer_cls_and_kwargs: An optimizer class and its keyword arguments.
        preprocess_logits_for_metrics: `(logits, labels) -> logits`, called on the device before they are collected.

    Attributes:
        state: The progress of the run; `state.log_history` has every log.
        control: Requests of callbacks to the loop.
        last_step: Loss, gradient norm, learning rate and batches of the latest update; the first two are on the device.
        loop: The `TrainingLoop` of the run in progress, or None.
        distributed, accelerator: Devices and processes.

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
        callbacks: Any = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        tokenizer: Any = None,
        **unknown: Never,
    ) -> None:
        checks.check_names(unknown, Trainer)
        self.args = checks.checked_args(args)
        self.model_init = model_init
        self.data_collator: Any = data_collator
        self.compute_loss_func, self.compute_metrics = compute_loss_func, compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        checks.check_functions(self)
        self.processing_class = checks.checked_processor(processing_class, tokenizer)
        if self.args.log_level != "passive":
            logging.getLogger("notebook_kit").setLevel(self.args.get_process_log_level())
        set_seed(self.args.seed, self.args.full_determinism)
        self.distributed = Distributed(self.args)
        self.accelerator = self.distributed.accelerator
        self.set_model(checks.checked_model(model, model_init))
        if self.data_collator is None:
            pads = hasattr(self.processing_class, "pad")
            self.data_collator = DataCollatorWithPadding(self.processing_class) if pads else default_data_collator
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        if train_dataset is not None:
            data.check_dataset(train_dataset, "train_dataset")
        if eval_dataset is not None:
            data.check_eval_dataset(eval_dataset)
        self.optimizer, self.lr_scheduler = checks.checked_optimizers(optimizers)
        self.optimizer_cls_and_kwargs = optimizer_cls_and_kwargs
        self._creates_optimizer, self._creates_scheduler = self.optimizer is None, self.lr_scheduler is None
        self.branch_point: checkpointing.BranchPoint | None = None
        self.forget_run()
        given = as_list(callbacks)
        trackers = [TrackersCallback()] if self.args.report_to else []
        uploads = [publishing.PublishCallback()] if self.args.push_to_hub else []
        self.callback_handler = CallbackList(self, [*default_callbacks(self.args, given), *given, *trackers, *uploads])
        self.emit("on_init_end")

    def set_model(self, model: nn.Module) -> None:
        """Set the model to train, and inspect what it and the hooks accept."""
        self.model = model
        self._prepared: nn.Module | None = None
        self.distributed.place(model)
        self.traits = ModelTraits.of(model, self.args.label_names)
        self.label_names = self.traits.label_names
        hooks = ["training_step", "compute_loss", "compute_loss_func"]
        if type(self).compute_loss is Trainer.compute_loss and self.compute_loss_func is None:
            hooks.remove("compute_loss")  # the mean that models return needs no count
        self.item_takers = frozenset(
            hook for hook in hooks if (given := getattr(self, hook)) and takes_name(given, "num_items_in_batch")
        )

    def forget_run(self) -> None:
        """Set the state before the first run, without that of an earlier one."""
        self.train_dataloader: Any = None
        self.eval_dataloader: Any = None
        self.lengths = data.Lengths()
        self.interrupts = Interrupts()
        self.run_thread: threading.Thread | None = None
        self.loop: loop.TrainingLoop | None = None
        self.is_in_train = False
        self.current_gradient_accumulation_steps = 1
        self.last_step: LastStep | None = None
        self.control = TrainerControl()
        self.state = TrainerState(
            is_local_process_zero=self.is_local_process_zero(), is_world_process_zero=self.is_world_process_zero()
        )

    # ---------------------------------------------------------------------------------------------------- training

    @overload
    def train(
        self,
        resume_from_checkpoint: Any = None,
        trial: Any = None,
        ignore_keys_for_eval: Any = None,
        *,
        background: Literal[True],
    ) -> BackgroundRun: ...

    @overload
    def train(
        self,
        resume_from_checkpoint: Any = None,
        trial: Any = None,
        ignore_keys_for_eval: Any = None,
        background: Literal[False] = False,
    ) -> TrainOutput: ...

    def train(
        self,
        resume_from_checkpoint: Any = None,
        trial: Any = None,
        ignore_keys_for_eval: Any = None,
        background: bool = False,
    ) -> TrainOutput | BackgroundRun:
        """Train, from the start or from a checkpoint.

        On an interrupt (the stop button of a notebook, Ctrl-C) the update in progress finishes, a checkpoint is written
        unless `save_strategy="no"`, and KeyboardInterrupt is raised. The model keeps what it learned, and
        `train(resume_from_checkpoint=True)` continues as if there had been no interrupt. A second interrupt takes effect
        at once. SIGTERM does the same, and ends the process with the status 143. After an error, too, the last whole update
        is saved.

        Args:
            resume_from_checkpoint: The folder of a checkpoint, or True for the last one in `args.output_dir`. The run goes on
                with the optimizer as it was, also with its learning rate; `branch` changes them.
            trial: Passed to `model_init` if it takes an argument; `hyperparameter_search` passes its trials.
            ignore_keys_for_eval: Outputs of the model that evaluations leave out, one or more.
            background: Train on a background thread and return at once, so that a notebook can run its next cells;
                `await trainer.train(background=True)` waits while the kernel stays responsive.

        Returns:
            Updates done, mean loss over the updates of this call, and metrics; with `background`, a `BackgroundRun`.

        Raises:
            CheckpointError: if the checkpoint does not exist, is damaged or does not fit.
            ConfigurationError: if a run of this Trainer, or another one in its output folder, is in progress.
            NonFiniteLossError: if a loss or a gradient is NaN or infinite, unless `nan_policy` is "skip" or "ignore".
            KeyboardInterrupt: if the run was interrupted.
        """
        if switch("background", background):
            return BackgroundRun(self, lambda: self.train(resume_from_checkpoint, trial, ignore_keys_for_eval))
        with one_run(self), self._run_folder():
            # As in the constructor, so code run since then has no influence.
            set_seed(self.args.seed, self.args.full_determinism)
            if self.model_init is not None:
                self.set_model(checks.call_model_init(self.model_init, trial))
            if type(self).compute_loss is Trainer.compute_loss and self.compute_loss_func is None:
                checks.check_head(self.model)
            checks.align_special_tokens(self.model, self._processor)
            checkpoint = None
            if switch("resume_from_checkpoint", resume_from_checkpoint) or self.branch_point is not None:
                checkpoint = checkpointing.Resumption.find(resume_from_checkpoint, self.args, self.branch_point)
            elif self.args.save_strategy != "no" and self.is_world_process_zero():
                checkpointing.note_used_folder(self.args.output_dir or "")
            return loop.TrainingLoop(self, checkpoint, ignore_keys=ignore_keys_for_eval).run()

    def _run_folder(self) -> AbstractContextManager[None]:
        """Keeps other runs out of the output folder, if this one saves there."""
        saves = self.args.save_strategy != "no" and self.is_world_process_zero()
        return run_folder.only_run(self.args.output_dir or "") if saves else nullcontext()

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Items = None) -> torch.Tensor:
        """Forward and backward of one batch.

        The loss of an update is the mean over all its labels, however they are split into batches: the mean loss of each
        batch is weighted here by the batch's share of the labels (of the examples, if there are no labels).

        Args:
            model: The model as accelerate prepared it.
            inputs: The batch.
            num_items_in_batch: The number of labels in all batches of this update, over all processes.

        Returns:
            The detached weighted loss, a scalar tensor; those of an update sum to the loss of the update.
        """
        if not model.training:
            model.train()
        return loop.training_step(self, model, self._prepare_inputs(inputs), num_items_in_batch)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Items = None
    ) -> Any:
        """The mean loss of a batch, by default the one that the model returns.

        An override may return the mean over the labels of its batch or divide their sum by `num_items_in_batch`, and need
        not take that argument. In both cases gradient accumulation gives the same result as one large batch.

        Args:
            model: The model.
            inputs: The batch on the model's device.
            return_outputs: Also return the model's outputs.
            num_items_in_batch: What to divide the sum of the losses by; the Trainer passes the number of labels in this
                batch. None: that number too.

        Returns:
            The loss, or the loss and the outputs.
        """
        loss, outputs = loop.compute_loss(self, model, inputs, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def compute_loss_context_manager(self) -> AbstractContextManager[None]:
        """A context for `compute_loss` in overrides of `training_step`. Mixed precision needs none: the model sets it."""
        return nullcontext()

    floating_point_ops = work.floating_point_ops

    def _prepare_inputs(self, inputs: Any) -> dict[str, Any]:
        """The batch as keyword arguments, on the model's device."""
        return self.distributed.to_device(inputs)

    # --------------------------------------------------------------------------------------- evaluation, prediction

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss and metrics on a dataset; they are logged too.

        Args:
            eval_dataset: Replaces the Trainer's own: a dataset, a dictionary of datasets, or a key of the Trainer's dictionary.
                The metrics of a dictionary have the name of their dataset after the prefix.
            ignore_keys: Outputs of the model to leave out of the predictions, one or more.
            metric_key_prefix: The prefix of each metric's name.

        Returns:
            The metrics, with `eval_loss`, `eval_runtime` in seconds, and samples and steps per second.
        """
        dataset = evaluation.named_dataset(self.eval_dataset, eval_dataset)
        if isinstance(dataset, Mapping):
            data.check_eval_dataset(dataset)
            metrics: dict[str, float] = {}
            for name, part in dataset.items():
                metrics.update(self.evaluate(part, ignore_keys, f"{metric_key_prefix}_{name}"))
            return metrics
        check_free(self, "evaluation")
        make = partial(self.get_eval_dataloader, dataset)
        output = evaluation.timed_pass(self, make, "Evaluation", ignore_keys, metric_key_prefix)
        self.log(metrics := dict(output.metrics))
        measured = {**output.metrics, "epoch": self.state.epoch}
        self.emit("on_evaluate", metrics=metrics)
        return measured  # whatever callbacks did to `metrics`

    def predict(self, test_dataset: Any, ignore_keys: Any = None, metric_key_prefix: str = "test") -> PredictionOutput:
        """The model's outputs on a dataset, in the dataset's order, and metrics if it has labels.

        Returns:
            Predictions (float array of shape (examples, ...), rows of unequal length padded with -100; a tuple if the
            model has several outputs), labels and metrics.
        """
        check_free(self, "prediction")
        make = partial(self.get_test_dataloader, test_dataset)
        output = evaluation.timed_pass(self, make, "Prediction", ignore_keys, metric_key_prefix)
        self.emit("on_predict", metrics=output.metrics)
        return PredictionOutput(output.predictions, output.label_ids, output.metrics)

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: Any = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """One pass over `dataloader` without training. Results are kept on the CPU, in the dataset's order."""
        loss_only = self.args.prediction_loss_only if prediction_loss_only is None else prediction_loss_only
        return evaluation.evaluation_pass(self, dataloader, description, loss_only, ignore_keys, metric_key_prefix)

    def prediction_step(
        self, model: nn.Module, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor | None, Any, Any]:
        """Loss, logits and labels of a batch, each None if absent or not requested."""
        return evaluation.predict_batch(self, model, self._prepare_inputs(inputs), prediction_loss_only, ignore_keys)

    # ------------------------------------------------------------------------------------------------- data loaders

    def get_train_dataloader(self) -> DataLoader:
        """The batches to train on."""
        if self.train_dataset is None:
            raise InputError("Trainer.train needs a train_dataset.", next_step="Pass train_dataset= to the Trainer.")
        return self._loader(self.train_dataset, "train_dataset", self.args.train_batch_size, training=True)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """The batches to evaluate on."""
        dataset = evaluation.named_dataset(self.eval_dataset, eval_dataset)
        if dataset is None:
            raise InputError(
                "The Trainer has no dataset to evaluate on.",
                next_step="Pass eval_dataset= to the Trainer or to evaluate(), or leave eval_strategy at 'no'.",
            )
        return self._loader(dataset, "eval_dataset", self.args.eval_batch_size)

    def can_evaluate(self) -> bool:
        """Whether the Trainer has a dataset to evaluate on."""
        return self.eval_dataset is not None or type(self).get_eval_dataloader is not Trainer.get_eval_dataloader

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """The batches to predict."""
        return self._loader(test_dataset, "test_dataset", self.args.eval_batch_size)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        # Subclasses written for transformers override this method.
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        return data.default_sampler(dataset, self.args) if isinstance(dataset, Sized) else None

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler | None:
        # Subclasses written for transformers override this method.
        return SequentialSampler(eval_dataset) if isinstance(eval_dataset, Sized) else None

    def _loader(self, dataset: Any, role: str, batch_size: int, training: bool = False) -> DataLoader:
        data.check_dataset(dataset, role)
        hook = "_get_train_sampler" if training else "_get_eval_sampler"
        overridden = getattr(type(self), hook) is not getattr(Trainer, hook)
        sampler = data.sampler_from(getattr(self, hook), dataset) if overridden else None
        return loaders.loader_of(self, dataset, role, batch_size, training, sampler)

    def num_examples(self, dataloader: Any) -> int:
        """The number of examples in a loader."""
        dataset = getattr(dataloader, "dataset", None)
        return len(dataset) if isinstance(dataset, Sized) else len(dataloader) * self.args.train_batch_size

    # ------------------------------------------------------------------------------------------ optimizer, schedule

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Create the optimizer and the schedule, unless they were passed to the Trainer."""
        self.create_optimizer()
        self.create_scheduler(num_training_steps=num_training_steps, optimizer=self.optimizer)

    def create_optimizer(self) -> torch.optim.Optimizer:
        """Create the optimizer, unless one exists. Weight decay does not apply to biases and normalizations."""
        if self.optimizer is None:
            kind, options = self.optimizer_cls_and_kwargs or optimizer_class_and_options(self.args)
            self.optimizer = kind(parameter_groups(self.model, self.args.weight_decay), **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """Create the learning rate schedule, unless one exists."""
        if self.lr_scheduler is None:
            optimizer = optimizer if optimizer is not None else self.optimizer
            self.lr_scheduler = make_scheduler(self.args, optimizer, num_training_steps)
        return self.lr_scheduler

    def discard_optimizer(self) -> None:
        """Release the optimizer and the schedule of an earlier run, unless they were passed to the Trainer."""
        if self._creates_optimizer and self.optimizer is not None:
            self.accelerator.free_memory()
            self.optimizer = None
        if self._creates_scheduler:
            self.lr_scheduler = None

    def prepared_model(self, training: bool) -> nn.Module:
        """The model as accelerate wraps it: on its device, with mixed precision, data-parallel."""
        if self._prepared is None or not self.distributed.is_wrapped(self.model):
            # accelerate imports torch's distributed tensors, which takes seconds and must not be interrupted.
            with self.interrupts.put_off():
                model = self.distributed.wrap(self.model, training)
            if not training and self.distributed.world_size > 1:
                return model
            self._prepared = model
        return self._prepared

    @property
    def has_given_optimizer(self) -> bool:
        """Whether an optimizer or a schedule was passed to the Trainer."""
        return not (self._creates_optimizer and self._creates_scheduler)

    @property
    def model_wrapped(self) -> nn.Module:
        """The model as it is called in training."""
        return self._prepared if self._prepared is not None else self.model

    # ------------------------------------------------------------------------------------------- logs and checkpoints

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add `logs` to `state.log_history`, with the epoch and the step, and call the callbacks."""
        if not isinstance(logs, dict):
            raise InputError(f"The logs are {logs!r:.80}.", next_step='Pass a dictionary, such as {"accuracy": 0.9}.')
        logs["epoch"] = self.state.epoch
        if self.args.include_num_input_tokens_seen != "no":
            logs["num_input_tokens_seen"] = self.state.num_input_tokens_seen
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.control.should_log = False
        self.emit("on_log", logs=logs)

    def save_checkpoint(self) -> None:
        """Write `checkpoint-N` of the run in progress to the output folder.

        Raises:
            ConfigurationError: if no run is in progress.
        """
        self._save_checkpoint(self.model, None)

    def _save_checkpoint(self, model: Any = None, trial: Any = None) -> None:
        # Subclasses written for transformers override this method.
        if self.loop is None:
            raise ConfigurationError(
                "A checkpoint holds the progress of a run, and no run is in progress.",
                next_step="Write the model alone with save_model.",
            )
        self.loop.save()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model, the tokenizer and the arguments, for `from_pretrained`, and a draft of a model card with the
        results of the run; a `README.md` that you have edited stays.
        """
        model, weights = self.distributed.model_to_save(self.model)
        if model is None:
            return
        folder = as_path(output_dir or self.args.output_dir or "", "output_dir")
        model_files.save_model_files(model, folder, weights)
        self.save_processor(folder)
        if not _internal_call:
            model_card.update_model_card(self, folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save")

    def save_processor(self, folder: Path) -> None:
        """Write the tokenizer or other processor and the arguments, which belong to the model's files."""
        if hasattr(self._processor, "save_pretrained"):
            self._processor.save_pretrained(str(folder))
        self.args.save(folder / checkpointing.ARGUMENTS)

    @property
    def overrides_save(self) -> bool:
        """Whether a subclass has its own `save_model`."""
        return type(self).save_model is not Trainer.save_model

    @property
    def _processor(self) -> Any:
        """The processor that belongs to the model: if none was given, that of the collator."""
        own = self.processing_class
        return own if own is not None else getattr(self.data_collator, "tokenizer", None)

    metrics_format = staticmethod(reports.metrics_format)
    log_metrics, save_metrics, save_state = reports.log_metrics, reports.save_metrics, reports.save_state
    create_model_card, hyperparameter_search = model_card.create_model_card, hyperparameter_search
    rows_at, measured_rows, compare = rows.rows_at, rows.measured_rows, runs.compare
    find_lr, profile, estimate, branch = find_lr, profiling.profile, profiling.estimate, branching.branch
    call_model_init, get_num_trainable_parameters = inquiries.call_model_init, inquiries.get_num_trainable_parameters
    get_decay_parameter_names, get_learning_rates = inquiries.get_decay_parameter_names, inquiries.get_learning_rates
    get_optimizer_group = inquiries.get_optimizer_group
    get_total_train_batch_size = inquiries.get_total_train_batch_size
    get_optimizer_cls_and_kwargs = staticmethod(inquiries.get_optimizer_cls_and_kwargs)

    def push_to_hub(
        self,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: Any = None,
        revision: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Write the model and upload it to the Hub as `args.hub_model_id`, or under the output folder's name.

        Args:
            commit_message, token, revision: Of the upload.
            blocking: Whether to wait for it.
            kwargs: Arguments of `create_model_card`, for the card that is uploaded.

        Returns:
            The Hub's response, or with `blocking=False` its future; None on processes that do not write files.
        """
        if not self.is_world_process_zero():
            return None
        return publishing.push_to_hub(self, commit_message, blocking, token, revision, kwargs)

    # ------------------------------------------------------------------------------------------ callbacks, processes

    @property
    def callbacks(self) -> list[Any]:
        """The callbacks, in the order in which they are called."""
        return self.callback_handler.callbacks

    def add_callback(self, callback: Any) -> None:
        """Add a callback, given as an instance or a class."""
        self.callback_handler.add(callback)

    def pop_callback(self, callback: Any) -> Any:
        """Remove a callback, or the first of a class, and return it; None if it is not found."""
        return self.callback_handler.pop(callback)

    def remove_callback(self, callback: Any) -> None:
        """Remove a callback, or the first of a class."""
        self.callback_handler.pop(callback)

    def emit(self, event: str, **kwargs: Any) -> None:
        """Call the callbacks that listen to an event."""
        self.callback_handler.call(event, **kwargs)

    def is_local_process_zero(self) -> bool:
        """Whether this is the first process of its machine."""
        return self.accelerator.is_local_main_process

    def is_world_process_zero(self) -> bool:
        """Whether this is the first of all processes."""
        return self.distributed.is_main
