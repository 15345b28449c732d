from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

import pytest
import torch
from pipeline_helpers import NER_LABELS, TEXTS, assert_same, ours

from notebook_kit import (
    AutoImageProcessor,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from notebook_kit.errors import (
    CheckpointError,
    HubError,
    InputError,
    MissingVocabularyError,
    NotebookKitError,
    NotebookKitWarning,
)
from notebook_kit.nn.placement import choose_device
from notebook_kit.pipelines import defaults, pipeline
from notebook_kit.registry.tasks import TASKS


def own_copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


# Which task -----------------------------------------------------------------------------------------------------------

HEADS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "Model": "feature-extraction",
}


@pytest.mark.parametrize("head", HEADS)
def test_the_task_is_read_from_the_checkpoint(checkpoints, head):
    pipe = pipeline(model=checkpoints(head), device="cpu")
    assert pipe.task == HEADS[head]
    assert type(pipe).task == HEADS[head]
    # And from the class of a loaded model, whose tokenizer lies beside it.
    again = pipeline(model=pipe.model, device="cpu")
    assert again.task == HEADS[head]
    assert again.tokenizer.get_vocab() == pipe.tokenizer.get_vocab()


def test_the_model_card_says_more_than_the_class(checkpoints, tmp_path):
    folder = own_copy(checkpoints("ForSequenceClassification", num_labels=3), tmp_path)
    (folder / "README.md").write_text("---\nlicense: mit\npipeline_tag: zero-shot-classification\n---\n# A model\n")
    assert pipeline(model=folder, device="cpu").task == "zero-shot-classification"
    (folder / "README.md").write_text("---\npipeline_tag: sentence-similarity\n---\n")
    assert pipeline(model=folder, device="cpu").task == "text-classification"
    (folder / "README.md").write_text("# No front matter\npipeline_tag: fill-mask\n")
    assert pipeline(model=folder, device="cpu").task == "text-classification"


@pytest.mark.parametrize("name", ["XLNetLMHeadModel", "WavLMForXVector", "Whatever"])
def test_a_class_that_says_no_task_here(name):
    with pytest.raises(InputError, match="does not say which task"):
        pipeline(model=type(name, (), {})())


def test_unknown_tasks():
    with pytest.raises(InputError, match="Did you mean 'sentiment-analysis'") as caught:
        pipeline("sentiment-analyses")
    assert "zero-shot-classification" in str(caught.value)
    with pytest.raises(InputError, match="needs a task or a model"):
        pipeline()


def test_aliases_are_kept_as_names(checkpoints):
    pipe = pipeline("sentiment-analysis", checkpoints("ForSequenceClassification", num_labels=3), device="cpu")
    assert pipe.task == "sentiment-analysis"
    assert repr(pipe).startswith(
        "TextClassificationPipeline('sentiment-analysis', model=BertForSequenceClassification from"
    )


def test_registry_lines_exist():
    import importlib

    for task, line in TASKS.items():
        found = getattr(importlib.import_module(f"notebook_kit.pipelines.{line.module}"), line.pipeline)
        assert found.task == task
        assert line.model.count("/") == 1


# Which parts ----------------------------------------------------------------------------------------------------------


def test_loaded_parts(checkpoints):
    from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer

    folder = checkpoints("ForSequenceClassification", num_labels=3)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = ours("text-classification", folder)(TEXTS)
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", framework="pt")
    assert pipe.model is model
    assert pipe.tokenizer is tokenizer
    assert_same(pipe(TEXTS), expected)
    assert_same(pipeline("text-classification", model=model, tokenizer=folder, device=-1)(TEXTS), expected)


def test_a_tokenizer_with_arguments(checkpoints):
    folder = checkpoints("ForSequenceClassification", num_labels=3)
    for kind in (str, Path):
        pipe = pipeline("text-classification", folder, tokenizer=(kind(folder), {"model_max_length": 7}), device="cpu")
        assert pipe.tokenizer.model_max_length == 7
    plain = pipeline("text-classification", folder, tokenizer=(folder, {}), device="cpu")
    assert_same(plain(TEXTS), ours("text-classification", folder)(TEXTS))


