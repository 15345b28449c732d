"""GenerationView without a browser: what is written and what could have been, branches, messages, faces, files."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time

import ipywidgets
import numpy as np
import pytest
import torch
from writers import HOSTILE, bart, byte_tokenizer, gpt2, spaced_tokenizer, t5

from notebook_kit import AutoModel, AutoTokenizer, pipeline, record_attention
from notebook_kit.errors import InputError
from notebook_kit.inspection.tokens.spelling import PART, SPECIAL, Spelling
from notebook_kit.language import FOLDER
from notebook_kit.panels import AttentionView, GenerationView, TokenInspector, set_language
from notebook_kit.panels.panel import FACE_BYTES

PROMPT = "the cat sat"


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    return gpt2(tokenizer)


@pytest.fixture(scope="module")
def writers(model, tokenizer):
    """A decoder, and two encoder-decoders."""
    spaced = spaced_tokenizer()
    return {"gpt2": (model, tokenizer), "t5": (t5(spaced), spaced), "bart": (bart(spaced), spaced)}


@pytest.fixture
def view(model, tokenizer):
    return GenerationView((model, tokenizer), PROMPT, max_new_tokens=12).wait()


def asker(panel):
    """Ask as the page does; returns the answer, and everything that was sent meanwhile."""
    sent = []
    panel.send = lambda content, buffers=None: sent.append((content, buffers or []))
    count = 0

    def ask(kind, **values):
        nonlocal count
        count += 1
        panel._handle_custom_msg({"nk": f"view.{count}", "ask": kind, "with": values}, [])
        if panel._worker is not None:
            panel._worker.submit(lambda: None).result(30)
        content, buffers = next(one for one in sent if one[0].get("nk") == f"view.{count}")
        json.dumps(content)
        return content, buffers

    ask.sent = sent
    return ask


def slowed(model, monkeypatch, seconds):
    """Let each step of a model take a while."""
    forward = model.forward

    def late(*args, **kwargs):
        time.sleep(seconds)
        return forward(*args, **kwargs)

    late.__signature__ = __import__("inspect").signature(forward)
    monkeypatch.setattr(model, "forward", late)


# What is written -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "t5", "bart"])
@pytest.mark.parametrize("settings", [{}, {"repetition_penalty": 1.7}])
def test_greedy_is_what_generate_gives(writers, name, settings):
    model, tokenizer = writers[name]
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=12, **settings).wait()
    inputs = tokenizer(PROMPT, return_tensors="pt")
    expected = model.generate(**inputs, max_new_tokens=12, eos_token_id=tokenizer.eos_token_id, num_beams=1, **settings)
    before = inputs["input_ids"].shape[1] if name == "gpt2" else 1
    assert view.token_ids == expected[0, before:].tolist() and len(view.token_ids) > 3
    assert view.table()["rank"].iloc[0] >= 1


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_sampling_is_what_generate_gives_with_the_seed(writers, name):
    model, tokenizer = writers[name]
    settings = {"do_sample": True, "temperature": 1.3, "top_k": 20, "top_p": 0.9, "max_new_tokens": 10}
    view = GenerationView((model, tokenizer), PROMPT, seed=7, **settings).wait()
    inputs = tokenizer(PROMPT, return_tensors="pt")
    chance = torch.Generator().manual_seed(7)
    expected = model.generate(**inputs, **settings, generator=chance, eos_token_id=tokenizer.eos_token_id)
    before = inputs["input_ids"].shape[1] if name == "gpt2" else 1
    first = view.token_ids
    assert first == expected[0, before:].tolist()
    assert view.generate().token_ids == first and view.branch == 2
    view.seed = 8
    assert view.generate().token_ids != first


@pytest.mark.parametrize("name", ["gpt2", "t5", "bart"])
def test_probabilities_are_those_of_the_models_logits(writers, name):
    model, tokenizer = writers[name]
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=8, repetition_penalty=1.3).wait()
    table, ids = view.table(), view.token_ids
    read = tokenizer(PROMPT)["input_ids"]
    with torch.no_grad():
        if name == "gpt2":
            logits = model(torch.tensor([read + ids[:-1]])).logits[0, len(read) - 1 :]
        else:
            start = model.generation_config.decoder_start_token_id
            decoder = torch.tensor([[start, *ids[:-1]]])
            logits = model(input_ids=torch.tensor([read]), decoder_input_ids=decoder).logits[0]
    expected = logits.softmax(-1)
    for place, token in enumerate(ids):
        p = expected[place]
        assert table["probability"][place] == pytest.approx(float(p[token]), rel=1e-4)
        assert table["rank"][place] == int((p > p[token]).sum()) + 1
        assert table["entropy"][place] == pytest.approx(float(-(p * p.log()).sum()), rel=1e-4)
        alternatives = view.alternatives(place)
        assert set(p.topk(8).indices.tolist()) <= set(alternatives["id"])
        for token_, before in zip(alternatives["id"], alternatives["before"], strict=True):
            assert before == pytest.approx(float(p[token_]), rel=1e-4)
        assert alternatives["rank"].is_monotonic_increasing and alternatives["rank"][0] == 1


def test_alternatives_after_the_filters_are_what_is_drawn_from(model, tokenizer):
    from notebook_kit.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    settings = {"do_sample": True, "temperature": 0.7, "top_k": 5, "top_p": 0.8}
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=3, **settings).wait()
    ids = torch.tensor([tokenizer(PROMPT)["input_ids"]])
    with torch.no_grad():
        scores = model(ids).logits[:, -1]
    for warp in (TemperatureLogitsWarper(0.7), TopKLogitsWarper(5), TopPLogitsWarper(0.8)):
        scores = warp(ids, scores)
    expected = scores.softmax(-1)[0]
    found = view.alternatives(0)
    assert np.allclose(found["after"], expected[found["id"].tolist()], atol=1e-6)
    assert view.table()["left"][0] == int((expected > 0).sum()) <= 5
    assert found["after"].sum() == pytest.approx(1, abs=1e-5) and (found["after"] == 0).any()


def test_a_penalty_can_bring_up_what_was_not_among_the_best(tokenizer):
    from notebook_kit.inspection.generation.steps import measure

    logits = torch.arange(40.0)
    scores = torch.full((40,), -torch.inf).index_fill(0, torch.tensor([2, 3]), 1.0)
    step = measure(logits, scores, 3)
    assert step.left == 2 and {2, 3} < {one.token for one in step.alternatives}
    assert [one.token for one in step.alternatives[:8]] == list(range(39, 31, -1)) and len(step.alternatives) == 10
    assert step.chosen.rank == 37 and step.chosen.after == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["gpt2", "t5", "bart"])
def test_a_branch_is_what_generate_gives_from_there(writers, name):
    model, tokenizer = writers[name]
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=6).wait()
    first = view.token_ids
    last = tokenizer.eos_token_id
    other, rank = next((i, rank) for i, rank in view.alternatives(2)[["id", "rank"]].values.tolist()[3:] if i != last)
    view.continue_from(2, other)
    read = tokenizer(PROMPT)["input_ids"]
    kept = [*first[:2], other]
    options = {"max_new_tokens": 6, "eos_token_id": tokenizer.eos_token_id}
    if name == "gpt2":
        whole = model.generate(torch.tensor([read + kept]), **options)[0, len(read) :]
    else:
        start = model.generation_config.decoder_start_token_id
        whole = model.generate(
            torch.tensor([read]), decoder_input_ids=torch.tensor([[start, *kept]]), **options, num_beams=1
        )[0, 1:]
    assert view.token_ids == whole.tolist()
    assert view.table()["id"].tolist()[:3] == kept and view.table()["rank"][2] == rank
    assert [line["parent"] for line in view._branches] == [None, 1] and view._branches[1]["fork"] == 2
    view.branch = 1
    assert view.token_ids == first


def test_going_on_is_one_long_generation(model, tokenizer):
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=5).wait()
    view.go_on()
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    assert view.token_ids == model.generate(ids, max_new_tokens=10)[0, ids.shape[1] :].tolist()
    assert len(view.table()) == 10


def test_an_alternative_that_ends_the_text_ends_it(tokenizer):
    model = gpt2(tokenizer)
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=4).wait()
    place = int(view.alternatives(1)["id"].iloc[2])
    model.generation_config.eos_token_id = place
    view.continue_from(1, place)
    assert view.token_ids[-1] == place and len(view.token_ids) == 2 and view._shown["ended"] == "end"
    assert not view.running
    with pytest.raises(InputError, match="ended with an end-of-text token"):
        view.go_on()
    assert view.generate().token_ids[:1] != [place]


def test_pipelines_bring_their_own_ways(writers):
    model, tokenizer = writers["gpt2"]
    write = pipeline("text-generation", model=model, tokenizer=tokenizer, max_new_tokens=7, do_sample=False)
    view = GenerationView(write, PROMPT, max_new_tokens=7).wait()
    assert view.text == write(PROMPT)[0]["generated_text"] == PROMPT + view.generated
    model, tokenizer = writers["t5"]
    for task, key in (
        ("summarization", "summary_text"),
        ("text2text-generation", "generated_text"),
        ("translation_en_to_fr", "translation_text"),
    ):
        write = pipeline(task, model=model, tokenizer=tokenizer, num_beams=1, max_new_tokens=7)
        view = GenerationView(write, PROMPT, max_new_tokens=7).wait()
        assert view.generated == write(PROMPT)[0][key] == view.text
        assert view._about["is_encoder_decoder"]


def test_a_pipelines_prefix_is_read():
    tokenizer = spaced_tokenizer()
    model = t5(tokenizer)
    model.config.prefix = "the dog "
    view = GenerationView((model, tokenizer), "sat", max_new_tokens=3).wait()
    assert "".join(entry[0] for entry in view._shown["context"]).startswith(" the dog sat")


def test_the_checkpoints_settings_and_rules_are_taken(tokenizer):
    model = gpt2(tokenizer)
    for name, value in {"do_sample": True, "temperature": 0.6, "top_k": 9, "no_repeat_ngram_size": 2}.items():
        setattr(model.generation_config, name, value)
    view = GenerationView((model, tokenizer))
    assert (view.do_sample, view.temperature, view.top_k) == (True, 0.6, 9)
    assert view._about["rules"] == {"no_repeat_ngram_size": "2"}
    view.do_sample = False
    ids = view.generate(PROMPT).token_ids
    pairs = list(itertools.pairwise(ids))
    assert len(set(pairs)) == len(pairs)


def test_a_reference_model_writes_too(model, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    model.save_pretrained(tmp_path)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    view = GenerationView((reference, tokenizer), PROMPT, max_new_tokens=6).wait()
    own = GenerationView((model, tokenizer), PROMPT, max_new_tokens=6).wait()
    assert view.token_ids == own.token_ids
    assert np.allclose(view.table()["probability"], own.table()["probability"], atol=1e-5)
    assert torch.allclose(view.attention(3, layer=1), own.attention(3, layer=1), atol=1e-5)
    config = transformers.T5Config(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=20)
    with pytest.raises(InputError, match="accepts only decoders"):
        GenerationView((transformers.T5ForConditionalGeneration(config), tokenizer))


def test_a_chat_goes_through_the_template(model, tokenizer):
    told = byte_tokenizer()
    told.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %} a:"
    view = GenerationView((model, told), chat=True, max_new_tokens=3)
    view.generate("the dog")
    assert view._about["has_chat"] and not GenerationView((model, tokenizer))._about["has_chat"]
    assert "".join(entry[0] for entry in view._shown["context"]) == "user: the dog a:"


# Attention -------------------------------------------------------------------------------------------------------------------


def test_attention_is_what_the_recorder_sees_step_by_step(view, model, tokenizer):
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with record_attention(model) as record:
        model.generate(ids, max_new_tokens=12)
    for position in (0, 1, 7):
        for layer in range(3):
            seen = record.steps(layer)[position][0, :, -1]
            assert torch.allclose(view.attention(position, layer=layer, head=2), seen[2], atol=1e-6)
            assert torch.allclose(view.attention(position, layer=layer), seen.mean(0), atol=1e-6)
    every = torch.cat([record.steps(layer)[7][0, :, -1] for layer in range(3)])
    assert torch.allclose(view.attention(7), every.mean(0), atol=1e-6)
    assert torch.allclose(view.attention(7, combine="max"), every.amax(0), atol=1e-6)
    assert len(view.attention(7)) == ids.shape[1] + 7
    assert float(view.attention(7, layer=1, head=0).sum()) == pytest.approx(1, abs=1e-5)


def test_attention_is_recorded_layer_by_layer_where_it_is_large(view, monkeypatch):
    from notebook_kit.inspection.generation import token_attention

    whole = view.attention(5)
    view._token_attention._cache.clear()
    monkeypatch.setattr(token_attention, "AT_ONCE_BYTES", 1)
    assert torch.allclose(view.attention(5), whole, atol=1e-6)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_attention_of_encoder_decoders_is_cross_attention(writers, name):
    model, tokenizer = writers[name]
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=6).wait()
    inputs = tokenizer(PROMPT, return_tensors="pt")
    with record_attention(model, kinds=["cross"]) as record:
        model.generate(**inputs, max_new_tokens=6, num_beams=1)
    for position in (0, 4):
        seen = record.steps(1, "cross")[position][0, :, -1]
        assert torch.allclose(view.attention(position, layer=1, head=3), seen[3], atol=1e-6)
    assert len(view.attention(4)) == inputs["input_ids"].shape[1]


def test_attention_crosses_when_asked_for_and_is_read_once(view, monkeypatch):
    from notebook_kit.inspection.generation import token_attention

    ask, calls = asker(view), []
    original = token_attention.read_attention
    monkeypatch.setattr(token_attention, "read_attention", lambda *args: calls.append(args[2]) or original(*args))
    content, [row] = ask("attention", branch=1, position=3, layer=1, head=None, combine="max")
    weights = torch.frombuffer(bytearray(row), dtype=torch.float32)
    assert torch.equal(weights, view.attention(3, layer=1, combine="max")) and content["answer"] == {"position": 3}
    ask("attention", branch=1, position=4, layer=1, head=2, combine="max")
    assert calls == [[1]]
    ask("attention", branch=1, position=4, layer=None, head=2, combine="max")
    assert calls == [[1], [0, 2]]
    for wrong, message in (({"layer": 9}, "no layer 9"), ({"head": 9}, "no head 9")):
        content, _ = ask(
            "attention", **{"branch": 1, "position": 0, "layer": 0, "head": None, "combine": "mean"} | wrong
        )
        assert message in content["error"]["what"] and content["error"]["next_step"]
    assert ask("attention", branch=99, position=0)[0]["answer"] == {"gone": True}


# Messages --------------------------------------------------------------------------------------------------------------------


def test_tokens_come_as_they_are_made(model, tokenizer, monkeypatch):
    slowed(model, monkeypatch, 0.03)
    view = GenerationView((model, tokenizer), max_new_tokens=24)
    ask = asker(view)
    began = time.monotonic()
    assert ask("generate", prompt=PROMPT)[0]["answer"] == {"branch": 1}
    assert view.running and view.prompt == PROMPT
    view.wait()
    took = time.monotonic() - began
    news = [(content["nk_news"], buffers) for content, buffers in ask.sent if "nk_news" in content]
    assert 2 <= len(news) <= took / 0.1, "ten times a second at most"
    place = 0
    for message, [numbers] in news:
        assert message["first"] == place and message["branch"] == 1
        rows = np.frombuffer(numbers, dtype=np.float32).reshape(-1, 4)
        assert len(rows) == len(message["tokens"])
        assert [entry[1] for entry in message["tokens"]] == view.token_ids[place : place + len(rows)]
        place += len(rows)
    assert not view.running and len(view._shown["tokens"]) == len(view.token_ids) == 24
    whole, [numbers] = ask("tokens", branch=1, first=20)
    assert [entry[1] for entry in whole["answer"]["tokens"]] == view.token_ids[20:]
    assert np.allclose(
        np.frombuffer(numbers, dtype=np.float32).reshape(-1, 4)[:, 0], view.table()["probability"][20:], atol=1e-6
    )


def test_stopping_keeps_what_was_made(model, tokenizer, monkeypatch):
    expected = GenerationView((model, tokenizer), PROMPT, max_new_tokens=60).wait().token_ids
    slowed(model, monkeypatch, 0.02)
    view = GenerationView((model, tokenizer), max_new_tokens=60)
    ask = asker(view)
    ask("generate", prompt=PROMPT)
    while len(view._kept.get(1).steps) < 4:
        time.sleep(0.005)
    ask("stop")
    view.wait()
    made = len(view.token_ids)
    assert 4 <= made < 60 and view.token_ids == expected[:made] and view._shown["ended"] == "stopped"
    assert view.text.startswith(PROMPT) and not view.running
    assert view.go_on().token_ids[:made] == expected[:made]


def test_an_overtaken_generation_says_nothing_more(model, tokenizer, monkeypatch):
    slowed(model, monkeypatch, 0.03)
    view = GenerationView((model, tokenizer), max_new_tokens=20)
    ask = asker(view)
    ask("generate", prompt=PROMPT)
    old = view._run.thread
    while not view._kept.get(1).steps:
        time.sleep(0.005)
    ask("generate", prompt="a dog went")
    at = len(ask.sent)
    view.wait()
    old.join(20)
    assert {content["nk_news"]["branch"] for content, _ in ask.sent[at:] if "nk_news" in content} == {2}
    assert view.branch == 2 and view.text.startswith("a dog went") and len(view.token_ids) == 20
    first = next(line for line in view._branches if line["branch"] == 1)
    assert first["ended"] == "stopped" and 0 < first["count"] < 20


def test_steps_are_answered_and_unknown_ones_are_gone(view):
    ask = asker(view)
    content, [numbers] = ask("step", branch=1, position=2)
    answer, frame = content["answer"], view.alternatives(2)
    assert [entry[2] for entry in answer["alternatives"]] == frame["id"].tolist()
    assert answer["chosen"] == view.token_ids[2] and answer["left"] == view.table()["left"][2]
    pairs = np.frombuffer(numbers, dtype=np.float32).reshape(-1, 2)
    assert np.allclose(pairs, frame[["before", "after"]], atol=1e-6)
    assert ask("step", branch=1, position=99)[0]["answer"] == {"gone": True}
    assert ask("step", branch=9, position=0)[0]["answer"] == {"gone": True}
    token = int(frame["id"].iloc[1])
    assert ask("continue", branch=1, position=2, token=token)[0]["answer"] == {"branch": 2}
    assert view.wait().token_ids[2] == token and view.chosen == 2
    assert "not among the alternatives" in ask("continue", branch=2, position=0, token=-1)[0]["error"]["what"]
    assert ask("go_on")[0]["answer"] == {"branch": 3}
    view.wait()


def test_little_crosses(model, tokenizer):
    prompt = "the cat sat on the mat " * 8
    view = GenerationView((model, tokenizer), prompt, max_new_tokens=60).wait()
    state = {key: value for key, value in view.get_state().items() if key not in ("_esm", "_css", "_strings")}
    numbers = state["_shown"].pop("numbers")
    assert state["_first"].pop("numbers")
    assert len(numbers) == 16 * len(view.token_ids) and len(json.dumps(state)) < 12_000
    _, buffers = asker(view)("step", branch=1, position=3)
    assert sum(len(buffer) for buffer in buffers) < 200


def test_a_failure_is_said_and_the_panel_goes_on(tokenizer, monkeypatch):
    model = gpt2(tokenizer)
    view = GenerationView((model, tokenizer), max_new_tokens=4)
    ask = asker(view)
    assert "no tokens" in ask("generate", prompt="")[0]["error"]["what"]
    long = ask("generate", prompt="the cat sat on the mat " * 60)[0]
    assert "error" in long or view.wait()._problem
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **_: 1 / 0)
    ask("generate", prompt=PROMPT)
    view.wait()
    assert "ZeroDivisionError" in view._problem["what"] and not view.running
    assert view._branches == [] and view.branch == 0, "a branch of nothing is not kept"
    monkeypatch.setattr(model, "forward", forward)
    assert len(view.generate(PROMPT).token_ids) == 4 and view._problem == {}


def test_a_prompt_that_nearly_fills_the_model_gets_what_room_there_is(model, tokenizer):
    prompt = "the cat sat on the mat"
    while len(tokenizer(prompt + " the")["input_ids"]) <= 125:
        prompt += " the"
    room = 128 - len(tokenizer(prompt)["input_ids"])
    view = GenerationView((model, tokenizer), prompt, max_new_tokens=40).wait()
    assert len(view.token_ids) == room == 3


def test_an_interrupt_while_waiting_stops_the_generation(model, tokenizer, monkeypatch):
    slowed(model, monkeypatch, 0.02)
    view = GenerationView((model, tokenizer), max_new_tokens=80)
    view.generate(PROMPT, wait=False)
    thread, join, raised = view._run.thread, view._run.thread.join, []

    def interrupted(timeout=None):
        if not raised:
            raised.append(1)
            raise KeyboardInterrupt
        return join(timeout)

    monkeypatch.setattr(thread, "join", interrupted)
    view.wait()
    assert raised and view._shown["ended"] == "stopped" and len(view.token_ids) < 80


# Traits ----------------------------------------------------------------------------------------------------------------------


def test_traits_are_documented():
    own = set(GenerationView.class_trait_names(sync=True)) - set(ipywidgets.DOMWidget.class_trait_names())
    for name in sorted(name for name in own if not name.startswith("_")):
        assert re.search(rf"^        {name}: ", GenerationView.__doc__, re.M), name


def test_traits_follow_and_lead(view, tokenizer):
    seen = []
    view.observe(lambda change: seen.append(change["new"]), "text")
    view.generate("a dog")
    assert seen == [view.text] and view.text.startswith("a dog")
    view.text = "the log"
    assert view.prompt == "the log"
    view.branch = 1
    assert view.text.startswith(PROMPT) and view.prompt == "the log"
    view.branch = 77
    assert view.text.startswith(PROMPT)


def test_linked_panels_follow(view, model, tokenizer):
    inspector = TokenInspector(tokenizer)
    attention = AttentionView(view)
    assert attention.text == view.text and len(attention.matrix()) == len(tokenizer(view.text)["input_ids"])
    import traitlets

    traitlets.link((view, "text"), (inspector, "text"))
    count = len(tokenizer(PROMPT)["input_ids"])
    if view._is_text_tokens:
        view.chosen = 2
        assert view.selected == [count + 2] == attention.selected
        attention.selected = [0, count + 1]
        assert view.chosen == 1
    else:
        view.chosen = 2
        assert view.selected == [] == attention.selected
    view.generate("a walk")
    assert attention.text == view.text == inspector.text


def test_an_attention_view_follows_what_an_encoder_decoder_wrote(writers):
    view = GenerationView(writers["t5"], PROMPT, max_new_tokens=5).wait()
    attention = AttentionView(view)
    assert attention.text == view.generated and len(attention.matrix()) > 0
    view.generate("the dog")
    assert attention.text == view.generated and attention._problem == {}


def test_beams_and_groups_of_the_checkpoint_are_left_out():
    tokenizer = spaced_tokenizer()
    model = t5(tokenizer)
    plain = GenerationView((model, tokenizer), PROMPT, max_new_tokens=6).wait().token_ids
    for name, value in {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5, "early_stopping": True}.items():
        setattr(model.generation_config, name, value)
    assert GenerationView((model, tokenizer), PROMPT, max_new_tokens=6).wait().token_ids == plain


def test_a_picked_model_flows_in(model, tokenizer):
    from notebook_kit.panels import ModelPicker
    from notebook_kit.panels.model_picker.linking import hand_on

    view = GenerationView()
    ModelPicker().link(view)
    hand_on(pipeline("text-generation", model=model, tokenizer=tokenizer), view)
    assert len(view.generate(PROMPT).token_ids) > 0 and view._notice == {}
    from notebook_kit import BertConfig, BertForSequenceClassification

    small = BertConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=1, vocab_size=9, intermediate_size=16)
    hand_on(pipeline("text-classification", model=BertForSequenceClassification(small), tokenizer=tokenizer), view)
    assert "does not generate text" in view._notice["what"] and view.model is model


def test_selection_is_shared_where_the_tokens_are_the_same(model, tokenizer, monkeypatch):
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=3).wait()
    count = len(tokenizer(PROMPT)["input_ids"])
    for agrees, expected in ((True, [count + 1]), (False, [])):
        view._is_text_tokens, view.chosen = agrees, None
        view.chosen = 1
        assert view.selected == expected
    view._is_text_tokens = True
    view.selected = [count + 2]
    assert view.chosen == 2
    view.selected = [0]
    assert view.chosen is None
    ours = tokenizer("the cat")["input_ids"]
    assert view._is_tokenized_as(view._writer, _branch_of(view, tokenizer, "the cat sat on the mat", len(ours)))


def _branch_of(view, tokenizer, text, read):
    """A branch that wrote just what its tokenizer would cut."""
    from notebook_kit.inspection.generation.steps import Alternative, Branch, Step

    ids = tokenizer(text)["input_ids"]
    view.text = text
    steps = [Step(Alternative(token, 0.5, 0.5, 1), 0.1, 3, ()) for token in ids[read:]]
    return Branch(9, text, ids[:read], [], steps, ended="length")


def test_another_model_can_be_used_and_a_wrong_one_changes_nothing(view, writers, minilm):
    with pytest.raises(InputError, match="does not generate text"):
        view.use((AutoModel.from_pretrained(minilm), AutoTokenizer.from_pretrained(minilm)))
    assert len(view.table()) == 12
    view.use(writers["t5"])
    assert view.branch == 0 and view.token_ids == [] and view.prompt == PROMPT and len(view.table()) == 0
    assert view.generate().generated == view.text


@pytest.mark.parametrize(
    ("source", "message"),
    [("gpt2", "is not a model"), (object(), "is not a model"), (torch.nn.Linear(2, 2), "has no generate")],
)
def test_what_does_not_write_is_an_error_of_ours(source, message):
    with pytest.raises(InputError, match=message) as caught:
        GenerationView(source)
    assert caught.value.next_step


def test_a_model_alone_needs_its_tokenizer(tokenizer):
    with pytest.raises(InputError, match="tokenizer is unknown"):
        GenerationView(gpt2(tokenizer))


def test_an_empty_view(model, tokenizer):
    empty = GenerationView()
    assert "no model" in repr(empty) and empty.face().note and len(empty.table()) == 0
    for call in (empty.generate, empty.go_on):
        with pytest.raises(InputError):
            call()
    view = GenerationView((model, tokenizer))
    assert view.face().note == view._strings["generation_view.empty_text"]
    with pytest.raises(InputError, match="Nothing was generated"):
        view.alternatives(0)
    with pytest.raises(InputError, match="There is no generated token 50"):
        view.generate(PROMPT).alternatives(50)


def test_the_oldest_branches_go(model, tokenizer):
    view = GenerationView((model, tokenizer), max_new_tokens=1)
    for _ in range(15):
        view.generate(PROMPT)
    assert [line["branch"] for line in view._branches] == list(range(4, 16)) and view.branch == 15


# Spelling --------------------------------------------------------------------------------------------------------------------


def test_tokens_read_as_text_and_parts_as_bytes(tokenizer):
    spelling = Spelling(tokenizer)
    line = spelling.line(tokenizer("the 🦕 é")["input_ids"])
    assert line[0][0] == "the" and line[0][2] == 0
    parts = [entry for entry in line if entry[2] == PART]
    assert parts and bytes.fromhex("".join(entry[0] for entry in parts)).decode().strip().startswith("🦕")
    assert next(entry[3] for entry in parts if len(entry) > 3).strip() == "🦕"
    assert spelling.of(tokenizer.eos_token_id) == ("<|end|>", SPECIAL)
    assert Spelling(spaced_tokenizer()).line(spaced_tokenizer()("the cat")["input_ids"])[0][0].startswith(" ")
    assert spelling.of(9999)[0] == "[9999]"


# Without a kernel ----------------------------------------------------------------------------------------------------------


def test_static_face_is_small_and_runs_nothing(tokenizer):
    trap = byte_tokenizer(extra=HOSTILE)
    view = GenerationView((gpt2(trap), trap), f"{HOSTILE[0]} {HOSTILE[1]}", max_new_tokens=100).wait()
    other = next(i for i in range(len(trap) - 2, len(trap)))
    view._branch().steps[0] = (
        view._branch()
        .steps[0]
        .__class__(
            **{**vars(view._branch().steps[0]), "chosen": view._branch().steps[0].chosen.__class__(other, 0.5, 0.5, 1)}
        )
    )
    page = view._repr_mimebundle_()[0]["text/html"]
    assert len(page) <= FACE_BYTES
    assert "<script" not in page and "<img src=x" not in page and "&lt;img src=x" in page
    assert re.search(r'src="data:image/png;base64,', page) and "<td>" in page


def test_the_face_waits_for_a_generation_that_has_begun(model, tokenizer):
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=10)
    assert len(view.face().rows) == 10


def test_figure_shows_the_chosen_token(view):
    view.chosen = 1
    figure = view.figure()
    assert any("cat" in text.get_text() or "the" in text.get_text() for text in figure.axes[0].texts)
    framed = [patch for patch in figure.axes[0].patches if patch.get_linewidth() > 2]
    assert len(framed) == 1


def test_file_on_disk_answers_all_it_holds(tokenizer, tmp_path):
    trap = byte_tokenizer(extra=HOSTILE)
    view = GenerationView((gpt2(trap), trap), HOSTILE[0], max_new_tokens=5, colour="attention", layer=1).wait()
    view.continue_from(1, int(view.alternatives(1)["id"].iloc[1]))
    page = view.to_html(tmp_path / "view.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<img src=x" not in page
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    asked = [(entry["ask"], entry["with"]) for entry in data["answers"]]
    steps = [values for kind, values in asked if kind == "step"]
    assert len(steps) == len(view.token_ids) + 5 and {"branch": 1, "position": 4} in steps
    assert ("tokens", {"branch": 1, "first": 0}) in asked
    looks = [values for kind, values in asked if kind == "attention"]
    assert len(looks) == len(view.token_ids) and all(values["layer"] == 1 for values in looks)


def test_secrets_stay_out(model, tokenizer, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=2).wait()
    view.to_html(tmp_path / "view.html")
    state = {key: value for key, value in view.get_state().items() if not isinstance(value, bytes)}
    for text in (str(state), repr(view), str(view._repr_mimebundle_()), (tmp_path / "view.html").read_text()):
        assert "hf_secret" not in text


def test_words_exist_in_both_languages():
    tables = [json.loads((FOLDER / f"{code}.json").read_text(encoding="utf-8")) for code in ("en", "te")]
    keys = [{key for key in table if key.startswith("generation_view.")} for table in tables]
    assert keys[0] == keys[1] and len(keys[0]) > 60
    for key in keys[0]:
        assert set(re.findall(r"\{\w+\}", tables[0][key])) == set(re.findall(r"\{\w+\}", tables[1][key])), key
    folder = FOLDER.parent / "panels"
    sources = [*folder.glob("generation_view/*.js")]
    used = set(re.findall(r'words\("(\w+)"', "".join(path.read_text(encoding="utf-8") for path in sources)))
    known = keys[0] | {key for key in tables[0] if key.startswith("common.")}
    missing = {key for key in used if f"generation_view.{key}" not in known and f"common.{key}" not in known}
    assert used and not missing


def test_the_kernel_speaks_telugu(view):
    set_language("te")
    try:
        assert view.face().header[0] == "టోకెన్"
    finally:
        set_language("en")


def test_closing_ends_a_generation(model, tokenizer, monkeypatch):
    slowed(model, monkeypatch, 0.02)
    view = GenerationView((model, tokenizer), PROMPT, max_new_tokens=100)
    thread = view._run.thread
    view.close()
    thread.join(10)
    assert not thread.is_alive() and threading.active_count() < 50


def test_it_opens_on_the_most_surprising_token_with_its_alternatives(tokenizer):
    view = GenerationView((gpt2(tokenizer), tokenizer), "the cat", max_new_tokens=8).wait()
    probabilities = view.table()["probability"].tolist()
    assert view.chosen == probabilities.index(min(probabilities))
    first = view.get_state("_first")["_first"]
    answer = view.answer_step({"branch": view.branch, "position": view.chosen})
    assert first["position"] == view.chosen and first["alternatives"] == answer.values["alternatives"]
    assert first["numbers"] == answer.buffers[0]
    view.chosen = 2
    view.continue_from(2, view.alternatives(2)["id"].iloc[1])
    assert view.chosen == 2  # the reader's choice stays


def test_the_button_draws_a_new_seed_unless_it_is_pinned(tokenizer):
    view = GenerationView((gpt2(tokenizer), tokenizer), do_sample=True, max_new_tokens=4, seed=7)
    view.generate("the cat")
    assert view.seed == 7  # programs decide for themselves
    seeds = set()
    for _ in range(4):
        view.answer_generate({"prompt": "the cat"})
        view.wait()
        seeds.add(view.seed)
    assert len(seeds) > 1 and 7 not in seeds
    view.pinned, kept = True, view.seed
    view.answer_generate({"prompt": "the cat"})
    view.wait()
    assert view.seed == kept
    view.pinned, view.do_sample = False, False
    view.answer_generate({"prompt": "the cat"})
    assert view.wait().seed == kept
