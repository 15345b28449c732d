"""Keywords of code for other libraries: kept in the configuration where `transformers` keeps them, else ignored with one notice."""

from __future__ import annotations

import logging

import pytest
import torch
import transformers
from numpy import zeros
from PIL import Image

from notebook_kit import (
    ASTFeatureExtractor,
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoProcessor,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertModel,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from notebook_kit.errors import ConfigurationError, InputError, notice_once

SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 40}
IDS = torch.tensor([[5, 6, 7]])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    BertForSequenceClassification(BertConfig(**SIZE)).save_pretrained(folder)
    return folder


@pytest.fixture
def notices(caplog):
    notice_once.cache_clear()
    caplog.set_level(logging.WARNING, logger="notebook_kit")
    return lambda: [record.getMessage() for record in caplog.records]


WITHOUT_EFFECT = ["my_own_thing", "use_flash_attention_2", "return_tensors", "max_seq_length", "local_rank", "tp_plan"]


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_configuration_ignores_what_it_has_no_use_for(checkpoint, notices, name):
    plain = AutoConfig.from_pretrained(checkpoint)
    for _ in range(3):
        for load in (AutoConfig.from_pretrained, BertConfig.from_pretrained):
            assert load(checkpoint, **{name: "x"}) == plain
    assert notices() == [f"BertConfig has no use for {name!r}, which is ignored."]
    assert not hasattr(transformers.AutoConfig.from_pretrained(checkpoint, **{name: "x"}), name)


def test_what_requests_nothing_is_ignored_silently(checkpoint, notices):
    off = {"quantization_config": None, "load_in_8bit": False, "from_tf": False, "use_flash_attention_2": False}
    met = {"low_cpu_mem_usage": True, "use_safetensors": True, "attn_implementation": "eager", "_from_auto": True}
    AutoConfig.from_pretrained(checkpoint, trust_remote_code=False, use_fast=True, **off, **met)
    AutoModelForSequenceClassification.from_pretrained(checkpoint, trust_remote_code=True, **off, **met)
    assert notices() == []


def test_unused_keywords_can_be_returned(checkpoint, notices):
    keywords = {"output_attentions": True, "foo": False, "hiden_size": 3, "return_unused_kwargs": True}
    for kind in (AutoConfig, BertConfig, transformers.AutoConfig):
        config, unused = kind.from_pretrained(checkpoint, **keywords)
        assert config.output_attentions is True and unused == {"foo": False, "hiden_size": 3}
    assert notices() == []


def test_a_model_ignores_keywords_of_other_libraries_and_refuses_unknown_ones(checkpoint, notices):
    for load in (AutoModelForSequenceClassification, BertForSequenceClassification):
        model = load.from_pretrained(checkpoint, max_memory={0: "1GB"}, finetuning_task="mrpc", proxies={"https": "x"})
        assert model.config.finetuning_task == "mrpc"
        with pytest.raises(ConfigurationError, match="has no field 'my_own_thing'"):
            load.from_pretrained(checkpoint, my_own_thing=3)
        with pytest.raises(InputError, match="Did you mean 'ignore_mismatched_sizes'"):
            load.from_pretrained(checkpoint, ignore_mismatched_size=True)
    assert [message.partition(",")[0] for message in notices()] == [
        "The Hub's client has no use for 'proxies'",
        "BertForSequenceClassification has no use for 'max_memory'",
    ]


def test_tokens_named_in_a_configuration_are_kept():
    settings = {"pad_token": "[PAD]", "eos_token": "</s>", "max_seq_length": 128}
    ours, theirs = BertConfig(**settings), transformers.BertConfig(**settings)
    assert {name: getattr(ours, name) for name in settings} == {name: getattr(theirs, name) for name in settings}


