"""From a checkpoint to a model and back: prefixes, dtypes, old names, what is missing or misshapen, other containers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import pytest
import reference as ref
import torch
import transformers
from safetensors.torch import load_file, save_file

import notebook_kit
from notebook_kit.errors import CheckpointError, ConfigurationError, InputError, NotebookKitWarning
from notebook_kit.models.auto import model_classes

IDS = torch.tensor([[5, 9, 17, 33, 2]])


def heads_of(model_type):
    return {name: kind for name, kind in model_classes(model_type).items() if name != "AutoModel"}


def rewrite(folder, change):
    """Save the weights of `folder` again as `change` makes them."""
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture
def tiny(tmp_path):
    """A saved tiny BERT classifier."""
    return ref.saved(ref.reference_model("bert", "BertForSequenceClassification"), tmp_path / "tiny")


# Backbone and heads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ref.model_types())
def test_backbone_into_heads(model_type, tmp_path):
    """One warning, which names the head; the backbone's weights arrive."""
    reference = ref.reference_model(model_type, model_classes(model_type)["AutoModel"].__name__, num_labels=2)
    ref.saved(reference, tmp_path)
    for auto_name, kind in heads_of(model_type).items():
        with pytest.warns(NotebookKitWarning, match="no weights for the head") as caught:
            model = getattr(notebook_kit, auto_name).from_pretrained(tmp_path)
        assert len(caught) == 1 and type(model) is kind
        theirs = dict(reference.named_parameters())
        for name, parameter in model.base_model.named_parameters():
            assert torch.equal(parameter, theirs[name]), name
        assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("model_type", ref.model_types())
def test_heads_into_backbone(model_type, tmp_path):
    """Silent, unless a pooler has to start fresh."""
    for auto_name, kind in heads_of(model_type).items():
        folder = tmp_path / auto_name
        reference = ref.reference_model(model_type, kind.__name__, num_labels=2)
        ref.saved(reference, folder)
        theirs = dict(reference.base_model.named_parameters())
        has_pooler = any(name.startswith("pooler") for name in theirs)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = notebook_kit.AutoModel.from_pretrained(folder)
        wants_pooler = getattr(model, "pooler", None) is not None
        assert [str(w.message) for w in caught if "pooler" not in str(w.message)] == []
        assert bool(caught) == (wants_pooler and not has_pooler)
        for name, parameter in model.named_parameters():
            assert name not in theirs or torch.equal(parameter, theirs[name]), name


def test_pooler_that_a_head_needs_is_told(tmp_path):
    ref.saved(ref.reference_model("bert", "BertForTokenClassification"), tmp_path)
    with pytest.warns(NotebookKitWarning, match=r"bert\.pooler\.dense\.weight"):
        notebook_kit.BertForSequenceClassification.from_pretrained(tmp_path)


def test_backbone_without_its_pooler(tmp_path):
    ref.saved(ref.reference_model("bert", "BertForTokenClassification"), tmp_path)
    model = notebook_kit.AutoModel.from_pretrained(tmp_path, add_pooling_layer=False)  # nothing fresh, so silent
    assert model.pooler is None and list(model(IDS)) == ["last_hidden_state"]
    ref.saved(ref.reference_model("bert", "BertModel"), tmp_path / "whole")
    assert notebook_kit.BertModel.from_pretrained(tmp_path / "whole", add_pooling_layer=False).pooler is None


def test_the_reference_loads_our_backbone_into_its_head(tmp_path):
    config = notebook_kit.BertConfig(**ref.tiny_fields("bert"))
    model = notebook_kit.BertModel(config)
    model.save_pretrained(tmp_path)
    theirs = transformers.BertForMaskedLM.from_pretrained(tmp_path)
    assert torch.equal(theirs.bert.encoder.layer[1].output.dense.weight, model.encoder.layer[1].output.dense.weight)


# Missing, misshapen, unexpected --------------------------------------------------------------------------------------


def test_missing_backbone_weight_is_an_error(tiny):
    lost = "bert.encoder.layer.1.attention.self.query.weight"
    rewrite(tiny, lambda weights: {name: value for name, value in weights.items() if name != lost})
    with pytest.raises(CheckpointError, match=f"lacks 1 weights that BertForSequenceClassification needs: {lost}"):
        notebook_kit.BertForSequenceClassification.from_pretrained(tiny)
    with pytest.raises(CheckpointError, match="lacks 1 weights"):
        notebook_kit.AutoModel.from_pretrained(tiny)


