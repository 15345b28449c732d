"""AttentionView without a browser: traits, messages, the static face, files, results."""

from __future__ import annotations

import json
import re

import ipywidgets
import numpy as np
import pytest
import torch
import traitlets

from notebook_kit import (
    ASTConfig,
    ASTModel,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
)
from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.scores import SCORES
from notebook_kit.nn.attention import record_attention
from notebook_kit.panels import AttentionView, set_language
from notebook_kit.panels.attention_view.answers import Answers
from notebook_kit.panels.panel import FACE_BYTES

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "${alert(3)}",
    "'\"><svg onload=alert(4)>",
]
TEXT = "The cat sat on the mat."


@pytest.fixture(scope="module")
def model(minilm):
    return AutoModel.from_pretrained(minilm)


@pytest.fixture(scope="module")
def tokenizer(minilm):
    return AutoTokenizer.from_pretrained(minilm)


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32, num_attention_heads=4, num_hidden_layers=2, vocab_size=30522, intermediate_size=64
    )
    return BertForSequenceClassification(config).eval()


@pytest.fixture
def weights():
    torch.manual_seed(0)
    return (torch.randn(3, 4, 6, 6) * 2).softmax(-1)


def answers(view, kind, values, asked="v1.1"):
    """What the page gets for a question, as `(content, buffers)` pairs."""
    sent = []
    view.send = lambda content, buffers=None: sent.append((content, buffers or []))
    view._handle_custom_msg({"nk": asked, "ask": kind, "with": values}, [])
    if view._worker is not None:
        view._worker.submit(lambda: None).result(30)
    return sent


def answer(view, kind, values):
    [(content, buffers)] = answers(view, kind, values)
    assert "error" not in content, content
    return content["answer"], buffers


def fault(view, kind, values):
    [(content, _)] = answers(view, kind, values)
    return content["error"]


# Making ------------------------------------------------------------------------------------------------------------------


def test_from_a_model_a_pipeline_a_record_and_tensors(model, tokenizer, minilm):
    class Pair:
        def __init__(self):
            self.model, self.tokenizer = model, tokenizer

    inputs = tokenizer(TEXT, return_tensors="pt")
    with record_attention(model) as record:
        model(**inputs)
    with torch.no_grad():
        outputs = model(**inputs, output_attentions=True)
    labels = inputs.tokens()
    views = [
        AttentionView(model, TEXT),
        AttentionView(model, TEXT, tokenizer=tokenizer),
        AttentionView(Pair(), TEXT),
        AttentionView(record, tokens=labels),
        AttentionView(outputs.attentions, tokens=labels),
        AttentionView(outputs, tokens=labels),
        AttentionView(torch.cat(outputs.attentions), tokens=labels),
    ]
    for view in views:
        view.layer, view.head = 2, 3
        frame = view.matrix()
        assert list(frame.index) == list(frame.columns) == labels
        np.testing.assert_allclose(frame.to_numpy(), record[2][0, 3].numpy(), atol=1e-6)
    assert "(6 layers, 72 heads, 9 tokens: layer 2, head 3)" in repr(views[0])


def test_from_an_encoder_decoder():
    from writers import bart, spaced_tokenizer, t5

    words = spaced_tokenizer()
    ids = torch.tensor([words("the cat sat")["input_ids"]])
    for model in (t5(words), bart(words)):
        view = AttentionView(model, "the cat sat", tokenizer=words, layer=1, head=2)
        with record_attention(model, kinds=["self"]) as record:
            model.get_encoder()(ids)
        assert np.allclose(view.matrix(), record.steps(1, "self")[0][0, 2], atol=1e-6)
        assert not view._about["can_lens"] and view.predict([(0, 1)])["rows"]


def test_from_a_reference_model(minilm):
    transformers = pytest.importorskip("transformers")
    view = AttentionView(
        transformers.AutoModel.from_pretrained(minilm),
        TEXT,
        tokenizer=transformers.AutoTokenizer.from_pretrained(minilm),
    )
    assert view._about["can_ablate"] is False and view._about["layers"] == [0, 1, 2, 3, 4, 5]
    assert "not a model of notebook_kit" in fault(view, "predict", {"version": 1, "ablated": [[0, 0]]})["what"]


