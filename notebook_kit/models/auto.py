"""From the `model_type` of a checkpoint to its family: the Auto classes and the registry behind them.

To add a family, write its file and add its line to `notebook_kit/registry/families.py`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from notebook_kit.configuration import PretrainedConfig, read_config
from notebook_kit.errors import ConfigurationError, InputError, UnknownArchitectureError, near_matches
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.registry.families import FAMILIES

if TYPE_CHECKING:
    from types import ModuleType

    from notebook_kit.nn.base import PreTrainedModel

__all__ = [
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
    "config_class",
    "family",
    "model_classes",
]


def family(model_type: str) -> ModuleType:
    """The module of a family, imported now.

    Raises:
        UnknownArchitectureError: If there is no such family.
    """
    if model_type not in FAMILIES:
        raise UnknownArchitectureError(
            f"notebook_kit has no architecture {model_type!r}. {near_matches(model_type, FAMILIES)}".rstrip(),
            next_step=f"Choose a checkpoint of one of these: {', '.join(sorted(FAMILIES))}.",
        )
    return importlib.import_module(f"notebook_kit.models.{FAMILIES[model_type].module}")


_configs: dict[str, type[PretrainedConfig]] = {}
"""`model_type` -> configuration class, as `AutoConfig.register` was told."""


def config_class(model_type: str) -> type[PretrainedConfig]:
    """The configuration class of a family, or the one registered for `model_type`."""
    if model_type in _configs:
        return _configs[model_type]
    return getattr(family(model_type), FAMILIES[model_type].config)


def model_classes(model_type: str) -> dict[str, type[PreTrainedModel]]:
    """Auto class -> the class that a family has for it."""
    module = family(model_type)
    return {auto: getattr(module, name) for auto, name in FAMILIES[model_type].class_names.items()}


class AutoConfig:
    """Configurations of any family.

    Example:
        >>> from notebook_kit import AutoConfig
        >>> AutoConfig.for_model("bert", num_hidden_layers=2).num_hidden_layers
        2
    """

    def __init__(self) -> None:
        raise _not_made("AutoConfig")

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike | Source, **kwargs: Any) -> PretrainedConfig:
        """The configuration of a checkpoint, of whatever family.

        Args:
            name_or_path: A folder, a zoo name, a Hub name, or the path of a `config.json`.
            **kwargs: Hub options (`revision`, `token`, `cache_dir`, `local_files_only`, `force_download`,
                `subfolder`), and fields to edit: `AutoConfig.from_pretrained(name, n_heads=12)`.

        Raises:
            UnknownArchitectureError: If notebook_kit does not have the architecture, or it lives in the repository's
                own Python files, which are never run.
        """
        kwargs.pop("trust_remote_code", None)
        name, values = read_config(name_or_path, take_hub_options(kwargs))
        model_type = values.get("model_type")
        if model_type not in {*FAMILIES, *_configs} and "auto_map" in values:
            raise UnknownArchitectureError(
                f"{name} brings its architecture as Python files of its own, and notebook_kit never runs code from a repository.",
                next_step=f"Choose a checkpoint of one of these: {', '.join(sorted(FAMILIES))}.",
            )
        if not model_type:
            raise ConfigurationError(
                f"The config.json of {name} has no model_type, so it does not say which architecture it is.",
                next_step="Load it with the family's own class, such as BertModel.from_pretrained(...), or add model_type to the file.",
            )
        config = cls.from_dict(values, **kwargs)
        config.name_or_path = name
        return config

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **edits: Any) -> PretrainedConfig:
        """The configuration that a `config.json` with this content holds; see `PretrainedConfig.from_dict`."""
        return config_class(values["model_type"]).from_dict(values, **edits)

    @classmethod
    def for_model(cls, model_type: str, **fields: Any) -> PretrainedConfig:
        """A fresh configuration of the family named `model_type`."""
        return config_class(model_type)(**fields)

    @classmethod
    def register(cls, model_type: str, config: type[PretrainedConfig], exist_ok: bool = False) -> None:
        """Let `from_pretrained` and `for_model` make configurations of a class of yours.

        Args:
            model_type: What `config.json` says, the same as the class's `model_type`.
            config: The class, derived from `PretrainedConfig`.
            exist_ok: Allow a `model_type` that notebook_kit itself has, and take your class for it.

        Raises:
            InputError: If the class has another `model_type`, or notebook_kit has that one.

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
                f"{config.__name__} has the model_type {config.model_type!r}, and it was registered as {model_type!r}.",
                next_step="Give the class the attribute model_type that it is registered with.",
            )
        if model_type in FAMILIES and not exist_ok:
            raise InputError(
                f"notebook_kit already has the architecture {model_type!r}.",
                next_step="Choose another model_type, or pass exist_ok=True to replace it.",
            )
        _configs[model_type] = config


