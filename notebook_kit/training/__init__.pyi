# The public names, for editors, type checkers and `notebook_kit.lazy`, which imports them on first use.

from .arguments import TrainingArguments as TrainingArguments
from .background import BackgroundRun as BackgroundRun
from .callbacks import DefaultFlowCallback as DefaultFlowCallback
from .callbacks import EarlyStoppingCallback as EarlyStoppingCallback
from .callbacks import TrainerCallback as TrainerCallback
from .collators import DataCollatorForMultipleChoice as DataCollatorForMultipleChoice
from .collators import DataCollatorForSeq2Seq as DataCollatorForSeq2Seq
from .collators import DataCollatorForTokenClassification as DataCollatorForTokenClassification
from .collators import DataCollatorMixin as DataCollatorMixin
from .collators import DataCollatorWithPadding as DataCollatorWithPadding
from .collators import DefaultDataCollator as DefaultDataCollator
from .collators import default_data_collator as default_data_collator
from .display import PrinterCallback as PrinterCallback
from .display import ProgressCallback as ProgressCallback
from .evaluation import EvalLoopOutput as EvalLoopOutput
from .evaluation import EvalPrediction as EvalPrediction
from .evaluation import PredictionOutput as PredictionOutput
from .evaluation import TrainOutput as TrainOutput
from .evaluation import speed_metrics as speed_metrics
from .freezing import freeze as freeze
from .freezing import unfreeze as unfreeze
from .image_text_collator import DataCollatorForImageText as DataCollatorForImageText
from .language_modeling import DataCollatorForLanguageModeling as DataCollatorForLanguageModeling
from .language_modeling import DataCollatorForWholeWordMask as DataCollatorForWholeWordMask
from .loop import TrainingLoop as TrainingLoop
from .profiling import RunEstimate as RunEstimate
from .profiling import StepProfile as StepProfile
from .rate_finder import LearningRateCurve as LearningRateCurve
from .recording.controls import RunControls as RunControls
from .recording.monitor import RunMonitor as RunMonitor
from .recording.record import RunRecord as RunRecord
from .run_folder import get_last_checkpoint as get_last_checkpoint
from .search import BestRun as BestRun
from .search import Trial as Trial
from .seeding import enable_full_determinism as enable_full_determinism
from .seeding import set_seed as set_seed
from .seq2seq import Seq2SeqTrainer as Seq2SeqTrainer
from .seq2seq import Seq2SeqTrainingArguments as Seq2SeqTrainingArguments
from .state import TrainerControl as TrainerControl
from .state import TrainerState as TrainerState
from .trainer import Trainer as Trainer
from .trials import preserved as preserved

__all__: list[str]
