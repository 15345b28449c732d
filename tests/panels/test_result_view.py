"""ResultView without a browser: forms of answers, what is sent to the page, the static face, and `pipe.show`."""

from __future__ import annotations

import io
import itertools
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from notebook_kit import pipeline
from notebook_kit.errors import InputError, NotebookKitWarning, PipelineInputError
from notebook_kit.inspection.drawing.answers import boxes_over_picture, colours_of, masks_over_picture
from notebook_kit.panels import ResultView, set_language, show
from notebook_kit.panels.panel import FACE_BYTES
from notebook_kit.pipelines import showing
from notebook_kit.zoo import sample

SCORES = [{"label": "cat", "score": 0.75}, {"label": "<b>dog</b>", "score": 0.2}, {"label": "$x$", "score": 0.05}]
FOUND = [
    {"score": 0.97, "label": "cat", "box": {"xmin": 10, "ymin": 20, "xmax": 60, "ymax": 70}},
    {"score": 0.61, "label": "dog", "box": {"xmin": -3, "ymin": 5, "xmax": 90, "ymax": 60}},
]
SENTENCE = "Ada lives in Rome."
ENTITIES = [
    {"entity_group": "PER", "score": 0.9, "word": "ada", "start": 0, "end": 3},
    {"entity_group": "LOC", "score": 0.6, "word": "rome", "start": 13, "end": 17},
]
ANSWER = {"score": 0.8, "start": 13, "end": 17, "answer": "Rome"}
ASKED = {"question": "Where does Ada live?", "context": SENTENCE}
WORDS = [
    {"score": 0.7, "token": 5, "token_str": " warm", "sequence": "A warm film"},
    {"score": 0.2, "token": 6, "token_str": " long", "sequence": "A long film"},
]


def picture(width=100, height=80):
    image = Image.new("RGB", (width, height), (200, 200, 200))
    ImageDraw.Draw(image).ellipse((20, 20, 60, 60), fill=(240, 120, 20))
    return image


def segments():
    left = np.zeros((80, 100), np.uint8)
    left[:, :40] = 255
    return [
        {"score": 0.9, "label": "sky", "mask": Image.fromarray(left)},
        {"score": None, "label": "sea", "mask": Image.fromarray(255 - left)},
    ]


def drawn(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB")).astype(int)


def html_of(view):
    return view._repr_mimebundle_()[0]["text/html"]


def item_of(view, index=0):
    """What came with the state for the page's first question."""
    return next(one for one in view._first["answers"] if one["ask"] == "item" and one["with"] == {"index": index})


def bytes_of(value):
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + bytes_of(entry) for key, entry in value.items())
    return sum(map(bytes_of, value)) if isinstance(value, list) else len(str(value))


def mask_from(packed, width, height):
    """What the page does with packed runs."""
    flat, place, inside, value, shift = np.zeros(width * height, bool), 0, False, 0, 0
    for byte in packed:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            flat[place : place + value] = inside
            place, inside, value, shift = place + value, not inside, 0, 0
    return flat.reshape(height, width)


# Forms of answers


def test_scores_as_bars():
    view = show(SCORES)
    assert repr(view) == "ResultView(3 scores: cat 0.750, <b>dog</b> 0.200, $x$ 0.050)"
    assert [bar.get_width() for bar in view.figure().axes[0].patches] == [0.75, 0.2, 0.05]
    page = html_of(view)
    assert "<td>cat</td><td>0.750</td>" in page
    assert "&lt;b&gt;dog" in page
    assert "<b>dog" not in page
    assert "data:image/png;base64," in page
    assert len(show(SCORES, picture()).figure().axes) == 2, "the image beside the bars"
    assert len(show({"label": "cat", "score": -2.5}, "A text.").figure().axes) == 1
    ranked = {"sequence": SENTENCE, "labels": ["town", "sport"], "scores": [0.9, 0.1]}
    answer = item_of(show(ranked, SENTENCE))["answer"]
    assert [(one["label"], one["score"]) for one in answer["things"]] == [("town", 0.9), ("sport", 0.1)]
    assert answer["text"] == SENTENCE


