"""Options by name, as enumerations whose members are strings: `PaddingStrategy.LONGEST == "longest"`."""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn

from notebook_kit.errors import ConfigurationError, near_matches

__all__ = [
    "EvaluationStrategy",
    "ExplicitEnum",
    "HubStrategy",
    "IntervalStrategy",
    "OptimizerNames",
    "PaddingStrategy",
    "SaveStrategy",
    "SchedulerType",
    "TensorType",
    "TruncationStrategy",
]


class ExplicitEnum(StrEnum):
    """An enumeration of strings with an error that lists the values.

    Raises:
        ConfigurationError: (a ValueError) for an unknown value.

    Example:
        >>> IntervalStrategy("epoch") is IntervalStrategy.EPOCH, IntervalStrategy.EPOCH == "epoch"
        (True, True)
    """

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        values = [str(member.value) for member in cls]
        raise ConfigurationError(
            f"{cls.__name__} has no value {value!r}. {near_matches(str(value), values)}".strip(),
            next_step=f"Use one of {', '.join(map(repr, values))}.",
        )


class IntervalStrategy(ExplicitEnum):
    """When something happens in training: `eval_strategy`, `logging_strategy`.

    Example:
        >>> [strategy.value for strategy in IntervalStrategy]
        ['no', 'steps', 'epoch']
    """

    NO = "no"
    STEPS = "steps"
    EPOCH = "epoch"


EvaluationStrategy = IntervalStrategy


class SaveStrategy(ExplicitEnum):
    """When checkpoints are written: `save_strategy`."""

    NO = "no"
    STEPS = "steps"
    EPOCH = "epoch"
    BEST = "best"


class HubStrategy(ExplicitEnum):
    """What is uploaded during training: `hub_strategy`."""

    END = "end"
    EVERY_SAVE = "every_save"
    CHECKPOINT = "checkpoint"
    ALL_CHECKPOINTS = "all_checkpoints"


class SchedulerType(ExplicitEnum):
    """Learning rate schedules: `lr_scheduler_type`, and the first argument of `get_scheduler`.

    Example:
        >>> SchedulerType("cosine")
        <SchedulerType.COSINE: 'cosine'>
    """

    LINEAR = "linear"
    COSINE = "cosine"
    COSINE_WITH_RESTARTS = "cosine_with_restarts"
    POLYNOMIAL = "polynomial"
    CONSTANT = "constant"
    CONSTANT_WITH_WARMUP = "constant_with_warmup"
    INVERSE_SQRT = "inverse_sqrt"
    REDUCE_ON_PLATEAU = "reduce_lr_on_plateau"
    COSINE_WITH_MIN_LR = "cosine_with_min_lr"
    COSINE_WARMUP_WITH_MIN_LR = "cosine_warmup_with_min_lr"
    WARMUP_STABLE_DECAY = "warmup_stable_decay"
    GREEDY = "greedy"


class OptimizerNames(ExplicitEnum):
    """Optimizers: `optim`. Those with 8 or 4 bits, and lion and ademamix, need a package.

    Example:
        >>> OptimizerNames.ADAFACTOR == "adafactor"
        True
    """

    ADAMW_TORCH = "adamw_torch"
    ADAMW_TORCH_FUSED = "adamw_torch_fused"
    ADAMW_HF = "adamw_hf"
    NADAMW_TORCH = "nadamw_torch"
    ADAFACTOR = "adafactor"
    SGD = "sgd"
    ADAGRAD = "adagrad"
    RMSPROP = "rmsprop"
    ADAMW_8BIT = "adamw_8bit"
    ADAMW_BNB = "adamw_bnb_8bit"
    ADAMW_TORCH_8BIT = "adamw_torch_8bit"
    ADAMW_TORCH_4BIT = "adamw_torch_4bit"
    PAGED_ADAMW = "paged_adamw_32bit"
    PAGED_ADAMW_8BIT = "paged_adamw_8bit"
    LION = "lion_32bit"
    LION_8BIT = "lion_8bit"
    PAGED_LION = "paged_lion_32bit"
    PAGED_LION_8BIT = "paged_lion_8bit"
    ADEMAMIX = "ademamix"
    ADEMAMIX_8BIT = "ademamix_8bit"
    PAGED_ADEMAMIX = "paged_ademamix_32bit"
    PAGED_ADEMAMIX_8BIT = "paged_ademamix_8bit"
    RMSPROP_BNB = "rmsprop_bnb"
    RMSPROP_8BIT = "rmsprop_bnb_8bit"
    RMSPROP_32BIT = "rmsprop_bnb_32bit"


class PaddingStrategy(ExplicitEnum):
    """How a tokenizer or a collator pads: `padding`.

    Example:
        >>> PaddingStrategy.MAX_LENGTH == "max_length"
        True
    """

    LONGEST = "longest"
    MAX_LENGTH = "max_length"
    DO_NOT_PAD = "do_not_pad"


class TruncationStrategy(ExplicitEnum):
    """How a tokenizer shortens: `truncation`."""

    ONLY_FIRST = "only_first"
    ONLY_SECOND = "only_second"
    LONGEST_FIRST = "longest_first"
    DO_NOT_TRUNCATE = "do_not_truncate"


class TensorType(ExplicitEnum):
    """What a tokenizer returns: `return_tensors`."""

    PYTORCH = "pt"
    NUMPY = "np"
