"""Encoders of images with decoders of text against transformers: outputs, losses, gradients, files, generation."""

from __future__ import annotations

import json

import pytest
import reference as ref
import torch
import transformers

from notebook_kit import (
    AutoModelForImageTextToText,
    AutoModelForVision2Seq,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ResNetConfig,
    ResNetModel,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
    ablate_heads,
    record_attention,
)
from notebook_kit.errors import ConfigurationError, InputError, NotebookKitWarning

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
IMAGES = {"image_size": 30, "patch_size": 7, **NO_DROPOUT}  # 4 x 4 patches, and pixels that are left over
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
SWIN = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 3, "image_size": 24, "patch_size": 4}
WIDE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SEQ2SEQ = {
    "d_model": 16,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 24,
    "encoder_layers": 2,  # the oracle counts the layers of the cache by these
    "encoder_attention_heads": 2,
    "dropout": 0.0,
    "max_position_embeddings": 30,
}
GPT2 = {
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 30,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0,
}
TROCR = {name: value for name, value in SEQ2SEQ.items() if not name.startswith("encoder_")}
ENCODERS = {
    "vit": lambda kit: kit.ViTConfig(**SMALL, **IMAGES),
    "deit": lambda kit: kit.DeiTConfig(**SMALL, **IMAGES),
    "dinov2": lambda kit: kit.Dinov2Config(**{**SMALL, **IMAGES, "patch_size": 6}),
    "swin": lambda kit: kit.SwinConfig(**SWIN, **NO_DROPOUT, drop_path_rate=0.0),
    "donut": lambda kit: kit.DonutSwinConfig(**SWIN, **NO_DROPOUT, drop_path_rate=0.0),
}
DECODERS = {
    "gpt2": lambda kit: kit.GPT2Config(vocab_size=60, **GPT2),
    "bert": lambda kit: kit.BertConfig(vocab_size=60, max_position_embeddings=30, **WIDE, **NO_DROPOUT),
    "mbart": lambda kit: kit.MBartConfig(vocab_size=60, scale_embedding=True, **SEQ2SEQ),
    "bart": lambda kit: kit.BartConfig(vocab_size=60, **SEQ2SEQ),
    "trocr": lambda kit: kit.TrOCRConfig(vocab_size=60, cross_attention_hidden_size=24, **TROCR),
    "sines": lambda kit: kit.TrOCRConfig(
        vocab_size=60, scale_embedding=True, use_learned_position_embeddings=False, layernorm_embedding=False, **TROCR
    ),
}
PAIRS = [
    ("vit", "gpt2"),
    ("deit", "bert"),
    ("swin", "mbart"),
    ("donut", "mbart"),
    ("dinov2", "bart"),
    ("vit", "trocr"),
    ("deit", "sines"),
]
LABELS = torch.tensor([[7, 8, 9, 3], [5, 3, -100, -100]])
TOKENS = {"decoder_start_token_id": 2, "pad_token_id": 0, "eos_token_id": 3}


def reference_pair(encoder, decoder):
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ENCODERS[encoder](transformers), DECODERS[decoder](transformers), **TOKENS
    )
    model = transformers.VisionEncoderDecoderModel(config).eval()
    model.set_attn_implementation("eager")
    ref.randomize(model)
    return model


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """`pairs(encoder, decoder)`: our model and the oracle's, with the folder of the latter."""
    made = {}

    def make(*names):
        if names not in made:
            folder = tmp_path_factory.mktemp("-".join(names))
            reference = reference_pair(*names)
            reference.save_pretrained(folder)
            made[names] = VisionEncoderDecoderModel.from_pretrained(folder), reference, folder
        return made[names]

    return make


def pixels(model, count=2):
    size = model.config.encoder.image_size
    return ref.pixels(size, count)


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_it_is_the_oracles(pairs, names, tmp_path):
    model, reference, folder = pairs(*names)
    given = {"pixel_values": pixels(model), "labels": LABELS}
    assert model.num_parameters() == reference.num_parameters()
    with torch.no_grad():
        everything = {**given, "output_attentions": True, "output_hidden_states": True, "use_cache": False}
        ref.assert_same_output(model(**everything), reference(**everything))
        masked = {
            "pixel_values": given["pixel_values"],
            "decoder_input_ids": torch.tensor([[2, 7, 8], [2, 9, 0]]),
            "decoder_attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
            "use_cache": False,
        }
        ref.assert_same_output(model(**masked), reference(**masked))
    ref.assert_same_gradients(model, reference, lambda one: one(**given).loss)
    model.save_pretrained(tmp_path)
    ref.assert_same_files(tmp_path, folder)
    if names[1] == "sines":
        return  # transformers 5 cannot load a TrOCR with sinusoidal positions
    back, report = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        torch.testing.assert_close(back.eval()(**given).logits, model(**given).logits, rtol=0, atol=1e-5)


SEARCHES = [
    {},
    {"num_beams": 4},
    {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 2.0},
    {"decoder_input_ids": torch.tensor([[2, 7, 8], [2, 9, 10]])},
    {"repetition_penalty": 1.5, "use_cache": False},
]


