"""Custom pipelines in the form that `transformers` documents ("How to create a custom pipeline"), and their registry."""

from __future__ import annotations

import itertools
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pipeline_helpers import TEXTS, assert_same

import notebook_kit.pipelines
from notebook_kit import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    Pipeline,
    TextClassificationPipeline,
    pipeline,
)
from notebook_kit.errors import HubError, InputError, PipelineInputError
from notebook_kit.pipelines import PIPELINE_REGISTRY, get_task


def softmax(outputs):
    maxes = np.max(outputs, axis=-1, keepdims=True)
    shifted_exp = np.exp(outputs - maxes)
    return shifted_exp / shifted_exp.sum(axis=-1, keepdims=True)


def pair_classification(base):
    """The class of the documentation, over either library's `Pipeline`."""

    class PairClassificationPipeline(base):
        def _sanitize_parameters(self, **kwargs):
            preprocess_kwargs = {}
            if "second_text" in kwargs:
                preprocess_kwargs["second_text"] = kwargs["second_text"]
            return preprocess_kwargs, {}, {}

        def preprocess(self, text, second_text=None):
            return self.tokenizer(text, text_pair=second_text, return_tensors="pt")

        def _forward(self, model_inputs):
            return self.model(**model_inputs)

        def postprocess(self, model_outputs):
            logits = model_outputs.logits[0].numpy()
            probabilities = softmax(logits)

            best_class = np.argmax(probabilities)
            label = self.model.config.id2label[best_class]
            score = probabilities[best_class].item()
            logits = logits.tolist()
            return {"label": label, "score": score, "logits": logits}

    return PairClassificationPipeline


PairClassificationPipeline = pair_classification(Pipeline)


class TopLabels(Pipeline):
    """Options for all three steps, and entries that are no tensors."""

    def _sanitize_parameters(self, top_k=None, return_all_scores=None, temperature=None, prefix=None, **kwargs):
        preprocess = {} if prefix is None else {"prefix": prefix}
        forward = {} if temperature is None else {"temperature": temperature}
        postprocess = {} if top_k is None else {"top_k": top_k}
        if return_all_scores is not None:
            postprocess["top_k"] = None if return_all_scores else 1
        return preprocess, forward, postprocess

    def preprocess(self, text, prefix=""):
        return {**self.tokenizer(prefix + text, return_tensors="pt"), "text": text}

    def _forward(self, model_inputs, temperature=1.0):
        text = model_inputs.pop("text")
        outputs = self.model(**model_inputs)
        return {"probs": (outputs.logits / temperature).softmax(-1), "text": text}

    def postprocess(self, model_outputs, top_k=1):
        order = model_outputs["probs"][0].argsort(descending=True).tolist()[:top_k]
        return {"text": model_outputs["text"], "labels": [self.model.config.id2label[i] for i in order]}


@pytest.fixture
def registry():
    tasks = PIPELINE_REGISTRY.supported_tasks.maps[0]
    before = dict(tasks)
    yield PIPELINE_REGISTRY
    tasks.clear()
    tasks.update(before)


@pytest.fixture
def registered(registry):
    registry.register_pipeline(
        "pair-classification",
        pipeline_class=PairClassificationPipeline,
        pt_model=AutoModelForSequenceClassification,
        default={"pt": ("user/awesome_model", "abcdef")},
        type="text",
    )
    return registry


@pytest.fixture(scope="module")
def folder(checkpoints):
    return checkpoints("ForSequenceClassification", num_labels=3)


# The form -------------------------------------------------------------------------------------------------------------


def test_the_documented_class_answers_as_there(registered, folder):
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = pair_classification(transformers.Pipeline)(model=model, tokenizer=tokenizer, device=-1)
    ours = pipeline("pair-classification", model=folder, device="cpu")
    assert type(ours) is PairClassificationPipeline
    assert ours.task == "pair-classification"
    assert_same(ours("Good."), theirs("Good."))
    assert_same(ours("Good.", second_text="Very."), theirs("Good.", second_text="Very."))
    assert_same(ours(TEXTS, second_text="Very."), [theirs(text, second_text="Very.") for text in TEXTS])
    # Inputs of unequal lengths, padded.
    assert_same(ours(TEXTS, batch_size=4), [theirs(text) for text in TEXTS])
    assert_same(ours.predict(TEXTS[:2]), theirs.predict(TEXTS[:2]))
    assert_same(ours.transform(TEXTS[0]), theirs.transform(TEXTS[0]))