def test_empty_view_shows_a_hint_and_can_be_given_a_model(model):
    view = AttentionView()
    assert view._about["ready"] is False and repr(view) == "AttentionView()"
    assert "nothing to show" in view.face().note.lower()
    assert "no attention to show" in fault(view, "look", {})["what"]
    view.text = TEXT
    view.use(model)
    assert view._about["ready"] and view._about["version"] == 2 and len(view.matrix()) == 9


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((torch.rand(4, 4),), {}, "is not attention"),
        ((torch.rand(1, 1, 2, 2),), {"tokens": ["a"]}, "2 x 2, but tokens"),
        ((torch.rand(1, 1, 2, 2),), {"layer": 3}, "no layer 3"),
        ((torch.rand(1, 1, 2, 2),), {"head": 1}, "Layer 0 has no head 1"),
        (("bert-base-uncased", "text"), {}, "expects a model or attention first"),
        ((torch.nn.Linear(2, 2), "text"), {}, "not loaded by name"),
        (
            (ASTModel(ASTConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=2)), "a.wav"),
            {},
            "feature extractor is unknown",
        ),
        (({"attentions": None},), {}, "holds no attentions"),
        ((torch.rand(1, 1, 2, 2),), {"compare_text": "x"}, "no model to read a second text"),
    ],
)
def test_unusable_input_is_an_error_of_ours(arguments, options, message):
    with pytest.raises(InputError, match=message) as caught:
        AttentionView(*arguments, **options)
    assert caught.value.next_step


def test_name_says_nothing_of_the_folders_owner(model, minilm):
    view = AttentionView(model, TEXT)
    assert str(minilm.parent) not in json.dumps(view._about)


# Traits ------------------------------------------------------------------------------------------------------------------


def test_head_and_heads_go_together(weights):
    view = AttentionView(weights, head=2)
    assert view.heads == [2]
    view.heads = [1, 3]
    assert view.head == 1
    view.head = 0
    assert view.heads == [0]
    seen = []
    view.observe(lambda change: seen.append(change["new"]), "layer")
    view.layer = 2
    assert seen == [2]


@pytest.mark.parametrize(
    "name", sorted(set(AttentionView.class_trait_names(sync=True)) - set(ipywidgets.DOMWidget.class_trait_names()))
)
def test_public_traits_are_documented(name):
    if not name.startswith("_"):
        assert re.search(rf"^        {name}: ", AttentionView.__doc__, re.M), name


def test_new_text_is_read_and_the_state_stays_within_it(model):
    view = AttentionView(model, TEXT, layer=3, head=2, selected=[1, 8])
    view.text = "A dog."
    assert view._about["tokens"]["labels"] == ["[CLS]", "a", "dog", ".", "[SEP]"]
    assert (view.layer, view.head, view.selected) == (3, 2, [1])
    view.text_pair = "It barks."
    assert view._about["has_pair"] and len(view.matrix()) == 10
    view.direction = "b_to_a"
    assert view.matrix().shape == (4, 3)
    view.text_pair = None
    assert view.direction == "all"


def test_text_that_cannot_be_read_is_said_in_the_panel(model):
    view = AttentionView(model, TEXT)
    view.text = ""
    view.text_pair = None
    before = view.matrix()

    def broken(text, pair):
        raise InputError("cannot be read", next_step="Write another.")

    view._sources.source.read = broken
    view.text = "Short."
    assert view._problem == {"what": "cannot be read", "next_step": "Write another."}
    assert view.matrix().equals(before)
    del view._sources.source.read
    view.text = "The cow sat on the mat."
    assert view._problem == {} and len(view.matrix()) == 9


def test_links_and_boxes(weights):
    first, second = AttentionView(weights), AttentionView(weights)
    traitlets.link((first, "layer"), (second, "layer"))
    box = ipywidgets.VBox([first, second])
    first.layer = 2
    assert second.layer == 2 and len(box.children) == 2


def test_follows_an_inspector(model, tokenizer):
    from notebook_kit.panels import TokenInspector

    inspector = TokenInspector(tokenizer, text=TEXT)
    view = AttentionView(inspector, model)
    other = AttentionView(inspector, model=model)
    assert view.text == other.text == TEXT and len(view.matrix()) == 9
    inspector.text = "A dog."
    assert len(view.matrix()) == 5 == len(other.matrix())
    inspector.selected = [2]
    assert view.selected == [2]
    view.selected = [1, 3]
    assert inspector.selected == [1, 3] == other.selected


def test_follows_the_first_of_several_tokenizers(model, tokenizer):
    from notebook_kit.panels import TokenInspector

    inspector = TokenInspector(tokenizer, tokenizer, text=TEXT)
    view = AttentionView(inspector, model)
    inspector.selected = [2]
    assert view.selected == [2]
    inspector.row = 1
    assert view.selected == []
    assert inspector.selected == [2]
    view.selected = [1, 3]
    assert (inspector.row, inspector.selected) == (0, [1, 3])


