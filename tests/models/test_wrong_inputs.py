"""Inputs that no model can read are refused in our own words, by every family."""

from __future__ import annotations

import inspect
import math

import pytest
import reference as ref
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import notebook_kit as kit
from notebook_kit import AutoModel
from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.models.auto import config_class

IDS = torch.tensor([[5, 6, 7], [8, 9, 10]])


@pytest.fixture(scope="module", params=ref.model_types() + ref.model_types("AutoModelForCausalLM"))
def model(request):
    config = config_class(request.param)()
    config.vocab_size = 50
    config.layer_types = None
    for name, value in {
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "num_key_value_heads": 2,
    }.items():
        setattr(config, name, value)
    for name in ("embedding_size", "intermediate_size", "hidden_dim"):
        if name in config.field_names():
            setattr(config, name, 16)
    return AutoModel.from_config(config).eval()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"input_ids": [[1, 2]]}, "is a list; expected a tensor"),
        ({"input_ids": IDS[0]}, "has shape (3,)"),
        ({"input_ids": IDS[:, :0]}, "contains no tokens"),
        ({"input_ids": IDS, "attention_mask": torch.ones(2, 9)}, "attention_mask has shape (2, 9)"),
        ({"input_ids": IDS, "attention_mask": torch.tensor([[1], [0]])}, "attention_mask has shape (2, 1)"),
        ({"input_ids": IDS, "attention_mask": torch.ones(5, 3)}, "attention_mask has shape (5, 3)"),
        ({"input_ids": IDS * 100}, "vocabulary has ids 0 to 49"),
        ({}, "got neither"),
    ],
)
def test_refused_in_our_words(model, inputs, words):
    with pytest.raises(InputError) as caught:
        model(**inputs)
    assert words in str(caught.value)
    assert caught.value.next_step


# Any value for any input ---------------------------------------------------------------------------------------------

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 40}
BART = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "vocab_size": 40,
}
MODELS = [
    kit.BertForSequenceClassification(kit.BertConfig(**SMALL, max_position_embeddings=12)),
    kit.BertForQuestionAnswering(kit.BertConfig(**SMALL, max_position_embeddings=12)),
    kit.RobertaForTokenClassification(kit.RobertaConfig(**SMALL, max_position_embeddings=14)),
    kit.GPT2LMHeadModel(kit.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=40, n_positions=12)),
    kit.LlamaForCausalLM(kit.LlamaConfig(**SMALL)),
    kit.BartForConditionalGeneration(kit.BartConfig(**BART)),
    kit.T5ForConditionalGeneration(kit.T5Config(d_model=16, d_ff=16, d_kv=8, num_heads=2, num_layers=1, vocab_size=40)),
]
ODD_INPUTS = st.sampled_from(
    [
        *("x", 5, -1, 2.5, [1, 2], [[1, 2, 3]], {"a": 1}, object(), torch.tensor(3), torch.tensor([1.5, 2.5])),
        *(torch.zeros(2, 3, 4, 5), torch.ones(3, 2).long(), torch.full((1, 3), -7), torch.full((1, 3), 10**6)),
        *(torch.zeros(0, 3).long(), torch.tensor([[math.nan] * 3])),
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(MODELS), st.data())
def test_any_value_is_an_answer_or_an_error_of_ours(model, data):
    names = [n for n in inspect.signature(model.forward).parameters if n not in ("options", "kwargs")]
    name = data.draw(st.sampled_from([*names, "output_attentions", "output_hidden_states"]))
    inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
    if "decoder_input_ids" in names:
        inputs["decoder_input_ids"] = torch.tensor([[5, 6]])
    if name.endswith("_positions"):
        inputs |= {"start_positions": torch.tensor([1]), "end_positions": torch.tensor([1])}
    inputs[name] = data.draw(ODD_INPUTS)
    if name == "inputs_embeds":
        del inputs["input_ids"]
    try:
        model.eval()(**inputs)
    except NotebookKitError as error:
        assert error.next_step


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": torch.tensor([[5.0, 6.0]])}, r"input_ids has the dtype torch\.float32; expected whole numbers"),
        ({"token_type_ids": [[0, 0]]}, "token_type_ids is a list; expected a tensor"),
        ({"token_type_ids": torch.zeros(1, 5).long()}, r"token_type_ids has shape \(1, 5\); expected \(1, 2\)"),
        ({"labels": "positive"}, "labels is a str; expected a tensor"),
        ({"position_ids": torch.tensor([[3, 99]])}, "position_ids go from 3 to 99"),
        ({"output_attentions": torch.ones(2)}, "output_attentions is a Tensor; expected True or False"),
    ],
)
def test_the_wrong_input_is_named(inputs, message):
    with pytest.raises(InputError, match=message):
        MODELS[0](**{"input_ids": torch.tensor([[5, 6]]), **inputs})


def test_other_errors_pass_unchanged():
    class Failing(kit.BertModel):
        def forward(self, input_ids=None):
            raise RuntimeError("of the user")

    with pytest.raises(RuntimeError, match="of the user"):
        Failing(kit.BertConfig(**SMALL))(torch.tensor([[5, 6]]))


def test_an_error_in_a_users_own_forward_is_not_explained_away():
    class Own(kit.BertModel):
        def forward(self, texts, **anything):
            raise ZeroDivisionError

    own = Own(
        kit.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    )
    for arguments in ({"texts": ["a"]}, {"texts": ["a"], "weights": [1.0]}):
        with pytest.raises(ZeroDivisionError):
            own(**arguments)
    with pytest.raises(InputError, match="input_ids is a list"):
        own(["a"], input_ids=[1])


def test_a_batch_and_a_text_are_told_how_to_be_passed():
    own = kit.BertModel(
        kit.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    )
    for batch in ({"input_ids": torch.tensor([[5, 6]])}, kit.BatchEncoding({"input_ids": torch.tensor([[5, 6]])})):
        with pytest.raises(InputError, match=r"Pass its tensors by name: model\(\*\*batch\)"):
            own(batch)
    for text in ("hello", ["hello", "there"]):
        with pytest.raises(InputError, match="Tokenize the text first"):
            own(text)
    with pytest.raises(InputError, match="Call the tokenizer with return_tensors='pt'"):
        own([[5, 6]])
