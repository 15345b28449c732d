"""What each tokenizer class implies beyond its vocabulary, as one table.

A checkpoint with `tokenizer.json` needs little of this, because that file defines the whole pipeline. The table holds each
family's defaults (special tokens, model inputs and padding side that checkpoints do not always list), and the recipe to
build the pipeline if there are only vocabulary files; `building.py` follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tokenizers import AddedToken

__all__ = ["FAMILIES", "MODEL_TYPES", "UNDERLINE", "Family", "family_of"]

UNDERLINE = "▁"  # replaces spaces in sentencepiece's vocabularies


@dataclass(frozen=True)
class Family:
    """The defaults of a tokenizer class, and its recipe.

    Attributes:
        special_tokens: The default token of each role.
        pipeline: The normalizer, pre-tokenizer and decoder, by name in `building.PIPELINES`; "marian" uses those of its
            sentencepiece models; "" if the class can only be loaded from tokenizer.json.
        template: The special tokens around texts: "bert", "roberta", "xlm-roberta", "t5", "marian", "bos-eos", "clip", or
            "language-last" and "language-first", which depend on the language of the text.
        vocabulary: The kind of vocabulary without tokenizer.json: "wordpiece", "bpe", "sentencepiece",
            "marian" or "m2m100".
        model_input_names: What a call returns by default.
        options: The switches of the pipeline, with their defaults.
        pieces: How the pieces of a sentencepiece model are assigned to ids: "as they are", "fairseq", "camembert", "t5".
        padding_side: The default padding side.
        languages: The codes of the supported languages, in the order of their ids.
        language_token: The token of a language, in which its code replaces "{}".
        extra_tokens: The special tokens without a role of a tokenizer that is constructed, unless others are passed.
        completes_objects: Whether a `tokenizer_object` with no post-processor gets the template.
        keeps_model: Whether other libraries read only the sentencepiece model, which is then saved again as it was read. Its
            control pieces do not match text.
        blank: The tokens of a tokenizer that is created without a vocabulary, to be trained; roles without "_token", or
            the tokens themselves.
    """

    special_tokens: Mapping[str, str | AddedToken]
    pipeline: str = ""
    template: str = ""
    vocabulary: str = ""
    model_input_names: tuple[str, ...] = ("input_ids", "attention_mask")
    options: Mapping[str, Any] = field(default_factory=dict)
    pieces: str = "as they are"
    padding_side: str = "right"
    languages: tuple[str, ...] = ()
    language_token: str = "{}"
    extra_tokens: tuple[str, ...] = ()
    completes_objects: bool = True
    keeps_model: bool = False
    blank: tuple[str, ...] = ()

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of every switch and special token by name."""
        return {**self.options, **self.special_tokens}


def _roles(**tokens: str | AddedToken) -> dict[str, str | AddedToken]:
    return {f"{role}_token": token for role, token in tokens.items()}


_FAIRSEQ_TOKENS = _roles(bos="<s>", eos="</s>", sep="</s>", cls="<s>", unk="<unk>", pad="<pad>", mask="<mask>")
# A mask that includes the space before it: "a <mask>" must not leave a token for the space alone.
_WIDE_MASK = _roles(mask=AddedToken("<mask>", lstrip=True, special=True))
_BERT_TOKENS = _roles(unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]")
_ALBERT_TOKENS = _roles(bos="[CLS]", eos="[SEP]", unk="<unk>", sep="[SEP]", pad="<pad>", cls="[CLS]", mask="[MASK]")
_END_OF_TEXT = _roles(unk="<|endoftext|>", bos="<|endoftext|>", eos="<|endoftext|>")
_T5_TOKENS = _roles(eos="</s>", unk="<unk>", pad="<pad>")
_XLNET_TOKENS = _roles(bos="<s>", eos="</s>", unk="<unk>", sep="<sep>", pad="<pad>", cls="<cls>", mask="<mask>")
_WITH_TYPES = ("input_ids", "token_type_ids", "attention_mask")
_WITH_TYPES_LAST = ("input_ids", "attention_mask", "token_type_ids")