class _AutoModel:
    """One head, of any family."""

    alternatives: ClassVar[tuple[str, ...]] = ()
    """Auto classes whose model is taken where a family has none for this one, in this order."""
    _registered: ClassVar[dict[type[PretrainedConfig], Any]]

    def __init__(self) -> None:
        raise _not_made(type(self).__name__)

    def __init_subclass__(cls) -> None:
        cls._registered = {}

    @classmethod
    def model_class(cls, config: PretrainedConfig) -> type[PreTrainedModel]:
        """The class that this head is in `config`'s family, or that was registered for `config`'s class.

        Raises:
            UnknownArchitectureError: If the family does not have this head.
        """
        if type(config) in cls._registered:
            return cls._registered[type(config)]
        if config.model_type in _configs and config.model_type not in FAMILIES:
            raise UnknownArchitectureError(
                f"No {cls.__name__} is registered for {type(config).__name__}.",
                next_step=f"Call {cls.__name__}.register({type(config).__name__}, your model class).",
            )
        module, classes = family(config.model_type), FAMILIES[config.model_type].class_names
        for auto in (cls.__name__, *cls.alternatives):
            if auto in classes:
                return getattr(module, classes[auto])
        raise UnknownArchitectureError(
            f"The family {config.model_type!r} has no {cls.__name__}.", next_step=f"It has {', '.join(classes)}."
        )

    @classmethod
    def register(cls, config_class: type[PretrainedConfig], model_class: type[Any], exist_ok: bool = False) -> None:
        """Let `from_config` and `from_pretrained` make models of a class of yours.

        Args:
            config_class: The class of configurations that the model is made from.
            model_class: The model; its `config_class` is that class.
            exist_ok: Allow a configuration class for which notebook_kit has a model, and take yours for it.

        Raises:
            InputError: If the model has another `config_class`, or notebook_kit has a model for it.
        """
        expected = getattr(model_class, "config_class", config_class)
        if expected.__name__ != config_class.__name__:
            raise InputError(
                f"{model_class.__name__} is made from {expected.__name__}, and it was registered for {config_class.__name__}.",
                next_step=f"Set {model_class.__name__}.config_class = {config_class.__name__}.",
            )
        line = FAMILIES.get(config_class.model_type)
        ours = f"notebook_kit.models.{line.module}" if line is not None and cls.__name__ in line.heads else None
        if config_class.__module__ == ours and not exist_ok:
            raise InputError(
                f"notebook_kit already has an {cls.__name__} for {config_class.__name__}.",
                next_step="Derive a configuration class with a model_type of its own, or pass exist_ok=True.",
            )
        cls._registered[config_class] = model_class

    @classmethod
    def from_config(cls, config: PretrainedConfig, **kwargs: Any) -> PreTrainedModel:
        """A model with fresh weights.

        Args:
            config: A configuration of any family.
            **kwargs: `dtype` of the weights.
        """
        if not isinstance(config, PretrainedConfig):
            raise InputError(
                f"from_config takes a configuration, and got {type(config).__name__}.",
                next_step=f"For the name of a checkpoint, call {cls.__name__}.from_pretrained(name).",
            )
        return cls.model_class(config).from_config(config, **kwargs)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike | Source, *, config: PretrainedConfig | None = None, **kwargs: Any
    ) -> PreTrainedModel:
        """Load a checkpoint with this head; see `PreTrainedModel.from_pretrained` for arguments and errors."""
        source = locate(name_or_path, **take_hub_options(kwargs))
        if config is None:
            config = AutoConfig.from_pretrained(source)
        return cls.model_class(config).from_pretrained(source, config=config, **kwargs)


