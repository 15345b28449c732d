"""`load_image`: from all that people have to an RGB image, and an error that names the input where that fails."""

from __future__ import annotations

import base64
import http.server
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from notebook_kit import load_image
from notebook_kit.errors import InputError, NotebookKitWarning
from notebook_kit.processing import fetching

GRADIENT = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(GRADIENT)


@pytest.fixture
def path(picture, tmp_path):
    picture.save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


FORMS = {
    "path": lambda path: path,
    "text": str,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "file": lambda path: io.BytesIO(path.read_bytes()),
    "base64": lambda path: base64.b64encode(path.read_bytes()).decode(),
    "base64 in lines": lambda path: base64.encodebytes(path.read_bytes()).decode(),
    "data URL": lambda path: f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}",
    "row with bytes": lambda path: {"bytes": path.read_bytes(), "path": "elsewhere.png"},
    "row with path": lambda path: {"bytes": None, "path": str(path)},
    "PIL": Image.open,
    "channels last": lambda path: GRADIENT,
    "channels first": lambda path: GRADIENT.transpose(2, 0, 1),
    "int64": lambda path: GRADIENT.astype(np.int64),
    "floats": lambda path: GRADIENT / 255,
    "float32": lambda path: (GRADIENT / 255).astype(np.float32),
    "whole floats": lambda path: GRADIENT.astype(np.float32),
    "16 bits": lambda path: GRADIENT.astype(np.uint16) * 257,
    "tensor": lambda path: torch.from_numpy(GRADIENT).permute(2, 0, 1),
    "tensor with gradient": lambda path: (torch.from_numpy(GRADIENT) / 255).requires_grad_(),
    "noncontiguous": lambda path: np.repeat(GRADIENT, 2, axis=0)[::2],
}


@pytest.mark.parametrize("form", FORMS)
def test_one_picture_in_every_form(form, path):
    loaded = load_image(FORMS[form](path))
    assert loaded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(loaded), GRADIENT)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F"])
def test_modes_are_those_of_the_oracle(mode, picture):
    from transformers.image_utils import load_image as oracle

    image = picture.convert("L").convert(mode) if mode in ("LA", "PA", "LAB", "I", "F") else picture.convert(mode)
    np.testing.assert_array_equal(np.asarray(load_image(image)), np.asarray(oracle(image)))


def test_fractions_of_a_picture_in_floats_are_rounded():
    """As `resize` leaves them in the mode F."""
    values = np.array([[0.0, 0.4], [99.6, 255.0]], np.float32)
    assert np.asarray(load_image(Image.fromarray(values)))[..., 0].tolist() == [[0, 0], [100, 255]]
    assert np.asarray(load_image(Image.fromarray(values / 255)))[1, 0].tolist() == [100] * 3
    for outside in (values - 1, values + 1):
        with pytest.raises(InputError, match="mode F has values from"):
            load_image(Image.fromarray(outside))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_with_transparency(kind, tmp_path):
    from transformers.image_utils import load_image as oracle

    image = Image.fromarray(GRADIENT).convert("P")
    image.save(tmp_path / "p", kind, transparency=3)
    np.testing.assert_array_equal(np.asarray(load_image(tmp_path / "p")), np.asarray(oracle(str(tmp_path / "p"))))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_cut_off(kind):
    values = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    loaded = load_image(encoded(Image.fromarray(values), kind))
    np.testing.assert_array_equal(np.asarray(loaded)[..., 1].ravel(), np.arange(256))


def test_a_dark_picture_of_sixteen_bits_stays_dark():
    loaded = load_image(encoded(Image.fromarray(np.full((4, 4), 200, np.uint16))))
    assert np.asarray(loaded).max() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_rotation_in_the_file_is_applied(orientation, picture, tmp_path):
    from transformers.image_utils import load_image as oracle

    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "phone.png", exif=exif)
    loaded = load_image(tmp_path / "phone.png")
    assert loaded.size == ((64, 48) if orientation < 5 else (48, 64))
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(oracle(str(tmp_path / "phone.png"))))
    with Image.open(tmp_path / "phone.png") as opened:
        np.testing.assert_array_equal(np.asarray(load_image(opened)), np.asarray(loaded))