def test_options_are_taken_at_construction_and_at_the_call(folder):
    pipe = pipeline("text-classification", folder, pipeline_class=TopLabels, device="cpu", top_k=2)
    assert len(pipe("Good.")["labels"]) == 2
    assert len(pipe("Good.", top_k=3)["labels"]) == 3
    assert len(pipe("Good.", return_all_scores=True)["labels"]) == 3
    assert len(pipe("Good.")["labels"]) == 2
    assert pipe("Good.", prefix="Very ", temperature=2.0)["text"] == "Good."


def test_every_input_is_computed_alone_unless_a_batch_size_is_given(folder):
    pipe = pipeline("text-classification", folder, pipeline_class=TopLabels, device="cpu")
    sizes = []
    pipe.model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    expected = pipe(TEXTS)
    assert [answer["text"] for answer in expected] == TEXTS
    assert sizes == [1] * len(TEXTS)
    sizes.clear()
    assert pipe(TEXTS, batch_size=5) == expected
    assert sizes == [5, 5]
    padless = pipeline("text-classification", folder, pipeline_class=TopLabels, device="cpu", batch_size=5)
    padless.tokenizer.pad_token = None
    assert padless(TEXTS) == expected, "without a token to pad with, only equal lengths share a batch"


def test_lists_and_streams_hold_inputs_and_all_else_is_one(folder):
    pipe = pipeline("text-classification", folder, pipeline_class=TopLabels, device="cpu", top_k=None)
    pipe.preprocess = lambda item, **options: TopLabels.preprocess(pipe, str(item))
    for item in ("text", ("a", "tuple"), {"a": "dict"}, 5, np.zeros(3), torch.zeros(3), None):
        assert pipe(item)["text"] == str(item)
    assert [answer["text"] for answer in pipe(["a", "b"])] == ["a", "b"]
    read = []

    def source():
        for i in itertools.count():
            read.append(i)
            yield f"text {i}"

    stream = pipe(source())
    assert next(stream)["text"] == "text 0"
    assert len(read) == 1


def test_errors_name_the_position(folder):
    pipe = pipeline("text-classification", folder, pipeline_class=TopLabels, device="cpu")
    with pytest.raises(PipelineInputError) as caught:
        pipe(["Good.", 5, "Bad."], batch_size=2)
    assert caught.value.positions == (1,)
    assert caught.value.results[2]["text"] == "Bad."
    with pytest.raises(TypeError):
        pipe(5)


def test_an_input_of_several_chunks(folder):
    class Chunked(TopLabels):
        def preprocess(self, text, prefix=""):
            for word in text.split():
                yield super().preprocess(word)

        def postprocess(self, all_outputs, top_k=1):
            return [super(Chunked, self).postprocess(outputs) for outputs in all_outputs]

    pipe = pipeline("text-classification", folder, pipeline_class=Chunked, device="cpu")
    whole = pipeline("text-classification", folder, pipeline_class=TopLabels, device="cpu")
    assert pipe("Good film") == [whole("Good"), whole("film")]
    assert pipe(["Good film", "dull"], batch_size=2) == [[whole("Good"), whole("film")], [whole("dull")]]


def test_steps_can_be_called_by_hand(folder):
    pipe = pipeline("text-classification", folder, pipeline_class=PairClassificationPipeline, device="cpu")
    pipe.model.train()
    outputs = pipe.forward(pipe.preprocess("Good."))
    assert not outputs.logits.requires_grad
    assert pipe.postprocess(outputs) == pipe("Good.")


