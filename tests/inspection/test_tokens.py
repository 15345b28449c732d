"""The analysis behind TokenInspector: whatever it says is what the backend does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

sys.path.append(str(Path(__file__).parents[1] / "processing"))
import vocabularies

from notebook_kit.errors import InputError
from notebook_kit.inspection.tokens import analysis as flags
from notebook_kit.inspection.tokens.analysis import Analysis
from notebook_kit.inspection.tokens.backend import Backend
from notebook_kit.inspection.tokens.compare import compare
from notebook_kit.inspection.tokens.graphemes import clusters, scripts
from notebook_kit.inspection.tokens.stages import Trace
from notebook_kit.inspection.tokens.story import story
from notebook_kit.processing.text.auto import AutoTokenizer

HARD = [
    "",
    "a",
    " ",
    "  \n\t x  ",
    "\r\n\r\n",
    "క్షమించు స్త్రీ నమస్కారం",
    "👨‍👩‍👧‍👦 🇮🇳 e\u0301 é",
    "中文字符 测试 龘䶵",
    "ﬁne Ｆｕｌｌ İstanbul ß ﷺ",
    "[MASK] x[CLS]y <s> </s><mask>!  [mask]",
    "<unk> [UNK] <0x41> ▁x ▁▁ x</w> ##ing Ġhello",
    "a" * 300,
    "\u200b\u00ad\ufeff x\x00\x01",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢",
    "don't 'll we've",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠜎 ٣٤٥ عربى ก็ทดสอบ",
    "<img src=x onerror=alert(1)></script>",
    "<|endoftext|>hi",
    "def f(x):\n    return x ** 2  # no",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, minilm, snippets):
    built: dict[str, Backend] = {}
    texts = [snippet.text for snippet in snippets[:2000]]

    def backend(name: str) -> Backend:
        if name not in built:
            folder = vocabularies.CHECKPOINTS[name](tmp_path_factory.mktemp(name), minilm, texts)
            built[name] = Backend(AutoTokenizer.from_pretrained(folder))
        return built[name]

    return backend


def replayed(analysis: Analysis) -> int:
    """Check the story of each piece; how many there were."""
    seen = set()
    for position in range(len(analysis)):
        piece = (analysis.encoding.word_ids[position], analysis.sequences[position])
        if piece not in seen:
            seen.add(piece)
            told = story(analysis, position)
            assert told.exact, (analysis.texts, position, told)
            json.dumps(told.stages)
    return len(seen)


@pytest.mark.parametrize("name", vocabularies.CHECKPOINTS)
def test_stories_end_in_what_encode_gives(checkpoint, snippets, name):
    backend = checkpoint(name)
    count = 0
    for text in [*HARD, *(snippet.text for snippet in snippets[2000:2060])]:
        analysis = Analysis(backend, text)
        count += replayed(analysis)
        assert len(analysis.records()) == len(analysis.ids) == sum(group.count for group in analysis.groups)
        json.dumps(analysis.totals())
    assert count > 150


@pytest.mark.parametrize("name", vocabularies.CHECKPOINTS)
def test_normalisation_is_aligned_with_the_text(checkpoint, name):
    backend = checkpoint(name)
    for text in HARD:
        trace = Trace(backend, text)
        if backend.tokenizer.normalizer is None:
            assert trace.chunks == []
            continue
        rest = "".join(text[start:end] for start, end in trace.segments)
        assert "".join(chunk.before for chunk in trace.chunks) == rest
        normalized = [backend.tokenizer.normalizer.normalize_str(text[start:end]) for start, end in trace.segments]
        assert "".join(chunk.after for chunk in trace.chunks) == "".join(normalized)


@pytest.mark.parametrize("name", ["gpt2", "roberta", "generic_bpe", "llama"])
def test_bytes_of_parts_are_the_bytes_of_the_text(checkpoint, name):
    backend = checkpoint(name)
    parts = 0
    for text in HARD:
        analysis = Analysis(backend, text)
        whole = text.encode()
        for position, flag in enumerate(analysis.flags):
            if not flag & flags.PART or (backend.parts["normalizer"] and "▁" in analysis.tokens[position]):
                continue
            start, end = analysis.byte_span(position)
            own = analysis.bytes_of(position)
            assert whole[start:end] in (own, own.lstrip(b" "))  # a space may have been put in before the text
            parts += 1
    assert parts > 20


def test_a_character_of_several_tokens_is_one_cluster(checkpoint):
    text = "క్ష 👩‍🔬 龘"
    analysis = Analysis(checkpoint("gpt2"), text)
    shown = [text[group.start : group.end].strip() for group in analysis.groups]
    assert [part for part in shown if part] == ["క్ష", "👩‍🔬", "龘"]
    assert analysis.graphemes == 5
    assert sum(group.count for group in analysis.groups) == len(analysis.ids) > 12


def test_clusters_follow_unicode():
    assert clusters("క్షమ").tolist() == [0, 0, 0, 1]
    assert clusters("🇮🇳🇮🇳").tolist() == [0, 0, 1, 1]
    assert clusters("\r\n").tolist() == [0, 0]
    assert clusters("").tolist() == []


def test_scripts_follow_unicode():
    text = "abకт漢あ 1🙂"
    names, index = scripts(text)
    expected = ["Latin", "Latin", "Telugu", "Cyrillic", "Han", "Hiragana", "Common", "Common", "Common"]
    assert [names[i] for i in index] == expected


def test_special_and_unknown_are_told_by_id_and_origin(checkpoint):
    analysis = Analysis(checkpoint("minilm"), "a [MASK] 🦖 [UNK]")
    by_token = dict(
        zip(
            [f"{t}@{s}" for t, (s, _) in zip(analysis.tokens, analysis.offsets, strict=True)],
            analysis.flags,
            strict=True,
        )
    )
    assert by_token["[MASK]@2"] == flags.SPECIAL | flags.ADDED
    assert by_token["[UNK]@9"] == flags.SPECIAL | flags.UNKNOWN
    assert by_token["[UNK]@11"] == flags.SPECIAL | flags.ADDED  # written by the reader, not met by the model
    assert analysis.flags[0] == analysis.flags[-1] == flags.SPECIAL | flags.INSERTED
    assert analysis.unknown == 1


def test_a_token_that_is_spelled_like_a_special_one_is_not_special():
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "[SEP]": 1, "<unk>": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert Analysis(Backend(tokenizer), "[SEP] <unk> x").flags == [0, 0, flags.UNKNOWN]


@pytest.mark.parametrize("side", ["right", "left"])
def test_truncation_cuts_where_the_tokenizer_cuts(minilm, side):
    text = "A quick brown fox jumps over the lazy dog, again and again and again."
    tokenizer = AutoTokenizer.from_pretrained(minilm, model_max_length=10, truncation_side=side)
    analysis = Analysis(Backend(tokenizer), text)
    kept = tokenizer(text, truncation=True, return_offsets_mapping=True)["offset_mapping"][1:-1]
    assert analysis.truncation.cuts == [(kept[0][0], kept[-1][1])]
    assert analysis.truncation.over == len(analysis.ids) - 10
    assert len(Analysis(Backend(tokenizer), text).ids) > 10, "nothing stays cut"
    pair = Analysis(Backend(tokenizer), text, "second")
    assert len(pair.truncation.cuts) == 2


def test_round_trip_says_where(checkpoint):
    assert Analysis(checkpoint("gpt2"), "Any text 🦖 at all\n").round_trip.ok
    lost = Analysis(checkpoint("minilm"), "so so Good").round_trip
    assert (lost.ok, lost.at, lost.before, lost.after) == (False, 6, "Good", "good")
    text = "Naïve Cafés: a 🦖 [MASK]"
    lost = Analysis(checkpoint("minilm"), text).round_trip
    place = text.index("🦖")
    assert (lost.why, lost.at, lost.before) == ("lost", place, text[place:]), (
        "not at the capital, accent or space before"
    )
    assert lost.after.startswith("[UNK]")
    second = Analysis(checkpoint("minilm"), "same", "Other").round_trip
    assert (second.ok, second.text, second.at) == (False, 1, 0)


def test_pairs_keep_their_own_offsets(checkpoint):
    analysis = Analysis(checkpoint("minilm"), "one", "two 中")
    assert analysis.tokens == ["[CLS]", "one", "[SEP]", "two", "中", "[SEP]"]
    assert [analysis.covered(i) for i in range(6)] == ["", "one", "", "two", "中", ""]
    assert [bool(flag & flags.SECOND) for flag in analysis.flags] == [False, False, False, True, True, False]
    assert story(analysis, 4).exact


def test_numbers_of_a_token(checkpoint):
    unigram = Analysis(checkpoint("generic_unigram"), "the film")
    record = next(record for record in unigram.records() if not record["inserted"])
    state = unigram.backend.model_state
    assert record["score"] == state["vocab"][record["id"]][1]
    assert sum(score > record["score"] for _, score in state["vocab"]) <= record["rank"]
    bpe = Analysis(checkpoint("gpt2"), "hello")
    left, right = bpe.backend.model_state["merges"][bpe.records()[0]["rank"]]
    assert left + right == "hello" and bpe.records()[0]["score"] is None


ODD = {
    "unknown is fused": {"unk_token": "<u>", "fuse_unk": True},
    "unknown is not fused": {"unk_token": "<u>"},
    "unknown is dropped": {},
    "bytes": {"unk_token": "<u>", "byte_fallback": True, "fuse_unk": True},
    "prefix": {"unk_token": "<u>", "continuing_subword_prefix": "#"},
    "suffix": {"unk_token": "<u>", "end_of_word_suffix": "~"},
    "whole": {"unk_token": "<u>", "ignore_merges": True},
}


@pytest.mark.parametrize("name", ODD)
@settings(deadline=None, max_examples=60)
@given(text=st.text("abcdé€ ", max_size=14))
def test_options_of_bpe(name, text):
    options = ODD[name]
    words = ["<u>", *"abc", "ab", "bc", "abc", "aab", "cab", *(f"<0x{b:02X}>" for b in (0xC3, 0xA9, 0xE2))]
    merges = [("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c")]
    if "continuing_subword_prefix" in options:
        words += ["#a", "#b", "#c", "#bc"]
        merges = [("#b", "#c"), ("a", "#b"), ("a", "#bc")]
    if "end_of_word_suffix" in options:
        words += ["a~", "b~", "c~", "bc~", "abc~"]
        merges += [("b", "c~"), ("a", "bc~")]
    tokenizer = Tokenizer(models.BPE({word: id for id, word in enumerate(words)}, merges, **options))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    replayed(Analysis(Backend(tokenizer), text))


@settings(deadline=None, max_examples=80)
@given(text=st.text("abcdé€ ", max_size=14), byte_fallback=st.booleans())
def test_options_of_unigram(text, byte_fallback):
    scores = {"<u>": 0.0, "a": -1.0, "b": -2.5, "ab": -3.5, "bc": -3.0, "abc": -4.0, "aab": -4.5, "c": -1.5}
    if byte_fallback:
        scores |= {f"<0x{b:02X}>": -9.0 for b in "é€".encode()}
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), 0, byte_fallback))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    replayed(Analysis(Backend(tokenizer), text))


@settings(deadline=None, max_examples=100)
@given(text=st.text(max_size=30) | st.text("aA[]MASK \u0301é", max_size=20))
def test_added_tokens_of_every_kind(text):
    tokenizer = Tokenizer(models.WordPiece({"?": 0, "a": 1, "##a": 2, "e": 3}, unk_token="?"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True), AddedToken("[A]", single_word=True)])
    tokenizer.add_tokens([AddedToken("[É]", normalized=True), AddedToken("ask", normalized=True, rstrip=True)])
    analysis = Analysis(Backend(tokenizer), text)
    replayed(analysis)
    found = [i for i, flag in enumerate(analysis.flags) if flag & flags.ADDED]
    assert len(found) == sum(id in analysis.backend.added for id in analysis.ids) == len(analysis.traces[0].added)


def test_merges_are_told_in_order():
    model = models.BPE(
        {c: i for i, c in enumerate(["h", "u", "g", "s", "ug", "hug", "gs"])}, [("u", "g"), ("g", "s"), ("h", "ug")]
    )
    told = story(Analysis(Backend(Tokenizer(model)), "hugs"), 0)
    assert told.stages["model"]["symbols"] == ["h", "u", "g", "s"]
    assert told.stages["model"]["merges"] == [[0, "u", "g", "ug", 1], [2, "h", "ug", "hug", 0]]


def test_a_long_piece_tells_only_what_made_the_token(checkpoint, snippets):
    analysis = Analysis(checkpoint("llama"), " ".join(snippet.text for snippet in snippets[:40]))
    middle = len(analysis.ids) // 2
    told = story(analysis, middle).stages["model"]
    assert not told["replayable"] and told["count"] > 500 > len(told["merges"])
    if told["merges"]:
        assert told["merges"][-1][3] == analysis.tokens[middle]


def test_dropout_is_left_out_and_said():
    model = models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], dropout=0.9)
    backend = Backend(Tokenizer(model))
    assert backend.notes == ["note_dropout"]
    assert all(Analysis(backend, "ab").tokens == ["ab"] for _ in range(20))
    assert model.dropout == pytest.approx(0.9), "the caller's tokenizer is left alone"


def test_the_callers_tokenizer_is_left_alone(minilm):
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    before = tokenizer.to_str()
    backend = Backend(tokenizer)
    assert backend.limit == 128
    assert len(Analysis(backend, "word " * 300).ids) == 302
    assert tokenizer.to_str() == before


def test_takes_a_transformers_tokenizer(minilm):
    from transformers import AutoTokenizer as OracleAutoTokenizer

    oracle = OracleAutoTokenizer.from_pretrained(str(minilm))
    text = "Token inspection [SEP] works 🦖"
    analysis = Analysis(Backend(oracle), text)
    assert analysis.ids == oracle(text)["input_ids"]
    assert analysis.backend.special_ids >= set(oracle.all_special_ids)


def test_what_has_no_backend_is_refused():
    with pytest.raises(InputError, match=r"A dict has no backend"):
        Backend({})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(object())
    with pytest.raises(InputError, match="cannot be inspected"):
        Backend(tokenizer)


def test_regions_cover_the_text_and_hold_all_tokens(checkpoint, snippets):
    texts = [text for text in HARD if text] + [snippet.text for snippet in snippets[:20]]
    for text in texts:
        left, right = Analysis(checkpoint("minilm"), text), Analysis(checkpoint("gpt2"), text)
        result = compare(left, right)
        assert "".join(text[region.start : region.end] for region in result.regions) == text
        for side, analysis in (("left", left), ("right", right)):
            held = [position for region in result.regions for position in getattr(region, side)]
            assert held == [
                i for i, (s, e) in enumerate(analysis.offsets) if analysis.sequences[i] is not None and s < e
            ]
        assert compare(left, left).agreement == 1.0


def test_a_hundred_thousand_characters(checkpoint):
    text = "Héllo wörld 中文 this is క్ష a text. " * 2900
    for name in ("minilm", "gpt2", "t5"):
        analysis = Analysis(checkpoint(name), text)
        totals = analysis.totals()
        assert totals["characters"] == len(text) > 99_000
        assert sum(script["tokens"] for script in totals["scripts"]) == totals["own"] - sum(
            s >= e for (s, e), owner in zip(analysis.offsets, analysis.sequences, strict=True) if owner is not None
        )
        assert story(analysis, len(analysis.ids) - 5).exact


def test_decoders_join_what_models_split():
    """GPT-2's spelling of bytes, against the backend's own decoder."""
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = "".join(map(chr, range(1, 300))) + "🦖"
    analysis = Analysis(Backend(tokenizer), text)
    assert b"".join(analysis.bytes_of(i) for i in range(len(analysis.ids))) == text.encode()
    assert analysis.round_trip.ok
