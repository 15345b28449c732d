"""Tables of vectors with 8 bits: near the exact ones, a quarter of the memory, exact where an output layer reads them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from notebook_kit import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)
from notebook_kit.pipelines.quantization import FEWEST_VECTORS, Int8Embedding, Int8Output, dequantized, quantized

SMALL = {
    "vocab_size": 3000,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def small_bert(kind=BertModel, **settings):
    torch.manual_seed(0)
    return kind(BertConfig(**(SMALL | settings))).eval()


def test_each_vector_has_the_precision_of_its_own_size():
    table = nn.Embedding(3000, 16, padding_idx=0)
    with torch.no_grad():
        table.weight[5] *= 1e4
        table.weight[6] = 0
        rounded = Int8Embedding(table)
        ids = torch.tensor([[0, 5, 6], [7, 8, 2999]])
        steps = table(ids).abs().amax(-1, keepdim=True) / 127
        assert ((rounded(ids) - table(ids)).abs() <= 0.5001 * steps).all()
    assert rounded(ids).dtype == torch.float32 and rounded(ids).shape == (2, 3, 16)
    assert torch.equal(rounded.weight[ids], rounded(ids))
    assert (rounded.num_embeddings, rounded.embedding_dim, rounded.padding_idx) == (3000, 16, 0)
    with pytest.raises(IndexError):
        rounded(torch.tensor([3000]))


def test_a_model_takes_a_quarter_of_the_memory_and_answers_nearly_the_same():
    model = small_bert()
    rounded = quantized(model)
    table = rounded.get_input_embeddings()
    assert isinstance(table, Int8Embedding)
    size = sum(each.numel() * each.element_size() for each in table.state_dict().values())
    assert size < 0.3 * model.get_input_embeddings().weight.nbytes
    assert type(rounded.embeddings.position_embeddings) is nn.Embedding  # of 512 positions
    ids = torch.arange(40).view(2, 20)
    ours, exact = (each(input_ids=ids).last_hidden_state for each in (rounded, model))
    assert torch.cosine_similarity(ours, exact, dim=-1).min() > 0.999
    assert not torch.equal(ours, exact)


def test_small_tables_and_those_that_change_as_they_are_read_stay():
    model = quantized(small_bert(vocab_size=FEWEST_VECTORS - 1))
    assert type(model.get_input_embeddings()) is nn.Embedding
    model = small_bert()
    model.set_input_embeddings(nn.Embedding(3000, 32, max_norm=1.0))
    assert type(quantized(model).get_input_embeddings()) is nn.Embedding


@pytest.mark.parametrize(
    "model",
    [
        lambda: GPT2LMHeadModel(GPT2Config(vocab_size=3000, n_embd=32, n_layer=1, n_head=2)),
        lambda: BartForConditionalGeneration(
            BartConfig(vocab_size=3000, d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64)
        ),
        lambda: T5ForConditionalGeneration(T5Config(vocab_size=3000, d_model=32, d_kv=16, d_ff=64, num_layers=1)),
    ],
    ids=["GPT-2", "BART", "T5"],
)
def test_a_table_that_the_output_layer_reads_stays_exact(model):
    given = model().eval()
    rounded = quantized(given)
    outputs = [module for module in rounded.modules() if isinstance(module, Int8Output)]
    assert len(outputs) == 1
    assert torch.equal(outputs[0].embeddings.weight, given.get_input_embeddings().weight)
    assert rounded.get_input_embeddings().weight is outputs[0].embeddings.weight


def test_a_table_in_two_places_stays_one():
    """Encoder and decoder share it; the output layer has other weights."""
    config = T5Config(vocab_size=3000, d_model=32, d_kv=16, d_ff=64, num_layers=1, tie_word_embeddings=False)
    rounded = quantized(T5ForConditionalGeneration(config).eval())
    tables = {module for module in rounded.modules() if isinstance(module, Int8Embedding)}
    assert len(tables) == 1
    assert rounded.encoder.embed_tokens is rounded.decoder.embed_tokens is rounded.shared


def test_copies_files_and_the_way_back(tmp_path):
    model = small_bert(BertForMaskedLM)
    rounded = quantized(model)
    ids = torch.arange(12)[None]
    answer = rounded(input_ids=ids).logits
    for same in (copy.deepcopy(rounded), pickle.loads(pickle.dumps(rounded))):
        assert torch.equal(same(input_ids=ids).logits, answer)
    other = quantized(small_bert(BertForMaskedLM, pad_token_id=1))
    torch.save(rounded.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert torch.equal(other(input_ids=ids).logits, answer)
    back = dequantized(rounded)
    table = back.get_input_embeddings()
    assert type(table) is nn.Embedding and table.padding_idx == 0 and table.weight.requires_grad
    assert torch.equal(table.weight, rounded.get_input_embeddings().weight)
    back(input_ids=ids, labels=ids).loss.backward()
    assert table.weight.grad is not None