def test_outputs_of_several_layers_are_divided_too(folder):
    class States(PairClassificationPipeline):
        def _forward(self, model_inputs):
            return self.model(**model_inputs, output_hidden_states=True)

        def postprocess(self, model_outputs):
            assert type(model_outputs).__name__ == "SequenceClassifierOutput"
            return [tuple(states.shape) for states in model_outputs.hidden_states]

    pipe = pipeline("text-classification", folder, pipeline_class=States, device="cpu")
    shapes = pipe(["a b c", "d e f"], batch_size=2)
    assert shapes == [[(1, 5, 32)] * 3] * 2


def test_our_form_needs_no_tokenizer_but_gets_one(folder):
    class Length(Pipeline):
        task = "length"

        def preprocess(self, item, *, extra=0):
            return {**self.tokenizer(item), "extra": extra}

        def postprocess(self, item, features, outputs):
            return len(features[0]["input_ids"]) + features[0]["extra"]

    pipe = pipeline("text-classification", folder, pipeline_class=Length, device="cpu")
    assert pipe("a b c", extra=1) == 6
    with pytest.raises(InputError, match=r"no option 'extras'\. Did you mean 'extra'"):
        pipe("a", extras=1)


@pytest.mark.parametrize("name", ["window", "batch_size", "batch_budget", "num_workers"])
def test_an_option_named_like_a_run_option_is_refused(name):
    steps = {}
    exec(f"def postprocess(self, item, features, outputs, *, {name}=3): ...", steps)
    with pytest.raises(InputError, match=f"Clashing has an option '{name}'"):
        type("Clashing", (Pipeline,), {"postprocess": steps["postprocess"]})


def test_a_tokenizer_that_cannot_be_loaded_is_reported(folder, tmp_path, caplog):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(folder) / name, tmp_path)

    class Labels(Pipeline):
        task = "labels"

        def preprocess(self, item):
            return {"input_ids": item}

        def postprocess(self, item, features, outputs):
            return len(outputs[0]["logits"])

    pipe = pipeline("text-classification", tmp_path, pipeline_class=Labels, device="cpu")
    assert pipe.tokenizer is None and pipe([[2, 3]]) == [pipe.model.config.num_labels]
    (record,) = caplog.records
    assert "has no tokenizer" in record.getMessage() and str(tmp_path) in record.getMessage()


# The registry ---------------------------------------------------------------------------------------------------------


def test_a_registered_task_is_known(registered, folder):
    assert "pair-classification" in registered.get_supported_tasks()
    assert "sentiment-analysis" in registered.get_supported_tasks()
    name, entry, options = registered.check_task("pair-classification")
    assert (name, options) == ("pair-classification", None)
    assert entry == {
        "impl": PairClassificationPipeline,
        "pt": (AutoModelForSequenceClassification,),
        "default": {"model": {"pt": ("user/awesome_model", "abcdef")}},
        "type": "text",
    }
    name, entry, _ = registered.check_task("ner")
    assert name == "token-classification"
    assert entry["impl"] is notebook_kit.pipelines.TokenClassificationPipeline
    with pytest.raises(InputError, match="no task 'pair-classify'"):
        registered.check_task("pair-classify")
    assert notebook_kit.PIPELINE_REGISTRY is notebook_kit.pipelines.PIPELINE_REGISTRY


def test_a_task_can_be_registered_again(registry, folder):
    registry.register_pipeline("mine", TopLabels, pt_model=AutoModelForSequenceClassification)
    registry.register_pipeline("mine", PairClassificationPipeline, pt_model=AutoModelForSequenceClassification)
    assert type(pipeline("mine", folder, device="cpu")) is PairClassificationPipeline


