"""CLIP and SigLIP equal their counterparts in transformers, from similarities to gradients and back to disk."""

from __future__ import annotations

import inspect
import json

import pytest
import reference as ref
import torch
import transformers

import notebook_kit
from notebook_kit import AutoConfig, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.nn.attention import sites_of
from notebook_kit.nn.inputs import inputs_of, position_limit, vocabulary_size

LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = {**LAYERS, "hidden_size": 32, "vocab_size": 99, "max_position_embeddings": 20, "projection_dim": 16}
VISION = {**LAYERS, "hidden_size": 24, "image_size": 30, "patch_size": 4, "projection_dim": 16}


def _without_projection(fields):
    return {name: value for name, value in fields.items() if name != "projection_dim"}


FAMILIES = {
    "CLIP": {
        "text": {**TEXT, "eos_token_id": 98, "bos_token_id": 97},
        "vision": VISION,
        "both": {"projection_dim": 12},
    },
    "Siglip": {
        "text": {**_without_projection(TEXT), "projection_size": 24, "eos_token_id": 98, "bos_token_id": 97},
        "vision": _without_projection(VISION),
        "both": {},
    },
}
PARTS = {
    "Model": "both",
    "TextModel": "text",
    "VisionModel": "vision",
    "TextModelWithProjection": "text",
    "VisionModelWithProjection": "vision",
    "ForImageClassification": "both",
}
NAMES = [f"{family}{part}" for family in FAMILIES for part in PARTS if hasattr(transformers, f"{family}{part}")]


def family_of(name):
    family = next(family for family in FAMILIES if name.startswith(family))
    return family, PARTS[name.removeprefix(family)]


def fields(name, **edits):
    family, part = family_of(name)
    settings = FAMILIES[family]
    if part != "both":
        return {**settings[part], **edits}
    return {
        "text_config": settings["text"],
        "vision_config": settings["vision"],
        **settings["both"],
        "num_labels": 3,
        **edits,
    }


def pair(name, folder, **edits):
    kind = getattr(transformers, name)
    reference = kind._from_config(kind.config_class(**fields(name, **edits)), attn_implementation="eager").eval()
    ref.randomize(reference)
    return ref.ours_of(name).from_pretrained(ref.saved(reference, folder / "theirs")), reference