def test_more_layers_in_the_config_than_in_the_file(tiny):
    with pytest.raises(CheckpointError, match="lacks 16 weights"):
        notebook_kit.AutoModel.from_pretrained(tiny, num_hidden_layers=4)


def test_fewer_layers_in_the_config_than_in_the_file(tiny):
    with pytest.warns(NotebookKitWarning, match="16 weights of .* have no place in BertModel"):
        model = notebook_kit.AutoModel.from_pretrained(tiny, num_hidden_layers=2)
    assert len(model.encoder.layer) == 2


def test_misshapen_weight(tiny):
    with pytest.raises(CheckpointError, match=r"classifier\.weight: \(3, 32\) in the file, \(5, 32\) in the model"):
        notebook_kit.BertForSequenceClassification.from_pretrained(tiny, num_labels=5)
    with pytest.warns(NotebookKitWarning, match="2 weights .* have another shape and start fresh") as caught:
        model = notebook_kit.BertForSequenceClassification.from_pretrained(
            tiny, num_labels=5, ignore_mismatched_sizes=True
        )
    assert len(caught) == 1 and "no weights for the head" not in str(caught[0].message)
    assert model(IDS).logits.shape == (1, 5) and model.num_labels == model.config.num_labels == 5
    assert not model.classifier.bias.any()
    assert model.classifier.weight.std() < 0.1  # drawn anew, not left as memory was found


def test_misshapen_name_inside_another_name(tmp_path):
    """DistilBERT's `classifier` is part of the name `pre_classifier`: a lost one is not hidden by the other's shape."""
    ref.saved(ref.reference_model("distilbert", "DistilBertForSequenceClassification"), tmp_path)
    rewrite(tmp_path, lambda weights: {k: v for k, v in weights.items() if k != "classifier.weight"})
    with pytest.warns(NotebookKitWarning, match=r"no weights for the head .*: classifier\.weight\."):
        notebook_kit.DistilBertForSequenceClassification.from_pretrained(tmp_path)


def test_damaged_shape_of_the_backbone(tiny):
    key = "bert.encoder.layer.0.output.dense.weight"
    rewrite(tiny, lambda weights: {**weights, key: weights[key][:, :-1].contiguous()})
    with pytest.raises(CheckpointError, match="do not have the shape"):
        notebook_kit.AutoModel.from_pretrained(tiny)


def test_weight_with_no_place(tiny):
    rewrite(tiny, lambda weights: {**weights, "bert.encoder.layer.0.adapter.weight": torch.zeros(2)})
    with pytest.warns(NotebookKitWarning, match=r"1 weights .* no place .*adapter\.weight"):
        notebook_kit.AutoModel.from_pretrained(tiny)


# Old checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ref.model_types())
def test_old_names(model_type, tmp_path):
    """gamma and beta of TensorFlow-era files, and stored position indices."""
    kind = model_classes(model_type)["AutoModelForMaskedLM"]
    reference = ref.reference_model(model_type, kind.__name__)
    ref.saved(reference, tmp_path)
    prefix = kind.base_model_prefix

    def old(weights):
        renamed = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
            for name, value in weights.items()
        }
        return {**renamed, f"{prefix}.embeddings.position_ids": torch.arange(40)[None]}

    rewrite(tmp_path, old)
    model = kind.from_pretrained(tmp_path)
    with torch.no_grad():
        ref.assert_same_output(model(IDS), reference(IDS))


@pytest.mark.parametrize("model_type", ref.model_types())
def test_tied_weights_stored_under_either_name(model_type, tmp_path):
    """Files of version 4 hold both names, some conversions only the output layer's."""
    kind = model_classes(model_type)["AutoModelForMaskedLM"]
    reference = ref.reference_model(model_type, kind.__name__)
    ref.saved(reference, tmp_path)
    original = load_file(tmp_path / "model.safetensors")
    expected = reference(IDS).logits
    for keep_target in (True, False):

        def stored(weights, keep_target=keep_target):
            weights = dict(original)
            for alias, target in kind.weight_rules.tied.items():
                weights[alias] = original[target].clone()
                if not keep_target:
                    del weights[target]
            return weights

        rewrite(tmp_path, stored)
        model = kind.from_pretrained(tmp_path)
        torch.testing.assert_close(model(IDS).logits, expected, rtol=1e-5, atol=1e-5)
        output = model.get_parameter(next(iter(kind.weight_rules.tied)))
        assert output is model.get_input_embeddings().weight


