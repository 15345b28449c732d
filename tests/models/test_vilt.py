"""ViLT equals its counterpart in transformers, from logits to gradients and back to disk, for pictures of any size.

The oracle draws the order of patches, and which patches of padding fill rows up, at random. Here it keeps their order.
"""

from __future__ import annotations

import inspect

import pytest
import reference as ref
import torch
import transformers

import notebook_kit
from notebook_kit import ViltConfig, ViltForQuestionAnswering, ViltModel
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.nn.attention import sites_of
from notebook_kit.nn.inputs import inputs_of, position_limit, vocabulary_size

SIZE = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 20,
    "image_size": 24,
    "patch_size": 4,
    "num_labels": 5,
}
NAMES = ["ViltModel", "ViltForMaskedLM", "ViltForQuestionAnswering", "ViltForImageAndTextRetrieval"]
WIDE = (23, 41)  # no multiple of the patch: 5 x 10 patches


@pytest.fixture(autouse=True)
def ordered(monkeypatch):
    """The oracle takes patches in their order, and fills up with the first patch of padding."""

    def first(weights, count, replacement=False):
        return torch.zeros(int(count), dtype=torch.long) if replacement else torch.arange(int(count))

    monkeypatch.setattr(torch, "multinomial", first)


def pair(name, folder, **edits):
    kind = getattr(transformers, name)
    reference = kind._from_config(kind.config_class(**{**SIZE, **edits}), attn_implementation="eager").eval()
    ref.randomize(reference)
    return ref.ours_of(name).from_pretrained(ref.saved(reference, folder / "theirs")), reference


def texts(padding=True):
    ids = torch.randint(4, 99, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * n + [0] * (9 - n) for n in ([9, 6, 1] if padding else [9, 9, 9])])
    return {"input_ids": torch.where(mask == 1, ids, 0), "attention_mask": mask}


def pictures(size=WIDE, covered=()):
    """Pictures that are padded to `size`, each of which covers a part of it."""
    given = {"pixel_values": ref.pixels(size)}
    if covered:
        masks = torch.zeros(3, *size, dtype=torch.long)
        for mask, (height, width) in zip(masks, covered, strict=True):
            mask[:height, :width] = 1
        given["pixel_mask"] = masks
    return given


def labels_for(name):
    if name == "ViltForMaskedLM":
        return {"labels": torch.arange(27).view(3, 9).where(torch.arange(9) % 4 == 1, -100)}
    if name == "ViltForQuestionAnswering":
        return {"labels": torch.tensor([[0, 1, 0.3, 0, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0.6]])}
    return {}


@pytest.mark.parametrize("name", NAMES)
def test_equals_reference(name, tmp_path):
    ours, reference = pair(name, tmp_path)
    assert not ours.training and ours.num_parameters() == reference.num_parameters()
    segments = {"token_type_ids": torch.arange(9).gt(4).long().expand(3, -1)}
    embeds = {"inputs_embeds": torch.randn(3, 9, 32), "attention_mask": texts()["attention_mask"]}
    full = [pictures(), pictures((24, 24)), pictures((4, 50)), pictures(WIDE, [WIDE] * 3)]
    calls = [*({**texts(), **given} for given in full), {**texts(False), **full[0]}, {**embeds, **full[0]}]
    calls += [{**texts(), **segments, **full[1]}, {"input_ids": texts()["input_ids"], **full[0]}]
    with torch.no_grad():
        for given in calls:
            everything = {**given, "output_hidden_states": True, "output_attentions": True}
            ref.assert_same_output(ours(**everything), reference(**everything))
            ref.assert_same_output(ours(**given), reference(**given))  # the fused path
    given, labels = {**texts(), **pictures()}, labels_for(name)
    if labels:
        ref.assert_same_output(ours(**given, **labels), reference(**given, **labels))
    ref.assert_same_gradients(ours, reference, lambda model: ref.total(model(**given, **labels)))

    ours.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    back, report = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        ref.assert_same_output(ours(**given), back.eval()(**given))


