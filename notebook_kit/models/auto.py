"""The Auto classes: they select the family by `model_type`.

To add a family, write its module and add a line to `notebook_kit/registry/families.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from notebook_kit.configuration import PretrainedConfig, read_config
from notebook_kit.errors import ConfigurationError, InputError, UnknownArchitectureError
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.models.lookup import (
    REGISTERED,
    class_of,
    config_class,
    family,
    model_classes,
    model_types,
    unsupported,
)
from notebook_kit.registry.families import FAMILIES

if TYPE_CHECKING:
    from notebook_kit.nn.base import PreTrainedModel

__all__ = [
    "AutoBackbone",
    "AutoConfig",
    "AutoModel",
    "AutoModelForAudioClassification",
    "AutoModelForCTC",
    "AutoModelForCausalLM",
    "AutoModelForDocumentQuestionAnswering",
    "AutoModelForImageClassification",
    "AutoModelForImageSegmentation",
    "AutoModelForImageTextToText",
    "AutoModelForInstanceSegmentation",
    "AutoModelForMaskedImageModeling",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForNextSentencePrediction",
    "AutoModelForObjectDetection",
    "AutoModelForPreTraining",
    "AutoModelForQuestionAnswering",
    "AutoModelForSemanticSegmentation",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSequenceClassification",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForTokenClassification",
    "AutoModelForUniversalSegmentation",
    "AutoModelForVision2Seq",
    "AutoModelForVisualQuestionAnswering",
    "AutoModelForZeroShotImageClassification",
    "config_class",
    "family",
    "model_classes",
    "model_types",
]


class AutoConfig:
    """Configurations of any family.

    Example:
        >>> from notebook_kit import AutoConfig
        >>> AutoConfig.for_model("bert", num_hidden_layers=2).num_hidden_layers
        2
    """

    def __init__(self) -> None:
        raise _no_instances("AutoConfig")

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike | Source, **kwargs: Any) -> Any:
        """The configuration of a checkpoint of any family.

        Args:
            name_or_path: A folder, a zoo name, a Hub name, or the path of a `config.json`.
            **kwargs: Hub options (`revision`, `token`, `cache_dir`, `local_files_only`, `force_download`,
                `subfolder`), and fields to change: `AutoConfig.from_pretrained(name, n_heads=12)`. A name that is neither
                is ignored, with a notice; with `return_unused_kwargs=True` the configuration and a dictionary of such
                names are returned.

        Raises:
            UnknownArchitectureError: If notebook_kit does not have the architecture, or it is defined by Python files
                in the repository, which are never run.
            ConfigurationError: If `config.json` has no `model_type`, or a name resembles a field.
            HubError: If the checkpoint cannot be found or downloaded.
            CheckpointError: If its `config.json` is missing or damaged.
        """
        name, path, values = read_config(name_or_path, take_hub_options(kwargs))
        model_type = values.get("model_type")
        if model_type not in {*FAMILIES, *REGISTERED} and "auto_map" in values:
            raise unsupported(
                f"The architecture of {name} is defined by Python files in its repository, and notebook_kit never runs code "
                "from a repository."
            )
        if not model_type:
            raise ConfigurationError(
                f"{path} has no model_type, so its architecture is unknown.",
                next_step="Load it with the family's class, such as BertModel.from_pretrained(...), or add model_type to the file.",
            )
        cls.check_types(values, path)
        found = cls.from_dict(values, **kwargs)
        (found[0] if isinstance(found, tuple) else found).name_or_path = name
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **edits: Any) -> Any:
        """The configuration in the content of a `config.json`; see `PretrainedConfig.from_dict`."""
        return class_of(values).from_dict(values, **edits)

    @classmethod
    def check_types(cls, values: Mapping[str, Any], path: str = "") -> None:
        """Check the types of the values in the content of a `config.json`; see `PretrainedConfig.check_types`."""
        class_of(values).check_types(values, path)

    @classmethod
    def for_model(cls, model_type: str, **fields: Any) -> PretrainedConfig:
        """A new configuration of the family named `model_type`."""
        return config_class(model_type)(**fields)

    @classmethod
    def register(cls, model_type: str, config: type[PretrainedConfig], exist_ok: bool = False) -> None:
        """Register your own configuration class for `from_pretrained` and `for_model`.

        Args:
            model_type: The `model_type` of the class, and of the `config.json` files that it is used for.
            config: The class, derived from `PretrainedConfig`.
            exist_ok: Whether your class may replace one of notebook_kit's.

        Raises:
            InputError: If the class has a different `model_type`, or notebook_kit already has this one.

        Example:
            >>> from notebook_kit import AutoConfig, PretrainedConfig
            >>> class OwnConfig(PretrainedConfig):
            ...     model_type = "own"
            ...     width: int = 8
            >>> AutoConfig.register("own", OwnConfig)
            >>> AutoConfig.for_model("own", width=16)
            OwnConfig(width=16)
        """
        if config.model_type != model_type:
            raise InputError(
                f"{config.__name__} has the model_type {config.model_type!r}, but was registered as {model_type!r}.",
                next_step="Register the class under its model_type.",
            )
        if model_type in FAMILIES and not exist_ok:
            raise InputError(
                f"notebook_kit already has the architecture {model_type!r}.",
                next_step="Choose another model_type, or pass exist_ok=True to replace it.",
            )
        REGISTERED[model_type] = config


class _AutoModel:
    """One kind of head, for any family."""

    alternatives: ClassVar[tuple[str, ...]] = ()
    """Auto classes to use instead if a family has no model for this one, in this order."""
    _registered: ClassVar[dict[type[PretrainedConfig], Any]]

    def __init__(self) -> None:
        raise _no_instances(type(self).__name__)

    def __init_subclass__(cls) -> None:
        cls._registered = {}

    @classmethod
    def model_class(cls, config: PretrainedConfig) -> type[PreTrainedModel]:
        """The class with this head in `config`'s family, or the one registered for `config`'s class.

        Raises:
            UnknownArchitectureError: If the family does not have this head.
        """
        if type(config) in cls._registered:
            return cls._registered[type(config)]
        if config.model_type in REGISTERED and config.model_type not in FAMILIES:
            raise UnknownArchitectureError(
                f"No {cls.__name__} is registered for {type(config).__name__}.",
                next_step=f"Call {cls.__name__}.register({type(config).__name__}, YourModel).",
            )
        module, classes = family(config.model_type), FAMILIES[config.model_type].class_names
        for auto in (cls.__name__, *cls.alternatives):
            if auto in classes:
                # A checkpoint may be of a variant of the class, such as DeiTForImageClassificationWithTeacher.
                variants = [name for name in config.architectures or () if name.startswith(classes[auto])]
                return getattr(module, next((name for name in variants if name in module.__all__), classes[auto]))
        raise UnknownArchitectureError(
            f"The family {config.model_type!r} has no {cls.__name__}.", next_step=f"It has {', '.join(classes)}."
        )

    @classmethod
    def register(cls, config_class: type[PretrainedConfig], model_class: type[Any], exist_ok: bool = False) -> None:
        """Register your own model class for `from_config` and `from_pretrained`.

        Args:
            config_class: The configuration class of the model.
            model_class: The model class. Its attribute `config_class`, if set, must be the same.
            exist_ok: Whether your class may replace one of notebook_kit's.

        Raises:
            InputError: If the model has a different `config_class`, or notebook_kit already has a model for it.
        """
        expected = getattr(model_class, "config_class", config_class)
        if expected.__name__ != config_class.__name__:
            raise InputError(
                f"{model_class.__name__} is built from {expected.__name__}, but was registered for {config_class.__name__}.",
                next_step=f"Set {model_class.__name__}.config_class = {config_class.__name__}.",
            )
        known = FAMILIES.get(config_class.model_type)
        ours = f"notebook_kit.models.{known.module}" if known is not None and cls.__name__ in known.heads else None
        if config_class.__module__ == ours and not exist_ok:
            raise InputError(
                f"notebook_kit already has an {cls.__name__} for {config_class.__name__}.",
                next_step="Derive a configuration class with a new model_type, or pass exist_ok=True to replace it.",
            )
        cls._registered[config_class] = model_class

    @classmethod
    def registered(cls) -> list[type[PretrainedConfig]]:
        """The configuration classes for which a model was registered."""
        return list(cls._registered)

    @classmethod
    def from_config(cls, config: PretrainedConfig, **kwargs: Any) -> PreTrainedModel:
        """A model with newly initialized weights.

        Args:
            config: A configuration of any family.
            **kwargs: `dtype` of the weights.

        Raises:
            InputError: If `config` is not a configuration.
            UnknownArchitectureError: If the family does not have this head.
        """
        if not isinstance(config, PretrainedConfig):
            raise InputError(
                f"from_config takes a configuration, and got {type(config).__name__}.",
                next_step=f"To load a checkpoint by name, call {cls.__name__}.from_pretrained(name).",
            )
        return cls.model_class(config).from_config(config, **kwargs)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike | Source, *, config: PretrainedConfig | None = None, **kwargs: Any
    ) -> PreTrainedModel:
        """Load a checkpoint with this head; see `PreTrainedModel.from_pretrained` for arguments and errors."""
        source = locate(name_or_path, **take_hub_options(kwargs))
        config = AutoConfig.from_pretrained(source) if config is None else config
        return cls.model_class(config).from_pretrained(source, config=config, **kwargs)


def _no_instances(name: str) -> InputError:
    return InputError(
        f"{name} has no instances.",
        next_step=f"Call {name}.from_pretrained(name) or {name}.from_config(config).",
    )


class AutoModel(_AutoModel):
    """The backbone of any family: it returns hidden states and has no head.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModel
        >>> model = AutoModel.from_config(AutoConfig.for_model("bert", num_hidden_layers=1, hidden_size=24))
        >>> type(model).__name__
        'BertModel'
    """


class AutoModelForSequenceClassification(_AutoModel):
    """One prediction per text: sentiment, topics, similarity scores.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForSequenceClassification
        >>> config = AutoConfig.for_model("distilbert", dim=32, n_layers=1, n_heads=2, hidden_dim=64, num_labels=5)
        >>> model = AutoModelForSequenceClassification.from_config(config)
        >>> type(model).__name__, model.classifier.out_features
        ('DistilBertForSequenceClassification', 5)
    """


class AutoModelForTokenClassification(_AutoModel):
    """One prediction per token: names, parts of speech.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForTokenClassification
        >>> for family in ("bert", "xlm-roberta", "electra"):
        ...     AutoModelForTokenClassification.model_class(AutoConfig.for_model(family)).__name__
        'BertForTokenClassification'
        'XLMRobertaForTokenClassification'
        'ElectraForTokenClassification'
    """


class AutoModelForQuestionAnswering(_AutoModel):
    """The start and end of an answer within a text.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForQuestionAnswering
        >>> config = AutoConfig.for_model("mpnet", hidden_size=24, num_hidden_layers=1, intermediate_size=48, vocab_size=50)
        >>> out = AutoModelForQuestionAnswering.from_config(config)(torch.tensor([[0, 17, 2, 2, 21, 22, 2]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 7]), torch.Size([1, 7]))
    """


class AutoModelForDocumentQuestionAnswering(_AutoModel):
    """The start and end of an answer among the words of a page.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForDocumentQuestionAnswering
        >>> AutoModelForDocumentQuestionAnswering.model_class(AutoConfig.for_model("layoutlm")).__name__
        'LayoutLMForQuestionAnswering'
    """


class AutoModelForMaskedLM(_AutoModel):
    """The token at each masked position.

    Example:
        >>> import tempfile
        >>> from notebook_kit import AutoModelForMaskedLM, RobertaConfig, RobertaForMaskedLM
        >>> folder = tempfile.mkdtemp()
        >>> tiny = RobertaConfig(hidden_size=24, num_hidden_layers=1, intermediate_size=48, vocab_size=50)
        >>> RobertaForMaskedLM(tiny).save_pretrained(folder)
        >>> type(AutoModelForMaskedLM.from_pretrained(folder)).__name__  # the family is named in config.json
        'RobertaForMaskedLM'
    """


class AutoModelForCausalLM(_AutoModel):
    """The next token: the head that generates text.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForCausalLM
        >>> config = AutoConfig.for_model("gpt2", n_embd=32, n_layer=1, n_head=4, vocab_size=50, n_positions=16)
        >>> model = AutoModelForCausalLM.from_config(config)
        >>> model.generate(torch.tensor([[7, 17]]), max_new_tokens=3, eos_token_id=None).shape
        torch.Size([1, 5])
    """


class AutoModelForSeq2SeqLM(_AutoModel):
    """Text from text: a summary, a translation, an answer.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForSeq2SeqLM
        >>> config = AutoConfig.for_model("t5", d_model=24, d_kv=6, d_ff=48, num_heads=4, num_layers=1, vocab_size=50)
        >>> out = AutoModelForSeq2SeqLM.from_config(config)(torch.tensor([[17, 8, 1]]), labels=torch.tensor([[9, 1]]))
        >>> out.logits.shape  # (batch, target tokens, vocabulary)
        torch.Size([1, 2, 50])
    """


class AutoModelForMultipleChoice(_AutoModel):
    """The choice that fits a text best.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForMultipleChoice
        >>> config = AutoConfig.for_model("bert", hidden_size=24, num_hidden_layers=1, intermediate_size=48, vocab_size=50)
        >>> model = AutoModelForMultipleChoice.from_config(config)
        >>> model(torch.tensor([[[2, 17, 8, 3], [2, 17, 9, 3]]])).logits.shape  # input: (batch, choices, tokens)
        torch.Size([1, 2])
    """


class AutoModelForNextSentencePrediction(_AutoModel):
    """Whether one text follows another.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForNextSentencePrediction
        >>> AutoModelForNextSentencePrediction.model_class(AutoConfig.for_model("bert")).__name__
        'BertForNextSentencePrediction'
    """


class AutoModelForPreTraining(_AutoModel):
    """The heads that a family was pre-trained with.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForPreTraining
        >>> for family in ("bert", "roberta", "gpt2"):
        ...     AutoModelForPreTraining.model_class(AutoConfig.for_model(family)).__name__
        'BertForPreTraining'
        'RobertaForMaskedLM'
        'GPT2LMHeadModel'
    """

    alternatives = ("AutoModelForMaskedLM", "AutoModelForSeq2SeqLM", "AutoModelForCausalLM")


class AutoModelForImageClassification(_AutoModel):
    """One prediction per image.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForImageClassification
        >>> size = {"hidden_size": 24, "num_hidden_layers": 1, "intermediate_size": 48, "image_size": 32, "patch_size": 8}
        >>> model = AutoModelForImageClassification.from_config(AutoConfig.for_model("vit", **size, num_labels=5))
        >>> model(torch.rand(1, 3, 32, 32)).logits.shape
        torch.Size([1, 5])
    """


class AutoModelForMaskedImageModeling(_AutoModel):
    """The pixels behind masked patches of an image.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForMaskedImageModeling
        >>> AutoModelForMaskedImageModeling.model_class(AutoConfig.for_model("vit")).__name__
        'ViTForMaskedImageModeling'
    """


class AutoBackbone(_AutoModel):
    """Maps of features for a detector or a segmenter, from the stages that `out_features` or `out_indices` names.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoBackbone, AutoConfig
        >>> config = AutoConfig.for_model("resnet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_indices=[1, 2])
        >>> [one.shape for one in AutoBackbone.from_config(config).eval()(torch.rand(1, 3, 32, 32)).feature_maps]
        [torch.Size([1, 8, 8, 8]), torch.Size([1, 16, 4, 4])]
    """


class AutoModelForObjectDetection(_AutoModel):
    """The class and the box of each object of an image.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForObjectDetection
        >>> for family in ("detr", "table-transformer", "yolos"):
        ...     AutoModelForObjectDetection.model_class(AutoConfig.for_model(family)).__name__
        'DetrForObjectDetection'
        'TableTransformerForObjectDetection'
        'YolosForObjectDetection'
    """


class AutoModelForImageSegmentation(_AutoModel):
    """The segments of an image, in whichever form a family predicts them: the `image-segmentation` pipeline reads all.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForImageSegmentation
        >>> for family in ("detr", "maskformer", "segformer"):
        ...     AutoModelForImageSegmentation.model_class(AutoConfig.for_model(family)).__name__
        'DetrForSegmentation'
        'MaskFormerForInstanceSegmentation'
        'SegformerForSemanticSegmentation'
    """

    alternatives = (
        "AutoModelForUniversalSegmentation",
        "AutoModelForInstanceSegmentation",
        "AutoModelForSemanticSegmentation",
    )


class AutoModelForSemanticSegmentation(_AutoModel):
    """The class of each pixel of an image.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForSemanticSegmentation
        >>> AutoModelForSemanticSegmentation.model_class(AutoConfig.for_model("segformer")).__name__
        'SegformerForSemanticSegmentation'
    """


class AutoModelForInstanceSegmentation(_AutoModel):
    """The class and the mask of each object of an image.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForInstanceSegmentation
        >>> AutoModelForInstanceSegmentation.model_class(AutoConfig.for_model("maskformer")).__name__
        'MaskFormerForInstanceSegmentation'
    """


class AutoModelForUniversalSegmentation(_AutoModel):
    """The class and the mask of each object of an image, and of the areas between them: for semantic, instance and panoptic
    segmentation.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForUniversalSegmentation
        >>> for family in ("detr", "maskformer"):
        ...     AutoModelForUniversalSegmentation.model_class(AutoConfig.for_model(family)).__name__
        'DetrForSegmentation'
        'MaskFormerForInstanceSegmentation'
    """


class AutoModelForVisualQuestionAnswering(_AutoModel):
    """The answer to a question about an image.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForVisualQuestionAnswering
        >>> AutoModelForVisualQuestionAnswering.model_class(AutoConfig.for_model("vilt")).__name__
        'ViltForQuestionAnswering'
    """


class AutoModelForZeroShotImageClassification(_AutoModel):
    """How well each of several texts fits an image: labels that a model was not trained on.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForZeroShotImageClassification
        >>> AutoModelForZeroShotImageClassification.model_class(AutoConfig.for_model("clip")).__name__
        'CLIPModel'
    """


class AutoModelForImageTextToText(_AutoModel):
    """Text about an image: a caption, the words in it, an answer.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForImageTextToText
        >>> AutoModelForImageTextToText.model_class(AutoConfig.for_model("vision-encoder-decoder")).__name__
        'VisionEncoderDecoderModel'
    """


class AutoModelForVision2Seq(_AutoModel):
    """The older name of `AutoModelForImageTextToText`.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForVision2Seq
        >>> AutoModelForVision2Seq.model_class(AutoConfig.for_model("vision-encoder-decoder")).__name__
        'VisionEncoderDecoderModel'
    """

    alternatives = ("AutoModelForImageTextToText",)


class AutoModelForAudioClassification(_AutoModel):
    """One prediction per recording: a keyword, a language, a sound.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForAudioClassification
        >>> for family in ("wav2vec2", "hubert", "audio-spectrogram-transformer", "whisper"):
        ...     AutoModelForAudioClassification.model_class(AutoConfig.for_model(family)).__name__
        'Wav2Vec2ForSequenceClassification'
        'HubertForSequenceClassification'
        'ASTForAudioClassification'
        'WhisperForAudioClassification'
    """


class AutoModelForCTC(_AutoModel):
    """The letter that is spoken at each moment of a recording.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForCTC
        >>> size = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
        >>> layers = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
        >>> model = AutoModelForCTC.from_config(AutoConfig.for_model("hubert", **size, **layers))
        >>> model.eval()(torch.randn(1, 16000)).logits.shape  # (batch, frames, vocabulary)
        torch.Size([1, 49, 32])
    """


class AutoModelForSpeechSeq2Seq(_AutoModel):
    """Text from speech: a transcript, or its translation.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForSpeechSeq2Seq
        >>> size = {"d_model": 24, "encoder_layers": 1, "decoder_layers": 1, "max_source_positions": 50}
        >>> model = AutoModelForSpeechSeq2Seq.from_config(AutoConfig.for_model("whisper", **size))
        >>> model(torch.zeros(1, 80, 100), labels=torch.tensor([[17, 9, 50256]])).logits.shape  # one second
        torch.Size([1, 3, 51865])
    """
