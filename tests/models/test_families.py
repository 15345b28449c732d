"""Every family and head equals its counterpart in transformers, from logits to gradients and back to disk."""

from __future__ import annotations

import inspect

import pytest
import reference as ref
import torch
import transformers

import notebook_kit
from notebook_kit.models import auto
from notebook_kit.models.auto import config_class, model_classes
from notebook_kit.registry.families import FAMILIES

TWINS = ("camembert", "xlm-roberta")  # RoBERTa under another name: compared in depth only among the slow tests
ALL = [
    pytest.param(*pair, marks=[pytest.mark.slow] if pair[0] in TWINS else [], id=pair[1]) for pair in ref.class_names()
]


@pytest.mark.parametrize(("model_type", "name"), ALL)
def test_equals_reference(model_type, name, tmp_path):
    ref.assert_matches_reference(model_type, name, tmp_path)


@pytest.mark.parametrize(("model_type", "name"), [pair for pair in ref.class_names() if pair[0] in TWINS])
def test_twins_of_roberta_give_the_same_output(model_type, name, tmp_path):
    reference = ref.reference_model(model_type, name)
    model = ref.ours_of(name).from_pretrained(ref.saved(reference, tmp_path))
    with torch.no_grad():
        given = ref.batch(reference.config)
        given = ref.with_choices(given) if name.endswith("ForMultipleChoice") else given
        ref.assert_same_output(model(**given), reference(**given))


def test_electra_discriminator(tmp_path):
    ref.assert_matches_reference("electra", "ElectraForPreTraining", tmp_path)


@pytest.mark.parametrize(
    ("model_type", "name", "edits"),
    [
        ("electra", "ElectraModel", {"embedding_size": 32}),
        ("albert", "AlbertModel", {"num_hidden_groups": 1, "inner_group_num": 1, "num_hidden_layers": 3}),
        ("albert", "AlbertForMaskedLM", {"num_hidden_groups": 3, "inner_group_num": 1, "num_hidden_layers": 5}),
        ("bert", "BertForMaskedLM", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5}),
        ("bert", "BertModel", {"hidden_act": "relu", "pad_token_id": None}),
        ("roberta", "RobertaModel", {"pad_token_id": 3}),
        ("mpnet", "MPNetModel", {"pad_token_id": 3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_unusual_settings(model_type, name, edits, tmp_path):
    ref.assert_matches_reference(model_type, name, tmp_path, **edits)


@pytest.mark.parametrize("model_type", ["albert", "bert", "distilbert", "electra", "mpnet", "roberta"])
def test_untied_output_layer(model_type, tmp_path):
    name = model_classes(model_type)["AutoModelForMaskedLM"].__name__
    ref.assert_matches_reference(model_type, name, tmp_path, tie_word_embeddings=False)


def test_mpnet_beyond_the_near_distances(tmp_path):
    reference = ref.reference_model("mpnet", "MPNetModel", max_position_embeddings=400)
    model = notebook_kit.MPNetModel.from_pretrained(ref.saved(reference, tmp_path))
    ids = torch.randint(4, 99, (1, 390), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ref.assert_same_output(model(ids), reference(ids))


@pytest.mark.parametrize("model_type", ["roberta", "mpnet"])
def test_padding_takes_no_position(model_type, tmp_path):
    name = model_classes(model_type)["AutoModel"].__name__
    reference = ref.reference_model(model_type, name)
    model = ref.ours_of(name).from_pretrained(ref.saved(reference, tmp_path))
    ids = torch.full((2, 45), 1)  # more places than there are positions, but most hold padding
    ids[0, 10:40] = 7
    ids[1, :38] = 9
    given = {"input_ids": ids, "attention_mask": ids.ne(1).long()}
    with torch.no_grad():
        ref.assert_same_output(model(**given), reference(**given))
    with pytest.raises(notebook_kit.errors.InputError, match="45 tokens, and this model has positions for 38"):
        model(torch.full((1, 45), 5))
    with pytest.raises(notebook_kit.errors.InputError, match="positions for 38"):
        model(inputs_embeds=torch.zeros(1, 39, 32))


def test_registry_is_whole():
    for model_type in ref.model_types():
        module, config = FAMILIES[model_type].module, FAMILIES[model_type].config
        assert config_class(model_type).model_type == model_type
        heads, expected = model_classes(model_type), dict(ref.HEADS)
        if model_type == "layoutlm":  # it answers questions about documents
            expected["AutoModelForDocumentQuestionAnswering"] = expected.pop("AutoModelForQuestionAnswering")
        assert heads.keys() >= expected.keys(), module
        for auto_name, suffix in expected.items():
            kind = heads[auto_name]
            assert kind.__name__ == config.removesuffix("Config") + suffix
            assert kind.config_class is config_class(model_type)
            assert getattr(notebook_kit, kind.__name__) is kind
            assert getattr(auto, auto_name).model_class(config_class(model_type)()) is kind
        assert getattr(notebook_kit, config) is config_class(model_type)


@pytest.mark.parametrize(("model_type", "name"), list(ref.class_names()))
def test_takes_the_inputs_that_the_reference_takes(model_type, name):
    mine = [name for name in inspect.signature(ref.ours_of(name).forward).parameters if name != "options"]
    theirs = list(inspect.signature(getattr(transformers, name).forward).parameters)
    theirs = [given for given in theirs if given in mine]
    assert [given for given in mine if given in theirs] == theirs  # in the same order, for calls by position
    assert set(mine) - set(theirs) <= {"output_attentions", "output_hidden_states"}


@pytest.mark.parametrize("model_type", ref.model_types())
def test_fresh_weights_are_drawn_as_the_reference_draws_them(model_type):
    """Same zeros, same ones, same spread: what decides whether training from scratch behaves alike."""
    for kind in model_classes(model_type).values():
        torch.manual_seed(0)
        fields = ref.tiny_fields(model_type, num_labels=2)
        mine = dict(ref.all_parameters(kind(kind.config_class(**fields))))
        reference_class = getattr(transformers, kind.__name__)
        theirs = dict(ref.all_parameters(reference_class(reference_class.config_class(**fields))))
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            assert mine[name].shape == value.shape
            assert (mine[name] == 0).sum() == (value == 0).sum(), name
            assert (mine[name] == 1).all() == (value == 1).all(), name
            if value.numel() > 500 and value.any():
                assert mine[name].std().item() == pytest.approx(value.std().item(), rel=0.15), name


def test_sinusoidal_start_of_distilbert():
    fields = ref.tiny_fields("distilbert", sinusoidal_pos_embds=True)
    mine = notebook_kit.DistilBertForMaskedLM(notebook_kit.DistilBertConfig(**fields))
    theirs = transformers.DistilBertForMaskedLM(transformers.DistilBertConfig(**fields))
    torch.testing.assert_close(
        mine.distilbert.embeddings.position_embeddings.weight,
        theirs.distilbert.embeddings.position_embeddings.weight,
        check_stride=False,
    )