# Questions -----------------------------------------------------------------------------------------------------------------


def test_look_is_a_byte_a_weight(weights):
    view = AttentionView(weights, tokens=list("abcdef"))
    values, [data] = answer(view, "look", view._question("look", layer=1, heads=[2]))
    assert (
        values["size"] == [6, 6]
        and values["rows"] == list(range(6))
        and values["columns"] is None
        and data.nbytes == 36
    )
    np.testing.assert_allclose(
        np.asarray(data) / 255 * values["scale"], weights[1, 2].numpy(), atol=values["scale"] / 500
    )


def test_row_is_exact(weights):
    view = AttentionView(weights)
    question = view._question("look", layer=1, heads=[0, 3], combine="max")
    combined = weights[1, [0, 3]].amax(0)
    _, [to, from_] = answer(view, "row", {**question, "rows": [1, 4], "columns": [0]})
    np.testing.assert_array_equal(to, combined[[1, 4]].sum(0).numpy())
    np.testing.assert_array_equal(from_, combined[:, 0].numpy())
    assert to.dtype == np.float32


def test_rollout_answers_and_refuses(weights, model, tokenizer):
    from notebook_kit.inspection.attention.rollout import rollout

    view = AttentionView(weights)
    values, [data] = answer(view, "look", view._question("look", layer=1, what="rollout", heads=[0]))
    expected = rollout(list(weights[:2]))
    np.testing.assert_allclose(np.asarray(data) / 255 * values["scale"], expected.numpy(), atol=values["scale"] / 500)
    with record_attention(model, layers=[2, 3]) as record:
        model(**tokenizer(TEXT, return_tensors="pt"))
    partial = AttentionView(record)
    assert partial.layer in (2, 3) and partial._about["has_rollout"] is False
    assert "all layers" in fault(partial, "look", partial._question("look", what="rollout"))["what"]


def test_atlas_is_thumbnails(weights):
    view = AttentionView([weights[0], weights[1][:2]])
    values, [data] = answer(view, "atlas", view._question("atlas"))
    assert values == {"size": [6, 6], "signed": False, "heads": [4, 2]} and data.nbytes == 6 * 36
    first = np.asarray(data)[:36].reshape(6, 6)
    np.testing.assert_array_equal(first, (weights[0, 0] / weights[0, 0].max() * 255).round().numpy().astype(np.uint8))


def test_scores_cross_as_floats_and_make_a_frame(weights):
    view = AttentionView(weights)
    values, [data] = answer(view, "scores", {"version": 1, "which": "this"})
    assert values["scores"] == list(SCORES) and data.shape == (12, 8)
    frame = view.scores()
    assert list(frame.columns) == ["layer", "head", *SCORES] and list(frame["layer"]) == sorted([0, 1, 2] * 4)
    np.testing.assert_allclose(frame["same"][5], float(weights[1, 1].diagonal().mean()), rtol=1e-5)


def test_prediction_question(classifier, tokenizer):
    view = AttentionView(classifier, TEXT, tokenizer=tokenizer)
    values, _ = answer(view, "predict", {"version": 1, "ablated": [[0, 1], [1, 0]]})
    assert values["kind"] == "classes" and view.prediction["heads"] == [[0, 1], [1, 0]] and values["moved"] > 0
    view.ablated = [[1, 2]]
    assert view.predict()["heads"] == [[1, 2]]
    assert "no head 9" in fault(view, "predict", {"version": 1, "ablated": [[0, 9]]})["what"]
    assert "no model behind" in fault(AttentionView(torch.rand(1, 1, 2, 2)), "predict", {"ablated": []})["what"]


def test_read_question_changes_all_at_once(model):
    view = AttentionView(model, TEXT)
    seen = []
    view.observe(lambda change: seen.append(change["new"]["tokens"]["labels"]), "_about")
    values, _ = answer(view, "read", {"text": "A dog.", "text_pair": "It barks.", "compare_text": "A cat."})
    assert values["version"] == 2 == view._about["version"] and len(seen) == 1
    assert (view.text, view.text_pair, view.compare_text) == ("A dog.", "It barks.", "A cat.")
    assert view._about["other_tokens"][2] == "cat"
    assert view.compare_text == "A cat."


