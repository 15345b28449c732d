"""Decode sound files: with soundfile, and formats that it does not read with ffmpeg or torchcodec.

A file is read and resampled block by block, so that an hour of stereo needs little more memory than its result.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
import soxr

from notebook_kit.errors import InputError, MissingDependencyError
from notebook_kit.processing.audio.samples import MOST_CHANNELS, check_rate, mention_channels
from notebook_kit.processing.naming import capitalized

__all__ = ["decoded"]

_BLOCK = 2**20
"""Frames that are read at once: half a minute."""
_BEGINNINGS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"<!DOCTYPE": "a web page",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS, without the content",
}
"""How files begin that are taken for sound by mistake -> what they are."""
_INSTALLING = (
    "Install ffmpeg: `apt-get install ffmpeg`, `brew install ffmpeg` or `conda install -c conda-forge ffmpeg`. Or convert it "
    "to WAV, FLAC, Ogg or MP3, which need neither."
)
_CUT_SHORT = ("File ended prematurely", "partial file")
"""What ffmpeg says of a Matroska or MP4 file that is shorter than it states; it decodes the rest all the same."""
_LONGEST_PAGE = 27 + 255 + 255 * 255
"""The most bytes of a page of an Ogg file: a header, the lengths of its segments, and the segments."""
_UNKNOWN_SIZE = 0x7FFFF000
"""A WAV file written to a pipe states no size, which is noted as 0 or as nearly 4 GiB, or 2."""


def decoded(file: Path | bytes, name: str, target: int | None) -> tuple[np.ndarray, int]:
    """Read a sound file.

    Args:
        file: Its path or its content. WAV, FLAC, Ogg, Opus, MP3, AIFF and further formats of libsndfile, of 8 to 64 bits,
            floats or mu-law; and what ffmpeg reads, such as M4A, WebM and the sound of videos.
        name: The recording, for messages.
        target: The sampling rate to convert to; None keeps that of the file.

    Returns:
        The mean of the channels, float32 of shape (samples,), and its sampling rate.

    Raises:
        InputError: If the file is empty, truncated, not sound, or its sampling rate is not one.
        MissingDependencyError: If its format needs ffmpeg.
    """
    _check_beginning(file, name)
    _check_last_page(file, name)
    source = _Content(file) if isinstance(file, bytes) else file
    try:
        with soundfile.SoundFile(source) as sound:
            rate = check_rate(sound.samplerate, name)
            _check_size(file, sound, name)
            is_exact = sound.format != "MP3" or _states_length(file)
            if not is_exact and shutil.which("ffmpeg"):  # libsndfile estimates the length, and stops there
                return _by_ffmpeg(file, name, target)
            blocks = _Blocks(sound)
            samples = _joined(blocks, rate, target)
            if is_exact and blocks.frames < sound.frames < 2**62:
                raise _truncated(name, f"{blocks.frames:,} of {sound.frames:,} samples can be read")
            return samples, rate if target is None else target
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        if _is_whole_format(file):
            why = str(error).rpartition(": ")[2]
            if "lost sync" in why:  # libFLAC, of a block that ends early and of one that is damaged
                raise _truncated(
                    name, f"not all that its header states can be read ({why.rstrip('.')})", True
                ) from error
            if "SF_INFO" in why:
                why = "its header states no possible sampling rate or number of channels"
            raise _unreadable(name, why) from error
    return _by_ffmpeg(file, name, target)


class _Content(io.BytesIO):
    """The bytes of a file. A damaged one can make libsndfile seek before its beginning, where `BytesIO` would raise an error
    that nobody can catch and that is printed instead."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


class _Blocks:
    """The blocks (frames, channels) of a file, also of one in which libsndfile cannot seek, such as GSM 6.10.

    Attributes:
        frames: How many were read so far.
    """

    def __init__(self, sound: soundfile.SoundFile) -> None:
        self.sound, self.frames = sound, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        while len(block := self.sound.read(_BLOCK, dtype="float32", always_2d=True)):
            self.frames += len(block)
            yield block


def _joined(blocks: Iterable[np.ndarray], rate: int, target: int | None) -> np.ndarray:
    """Blocks (frames, channels) as one channel at the target rate."""
    stream = None if target in (None, rate) else soxr.ResampleStream(rate, target, 1, dtype="float32")
    parts = []
    for block in blocks:
        if block.shape[1] > 1:
            mention_channels()
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        parts.append(
            np.ascontiguousarray(mono) if stream is None else stream.resample_chunk(np.ascontiguousarray(mono))
        )
    if stream is not None:
        parts.append(stream.resample_chunk(np.empty(0, np.float32), last=True))
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


# What a file may be instead of sound


def _check_beginning(file: Path | bytes, name: str) -> None:
    """Raise an error for an empty file and for those that are no sound."""
    start = _start(file)
    if not start:
        raise InputError(f"{capitalized(name)} is empty: it has 0 bytes.", next_step="Pass a recording with sound.")
    what = next((what for beginning, what in _BEGINNINGS.items() if start.startswith(beginning)), None)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        what = "a WebP picture"
    if what is not None:
        raise _unreadable(name, f"it is {what}")


def _start(file: Path | bytes) -> bytes:
    if isinstance(file, bytes):
        return file[:64].lstrip()
    with open(file, "rb") as opened:
        return opened.read(64).lstrip()


