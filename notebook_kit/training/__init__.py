"""Fine-tuning: the Trainer, its arguments and callbacks, collators, schedules, and the checkpoints of a run.

Importing this package loads none of its modules: each public name is imported when it is first used, and `accelerate`,
`datasets` and `tqdm` only when a `Trainer` is created.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {
    "arguments": ["TrainingArguments"],
    "background": ["BackgroundRun"],
    "callbacks": ["DefaultFlowCallback", "EarlyStoppingCallback", "TrainerCallback"],
    "collators": [
        "DataCollatorForSeq2Seq",
        "DataCollatorForTokenClassification",
        "DataCollatorWithPadding",
        "default_data_collator",
    ],
    "recording.controls": ["RunControls"],
    "language_modeling": ["DataCollatorForLanguageModeling", "pack_blocks"],
    "evaluation": ["EvalLoopOutput", "EvalPrediction", "PredictionOutput", "TrainOutput"],
    "recording.monitor": ["RunMonitor"],
    "display": ["PrinterCallback", "ProgressCallback"],
    "recording.record": ["RunRecord"],
    "checkpointing": ["get_last_checkpoint"],
    "optimization": [
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
    "seq2seq": ["Seq2SeqTrainer", "Seq2SeqTrainingArguments"],
    "state": ["TrainerControl", "TrainerState"],
    "trainer": ["Trainer"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - a list of strings, computed from the table above

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments as TrainingArguments
    from notebook_kit.training.background import BackgroundRun as BackgroundRun
    from notebook_kit.training.callbacks import DefaultFlowCallback as DefaultFlowCallback
    from notebook_kit.training.callbacks import EarlyStoppingCallback as EarlyStoppingCallback
    from notebook_kit.training.callbacks import TrainerCallback as TrainerCallback
    from notebook_kit.training.checkpointing import get_last_checkpoint as get_last_checkpoint
    from notebook_kit.training.collators import DataCollatorForSeq2Seq as DataCollatorForSeq2Seq
    from notebook_kit.training.collators import DataCollatorForTokenClassification as DataCollatorForTokenClassification
    from notebook_kit.training.collators import DataCollatorWithPadding as DataCollatorWithPadding
    from notebook_kit.training.collators import default_data_collator as default_data_collator
    from notebook_kit.training.display import PrinterCallback as PrinterCallback
    from notebook_kit.training.display import ProgressCallback as ProgressCallback
    from notebook_kit.training.evaluation import EvalLoopOutput as EvalLoopOutput
    from notebook_kit.training.evaluation import EvalPrediction as EvalPrediction
    from notebook_kit.training.evaluation import PredictionOutput as PredictionOutput
    from notebook_kit.training.evaluation import TrainOutput as TrainOutput
    from notebook_kit.training.language_modeling import (
        DataCollatorForLanguageModeling as DataCollatorForLanguageModeling,
    )
    from notebook_kit.training.language_modeling import pack_blocks as pack_blocks
    from notebook_kit.training.optimization import get_scheduler as get_scheduler
    from notebook_kit.training.recording.controls import RunControls as RunControls
    from notebook_kit.training.recording.monitor import RunMonitor as RunMonitor
    from notebook_kit.training.recording.record import RunRecord as RunRecord
    from notebook_kit.training.seeding import set_seed as set_seed
    from notebook_kit.training.seq2seq import Seq2SeqTrainer as Seq2SeqTrainer
    from notebook_kit.training.seq2seq import Seq2SeqTrainingArguments as Seq2SeqTrainingArguments
    from notebook_kit.training.state import TrainerControl as TrainerControl
    from notebook_kit.training.state import TrainerState as TrainerState
    from notebook_kit.training.trainer import Trainer as Trainer


def __getattr__(name: str):
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
