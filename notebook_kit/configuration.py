"""Configurations: what a checkpoint's `config.json` says, as a dataclass with the Hub's own field names.

A family writes a plain class body, and that is all::

    class BertConfig(PretrainedConfig):
        model_type: ClassVar[str] = "bert"
        hidden_size: int = 768

The subclass becomes a keyword-only dataclass. Fields of a `config.json` that the family does not know are kept (in
`config.extra`, readable as attributes) and written back, so that nothing is lost between two libraries.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from notebook_kit.errors import ConfigurationError, near_matches
from notebook_kit.files import read_json, write_text
from notebook_kit.hub import Source, locate, take_hub_options
from notebook_kit.hub.saving import PushToHub, folder_to_save

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PreTrainedConfig", "PretrainedConfig", "read_config_file"]

CONFIG_NAME = "config.json"
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

# Where a config came from, not what it says: read, never written again.
PROVENANCE = {"transformers_version", "_name_or_path", "name_or_path", "_commit_hash", "model_type"}

Config = TypeVar("Config", bound="PretrainedConfig")


def read_config_file(source: Source) -> dict[str, Any]:
    """The checkpoint's `config.json` as a dictionary.

    Raises:
        CheckpointError: If the file is missing, or is not a JSON object.
    """
    return read_json(source.require(CONFIG_NAME, why="It says which architecture the checkpoint has."))


@dataclass_transform(kw_only_default=True)
class PretrainedConfig(PushToHub):
    """The settings of a model: the base of every family's configuration.

    Args:
        id2label: Class index to label name. `label2id` follows from it unless given.
        num_labels: Short for `id2label={0: "LABEL_0", ...}` with that many labels.
        problem_type: `"regression"`, `"single_label_classification"` or `"multi_label_classification"`: which loss a
            sequence-classification head computes. Left at None, the first labels that come decide.
        architectures: Class names that the checkpoint's weights were saved from.
        dtype: Name of the dtype that the weights are stored in, such as `"float16"`.
        **fields: The family's own fields. A name that the family does not have is an error with near matches.

    Example:
        >>> from notebook_kit import BertConfig
        >>> config = BertConfig(hidden_size=128, num_attention_heads=2, num_labels=3)
        >>> config.num_labels, config.id2label[2], config.num_hidden_layers
        (3, 'LABEL_2', 12)
        >>> BertConfig(hiden_size=128)
        Traceback (most recent call last):
        notebook_kit.errors.ConfigurationError: BertConfig has no field 'hiden_size'. Did you mean 'hidden_size' or 'hidden_act'?
        → Correct the name, or set it on the config afterwards if it is a note of your own.
    """

    model_type: ClassVar[str] = ""
    attribute_map: ClassVar[dict[str, str]] = {}
    """Other names of the family's fields, such as `{"hidden_size": "dim"}`."""

    architectures: list[str] | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None
    dtype: str | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = True
    is_encoder_decoder: bool = False
    output_hidden_states: bool = False
    output_attentions: bool = False
    return_dict: bool = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)  # fills in __dataclass_fields__, in place

    def __init__(self, **fields: Any) -> None:
        self._set_defaults()
        said = fields.pop(
            "model_type", self.model_type
        )  # `to_dict` says it, so that Config(**config.to_dict()) is a copy
        if said != self.model_type:
            raise ConfigurationError(
                f"{type(self).__name__} is for models of the type {self.model_type!r}, and the fields are those of {said!r}.",
                next_step=f"Use AutoConfig.for_model({said!r}, ...).",
            )
        self.update(fields)
        self.validate()

    def _set_defaults(self) -> None:
        self.__dict__.update(extra={}, name_or_path="")
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            self.__dict__[field.name] = copy.copy(default)
        if self.id2label is None:
            self.num_labels = 2

    # Names -------------------------------------------------------------------------------------------------------

    @classmethod
    def field_names(cls) -> list[str]:
        """The names that the constructor takes, other names of the same fields included."""
        return [field.name for field in dataclasses.fields(cls)] + list(cls.attribute_map) + ["num_labels"]  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        # Reached only for names that are no field: an alias, or a key that was kept from the file.
        if name in type(self).attribute_map:
            return getattr(self, type(self).attribute_map[name])
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        raise AttributeError(
            f"{type(self).__name__} has no field {name!r}. {near_matches(name, self.field_names())}".rstrip()
        )

    def __setattr__(self, name: str, value: Any) -> None:
        name = type(self).attribute_map.get(name, name)
        if name in self.__dict__ or isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            self.extra[name] = value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.field_names(), *self.extra})

    def update(self, edits: Mapping[str, Any]) -> None:
        """Set several fields at once.

        Raises:
            ConfigurationError: For a name that is neither a field, nor another name of one, nor a key kept from the file.
        """
        known = set(self.field_names())
        if "torch_dtype" in edits:  # the older spelling
            edits = {**edits, "dtype": edits.get("dtype", edits["torch_dtype"])}
            del edits["torch_dtype"]
        for name in edits:
            if name not in known and name not in self.extra:
                hint = near_matches(name, known)
                raise ConfigurationError(
                    f"{type(self).__name__} has no field {name!r}. {hint}".rstrip(),
                    next_step="Correct the name, or set it on the config afterwards if it is a note of your own.",
                )
        edits = dict(edits)
        if "dtype" in edits:
            edits["dtype"] = dtype_name(edits["dtype"])
        num_labels = edits.pop("num_labels", None)
        if edits.get("id2label") is not None:
            edits["id2label"] = {int(index): label for index, label in edits["id2label"].items()}
            if edits.get("label2id") is None:
                edits["label2id"] = {label: index for index, label in edits["id2label"].items()}
        elif edits.get("label2id") is not None:
            edits["id2label"] = {index: label for label, index in edits["label2id"].items()}
        for name, value in edits.items():
            setattr(self, name, value)
        if num_labels is not None and (self.id2label is None or len(self.id2label) != num_labels):
            if edits.get("id2label") is not None:
                raise ConfigurationError(
                    f"num_labels={num_labels} contradicts id2label, which names {len(edits['id2label'])} labels.",
                    next_step="Give one of the two, or make them agree.",
                )
            self.num_labels = num_labels

    @property
    def num_labels(self) -> int:
        """How many classes a classification head has (1 for regression on one value)."""
        return len(self.id2label or {})

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        self.id2label = {index: f"LABEL_{index}" for index in range(count)}
        self.label2id = {label: index for index, label in self.id2label.items()}

    def validate(self) -> None:
        """Check that the fields fit each other; a family adds its own checks.

        Raises:
            ConfigurationError: If they do not.
        """
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise ConfigurationError(
                f"problem_type is {self.problem_type!r}. {near_matches(self.problem_type, PROBLEM_TYPES)}".rstrip(),
                next_step=f"Use one of {', '.join(map(repr, PROBLEM_TYPES))}, or None to let the labels decide.",
            )
        values = {name: self.__dict__.get(name) for name in ("hidden_size", "dim", "num_attention_heads", "n_heads")}
        width = values["hidden_size"] or values["dim"]
        heads = values["num_attention_heads"] or values["n_heads"]
        if width and heads and "head_dim" not in self.__dict__ and width % heads:
            raise ConfigurationError(
                f"{type(self).__name__}: a width of {width} cannot be split evenly over {heads} attention heads.",
                next_step=f"Choose a number of heads that divides {width}, or a width that is a multiple of {heads}.",
            )

    # Reading and writing -----------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any], **edits: Any) -> Config:
        """A config from a `config.json`'s content; keys that the family does not know are kept in `extra`.

        Args:
            values: The content of a `config.json`.
            **edits: Fields to set on top, where a name that is not a field is an error.
        """
        known = {*cls.field_names(), "torch_dtype"}
        own = {name: value for name, value in values.items() if name in known}
        for alias, field in cls.attribute_map.items():  # when both names stand in the file, the family's own wins
            if alias in own and field in own:
                del own[alias]
        if own.get("id2label") is not None:
            own.pop("num_labels", None)
        config = cls.__new__(cls)
        config._set_defaults()
        config.extra.update({name: value for name, value in values.items() if name not in known | PROVENANCE})
        config.update(own)
        config.update(edits)
        config.validate()  # once, at the end: an edit may be what makes the fields fit
        return config

    @classmethod
    def from_pretrained(cls: type[Config], name_or_path: str | os.PathLike | Source, **kwargs: Any) -> Config:
        """Read a checkpoint's `config.json`.

        Args:
            name_or_path: A folder, a zoo name, or a Hub name.
            **kwargs: Hub options (`revision`, `token`, `cache_dir`, `local_files_only`, `force_download`,
                `subfolder`), and fields to edit.

        Raises:
            HubError: If the checkpoint cannot be found or fetched.
            CheckpointError: If its `config.json` is missing or damaged.
            ConfigurationError: If an edit names no field, or the checkpoint is of another family.
        """
        source = locate(name_or_path, **take_hub_options(kwargs))
        values = read_config_file(source)
        found = values.get("model_type")
        if cls.model_type and found and found != cls.model_type:
            raise ConfigurationError(
                f"{source.name} is a {found!r} checkpoint, and {cls.__name__} describes {cls.model_type!r} models.",
                next_step="Use AutoConfig.from_pretrained, which takes any family.",
            )
        config = cls.from_dict(values, **kwargs)
        config.name_or_path = source.name
        return config

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values, under the Hub's names; common fields only where they differ from the default."""
        common = {field.name: field.default for field in dataclasses.fields(PretrainedConfig)}  # type: ignore[arg-type]
        values: dict[str, Any] = {"model_type": self.model_type} if self.model_type else {}
        default_labels = self.id2label == {0: "LABEL_0", 1: "LABEL_1"}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            inherited = field.name in common and field.default == common[field.name]
            if (inherited and value == common[field.name]) or (
                field.name in ("id2label", "label2id") and default_labels
            ):
                continue
            values[field.name] = copy.deepcopy(value)
        values.update(copy.deepcopy(self.extra))
        if isinstance(values.get("id2label"), dict):
            values["id2label"] = {str(index): label for index, label in values["id2label"].items()}
        return values

    def to_json_string(self) -> str:
        """`to_dict` as indented JSON with sorted keys, the form of a `config.json`."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def save_pretrained(self, folder: str | os.PathLike, push_to_hub: bool = False, **push_options: Any) -> None:
        """Write `config.json` into `folder`, which is made if need be.

        Args:
            folder: Where to write.
            push_to_hub: Also upload the folder; `push_options` go to `notebook_kit.hub.push_folder`.
        """
        with folder_to_save(folder, push_to_hub, push_options) as target:
            write_text(target / CONFIG_NAME, self.to_json_string())

    # Everyday Python ---------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        default = {field.name: field.default for field in fields}
        changed = [name for name, value in default.items() if getattr(self, name) != value]
        if self.id2label == {0: "LABEL_0", 1: "LABEL_1"}:
            changed = [name for name in changed if name not in ("id2label", "label2id")]
        shown = [f"{name}={getattr(self, name)!r}" for name in changed] + [f"{k}={v!r}" for k, v in self.extra.items()]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __deepcopy__(self: Config, memo: dict) -> Config:
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


dataclasses.dataclass(init=False, repr=False, eq=False)(PretrainedConfig)
PreTrainedConfig = PretrainedConfig  # transformers 5 spells it so


def dtype_name(dtype: Any) -> str | None:
    """`torch.float16`, `"torch.float16"` or `"float16"` as `"float16"`; None and `"auto"` as None."""
    name = None if dtype is None else str(dtype).removeprefix("torch.")
    return None if name == "auto" else name
