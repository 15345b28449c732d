"""BLIP equals its counterpart in transformers: similarities, losses, gradients, captions and answers, and back to disk."""

from __future__ import annotations

import inspect

import pytest
import reference as ref
import torch
import transformers

import notebook_kit
from notebook_kit import AutoConfig, BlipConfig
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.nn.attention import sites_of
from notebook_kit.nn.inputs import inputs_of, position_limit, vocabulary_size

LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = {
    **LAYERS,
    "hidden_size": 32,
    "vocab_size": 99,
    "max_position_embeddings": 24,
    "bos_token_id": 97,
    "sep_token_id": 98,
    "initializer_range": 0.3,
}
VISION = {**LAYERS, "hidden_size": 24, "image_size": 30, "patch_size": 4}
BOTH = {"text_config": TEXT, "vision_config": VISION, "projection_dim": 12, "image_text_hidden_size": 10}
NAMES = ["BlipModel", "BlipForConditionalGeneration", "BlipForQuestionAnswering", "BlipForImageTextRetrieval"]


def fields(name):
    """The settings of a model; for answers, both transformers have one width."""
    is_answering = name == "BlipForQuestionAnswering"
    return {**BOTH, "vision_config": {**VISION, "hidden_size": 32}} if is_answering else BOTH


def pair(name, folder, **edits):
    kind = getattr(transformers, name)
    reference = kind(kind.config_class(**{**fields(name), **edits})).eval()
    ref.randomize(reference)
    return ref.ours_of(name).from_pretrained(ref.saved(reference, folder / "theirs")), reference


def texts(padding=True):
    ids = torch.randint(3, 90, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * n + [0] * (7 - n) for n in ([7, 5, 2] if padding else [7, 7, 7])])
    return {"input_ids": torch.where(mask == 1, ids, 0), "attention_mask": mask}


def answers():
    ids = torch.randint(3, 90, (3, 5), generator=torch.Generator().manual_seed(2))
    return ids.masked_fill(torch.tensor([[0] * n + [1] * (5 - n) for n in (5, 3, 4)]).bool(), -100)


def calls_of(name):
    images = [
        {"pixel_values": ref.pixels(30)},
        {"pixel_values": ref.pixels((22, 43)), "interpolate_pos_encoding": True},
    ]
    calls = [{**text, **image} for text in (texts(), texts(False)) for image in images]
    calls.append({"input_ids": texts()["input_ids"], **images[0]})
    if name == "BlipModel":
        calls.append({**calls[0], "return_loss": True})
    if name == "BlipForConditionalGeneration":
        calls += [{**calls[0], "labels": answers_of(7)}, {**calls[0], "logits_to_keep": 2}]
    if name == "BlipForImageTextRetrieval":
        calls.append({**calls[0], "use_itm_head": False})
    if name == "BlipForQuestionAnswering":  # the oracle's decoder also attends to the padding of questions
        given, calls = answers().clamp(min=0), calls[2:]
        calls = [{**call, "labels": given} for call in calls]
        calls += [
            {**calls[0], "labels": answers(), "decoder_input_ids": given, "decoder_attention_mask": (given > 0).long()}
        ]
        calls += [{**{key: value for key, value in calls[0].items() if key != "labels"}, "decoder_input_ids": given}]
    return calls


def answers_of(tokens):
    ids = texts()["input_ids"]
    return ids.masked_fill(ids == 0, -100)[:, :tokens]


def flat(out):
    found = {}
    for name, value in out.items():
        found |= (
            {f"{name}.{key}": one for key, one in flat(value).items()} if isinstance(value, dict) else {name: value}
        )
    return found


def total(out):
    if out.get("loss") is not None:
        return out["loss"]
    values = [value for value in flat(out).values() if isinstance(value, torch.Tensor)]
    return torch.stack([(value * torch.linspace(-1, 1, value.numel()).view_as(value)).mean() for value in values]).sum()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_reference(name, smoothing, tmp_path):
    if smoothing and name in ("BlipModel", "BlipForImageTextRetrieval"):
        pytest.skip("Smoothing concerns decoders.")
    ours, reference = pair(name, tmp_path, text_config={**TEXT, "label_smoothing": smoothing})
    assert not ours.training and ours.num_parameters() == reference.num_parameters()
    with torch.no_grad():
        for given in calls_of(name):
            ref.assert_same_output(flat(ours(**given)), flat(reference(**given)))
    with torch.no_grad():
        more = {**calls_of(name)[0], "output_hidden_states": True, "output_attentions": True}
        mine, theirs = flat(ours(**more)), flat(reference(**more))
        ref.assert_same_output(mine, {key: value for key, value in theirs.items() if key in mine})
        assert {"hidden_states", "attentions"} <= {key.rpartition(".")[2] for key in mine}
    given = calls_of(name)[-1 if name == "BlipModel" else 5 if name == "BlipForConditionalGeneration" else 0]
    ref.assert_same_gradients(ours, reference, lambda model: total(model(**given)))

    ours.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    back, report = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        ref.assert_same_output(flat(ours(**given)), flat(back.eval()(**given)))
    assert AutoConfig.from_pretrained(tmp_path / "ours").to_dict() == ours.config.to_dict()


