"""The parts of a Trainer that its loop uses and that a subclass may replace: data, optimizer, schedule, files, callbacks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from notebook_kit.errors import InputError
from notebook_kit.training import checkpointing
from notebook_kit.training.data import check_dataset, fit_columns, lengths_for_grouping, make_loader
from notebook_kit.training.optimization import get_scheduler, optimizer_class_and_options, parameter_groups

if TYPE_CHECKING:
    from accelerate import Accelerator

    from notebook_kit.training.arguments import TrainingArguments
    from notebook_kit.training.callbacks import CallbackList
    from notebook_kit.training.state import TrainerControl, TrainerState


class TrainerParts:
    """What `Trainer` is made of beside its loop and its evaluation."""

    args: TrainingArguments
    accelerator: Accelerator
    model: nn.Module
    processing_class: Any
    data_collator: Callable[[list[Any]], Any]
    train_dataset: Any
    eval_dataset: Any
    label_names: list[str]
    optimizer: Any
    lr_scheduler: Any
    optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None
    callback_handler: CallbackList
    state: TrainerState
    control: TrainerControl
    _lengths: dict[int, tuple[Any, Any]]
    _prepared: nn.Module | None

    # ------------------------------------------------------------------------------------------------- data loaders

    def get_train_dataloader(self) -> DataLoader:
        """The batches to train on."""
        if self.train_dataset is None:
            raise InputError("Trainer.train needs a train_dataset.", next_step="Pass train_dataset= to the Trainer.")
        return self._loader(self.train_dataset, "train_dataset", self.args.train_batch_size, training=True)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """The batches to evaluate on."""
        dataset = eval_dataset if eval_dataset is not None else self.eval_dataset
        if dataset is None:
            raise InputError(
                "There is nothing to evaluate on.",
                next_step="Pass eval_dataset= to the Trainer or to evaluate(), or leave eval_strategy at 'no'.",
            )
        return self._loader(dataset, "eval_dataset", self.args.eval_batch_size)

    def can_evaluate(self) -> bool:
        """Whether there is something to evaluate on."""
        return self.eval_dataset is not None or type(self).get_eval_dataloader is not TrainerParts.get_eval_dataloader

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """The batches to predict."""
        return self._loader(test_dataset, "test_dataset", self.args.eval_batch_size)

    def _loader(self, dataset: Any, role: str, batch_size: int, training: bool = False) -> DataLoader:
        check_dataset(dataset, role)
        main_input = getattr(self.model, "main_input_name", "input_ids")
        if id(dataset) not in self._lengths:
            self._lengths[id(dataset)] = (dataset, lengths_for_grouping(dataset, self.args, main_input))
        lengths, collator, together = self._lengths[id(dataset)][1], self.data_collator, self.accelerator.num_processes
        if self.args.remove_unused_columns:
            dataset, collator = fit_columns(dataset, collator, self.model, self.label_names, role)
        device = self.accelerator.device.type
        loader = make_loader(
            dataset, collator, self.args, device, batch_size, training=training, lengths=lengths, world_size=together
        )
        # One process needs none of what accelerate's loader adds, and it would read one batch ahead.
        return self.accelerator.prepare(loader) if together > 1 else loader

    def num_examples(self, dataloader: Any) -> int:
        """How many examples a loader gives."""
        dataset = getattr(dataloader, "dataset", None)
        return len(dataset) if isinstance(dataset, Sized) else len(dataloader) * self.args.train_batch_size

    # ------------------------------------------------------------------------------------------ optimizer, schedule

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Make the optimizer and the schedule, unless they were given."""
        self.create_optimizer()
        self.create_scheduler(num_training_steps=num_training_steps, optimizer=self.optimizer)

    def create_optimizer(self) -> torch.optim.Optimizer:
        """Make the optimizer, unless one was given: weight decay spares biases and normalizations."""
        if self.optimizer is None:
            kind, options = self.optimizer_cls_and_kwargs or optimizer_class_and_options(self.args)
            self.optimizer = kind(parameter_groups(self.model, self.args.weight_decay), **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """Make the learning rate's schedule, unless one was given."""
        if self.lr_scheduler is None:
            args = self.args
            options = dict(args.lr_scheduler_kwargs or {})
            if args.lr_scheduler_type == "reduce_lr_on_plateau":
                options.setdefault("mode", "max" if args.greater_is_better else "min")
            self.lr_scheduler = get_scheduler(
                args.lr_scheduler_type,
                optimizer if optimizer is not None else self.optimizer,
                args.get_warmup_steps(num_training_steps),
                num_training_steps,
                options,
            )
        return self.lr_scheduler

    def _learning_rate(self) -> float:
        if isinstance(self.lr_scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            return float(self.optimizer.param_groups[0]["lr"])
        return float(self.lr_scheduler.get_last_lr()[0])

    def _step_schedule(self) -> None:
        skipped = getattr(self.optimizer, "step_was_skipped", False)
        if not skipped and not isinstance(self.lr_scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.lr_scheduler.step()

    def _clip(self, parameters: list[nn.Parameter]) -> Any:
        """Scale the gradients down to `max_grad_norm`; their norm before, still on the device."""
        if self.args.max_grad_norm > 0:
            return self.accelerator.clip_grad_norm_(parameters, self.args.max_grad_norm)
        self.accelerator.unscale_gradients()
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    # -------------------------------------------------------------------------------------------------- model, files

    def prepared_model(self, training: bool) -> nn.Module:
        """The model as accelerate wraps it: on its device, with mixed precision, data-parallel."""
        if self._prepared is None:
            model = self.accelerator.prepare_model(self.model, evaluation_mode=not training)
            if not training and self.accelerator.num_processes > 1:
                return model
            self._prepared = model
        return self._prepared

    @property
    def model_wrapped(self) -> nn.Module:
        """The model as it is called in training."""
        return self._prepared if self._prepared is not None else self.model

    def _place_model(self) -> None:
        # A model that was loaded over several devices stays there.
        if getattr(self.model, "hf_device_map", None) is None:
            self.model.to(self.accelerator.device)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model, the tokenizer and the arguments, ready for `from_pretrained`."""
        if not self.is_world_process_zero():
            return
        folder = Path(output_dir or self.args.output_dir or "")
        folder.mkdir(parents=True, exist_ok=True)
        checkpointing.save_model_files(self.accelerator.unwrap_model(self.model), folder)
        if hasattr(self.processing_class, "save_pretrained"):
            self.processing_class.save_pretrained(str(folder))
        self.args.save(folder / checkpointing.ARGUMENTS)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save")

    def save_state(self) -> None:
        """Write `trainer_state.json` into the output folder."""
        if self.is_world_process_zero():
            folder = Path(self.args.output_dir or "")
            folder.mkdir(parents=True, exist_ok=True)
            self.state.save_to_json(folder / checkpointing.STATE)

    def push_to_hub(
        self,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Write the model and upload it to the Hub as `args.hub_model_id`, or under the output folder's name.

        Returns:
            What the Hub answers; None on processes that write nothing.
        """
        if not self.is_world_process_zero():
            return None
        from notebook_kit.hub import push_folder

        args = self.args
        # The output folder also holds checkpoints with the optimizer's state, which are not for others.
        with tempfile.TemporaryDirectory() as folder:
            self.save_model(folder, _internal_call=True)
            return push_folder(
                folder,
                args.hub_model_id or Path(args.output_dir or "").resolve().name,
                token=token or args.hub_token,
                private=args.hub_private_repo,
                commit_message=commit_message,
                revision=revision or args.hub_revision,
            )

    # ----------------------------------------------------------------------------------------------------- callbacks

    @property
    def callbacks(self) -> list[Any]:
        """The callbacks, in the order in which they are called."""
        return self.callback_handler.callbacks

    def add_callback(self, callback: Any) -> None:
        """Add a callback or an instance of a callback class."""
        self.callback_handler.add(callback)

    def pop_callback(self, callback: Any) -> Any:
        """Take out a callback, or the first of a class, and return it; None if there is none."""
        return self.callback_handler.pop(callback)

    def remove_callback(self, callback: Any) -> None:
        """Take out a callback, or the first of a class."""
        self.callback_handler.pop(callback)

    def emit(self, event: str, **kwargs: Any) -> None:
        """Tell the callbacks of an event."""
        self.callback_handler.call(event, **kwargs)

    # ------------------------------------------------------------------------------------------------------ processes

    def is_local_process_zero(self) -> bool:
        """Whether this is the first process of its machine."""
        return self.accelerator.is_local_main_process

    def is_world_process_zero(self) -> bool:
        """Whether this is the first of all processes."""
        return self.accelerator.is_main_process
