"""The families as mappings, as published scripts use them."""

from __future__ import annotations

import pytest
import transformers
from transformers.models.auto import modeling_auto as theirs

import notebook_kit as kit
from notebook_kit import GPT2Config, PretrainedConfig
from notebook_kit.registry.families import FAMILIES

NAMES = [name for name in kit.__all__ if name.startswith("MODEL_") and name.endswith("MAPPING")]
OLDER = {"MODEL_FOR_VISION_2_SEQ_MAPPING": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING"}
"""Names of transformers 4 -> of transformers 5."""


def test_configurations_by_model_type():
    assert list(kit.CONFIG_MAPPING)[: len(FAMILIES)] == list(FAMILIES)  # registered ones follow
    assert kit.CONFIG_MAPPING["bert"] is kit.BertConfig and kit.CONFIG_MAPPING.get("nothing") is None
    with pytest.raises(KeyError):
        kit.CONFIG_MAPPING["nothing"]


@pytest.mark.parametrize("name", NAMES)
def test_models_are_those_of_the_oracle(name):
    mapping, names = getattr(kit, name), getattr(kit, f"{name}_NAMES")
    reference = getattr(theirs, f"{OLDER.get(name, name)}_NAMES")
    assert len(mapping) == len(names) > 0
    for config, model in mapping.items():
        expected = reference.get(
            config.model_type, model.__name__
        )  # ours also has pre-training heads for newer families
        expected = expected[0] if isinstance(expected, tuple) else expected  # the first of several variants
        assert names[config.model_type] == model.__name__ == expected
    assert mapping.get(PretrainedConfig) is None and (GPT2Config in mapping) == ("gpt2" in names)


def test_what_the_example_scripts_do():
    types = tuple(config.model_type for config in kit.MODEL_FOR_MASKED_LM_MAPPING.keys())  # noqa: SIM118
    assert "bert" in types and "gpt2" not in types


def test_registered_classes_are_included():
    class MappedConfig(kit.PretrainedConfig):
        model_type = "mapped"

    class MappedModel(kit.PreTrainedModel):
        config_class = MappedConfig

    kit.AutoConfig.register("mapped", MappedConfig)
    kit.AutoModel.register(MappedConfig, MappedModel)
    assert kit.CONFIG_MAPPING["mapped"] is MappedConfig
    assert kit.MODEL_MAPPING[MappedConfig] is MappedModel and MappedConfig in kit.MODEL_MAPPING


def test_outputs_by_name():
    from notebook_kit.modeling_outputs import SequenceClassifierOutput

    assert SequenceClassifierOutput is kit.SequenceClassifierOutput
    assert issubclass(kit.CausalLMOutputWithPast, kit.ModelOutput)
    for name in (
        "BaseModelOutput",
        "BaseModelOutputWithPooling",
        "MaskedLMOutput",
        "Seq2SeqLMOutput",
        "TokenClassifierOutput",
    ):
        ours, reference = getattr(kit, name), getattr(transformers.modeling_outputs, name)
        assert ours(loss=1, logits=2).to_tuple() if "LM" in name or "Classifier" in name else ours(last_hidden_state=1)
        assert hasattr(reference, "to_tuple")
