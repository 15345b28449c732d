"""Read the parts of a tokenizer from a checkpoint's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, processors

from notebook_kit.errors import CheckpointError, InputError, UnknownArchitectureError, near_matches
from notebook_kit.files import damaged, read_json
from notebook_kit.hub import HUB_OPTIONS, locate, take_hub_options
from notebook_kit.processing.text import sentencepiece
from notebook_kit.processing.text.families import (
    FAMILIES,
    MODEL_TYPES,
    Family,
    adjust,
    complete,
    family_of,
    post_processor,
)
from notebook_kit.processing.text.inputs import backend_errors
from notebook_kit.processing.text.marian import load_marian
from notebook_kit.processing.text.parts import Files, Parts, SingleFile
from notebook_kit.processing.text.vocabulary import ROLES

__all__ = [
    "GENERIC_CLASSES",
    "add_missing_tokens",
    "check_options",
    "from_file",
    "keep_padding_defaults",
    "load_parts",
    "needs_recipe",
    "open_files",
    "read_settings",
    "recipe_post_processor",
]

GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend", "PreTrainedTokenizer", "PythonBackend")
# Keys of tokenizer_config.json that name files or describe the run that saved them.
_NOT_OPTIONS = (
    {"tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file", "added_tokens_file", "files_loaded"}
    | {"tokenizer_class", "processor_class", "auto_map", "backend", "added_tokens_decoder", "init_inputs"}
    | {"name_or_path", "is_local", "local_files_only"}
)
# Options of from_pretrained in `transformers` that have no effect here.
_IGNORED = ("use_fast", "trust_remote_code", "config", "from_slow", "tokenizer_type", "resume_download")
# Options that a caller may pass, besides those whose names end in "_token"; some have no effect, as in `transformers`.
_OPTIONS = (
    {"additional_special_tokens", "extra_special_tokens", "split_special_tokens", "pad_token_type_id"}
    | {"max_len", "max_length", "model_max_length", "model_input_names", "padding_side", "truncation_side"}
    | {"src_lang", "tgt_lang", "source_lang", "target_lang", "chat_template", "clean_up_tokenization_spaces"}
    | {"do_basic_tokenize", "never_split", "remove_space", "sp_model_kwargs", "errors", "name_or_path", "verbose"}
    | {switch for family in FAMILIES.values() for switch in family.options}
)
_TOKEN_FIELDS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
_SENTENCEPIECE_NAMES = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "spm.model")


def open_files(name_or_path: Any, options: dict[str, Any]) -> Files:
    """Find a checkpoint or a single vocabulary file; options for the Hub are removed from `options`."""
    where = take_hub_options(options)
    path = Path(name_or_path) if isinstance(name_or_path, str | os.PathLike) else None
    if path is not None and path.suffix in (".json", ".txt", ".model") and path.is_file():
        return SingleFile(path)
    return locate(name_or_path, **where)


def read_settings(source: Files, filename: str) -> dict[str, Any]:
    """The JSON object in a file of the checkpoint; {} if the file does not exist."""
    path = source.find(filename)
    return {} if path is None else read_json(path)


def as_token(value: Any) -> Any:
    """Convert the dictionaries that checkpoints store to AddedTokens; return anything else unchanged."""
    if isinstance(value, dict) and "content" in value:
        return AddedToken(**{key: entry for key, entry in value.items() if key in _TOKEN_FIELDS})
    if isinstance(value, list):
        return [as_token(item) for item in value]
    return value


def load_parts(source: Files, overrides: Mapping[str, Any]) -> Parts:
    """Read the tokenizer of a checkpoint.

    The pipeline is read from tokenizer.json. Without that file it is built from the vocabulary files in the way of the
    tokenizer class, which is named by tokenizer_config.json or config.json, or implied by config.json's model type.

    Args:
        overrides: Options that override the checkpoint's.

    Raises:
        CheckpointError: If there is no vocabulary, or a file is damaged.
        InputError: If an option does not exist.
        UnknownArchitectureError: If there are only vocabulary files, of a class that cannot be built from them here.
    """
    overrides = {key: as_token(value) for key, value in overrides.items() if key not in _IGNORED}
    check_options(overrides)
    config = read_settings(source, "tokenizer_config.json")
    class_name = _class_name(source, config)
    family = family_of(class_name)
    is_marian = family is not None and family.vocabulary == "marian"
    tokenizer_file = None if is_marian else source.find("tokenizer.json")  # one pipeline cannot describe both sides

    options: dict[str, Any] = family.defaults if family else {}
    options |= {key: as_token(value) for key, value in config.items() if key not in _NOT_OPTIONS}
    template_file = source.find("chat_template.jinja")
    if template_file is not None:
        options["chat_template"] = template_file.read_text(encoding="utf-8")
    if tokenizer_file is not None:
        # The file's own post-processor adds these tokens; an old config may contradict it.
        options.pop("add_bos_token", None)
        options.pop("add_eos_token", None)
    if "added_tokens_decoder" not in config:
        for key, value in read_settings(source, "special_tokens_map.json").items():
            options[key] = as_token(value)
            if isinstance(options[key], AddedToken):
                options[key].special = True
    options |= overrides
    for key, default in (family.options if family else {}).items():
        if options[key] is None:  # old versions saved null for a switch that was not set
            options[key] = default

    decoder = config.get("added_tokens_decoder") or {}
    added = [as_token(decoder[id]) for id in sorted(decoder, key=int)]
    if tokenizer_file is not None:
        backend = from_file(tokenizer_file)
        keep_padding_defaults(backend, options)
        if family:
            adjust(backend, family, options)
        parts = Parts(backend, class_name or "PreTrainedTokenizerFast", options, added, from_file=True)
    else:
        parts = _from_vocabulary(source, class_name, family, options)
        parts.added_tokens += [*added, *_legacy_added_tokens(source, config, parts.options)]
    parts.overridden = frozenset(overrides)
    parts.options["name_or_path"] = source.name
    _use_added_flags(parts)
    return parts


def _class_name(source: Files, config: Mapping[str, Any]) -> str | None:
    name = config.get("tokenizer_class")
    if name is None:
        model_config = read_settings(source, "config.json")
        name = model_config.get("tokenizer_class") or MODEL_TYPES.get(model_config.get("model_type", ""))
    return name


def from_file(path: Path) -> Tokenizer:
    """Read a tokenizer.json.

    Raises:
        CheckpointError: If it cannot be read.
    """
    with backend_errors(lambda error: damaged(path, error)):
        return Tokenizer.from_file(str(path))


def keep_padding_defaults(backend: Tokenizer, options: dict[str, Any]) -> None:
    """Copy a file's padding and truncation settings to the defaults, then disable both: every call sets its own."""
    if backend.padding:
        options.setdefault("pad_token", backend.padding["pad_token"])
        options.setdefault("pad_token_type_id", backend.padding["pad_type_id"])
        options.setdefault("padding_side", backend.padding["direction"])
    if backend.truncation:
        options.setdefault("truncation_side", backend.truncation["direction"])
    backend.no_padding()
    backend.no_truncation()