def test_the_entries_of_tasks_are_read_and_replaced(registry, folder, tmp_path, caplog):
    built_in = registry.supported_tasks["ner"]
    assert built_in == registry.check_task("ner")[1] and set(registry.supported_tasks) == set(
        registry.get_supported_tasks()
    )
    registry.register_pipeline("ner", TopLabels, pt_model=AutoModelForSequenceClassification)
    assert "'ner' is already registered" in caplog.text
    assert registry.check_task("ner")[1]["impl"] is TopLabels
    registry.supported_tasks["ner"] = built_in
    assert registry.check_task("ner")[1] == built_in
    registry.register_pipeline("mine", TopLabels, pt_model=AutoModelForSequenceClassification)
    mine = pipeline("mine", folder, device="cpu")
    del registry.supported_tasks["mine"], registry.supported_tasks["ner"]
    assert registry.check_task("ner")[1] == built_in
    with pytest.raises(InputError, match="no task 'mine'"):
        pipeline("mine", folder)
    mine.save_pretrained(tmp_path)  # what it was registered for is still recorded
    assert mine.model.config.custom_pipelines["mine"]["pt"] == ("AutoModelForSequenceClassification",)


def test_the_task_of_a_checkpoint(folder, tmp_path):
    assert get_task(str(folder)) == pipeline(model=folder).task == "text-classification"
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="does not say which task"):
        get_task(str(tmp_path))


def test_of_several_model_classes_the_first_that_fits_is_taken(registry, checkpoints):
    registry.register_pipeline(
        "two", TopLabels, pt_model=(AutoModelForTokenClassification, AutoModelForSequenceClassification)
    )
    pipe = pipeline("two", checkpoints("ForTokenClassification", num_labels=3), device="cpu")
    assert type(pipe.model).__name__ == "BertForTokenClassification"


def test_the_default_checkpoint_and_its_revision(registered, folder, monkeypatch, caplog):
    from notebook_kit.pipelines import defaults

    asked, real = [], defaults.locate

    def locate(name, **options):
        asked.append((name, options.get("revision")))
        return real(folder) if isinstance(name, str) else name

    monkeypatch.setattr(defaults, "locate", locate)
    with caplog.at_level(logging.WARNING, logger="notebook_kit"):
        pipe = pipeline("pair-classification", device="cpu")
    assert asked[0] == ("user/awesome_model", "abcdef")
    assert type(pipe) is PairClassificationPipeline
    assert "using user/awesome_model" in caplog.text


def test_a_task_without_a_default_wants_a_model(registry, tmp_path, monkeypatch):
    registry.register_pipeline("mine", TopLabels)
    with pytest.raises(InputError, match="registered without a default"):
        pipeline("mine")
    registry.register_pipeline("mine", TopLabels, default="user/awesome_model")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubError, match="No model was given for mine"):
        pipeline("mine")


def test_save_and_load(registered, folder, tmp_path):
    pipe = pipeline("pair-classification", model=folder, device="cpu")
    pipe.save_pretrained(tmp_path)
    again = pipeline("pair-classification", model=tmp_path, device="cpu", trust_remote_code=True)
    assert again(TEXTS) == pipe(TEXTS)
    # The checkpoint says which registered task it is for.
    unnamed = pipeline(model=tmp_path, device="cpu", trust_remote_code=True)
    assert (type(unnamed), unnamed.task) == (PairClassificationPipeline, "pair-classification")
    del registered.supported_tasks["pair-classification"]
    assert pipeline(model=tmp_path, device="cpu").task == "text-classification"


@pytest.mark.parametrize("kind", ["registered", "passed"])
def test_a_checkpoint_of_a_custom_class_does_not_load_as_another_without_a_word(
    registry, folder, tmp_path, caplog, kind
):
    if kind == "registered":
        registry.register_pipeline("top-labels", TopLabels, pt_model=AutoModelForSequenceClassification)
        pipe = pipeline("top-labels", folder, device="cpu")
    else:
        pipe = pipeline("text-classification", folder, pipeline_class=TopLabels, device="cpu")
    pipe.save_pretrained(tmp_path)
    registry.supported_tasks.maps[0].clear()
    for given in ({"pipeline_class": TopLabels}, {}):
        caplog.clear()
        again = pipeline(None, tmp_path, device="cpu", **given)
        assert bool(caplog.records) == (not given)
    assert type(again) is TextClassificationPipeline
    assert (
        "test_custom.TopLabels, and is loaded as TextClassificationPipeline" in caplog.text
        and str(tmp_path) in caplog.text
    )
    caplog.clear()
    again.save_pretrained(tmp_path)  # from now on it is that of a built-in class
    pipeline("text-classification", tmp_path, device="cpu")
    assert not caplog.records
    import transformers

    assert transformers.pipeline("text-classification", str(tmp_path), device=-1)("Good.")