def test_a_row_of_a_dataset(path):
    from datasets import Dataset
    from datasets import Image as ImageColumn

    rows = Dataset.from_dict({"image": [str(path)]})
    for decode in (True, False):
        value = rows.cast_column("image", ImageColumn(decode=decode))[0]["image"]
        np.testing.assert_array_equal(np.asarray(load_image(value)), GRADIENT)


def test_an_animation_gives_its_first_frame_with_a_warning(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "dance.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(NotebookKitWarning, match=r"dance\.gif' is an animation of 3 frames"):
        assert load_image(tmp_path / "dance.gif").getpixel((0, 0)) == (255, 0, 0)


# Faults: (input, words of the message)

FAULTS = {
    "missing file": ("there/is/none.png", "no file 'there/is/none.png'"),
    "bytes of text": (b"not an image", "image of 12 bytes cannot be read"),
    "empty bytes": (b"", "0 bytes"),
    "empty text": ("", "path of the image is an empty text"),
    "file opened as text": (io.StringIO("words"), "opened as text"),
    "other scheme": ("ftp://example.org/cat.png", "begins with 'ftp:'"),
    "local address": ("file:///etc/passwd", "begins with 'file:'"),
    "data URL without base64": ("data:image/png,abc", "without base64"),
    "data URL with rubbish": ("data:image/png;base64,@@@@", "not an image as base64"),
    "long text": ("x" * 10_000, "10,000 characters"),
    "long base64 of no image": (base64.b64encode(b"x" * 9_000).decode(), "characters"),
    "text with a null": ("cat\0.png", "base64"),
    "number": (7, "type int"),
    "none": (None, "type NoneType"),
    "list": ([1, 2], "type list"),
    "row without content": ({"bytes": None, "path": None}, "'bytes', 'path'"),
    "row of something else": ({"text": "hello"}, "'text'"),
    "row in a row": ({"bytes": {"bytes": b""}}, "'bytes' or 'path'"),
    "no pixels": (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
    "a vector": (np.zeros(4), r"\(4,\)"),
    "four dimensions": (np.zeros((1, 4, 4, 3)), r"\(1, 4, 4, 3\)"),
    "five channels": (np.zeros((8, 8, 5)), "no axis of 1, 3 or 4 channels"),
    "normalized": (np.linspace(-2, 2, 75).reshape(5, 5, 3), "from -2 to 2"),
    "too large": (np.full((4, 4, 3), 256), "256"),
    "not finite": (np.full((4, 4, 3), np.nan), "nan"),
    "text in an array": (np.full((4, 4, 3), "a"), "no numbers"),
    "complex numbers": (np.zeros((4, 4, 3), complex), "no numbers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_read_is_named(fault):
    value, words = FAULTS[fault]
    with pytest.raises(InputError, match=words) as caught:
        load_image(value)
    assert caught.value.next_step


def test_a_folder_and_a_misspelt_name(path):
    with pytest.raises(InputError, match="is a folder"):
        load_image(path.parent)
    with pytest.raises(InputError, match=r"Did you mean 'cat\.png'"):
        load_image(path.with_name("cot.png"))


@pytest.mark.parametrize(("ending", "advice"), [("heic", "register_heif_opener"), ("svg", "save it as PNG")])
def test_formats_that_pillow_does_not_read(ending, advice, tmp_path):
    (tmp_path / f"picture.{ending}").write_bytes(b"no format of Pillow")
    with pytest.raises(InputError, match="cannot be read as an image") as caught:
        load_image(tmp_path / f"picture.{ending}")
    assert advice in caught.value.next_step


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_truncated_and_damaged_files(kind, picture):
    whole = encoded(picture, kind)
    assert load_image(whole).size == (64, 48)
    rng = np.random.default_rng(0)
    for length in (4, 12, len(whole) // 2):
        with pytest.raises(InputError, match=f"image of {length:,} bytes cannot be read"):
            load_image(whole[:length])
    for _ in range(50):  # whatever is overwritten, the result is an image or our error
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 8):
            damaged[place] = rng.integers(0, 256)
        try:
            assert load_image(damaged).mode == "RGB"
        except InputError as error:
            assert f"{len(whole):,} bytes" in error.what


def test_a_truncated_file_that_was_opened_before(picture, tmp_path):
    whole = encoded(picture, "PNG")
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with Image.open(tmp_path / "half.png") as opened, pytest.raises(InputError, match=r"half\.png' cannot be read"):
        load_image(opened)


def test_a_decompression_bomb(monkeypatch, path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match=r"cat\.png' was not decoded.*3072 pixels"):
        load_image(path)


@pytest.mark.filterwarnings("error")
def test_a_large_image_is_read_with_a_notice(monkeypatch, path, caplog):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # Pillow warns up to twice the limit
    with ThreadPoolExecutor(4) as pool:
        assert {image.size for image in pool.map(load_image, [path] * 8)} == {(64, 48)}
    assert caplog.messages[0].endswith("cat.png' is large: 64 x 48 pixels. It is decoded whole, in 0 MiB.")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert load_image(path).size == (64, 48)
    assert len(caplog.messages) == 8


def test_an_image_without_pixels():
    with pytest.raises(InputError, match="no pixels: its size is 0 x 5"):
        load_image(Image.new("RGB", (0, 5)))


# Addresses


@pytest.fixture
def server(path):
    """Serves the picture, redirects, and misbehaves as asked; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            kind, _, rest = self.path[1:].partition("/")
            if kind == "redirect":
                self.send_response(302)
                self.send_header("Location", rest)
                self.end_headers()
            elif kind == "error":
                self.send_error(404)
            elif kind == "drip":
                self.send_response(200)
                self.end_headers()
                for _ in range(50):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.05)
            else:
                body = path.read_bytes()
                self.send_response(200)
                if kind != "endless":
                    self.send_header("Content-Length", str(len(body) + 10**9 * (kind == "huge") + (kind == "broken")))
                self.end_headers()
                self.wfile.write(body if kind != "endless" else b"x" * 200_000)

        def log_message(self, *_):
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()
    thread.join()


def test_an_address(server):
    np.testing.assert_array_equal(np.asarray(load_image(f"{server}/cat.png")), GRADIENT)
    np.testing.assert_array_equal(np.asarray(load_image(f"{server}/redirect/{server}/cat.png")), GRADIENT)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("error", "answered 404"),
        ("redirect/file:///etc/passwd", "leads to file:///etc/passwd"),
        ("redirect/ftp://example.org/cat.png", "leads to ftp:"),
        ("huge", "larger than 64 MiB"),
        ("broken", "connection broke"),
    ],
)
def test_addresses_that_fail(server, page, words):
    with pytest.raises(InputError, match=words) as caught:
        load_image(f"{server}/{page}")
    assert server in caught.value.what


def test_redirects_in_a_circle(server):
    with pytest.raises(InputError, match="was not downloaded"):
        load_image(f"{server}/redirect/{server}/redirect/a")


def test_limits_of_size_and_time(server):
    with pytest.raises(InputError, match="larger than 0 MiB"):
        fetching.fetch(f"{server}/endless", limit=100_000)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"longer than 0\.3 seconds"):
        load_image(f"{server}/drip", timeout=0.3)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("timeout", [0, -1, "soon", True, float("nan")])
def test_a_wrong_timeout(timeout):
    with pytest.raises(InputError, match="timeout is"):
        load_image("http://127.0.0.1:9/cat.png", timeout=timeout)


def test_nobody_answers():
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/cat\.png was not downloaded"):
        load_image("http://127.0.0.1:9/cat.png")