def _use_added_flags(parts: Parts) -> None:
    """Give each role's token the flags (`lstrip`, ...) of the added token with the same content."""
    known = {token.content: token for token in parts.backend.get_added_tokens_decoder().values()}
    known |= {token.content: token for token in parts.added_tokens}
    for role in ROLES:
        token = parts.options.get(role)
        if isinstance(token, str):
            parts.options[role] = known.get(token, token)


def _legacy_added_tokens(source: Files, config: Mapping[str, Any], options: Mapping[str, Any]) -> list[AddedToken]:
    if "added_tokens_decoder" in config:
        return []
    special = {str(options[role]) for role in ROLES if options.get(role)}
    special |= {str(token) for token in options.get("additional_special_tokens") or ()}
    by_id = sorted(read_settings(source, "added_tokens.json").items(), key=lambda item: item[1])
    return [AddedToken(token, special=token in special, normalized=token not in special) for token, _ in by_id]


# Vocabulary files


def _from_vocabulary(source: Files, class_name: str | None, family: Family | None, options: dict[str, Any]) -> Parts:
    kind = family.vocabulary if family else None
    if kind == "marian":
        vocabulary, extras = load_marian(source, options)
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
        backend = Tokenizer(_read_vocab_txt(vocab_txt, str(options["unk_token"])))
    elif family is not None and vocab_json is not None and merges is not None:
        backend = Tokenizer(_read_bpe(vocab_json, merges))
    else:
        raise _nothing_to_load(source, class_name, vocab_json)
    complete(backend, family, options)
    return Parts(backend, class_name, options)


def _read_vocab_txt(path: Path, unk_token: str) -> models.WordPiece:
    try:
        with path.open(encoding="utf-8") as lines:
            vocabulary = {line.rstrip("\n"): id for id, line in enumerate(lines)}
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error
    return models.WordPiece(vocabulary, unk_token=unk_token)


