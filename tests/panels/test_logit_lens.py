"""The logit lens of AttentionView: exact, on request, for decoders with a head alone."""

from __future__ import annotations

import json
import re
import time

import pytest
import torch
from writers import HOSTILE, byte_tokenizer, gpt2, spaced_tokenizer, t5

from notebook_kit import (
    AutoModel,
    AutoTokenizer,
    GPT2Model,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)
from notebook_kit.errors import InputError
from notebook_kit.inspection.attention import logit_lens
from notebook_kit.panels import AttentionView
from notebook_kit.panels.panel import FACE_BYTES

TEXT = "the cat sat on the mat and the dog sat on the log"


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    return gpt2(tokenizer)


@pytest.fixture
def view(model, tokenizer):
    return AttentionView(model, TEXT, tokenizer=tokenizer, view="lens")


def asked(view, kind, **values):
    sent = []
    view.send = lambda content, buffers=None: sent.append((content, buffers or []))
    view._handle_custom_msg({"nk": "v.1", "ask": kind, "with": {"version": view._about["version"], **values}}, [])
    limit = time.monotonic() + 30
    while not sent and time.monotonic() < limit:
        time.sleep(0.005)
    return sent[0]


def small(family, tokenizer):
    """A model of a family with weights that tell its layers apart."""
    torch.manual_seed(1)
    common = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    common |= {"intermediate_size": 48, "initializer_range": 0.3, "tie_word_embeddings": False}
    config, kind = {"llama": (LlamaConfig, LlamaForCausalLM), "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM)}[family]
    return kind(config(**common)).eval()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
def test_the_last_row_is_what_the_model_says(family, tokenizer):
    model = gpt2(tokenizer) if family == "gpt2" else small(family, tokenizer)
    view = AttentionView(model, TEXT, tokenizer=tokenizer)
    frame = view.logit_lens(top=5)
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        chances = model(ids).logits[0].softmax(-1)
    last = frame[frame["layer"] == frame["layer"].max()]
    best = chances.topk(5)
    assert last["id"].tolist() == best.indices.flatten().tolist()
    assert torch.allclose(torch.tensor(last["probability"].to_numpy()).float(), best.values.flatten(), atol=1e-6)
    layers = len(view._answers.reading.numbers)
    assert sorted(frame["layer"].unique()) == list(range(-1, layers)) and len(frame) == (layers + 1) * ids.shape[1] * 5


def test_every_row_is_the_norm_and_the_head_on_that_layers_states(view, model, tokenizer):
    frame = view.logit_lens()
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        x = model.transformer.wte(ids) + model.transformer.wpe(torch.arange(ids.shape[1]))
        for layer in (-1, 0, 1):
            if layer >= 0:
                states = model(ids, output_hidden_states=True).hidden_states
                x = states[layer + 1]
            expected = model.lm_head(model.transformer.ln_f(x))[0].softmax(-1).max(-1)
            row = frame[frame["layer"] == layer]
            assert row["id"].tolist() == expected.indices.tolist()
            assert torch.allclose(torch.tensor(row["probability"].to_numpy()).float(), expected.values, atol=1e-6)
    assert frame["token"].tolist()[: ids.shape[1]][1].startswith(" ")


def test_only_the_block_that_is_looked_at_crosses(model, tokenizer, monkeypatch):
    calls = []
    original = logit_lens.LogitLens.of.__func__
    monkeypatch.setattr(
        logit_lens.LogitLens, "of", classmethod(lambda cls, *args: calls.append(1) or original(cls, *args))
    )
    view = AttentionView(model, " ".join([TEXT] * 5), tokenizer=tokenizer)
    assert not calls, "nothing is computed before it is asked for"
    frame = view.logit_lens(top=5)
    length = len(view._answers.reading.rows)
    content, [ids, chances] = asked(view, "lens", first=16)
    values = content["answer"]
    assert (values["first"], values["count"], values["positions"]) == (16, 16, length)
    assert values["layers"] == [0, 1, 2] and len(values["read"]) == 16
    assert ids.shape == chances.shape == (4, 16, 5) and ids.dtype.name == "int32" and chances.dtype.name == "float32"
    block = frame[(frame["position"] >= 16) & (frame["position"] < 32)]
    assert ids.flatten().tolist() == block["id"].tolist()
    assert chances.flatten().tolist() == pytest.approx(block["probability"].tolist())
    assert len(json.dumps(content)) + ids.nbytes + chances.nbytes < 12_000
    known = {token for token, *_ in values["labels"]}
    assert set(ids.flatten().tolist()) == known
    content, _ = asked(view, "lens", first=9999)
    assert content["answer"]["first"] == length - 1
    assert len(calls) == 1
    view.text = "the log"
    assert asked(view, "lens", first=0)[0]["answer"]["positions"] == len(view._answers.reading.rows) and len(calls) == 2


def test_a_reference_model_has_a_lens_too(model, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    model.save_pretrained(tmp_path)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    theirs = AttentionView(reference, TEXT, tokenizer=tokenizer)
    mine = AttentionView(model, TEXT, tokenizer=tokenizer)
    assert theirs._about["can_lens"]
    assert theirs.logit_lens()["id"].tolist() == mine.logit_lens()["id"].tolist()


def test_what_has_no_lens_says_so(model, tokenizer, minilm):
    bare = GPT2Model(model.config).eval()
    encoder = AutoModel.from_pretrained(minilm)
    views = [
        AttentionView(bare, TEXT, tokenizer=tokenizer),
        AttentionView(encoder, TEXT, tokenizer=AutoTokenizer.from_pretrained(minilm)),
        AttentionView(torch.eye(3).expand(1, 2, 3, 3)),
    ]
    for view in views:
        assert not view._about["can_lens"]
        error = asked(view, "lens", first=0)[0]["error"]
        assert "logit lens needs a decoder" in error["what"] and "AutoModelForCausalLM" in error["next_step"]
        with pytest.raises(InputError, match="logit lens"):
            view.logit_lens()
        view.view = "lens"
        assert view.face().rows and view.figure() is not None, "the attention is shown in its place"
    with pytest.raises(InputError, match="logit lens needs a decoder"):
        AttentionView(encoder, TEXT, tokenizer=AutoTokenizer.from_pretrained(minilm), view="lens")
    assert not logit_lens.has_lens(t5(spaced_tokenizer())) and not logit_lens.has_lens("gpt2")


def test_a_family_that_does_more_than_norm_and_head_is_refused(tokenizer):
    model = gpt2(tokenizer)
    forward = model.forward

    def scaled(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = out.logits * 0.5
        return out

    scaled.__signature__ = __import__("inspect").signature(forward)
    model.forward = scaled
    view = AttentionView(model, TEXT, tokenizer=tokenizer)
    with pytest.raises(InputError, match="more to its last states"):
        view.logit_lens()


def test_face_figure_and_file(tokenizer, tmp_path):
    trap = byte_tokenizer(extra=HOSTILE)
    model = gpt2(trap)
    with torch.no_grad():
        model.lm_head.weight[-2:] *= 20  # so that the traps are what it says
    view = AttentionView(model, f"{HOSTILE[0]} the cat", tokenizer=trap, view="lens")
    frame = view.logit_lens()
    assert set(frame["prediction"]) & set(HOSTILE)
    page = view._repr_mimebundle_()[0]["text/html"]
    assert len(page) <= FACE_BYTES and "<script" not in page and "<img src=x" not in page and "&lt;" in page
    texts = [text.get_text() for text in view.figure().axes[0].texts]
    assert len(texts) == 4 * len(view._answers.reading.rows)
    written = view.to_html(tmp_path / "lens.html").read_text(encoding="utf-8")
    assert "<script>alert" not in written and "<img src=x" not in written
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', written, re.S)[1])
    assert [entry["with"]["first"] for entry in data["answers"] if entry["ask"] == "lens"] == [0]
