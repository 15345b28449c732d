"""The methods of TrainingArguments that set several related values at once, as scripts for `transformers` do."""

from __future__ import annotations

from typing import Any, Self

__all__ = ["ArgumentSetters"]


class ArgumentSetters:
    """The methods `set_...` of TrainingArguments. Each returns the arguments, so that calls can be chained."""

    eval_strategy: str
    do_eval: bool

    def check_values(self) -> None:
        raise NotImplementedError

    def _set(self, values: dict[str, Any]) -> Self:
        """Set values and check their types; if one is wrong, none is set. The Trainer checks what they mean together."""
        former = {name: getattr(self, name) for name in values}
        try:
            vars(self).update(values)
            self.check_values()
        except Exception:
            vars(self).update(former)
            raise
        return self

    def set_training(
        self,
        learning_rate: float = 5e-5,
        batch_size: int = 8,
        weight_decay: float = 0.0,
        num_epochs: float = 3,
        max_steps: int = -1,
        gradient_accumulation_steps: int = 1,
        seed: int = 42,
        activation_checkpointing: bool = False,
        gradient_checkpointing: bool | None = None,
    ) -> Self:
        """Set what a run needs most, and `do_train`.

        Example:
            >>> from notebook_kit import TrainingArguments
            >>> args = TrainingArguments("out").set_training(learning_rate=1e-4, batch_size=32).set_evaluate("epoch")
            >>> args.learning_rate, args.per_device_train_batch_size, args.eval_strategy
            (0.0001, 32, 'epoch')
        """
        recomputes = activation_checkpointing if gradient_checkpointing is None else gradient_checkpointing
        return self._set(
            {
                "do_train": True,
                "learning_rate": learning_rate,
                "per_device_train_batch_size": batch_size,
                "weight_decay": weight_decay,
                "num_train_epochs": num_epochs,
                "max_steps": max_steps,
                "gradient_accumulation_steps": gradient_accumulation_steps,
                "seed": seed,
                "gradient_checkpointing": recomputes,
            },
        )

    def set_evaluate(
        self,
        strategy: str = "no",
        steps: float = 500,
        batch_size: int = 8,
        accumulation_steps: int | None = None,
        delay: float | None = None,
        loss_only: bool = False,
    ) -> Self:
        """Set when and how the model is evaluated. `accumulation_steps` has no effect: results move to main memory at once."""
        self._set(
            {
                "eval_strategy": strategy,
                "eval_steps": steps,
                "per_device_eval_batch_size": batch_size,
                "eval_delay": delay or 0,
                "prediction_loss_only": loss_only,
            },
        )
        self.do_eval = self.eval_strategy != "no"
        return self

    def set_testing(self, batch_size: int = 8, loss_only: bool = False) -> Self:
        """Set how predictions are made, and `do_predict`."""
        return self._set(
            {"do_predict": True, "per_device_eval_batch_size": batch_size, "prediction_loss_only": loss_only}
        )

    def set_save(
        self,
        strategy: str = "steps",
        steps: float = 500,
        total_limit: int | None = None,
        on_each_node: bool = False,
    ) -> Self:
        """Set when checkpoints are written, and how many are kept. `on_each_node` has no effect."""
        return self._set({"save_strategy": strategy, "save_steps": steps, "save_total_limit": total_limit})

    def set_logging(
        self,
        strategy: str = "steps",
        steps: float = 500,
        report_to: str | list[str] = "none",
        level: str = "passive",
        first_step: bool = False,
        nan_inf_filter: bool = False,
        on_each_node: bool = False,
        replica_level: str = "passive",
    ) -> Self:
        """Set when and where the loss is logged. `on_each_node` has no effect: the first process of each machine logs."""
        return self._set(
            {
                "logging_strategy": strategy,
                "logging_steps": steps,
                "report_to": report_to,
                "log_level": level,
                "logging_first_step": first_step,
                "logging_nan_inf_filter": nan_inf_filter,
                "log_level_replica": replica_level,
            },
        )

    def set_push_to_hub(
        self,
        model_id: str,
        strategy: str = "every_save",
        token: str | None = None,
        private_repo: bool | None = None,
        always_push: bool = False,
        revision: str | None = None,
    ) -> Self:
        """Upload the model to the Hub, as `model_id`."""
        return self._set(
            {
                "push_to_hub": True,
                "hub_model_id": model_id,
                "hub_strategy": strategy,
                "hub_token": token,
                "hub_private_repo": private_repo,
                "hub_always_push": always_push,
                "hub_revision": revision,
            },
        )

    def set_optimizer(
        self,
        name: str = "adamw_torch",
        learning_rate: float = 5e-5,
        weight_decay: float = 0.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        args: str | None = None,
    ) -> Self:
        """Set the optimizer and its options."""
        return self._set(
            {
                "optim": name,
                "learning_rate": learning_rate,
                "weight_decay": weight_decay,
                "adam_beta1": beta1,
                "adam_beta2": beta2,
                "adam_epsilon": epsilon,
                "optim_args": args,
            },
        )

    def set_lr_scheduler(
        self,
        name: str = "linear",
        num_epochs: float = 3.0,
        max_steps: int = -1,
        warmup_steps: float = 0,
        warmup_ratio: float | None = None,
    ) -> Self:
        """Set the learning rate schedule and the length of the run. `warmup_ratio` is used if `warmup_steps` is 0."""
        return self._set(
            {
                "lr_scheduler_type": name,
                "num_train_epochs": num_epochs,
                "max_steps": max_steps,
                "warmup_steps": warmup_steps or warmup_ratio or 0,
            },
        )

    def set_dataloader(
        self,
        train_batch_size: int = 8,
        eval_batch_size: int = 8,
        drop_last: bool = False,
        num_workers: int = 0,
        pin_memory: bool = True,
        persistent_workers: bool = False,
        prefetch_factor: int | None = None,
        multiprocessing_context: str | None = None,
        in_order: bool = True,
        auto_find_batch_size: bool = False,
        ignore_data_skip: bool = False,
        sampler_seed: int | None = None,
    ) -> Self:
        """Set the batch sizes and the options of torch's DataLoader; `sampler_seed` is the `data_seed`."""
        return self._set(
            {
                "per_device_train_batch_size": train_batch_size,
                "per_device_eval_batch_size": eval_batch_size,
                "dataloader_drop_last": drop_last,
                "dataloader_num_workers": num_workers,
                "dataloader_pin_memory": pin_memory,
                "dataloader_persistent_workers": persistent_workers,
                "dataloader_prefetch_factor": prefetch_factor,
                "dataloader_multiprocessing_context": multiprocessing_context,
                "dataloader_in_order": in_order,
                "auto_find_batch_size": auto_find_batch_size,
                "ignore_data_skip": ignore_data_skip,
                "data_seed": sampler_seed,
            },
        )
