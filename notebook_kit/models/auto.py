"""From the `model_type` of a checkpoint to its family: the Auto classes and the registry behind them.

To add a family, write its file and add its line to `notebook_kit/registry/families.py`.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from notebook_kit.configuration import PretrainedConfig, read_config_file
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


def config_class(model_type: str) -> type[PretrainedConfig]:
    """The configuration class of a family."""
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
            name_or_path: A folder, a zoo name, or a Hub name.
            **kwargs: Hub options (`revision`, `token`, `cache_dir`, `local_files_only`, `force_download`,
                `subfolder`), and fields to edit: `AutoConfig.from_pretrained(name, n_heads=12)`.

        Raises:
            UnknownArchitectureError: If notebook_kit does not have the architecture, or it lives in the repository's
                own Python files, which are never run.
        """
        kwargs.pop("trust_remote_code", None)
        source = locate(name_or_path, **take_hub_options(kwargs))
        values = read_config_file(source)
        model_type = values.get("model_type")
        if model_type not in FAMILIES and "auto_map" in values:
            raise UnknownArchitectureError(
                f"{source.name} brings its architecture as Python files of its own, and notebook_kit never runs code from a repository.",
                next_step=f"Choose a checkpoint of one of these: {', '.join(sorted(FAMILIES))}.",
            )
        if not model_type:
            raise ConfigurationError(
                f"The config.json of {source.name} has no model_type, so it does not say which architecture it is.",
                next_step="Load it with the family's own class, such as BertModel.from_pretrained(...), or add model_type to the file.",
            )
        config = config_class(model_type).from_dict(values, **kwargs)
        config.name_or_path = source.name
        return config

    @classmethod
    def for_model(cls, model_type: str, **fields: Any) -> PretrainedConfig:
        """A fresh configuration of the family named `model_type`."""
        return config_class(model_type)(**fields)


class _AutoModel:
    """One head, of any family."""

    def __init__(self) -> None:
        raise _not_made(type(self).__name__)

    @classmethod
    def model_class(cls, config: PretrainedConfig) -> type[PreTrainedModel]:
        """The class that this head is in `config`'s family.

        Raises:
            UnknownArchitectureError: If the family does not have this head.
        """
        heads = model_classes(config.model_type)
        if cls.__name__ not in heads:
            raise UnknownArchitectureError(
                f"The family {config.model_type!r} has no {cls.__name__}.",
                next_step=f"It has {', '.join(heads)}.",
            )
        return heads[cls.__name__]

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
    """One prediction a text: sentiment, topics, similarity scores.

    Example:
        >>> from notebook_kit import AutoConfig, AutoModelForSequenceClassification
        >>> config = AutoConfig.for_model("distilbert", dim=32, n_layers=1, n_heads=2, hidden_dim=64, num_labels=5)
        >>> model = AutoModelForSequenceClassification.from_config(config)
        >>> type(model).__name__, model.classifier.out_features
        ('DistilBertForSequenceClassification', 5)
    """


class AutoModelForTokenClassification(_AutoModel):
    """One prediction a token: names, parts of speech.

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

    @classmethod
    def model_class(cls, config: PretrainedConfig) -> type[PreTrainedModel]:
        """The family's class for pre-training; where it has none, the head that predicts words is all it was trained with."""
        classes = FAMILIES[config.model_type].class_names
        autos = (cls.__name__, "AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
        return getattr(family(config.model_type), next(classes[auto] for auto in autos if auto in classes))
