from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

from notebook_kit.errors import InputError
from notebook_kit.registry.families import FAMILIES
from notebook_kit.registry.tasks import ALIASES, TASKS, get_supported_tasks, task_name, task_of
from notebook_kit.registry.weight_files import WEIGHTS


def test_the_tables_load_nothing_heavy():
    code = (
        "import sys; from notebook_kit.registry import families, tasks, weight_files; import notebook_kit.zoo;"
        "heavy = {'torch', 'numpy', 'yaml', 'huggingface_hub'} & set(sys.modules); sys.exit(', '.join(heavy) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_family_has_the_classes_that_its_line_names(model_type):
    line = FAMILIES[model_type]
    module = importlib.import_module(f"notebook_kit.models.{line.module}")
    assert getattr(module, line.config).model_type == model_type
    for name in line.class_names.values():
        assert getattr(module, name).config_class is getattr(module, line.config)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_the_pipeline_that_its_line_names(task):
    line = TASKS[task]
    assert getattr(importlib.import_module(f"notebook_kit.pipelines.{line.module}"), line.pipeline).task == task
    assert line.model.count("/") == 1


def test_aliases_name_tasks_and_hide_none():
    assert set(ALIASES.values()) <= TASKS.keys()
    assert not ALIASES.keys() & TASKS.keys()
    assert get_supported_tasks() == sorted({*TASKS, *ALIASES})


@pytest.mark.parametrize(
    ("tag", "architectures", "task"),
    [
        ("sentiment-analysis", ["BertForMaskedLM"], "text-classification"),
        ("sentence-similarity", ["BertForMaskedLM"], "fill-mask"),
        ("", ["Whatever", "BertForTokenClassification"], "token-classification"),
        ("", ["GPT2LMHeadModel"], "text-generation"),
        ("", ["MarianMTModel"], "text2text-generation"),
        ("", ["DistilBertModel"], "feature-extraction"),
        ("", ["BertForPreTraining"], "feature-extraction"),
        ("", ["XLNetLMHeadModel"], None),
        ("", ["ViTForImageClassification"], "image-classification"),
        ("", ["ViTModel"], "image-feature-extraction"),
        ("", ["WhisperForAudioClassification"], "audio-classification"),
        ("", ["WavLMForXVector"], None),
        ("", ["HubertForSequenceClassification"], "audio-classification"),
        ("", ["HubertForCTC"], "automatic-speech-recognition"),
        ("", [], None),
    ],
)
def test_the_task_of_a_checkpoint(tag, architectures, task):
    assert task_of(tag, architectures) == task


def test_names_of_tasks():
    assert task_name("translation_de_to_en") == "translation"
    with pytest.raises(InputError, match="Did you mean 'fill-mask'"):
        task_name("fill-maks")
    with pytest.raises(InputError, match="is an int"):
        task_name(3)


def test_shards_belong_to_their_index():
    for name, shards in WEIGHTS.items():
        assert (shards is not None) == name.endswith(".index.json")
        if shards is not None:
            stem, _, kind = re.sub(r"\.index\.json$", "", name).rpartition(".")
            assert shards.fullmatch(f"{stem}-00001-of-00002.{kind}")
            assert not shards.fullmatch(f"{stem}.{kind}")