@pytest.mark.parametrize("options", SEARCHES, ids=lambda options: " ".join(options) or "greedy")
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_generated_ids_are_the_oracles(pairs, names, options):
    model, reference, _ = pairs(*names)
    given = {"pixel_values": pixels(model), "max_new_tokens": 8, "do_sample": False, **options}
    assert torch.equal(model.generate(**given), reference.generate(**given))


def test_the_encoder_runs_once_and_its_projection_too(pairs, monkeypatch):
    model, *_ = pairs("deit", "bert")
    calls = []
    for name in ("encoder", "enc_to_dec_proj"):
        module = getattr(model, name)
        forward = module.forward

        def counted(*args, name=name, forward=forward, **kwargs):
            calls.append(name)
            return forward(*args, **kwargs)

        monkeypatch.setattr(module, "forward", counted)
    model.generate(pixels(model), max_new_tokens=6, num_beams=2, eos_token_id=None)
    assert calls == ["encoder", "enc_to_dec_proj"]


def test_sampling_follows_the_generator(pairs):
    model, *_ = pairs("vit", "gpt2")
    options = {"do_sample": True, "max_new_tokens": 6, "num_return_sequences": 3, "eos_token_id": None}
    first, again = (
        model.generate(pixels(model, 1), generator=torch.Generator().manual_seed(4), **options) for _ in range(2)
    )
    assert first.shape == (3, 7) and torch.equal(first, again) and len({tuple(row) for row in first.tolist()}) > 1


@pytest.mark.parametrize(("names", "patches"), [(PAIRS[0], "patches"), (PAIRS[2], "patches 2x2")])
def test_attention_from_words_to_patches(pairs, names, patches):
    model, *_ = pairs(*names)
    given = {"pixel_values": pixels(model), "labels": LABELS}
    with record_attention(model, kinds=["cross"]) as record:
        out = model(**given)
    assert {(site.rows, site.columns) for site in record.sites} == {("decoder text", patches)}
    positions = out.encoder_last_hidden_state.shape[1]
    assert record.steps(1, kind="cross")[0].shape == (2, 4, 4, positions)
    with ablate_heads(model, {1: range(4)}, kind="cross"):
        changed = model(**given)
    assert not torch.allclose(changed.logits, out.logits, atol=1e-3)


# Configurations --------------------------------------------------------------------------------------------------------


def test_configurations_round_trip_with_their_unknown_keys(pairs, tmp_path):
    _, _, folder = pairs("vit", "gpt2")
    values = json.loads((folder / "config.json").read_text())
    values["a_note"], values["encoder"]["b_note"], values["decoder"]["c_note"] = 1, [2], {"three": 3}
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = VisionEncoderDecoderConfig.from_pretrained(tmp_path)
    assert isinstance(config.encoder, ViTConfig) and isinstance(config.decoder, GPT2Config)
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["a_note"], written["encoder"]["b_note"], written["decoder"]["c_note"]) == (1, [2], {"three": 3})
    assert written["decoder"]["is_decoder"] and written["decoder"]["add_cross_attention"]
    theirs = transformers.VisionEncoderDecoderConfig.from_pretrained(tmp_path)
    assert theirs.encoder.hidden_size == 24 and theirs.decoder_start_token_id == 2
    default = VisionEncoderDecoderConfig()
    assert (default.encoder.model_type, default.decoder.model_type) == ("vit", "bert")


def test_auto_classes_find_it(pairs):
    _, _, folder = pairs("vit", "gpt2")
    for auto in (AutoModelForImageTextToText, AutoModelForVision2Seq):
        assert type(auto.from_pretrained(folder)) is VisionEncoderDecoderModel


def test_tokens_of_the_decoder_end_the_text(pairs, tmp_path):
    """As in transformers: what the joint configuration does not set, the decoder's does."""
    _, _, folder = pairs("swin", "mbart")
    values = json.loads((folder / "config.json").read_text())
    del values["eos_token_id"]
    values["decoder"] |= {"eos_token_id": 9, "forced_eos_token_id": 8}
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    settings = VisionEncoderDecoderModel.from_pretrained(tmp_path).generation_config
    theirs = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path).generation_config
    for name in ("eos_token_id", "forced_eos_token_id", "pad_token_id", "decoder_start_token_id", "bos_token_id"):
        assert getattr(settings, name) == getattr(theirs, name), name
    assert settings.eos_token_id == 9


