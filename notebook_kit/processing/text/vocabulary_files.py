"""Build a tokenizer's backend from vocabulary files: vocab.txt, vocab.json with merges.txt, or a sentencepiece model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models

from notebook_kit.errors import CheckpointError, MissingVocabularyError, UnknownArchitectureError, near_matches
from notebook_kit.files import damaged
from notebook_kit.hub import Source
from notebook_kit.processing.settings_files import modality_of
from notebook_kit.processing.text import sentencepiece
from notebook_kit.processing.text.building import complete
from notebook_kit.processing.text.families import FAMILIES, UNDERLINE, Family
from notebook_kit.processing.text.inputs import backend_errors
from notebook_kit.processing.text.marian import load_m2m100, load_marian
from notebook_kit.processing.text.parts import Files, Parts
from notebook_kit.processing.text.vocabulary import ROLES

__all__ = ["GENERIC_CLASSES", "bare_model", "blank_vocabulary", "from_vocabulary"]

GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend", "PreTrainedTokenizer", "PythonBackend")
_SENTENCEPIECE_NAMES = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "spm.model")
# Pipelines of sentencepiece models that are built as BPE, from merges that follow from the pieces.
_BPE_PIPELINES = ("llama", "gemma")


def from_vocabulary(source: Files, class_name: str | None, family: Family | None, options: dict[str, Any]) -> Parts:
    kind = family.vocabulary if family else None
    if kind == "marian":
        vocabulary, extras = load_marian(source, options)
        return Parts(vocabulary, str(class_name), options, extras=extras)
    if family is not None and kind == "m2m100":
        vocabulary, extras = load_m2m100(source, family, options)
        return Parts(vocabulary, str(class_name), options, extras=extras)
    vocab_txt = source.find("vocab.txt") if kind in (None, "wordpiece") else None
    vocab_json = source.find("vocab.json") if kind in (None, "bpe") else None
    merges = source.find("merges.txt") if vocab_json else None
    spm = _sentencepiece_file(source) if kind in (None, "sentencepiece") else None
    if family is None and (vocab_txt or (vocab_json and merges) or spm):
        if class_name not in (None, *GENERIC_CLASSES):
            raise _no_recipe(source, str(class_name))
        if spm is None:
            # Only BERT-likes have vocab.txt, and byte-level BPE is GPT-2's format.
            class_name = "BertTokenizer" if vocab_txt else "GPT2Tokenizer"
            family = FAMILIES[class_name]
            options |= family.defaults | options
    class_name = class_name or "PreTrainedTokenizerFast"
    if spm is not None:
        return _from_sentencepiece(spm, class_name, family, options)
    if family is not None and vocab_txt is not None:
        backend = Tokenizer(bare_model(family, _read_vocab_txt(vocab_txt), None, options))
    elif family is not None and vocab_json is not None and merges is not None:
        with backend_errors(lambda error: _not_bpe(vocab_json, merges, error)):
            backend = Tokenizer(bare_model(family, *models.BPE.read_file(str(vocab_json), str(merges)), options))
    elif family is not None and not family.pipeline:
        raise _no_recipe(source, class_name)
    else:
        raise _nothing_to_load(source, class_name, vocab_json)
    complete(backend, family, options)
    return Parts(backend, class_name, options)


def bare_model(
    family: Family | None, vocabulary: Any, merges: Any, options: Mapping[str, Any], unk_id: int | None = None
) -> models.Model:
    """The family's model with a vocabulary.

    Args:
        vocabulary: The ids by token, or for Unigram models a list of (piece, score).
        merges: The merges of a BPE model, as pairs or "a b"; None for none.
        options: The special tokens by role.
        unk_id: The id of the unknown token of a Unigram model, if the vocabulary does not have `unk_token`.
    """
    pipeline, unknown = family.pipeline if family else "", str(options.get("unk_token"))
    if family is not None and family.vocabulary == "wordpiece":
        return models.WordPiece(vocabulary, unk_token=unknown)
    if not isinstance(vocabulary, Mapping):
        pieces = [(str(piece), float(score)) for piece, score in vocabulary]
        places = [place for place, (piece, _) in enumerate(pieces) if piece == unknown]
        return models.Unigram(pieces, unk_id=places[0] if places else unk_id, byte_fallback=False)
    ids = dict(vocabulary)
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges or ()]
    if pipeline in _BPE_PIPELINES:
        named = {"unk_token": unknown} if pipeline == "gemma" else {}
        return models.BPE(ids, merges, fuse_unk=True, byte_fallback=True, **named)
    if family is None:
        return models.BPE(ids, merges, fuse_unk=True)
    ending = {"end_of_word_suffix": "</w>", "unk_token": unknown} if pipeline == "clip" else {"end_of_word_suffix": ""}
    return models.BPE(ids, merges, continuing_subword_prefix="", **ending)


def blank_vocabulary(family: Family, options: Mapping[str, Any]) -> Tokenizer:
    """A vocabulary of only the family's special tokens, to be trained."""
    tokens = [str(options.get(f"{name}_token", name)) for name in family.blank]
    if family.vocabulary == "sentencepiece":
        pieces = [(token, -2.0 if token == UNDERLINE else 0.0) for token in tokens]
        return Tokenizer(_sentencepiece_model(pieces, family, options, 0))
    return Tokenizer(bare_model(family, {token: id for id, token in enumerate(dict.fromkeys(tokens))}, None, options))


