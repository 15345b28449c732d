"""Read the parts of a tokenizer from a checkpoint's files, or put them together from what a caller passed."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from notebook_kit.errors import InputError, near_matches, warn
from notebook_kit.files import damaged
from notebook_kit.hub import HUB_OPTIONS, locate, take_hub_options
from notebook_kit.keywords import MET
from notebook_kit.processing.text.building import SWITCHES, adjust, complete, post_processor, switches_of
from notebook_kit.processing.text.families import FAMILIES, MODEL_TYPES, Family, family_of
from notebook_kit.processing.text.inputs import backend_errors
from notebook_kit.processing.text.parts import Files, GivenFiles, Parts
from notebook_kit.processing.text.settings import as_option, as_token, check_options, read_settings
from notebook_kit.processing.text.vocabulary import ROLES
from notebook_kit.processing.text.vocabulary_files import bare_model, blank_vocabulary, from_vocabulary

__all__ = [
    "add_missing_tokens",
    "class_of_type",
    "given_parts",
    "load_parts",
    "needs_recipe",
    "open_files",
    "recipe_post_processor",
]

# Keys of tokenizer_config.json that name files or describe the run that saved them.
_NOT_OPTIONS = (
    {"tokenizer_file", "vocab_file", "merges_file", "special_tokens_map_file", "added_tokens_file", "files_loaded"}
    | {"tokenizer_class", "processor_class", "auto_map", "backend", "added_tokens_decoder", "init_inputs"}
    | {"name_or_path", "is_local", "local_files_only"}
)
# Options of from_pretrained in `transformers` that have no effect here.
_IGNORED = {"config", "resume_download", "proxies"} | MET
# Options that a caller may pass, besides those whose names end in "_token"; some have no effect, as in `transformers`.
_OPTIONS = (
    {"additional_special_tokens", "extra_special_tokens", "split_special_tokens", "pad_token_type_id"}
    | {"max_len", "max_length", "model_max_length", "model_input_names", "padding_side", "truncation_side"}
    | {"src_lang", "tgt_lang", "source_lang", "target_lang", "chat_template", "clean_up_tokenization_spaces"}
    | {"do_basic_tokenize", "never_split", "remove_space", "sp_model_kwargs", "errors", "name_or_path", "verbose"}
    | {"add_bos_token", "add_eos_token", "model_specific_special_tokens", *SWITCHES}
    | {switch for family in FAMILIES.values() for switch in family.options}
)
# What a caller may pass in place of a checkpoint: the argument -> the file's name in a checkpoint, by kind of vocabulary.
_ARGUMENTS = {
    "wordpiece": {"vocab": "vocab.txt"},
    "bpe": {"vocab": "vocab.json", "merges": "merges.txt"},
    "sentencepiece": {"vocab": "tokenizer.model", "merges": "merges.txt"},
    "marian": {
        "source_spm": "source.spm",
        "target_spm": "target.spm",
        "vocab": "vocab.json",
        "target_vocab_file": "target_vocab.json",
    },
    "m2m100": {"vocab": "vocab.json", "spm": "sentencepiece.bpe.model"},
}


def open_files(name_or_path: Any, options: dict[str, Any]) -> Files:
    """Find a checkpoint or a single vocabulary file; options for the Hub are removed from `options`."""
    where = take_hub_options(options)
    path = Path(name_or_path) if isinstance(name_or_path, str | os.PathLike) else None
    known = {".txt": "vocab.txt", ".json": "tokenizer.json", ".model": "tokenizer.model"}
    if path is not None and path.suffix in known and path.is_file():
        return GivenFiles({known[path.suffix]: path})
    return locate(name_or_path, **where)


def load_parts(source: Files, overrides: Mapping[str, Any], class_name: str | None = None) -> Parts:
    """Read the tokenizer of a checkpoint.

    The pipeline is read from tokenizer.json. Without that file it is built from the vocabulary files in the way of the
    tokenizer class, which is named by tokenizer_config.json or config.json, or implied by config.json's model type.

    Args:
        overrides: Options that override the checkpoint's.
        class_name: The tokenizer class; None for the one that the checkpoint names.

    Raises:
        CheckpointError: If there is no vocabulary, or a file is damaged.
        InputError: If an option is misspelled.
        UnknownArchitectureError: If there are only vocabulary files, of a class that cannot be built from them here.
    """
    overrides = {key: as_option(key, value) for key, value in overrides.items() if key not in _IGNORED}
    _check_options(overrides)
    config = read_settings(source, "tokenizer_config.json")
    class_name = class_name or _class_name(source, config)
    family = family_of(class_name)
    has_list = family is not None and family.vocabulary in ("marian", "m2m100")
    tokenizer_file = None if has_list else source.find("tokenizer.json")  # one pipeline cannot describe all of these

    options: dict[str, Any] = family.defaults if family else {}
    options |= {key: as_option(key, value) for key, value in config.items() if key not in _NOT_OPTIONS}
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
    options |= {key: value for key, value in overrides.items() if value is not None or key not in SWITCHES}
    _use_defaults(options, family)

    decoder = config.get("added_tokens_decoder") or {}
    added = [as_token(decoder[id]) for id in sorted(decoder, key=int)]
    if tokenizer_file is not None:
        stated = {name for given in (config, overrides) for name, value in given.items() if value is not None}
        if "do_lower_case" in stated:
            stated.add("strip_accents")  # its default, None, follows do_lower_case
        parts = _from_pipeline(_read_pipeline(tokenizer_file), class_name, family, options, overrides, stated)
        parts.added_tokens += added
    else:
        parts = from_vocabulary(source, class_name, family, options)
        parts.added_tokens += [*added, *_legacy_added_tokens(source, config, parts.options)]
    parts.overridden = frozenset(overrides)
    parts.options["name_or_path"] = source.name
    _use_added_flags(parts)
    return parts


def given_parts(class_name: str, positional: Sequence[Any], options: dict[str, Any]) -> Parts:
    """The parts of a tokenizer that is constructed rather than loaded.

    Args:
        class_name: The tokenizer class.
        positional: A `tokenizers.Tokenizer`, or the vocabulary's files or contents in the order of `_ARGUMENTS`.
        options: The keywords of the call: `tokenizer_object`, `tokenizer_file`, `vocab_file`, `vocab`, ..., and settings.

    Raises:
        InputError: If there is no vocabulary, or two, or an option is misspelled.
        CheckpointError: If a file cannot be read.
    """
    family = family_of(class_name)
    names = _ARGUMENTS.get(family.vocabulary if family else "", {"vocab": "vocab.txt", "merges": "merges.txt"})
    given = {"tokenizer_object": options.pop("tokenizer_object", None)}
    given["tokenizer_file"] = options.pop("tokenizer_file", None)
    for name in names:
        given[name] = options.pop(f"{name}_file", None)
        given[name] = options.pop(name, None) if given[name] is None else given[name]
    if positional and isinstance(positional[0], Tokenizer):
        positional, given["tokenizer_object"] = positional[1:], positional[0]
    if len(positional) > len(names) or any(given[name] is not None for name in list(names)[: len(positional)]):
        raise InputError(
            f"{class_name} got {len(positional)} positional arguments that it cannot place.",
            next_step=f"Pass {', '.join(names)} by name.",
        )
    given |= dict(zip(names, positional, strict=False))
    overrides = {key: as_option(key, value) for key, value in options.items() if key not in _IGNORED}
    _check_options(overrides)
    options = {**(family.defaults if family else {}), **overrides}
    _use_defaults(options, family)
    backend, file = given.pop("tokenizer_object"), given.pop("tokenizer_file")
    if (backend is not None and file is not None) or not isinstance(backend, Tokenizer | None):
        raise InputError(
            f"tokenizer_object is {type(backend).__name__!r}, tokenizer_file {file!r}.",
            next_step="Pass either a tokenizers.Tokenizer as tokenizer_object or a path as tokenizer_file.",
        )
    pipeline = copy.deepcopy(backend) if file is None else _read_pipeline(Path(file))
    _use_class_tokens(options, family)
    if pipeline is not None:
        if family and not family.completes_objects and pipeline.post_processor is None:
            options.setdefault("add_bos_token", False)
        stated = {name for name, value in overrides.items() if value is not None}
        parts = _from_pipeline(pipeline, class_name, family, options, overrides, stated)
    else:
        parts = _from_arguments(class_name, family, {name: given[name] for name in names}, names, options)
    parts.overridden = frozenset(overrides)
    _use_added_flags(parts)
    return parts


def _from_arguments(
    class_name: str, family: Family | None, given: Mapping[str, Any], names: Mapping[str, str], options: dict[str, Any]
) -> Parts:
    """The parts from vocabulary files, or their contents, that a caller passed by name."""
    paths = {names[name]: value for name, value in given.items() if isinstance(value, str | os.PathLike)}
    missing = [str(path) for path in paths.values() if not Path(path).is_file()]
    if missing:
        raise InputError(
            f"There is no file {', '.join(missing)}.",
            next_step="Pass the path of a vocabulary file; for a name on the Hub use from_pretrained.",
        )
    if paths:
        return from_vocabulary(GivenFiles(paths), class_name, family, options)
    vocabulary = given.get("vocab")
    if vocabulary is None and family is not None and family.vocabulary in ("", "marian", "m2m100"):
        raise InputError(
            f"A {class_name} was constructed without a vocabulary.",
            next_step=f"Pass {', '.join(names)}, or use {class_name}.from_pretrained(name_or_path).",
        )
    if vocabulary is None and family is None:
        raise InputError(
            "A tokenizer is built from tokenizer_object or tokenizer_file, and neither was passed.",
            next_step="To load a checkpoint use AutoTokenizer.from_pretrained(name_or_path).",
        )
    if vocabulary is None and family is not None:
        backend = blank_vocabulary(family, options)
    else:
        with backend_errors(lambda error: _not_a_vocabulary(class_name, error)):
            backend = Tokenizer(bare_model(family, vocabulary, given.get("merges"), options))
    if family is not None:
        complete(backend, family, options)
    return Parts(backend, class_name, options)


def _not_a_vocabulary(class_name: str, error: BaseException) -> InputError:
    return InputError(
        f"The vocabulary of the {class_name} cannot be used: {error}",
        next_step="Pass a dict of ids by token (with merges=[('a', 'b'), ...] for BPE), or a list of (piece, score).",
    )


def _class_name(source: Files, config: Mapping[str, Any]) -> str | None:
    name = config.get("tokenizer_class")
    if name is not None and name.removesuffix("Fast") != "LlamaTokenizer":
        return name
    model_config = read_settings(source, "config.json")
    of_pair = model_config.get("encoder") if model_config.get("model_type") == "encoder-decoder" else None
    reader = of_pair if isinstance(of_pair, Mapping) else model_config  # of two families, that of the encoder reads
    by_type = MODEL_TYPES.get(reader.get("model_type") or "")
    if name is None:
        return model_config.get("tokenizer_class") or by_type
    # Many byte-level checkpoints name the Llama class, whose defaults are not theirs.
    if by_type == "Qwen2Tokenizer":
        return by_type
    pipeline = source.find("tokenizer.json")
    in_bytes = pipeline is not None and b'"ByteLevel"' in pipeline.read_bytes()
    return "PreTrainedTokenizerFast" if in_bytes else name


def class_of_type(model_type: str | None) -> str | None:
    """The name of the tokenizer class of a model type, for the option `tokenizer_type`; None for None.

    Raises:
        InputError: If there is no such type.
    """
    if model_type is None or model_type in MODEL_TYPES:
        return MODEL_TYPES.get(model_type or "")
    raise InputError(
        f"There is no tokenizer_type {model_type!r}. {near_matches(str(model_type), MODEL_TYPES)}".rstrip(),
        next_step=f"The types are {', '.join(MODEL_TYPES)}.",
    )


def _use_defaults(options: dict[str, Any], family: Family | None) -> None:
    """Old versions saved null for a switch that was not set."""
    for key, default in (family.options if family else {}).items():
        if options[key] is None:
            options[key] = default
    if family and family.pieces == "t5":
        names = [f"<extra_id_{number}>" for number in range(options["extra_ids"])]
        present = options.get("additional_special_tokens") or options.get("extra_special_tokens") or []
        if isinstance(present, list) and not any("<extra_id_" in str(token) for token in present):
            options["additional_special_tokens"] = [*present, *names]


def _use_class_tokens(options: dict[str, Any], family: Family | None) -> None:
    """Add the language codes, or the default extra tokens, that a constructed tokenizer of the class has."""
    present = options.get("additional_special_tokens") or options.get("extra_special_tokens") or []
    if family is None or not isinstance(present, list | tuple):
        return
    names = set(map(str, present))
    languages = map(family.language_token.format, family.languages)
    missing = [code for code in languages if code not in names] or ([] if present else family.extra_tokens)
    if missing:
        options["additional_special_tokens"] = [*missing, *present]


def _read_pipeline(path: Path) -> Tokenizer:
    """Read a tokenizer.json.

    Raises:
        CheckpointError: If it cannot be read.
    """
    with backend_errors(lambda error: damaged(path, error)):
        return Tokenizer.from_file(str(path))


def _from_pipeline(
    backend: Tokenizer,
    class_name: str | None,
    family: Family | None,
    options: dict[str, Any],
    overrides: Mapping[str, Any],
    stated: Set[str],
) -> Parts:
    """The parts around a complete pipeline, with the switches applied that the checkpoint or the caller set.

    Args:
        stated: The names of these. Other switches in `options` are the class' defaults, and get the pipeline's values.
    """
    # A file's padding and truncation become defaults, and are switched off: every call sets its own.
    if backend.padding:
        options.setdefault("pad_token", backend.padding["pad_token"])
        options.setdefault("pad_token_type_id", backend.padding["pad_type_id"])
        options.setdefault("padding_side", backend.padding["direction"])
    if backend.truncation:
        options.setdefault("truncation_side", backend.truncation["direction"])
    backend.no_padding()
    backend.no_truncation()
    names = family.options if family else {}
    switches = {name: options[name] for name in names if name in stated}
    options |= {name: value for name, value in switches_of(backend).items() if name in names and name not in stated}
    adjust(backend, switches, {name: overrides[name] for name in SWITCHES if overrides.get(name) is not None})
    return Parts(backend, class_name or "PreTrainedTokenizerFast", options, from_file=True)


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


# Options, tokens and roles


def _check_options(options: Mapping[str, Any]) -> None:
    """Check the names of a caller's options. (A checkpoint's config may contain anything.)

    An unknown name that resembles an option is an error; others are kept in `init_kwargs`, as in `transformers`.

    Raises:
        InputError: If one is probably misspelled, with near matches.
    """
    check_options(options)
    known = [*sorted(_OPTIONS), *ROLES, *HUB_OPTIONS, *_IGNORED]
    unknown = [name for name in options if name not in _OPTIONS and not name.endswith("_token")]
    for name in unknown:
        if difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            raise InputError(
                f"A tokenizer has no option {name!r}. {near_matches(name, known)}".rstrip(),
                next_step="Check the spelling; special tokens are passed by role, such as pad_token='[PAD]'.",
            )
    if unknown:
        warn(
            f"{', '.join(unknown)} has no effect when a tokenizer is created. "
            "(padding, truncation, return_tensors, ... belong in the call: tokenizer(texts, return_tensors='pt').)"
        )


def needs_recipe(backend: Tokenizer, family: Family, parts: Parts) -> bool:
    """Whether to build the family's post-processor: the backend has none, or the caller's options change it."""
    present = backend.post_processor
    if not family.template or family.languages:
        return False
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