def test_file_that_contradicts_its_config_on_ties(tmp_path):
    """Output layers that were trained apart are kept apart, with a warning, as transformers does."""
    reference = ref.reference_model("bert", "BertForMaskedLM", tie_word_embeddings=False)
    ref.saved(reference, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["tie_word_embeddings"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.warns(NotebookKitWarning, match="different values, though its config.json ties them"):
        model = notebook_kit.BertForMaskedLM.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, reference(IDS).logits, rtol=1e-5, atol=1e-5)
    model.save_pretrained(tmp_path / "again")
    again = notebook_kit.BertForMaskedLM.from_pretrained(tmp_path / "again")
    assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_untied_file_that_stores_the_bias_once(tmp_path):
    reference = ref.reference_model("bert", "BertForMaskedLM", tie_word_embeddings=False)
    reference.cls.predictions.decoder.bias.data.copy_(reference.cls.predictions.bias.data)
    ref.saved(reference, tmp_path)
    rewrite(tmp_path, lambda weights: {k: v for k, v in weights.items() if k != "cls.predictions.decoder.bias"})
    model = notebook_kit.BertForMaskedLM.from_pretrained(tmp_path)
    torch.testing.assert_close(model(IDS).logits, reference(IDS).logits, rtol=1e-5, atol=1e-5)
    predictions = model.cls["predictions"]
    predictions.decoder.bias.data.zero_()
    assert predictions.bias.any()  # two parameters, two memories


# Other containers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["bin", "sharded bin", "sharded safetensors"])
def test_other_containers(form, tiny, tmp_path):
    reference = transformers.BertForSequenceClassification.from_pretrained(tiny).eval()
    folder = tmp_path / form
    folder.mkdir()
    reference.config.save_pretrained(folder)
    weights = load_file(tiny / "model.safetensors")
    if form == "sharded safetensors":
        reference.save_pretrained(folder, max_shard_size="40KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
    elif form == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        names = sorted(weights)
        files = {"pytorch_model-00001-of-00002.bin": names[:20], "pytorch_model-00002-of-00002.bin": names[20:]}
        for file, keys in files.items():
            torch.save({key: weights[key] for key in keys}, folder / file)
        index = {"metadata": {}, "weight_map": {key: file for file, keys in files.items() for key in keys}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    model = notebook_kit.AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        ref.assert_same_output(model(IDS), reference(IDS))


def test_sharded_save_goes_back(tiny, tmp_path):
    model = notebook_kit.AutoModelForSequenceClassification.from_pretrained(tiny)
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    theirs = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "shards").eval()
    again = notebook_kit.AutoModelForSequenceClassification.from_pretrained(tmp_path / "shards")
    weights = again.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    torch.testing.assert_close(again(IDS).logits, model(IDS).logits)  # sums depend on where weights lie in memory
    torch.testing.assert_close(theirs(IDS).logits, model(IDS).logits, rtol=1e-5, atol=1e-5)


def test_pickled_weights_are_not_written(tiny, tmp_path):
    model = notebook_kit.AutoModel.from_pretrained(tiny)
    with pytest.raises(InputError, match="Pickled weights"):
        model.save_pretrained(tmp_path / "out", safe_serialization=False)
    assert not (tmp_path / "out").exists()


# dtype and device ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype(dtype, tiny, tmp_path):
    name = str(dtype).removeprefix("torch.")
    model = notebook_kit.AutoModel.from_pretrained(tiny, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert notebook_kit.AutoModel.from_pretrained(tiny, dtype=name).dtype == dtype
    assert notebook_kit.AutoModel.from_pretrained(tiny, torch_dtype=dtype).dtype == dtype
    assert notebook_kit.AutoModel.from_pretrained(tiny).dtype == torch.float32
    given = ref.batch(model.config)
    with torch.no_grad():
        out = model(**given)
        theirs = transformers.BertModel.from_pretrained(tiny, dtype=dtype, attn_implementation="eager").eval()(**given)
    assert out.last_hidden_state.dtype == dtype
    tolerance = {torch.float16: 1e-2, torch.bfloat16: 1e-1, torch.float64: 1e-10}[dtype]
    torch.testing.assert_close(out.last_hidden_state, theirs.last_hidden_state, rtol=tolerance, atol=tolerance)

    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == name
    assert {value.dtype for value in ref.weights_in(tmp_path / "saved").values()} == {dtype}
    again = notebook_kit.AutoModel.from_pretrained(tmp_path / "saved", dtype="auto")
    assert again.dtype == dtype
    assert torch.equal(again.encoder.layer[0].output.dense.weight, model.encoder.layer[0].output.dense.weight)
    assert transformers.BertModel.from_pretrained(tmp_path / "saved").dtype == dtype


def test_half_precision_with_a_row_of_padding(tmp_path):
    """A text of nothing but padding makes no NaN, in any precision, in any family."""
    for model_type in ref.model_types():
        kind = model_classes(model_type)["AutoModel"]
        model = kind.from_pretrained(ref.saved(ref.reference_model(model_type, kind.__name__), tmp_path / model_type))
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            given = ref.batch(model.config)
            given["attention_mask"][2] = 0
            with torch.no_grad():
                assert model.to(dtype)(**given).last_hidden_state.isfinite().all(), (model_type, dtype)


def test_fresh_head_has_the_dtype_of_the_rest(tmp_path):
    ref.saved(ref.reference_model("bert", "BertModel"), tmp_path)
    with pytest.warns(NotebookKitWarning):
        model = notebook_kit.AutoModelForTokenClassification.from_pretrained(tmp_path, dtype="bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_unknown_dtype(tiny):
    with pytest.raises(InputError, match="Did you mean 'bfloat16'"):
        notebook_kit.AutoModel.from_pretrained(tiny, dtype="bflot16")


def test_device_map(tiny):
    expected = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    assert notebook_kit.AutoModel.from_pretrained(tiny, device_map="auto").device.type == expected.type
    for one in ("cpu", torch.device("cpu"), {"": "cpu"}):
        assert notebook_kit.AutoModel.from_pretrained(tiny, device_map=one).device.type == "cpu"
    with pytest.raises(InputError, match="spreads the model over 2 devices"):
        notebook_kit.AutoModel.from_pretrained(tiny, device_map={"embeddings": "cpu", "encoder": "meta"})
    with pytest.raises(InputError, match="Unknown device 'gpu'"):
        notebook_kit.AutoModel.from_pretrained(tiny, device_map="gpu")


def test_loading_draws_no_random_number(tiny):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    notebook_kit.AutoModel.from_pretrained(tiny)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_a_loaded_model_leaves_the_file_alone(tiny):
    before = (tiny / "model.safetensors").read_bytes()
    model = notebook_kit.AutoModel.from_pretrained(tiny)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert (tiny / "model.safetensors").read_bytes() == before
    model.save_pretrained(tiny)  # onto the file that the weights were mapped from
    again = notebook_kit.AutoModel.from_pretrained(tiny)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


# Wrong calls ---------------------------------------------------------------------------------------------------------


def test_wrong_family(tiny):
    with pytest.raises(ConfigurationError, match="of the family 'bert', but RobertaModel is for 'roberta' models"):
        notebook_kit.RobertaModel.from_pretrained(tiny)
    with pytest.raises(ConfigurationError, match="takes a RobertaConfig, and got BertConfig"):
        notebook_kit.RobertaModel(notebook_kit.BertConfig())


def test_unknown_edit(tiny):
    with pytest.raises(ConfigurationError, match="Did you mean 'num_labels'"):
        notebook_kit.AutoModelForSequenceClassification.from_pretrained(tiny, num_lables=3)


def test_wrong_inputs(tiny):
    model = notebook_kit.AutoModel.from_pretrained(tiny)
    with pytest.raises(InputError, match="vocabulary has ids 0 to 98"):
        model(torch.tensor([[3, 99]]))
    with pytest.raises(InputError, match="positions for 40"):
        model(torch.ones(1, 41, dtype=torch.long))
    with pytest.raises(InputError, match=r"shape \(3,\); expected \(batch, tokens\)"):
        model(torch.tensor([1, 2, 3]))
    with pytest.raises(InputError, match="got neither"):
        model()
    with pytest.raises(InputError, match="got both"):
        model(IDS, inputs_embeds=torch.zeros(1, 5, 32))
    with pytest.raises(InputError, match="segments 0 to 1"):
        model(IDS, token_type_ids=torch.full_like(IDS, 2))


def test_wrong_labels(tiny):
    model = notebook_kit.AutoModelForSequenceClassification.from_pretrained(tiny)
    with pytest.raises(InputError, match=r"Labels \[3\] are outside 0 to 2"):
        model(IDS, labels=torch.tensor([3]))
    model.config.problem_type = "multi_label_classification"
    with pytest.raises(InputError, match=r"takes labels of shape \(1, 3\)"):
        model(IDS, labels=torch.tensor([1.0]))
    model.config.problem_type = "regression"
    with pytest.raises(InputError, match="Regression labels"):
        model(IDS, labels=torch.tensor([1.0]))


# The vocabulary's size -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [105, 90])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("model_type", ref.model_types())
def test_resize_token_embeddings(model_type, tied, rows, tmp_path):
    name = model_classes(model_type)["AutoModelForMaskedLM"].__name__
    reference = ref.reference_model(model_type, name, tie_word_embeddings=tied)
    model = ref.ours_of(name).from_pretrained(ref.saved(reference, tmp_path / "a"))
    before = model(IDS).logits
    reference.resize_token_embeddings(rows, mean_resizing=False)
    table = model.resize_token_embeddings(rows)
    assert table is model.get_input_embeddings() and table.num_embeddings == rows == model.config.vocab_size
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in reference.state_dict().items()}
    for key in theirs:
        if key == "lm_head.bias" and not tied and model_type != "mpnet":
            continue  # the oracle leaves behind the copy that nothing reads
        assert shapes[key] == theirs[key], key
    after = model(IDS).logits
    assert after.shape[-1] == rows
    keep = min(rows, 99)
    torch.testing.assert_close(after[..., :keep], before[..., :keep], rtol=1e-5, atol=1e-5)
    for alias, target in model.weight_rules.tied.items():
        assert (model.get_parameter(alias) is model.get_parameter(target)) == tied, alias
    model(IDS, labels=IDS).loss.backward()
    model.save_pretrained(tmp_path / "b")
    again = ref.ours_of(name).from_pretrained(tmp_path / "b")
    assert torch.equal(again(IDS).logits, after)
    loaded, report = getattr(transformers, name).from_pretrained(tmp_path / "b", output_loading_info=True)
    assert not any(report.values()), report
    torch.testing.assert_close(loaded.eval()(IDS).logits, after, rtol=1e-5, atol=1e-5)


def test_resize_of_backbone_and_classifier(tiny):
    for model in (
        notebook_kit.AutoModel.from_pretrained(tiny),
        notebook_kit.AutoModelForSequenceClassification.from_pretrained(tiny),
    ):
        model.get_input_embeddings().weight.requires_grad_(False)
        assert model.resize_token_embeddings().num_embeddings == 99
        assert model.resize_token_embeddings(pad_to_multiple_of=64).num_embeddings == 128
        assert model.resize_token_embeddings(129, pad_to_multiple_of=8).num_embeddings == 136
        assert not model.get_input_embeddings().weight.requires_grad
        assert model(torch.tensor([[135, 3]])) is not None
        with pytest.raises(InputError, match="ids 0 to 135"):
            model(torch.tensor([[136]]))


@pytest.mark.slow
def test_new_rows_depend_on_the_seed_alone():
    """Sets of names have another order in every process; what is drawn must not follow it."""
    code = (
        "import torch, notebook_kit as n; torch.manual_seed(0);"
        "m = n.BertForMaskedLM(n.BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1, vocab_size=9,"
        " intermediate_size=8, tie_word_embeddings=False)); m.resize_token_embeddings(11);"
        "print(sum(p.double().abs().sum().item() for p in m.parameters()))"
    )
    sums = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(sums) == 1


def test_set_input_embeddings_keeps_the_tie():
    model = notebook_kit.BertForMaskedLM(notebook_kit.BertConfig(**ref.tiny_fields("bert")))
    model.set_input_embeddings(torch.nn.Embedding(99, 32))
    assert model.cls["predictions"].decoder.weight is model.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("own", "step"),
    [
        ("RobertaModel", "Use AutoModel.from_pretrained or BertModel.from_pretrained."),
        ("ElectraForMaskedLM", "Use AutoModelForMaskedLM.from_pretrained or BertForMaskedLM.from_pretrained."),
        ("LlamaForCausalLM", "Use AutoModelForCausalLM.from_pretrained or BertLMHeadModel.from_pretrained."),
        ("T5ForConditionalGeneration", "Use AutoModelForSeq2SeqLM.from_pretrained."),
    ],
)
def test_a_wrong_family_names_the_classes_that_load_it(tiny, own, step):
    with pytest.raises(ConfigurationError, match="of the family 'bert'") as caught:
        getattr(notebook_kit, own).from_pretrained(tiny)
    assert caught.value.next_step == step


def test_quantize_is_an_argument_of_pipeline(tiny):
    for kind in (notebook_kit.AutoModel, notebook_kit.BertModel):
        with pytest.raises(InputError, match="from_pretrained does not quantize") as caught:
            kind.from_pretrained(tiny, quantize="int8")
        assert 'pipeline(..., quantize="int8")' in caught.value.next_step
        kind.from_pretrained(tiny, quantize=None)
