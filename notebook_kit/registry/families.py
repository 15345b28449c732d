"""The model families: the module of `notebook_kit.models` for each `model_type`, and the classes in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["FAMILIES", "Family", "classes_for"]


@dataclass(frozen=True, slots=True)
class Family:
    """One model family.

    Attributes:
        module: The module in `notebook_kit.models`.
        prefix: The first part of the names of the family's classes.
        heads: Auto class -> the last part of the name of the family's class for it.
        modality: What its models read: "text", "image", "audio", or "multimodal" for texts with images.

    Example:
        >>> FAMILIES["gpt2"].config, FAMILIES["gpt2"].class_names["AutoModelForCausalLM"]
        ('GPT2Config', 'GPT2LMHeadModel')
    """

    module: str
    prefix: str
    heads: Mapping[str, str]
    modality: str = "text"

    @property
    def config(self) -> str:
        """The name of the configuration class."""
        return f"{self.prefix}Config"

    @property
    def class_names(self) -> dict[str, str]:
        """Auto class -> the name of the family's class for it."""
        return {auto: self.prefix + suffix for auto, suffix in self.heads.items()}


ENCODER = {
    "AutoModel": "Model",
    "AutoModelForMaskedLM": "ForMaskedLM",
    "AutoModelForMultipleChoice": "ForMultipleChoice",
    "AutoModelForQuestionAnswering": "ForQuestionAnswering",
    "AutoModelForSequenceClassification": "ForSequenceClassification",
    "AutoModelForTokenClassification": "ForTokenClassification",
}
DECODER = {
    "AutoModel": "Model",
    "AutoModelForCausalLM": "ForCausalLM",
    "AutoModelForQuestionAnswering": "ForQuestionAnswering",
    "AutoModelForSequenceClassification": "ForSequenceClassification",
    "AutoModelForTokenClassification": "ForTokenClassification",
}
ENCODER_DECODER = {"AutoModel": "Model", "AutoModelForSeq2SeqLM": "ForConditionalGeneration"}
IMAGE_CLASSIFIER = {"AutoModel": "Model", "AutoModelForImageClassification": "ForImageClassification"}

