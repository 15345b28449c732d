"""A warning shows the line of the user's code that caused it."""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path

import pytest
import torch

import notebook_kit
from notebook_kit import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, GPT2Config, GPT2LMHeadModel
from notebook_kit.errors import NotebookKitWarning

PACKAGE = Path(notebook_kit.__file__).parent


def long_text():
    AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")("word " * 2000)


def useless_length():
    AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")(["a", "b c"], padding=True, max_length=5)


def fresh_head():
    AutoModelForSequenceClassification.from_pretrained("notebook-kit/tiny-gpt2")


def right_padding():
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=9, n_positions=9, eos_token_id=0))
    ids = torch.tensor([[1, 2], [3, 0]])
    model.generate(ids, attention_mask=torch.tensor([[1, 1], [1, 0]]), max_new_tokens=1, pad_token_id=0)


def missing_accelerator():
    if torch.accelerator.is_available():
        pytest.skip("needs a machine without an accelerator")
    notebook_kit.pipeline("sentiment-analysis", model="zoo", device=0)


@pytest.mark.parametrize("call", [long_text, useless_length, fresh_head, right_padding, missing_accelerator])
def test_warning_shows_the_callers_line(call):
    AutoModel.from_pretrained("notebook-kit/tiny-sentiment")  # imports everything first
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    ours = [each for each in caught if issubclass(each.category, NotebookKitWarning)]
    assert ours
    lines, start = inspect.getsourcelines(call)
    for each in ours:
        assert each.filename == __file__
        assert start < each.lineno < start + len(lines)


def test_all_warnings_of_the_library_go_through_one_function():
    direct = re.compile(r"\bwarnings\.warn\(")
    found = [path.name for path in PACKAGE.rglob("*.py") if direct.search(path.read_text(encoding="utf-8"))]
    assert found == ["errors.py"]