def _not_made(name: str) -> InputError:
    return InputError(
        f"{name} itself has no instances.",
        next_step=f"Call {name}.from_pretrained(name) or {name}.from_config(config).",
    )


class AutoModel(_AutoModel):
    """The backbone of any family, without a head: hidden states out.

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
    """Where in a text the answer starts and ends.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForQuestionAnswering
        >>> config = AutoConfig.for_model("mpnet", hidden_size=24, num_hidden_layers=1, intermediate_size=48, vocab_size=50)
        >>> out = AutoModelForQuestionAnswering.from_config(config)(torch.tensor([[0, 17, 2, 2, 21, 22, 2]]))
        >>> out.start_logits.shape, out.end_logits.shape
        (torch.Size([1, 7]), torch.Size([1, 7]))
    """


class AutoModelForMaskedLM(_AutoModel):
    """Which word stands at a masked place.

    Example:
        >>> import tempfile
        >>> from notebook_kit import AutoModelForMaskedLM, RobertaConfig, RobertaForMaskedLM
        >>> folder = tempfile.mkdtemp()
        >>> tiny = RobertaConfig(hidden_size=24, num_hidden_layers=1, intermediate_size=48, vocab_size=50)
        >>> RobertaForMaskedLM(tiny).save_pretrained(folder)
        >>> type(AutoModelForMaskedLM.from_pretrained(folder)).__name__  # config.json says which family
        'RobertaForMaskedLM'
    """


class AutoModelForCausalLM(_AutoModel):
    """Which token comes next: the head that generates text.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForCausalLM
        >>> config = AutoConfig.for_model("gpt2", n_embd=32, n_layer=1, n_head=4, vocab_size=50, n_positions=16)
        >>> model = AutoModelForCausalLM.from_config(config)
        >>> model.generate(torch.tensor([[7, 17]]), max_new_tokens=3, eos_token_id=None).shape
        torch.Size([1, 5])
    """


class AutoModelForSeq2SeqLM(_AutoModel):
    """One text out of another: a summary, a translation, an answer.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForSeq2SeqLM
        >>> config = AutoConfig.for_model("t5", d_model=24, d_kv=6, d_ff=48, num_heads=4, num_layers=1, vocab_size=50)
        >>> out = AutoModelForSeq2SeqLM.from_config(config)(torch.tensor([[17, 8, 1]]), labels=torch.tensor([[9, 1]]))
        >>> out.logits.shape  # a score for each word of the vocabulary at each place of the text that is written
        torch.Size([1, 2, 50])
    """


class AutoModelForMultipleChoice(_AutoModel):
    """Which of several choices goes with a text.

    Example:
        >>> import torch
        >>> from notebook_kit import AutoConfig, AutoModelForMultipleChoice
        >>> config = AutoConfig.for_model("bert", hidden_size=24, num_hidden_layers=1, intermediate_size=48, vocab_size=50)
        >>> model = AutoModelForMultipleChoice.from_config(config)
        >>> model(torch.tensor([[[2, 17, 8, 3], [2, 17, 9, 3]]])).logits.shape  # (batch, choices, tokens) in
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
    """The heads with which a family was pre-trained.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForPreTraining
        >>> for family in ("bert", "roberta", "gpt2"):
        ...     AutoModelForPreTraining.model_class(AutoConfig.for_model(family)).__name__
        'BertForPreTraining'
        'RobertaForMaskedLM'
        'GPT2LMHeadModel'
    """

    alternatives = ("AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