def test_boxes_over_the_image():
    view = show(FOUND, picture(3000, 2400))
    edges = [patch.get_bbox().bounds for patch in boxes_over_picture(FOUND, picture()).axes[0].patches]
    assert edges == [(-3, 5, 93, 55)] * 2 + [(10, 20, 50, 50)] * 2, "the best one is on top"
    assert [text.get_text() for text in view.figure().axes[0].texts] == ["dog 0.61", "cat 0.97"]
    assert "(10, 20) – (60, 70)" in html_of(view)
    assert 'alt="The image with boxes: cat 0.970, dog 0.610"' in html_of(view)
    sent = item_of(view)
    assert Image.open(io.BytesIO(sent["buffers"][0])).size == (1000, 800)
    cat, dog = (one["box"] for one in sent["answer"]["things"])
    assert cat == pytest.approx([10 / 3000, 20 / 2400, 60 / 3000, 70 / 2400])
    assert dog[0] == 0.0, "boxes end at the border"
    assert sent["answer"]["inks"] == ["#ffffff", "#000000"]


def test_masks_over_the_image():
    plain = Image.new("RGB", (100, 80), (200, 200, 200))
    figure = masks_over_picture(segments(), plain)
    pixels = drawn(figure)
    corners = pixels[5, 5], pixels[5, -5]
    assert not np.array_equal(*corners)
    assert all((abs(corner - 200) > 20).any() for corner in corners)
    assert [text.get_text() for text in figure.axes[0].texts] == ["sky 0.90", "sea"]
    view = show(segments(), plain)
    assert "<td>sky</td><td>0.900</td><td>40.0%</td>" in html_of(view)
    sent = item_of(view)
    first, second = sent["answer"]["lengths"]
    packed = sent["buffers"][1]
    assert len(packed) == first + second
    for start, length, one in ((0, first, segments()[0]), (first, second, segments()[1])):
        assert np.array_equal(mask_from(packed[start : start + length], 100, 80), np.asarray(one["mask"]) > 0)
    empty = [{"score": 0.5, "label": "sky", "mask": Image.new("L", (100, 80))}]
    assert len(masks_over_picture(empty, plain).axes[0].texts) == 0
    with pytest.raises(InputError, match="'sky' has 100 x 80 pixels, and the picture 50 x 50"):
        show(segments(), picture(50, 50))


def test_a_photograph_with_100_segments_is_at_most_1_mb():
    noise = np.random.default_rng(0)
    y, x = np.mgrid[:500, :1000]
    ragged = noise.integers(0, 2000, (500, 1000))
    found = []
    for i in range(100):
        row, column, radius = noise.integers(0, 500), noise.integers(0, 1000), noise.integers(30, 130)
        inside = (y - row) ** 2 + (x - column) ** 2 + ragged < radius**2
        found.append({"label": f"thing {i % 20}", "score": 0.5, "mask": Image.fromarray(inside.astype(np.uint8) * 255)})
    view = show(found, Image.fromarray(noise.integers(0, 256, (500, 1000, 3), dtype=np.uint8)))
    sent = item_of(view)
    assert len(sent["answer"]["lengths"]) == 100
    assert bytes_of(view.get_state()) < 1_000_000


def test_entities_in_the_text():
    view = show(ENTITIES, SENTENCE)
    assert item_of(view)["answer"]["parts"] == [["Ada", [0]], [" lives in ", []], ["Rome", [1]], [".", []]]
    assert "<td>Rome</td><td>LOC</td><td>0.600</td>" in html_of(view)
    assert SENTENCE in html_of(view)
    emoji = show([{**ENTITIES[0], "start": 2, "end": 5}], "🦖 Ada")  # characters, not UTF-16 units
    assert item_of(emoji)["answer"]["parts"] == [["🦖 ", []], ["Ada", [0]]]
    without = show([{"entity": "PER", "score": 0.9, "word": "ada", "start": None, "end": None}], SENTENCE)
    assert item_of(without)["answer"]["things"][0]["detail"] == "ada"
    assert repr(show([], SENTENCE)) == "ResultView(0 entities)"