def test_arguments_of_transformers_pipelines(checkpoints):
    from notebook_kit import NerPipeline, TextClassificationPipeline, TokenClassificationPipeline

    assert NerPipeline is TokenClassificationPipeline
    folder = checkpoints("ForSequenceClassification", num_labels=3)
    known = ours("text-classification", folder)
    unused = {"framework": "pt", "modelcard": None, "binary_output": False, "args_parser": None, "num_workers": 2}
    pipe = TextClassificationPipeline(model=known.model, tokenizer=known.tokenizer, device=-1, **unused)
    assert_same(pipe(TEXTS), known(TEXTS))
    assert pipe.predict("good") == pipe.transform("good") == pipe.transform(X="good") == pipe("good")
    for options in ({"device_map": None}, {"torch_dtype": "float32"}, {"dtype": "auto"}, {"use_fast": False}, unused):
        assert_same(pipeline("text-classification", folder, device="cpu", **options)(TEXTS), known(TEXTS))
    half = TextClassificationPipeline(ours(None, folder).model, known.tokenizer, device="cpu", torch_dtype="bfloat16")
    assert half.dtype == torch.bfloat16


def test_a_translation_without_languages(caplog):
    from record_v4 import DATA

    with caplog.at_level(logging.WARNING, logger="notebook_kit"):
        pipe = ours("translation", str(DATA / "tiny-t5"))
    assert pipe.task == "translation_en_to_fr"
    assert "translation_en_to_fr" in caplog.text
    named = ours("translation_en_to_fr", str(DATA / "tiny-t5"))
    assert pipe("good city", max_new_tokens=4) == named("good city", max_new_tokens=4)


def test_a_model_of_transformers_works_too(checkpoints):
    import transformers

    folder = checkpoints("ForSequenceClassification", num_labels=3)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    assert_same(pipe(TEXTS), ours("text-classification", folder)(TEXTS))


def test_a_model_from_nowhere_wants_a_tokenizer():
    from notebook_kit import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model("bert", num_hidden_layers=1, hidden_size=12, vocab_size=10, num_attention_heads=2)
    model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(InputError, match="Pass tokenizer="):
        pipeline("text-classification", model=model)


def test_a_head_for_something_else_is_refused(checkpoints):
    model = ours("text-classification", checkpoints("ForSequenceClassification", num_labels=3)).model
    with pytest.raises(InputError, match=r"BertForSequenceClassification cannot do fill-mask"):
        pipeline("fill-mask", model=model)
    with pytest.raises(InputError, match="cannot do summarization") as caught:
        pipeline("summarization", model=model)
    assert "AutoModelForSeq2SeqLM" in caught.value.next_step and "'text-classification'" in caught.value.next_step
    assert pipeline("zero-shot-classification", model=model, device="cpu").task == "zero-shot-classification"
    with pytest.raises(InputError, match="type list"):
        pipeline("fill-mask", model=["bert"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"framework": "jax"}, "framework is 'jax'"),
        ({"device": "cpu", "device_map": "auto"}, "Both device and device_map"),
        ({"device": "gpu"}, "Unknown device 'gpu'"),
        ({"dtype": "float33"}, "float33"),
        ({"batchsize": 8}, "Did you mean 'batch_size'"),
        ({"config": 5}, "config is of the type int"),
        ({"model_kwargs": 5}, "model_kwargs is 5"),
    ],
)
def test_arguments_that_cannot_be_used(checkpoints, arguments, message):
    with pytest.raises(InputError, match=message):
        pipeline("text-classification", model=checkpoints("ForSequenceClassification", num_labels=3), **arguments)


def test_a_tokenizer_without_its_model():
    with pytest.raises(InputError, match="without its model"):
        pipeline("ner", tokenizer="bert-base-cased")


def test_arguments_that_are_handed_on(checkpoints):
    folder = checkpoints("ForSequenceClassification", num_labels=3)
    names = {0: "a", 1: "b", 2: "c"}
    pipe = pipeline(
        "text-classification",
        model=folder,
        device_map="auto" if not torch.cuda.is_available() else "cpu",
        torch_dtype=torch.float16,
        trust_remote_code=True,
        use_fast=True,
        revision="main",
        token=False,
        local_files_only=True,
        model_kwargs={"id2label": names},
        batch_size=4,
        top_k=2,
    )
    assert pipe.dtype == torch.float16
    assert pipe.model.config.id2label == names
    assert pipe.resolve_options({}).batch_size == 4
    assert pipe.options == {"top_k": 2}
    assert "batch_size=4" in repr(pipe)
    assert "top_k=2" in repr(pipe)


def test_save_and_load(checkpoints, tmp_path):
    import transformers

    settings = {"id2label": dict(enumerate(NER_LABELS)), "label2id": {label: i for i, label in enumerate(NER_LABELS)}}
    pipe = ours("ner", checkpoints("ForTokenClassification", **settings))
    pipe.save_pretrained(tmp_path / "saved")
    expected = pipe(TEXTS)
    assert_same(ours(None, tmp_path / "saved")(TEXTS), expected)
    oracle = transformers.pipeline("ner", model=str(tmp_path / "saved"), device="cpu")
    assert_same(expected, [oracle(text) for text in TEXTS])


