"""How each tokenizer class turns its vocabulary into a pipeline, as one table.

A checkpoint that brings `tokenizer.json` needs little of this: the file is the pipeline. The table says what a family
takes for granted: the special tokens and inputs that old checkpoints leave unsaid, and how to build the pipeline when
there are only vocabulary files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors

__all__ = ["FAMILIES", "MODEL_TYPES", "Family", "bos_eos_template", "complete", "family_of", "post_processor"]

UNDERLINE = "▁"  # sentencepiece's mark for a space


@dataclass(frozen=True)
class Family:
    """What the checkpoints of one tokenizer class take for granted.

    Attributes:
        special_tokens: The default token of each role.
        pipeline: Which normalizer, pre-tokenizer and decoder: "bert", "byte-level", "metaspace", "albert", "llama"; "marian"
            has those of its two models.
        template: Which special tokens go around texts: "bert", "roberta", "xlm-roberta", "t5", "marian", "bos-eos",
            or "language-last" and "language-first", which depend on the text's language.
        model_input_names: What a call returns unless told otherwise.
        options: The pipeline's switches, with their defaults.
        pieces: How the pieces of a sentencepiece model are laid out as ids: "as they are", "fairseq", "camembert", "t5".
        vocabulary: The vocabulary's kind when there is no tokenizer.json: "wordpiece", "bpe", "sentencepiece" or "marian".
        padding_side: Where padding goes unless told otherwise.
        languages: The codes of the languages that it knows, in the order of their ids.
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


