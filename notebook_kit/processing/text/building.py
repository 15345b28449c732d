"""Build a tokenizer's pipeline by its family's recipe, and apply the switches of a checkpoint to an existing pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from notebook_kit.errors import warn
from notebook_kit.processing.text.families import UNDERLINE, Family

__all__ = ["SWITCHES", "adjust", "bos_eos_template", "complete", "post_processor", "switches_of"]

SWITCHES = ("add_prefix_space", "do_lower_case", "keep_accents", "strip_accents", "tokenize_chinese_chars")
"""The options that change how a text is split, whatever the pipeline."""

_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CLIP_SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


_PUNCTUATION = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""


# Recipes


def complete(backend: Tokenizer, family: Family, options: Mapping[str, Any], charsmap: bytes | None = None) -> None:
    """Add the family's normalizer, pre-tokenizer and decoder to a bare vocabulary.

    Args:
        backend: A tokenizer with only a vocabulary.
        options: The switches of `family.options`, with the checkpoint's values.
        charsmap: The precompiled character map of a sentencepiece model.
    """
    _PIPELINES[family.pipeline](backend, options, charsmap)


def _bert(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=options["tokenize_chinese_chars"],
        strip_accents=options["strip_accents"],
        lowercase=options["do_lower_case"],
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")


def _byte_level(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=options["add_prefix_space"])
    backend.decoder = decoders.ByteLevel()


def _byte_level_nfc(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    _byte_level(backend, options, charsmap)
    backend.normalizer = normalizers.NFC()


def _qwen2(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    backend.normalizer = normalizers.NFC()
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=options["add_prefix_space"], use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_QWEN2_SPLIT), "isolated"), in_bytes])
    backend.decoder = decoders.ByteLevel()


def _clip(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(_CLIP_SPLIT), "removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()


def _split_at_spaces(backend: Tokenizer, prepend_scheme: str) -> None:
    metaspace = pre_tokenizers.Metaspace(replacement=UNDERLINE, prepend_scheme=prepend_scheme)
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    backend.decoder = decoders.Metaspace(replacement=UNDERLINE, prepend_scheme=prepend_scheme)


def _metaspace(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    if charsmap:
        backend.normalizer = normalizers.Precompiled(charsmap)
    _split_at_spaces(backend, "always" if options["add_prefix_space"] else "never")


def _albert(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not options["keep_accents"]:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if options["do_lower_case"]:
        steps.append(normalizers.Lowercase())
    if charsmap:
        steps.append(normalizers.Precompiled(charsmap))
    backend.normalizer = normalizers.Sequence(steps)
    _split_at_spaces(backend, "always" if options["add_prefix_space"] else "never")


def _siglip(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    steps: list[Any] = [normalizers.Replace(UNDERLINE, " ")]
    if options["do_lower_case"]:
        steps.append(normalizers.Lowercase())
    steps.append(normalizers.Replace(Regex(_PUNCTUATION), ""))
    if charsmap:
        steps.append(normalizers.Precompiled(charsmap))
    steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(), normalizers.Prepend(UNDERLINE)]
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=UNDERLINE, prepend_scheme="never")
    backend.decoder = decoders.Metaspace(replacement=UNDERLINE, prepend_scheme="always")


def _llama(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    prefix = options["add_prefix_space"] is not False
    scheme = ("always" if options["legacy"] else "first") if prefix else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=UNDERLINE, prepend_scheme=scheme, split=False)
    backend.decoder = decoders.Sequence([*_UNDERLINES_AND_BYTES, *([_STRIP] if prefix else [])])


def _gemma(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    backend.normalizer = normalizers.Replace(" ", UNDERLINE)
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence(_UNDERLINES_AND_BYTES)


_UNDERLINES_AND_BYTES: list[Any] = [decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse()]
_STRIP = decoders.Strip(content=" ", left=1)

_PIPELINES: dict[str, Callable[[Tokenizer, Mapping[str, Any], bytes | None], None]] = {
    "bert": _bert,
    "byte-level": _byte_level,
    "byte-level nfc": _byte_level_nfc,
    "qwen2": _qwen2,
    "clip": _clip,
    "metaspace": _metaspace,
    "albert": _albert,
    "siglip": _siglip,
    "llama": _llama,
    "gemma": _gemma,
}


def post_processor(template: str, tokens: Mapping[str, Any], ids: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """The post-processor that puts a family's special tokens around one text or a pair.

    Args:
        template: As `Family.template`.
        tokens, ids: Token and id by role ("cls_token", ...).
        options: "trim_offsets", "add_prefix_space", "add_bos_token", "add_eos_token", if the template depends on them.
    """
    if template == "bos-eos":
        bos = tokens.get("bos_token") if options.get("add_bos_token") else None
        eos = tokens.get("eos_token") if options.get("add_eos_token") else None
        return bos_eos_template(bos, ids.get("bos_token"), eos, ids.get("eos_token"))
    if template in ("roberta", "clip"):
        end, start = ("sep_token", "cls_token") if template == "roberta" else ("eos_token", "bos_token")
        return processors.RobertaProcessing(
            (tokens[end], ids[end]),
            (tokens[start], ids[start]),
            trim_offsets=template == "roberta" and options.get("trim_offsets", True),
            add_prefix_space=options.get("add_prefix_space", False),
        )
    cls, sep, bos, eos = (tokens.get(f"{role}_token") for role in ("cls", "sep", "bos", "eos"))
    single, pair, used = {
        "bert": (
            [f"{cls}:0", "$A:0", f"{sep}:0"],
            [f"{cls}:0", "$A:0", f"{sep}:0", "$B:1", f"{sep}:1"],
            ("cls_token", "sep_token"),
        ),
        "xlm-roberta": ([bos, "$A", eos], [bos, "$A", eos, eos, "$B", eos], ("bos_token", "eos_token")),
        "t5": (["$A", eos], ["$A", eos, "$B", eos], ("eos_token",)),
        "marian": (["$A", eos], ["$A", "$B", eos], ("eos_token",)),
    }[template]
    special = sorted({(tokens[role], ids[role]) for role in used})
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)


def bos_eos_template(bos: str | None, bos_id: int | None, eos: str | None, eos_id: int | None) -> Any:
    """A post-processor that puts `bos` before and `eos` after each text; either may be None."""

    def around(name: str, type_id: int) -> list[str]:
        before = [f"{bos}:{type_id}"] if bos else []
        after = [f"{eos}:{type_id}"] if eos else []
        return [*before, f"${name}:{type_id}", *after]

    special = {(token, id) for token, id in ((bos, bos_id), (eos, eos_id)) if token}
    return processors.TemplateProcessing(
        single=around("A", 0), pair=around("A", 0) + around("B", 1), special_tokens=sorted(special)
    )


# Switches

_FIELDS = {
    "BertNormalizer": {
        "lowercase": "do_lower_case",
        "strip_accents": "strip_accents",
        "handle_chinese_chars": "tokenize_chinese_chars",
    },
    "ByteLevel": {"add_prefix_space": "add_prefix_space"},
    "RobertaProcessing": {"trim_offsets": "trim_offsets"},
}
# Types of steps that are left out if a switch is off.
_STEPS = {
    "Lowercase": "do_lower_case",
    "StripAccents": "strip_accents",
    "Prepend": "add_prefix_space",
    "Strip": "add_prefix_space",
}
_NESTED = ("normalizers", "pretokenizers", "decoders")


def switches_of(backend: Tokenizer) -> dict[str, Any]:
    """The switches that the steps of a pipeline state: `do_lower_case`, `add_prefix_space`, ..., with their values."""
    found: dict[str, Any] = {}
    steps = [*_steps(backend.post_processor, "RobertaProcessing")]
    steps += [*_steps(backend.normalizer, "BertNormalizer"), *_steps(backend.pre_tokenizer, "ByteLevel")]
    for step in steps:
        found |= {switch: step[field] for field, switch in _FIELDS[step["type"]].items()}
    return found


def _steps(component: Any, kind: str) -> list[dict[str, Any]]:
    """The serialized steps of this type, also those inside sequences."""
    found, states = [], [] if component is None else [json.loads(component.__getstate__())]
    while states:
        state = states.pop()
        found += [state] if state["type"] == kind else []
        states += next((state[key] for key in _NESTED if key in state), [])
    return found


def adjust(backend: Tokenizer, switches: Mapping[str, Any], explicit: Mapping[str, Any]) -> None:
    """Apply switches to the pipeline of a tokenizer.json.

    Args:
        backend: The tokenizer, whose normalizer, pre-tokenizer and decoder are replaced where a switch differs.
        switches: `add_prefix_space`, `do_lower_case`, ... as the checkpoint has them. They change only the steps that are
            there: a pipeline that was deliberately built differently stays.
        explicit: Those that the caller passed. Steps that these ask for are added; one notice names the switches that do
            not apply to this pipeline.
    """
    switches, explicit = _one_spelling(switches), _one_spelling(explicit)
    applied: set[str] = set()
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        present = getattr(backend, part)
        state = None if present is None else json.loads(present.__getstate__())
        changed = None if state is None else _changed(state, part, {**switches, **explicit}, explicit, applied)
        if part == "normalizer":
            changed = _with_steps(changed, explicit, applied)
        if changed != state:
            setattr(backend, part, _component(part, changed))
    unused = [name for name, value in explicit.items() if name not in applied and value]
    if unused:
        warn(f"{', '.join(unused)} has no effect: this tokenizer's pipeline has no step that it changes.")


def _one_spelling(switches: Mapping[str, Any]) -> dict[str, Any]:
    """The switches with `keep_accents` as its opposite, `strip_accents`."""
    found = {name: value for name, value in switches.items() if name in SWITCHES}
    if found.pop("keep_accents", False):
        found["strip_accents"] = False
    return found


def _changed(
    state: dict[str, Any], part: str, switches: Mapping[str, Any], explicit: Mapping[str, Any], applied: set[str]
) -> dict[str, Any] | None:
    """The serialized step with the switches applied; None if it is to be left out."""
    kind = state["type"]
    if kind == "Sequence":
        key = next(key for key in _NESTED if key in state)
        steps = state[key]
        if switches.get("strip_accents") is False and any(step["type"] == "StripAccents" for step in steps):
            # Characters are decomposed only for their accents to be removed.
            steps = [step for step in steps if step["type"] not in ("NFD", "NFKD")]
        changed = [_changed(step, part, switches, explicit, applied) for step in steps]
        return {**state, key: [step for step in changed if step is not None]}
    for field, switch in _FIELDS.get(kind, {}).items():
        if switch in switches and part != "decoder":
            applied.add(switch)
            state = {**state, field: switches[switch]}
    if kind == "Metaspace" and "add_prefix_space" in switches:
        applied.add("add_prefix_space")
        if not switches["add_prefix_space"]:
            return {**state, "prepend_scheme": "never"}
        if explicit.get("add_prefix_space") and state["prepend_scheme"] == "never":
            return {**state, "prepend_scheme": "always"}
    switch = _STEPS.get(kind, "")
    if switch in switches and (kind != "Strip" or part == "decoder"):
        applied.add(switch)
        return None if switches[switch] is False else state
    return state


def _with_steps(state: dict[str, Any] | None, explicit: Mapping[str, Any], applied: set[str]) -> dict[str, Any] | None:
    """The serialized normalizer with the steps that the caller asks for and that it does not have."""
    steps = [] if state is None else [state]
    for switch, wanted in (("strip_accents", ("NFD", "StripAccents")), ("do_lower_case", ("Lowercase",))):
        if explicit.get(switch) and switch not in applied:
            applied.add(switch)
            steps += [{"type": kind} for kind in wanted]
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "normalizers": steps} if steps else None


def _component(part: str, state: dict[str, Any] | None) -> Any:
    """A component from its serialized form, which only a whole tokenizer can be read from."""
    if state is None:
        return None
    shell = json.loads(Tokenizer(models.WordLevel({}, "")).to_str())
    return getattr(Tokenizer.from_str(json.dumps({**shell, part: state})), part)
