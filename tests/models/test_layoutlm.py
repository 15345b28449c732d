"""LayoutLM's boxes: wrong ones, those of padding, recorded attention, fine-tuning. Parity is in test_families.py."""

from __future__ import annotations

import pytest
import reference as ref
import torch

from notebook_kit import LayoutLMConfig, LayoutLMForQuestionAnswering, LayoutLMModel, record_attention
from notebook_kit.errors import InputError

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 60}
IDS = torch.tensor([[2, 17, 8, 3]])


@pytest.fixture(scope="module")
def model():
    model = LayoutLMModel(LayoutLMConfig(**SIZE, max_2d_position_embeddings=1001)).eval()
    ref.randomize(model)
    return model


@pytest.mark.parametrize("name", ["LayoutLMModel", "LayoutLMForQuestionAnswering"])
def test_a_smaller_page_and_another_activation(name, tmp_path):
    edits = {"max_2d_position_embeddings": 1001, "hidden_act": "relu", "num_attention_heads": 1, "type_vocab_size": 3}
    ref.assert_matches_reference("layoutlm", name, tmp_path, **edits)


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        (torch.zeros(1, 3, 4, dtype=torch.long), r"shape \(1, 3, 4\)"),
        (torch.zeros(1, 4, 2, dtype=torch.long), r"expected whole numbers of the shape \(1, 4, 4\)"),
        (torch.zeros(1, 4, 4), "dtype torch.float32"),
        ([[[0] * 4] * 4], "is a list"),
        (torch.tensor([[[0, 0, 0, 0]] * 3 + [[0, 0, 1001, 5]]]), r"\[0, 0, 1001, 5\] is outside the page.*0 to 1000"),
        (torch.tensor([[[0, 0, 0, 0]] * 3 + [[-1, 0, 0, 5]]]), r"\[-1, 0, 0, 5\] is outside"),
        (torch.tensor([[[0, 0, 0, 0]] * 3 + [[7, 0, 5, 5]]]), r"\[7, 0, 5, 5\] has a right side left of its left"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_boxes(model, bbox, message):
    with pytest.raises(InputError, match=message):
        model(IDS, bbox=bbox)


def test_boxes_matter_and_those_of_padding_do_not(model):
    boxes = torch.tensor([[[0] * 4, [10, 20, 30, 40], [50, 20, 70, 40], [1000] * 4]])
    with torch.no_grad():
        alone, elsewhere = model(IDS, boxes).last_hidden_state, model(IDS, boxes.flip(1)).last_hidden_state
        padded = {
            "input_ids": torch.nn.functional.pad(IDS, (0, 2)),
            "bbox": torch.cat([boxes, torch.tensor([[[3, 3, 9, 9]] * 2])], dim=1),
            "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0]]),
        }
        torch.testing.assert_close(model(**padded).last_hidden_state[:, :4], alone, rtol=0, atol=1e-5)
    assert (alone - elsewhere).abs().max() > 0.1


def test_attention_is_recorded(model):
    with record_attention(model, layers=[1]) as record:
        model(IDS)
    assert record[1].shape == (1, 4, 4, 4)
    assert {(site.rows, site.columns) for site in record.sites} == {("text", "text")}


def test_it_learns_where_the_answer_is():
    """Two pages with the same words, told apart by their boxes alone."""
    torch.manual_seed(0)
    model = LayoutLMForQuestionAnswering(LayoutLMConfig(**SIZE, hidden_dropout_prob=0, attention_probs_dropout_prob=0))
    ids = torch.tensor([[2, 9, 3, 17, 17, 17, 3]] * 2)
    boxes = torch.zeros(2, 7, 4, dtype=torch.long)
    boxes[:, 3:6] = torch.tensor([[100, 100, 200, 120], [100, 500, 200, 520], [100, 900, 200, 920]])
    boxes[1, 3:6] = boxes[1, 3:6].flip(0)
    answer = torch.tensor([3, 5])  # the word at the top
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        out = model(ids, boxes, start_positions=answer, end_positions=answer)
        out.loss.backward()
        optimizer.step()
    assert out.start_logits.argmax(-1).equal(answer) and out.end_logits.argmax(-1).equal(answer)
