"""TokenInspector without a browser: traits, questions and answers, the static face, the file on disk."""

from __future__ import annotations

import base64
import json
import re
import struct
import time
from pathlib import Path

import numpy
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from notebook_kit.errors import InputError, NotebookKitError
from notebook_kit.inspection.tokens.analysis import SPECIAL
from notebook_kit.language import strings
from notebook_kit.panels import TokenInspector, set_language
from notebook_kit.panels.token_inspector import blocks
from notebook_kit.processing.text.auto import AutoTokenizer

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@pytest.fixture(scope="module")
def wordpiece(minilm):
    return AutoTokenizer.from_pretrained(minilm)


@pytest.fixture
def letters():
    tokenizer = Tokenizer(models.BPE({"<u>": 0, **{chr(c): c for c in range(97, 123)}}, [], unk_token="<u>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def asker(panel):
    """Ask as the page does."""
    sent = []
    panel.send = lambda content, buffers=None: sent.append((content, buffers or []))
    count = 0

    def ask(kind, **values):
        nonlocal count
        count += 1
        sent.clear()
        panel._handle_custom_msg({"nk": f"view.{count}", "ask": kind, "with": values}, [])
        limit = time.monotonic() + 30
        while not sent and time.monotonic() < limit:
            time.sleep(0.005)
        (content, buffers), *_ = sent
        assert content["nk"] == f"view.{count}"
        return content, buffers

    return ask


def test_page_gets_totals_and_first_tokens(wordpiece, letters):
    panel = TokenInspector(wordpiece, letters)
    content, buffers = asker(panel)("tokens", text="Embeddings é", text_pair=None)
    json.dumps(content)
    first, second = content["answer"]["rows"]
    assert first["block"]["tokens"] == ["[CLS]", "em", "##bed", "##ding", "##s", "e", "[SEP]"]
    ids, starts, ends, _, byte_ends, flags = numpy.asarray(buffers[0])
    assert ids.tolist() == wordpiece("Embeddings é")["input_ids"] and ids.dtype == numpy.int32
    assert (starts[5], ends[5], byte_ends[5]) == (11, 12, 13)
    assert flags[0] & SPECIAL and flags[1] & blocks.DIFFERS
    assert first["totals"]["words"] == 2 and second["totals"]["unknown"] == 2
    assert first["compared"]["shared"] == second["compared"]["shared"]


def test_only_a_block_crosses_of_a_long_text(wordpiece):
    panel = TokenInspector(wordpiece)
    ask = asker(panel)
    text = "one two, three: four. " * 4600
    content, buffers = ask("tokens_of_long_text", text=text, text_pair=None)
    row = content["answer"]["rows"][0]
    assert row["totals"]["characters"] > 100_000 and row["groups"] > 30_000
    assert len(json.dumps(content)) + sum(buffer.nbytes for buffer in buffers) < 40_000
    last = row["groups"] // blocks.BLOCK
    block, _ = ask("block", of=content["answer"]["of"], row=0, block=last)
    assert block["answer"]["tokens"][-1] == "[SEP]"
    story, _ = ask("story", of=content["answer"]["of"], row=0, position=20_000)
    assert story["answer"]["exact"]


def test_stories_and_differences_are_answered(wordpiece, letters):
    panel = TokenInspector(wordpiece, letters, text="hugging")
    ask = asker(panel)
    of = ask("tokens", text="hugging", text_pair=None)[0]["answer"]["of"]
    story = ask("story", of=of, row=0, position=1)[0]["answer"]
    assert story["detail"]["token"] == "hugging" and story["stages"]["model"]["type"] == "WordPiece"
    assert ask("story", of=of, row=0, position=99)[0]["answer"] == {"gone": True}
    differences = ask("differences", of=of, row=1)[0]["answer"]
    assert differences["count"] == 1 and differences["regions"][0][4] == list("hugging")
    assert "error" in ask("story", of=of, row="x", position=0)[0]
    assert "answer" in ask("tokens", text="goes on", text_pair=None)[0]


def test_an_empty_panel_and_an_empty_text(wordpiece):
    empty = TokenInspector()
    assert asker(empty)("tokens", text="x", text_pair=None)[0]["answer"]["rows"] == []
    assert len(empty.table()) == 0 and empty.face().note
    with pytest.raises(InputError, match="no tokenizer 0"):
        empty.analysis()
    panel = TokenInspector(wordpiece)
    assert panel.table()["token"].tolist() == ["[CLS]", "[SEP]"]
    assert panel.figure() is not None
    panel.use()
    assert panel.names == []


def test_table_is_a_frame_of_all_there_is(wordpiece, letters):
    frame = TokenInspector(wordpiece, text="a 🦖", text_pair="é").table()
    assert frame["token"].tolist() == ["[CLS]", "a", "[UNK]", "[SEP]", "e", "[SEP]"]
    assert frame["unknown"].tolist() == [False, False, True, False, False, False]
    assert frame["sequence"].tolist()[1:3] == [0, 0] and frame["start"].isna().sum() == 3
    assert frame["byte_end"][2] == 6 and frame["bytes"][2] == "🦖".encode()
    both = TokenInspector(wordpiece, letters, text="a b").table()
    assert both["tokenizer"].nunique() == 2 and len(both) == 6


def test_a_failed_change_leaves_the_panel_as_it_was(wordpiece):
    panel = TokenInspector(wordpiece, text="stays")
    with pytest.raises(InputError):
        panel.use(wordpiece, object())
    assert len(panel.names) == 1 and "stay" in panel.table()["token"].str.cat()


def test_names_are_told_apart_and_a_name_is_loaded(minilm):
    panel = TokenInspector(str(minilm), str(minilm))
    assert panel.names == [str(minilm), f"{minilm} (2)"]


def test_traits_can_be_observed_and_linked(wordpiece):
    import traitlets

    panel, other = TokenInspector(wordpiece, text="one two"), TokenInspector(wordpiece)
    seen = []
    panel.observe(lambda change: seen.append(change["new"]), "selected")
    traitlets.link((panel, "text"), (other, "text"))
    panel.selected = [1, 2]
    panel.text = "three"
    assert seen == [[1, 2]] and other.text == "three" and other.table()["text"][1] == "three"
    for name in ("text", "text_pair", "selected", "row", "show_ids"):
        assert name in TokenInspector.__doc__ and panel.trait_metadata(name, "sync")


def test_static_face_shows_and_runs_nothing(wordpiece):
    wordpiece_with_trap = AutoTokenizer.from_pretrained(wordpiece.name_or_path)
    wordpiece_with_trap.backend_tokenizer.add_tokens([AddedToken(HOSTILE)])
    wordpiece_with_trap.name_or_path = HOSTILE
    panel = TokenInspector(wordpiece_with_trap, wordpiece, text=f"It {HOSTILE} runs", text_pair="క్షమ 👩‍🔬 中文")
    data, _ = panel._repr_mimebundle_()
    page = data["text/html"]
    assert len(page) < 200_000
    assert "<script" not in page and "<img src=x" not in page and "&lt;img src=x" in page
    picture = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", page)[1])
    width, height = struct.unpack(">II", picture[16:24])
    assert width > 500 and height > 60
    assert "<td>[CLS]</td>" in page


def test_face_of_a_long_text_stays_small(wordpiece, recwarn):
    panel = TokenInspector(wordpiece, text="నమస్కారం 世界 🦖 words and more words " * 2000)
    assert len(panel._repr_mimebundle_()[0]["text/html"]) < 200_000
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_file_on_disk_carries_all_answers(tmp_path, wordpiece, letters):
    panel = TokenInspector(wordpiece, letters, text=f"saved {HOSTILE}", selected=[1])
    page = panel.to_html(tmp_path / "tokens.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<img src=x" not in page
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    kinds = {entry["ask"] for entry in data["answers"]}
    assert kinds == {"tokens", "story", "differences"}
    assert data["traits"]["text"].endswith(HOSTILE)


def test_words_exist_in_both_languages():
    english = set(strings("token_inspector"))
    set_language("te")
    try:
        telugu = strings("token_inspector")
    finally:
        set_language("en")
    assert set(telugu) == english
    sources = Path(blocks.__file__).parent.glob("*.js")
    used = set(re.findall(r'words\("(\w+)"', "".join(path.read_text(encoding="utf-8") for path in sources)))
    assert used and {f"token_inspector.{key}" for key in used} <= english


def test_repr_is_short_and_the_kernel_says_it_in_telugu(wordpiece):
    panel = TokenInspector(wordpiece, text="x" * 100)
    assert len(repr(panel)) < 300 and repr(panel).startswith("TokenInspector(")
    set_language("te")
    try:
        assert panel.face().header[0] == "టోకెన్"
    finally:
        set_language("en")


def test_a_title_is_drawn_as_far_as_the_fonts_go():
    set_language("te")
    try:
        tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-sentiment")
        title = TokenInspector(tokenizer, text="tokens").figure().axes[0].texts[0].get_text()
    finally:
        set_language("en")
    assert title.startswith("notebook-kit/tiny-sentiment") and "U+" not in title


def test_half_a_character_is_no_error(wordpiece):
    panel = TokenInspector(wordpiece)
    content, _ = asker(panel)("tokens", text="a \ud83d", text_pair="\udc00")
    assert content["answer"]["rows"][0]["totals"]["characters"] == 4


def test_attention_view_follows(wordpiece, minilm):
    from notebook_kit import AutoModel
    from notebook_kit.panels import AttentionView

    inspector = TokenInspector(wordpiece, text="one two")
    view = AttentionView(inspector, AutoModel.from_pretrained(minilm))
    inspector.text = "three four"
    inspector.selected = [2]
    assert view.text == "three four" and view.selected == [2]
    view.selected = [1]
    assert inspector.selected == [1]


def test_threads_do_not_cut_each_others_texts(minilm):
    from concurrent.futures import ThreadPoolExecutor

    panel = TokenInspector(AutoTokenizer.from_pretrained(minilm, model_max_length=16))
    texts = [f"some words number {number} " * 20 for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda text: panel.answer_tokens({"text": text, "text_pair": None}), texts))
    counts = [answer.values["rows"][0]["totals"]["tokens"] for answer in answers]
    assert counts == [len(panel._backends[0].encode(text).ids) for text in texts] and min(counts) > 80
    assert all(answer.values["rows"][0]["totals"]["truncation"]["over"] for answer in answers)


def first_of(panel):
    return {answer["ask"]: answer for answer in panel._first.get("answers", ())}


def test_the_first_answers_travel_with_the_state(wordpiece):
    panel = TokenInspector(wordpiece, text="we tokenize")
    first = first_of(panel)
    assert first["tokens"]["with"] == {"text": "we tokenize", "text_pair": None}
    content, buffers = asker(panel)("tokens", text="we tokenize", text_pair=None)
    assert first["tokens"]["answer"] == content["answer"] and first["tokens"]["buffers"] == [
        b.tobytes() for b in buffers
    ]
    assert first["story"]["with"] == {"of": content["answer"]["of"], "row": 0, "position": panel.selected[-1]}
    panel.text = "other text"
    assert first_of(panel)["tokens"]["with"]["text"] == "other text"
    panel.set_state({"text": "typed"})  # as the page sets it, which asks by itself
    assert panel.text == "typed" and first_of(panel)["tokens"]["with"]["text"] == "other text"
    assert TokenInspector()._first == {}
    long = TokenInspector(wordpiece, text="🦖 " * 7000)  # 21,000 UTF-16 units, 14,000 code points
    assert set(first_of(long)) == {"tokens_of_long_text", "story"}
    lone = TokenInspector(wordpiece, text="a\ud800")
    assert first_of(lone)["tokens"]["with"]["text"] == "a\ufffd" == lone.get_state("text")["text"]


def test_numbers_of_numpy_are_numbers(wordpiece):
    assert len(TokenInspector(wordpiece, text="hug").analysis(numpy.int64(0))) == 3


def test_it_opens_with_a_token_chosen(wordpiece, letters):
    panel = TokenInspector(wordpiece, letters, text="we tokenize tokenizers")
    analysis = panel.analysis()
    words = [
        word for word, owner in zip(analysis.encoding.word_ids, analysis.sequences, strict=True) if owner is not None
    ]
    longest = max(dict.fromkeys(words), key=words.count)
    chosen = panel.selected[0]
    assert analysis.encoding.word_ids[chosen] == longest and analysis.encoding.word_ids[chosen + 1] != longest
    panel.text = "hug"
    assert panel.selected == [1] and panel.row == 0
    panel.selected = [0]
    panel.text = "we tokenize tokenizers"
    assert panel.selected == [0]  # what somebody chose stays
    panel.use(letters)
    assert panel.selected == [len("wetokenizetokenizers") - 1]
    assert TokenInspector(wordpiece, text="hug", selected=[]).selected == []
    assert TokenInspector(wordpiece, text="").selected == []


@pytest.mark.parametrize(
    ("text", "why"),
    [("so so Good", "case"), ("so  good", "spaces"), ("naïve Café", "normalised"), ("a 🦖 b", "lost"), ("so good", "")],
)
def test_a_tokenizer_that_lower_cases_is_no_alarm(wordpiece, text, why):
    assert TokenInspector(wordpiece, text=text).analysis().round_trip.why == why


@pytest.mark.parametrize("text", ["text", "The cat sat."])
def test_a_text_in_place_of_a_tokenizer(wordpiece, text, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotebookKitError) as caught:
        TokenInspector(wordpiece, text)
    assert "pass it by name, text=" in caught.value.next_step