def _read_bpe(vocab: Path, merges: Path) -> models.BPE:
    def explained(error: BaseException) -> CheckpointError:
        return CheckpointError(
            f"{vocab} and {merges.name} cannot be read as byte-level BPE: {error}",
            next_step="Download both again (force_download=True).",
        )

    with backend_errors(explained):
        return models.BPE.from_file(str(vocab), str(merges), continuing_subword_prefix="", end_of_word_suffix="")


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
    if family is None:
        backend = sentencepiece.as_it_is(model)
        for role, id in (("unk", model.unk_id), ("bos", model.bos_id), ("eos", model.eos_id), ("pad", model.pad_id)):
            if id >= 0:
                options.setdefault(f"{role}_token", model.pieces[id][0])
    else:
        tokens = {role: str(options[role]) for role in ROLES if options.get(role)}
        backend = sentencepiece.lay_out(model, family, tokens, options)
        complete(backend, family, options, model.charsmap)
        if family.pieces == "t5":
            names = [f"<extra_id_{number}>" for number in range(options["extra_ids"])]
            options.setdefault("additional_special_tokens", names)
        if family.languages:
            more = [
                token for token in options.get("additional_special_tokens") or () if str(token) not in family.languages
            ]
            options["additional_special_tokens"] = [*family.languages, *more]
    return Parts(backend, class_name, options, sentencepiece.special_pieces(model))


def _no_recipe(source: Files, class_name: str) -> UnknownArchitectureError:
    return UnknownArchitectureError(
        f"{source.name} names the tokenizer class {class_name!r} and has no tokenizer.json, and notebook_kit cannot build "
        f"that class from vocabulary files. {near_matches(class_name, FAMILIES)}".rstrip(),
        next_step="Convert it once with `transformers` (load it there and call `save_pretrained`), which writes "
        f"tokenizer.json. The classes that can be built are {', '.join(FAMILIES)}.",
    )


def _nothing_to_load(source: Files, class_name: str, vocab_json: Path | None) -> CheckpointError:
    if vocab_json is not None:
        missing = "vocab.json but no merges.txt"
    else:
        missing = "no tokenizer.json, vocab.txt, vocab.json with merges.txt, or sentencepiece .model"
        if class_name not in GENERIC_CLASSES:
            missing += f" that a {class_name} can be built from"
    return CheckpointError(
        f"{source.name} has no vocabulary: there is {missing}.",
        next_step="Pass the folder or repository that the tokenizer was saved to; a model can be saved without one.",
    )


# Options, tokens and roles


def check_options(options: Mapping[str, Any]) -> None:
    """Check that a caller's options exist. (A checkpoint's config may contain anything.)

    Raises:
        InputError: If one does not, with near matches.
    """
    for name in options:
        if name not in _OPTIONS and not name.endswith("_token"):
            raise InputError(
                f"A tokenizer has no option {name!r}. {near_matches(name, [*sorted(_OPTIONS), *ROLES, *HUB_OPTIONS])}".rstrip(),
                next_step="Check the spelling; special tokens are passed by role, such as pad_token='[PAD]'.",
            )


def needs_recipe(backend: Tokenizer, family: Family, parts: Parts) -> bool:
    """Whether to build the family's post-processor: the backend has none, or the caller's options change it."""
    present = backend.post_processor
    if present is None or not parts.from_file:
        return True
    if family.template == "roberta" and type(present) is processors.RobertaProcessing:
        return True
    return bool(parts.overridden & {"bos_token", "eos_token", "cls_token", "sep_token"})


def add_missing_tokens(backend: Tokenizer, added: list[AddedToken], roles: list[Any], extra: list[Any]) -> None:
    """Add the missing tokens to the backend: first the added tokens, then the special ones, which determines their ids.

    Args:
        added: Tokens from the checkpoint's lists, in the order of their ids.
        roles: The tokens that have a role, as str or AddedToken.
        extra: Special tokens without a role.
    """
    known = list(backend.get_added_tokens_decoder().values())
    present = set(map(repr, known))
    missing = [token for token in added if repr(token) not in present]
    names = {token.content for token in [*known, *missing]}
    special = set(map(str, roles))
    for token in [*roles, *extra]:
        if str(token) not in names:
            names.add(str(token))
            missing.append(AddedToken(token, special=True) if isinstance(token, str) else token)
    for token in missing:
        if token.content in special:
            token.special = True
    if missing:
        backend.add_tokens(missing)


def recipe_post_processor(backend: Tokenizer, family: Family, roles: Mapping[str, Any], options: Mapping) -> Any:
    """The family's post-processor, with the ids of this vocabulary."""
    tokens = {role: None if token is None else str(token) for role, token in roles.items()}
    ids = {role: None if token is None else backend.token_to_id(token) for role, token in tokens.items()}
    return post_processor(family.template, tokens, ids, options)
