"""What each tokenizer class implies beyond its vocabulary, as one table.

A checkpoint with `tokenizer.json` needs little of this, because that file defines the whole pipeline. The table holds each
family's defaults (special tokens and model inputs that old checkpoints do not list) and how to build the pipeline if there
are only vocabulary files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors

__all__ = ["FAMILIES", "MODEL_TYPES", "Family", "bos_eos_template", "complete", "family_of", "post_processor"]

UNDERLINE = "▁"  # replaces spaces in sentencepiece's vocabularies


@dataclass(frozen=True)
class Family:
    """The defaults of a tokenizer class.

    Attributes:
        special_tokens: The default token of each role.
        pipeline: The normalizer, pre-tokenizer and decoder: "bert", "byte-level", "metaspace", "albert", "llama", or
            "marian", which uses those of its two sentencepiece models.
        template: The special tokens around texts: "bert", "roberta", "xlm-roberta", "t5", "marian", "bos-eos", or
            "language-last" and "language-first", which depend on the language of the text.
        vocabulary: The kind of vocabulary without tokenizer.json: "wordpiece", "bpe", "sentencepiece" or "marian".
        model_input_names: What a call returns by default.
        options: The switches of the pipeline, with their defaults.
        pieces: How the pieces of a sentencepiece model are assigned to ids: "as they are", "fairseq", "camembert", "t5".
        padding_side: The default padding side.
        languages: The codes of the supported languages, in the order of their ids.
    """

    special_tokens: Mapping[str, str | AddedToken]
    pipeline: str
    template: str
    vocabulary: str
    model_input_names: tuple[str, ...] = ("input_ids", "attention_mask")
    options: Mapping[str, Any] = field(default_factory=dict)
    pieces: str = "as they are"
    padding_side: str = "right"
    languages: tuple[str, ...] = ()

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of every switch and special token by name."""
        return {**self.options, **self.special_tokens}


def _roles(**tokens: str | AddedToken) -> dict[str, str | AddedToken]:
    return {f"{role}_token": token for role, token in tokens.items()}


