"""`load_audio`: from all that people have to samples at one rate, and an error that names the input where that fails."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import io
import logging
import os
import shutil
import stat
import sys
import threading
import types
import wave

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from support import skip_or_fail

from notebook_kit import load_audio
from notebook_kit.errors import InputError, MissingDependencyError
from notebook_kit.processing.audio import samples as audio_samples
from notebook_kit.processing.audio.loading import is_one
from notebook_kit.processing.audio.samples import is_silent

RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def encoded(samples=TONE, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


class Decoder:
    """As torchcodec's AudioDecoder, which `datasets` 4 and 5 return."""

    def __init__(self, data, rate):
        self.data, self.rate = data, rate

    def get_all_samples(self):
        return types.SimpleNamespace(data=torch.from_numpy(np.atleast_2d(self.data)), sample_rate=self.rate)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tone.wav"
    path.write_bytes(encoded(subtype="FLOAT"))
    return path


def at_its_end(file):
    """As after writing into it."""
    file.seek(0, io.SEEK_END)
    return file


FORMS = {
    "path": lambda path: path,
    "text": str,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "file": lambda path: io.BytesIO(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "file at its end": lambda path: at_its_end(io.BytesIO(path.read_bytes())),
    "data URL": lambda path: f"data:audio/wav;base64,{base64.b64encode(path.read_bytes()).decode()}",
    "row with bytes": lambda path: {"bytes": path.read_bytes(), "path": "elsewhere.wav"},
    "row with path": lambda path: {"bytes": None, "path": str(path)},
    "row of datasets 3": lambda path: {
        "path": "elsewhere.wav",
        "array": TONE.astype(np.float64),
        "sampling_rate": RATE,
    },
    "raw": lambda path: {"raw": TONE, "sampling_rate": RATE},
    "decoder": lambda path: Decoder(TONE, RATE),
    "array": lambda path: TONE,
    "tensor": lambda path: torch.from_numpy(TONE).requires_grad_(),
    "list": lambda path: TONE.tolist(),
    "one channel": lambda path: TONE[None],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form, path):
    value = FORMS[form](path)
    assert is_one(value)
    loaded = load_audio(value, RATE)
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, TONE, atol=1e-6)


def test_an_address(path):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=path.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        np.testing.assert_array_equal(load_audio(f"http://127.0.0.1:{server.server_port}/tone.wav"), TONE)
        with pytest.raises(InputError, match="404"):
            load_audio(f"http://127.0.0.1:{server.server_port}/none.wav")
        server.shutdown()


SUBTYPES = [
    *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("AU", "ULAW")),
]


@pytest.mark.parametrize(("kind", "subtype"), SUBTYPES)
def test_every_format(kind, subtype):
    exact = {"PCM_U8": 2**-7, "ULAW": 0.03, "ALAW": 0.03, "VORBIS": 0.1, "MPEG_LAYER_III": 0.1}.get(subtype, 1e-4)
    loaded = load_audio(encoded(kind=kind, subtype=subtype), RATE)
    assert len(loaded) == len(TONE)
    assert np.abs(loaded - TONE)[1000:-1000].max() < exact


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "float16", "float64"])
def test_every_type_of_array(dtype):
    kind = np.dtype(dtype)
    scale, shift = {"u": (128, 128), "i": (2 ** (8 * min(kind.itemsize, 4) - 1), 0), "f": (1, 0)}[kind.kind]
    scaled = (TONE.astype(np.float64) * (2**15 if dtype == "int64" else scale) + shift).astype(kind)
    np.testing.assert_allclose(load_audio(scaled), TONE, atol=2**-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_every_rate_is_resampled(rate, tmp_path):
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.float32)
    path = tmp_path / "tone.wav"
    path.write_bytes(encoded(tone, rate, subtype="FLOAT"))
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    for value, options in ((path, {}), (tone, {"input_rate": rate}), ({"array": tone, "sampling_rate": rate}, {})):
        loaded = load_audio(value, RATE, **options)
        assert abs(len(loaded) - 2 * RATE) <= 1
        assert np.abs(loaded[500 : 2 * RATE - 500] - expected[500 : 2 * RATE - 500]).max() < 1e-3
    assert len(load_audio(path, None)) == 2 * rate


def test_channels_are_averaged_with_one_notice(caplog):
    audio_samples.mention_channels.cache_clear()
    stereo = np.stack([TONE, np.zeros_like(TONE)])
    with caplog.at_level(logging.WARNING):
        for value in (
            stereo,
            stereo.T,
            torch.from_numpy(stereo),
            Decoder(stereo, RATE),
            encoded(stereo.T, subtype="FLOAT"),
        ):
            np.testing.assert_allclose(load_audio(value, RATE), TONE / 2, atol=1e-6)
    assert caplog.text.count("several channels") == 1
    np.testing.assert_allclose(load_audio(np.stack([TONE] * 6)), TONE, atol=1e-6)


def test_a_long_file_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("notebook_kit.processing.audio.decoding._BLOCK", 1000)
    path = tmp_path / "tone.wav"
    path.write_bytes(encoded(np.stack([TONE, TONE], axis=1), 44_100, subtype="FLOAT"))
    in_blocks = load_audio(path, RATE)
    monkeypatch.undo()
    np.testing.assert_allclose(in_blocks, load_audio(path, RATE), atol=1e-6)