def test_answers_in_the_context():
    view = show(ANSWER, ASKED)
    sent = item_of(view)["answer"]
    assert (sent["question"], sent["parts"][1]) == (ASKED["question"], ["Rome", [0]])
    assert "Where does Ada live?" in html_of(view)
    both = show([ANSWER, {"score": 0.1, "start": 0, "end": 17, "answer": SENTENCE[:17]}], ASKED)
    assert item_of(both)["answer"]["parts"][1] == ["Rome", [0, 1]]


def test_words_for_gaps():
    view = show(WORDS, "A [MASK] film")
    assert item_of(view)["answer"]["pieces"] == ["A ", " film"]
    assert "A  ____  film" in html_of(view)
    two = item_of(show([WORDS, WORDS[:1]], "A <mask> <mask>"))["answer"]
    assert [one["gap"] for one in two["things"]] == [0, 0, 1]
    assert len(two["pieces"]) == 3
    assert item_of(show(WORDS))["answer"]["things"][0]["sequence"] == "A warm film"


def test_texts_beside_their_source():
    view = show([{"summary_text": "Short."}], "A long text.")
    assert item_of(view)["answer"]["source"] == "A long text."
    assert "<td>A long text.</td><td>Short.</td>" in html_of(view)
    with pytest.raises(InputError, match="no figure"):
        view.figure()
    chat = [{"role": "user", "content": "Hello?"}]
    reply = [{"generated_text": [*chat, {"role": "assistant", "content": "Hello!"}]}]
    assert repr(show(reply, chat)) == "ResultView('Hello!')"


RATE = 16_000
SAID = {
    "text": "two words",
    "chunks": [{"text": "two", "timestamp": (0.2, 0.6)}, {"text": "words", "timestamp": (0.7, None)}],
}


def recording(seconds=1.0, rate=RATE):
    samples = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate).astype(np.float32)
    return {"array": samples, "sampling_rate": rate}


class Hears:
    """As much of a pipeline for sound as the view needs."""

    task, feature_extractor, image_processor = "automatic-speech-recognition", object(), None

    def __call__(self, inputs):
        assert inputs.pop("sampling_rate") == RATE
        return {"text": f"{len(inputs['array'])} samples"}


def test_speech_with_its_words():
    view = show(SAID, recording(rate=8000))
    assert repr(view) == "ResultView('two words')"
    sent = item_of(view)
    spans = [(one["label"], one["start"], one["end"]) for one in sent["answer"]["things"]]
    assert spans == [("two", 0.2, 0.6), ("words", 0.7, 1.0)], "the last word ends with the recording"
    assert (sent["answer"]["duration"], sent["answer"]["spaced"]) == (1.0, True)
    heat, wave = sent["buffers"]
    assert Image.open(io.BytesIO(heat)).size == (300, 240)  # 100 frames of 80 bands, enlarged
    low, high = np.frombuffer(wave, np.int8).reshape(2, 1000)
    assert low.min() < -55
    assert high.max() > 55
    (sound,) = (one for one in view._first["answers"] if one["ask"] == "sound")
    assert len(sound["buffers"][0]) == 2 * RATE
    assert "<td>0.20 – 0.60</td><td>two</td>" in html_of(view)
    assert "data:image/png" in html_of(view)
    assert [text.get_text() for text in view.figure().axes[1].texts] == ["two", "words"]
    spelled = {"text": "ab c", "chunks": [{"text": letter, "timestamp": (0, 1)} for letter in "ab c"]}
    assert item_of(show(spelled, recording()))["answer"]["spaced"] is False
    assert item_of(show({"text": "no sound"}))["answer"]["kind"] == "texts"