_FAIRSEQ_TOKENS = _roles(bos="<s>", eos="</s>", sep="</s>", cls="<s>", unk="<unk>", pad="<pad>", mask="<mask>")
# A mask that includes the space before it: "a <mask>" must not leave a token for the space alone.
_WIDE_MASK = _roles(mask=AddedToken("<mask>", lstrip=True, special=True))
_BERT = Family(
    special_tokens=_roles(unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]"),
    pipeline="bert",
    template="bert",
    vocabulary="wordpiece",
    model_input_names=("input_ids", "token_type_ids", "attention_mask"),
    options={"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None},
)
_ROBERTA = Family(
    special_tokens=_FAIRSEQ_TOKENS,
    pipeline="byte-level",
    template="roberta",
    vocabulary="bpe",
    options={"add_prefix_space": False, "trim_offsets": True},
)
_XLM_ROBERTA = Family(
    special_tokens=_FAIRSEQ_TOKENS,
    pipeline="metaspace",
    template="xlm-roberta",
    vocabulary="sentencepiece",
    options={"add_prefix_space": True},
    pieces="fairseq",
)
_T5 = Family(
    special_tokens=_roles(eos="</s>", unk="<unk>", pad="<pad>"),
    pipeline="metaspace",
    template="t5",
    vocabulary="sentencepiece",
    options={"add_prefix_space": True, "extra_ids": 100},
    pieces="t5",
)
_MBART_LANGUAGES = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV "
    "my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
_MBART50_LANGUAGES = (
    f"{_MBART_LANGUAGES} af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX "
    "sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
_MBART = replace(
    _XLM_ROBERTA,
    special_tokens=_FAIRSEQ_TOKENS | _WIDE_MASK,
    template="language-last",
    languages=tuple(_MBART_LANGUAGES.split()),
)

FAMILIES: dict[str, Family] = {
    "BertTokenizer": _BERT,
    "ConvBertTokenizer": _BERT,
    "ElectraTokenizer": _BERT,
    "LayoutLMTokenizer": _BERT,
    "MobileBertTokenizer": _BERT,
    "SqueezeBertTokenizer": _BERT,
    "DistilBertTokenizer": replace(_BERT, model_input_names=("input_ids", "attention_mask")),
    "MPNetTokenizer": replace(
        _BERT,
        special_tokens=_FAIRSEQ_TOKENS | _roles(unk="[UNK]") | _WIDE_MASK,
        template="roberta",
        model_input_names=("input_ids", "attention_mask"),
    ),
    "RobertaTokenizer": _ROBERTA,
    "BartTokenizer": _ROBERTA,
    "LEDTokenizer": _ROBERTA,
    "LongformerTokenizer": _ROBERTA,
    "GPT2Tokenizer": Family(
        special_tokens=_roles(unk="<|endoftext|>", bos="<|endoftext|>", eos="<|endoftext|>"),
        pipeline="byte-level",
        template="bos-eos",
        vocabulary="bpe",
        options={"add_prefix_space": False},
    ),
    "XLMRobertaTokenizer": _XLM_ROBERTA,
    "CamembertTokenizer": replace(_XLM_ROBERTA, special_tokens=_FAIRSEQ_TOKENS | _WIDE_MASK, pieces="camembert"),
    "MBartTokenizer": _MBART,
    "MBart50Tokenizer": replace(_MBART, template="language-first", languages=tuple(_MBART50_LANGUAGES.split())),
    "T5Tokenizer": _T5,
    "MT5Tokenizer": replace(_T5, options={"add_prefix_space": True, "extra_ids": 0}),
    "MarianTokenizer": Family(
        special_tokens=_roles(eos="</s>", unk="<unk>", pad="<pad>"),
        pipeline="marian",
        template="marian",
        vocabulary="marian",
        options={"separate_vocabs": False},
    ),
    "AlbertTokenizer": Family(
        special_tokens=_roles(
            bos="[CLS]", eos="[SEP]", unk="<unk>", sep="[SEP]", pad="<pad>", cls="[CLS]", mask="[MASK]"
        ),
        pipeline="albert",
        template="bert",
        vocabulary="sentencepiece",
        options={"do_lower_case": True, "keep_accents": False, "add_prefix_space": True},
    ),
    "LlamaTokenizer": Family(
        special_tokens=_roles(unk="<unk>", bos="<s>", eos="</s>"),
        pipeline="llama",
        template="bos-eos",
        vocabulary="sentencepiece",
        options={"add_prefix_space": True, "legacy": False},
        padding_side="left",
    ),
}

MODEL_TYPES: dict[str, str] = {name.removesuffix("Tokenizer").lower(): name for name in FAMILIES} | {
    "vilt": "BertTokenizer",
    "visual_bert": "BertTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
"""Model type -> tokenizer class, for checkpoints in which neither tokenizer_config.json nor config.json names the class."""


def family_of(class_name: str | None) -> Family | None:
    """The family of a tokenizer class, by its name with or without "Fast"; None if it is not in the table."""
    return FAMILIES.get((class_name or "").removesuffix("Fast"))


def complete(backend: Tokenizer, family: Family, options: Mapping[str, Any], charsmap: bytes | None = None) -> None:
    """Add the family's normalizer, pre-tokenizer and decoder to a bare vocabulary.

    Args:
        backend: A tokenizer with only a vocabulary.
        options: The switches of `family.options`, with the checkpoint's values.
        charsmap: The precompiled character map of a sentencepiece model.
    """
    _PIPELINES[family.pipeline](backend, options, charsmap)


def adjust(backend: Tokenizer, family: Family, options: Mapping[str, Any]) -> None:
    """Apply a checkpoint's switches to the pipeline of its tokenizer.json.

    Only components of the family's usual type are changed; a pipeline that was deliberately built differently stays.
    """
    normalizer, splitter = backend.normalizer, backend.pre_tokenizer
    if family.pipeline == "bert" and type(normalizer) is normalizers.BertNormalizer:
        normalizer.lowercase = options["do_lower_case"]
        normalizer.strip_accents = options["strip_accents"]
        normalizer.handle_chinese_chars = options["tokenize_chinese_chars"]
    if family.pipeline == "byte-level" and type(splitter) is pre_tokenizers.ByteLevel:
        splitter.add_prefix_space = options["add_prefix_space"]
    if family.pipeline in ("metaspace", "albert") and not options["add_prefix_space"]:
        _split_at_spaces(backend, "never")


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


def _llama(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    prefix = options["add_prefix_space"] is not False
    scheme = ("always" if options["legacy"] else "first") if prefix else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=UNDERLINE, prepend_scheme=scheme, split=False)
    steps: list[Any] = [decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        steps.append(decoders.Strip(content=" ", left=1))
    backend.decoder = decoders.Sequence(steps)


_PIPELINES: dict[str, Callable[[Tokenizer, Mapping[str, Any], bytes | None], None]] = {
    "bert": _bert,
    "byte-level": _byte_level,
    "metaspace": _metaspace,
    "albert": _albert,
    "llama": _llama,
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
    if template == "roberta":
        return processors.RobertaProcessing(
            (tokens["sep_token"], ids["sep_token"]),
            (tokens["cls_token"], ids["cls_token"]),
            trim_offsets=options.get("trim_offsets", True),
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
