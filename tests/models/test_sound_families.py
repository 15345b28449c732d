"""Whisper, Wav2Vec2, HuBERT and AST equal their counterparts in transformers: outputs, losses, gradients, files."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference as ref
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

import notebook_kit
from notebook_kit import AutoConfig, AutoModelForAudioClassification, AutoModelForCTC, AutoModelForSpeechSeq2Seq
from notebook_kit.errors import CheckpointError, ConfigurationError, InputError
from notebook_kit.models.auto import config_class
from notebook_kit.nn.spec_augment import random_spans

_NO_DROPOUT = dict.fromkeys(
    ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout", "layerdrop"),
    0.0,
)
_SAMPLES = {
    **_NO_DROPOUT,
    "vocab_size": 21,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "conv_dim": [8, 12, 10],
    "conv_stride": [5, 3, 2],
    "conv_kernel": [10, 3, 2],
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 3,
    "classifier_proj_size": 14,
    "mask_time_length": 2,
    "num_labels": 3,
}
_CODEBOOK = {
    "num_codevectors_per_group": 5,
    "codevector_dim": 8,
    "proj_codevector_dim": 10,
    "feat_quantizer_dropout": 0.0,
}
FIELDS: dict[str, dict[str, Any]] = {
    "wav2vec2": {**_SAMPLES, **_CODEBOOK},
    "hubert": _SAMPLES,
    "audio-spectrogram-transformer": {
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 36,
        "patch_size": 7,
        "frequency_stride": 4,
        "time_stride": 5,
        "max_length": 33,
        "num_mel_bins": 19,
        "num_labels": 3,
    },
    "whisper": {
        "vocab_size": 99,
        "num_mel_bins": 13,
        "d_model": 24,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 3,
        "encoder_ffn_dim": 36,
        "decoder_ffn_dim": 30,
        "max_source_positions": 17,
        "max_target_positions": 40,
        "pad_token_id": 90,
        "bos_token_id": 90,
        "eos_token_id": 90,
        "decoder_start_token_id": 91,
        "begin_suppress_tokens": [5, 90],
        "classifier_proj_size": 14,
        "num_labels": 3,
    },
}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("whisper", "WhisperModel", {}),
    ("whisper", "WhisperForConditionalGeneration", {}),
    ("whisper", "WhisperForAudioClassification", {}),
    ("whisper", "WhisperForAudioClassification", {"use_weighted_layer_sum": True}),
    ("wav2vec2", "Wav2Vec2Model", {"add_adapter": True, "num_adapter_layers": 2, "output_hidden_size": 20}),
    ("wav2vec2", "Wav2Vec2ForCTC", {}),
    ("wav2vec2", "Wav2Vec2ForCTC", {**STABLE, "adapter_attn_dim": 6, "ctc_loss_reduction": "mean"}),
    ("wav2vec2", "Wav2Vec2ForCTC", {"add_adapter": True, "num_adapter_layers": 1, "num_conv_pos_embeddings": 7}),
    ("wav2vec2", "Wav2Vec2ForSequenceClassification", {"use_weighted_layer_sum": True}),
    ("wav2vec2", "Wav2Vec2ForPreTraining", STABLE),
    ("hubert", "HubertModel", {**STABLE, "feat_proj_layer_norm": False}),
    ("hubert", "HubertForCTC", {"conv_pos_batch_norm": True, "ctc_zero_infinity": True}),
    ("hubert", "HubertForSequenceClassification", {}),
    ("hubert", "HubertForSequenceClassification", {**STABLE, "use_weighted_layer_sum": True}),
    ("audio-spectrogram-transformer", "ASTModel", {}),
    ("audio-spectrogram-transformer", "ASTForAudioClassification", {}),
]
IDS = ["-".join([name, *edits]) for _, name, edits in CASES]


def reference_model(model_type: str, name: str, **edits: Any) -> nn.Module:
    kind = getattr(transformers, name)
    model = kind._from_config(kind.config_class(**{**FIELDS[model_type], **edits}), attn_implementation="eager").eval()
    positions = {key: value.clone() for key, value in model.state_dict().items() if "encoder.embed_positions" in key}
    ref.randomize(model)
    model.load_state_dict(positions, strict=False)
    return model


def pair(model_type: str, name: str, folder: Path, **edits: Any) -> tuple[nn.Module, nn.Module]:
    """The reference, and ours, loaded from its files."""
    reference = reference_model(model_type, name, **edits)
    return ref.ours_of(name).from_pretrained(ref.saved(reference, folder)), reference


def waves(rows: int = 3, samples: int = 701) -> Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(7))


def inputs_for(name: str, config: Any) -> list[dict[str, Tensor]]:
    """Several ways to call a model; the first is the one to differentiate."""
    if config.model_type == "audio-spectrogram-transformer":
        images = torch.randn(3, config.max_length, config.num_mel_bins, generator=torch.Generator().manual_seed(7))
        return [{"input_values": images}]
    if config.model_type == "whisper":
        features = torch.randn(3, config.num_mel_bins, 34, generator=torch.Generator().manual_seed(7))
        given = {"input_features": features}
        if name.endswith("ForAudioClassification"):
            return [given]
        ids = torch.randint(0, 90, (3, 6), generator=torch.Generator().manual_seed(4))
        mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 6, [1] * 6])
        positions = torch.arange(3, 9).expand(3, 6)
        return [
            {**given, "decoder_input_ids": ids},
            {**given, "decoder_input_ids": ids, "decoder_attention_mask": mask},
            {**given, "decoder_input_ids": ids, "decoder_position_ids": positions},
            {**given, "decoder_inputs_embeds": torch.randn(3, 6, 24, generator=torch.Generator().manual_seed(5))},
        ]
    mask = torch.tensor([[1] * n + [0] * (701 - n) for n in (701, 413, 95)])
    given = {"input_values": waves() * mask, "attention_mask": mask}
    ways = [given, {"input_values": waves()}, {"input_values": waves(1, 59)}]
    if name.endswith("Model"):
        hidden = torch.arange(69).view(3, 23) % 4 == 1  # 701 samples are 23 frames
        ways.append({**given, "mask_time_indices": hidden})
    if name.endswith("ForPreTraining"):
        hidden = torch.arange(69).view(3, 23) % 4 == 1
        others = torch.randint(0, 69, (3, 23, 5), generator=torch.Generator().manual_seed(8))
        ways.insert(0, {**given, "mask_time_indices": hidden, "sampled_negative_indices": others})
    return ways


def labels_for(name: str) -> dict[str, Tensor]:
    if name.endswith("ForConditionalGeneration"):
        return {"labels": torch.tensor([[7, 8, 9, 90], [5, 90, -100, -100], [11, 12, 90, -100]])}
    if name.endswith("ForCTC"):
        return {"labels": torch.tensor([[7, 8, 8, 9], [5, 0, -100, -100], [11, -100, -100, -100]])}
    return {"labels": torch.tensor([0, 2, 1])} if name.endswith("Classification") else {}


def options_of(name: str) -> dict[str, bool]:
    return {"use_cache": False} if name in ("WhisperModel", "WhisperForConditionalGeneration") else {}


def total(out: Any) -> Tensor:
    return out["loss"] if "loss" in out else ref.total(out)


def assert_same_gradients(ours: nn.Module, reference: nn.Module, given: dict[str, Any]) -> None:
    """Of every parameter; those of a normalized convolution have other names in the oracle."""
    for model in (ours, reference):
        model.zero_grad()
        total(model(**given)).backward()
    mine = {name: parameter.grad for name, parameter in ours.named_parameters()}
    theirs = {name: parameter.grad for name, parameter in reference.named_parameters()}
    if mine.keys() != theirs.keys():
        theirs = ref.in_files(reference, theirs)
        mine = {name: mine[own] for own, name in ours.weight_rules.stored_names(mine, False).items()}
    assert mine.keys() == theirs.keys()
    touched = 0
    for name, gradient in theirs.items():
        if gradient is None:
            assert mine[name] is None or not mine[name].any(), name
            continue
        touched += bool(gradient.any())
        scale = max(1.0, float(gradient.abs().max()))  # a sum over frames has gradients above 1
        torch.testing.assert_close(
            mine[name] / scale, gradient / scale, rtol=1e-5, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )
    assert touched > len(theirs) / 2


@pytest.mark.parametrize(("model_type", "name", "edits"), CASES, ids=IDS)
def test_equals_reference(model_type, name, edits, tmp_path):
    """Outputs of every kind of input, loss, gradients, and the way back."""
    ours, reference = pair(model_type, name, tmp_path / "theirs", **edits)
    assert ours.num_parameters() == reference.num_parameters() and not ours.training
    ways, switches = inputs_for(name, reference.config), options_of(name)
    with torch.no_grad():
        for given in ways:
            everything = {**given, **switches, "output_hidden_states": True, "output_attentions": True}
            ref.assert_same_output(ours(**everything), reference(**everything))
            mine, theirs = ours(**given, **switches), dict(reference(**given, **switches))  # the fused path
            if edits.get("use_weighted_layer_sum"):
                theirs.pop("hidden_states", None)  # which nobody asked for
            ref.assert_same_output(mine, theirs)
    given = {**ways[0], **labels_for(name)}
    if "labels" in given and model_type == "whisper":
        given = {n: value for n, value in given.items() if not n.startswith("decoder")}
    with torch.no_grad():
        assert torch.allclose(total(ours(**given)), total(reference(**given)), rtol=1e-5, atol=1e-5)
    assert_same_gradients(ours, reference, {**given, **switches})

    ours.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    back, report = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    with torch.no_grad():
        torch.testing.assert_close(total(back.eval()(**given)), total(ours(**given)))


# Training --------------------------------------------------------------------------------------------------------------


def test_spans_are_those_of_the_reference():
    """The same NumPy seed hides the same positions, whatever the sizes."""
    for seed in range(60):
        draw = np.random.default_rng(seed)
        rows, width, length = int(draw.integers(1, 5)), int(draw.integers(8, 60)), int(draw.integers(1, 8))
        probability, fewest = float(draw.random()), int(draw.integers(0, 3))
        lengths = [int(n) for n in draw.integers(1, width + 1, rows)] if seed % 2 else None
        mask = None if lengths is None else torch.tensor([[1] * n + [0] * (width - n) for n in lengths])
        np.random.seed(seed)
        expected = _compute_mask_indices((rows, width), probability, length, mask, fewest)
        np.random.seed(seed)
        assert np.array_equal(random_spans((rows, width), probability, length, lengths, fewest), expected), seed


@pytest.mark.parametrize(
    ("model_type", "name", "edits"),
    [
        ("wav2vec2", "Wav2Vec2ForCTC", {}),
        ("hubert", "HubertForCTC", {}),
        ("whisper", "WhisperForConditionalGeneration", {"apply_spec_augment": True, "mask_time_length": 3}),
    ],
)
def test_training_hides_what_the_reference_hides(model_type, name, edits, tmp_path):
    masks = {"mask_time_prob": 0.4, "mask_feature_prob": 0.3, "mask_feature_length": 2}
    ours, reference = pair(model_type, name, tmp_path, **masks, **edits)
    given = {**inputs_for(name, reference.config)[0], **labels_for(name)}
    losses = []
    for model in (ours.train(), reference.train()):
        np.random.seed(3)
        copied = {key: value.clone() for key, value in given.items() if not key.startswith("decoder")}
        losses.append(model(**copied).loss)
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    given = {key: value for key, value in given.items() if not key.startswith("decoder")}
    assert not torch.allclose(losses[0], ours.eval()(**given).loss)  # something was hidden


def test_a_span_longer_than_the_recording_is_named():
    model = notebook_kit.Wav2Vec2ForCTC(notebook_kit.Wav2Vec2Config(**{**FIELDS["wav2vec2"], "mask_time_length": 30}))
    with pytest.raises(ConfigurationError, match="mask_time_length is 30, and the input has 23 positions"):
        model.train()(waves())


def test_layers_are_dropped_in_training_only():
    torch.manual_seed(0)
    for kind, given in (("wav2vec2", {"layerdrop": 1.0}), ("whisper", {"encoder_layerdrop": 1.0})):
        model = notebook_kit.AutoModel.from_config(config_class(kind)(**{**FIELDS[kind], **given}))
        example = inputs_for("Whisper", model.config)[0]
        name = "hidden_states" if kind == "wav2vec2" else "encoder_hidden_states"
        trained = model.train()(**example, output_hidden_states=True)[name]
        used = model.eval()(**example, output_hidden_states=True)[name]
        assert len(trained) == 1 and len(used) == (4 if kind == "wav2vec2" else 3)


@pytest.mark.parametrize(("model_type", "name", "edits"), CASES[1::4], ids=IDS[1::4])
def test_gradient_checkpointing_changes_nothing(model_type, name, edits, tmp_path):
    ours, _ = pair(model_type, name, tmp_path, **edits)
    twin = copy.deepcopy(ours)
    twin.gradient_checkpointing_enable()
    given = {**inputs_for(name, ours.config)[0], **labels_for(name)}
    if "labels" in given:
        given.pop("decoder_input_ids", None)
    for model in (ours.train(), twin.train()):
        np.random.seed(0)
        torch.manual_seed(0)  # the quantizer's
        total(model(**given)).backward()
    for (key, mine), (_, theirs) in zip(ours.named_parameters(), twin.named_parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, msg=key)


# Files -----------------------------------------------------------------------------------------------------------------


def test_weight_norm_under_its_older_names(tmp_path):
    """Files from before `parametrizations` call the two parts of the weight `weight_g` and `weight_v`."""
    ours, _ = pair("wav2vec2", "Wav2Vec2ForCTC", tmp_path)
    file = tmp_path / "model.safetensors"
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = load_file(file)
    for new, old in names.items():
        weights[f"wav2vec2.encoder.pos_conv_embed.conv.{old}"] = weights.pop(
            f"wav2vec2.encoder.pos_conv_embed.conv.{new}"
        )
    save_file(weights, file, metadata={"format": "pt"})
    again = notebook_kit.Wav2Vec2ForCTC.from_pretrained(tmp_path)
    assert torch.equal(again(waves()).logits, ours(waves()).logits)


def test_heads_of_one_checkpoint(tmp_path):
    """A classifier begins with the encoder of a Whisper that writes, and with that of a Wav2Vec2 that spells."""
    for model_type, name, other in (
        ("whisper", "WhisperForConditionalGeneration", "WhisperForAudioClassification"),
        ("wav2vec2", "Wav2Vec2ForCTC", "Wav2Vec2ForSequenceClassification"),
        ("hubert", "HubertForCTC", "HubertModel"),
    ):
        ours, reference = pair(model_type, name, tmp_path / name)
        with pytest.warns(match="no weights for the head") if "Classification" in other else nullcontext():
            model = ref.ours_of(other).from_pretrained(tmp_path / name)
        given = inputs_for("ForAudioClassification", reference.config)[0]
        encoders = [one.get_encoder() if model_type == "whisper" else one.base_model for one in (ours, model)]
        assert torch.equal(*(encoder(**given).last_hidden_state for encoder in encoders))


def test_initial_weights_have_the_size_of_the_reference(tmp_path):
    torch.manual_seed(0)
    for model_type, name in (("wav2vec2", "Wav2Vec2ForPreTraining"), ("whisper", "WhisperForAudioClassification")):
        config = config_class(model_type)(**FIELDS[model_type], use_weighted_layer_sum=True)
        mine = ref.ours_of(name)(config)
        theirs = getattr(transformers, name)(getattr(transformers, type(config).__name__)(**config.to_diff_dict()))
        names, expected = mine.weight_rules.stored_names(mine.state_dict(), False), theirs.state_dict()
        for own, key in names.items():
            size, other = mine.state_dict()[own].square().mean(), expected[key].square().mean()
            assert size == other == 0 or 0.2 < size / other < 5, own


def test_auto_classes():
    for model_type, auto, name in (
        ("whisper", AutoModelForSpeechSeq2Seq, "WhisperForConditionalGeneration"),
        ("hubert", AutoModelForCTC, "HubertForCTC"),
        ("wav2vec2", AutoModelForAudioClassification, "Wav2Vec2ForSequenceClassification"),
        ("audio-spectrogram-transformer", AutoModelForAudioClassification, "ASTForAudioClassification"),
    ):
        assert auto.model_class(AutoConfig.for_model(model_type)).__name__ == name


# Looking in ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model_type", "axis"), [("wav2vec2", "frames"), ("hubert", "frames"), ("whisper", "frames")])
def test_attention_is_recorded_and_switched_off(model_type, axis):
    model = notebook_kit.AutoModel.from_config(config_class(model_type)(**FIELDS[model_type])).eval()
    given = inputs_for("Model", model.config)[0]
    with torch.no_grad(), notebook_kit.record_attention(model, layers=[1]) as record:
        before = model(**given).last_hidden_state
    kinds = {site.kind: (site.rows, site.columns) for site in record.sites}
    own = {"self": (axis, axis)}
    text = {"decoder": ("decoder text", "decoder text"), "cross": ("decoder text", axis)}
    assert kinds == (own | text if model_type == "whisper" else own)
    weights = record.steps(1, kind="self")[0]
    assert torch.allclose(weights.sum(-1), torch.ones(())) and weights.shape[-1] in (23, 17)
    if model_type != "whisper":
        assert not weights[1, :, :, 13:].any() and weights[1, :, :, 12].all()  # 413 samples are 13 frames
    with torch.no_grad(), notebook_kit.ablate_heads(model, {(0, 1)}, kind="self"):
        assert not torch.allclose(model(**given).last_hidden_state, before)


def test_samples_of_a_frame():
    assert notebook_kit.WhisperModel(notebook_kit.WhisperConfig(**FIELDS["whisper"])).samples_per_frame == 320
    assert notebook_kit.Wav2Vec2Model(notebook_kit.Wav2Vec2Config(**FIELDS["wav2vec2"])).samples_per_frame == 30


# Mistakes --------------------------------------------------------------------------------------------------------------


def test_inputs_of_a_wrong_shape():
    whisper = notebook_kit.WhisperModel(notebook_kit.WhisperConfig(**FIELDS["whisper"]))
    ids = torch.tensor([[91]])
    with pytest.raises(InputError, match="spectrograms of 13 bands and 34 frames"):
        whisper(torch.zeros(1, 13, 20), decoder_input_ids=ids)
    with pytest.raises(InputError, match="input_features is missing"):
        whisper(decoder_input_ids=ids)
    wav2vec2 = notebook_kit.Wav2Vec2Model(notebook_kit.Wav2Vec2Config(**FIELDS["wav2vec2"]))
    with pytest.raises(InputError, match="34 samples, and this model needs 35 for its first frame"):
        wav2vec2(torch.zeros(1, 34))
    assert wav2vec2.eval()(torch.zeros(1, 35)).last_hidden_state.shape[1] == 1
    with pytest.raises(InputError, match=r"input_values has shape \(1, 1, 80\)"):
        wav2vec2(torch.zeros(1, 1, 80))
    ast = notebook_kit.ASTModel(notebook_kit.ASTConfig(**FIELDS["audio-spectrogram-transformer"]))
    with pytest.raises(InputError, match=r"expected a tensor \(batch, 33 frames, 19 bands\)"):
        ast(torch.zeros(1, 19, 33))


def test_labels_and_settings_that_cannot_be():
    model = notebook_kit.Wav2Vec2ForCTC(notebook_kit.Wav2Vec2Config(**FIELDS["wav2vec2"])).eval()
    with pytest.raises(InputError, match="The label 21 is outside 0 to 20"):
        model(waves(1), labels=torch.tensor([[3, 21]]))
    with pytest.raises(ConfigurationError, match="conv_dim has 7 entries, conv_stride has 1 entries"):
        notebook_kit.HubertConfig(conv_stride=[5]).validate()
    with pytest.raises(ConfigurationError, match='expected "group" or "layer"'):
        notebook_kit.Wav2Vec2Config(feat_extract_norm="batch").validate()
    with pytest.raises(ConfigurationError, match="No patch of 16 fits"):
        notebook_kit.ASTConfig(num_mel_bins=8).validate()
    with pytest.raises(ConfigurationError, match="without the adapter"):
        fields = {**FIELDS["wav2vec2"], "add_adapter": True}
        notebook_kit.Wav2Vec2ForSequenceClassification(notebook_kit.Wav2Vec2Config(**fields))


# The Trainer -----------------------------------------------------------------------------------------------------------


def examples(model_type: str, name: str, count: int = 8) -> list[dict[str, Any]]:
    """Recordings that a tiny model can learn: a class is a constant, a transcript has one letter."""
    found = []
    for index in range(count):
        label, level = index % 2, torch.full((1,), 1.0 if index % 2 else -1.0)
        if model_type == "whisper":
            given = {"input_features": level.expand(13, 34).clone()}
        elif model_type == "audio-spectrogram-transformer":
            given = {"input_values": level.expand(33, 19).clone()}
        else:
            given = {"input_values": level * torch.sin(torch.arange(180.0 + 60 * label) * (0.3 + label))}
        if name.endswith("ForConditionalGeneration"):
            given["labels"] = torch.tensor([7 + label, 90])
        else:
            given["labels"] = torch.tensor([7 + label]) if name.endswith("ForCTC") else label
        found.append(given)
    return found


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """A batch; waveforms are padded, with a mask."""
    batch = {"labels": torch.stack([torch.as_tensor(row["labels"]) for row in rows])}
    name = "input_features" if "input_features" in rows[0] else "input_values"
    values = [row[name] for row in rows]
    if values[0].dim() == 1:
        lengths = torch.tensor([len(value) for value in values])
        batch["attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        return {**batch, name: nn.utils.rnn.pad_sequence(values, batch_first=True)}
    return {**batch, name: torch.stack(values)}


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("wav2vec2", "Wav2Vec2ForCTC"),
        ("hubert", "HubertForSequenceClassification"),
        ("audio-spectrogram-transformer", "ASTForAudioClassification"),
        ("whisper", "WhisperForAudioClassification"),
        ("whisper", "WhisperForConditionalGeneration"),
    ],
)
def test_the_trainer_trains(model_type, name, tmp_path):
    torch.manual_seed(0)
    model = ref.ours_of(name)(config_class(model_type)(**{**FIELDS[model_type], "mask_time_prob": 0.0}))
    data, writes = examples(model_type, name), name.endswith("ForConditionalGeneration")
    kinds = ("Seq2SeqTrainer", "Seq2SeqTrainingArguments") if writes else ("Trainer", "TrainingArguments")
    trainer_class, arguments_class = (getattr(notebook_kit, kind) for kind in kinds)
    arguments = arguments_class(
        str(tmp_path),
        per_device_train_batch_size=4,
        num_train_epochs=15,
        learning_rate=1e-2,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **({"predict_with_generate": True, "generation_max_length": 6} if writes else {}),
    )
    trainer = trainer_class(model, arguments, data_collator=collate, train_dataset=data, eval_dataset=data)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.7 * before
    if writes:
        written = trainer.predict(data).predictions
        assert sorted({int(token) for row in written for token in row if 7 <= token <= 8}) == [7, 8]


def test_adapters_of_languages_are_loaded_as_by_the_oracle(tmp_path):
    fields = {**FIELDS["wav2vec2"], "do_stable_layer_norm": True, "feat_extract_norm": "layer", "adapter_attn_dim": 6}
    oracle = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**fields))
    oracle.save_pretrained(tmp_path)
    width = fields["hidden_size"]
    weights = {name: torch.randn_like(value) for name, value in oracle.state_dict().items() if "adapter_layer" in name}
    save_file(weights | {"lm_head.weight": torch.randn(33, width)}, tmp_path / "adapter.bad.safetensors")
    weights |= {"lm_head.weight": torch.randn(33, width), "lm_head.bias": torch.randn(33)}
    save_file(weights, tmp_path / "adapter.tel.safetensors")
    ours = notebook_kit.Wav2Vec2ForCTC.from_pretrained(tmp_path).eval()
    oracle = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path).eval()
    ours.load_adapter("tel")
    oracle.load_adapter("tel")
    samples = torch.randn(1, 2000)
    with torch.no_grad():
        expected, found = oracle(samples).logits, ours(samples).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.shape[-1] == ours.config.vocab_size == 33 and ours.target_lang == "tel"
    with pytest.raises(CheckpointError, match=r"no adapter\.xyz\.safetensors .*'xyz'"):
        ours.load_adapter("xyz")
    with pytest.raises(CheckpointError, match=r"does not fit this model: lm_head\.bias"):
        ours.load_adapter("bad")
    plain = notebook_kit.Wav2Vec2ForCTC(notebook_kit.Wav2Vec2Config(**FIELDS["wav2vec2"]))
    with pytest.raises(ConfigurationError, match="no adapters for languages"):
        plain.load_adapter("tel")


def test_samples_in_another_precision():
    """soundfile reads samples as float64, and files hold whole numbers."""
    samples = torch.randn(1, 4_000, generator=torch.Generator().manual_seed(0))
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    waves = notebook_kit.Wav2Vec2Model(notebook_kit.Wav2Vec2Config(**small)).eval()
    with torch.no_grad():
        assert torch.equal(waves(samples.double())[0], waves(samples.double().float())[0])
    with pytest.raises(InputError, match="has the type int16"):
        waves((samples * 1000).to(torch.int16))

    patches = notebook_kit.ASTModel(notebook_kit.ASTConfig(**small, num_mel_bins=32, max_length=40)).eval()
    bands = torch.randn(1, 40, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(patches(bands.double())[0], patches(bands)[0])

    config = notebook_kit.WhisperConfig(
        vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8, max_source_positions=10,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    listener = notebook_kit.WhisperModel(config).eval()
    mels = torch.randn(1, 8, 20, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 3]])
    with torch.no_grad():
        assert torch.equal(listener(mels.double(), decoder_input_ids=ids)[0], listener(mels, decoder_input_ids=ids)[0])
