"""TrainingArguments: all settings of a run, in current spelling or that of older notebooks."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from notebook_kit.errors import ConfigurationError, near_matches, notice
from notebook_kit.files import read_json
from notebook_kit.training.legacy_arguments import (
    OLDER_NAMES,
    WITHOUT_EFFECT,
    legacy_value,
    modern,
    refuse_optimizer,
)
from notebook_kit.training.setters import ArgumentSetters
from notebook_kit.training.tracker_names import trackers_named
from notebook_kit.training.values import typed
from notebook_kit.utils.arguments import HfArgumentParser
from notebook_kit.utils.choices import OptimizerNames, SchedulerType

if TYPE_CHECKING:
    import torch

__all__ = ["TrainingArguments"]

_CHOICES = {
    "eval_strategy": ("no", "steps", "epoch"),
    "logging_strategy": ("no", "steps", "epoch"),
    "save_strategy": ("no", "steps", "epoch", "best"),
    "hub_strategy": ("end", "every_save", "checkpoint", "all_checkpoints"),
    "train_sampling_strategy": ("group_by_length", "random", "sequential"),
    "nan_policy": ("stop", "skip", "ignore"),
    "include_num_input_tokens_seen": ("no", "all", "non_padding"),
    "log_level": ("passive", "debug", "info", "warning", "error", "critical"),
    "log_level_replica": ("passive", "debug", "info", "warning", "error", "critical"),
    "lr_scheduler_type": tuple(kind.value for kind in SchedulerType),
    "optim": tuple(kind.value for kind in OptimizerNames),
}
# Settings that need evaluations.
_FOLLOWS_EVALUATIONS = (
    ("lr_scheduler_type", "reduce_lr_on_plateau"),
    ("lr_scheduler_type", "greedy"),
    ("save_strategy", "best"),
)


class ParallelMode(StrEnum):
    """How a Trainer trains: on one device, or in several processes."""

    NOT_PARALLEL = "not_parallel"
    DISTRIBUTED = "distributed"


@dataclass(repr=False)
class TrainingArguments(ArgumentSetters):
    """The settings of a run, with the names and defaults of the `transformers` Trainer, except for one default:
    `train_sampling_strategy="group_by_length"` shuffles among examples of similar lengths, which saves padding.

    The spellings of older notebooks are accepted too: `evaluation_strategy`, `no_cuda`, `warmup_ratio`, `group_by_length`,
    `per_gpu_train_batch_size`, `logging_dir`, `overwrite_output_dir` and others.

    Attributes:
        output_dir: Folder for checkpoints and the saved model.
        do_train, do_eval, do_predict: For scripts, which may read them; the Trainer does not.
        per_device_train_batch_size, per_device_eval_batch_size: Examples per batch on each device.
        auto_find_batch_size: Compute the gradient of a training batch that does not fit into memory in parts: the run goes on
            with the same batches and, apart from dropout, the same result.
        gradient_accumulation_steps: Batches per optimizer update.
        num_train_epochs: Passes over the training data; may be fractional.
        max_steps: Optimizer updates; if positive, it overrides `num_train_epochs`.
        learning_rate: The peak of the schedule.
        lr_scheduler_type, lr_scheduler_kwargs: A name that `get_scheduler` takes, and further options of the schedule.
        warmup_steps: Updates during which the learning rate rises linearly; below 1: a fraction of all updates.
        optim, optim_args: adamw_torch_fused, adamw_torch, adafactor, sgd, ...; those with 8 or 4 bits, and lion and ademamix,
            need bitsandbytes or torchao. Further options as "name=value,...".
        weight_decay: Not applied to biases and normalizations.
        adam_beta1, adam_beta2, adam_epsilon: Options of Adam's variants.
        max_grad_norm: Gradients are scaled down to this norm; 0: no clipping.
        nan_policy: What to do about an update whose loss or gradient is NaN or infinite: "stop" raises an error that names
            its examples, "skip" leaves the update out, "ignore" makes it, which usually ruins the weights. The first two
            compare a number after each backward pass, for which they wait for the device.
        label_smoothing_factor: The part of the target that is spread over all labels.
        neftune_noise_alpha: Add uniform noise to token embeddings in training (NEFTune, arXiv:2310.05914), usually 5 to 15.
        bf16, fp16: Mixed precision.
        bf16_full_eval, fp16_full_eval: Evaluate with weights of this precision.
        tf32: Whether NVIDIA GPUs may multiply float32 matrices in TF32; None leaves torch's setting.
        gradient_checkpointing, gradient_checkpointing_kwargs: Recompute activations in the backward pass, to save memory.
        torch_compile, torch_compile_backend, torch_compile_mode: Compile the model with `torch.compile`.
        torch_empty_cache_steps: Every so many updates, release memory that the device's allocator keeps but does not use.
        logging_strategy, logging_steps, logging_first_step: When the loss is logged.
        logging_nan_inf_filter: Leave NaN and infinite losses out of the logged loss.
        include_num_input_tokens_seen: Log the number of tokens trained on: "all", "non_padding" or "no".
        log_level, log_level_replica: The level of this library's messages; "passive" leaves it as it is.
        eval_strategy, eval_steps, eval_delay, eval_on_start: When the model is evaluated.
        prediction_loss_only: Evaluations and predictions return only the loss.
        include_for_metrics: What `compute_metrics` gets too: "inputs", "loss".
        batch_eval_metrics: Call `compute_metrics(prediction, compute_result=...)` with each batch of an evaluation instead of
            once, so that predictions need not be kept; the metrics are what it returns for the last batch, with True.
        eval_do_concat_batches: False: predictions and labels are lists with an array per batch.
        save_strategy, save_steps, save_total_limit, save_only_model: When checkpoints are written, and how many are kept.
        save_in_background: Copy the state of the run, and let a thread write the checkpoint while the run goes on, which takes
            main memory for a copy of the model and the optimizer. `on_save` follows when it is written, with the state of then.
        enable_jit_checkpoint: Write a checkpoint after SIGTERM even if `save_strategy` is "no".
        load_best_model_at_end, metric_for_best_model, greater_is_better: Which evaluation is the best.
        restore_callback_states_from_checkpoint: A resumed run also takes the constructor arguments of its callbacks from the
            checkpoint, such as the patience of early stopping; their progress is restored in any case.
        seed, data_seed: Seeds of all random number generators, and of the order of the data.
        full_determinism: Use only deterministic algorithms, which may be slower.
        use_cpu: Train on the CPU even if there is a faster device.
        remove_unused_columns: Drop dataset columns that the model does not take.
        label_names: Columns that hold labels.
        disable_tqdm: Print one line per log instead of a progress bar.
        report_to: Trackers that the logs are sent to, if they are installed: tensorboard, trackio, wandb, mlflow, comet_ml,
            swanlab, clearml, dvclive, aim; "all" means those that are installed.
        run_name: A name of the run.
        project: The project of the run in a tracker that has projects.
        logging_dir: The folder for TensorBoard; by default `tensorboard` in the output folder.
        trackio_space_id: The Space on the Hub where trackio shows the run; None: on this machine.
        push_to_hub, hub_model_id, hub_token, hub_private_repo, hub_strategy, hub_revision, hub_always_push: Upload to the Hub.
        train_sampling_strategy: The order of training examples: "group_by_length", "random" or "sequential".
        length_column_name: The column with the lengths of the examples, if the dataset has one.
        ignore_data_skip: A resumed run begins its epoch at the first batch, instead of where the checkpoint was written.
        resume_from_checkpoint: For scripts, which may pass it to `Trainer.train`.
        accelerator_config: Options of accelerate's `Accelerator`.
        fsdp: "full_shard": spread weights, gradients and optimizer states over all processes (FSDP2); "shard_grad_op": keep the
            weights between the forward and the backward pass; with "offload", the slices are kept in main memory.
        fsdp_config: `transformer_layer_cls_to_wrap`, the class names of the blocks that are gathered one after the other, by
            default the items of the model's lists of layers; `min_num_params`, `reshard_after_forward`, `offload_params`;
            `state_dict_type`: with "SHARDED_STATE_DICT" each process writes its slices to checkpoints, which
            `notebook_kit.training.gather_checkpoint` joins, with "FULL_STATE_DICT", the default, the first one writes the
            whole model; or the path of a JSON file with them. `accelerate launch --use_fsdp` sets the same.
        ddp_backend: How processes communicate: "nccl", "gloo", ...; by default what suits the device.
        ddp_bucket_cap_mb, ddp_static_graph, ddp_broadcast_buffers: Options of torch's DistributedDataParallel.
        ddp_timeout: Seconds that a process waits for the others before the run fails.
        ddp_find_unused_parameters: Allow parameters without gradient when several processes train together.
        dataloader_num_workers, dataloader_pin_memory, dataloader_drop_last: Options of torch's DataLoader.
        dataloader_persistent_workers, dataloader_prefetch_factor: Options of torch's DataLoader.
        dataloader_multiprocessing_context, dataloader_in_order: Options of torch's DataLoader.

    Raises:
        ConfigurationError: for an unknown name (near matches are listed), a value of the wrong type or out of its range, or
            values that contradict each other. A text where a list is expected counts as a list of one.

    Example:
        >>> args = TrainingArguments("out", evaluation_strategy="epoch", num_train_epochs=2, report_to="none")
        >>> args.eval_strategy, args.per_device_train_batch_size
        ('epoch', 8)
    """

    older_names: ClassVar[tuple[str, ...]] = OLDER_NAMES
    """Names that the constructor accepts beside those of the fields."""

    output_dir: str | None = None
    _: dataclasses.KW_ONLY
    do_train: bool = False
    do_eval: bool = False
    do_predict: bool = False
    per_device_train_batch_size: int = 8
    per_device_eval_batch_size: int = 8
    auto_find_batch_size: bool = False
    gradient_accumulation_steps: int = 1
    num_train_epochs: float = 3.0
    max_steps: int = -1
    learning_rate: float = 5e-5
    lr_scheduler_type: str = "linear"
    lr_scheduler_kwargs: dict[str, Any] | None = None
    warmup_steps: float = 0
    optim: str = "adamw_torch_fused"
    optim_args: str | None = None
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    nan_policy: str = "stop"
    label_smoothing_factor: float = 0.0
    neftune_noise_alpha: float | None = None
    bf16: bool = False
    fp16: bool = False
    bf16_full_eval: bool = False
    fp16_full_eval: bool = False
    tf32: bool | None = None
    gradient_checkpointing: bool = False
    gradient_checkpointing_kwargs: dict[str, Any] | None = None
    torch_compile: bool = False
    torch_compile_backend: str | None = None
    torch_compile_mode: str | None = None
    torch_empty_cache_steps: int | None = None
    logging_strategy: str = "steps"
    logging_steps: float = 500
    logging_first_step: bool = False
    logging_nan_inf_filter: bool = True
    include_num_input_tokens_seen: str = "no"
    log_level: str = "passive"
    log_level_replica: str = "warning"
    disable_tqdm: bool | None = None
    report_to: list[str] | str | None = None
    run_name: str | None = None
    project: str = "huggingface"
    logging_dir: str | None = None
    trackio_space_id: str | None = None
    eval_strategy: str = "no"
    eval_steps: float | None = None
    eval_delay: float = 0
    eval_on_start: bool = False
    eval_do_concat_batches: bool = True
    batch_eval_metrics: bool = False
    prediction_loss_only: bool = False
    include_for_metrics: list[str] = field(default_factory=list)
    save_strategy: str = "steps"
    save_steps: float = 500
    save_total_limit: int | None = None
    save_only_model: bool = False
    save_in_background: bool = False
    enable_jit_checkpoint: bool = False
    restore_callback_states_from_checkpoint: bool = False
    load_best_model_at_end: bool = False
    metric_for_best_model: str | None = None
    greater_is_better: bool | None = None
    push_to_hub: bool = False
    hub_model_id: str | None = None
    hub_strategy: str = "every_save"
    hub_token: str | None = field(default=None, repr=False)
    hub_private_repo: bool | None = None
    hub_always_push: bool = False
    hub_revision: str | None = None
    seed: int = 42
    data_seed: int | None = None
    full_determinism: bool = False
    use_cpu: bool = False
    accelerator_config: dict[str, Any] | None = None
    dataloader_drop_last: bool = False
    dataloader_num_workers: int = 0
    dataloader_pin_memory: bool = True
    dataloader_persistent_workers: bool = False
    dataloader_prefetch_factor: int | None = None
    dataloader_multiprocessing_context: Any = None
    dataloader_in_order: bool = True
    remove_unused_columns: bool = True
    label_names: list[str] | None = None
    train_sampling_strategy: str = "group_by_length"
    length_column_name: str = "length"
    ignore_data_skip: bool = False
    fsdp: list[str] | str | bool | None = None
    fsdp_config: dict[str, Any] | str | None = None
    ddp_timeout: int = 1800
    ddp_backend: str | None = None
    ddp_bucket_cap_mb: int | None = None
    ddp_static_graph: bool | None = None
    ddp_broadcast_buffers: bool | None = None
    ddp_find_unused_parameters: bool | None = None
    resume_from_checkpoint: str | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> TrainingArguments:
        # Here, because @dataclass writes the constructor of a subclass after the class is created.
        accept_old_spellings(cls)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("disable_tqdm", "report_to")}
        self.check_values()  # before what follows from them
        self.output_dir = os.path.expanduser(self.output_dir or "trainer_output")
        self.disable_tqdm = bool(self.disable_tqdm)
        self._inferred = {name: getattr(self, name) for name, value in given.items() if value is None}
        self.do_eval = self.do_eval or self.eval_strategy != "no"
        if self.eval_strategy == "steps" and not self.eval_steps:
            self.eval_steps = self.logging_steps
        needs_metric = self.load_best_model_at_end or any(getattr(self, k) == v for k, v in _FOLLOWS_EVALUATIONS)
        if needs_metric and self.metric_for_best_model is None:
            self.metric_for_best_model = "loss"
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = not self.metric_for_best_model.endswith("loss")
        self.check()
        for name, tracker in (("logging_dir", "tensorboard"), ("trackio_space_id", "trackio")):
            if getattr(self, name) is not None and tracker not in (self.report_to or []):
                notice(
                    f"{name}={getattr(self, name)!r} has no effect: it is for {tracker}, which report_to does not name."
                )

    def check_values(self) -> None:
        """Check the type and the range of each value, and convert those in another form, such as enumerations.

        Raises:
            ConfigurationError: for a value of the wrong type or out of its range.
            MissingDependencyError: for a tracker in `report_to` that is not installed.
        """
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            # YAML reads an unquoted `no` as False.
            if "no" in choices and (value is None or isinstance(value, bool)):
                setattr(self, name, "all" if value else "no")
        if isinstance(self.fsdp, bool):
            self.fsdp = "full_shard" if self.fsdp else None
        if isinstance(self.fsdp_config, str) and Path(self.fsdp_config).is_file():
            self.fsdp_config = read_json(self.fsdp_config, "Write the options of FSDP as a JSON object.")
        for name, kind in _kinds(type(self)).items():
            setattr(self, name, typed(name, getattr(self, name), kind))
        for name, choices in _CHOICES.items():
            setattr(self, name, _choice(name, getattr(self, name), choices))
        self.report_to = trackers_named(self.report_to)

    def check(self) -> None:
        """Check the values, which may have been set since the arguments were created, one by one and together.

        Raises:
            ConfigurationError: if one is wrong, or if they contradict each other.
        """
        self.check_values()
        for problem, next_step in self._contradictions():
            raise ConfigurationError(problem, next_step=next_step)

    def _contradictions(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the values together, and the next step."""
        for kind in ("logging", "eval", "save"):
            steps, strategy = getattr(self, f"{kind}_steps"), f"{kind}_strategy"
            sensible = steps is not None and steps > 0 and (steps < 1 or steps == int(steps))
            if getattr(self, strategy) == "steps" and not sensible:
                wanted = "as a whole number, or as a fraction of all steps below 1"
                problem = f"{strategy}='steps' needs {kind}_steps {wanted}; it was {steps!r}."
                yield problem, f"Set {kind}_steps, for example to 100, or {strategy}='epoch'."
        for suffix in ("", "_full_eval"):
            if getattr(self, f"fp16{suffix}") and getattr(self, f"bf16{suffix}"):
                yield f"fp16{suffix} and bf16{suffix} are both set.", "Keep one of them."
        if self.dataloader_num_workers == 0 and self.dataloader_prefetch_factor is not None:
            problem = "dataloader_prefetch_factor applies to worker processes, but dataloader_num_workers is 0."
            yield problem, "Set dataloader_num_workers, or leave out dataloader_prefetch_factor."
        for name, value in _FOLLOWS_EVALUATIONS:
            if getattr(self, name) == value and self.eval_strategy == "no":
                problem = f"{name}={value!r} follows the evaluations, but eval_strategy is 'no'."
                yield problem, "Set eval_strategy='epoch' or 'steps'."
        if not self.load_best_model_at_end or self.save_strategy == "best":
            return
        needs, evaluates, saves = "load_best_model_at_end=True needs", self.eval_strategy, self.save_strategy
        if evaluates != saves:
            wanted = next((s for s in (evaluates, saves) if s != "no"), "epoch")
            given = f"eval_strategy is {evaluates!r} and save_strategy is {saves!r}"
            problem = f"{needs} a checkpoint at each evaluation, but {given}."
            yield problem, f"Set eval_strategy={wanted!r} and save_strategy={wanted!r}."
        elif evaluates == "steps" and self.eval_steps:
            save, each = self.save_steps, self.eval_steps
            ratio = save / each
            if (save < 1) != (each < 1) or not math.isclose(ratio, round(ratio), abs_tol=1e-6) or ratio < 1:
                given = f"save_steps must be a multiple of eval_steps; they are {save:g} and {each:g}"
                yield f"{needs} an evaluation at each save, so {given}.", f"Set save_steps={each:g}."

    @property
    def train_batch_size(self) -> int:
        """Examples per training batch on this process."""
        return self.per_device_train_batch_size

    @property
    def eval_batch_size(self) -> int:
        """Examples per evaluation batch on this process."""
        return self.per_device_eval_batch_size

    @property
    def group_by_length(self) -> bool:
        """Whether a training batch consists of examples of similar lengths."""
        return self.train_sampling_strategy == "group_by_length"

    @property
    def mixed_precision(self) -> str:
        """accelerate's name for the precision: "fp16", "bf16" or "no". accelerate's launcher may set it too."""
        return "fp16" if self.fp16 else "bf16" if self.bf16 else os.environ.get("ACCELERATE_MIXED_PRECISION", "no")

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return _process_state(self.use_cpu).device

    @property
    def n_gpu(self) -> int:
        """The number of devices other than the CPU that this process uses: 0 or 1."""
        return int(self.device.type != "cpu")

    @property
    def world_size(self) -> int:
        """The number of processes that train together."""
        return _process_state(self.use_cpu).num_processes

    @property
    def process_index(self) -> int:
        """The number of this process, from 0."""
        return _process_state(self.use_cpu).process_index

    @property
    def local_process_index(self) -> int:
        """The number of this process on its machine, from 0."""
        return _process_state(self.use_cpu).local_process_index

    @property
    def local_rank(self) -> int:
        """`local_process_index`, or -1 if there is only one process."""
        return self.local_process_index if self.world_size > 1 else -1

    @property
    def parallel_mode(self) -> ParallelMode:
        """Whether several processes train together."""
        return ParallelMode.DISTRIBUTED if self.world_size > 1 else ParallelMode.NOT_PARALLEL

    @property
    def should_save(self) -> bool:
        """Whether this process writes files."""
        return self.process_index == 0

    @property
    def should_log(self) -> bool:
        """Whether this process writes logs: the first one of its machine."""
        return self.local_process_index == 0

    def get_process_log_level(self) -> int:
        """The level of `logging` that `log_level` names (on other processes than the first, `log_level_replica`)."""
        name = self.log_level if self.should_log else self.log_level_replica
        if name == "passive":
            return logging.getLogger("notebook_kit").getEffectiveLevel()
        return logging.getLevelNamesMapping()[name.upper()]

    @contextmanager
    def main_process_first(self, local: bool = True, desc: str = "work") -> Iterator[None]:
        """Within this block the other processes wait for the first one, so that they can read what it cached.

        Args:
            local: For the first process of each machine, instead of the first of all.
            desc: A description of the block; not used.
        """
        state = _process_state(self.use_cpu)
        with state.local_main_process_first() if local else state.main_process_first():
            yield

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """The number of warmup updates in a run of `num_training_steps` updates."""
        return math.ceil(num_training_steps * self.warmup_steps) if self.warmup_steps < 1 else int(self.warmup_steps)

    def to_dict(self) -> dict[str, Any]:
        """All values; tokens are replaced by placeholders."""
        return {f.name: self._shown(f.name) for f in dataclasses.fields(self)}

    def to_sanitized_dict(self) -> dict[str, bool | int | float | str]:
        """All values, and the batch sizes per process, as numbers and texts, for trackers that take no others."""
        values = {**self.to_dict(), "train_batch_size": self.train_batch_size, "eval_batch_size": self.eval_batch_size}
        return {
            name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in values.items()
        }

    def _shown(self, name: str) -> Any:
        value = getattr(self, name)
        if type(value).__name__ == "dtype":  # in a field of a subclass
            return str(value).removeprefix("torch.")
        return f"<{name.upper()}>" if name.endswith("_token") and value is not None else value

    def to_json_string(self) -> str:
        """All values as JSON; tokens are replaced by placeholders."""
        return json.dumps(self.to_dict(), indent=2, default=str)

    def save(self, path: str | Path) -> None:
        """Write the values as JSON, without tokens."""
        Path(path).write_text(self.to_json_string() + "\n", "utf-8")

    @classmethod
    def load(cls, path: str | Path) -> TrainingArguments:
        """Read what `save` wrote.

        Raises:
            CheckpointError: if the file cannot be read.
        """
        values = read_json(path, next_step="Write the arguments again with save.")
        return cls(**{name: value for name, value in values.items() if not name.endswith("_token")})

    @classmethod
    def from_cli(cls, args: list[str] | None = None) -> Self:
        """The arguments from the command line, as `--learning_rate 2e-5 --do_train`, or from the words in `args`.

        Raises:
            ConfigurationError: for an option that does not exist; near matches are listed.

        Example:
            >>> args = TrainingArguments.from_cli("--output_dir out --learning_rate 2e-5 --no-dataloader-pin-memory".split())
            >>> args.learning_rate, args.dataloader_pin_memory
            (2e-05, False)
        """
        return HfArgumentParser(cls).parse_args_into_dataclasses(args)[0]

    def __getattr__(self, name: str) -> Any:
        return legacy_value(self, name)

    def __repr__(self) -> str:
        unset = {
            f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            for f in dataclasses.fields(self)
        } | vars(self).get("_inferred", {})
        changed = (f"{name}={self._shown(name)!r}" for name, value in unset.items() if getattr(self, name) != value)
        return f"{type(self).__name__}({', '.join(changed)})"


