"""Read a sentencepiece `.model` into a `tokenizers.Tokenizer`.

The `sentencepiece` library reads and checks the file. Settings that its Python interface does not expose (the kind of model,
the precompiled character map, the types of the pieces, ...) are read directly from the file's protobuf fields, which avoids
a dependency on `protobuf`. The field numbers are those of sentencepiece_model.proto.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from notebook_kit.errors import CheckpointError, MissingDependencyError, UnsafeFileError
from notebook_kit.processing.text.families import UNDERLINE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notebook_kit.processing.text.families import Family

__all__ = ["Pieces", "arrange", "as_it_is", "generate_merges", "read_pieces", "special_pieces"]

_UNIGRAM, _BPE = 1, 2  # TrainerSpec.ModelType
_MAX_BYTES = 1 << 28  # the largest vocabularies in use take 16 MiB


@dataclass(frozen=True)
class Pieces:
    """The contents of a `.model` file.

    Attributes:
        pieces: (piece, score) by id; the score is a log probability for Unigram models.
        kind: "unigram" or "bpe".
        special: Ids of control pieces such as <s>, which never match text.
        user_defined: Ids of pieces that are never split.
        charsmap: The normalization as a precompiled character map; empty if there is none.
        byte_fallback: Whether unknown characters are split into bytes.
        adds_space: Whether a space is put before the text.
        trims_spaces: Whether leading, trailing and repeated spaces are removed.
        unk_id, bos_id, eos_id, pad_id: Ids by role, -1 if there is none.
    """

    pieces: list[tuple[str, float]]
    kind: str
    special: list[int]
    user_defined: list[int]
    charsmap: bytes
    byte_fallback: bool
    adds_space: bool
    trims_spaces: bool
    unk_id: int
    bos_id: int
    eos_id: int
    pad_id: int


def read_pieces(path: Path) -> Pieces:
    """Read a sentencepiece model.

    Raises:
        CheckpointError: If the file is damaged, or the kind of model (word, char) is not supported.
        MissingDependencyError: If the `sentencepiece` library is not installed.
        UnsafeFileError: If the file is larger than 256 MiB.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise MissingDependencyError(
            f"{path.name} is a sentencepiece model, and the sentencepiece library is not installed.",
            next_step="Run `pip install sentencepiece`.",
        ) from error
    if path.stat().st_size > _MAX_BYTES:
        raise UnsafeFileError(
            f"{path} is {path.stat().st_size} bytes long, too large for a vocabulary. It was not read.",
            next_step="Check that this is the sentencepiece model and not the weights.",
        )
    data = path.read_bytes()
    try:
        if not data:
            raise ValueError("it is empty")
        processor = sentencepiece.SentencePieceProcessor(model_proto=data)
        settings = {number: value for number, value in _fields(data) if number in (2, 3)}
        trainer = dict(_fields(settings.get(2, b"")))
        normalizer = dict(_fields(settings.get(3, b"")))
        ids = list(range(len(processor)))
        if not ids or 2 not in settings:
            raise ValueError("it contains no pieces")
    except Exception as error:
        # The library raises bare RuntimeErrors; a truncated field raises IndexError.
        raise CheckpointError(
            f"{path} is not a readable sentencepiece model: {error}",
            next_step="Download the file again (force_download=True), or load from tokenizer.json.",
        ) from error
    kind = {_UNIGRAM: "unigram", _BPE: "bpe"}.get(trainer.get(3, _UNIGRAM))
    if kind is None:
        raise CheckpointError(
            f"{path} is a sentencepiece model of words or characters; only Unigram and BPE models are supported.",
            next_step="Load a checkpoint with tokenizer.json.",
        )
    return Pieces(
        pieces=list(zip(processor.id_to_piece(ids), processor.get_score(ids), strict=True)),
        kind=kind,
        special=[id for id, flag in enumerate(processor.is_control(ids)) if flag],
        user_defined=[id for id, piece in enumerate(_kinds(data)) if piece == 4],
        charsmap=normalizer.get(2, b""),
        byte_fallback=bool(trainer.get(35, 0)),
        adds_space=bool(normalizer.get(3, 1)),
        trims_spaces=bool(normalizer.get(4, 1)),
        unk_id=processor.unk_id(),
        bos_id=processor.bos_id(),
        eos_id=processor.eos_id(),
        pad_id=processor.pad_id(),
    )


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The (number, value) pairs of one protobuf message; messages and strings as bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        wire = key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        length = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            length, place = _varint(data, place)
        if length is None or place + length > len(data):
            raise IndexError("a field extends beyond the end of the file")
        yield key >> 3, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def _kinds(data: bytes) -> Iterator[int]:
    """The type of each piece: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte."""
    for number, piece in _fields(data):
        if number == 1:
            yield next((value for field, value in _fields(piece) if field == 3), 1)