_BERT = Family(
    special_tokens={
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    pipeline="bert",
    template="bert",
    vocabulary="wordpiece",
    model_input_names=("input_ids", "token_type_ids", "attention_mask"),
    options={"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None},
)
_FAIRSEQ_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
_ROBERTA = Family(
    special_tokens=_FAIRSEQ_TOKENS,
    pipeline="byte-level",
    template="roberta",
    vocabulary="bpe",
    options={"add_prefix_space": False, "trim_offsets": True},
)
_GPT2 = Family(
    special_tokens=dict.fromkeys(("unk_token", "bos_token", "eos_token"), "<|endoftext|>"),
    pipeline="byte-level",
    template="bos-eos",
    vocabulary="bpe",
    options={"add_prefix_space": False},
)
_XLM_ROBERTA = Family(
    special_tokens=_FAIRSEQ_TOKENS,
    pipeline="metaspace",
    template="xlm-roberta",
    vocabulary="sentencepiece",
    options={"add_prefix_space": True},
    pieces="fairseq",
)
_CODES = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV "
    "my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
_MORE_CODES = (
    "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX "
    "sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
_MBART_LANGUAGES = tuple(_CODES.split())
_MBART50_LANGUAGES = (*_MBART_LANGUAGES, *_MORE_CODES.split())
# The space before a mask belongs to the mask: "a <mask>" must not leave a token for the space alone.
_MASK_WITH_ITS_SPACE = AddedToken("<mask>", lstrip=True, special=True)

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
        special_tokens=_FAIRSEQ_TOKENS | {"unk_token": "[UNK]", "mask_token": _MASK_WITH_ITS_SPACE},
        template="roberta",
        model_input_names=("input_ids", "attention_mask"),
    ),
    "RobertaTokenizer": _ROBERTA,
    "BartTokenizer": _ROBERTA,
    "LEDTokenizer": _ROBERTA,
    "LongformerTokenizer": _ROBERTA,
    "GPT2Tokenizer": _GPT2,
    "XLMRobertaTokenizer": _XLM_ROBERTA,
    "CamembertTokenizer": replace(
        _XLM_ROBERTA,
        special_tokens=_FAIRSEQ_TOKENS | {"mask_token": _MASK_WITH_ITS_SPACE},
        pieces="camembert",
    ),
    "T5Tokenizer": Family(
        special_tokens={"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
        pipeline="metaspace",
        template="t5",
        vocabulary="sentencepiece",
        options={"add_prefix_space": True, "extra_ids": 100},
        pieces="t5",
    ),
    "MBartTokenizer": replace(
        _XLM_ROBERTA,
        special_tokens=_FAIRSEQ_TOKENS | {"mask_token": _MASK_WITH_ITS_SPACE},
        template="language-last",
        languages=_MBART_LANGUAGES,
    ),
    "MBart50Tokenizer": replace(
        _XLM_ROBERTA,
        special_tokens=_FAIRSEQ_TOKENS | {"mask_token": _MASK_WITH_ITS_SPACE},
        template="language-first",
        languages=_MBART50_LANGUAGES,
    ),
    "MarianTokenizer": Family(
        special_tokens={"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
        pipeline="marian",
        template="marian",
        vocabulary="marian",
        options={"separate_vocabs": False},
    ),
    "AlbertTokenizer": Family(
        special_tokens={
            "bos_token": "[CLS]",
            "eos_token": "[SEP]",
            "unk_token": "<unk>",
            "sep_token": "[SEP]",
            "pad_token": "<pad>",
            "cls_token": "[CLS]",
            "mask_token": "[MASK]",
        },
        pipeline="albert",
        template="bert",
        vocabulary="sentencepiece",
        options={"do_lower_case": True, "keep_accents": False, "add_prefix_space": True},
    ),
    "LlamaTokenizer": Family(
        special_tokens={"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
        pipeline="llama",
        template="bos-eos",
        vocabulary="sentencepiece",
        options={"add_prefix_space": True, "legacy": False},
        padding_side="left",
    ),
}

FAMILIES["MT5Tokenizer"] = replace(FAMILIES["T5Tokenizer"], options={"add_prefix_space": True, "extra_ids": 0})

# Used when neither tokenizer_config.json nor config.json names a tokenizer class.
MODEL_TYPES: dict[str, str] = {
    "albert": "AlbertTokenizer",
    "bart": "BartTokenizer",
    "bert": "BertTokenizer",
    "camembert": "CamembertTokenizer",
    "convbert": "ConvBertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "gpt2": "GPT2Tokenizer",
    "layoutlm": "LayoutLMTokenizer",
    "led": "LEDTokenizer",
    "llama": "LlamaTokenizer",
    "longformer": "LongformerTokenizer",
    "marian": "MarianTokenizer",
    "mbart": "MBartTokenizer",
    "mobilebert": "MobileBertTokenizer",
    "mpnet": "MPNetTokenizer",
    "mt5": "MT5Tokenizer",
    "roberta": "RobertaTokenizer",
    "squeezebert": "SqueezeBertTokenizer",
    "t5": "T5Tokenizer",
    "visual_bert": "BertTokenizer",
    "vilt": "BertTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}


def family_of(class_name: str | None) -> Family | None:
    """The family of a tokenizer class, by its name with or without "Fast"; None for one that is not in the table."""
    return FAMILIES.get((class_name or "").removesuffix("Fast"))


def complete(backend: Tokenizer, family: Family, options: Mapping[str, Any], charsmap: bytes | None = None) -> None:
    """Give a bare vocabulary the family's normalizer, pre-tokenizer and decoder.

    Args:
        backend: A tokenizer that has its vocabulary only.
        options: The switches of `family.options`, with the checkpoint's values.
        charsmap: A sentencepiece model's precompiled character map.
    """
    _PIPELINES[family.pipeline](backend, options, charsmap)


def adjust(backend: Tokenizer, family: Family, options: Mapping[str, Any]) -> None:
    """Let a checkpoint's switches win over the pipeline of its tokenizer.json.

    Only a component of the family's own kind is touched: what somebody built differently on purpose stays.
    """
    if family.pipeline == "bert" and type(backend.normalizer) is normalizers.BertNormalizer:
        wanted = (options["do_lower_case"], options["strip_accents"], options["tokenize_chinese_chars"])
        present = backend.normalizer
        if wanted != (present.lowercase, present.strip_accents, present.handle_chinese_chars):
            backend.normalizer = _bert_normalizer(options)
    splitter = backend.pre_tokenizer
    if family.pipeline == "byte-level" and type(splitter) is pre_tokenizers.ByteLevel:
        splitter.add_prefix_space = options["add_prefix_space"]
    if family.pipeline in ("metaspace", "albert") and not options["add_prefix_space"]:
        _split_at_spaces(backend, "never")


def _bert_normalizer(options: Mapping[str, Any]) -> Any:
    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=options["tokenize_chinese_chars"],
        strip_accents=options["strip_accents"],
        lowercase=options["do_lower_case"],
    )


def _bert(backend: Tokenizer, options: Mapping[str, Any], charsmap: bytes | None) -> None:
    backend.normalizer = _bert_normalizer(options)
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
    """What puts a family's special tokens around one text or a pair.

    Args:
        template: As `Family.template`.
        tokens, ids: Token and id by role ("cls_token", ...).
        options: "trim_offsets", "add_prefix_space", "add_bos_token", "add_eos_token" where the template asks.
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
    """Put `bos` before and `eos` after each text; either may be None."""

    def around(name: str, type_id: int) -> list[str]:
        before = [f"{bos}:{type_id}"] if bos else []
        after = [f"{eos}:{type_id}"] if eos else []
        return [*before, f"${name}:{type_id}", *after]

    special = {(token, id) for token, id in ((bos, bos_id), (eos, eos_id)) if token}
    return processors.TemplateProcessing(
        single=around("A", 0), pair=around("A", 0) + around("B", 1), special_tokens=sorted(special)
    )
