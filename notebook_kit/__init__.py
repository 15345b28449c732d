"""notebook_kit: the Transformers quick tour, alive in a notebook.

Names are imported when they are first used, so `import notebook_kit` costs nothing; what a name pulls in (torch for a
model, nothing heavy for a tokenizer) is paid by those who use it.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that holds it. `__init__.pyi` says the same to editors and type checkers.
_HOMES = {
    **dict.fromkeys(
        [
            "FeatureExtractionPipeline",
            "FillMaskPipeline",
            "PIPELINE_REGISTRY",
            "Pipeline",
            "QuestionAnsweringPipeline",
            "SummarizationPipeline",
            "Text2TextGenerationPipeline",
            "TextClassificationPipeline",
            "TextGenerationPipeline",
            "TextPipeline",
            "TokenClassificationPipeline",
            "TranslationPipeline",
            "ZeroShotClassificationPipeline",
            "pipeline",
        ],
        "pipelines",
    ),
    **dict.fromkeys(
        [
            "AutoConfig",
            "AutoModel",
            "AutoModelForCausalLM",
            "AutoModelForMaskedLM",
            "AutoModelForMultipleChoice",
            "AutoModelForNextSentencePrediction",
            "AutoModelForPreTraining",
            "AutoModelForQuestionAnswering",
            "AutoModelForSeq2SeqLM",
            "AutoModelForSequenceClassification",
            "AutoModelForTokenClassification",
        ],
        "models.auto",
    ),
    **dict.fromkeys(
        [
            "BertConfig",
            "BertForMaskedLM",
            "BertForMultipleChoice",
            "BertForNextSentencePrediction",
            "BertForPreTraining",
            "BertForQuestionAnswering",
            "BertForSequenceClassification",
            "BertForTokenClassification",
            "BertModel",
        ],
        "models.bert",
    ),
    **dict.fromkeys(
        [
            "AlbertConfig",
            "AlbertForMaskedLM",
            "AlbertForMultipleChoice",
            "AlbertForPreTraining",
            "AlbertForQuestionAnswering",
            "AlbertForSequenceClassification",
            "AlbertForTokenClassification",
            "AlbertModel",
        ],
        "models.albert",
    ),
    **dict.fromkeys(
        [
            "BartConfig",
            "BartForConditionalGeneration",
            "BartForQuestionAnswering",
            "BartForSequenceClassification",
            "BartModel",
        ],
        "models.bart",
    ),
    **dict.fromkeys(
        [
            "MBartConfig",
            "MBartForConditionalGeneration",
            "MBartForQuestionAnswering",
            "MBartForSequenceClassification",
            "MBartModel",
        ],
        "models.mbart",
    ),
    **dict.fromkeys(["MarianConfig", "MarianMTModel", "MarianModel"], "models.marian"),
    **dict.fromkeys(
        [
            "T5Config",
            "T5EncoderModel",
            "T5ForConditionalGeneration",
            "T5ForQuestionAnswering",
            "T5ForSequenceClassification",
            "T5ForTokenClassification",
            "T5Model",
        ],
        "models.t5",
    ),
    **dict.fromkeys(
        [
            "MT5Config",
            "MT5EncoderModel",
            "MT5ForConditionalGeneration",
            "MT5ForQuestionAnswering",
            "MT5ForSequenceClassification",
            "MT5ForTokenClassification",
            "MT5Model",
        ],
        "models.mt5",
    ),
    **dict.fromkeys(
        [
            "CamembertConfig",
            "CamembertForMaskedLM",
            "CamembertForMultipleChoice",
            "CamembertForQuestionAnswering",
            "CamembertForSequenceClassification",
            "CamembertForTokenClassification",
            "CamembertModel",
        ],
        "models.camembert",
    ),
    **dict.fromkeys(
        [
            "DistilBertConfig",
            "DistilBertForMaskedLM",
            "DistilBertForMultipleChoice",
            "DistilBertForQuestionAnswering",
            "DistilBertForSequenceClassification",
            "DistilBertForTokenClassification",
            "DistilBertModel",
        ],
        "models.distilbert",
    ),
    **dict.fromkeys(
        [
            "ElectraConfig",
            "ElectraForMaskedLM",
            "ElectraForMultipleChoice",
            "ElectraForPreTraining",
            "ElectraForQuestionAnswering",
            "ElectraForSequenceClassification",
            "ElectraForTokenClassification",
            "ElectraModel",
        ],
        "models.electra",
    ),
    **dict.fromkeys(
        [
            "MPNetConfig",
            "MPNetForMaskedLM",
            "MPNetForMultipleChoice",
            "MPNetForQuestionAnswering",
            "MPNetForSequenceClassification",
            "MPNetForTokenClassification",
            "MPNetModel",
        ],
        "models.mpnet",
    ),
    **dict.fromkeys(
        [
            "RobertaConfig",
            "RobertaForMaskedLM",
            "RobertaForMultipleChoice",
            "RobertaForQuestionAnswering",
            "RobertaForSequenceClassification",
            "RobertaForTokenClassification",
            "RobertaModel",
        ],
        "models.roberta",
    ),
    **dict.fromkeys(
        [
            "XLMRobertaConfig",
            "XLMRobertaForMaskedLM",
            "XLMRobertaForMultipleChoice",
            "XLMRobertaForQuestionAnswering",
            "XLMRobertaForSequenceClassification",
            "XLMRobertaForTokenClassification",
            "XLMRobertaModel",
        ],
        "models.xlm_roberta",
    ),
    **dict.fromkeys(
        [
            "GPT2Config",
            "GPT2ForQuestionAnswering",
            "GPT2ForSequenceClassification",
            "GPT2ForTokenClassification",
            "GPT2LMHeadModel",
            "GPT2Model",
        ],
        "models.gpt2",
    ),
    **dict.fromkeys(
        [
            "GPTNeoXConfig",
            "GPTNeoXForCausalLM",
            "GPTNeoXForQuestionAnswering",
            "GPTNeoXForSequenceClassification",
            "GPTNeoXForTokenClassification",
            "GPTNeoXModel",
        ],
        "models.gpt_neox",
    ),
    **dict.fromkeys(
        [
            "LlamaConfig",
            "LlamaForCausalLM",
            "LlamaForQuestionAnswering",
            "LlamaForSequenceClassification",
            "LlamaForTokenClassification",
            "LlamaModel",
        ],
        "models.llama",
    ),
    **dict.fromkeys(
        [
            "MistralConfig",
            "MistralForCausalLM",
            "MistralForQuestionAnswering",
            "MistralForSequenceClassification",
            "MistralForTokenClassification",
            "MistralModel",
        ],
        "models.mistral",
    ),
    **dict.fromkeys(
        [
            "Qwen2Config",
            "Qwen2ForCausalLM",
            "Qwen2ForQuestionAnswering",
            "Qwen2ForSequenceClassification",
            "Qwen2ForTokenClassification",
            "Qwen2Model",
        ],
        "models.qwen2",
    ),
    **dict.fromkeys(
        [
            "Qwen3Config",
            "Qwen3ForCausalLM",
            "Qwen3ForQuestionAnswering",
            "Qwen3ForSequenceClassification",
            "Qwen3ForTokenClassification",
            "Qwen3Model",
        ],
        "models.qwen3",
    ),
    **dict.fromkeys(
        [
            "SmolLM3Config",
            "SmolLM3ForCausalLM",
            "SmolLM3ForQuestionAnswering",
            "SmolLM3ForSequenceClassification",
            "SmolLM3ForTokenClassification",
            "SmolLM3Model",
        ],
        "models.smollm3",
    ),
    **dict.fromkeys(
        [
            "GemmaConfig",
            "GemmaForCausalLM",
            "GemmaForSequenceClassification",
            "GemmaForTokenClassification",
            "GemmaModel",
        ],
        "models.gemma",
    ),
    **dict.fromkeys(
        [
            "AsyncTextIteratorStreamer",
            "BaseStreamer",
            "EncoderNoRepeatNGramLogitsProcessor",
            "EncoderRepetitionPenaltyLogitsProcessor",
            "EosTokenCriteria",
            "EpsilonLogitsWarper",
            "EtaLogitsWarper",
            "ExponentialDecayLengthPenalty",
            "ForcedBOSTokenLogitsProcessor",
            "ForcedEOSTokenLogitsProcessor",
            "GenerationConfig",
            "GenerationMixin",
            "InfNanRemoveLogitsProcessor",
            "KVCache",
            "LogitNormalization",
            "LogitsProcessor",
            "LogitsProcessorList",
            "MaxLengthCriteria",
            "MaxTimeCriteria",
            "MinLengthLogitsProcessor",
            "MinNewTokensLengthLogitsProcessor",
            "MinPLogitsWarper",
            "NoBadWordsLogitsProcessor",
            "NoRepeatNGramLogitsProcessor",
            "PrefixConstrainedLogitsProcessor",
            "RepetitionPenaltyLogitsProcessor",
            "SequenceBiasLogitsProcessor",
            "StopStringCriteria",
            "StoppingCriteria",
            "StoppingCriteriaList",
            "SuppressTokensAtBeginLogitsProcessor",
            "SuppressTokensLogitsProcessor",
            "TemperatureLogitsWarper",
            "TextIteratorStreamer",
            "TextStreamer",
            "TokenIteratorStreamer",
            "TopKLogitsWarper",
            "TopPLogitsWarper",
            "TypicalLogitsWarper",
        ],
        "generation",
    ),
    **dict.fromkeys(["ablate_heads", "record_attention"], "nn.attention"),
    **dict.fromkeys(["ModelOutput"], "nn.outputs"),
    **dict.fromkeys(["PreTrainedModel"], "nn.base"),
    **dict.fromkeys(["PreTrainedConfig", "PretrainedConfig"], "configuration"),
    **dict.fromkeys(["AutoTokenizer", "BatchEncoding", "PreTrainedTokenizerFast"], "processing.text"),
    **dict.fromkeys(
        [
            "DataCollatorForLanguageModeling",
            "DataCollatorForSeq2Seq",
            "DataCollatorForTokenClassification",
            "DataCollatorWithPadding",
            "EarlyStoppingCallback",
            "EvalPrediction",
            "PrinterCallback",
            "ProgressCallback",
            "Seq2SeqTrainer",
            "Seq2SeqTrainingArguments",
            "Trainer",
            "TrainerCallback",
            "TrainerControl",
            "TrainerState",
            "TrainingArguments",
            "default_data_collator",
            "get_linear_schedule_with_warmup",
            "get_scheduler",
            "pack_blocks",
            "set_seed",
        ],
        "training",
    ),
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 (the table above is literal)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is not None:
        value = getattr(importlib.import_module(f"notebook_kit.{home}"), name)
        globals()[name] = value  # so that this is paid once
        return value
    from notebook_kit.errors import near_matches

    raise AttributeError(f"module 'notebook_kit' has no name {name!r}. {near_matches(name, _HOMES)}".rstrip())


def __dir__() -> list[str]:
    return sorted(__all__)