_BERT = Family(
    special_tokens=_BERT_TOKENS,
    pipeline="bert",
    template="bert",
    vocabulary="wordpiece",
    model_input_names=_WITH_TYPES,
    options={"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None},
    blank=("pad", "unk", "cls", "sep", "mask"),
)
_ROBERTA = Family(
    special_tokens=_FAIRSEQ_TOKENS,
    pipeline="byte-level",
    template="roberta",
    vocabulary="bpe",
    options={"add_prefix_space": False, "trim_offsets": True},
    blank=("pad", "unk", "cls", "sep", "mask"),
)
_GPT2 = Family(
    special_tokens=_END_OF_TEXT,
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
_T5 = Family(
    special_tokens=_T5_TOKENS,
    pipeline="metaspace",
    template="t5",
    vocabulary="sentencepiece",
    options={"add_prefix_space": True, "extra_ids": 100},
    pieces="t5",
    blank=("pad", "eos", "unk", UNDERLINE),
)
_MBART_LANGUAGES = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV "
    "my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
_MBART50_LANGUAGES = (
    f"{_MBART_LANGUAGES} af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX "
    "sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
_M2M100_LANGUAGES = (
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy id "
    "ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd si "
    "sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu"
)
_NLLB_LANGUAGES = (
    "ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab ars_Arab "
    "ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl "
    "bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn "
    "cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn "
    "est_Latn eus_Latn ewe_Latn fao_Latn pes_Arab fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn "
    "gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn "
    "ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab "
    "kas_Deva kat_Geor knc_Arab knc_Latn kaz_Cyrl kbp_Latn kea_Latn khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn "
    "kon_Latn kor_Hang kmr_Latn lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn "
    "lua_Latn lug_Latn luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl plt_Latn mlt_Latn "
    "mni_Beng khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn "
    "nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab quy_Latn "
    "ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn "
    "sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn "
    "szl_Latn tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi taq_Latn taq_Tfng tpi_Latn tsn_Latn "
    "tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn "
    "vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zul_Latn"
)
_MBART = replace(
    _XLM_ROBERTA,
    special_tokens=_FAIRSEQ_TOKENS | _WIDE_MASK,
    template="language-last",
    languages=tuple(_MBART_LANGUAGES.split()),
    blank=("unk", "bos", "eos", UNDERLINE),
)
_LLAMA = Family(
    special_tokens=_roles(unk="<unk>", bos="<s>", eos="</s>"),
    pipeline="llama",
    template="bos-eos",
    vocabulary="sentencepiece",
    options={"add_prefix_space": True, "legacy": False},
    padding_side="left",
    blank=("unk", "bos", "eos"),
)

FAMILIES: dict[str, Family] = {
    "BertTokenizer": _BERT,
    "ConvBertTokenizer": _BERT,
    "ElectraTokenizer": _BERT,
    "LayoutLMTokenizer": _BERT,
    "LxmertTokenizer": _BERT,
    "MobileBertTokenizer": _BERT,
    "SqueezeBertTokenizer": _BERT,
    "DistilBertTokenizer": replace(_BERT, model_input_names=("input_ids", "attention_mask")),
    "MPNetTokenizer": replace(
        _BERT,
        special_tokens=_FAIRSEQ_TOKENS | _roles(unk="[UNK]") | _WIDE_MASK,
        template="roberta",
        model_input_names=("input_ids", "attention_mask"),
        blank=(),
    ),
    "RobertaTokenizer": _ROBERTA,
    "BartTokenizer": _ROBERTA,
    "LEDTokenizer": _ROBERTA,
    "LongformerTokenizer": _ROBERTA,
    "MvpTokenizer": _ROBERTA,
    "GPT2Tokenizer": _GPT2,
    "CodeGenTokenizer": _GPT2,
    "GPTNeoXTokenizer": replace(
        _GPT2,
        special_tokens=_END_OF_TEXT | _roles(pad="<|padding|>"),
        pipeline="byte-level nfc",
        options={"add_prefix_space": False, "trim_offsets": True},
        blank=("unk", "pad"),
    ),
    "Qwen2Tokenizer": replace(
        _GPT2,
        special_tokens=_roles(unk="<|endoftext|>", eos="<|endoftext|>", pad="<|endoftext|>"),
        pipeline="qwen2",
        blank=("<|endoftext|>",),
    ),
    "CLIPTokenizer": replace(
        _GPT2,
        special_tokens=_END_OF_TEXT | _roles(bos="<|startoftext|>", pad="<|endoftext|>"),
        pipeline="clip",
        template="clip",
        options={},
        blank=("bos", "eos"),
    ),
    "XLMRobertaTokenizer": replace(_XLM_ROBERTA, blank=("unk", "bos", "eos")),
    "CamembertTokenizer": replace(
        _XLM_ROBERTA,
        special_tokens=_FAIRSEQ_TOKENS | _WIDE_MASK,
        pieces="camembert",
        extra_tokens=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
        blank=("unk",),
    ),
    "MBartTokenizer": _MBART,
    "MBart50Tokenizer": replace(
        _MBART,
        special_tokens={role: token for role, token in _MBART.special_tokens.items() if role != "bos_token"},
        template="language-first",
        languages=tuple(_MBART50_LANGUAGES.split()),
    ),
    "T5Tokenizer": _T5,
    "MT5Tokenizer": replace(_T5, options={"add_prefix_space": True, "extra_ids": 0}),
    "MarianTokenizer": Family(
        special_tokens=_T5_TOKENS,
        pipeline="marian",
        template="marian",
        vocabulary="marian",
        options={"separate_vocabs": False, "model_max_length": 512},
    ),
    "M2M100Tokenizer": Family(
        special_tokens=_roles(bos="<s>", eos="</s>", unk="<unk>", sep="</s>", pad="<pad>"),
        pipeline="marian",
        template="language-first",
        vocabulary="m2m100",
        languages=tuple(_M2M100_LANGUAGES.split()),
        language_token="__{}__",
    ),
    "AlbertTokenizer": Family(
        special_tokens=_ALBERT_TOKENS,
        pipeline="albert",
        template="bert",
        vocabulary="sentencepiece",
        options={"do_lower_case": True, "keep_accents": False, "add_prefix_space": True},
        completes_objects=False,
        blank=("pad", "unk", "cls", "sep", "mask"),
    ),
    "SiglipTokenizer": Family(
        special_tokens={
            role: AddedToken(str(token), lstrip=True, rstrip=True, special=True)
            for role, token in _roles(eos="</s>", unk="<unk>", pad="</s>").items()
        },
        pipeline="siglip",
        template="t5",
        vocabulary="sentencepiece",
        options={"do_lower_case": True, "model_max_length": 64},
        keeps_model=True,
        blank=("eos", "unk", UNDERLINE),
    ),
    "LlamaTokenizer": _LLAMA,
    "GemmaTokenizer": Family(
        special_tokens=_roles(unk="<unk>", bos="<bos>", eos="<eos>", pad="<pad>", mask="<mask>"),
        pipeline="gemma",
        template="bos-eos",
        vocabulary="sentencepiece",
        padding_side="left",
        blank=("pad", "eos", "bos", "unk", "mask"),
    ),
    # Classes that need tokenizer.json, in which the whole pipeline is described.
    "BarthezTokenizer": Family(_FAIRSEQ_TOKENS),
    "BigBirdTokenizer": Family(_ALBERT_TOKENS | _roles(bos="<s>", eos="</s>")),
    "BlenderbotTokenizer": Family(_FAIRSEQ_TOKENS),
    "CodeLlamaTokenizer": Family(_LLAMA.special_tokens, padding_side="left"),
    "CohereTokenizer": Family(
        _roles(bos="<BOS_TOKEN>", eos="<|END_OF_TURN_TOKEN|>", unk="<UNK>", sep="<SEP>", pad="<PAD>", cls="<CLS>")
        | _roles(mask="<MASK_TOKEN>"),
        padding_side="left",
    ),
    "CpmTokenizer": Family(_XLNET_TOKENS),
    "DebertaTokenizer": Family(_BERT_TOKENS | _roles(bos="[CLS]", eos="[SEP]"), model_input_names=_WITH_TYPES_LAST),
    "DebertaV2Tokenizer": Family(_BERT_TOKENS | _roles(bos="[CLS]", eos="[SEP]"), model_input_names=_WITH_TYPES_LAST),
    "DPRContextEncoderTokenizer": Family(_BERT_TOKENS, model_input_names=_WITH_TYPES),
    "DPRQuestionEncoderTokenizer": Family(_BERT_TOKENS, model_input_names=_WITH_TYPES),
    "DPRReaderTokenizer": Family(_BERT_TOKENS),
    "FNetTokenizer": Family(_ALBERT_TOKENS, model_input_names=("input_ids", "token_type_ids")),
    "FunnelTokenizer": Family(_XLNET_TOKENS),
    "HerbertTokenizer": Family(_roles(unk="<unk>", sep="</s>", pad="<pad>", cls="<s>", mask="<mask>")),
    "LayoutLMv2Tokenizer": Family(_BERT_TOKENS, model_input_names=_WITH_TYPES_LAST),
    "LukeTokenizer": Family(_FAIRSEQ_TOKENS),
    "MarkupLMTokenizer": Family(_FAIRSEQ_TOKENS, model_input_names=_WITH_TYPES),
    "NllbTokenizer": Family(_FAIRSEQ_TOKENS, template="language-first", languages=tuple(_NLLB_LANGUAGES.split())),
    "NougatTokenizer": Family(_roles(bos="<s>", eos="</s>", unk="<unk>", pad="<pad>")),
    "OpenAIGPTTokenizer": Family(_roles(unk="<unk>")),
    "PegasusTokenizer": Family(_T5_TOKENS | _roles(mask="<mask_2>")),
    "ReformerTokenizer": Family(_roles(eos="</s>", unk="<unk>")),
    "RemBertTokenizer": Family(_ALBERT_TOKENS),
    "RoFormerTokenizer": Family(_BERT_TOKENS),
    "SeamlessM4TTokenizer": Family(_roles(bos="<s>", eos="</s>", unk="<unk>", sep="</s>", pad="<pad>", cls="<s>")),
    "SplinterTokenizer": Family(_BERT_TOKENS),
    "UdopTokenizer": Family(_T5_TOKENS | _roles(sep="</s>")),
    "WhisperTokenizer": replace(
        _GPT2,
        template="",
        options={"add_prefix_space": False, "language": None, "task": None, "predict_timestamps": False},
    ),
    "XGLMTokenizer": Family(_roles(bos="<s>", eos="</s>", unk="<unk>", sep="</s>", pad="<pad>", cls="<s>")),
    "XLNetTokenizer": Family(_XLNET_TOKENS, padding_side="left"),
}
"""Tokenizer class, without "Fast" -> its family."""

# The model types of each class; a class' own name in lower case is one, too ("bert").
_TYPES_OF_CLASSES = {
    "BertTokenizer": "blip chinese_clip ernie git megatron-bert nezha nomic_bert vilt visual_bert",
    "BigBirdTokenizer": "big_bird",
    "CLIPTokenizer": "clip_text_model clipseg groupvit owlv2 owlvit",
    "CohereTokenizer": "aya_vision cohere2",
    "DebertaV2Tokenizer": "deberta-v2",
    "GPT2Tokenizer": "dbrx gpt_neo gptj opt phi starcoder2",
    "GPTNeoXTokenizer": "falcon_mamba gpt_neox mamba mamba2 mpt olmo olmoe rwkv",
    "GemmaTokenizer": "gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma shieldgemma2 t5gemma",
    "M2M100Tokenizer": "m2m_100",
    "NllbTokenizer": "nllb-moe",
    "OpenAIGPTTokenizer": "openai-gpt",
    "Qwen2Tokenizer": "qwen2_moe qwen2_vl qwen2_5_vl qwen3 qwen3_moe",
    "RobertaTokenizer": "bridgetower clap data2vec-text ibert lilt roberta-prelayernorm",
    "SiglipTokenizer": "siglip_text_model",
    "T5Tokenizer": "musicgen switch_transformers",
    "XLMRobertaTokenizer": "trocr xlm-roberta xmod",
}

MODEL_TYPES: dict[str, str] = {name.removesuffix("Tokenizer").lower(): name for name in FAMILIES} | {
    model_type: name for name, types in _TYPES_OF_CLASSES.items() for model_type in types.split()
}
"""Model type -> tokenizer class, for checkpoints in which neither tokenizer_config.json nor config.json names the class."""


def family_of(class_name: str | None) -> Family | None:
    """The family of a tokenizer class, by its name with or without "Fast"; None if it is not in the table.

    Example:
        >>> family_of("GemmaTokenizerFast").padding_side
        'left'
    """
    return FAMILIES.get((class_name or "").removesuffix("Fast"))