class Subclass(TextClassificationPipeline):
    """A user's class that adds no steps."""


def test_a_subclass_of_a_built_in_class_is_recorded_too(folder, tmp_path, caplog):
    plain = pipeline("text-classification", folder, device="cpu")
    Subclass(plain.model, plain.tokenizer, device="cpu").save_pretrained(tmp_path)
    assert type(pipeline("text-classification", tmp_path, device="cpu")) is TextClassificationPipeline
    assert "test_custom.Subclass" in caplog.text and "pipeline_class=" in caplog.text


@pytest.mark.parametrize(
    ("methods", "missing"),
    [
        ({}, "preprocess"),
        ({"preprocess": lambda self, item: self.tokenizer(item)}, "postprocess"),
        (
            {
                "_sanitize_parameters": lambda self, **options: ({}, {}, {}),
                "preprocess": lambda self, item: self.tokenizer(item, return_tensors="pt"),
                "postprocess": lambda self, outputs: outputs,
            },
            "_forward",
        ),
    ],
)
def test_the_method_that_a_class_lacks_is_named(folder, methods, missing):
    Unfinished = type("Unfinished", (Pipeline,), methods)
    pipe = pipeline("text-classification", folder, pipeline_class=Unfinished, device="cpu")
    with pytest.raises(InputError, match=f"Unfinished has no method {missing}, which"):
        pipe("Good.")
    with pytest.raises(PipelineInputError, match=f"Unfinished has no method {missing}"):
        pipe(["Good.", "Bad."])


def test_a_model_in_memory(registered, folder):
    from notebook_kit import AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    pipe = pipeline("pair-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder), device="cpu")
    assert_same(pipe("Good."), PairClassificationPipeline(model, pipe.tokenizer, device="cpu")("Good."))


def test_a_model_without_a_configuration_and_sound_without_a_tokenizer():
    """The class by hand, over any module: features of a feature extractor, padded with its value."""

    class Loudest(Pipeline):
        def _sanitize_parameters(self, **kwargs):
            return {}, {}, {}

        def preprocess(self, samples):
            return {"input_values": torch.as_tensor(samples)[None]}

        def _forward(self, model_inputs):
            return {"loudest": model_inputs["input_values"].amax(dim=1)}

        def postprocess(self, model_outputs):
            return float(model_outputs["loudest"][0])

    extractor = SimpleNamespace(padding_value=-9.0, padding_side="left")
    pipe = Loudest(torch.nn.Linear(1, 1), feature_extractor=extractor, task="loudest", device="cpu")
    sounds = [np.full(n, -float(n), dtype=np.float32) for n in (3, 1, 2)]
    assert pipe(sounds, batch_size=3) == [-3.0, -1.0, -2.0]
    assert pipe(sounds[1]) == -1.0


@pytest.mark.parametrize(
    "method",
    [
        {"_forward": lambda self, inputs: None},
        {"_sanitize_parameters": lambda self, **options: ({}, {}, {})},
        {"postprocess": lambda self, model_outputs, **options: None},
    ],
    ids=lambda method: next(iter(method)),
)
def test_a_built_in_pipeline_refuses_steps_of_the_other_form(method):
    with pytest.raises(InputError, match=rf"Own\.{next(iter(method))} has the form of transformers"):
        type("Own", (TextClassificationPipeline,), method)


def test_a_built_in_pipeline_takes_steps_of_its_form():
    class Shouting(TextClassificationPipeline):
        def postprocess(self, item, features, outputs, **options):
            answer = super().postprocess(item, features, outputs, **options)
            return {**answer, "label": answer["label"] + "!"}

    plain = pipeline("sentiment-analysis", model="zoo")
    texts = ["A good film.", "A dull film."]
    assert [each["label"][-1] for each in Shouting(plain.model, plain.tokenizer)(texts)] == ["!", "!"]