SETTINGS = [
    {"max_new_tokens": 6},
    {"max_new_tokens": 6, "num_beams": 3},
    {"max_new_tokens": 6, "num_beams": 4, "num_return_sequences": 2},
    {"max_length": 9, "repetition_penalty": 2.0},
    {},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_captions_equal_the_references(settings, tmp_path):
    ours, reference = pair("BlipForConditionalGeneration", tmp_path)
    prompts = texts(False)
    for given in ({}, {"input_ids": prompts["input_ids"]}, prompts):
        call = {"pixel_values": ref.pixels(30), **given, **settings}
        mine, theirs = (
            model.generate(
                **{key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in call.items()}
            )
            for model in (ours, reference)
        )
        assert mine.tolist() == theirs.tolist()
    assert len({tuple(row) for row in mine.tolist()}) > 1  # images make a difference
    assert ours.can_generate()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_answers_equal_the_references(settings, tmp_path):
    ours, reference = pair("BlipForQuestionAnswering", tmp_path)
    for given in ({**texts(), "pixel_values": ref.pixels(30)}, {**texts(False), "pixel_values": ref.pixels(30)}):
        mine = ours.generate(**given, **settings)
        if given["attention_mask"].all():
            assert mine.tolist() == reference.generate(**given, **settings).tolist()
        for row in range(3):  # the oracle attends to padding, and so answers otherwise in a batch
            length = int(given["attention_mask"][row].sum())
            alone = {
                "input_ids": given["input_ids"][row : row + 1, :length],
                "pixel_values": given["pixel_values"][row : row + 1],
            }
            expected = reference.generate(**alone, **settings)
            count = len(expected)
            found = mine[row * count : (row + 1) * count, : expected.shape[1]]
            assert found.tolist() == expected.tolist()


def test_padding_of_questions_does_not_change_the_loss(tmp_path):
    ours, _ = pair("BlipForQuestionAnswering", tmp_path)
    given = {**texts(), "pixel_values": ref.pixels(30), "labels": answers()}
    with torch.no_grad():
        alone = [
            ours(
                given["input_ids"][row : row + 1, : int(given["attention_mask"][row].sum())],
                given["pixel_values"][row : row + 1],
                labels=given["labels"][row : row + 1],
                decoder_input_ids=given["labels"][row : row + 1].clamp(min=0),
            ).loss
            for row in range(3)
        ]
        counts = given["labels"][:, 1:].ne(-100).sum(1)
        together = ours(**given, decoder_input_ids=given["labels"].clamp(min=0)).loss
        torch.testing.assert_close(together, (torch.stack(alone) * counts).sum() / counts.sum())


def test_images_that_were_encoded_before(tmp_path):
    ours, _ = pair("BlipForQuestionAnswering", tmp_path)
    given = {**texts(), "pixel_values": ref.pixels(30)}
    with torch.no_grad():
        states = ours.vision_model(given["pixel_values"]).last_hidden_state
    expected = ours.generate(**given, max_new_tokens=5)
    assert torch.equal(ours.generate(**texts(), image_embeds=states, max_new_tokens=5), expected)


@pytest.mark.parametrize("name", [*NAMES, "BlipTextModel", "BlipVisionModel"])
def test_takes_the_inputs_that_the_reference_takes(name):
    mine = list(inspect.signature(ref.ours_of(name).forward).parameters)
    theirs = [given for given in inspect.signature(getattr(transformers, name).forward).parameters if given in mine]
    assert [given for given in mine if given in theirs] == theirs
    assert set(mine) - set(theirs) <= {"output_attentions", "output_hidden_states"}


@pytest.mark.parametrize("name", NAMES)
def test_fresh_weights_are_drawn_as_the_reference_draws_them(name):
    kind, theirs = ref.ours_of(name), getattr(transformers, name)
    given = {**BOTH, "vision_config": {**fields(name)["vision_config"], "initializer_range": 0.05}}
    mine = dict(ref.all_parameters(kind(kind.config_class(**given))))
    expected = dict(ref.all_parameters(theirs(theirs.config_class(**given))))
    assert mine.keys() == expected.keys()
    for key, value in expected.items():
        assert (mine[key] == 0).all() == (value == 0).all() and (mine[key] == 1).all() == (value == 1).all(), key
        if value.numel() > 500 and value.std() > 0:
            assert mine[key].std().item() == pytest.approx(value.std().item(), rel=0.2), key


def test_the_registry_and_the_auto_classes(tmp_path):
    ours, _ = pair("BlipForQuestionAnswering", tmp_path)
    folder = tmp_path / "theirs"
    assert type(notebook_kit.AutoModelForVisualQuestionAnswering.from_pretrained(folder)) is type(ours)
    assert notebook_kit.AutoModel.model_class(BlipConfig()) is notebook_kit.BlipModel
    assert notebook_kit.AutoModelForZeroShotImageClassification.model_class(BlipConfig()) is notebook_kit.BlipModel
    for auto in (notebook_kit.AutoModelForImageTextToText, notebook_kit.AutoModelForVision2Seq):
        assert auto.model_class(BlipConfig()) is notebook_kit.BlipForConditionalGeneration
    assert inputs_of(ours).takes("pixel_values") and inputs_of(ours).labels == ("labels",)
    assert position_limit(ours) == 24 and vocabulary_size(ours) == 99
    assert BlipConfig(vision_config={"hidden_size": 48}).text_config.encoder_hidden_size == 48
    for part in ("Text", "Vision"):
        alone = getattr(notebook_kit, f"Blip{part}Model")(getattr(ours.config, f"{part.lower()}_config"))
        alone.save_pretrained(tmp_path / part)
        assert type(notebook_kit.AutoModel.from_pretrained(tmp_path / part)) is type(alone)


def test_attention_is_recorded_and_ablated(tmp_path):
    ours, _ = pair("BlipForQuestionAnswering", tmp_path)
    given = {**texts(), "pixel_values": ref.pixels(30), "labels": answers()[:, :4].clamp(min=0)}
    axes = [(site.kind, site.rows, site.columns) for site in sites_of(ours)]
    assert list(dict.fromkeys(axes)) == [
        ("self", "patches", "patches"),
        ("self", "text", "text"),
        ("cross", "text", "patches"),
        ("decoder", "decoder text", "decoder text"),
        ("cross", "decoder text", "text"),
    ]
    with torch.no_grad(), notebook_kit.record_attention(ours.text_encoder, kinds=["cross"]) as record:
        plain = ours(**given).loss
    assert record[1].shape == (3, 4, 7, 50)
    with torch.no_grad(), notebook_kit.record_attention(ours.text_decoder) as record:
        ours(**given)
    assert record.steps(0, "decoder")[0].shape == (3, 4, 4, 4) and not record.steps(0, "decoder")[0][..., 0, 1:].any()
    assert record.steps(0, "cross")[0].shape == (3, 4, 4, 7) and not record.steps(0, "cross")[0][1, ..., 5:].any()
    with torch.no_grad(), notebook_kit.ablate_heads(ours.text_encoder, {(0, 0)}, kind="cross"):
        assert not torch.allclose(ours(**given).loss, plain)


MODELS = {name: ref.ours_of(name)(BlipConfig(**fields(name))).eval() for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"pixel_values": None}, "pixel_values is missing"),
        ({"input_ids": None, "labels": None}, "either input_ids or inputs_embeds, and got neither|Neither labels"),
        ({"pixel_values": ref.pixels((31, 30))}, "31 x 30 pixels, and this model has positions for 30 x 30"),
        ({"attention_mask": torch.ones(3, 8)}, r"attention_mask has shape \(3, 8\)"),
        ({"input_ids": torch.full((3, 7), 99), "labels": None}, "Token ids go from 99 to 99|Neither labels"),
    ],
)
def test_wrong_inputs_are_named(name, edits, message):
    given = {**texts(), "pixel_values": ref.pixels(30)} | ({"labels": answers()} if "Question" in name else {})
    given |= {key: value for key, value in edits.items() if key in given}
    with pytest.raises(InputError, match=message) as caught:
        MODELS[name](**given)
    assert caught.value.next_step


def test_texts_and_images_come_in_pairs():
    with pytest.raises(ConfigurationError, match="texts have the width 32 and images 24"):
        notebook_kit.BlipForQuestionAnswering(BlipConfig(**BOTH))
    with pytest.raises(InputError, match="There are 3 texts and 2 images"):
        MODELS["BlipForQuestionAnswering"].generate(**texts(), pixel_values=ref.pixels(30)[:2])
    with pytest.raises(InputError, match="has no tokens but the last"):
        MODELS["BlipForConditionalGeneration"].generate(ref.pixels(30), input_ids=torch.tensor([[5]] * 3))