def test_difference_is_of_what_is_shown(model, tokenizer):
    view = AttentionView(model, TEXT, compare="The dog sat on the mat.", shown="difference", layer=1)
    view.hide_special = view.renormalise = view.merge_words = True
    signed = view.matrix()
    view.shown = "this"
    mine = view.matrix().to_numpy()
    view.shown = "other"
    theirs = view.matrix().to_numpy()
    np.testing.assert_allclose(signed.to_numpy(), mine - theirs, atol=1e-6)
    assert np.abs(signed.to_numpy()).max() > 1e-3
    values, _ = answer(view, "look", view._question("look", which="difference"))
    assert values["signed"]
    view.shown = "difference"
    assert answer(view, "atlas", view._question("atlas"))[0]["signed"]
    assert view.scores()["entropy"].abs().max() > 0


def test_checkpoints_compare(tokenizer):
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "vocab_size": 30522, "intermediate_size": 64}
    torch.manual_seed(0)
    first, second = (BertModel(BertConfig(**sizes, num_hidden_layers=2)).eval() for _ in range(2))
    view = AttentionView(first, TEXT, tokenizer=tokenizer, compare=second, shown="difference")
    assert view._about["compares_models"] and view.matrix().abs().to_numpy().max() > 0
    larger = BertModel(BertConfig(**sizes, num_hidden_layers=3)).eval()
    with pytest.raises(InputError, match="has 2 layers with"):
        view.compare(larger)
    assert view._about["compares_models"]
    view.compare(None)
    assert view.shown == "this" and not view._about["compares"]


def test_tensors_compare(weights):
    view = AttentionView(weights, compare=weights.flip(-1), layer=0, head=0)
    assert view.shown == "difference"  # at once
    np.testing.assert_allclose(view.matrix().to_numpy(), (weights - weights.flip(-1))[0, 0].numpy())


def test_answers_are_kept(weights, monkeypatch):
    view = AttentionView(weights)
    question = view._question("look", layer=2)
    first = answer(view, "look", question)[1][0]
    monkeypatch.setattr(Answers, "shown", lambda *_: pytest.fail("computed again"))
    assert answer(view, "look", dict(reversed(question.items())))[1][0] is first


@pytest.mark.parametrize("values", [{"layer": 99}, {"heads": [77]}, {"which": "other"}, {"direction": "a_to_b"}])
def test_wrong_questions_get_an_error_and_the_panel_goes_on(weights, values):
    view = AttentionView(weights)
    assert fault(view, "look", {**view._question("look"), **values})["what"]
    assert answer(view, "look", view._question("look"))


def test_first_paint_needs_no_question_and_stays_small():
    weights = torch.rand(12, 12, 128, 128).softmax(-1)
    view = AttentionView(weights)
    asked = {entry["ask"]: entry for entry in view._first["answers"]}
    assert asked["look"]["with"] == view._question("look") and asked["atlas"]["with"] == view._question("atlas")
    size = sum(len(buffer) for entry in asked.values() for buffer in entry["buffers"])
    assert size + len(json.dumps(view._about)) < 500_000


# Faces and files -------------------------------------------------------------------------------------------------------------


def test_face_is_a_picture_and_a_table_that_stay_small(weights):
    view = AttentionView(weights, tokens=[*HOSTILE, "a", "b"])
    data, _ = view._repr_mimebundle_()
    html = data["text/html"]
    assert len(html.encode()) <= FACE_BYTES and "data:image/png;base64," in html
    assert "<script" not in html and "<img src=x" not in html and "&lt;img src=x onerror=alert(1)&gt;" in html
    assert html.count("<tr>") == 21
    large = AttentionView(torch.rand(2, 2, 512, 512), tokens=[f"token{i}" for i in range(512)])
    html = large._repr_mimebundle_()[0]["text/html"]
    assert "data:image/png;base64," in html and len(html.encode()) <= FACE_BYTES


def test_face_of_a_difference_and_of_odd_tokens(weights):
    view = AttentionView(
        weights, tokens=["$x_1$", "పదం", "字", "\\", "🙂", ""], compare=weights.flip(-1), shown="difference"
    )
    assert view.face().png[:4] == b"\x89PNG"


@pytest.mark.parametrize("look", ["heads", "matrix", "scores"])
def test_figure(weights, look):
    from matplotlib.figure import Figure

    view = AttentionView(weights, tokens=list("abcdef"), view=look, selected=[1], threshold=0.1)
    figure = view.figure()
    assert isinstance(figure, Figure)
    texts = [text.get_text() for text in figure.axes[0].texts] or [
        t.get_text() for t in figure.axes[0].get_yticklabels()
    ]
    assert set("abcdef") <= set(texts)


