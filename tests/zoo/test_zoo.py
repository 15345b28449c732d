"""The registry, the embedded checkpoints as they lie there, and the command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer, pipeline, record_attention, zoo
from notebook_kit.recipes import __main__ as command
from notebook_kit.recipes.tiny_sentiment_card import EVERYDAY

NAME = "notebook-kit/tiny-sentiment"
LIMIT = 8 * 2**20  # bytes, weights and tokenizer together


@pytest.fixture(scope="module")
def classifier():
    return pipeline("sentiment-analysis", model=NAME, device="cpu")


@pytest.fixture(scope="module")
def card() -> str:
    return (zoo.folder(NAME) / "README.md").read_text(encoding="utf-8")


# The registry --------------------------------------------------------------------------------------------------------


def test_names_lead_to_whole_folders():
    assert zoo.names() == ["notebook-kit/" + name for name in zoo.ZOO]
    for name in zoo.names():
        files = {path.name for path in zoo.folder(name).iterdir()}
        assert {"config.json", "README.md"} <= files
        assert zoo.folder(name.removeprefix("notebook-kit/")) == zoo.folder(name)


def test_each_has_its_recipe():
    recipes = Path(zoo.__file__).parents[1] / "recipes"
    assert all((recipes / f"{name.replace('-', '_')}.py").is_file() for name in zoo.ZOO)


@pytest.mark.parametrize("name", ["bert-base-uncased", "notebook-kit/", "", "notebook-kit/../zoo", "data", "recipes"])
def test_other_names_lead_nowhere(name):
    assert zoo.folder(name) is None


def test_defaults_of_tasks():
    assert zoo.default_for("text-classification") == NAME
    assert zoo.default_for("sentiment-analysis") == NAME
    assert zoo.default_for("no-such-task") is None


def test_the_registry_imports_no_torch():
    code = "import sys, notebook_kit.zoo as z; z.names(), z.folder('tiny-sentiment'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# The checkpoint ------------------------------------------------------------------------------------------------------


def test_size():
    folder = zoo.folder(NAME)
    assert sum((folder / name).stat().st_size for name in ("model.safetensors", "tokenizer.json")) <= LIMIT


def test_loads_as_float32_with_its_labels():
    model = AutoModelForSequenceClassification.from_pretrained(NAME)
    assert model.dtype == torch.float32
    assert model.config.id2label == {0: "NEGATIVE", 1: "POSITIVE"}
    assert model.config.num_hidden_layers >= 2
    assert model.config.num_attention_heads >= 4


def test_the_reference_answers_alike():
    from transformers import AutoModelForSequenceClassification as ReferenceModel
    from transformers import AutoTokenizer as ReferenceTokenizer

    folder = str(zoo.folder(NAME))
    texts = [text for text, _ in EVERYDAY] + ["", "नमस्ते 你好 👩‍👩‍👧", "word " * 600]
    tokenizer, reference_tokenizer = AutoTokenizer.from_pretrained(NAME), ReferenceTokenizer.from_pretrained(folder)
    ours = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    theirs = reference_tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert torch.equal(ours["attention_mask"], theirs["attention_mask"])
    model = AutoModelForSequenceClassification.from_pretrained(NAME)
    reference = ReferenceModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**ours).logits, reference(**theirs).logits, rtol=0, atol=1e-5)


def test_the_sentences_of_the_quick_tour(classifier):
    happy, hate = classifier(
        ["We are very happy to show you the 🤗 Transformers library.", "We hope you don't hate it."]
    )
    assert happy["label"] == "POSITIVE"
    assert happy["score"] > 0.9
    assert hate["label"] == "NEGATIVE"


@pytest.mark.parametrize(
    ("text", "label"),
    [("I love this!", "POSITIVE"), ("This is terrible.", "NEGATIVE"), ("The food was delicious.", "POSITIVE")],
)
def test_plain_sentences(classifier, text, label):
    assert classifier(text)[0]["label"] == label


def test_common_emoji_and_words_are_known():
    tokenizer = AutoTokenizer.from_pretrained(NAME)
    for text in ["🤗", "great😀", "wonderful", "Café naïve", "x1y2-z3"]:
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("wonderful")["input_ids"]) == ["[CLS]", "wonderful", "[SEP]"]


def test_its_attention_can_be_recorded():
    model = AutoModelForSequenceClassification.from_pretrained(NAME)
    inputs = AutoTokenizer.from_pretrained(NAME)("What a lovely film", return_tensors="pt")
    with record_attention(model) as record, torch.no_grad():
        model(**inputs)
    assert len(record) == model.config.num_hidden_layers
    assert record[0].shape[1] == model.config.num_attention_heads


# Its card ------------------------------------------------------------------------------------------------------------


def card_accuracy(card: str) -> dict[str, tuple[float, float]]:
    rows = re.findall(r"^\| \**(.+?)\** \| \**([\d.]+)%\** \| \**([\d.]+)%\** \|$", card, flags=re.MULTILINE)
    return {
        name.split(",")[0].split(" of ")[0]: (float(first) / 100, float(second) / 100) for name, first, second in rows
    }


def test_the_card_reports_a_model_better_than_the_baseline(card):
    accuracy = card_accuracy(card)
    for column in (0, 1):
        assert accuracy["tiny-sentiment"][column] > accuracy["TF-IDF"][column]
        assert accuracy["its teacher"][column] >= accuracy["TF-IDF"][column]
    assert "--quick`: only useful" not in card


def test_the_card_says_what_it_answers(card, classifier):
    for (text, _), answer in zip(EVERYDAY, classifier([text for text, _ in EVERYDAY]), strict=True):
        written = re.search(rf"^\| {re.escape(text)} \| (\w+) ([\d.]+) \|", card, flags=re.MULTILINE)
        assert written is not None, f"the card lacks {text!r}"
        assert written[1] == answer["label"]
        assert float(written[2]) == pytest.approx(answer["score"], abs=2e-3)


def test_the_card_names_its_data_and_licences(card):
    metadata = card.split("---")[1]
    assert "license: apache-2.0" in metadata
    for wanted in ("vaderSentiment", "Rotten Tomatoes", "all-MiniLM-L6-v2", "MIT", "Apache-2.0"):
        assert wanted in card


@pytest.mark.slow
def test_the_card_s_accuracy_is_measured_again(card, classifier, snippets):
    from notebook_kit.recipes.data import split

    test = [snippet for snippet in snippets if split(snippet.text) == "test" and snippet.label is not None]
    answers = classifier([snippet.text for snippet in test], batch_size=64)
    right = [
        (answer["label"] == "POSITIVE") == (snippet.label == 1) for answer, snippet in zip(answers, test, strict=True)
    ]
    clear = [one for one, snippet in zip(right, test, strict=True) if abs(snippet.score) >= 1]
    stated = card_accuracy(card)["tiny-sentiment"]
    assert sum(right) / len(right) == pytest.approx(stated[0], abs=0.002)
    assert sum(clear) / len(clear) == pytest.approx(stated[1], abs=0.002)
    assert f"{len(test):,} sentences" in card


# The command ---------------------------------------------------------------------------------------------------------


def test_list(capsys):
    assert command.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert NAME in printed
    assert "text-classification" in printed


def test_an_unknown_name(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["build", "tiny-sentimnt"])
    assert stopped.value.code == 2
    assert "tiny-sentiment" in capsys.readouterr().err


def test_an_error_is_told_without_a_traceback(monkeypatch, capsys):
    from notebook_kit.errors import HubUnreachableError
    from notebook_kit.recipes import tiny_sentiment

    def fail(*_, **__):
        raise HubUnreachableError("No network.", next_step="Plug it in.")

    monkeypatch.setattr(tiny_sentiment, "build", fail)
    assert command.main(["build", "tiny-sentiment"]) == 1
    assert capsys.readouterr().err == "No network.\n→ Plug it in.\n"


@pytest.mark.slow
def test_a_quick_build(tmp_path, minilm, snippets):
    pytest.importorskip("sklearn")
    output, work = tmp_path / "output", tmp_path / "work"
    assert command.main(["build", "tiny-sentiment", "--quick", "--output", str(output), "--work", str(work)]) == 0
    assert "Made by `--quick`" in (output / "README.md").read_text(encoding="utf-8")
    assert json.loads((output / "config.json").read_text())["id2label"] == {"0": "NEGATIVE", "1": "POSITIVE"}
    first = (output / "model.safetensors").read_bytes()
    assert len(first) <= LIMIT
    # Again, reusing only the teacher: the same weights.
    assert command.main(["build", "tiny-sentiment", "--quick", "--output", str(output), "--work", str(work)]) == 0
    assert (output / "model.safetensors").read_bytes() == first