def _sentencepiece_model(
    pieces: list[tuple[str, float]], family: Family, options: Mapping[str, Any], unk_id: int
) -> models.Model:
    roles = {role: str(options[role]) for role in ROLES if options.get(role)}
    arranged = sentencepiece.arrange(pieces, family, roles, options)
    if family.pipeline in _BPE_PIPELINES:
        vocabulary = {piece: id for id, (piece, _) in enumerate(arranged)}
        return bare_model(family, vocabulary, sentencepiece.generate_merges(vocabulary), options)
    return bare_model(family, arranged, None, options, unk_id)


def _read_vocab_txt(path: Path) -> dict[str, int]:
    try:
        with path.open(encoding="utf-8") as lines:
            return {line.rstrip("\n"): id for id, line in enumerate(lines)}
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


def _not_bpe(vocab: Path, merges: Path, error: BaseException) -> CheckpointError:
    return CheckpointError(
        f"{vocab} and {merges.name} cannot be read as byte-level BPE: {error}",
        next_step="Download both again (force_download=True).",
    )


def _sentencepiece_file(source: Files) -> Path | None:
    for name in _SENTENCEPIECE_NAMES:
        path = source.find(name)
        if path is not None:
            return path
    names: list[str] = getattr(source, "filenames", list)()
    other = next((name for name in sorted(names) if name.endswith(".model")), None)
    return source.find(other) if other else None


def _from_sentencepiece(path: Path, class_name: str, family: Family | None, options: dict[str, Any]) -> Parts:
    model = sentencepiece.read_pieces(path)
    keeps_model = family is not None and family.keeps_model
    special = [] if keeps_model else sentencepiece.special_pieces(model)
    if family is None:
        backend = sentencepiece.as_it_is(model)
        for role, id in (("unk", model.unk_id), ("bos", model.bos_id), ("eos", model.eos_id), ("pad", model.pad_id)):
            if id >= 0:
                options.setdefault(f"{role}_token", model.pieces[id][0])
    else:
        backend = Tokenizer(_sentencepiece_model(model.pieces, family, options, model.unk_id))
        complete(backend, family, options, model.charsmap)
    extra = options.get("additional_special_tokens") or options.get("extra_special_tokens") or []
    if isinstance(extra, list):
        names = {*map(str, extra), *(family.languages if family else ())}
        pieces = [token for token in special if token.content not in names]
        languages = [code for code in (family.languages if family else ()) if code not in map(str, extra)]
        options["additional_special_tokens"] = [*languages, *extra, *pieces]
    files = {"spiece.model": path.read_bytes()} if keeps_model else {}
    return Parts(backend, class_name, options, special, extras={"files": files})


def _no_recipe(source: Files, class_name: str) -> UnknownArchitectureError:
    buildable = [name for name, family in FAMILIES.items() if family.pipeline]
    return UnknownArchitectureError(
        f"{source.name} names the tokenizer class {class_name!r} and has no tokenizer.json, and notebook_kit cannot build "
        f"that class from vocabulary files. {near_matches(class_name, buildable)}".rstrip(),
        next_step="Convert it once with `transformers` (load it there and call `save_pretrained`), which writes "
        f"tokenizer.json. The classes that can be built are {', '.join(buildable)}.",
    )


def _nothing_to_load(source: Files, class_name: str, vocab_json: Path | None) -> MissingVocabularyError:
    if vocab_json is not None:
        missing = "vocab.json but no merges.txt"
    else:
        missing = "no tokenizer.json, vocab.txt, vocab.json with merges.txt, or sentencepiece .model"
        if class_name not in GENERIC_CLASSES:
            missing += f" that a {class_name} can be built from"
    inside = getattr(source, "subfolder", "")
    reads = modality_of(source) if isinstance(source, Source) else None
    other = {
        "image": "Its model reads pictures: load AutoImageProcessor, or pass a checkpoint with a tokenizer.",
        "audio": "Its model reads sound: load AutoFeatureExtractor, or pass a checkpoint with a tokenizer.",
    }
    return MissingVocabularyError(
        f"{source.name}{f' (subfolder {inside!r})' if inside else ''} has no vocabulary: there is {missing}.",
        next_step=other.get(
            reads or "",
            "Pass the folder or repository that the tokenizer was saved to; a model can be saved without one.",
        ),
    )