def test_file_holds_what_it_says(weights, tmp_path):
    view = AttentionView(weights, tokens=[*HOSTILE, "a", "b"], layer=1)
    path = view.to_html(tmp_path / "view.html")
    page = path.read_text(encoding="utf-8")
    assert "<img src=x" not in page and page.count("</script>") == 3
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    looks = [entry["with"] for entry in data["answers"] if entry["ask"] == "look"]
    assert {(q["layer"], tuple(q["heads"])) for q in looks} == {(1, (head,)) for head in range(4)}
    assert data["traits"]["_offline"] == {"layer": 1, "heads": [0, 1, 2, 3], "pairs": None}
    assert {entry["ask"] for entry in data["answers"]} == {"atlas", "scores", "look"}
    assert view._offline == {} and view._first


def test_file_stays_within_its_budget(tmp_path, monkeypatch):
    from notebook_kit.panels.attention_view import attention_view

    monkeypatch.setattr(attention_view, "HTML_BYTES", 3 * 64 * 64)
    view = AttentionView(torch.rand(2, 6, 64, 64), head=4)
    looks = [values for kind, values in view.offline_questions() if kind == "look"]
    assert [question["heads"] for question in looks] == [[4], [0], [1]]


def test_telugu_face(weights):
    set_language("te")
    try:
        assert "పొర 0 · హెడ్ 0" in AttentionView(weights, head=0).face().title
    finally:
        set_language("en")


def test_languages_have_the_same_words():
    from notebook_kit.language import FOLDER

    tables = [json.loads((FOLDER / f"{code}.json").read_text(encoding="utf-8")) for code in ("en", "te")]
    keys = [{key for key in table if key.startswith("attention_view.")} for table in tables]
    assert keys[0] == keys[1] and len(keys[0]) > 100
    for key in keys[0]:
        assert set(re.findall(r"\{\w+\}", tables[0][key])) == set(re.findall(r"\{\w+\}", tables[1][key])), key


def test_it_opens_on_the_sharpest_head(weights, model):
    flat, previous = torch.full((5, 5), 0.2), torch.eye(5).roll(-1, 1)
    rest = torch.zeros(5, 5)
    rest[:, 0] = 1.0  # all rest on the first token
    layers = torch.stack([torch.stack([flat, rest]), torch.stack([torch.eye(5), previous])])
    view = AttentionView(layers)
    assert (view.layer, view.head, view.heads) == (1, 1, [1])
    assert (AttentionView(layers, layer=0).layer, AttentionView(layers, layer=0).head) == (0, 1)
    assert (AttentionView(layers, head=0).layer, AttentionView(layers, head=0).head) == (0, 0)
    assert AttentionView(layers[:, :1]).layer == 1  # looking at oneself is clearer than looking everywhere
    waiting = AttentionView(model)
    waiting.text = TEXT
    chosen = waiting.layer, waiting.head
    assert chosen == (lambda one: (one.layer, one.head))(AttentionView(model, TEXT))
    waiting.text = "Another text, on the same head."
    assert (waiting.layer, waiting.head) == chosen


def test_heads_of_several_layers_are_combined(weights):
    view = AttentionView(weights, layer=0, heads=[0, 2], more=[[2, 1]])
    expected = torch.stack([weights[0, 0], weights[0, 2], weights[2, 1]])
    np.testing.assert_allclose(view.matrix().to_numpy(), expected.mean(0).numpy(), rtol=1e-6)
    view.combine = "max"
    np.testing.assert_allclose(view.matrix().to_numpy(), expected.amax(0).numpy())
    assert view.face().title == "Layer 0 · head 0, 2, layer 2 · head 1 · maximum"
    view.heads = [1]
    assert view._question("look")["more"] == [[2, 1]] and view._question("look")["combine"] == "max"
    with pytest.raises(InputError, match="no head 9"):
        AttentionView(weights, layer=0, heads=[0], more=[[2, 9]])
    offline = [question for kind, question in view.offline_questions() if kind == "look"]
    assert "more" in offline[0] and all("more" not in question for question in offline[1:5])


