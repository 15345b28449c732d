"""Names that do not exist: what an import and an attribute access say."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

import notebook_kit
from notebook_kit import panels
from notebook_kit.errors import InputError


def test_misspelled_import_lists_near_matches():
    with pytest.raises(ImportError, match=r"cannot import name 'AutoTokeniser'.*Did you mean 'AutoTokenizer'"):
        from notebook_kit import AutoTokeniser  # noqa: F401
    with pytest.raises(ImportError, match=r"'notebook_kit.training'.*Did you mean 'Trainer'"):
        from notebook_kit.training import Trainr  # noqa: F401


@pytest.mark.parametrize(
    ("asked", "name", "home"),
    [
        ("notebook_kit", "show", "notebook_kit.panels"),
        *(("notebook_kit", name, "notebook_kit.panels") for name in panels.__all__ if not hasattr(notebook_kit, name)),
        ("notebook_kit", "sample", "notebook_kit.zoo"),
        ("notebook_kit.training", "TokenInspector", "notebook_kit.panels"),
        ("notebook_kit.panels", "pipeline", "notebook_kit"),
    ],
)
def test_a_name_of_another_package_is_located(asked, name, home):
    hint = f"It is in {re.escape(home)}: from {re.escape(home)} import {name}$"
    with pytest.raises(ImportError, match=hint):
        exec(f"from {asked} import {name}")
    module = importlib.import_module(asked)
    with pytest.raises(AttributeError, match=hint):
        getattr(module, name)
    assert not hasattr(module, name)
    exec(f"from {home} import {name}")


def test_locating_a_name_imports_nothing():
    code = (
        "import sys, notebook_kit\n"
        "import notebook_kit.errors\n"
        "before = {name for name in sys.modules if name.startswith(('notebook_kit', 'torch'))}\n"
        "assert not hasattr(notebook_kit, 'nowhere') and not hasattr(notebook_kit, 'show')\n"
        "after = {name for name in sys.modules if name.startswith(('notebook_kit', 'torch'))}\n"
        "assert after == before, after - before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_misspelled_attribute_lists_near_matches():
    with pytest.raises(AttributeError, match="Did you mean 'pipeline'"):
        notebook_kit.pipelin  # noqa: B018
    assert not hasattr(notebook_kit, "pipelin")
    assert getattr(notebook_kit, "pipelin", None) is None
    with pytest.raises(ImportError, match="AutoTokeniser"):
        exec("from notebook_kit import pipeline, AutoTokeniser")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("AutoModelForDepthEstimation", "this task or model for pictures"),
        ("BeitModel", "this task or model for pictures"),
        ("VisionTextDualEncoderModel", "this task or model for pictures with texts"),
        ("LlavaForConditionalGeneration", "this task or model for pictures with texts"),
        ("AutoModelForVideoClassification", "video"),
        ("WavLMForCTC", "this task or model for sound"),
        ("SpeechT5ForTextToSpeech", "speech synthesis and music"),
        ("MusicgenForConditionalGeneration", "speech synthesis and music"),
        ("TFLlavaForConditionalGeneration", "this task or model for pictures with texts"),
        ("FlaxBertModel", "Flax"),
    ],
)
def test_what_is_not_supported_yet(name, what):
    with pytest.raises(AttributeError, match=f"does not support {what} yet") as caught:
        getattr(notebook_kit, name)
    assert "Did you mean" not in str(caught.value)


def test_tasks_that_are_not_supported_yet():
    for task, what in (
        ("depth-estimation", "this task or model for pictures"),
        ("image-to-image", "this task or model for pictures"),
        ("zero-shot-object-detection", "this task or model for pictures with texts"),
        ("video-classification", "video"),
        ("zero-shot-audio-classification", "this task or model for sound"),
        ("text-to-audio", "speech synthesis and music"),
    ):
        with pytest.raises(InputError, match=f"does not support {what} yet"):
            notebook_kit.pipeline(task)
    with pytest.raises(InputError, match="Did you mean 'text-classification'"):
        notebook_kit.pipeline("text-clasification")


def test_a_slip_for_a_name_that_exists_is_no_gap():
    for slip, name in (("WhisperTokeniser", "WhisperTokenizer"), ("is_vision_avalable", "is_vision_available")):
        with pytest.raises(AttributeError, match=f"Did you mean '{name}'"):
            getattr(notebook_kit, slip)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AutoImageProcesor", "AutoImageProcessor"),
        ("AutoFeatureExtracter", "AutoFeatureExtractor"),
        ("AutoModelForAudioClasification", "AutoModelForAudioClassification"),
        ("ViTImageProcesor", "ViTImageProcessor"),
    ],
)
def test_a_slip_for_a_name_of_pictures_and_sound(name, meant):
    with pytest.raises(AttributeError, match=f"Did you mean '{meant}'"):
        getattr(notebook_kit, name)


def test_a_version_of_a_family_is_not_a_slip():
    for name in ("Swinv2ForImageClassification", "ConvNextV2ForImageClassification", "Blip2ForConditionalGeneration"):
        with pytest.raises(AttributeError, match="does not support this task or model for pictures"):
            getattr(notebook_kit, name)


def test_what_people_call_a_task():
    for task, meant in (
        ("asr", "automatic-speech-recognition"),
        ("speech-recognition", "automatic-speech-recognition"),
        ("segmentation", "image-segmentation"),
        ("Image Captioning", "image-to-text"),
        ("image_classification", "image-classification"),
    ):
        with pytest.raises(InputError, match=f"Did you mean '{meant}'"):
            notebook_kit.pipeline(task)