_GEMMA = {auto: suffix for auto, suffix in DECODER.items() if auto != "AutoModelForQuestionAnswering"}
_PRE_TRAINED = {**ENCODER, "AutoModelForPreTraining": "ForPreTraining"}
_BERT = {
    **_PRE_TRAINED,
    "AutoModelForCausalLM": "LMHeadModel",
    "AutoModelForNextSentencePrediction": "ForNextSentencePrediction",
}
_BART = {
    **ENCODER_DECODER,
    "AutoModelForCausalLM": "ForCausalLM",
    "AutoModelForQuestionAnswering": "ForQuestionAnswering",
    "AutoModelForSequenceClassification": "ForSequenceClassification",
}
_BACKBONE = {"AutoBackbone": "Backbone"}
_DETECTION = {"AutoModel": "Model", "AutoModelForObjectDetection": "ForObjectDetection"}
_T5 = {
    **ENCODER_DECODER,
    "AutoModelForQuestionAnswering": "ForQuestionAnswering",
    "AutoModelForSequenceClassification": "ForSequenceClassification",
    "AutoModelForTokenClassification": "ForTokenClassification",
}
_IMAGE_BACKBONE = {**IMAGE_CLASSIFIER, **_BACKBONE}
_SOUND = {"AutoModel": "Model", "AutoModelForAudioClassification": "ForAudioClassification"}
_SAMPLES = {
    "AutoModel": "Model",
    "AutoModelForAudioClassification": "ForSequenceClassification",
    "AutoModelForCTC": "ForCTC",
}
_LAYOUTLM = {
    "AutoModel": "Model",
    "AutoModelForDocumentQuestionAnswering": "ForQuestionAnswering",
    "AutoModelForMaskedLM": "ForMaskedLM",
    "AutoModelForSequenceClassification": "ForSequenceClassification",
    "AutoModelForTokenClassification": "ForTokenClassification",
}
_MASKED_IMAGE = {**IMAGE_CLASSIFIER, "AutoModelForMaskedImageModeling": "ForMaskedImageModeling"}
_DETR = {
    **_DETECTION,
    "AutoModelForImageSegmentation": "ForSegmentation",
    "AutoModelForUniversalSegmentation": "ForSegmentation",
}
_MASKFORMER = {
    "AutoModel": "Model",
    "AutoModelForInstanceSegmentation": "ForInstanceSegmentation",
    "AutoModelForUniversalSegmentation": "ForInstanceSegmentation",
}
_BLIP = {
    "AutoModel": "Model",
    "AutoModelForImageTextToText": "ForConditionalGeneration",
    "AutoModelForVision2Seq": "ForConditionalGeneration",
    "AutoModelForVisualQuestionAnswering": "ForQuestionAnswering",
    "AutoModelForZeroShotImageClassification": "Model",
}
_CLIP = {
    "AutoModel": "Model",
    "AutoModelForImageClassification": "ForImageClassification",
    "AutoModelForPreTraining": "Model",
    "AutoModelForZeroShotImageClassification": "Model",
}
_SIGLIP = {
    "AutoModel": "Model",
    "AutoModelForImageClassification": "ForImageClassification",
    "AutoModelForZeroShotImageClassification": "Model",
}
_VILT = {
    "AutoModel": "Model",
    "AutoModelForPreTraining": "ForMaskedLM",
    "AutoModelForVisualQuestionAnswering": "ForQuestionAnswering",
}
_WRITES_OF_IMAGES = {
    "AutoModelForDocumentQuestionAnswering": "Model",
    "AutoModelForImageTextToText": "Model",
}
_SEGFORMER = {**IMAGE_CLASSIFIER, "AutoModelForSemanticSegmentation": "ForSemanticSegmentation"}