@pytest.mark.parametrize(("seconds", "least"), [(2, 3), (30, 30), (130, 30)])
def test_labels_are_spread_over_a_recording_without_overlaps(seconds, least):
    names = ["seven", "cats", "పిల్లి", "sat"]
    words = [{"text": names[i % 4], "timestamp": (i * 0.3, i * 0.3 + 0.25)} for i in range(int(seconds / 0.3))]
    view = show({"text": "", "chunks": words}, recording(seconds=seconds))
    figure = view.figure()
    heard = figure.axes[1]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in heard.texts]
    assert len(boxes) >= least
    frame = heard.get_window_extent()
    assert all(frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1 for box in boxes)
    assert not [one for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]
    middles = [(box.x0 + box.x1) / 2 for box in boxes]
    steps = np.diff([frame.x0, *sorted(middles), frame.x1])
    assert steps.max() < frame.width / 3, "no part of the recording is without labels"
    lines = sum(patch.get_width() > 0 for patch in heard.patches)
    assert lines == (len(boxes) if seconds == 2 else 0), "frames only where they are wide"
    assert len(html_of(view)) < FACE_BYTES


def test_a_long_sentence_is_shortened():
    said = {"text": "a", "chunks": [{"text": "so it goes on " * 40, "timestamp": (0, 20)}]}
    figure = show(said, recording(seconds=20)).figure()
    figure.draw_without_rendering()
    (text,) = figure.axes[1].texts
    assert text.get_text().startswith("so it goes on so")
    assert text.get_text().endswith("…")
    assert text.get_window_extent().width <= figure.axes[1].get_window_extent().width


def test_scores_of_a_recording(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "tone.wav", recording()["array"], RATE)
    for input in (
        recording(),
        str(tmp_path / "tone.wav"),
        {"path": str(tmp_path / "tone.wav"), "bytes": None},
        recording()["array"],
    ):
        answer = item_of(show(SCORES, input))["answer"]
        assert (answer["kind"], len(answer["things"])) == ("heard", 3)
    assert repr(show(SCORES[:2], recording())) == "ResultView(2 scores: cat 0.750, <b>dog</b> 0.200)"


def test_a_long_recording_is_played_in_windows(tmp_path):
    view = show(SAID, recording(seconds=100))
    assert {one["ask"] for one in view._first["answers"]} == {"item"}
    assert bytes_of(view.get_state()) < 300_000
    assert [len(view.answer_sound({"index": 0, "window": i}).buffers[0]) for i in range(3)] == [
        60 * RATE * 2,
        40 * RATE * 2,
        0,
    ]
    page = view.to_html(tmp_path / "sound.html").read_text("utf-8")
    assert page.count('"ask": "sound"') == 2


def test_what_the_microphone_heard_goes_to_the_pipeline():
    view = ResultView(None, pipeline=Hears())
    assert (repr(view), view.visible, view._about["records"]) == ("ResultView(a microphone)", [], True)
    assert "Press Record" in html_of(view)
    for count in (1, 2):
        view.answer_record({}, [np.full(RATE, 16384, "<i2").tobytes()])
        assert (view.result, view.index, view._about["count"]) == ({"text": "16000 samples"}, count - 1, count)
    assert view.input["array"][0] == 0.5
    assert item_of(view, 1)["answer"]["text"] == "16000 samples"
    assert ResultView(SAID, recording())._about["records"] is False


def test_vectors_as_a_heat_map():
    for vectors in ([[[0.5, -1.0], [2.0, float("nan")]]], torch.ones(1, 3, 1000)):
        view = show(vectors, "text")
        assert Image.open(io.BytesIO(item_of(view)["buffers"][0])).mode in ("P", "RGB")
        assert "data:image/png" in html_of(view)
    assert item_of(view)["answer"]["facts"] == {
        "rows": 3,
        "columns": 1000,
        "least": "1.000",
        "mean": "1.000",
        "most": "1.000",
    }
    assert item_of(view)["answer"]["shown"] == [3, 512]


@pytest.mark.parametrize("result", ["cat", [1, "a"], [{"label": "cat"}], {"a": 1}, [[]], None])
def test_what_is_not_an_answer(result):
    with pytest.raises(InputError, match="is not an answer that show can draw"):
        show(result)