# Which device ---------------------------------------------------------------------------------------------------------


def test_devices(monkeypatch):
    assert choose_device("cpu") == choose_device(-1) == choose_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr("notebook_kit.nn.placement._accelerator", lambda: None)
    assert choose_device(None) == torch.device("cpu")
    with pytest.warns(NotebookKitWarning, match="using the CPU"):
        assert choose_device(0) == torch.device("cpu")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(InputError, match="this machine has only the CPU"):
        choose_device("cuda:0")


# Which checkpoint -----------------------------------------------------------------------------------------------------


@pytest.fixture
def embedded(checkpoints, monkeypatch):
    """A zoo of one tiny checkpoint."""
    from notebook_kit import zoo

    folder = checkpoints("ForSequenceClassification", num_labels=3)
    monkeypatch.setattr(
        zoo, "default_for", lambda task: "notebook-kit/stand-in" if task == "text-classification" else None
    )
    monkeypatch.setattr(zoo, "folder", lambda name: Path(folder) if name == "notebook-kit/stand-in" else None)
    return folder


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))


def test_without_a_model_and_a_network_the_zoo_answers(embedded, empty_cache, caplog):
    with caplog.at_level(logging.WARNING, logger="notebook_kit"):
        pipe = pipeline("sentiment-analysis", device="cpu")
    assert_same(pipe(TEXTS), ours("text-classification", embedded)(TEXTS))
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "notebook-kit/stand-in" in record.getMessage()
    assert "distilbert/distilbert-base-uncased-finetuned-sst-2-english" in record.getMessage()


def test_without_a_model_a_network_and_a_zoo(embedded, empty_cache):
    with pytest.raises(HubError, match="No model was given for fill-mask") as caught:
        pipeline("fill-mask")
    assert "distilbert/distilroberta-base" in caught.value.what
    assert "text-classification" in caught.value.next_step
    with pytest.raises(HubError, match="for feature-extraction") as caught:
        pipeline("feature-extraction")
    name = caught.value.next_step.split("'")[1]
    assert len(pipeline("feature-extraction", model=name, device="cpu")("one text")) == 1


@pytest.mark.parametrize(
    ("task", "name", "other"),
    [
        ("image-classification", "tiny-sentiment", "text-classification"),
        ("image-segmentation", "tiny-detection", "object-detection"),
        ("automatic-speech-recognition", "tiny-commands", "audio-classification"),
    ],
)
def test_a_checkpoint_for_another_task(task, name, other, recwarn):
    with pytest.raises(NotebookKitError, match=f"{name} is a checkpoint for {other}"):
        pipeline(task, model=f"notebook-kit/{name}")
    assert not [str(one.message) for one in recwarn if "start fresh" in str(one.message)]


def test_a_fresh_head_is_mentioned_where_the_pipeline_works():
    with pytest.warns(NotebookKitWarning, match="start fresh") as caught:
        pipeline("token-classification", model="notebook-kit/tiny-sentiment")
    assert len([one for one in caught if "start fresh" in str(one.message)]) == 1
    assert caught[0].filename == __file__


def test_a_checkpoint_for_texts_has_no_image_processor():
    with pytest.raises(CheckpointError, match="has no preprocessor_config") as caught:
        AutoImageProcessor.from_pretrained("notebook-kit/tiny-sentiment")
    assert "reads texts" in caught.value.next_step


@pytest.mark.parametrize(
    ("name", "loader"), [("tiny-things", "AutoImageProcessor"), ("tiny-commands", "AutoFeatureExtractor")]
)
def test_a_checkpoint_for_pictures_or_sound_has_no_tokenizer(name, loader):
    with pytest.raises(CheckpointError, match="has no vocabulary") as caught:
        AutoTokenizer.from_pretrained(f"notebook-kit/{name}")
    assert f"load {loader}" in caught.value.next_step


def _whisper():
    sizes = {"d_model": 24, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 50, "max_source_positions": 10}
    tokens = dict.fromkeys(("decoder_start_token_id", "pad_token_id", "bos_token_id", "eos_token_id"), 1)
    return WhisperForConditionalGeneration(WhisperConfig(**sizes, **tokens))


def _gpt2():
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50))