def _is_whole_format(file: Path | bytes) -> bool:
    """Whether the file claims a format that soundfile reads, so that its error is about the content."""
    start = _start(file)
    return start[:4] in (b"fLaC", b"OggS", b"FORM", b"RF64") or (start[:4] == b"RIFF" and start[8:12] == b"WAVE")


def _check_size(file: Path | bytes, sound: soundfile.SoundFile, name: str) -> None:
    """Raise an error for a WAV file that is shorter than it says, which libsndfile reads without a word."""
    if sound.format not in ("WAV", "WAVEX") or sound.channels > MOST_CHANNELS:
        return
    there = len(file) if isinstance(file, bytes) else os.path.getsize(file)
    stated, begin = _data_chunk(file)
    if begin and stated < _UNKNOWN_SIZE and begin + stated > there + 1:  # an odd chunk may lack its padding byte
        raise _truncated(name, f"{there - begin:,} of {stated:,} bytes of sound are there")


def _check_last_page(file: Path | bytes, name: str) -> None:
    """Raise an error for an Ogg file that ends within a page; libsndfile and ffmpeg read the pages before it without a word."""
    if _start(file)[:4] != b"OggS":
        return
    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - _LONGEST_PAGE))
        end = opened.read()
    page = end[max(0, end.rfind(b"OggS")) :]
    segments = page[26] if len(page) > 26 else 1
    stated = 27 + segments + sum(page[27 : 27 + segments])
    if len(page) < stated:
        raise _truncated(name, f"its last page has {len(page):,} of at least {stated:,} bytes")


def _data_chunk(file: Path | bytes) -> tuple[int, int]:
    """The stated size of a WAV file's samples in bytes, and where they begin; 0 if that is not found."""
    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as opened:
        opened.seek(12)
        while len(head := opened.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                return size, opened.tell()
            opened.seek(size + size % 2, os.SEEK_CUR)
    return 0, 0


def _states_length(file: Path | bytes) -> bool:
    """Whether an MP3 file has a frame that states its length, after the tags; without, its length is an estimate."""
    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as opened:
        head = opened.read(10)
        if head[:3] == b"ID3":  # a size of four times seven bits
            opened.seek(sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)), os.SEEK_CUR)
        frame = head + opened.read(2048)
    return b"Xing" in frame or b"Info" in frame


def _truncated(name: str, why: str, or_damaged: bool = False) -> InputError:
    return InputError(
        f"{capitalized(name)} is truncated{' or damaged' if or_damaged else ''}: {why}.",
        next_step="Copy or download it again, or cut it with a sound editor.",
    )


def _unreadable(name: str, why: str) -> InputError:
    return InputError(
        f"{capitalized(name)} cannot be read as sound: {why.rstrip('.')}.",
        next_step="Check that the file is complete and is a recording, such as WAV, FLAC, Ogg, MP3, M4A or WebM.",
    )


# Other formats


def _by_ffmpeg(file: Path | bytes, name: str, target: int | None) -> tuple[np.ndarray, int]:
    """Read a file with ffmpeg's command line, else with torchcodec."""
    program = shutil.which("ffmpeg")
    if program is not None:
        with _as_path(file) as path, tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "sound.wav"
            _run_ffmpeg(program, path, result, name)
            return decoded(result, name, target)
    if find_spec("torchcodec") is not None:
        return _by_torchcodec(file, name, target)
    raise MissingDependencyError(
        f"{capitalized(name)} has a format that soundfile does not read, and ffmpeg is not installed.",
        next_step=_INSTALLING,
    )


@contextmanager
def _as_path(file: Path | bytes) -> Iterator[Path]:
    """A file with the content: ffmpeg has to move about in it."""
    if isinstance(file, Path):
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        path.write_bytes(file)
        yield path


def _run_ffmpeg(program: str, path: Path, result: Path, name: str) -> None:
    # file: and the whitelist keep a playlist from making ffmpeg open other files or addresses
    source = ["-protocol_whitelist", "file", "-i", f"file:{path.absolute()}"]
    options = ["-map", "0:a:0", "-c:a", "pcm_f32le", "-y", f"file:{result}"]
    command = [program, "-nostdin", "-hide_banner", "-loglevel", "error", *source, *options]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if run.returncode != 0 or not result.exists():
        said = run.stderr.strip().splitlines()
        if "matches no streams" in run.stderr or "does not contain any stream" in run.stderr:
            said = ["it contains no sound"]
        if "moov atom not found" in run.stderr and _start(path)[4:8] == b"ftyp":  # which ffmpeg says of other files too
            raise _truncated(name, "it lacks the index that belongs at its end")
        raise _unreadable(name, said[-1].replace(f"file:{path.absolute()}: ", "") if said else "ffmpeg failed")
    if any(words in run.stderr for words in _CUT_SHORT):
        raise _truncated(name, "it is shorter than it states")


def _by_torchcodec(file: Path | bytes, name: str, target: int | None) -> tuple[np.ndarray, int]:
    try:
        from torchcodec.decoders import AudioDecoder  # fails without ffmpeg's libraries
    except Exception as error:
        raise MissingDependencyError(
            f"{capitalized(name)} has a format that needs ffmpeg, and torchcodec does not find its libraries.",
            next_step=_INSTALLING,
        ) from error
    try:
        samples = AudioDecoder(str(file) if isinstance(file, Path) else file).get_all_samples()
    except Exception as error:
        raise _unreadable(name, str(error)) from error
    rate = check_rate(samples.sample_rate, name)
    return _joined([samples.data.numpy().T], rate, target), rate if target is None else target