@pytest.mark.parametrize("part", [{"box": 5}, {"box": {"xmin": 1}}, {"mask": 5}, {"score": "high"}])
def test_answers_with_a_damaged_part(part):
    with pytest.raises(InputError, match="is not an answer that show can draw"):
        show([{"label": "cat", "score": 0.5} | part], Image.new("RGB", (8, 8)))


def test_boxes_need_their_image():
    with pytest.raises(InputError, match="The boxes belong to an image"):
        show(FOUND)


# The panel


def test_narrowing_leaves_the_result_alone():
    view = show(FOUND, picture())
    assert view.visible == FOUND
    view.threshold = 0.7
    assert view.visible == FOUND[:1]
    view.hidden = ["cat"]
    assert view.visible == []
    assert view.result is FOUND
    assert show(segments(), picture()).visible == segments()


def test_several_answers_one_at_a_time():
    view = show([FOUND, FOUND[:1], []], [picture(), picture(), picture()])
    assert repr(view) == "ResultView(3 results)"
    assert [len(item_of(view, i)["answer"]["things"]) for i in range(3)] == [2, 1, 0]
    view.selected = 1
    view.index = 2
    assert (view.selected, view.visible) == (None, [])
    assert "Nothing was found" in html_of(view)
    assert "3 of 3" in html_of(view)
    with pytest.raises(InputError, match="no result 3"):
        view.index = 3
    with pytest.raises(InputError, match="There are 2 answers, but 1 inputs"):
        show([FOUND, FOUND], [picture()])


