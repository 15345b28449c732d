"""Read vocabularies whose ids are in a list beside the sentencepiece model: Marian's, with one model per side, and M2M-100's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models

from notebook_kit.errors import CheckpointError
from notebook_kit.files import read_json
from notebook_kit.processing.text import sentencepiece
from notebook_kit.processing.text.families import UNDERLINE, Family
from notebook_kit.processing.text.parts import Files
from notebook_kit.processing.text.vocabulary import ROLES

__all__ = ["load_m2m100", "load_marian"]

SOURCE, TARGET, VOCABULARY, TARGET_VOCABULARY = "source.spm", "target.spm", "vocab.json", "target_vocab.json"
PIECES = "sentencepiece.bpe.model"


def load_marian(source: Files, options: Mapping[str, Any]) -> tuple[Tokenizer, dict[str, Any]]:
    """Load the vocabulary of a Marian checkpoint.

    Returns:
        The vocabulary, as a tokenizer that can only decode, and the `Parts.extras` of a `MarianTokenizer`:

        - "sides": the tokenizers of texts (False) and of targets (True),
        - "targets": the vocabulary of targets, None if both sides share one,
        - "files": the contents of the checkpoint's files by name.

    Raises:
        CheckpointError: If a file is missing or damaged.
    """
    names = [SOURCE, TARGET, VOCABULARY, *([TARGET_VOCABULARY] if options.get("separate_vocabs") else [])]
    paths = _paths(source, names, "Marian")
    vocabularies = [_vocabulary(paths[name], options) for name in names[2:]]
    return vocabularies[0], {
        "sides": {False: _reader(paths[SOURCE]), True: _reader(paths[TARGET])},
        "targets": vocabularies[1] if vocabularies[1:] else None,
        "files": {name: path.read_bytes() for name, path in paths.items()},
    }


def load_m2m100(source: Files, family: Family, options: Mapping[str, Any]) -> tuple[Tokenizer, dict[str, Any]]:
    """Load the vocabulary of an M2M-100 checkpoint. Its list of ids ends before the languages.

    Returns:
        The vocabulary, as a tokenizer that can only decode, and the `Parts.extras` of an `M2M100Tokenizer`:

        - "reader": the tokenizer that splits texts, whose ids are not those of the vocabulary,
        - "files": the contents of the checkpoint's files by name.

    Raises:
        CheckpointError: If a file is missing or damaged.
    """
    paths = _paths(source, (PIECES, VOCABULARY), "M2M-100")
    vocabulary, reader = _vocabulary(paths[VOCABULARY], options), _reader(paths[PIECES])
    languages = [family.language_token.format(code) for code in family.languages]
    special = [AddedToken(token, special=True, normalized=False) for token in languages]
    vocabulary.add_special_tokens(special)
    roles = [str(options[role]) for role in ROLES if options.get(role)]
    reader.add_special_tokens([*(AddedToken(token, special=True, normalized=False) for token in roles), *special])
    return vocabulary, {"reader": reader, "files": {name: path.read_bytes() for name, path in paths.items()}}


def _paths(source: Files, names: Sequence[str], kind: str) -> dict[str, Path]:
    paths = {name: source.find(name) for name in names}
    if missing := [name for name, path in paths.items() if path is None]:
        raise CheckpointError(
            f"{source.name} has no {missing[0]}, and the tokenizer of {kind} needs {', '.join(names)}.",
            next_step="Download the complete checkpoint.",
        )
    return {name: path for name, path in paths.items() if path is not None}


def _reader(path: Path) -> Tokenizer:
    """A tokenizer that splits texts as a sentencepiece model does."""
    model = sentencepiece.read_pieces(path)
    reader = sentencepiece.as_it_is(model)
    reader.add_tokens(sentencepiece.special_pieces(model))
    return reader


def _vocabulary(path: Path, options: Mapping[str, Any]) -> Tokenizer:
    """A list of ids by token, as a tokenizer that can only decode."""
    ids = read_json(path)
    if not all(isinstance(id, int) and id >= 0 for id in ids.values()):
        raise CheckpointError(
            f"{path} contains invalid ids: ids are non-negative integers.",
            next_step="Restore the file: it maps each token to its id.",
        )
    for token in (options["eos_token"], options["unk_token"]):
        if str(token) not in ids:
            raise CheckpointError(
                f"{path} has no token {str(token)!r}.",
                next_step="Restore the file, or pass the eos_token= and unk_token= that it contains.",
            )
    backend = Tokenizer(models.WordLevel(ids, unk_token=str(options["unk_token"])))
    steps = [decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Replace(Regex("^ +| +$"), "")])
    return backend