def texts(padding=True, rows=3):
    generator = torch.Generator().manual_seed(1)
    lengths = [9, 6, 2][:rows] if padding else [9] * rows
    ids, mask = torch.randint(3, 90, (rows, 9), generator=generator), torch.zeros(rows, 9, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
        ids[row, length - 1 :] = torch.tensor([98] + [1] * (9 - length))
    return {"input_ids": ids, "attention_mask": mask}


def calls_of(name):
    """Inputs of a model."""
    _, part = family_of(name)
    images = [{"pixel_values": ref.pixels(30)}]
    images += [
        {"pixel_values": ref.pixels(size), "interpolate_pos_encoding": True} for size in [(30, 30), (22, 43), (47, 47)]
    ]
    positions = torch.arange(2, 11)[None].expand(3, 9)
    words = [texts(), texts(False), {"input_ids": texts()["input_ids"]}, {**texts(), "position_ids": positions}]
    if part == "text":
        return words
    if part == "vision" or name.endswith("ForImageClassification"):
        return images
    both = [{**word, **images[0]} for word in words] + [{**words[0], **image} for image in images[1:]]
    return [*both, {**texts(rows=2), **images[0]}, {**both[0], "return_loss": True}]


def flat(out):
    """An output with those in it laid out."""
    found = {}
    for name, value in out.items():
        found |= (
            {f"{name}.{key}": one for key, one in flat(value).items()} if isinstance(value, dict) else {name: value}
        )
    return found


def assert_same(ours, theirs):
    ref.assert_same_output(flat(ours), flat(theirs))


def total(out):
    if out.get("loss") is not None:
        return out["loss"]
    values = [
        value for name, value in flat(out).items() if isinstance(value, torch.Tensor) and name != "logits_per_text"
    ]
    return torch.stack([(value * torch.linspace(-1, 1, value.numel()).view_as(value)).mean() for value in values]).sum()


@pytest.mark.parametrize("name", NAMES)
def test_equals_reference(name, tmp_path):
    ours, reference = pair(name, tmp_path)
    assert not ours.training and ours.num_parameters() == reference.num_parameters()
    with torch.no_grad():
        for given in calls_of(name):
            everything = {**given, "output_hidden_states": True, "output_attentions": True}
            assert_same(ours(**everything), reference(**everything))
            assert_same(ours(**given), reference(**given))  # the fused path
    given = calls_of(name)[-1]
    if name.endswith("ForImageClassification"):
        given = {**calls_of(name)[0], "labels": torch.tensor([0, 2, 1])}
        assert_same(ours(**given), reference(**given))
    ref.assert_same_gradients(ours, reference, lambda model: total(model(**given)))
    assert_tuples_match(ours, reference, calls_of(name)[0])

    ours.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    back, report = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        assert_same(ours(**given), back.eval()(**given))
    mine, theirs = (json.loads((tmp_path / side / "config.json").read_text()) for side in ("ours", "theirs"))
    assert {key for key in theirs if key not in mine} <= {"transformers_version"}
    again = AutoConfig.from_pretrained(tmp_path / "ours")
    assert again.to_dict() == ours.config.to_dict()


def assert_tuples_match(ours, reference, given):
    with torch.no_grad():
        mine, theirs = (model(**given, return_dict=False) for model in (ours, reference))

    def leaves(value):
        return [leaf for one in value for leaf in leaves(one)] if isinstance(value, tuple) else [value]

    for a, b in zip(leaves(mine), leaves(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_takes_the_inputs_that_the_reference_takes(name):
    mine = list(inspect.signature(ref.ours_of(name).forward).parameters)
    theirs = [given for given in inspect.signature(getattr(transformers, name).forward).parameters if given in mine]
    assert [given for given in mine if given in theirs] == theirs
    assert set(mine) - set(theirs) <= {"output_attentions", "output_hidden_states", "interpolate_pos_encoding"}


@pytest.mark.parametrize("name", NAMES)
def test_fresh_weights_are_drawn_as_the_reference_draws_them(name):
    torch.manual_seed(0)
    kind, theirs = ref.ours_of(name), getattr(transformers, name)
    mine = dict(ref.all_parameters(kind(kind.config_class(**fields(name)))))
    expected = dict(ref.all_parameters(theirs(theirs.config_class(**fields(name)))))
    assert mine.keys() == expected.keys()
    for key, value in expected.items():
        assert mine[key].dtype == value.dtype
        assert (mine[key] == 0).all() == (value == 0).all() and (mine[key] == 1).all() == (value == 1).all(), key
        if value.numel() > 300 and value.std() > 0:
            assert mine[key].std().item() == pytest.approx(value.std().item(), rel=0.15), key
        if value.dim() == 0:
            torch.testing.assert_close(mine[key], value)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_of_both_towers_loads_into_each(family, tmp_path):
    ours, _ = pair(f"{family}Model", tmp_path)
    for name in NAMES:
        if not name.startswith(family) or name == f"{family}Model":
            continue
        kind = ref.ours_of(name)
        if name.endswith("ForImageClassification"):
            with pytest.warns(notebook_kit.errors.NotebookKitWarning, match=r"classifier"):
                model = kind.from_pretrained(tmp_path / "theirs")
        else:
            edits = {"projection_dim": 12} if name.endswith("Projection") else {}
            model = kind.from_pretrained(tmp_path / "theirs", **edits)
        part = family_of(name)[1]
        assert part == "both" or model.config == getattr(ours.config, f"{part}_config") or edits
        given = calls_of(name)[0]
        if part == "both":
            continue
        features = ours.get_text_features if part == "text" else ours.get_image_features
        with torch.no_grad():
            mine = model(**given)
            if name.endswith("Projection"):
                torch.testing.assert_close(mine[0], features(**given).pooler_output)
            else:
                torch.testing.assert_close(mine.last_hidden_state, features(**given).last_hidden_state)


def test_old_files_of_one_tower(tmp_path):
    """In them, the names of a tower's weights begin with the tower's name."""
    ours, reference = pair("CLIPTextModel", tmp_path)
    weights = {f"text_model.{name}": value for name, value in reference.state_dict().items()}
    weights["text_model.embeddings.position_ids"] = torch.arange(20)[None]
    again = notebook_kit.CLIPTextModel.from_pretrained(None, config=ours.config, state_dict=weights)
    with torch.no_grad():
        assert_same(again(**texts()), ours(**texts()))


@pytest.mark.parametrize("end", [2, 98, [5, 98]])
def test_the_end_of_a_text(end, tmp_path):
    """Old configurations name the wrong end token, and the highest id is the end then."""
    given = texts()
    given["input_ids"][0, 3] = 98  # only the first counts
    ours, reference = pair("CLIPTextModel", tmp_path, eos_token_id=98 if isinstance(end, list) else end)
    ours.config.eos_token_id = end
    with torch.no_grad():
        assert_same(ours(**given), reference(**given))


def test_configurations(tmp_path):
    file = {
        "model_type": "clip",
        "text_config": {"hidden_size": 16, "num_attention_heads": 2, "a_note": [1]},
        "vision_config": None,
        "text_config_dict": {"hidden_size": 24},
        "vision_config_dict": {"patch_size": 8},
        "projection_dim": 8,
        "another": {"note": 2},
    }
    config = CLIPConfig.from_dict(file)
    assert (config.text_config.hidden_size, config.vision_config.patch_size) == (24, 8)  # as the oracle decides
    theirs = transformers.CLIPConfig(**{**file, "vision_config": {}})
    assert (theirs.text_config.hidden_size, theirs.vision_config.patch_size) == (24, 8)
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert again == config and again.text_config.a_note == [1] and again.another == {"note": 2}
    assert isinstance(again.text_config, CLIPTextConfig) and again.get_text_config() is again.text_config
    assert CLIPTextConfig.from_pretrained(tmp_path) == again.text_config
    assert CLIPVisionConfig.from_pretrained(tmp_path, image_size=64).image_size == 64
    edited = CLIPConfig.from_pretrained(tmp_path, text_config={"num_hidden_layers": 1})
    assert (edited.text_config.num_hidden_layers, edited.text_config.hidden_size) == (1, 24)
    given = CLIPConfig(text_config=CLIPTextConfig(vocab_size=9))
    assert given.text_config.vocab_size == 9 and given.vision_config == CLIPVisionConfig()
    with pytest.raises(ConfigurationError, match="CLIPTextConfig has no field 'hiden_size'"):
        CLIPConfig(text_config={"hiden_size": 3})
    with pytest.raises(ConfigurationError, match="a patch of 32 pixels does not fit into an image of 16"):
        CLIPConfig(vision_config={"image_size": 16})
    with pytest.raises(ConfigurationError, match="a width of 30 cannot be split evenly over 8"):
        CLIPConfig(text_config={"hidden_size": 30})


def test_vectors_of_siglip_are_as_wide_as_the_states():
    config = notebook_kit.SiglipConfig(text_config={"hidden_size": 24, "num_attention_heads": 2})
    assert config.text_config.projection_size == 24
    assert notebook_kit.SiglipTextConfig(hidden_size=48).projection_size == 48
    assert notebook_kit.SiglipTextConfig(projection_size=12).projection_size == 12
    with pytest.raises(ConfigurationError, match="vectors of texts have the width 24"):
        notebook_kit.SiglipModel(config)
    alone = notebook_kit.SiglipConfig(vision_config={"vision_use_head": False})
    with pytest.raises(ConfigurationError, match="vision_use_head is False"):
        notebook_kit.SiglipModel(alone)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_registry_and_the_auto_classes(family, tmp_path):
    ours, _ = pair(f"{family}Model", tmp_path)
    folder, config = tmp_path / "theirs", type(ours.config)
    for auto in ("AutoModel", "AutoModelForZeroShotImageClassification"):
        assert type(getattr(notebook_kit, auto).from_pretrained(folder)) is type(ours)
    assert notebook_kit.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING[config] is type(ours)
    assert notebook_kit.TOKENIZER_MAPPING[config].__name__ == f"{family}Tokenizer"
    assert inputs_of(ours).main == "input_ids" and inputs_of(ours).takes("pixel_values")
    assert inputs_of(ours).labels == () and position_limit(ours) == 20 and vocabulary_size(ours) == 99
    for part in ("Text", "Vision"):
        alone = getattr(notebook_kit, f"{family}{part}Model")(getattr(ours.config, f"{part.lower()}_config"))
        alone.save_pretrained(tmp_path / part)
        assert type(notebook_kit.AutoModel.from_pretrained(tmp_path / part)) is type(alone)
    ours.resize_token_embeddings(110)
    assert ours.config.text_config.vocab_size == 110 and "vocab_size" not in ours.config.extra
    ours.save_pretrained(tmp_path / "resized")
    assert notebook_kit.AutoModel.from_pretrained(tmp_path / "resized").get_input_embeddings().num_embeddings == 110


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_recorded_and_ablated(family, tmp_path):
    ours, _ = pair(f"{family}Model", tmp_path)
    given = {**texts(), "pixel_values": ref.pixels(30)}
    assert [site.rows for site in sites_of(ours)][:4] == ["text"] * 2 + ["patches"] * 2
    with torch.no_grad(), notebook_kit.record_attention(ours.vision_model, layers=[1]) as record:
        plain = ours(**given)
    full = ours(**given, output_attentions=True)
    torch.testing.assert_close(record[1], full.vision_model_output.attentions[1])
    with torch.no_grad(), notebook_kit.record_attention(ours.text_model) as words:
        ours(**given)
    assert words[0].shape == (3, 4, 9, 9) and not words[0][1, :, :, 6:].any()  # padding of the second text
    with torch.no_grad(), notebook_kit.record_attention(ours) as both, pytest.raises(InputError) as caught:
        ours(**given)
        both[0]
    assert "record_attention(model.vision_model)" in caught.value.next_step
    with torch.no_grad(), notebook_kit.ablate_heads(ours.text_model, {(0, 0)}):
        ablated = ours(**given)
    torch.testing.assert_close(ablated.image_embeds, plain.image_embeds)
    assert not torch.allclose(ablated.text_embeds, plain.text_embeds)


def test_gradient_checkpointing(tmp_path):
    ours, _ = pair("CLIPModel", tmp_path)
    given = {**texts(), "pixel_values": ref.pixels(30), "return_loss": True}

    def gradients():
        ours.train().zero_grad()
        ours(**given).loss.backward()
        return {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.grad is not None}

    plain = gradients()
    ours.gradient_checkpointing_enable()
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, plain[name], msg=name)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"pixel_values": None}, "pixel_values is missing"),
        ({"input_ids": None}, "input_ids are missing"),
        ({"pixel_values": ref.pixels((31, 30))}, "31 x 30 pixels, and this model has positions for 30 x 30"),
        ({"pixel_values": ref.pixels((0, 0))}, "0 x 0 pixels is smaller than a patch"),
        ({"pixel_values": "cat.png"}, "pixel_values is a str; expected a tensor"),
        ({"attention_mask": torch.ones(3, 8)}, r"attention_mask has shape \(3, 8\)"),
        ({"input_ids": torch.ones(3, 21, dtype=torch.long), "attention_mask": None}, "21 tokens"),
        ({"input_ids": torch.full((3, 9), 99)}, "Token ids go from 99 to 99"),
        ({**texts(rows=2), "return_loss": True}, "2 texts and 3 images"),
    ],
)
def test_wrong_inputs_are_named(family, edits, message):
    model = ref.ours_of(f"{family}Model")
    model = model(model.config_class(**fields(f"{family}Model"))).eval()
    with pytest.raises(InputError, match=message) as caught:
        model(**{**texts(), "pixel_values": ref.pixels(30), **edits})
    assert caught.value.next_step


def test_a_text_needs_its_end():
    model = CLIPModel(CLIPConfig(**fields("CLIPModel")))
    with pytest.raises(InputError, match=r"no end-of-text token \(id 98\)"):
        model.get_text_features(torch.tensor([[97, 5, 6]]))