def test_many_pictures_are_asked_for_when_they_are_looked_at(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    view = show([FOUND] * 8, [noise] * 8)
    first = {one["with"]["index"] for one in view._first["answers"]}
    assert 0 in first
    assert 7 not in first
    assert bytes_of(view.get_state()) < 1_000_000
    assert len(view.answer_item({"index": 7}).buffers) == 1
    page = view.to_html(tmp_path / "result.html").read_text("utf-8")
    assert page.count('"ask": "item"') == 8


def test_large_pictures_stay_small_in_a_notebook():
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    page = html_of(show(FOUND, noise))
    assert "data:image/jpeg;base64," in page
    assert len(page) < FACE_BYTES


def test_in_telugu(tmp_path):
    set_language("te")
    try:
        assert "<th>లేబుల్</th>" in html_of(show(FOUND, picture()))
    finally:
        set_language("en")


def test_colours():
    assert len(set(colours_of([str(i) for i in range(24)]).values())) == 24


# pipe.show


@pytest.fixture
def installed(monkeypatch):
    """The entry points of the views, as a list that starts with the one of pyproject.toml."""
    points = [EntryPoint("result_view", "notebook_kit.panels:ResultView", showing.VIEW_GROUP)]
    monkeypatch.setattr(showing, "entry_points", lambda group: points if group == showing.VIEW_GROUP else [])
    return points


@pytest.fixture(scope="module")
def classify():
    return pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")


def test_a_pipeline_shows_what_it_answers(installed, classify):
    view = classify.show("A warm and funny film.")
    assert isinstance(view, ResultView)
    assert view.result == classify("A warm and funny film.")
    assert item_of(view)["answer"]["text"] == "A warm and funny film."
    both = classify.show(("Warm.", "Dull."), top_k=None)
    assert [one["answer"]["text"] for one in both._first["answers"]] == ["Warm.", "Dull."]
    assert repr(classify.show(["Warm."])).startswith("ResultView(1 score: POSITIVE")
    pair = classify.show("Warm.", text_pair="Dull.")
    assert item_of(pair)["answer"]["text"] == "Warm.\nDull."
    with pytest.raises(InputError, match="a stream"):
        classify.show(text for text in ["Warm."])


def test_an_image_from_a_file_object_is_read_once(installed):
    detect, path = pipeline("object-detection", model="notebook-kit/tiny-detection"), sample("scene_1.webp")
    with open(path, "rb") as file:
        view = detect.show(file)
    assert item_of(view)["answer"]["kind"] == "boxes"
    assert view.result == detect(path) != []
    assert item_of(detect.show([path, picture(50, 60)]), 1)["answer"]["size"] == [50, 60]
    failed = detect.show([path, "no_such_file.png"], on_error="return")
    assert isinstance(failed.result[1], PipelineInputError)
    failed.index = 1
    assert "no_such_file.png" in html_of(failed)


def test_an_embedded_segmenter(installed):
    view = pipeline("image-segmentation", model="notebook-kit/tiny-segmentation").show(sample("scene_1.webp"))
    sent = item_of(view)
    assert len(sent["answer"]["things"]) == len(view.result) > 2
    first = mask_from(sent["buffers"][1][: sent["answer"]["lengths"][0]], 256, 256)
    assert np.array_equal(first, np.asarray(view.result[0]["mask"]) > 127)


def test_the_inputs_among_the_arguments_of_a_call():
    from notebook_kit import QuestionAnsweringPipeline, TokenClassificationPipeline, ZeroShotClassificationPipeline

    asks = object.__new__(QuestionAnsweringPipeline)
    assert asks.inputs_of_call(ASKED["question"], SENTENCE) == asks.inputs_of_call(**ASKED) == ASKED
    assert asks.inputs_of_call([ASKED, ASKED]) == [ASKED, ASKED]
    assert object.__new__(ZeroShotClassificationPipeline).inputs_of_call(sequences="a") == "a"
    tags = object.__new__(TokenClassificationPipeline)
    tags.options = {"is_split_into_words": True}
    assert tags.inputs_of_call(["Ada", "lives"]) == ["Ada lives"]


def test_a_pipeline_for_sound_offers_the_microphone(installed):
    from notebook_kit import Pipeline

    class Hears(Pipeline):
        task = "hears"

    view = Hears(torch.nn.Linear(1, 1), feature_extractor=object()).show()
    assert repr(view) == "ResultView(a microphone)"


def test_a_display_that_fails_does_not_end_the_run(installed, classify, monkeypatch):
    odd = {"unheard": ["of"]}
    view = ResultView(odd, "text", pipeline=classify)
    assert item_of(view)["answer"]["kind"] == "plain"
    assert "is not an answer" in item_of(view)["answer"]["problem"]["what"]
    assert view.result is odd
    assert "unheard" in html_of(view)
    gone = ResultView([FOUND, FOUND], [picture(), "gone.png"])
    gone.index = 1
    assert "gone.png" in html_of(gone)

    def broken(result, inputs, *, pipeline):
        raise OSError("no screen")

    monkeypatch.setattr(EntryPoint, "load", lambda self: broken)
    with pytest.warns(NotebookKitWarning, match="no screen"):
        assert classify.show("Warm.")[0]["label"] == "POSITIVE"
    installed.clear()
    with pytest.warns(NotebookKitWarning, match="reinstall"):
        assert classify.show("Warm.")[0]["label"] == "POSITIVE"


def test_arguments_in_the_other_order():
    scores = [{"label": "cat", "score": 0.5}, {"label": "dog", "score": 0.5}]
    for picture in (Image.new("RGB", (8, 8)), Path("cat.jpg"), "cat.jpg"):
        with pytest.raises(InputError, match="where show expects an answer") as caught:
            show(picture, scores)
        assert "show(answer, input)" in caught.value.next_step
    with pytest.raises(InputError, match="There is 1 answer, but 2 inputs"):
        show({"label": "cat", "score": 0.5}, ["cat.jpg", "dog.jpg"])


def test_a_pipeline_in_the_place_of_an_answer():
    classify = pipeline("image-classification", model="zoo")
    with pytest.raises(InputError, match="is a pipeline, where show expects its answer") as caught:
        show(classify, Image.new("RGB", (8, 8)))
    assert "pipe.show(input)" in caught.value.next_step
