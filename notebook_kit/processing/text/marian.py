"""Read the vocabulary of a Marian checkpoint: one sentencepiece model per side, and a list of ids for both."""

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
    paths: dict[str, Path] = {}
    for name in names:
        path = source.find(name)
        if path is None:
            raise CheckpointError(
                f"{source.name} has no {name}, and a Marian tokenizer needs {', '.join(names)}.",
                next_step="Download the complete checkpoint.",
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
                f"{paths[name]} contains invalid ids: ids are non-negative integers.",
                next_step="Restore the file: it maps each token to its id.",
            )
        for token in (options["eos_token"], options["unk_token"]):
            if str(token) not in ids:
                raise CheckpointError(
                    f"{paths[name]} has no token {str(token)!r}.",
                    next_step="Restore the file, or pass the eos_token= and unk_token= that it contains.",
                )
        backend = Tokenizer(models.WordLevel(ids, unk_token=str(options["unk_token"])))
        steps = [decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse()]
        backend.decoder = decoders.Sequence([*steps, decoders.Replace(Regex("^ +| +$"), "")])
        vocabularies.append(backend)
    files = {name: path.read_bytes() for name, path in paths.items()}
    return vocabularies[0], {"sides": sides, "targets": vocabularies[1] if vocabularies[1:] else None, "files": files}
