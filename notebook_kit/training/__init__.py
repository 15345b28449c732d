"""Fine-tuning: the Trainer, its arguments and callbacks, collators, schedules, and the checkpoints of a run.

Importing this package loads none of its modules: each public name is imported when it is first used, and `accelerate`,
`datasets` and `tqdm` only when a `Trainer` is made.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {
    "arguments": ["TrainingArguments"],
    "callbacks": ["DefaultFlowCallback", "EarlyStoppingCallback", "TrainerCallback"],
    "collators": ["DataCollatorForTokenClassification", "DataCollatorWithPadding", "default_data_collator"],
    "metrics": ["EvalLoopOutput", "EvalPrediction", "PredictionOutput", "TrainOutput"],
    "progress": ["PrinterCallback", "ProgressCallback"],
    "runs": ["get_last_checkpoint"],
    "schedules": [
        "get_constant_schedule",
        "get_constant_schedule_with_warmup",
        "get_cosine_schedule_with_warmup",
        "get_cosine_with_hard_restarts_schedule_with_warmup",
        "get_inverse_sqrt_schedule",
        "get_linear_schedule_with_warmup",
        "get_polynomial_decay_schedule_with_warmup",
        "get_scheduler",
    ],
    "seeding": ["set_seed"],
    "state": ["TrainerControl", "TrainerState"],
    "trainer": ["Trainer"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - a list of strings, computed from the table above

if TYPE_CHECKING:
    from .arguments import TrainingArguments as TrainingArguments
    from .callbacks import DefaultFlowCallback as DefaultFlowCallback
    from .callbacks import EarlyStoppingCallback as EarlyStoppingCallback
    from .callbacks import TrainerCallback as TrainerCallback
    from .collators import DataCollatorForTokenClassification as DataCollatorForTokenClassification
    from .collators import DataCollatorWithPadding as DataCollatorWithPadding
    from .collators import default_data_collator as default_data_collator
    from .metrics import EvalLoopOutput as EvalLoopOutput
    from .metrics import EvalPrediction as EvalPrediction
    from .metrics import PredictionOutput as PredictionOutput
    from .metrics import TrainOutput as TrainOutput
    from .progress import PrinterCallback as PrinterCallback
    from .progress import ProgressCallback as ProgressCallback
    from .runs import get_last_checkpoint as get_last_checkpoint
    from .schedules import get_scheduler as get_scheduler
    from .seeding import set_seed as set_seed
    from .state import TrainerControl as TrainerControl
    from .state import TrainerState as TrainerState
    from .trainer import Trainer as Trainer


def __getattr__(name: str):
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