# Two checkpoints -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Folders with a ViT, a GPT-2 and a BERT."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("vit", "gpt2", "bert")}
    torch.manual_seed(0)
    ViTModel(ViTConfig(**SMALL, **IMAGES)).save_pretrained(folders["vit"])
    GPT2LMHeadModel(GPT2Config(vocab_size=60, **GPT2)).save_pretrained(folders["gpt2"])
    BertForMaskedLM(BertConfig(vocab_size=60, max_position_embeddings=30, **WIDE)).save_pretrained(folders["bert"])
    return folders


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_two_checkpoints_become_one_model(halves, name, tmp_path):
    with pytest.warns(NotebookKitWarning, match="crossattention"):
        model = VisionEncoderDecoderModel.from_encoder_decoder_pretrained(
            halves["vit"], halves[name], encoder_hidden_dropout_prob=0.25, decoder_num_labels=5, pad_token_id=0,
            decoder_start_token_id=1,
        )  # fmt: skip
    config = model.config
    assert (config.encoder.hidden_dropout_prob, config.decoder.num_labels) == (0.25, 5)
    assert (config.pad_token_id, config.decoder_start_token_id) == (0, 1)
    assert hasattr(model, "enc_to_dec_proj") == (name == "bert") and not model.training
    alone = ViTModel.from_pretrained(halves["vit"])
    images = ref.pixels(30, 1)
    with torch.no_grad():
        torch.testing.assert_close(model.encoder(images).last_hidden_state, alone(images).last_hidden_state)
        expected = model.generate(images, max_new_tokens=4)
        model.save_pretrained(tmp_path)
        again = VisionEncoderDecoderModel.from_pretrained(tmp_path)
        assert torch.equal(again.generate(images, max_new_tokens=4), expected)
    assert again.decoder.get_output_embeddings().weight is again.get_input_embeddings().weight


def test_two_models_become_one():
    decoder = GPT2LMHeadModel(GPT2Config(vocab_size=60, add_cross_attention=True, **GPT2))
    model = VisionEncoderDecoderModel(encoder=ViTModel(ViTConfig(**SMALL, **IMAGES)), decoder=decoder)
    assert model.config.decoder is decoder.config and decoder.config.is_decoder
    assert model.resize_token_embeddings(64).num_embeddings == 64 == model.config.decoder.vocab_size
    assert model(ref.pixels(30, 1), decoder_input_ids=torch.tensor([[63]])).logits.shape == (1, 1, 64)
    assert model.position_limit == 30 and model.get_decoder() is decoder
    same = VisionEncoderDecoderModel.from_encoder_decoder_pretrained(encoder_model=model.encoder, decoder_model=decoder)
    assert same.encoder is model.encoder and same.decoder is decoder


def test_halves_that_do_not_fit(pairs, halves):
    reader = ViTModel(ViTConfig(**SMALL, **IMAGES))
    writer = {"vocab_size": 60, "add_cross_attention": True, **GPT2}
    for options, error, message in (
        ({"encoder": reader}, InputError, "neither a configuration nor a pair"),
        ({"encoder": reader, "decoder": GPT2LMHeadModel(GPT2Config(vocab_size=60, **GPT2))}, ConfigurationError,
         "GPT2LMHeadModel does not attend to an encoder"),
        ({"encoder": reader, "decoder": LlamaForCausalLM(LlamaConfig(vocab_size=60, **SMALL))}, ConfigurationError,
         "LlamaForCausalLM does not attend"),
        ({"encoder": ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[8], depths=[1])),
          "decoder": GPT2LMHeadModel(GPT2Config(**writer))}, ConfigurationError, "has no width of its states"),
        ({"encoder": reader, "decoder": GPT2LMHeadModel(GPT2Config(**writer, cross_attention_hidden_size=7))},
         ConfigurationError, "states of width 7.*have the width 24"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            VisionEncoderDecoderModel(**options)
    with pytest.raises(InputError, match="There is no decoder"):
        VisionEncoderDecoderModel.from_encoder_decoder_pretrained(halves["vit"])
    model, *_ = pairs("vit", "gpt2")
    with pytest.raises(InputError, match="There is no image"):
        model(labels=LABELS)
    with pytest.raises(InputError, match="shape"):
        model(torch.zeros(3, 30, 30), labels=LABELS)
    with pytest.raises(InputError, match="encoder_hidden_states were passed, but this model has no cross-attention"):
        GPT2LMHeadModel(GPT2Config(vocab_size=60, **GPT2))(LABELS[:1], encoder_hidden_states=torch.zeros(1, 3, 24))


# Training --------------------------------------------------------------------------------------------------------------


def test_it_learns_captions(tmp_path):
    """Dark and light pictures; the evaluation generates their captions."""
    torch.manual_seed(0)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**SMALL, image_size=8, patch_size=4), GPT2Config(vocab_size=12, **GPT2), **TOKENS
    )
    model = VisionEncoderDecoderModel(config)
    captions = {0: [5, 6, 3], 1: [7, 8, 3]}
    rows = [
        {"pixel_values": torch.full((3, 8, 8), float(2 * (i % 2) - 1)), "labels": captions[i % 2]} for i in range(16)
    ]
    arguments = Seq2SeqTrainingArguments(
        str(tmp_path), per_device_train_batch_size=8, num_train_epochs=25, learning_rate=5e-3, seed=1, report_to=[],
        predict_with_generate=True, generation_max_length=5, save_strategy="no", logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = Seq2SeqTrainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows[:2])
    trainer.train()
    found = trainer.predict(rows[:4]).predictions
    assert found[:, 1:4].tolist() == [captions[i % 2] for i in range(4)]
