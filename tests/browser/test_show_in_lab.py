"""ResultView in a real JupyterLab: what pipelines answer about pictures and texts."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ALL_HAVE_RUN, SHOTS, set_theme, shot
from PIL import Image
from test_training_dashboard_in_lab import reloaded

pytestmark = pytest.mark.usefixtures("tall")

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="result_view"]'
AXE = '.jp-NotebookPanel:not(.lm-mod-hidden) .nk-panel[data-panel="result_view"]'

PICTURES = """
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image
from notebook_kit.panels import show
temple, flower = (Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg"))
def box(*sides): return dict(zip(("xmin", "ymin", "xmax", "ymax"), sides))
found = [
    {"label": "temple", "score": 0.982, "box": box(140, 95, 510, 290)},
    {"label": "roof", "score": 0.871, "box": box(215, 90, 440, 190)},
    {"label": "person", "score": 0.744, "box": box(52, 348, 76, 410)},
    {"label": "person", "score": 0.613, "box": box(478, 345, 498, 402)},
    {"label": "<b>tree</b>", "score": 0.402, "box": box(530, 20, 640, 330)},
]"""
BOXES = "boxes = show([found, found[:2]], [temple, flower])\nboxes"
MASKS = """
rows, columns = np.mgrid[:427, :640]
sky = rows < 95 + 25 * np.sin(columns / 60)
temple_part = (abs(columns - 325) < 185) & (rows > 95) & (rows < 290) & ~sky
ground = rows > 300 + 8 * np.cos(columns / 40)
def mask(inside): return Image.fromarray((inside * 255).astype("uint8"))
parts = [
    {"label": "sky", "score": 0.99, "mask": mask(sky)},
    {"label": "temple", "score": 0.95, "mask": mask(temple_part)},
    {"label": "ground", "score": 0.88, "mask": mask(ground)},
    {"label": "wood", "score": None, "mask": mask(~(sky | temple_part | ground))},
]
show(parts, temple)"""
SCORES = """
show([{"label": "dahlia", "score": 0.871}, {"label": "sunflower", "score": 0.092}, {"label": "daisy", "score": 0.021},
      {"label": "rose", "score": 0.011}, {"label": "bee", "score": 0.005}], flower)"""
DETECTED = """
from notebook_kit import pipeline
from notebook_kit.zoo import sample
detect = pipeline("object-detection", model="notebook-kit/tiny-detection")
detected = detect.show([sample(f"scene_{i}.webp") for i in (1, 2, 3)])
detected"""
TEXTS = """
from notebook_kit.panels import show
sentence = "Ada Lovelace worked with Charles Babbage in London on the Analytical Engine."
def span(label, score, words):
    start = sentence.index(words)
    return {"entity_group": label, "score": score, "word": words.lower(), "start": start, "end": start + len(words)}
tagged = [span("PER", 0.99, "Ada Lovelace"), span("PER", 0.97, "Charles Babbage"), span("LOC", 0.93, "London"),
          span("MISC", 0.62, "Analytical Engine")]
entities = show(tagged, sentence)
entities"""
ANSWERS = """
context = "The library was opened in 1887. It burned in 1923 and was rebuilt two years later, in 1925, with 40,000 books."
def answer(words, score):
    start = context.index(words)
    return {"score": score, "start": start, "end": start + len(words), "answer": words}
show([answer("1925", 0.71), answer("two years later, in 1925", 0.17), answer("1923", 0.06)],
     {"question": "When was the library rebuilt?", "context": context})"""
GAPS = """
def word(token, score): return {"token": 1, "token_str": token, "score": score, "sequence": f"The film was {token} and long."}
show([word("warm", 0.62), word("dull", 0.21), word("funny", 0.09), word("grey", 0.02)], "The film was [MASK] and long.")"""
WRITTEN = """
source = "The tool reads tables from files of many formats, finds columns with mixed types, and repairs them where it can. " * 3
show([{"summary_text": "Reads tables of many formats and repairs mixed columns."}], source)"""
PIPES = """
from notebook_kit import pipeline
classify = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
classify.show(["A warm and funny film.", "Dull, grey and far too long."], top_k=None)"""
VECTORS = (
    'pipeline("feature-extraction", model="notebook-kit/tiny-sentiment").show("A warm and funny film that I liked.")'
)

SOUND = """
import numpy as np
from notebook_kit.panels import ResultView, show
at = np.arange(12 * 16_000) / 16_000
voiced = np.sin(2 * np.pi * 0.6 * at) > -0.2
samples = (0.4 * voiced * sum(np.sin(2 * np.pi * 170 * k * at * (1 + 0.02 * np.sin(9 * at))) / k for k in range(1, 12))).astype("float32")
recording = {"array": samples, "sampling_rate": 16_000}
words = [("please", 0.2, 2.5), ("open", 2.7, 4.4), ("the", 4.8, 5.4), ("second", 5.9, 9.1), ("door", 9.4, 11.8)]
show({"text": "please open the second door",
      "chunks": [{"text": text, "timestamp": (start, end)} for text, start, end in words]}, recording)"""
HEARD = """
show([{"label": "open", "score": 0.81}, {"label": "close", "score": 0.12}, {"label": "stop", "score": 0.04}], recording)"""
MICROPHONE = """
class Hears:
    task, feature_extractor, image_processor = "automatic-speech-recognition", object(), None
    def __call__(self, inputs):
        return {"text": f"{len(inputs['array']) / inputs['sampling_rate'] > 0.5} and {abs(inputs['array']).max() > 0.01}"}
microphone = ResultView(None, pipeline=Hears())
microphone"""


SEGMENTS = """
show({"text": " One, two. Three.", "chunks": [{"text": " One, two.", "timestamp": (0.0, 6.0)},
                                             {"text": " Three.", "timestamp": (6.0, 12.0)}]}, recording)"""


def panel_of(page, number):
    return page.locator(PANEL).nth(number)


def python(page, source):
    """What `print` of an expression gives in the kernel."""
    return page.evaluate(
        """async source => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            let shown = '';
            const future = kernel.requestExecute({code: `print(${source})`});
            future.onIOPub = message => { shown += message.content.text ?? (message.content.evalue ?? ''); };
            await future.done;
            return shown.trim();
        }""",
        source,
    )


def test_pictures(notebook, expect, accessible):
    page = notebook([PICTURES, BOXES, MASKS, SCORES, DETECTED])
    boxes, masks, detected = panel_of(page, 0), panel_of(page, 1), panel_of(page, 3)
    expect(page.locator(PANEL)).to_have_count(4)
    # What an embedded detector finds.
    count = int(python(page, "len(detected.result[0])"))
    assert count >= 2
    expect(detected.locator(".nk-rv-box:visible")).to_have_count(count)
    shot(detected, "show_detected")
    # The pointer and the list light the same thing.
    frame = boxes.locator(".nk-rv-picture")
    size = frame.bounding_box()
    frame.hover(position={"x": 0.5 * size["width"], "y": 0.35 * size["height"]})
    expect(boxes.locator(".nk-rv-box.nk-rv-lit")).to_have_text("roof 0.87")
    expect(boxes.locator(".nk-rv-thing.nk-rv-lit")).to_contain_text("roof")
    frame.click(position={"x": 0.5 * size["width"], "y": 0.35 * size["height"]})
    assert python(page, "boxes.selected") == "1"
    boxes.locator(".nk-rv-thing", has_text="person").first.hover()
    expect(boxes.locator(".nk-rv-box.nk-rv-lit")).to_have_text("person 0.74")
    shot(boxes, "show_boxes_lit")
    # Threshold, classes and the next input; also from Python.
    slider = boxes.get_by_role("slider")
    slider.fill("0.7")
    expect(boxes.locator(".nk-rv-status")).to_have_text("3 of 5 shown")
    boxes.get_by_role("checkbox", name="temple").uncheck()
    expect(boxes.locator(".nk-rv-box:visible")).to_have_count(2)
    page.wait_for_timeout(300)
    assert python(page, "[one['label'] for one in boxes.visible], boxes.hidden") == "['roof', 'person'] ['temple']"
    page.evaluate("() => document.activeElement.blur()")
    python(page, "boxes.set_trait('hidden', []), boxes.set_trait('threshold', 0.0)")
    expect(boxes.locator(".nk-rv-box:visible")).to_have_count(5)
    boxes.get_by_role("button", name="Next input").click()
    expect(boxes.locator(".nk-rv-box:visible")).to_have_count(2)
    expect(boxes.locator(".nk-rv-place")).to_have_text("2 of 2")
    # The keyboard.
    boxes.locator(".nk-rv-thing").first.focus()
    page.keyboard.press("ArrowDown")
    expect(boxes.locator(".nk-rv-box.nk-rv-lit")).to_have_text("roof 0.87")
    page.keyboard.press("Enter")
    expect(boxes.locator(".nk-rv-thing").nth(1)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(boxes.locator(".nk-rv-thing").nth(1)).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("PageUp")
    expect(boxes.locator(".nk-rv-place")).to_have_text("1 of 2")
    # Segments: the tip names the one under the pointer.
    frame = masks.locator(".nk-rv-picture")
    size = frame.bounding_box()
    frame.hover(position={"x": 0.5 * size["width"], "y": 0.5 * size["height"]})
    expect(masks.locator(".nk-rv-tip")).to_have_text("temple · 0.95 · 25.2%")
    expect(masks.locator(".nk-rv-thing.nk-rv-lit")).to_contain_text("temple")
    shot(masks, "show_masks_lit")
    masks.get_by_role("checkbox", name="temple").uncheck()
    frame.hover(position={"x": 0.5 * size["width"], "y": 0.51 * size["height"]})
    expect(masks.locator(".nk-rv-tip")).to_be_hidden()
    masks.get_by_role("checkbox", name="temple").check()
    # Files.
    for kind in ("SVG", "PNG"):
        with page.expect_download() as caught:
            masks.get_by_role("button", name=f"Save {kind}").click()
        saved = SHOTS / f"show_saved.{kind.lower()}"
        caught.value.save_as(saved)
        assert b"<image" in saved.read_bytes() if kind == "SVG" else Image.open(saved).size[0] > 700
    accessible(page, AXE)
    set_theme(page, dark=True)
    accessible(page, AXE)
    panels = ((boxes, "boxes"), (masks, "masks"), (panel_of(page, 2), "scores"))
    for panel, name in panels[:2]:
        shot(panel, f"show_{name}_dark")
    set_theme(page, dark=False)
    for panel, name in panels:
        shot(panel, f"show_{name}")
    for panel, name in panels[::2]:
        panel.evaluate("element => { element.style.width = '330px'; }")
        assert panel.evaluate("element => element.scrollWidth <= element.clientWidth")
        shot(panel, f"show_{name}_narrow")


def test_a_file_works_without_a_kernel(chromium, expect, tmp_path):
    from notebook_kit.panels import show

    picture = Image.new("RGB", (400, 300), (90, 140, 190))
    found = [{"label": "sky", "score": 0.9, "box": {"xmin": 20, "ymin": 40, "xmax": 200, "ymax": 200}}]
    context = chromium.new_context()
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(show([found, found], [picture, picture]).to_html(tmp_path / "found.html").as_uri())
    page.get_by_role("button", name="Next input").click()
    expect(page.locator(".nk-rv-place")).to_have_text("2 of 2")
    expect(page.locator(".nk-rv-box")).to_have_text("sky 0.90")
    recording = {"array": np.zeros(20 * 16_000, np.float32), "sampling_rate": 16_000}
    page.goto(show({"text": "silence"}, recording).to_html(tmp_path / "said.html").as_uri())
    page.get_by_role("slider").press("End")
    page.get_by_role("slider").press("ArrowLeft")
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "0:20.0")
    assert page.locator(".nk-error:visible").count() == 0
    assert not faults
    context.close()


def test_texts_while_another_cell_runs_and_after_a_reload(notebook, lab, expect, accessible, tmp_path):
    ended = tmp_path / "ended"
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(ended)!r}).exists(): time.sleep(0.05)"
    page = notebook([TEXTS, ANSWERS, GAPS, WRITTEN, PIPES, VECTORS, waiting], run=False)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    expect(page.locator(PANEL)).to_have_count(6, timeout=90_000)
    entities = panel_of(page, 0)
    expect(entities.locator(".nk-rv-mark")).to_have_count(4)
    assert page.locator(".nk-panel .nk-busy:visible").count() == 0
    entities.get_by_role("slider").fill("0.9")
    expect(entities.locator(".nk-rv-mark")).to_have_count(3)
    panel_of(page, 4).get_by_role("button", name="Next input").click()
    expect(panel_of(page, 4).locator(".nk-rv-text")).to_have_text("Dull, grey and far too long.")
    panel_of(page, 1).locator(".nk-rv-thing", has_text="two years later").hover()
    expect(panel_of(page, 1).locator(".nk-rv-mark.nk-rv-lit").first).to_contain_text("two years later")
    panel_of(page, 2).locator(".nk-rv-thing", has_text="funny").hover()
    expect(panel_of(page, 2).locator(".nk-rv-slot")).to_have_text("funny")
    assert page.locator(".jp-InputPrompt", has_text="[*]").count() == 1, "the cell is still running"
    shot(entities, "show_entities_busy")
    ended.touch()
    page.wait_for_function(ALL_HAVE_RUN, timeout=60_000)
    assert python(page, "entities.threshold, len(entities.visible)") == "0.9 3"
    names = ("entities", "answers", "gaps", "texts", "pipe", "vectors")
    for n, name in enumerate(names):
        shot(panel_of(page, n), f"show_{name}")
    accessible(page, AXE)
    python(page, "__import__('notebook_kit.panels').panels.set_language('te')")
    entities.get_by_role("button", name="ఈ ప్యానెల్‌ను ఎలా చదవాలి").click()
    expect(entities.locator(".nk-rv-status")).to_have_text("4లో 3 కనిపిస్తున్నాయి")
    shot(entities, "show_entities_telugu")
    reloaded(page, lab)
    expect(panel_of(page, 0).locator(".nk-rv-mark")).to_have_count(3, timeout=90_000)
    expect(panel_of(page, 4).locator(".nk-rv-text")).to_have_text("Dull, grey and far too long.")
    shot(panel_of(page, 0), "show_entities_reloaded")


NO_OVERLAP = """ticks => {
    const places = [...ticks.children].map(one => one.getBoundingClientRect());
    return places.length >= 2 && places.every((one, i) => !i || places[i - 1].right < one.left);
}"""


def test_sound(notebook, expect, accessible):
    page = notebook([SOUND, HEARD, MICROPHONE, SEGMENTS])
    speech, heard, microphone, segments = (panel_of(page, n) for n in range(4))
    expect(page.locator(PANEL)).to_have_count(4)
    # Whisper's segments begin with a space, which is between them and not on the buttons.
    said = segments.locator(".nk-rv-said").evaluate("said => [said.textContent, said.firstElementChild.textContent]")
    assert said == ["One, two. Three.", "One, two."]
    # Pointing at a word marks its time; a click plays from there, and the word that is heard is lit.
    speech.locator(".nk-rv-word", has_text="second").hover()
    expect(speech.locator(".nk-rv-band")).to_be_visible()
    shot(speech, "show_speech_lit")
    speech.locator(".nk-rv-word", has_text="the").click()
    page.mouse.move(0, 0)
    expect(speech.locator(".nk-rv-word.nk-rv-lit")).to_have_text("second")
    shot(speech, "show_speech_playing")
    speech.get_by_role("button", name="Stop").click()
    expect(speech.get_by_role("button", name="Play")).to_be_visible()
    for time in speech.locator(".nk-rv-ticks span").all():  # none is cut off at the end
        assert time.evaluate(
            "one => one.getBoundingClientRect().right <= one.parentElement.getBoundingClientRect().right + 1"
        )
    track = speech.get_by_role("slider")
    size = track.bounding_box()
    track.click(position={"x": 0.5 * size["width"], "y": 80})
    expect(speech.get_by_role("button", name="Stop")).to_be_visible()
    assert 6 <= float(track.get_attribute("aria-valuenow")) < 12
    track.focus()
    page.keyboard.press(" ")
    expect(speech.get_by_role("button", name="Play")).to_be_visible()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    expect(track).to_have_attribute("aria-valuetext", "0:11.0")
    page.keyboard.press(" ")
    expect(track).to_have_attribute("aria-valuetext", "0:12.0")
    expect(speech.get_by_role("button", name="Play")).to_be_visible()  # it has ended by itself
    # The microphone.
    expect(microphone.locator(".nk-rv-main")).to_contain_text("Press Record")
    microphone.get_by_role("button", name="Record").click()
    expect(microphone.get_by_role("button", name="Stop (1 s)")).to_be_visible()
    microphone.get_by_role("button", name="Stop").click()
    expect(microphone.locator(".nk-rv-marked")).to_have_text("True and True")
    assert python(page, "microphone.result, len(microphone.input['array']) > 8000") == "{'text': 'True and True'} True"
    panels = ((speech, "speech"), (heard, "heard"), (microphone, "microphone"))
    accessible(page, AXE)
    for panel, name in panels:
        shot(panel, f"show_{name}")
    set_theme(page, dark=True)
    accessible(page, AXE)
    for panel, name in panels:
        shot(panel, f"show_{name}_dark")
    speech.evaluate("element => { element.style.width = '330px'; }")
    assert speech.evaluate("element => element.scrollWidth <= element.clientWidth")
    shot(speech, "show_speech_narrow")
    # Narrower still: the times below do not cover each other, and of each label enough is left to tell them apart.
    for width in (330, 240, 150):
        speech.evaluate("(element, width) => { element.style.width = `${width}px`; }", width)
        page.wait_for_function(NO_OVERLAP, arg=speech.locator(".nk-rv-ticks").element_handle())
    shot(speech, "show_speech_narrowest")
    assert speech.locator(".nk-rv-word").first.evaluate("word => getComputedStyle(word).textAlign") == "start"
    heard.evaluate("element => { element.style.width = '192px'; }")
    page.wait_for_function("label => label.clientWidth > 45", arg=heard.locator(".nk-rv-label").first.element_handle())
    shot(heard, "show_heard_narrowest")