@pytest.mark.parametrize(
    ("task", "make"), [("automatic-speech-recognition", _whisper), ("text-generation", _gpt2)], ids=["sound", "text"]
)
def test_a_model_that_was_saved_without_its_tokenizer(task, make, tmp_path):
    make().save_pretrained(tmp_path)
    if make is _whisper:
        WhisperFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(MissingVocabularyError, match="has no vocabulary") as caught:
        pipeline(task, model=str(tmp_path))
    assert caught.value.next_step.startswith(f"{task} needs the tokenizer: pass tokenizer=, ")
    assert "copy its files into the model's folder" in caught.value.next_step
    with pytest.raises(MissingVocabularyError) as caught:  # that of another folder, which was passed
        pipeline(task, model=str(tmp_path), tokenizer=str(tmp_path))
    assert "pass tokenizer=" not in caught.value.next_step


def test_the_zoo_by_name(embedded, caplog):
    with caplog.at_level(logging.WARNING, logger="notebook_kit"):
        pipe = pipeline("sentiment-analysis", model="zoo", device="cpu")
    assert not caplog.records
    assert_same(pipe(TEXTS), ours("text-classification", embedded)(TEXTS))
    with pytest.raises(InputError, match="no checkpoint for fill-mask"):
        pipeline("fill-mask", model="zoo")
    with pytest.raises(InputError, match="needs a task"):
        pipeline(model="zoo")


def test_a_cached_usual_checkpoint_comes_first(embedded, checkpoints, monkeypatch, caplog):
    real = defaults.locate
    folder = checkpoints("ForSequenceClassification", num_labels=2)
    usual = TASKS["text-classification"].model
    monkeypatch.setattr(defaults, "locate", lambda name, **options: real(folder if name == usual else name))
    with caplog.at_level(logging.WARNING, logger="notebook_kit"):
        pipe = pipeline("sentiment-analysis", device="cpu")
    assert pipe.model.config.num_labels == 2
    assert caplog.records[0].getMessage().startswith(f"No model was given for text-classification: using {usual}")


def test_a_hub_that_does_not_answer_costs_little_time(embedded, empty_cache, monkeypatch):
    import huggingface_hub

    class Silent:
        def get(self, *args, **kwargs):
            time.sleep(5)

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: Silent())
    monkeypatch.setattr(defaults, "PATIENCE", 0.1)
    start = time.monotonic()
    pipe = pipeline("sentiment-analysis", device="cpu")
    assert time.monotonic() - start < 4
    assert pipe.model.config.num_labels == 3


def test_offline_asks_nobody(empty_cache, embedded, monkeypatch):
    import huggingface_hub

    def no_session():
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr(huggingface_hub, "get_session", no_session)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pipeline("sentiment-analysis", device="cpu").model.config.num_labels == 3


def test_a_hub_that_answers_gives_the_usual_checkpoint(embedded, checkpoints, tmp_path, monkeypatch, caplog):
    from huggingface_hub import constants
    from standin_hub import StandInHub

    for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    usual = TASKS["text-classification"].model
    folder = Path(checkpoints("ForSequenceClassification", num_labels=2))
    with StandInHub() as hub:
        hub.add(usual, {path.name: path.read_bytes() for path in folder.iterdir()})
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        with caplog.at_level(logging.WARNING, logger="notebook_kit"):
            pipe = pipeline("sentiment-analysis", device="cpu")
    assert pipe.model.config.num_labels == 2
    assert usual in caplog.records[-1].getMessage()


def test_push_to_hub(checkpoints, monkeypatch):
    from notebook_kit.hub import saving

    pushed = {}

    def push_folder(folder, repo_id, **options):
        pushed.update({"files": {path.name for path in Path(folder).iterdir()}, "repo_id": repo_id, **options})

    monkeypatch.setattr(saving, "push_folder", push_folder)
    ours("ner", checkpoints("ForTokenClassification", num_labels=3)).push_to_hub("me/mine", private=True)
    assert pushed["files"] >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert (pushed["repo_id"], pushed["private"]) == ("me/mine", True)


def test_saving_can_push(checkpoints, tmp_path, monkeypatch):
    from notebook_kit.hub import saving

    pushed = []

    def push_folder(folder, **options):
        assert (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file(), "pushed too early"
        pushed.append((folder, options))

    monkeypatch.setattr(saving, "push_folder", push_folder)
    pipe = ours("ner", checkpoints("ForTokenClassification", num_labels=3))
    pipe.save_pretrained(tmp_path / "ner", push_to_hub=True, max_shard_size="1MB", private=True)
    assert pushed == [(tmp_path / "ner", {"repo_id": "ner", "private": True})]
