"""Imports from the module paths of `transformers` work with this package's name."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import notebook_kit
from notebook_kit.module_paths import PATHS

IMPORTS = """
from notebook_kit.trainer_utils import EvalPrediction, IntervalStrategy, PredictionOutput, SchedulerType, get_last_checkpoint
from notebook_kit.trainer_utils import EvalLoopOutput, PREFIX_CHECKPOINT_DIR, is_main_process, set_seed, speed_metrics
from notebook_kit.trainer_callback import EarlyStoppingCallback, ExportableState, TrainerCallback, TrainerControl, TrainerState
from notebook_kit.trainer_pt_utils import get_parameter_names, nested_concat, nested_detach, nested_numpify
from notebook_kit.trainer import Trainer
from notebook_kit.trainer_seq2seq import Seq2SeqTrainer
from notebook_kit.training_args import TrainingArguments
from notebook_kit.training_args_seq2seq import Seq2SeqTrainingArguments
from notebook_kit.optimization import Adafactor, AdafactorSchedule, get_linear_schedule_with_warmup, get_scheduler
from notebook_kit.data.data_collator import DataCollatorForLanguageModeling, DataCollatorMixin, default_data_collator
from notebook_kit.data import DataCollatorWithPadding
from notebook_kit.data.datasets.language_modeling import LineByLineTextDataset, TextDataset
from notebook_kit.file_utils import PaddingStrategy, is_torch_available
from notebook_kit.hf_argparser import HfArgumentParser
from notebook_kit.integrations import is_deepspeed_zero3_enabled
from notebook_kit.testing_utils import CaptureLogger
from notebook_kit.utils import CONFIG_NAME, ModelOutput, check_min_version, logging, send_example_telemetry
from notebook_kit.utils.import_utils import is_sklearn_available, is_torch_xla_available
from notebook_kit.utils.versions import require_version
from notebook_kit.tokenization_utils_base import BatchEncoding, PaddingStrategy, TruncationStrategy
from notebook_kit.configuration_utils import PretrainedConfig
from notebook_kit.modeling_utils import PreTrainedModel
from notebook_kit.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput
from notebook_kit.generation.utils import GenerationMixin
from notebook_kit.generation.logits_process import LogitsProcessor, LogitsProcessorList
from notebook_kit.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList
from notebook_kit.generation.configuration_utils import GenerationConfig
from notebook_kit.pipelines.pt_utils import KeyDataset
from notebook_kit.image_utils import load_image
from notebook_kit.image_processing_utils import BaseImageProcessor, BatchFeature
from notebook_kit.feature_extraction_utils import BatchFeature
from notebook_kit.models.vit.image_processing_vit import ViTImageProcessor
from notebook_kit.models.detr.feature_extraction_detr import DetrFeatureExtractor
from notebook_kit.models.attention import ablate_heads
from notebook_kit.models.bert import BertModel
from notebook_kit.models.bert.modeling_bert import BertForMaskedLM, BertModel
from notebook_kit.models.bert.configuration_bert import BertConfig
from notebook_kit.models.roberta.modeling_roberta import RobertaModel
from notebook_kit.models.auto.modeling_auto import AutoModelForCausalLM
"""
LINES = [line for line in IMPORTS.splitlines() if line]


@pytest.mark.parametrize("line", LINES)
def test_lines_from_scripts_work(line):
    exec(line, {})


def test_the_lines_cover_the_table():
    imported = " ".join(line.split()[1] for line in LINES)
    rare = {"activations", "cache_utils", "modeling_attn_mask_utils", "pytorch_utils", "tokenization_utils"}
    rare |= {"generation_logits_process", "generation_stopping_criteria", "generation_utils"}
    rare |= {"tokenization_utils_fast", "utils.generic", "utils.hub", "data.datasets"}
    for path in set(PATHS) - rare:
        assert f"notebook_kit.{path}" in imported, path


@pytest.mark.parametrize("path", PATHS)
def test_every_path_can_be_imported(path):
    module = importlib.import_module(f"notebook_kit.{path}")
    assert module.Trainer is notebook_kit.Trainer  # the names of the root are found from everywhere


def test_objects_are_those_of_their_home():
    from notebook_kit.models.bert.modeling_bert import BertModel
    from notebook_kit.trainer_utils import set_seed

    assert BertModel is notebook_kit.BertModel and set_seed is notebook_kit.set_seed
    assert BertModel.__module__ == "notebook_kit.models.bert"


def test_names_that_are_nowhere():
    with pytest.raises(ImportError, match=r"'get_last_checkpoints'.*Did you mean 'get_last_checkpoint'"):
        exec("from notebook_kit.trainer_utils import get_last_checkpoints")
    module = importlib.import_module("notebook_kit.trainer_utils")
    with pytest.raises(
        AttributeError, match=r"trainer_utils' has no attribute 'get_last_checkpoints'.*get_last_checkpoint"
    ):
        module.get_last_checkpoints  # noqa: B018
    for missing in (
        "notebook_kit.trainer_util",
        "notebook_kit.models.bert.bert",
        "notebook_kit.models.nothing.modeling",
    ):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(missing)


def test_the_paths_cost_nothing_until_they_are_used():
    code = "import sys, notebook_kit; print(sorted(name for name in sys.modules if name.startswith('notebook_kit')))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "['notebook_kit', 'notebook_kit.lazy', 'notebook_kit.module_paths']"


def test_models_are_pickled_as_before():
    import pickle

    config = notebook_kit.BertConfig(hidden_size=8, num_attention_heads=2)
    assert pickle.loads(pickle.dumps(config)).hidden_size == 8