@pytest.mark.parametrize("covered", [[(23, 20), (12, 41), WIDE], [(4, 4), (8, 9), (23, 5)], [(10, 10)] * 3])
@pytest.mark.parametrize("limit", [-1, 7])
def test_pictures_of_several_sizes(covered, limit, tmp_path, monkeypatch):
    def chosen(weights, count, replacement=False):
        if replacement:
            return torch.zeros(int(count), dtype=torch.long)
        return torch.linspace(0, len(weights) - 1, int(count)).round().long()

    monkeypatch.setattr(torch, "multinomial", chosen)
    ours, reference = pair("ViltModel", tmp_path, max_image_length=limit)
    given = {**texts(), **pictures(WIDE, covered)}
    with torch.no_grad():
        mine, theirs = (model(**given, output_hidden_states=True) for model in (ours, reference))
    patches = [
        sum(i * 23 // 5 < high for i in range(5)) * sum(i * 41 // 10 < wide for i in range(10))
        for high, wide in covered
    ]
    torch.testing.assert_close(mine.pooler_output, theirs.pooler_output, rtol=1e-5, atol=1e-5)
    for a, b in zip(mine.hidden_states, theirs.hidden_states, strict=True):
        assert a.shape == b.shape
        for row, count in enumerate(patches):
            end = 9 + 1 + min(count, a.shape[1] - 10)
            torch.testing.assert_close(a[row, :end], b[row, :end], rtol=1e-5, atol=1e-5)
    if limit < 0:  # else patches are drawn in training
        ref.assert_same_gradients(ours, reference, lambda model: model(**given).pooler_output.square().sum())


def test_padding_changes_nothing(tmp_path):
    ours, _ = pair("ViltForQuestionAnswering", tmp_path)
    together = pictures(WIDE, [(23, 20), (12, 41), WIDE])
    together["pixel_values"] = together["pixel_values"] * together["pixel_mask"][:, None]
    with torch.no_grad():
        logits = ours(**texts(), **together).logits
        for row, (height, width) in enumerate([(20, 20), (12, 40), (20, 40)]):
            length = int(texts()["attention_mask"][row].sum())
            alone = ours(
                texts()["input_ids"][row : row + 1, :length],
                pixel_values=together["pixel_values"][row : row + 1, :, :height, :width],
            )
            torch.testing.assert_close(alone.logits[0], logits[row], rtol=1e-5, atol=1e-5)


def test_embedded_pictures(tmp_path):
    ours, _ = pair("ViltForQuestionAnswering", tmp_path)
    given = pictures(WIDE, [(23, 20), (12, 41), WIDE])
    with torch.no_grad():
        embeds, mask = ours.vilt.embeddings.embed_picture(**given)
        expected = ours(**texts(), **given).logits
        torch.testing.assert_close(ours(**texts(), image_embeds=embeds, pixel_mask=mask).logits, expected)
        plain, none = ours.vilt.embeddings.embed_picture(given["pixel_values"], None)
        assert none is None
        second = ViltModel(ViltConfig(**SIZE, modality_type_vocab_size=3)).eval()
        first = second(**texts(), image_embeds=plain).pooler_output
        assert not torch.allclose(second(**texts(), image_embeds=plain, image_token_type_idx=2).pooler_output, first)


def test_a_limit_of_patches_draws_in_training():
    model = ViltModel(ViltConfig(**SIZE, max_image_length=6))
    given = {**texts(), **pictures()}
    assert model.eval()(**given).last_hidden_state.shape == (3, 9 + 1 + 6, 32)
    torch.testing.assert_close(model(**given).pooler_output, model(**given).pooler_output, rtol=0, atol=0)
    torch.manual_seed(0)
    assert not torch.allclose(model.train()(**given).pooler_output, model(**given).pooler_output)


def test_retrieval_learns_which_pairs_match():
    model = notebook_kit.ViltForImageAndTextRetrieval(ViltConfig(**SIZE)).eval()
    given, labels = {**texts(), **pictures()}, torch.tensor([1, 0, 1])
    out = model(**given, labels=labels)
    expected = torch.nn.functional.softplus(out.logits[:, 0] * (1 - 2 * labels)).mean()
    torch.testing.assert_close(out.loss, expected)
    with pytest.raises(InputError, match=r"Labels have shape \(2,\); expected \(3,\)"):
        model(**given, labels=labels[:2])


@pytest.mark.parametrize("name", NAMES)
def test_takes_the_inputs_that_the_reference_takes(name):
    mine = list(inspect.signature(ref.ours_of(name).forward).parameters)
    theirs = [given for given in inspect.signature(getattr(transformers, name).forward).parameters if given in mine]
    assert [given for given in mine if given in theirs] == theirs
    assert set(mine) - set(theirs) <= {"options"}


@pytest.mark.parametrize("name", NAMES)
def test_fresh_weights_are_drawn_as_the_reference_draws_them(name):
    kind, theirs = ref.ours_of(name), getattr(transformers, name)
    mine = dict(ref.all_parameters(kind(kind.config_class(**SIZE))))
    expected = dict(ref.all_parameters(theirs(theirs.config_class(**SIZE))))
    assert mine.keys() == expected.keys()
    for key, value in expected.items():
        assert (mine[key] == 0).all() == (value == 0).all() and (mine[key] == 1).all() == (value == 1).all(), key
        if value.numel() > 500 and value.std() > 0:
            assert mine[key].std().item() == pytest.approx(value.std().item(), rel=0.15), key


def test_files_of_earlier_versions(tmp_path):
    """The output layer of older checkpoints is not tied, and its bias has another name."""
    ours, reference = pair("ViltForMaskedLM", tmp_path)
    weights = {**reference.state_dict(), "vilt.embeddings.text_embeddings.position_ids": torch.arange(20)[None]}
    weights["mlm_score.bias"] = weights.pop("mlm_score.decoder.bias")
    weights["mlm_score.decoder.weight"] = weights["mlm_score.decoder.weight"] * 2
    config = ViltConfig(**SIZE, tie_word_embeddings=False)
    old = notebook_kit.ViltForMaskedLM.from_pretrained(None, config=config, state_dict=weights)
    with torch.no_grad():
        given = {**texts(), **pictures()}
        bias = weights["mlm_score.bias"]
        torch.testing.assert_close(old(**given).logits - bias, (ours(**given).logits - bias) * 2)


def test_the_registry_and_the_auto_classes(tmp_path):
    ours, _ = pair("ViltForQuestionAnswering", tmp_path)
    loaded = notebook_kit.AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path / "theirs")
    assert type(loaded) is type(ours)
    assert notebook_kit.MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING[ViltConfig] is ViltForQuestionAnswering
    assert transformers.MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING[transformers.ViltConfig]
    assert inputs_of(ours).main == "input_ids" and inputs_of(ours).takes("pixel_mask")
    assert position_limit(ours) == 20 and vocabulary_size(ours) == 99
    assert inputs_of(ours).labels == ("labels",)


