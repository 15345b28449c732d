"""Reading Marian's vocabulary: a sentencepiece model for each side, and one list of ids for both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models

from notebook_kit.errors import CheckpointError
from notebook_kit.files import read_json
from notebook_kit.processing.text import sentencepiece
from notebook_kit.processing.text.families import UNDERLINE
from notebook_kit.processing.text.parts import Files

__all__ = ["load_marian"]

SOURCE, TARGET, VOCABULARY, TARGET_VOCABULARY = "source.spm", "target.spm", "vocab.json", "target_vocab.json"


def load_marian(source: Files, options: Mapping[str, Any]) -> tuple[Tokenizer, dict[str, Any]]:
    """The vocabulary of a Marian checkpoint, and with it `sides`, `targets` and `files` for the class.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    names = [SOURCE, TARGET, VOCABULARY, *([TARGET_VOCABULARY] if options.get("separate_vocabs") else [])]
    paths: dict[str, Path] = {}
    for name in names:
        path = source.find(name)
        if path is None:
            raise CheckpointError(
                f"{source.name} has no {name}, and a Marian tokenizer needs {', '.join(names)}.",
                next_step="Fetch the checkpoint as a whole.",
            )
        paths[name] = path
    sides = {}
    for target, name in ((False, SOURCE), (True, TARGET)):
        model = sentencepiece.read_pieces(paths[name])
        sides[target] = sentencepiece.as_it_is(model)
        sides[target].add_tokens(sentencepiece.special_pieces(model))
    vocabularies = []
    for name in names[2:]:
        ids = read_json(paths[name])
        if not all(isinstance(id, int) and id >= 0 for id in ids.values()):
            raise CheckpointError(
                f"{paths[name]} holds ids that are no numbers from 0.",
                next_step="Restore the file: it maps each token to its id.",
            )
        lacking = [token for token in (options["eos_token"], options["unk_token"]) if str(token) not in ids]
        if lacking:
            raise CheckpointError(
                f"{paths[name]} has no token {str(lacking[0])!r}.",
                next_step="Restore the file, or pass eos_token= and unk_token= as it has them.",
            )
        backend = Tokenizer(models.WordLevel(ids, unk_token=str(options["unk_token"])))
        steps = [decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse()]
        backend.decoder = decoders.Sequence([*steps, decoders.Replace(Regex("^ +| +$"), "")])
        vocabularies.append(backend)
    files = {name: path.read_bytes() for name, path in paths.items()}
    targets = vocabularies[1] if len(vocabularies) > 1 else None
    return vocabularies[0], {"sides": sides, "targets": targets, "files": files}
