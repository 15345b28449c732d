"""BART, mBART, Marian, T5 and mT5 equal their counterparts in transformers: outputs, gradients, files, generated tokens."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reference as ref
import torch
import transformers
from torch import Tensor, nn

import notebook_kit
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.models.auto import AutoModelForSeq2SeqLM, config_class, model_classes
from notebook_kit.nn.layers import distance_buckets
from notebook_kit.registry.families import FAMILIES

_BART = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 40,
    "dropout": 0.0,
    "num_labels": 3,
}
_T5 = {
    "vocab_size": 99,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "dropout_rate": 0.0,
    "num_labels": 3,
    "decoder_start_token_id": 0,
}
FIELDS: dict[str, dict[str, Any]] = {
    "bart": _BART,
    "mbart": {**_BART, "scale_embedding": True, "decoder_start_token_id": 7},
    "marian": {
        **_BART,
        "d_model": 16,
        "activation_function": "swish",
        "scale_embedding": True,
        "pad_token_id": 98,
        "decoder_start_token_id": 98,
    },
    "m2m_100": {
        **_BART,
        "scale_embedding": True,
        "attention_dropout": 0.0,
        "encoder_layerdrop": 0.0,
        "decoder_layerdrop": 0.0,
    },
    "t5": _T5,
    "mt5": _T5,
}
NAMES = [pair for pair in ref.class_names(kind="AutoModelForSeq2SeqLM") if pair[0] in FIELDS]
NAMES = [pair for pair in NAMES if not pair[1].endswith("ForCausalLM")]  # a decoder alone: test_bart_decoders.py
NAMES += [("t5", "T5EncoderModel"), ("mt5", "MT5EncoderModel")]
ENCODERS = ("EncoderModel", "ForTokenClassification")
WRITERS = [pair for pair in ref.class_names("AutoModelForSeq2SeqLM", "AutoModelForSeq2SeqLM") if pair[0] in FIELDS]
_APART = {  # Marian with two vocabularies
    "share_encoder_decoder_embeddings": False,
    "decoder_vocab_size": 77,
    "pad_token_id": 70,
    "decoder_start_token_id": 70,
}
VARIANTS = [
    ("bart", "BartForConditionalGeneration", {"scale_embedding": True, "activation_function": "relu"}),
    ("bart", "BartForConditionalGeneration", {"tie_word_embeddings": False}),
    ("bart", "BartModel", {"encoder_layers": 1, "decoder_layers": 1}),
    ("marian", "MarianMTModel", _APART),
    ("marian", "MarianModel", _APART),
    ("marian", "MarianMTModel", {"d_model": 20, "scale_embedding": False}),
    ("t5", "T5ForConditionalGeneration", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    ("t5", "T5Model", {"feed_forward_proj": "gated-silu"}),
    ("mt5", "MT5ForConditionalGeneration", {"feed_forward_proj": "relu"}),
]


def reference_model(model_type: str, name: str, **edits: Any) -> nn.Module:
    """A tiny model of `transformers` with random weights, biases of the output layer included."""
    kind = getattr(transformers, name)
    if name.endswith("ForQuestionAnswering"):
        edits["num_labels"] = 2  # start and end
    model = kind._from_config(kind.config_class(**{**FIELDS[model_type], **edits}), attn_implementation="eager").eval()
    positions = {key: value.clone() for key, value in model.state_dict().items() if "embed_positions" in key}
    ref.randomize(model)
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(3))
    if model_type == "marian":  # its positions are fixed
        model.load_state_dict(positions, strict=False)
    if model_type in ("t5", "mt5"):  # scores that are not scaled would otherwise magnify the last bit of a float32
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(0.6 if weight.dim() > 1 else 1.0)
    return model


def batch(config: Any) -> dict[str, Tensor]:
    """Three texts of unequal lengths, padded on the right, with one end-of-text token each."""
    given = ref.batch(config)
    ids = given["input_ids"]
    ids[ids > 69] -= 60  # the smaller of the vocabularies
    ids[ids == config.eos_token_id] = 5
    ids[0, 8], ids[1, 5], ids[2, 0] = (config.eos_token_id,) * 3
    return given


def decoder_side(config: Any) -> dict[str, Tensor]:
    ids = torch.randint(4, 70, (3, 6), generator=torch.Generator().manual_seed(4))
    return {"decoder_input_ids": ids}


def inputs_for(name: str, reference: nn.Module) -> Iterator[dict[str, Tensor]]:
    config, given = reference.config, batch(reference.config)
    embeds = reference.get_input_embeddings()(given["input_ids"]).detach() * 1.5
    if name.endswith(ENCODERS):
        yield from (given, {"input_ids": given["input_ids"]}, {**given, "input_ids": None, "inputs_embeds": embeds})
        return
    if name.endswith(("ForSequenceClassification", "ForQuestionAnswering")) or name.startswith(("Bart", "MBart")):
        yield given  # the decoder reads what the encoder reads
    if name.endswith("ForSequenceClassification"):
        return
    side = decoder_side(config)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 6])
    yield {**given, **side}
    yield {**given, **side, "decoder_attention_mask": mask}
    yield {**given, **side, "decoder_attention_mask": mask.flip(1)}
    yield {"input_ids": given["input_ids"], **side}
    yield {"attention_mask": given["attention_mask"], "inputs_embeds": embeds, **side}
    table = reference.get_decoder().get_input_embeddings()
    yield {**given, "decoder_inputs_embeds": table(side["decoder_input_ids"]).detach() * 0.5}
    with torch.no_grad():
        states = reference.get_encoder()(**given).last_hidden_state
    yield {"encoder_outputs": (states,), "attention_mask": given["attention_mask"], **side}


def labels_for(name: str, config: Any, problem: str = "single_label_classification") -> dict[str, Tensor]:
    if name.endswith(("ForConditionalGeneration", "MTModel")):
        labels = decoder_side(config)["decoder_input_ids"].clone()
        labels[1, 4:] = labels[2, 1:] = -100
        return {"labels": labels}
    return ref.labels_for(name, config, problem)


def no_cache(name: str) -> dict[str, bool]:
    return {} if name.endswith(ENCODERS) else {"use_cache": False}


@pytest.mark.parametrize(("model_type", "name"), NAMES, ids=[name for _, name in NAMES])
def test_equals_reference(model_type, name, tmp_path):
    assert_matches_reference(model_type, name, tmp_path)


@pytest.mark.parametrize(
    ("model_type", "name", "edits"), VARIANTS, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_unusual_settings(model_type, name, edits, tmp_path):
    assert_matches_reference(model_type, name, tmp_path, **edits)


@pytest.mark.filterwarnings("error::notebook_kit.errors.NotebookKitWarning")
def assert_matches_reference(model_type: str, name: str, tmp_path: Path, **edits: Any) -> None:
    """As `reference.assert_matches_reference`, for models with two inputs and three kinds of attention."""
    reference = reference_model(model_type, name, **edits)
    ours = ref.ours_of(name).from_pretrained(ref.saved(reference, tmp_path / "theirs"))
    assert ours.num_parameters() == reference.num_parameters()
    with torch.no_grad():
        for given in inputs_for(name, reference):
            given = {**given, **no_cache(name)}
            everything = {**given, "output_hidden_states": True, "output_attentions": True}
            ref.assert_same_output(ours(**everything), reference(**everything))
            ref.assert_same_output(ours(**given), reference(**given))  # the fused path

    given = next(inputs_for(name, reference))
    for problem in ref.PROBLEMS if name.endswith("ForSequenceClassification") else ref.PROBLEMS[:1]:
        mine, theirs = copy.deepcopy(ours), copy.deepcopy(reference)
        if problem == "regression":
            theirs = reference_model(model_type, name, num_labels=1)
            mine = ref.ours_of(name).from_pretrained(ref.saved(theirs, tmp_path / "regression"))
        labels = labels_for(name, reference.config, problem)
        asked = {**(batch(reference.config) if labels else given), **labels, **no_cache(name)}
        if labels:
            ref.assert_same_output(mine(**asked), theirs(**asked))
        ref.assert_same_gradients(mine, theirs, lambda model, asked=asked: ref.total(model(**asked)))

    ours.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    back, report = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    with torch.no_grad():
        given = {**given, **no_cache(name)}
        ref.assert_same_output(ours(**given), back.eval()(**given))


@pytest.mark.parametrize(("model_type", "name"), NAMES)
def test_takes_the_inputs_that_the_reference_takes(model_type, name):
    mine = [name for name in inspect.signature(ref.ours_of(name).forward).parameters if name != "options"]
    theirs = list(inspect.signature(getattr(transformers, name).forward).parameters)
    theirs = [given for given in theirs if given in mine]
    assert [given for given in mine if given in theirs] == theirs  # in the same order, for calls by position
    assert set(mine) - set(theirs) <= {"output_attentions", "output_hidden_states"}


@pytest.mark.parametrize("model_type", list(FIELDS))
def test_fresh_weights_are_drawn_as_the_reference_draws_them(model_type):
    for kind in model_classes(model_type).values():
        torch.manual_seed(0)
        fields = {**FIELDS[model_type], "num_labels": 2}  # as many as question answering has
        mine = dict(ref.all_parameters(kind(kind.config_class(**fields))))
        reference_class = getattr(transformers, kind.__name__)
        theirs = dict(ref.all_parameters(reference_class(reference_class.config_class(**fields))))
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            assert mine[name].shape == value.shape and mine[name].requires_grad == value.requires_grad
            assert (mine[name] == 0).sum() == (value == 0).sum(), name
            assert (mine[name] == 1).all() == (value == 1).all(), name
            if value.numel() > 500 and value.any():
                assert mine[name].std().item() == pytest.approx(value.std().item(), rel=0.15), name


def test_registry_is_whole():
    assert {name for name in FAMILIES if "AutoModelForSeq2SeqLM" in model_classes(name)} >= FIELDS.keys()
    for model_type, name in WRITERS:
        kind = AutoModelForSeq2SeqLM.model_class(config_class(model_type)())
        assert kind is getattr(notebook_kit, name) and kind.config_class is config_class(model_type)


# Files as older versions wrote them ------------------------------------------------------------------------------------


def resave(folder: Path, change) -> None:
    """Rewrite the weights in `folder` after `change` has had its way with them."""
    from safetensors.torch import save_file

    weights = ref.weights_in(folder)
    change(weights)
    save_file({name: value.clone() for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.filterwarnings("error::notebook_kit.errors.NotebookKitWarning")
def test_a_file_without_the_bias_of_the_logits(tmp_path):
    reference = reference_model("bart", "BartForConditionalGeneration")
    ref.saved(reference, tmp_path)
    resave(tmp_path, lambda weights: weights.pop("final_logits_bias"))
    model = notebook_kit.BartForConditionalGeneration.from_pretrained(tmp_path)
    assert not model.final_logits_bias.any() and model.final_logits_bias.shape == (1, 99)
    reference.final_logits_bias.zero_()
    with torch.no_grad():
        given = {**batch(reference.config), "use_cache": False}
        ref.assert_same_output(model(**given), reference(**given))


@pytest.mark.filterwarnings("error::notebook_kit.errors.NotebookKitWarning")
def test_a_file_that_stores_the_fixed_positions(tmp_path):
    reference = reference_model("marian", "MarianMTModel")
    ref.saved(reference, tmp_path)
    resave(tmp_path, lambda weights: weights.update({"model.encoder.embed_positions.weight": torch.zeros(40, 16)}))
    model = notebook_kit.MarianMTModel.from_pretrained(tmp_path)
    table = reference.model.encoder.embed_positions.weight
    torch.testing.assert_close(model.model.encoder.embed_positions.weight, table)
    assert not model.model.encoder.embed_positions.weight.requires_grad


@pytest.mark.filterwarnings("error::notebook_kit.errors.NotebookKitWarning")
def test_a_score_layer_of_its_own(tmp_path):
    """T5 1.1 and Flan-T5: config.json does not tie, and the file has a score layer beside the shared embeddings."""
    reference = reference_model("t5", "T5ForConditionalGeneration", tie_word_embeddings=False)
    ref.saved(reference, tmp_path)
    own = torch.randn(99, 32, generator=torch.Generator().manual_seed(5))
    resave(tmp_path, lambda weights: weights.update({"lm_head.weight": own}))
    config = notebook_kit.T5Config.from_pretrained(tmp_path)
    config.tie_word_embeddings = False
    config.save_pretrained(tmp_path)
    model = notebook_kit.T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(model.lm_head.weight, own) and not model.config.scale_decoder_outputs
    assert model.encoder.embed_tokens.weight is model.shared.weight is model.decoder.embed_tokens.weight
    reference.lm_head.weight = nn.Parameter(own)
    given = {**batch(reference.config), **decoder_side(reference.config), "use_cache": False}
    with torch.no_grad():
        ref.assert_same_output(model(**given), reference(**given))
    model.save_pretrained(tmp_path / "again")
    again = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "again", attn_implementation="eager")
    with torch.no_grad():
        ref.assert_same_output(model(**given), again.eval()(**given))


def test_the_backbone_of_a_whole_checkpoint(tmp_path, recwarn):
    for model_type, name in WRITERS:
        reference = reference_model(model_type, name)
        folder = ref.saved(reference, tmp_path / name)
        backbone = model_classes(model_type)["AutoModel"].from_pretrained(folder)
        given = {**batch(reference.config), **decoder_side(reference.config), "use_cache": False}
        with torch.no_grad():
            states = reference(**given, output_hidden_states=True).decoder_hidden_states[-1]
            torch.testing.assert_close(backbone(**given).last_hidden_state, states, rtol=1e-5, atol=1e-5)
    assert not [warning for warning in recwarn if "notebook_kit" in str(warning.category)]


# The cache ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model_type", "name"), WRITERS)
def test_step_by_step_is_as_at_once(model_type, name, tmp_path):
    model = ref.ours_of(name).from_pretrained(ref.saved(reference_model(model_type, name), tmp_path))
    given, ids = batch(model.config), decoder_side(model.config)["decoder_input_ids"]
    with torch.no_grad():
        whole = model(**given, decoder_input_ids=ids, use_cache=False).logits
        encoder_outputs = model.get_encoder()(**given)
        cache, steps = None, []
        for start, end in ((0, 2), (2, 3), (3, 6)):
            out = model(
                encoder_outputs=encoder_outputs,
                attention_mask=given["attention_mask"],
                decoder_input_ids=ids[:, start:end],
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            steps.append(out.logits)
    assert cache.length == 6
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("model_type", "name"), WRITERS)
def test_keys_of_the_encoder_are_computed_once(model_type, name):
    model = ref.ours_of(name)(config_class(model_type)(**FIELDS[model_type])).eval()
    calls = []
    for module_name, module in model.named_modules():
        if module_name.endswith(("encoder_attn.k_proj", "EncDecAttention.k")):
            module.register_forward_hook(lambda *args: calls.append(1))
    given = batch(model.config)
    with torch.no_grad():
        encoder_outputs, cache = model.get_encoder()(**given), None
        for token in decoder_side(model.config)["decoder_input_ids"].split(1, dim=1):
            cache = model(
                encoder_outputs=encoder_outputs, decoder_input_ids=token, past_key_values=cache, use_cache=True
            ).past_key_values
    assert len(calls) == 3  # one for each layer of the decoder


# Looking in, and the everyday ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model_type", "name"), WRITERS)
def test_three_kinds_of_attention_are_recorded(model_type, name):
    model = ref.ours_of(name)(config_class(model_type)(**FIELDS[model_type])).eval()
    given = {**batch(model.config), **decoder_side(model.config)}
    with notebook_kit.record_attention(model, layers=[1]) as record, torch.no_grad():
        model(**given)
    shapes = {kind: tuple(record.steps(1, kind=kind)[0].shape[-2:]) for kind in ("self", "decoder", "cross")}
    assert shapes == {"self": (9, 9), "decoder": (6, 6), "cross": (6, 9)}
    weights = record.steps(1, kind="cross")[0]
    assert not weights[1, :, :, 6:].any() and torch.allclose(weights.sum(-1), torch.ones(()))  # padding is not seen
    with torch.no_grad():
        before = model(**given).logits
        with notebook_kit.ablate_heads(model, {(0, 1)}, kind="cross"):
            assert not torch.allclose(model(**given).logits, before)


@pytest.mark.parametrize(("model_type", "name"), WRITERS)
def test_gradient_checkpointing_changes_nothing(model_type, name):
    torch.manual_seed(0)
    model = ref.ours_of(name)(config_class(model_type)(**FIELDS[model_type])).train()
    twin = copy.deepcopy(model)
    twin.gradient_checkpointing_enable()
    given = {**batch(model.config), **labels_for(name, model.config)}
    for each in (model, twin):
        each(**given).loss.backward()
    for (key, mine), (_, theirs) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, msg=key)


@pytest.mark.parametrize(("model_type", "name"), WRITERS)
def test_vocabulary_grows(model_type, name):
    model = ref.ours_of(name)(config_class(model_type)(**FIELDS[model_type])).eval()
    given = {**batch(model.config), **decoder_side(model.config)}
    with torch.no_grad():
        before = model(**given).logits
        model.resize_token_embeddings(105)
        after = model(**given).logits
    torch.testing.assert_close(after[..., :99], before)
    assert after.shape[-1] == 105 and model.config.vocab_size == 105
    assert model.get_encoder().embed_tokens.weight is model.get_decoder().embed_tokens.weight
    with torch.no_grad():
        model(input_ids=torch.tensor([[104]]), decoder_input_ids=torch.tensor([[104]]))


def test_layerdrop_leaves_layers_out_in_training_only():
    torch.manual_seed(0)
    config = notebook_kit.BartConfig(**{**FIELDS["bart"], "encoder_layerdrop": 1.0})
    model = notebook_kit.BartModel(config)
    ids = batch(config)["input_ids"]
    out = model.train().encoder(ids, output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == 1 and out.attentions == ()
    assert len(model.eval().encoder(ids, output_hidden_states=True).hidden_states) == 3


@pytest.mark.parametrize(("both_ways", "buckets", "farthest"), [(True, 32, 128), (False, 32, 128), (True, 8, 12)])
def test_distances_fall_into_the_references_buckets(both_ways, buckets, farthest):
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-300, 301)
    expected = T5Attention._relative_position_bucket(distance, both_ways, buckets, farthest)
    assert torch.equal(distance_buckets(distance, both_ways, buckets, farthest), expected)


def test_labels_become_the_decoders_input():
    labels = torch.tensor([[11, 12, 2, -100], [13, 2, -100, -100]])
    for model_type, name in WRITERS:
        config = config_class(model_type)(**FIELDS[model_type])
        mine = ref.ours_of(name)(config).prepare_decoder_input_ids_from_labels(labels)
        reference = reference_model(model_type, name)
        modeling = sys.modules[type(reference).__module__]
        if model_type == "mbart":
            expected = modeling.shift_tokens_right(labels.clone(), 1)
        elif model_type == "m2m_100":
            expected = modeling.shift_tokens_right(labels, 1, 2)
        else:
            make = getattr(reference, "prepare_decoder_input_ids_from_labels", None) or reference._shift_right
            expected = make(labels)
        assert torch.equal(mine, expected), model_type


# Mistakes ------------------------------------------------------------------------------------------------------------------


def test_nothing_for_the_decoder():
    model = notebook_kit.T5Model(notebook_kit.T5Config(**_T5))
    with pytest.raises(InputError, match="decoder has no input"):
        model(torch.tensor([[5, 1]]))
    bart = notebook_kit.BartModel(notebook_kit.BartConfig(**_BART))
    with pytest.raises(InputError, match="decoder has no input"):
        bart(inputs_embeds=torch.zeros(1, 2, 32))


def _whisper(**fields):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 50, "max_source_positions": 10}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = notebook_kit.WhisperConfig(**{**sizes, **heads, "decoder_start_token_id": 1, "pad_token_id": 0, **fields})
    return notebook_kit.WhisperForConditionalGeneration(config).eval()


def _reader_of_images(**fields):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    image = notebook_kit.ViTConfig(**sizes, image_size=8, patch_size=4)
    writer = notebook_kit.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50)
    config = notebook_kit.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        image, writer, **{"decoder_start_token_id": 1, "pad_token_id": 0, **fields}
    )
    return notebook_kit.VisionEncoderDecoderModel(config).eval()


def _reader_of_texts(**fields):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    parts = (notebook_kit.BertConfig(**sizes, vocab_size=50), notebook_kit.BertConfig(**sizes, vocab_size=50))
    config = notebook_kit.EncoderDecoderConfig.from_encoder_decoder_configs(
        *parts, **{"decoder_start_token_id": 1, "pad_token_id": 0, **fields}
    )
    return notebook_kit.EncoderDecoderModel(config).eval()


def _t5(**fields):
    return notebook_kit.T5ForConditionalGeneration(notebook_kit.T5Config(**{**_T5, "vocab_size": 50, **fields})).eval()


_READERS = [
    (_whisper, {"input_features": torch.zeros(1, 80, 20)}),
    (_reader_of_images, {"pixel_values": torch.zeros(1, 3, 8, 8)}),
    (_reader_of_texts, {"input_ids": torch.tensor([[5, 6]])}),
    (_t5, {"input_ids": torch.tensor([[5, 6]])}),
]


@pytest.mark.parametrize(("make", "inputs"), _READERS, ids=["sound", "images", "texts", "t5"])
def test_the_decoders_input_is_missing_or_given_twice(make, inputs):
    model = make()
    start = model.config.decoder_start_token_id
    with pytest.raises(InputError, match="decoder has no input: decoder_input_ids") as caught:
        model(**inputs)
    assert f"Pass decoder_input_ids, beginning with {start}; " in caught.value.next_step
    assert "labels" in caught.value.next_step and "generate" in caught.value.next_step
    ids = torch.tensor([[start, 5]])
    with pytest.raises(InputError, match="either decoder_input_ids or decoder_inputs_embeds, and got both"):
        model(**inputs, decoder_input_ids=ids, decoder_inputs_embeds=torch.zeros(1, 2, 16))
    assert model(**inputs, decoder_input_ids=ids).logits.shape == (1, 2, 50)
    assert model(**inputs, labels=ids).loss > 0


@pytest.mark.parametrize(("make", "inputs"), _READERS, ids=["sound", "images", "texts", "t5"])
def test_the_vocabulary_lacks_the_start_token(make, inputs):
    model = make(decoder_start_token_id=60)
    calls = (
        lambda: model.generate(**inputs, max_new_tokens=2, min_new_tokens=2),
        lambda: model(**inputs, labels=torch.tensor([[5, 6]])),
    )
    for call in calls:
        with pytest.raises(ConfigurationError, match=r"start token is 60, and .* vocabulary has ids 0 to 49") as caught:
            call()
        assert "Set decoder_start_token_id" in caught.value.next_step
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = 2
    for call in calls:
        call()


def test_no_start_token():
    fields = {**_BART, "decoder_start_token_id": None}
    model = notebook_kit.BartForConditionalGeneration(notebook_kit.BartConfig(**fields))
    with pytest.raises(ConfigurationError, match="no decoder_start_token_id"):
        model(torch.tensor([[5, 2]]), labels=torch.tensor([[5, 2]]))


def test_too_long_for_the_positions():
    model = notebook_kit.BartModel(notebook_kit.BartConfig(**_BART))
    with pytest.raises(InputError, match="41 tokens, and this model has positions for 40"):
        model(torch.full((1, 41), 5))


def test_a_text_without_an_end_cannot_be_classified():
    model = notebook_kit.BartForSequenceClassification(notebook_kit.BartConfig(**_BART))
    with pytest.raises(InputError, match="no end-of-text token"):
        model(torch.tensor([[5, 6, 7], [5, 2, 1]]))
    with pytest.raises(InputError, match="2 tokens and the encoder 3"):
        model(torch.tensor([[5, 6, 2]]), decoder_input_ids=torch.tensor([[5, 6]]))


def test_encoder_outputs_of_another_kind():
    model = notebook_kit.BartModel(notebook_kit.BartConfig(**_BART))
    with pytest.raises(InputError, match="encoder_outputs is a Tensor"):
        model(encoder_outputs=torch.zeros(1, 3, 32), decoder_input_ids=torch.tensor([[5]]))


def test_feed_forward_of_an_unknown_kind():
    with pytest.raises(ConfigurationError, match="feed_forward_proj is 'doubled-gelu'"):
        notebook_kit.T5Config(feed_forward_proj="doubled-gelu")


def test_two_vocabularies_do_not_grow_together():
    fields = {**FIELDS["marian"], **_APART}
    model = notebook_kit.MarianMTModel(notebook_kit.MarianConfig(**fields))
    with pytest.raises(InputError, match="separate vocabularies"):
        model.resize_token_embeddings(200)


# Generation --------------------------------------------------------------------------------------------------------------

WAYS = [
    {},
    {"num_beams": 4},
    {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 2.0, "early_stopping": True},
    {"forced_bos_token_id": 11, "num_beams": 2},
    {"forced_eos_token_id": 12, "max_new_tokens": 6},
    {"decoder_start_token_id": 13},
    {"min_length": 8, "no_repeat_ngram_size": 2, "num_beams": 2},
    {"repetition_penalty": 1.4, "bad_words_ids": [[20], [21, 22]]},
]


@torch.no_grad()
def talkative(model_type: str, name: str) -> nn.Module:
    """A reference that does not write one word again and again: no bias speaks louder than what was read."""
    # The reference's cache has room for as many layers as the encoder has.
    reference = reference_model(model_type, name, **({"num_layers": 3} if model_type in ("t5", "mt5") else {}))
    scores = torch.randn(
        99, reference.config.d_model, generator=torch.Generator().manual_seed(8 if model_type == "m2m_100" else 6)
    )
    reference.lm_head.weight = nn.Parameter(scores)
    reference.config.tie_word_embeddings = False
    if hasattr(reference, "final_logits_bias"):
        reference.final_logits_bias.zero_()
    for key, weight in reference.named_parameters():
        if key.endswith(".bias"):
            weight.mul_(0.2)
    return reference


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize(("model_type", "name"), WRITERS, ids=[name for _, name in WRITERS])
def test_generates_the_references_tokens(model_type, name, options, tmp_path):
    """Greedy and beam search, on a batch of unequal texts, token for token."""
    reference = talkative(model_type, name)
    model = ref.ours_of(name).from_pretrained(ref.saved(reference, tmp_path))
    given = batch(model.config)
    options = {"max_new_tokens": 10, **options}
    with torch.no_grad():
        expected = reference.generate(**given, **options)
    written = model.generate(**given, **options)
    # The reference's beam search takes a padding token of 0 for none, and fills up with the end token.
    over = (expected == model.config.eos_token_id).cumsum(dim=1) > 1
    if model.config.pad_token_id == 0 and options.get("num_beams"):
        expected = expected.masked_fill(over, 0)
    assert torch.equal(written, expected)
    assert len(expected.unique()) > 4  # not one token again and again


def test_generation_goes_on_from_a_given_beginning(tmp_path):
    reference = reference_model("bart", "BartForConditionalGeneration")
    model = notebook_kit.BartForConditionalGeneration.from_pretrained(ref.saved(reference, tmp_path))
    given = {**batch(model.config), "decoder_input_ids": torch.tensor([[2, 11, 12]] * 3)}
    for options in ({}, {"num_beams": 3}):
        expected = reference.generate(**given, max_new_tokens=6, **options)
        assert torch.equal(model.generate(**given, max_new_tokens=6, **options), expected)


def test_the_encoder_runs_once():
    model = notebook_kit.T5ForConditionalGeneration(notebook_kit.T5Config(**_T5)).eval()
    calls = []
    model.encoder.register_forward_hook(lambda *args: calls.append(1))
    model.generate(**batch(model.config), max_new_tokens=5, num_beams=3, eos_token_id=None)
    assert len(calls) == 1


def test_attention_of_each_step_is_recorded():
    model = notebook_kit.BartForConditionalGeneration(notebook_kit.BartConfig(**_BART)).eval()
    with notebook_kit.record_attention(model, layers=[0], kinds=["cross", "decoder"]) as record:
        written = model.generate(**batch(model.config), max_new_tokens=4, eos_token_id=None, forced_eos_token_id=None)
    cross, own = record.steps(0, kind="cross"), record.steps(0, kind="decoder")
    assert written.shape == (3, 5) and [tuple(step.shape[1:]) for step in cross] == [(2, 1, 9)] * 4
    assert [step.shape[-1] for step in own] == [1, 2, 3, 4]


def test_nothing_is_written_beyond_the_positions():
    model = notebook_kit.BartForConditionalGeneration(notebook_kit.BartConfig(**_BART)).eval()
    with pytest.raises(InputError, match="positions"):
        model.generate(batch(model.config)["input_ids"], min_new_tokens=60, max_new_tokens=60, eos_token_id=None)