def generate_merges(vocab: Mapping[str, int], skip: Collection[str] = ()) -> list[tuple[str, str]]:
    """The merges of a BPE model that lists only its pieces: all splits of a piece into two others, in the order of ids."""
    merges = []
    for piece, id in vocab.items():
        if piece in skip:
            continue
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocab and right in vocab and left not in skip and right not in skip:
                merges.append((id, cut, len(piece) - cut, left, right))
    return [(left, right) for *_, left, right in sorted(merges, key=lambda merge: merge[:3])]


def arrange(
    pieces: Sequence[tuple[str, float]], family: Family, tokens: Mapping[str, str], options: Mapping[str, Any]
) -> list[tuple[str, float]]:
    """The pieces in the order of the ids that the family's models were trained with.

    Families differ in the ids of their special tokens; fairseq's models (XLM-R, CamemBERT) shift all ids.
    """
    if family.pieces == "fairseq":
        first = tokens.get("bos_token", tokens["cls_token"])
        head = [(token, 0.0) for token in (first, tokens["pad_token"], tokens["eos_token"], tokens["unk_token"])]
        codes = [(code, 0.0) for code in family.languages]
        return [*head, *pieces[3:], *codes, (tokens["mask_token"], 0.0)]
    if family.pieces == "camembert":
        head = [("<s>NOTUSED", 0.0), (tokens["pad_token"], 0.0), ("</s>NOTUSED", 0.0), (tokens["unk_token"], 0.0)]
        return [*head, ("<unk>NOTUSED", -100.0), *pieces[1:], (tokens["mask_token"], 0.0)]
    if family.pieces == "t5":
        return [*pieces, *((f"<extra_id_{number}>", 0.0) for number in reversed(range(options["extra_ids"])))]
    return list(pieces)


def as_it_is(model: Pieces) -> Tokenizer:
    """A tokenizer that returns the same ids as the sentencepiece library."""
    unknown = model.pieces[model.unk_id][0]
    backend: Tokenizer
    if model.kind == "bpe":
        vocab = {piece: id for id, (piece, _) in enumerate(model.pieces)}
        reserved = {model.pieces[id][0] for id in [*model.special, *model.user_defined, model.unk_id]}
        merges = generate_merges(vocab, reserved)
        backend = Tokenizer(
            models.BPE(vocab=vocab, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=model.byte_fallback)
        )
    else:
        backend = Tokenizer(models.Unigram(model.pieces, unk_id=model.unk_id, byte_fallback=model.byte_fallback))
    steps: list = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.trims_spaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if steps:
        backend.normalizer = normalizers.Sequence(steps)
    scheme = "always" if model.adds_space else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=UNDERLINE, prepend_scheme=scheme)
    ending: list = [decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if model.adds_space:
        ending.append(decoders.Strip(content=" ", left=1))
    backend.decoder = decoders.Sequence(ending)
    return backend


def special_pieces(model: Pieces) -> list[AddedToken]:
    """The control and user-defined pieces as added tokens, which are matched before the text is split."""
    special = set(model.special)
    return [
        AddedToken(model.pieces[id][0], normalized=False, special=id in special)
        for id in sorted([*model.special, *model.user_defined])
    ]