FAMILIES: dict[str, Family] = {
    "albert": Family("albert", "Albert", _PRE_TRAINED),
    "audio-spectrogram-transformer": Family("audio_spectrogram_transformer", "AST", _SOUND, "audio"),
    "bart": Family("bart", "Bart", _BART),
    "bert": Family("bert", "Bert", _BERT),
    "blip": Family("blip", "Blip", _BLIP, "multimodal"),
    "blip_text_model": Family("blip", "BlipText", {"AutoModel": "Model"}),
    "blip_vision_model": Family("blip", "BlipVision", {"AutoModel": "Model"}, "image"),
    "camembert": Family("camembert", "Camembert", ENCODER),
    "clip": Family("clip", "CLIP", _CLIP, "multimodal"),
    "clip_text_model": Family("clip", "CLIPText", {"AutoModel": "Model"}),
    "clip_vision_model": Family("clip", "CLIPVision", {"AutoModel": "Model"}, "image"),
    "convnext": Family("convnext", "ConvNext", _IMAGE_BACKBONE, "image"),
    "deit": Family("deit", "DeiT", _MASKED_IMAGE, "image"),
    "detr": Family("detr", "Detr", _DETR, "image"),
    "dinov2": Family("dinov2", "Dinov2", _IMAGE_BACKBONE, "image"),
    "dinov2_with_registers": Family("dinov2_with_registers", "Dinov2WithRegisters", _IMAGE_BACKBONE, "image"),
    "distilbert": Family("distilbert", "DistilBert", ENCODER),
    "donut-swin": Family("donut_swin", "DonutSwin", IMAGE_CLASSIFIER, "image"),
    "electra": Family("electra", "Electra", _PRE_TRAINED),
    "encoder-decoder": Family("encoder_decoder", "EncoderDecoder", {"AutoModelForSeq2SeqLM": "Model"}),
    "gemma": Family("gemma", "Gemma", _GEMMA),
    "gpt2": Family("gpt2", "GPT2", {**DECODER, "AutoModelForCausalLM": "LMHeadModel"}),
    "gpt_neox": Family("gpt_neox", "GPTNeoX", DECODER),
    "hubert": Family("hubert", "Hubert", _SAMPLES, "audio"),
    "layoutlm": Family("layoutlm", "LayoutLM", _LAYOUTLM),
    "llama": Family("llama", "Llama", DECODER),
    "m2m_100": Family("m2m_100", "M2M100", ENCODER_DECODER),
    "marian": Family(
        "marian",
        "Marian",
        {**ENCODER_DECODER, "AutoModelForSeq2SeqLM": "MTModel", "AutoModelForCausalLM": "ForCausalLM"},
    ),
    "maskformer": Family("maskformer", "MaskFormer", _MASKFORMER, "image"),
    "maskformer-swin": Family("maskformer_swin", "MaskFormerSwin", _BACKBONE, "image"),
    "mbart": Family("mbart", "MBart", _BART),
    "mistral": Family("mistral", "Mistral", DECODER),
    "mpnet": Family("mpnet", "MPNet", ENCODER),
    "mt5": Family("mt5", "MT5", _T5),
    "qwen2": Family("qwen2", "Qwen2", DECODER),
    "qwen3": Family("qwen3", "Qwen3", DECODER),
    "resnet": Family("resnet", "ResNet", _IMAGE_BACKBONE, "image"),
    "roberta": Family("roberta", "Roberta", ENCODER),
    "segformer": Family("segformer", "Segformer", _SEGFORMER, "image"),
    "siglip": Family("siglip", "Siglip", _SIGLIP, "multimodal"),
    "siglip_text_model": Family("siglip", "SiglipText", {"AutoModel": "Model"}),
    "siglip_vision_model": Family("siglip", "SiglipVision", {"AutoModel": "Model"}, "image"),
    "smollm3": Family("smollm3", "SmolLM3", DECODER),
    "swin": Family("swin", "Swin", {**_IMAGE_BACKBONE, **_MASKED_IMAGE}, "image"),
    "t5": Family("t5", "T5", _T5),
    "table-transformer": Family("table_transformer", "TableTransformer", _DETECTION, "image"),
    "trocr": Family("trocr", "TrOCR", {"AutoModelForCausalLM": "ForCausalLM"}),
    "vilt": Family("vilt", "Vilt", _VILT, "multimodal"),
    "vision-encoder-decoder": Family("vision_encoder_decoder", "VisionEncoderDecoder", _WRITES_OF_IMAGES, "image"),
    "vit": Family("vit", "ViT", _MASKED_IMAGE, "image"),
    "wav2vec2": Family("wav2vec2", "Wav2Vec2", {**_SAMPLES, "AutoModelForPreTraining": "ForPreTraining"}, "audio"),
    "whisper": Family(
        "whisper", "Whisper", {**_SOUND, "AutoModelForSpeechSeq2Seq": "ForConditionalGeneration"}, "audio"
    ),
    "xlm-roberta": Family("xlm_roberta", "XLMRoberta", ENCODER),
    "yolos": Family("yolos", "Yolos", _DETECTION, "image"),
}
"""`model_type` in `config.json` -> the family."""


def classes_for(model_type: str, like: str) -> list[str]:
    """The Auto class of a model class, and the class that another family has for it.

    Args:
        model_type: The other family.
        like: The name of the model class.

    Example:
        >>> classes_for("electra", like="BertForSequenceClassification")
        ['AutoModelForSequenceClassification', 'ElectraForSequenceClassification']
        >>> classes_for("gpt2", like="BertForMaskedLM")
        ['AutoModelForMaskedLM']
    """
    autos = [auto for family in FAMILIES.values() for auto, name in family.class_names.items() if name == like]
    others = FAMILIES[model_type].class_names if model_type in FAMILIES else {}
    return [*autos[:1], *(others[auto] for auto in autos[:1] if auto in others)]