def test_a_file_in_which_nothing_can_be_sought():
    """GSM 6.10, as telephone systems record it."""
    rate = 8_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.float32)
    content = encoded(tone, rate, subtype="GSM610")
    loaded = load_audio(content, rate)
    assert abs(len(loaded) - len(tone)) < 320  # whole blocks
    assert np.corrcoef(loaded[: len(tone)], tone[: len(loaded)])[0, 1] > 0.98
    with pytest.raises(InputError, match="truncated"):
        load_audio(content[: len(content) // 2], rate)


def test_a_damaged_file_prints_no_traceback(capfd):
    """libsndfile asks for a place before the beginning, from a callback in which an error cannot be caught."""
    whole = encoded(kind="AIFF")
    for place in range(12, 60, 2):
        damaged = bytearray(whole)
        damaged[place : place + 4] = b"\xff\xff\xff\x7f"
        with contextlib.suppress(InputError):
            load_audio(bytes(damaged), RATE)
    assert "Traceback" not in capfd.readouterr().err


def with_rate(rate: int) -> bytes:
    content = bytearray(encoded())
    content[24:28] = rate.to_bytes(4, "little")
    return bytes(content)


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


FAULTS = {
    "no bytes": (b"", "0 bytes"),
    "no samples": (encoded(np.zeros(0)), "empty"),
    "empty array": (np.zeros(0), "empty"),
    "two channels without samples": (np.zeros((2, 0)), "empty"),
    "samples without channels": (np.zeros((9, 0)), "empty"),
    "list in a list": ([[]], "empty"),
    "file without bytes": (io.BytesIO(), "empty"),
    "NaN": (np.array([0.0, np.nan, 0.5]), "1 of its 3 samples are NaN or infinite"),
    "infinite": (np.array([0.0, np.inf]), "NaN or infinite"),
    "integers as floats": (TONE * 32768, "floats are expected from -1 to 1"),
    "0 Hz": ({"array": TONE, "sampling_rate": 0}, "is 0; expected a number"),
    "text as rate": ({"array": TONE, "sampling_rate": "fast"}, "'fast'"),
    "NaN Hz": ({"array": TONE, "sampling_rate": float("nan")}, "nan"),
    "no rate": ({"array": TONE}, "'sampling_rate'; the latter is missing"),
    "None as rate": ({"raw": TONE, "sampling_rate": None}, "the latter is missing or None"),
    "0 Hz in a file": (with_rate(0), "sampling rate"),
    "wrong rate in a file": (with_rate(3), "is 3; expected"),
    "too high a rate": (with_rate(2**30), "expected a number from 100"),
    "picture": (picture(), "a PNG picture"),
    "web page": (b"<!DOCTYPE html><html></html>", "a web page"),
    "truncated": (encoded()[:5000], "truncated"),
    "truncated FLAC": (encoded(kind="FLAC")[:3000], "truncated or damaged: not all that its header states"),
    "truncated Ogg": (encoded(kind="OGG")[:3000], "truncated: its last page has"),
    "almost complete Ogg": (encoded(kind="OGG")[:-1], "truncated: its last page has"),
    "Ogg cut in the header of a page": (encoded(kind="OGG")[:20], "truncated: its last page has 20 of"),
    "truncated MP3": (encoded(kind="MP3")[:1500], "truncated"),
    "damaged header": (b"RIFF" + encoded()[4:12] + b"\xff" * 400, "cannot be read as sound"),
    "no such file": ("tome.wav", "There is no file"),
    "folder": (".", "is a folder"),
    "number": (3.5, "type float"),
    "complex numbers": (TONE.astype(complex), "holds complex numbers"),
    "letters": (np.array(["a", "b"]), "holds no samples"),
    "ragged": ([[0.0, 1.0], [0.5]], "differ in length"),
    "three axes": (np.zeros((2, 3, 4)), "not one recording"),
    "spectrogram": (np.zeros((80, 3000)), "not one recording"),
    "row of a table": ({"text": "hello"}, "the keys here are 'text'"),
    "empty text": ("", "path of the recording is an empty text"),
    "bytes opened as text": (io.TextIOWrapper(io.BytesIO(encoded()), "utf-8"), "opened as text"),
    "text file": (io.StringIO("words"), "opened as text"),
    "wrong scheme": ("ftp://example.org/a.wav", "'ftp:'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault, tmp_path):
    value, words = FAULTS[fault]
    with pytest.raises(InputError, match=words):
        load_audio(value, RATE)
    if isinstance(value, bytes) and value:
        path = tmp_path / "talk.wav"
        path.write_bytes(value)
        with pytest.raises(InputError, match=rf"talk\.wav'.*{words}|sampling rate of .*talk\.wav"):
            load_audio(path, RATE)


def test_a_stream_without_a_size_is_whole():
    """Programs that write a WAV file to a pipe cannot state its size."""
    content = bytearray(encoded(subtype="PCM_16"))
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    np.testing.assert_allclose(load_audio(bytes(content)), TONE, atol=1e-4)


def test_a_file_of_the_standard_library(tmp_path):
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((TONE * 32767).astype("<i2").tobytes())
    np.testing.assert_allclose(load_audio(tmp_path / "tone.wav"), TONE, atol=1e-4)


def test_silence_and_clipping(caplog):
    assert is_silent(load_audio(np.zeros(100))) and is_silent(load_audio(np.full(100, 0.25)))
    assert not is_silent(TONE)
    with caplog.at_level(logging.WARNING):
        load_audio(TONE)
        assert not caplog.text
        load_audio(np.clip(TONE * 20, -1, 1))
    assert "is clipped" in caplog.text


OTHER_FORMAT = b"\x1aE\xdf\xa3" + b"webm" * 20


def program(folder, body: str) -> None:
    """A stand-in for ffmpeg in a folder."""
    path = folder / "ffmpeg"
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_other_formats_are_read_by_ffmpeg(tmp_path, monkeypatch):
    (tmp_path / "sound.wav").write_bytes(encoded())
    body = (
        f"import shutil\nassert 'pcm_f32le' in sys.argv\nshutil.copy({str(tmp_path / 'sound.wav')!r}, sys.argv[-1][5:])"
    )
    program(tmp_path, body)
    monkeypatch.setenv("PATH", str(tmp_path))
    np.testing.assert_allclose(load_audio(OTHER_FORMAT), TONE, atol=1e-4)
    program(tmp_path, "sys.exit('moov atom not found')")
    with pytest.raises(InputError, match="moov atom not found"):
        load_audio(OTHER_FORMAT)


def test_without_ffmpeg_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("notebook_kit.processing.audio.decoding.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="apt-get install ffmpeg"):
        load_audio(OTHER_FORMAT)


def test_without_ffmpeg_torchcodec_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("notebook_kit.processing.audio.decoding.find_spec", lambda name: name)
    decoders = types.ModuleType("torchcodec.decoders")
    decoders.AudioDecoder = lambda content: Decoder(TONE, RATE)
    monkeypatch.setitem(sys.modules, "torchcodec", types.ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    np.testing.assert_array_equal(load_audio(OTHER_FORMAT), TONE)


@pytest.mark.parametrize("ending", ["m4a", "webm", "mp4"])
def test_ffmpeg_itself(ending, path):
    if shutil.which("ffmpeg") is None:
        skip_or_fail("ffmpeg is not installed")
    target = path.with_suffix(f".{ending}")
    assert os.system(f"ffmpeg -loglevel error -i {path} {target}") == 0
    loaded = load_audio(target)
    assert abs(len(loaded) - RATE) < 2000 and 0.4 < np.abs(loaded).max() < 0.6
    np.testing.assert_array_equal(load_audio(target.read_bytes()), loaded)


@pytest.mark.parametrize("ending", ["webm", "m4a", "opus"])
def test_a_truncated_file_of_ffmpeg(ending, path, tmp_path):
    """ffmpeg decodes what is there, with a remark."""
    if shutil.which("ffmpeg") is None:
        skip_or_fail("ffmpeg is not installed")
    target = tmp_path / f"whole.{ending}"
    assert os.system(f"ffmpeg -loglevel error -i {path} -movflags +faststart {target}") == 0
    content = target.read_bytes()
    assert len(load_audio(content)) > 0.9 * RATE
    for share in (0.7, 0.9):
        with pytest.raises(InputError, match="truncated"):
            load_audio(content[: int(len(content) * share)])


def test_an_m4a_file_that_ends_before_its_index(path, tmp_path):
    if shutil.which("ffmpeg") is None:
        skip_or_fail("ffmpeg is not installed")
    target = tmp_path / "whole.m4a"
    assert os.system(f"ffmpeg -loglevel error -i {path} {target}") == 0
    content = target.read_bytes()
    with pytest.raises(InputError, match="truncated: it lacks the index"):
        load_audio(content[: len(content) // 2])
    noise = tmp_path / "noise.m4a"
    noise.write_bytes(np.random.default_rng(0).bytes(3000))
    with pytest.raises(InputError, match="cannot be read as sound"):
        load_audio(noise)


def test_a_path_without_its_ending(tmp_path):
    for name in ("s.flac", "s.m4a", "s.mp3", "s.mp4", "s.ogg", "s.wav", "s.webm", "s8k.wav", "st_a.png", "still.html"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="There is no file") as caught:
        load_audio(tmp_path / "s")
    named = set(caught.value.next_step.removeprefix("Did you mean ").rstrip("?").replace("'", "").split(" or "))
    assert named == {"s.flac", "s.m4a", "s.mp3", "s.mp4", "s.ogg", "s.wav", "s.webm"}


def test_a_recording_of_a_browser_states_no_size(path, tmp_path):
    if shutil.which("ffmpeg") is None:
        skip_or_fail("ffmpeg is not installed")
    target = tmp_path / "live.webm"
    assert os.system(f"ffmpeg -loglevel error -i {path} -f webm -live 1 - > {target}") == 0
    assert len(load_audio(target)) > 0.9 * RATE