INPUTS = {
    "foo": 1,
    "num_items_in_batch": 3,
    "use_cache": True,
    "special_tokens_mask": IDS,
    "idx": torch.tensor([3]),
    "head_mask": torch.ones(1, 2),
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_model_ignores_inputs_that_it_does_not_have(checkpoint, notices, name):
    model = BertForSequenceClassification.from_pretrained(checkpoint)
    theirs = transformers.BertForSequenceClassification.from_pretrained(checkpoint)
    for _ in range(3):
        logits = model(IDS, **{name: INPUTS[name]}).logits
    torch.testing.assert_close(logits, theirs(IDS, **{name: INPUTS[name]}).logits, rtol=0, atol=1e-5)
    assert notices() == [f"BertForSequenceClassification has no use for {name!r}, which is ignored."]


def test_inputs_that_are_off_are_ignored_silently(notices):
    model = DistilBertModel(DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=16, vocab_size=40)).eval()
    model(IDS, head_mask=None, past_key_values=None, cache_position=None, use_cache=False)
    assert notices() == []
    plain = model(IDS).last_hidden_state
    assert torch.equal(model(IDS, token_type_ids=torch.zeros_like(IDS)).last_hidden_state, plain)
    assert notices() == ["DistilBertModel has no use for 'token_type_ids', which is ignored."]


@pytest.mark.parametrize(
    ("slip", "meant"), [("attention_masks", "attention_mask"), ("label", "labels"), ("output_attention", "output_att")]
)
def test_inputs_that_look_like_a_slip_are_errors(slip, meant):
    with pytest.raises(InputError, match=rf"no argument '{slip}'\. Did you mean '{meant}"):
        BertForSequenceClassification(BertConfig(**SIZE))(IDS, **{slip: IDS})


def test_a_forward_of_the_users_own_gets_everything():
    class Own(AutoModel.model_class(BertConfig())):
        def forward(self, input_ids, **anything):
            return sorted(anything)

    assert Own(BertConfig(**SIZE))(IDS, foo=1, label=2) == ["foo", "label"]


@pytest.mark.parametrize(
    ("loader", "name", "given", "wrong", "meant"),
    [
        (AutoFeatureExtractor, "tiny-commands", {}, {"sample_rate": 16_000}, "sampling_rate"),
        (AutoFeatureExtractor, "tiny-commands", {"sampling_rate": 16_000}, {"paddding": True}, "padding"),
        (AutoProcessor, "tiny-speech", {}, {"sample_rate": 16_000}, "sampling_rate"),
        (AutoImageProcessor, "tiny-things", {}, {"return_tensor": "pt"}, "return_tensors"),
    ],
)
def test_a_misspelled_keyword_of_a_processor(loader, name, given, wrong, meant):
    """A sampling rate that is passed under another name would be assumed to be right."""
    processor = loader.from_pretrained(f"notebook-kit/{name}")
    content = zeros(16_000, "float32") if "sampling_rate" in (meant, *given) else Image.new("RGB", (8, 8))
    with pytest.raises(InputError, match=f"Did you mean '{meant}'"):
        processor(content, **given, **wrong)


@pytest.mark.parametrize(("wrong", "meant"), [("image", "images"), ("texts", "text")])
def test_a_misspelled_input_of_a_joint_processor(wrong, meant):
    """`texts` was left out with the tokenizer's options, as there was no text."""
    processor = AutoProcessor.from_pretrained("notebook-kit/tiny-clip")
    inputs = {"images": Image.new("RGB", (8, 8)), "text": "a lion"}
    inputs[wrong] = inputs.pop(meant)
    with pytest.raises(InputError, match=f"Did you mean '{meant}'"):
        processor(**inputs, return_tensors="pt")


@pytest.mark.parametrize(
    "extractor",
    [
        WhisperFeatureExtractor(feature_size=8, chunk_length=1),
        ASTFeatureExtractor(num_mel_bins=16, max_length=20),
        Wav2Vec2FeatureExtractor(),
    ],
    ids=lambda extractor: type(extractor).__name__,
)
def test_keywords_of_others_are_ignored_by_feature_extractors(extractor):
    samples = zeros(4_000, "float32")
    plain = extractor(samples, sampling_rate=16_000, return_tensors="pt")
    with_foreign = extractor(samples, sampling_rate=16_000, return_tensors="pt", add_special_tokens=False)
    assert all(torch.equal(plain[name], with_foreign[name]) for name in plain)
    with pytest.raises(InputError, match="Did you mean 'return_tensors'"):
        extractor(samples, sampling_rate=16_000, return_tensor="pt")