def test_attention_is_recorded_and_ablated(tmp_path):
    ours, _ = pair("ViltForQuestionAnswering", tmp_path)
    given = {**texts(), **pictures()}
    assert {(site.rows, site.columns) for site in sites_of(ours)} == {("text and patches", "text and patches")}
    with torch.no_grad(), notebook_kit.record_attention(ours, layers=[1]) as record:
        plain = ours(**given).logits
    assert record[1].shape == (3, 4, 60, 60)
    torch.testing.assert_close(record[1], ours(**given, output_attentions=True).attentions[1])
    assert not record[1][2, :, :, 1:9].any()  # padding of the third text
    with torch.no_grad(), notebook_kit.ablate_heads(ours, {(0, 0)}):
        assert not torch.allclose(ours(**given).logits, plain)


def test_gradient_checkpointing(tmp_path):
    ours, _ = pair("ViltForQuestionAnswering", tmp_path)
    given = {**texts(), **pictures(), **labels_for("ViltForQuestionAnswering")}

    def gradients():
        ours.train().zero_grad()
        ours(**given).loss.backward()
        return {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.grad is not None}

    plain = gradients()
    ours.gradient_checkpointing_enable()
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, plain[name], msg=name)


MODEL = ViltForQuestionAnswering(ViltConfig(**SIZE)).eval()
GOOD = {**texts(), **pictures()}
HOLED = torch.ones(3, *WIDE)
HOLED[0, 4:8] = 0


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"pixel_values": None}, "pixel_values is missing"),
        ({"input_ids": None}, "either input_ids or inputs_embeds, and got neither"),
        ({"pixel_values": ref.pixels(WIDE)[:2]}, "There are 3 texts and 2 pictures"),
        ({"pixel_values": ref.pixels((3, 40))}, "3 x 40 pixels is smaller than a patch of 4 x 4"),
        ({"pixel_values": ref.pixels((0, 0))}, "0 x 0 pixels is smaller than a patch"),
        ({"pixel_values": ref.pixels(WIDE)[:, :1]}, "1 channels .* this model reads 3"),
        ({"pixel_values": "cat.png"}, "pixel_values is a str; expected a tensor"),
        ({"pixel_mask": torch.ones(3, 23)}, r"pixel_mask has shape \(3, 23\); expected \(3, 23, 41\)"),
        ({"pixel_mask": HOLED}, "does not cover a rectangle at the upper left"),
        ({"pixel_mask": torch.zeros(3, *WIDE)}, "does not cover a rectangle at the upper left"),
        ({"attention_mask": torch.ones(3, 8)}, r"attention_mask has shape \(3, 8\); expected \(3, 9\)"),
        ({"input_ids": torch.ones(3, 21, dtype=torch.long)}, "21 tokens"),
        ({"input_ids": torch.full((3, 9), 99)}, "Token ids go from 99 to 99"),
        ({"image_embeds": torch.zeros(3, 5, 32)}, "Both pixel_values and image_embeds"),
        ({"pixel_values": None, "image_embeds": torch.zeros(3, 32)}, r"image_embeds has shape \(3, 32\)"),
        ({"pixel_values": None, "image_embeds": torch.zeros(3, 5, 7)}, r"expected \(batch, positions, \d+\)"),
        ({"labels": torch.tensor([1, 2, 3])}, r"Labels have shape \(3,\); expected \(3, 5\)"),
    ],
)
def test_wrong_inputs_are_named(edits, message):
    with pytest.raises(InputError, match=message) as caught:
        MODEL(**{**GOOD, **edits})
    assert caught.value.next_step


def test_wrong_settings_are_named():
    with pytest.raises(ConfigurationError, match="a patch of 32 pixels does not fit into an image of 16"):
        ViltConfig(image_size=16)
    with pytest.raises(InputError, match="image_token_type_idx is 2, and this model has the kinds 0 to 1"):
        MODEL.vilt(**GOOD, image_token_type_idx=2)