def accept_old_spellings(cls: type) -> None:
    """Let the constructor of a dataclass, if it was generated, accept the argument names of older notebooks."""
    generated = vars(cls).get("__init__")
    if generated is None or hasattr(generated, "__wrapped__"):
        return
    parameters = inspect.signature(generated).parameters
    if not {f.name for f in dataclasses.fields(cls)} <= set(parameters):  # written by hand
        return

    @functools.wraps(generated)
    def __init__(self: Any, *positional: Any, **given: Any) -> None:
        if len(positional) > 1:
            raise ConfigurationError(
                f"TrainingArguments takes only output_dir by position; {len(positional)} values were given.",
                next_step="Name the others: TrainingArguments('out', learning_rate=2e-5).",
            )
        generated(self, *positional, **modern(given, set(parameters)))
        vars(self).update({name: value for name, value in given.items() if name in WITHOUT_EFFECT})

    cls.__init__ = __init__  # type: ignore[misc]


def _kinds(cls: type) -> dict[str, str]:
    """The annotations of the fields that this library declares. A user's own fields are not checked."""
    ours = [kind for kind in cls.__mro__ if kind.__module__.startswith("notebook_kit.")]
    known = {name: kind for part in ours for name, kind in vars(part).get("__annotations__", {}).items()}
    return {f.name: known[f.name] for f in dataclasses.fields(cls) if f.name in known}


def _choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value.lower() not in choices:
        if name == "optim":
            refuse_optimizer(value)
        raise ConfigurationError(
            f"{name} has no option {value!r}. {near_matches(value, choices)}".strip(),
            next_step=f"Use one of {', '.join(map(repr, choices))}.",
        )
    return value.lower()


def _process_state(use_cpu: bool) -> Any:
    from accelerate import PartialState

    return PartialState(cpu=use_cpu) if not PartialState._shared_state else PartialState()
