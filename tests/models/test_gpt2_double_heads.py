"""GPT-2 with two heads equals its counterpart in transformers: outputs, losses, gradients, files."""

from __future__ import annotations

import pytest
import reference as ref
import torch
import transformers

from notebook_kit import GPT2Config, GPT2DoubleHeadsModel
from notebook_kit.errors import ConfigurationError

SMALL = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "vocab_size": 60,
    "n_positions": 20,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
QUIET = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "summary_first_dropout": 0.0}
IDS = torch.tensor([[[4, 17, 8, 21, 3], [4, 9, 30, 3, 0]], [[5, 6, 3, 0, 0], [7, 8, 9, 10, 3]]])
CHOICE = {"mc_token_ids": torch.tensor([[4, 3], [2, 4]])}


@pytest.mark.parametrize("activation", [None, "tanh"])
def test_equals_reference(activation, tmp_path):
    config = transformers.GPT2Config(**SMALL, **QUIET, summary_activation=activation)
    oracle = transformers.GPT2DoubleHeadsModel._from_config(config, attn_implementation="eager").eval()
    ref.randomize(oracle)
    model = GPT2DoubleHeadsModel.from_pretrained(ref.saved(oracle, tmp_path / "theirs"))
    assert model.num_parameters() == oracle.num_parameters()
    mask = (IDS != 0).long()
    embeds = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    single = {"input_ids": IDS[0], "mc_token_ids": torch.tensor([4, 3])}
    for given in (
        {"input_ids": IDS},
        {"input_ids": IDS, "attention_mask": mask, **CHOICE},
        {"inputs_embeds": embeds},
        single,
    ):
        with torch.no_grad():
            mine, theirs = (each(**given, use_cache=False, output_attentions=True) for each in (model, oracle))
        ref.assert_same_output(mine, theirs)
    labels = {"labels": IDS.masked_fill(IDS == 0, -100), "mc_labels": torch.tensor([1, 0])}
    given = {"input_ids": IDS, "attention_mask": mask, **CHOICE, **labels, "use_cache": False}
    ref.assert_same_gradients(model, oracle, lambda each: each(**given).loss + 2 * each(**given).mc_loss)
    model.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    _, report = transformers.GPT2DoubleHeadsModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values())


def test_generates_as_with_one_head():
    model = GPT2DoubleHeadsModel(GPT2Config(**SMALL)).eval()
    assert model.generate(IDS[0], max_new_tokens=3, eos_token_id=None).shape == (2, 8)


def test_other_summaries_are_refused():
    with pytest.raises(ConfigurationError, match="summary_type='mean'"):
        GPT2DoubleHeadsModel(GPT2Config(**SMALL, summary_type="mean"))