def test_texts_of_unequal_length_are_compared(model):
    view = AttentionView(model, "The cat sat.", compare="The very old cat slept.")
    assert view.shown == "difference"
    mine = view._answers.reading
    other = view._answers.other
    both = view._answers.axes[0].labels
    assert both[: len(mine.rows)] == mine.rows.labels and set(other.rows.labels) <= set(both) | set(
        view._about["other_tokens"]
    )
    matrix = view.matrix()
    assert list(matrix.index) == ["[CLS]", "the", "very", "old", "cat", "sat / slept", ".", "[SEP]"]
    theirs, ours = other.layer(view.layer)[view.head], mine.layer(view.layer)[view.head]
    assert matrix.iloc[1, 1] == pytest.approx(float(ours[1, 1] - theirs[1, 1]), abs=1e-6)
    assert matrix.iloc[2, 4] == pytest.approx(
        -float(theirs[2, 4]), abs=1e-6
    )  # "very" looks at "cat" in the second text only
    np.testing.assert_allclose(matrix.to_numpy().sum(), (ours.sum() - theirs.sum()).item(), atol=1e-4)
    view.shown = "other"
    np.testing.assert_allclose(view.matrix().to_numpy(), theirs.numpy(), atol=1e-6)
    assert list(view.matrix().index) == list(other.rows.labels)
    view.shown = "this"
    np.testing.assert_allclose(view.matrix().to_numpy(), ours.numpy(), atol=1e-6)
    assert list(view.matrix().index) == list(mine.rows.labels)
    for changes in ({"merge": True}, {"hide": True, "renormalise": True}, {"what": "rollout", "heads": [0]}):
        values, [data] = answer(view, "look", view._question("look", which="difference", **changes))
        assert np.asarray(data).shape == tuple(values["size"]) and values["signed"]
    assert answer(view, "atlas", view._question("atlas", which="difference"))[0]["signed"]
    assert view.figure() and view.face().rows


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_queries_and_keys_give_the_weights(family, model, tokenizer):
    if family == "gpt2":
        from notebook_kit import pipeline

        source, options = pipeline("text-generation", model="tiny-gpt2"), {}
    else:
        source, options = model, {"tokenizer": tokenizer}
    view = AttentionView(source, TEXT, layer=1, head=1, **options)
    assert view._about["can_vectors"]
    weights = view.matrix().to_numpy()
    rows, columns = weights.shape
    for row in (2, rows - 1):
        seen = columns if family == "bert" else row + 1
        scores = [view.queries_and_keys(row, column)["product"].sum() for column in range(seen)]
        np.testing.assert_allclose(np.exp(scores) / np.exp(scores).sum(), weights[row, :seen], atol=1e-5)
    values, vectors = answer(view, "neurons", {"version": 1, "layer": 1, "head": 1, "row": 2, "column": 1})
    assert values["weight"] == pytest.approx(weights[2, 1], abs=1e-6) and len(vectors) == 3
    assert values["score"] == pytest.approx(float(vectors[2].sum()), abs=1e-5)
    np.testing.assert_allclose(vectors[0] * vectors[1] * len(vectors[0]) ** -0.5, vectors[2], atol=1e-5)
    with pytest.raises(InputError, match="no row 99"):
        view.queries_and_keys(99, 0)
    with pytest.raises(InputError, match="no queries and keys"):
        AttentionView(torch.eye(3).expand(1, 1, 3, 3)).queries_and_keys(0, 0)


def test_a_file_holds_the_pairs_of_a_short_text(model, tmp_path):
    view = AttentionView(model, "The cat sat.")
    kinds = [kind for kind, _ in view.offline_questions()]
    count = len(view.matrix()) ** 2
    assert kinds.count("neurons") == count
    assert f'"pairs": {view.head}' in view.to_html(tmp_path / "view.html").read_text(encoding="utf-8")
    view.heads = [0, 1]
    assert "neurons" not in [kind for kind, _ in view.offline_questions()]
    long = AttentionView(model, "The cat sat on the mat. " * 12)
    assert "neurons" not in [kind for kind, _ in long.offline_questions()]


def test_a_value_passed_twice_is_named(model, tokenizer):
    with pytest.raises(InputError, match="two values for text: a BertModel by position") as caught:
        AttentionView(tokenizer, model, text=TEXT)
    assert "AttentionView(model, text=..., tokenizer=...)" in caught.value.next_step
    with pytest.raises(InputError, match="two values for text_pair"):
        AttentionView(model, TEXT, "a", text_pair="b", tokenizer=tokenizer)
    with pytest.raises(InputError, match="4 arguments by position"):
        AttentionView(model, TEXT, "a", "b", tokenizer=tokenizer)
    assert AttentionView(model, TEXT, "a", tokenizer=tokenizer).text_pair == "a"
