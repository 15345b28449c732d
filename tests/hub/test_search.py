"""One search over the zoo, the cache and the Hub; details, cards, and deleting from the cache."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin_hub import StandInHub

from notebook_kit.errors import GatedRepoError, HubUnreachableError, InputError, NotebookKitError, RepoNotFoundError
from notebook_kit.hub import cached_models
from notebook_kit.hub.card import LONGEST_SUMMARY, parse_card
from notebook_kit.hub.catalog import FoundModel, from_hub, local_models, planned_files
from notebook_kit.hub.client import Client, DownloadStopped, metered, patiently
from notebook_kit.hub.details import delete_cached, model_details
from notebook_kit.hub.search import SORTS, Query, Search, search_models
from notebook_kit.hub.source import locate

pytestmark = pytest.mark.usefixtures("one_in_the_zoo")
CONFIG = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}


def files(config=None, weights=b"w" * 2000, card="# A model", **more):
    return {
        "config.json": json.dumps(CONFIG if config is None else config),
        "model.safetensors": weights,
        "tokenizer.json": "{}",
        "README.md": card,
    } | more


@pytest.fixture
def stocked(hub):
    """A Hub with models of every kind."""
    for number, (name, task, licence, language, parameters, downloads) in enumerate(
        [
            ("big/english", "fill-mask", "mit", "en", 5_000_000, 900),
            ("mid/telugu", "fill-mask", "apache-2.0", ["te", "hi"], 1_000_000, 500),
            ("low/labels", "text-classification", "mit", "en", 10_000, 700),
        ]
    ):
        hub.add(name, files())
        hub.describe(
            name,
            pipeline_tag=task,
            downloads=downloads,
            likes=10 - number,
            lastModified=f"2026-0{number + 1}-03T00:00:00.000Z",
            cardData={"license": licence, "language": language},
            safetensors={"parameters": {"F32": parameters}, "total": parameters},
        )
    hub.add("odd/mamba", files({"model_type": "mamba"}))
    hub.add("odd/code", files({"model_type": "own", "auto_map": {"AutoModel": "own.py"}}))
    hub.add("odd/gguf", {"config.json": json.dumps(CONFIG), "weights.gguf": b"x"})
    hub.add("odd/vision", files())
    hub.describe("odd/vision", pipeline_tag="image-to-video")
    hub.add("odd/silent", {"model.safetensors": b"x"})
    return hub


def ids(search):
    return [model.id for model in search if model.source != "zoo"]


def test_the_hub_searches_filters_and_sorts(stocked):
    assert ids(search_models("english")) == ["big/english"]
    assert ids(search_models(task="fill-mask")) == ["big/english", "mid/telugu"]
    assert ids(search_models(language="te")) == ["mid/telugu"]
    assert ids(search_models(licence="mit", sort="date")) == ["low/labels", "big/english"]
    assert ids(search_models())[:3] == ["big/english", "low/labels", "mid/telugu"]
    assert ids(search_models(sort="likes"))[:3] == ["big/english", "mid/telugu", "low/labels"]
    assert ids(search_models(sort="date"))[:3] == ["low/labels", "mid/telugu", "big/english"]
    assert ids(search_models("nothing like it")) == []


def test_rows_say_what_the_hub_says(stocked):
    found = {model.id: model for model in search_models()}
    model = found["mid/telugu"]
    assert (model.task, model.model_type, model.licence, model.languages) == (
        "fill-mask",
        "bert",
        "apache-2.0",
        ("te", "hi"),
    )
    assert (model.parameters, model.fetch_bytes, model.is_exact) == (1_000_000, 4_000_000, False)
    assert (model.downloads, model.likes, model.date, model.gated) == (500, 9, "2026-02-03", False)
    assert model.memory(2) == 2_000_000 and model.is_supported and model.why == ""
    obstacles = {name: model.obstacle for name, model in found.items() if name.startswith("odd/")}
    assert obstacles == {
        "odd/mamba": "architecture",
        "odd/code": "remote_code",
        "odd/gguf": "no_weights",
        "odd/vision": "task",
        "odd/silent": "unsaid",
    }
    assert "mamba" in found["odd/mamba"].why and "image-to-video" in found["odd/vision"].why


def test_only_what_runs_here_and_is_small_enough(stocked, monkeypatch):
    monkeypatch.setattr("notebook_kit.hub.search.free_memory", lambda: {"cpu": 5_000_000})
    assert ids(search_models(runs_here=True)) == ["low/labels", "mid/telugu"]  # 5 M weights need 20 MB
    assert "big/english" not in ids(search_models(max_bytes=10_000_000))
    assert "mid/telugu" in ids(search_models(max_bytes=10_000_000))
    monkeypatch.setattr("notebook_kit.hub.search.free_memory", dict)
    assert "big/english" in ids(search_models(runs_here=True))  # who knows


def test_pages_come_when_they_are_wanted(hub):
    for number in range(200):
        hub.add(f"many/model-{number:03}", {})
        hub.describe(f"many/model-{number:03}", downloads=1000 - number)
    search = Search(Query())
    assert [model.source for model in search.models] == ["zoo"] and not hub.requests
    assert len(search.more()) == 60 and hub.paths().count("/api/models") == 2  # a sign of life, and a page
    assert len(search.more()) == 60 and hub.paths().count("/api/models") == 3
    assert not search.is_done
    everything = ids(search)
    assert everything == [f"many/model-{number:03}" for number in range(200)] and search.is_done
    assert len(set(everything)) == 200 and search.more() == []


def test_a_scan_for_a_rare_model_ends_now_and_then(hub):
    for number in range(300):
        hub.add(f"many/model-{number:03}", files({"model_type": "mamba"}) if number != 250 else files())
        hub.describe(f"many/model-{number:03}", downloads=1000 - number)
    search = Search(Query(runs_here=True))
    assert search.more(longest_scan=120) == [] and search.scanned == 120 and not search.is_done
    assert ids(search) == ["many/model-250"]


def test_cached_models_are_found_once_with_the_counts_of_the_hub(stocked, cache):
    source = locate("mid/telugu")
    for name in ("config.json", "model.safetensors", "README.md"):
        source.require(name)
    search = search_models("telugu")
    assert [(model.id, model.source, model.downloads) for model in search.models] == [("mid/telugu", "cache", None)]
    assert search.more() == []
    (model,) = search.models
    assert (model.downloads, model.task, model.fetch_bytes, model.licence) == (500, "fill-mask", 0, "apache-2.0")
    assert model.cached_bytes == sum(len(files()[name]) for name in ("config.json", "model.safetensors", "README.md"))
    # Its card is silent about languages, but the Hub knows.
    found = search_models(language="te")
    assert [(model.id, model.source) for model in found] == [("mid/telugu", "cache")]


def test_offline_there_is_what_is_here(stocked, monkeypatch):
    locate("low/labels").require("config.json")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(stocked.requests)
    search = search_models()
    assert [model.source for model in search] == ["zoo", "cache"] and len(stocked.requests) == asked
    assert "HF_HUB_OFFLINE" in search.problem.what


def test_no_network_is_noticed_soon(cache):
    started = time.monotonic()
    search = search_models()
    assert [model.source for model in search] == ["zoo"]
    assert isinstance(search.problem, HubUnreachableError) and "127.0.0.1:9" in search.problem.what
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 500}, "answered 500"),
        ({"status": 429}, "429"),
        ({"status": 200, "body": b"<html>Sign in</html>"}, "not a Hub"),
        ({"status": 200, "body": b'{"error": 1}'}, "not a Hub"),
        ({"status": 404}, "not a Hub"),
    ],
)
def test_a_hub_in_trouble_is_named(stocked, fault, words):
    stocked.fault("/api/models", times=None, **fault)
    search = search_models()
    assert [model.source for model in search] == ["zoo"] and words in search.problem.what, search.problem
    stocked.faults.clear()
    assert "big/english" in ids(search_models())


@pytest.mark.parametrize(
    "body", [b"[1, 2]", b'[{"no": "id"}]', b'[{"id": "a/b", "lastModified": "soon"}]', b'{"a": 1}']
)
def test_garbage_in_a_page_is_named(stocked, body):
    search = search_models()
    stocked.fault("/api/models", times=1, status=200, body=b"[]")  # the sign of life
    stocked.fault("/api/models", times=None, status=200, body=body)
    assert [model.source for model in search] == ["zoo"] and isinstance(search.problem, NotebookKitError)


def test_odd_values_of_a_listing_do_no_harm():
    from huggingface_hub import ModelInfo

    odd = ModelInfo(
        id="a/b",
        tags=[1, None, "license:mit"],
        pipeline_tag=3,
        config="text",
        downloads=-1,
        likes="many",
        siblings=None,
    )
    model = from_hub(odd)
    assert (model.task, model.licence, model.downloads, model.likes, model.obstacle) == (
        "",
        "mit",
        None,
        None,
        "no_weights",
    )


def test_waiting_can_be_given_up(stocked):
    class Given(Exception):
        pass

    def check():
        raise Given

    stocked.fault("/api/models", delay=3.0, times=None)
    search = Search(Query())
    started = time.monotonic()
    with pytest.raises(Given):
        search.more(check=check)
    assert time.monotonic() - started < 8 and search.is_done
    with pytest.raises(TimeoutError):
        patiently(lambda: time.monotonic() and __import__("threading").Event().wait(5), seconds=0.2)


@given(
    sort=st.sampled_from(SORTS),
    models=st.lists(st.tuples(st.text("abAB/", max_size=4), st.one_of(st.none(), st.integers(0, 99)))),
)
def test_orders_are_orders(sort, models):
    search = Search.__new__(Search)
    search.query = Query(sort=sort)
    search.models = [FoundModel(name, "hub", fetch_bytes=size) for name, size in models]
    places = search.ordered()
    assert sorted(places) == list(range(len(models)))
    if sort == "name":
        names = [search.models[place].id.rpartition("/")[2].lower() for place in places]
        assert names == sorted(names)
    elif sort == "size":
        sizes = [search.models[place].size or float("inf") for place in places]
        assert sizes == sorted(sizes)
    else:
        assert places == list(range(len(models)))


def test_an_unknown_order_names_the_known_ones():
    with pytest.raises(InputError, match="download"):
        search_models(sort="download")


# What loading would fetch ------------------------------------------------------------------------------------------


def test_one_kind_of_weights_and_of_vocabulary_is_planned():
    both = [
        "model.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
        "vocab.txt",
        "tokenizer.json",
        "onnx/model.onnx",
        "config.json",
    ]
    assert planned_files(both) == ["config.json", "tokenizer.json", "model.safetensors"]
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    assert planned_files([*shards, "model.safetensors.index.json", "pytorch_model.bin", "vocab.json", "merges.txt"]) == [
        "vocab.json", "merges.txt", "model.safetensors.index.json", *shards,
    ]  # fmt: skip
    assert planned_files(["spiece.model", "pytorch_model.bin"]) == ["spiece.model", "pytorch_model.bin"]


def test_the_plan_is_what_loading_fetches(hub, minilm):
    """`planned_files` speaks for code elsewhere: the two must not drift apart."""
    from notebook_kit.pipelines import pipeline

    hub.add("real/minilm", minilm)
    hub.add(
        "real/minilm",
        {"tf_model.h5": b"x", "pytorch_model.bin": b"x", "README.md": "---\npipeline_tag: feature-extraction\n---\n"},
    )
    hub.requests.clear()
    pipeline(model="real/minilm")
    names = {path.rpartition("/")[2] for path in hub.paths() if "/resolve/" in path}
    assert names <= set(planned_files(hub.files("real/minilm")))
    assert "model.safetensors" in names and "pytorch_model.bin" not in names
    assert sum(len(hub.files("real/minilm")[name]) for name in names) == model_details("real/minilm").model.cached_bytes


# Details -----------------------------------------------------------------------------------------------------------


def test_details_of_a_model_on_the_hub_leave_the_cache_alone(hub, cache):
    card = "---\nlicense: mit\n---\n# Labels\n\nSays *which* of <b>two</b>."
    config = {**CONFIG, "id2label": {"1": "NO", "0": "YES", "10": "MAYBE"}}
    hub.add("owner/labels", files(config, card=card, **{"pytorch_model.bin": b"y" * 9000}))
    details = model_details("owner/labels")
    assert details.labels == ("YES", "NO", "MAYBE") and details.summary == "Labels\n\nSays which of two."
    assert dict(details.files)["model.safetensors"] == 2000 and "pytorch_model.bin" not in dict(details.files)
    assert details.model.fetch_bytes == sum(size for _, size in details.files) and details.model.is_exact
    assert details.problem is None and cached_models() == [] and not (cache / "models--owner--labels").exists()


def test_details_count_what_is_cached(hub):
    hub.add("owner/part", files())
    locate("owner/part").require("config.json")
    model = model_details("owner/part").model
    assert model.source == "cache" and model.cached_bytes == len(files()["config.json"])
    assert model.fetch_bytes == sum(len(files()[name]) for name in ("model.safetensors", "tokenizer.json", "README.md"))
    hub.fault("/api/models/", status=500, times=None)
    details = model_details("owner/part")
    assert "500" in details.problem.what and details.config == CONFIG


def test_details_of_gated_and_vanished_models(hub):
    hub.add("owner/gated", files(), gated=True)
    details = model_details("owner/gated")
    assert details.model.gated and isinstance(details.problem, GatedRepoError) and details.model.fetch_bytes
    with pytest.raises(RepoNotFoundError):
        model_details("owner/gone")


def test_local_details_need_no_network(cache):
    details = model_details("notebook-kit/tiny-sentiment")
    assert details.model.source == "zoo" and details.model.parameters == 3_942_146 and "POSITIVE" in details.summary


# Cards -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("---\nlicense: mit\nlanguage:\n- en\n- te\n---\nText", {"license": "mit", "language": ["en", "te"]}),
        ("\ufeff---\r\nlicense: mit\r\n---\r\nText", {"license": "mit"}),
        ("---\n: [\n---\nText", {}),
        ("---\n- a\n- b\n---\nText", {}),
        ("---\na: !!python/object/apply:os.system ['true']\n---\nText", {}),
        ("---\n" + "[" * 5000 + "\n---\nText", {}),
        ("Text\n---\nlicense: mit\n---\n", {}),
    ],
)
def test_front_matter(content, values):
    card = parse_card(content)
    assert card.values == values and "Text" in card.text


def test_summaries_are_plain_and_short():
    card = parse_card(
        "<!-- hidden --><script>alert(1)</script># Title\n\n![logo](x.png) **Bold** and `code` and [link](a(b)c).\n\n"
        "```python\nprint('no')\n```\n\n| a | b |\n|---|---|\n\n> quote &lt;img src=x onerror=alert(1)&gt;\n"
    )
    assert card.summary == "Title\n\nBold and code and link.\n\nquote <img src=x onerror=alert(1)>"
    long = parse_card("A sentence. " * 1000).summary
    assert len(long) <= LONGEST_SUMMARY + 2 and long.endswith("sentence. …")


@given(st.text("#*_`[]()!<>&|-\n ab\"'", max_size=400))
def test_any_card_has_a_summary(text):
    assert len(parse_card(text).summary) <= LONGEST_SUMMARY + 2


# Downloads that report, and the way back ----------------------------------------------------------------------------


def test_downloads_report_and_can_be_stopped(hub, cache):
    weights = bytes(range(256)) * 400_000  # 102 MB: more than one chunk of the client's
    hub.add("owner/large", files(weights=weights))
    source, counts = locate("owner/large"), []

    def stop(count):
        counts.append(count)
        if sum(counts) > 10_000_000:
            raise DownloadStopped("Stopped.")

    with metered(stop), pytest.raises(DownloadStopped):
        source.find("model.safetensors")
    blobs = cache / "models--owner--large" / "blobs"
    assert not [path for path in blobs.rglob("*") if path.is_file() and path.stat().st_size > 0]
    counts.clear()
    with metered(counts.append):
        assert source.find("model.safetensors").read_bytes() == weights
    assert sum(counts) == len(weights)


def test_a_model_is_deleted_from_the_cache(hub, cache):
    hub.add("owner/one", files())
    hub.add("owner/two", files())
    for name in ("owner/one", "owner/two"):
        locate(name).require("model.safetensors")
    hub.add("owner/one", {"config.json": json.dumps({**CONFIG, "x": 1})})
    locate("owner/one", force_download=True).require("model.safetensors")
    assert len(local_models()) == 3
    assert delete_cached("owner/one") >= 2000
    assert cached_models() == ["owner/two"]
    with pytest.raises(InputError, match="owner/two"):
        delete_cached("owner/tow")


def test_a_planted_token_is_in_no_message(stocked, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted_secret")
    for fault in (
        {"status": 500},
        {"status": 401, "headers": {"X-Error-Message": "Invalid credentials"}},
        {"status": 403},
    ):
        stocked.faults.clear()
        stocked.fault("/api/models", times=None, **fault)
        search = search_models()
        search.more()
        assert "planted" not in str(search.problem) and search.problem is not None
        with pytest.raises(NotebookKitError) as raised:
            model_details("big/english")
        assert "planted" not in str(raised.value)
    assert "hf_planted_secret" in {request.token for request in stocked.requests}
    assert "planted" not in repr(Client("", "hf_planted_secret")) + repr(search_models(token="hf_planted_secret"))


def test_the_token_stays_at_its_server(stocked, monkeypatch):
    """A listing that continues elsewhere, and a redirect to elsewhere, must not take the token there."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with StandInHub() as other:
        elsewhere = {
            "Link": f'<{other.endpoint}/api/models?cursor=MA==>; rel="next"',
            "Content-Type": "application/json",
        }
        fault = stocked.fault("/api/models", status=200, body=b"[]", headers=elsewhere, times=None)
        search = search_models("english")
        list(search)
        assert "continues its list of models at 127.0.0.1" in str(search.problem) and other.requests == []
        fault.status, fault.headers, fault.body = 307, {"Location": f"{other.endpoint}/api/models"}, b""
        list(search_models("english"))
    assert {request.token for request in stocked.requests} == {"hf_secret"}
    assert {request.token for request in other.requests} <= {None}
